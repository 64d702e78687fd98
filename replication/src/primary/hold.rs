//! What a caller of `wait-sync` waits for: that a secondary holds, durably, all that had completed before the call.

use core::fmt;

use formats::wire::DataState;
use formats::{Position, Seq};

use super::{Link, Mode, Primary};
use crate::mutation::{self, Mutation};

/// One wait for one secondary.
///
/// Once the journal has everything up to the completion that is waited for, its end is the place to reach. A place that is
/// durable is not enough: an entry up to it may have left a hole, which is dirty from the moment the entry was sent until
/// its region is durable. So at one and the same moment the place is durable, nothing is dirty or in flight, and the
/// secondary says that what it holds is a state that the primary could have had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    completed: Seq,
    place: Option<Position>,
}

/// What a secondary lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lacking {
    /// A link.
    Link,
    /// Changes are dropped on purpose: it never holds everything.
    Everything,
    /// The journal does not have all of it yet.
    Journal {
        /// Last completion in the journal.
        seq: Seq,
        /// The one that is waited for.
        completed: Seq,
    },
    /// Entries.
    Entries {
        /// Last position that it holds durably.
        durable: Position,
        /// The one that is waited for.
        place: Position,
    },
    /// Regions: it is behind its dirty map.
    Regions,
    /// It holds everything, but not yet in a state that the primary could have had.
    Consistency,
}

impl Lacking {
    /// Whether waiting is of no use as things are.
    #[must_use]
    pub fn is_hopeless(self) -> bool {
        matches!(self, Self::Link | Self::Everything)
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("the link is down"),
            Self::Everything => f.write_str("a filter drops changes, so it never holds everything"),
            Self::Journal { seq, completed } => write!(f, "{seq} of {completed} completions are journalled"),
            Self::Entries { durable, place } => write!(f, "{durable} of {place} entries are durable there"),
            Self::Regions => f.write_str("regions are being sent again"),
            Self::Consistency => f.write_str("it is not consistent yet"),
        }
    }
}

impl Hold {
    /// The wait for everything up to `completed`, the kernel's completion counter at the call.
    #[must_use]
    pub fn new(completed: Seq) -> Self {
        Self { completed, place: None }
    }

    /// What the secondary of this engine lacks now; none when it holds everything that is waited for.
    pub fn lacking(&mut self, engine: &Primary) -> Option<Lacking> {
        if let Link::Down(_) = &engine.link {
            return Some(Lacking::Link);
        }
        let (journal, completed) = (&engine.journal, self.completed);
        if self.place.is_none() && journal.last_seq < completed {
            return Some(Lacking::Journal { seq: journal.last_seq, completed });
        }
        let place = *self.place.get_or_insert(journal.next.previous());
        let durable = if mutation::is(Mutation::HoldWhatIsSent) { engine.sent() } else { engine.durable };
        match engine.mode() {
            Mode::Disconnected | Mode::Mapping => Some(Lacking::Link),
            Mode::Partial => Some(Lacking::Everything),
            _ if durable < place => Some(Lacking::Entries { durable, place }),
            Mode::Resync => Some(Lacking::Regions),
            Mode::Ordered => (engine.peer_data != DataState::Consistent).then_some(Lacking::Consistency),
        }
    }
}

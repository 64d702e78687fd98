//! The standby's state in one word.

use alloc::string::String;
use core::fmt;

use formats::wire::DataState;

/// What an operator reads first. It is about content; differences of device state (mode pages, reservations) are
/// listed beside it and do not change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateWord {
    /// Its content is the primary's, as far as the primary completed anything that is known here.
    UpToDate,
    /// Its content is one that the primary had, but not the newest.
    Outdated,
    /// Its content is none that the primary had: something is missing or newer than the rest.
    Inconsistent,
    /// Nothing is applied any more, for this reason.
    Stopped(String),
}

/// What the word is judged from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// Why replay stopped.
    pub stopped: Option<&'a str>,
    /// State of what is durable in the standby's journal and on its device.
    pub data: DataState,
    /// Out-of-sync regions of the standby's own making, see [`super::OutOfSync`].
    pub holes: bool,
    /// A primary is connected, so what it completes is known.
    pub connected: bool,
    /// Entries that are received and not applied, or a command that is being retried.
    pub behind: bool,
}

impl StateWord {
    /// The word for these facts. Whoever does not know is not up to date.
    #[must_use]
    pub fn judge(facts: &Facts<'_>) -> Self {
        if let Some(reason) = facts.stopped {
            return Self::Stopped(reason.into());
        }
        if facts.holes || facts.data != DataState::Consistent {
            return Self::Inconsistent;
        }
        if facts.behind || !facts.connected { Self::Outdated } else { Self::UpToDate }
    }
}

impl fmt::Display for StateWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpToDate => f.write_str("UpToDate"),
            Self::Outdated => f.write_str("Outdated"),
            Self::Inconsistent => f.write_str("Inconsistent"),
            Self::Stopped(reason) => write!(f, "Stopped: {reason}"),
        }
    }
}

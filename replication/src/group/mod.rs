//! The secondaries of one journal: each at its own pace, none in another's way.
//!
//! A group owns one engine ([`Primary`]) per secondary and answers what they have in common. What happens to the journal
//! or to the device is told to the group, which tells every engine; what happens on one link is told to the engine of
//! that secondary alone ([`Group::engine`]).
//!
//! # What it guarantees
//!
//! - [`Group::cursor`] never passes an entry that some secondary neither holds durably nor has in its saved map.
//! - Records go to the journal as long as one secondary wants them. One that follows by its map alone meanwhile marks
//!   what they change, and lets the journal free them with its next save.
//! - When the journal is full, the one secondary that is furthest behind gives way ([`Group::make_room`]), then the next;
//!   whoever keeps up is not touched.
//! - A secondary that joins, or whose saved state is gone, is sent everything.
//!
//! # Contract with the driver
//!
//! That of each engine ([`crate::primary`]), with the group's calls in place of the engine's where both have one.
//! All members are of the same stream. Members join and leave between two appends, and a member's map is saved before
//! its name counts as known: a name without a saved map joins anew.

use alloc::boxed::Box;
use alloc::vec::Vec;

use formats::{ByteRange, EntryHeader, Position, Seq, VolumeIndex};
use thiserror::Error;

use crate::Now;
use crate::dirty::DirtyMap;
use crate::mutation::{self, Mutation};
use crate::primary::decide::last_seq_of;
use crate::primary::{ConfigError, JournalExtent, Primary, PrimaryConfig, Restored};

/// Secondaries of a group, at most: each has a cursor in the journal, which holds no more.
pub const MAX_MEMBERS: usize = formats::segment::MAX_CURSORS;

/// A member for as long as the group lives; never given out twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId(u32);

/// A secondary: its name, under which its cursor and its map are saved, and its engine.
#[derive(Clone, Debug)]
pub struct Member {
    id: MemberId,
    name: Box<str>,
    engine: Primary,
}

impl Member {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Primary {
        &self.engine
    }

    /// Its engine, to be told what happens on its link.
    pub fn engine_mut(&mut self) -> &mut Primary {
        &mut self.engine
    }
}

/// Why a secondary is not taken into a group.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum GroupError {
    /// Its engine cannot be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is one of this name.
    #[error("two secondaries are named `{0}`")]
    Twice(Box<str>),
    /// There are [`MAX_MEMBERS`].
    #[error("a group has at most {MAX_MEMBERS} secondaries")]
    TooMany,
    /// It is of another stream or of other volumes than the others.
    #[error("`{0}` is of another stream or of other volumes than the group")]
    Foreign(Box<str>),
}

/// What makes room in a journal that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relief {
    /// Save the maps of all members for which [`Primary::saving_frees`], then trim.
    Save,
    /// Hand the headers from this position on to [`Group::overflowed`], save the member's map, then trim.
    Overflow {
        /// Whose map takes over.
        member: MemberId,
        /// [`Primary::uncovered_from`] of its engine.
        from: Position,
    },
    /// Nobody needs anything of the journal any more.
    DiscardAll,
}

/// How far a secondary, or all of them, are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Last position received.
    pub received: Position,
    /// Last position held durably.
    pub durable: Position,
    /// Last position applied.
    pub applied: Position,
}

impl Standing {
    fn of(engine: &Primary) -> Self {
        Self { received: engine.received(), durable: engine.durable(), applied: engine.applied() }
    }

    fn least(self, other: Self) -> Self {
        Self {
            received: self.received.min(other.received),
            durable: self.durable.min(other.durable),
            applied: self.applied.min(other.applied),
        }
    }
}

/// The group. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Group {
    journal: JournalExtent,
    members: Vec<Member>,
    next_id: u32,
}

// Members.
impl Group {
    /// A group without members over this journal.
    #[must_use]
    pub fn new(journal: JournalExtent) -> Self {
        Self { journal, members: Vec::new(), next_id: 0 }
    }

    /// At start: takes in a secondary whose state was saved, or any secondary of a stream that begins. The journal of
    /// `restored` is that of the group.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn restore(&mut self, name: &str, config: PrimaryConfig, restored: Restored) -> Result<MemberId, GroupError> {
        self.check(name, &config)?;
        let engine = Primary::new(config, Restored { journal: self.journal, ..restored })?;
        Ok(self.add(name, engine))
    }

    /// At any time: takes in a secondary of which nothing is known. `completed` is the kernel's completion counter, read
    /// now.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn join(&mut self, name: &str, config: PrimaryConfig, completed: Seq) -> Result<MemberId, GroupError> {
        self.check(name, &config)?;
        let engine = Primary::joining(config, self.journal, completed)?;
        Ok(self.add(name, engine))
    }

    fn check(&self, name: &str, config: &PrimaryConfig) -> Result<(), GroupError> {
        if self.members.len() == MAX_MEMBERS {
            return Err(GroupError::TooMany);
        }
        if self.members.iter().any(|member| &*member.name == name) {
            return Err(GroupError::Twice(name.into()));
        }
        match self.members.first().map(|member| member.engine.config()) {
            Some(first) if first.stream != config.stream || first.volumes != config.volumes => {
                Err(GroupError::Foreign(name.into()))
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, name: &str, engine: Primary) -> MemberId {
        let id = MemberId(self.next_id);
        self.next_id += 1;
        self.members.push(Member { id, name: name.into(), engine });
        id
    }

    /// Lets a secondary go: nothing is kept for it any more. Answers what it was.
    pub fn leave(&mut self, id: MemberId) -> Option<Member> {
        let place = self.members.iter().position(|member| member.id == id)?;
        Some(self.members.remove(place))
    }

    /// The members, in the order in which they came.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members, to be told what happens to them alone.
    pub fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut()
    }

    /// The engine of the member at this place of [`Self::members`]; none where there is none.
    pub fn engine_at(&mut self, place: usize) -> Option<&mut Primary> {
        self.members.get_mut(place).map(|member| &mut member.engine)
    }

    /// The engine of a member; none once it has left.
    pub fn engine(&mut self, id: MemberId) -> Option<&mut Primary> {
        self.members.iter_mut().find(|member| member.id == id).map(|member| &mut member.engine)
    }
}

// What concerns all.
impl Group {
    /// As [`Primary::recover_entry`].
    pub fn recover_entry(&mut self, header: &EntryHeader) {
        self.members.iter_mut().for_each(|member| member.engine.recover_entry(header));
    }

    /// Whether records go to the journal; if not, to [`Self::skip`].
    #[must_use]
    pub fn wants_records(&self) -> bool {
        self.members.iter().any(|member| member.engine.wants_records())
    }

    /// These entries were appended: the next one takes position `next`, and continues `last_seq`.
    pub fn appended(&mut self, now: Now, headers: &[EntryHeader], next: Position, last_seq: Seq) {
        (self.journal.next, self.journal.last_seq) = (next, last_seq);
        self.members.iter_mut().for_each(|member| member.engine.appended(now, headers, next, last_seq));
    }

    /// An entry that is not journalled because [`Self::wants_records`] is false.
    pub fn skip(&mut self, header: &EntryHeader) {
        self.journal.last_seq = self.journal.last_seq.max(last_seq_of(header).unwrap_or_default());
        self.members.iter_mut().for_each(|member| member.engine.skip(header));
    }

    /// As [`Primary::mark`], for every secondary.
    pub fn mark(&mut self, volume: VolumeIndex, range: ByteRange, after: Seq) {
        self.members.iter_mut().for_each(|member| member.engine.mark(volume, range, after));
    }

    /// As [`Primary::mark_map`], for every secondary.
    pub fn mark_map(&mut self, map: &DirtyMap, after: Seq) {
        self.members.iter_mut().for_each(|member| member.engine.mark_map(map, after));
    }

    /// As [`Primary::journal_trimmed`].
    pub fn journal_trimmed(&mut self, first: Position) {
        self.journal.first = self.journal.first.max(first);
        self.members.iter_mut().for_each(|member| member.engine.journal_trimmed(first));
    }

    /// Last position in the journal.
    #[must_use]
    pub fn end(&self) -> Position {
        self.journal.next.previous()
    }

    /// Everything up to this is durable at every secondary, or in its saved map: the journal may free it.
    pub fn cursor(&mut self) -> Position {
        let end = self.journal.next.previous();
        self.members.iter_mut().map(|member| member.engine.cursor()).fold(end, Position::min)
    }

    /// What to do when the journal is full; to be asked again until the entries fit.
    pub fn make_room(&mut self) -> Relief {
        let end = self.journal.next.previous();
        let behind = self.members.iter_mut().map(|member| (member.engine.cursor(), member));
        let mut behind: Vec<_> = behind.filter(|(cursor, _)| *cursor < end).collect();
        behind.sort_by_key(|(cursor, member)| (*cursor, member.id));
        let slowest = if mutation::is(Mutation::FastestGivesWay) { behind.pop() } else { behind.into_iter().next() };
        match slowest {
            None => Relief::DiscardAll,
            Some((_, member)) if member.engine.saving_frees() => Relief::Save,
            Some((_, member)) => Relief::Overflow { member: member.id, from: member.engine.uncovered_from() },
        }
    }

    /// The journal is full because of this member. `unsent` are the journal's headers from where
    /// [`Relief::Overflow`] said.
    pub fn overflowed<'a>(&mut self, id: MemberId, unsent: impl IntoIterator<Item = &'a EntryHeader>) {
        if let Some(engine) = self.engine(id) {
            engine.overflowed(unsent);
        }
    }

    /// How far a member is; none once it has left.
    #[must_use]
    pub fn standing(&self, id: MemberId) -> Option<Standing> {
        self.members.iter().find(|member| member.id == id).map(|member| Standing::of(&member.engine))
    }

    /// How far all of them are: the least of each position; none while there is no member.
    #[must_use]
    pub fn all_have(&self) -> Option<Standing> {
        self.members.iter().map(|member| Standing::of(&member.engine)).reduce(Standing::least)
    }
}

#[cfg(test)]
mod tests;

//! What an engine has to do with the journal: what goes into it, what is full, what may be freed.

use formats::{EntryHeader, Position, Seq};

use super::decide::last_seq_of;
use super::{Link, Primary};
use crate::Now;
use crate::mutation::{self, Mutation};

impl Primary {
    /// Entries were appended: the next one takes position `next`, and continues `last_seq`.
    pub fn journal_grew(&mut self, now: Now, next: Position, last_seq: Seq) {
        debug_assert!(next >= self.journal.next && last_seq >= self.journal.last_seq);
        if next > self.journal.next {
            self.lag.appended(self.journal.next, now);
        }
        self.journal.next = next;
        self.journal.last_seq = last_seq;
    }

    /// The same where the journal goes on for other secondaries: an engine that wants no records marks what they change.
    /// Its next snapshot then stands for them, too.
    pub fn appended(&mut self, now: Now, headers: &[EntryHeader], next: Position, last_seq: Seq) {
        if self.mapping && !mutation::is(Mutation::FollowerUnmarked) {
            headers.iter().for_each(|header| self.mark_entry(header, Seq(0)));
        }
        self.journal_grew(now, next, last_seq);
    }

    /// Entries before `first` are gone from the journal.
    pub fn journal_trimmed(&mut self, first: Position) {
        self.journal.first = self.journal.first.max(first);
    }

    /// Whether records go to the journal; if not, to [`Self::skip`].
    #[must_use]
    pub fn wants_records(&self) -> bool {
        !self.mapping
    }

    /// An entry that is not journalled because [`Self::wants_records`] is false: its range is marked, its seq counted.
    pub fn skip(&mut self, header: &EntryHeader) {
        self.mark_entry(header, Seq(0));
        self.journal.last_seq = self.journal.last_seq.max(last_seq_of(header).unwrap_or_default());
    }

    /// The journal is full. `unsent` are its headers from [`Self::uncovered_from`] on; their ranges are marked, and
    /// the map stands for them once it is saved. With a link, the stream is cut and goes on with the next record;
    /// without one, records only mark the map from now on.
    pub fn overflowed<'a>(&mut self, unsent: impl IntoIterator<Item = &'a EntryHeader>) {
        self.counters.overflows += 1;
        for header in unsent.into_iter().filter(|_| !mutation::is(Mutation::OverflowUnmarked)) {
            self.mark_entry(header, Seq(0));
        }
        self.cover_through_end();
        match &mut self.link {
            Link::Up(session) if session.sent < self.journal.next.previous() && !mutation::is(Mutation::NoCut) => {
                session.cut = Some(self.saves.generation());
            }
            Link::Up(_) => {}
            Link::Down(_) => self.mapping = true,
        }
    }

    /// Everything up to this is durable at the secondary, or covered by a saved map: the journal may free it. Never
    /// goes back.
    pub fn cursor(&mut self) -> Position {
        self.cursor = self.cursor.max(self.saves.cursor(self.durable));
        if mutation::is(Mutation::ClearOneEarly) && self.cursor.next() < self.journal.next {
            return self.cursor.next();
        }
        self.cursor
    }

    /// The first position whose entry must be marked when the journal is full.
    #[must_use]
    pub fn uncovered_from(&self) -> Position {
        let held = self.covered.map_or(self.durable, |covered| self.durable.max(covered.through));
        held.next().max(self.journal.first)
    }

    /// Whether the journal could free more once the current state is saved.
    #[must_use]
    pub fn saving_frees(&self) -> bool {
        self.saves.is_urgent() || self.cover_is_behind()
    }
}

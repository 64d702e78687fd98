//! How a primary's engine decides: where a session goes on, what comes next, what is marked.

use alloc::vec::Vec;

use formats::entry::{Entry, EntryHeader};
use formats::wire::{DataState, Stretch, Welcome};
use formats::{ByteRange, Op, Position, Seq, VolumeIndex};

use super::config::{Covered, MAX_REGIONS_PER_BATCH};
use super::{FullReason, Link, Primary, Resume, Retry, Send};
use crate::Now;
use crate::consistency::leaves_hole;
use crate::dirty::DirtyMap;
use crate::follow::{ProtocolError, Tip, check_range};
use crate::mutation::{self, Mutation};

impl Primary {
    pub(super) fn resume(&self, welcome: &Welcome) -> Resume {
        let held = Position(welcome.durable);
        if welcome.data == DataState::Blank || welcome.stream == 0 {
            return self.resume_blank();
        }
        if welcome.stream != self.config.stream.0 {
            return Resume::Full(FullReason::OtherStream);
        }
        if held >= self.journal.next {
            return Resume::Full(FullReason::Ahead);
        }
        if held < self.durable {
            return Resume::Full(FullReason::LostAcknowledged);
        }
        match self.covered {
            Some(covered) if (covered.from..=covered.through).contains(&held) => {
                Resume::Covered { from: covered.through.next() }
            }
            _ if mutation::is(Mutation::ResumeOneLate) => Resume::Continue { from: held.next().next() },
            _ if held.next() >= self.journal.first => Resume::Continue { from: held.next() },
            _ => Resume::Full(FullReason::Behind),
        }
    }

    /// A blank secondary whose content is vouched for can take the stream from its very first entry.
    pub(super) fn resume_blank(&self) -> Resume {
        let origin = self.origin.filter(|origin| self.journal.first <= *origin && self.covered.is_none());
        match origin.filter(|_| self.config.assume_identical && self.durable == Position(0)) {
            Some(from) => Resume::Continue { from },
            None => Resume::Full(FullReason::Blank),
        }
    }

    pub(super) fn begin_full(&mut self) {
        self.counters.full_syncs += 1;
        self.mark_all(self.highest_sent);
        self.durable = Position(0);
        self.covered = None;
        self.cover_through_end();
    }

    /// The map stands for everything up to the end of the journal, once it is saved.
    pub(super) fn cover_through_end(&mut self) {
        let through = self.journal.next.previous();
        let earlier = self.covered.filter(|covered| self.durable <= covered.through);
        let from = earlier.map_or(self.durable, |covered| covered.from);
        self.covered = Some(Covered { from, through, last_seq: self.journal.last_seq });
        self.saves.covered(through);
    }

    /// While only the map is kept, it stands for more than was last saved: the journal has gone on for others.
    pub(super) fn cover_is_behind(&self) -> bool {
        let end = self.journal.next.previous();
        self.mapping && self.covered.is_none_or(|covered| covered.through < end)
    }

    /// Everything dirty waits until the next session has sent again what this one may have sent: regions in it came
    /// after that, and must do so again.
    pub(super) fn end_session(&mut self) {
        let unconfirmed = self.unconfirmed_regions();
        let map = self.deferred.map(self.highest_sent);
        // All maps have the geometry of the configuration.
        let _ = map.union(&self.dirty);
        for (volume, range) in unconfirmed.into_iter().filter(|_| !mutation::is(Mutation::ForgetFlight)) {
            let _ = map.mark(volume, range);
        }
        self.dirty.clear();
        self.link = Link::Down(Retry { at: Now::ZERO, connecting: false });
    }

    /// The map that takes marks which must wait until everything up to `after` is sent.
    pub(super) fn map_after(&mut self, after: Seq) -> &mut DirtyMap {
        match self.sent_through() {
            _ if mutation::is(Mutation::RegionsTooSoon) => &mut self.dirty,
            Some(sent) if after <= sent => &mut self.dirty,
            _ => self.deferred.map(after),
        }
    }

    /// Every completion up to this has been sent in this session, or was held by the secondary before.
    fn sent_through(&self) -> Option<Seq> {
        let Link::Up(session) = &self.link else { return None };
        if session.cut.is_none() && session.sent.next() == self.journal.next {
            return Some(self.journal.last_seq);
        }
        Some(session.sent_seq.unwrap_or(Seq(0)))
    }

    /// Lets regions go that have waited long enough.
    fn activate(&mut self) {
        let Some(sent) = self.sent_through() else { return };
        while let Some(map) = self.deferred.take_reached(sent) {
            // All maps have the geometry of the configuration.
            let _ = self.dirty.union(&map);
        }
    }

    /// Regions that left the map and are not known to be durable at the secondary.
    pub(super) fn unconfirmed_regions(&self) -> Vec<(VolumeIndex, ByteRange)> {
        match &self.link {
            Link::Up(session) => session.flight.regions().chain(session.reading.iter().flatten().copied()).collect(),
            Link::Down(_) => Vec::new(),
        }
    }

    pub(super) fn mark_entry(&mut self, header: &EntryHeader, after: Seq) {
        let Entry::Record(record) = &header.entry else { return };
        // What a failed flush lost is not told, so it is everything.
        let all = record.range.is_empty() && matches!(record.op, Op::Opaque | Op::Zone | Op::Flush);
        let range = if all { ByteRange::new(0, u64::MAX) } else { record.range };
        if record.op.changes_range() || leaves_hole(header) {
            self.mark(record.volume, range, after);
        }
    }

    pub(super) fn sent_hole(&mut self, header: &EntryHeader) {
        if !mutation::is(Mutation::HolesUnmarked) {
            self.mark_entry(header, Seq(0));
        }
        self.saves.hole(header.position);
        if let Link::Up(session) = &mut self.link {
            session.owed = true;
        }
    }

    pub(super) fn next_frame(&mut self, now: Now) -> Send {
        self.activate();
        let Link::Up(session) = &mut self.link else { return Send::Nothing };
        if session.reading.is_some() && !mutation::is(Mutation::EntriesAmongRegions) {
            // Content that was read must not come after entries that are newer than it.
            return session.keepalive(now, self.config.keepalive);
        }
        if let Some(generation) = session.cut {
            match self.covered.filter(|_| mutation::is(Mutation::CutUnsaved) || self.saves.is_saved(generation)) {
                None => return session.keepalive(now, self.config.keepalive),
                Some(covered) if covered.last_seq > Seq(0) => return Send::Cut(session.cut_header(&covered)),
                // Nothing was ever completed: a secondary that holds nothing is already there.
                Some(covered) => session.skip_cut(&covered),
            }
        }
        let keepalive = session.keepalive(now, self.config.keepalive);
        let space = session.space();
        if space == 0 {
            return keepalive;
        }
        let entries = session.sent.next() < self.journal.next;
        // What is partial never heals: the last region that it owes is the secondary's word that it does.
        let heals = !self.config.scope.is_partial();
        let regions = heals && (!self.dirty.is_empty() || (session.owed && self.deferred.is_empty()));
        if regions && (!entries || session.regions_in_turn < self.config.regions_per_batch) {
            return self.take_regions(space);
        }
        if entries {
            let max_bytes = space.min(u64::from(self.config.max_batch_bytes)) as u32;
            return Send::Entries { from: session.sent.next(), max_bytes };
        }
        keepalive
    }

    /// Takes dirty regions out of the map, so that marks that come while they are read stay.
    pub(super) fn take_regions(&mut self, space: u64) -> Send {
        let mut budget = space.min(u64::from(self.config.max_region_read_bytes));
        let mut ranges = Vec::new();
        while budget > 0 && ranges.len() < MAX_REGIONS_PER_BATCH {
            let start = (VolumeIndex(0), 0);
            let run = self.dirty.next_run(self.sweep, budget).or_else(|| self.dirty.next_run(start, budget));
            let Some((volume, range)) = run else { break };
            let _ = self.dirty.unmark(volume, range);
            self.sweep = (volume, range.end());
            budget = budget.saturating_sub(range.len);
            ranges.push((volume, range));
        }
        if ranges.is_empty() {
            ranges.push((VolumeIndex(0), ByteRange::new(0, 0)));
        }
        if let Link::Up(session) = &mut self.link {
            session.reading = Some(ranges.clone());
        }
        Send::Regions(ranges)
    }

    pub(super) fn frame_sent(
        &mut self,
        now: Now,
        entries: Option<Tip>,
        bytes: u64,
        regions: Vec<(VolumeIndex, ByteRange)>,
    ) -> u64 {
        let Link::Up(session) = &mut self.link else { return 0 };
        self.counters.bytes_sent += bytes;
        self.highest_sent = self.highest_sent.max(entries.map_or(Seq(0), |tip| tip.seq));
        session.frame_sent(now, entries, bytes, regions)
    }
}

/// The range of a stretch that the secondary asks for, if there is one.
pub(super) fn resend_range(stretch: &Stretch, sizes: &[u64]) -> Result<(VolumeIndex, ByteRange), ProtocolError> {
    let (volume, range) = (VolumeIndex(stretch.volume), ByteRange::new(stretch.offset, stretch.len));
    check_range(volume, range, sizes).map(|()| (volume, range))
}

/// What is held of the stream after a journalled entry.
pub(super) fn tip_of(header: &EntryHeader) -> Option<Tip> {
    last_seq_of(header).map(|seq| Tip { position: header.position, seq })
}

/// The last completion that an entry stands for.
pub(crate) fn last_seq_of(header: &EntryHeader) -> Option<Seq> {
    match &header.entry {
        Entry::Record(record) => Some(record.seq),
        Entry::Gap(gap) => Some(gap.last),
        Entry::Region(_) => None,
    }
}

/// The first completion that an entry stands for.
pub(super) fn first_seq_of(header: &EntryHeader) -> Option<Seq> {
    match &header.entry {
        Entry::Record(record) => Some(record.seq),
        Entry::Gap(gap) => Some(gap.first),
        Entry::Region(_) => None,
    }
}

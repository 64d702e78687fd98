//! Which entries of a standby may be applied now.
//!
//! Entries are admitted in the order of the stream. A record may start when every earlier record with `seq <= dep` is
//! complete and no earlier unfinished entry overlaps its range; a region only obeys the overlap; a gap is complete at
//! once. With a depth of 1 entries start strictly in order, because the first unfinished one can always start.
//!
//! An entry waits only for the *latest* unfinished entry on each piece of its range: that one waits for those below.
//! So each volume keeps its pieces with their latest owner in an ordered map, and every operation costs a logarithm
//! plus the number of pieces it touches, plus how far the entry's `dep` is from the order in which deps usually come.

use alloc::collections::{BTreeMap, BinaryHeap, VecDeque, btree_map};
use alloc::vec::Vec;
use core::cmp::Reverse;

use formats::entry::{Entry, EntryHeader};
use formats::{ByteRange, Seq, VolumeIndex};
use thiserror::Error;

/// A driver that breaks the order of calls.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchedulerError {
    /// Indices are admitted without holes.
    #[error("entry {got} admitted where {expected} was expected")]
    Index {
        /// Index that would have been right.
        expected: u64,
        /// Index that came.
        got: u64,
    },
    /// Seqs only grow, except after [`Scheduler::restart_order`].
    #[error("entry {index} goes back to seq {got} after {before}")]
    Order {
        /// Index of the entry.
        index: u64,
        /// Largest seq admitted.
        before: Seq,
        /// Seq of the entry.
        got: Seq,
    },
    /// Something completed that was not started.
    #[error("entry {0} completed without having been started")]
    NotStarted(u64),
    /// The order can only restart when nothing is pending.
    #[error("{0} entries are still pending")]
    Pending(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Waiting,
    Started,
    Complete,
}

#[derive(Clone, Debug)]
struct Slot {
    /// Of a record.
    seq: Option<Seq>,
    /// Completions up to this are applied with it.
    last_seq: Option<Seq>,
    volume: VolumeIndex,
    range: ByteRange,
    progress: Progress,
    /// Earlier entries, and 1 for the seqs it depends on, that it waits for.
    blockers: usize,
    /// Later entries that wait for it.
    waiters: Vec<u64>,
}

/// A piece of a volume and the latest unfinished entry that touches it. Keyed by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    end: u64,
    owner: u64,
}

type Pieces = BTreeMap<u64, Piece>;

/// The scheduler. Indices are those of the standby's own journal.
#[derive(Clone, Debug)]
pub struct Scheduler {
    depth: usize,
    /// Unfinished entries and complete ones behind an unfinished one; the first has index `base`.
    slots: VecDeque<Slot>,
    base: u64,
    /// First index at or behind which an unfinished record may be.
    record_front: u64,
    /// Records whose `dep` is not applied, sorted by dep. As a primary draws them they come nearly sorted: nearly all go in
    /// at the end, and all come out at the front.
    by_dep: VecDeque<(Seq, u64)>,
    ready: BinaryHeap<Reverse<u64>>,
    volumes: BTreeMap<VolumeIndex, Pieces>,
    in_flight: usize,
    last_seq: Seq,
    applied_seq: Seq,
}

impl Scheduler {
    /// A scheduler that lets `depth` entries (at least 1) run at once. Everything through index `applied_through` and
    /// seq `applied_seq` is applied already.
    #[must_use]
    pub fn new(depth: usize, applied_through: u64, applied_seq: Seq) -> Self {
        Self {
            depth: depth.max(1),
            slots: VecDeque::new(),
            base: applied_through + 1,
            record_front: applied_through + 1,
            by_dep: VecDeque::new(),
            ready: BinaryHeap::new(),
            volumes: BTreeMap::new(),
            in_flight: 0,
            last_seq: applied_seq,
            applied_seq,
        }
    }

    /// Takes the next entry of the standby's journal. It must be durable there.
    ///
    /// # Errors
    /// When an index is left out, or seqs go back; the entry is not taken.
    pub fn admit(&mut self, index: u64, header: &EntryHeader) -> Result<(), SchedulerError> {
        let expected = self.base + self.slots.len() as u64;
        if index != expected {
            return Err(SchedulerError::Index { expected, got: index });
        }
        self.check_order(index, header)?;
        match &header.entry {
            Entry::Gap(gap) => self.admit_gap(gap.last),
            Entry::Record(record) => {
                self.last_seq = record.seq;
                self.push(record.volume, record.range, Some(record.seq));
                self.block(index, Some(record.dep));
            }
            Entry::Region(region) => {
                self.push(region.volume, region.range, None);
                self.block(index, None);
            }
        }
        Ok(())
    }

    /// The next entry to start, or none while all must wait or `depth` are running. Gaps never come out.
    pub fn next_ready(&mut self) -> Option<u64> {
        if self.in_flight >= self.depth {
            return None;
        }
        let Reverse(index) = self.ready.pop()?;
        self.slot_mut(index)?.progress = Progress::Started;
        self.in_flight += 1;
        Some(index)
    }

    /// An entry that [`Self::next_ready`] gave out is applied.
    ///
    /// # Errors
    /// When it was not started; nothing changes then.
    pub fn complete(&mut self, index: u64) -> Result<(), SchedulerError> {
        let slot = self.slot_mut(index).filter(|slot| slot.progress == Progress::Started);
        let slot = slot.ok_or(SchedulerError::NotStarted(index))?;
        slot.progress = Progress::Complete;
        let (volume, range) = (slot.volume, slot.range);
        let waiters = core::mem::take(&mut slot.waiters);
        self.in_flight -= 1;
        self.release_pieces(index, volume, range);
        waiters.into_iter().for_each(|waiter| self.unblock(waiter));
        self.advance();
        Ok(())
    }

    /// Everything up to this index is applied.
    #[must_use]
    pub fn applied_through(&self) -> u64 {
        self.base - 1
    }

    /// Every completion up to this is applied or stands in a gap.
    #[must_use]
    pub fn applied_seq(&self) -> Seq {
        self.applied_seq
    }

    /// Entries that were started and are not complete.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The entries that were started and are not complete, in order.
    pub fn started(&self) -> impl Iterator<Item = u64> {
        let started = |(place, slot): (usize, &Slot)| (slot.progress == Progress::Started).then_some(place as u64);
        self.slots.iter().enumerate().filter_map(started).map(|place| self.base + place)
    }

    /// Entries that [`Self::next_ready`] would give out now, one after the other.
    #[must_use]
    pub fn startable(&self) -> usize {
        self.ready.len().min(self.depth.saturating_sub(self.in_flight))
    }

    /// Entries that were admitted and are not known to be applied through.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.slots.len()
    }

    /// From now on seqs go on from `seq`, which may be lower than before (the stream was cut, or is another one).
    ///
    /// # Errors
    /// When entries are pending: seqs from before and after could not be told apart.
    pub fn restart_order(&mut self, seq: Seq) -> Result<(), SchedulerError> {
        if !self.slots.is_empty() {
            return Err(SchedulerError::Pending(self.slots.len()));
        }
        self.last_seq = seq;
        self.applied_seq = seq;
        Ok(())
    }

    fn check_order(&self, index: u64, header: &EntryHeader) -> Result<(), SchedulerError> {
        let before = self.last_seq;
        match &header.entry {
            Entry::Record(record) if record.seq <= before => {
                Err(SchedulerError::Order { index, before, got: record.seq })
            }
            Entry::Gap(gap) if gap.last < before => Err(SchedulerError::Order { index, before, got: gap.last }),
            _ => Ok(()),
        }
    }

    fn admit_gap(&mut self, last: Seq) {
        self.last_seq = last;
        self.push(VolumeIndex(0), ByteRange::new(0, 0), None);
        if let Some(slot) = self.slots.back_mut() {
            slot.progress = Progress::Complete;
            slot.last_seq = Some(last);
        }
        self.advance();
    }

    fn push(&mut self, volume: VolumeIndex, range: ByteRange, seq: Option<Seq>) {
        self.slots.push_back(Slot {
            seq,
            last_seq: seq,
            volume,
            range,
            progress: Progress::Waiting,
            blockers: 0,
            waiters: Vec::new(),
        });
    }

    /// Finds out what the entry just pushed waits for.
    fn block(&mut self, index: u64, dep: Option<Seq>) {
        let mut blockers = self.take_pieces(index);
        self.advance_record_front();
        if let Some(dep) = dep.filter(|dep| *dep >= self.first_unfinished_seq()) {
            self.wait_for_dep(dep, index);
            blockers += 1;
        }
        if let Some(slot) = self.slot_mut(index) {
            slot.blockers = blockers;
        }
        if blockers == 0 {
            self.ready.push(Reverse(index));
        }
    }

    fn unblock(&mut self, index: u64) {
        let Some(slot) = self.slot_mut(index) else { return };
        slot.blockers -= 1;
        if slot.blockers == 0 {
            self.ready.push(Reverse(index));
        }
    }

    /// Lowest seq of an unfinished record, the one just pushed included.
    fn first_unfinished_seq(&self) -> Seq {
        self.slot(self.record_front).and_then(|slot| slot.seq).unwrap_or(Seq(u64::MAX))
    }

    /// Drops what is complete at the front, and lets records go whose dependencies are now applied.
    fn advance(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.progress == Progress::Complete) {
            if let Some(seq) = self.slots.pop_front().and_then(|slot| slot.last_seq) {
                self.applied_seq = seq;
            }
            self.base += 1;
        }
        self.advance_record_front();
        let first = self.first_unfinished_seq();
        while let Some((_, index)) = self.by_dep.pop_front_if(|(dep, _)| *dep < first) {
            self.unblock(index);
        }
    }

    fn wait_for_dep(&mut self, dep: Seq, index: u64) {
        if self.by_dep.back().is_none_or(|(last, _)| *last <= dep) {
            return self.by_dep.push_back((dep, index));
        }
        let place = self.by_dep.partition_point(|(other, _)| *other <= dep);
        self.by_dep.insert(place, (dep, index));
    }

    fn advance_record_front(&mut self) {
        self.record_front = self.record_front.max(self.base);
        while self.slot(self.record_front).is_some_and(|s| s.seq.is_none() || s.progress == Progress::Complete) {
            self.record_front += 1;
        }
    }

    /// Makes the entry the owner of its range; answers how many unfinished entries owned parts of it.
    fn take_pieces(&mut self, index: u64) -> usize {
        let Some(slot) = self.slot(index) else { return 0 };
        let (volume, range) = (slot.volume, slot.range);
        if range.is_empty() {
            return 0;
        }
        let pieces = self.volumes.entry(volume).or_default();
        let mut owners = cut_out(pieces, range);
        pieces.insert(range.offset, Piece { end: range.end(), owner: index });
        owners.sort_unstable();
        owners.dedup();
        for owner in &owners {
            if let Some(slot) = self.slot_mut(*owner) {
                slot.waiters.push(index);
            }
        }
        owners.len()
    }

    fn release_pieces(&mut self, index: u64, volume: VolumeIndex, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let Some(pieces) = self.volumes.get_mut(&volume) else { return };
        // Nearly always nothing was written over it meanwhile, and it owns one piece, all of its range.
        if let btree_map::Entry::Occupied(piece) = pieces.entry(range.offset)
            && *piece.get() == (Piece { end: range.end(), owner: index })
        {
            piece.remove();
            return;
        }
        let owned = pieces.range(range.offset..range.end()).filter(|(_, piece)| piece.owner == index);
        let owned: Vec<u64> = owned.map(|(start, _)| *start).collect();
        for start in owned {
            pieces.remove(&start);
        }
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.base)?).ok()?)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.base)?).ok()?)
    }
}

/// Removes `range` from the pieces, splitting those that reach out of it; answers the owners of what was removed.
fn cut_out(pieces: &mut Pieces, range: ByteRange) -> Vec<u64> {
    let (start, end) = (range.offset, range.end());
    let mut owners = Vec::new();
    if let Some((&first, &piece)) = pieces.range(..start).next_back()
        && piece.end > start
    {
        owners.push(piece.owner);
        pieces.insert(first, Piece { end: start, ..piece });
        if piece.end > end {
            pieces.insert(end, piece);
        }
    }
    while let Some((&first, &piece)) = pieces.range(start..end).next() {
        owners.push(piece.owner);
        pieces.remove(&first);
        if piece.end > end {
            pieces.insert(end, piece);
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use formats::entry::{Gap, Origin, PayloadInfo, Record, Region};
    use formats::{Op, OpFlags, Position, Status};
    use proptest::prelude::*;

    use super::*;

    fn record(seq: u64, dep: u64, offset: u64, len: u64) -> EntryHeader {
        let record = Record {
            seq: Seq(seq),
            dep: Seq(dep),
            volume: VolumeIndex((offset % 2) as u16),
            op: if len == 0 { Op::Flush } else { Op::Discard },
            flags: OpFlags::empty(),
            range: ByteRange::new(offset / 2, len),
            status: Status::OK,
            origin: Origin::default(),
        };
        EntryHeader { entry: Entry::Record(record), position: Position(0), payload: PayloadInfo::NONE }
    }

    fn region(offset: u64, len: u64) -> EntryHeader {
        let entry = Entry::Region(Region {
            volume: VolumeIndex((offset % 2) as u16),
            range: ByteRange::new(offset / 2, len),
            consistent_after: Seq(0),
            remaining: 0,
        });
        EntryHeader { entry, position: Position(0), payload: PayloadInfo::ZERO }
    }

    fn gap(first: u64, last: u64) -> EntryHeader {
        let entry = Entry::Gap(Gap { first: Seq(first), last: Seq(last) });
        EntryHeader { entry, position: Position(0), payload: PayloadInfo::NONE }
    }

    fn all_ready(scheduler: &mut Scheduler) -> Vec<u64> {
        core::iter::from_fn(|| scheduler.next_ready()).collect()
    }

    #[test]
    fn a_record_waits_for_what_it_depends_on_and_nothing_else() {
        let mut scheduler = Scheduler::new(8, 0, Seq(0));
        for (index, header) in [record(1, 0, 0, 4), record(2, 0, 100, 4), record(3, 1, 200, 4)].iter().enumerate() {
            scheduler.admit(index as u64 + 1, header).expect("in order");
        }
        assert_eq!(all_ready(&mut scheduler), [1, 2]);
        scheduler.complete(2).expect("started");
        assert_eq!(all_ready(&mut scheduler), []);
        scheduler.complete(1).expect("started");
        assert_eq!(all_ready(&mut scheduler), [3]);
        assert_eq!((scheduler.applied_through(), scheduler.applied_seq()), (2, Seq(2)));
    }

    #[test]
    fn a_region_waits_for_overlap_only_and_a_gap_for_nothing() {
        let mut scheduler = Scheduler::new(8, 10, Seq(5));
        scheduler.admit(11, &record(6, 5, 0, 8)).expect("in order");
        scheduler.admit(12, &region(200, 8)).expect("in order");
        scheduler.admit(13, &region(4, 8)).expect("in order");
        scheduler.admit(14, &gap(7, 9)).expect("in order");
        assert_eq!(all_ready(&mut scheduler), [11, 12]);
        scheduler.complete(12).expect("started");
        scheduler.complete(11).expect("started");
        assert_eq!((scheduler.applied_through(), scheduler.applied_seq()), (12, Seq(6)));
        assert_eq!(all_ready(&mut scheduler), [13]);
        scheduler.complete(13).expect("started");
        assert_eq!((scheduler.applied_through(), scheduler.applied_seq()), (14, Seq(9)));
    }

    #[test]
    fn wrong_calls_are_errors() {
        let mut scheduler = Scheduler::new(8, 0, Seq(0));
        assert_eq!(scheduler.admit(2, &gap(1, 1)), Err(SchedulerError::Index { expected: 1, got: 2 }));
        scheduler.admit(1, &record(4, 0, 0, 4)).expect("in order");
        assert!(matches!(scheduler.admit(2, &record(4, 0, 0, 4)), Err(SchedulerError::Order { .. })));
        assert_eq!(scheduler.complete(1), Err(SchedulerError::NotStarted(1)));
        assert_eq!(scheduler.restart_order(Seq(1)), Err(SchedulerError::Pending(1)));
    }

    #[test]
    fn thousands_pending_over_one_long_discard() {
        let mut scheduler = Scheduler::new(128, 0, Seq(0));
        scheduler.admit(1, &record(1, 0, 0, 1 << 30)).expect("in order");
        for n in 2..20_000 {
            scheduler.admit(n, &record(n, 0, n * 16, 8)).expect("in order");
        }
        assert_eq!(all_ready(&mut scheduler), [1]);
        scheduler.complete(1).expect("started");
        let mut done = 1;
        while let Some(index) = scheduler.next_ready() {
            scheduler.complete(index).expect("started");
            done += 1;
        }
        assert_eq!((done, scheduler.pending()), (19_999, 0));
        assert!(scheduler.volumes.values().all(BTreeMap::is_empty));
    }

    /// The rule, word for word.
    #[derive(Default)]
    struct Naive {
        entries: Vec<(EntryHeader, Progress)>,
    }

    impl Naive {
        fn may_start(&self, at: usize) -> bool {
            let (header, progress) = &self.entries[at];
            let unfinished = self.entries[..at].iter().filter(|(_, p)| *p != Progress::Complete);
            *progress == Progress::Waiting
                && unfinished.into_iter().all(|(earlier, _)| !depends(header, earlier) && !overlaps(header, earlier))
        }

        fn applied_through(&self) -> u64 {
            self.entries.iter().take_while(|(_, p)| *p == Progress::Complete).count() as u64
        }

        fn ready(&self) -> Vec<u64> {
            (0..self.entries.len()).filter(|at| self.may_start(*at)).map(|at| at as u64 + 1).collect()
        }
    }

    fn depends(later: &EntryHeader, earlier: &EntryHeader) -> bool {
        matches!((&later.entry, &earlier.entry), (Entry::Record(l), Entry::Record(e)) if e.seq <= l.dep)
    }

    fn overlaps(a: &EntryHeader, b: &EntryHeader) -> bool {
        let place = |header: &EntryHeader| match &header.entry {
            Entry::Record(record) => Some((record.volume, record.range)),
            Entry::Region(region) => Some((region.volume, region.range)),
            Entry::Gap(_) => None,
        };
        matches!((place(a), place(b)), (Some((v, r)), Some((w, s))) if v == w && r.overlaps(s))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Record { back: u64, offset: u64, len: u64 },
        Region { offset: u64, len: u64 },
        Gap { len: u64 },
        Start,
        Complete(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1u64..12, 0u64..60, 0u64..12).prop_map(|(back, offset, len)| Step::Record { back, offset, len }),
            1 => (0u64..60, 0u64..12).prop_map(|(offset, len)| Step::Region { offset, len }),
            1 => (1u64..4).prop_map(|len| Step::Gap { len }),
            4 => Just(Step::Start),
            4 => any::<usize>().prop_map(Step::Complete),
        ]
    }

    proptest! {
        #[test]
        fn starts_exactly_what_the_rule_allows(steps in proptest::collection::vec(step(), 0..120), depth in 1usize..6) {
            let (mut scheduler, mut naive) = (Scheduler::new(depth, 0, Seq(0)), Naive::default());
            let (mut seq, mut started) = (0, Vec::new());
            for step in steps {
                let next = naive.entries.len() as u64 + 1;
                let header = match step {
                    Step::Record { back, offset, len } => { seq += 1; Some(record(seq, seq.saturating_sub(back), offset, len)) }
                    Step::Region { offset, len } => Some(region(offset, len)),
                    Step::Gap { len } => { seq += len; Some(gap(seq - len + 1, seq)) }
                    Step::Start | Step::Complete(_) => None,
                };
                if let Some(header) = header {
                    scheduler.admit(next, &header).expect("in order");
                    let gap = matches!(header.entry, Entry::Gap(_));
                    naive.entries.push((header, if gap { Progress::Complete } else { Progress::Waiting }));
                }
                if let Step::Start = step {
                    let ready = naive.ready();
                    let expected = if started.len() < depth { ready.first().copied() } else { None };
                    prop_assert_eq!(scheduler.next_ready(), expected);
                    if let Some(index) = expected {
                        naive.entries[index as usize - 1].1 = Progress::Started;
                        started.push(index);
                    }
                }
                if let Step::Complete(which) = step && !started.is_empty() {
                    let index = started.remove(which % started.len());
                    scheduler.complete(index).expect("started");
                    naive.entries[index as usize - 1].1 = Progress::Complete;
                }
                prop_assert_eq!(scheduler.applied_through(), naive.applied_through());
                prop_assert_eq!(scheduler.in_flight(), started.len());
                let in_order: Vec<u64> = scheduler.started().collect();
                let mut sorted = started.clone();
                sorted.sort_unstable();
                prop_assert_eq!(in_order, sorted);
                prop_assert_eq!(scheduler.startable(), naive.ready().len().min(depth - started.len()));
            }
        }

        #[test]
        fn with_depth_one_the_order_is_strict(steps in proptest::collection::vec(step(), 0..60)) {
            let mut scheduler = Scheduler::new(1, 0, Seq(0));
            let (mut seq, mut index, mut expected) = (0, 0, Vec::new());
            for step in steps {
                let header = match step {
                    Step::Record { back, offset, len } => { seq += 1; record(seq, seq.saturating_sub(back), offset, len) }
                    Step::Region { offset, len } => region(offset, len),
                    _ => continue,
                };
                index += 1;
                scheduler.admit(index, &header).expect("in order");
                expected.push(index);
            }
            let mut order = Vec::new();
            while let Some(index) = scheduler.next_ready() {
                scheduler.complete(index).expect("started");
                order.push(index);
            }
            prop_assert_eq!(order, expected);
        }
    }
}

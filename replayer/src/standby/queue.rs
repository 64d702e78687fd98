//! Entries that are durable and not yet applied, by their index in the standby's own journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use formats::{Entry, EntryHeader};

use super::budget::Permit;
use super::frame::Frame;

/// One waiting entry.
#[derive(Debug)]
struct Waiting {
    header: EntryHeader,
    payload: Bytes,
    since: Instant,
    /// Keeps the bytes of its frame accounted for, also when it has no payload of its own.
    _permit: Arc<Permit>,
}

/// The entries of a frame, made ready to be added: what that costs need not be paid under a lock.
#[derive(Debug)]
pub(super) struct Prepared(Vec<Option<Waiting>>);

impl Prepared {
    pub(super) fn new(frame: &Frame, now: Instant) -> Self {
        let waiting = |(at, header): (usize, &EntryHeader)| {
            let (payload, permit) = (frame.payload(at), frame.permit());
            let waiting = Waiting { header: *header, payload, since: now, _permit: permit };
            // The engine counts gaps as applied at once and never hands them out.
            Some(waiting).filter(|_| !matches!(header.entry, Entry::Gap(_)))
        };
        Self(frame.headers.iter().enumerate().map(waiting).collect())
    }
}

/// A run of entries with consecutive indices, of which some in the middle may be gone already.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Index of the first slot.
    first: u64,
    slots: VecDeque<Option<Waiting>>,
    waiting: u64,
}

impl Queue {
    /// Adds all entries of a frame, of which the first has this index.
    pub(super) fn add(&mut self, first: u64, entries: Prepared) {
        if self.slots.is_empty() {
            self.first = first;
        }
        debug_assert_eq!(first, self.first + self.slots.len() as u64);
        self.waiting += entries.0.iter().flatten().count() as u64;
        self.slots.extend(entries.0);
        self.drop_front();
    }

    /// Header and payload of an entry.
    pub(super) fn get(&self, index: u64) -> Option<(EntryHeader, Bytes)> {
        let slot = self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)?;
        slot.as_ref().map(|waiting| (waiting.header, waiting.payload.clone()))
    }

    /// Takes an entry out once it is applied.
    pub(super) fn remove(&mut self, index: u64) -> Option<EntryHeader> {
        let slot = self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)?;
        let removed = slot.take()?;
        self.waiting -= 1;
        self.drop_front();
        Some(removed.header)
    }

    /// Forgets all entries: they will be added again from the journal.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.waiting = 0;
    }

    fn drop_front(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.waiting
    }

    /// Since when the oldest entry has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.slots.front()?.as_ref().map(|waiting| waiting.since)
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::PayloadInfo;
    use formats::{ByteRange, Gap, Position, Region, Seq, VolumeIndex};

    use super::super::budget::Budget;
    use super::*;

    fn frame(budget: &Arc<Budget>, positions: std::ops::Range<u64>) -> Frame {
        let mut body = Vec::new();
        for position in positions {
            let (volume, range) = (VolumeIndex(0), ByteRange::new(0, 0));
            let entry = Entry::Region(Region { volume, range, consistent_after: Seq(0), remaining: 0 });
            EntryHeader { entry, position: Position(position), payload: PayloadInfo::NONE }.write_to(&[], &mut body);
        }
        let permit = budget.take(body.len() as u64);
        Frame::parse(1, body.into(), permit).unwrap()
    }

    fn prepared(frame: &Frame) -> Prepared {
        Prepared::new(frame, Instant::now())
    }

    #[test]
    fn entries_leave_in_any_order_and_give_their_bytes_back_with_the_last() {
        let budget = Budget::new(1000);
        let mut queue = Queue::default();
        queue.add(10, prepared(&frame(&budget, 0..3)));
        queue.add(13, prepared(&frame(&budget, 3..5)));
        assert_eq!((queue.len(), budget.used()), (5, 5 * 128));
        assert_eq!(queue.get(12).unwrap().0.position, Position(2));
        for index in [11, 10, 14] {
            assert_eq!(queue.remove(index).unwrap().position, Position(index - 10));
            assert!(queue.remove(index).is_none() && queue.get(index).is_none());
        }
        assert_eq!((queue.len(), budget.used()), (2, 5 * 128));
        assert!(queue.get(9).is_none() && queue.get(15).is_none());
        queue.remove(12);
        assert_eq!(budget.used(), 2 * 128);
        queue.remove(13);
        assert_eq!((queue.len(), budget.used()), (0, 0));
        assert!(queue.oldest().is_none());
        let gap = Entry::Gap(Gap { first: Seq(1), last: Seq(1) });
        let mut body = Vec::new();
        EntryHeader { entry: gap, position: Position(5), payload: PayloadInfo::NONE }.write_to(&[], &mut body);
        queue.add(15, prepared(&Frame::parse(1, body.into(), budget.take(128)).unwrap()));
        assert_eq!((queue.len(), budget.used()), (0, 0), "a gap waits for nothing");
        queue.add(16, prepared(&frame(&budget, 6..7)));
        assert!(queue.get(16).is_some() && queue.oldest().is_some());
    }
}

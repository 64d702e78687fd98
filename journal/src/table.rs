//! Which segments are in use and what lies in them: the one thing that writer and readers share.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use formats::segment::{DATA_START, Place};

use crate::disk::Disk;
use crate::error::IoFault;

/// Bytes of log per mark in memory; finding an item reads the heads of at most the items between two marks.
pub const MARK_EVERY: u64 = 32 << 10;

/// Files and table of a journal.
pub(crate) struct Shared<D: Disk> {
    /// Where it is, for messages.
    pub(crate) journal: String,
    /// The segment files, by slot.
    pub(crate) files: Vec<D::File>,
    table: Mutex<Table>,
}

/// The live segments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) live: VecDeque<Segment>,
    /// Index of the next item; the first one, too, when nothing is live.
    pub(crate) next: u64,
    /// Everything up to this index survives a power cut.
    pub(crate) durable: u64,
    /// The writer is gone.
    pub(crate) closed: bool,
}

/// A segment in use.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Number of its file.
    pub(crate) slot: u16,
    pub(crate) id: u64,
    /// Index of its first item.
    pub(crate) first: u64,
    /// Index after its last item.
    pub(crate) next: u64,
    /// Bytes of the file in use.
    pub(crate) end: u64,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    offset: u64,
}

/// Where an item begins, or one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    pub(crate) slot: u16,
    pub(crate) segment: u64,
    pub(crate) index: u64,
    pub(crate) offset: u64,
    /// Bytes of the file in use when it was looked up.
    pub(crate) end: u64,
}

impl Spot {
    pub(crate) fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset }
    }
}

impl Segment {
    pub(crate) fn new(slot: u16, id: u64, first: u64) -> Self {
        Self { slot, id, first, next: first, end: DATA_START, marks: Vec::new() }
    }

    /// Takes note of the next item, of `len` bytes.
    pub(crate) fn push(&mut self, len: u64) {
        if self.marks.last().is_none_or(|mark| self.end - mark.offset >= MARK_EVERY) {
            self.marks.push(Mark { index: self.next, offset: self.end });
        }
        self.next += 1;
        self.end += len;
    }

    /// The last mark at or before `index`, which is in the segment.
    pub(crate) fn spot_before(&self, index: u64) -> Spot {
        let after = self.marks.partition_point(|mark| mark.index <= index);
        let start = Mark { index: self.first, offset: DATA_START };
        let mark = after.checked_sub(1).map_or(start, |i| self.marks[i]);
        Spot { slot: self.slot, segment: self.id, index: mark.index, offset: mark.offset, end: self.end }
    }
}

impl Table {
    pub(crate) fn first(&self) -> u64 {
        self.live.front().map_or(self.next, |segment| segment.first)
    }

    /// The segment that holds `index`.
    pub(crate) fn segment_of(&self, index: u64) -> Option<&Segment> {
        let at = self.live.partition_point(|segment| segment.next <= index);
        self.live.get(at).filter(|segment| segment.first <= index)
    }
}

impl<D: Disk> Shared<D> {
    pub(crate) fn new(journal: String, files: Vec<D::File>, table: Table) -> Self {
        Self { journal, files, table: Mutex::new(table) }
    }

    /// The table. Nothing that holds it can panic half-way through a change, so a poisoned lock is taken as it is.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn file(&self, slot: u16) -> &D::File {
        &self.files[usize::from(slot)]
    }

    pub(crate) fn fault(&self, doing: &'static str, slot: u16, source: io::Error) -> IoFault {
        IoFault { journal: self.journal.clone(), doing, file: segment_name(slot), source }
    }
}

/// Name of the file of a slot.
pub(crate) fn segment_name(slot: u16) -> String {
    format!("segment-{slot:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_lie_at_most_one_mark_before() {
        let mut segment = Segment::new(0, 1, 10);
        (0..1000).for_each(|_| segment.push(1000));
        assert!(segment.marks.len() <= 1_000_000 / MARK_EVERY as usize + 1);
        for index in 10..1010 {
            let spot = segment.spot_before(index);
            assert!(spot.index <= index && (index - spot.index) * 1000 <= MARK_EVERY + 1000);
            assert_eq!(spot.offset, DATA_START + (spot.index - 10) * 1000);
        }
    }

    #[test]
    fn the_table_finds_the_segment_of_an_index() {
        let segment = |first, next| Segment { next, ..Segment::new(0, first, first) };
        let table = Table { live: [segment(5, 8), segment(8, 8), segment(8, 12)].into(), next: 12, ..Table::default() };
        let first_of = |index| table.segment_of(index).map(|s| (s.first, s.next));
        assert_eq!(
            [4, 5, 7, 8, 11, 12].map(first_of),
            [None, Some((5, 8)), Some((5, 8)), Some((8, 12)), Some((8, 12)), None]
        );
        assert_eq!((table.first(), Table { next: 3, ..Table::default() }.first()), (5, 3));
    }
}

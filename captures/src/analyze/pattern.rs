//! The pattern of access: how sequential writes are, how many commands run at once, how far flushes are apart.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use formats::{ByteRange, Record, Seq};
use serde::Serialize;

use super::distribution::{Counter, Distribution};

/// Ends of earlier writes that a write may continue: so many streams are told apart on a device.
const STREAMS: usize = 32;
/// A step to an address within so many bytes is near.
const NEAR: u64 = 1 << 20;
/// Volumes that are followed.
const VOLUMES: usize = 64;

/// How writes follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SequentialityReport {
    /// Writes that begin where one of the last 32 on the device ended.
    pub sequential: u64,
    /// Their share of the bytes.
    pub sequential_bytes: f64,
    /// Others that begin within 1 MiB of where the last one ended.
    pub near: u64,
    /// All others.
    pub random: u64,
}

/// Commands at the same time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConcurrencyReport {
    /// Commands in flight when one was issued, itself included.
    pub queue_depth: Distribution,
    /// Commands in a generation: all were issued before the first of them completed, so none depends on another.
    pub generation: Distribution,
}

/// Flushes and writes that are durable at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlushReport {
    /// Flush commands, those that a write carries included.
    pub flushes: u64,
    /// Writes with FUA.
    pub fua: u64,
    /// Writes between two flushes.
    pub writes_between: Distribution,
    /// Bytes between two flushes.
    pub bytes_between: Distribution,
    /// Nanoseconds between two flushes.
    pub ns_between: Distribution,
}

/// Follows writes of each volume.
#[derive(Debug, Default)]
pub(super) struct Sequentiality {
    volumes: HashMap<u16, Streams, FixedState>,
    report: SequentialityReport,
    bytes: u64,
    sequential_bytes: u64,
}

#[derive(Debug)]
struct Streams {
    ends: [u64; STREAMS],
    /// Their lower halves, which are compared many at a time.
    halves: [u32; STREAMS],
    /// When each end was used last.
    used: [u64; STREAMS],
    uses: u64,
    last: u64,
}

impl Default for Streams {
    fn default() -> Self {
        let (ends, halves) = ([u64::MAX; STREAMS], [u32::MAX; STREAMS]);
        Self { ends, halves, used: [0; STREAMS], uses: 0, last: u64::MAX }
    }
}

impl Streams {
    /// Ends at `end` what began at `begin`; whether that continues a stream. One that goes on keeps its place, and so does an
    /// end that comes again; else the stream that was used longest ago is forgotten.
    fn follow(&mut self, begin: u64, end: u64) -> bool {
        self.uses += 1;
        let continued = self.place(begin);
        let oldest = || (0..STREAMS).min_by_key(|place| self.used[*place]);
        let place = continued.or_else(|| self.place(end)).or_else(oldest).unwrap_or(0);
        (self.ends[place], self.halves[place], self.used[place]) = (end, end as u32, self.uses);
        continued.is_some()
    }

    /// The first place of an end. In general there is none.
    fn place(&self, end: u64) -> Option<usize> {
        let half = end as u32;
        let any = self.halves.iter().fold(false, |any, known| any | (*known == half));
        if any { self.ends.iter().position(|known| *known == end) } else { None }
    }
}

impl Sequentiality {
    pub(super) fn write(&mut self, volume: u16, range: ByteRange) {
        if self.volumes.len() >= VOLUMES && !self.volumes.contains_key(&volume) {
            return;
        }
        let streams = self.volumes.entry(volume).or_default();
        self.bytes = self.bytes.saturating_add(range.len);
        if streams.follow(range.offset, range.end()) {
            self.report.sequential += 1;
            self.sequential_bytes = self.sequential_bytes.saturating_add(range.len);
        } else {
            let is_near = streams.last != u64::MAX && range.offset.abs_diff(streams.last) <= NEAR;
            *(if is_near { &mut self.report.near } else { &mut self.report.random }) += 1;
        }
        streams.last = range.end();
    }

    pub(super) fn report(&self) -> SequentialityReport {
        let sequential_bytes = self.sequential_bytes as f64 / self.bytes.max(1) as f64;
        SequentialityReport { sequential_bytes, ..self.report }
    }
}

/// Follows what runs at once.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    depth: Counter,
    generations: Counter,
    /// The first of the generation that is open, and its width.
    open: Option<(Seq, u64)>,
}

impl Concurrency {
    /// The next record in the order of `seq`.
    pub(super) fn record(&mut self, record: &Record) {
        self.depth.add(record.origin.queue_depth.into());
        match &mut self.open {
            Some((first, width)) if record.dep < *first => *width += 1,
            open => {
                let ended = open.replace((record.seq, 1));
                ended.into_iter().for_each(|(_, width)| self.generations.add(width));
            }
        }
    }

    pub(super) fn report(&mut self) -> ConcurrencyReport {
        self.open.take().into_iter().for_each(|(_, width)| self.generations.add(width));
        ConcurrencyReport { queue_depth: self.depth.report(), generation: self.generations.report() }
    }
}

/// Follows flushes.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    flushes: u64,
    fua: u64,
    writes: u64,
    bytes: u64,
    last_ns: Option<u64>,
    between: [Counter; 3],
}

impl Flushes {
    pub(super) fn write(&mut self, len: u64, fua: bool) {
        self.writes += 1;
        self.bytes = self.bytes.saturating_add(len);
        self.fua += u64::from(fua);
    }

    pub(super) fn flush(&mut self, at_ns: u64) {
        self.flushes += 1;
        if let Some(last) = self.last_ns.replace(at_ns) {
            let values = [self.writes, self.bytes, at_ns.saturating_sub(last)];
            self.between.iter_mut().zip(values).for_each(|(counter, value)| counter.add(value));
        }
        (self.writes, self.bytes) = (0, 0);
    }

    pub(super) fn report(&self) -> FlushReport {
        let [writes, bytes, ns] = self.between.each_ref().map(Counter::report);
        let (flushes, fua) = (self.flushes, self.fua);
        FlushReport { flushes, fua, writes_between: writes, bytes_between: bytes, ns_between: ns }
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::Origin;
    use formats::{Op, OpFlags, Status, VolumeIndex};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_that_take_turns_are_sequential() {
        let mut sequentiality = Sequentiality::default();
        for round in 0..10 {
            for stream in 0..4 {
                sequentiality.write(0, ByteRange::new((stream << 30) + round * 4096, 4096));
            }
        }
        sequentiality.write(0, ByteRange::new((3 << 30) + 100_000, 512));
        sequentiality.write(1, ByteRange::new(40_960, 512));
        let report = sequentiality.report();
        assert_eq!((report.sequential, report.near, report.random), (36, 1, 5));
        assert!((report.sequential_bytes - 36.0 / 40.25).abs() < 1e-9);
    }

    #[test]
    fn flushes_are_apart() {
        let mut flushes = Flushes::default();
        for at in [10, 30, 60] {
            flushes.flush(at);
            flushes.write(512, at == 30);
            flushes.write(512, false);
        }
        let report = flushes.report();
        assert_eq!((report.flushes, report.fua), (3, 1));
        assert_eq!((report.writes_between.max, report.bytes_between.min, report.ns_between.p50), (2, 1024, 20));
    }

    fn record(seq: u64, dep: u64) -> Record {
        let (range, origin) = (ByteRange::default(), Origin { queue_depth: 1, ..Origin::default() });
        let (op, flags, status, volume) = (Op::Write, OpFlags::empty(), Status::OK, VolumeIndex(0));
        Record { seq: Seq(seq), dep: Seq(dep), volume, op, flags, range, status, origin }
    }

    /// Looks at one end after the other.
    fn naive(ends: &mut [(u64, u64); STREAMS], uses: u64, begin: u64, end: u64) -> bool {
        let position = |wanted| ends.iter().position(|(known, _)| *known == wanted);
        let continued = position(begin);
        let oldest = || (0..STREAMS).min_by_key(|place| ends[*place].1);
        let place = continued.or_else(|| position(end)).or_else(oldest).unwrap();
        ends[place] = (end, uses);
        continued.is_some()
    }

    proptest! {
        #[test]
        fn streams_one_after_the_other(writes in proptest::collection::vec((0u64..80, 1u64..3, 0u64..2), 1..500)) {
            let mut streams = Streams::default();
            let mut model = [(u64::MAX, 0); STREAMS];
            for (uses, (at, len, far)) in (1..).zip(writes) {
                // Far away the lower half of an address comes again.
                let at = at + (far << 32);
                prop_assert_eq!(streams.follow(at, at + len), naive(&mut model, uses, at, at + len));
            }
        }

        /// Every two of a generation overlap in time; the next record does not overlap with its first.
        #[test]
        fn generations_overlap(lags in proptest::collection::vec(1u64..6, 1..100)) {
            let deps: Vec<u64> = (1..).zip(&lags).map(|(seq, lag)| (seq - 1u64).saturating_sub(lag - 1)).collect();
            let mut concurrency = Concurrency::default();
            (1..).zip(&deps).for_each(|(seq, dep)| concurrency.record(&record(seq, *dep)));
            let mut naive = Vec::new();
            let mut at = 0;
            while at < deps.len() {
                // Completed first is `at + 1`; all that were issued before that belong to it.
                let width = deps[at..].iter().take_while(|dep| **dep < at as u64 + 1).count();
                naive.push(width.max(1) as u64);
                at += width.max(1);
            }
            let report = concurrency.report().generation;
            prop_assert_eq!((report.count, report.max), (naive.len() as u64, *naive.iter().max().unwrap()));
        }
    }
}

//! What happened when, and where.

use std::collections::BTreeMap;

use formats::{Op, Record};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::buckets::{Buckets, Merge};
use super::frequent::Frequent;
use super::overwrite::block_key;

/// Rows of a heat map.
pub const ROWS: usize = 64;
/// Volumes with a heat map.
const VOLUMES: usize = 16;
/// Bytes of a region of which it is told how hot it is.
pub const REGION: u64 = 64 << 10;
/// Regions that are counted.
const REGION_ROOM: usize = 16_384;
/// Regions of one write that are counted at most.
const MOST_REGIONS: u64 = 257;
/// Hot regions that are told.
const HOTTEST: usize = 20;
/// Longest latency that is told apart, in nanoseconds: about an hour.
const LONGEST_NS: u64 = 1 << 42;

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Stretch {
    /// Seconds since the first command.
    pub at_seconds: f64,
    /// Commands that completed.
    pub commands: u64,
    /// Writes among them.
    pub writes: u64,
    /// Bytes that they wrote.
    pub bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards and the like.
    pub discards: u64,
    /// Commands that failed.
    pub errors: u64,
    /// Half of the writes took at most so long, in nanoseconds.
    pub p50_ns: u64,
    /// 99 % of the writes took at most so long, in nanoseconds.
    pub p99_ns: u64,
    /// Most commands in flight.
    pub depth: u16,
}

/// Stretches of equal length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineReport {
    /// When the first one begins, in nanoseconds since 1970, UTC.
    pub start_ns: u64,
    /// How long each is, in seconds.
    pub seconds: f64,
    /// All of them, in order.
    pub stretches: Vec<Stretch>,
}

/// Bytes written by address and time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeatMap {
    /// Of which volume.
    pub volume: u16,
    /// Bytes of address per row; the first row is the start of the volume.
    pub row_bytes: u64,
    /// How long each column is, in seconds.
    pub seconds: f64,
    /// For each column its rows: bytes written.
    pub columns: Vec<Vec<u64>>,
}

/// A region that is written often.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HotRegion {
    /// On which volume.
    pub volume: u16,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Writes that touched it; low by `error` at most.
    pub writes: u64,
    /// See `writes`.
    pub error: u64,
    /// Bytes written to it, as far as they were counted.
    pub bytes: u64,
    /// How many times its own length that is.
    pub times: f64,
}

#[derive(Debug, Default)]
struct Moment {
    stretch: Stretch,
    latency: Option<Box<Histogram<u32>>>,
}

impl Merge for Moment {
    fn merge(&mut self, later: Self) {
        let Stretch { commands, writes, bytes, flushes, discards, errors, depth, .. } = later.stretch;
        let stretch = &mut self.stretch;
        stretch.commands += commands;
        stretch.writes += writes;
        stretch.bytes = stretch.bytes.saturating_add(bytes);
        stretch.flushes += flushes;
        stretch.discards += discards;
        stretch.errors += errors;
        stretch.depth = stretch.depth.max(depth);
        match (&mut self.latency, later.latency) {
            (Some(ours), Some(theirs)) => ours.add(theirs.as_ref()).unwrap_or_default(),
            (ours @ None, theirs) => *ours = theirs,
            (Some(_), None) => {}
        }
    }
}

impl Moment {
    fn record(&mut self, record: &Record) {
        let stretch = &mut self.stretch;
        stretch.commands += 1;
        stretch.errors += u64::from(!record.status.is_ok());
        stretch.depth = stretch.depth.max(record.origin.queue_depth);
        match record.op {
            Op::Write => {
                stretch.writes += 1;
                stretch.bytes = stretch.bytes.saturating_add(record.range.len);
                self.latency(record.origin.completed_ns.saturating_sub(record.origin.issued_ns));
            }
            Op::Flush => stretch.flushes += 1,
            Op::Discard | Op::WriteZeroes | Op::SecureErase => stretch.discards += 1,
            Op::Zone | Op::Opaque | Op::Scsi => {}
        }
    }

    fn latency(&mut self, ns: u64) {
        if self.latency.is_none() {
            self.latency = Histogram::new_with_bounds(1, LONGEST_NS, 1).ok().map(Box::new);
        }
        self.latency.iter_mut().for_each(|latency| latency.saturating_record(ns));
    }

    fn stretch(&self, at_seconds: f64) -> Stretch {
        let at = |quantile| self.latency.as_ref().map_or(0, |latency| latency.value_at_quantile(quantile));
        Stretch { at_seconds, p50_ns: at(0.5), p99_ns: at(0.99), ..self.stretch }
    }
}

/// Follows time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    moments: Buckets<Moment>,
}

impl Timeline {
    pub(super) fn record(&mut self, record: &Record) {
        self.moments.at(record.origin.issued_ns, record.origin.completed_ns).record(record);
    }

    pub(super) fn report(&self) -> TimelineReport {
        let seconds = self.moments.width_ns() as f64 / 1e9;
        let stretches = self.moments.items().iter().enumerate();
        let stretches = stretches.map(|(index, moment)| moment.stretch(index as f64 * seconds)).collect();
        TimelineReport { start_ns: self.moments.origin_ns(), seconds, stretches }
    }
}

/// Rows of one column; a column without writes has none.
#[derive(Debug, Default)]
struct Column(Vec<u64>);

impl Merge for Column {
    fn merge(&mut self, later: Self) {
        self.0.resize(self.0.len().max(later.0.len()), 0);
        self.0.iter_mut().zip(later.0).for_each(|(ours, theirs)| *ours = ours.saturating_add(theirs));
    }
}

#[derive(Debug, Default)]
struct Map {
    row_bytes: u64,
    columns: Buckets<Column>,
}

/// Follows places.
#[derive(Debug)]
pub(super) struct Places {
    maps: BTreeMap<u16, Map>,
    regions: Frequent<(u64, u16, u64)>,
}

impl Default for Places {
    fn default() -> Self {
        Self { maps: BTreeMap::new(), regions: Frequent::new(REGION_ROOM) }
    }
}

impl Places {
    /// The volume's size; 0 when it is not known.
    pub(super) fn size(&mut self, volume: u16, size: u64) {
        if self.maps.len() < VOLUMES && size > 0 {
            let row_bytes = size.div_ceil(ROWS as u64);
            self.maps.entry(volume).or_insert_with(|| Map { row_bytes, columns: Buckets::default() });
        }
    }

    pub(super) fn write(&mut self, record: &Record) {
        let (volume, range) = (record.volume.0, record.range);
        if range.is_empty() {
            return;
        }
        self.heat(record);
        let (first, last) = (range.offset / REGION, (range.end() - 1) / REGION);
        for region in first..=last.min(first.saturating_add(MOST_REGIONS)) {
            let from = range.offset.max(region * REGION);
            let bytes = range.end().min((region + 1).saturating_mul(REGION)) - from;
            let kept = self.regions.add(block_key(volume, region));
            *kept = (kept.0 + bytes, volume, region);
        }
    }

    fn heat(&mut self, record: &Record) {
        if self.maps.len() >= VOLUMES && !self.maps.contains_key(&record.volume.0) {
            return;
        }
        let map = self.maps.entry(record.volume.0).or_insert_with(|| Map { row_bytes: 4096, ..Map::default() });
        while record.range.offset / map.row_bytes >= ROWS as u64 {
            map.double();
        }
        let row = (record.range.offset / map.row_bytes) as usize;
        let column = map.columns.at(record.origin.issued_ns, record.origin.completed_ns);
        if column.0.len() <= row {
            column.0.resize(row + 1, 0);
        }
        column.0[row] = column.0[row].saturating_add(record.range.len);
    }

    /// The volumes' maps, those without writes left out.
    pub(super) fn heat_maps(&self) -> Vec<HeatMap> {
        let used = self.maps.iter().filter(|(_, map)| !map.columns.items().is_empty());
        used.map(|(volume, map)| map.report(*volume)).collect()
    }

    pub(super) fn hottest(&self) -> Vec<HotRegion> {
        let error = self.regions.error();
        let hot = |(_, writes, (bytes, volume, region)): (u64, u64, &(u64, u16, u64))| HotRegion {
            volume: *volume,
            offset: region * REGION,
            len: REGION,
            writes,
            error,
            bytes: *bytes,
            times: *bytes as f64 / REGION as f64,
        };
        self.regions.top(HOTTEST).into_iter().map(hot).collect()
    }
}

impl Map {
    /// An address beyond what was known: rows become twice as long.
    fn double(&mut self) {
        self.row_bytes = self.row_bytes.saturating_mul(2);
        self.columns.each(|column| {
            column.0 = column.0.chunks(2).map(|pair| pair.iter().fold(0, |sum, row| row.saturating_add(sum))).collect();
        });
    }

    fn report(&self, volume: u16) -> HeatMap {
        let full = |column: &Column| {
            let mut rows = column.0.clone();
            rows.resize(ROWS, 0);
            rows
        };
        let columns = self.columns.items().iter().map(full).collect();
        HeatMap { volume, row_bytes: self.row_bytes, seconds: self.columns.width_ns() as f64 / 1e9, columns }
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::Origin;
    use formats::{ByteRange, OpFlags, Seq, Status, VolumeIndex};
    use proptest::prelude::*;

    use super::*;

    fn write(offset: u64, len: u64, at_ns: u64) -> Record {
        let origin = Origin { issued_ns: at_ns, completed_ns: at_ns + 50_000, queue_depth: 3, ..Origin::default() };
        let (op, flags, status, volume) = (Op::Write, OpFlags::empty(), Status::OK, VolumeIndex(0));
        Record { seq: Seq(2), dep: Seq(1), volume, op, flags, range: ByteRange::new(offset, len), status, origin }
    }

    #[test]
    fn latency_and_rate_are_told_by_stretch() {
        let mut timeline = Timeline::default();
        (0..1000).for_each(|n| timeline.record(&write(0, 4096, 1_000_000_000 + n * 1_000_000)));
        let report = timeline.report();
        assert_eq!(report.stretches.iter().map(|stretch| stretch.bytes).sum::<u64>(), 4_096_000);
        assert!(report.stretches.iter().all(|stretch| stretch.p50_ns.abs_diff(50_000) < 5000 && stretch.depth == 3));
        assert_eq!((report.start_ns, report.seconds), (1_000_000_000, 0.008));
    }

    proptest! {
        /// Addresses beyond the known size, as if it had been known.
        #[test]
        fn a_map_grows(writes in proptest::collection::vec((0u64..1 << 40, 1u64..9), 1..100)) {
            let mut places = Places::default();
            writes.iter().for_each(|(at, len)| places.write(&write(at * 512, len * 512, 7)));
            let map = &places.heat_maps()[0];
            let mut naive = vec![0; ROWS];
            writes.iter().for_each(|(at, len)| naive[(at * 512 / map.row_bytes) as usize] += len * 512);
            prop_assert_eq!(&map.columns, &[naive]);
        }
    }

    #[test]
    fn hot_regions_come_first() {
        let mut places = Places::default();
        places.size(0, 1 << 30);
        (0..500).for_each(|n| places.write(&write(n * 100 % 77 * REGION, 4096, n)));
        (0..90).for_each(|n| places.write(&write(5 * REGION + 4096, 8192, n)));
        let hot = places.hottest();
        let spread = (0..500).filter(|n| n * 100 % 77 == 5).count() as u64;
        assert_eq!((hot[0].offset, hot[0].writes, hot.len()), (5 * REGION, 90 + spread, 20));
        assert_eq!(hot[0].error, 0);
    }
}

//! How near a replay came to what was recorded.

use std::collections::BTreeMap;

use formats::{Entry, EntryHeader};
use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::depth::Depth;
use crate::pool::Outcome;

/// Longest time that is told apart, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;
/// Figures of a number that are kept.
const FIGURES: u8 = 3;

/// An entry that was applied.
pub(super) struct Ended<'a> {
    pub(super) header: &'a EntryHeader,
    /// Whether it had a time.
    pub(super) paced: bool,
    pub(super) due: u64,
    pub(super) ready: u64,
    pub(super) issued: u64,
    pub(super) ended: u64,
    /// When it was issued and completed, since the recorded beginning.
    pub(super) recorded: Option<(u64, u64)>,
}

/// Microseconds that a part of all commands stays within.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them.
    pub median_us: f64,
    /// 90 of 100.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// All.
    pub max_us: f64,
}

/// Commands in flight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DepthReport {
    /// The most at any stretch, on its average.
    pub most: f64,
    /// Seconds of a stretch.
    pub stretch_seconds: f64,
    /// The average of each stretch.
    pub over_time: Vec<f64>,
}

/// How a replay went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fidelity {
    /// Entries applied.
    pub entries: u64,
    /// Bytes of their ranges.
    pub bytes: u64,
    /// Entries by operation.
    pub by_op: BTreeMap<&'static str, u64>,
    /// Entries that failed on the recorded device, and changed nothing here.
    pub failed_on_primary: u64,
    /// Entries whose effect cannot be told.
    pub not_replayable: u64,
    /// From the first issue to the last end, in seconds.
    pub seconds: f64,
    /// The same as recorded.
    pub recorded_seconds: f64,
    /// How much later than their time commands were issued; none when there was no pace.
    pub issue_error: Option<Quantiles>,
    /// Commands that had to wait for others beyond their time: the target was slower than the recorded device.
    pub late_for_order: u64,
    /// How long commands took here.
    pub latency: Quantiles,
    /// How long they took when they were recorded.
    pub recorded_latency: Quantiles,
    /// Commands in flight here.
    pub depth: DepthReport,
    /// Commands in flight when they were recorded.
    pub recorded_depth: DepthReport,
}

/// Sums up a replay.
#[derive(Debug)]
pub(super) struct Tally {
    entries: u64,
    bytes: u64,
    by_op: BTreeMap<&'static str, u64>,
    failed_on_primary: u64,
    not_replayable: u64,
    first_issue: u64,
    last_end: u64,
    recorded_end: u64,
    paced: bool,
    late_for_order: u64,
    errors: Histogram<u64>,
    latencies: Histogram<u64>,
    recorded_latencies: Histogram<u64>,
    depth: Depth,
    recorded_depth: Depth,
}

fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST, FIGURES)
}

impl Tally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            entries: 0,
            bytes: 0,
            by_op: BTreeMap::new(),
            failed_on_primary: 0,
            not_replayable: 0,
            first_issue: u64::MAX,
            last_end: 0,
            recorded_end: 0,
            paced: false,
            late_for_order: 0,
            errors: histogram()?,
            latencies: histogram()?,
            recorded_latencies: histogram()?,
            depth: Depth::new(),
            recorded_depth: Depth::new(),
        })
    }

    pub(super) fn add(&mut self, ended: &Ended<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Applied(_) | Outcome::Nothing => {}
            Outcome::FailedOnPrimary => self.failed_on_primary += 1,
            Outcome::NotCarried | Outcome::NotReplayable => self.not_replayable += 1,
        }
        self.entries += 1;
        self.bytes += ended.header.range().map_or(0, |range| range.len);
        *self.by_op.entry(name(ended.header)).or_default() += 1;
        self.time(ended);
    }

    fn time(&mut self, ended: &Ended<'_>) {
        let issued = ended.issued.min(ended.ended);
        self.first_issue = self.first_issue.min(issued);
        self.last_end = self.last_end.max(ended.ended);
        self.latencies.saturating_record(ended.ended - issued);
        self.depth.add(issued, ended.ended);
        if ended.paced {
            self.paced = true;
            self.errors.saturating_record(issued.saturating_sub(ended.due));
            self.late_for_order += u64::from(ended.ready > ended.due);
        }
        if let Some((from, to)) = ended.recorded {
            self.recorded_end = self.recorded_end.max(to);
            self.recorded_latencies.saturating_record(to - from);
            self.recorded_depth.add(from, to);
        }
    }

    pub(super) fn report(&self) -> Fidelity {
        Fidelity {
            entries: self.entries,
            bytes: self.bytes,
            by_op: self.by_op.clone(),
            failed_on_primary: self.failed_on_primary,
            not_replayable: self.not_replayable,
            seconds: self.last_end.saturating_sub(self.first_issue) as f64 / 1e9,
            recorded_seconds: self.recorded_end as f64 / 1e9,
            issue_error: self.paced.then(|| quantiles(&self.errors)),
            late_for_order: self.late_for_order,
            latency: quantiles(&self.latencies),
            recorded_latency: quantiles(&self.recorded_latencies),
            depth: depth(&self.depth),
            recorded_depth: depth(&self.recorded_depth),
        }
    }
}

fn name(header: &EntryHeader) -> &'static str {
    match &header.entry {
        Entry::Record(record) => record.op.name(),
        Entry::Region(_) => "region",
        Entry::Gap(_) => "gap",
    }
}

fn quantiles(times: &Histogram<u64>) -> Quantiles {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Quantiles { median_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), max_us: times.max() as f64 / 1000.0 }
}

fn depth(depth: &Depth) -> DepthReport {
    let (stretch_seconds, over_time) = depth.means();
    DepthReport { most: over_time.iter().copied().fold(0.0, f64::max), stretch_seconds, over_time }
}

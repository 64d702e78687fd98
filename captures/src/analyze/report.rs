//! What an analysis says: the fields of its JSON.

use serde::Serialize;

use super::advice::Advice;
use super::content::ContentReport;
use super::distribution::Distribution;
use super::origins::{FailureReport, OriginReport};
use super::overwrite::OverwriteReport;
use super::pattern::{ConcurrencyReport, FlushReport, SequentialityReport};
use super::state::StateBlock;
use super::timeline::{HeatMap, HotRegion, TimelineReport};
use crate::meta::{Device, Section, Statistics};

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where, when and how it was captured.
    pub section: Section,
    /// The devices.
    pub devices: Vec<Device>,
    /// How much there is of what.
    pub summary: Summary,
    /// Each kind of command.
    pub operations: Vec<Operation>,
    /// What happened when.
    pub timeline: TimelineReport,
    /// Where writes went, by time.
    pub heat_maps: Vec<HeatMap>,
    /// Regions that were written most often.
    pub hot_regions: Vec<HotRegion>,
    /// How writes follow each other.
    pub sequentiality: SequentialityReport,
    /// How soon blocks are written again.
    pub overwrites: OverwriteReport,
    /// How many commands run at once.
    pub concurrency: ConcurrencyReport,
    /// Flushes and FUA.
    pub flushes: FlushReport,
    /// What was written; none without payload.
    pub content: Option<ContentReport>,
    /// By process.
    pub processes: Vec<OriginReport>,
    /// By control group.
    pub cgroups: Vec<OriginReport>,
    /// What failed.
    pub failures: FailureReport,
    /// Blocks that look like state, and the transactions between their updates.
    pub state_blocks: Vec<StateBlock>,
    /// What a replica of this load would need.
    pub advice: Advice,
    /// Marks, with nanoseconds since 1970, UTC.
    pub marks: Vec<(u64, String)>,
}

/// How much there is of what, and what is missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Commands.
    pub commands: u64,
    /// Bytes written by them.
    pub written_bytes: u64,
    /// From the first issue to the last completion, in seconds.
    pub seconds: f64,
    /// Regions that were read back.
    pub regions: u64,
    /// Holes in the order of completion, and how many completions they stand for.
    pub gaps: u64,
    /// See `gaps`.
    pub lost_completions: u64,
    /// Bytes of a record that was cut off at the end of the file.
    pub cut_bytes: u64,
    /// Packets of other programs.
    pub foreign_packets: u64,
    /// Marks, also those that are not told.
    pub marks: u64,
    /// What the capture says of itself at its end; none when it was not ended in order.
    pub statistics: Option<Statistics>,
}

/// One kind of command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// How many failed.
    pub failed: u64,
    /// Bytes of their ranges.
    pub bytes: u64,
    /// Bytes of each.
    pub size: Distribution,
    /// Nanoseconds from issue to completion.
    pub latency: Distribution,
}

//! `bench captures`: how fast a device is captured into a file, beside dd; how fast a capture is analysed, beside tshark; how
//! near to its recording a capture is replayed, beside fio.

mod analysis;
mod full_rate;
mod pace;
mod recording;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::workspace;

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Commands that are analysed
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Commands that tshark reads
    #[arg(long, default_value_t = 100_000)]
    slice: u64,
    /// Interleaved rounds of capture and replay; more of them give a better median
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB written in each run that is captured
    #[arg(long, default_value_t = 768)]
    mebibytes: u64,
    /// Seconds of the load that is replayed
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Commands per second of that load, on average
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Where captures are written; in memory when absent
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Without what needs a live capture
    #[arg(long)]
    no_capture: bool,
}

/// The task.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let binary = workspace::release_binary()?;
    if !plan.no_capture {
        full_rate::run(&binary, plan)?;
        pace::run(&binary, plan)?;
    }
    analysis::run(&binary, plan)
}

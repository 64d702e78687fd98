//! Measurements: always beside a baseline of the same minute, as the machine is shared.

mod capture;
mod cpu;
mod observer;
mod replicate;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// What observing costs the application: fio on a device in memory, bare and under each kind of capture
    Capture {
        /// Interleaved rounds; more of them give a better median
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each run
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Throughput end to end beside `dd | socat | dd`, and memory of both processes
    Replicate {
        /// MiB written in each run
        #[arg(long, default_value_t = 768)]
        mebibytes: u64,
    },
}

/// The task.
pub(crate) fn run(what: Bench) -> Result<()> {
    match what {
        Bench::Capture { rounds, seconds } => capture::run(rounds, seconds),
        Bench::Replicate { mebibytes } => replicate::run(mebibytes),
    }
}

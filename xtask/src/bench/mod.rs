//! Measurements: always beside a baseline of the same minute, as the machine is shared.

mod capture;
mod captures;
mod cpu;
mod figures;
mod journal;
mod observer;
mod rates;
mod replay;
mod replicate;

use std::path::PathBuf;

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
    /// How fast the journal takes entries at each sync policy, beside fio with the same writes and syncs on the same file
    /// system. Prints MB/s and the ratio (goal 0.8)
    Journal {
        /// Interleaved rounds; more of them give a better median
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each run
        #[arg(long, default_value_t = 2)]
        seconds: u64,
        /// Where to write, on the file system in question; below the build folder when absent
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Capture files. Capture at full rate into a file, beside dd to the same place (goal: nothing lost); replay at recorded
    /// pace, beside fio with the converted log (goal: p99 of the issue-time error below fio's); analysis of generated
    /// commands without payload, beside tshark on a slice (goal: 2 million a second on two processors, 200 MiB)
    Captures(captures::Plan),
    /// Replay of captured random writes of 4 KiB as a standby does it, beside fio with the same addresses and depth: the block
    /// back end on a device in memory, SG_IO in a virtual machine whose time is counted in instructions. Prints IOPS, the
    /// ratio to fio (goal 0.9 at depth 32) with its lowest and highest round, serial mode, what the order of the recording
    /// allows, and for a goal that is missed by what
    Replay {
        /// Interleaved rounds; more of them give a better median (in the virtual machine at most 2, which hardly differ)
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Writes of each run of the block back end
        #[arg(long, default_value_t = 262_144)]
        writes: u64,
        /// Writes of each run in the virtual machine, which is slow
        #[arg(long, default_value_t = 8_000)]
        guest_writes: u64,
        /// Kernel series of the virtual machine
        #[arg(long, default_value = "6.12", value_name = "SERIES")]
        kernel: String,
        /// Without the virtual machine
        #[arg(long)]
        no_vm: bool,
        /// Print the results as JSON, and progress to standard error
        #[arg(long)]
        json: bool,
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
        Bench::Journal { rounds, seconds, folder } => journal::run(rounds, seconds, folder),
        Bench::Captures(plan) => captures::run(&plan),
        Bench::Replay { rounds, writes, guest_writes, kernel, no_vm, json } => {
            replay::run(&replay::Plan { rounds, writes, guest_writes, kernel, no_vm, json })
        }
        Bench::Replicate { mebibytes } => replicate::run(mebibytes),
    }
}

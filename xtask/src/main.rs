//! Tasks of the project, run as `cargo xtask TASK`.
//!
//! Every task stands alone: it finds the checkout from its own build, says what it needs and lacks, and leaves
//! nothing behind, also after ctrl-C.

mod bench;
mod commits;
mod crash;
mod interrupt;
mod process;
mod rig;
mod rows;
mod samples;
mod soak;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the project", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Every suite, in order, with a table at the end
    Test,
    /// The checks of the house: rooms, purity, unsafe code, lengths, texts
    Tidy,
    /// The guest suites, or a script of your own, in virtual machines with Debian kernels
    Vm {
        /// Only this kernel series (6.1 or 6.12; all by default)
        #[arg(long, value_name = "SERIES")]
        kernel: Option<String>,
        /// Only this suite (disks, scsi or simulated; all by default)
        #[arg(long, value_name = "SUITE", conflicts_with = "run")]
        suite: Option<String>,
        /// A shell script to run in the guest in place of the suites
        #[arg(long, value_name = "SCRIPT")]
        run: Option<PathBuf>,
        /// Count the script's time in instructions, on one processor: for measurements that the host has no part in
        #[arg(long, requires = "run")]
        counted: bool,
    },
    /// fio mixes on raw, ext4 and xfs, each drained and compared byte for byte (root)
    Soak {
        /// Keep choosing mixes for so many minutes; every kind runs at least once
        #[arg(long, default_value_t = 3)]
        minutes: u64,
        /// Seed of the choice of mixes; drawn and printed when absent
        #[arg(long)]
        seed: Option<u64>,
    },
    /// kill -9 of agent, standby or both under load, restart, compare (root)
    Crash {
        /// How many kills
        #[arg(long, default_value_t = 50)]
        rounds: u32,
        /// Seed of instants and victims; drawn and printed when absent
        #[arg(long)]
        seed: Option<u64>,
    },
    /// PostgreSQL on the primary; what `wait-sync` confirmed must be on the standby when the primary is cut off (root)
    Commits {
        /// How many times the primary is cut off
        #[arg(long, default_value_t = 10)]
        rounds: u32,
        /// Seed of the instants; drawn and printed when absent
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Measurements (root)
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// The deterministic simulator over many seeds
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
    },
    /// Deliberate faults in the engines, one after the other, each of which the simulator must find
    Mutants {
        /// Seeds within which each must be found
        #[arg(long, default_value_t = 300)]
        seeds: u64,
    },
    /// The rows of the error consistency table, each with the injected error that reached it; fails when one is missing
    Rows,
    /// The captures in captures/samples, made anew in a virtual machine
    Samples,
    /// Every fuzz target, for a time
    Fuzz {
        /// Seconds altogether
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match interrupt::install().and_then(|()| run(arguments.task)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test => test::run(),
        Task::Tidy => tidy::run(),
        Task::Vm { kernel, suite, run, counted } => {
            vm::run(kernel.as_deref(), suite.as_deref(), run.as_deref(), counted)
        }
        Task::Soak { minutes, seed } => soak::run(minutes, seed),
        Task::Crash { rounds, seed } => crash::run(rounds, seed),
        Task::Commits { rounds, seed } => commits::run(rounds, seed),
        Task::Bench { what } => bench::run(what),
        Task::Sim { seeds } => simulate(seeds),
        Task::Mutants { seeds } => mutants(seeds),
        Task::Rows => rows::run(),
        Task::Samples => samples::run(),
        Task::Fuzz { seconds } => fuzz(seconds),
    }
}

fn simulate(seeds: u64) -> Result<()> {
    let seeds = seeds.to_string();
    process::run(
        workspace::cargo()
            .args(["run", "--release", "-p", "system-tests", "--bin", "sim", "--"])
            .args(["--seeds", &seeds]),
    )
}

fn mutants(seeds: u64) -> Result<()> {
    let seeds = seeds.to_string();
    process::run(
        workspace::cargo()
            .args(["run", "--release", "-p", "system-tests", "--features", "mutations", "--bin", "mutants", "--"])
            .args(["--seeds", &seeds]),
    )
}

fn fuzz(seconds: u64) -> Result<()> {
    let seconds = seconds.to_string();
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--release", "--manifest-path", "fuzz/Cargo.toml", "--", "--seconds", &seconds]);
    process::run(&mut cargo)
}

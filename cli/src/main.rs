//! `blkecho`: the one binary. Arguments, configuration, terminal output and the control socket; the work is done by the
//! agent and the replayer.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod config;
mod control;
mod demo;
mod exit;
mod filter;
mod node;
mod offline;
mod progress;
mod scsi;
mod select;
mod signals;
mod units;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.error.is_some() {
                eprintln!("blkecho: {failure}");
            }
            failure.exit.into()
        }
    }
}

/// Log lines go to standard error; `RUST_LOG` wins over `-v`.
fn log_to_stderr(verbose: u8) {
    let level = ["info", "debug", "trace"][usize::from(verbose.min(2))];
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

//! The commands, one file each.

pub(crate) mod analyze;
mod attach;
mod bench;
mod capture;
pub(crate) mod convert;
mod detach;
pub(crate) mod diff;
mod doctor;
pub(crate) mod edit;
pub(crate) mod explore;
mod generate;
mod info;
pub(crate) mod mark;
pub(crate) mod rebuild;
pub(crate) mod replay;
mod replay_bench;
mod service;
mod show;
mod standby;
mod status;
pub(crate) mod verify;
mod wait;

use std::path::PathBuf;

use crate::args::{Cli, Command};
use crate::config::Config;
use crate::control;
use crate::exit::{Done, Exit, OrExit};

/// What all commands share.
struct Context {
    config: Option<PathBuf>,
    run_dir: PathBuf,
}

impl Context {
    fn config(&self) -> Done<Config> {
        Config::load(self.config.as_deref()).or_exit(Exit::Usage)
    }
}

/// Runs a command.
///
/// # Errors
/// With the exit code to end with.
pub(crate) fn run(cli: Cli) -> Done {
    let context = Context { config: cli.config, run_dir: control::run_dir(cli.run_dir) };
    match cli.command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Attach(args) => attach::run(args, &context),
        Command::Capture(args) => capture::run(&args, &context),
        Command::Show(args) => show::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Detach(args) => detach::run(&args, &context),
        Command::Standby(args) => standby::run(args, &context),
        Command::Status(args) => status::run(&args, &context),
        Command::Drain(args) => wait::drain(&args, &context),
        Command::Mark(args) => mark::run(&args, &context),
        Command::WaitSync(args) => wait::sync(&args, &context),
        Command::Verify(args) => verify::run(&args, &context),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Cut(args) => edit::cut(args),
        Command::Filter(args) => edit::filter(&args),
        Command::Strip(args) => edit::strip(&args),
        Command::Merge(args) => edit::merge(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Demo(args) => crate::demo::run(&args),
        Command::CaptureBench(args) => bench::run(&args),
        Command::ReplayBench(args) => replay_bench::run(&args),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man => generate::man(),
    }
}

/// Prints JSON for programs.
fn print_json(value: &impl serde::Serialize) -> Done {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints to standard output. A reader that went away is a normal end.
fn print(text: &str) -> Done {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("writing to standard output").into())
        }
        _ => Ok(()),
    }
}

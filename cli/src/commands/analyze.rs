//! `analyze`: what a capture tells.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use captures::{Aside, ReadError, Scan};
use clap::Args;
use indicatif::ProgressBar;

use super::{print, print_json};
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::offline::image_exit;
use crate::progress::byte_bar;

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    /// The capture; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON: everything that is known, instead of one screen
    #[arg(long)]
    json: bool,
    /// Also write a page with charts, which needs no network and opens in any browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the page if it is there
    #[arg(long, requires = "html")]
    force: bool,
}

pub(super) fn run(args: &Analyze) -> Done {
    let page = args.html.as_deref().map(|path| aside(path, args.force, &[&args.file])).transpose()?;
    let (input, bar) = open(&args.file)?;
    let scan = Scan::new(input).map_err(|error| unreadable(&args.file, error))?;
    let report = captures::analyze::analyze(scan, |bytes| advance(&bar, bytes));
    bar.finish_and_clear();
    let report = report.map_err(|error| unreadable(&args.file, error))?;
    if let Some(page) = page {
        page.file()?.write_all(report.html()?.as_bytes())?;
        page.publish()?;
    }
    if args.json { print_json(&report) } else { print(&report.text()) }
}

/// An output that gets its name when it is whole.
pub(super) fn aside(path: &Path, force: bool, inputs: &[&Path]) -> Done<Aside> {
    Aside::new(path, force, inputs).map_err(|error| Failure::new(image_exit(&error), error))
}

/// Opens a capture, compressed or not, with a bar as long as the file.
pub(super) fn open(path: &Path) -> Done<(Box<dyn Read + Send>, ProgressBar)> {
    let cannot = |error| anyhow::anyhow!("cannot read {}: {error}", path.display());
    let input = captures::input::open(path).map_err(cannot).or_exit(Exit::Usage)?;
    let len = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    Ok((input, len.map_or_else(ProgressBar::hidden, |len| byte_bar("read", len))))
}

/// Shows how much was read; of a compressed file there is more than its length.
pub(super) fn advance(bar: &ProgressBar, bytes: u64) {
    bar.set_length(bar.length().unwrap_or(0).max(bytes));
    bar.set_position(bytes);
}

/// What is no capture at all is a wrong argument; a damaged one a failure.
pub(super) fn unreadable(path: &Path, error: ReadError) -> Failure {
    let exit = match error {
        ReadError::Empty | ReadError::NotPcapng { .. } | ReadError::Foreign { .. } | ReadError::Format(_) => {
            Exit::Usage
        }
        _ => Exit::Failure,
    };
    Failure::text(exit, format!("{}: {error}", path.display()))
}

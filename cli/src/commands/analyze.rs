//! `analyze`: what a capture tells.

use std::io::Write;
use std::path::PathBuf;

use captures::SeriesScan;
use clap::Args;

use super::{print, print_json};
use crate::exit::Done;
use crate::offline::{self, FilesArgs, series_failed};
use crate::progress::ReadBar;

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    /// What is read.
    #[command(flatten)]
    files: FilesArgs,
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
    let page = || args.html.as_deref().map(|path| offline::aside(path, args.force, &args.files.files)).transpose();
    // What cannot be written is said before the work, and nothing lies there while it lasts.
    drop(page()?);
    let scan = SeriesScan::open(&args.files.files).map_err(series_failed)?;
    let bar = ReadBar::new(scan.total_bytes());
    let report = captures::analyze::analyze(scan, |bytes| bar.show(bytes));
    drop(bar);
    let report = report.map_err(series_failed)?;
    if let Some(page) = page()? {
        page.file()?.write_all(report.html()?.as_bytes())?;
        offline::publish(page)?;
    }
    if args.json { print_json(&report) } else { print(&report.text()) }
}

//! `diff`: how two captures differ, or a capture and a device.

use std::path::{Path, PathBuf};

use captures::compare::{self, CompareError, Report, Stage};
use captures::{CutFile, Moment, Series, edit};
use clap::Args;
use indicatif::ProgressBar;
use replayer::compare::{Readable, Source};
use replayer::target::TargetError;

use super::edit::failed;
use super::verify::open_source;
use super::{print, print_json};
use crate::exit::{Done, Exit, Failure};
use crate::offline;
use crate::progress::{ReadBar, StageBars, byte_bar};
use crate::signals::Stop;
use crate::units::bytes;

/// Differences that are told at most, unless more are asked for.
const TOLD: usize = 20;

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A capture
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The capture to compare it with, or a device or image: what A wrote is then compared with what that holds
    #[arg(value_name = "B")]
    b: PathBuf,
    /// With a device: the moment at which it is to hold what the volume held: a seq, a time, a mark's text
    #[arg(long, value_name = "TIME|SEQ|MARK", value_parser = offline::moment)]
    at: Option<Moment>,
    /// With a device: which volume, when the capture has several
    #[arg(long, value_name = "NAME")]
    volume: Option<String>,
    /// Tell so many differences
    #[arg(long, value_name = "N", default_value_t = TOLD)]
    most: usize,
    /// Print JSON; of two captures a line for each difference
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Diff) -> Done {
    let stop = Stop::on_signals()?;
    match offline::is_capture(&args.b)? {
        true if args.at.is_some() || args.volume.is_some() => {
            Err(Failure::text(Exit::Usage, "--at and --volume are for a capture and a device, and both are captures"))
        }
        true => captures(args, &stop),
        false => device(args, &stop),
    }
}

fn captures(args: &Diff, stop: &Stop) -> Done {
    let open = |path: &PathBuf| Series::as_filed(std::slice::from_ref(path)).map_err(offline::series_failed);
    let (mut a, mut b) = (open(&args.a)?, open(&args.b)?);
    let bar = ReadBar::new(a.progress().1);
    let mut lines = Vec::new();
    let compared = edit::diff(
        &mut a,
        &mut b,
        |difference| {
            lines.push(difference);
            lines.len() < args.most.max(1)
        },
        &mut |done, _| {
            bar.show(done);
            !stop.is_set()
        },
    );
    drop(bar);
    let compared = compared.map_err(failed)?;
    [&a, &b].into_iter().for_each(offline::warn_of_tails);
    for line in &lines {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        if args.json {
            print(&format!("{}\n", serde_json::to_string(line)?))?;
        } else {
            print(&format!("{}: {}\n  < {}\n  > {}\n", line.place, line.what, side(&line.left), side(&line.right)))?;
        }
    }
    if lines.is_empty() {
        return if args.json { Ok(()) } else { print(&format!("{compared} commands, no difference\n")) };
    }
    Err(Failure::silent(Exit::Different))
}

fn device(args: &Diff, stop: &Stop) -> Done {
    let source = open_source(&args.b)?;
    let folder = std::env::temp_dir();
    let request = compare::Request {
        files: std::slice::from_ref(&args.a),
        volume: args.volume.as_deref(),
        at: args.at.clone().unwrap_or(Moment::End),
        device: &args.b,
        device_size: source.size(),
        folder: &folder,
        most: args.most,
    };
    let report = compared(&request, &source, stop)?;
    if args.json {
        print_json(&report)?
    } else {
        print(&words(&args.b, &report))?
    }
    match (report.differing_bytes, report.unknown_bytes) {
        (0, 0) => Ok(()),
        // Nobody is to take for equal what could not be compared.
        (0, _) => Err(Failure::silent(Exit::Incomplete)),
        _ => Err(Failure::silent(Exit::Different)),
    }
}

fn compared(request: &compare::Request<'_>, source: &Source, stop: &Stop) -> Done<Report> {
    let bars = StageBars::new(bar);
    let report = compare::compare(
        request,
        &mut |offset, buffer| source.read_at(offset, buffer).map_err(of_system),
        &mut |stage, done, total| {
            bars.show(stage, done, total);
            !stop.is_set()
        },
    );
    drop(bars);
    report.map_err(|error| match error {
        CompareError::Capture(error) => offline::rebuild_failed(error),
        CompareError::TooSmall { .. } => Failure::new(Exit::Usage, error),
        CompareError::Device { .. } => Failure::new(Exit::Failure, error),
    })
}

/// The system's answer; what else the error says is for those who replicate.
fn of_system(error: TargetError) -> std::io::Error {
    match error {
        TargetError::Io { source, .. } => source,
        other => std::io::Error::other(other),
    }
}

fn bar(stage: Stage, total: u64) -> ProgressBar {
    byte_bar(if stage == Stage::Reading { "read" } else { "compare" }, total)
}

fn words(device: &Path, report: &Report) -> String {
    let mut text = String::new();
    report.stretches.iter().for_each(|stretch| text += &format!("differs: {stretch}\n"));
    if report.differing as usize > report.stretches.len() {
        text += &format!("... and {} more (--most)\n", report.differing as usize - report.stretches.len());
    }
    let moment = format!("{} at seq {}, {}", report.volume, report.seq, report.time);
    text += &match report.differing_bytes {
        0 => format!("{} compared with {moment}: no difference\n", bytes(report.compared_bytes)),
        differing => {
            let (differing, of) = (bytes(differing), bytes(report.compared_bytes));
            format!("{}: {differing} of {of} differ from {moment}\n", device.display())
        }
    };
    if report.unknown > 0 {
        let (count, unknown) = (report.unknown, bytes(report.unknown_bytes));
        text += &format!("not compared: {unknown} in {count} stretches, whose content the capture does not tell\n");
        report.unknown_list.iter().for_each(|hole| text += &format!("  {hole}\n"));
    }
    if report.discarded_bytes > 0 {
        text += &format!("not compared: {} that were discarded\n", bytes(report.discarded_bytes));
    }
    for CutFile { path, bytes, .. } in &report.cut {
        text += &format!("{} ends in the middle of something: its last {bytes} bytes are not used\n", path.display());
    }
    if !report.ended_in_order {
        text += "the capture was not ended in order: what it may have lost is not told\n";
    }
    text
}

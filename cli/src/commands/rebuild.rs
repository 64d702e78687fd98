//! `rebuild`: an earlier moment of a volume.

use std::path::{Path, PathBuf};

use captures::explore::{Check, Checked, Verdict};
use captures::rebuild::{Report, Request, Stage, rebuild};
use captures::{Base, Image, Moment};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{print, print_json};
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::offline::{self, BaseArgs};
use crate::progress::{StageBars, byte_bar};
use crate::signals::Stop;
use crate::units::{Time, bytes};

/// Arguments of `rebuild`.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The files of one capture, in their order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the volume held when the capture began.
    #[command(flatten)]
    base: BaseArgs,
    /// The moment: a seq, a time (2026-03-01T12:00:00Z, +90s from the beginning), a mark's text, `start` or `end`
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "end", value_parser = offline::moment)]
    at: Moment,
    /// Where the image is put: written aside, and named when it is whole
    #[arg(short, long, value_name = "IMAGE")]
    output: PathBuf,
    /// Which volume, when the capture has several
    #[arg(long, value_name = "NAME")]
    volume: Option<String>,
    /// A command to run on a copy of the image, with {} where its path goes
    #[arg(long, value_name = "COMMAND")]
    mount_check: Option<String>,
    /// How long that command may take
    #[arg(long, default_value = "5m", value_name = "TIME")]
    timeout: Time,
    /// Go on although the capture does not tell all of the content; what it does not tell is listed
    #[arg(long)]
    allow_holes: bool,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    check: Option<CheckTold<'a>>,
}

#[derive(Serialize)]
struct CheckTold<'a> {
    verdict: Verdict,
    output: &'a str,
}

pub(super) fn run(args: &Rebuild) -> Done {
    let stop = Stop::on_signals()?;
    let check = args.mount_check.as_deref().map(|command| Check::new(command, args.timeout.0));
    let check = check.transpose().or_exit(Exit::Usage)?;
    let request = Request {
        files: &args.files,
        volume: args.volume.as_deref(),
        base: args.base.open()?,
        at: args.at.clone(),
        output: &args.output,
        force: args.force,
        allow_holes: args.allow_holes,
    };
    let bars = StageBars::new(bar);
    let report = rebuild(&request, &mut |stage, done, total| {
        bars.show(stage, done, total);
        !stop.is_set()
    });
    drop(bars);
    let report = report.map_err(offline::rebuild_failed)?;
    let checked = check.map(|check| checked(&check, &args.output, &stop)).transpose()?;
    tell(args.json, &report, checked.as_ref())?;
    match checked {
        Some(Checked { verdict, .. }) if !verdict.passed() => Err(Failure::silent(Exit::Different)),
        _ => Ok(()),
    }
}

fn bar(stage: Stage, total: u64) -> ProgressBar {
    byte_bar(if stage == Stage::Copying { "copy the base" } else { "apply" }, total)
}

/// Runs the command on a copy: mounting changes what it mounts.
fn checked(check: &Check, image: &Path, stop: &Stop) -> Done<Checked> {
    let folder = image.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let copy = tempfile::Builder::new().prefix(".blkecho-check-").tempfile_in(folder)?;
    let base = Base::open(image).map_err(offline::image_failed)?;
    let size = std::fs::metadata(image)?.len();
    let file = copy.as_file().try_clone()?;
    Image::from_base(file, copy.path(), &base, size, &mut |_, _| !stop.is_set())?;
    let checked = offline::until_stopped(stop, |ended| check.run(copy.path(), ended));
    checked.map_err(|error| Failure::new(offline::check_exit(&error), error))
}

fn tell(json: bool, report: &Report, checked: Option<&Checked>) -> Done {
    if json {
        let check = checked.map(|checked| CheckTold { verdict: checked.verdict, output: &checked.output });
        return print_json(&Told { report, check });
    }
    print(&words(report, checked))
}

fn words(report: &Report, checked: Option<&Checked>) -> String {
    let mut text = format!(
        "{}: {} at seq {}, {}\n{} commands, {} written; {} bytes, of which {} are on disk\n",
        report.output.display(),
        report.volume,
        report.seq,
        report.time,
        report.records,
        bytes(report.bytes),
        report.size,
        bytes(report.allocated),
    );
    if report.holes > 0 {
        text += &format!("not what the device held: {} stretches are not known\n", report.holes);
        report.hole_list.iter().for_each(|hole| text += &format!("  {hole}\n"));
    }
    for cut in &report.cut {
        text += &format!(
            "{} ends in the middle of something: its last {} bytes are not used\n",
            cut.path.display(),
            cut.bytes
        );
    }
    if !report.ended_in_order {
        text += "the capture was not ended in order: what it may have lost is not told\n";
    }
    if let Some(checked) = checked {
        text += &format!("the check {}\n{}", checked.verdict, checked.output);
    }
    text
}

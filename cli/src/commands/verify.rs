//! `verify`: compares both ends.

use std::path::Path;

use indicatif::ProgressBar;
use replayer::compare::{CompareError, Report, Source, compare};
use serde_json::Value;

use super::{Context, print, print_json};
use crate::args::{GroupName, Verify};
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::progress::byte_bar;
use crate::signals::Stop;
use crate::units::bytes;

/// Differing ranges that are listed on the terminal; JSON has more.
const SHOWN: usize = 20;

pub(super) fn run(args: &Verify, context: &Context) -> Done {
    match (&args.group, &args.a, &args.b) {
        (Some(group), _, _) => group_wide(group, args.json, context),
        (None, Some(a), Some(b)) => offline(a, b, args.json),
        // The definition of the arguments does not let this through.
        _ => Err(Failure::text(Exit::Usage, "name two devices or files, or --group")),
    }
}

fn offline(a: &Path, b: &Path, json: bool) -> Done {
    let stop = Stop::on_signals()?;
    let report = compare_paths(a, b, &stop)?;
    if json {
        print_json(&report)?
    } else {
        print(&words(a, b, &report))?
    }
    match report.identical() && report.sizes.0 == report.sizes.1 {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Different)),
    }
}

/// Compares two devices or files, with a bar.
pub(crate) fn compare_paths(a: &Path, b: &Path, stop: &Stop) -> Done<Report> {
    let (a, b) = (open_source(a)?, open_source(b)?);
    let bar = byte_bar("compare", 0);
    let report = compare(&a, &b, &mut |done, total| {
        show(&bar, done, total);
        !stop.is_set()
    });
    bar.finish_and_clear();
    match report {
        Err(CompareError::Cancelled) => Err(Failure::interrupted()),
        report => report.or_exit(Exit::Failure),
    }
}

/// Opens a device or file to be compared.
pub(super) fn open_source(path: &Path) -> Done<Source> {
    Source::open(path).map_err(|error| {
        let denied = matches!(&error, CompareError::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
        Failure::new(if denied { Exit::NotPermitted } else { Exit::Usage }, error)
    })
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

fn words(a: &Path, b: &Path, report: &Report) -> String {
    let (a, b) = (a.display(), b.display());
    let mut text = String::new();
    if report.sizes.0 != report.sizes.1 {
        text += &format!("sizes differ: {a} has {} bytes, {b} has {}\n", report.sizes.0, report.sizes.1);
    }
    for (offset, len) in report.regions.iter().take(SHOWN) {
        text += &format!("differs at {offset}, {len} bytes\n");
    }
    if report.regions.len() > SHOWN || report.more_regions {
        text += "... and more\n";
    }
    match report.identical() {
        true => text + &format!("identical: yes, {} compared\n", bytes(report.bytes)),
        false => {
            text + &format!("identical: no, {} of {} differ\n", bytes(report.differing_bytes), bytes(report.bytes))
        }
    }
}

fn group_wide(group: &GroupName, json: bool, context: &Context) -> Done {
    let client = Client::primary(&context.run_dir, group)?;
    let bar = byte_bar("verify", 0);
    let report = client.ask_within(Request::Verify, None, &mut |done, total| show(&bar, done, total));
    bar.finish_and_clear();
    let report = report?;
    if json {
        print_json(&report)?
    } else {
        print(&group_words(&report))?
    }
    if equal(&report) { Ok(()) } else { Err(Failure::silent(Exit::Different)) }
}

/// Nothing is called equal by an answer that is not understood.
fn equal(report: &Value) -> bool {
    report["differing_chunks"] == 0
}

fn group_words(report: &Value) -> String {
    let list = report["differences"].as_array().into_iter().flatten().take(SHOWN);
    let line = |found: &Value| {
        let volume = found["volume"].as_str().unwrap_or_default();
        format!("{volume} differs at {}, {} bytes\n", found["offset"], found["len"])
    };
    let lines: String = list.map(line).collect();
    let verdict = if equal(report) { "yes" } else { "no" };
    let hint = match report["written_meanwhile"] == true {
        true => "the device was written meanwhile: differences may be younger than the comparison\n",
        false => "",
    };
    format!("{lines}{hint}identical: {verdict}, {} compared\n", bytes(report["bytes"].as_u64().unwrap_or(0)))
}

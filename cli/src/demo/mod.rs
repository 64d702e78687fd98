//! `demo`: a live workload on one device, its copy on another, and the proof that both are equal.
//!
//! Everything happens below one temporary directory, on loop devices, with standby and agent as processes of their own.
//! Guards take everything away again however the demo ends.

mod files;
mod machine;
mod meter;
mod real;
mod report;
mod simulated;
mod workload;

use agent::preflight::{Host, Level, features};

use self::report::Report;
use crate::args::Demo;
use crate::exit::{Done, Exit, Failure};
use crate::signals::Stop;

/// Programs that the demo calls, and the packages of Debian that have them.
const TOOLS: [(&str, &str); 8] = [
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("fstrim", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("sync", "coreutils"),
    ("sqlite3", "sqlite3"),
];

/// Runs the demo.
///
/// # Errors
/// [`Exit::Different`] when the copies are not equal, or what went wrong.
pub(crate) fn run(args: &Demo) -> Done {
    let stop = Stop::on_signals()?;
    let missing = missing();
    let report = if args.simulated || !missing.is_empty() {
        missing.iter().for_each(|what| println!("not here: {what}"));
        println!("SIMULATED: no kernel and no disk is involved; commands are made up and applied to memory.");
        simulated::run(args, &stop)?
    } else {
        real::run(args, &stop)?
    };
    finish(&report)
}

fn finish(report: &Report) -> Done {
    println!("\n{}", report.table());
    if report.good() { Ok(()) } else { Err(Failure::silent(Exit::Different)) }
}

/// What the real demo lacks on this machine, each with its remedy.
fn missing() -> Vec<String> {
    let mut missing: Vec<String> = features::check_machine(&Host::default())
        .into_iter()
        .filter(|check| check.level == Level::Fail)
        .map(|check| format!("{}: {} ({})", check.name, check.found, check.remedy.unwrap_or_default()))
        .collect();
    let absent = TOOLS.iter().filter(|(tool, _)| machine::find_tool(tool).is_none());
    missing.extend(absent.map(|(tool, package)| format!("{tool} (apt-get install {package})")));
    missing
}

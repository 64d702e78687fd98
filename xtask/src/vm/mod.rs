//! Virtual machines with Debian's own kernels, in software emulation.
//!
//! A run takes a kernel package from apt (kept under `target/vm`), builds a file system in memory with busybox, the
//! modules and the programs that a script needs, boots it, streams its console and counts the lines `PASS name` and
//! `FAIL name`. A boot that dies before the script begins is tried again; one that fails in the script is not.
//!
//! Tests that need a device of the guest are ignored elsewhere. A suite carries their binaries into the guest, and its
//! script says `TEST binary::name` of each that ran: those of all its kernels count as run.

mod archive;
mod boot;
mod boots;
mod console;
mod guest;
mod kernels;
mod modules;
mod packages;
mod suites;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use boot::{Clock, Machine};
pub(crate) use console::Results;

use crate::{process, workspace};
use guest::Program;
use suites::SUITES;

/// A whole suite must end within this; emulation is slow, and the machine may be shared.
const TIME_LIMIT: Duration = Duration::from_secs(1200);

/// The task: the suites, one of them, or a script of the caller's, on one kernel or all. A script may have its time counted
/// in instructions.
pub(crate) fn run(series: Option<&str>, suite: Option<&str>, script: Option<&Path>, counted: bool) -> Result<()> {
    let clock = if counted { Clock::Instructions } else { Clock::Host };
    let results = match script {
        Some(script) => own_script(clock, series, script)?,
        None => suites_on(series, suite)?,
    };
    println!("vm: {} passed, {} failed", results.passed, results.failed.len());
    if !results.failed.is_empty() {
        bail!("failed in the guest: {}", results.failed.join(", "));
    }
    Ok(())
}

/// Runs every suite on each of its kernels.
pub(crate) fn suite() -> Result<Results> {
    suites_on(None, None)
}

fn suites_on(series: Option<&str>, suite: Option<&str>) -> Result<Results> {
    ready()?;
    known_series(series)?;
    boots::run(series, suite)
}

/// What this machine lacks to run guests, in words; `None` when it can.
pub(crate) fn lacking() -> Option<String> {
    let programs = [
        "qemu-system-x86_64",
        "apt-get",
        "dpkg-deb",
        "busybox",
        "mkfs.ext4",
        "mkfs.xfs",
        "dmsetup",
        "xz",
        "sg_raw",
        "strip",
    ];
    let missing: Vec<&str> = programs.into_iter().filter(|program| !process::exists(program)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {} (scripts/setup.sh test)", missing.join(", ")))
}

/// The kernel series of the caller's choice, or all that a list names.
fn chosen<'a>(known: &[&'a str], wanted: Option<&str>) -> Vec<&'a str> {
    known.iter().copied().filter(|series| wanted.is_none_or(|wanted| wanted == *series)).collect()
}

fn own_script(clock: Clock, series: Option<&str>, script: &Path) -> Result<Results> {
    ready()?;
    let text = std::fs::read_to_string(script)
        .with_context(|| format!("cannot read the guest script {}", script.display()))?;
    let programs = [release_program()?];
    let mut all = Results::default();
    for series in known_series(series)? {
        println!("vm: kernel {series}, {}", script.display());
        all.add(series, on(clock, series, &text, &programs, "").with_context(|| format!("kernel {series}"))?);
    }
    Ok(all)
}

fn ready() -> Result<()> {
    lacking().map_or(Ok(()), |reason| bail!("{reason}"))
}

/// Series that a suite runs on, of which the caller may want one.
fn known_series(wanted: Option<&str>) -> Result<Vec<&'static str>> {
    let mut known: Vec<&str> = SUITES.iter().flat_map(|suite| suite.series).copied().collect();
    known.sort_unstable();
    known.dedup();
    let found = chosen(&known, wanted);
    if found.is_empty() {
        bail!("unknown kernel series '{}' (known: {})", wanted.unwrap_or_default(), known.join(", "));
    }
    Ok(found)
}

fn release_program() -> Result<Program> {
    Ok(Program { name: "blkecho".to_owned(), path: workspace::release_binary()? })
}

fn run_folder() -> Result<tempfile::TempDir> {
    let folder = workspace::target().join("vm").join("run");
    std::fs::create_dir_all(&folder)?;
    Ok(tempfile::tempdir_in(&folder)?)
}

/// Boots a kernel of the series for a script; each line of the guest is printed with its name in front.
fn on(clock: Clock, series: &str, script: &str, programs: &[Program], guest: &str) -> Result<Results> {
    in_folder(clock, series, script, programs, guest, run_folder()?.path())
}

/// The same, with the machine's disks in a folder of the caller's.
fn in_folder(
    clock: Clock,
    series: &str,
    script: &str,
    programs: &[Program],
    guest: &str,
    folder: &Path,
) -> Result<Results> {
    let kernel = kernels::fetch(series)?;
    println!("vm: booting {}", kernel.release);
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, guest::initrd(&kernel, script, programs)?)?;
    let machine = Machine::new(clock, kernel.image, initrd, folder)?;
    machine.run(TIME_LIMIT, guest)
}

/// Runs the suite that makes the sample captures, and unpacks what its guest leaves into `folder`.
pub(crate) fn samples(folder: &Path) -> Result<()> {
    ready()?;
    let (suite, binary, scratch) = (&suites::SAMPLES, release_program()?, run_folder()?);
    let mut programs = suite.build(scratch.path())?;
    programs.extend(suite.fetch_packages()?);
    programs.push(binary);
    let series = suite.series.first().context("a kernel series")?;
    let results = in_folder(Clock::Host, series, &suite.script()?, &programs, suite.name, scratch.path())?;
    if !results.failed.is_empty() {
        bail!("failed in the guest: {}", results.failed.join(", "));
    }
    process::run(Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(scratch.path().join(boot::LAST_DISK)))
}

//! Virtual machines with Debian's own kernels, in software emulation.
//!
//! A run takes a kernel package from apt (kept under `target/vm`), builds a file system in memory with busybox, the
//! modules and the programs that a script needs, boots it, streams its console and counts the lines `PASS name` and
//! `FAIL name`. A boot that dies before the script begins is tried again; one that fails in the script is not.

mod archive;
mod boot;
mod console;
mod guest;
mod kernels;
mod modules;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) use boot::Machine;
pub(crate) use console::Results;

use crate::{process, workspace};

/// Kernel series that are tested: Debian 12's own and the one of its backports.
pub(crate) const SERIES: [&str; 2] = ["6.1", "6.12"];

/// The suite that runs in the guest.
const SUITE: &str = "tests/src/vm/guest.sh";

/// A whole suite must end within this; emulation is slow, and the machine may be shared.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// The task: the suite, or a script of the caller's, on one kernel or all.
pub(crate) fn run(series: Option<&str>, script: Option<&Path>) -> Result<()> {
    let chosen: Vec<&str> = SERIES.into_iter().filter(|one| series.is_none_or(|wanted| wanted == *one)).collect();
    if chosen.is_empty() {
        bail!("unknown kernel series '{}' (known: {})", series.unwrap_or_default(), SERIES.join(", "));
    }
    let results = match script {
        Some(script) => on_each(&chosen, script, &[&workspace::release_binary()?])?,
        None => suite(&chosen)?,
    };
    println!("vm: {} passed, {} failed", results.passed, results.failed.len());
    if !results.failed.is_empty() {
        bail!("failed in the guest: {}", results.failed.join(", "));
    }
    Ok(())
}

/// Runs the guest suite with the release binary on every kernel given.
pub(crate) fn suite(series: &[&str]) -> Result<Results> {
    let binary = workspace::release_binary()?;
    let results = on_each(series, &workspace::root().join(SUITE), &[&binary])?;
    if results.passed == 0 && results.failed.is_empty() {
        bail!("{SUITE} reported nothing");
    }
    Ok(results)
}

/// What this machine lacks to run guests, in words; `None` when it can.
pub(crate) fn lacking() -> Option<String> {
    let programs = ["qemu-system-x86_64", "apt-get", "dpkg-deb", "busybox", "mkfs.ext4", "dmsetup", "xz", "sg_raw"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| !process::exists(program)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {} (scripts/setup.sh test)", missing.join(", ")))
}

fn on_each(series: &[&str], script: &Path, binaries: &[&Path]) -> Result<Results> {
    if let Some(reason) = lacking() {
        bail!("{reason}");
    }
    let mut all = Results::default();
    for one in series {
        let results = on(one, script, binaries).with_context(|| format!("kernel {one}"))?;
        all.add(one, results);
    }
    Ok(all)
}

fn on(series: &str, script: &Path, binaries: &[&Path]) -> Result<Results> {
    let kernel = kernels::fetch(series)?;
    println!("vm: {} ({})", kernel.release, script.display());
    let folder = workspace::target().join("vm").join("run");
    std::fs::create_dir_all(&folder)?;
    let scratch = tempfile::tempdir_in(&folder)?;
    let initrd = scratch.path().join("initrd");
    std::fs::write(&initrd, guest::initrd(&kernel, script, binaries)?)?;
    let machine = Machine::new(kernel.image, initrd, scratch.path())?;
    machine.run(TIME_LIMIT)
}

//! `capture-bench`: capture alone, for measuring.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent::bench::{Mode, run as capture};

use super::print;
use crate::args::{BenchMode, CaptureBench};
use crate::exit::Done;
use crate::node::primary::failed;
use crate::signals::Stop;

/// Captures until a signal ends it, and prints what it came to as one line of JSON.
pub(super) fn run(args: &CaptureBench) -> Done {
    let stop = Stop::on_signals()?;
    // Only the journal's mode writes here; it goes with the directory.
    let dir = tempfile::Builder::new().prefix("capture-bench-").tempdir_in(".")?;
    let mode = mode(args.mode, dir.path().to_owned());
    let flag = follow(stop)?;
    let ring_bytes = u32::try_from(args.ring_size.0).unwrap_or(u32::MAX);
    let report = capture(&args.device, &mode, ring_bytes, &flag, || tracing::info!("attached")).map_err(failed)?;
    print(&format!("{}\n", serde_json::to_string(&report)?))
}

fn mode(mode: BenchMode, dir: PathBuf) -> Mode {
    match mode {
        BenchMode::Payload => Mode::Payload,
        BenchMode::Addresses => Mode::Addresses,
        BenchMode::Journal => Mode::Journal(dir),
    }
}

/// A flag that is set soon after a signal came.
fn follow(stop: Stop) -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while !stop.wait(Duration::from_secs(3600)) {}
        set.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}

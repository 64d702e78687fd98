//! Ctrl-C and SIGTERM become a flag, so that guards run and nothing is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static STOP: AtomicBool = AtomicBool::new(false);

/// How often a waiting task looks at the flag.
const POLL: Duration = Duration::from_millis(20);

/// Installs the handler, once per process.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("cannot install the signal handler")
}

/// Whether the person asked to stop.
pub(crate) fn requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// An error once the person asked to stop; called in every loop that takes long.
pub(crate) fn check() -> Result<()> {
    if requested() {
        bail!("interrupted")
    }
    Ok(())
}

/// Sleeps, but not on after an interrupt.
pub(crate) fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(POLL));
    }
}

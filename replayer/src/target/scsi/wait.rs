//! Time of retries: waits that end early when the standby does.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use replication::Now;

/// A clock that starts at zero, and its waits.
#[derive(Debug)]
pub(super) struct Waits {
    start: Instant,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), ended: Mutex::new(false), wake: Condvar::new() }
    }

    pub(super) fn now(&self) -> Now {
        self.start.elapsed()
    }

    /// Waits until `at`; false when everything ends.
    pub(super) fn until(&self, at: Now) -> bool {
        let Some(pause) = at.checked_sub(self.now()).filter(|pause| !pause.is_zero()) else { return true };
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(ended, pause, |ended| !*ended);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }
}

//! SIGINT, SIGTERM and SIGHUP: noticed, never acted on here.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whether the program is to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// One that signals set. Only the first call of a process installs the handler.
    pub(crate) fn on_signals() -> anyhow::Result<Self> {
        let stop = Self::default();
        let set = stop.clone();
        ctrlc::set_handler(move || set.set())?;
        Ok(stop)
    }

    /// Asks the program to end.
    pub(crate) fn set(&self) {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.1.notify_all();
    }

    /// Whether it is to end.
    pub(crate) fn is_set(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `time` or until it is to end; answers whether it is.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let (stop, changed) = &*self.shared;
        let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(stop, time, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

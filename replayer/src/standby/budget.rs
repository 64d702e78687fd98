//! How many bytes may wait between the socket and the target.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A limit on bytes that are received but not applied. Whoever would exceed it waits; one item above the limit is let
/// in when nothing else is there, so a limit below the largest frame cannot stop everything.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: Mutex<u64>,
    freed: Condvar,
    freed_async: Notify,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), freed: Condvar::new(), freed_async: Notify::new() })
    }

    /// Bytes taken now.
    pub(super) fn used(&self) -> u64 {
        *self.lock()
    }

    /// Whether somebody who wants more has to wait.
    pub(super) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Waits until less than the limit is taken. For one waiter at a time.
    pub(super) async fn room(&self) {
        while self.is_exhausted() {
            self.freed_async.notified().await;
        }
    }

    /// The same for a thread; gives up when `stop` says so, which is asked whenever bytes come back and by
    /// [`Self::wake`].
    pub(super) fn room_blocking(&self, stop: impl Fn() -> bool) {
        let mut used = self.lock();
        while *used >= self.limit && !stop() {
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets waiters look again whether to go on.
    pub(super) fn wake(&self) {
        let _used = self.lock();
        self.freed.notify_all();
        self.freed_async.notify_one();
    }

    /// Takes `bytes`, even above the limit: they are in memory already.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Arc<Permit> {
        *self.lock() += bytes;
        Arc::new(Permit { budget: Arc::clone(self), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.lock() -= self.bytes;
        self.budget.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn waiters_go_on_when_bytes_come_back() {
        let budget = Budget::new(100);
        let first = budget.take(150);
        assert!(budget.is_exhausted());
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, budget.room()).await.is_err());
        let (shared, second) = (Arc::clone(&first), budget.take(10));
        drop(first);
        assert_eq!(budget.used(), 160, "a shared permit is given back once, at the end");
        let waiter = std::thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.room_blocking(|| false)
        });
        drop(shared);
        waiter.join().unwrap();
        budget.room().await;
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}

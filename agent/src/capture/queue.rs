//! Batches on their way from the capture thread to the log thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replication::sequencer::Ordered;

use super::Batch;

/// A queue that its writer can still reach into: what waits too long leaves the ring.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Records in them, gaps included.
    records: usize,
    closed: bool,
    /// Whether anybody has begun to take.
    served: bool,
    /// Whether nobody takes any more.
    abandoned: bool,
}

impl State {
    fn pop(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.records -= batch.len();
        Some(batch)
    }
}

/// What [`Queue::take`] found.
#[derive(Debug)]
pub enum Taken {
    /// The oldest batch.
    Batch(Batch),
    /// Nothing in time.
    Nothing,
    /// Nothing, and nothing more will come.
    Closed,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, batch: Batch) {
        let mut state = self.state();
        if !state.abandoned {
            state.records += batch.len();
            state.batches.push_back(batch);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Whether so many records wait for somebody who takes them. Before that is so all are let in: at start the self-test
    /// must get through what an earlier agent left in the ring.
    pub(super) fn is_crowded(&self, limit: usize) -> bool {
        let state = self.state();
        state.served && state.records >= limit
    }

    /// Says that nobody takes any more: what waits, and what comes, is dropped.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.records = 0;
        state.batches.clear();
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// The oldest batch, for which it waits `patience` at most.
    pub fn take(&self, patience: Duration) -> Taken {
        let waiting = |state: &mut State| state.batches.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(self.state(), patience, waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.served = true;
        match state.pop() {
            Some(batch) => Taken::Batch(batch),
            None if state.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    /// The oldest batch, if there is one.
    pub fn try_take(&self) -> Option<Batch> {
        self.state().pop()
    }

    /// Copies the payload of all that waits out of the ring.
    pub(super) fn leave_ring(&self) {
        for ordered in self.state().batches.iter_mut().flatten() {
            if let Ordered::Item(_, captured) = ordered {
                captured.leave_ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use formats::{Gap, Seq};

    use super::*;

    #[test]
    fn batches_come_in_order_and_then_the_end() {
        let queue = Arc::new(Queue::default());
        assert!(matches!(queue.take(Duration::ZERO), Taken::Nothing));
        let writer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            (0..3).for_each(|_| writer.put(Batch::new()));
            writer.close();
        });
        let mut taken = 0;
        while let Taken::Batch(_) = queue.take(Duration::from_secs(10)) {
            taken += 1;
        }
        thread.join().unwrap();
        assert_eq!(taken, 3);
        assert!(matches!(queue.take(Duration::from_secs(10)), Taken::Closed) && queue.try_take().is_none());
    }

    #[test]
    fn it_is_crowded_for_somebody_who_takes_and_for_nobody_else() {
        let queue = Queue::default();
        let gap = || Ordered::Gap(Gap { first: Seq(1), last: Seq(1) });
        queue.put(vec![gap(), gap()]);
        queue.put(vec![gap()]);
        assert!(!queue.is_crowded(1));
        assert!(matches!(queue.take(Duration::ZERO), Taken::Batch(batch) if batch.len() == 2));
        assert!(queue.is_crowded(1) && !queue.is_crowded(2));
        queue.abandon();
        assert!(!queue.is_crowded(1));
    }
}

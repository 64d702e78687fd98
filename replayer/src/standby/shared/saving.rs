//! Checkpoints and the way back to them: flushing, saving, and what follows when a device tells that writes were lost.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use replication::standby::{StandbyState, Verdict};

use super::{Shared, Signal, lock};
use crate::command::NotApplied;
use crate::standby::journaling::Order;

/// Pause between looks at what ran during a flush.
const VERDICT_PAUSE: Duration = Duration::from_millis(2);

impl Shared {
    /// Saves how far the targets are, unless writes were lost, or everything stops.
    ///
    /// # Errors
    /// Why the standby cannot go on.
    pub(in crate::standby) fn save_checkpoint(&self) -> Result<bool, String> {
        let mut keeper = lock(&self.keeper);
        let mut state = self.core().capture();
        if !self.flush()? || !self.wait_for_verdict(&mut state) {
            return Ok(false);
        }
        keeper.save(&state, &self.config)?;
        let through = self.core().checkpoint_saved(self.now(), &state);
        // Without a journal thread nothing needs trimming: the standby ends.
        let _ = self.orders.send(Order::Trim(through));
        Ok(true)
    }

    /// Flushes the targets; false when one of them tells that writes were lost. One that only cannot is out of sync as a
    /// whole.
    fn flush(&self) -> Result<bool, String> {
        let targets = self.core().targets();
        for (volume, target) in targets {
            let Err(error) = target.flush() else { continue };
            match NotApplied::of(&error) {
                Some(NotApplied::Lost { .. }) => {
                    tracing::warn!("{error}");
                    self.core().lose();
                    self.lost();
                    return Ok(false);
                }
                Some(NotApplied::OutOfSync { why, .. }) => {
                    tracing::warn!("the volume is out of sync: {error}");
                    let (row, now) = (why.row, self.now());
                    self.core().unflushed(volume, row, now);
                }
                _ => return Err(error.to_string()),
            }
        }
        self.core().flushed();
        Ok(true)
    }

    /// Waits until everything that ran during the flush is reported; whether `state` may be saved.
    fn wait_for_verdict(&self, state: &mut StandbyState) -> bool {
        let mut core = self.core();
        loop {
            // Looked at first: what is not reported after that never will be.
            let nobody = self.pool_gone.load(Ordering::SeqCst);
            match core.verdict(state) {
                Verdict::Save => return true,
                Verdict::Discard => return false,
                Verdict::Wait if nobody || core.stop_reason().is_some() => return false,
                Verdict::Wait => {}
            }
            let waited = self.checkpoint.wait_timeout(core, VERDICT_PAUSE);
            core = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    // Lost writes.

    /// A device told that writes were lost, and the engine knows: sessions end, the journal thread applies them again.
    pub(super) fn lost(&self) {
        let failure = self.core().engine_failure();
        if let Some(reason) = failure {
            return self.fail(&reason);
        }
        self.signal.send_if_modified(|signal| {
            let runs = *signal == Signal::Run;
            if runs {
                *signal = Signal::Rewind;
            }
            runs
        });
        let _ = self.orders.send(Order::Rewind);
        self.wake_all();
    }

    /// Whether everything behind the checkpoint must be applied again.
    pub(in crate::standby) fn is_losing(&self) -> bool {
        self.core().is_losing()
    }

    /// Goes back to the checkpoint, once nothing stands in the way; the first entry to hand in again.
    pub(in crate::standby) fn rewind(&self) -> Option<u64> {
        let first = self.core().rewind()?;
        self.signal.send_if_modified(|signal| {
            let rewinds = *signal == Signal::Rewind;
            if rewinds {
                *signal = Signal::Run;
            }
            rewinds
        });
        Some(first)
    }
}

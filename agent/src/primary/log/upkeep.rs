//! What is done beside the records, every so often: sweeps, saves, epochs, trims.

use std::sync::atomic::Ordering;
use std::time::Duration;

use formats::dirty::DirtyMapFile;
use formats::{Position, StreamId};
use replication::epochs::{Action, SLOTS};
use replication::primary::{Primary, Snapshot};

use super::{Log, LogError};
use crate::primary::DirtyFile;
use crate::primary::core::LogCounters;
use crate::primary::kernel_map::{KernelMap, counts};

const EPOCH_PERIOD: Duration = Duration::from_millis(100);
const SWEEP_PERIOD: Duration = Duration::from_millis(250);
const SAVE_PERIOD: Duration = Duration::from_millis(500);

/// The map of one secondary, as far as it is saved.
pub(super) struct SavedMap {
    file: DirtyFile,
    /// Generation of the engine's state that is saved.
    generation: u64,
}

impl SavedMap {
    pub(super) fn new(file: DirtyFile) -> Self {
        Self { file, generation: 0 }
    }

    /// Whether there is something to save.
    fn is_behind(&self, engine: &Primary) -> bool {
        engine.generation() != self.generation || engine.saving_frees()
    }

    fn save(&mut self, stream: StreamId, snapshot: &Snapshot) -> Result<(), LogError> {
        let runs = snapshot.dirty.runs(u64::MAX).collect();
        let covered = snapshot.covered.map(|covered| (covered.from, covered.through, covered.last_seq));
        self.file.save(&DirtyMapFile { stream, runs, covered })?;
        self.generation = snapshot.generation;
        Ok(())
    }
}

/// When each was done last.
#[derive(Default)]
pub(super) struct Timers {
    epoch: Duration,
    sweep: Duration,
    save: Duration,
}

impl Timers {
    /// Whether `period` has passed since `last`; then `last` is now.
    fn due(last: &mut Duration, now: Duration, period: Duration) -> bool {
        let due = now.saturating_sub(*last) >= period;
        if due {
            *last = now;
        }
        due
    }
}

impl Log {
    pub(super) fn housekeeping(&mut self) -> Result<(), LogError> {
        let now = self.core.now();
        if Timers::due(&mut self.timers.sweep, now, SWEEP_PERIOD) {
            self.sweep();
            self.devices.look(&self.core);
            if let Some(diagnostics) = &mut self.diagnostics {
                diagnostics.flush();
            }
        }
        let saved = self.save_if_needed(now)?;
        if saved || Timers::due(&mut self.timers.epoch, now, EPOCH_PERIOD) {
            self.turn_epochs()?;
            self.trim()?;
        }
        Ok(())
    }

    fn save_if_needed(&mut self, now: Duration) -> Result<bool, LogError> {
        let (changed, urgent) = {
            let group = self.core.group();
            let mut engines = group.members().iter().map(|member| member.engine());
            let changed = engines.clone().zip(&self.maps).any(|(engine, map)| map.is_behind(engine));
            (changed, engines.any(Primary::save_is_urgent))
        };
        let waiting = changed || !self.settle_on_save.is_empty();
        let due = urgent || (waiting && Timers::due(&mut self.timers.save, now, SAVE_PERIOD));
        if due {
            self.save()?;
        }
        Ok(due)
    }

    /// Saves every dirty map that has changed, durably; what waited for that settles.
    pub(super) fn save(&mut self) -> Result<(), LogError> {
        for (place, map) in self.maps.iter_mut().enumerate() {
            let mut engine = self.core.engine(place);
            if !map.is_behind(&engine) {
                continue;
            }
            let snapshot = engine.snapshot();
            drop(engine);
            map.save(self.core.stream, &snapshot)?;
            self.core.engine(place).snapshot_saved(snapshot.generation);
        }
        self.saves += 1;
        for (epoch, count) in self.settle_on_save.drain(..) {
            self.epochs.record_settled(epoch, count);
        }
        self.core.wake_links();
        Ok(())
    }

    /// Marks what the kernel's dirty map holds: after a loss nothing else tells what was touched.
    pub(super) fn mark_kernel_map(&mut self, slots: &[u32]) {
        let map = self.kernel_map.union_of(&self.core.probe, slots.iter().copied());
        // The counter after the bits: no completion that they stand for has a later number.
        let after = self.core.kernel_seq();
        self.core.group().mark_map(&map, after);
        LogCounters::add(&self.core.log.takeovers, 1);
    }

    /// Makes the bits of epochs with a loss durable in the saved map, once they are final.
    fn take_over(&mut self) -> Result<(), LogError> {
        let wanted: Vec<u32> = self.epochs.wants_take_over(self.core.now()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let slots: Vec<u32> = wanted.iter().map(|epoch| epoch % SLOTS as u32).collect();
        self.mark_kernel_map(&slots);
        self.save()?;
        wanted.into_iter().for_each(|epoch| self.epochs.taken_over(epoch));
        Ok(())
    }

    /// Commands taken back by a requeue change nothing, and are issued again.
    fn settle_withdrawn(&mut self, withdrawn: [u64; SLOTS]) {
        let live: Vec<u32> = self.epochs.live().collect();
        for epoch in live {
            let slot = epoch as usize % SLOTS;
            let count = withdrawn[slot] - self.withdrawn_seen[slot];
            self.withdrawn_seen[slot] = withdrawn[slot];
            self.epochs.record_settled(epoch, count);
        }
    }

    fn sweep(&mut self) {
        let inflight = self.core.volumes.iter().map(|volume| volume.inflight.as_path());
        let unseen = self.sweeper.sweep(&self.core.probe, !self.core.filter.is_empty(), inflight);
        let after = self.core.kernel_seq();
        for command in unseen {
            self.core.group().mark(command.volume, command.range, after);
            self.settle_on_save.push((command.epoch, 1));
            self.capture.forget(command.issue);
            LogCounters::add(&self.core.log.swept, 1);
        }
    }

    pub(super) fn turn_epochs(&mut self) -> Result<(), LogError> {
        self.take_over()?;
        let counters = self.core.probe.sum_counters();
        self.settle_withdrawn(counters.withdrawn);
        for action in self.epochs.tick(self.core.now(), &counts(&counters)) {
            match action {
                Action::Switch { to } => KernelMap::switch(&self.core.probe, to),
                Action::Clear { epoch } => {
                    self.kernel_map.clear(&self.core.probe, epoch);
                    LogCounters::add(&self.core.log.epochs_cleared, 1);
                }
            }
        }
        Ok(())
    }

    /// Frees what every secondary has, and tells `status` how full the journal is.
    pub(super) fn trim(&mut self) -> Result<(), LogError> {
        // A new name needs nothing of what is gone.
        let (gone, written) = (self.journal.first() - 1, self.journal.written());
        for (place, link) in self.core.links.iter().enumerate() {
            let cursor = self.core.engine(place).cursor();
            self.journal.set_cursor(&link.name, cursor.0.clamp(gone, written))?;
        }
        let cursor = self.core.group().cursor();
        let first = self.journal.trim(cursor.0);
        self.core.group().journal_trimmed(Position(first));
        let log = &self.core.log;
        log.journal_used.store(self.journal.bytes_used(), Ordering::Relaxed);
        log.journal_total.store(self.journal.bytes_total(), Ordering::Relaxed);
        log.journal_durable.store(self.journal.durable(), Ordering::Relaxed);
        Ok(())
    }
}

//! The log thread: records go into the journal, dirty maps to disk, epochs of the kernel's map are cleared.
//!
//! It is the only writer of the journal, of the dirty map file, and of the kernel's epochs. Order of things that makes
//! "nothing silent" true: a gap's regions are marked before the gap is appended; an epoch is cleared only when all its
//! commands are durable in the journal or in the saved map.

mod append;
mod upkeep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aya_log::EbpfLogger;
use formats::Seq;
use journal::{AppendError, Journal, JournalError, Reader, RealDisk, SyncPolicy};
use replication::epochs::{EpochTracker, SLOTS};
use replication::overlap::{DEFAULT_WINDOW, OverlapDetector};
use tracing::warn;

use self::append::payload_bytes;
use self::upkeep::{SavedMap, Timers};
use super::core::Core;
use super::device_watch::DeviceWatch;
use super::dirty_file::DirtyFile;
use super::kernel_map::KernelMap;
use super::sweeper::Sweeper;
use crate::capture::queue::Taken;
use crate::capture::{Batch, Capture};

/// Wait for records, at most: the clock of everything else here.
const TICK: Duration = Duration::from_millis(10);
/// Records appended at once, about.
const MAX_RECORDS: usize = 4096;
/// Bytes appended at once, about.
const MAX_BYTES: u64 = 8 << 20;

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal refused records.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The dirty map could not be saved.
    #[error("saving the dirty map: {0}")]
    DirtyMap(#[from] std::io::Error),
    /// The journal could not be read back.
    #[error(transparent)]
    Read(#[from] journal::ReadError),
}

/// Commands of one append, by epoch, that settle when the journal is durable up to `through`, and all dirty maps were
/// saved so many times: the marks of overlaps are in no journal.
struct Unsettled {
    through: u64,
    saves: u64,
    epochs: Vec<(u32, u64)>,
}

/// The thread's state.
pub struct Log {
    /// Shared.
    pub core: Arc<Core>,
    /// The journal.
    pub journal: Journal<RealDisk>,
    /// Reads it back when it is full.
    pub reader: Reader<RealDisk>,
    /// When it is made durable.
    pub sync: SyncPolicy,
    /// Where records come from.
    pub capture: Capture,
    /// The saved map of each secondary, in the order of the group.
    maps: Vec<SavedMap>,
    /// The kernel's map.
    pub kernel_map: KernelMap,
    /// The clearing rule.
    pub epochs: EpochTracker,
    /// Gaps up to this are covered by the map that was restored.
    restored_through: Seq,
    /// What is not durable yet.
    unsettled: VecDeque<Unsettled>,
    /// Settled by the next save of the maps instead of the journal.
    settle_on_save: Vec<(u32, u64)>,
    /// How often all maps were saved.
    saves: u64,
    /// Withdrawn commands that have been settled, per slot.
    withdrawn_seen: [u64; SLOTS],
    timers: Timers,
    last_seq: Seq,
    /// First completion of the generation that is going on.
    generation_start: Seq,
    sweeper: Sweeper,
    overlaps: OverlapDetector,
    devices: DeviceWatch,
    /// What the probe says in words.
    diagnostics: Option<EbpfLogger<&'static dyn ::log::Log>>,
}

/// What [`Log::new`] is made of.
pub struct LogParts {
    /// Shared.
    pub core: Arc<Core>,
    /// The journal.
    pub journal: Journal<RealDisk>,
    /// When it is made durable.
    pub sync: SyncPolicy,
    /// Where records come from.
    pub capture: Capture,
    /// Where the map of each secondary is saved, in the order of the group.
    pub dirty_files: Vec<DirtyFile>,
    /// The kernel's map.
    pub kernel_map: KernelMap,
    /// The clearing rule.
    pub epochs: EpochTracker,
    /// Withdrawn commands per slot that the clearing rule knows to have ended.
    pub withdrawn: [u64; SLOTS],
    /// Completions up to this have their regions in the engine's map, and none of them is of the current epoch if that
    /// is counted from its beginning.
    pub restored_through: Seq,
    /// The seq that the journal ends with.
    pub last_seq: Seq,
}

impl Log {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: LogParts) -> Self {
        Self {
            sweeper: Sweeper::default(),
            // What ended before is not known: a command that was in flight then is read back.
            overlaps: OverlapDetector::new(parts.last_seq, DEFAULT_WINDOW),
            devices: DeviceWatch::default(),
            diagnostics: parts.core.probe.diagnostics(),
            reader: parts.journal.reader(),
            core: parts.core,
            journal: parts.journal,
            sync: parts.sync,
            capture: parts.capture,
            maps: parts.dirty_files.into_iter().map(SavedMap::new).collect(),
            kernel_map: parts.kernel_map,
            epochs: parts.epochs,
            restored_through: parts.restored_through,
            unsettled: VecDeque::new(),
            settle_on_save: Vec::new(),
            saves: 0,
            withdrawn_seen: parts.withdrawn,
            timers: Timers::default(),
            last_seq: parts.last_seq,
            generation_start: Seq(0),
        }
    }

    /// Runs until the agent stops or something fails for good.
    ///
    /// # Errors
    /// What failed. The probe goes on marking regions, so nothing is lost then; a restart resyncs them.
    pub fn run(mut self) -> Result<(), LogError> {
        let result = self.serve();
        if let Err(error) = &result {
            warn!("the log has failed: {error}; the probe goes on marking changed regions, restart the agent");
            if let Ok(mut failure) = self.core.log.failure.lock() {
                *failure = Some(error.to_string());
            }
        }
        result
    }

    fn serve(&mut self) -> Result<(), LogError> {
        // What was found in the kernel's map at start is in the engine's only; it may be cleared there once it is saved.
        self.save()?;
        loop {
            let (batches, open) = self.collect();
            if !batches.is_empty() {
                self.take(batches)?;
            }
            self.make_durable()?;
            self.housekeeping()?;
            if !open || self.core.stopping() {
                return self.finish();
            }
        }
    }

    /// Waits for records, then takes what else is there; false when no more will come.
    fn collect(&mut self) -> (Batch, bool) {
        let mut batch = match self.capture.batches.take(TICK) {
            Taken::Batch(batch) => batch,
            Taken::Nothing => return (Batch::new(), true),
            Taken::Closed => return (Batch::new(), false),
        };
        let mut bytes = payload_bytes(&batch);
        while batch.len() < MAX_RECORDS && bytes < MAX_BYTES {
            let Some(more) = self.capture.batches.try_take() else { break };
            bytes += payload_bytes(&more);
            batch.extend(more);
        }
        (batch, true)
    }

    /// Syncs when the policy says so, then settles what has become durable.
    fn make_durable(&mut self) -> Result<(), LogError> {
        let now = self.core.now();
        if self.journal.sync_due(now) {
            self.journal.sync()?;
        }
        let safe = match self.sync {
            // The page cache survives the agent, and a host that crashes begins a new stream.
            SyncPolicy::Never => self.journal.written(),
            SyncPolicy::Interval(_) | SyncPolicy::Each => self.journal.durable(),
        };
        let saves = self.saves;
        while self.unsettled.front().is_some_and(|first| first.through <= safe && first.saves <= saves) {
            let settled = self.unsettled.pop_front().map(|unsettled| unsettled.epochs).unwrap_or_default();
            settled.into_iter().for_each(|(epoch, count)| self.epochs.record_settled(epoch, count));
        }
        Ok(())
    }

    /// Stops the capture, takes what it still hands over, and makes all of it durable.
    fn finish(&mut self) -> Result<(), LogError> {
        self.capture.finish();
        loop {
            match self.capture.batches.take(TICK) {
                Taken::Batch(batch) => self.take(batch)?,
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
        self.journal.sync()?;
        self.save()?;
        self.make_durable()?;
        self.trim()?;
        self.turn_epochs()?;
        self.journal.checkpoint()?;
        Ok(())
    }
}

//! The log thread: records go into the journal, dirty maps to disk, epochs of the kernel's map are cleared.
//!
//! It is the only writer of the journal, of the dirty map file, and of the kernel's epochs. Order of things that makes
//! "nothing silent" true: a gap's regions are marked before the gap is appended; an epoch is cleared only when all its
//! commands are durable in the journal or in the saved map.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use aya_log::EbpfLogger;
use formats::dirty::DirtyMapFile;
use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Record};
use formats::{ByteRange, Op, Position, Seq, VolumeIndex};
use journal::{AppendError, Item, Journal, JournalError, Reader, RealDisk, SyncPolicy};
use replication::epochs::{Action, EpochTracker, SLOTS};
use replication::overlap::{Change, DEFAULT_WINDOW, OverlapDetector};
use replication::sequencer::Ordered;
use tracing::{info, warn};

use super::core::{Core, LogCounters};
use super::device_watch::DeviceWatch;
use super::dirty_file::DirtyFile;
use super::kernel_map::{KernelMap, counts};
use super::sweeper::Sweeper;
use crate::capture::assembler::Captured;
use crate::capture::{Batch, Capture};

/// The cursor's name in the journal.
pub const CURSOR: &str = "secondary";
/// Wait for records, at most: the clock of everything else here.
const TICK: Duration = Duration::from_millis(10);
/// Records appended at once, about.
const MAX_RECORDS: usize = 4096;
/// Bytes appended at once, about.
const MAX_BYTES: u64 = 8 << 20;
const EPOCH_PERIOD: Duration = Duration::from_millis(100);
const SWEEP_PERIOD: Duration = Duration::from_millis(250);
const SAVE_PERIOD: Duration = Duration::from_millis(500);

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

/// Commands of one append, by epoch, that settle when the journal is durable up to `through`, and the dirty map up to
/// `generation`: the marks of overlaps are in no journal.
struct Unsettled {
    through: u64,
    generation: u64,
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
    /// The saved map.
    pub dirty_file: DirtyFile,
    /// The kernel's map.
    pub kernel_map: KernelMap,
    /// The clearing rule.
    pub epochs: EpochTracker,
    /// Gaps up to this are covered by the map that was restored.
    restored_through: Seq,
    /// What is not durable yet.
    unsettled: VecDeque<Unsettled>,
    /// Settled by the next save of the map instead of the journal.
    settle_on_save: Vec<(u32, u64)>,
    /// Generation of the engine's state that is saved.
    saved_generation: u64,
    /// Withdrawn commands that have been settled, per slot.
    withdrawn_seen: [u64; SLOTS],
    timers: Timers,
    last_seq: Seq,
    sweeper: Sweeper,
    overlaps: OverlapDetector,
    devices: DeviceWatch,
    /// What the probe says in words.
    diagnostics: Option<EbpfLogger<&'static dyn ::log::Log>>,
}

#[derive(Default)]
struct Timers {
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
    /// The saved map.
    pub dirty_file: DirtyFile,
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
            dirty_file: parts.dirty_file,
            kernel_map: parts.kernel_map,
            epochs: parts.epochs,
            restored_through: parts.restored_through,
            unsettled: VecDeque::new(),
            settle_on_save: Vec::new(),
            saved_generation: 0,
            withdrawn_seen: parts.withdrawn,
            timers: Timers::default(),
            last_seq: parts.last_seq,
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
        let mut batch = match self.capture.batches.recv_timeout(TICK) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => return (Batch::new(), true),
            Err(RecvTimeoutError::Disconnected) => return (Batch::new(), false),
        };
        let mut bytes = payload_bytes(&batch);
        while batch.len() < MAX_RECORDS && bytes < MAX_BYTES {
            let Ok(more) = self.capture.batches.try_recv() else { break };
            bytes += payload_bytes(&more);
            batch.extend(more);
        }
        (batch, true)
    }

    fn take(&mut self, batch: Batch) -> Result<(), LogError> {
        let bytes = payload_bytes(&batch);
        let restored = self.restored_through;
        if batch.iter().any(|ordered| matches!(ordered, Ordered::Gap(gap) if gap.last > restored)) {
            // Before the gaps are appended: whoever sees one finds its regions marked.
            self.mark_kernel_map(&[0, 1, 2]);
            let live: Vec<u32> = self.epochs.live().collect();
            live.into_iter().for_each(|epoch| self.epochs.loss(epoch));
        }
        self.note(&batch);
        let marked = self.mark_overlaps(&batch);
        let result = self.append(&batch, marked);
        self.core.probe_queue_done(&self.capture, bytes);
        result?;
        self.core.wake_link.notify_one();
        Ok(())
    }

    /// Counts what is not plain, and marks what the block layer cannot tell.
    fn note(&mut self, batch: &Batch) {
        let log = &self.core.log;
        for ordered in batch {
            match ordered {
                Ordered::Gap(gap) => {
                    LogCounters::add(&log.gaps, 1);
                    LogCounters::add(&log.gap_completions, gap.last.0 - gap.first.0 + 1);
                }
                Ordered::Item(_, captured) => {
                    let record = &captured.record;
                    LogCounters::add(&log.failed, u64::from(!record.status.is_ok()));
                    if matches!(record.op, Op::Opaque | Op::Zone) {
                        LogCounters::add(&log.opaque, 1);
                    }
                }
            }
        }
    }

    /// Marks, before the batch is appended, where commands overlapped in flight: nobody can tell which of them the
    /// device did last. Answers the generation of the dirty map that holds the marks; 0 when there are none.
    fn mark_overlaps(&mut self, batch: &Batch) -> u64 {
        let found = self.find_overlaps(batch);
        if found.is_empty() {
            return 0;
        }
        let after = self.core.kernel_seq();
        let mut engine = self.core.engine();
        found.into_iter().for_each(|(volume, range)| engine.mark(volume, range, after));
        engine.generation()
    }

    fn find_overlaps(&mut self, batch: &Batch) -> Vec<(VolumeIndex, ByteRange)> {
        let mut found = Vec::new();
        for ordered in batch {
            let Ordered::Item(_, captured) = ordered else { continue };
            let Record { seq, dep, volume, op, .. } = captured.record;
            if op == Op::Flush {
                continue;
            }
            let range = self.changed_range(&captured.record);
            let overlaps = self.overlaps.observe(Change { seq, dep, volume, range });
            LogCounters::add(&self.core.log.overlaps, u64::from(!overlaps.is_empty()));
            found.extend(overlaps.into_iter().map(|range| (volume, range)));
        }
        found
    }

    /// A command that may have changed anything has the whole volume as its range, so that all of it is read back.
    fn changed_range(&self, record: &Record) -> ByteRange {
        match record.op {
            Op::Opaque | Op::Zone => {
                let volume = self.core.volumes.get(usize::from(record.volume.0));
                ByteRange::new(0, volume.map_or(u64::MAX, |volume| volume.identity.size))
            }
            _ => record.range,
        }
    }

    /// Appends to the journal, or only marks while the engine wants no records.
    fn append(&mut self, batch: &Batch, marked: u64) -> Result<(), LogError> {
        let headers = self.headers(batch);
        let Some(last_seq) = headers.last().and_then(seq_of) else { return Ok(()) };
        if !self.core.engine().wants_records() {
            return self.skip(batch, &headers);
        }
        let mut appended = self.append_if_room(batch, &headers)?;
        if !appended {
            // The secondary may have got something since the last look.
            self.trim()?;
            appended = self.append_if_room(batch, &headers)?;
        }
        if !appended {
            self.overflow()?;
            if !self.core.engine().wants_records() {
                return self.skip(batch, &headers);
            }
            self.append_items(batch, &headers)?;
        }
        self.last_seq = last_seq;
        let (through, epochs) = (self.journal.written(), by_epoch(batch));
        self.unsettled.push_back(Unsettled { through, generation: marked, epochs });
        let (now, next) = (self.core.now(), Position(self.journal.next()));
        self.core.engine().journal_grew(now, next, last_seq);
        Ok(())
    }

    /// False when the journal is full.
    fn append_if_room(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<bool, LogError> {
        match self.append_items(batch, headers) {
            Ok(()) => Ok(true),
            Err(LogError::Append(AppendError::Full { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn append_items(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<(), LogError> {
        let encoded: Vec<[u8; HEADER_LEN]> = headers.iter().map(EntryHeader::encode).collect();
        let items: Vec<Item<'_>> =
            encoded.iter().zip(batch).map(|(header, ordered)| Item { header, payload: payload_of(ordered) }).collect();
        self.journal.append(&items)?;
        Ok(())
    }

    fn headers(&self, batch: &Batch) -> Vec<EntryHeader> {
        let next = self.journal.next();
        batch
            .iter()
            .enumerate()
            .map(|(index, ordered)| {
                let position = Position(next + index as u64);
                match ordered {
                    Ordered::Gap(gap) => EntryHeader { entry: Entry::Gap(*gap), position, payload: PayloadInfo::NONE },
                    Ordered::Item(_, captured) => self.record_header(captured, position),
                }
            })
            .collect()
    }

    fn record_header(&self, captured: &Captured, position: Position) -> EntryHeader {
        let mut record = captured.record;
        record.range = self.changed_range(&record);
        EntryHeader { entry: Entry::Record(record), position, payload: captured.payload }
    }

    fn skip(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<(), LogError> {
        let mut engine = self.core.engine();
        headers.iter().for_each(|header| engine.skip(header));
        drop(engine);
        self.last_seq = headers.last().and_then(seq_of).unwrap_or(self.last_seq);
        self.settle_on_save.extend(by_epoch(batch));
        Ok(())
    }

    /// The journal is full: the dirty map takes over for everything that is not known to be at the secondary.
    fn overflow(&mut self) -> Result<(), LogError> {
        let from = self.core.engine().uncovered_from();
        let headers: Result<Vec<(u64, EntryHeader)>, _> = self.reader.headers(from.0).collect();
        let headers: Vec<EntryHeader> = headers?.into_iter().map(|(_, header)| header).collect();
        self.core.engine().overflowed(headers.iter());
        self.save()?;
        let end = self.journal.written();
        self.journal.discard_all(end + 1)?;
        self.core.engine().journal_trimmed(Position(self.journal.first()));
        info!("the journal was full: {} entries are now regions to resync", headers.len());
        self.core.wake_link.notify_one();
        Ok(())
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
        let saved = self.saved_generation;
        while self.unsettled.front().is_some_and(|first| first.through <= safe && first.generation <= saved) {
            let settled = self.unsettled.pop_front().map(|unsettled| unsettled.epochs).unwrap_or_default();
            settled.into_iter().for_each(|(epoch, count)| self.epochs.record_settled(epoch, count));
        }
        Ok(())
    }

    fn housekeeping(&mut self) -> Result<(), LogError> {
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
            let engine = self.core.engine();
            (engine.generation() != self.saved_generation, engine.save_is_urgent())
        };
        let waiting = changed || !self.settle_on_save.is_empty();
        let due = urgent || (waiting && Timers::due(&mut self.timers.save, now, SAVE_PERIOD));
        if due {
            self.save()?;
        }
        Ok(due)
    }

    /// Saves the dirty map durably; what waited for that settles.
    fn save(&mut self) -> Result<(), LogError> {
        let snapshot = self.core.engine().snapshot();
        let file = DirtyMapFile {
            stream: self.core.stream,
            runs: snapshot.dirty.runs(u64::MAX).collect(),
            covered: snapshot.covered.map(|covered| (covered.from, covered.through, covered.last_seq)),
        };
        self.dirty_file.save(&file)?;
        self.core.engine().snapshot_saved(snapshot.generation);
        self.saved_generation = snapshot.generation;
        for (epoch, count) in self.settle_on_save.drain(..) {
            self.epochs.record_settled(epoch, count);
        }
        self.core.wake_link.notify_one();
        Ok(())
    }

    /// Marks what the kernel's dirty map holds: after a loss nothing else tells what was touched.
    fn mark_kernel_map(&mut self, slots: &[u32]) {
        let map = self.kernel_map.union_of(&self.core.probe, slots.iter().copied());
        // The counter after the bits: no completion that they stand for has a later number.
        let after = self.core.kernel_seq();
        self.core.engine().mark_map(&map, after);
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
        let unseen = self.sweeper.sweep(&self.core);
        let after = self.core.kernel_seq();
        for command in unseen {
            self.core.engine().mark(command.volume, command.range, after);
            self.settle_on_save.push((command.epoch, 1));
            self.capture.forget(command.issue);
            LogCounters::add(&self.core.log.swept, 1);
        }
    }

    fn turn_epochs(&mut self) -> Result<(), LogError> {
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

    /// Frees what the secondary has, and tells `status` how full the journal is.
    fn trim(&mut self) -> Result<(), LogError> {
        let cursor = self.core.engine().cursor();
        self.journal.set_cursor(CURSOR, cursor.0.min(self.journal.written()))?;
        let first = self.journal.trim(cursor.0);
        self.core.engine().journal_trimmed(Position(first));
        let log = &self.core.log;
        log.journal_used.store(self.journal.bytes_used(), Ordering::Relaxed);
        log.journal_total.store(self.journal.bytes_total(), Ordering::Relaxed);
        log.journal_durable.store(self.journal.durable(), Ordering::Relaxed);
        Ok(())
    }

    /// Stops the capture, takes what it still hands over, and makes all of it durable.
    fn finish(&mut self) -> Result<(), LogError> {
        self.capture.stop();
        while let Ok(batch) = self.capture.batches.try_recv() {
            self.take(batch)?;
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

impl Core {
    /// Gives back the bytes of a batch to the capture thread's budget.
    fn probe_queue_done(&self, capture: &Capture, bytes: u64) {
        capture.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn payload_of(ordered: &Ordered<Captured>) -> &[u8] {
    match ordered {
        Ordered::Item(_, captured) => &captured.bytes,
        Ordered::Gap(_) => &[],
    }
}

fn payload_bytes(batch: &Batch) -> u64 {
    batch.iter().map(|ordered| payload_of(ordered).len() as u64).sum()
}

/// The last seq that an entry stands for.
fn seq_of(header: &EntryHeader) -> Option<Seq> {
    match &header.entry {
        Entry::Record(record) => Some(record.seq),
        Entry::Gap(gap) => Some(gap.last),
        Entry::Region(_) => None,
    }
}

/// How many commands of each epoch end in this batch.
fn by_epoch(batch: &Batch) -> Vec<(u32, u64)> {
    let mut counts: Vec<(u32, u64)> = Vec::new();
    for ordered in batch {
        let Ordered::Item(_, captured) = ordered else { continue };
        if !captured.settles {
            continue;
        }
        match counts.iter_mut().find(|(epoch, _)| *epoch == captured.epoch) {
            Some((_, count)) => *count += 1,
            None => counts.push((captured.epoch, 1)),
        }
    }
    counts
}

//! Made-up commands: done to the simulated disk, numbered, and put into the journal, as the probe and the agent's log
//! thread do it for real ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use formats::entry::{Entry, EntryHeader, Origin, PayloadInfo, Record};
use formats::{ByteRange, Op, OpFlags, Position, Seq, Status, VolumeIndex};
use journal::{AppendError, Config, Item, Journal, Reader, RealDisk, SyncPolicy};
use replayer::target::Target;

use super::super::workload::Numbers;
use super::{BLOCK, Core, DEVICE};

/// Name of the journal's cursor.
const CURSOR: &str = "standby";
/// Commands put into the journal at once, at most.
const BATCH: u64 = 16;
/// Largest command, in blocks.
const MAX_BLOCKS: u64 = 16;
/// Pause between batches.
const PAUSE: Duration = Duration::from_millis(2);
/// How many earlier commands one may have overlapped in time.
const DEPTH: u64 = 8;

/// A command with its payload.
struct Command {
    header: EntryHeader,
    payload: Vec<u8>,
}

/// Makes commands up.
pub(super) struct Source {
    core: Arc<Core>,
    journal: Journal<RealDisk>,
    numbers: Numbers,
    saved: Option<u64>,
}

impl Source {
    /// With a journal in `dir`, and a reader of it for the link.
    pub(super) fn new(core: Arc<Core>, dir: &Path) -> anyhow::Result<(Self, Reader<RealDisk>)> {
        let interval = SyncPolicy::Interval(Duration::from_millis(50));
        let config = Config { segment_bytes: 32 << 20, total_bytes: 256 << 20, sync: interval };
        let (journal, _) = Journal::open(RealDisk::new(dir)?, config)?;
        let reader = journal.reader();
        Ok((Self { core, journal, numbers: Numbers::new(7), saved: None }, reader))
    }

    /// Works until the end; makes no commands while `paused`.
    pub(super) fn run(&mut self, paused: &AtomicBool) -> anyhow::Result<()> {
        while !self.core.ended() {
            if !paused.load(Ordering::Acquire) {
                self.batch()?;
            }
            self.save_and_trim()?;
            if self.journal.sync_due(self.core.now()) {
                self.journal.sync()?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn batch(&mut self) -> anyhow::Result<()> {
        let count = 1 + self.numbers.below(BATCH);
        let first = self.core.seq().next();
        let commands: Vec<_> =
            (0..count).map(|at| self.command(Seq(first.0 + at), Position(self.journal.next() + at))).collect();
        let encoded: Vec<_> = commands.iter().map(|command| command.header.encode()).collect();
        let items: Vec<_> =
            encoded.iter().zip(&commands).map(|(header, command)| Item { header, payload: &command.payload }).collect();
        match self.journal.append(&items) {
            Ok(_) => {}
            // The simulated application waits; a real one never does.
            Err(AppendError::Full { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        commands.iter().try_for_each(|command| self.perform(command))?;
        let (now, next) = (self.core.now(), Position(self.journal.next()));
        self.core.engine().journal_grew(now, next, self.core.seq());
        self.core.wake.notify_one();
        Ok(())
    }

    fn command(&mut self, seq: Seq, position: Position) -> Command {
        let op = match self.numbers.below(20) {
            0 => Op::Flush,
            1 => Op::Discard,
            2 => Op::WriteZeroes,
            _ => Op::Write,
        };
        let range = if op == Op::Flush { ByteRange::new(0, 0) } else { self.range() };
        let payload = self.payload(op, range);
        let record = Record {
            seq,
            // Overlapping ranges are kept in order by the standby whatever this says.
            dep: Seq((seq.0 - 1).saturating_sub(self.numbers.below(DEPTH))),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::default(),
            range,
            status: Status::OK,
            origin: origin(),
        };
        let info = if payload.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(&payload) };
        Command { header: EntryHeader { entry: Entry::Record(record), position, payload: info }, payload }
    }

    fn range(&mut self) -> ByteRange {
        let blocks = 1 + self.numbers.below(MAX_BLOCKS);
        let offset = self.numbers.below(DEVICE / u64::from(BLOCK) - blocks) * u64::from(BLOCK);
        ByteRange::new(offset, blocks * u64::from(BLOCK))
    }

    fn payload(&mut self, op: Op, range: ByteRange) -> Vec<u8> {
        if op != Op::Write {
            return Vec::new();
        }
        let mut payload = vec![0; range.len as usize];
        self.numbers.fill(&mut payload);
        payload
    }

    /// Does it to the disk, then counts it as completed.
    fn perform(&self, command: &Command) -> anyhow::Result<()> {
        let Entry::Record(record) = &command.header.entry else { return Ok(()) };
        let disk = &self.core.disk;
        match record.op {
            Op::Write => disk.write(record.range.offset, &command.payload, false)?,
            Op::Flush => disk.flush()?,
            _ => disk.write_zeroes(record.range, true).map(drop)?,
        }
        self.core.changed.fetch_add(record.range.len, Ordering::Relaxed);
        self.core.seq.store(record.seq.0, Ordering::Release);
        Ok(())
    }

    /// There is no restart here, so remembering is as good as saving.
    fn save_and_trim(&mut self) -> anyhow::Result<()> {
        let mut engine = self.core.engine();
        let generation = engine.generation();
        if self.saved != Some(generation) {
            let snapshot = engine.snapshot();
            engine.snapshot_saved(snapshot.generation);
            self.saved = Some(generation);
            self.core.wake.notify_one();
        }
        let cursor = engine.cursor().0.min(self.journal.written());
        self.journal.set_cursor(CURSOR, cursor)?;
        engine.journal_trimmed(Position(self.journal.trim(cursor)));
        Ok(())
    }
}

fn origin() -> Origin {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    Origin {
        issued_ns: now,
        completed_ns: now,
        cgroup_id: 0,
        pid: 0,
        tgid: 0,
        comm: *b"simulated\0\0\0\0\0\0\0",
        queue_depth: 1,
    }
}

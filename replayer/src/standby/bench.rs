//! Replay alone, for measuring: a recorded stream goes through the engine, the order and the workers of a standby onto a
//! target, without link, journal and checkpoints.
//!
//! A [`Recording`] is a stream of writes that can be applied from its first entry to its last, as often as is wanted: what
//! was not carried is left out, and sequence numbers are drawn anew around it, so that the dependencies between the
//! rest stay what they were.

mod order;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::entry::{HEADER_LEN, Origin, PayloadInfo, Record};
use formats::{
    ByteRange, Entry, EntryHeader, Op, OpFlags, PayloadEncoding, Position, Seq, Status, StreamId, VolumeIndex,
};
use journal::{Disk, ReadError, Reader};
use replication::standby::{StandbyState, StreamVolume};
use thiserror::Error;

pub use order::OrderBound;

use super::budget::Budget;
use super::checkpoint::Keeper;
use super::config::StandbyConfig;
use super::frame::Frame;
use super::holes::HolesFile;
use super::shared::Shared;
use super::status::AppliedCounts;
use crate::pool::{Method, Pool};
use crate::state_file::{StateFile, StateFileError};
use crate::target::Target;

/// Bytes of entries that are handed over at once: as many as a journal gives back at a time.
const FRAME_BYTES: usize = 1 << 20;
/// A replay that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(600);
const NAME: &str = "bench";

/// Why nothing was measured.
#[derive(Error, Debug)]
pub enum ReplayError {
    /// The recorded journal cannot be read.
    #[error("the recording cannot be read: {0}")]
    Journal(#[from] ReadError),
    /// There is nothing in it that could be replayed.
    #[error("the recording holds no write with its bytes; record a load that writes")]
    Empty,
    /// A place for the checkpoint, which is not written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The system has no more threads.
    #[error("cannot start a thread: {0}; raise the limit of tasks (ulimit -u)")]
    Thread(std::io::Error),
    /// The standby stopped.
    #[error("the replay stopped: {0}")]
    Stopped(String),
}

/// How a replay went.
#[derive(Debug, Clone)]
pub struct Replay {
    /// From the first entry to the last.
    pub elapsed: Duration,
    /// What was done.
    pub done: AppliedCounts,
    /// How entries got to the target.
    pub method: Method,
}

/// A stream that can be replayed.
#[derive(Debug, Default)]
pub struct Recording {
    frames: Vec<Frame>,
    ranges: Vec<ByteRange>,
    left_out: u64,
}

/// Draws up a recording, entry by entry in the order of the stream.
#[derive(Default)]
struct Builder {
    recording: Recording,
    body: Vec<u8>,
    /// The recorded seqs of what was kept; its own new seq is its place here, from 1.
    seqs: Vec<Seq>,
}

impl Builder {
    fn add(&mut self, record: &Record, payload: PayloadInfo, bytes: &[u8]) {
        let dep = self.seqs.partition_point(|kept| *kept <= record.dep) as u64;
        self.seqs.push(record.seq);
        let seq = self.seqs.len() as u64;
        let record = Record { seq: Seq(seq), dep: Seq(dep), volume: VolumeIndex(0), ..*record };
        self.recording.ranges.push(record.range);
        EntryHeader { entry: Entry::Record(record), position: Position(seq), payload }.write_to(bytes, &mut self.body);
        if self.body.len() >= FRAME_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let body = Bytes::from(std::mem::take(&mut self.body));
        let permit = Budget::new(u64::MAX).take(body.len() as u64);
        // What was written a moment ago is well formed; were it not, it would be missing from the count.
        match Frame::parse(0, body, permit) {
            Ok(frame) => self.recording.frames.push(frame),
            Err(_) => self.recording.left_out += 1,
        }
    }

    fn finish(mut self) -> Result<Recording, ReplayError> {
        if !self.body.is_empty() {
            self.cut();
        }
        if self.recording.ranges.is_empty() { Err(ReplayError::Empty) } else { Ok(self.recording) }
    }
}

impl Recording {
    /// The writes in a journal of a primary.
    ///
    /// # Errors
    /// It cannot be read, or holds none.
    pub fn read<D: Disk>(reader: &mut Reader<D>) -> Result<Self, ReplayError> {
        let (mut builder, mut from) = (Builder::default(), reader.first());
        loop {
            let batch = reader.read(from, FRAME_BYTES)?;
            let Some(last) = batch.last() else { return builder.finish() };
            for (_, header, place) in &batch.items {
                match &header.entry {
                    Entry::Record(record) if is_whole(record, &header.payload) => {
                        let bytes = batch.bytes.get(place.start + HEADER_LEN..place.end).unwrap_or_default();
                        builder.add(record, header.payload, bytes);
                    }
                    _ => builder.recording.left_out += 1,
                }
            }
            from = last + 1;
        }
    }

    /// Random writes of `block` bytes over the first `span` bytes of a volume, as a primary records them that keeps `depth`
    /// of them in flight: each was issued when the one `depth` before it had completed.
    ///
    /// # Errors
    /// When `span` has no room for a block, or there are none.
    pub fn random_writes(entries: u64, block: u32, span: u64, depth: u64, seed: u64) -> Result<Self, ReplayError> {
        let (mut builder, mut random) = (Builder::default(), Random(seed));
        let blocks = span / u64::from(block).max(1);
        let mut bytes = vec![0; block as usize];
        for seq in 1..=if blocks == 0 { 0 } else { entries } {
            for word in bytes.chunks_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
            }
            let record = Record {
                seq: Seq(seq),
                dep: Seq(seq.saturating_sub(depth.max(1))),
                volume: VolumeIndex(0),
                op: Op::Write,
                flags: OpFlags::empty(),
                range: ByteRange::new(random.next() % blocks * u64::from(block), block.into()),
                status: Status::OK,
                origin: Origin::default(),
            };
            builder.add(&record, PayloadInfo::data(&bytes), &bytes);
        }
        builder.finish()
    }

    /// Entries in it.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.ranges.len() as u64
    }

    /// Bytes of the volume that they change.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.len).sum()
    }

    /// Entries of the journal that are not in it: gaps, other commands, failed ones, lost payload.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The range of each entry, in order.
    #[must_use]
    pub fn ranges(&self) -> &[ByteRange] {
        &self.ranges
    }

    /// Lets each entry start as soon as there is room for it: what is left of the order is that overlapping ones wait for each
    /// other.
    #[must_use]
    pub fn without_order(mut self) -> Self {
        self.frames.iter_mut().flat_map(|frame| &mut frame.headers).for_each(forget_order);
        self
    }

    /// What its order leaves of the throughput, on devices of several kinds.
    #[must_use]
    pub fn order_bounds(&self, depth: usize) -> Vec<OrderBound> {
        let headers: Vec<EntryHeader> = self.frames.iter().flat_map(|frame| &frame.headers).copied().collect();
        let mut free = headers.clone();
        free.iter_mut().for_each(forget_order);
        order::bounds(&headers, &free, depth.max(1))
    }

    /// Applies all of it to `target`, `depth` entries at once, and tells how long that took. `scratch` is a folder for what a
    /// standby keeps there.
    ///
    /// # Errors
    /// An entry could not be applied, or the system lacks something.
    pub fn replay(&self, target: Arc<dyn Target>, depth: usize, scratch: &Path) -> Result<Replay, ReplayError> {
        let (file, _) = StateFile::open(scratch)?;
        let info = target.info();
        let mut config = StandbyConfig::new("", scratch.to_owned(), vec![(NAME.to_owned(), info.path)]);
        (config.depth, config.queue_bytes) = (depth, u64::MAX);
        let block_size = target.block_size().unwrap_or(512);
        let volume = StreamVolume { name: NAME.to_owned(), size: info.size, block_size };
        let state = StandbyState { stream: StreamId(1), volumes: vec![volume], ..StandbyState::blank(0) };
        // Nobody takes orders: there is no journal.
        let (orders, _inbox) = mpsc::channel();
        let shared = Shared::new(
            config,
            vec![(NAME.to_owned(), target)],
            &state,
            Keeper::new(file, None, HolesFile::new(scratch)),
            orders,
        );
        let pool = Pool::start(depth, &shared).map_err(ReplayError::Thread)?;
        let started = Instant::now();
        let fed = self.feed(&shared);
        let drained = fed.is_ok() && shared.wait_drained(LIMIT);
        let elapsed = started.elapsed();
        let stopped = fed.err().or_else(|| shared.stop_reason());
        shared.end();
        let method = pool.method();
        pool.join();
        match stopped {
            Some(reason) => Err(ReplayError::Stopped(reason)),
            None if !drained => Err(ReplayError::Stopped(format!("no end within {} s", LIMIT.as_secs()))),
            None => Ok(Replay { elapsed, done: shared.done(), method }),
        }
    }

    fn feed(&self, shared: &Shared) -> Result<(), String> {
        let mut first = 1;
        for frame in &self.frames {
            shared.redo(first, frame)?;
            if let Some(reason) = shared.stop_reason() {
                return Err(reason);
            }
            first += frame.headers.len() as u64;
        }
        shared.redo_end((0, 0));
        Ok(())
    }
}

fn forget_order(header: &mut EntryHeader) {
    if let Entry::Record(record) = &mut header.entry {
        record.dep = Seq(0);
    }
}

/// Whether it is a write that can be applied, and nothing of it is missing.
fn is_whole(record: &Record, payload: &PayloadInfo) -> bool {
    record.op == Op::Write && record.status.is_ok() && payload.encoding != PayloadEncoding::None
}

/// SplitMix64 (Steele, Lea, Flood, 2014): addresses and content of a made-up load, and service times of a made-up device.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use journal::{Config, Item, Journal, RealDisk, SyncPolicy};

    use super::*;
    use crate::target::MemoryTarget;
    use crate::target::filed::FileTarget;

    const BLOCK: u32 = 4096;
    const SPAN: u64 = 64 * BLOCK as u64;

    fn record(seq: u64, dep: u64, block: u64) -> Record {
        Record {
            seq: Seq(seq),
            dep: Seq(dep),
            volume: VolumeIndex(3),
            op: Op::Write,
            flags: OpFlags::empty(),
            range: ByteRange::new(block * u64::from(BLOCK), BLOCK.into()),
            status: Status::OK,
            origin: Origin::default(),
        }
    }

    /// What a target holds after the entries were applied one after the other.
    fn naive(recording: &Recording) -> Vec<u8> {
        let mut content = vec![0; SPAN as usize];
        for frame in &recording.frames {
            for (at, header) in frame.headers.iter().enumerate() {
                let range = header.range().expect("a record has one");
                content[range.offset as usize..range.end() as usize].copy_from_slice(&frame.payload(at));
            }
        }
        content
    }

    #[test]
    fn a_replay_leaves_what_the_entries_say_at_any_depth() {
        let recording = Recording::random_writes(3000, BLOCK, SPAN, 32, 7).expect("some");
        assert_eq!((recording.entries(), recording.bytes()), (3000, 3000 * u64::from(BLOCK)));
        for depth in [1, 32] {
            let scratch = tempfile::tempdir().expect("a folder");
            let target = Arc::new(MemoryTarget::new("disk", SPAN));
            let replay = recording.replay(target.clone(), depth, scratch.path()).expect("replays");
            assert_eq!(replay.done.by_kind["write"].entries, 3000);
            assert!(target.content() == naive(&recording), "depth {depth}");
        }
    }

    #[test]
    fn without_order_only_overlap_waits() {
        let recording = Recording::random_writes(3000, BLOCK, SPAN, 1, 7).expect("some");
        let bound = |recording: &Recording| recording.order_bounds(8).last().copied().expect("some kinds");
        assert!(bound(&recording).ratio < 0.3, "{:?}", bound(&recording));
        let (wanted, recording) = (naive(&recording), recording.without_order());
        assert_eq!(bound(&recording).ratio, 1.0);
        let scratch = tempfile::tempdir().expect("a folder");
        let target = Arc::new(MemoryTarget::new("disk", SPAN));
        recording.replay(target.clone(), 8, scratch.path()).expect("replays");
        assert!(target.content() == wanted);
    }

    #[test]
    fn the_same_through_a_ring() {
        let recording = Recording::random_writes(3000, BLOCK, SPAN, 32, 7).expect("some");
        let scratch = tempfile::tempdir().expect("a folder");
        let target = Arc::new(FileTarget::new(SPAN));
        let replay = recording.replay(target.clone(), 32, scratch.path()).expect("replays");
        assert_eq!((replay.method, target.written()), (Method::Ring, 0));
        assert_eq!(replay.done.by_kind["write"].entries, 3000);
        assert!(target.content() == naive(&recording));
    }

    #[test]
    fn a_target_that_is_too_small_stops_it() {
        let recording = Recording::random_writes(300, BLOCK, SPAN, 32, 7).expect("some");
        let scratch = tempfile::tempdir().expect("a folder");
        let small: [Arc<dyn Target>; 2] =
            [Arc::new(MemoryTarget::new("disk", SPAN / 2)), Arc::new(FileTarget::new(SPAN / 2))];
        for target in small {
            let error = recording.replay(target, 32, scratch.path()).expect_err("it does not fit");
            assert!(matches!(error, ReplayError::Stopped(_)), "{error}");
        }
    }

    #[test]
    fn a_journal_with_losses_is_closed_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config { segment_bytes: 32 << 20, total_bytes: 128 << 20, sync: SyncPolicy::Never };
        let (mut journal, _) = Journal::open(RealDisk::new(folder.path()).expect("a disk"), config).expect("opens");
        let bytes = vec![9; BLOCK as usize];
        let whole = PayloadInfo::data(&bytes);
        let failed = Record { status: Status(10), ..record(4, 2, 4) };
        let cases = [
            (record(1, 0, 1), whole),
            (record(2, 0, 2), PayloadInfo::NONE),
            (record(3, 1, 3), whole),
            (failed, whole),
            (record(9, 4, 5), whole),
        ];
        for (position, (record, payload)) in (1..).zip(cases) {
            let entry = EntryHeader { entry: Entry::Record(record), position: Position(position), payload };
            let payload = if payload.len > 0 { &bytes[..] } else { &[] };
            journal.append(&[Item { header: &entry.encode(), payload }]).expect("room");
        }
        let recording = Recording::read(&mut journal.reader()).expect("reads");
        assert_eq!((recording.entries(), recording.left_out()), (3, 2));
        let seqs = |header: &EntryHeader| match &header.entry {
            Entry::Record(record) => (header.position.0, record.seq.0, record.dep.0, record.range.offset / 4096),
            other => panic!("{other:?}"),
        };
        let kept: Vec<_> = recording.frames.iter().flat_map(|frame| &frame.headers).map(seqs).collect();
        assert_eq!(kept, [(1, 1, 0, 1), (2, 2, 1, 3), (3, 3, 2, 5)]);
        assert!(matches!(Recording::random_writes(5, BLOCK, 100, 32, 1), Err(ReplayError::Empty)));
    }
}

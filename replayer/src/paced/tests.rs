//! Streams applied at a pace: their order, their end, their times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use formats::entry::{Origin, PayloadInfo, Record};
use formats::{Entry, Op, OpFlags, Position, Seq, Status};

use super::*;
use crate::target::{Effect, MemoryTarget, TargetInfo};

const BLOCK: u64 = 4096;
const SIZE: u64 = 64 * BLOCK;

/// Remembers when each write began and ended, by its first byte's content.
struct Watched {
    memory: MemoryTarget,
    seen: Mutex<Vec<(u64, &'static str)>>,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::new(Self { memory: MemoryTarget::new("disk", SIZE), seen: Mutex::default() })
    }

    fn note(&self, bytes: &[u8], what: &'static str) {
        let seq = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        self.seen.lock().expect("whole").push((seq, what));
    }
}

impl Target for Watched {
    fn info(&self) -> TargetInfo {
        self.memory.info()
    }

    fn size(&self) -> u64 {
        SIZE
    }

    fn block_size(&self) -> Option<u32> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.memory.read(offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), TargetError> {
        self.note(bytes, "begins");
        std::thread::sleep(Duration::from_micros(bytes[0] as u64 % 7 * 50));
        self.memory.write(offset, bytes, fua)?;
        self.note(bytes, "ends");
        Ok(())
    }

    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        self.memory.discard(range)
    }

    fn write_zeroes(&self, range: ByteRange, may_unmap: bool) -> Result<Effect, TargetError> {
        self.memory.write_zeroes(range, may_unmap)
    }

    fn flush(&self) -> Result<(), TargetError> {
        self.memory.flush()
    }
}

/// A write of `seq`, issued when `dep` had completed, at a microsecond.
fn write(seq: u64, dep: u64, block: u64, issued_us: u64) -> (EntryHeader, Bytes) {
    let bytes: Bytes = seq.to_le_bytes().repeat(BLOCK as usize / 8).into();
    let issued_ns = 1_000_000_000 + issued_us * 1000;
    let record = Record {
        seq: Seq(seq),
        dep: Seq(dep),
        volume: VolumeIndex(0),
        op: Op::Write,
        flags: OpFlags::empty(),
        range: ByteRange::new(block * BLOCK, BLOCK),
        status: Status::OK,
        origin: Origin { issued_ns, completed_ns: issued_ns + 200_000, ..Origin::default() },
    };
    let payload = PayloadInfo::data(&bytes);
    (EntryHeader { entry: Entry::Record(record), position: Position(seq), payload }, bytes)
}

/// 400 writes, 8 in flight, some over each other.
fn stream() -> Vec<(EntryHeader, Bytes)> {
    (1..=400).map(|seq| write(seq, seq.saturating_sub(8), seq * 7 % 50, seq * 100)).collect()
}

fn run(
    target: Arc<dyn Target>,
    options: Options,
    stream: &[(EntryHeader, Bytes)],
    loops: usize,
) -> Result<Fidelity, PacedError> {
    let mut replay = Paced::start(BTreeMap::from([(0, target)]), options)?;
    for _ in 0..loops {
        let mut entries = stream.iter().cloned();
        replay.run(&mut || Ok(entries.next()), &mut || true)?;
    }
    replay.finish()
}

fn naive(stream: &[(EntryHeader, Bytes)]) -> Vec<u8> {
    let mut content = vec![0; SIZE as usize];
    for (header, bytes) in stream {
        let range = header.range().expect("a record has one");
        content[range.offset as usize..range.end() as usize].copy_from_slice(bytes);
    }
    content
}

#[test]
fn every_pace_leaves_what_the_stream_says_in_its_order() {
    let stream = stream();
    for (pace, ahead) in [(Pace::Max, 1 << 20), (Pace::Percent(400), 20_000)] {
        let target = Watched::new();
        let options = Options { pace, depth: 16, ahead };
        let fidelity = run(target.clone(), options, &stream, 2).expect("applied");
        assert_eq!((fidelity.entries, fidelity.bytes, fidelity.by_op["write"]), (800, 800 * BLOCK, 800));
        assert!((fidelity.recorded_seconds - 0.0401).abs() < 1e-6, "{}", fidelity.recorded_seconds);
        assert!(target.memory.content() == naive(&stream));
        // Everything that had completed when a command was issued was applied before it began, in each run.
        let seen = target.seen.lock().expect("whole").clone();
        for run in seen.chunks(800) {
            let mut ended = [false; 401];
            for (seq, what) in run {
                match *what {
                    "begins" => assert!((1..=seq.saturating_sub(8)).all(|before| ended[before as usize]), "{seq}"),
                    _ => ended[*seq as usize] = true,
                }
            }
        }
    }
}

#[test]
fn nothing_is_issued_before_its_time() {
    let stream: Vec<_> = (1..=50).map(|seq| write(seq, 0, seq, seq * 2000)).collect();
    let target: Arc<dyn Target> = Arc::new(MemoryTarget::new("disk", SIZE));
    let fidelity =
        run(target, Options { pace: Pace::Percent(200), ..Options::default() }, &stream, 1).expect("applied");
    // 49 gaps of 2 ms, twice as fast. However late a busy machine is, it is never early.
    assert!(fidelity.seconds >= 0.048 && (fidelity.recorded_seconds - 0.0982).abs() < 1e-6, "{fidelity:?}");
    let error = fidelity.issue_error.expect("it had a pace");
    assert!(error.median_us <= error.p99_us && error.p99_us <= error.max_us * 1.01);
    assert!((fidelity.recorded_latency.median_us - 200.0).abs() < 1.0);
    let recorded: f64 = fidelity.recorded_depth.over_time.iter().sum::<f64>() * fidelity.recorded_depth.stretch_seconds;
    assert!((recorded - 50.0 * 0.0002).abs() < 1e-6, "50 commands of 200 µs: {recorded}");
}

#[test]
fn a_target_that_fails_ends_it() {
    let target = Arc::new(MemoryTarget::new("disk", SIZE));
    target.set_failing(true);
    let failed = run(target, Options::default(), &stream(), 1);
    assert!(matches!(failed, Err(PacedError::Apply(_))), "{failed:?}");
    let small: Arc<dyn Target> = Arc::new(MemoryTarget::new("disk", BLOCK));
    let failed = run(small, Options { pace: Pace::Max, ..Options::default() }, &stream(), 1);
    assert!(matches!(failed, Err(PacedError::Apply(_))), "{failed:?}");
}

#[test]
fn it_ends_when_asked_to_and_refuses_what_it_was_not_given() {
    let target = Arc::new(MemoryTarget::new("disk", SIZE));
    target.set_held(true);
    let targets: Targets = BTreeMap::from([(0, target.clone() as Arc<dyn Target>)]);
    let mut replay = Paced::start(targets, Options { ahead: 1, ..Options::default() }).expect("starts");
    let stream = stream();
    let mut entries = stream.iter().cloned();
    let ended = replay.run(&mut || Ok(entries.next()), &mut || false);
    assert!(matches!(ended, Err(PacedError::Interrupted)), "{ended:?}");
    target.set_held(false);
    drop(replay);
    let mut replay = Paced::start(BTreeMap::new(), Options::default()).expect("starts");
    let mut entries = stream.iter().cloned();
    assert!(matches!(replay.run(&mut || Ok(entries.next()), &mut || true), Err(PacedError::NoTarget(_))));
}

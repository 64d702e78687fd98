use std::collections::VecDeque;
use std::sync::Mutex;

use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Gap, Seq, Status, VolumeIndex};

use super::*;
use crate::target::MemoryTarget;

const SIZE: u64 = 1 << 20;

fn record(op: Op, range: (u64, u64), payload: PayloadInfo) -> EntryHeader {
    let record = Record {
        seq: Seq(7),
        dep: Seq(6),
        volume: VolumeIndex(0),
        op,
        flags: OpFlags::empty(),
        range: ByteRange::new(range.0, range.1),
        status: Status::OK,
        origin: Origin::default(),
    };
    EntryHeader { entry: Entry::Record(record), position: Position(7), payload }
}

fn change(header: &mut EntryHeader) -> &mut Record {
    match &mut header.entry {
        Entry::Record(record) => record,
        other => panic!("{other:?}"),
    }
}

fn region(range: (u64, u64), payload: PayloadInfo) -> EntryHeader {
    let range = ByteRange::new(range.0, range.1);
    let region = Region { volume: VolumeIndex(0), range, consistent_after: Seq(9), remaining: 0 };
    EntryHeader { entry: Entry::Region(region), position: Position(7), payload }
}

fn full() -> MemoryTarget {
    let target = MemoryTarget::new("t", SIZE);
    target.write(0, &vec![0xAA; SIZE as usize], false).unwrap();
    target
}

#[test]
fn each_kind_of_content_lands_where_it_belongs() {
    let bytes = [5; 4096];
    let data = PayloadInfo::data(&bytes);
    let cases: [(EntryHeader, &[u8], u8); 7] = [
        (record(Op::Write, (4096, 4096), data), &bytes, 5),
        (record(Op::Write, (4096, 4096), PayloadInfo::ZERO), &[], 0),
        (record(Op::Discard, (4096, 4096), PayloadInfo::NONE), &[], 0),
        (record(Op::WriteZeroes, (4096, 4096), PayloadInfo::NONE), &[], 0),
        (record(Op::SecureErase, (4096, 4096), PayloadInfo::NONE), &[], 0),
        (region((4096, 4096), data), &bytes, 5),
        (region((4096, 4096), PayloadInfo::ZERO), &[], 0),
    ];
    for (header, payload, byte) in cases {
        let target = full();
        let outcome = apply(&header, payload, Some(&target)).unwrap();
        let erased = matches!(header.entry, Entry::Record(Record { op: Op::SecureErase, .. }));
        let effect = if erased { Effect::Emulated } else { Effect::AsAsked };
        assert_eq!(outcome, Outcome::Applied(effect), "{header:?}");
        let content = target.content();
        assert!(content[4096..8192].iter().all(|&b| b == byte), "{header:?}");
        assert!(content[..4096].iter().chain(&content[8192..]).all(|&b| b == 0xAA), "{header:?}");
    }
}

#[test]
fn what_has_no_content_changes_nothing() {
    let mut failed = record(Op::Write, (0, 4096), PayloadInfo::data(&[5; 4096]));
    change(&mut failed).status = Status(10);
    let gap = Entry::Gap(Gap { first: Seq(1), last: Seq(2) });
    let cases: [(EntryHeader, &[u8], Outcome); 6] = [
        (failed, &[5; 4096], Outcome::FailedOnPrimary),
        (EntryHeader { entry: gap, position: Position(1), payload: PayloadInfo::NONE }, &[], Outcome::Nothing),
        (region((0, 0), PayloadInfo::NONE), &[], Outcome::Nothing),
        (record(Op::Write, (0, 4096), PayloadInfo::NONE), &[], Outcome::NotCarried),
        (record(Op::Zone, (0, 4096), PayloadInfo::NONE), &[], Outcome::NotReplayable),
        (record(Op::Opaque, (0, 4096), PayloadInfo::NONE), &[], Outcome::NotReplayable),
    ];
    for (header, payload, wanted) in cases {
        let target = full();
        assert_eq!(apply(&header, payload, Some(&target)).unwrap(), wanted, "{header:?}");
        assert_eq!(target.changes(), 1, "{header:?}");
    }
}

#[test]
fn flushes_before_and_after_are_kept() {
    let bytes = [5; 512];
    let flushes = |header: &EntryHeader, payload: &[u8]| {
        let target = full();
        apply(header, payload, Some(&target)).unwrap();
        target.flushes()
    };
    assert_eq!(flushes(&record(Op::Flush, (0, 0), PayloadInfo::NONE), &[]), 1);
    let mut write = record(Op::Write, (0, 512), PayloadInfo::data(&bytes));
    assert_eq!(flushes(&write, &bytes), 0);
    change(&mut write).flags = OpFlags::PREFLUSH;
    assert_eq!(flushes(&write, &bytes), 1);
    let mut zeros = record(Op::Write, (0, 512), PayloadInfo::ZERO);
    change(&mut zeros).flags = OpFlags::PREFLUSH | OpFlags::FUA;
    assert_eq!(flushes(&zeros, &[]), 2);
    change(&mut zeros).op = Op::Discard;
    assert_eq!(flushes(&zeros, &[]), 2);
}

#[test]
fn a_damaged_payload_is_never_applied() {
    let header = record(Op::Write, (0, 4096), PayloadInfo::data(&[5; 4096]));
    let mut bytes = [5; 4096];
    bytes[77] ^= 4;
    for payload in [&bytes[..], &bytes[..100], &[]] {
        let target = full();
        let error = apply(&header, payload, Some(&target)).unwrap_err();
        assert!(matches!(error, ApplyError::Damaged { .. }), "{error}");
        assert_eq!(target.changes(), 1);
    }
}

#[test]
fn a_failing_or_absent_target_is_an_error() {
    let header = record(Op::Flush, (0, 0), PayloadInfo::NONE);
    assert!(matches!(apply(&header, &[], None), Err(ApplyError::NoTarget { .. })));
    let target = full();
    target.set_failing(true);
    assert!(matches!(apply(&header, &[], Some(&target)), Err(ApplyError::Target { .. })));
}

/// Hands out a list, in order, to whoever asks.
struct List {
    jobs: Mutex<VecDeque<Job>>,
    done: Mutex<Vec<Done>>,
}

impl WorkSource for List {
    fn exchange(&self, done: Option<Done>) -> Option<Job> {
        self.done.lock().unwrap().extend(done);
        self.jobs.lock().unwrap().pop_front()
    }
}

#[test]
fn workers_report_every_job_even_when_a_target_panics() {
    struct Panics;
    impl Target for Panics {
        fn info(&self) -> crate::target::TargetInfo {
            MemoryTarget::new("p", 0).info()
        }
        fn size(&self) -> u64 {
            0
        }
        fn block_size(&self) -> Option<u32> {
            None
        }
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), TargetError> {
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8], _: bool) -> Result<(), TargetError> {
            Ok(())
        }
        fn discard(&self, _: ByteRange) -> Result<Effect, TargetError> {
            Ok(Effect::AsAsked)
        }
        fn write_zeroes(&self, _: ByteRange, _: bool) -> Result<Effect, TargetError> {
            Ok(Effect::AsAsked)
        }
        fn flush(&self) -> Result<(), TargetError> {
            panic!("as ordered")
        }
    }
    let job = |index| {
        let target: Arc<dyn Target> = if index == 50 { Arc::new(Panics) } else { Arc::new(MemoryTarget::new("t", 0)) };
        let header = record(Op::Flush, (0, 0), PayloadInfo::NONE);
        Job { index, header, payload: Bytes::new(), target: Some(target) }
    };
    let list = Arc::new(List { jobs: Mutex::new((1..=100).map(job).collect()), done: Mutex::default() });
    Pool::start(4, &list).unwrap().join();
    let mut done = std::mem::take(&mut *list.done.lock().unwrap());
    done.sort_by_key(|done| done.index);
    assert_eq!(done.len(), 100);
    for (done, index) in done.iter().zip(1..) {
        assert_eq!((done.index, done.outcome.is_err()), (index, index == 50));
    }
}

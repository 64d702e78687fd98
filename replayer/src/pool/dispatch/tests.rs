use bytes::Bytes;
use formats::entry::{Origin, PayloadInfo, Record, Region};
use formats::{ByteRange, Position, Seq, Status, VolumeIndex};

use super::super::{ApplyError, list};
use super::*;
use crate::target::Target;
use crate::target::filed::FileTarget;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 64;

fn write(at: u64, bytes: &[u8]) -> EntryHeader {
    let record = Record {
        seq: Seq(at + 1),
        dep: Seq(0),
        volume: VolumeIndex(0),
        op: Op::Write,
        flags: OpFlags::empty(),
        range: ByteRange::new(at * BLOCK, bytes.len() as u64),
        status: Status::OK,
        origin: Origin::default(),
    };
    EntryHeader { entry: Entry::Record(record), position: Position(at + 1), payload: PayloadInfo::data(bytes) }
}

fn change(mut header: EntryHeader, change: impl FnOnce(&mut Record)) -> EntryHeader {
    if let Entry::Record(record) = &mut header.entry {
        change(record);
    }
    header
}

/// Applies all of these to the target and answers results by index.
fn apply_all(target: &Arc<FileTarget>, entries: Vec<(EntryHeader, Vec<u8>)>) -> Vec<Done> {
    let jobs = entries.into_iter().zip(0..).map(|((header, payload), index)| {
        let target: Arc<dyn Target> = target.clone();
        Job { index, header, payload: Bytes::from(payload), target: Some(target) }
    });
    list::apply_all(jobs)
}

fn plain_writes() -> Vec<(EntryHeader, Vec<u8>)> {
    let block = |at: u64| vec![at as u8 + 1; BLOCK as usize];
    (0..BLOCKS).map(|at| (write(at, &block(at)), block(at))).collect()
}

fn is_written(target: &FileTarget) -> bool {
    let content = target.content();
    content.chunks(BLOCK as usize).zip(1u8..).all(|(block, byte)| block.iter().all(|&b| b == byte))
}

#[test]
fn plain_writes_go_past_the_target() {
    let target = Arc::new(FileTarget::new(BLOCKS * BLOCK));
    let done = apply_all(&target, plain_writes());
    assert_eq!(done.len(), BLOCKS as usize);
    assert!(done.iter().all(|done| matches!(done.outcome, Ok(Outcome::Applied(Effect::AsAsked)))));
    assert!(is_written(&target));
    assert_eq!(target.written(), 0);
}

#[test]
fn a_write_that_the_ring_cannot_do_is_done_by_a_worker() {
    let target = Arc::new(FileTarget::with_decoy(BLOCKS * BLOCK));
    let done = apply_all(&target, plain_writes());
    assert!(done.iter().all(|done| matches!(done.outcome, Ok(Outcome::Applied(Effect::AsAsked)))), "{done:?}");
    assert!(is_written(&target));
    assert_eq!(target.written(), BLOCKS);
}

#[test]
fn what_is_no_plain_write_goes_to_workers() {
    let target = Arc::new(FileTarget::new(1 << 20));
    let bytes = vec![7; BLOCK as usize];
    let large = vec![9; 256 << 10];
    let range = ByteRange::new(3 * BLOCK, BLOCK);
    let region = Region { volume: VolumeIndex(0), range, consistent_after: Seq(0), remaining: 0 };
    let region =
        EntryHeader { entry: Entry::Region(region), position: Position(9), payload: PayloadInfo::data(&bytes) };
    let discard = change(write(20, &bytes), |record| record.op = Op::Discard);
    let entries = vec![
        (write(0, &bytes), bytes.clone()),
        (change(write(1, &bytes), |record| record.flags = OpFlags::FUA), bytes.clone()),
        (change(write(2, &bytes), |record| record.status = Status(10)), bytes.clone()),
        (region, bytes.clone()),
        (EntryHeader { payload: PayloadInfo::NONE, ..discard }, Vec::new()),
        (EntryHeader { payload: PayloadInfo::ZERO, ..write(21, &bytes) }, Vec::new()),
        (write(64, &large), large.clone()),
        (write(300, &bytes), bytes.clone()),
    ];
    let done = apply_all(&target, entries);
    let outcomes: Vec<_> = done.iter().map(|done| done.outcome.as_ref().ok().copied()).collect();
    let (asked, emulated) = (Some(Outcome::Applied(Effect::AsAsked)), Some(Outcome::Applied(Effect::Emulated)));
    assert_eq!(outcomes, [asked, asked, Some(Outcome::FailedOnPrimary), asked, emulated, emulated, asked, None]);
    assert!(matches!(done[7].outcome, Err(ApplyError::Target { .. })), "beyond the end");
    assert_eq!(target.written(), 2, "the one with FUA and the large one");
    let content = target.content();
    let block = |at: u64| content[(at * BLOCK) as usize];
    assert_eq!([0, 1, 2, 3, 20, 21, 64, 127, 128].map(block), [7, 7, 0, 7, 0, 0, 9, 9, 0]);
}

#[test]
fn a_damaged_payload_never_reaches_the_ring() {
    let target = Arc::new(FileTarget::new(BLOCKS * BLOCK));
    let mut entries = plain_writes();
    entries[5].1[77] ^= 1;
    entries[6].1.truncate(100);
    let done = apply_all(&target, entries);
    for (at, done) in done.iter().enumerate() {
        let damaged = matches!(done.outcome, Err(ApplyError::Damaged { .. }));
        assert_eq!(damaged, at == 5 || at == 6, "{done:?}");
    }
    assert_eq!(done.len(), BLOCKS as usize);
    let content = target.content();
    assert!(content[5 * BLOCK as usize..7 * BLOCK as usize].iter().all(|byte| *byte == 0));
    assert_eq!(content[7 * BLOCK as usize], 8);
}

//! What may be on a disk, against the plainest reading of it; images against volumes in memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Seq, Status, VolumeIndex};
use proptest::prelude::*;

use super::bench::{Bench, Common, HandOut};
use super::log::Log;
use super::plan::{Cut, Draws, Fate, Kind, Point, Random, points};
use super::{Cache, Check};
use crate::image::Base;
use crate::meta::{Device, Section};
use crate::moment::Moment;
use crate::rebuild::Follower;
use crate::series::Series;
use crate::writer::Writer;

const SIZE: u64 = 64 << 10;
const SECTOR: u64 = 512;

/// Operation, how far back `dep` reaches, first sector, sectors, FUA.
type Drawn = (u8, u64, u64, u64, bool);

fn record(seq: u64, (op, back, sector, sectors, fua): Drawn) -> Record {
    let op = [Op::Write, Op::Write, Op::Flush, Op::Discard][usize::from(op)];
    let range = ByteRange::new(sector * SECTOR, sectors * SECTOR);
    Record {
        seq: Seq(seq),
        dep: Seq((seq - 1).saturating_sub(back)),
        volume: VolumeIndex(0),
        op,
        flags: if fua && op == Op::Write { OpFlags::FUA } else { OpFlags::empty() },
        range: if op == Op::Flush { ByteRange::default() } else { range },
        status: Status::OK,
        origin: Origin::default(),
    }
}

fn content(record: &Record) -> Vec<u8> {
    (0..record.range.len).map(|at| (record.seq.0 * 7 + at / SECTOR) as u8).collect()
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    proptest::collection::vec((0..4u8, 0..4u64, 0..120u64, 1..8u64, proptest::bool::weighted(0.2)), 1..24)
}

fn log(folder: &Path, records: &[Record], cache: Cache) -> Log {
    let device = Device { name: "disk".into(), size: SIZE, block_size: 512, ..Device::default() };
    let section = Section { payload: true, ..Section::default() };
    let mut writer = Writer::new(Vec::new(), &section, std::slice::from_ref(&device)).unwrap();
    for record in records {
        let bytes = if record.op == Op::Write { content(record) } else { Vec::new() };
        let payload = if bytes.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(&bytes) };
        let header = EntryHeader { entry: Entry::Record(*record), position: Position(1), payload };
        writer.write(&header, &bytes).unwrap();
    }
    let path = folder.join("capture");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let mut series = Series::open(&[path]).unwrap();
    let mut follower = Follower::new(&series, &device, &Moment::End).unwrap();
    let scratch = tempfile::tempfile().unwrap();
    Log::read(&mut series, &mut follower, cache, scratch, &mut |_, _| true).unwrap()
}

/// By the words of the module: what is known of a record after a completion.
fn known(records: &[Record], record: &Record, seq: u64) -> Option<Kind> {
    let completed = |record: &Record| record.seq.0 <= seq;
    let covers = |flush: &&Record| flush.op == Op::Flush && completed(flush) && record.seq <= flush.dep;
    match completed(record) {
        true if record.flags.contains(OpFlags::FUA) || records.iter().any(|flush| covers(&flush)) => {
            Some(Kind::Durable)
        }
        true => Some(Kind::Completed),
        false if record.dep.0 <= seq => Some(Kind::InFlight),
        false => None,
    }
}

fn apply(model: &mut [u8], record: &Record, fate: Fate) {
    let bytes = if record.op == Op::Write { content(record) } else { vec![0; record.range.len as usize] };
    let (from, to) = match fate {
        Fate::Lost => return,
        Fate::Kept => (0, bytes.len()),
        Fate::Torn(from, to) => (from as usize, to as usize),
    };
    let start = record.range.offset as usize;
    model[start + from..start + to].copy_from_slice(&bytes[from..to]);
}

/// The volume at a cut: each record is put on it as far as it is there, in the order of completion.
fn model(records: &[Record], cut: &Cut, log: &Log, fates: &[Fate]) -> Vec<u8> {
    let open: HashMap<u64, Fate> =
        cut.open().map(|tail| log.steps[tail.step].record.seq.0).zip(fates.iter().copied()).collect();
    let mut model = vec![0xee; SIZE as usize];
    for record in records.iter().filter(|record| record.op != Op::Flush) {
        match known(records, record, cut.point.seq) {
            Some(Kind::Durable) => apply(&mut model, record, Fate::Kept),
            Some(_) => apply(&mut model, record, open[&record.seq.0]),
            None => {}
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_cut_is_what_its_words_say(drawn in drawn()) {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (1..).zip(drawn).map(|(seq, drawn)| record(seq, drawn)).collect();
        let log = log(folder.path(), &records, Cache::WriteBack);
        for seq in 0..=records.len() as u64 {
            let cut = Cut::new(&log, Point { seq, only_whole: false }, usize::MAX);
            let told: HashMap<u64, Kind> =
                cut.tail.iter().map(|tail| (log.steps[tail.step].record.seq.0, tail.kind)).collect();
            for record in records.iter().filter(|record| record.op != Op::Flush) {
                let settled = log.behind(record.seq.0) <= cut.settled;
                let found = if settled { Some(Kind::Durable) } else { told.get(&record.seq.0).copied() };
                prop_assert_eq!(found, known(&records, record, seq), "seq {} at {}", record.seq, seq);
            }
        }
    }

    #[test]
    fn images_hold_what_the_fates_say_and_equal_ones_are_known(drawn in drawn(), seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (1..).zip(drawn).map(|(seq, drawn)| record(seq, drawn)).collect();
        let log = log(folder.path(), &records, Cache::WriteBack);
        let base = folder.path().join("base");
        std::fs::write(&base, vec![0xee; SIZE as usize]).unwrap();
        let common = Common {
            log,
            base: Base::open(&base).unwrap(),
            size: SIZE,
            folder: folder.path().to_owned(),
            writes: AtomicBool::new(false),
        };
        let common = Arc::new(common);
        let mut bench = Bench::new(&common, 0).unwrap();
        let (mut by_print, mut by_content) = (HashMap::new(), HashMap::new());
        for point in points(&common.log, Some(3)) {
            let cut = Cut::new(&common.log, point, usize::MAX);
            for fates in cut.states(&common.log, Draws { most: 9, tear: SECTOR }, &mut Random::new(seed, point.seq)) {
                let print = bench.set(&cut, &fates).unwrap();
                let found = std::fs::read(folder.path().join("work-0.img")).unwrap();
                prop_assert!(found == model(&records, &cut, &common.log, &fates));
                prop_assert_eq!(by_print.entry(print).or_insert_with(|| found.clone()), &found);
                prop_assert_eq!(*by_content.entry(found).or_insert(print), print);
                bench.take_back().unwrap();
            }
        }
    }
}

#[test]
fn nothing_is_undecided_behind_a_write_through_cache_but_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let records = [(0, 0, 0, 1, false), (0, 0, 8, 1, false), (0, 2, 16, 1, false)];
    let records: Vec<Record> = (1..).zip(records).map(|(seq, drawn)| record(seq, drawn)).collect();
    let log = log(folder.path(), &records, Cache::WriteThrough);
    let undecided = |seq| Cut::new(&log, Point { seq, only_whole: false }, usize::MAX).undecided;
    assert_eq!([0, 1, 2, 3].map(undecided), [2, 2, 1, 0]);
}

#[test]
fn a_window_settles_what_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<Record> = (1..=10).map(|seq| record(seq, (0, 0, seq * 8, 1, false))).collect();
    let log = log(folder.path(), &records, Cache::WriteBack);
    let cut = Cut::new(&log, Point { seq: 10, only_whole: false }, 3);
    assert_eq!((cut.settled, cut.undecided), (7, 3));
}

#[test]
fn a_check_that_writes_gets_copies_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<Record> = (1..=3).map(|seq| record(seq, (0, 0, seq * 8, 1, false))).collect();
    let log = log(folder.path(), &records, Cache::WriteBack);
    let (path, writes) = (folder.path().to_owned(), AtomicBool::new(false));
    let common = Arc::new(Common { log, base: Base::Blank, size: SIZE, folder: path, writes });
    let mut bench = Bench::new(&common, 0).unwrap();
    if bench.hand_out() == HandOut::Clone {
        return; // Nothing that a check writes is seen here.
    }
    let look = |bench: &mut Bench, command: &str, seq| {
        let cut = Cut::new(&common.log, Point { seq, only_whole: true }, usize::MAX);
        bench.set(&cut, &cut.whole()).unwrap();
        let check = Check::new(command, std::time::Duration::from_secs(60)).unwrap();
        let checked = bench.check(&check, &AtomicBool::new(false)).unwrap();
        bench.take_back().unwrap();
        checked.output
    };
    let sum = "cksum < {}";
    let clean = look(&mut bench, sum, 2);
    assert_eq!(bench.hand_out(), HandOut::Itself);
    look(&mut bench, "printf spoiled | dd of={} bs=1 seek=9000 conv=notrunc 2>&1", 1);
    assert_eq!(bench.hand_out(), HandOut::Copy);
    assert_eq!(look(&mut bench, sum, 2), clean);
    look(&mut bench, "printf spoiled | dd of={} bs=1 seek=9000 conv=notrunc 2>&1", 3);
    assert_eq!(look(&mut bench, sum, 2), clean);
    assert!(!folder.path().join("state-0.img").exists());
}

//! Captures in several files, within limits, and what of a capture is chosen, shown and counted.
#![allow(missing_docs)]

mod common;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use captures::chain::{Chain, ChainError, Fate, Limits, Place};
use captures::{Blocks, Device, Item, Lines, Lost, Moment, Reader, Selection, Statistics, Summary};
use common::{START, Written, devices, entry, one_of_each, record, section};
use formats::{ByteRange, Op, Seq, Status};

fn place(path: &Path) -> Place {
    Place::Path { path: path.to_owned(), replace: false }
}

fn writes(count: u64) -> Vec<Written> {
    let content = |seq: u64| vec![seq as u8; 10_000];
    let one = |seq| record(seq, 0, Op::Write, ByteRange::new(seq * 10_240, 10_000), Status::OK);
    (1..=count).map(|seq| entry(one(seq), &content(seq), &[])).collect()
}

fn items(path: &Path) -> (Vec<Item>, u32) {
    let mut reader = Reader::new(captures::input::open(path).expect("opens")).expect("a capture");
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().expect("whole") {
        items.push(item);
    }
    assert_eq!(reader.tail(), None);
    (items, reader.section().part)
}

fn statistics(items: &[Item]) -> &Statistics {
    match items.last() {
        Some(Item::Statistics(statistics)) => statistics,
        other => panic!("{other:?}"),
    }
}

/// What was told at a moment: losses grow with it.
fn told(lost: u64) -> Statistics {
    Statistics { ended_ns: START + lost, lost: Lost { completions: lost, ..Lost::default() }, ..Statistics::default() }
}

fn write_all(chain: &mut Chain, written: &[Written]) -> u64 {
    let fates = written.iter().map(|(header, payload)| chain.write(header, payload).expect("written"));
    fates.filter(|fate| *fate == Fate::Written).count() as u64
}

#[test]
fn parts_hold_what_was_given_each_with_its_own_numbers() {
    for level in [None, Some(1)] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("t.pcapng");
        let limits = Limits { part_ns: Some(1000), ..Limits::default() };
        let mut chain = Chain::begin(place(&path), limits, level, section(), devices()).expect("begins");
        let all = writes(30);
        for (index, ten) in all.chunks(10).enumerate() {
            chain.tell(&told(index as u64 + 1));
            assert_eq!(write_all(&mut chain, ten), 10);
            chain.tick(START + 400 * (index as u64 + 1)).expect("goes on");
        }
        let (written, closed) = chain.end(START + 2000, 0);
        closed.expect("ends");
        let names = ["t-000001.pcapng", "t-000002.pcapng"].map(|name| dir.path().join(name));
        assert_eq!((written.files.as_slice(), written.records, written.removed), (&names[..], 30, 0));
        let size: u64 = names.iter().map(|path| std::fs::metadata(path).expect("a part").len()).sum();
        assert_eq!(written.bytes, size);
        let ((first, one), (second, two)) = (items(&names[0]), items(&names[1]));
        assert_eq!((first.len(), second.len(), one, two), (31, 1, 1, 2));
        assert_eq!((statistics(&first).records, statistics(&first).lost.completions), (30, 3));
        assert_eq!((statistics(&second).records, statistics(&second).lost.completions), (0, 0));
    }
}

#[test]
fn a_limit_in_all_ends_one_file_and_removes_old_parts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("t.pcapng");
    let total = Limits { total_bytes: Some(100_000), ..Limits::default() };
    let mut chain = Chain::begin(place(&path), total, None, section(), devices()).expect("begins");
    let fitted = write_all(&mut chain, &writes(30));
    let (written, closed) = chain.end(START, 0);
    closed.expect("ends");
    assert!((5..9).contains(&fitted) && written.records == fitted, "{fitted} {written:?}");
    assert!(std::fs::metadata(&path).expect("a file").len() <= 100_000);
    let parts = Limits { part_bytes: Some(30_000), ..total };
    let mut chain = Chain::begin(place(&path), parts, None, section(), devices()).expect("begins");
    assert_eq!(write_all(&mut chain, &writes(30)), 30);
    let (written, closed) = chain.end(START, 0);
    closed.expect("ends");
    let sizes = written.files.iter().map(|path| std::fs::metadata(path).expect("a part").len());
    assert!(sizes.sum::<u64>() <= 100_000 && written.removed > 5 && written.records == 30, "{written:?}");
    let last = |path: &PathBuf| items(path).0.len();
    assert!(written.files.iter().all(|path| last(path) > 1));
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), written.files.len() + 1);
}

/// A pipe that takes so many bytes.
struct Narrow {
    room: usize,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        self.taken.lock().expect("alone").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_the_output_does_not_take_is_counted() {
    let taken = Arc::default();
    let narrow = Narrow { room: 2_500_000, taken: Arc::clone(&taken) };
    let place = Place::Stream(Some(Box::new(narrow)));
    let mut chain = Chain::begin(place, Limits::default(), None, section(), devices()).expect("begins");
    let all = writes(400);
    let failed = all.iter().position(|(header, payload)| chain.write(header, payload).is_err()).expect("it is narrow");
    let (written, closed) = chain.end(START, (all.len() - failed - 1) as u64);
    closed.expect("it was told before");
    assert_eq!(written.records + written.unwritten, 400, "{written:?}");
    let taken = taken.lock().expect("alone").clone();
    let mut reader = Reader::new(taken.as_slice()).expect("a capture");
    let mut records = 0;
    while let Some(item) = reader.next_item().expect("whole") {
        match item {
            Item::Entry(_) => records += 1,
            Item::Statistics(end) => {
                assert_eq!((end.records, end.lost.unwritten), (written.records, written.unwritten));
            }
            Item::Mark { .. } => {}
        }
    }
    assert!(records == written.records && records > 100, "{records}");
}

#[test]
fn a_reader_that_went_away_is_told_from_a_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let place = Place::Stream(Some(Box::new(Gone)));
    let error = Chain::begin(place, Limits::default(), None, section(), devices()).err().expect("nobody reads");
    assert!(error.is_reader_gone());
    assert!(!ChainError::Exists("x".into()).is_reader_gone());
}

/// All items of a capture of one of each, and its devices.
fn one_of_each_items() -> (Vec<Item>, Vec<Device>) {
    let bytes = common::file(&section(), &one_of_each());
    let mut reader = Reader::new(bytes.as_slice()).expect("a capture");
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().expect("whole") {
        items.push(item);
    }
    (items, devices())
}

#[test]
fn what_is_chosen_is_what_a_plain_look_chooses() {
    let (items, devices) = one_of_each_items();
    let records = |item: &Item| match item {
        Item::Entry(entry) => match &entry.header.entry {
            formats::Entry::Record(record) => Some(*record),
            _ => None,
        },
        _ => None,
    };
    let chosen = |selection: &Selection| -> Vec<Seq> {
        let mut chooser = selection.begin(START).expect("moments");
        let taken = items.iter().filter(|item| chooser.takes(item, &devices).expect("moments"));
        taken.filter_map(records).map(|record| record.seq).collect()
    };
    let plain = |is: &dyn Fn(&formats::Record) -> bool| -> Vec<Seq> {
        items.iter().filter_map(records).filter(|record| is(record)).map(|record| record.seq).collect()
    };
    let all = plain(&|_| true);
    assert!(all.len() > 5);
    assert_eq!(chosen(&Selection::default()), all);
    let writes = Selection { ops: vec![Op::Write, Op::Discard], ..Selection::default() };
    assert_eq!(chosen(&writes), plain(&|record| matches!(record.op, Op::Write | Op::Discard)));
    assert_eq!(chosen(&Selection { failed: true, ..Selection::default() }), plain(&|record| !record.status.is_ok()));
    let second = Selection { devices: vec!["loop1".into()], ..Selection::default() };
    assert_eq!(chosen(&second), plain(&|record| record.volume.0 == 3));
    let seq = Selection { seq: Some((Seq(2), Seq(4))), ..Selection::default() };
    assert_eq!(chosen(&seq), plain(&|record| (2..=4).contains(&record.seq.0)));
    let (from, until) = (Moment::Time(START + 300_000), Moment::Time(START + 550_000));
    let time = Selection { from, until, ..Selection::default() };
    assert_eq!(chosen(&time), plain(&|record| (300_001..=550_000).contains(&(record.origin.completed_ns - START))));
    assert!(chosen(&Selection { pids: vec![8], ..Selection::default() }).is_empty(), "7 is the process, 8 its thread");
    assert_eq!(chosen(&Selection { comms: vec!["test".into()], pids: vec![7], ..Selection::default() }), all);
    let blocks = Blocks { device: Some("loop0".into()), first: 0, last: 7 };
    let touched = |record: &formats::Record| record.volume.0 == 0 && record.range.overlaps(ByteRange::new(0, 4096));
    assert_eq!(chosen(&Selection { blocks: vec![blocks], ..Selection::default() }), plain(&touched));
}

#[test]
fn lines_and_numbers_tell_of_every_item() {
    let (items, devices) = one_of_each_items();
    let section = section();
    let lines = Lines::new(&section, &devices, 4);
    let mut summary = Summary::default();
    items.iter().for_each(|item| summary.add(item));
    for item in &items {
        let (json, (_, text)) = (lines.json(item), lines.text(item));
        assert!(json["type"].is_string() && !text.is_empty());
        if json["type"] == "command" {
            assert!(text.contains(&format!(" {} ", json["seq"])), "{text}");
            assert_eq!(json["payload"]["head"].as_str().map_or(0, str::len) % 2, 0);
        }
    }
    let commands: u64 = summary.by_device.values().flat_map(|ops| ops.values()).map(|tally| tally.commands).sum();
    let is_entry = |item: &&Item| matches!(item, Item::Entry(_));
    assert_eq!((commands, summary.commands), (summary.commands, items.iter().filter(is_entry).count() as u64));
    assert!(summary.statistics.is_some() && summary.span_ns.is_some());
    let odd = record(1, 0, Op::Write, ByteRange::new(0, 0), Status(7));
    let odd = formats::Record {
        origin: formats::entry::Origin { comm: *b"a\x1b[31mb\0\0\0\0\0\0\0\0\0", ..odd.origin },
        ..odd
    };
    let (header, _) = entry(odd, &[], &[]);
    let entry = captures::CapturedEntry { header, content: vec![], trailer: vec![], missing: 0 };
    let (kind, text) = lines.text(&Item::Entry(Box::new(entry)));
    assert_eq!(kind, captures::Kind::Failed);
    assert!(!text.contains('\x1b') && text.contains("MEDIUM"), "a name never reaches the terminal's own: {text}");
}

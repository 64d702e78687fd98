//! Parts of captures, several as one, and how two differ.
#![allow(missing_docs)]

mod common;

use captures::edit::{EditError, Selection, Strip, copy, diff, merge};
use captures::{CapturedEntry, Item, Reader, Section, Writer};
use common::{START, devices, entry, file, one_of_each, record, section};
use formats::{ByteRange, Entry, Op, PayloadEncoding, Record, Seq, Status};
use proptest::prelude::*;

fn entries(bytes: &[u8]) -> Vec<CapturedEntry> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Entry(entry) = item {
            found.push(*entry);
        }
    }
    found
}

fn record_of(entry: &CapturedEntry) -> Record {
    let Entry::Record(record) = entry.header.entry else { panic!("a record") };
    record
}

fn seqs(bytes: &[u8]) -> Vec<u64> {
    entries(bytes).iter().map(|entry| record_of(entry).seq.0).collect()
}

fn copied(bytes: &[u8], selection: &Selection, strip: Strip) -> Vec<u8> {
    copy(Reader::new(bytes).unwrap(), Vec::new(), selection, strip).unwrap().0
}

fn select(selection: Selection) -> Vec<u64> {
    seqs(&copied(&file(&section(), &one_of_each()), &selection, Strip::Nothing))
}

#[test]
fn everything_selected_is_the_same() {
    let bytes = file(&section(), &one_of_each());
    assert_eq!(copied(&bytes, &Selection::default(), Strip::Nothing), bytes);
}

#[test]
fn each_condition_selects() {
    let none = Selection::default;
    assert_eq!(select(Selection { from_seq: Some(3), until_seq: Some(5), ..none() }), [3, 4, 5]);
    let at = |seq: u64| Some(START + seq * 100_000 + 50_000);
    assert_eq!(select(Selection { from_ns: at(8), until_ns: at(10), ..none() }), [8, 9]);
    assert_eq!(select(Selection { devices: vec!["loop1".into()], ..none() }), [5, 6]);
    assert_eq!(select(Selection { ops: vec![Op::Flush, Op::Discard], ..none() }), [3, 4]);
    assert_eq!(select(Selection { ranges: vec![ByteRange::new(2048 * 512, 1)], ..none() }), [1]);
    assert_eq!(select(Selection { failed_only: true, ..none() }), [6, 7, 8]);
    assert!(select(Selection { comms: vec!["other".into()], ..none() }).is_empty());
}

#[test]
fn marks_begin_and_end() {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    for seq in 1..=6 {
        let (header, payload) = entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[]);
        writer.write(&header, &payload).unwrap();
        writer.mark(START, &format!("m{seq}")).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let selection = Selection { from_mark: Some("m2".into()), until_mark: Some("m4".into()), ..Selection::default() };
    assert_eq!(seqs(&copied(&bytes, &selection, Strip::Nothing)), [3, 4]);
}

#[test]
fn stripped_of_content_or_of_all() {
    let bytes = file(&section(), &one_of_each());
    let before = entries(&bytes);
    let hashed = copied(&bytes, &Selection::default(), Strip::Content);
    for (old, new) in before.iter().zip(entries(&hashed)) {
        assert_eq!((new.header, &new.trailer), (old.header, &old.trailer));
        assert!(new.content.is_empty());
    }
    let bare = copied(&hashed, &Selection::default(), Strip::All);
    for (old, new) in before.iter().zip(entries(&bare)) {
        assert_eq!((record_of(&new), &new.trailer), (record_of(old), &old.trailer));
        assert!(new.header.payload.encoding == PayloadEncoding::None && new.missing == 0);
    }
    assert!(bytes.len() > 2 * hashed.len() && hashed.len() > bare.len());
}

#[test]
fn a_cut_capture_gives_what_is_whole_of_it() {
    let bytes = file(&section(), &one_of_each());
    let cut = &bytes[..bytes.len() - 700];
    let (out, edited) = copy(Reader::new(cut).unwrap(), Vec::new(), &Selection::default(), Strip::Nothing).unwrap();
    assert!(edited.cut_bytes > 0 && seqs(&out).len() as u64 == edited.kept);
}

#[test]
fn differences_are_named() {
    let written = one_of_each();
    let a = file(&section(), &written);
    let compare = |b: &[u8]| {
        let mut found = Vec::new();
        let (mut a, mut b) = (Reader::new(a.as_slice()).unwrap(), Reader::new(b).unwrap());
        diff(&mut a, &mut b, |difference| {
            found.push((difference.place, difference.what));
            true
        })
        .unwrap();
        found
    };
    assert_eq!(compare(&a), []);
    assert_eq!(compare(&file(&section(), &written[..9])), [(10, "one has more")]);
    assert_eq!(compare(&copied(&a, &Selection::default(), Strip::Content)), [], "the checksums are still there");
    let mut other = written.clone();
    other[0] = entry(record(1, 0, Op::Write, ByteRange::new(2048 * 512, 4096), Status::OK), &[1; 4096], &[]);
    other[2] = entry(record(3, 0, Op::Flush, ByteRange::default(), Status(10)), &[], &[]);
    assert_eq!(compare(&file(&section(), &other)), [(1, "content"), (3, "status")]);
}

/// A capture whose commands complete at these moments, each issued `ago` before.
fn capture(moments: &[(u64, u64)]) -> Vec<u8> {
    let mut completed: Vec<u64> = Vec::new();
    let mut written = Vec::new();
    let mut at = START;
    for (seq, (after, ago)) in (1..).zip(moments) {
        at += after;
        let issued = at - ago;
        let dep = completed.iter().filter(|end| **end <= issued).count() as u64;
        completed.push(at);
        let mut record = record(seq, 0, Op::Write, ByteRange::new(seq * 512, 512), Status::OK);
        (record.dep, record.origin.issued_ns, record.origin.completed_ns) = (Seq(dep), issued, at);
        written.push(entry(record, &[seq as u8; 512], &[]));
    }
    file(&Section { started_ns: START, ..section() }, &written)
}

proptest! {
    /// Beside sorting everything and counting what had completed.
    #[test]
    fn merged_in_the_order_of_completion(
        a in proptest::collection::vec((1u64..1000, 1u64..3000), 1..40),
        b in proptest::collection::vec((1u64..1000, 1u64..3000), 1..40),
    ) {
        let (a, b) = (capture(&a), capture(&b));
        let inputs = vec![Reader::new(a.as_slice()).unwrap(), Reader::new(b.as_slice()).unwrap()];
        let (merged, edited) = merge(inputs, Vec::new()).unwrap();
        let found: Vec<Record> = entries(&merged).iter().map(record_of).collect();
        prop_assert_eq!(edited.kept as usize, found.len());
        let ends: Vec<u64> = found.iter().map(|record| record.origin.completed_ns).collect();
        prop_assert!(ends.is_sorted());
        for (place, record) in (1..).zip(&found) {
            let before = ends.iter().filter(|end| **end <= record.origin.issued_ns).count() as u64;
            prop_assert_eq!((record.seq.0, record.dep.0), (place, before.min(place - 1)));
            prop_assert!(record.dep < record.seq);
        }
        let of = |volume: u16| found.iter().filter(move |record| record.volume.0 / 2 == volume).count();
        prop_assert_eq!((of(0), of(1)), (entries(&a).len(), entries(&b).len()));
    }
}

#[test]
fn nothing_cannot_be_merged() {
    assert!(matches!(merge::<&[u8], _>(Vec::new(), Vec::new()), Err(EditError::Nothing)));
    let empty = Writer::new(Vec::new(), &section(), &[]).unwrap().finish().unwrap();
    let (out, edited) = merge(vec![Reader::new(empty.as_slice()).unwrap()], Vec::new()).unwrap();
    assert_eq!((edited.kept, entries(&out).len()), (0, 0));
}

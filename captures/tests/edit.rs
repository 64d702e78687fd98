//! Parts of captures, several as one, and how two differ.
#![allow(missing_docs)]

mod common;

use captures::edit::{EditError, Edited, Strip, copy, diff, merge};
use captures::{
    Blocks, CapturedEntry, Item, Moment, MomentError, Reader, Section, SelectError, Selection, Series, Writer,
};
use common::{START, devices, entry, file, filed, one_of_each, record, section, statistics};
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
    try_copy(bytes, selection, strip).unwrap().0
}

fn try_copy(bytes: &[u8], selection: &Selection, strip: Strip) -> Result<(Vec<u8>, Edited), EditError> {
    copy(filed(bytes), Vec::new(), selection, strip, &mut |_, _| true)
}

fn select(selection: Selection) -> Vec<u64> {
    seqs(&copied(&file(&section(), &one_of_each()), &selection, Strip::Nothing))
}

#[test]
fn everything_selected_is_the_same() {
    let bytes = file(&section(), &one_of_each());
    assert_eq!(copied(&bytes, &Selection::default(), Strip::Nothing), bytes);
}

fn moment(text: &str) -> Moment {
    text.parse().unwrap()
}

fn between(from: &str, until: &str) -> Selection {
    Selection { from: moment(from), until: moment(until), ..Selection::default() }
}

#[test]
fn each_condition_selects() {
    let none = Selection::default;
    assert_eq!(select(between("2", "5")), [3, 4, 5]);
    assert_eq!(select(Selection { seq: Some((Seq(3), Seq(5))), ..none() }), [3, 4, 5]);
    assert_eq!(select(between("+800us", "+1ms")), [8, 9], "by completion, 50 µs after the issue");
    assert_eq!(select(Selection { devices: vec!["loop1".into()], ..none() }), [5, 6]);
    assert_eq!(select(Selection { ops: vec![Op::Flush, Op::Discard], ..none() }), [3, 4]);
    let blocks = Blocks { device: Some("loop0".into()), first: 2048, last: 2048 };
    assert_eq!(select(Selection { blocks: vec![blocks], ..none() }), [1]);
    assert_eq!(select(Selection { failed: true, ..none() }), [6, 7, 8]);
    assert!(select(Selection { comms: vec!["other".into()], ..none() }).is_empty());
}

#[test]
fn what_the_capture_does_not_have_is_named() {
    let bytes = file(&section(), &one_of_each());
    let refused = |selection: &Selection| try_copy(&bytes, selection, Strip::Nothing).unwrap_err();
    for (from, until) in [("9", "2"), ("+2ms", "+1ms"), ("5", "5"), ("+900us", "2")] {
        let error = refused(&between(from, until));
        assert!(matches!(error, EditError::Select(SelectError::Moment(MomentError::Contrary { .. }))), "{error}");
    }
    for (from, until, words) in [("2", "99", "ends at seq 10"), ("never", "end", "no mark"), ("+1h", "end", "covers")] {
        assert!(refused(&between(from, until)).to_string().contains(words), "{from} {until}");
    }
    let error = refused(&Selection { devices: vec!["sdx".into()], ..Selection::default() });
    assert_eq!(error.to_string(), "the capture has no device sdx; it has loop0, loop1");
    let blocks = Blocks { device: Some("sdy".into()), first: 0, last: 1 };
    assert!(refused(&Selection { blocks: vec![blocks], ..Selection::default() }).to_string().contains("sdy"));
}

/// Flushes and gaps by their numbers, with a mark behind each.
fn marked(numbers: &[(u64, u64)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    for &(first, last) in numbers {
        let flush = record(first, 0, Op::Flush, ByteRange::default(), Status::OK);
        let (mut header, payload) = entry(flush, &[], &[]);
        if last > first {
            header.entry = Entry::Gap(formats::Gap { first: Seq(first), last: Seq(last) });
        }
        writer.write(&header, &payload).unwrap();
        writer.mark(START, &format!("m{last}")).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn marks_begin_and_end() {
    let bytes = marked(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(seqs(&copied(&bytes, &between("m2", "m4"), Strip::Nothing)), [3, 4]);
    let error = try_copy(&bytes, &between("m4", "m2"), Strip::Nothing).unwrap_err();
    assert!(matches!(error, EditError::Select(SelectError::Moment(MomentError::Contrary { .. }))), "{error}");
}

#[test]
fn a_gap_that_reaches_into_the_part_is_kept() {
    let bytes = marked(&[(1, 1), (2, 2), (3, 8), (9, 9), (10, 10)]);
    let gaps = |from: &str, until: &str| {
        let found = entries(&copied(&bytes, &between(from, until), Strip::Nothing));
        found.iter().filter(|entry| matches!(entry.header.entry, Entry::Gap(_))).count()
    };
    assert_eq!((gaps("1", "2"), gaps("8", "10")), (0, 0));
    assert_eq!((gaps("1", "5"), gaps("5", "9"), gaps("1", "9")), (1, 1, 1));
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
    let (out, edited) = try_copy(cut, &Selection::default(), Strip::Nothing).unwrap();
    assert!(edited.cut_bytes > 0 && seqs(&out).len() as u64 == edited.kept);
}

/// Two files of ten commands each, of which some are between them.
fn in_two(folder: &std::path::Path, second: u64) -> Vec<std::path::PathBuf> {
    let part = |name: &str, first: u64, part: u32| {
        let flush = |seq| entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[]);
        let entries: Vec<_> = (first..first + 10).map(flush).collect();
        let path = folder.join(name);
        std::fs::write(&path, file(&Section { part, ..section() }, &entries)).unwrap();
        path
    };
    vec![part("1", 1, 1), part("2", second, 2)]
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut reader = Reader::new(bytes).unwrap();
    std::iter::from_fn(|| reader.next_item().unwrap()).collect()
}

#[test]
fn several_files_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let joined = |files: &[std::path::PathBuf]| {
        let input = Series::as_filed(files).unwrap();
        copy(input, Vec::new(), &Selection::default(), Strip::Nothing, &mut |_, _| true).unwrap().0
    };
    let files = in_two(folder.path(), 11);
    let one = joined(&files);
    assert_eq!(seqs(&one), (1..=20).collect::<Vec<_>>());
    let Some(Item::Statistics(ended)) = items(&one).pop() else { panic!("statistics") };
    assert_eq!(
        (ended.records, ended.ended_ns, Reader::new(&*one).unwrap().section().part),
        (20, statistics(0).ended_ns, 0)
    );
    // What is missing between two files stays missing; what is missing within one was left out by somebody.
    let gaps = |bytes: &[u8]| {
        let gap = |entry: &CapturedEntry| match entry.header.entry {
            Entry::Gap(gap) => Some((gap.first.0, gap.last.0)),
            _ => None,
        };
        entries(bytes).iter().filter_map(gap).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&joined(&in_two(folder.path(), 15))), [(11, 14)]);
    assert_eq!(
        gaps(&copied(&one, &Selection { seq: Some((Seq(3), Seq(3))), ..Selection::default() }, Strip::Nothing)),
        []
    );
    let part = copied(&marked(&[(1, 1), (5, 5)]), &Selection::default(), Strip::Nothing);
    assert_eq!(gaps(&part), []);
    // One that was not ended in order makes a whole that was not.
    let files = in_two(folder.path(), 11);
    let bytes = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[0], &bytes[..bytes.len() - 100]).unwrap();
    assert!(!matches!(items(&joined(&files)).pop(), Some(Item::Statistics(_))));
}

#[test]
fn who_stops_an_edit_gets_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<_> =
        (1..=600).map(|seq| entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[])).collect();
    let path = folder.path().join("many");
    std::fs::write(&path, file(&section(), &many)).unwrap();
    let open = || Series::as_filed(std::slice::from_ref(&path)).unwrap();
    let stopped = copy(open(), Vec::new(), &Selection::default(), Strip::Nothing, &mut |_, _| false);
    assert!(matches!(stopped, Err(EditError::Interrupted)));
    assert!(matches!(merge(vec![open(), open()], Vec::new(), &mut |_, _| false), Err(EditError::Interrupted)));
    assert!(matches!(diff(&mut open(), &mut open(), |_| true, &mut |_, _| false), Err(EditError::Interrupted)));
}

#[test]
fn differences_are_named() {
    let written = one_of_each();
    let a = file(&section(), &written);
    let compare = |b: &[u8]| {
        let mut found = Vec::new();
        let told = |difference: captures::edit::Difference| {
            found.push((difference.place, difference.what));
            true
        };
        diff(&mut filed(&a), &mut filed(b), told, &mut |_, _| true).unwrap();
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
        let (merged, edited) = merge(vec![filed(&a), filed(&b)], Vec::new(), &mut |_, _| true).unwrap();
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
fn an_input_that_was_not_ended_in_order_makes_a_merge_that_was_not() {
    let whole = file(&section(), &one_of_each());
    let ends = |inputs: [&[u8]; 2]| {
        let merged = merge(inputs.map(filed).into(), Vec::new(), &mut |_, _| true).unwrap().0;
        matches!(items(&merged).pop(), Some(Item::Statistics(_)))
    };
    assert!(ends([&whole, &whole]));
    assert!(!ends([&whole, &whole[..whole.len() - 100]]));
}

#[test]
fn nothing_cannot_be_merged() {
    assert!(matches!(merge(Vec::new(), Vec::new(), &mut |_, _| true), Err(EditError::Nothing)));
    let empty = Writer::new(Vec::new(), &section(), &[]).unwrap().finish().unwrap();
    let (out, edited) = merge(vec![filed(&empty)], Vec::new(), &mut |_, _| true).unwrap();
    assert_eq!((edited.kept, entries(&out).len()), (0, 0));
}

//! Reading on several threads gives what reading in one go gives, error for error.
#![allow(missing_docs)]

mod common;

use captures::{Batches, End, Item, ReadError, Reader, Scan, Section, Series, SeriesError, SeriesScan, Writer};
use common::{START, devices, entry, file, one_of_each, record, section};
use formats::entry::PayloadInfo;
use formats::{ByteRange, Entry, EntryHeader, Gap, Op, Position, Seq, Status};
use proptest::prelude::*;

/// Items, what is left, what was foreign, and the error in words.
type Outcome = (Vec<Item>, Option<captures::Tail>, u64, Option<String>);

fn naive(bytes: &[u8]) -> Outcome {
    let mut items = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (items, None, 0, Some(error.to_string())),
    };
    let error = loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    (items, reader.tail(), reader.foreign(), error)
}

fn scanned(bytes: &[u8], threads: usize, len: usize) -> Outcome {
    let scan = match Scan::with(bytes, threads, len) {
        Ok(scan) => scan,
        Err(error) => return (Vec::new(), None, 0, Some(error.to_string())),
    };
    let mut items = Vec::new();
    let outcome = scan.run(
        |part| part.items,
        |part, _| {
            items.extend(part);
            Ok::<_, ReadError>(())
        },
    );
    match outcome {
        Ok(End { tail, foreign, .. }) => (items, tail, foreign, None),
        Err(error) => (items, None, 0, Some(error.to_string())),
    }
}

fn compare(bytes: &[u8], threads: usize, len: usize) {
    let (expected, found) = (naive(bytes), scanned(bytes, threads, len));
    assert_eq!(found.3, expected.3);
    // What lies before an error in its own chunk is handed over before it.
    assert_eq!(found.0, expected.0);
    if expected.3.is_none() {
        assert_eq!((found.1, found.2), (expected.1, expected.2));
    }
}

fn varied() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Section { snap_len: Some(100_000), ..section() }, &devices()).unwrap();
    for round in 0..4 {
        one_of_each().iter().for_each(|(header, payload)| writer.write(header, payload).unwrap());
        writer.mark(START, &format!("round {round}")).unwrap();
        let entry = Entry::Gap(Gap { first: Seq(11), last: Seq(12) });
        writer.write(&EntryHeader { entry, position: Position(1), payload: PayloadInfo::NONE }, &[]).unwrap();
    }
    writer.statistics(&common::statistics(40)).unwrap();
    writer.finish().unwrap()
}

#[test]
fn any_number_of_threads_and_any_chunk() {
    let bytes = varied();
    for (threads, len) in [(1, 1), (1, 1 << 20), (2, 1000), (3, 100_000), (7, 1)] {
        compare(&bytes, threads, len);
    }
}

#[test]
fn a_file_cut_anywhere() {
    let small: Vec<_> = one_of_each().into_iter().filter(|(_, payload)| payload.len() < 5000).collect();
    let bytes = file(&section(), &small);
    (0..bytes.len()).step_by(7).for_each(|len| compare(&bytes[..len], 2, 500));
}

#[test]
fn the_one_who_folds_may_end_early() {
    let bytes = varied();
    let scan = Scan::with(bytes.as_slice(), 2, 1).unwrap();
    let mut parts = 0;
    let outcome = scan.run(
        |part| part.index,
        |_, _| {
            parts += 1;
            if parts == 3 { Err(ReadError::Empty) } else { Ok(()) }
        },
    );
    assert!(matches!(outcome, Err(ReadError::Empty)) && parts == 3);
}

#[test]
fn parts_come_in_order() {
    let writes: Vec<_> = (1..3000)
        .map(|seq| entry(record(seq, 0, Op::Write, ByteRange::new(0, 512), Status::OK), &[seq as u8; 512], &[]))
        .collect();
    let bytes = file(&section(), &writes);
    let scan = Scan::with(bytes.as_slice(), 4, 3000).unwrap();
    let mut next = 0;
    scan.run(
        |part| part.index,
        |index, _| {
            assert_eq!(index, next);
            next += 1;
            Ok::<_, ReadError>(())
        },
    )
    .unwrap();
    assert!(next > 100);
}

proptest! {
    #[test]
    fn damage_anywhere(at in 0usize..200_000, byte in any::<u8>(), len in 1usize..5000) {
        let mut bytes = varied();
        let at = at % bytes.len();
        bytes[at] ^= byte;
        compare(&bytes, 2, len);
    }
}

/// Files with these first numbers, of ten commands each.
fn parts(folder: &std::path::Path, firsts: &[u64]) -> Vec<std::path::PathBuf> {
    let part = |(number, first): (u32, &u64)| {
        let flush = |seq| entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[]);
        let entries: Vec<_> = (*first..first + 10).map(flush).collect();
        let path = folder.join(number.to_string());
        std::fs::write(&path, file(&Section { part: number, ..section() }, &entries)).unwrap();
        path
    };
    (1..).zip(firsts).map(part).collect()
}

/// Items and devices of files, on several threads.
fn series(files: &[std::path::PathBuf]) -> Result<(Vec<Item>, usize, End), SeriesError> {
    let (mut items, mut devices) = (Vec::new(), 0);
    let end = SeriesScan::open(files)?.run(
        |batch| batch,
        |batch, _| {
            items.extend(batch.items);
            devices += batch.devices.len();
            Ok::<_, SeriesError>(())
        },
    )?;
    Ok((items, devices, end))
}

#[test]
fn files_of_one_capture_are_scanned_as_one() {
    let folder = tempfile::tempdir().unwrap();
    for firsts in [vec![1, 11, 21], vec![1, 15, 25], vec![7]] {
        let files = parts(folder.path(), &firsts);
        let (mut items, devices, end) = series(&files).unwrap();
        let Some(Item::Statistics(ended)) = items.pop() else { panic!("statistics at the end, and once") };
        assert_eq!((ended.records, devices), (10 * firsts.len() as u64, 2));
        let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        assert_eq!((end.bytes, end.tail), (bytes, None));
        // As the reader that takes one item after the other.
        let mut reader = Series::as_filed(&files).unwrap();
        let one_by_one = std::iter::from_fn(|| reader.next_item().unwrap());
        assert_eq!(items, one_by_one.filter(|item| !matches!(item, Item::Statistics(_))).collect::<Vec<_>>());
    }
}

#[test]
fn files_that_are_not_one_capture_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = parts(folder.path(), &[1, 11]);
    let swapped = [files[1].clone(), files[0].clone()];
    assert!(matches!(series(&swapped), Err(SeriesError::Order { path, .. }) if path == files[0]));
    let other = folder.path().join("other");
    std::fs::write(&other, file(&Section { stream: "bb".into(), ..section() }, &one_of_each())).unwrap();
    assert!(matches!(series(&[files[0].clone(), other]), Err(SeriesError::OtherStream { .. })));
    assert!(matches!(series(&[]), Err(SeriesError::Nothing)));
    assert!(matches!(series(&[folder.path().join("none")]), Err(SeriesError::Open { .. })));
    // Damage and a cut are those of their file; without its end the whole was not ended in order.
    let bytes = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[0], &bytes[..bytes.len() - 100]).unwrap();
    let (items, _, end) = series(&files).unwrap();
    assert!(
        end.tail.is_some_and(|tail| tail.bytes > 0) && !items.iter().any(|item| matches!(item, Item::Statistics(_)))
    );
    let mut damaged = std::fs::read(&files[1]).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 300].fill(0x77);
    std::fs::write(&files[1], damaged).unwrap();
    assert!(matches!(series(&files), Err(SeriesError::Read { path, .. }) if path == files[1]));
}

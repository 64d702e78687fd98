//! Reading on several threads gives what reading in one go gives, error for error.
#![allow(missing_docs)]

mod common;

use captures::{End, Item, ReadError, Reader, Scan, Section, Writer};
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

//! What is written is read back, whole or as far as it goes.
#![allow(missing_docs)]

mod common;

use captures::{CapturedEntry, Item, ReadError, Reader, Section, Statistics, WriteError, Writer};
use common::{START, Written, devices, entry, file, one_of_each, record, section, statistics, trailer};
use formats::entry::PayloadInfo;
use formats::{ByteRange, Entry, EntryHeader, Gap, Op, Position, Region, Seq, Status, VolumeIndex};
use proptest::prelude::*;

fn items(bytes: &[u8]) -> (Vec<Item>, Reader<&[u8]>) {
    let mut reader = Reader::new(bytes).expect("a capture");
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().expect("whole") {
        items.push(item);
    }
    (items, reader)
}

fn entries(items: &[Item]) -> Vec<&CapturedEntry> {
    let entry = items.iter().map(|item| match item {
        Item::Entry(entry) => Some(&**entry),
        _ => None,
    });
    entry.flatten().collect()
}

fn read_back(items: &[Item]) -> Vec<Written> {
    entries(items).iter().map(|entry| (entry.header, entry.payload().expect("all of it"))).collect()
}

#[test]
fn one_of_each_is_read_back() {
    let written = one_of_each();
    let bytes = file(&section(), &written);
    let (items, reader) = items(&bytes);
    assert_eq!(read_back(&items), written);
    assert_eq!(items.last(), Some(&Item::Statistics(Box::new(statistics(10)))));
    assert_eq!(reader.section(), &Section { format: 1, ..section() });
    assert_eq!(reader.devices().cloned().collect::<Vec<_>>(), devices());
    assert_eq!((reader.tail(), reader.foreign(), reader.bytes()), (None, 0, bytes.len() as u64));
}

#[test]
fn gaps_regions_and_marks_are_read_back() {
    let gap = EntryHeader {
        entry: Entry::Gap(Gap { first: Seq(4), last: Seq(9) }),
        position: Position(2),
        payload: PayloadInfo::NONE,
    };
    let region =
        Region { volume: VolumeIndex(3), range: ByteRange::new(4096, 5), consistent_after: Seq(7), remaining: 1 };
    let region =
        EntryHeader { entry: Entry::Region(region), position: Position(2), payload: PayloadInfo::data(b"hello") };
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    writer.write(&gap, &[]).unwrap();
    writer.mark(START + 5, "before the upgrade").unwrap();
    writer.write(&region, b"hello").unwrap();
    let bytes = writer.finish().unwrap();
    let (items, reader) = items(&bytes);
    assert_eq!(read_back(&items), [(gap, Vec::new()), (region, b"hello".to_vec())]);
    assert_eq!(items[1], Item::Mark { at_ns: START + 5, text: "before the upgrade".into() });
    assert_eq!(reader.devices().count(), 2, "the interface of notes is no device");
}

#[test]
fn a_limit_keeps_the_first_bytes_and_the_whole_trailer() {
    let written = [
        entry(record(1, 0, Op::Write, ByteRange::new(0, 1 << 19), Status::OK), &vec![7; 1 << 19], &[]),
        entry(
            record(2, 0, Op::Write, ByteRange::new(0, 512), Status::OK),
            &[5; 512],
            &trailer(&[0x3b; 10], 0, &[], &[9; 700], 1212),
        ),
    ];
    let bytes = file(&Section { snap_len: Some(140_000), ..section() }, &written);
    let (items_of_it, _) = items(&bytes);
    let first = entries(&items_of_it)[0];
    assert_eq!((first.content.len(), first.missing, first.payload()), (140_000, (1 << 19) - 140_000, None));
    assert_eq!(first.header, written[0].0, "the checksum stays that of all of it");
    let bytes = file(&Section { snap_len: Some(0), ..section() }, &written);
    let (items, _) = items(&bytes);
    let second = entries(&items)[1];
    assert_eq!((second.content.len(), second.missing), (0, 512));
    assert_eq!(second.trailer, written[1].1[512..]);
}

#[test]
fn every_cut_gives_what_lies_before_it() {
    let written: Vec<Written> = one_of_each().into_iter().filter(|(header, _)| header.payload.len < 5000).collect();
    let bytes = file(&section(), &written);
    let mut most = 0;
    for len in (0..bytes.len()).rev().step_by(3) {
        let Ok(mut reader) = Reader::new(&bytes[..len]) else {
            assert!(len < 1000, "the first block is short: {len}");
            continue;
        };
        let mut got = Vec::new();
        while let Some(item) = reader.next_item().expect("a cut is no damage") {
            got.extend(match item {
                Item::Entry(entry) => Some((entry.header, entry.payload().expect("whole entries only"))),
                _ => None,
            });
        }
        assert_eq!(got, written[..got.len()], "cut at {len}");
        let whole = reader.tail().map_or(len as u64, |tail| tail.offset);
        assert_eq!(whole + reader.tail().map_or(0, |tail| tail.bytes), len as u64);
        most = most.max(got.len());
    }
    assert_eq!(most, written.len());
}

#[test]
fn damage_is_named_with_its_place() {
    let written = one_of_each();
    let good = file(&section(), &written);
    let place = good.windows(4).position(|four| four == [0, 7, 14, 21]).expect("content");
    let mut bad = good.clone();
    bad[place + 100] ^= 1;
    let mut reader = Reader::new(bad.as_slice()).unwrap();
    assert!(matches!(reader.next_item(), Err(ReadError::Checksum { seq: 1, .. })));

    let header = good.windows(4).position(|four| four == b"BKE1").expect("a record");
    let mut bad = good.clone();
    bad[header + 40] ^= 1;
    let error = Reader::new(bad.as_slice()).unwrap().next_item().expect_err("refused");
    assert!(matches!(error, ReadError::Record { offset, .. } if offset < header as u64), "{error}");

    let mut bad = good.clone();
    let last = bad.len() - 2;
    bad[last] ^= 1;
    let mut reader = Reader::new(bad.as_slice()).unwrap();
    let mut count = 0;
    let error = loop {
        match reader.next_item() {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("damage is no end"),
            Err(error) => break error,
        }
    };
    assert!(count == written.len() && error.to_string().contains("damaged at byte"), "{count} {error}");
}

#[test]
fn what_is_no_capture_of_ours_is_named() {
    let refused = |bytes: &[u8]| Reader::new(bytes).err().expect("refused").to_string();
    assert!(refused(&[]).contains("empty"));
    assert!(refused(b"PK\x03\x04....").contains("not a pcapng file"));
    assert!(refused(b"\x0a\x0d\x0d\x0a\x1c\0").contains("cut off"));
    // A section header as Wireshark writes it, in either order of bytes.
    let little = [10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    let little = [&little[..], &[255; 8], &[28, 0, 0, 0]].concat();
    assert!(refused(&little).contains("blkecho did not write"));
    let big = [10, 13, 13, 10, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0];
    let big = [&big[..], &[255; 8], &[0, 0, 0, 28]].concat();
    assert!(refused(&big).contains("blkecho did not write"));
    let two = [file(&section(), &[]), file(&section(), &[])].concat();
    let mut reader = Reader::new(two.as_slice()).unwrap();
    assert!(matches!(reader.next_item(), Ok(Some(Item::Statistics(_)))));
    assert!(matches!(reader.next_item(), Err(ReadError::SecondSection { .. })));
}

#[test]
fn packets_that_a_program_took_out_are_missing_not_wrong() {
    let written = one_of_each();
    let bytes = file(&section(), &written);
    // The blocks of the file, without the second data frame of the large write and without the answers.
    let mut kept = Vec::new();
    let (mut at, mut large) = (0, 0);
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let block = &bytes[at..at + len];
        let is_packet = block[0] == 6;
        large += usize::from(is_packet && len > 100_000);
        let is_answer = is_packet && block[28] == 7;
        let is_second = is_packet && len > 100_000 && large == 2;
        if !is_answer && !is_second {
            kept.extend_from_slice(block);
        }
        at += len;
    }
    let (items, reader) = items(&kept);
    let got = entries(&items);
    assert_eq!(got.len(), written.len());
    assert_eq!((got[1].missing, got[1].content.len()), (600 * 512 - (128 << 10), 128 << 10));
    assert!(got[1].content == written[1].1[..128 << 10], "what is kept is the beginning");
    assert!(got.iter().enumerate().all(|(at, entry)| at == 1 || entry.payload().as_ref() == Some(&written[at].1)));
    assert_eq!((reader.tail(), reader.foreign()), (None, 0));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    let (header, payload) = entry(record(1, 9, Op::Write, ByteRange::new(0, 4), Status::OK), b"four", &[]);
    assert!(matches!(writer.write(&header, &payload), Err(WriteError::Volume(VolumeIndex(9)))));
    assert!(matches!(writer.write(&header, b"fourty"), Err(WriteError::Payload { have: 6, want: 4 })));
    assert!(matches!(writer.mark(0, &"x".repeat(5000)), Err(WriteError::TooLong { .. })));
    let long = Section { host: "h".repeat(70_000), ..section() };
    assert!(matches!(Writer::new(Vec::new(), &long, &[]), Err(WriteError::TooLong { .. })));
}

/// Takes no more than `room` bytes, like a disk that is full.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_output_is_told() {
    let mut writer = Writer::new(Full(3000), &section(), &devices()).unwrap();
    let (header, payload) = &one_of_each()[0];
    let error = writer.write(header, payload).expect_err("full");
    assert!(matches!(error, WriteError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull));
}

/// CDB, sense data, data-out and result.
type Drawn = (Vec<u8>, Vec<u8>, Vec<u8>, u32);

fn any_entry() -> impl Strategy<Value = (u8, u8, u32, Vec<u8>, Option<Drawn>)> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let scsi = (proptest::collection::vec(any::<u8>(), 1..=260), bytes(300), bytes(2000), any::<u32>());
    // Some larger than a frame.
    let content = prop_oneof![bytes(64), (0usize..400_000).prop_map(|len| vec![len as u8; len])];
    (1u8..=8, 0u8..=13, any::<u32>(), content, proptest::option::of(scsi))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reading_is_the_inverse_of_writing(drawn in proptest::collection::vec(any_entry(), 0..12)) {
        let make = |(at, drawn): (usize, _)| -> Written {
            let (op, status, place, content, scsi): (u8, u8, u32, Vec<u8>, Option<_>) = drawn;
            let range = ByteRange::new(place.into(), content.len() as u64);
            let status = if status == 13 { Status::UNKNOWN } else { Status(status) };
            let record = record(at as u64 + 1, if place % 2 == 0 { 0 } else { 3 }, Op::from_tag(op).unwrap(), range, status);
            let scsi = scsi.map(|(cdb, sense, out, result): Drawn| trailer(&cdb, result, &sense, &out, 1));
            entry(record, &content, &scsi.unwrap_or_default())
        };
        let written: Vec<Written> = drawn.into_iter().enumerate().map(make).collect();
        let bytes = file(&section(), &written);
        let (items, reader) = items(&bytes);
        prop_assert_eq!(read_back(&items), written);
        prop_assert_eq!(reader.tail(), None);
        prop_assert_eq!(reader.foreign(), 0);
    }

    #[test]
    fn spoiled_bytes_never_panic_and_never_pass(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let written: Vec<Written> = one_of_each().into_iter().filter(|(header, _)| header.payload.len < 5000).collect();
        let mut bytes = file(&section(), &written);
        changes.iter().for_each(|(at, to)| *at.get_mut(&mut bytes) = *to);
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let Ok(mut reader) = Reader::new(bytes.as_slice()) else { return Ok(()) };
        while let Ok(Some(item)) = reader.next_item() {
            if let Item::Entry(entry) = item && let Some(payload) = entry.payload() {
                prop_assert!(written.contains(&(entry.header, payload)), "an entry that was not written");
            }
        }
    }

    #[test]
    fn statistics_are_read_back(ended_ns in 0..u64::MAX / 2, records in 0..u64::MAX / 4, reads: u64) {
        let given = Statistics { ended_ns, records, reads, ..Statistics::default() };
        let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
        writer.statistics(&given).unwrap();
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(items(&bytes).0, [Item::Statistics(Box::new(given))]);
    }
}

//! A small harness: entries that can be told apart, and journals that are compared item by item.
#![allow(dead_code, unreachable_pub)]

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Region};
use formats::ids::{ByteRange, Position, Seq, VolumeIndex};
use journal::faulty::{FaultyDisk, Rng};
use journal::{Batch, Config, Disk, Item, Journal, Reader, Recovery, SyncPolicy};

/// Segments of 16 KiB, four of them.
pub const SMALL: Config = Config { segment_bytes: 16 << 10, total_bytes: 64 << 10, sync: SyncPolicy::Never };

/// An entry that owns its bytes. Entries with different tags differ in header and payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    pub header: [u8; HEADER_LEN],
    pub payload: Vec<u8>,
}

pub fn entry(tag: u64, len: usize) -> Owned {
    let mut rng = Rng::new(tag);
    let payload: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
    let region = Region {
        volume: VolumeIndex(1),
        range: ByteRange::new(0, len as u64),
        consistent_after: Seq(tag),
        remaining: 0,
    };
    let info = if len == 0 { PayloadInfo::ZERO } else { PayloadInfo::data(&payload) };
    let header = EntryHeader { entry: Entry::Region(region), position: Position(tag), payload: info }.encode();
    Owned { header, payload }
}

/// Entries with these tags and payload lengths.
pub fn entries(tags: std::ops::Range<u64>, len: usize) -> Vec<Owned> {
    tags.map(|tag| entry(tag, len)).collect()
}

pub fn items(entries: &[Owned]) -> Vec<Item<'_>> {
    entries.iter().map(|e| Item { header: &e.header, payload: &e.payload }).collect()
}

pub fn open(disk: &FaultyDisk, config: Config) -> (Journal<FaultyDisk>, Recovery) {
    Journal::open(disk.clone(), config).expect("the journal opens")
}

/// The entries of a batch; checks that it is gapless.
pub fn unpack(batch: &Batch, from: u64) -> Vec<Owned> {
    let mut end = 0;
    let unpacked = batch.items.iter().enumerate().map(|(i, (index, header, range))| {
        assert_eq!((*index, range.start), (from + i as u64, end));
        end = range.end;
        let bytes = &batch.bytes[range.clone()];
        assert_eq!(EntryHeader::decode(bytes).unwrap(), *header);
        assert_eq!(batch.payload(i), &bytes[HEADER_LEN..]);
        Owned { header: bytes[..HEADER_LEN].try_into().unwrap(), payload: bytes[HEADER_LEN..].to_vec() }
    });
    let unpacked = unpacked.collect();
    assert_eq!(end, batch.bytes.len());
    unpacked
}

/// Everything from `from` on, read in batches of `max_bytes`; the headers-only walk must agree.
pub fn read_all<D: Disk>(reader: &mut Reader<D>, from: u64, max_bytes: usize) -> Vec<Owned> {
    let mut all = Vec::new();
    loop {
        let at = from + all.len() as u64;
        let batch = reader.read(at, max_bytes).expect("reads");
        if batch.is_empty() {
            break;
        }
        assert!(batch.bytes.len() <= max_bytes || batch.len() == 1);
        all.extend(unpack(&batch, at));
    }
    let walked: Vec<_> = reader.headers(from).map(Result::unwrap).collect();
    let expected: Vec<_> = all.iter().zip(from..).map(|(e, i)| (i, EntryHeader::decode(&e.header).unwrap())).collect();
    assert_eq!(walked, expected);
    all
}

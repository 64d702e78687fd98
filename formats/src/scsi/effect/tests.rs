use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::scsi::build::{self, Access, Same};
use crate::scsi::{DeviceType, decode};

const MEDIUM: Geometry = Geometry { block_size: 512, blocks: 1000, per_physical: 8 };

fn disk(cdb: &[u8]) -> Decoded {
    decode(cdb, DeviceType::DISK).expect("it is whole")
}

fn blocks(lba: u64, count: u64) -> ByteRange {
    ByteRange::new(lba * 512, count * 512)
}

#[test]
fn a_write_changes_its_range_to_its_data() {
    let write = disk(&build::write_10(998, 2, Access::default()));
    assert_eq!(write.touched(&MEDIUM), Ok(Touched::Range(blocks(998, 2))));
    assert_eq!(write.changes(&MEDIUM, &[7; 1024]), Ok(vec![Change::new(blocks(998, 2), Content::Data(0..1024))]));
    let short = EffectError::DataTooShort { command: "WRITE(10)", need: 1024, have: 1023 };
    assert_eq!(write.changes(&MEDIUM, &[7; 1023]), Err(short));
    let nothing = disk(&build::write_10(1000, 0, Access::default()));
    assert_eq!(nothing.changes(&MEDIUM, &[]), Ok(vec![]));
}

#[test]
fn what_lies_beyond_the_medium_is_an_error() {
    let beyond = |lba, blocks| EffectError::Beyond { command: "WRITE(16)", lba, blocks, capacity: 1000 };
    for (lba, count) in [(999, 2), (1000, 1), (u64::MAX, 1), (u64::MAX, u32::MAX)] {
        let write = disk(&build::write_16(lba, count, Access::default()));
        assert_eq!(write.touched(&MEDIUM), Err(beyond(lba, count.into())));
    }
    // A medium so large that its bytes do not fit 64 bits.
    let huge = Geometry::new(512, u64::MAX);
    assert!(disk(&build::write_16(1 << 60, 1, Access::default())).touched(&huge).is_err());
}

#[test]
fn compare_and_write_leaves_the_second_half() {
    let command = disk(&build::compare_and_write(4, 1, Access::default()));
    assert_eq!(command.changes(&MEDIUM, &[1; 1024]), Ok(vec![Change::new(blocks(4, 1), Content::Data(512..1024))]));
    assert!(command.changes(&MEDIUM, &[1; 512]).is_err());
}

#[test]
fn write_same_repeats_or_zeroes_up_to_the_end() {
    let same = build::write_same_16(990, Blocks::ToEnd, Same::default()).expect("fits");
    let expected = Change::new(blocks(990, 10), Content::Repeat(0..512));
    assert_eq!(disk(&same).changes(&MEDIUM, &[3; 512]), Ok(vec![expected]));
    let zeros = Change::new(blocks(990, 10), Content::Zero);
    assert_eq!(disk(&same).changes(&MEDIUM, &[0; 512]), Ok(vec![zeros]));
    assert!(disk(&same).changes(&MEDIUM, &[0; 511]).is_err());
    let ndob = Same { unmap: true, ndob: true, anchor: false };
    let ndob = build::write_same_16(0, Blocks::Count(1), ndob).expect("fits");
    let expected = Change { may_unmap: true, ..Change::new(blocks(0, 1), Content::Zero) };
    assert_eq!(disk(&ndob).changes(&MEDIUM, &[]), Ok(vec![expected]));
    let addressed = disk(&[0x41, 0x02, 0, 0, 0, 1, 0, 0, 1, 0]).changes(&MEDIUM, &[3; 512]);
    assert_eq!(addressed, Ok(vec![Change::new(blocks(1, 1), Content::Unknown)]), "LBDATA");
    let nowhere = build::write_same_16(1000, Blocks::ToEnd, Same::default()).expect("fits");
    assert_eq!(disk(&nowhere).changes(&MEDIUM, &[1; 512]), Ok(vec![]));
}

#[test]
fn an_unmap_list_is_checked_and_read() {
    let runs = [LbaRange::new(1, 2), LbaRange::new(5, 0), LbaRange::new(999, 1)];
    let (cdb, list) = build::unmap(&runs, false).expect("fits");
    let changes = disk(&cdb).changes(&MEDIUM, &list).expect("it is whole");
    let ranges: Vec<_> = changes.iter().map(|change| (change.range, change.may_unmap)).collect();
    assert_eq!(ranges, [(blocks(1, 2), true), (blocks(999, 1), true)]);
    assert!(disk(&cdb).changes(&MEDIUM, &list[..list.len() - 1]).is_err());
    let (cdb, list) = build::unmap(&[LbaRange::new(999, 2)], false).expect("fits");
    assert!(matches!(disk(&cdb).changes(&MEDIUM, &list), Err(EffectError::Beyond { .. })));
    // A header that promises more than the parameter list holds.
    let mut lying = list.clone();
    lying[3] = 32;
    let cut = ListError::TooShort { list: "UNMAP parameter list", need: 40, have: 24 };
    assert_eq!(disk(&cdb).changes(&MEDIUM, &lying), Err(EffectError::List(cut)));
    // An incomplete descriptor is passed over, and an empty list names nothing.
    lying[3] = 15;
    assert_eq!(disk(&cdb).changes(&MEDIUM, &lying), Ok(vec![]));
    assert_eq!(disk(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]).changes(&MEDIUM, &[]), Ok(vec![]));
    assert!(disk(&[0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0]).changes(&MEDIUM, &[0; 7]).is_err());
}

#[test]
fn write_long_makes_a_block_unreadable_or_unknown() {
    let one = disk(&build::mark_unreadable(13, false)).changes(&MEDIUM, &[]);
    assert_eq!(one, Ok(vec![Change::new(blocks(13, 1), Content::Unreadable)]));
    let physical = disk(&build::mark_unreadable(13, true)).changes(&MEDIUM, &[]);
    assert_eq!(physical, Ok(vec![Change::new(blocks(8, 8), Content::Unreadable)]));
    let long = disk(&[0x3f, 0, 0, 0, 0, 3, 0, 2, 0x08, 0]).changes(&MEDIUM, &[0; 520]);
    assert_eq!(long, Ok(vec![Change::new(blocks(3, 1), Content::Unknown)]));
    assert!(disk(&build::mark_unreadable(u64::MAX, true)).changes(&MEDIUM, &[]).is_err());
}

#[test]
fn what_the_command_does_not_tell_is_read_back() {
    let mut or = [0; 16];
    (or[0], or[9], or[13]) = (0x8b, 3, 2);
    let unknown = |range| Ok(vec![Change::new(range, Content::Unknown)]);
    assert_eq!(disk(&or).changes(&MEDIUM, &[1; 1024]), unknown(blocks(3, 2)));
    assert_eq!(disk(&[4, 0, 0, 0, 0, 0]).changes(&MEDIUM, &[]), unknown(MEDIUM.whole()));
    assert_eq!(disk(&[0xc1]).changes(&MEDIUM, &[]), unknown(MEDIUM.whole()));
    assert_eq!(disk(&[0xc1]).touched(&MEDIUM), Ok(Touched::Anywhere));
    // Protection information between the blocks.
    let protected = build::write_10(3, 2, Access { protect: 1, ..Access::default() });
    assert_eq!(disk(&protected).changes(&MEDIUM, &[1; 1040]), unknown(blocks(3, 2)));
    assert_eq!(disk(&protected).touched(&MEDIUM), Ok(Touched::Range(blocks(3, 2))));
}

#[test]
fn reads_and_disabled_writes_change_nothing() {
    assert_eq!(disk(&build::read_10(0, 9, Access::default())).touched(&MEDIUM), Ok(Touched::Nothing));
    let disabled = disk(&[0x53, 0x04, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(disabled.changes(&MEDIUM, &[1; 512]), Ok(vec![]));
    let exor = disk(&[0x53, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(exor.changes(&MEDIUM, &[1; 512]), Ok(vec![Change::new(blocks(0, 1), Content::Data(0..512))]));
}

#[test]
fn reassigned_blocks_are_read_back() {
    let short = disk(&[7, 0, 0, 0, 0, 0]).changes(&MEDIUM, &[0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 9]).expect("whole");
    assert_eq!(short.iter().map(|change| change.range).collect::<Vec<_>>(), [blocks(5, 1), blocks(9, 1)]);
    let long = disk(&[7, 3, 0, 0, 0, 0]);
    let list = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
    assert_eq!(long.changes(&MEDIUM, &list), Ok(vec![Change::new(blocks(7, 1), Content::Unknown)]));
    assert!(long.changes(&MEDIUM, &[0xff; 12]).is_err());
}

fn scattered() -> (Decoded, Vec<u8>) {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[5], cdb[9], cdb[13]) = (0x9f, 0x12, 1, 2, 4);
    let mut data = vec![0; 512 * 4];
    (data[39], data[43], data[71], data[75]) = (10, 1, 20, 2);
    (disk(&cdb), data)
}

#[test]
fn scattered_data_goes_where_its_descriptors_say() {
    let (command, data) = scattered();
    let expected = vec![
        Change::new(blocks(10, 1), Content::Data(512..1024)),
        Change::new(blocks(20, 2), Content::Data(1024..2048)),
    ];
    assert_eq!(command.changes(&MEDIUM, &data), Ok(expected));
    assert!(command.changes(&MEDIUM, &data[..2047]).is_err());
    assert!(command.changes(&MEDIUM, &data[..95]).is_err());
}

#[test]
fn addresses_in_lists_are_moved_all_or_none() {
    let (command, mut data) = scattered();
    list::shift(&command, &mut data, 100).expect("it fits");
    assert_eq!((data[39], data[71]), (110, 120));
    let before = data.clone();
    assert!(list::shift(&command, &mut data, -111).is_err());
    assert_eq!(data, before);
    let (cdb, mut unmap) = build::unmap(&[LbaRange::new(2, 3)], false).expect("fits");
    list::shift(&disk(&cdb), &mut unmap, -2).expect("it fits");
    assert_eq!(list::unmap_ranges(&unmap), Ok(vec![LbaRange::new(0, 3)]));
    let mut defects = [0, 0, 0, 4, 0, 0, 0, 5];
    assert!(list::shift(&disk(&[7, 0, 0, 0, 0, 0]), &mut defects, 1 << 32).is_err());
    list::shift(&disk(&[7, 0, 0, 0, 0, 0]), &mut defects, 3).expect("it fits");
    assert_eq!(defects[7], 8);
    let mut plain = [9; 512];
    list::shift(&disk(&build::write_10(0, 1, Access::default())), &mut plain, 5).expect("no list");
    assert_eq!(plain, [9; 512]);
}

#[test]
fn a_tape_has_no_byte_ranges() {
    let write = decode(&[0x0a, 1, 0, 0, 1, 0], DeviceType::TAPE).expect("it is whole");
    assert_eq!(write.touched(&MEDIUM), Ok(Touched::AtPosition));
    assert_eq!(write.changes(&MEDIUM, &[0; 512]), Err(EffectError::AtPosition("WRITE(6)")));
}

proptest! {
    #[test]
    fn every_change_lies_on_the_medium_and_in_the_data(
        row in 0..crate::scsi::opcode::rows().count(),
        tail in proptest::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 40),
        data in proptest::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 0..3000),
    ) {
        let row = crate::scsi::opcode::rows().nth(row).expect("counted");
        let mut cdb = crate::scsi::Cdb::of(row).to_vec();
        let free = if row.service.is_some() { 10.min(cdb.len()) } else { 1 };
        cdb.iter_mut().zip(&tail).skip(free).for_each(|(byte, noise)| *byte |= noise);
        let Ok(command) = decode(&cdb, DeviceType::DISK) else { return Ok(()) };
        let mut moved = data.clone();
        let _ = list::shift(&command, &mut moved, 7);
        for change in command.changes(&MEDIUM, &data).unwrap_or_default() {
            prop_assert!(!change.range.is_empty() && change.range.fits(MEDIUM.whole().len), "{command}: {change:?}");
            match change.content {
                Content::Data(bytes) => prop_assert_eq!(data[bytes].len() as u64, change.range.len),
                Content::Repeat(bytes) => prop_assert_eq!(data[bytes].len(), 512),
                _ => {}
            }
        }
    }
}

use super::*;
use crate::scsi::{DeviceType, decode};

fn text(cdb: &Cdb, device: DeviceType) -> alloc::string::String {
    alloc::format!("{}", decode(cdb, device).expect("what is built is whole"))
}

#[test]
fn the_largest_arguments_fit() {
    let all = Access { fua: true, dpo: true, protect: 0xff, group: 0xff };
    let page = ModePage { page: 0xff, subpage: 0xff, control: 0xff, dbd: true };
    let tags = Tags { reference: u32::MAX, application: u16::MAX, mask: u16::MAX };
    let disk = [
        test_unit_ready(),
        request_sense(true, u8::MAX),
        inquiry(Some(u8::MAX), u16::MAX),
        report_luns(u8::MAX, u32::MAX),
        read_capacity_10(),
        read_capacity_16(u32::MAX),
        mode_sense_6(page, u8::MAX),
        mode_sense_10(page, u16::MAX),
        mode_select_6(true, u8::MAX),
        mode_select_10(true, u16::MAX),
        read_10(u32::MAX, u16::MAX, all),
        read_16(u64::MAX, u32::MAX, all),
        write_10(u32::MAX, u16::MAX, all),
        write_12(u32::MAX, u32::MAX, all),
        write_16(u64::MAX, u32::MAX, all),
        write_32(u64::MAX, u32::MAX, all, tags),
        compare_and_write(u64::MAX, u8::MAX, all),
        flush(),
        mark_unreadable(u64::MAX, true),
        get_lba_status_16(u64::MAX, u32::MAX),
        start_stop_unit(true, true, true),
        persistent_reserve_in(ReserveIn::ReadFullStatus, u16::MAX),
        persistent_reserve_out(ReserveOut::ReplaceLostReservation, ReservationType::WriteExclusive, u32::MAX),
    ];
    let tape = [rewind(true), read_position(PositionForm::Long), locate_10(u32::MAX, Some(u8::MAX), true)];
    assert!(disk.iter().all(|cdb| decode(cdb, DeviceType::DISK).is_ok_and(|command| command.row().is_some())));
    assert!(tape.iter().all(|cdb| decode(cdb, DeviceType::TAPE).is_ok_and(|command| command.row().is_some())));
    assert_eq!(locate_16(u64::MAX, Some(7), true)[..12], [0x92, 3, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn golden_bytes() {
    assert_eq!(*write_10(2048, 8, Access::FUA), [0x2a, 8, 0, 0, 8, 0, 0, 0, 8, 0]);
    assert_eq!(*read_16(1 << 40, 3, Access::default()), [0x88, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
    assert_eq!(*inquiry(Some(0xb0), 64), [0x12, 1, 0xb0, 0, 64, 0]);
    assert_eq!(*read_capacity_16(32), [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    assert_eq!(*mark_unreadable(5, false), [0x9f, 0x51, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    let long = write_32(9, 1, Access::FUA, Tags { reference: 9, ..Tags::default() });
    assert_eq!(long[..12], [0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0b, 8, 0]);
    assert_eq!(long[12..], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]);
    let reserve = persistent_reserve_out(ReserveOut::Reserve, ReservationType::WriteExclusiveRegistrantsOnly, 24);
    assert_eq!(*reserve, [0x5f, 1, 5, 0, 0, 0, 0, 0, 24, 0]);
    assert_eq!(space_6(SpaceCode::Filemarks, -1).as_deref(), Ok(&[0x11, 1, 0xff, 0xff, 0xff, 0][..]));
}

#[test]
fn lines() {
    assert_eq!(text(&write_10(2048, 8, Access::FUA), DeviceType::DISK), "WRITE(10) lba 2048 blocks 8 fua");
    assert_eq!(text(&flush(), DeviceType::DISK), "SYNCHRONIZE CACHE(10) lba 0 blocks to end");
    assert_eq!(text(&inquiry(Some(0x83), 252), DeviceType::DISK), "INQUIRY bytes 252 evpd page 131");
    let space = space_6(SpaceCode::Filemarks, -3).expect("fits");
    assert_eq!(text(&space, DeviceType::TAPE), "SPACE(6) code 1 count -3");
}

#[test]
fn write_6_says_256_as_0_and_nothing_not_at_all() {
    assert_eq!(write_6(0x1f_ffff, 256).as_deref(), Ok(&[0x0a, 0x1f, 0xff, 0xff, 0, 0][..]));
    assert_eq!(write_6(0, 0), Err(CdbError::ZeroIsNotNothing { command: "WRITE(6)" }));
    let narrow = CdbError::FieldTooNarrow { command: "WRITE(6)", field: N::Lba, value: 1 << 21, bits: 21 };
    assert_eq!(write_6(1 << 21, 1), Err(narrow));
    assert!(write_6(0, 257).is_err());
}

#[test]
fn zero_is_not_the_end_of_the_device_by_mistake() {
    assert!(write_same_10(0, Blocks::Count(0), Same::default()).is_err());
    assert!(write_same_16(0, Blocks::Count(0), Same::default()).is_err());
    assert!(synchronize_cache_16(0, Blocks::Count(0), false).is_err());
    assert!(write_same_10(0, Blocks::Count(1 << 16), Same::default()).is_err());
    assert!(write_same_10(0, Blocks::ToEnd, Same { ndob: true, ..Same::default() }).is_err());
    let same = write_same_16(8, Blocks::ToEnd, Same { unmap: true, anchor: true, ndob: true }).expect("fits");
    assert_eq!(same[..2], [0x93, 0x19]);
}

#[test]
fn the_shortest_form_that_reaches() {
    let access = Access::default();
    assert_eq!(write(u32::MAX.into(), 65_535, access).opcode(), 0x2a);
    assert_eq!(write(1 << 32, 1, access).opcode(), 0x8a);
    assert_eq!(write(0, 65_536, access).opcode(), 0x8a);
    assert_eq!(read(0, 1, access).opcode(), 0x28);
    assert_eq!(read(1 << 32, 1, access).opcode(), 0x88);
}

#[test]
fn an_unmap_and_its_list() {
    let (cdb, list) = unmap(&[LbaRange::new(2, 3)], false).expect("fits");
    assert_eq!(*cdb, [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
    assert_eq!(list, [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0]);
    let most = alloc::vec![LbaRange::new(0, 1); list::MAX_UNMAP_DESCRIPTORS];
    assert!(unmap(&most, true).is_ok());
    let more = alloc::vec![LbaRange::new(0, 1); list::MAX_UNMAP_DESCRIPTORS + 1];
    assert_eq!(unmap(&more, true), Err(ListError::TooMany { count: 4096 }));
    assert!(unmap(&[LbaRange::new(0, 1 << 32)], false).is_err());
}

#[test]
fn tape_commands_check_their_24_bits() {
    assert!(tape_write_6(true, 1 << 24).is_err());
    assert!(tape_read_6(true, true, (1 << 24) - 1).is_ok());
    assert!(write_filemarks_6(1 << 24, false).is_err());
    assert!(space_6(SpaceCode::Blocks, 0x80_0000).is_err());
    assert!(space_6(SpaceCode::Blocks, -0x80_0000).is_ok());
}

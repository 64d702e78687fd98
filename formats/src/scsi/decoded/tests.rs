use alloc::format;

use super::*;
use crate::scsi::{DeviceType, decode};

fn disk(bytes: &[u8]) -> Decoded {
    decode(bytes, DeviceType::DISK).expect("it is whole")
}

#[test]
fn a_length_of_zero_means_what_the_command_says() {
    assert_eq!(disk(&[0x0a, 0, 0, 5, 0, 0]).transfer_blocks(), Some(Blocks::Count(256)));
    assert_eq!(disk(&[0x0a, 0, 0, 5, 0, 0]).transfer_bytes(512), Some(131_072));
    assert_eq!(disk(&[0x2a, 0, 0, 0, 0, 5, 0, 0, 0, 0]).transfer_blocks(), Some(Blocks::Count(0)));
    assert_eq!(disk(&[0x41, 0, 0, 0, 0, 5, 0, 0, 0, 0]).transfer_blocks(), Some(Blocks::ToEnd));
    assert_eq!(disk(&[0x35, 0, 0, 0, 0, 5, 0, 0, 0, 0]).transfer_blocks(), Some(Blocks::ToEnd));
    assert_eq!(disk(&[0x12, 0, 0, 0, 0, 0]).transfer_blocks(), None);
}

#[test]
fn write_6_has_an_address_of_21_bits() {
    assert_eq!(disk(&[0x0a, 0xff, 0xff, 0xff, 1, 0]).lba(), Some(0x1f_ffff));
}

#[test]
fn how_many_bytes_move() {
    let mut compare = [0; 16];
    (compare[0], compare[13]) = (0x89, 2);
    assert_eq!(disk(&compare).transfer_bytes(4096), Some(16_384));
    let mut verify = [0x2f, 0, 0, 0, 0, 0, 0, 0, 4, 0];
    assert_eq!((disk(&verify).transfer_bytes(512), disk(&verify).direction()), (Some(0), Direction::None));
    verify[1] = 0x02;
    assert_eq!((disk(&verify).transfer_bytes(512), disk(&verify).direction()), (Some(2048), Direction::Out));
    verify[1] = 0x06;
    assert_eq!(disk(&verify).transfer_bytes(512), Some(512));
    let mut same = [0; 16];
    (same[0], same[13]) = (0x93, 9);
    assert_eq!(disk(&same).transfer_bytes(512), Some(512));
    same[1] = 1;
    assert_eq!((disk(&same).transfer_bytes(512), disk(&same).direction()), (Some(0), Direction::None));
    let format = [0x04, 0, 0, 0, 0, 0];
    assert_eq!(disk(&format).direction(), Direction::None);
    let tape = decode(&[0x0a, 1, 0, 0, 2, 0], DeviceType::TAPE).expect("it is whole");
    assert_eq!(tape.transfer_bytes(10_240), Some(20_480));
    let tape = decode(&[0x0a, 0, 0, 0, 2, 0], DeviceType::TAPE).expect("it is whole");
    assert_eq!(tape.transfer_bytes(10_240), Some(2));
}

#[test]
fn huge_lengths_do_not_wrap() {
    let mut write = [0xff; 16];
    (write[0], write[1]) = (0x8a, 0);
    assert_eq!(disk(&write).transfer_bytes(u32::MAX), Some(u64::from(u32::MAX).pow(2)));
    assert_eq!(disk(&write).lba(), Some(u64::MAX));
}

#[test]
fn ata_commands_are_told_apart() {
    let ata = |protocol: u8, flags: u8, command: u8| {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[2], cdb[14]) = (0x85, protocol << 1, flags, command);
        disk(&cdb)
    };
    let identify = ata(4, 0x0e, 0xec);
    assert_eq!((identify.replay(), identify.class(), identify.effect()), (Replay::Carry, Class::Read, Effect::None));
    let check_power = ata(3, 0, 0xe5);
    assert_eq!((check_power.replay(), check_power.direction()), (Replay::Carry, Direction::None));
    assert_eq!(ata(3, 0, 0x45).replay(), Replay::Refuse, "WRITE UNCORRECTABLE has no data");
    let write = ata(6, 0x06, 0x35);
    assert_eq!((write.replay(), write.class(), write.effect()), (Replay::Refuse, Class::Write, Effect::Unknown));
}

#[test]
fn what_is_not_in_the_table_says_so() {
    let vendor = disk(&[0xc1, 2, 3]);
    assert_eq!((vendor.command, vendor.replay()), (Command::Unknown { opcode: 0xc1 }, Replay::Unknown));
    assert_eq!((vendor.class(), vendor.effect(), vendor.name()), (Class::Write, Effect::Unknown, None));
    assert_eq!(format!("{vendor}"), "vendor specific operation code 0xc1, CDB c1 02 03");
    let mut action = [0; 16];
    (action[0], action[1]) = (0x9e, 0x1f);
    assert_eq!(disk(&action).command, Command::UnknownServiceAction { opcode: 0x9e, action: 0x1f });
    assert!(format!("{}", disk(&action)).starts_with("operation code 0x9e with unknown service action 0x1f, CDB 9e"));
    let variable = [0x7f, 0, 0, 0, 0, 0, 0, 4, 0x88, 0x01, 0, 0];
    assert_eq!(disk(&variable).command, Command::UnknownServiceAction { opcode: 0x7f, action: 0x8801 });
    let changer = decode(&variable, DeviceType::CHANGER).expect("it is whole");
    assert_eq!(changer.command, Command::UnknownServiceAction { opcode: 0x7f, action: 0x8801 });
}

#[test]
fn cdbs_that_were_cut_off_are_errors() {
    let error = |bytes: &[u8]| decode(bytes, DeviceType::DISK).expect_err("it is cut off");
    assert_eq!(error(&[]), CdbError::Empty);
    assert_eq!(error(&[0x2a; 9]), CdbError::TooShort { opcode: 0x2a, need: 10, have: 9 });
    assert_eq!(error(&[0x7f, 0, 0]), CdbError::TooShort { opcode: 0x7f, need: 10, have: 3 });
    assert_eq!(
        error(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0b]),
        CdbError::TooShort { opcode: 0x7f, need: 32, have: 10 }
    );
    // WRITE(32) that says it has twelve bytes.
    let short = [0x7f, 0, 0, 0, 0, 0, 0, 4, 0, 0x0b, 0, 0];
    assert_eq!(error(&short), CdbError::TooShort { opcode: 0x7f, need: 32, have: 12 });
    let mut long = [0u8; 270];
    (long[0], long[7]) = (0x7f, 0xff);
    assert_eq!(error(&long), CdbError::TooLong { len: 263 });
    assert_eq!(error(&[0xc0; 261]), CdbError::TooLong { len: 261 });
    assert_eq!(error(&[0x7e, 0, 0, 8, 0, 0]), CdbError::TooShort { opcode: 0x7e, need: 12, have: 6 });
    (long[7], long[9]) = (252, 0x0b);
    assert_eq!(decode(&long[..260], DeviceType::DISK).map(|command| command.name()), Ok(Some("WRITE(32)")));
}

#[test]
fn an_address_is_moved_or_the_reason_given() {
    let write = disk(&[0x2a, 0, 0, 0, 8, 0, 0, 0, 8, 0]);
    assert_eq!(write.with_lba_offset(-2048).expect("0 is a block").lba(), Some(0));
    let overflow = CdbError::LbaOverflow { command: "WRITE(10)", lba: 2048, offset: -2049 };
    assert_eq!(write.with_lba_offset(-2049), Err(overflow));
    let narrow =
        CdbError::FieldTooNarrow { command: "WRITE(10)", field: FieldName::Lba, value: 2048 + (1 << 32), bits: 32 };
    assert_eq!(write.with_lba_offset(1 << 32), Err(narrow));
    let mut long = [0; 16];
    (long[0], long[9], long[13]) = (0x8a, 1, 1);
    assert_eq!(disk(&long).with_lba_offset(i64::MAX).expect("it fits").lba(), Some(1 << 63));
    long[2..10].fill(0xff);
    assert!(disk(&long).with_lba_offset(1).is_err());
    let protected = disk(&[0x2a, 0x20, 0, 0, 8, 0, 0, 0, 8, 0]);
    assert_eq!(protected.with_lba_offset(1), Err(CdbError::Protected { command: "WRITE(10)" }));
    assert_eq!(protected.with_lba_offset(0), Ok(protected));
    let mut scattered = [0; 16];
    (scattered[0], scattered[1], scattered[2]) = (0x9f, 0x12, 0x20);
    let error = CdbError::Protected { command: "WRITE SCATTERED(16)" };
    assert_eq!(disk(&scattered).with_lba_offset(1), Err(error), "its list holds the addresses");
    let to_end = disk(&[0x41, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
    assert_eq!(to_end.with_lba_offset(1), Err(CdbError::OpenEnded { command: "WRITE SAME(10)" }));
    let inquiry = disk(&[0x12, 0, 0, 0, 36, 0]);
    assert_eq!(inquiry.with_lba_offset(7), Ok(inquiry));
}

#[test]
fn hints_are_taken_out_and_nothing_else() {
    let mut write = [0; 16];
    (write[0], write[1], write[9], write[13], write[14], write[15]) = (0x8a, 0x09, 5, 2, 0xff, 0x04);
    let command = disk(&write);
    assert_eq!(format!("{command}"), "WRITE(16) lba 5 blocks 2 fua dld2 dld 3 group 63");
    let plain = command.without_hints();
    assert_eq!(format!("{plain}"), "WRITE(16) lba 5 blocks 2 fua");
    assert_eq!((plain.cdb[1], plain.cdb[14], plain.cdb[15]), (0x08, 0, 0x04));
    assert_eq!(disk(&[0xc1, 0xff]).without_hints(), disk(&[0xc1, 0xff]));
}

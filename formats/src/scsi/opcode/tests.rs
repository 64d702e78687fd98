use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::scsi::{Cdb, Decoded, decode};

fn device_of(row: &Row) -> DeviceType {
    let types = (0..32).map(DeviceType::from_byte);
    types.into_iter().find(|device| row.devices.contains(device.set())).expect("each row has a device type")
}

#[test]
fn rows_are_sorted_in_their_groups_and_keys_do_not_overlap() {
    for (group, rows) in table::GROUPS.iter().enumerate() {
        assert!(rows.windows(2).all(|pair| pair[0].opcode <= pair[1].opcode), "group {group}");
        assert!(rows.iter().all(|row| usize::from(row.opcode >> 5) == group), "group {group}");
    }
    let all: Vec<&Row> = rows().collect();
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let same_opcode = one.opcode == other.opcode && one.devices.intersects(other.devices);
            let same =
                same_opcode && (one.service == other.service || one.service.is_none() != other.service.is_none());
            assert!(!same, "{} and {}", one.name, other.name);
        }
    }
}

#[test]
fn the_longest_commands_have_the_longest_time() {
    assert!(Timing::ALL.is_sorted_by_key(|timing| timing.seconds()));
    let timing = |cdb: &[u8], device| Timing::of(&look_up(cdb, device), device);
    assert_eq!(timing(&[0x2a; 10], DeviceType::DISK), Timing::Usual);
    assert_eq!(
        (timing(&[0x91; 16], DeviceType::DISK), timing(&[0x91; 16], DeviceType::TAPE)),
        (Timing::Flush, Timing::Wind)
    );
    assert_eq!(
        (timing(&[0xc1; 10], DeviceType::DISK), timing(&[0xc1; 10], DeviceType::TAPE)),
        (Timing::Usual, Timing::Tape)
    );
    for row in rows() {
        let ends = |list: &[Timing]| assert!(list.contains(&row.timing), "{}: {}", row.name, row.timing);
        match row.effect {
            Effect::Whole => ends(&[Timing::Medium, Timing::Wind]),
            Effect::Same | Effect::UnmapList => ends(&[Timing::Blocks]),
            Effect::TapeMove | Effect::TapeWrite => ends(&[Timing::Tape, Timing::Wind]),
            Effect::Write => ends(&[Timing::Usual, Timing::Tape]),
            _ => {}
        }
        let tape_only = row.devices == Devices::SSC;
        assert!(tape_only || !matches!(row.timing, Timing::Tape | Timing::Wind), "{}", row.name);
    }
}

#[test]
fn fields_lie_apart_and_within_their_cdb() {
    for row in rows() {
        let mut taken = [0u8; crate::scsi::MAX_CDB];
        // The operation code, the service action, the additional length.
        taken[0] = 0xff;
        match (row.opcode, row.service) {
            (VARIABLE_LENGTH, _) => taken[7..10].fill(0xff),
            (_, Some(_)) => taken[1] = 0x1f,
            _ => {}
        }
        for field in row.fields {
            assert!((1..=64).contains(&field.bits) && field.high < 8 && field.byte > 0, "{}: {field:?}", row.name);
            // CONTROL is the last byte, or the second one of a variable length CDB.
            let last = if row.opcode == VARIABLE_LENGTH { row.len } else { row.len - 1 };
            assert!(field.end() <= usize::from(last), "{}: {field:?} beyond", row.name);
            let mut mask = [0u8; crate::scsi::MAX_CDB];
            assert!(field.set(&mut mask, field.max()), "{}: {field:?}", row.name);
            for (taken, bits) in taken.iter_mut().zip(mask) {
                assert_eq!(*taken & bits, 0, "{}: {field:?} overlaps another", row.name);
                *taken |= bits;
            }
        }
        let twice =
            row.fields.iter().any(|field| row.fields.iter().filter(|other| other.name == field.name).count() > 1);
        assert!(!twice, "{} has a field twice", row.name);
    }
}

#[test]
fn what_a_row_says_hangs_together() {
    for row in rows() {
        let has = |name| row.field(name).is_some();
        let name = row.name;
        match row.data {
            Data::Blocks | Data::Pairs | Data::OneBlock | Data::Checked | Data::Bytes | Data::Records => {
                assert!(has(FieldName::Length), "{name}: a length is counted");
            }
            Data::None => assert_eq!(row.direction, Direction::None, "{name}"),
            _ => {}
        }
        assert_eq!(row.data == Data::None, row.direction == Direction::None, "{name}");
        match row.effect {
            Effect::Write | Effect::Same | Effect::Compare | Effect::Combine | Effect::Long => {
                assert!(has(FieldName::Lba) && row.class == Class::Write, "{name}");
            }
            Effect::TapeWrite | Effect::TapeMove => assert_eq!(row.devices, Devices::SSC, "{name}"),
            _ => {}
        }
        if row.replay == Replay::Carry {
            assert!(matches!(row.effect, Effect::None), "{name}: what changes the medium is not just carried");
        }
        if row.opcode != VARIABLE_LENGTH && row.opcode != EXTENDED {
            assert_eq!(usize::from(row.len), crate::scsi::cdb::by_group(row.opcode), "{name}");
        }
    }
}

#[test]
fn a_meaning_depends_on_the_device_type() {
    let name = |bytes: &[u8], device| decode(bytes, device).expect("it is whole").name();
    let mut cdb = [0; 16];
    cdb[0] = 0x91;
    assert_eq!(name(&cdb, DeviceType::DISK), Some("SYNCHRONIZE CACHE(16)"));
    assert_eq!(name(&cdb, DeviceType::ZONED), Some("SYNCHRONIZE CACHE(16)"));
    assert_eq!(name(&cdb, DeviceType::TAPE), Some("SPACE(16)"));
    assert_eq!(name(&cdb, DeviceType::CHANGER), None);
    assert_eq!(name(&[0x12, 0, 0, 0, 0, 0], DeviceType::UNKNOWN), Some("INQUIRY"));
}

#[test]
fn the_commands_that_must_be_known_are() {
    let wanted = "WRITE(6)|WRITE(10)|WRITE(12)|WRITE(16)|WRITE(32)|WRITE AND VERIFY(10)|WRITE AND VERIFY(12)|\
        WRITE AND VERIFY(16)|WRITE AND VERIFY(32)|WRITE SAME(10)|WRITE SAME(16)|WRITE SAME(32)|WRITE ATOMIC(16)|\
        WRITE LONG(10)|WRITE LONG(16)|ORWRITE(16)|ORWRITE(32)|COMPARE AND WRITE|XDWRITEREAD(10)|UNMAP|\
        SYNCHRONIZE CACHE(10)|SYNCHRONIZE CACHE(16)|SANITIZE (OVERWRITE)|FORMAT UNIT|WRITE BUFFER|MODE SELECT(6)|\
        MODE SELECT(10)|LOG SELECT|PERSISTENT RESERVE IN (READ KEYS)|PERSISTENT RESERVE OUT (REGISTER)|RESERVE(6)|\
        RESERVE(10)|RELEASE(6)|RELEASE(10)|START STOP UNIT|REASSIGN BLOCKS|EXTENDED COPY(LID1)|EXTENDED COPY(LID4)|\
        POPULATE TOKEN|WRITE USING TOKEN|RESET WRITE POINTER|OPEN ZONE|CLOSE ZONE|FINISH ZONE|ATA PASS-THROUGH(12)|\
        ATA PASS-THROUGH(16)|ATA PASS-THROUGH(32)|READ(6)|READ(10)|READ(12)|READ(16)|READ(32)|INQUIRY|\
        READ CAPACITY(10)|READ CAPACITY(16)|REPORT LUNS|MODE SENSE(6)|MODE SENSE(10)|LOG SENSE|REQUEST SENSE|\
        TEST UNIT READY|WRITE FILEMARKS(6)|WRITE FILEMARKS(16)|SPACE(6)|SPACE(16)|LOCATE(10)|LOCATE(16)|REWIND|\
        ERASE(6)|ERASE(16)|LOAD UNLOAD|SET CAPACITY";
    for name in wanted.split('|') {
        assert!(rows().any(|row| row.name == name), "{name} is missing");
    }
    for tape in ["READ(6)", "WRITE(6)", "READ(16)", "WRITE(16)", "MODE SELECT(6)"] {
        let mut known = rows().filter(|row| row.devices.contains(Devices::SSC));
        assert!(known.any(|row| row.name == tape), "{tape} is missing for tapes");
    }
}

fn values(row: &Row, random: &[u64]) -> Vec<(FieldName, u64)> {
    row.fields.iter().zip(random).map(|(field, value)| (field.name, value & field.max())).collect()
}

fn built(row: &Row, values: &[(FieldName, u64)]) -> Cdb {
    values.iter().fold(Cdb::of(row), |cdb, &(field, value)| cdb.with(row, field, value).expect("masked to its width"))
}

fn check_round_trip(row: &'static Row, random: &[u64]) {
    let values = values(row, random);
    let cdb = built(row, &values);
    let device = device_of(row);
    let decoded: Decoded = decode(&cdb, device).expect("what was built is whole");
    assert_eq!(decoded.command, Command::Known(row));
    assert_eq!(cdb.len(), usize::from(row.len));
    for (field, value) in &values {
        assert_eq!(decoded.get(*field), Some(*value), "{}: {field}", row.name);
    }
    // Each way from the same bytes to the same answers.
    assert_eq!(decode(&decoded.cdb, device), Ok(decoded));
    assert!(alloc::format!("{}", decoded.describe()).starts_with(row.name));
    for short in 0..cdb.len() {
        assert!(decode(&cdb[..short], device).is_err(), "{} cut to {short}", row.name);
    }
}

proptest! {
    #[test]
    fn each_row_round_trips_with_any_values(random in proptest::collection::vec(any::<u64>(), 16)) {
        for row in rows() {
            check_round_trip(row, &random);
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..280), device in any::<u8>()) {
        if let Ok(decoded) = decode(&bytes, DeviceType::from_byte(device)) {
            prop_assert_eq!(decoded.cdb.as_bytes(), &bytes[..]);
            let _ = alloc::format!("{decoded}");
        }
    }
}

//! What every tape must do. (scsi_debug has one since Linux 6.15; before, ptype=1 is a disk that says it is a tape.)

use formats::scsi::build::{self, PositionForm, SpaceCode};
use formats::scsi::{Outcome, SenseFlags, SenseKey};
use replayer::scsi::ScsiDevice;

use super::{ask, bad_field, fetch, good, out, plain, refused};

/// A check of one tape, which it leaves as it likes.
pub(crate) type Run = fn(&dyn ScsiDevice);

/// All of them.
pub(crate) const CHECKS: &[(&str, Run)] = &[
    ("records of any length", check_variable),
    ("records of one length", check_fixed),
    ("incorrect length", check_incorrect_length),
    ("filemarks", check_filemarks),
    ("space", check_space),
    ("locate", check_locate),
    ("position", check_position),
    ("overwriting", check_overwriting),
    ("unloaded", check_unloaded),
    ("limits", check_limits),
];

fn rewind(device: &dyn ScsiDevice) {
    good(plain(device, &build::rewind(false)));
}

fn put(device: &dyn ScsiDevice, record: &[u8]) {
    good(out(device, &build::tape_write_6(false, record.len() as u32).expect("fits"), record));
}

fn mark(device: &dyn ScsiDevice, count: u32) {
    good(plain(device, &build::write_filemarks_6(count, false).expect("fits")));
}

fn get(device: &dyn ScsiDevice, length: u32) -> (Outcome, Vec<u8>) {
    fetch(device, &build::tape_read_6(false, false, length).expect("fits"), length as usize)
}

fn space(device: &dyn ScsiDevice, code: SpaceCode, count: i32) -> Outcome {
    plain(device, &build::space_6(code, count).expect("fits"))
}

fn at(device: &dyn ScsiDevice) -> u64 {
    let long = ask(device, &build::read_position(PositionForm::Long), 32);
    u64::from_be_bytes(long[8..16].try_into().expect("eight"))
}

/// Stopped by a filemark, with what is left.
fn filemark(outcome: Outcome, residual: i64) {
    let sense = refused(outcome, SenseKey::NoSense, 0, 0x01);
    assert_eq!((sense.flags, sense.residual()), (SenseFlags::FILEMARK, Some(residual)));
}

/// Stopped by the end of what was written, with what is left.
fn end_of_data(outcome: Outcome, residual: i64) {
    assert_eq!(refused(outcome, SenseKey::BlankCheck, 0, 0x05).residual(), Some(residual));
}

/// Sets the block length by the block descriptor of MODE SELECT(6).
fn set_block_length(device: &dyn ScsiDevice, length: u32) {
    let [_, high, middle, low] = length.to_be_bytes();
    let list = [0, 0, 0x10, 8, 0, 0, 0, 0, 0, high, middle, low];
    good(out(device, &build::mode_select_6(false, list.len() as u8), &list));
}

/// An empty tape with two files: records of 10, 300 and 10 bytes, then one of 20; a filemark behind each.
fn two_files(device: &dyn ScsiDevice) {
    rewind(device);
    set_block_length(device, 0);
    [[1; 10].as_slice(), &[2; 300], &[3; 10]].into_iter().for_each(|record| put(device, record));
    mark(device, 1);
    put(device, &[4; 20]);
    mark(device, 1);
}

/// Records come back as they were written; behind them is nothing.
pub(crate) fn check_variable(device: &dyn ScsiDevice) {
    two_files(device);
    end_of_data(get(device, 64).0, 64);
    rewind(device);
    for (length, byte) in [(10, 1), (300, 2), (10, 3)] {
        let (outcome, bytes) = get(device, length);
        good(outcome);
        assert_eq!(bytes, vec![byte; length as usize]);
    }
    filemark(get(device, 64).0, 64);
    assert_eq!(get(device, 20).1, [4; 20]);
    good(plain(device, &build::tape_read_6(false, false, 0).expect("fits")));
}

/// With a block length in force, blocks are counted; what stops a read leaves the rest of the count.
pub(crate) fn check_fixed(device: &dyn ScsiDevice) {
    rewind(device);
    set_block_length(device, 100);
    let data: Vec<u8> = (0..300).map(|at| at as u8).collect();
    good(out(device, &build::tape_write_6(true, 3).expect("fits"), &data));
    mark(device, 1);
    rewind(device);
    let (outcome, bytes) = fetch(device, &build::tape_read_6(true, false, 5).expect("fits"), 500);
    filemark(outcome, 2);
    assert_eq!((outcome.residual, bytes), (200, data));
    bad_field(fetch(device, &build::tape_read_6(true, true, 1).expect("fits"), 100).0);
    set_block_length(device, 0);
    bad_field(fetch(device, &build::tape_read_6(true, false, 1).expect("fits"), 100).0);
    let header = ask(device, &build::mode_sense_6(build::ModePage::default(), 255), 255);
    assert_eq!((header[3], &header[9..12]), (8, &[0, 0, 0][..]));
}

/// A block of another length is told with the difference, unless that is silenced.
pub(crate) fn check_incorrect_length(device: &dyn ScsiDevice) {
    two_files(device);
    rewind(device);
    let incorrect = |outcome: Outcome, residual: i64| {
        let sense = refused(outcome, SenseKey::NoSense, 0, 0);
        assert_eq!((sense.flags, sense.residual()), (SenseFlags::ILI, Some(residual)));
    };
    let (outcome, bytes) = get(device, 64);
    incorrect(outcome, 54);
    assert_eq!((outcome.residual, bytes.len()), (54, 10));
    let (outcome, bytes) = get(device, 200);
    incorrect(outcome, -100);
    assert_eq!(bytes, [2; 200]);
    let silent = build::tape_read_6(false, true, 64).expect("fits");
    let (outcome, bytes) = fetch(device, &silent, 64);
    good(outcome);
    assert_eq!((outcome.residual, bytes.len()), (54, 10));
    rewind(device);
    set_block_length(device, 128);
    let (outcome, _) = fetch(device, &build::tape_read_6(true, false, 2).expect("fits"), 256);
    incorrect(outcome, 2);
    set_block_length(device, 0);
}

/// WRITE FILEMARKS: several, none, and no setmarks.
pub(crate) fn check_filemarks(device: &dyn ScsiDevice) {
    rewind(device);
    put(device, &[1; 8]);
    mark(device, 2);
    mark(device, 0);
    assert_eq!(at(device), 3);
    bad_field(plain(device, &[0x10, 0x02, 0, 0, 1, 0]));
    rewind(device);
    good(get(device, 8).0);
    filemark(get(device, 8).0, 8);
    filemark(get(device, 8).0, 8);
    end_of_data(get(device, 8).0, 8);
}

/// SPACE over blocks and filemarks, both ways, and what stops it.
pub(crate) fn check_space(device: &dyn ScsiDevice) {
    two_files(device);
    rewind(device);
    good(space(device, SpaceCode::Blocks, 2));
    assert_eq!(get(device, 10).1, [3; 10]);
    filemark(space(device, SpaceCode::Blocks, 3), 3);
    assert_eq!(at(device), 4, "behind the filemark");
    filemark(space(device, SpaceCode::Blocks, -2), 2);
    assert_eq!(at(device), 3, "in front of it");
    good(space(device, SpaceCode::Filemarks, 2));
    end_of_data(space(device, SpaceCode::Filemarks, 1), 1);
    good(space(device, SpaceCode::Filemarks, -2));
    assert_eq!(at(device), 3);
    let beginning = refused(space(device, SpaceCode::Blocks, -9), SenseKey::NoSense, 0, 0x04);
    assert_eq!((beginning.flags, beginning.residual(), at(device)), (SenseFlags::EOM, Some(6), 0));
    good(space(device, SpaceCode::EndOfData, 0));
    assert_eq!(at(device), 6);
    end_of_data(space(device, SpaceCode::Blocks, 1), 1);
    mark(device, 1);
    rewind(device);
    good(space(device, SpaceCode::SequentialFilemarks, 2));
    assert_eq!(at(device), 7);
}

/// LOCATE by object in both lengths, by file and to the end.
pub(crate) fn check_locate(device: &dyn ScsiDevice) {
    two_files(device);
    good(plain(device, &build::locate_10(1, None, false)));
    assert_eq!(get(device, 300).1, [2; 300]);
    good(plain(device, &build::locate_16(4, None, false)));
    assert_eq!(get(device, 20).1, [4; 20]);
    let locate =
        |kind: u8, object: u8| plain(device, &[0x92, kind << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, object, 0, 0, 0, 0]);
    good(locate(1, 1));
    assert_eq!(at(device), 4);
    good(locate(3, 0));
    assert_eq!(at(device), 6);
    bad_field(locate(2, 0));
    refused(plain(device, &build::locate_10(99, None, false)), SenseKey::BlankCheck, 0, 0x05);
    assert_eq!(at(device), 6, "at the end of data");
    bad_field(plain(device, &build::locate_10(0, Some(1), false)));
}

/// READ POSITION in both forms.
pub(crate) fn check_position(device: &dyn ScsiDevice) {
    two_files(device);
    let long = ask(device, &build::read_position(PositionForm::Long), 32);
    assert_eq!((long[0] & 0x80, long[15], long[23]), (0, 6, 2), "not at the beginning, objects, files");
    let short = ask(device, &build::read_position(PositionForm::Short), 20);
    assert_eq!(short[4..8], 6u32.to_be_bytes());
    rewind(device);
    assert_eq!(ask(device, &build::read_position(PositionForm::Short), 20)[0] & 0x80, 0x80, "BOP");
    bad_field(fetch(device, &[0x34, 5, 0, 0, 0, 0, 0, 0, 32, 0], 32).0);
}

/// Writing ends what was behind it, as ERASE does.
pub(crate) fn check_overwriting(device: &dyn ScsiDevice) {
    two_files(device);
    good(plain(device, &build::locate_10(1, None, false)));
    put(device, &[9; 30]);
    end_of_data(get(device, 64).0, 64);
    rewind(device);
    assert_eq!((get(device, 10).1, get(device, 30).1), (vec![1; 10], vec![9; 30]));
    good(plain(device, &build::locate_10(1, None, false)));
    good(plain(device, &[0x19, 0, 0, 0, 0, 0]));
    end_of_data(get(device, 64).0, 64);
}

/// Unloaded there is no medium; loaded again it is at its beginning.
pub(crate) fn check_unloaded(device: &dyn ScsiDevice) {
    two_files(device);
    good(plain(device, &[0x1b, 0, 0, 0, 0, 0]));
    refused(plain(device, &build::test_unit_ready()), SenseKey::NotReady, 0x3a, 0);
    refused(get(device, 10).0, SenseKey::NotReady, 0x3a, 0);
    good(plain(device, &[0x1b, 0, 0, 0, 1, 0]));
    assert_eq!((at(device), get(device, 10).1), (0, vec![1; 10]));
}

/// READ BLOCK LIMITS, and a record beyond them.
pub(crate) fn check_limits(device: &dyn ScsiDevice) {
    let limits = ask(device, &[0x05, 0, 0, 0, 0, 0], 6);
    let most = u32::from_be_bytes([0, limits[1], limits[2], limits[3]]);
    assert!(most >= 1024 && limits[4..] == [0, 1]);
    let data = vec![0; most as usize + 1];
    bad_field(out(device, &build::tape_write_6(false, most + 1).expect("fits"), &data));
}

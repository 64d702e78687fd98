//! What a disk may do beyond what scsi_debug does: checked on devices that say so.

use formats::scsi::build::{self, Access, ReservationType, ReserveIn, ReserveOut};
use formats::scsi::{Blocks, ScsiStatus, SenseFlags, SenseKey};
use replayer::scsi::ScsiDevice;

use super::{
    Check, Feature, Profile, ask, bad_field, cdb_10, cdb_16, fetch, good, out, out_of_range, plain, read, refused,
    write,
};

/// All of them.
pub(crate) const CHECKS: &[Check] = &[
    Check { name: "write and verify", needs: &[Feature::WriteAndVerify], run: check_write_and_verify },
    Check { name: "write atomic", needs: &[Feature::WriteAtomic], run: check_write_atomic },
    Check { name: "write scattered", needs: &[Feature::WriteScattered], run: check_write_scattered },
    Check { name: "or write", needs: &[Feature::OrWrite], run: check_or_write },
    Check { name: "write long", needs: &[Feature::WriteLong], run: check_write_long },
    Check { name: "write long with data", needs: &[Feature::WriteLong], run: check_write_long_data },
    Check { name: "reassign", needs: &[Feature::WriteLong], run: check_reassign },
    Check { name: "sanitize", needs: &[Feature::Sanitize], run: check_sanitize },
    Check { name: "sanitize refused", needs: &[Feature::Sanitize], run: check_sanitize_refused },
    Check { name: "format", needs: &[Feature::Sanitize], run: check_format },
    Check { name: "buffer", needs: &[Feature::Buffer], run: check_buffer },
    Check { name: "protection is refused", needs: &[Feature::Strict], run: check_protection },
    Check { name: "field pointers", needs: &[Feature::Strict], run: check_field_pointers },
    Check { name: "descriptor sense", needs: &[Feature::Strict], run: check_descriptor_sense },
    Check { name: "unchangeable modes", needs: &[Feature::Strict], run: check_unchangeable_modes },
    Check { name: "saved modes", needs: &[Feature::Strict], run: check_saved_modes },
    Check { name: "reservation of one", needs: &[Feature::PersistentReservations], run: check_reservation },
];

/// WRITE AND VERIFY in three lengths, VERIFY(12).
pub(crate) fn check_write_and_verify(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(2, 1);
    let twelve = |opcode, flags| [opcode, flags, 0, 0, 0, 50, 0, 0, 0, 2, 0, 0];
    good(out(device, &cdb_10(0x2e, 0, 50, 2), &data));
    good(out(device, &twelve(0xaf, 0x02), &data));
    good(out(device, &twelve(0xae, 0x02), &profile.pattern(2, 2)));
    assert!(read(device, profile, 50, 2) == profile.pattern(2, 2));
    good(out(device, &cdb_16(0x8e, 0, 50, 2), &data));
    assert!(read(device, profile, 50, 2) == data);
    out_of_range(out(device, &cdb_16(0x8e, 0, profile.blocks, 2), &data));
}

/// WRITE ATOMIC(16).
pub(crate) fn check_write_atomic(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(8, 3);
    let atomic = |lba: u64, blocks: u8| {
        let mut cdb = cdb_16(0x9c, 0, lba, 0);
        cdb[13] = blocks;
        cdb
    };
    good(out(device, &atomic(56, 8), &data));
    assert!(read(device, profile, 56, 8) == data);
    out_of_range(out(device, &atomic(profile.blocks - 1, 8), &data));
}

/// WRITE SCATTERED(16): two runs; none is written where one is not on the medium.
pub(crate) fn check_write_scattered(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(3, 4);
    let scattered = |first: u64, second: u64| {
        let mut list = vec![0; profile.bytes(1)];
        list[32..40].copy_from_slice(&first.to_be_bytes());
        list[43] = 1;
        list[64..72].copy_from_slice(&second.to_be_bytes());
        list[75] = 2;
        list.extend_from_slice(&data);
        list
    };
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[5], cdb[9], cdb[13]) = (0x9f, 0x12, 1, 2, 4);
    good(out(device, &cdb, &scattered(100, 110)));
    let written = [read(device, profile, 100, 1), read(device, profile, 110, 2)].concat();
    assert!(written == data);
    write(device, profile, 120, &profile.pattern(1, 5));
    out_of_range(out(device, &cdb, &scattered(120, profile.blocks - 1)));
    if profile.has(Feature::Strict) {
        assert!(read(device, profile, 120, 1) == profile.pattern(1, 5));
    }
}

/// ORWRITE(16) joins what is there with what is sent.
pub(crate) fn check_or_write(device: &dyn ScsiDevice, profile: &Profile) {
    let (one, other) = (profile.pattern(2, 6), profile.pattern(2, 7));
    write(device, profile, 130, &one);
    good(out(device, &cdb_16(0x8b, 0, 130, 2), &other));
    let both: Vec<u8> = one.iter().zip(&other).map(|(one, other)| one | other).collect();
    assert!(read(device, profile, 130, 2) == both);
}

/// WRITE LONG with WR_UNCOR makes a block unreadable until it is written again; what comes before it is still returned.
pub(crate) fn check_write_long(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(4, 8);
    write(device, profile, 140, &data);
    good(plain(device, &build::mark_unreadable(142, false)));
    let (outcome, bytes) = fetch(device, &build::read_10(140, 4, Access::default()), profile.bytes(4));
    let sense = refused(outcome, SenseKey::MediumError, 0x11, 0x14);
    assert_eq!(sense.lba(), Some(142));
    assert!(bytes == data[..profile.bytes(2)], "the blocks in front of it");
    assert!(read(device, profile, 140, 2) == data[..profile.bytes(2)]);
    refused(plain(device, &cdb_10(0x2f, 0, 142, 1)), SenseKey::MediumError, 0x11, 0x14);
    let pair = [&data[..profile.bytes(1)]; 2].concat();
    let compare = build::compare_and_write(142, 1, Access::default());
    refused(out(device, &compare, &pair), SenseKey::MediumError, 0x11, 0x14);
    write(device, profile, 142, &data[..profile.bytes(1)]);
    assert!(read(device, profile, 142, 1) == data[..profile.bytes(1)]);
    let beyond = build::mark_unreadable(profile.blocks, false);
    out_of_range(plain(device, &beyond));
    // The short form.
    good(plain(device, &cdb_10(0x3f, 0xc0, 141, 0)));
    let outcome = fetch(device, &build::read_16(141, 1, Access::default()), profile.bytes(1)).0;
    refused(outcome, SenseKey::MediumError, 0x11, 0x14);
    let same = build::write_same_10(141, Blocks::Count(1), build::Same::default()).expect("fits");
    good(out(device, &same, &data[..profile.bytes(1)]));
    read(device, profile, 141, 1);
}

/// WRITE LONG and READ LONG with data have one length; another is told by how much it is wrong.
pub(crate) fn check_write_long_data(device: &dyn ScsiDevice, profile: &Profile) {
    let wrong = profile.block_size as u16;
    let (outcome, _) = fetch(device, &cdb_10(0x3e, 0, 150, wrong), profile.bytes(2));
    let sense = bad_field(outcome);
    assert!(sense.flags.contains(SenseFlags::ILI));
    let long = i64::from(wrong) - sense.residual().expect("by how much");
    let block = profile.pattern(1, 9);
    write(device, profile, 150, &block);
    let bytes = ask(device, &cdb_10(0x3e, 0, 150, long as u16), profile.bytes(2));
    assert_eq!((bytes.len() as i64, &bytes[..block.len()]), (long, &block[..]));
    good(out(device, &cdb_10(0x3f, 0, 151, long as u16), &bytes));
    assert!(read(device, profile, 151, 1) == block);
    bad_field(out(device, &cdb_10(0x3f, 0, 151, wrong), &bytes));
}

/// REASSIGN BLOCKS makes an unreadable block readable and leaves others alone.
pub(crate) fn check_reassign(device: &dyn ScsiDevice, profile: &Profile) {
    let block = profile.pattern(1, 1);
    write(device, profile, 160, &block);
    good(plain(device, &build::mark_unreadable(161, false)));
    good(out(device, &[0x07, 0, 0, 0, 0, 0], &[0, 0, 0, 8, 0, 0, 0, 160, 0, 0, 0, 161]));
    assert!(read(device, profile, 160, 1) == block);
    read(device, profile, 161, 1);
}

/// SANITIZE leaves its pattern, or nothing of what was there.
pub(crate) fn check_sanitize(device: &dyn ScsiDevice, profile: &Profile) {
    let sanitize = |action: u8, length: u8| [0x48, action, 0, 0, 0, 0, 0, 0, length, 0];
    write(device, profile, 170, &profile.pattern(1, 2));
    // Two passes, the second inverted.
    good(out(device, &sanitize(1, 8), &[0x82, 0, 0, 4, 0x0f, 0xf0, 0xaa, 0x55]));
    let expected: Vec<u8> = [0xf0, 0x0f, 0x55, 0xaa].into_iter().cycle().take(profile.bytes(1)).collect();
    assert!(read(device, profile, 170, 1) == expected);
    assert!(read(device, profile, profile.blocks - 1, 1) == expected);
    for action in [2, 3] {
        write(device, profile, 170, &profile.pattern(1, 2));
        good(plain(device, &sanitize(action, 0)));
        assert!(read(device, profile, 170, 1).iter().all(|byte| *byte == 0));
    }
}

/// SANITIZE with a pattern of no bytes, without passes, with a list that is too long, or of another kind.
pub(crate) fn check_sanitize_refused(device: &dyn ScsiDevice, _: &Profile) {
    let overwrite = |list: &[u8]| out(device, &[0x48, 1, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], list);
    refused(overwrite(&[1, 0, 0, 0, 0]), SenseKey::IllegalRequest, 0x26, 0);
    refused(overwrite(&[0, 0, 0, 1, 0]), SenseKey::IllegalRequest, 0x26, 0);
    refused(overwrite(&[1, 0, 0, 2, 0]), SenseKey::IllegalRequest, 0x26, 0);
    bad_field(overwrite(&[1, 0, 0, 0]));
    bad_field(plain(device, &[0x48, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0]));
    bad_field(plain(device, &[0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0]));
}

/// FORMAT UNIT without a list.
pub(crate) fn check_format(device: &dyn ScsiDevice, profile: &Profile) {
    write(device, profile, 180, &profile.pattern(1, 3));
    good(plain(device, &[0x04, 0, 0, 0, 0, 0]));
    assert!(read(device, profile, 180, 1).iter().all(|byte| *byte == 0));
    bad_field(plain(device, &[0x04, 0x80, 0, 0, 0, 0]));
}

/// WRITE BUFFER and READ BUFFER in data mode.
pub(crate) fn check_buffer(device: &dyn ScsiDevice, _: &Profile) {
    good(out(device, &[0x3b, 2, 0, 0, 0, 16, 0, 0, 4, 0], &[1, 2, 3, 4]));
    assert_eq!(ask(device, &[0x3c, 2, 0, 0, 0, 17, 0, 0, 2, 0], 8), [2, 3]);
    let descriptor = ask(device, &[0x3c, 3, 0, 0, 0, 0, 0, 0, 4, 0], 4);
    assert!(u32::from_be_bytes([0, descriptor[1], descriptor[2], descriptor[3]]) >= 4096);
    bad_field(out(device, &[0x3b, 2, 0, 0xff, 0xff, 0xff, 0, 0, 4, 0], &[1, 2, 3, 4]));
}

/// A medium without protection information takes none.
pub(crate) fn check_protection(device: &dyn ScsiDevice, profile: &Profile) {
    let protect = Access { protect: 1, ..Access::default() };
    let block = vec![0; profile.bytes(1) + 8];
    let sense = bad_field(out(device, &build::write_10(0, 1, protect), &block));
    assert_eq!(sense.field_pointer().and_then(|field| field.bit), Some(7));
    bad_field(fetch(device, &build::read_16(0, 1, protect), block.len()).0);
}

/// ILLEGAL REQUEST points at what it does not like.
pub(crate) fn check_field_pointers(device: &dyn ScsiDevice, profile: &Profile) {
    let pointer = |outcome| bad_field(outcome).field_pointer().map(|field| (field.in_cdb, field.byte, field.bit));
    let verify = plain(device, &cdb_10(0x2f, 0x04, 0, 1));
    assert_eq!(pointer(verify), Some((true, 1, Some(2))), "BYTCHK");
    if profile.has(Feature::OwnLuns) {
        let luns = fetch(device, &build::report_luns(9, 64), 64).0;
        assert_eq!(pointer(luns), Some((true, 2, Some(7))), "SELECT REPORT");
    }
    let none = [0, 0, 0, 0, 0x2e, 2, 0, 0];
    let outcome = out(device, &build::mode_select_6(false, 8), &none);
    let field = refused(outcome, SenseKey::IllegalRequest, 0x26, 0).field_pointer().expect("a pointer");
    assert_eq!((field.in_cdb, field.byte), (false, 4));
}

fn control_page(device: &dyn ScsiDevice, control: u8) -> Vec<u8> {
    let mode = build::ModePage { page: 0x0a, dbd: true, control, ..build::ModePage::default() };
    let mut page = ask(device, &build::mode_sense_6(mode, 255), 255)[4..].to_vec();
    page[0] &= 0x7f;
    page
}

fn select(device: &dyn ScsiDevice, save: bool, page: &[u8]) {
    let list = [&[0, 0, 0, 0][..], page].concat();
    good(out(device, &build::mode_select_6(save, list.len() as u8), &list));
}

/// D_SENSE in the control page: sense data in descriptors, with addresses of 64 bits.
pub(crate) fn check_descriptor_sense(device: &dyn ScsiDevice, _: &Profile) {
    let before = control_page(device, 0);
    let mut page = before.clone();
    page[2] |= 0x04;
    select(device, false, &page);
    let outcome = plain(device, &[0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sense = refused(outcome, SenseKey::IllegalRequest, 0x20, 0);
    assert_eq!(sense.format, formats::scsi::SenseFormat::Descriptor);
    select(device, false, &before);
}

/// A bit that cannot be changed is refused, with its byte, and nothing else of the list is changed.
pub(crate) fn check_unchangeable_modes(device: &dyn ScsiDevice, _: &Profile) {
    let before = control_page(device, 0);
    assert_eq!(control_page(device, 1)[8..10], [0, 0], "the time-out cannot be changed");
    let mut page = before.clone();
    page[2] ^= 0x04;
    page[8] ^= 0x01;
    let list = [&[0, 0, 0, 0][..], &page].concat();
    let outcome = out(device, &build::mode_select_6(false, list.len() as u8), &list);
    let field = refused(outcome, SenseKey::IllegalRequest, 0x26, 0).field_pointer().expect("a pointer");
    assert_eq!((field.in_cdb, field.byte), (false, 4 + 8));
    assert_eq!(control_page(device, 0), before);
    let odd = [&[0, 0, 0, 0][..], &before, &[0]].concat();
    let outcome = out(device, &build::mode_select_6(false, odd.len() as u8), &odd);
    refused(outcome, SenseKey::IllegalRequest, 0x1a, 0);
}

/// SP keeps a page beyond the current values; PC says which version is told.
pub(crate) fn check_saved_modes(device: &dyn ScsiDevice, _: &Profile) {
    let before = control_page(device, 0);
    let mut page = before.clone();
    page[2] ^= 0x04;
    select(device, true, &page);
    select(device, false, &before);
    assert_eq!((control_page(device, 3), control_page(device, 0)), (page, before.clone()));
    assert_eq!(control_page(device, 2), before, "as at the factory");
    select(device, true, &before);
}

fn reserve(
    device: &dyn ScsiDevice,
    action: ReserveOut,
    kind: ReservationType,
    key: u64,
    action_key: u64,
) -> ScsiStatus {
    let list = build::reserve_parameters(key, action_key, false);
    out(device, &build::persistent_reserve_out(action, kind, list.len() as u32), &list).status
}

/// PERSISTENT RESERVE OUT by one nexus: in order, and in every wrong order.
pub(crate) fn check_reservation(device: &dyn ScsiDevice, _: &Profile) {
    use ReservationType as Type;
    let (good, conflict) = (ScsiStatus::Good, ScsiStatus::ReservationConflict);
    assert_eq!(reserve(device, ReserveOut::Reserve, Type::WriteExclusive, 7, 0), conflict, "not registered");
    assert_eq!(reserve(device, ReserveOut::Register, Type::None, 5, 7), conflict, "no such key");
    assert_eq!(reserve(device, ReserveOut::Register, Type::None, 0, 7), good);
    let keys = ask(device, &build::persistent_reserve_in(ReserveIn::ReadKeys, 64), 64);
    assert_eq!(keys[4..], [&8u32.to_be_bytes()[..], &7u64.to_be_bytes()].concat());
    assert_eq!(reserve(device, ReserveOut::Reserve, Type::WriteExclusive, 8, 0), conflict, "another key");
    assert_eq!(reserve(device, ReserveOut::Reserve, Type::WriteExclusive, 7, 0), good);
    assert_eq!(reserve(device, ReserveOut::Reserve, Type::WriteExclusive, 7, 0), good, "again");
    assert_eq!(reserve(device, ReserveOut::Reserve, Type::ExclusiveAccess, 7, 0), conflict, "another type");
    let held = ask(device, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64);
    assert_eq!((held.len(), held[7], held[21]), (24, 16, 1));
    let list = build::reserve_parameters(7, 0, false);
    let release = build::persistent_reserve_out(ReserveOut::Release, Type::ExclusiveAccess, 24);
    refused(out(device, &release, &list), SenseKey::IllegalRequest, 0x26, 0x04);
    assert_eq!(reserve(device, ReserveOut::Release, Type::WriteExclusive, 7, 0), good);
    assert_eq!(ask(device, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64).len(), 8);
    let short = build::persistent_reserve_out(ReserveOut::Clear, Type::None, 16);
    refused(out(device, &short, &list[..16]), SenseKey::IllegalRequest, 0x1a, 0);
    assert_eq!(reserve(device, ReserveOut::Clear, Type::None, 7, 0), good);
    assert_eq!(ask(device, &build::persistent_reserve_in(ReserveIn::ReadKeys, 64), 64).len(), 8);
    let capabilities = ask(device, &build::persistent_reserve_in(ReserveIn::ReportCapabilities, 64), 64);
    assert_eq!((capabilities[1], capabilities[4], capabilities[5]), (8, 0xea, 0x01));
}

//! What every disk must do, the simulated one and scsi_debug (Linux, drivers/scsi/scsi_debug.c) alike. Each function needs
//! nothing but a device; where scsi_debug answers otherwise than the standards, its comment says so.

use formats::scsi::build::{self, Access, ModePage, Same, Tags};
use formats::scsi::{Blocks, LbaRange, ScsiStatus, SenseKey, list};
use replayer::scsi::ScsiDevice;

use super::{
    Check, Feature, Profile, ask, bad_field, bad_opcode, cdb_10, cdb_16, fetch, good, out, out_of_range, plain, read,
    refused, settle, write,
};

/// All of them that run on any disk.
pub(crate) const CHECKS: &[Check] = &[
    Check { name: "ready", needs: &[], run: check_ready },
    Check { name: "inquiry", needs: &[], run: check_inquiry },
    Check { name: "inquiry page without EVPD", needs: &[Feature::Strict], run: check_inquiry_page_without_evpd },
    Check { name: "vital product data", needs: &[], run: check_vital_product_data },
    Check { name: "block limits", needs: &[], run: check_block_limits },
    Check { name: "capacity", needs: &[], run: check_capacity },
    Check { name: "report luns", needs: &[Feature::OwnLuns], run: check_report_luns },
    Check { name: "request sense", needs: &[], run: check_request_sense },
    Check { name: "unknown commands", needs: &[], run: check_unknown_commands },
    Check { name: "write and read in all lengths", needs: &[], run: check_lengths },
    Check { name: "nothing to move", needs: &[], run: check_nothing_to_move },
    Check { name: "out of range", needs: &[], run: check_out_of_range },
    Check { name: "residual of a read", needs: &[], run: check_read_residual },
    Check { name: "forced unit access", needs: &[], run: check_fua },
    Check { name: "verify", needs: &[], run: check_verify },
    Check { name: "verify looks at addresses", needs: &[Feature::Strict], run: check_verify_range },
    Check { name: "compare and write", needs: &[], run: check_compare_and_write },
    Check { name: "write same", needs: &[], run: check_write_same },
    Check { name: "write same to the end", needs: &[Feature::Strict], run: check_write_same_to_end },
    Check { name: "synchronize cache", needs: &[], run: check_synchronize_cache },
    Check { name: "pre-fetch", needs: &[], run: check_pre_fetch },
    Check { name: "unmap", needs: &[Feature::Thin], run: check_unmap },
    Check { name: "unmap out of range", needs: &[Feature::Thin], run: check_unmap_out_of_range },
    Check { name: "write same with unmap", needs: &[Feature::Thin], run: check_write_same_unmap },
    Check { name: "provisioning is told", needs: &[Feature::Thin], run: check_provisioning_page },
    Check { name: "mode sense", needs: &[], run: check_mode_sense },
    Check { name: "mode select of the write cache", needs: &[], run: check_write_cache_mode },
    Check { name: "mode select refused", needs: &[], run: check_mode_select_refused },
    Check { name: "software write protect", needs: &[], run: check_software_write_protect },
    Check { name: "log sense", needs: &[], run: check_log_sense },
    Check { name: "stop and start", needs: &[], run: check_stop_and_start },
];

/// TEST UNIT READY.
pub(crate) fn check_ready(device: &dyn ScsiDevice, _: &Profile) {
    good(plain(device, &build::test_unit_ready()));
}

/// Standard INQUIRY data: a disk, in the one format there is, as long as it says; cut to the allocation length.
pub(crate) fn check_inquiry(device: &dyn ScsiDevice, _: &Profile) {
    let data = ask(device, &build::inquiry(None, 255), 255);
    assert_eq!((data[0] & 0x1f, data[3] & 0x0f), (0, 2));
    assert_eq!(data.len(), usize::from(data[4]) + 5);
    assert!(data[2] >= 5, "SPC-3 or newer");
    let head = ask(device, &build::inquiry(None, 36), 64);
    assert_eq!(head, data[..36], "no more than was allocated");
}

/// A page code needs EVPD. scsi_debug ignores it.
pub(crate) fn check_inquiry_page_without_evpd(device: &dyn ScsiDevice, _: &Profile) {
    let (outcome, _) = fetch(device, &[0x12, 0, 0x80, 0, 255, 0], 255);
    let field = bad_field(outcome).field_pointer().expect("it points at the field");
    assert_eq!((field.in_cdb, field.byte), (true, 2));
}

/// Every page that is said to be there is, under its own number; others are not.
pub(crate) fn check_vital_product_data(device: &dyn ScsiDevice, _: &Profile) {
    let supported = ask(device, &build::inquiry(Some(0), 255), 255);
    let pages = &supported[4..];
    assert_eq!(usize::from(supported[3]), pages.len());
    assert!(pages.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    assert!([0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2].iter().all(|page| pages.contains(page)), "{pages:02x?}");
    for page in pages {
        let data = ask(device, &build::inquiry(Some(*page), 1024), 1024);
        assert_eq!(data[1], *page);
        assert_eq!(data.len(), usize::from(u16::from_be_bytes([data[2], data[3]])) + 4, "page {page:#04x}");
    }
    bad_field(fetch(device, &build::inquiry(Some(0xd7), 255), 255).0);
}

/// Block limits in the length of SBC-3 and later.
pub(crate) fn check_block_limits(device: &dyn ScsiDevice, _: &Profile) {
    let data = ask(device, &build::inquiry(Some(0xb0), 255), 255);
    assert_eq!(data[3], 0x3c);
    let most = u32::from_be_bytes([data[8], data[9], data[10], data[11]]);
    assert!(most == 0 || most >= 256, "WRITE(6) can be used: {most}");
}

/// Both forms of READ CAPACITY tell the same, and LBPME whether the disk is thin.
pub(crate) fn check_capacity(device: &dyn ScsiDevice, profile: &Profile) {
    let short = ask(device, &build::read_capacity_10(), 8);
    let last = u32::try_from(profile.blocks - 1).unwrap_or(u32::MAX);
    assert_eq!(short[..4], last.to_be_bytes());
    assert_eq!(short[4..8], profile.block_size.to_be_bytes());
    let long = ask(device, &build::read_capacity_16(32), 32);
    assert_eq!(long[..8], (profile.blocks - 1).to_be_bytes());
    assert_eq!(long[8..12], profile.block_size.to_be_bytes());
    assert_eq!(long[14] & 0xc0 == 0xc0, profile.has(Feature::Thin), "LBPME and LBPRZ");
}

/// LUN 0 is there; other kinds of lists than 0 to 2 are not.
pub(crate) fn check_report_luns(device: &dyn ScsiDevice, _: &Profile) {
    let data = ask(device, &build::report_luns(0, 4096), 4096);
    let length = u32::from_be_bytes([data[0], data[1], data[2], data[3]]) as usize;
    assert_eq!((length % 8, data.len()), (0, length + 8));
    assert!(data[8..].chunks(8).any(|lun| lun == [0; 8]));
    bad_field(fetch(device, &build::report_luns(0x20, 4096), 4096).0);
}

/// Nothing to tell, in both formats.
pub(crate) fn check_request_sense(device: &dyn ScsiDevice, _: &Profile) {
    for desc in [false, true] {
        let data = ask(device, &build::request_sense(desc, 252), 252);
        let sense = formats::scsi::Sense::decode(&data).expect("sense data");
        assert_eq!(sense.key, SenseKey::NoSense);
        assert_eq!(data[0] & 0x7f, if desc { 0x72 } else { 0x70 });
    }
}

/// What a disk does not know: vendors' commands, ATA pass-through, zones, a tape's commands, and service actions.
pub(crate) fn check_unknown_commands(device: &dyn ScsiDevice, _: &Profile) {
    bad_opcode(plain(device, &[0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    bad_opcode(plain(device, &[0x02, 0, 0, 0, 0, 0]));
    bad_opcode(plain(device, &[0x85, 3 << 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe5, 0]));
    bad_opcode(plain(device, &[0xa1, 3 << 1, 0, 0, 0, 0, 0, 0, 0, 0xe5, 0, 0]));
    bad_opcode(fetch(device, &cdb_16(0x95, 0, 0, 64), 64).0);
    bad_opcode(plain(device, &cdb_16(0x94, 1, 0, 0)));
    let sense = bad_field(fetch(device, &cdb_16(0x9e, 0x1e, 0, 32), 32).0);
    assert_eq!(sense.field_pointer().map(|field| field.byte), Some(1), "the service action");
}

/// WRITE and READ in every length move the same blocks.
pub(crate) fn check_lengths(device: &dyn ScsiDevice, profile: &Profile) {
    let lba = 16;
    let mut write_32 = [0; 32];
    write_32.copy_from_slice(&build::write_32(lba.into(), 3, Access::default(), Tags::default()));
    let mut read_32 = write_32;
    read_32[9] = 0x09;
    let (six, twelve) = ([0x08, 0, 0, 16, 3, 0], cdb_12(0xa8, lba, 3));
    let write_6 = build::write_6(lba, 3).expect("fits");
    let pairs: [(&[u8], &[u8]); 5] = [
        (&write_6, &read_32),
        (&build::write_10(lba, 3, Access::default()), &six),
        (&build::write_12(lba, 3, Access::default()), &build::read_16(lba.into(), 3, Access::default())),
        (&build::write_16(lba.into(), 3, Access::default()), &twelve),
        (&write_32, &build::read_10(lba, 3, Access::default())),
    ];
    for (seed, (write, read)) in pairs.into_iter().enumerate() {
        let data = profile.pattern(3, seed as u8);
        good(out(device, write, &data));
        assert!(ask(device, read, data.len()) == data, "{write:02x?} {read:02x?}");
    }
    // A length of 0 is 256 blocks for the six-byte ones.
    let data = profile.pattern(256, 9);
    good(out(device, &build::write_6(lba, 256).expect("fits"), &data));
    assert!(ask(device, &[0x08, 0, 0, 16, 0, 0], data.len()) == data);
}

fn cdb_12(opcode: u8, lba: u32, length: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = opcode;
    bytes[2..6].copy_from_slice(&lba.to_be_bytes());
    bytes[6..10].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Transfers of no blocks are no errors. (WRITE SAME is another matter.)
pub(crate) fn check_nothing_to_move(device: &dyn ScsiDevice, profile: &Profile) {
    let before = read(device, profile, 0, 1);
    good(plain(device, &build::write_10(0, 0, Access::default())));
    good(plain(device, &build::write_16(0, 0, Access::default())));
    good(plain(device, &build::read_10(0, 0, Access::default())));
    good(plain(device, &build::compare_and_write(0, 0, Access::default())));
    good(plain(device, &cdb_10(0x2f, 0, 0, 0)));
    assert!(read(device, profile, 0, 1) == before);
}

/// The last block is there, the one behind it is not, and a command that goes beyond changes nothing.
pub(crate) fn check_out_of_range(device: &dyn ScsiDevice, profile: &Profile) {
    let (last, block) = (profile.blocks - 1, profile.pattern(1, 3));
    write(device, profile, last, &block);
    let two = profile.pattern(2, 4);
    out_of_range(out(device, &build::write_16(last, 2, Access::default()), &two));
    // To scsi_debug the sum of these wraps to 0, and it writes somewhere.
    if profile.has(Feature::Strict) {
        out_of_range(out(device, &build::write_16(u64::MAX, 1, Access::default()), &block));
    }
    out_of_range(out(device, &build::compare_and_write(profile.blocks, 1, Access::default()), &two));
    out_of_range(fetch(device, &build::read_16(last, 2, Access::default()), two.len()).0);
    out_of_range(fetch(device, &build::read_16(profile.blocks, 1, Access::default()), block.len()).0);
    let same = build::write_same_16(last, Blocks::Count(2), Same::default()).expect("fits");
    out_of_range(out(device, &same, &block));
    assert!(read(device, profile, last, 1) == block);
}

/// More room than blocks: the rest is the residual.
pub(crate) fn check_read_residual(device: &dyn ScsiDevice, profile: &Profile) {
    let block = profile.pattern(1, 5);
    write(device, profile, 8, &block);
    let (outcome, bytes) = fetch(device, &build::read_10(8, 1, Access::default()), profile.bytes(3));
    good(outcome);
    assert_eq!(outcome.residual as usize, profile.bytes(2));
    assert!(bytes == block);
}

/// FUA and DPO are taken by both.
pub(crate) fn check_fua(device: &dyn ScsiDevice, profile: &Profile) {
    let (block, access) = (profile.pattern(1, 6), Access { dpo: true, ..Access::FUA });
    good(out(device, &build::write_10(9, 1, access), &block));
    assert!(ask(device, &build::read_10(9, 1, access), block.len()) == block);
}

/// VERIFY compares all blocks, or each with the one that is sent.
pub(crate) fn check_verify(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(2, 7);
    write(device, profile, 20, &data);
    good(plain(device, &cdb_10(0x2f, 0, 20, 2)));
    good(out(device, &cdb_10(0x2f, 0x02, 20, 2), &data));
    good(out(device, &cdb_16(0x8f, 0x02, 20, 2), &data));
    let other = profile.pattern(2, 8);
    refused(out(device, &cdb_10(0x2f, 0x02, 20, 2), &other), SenseKey::Miscompare, 0x1d, 0);
    let block = profile.pattern(1, 9);
    write(device, profile, 20, &block.repeat(2));
    good(out(device, &cdb_16(0x8f, 0x06, 20, 2), &block));
    refused(out(device, &cdb_16(0x8f, 0x06, 20, 2), &other[..block.len()]), SenseKey::Miscompare, 0x1d, 0);
    bad_field(plain(device, &cdb_10(0x2f, 0x04, 20, 1)));
}

/// VERIFY without comparing looks at the addresses too. scsi_debug says that all is well.
pub(crate) fn check_verify_range(device: &dyn ScsiDevice, profile: &Profile) {
    out_of_range(plain(device, &cdb_16(0x8f, 0, profile.blocks, 1)));
}

/// COMPARE AND WRITE writes where the first half is what is there, and else nothing.
pub(crate) fn check_compare_and_write(device: &dyn ScsiDevice, profile: &Profile) {
    let (old, new) = (profile.pattern(2, 1), profile.pattern(2, 2));
    write(device, profile, 30, &old);
    let command = build::compare_and_write(30, 2, Access::default());
    good(out(device, &command, &[&old[..], &new].concat()));
    assert!(read(device, profile, 30, 2) == new);
    let outcome = out(device, &command, &[&old[..], &old].concat());
    let sense = refused(outcome, SenseKey::Miscompare, 0x1d, 0);
    // scsi_debug does not say where.
    if profile.has(Feature::Strict) {
        let differs = old.iter().zip(&new).position(|(one, other)| one != other);
        assert_eq!(sense.information, differs.map(|at| at as u64));
    }
    assert!(read(device, profile, 30, 2) == new);
}

/// WRITE SAME repeats its block, or zeros with NDOB.
pub(crate) fn check_write_same(device: &dyn ScsiDevice, profile: &Profile) {
    let (block, border) = (profile.pattern(1, 3), profile.pattern(1, 4));
    write(device, profile, 40, &border.repeat(6));
    let same = build::write_same_16(41, Blocks::Count(4), Same::default()).expect("fits");
    good(out(device, &same, &block));
    assert!(read(device, profile, 40, 6) == [&border[..], &block.repeat(4), &border].concat());
    let same = build::write_same_10(42, Blocks::Count(2), Same::default()).expect("fits");
    good(out(device, &same, &border));
    assert!(read(device, profile, 42, 2) == border.repeat(2));
    let ndob = Same { ndob: true, ..Same::default() };
    good(plain(device, &build::write_same_16(41, Blocks::Count(3), ndob).expect("fits")));
    assert!(read(device, profile, 41, 3).iter().all(|byte| *byte == 0));
    assert!(read(device, profile, 44, 1) == block);
}

/// A length of 0 goes to the end. To scsi_debug it is one block.
pub(crate) fn check_write_same_to_end(device: &dyn ScsiDevice, profile: &Profile) {
    let (block, from) = (profile.pattern(1, 5), profile.blocks - 3);
    let same = build::write_same_16(from, Blocks::ToEnd, Same::default()).expect("fits");
    good(out(device, &same, &block));
    assert!(read(device, profile, from, 3) == block.repeat(3));
}

/// SYNCHRONIZE CACHE of all, of a part, and not beyond the end.
pub(crate) fn check_synchronize_cache(device: &dyn ScsiDevice, profile: &Profile) {
    write(device, profile, 3, &profile.pattern(2, 6));
    good(plain(device, &build::synchronize_cache_10(3, Blocks::Count(2), false).expect("fits")));
    good(plain(device, &build::synchronize_cache_16(0, Blocks::ToEnd, false).expect("fits")));
    good(plain(device, &build::flush()));
    let beyond = build::synchronize_cache_16(profile.blocks, Blocks::Count(1), false).expect("fits");
    out_of_range(plain(device, &beyond));
}

/// PRE-FETCH answers CONDITION MET when the blocks fit the cache.
pub(crate) fn check_pre_fetch(device: &dyn ScsiDevice, profile: &Profile) {
    let outcome = plain(device, &cdb_10(0x34, 0, 0, 8));
    assert!(matches!(outcome.status, ScsiStatus::ConditionMet | ScsiStatus::Good) && outcome.is_good(), "{outcome}");
    out_of_range(plain(device, &cdb_16(0x90, 0, profile.blocks, 1)));
}

/// PROVISIONING STATUS of a block, and for how many it holds from there on.
fn status(device: &dyn ScsiDevice, lba: u64) -> (u8, u32) {
    let data = ask(device, &build::get_lba_status_16(lba, 24), 24);
    assert_eq!(data[8..16], lba.to_be_bytes());
    (data[20] & 0x0f, u32::from_be_bytes([data[16], data[17], data[18], data[19]]))
}

/// UNMAP takes the space of its runs, which read as zeros, and of no others; a write gives it back. (A list whose
/// lengths disagree is not sent: scsi_debug answers it with BUG_ON.)
pub(crate) fn check_unmap(device: &dyn ScsiDevice, profile: &Profile) {
    let data = profile.pattern(16, 7);
    write(device, profile, 64, &data);
    let runs = [LbaRange::new(65, 2), LbaRange::new(70, 0), LbaRange::new(72, 4)];
    let (cdb, parameters) = build::unmap(&runs, false).expect("fits");
    good(out(device, &cdb, &parameters));
    let mut expected = data.clone();
    expected[profile.bytes(1)..profile.bytes(3)].fill(0);
    expected[profile.bytes(8)..profile.bytes(12)].fill(0);
    assert!(read(device, profile, 64, 16) == expected);
    assert_eq!(status(device, 64), (0, 1));
    assert_eq!(status(device, 65), (1, 2));
    assert_eq!(status(device, 73), (1, 3));
    write(device, profile, 66, &data[..profile.bytes(1)]);
    assert_eq!((status(device, 65), status(device, 66).0), ((1, 1), 0));
    // To scsi_debug a list of no bytes has too many descriptors.
    if profile.has(Feature::Strict) {
        good(plain(device, &[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
}

/// UNMAP beyond the end. Descriptors before the one that is not well have been unmapped by scsi_debug.
pub(crate) fn check_unmap_out_of_range(device: &dyn ScsiDevice, profile: &Profile) {
    write(device, profile, 80, &profile.pattern(1, 8));
    let (cdb, parameters) =
        build::unmap(&[LbaRange::new(80, 1), LbaRange::new(profile.blocks, 1)], false).expect("fits");
    out_of_range(out(device, &cdb, &parameters));
    if profile.has(Feature::Strict) {
        assert!(read(device, profile, 80, 1) == profile.pattern(1, 8));
        assert_eq!(list::unmap_ranges(&parameters).map(|runs| runs.len()), Ok(2));
    }
    out_of_range(fetch(device, &build::get_lba_status_16(profile.blocks, 24), 24).0);
}

/// WRITE SAME of zeros with UNMAP takes the space. With other data it is written; scsi_debug unmaps that too.
pub(crate) fn check_write_same_unmap(device: &dyn ScsiDevice, profile: &Profile) {
    let unmap = Same { unmap: true, ..Same::default() };
    let zeros = vec![0; profile.bytes(1)];
    for ten in [false, true] {
        write(device, profile, 96, &profile.pattern(6, 9));
        let cdb = if ten {
            build::write_same_10(97, Blocks::Count(4), unmap)
        } else {
            build::write_same_16(97, Blocks::Count(4), unmap)
        };
        good(out(device, &cdb.expect("fits"), &zeros));
        assert!(read(device, profile, 97, 4).iter().all(|byte| *byte == 0));
        assert_eq!((status(device, 96).0, status(device, 97), status(device, 101).0), (0, (1, 4), 0));
    }
    if profile.has(Feature::Strict) {
        let block = profile.pattern(1, 2);
        good(out(device, &build::write_same_16(97, Blocks::Count(2), unmap).expect("fits"), &block));
        assert!(read(device, profile, 97, 2) == block.repeat(2));
        assert_eq!(status(device, 97).0, 0);
    }
}

/// The logical block provisioning page tells how blocks can be unmapped.
pub(crate) fn check_provisioning_page(device: &dyn ScsiDevice, _: &Profile) {
    let data = ask(device, &build::inquiry(Some(0xb2), 64), 64);
    assert_eq!(data[5] & 0xe0, 0xe0, "LBPU, LBPWS and LBPWS10");
    assert_eq!(data[5] >> 2 & 0x07, 1, "LBPRZ");
}

fn page(page: u8) -> ModePage {
    ModePage { page, dbd: true, ..ModePage::default() }
}

/// A mode page by MODE SENSE(6), without header.
fn mode_page(device: &dyn ScsiDevice, mode: ModePage) -> Vec<u8> {
    let data = ask(device, &build::mode_sense_6(mode, 255), 255);
    assert_eq!((usize::from(data[0]) + 1, data[3]), (data.len(), 0));
    let mut bytes = data[4..].to_vec();
    // PS is told and never sent.
    bytes[0] &= 0x7f;
    bytes
}

/// Both lengths tell the same pages; the caching, control and error recovery pages are there, and no others.
pub(crate) fn check_mode_sense(device: &dyn ScsiDevice, profile: &Profile) {
    for code in [0x01, 0x08, 0x0a] {
        let short = mode_page(device, page(code));
        assert_eq!((short[0] & 0x3f, usize::from(short[1]) + 2), (code, short.len()));
        let long = ask(device, &build::mode_sense_10(page(code), 255), 255);
        assert_eq!(usize::from(u16::from_be_bytes([long[0], long[1]])) + 2, long.len());
        assert_eq!((long[8] & 0x7f, &long[9..]), (short[0], &short[1..]));
    }
    let all = mode_page(device, page(0x3f));
    let mut rest = &all[..];
    let mut codes = vec![];
    while let [code, length, ..] = *rest {
        codes.push(code & 0x3f);
        rest = &rest[usize::from(length) + 2..];
    }
    assert!([0x01, 0x08, 0x0a].iter().all(|code| codes.contains(code)), "{codes:02x?}");
    bad_field(fetch(device, &build::mode_sense_6(page(0x2e), 255), 255).0);
    let descriptor = ask(device, &build::mode_sense_6(ModePage { dbd: false, ..page(0x08) }, 255), 255);
    assert_eq!(descriptor[3], 8);
    assert_eq!(descriptor[9..12], profile.block_size.to_be_bytes()[1..]);
}

/// Sends pages by MODE SELECT(6) and hears the attention that scsi_debug raises for the one that sent it.
fn select(device: &dyn ScsiDevice, pages: &[u8]) {
    let list = [&[0, 0, 0, 0][..], pages].concat();
    good(out(device, &build::mode_select_6(false, list.len() as u8), &list));
    settle(device);
}

/// WCE can be changed, and it is told that it can.
pub(crate) fn check_write_cache_mode(device: &dyn ScsiDevice, _: &Profile) {
    let changeable = mode_page(device, ModePage { control: 1, ..page(0x08) });
    assert_eq!(changeable[2] & 0x04, 0x04);
    let before = mode_page(device, page(0x08));
    let mut other = before.clone();
    other[2] ^= 0x04;
    select(device, &other);
    assert_eq!(mode_page(device, page(0x08))[2], other[2]);
    select(device, &before);
    assert_eq!(mode_page(device, page(0x08)), before);
}

/// A page that is not there or not as long as it is; a list that is too short.
pub(crate) fn check_mode_select_refused(device: &dyn ScsiDevice, _: &Profile) {
    let none = [0, 0, 0, 0, 0x2e, 2, 0, 0];
    refused(out(device, &build::mode_select_6(false, 8), &none), SenseKey::IllegalRequest, 0x26, 0);
    let mut cut = mode_page(device, page(0x0a));
    cut.truncate(6);
    let list = [&[0, 0, 0, 0][..], &cut].concat();
    refused(out(device, &build::mode_select_6(false, 10), &list), SenseKey::IllegalRequest, 0x1a, 0);
    settle(device);
}

/// SWP refuses writes with DATA PROTECT until it is cleared.
pub(crate) fn check_software_write_protect(device: &dyn ScsiDevice, profile: &Profile) {
    let block = profile.pattern(1, 5);
    write(device, profile, 5, &block);
    let before = mode_page(device, page(0x0a));
    let mut protected = before.clone();
    protected[4] |= 0x08;
    select(device, &protected);
    let (one, other) = (build::write_10(5, 1, Access::default()), profile.pattern(1, 6));
    let sense = *out(device, &one, &other).current_sense().expect("it is refused");
    assert_eq!((sense.key, sense.asc.code), (SenseKey::DataProtect, 0x27));
    let header = ask(device, &build::mode_sense_6(page(0x0a), 255), 255);
    assert_eq!(header[2] & 0x80, 0x80, "WP in the header");
    assert!(read(device, profile, 5, 1) == block, "reading goes on");
    select(device, &before);
    good(out(device, &one, &other));
}

/// The list of log pages holds itself, and each page of it is there.
pub(crate) fn check_log_sense(device: &dyn ScsiDevice, _: &Profile) {
    let log = |page: u8| [0x4d, 0, 0x40 | page, 0, 0, 0, 0, 0x02, 0, 0];
    let supported = ask(device, &log(0), 512);
    let pages = &supported[4..];
    assert!(pages.contains(&0), "{pages:02x?}");
    for page in pages {
        let data = ask(device, &log(*page), 512);
        assert_eq!(data[0] & 0x3f, *page);
        assert_eq!(data.len(), usize::from(u16::from_be_bytes([data[2], data[3]])) + 4);
    }
    bad_field(fetch(device, &log(0x3e), 512).0);
}

/// Stopped, the medium is not ready and the rest goes on; started, all is as before.
pub(crate) fn check_stop_and_start(device: &dyn ScsiDevice, profile: &Profile) {
    let block = profile.pattern(1, 7);
    write(device, profile, 6, &block);
    good(plain(device, &build::start_stop_unit(false, false, false)));
    refused(plain(device, &build::test_unit_ready()), SenseKey::NotReady, 0x04, 0x02);
    refused(fetch(device, &build::read_10(6, 1, Access::default()), block.len()).0, SenseKey::NotReady, 0x04, 0x02);
    ask(device, &build::inquiry(None, 36), 36);
    good(plain(device, &build::start_stop_unit(true, false, false)));
    settle(device);
    assert!(read(device, profile, 6, 1) == block);
}

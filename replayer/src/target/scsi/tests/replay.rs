//! Captured commands, issued again.

use super::*;
use pool::Outcome as Done;

const AS_ASKED: Done = Done::Applied(Effect::AsAsked);
const EMULATED: Done = Done::Applied(Effect::Emulated);

#[test]
fn a_write_is_the_same_cdb_without_the_primarys_hints() {
    let rig = Rig::new();
    let access = Access { fua: true, group: 5, ..Access::default() };
    let shot = Shot::write(3, &build::write_16(3, 2, access), &[7; 1024]);
    assert_eq!(shot.apply(&rig).unwrap(), AS_ASKED);
    let seen = rig.device.take_seen(&[0x8a, 0x2a]);
    assert_eq!(
        (seen[0].cdb.as_slice(), seen[0].out.as_slice()),
        (&*build::write_16(3, 2, Access::FUA), &[7; 1024][..])
    );
    assert_eq!((seen.len(), rig.content(3, 2)), (1, vec![7; 1024]));
}

#[test]
fn addresses_are_moved_in_cdb_and_list() {
    let rig = Rig::with(Fake::disk(BLOCKS), |options| options.mapping = "lba=+9".parse().unwrap());
    Shot::write(3, &build::write_10(3, 1, Access::default()), &[7; 512]).apply(&rig).unwrap();
    let (cdb, list) = build::unmap(&[LbaRange::new(4, 4)], false).unwrap();
    assert_eq!(Shot::new(&cdb, &list).apply(&rig).unwrap(), AS_ASKED);
    assert_eq!((rig.content(12, 1), rig.content(13, 4)), (vec![7; 512], vec![0; 2048]));
    // Up to the end of the primary is not up to the end of the standby.
    let same = build::write_same_10(250, Blocks::ToEnd, Same::default()).unwrap();
    let past = Shot::new(&same, &[1; 512]).apply(&rig).unwrap_err();
    assert!(matches!(past, ApplyError::Stopped { reason: StopReason::Unsupported, .. }), "{past}");
}

#[test]
fn write_same_to_the_end_ends_where_the_primary_does() {
    let rig = Rig::with(Fake::disk(BLOCKS + 10), |_| {});
    let same = build::write_same_10(BLOCKS as u32 - 2, Blocks::ToEnd, Same::default()).unwrap();
    assert_eq!(Shot::new(&same, &[1; 512]).apply(&rig).unwrap(), AS_ASKED);
    assert_eq!((rig.content(254, 2), rig.content(256, 1)), (vec![1; 1024], vec![0xaa; 512]));
}

#[test]
fn what_exceeds_the_standbys_limits_goes_in_pieces() {
    let rig = Rig::new();
    let same = build::write_same_16(0, Blocks::Count(80), Same::default()).unwrap();
    assert_eq!(Shot::new(&same, &[3; 512]).apply(&rig).unwrap(), AS_ASKED);
    let lens: Vec<_> = rig.cdbs(&[0x93]).iter().map(|cdb| cdb[13]).collect();
    assert_eq!((lens, rig.content(0, 80)), (vec![32, 32, 16], vec![3; 80 * 512]));
    let runs = [LbaRange::new(0, 4), LbaRange::new(8, 20), LbaRange::new(40, 4)];
    let (cdb, list) = build::unmap(&runs, false).unwrap();
    assert_eq!(Shot::new(&cdb, &list).apply(&rig).unwrap(), AS_ASKED);
    assert_eq!((rig.cdbs(&[0x42]).len(), rig.hits("zeros-not-taken")), (2, 0));
    assert!(rig.content(8, 20).iter().all(|byte| *byte == 0) && rig.content(4, 4) == [3; 2048]);
}

#[test]
fn an_opcode_that_the_standby_lacks_becomes_plain_writes() {
    let rig = Rig::new();
    let mut atomic = [0; 16];
    (atomic[0], atomic[1], atomic[9], atomic[13]) = (0x9c, 0x08, 5, 1);
    assert_eq!(Shot::write(5, &atomic, &[4; 512]).apply(&rig).unwrap(), EMULATED);
    let expected = [atomic.to_vec(), build::write_10(5, 1, Access::default()).to_vec(), build::flush().to_vec()];
    assert_eq!(rig.cdbs(&[0x9c, 0x2a, 0x35]), expected, "durable by a flush");
    assert_eq!((rig.content(5, 1), rig.hits("write-not-taken")), (vec![4; 512], 1));
    rig.device.lock().lacks = vec![0x42];
    let (cdb, list) = build::unmap(&[LbaRange::new(4, 4)], false).unwrap();
    assert_eq!(Shot::new(&cdb, &list).apply(&rig).unwrap(), EMULATED);
    assert_eq!((rig.content(4, 4), rig.hits("zeros-not-taken")), (vec![0; 2048], 1));
    // Longer than the kernel takes: the same way.
    rig.device.answer(0x7f, Err(io::Error::from_raw_os_error(libc::EMSGSIZE)));
    let long = build::write_32(9, 1, Access::default(), build::Tags::default());
    assert_eq!(Shot::write(9, &long, &[8; 512]).apply(&rig).unwrap(), EMULATED);
    assert_eq!(rig.content(9, 1), [8; 512]);
}

#[test]
fn an_unmap_to_zeros_is_written_where_the_standby_does_not_promise_zeros() {
    let vague = Fake::disk(BLOCKS);
    vague.lock().pages[4].1[1] = 0xc0;
    vague.lock().lacks = vec![0x9e];
    let rig = Rig::with(vague, |_| {});
    let (cdb, list) = build::unmap(&[LbaRange::new(4, 4)], false).unwrap();
    assert_eq!(Shot::new(&cdb, &list).apply(&rig).unwrap(), EMULATED);
    assert_eq!((rig.content(4, 4), rig.cdbs(&[0x42]).len()), (vec![0; 2048], 0));
}

#[test]
fn compare_and_write_is_what_it_wrote() {
    let rig = Rig::new();
    let shot = Shot::new(&build::compare_and_write(6, 1, Access::default()), &[[1; 512], [2; 512]].concat());
    assert_eq!(shot.apply(&rig).unwrap(), AS_ASKED);
    assert_eq!((rig.content(6, 1), rig.hits("effect"), rig.cdbs(&[0x89]).len()), (vec![2; 512], 1, 0));
}

#[test]
fn reservations_end_as_on_the_primary() {
    let rig = Rig::new();
    let state = || {
        let disk = rig.device.lock();
        (disk.key, disk.held)
    };
    let none = ReservationType::None;
    reserve(ReserveOut::Register, none, (0, 0x11)).apply(&rig).unwrap();
    assert_eq!(state(), (0x11, 0));
    // Registered from another host of the primary: this nexus stands for that one, too.
    reserve(ReserveOut::Reserve, ReservationType::WriteExclusive, (0x22, 0)).apply(&rig).unwrap();
    assert_eq!(state(), (0x22, 1));
    reserve(ReserveOut::Preempt, ReservationType::ExclusiveAccess, (0x33, 0x22)).apply(&rig).unwrap();
    assert_eq!(state(), (0x33, 3));
    reserve(ReserveOut::Release, ReservationType::ExclusiveAccess, (0x33, 0)).apply(&rig).unwrap();
    assert_eq!(state(), (0x33, 0));
    reserve(ReserveOut::Clear, none, (0x33, 0)).apply(&rig).unwrap();
    assert_eq!(state(), (0, 0));
    let moved = reserve(ReserveOut::RegisterAndMove, none, (0x33, 0x44)).apply(&rig).unwrap();
    assert_eq!((moved, rig.hits("state-not-taken")), (Done::NotReplayable, 1));
}

#[test]
fn mode_pages_are_set_and_the_block_size_is_not() {
    let rig = Rig::new();
    let list = [&[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 2, 0, 0x08, 18][..], &[0; 18]].concat();
    let shot = Shot { range: ByteRange::default(), ..Shot::new(&build::mode_select_6(false, list.len() as u8), &list) };
    assert_eq!(shot.apply(&rig).unwrap(), AS_ASKED);
    let seen = rig.device.take_seen(&[0x15]);
    assert_eq!((seen[0].cdb[4], seen[0].out.len(), &seen[0].out[..6]), (24, 24, &[0, 0, 0, 0, 0x08, 18][..]));
}

#[test]
fn what_failed_on_the_primary_is_not_repeated() {
    let rig = Rig::new();
    let write = || Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]);
    let illegal = write().failed(check(SenseKey::IllegalRequest, 0x24, 0));
    assert_eq!(illegal.apply(&rig).unwrap(), Done::FailedOnPrimary);
    let medium = write().failed(check(SenseKey::MediumError, 0x0c, 0));
    assert_eq!(medium.apply(&rig).unwrap(), Done::FailedOnPrimary);
    // The block layer says that all was well, the device did not: nobody else will read it back.
    let hidden = Shot { status: Status::OK, ..write().failed(check(SenseKey::MediumError, 0x0c, 0)) };
    assert!(matches!(hidden.apply(&rig), Err(ApplyError::OutOfSync { .. })));
    assert!(rig.device.lock().seen.is_empty());
    assert_eq!((rig.hits("primary-illegal"), rig.hits("primary-write-error")), (1, 2));
    let deferred = formats::scsi::Sense { deferred: true, ..check(SenseKey::MediumError, 0x0c, 0).sense.unwrap() };
    let error = write().failed(Outcome::check(deferred)).apply(&rig).unwrap_err();
    assert!(matches!(error, ApplyError::OutOfSync { scope: replication::errors::Scope::SinceFlush, .. }), "{error}");
}

#[test]
fn an_unreadable_block_is_made_unreadable() {
    let rig = Rig::new();
    let sense = check(SenseKey::MediumError, 0x11, 0).sense.unwrap().with_lba(77);
    let read =
        Shot { transfer: Transfer::In, transfer_len: 512, ..Shot::new(&build::read_10(76, 4, Access::default()), &[]) };
    read.failed(Outcome::check(sense)).apply(&rig).unwrap();
    assert_eq!(rig.cdbs(&[0x9f]), [build::mark_unreadable(77, false).to_vec()]);
    Shot::new(&build::mark_unreadable(5, false), &[]).apply(&rig).unwrap();
    assert_eq!(rig.cdbs(&[0x9f]), [build::mark_unreadable(5, false).to_vec()]);
}

#[test]
fn commands_that_nobody_knows_or_nobody_repeats_stop_by_name() {
    let rig = Rig::new();
    let vendor = Shot::new(&[0xc1; 10], &[]).apply(&rig).unwrap_err();
    assert!(matches!(vendor, ApplyError::Stopped { reason: StopReason::OpaqueCommand, .. }));
    let text = vendor.to_string();
    assert!(text.contains("vendor specific operation code 0xc1") && text.contains("choose a rule"), "{text}");
    let mut reset = [0; 16];
    (reset[0], reset[1]) = (0x94, 0x04);
    let zone = Shot::new(&reset, &[]).apply(&rig).unwrap_err();
    assert!(matches!(zone, ApplyError::Stopped { reason: StopReason::RefusedCommand, .. }), "{zone}");
    let cut = Shot::new(&[0x2a, 0, 0], &[]).apply(&rig).unwrap_err();
    assert!(cut.to_string().contains("malformed CDB"), "{cut}");
    assert!(rig.device.lock().seen.is_empty());
}

#[test]
fn commands_for_another_device_are_refused() {
    let rig = Rig::with(Fake::disk(BLOCKS), |options| options.mapping.lun = Some(2));
    let write = || Shot { lun: 2, ..Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]) };
    assert_eq!(write().apply(&rig).unwrap(), AS_ASKED);
    let cases = [
        (Shot { block_size: 4096, ..write() }, "blocks of 4096 bytes"),
        (Shot { device: DeviceType::SIMPLE_DISK, ..write() }, "came for a disk"),
        (Shot { lun: 0, ..write() }, "stands for LUN 2"),
        (Shot { transfer_len: u32::MAX, ..write() }, "the entry is damaged"),
    ];
    for (shot, text) in cases {
        let error = shot.apply(&rig).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn what_was_not_carried_is_left_to_the_region() {
    let rig = Rig::new();
    let bare = || Shot { content: Vec::new(), ..Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]) };
    assert_eq!(bare().apply(&rig).unwrap(), Done::NotCarried);
    let flagged = Shot { flags: CommandFlags::DATA_MISSING, ..bare() };
    assert_eq!(flagged.apply(&rig).unwrap(), Done::NotCarried);
    let list = Shot { flags: CommandFlags::DATA_MISSING, ..Shot::new(&build::mode_select_6(false, 4), &[0; 4]) };
    assert!(matches!(list.apply(&rig), Err(ApplyError::NoEffect { .. })));
    // A discard without its list still has its range.
    let (cdb, _) = build::unmap(&[LbaRange::new(0, 1)], false).unwrap();
    let discard = Shot {
        op: Op::Discard,
        flags: CommandFlags::DATA_MISSING,
        transfer: Transfer::Out,
        transfer_len: 24,
        ..Shot::new(&cdb, &[])
    };
    discard.apply(&rig).unwrap();
    assert_eq!(rig.content(0, 1), [0; 512]);
}

#[test]
fn a_record_of_several_commands_is_written_by_its_range() {
    let rig = Rig::new();
    let last = build::write_10(2, 2, Access::default());
    assert_eq!(Shot::write(0, &last, &[6; 2048]).apply(&rig).unwrap(), AS_ASKED);
    assert_eq!(rig.content(0, 4), [6; 2048]);
}

#[test]
fn failures_of_the_standby_stop_it_by_name() {
    let rig = Rig::new();
    let write = Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]);
    (0..4).for_each(|_| rig.device.answer(0x2a, Ok(check(SenseKey::MediumError, 0x0c, 0x02))));
    let hole = write.apply(&rig).unwrap_err();
    assert!(matches!(hole, ApplyError::OutOfSync { scope: replication::errors::Scope::Range, .. }));
    let text = hole.to_string();
    assert!(text.contains("WRITE(10) lba 0 blocks 1 (row `write-error`, answered CHECK CONDITION"), "{text}");
    rig.device.lock().attentions = [check(SenseKey::UnitAttention, 0x29, 0)].into();
    assert!(matches!(write.apply(&rig), Err(ApplyError::Lost { .. })));
    rig.device.answer(0x2a, Ok(check(SenseKey::DataProtect, 0x27, 0)));
    let error = write.apply(&rig).unwrap_err();
    assert!(matches!(error, ApplyError::Stopped { reason: StopReason::WriteProtected, .. }));
    write.apply(&rig).unwrap();
}

#[test]
fn regions_and_plain_records_carry_the_tables_word() {
    let rig = Rig::new();
    let bytes = [5; 512];
    let region = formats::Region {
        volume: VolumeIndex(0),
        range: ByteRange::new(0, 512),
        consistent_after: Seq(9),
        remaining: 0,
    };
    let header =
        EntryHeader { entry: Entry::Region(region), position: Position(7), payload: PayloadInfo::data(&bytes) };
    pool::apply(&header, &bytes, Some(&rig.target)).unwrap();
    rig.device.answer(0x2a, Ok(check(SenseKey::DataProtect, 0x27, 0)));
    let error = pool::apply(&header, &bytes, Some(&rig.target)).unwrap_err();
    assert!(matches!(error, ApplyError::Stopped { reason: StopReason::WriteProtected, .. }));
}

#[test]
fn a_tape_takes_its_commands_and_nothing_else() {
    let rig = Rig::with(Fake::disk(8).of_type(DeviceType::TAPE), |_| {});
    let read = build::tape_read_6(false, false, 512).unwrap();
    let shot = Shot { device: DeviceType::TAPE, transfer: Transfer::In, transfer_len: 512, ..Shot::new(&read, &[]) };
    assert_eq!(shot.apply(&rig).unwrap(), AS_ASKED);
    let disk = Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]);
    assert!(matches!(disk.apply(&rig), Err(ApplyError::NotApplied { .. })));
    assert!(matches!(rig.target.write(0, &[0; 512], false), Err(TargetError::OutOfRange { .. })));
}

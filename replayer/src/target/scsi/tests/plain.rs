//! Reads, writes, zeros and discards without a captured command.

use super::*;

#[test]
fn reads_and_writes_go_in_pieces_that_the_device_takes() {
    let rig = Rig::new();
    let bytes: Vec<u8> = (0..20 * BLOCK).map(|at| at as u8).collect();
    rig.target.write(512, &bytes, false).unwrap();
    assert_eq!(rig.content(1, 20), bytes);
    let places: Vec<_> = rig.cdbs(&[0x2a]).iter().map(|cdb| (cdb[5], cdb[8])).collect();
    assert_eq!(places, [(1, 8), (9, 8), (17, 4)]);
    let mut back = vec![0; bytes.len()];
    rig.target.read(512, &mut back).unwrap();
    assert_eq!((back, rig.cdbs(&[0x28]).len()), (bytes, 3));
}

#[test]
fn fua_is_the_bit_where_the_device_has_it_and_else_a_flush() {
    let rig = Rig::new();
    rig.target.write(0, &[1; BLOCK], true).unwrap();
    assert_eq!(rig.cdbs(&[0x2a, 0x35]), [build::write_10(0, 1, Access::FUA).to_vec()]);
    let plain = Fake::disk(BLOCKS);
    plain.lock().mode_parameter = 0;
    let rig = Rig::with(plain, |_| {});
    rig.target.write(0, &[1; BLOCK], true).unwrap();
    let expected = [build::write_10(0, 1, Access::default()).to_vec(), build::flush().to_vec()];
    assert_eq!(rig.cdbs(&[0x2a, 0x35]), expected);
}

#[test]
fn a_flush_that_fails_for_a_write_is_about_the_writes_before() {
    let plain = Fake::disk(BLOCKS);
    plain.lock().mode_parameter = 0;
    let rig = Rig::with(plain, |_| {});
    rig.device.answer(0x35, Ok(check(SenseKey::MediumError, 0x0c, 0)));
    let error = rig.target.write(0, &[1; BLOCK], true).unwrap_err();
    assert!(matches!(reason(error), NotApplied::Lost { .. }));
    assert_eq!(rig.hits("deferred"), 1);
}

#[test]
fn a_discard_unmaps_whole_granules_and_zeroes_the_rest() {
    let rig = Rig::new();
    assert_eq!(rig.target.discard(ByteRange::new(2 * 512, 39 * 512)).unwrap(), Effect::AsAsked);
    assert!(rig.content(2, 39).iter().all(|byte| *byte == 0) && rig.content(41, 1)[0] == 0xaa);
    let same: Vec<_> = rig.cdbs(&[0x93]).iter().map(|cdb| (cdb[1] & 8 != 0, cdb[9], cdb[13])).collect();
    assert_eq!(same, [(false, 2, 2), (false, 40, 1), (true, 4, 32), (true, 36, 4)]);
    let hinting = Fake::disk(BLOCKS);
    hinting.lock().pages[4].1[1] = 0x84;
    let rig = Rig::with(hinting, |_| {});
    rig.target.discard(ByteRange::new(0, 40 * 512)).unwrap();
    assert_eq!(rig.device.take_seen(&[0x42]).len(), 3, "16 blocks in each");
    assert!(rig.content(0, 40).iter().all(|byte| *byte == 0));
}

#[test]
fn without_unmap_that_reads_zeros_a_discard_writes_them() {
    let old = Fake::disk(BLOCKS);
    old.lock().pages.truncate(4);
    old.lock().lacks = vec![0x9e];
    let rig = Rig::with(old, |_| {});
    assert_eq!(rig.target.discard(ByteRange::new(0, 4 * 512)).unwrap(), Effect::Emulated);
    assert_eq!(rig.cdbs(&[0x42, 0x93]), [build::write_same_16(0, Blocks::Count(4), Same::default()).unwrap().to_vec()]);
}

#[test]
fn zeros_are_written_where_write_same_is_not_taken_and_that_is_learned() {
    let rig = Rig::new();
    rig.device.lock().lacks = vec![0x93];
    let range = ByteRange::new(0, 20 * 512);
    assert_eq!(rig.target.write_zeroes(range, false).unwrap(), Effect::Emulated);
    assert_eq!((rig.device.take_seen(&[0x93]).len(), rig.hits("write-not-taken")), (1, 1));
    assert!(rig.content(0, 20).iter().all(|byte| *byte == 0));
    assert_eq!(rig.target.write_zeroes(range, true).unwrap(), Effect::Emulated);
    assert_eq!((rig.device.take_seen(&[0x93]).len(), rig.hits("write-not-taken")), (0, 1));
}

#[test]
fn what_is_not_on_the_device_is_not_asked_of_it() {
    let rig = Rig::new();
    let size = rig.target.size();
    assert!(matches!(rig.target.write(size, &[0; 512], false), Err(TargetError::OutOfRange { .. })));
    assert!(matches!(rig.target.write(1, &[0; 512], false), Err(TargetError::Misaligned { .. })));
    assert!(matches!(rig.target.discard(ByteRange::new(u64::MAX - 511, 512)), Err(TargetError::OutOfRange { .. })));
    assert!(matches!(rig.target.secure_erase(ByteRange::new(0, 512)), Err(TargetError::Unsupported { .. })));
    assert!(rig.device.lock().seen.is_empty());
}

#[test]
fn a_mapping_moves_every_address() {
    let rig = Rig::with(Fake::disk(BLOCKS), |options| options.mapping = "lba=+100".parse().unwrap());
    assert_eq!(rig.target.size(), (BLOCKS - 100) * 512);
    rig.target.write(512, &[7; 512], false).unwrap();
    assert_eq!(rig.content(101, 1), [7; 512]);
    let rig = Rig::with(Fake::disk(BLOCKS), |options| options.mapping = "lba=-10".parse().unwrap());
    rig.target.write(10 * 512, &[7; 512], false).unwrap();
    assert_eq!(rig.content(0, 1), [7; 512]);
    assert!(matches!(rig.target.write(9 * 512, &[7; 512], false), Err(TargetError::OutOfRange { .. })));
}

/// The table's word for a failed plain operation.
fn reason(error: TargetError) -> NotApplied {
    let TargetError::Io { source, .. } = error else { panic!("{error}") };
    source.get_ref().and_then(|inner| inner.downcast_ref::<NotApplied>()).cloned().unwrap()
}

#[test]
fn plain_writes_take_the_tables_rows_too() {
    let rig = Rig::new();
    rig.device.lock().attentions = [check(SenseKey::UnitAttention, 0x29, 0x03)].into();
    rig.device.answer(0x2a, Ok(Outcome::with_status(ScsiStatus::TaskSetFull)));
    rig.target.write(0, &[1; 512], false).unwrap();
    assert_eq!((rig.hits("task-set-full"), rig.hits("attention-reset"), rig.hits("good")), (1, 1, 1));
    (0..4).for_each(|_| rig.device.answer(0x2a, Ok(check(SenseKey::MediumError, 0x0c, 0))));
    let error = rig.target.write(0, &[1; 512], false).unwrap_err();
    assert!(matches!(reason(error), NotApplied::OutOfSync { why, .. } if why.retries == 3));
    rig.device.lock().attentions = [check(SenseKey::UnitAttention, 0x29, 0x00)].into();
    assert!(matches!(reason(rig.target.read(0, &mut [0; 512]).unwrap_err()), NotApplied::Lost { .. }));
    rig.device.answer(0x35, Ok(check(SenseKey::MediumError, 0x0c, 0)));
    assert!(matches!(reason(rig.target.flush().unwrap_err()), NotApplied::Lost { .. }));
    rig.device.answer(0x2a, Err(io::Error::from_raw_os_error(libc::ENXIO)));
    let error = reason(rig.target.write(0, &[1; 512], false).unwrap_err());
    assert!(matches!(error, NotApplied::Stopped { reason: StopReason::DeviceGone, .. }));
}

#[test]
fn what_no_row_is_about_is_an_error_with_its_remedy() {
    let rig = Rig::new();
    let forbidden = crate::scsi::sg::SgError::Forbidden { path: "/dev/sg1".into() };
    rig.device.answer(0x2a, Err(forbidden.into()));
    let error = rig.target.write(0, &[1; 512], false).unwrap_err().to_string();
    assert!(error.contains("run as root (CAP_SYS_RAWIO)"), "{error}");
}

#[test]
fn another_device_behind_the_same_address_stops() {
    let rig = Rig::new();
    let attention = check(SenseKey::UnitAttention, 0x3f, 0x03);
    rig.device.lock().attentions = [attention].into();
    rig.target.write(0, &[1; 512], false).unwrap();
    assert_eq!(rig.hits("attention-inquiry"), 1);
    rig.device.lock().attentions = [attention].into();
    rig.device.lock().pages[0].1 = b"4712".to_vec();
    let error = reason(rig.target.write(0, &[1; 512], false).unwrap_err());
    assert!(matches!(error, NotApplied::Stopped { reason: StopReason::DeviceChanged, .. }));
}

#[test]
fn an_attention_that_the_check_of_the_device_heard_is_not_lost() {
    let rig = Rig::new();
    let attention = |code, qualifier| check(SenseKey::UnitAttention, code, qualifier);
    rig.device.lock().attentions = [attention(0x3f, 0x03), attention(0x29, 0x00)].into();
    assert!(matches!(reason(rig.target.write(0, &[1; 512], false).unwrap_err()), NotApplied::Lost { .. }));
}

#[test]
fn the_end_does_not_wait_for_a_busy_device() {
    let rig = Rig::with(Fake::disk(BLOCKS), |options| options.policy = Policy::default());
    (0..100).for_each(|_| rig.device.answer(0x2a, Ok(Outcome::with_status(ScsiStatus::ReservationConflict))));
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| rig.target.write(0, &[1; 512], false));
        std::thread::sleep(Duration::from_millis(50));
        rig.target.abandon();
        assert_eq!(reason(write.join().unwrap().unwrap_err()), NotApplied::Abandoned);
    });
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_is_not_fit_is_no_target() {
    let open = |device: Fake, change: fn(&mut Options)| {
        let mut options = Options::new("/dev/fake".into());
        change(&mut options);
        ScsiTarget::open(Arc::new(device), options).map(drop).unwrap_err()
    };
    let changer = Fake::disk(8).of_type(DeviceType::CHANGER);
    assert!(matches!(open(changer, |_| {}), OpenError::Type(DeviceType::CHANGER)));
    let protected = Fake::disk(8);
    protected.lock().mode_parameter = 0x80;
    assert!(matches!(open(protected, |_| {}), OpenError::WriteProtected));
    let lying = Fake::disk(8);
    lying.lock().claims = 9;
    assert!(matches!(open(lying, |_| {}), OpenError::Probe(_)));
    let small = |options: &mut Options| options.recorded = Some(crate::scsi::identity::read(&Fake::disk(9)).unwrap());
    let error = open(Fake::disk(8), small);
    assert!(error.to_string().contains("refused: capacity: 9 blocks was recorded, here 8 blocks"), "{error}");
    assert!(matches!(open(Fake::disk(8), |o| o.mapping.lba_offset = 8), OpenError::Mapping { .. }));
}

#[test]
fn a_path_says_whether_commands_are_meant() {
    let host = crate::target::Host::default();
    assert!(is_scsi(std::path::Path::new("sg:/dev/sdz"), &host));
    assert!(!is_scsi(std::path::Path::new("/dev/null"), &host));
    let missing = crate::target::open(std::path::Path::new("sg:/dev/absent"), &host).map(drop).unwrap_err();
    assert!(matches!(missing, crate::target::CheckError::Missing { .. }));
    let error = crate::target::open(std::path::Path::new("sg:/dev/null"), &host).map(drop).unwrap_err();
    assert!(error.to_string().contains("takes no SCSI commands"), "{error}");
}

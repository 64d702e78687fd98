use formats::scsi::{Outcome, ScsiStatus, SenseKey};
use replication::errors::StandbyOutcome;

use super::*;
use crate::scsi::fake::{Fake, check};

fn known(device: &Fake) -> Identity {
    super::read(device).unwrap()
}

#[test]
fn a_device_in_its_own_words() {
    let device = Fake::disk(1000);
    {
        let mut disk = device.lock();
        (disk.key, disk.held) = (0xabcd, 5);
    }
    let identity = known(&device);
    assert_eq!((identity.vendor.as_str(), identity.product.as_str()), ("BLKECHO", "fake disk"));
    assert_eq!((identity.serial.as_deref(), identity.designators[0].kind), (Some("4711"), 3));
    assert_eq!(identity.designators[0].value, "5001020304050607");
    let capacity = identity.capacity.unwrap();
    assert_eq!((capacity.blocks, capacity.block_size, capacity.physical_exponent), (1000, 512, 3));
    assert!(capacity.thin && identity.reads_zeros());
    let limits = identity.limits.unwrap();
    assert_eq!((limits.transfer, limits.unmap_blocks, limits.unmap_descriptors), (8, 16, 2));
    assert_eq!((limits.unmap_granularity, limits.write_same), (4, 32));
    let provisioning = identity.provisioning.unwrap();
    assert!(provisioning.unmap && provisioning.write_same_16 && !provisioning.write_same_10);
    assert_eq!((identity.modes.fua, identity.modes.write_cache), (true, Some(true)));
    assert!(identity.modes.control.unwrap().descriptor_sense);
    let reservations = identity.reservations.clone().unwrap();
    assert_eq!(reservations.keys, [0xabcd]);
    assert_eq!(reservations.held, Some(Reservation { key: 0xabcd, kind: 5 }));
    check_last_block(&device, &identity).unwrap();
}

#[test]
fn what_a_device_lacks_is_none() {
    let device = Fake::disk(1000);
    {
        let mut disk = device.lock();
        disk.pages.clear();
        disk.lacks = vec![0x1a, 0x5a, 0x5e, 0x9e];
    }
    let identity = known(&device);
    assert_eq!((identity.serial, identity.limits, identity.reservations), (None, None, None));
    assert_eq!((identity.modes, identity.capacity.unwrap().blocks), (Modes::default(), 1000));
}

#[test]
fn attentions_are_heard_out_and_told() {
    let device = Fake::disk(1000);
    let attention = |code, qualifier| check(SenseKey::UnitAttention, code, qualifier);
    device.lock().attentions = [attention(0x29, 0), attention(0x3f, 3)].into();
    let (_, heard) = read_hearing(&device).unwrap();
    assert_eq!(heard, [StandbyOutcome::UaPowerOn, StandbyOutcome::UaInquiryChanged]);
    device.lock().attentions = (0..1000).map(|_| attention(0x29, 0)).collect();
    assert!(matches!(settle(&device), Err(ProbeError::NotReady { .. })), "bounded");
}

#[test]
fn a_busy_device_is_waited_for_and_a_broken_one_is_not() {
    let device = Fake::disk(1000);
    device.answer(0x00, Ok(Outcome::with_status(ScsiStatus::Busy)));
    settle(&device).unwrap();
    device.answer(0x00, Ok(check(SenseKey::NotReady, 0x04, 0x03)));
    assert!(matches!(settle(&device), Err(ProbeError::NotReady { .. })));
    device.answer(0x12, Err(std::io::Error::from_raw_os_error(libc::ENODEV)));
    assert!(matches!(super::read(&device), Err(ProbeError::Device(_))));
}

#[test]
fn a_device_that_lies_is_not_believed() {
    let device = Fake::disk(1000);
    device.lock().claims = 1001;
    let identity = known(&device);
    match check_last_block(&device, &identity) {
        Err(ProbeError::LastBlock { blocks: 1001, answer }) => assert!(answer.sense.is_some()),
        other => panic!("{other:?}"),
    }
    device.answer(0x25, Ok(Outcome::GOOD));
    assert!(matches!(super::read(&device), Err(ProbeError::TwoCapacities { ten: 1, .. })));
    device.lock().inquiry[0] = 0x7f;
    assert!(matches!(super::read(&device), Err(ProbeError::NoUnit(0x7f))));
    device.lock().inquiry.clear();
    assert!(matches!(super::read(&device), Err(ProbeError::Short { .. })));
}

fn named<'a>(list: &'a [Difference], name: &str) -> &'a Difference {
    list.iter().find(|difference| difference.name == name).unwrap_or_else(|| panic!("{name} in {list:?}"))
}

#[test]
fn the_dangerous_differences_are_refused_and_come_first() {
    let recorded = known(&Fake::disk(1000));
    assert_eq!(differences(&recorded, &recorded, Mapping::default()).len(), 1, "it is the recorded device itself");
    let mut here = recorded.clone();
    here.capacity.as_mut().unwrap().block_size = 4096;
    here.capacity.as_mut().unwrap().blocks = 999;
    here.capacity.as_mut().unwrap().protection = 1;
    (here.device_type, here.product, here.serial) = (0x0e, "other".into(), None);
    here.modes.write_cache = None;
    here.limits = None;
    let list = differences(&recorded, &here, Mapping::default());
    for name in ["device type", "block size", "capacity", "protection"] {
        assert_eq!(named(&list, name).severity, Severity::Refuse);
    }
    for name in ["product", "write cache (WCE)", "maximum transfer length"] {
        assert_eq!(named(&list, name).severity, Severity::Warn);
    }
    assert_eq!(named(&list, "serial number").severity, Severity::Info);
    assert!(list.is_sorted_by(|a, b| a.severity >= b.severity));
    let line = named(&list, "block size").to_string();
    assert_eq!(line, "refused: block size: 512 was recorded, here 4096; use another device");
    here.capacity = None;
    assert_eq!(
        named(&differences(&recorded, &here, Mapping::default()), "medium of blocks").severity,
        Severity::Refuse
    );
}

#[test]
fn a_mapping_moves_but_never_resizes_blocks() {
    let (recorded, here) = (known(&Fake::disk(1000)), known(&Fake::disk(1100)));
    let capacity = |offset| {
        let list = differences(&recorded, &here, Mapping { lba_offset: offset, lun: None });
        named(&list, "capacity").severity
    };
    assert_eq!(
        [capacity(0), capacity(100), capacity(101), capacity(-5)].map(|s| s == Severity::Refuse),
        [false, false, true, false]
    );
    assert_eq!("lba=+2048, lun=3".parse(), Ok(Mapping { lba_offset: 2048, lun: Some(3) }));
    assert_eq!("lba=-1".parse(), Ok(Mapping { lba_offset: -1, lun: None }));
    assert_eq!("block=512".parse::<Mapping>(), Err(MappingError::BlockSize));
    assert_eq!("".parse::<Mapping>(), Err(MappingError::Nothing));
    assert_eq!("lun=1,lun=2".parse::<Mapping>(), Err(MappingError::Twice("lun")));
    assert!("lba".parse::<Mapping>().is_err() && "lun=x".parse::<Mapping>().is_err());
}

#[test]
fn the_same_unit_with_other_mode_pages_is_the_same() {
    let before = known(&Fake::disk(1000));
    let mut now = before.clone();
    (now.modes, now.revision) = (Modes::default(), "0002".into());
    assert!(is_same_unit(&before, &now));
    now.designators.clear();
    assert!(!is_same_unit(&before, &now));
    assert!(!is_same_unit(&before, &known(&Fake::disk(999))));
}

#[test]
fn a_tape_has_no_blocks_to_count() {
    let tape = Fake::disk(8).of_type(formats::scsi::DeviceType::TAPE);
    let identity = known(&tape);
    assert_eq!((identity.capacity, identity.geometry()), (None, None));
    assert_eq!(identity.kind(), formats::scsi::DeviceType::TAPE);
}

use std::fs;

use formats::scsi::SenseKey;
use tempfile::TempDir;

use super::*;

fn answer(asked: usize, residual: i32, sense: &[u8], sense_len: u32) -> Outcome {
    let mut bytes = [0; MAX_SENSE];
    bytes[..sense.len()].copy_from_slice(sense);
    Answer { asked, status: 2, host: 0, driver: 8, residual, sense: bytes, sense_len }.outcome()
}

#[test]
fn a_residual_that_cannot_be_is_clamped() {
    let residual = |asked, residual| answer(asked, residual, &[], 0).residual;
    assert_eq!([residual(512, 100), residual(512, 513), residual(512, -7), residual(0, i32::MAX)], [100, 512, 0, 0]);
}

#[test]
fn sense_of_any_length_is_read_or_none() {
    let fixed = [0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
    let key = |outcome: Outcome| outcome.sense.map(|sense| sense.key);
    assert_eq!(key(answer(0, 0, &fixed, 18)), Some(SenseKey::MediumError));
    assert_eq!(key(answer(0, 0, &fixed, 255)), Some(SenseKey::MediumError));
    assert_eq!(key(answer(0, 0, &fixed, 0)), None);
    assert_eq!(key(answer(0, 0, &[0x12; 20], 20)), None);
    assert_eq!(answer(0, 0, &fixed, 1).status, ScsiStatus::CheckCondition);
}

#[test]
fn statuses_wider_than_a_byte_stay_unknown() {
    let wide =
        Answer { asked: 0, status: 0, host: 0x101, driver: 0x108, residual: 0, sense: [0; MAX_SENSE], sense_len: 0 };
    let outcome = wide.outcome();
    assert_eq!(outcome.host, HostStatus::Other(0xff));
    assert_eq!(outcome.driver, DriverStatus::Sense);
    assert!(!outcome.is_good());
}

#[test]
fn timeouts_are_milliseconds_and_never_the_kernels_default() {
    assert_eq!(millis(Duration::ZERO), 1);
    assert_eq!(millis(Duration::from_secs(60)), 60_000);
    assert_eq!(millis(Duration::MAX), u32::MAX);
}

/// A sysfs with a disk `0:0:0:0` (sda, a partition, sg0, bsg), a tape `1:0:0:0` (sg1) and a host's bsg node.
fn sysfs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for device in ["0:0:0:0", "1:0:0:0"] {
        put(&format!("devices/{device}/type"), "0\n");
    }
    put("devices/0:0:0:0/block/sda/queue/max_hw_sectors_kb", "512\n");
    put("devices/0:0:0:0/block/sda/sda1/partition", "1\n");
    put("devices/0:0:0:0/scsi_generic/sg0/dev", "21:0\n");
    put("devices/0:0:0:0/bsg/0:0:0:0/dev", "251:0\n");
    put("devices/1:0:0:0/scsi_generic/sg1/dev", "21:1\n");
    put("devices/host0/bsg/fc_host0/dev", "251:1\n");
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(dir.path().join("devices").join(to), dir.path().join("devices").join(from)).unwrap();
    };
    link("0:0:0:0/scsi_generic/sg0/device", "0:0:0:0");
    link("0:0:0:0/bsg/0:0:0:0/device", "0:0:0:0");
    link("0:0:0:0/block/sda/device", "0:0:0:0");
    link("1:0:0:0/scsi_generic/sg1/device", "1:0:0:0");
    link("host0/bsg/fc_host0/device", "host0");
    dir
}

fn found(dir: &TempDir, place: &str, block: bool) -> Result<Node, SgError> {
    let (path, link) = (Path::new("/dev/node"), dir.path().join("devices").join(place));
    if block { Node::of_block(path, &link) } else { Node::of_char(path, &link) }
}

#[test]
fn each_kind_of_node_is_known_with_its_disk() {
    let dir = sysfs();
    for (place, block, kind) in [
        ("0:0:0:0/scsi_generic/sg0", false, Kind::Sg),
        ("0:0:0:0/bsg/0:0:0:0", false, Kind::Bsg),
        ("0:0:0:0/block/sda", true, Kind::Disk),
    ] {
        let node = found(&dir, place, block).unwrap();
        assert_eq!((node.kind, node.block.as_deref()), (kind, Some("sda")));
        assert_eq!((node.address.as_deref(), node.max_transfer), (Some("0:0:0:0"), Some(512 << 10)));
    }
    let tape = found(&dir, "1:0:0:0/scsi_generic/sg1", false).unwrap();
    assert_eq!((tape.kind, tape.block, tape.max_transfer), (Kind::Sg, None, None));
}

#[test]
fn what_takes_no_commands_is_refused_by_name() {
    let dir = sysfs();
    assert!(matches!(found(&dir, "0:0:0:0/block/sda/sda1", true), Err(SgError::Partition { .. })));
    assert!(matches!(found(&dir, "host0/bsg/fc_host0", false), Err(SgError::NotScsi { .. })));
    assert!(matches!(found(&dir, "nowhere", false), Err(SgError::NotScsi { .. })));
    assert!(matches!(SgDevice::open(Path::new("/dev/null")), Err(SgError::NotScsi { .. })));
    assert!(matches!(SgDevice::open(Path::new("/dev/absent")), Err(SgError::Missing { .. })));
    assert!(matches!(SgDevice::open(dir.path()), Err(SgError::NotScsi { .. })));
}

/// A device on `/dev/null`, for what is refused before any command.
fn null() -> SgDevice {
    let node = Node { path: "/dev/null".into(), kind: Kind::Sg, block: None, address: None, max_transfer: Some(4096) };
    SgDevice::open_node(node).unwrap()
}

#[test]
fn what_the_kernel_would_not_take_is_refused_with_a_reason() {
    let device = null();
    let run = |cdb: &[u8], data| {
        let request = Request { cdb, data, timeout: Duration::from_secs(1) };
        device.execute(request).unwrap_err()
    };
    let errno = |error: &io::Error| super::errno(error);
    let long = run(&[0x7f; 33], Data::None);
    assert_eq!(errno(&long), Some(libc::EMSGSIZE));
    assert_eq!(long.to_string(), "a CDB of 33 bytes cannot be issued on /dev/null: the kernel takes up to 32");
    assert_eq!(errno(&run(&[0; 5], Data::None)), Some(libc::EMSGSIZE));
    assert_eq!(errno(&run(&[0; 6], Data::Out(&[0; 4097]))), Some(libc::EINVAL));
    let blocked = run(&[0; 6], Data::In(&mut [0; 100]));
    assert_eq!(errno(&blocked), Some(libc::ENOTTY));
    assert!(blocked.to_string().contains("does not take SG_IO"), "{blocked}");
}

#[test]
fn each_command_of_sg_gets_a_file_of_its_own() {
    let device = null();
    let open = || open_file(Path::new("/dev/null"), Access::All, 0);
    let lanes: Vec<_> = (0..3).map(|_| device.lanes.enter(open)).collect();
    assert_eq!(device.lanes.used(), [1, 1, 1]);
    drop(lanes);
    assert_eq!(device.lanes.used(), [0, 0, 0]);
    let refused = || Err(SgError::Denied { path: PathBuf::new() });
    let _lanes: Vec<_> = (0..33).map(|_| device.lanes.enter(refused)).collect();
    assert_eq!(device.lanes.used().iter().sum::<usize>(), 33);
}

#[test]
fn the_prefix_asks_for_commands_on_a_disk() {
    assert_eq!(strip_prefix(Path::new("sg:/dev/sdb")), Some("/dev/sdb".into()));
    assert_eq!(strip_prefix(Path::new("/dev/sdb")), None);
}

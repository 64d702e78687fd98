use std::fs;

use tempfile::TempDir;

use super::*;

/// A made-up host with a disk 8:0 that has one partition 8:1, and a disk 8:16 beside it.
fn host() -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
    for (path, text) in [
        ("proc/self/mountinfo", "22 1 9:9 / / rw - ext4 /dev/none rw\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n"),
        ("sys/dev/block/8:0/dev", "8:0\n"),
        ("sys/dev/block/8:0/ro", "0\n"),
        ("sys/dev/block/8:0/size", "2048\n"),
        ("sys/dev/block/8:0/queue/logical_block_size", "4096\n"),
        ("sys/dev/block/8:0/sda1/dev", "8:1\n"),
        ("sys/dev/block/8:0/sda1/partition", "1\n"),
        ("sys/dev/block/8:0/sda1/ro", "0\n"),
        ("sys/dev/block/8:0/sda1/size", "1024\n"),
        ("sys/dev/block/8:16/dev", "8:16\n"),
    ] {
        put(&dir, path, text);
    }
    std::os::unix::fs::symlink("8:0/sda1", dir.path().join("sys/dev/block/8:1")).unwrap();
    (dir, host)
}

fn put(dir: &TempDir, path: &str, text: &str) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// All checks but the exclusive open, which needs a device.
fn verdict(host: &Host, major: u32, minor: u32) -> Result<Geometry, CheckError> {
    let family = Family::of(Path::new("/dev/target"), makedev(major, minor), host)?;
    family.check_mounts()?;
    family.check_swaps()?;
    family.check_holders()?;
    family.check_loops()?;
    family.geometry()
}

#[test]
fn a_free_disk_and_its_partition_are_admitted_with_the_disks_block_size() {
    let (_dir, host) = host();
    assert_eq!(verdict(&host, 8, 0).unwrap(), Geometry { block_size: 4096 });
    assert_eq!(verdict(&host, 8, 1).unwrap(), Geometry { block_size: 4096 });
}

#[test]
fn a_mount_of_any_of_the_family_refuses_all() {
    for mounted in ["8:0", "8:1"] {
        let (dir, host) = host();
        let line = format!("36 22 {mounted} / /mnt/a\\040b rw,noatime shared:1 - ext4 /dev/x rw\n");
        put(&dir, "proc/self/mountinfo", &line);
        for minor in [0, 1] {
            match verdict(&host, 8, minor) {
                Err(CheckError::Mounted { device, on, .. }) => assert_eq!((&*device, &*on), (mounted, "/mnt/a b")),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_holder_of_any_of_the_family_refuses_all() {
    for holder in ["sys/dev/block/8:0/holders/dm-3", "sys/dev/block/8:0/sda1/holders/md0"] {
        let (dir, host) = host();
        put(&dir, holder, "");
        for minor in [0, 1] {
            assert!(matches!(verdict(&host, 8, minor), Err(CheckError::Held { .. })), "{holder}");
        }
    }
}

#[test]
fn read_only_and_empty_devices_are_refused() {
    let (dir, host) = host();
    put(&dir, "sys/dev/block/8:0/ro", "1\n");
    assert!(matches!(verdict(&host, 8, 0), Err(CheckError::ReadOnly { .. })));
    put(&dir, "sys/dev/block/8:0/ro", "0\n");
    put(&dir, "sys/dev/block/8:0/size", "0\n");
    assert!(matches!(verdict(&host, 8, 0), Err(CheckError::Empty { .. })));
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let (_dir, host) = host();
    assert!(matches!(verdict(&host, 8, 32), Err(CheckError::Unknown { .. })));
    assert!(matches!(verdict(&host, 8, 16), Err(CheckError::Unknown { .. })));
    fs::remove_file(host.proc.join("self/mountinfo")).unwrap();
    assert!(matches!(verdict(&host, 8, 0), Err(CheckError::Unknown { .. })));
}

#[test]
fn an_image_behind_a_loop_device_or_swap_is_refused() {
    let (dir, host) = host();
    let image = dir.path().join("image");
    fs::write(&image, [0; 512]).unwrap();
    assert_eq!(admit(&image, &host).unwrap(), Admitted::Image);
    put(&dir, "sys/block/loop7/loop/backing_file", &format!("{}\n", image.display()));
    match admit(&image, &host) {
        Err(CheckError::Looped { device, .. }) => assert_eq!(device, "/dev/loop7"),
        other => panic!("{other:?}"),
    }
    fs::remove_dir_all(host.sys.join("block")).unwrap();
    put(&dir, "proc/swaps", &format!("Filename Type\n{} file 1 0 -2\n", image.display()));
    assert!(matches!(admit(&image, &host), Err(CheckError::Swap { .. })));
}

#[test]
fn what_is_no_target_has_its_own_words() {
    let (dir, host) = host();
    assert!(matches!(admit(&dir.path().join("absent"), &host), Err(CheckError::Missing { .. })));
    assert!(matches!(admit(dir.path(), &host), Err(CheckError::NotATarget { .. })));
    assert!(matches!(admit(Path::new("/dev/null"), &host), Err(CheckError::NotATarget { .. })));
    put(&dir, "empty", "");
    assert!(matches!(admit(&dir.path().join("empty"), &host), Err(CheckError::Empty { .. })));
}

#[test]
fn a_second_opener_of_an_image_is_turned_away() {
    let (dir, host) = host();
    let image = dir.path().join("image");
    fs::write(&image, [0; 4096]).unwrap();
    let first = super::super::open(&image, &host).unwrap();
    assert!(matches!(super::super::open(&image, &host), Err(CheckError::Busy { .. })));
    drop(first);
    assert!(super::super::open(&image, &host).is_ok());
}

#[test]
fn a_standby_waits_for_what_a_killed_one_still_holds() {
    let (dir, host) = host();
    let image = dir.path().join("image");
    fs::write(&image, [0; 4096]).unwrap();
    let first = super::super::open(&image, &host).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            drop(first);
        });
        assert!(super::super::open_for(&image, &host, "v", &super::super::ScsiSettings::default()).is_ok());
    });
}

#[test]
fn escapes_are_undone_and_odd_ones_kept() {
    assert_eq!(unescape(r"a\040b\134c"), r"a b\c");
    assert_eq!(unescape(r"\04"), r"\04");
    assert_eq!(unescape(r"\999"), r"\999");
    assert_eq!(unescape("ü\\"), "ü\\");
}

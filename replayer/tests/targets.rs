//! Targets on real files, and on loop devices where this process may make them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use formats::ByteRange;
use replayer::target::{CheckError, Effect, Host, Target, TargetError, open};

const SIZE: u64 = 8 << 20;

fn image(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    path
}

/// The same sequence of every operation against a target and a vector.
fn exercise(target: &dyn Target) {
    let mut model = vec![0u8; SIZE as usize];
    let pattern: Vec<u8> = (0..3_000_000u32).map(|i| (i / 512 + i) as u8).collect();
    // Odd addresses in memory, sizes below and above one bounce buffer, with and without FUA.
    for (index, (offset, len)) in
        [(0, 512), (512, 4096), (1536, 512), (1 << 20, 1 << 20), (3 << 20, 2_560_000), (SIZE - 512, 512)]
            .into_iter()
            .enumerate()
    {
        let bytes = &pattern[index..index + len];
        target.write(offset, bytes, index % 2 == 1).unwrap();
        model[offset as usize..][..len].copy_from_slice(bytes);
    }
    for (index, (offset, len)) in [(1024, 512), (1 << 20, 65536), (4 << 20, 1_048_576)].into_iter().enumerate() {
        let range = ByteRange::new(offset, len);
        match index {
            0 => target.write_zeroes(range, false).unwrap(),
            1 => target.write_zeroes(range, true).unwrap(),
            _ => target.discard(range).unwrap(),
        };
        model[offset as usize..][..len as usize].fill(0);
    }
    target.flush().unwrap();
    let mut found = vec![0; SIZE as usize];
    target.read(0, &mut found).unwrap();
    assert!(found == model);
    let mut part = vec![0; 1024];
    target.read(512, &mut part[..512]).unwrap();
    assert_eq!(part[..512], model[512..1024]);
    assert!(matches!(target.write(SIZE - 512, &[0; 1024], false), Err(TargetError::OutOfRange { .. })));
    assert!(matches!(target.discard(ByteRange::new(u64::MAX - 511, 512)), Err(TargetError::OutOfRange { .. })));
    assert!(matches!(target.secure_erase(ByteRange::new(0, 512)), Err(TargetError::Unsupported { .. })));
    assert_eq!(target.discard(ByteRange::new(4096, 0)).unwrap(), Effect::AsAsked);
}

#[test]
fn an_image_does_everything_and_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "image");
    let target = open(&path, &Host::default()).unwrap();
    exercise(&*target);
    let before = std::fs::metadata(&path).unwrap().blocks();
    if target.discard(ByteRange::new(0, SIZE)).unwrap() == Effect::AsAsked {
        assert!(std::fs::metadata(&path).unwrap().blocks() < before / 4, "the hole takes no space");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE, "punching does not change the size");
}

#[test]
fn an_image_in_memory_backed_file_systems_works_too() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    exercise(&*open(&image(dir.path(), "image"), &Host::default()).unwrap());
}

/// A loop device that goes away with its owner; `None` where this process may not make one.
struct Loop(String);

impl Loop {
    fn over(path: &Path, block_size: u32) -> Option<Self> {
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &block_size.to_string()])
            .arg(path)
            .output()
            .ok()?;
        if !made.status.success() {
            eprintln!("skipped: no loop device: {}", String::from_utf8_lossy(&made.stderr));
            assert!(std::env::var_os("CI").is_none(), "a skip is a failure in CI");
            return None;
        }
        Some(Self(String::from_utf8_lossy(&made.stdout).trim().to_owned()))
    }

    fn open(&self) -> Result<Arc<dyn Target>, CheckError> {
        open(Path::new(&self.0), &Host::default())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_loop_device_does_everything_and_its_backing_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "backing");
    let Some(device) = Loop::over(&path, 512) else { return };
    let target = device.open().unwrap();
    assert_eq!((target.size(), target.block_size(), target.info().mode), (SIZE, Some(512), "direct"));
    exercise(&*target);
    assert!(matches!(open(&path, &Host::default()), Err(CheckError::Looped { .. })));
    assert!(matches!(device.open(), Err(CheckError::Busy { .. })), "one standby per target");
    drop(target);
    assert!(device.open().is_ok());
}

#[test]
fn large_blocks_are_seen_and_small_pieces_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Some(device) = Loop::over(&image(dir.path(), "backing"), 4096) else { return };
    let target = device.open().unwrap();
    assert_eq!(target.block_size(), Some(4096));
    assert!(matches!(target.write(512, &[0; 512], false), Err(TargetError::Misaligned { block: 4096, .. })));
    target.write(4096, &[1; 4096], true).unwrap();
}

#[test]
fn a_mounted_loop_device_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Some(device) = Loop::over(&image(dir.path(), "backing"), 512) else { return };
    let point = dir.path().join("mount point");
    std::fs::create_dir(&point).unwrap();
    let run = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    if !run("mkfs.ext4", &["-q", &device.0]) || !run("mount", &[&device.0, point.to_str().unwrap()]) {
        return;
    }
    let refused = device.open().err();
    assert!(run("umount", &[point.to_str().unwrap()]));
    match refused {
        Some(CheckError::Mounted { on, .. }) => assert!(on.ends_with("mount point"), "{on}"),
        other => panic!("{other:?}"),
    }
    assert!(device.open().is_ok());
}

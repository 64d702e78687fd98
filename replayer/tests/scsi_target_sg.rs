//! The SCSI target on a real disk through SG_IO, or on Linux's scsi_debug in a virtual machine.
//!
//! The disk is overwritten: its nodes are named by `BLKECHO_SCSI_TARGETS`, separated by commas.
//!
//! ```text
//! modprobe scsi_debug dev_size_mb=8 lbpu=1 lbpws=1
//! BLKECHO_SCSI_TARGETS=/dev/sg0,/dev/bsg/0:0:0:0,sg:/dev/sda scsi_target_sg --ignored --nocapture
//! ```

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use formats::ByteRange;
use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Origin, PayloadInfo, Record};
use formats::scsi::build::{self, Access, Same};
use formats::scsi::{Blocks, DeviceType, Geometry, LbaRange};
use formats::{Op, OpFlags, Seq, Status, VolumeIndex};
use replayer::command::Replayed;
use replayer::scsi::identity::Limits;
use replayer::scsi::sg::{Node, strip_prefix};
use replayer::target::{CheckError, Host, Target, describe_scsi, open};

/// Threads at once: more than sg takes on one open file.
const WORKERS: u64 = 40;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8 ^ seed).collect()
}

fn read(target: &dyn Target, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    target.read(offset, &mut bytes).expect("it reads");
    bytes
}

/// Writes and reads in one piece and in many, at once.
fn plain(target: &dyn Target, block: usize) {
    let bytes = pattern(3 << 20, 1);
    target.write(0, &bytes, true).expect("it writes");
    assert!(read(target, 0, bytes.len()) == bytes, "what was written is read");
    target.discard(ByteRange::new(block as u64, 1 << 20)).expect("it discards");
    assert!(read(target, block as u64, 1 << 20).iter().all(|byte| *byte == 0), "discarded blocks read as zeros");
    target.write_zeroes(ByteRange::new(2 << 20, 64 << 10), false).expect("it zeroes");
    assert!(read(target, 2 << 20, 64 << 10).iter().all(|byte| *byte == 0), "zeroed blocks read as zeros");
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                for turn in 0..50 {
                    target.write(worker * 4096, &pattern(4096, worker as u8 ^ turn), false).expect("it writes");
                }
                assert!(read(target, worker * 4096, 4096) == pattern(4096, worker as u8 ^ 49), "worker {worker}");
            });
        }
    });
    target.flush().expect("it flushes");
}

/// Issues a captured command again.
fn replay(target: &dyn Target, block: u32, cdb: &[u8], data: &[u8]) -> Replayed {
    let command = Command {
        unit: Hctl::default(),
        device: DeviceType::DISK,
        medium: Some(Geometry::new(block, target.size() / u64::from(block))),
        flags: CommandFlags::PASSTHROUGH,
        transfer: if data.is_empty() { Transfer::None } else { Transfer::Out },
        transfer_len: data.len() as u32,
        residual: 0,
        result: 0,
        cdb,
        sense: &[],
        data_out: data,
    };
    let record = Record {
        seq: Seq(2),
        dep: Seq(1),
        volume: VolumeIndex(0),
        op: Op::Scsi,
        flags: OpFlags::empty(),
        range: ByteRange::default(),
        status: Status::OK,
        origin: Origin::default(),
    };
    let commands = target.commands().expect("it takes commands");
    commands.command(&record, PayloadInfo::NONE.encoding, &[], &command).expect("the system lets us")
}

fn captured(target: &dyn Target, block: u32, limits: Limits) {
    let at = |lba: u64| read(target, lba * u64::from(block), block as usize);
    let one = pattern(block as usize, 5);
    let applied = |replayed| assert!(matches!(replayed, Replayed::Applied(_)), "{replayed:?}");
    for cdb in [build::write_10(3, 1, Access::FUA), build::write_16(4, 1, Access::default())] {
        applied(replay(target, block, &cdb, &one));
    }
    assert!(at(3) == one && at(4) == one);
    let same = build::write_same_16(10, Blocks::Count(20), Same::default()).expect("fits");
    applied(replay(target, block, &same, &one));
    assert!(at(10) == one && at(29) == one);
    // One whole granule: parts of one may stay as they are.
    let granule = u64::from(limits.unmap_granularity.clamp(1, 8));
    let first =
        (10..18).find(|lba| lba % granule == u64::from(limits.unmap_alignment) % granule).expect("there is one");
    let (unmap, list) = build::unmap(&[LbaRange::new(first, granule)], false).expect("fits");
    applied(replay(target, block, &unmap, &list));
    assert!(at(first).iter().all(|byte| *byte == 0) && at(first + granule) == one);
    let two = [pattern(block as usize, 6), pattern(block as usize, 7)].concat();
    applied(replay(target, block, &build::compare_and_write(40, 1, Access::default()), &two));
    assert!(at(40) == pattern(block as usize, 7));
    let stopped = replay(target, block, &[0xc1; 10], &[]);
    assert!(matches!(stopped, Replayed::Failed(_)), "{stopped:?}");
}

fn check(path: &Path) {
    let identity = describe_scsi(path).expect("it says who it is");
    println!("{}: {}", path.display(), identity.line());
    let host = Host::default();
    let node =
        Node::find(&strip_prefix(path).unwrap_or_else(|| path.to_owned()), &host.sys).expect("it is a SCSI node");
    let disk = Path::new("/dev").join(node.block.expect("the disk driver is bound"));
    let claim = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&disk).expect("nobody has it");
    let claimed = open(path, &host).map(drop).expect_err("its disk is claimed");
    assert!(matches!(claimed, CheckError::Busy { .. }), "{claimed}");
    drop(claim);
    let target = open(path, &host).expect("it is free");
    let block = open(&disk, &host).map(drop).expect_err("it is taken, by whichever path");
    assert!(matches!(block, CheckError::Busy { .. }), "{block}");
    let block = target.block_size().expect("a disk has blocks");
    assert!(target.size() >= 4 << 20, "the checks need 4 MiB");
    let second = open(path, &host).map(drop).expect_err("it is taken");
    assert!(matches!(second, CheckError::Busy { .. }), "{second}");
    plain(&*target, block as usize);
    captured(&*target, block, identity.limits.unwrap_or_default());
    println!("{}", target.commands().expect("it takes commands").rows().listing());
}

#[test]
#[ignore = "overwrites a disk: name its nodes in BLKECHO_SCSI_TARGETS"]
fn a_real_disk_is_a_target_by_each_of_its_nodes() {
    let paths = std::env::var("BLKECHO_SCSI_TARGETS").expect("BLKECHO_SCSI_TARGETS names nodes");
    assert!(!paths.is_empty(), "BLKECHO_SCSI_TARGETS names nodes");
    paths.split(',').filter(|path| !path.is_empty()).for_each(|path| check(Path::new(path)));
}

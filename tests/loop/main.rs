//! Real eBPF on loop and zram devices that each test makes for itself. Needs root; runs one test at a time:
//! `cargo test -p system-tests --test loop -- --ignored --test-threads 1`.
#![allow(missing_docs)]

mod captures;
mod conversions;
mod crashes;
mod filters;
mod rig;
mod several;
#[path = "../../captures/tests/common/tshark.rs"]
mod tshark;

use std::path::Path;

use agent::{Agent, AgentError, ErrorClass};
use rig::{LoopDevice, Mounted, Rig, ZramDevice, fio, sh};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn direct_writes_of_all_sizes_arrive() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 128);
    let rig = Rig::start("sizes", &[&device.path], |_| {});
    fio(
        &device.path,
        // At a rate that a busy machine follows, too: what is asked here is not how much the ring holds.
        "--rw=randwrite --bsrange=512-1m --serialize_overlap=1 --iodepth=16 --ioengine=libaio --size=64m --io_size=64m \
         --rate=80m",
    );
    fio(&device.path, "--rw=randtrimwrite --bs=64k --iodepth=4 --ioengine=libaio --size=32m --io_size=16m");
    sh(&format!("dd if=/dev/zero of={} bs=1M count=8 oflag=direct conv=notrunc status=none", device.path.display()));
    rig.assert_identical();
    let status = rig.status();
    assert!(status.records > 100, "{status:#?}");
    assert_eq!((status.losses.completions, status.losses.payloads), (0, 0), "{status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn overlapping_writes_in_flight_are_read_back() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let rig = Rig::start("overlap", &[&device.path], |_| {});
    rig.assert_identical();
    fio(&device.path, "--rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --size=16m --io_size=16m");
    rig.drain();
    let before = rig.status();
    assert_eq!(before.overlaps, 0, "no two of these were on the same block: {before:#?}");
    fio(
        &device.path,
        "--rw=randwrite --bs=64k --ba=4k --norandommap --iodepth=32 --ioengine=libaio --size=2m --io_size=64m",
    );
    rig.assert_identical();
    let status = rig.status();
    assert!(status.overlaps > 0 && status.resynced_bytes > before.resynced_bytes, "{status:#?}");
    eprintln!(
        "OV {} of {} resynced {}",
        status.overlaps,
        status.records - before.records,
        status.resynced_bytes - before.resynced_bytes
    );
    assert_eq!((status.full_syncs, status.state.as_str()), (before.full_syncs, "Connected"), "{status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_resized_device_is_told_and_its_old_range_replicated() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let rig = Rig::start("resized", &[&device.path], |_| {});
    rig.assert_identical();
    assert_eq!(rig.status().device_problem, None);
    let resize = |mib: u64| {
        sh(&format!("truncate -s {mib}M {}; losetup -c {}", device.image.display(), device.path.display()));
    };
    resize(96);
    let status = rig.wait("the new size", |status| status.device_problem.is_some());
    let problem = status.device_problem.clone().unwrap_or_default();
    assert!(problem.contains("was resized from 67108864 to 100663296 bytes"), "{problem}");
    assert_eq!(status.state, "Connected", "{status:#?}");
    // What was there before is still replicated.
    fio(&device.path, "--rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --size=64m --io_size=4m");
    rig.drain();
    resize(64);
    rig.wait("the old size", |status| status.device_problem.is_none());
    rig.assert_identical();
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_damaged_journal_is_replaced_by_the_dirty_map() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let mut rig = Rig::start("damaged", &[&device.path], |_| {});
    let write = |mib: u64, seek: u64| {
        let path = device.path.display();
        sh(&format!(
            "dd if=/dev/urandom of={path} bs=1M count={mib} seek={seek} oflag=direct conv=notrunc status=none"
        ));
    };
    write(8, 0);
    rig.assert_identical();
    rig.stop_agent();
    // Nobody reads the ring meanwhile, and what the journal held is gone.
    write(4, 16);
    let segment = rig.config.dir.join("journal/segment-0000");
    sh(&format!("dd if=/dev/zero of={} bs=64k count=1 seek=8 conv=notrunc status=none", segment.display()));
    rig.start_agent();
    rig.wait("a consistent standby", |status| status.peer == "UpToDate" && status.dirty_bytes == 0);
    // The order goes on where the standby was led to.
    write(2, 32);
    rig.assert_identical();
    let status = rig.status();
    assert_eq!((status.full_syncs, status.resynced_bytes), (0, 64 << 20), "{status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and zram"]
fn a_device_that_is_removed_is_told_and_nothing_hangs() {
    let device = ZramDevice::new(64);
    let mut rig = Rig::start("removed", &[&device.path], |_| {});
    fio(&device.path, "--rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --size=64m --io_size=4m");
    rig.assert_identical();
    // Nobody holds it open, the agent neither: its administrator can take it away.
    device.remove().expect("nobody has it open");
    let status = rig.wait("the loss of the device", |status| status.state == "Failed");
    let problem = status.device_problem.clone().unwrap_or_default();
    assert!(problem.contains("was removed") && problem.contains("attach again"), "{problem}");
    rig.stop_agent();
    let again = Agent::start(rig.config.clone()).map(drop);
    assert!(matches!(again, Err(AgentError::Device(_))), "{again:?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_file_system_arrives_and_is_clean() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 256);
    let rig = Rig::start("ext4", &[&device.path], |_| {});
    sh(&format!("mkfs.ext4 -q {}", device.path.display()));
    let mounted = Mounted::new(&device.path, dir.path().join("mnt"));
    sh(&format!(
        "cd {}; for i in $(seq 300); do head -c $((i * 97)) /dev/urandom > f$i; done; sync; rm f1*; cp f2 g; sync; fstrim .",
        mounted.at.display()
    ));
    mounted.unmount();
    rig.assert_identical();
    sh(&format!("e2fsck -fn {}", rig.pairs[0].1.display()));
}

#[test]
#[ignore = "needs root, eBPF and zram"]
fn a_bio_based_device_arrives() {
    let device = ZramDevice::new(128);
    let rig = Rig::start("zram", &[&device.path], |_| {});
    fio(&device.path, "--rw=randwrite --bsrange=4k-256k --iodepth=8 --ioengine=libaio --size=64m --io_size=64m");
    sh(&format!("mkfs.ext4 -q {}", device.path.display()));
    rig.assert_identical();
    assert!(rig.status().records > 100);
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_partition_arrives_relative_to_its_start() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 128);
    sh(&format!("addpart {0} 1 2048 65536; addpart {0} 2 67584 65536", device.path.display()));
    let part = |n: u32| std::path::PathBuf::from(format!("{}p{n}", device.path.display()));
    let second = part(2);
    ensure_node(&device.path, &second, 2);
    ensure_node(&device.path, &part(1), 1);
    let rig = Rig::start("part", &[&second], |_| {});
    fio(&second, "--rw=randwrite --bs=16k --iodepth=8 --ioengine=libaio --size=32m --io_size=16m");
    fio(&part(1), "--rw=randwrite --bs=16k --iodepth=8 --ioengine=libaio --size=32m --io_size=4m");
    rig.assert_identical();
    let status = rig.status();
    // 1024 writes, and what fio flushes.
    assert!((1024..1040).contains(&status.records), "only the named partition: {status:#?}");
}

/// Without udev nobody makes the nodes of partitions.
fn ensure_node(disk: &Path, node: &Path, n: u32) {
    if !node.exists() {
        let name = disk.file_name().expect("name").to_string_lossy().into_owned();
        let dev = std::fs::read_to_string(format!("/sys/block/{name}/{name}p{n}/dev")).expect("partition");
        sh(&format!("mknod {} b {}", node.display(), dev.trim().replace(':', " ")));
    }
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn two_devices_share_one_order() {
    let dir = scratch();
    let a = LoopDevice::new(dir.path(), "a", 64);
    let b = LoopDevice::new(dir.path(), "b", 64);
    let rig = Rig::start("group", &[&a.path, &b.path], |_| {});
    fio(&a.path, "--rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --size=64m --io_size=8m");
    fio(&b.path, "--rw=randwrite --bs=8k --iodepth=8 --ioengine=libaio --size=64m --io_size=8m");
    rig.assert_identical();
    assert!(rig.status().records >= 1024);
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_small_ring_loses_by_number_and_heals() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 256);
    let rig = Rig::start("ring", &[&device.path], |config| config.ring_bytes = 256 << 10);
    rig.wait("the initial resync", |status| status.state == "Connected");
    let before = rig.status().resynced_bytes;
    fio(&device.path, "--rw=randwrite --bs=128k --iodepth=64 --ioengine=libaio --size=256m --io_size=512m");
    rig.assert_identical();
    let status = rig.status();
    assert!(status.losses.completions + status.losses.payloads > 0, "the ring should have been too small: {status:#?}");
    assert!(status.resynced_bytes > before && status.state == "Connected", "{status:#?}");
    assert_eq!(status.full_syncs, 1, "only the first: {status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_restarted_agent_resyncs_only_what_was_touched() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 256);
    let mut rig = Rig::start("restart", &[&device.path], |_| {});
    // Slowly, so that a busy machine loses nothing: a loss would rightly be read back.
    fio(&device.path, "--rw=write --bs=256k --rate=64m --iodepth=4 --ioengine=libaio --size=256m");
    rig.assert_identical();
    // The kernel's map forgets what is durable in the journal, epoch by epoch.
    rig.wait("a turn of the kernel's map", |status| status.epochs_cleared >= 1);
    std::thread::sleep(std::time::Duration::from_secs(4));
    rig.stop_agent();
    fio(&device.path, "--rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --size=16m --io_size=4m");
    rig.start_agent();
    rig.assert_identical();
    let status = rig.status();
    assert!(status.picked_up_pinned_probe, "{status:#?}");
    assert_eq!(status.full_syncs, 0, "{status:#?}");
    assert!(status.resynced_bytes <= 64 << 20, "far less than the volume: {status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_full_journal_hands_over_to_the_dirty_map_and_back() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 512);
    let mut rig = Rig::start("overflow", &[&device.path], |config| {
        config.journal_bytes = 64 << 20;
        config.segment_bytes = 32 << 20;
    });
    rig.assert_identical();
    let initial = rig.status().resynced_bytes;
    rig.stop_standby();
    rig.wait("the cut", |status| !status.connected);
    // Slow enough for a busy machine: what the ring loses does not fill the journal.
    fio(&device.path, "--rw=randwrite --bs=64k --iodepth=8 --ioengine=libaio --size=192m --io_size=192m --rate=32m");
    let status = rig.wait("the overflow", |status| status.overflows > 0);
    assert_eq!(status.state, "Behind", "{status:#?}");
    rig.start_standby();
    rig.assert_identical();
    let status = rig.status();
    assert_eq!((status.state.as_str(), status.full_syncs), ("Connected", 1), "only the first: {status:#?}");
    let after_outage = status.resynced_bytes - initial;
    assert!((192 << 20..256 << 20).contains(&after_outage), "what was written, not the volume: {status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_standby_that_comes_back_goes_on_at_the_exact_entry() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 128);
    let mut rig = Rig::start("cut", &[&device.path], |_| {});
    rig.assert_identical();
    let resynced = rig.status().resynced_bytes;
    for _ in 0..3 {
        rig.stop_standby();
        fio(&device.path, "--rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --size=64m --io_size=4m");
        rig.start_standby();
        fio(&device.path, "--rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --size=64m --io_size=4m");
        rig.assert_identical();
    }
    let status = rig.status();
    let unseen = status.losses.unseen * (128 << 10);
    assert!(status.resynced_bytes - resynced <= unseen, "an outage within the journal costs nothing: {status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn verify_finds_a_planted_difference() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let rig = Rig::start("verify", &[&device.path], |_| {});
    fio(&device.path, "--rw=write --bs=1m --ioengine=libaio --size=64m");
    rig.assert_identical();
    let report = rig.agent().verify(&mut |_, _| {}).expect("verify");
    assert_eq!((report.bytes, report.differing_chunks), (64 << 20, 0));
    sh(&format!("printf x | dd of={} bs=1 seek=5000000 conv=notrunc status=none", rig.pairs[0].1.display()));
    let report = rig.agent().verify(&mut |_, _| {}).expect("verify");
    assert_eq!(report.differing_chunks, 1, "{report:?}");
    let found = &report.differences[0];
    assert!((found.offset..found.offset + found.len).contains(&5_000_000), "{found:?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn what_would_be_wrong_is_refused() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let mut rig = Rig::prepare("refused", &[&device.path]);
    rig.config.to = vec![agent::Secondary::at("127.0.0.1:1")];
    let refused = |rig: &Rig| match Agent::start(rig.config.clone()) {
        Ok(_) => panic!("started"),
        Err(error) => error,
    };
    // The journal on the observed device itself.
    sh(&format!("mkfs.ext4 -q {}", device.path.display()));
    let mounted = Mounted::new(&device.path, dir.path().join("mnt"));
    let good = std::mem::replace(&mut rig.config.dir, mounted.at.join("state"));
    let error = refused(&rig);
    assert!(matches!(error, AgentError::Stack(_)), "{error}");
    assert_eq!(error.class(), ErrorClass::Refused);
    rig.config.dir = good;
    mounted.unmount();
    // No such device; not a device.
    for path in ["/dev/nothing-here", "/etc/passwd"] {
        let device = std::mem::replace(&mut rig.config.devices[0].path, path.into());
        assert!(matches!(refused(&rig), AgentError::Device(_)), "{path}");
        rig.config.devices[0].path = device;
    }
    // A second agent.
    rig.start_agent();
    let mut second = rig.config.clone();
    second.group.push('x');
    second.dir.push("second");
    let Err(error) = Agent::start(second) else { panic!("two agents on one device") };
    assert!(matches!(error, AgentError::Busy { .. }), "{error}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn detaching_leaves_nothing_in_the_kernel() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 32);
    let mut rig = Rig::start("detach", &[&device.path], |_| {});
    let pins = Path::new("/sys/fs/bpf/blkecho").join(&rig.group);
    assert!(pins.join("link_block_rq_issue").exists());
    rig.stop_agent();
    assert!(pins.exists(), "stopping leaves the probe");
    assert!(agent::detach(&rig.group, Path::new("/sys/fs/bpf")).expect("detach").removed);
    assert!(!pins.exists());
    assert!(!agent::detach(&rig.group, Path::new("/sys/fs/bpf")).expect("detach again").removed);
}

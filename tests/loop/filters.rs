//! Filters: what is kept out, what arrives, and what a standby is called.

use std::path::Path;
use std::sync::atomic::Ordering;

use agent::btf::Btf;
use agent::filter::{CommandClass, Group, Observable, Operation};
use agent::preflight::{Device, Host, features};
use agent::probe::layout::{find, op_number};
use agent::probe::{Probe, ProbeSpec, remove};
use agent::{AgentError, Filter};

use crate::rig::{LoopDevice, Rig, ZramDevice, fio, sh};
use crate::scratch;

/// A copy of dd under a name of its own, so that the task can be told by it.
fn dd_named(dir: &Path, name: &str) -> std::path::PathBuf {
    let program = dir.join(name);
    sh(&format!("cp $(command -v dd) {}", program.display()));
    program
}

/// `count` direct writes of 4 KiB, one after the other, from byte `seek` * 4096 on.
fn write_with(program: &Path, device: &Path, seek: u64, count: u64) {
    sh(&format!(
        "{} if=/dev/urandom of={} bs=4k seek={seek} count={count} oflag=direct conv=notrunc status=none",
        program.display(),
        device.display()
    ));
}

fn digest(path: &Path, first_kib: u64, kib: u64) -> String {
    sh(&format!("sync; dd if={} bs=1k skip={first_kib} count={kib} status=none | md5sum", path.display()))
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn of_a_range_everything_arrives_and_of_the_rest_nothing() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    fio(&device.path, "--rw=write --bs=1m --ioengine=libaio --size=64m");
    // 16 MiB from 8 MiB on.
    let mut rig = Rig::start("range", &[&device.path], |config| {
        config.filter.lbas = vec!["16384+32768".parse().expect("a range")];
    });
    let (copy, whole) = (rig.pairs[0].1.clone(), 64 << 10);
    let inside = |path: &Path| digest(path, 8 << 10, 16 << 10);
    rig.wait("the range", |status| status.state == "Connected" && status.peer == "UpToDate");
    assert_eq!(rig.status().resynced_bytes, 16 << 20, "no more than the range is copied");
    let dd = dd_named(dir.path(), "dd");
    // Inside, outside, and across both borders; trimmed across all of it.
    write_with(&dd, &device.path, 3000, 100);
    write_with(&dd, &device.path, 7000, 50);
    let across = |mib: u64| {
        let path = device.path.display();
        // 1 MiB across a border, as one command where the device takes it.
        sh(&format!(
            "dd if=/dev/urandom of={path} bs=1M count=1 seek={} oflag=direct,seek_bytes conv=notrunc status=none",
            (mib << 20) - (512 << 10)
        ));
    };
    across(8);
    across(24);
    fio(
        &device.path,
        "--rw=randwrite --bsrange=4k-256k --iodepth=8 --ioengine=libaio --size=64m --io_size=32m --rate=40m",
    );
    sh(&format!("sync; blkdiscard --offset 7M --length 4M {}", device.path.display()));
    rig.drain();
    let status = rig.status();
    assert!(status.filtered.range >= 50, "{status:#?}");
    assert_eq!(status.full_syncs, 1, "{status:#?}");
    let verified = rig.agent().verify(&mut |_, _| {}).expect("verify");
    assert_eq!((verified.bytes, verified.differing_chunks), (16 << 20, 0), "{verified:#?}\n{status:#?}");
    assert_eq!(inside(&device.path), inside(&copy), "{status:#?}");
    let nothing = |first: u64, kib: u64| {
        let zeros = sh(&format!("head -c {} /dev/zero | md5sum", kib << 10));
        assert_eq!(digest(&copy, first, kib), zeros, "{kib} KiB from {first} KiB on: nobody asked for it");
    };
    nothing(0, 8 << 10);
    nothing(24 << 10, whole - (24 << 10));
    // Another filter is another stream: nothing of the old one is taken for it.
    rig.stop_agent();
    rig.config.filter.lbas.clear();
    rig.start_agent();
    rig.assert_identical();
    let status = rig.status();
    assert!(!status.picked_up_pinned_probe && status.full_syncs == 1, "{status:#?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn of_one_program_everything_is_told_and_the_standby_is_never_called_a_copy() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    let (wanted, other) = (dd_named(dir.path(), "wanted"), dd_named(dir.path(), "other"));
    let rig = Rig::start("process", &[&device.path], |config| {
        config.filter.comms = vec!["wanted".parse().expect("a name")];
        config.partial = true;
    });
    rig.wait("the link", |status| status.connected);
    write_with(&wanted, &device.path, 0, 100);
    write_with(&other, &device.path, 1000, 70);
    rig.drain();
    let status = rig.status();
    assert_eq!(status.state, "Partial", "{status:#?}");
    assert_eq!(status.peer, "Inconsistent", "{status:#?}");
    assert_eq!((status.resynced_bytes, status.dirty_bytes, status.losses.untracked), (0, 0, 0), "{status:#?}");
    // A request that waited for a tag is issued by a kernel thread, so few may be missed, never one of another program.
    assert!((90..=101).contains(&status.records), "{status:#?}");
    assert!(status.filtered.process >= 70, "{status:#?}");
    assert_eq!(status.completions, status.records, "what is kept out takes no number: {status:#?}");
    let (source, copy) = (&device.path, &rig.pairs[0].1);
    if status.records >= 100 {
        assert_eq!(digest(source, 0, 400), digest(copy, 0, 400));
    }
    let zeros = sh("head -c 286720 /dev/zero | md5sum");
    assert_eq!(digest(copy, 4000, 280), zeros, "the other program's writes do not arrive");
    assert!(matches!(rig.agent().verify(&mut |_, _| {}), Err(AgentError::Usage(_))), "there is nothing to compare");
}

#[test]
#[ignore = "needs root, eBPF and zram"]
fn filters_hold_for_bios_and_every_kind_of_rule() {
    let dir = scratch();
    let device = ZramDevice::new(64);
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let group = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let wanted = dd_named(dir.path(), "wanted");
    let written = |filter: Filter| {
        let partial = filter.drops_changes();
        let rig = Rig::start("kinds", &[&device.path], |config| (config.filter, config.partial) = (filter, partial));
        rig.wait("the link", |status| status.connected && status.dirty_bytes == 0);
        let before = rig.status();
        write_with(&wanted, &device.path, 0, 20);
        rig.drain();
        let after = rig.status();
        let filtered = after.filtered;
        let kept = filtered.range + filtered.operation + filtered.process + filtered.cgroup;
        (after.records - before.records, kept, filtered)
    };
    let filter = Filter::default;
    let (records, kept, _) = written(filter());
    assert!(records >= 20 && kept == 0, "{records} {kept}");
    let (records, _, filtered) = written(Filter { operations: vec![Operation::Discard], ..filter() });
    assert!(records == 0 && filtered.operation >= 20, "{records} {filtered:?}");
    let (records, _, filtered) = written(Filter { classes: vec![CommandClass::Write], ..filter() });
    assert!(records >= 20, "{records} {filtered:?}");
    let (records, _, filtered) = written(Filter { pids: vec![1], ..filter() });
    assert!(records == 0 && filtered.process >= 20, "{records} {filtered:?}");
    let (records, _, filtered) = written(Filter { lbas: vec!["16-31".parse().expect("LBAs")], ..filter() });
    assert_eq!((records, filtered.range), (4, 16), "blocks 16 to 19 of 0 to 19: {filtered:?}");
    let here = Filter { cgroups: vec![Group::Path(group.into())], ..filter() };
    let (records, _, filtered) = written(here);
    assert!(records >= 20 && filtered.cgroup == 0, "{records} {filtered:?}");
    let (records, _, filtered) = written(Filter { cgroups: vec![Group::Id(u64::MAX)], ..filter() });
    assert!(records == 0 && filtered.cgroup >= 20, "{records} {filtered:?}");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn another_filter_is_in_force_at_once() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 32);
    let found = Device::identify(&device.path).expect("a device");
    let kernel = Btf::kernel().expect("types");
    let bpffs = Path::new(features::BPFFS);
    features::ensure_bpffs(bpffs, &Host::default()).expect("bpffs");
    let rules = |name: &str| {
        let filter = Filter { comms: vec![name.parse().expect("a name")], ..Filter::default() };
        let volume = Observable { name: "disk", size: found.size, block: found.logical_block, device: None };
        filter.compile(&[volume], |name| op_number(&kernel, name)).expect("compiles").kernel
    };
    let mut spec = ProbeSpec {
        volumes: vec![Default::default()],
        ring_bytes: 1 << 20,
        layout: find(&kernel, 16).expect("layout"),
        filter: rules("nobody"),
        tape: None,
    };
    spec.volumes[0].sectors = found.size >> 9;
    spec.volumes[0].disk_dev = found.disk.major << 20 | found.disk.minor;
    let pins = bpffs.join("blkecho").join(format!("test-live-{}", std::process::id()));
    let probe = Probe::load(&mut spec, &pins).expect("loads");
    let dd = dd_named(dir.path(), "wanted");
    let numbered = |probe: &Probe| {
        write_with(&dd, &device.path, 0, 20);
        probe.order.word(0, 0).load(Ordering::Acquire)
    };
    let (none, out) = (numbered(&probe), probe.sum_counters().filtered_process);
    probe.set_filter(&rules("wanted")).expect("changes");
    let some = numbered(&probe);
    probe.set_filter(&rules("nobody")).expect("changes back");
    let same = numbered(&probe);
    remove(&pins).expect("detaches");
    assert!(none == 0 && out >= 20, "{none} {out}");
    assert!((10..=21).contains(&some), "{some}");
    assert_eq!(same, some);
}

//! Stories of a standby whose SCSI device makes trouble: what it does not take heals, what it loses is applied again.

mod primary;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::scsi::{Asc, Outcome, Sense, SenseKey};
use formats::wire::DataState;
use replication::errors::{Budget, Budgets, HealConfig, Limit, Policy, Wait};

use super::*;
use crate::scsi::simulated::{Reaction, Selector, Settings, SimulatedDevice, Times};
use crate::target::{ScsiOptions, ScsiTarget};
use primary::Primary;

const BLOCKS: u64 = 1024;
const SIZE: u64 = BLOCKS * 512;
const LONG: Duration = Duration::from_secs(60);
/// WRITE of all lengths, and WRITE SAME, UNMAP.
const WRITES: [u8; 6] = [0x0a, 0x2a, 0xaa, 0x8a, 0x93, 0x42];

/// A standby on a simulated disk; directory and disk outlive its restarts.
struct Fixture {
    dir: tempfile::TempDir,
    device: SimulatedDevice,
    checkpoint_interval: Duration,
}

fn policy() -> Policy {
    let wait = Wait { first: Duration::from_micros(10), longest: Duration::from_micros(10) };
    let mut budgets = Budgets::USUAL;
    (budgets.short, budgets.long, budgets.poll) = (wait, wait, wait);
    for &budget in Budget::ALL {
        budgets = budgets.with_limit(budget, Limit { attempts: 3, time: LONG });
    }
    Policy { budgets, ..Policy::default() }
}

fn write_error() -> Outcome {
    // MEDIUM ERROR, WRITE ERROR - AUTO REALLOCATION FAILED.
    Outcome::check(Sense::new(SenseKey::MediumError, Asc::new(0x0c, 0x02)))
}

impl Fixture {
    fn new() -> Self {
        let device = SimulatedDevice::new(Settings::disk(512, BLOCKS)).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), device, checkpoint_interval: Duration::from_millis(20) }
    }

    fn start(&self) -> StandbyHandle {
        self.start_in(self.dir.path())
    }

    fn start_in(&self, dir: &Path) -> StandbyHandle {
        let volumes = vec![("vol".to_owned(), "sim".into())];
        let mut config = StandbyConfig::new("127.0.0.1:0", dir.to_owned(), volumes);
        config.journal_bytes = MIN_JOURNAL_BYTES;
        config.depth = 4;
        config.checkpoint_interval = self.checkpoint_interval;
        config.keepalive = Duration::from_millis(50);
        config.link_timeout = LONG;
        let wait = Wait { first: Duration::from_millis(5), longest: Duration::from_millis(40) };
        config.heal = HealConfig { wait, ..HealConfig::default() };
        let options = ScsiOptions { policy: policy(), ..ScsiOptions::new("sim".into()) };
        let target: Arc<dyn Target> = Arc::new(ScsiTarget::open(Arc::new(self.device.nexus()), options).unwrap());
        StandbyService::start_on(config, vec![("vol".into(), target)]).unwrap()
    }

    /// Writes to these blocks fail.
    fn refuse(&self, blocks: std::ops::Range<u64>, times: Times) {
        let selector = Selector::opcodes(&WRITES).within(blocks);
        self.device.add_rule(selector, times, Reaction::Instead(write_error()));
    }

    fn content(&self) -> Vec<u8> {
        self.device.content(0, BLOCKS)
    }

    /// A copy of the directory as a kill -9 at this moment leaves it.
    fn killed(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let from = format!("{}/.", self.dir.path().display());
        let copied = std::process::Command::new("cp").args(["-a", "--sparse=always", &from]).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        copy
    }
}

fn wait_for(handle: &StandbyHandle, what: &str, holds: impl Fn(&StandbyStatus) -> bool) -> StandbyStatus {
    let deadline = Instant::now() + LONG;
    loop {
        let status = handle.status();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never came: {what}; {status:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_the_device_refuses_is_named_and_heals_once_it_is_well() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    let first = primary.write(0, 64, 1);
    primary.wait_applied(first);
    wait_for(&standby, "the word", |s| s.content == "UpToDate");
    fixture.refuse(8..16, Times::Always);
    primary.write(4, 8, 2);
    let last = primary.write(100, 8, 3);
    primary.wait_applied(last);
    let status = standby.status();
    assert_eq!((status.content.as_str(), status.data), ("Inconsistent", "Inconsistent"));
    assert_eq!((status.out_of_sync.holes, status.out_of_sync.bytes, status.done.not_taken.entries), (1, 4096, 1));
    let hole = &status.out_of_sync.first[0];
    assert_eq!((hole.volume.as_str(), hole.offset, hole.len, hole.reason), ("vol", 2048, 4096, Some("write-error")));
    assert_eq!(fixture.content()[100 * 512..108 * 512], [3; 4096], "replay went on");
    // The primary sends the region again and again; the device refuses.
    for attempt in 1..=3 {
        assert!(primary.read_until("a request", |primary| !primary.asked.is_empty()));
        assert_eq!(primary.asked[0].reason.to_string_lossy(), "write-error");
        primary.send_asked();
        let refused = wait_for(&standby, "an attempt", |s| s.out_of_sync.first.iter().any(|h| h.attempts >= attempt));
        assert_eq!(refused.content, "Inconsistent");
    }
    fixture.device.clear_rules();
    primary.heal(last);
    let status = wait_for(&standby, "the word", |s| s.content == "UpToDate");
    assert_eq!((status.out_of_sync.holes, status.out_of_sync.first.len()), (0, 0));
    assert!(status.out_of_sync.healed_bytes >= 4096 && status.out_of_sync.asked >= 3);
    assert!(fixture.content() == primary.disk);
    standby.stop();
}

#[test]
fn a_later_write_heals_what_it_covers_and_nothing_else() {
    let mut fixture = Fixture::new();
    fixture.checkpoint_interval = LONG;
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    fixture.refuse(0..16, Times::First(4));
    primary.write(0, 16, 1);
    let last = primary.write(4, 8, 2);
    primary.wait_applied(last);
    let status = standby.status();
    let holes: Vec<_> = status.out_of_sync.first.iter().map(|hole| (hole.offset / 512, hole.len / 512)).collect();
    assert_eq!((holes, status.data), (vec![(0, 4), (12, 4)], "Inconsistent"));
    let last = primary.write(0, 16, 3);
    primary.wait_applied(last);
    assert!(primary.read_until("equal", |primary| primary.ack.data == DataState::Consistent));
    assert!(fixture.content() == primary.disk);
    standby.stop();
}

/// Killed at any moment behind the checkpoint that knows the hole, or before it: never is it forgotten.
#[test]
fn a_hole_survives_a_kill_and_heals_after_it() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    fixture.refuse(8..16, Times::First(4));
    let last = primary.write(8, 8, 2);
    primary.wait_applied(last);
    let at_once = fixture.killed();
    wait_for(&standby, "a checkpoint behind it", |s| s.journal.checkpoint == s.journal.last);
    let later = fixture.killed();
    primary.disconnect();
    drop(standby);
    for (dir, redone) in [(at_once, false), (later, true)] {
        // The write that comes again after an early kill is refused again.
        fixture.device.clear_rules();
        fixture.device.add_rule(Selector::opcodes(&WRITES), Times::First(4), Reaction::Instead(write_error()));
        let standby = fixture.start_in(dir.path());
        let status = wait_for(&standby, "the hole", |s| s.out_of_sync.holes == 1 && s.state == StateWord::Listening);
        assert_eq!(status.content, "Inconsistent");
        assert!(!redone || status.out_of_sync.first[0].reason == Some("write-error"));
        fixture.device.clear_rules();
        let welcome = primary.connect(standby.local_addr());
        assert_eq!(welcome.data, DataState::Inconsistent);
        primary.heal(last);
        assert!(fixture.content() == primary.disk);
        wait_for(&standby, "a checkpoint without it", |s| s.journal.checkpoint == s.journal.last);
        primary.disconnect();
        standby.stop();
        let standby = fixture.start_in(dir.path());
        assert_eq!(standby.status().out_of_sync.holes, 0, "healed for good");
        standby.stop();
    }
}

#[test]
fn a_list_of_holes_that_is_lost_means_everything() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    let last = primary.write(0, 8, 1);
    primary.wait_applied(last);
    primary.disconnect();
    standby.stop();
    std::fs::remove_file(fixture.dir.path().join("standby.holes")).unwrap();
    let standby = fixture.start();
    assert_eq!(standby.status().out_of_sync.bytes, SIZE);
    primary.connect(standby.local_addr());
    primary.heal(last);
    assert!(fixture.content() == primary.disk);
    standby.stop();
}

/// Writes that were taken and not flushed are gone with the power; the next command is told.
#[test]
fn lost_writes_are_applied_again_from_the_checkpoint() {
    let mut fixture = Fixture::new();
    fixture.checkpoint_interval = LONG;
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    let mut last = 0;
    (0..40).for_each(|n| last = primary.write(n * 8, 8, n as u8 + 1));
    primary.wait_applied(last);
    fixture.device.power_cut().unwrap();
    assert!(fixture.content() != primary.disk, "nothing was lost");
    last = primary.write(4, 2, 99);
    assert!(!primary.read_until("the end", |_| false), "the session ends");
    primary.connect(standby.local_addr());
    primary.wait_applied(last);
    assert!(primary.read_until("equal", |primary| primary.ack.data == DataState::Consistent));
    assert!(fixture.content() == primary.disk);
    let status = wait_for(&standby, "the word", |s| s.content == "UpToDate");
    assert_eq!(status.times_lost, 1);
    assert!(status.redone >= 40, "{} redone", status.redone);
    standby.stop();
}

/// The flush of a checkpoint is a command like any other: it may be the one that is told, and then saves nothing.
#[test]
fn a_checkpoint_that_hears_of_lost_writes_is_none() {
    let mut fixture = Fixture::new();
    fixture.checkpoint_interval = Duration::from_millis(200);
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    let mut last = 0;
    (0..40).for_each(|n| last = primary.write(n * 8, 8, n as u8 + 1));
    primary.wait_applied(last);
    fixture.device.power_cut().unwrap();
    let flushed = wait_for(&standby, "a checkpoint", |s| s.times_lost == 1 || s.journal.checkpoint == s.journal.last);
    // Its flush may have come before the power cut; then nothing was lost.
    let lost = flushed.times_lost == 1;
    if lost {
        assert!(!primary.read_until("the end", |_| false), "the session ends");
        primary.connect(standby.local_addr());
    }
    let last = primary.write(400, 1, 7);
    while !primary.read_until("applied", |primary| primary.ack.applied >= last) {
        primary.connect(standby.local_addr());
    }
    assert!(fixture.content() == primary.disk);
    wait_for(&standby, "a checkpoint", |s| s.journal.checkpoint == s.journal.last);
    fixture.device.power_cut().unwrap();
    assert!(fixture.content() == primary.disk, "what a checkpoint covers is on the medium");
    standby.stop();
}

/// A flush that fails for good says nothing of which writes it failed.
#[test]
fn a_failed_flush_puts_the_volume_out_of_sync_and_it_heals() {
    let mut fixture = Fixture::new();
    fixture.checkpoint_interval = LONG;
    let standby = fixture.start();
    let mut primary = Primary::new();
    primary.connect(standby.local_addr());
    let aborted = Outcome::check(Sense::new(SenseKey::AbortedCommand, Asc::new(0x00, 0x00)));
    fixture.device.add_rule(Selector::opcodes(&[0x35, 0x91]), Times::First(4), Reaction::Instead(aborted));
    primary.write(0, 8, 1);
    let last = primary.flush();
    primary.wait_applied(last);
    let status = standby.status();
    assert_eq!((status.out_of_sync.bytes, status.content.as_str()), (SIZE, "Inconsistent"));
    primary.heal(last);
    assert!(fixture.content() == primary.disk);
    standby.stop();
}

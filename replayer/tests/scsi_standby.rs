//! A standby on a SCSI device: the primary's device, told in the hello, beside the one here; and what `status` shows.

mod common;

use std::sync::Arc;

use common::*;
use formats::Op;
use formats::scsi::identity::Identity;
use formats::wire::{Hello, RefuseCode};
use link::LinkError;
use replayer::scsi::identity::read;
use replayer::scsi::simulated::{Settings, SimulatedDevice, Thin};
use replayer::standby::{StandbyConfig, StandbyError, StandbyHandle, StandbyService};
use replayer::target::{ScsiOptions, ScsiReport, ScsiTarget, Target};

const BLOCKS: u64 = SIZE / 512;

fn device(settings: Settings) -> SimulatedDevice {
    SimulatedDevice::new(settings).unwrap()
}

fn thin(blocks: u64) -> Settings {
    Settings::thin_disk(512, blocks, Thin::UNLIMITED)
}

/// A hello from a disk that says this of itself.
fn hello_of(primary: &Identity) -> Hello {
    let mut hello = hello();
    hello.volumes[0].scsi = Some(Box::new(primary.clone()));
    hello
}

struct Rig {
    dir: tempfile::TempDir,
    device: SimulatedDevice,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), device: device(settings) }
    }

    fn config(&self, mapping: &str) -> StandbyConfig {
        let mut config = config(self.dir.path(), "simulated".as_ref());
        if !mapping.is_empty() {
            config.scsi.mappings.insert("vol".into(), mapping.parse().unwrap());
        }
        config
    }

    fn try_start(&self, mapping: &str) -> Result<StandbyHandle, StandbyError> {
        let config = self.config(mapping);
        let options = ScsiOptions { mapping: config.scsi.mapping("vol"), ..ScsiOptions::new("simulated".into()) };
        let target = ScsiTarget::open(Arc::new(self.device.nexus()), options).unwrap();
        StandbyService::start_on(config, vec![("vol".into(), Arc::new(target) as Arc<dyn Target>)])
    }

    fn start(&self, mapping: &str) -> StandbyHandle {
        self.try_start(mapping).unwrap()
    }
}

fn report(standby: &StandbyHandle) -> ScsiReport {
    standby.status().volumes[0].scsi.clone().expect("a SCSI target")
}

/// The content of a volume that begins at this block of the device.
fn content(rig: &Rig, lba: u64, len: usize) -> Vec<u8> {
    let target = ScsiTarget::open(Arc::new(rig.device.nexus()), ScsiOptions::new("reader".into())).unwrap();
    let mut bytes = vec![0; len];
    target.read(lba * 512, &mut bytes).unwrap();
    bytes
}

fn refusal(standby: &StandbyHandle, hello: &Hello) -> String {
    match Primary::open(standby.local_addr(), hello).err() {
        Some(LinkError::Refused { code: RefuseCode::Geometry, text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn differences_are_named_and_rows_are_counted() {
    let rig = Rig::new(thin(BLOCKS));
    let mut primary = read(&device(thin(BLOCKS)).nexus()).unwrap();
    (primary.product, primary.serial) = ("another".into(), Some("S1".into()));
    let standby = rig.start("");
    let before = report(&standby);
    assert_eq!((before.primary, before.differences.len(), before.primary_reads_zeros), (None, 0, true));
    let (mut session, _) = Primary::open(standby.local_addr(), &hello_of(&primary)).unwrap();
    session.send(&[region(0, 0, &[], 0, 0), write(1, 0, 4096, 1), record(2, 1, Op::Discard, (4096, 512), &[])]);
    session.wait_applied(2);
    let now = report(&standby);
    assert!(now.primary.unwrap().contains("another"));
    let named = |name: &str| now.differences.iter().any(|difference| difference.name == name);
    assert!(named("product") && named("serial number"), "{:?}", now.differences);
    assert!(now.rows.iter().any(|row| row.count > 0), "{:?}", now.rows);
    let json = serde_json::to_value(standby.status()).unwrap();
    assert_eq!(json["volumes"][0]["scsi"]["opaque"], "stop");
    assert!(json["volumes"][0]["scsi"]["rows"][0]["row"].is_string());
    assert_eq!(json["volumes"][0]["scsi"]["differences"][0]["severity"], "Warn");
    standby.stop();
    assert_eq!(content(&rig, 0, 4096), vec![1; 4096]);
}

#[test]
fn a_primary_that_cannot_be_stood_for_is_refused_by_name_and_leaves_the_other_be() {
    let rig = Rig::new(thin(BLOCKS));
    let standby = rig.start("");
    let good = read(&device(thin(BLOCKS)).nexus()).unwrap();
    let mut bad = good.clone();
    bad.capacity.as_mut().unwrap().protection = 2;
    bad.capacity.as_mut().unwrap().blocks = BLOCKS + 1;
    let text = refusal(&standby, &hello_of(&bad));
    for words in ["volume vol", "protection: type 2 was recorded, here none", "capacity: 8193 blocks was recorded"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    wait_for(&standby, "the refusal counted", |status| status.refused == 1);
    let (_session, _) = Primary::open_patiently(standby.local_addr(), &hello_of(&good));
    refusal(&standby, &hello_of(&bad));
    assert!(report(&standby).primary.is_some() && !report(&standby).differences.iter().any(|d| d.name == "protection"));
    standby.stop();
}

#[test]
fn what_the_primary_promises_of_unmapped_blocks_is_taken_from_it() {
    let rig = Rig::new(thin(BLOCKS));
    let mut primary = read(&device(thin(BLOCKS)).nexus()).unwrap();
    let standby = rig.start("");
    let (session, _) = Primary::open(standby.local_addr(), &hello_of(&primary)).unwrap();
    assert!(report(&standby).primary_reads_zeros);
    drop(session);
    primary.capacity.as_mut().unwrap().reads_zeros = false;
    primary.provisioning.as_mut().unwrap().reads_zeros = false;
    let (session, _) = Primary::open_patiently(standby.local_addr(), &hello_of(&primary));
    assert!(!report(&standby).primary_reads_zeros);
    drop(session);
    // One that does not tell is taken for one that promises.
    let (_session, _) = Primary::open_patiently(standby.local_addr(), &hello());
    let report = report(&standby);
    assert!(report.primary_reads_zeros && report.primary.is_none() && report.differences.is_empty());
    standby.stop();
}

#[test]
fn content_is_moved_as_mapped_and_stays_where_it_is() {
    let rig = Rig::new(thin(BLOCKS + 2048));
    let standby = rig.start("lba=+2048");
    let primary = read(&device(thin(BLOCKS)).nexus()).unwrap();
    let (mut session, _) = Primary::open(standby.local_addr(), &hello_of(&primary)).unwrap();
    session.send(&[region(0, 0, &[9; 65536], 0, 0), write(1, 512, 512, 1)]);
    session.wait_applied(1);
    assert_eq!(report(&standby).mapping.lba_offset, 2048);
    wait_for(&standby, "a checkpoint", |status| status.journal.checkpoint >= 2);
    drop(session);
    standby.stop();
    assert_eq!(content(&rig, 2048, 1536), [[9; 512], [1; 512], [9; 512]].concat());
    assert_eq!(content(&rig, 0, 512), vec![0; 512]);
    match rig.try_start("lba=+4096") {
        Err(StandbyError::TargetChanged { was, now, .. }) => {
            assert_eq!((was.as_str(), now.as_str()), ("simulated lba=+2048", "simulated lba=+4096"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(rig.try_start(""), Err(StandbyError::TargetChanged { .. })));
    assert_eq!(StandbyService::known_targets(rig.dir.path()), [("vol".to_owned(), "simulated".into())]);
    rig.start("lba=+2048").stop();
}

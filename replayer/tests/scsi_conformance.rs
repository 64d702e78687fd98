//! The simulated SCSI device against the conformance checks that a real one must pass too.

mod scsi_common;

use formats::scsi::build;
use formats::scsi::{SenseKey, decode};
use replayer::scsi::simulated::{Nexus, Settings, SimulatedDevice, TapeSettings, Thin};
use scsi_common::pair::{self, Pair};
use scsi_common::{Check, Feature, Profile, conformance, extended, refused, run, settle, tape};

/// All but thin provisioning.
const EVERYTHING: &[Feature] = Feature::ALL.split_at(1).1;
const THIN: &[Feature] = Feature::ALL;

const BLOCKS: u64 = 8192;

fn nexus(settings: Settings) -> Nexus {
    SimulatedDevice::new(settings).expect("it can be made").nexus()
}

/// Each kind of disk with what it does.
fn disks() -> Vec<(Nexus, Profile)> {
    let profile = |block_size, features| Profile { block_size, blocks: BLOCKS, features };
    let mut disks = vec![];
    for block_size in [512, 4096] {
        disks.push((nexus(Settings::disk(block_size, BLOCKS)), profile(block_size, EVERYTHING)));
        let thin = Settings::thin_disk(block_size, BLOCKS, Thin::UNLIMITED);
        disks.push((nexus(thin.clone()), profile(block_size, THIN)));
        let uncached = Settings { write_cache: false, physical_exponent: 3, ..thin };
        disks.push((nexus(uncached), profile(block_size, THIN)));
    }
    disks
}

fn applying(checks: &[Check], profile: &Profile) -> Vec<&'static str> {
    checks.iter().filter(|check| check.applies(profile)).map(|check| check.name).collect()
}

#[test]
fn every_disk_conforms() {
    for (device, profile) in disks() {
        for checks in [conformance::CHECKS, extended::CHECKS] {
            assert_eq!(run(checks, &device, &profile), applying(checks, &profile));
        }
    }
}

/// The checks that scsi_debug passes are many: without the features that it lacks most of them are left.
#[test]
fn what_scsi_debug_has_is_checked() {
    let scsi_debug = Profile { block_size: 512, blocks: BLOCKS, features: &[Feature::Thin] };
    let device = nexus(Settings::thin_disk(512, BLOCKS, Thin::UNLIMITED));
    assert!(run(conformance::CHECKS, &device, &scsi_debug).len() >= 25);
}

#[test]
fn a_disk_in_a_file_conforms() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let settings = Settings { file: Some(file.path().into()), ..Settings::disk(512, BLOCKS) };
    let profile = Profile { block_size: 512, blocks: BLOCKS, features: EVERYTHING };
    run(conformance::CHECKS, &nexus(settings), &profile);
    assert_eq!(file.as_file().metadata().expect("there").len(), 512 * BLOCKS);
}

#[test]
fn two_initiators_conform() {
    for (one, profile) in disks() {
        let other = one.device().nexus();
        let checks: [fn(&Pair<'_>); 7] = [
            pair::check_types,
            pair::check_released_and_cleared,
            pair::check_unregistered,
            pair::check_preempted,
            pair::check_preempted_all,
            pair::check_reserve_6,
            pair::check_mode_attention,
        ];
        for check in checks {
            settle(&one);
            settle(&other);
            check(&Pair { one: &one, other: &other, profile: &profile });
        }
    }
}

#[test]
fn every_tape_conforms() {
    let device = nexus(Settings::tape(TapeSettings::default()));
    for (name, check) in tape::CHECKS {
        println!("check {name}");
        check(&device);
    }
}

/// Whatever is sent, there is an answer, and the next command is answered as before.
#[test]
fn no_command_of_the_table_breaks_a_device() {
    use formats::scsi::opcode::rows;
    let tape = nexus(Settings::tape(TapeSettings::default()));
    for (device, _) in disks().into_iter().chain([(tape, Profile { block_size: 512, blocks: 0, features: &[] })]) {
        for row in rows() {
            let mut bytes = vec![0xff; usize::from(row.len)];
            bytes[..2].copy_from_slice(&formats::scsi::Cdb::of(row)[..2]);
            if row.opcode == formats::scsi::opcode::VARIABLE_LENGTH {
                bytes[7..10].copy_from_slice(&formats::scsi::Cdb::of(row)[7..10]);
            }
            for fill in [0xff, 0x00, 0x01] {
                bytes.iter_mut().skip(10).for_each(|byte| *byte = fill);
                if decode(&bytes, formats::scsi::DeviceType::DISK).is_ok() {
                    scsi_common::out(&device, &bytes, &[0xff; 4096]);
                    scsi_common::fetch(&device, &bytes, 512);
                    scsi_common::plain(&device, &bytes);
                }
            }
        }
        scsi_common::ask(&device, &build::inquiry(None, 96), 96);
    }
}

/// A CDB that was cut off is refused; what is none at all is the caller's mistake.
#[test]
fn cut_commands_are_refused() {
    let device = nexus(Settings::disk(512, BLOCKS));
    refused(scsi_common::plain(&device, &[0x2a, 0, 0]), SenseKey::IllegalRequest, 0x24, 0);
    let request =
        |cdb| replayer::scsi::Request { cdb, data: replayer::scsi::Data::None, timeout: scsi_common::TIMEOUT };
    use replayer::scsi::ScsiDevice;
    assert!(device.execute(request(&[])).is_err());
    assert!(device.execute(request(&[0x2a; 261])).is_err());
}

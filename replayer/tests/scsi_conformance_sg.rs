//! The conformance checks against a real SCSI disk through SG_IO, or against Linux's scsi_debug in a virtual machine.
//!
//! The disk is overwritten: it is named by `BLKECHO_SCSI_DISK`. What it does beyond the least
//! is listed in `BLKECHO_SCSI_FEATURES`, separated by commas: `thin`, `scattered`, `luns`, or all but the
//! last as `simulated`. For scsi_debug:
//!
//! ```text
//! modprobe scsi_debug dev_size_mb=8 lbpu=1 lbpws=1 lbpws10=1
//! BLKECHO_SCSI_DISK=/dev/sg0 BLKECHO_SCSI_FEATURES=thin,scattered,luns scsi_conformance_sg --ignored --nocapture
//! ```

mod scsi_common;

use formats::scsi::build;
use replayer::scsi::ScsiDevice;
use replayer::scsi::sg::SgDevice;
use scsi_common::{Feature, Profile, ask, conformance, extended, run, settle};

/// Features by their word.
fn features(word: &str) -> &'static [Feature] {
    match word {
        "thin" => &[Feature::Thin],
        "scattered" => &[Feature::WriteScattered],
        "luns" => &[Feature::OwnLuns],
        // Our simulated device behind the kernel's target.
        "simulated" => Feature::ALL.split_last().map_or(&[], |(_, others)| others),
        other => panic!("BLKECHO_SCSI_FEATURES: unknown word `{other}`; known are thin, scattered, luns, simulated"),
    }
}

/// What the disk says of its size, and what the caller says of the rest.
fn profile(device: &dyn ScsiDevice) -> Profile {
    let words = std::env::var("BLKECHO_SCSI_FEATURES").unwrap_or_default();
    let features: Vec<_> = words.split(',').filter(|word| !word.is_empty()).flat_map(features).copied().collect();
    let capacity = ask(device, &build::read_capacity_16(32), 32);
    let last = u64::from_be_bytes(capacity[..8].try_into().expect("eight bytes"));
    let block_size = u32::from_be_bytes(capacity[8..12].try_into().expect("four bytes"));
    assert!(last >= 4095, "the checks need 4096 blocks");
    Profile { block_size, blocks: last + 1, features: features.leak() }
}

#[test]
#[ignore = "overwrites a disk: name it in BLKECHO_SCSI_DISK"]
fn a_real_disk_conforms() {
    let path = std::env::var_os("BLKECHO_SCSI_DISK").expect("BLKECHO_SCSI_DISK names a disk");
    let device = SgDevice::open(path.as_ref()).expect("the disk opens");
    settle(&device);
    let profile = profile(&device);
    for checks in [conformance::CHECKS, extended::CHECKS] {
        println!("passed: {}", run(checks, &device, &profile).join(", "));
    }
}

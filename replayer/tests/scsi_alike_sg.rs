//! Whether two real SCSI disks are alike: a primary's and its standby's, after everything was replayed.
//!
//! Nothing is written. The disks are named by `BLKECHO_SCSI_PAIR`, the primary's first:
//!
//! ```text
//! BLKECHO_SCSI_PAIR=/dev/sg0,/dev/sg1 scsi_alike_sg --ignored --nocapture
//! ```
//!
//! Compared are the bytes of every block; which blocks are mapped (GET LBA STATUS); all mode pages; and reservations. What
//! one of them refuses, the other must refuse with the same sense.

mod scsi_common;

use std::path::Path;

use formats::scsi::build::{self, Access, ModePage, ReserveIn};
use formats::scsi::{LbaRange, Outcome, Sense};
use replayer::scsi::ScsiDevice;
use replayer::scsi::sg::SgDevice;
use scsi_common::{ask, fetch, good, settle};

/// Blocks of one READ.
const PIECE: u64 = 256;
/// Header of the parameter data of GET LBA STATUS, and one descriptor (SBC-4).
const STATUS_BYTES: usize = 24;

/// Blocks, and bytes of one.
fn capacity(device: &dyn ScsiDevice) -> (u64, usize) {
    let data = ask(device, &build::read_capacity_16(32), 32);
    let last = u64::from_be_bytes(data[..8].try_into().expect("eight bytes"));
    (last + 1, u32::from_be_bytes(data[8..12].try_into().expect("four bytes")) as usize)
}

/// What a device answers: data, or its refusal.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    Data(Vec<u8>),
    Refusal(Option<Sense>),
}

fn told(device: &dyn ScsiDevice, cdb: &[u8], room: usize) -> Told {
    let (outcome, bytes) = fetch(device, cdb, room);
    if outcome.is_good() { Told::Data(bytes) } else { refusal(outcome) }
}

fn refusal(outcome: Outcome) -> Told {
    Told::Refusal(outcome.current_sense().copied())
}

fn same_bytes(one: &dyn ScsiDevice, other: &dyn ScsiDevice, (blocks, size): (u64, usize)) {
    for lba in (0..blocks).step_by(PIECE as usize) {
        let count = PIECE.min(blocks - lba);
        let read = |device| ask(device, &build::read_16(lba, count as u32, Access::default()), count as usize * size);
        let (first, second) = (read(one), read(other));
        let differs = first.chunks(size).zip(second.chunks(size)).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| lba + at as u64), None, "block that differs");
    }
    println!("bytes: {blocks} blocks of {size} alike");
}

/// The runs of blocks in one state, neighbours in the same one joined; none where the device does not tell.
fn mapping(device: &dyn ScsiDevice, blocks: u64) -> Result<Vec<(LbaRange, u8)>, Told> {
    let mut runs: Vec<(LbaRange, u8)> = Vec::new();
    let mut lba = 0;
    while lba < blocks {
        let (outcome, data) = fetch(device, &build::get_lba_status_16(lba, STATUS_BYTES as u32), STATUS_BYTES);
        if !outcome.is_good() {
            return Err(refusal(outcome));
        }
        assert_eq!(data[8..16], lba.to_be_bytes(), "the run begins where it was asked for");
        let count = u64::from(u32::from_be_bytes(data[16..20].try_into().expect("four bytes"))).min(blocks - lba);
        assert!(count > 0, "a run of no length at {lba}");
        let state = data[20] & 0x0f;
        match runs.last_mut() {
            Some((run, last)) if *last == state => run.blocks += count,
            _ => runs.push((LbaRange::new(lba, count), state)),
        }
        lba += count;
    }
    Ok(runs)
}

fn same_mapping(one: &dyn ScsiDevice, other: &dyn ScsiDevice, blocks: u64) {
    match (mapping(one, blocks), mapping(other, blocks)) {
        (Ok(first), Ok(second)) => {
            let differs = first.iter().zip(&second).find(|(a, b)| a != b);
            assert_eq!(differs, None, "runs that differ");
            assert_eq!(first.len(), second.len(), "runs");
            let mapped: u64 = first.iter().filter(|(_, state)| *state == 0).map(|(run, _)| run.blocks).sum();
            println!("provisioning: {} runs alike, {mapped} blocks mapped", first.len());
        }
        (first, second) => {
            assert_eq!(first.as_ref().err(), second.as_ref().err(), "both tell, or refuse alike");
            println!("provisioning: not told by either ({:?})", first.err());
        }
    }
}

fn same_state(one: &dyn ScsiDevice, other: &dyn ScsiDevice) {
    let all_pages = build::mode_sense_10(ModePage { page: 0x3f, dbd: true, ..ModePage::default() }, 1024);
    let (first, second) = (told(one, &all_pages, 1024), told(other, &all_pages, 1024));
    assert_eq!(first, second, "mode pages");
    assert!(matches!(first, Told::Data(_)), "mode pages are told: {first:?}");
    for action in [ReserveIn::ReadKeys, ReserveIn::ReadReservation] {
        let asked = build::persistent_reserve_in(action, 256);
        let (first, second) = (reservation(one, &asked), reservation(other, &asked));
        assert_eq!(first, second, "reservations");
        println!("reservations: {}", if matches!(first, Told::Data(_)) { "alike" } else { "refused alike" });
    }
}

/// What is told of reservations but for the generation, which counts how often it was changed.
fn reservation(device: &dyn ScsiDevice, cdb: &[u8]) -> Told {
    match told(device, cdb, 256) {
        Told::Data(data) => Told::Data(data.get(4..).unwrap_or_default().to_vec()),
        refusal => refusal,
    }
}

#[test]
#[ignore = "needs two SCSI disks: name them in BLKECHO_SCSI_PAIR"]
fn two_disks_are_alike() {
    let names = std::env::var("BLKECHO_SCSI_PAIR").expect("BLKECHO_SCSI_PAIR names two disks");
    let (one, other) = names.split_once(',').expect("BLKECHO_SCSI_PAIR names two disks");
    let open = |name: &str| SgDevice::open(Path::new(name)).expect("the disk opens");
    let (one, other) = (open(one), open(other));
    settle(&one);
    settle(&other);
    good(scsi_common::plain(&one, &build::test_unit_ready()));
    let shape = capacity(&one);
    assert_eq!(shape, capacity(&other), "capacity");
    same_bytes(&one, &other, shape);
    same_mapping(&one, &other, shape.0);
    same_state(&one, &other);
}

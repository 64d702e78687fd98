//! What every suite of SCSI devices shares: sending commands, and what a device can do.
#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod conformance;
pub(crate) mod extended;
pub(crate) mod orders;
pub(crate) mod pair;
pub(crate) mod scsi_debug;
pub(crate) mod tape;

use std::time::Duration;

use formats::scsi::build::{self, Access};
use formats::scsi::{Asc, Cdb, Outcome, Sense, SenseKey};
use replayer::scsi::{Data, Request, ScsiDevice};
use replication::errors::Reply;

/// A command may take so long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A device that is told what to answer.
pub(crate) trait Script {
    /// The next command of this operation code ends so; false for what cannot be said. The kernel may ask a device about
    /// itself at any time: its questions do not count.
    fn once(&self, opcode: u8, reply: Reply) -> bool;

    /// Takes that back, used or not.
    fn clear(&self, opcode: u8);
}

/// What not every device does. A check that needs one of these is left out for a device without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    /// UNMAP, WRITE SAME with UNMAP (both lengths), GET LBA STATUS; unmapped blocks read as zeros.
    Thin,
    /// Answers by the letter where scsi_debug is lenient: fields that it ignores, lengths that it takes otherwise.
    Strict,
    /// PERSISTENT RESERVE IN and OUT.
    PersistentReservations,
    /// WRITE LONG and READ LONG.
    WriteLong,
    /// SANITIZE and FORMAT UNIT.
    Sanitize,
    /// ORWRITE.
    OrWrite,
    /// WRITE AND VERIFY, VERIFY(12).
    WriteAndVerify,
    /// WRITE ATOMIC(16) of at least 8 blocks.
    WriteAtomic,
    /// WRITE SCATTERED(16).
    WriteScattered,
    /// WRITE BUFFER and READ BUFFER with data.
    Buffer,
    /// REPORT LUNS is its own, and not that of a target in front of it.
    OwnLuns,
}

impl Feature {
    /// All of them; thin provisioning first, [`Self::OwnLuns`] last.
    pub(crate) const ALL: &[Self] = &[
        Self::Thin,
        Self::Strict,
        Self::PersistentReservations,
        Self::WriteLong,
        Self::Sanitize,
        Self::OrWrite,
        Self::WriteAndVerify,
        Self::WriteAtomic,
        Self::WriteScattered,
        Self::Buffer,
        Self::OwnLuns,
    ];
}

/// What is known of a disk beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Bytes of a logical block.
    pub(crate) block_size: u32,
    /// Logical blocks; at least 4096. The checks write over the first and the last of them.
    pub(crate) blocks: u64,
    /// What it does.
    pub(crate) features: &'static [Feature],
}

impl Profile {
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// So many bytes as these blocks have.
    pub(crate) fn bytes(&self, blocks: usize) -> usize {
        blocks * self.block_size as usize
    }

    /// Blocks that differ from each other and from those of another seed.
    pub(crate) fn pattern(&self, blocks: usize, seed: u8) -> Vec<u8> {
        (0..self.bytes(blocks)).map(|at| (at / 256 * 7 + at) as u8 ^ seed.wrapping_mul(37) | 1).collect()
    }
}

/// A check of one device.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Feature],
    pub(crate) run: fn(&dyn ScsiDevice, &Profile),
}

impl Check {
    /// Whether the device has what it needs.
    pub(crate) fn applies(&self, profile: &Profile) -> bool {
        self.needs.iter().all(|need| profile.has(*need))
    }
}

/// Runs all that apply, each after unit attentions are told; their names.
pub(crate) fn run(checks: &[Check], device: &dyn ScsiDevice, profile: &Profile) -> Vec<&'static str> {
    let applying = checks.iter().filter(|check| check.applies(profile));
    applying
        .map(|check| {
            println!("check {}", check.name);
            settle(device);
            (check.run)(device, profile);
            check.name
        })
        .collect()
}

fn execute(device: &dyn ScsiDevice, cdb: &[u8], data: Data<'_>) -> Outcome {
    device.execute(Request { cdb, data, timeout: TIMEOUT }).expect("the device takes commands")
}

/// A command without data.
pub(crate) fn plain(device: &dyn ScsiDevice, cdb: &[u8]) -> Outcome {
    execute(device, cdb, Data::None)
}

/// A command with data to the device.
pub(crate) fn out(device: &dyn ScsiDevice, cdb: &[u8], data: &[u8]) -> Outcome {
    if data.is_empty() { plain(device, cdb) } else { execute(device, cdb, Data::Out(data)) }
}

/// A command with `room` bytes of data from the device; of these as many as the residual leaves.
pub(crate) fn fetch(device: &dyn ScsiDevice, cdb: &[u8], room: usize) -> (Outcome, Vec<u8>) {
    let mut bytes = vec![0xee; room];
    let outcome = execute(device, cdb, Data::In(&mut bytes));
    let transferred = outcome.transferred(room as u32).expect("the residual fits the transfer") as usize;
    bytes.truncate(transferred);
    (outcome, bytes)
}

/// A command that must be good, with its data.
pub(crate) fn ask(device: &dyn ScsiDevice, cdb: &[u8], room: usize) -> Vec<u8> {
    let (outcome, bytes) = fetch(device, cdb, room);
    good(outcome);
    bytes
}

/// Hears unit attentions until there are none.
pub(crate) fn settle(device: &dyn ScsiDevice) {
    for _ in 0..32 {
        let outcome = plain(device, &build::test_unit_ready());
        if outcome.current_sense().is_none_or(|sense| sense.key != SenseKey::UnitAttention) {
            return;
        }
    }
    panic!("unit attentions without an end");
}

#[track_caller]
pub(crate) fn good(outcome: Outcome) {
    assert!(outcome.is_good(), "{outcome}");
}

/// It ended with CHECK CONDITION and this key and code.
#[track_caller]
pub(crate) fn refused(outcome: Outcome, key: SenseKey, code: u8, qualifier: u8) -> Sense {
    let sense = *outcome.current_sense().unwrap_or_else(|| panic!("there is sense in: {outcome}"));
    assert_eq!((sense.key, sense.asc), (key, Asc::new(code, qualifier)), "{outcome}");
    sense
}

/// INVALID FIELD IN CDB.
#[track_caller]
pub(crate) fn bad_field(outcome: Outcome) -> Sense {
    refused(outcome, SenseKey::IllegalRequest, 0x24, 0)
}

/// INVALID COMMAND OPERATION CODE.
#[track_caller]
pub(crate) fn bad_opcode(outcome: Outcome) {
    refused(outcome, SenseKey::IllegalRequest, 0x20, 0);
}

/// LOGICAL BLOCK ADDRESS OUT OF RANGE.
#[track_caller]
pub(crate) fn out_of_range(outcome: Outcome) {
    refused(outcome, SenseKey::IllegalRequest, 0x21, 0);
}

/// Writes blocks with WRITE(16).
#[track_caller]
pub(crate) fn write(device: &dyn ScsiDevice, profile: &Profile, lba: u64, data: &[u8]) {
    let blocks = (data.len() / profile.block_size as usize) as u32;
    good(out(device, &build::write_16(lba, blocks, Access::default()), data));
}

/// Reads blocks with READ(16).
#[track_caller]
pub(crate) fn read(device: &dyn ScsiDevice, profile: &Profile, lba: u64, blocks: usize) -> Vec<u8> {
    let bytes = ask(device, &build::read_16(lba, blocks as u32, Access::default()), profile.bytes(blocks));
    assert_eq!(bytes.len(), profile.bytes(blocks), "all that was asked for");
    bytes
}

/// A CDB by its bytes.
pub(crate) fn cdb(bytes: &[u8]) -> Cdb {
    Cdb::new(bytes).expect("it is whole")
}

/// Sixteen bytes: operation code, byte 1, an address in 2 to 9, a length in 10 to 13.
pub(crate) fn cdb_16(opcode: u8, flags: u8, lba: u64, length: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (opcode, flags);
    bytes[2..10].copy_from_slice(&lba.to_be_bytes());
    bytes[10..14].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Ten bytes: operation code, byte 1, an address in 2 to 5, a length in 7 and 8.
pub(crate) fn cdb_10(opcode: u8, flags: u8, lba: u32, length: u16) -> [u8; 10] {
    let mut bytes = [0; 10];
    (bytes[0], bytes[1]) = (opcode, flags);
    bytes[2..6].copy_from_slice(&lba.to_be_bytes());
    bytes[7..9].copy_from_slice(&length.to_be_bytes());
    bytes
}

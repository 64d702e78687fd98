//! The SCSI command that a record is, or, of what was seen at the block layer, the one that does the same (SBC-4).

use std::borrow::Cow;

use formats::command::{Command, Transfer};
use formats::scsi::build::{self, Access, Same};
use formats::scsi::{Asc, Blocks, HostStatus, LbaRange, ScsiStatus, Sense, SenseKey};
use formats::{ByteRange, Op, OpFlags, PayloadEncoding, Record, Status};

/// The block size of a device that does not say its own.
const SECTOR: u64 = 512;
/// Most blocks that one descriptor of UNMAP or one WRITE SAME(16) can say.
const MOST_BLOCKS: u64 = u32::MAX as u64;
/// An operation code for vendors, by which a command is shown of which the block layer told nothing.
const VENDOR: [u8; 6] = [0xc0, 0, 0, 0, 0, 0];
/// ZBC OUT with no service action: the block layer's record does not tell which.
const ZBC_OUT: [u8; 16] = [0x94, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A record as SCSI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scsi<'a> {
    /// Logical unit; 0 where there is none.
    pub lun: u64,
    /// The command descriptor block.
    pub cdb: Cow<'a, [u8]>,
    /// Which way data went.
    pub transfer: Transfer,
    /// Bytes that were to be moved.
    pub data_len: u32,
    /// Data-out that is not in the record: the parameter list of an equivalent.
    pub list: Vec<u8>,
    /// How it ended; None when nobody saw it.
    pub answer: Option<Answer<'a>>,
    /// What else is to be told of it in words.
    pub comment: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status byte.
    pub status: ScsiStatus,
    /// Bytes that were not moved.
    pub residual: u32,
    /// Sense data; empty without.
    pub sense: Cow<'a, [u8]>,
    /// What else is to be told of it in words.
    pub comment: Option<String>,
}

/// `record` as SCSI; `trailer` is that of its payload, `block_size` its device's in bytes.
#[must_use]
pub fn scsi_of<'a>(record: &Record, encoding: PayloadEncoding, trailer: &'a [u8], block_size: u32) -> Scsi<'a> {
    match Command::decode(trailer) {
        Ok(command) => of_command(record, &command),
        Err(_) => of_block(record, encoding, Place::new(record.range, block_size)),
    }
}

/// What was seen as SCSI stands as it was seen.
fn of_command<'a>(record: &Record, command: &Command<'a>) -> Scsi<'a> {
    Scsi {
        lun: command.unit.lun,
        cdb: Cow::Borrowed(command.cdb),
        transfer: command.transfer,
        data_len: command.transfer_len,
        list: Vec::new(),
        answer: (record.status != Status::UNKNOWN).then(|| seen_answer(record.status, command)),
        comment: None,
    }
}

/// A command that failed without a word of the device gets the sense that the block layer's status stands for.
fn seen_answer<'a>(status: Status, command: &Command<'a>) -> Answer<'a> {
    let device = ScsiStatus::from_byte(command.result as u8);
    let host = HostStatus::from_byte((command.result >> 16) as u8);
    if device == ScsiStatus::Good && !status.is_ok() {
        let comment = format!("no status of the device: {host}, block layer {}", status.name());
        return Answer { comment: Some(comment), residual: command.residual, ..block_answer(status, 0) };
    }
    let comment = (host != HostStatus::Ok).then(|| host.to_string());
    Answer { status: device, residual: command.residual, sense: Cow::Borrowed(command.sense), comment }
}

/// A range in blocks.
#[derive(Debug, Clone, Copy)]
struct Place {
    lba: u64,
    /// As many as the commands here can say, at most.
    blocks: u32,
    len: u32,
}

impl Place {
    fn new(range: ByteRange, block_size: u32) -> Self {
        let block = if block_size == 0 { SECTOR } else { u64::from(block_size) };
        let blocks = (range.len / block).min(MOST_BLOCKS) as u32;
        Self { lba: range.offset / block, blocks, len: u32::try_from(range.len).unwrap_or(u32::MAX) }
    }
}

fn of_block(record: &Record, encoding: PayloadEncoding, place: Place) -> Scsi<'static> {
    let answer = match record.status {
        Status::UNKNOWN => None,
        Status::OK => Some(Answer { status: ScsiStatus::Good, residual: 0, sense: Cow::Borrowed(&[]), comment: None }),
        failed => Some(block_answer(failed, place.lba)),
    };
    let comment =
        (encoding == PayloadEncoding::Zero && record.op == Op::Write).then(|| "all bytes are zero".to_owned());
    Scsi { answer, comment, ..equivalent(record, place) }
}

fn equivalent(record: &Record, place: Place) -> Scsi<'static> {
    let fua = Access { fua: record.flags.contains(OpFlags::FUA), ..Access::default() };
    match record.op {
        Op::Write if record.range.is_empty() => plain(build::flush().as_bytes()),
        Op::Write => Scsi {
            transfer: Transfer::Out,
            data_len: place.len,
            ..plain(build::write_16(place.lba, place.blocks, fua).as_bytes())
        },
        Op::Flush => {
            let whole = build::synchronize_cache_16(0, Blocks::ToEnd, false);
            plain(whole.unwrap_or_else(|_| build::flush()).as_bytes())
        }
        Op::Discard => unmap(place, None),
        Op::SecureErase => unmap(place, Some("secure erase, shown as UNMAP".to_owned())),
        Op::WriteZeroes => write_zeroes(place, !record.flags.contains(OpFlags::NOUNMAP)),
        Op::Zone => Scsi { comment: Some("a zone operation of the block layer".to_owned()), ..plain(&ZBC_OUT) },
        Op::Opaque | Op::Scsi => {
            Scsi { comment: Some("a command of which the block layer tells nothing".to_owned()), ..plain(&VENDOR) }
        }
    }
}

/// No data, no answer, no words.
fn plain(cdb: &[u8]) -> Scsi<'static> {
    Scsi {
        lun: 0,
        cdb: Cow::Owned(cdb.to_vec()),
        transfer: Transfer::None,
        data_len: 0,
        list: Vec::new(),
        answer: None,
        comment: None,
    }
}

fn unmap(place: Place, comment: Option<String>) -> Scsi<'static> {
    match build::unmap(&[LbaRange::new(place.lba, place.blocks.into())], false) {
        Ok((cdb, list)) => {
            Scsi { transfer: Transfer::Out, data_len: list.len() as u32, list, comment, ..plain(cdb.as_bytes()) }
        }
        Err(error) => Scsi { comment: Some(format!("UNMAP: {error}")), ..plain(&VENDOR) },
    }
}

fn write_zeroes(place: Place, unmap: bool) -> Scsi<'static> {
    let same = Same { unmap, anchor: false, ndob: true };
    match build::write_same_16(place.lba, Blocks::Count(place.blocks.into()), same) {
        Ok(cdb) => plain(cdb.as_bytes()),
        Err(error) => Scsi { comment: Some(format!("WRITE SAME(16): {error}")), ..plain(&VENDOR) },
    }
}

/// The answer that makes the kernel's SCSI layer say `status` (drivers/scsi/scsi_lib.c, scsi_result_to_blk_status and
/// scsi_io_completion_action), or the nearest one.
fn block_answer(status: Status, lba: u64) -> Answer<'static> {
    let comment = Some(format!("block layer: {}", status.name()));
    let only = |status| Answer { status, residual: 0, sense: Cow::Borrowed(&[]), comment: comment.clone() };
    let (key, asc) = match status.0 {
        1 => (SenseKey::IllegalRequest, Asc::new(0x20, 0x00)),
        2 => (SenseKey::AbortedCommand, Asc::new(0x2e, 0x02)),
        3 => (SenseKey::DataProtect, Asc::new(0x27, 0x07)),
        4 => (SenseKey::AbortedCommand, Asc::new(0x4b, 0x00)),
        5 => (SenseKey::HardwareError, Asc::new(0x44, 0x00)),
        6 => return only(ScsiStatus::ReservationConflict),
        7 => (SenseKey::MediumError, Asc::new(0x0c, 0x00)),
        8 => (SenseKey::AbortedCommand, Asc::new(0x10, 0x01)),
        9 => return only(ScsiStatus::TaskSetFull),
        12 => return only(ScsiStatus::Busy),
        _ => (SenseKey::AbortedCommand, Asc::NONE),
    };
    let sense = Sense::new(key, asc);
    let sense = if key == SenseKey::MediumError { sense.with_lba(lba) } else { sense };
    Answer { sense: Cow::Owned(sense.encode().to_vec()), ..only(ScsiStatus::CheckCondition) }
}

#[cfg(test)]
mod tests {
    use formats::scsi::{DeviceType, decode};
    use formats::{Seq, VolumeIndex};

    use super::*;

    fn record(op: Op, flags: OpFlags, status: Status) -> Record {
        let range = if op == Op::Flush { ByteRange::new(0, 0) } else { ByteRange::new(8192, 4096) };
        let origin = formats::entry::Origin::default();
        Record { seq: Seq(2), dep: Seq(1), volume: VolumeIndex(0), op, flags, range, status, origin }
    }

    fn described(op: Op, flags: OpFlags) -> String {
        let scsi = scsi_of(&record(op, flags, Status::OK), PayloadEncoding::Data, &[], 512);
        decode(&scsi.cdb, DeviceType::DISK).map(|command| command.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_operation_has_its_equivalent() {
        let none = OpFlags::empty();
        assert_eq!(described(Op::Write, none), "WRITE(16) lba 16 blocks 8");
        assert!(described(Op::Write, OpFlags::FUA).starts_with("WRITE(16) lba 16 blocks 8 "));
        assert_eq!(described(Op::Flush, none), "SYNCHRONIZE CACHE(16) lba 0 blocks to end");
        assert_eq!(described(Op::Discard, none), "UNMAP bytes 24");
        assert!(described(Op::WriteZeroes, none).starts_with("WRITE SAME(16) lba 16 blocks 8"));
        assert!(described(Op::Zone, none).contains("0x94"));
        assert!(described(Op::Opaque, none).starts_with("vendor specific"));
    }

    #[test]
    fn failures_get_status_and_sense() {
        for code in 1..=20 {
            let scsi = scsi_of(&record(Op::Write, OpFlags::empty(), Status(code)), PayloadEncoding::None, &[], 512);
            let answer = scsi.answer.expect("it ended");
            assert_ne!(answer.status, ScsiStatus::Good, "{code}");
            let checked = answer.status == ScsiStatus::CheckCondition;
            assert_eq!(
                checked,
                Sense::decode(&answer.sense).is_ok_and(|sense| sense.key != SenseKey::NoSense),
                "{code}"
            );
        }
        let unknown = scsi_of(&record(Op::Write, OpFlags::empty(), Status::UNKNOWN), PayloadEncoding::None, &[], 0);
        assert_eq!(unknown.answer, None);
    }

    #[test]
    fn what_was_seen_as_scsi_stands() {
        let command = Command {
            unit: formats::command::Hctl { host: 2, channel: 0, id: 0, lun: 3 },
            device: DeviceType::DISK,
            medium: None,
            flags: formats::command::CommandFlags::empty(),
            transfer: Transfer::Out,
            transfer_len: 512,
            residual: 4,
            result: 2,
            cdb: &[0x2a, 0, 0, 0, 0x10, 0, 0, 0, 1, 0],
            sense: &[0x70, 0, 3, 0, 0, 0, 0, 0],
            data_out: &[],
        };
        let mut trailer = Vec::new();
        command.write_to(&mut trailer);
        let scsi = scsi_of(&record(Op::Write, OpFlags::empty(), Status(7)), PayloadEncoding::None, &trailer, 512);
        assert_eq!((scsi.lun, &*scsi.cdb), (3, command.cdb));
        let answer = scsi.answer.expect("it ended");
        assert_eq!((answer.status, answer.residual, &*answer.sense), (ScsiStatus::CheckCondition, 4, command.sense));
        trailer[16..20].copy_from_slice(&0x0003_0000u32.to_le_bytes());
        let scsi = scsi_of(&record(Op::Write, OpFlags::empty(), Status(2)), PayloadEncoding::None, &trailer, 512);
        let answer = scsi.answer.expect("it ended");
        assert_eq!(answer.status, ScsiStatus::CheckCondition);
        assert!(answer.comment.is_some_and(|words| words.contains("DID_TIME_OUT")));
    }
}

//! A SCSI completion as a record: what it did to the medium, and the command itself as the trailer of its payload.

use bytes::Bytes;
use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{MAX_PAYLOAD, PayloadEncoding, PayloadInfo};
use formats::scsi::{Class, Content, Decoded, DeviceType, Geometry};
use formats::{ByteRange, Op, OpFlags, Status};
use probe_types::{CDB_LEN, SENSE_LEN, ScsiCommand};
use replication::errors::{CommandKind, PrimaryOutcome, first_row};

/// `BLK_STS_IOERR`.
const IO_ERROR: Status = Status(10);
/// Bytes of sense data in front of ADDITIONAL SENSE LENGTH's last byte, which counts what follows (SPC-5, "Sense data").
const SENSE_HEAD: usize = 8;

/// The logical unit behind a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Its four numbers.
    pub unit: Hctl,
    /// Its peripheral device type.
    pub device: DeviceType,
    /// Its medium; none on a tape.
    pub medium: Option<Geometry>,
}

/// Stands for the log2 of a block size where there is none.
const NO_BLOCKS: u32 = 9;

impl Unit {
    /// log2 of the bytes of a logical block, for the probe; of a tape, which has none, any.
    pub(crate) fn block_shift(self) -> u32 {
        self.medium.map_or(NO_BLOCKS, |medium| medium.block_size.trailing_zeros())
    }

    /// The command that the probe saw; `data_out` is what it was sent besides content.
    #[must_use]
    pub fn command<'a>(&self, scsi: &'a ScsiCommand, data_out: &'a [u8], wanted: u32) -> Command<'a> {
        let mut flags = CommandFlags::empty();
        flags.set(CommandFlags::PASSTHROUGH, scsi.passthrough != 0);
        flags.set(CommandFlags::ERROR_HANDLED, scsi.timed_out != 0);
        flags.set(CommandFlags::DATA_MISSING, (data_out.len() as u64) < u64::from(wanted));
        Command {
            unit: self.unit,
            device: self.device,
            medium: self.medium,
            flags,
            transfer: Transfer::from_tag(scsi.direction as u8).unwrap_or(Transfer::None),
            transfer_len: scsi.transfer_len,
            // A device may say that it left more than there was.
            residual: scsi.residual.min(scsi.transfer_len),
            result: scsi.result,
            cdb: &scsi.cdb[..(scsi.cdb_len as usize).clamp(1, CDB_LEN)],
            sense: sense_of(scsi),
            data_out,
        }
    }
}

/// The part of the sense buffer that was filled.
fn sense_of(scsi: &ScsiCommand) -> &[u8] {
    if scsi.has_sense == 0 {
        return &[];
    }
    let len = SENSE_HEAD + usize::from(scsi.sense[SENSE_HEAD - 1]);
    &scsi.sense[..len.min(SENSE_LEN)]
}

/// What a program's command did, in the words of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What it did.
    pub op: Op,
    /// Modifiers.
    pub flags: OpFlags,
    /// Where; the hull of all places. Empty where nothing is known to have changed, and for an opaque command that may
    /// have changed anything.
    pub range: ByteRange,
    /// Whether its data is the content of the range, all of it.
    pub is_content: bool,
}

/// Tells what a program's command did, as far as bytes can: the standby then need not speak SCSI to follow.
#[must_use]
pub fn meaning(command: &Command<'_>) -> Meaning {
    let plain = |op| Meaning { op, flags: OpFlags::default(), range: ByteRange::default(), is_content: false };
    let Ok(decoded) = formats::scsi::decode(command.cdb, command.device) else { return plain(Op::Opaque) };
    if !succeeded(command) && changed_nothing(command, &decoded) {
        return plain(Op::Scsi);
    }
    if command.device == DeviceType::TAPE {
        return plain(if lacks_data(command) { Op::Opaque } else { Op::Scsi });
    }
    if decoded.class() == Class::Sync {
        return plain(Op::Flush);
    }
    let Some(changes) = command.changes() else {
        return Meaning { range: command.touched().unwrap_or_default(), ..plain(Op::Opaque) };
    };
    let flags = if decoded.is_durable() { OpFlags::FUA } else { OpFlags::default() };
    match changes.as_slice() {
        [change] if change.content == Content::Data(0..command.data_out.len()) => {
            Meaning { op: Op::Write, flags, range: change.range, is_content: true }
        }
        changes => {
            let hull = changes.iter().map(|change| change.range).fold(ByteRange::default(), ByteRange::hull);
            Meaning { range: hull, ..plain(Op::Scsi) }
        }
    }
}

/// Whether it cannot be repeated because its data is not all here.
fn lacks_data(command: &Command<'_>) -> bool {
    command.flags.contains(CommandFlags::DATA_MISSING)
}

/// The status of a program's command: the block layer calls some failures a success, as the program gets the sense data.
#[must_use]
pub fn status_of(command: &Command<'_>, block: Status) -> Status {
    if block.is_ok() && !succeeded(command) { IO_ERROR } else { block }
}

/// Whether the device did all of what it was told.
fn succeeded(command: &Command<'_>) -> bool {
    let all = command.residual == 0 || command.transfer != Transfer::Out;
    command.outcome().is_ok_and(|outcome| outcome.is_done()) && all
}

/// Whether a command that failed is known to have changed no block (`docs/error-consistency.md`).
fn changed_nothing(command: &Command<'_>, decoded: &Decoded) -> bool {
    let Ok(outcome) = command.outcome() else { return false };
    let row = first_row(PrimaryOutcome::classify(&outcome), CommandKind::of(decoded, false));
    !row.row().effect.leaves_hole()
}

/// `content` with the command behind it. Where both are too much for one entry, the command goes without its data, and
/// then without anything.
#[must_use]
pub fn with_trailer(encoding: PayloadEncoding, content: &[u8], command: &Command<'_>) -> (PayloadInfo, Bytes) {
    let fits = |command: &Command<'_>| content.len() + command.encoded_len() <= MAX_PAYLOAD as usize;
    if !fits(command) && !command.data_out.is_empty() {
        let flags = command.flags | CommandFlags::DATA_MISSING;
        return with_trailer(encoding, content, &Command { data_out: &[], flags, ..*command });
    }
    if !fits(command) {
        return (PayloadInfo { encoding, ..PayloadInfo::data(content) }, Bytes::copy_from_slice(content));
    }
    let mut bytes = Vec::with_capacity(content.len() + command.encoded_len());
    bytes.extend_from_slice(content);
    command.write_to(&mut bytes);
    let info = PayloadInfo { encoding, trailer: command.encoded_len() as u32, ..PayloadInfo::data(&bytes) };
    (info, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit {
        unit: Hctl { host: 1, channel: 0, id: 0, lun: 0 },
        device: DeviceType::DISK,
        medium: Some(Geometry::new(512, 1000)),
    };
    const TAPE: Unit =
        Unit { unit: Hctl { host: 1, channel: 0, id: 0, lun: 0 }, device: DeviceType::TAPE, medium: None };

    fn scsi(cdb: &[u8], len: u32) -> ScsiCommand {
        let mut scsi = ScsiCommand {
            cdb_len: cdb.len() as u32,
            transfer_len: len,
            direction: 1,
            passthrough: 1,
            ..ScsiCommand::default()
        };
        scsi.cdb[..cdb.len()].copy_from_slice(cdb);
        scsi
    }

    fn meant(cdb: &[u8], data: &[u8]) -> Meaning {
        let scsi = scsi(cdb, data.len() as u32);
        meaning(&UNIT.command(&scsi, data, data.len() as u32))
    }

    #[test]
    fn a_write_is_a_write_whoever_sent_it() {
        let meaning = meant(&[0x2a, 8, 0, 0, 0, 2, 0, 0, 1, 0], &[7; 512]);
        let range = ByteRange::new(1024, 512);
        assert_eq!(meaning, Meaning { op: Op::Write, flags: OpFlags::FUA, range, is_content: true });
    }

    #[test]
    fn what_is_no_plain_write_keeps_its_data_in_the_command() {
        let same = meant(&[0x41, 0, 0, 0, 0, 2, 0, 0, 3, 0], &[7; 512]);
        assert_eq!((same.op, same.range, same.is_content), (Op::Scsi, ByteRange::new(1024, 1536), false));
        let flush = meant(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
        assert_eq!((flush.op, flush.range), (Op::Flush, ByteRange::default()));
        let select = meant(&[0x15, 0x10, 0, 0, 4, 0], &[0; 4]);
        assert_eq!((select.op, select.range), (Op::Scsi, ByteRange::default()));
    }

    #[test]
    fn what_cannot_be_told_is_opaque() {
        assert_eq!(meant(&[0x04, 0, 0, 0, 0, 0], &[]).op, Op::Opaque, "FORMAT UNIT");
        assert_eq!(meant(&[0xc5; 10], &[1; 9]).op, Op::Opaque, "a vendor's");
        assert_eq!(meant(&[0x04, 0, 0, 0, 0, 0], &[]).range, ByteRange::default(), "FORMAT UNIT: anywhere");
        assert_eq!(meant(&[0x2a, 0, 0, 0], &[1; 512]).op, Op::Opaque, "a CDB that is too short");
        assert_eq!(meant(&[0x2a, 0, 0, 0, 0, 2, 0, 0, 9, 0], &[7; 512]).op, Op::Opaque, "data that is missing");
        assert_eq!(meant(&[0x2a, 0, 0xff, 0, 0, 2, 0, 0, 1, 0], &[7; 512]).op, Op::Opaque, "beyond the medium");
    }

    #[test]
    fn of_an_opaque_command_the_place_is_told_where_it_is_known() {
        let mut orwrite = [0; 16];
        (orwrite[0], orwrite[9], orwrite[13]) = (0x8b, 2, 3);
        let cases: [(&[u8], &[u8], ByteRange); 4] = [
            (&orwrite, &[1; 1536], ByteRange::new(1024, 1536)),
            (&[0x3f, 0, 0, 0, 0, 4, 0, 2, 8, 0], &[1; 520], ByteRange::new(2048, 512)),
            (&[0x2a, 0, 0, 0, 0, 2, 0, 0, 9, 0], &[7; 512], ByteRange::new(1024, 9 * 512)),
            (&[0x07, 0, 0, 0, 0, 0], &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 5], ByteRange::new(2560, 2560)),
        ];
        for (cdb, data, range) in cases {
            let meaning = meant(cdb, data);
            assert_eq!((meaning.op, meaning.range, meaning.is_content), (Op::Opaque, range, false), "{cdb:02x?}");
        }
    }

    #[test]
    fn a_failure_is_one_even_where_the_block_layer_says_success() {
        let mut failed = scsi(&[0x2a, 0, 0, 0, 0, 2, 0, 0, 1, 0], 512);
        failed.result = 2;
        failed.has_sense = 1;
        failed.sense[..3].copy_from_slice(&[0x70, 0, 3]);
        failed.sense[7] = 10;
        let command = UNIT.command(&failed, &[], 512);
        assert_eq!(command.sense.len(), 18);
        assert!(command.flags.contains(CommandFlags::DATA_MISSING));
        assert_eq!(status_of(&command, Status::OK), IO_ERROR);
        assert_eq!(meaning(&command).op, Op::Opaque, "what a medium error left is not known");
        let mut refused = failed;
        refused.sense[2] = 5;
        refused.sense[12] = 0x21;
        let refused = meaning(&UNIT.command(&refused, &[], 512));
        assert_eq!((refused.op, refused.range), (Op::Scsi, ByteRange::default()), "refused before it began");
        failed.sense[2] = 1;
        assert_eq!(status_of(&UNIT.command(&failed, &[], 0), Status::OK), Status::OK, "recovered");
    }

    #[test]
    fn what_is_too_much_for_an_entry_goes_without() {
        let scsi = scsi(&[0x3b, 2, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        let most = vec![1; MAX_PAYLOAD as usize];
        let (info, _) = with_trailer(PayloadEncoding::None, &[], &UNIT.command(&scsi, &most, 0));
        assert_eq!((info.len, info.trailer), (74, 74));
        let (info, _) = with_trailer(PayloadEncoding::Data, &most, &UNIT.command(&scsi, &[], 0));
        assert_eq!((info.len, info.trailer), (MAX_PAYLOAD, 0));
    }

    #[test]
    fn the_command_lies_behind_the_content() {
        let scsi = scsi(&[0x2a, 0, 0, 0, 0, 2, 0, 0, 1, 0], 512);
        let command = UNIT.command(&scsi, &[], 0);
        let (info, bytes) = with_trailer(PayloadEncoding::Data, &[7; 512], &command);
        assert_eq!((info.content_len(), info.len as usize), (512, bytes.len()));
        assert_eq!(Command::decode(&bytes[512..]), Ok(command));
    }

    #[test]
    fn what_moves_or_writes_a_tape_is_a_command_without_a_place() {
        let tape = |cdb: &[u8], data: &[u8], wanted| meaning(&TAPE.command(&scsi(cdb, wanted), data, wanted));
        for cdb in [[0x01, 0, 0, 0, 0, 0], [0x08, 0, 0, 2, 0, 0], [0x11, 1, 0, 0, 1, 0], [0x10, 0, 0, 0, 1, 0]] {
            let meaning = tape(&cdb, &[], 0);
            assert_eq!((meaning.op, meaning.range, meaning.is_content), (Op::Scsi, ByteRange::default(), false));
        }
        let write = [0x0a, 0, 0, 2, 0, 0];
        assert_eq!(tape(&write, &[1; 512], 512).op, Op::Scsi);
        assert_eq!(tape(&write, &[], 512).op, Op::Opaque, "a block that was lost");
        assert_eq!(tape(&[0xc5, 0, 0, 0, 0, 0], &[], 0).op, Op::Scsi, "the standby's rule is for a vendor's");
    }
}

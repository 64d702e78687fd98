//! The SCSI command that a record was: its CDB, how the device answered, and what it was sent besides content.
//!
//! It lies behind the content in the payload of a record, as its *trailer*: a head of [`HEAD_LEN`] bytes, then CDB,
//! sense data, and data-out. Data-out that is the content of the record's range lies there and not here; parameter lists,
//! patterns and the like lie here. What the kernel holds of a command is named after `struct scsi_cmnd`
//! (include/scsi/scsi_cmnd.h).

use alloc::vec::Vec;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ByteRange;
use crate::scsi::{self, Cdb, CdbError, Change, Content, DeviceType, Geometry, MAX_CDB, Outcome, SenseError};

/// Bytes of a trailer's head.
pub const HEAD_LEN: usize = 64;
/// First bytes of every trailer: "SCTn" with the layout's version in the last place.
pub const MAGIC: [u8; 4] = *b"SCT1";

/// Which way data went: the kernel's `enum dma_data_direction`. Explicit tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Transfer {
    /// To the device and back.
    Both = 0,
    /// To the device.
    Out = 1,
    /// From the device.
    In = 2,
    /// None.
    None = 3,
}

impl Transfer {
    /// The direction with this tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Both),
            1 => Some(Self::Out),
            2 => Some(Self::In),
            3 => Some(Self::None),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// What else is known of a command.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct CommandFlags: u8 {
        /// A program sent it through sg, bsg or SG_IO, not the kernel's disk driver.
        const PASSTHROUGH = 1;
        /// Its data-out is not all here: it had no room.
        const DATA_MISSING = 2;
        /// It timed out, or the error handler ended it: `result` is the handler's word.
        const ERROR_HANDLED = 4;
    }
}

/// Where a logical unit is: the four numbers that the kernel gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Hctl {
    /// Host (adapter).
    pub host: u32,
    /// Channel.
    pub channel: u32,
    /// Target.
    pub id: u32,
    /// Logical unit.
    pub lun: u64,
}

impl core::fmt::Display for Hctl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host, self.channel, self.id, self.lun)
    }
}

/// A SCSI command as it was seen, with borrowed variable parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// Which logical unit.
    pub unit: Hctl,
    /// The peripheral device type of its INQUIRY data.
    pub device: DeviceType,
    /// Size and shape of its medium; none on a tape.
    pub medium: Option<Geometry>,
    /// What else is known.
    pub flags: CommandFlags,
    /// Which way its data went.
    pub transfer: Transfer,
    /// Bytes that were to be moved.
    pub transfer_len: u32,
    /// Bytes of these that were not.
    pub residual: u32,
    /// `scsi_cmnd.result`: status byte in the low eight bits, host byte (DID_*) in bits 16 to 23.
    pub result: u32,
    /// The command descriptor block, 1 to 260 bytes.
    pub cdb: &'a [u8],
    /// Sense data; empty without.
    pub sense: &'a [u8],
    /// Data-out that is not the content of the range.
    pub data_out: &'a [u8],
}

/// Why bytes are not a trailer.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Fewer bytes than the head says.
    #[error("SCSI trailer cut off: {have} of {want} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes needed.
        want: usize,
    },
    /// More bytes than the head says.
    #[error("{0} bytes behind a SCSI trailer")]
    Long(usize),
    /// The first bytes are not a trailer's.
    #[error("not a SCSI trailer (magic {0:02x?})")]
    Magic([u8; 4]),
    /// A tag or bit that this version does not know.
    #[error("unknown {what} {value:#x} in a SCSI trailer")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// No CDB has this length.
    #[error("a CDB of {0} bytes in a SCSI trailer: 1 to 260 are possible")]
    CdbLength(usize),
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    device: u8,
    flags: u8,
    transfer: u8,
    reserved: u8,
    transfer_len: U32,
    residual: U32,
    result: U32,
    host: U32,
    channel: U32,
    id: U32,
    lun: U64,
    cdb_len: U16,
    sense_len: U16,
    data_out_len: U32,
    block_size: U32,
    reserved2: U32,
    blocks: U64,
}

const _: () = assert!(size_of::<RawHead>() == HEAD_LEN);

impl<'a> Command<'a> {
    /// Bytes of its encoding.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        HEAD_LEN + self.cdb.len() + self.sense.len() + self.data_out.len()
    }

    /// Appends its bytes to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let raw = RawHead {
            magic: MAGIC,
            device: self.device.to_byte(),
            flags: self.flags.bits(),
            transfer: self.transfer as u8,
            reserved: 0,
            transfer_len: self.transfer_len.into(),
            residual: self.residual.into(),
            result: self.result.into(),
            host: self.unit.host.into(),
            channel: self.unit.channel.into(),
            id: self.unit.id.into(),
            lun: self.unit.lun.into(),
            cdb_len: (self.cdb.len() as u16).into(),
            sense_len: (self.sense.len() as u16).into(),
            data_out_len: (self.data_out.len() as u32).into(),
            block_size: self.medium.map_or(0, |medium| medium.block_size).into(),
            reserved2: 0.into(),
            blocks: self.medium.map_or(0, |medium| medium.blocks).into(),
        };
        out.extend_from_slice(raw.as_bytes());
        [self.cdb, self.sense, self.data_out].iter().for_each(|part| out.extend_from_slice(part));
    }

    /// The command in these bytes, which must be a whole trailer and nothing else.
    ///
    /// # Errors
    /// Says what is wrong; nothing of a bad trailer is used.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let short = |want| CommandError::Short { have: bytes.len(), want };
        let (raw, rest) = RawHead::read_from_prefix(bytes).map_err(|_| short(HEAD_LEN))?;
        if raw.magic != MAGIC {
            return Err(CommandError::Magic(raw.magic));
        }
        let lens = [usize::from(raw.cdb_len.get()), usize::from(raw.sense_len.get()), raw.data_out_len.get() as usize];
        let want = lens.iter().fold(HEAD_LEN, |sum, len| sum.saturating_add(*len));
        let (cdb, rest) = rest.split_at_checked(lens[0]).ok_or(short(want))?;
        let (sense, rest) = rest.split_at_checked(lens[1]).ok_or(short(want))?;
        let (data_out, rest) = rest.split_at_checked(lens[2]).ok_or(short(want))?;
        if !rest.is_empty() {
            return Err(CommandError::Long(rest.len()));
        }
        if !(1..=MAX_CDB).contains(&cdb.len()) {
            return Err(CommandError::CdbLength(cdb.len()));
        }
        Ok(Self { cdb, sense, data_out, ..raw.fields()? })
    }

    /// Its CDB. A program may have sent one that is shorter than its operation code says: that is carried like any other.
    ///
    /// # Errors
    /// When it is no CDB.
    pub fn cdb(&self) -> Result<Cdb, CdbError> {
        Cdb::new(self.cdb)
    }

    /// What its success did to the medium, as ranges and their content (of `data_out`); none when that cannot be told from
    /// the command, and its range must be read back.
    #[must_use]
    pub fn changes(&self) -> Option<Vec<Change>> {
        let decoded = scsi::decode(self.cdb, self.device).ok()?;
        let changes = match self.medium {
            Some(medium) => decoded.changes(&medium, self.data_out).ok()?,
            None if matches!(decoded.effect(), scsi::Effect::None) => Vec::new(),
            None => return None,
        };
        let known = |change: &Change| !matches!(change.content, Content::Unknown | Content::Unreadable);
        changes.iter().all(known).then_some(changes)
    }

    /// The bytes in which it can have changed the medium, from the first to the last; none when it may have been anywhere.
    /// Unlike [`Self::changes`] it is known of commands that do not carry the new content (ORWRITE, WRITE LONG).
    #[must_use]
    pub fn touched(&self) -> Option<ByteRange> {
        let (decoded, medium) = (scsi::decode(self.cdb, self.device).ok()?, self.medium?);
        match decoded.touched(&medium).ok()? {
            scsi::Touched::Nothing => Some(ByteRange::default()),
            scsi::Touched::Range(range) => Some(range),
            scsi::Touched::InData => {
                let changes = decoded.changes(&medium, self.data_out).ok()?;
                Some(changes.iter().map(|change| change.range).fold(ByteRange::default(), ByteRange::hull))
            }
            scsi::Touched::Anywhere | scsi::Touched::AtPosition => None,
        }
    }

    /// How it ended on the device it was seen on.
    ///
    /// # Errors
    /// When its sense data are none.
    pub fn outcome(&self) -> Result<Outcome, SenseError> {
        let outcome = Outcome::from_result(self.result).with_sense(self.sense)?;
        Ok(Outcome { residual: self.residual, ..outcome })
    }
}

impl RawHead {
    fn medium(&self) -> Option<Geometry> {
        let (block_size, blocks) = (self.block_size.get(), self.blocks.get());
        (block_size > 0).then(|| Geometry::new(block_size, blocks))
    }

    /// The fixed part.
    fn fields(&self) -> Result<Command<'static>, CommandError> {
        let unknown = |what, value| CommandError::Unknown { what, value };
        Ok(Command {
            unit: Hctl { host: self.host.get(), channel: self.channel.get(), id: self.id.get(), lun: self.lun.get() },
            device: DeviceType::from_byte(self.device),
            medium: self.medium(),
            flags: CommandFlags::from_bits(self.flags).ok_or(unknown("flags", self.flags))?,
            transfer: Transfer::from_tag(self.transfer).ok_or(unknown("direction", self.transfer))?,
            transfer_len: self.transfer_len.get(),
            residual: self.residual.get(),
            result: self.result.get(),
            cdb: &[],
            sense: &[],
            data_out: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    /// The first version's bytes: this array never changes while `MAGIC` ends in 1.
    const GOLDEN: &str = "5343543100010100000200000000000002000000\
                          0200000000000000030000000100000000000000\
                          0a00040003000000\
                          00020000000000000040000000000000\
                          2a000000100000000100\
                          70000300\
                          616263";

    fn sample() -> Command<'static> {
        Command {
            unit: Hctl { host: 2, channel: 0, id: 3, lun: 1 },
            device: DeviceType::DISK,
            medium: Some(Geometry::new(512, 0x4000)),
            flags: CommandFlags::PASSTHROUGH,
            transfer: Transfer::Out,
            transfer_len: 512,
            residual: 0,
            result: 2,
            cdb: &[0x2a, 0, 0, 0, 0x10, 0, 0, 0, 1, 0],
            sense: &[0x70, 0, 3, 0],
            data_out: b"abc",
        }
    }

    fn encode(command: &Command<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        command.write_to(&mut bytes);
        assert_eq!(bytes.len(), command.encoded_len());
        bytes
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let bytes = encode(&sample());
        let hex: String = bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN.replace(char::is_whitespace, ""));
        assert_eq!(Command::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let bytes = encode(&sample());
        for len in 0..bytes.len() {
            assert!(matches!(Command::decode(&bytes[..len]), Err(CommandError::Short { .. })), "{len}");
        }
        let long = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Command::decode(&long), Err(CommandError::Long(1)));
        let without = encode(&Command { cdb: &[], ..sample() });
        assert_eq!(Command::decode(&without), Err(CommandError::CdbLength(0)));
    }

    #[test]
    fn the_answer_is_told() {
        let outcome = sample().outcome().unwrap();
        assert!(!outcome.is_done() && outcome.sense.is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Command::decode(&bytes);
            let _ = Command::decode(&[MAGIC.as_slice(), &bytes].concat()).map(|command| command.outcome());
        }

        #[test]
        fn all_lengths_round_trip(
            cdb in proptest::collection::vec(any::<u8>(), 1..=260),
            sense in proptest::collection::vec(any::<u8>(), 0..=255),
            data_out in proptest::collection::vec(any::<u8>(), 0..5000),
            residual in any::<u32>(), result in any::<u32>(),
        ) {
            let command = Command { cdb: &cdb, sense: &sense, data_out: &data_out, residual, result, ..sample() };
            let bytes = encode(&command);
            prop_assert_eq!(Command::decode(&bytes), Ok(command));
        }
    }
}

//! What one command says: its address, how much it moves, its flags, and a line of text.

use core::fmt;

use super::cdb::{Cdb, CdbError, Decoded};
use super::opcode::{Class, Command, Data, Direction, Effect, FieldName, Replay, Row, Zero};

/// A number of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Blocks {
    /// So many.
    Count(u64),
    /// All up to the last one of the device.
    ToEnd,
}

/// ATA PROTOCOL 3: no data (SAT-4, "PROTOCOL field").
const ATA_NON_DATA: u64 = 3;
/// ATA commands without data that change nothing on the medium: CHECK POWER MODE, STANDBY and IDLE of both kinds, FLUSH
/// CACHE and its extended form, SMART, SET FEATURES (ACS-4).
const ATA_HARMLESS: [u64; 9] = [0xe5, 0xe0, 0xe1, 0xe2, 0xe3, 0xe7, 0xea, 0xb0, 0xef];

impl Decoded {
    /// Its row; `None` for what the table does not have.
    #[must_use]
    pub const fn row(&self) -> Option<&'static Row> {
        self.command.row()
    }

    /// Its name in the standard; `None` for what the table does not have.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// The value of a field; `None` where the command has none of this name.
    #[must_use]
    pub fn get(&self, field: FieldName) -> Option<u64> {
        self.row()?.field(field)?.get(&self.cdb)
    }

    /// Whether a flag is there and set (a field of several bits: not zero).
    #[must_use]
    pub fn flag(&self, field: FieldName) -> bool {
        self.get(field).is_some_and(|value| value != 0)
    }

    /// The first block addressed.
    #[must_use]
    pub fn lba(&self) -> Option<u64> {
        self.get(FieldName::Lba)
    }

    /// How many blocks are addressed: those that are read, written, verified, prefetched or made durable. `None` where the
    /// length counts something else, or nothing.
    #[must_use]
    pub fn transfer_blocks(&self) -> Option<Blocks> {
        let row = self.row()?;
        let counts_blocks = match row.data {
            Data::Blocks | Data::Pairs | Data::OneBlock | Data::Checked => true,
            Data::None => row.field(FieldName::Length).is_some() && row.field(FieldName::Lba).is_some(),
            Data::Records => self.flag(FieldName::Fixed),
            _ => false,
        };
        let length = self.get(FieldName::Length).filter(|_| counts_blocks)?;
        Some(match (length, row.zero) {
            (0, Zero::Is256) => Blocks::Count(256),
            (0, Zero::ToEnd) => Blocks::ToEnd,
            (count, _) => Blocks::Count(count),
        })
    }

    /// How many bytes are moved each way, without protection information, for a device of `block_size` bytes (a tape:
    /// its fixed block length). `None` where the CDB does not tell: a list that has its own length, ATA, unknown commands.
    #[must_use]
    pub fn transfer_bytes(&self, block_size: u32) -> Option<u64> {
        let row = self.row()?;
        let length = || self.get(FieldName::Length);
        let blocks = || match self.transfer_blocks() {
            Some(Blocks::Count(count)) => count.checked_mul(u64::from(block_size)),
            _ => None,
        };
        match row.data {
            Data::None => Some(0),
            _ if self.direction() == Direction::None => Some(0),
            Data::Blocks => blocks(),
            Data::Pairs => blocks().and_then(|bytes| bytes.checked_mul(2)),
            Data::OneBlock => Some(u64::from(block_size)),
            Data::Checked if self.get(FieldName::Bytchk) == Some(3) => Some(u64::from(block_size)),
            Data::Checked => blocks(),
            Data::Records if self.flag(FieldName::Fixed) => blocks(),
            Data::Bytes if self.flag(FieldName::Inc512) => length().map(|units| units * 512),
            Data::Bytes | Data::Records => length(),
            Data::Position => self.position_bytes(),
            Data::Exactly(bytes) => Some(u64::from(bytes)),
            Data::List | Data::Ata => None,
        }
    }

    /// What READ POSITION returns in its short (00h, 01h), long (06h) and extended form (SSC-5).
    fn position_bytes(&self) -> Option<u64> {
        match self.get(FieldName::Mode)? {
            0 | 1 => Some(20),
            6 => Some(32),
            _ => self.get(FieldName::Length),
        }
    }

    /// COUNT of a command that spaces over things on tape: negative is backwards.
    #[must_use]
    pub fn space_count(&self) -> Option<i64> {
        let row = self.row().filter(|row| row.field(FieldName::Code).is_some())?;
        let field = row.field(FieldName::Count)?;
        let unused = 64 - u32::from(field.bits);
        field.get(&self.cdb).map(|count| (count << unused) as i64 >> unused)
    }

    /// Which way it moves data, by its flags. Unknown commands may do anything.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let Some(row) = self.row() else { return Direction::Both };
        match row.data {
            Data::OneBlock if self.flag(FieldName::Ndob) => Direction::None,
            Data::Checked if !self.flag(FieldName::Bytchk) => Direction::None,
            Data::Records if self.get(FieldName::BytCmp) == Some(0) => Direction::None,
            Data::List if self.get(FieldName::Fmtdata) == Some(0) => Direction::None,
            Data::Ata => self.ata_direction(),
            _ => row.direction,
        }
    }

    fn ata_direction(&self) -> Direction {
        match (self.get(FieldName::Protocol), self.flag(FieldName::TDir)) {
            (Some(ATA_NON_DATA), _) => Direction::None,
            (_, true) => Direction::In,
            (_, false) => Direction::Out,
        }
    }

    /// Its nature. What is not known is taken for a write.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.row() {
            Some(row) if row.data == Data::Ata && self.is_harmless_ata() => Class::Read,
            Some(row) => row.class,
            None => Class::Write,
        }
    }

    /// How a standby repeats it. ATA commands that read, or that are known to leave the medium alone, are carried only.
    #[must_use]
    pub fn replay(&self) -> Replay {
        match self.row() {
            Some(row) if row.data == Data::Ata && self.is_harmless_ata() => Replay::Carry,
            Some(row) => row.replay,
            None => Replay::Unknown,
        }
    }

    /// What it does to the medium.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self.row() {
            Some(row) if row.data == Data::Ata && self.is_harmless_ata() => Effect::None,
            Some(_) if self.flag(FieldName::DisableWrite) => Effect::None,
            Some(row) => row.effect,
            None => Effect::Unknown,
        }
    }

    fn is_harmless_ata(&self) -> bool {
        match self.direction() {
            Direction::In => true,
            Direction::None => self.get(FieldName::AtaCommand).is_some_and(|command| ATA_HARMLESS.contains(&command)),
            Direction::Out | Direction::Both => false,
        }
    }

    /// Whether its data is durable on the medium when it succeeds, whatever cache there is.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.flag(FieldName::Fua)
    }

    /// The same command with its address moved by `offset` blocks. Commands that hold no address come back as they are;
    /// addresses in parameter data are moved by [`super::list::shift`].
    ///
    /// # Errors
    /// When the moved address does not fit the field, is below zero, or would not agree with the protection information
    /// that the command carries; and for a write up to the end of the device, whose end would be another.
    pub fn with_lba_offset(&self, offset: i64) -> Result<Self, CdbError> {
        let Some(row) = self.row().filter(|_| offset != 0) else { return Ok(*self) };
        if self.flag(FieldName::Protect) {
            return Err(CdbError::Protected { command: row.name });
        }
        let Some(lba) = self.lba() else { return Ok(*self) };
        if self.class() == Class::Write && self.transfer_blocks() == Some(Blocks::ToEnd) {
            return Err(CdbError::OpenEnded { command: row.name });
        }
        let overflow = CdbError::LbaOverflow { command: row.name, lba, offset };
        let moved = lba.checked_add_signed(offset).ok_or(overflow)?;
        Ok(Self { cdb: self.cdb.with(row, FieldName::Lba, moved)?, ..*self })
    }

    /// The same command without what is meant for one device only: GROUP NUMBER (a hint of the lifetime of the data) and the
    /// duration limit descriptor, which another device may refuse or take for something else.
    #[must_use]
    pub fn without_hints(&self) -> Self {
        let Some(row) = self.row() else { return *self };
        let hints = [FieldName::Group, FieldName::Duration, FieldName::DurationHigh];
        let clear = |cdb: Cdb, hint| cdb.with(row, hint, 0).unwrap_or(cdb);
        Self { cdb: hints.into_iter().filter(|hint| self.flag(*hint)).fold(self.cdb, clear), ..*self }
    }

    /// What it is in one line, such as `WRITE(10) lba 2048 blocks 8 fua`.
    pub fn describe(&self) -> impl fmt::Display + '_ {
        Line(self)
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line(self).fmt(f)
    }
}

/// A command as a line of text.
struct Line<'a>(&'a Decoded);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.command {
            Command::Known(row) => self.known(f, row),
            Command::UnknownServiceAction { opcode, action } => {
                write!(f, "operation code {opcode:#04x} with unknown service action {action:#x}")?;
                self.raw(f)
            }
            Command::Unknown { opcode } => {
                let whose = if opcode >= 0xc0 { "vendor specific" } else { "unknown" };
                write!(f, "{whose} operation code {opcode:#04x}")?;
                self.raw(f)
            }
        }
    }
}

impl Line<'_> {
    fn raw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(", CDB")?;
        self.0.cdb.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }

    fn known(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        f.write_str(row.name)?;
        if let Some(lba) = self.0.lba() {
            write!(f, " lba {lba}")?;
        }
        self.length(f)?;
        let plain = row.fields.iter().filter(|field| !matches!(field.name, FieldName::Lba | FieldName::Length));
        for field in plain {
            if let Some(count) = self.0.space_count().filter(|_| field.name == FieldName::Count) {
                write!(f, " {} {count}", field.name)?;
                continue;
            }
            match (field.bits, field.get(&self.0.cdb)) {
                (_, Some(0) | None) => {}
                (1, _) => write!(f, " {}", field.name)?,
                (_, Some(value)) => write!(f, " {} {value}", field.name)?,
            }
        }
        Ok(())
    }

    fn length(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.transfer_blocks(), self.0.get(FieldName::Length)) {
            (Some(Blocks::Count(count)), _) => write!(f, " blocks {count}"),
            (Some(Blocks::ToEnd), _) => f.write_str(" blocks to end"),
            (None, Some(bytes)) => write!(f, " bytes {bytes}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

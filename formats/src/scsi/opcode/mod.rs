//! The opcode table: everything that is known of a command, as data.
//!
//! A row is keyed by operation code, service action (where the operation code is shared) and the device types that
//! give it this meaning: 0x91 is SYNCHRONIZE CACHE(16) to a disk and SPACE(16) to a tape. Rows of one key do not
//! overlap; a test checks it, and that each row's fields lie apart and within its CDB.

mod field;
mod layout;
mod table;
mod timing;

pub use field::{Field, FieldName};
pub use timing::Timing;

use super::device::{DeviceType, Devices};

/// Operation code of variable length CDBs, whose service action is in bytes 8 and 9.
pub const VARIABLE_LENGTH: u8 = 0x7f;
/// Operation code of extended CDBs (SPC-5, "Extended CDBs").
pub const EXTENDED: u8 = 0x7e;

/// Which way a command moves data. A row says the most it can do; [`super::Decoded::direction`] what one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Direction {
    /// No data.
    None,
    /// To the device.
    Out,
    /// From the device.
    In,
    /// Both ways.
    Both,
}

/// How many bytes a command moves, from its fields and the block size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Data {
    /// None.
    None,
    /// Length blocks.
    Blocks,
    /// Twice length blocks: what to compare, then what to write.
    Pairs,
    /// One block, whatever the length; none with NDOB.
    OneBlock,
    /// By BYTCHK: none, length blocks, or one block.
    Checked,
    /// Length bytes: a parameter list, an allocation, a buffer.
    Bytes,
    /// Tape: length blocks with FIXED (of the block length in force), else one block of length bytes.
    Records,
    /// Always so many bytes.
    Exactly(u8),
    /// A parameter list that tells its own length; none where FMTDATA is there and clear.
    List,
    /// READ POSITION: by its form 20 or 32 bytes, or length bytes.
    Position,
    /// By the ATA fields.
    Ata,
}

/// What a length of zero means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Zero {
    /// Nothing is moved; no error.
    Nothing,
    /// 256 blocks: READ(6) and WRITE(6).
    Is256,
    /// Everything up to the last block.
    ToEnd,
}

/// The nature of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// Changes nothing that another host could see; may move a tape's position.
    Read,
    /// Changes what is on the medium.
    Write,
    /// Makes what was written durable.
    Sync,
    /// Changes the device's state: position, reservations, modes, power.
    State,
}

/// How a standby repeats a command that succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Replay {
    /// The same CDB with the same data.
    AsIs,
    /// As the effect it had: the write that it came to, the reservation or mode that it left.
    Effect,
    /// Its range is read back from the primary: the result is not in the command.
    Reread,
    /// Carried and counted, not repeated.
    Carry,
    /// Not repeated, and replay stops with its name: repeating it is not safe, nor is leaving it out.
    Refuse,
    /// Not in the table: by the rule that the administrator gave; without one replay stops.
    Unknown,
}

/// What a command does to the medium when it succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// The blocks become the data.
    Write,
    /// Each block becomes the one block of data, or zeros; it may be deallocated.
    Same,
    /// The blocks become the second half of the data.
    Compare,
    /// The blocks change in a way that depends on what they held.
    Combine,
    /// One block (or its physical block) with its error correction bytes, or marked unreadable.
    Long,
    /// Blocks named by UNMAP descriptors.
    UnmapList,
    /// Blocks named by a defect list.
    DefectList,
    /// Blocks named by LBA range descriptors in front of the data.
    Scatter,
    /// The whole medium.
    Whole,
    /// Zones.
    Zones,
    /// Tape: written at the position, what follows is lost, the position moves.
    TapeWrite,
    /// Tape: the position moves.
    TapeMove,
    /// Not known: anything may have changed.
    Unknown,
}

/// What is known of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, where it is part of the key.
    pub service: Option<u16>,
    /// Device types for which this row holds.
    pub devices: Devices,
    /// Name in the standard.
    pub name: &'static str,
    /// CDB length in bytes.
    pub len: u8,
    /// Where its fields lie.
    pub fields: &'static [Field],
    /// Which way it moves data at most.
    pub direction: Direction,
    /// How much data it moves.
    pub data: Data,
    /// What a length of zero means.
    pub zero: Zero,
    /// Its nature.
    pub class: Class,
    /// How it is repeated.
    pub replay: Replay,
    /// What it does to the medium.
    pub effect: Effect,
    /// How long it may take.
    pub timing: Timing,
}

impl Row {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: FieldName) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// What the table says of an operation code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// It is in the table.
    Known(&'static Row),
    /// The operation code is, with other service actions.
    UnknownServiceAction {
        /// OPERATION CODE.
        opcode: u8,
        /// SERVICE ACTION.
        action: u16,
    },
    /// It is not, for this device type.
    Unknown {
        /// OPERATION CODE.
        opcode: u8,
    },
}

impl Command {
    /// Its row.
    #[must_use]
    pub const fn row(&self) -> Option<&'static Row> {
        match self {
            Self::Known(row) => Some(row),
            _ => None,
        }
    }
}

/// All rows, by operation code.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    table::GROUPS.iter().copied().flatten()
}

/// The rows of an operation code that hold for a device type.
fn candidates(opcode: u8, device: DeviceType) -> impl Iterator<Item = &'static Row> + Clone {
    let group = table::GROUPS.get(usize::from(opcode >> 5)).copied().unwrap_or_default();
    let rest = group.get(group.partition_point(|row| row.opcode < opcode)..).unwrap_or_default();
    rest.iter().take_while(move |row| row.opcode == opcode).filter(move |row| row.devices.contains(device.set()))
}

/// The service action in a CDB, where its operation code has them: `None` when the CDB ends before it.
#[must_use]
pub fn service_action(cdb: &[u8]) -> Option<u16> {
    match cdb.first() {
        Some(&VARIABLE_LENGTH) => cdb.get(8..10)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)),
        _ => cdb.get(1).map(|byte| u16::from(byte & 0x1f)),
    }
}

/// What the table says of a CDB that is at least as long as its key.
#[must_use]
pub fn look_up(cdb: &[u8], device: DeviceType) -> Command {
    let opcode = cdb.first().copied().unwrap_or(0);
    let rows = candidates(opcode, device);
    let Some(first) = rows.clone().next() else { return unknown(opcode, cdb) };
    if first.service.is_none() {
        return Command::Known(first);
    }
    let action = service_action(cdb);
    let found = rows.clone().find(|row| row.service == action);
    found.map_or(Command::UnknownServiceAction { opcode, action: action.unwrap_or(0) }, Command::Known)
}

/// Variable length CDBs have a service action for every device type.
fn unknown(opcode: u8, cdb: &[u8]) -> Command {
    match service_action(cdb) {
        Some(action) if opcode == VARIABLE_LENGTH => Command::UnknownServiceAction { opcode, action },
        _ => Command::Unknown { opcode },
    }
}

/// The row of a name for a device type: for building commands.
#[must_use]
pub fn by_key(opcode: u8, service: Option<u16>, device: DeviceType) -> Option<&'static Row> {
    candidates(opcode, device).find(|row| row.service == service)
}

#[cfg(test)]
mod tests;

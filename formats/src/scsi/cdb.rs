//! Command descriptor blocks: bytes with a checked length, and fields by name.

use core::fmt;
use core::ops::Deref;

use thiserror::Error;

use super::device::DeviceType;
use super::opcode::{self, Command, EXTENDED, FieldName, Row, VARIABLE_LENGTH};

/// Longest CDB, in bytes: a variable length one (SPC-5, "Variable length CDB format").
pub const MAX_CDB: usize = 260;
/// Bytes of a variable length CDB before its ADDITIONAL CDB LENGTH counts.
const VARIABLE_HEAD: usize = 8;
/// Bytes up to the end of its service action, the least that can be looked up.
const VARIABLE_LEAST: usize = 10;
/// Bytes of an extended CDB before its LENGTH counts.
const EXTENDED_HEAD: usize = 4;

/// Why bytes are not a CDB, or a field does not hold what it should.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CdbError {
    /// No bytes at all.
    #[error("a CDB of 0 bytes has no operation code")]
    Empty,
    /// Longer than any CDB can be.
    #[error("a CDB of {len} bytes is longer than the longest, {MAX_CDB}")]
    TooLong {
        /// Bytes there are, or that the CDB says it has.
        len: usize,
    },
    /// Shorter than its operation code, or its own length field, says: the command was cut off.
    #[error("CDB with operation code {opcode:#04x} has {have} bytes and needs {need}")]
    TooShort {
        /// OPERATION CODE.
        opcode: u8,
        /// Bytes it needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A value is too large for its field: use a longer form of the command.
    #[error("{command}: {value} does not fit the field `{field}` of {bits} bits; use a longer form of the command")]
    FieldTooNarrow {
        /// Name of the command.
        command: &'static str,
        /// The field.
        field: FieldName,
        /// The value.
        value: u64,
        /// Its width.
        bits: u8,
    },
    /// A length of 0 does not mean nothing.
    #[error("{command}: a length of 0 does not mean nothing; send no command instead")]
    ZeroIsNotNothing {
        /// Name of the command.
        command: &'static str,
    },
    /// The command has no such field.
    #[error("{command} has no field `{field}`")]
    NoField {
        /// Name of the command.
        command: &'static str,
        /// The field.
        field: FieldName,
    },
    /// There is no such command in the table for this device type.
    #[error("operation code {opcode:#04x} is not in the table for a {device}")]
    NotInTable {
        /// OPERATION CODE.
        opcode: u8,
        /// The device type.
        device: DeviceType,
    },
    /// Moved by the offset, an address would lie before the first or behind the last possible block.
    #[error("{command}: block {lba} moved by {offset} is no block address; check the offset of the mapping")]
    LbaOverflow {
        /// Name of the command.
        command: &'static str,
        /// The address.
        lba: u64,
        /// The offset in blocks.
        offset: i64,
    },
    /// It writes up to the last block of the device, and moved it would write up to the last block of another.
    #[error("{command} goes up to the end of the device: replay it as the range that it changed")]
    OpenEnded {
        /// Name of the command.
        command: &'static str,
    },
    /// Protection information holds the address too, in the data: it cannot be moved by changing the CDB alone.
    #[error(
        "{command} carries protection information, whose reference tags hold the address; map without an LBA offset"
    )]
    Protected {
        /// Name of the command.
        command: &'static str,
    },
}

/// A CDB: 1 to [`MAX_CDB`] bytes, as long as its operation code says or longer. No heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cdb {
    len: u16,
    bytes: [u8; MAX_CDB],
}

impl Cdb {
    /// The CDB in `bytes`, all of which belong to it. The length is that of its operation code (SPC-5 4.2.5.1) or, for
    /// extended and variable length ones, what they say; vendor specific and reserved groups have any. Bytes behind
    /// that are kept: the device was sent them.
    ///
    /// # Errors
    /// When there are too few bytes, or more than any CDB has.
    pub fn new(bytes: &[u8]) -> Result<Self, CdbError> {
        let need = needed(bytes)?;
        match (bytes.len(), bytes.first()) {
            (have, Some(&opcode)) if have < need => Err(CdbError::TooShort { opcode, need, have }),
            (len, _) if len > MAX_CDB => Err(CdbError::TooLong { len }),
            _ => Ok(Self::copy(bytes)),
        }
    }

    /// A CDB for this row, all fields zero.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        let mut cdb = Self::copy(&[]);
        cdb.len = u16::from(row.len);
        cdb.bytes[0] = row.opcode;
        let action = row.service.unwrap_or(0).to_be_bytes();
        match row.opcode {
            VARIABLE_LENGTH => {
                cdb.bytes[7] = row.len - VARIABLE_HEAD as u8;
                cdb.bytes[8..10].copy_from_slice(&action);
            }
            _ => cdb.bytes[1] = action[1],
        }
        cdb
    }

    /// The first [`MAX_CDB`] bytes at most.
    fn copy(from: &[u8]) -> Self {
        let len = from.len().min(MAX_CDB);
        let mut bytes = [0; MAX_CDB];
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Self { len: len as u16, bytes }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// OPERATION CODE.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// With a field changed, in the places that `row` gives.
    ///
    /// # Errors
    /// When the row has no such field, or the value does not fit.
    pub fn with(mut self, row: &Row, field: FieldName, value: u64) -> Result<Self, CdbError> {
        let place = row.field(field).ok_or(CdbError::NoField { command: row.name, field })?;
        let len = usize::from(self.len);
        let fits = self.bytes.get_mut(..len).is_some_and(|bytes| place.set(bytes, value));
        let narrow = CdbError::FieldTooNarrow { command: row.name, field, value, bits: place.bits };
        if fits { Ok(self) } else { Err(narrow) }
    }
}

impl Deref for Cdb {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cdb({:02x?})", self.as_bytes())
    }
}

/// The least number of bytes that a CDB which begins so must have.
fn needed(bytes: &[u8]) -> Result<usize, CdbError> {
    let (&opcode, have) = (bytes.first().ok_or(CdbError::Empty)?, bytes.len());
    let short = |need| CdbError::TooShort { opcode, need, have };
    let need = match opcode {
        VARIABLE_LENGTH => match bytes.get(7) {
            Some(&additional) => (VARIABLE_HEAD + usize::from(additional)).max(VARIABLE_LEAST),
            None => return Err(short(VARIABLE_LEAST)),
        },
        EXTENDED => match bytes.get(2..4) {
            Some(&[high, low]) => EXTENDED_HEAD + usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(short(EXTENDED_HEAD)),
        },
        _ => by_group(opcode),
    };
    if need > MAX_CDB { Err(CdbError::TooLong { len: need }) } else { Ok(need) }
}

/// The length that the group code in the top three bits gives; 1 where it gives none.
#[must_use]
pub const fn by_group(opcode: u8) -> usize {
    match opcode >> 5 {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        // 3 is reserved, 6 and 7 are the vendors'.
        _ => 1,
    }
}

/// A CDB with what the table says of it. Decode first, then ask; see also `effect`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The bytes.
    pub cdb: Cdb,
    /// What they are.
    pub command: Command,
    /// To which type of device they were sent.
    pub device: DeviceType,
}

/// Decodes the CDB in `bytes`, sent to a device of type `device`. Unknown operation codes and service actions are not
/// errors: they come back as what they are, with their bytes.
///
/// # Errors
/// When the CDB is shorter than its operation code, its own length, or its row in the table says, or too long.
pub fn decode(bytes: &[u8], device: DeviceType) -> Result<Decoded, CdbError> {
    let cdb = Cdb::new(bytes)?;
    let command = opcode::look_up(&cdb, device);
    let need = command.row().map_or(0, |row| usize::from(row.len));
    if cdb.len() < need {
        return Err(CdbError::TooShort { opcode: cdb.opcode(), need, have: cdb.len() });
    }
    Ok(Decoded { cdb, command, device })
}

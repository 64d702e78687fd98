//! Sense data in both formats: decoded from any number of bytes, and encoded.
//!
//! Nothing in it is believed that is not marked: INFORMATION counts only with its VALID bit, the sense-key-specific
//! bytes only with SKSV, and no byte behind the ADDITIONAL SENSE LENGTH counts. What was cut off reads as zero, as it
//! does for the kernel (drivers/scsi/scsi_common.c). Descriptors of other kinds are passed over.
//! Source: SPC-5 4.4 "Sense data".

use core::fmt;
use core::ops::Deref;

use bitflags::bitflags;
use thiserror::Error;

use super::asc::Asc;

mod codec;

/// Largest sense data a device may return, in bytes (SPC-5: eight and the ADDITIONAL SENSE LENGTH's 244).
pub const MAX_SENSE: usize = 252;
/// Room for what [`Sense::encode`] makes.
const ENCODED: usize = 64;

/// The four bits that say how to act.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report, or only flags.
    NoSense = 0x0,
    /// Done, after recovery by the device.
    RecoveredError = 0x1,
    /// The unit cannot be reached now.
    NotReady = 0x2,
    /// A flaw of the medium or of what is recorded.
    MediumError = 0x3,
    /// The device itself failed.
    HardwareError = 0x4,
    /// The device does not take this command or one of its fields.
    IllegalRequest = 0x5,
    /// Something happened to the device that everyone must hear of; the command was not begun.
    UnitAttention = 0x6,
    /// The medium is protected.
    DataProtect = 0x7,
    /// Blank medium, or end of data.
    BlankCheck = 0x8,
    /// The vendor's own.
    VendorSpecific = 0x9,
    /// A copy was aborted.
    CopyAborted = 0xa,
    /// The device aborted the command; it may be tried again.
    AbortedCommand = 0xb,
    /// Obsolete (SEARCH DATA found equal data).
    Equal = 0xc,
    /// Data is left that did not reach the medium.
    VolumeOverflow = 0xd,
    /// The data compared was not equal.
    Miscompare = 0xe,
    /// There is completion sense data.
    Completed = 0xf,
}

impl SenseKey {
    /// All of them, in order of their values.
    pub const ALL: [Self; 16] = [
        Self::NoSense,
        Self::RecoveredError,
        Self::NotReady,
        Self::MediumError,
        Self::HardwareError,
        Self::IllegalRequest,
        Self::UnitAttention,
        Self::DataProtect,
        Self::BlankCheck,
        Self::VendorSpecific,
        Self::CopyAborted,
        Self::AbortedCommand,
        Self::Equal,
        Self::VolumeOverflow,
        Self::Miscompare,
        Self::Completed,
    ];

    /// The key in the low four bits of `byte`; the others are flags or reserved.
    #[must_use]
    pub const fn from_low_bits(byte: u8) -> Self {
        // In bounds: sixteen keys, four bits.
        Self::ALL[(byte & 0x0f) as usize]
    }

    /// Its name in SPC.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSense => "NO SENSE",
            Self::RecoveredError => "RECOVERED ERROR",
            Self::NotReady => "NOT READY",
            Self::MediumError => "MEDIUM ERROR",
            Self::HardwareError => "HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::BlankCheck => "BLANK CHECK",
            Self::VendorSpecific => "VENDOR SPECIFIC",
            Self::CopyAborted => "COPY ABORTED",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::Equal => "EQUAL",
            Self::VolumeOverflow => "VOLUME OVERFLOW",
            Self::Miscompare => "MISCOMPARE",
            Self::Completed => "COMPLETED",
        }
    }
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which layout sense data has. A device is told by D_SENSE in its Control mode page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum SenseFormat {
    /// Response codes 70h and 71h: fixed places, INFORMATION of 32 bits.
    #[default]
    Fixed,
    /// Response codes 72h and 73h: a list of descriptors, INFORMATION of 64 bits.
    Descriptor,
}

bitflags! {
    /// The flags beside the key.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct SenseFlags: u8 {
        /// A filemark (or setmark) was read.
        const FILEMARK = 0x80;
        /// End of medium: early warning when writing, the end or the beginning when moving.
        const EOM = 0x40;
        /// The block has another length than was asked for.
        const ILI = 0x20;
        /// More sense data than there was room for.
        const SDAT_OVFL = 0x10;
    }
}

/// Which field of a command or its parameter list the device refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FieldPointer {
    /// In the CDB (C/D bit set), or in the parameter list.
    pub in_cdb: bool,
    /// Leftmost bit of the field within its byte, where told.
    pub bit: Option<u8>,
    /// The byte.
    pub byte: u16,
}

/// Why bytes are not sense data.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SenseError {
    /// Too few bytes to hold a sense key: treat the command as failed for an unknown reason.
    #[error("sense data of {len} bytes ends before its sense key")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// The first byte is no response code of current or deferred sense data.
    #[error("sense data begins with response code {0:#04x}; 0x70 to 0x73 are known")]
    ResponseCode(u8),
}

/// What a device says beside CHECK CONDITION, whichever way it says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Sense {
    /// Layout it came in, or is to be encoded in.
    pub format: SenseFormat,
    /// About an earlier command that had already ended with GOOD, not about the one it came with.
    pub deferred: bool,
    /// How to act.
    pub key: SenseKey,
    /// What is the matter.
    pub asc: Asc,
    /// Flags beside the key.
    pub flags: SenseFlags,
    /// INFORMATION, where marked VALID: for a disk an LBA (see [`Self::lba`]), with ILI or from a tape a difference
    /// (see [`Self::residual`]). In fixed format only 32 bits are kept.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION, where there is any: in fixed format 32 bits that are not zero, in descriptor format
    /// its descriptor.
    pub command_specific: Option<u64>,
    /// The sense-key-specific bytes, where marked SKSV; that bit is the first one's highest and always set.
    pub key_specific: Option<[u8; 3]>,
    /// FIELD REPLACEABLE UNIT CODE; 0 says nothing.
    pub fru: u8,
}

const SKSV: u8 = 0x80;

impl Sense {
    /// Current sense data in fixed format with this key and code.
    #[must_use]
    pub const fn new(key: SenseKey, asc: Asc) -> Self {
        Self {
            format: SenseFormat::Fixed,
            deferred: false,
            key,
            asc,
            flags: SenseFlags::empty(),
            information: None,
            command_specific: None,
            key_specific: None,
            fru: 0,
        }
    }

    /// With an LBA as INFORMATION.
    #[must_use]
    pub const fn with_lba(self, lba: u64) -> Self {
        Self { information: Some(lba), ..self }
    }

    /// With what is left of the request as INFORMATION, in the width of the format.
    #[must_use]
    pub const fn with_residual(self, residual: i64) -> Self {
        let bits = match self.format {
            SenseFormat::Fixed => residual as u32 as u64,
            SenseFormat::Descriptor => residual as u64,
        };
        Self { information: Some(bits), ..self }
    }

    /// With a progress indication: part of 65,536.
    #[must_use]
    pub const fn with_progress(self, progress: u16) -> Self {
        let [high, low] = progress.to_be_bytes();
        Self { key_specific: Some([SKSV, high, low]), ..self }
    }

    /// With the field that is refused.
    #[must_use]
    pub const fn with_field_pointer(self, field: FieldPointer) -> Self {
        let [high, low] = field.byte.to_be_bytes();
        let bit = match field.bit {
            Some(bit) => 0x08 | (bit & 0x07),
            None => 0,
        };
        let in_cdb = if field.in_cdb { 0x40 } else { 0 };
        Self { key_specific: Some([SKSV | in_cdb | bit, high, low]), ..self }
    }

    /// INFORMATION as an LBA: what it is for a disk's commands, unless ILI says otherwise.
    #[must_use]
    pub const fn lba(&self) -> Option<u64> {
        if self.flags.contains(SenseFlags::ILI) { None } else { self.information }
    }

    /// INFORMATION as requested length minus actual length, in the command's unit (blocks, bytes, filemarks); may be
    /// negative. That is what it is for a tape's commands and with ILI; for a disk's other errors it is an LBA.
    #[must_use]
    pub fn residual(&self) -> Option<i64> {
        self.information.map(|bits| match self.format {
            SenseFormat::Fixed => i64::from(bits as u32 as i32),
            SenseFormat::Descriptor => bits as i64,
        })
    }

    /// How far a long operation is, as part of 65,536: with NO SENSE and NOT READY.
    #[must_use]
    pub const fn progress(&self) -> Option<u16> {
        match (self.key, self.key_specific) {
            (SenseKey::NoSense | SenseKey::NotReady, Some([_, high, low])) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// How often the device tried: with RECOVERED, MEDIUM and HARDWARE ERROR.
    #[must_use]
    pub const fn retry_count(&self) -> Option<u16> {
        let may = matches!(self.key, SenseKey::RecoveredError | SenseKey::MediumError | SenseKey::HardwareError);
        match self.key_specific {
            Some([_, high, low]) if may => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// Which field was refused: with ILLEGAL REQUEST.
    #[must_use]
    pub fn field_pointer(&self) -> Option<FieldPointer> {
        let [first, high, low] = self.key_specific.filter(|_| self.key == SenseKey::IllegalRequest)?;
        let bit = (first & 0x08 != 0).then_some(first & 0x07);
        Some(FieldPointer { in_cdb: first & 0x40 != 0, bit, byte: u16::from_be_bytes([high, low]) })
    }

    /// Whether unit attentions were lost because the device could not queue them all: with UNIT ATTENTION.
    #[must_use]
    pub const fn attentions_lost(&self) -> bool {
        matches!((self.key, self.key_specific), (SenseKey::UnitAttention, Some([first, ..])) if first & 1 != 0)
    }

    /// The sense data in `bytes`: 0 to any number, of which at most [`MAX_SENSE`] count.
    ///
    /// # Errors
    /// When there is no sense key in them, or they begin with another response code.
    pub fn decode(bytes: &[u8]) -> Result<Self, SenseError> {
        codec::decode(bytes)
    }

    /// Its bytes in its own format, as a device would return them.
    ///
    /// In fixed format an INFORMATION or COMMAND-SPECIFIC INFORMATION that does not fit 32 bits is left out and not
    /// marked valid, as SPC-5 4.4.3 says. In descriptor format a lone ILI is put into the block commands descriptor.
    #[must_use]
    pub fn encode(&self) -> SenseBytes {
        codec::encode(self)
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deferred {
            f.write_str("deferred ")?;
        }
        write!(f, "{} {}", self.key, self.asc)?;
        for (name, _) in self.flags.iter_names() {
            write!(f, ", {name}")?;
        }
        if let Some(information) = self.information {
            write!(f, ", information {information}")?;
        }
        if let Some(progress) = self.progress() {
            write!(f, ", {}% done", u32::from(progress) * 100 / 65_536)?;
        }
        self.field_pointer().map_or(Ok(()), |field| write!(f, ", {field}"))
    }
}

impl fmt::Display for FieldPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.in_cdb { "CDB" } else { "parameter list" };
        write!(f, "byte {} of the {place}", self.byte)?;
        self.bit.map_or(Ok(()), |bit| write!(f, ", bit {bit}"))
    }
}

/// Encoded sense data: a short, owned run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenseBytes {
    len: usize,
    bytes: [u8; ENCODED],
}

impl Deref for SenseBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

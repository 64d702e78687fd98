//! Peripheral device types: which command set a device speaks.

use core::fmt;

use bitflags::bitflags;

/// The PERIPHERAL DEVICE TYPE of standard INQUIRY data (SPC-5, "Standard INQUIRY data"), five bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct DeviceType(u8);

impl DeviceType {
    /// Direct access block device (SBC): a disk.
    pub const DISK: Self = Self(0x00);
    /// Sequential access device (SSC): a tape.
    pub const TAPE: Self = Self(0x01);
    /// Write-once block device (obsolete).
    pub const WRITE_ONCE: Self = Self(0x04);
    /// CD, DVD, BD (MMC).
    pub const OPTICAL_DISC: Self = Self(0x05);
    /// Optical memory block device (obsolete).
    pub const OPTICAL_MEMORY: Self = Self(0x07);
    /// Media changer (SMC).
    pub const CHANGER: Self = Self(0x08);
    /// Enclosure services (SES).
    pub const ENCLOSURE: Self = Self(0x0d);
    /// Simplified direct access device (RBC).
    pub const SIMPLE_DISK: Self = Self(0x0e);
    /// Host managed zoned block device (ZBC).
    pub const ZONED: Self = Self(0x14);
    /// Well known logical unit.
    pub const WELL_KNOWN: Self = Self(0x1e);
    /// Unknown, or no device.
    pub const UNKNOWN: Self = Self(0x1f);

    /// The type in the low five bits of INQUIRY's first byte; the others are the peripheral qualifier.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & 0x1f)
    }

    /// Its five bits.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// The set of this type alone.
    #[must_use]
    pub const fn set(self) -> Devices {
        Devices::from_bits_retain(1 << self.0)
    }

    /// Whether it is addressed by logical block (an effect can be told as byte ranges).
    #[must_use]
    pub const fn is_block_device(self) -> bool {
        Devices::BLOCK.contains(self.set())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DISK => "disk",
            Self::TAPE => "tape",
            Self::WRITE_ONCE => "write-once disk",
            Self::OPTICAL_DISC => "optical disc",
            Self::OPTICAL_MEMORY => "optical memory",
            Self::CHANGER => "media changer",
            Self::ENCLOSURE => "enclosure",
            Self::SIMPLE_DISK => "simplified disk",
            Self::ZONED => "zoned disk",
            Self::WELL_KNOWN => "well known logical unit",
            Self::UNKNOWN => "no device",
            _ => "other device",
        }
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (type {:#04x})", self.name(), self.0)
    }
}

bitflags! {
    /// A set of device types: bit n is type n.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Devices: u32 {
        /// Disks of every kind that speak SBC.
        const SBC = 1 | 1 << 0x04 | 1 << 0x07 | 1 << 0x0e | 1 << 0x14;
        /// Tapes (SSC).
        const SSC = 1 << 0x01;
        /// Optical discs (MMC).
        const MMC = 1 << 0x05;
        /// Media changers (SMC).
        const SMC = 1 << 0x08;
        /// Disks that may have zones (ZBC): host managed, and host aware ones, which say they are disks.
        const ZBC = 1 | 1 << 0x14;
        /// Everything addressed by logical block.
        const BLOCK = Self::SBC.bits() | Self::MMC.bits();
        /// All types: the primary commands (SPC).
        const ANY = u32::MAX;
        /// All but tapes.
        const NOT_SSC = !Self::SSC.bits();
        /// All but changers.
        const NOT_SMC = !Self::SMC.bits();
        /// All but optical discs.
        const NOT_MMC = !Self::MMC.bits();
        /// All but tapes and changers.
        const NOT_SSC_SMC = !(Self::SSC.bits() | Self::SMC.bits());
    }
}

//! What a simulated device is: its kind, size, names, limits and chance.

use std::path::PathBuf;
use std::time::Duration;

use formats::scsi::DeviceType;

/// What kind of device is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A disk (SBC).
    Disk,
    /// A tape (SSC), with its medium loaded.
    Tape,
}

/// Logical block provisioning of a disk (SBC-4 4.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provisioning {
    /// Every block has its space; nothing can be unmapped.
    Full,
    /// Space is given to a block when it is written.
    Thin(Thin),
}

/// A thin disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thin {
    /// Blocks for which there is space; beyond it writes end with DATA PROTECT 27h/07h.
    pub limit: Option<u64>,
    /// Using this many blocks raises UNIT ATTENTION 38h/07h for each initiator, each time it is reached from below.
    pub soft_threshold: Option<u64>,
    /// LBPRZ: deallocated blocks read as zeros. Without it they read as what they held before.
    pub reads_zeros: bool,
}

impl Thin {
    /// Space for every block; deallocated ones read as zeros.
    pub const UNLIMITED: Self = Self { limit: None, soft_threshold: None, reads_zeros: true };
}

/// What one command may ask for, in blocks: the Block Limits page (B0h). What is larger is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// MAXIMUM TRANSFER LENGTH.
    pub transfer: u32,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub compare: u8,
    /// MAXIMUM WRITE SAME LENGTH; 0 for any.
    pub same: u64,
    /// MAXIMUM UNMAP LBA COUNT, over all descriptors of a command.
    pub unmap: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
    pub unmap_descriptors: u32,
    /// MAXIMUM ATOMIC TRANSFER LENGTH; 0 for no WRITE ATOMIC.
    pub atomic: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transfer: 1 << 16, compare: 255, same: 1 << 16, unmap: u32::MAX, unmap_descriptors: 1024, atomic: 1024 }
    }
}

/// The names in INQUIRY data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, at most 8 characters of ASCII.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, at most 16.
    pub product: String,
    /// PRODUCT REVISION LEVEL, at most 4.
    pub revision: String,
    /// PRODUCT SERIAL NUMBER.
    pub serial: String,
    /// NAA designator of the logical unit.
    pub naa: u64,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            vendor: "blkecho".into(),
            product: "simulated".into(),
            revision: "0001".into(),
            serial: "SIM0000001".into(),
            naa: 0x3000_0000_0000_0001,
        }
    }
}

/// The medium of a tape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TapeSettings {
    /// Bytes of records that fit; every record and filemark takes at least 512.
    pub capacity: u64,
    /// Bytes before the end from which on writing answers with EOM.
    pub early_warning: u64,
    /// BLOCK LENGTH of the block descriptor at power on: 0 for blocks of any length.
    pub block_length: u32,
    /// Longest record in bytes (READ BLOCK LIMITS).
    pub longest: u32,
}

impl Default for TapeSettings {
    fn default() -> Self {
        Self { capacity: 1 << 28, early_warning: 1 << 20, block_length: 0, longest: 1 << 20 }
    }
}

/// Everything about a simulated device that is fixed when it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Disk or tape.
    pub kind: Kind,
    /// Bytes of a logical block of a disk.
    pub block_size: u32,
    /// Logical blocks of a disk.
    pub blocks: u64,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT of a disk.
    pub physical_exponent: u8,
    /// Provisioning of a disk.
    pub provisioning: Provisioning,
    /// Limits of a disk.
    pub limits: Limits,
    /// Names.
    pub identity: Identity,
    /// Whether the write cache of a disk is on at power on (WCE). MODE SELECT can change it.
    pub write_cache: bool,
    /// Whether the medium is write protected by a switch.
    pub write_protected: bool,
    /// The bytes of a disk are in this file; in memory without one. Every block of a file that is there already counts
    /// as mapped.
    pub file: Option<PathBuf>,
    /// The medium of a tape.
    pub tape: TapeSettings,
    /// How long a command takes. Time is only counted, nobody waits.
    pub command_time: Duration,
    /// How long SANITIZE and FORMAT UNIT take, likewise.
    pub long_time: Duration,
    /// Seed of all chance.
    pub seed: u64,
}

impl Settings {
    /// A disk in memory with a write cache, fully provisioned.
    #[must_use]
    pub fn disk(block_size: u32, blocks: u64) -> Self {
        Self {
            kind: Kind::Disk,
            block_size,
            blocks,
            physical_exponent: 0,
            provisioning: Provisioning::Full,
            limits: Limits::default(),
            identity: Identity::default(),
            write_cache: true,
            write_protected: false,
            file: None,
            tape: TapeSettings::default(),
            command_time: Duration::from_micros(100),
            long_time: Duration::from_secs(10),
            seed: 0,
        }
    }

    /// The same thin, with nothing mapped.
    #[must_use]
    pub fn thin_disk(block_size: u32, blocks: u64, thin: Thin) -> Self {
        Self { provisioning: Provisioning::Thin(thin), ..Self::disk(block_size, blocks) }
    }

    /// An empty tape.
    #[must_use]
    pub fn tape(tape: TapeSettings) -> Self {
        Self { kind: Kind::Tape, tape, ..Self::disk(512, 0) }
    }

    /// The peripheral device type.
    #[must_use]
    pub const fn device_type(&self) -> DeviceType {
        match self.kind {
            Kind::Disk => DeviceType::DISK,
            Kind::Tape => DeviceType::TAPE,
        }
    }

    pub(super) const fn is_tape(&self) -> bool {
        matches!(self.kind, Kind::Tape)
    }

    /// How the disk is thin, if it is.
    pub(super) const fn thin(&self) -> Option<Thin> {
        match self.provisioning {
            Provisioning::Thin(thin) => Some(thin),
            Provisioning::Full => None,
        }
    }
}

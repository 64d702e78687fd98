//! What a SCSI device says of itself, read before the first command, and how two devices differ.
//!
//! [`Identity::read`] asks for INQUIRY and its vital product data pages (00h, 80h, 83h, B0h, B1h, B2h), READ CAPACITY(10)
//! and (16), the Caching and Control mode pages, and persistent reservations. What a device does not have is none; what it
//! says is checked against the bytes that came. [`differences`] names each way in which a standby's device is not the
//! recorded one, the dangerous ones to be refused.

mod compare;
mod mapping;
mod parse;
mod read;

use serde::{Deserialize, Serialize};

pub use compare::{Difference, Severity, differences, is_same_unit};
pub use mapping::{Mapping, MappingError};
pub use read::{ProbeError, check_last_block, settle};

use formats::scsi::{DeviceType, Geometry};

/// A SCSI device in its own words. Lengths are in logical blocks where not said otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Identity {
    /// PERIPHERAL DEVICE TYPE (SPC-5, "Standard INQUIRY data").
    pub device_type: u8,
    /// Its medium can be taken out (RMB).
    pub removable: bool,
    /// VERSION: which SPC it claims.
    pub version: u8,
    /// T10 VENDOR IDENTIFICATION.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION.
    pub product: String,
    /// PRODUCT REVISION LEVEL.
    pub revision: String,
    /// PRODUCT SERIAL NUMBER (VPD page 80h).
    pub serial: Option<String>,
    /// What names the logical unit (VPD page 83h, association 0), ports and targets left out.
    pub designators: Vec<Designator>,
    /// Size and shape of its medium; none for a tape.
    pub capacity: Option<Capacity>,
    /// VPD page B0h.
    pub limits: Option<Limits>,
    /// VPD page B1h.
    pub characteristics: Option<Characteristics>,
    /// VPD page B2h.
    pub provisioning: Option<Provisioning>,
    /// From MODE SENSE.
    pub modes: Modes,
    /// From PERSISTENT RESERVE IN.
    pub reservations: Option<Reservations>,
}

/// One name of a logical unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Designator {
    /// DESIGNATOR TYPE: 1 T10 vendor identification, 2 EUI-64, 3 NAA, 8 SCSI name string, ...
    pub kind: u8,
    /// Text where it is text, else hexadecimal.
    pub value: String,
}

/// READ CAPACITY (SBC-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of one.
    pub block_size: u32,
    /// Logical blocks of a physical one, as power of two.
    pub physical_exponent: u8,
    /// Protection: 0 none, else the type 1 to 3.
    pub protection: u8,
    /// LBPME: it has logical block provisioning management.
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub reads_zeros: bool,
}

impl Capacity {
    /// Its size in bytes; none when that does not fit 64 bits.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.blocks.checked_mul(u64::from(self.block_size))
    }
}

/// Block limits (VPD page B0h). Zero says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// WSNZ: WRITE SAME with a length of zero is not taken.
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub compare_and_write: u8,
    /// MAXIMUM TRANSFER LENGTH.
    pub transfer: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer: u32,
    /// MAXIMUM UNMAP LBA COUNT; all bits set is no limit.
    pub unmap_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; all bits set is no limit.
    pub unmap_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT; zero where it is not valid.
    pub unmap_alignment: u32,
    /// MAXIMUM WRITE SAME LENGTH.
    pub write_same: u64,
}

/// Block device characteristics (VPD page B1h).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Characteristics {
    /// MEDIUM ROTATION RATE: 0 not said, 1 does not rotate, else per minute.
    pub rotation: u16,
    /// ZONED: 0 no, 1 host aware, 2 device managed.
    pub zoned: u8,
}

/// Logical block provisioning (VPD page B2h).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Provisioning {
    /// LBPU: UNMAP is taken.
    pub unmap: bool,
    /// LBPWS: WRITE SAME(16) with UNMAP is taken.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME(10) with UNMAP is taken.
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub reads_zeros: bool,
    /// ANC_SUP: blocks can be anchored.
    pub anchor: bool,
    /// PROVISIONING TYPE: 1 resource, 2 thin, 0 not said.
    pub kind: u8,
}

/// What the mode pages say; none where a page is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Modes {
    /// WP of the header's device-specific parameter: write protected now.
    pub write_protected: bool,
    /// DPOFUA of the same: DPO and FUA are taken.
    pub fua: bool,
    /// WCE of the Caching page: there is a volatile write cache.
    pub write_cache: Option<bool>,
    /// Of the Control page.
    pub control: Option<Control>,
}

/// The Control mode page (SPC-5, "Control mode page").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// TST: task set type.
    pub task_set: u8,
    /// D_SENSE: sense data come in descriptor format.
    pub descriptor_sense: bool,
    /// QUEUE ALGORITHM MODIFIER.
    pub queue_algorithm: u8,
    /// UA_INTLCK_CTRL.
    pub attention_interlock: u8,
    /// SWP: software write protect.
    pub software_write_protect: bool,
    /// TAS: aborted tasks are told.
    pub task_aborted_status: bool,
}

/// Persistent reservations.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reservations {
    /// PRGENERATION.
    pub generation: u32,
    /// All registered keys.
    pub keys: Vec<u64>,
    /// The reservation that holds.
    pub held: Option<Reservation>,
}

/// A persistent reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// The holder's key; zero for the types that all registrants hold.
    pub key: u64,
    /// TYPE.
    pub kind: u8,
}

impl Identity {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> DeviceType {
        DeviceType::from_byte(self.device_type)
    }

    /// Its medium, for `formats`.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        let capacity = self.capacity?;
        let per_physical = 1_u32.checked_shl(u32::from(capacity.physical_exponent)).unwrap_or(1);
        Some(Geometry { per_physical, ..Geometry::new(capacity.block_size, capacity.blocks) })
    }

    /// Whether unmapped blocks are promised to read as zeros.
    #[must_use]
    pub fn reads_zeros(&self) -> bool {
        self.provisioning.is_some_and(|page| page.reads_zeros)
            || self.capacity.is_some_and(|capacity| capacity.reads_zeros)
    }

    /// Vendor, product, revision, serial number and type in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let serial = self.serial.as_deref().unwrap_or("no serial number");
        format!("{} {} {} ({serial}), {}", self.vendor, self.product, self.revision, self.kind())
    }
}

#[cfg(test)]
mod tests;

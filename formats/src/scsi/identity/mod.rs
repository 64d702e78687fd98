//! What a SCSI device says of itself: the parsed form of its identity, and its bytes in a hello.
//!
//! Whoever asks a device (by INQUIRY and its vital product data pages 80h, 83h, B0h, B1h, B2h, READ CAPACITY, the Caching
//! and Control mode pages, persistent reservations) makes an [`Identity`] of the answers with [`parse`]. A primary sends
//! it in its hello, and a standby compares. What a device does not have is none.
//!
//! # Bytes
//! Little-endian, like all of ours. A flag is one byte, 0 or 1; what may be absent has such a byte in front; a text has its
//! length in front, one byte, and is printable ASCII, since it ends up on a terminal. One identity has one encoding, of at
//! most [`MAX_IDENTITY`] bytes: longer names and longer lists are cut before ([`Identity::carried`]).

mod codec;
pub mod parse;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use binrw::binrw;

use super::device::DeviceType;
use super::effect::Geometry;
use codec::{
    cache, flag, list, optional, put_cache, put_flag, put_list, put_optional, put_serial, put_text, serial, text,
};

/// Most bytes of an identity in a hello.
pub const MAX_IDENTITY: usize = 640;
/// Longest name that a hello carries, in bytes: the one that SAT-4 makes of an ATA disk has 68.
pub const MAX_NAME: usize = 72;
/// Most designators that a hello carries.
pub const MAX_DESIGNATORS: usize = 4;
/// Most registered keys that a hello carries.
pub const MAX_KEYS: usize = 8;

/// A SCSI device in its own words. Lengths are in logical blocks where not said otherwise.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Identity {
    /// PERIPHERAL DEVICE TYPE (SPC-5, "Standard INQUIRY data").
    pub device_type: u8,
    /// Its medium can be taken out (RMB).
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub removable: bool,
    /// VERSION: which SPC it claims.
    pub version: u8,
    /// T10 VENDOR IDENTIFICATION.
    #[br(parse_with = text, args(8))]
    #[bw(write_with = put_text)]
    pub vendor: String,
    /// PRODUCT IDENTIFICATION.
    #[br(parse_with = text, args(16))]
    #[bw(write_with = put_text)]
    pub product: String,
    /// PRODUCT REVISION LEVEL.
    #[br(parse_with = text, args(4))]
    #[bw(write_with = put_text)]
    pub revision: String,
    /// PRODUCT SERIAL NUMBER (VPD page 80h).
    #[br(parse_with = serial)]
    #[bw(write_with = put_serial)]
    pub serial: Option<String>,
    /// What names the logical unit (VPD page 83h, association 0), ports and targets left out.
    #[br(parse_with = list, args(MAX_DESIGNATORS))]
    #[bw(write_with = put_list)]
    pub designators: Vec<Designator>,
    /// Size and shape of its medium; none for a tape.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub capacity: Option<Capacity>,
    /// VPD page B0h.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub limits: Option<Limits>,
    /// VPD page B1h.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub characteristics: Option<Characteristics>,
    /// VPD page B2h.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub provisioning: Option<Provisioning>,
    /// From MODE SENSE.
    pub modes: Modes,
    /// From PERSISTENT RESERVE IN.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub reservations: Option<Reservations>,
}

/// One name of a logical unit.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Designator {
    /// DESIGNATOR TYPE: 1 T10 vendor identification, 2 EUI-64, 3 NAA, 8 SCSI name string, ...
    pub kind: u8,
    /// Text where it is text, else hexadecimal.
    #[br(parse_with = text, args(MAX_NAME))]
    #[bw(write_with = put_text)]
    pub value: String,
}

/// READ CAPACITY (SBC-4).
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little)]
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
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
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
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Limits {
    /// WSNZ: WRITE SAME with a length of zero is not taken.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
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
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Characteristics {
    /// MEDIUM ROTATION RATE: 0 not said, 1 does not rotate, else per minute.
    pub rotation: u16,
    /// ZONED: 0 no, 1 host aware, 2 device managed.
    pub zoned: u8,
}

/// Logical block provisioning (VPD page B2h).
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Provisioning {
    /// LBPU: UNMAP is taken.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub unmap: bool,
    /// LBPWS: WRITE SAME(16) with UNMAP is taken.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME(10) with UNMAP is taken.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub reads_zeros: bool,
    /// ANC_SUP: blocks can be anchored.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub anchor: bool,
    /// PROVISIONING TYPE: 1 resource, 2 thin, 0 not said.
    pub kind: u8,
}

/// What the mode pages say; none where a page is not there.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Modes {
    /// WP of the header's device-specific parameter: write protected now.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub write_protected: bool,
    /// DPOFUA of the same: DPO and FUA are taken.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub fua: bool,
    /// WCE of the Caching page: there is a volatile write cache.
    #[br(parse_with = cache)]
    #[bw(write_with = put_cache)]
    pub write_cache: Option<bool>,
    /// Of the Control page.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub control: Option<Control>,
}

/// The Control mode page (SPC-5, "Control mode page").
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Control {
    /// TST: task set type.
    pub task_set: u8,
    /// D_SENSE: sense data come in descriptor format.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub descriptor_sense: bool,
    /// QUEUE ALGORITHM MODIFIER.
    pub queue_algorithm: u8,
    /// UA_INTLCK_CTRL.
    pub attention_interlock: u8,
    /// SWP: software write protect.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub software_write_protect: bool,
    /// TAS: aborted tasks are told.
    #[br(parse_with = flag)]
    #[bw(write_with = put_flag)]
    pub task_aborted_status: bool,
}

/// Persistent reservations.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Reservations {
    /// PRGENERATION.
    pub generation: u32,
    /// All registered keys.
    #[br(parse_with = list, args(MAX_KEYS))]
    #[bw(write_with = put_list)]
    pub keys: Vec<u64>,
    /// The reservation that holds.
    #[br(parse_with = optional)]
    #[bw(write_with = put_optional)]
    pub held: Option<Reservation>,
}

/// A persistent reservation.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little)]
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

    /// What a hello carries of it: names up to [`MAX_NAME`] bytes, the first [`MAX_DESIGNATORS`] designators and
    /// [`MAX_KEYS`] keys. Compare one that came over a link with this.
    #[must_use]
    pub fn carried(&self) -> Self {
        let mut carried = self.clone();
        carried.vendor = cut(&self.vendor, 8);
        carried.product = cut(&self.product, 16);
        carried.revision = cut(&self.revision, 4);
        carried.serial = self.serial.as_deref().map(|serial| cut(serial, MAX_NAME));
        carried.designators.truncate(MAX_DESIGNATORS);
        carried.designators.iter_mut().for_each(|name| name.value = cut(&name.value, MAX_NAME));
        carried.reservations.iter_mut().for_each(|reservations| reservations.keys.truncate(MAX_KEYS));
        carried
    }

    /// Vendor, product, revision, serial number and type in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let serial = self.serial.as_deref().unwrap_or("no serial number");
        format!("{} {} {} ({serial}), {}", self.vendor, self.product, self.revision, self.kind())
    }
}

/// The first characters of a text.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
pub(crate) mod tests;

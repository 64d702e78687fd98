//! The commands that this project issues itself, built from their rows in the table.
//!
//! Where the types of the arguments are as wide as the fields, nothing can fail; the others give an error that names the
//! field, never a value cut off.

use alloc::vec::Vec;

use super::cdb::{Cdb, CdbError};
use super::decoded::Blocks;
use super::device::DeviceType;
use super::list::{self, LbaRange, ListError};
use super::opcode::{self, FieldName as N};

/// Fields and their values.
type Values<'a> = &'a [(N, u64)];

/// A command of the table with these fields set.
///
/// # Errors
/// When the table has no such command for the device type, or a field is missing or too narrow.
pub fn command(opcode: u8, service: Option<u16>, device: DeviceType, values: Values<'_>) -> Result<Cdb, CdbError> {
    let row = opcode::by_key(opcode, service, device).ok_or(CdbError::NotInTable { opcode, device })?;
    values.iter().try_fold(Cdb::of(row), |cdb, &(field, value)| cdb.with(row, field, value))
}

/// The same for commands whose arguments are as wide as their fields.
fn sure(opcode: u8, service: Option<u16>, device: DeviceType, values: Values<'_>) -> Cdb {
    // Does not depend on input: a test builds each of them with the largest arguments.
    command(opcode, service, device, values).expect("the table holds it and the fields are as wide as the arguments")
}

fn disk(opcode: u8, values: Values<'_>) -> Cdb {
    sure(opcode, None, DeviceType::DISK, values)
}

fn tape(opcode: u8, values: Values<'_>) -> Cdb {
    sure(opcode, None, DeviceType::TAPE, values)
}

/// TEST UNIT READY.
#[must_use]
pub fn test_unit_ready() -> Cdb {
    disk(0x00, &[])
}

/// REQUEST SENSE, in descriptor format if `desc`.
#[must_use]
pub fn request_sense(desc: bool, allocation: u8) -> Cdb {
    disk(0x03, &[(N::Desc, desc.into()), (N::Length, allocation.into())])
}

/// INQUIRY: standard data, or the vital product data page.
#[must_use]
pub fn inquiry(page: Option<u8>, allocation: u16) -> Cdb {
    let evpd = page.is_some().into();
    disk(0x12, &[(N::Evpd, evpd), (N::Page, page.unwrap_or(0).into()), (N::Length, allocation.into())])
}

/// REPORT LUNS.
#[must_use]
pub fn report_luns(select_report: u8, allocation: u32) -> Cdb {
    disk(0xa0, &[(N::SelectReport, select_report.into()), (N::Length, allocation.into())])
}

/// READ CAPACITY(10).
#[must_use]
pub fn read_capacity_10() -> Cdb {
    disk(0x25, &[])
}

/// READ CAPACITY(16).
#[must_use]
pub fn read_capacity_16(allocation: u32) -> Cdb {
    sure(0x9e, Some(0x10), DeviceType::DISK, &[(N::Length, allocation.into())])
}

/// Which mode page to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModePage {
    /// PAGE CODE, 6 bits.
    pub page: u8,
    /// SUBPAGE CODE.
    pub subpage: u8,
    /// PAGE CONTROL: 0 current, 1 changeable, 2 default, 3 saved.
    pub control: u8,
    /// Without block descriptors.
    pub dbd: bool,
}

impl ModePage {
    fn values(self, allocation: u16) -> [(N, u64); 5] {
        [
            (N::Page, u64::from(self.page & 0x3f)),
            (N::Subpage, self.subpage.into()),
            (N::PageControl, u64::from(self.control & 3)),
            (N::Dbd, self.dbd.into()),
            (N::Length, allocation.into()),
        ]
    }
}

/// MODE SENSE(6).
#[must_use]
pub fn mode_sense_6(page: ModePage, allocation: u8) -> Cdb {
    disk(0x1a, &page.values(allocation.into()))
}

/// MODE SENSE(10).
#[must_use]
pub fn mode_sense_10(page: ModePage, allocation: u16) -> Cdb {
    disk(0x5a, &page.values(allocation))
}

/// MODE SELECT(6) of pages in the standard's format; saved too if `save`.
#[must_use]
pub fn mode_select_6(save: bool, list_len: u8) -> Cdb {
    disk(0x15, &[(N::PageFormat, 1), (N::Save, save.into()), (N::Length, list_len.into())])
}

/// MODE SELECT(10) of pages in the standard's format; saved too if `save`.
#[must_use]
pub fn mode_select_10(save: bool, list_len: u16) -> Cdb {
    disk(0x55, &[(N::PageFormat, 1), (N::Save, save.into()), (N::Length, list_len.into())])
}

/// Modifiers of reads and writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// On the medium before it completes.
    pub fua: bool,
    /// Not worth caching.
    pub dpo: bool,
    /// WRPROTECT or RDPROTECT, 3 bits.
    pub protect: u8,
    /// GROUP NUMBER, 6 bits.
    pub group: u8,
}

impl Access {
    /// On the medium before it completes.
    pub const FUA: Self = Self { fua: true, dpo: false, protect: 0, group: 0 };

    fn values(self, lba: u64, length: u64) -> [(N, u64); 6] {
        [
            (N::Lba, lba),
            (N::Length, length),
            (N::Fua, self.fua.into()),
            (N::Dpo, self.dpo.into()),
            (N::Protect, u64::from(self.protect & 7)),
            (N::Group, u64::from(self.group & 0x3f)),
        ]
    }
}

/// READ(10). A length of 0 reads nothing.
#[must_use]
pub fn read_10(lba: u32, blocks: u16, access: Access) -> Cdb {
    disk(0x28, &access.values(lba.into(), blocks.into()))
}

/// READ(16). A length of 0 reads nothing.
#[must_use]
pub fn read_16(lba: u64, blocks: u32, access: Access) -> Cdb {
    disk(0x88, &access.values(lba, blocks.into()))
}

/// READ(10) where it reaches, else READ(16).
#[must_use]
pub fn read(lba: u64, blocks: u32, access: Access) -> Cdb {
    match (u32::try_from(lba), u16::try_from(blocks)) {
        (Ok(lba), Ok(blocks)) => read_10(lba, blocks, access),
        _ => read_16(lba, blocks, access),
    }
}

/// WRITE(6): 1 to 256 blocks within the first 2^21.
///
/// # Errors
/// When the address or the count does not fit; a count of 0 cannot be said, since 0 means 256.
pub fn write_6(lba: u32, blocks: u16) -> Result<Cdb, CdbError> {
    let length = match blocks {
        0 => return Err(CdbError::ZeroIsNotNothing { command: "WRITE(6)" }),
        256 => 0,
        other => other,
    };
    command(0x0a, None, DeviceType::DISK, &[(N::Lba, lba.into()), (N::Length, length.into())])
}

/// WRITE(10). A length of 0 writes nothing.
#[must_use]
pub fn write_10(lba: u32, blocks: u16, access: Access) -> Cdb {
    disk(0x2a, &access.values(lba.into(), blocks.into()))
}

/// WRITE(12). A length of 0 writes nothing.
#[must_use]
pub fn write_12(lba: u32, blocks: u32, access: Access) -> Cdb {
    disk(0xaa, &access.values(lba.into(), blocks.into()))
}

/// WRITE(16). A length of 0 writes nothing.
#[must_use]
pub fn write_16(lba: u64, blocks: u32, access: Access) -> Cdb {
    disk(0x8a, &access.values(lba, blocks.into()))
}

/// WRITE(10) where it reaches, else WRITE(16).
#[must_use]
pub fn write(lba: u64, blocks: u32, access: Access) -> Cdb {
    match (u32::try_from(lba), u16::try_from(blocks)) {
        (Ok(lba), Ok(blocks)) => write_10(lba, blocks, access),
        _ => write_16(lba, blocks, access),
    }
}

/// Protection tags that a 32-byte command expects (SBC-4, type 2 protection).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    /// EXPECTED INITIAL LOGICAL BLOCK REFERENCE TAG.
    pub reference: u32,
    /// EXPECTED LOGICAL BLOCK APPLICATION TAG.
    pub application: u16,
    /// LOGICAL BLOCK APPLICATION TAG MASK.
    pub mask: u16,
}

/// WRITE(32). A length of 0 writes nothing.
#[must_use]
pub fn write_32(lba: u64, blocks: u32, access: Access, tags: Tags) -> Cdb {
    let tags = [
        (N::ReferenceTag, u64::from(tags.reference)),
        (N::ApplicationTag, tags.application.into()),
        (N::TagMask, tags.mask.into()),
    ];
    let values: Vec<_> = access.values(lba, blocks.into()).into_iter().chain(tags).collect();
    sure(opcode::VARIABLE_LENGTH, Some(0x000b), DeviceType::DISK, &values)
}

/// COMPARE AND WRITE: the data is what to compare, then what to write.
#[must_use]
pub fn compare_and_write(lba: u64, blocks: u8, access: Access) -> Cdb {
    disk(0x89, &access.values(lba, blocks.into()))
}

/// A count as the length of a command for which 0 means up to the end.
fn or_to_end(command: &'static str, blocks: Blocks) -> Result<u64, CdbError> {
    match blocks {
        Blocks::Count(0) => Err(CdbError::ZeroIsNotNothing { command }),
        Blocks::Count(count) => Ok(count),
        Blocks::ToEnd => Ok(0),
    }
}

/// How WRITE SAME may leave the blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Same {
    /// They may be deallocated.
    pub unmap: bool,
    /// They are to be anchored; with `unmap` only.
    pub anchor: bool,
    /// There is no data: zeros. WRITE SAME(10) cannot say this.
    pub ndob: bool,
}

/// WRITE SAME(10).
///
/// # Errors
/// When the count is 0 or too large, or there is to be no data.
pub fn write_same_10(lba: u32, blocks: Blocks, same: Same) -> Result<Cdb, CdbError> {
    let length = or_to_end("WRITE SAME(10)", blocks)?;
    let values =
        [(N::Lba, lba.into()), (N::Length, length), (N::Unmap, same.unmap.into()), (N::Anchor, same.anchor.into())];
    let cdb = command(0x41, None, DeviceType::DISK, &values)?;
    let no_ndob = CdbError::NoField { command: "WRITE SAME(10)", field: N::Ndob };
    if same.ndob { Err(no_ndob) } else { Ok(cdb) }
}

/// WRITE SAME(16).
///
/// # Errors
/// When the count is 0 or too large.
pub fn write_same_16(lba: u64, blocks: Blocks, same: Same) -> Result<Cdb, CdbError> {
    let values = [
        (N::Lba, lba),
        (N::Length, or_to_end("WRITE SAME(16)", blocks)?),
        (N::Unmap, same.unmap.into()),
        (N::Anchor, same.anchor.into()),
        (N::Ndob, same.ndob.into()),
    ];
    command(0x93, None, DeviceType::DISK, &values)
}

/// UNMAP of these runs: the CDB and its parameter list.
///
/// # Errors
/// When the runs do not fit one command.
pub fn unmap(ranges: &[LbaRange], anchor: bool) -> Result<(Cdb, Vec<u8>), ListError> {
    let parameters = list::unmap_parameters(ranges)?;
    let cdb = disk(0x42, &[(N::Anchor, anchor.into()), (N::Length, parameters.len() as u64)]);
    Ok((cdb, parameters))
}

/// SYNCHRONIZE CACHE(10).
///
/// # Errors
/// When the count is 0 or too large.
pub fn synchronize_cache_10(lba: u32, blocks: Blocks, immed: bool) -> Result<Cdb, CdbError> {
    let length = or_to_end("SYNCHRONIZE CACHE(10)", blocks)?;
    command(0x35, None, DeviceType::DISK, &[(N::Lba, lba.into()), (N::Length, length), (N::Immed, immed.into())])
}

/// SYNCHRONIZE CACHE(16).
///
/// # Errors
/// When the count is 0 or too large.
pub fn synchronize_cache_16(lba: u64, blocks: Blocks, immed: bool) -> Result<Cdb, CdbError> {
    let length = or_to_end("SYNCHRONIZE CACHE(16)", blocks)?;
    command(0x91, None, DeviceType::DISK, &[(N::Lba, lba), (N::Length, length), (N::Immed, immed.into())])
}

/// SYNCHRONIZE CACHE(10) of the whole device.
#[must_use]
pub fn flush() -> Cdb {
    disk(0x35, &[])
}

/// WRITE LONG(16) that makes a block unreadable until it is written again (WR_UNCOR); the whole physical block if
/// `pblock`. It carries no data.
#[must_use]
pub fn mark_unreadable(lba: u64, pblock: bool) -> Cdb {
    sure(0x9f, Some(0x11), DeviceType::DISK, &[(N::Lba, lba), (N::WrUncor, 1), (N::Pblock, pblock.into())])
}

/// GET LBA STATUS(16).
#[must_use]
pub fn get_lba_status_16(lba: u64, allocation: u32) -> Cdb {
    sure(0x9e, Some(0x12), DeviceType::DISK, &[(N::Lba, lba), (N::Length, allocation.into())])
}

/// START STOP UNIT: starts or stops, with `loej` loads or ejects the medium too.
#[must_use]
pub fn start_stop_unit(start: bool, loej: bool, immed: bool) -> Cdb {
    disk(0x1b, &[(N::Start, start.into()), (N::Loej, loej.into()), (N::Immed, immed.into())])
}

/// What PERSISTENT RESERVE IN asks for (SPC-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReserveIn {
    /// All registered keys.
    ReadKeys = 0,
    /// The reservation.
    ReadReservation = 1,
    /// What the device can do.
    ReportCapabilities = 2,
    /// All registrations with their ports.
    ReadFullStatus = 3,
}

/// PERSISTENT RESERVE IN.
#[must_use]
pub fn persistent_reserve_in(action: ReserveIn, allocation: u16) -> Cdb {
    sure(0x5e, Some(action as u16), DeviceType::DISK, &[(N::Length, allocation.into())])
}

/// What PERSISTENT RESERVE OUT does (SPC-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReserveOut {
    /// Registers a key, or takes it back.
    Register = 0,
    /// Reserves.
    Reserve = 1,
    /// Releases.
    Release = 2,
    /// Takes back all registrations and the reservation.
    Clear = 3,
    /// Takes the reservation over.
    Preempt = 4,
    /// Takes it over and aborts the other's commands.
    PreemptAndAbort = 5,
    /// Registers whatever is registered.
    RegisterAndIgnoreExistingKey = 6,
    /// Registers another nexus and gives it the reservation.
    RegisterAndMove = 7,
    /// Replaces a reservation that the device lost.
    ReplaceLostReservation = 8,
}

/// What a reservation forbids to others (SPC-5, "Persistent reservations type").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReservationType {
    /// None: for actions that take no type.
    None = 0,
    /// To write.
    WriteExclusive = 1,
    /// To read and write.
    ExclusiveAccess = 3,
    /// To write, unless registered.
    WriteExclusiveRegistrantsOnly = 5,
    /// To read and write, unless registered.
    ExclusiveAccessRegistrantsOnly = 6,
    /// To write, unless registered; all who are hold it.
    WriteExclusiveAllRegistrants = 7,
    /// To read and write, unless registered; all who are hold it.
    ExclusiveAccessAllRegistrants = 8,
}

/// Bytes of the basic parameter list of PERSISTENT RESERVE OUT.
pub const RESERVE_PARAMETERS: usize = 24;

/// PERSISTENT RESERVE OUT of the whole logical unit.
#[must_use]
pub fn persistent_reserve_out(action: ReserveOut, kind: ReservationType, list_len: u32) -> Cdb {
    let values = [(N::Type, kind as u64), (N::Length, list_len.into())];
    sure(0x5f, Some(action as u16), DeviceType::DISK, &values)
}

/// Its basic parameter list: this nexus' key, the key of the action, and whether the registration survives a loss of power
/// (APTPL).
#[must_use]
pub fn reserve_parameters(key: u64, action_key: u64, aptpl: bool) -> [u8; RESERVE_PARAMETERS] {
    let mut list = [0; RESERVE_PARAMETERS];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&action_key.to_be_bytes());
    list[20] = aptpl.into();
    list
}

/// Tape READ(6): `length` blocks of the fixed length, or one block of up to `length` bytes.
///
/// # Errors
/// When the length needs more than 24 bits.
pub fn tape_read_6(fixed: bool, sili: bool, length: u32) -> Result<Cdb, CdbError> {
    let values = [(N::Fixed, fixed.into()), (N::Sili, sili.into()), (N::Length, length.into())];
    command(0x08, None, DeviceType::TAPE, &values)
}

/// Tape WRITE(6): `length` blocks of the fixed length, or one block of `length` bytes.
///
/// # Errors
/// When the length needs more than 24 bits.
pub fn tape_write_6(fixed: bool, length: u32) -> Result<Cdb, CdbError> {
    command(0x0a, None, DeviceType::TAPE, &[(N::Fixed, fixed.into()), (N::Length, length.into())])
}

/// WRITE FILEMARKS(6): with a count of 0 it makes what is buffered durable.
///
/// # Errors
/// When the count needs more than 24 bits.
pub fn write_filemarks_6(count: u32, immed: bool) -> Result<Cdb, CdbError> {
    command(0x10, None, DeviceType::TAPE, &[(N::Count, count.into()), (N::Immed, immed.into())])
}

/// Over what SPACE goes (SSC-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SpaceCode {
    /// Blocks.
    Blocks = 0,
    /// Filemarks.
    Filemarks = 1,
    /// Filemarks one behind the other.
    SequentialFilemarks = 2,
    /// To the end of data; the count is ignored.
    EndOfData = 3,
}

/// SPACE(6); a negative count goes back.
///
/// # Errors
/// When the count needs more than 24 bits with its sign.
pub fn space_6(code: SpaceCode, count: i32) -> Result<Cdb, CdbError> {
    let narrow = CdbError::FieldTooNarrow { command: "SPACE(6)", field: N::Count, value: count as u64, bits: 24 };
    if !(-0x80_0000..0x80_0000).contains(&count) {
        return Err(narrow);
    }
    let bits = count as u32 & 0xff_ffff;
    command(0x11, None, DeviceType::TAPE, &[(N::Code, code as u64), (N::Count, bits.into())])
}

/// REWIND.
#[must_use]
pub fn rewind(immed: bool) -> Cdb {
    tape(0x01, &[(N::Immed, immed.into())])
}

/// In which form READ POSITION answers (SSC-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PositionForm {
    /// 20 bytes with 32-bit positions.
    Short = 0,
    /// 32 bytes with 64-bit positions and the number of filemarks before.
    Long = 6,
}

/// READ POSITION.
#[must_use]
pub fn read_position(form: PositionForm) -> Cdb {
    tape(0x34, &[(N::Mode, form as u64)])
}

/// LOCATE(10), in another partition if given.
#[must_use]
pub fn locate_10(object: u32, partition: Option<u8>, immed: bool) -> Cdb {
    tape(0x2b, &locate(object.into(), partition, immed))
}

/// LOCATE(16), in another partition if given.
#[must_use]
pub fn locate_16(object: u64, partition: Option<u8>, immed: bool) -> Cdb {
    tape(0x92, &locate(object, partition, immed))
}

fn locate(object: u64, partition: Option<u8>, immed: bool) -> [(N, u64); 4] {
    [
        (N::Object, object),
        (N::ChangePartition, partition.is_some().into()),
        (N::Partition, partition.unwrap_or(0).into()),
        (N::Immed, immed.into()),
    ]
}

#[cfg(test)]
mod tests;

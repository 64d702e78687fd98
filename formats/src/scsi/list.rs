//! Lists of blocks in parameter data: UNMAP descriptors, LBA range descriptors in front of scattered data, and defect
//! lists. Every length is checked against the bytes that are there before it is used.

use alloc::vec::Vec;

use thiserror::Error;

use super::cdb::Decoded;
use super::opcode::{Effect, FieldName};

/// A run of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct LbaRange {
    /// First block.
    pub lba: u64,
    /// Number of blocks; may be zero, which names none.
    pub blocks: u64,
}

impl LbaRange {
    /// `blocks` blocks from `lba`.
    #[must_use]
    pub const fn new(lba: u64, blocks: u64) -> Self {
        Self { lba, blocks }
    }
}

/// Bytes of the header of an UNMAP parameter list, and of a defect list's.
const UNMAP_HEADER: usize = 8;
/// Bytes of one UNMAP block descriptor (SBC-4, "UNMAP command").
const UNMAP_DESCRIPTOR: usize = 16;
/// Most descriptors in one UNMAP: its PARAMETER LIST LENGTH has 16 bits.
pub const MAX_UNMAP_DESCRIPTORS: usize = (u16::MAX as usize - UNMAP_HEADER) / UNMAP_DESCRIPTOR;
/// Bytes of the header and of one descriptor of WRITE SCATTERED (SBC-4, "WRITE SCATTERED (16)").
const SCATTER_UNIT: usize = 32;
/// Bytes of a defect list's header (SBC-4, "REASSIGN BLOCKS").
const DEFECT_HEADER: usize = 4;

/// Why parameter data is not the list that its command promises.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListError {
    /// Fewer bytes than the list's own lengths say.
    #[error("{list} needs {need} bytes and has {have}: it was cut off, or is malformed")]
    TooShort {
        /// Which list.
        list: &'static str,
        /// Bytes it needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// More descriptors than fit one command: use several.
    #[error("{count} UNMAP descriptors are more than the {MAX_UNMAP_DESCRIPTORS} that fit one command; use several")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// More blocks than a descriptor's 32 bits count: split the run.
    #[error("{blocks} blocks from {lba} do not fit one descriptor; split the run")]
    TooWide {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u64,
    },
    /// A moved address is no block address.
    #[error("block {lba} of a list moved by {offset} is no block address; check the offset of the mapping")]
    LbaOverflow {
        /// The address.
        lba: u64,
        /// The offset in blocks.
        offset: i64,
    },
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first `need` bytes.
fn head<'a>(list: &'static str, bytes: &'a [u8], need: usize) -> Result<&'a [u8], ListError> {
    bytes.get(..need).ok_or(ListError::TooShort { list, need, have: bytes.len() })
}

/// The runs that an UNMAP with these `bytes` as parameter list names. An incomplete descriptor at the end is passed over,
/// as the standard says; an empty parameter list names none.
///
/// # Errors
/// When bytes are missing that the list's header promises.
pub fn unmap_ranges(bytes: &[u8]) -> Result<Vec<LbaRange>, ListError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let whole = unmap_list(bytes)?;
    let descriptors = whole.get(UNMAP_HEADER..).unwrap_or_default().chunks_exact(UNMAP_DESCRIPTOR);
    Ok(descriptors.filter_map(range_at_start).collect())
}

/// The header and the complete descriptors.
fn unmap_list(bytes: &[u8]) -> Result<&[u8], ListError> {
    let header = head("UNMAP parameter list", bytes, UNMAP_HEADER)?;
    let len = be16(header, 2).unwrap_or(0);
    let whole = UNMAP_HEADER + len - len % UNMAP_DESCRIPTOR;
    head("UNMAP parameter list", bytes, whole)
}

/// An address of eight bytes, then a count of four.
fn range_at_start(descriptor: &[u8]) -> Option<LbaRange> {
    Some(LbaRange::new(be64(descriptor, 0)?, u64::from(be32(descriptor, 8)?)))
}

/// The parameter list of an UNMAP of these runs.
///
/// # Errors
/// When there are too many for one command, or one is too wide for a descriptor.
pub fn unmap_parameters(ranges: &[LbaRange]) -> Result<Vec<u8>, ListError> {
    if ranges.len() > MAX_UNMAP_DESCRIPTORS {
        return Err(ListError::TooMany { count: ranges.len() });
    }
    let descriptors = (ranges.len() * UNMAP_DESCRIPTOR) as u16;
    let mut list = Vec::with_capacity(UNMAP_HEADER + usize::from(descriptors));
    list.extend_from_slice(&(descriptors + UNMAP_HEADER as u16 - 2).to_be_bytes());
    list.extend_from_slice(&descriptors.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for range in ranges {
        let LbaRange { lba, blocks } = *range;
        let count = u32::try_from(blocks).map_err(|_| ListError::TooWide { lba, blocks })?;
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&count.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    Ok(list)
}

/// The runs that scattered data with `count` descriptors names; the data follows at the CDB's data offset.
///
/// # Errors
/// When the descriptors are not all there.
pub fn scattered_ranges(bytes: &[u8], count: u16) -> Result<Vec<LbaRange>, ListError> {
    let descriptors = scattered_list(bytes, count)?.chunks_exact(SCATTER_UNIT).skip(1);
    Ok(descriptors.filter_map(range_at_start).collect())
}

fn scattered_list(bytes: &[u8], count: u16) -> Result<&[u8], ListError> {
    head("LBA range descriptor list", bytes, (usize::from(count) + 1) * SCATTER_UNIT)
}

/// The blocks that a defect list for REASSIGN BLOCKS names.
///
/// # Errors
/// When addresses are missing that its header promises.
pub fn defect_blocks(bytes: &[u8], long_lba: bool, long_list: bool) -> Result<Vec<u64>, ListError> {
    let list = defect_list(bytes, long_lba, long_list)?;
    let lba = |entry: &[u8]| if long_lba { be64(entry, 0) } else { be32(entry, 0).map(u64::from) };
    Ok(list.chunks_exact(defect_size(long_lba)).filter_map(lba).collect())
}

const fn defect_size(long_lba: bool) -> usize {
    if long_lba { 8 } else { 4 }
}

/// The addresses behind the header.
fn defect_list(bytes: &[u8], long_lba: bool, long_list: bool) -> Result<&[u8], ListError> {
    const LIST: &str = "defect list";
    let header = head(LIST, bytes, DEFECT_HEADER)?;
    let len = if long_list { be32(header, 0).map(|len| len as usize) } else { be16(header, 2) }.unwrap_or(0);
    let whole = head(LIST, bytes, DEFECT_HEADER.saturating_add(len - len % defect_size(long_lba)))?;
    Ok(whole.get(DEFECT_HEADER..).unwrap_or_default())
}

/// Moves the addresses in a command's parameter data by `offset` blocks. Data of commands without such a list is left
/// alone. Nothing is changed when there is an error.
///
/// # Errors
/// When the list is cut off, or a moved address does not fit its field.
pub fn shift(command: &Decoded, data: &mut [u8], offset: i64) -> Result<(), ListError> {
    let (start, len, step, width) = match command.effect() {
        Effect::UnmapList if !data.is_empty() => (UNMAP_HEADER, unmap_list(data)?.len(), UNMAP_DESCRIPTOR, 8),
        Effect::Scatter => (SCATTER_UNIT, scattered_list(data, ranges_of(command))?.len(), SCATTER_UNIT, 8),
        Effect::DefectList => {
            let (long_lba, long_list) = (command.flag(FieldName::LongLba), command.flag(FieldName::LongList));
            let len = DEFECT_HEADER + defect_list(data, long_lba, long_list)?.len();
            (DEFECT_HEADER, len, defect_size(long_lba), defect_size(long_lba))
        }
        _ => return Ok(()),
    };
    let list = data.get_mut(start..len).unwrap_or_default();
    for entry in list.chunks_exact(step) {
        moved(entry, width, offset)?;
    }
    for entry in list.chunks_exact_mut(step) {
        let lba = moved(entry, width, offset)?.to_be_bytes();
        let kept = lba.get(8 - width..).unwrap_or_default();
        entry.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
    }
    Ok(())
}

/// NUMBER OF LBA RANGE DESCRIPTORS: a field of sixteen bits.
pub(super) fn ranges_of(command: &Decoded) -> u16 {
    command.get(FieldName::Ranges).unwrap_or(0) as u16
}

/// The address at the start of `entry`, moved, where it fits `width` bytes.
fn moved(entry: &[u8], width: usize, offset: i64) -> Result<u64, ListError> {
    let lba = if width == 8 { be64(entry, 0) } else { be32(entry, 0).map(u64::from) }.unwrap_or(0);
    let fits = |lba: &u64| width == 8 || *lba <= u64::from(u32::MAX);
    lba.checked_add_signed(offset).filter(fits).ok_or(ListError::LbaOverflow { lba, offset })
}

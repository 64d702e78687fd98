//! What a command that succeeded did to a medium of blocks: which byte ranges hold what afterwards.
//!
//! Two questions, because they are asked at two times. [`Decoded::touched`] needs only the CDB: it is for the dirty map,
//! before any data is seen. [`Decoded::changes`] needs the data too: it is for whoever replays the effect. Where the
//! content cannot be told from the command it says so, and the range is to be read back.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use thiserror::Error;

use super::cdb::Decoded;
use super::decoded::Blocks;
use super::list::{self, LbaRange, ListError};
use super::opcode::{Effect, FieldName};
use crate::ids::ByteRange;

/// Size and shape of a medium of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes of a logical block, not zero.
    pub block_size: u32,
    /// Logical blocks of the medium.
    pub blocks: u64,
    /// Logical blocks of a physical one (READ CAPACITY(16): two to the power of its exponent), not zero.
    pub per_physical: u32,
}

impl Geometry {
    /// `blocks` blocks of `block_size` bytes, physical ones alike.
    #[must_use]
    pub const fn new(block_size: u32, blocks: u64) -> Self {
        Self { block_size, blocks, per_physical: 1 }
    }

    /// All of it.
    #[must_use]
    pub const fn whole(&self) -> ByteRange {
        ByteRange::new(0, self.blocks.saturating_mul(self.block_size as u64))
    }

    /// The bytes of a run of blocks.
    fn bytes(&self, command: &'static str, run: LbaRange) -> Result<ByteRange, EffectError> {
        let LbaRange { lba, blocks } = run;
        let beyond = EffectError::Beyond { command, lba, blocks, capacity: self.blocks };
        let end = lba.checked_add(blocks).filter(|end| *end <= self.blocks).ok_or(beyond)?;
        end.checked_mul(u64::from(self.block_size)).ok_or(beyond)?;
        let size = u64::from(self.block_size);
        Ok(ByteRange::new(lba * size, blocks * size))
    }
}

/// What the CDB alone tells of where a command changes the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touched {
    /// Nowhere.
    Nothing,
    /// Within this range.
    Range(ByteRange),
    /// Where its parameter data says: ask [`Decoded::changes`]. Without the data, anywhere.
    InData,
    /// Anywhere.
    Anywhere,
    /// On a tape at the position; no byte range tells it.
    AtPosition,
}

/// What a range holds after a command. Ranges of `usize` are bytes of its data-out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// These bytes of the data.
    Data(Range<usize>),
    /// These bytes of the data, a block, again and again.
    Repeat(Range<usize>),
    /// Zeros.
    Zero,
    /// Unmapped: what reads back is the device's choice (LBPRZ).
    Unmapped,
    /// Marked so that reading it fails.
    Unreadable,
    /// Not told by the command: to be read back.
    Unknown,
}

/// One range and what it holds. Ranges of one command are in the order in which they apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub range: ByteRange,
    /// What.
    pub content: Content,
    /// Whether the device was allowed to deallocate the blocks (UNMAP bit, UNMAP command).
    pub may_unmap: bool,
}

impl Change {
    const fn new(range: ByteRange, content: Content) -> Self {
        Self { range, content, may_unmap: false }
    }
}

/// Why the effect of a command cannot be told. The medium's content is then not known where it may have changed.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum EffectError {
    /// The blocks are not all on the medium: the device should have refused, or its capacity is another.
    #[error("{command} addresses {blocks} blocks from {lba} on a medium of {capacity} blocks")]
    Beyond {
        /// Name of the command.
        command: &'static str,
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u64,
        /// Blocks of the medium.
        capacity: u64,
    },
    /// The data is shorter than the command says.
    #[error("{command} needs {need} bytes of data and has {have}: its payload was not captured whole")]
    DataTooShort {
        /// Name of the command.
        command: &'static str,
        /// Bytes needed.
        need: u64,
        /// Bytes there are.
        have: usize,
    },
    /// Its list is not well formed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A medium without blocks: this is a tape's command.
    #[error("{0} works at the position of a tape, not at an address")]
    AtPosition(&'static str),
}

impl Decoded {
    /// Where it changes the medium, from the CDB alone.
    ///
    /// # Errors
    /// When it addresses blocks that the medium does not have.
    pub fn touched(&self, medium: &Geometry) -> Result<Touched, EffectError> {
        Ok(match self.effect() {
            Effect::None => Touched::Nothing,
            Effect::Write | Effect::Same | Effect::Compare | Effect::Combine => Touched::Range(self.range(medium)?),
            Effect::Long => Touched::Range(self.long_range(medium)?),
            Effect::UnmapList | Effect::DefectList | Effect::Scatter => Touched::InData,
            Effect::Whole | Effect::Zones | Effect::Unknown => Touched::Anywhere,
            Effect::TapeWrite | Effect::TapeMove => Touched::AtPosition,
        })
    }

    /// The bytes that it addresses, whether it changes them or not; empty where it addresses none.
    ///
    /// # Errors
    /// When they are not all on the medium.
    pub fn range(&self, medium: &Geometry) -> Result<ByteRange, EffectError> {
        let (Some(lba), Some(blocks)) = (self.lba(), self.transfer_blocks()) else { return Ok(ByteRange::default()) };
        let blocks = match blocks {
            Blocks::Count(count) => count,
            Blocks::ToEnd => medium.blocks.saturating_sub(lba),
        };
        medium.bytes(self.label(), LbaRange::new(lba, blocks))
    }

    /// What each range holds after it succeeded, given its data-out. Nothing for commands that change nothing.
    ///
    /// # Errors
    /// When it addresses blocks that the medium does not have, its data or list is cut short, or it is a tape's command.
    pub fn changes(&self, medium: &Geometry, data: &[u8]) -> Result<Vec<Change>, EffectError> {
        let one = |range: ByteRange, content| if range.is_empty() { vec![] } else { vec![Change::new(range, content)] };
        Ok(match self.effect() {
            Effect::None => vec![],
            Effect::Write => {
                let range = self.range(medium)?;
                one(range, self.data(range, 0, data)?)
            }
            Effect::Compare => {
                let range = self.range(medium)?;
                one(range, self.data(range, range.len, data)?)
            }
            Effect::Same => self.same(medium, data)?,
            Effect::Combine => one(self.range(medium)?, Content::Unknown),
            Effect::Long if self.flag(FieldName::WrUncor) => one(self.long_range(medium)?, Content::Unreadable),
            Effect::Long => one(self.long_range(medium)?, Content::Unknown),
            Effect::UnmapList => self.unmapped(medium, data)?,
            Effect::DefectList => self.reassigned(medium, data)?,
            Effect::Scatter => self.scattered(medium, data)?,
            Effect::Whole | Effect::Zones | Effect::Unknown => one(medium.whole(), Content::Unknown),
            Effect::TapeWrite | Effect::TapeMove => return Err(EffectError::AtPosition(self.label())),
        })
    }

    fn label(&self) -> &'static str {
        self.name().unwrap_or("unknown command")
    }

    fn too_short(&self, need: u64, data: &[u8]) -> EffectError {
        EffectError::DataTooShort { command: self.label(), need, have: data.len() }
    }

    /// The data for `range` from byte `skip` on. With protection information between the blocks it cannot be told in one
    /// run; the range is read back.
    fn data(&self, range: ByteRange, skip: u64, data: &[u8]) -> Result<Content, EffectError> {
        let need = skip.saturating_add(range.len);
        if data.len() as u64 != need && self.flag(FieldName::Protect) {
            return Ok(Content::Unknown);
        }
        if (data.len() as u64) < need {
            return Err(self.too_short(need, data));
        }
        Ok(Content::Data(skip as usize..need as usize))
    }

    /// WRITE SAME.
    fn same(&self, medium: &Geometry, data: &[u8]) -> Result<Vec<Change>, EffectError> {
        let range = self.range(medium)?;
        let block = medium.block_size as usize;
        let content = match data.get(..block) {
            _ if self.flag(FieldName::Ndob) => Content::Zero,
            // The device puts addresses into the blocks.
            _ if self.flag(FieldName::LbData) || self.flag(FieldName::PbData) => Content::Unknown,
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => Content::Zero,
            Some(_) => Content::Repeat(0..block),
            None => return Err(self.too_short(u64::from(medium.block_size), data)),
        };
        let may_unmap = self.flag(FieldName::Unmap);
        let change = Change { may_unmap, ..Change::new(range, content) };
        Ok(if range.is_empty() { vec![] } else { vec![change] })
    }

    /// WRITE LONG: one block, or with PBLOCK the physical block around it.
    fn long_range(&self, medium: &Geometry) -> Result<ByteRange, EffectError> {
        let lba = self.lba().unwrap_or(0);
        let run = if self.flag(FieldName::Pblock) {
            let per = u64::from(medium.per_physical.max(1));
            let first = lba - lba % per;
            LbaRange::new(first, per.min(medium.blocks.saturating_sub(first)).max(lba - first + 1))
        } else {
            LbaRange::new(lba, 1)
        };
        medium.bytes(self.label(), run)
    }

    fn unmapped(&self, medium: &Geometry, data: &[u8]) -> Result<Vec<Change>, EffectError> {
        let len = self.get(FieldName::Length).unwrap_or(0) as usize;
        let parameters = data.get(..len).ok_or_else(|| self.too_short(len as u64, data))?;
        let runs = list::unmap_ranges(parameters)?.into_iter().filter(|run| run.blocks > 0);
        runs.map(|run| {
            let range = medium.bytes(self.label(), run)?;
            Ok(Change { may_unmap: true, ..Change::new(range, Content::Unmapped) })
        })
        .collect()
    }

    fn reassigned(&self, medium: &Geometry, data: &[u8]) -> Result<Vec<Change>, EffectError> {
        let (long_lba, long_list) = (self.flag(FieldName::LongLba), self.flag(FieldName::LongList));
        let blocks = list::defect_blocks(data, long_lba, long_list)?.into_iter();
        blocks
            .map(|lba| Ok(Change::new(medium.bytes(self.label(), LbaRange::new(lba, 1))?, Content::Unknown)))
            .collect()
    }

    fn scattered(&self, medium: &Geometry, data: &[u8]) -> Result<Vec<Change>, EffectError> {
        let runs = list::scattered_ranges(data, list::ranges_of(self))?;
        let mut at = self.get(FieldName::DataOffset).unwrap_or(0) * u64::from(medium.block_size);
        let mut changes = Vec::with_capacity(runs.len());
        for run in runs.into_iter().filter(|run| run.blocks > 0) {
            let range = medium.bytes(self.label(), run)?;
            let protected = self.flag(FieldName::Protect);
            let content = if protected { Content::Unknown } else { self.data(range, at, data)? };
            changes.push(Change::new(range, content));
            at = at.saturating_add(range.len);
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;

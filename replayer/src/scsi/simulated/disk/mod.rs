//! The medium of a simulated disk: what each block holds, whether it has space, and what a power cut would take away.
//!
//! The image holds what reads return. What is not durable yet is remembered from the other side: the cache keeps what
//! was durable before, so that a power cut puts it back or does not.

mod cache;
mod capacity;
mod fill;
mod long;
mod lookup;
mod provision;
mod read;
mod same;
mod whole;
mod write;

use formats::ByteRange;
use formats::scsi::{Blocks, FieldName, Geometry, LbaRange};

pub(super) use capacity::{read_capacity_10, read_capacity_16};
pub(super) use long::{read_long, reassign, write_long};
pub(super) use lookup::{OnDisk, handler};
pub(super) use whole::{format_unit, sanitize};

use self::cache::Cache;
use super::answer::{Answer, broken, out_of_range};
use super::call::Call;
use super::image::Image;
use super::random::Random;
use super::runs::Runs;
use super::settings::{Settings, Thin};

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// It has space and data.
    Mapped,
    /// It has space and was marked unreadable.
    Unreadable,
    /// It has space reserved and no data.
    Anchored,
    /// It has no space.
    Deallocated,
}

impl BlockState {
    /// Whether space is taken.
    pub(super) const fn takes_space(self) -> bool {
        !matches!(self, Self::Deallocated)
    }
}

/// A disk's medium, its cache, and what was ordered of them.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) shape: Geometry,
    pub(super) settings: Settings,
    image: Image,
    states: Runs<BlockState>,
    /// Blocks that take space.
    used: u64,
    cache: Cache,
    /// Whether writes may stay in the cache: WCE.
    pub(super) caching: bool,
    /// Blocks that READ CAPACITY tells of, when it is not to tell the truth.
    pub(super) claimed: Option<u64>,
    /// Blocks that may still be changed by the command at hand, when it was told to stop on the way.
    pub(super) budget: Option<u64>,
    /// The soft threshold was reached since this was asked.
    pub(super) threshold_reached: bool,
}

impl Disk {
    /// As new.
    pub(super) fn new(settings: &Settings) -> std::io::Result<Self> {
        let per_physical = 1u32.checked_shl(u32::from(settings.physical_exponent)).unwrap_or(1);
        let shape = Geometry { per_physical, ..Geometry::new(settings.block_size, settings.blocks) };
        let image = match &settings.file {
            Some(path) => Image::file(path, shape.whole().len)?,
            None => Image::memory(),
        };
        let empty = settings.thin().is_some() && settings.file.is_none();
        let state = if empty { BlockState::Deallocated } else { BlockState::Mapped };
        Ok(Self {
            shape,
            settings: settings.clone(),
            image,
            states: Runs::new(state),
            used: if empty { 0 } else { settings.blocks },
            cache: Cache::new(Random::new(settings.seed)),
            caching: settings.write_cache,
            claimed: None,
            budget: None,
            threshold_reached: false,
        })
    }

    /// How it is thin, if it is.
    const fn thin(&self) -> Option<Thin> {
        self.settings.thin()
    }

    const fn size(&self) -> u64 {
        self.shape.block_size as u64
    }

    const fn bytes(&self, run: LbaRange) -> ByteRange {
        ByteRange::new(run.lba * self.size(), run.blocks * self.size())
    }

    /// All blocks.
    pub(super) const fn all(&self) -> LbaRange {
        LbaRange::new(0, self.shape.blocks)
    }

    /// Whether a run lies on the medium.
    fn check(&self, run: LbaRange) -> Answer<LbaRange> {
        let end = run.lba.checked_add(run.blocks).filter(|end| *end <= self.shape.blocks);
        end.map(|_| run).ok_or_else(out_of_range)
    }

    /// The run that a command addresses, on the medium.
    fn run(&self, call: &Call<'_>) -> Answer<LbaRange> {
        let lba = call.command.lba().unwrap_or(0);
        let blocks = match call.command.transfer_blocks() {
            Some(Blocks::Count(count)) => count,
            Some(Blocks::ToEnd) => self.shape.blocks.saturating_sub(lba),
            None => 0,
        };
        self.check(LbaRange::new(lba, blocks))
    }

    /// The same for a command that moves the blocks: within the limit, and without protection information, which this
    /// medium has not.
    fn transfer(&self, call: &Call<'_>) -> Answer<LbaRange> {
        call.must_be_zero(FieldName::Protect)?;
        let run = self.run(call)?;
        let fits = run.blocks <= u64::from(self.settings.limits.transfer);
        if fits { Ok(run) } else { Err(call.refuse(FieldName::Length)) }
    }

    /// Bytes as they read, whatever the state.
    pub(super) fn content(&self, run: LbaRange) -> Answer<Vec<u8>> {
        let mut bytes = vec![0; self.bytes(run).len as usize];
        self.image.read(self.bytes(run).offset, &mut bytes).map_err(broken)?;
        Ok(bytes)
    }

    /// What a block is.
    pub(super) fn state(&self, lba: u64) -> BlockState {
        self.states.at(lba)
    }

    /// Another capacity. What lies beyond is gone; what is new is as on a new disk.
    pub(super) fn resize(&mut self, blocks: u64) -> Answer {
        let (old, new) = (self.shape.blocks, blocks);
        self.flush(self.all());
        let cut = LbaRange::new(new.min(old), old.saturating_sub(new));
        self.image.zero(self.bytes(cut)).map_err(broken)?;
        let state = if self.thin().is_some() { BlockState::Deallocated } else { BlockState::Mapped };
        self.states.set(LbaRange::new(new.min(old), u64::MAX), state);
        self.shape.blocks = new;
        self.used = self.states.count(self.all(), BlockState::takes_space);
        self.image.grow(self.shape.whole().len).map_err(broken)
    }
}

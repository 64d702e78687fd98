//! Blocks that the primary itself cannot read.

use alloc::collections::BTreeSet;

use formats::{ByteRange, VolumeIndex};

/// Most blocks that [`UnreadableBlocks`] names one by one.
const MAX_UNREADABLE: usize = 65_536;

/// Blocks that the primary cannot read: made unreadable on the standby, or only noted. A good write clears them on both
/// sides (SBC-4 WRITE LONG: a pseudo unrecovered error ends when the block is written).
#[derive(Clone, Debug, Default)]
pub struct UnreadableBlocks {
    blocks: BTreeSet<(VolumeIndex, u64)>,
    unnamed: u64,
}

impl UnreadableBlocks {
    /// A block, by the offset of its first byte.
    pub fn add(&mut self, volume: VolumeIndex, offset: u64) {
        if self.blocks.len() < MAX_UNREADABLE {
            self.blocks.insert((volume, offset));
        } else if !self.blocks.contains(&(volume, offset)) {
            self.unnamed += 1;
        }
    }

    /// This range was written on both sides; answers how many blocks that cleared.
    pub fn written(&mut self, volume: VolumeIndex, range: ByteRange) -> usize {
        let mut rest = self.blocks.split_off(&(volume, range.offset));
        let mut behind = rest.split_off(&(volume, range.end()));
        self.blocks.append(&mut behind);
        rest.len()
    }

    /// The blocks, in order.
    pub fn iter(&self) -> impl Iterator<Item = (VolumeIndex, u64)> {
        self.blocks.iter().copied()
    }

    /// Blocks beyond those that are named one by one.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.unnamed
    }
}

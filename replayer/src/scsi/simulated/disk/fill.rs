//! The one way in which blocks change.

use formats::scsi::{LbaRange, SenseKey};

use super::{BlockState, Disk};
use crate::scsi::simulated::answer::{Answer, broken, check};

/// What blocks become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill<'a> {
    /// This data, block by block.
    Data(&'a [u8]),
    /// This block, again and again.
    Repeat(&'a [u8]),
    /// Nothing, without space.
    Deallocate,
    /// Nothing, with space.
    Anchor,
    /// Unreadable, with whatever they held.
    Mark,
}

impl Fill<'_> {
    const fn state(self) -> BlockState {
        match self {
            Self::Data(_) | Self::Repeat(_) => BlockState::Mapped,
            Self::Deallocate => BlockState::Deallocated,
            Self::Anchor => BlockState::Anchored,
            Self::Mark => BlockState::Unreadable,
        }
    }
}

impl Disk {
    /// Changes a run that was checked to be on the medium; durable at once, or when the cache is flushed.
    ///
    /// # Errors
    /// There is no space for all of it, and then none of it is changed; or the image fails.
    pub(super) fn put(&mut self, run: LbaRange, fill: Fill<'_>, durable: bool) -> Answer {
        let run = self.spend(run);
        if run.blocks == 0 {
            return Ok(());
        }
        self.allocate(run, fill.state())?;
        self.remember(run, durable)?;
        self.fill(run, fill)?;
        self.count_space(run, fill.state());
        self.states.set(run, fill.state());
        Ok(())
    }

    /// As much of a run as the command at hand may still change.
    fn spend(&mut self, run: LbaRange) -> LbaRange {
        let Some(budget) = &mut self.budget else { return run };
        let blocks = run.blocks.min(*budget);
        *budget -= blocks;
        LbaRange::new(run.lba, blocks)
    }

    fn fill(&mut self, run: LbaRange, fill: Fill<'_>) -> Answer {
        let range = self.bytes(run);
        let keeps_old = self.thin().is_some_and(|thin| !thin.reads_zeros);
        let done = match fill {
            Fill::Data(bytes) => self.image.write(range.offset, &bytes[..range.len as usize]),
            Fill::Repeat(block) if block.iter().all(|byte| *byte == 0) => self.image.zero(range),
            Fill::Repeat(block) => {
                (run.lba..run.lba + run.blocks).try_for_each(|lba| self.image.write(lba * self.size(), block))
            }
            Fill::Deallocate | Fill::Anchor if keeps_old => Ok(()),
            Fill::Deallocate | Fill::Anchor => self.image.zero(range),
            Fill::Mark => Ok(()),
        };
        done.map_err(broken)
    }

    /// Whether there is space for a run to become `state`.
    fn allocate(&mut self, run: LbaRange, state: BlockState) -> Answer {
        let Some(thin) = self.thin().filter(|_| state.takes_space()) else { return Ok(()) };
        let more = self.states.count(run, |state| !state.takes_space());
        let fits = thin.limit.is_none_or(|limit| more == 0 || self.used + more <= limit);
        if fits { Ok(()) } else { Err(check(SenseKey::DataProtect, 0x27, 0x07)) }
    }

    /// Counts the space that a run takes from now on.
    pub(super) fn count_space(&mut self, run: LbaRange, state: BlockState) {
        let before = self.states.count(run, BlockState::takes_space);
        let after = if state.takes_space() { run.blocks } else { 0 };
        let used = self.used - before + after;
        let threshold = self.thin().and_then(|thin| thin.soft_threshold).unwrap_or(u64::MAX);
        self.threshold_reached |= self.used < threshold && used >= threshold;
        self.used = used;
    }

    /// Blocks that take space.
    pub(in crate::scsi::simulated) const fn used(&self) -> u64 {
        self.used
    }
}

//! A volatile write cache, remembered as what a power cut may bring back.

use std::collections::BTreeMap;

use formats::scsi::LbaRange;

use super::{BlockState, Disk};
use crate::scsi::simulated::answer::{Answer, broken};
use crate::scsi::simulated::random::Random;

/// Blocks that the cache holds; when more are written it is emptied first.
const CAPACITY: u64 = 1 << 14;

/// What was on the medium before a block was written into the cache.
#[derive(Debug)]
struct Before {
    bytes: Box<[u8]>,
    state: BlockState,
}

/// For each block that is not durable, what is.
#[derive(Debug)]
pub(super) struct Cache {
    before: BTreeMap<u64, Before>,
    random: Random,
}

impl Cache {
    pub(super) const fn new(random: Random) -> Self {
        Self { before: BTreeMap::new(), random }
    }
}

impl Disk {
    /// Before the blocks of `run` are changed: remembers what they are, if the change may be lost. A block that is
    /// already in the cache may be brought to the medium by the device at any time, so it is, by chance.
    pub(super) fn remember(&mut self, run: LbaRange, durable: bool) -> Answer {
        if durable || !self.caching || run.blocks > CAPACITY {
            self.flush(run);
            return Ok(());
        }
        if self.cache.before.len() as u64 + run.blocks > CAPACITY {
            self.flush(self.all());
        }
        for lba in run.lba..run.lba + run.blocks {
            let known = self.cache.before.contains_key(&lba);
            if !known || self.cache.random.coin() {
                let before = self.as_it_is(lba)?;
                self.cache.before.insert(lba, before);
            }
        }
        Ok(())
    }

    fn as_it_is(&self, lba: u64) -> Answer<Before> {
        let bytes = self.content(LbaRange::new(lba, 1))?.into_boxed_slice();
        Ok(Before { bytes, state: self.states.at(lba) })
    }

    /// Makes a run durable.
    pub(in crate::scsi::simulated) fn flush(&mut self, run: LbaRange) {
        let mut tail = self.cache.before.split_off(&run.lba);
        let mut behind = tail.split_off(&run.lba.saturating_add(run.blocks));
        self.cache.before.append(&mut behind);
    }

    /// Blocks that are not durable.
    pub(in crate::scsi::simulated) fn dirty(&self) -> u64 {
        self.cache.before.len() as u64
    }

    /// The power goes: each block in the cache reached the medium or did not.
    pub(in crate::scsi::simulated) fn power_cut(&mut self) -> Answer {
        for (lba, before) in std::mem::take(&mut self.cache.before) {
            if self.cache.random.coin() {
                self.restore(lba, &before)?;
            }
        }
        Ok(())
    }

    fn restore(&mut self, lba: u64, before: &Before) -> Answer {
        let run = LbaRange::new(lba, 1);
        let range = self.bytes(run);
        if before.bytes.iter().all(|byte| *byte == 0) {
            self.image.zero(range).map_err(broken)?;
        } else {
            self.image.write(range.offset, &before.bytes).map_err(broken)?;
        }
        self.count_space(run, before.state);
        self.states.set(run, before.state);
        Ok(())
    }
}

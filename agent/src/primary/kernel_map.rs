//! The kernel's dirty map: reading its bits, switching and clearing its epochs.

use std::sync::atomic::Ordering;

use formats::{ByteRange, VolumeIndex};
use probe_types::{CpuCounters, EPOCH_SLOTS, MAX_VOLUMES, Volume};
use replication::dirty::DirtyMap;
use replication::epochs::KernelCounts;

use crate::probe::Probe;
use crate::probe::shared::kernel_barrier;

/// Index of `epoch` among the 32-bit words of `Order`.
const ORDER_EPOCH: usize = 16;

/// The map of one group.
pub struct KernelMap {
    volumes: Vec<Volume>,
    sizes: Vec<u64>,
    region_bytes: u32,
}

impl KernelMap {
    /// Of these volumes, as they were handed to the probe, with their sizes in bytes.
    #[must_use]
    pub fn new(volumes: Vec<Volume>, sizes: Vec<u64>, region_bytes: u32) -> Self {
        Self { volumes, sizes, region_bytes }
    }

    /// The union of all slots.
    #[must_use]
    pub fn union(&self, probe: &Probe) -> DirtyMap {
        self.union_of(probe, 0..EPOCH_SLOTS)
    }

    /// The union of these slots.
    #[must_use]
    pub fn union_of(&self, probe: &Probe, slots: impl IntoIterator<Item = u32>) -> DirtyMap {
        let mut map = DirtyMap::new(self.region_bytes, &self.sizes).expect("the engine has a map of the same geometry");
        for slot in slots {
            for (index, volume) in self.volumes.iter().enumerate() {
                self.add_volume(probe, &mut map, slot, index, volume);
            }
        }
        map
    }

    fn add_volume(&self, probe: &Probe, map: &mut DirtyMap, slot: u32, index: usize, volume: &Volume) {
        let id = VolumeIndex(index as u16);
        if probe.whole.word((slot * MAX_VOLUMES) as usize + index, 0).load(Ordering::Acquire) != 0 {
            let _ = map.mark(id, ByteRange::new(0, self.sizes[index]));
            return;
        }
        let base = (slot * probe.words_per_slot + volume.first_word) as usize;
        let words = (0..volume.words as usize).map(|word| probe.dirty.word(base + word, 0).load(Ordering::Acquire));
        let words: Vec<u64> = words.collect();
        // The last word has bits beyond the volume only if the probe set some, which it does not.
        let _ = map.import_words(id, 0, &words);
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(probe: &Probe) -> u32 {
        probe.order.half_word(0, ORDER_EPOCH).load(Ordering::Acquire)
    }

    /// Makes `epoch` the current one. When it returns, no program sets bits of an older one for a command not counted
    /// as issued.
    pub fn switch(probe: &Probe, epoch: u32) {
        probe.order.half_word(0, ORDER_EPOCH).store(epoch, Ordering::Release);
        kernel_barrier();
    }

    /// Clears the bits of `epoch`.
    pub fn clear(&self, probe: &Probe, epoch: u32) {
        let slot = epoch % EPOCH_SLOTS;
        let base = (slot * probe.words_per_slot) as usize;
        for word in base..base + probe.words_per_slot as usize {
            let word = probe.dirty.word(word, 0);
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
        for volume in 0..MAX_VOLUMES {
            probe.whole.word((slot * MAX_VOLUMES + volume) as usize, 0).store(0, Ordering::Release);
        }
    }
}

/// The counters that the clearing rule looks at.
#[must_use]
pub fn counts(counters: &CpuCounters) -> KernelCounts {
    KernelCounts { issued: counters.issued, ended: counters.ended, lost: counters.lost }
}

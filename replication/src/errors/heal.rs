//! What is out of sync because the standby's device failed, and when to try to heal it.
//!
//! A range that could not be written is a hole. It is kept, by whole regions, until the range was read again from the
//! primary and written. When the device does not take that either, the next attempt waits longer, up to a limit, for
//! ever: a hole is never forgotten, and a device that accepts writes again heals by itself. Memory is bounded: too many
//! regions become the whole volume, which errs on the safe side.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use formats::{ByteRange, VolumeIndex};

use super::budget::Wait;
use super::outcome::Scope;
use crate::Now;

/// Sizes and times of healing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealConfig {
    /// Bytes per region: the unit in which holes are kept; at least 1.
    pub region_size: u64,
    /// Waits between attempts for one hole.
    pub wait: Wait,
    /// Regions kept one by one; beyond that their volume is out of sync as a whole.
    pub max_regions: usize,
}

impl Default for HealConfig {
    /// Regions of 64 KiB, attempts after 1 s, doubling up to 5 minutes, 65536 regions.
    fn default() -> Self {
        let wait = Wait { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
        Self { region_size: 64 << 10, wait, max_regions: 65_536 }
    }
}

/// A hole that is due: ask the primary for this range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hole {
    /// On which volume.
    pub volume: VolumeIndex,
    /// Which region, counted from 0; `None` for the whole volume.
    pub region: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Healing {
    attempts: u32,
    due: Now,
    /// The primary was asked, and neither a success nor a failure followed.
    asked: bool,
    /// Place of the last entry that failed there: only what comes behind it heals.
    after: u64,
}

impl Healing {
    fn new(now: Now, after: u64, config: &HealConfig) -> Self {
        Self { attempts: 0, due: now.saturating_add(config.wait.before(0)), asked: false, after }
    }

    /// Another entry failed there. What was asked for may lie before it, so it is asked for again.
    fn marked(&mut self, after: u64) {
        self.after = self.after.max(after);
        self.asked = false;
    }

    fn failed(&mut self, now: Now, config: &HealConfig) {
        self.attempts = self.attempts.saturating_add(1);
        self.due = now.saturating_add(config.wait.before(self.attempts));
        self.asked = false;
    }
}

/// The holes of a standby's own making.
///
/// The driver marks ([`Self::mark`]), asks the primary for what is due ([`Self::next_due`], [`Self::poll_timeout`]), and
/// reports how writing it ended ([`Self::healed`], [`Self::volume_healed`], [`Self::failed`]). Places are those of
/// entries in the standby's own journal. A region that was read from the primary is newer than its place, so whatever
/// lies behind the entry that failed heals, asked for or not.
#[derive(Clone, Debug, Default)]
pub struct OutOfSync {
    config: HealConfig,
    holes: BTreeMap<Hole, Healing>,
    device_state: BTreeSet<VolumeIndex>,
}

impl OutOfSync {
    /// Nothing out of sync.
    #[must_use]
    pub fn new(config: HealConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The entry at `place` failed for good: `scope` of it is out of sync, where `range` is the command's. What was
    /// written since the last flush is not known here, so that is the volume.
    pub fn mark(&mut self, volume: VolumeIndex, scope: Scope, range: ByteRange, place: u64, now: Now) {
        match scope {
            Scope::DeviceState => {
                self.device_state.insert(volume);
            }
            Scope::Range => self.mark_range(volume, range, place, now),
            Scope::SinceFlush | Scope::Volume => self.mark_volume(volume, place, now),
        }
    }

    fn mark_range(&mut self, volume: VolumeIndex, range: ByteRange, place: u64, now: Now) {
        let Some((first, last)) = self.regions(range) else { return };
        if let Some(whole) = self.holes.get_mut(&Hole { volume, region: None }) {
            return whole.marked(place);
        }
        let room = self.config.max_regions.saturating_sub(self.holes.len()) as u64;
        if last - first >= room {
            return self.mark_volume(volume, place, now);
        }
        for region in first..=last {
            let new = Healing::new(now, place, &self.config);
            self.holes.entry(Hole { volume, region: Some(region) }).or_insert(new).marked(place);
        }
    }

    fn mark_volume(&mut self, volume: VolumeIndex, place: u64, now: Now) {
        self.holes.retain(|hole, _| hole.volume != volume || hole.region.is_none());
        let new = Healing::new(now, place, &self.config);
        self.holes.entry(Hole { volume, region: None }).or_insert(new).marked(place);
    }

    fn regions(&self, range: ByteRange) -> Option<(u64, u64)> {
        let size = self.config.region_size.max(1);
        (!range.is_empty()).then(|| (range.offset / size, (range.end() - 1) / size))
    }

    /// The bytes of a hole, on a volume of `size` bytes.
    #[must_use]
    pub fn range(&self, hole: Hole, size: u64) -> ByteRange {
        let Some(region) = hole.region else { return ByteRange::new(0, size) };
        let start = region.saturating_mul(self.config.region_size).min(size);
        ByteRange::new(start, self.config.region_size.min(size - start))
    }

    /// The next hole for which to ask the primary; each is told once until it failed.
    pub fn next_due(&mut self, now: Now) -> Option<Hole> {
        let (hole, healing) = self.holes.iter_mut().find(|(_, healing)| !healing.asked && healing.due <= now)?;
        healing.asked = true;
        Some(*hole)
    }

    /// When the next hole is due; `None` while all are asked for, or there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        self.holes.values().filter(|healing| !healing.asked).map(|healing| healing.due).min()
    }

    /// The content of `range`, read from the primary and journalled at `place`, is on the device; the volume has `size`
    /// bytes. Heals the regions that lie wholly within, and failed before; answers how many.
    pub fn healed(&mut self, volume: VolumeIndex, range: ByteRange, size: u64, place: u64) -> usize {
        let Some((first, last)) = self.regions(range) else { return 0 };
        let hole = |region| Hole { volume, region: Some(region) };
        let within = |hole| {
            let bytes = self.range(hole, size);
            range.offset <= bytes.offset && bytes.end() <= range.end()
        };
        let touched = self.holes.range(hole(first)..=hole(last));
        let done = |(&hole, healing): (&Hole, &Healing)| (healing.after < place && within(hole)).then_some(hole);
        let healed: Vec<Hole> = touched.filter_map(done).collect();
        for hole in &healed {
            self.holes.remove(hole);
        }
        healed.len()
    }

    /// All of the volume was read from the primary and is on the device, the first of it journalled at `place`.
    pub fn volume_healed(&mut self, volume: VolumeIndex, place: u64) {
        self.holes.retain(|hole, healing| hole.volume != volume || healing.after >= place);
    }

    /// The device did not take it: later again.
    pub fn failed(&mut self, hole: Hole, now: Now) {
        if let Some(healing) = self.holes.get_mut(&hole) {
            healing.failed(now, &self.config);
        }
    }

    /// The primary is gone: whatever it was asked for will be asked again, without waiting longer for it.
    pub fn disconnected(&mut self) {
        self.holes.values_mut().for_each(|healing| healing.asked = false);
    }

    /// The device state of a volume was brought to the primary's.
    pub fn state_healed(&mut self, volume: VolumeIndex) {
        self.device_state.remove(&volume);
    }

    /// Whether content is out of sync.
    #[must_use]
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Number of holes: regions, and volumes as a whole.
    #[must_use]
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Volumes whose device state differs.
    pub fn state_differs(&self) -> impl Iterator<Item = VolumeIndex> {
        self.device_state.iter().copied()
    }
}

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

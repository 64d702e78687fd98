//! Which regions of the volumes differ, or may differ, between primary and secondary.
//!
//! A region is a run of `region_size` bytes; the last one of a volume may be shorter. The map only ever errs on the
//! safe side: marking rounds outward, unmarking inward.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use formats::{ByteRange, VolumeIndex};
use roaring::RoaringBitmap;
use thiserror::Error;

use crate::scope::Scope;

/// Smallest region, in bytes.
pub const MIN_REGION_SIZE: u32 = 512;

/// Why a map cannot be made, or does not know a volume.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyMapError {
    /// The size of a region is not usable.
    #[error("region size {0} is not a power of two of at least {MIN_REGION_SIZE} bytes")]
    RegionSize(u32),
    /// More regions than a map can number.
    #[error("volume {volume} of {size} bytes has more than 2^32 regions; choose larger regions")]
    TooManyRegions {
        /// Which volume.
        volume: VolumeIndex,
        /// Its size in bytes.
        size: u64,
    },
    /// More volumes than an index can name.
    #[error("more than 65536 volumes")]
    TooManyVolumes,
    /// A volume that the map was not made for.
    #[error("the dirty map has no volume {0}")]
    UnknownVolume(VolumeIndex),
    /// Two maps of different volumes or region sizes.
    #[error("dirty maps of different geometry cannot be united")]
    Geometry,
}

#[derive(Clone, PartialEq, Debug)]
struct Volume {
    size: u64,
    regions: RoaringBitmap,
    /// Regions that may be marked at all; none for every one.
    allowed: Option<Arc<RoaringBitmap>>,
}

impl Volume {
    /// Takes regions out that may not be marked.
    fn limit(&mut self) {
        if let Some(allowed) = &self.allowed {
            self.regions &= &**allowed;
        }
    }
}

/// A set of regions per volume. Memory: at most about one bit per region.
#[derive(Clone, PartialEq, Debug)]
pub struct DirtyMap {
    shift: u32,
    volumes: Vec<Volume>,
}

impl DirtyMap {
    /// An empty map for volumes of these sizes, in bytes.
    ///
    /// # Errors
    /// When `region_size` is not a power of two of at least 512, or a volume has more than 2^32 regions.
    pub fn new(region_size: u32, sizes: &[u64]) -> Result<Self, DirtyMapError> {
        if !region_size.is_power_of_two() || region_size < MIN_REGION_SIZE {
            return Err(DirtyMapError::RegionSize(region_size));
        }
        let shift = region_size.trailing_zeros();
        let mut volumes = Vec::with_capacity(sizes.len());
        for (index, &size) in sizes.iter().enumerate() {
            let volume = VolumeIndex(u16::try_from(index).map_err(|_| DirtyMapError::TooManyVolumes)?);
            if size > 0 && (size - 1) >> shift > u64::from(u32::MAX) {
                return Err(DirtyMapError::TooManyRegions { volume, size });
            }
            volumes.push(Volume { size, regions: RoaringBitmap::new(), allowed: None });
        }
        Ok(Self { shift, volumes })
    }

    /// The same map for a part of the volumes: a region that nothing of `scope` lies in is never marked, whoever asks.
    /// None is when changes are dropped on purpose.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        for index in 0..self.volumes.len() {
            let volume = VolumeIndex(index as u16);
            let ranges = if scope.is_partial() { Some(&[][..]) } else { scope.of(volume) };
            self.volumes[index].allowed = ranges.map(|ranges| {
                let mut allowed = RoaringBitmap::new();
                for regions in ranges.iter().filter_map(|range| self.touched(volume, *range).ok()?) {
                    allowed.insert_range(regions);
                }
                Arc::new(allowed)
            });
            self.volumes[index].limit();
        }
        self
    }

    /// Bytes per region.
    #[must_use]
    pub const fn region_size(&self) -> u32 {
        1 << self.shift
    }

    /// Number of volumes.
    #[must_use]
    pub fn volume_count(&self) -> usize {
        self.volumes.len()
    }

    /// Size of a volume in bytes.
    #[must_use]
    pub fn volume_size(&self, volume: VolumeIndex) -> Option<u64> {
        self.volumes.get(usize::from(volume.0)).map(|v| v.size)
    }

    /// Number of regions of a volume, dirty or not; 0 for an unknown one.
    #[must_use]
    pub fn volume_regions(&self, volume: VolumeIndex) -> u64 {
        self.volume_size(volume).map_or(0, |size| size.div_ceil(1 << self.shift))
    }

    /// Marks every region that `range` touches; what lies behind the end of the volume is ignored. Answers how many
    /// were not marked before.
    ///
    /// # Errors
    /// [`DirtyMapError::UnknownVolume`].
    pub fn mark(&mut self, volume: VolumeIndex, range: ByteRange) -> Result<u64, DirtyMapError> {
        let Some(touched) = self.touched(volume, range)? else { return Ok(0) };
        let volume = &mut self.volumes[usize::from(volume.0)];
        let Some(allowed) = &volume.allowed else { return Ok(volume.regions.insert_range(touched)) };
        let before = volume.regions.len();
        volume.regions.extend(allowed.range(touched));
        Ok(volume.regions.len() - before)
    }

    /// Marks every region of every volume.
    pub fn mark_all(&mut self) {
        for index in 0..self.volumes.len() {
            let size = self.volumes[index].size;
            let _ = self.mark(VolumeIndex(index as u16), ByteRange::new(0, size));
        }
    }

    /// Unmarks the regions that lie wholly within `range` (the last region of a volume ends with the volume).
    ///
    /// # Errors
    /// [`DirtyMapError::UnknownVolume`].
    pub fn unmark(&mut self, volume: VolumeIndex, range: ByteRange) -> Result<(), DirtyMapError> {
        let size = self.volume_size(volume).ok_or(DirtyMapError::UnknownVolume(volume))?;
        let first = range.offset.div_ceil(1 << self.shift);
        let last = if range.end() >= size { self.volume_regions(volume) } else { range.end() >> self.shift };
        if first < last {
            self.volumes[usize::from(volume.0)].regions.remove_range(first as u32..=(last - 1) as u32);
        }
        Ok(())
    }

    /// Adds every region that `other` holds.
    ///
    /// # Errors
    /// [`DirtyMapError::Geometry`] when the two were made for different volumes or region sizes.
    pub fn union(&mut self, other: &Self) -> Result<(), DirtyMapError> {
        if !self.same_geometry(other) {
            return Err(DirtyMapError::Geometry);
        }
        for (mine, theirs) in self.volumes.iter_mut().zip(&other.volumes) {
            mine.regions |= &theirs.regions;
            mine.limit();
        }
        Ok(())
    }

    /// Whether both were made for the same volumes and region size.
    #[must_use]
    pub fn same_geometry(&self, other: &Self) -> bool {
        self.shift == other.shift && self.volumes.iter().map(|v| v.size).eq(other.volumes.iter().map(|v| v.size))
    }

    /// Unmarks everything.
    pub fn clear(&mut self) {
        self.volumes.iter_mut().for_each(|volume| volume.regions.clear());
    }

    /// Whether nothing is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.volumes.iter().all(|volume| volume.regions.is_empty())
    }

    /// Number of marked regions.
    #[must_use]
    pub fn region_count(&self) -> u64 {
        self.volumes.iter().map(|volume| volume.regions.len()).sum()
    }

    /// Bytes in marked regions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.volumes.iter().map(|volume| self.volume_bytes(volume)).sum()
    }

    /// Whether any region that `range` touches is marked.
    #[must_use]
    pub fn contains(&self, volume: VolumeIndex, range: ByteRange) -> bool {
        match self.touched(volume, range) {
            Ok(Some(regions)) => self.volumes[usize::from(volume.0)].regions.range_cardinality(regions) > 0,
            _ => false,
        }
    }

    /// The marked regions in order of volume and offset, neighbours joined into runs of at most `max_bytes` (but at
    /// least one region).
    pub fn runs(&self, max_bytes: u64) -> impl Iterator<Item = (VolumeIndex, ByteRange)> + '_ {
        let mut place = Some((VolumeIndex(0), 0));
        core::iter::from_fn(move || {
            let (volume, range) = self.next_run(place?, max_bytes)?;
            place = Some((volume, range.end()));
            Some((volume, range))
        })
    }

    /// The first run at or behind a place (a volume and a byte offset in it), of at most `max_bytes` but at least one
    /// region. Does not start over at the beginning.
    #[must_use]
    pub fn next_run(&self, place: (VolumeIndex, u64), max_bytes: u64) -> Option<(VolumeIndex, ByteRange)> {
        let mut start = place.1.div_ceil(1 << self.shift);
        for index in usize::from(place.0.0)..self.volumes.len() {
            if let Some(run) = self.run_in(&self.volumes[index], start, max_bytes) {
                return Some((VolumeIndex(index as u16), run));
            }
            start = 0;
        }
        None
    }

    /// Sets regions from a flat bitmap, bit *i* of word *w* standing for region `first_region + 64 * w + i`. Bits
    /// behind the end of the volume are ignored.
    ///
    /// # Errors
    /// [`DirtyMapError::UnknownVolume`].
    pub fn import_words(&mut self, volume: VolumeIndex, first_region: u64, words: &[u64]) -> Result<(), DirtyMapError> {
        let count = self.volume_regions(volume);
        let known = self.volumes.get_mut(usize::from(volume.0)).ok_or(DirtyMapError::UnknownVolume(volume))?;
        for (place, &word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                let region = first_region.saturating_add(place as u64 * 64 + bit);
                if region < count {
                    known.regions.insert(region as u32);
                }
            }
        }
        known.limit();
        Ok(())
    }

    /// Writes regions from `first_region` on into a flat bitmap, as [`Self::import_words`] reads it; words behind
    /// the end of the volume are zero.
    ///
    /// # Errors
    /// [`DirtyMapError::UnknownVolume`].
    pub fn export_words(&self, volume: VolumeIndex, first_region: u64, words: &mut [u64]) -> Result<(), DirtyMapError> {
        let known = self.volumes.get(usize::from(volume.0)).ok_or(DirtyMapError::UnknownVolume(volume))?;
        words.fill(0);
        let end = first_region.saturating_add(words.len() as u64 * 64).min(self.volume_regions(volume));
        if first_region < end {
            for region in known.regions.range(first_region as u32..=(end - 1) as u32) {
                let bit = u64::from(region) - first_region;
                words[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        Ok(())
    }

    fn touched(&self, volume: VolumeIndex, range: ByteRange) -> Result<Option<RangeInclusive<u32>>, DirtyMapError> {
        let size = self.volume_size(volume).ok_or(DirtyMapError::UnknownVolume(volume))?;
        let end = range.end().min(size);
        if range.is_empty() || range.offset >= end {
            return Ok(None);
        }
        Ok(Some((range.offset >> self.shift) as u32..=((end - 1) >> self.shift) as u32))
    }

    fn run_in(&self, volume: &Volume, start: u64, max_bytes: u64) -> Option<ByteRange> {
        let start = u32::try_from(start).ok()?;
        let run = volume.regions.range(start..).next_range()?;
        let most = (max_bytes >> self.shift).max(1);
        let count = (u64::from(*run.end()) - u64::from(*run.start()) + 1).min(most);
        let offset = u64::from(*run.start()) << self.shift;
        Some(ByteRange::new(offset, (count << self.shift).min(volume.size - offset)))
    }

    fn volume_bytes(&self, volume: &Volume) -> u64 {
        let whole = volume.regions.len() << self.shift;
        let end = volume.regions.max().map_or(0, |last| (u64::from(last) + 1) << self.shift);
        whole - end.saturating_sub(volume.size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SIZES: [u64; 2] = [10_000, 4096];

    fn map() -> DirtyMap {
        DirtyMap::new(512, &SIZES).expect("geometry")
    }

    #[test]
    fn bad_geometry_is_refused() {
        assert_eq!(DirtyMap::new(1000, &[1]), Err(DirtyMapError::RegionSize(1000)));
        assert_eq!(DirtyMap::new(256, &[1]), Err(DirtyMapError::RegionSize(256)));
        assert!(matches!(DirtyMap::new(512, &[1 << 50]), Err(DirtyMapError::TooManyRegions { .. })));
        assert!(DirtyMap::new(512, &[512 << 32]).is_ok());
    }

    #[test]
    fn the_last_region_ends_with_the_volume() {
        let mut map = map();
        map.mark_all();
        assert_eq!(map.bytes(), 14_096);
        assert_eq!(map.region_count(), 20 + 8);
        let runs: Vec<_> = map.runs(u64::MAX).collect();
        assert_eq!(runs, [(VolumeIndex(0), ByteRange::new(0, 10_000)), (VolumeIndex(1), ByteRange::new(0, 4096))]);
    }

    #[test]
    fn an_unknown_volume_is_an_error_and_a_hostile_range_is_not() {
        let mut map = map();
        assert_eq!(map.mark(VolumeIndex(2), ByteRange::new(0, 1)), Err(DirtyMapError::UnknownVolume(VolumeIndex(2))));
        assert_eq!(map.mark(VolumeIndex(0), ByteRange::new(u64::MAX, u64::MAX)), Ok(0));
        assert_eq!(map.mark(VolumeIndex(0), ByteRange::new(9_999, u64::MAX)), Ok(1));
    }

    #[test]
    fn a_fully_marked_volume_needs_no_more_than_its_bits() {
        let mut map = DirtyMap::new(65536, &[1 << 44]).expect("geometry");
        map.mark_all();
        assert_eq!(map.region_count(), 1 << 28);
        assert_eq!(
            map.next_run((VolumeIndex(0), 1 << 43), 1 << 20),
            Some((VolumeIndex(0), ByteRange::new(1 << 43, 1 << 20)))
        );
    }

    proptest! {
        #[test]
        fn within_a_scope_nothing_else_is_ever_marked(
            ranges in prop::collection::vec((0u64..12_000, 0u64..3000), 0..4),
            marks in prop::collection::vec((0u64..12_000, 0u64..3000), 0..8),
            words in prop::collection::vec(any::<u64>(), 1),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(offset, len)| ByteRange::new(offset, len)).collect();
            let marks: Vec<_> = marks.into_iter().map(|(offset, len)| ByteRange::new(offset, len)).collect();
            let regions = |ranges: &[ByteRange]| -> BTreeSet<u64> {
                let bytes = ranges.iter().flat_map(|range| range.offset..range.end()).filter(|byte| *byte < SIZES[0]);
                bytes.map(|byte| byte / 512).collect()
            };
            let scope = Scope::new(vec![Some(ranges.clone())], false);
            let (mut limited, mut other) = (map().within(&scope), map());
            let mut added = 0;
            for mark in &marks {
                added += limited.mark(VolumeIndex(0), *mark).expect("known");
            }
            let allowed = regions(&ranges);
            let wanted = regions(&marks).intersection(&allowed).count() as u64;
            prop_assert_eq!((limited.region_count(), added), (wanted, wanted));
            other.import_words(VolumeIndex(0), 0, &words).expect("known");
            limited.import_words(VolumeIndex(0), 0, &words).expect("known");
            limited.union(&other).expect("geometry");
            limited.mark_all();
            prop_assert_eq!(limited.region_count(), allowed.len() as u64 + 8, "volume 1 is whole");
            prop_assert_eq!(map().within(&Scope::new(Vec::new(), true)).mark(VolumeIndex(1), ByteRange::new(0, 9)), Ok(0));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Mark(u16, u64, u64),
        Unmark(u16, u64, u64),
        Import(u16, u64, Vec<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u16..2, 0u64..12_000, 0u64..3000).prop_map(|(v, o, l)| Step::Mark(v, o, l)),
            (0u16..2, 0u64..12_000, 0u64..6000).prop_map(|(v, o, l)| Step::Unmark(v, o, l)),
            (0u16..2, 0u64..70, proptest::collection::vec(any::<u64>(), 0..3))
                .prop_map(|(v, f, w)| Step::Import(v, f, w)),
        ]
    }

    fn region_bytes(volume: u16, region: u64) -> (u64, u64) {
        (region * 512, ((region + 1) * 512).min(SIZES[usize::from(volume)]))
    }

    fn apply_to_model(model: &mut BTreeSet<(u16, u64)>, step: &Step) {
        let regions = |volume: u16| (0..SIZES[usize::from(volume)].div_ceil(512)).map(move |r| (volume, r));
        match step {
            Step::Mark(v, o, l) => model.extend(regions(*v).filter(|&(v, r)| {
                let (start, end) = region_bytes(v, r);
                *l > 0 && *o < end && start < o + l
            })),
            Step::Unmark(v, o, l) => model.retain(|&(volume, r)| {
                let (start, end) = region_bytes(volume, r);
                volume != *v || !(*o <= start && end <= o + l)
            }),
            Step::Import(v, first, words) => model.extend(regions(*v).filter(|&(_, r)| {
                r >= *first && words.get(((r - first) / 64) as usize).is_some_and(|w| w >> ((r - first) % 64) & 1 == 1)
            })),
        }
    }

    fn apply_to_map(map: &mut DirtyMap, step: &Step) {
        match step {
            Step::Mark(v, o, l) => drop(map.mark(VolumeIndex(*v), ByteRange::new(*o, *l)).expect("known")),
            Step::Unmark(v, o, l) => map.unmark(VolumeIndex(*v), ByteRange::new(*o, *l)).expect("known"),
            Step::Import(v, first, words) => map.import_words(VolumeIndex(*v), *first, words).expect("known"),
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_set(steps in proptest::collection::vec(step(), 0..30), max in 1u64..4000) {
            let (mut map, mut model) = (map(), BTreeSet::new());
            for step in &steps {
                apply_to_map(&mut map, step);
                apply_to_model(&mut model, step);
            }
            prop_assert_eq!(map.region_count(), model.len() as u64);
            let bytes: u64 = model.iter().map(|&(v, r)| { let (s, e) = region_bytes(v, r); e - s }).sum();
            prop_assert_eq!(map.bytes(), bytes);
            let mut from_runs = BTreeSet::new();
            for (volume, range) in map.runs(max) {
                prop_assert!(range.len <= max.max(512));
                from_runs.extend((range.offset / 512..range.end().div_ceil(512)).map(|r| (volume.0, r)));
            }
            prop_assert_eq!(&from_runs, &model);
            for (v, r) in (0..2u16).flat_map(|v| (0..20u64).map(move |r| (v, r))) {
                prop_assert_eq!(map.contains(VolumeIndex(v), ByteRange::new(r * 512, 1)), model.contains(&(v, r)));
            }
        }

        #[test]
        fn words_round_trip(steps in proptest::collection::vec(step(), 0..30), first in 0u64..30) {
            let mut original = map();
            steps.iter().for_each(|step| apply_to_map(&mut original, step));
            let mut copy = map();
            for volume in [VolumeIndex(0), VolumeIndex(1)] {
                for (from, count) in [(0, first), (first, 64)] {
                    let mut words = vec![u64::MAX; (count as usize).div_ceil(64)];
                    original.export_words(volume, from, &mut words).expect("known");
                    copy.import_words(volume, from, &words).expect("known");
                }
            }
            prop_assert_eq!(copy, original);
        }
    }
}

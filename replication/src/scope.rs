//! What of its volumes a primary keeps a secondary equal in.
//!
//! Ordinarily that is everything. An administrator may name ranges: then only these are marked, read back and compared,
//! and within them the copy is as exact as any. Or changes are dropped on purpose: then no copy can be kept, nothing is
//! read back (it would bring in what was to be left out), and the secondary is never called consistent.

use alloc::vec::Vec;

use formats::{ByteRange, VolumeIndex};

/// The part of a group's volumes that is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Per volume, by index: in order and apart. None, or a volume that is not listed, is the whole volume.
    ranges: Vec<Option<Vec<ByteRange>>>,
    partial: bool,
}

impl Scope {
    /// Everything.
    pub const WHOLE: Self = Self { ranges: Vec::new(), partial: false };

    /// These ranges of each volume, by index; none for a whole volume. Each begins and ends with a region of the dirty
    /// map or with its volume; the map otherwise stands for the regions around it.
    #[must_use]
    pub fn new(ranges: Vec<Option<Vec<ByteRange>>>, partial: bool) -> Self {
        let ordered = |mut ranges: Vec<ByteRange>| {
            ranges.retain(|range| !range.is_empty());
            ranges.sort_by_key(|range| range.offset);
            ranges
        };
        Self { ranges: ranges.into_iter().map(|volume| volume.map(ordered)).collect(), partial }
    }

    /// Whether changes are dropped on purpose.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.partial
    }

    /// The ranges of a volume; none when it is replicated whole.
    #[must_use]
    pub fn of(&self, volume: VolumeIndex) -> Option<&[ByteRange]> {
        self.ranges.get(usize::from(volume.0))?.as_deref()
    }

    /// Whether all of `range` is replicated.
    #[must_use]
    pub fn covers(&self, volume: VolumeIndex, range: ByteRange) -> bool {
        let Some(ranges) = self.of(volume) else { return true };
        // Neighbours may touch, so the parts are added up.
        let mut reached = range.offset;
        for part in ranges.iter().filter(|part| part.end() > range.offset) {
            if part.offset > reached {
                break;
            }
            reached = reached.max(part.end());
        }
        range.is_empty() || reached >= range.end()
    }

    /// The parts of `range` that are replicated, in order.
    pub fn parts(&self, volume: VolumeIndex, range: ByteRange) -> impl Iterator<Item = ByteRange> + '_ {
        let whole = self.of(volume).is_none().then_some(range);
        let limited = self.of(volume).unwrap_or_default().iter().filter_map(move |part| {
            let (first, end) = (part.offset.max(range.offset), part.end().min(range.end()));
            (first < end).then(|| ByteRange::new(first, end - first))
        });
        whole.into_iter().chain(limited)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const V: VolumeIndex = VolumeIndex(0);

    fn bytes(range: ByteRange) -> BTreeSet<u64> {
        (range.offset..range.end()).collect()
    }

    #[test]
    fn without_ranges_everything_is_covered() {
        let range = ByteRange::new(5, u64::MAX - 5);
        assert!(Scope::WHOLE.covers(V, range));
        assert_eq!(Scope::WHOLE.parts(V, range).collect::<Vec<_>>(), [range]);
        let other = Scope::new(alloc::vec![None, Some(Vec::new())], false);
        assert!(other.covers(V, range) && !other.covers(VolumeIndex(1), range) && other.covers(VolumeIndex(2), range));
    }

    proptest! {
        #[test]
        fn parts_are_what_both_have(
            ranges in prop::collection::vec((0u64..60, 0u64..20), 0..5),
            (offset, len) in (0u64..60, 0u64..40),
        ) {
            // Apart, as the contract says: those that overlap an earlier one are left out.
            let mut kept: Vec<ByteRange> = Vec::new();
            for range in ranges.into_iter().map(|(offset, len)| ByteRange::new(offset, len)) {
                if kept.iter().all(|other| bytes(*other).is_disjoint(&bytes(range))) {
                    kept.push(range);
                }
            }
            let all: BTreeSet<u64> = kept.iter().flat_map(|range| bytes(*range)).collect();
            let scope = Scope::new(alloc::vec![Some(kept)], false);
            let range = ByteRange::new(offset, len);
            let wanted: BTreeSet<u64> = bytes(range).intersection(&all).copied().collect();
            let found: Vec<u64> = scope.parts(V, range).flat_map(bytes).collect();
            prop_assert_eq!(&found, &wanted.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(scope.covers(V, range), wanted.len() as u64 == len);
        }
    }
}

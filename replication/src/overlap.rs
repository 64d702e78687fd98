//! Which commands overlapped another one while both were in flight.
//!
//! Such commands have no defined outcome: the device may apply them in either order, whatever the order in which they
//! complete. So the common part of their ranges must be read back. The detector is fed with the records in `seq` order
//! and answers what to mark.
//!
//! A record R was in flight together with an earlier completed Q exactly when Q's number was drawn after R had read
//! `dep`: `R.dep < Q.seq < R.seq`. Records up to `dep` had ended before R began, so looking at a record costs the
//! number of completions during its own life, which on average is the depth of the queue (Little's law).

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use formats::{ByteRange, Seq, VolumeIndex};

/// Changes that are remembered unless said otherwise: half a mebibyte.
pub const DEFAULT_WINDOW: usize = 16_384;

/// Ranges told of one change; beyond that all of it is.
const MAX_RANGES: usize = 256;

/// A completed command that may have changed its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its place in the order of completion.
    pub seq: Seq,
    /// Completions seen when it was issued; below `seq`.
    pub dep: Seq,
    /// On which volume.
    pub volume: VolumeIndex,
    /// What it may have changed, in bytes of the volume; the whole volume when that is not known.
    pub range: ByteRange,
}

/// Finds overlaps. Memory is bounded by the window; what lies before it is not known, and a command that was in flight
/// with something that is not known counts as overlapped all over.
#[derive(Debug)]
pub struct OverlapDetector {
    /// Changes after `floor`, in ascending `seq`.
    recent: VecDeque<Change>,
    window: usize,
    /// Every change up to this may be missing from `recent`; none after it is.
    floor: Seq,
}

impl OverlapDetector {
    /// A detector that will be fed every change after `start`, and remembers `window` of them.
    #[must_use]
    pub const fn new(start: Seq, window: usize) -> Self {
        Self { recent: VecDeque::new(), window, floor: start }
    }

    /// Takes the next change, in ascending `seq`, and answers the ranges of its volume to be read back: where it
    /// overlaps a change that was in flight together with it. Empty in the common case. They may overlap each other.
    ///
    /// Commands that change nothing, such as flushes, are not fed. Numbers may be missing when their completions were
    /// lost; the driver marks the regions of those itself.
    pub fn observe(&mut self, change: Change) -> Vec<ByteRange> {
        if change.range.is_empty() {
            return Vec::new();
        }
        let newest = self.recent.back().map_or(self.floor, |last| last.seq);
        if change.seq <= newest {
            // Out of order, against the contract: it cannot be placed, so nothing can be told of it.
            return vec![change.range];
        }
        let overlaps = if change.dep < self.floor { vec![change.range] } else { self.overlaps(&change) };
        self.remember(change);
        overlaps
    }

    /// The common ranges with what completed during the life of `change`.
    fn overlaps(&self, change: &Change) -> Vec<ByteRange> {
        let together = self.recent.iter().rev().take_while(|earlier| earlier.seq > change.dep);
        let mut found = Vec::new();
        for earlier in together.filter(|earlier| earlier.volume == change.volume) {
            let Some(common) = intersection(earlier.range, change.range) else { continue };
            if common == change.range {
                // Nothing can be added to all of it.
                return vec![common];
            }
            if found.len() == MAX_RANGES {
                // So much of it is in doubt that all of it may be.
                return vec![change.range];
            }
            if !found.contains(&common) {
                found.push(common);
            }
        }
        found
    }

    fn remember(&mut self, change: Change) {
        self.recent.push_back(change);
        if self.recent.len() > self.window
            && let Some(oldest) = self.recent.pop_front()
        {
            self.floor = oldest.seq;
        }
    }
}

/// The bytes in both; none when there are none.
fn intersection(a: ByteRange, b: ByteRange) -> Option<ByteRange> {
    let offset = a.offset.max(b.offset);
    a.overlaps(b).then(|| ByteRange::new(offset, a.end().min(b.end()) - offset))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn change(seq: u64, dep: u64, volume: u16, offset: u64, len: u64) -> Change {
        Change { seq: Seq(seq), dep: Seq(dep), volume: VolumeIndex(volume), range: ByteRange::new(offset, len) }
    }

    fn detector() -> OverlapDetector {
        OverlapDetector::new(Seq(0), 4)
    }

    #[test]
    fn a_command_issued_after_the_other_ended_does_not_overlap_in_flight() {
        let mut detector = detector();
        assert_eq!(detector.observe(change(1, 0, 0, 0, 8)), []);
        assert_eq!(detector.observe(change(2, 1, 0, 0, 8)), []);
    }

    #[test]
    fn the_common_part_of_two_in_flight_is_read_back() {
        let mut detector = detector();
        detector.observe(change(1, 0, 0, 0, 8));
        assert_eq!(detector.observe(change(2, 0, 0, 6, 8)), [ByteRange::new(6, 2)]);
    }

    #[test]
    fn another_volume_or_range_is_left_alone() {
        let mut detector = detector();
        detector.observe(change(1, 0, 0, 0, 8));
        assert_eq!(detector.observe(change(2, 0, 1, 0, 8)), []);
        assert_eq!(detector.observe(change(3, 0, 0, 8, 8)), []);
        assert_eq!(detector.observe(change(4, 0, 0, 4, 0)), []);
    }

    #[test]
    fn a_command_overlapped_all_over_is_told_once() {
        let mut detector = detector();
        detector.observe(change(1, 0, 0, 0, 2));
        detector.observe(change(2, 1, 0, 0, 64));
        detector.observe(change(3, 2, 0, 4, 4));
        assert_eq!(detector.observe(change(4, 0, 0, 0, 8)), [ByteRange::new(0, 8)]);
    }

    #[test]
    fn what_began_before_the_window_is_in_doubt() {
        let mut detector = detector();
        (1..=5).for_each(|seq| drop(detector.observe(change(seq, seq - 1, 0, seq * 8, 8))));
        assert_eq!(detector.observe(change(6, 0, 0, 800, 8)), [ByteRange::new(800, 8)]);
        assert_eq!(detector.observe(change(7, 3, 0, 800, 8)), [ByteRange::new(800, 8)], "6 is in the window");
        assert_eq!(detector.observe(change(8, 3, 0, 900, 8)), [], "everything after 3 is");
    }

    #[test]
    fn what_began_before_the_start_is_in_doubt() {
        let mut detector = OverlapDetector::new(Seq(10), 4);
        assert_eq!(detector.observe(change(11, 9, 0, 0, 8)), [ByteRange::new(0, 8)]);
        assert_eq!(detector.observe(change(12, 11, 0, 0, 8)), []);
    }

    #[test]
    fn a_number_that_does_not_ascend_is_in_doubt_and_forgotten() {
        let mut detector = detector();
        detector.observe(change(5, 4, 0, 0, 8));
        assert_eq!(detector.observe(change(5, 4, 0, 8, 8)), [ByteRange::new(8, 8)]);
        assert_eq!(detector.observe(change(6, 4, 0, 8, 8)), []);
    }

    #[test]
    fn one_that_overlaps_very_many_is_told_as_a_whole() {
        let mut detector = OverlapDetector::new(Seq(0), DEFAULT_WINDOW);
        let all = MAX_RANGES as u64 + 1;
        (1..=all).for_each(|seq| drop(detector.observe(change(seq, seq - 1, 0, seq * 8, 8))));
        assert_eq!(detector.observe(change(all + 1, 1, 0, 0, 8 * all + 16)).len(), MAX_RANGES);
        let whole = ByteRange::new(4, 8 * all + 16);
        assert_eq!(detector.observe(change(all + 2, 0, 0, whole.offset, whole.len)), [whole]);
    }

    /// Bytes of `change` that must be read back, from all changes before it.
    fn naive(before: &[Change], change: &Change) -> BTreeSet<u64> {
        let bytes = |range: ByteRange| range.offset..range.end();
        let together = |earlier: &&Change| earlier.volume == change.volume && earlier.seq > change.dep;
        let touched: BTreeSet<u64> = before.iter().filter(together).flat_map(|earlier| bytes(earlier.range)).collect();
        bytes(change.range).filter(|byte| touched.contains(byte)).collect()
    }

    fn history() -> impl Strategy<Value = Vec<Change>> {
        let step = (1u64..3, 0u64..12, 0u16..2, 0u64..40, 0u64..12);
        proptest::collection::vec(step, 0..80).prop_map(|steps| {
            let mut seq = 0;
            let next = |(gap, age, volume, offset, len): (u64, u64, u16, u64, u64)| {
                seq += gap;
                change(seq, (seq - 1).saturating_sub(age), volume, offset, len)
            };
            steps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn a_wide_window_equals_the_naive_search(history in history()) {
            let mut detector = OverlapDetector::new(Seq(0), 100);
            for (index, change) in history.iter().enumerate() {
                let found = detector.observe(*change);
                let bytes: BTreeSet<u64> = found.iter().flat_map(|range| range.offset..range.end()).collect();
                prop_assert_eq!(bytes, naive(&history[..index], change));
            }
        }

        #[test]
        fn a_narrow_window_never_misses_one(history in history(), window in 0usize..8) {
            let mut detector = OverlapDetector::new(Seq(0), window);
            for (index, change) in history.iter().enumerate() {
                let found = detector.observe(*change);
                let bytes: BTreeSet<u64> = found.iter().flat_map(|range| range.offset..range.end()).collect();
                prop_assert!(bytes.is_superset(&naive(&history[..index], change)));
                prop_assert!(found.iter().all(|range| intersection(*range, change.range) == Some(*range)));
                prop_assert!(detector.recent.len() <= window);
            }
        }
    }
}

//! A value for each block, kept as runs of equal ones, so that a terabyte costs nothing while it is all the same.

use std::collections::BTreeMap;

use formats::scsi::LbaRange;

/// What each block has; all have one value at first.
#[derive(Clone, Debug)]
pub(super) struct Runs<T> {
    /// Where the value changes, and to what. Block 0 is always there.
    changes: BTreeMap<u64, T>,
}

impl<T: Copy + Eq> Runs<T> {
    /// `value` everywhere.
    pub(super) fn new(value: T) -> Self {
        Self { changes: BTreeMap::from([(0, value)]) }
    }

    /// The value of a block.
    pub(super) fn at(&self, lba: u64) -> T {
        let (_, value) = self.changes.range(..=lba).next_back().expect("block 0 has a value");
        *value
    }

    /// Gives the blocks of `run` this value.
    pub(super) fn set(&mut self, run: LbaRange, value: T) {
        if run.blocks == 0 {
            return;
        }
        let end = run.lba.saturating_add(run.blocks);
        let behind = self.at(end);
        let inside: Vec<u64> = self.changes.range(run.lba..=end).map(|(lba, _)| *lba).collect();
        for lba in inside {
            self.changes.remove(&lba);
        }
        if run.lba == 0 || self.at(run.lba - 1) != value {
            self.changes.insert(run.lba, value);
        }
        if behind != value {
            self.changes.insert(end, behind);
        }
    }

    /// The runs of equal values that `run` consists of, in order.
    pub(super) fn pieces(&self, run: LbaRange) -> impl Iterator<Item = (LbaRange, T)> + '_ {
        let end = run.lba.saturating_add(run.blocks);
        let mut at = run.lba;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let next = self.changes.range(at + 1..).next().map_or(end, |(lba, _)| *lba).min(end);
            let piece = LbaRange::new(at, next - at);
            at = next;
            Some((piece, self.at(piece.lba)))
        })
    }

    /// How many blocks of `run` have a value for which `wanted` holds.
    pub(super) fn count(&self, run: LbaRange, wanted: impl Fn(T) -> bool) -> u64 {
        self.pieces(run).filter(|(_, value)| wanted(*value)).map(|(piece, _)| piece.blocks).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a vector with a value for each block.
        #[test]
        fn behaves_like_a_vector(sets in proptest::collection::vec((0..60u64, 0..30u64, 0..4u8), 0..40)) {
            let (mut runs, mut model) = (Runs::new(0), vec![0u8; 100]);
            for (lba, blocks, value) in sets {
                runs.set(LbaRange::new(lba, blocks), value);
                model[lba as usize..(lba + blocks) as usize].fill(value);
                let all = LbaRange::new(0, 100);
                let pieces: Vec<_> = runs.pieces(all).collect();
                let spread: Vec<u8> =
                    pieces.iter().flat_map(|(run, value)| std::iter::repeat_n(*value, run.blocks as usize)).collect();
                prop_assert_eq!(&spread, &model);
                prop_assert!(pieces.windows(2).all(|pair| pair[0].1 != pair[1].1), "runs are as long as can be");
                let ones = model.iter().filter(|value| **value == 1).count() as u64;
                prop_assert_eq!(runs.count(all, |value| value == 1), ones);
            }
        }
    }
}

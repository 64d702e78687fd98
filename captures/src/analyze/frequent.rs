//! The keys that occur most often in a stream, in bounded memory: frequent items after Misra and Gries, in batches.
//!
//! When there is no room, the median count is taken from every key, and those that have nothing left are forgotten. So a
//! count is never too high, too low by [`Frequent::error`] at most, and every key whose true count is above that is there.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Counts keys, with a `V` beside each.
#[derive(Debug)]
pub(crate) struct Frequent<V> {
    counts: HashMap<u64, (u64, V), FixedState>,
    room: usize,
    error: u64,
}

impl<V: Default> Frequent<V> {
    /// Keeps `room` keys at most.
    pub(crate) fn new(room: usize) -> Self {
        Self { counts: HashMap::with_capacity_and_hasher(room, FixedState::default()), room: room.max(2), error: 0 }
    }

    /// Counts `key` and gives what is kept beside it.
    pub(crate) fn add(&mut self, key: u64) -> &mut V {
        if self.counts.len() >= self.room && !self.counts.contains_key(&key) {
            self.shrink();
        }
        let (count, value) = self.counts.entry(key).or_default();
        *count += 1;
        value
    }

    /// What is kept beside `key`, if it is there.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.counts.get_mut(&key).map(|(_, value)| value)
    }

    fn shrink(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().map(|(count, _)| *count).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.error += median;
        self.counts.retain(|_, (count, _)| {
            *count = count.saturating_sub(median);
            *count > 0
        });
    }

    /// By how much a count may be too low.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    /// The keys, those with the highest counts first.
    pub(crate) fn top(&self, most: usize) -> Vec<(u64, u64, &V)> {
        let mut all: Vec<_> = self.counts.iter().map(|(key, (count, value))| (*key, *count, value)).collect();
        all.sort_unstable_by_key(|(key, count, _)| (std::cmp::Reverse(*count), *key));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside counting everything.
        #[test]
        fn counts_are_within_the_error(keys in proptest::collection::vec(0u64..40, 1..2000), skew in 1u64..8) {
            let mut frequent = Frequent::<u64>::new(12);
            let mut naive = HashMap::<u64, u64>::new();
            for key in keys.iter().map(|key| key / skew) {
                *frequent.add(key) += 1;
                *naive.entry(key).or_default() += 1;
            }
            let top = frequent.top(usize::MAX);
            prop_assert!(top.len() <= 12);
            for (key, count, _) in &top {
                prop_assert!(*count <= naive[key] && naive[key] <= count + frequent.error());
            }
            for (key, _) in naive.iter().filter(|(_, count)| **count > frequent.error()) {
                prop_assert!(top.iter().any(|(other, ..)| other == key));
            }
        }
    }
}

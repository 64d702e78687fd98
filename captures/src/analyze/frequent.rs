//! The keys that occur most often in a stream, in bounded memory: frequent items after Misra and Gries, in batches.
//!
//! When there is no room, the median count is taken from every key, and those that have nothing left are forgotten. So a
//! count is never too high, too low by [`Frequent::error`] at most, and every key whose true count is above that is there.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Counts keys, with a `V` beside each.
#[derive(Debug)]
pub(crate) struct Frequent<V> {
    /// Where each key stands in the lists. These are apart, so that looking for a key and counting touch little memory.
    places: HashMap<u64, u32, FixedState>,
    keys: Vec<u64>,
    counts: Vec<u64>,
    values: Vec<V>,
    /// Where the key that was counted last stands: it is often asked for next.
    recent: usize,
    room: usize,
    error: u64,
}

impl<V: Default> Frequent<V> {
    /// Keeps `room` keys at most.
    pub(crate) fn new(room: usize) -> Self {
        let room = room.clamp(2, u32::MAX as usize);
        Self {
            places: HashMap::with_capacity_and_hasher(room, FixedState::default()),
            keys: Vec::with_capacity(room),
            counts: Vec::with_capacity(room),
            values: Vec::with_capacity(room),
            recent: 0,
            room,
            error: 0,
        }
    }

    /// Counts `key` and gives what is kept beside it.
    pub(crate) fn add(&mut self, key: u64) -> &mut V {
        let place = self.place(key).unwrap_or_else(|| self.insert(key));
        self.recent = place;
        self.counts[place] += 1;
        &mut self.values[place]
    }

    /// What is kept beside `key`, if it is there.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.place(key).map(|place| &mut self.values[place])
    }

    fn place(&self, key: u64) -> Option<usize> {
        match self.keys.get(self.recent) {
            Some(recent) if *recent == key => Some(self.recent),
            _ => self.places.get(&key).map(|place| *place as usize),
        }
    }

    /// A place for a key that has none.
    fn insert(&mut self, key: u64) -> usize {
        if self.keys.len() >= self.room {
            self.shrink();
        }
        let place = self.keys.len();
        self.places.insert(key, place as u32);
        self.keys.push(key);
        self.counts.push(0);
        self.values.push(V::default());
        place
    }

    fn shrink(&mut self) {
        let mut counts = self.counts.clone();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.error += median;
        self.places.clear();
        let mut kept = 0;
        for place in 0..self.keys.len() {
            if self.counts[place] > median {
                self.keys[kept] = self.keys[place];
                self.counts[kept] = self.counts[place] - median;
                self.values.swap(kept, place);
                self.places.insert(self.keys[kept], kept as u32);
                kept += 1;
            }
        }
        self.keys.truncate(kept);
        self.counts.truncate(kept);
        self.values.truncate(kept);
    }

    /// By how much a count may be too low.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    /// The keys, those with the highest counts first.
    pub(crate) fn top(&self, most: usize) -> Vec<(u64, u64, &V)> {
        let counted = self.keys.iter().zip(&self.counts).zip(&self.values);
        let mut all: Vec<_> = counted.map(|((key, count), value)| (*key, *count, value)).collect();
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
            for (key, count, since) in &top {
                prop_assert!(*count <= naive[key] && naive[key] <= count + frequent.error());
                prop_assert!(count <= since && **since <= naive[key]);
            }
            let kept: HashMap<u64, u64> = top.iter().map(|(key, _, since)| (*key, **since)).collect();
            for (key, _) in naive.iter().filter(|(_, count)| **count > frequent.error()) {
                prop_assert!(kept.contains_key(key));
            }
            for key in 0..40 {
                prop_assert_eq!(frequent.get_mut(key).copied(), kept.get(&key).copied());
            }
        }
    }
}

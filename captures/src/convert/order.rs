//! Brings what comes in the order of completion into the order of time, in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most things that wait: a command that was in flight for longer than so many others keeps its place no more.
const MOST: usize = 1 << 18;

/// Things with their time.
#[derive(Debug)]
pub(super) struct ByTime<T> {
    waiting: BinaryHeap<Reverse<(u64, u64, T)>>,
    /// Keeps things of one time in the order in which they came.
    count: u64,
    most: usize,
}

impl<T: Ord> Default for ByTime<T> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), count: 0, most: MOST }
    }
}

impl<T: Ord> ByTime<T> {
    /// Adds something; gives the first one when there are too many.
    pub(super) fn push(&mut self, at: u64, thing: T) -> Option<(u64, T)> {
        self.count += 1;
        self.waiting.push(Reverse((at, self.count, thing)));
        if self.waiting.len() > self.most { self.pop() } else { None }
    }

    /// The first one.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        self.waiting.pop().map(|Reverse((at, _, thing))| (at, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_sorted() {
        let mut order = ByTime { most: 4, ..ByTime::default() };
        let mut sorted = Vec::new();
        [3, 1, 2, 5, 4, 6, 9, 7, 8].into_iter().for_each(|at| sorted.extend(order.push(at, at)));
        sorted.extend(std::iter::from_fn(|| order.pop()));
        assert_eq!(sorted, (1..=9).map(|at| (at, at)).collect::<Vec<_>>());
    }
}

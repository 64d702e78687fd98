//! Puts completions into the order of their seq.
//!
//! Completions leave the kernel slightly out of order, because several CPUs draw numbers and write events at the same
//! time; and some never come, because the ring was full. An item comes out when everything before it has come or has
//! been given up. A hole is given up when it has stood for a time since something behind it was first seen, when the
//! driver knows that it is lost, or when too much waits behind it. What was given up is a [`Gap`]; an item that comes
//! after that is handed back, so that nothing is dropped in silence.
//!
//! The driver takes everything out with [`Sequencer::poll`] after each offer; then at most `limit` items wait.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use formats::{Gap, Seq};

use crate::Now;

/// What became of an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer<T> {
    /// It will come out in order.
    Taken,
    /// Its place is gone: it was given up as a gap before, or it came twice.
    Late(T),
}

/// What comes out, in order and without holes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ordered<T> {
    /// The item with this seq.
    Item(Seq, T),
    /// These were given up.
    Gap(Gap),
}

#[derive(Clone, Debug)]
struct Held<T> {
    /// When anything at or behind this seq was first seen.
    since: Now,
    item: T,
}

/// The sequencer.
#[derive(Clone, Debug)]
pub struct Sequencer<T> {
    hole_timeout: Duration,
    limit: usize,
    /// The seq after everything in `out`.
    next: u64,
    out: VecDeque<Ordered<T>>,
    /// Items behind a hole.
    held: BTreeMap<u64, Held<T>>,
}

impl<T> Sequencer<T> {
    /// A sequencer that expects `first` next, gives a hole up after `hole_timeout`, and lets at most `limit` items
    /// (at least 1) wait behind one.
    #[must_use]
    pub fn new(first: Seq, hole_timeout: Duration, limit: usize) -> Self {
        Self { hole_timeout, limit: limit.max(1), next: first.0, out: VecDeque::new(), held: BTreeMap::new() }
    }

    /// An item has come.
    pub fn offer(&mut self, now: Now, seq: Seq, item: T) -> Offer<T> {
        if seq.0 < self.next || self.held.contains_key(&seq.0) {
            return Offer::Late(item);
        }
        if seq.0 == self.next {
            self.emit(seq.0, item);
            self.drain();
            return Offer::Taken;
        }
        let since = self.held.range(seq.0..).next().map_or(now, |(_, behind)| behind.since);
        self.held.insert(seq.0, Held { since, item });
        if self.held.len() > self.limit {
            self.give_up_oldest_hole();
        }
        Offer::Taken
    }

    /// What comes out next, if its turn has come.
    pub fn poll(&mut self, now: Now) -> Option<Ordered<T>> {
        if self.out.is_empty() && self.poll_timeout().is_some_and(|at| now >= at) {
            self.give_up_oldest_hole();
        }
        self.out.pop_front()
    }

    /// When [`Self::poll`] will give a hole up; none while there is no hole.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        self.held.first_key_value().map(|(_, held)| held.since + self.hole_timeout)
    }

    /// Everything up to `upto` that has not come will not come.
    pub fn declare_lost(&mut self, upto: Seq) {
        while self.held.first_key_value().is_some_and(|(first, _)| *first <= upto.0) {
            self.give_up_oldest_hole();
        }
        if self.next <= upto.0 {
            self.give_up(upto.0);
            self.drain();
        }
    }

    /// The order goes on from `next` without a gap: what is between is known to be covered. Answers the items below
    /// it that were waiting; their ranges must be marked dirty.
    pub fn restart_at(&mut self, next: Seq) -> Vec<(Seq, T)> {
        let kept = self.held.split_off(&next.0);
        let below = core::mem::replace(&mut self.held, kept);
        self.next = next.0;
        self.drain();
        below.into_iter().map(|(seq, held)| (Seq(seq), held.item)).collect()
    }

    /// The seq after everything that has come out or may come out now.
    #[must_use]
    pub fn next(&self) -> Seq {
        Seq(self.next)
    }

    /// Items that wait behind a hole.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Everything that waits, behind a hole or to be taken out.
    pub fn waiting_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let out = self.out.iter_mut().filter_map(|ordered| match ordered {
            Ordered::Item(_, item) => Some(item),
            Ordered::Gap(_) => None,
        });
        out.chain(self.held.values_mut().map(|held| &mut held.item))
    }

    fn emit(&mut self, seq: u64, item: T) {
        self.out.push_back(Ordered::Item(Seq(seq), item));
        self.next = seq + 1;
    }

    /// Lets go what waits for nothing any more.
    fn drain(&mut self) {
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() == self.next) {
            let (seq, held) = entry.remove_entry();
            self.emit(seq, held.item);
        }
    }

    fn give_up_oldest_hole(&mut self) {
        if let Some((&first, _)) = self.held.first_key_value() {
            self.give_up(first - 1);
            self.drain();
        }
    }

    /// Everything from `next` to `last` becomes a gap, joined with one right before it.
    fn give_up(&mut self, last: u64) {
        let first = Seq(self.next);
        self.next = last + 1;
        match self.out.back_mut() {
            Some(Ordered::Gap(gap)) => gap.last = Seq(last),
            _ => self.out.push_back(Ordered::Gap(Gap { first, last: Seq(last) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    fn sequencer(limit: usize) -> Sequencer<u64> {
        Sequencer::new(Seq(1), TIMEOUT, limit)
    }

    fn item(seq: u64) -> Ordered<u64> {
        Ordered::Item(Seq(seq), seq)
    }

    fn gap(first: u64, last: u64) -> Ordered<u64> {
        Ordered::Gap(Gap { first: Seq(first), last: Seq(last) })
    }

    fn all(sequencer: &mut Sequencer<u64>, now: Now) -> Vec<Ordered<u64>> {
        core::iter::from_fn(|| sequencer.poll(now)).collect()
    }

    #[test]
    fn neighbours_that_swapped_come_out_in_order() {
        let mut s = sequencer(8);
        assert_eq!(s.offer(at(0), Seq(2), 2), Offer::Taken);
        assert_eq!(all(&mut s, at(0)), []);
        assert_eq!(s.offer(at(1), Seq(1), 1), Offer::Taken);
        assert_eq!(all(&mut s, at(1)), [item(1), item(2)]);
    }

    #[test]
    fn a_hole_stands_for_its_time_since_something_later_was_seen() {
        let mut s = sequencer(8);
        s.offer(at(5), Seq(4), 4);
        s.offer(at(9), Seq(2), 2);
        assert_eq!(s.poll_timeout(), Some(at(15)));
        assert_eq!(all(&mut s, at(14)), []);
        assert_eq!(all(&mut s, at(15)), [gap(1, 1), item(2), gap(3, 3), item(4)]);
        assert_eq!(s.offer(at(16), Seq(3), 3), Offer::Late(3));
        assert_eq!(s.poll_timeout(), None);
    }

    #[test]
    fn a_later_hole_has_its_own_time() {
        let mut s = sequencer(8);
        s.offer(at(0), Seq(2), 2);
        s.offer(at(8), Seq(4), 4);
        assert_eq!(all(&mut s, at(10)), [gap(1, 1), item(2)]);
        assert_eq!(all(&mut s, at(17)), []);
        assert_eq!(all(&mut s, at(18)), [gap(3, 3), item(4)]);
    }

    #[test]
    fn a_loss_that_is_known_does_not_wait() {
        let mut s = sequencer(8);
        s.offer(at(0), Seq(3), 3);
        s.declare_lost(Seq(5));
        assert_eq!(all(&mut s, at(0)), [gap(1, 2), item(3), gap(4, 5)]);
        assert_eq!(s.next(), Seq(6));
    }

    #[test]
    fn too_much_behind_a_hole_gives_it_up() {
        let mut s = sequencer(2);
        s.offer(at(0), Seq(2), 2);
        s.offer(at(0), Seq(4), 4);
        assert_eq!(all(&mut s, at(0)), []);
        s.offer(at(0), Seq(6), 6);
        assert_eq!(all(&mut s, at(0)), [gap(1, 1), item(2)]);
        assert_eq!(s.held(), 2);
    }

    #[test]
    fn a_double_is_handed_back() {
        let mut s = sequencer(2);
        s.offer(at(0), Seq(2), 2);
        assert_eq!(s.offer(at(0), Seq(2), 22), Offer::Late(22));
    }

    #[test]
    fn a_restart_hands_back_what_lies_below() {
        let mut s = sequencer(8);
        s.offer(at(0), Seq(3), 3);
        s.offer(at(0), Seq(9), 9);
        assert_eq!(s.restart_at(Seq(9)), [(Seq(3), 3)]);
        assert_eq!(all(&mut s, at(0)), [item(9)]);
    }

    proptest! {
        /// Whatever is lost or swapped: every seq comes out exactly once, in order, as itself or in a gap; what came
        /// in and is not handed back comes out as itself.
        #[test]
        fn nothing_is_lost_or_doubled(
            order in Just((1u64..200).collect::<Vec<_>>()).prop_shuffle(),
            lost in proptest::collection::vec(any::<bool>(), 200),
            limit in 1usize..250,
            ms_per_item in 0u64..4,
        ) {
            let mut s = sequencer(limit);
            let (mut out, mut taken) = (Vec::new(), Vec::new());
            for (n, seq) in order.iter().copied().filter(|seq| !lost[*seq as usize]).enumerate() {
                let now = at(n as u64 * ms_per_item);
                match s.offer(now, Seq(seq), seq) {
                    Offer::Taken => taken.push(seq),
                    Offer::Late(back) => prop_assert_eq!(back, seq),
                }
                out.extend(all(&mut s, now));
                prop_assert!(s.held() <= limit);
            }
            s.declare_lost(Seq(199));
            out.extend(all(&mut s, at(u64::from(u32::MAX))));
            let (mut next, mut items) = (1, Vec::new());
            for ordered in out {
                let (first, last) = match ordered {
                    Ordered::Item(seq, item) => { items.push(item); (seq.0, seq.0) }
                    Ordered::Gap(gap) => (gap.first.0, gap.last.0),
                };
                prop_assert_eq!(first, next);
                next = last + 1;
            }
            prop_assert_eq!(next, 200);
            taken.sort_unstable();
            prop_assert_eq!(items, taken);
        }
    }
}

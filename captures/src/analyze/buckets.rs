//! Stretches of time: a fixed number of them, twice as long each time that the capture outgrows them.

/// Most stretches that are kept.
pub(crate) const MOST: usize = 240;
/// The shortest stretch.
const SHORTEST_NS: u64 = 1_000_000;

/// What can be added to its neighbour.
pub(crate) trait Merge: Default {
    /// Adds what came later.
    fn merge(&mut self, later: Self);
}

/// One `T` for each stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Buckets<T> {
    origin_ns: Option<u64>,
    width_ns: u64,
    items: Vec<T>,
}

impl<T: Merge> Buckets<T> {
    /// The stretch that `at_ns` lies in; times before `origin_ns` of the first call lie in the first one.
    pub(crate) fn at(&mut self, origin_ns: u64, at_ns: u64) -> &mut T {
        if self.origin_ns.is_none() {
            (self.origin_ns, self.width_ns) = (Some(origin_ns), SHORTEST_NS);
        }
        let past = at_ns.saturating_sub(self.origin_ns.unwrap_or(0));
        while past / self.width_ns >= MOST as u64 {
            self.double();
        }
        let index = (past / self.width_ns) as usize;
        if index >= self.items.len() {
            self.items.resize_with(index + 1, T::default);
        }
        &mut self.items[index]
    }

    fn double(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        let mut old = std::mem::take(&mut self.items).into_iter();
        while let Some(mut first) = old.next() {
            if let Some(second) = old.next() {
                first.merge(second);
            }
            self.items.push(first);
        }
    }

    /// Changes every stretch.
    pub(crate) fn each(&mut self, change: impl FnMut(&mut T)) {
        self.items.iter_mut().for_each(change);
    }

    /// Length of a stretch in nanoseconds.
    pub(crate) fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// When the first stretch begins.
    pub(crate) fn origin_ns(&self) -> u64 {
        self.origin_ns.unwrap_or(0)
    }

    /// All stretches, in order.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Merge for u64 {
        fn merge(&mut self, later: Self) {
            *self += later;
        }
    }

    #[test]
    fn the_farthest_time_has_a_place() {
        let mut buckets = Buckets::<u64>::default();
        *buckets.at(5, 5) += 1;
        *buckets.at(5, u64::MAX) += 1;
        *buckets.at(5, 0) += 1;
        assert_eq!((buckets.items()[0], buckets.items().iter().sum::<u64>()), (2, 3));
        assert!(buckets.items().len() <= MOST);
    }

    proptest! {
        /// As if the final length of a stretch had been known from the beginning.
        #[test]
        fn as_if_counted_at_the_end(times in proptest::collection::vec(0u64..20_000_000_000, 1..200)) {
            let mut buckets = Buckets::<u64>::default();
            times.iter().for_each(|at| *buckets.at(0, *at) += 1);
            let mut naive = vec![0; buckets.items().len()];
            times.iter().for_each(|at| naive[(at / buckets.width_ns()) as usize] += 1);
            prop_assert_eq!(buckets.items(), naive);
        }
    }
}

//! Commands in flight over time, in a bounded number of stretches.

/// Stretches, at most; when time goes on, two become one.
const STRETCHES: usize = 256;
/// How long a stretch is at first, in nanoseconds.
const FIRST_WIDTH: u64 = 1 << 20;

/// How many commands were in flight, on the average of each stretch.
#[derive(Debug, Clone)]
pub(super) struct Depth {
    width: u64,
    /// Nanoseconds in flight, of all commands, by stretch.
    sums: Vec<u128>,
}

impl Depth {
    pub(super) fn new() -> Self {
        Self { width: FIRST_WIDTH, sums: Vec::new() }
    }

    /// A command was in flight from then to then.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        while to / self.width >= STRETCHES as u64 {
            self.sums = self.sums.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width *= 2;
        }
        let last = (to / self.width) as usize;
        if self.sums.len() <= last {
            self.sums.resize(last + 1, 0);
        }
        for (at, sum) in self.sums.iter_mut().enumerate().take(last + 1).skip((from / self.width) as usize) {
            let start = at as u64 * self.width;
            let end = start.saturating_add(self.width);
            *sum += u128::from(to.min(end).saturating_sub(from.max(start)));
        }
    }

    /// Seconds of a stretch, and the mean depth of each.
    pub(super) fn means(&self) -> (f64, Vec<f64>) {
        let means = self.sums.iter().map(|sum| *sum as f64 / self.width as f64);
        (self.width as f64 / 1e9, means.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against each nanosecond by itself, scaled up.
        #[test]
        fn stretches_sum_up_what_was_in_flight(spans in proptest::collection::vec((0u64..2000, 0u64..300), 1..40)) {
            const UNIT: u64 = FIRST_WIDTH / 2;
            let mut depth = Depth::new();
            let mut model = vec![0u64; 2400];
            for (from, len) in &spans {
                depth.add(from * UNIT, (from + len) * UNIT);
                model[*from as usize..(from + len) as usize].iter_mut().for_each(|count| *count += 1);
            }
            let per = (depth.width / UNIT) as usize;
            prop_assert!(depth.sums.len() <= STRETCHES);
            for (at, sum) in depth.sums.iter().enumerate() {
                let want: u64 = model.iter().skip(at * per).take(per).sum();
                prop_assert_eq!(*sum, u128::from(want * UNIT), "stretch {}", at);
            }
        }
    }
}

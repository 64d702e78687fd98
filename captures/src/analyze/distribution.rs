//! Distributions of sizes and times.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time and largest size that is told apart: an hour in nanoseconds, 4 TiB in bytes.
const HIGHEST: u64 = 1 << 42;

/// How values are distributed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// The average.
    pub mean: f64,
    /// The smallest.
    pub min: u64,
    /// Half of them are not above.
    pub p50: u64,
    /// 90 % are not above.
    pub p90: u64,
    /// 99 % are not above.
    pub p99: u64,
    /// 99.9 % are not above.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// How many lie at or below each limit and above the one before; limits are powers of two.
    pub histogram: Vec<Step>,
}

/// A step of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// The largest value in it.
    pub limit: u64,
    /// How many.
    pub count: u64,
}

/// Counts values, with two figures.
#[derive(Debug)]
pub(super) struct Counter {
    histogram: Option<Box<Histogram<u64>>>,
    powers: [u64; 65],
    exact_max: u64,
    sum: u128,
}

impl Default for Counter {
    fn default() -> Self {
        Self { histogram: None, powers: [0; 65], exact_max: 0, sum: 0 }
    }
}

impl Counter {
    /// Counts a value.
    pub(super) fn add(&mut self, value: u64) {
        if self.histogram.is_none() {
            self.histogram = Histogram::new_with_bounds(1, HIGHEST, 2).ok().map(Box::new);
        }
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(value);
        }
        let power = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.powers[power as usize] += 1;
        self.exact_max = self.exact_max.max(value);
        self.sum += u128::from(value);
    }

    pub(super) fn report(&self) -> Distribution {
        let Some(histogram) = &self.histogram else { return Distribution::default() };
        // A bucket's upper end may lie above the largest value that it holds.
        let at = |quantile| histogram.value_at_quantile(quantile).min(self.exact_max);
        Distribution {
            count: histogram.len(),
            mean: self.sum as f64 / histogram.len().max(1) as f64,
            min: histogram.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.exact_max,
            histogram: self.steps(),
        }
    }

    fn steps(&self) -> Vec<Step> {
        let step = |(power, count): (usize, &u64)| {
            let limit = if power == 64 { u64::MAX } else { 1 << power };
            Step { limit, count: *count }
        };
        let used = |power: &(usize, &u64)| *power.1 > 0;
        let all = self.powers.iter().enumerate();
        let (first, last) = (all.clone().position(|power| used(&power)), all.clone().rposition(|power| used(&power)));
        match (first, last) {
            (Some(first), Some(last)) => all.skip(first).take(last - first + 1).map(step).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside sorting them.
        #[test]
        fn quantiles_have_two_figures(mut values in proptest::collection::vec(1u64..10_000_000_000, 1..500)) {
            let mut counter = Counter::default();
            values.iter().for_each(|value| counter.add(*value));
            let report = counter.report();
            values.sort_unstable();
            for (quantile, told) in [(0.5, report.p50), (0.9, report.p90), (0.99, report.p99)] {
                let exact = values[((values.len() as f64 * quantile).ceil() as usize).max(1) - 1];
                prop_assert!(told.abs_diff(exact) as f64 <= exact as f64 * 0.01 + 1.0, "{told} {exact}");
            }
            prop_assert_eq!(report.max, *values.last().unwrap());
            prop_assert_eq!(report.histogram.iter().map(|step| step.count).sum::<u64>(), values.len() as u64);
            for step in &report.histogram {
                let within = values.iter().filter(|v| **v <= step.limit && **v > step.limit / 2).count();
                prop_assert_eq!(within as u64, step.count);
            }
        }
    }

    #[test]
    fn zero_and_the_largest_are_counted() {
        let mut counter = Counter::default();
        counter.add(0);
        counter.add(u64::MAX);
        let report = counter.report();
        assert_eq!((report.count, report.min, report.max), (2, 0, u64::MAX));
    }
}

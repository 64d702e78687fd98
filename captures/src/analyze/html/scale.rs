//! Axes: where their marks are, at round numbers of what they count, and what is written there.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use crate::human::{bytes, count, percent, seconds, time};

/// A coordinate from 0 to `end`, with marks where they are wanted.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    pub(super) end: f64,
    pub(super) marks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (value / self.end * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        0.0..self.end
    }
}

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Whole things.
    Count,
    /// Things per second.
    Rate,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    ByteRate,
    /// A latency, in nanoseconds.
    Latency,
    /// Time since the beginning, in seconds.
    Elapsed,
    /// A share of all, from 0 to 1.
    Share,
}

impl Unit {
    /// A value in words.
    pub(super) fn word(self, value: f64) -> String {
        match self {
            Self::Count => count(value),
            Self::Rate => format!("{}/s", count(value)),
            Self::Bytes => bytes(value as u64),
            Self::ByteRate => format!("{}/s", bytes(value as u64)),
            Self::Latency => time(value as u64),
            // What only the multiplication of a step made is no part of the number.
            Self::Elapsed => seconds((value * 1e9).round() / 1e9),
            Self::Share => percent(value),
        }
    }

    /// Marks from 0 to `end`, at most `most` of them besides the 0: at multiples of a round number.
    pub(super) fn marks(self, end: f64, most: usize) -> Vec<f64> {
        let most = most.max(1) as f64;
        let step = self.steps().find(|step| end / step <= most).unwrap_or(end);
        let last = if step > 0.0 { (end / step) as u32 } else { 0 };
        (0..=last).map(|at| f64::from(at) * step).collect()
    }

    /// Round numbers, ever larger.
    fn steps(self) -> Box<dyn Iterator<Item = f64>> {
        match self {
            Self::Count => Box::new(decimal(0)),
            Self::Rate => Box::new(decimal(-2)),
            Self::Share => Box::new(decimal(-3)),
            Self::Bytes | Self::ByteRate => Box::new((0..64).map(|power| 2f64.powi(power))),
            Self::Latency => Box::new(of_time().map(|step| step * 1e9)),
            Self::Elapsed => Box::new(of_time()),
        }
    }
}

/// 1, 2 and 5 times each power of ten, from 10 to the power of `least` on.
fn decimal(least: i32) -> impl Iterator<Item = f64> {
    (least..20).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
}

/// Seconds: decimal ones below a minute, then what clocks show.
fn of_time() -> impl Iterator<Item = f64> {
    let minutes = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0].map(|minutes| minutes * 60.0);
    let hours = (0..32).map(|power| 3600.0 * 2f64.powi(power));
    decimal(-9).take_while(|step| *step < 60.0).chain(minutes).chain(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(unit: Unit, end: f64) -> Vec<String> {
        unit.marks(end, 4).into_iter().map(|at| unit.word(at)).collect()
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(words(Unit::Count, 3.0), ["0", "1", "2", "3"]);
        assert_eq!(words(Unit::Count, 19_600.0), ["0", "5 k", "10 k", "15 k"]);
        assert_eq!(words(Unit::ByteRate, 8e8), ["0 B/s", "256 MiB/s", "512 MiB/s"]);
        assert_eq!(words(Unit::Elapsed, 0.0007), ["0 ns", "200 µs", "400 µs", "600 µs"]);
        assert_eq!(words(Unit::Elapsed, 7000.0), ["0 ns", "30 min", "1 h", "1.50 h"]);
        assert_eq!(words(Unit::Latency, 130_000.0), ["0 ns", "50 µs", "100 µs"]);
        assert_eq!(words(Unit::Share, 0.11), ["0.0 %", "5.0 %", "10.0 %"]);
    }

    #[test]
    fn no_two_marks_read_alike_and_none_lies_beyond_the_end() {
        let units = [Unit::Count, Unit::Rate, Unit::Bytes, Unit::ByteRate, Unit::Latency, Unit::Elapsed, Unit::Share];
        for unit in units {
            for power in -6..15 {
                let end = 1.37 * 10f64.powi(power);
                let marks = unit.marks(end, 5);
                assert!(marks.len() <= 6 && marks.iter().all(|mark| *mark <= end), "{unit:?} {end}: {marks:?}");
                let mut words: Vec<String> = marks.iter().map(|mark| unit.word(*mark)).collect();
                words.dedup();
                assert_eq!(words.len(), marks.len(), "{unit:?} {end}: {words:?}");
            }
        }
        assert_eq!(Unit::Count.marks(0.0, 5), [0.0]);
    }
}

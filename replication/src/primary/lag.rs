//! How old the oldest entry is that the secondary has not applied.

use alloc::collections::VecDeque;

use formats::Position;

use crate::Now;

/// Samples kept; when there are more, every second one is dropped and the answer gets coarser, never too small.
const MAX_SAMPLES: usize = 256;

/// Remembers when positions were appended.
#[derive(Clone, Debug, Default)]
pub(super) struct LagClock {
    /// Positions from `.0` on were appended at `.1` or later.
    samples: VecDeque<(Position, Now)>,
}

impl LagClock {
    /// Entries from `from` on were appended at `now`.
    pub(super) fn appended(&mut self, from: Position, now: Now) {
        if self.samples.back().is_some_and(|&(_, last)| last == now) {
            return;
        }
        if self.samples.len() >= MAX_SAMPLES {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.samples.push_back((from, now));
    }

    /// Everything up to `applied` is applied, and the journal ends before `next`: the age of the oldest other entry.
    pub(super) fn age(&mut self, applied: Position, next: Position, now: Now) -> Now {
        if applied.next() >= next {
            self.samples.clear();
            return Now::ZERO;
        }
        while self.samples.get(1).is_some_and(|&(from, _)| from <= applied.next()) {
            self.samples.pop_front();
        }
        self.samples.front().map_or(Now::ZERO, |&(_, at)| now.saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_oldest_entry_not_applied() {
        let mut clock = LagClock::default();
        clock.appended(Position(1), Now::from_secs(10));
        clock.appended(Position(5), Now::from_secs(20));
        assert_eq!(clock.age(Position(0), Position(9), Now::from_secs(30)), Now::from_secs(20));
        assert_eq!(clock.age(Position(4), Position(9), Now::from_secs(30)), Now::from_secs(10));
        assert_eq!(clock.age(Position(8), Position(9), Now::from_secs(30)), Now::ZERO);
    }

    #[test]
    fn many_samples_stay_bounded_and_never_understate() {
        let mut clock = LagClock::default();
        for second in 0..10_000 {
            clock.appended(Position(second + 1), Now::from_secs(second));
        }
        assert!(clock.samples.len() <= MAX_SAMPLES);
        assert!(clock.age(Position(9_000), Position(10_001), Now::from_secs(10_000)) >= Now::from_secs(1_000));
    }
}

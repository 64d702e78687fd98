//! The highest rate at which nothing is lost.

/// The search for the highest rate without an overflow: up or down by steps until it is bracketed, then by halves.
pub(super) struct Rates {
    start: f64,
    /// Highest that held.
    held: Option<f64>,
    /// Lowest that did not.
    overflowed: Option<f64>,
}

impl Rates {
    /// Begins at this rate.
    pub(super) const fn from(start: f64) -> Self {
        Self { start, held: None, overflowed: None }
    }

    /// The one to try next.
    pub(super) fn next(&self) -> f64 {
        match (self.held, self.overflowed) {
            (None, None) => self.start,
            (Some(held), None) => held * 1.4,
            (None, Some(overflowed)) => overflowed * 0.7,
            (Some(held), Some(overflowed)) => f64::midpoint(held, overflowed),
        }
    }

    /// The highest that held, if one did.
    pub(super) const fn held(&self) -> Option<f64> {
        self.held
    }

    /// Whether this one held.
    pub(super) fn tried(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(self.held.map_or(rate, |best| best.max(rate)));
        } else {
            self.overflowed = Some(self.overflowed.map_or(rate, |least| least.min(rate)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_closes_in_on_the_limit() {
        for limit in [90.0, 300.0, 900.0] {
            let mut rates = Rates::from(300.0);
            for _ in 0..20 {
                let rate = rates.next();
                rates.tried(rate, rate <= limit);
            }
            assert!((rates.held().unwrap() - limit).abs() < 1.0, "{limit}: {:?}", rates.held());
        }
    }
}

//! What a replica of this load would need: a log for an outage, a link for a lag.

use formats::entry::HEADER_LEN;
use serde::Serialize;

use super::timeline::TimelineReport;

/// Outages, in seconds.
const OUTAGES: [f64; 5] = [60.0, 300.0, 900.0, 3600.0, 4.0 * 3600.0];
/// Lags, in seconds.
const LAGS: [f64; 4] = [0.1, 1.0, 10.0, 60.0];

/// The log that an outage of the link needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogAdvice {
    /// The outage, in seconds.
    pub outage_seconds: f64,
    /// Bytes of records that come during the busiest stretch of this length.
    pub log_bytes: u64,
    /// The capture is shorter than that: its mean rate goes on.
    pub extrapolated: bool,
}

/// The link that keeps a lag.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinkAdvice {
    /// The longest lag, in seconds.
    pub lag_seconds: f64,
    /// Bytes per second that keep it, without compression.
    pub bytes_per_second: f64,
}

/// Both.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Advice {
    /// By length of the outage.
    pub log: Vec<LogAdvice>,
    /// By lag.
    pub link: Vec<LinkAdvice>,
}

impl Advice {
    /// For this load.
    pub(super) fn of(timeline: &TimelineReport) -> Self {
        let carried = |stretch: &super::timeline::Stretch| {
            stretch.bytes.saturating_add(stretch.commands.saturating_mul(HEADER_LEN as u64))
        };
        let bytes: Vec<u64> = timeline.stretches.iter().map(carried).collect();
        if bytes.is_empty() {
            return Self::default();
        }
        Self {
            log: OUTAGES.iter().map(|outage| log(&bytes, timeline.seconds, *outage)).collect(),
            link: LAGS.iter().map(|lag| link(&bytes, timeline.seconds, *lag)).collect(),
        }
    }
}

fn log(bytes: &[u64], seconds: f64, outage: f64) -> LogAdvice {
    let span = bytes.len() as f64 * seconds;
    let total: u64 = bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes));
    if outage > span {
        let log_bytes = (total as f64 / span * outage) as u64;
        return LogAdvice { outage_seconds: outage, log_bytes, extrapolated: true };
    }
    // A stretch more, as an outage does not begin where a stretch does.
    let stretches = (outage / seconds).ceil() as usize + 1;
    let sums =
        bytes.windows(stretches.min(bytes.len())).map(|window| window.iter().fold(0u64, |a, b| a.saturating_add(*b)));
    LogAdvice { outage_seconds: outage, log_bytes: sums.max().unwrap_or(total), extrapolated: false }
}

/// The lowest rate at which nothing is later than `lag`: whatever comes from the start of any stretch to the end of any
/// later one must be through `lag` after that end.
fn link(bytes: &[u64], seconds: f64, lag: f64) -> LinkAdvice {
    let mut needed: f64 = 0.0;
    for first in 0..bytes.len() {
        let mut sum = 0.0;
        for (count, more) in bytes[first..].iter().enumerate() {
            sum += *more as f64;
            needed = needed.max(sum / ((count + 1) as f64 * seconds + lag));
        }
    }
    LinkAdvice { lag_seconds: lag, bytes_per_second: needed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest lag of a queue that a link of this rate empties, looked at where stretches end.
    fn lag_of(bytes: &[u64], seconds: f64, rate: f64) -> f64 {
        let (mut queue, mut longest) = (0.0f64, 0.0f64);
        for more in bytes {
            queue = (queue + *more as f64 - rate * seconds).max(0.0);
            longest = longest.max(queue / rate);
        }
        longest
    }

    proptest! {
        #[test]
        fn the_link_keeps_the_lag_and_a_slower_one_does_not(
            bytes in proptest::collection::vec(0u64..1_000_000, 1..60), lag in 0.1f64..20.0,
        ) {
            prop_assume!(bytes.iter().sum::<u64>() > 0);
            let advice = link(&bytes, 0.5, lag);
            prop_assert!(lag_of(&bytes, 0.5, advice.bytes_per_second) <= lag * 1.000_001);
            prop_assert!(lag_of(&bytes, 0.5, advice.bytes_per_second * 0.99) > lag * 0.98);
        }
    }

    #[test]
    fn a_log_holds_the_busiest_stretch() {
        let mut bytes = vec![10; 100];
        bytes[50..60].fill(1000);
        assert_eq!(log(&bytes, 30.0, 300.0).log_bytes, 10_010);
        let long = log(&bytes, 30.0, 6000.0);
        assert_eq!((long.log_bytes, long.extrapolated), (21_800, true));
    }
}

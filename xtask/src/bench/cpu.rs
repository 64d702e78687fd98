//! CPU time of the whole machine, as the cost of observing is spread over interrupts, the application and the agent.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of `/proc/stat`, the same on every machine that Linux runs on today.
const TICKS: f64 = 100.0;

/// Busy seconds since boot, over all processors.
pub(crate) fn busy_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse_busy(&stat).context("/proc/stat has no first line of numbers")
}

/// user + nice + system + irq + softirq
fn parse_busy(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(parse_busy("cpu  100 0 50 9999 999 25 25 0 0 0\ncpu0 1\n"), Some(2.0));
        assert_eq!(parse_busy("intr 5\n"), None);
    }
}

//! CPU time: of the whole machine, as the cost of observing is spread over interrupts, the application and the agent;
//! and of programs that were run.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of `/proc/stat`, the same on every machine that Linux runs on today.
const TICKS: f64 = 100.0;

/// Busy seconds since boot, over all processors.
pub(crate) fn busy_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse_busy(&stat).context("/proc/stat has no first line of numbers")
}

/// Seconds that children of this process were busy, of those that were waited for.
pub(crate) fn children_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    parse_children(&stat).context("/proc/self/stat has no times of children")
}

/// cutime + cstime (proc_pid_stat(5)); the name in parentheses may hold anything.
fn parse_children(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(16)? + ticks(17)?) / TICKS)
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
    fn children_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 200 0 0 11 12 130 70 20 0 1 0 5";
        assert_eq!(parse_children(stat), Some(2.0));
        assert_eq!(parse_children("7 (a) S 1"), None);
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(parse_busy("cpu  100 0 50 9999 999 25 25 0 0 0\ncpu0 1\n"), Some(2.0));
        assert_eq!(parse_busy("intr 5\n"), None);
    }
}

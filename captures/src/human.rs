//! Numbers as people read them.

use crate::time::Utc;

/// Bytes, with three figures and the power of 1024.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// A number, with three figures and the power of 1000.
pub(crate) fn count(count: f64) -> String {
    let text = scaled(count, 1000.0, &["", "k", "M", "G", "T", "P", "E"]);
    text.trim_end().to_owned()
}

/// Nanoseconds, with three figures.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..60_000_000_000 => scaled(ns as f64, 1000.0, &["ns", "µs", "ms", "s"]),
        _ => seconds(ns as f64 / 1e9),
    }
}

/// Seconds, as minutes and hours where there are many.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => time((s.max(0.0) * 1e9) as u64),
        s if s < 3600.0 => figures(s / 60.0) + " min",
        s => figures(s / 3600.0) + " h",
    }
}

/// A share.
pub(crate) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.001 { "<0.1 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value, 0);
    while value >= step * 0.9995 && unit + 1 < units.len() {
        (value, unit) = (value / step, unit + 1);
    }
    format!("{} {}", figures(value), units.get(unit).unwrap_or(&""))
}

/// Three figures; whole numbers as they are.
fn figures(value: f64) -> String {
    match value {
        v if v.fract() == 0.0 || v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Nanoseconds since 1970 as date and time of UTC, to the second.
pub(crate) fn utc(ns: u64) -> String {
    let text = Utc(ns).to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ") + " UTC"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_figures() {
        assert_eq!((bytes(0), bytes(1536), bytes(1 << 40)), ("0 B".into(), "1.50 KiB".into(), "1 TiB".into()));
        assert_eq!((count(999.0), count(12_345.0)), ("999".into(), "12.3 k".into()));
        assert_eq!((time(1500), time(90_000_000_000)), ("1.50 µs".into(), "1.50 min".into()));
        assert_eq!((percent(0.0), percent(0.0001), percent(0.256)), ("0.0 %".into(), "<0.1 %".into(), "25.6 %".into()));
    }

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_709_210_096_000_000_000), "2024-02-29 12:34:56 UTC");
        assert_eq!(utc(u64::MAX), "2554-07-21 23:34:33 UTC");
    }
}

//! Sizes and durations as people write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use thiserror::Error;

/// A number of bytes: `64K`, `1G`, `4096`. Powers of 1024, with or without `iB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Size(pub(crate) u64);

/// Why a text is no size.
#[derive(Debug, Error)]
#[error("{0:?} is no size: write a number of bytes with K, M, G or T, such as 64K or 1G")]
pub(crate) struct NotASize(String);

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let bad = || NotASize(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let shift = match unit.trim().trim_end_matches("iB").trim_end_matches('B') {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(bad()),
        };
        let count: u64 = count.parse().map_err(|_| bad())?;
        count.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bytes(self.0))
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"1G\" or a number of bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Size, E> {
        u64::try_from(count).map(Size).map_err(|_| E::custom("a size is not negative"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(SizeVisitor)
    }
}

/// A time: `500ms`, `90s`, `10m`, `2h`; a bare number counts seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Time(pub(crate) Duration);

/// Why a text is no time.
#[derive(Debug, Error)]
#[error("{0:?} is no time: write a number with ms, s, m or h, such as 90s")]
pub(crate) struct NotATime(String);

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let bad = || NotATime(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| bad())?;
        let factor = match unit.trim() {
            "ms" => return Ok(Self(Duration::from_millis(count))),
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return Err(bad()),
        };
        count.checked_mul(factor).map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(bad)
    }
}

/// `each`, `never`, `interval` or `interval:100ms`: when journalled entries are made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sync(pub(crate) journal::SyncPolicy);

/// What `interval` alone means.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);

impl Default for Sync {
    fn default() -> Self {
        Self(journal::SyncPolicy::Interval(SYNC_INTERVAL))
    }
}

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("each", "") => Ok(Self(journal::SyncPolicy::Each)),
            ("never", "") => Ok(Self(journal::SyncPolicy::Never)),
            ("interval", "") => Ok(Self(journal::SyncPolicy::Interval(SYNC_INTERVAL))),
            ("interval", time) => {
                let time: Time = time.parse().map_err(|error: NotATime| error.to_string())?;
                Ok(Self(journal::SyncPolicy::Interval(time.0)))
            }
            _ => Err(format!("{text:?} is none of each, never, interval, interval:100ms")),
        }
    }
}

impl<'de> Deserialize<'de> for Sync {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A duration for people: three figures at most.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => format!("{} ms", time.as_millis()),
        1000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => indicatif::HumanDuration(time).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!(size("4096"), Some(4096));
        assert_eq!((size("64K"), size("1GiB"), size("2 MB")), (Some(65536), Some(1 << 30), Some(2 << 20)));
        for bad in ["", "K", "-1", "1X", "1.5G", "99999999999T"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn times() {
        let time = |text: &str| text.parse::<Time>().ok().map(|time| time.0.as_millis());
        assert_eq!(
            (time("500ms"), time("2"), time("3m"), time("1h")),
            (Some(500), Some(2000), Some(180_000), Some(3_600_000))
        );
        assert_eq!((time(""), time("1d"), time("99999999999999999999h")), (None, None, None));
    }

    #[test]
    fn sync_policies() {
        use journal::SyncPolicy;
        let policy = |text: &str| text.parse::<Sync>().ok().map(|sync| sync.0);
        assert_eq!(policy("each"), Some(SyncPolicy::Each));
        assert_eq!(policy("interval:5ms"), Some(SyncPolicy::Interval(Duration::from_millis(5))));
        assert_eq!((policy("each:5ms"), policy("sometimes"), policy("interval:x")), (None, None, None));
    }

    #[test]
    fn durations_have_few_figures() {
        assert_eq!(duration(Duration::from_micros(1500)), "1 ms");
        assert_eq!(duration(Duration::from_millis(2340)), "2.3 s");
    }
}

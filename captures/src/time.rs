//! Moments in UTC as people write them (RFC 3339).

use std::fmt;

const NANOS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Nanoseconds since 1970, UTC, shown as `2026-03-01T12:00:00.000000000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / NANOS, self.0 % NANOS);
        let (year, month, day) = civil(seconds / DAY);
        let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Year, month and day of a day since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Days since 1970 of a date; None of one that is none.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Nanoseconds since 1970 of `2026-03-01T12:00:00[.123][Z|+01:00]` (a blank in place of the T too, UTC without an offset).
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (date, clock) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, offset) = split_offset(clock)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let local = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    local.checked_add_signed(-offset)?.checked_mul(NANOS)?.checked_add(nanos(fraction)?)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let parts: Option<Vec<u64>> = text.split(separator).map(whole).collect();
    parts?.try_into().ok()
}

fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn nanos(fraction: &str) -> Option<u64> {
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    whole(fraction).and_then(|_| whole(&digits))
}

/// The clock without its offset from UTC, and that in seconds.
fn split_offset(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(sign) = clock.rfind(['+', '-']) else { return Some((clock, 0)) };
    let [hours, minutes] = numbers(&clock[sign + 1..], ':')?;
    let seconds = (hours <= 23 && minutes <= 59).then_some((hours * 3600 + minutes * 60) as i64)?;
    Some((&clock[..sign], if clock[sign..].starts_with('-') { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(Utc(1_700_000_000_000_000_007).to_string(), "2023-11-14T22:13:20.000000007Z");
        assert_eq!(parse("2023-11-14T22:13:20.000000007Z"), Some(1_700_000_000_000_000_007));
        assert_eq!(parse("2023-11-14 23:13:20.5+01:00"), Some(1_700_000_000_500_000_000));
        assert_eq!(parse("2024-02-29T00:00:00"), Some(1_709_164_800_000_000_000));
        for bad in
            ["", "2023-02-29T00:00:00", "2023-11-14", "2023-11-14T24:00:00", "2023-11-14T1:2", "x", "1-1-1T1:1:1"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(ns in 0..u64::MAX / 2) {
            prop_assert_eq!(parse(&Utc(ns).to_string()), Some(ns));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}

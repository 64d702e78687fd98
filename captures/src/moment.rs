//! Moments of a capture: after a completion, at a time, at a mark.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use formats::{Entry, Seq};
use thiserror::Error;

use crate::reader::Item;
use crate::time::{self, Utc};

/// A moment. What counts before it is always the beginning of the order of completion, whole up to some place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Moment {
    /// After the completion of this number; 0 is before the first one.
    Seq(Seq),
    /// At this time: before the first command that completed later. Nanoseconds since 1970, UTC.
    Time(u64),
    /// So long after the capture began.
    After(Duration),
    /// Where the mark with this text stands.
    Mark(String),
    /// The end of the capture.
    End,
}

/// Why a capture has no such moment.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum MomentError {
    /// The capture ends before.
    #[error("the capture ends at seq {last}, before seq {wanted}: name an earlier one, or `end`")]
    SeqBeyond {
        /// The number asked for.
        wanted: Seq,
        /// The last one there is.
        last: Seq,
    },
    /// The number lies before what is captured.
    #[error("the capture begins at seq {first}, after seq {wanted}: name a later one, or `start`")]
    SeqBefore {
        /// The number asked for.
        wanted: Seq,
        /// The first one there is.
        first: Seq,
    },
    /// The capture does not cover the time.
    #[error("the capture covers {from} to {to}, and not {wanted}")]
    TimeOutside {
        /// The time asked for.
        wanted: Utc,
        /// The beginning.
        from: Utc,
        /// The end, as far as it is known.
        to: Utc,
    },
    /// No such mark.
    #[error(
        "no mark says {0:?}; a moment is a seq, a time (2026-03-01T12:00:00Z, +90s), a mark's text, `start` or `end`"
    )]
    NoMark(String),
    /// Several such marks.
    #[error("{count} marks say {text:?}: name the moment by its seq")]
    ManyMarks {
        /// Their text.
        text: String,
        /// How many.
        count: u64,
    },
    /// The end comes before the beginning.
    #[error("nothing lies between {from} and {until}: the first moment must come before the second one")]
    Contrary {
        /// The beginning asked for.
        from: Moment,
        /// The end asked for.
        until: Moment,
    },
}

impl FromStr for Moment {
    type Err = std::convert::Infallible;

    /// A number is a seq, `+TIME` counts from the beginning, RFC 3339 is a time, `mark:TEXT` and any other text a mark.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbered = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Ok(match text {
            "end" => Self::End,
            "start" => Self::Seq(Seq(0)),
            _ => (numbered.map(|seq| Self::Seq(Seq(seq))))
                .or_else(|| text.strip_prefix("mark:").map(|text| Self::Mark(text.to_owned())))
                .or_else(|| time::parse(text).map(Self::Time))
                .or_else(|| text.strip_prefix('+').and_then(after).map(Self::After))
                .unwrap_or_else(|| Self::Mark(text.to_owned())),
        })
    }
}

/// `90`, `1.5s`, `20ms`, `3m`, `2h`.
fn after(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1.0,
        "us" => 1e-6,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(count.parse::<f64>().ok()? * factor).ok()
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(Seq(0)) => f.write_str("start"),
            Self::Seq(seq) => write!(f, "seq {seq}"),
            Self::Time(ns) => Utc(*ns).fmt(f),
            Self::After(time) => write!(f, "+{}s", time.as_secs_f64()),
            Self::Mark(text) => write!(f, "mark {text:?}"),
            Self::End => f.write_str("end"),
        }
    }
}

/// Looks at the items of a capture, one after the other, and says which lie before a moment.
#[derive(Debug, Clone)]
pub struct Before {
    moment: Moment,
    started_ns: u64,
    passed: bool,
    first: Option<Seq>,
    last: Seq,
    last_ns: u64,
    ended_ns: u64,
    marks: u64,
}

impl Before {
    /// Of a capture that began then, in nanoseconds since 1970.
    #[must_use]
    pub fn new(moment: &Moment, started_ns: u64) -> Self {
        let moment = match moment {
            Moment::After(time) => Moment::Time(started_ns.saturating_add(time.as_nanos() as u64)),
            other => other.clone(),
        };
        let (last, passed) = (Seq(0), false);
        Self { moment, started_ns, passed, first: None, last, last_ns: 0, ended_ns: 0, marks: 0 }
    }

    /// Whether the item belongs to what lies before the moment. Once one does not, none does.
    pub fn takes(&mut self, item: &Item) -> bool {
        match item {
            Item::Entry(entry) => self.takes_entry(&entry.header.entry),
            Item::Mark { at_ns, text } => self.mark(*at_ns, text),
            Item::Statistics(statistics) => self.ended_ns = self.ended_ns.max(statistics.ended_ns),
        }
        !self.passed
    }

    fn takes_entry(&mut self, entry: &Entry) {
        let (first, last, ns) = match entry {
            Entry::Record(record) => (record.seq, record.seq, record.origin.completed_ns),
            Entry::Gap(gap) => (gap.first, gap.last, self.last_ns),
            Entry::Region(_) => return,
        };
        self.passed |= match self.moment {
            // A gap that reaches beyond the moment has lost something before it.
            Moment::Seq(seq) => first > seq,
            Moment::Time(time) => ns > time,
            _ => false,
        };
        self.first.get_or_insert(first);
        (self.last, self.last_ns) = (last, self.last_ns.max(ns));
    }

    /// Whether the item is a gap with numbers behind the moment; it may have others before it.
    fn is_reached_over(&self, item: &Item) -> bool {
        let (Item::Entry(entry), Moment::Seq(seq)) = (item, &self.moment) else { return false };
        matches!(entry.header.entry, Entry::Gap(gap) if gap.last > *seq)
    }

    fn mark(&mut self, at_ns: u64, text: &str) {
        self.last_ns = self.last_ns.max(at_ns);
        if matches!(&self.moment, Moment::Mark(wanted) if wanted == text) {
            self.marks += 1;
            self.passed = true;
        }
    }

    /// Whether the moment is behind what was looked at: nothing more lies before it.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.passed
    }

    /// After all items: whether the capture has the moment at all.
    ///
    /// # Errors
    /// What it has instead.
    pub fn reached(&self) -> Result<(), MomentError> {
        let ended = self.last_ns.max(self.ended_ns);
        match &self.moment {
            Moment::Seq(wanted) if *wanted > self.last => {
                Err(MomentError::SeqBeyond { wanted: *wanted, last: self.last })
            }
            Moment::Seq(wanted) => match self.first {
                Some(first) if wanted.0 > 0 && wanted.next() < first => {
                    Err(MomentError::SeqBefore { wanted: *wanted, first })
                }
                _ => Ok(()),
            },
            Moment::Time(wanted) if *wanted < self.started_ns || *wanted > ended => {
                Err(MomentError::TimeOutside { wanted: Utc(*wanted), from: Utc(self.started_ns), to: Utc(ended) })
            }
            Moment::Mark(text) if self.marks == 0 => Err(MomentError::NoMark(text.clone())),
            Moment::Mark(text) if self.marks > 1 => {
                Err(MomentError::ManyMarks { text: text.clone(), count: self.marks })
            }
            _ => Ok(()),
        }
    }
}

/// Looks at the items of a capture, one after the other, and says which lie between two moments. A gap that reaches over
/// one of them belongs to what lies between.
#[derive(Debug, Clone)]
pub struct Between {
    from: Before,
    until: Before,
    /// Nothing lies before the first one.
    from_start: bool,
    asked: (Moment, Moment),
}

impl Between {
    /// Of a capture that began then, in nanoseconds since 1970.
    ///
    /// # Errors
    /// The moments alone say that nothing lies between them.
    pub fn new(from: &Moment, until: &Moment, started_ns: u64) -> Result<Self, MomentError> {
        let between = Self {
            from: Before::new(from, started_ns),
            until: Before::new(until, started_ns),
            from_start: *from == Moment::Seq(Seq(0)),
            asked: (from.clone(), until.clone()),
        };
        let is_contrary = match (&between.from.moment, &between.until.moment) {
            (Moment::Seq(from), Moment::Seq(until)) => from >= until,
            (Moment::Time(from), Moment::Time(until)) => from >= until,
            (Moment::Mark(from), Moment::Mark(until)) => from == until,
            (Moment::End, _) | (_, Moment::Seq(Seq(0))) => true,
            _ => false,
        };
        if is_contrary { Err(between.contrary()) } else { Ok(between) }
    }

    fn contrary(&self) -> MomentError {
        let (from, until) = self.asked.clone();
        MomentError::Contrary { from, until }
    }

    /// Whether the item lies between.
    ///
    /// # Errors
    /// The second moment came before the first one.
    pub fn takes(&mut self, item: &Item) -> Result<bool, MomentError> {
        let is_before = self.from.takes(item) && !self.from.is_reached_over(item);
        let is_inside = self.until.takes(item);
        match is_before && !self.from_start {
            true if is_inside => Ok(false),
            true => Err(self.contrary()),
            false => Ok(is_inside),
        }
    }

    /// Whether nothing more can lie between.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until.is_passed()
    }

    /// After all items: whether the capture has both moments.
    ///
    /// # Errors
    /// What it has instead.
    pub fn reached(&self) -> Result<(), MomentError> {
        self.from.reached()?;
        self.until.reached()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        text.parse().unwrap()
    }

    #[test]
    fn words() {
        assert_eq!(moment("12"), Moment::Seq(Seq(12)));
        assert_eq!((moment("start"), moment("end")), (Moment::Seq(Seq(0)), Moment::End));
        assert_eq!(moment("+1.5s"), Moment::After(Duration::from_millis(1500)));
        assert_eq!(moment("+20ms"), Moment::After(Duration::from_millis(20)));
        assert_eq!(moment("2023-11-14T22:13:20Z"), Moment::Time(1_700_000_000_000_000_000));
        assert_eq!(moment("mark:12"), Moment::Mark("12".into()));
        assert_eq!(moment("before the upgrade"), Moment::Mark("before the upgrade".into()));
    }

    #[test]
    fn what_ends_before_it_begins_is_contrary() {
        let between = |from: &str, until: &str| Between::new(&moment(from), &moment(until), 1_700_000_000_000_000_000);
        for (from, until) in [
            ("9", "2"),
            ("5", "5"),
            ("+2s", "+1s"),
            ("2023-11-14T22:13:22Z", "+1s"),
            ("end", "end"),
            ("3", "start"),
            ("a", "a"),
        ] {
            assert!(matches!(between(from, until), Err(MomentError::Contrary { .. })), "{from} {until}");
        }
        for (from, until) in [("start", "end"), ("2", "9"), ("+1s", "+2s"), ("a", "b"), ("a", "9"), ("+1s", "9")] {
            assert!(between(from, until).is_ok(), "{from} {until}");
        }
        // Of moments of two kinds only the capture tells which comes first.
        let mark = |text: &str| Item::Mark { at_ns: 1, text: text.into() };
        let mut contrary = between("a", "b").unwrap();
        assert!(matches!(contrary.takes(&mark("b")), Err(MomentError::Contrary { .. })));
        let mut fine = between("a", "b").unwrap();
        let taken = ["x", "a", "y", "b", "z"].map(|text| fine.takes(&mark(text)).unwrap());
        assert_eq!((taken, fine.reached()), ([false, true, true, false, false], Ok(())));
    }
}

//! What a capture holds, in numbers that are gathered in passing.

use std::collections::BTreeMap;

use formats::{Entry, PayloadEncoding, Record};
use serde::Serialize;

use crate::meta::Statistics;
use crate::reader::{CapturedEntry, Item};

/// Marks that are kept by their text; all are counted.
const MARKS: usize = 100;

/// Commands of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub commands: u64,
    /// Bytes of their ranges.
    pub bytes: u64,
    /// How many failed, or ended unseen.
    pub failed: u64,
    /// Sum of the times they took, in nanoseconds.
    pub took_ns: u64,
    /// The longest.
    pub longest_ns: u64,
}

/// A moment that was marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When, in nanoseconds since 1970, UTC.
    pub at_ns: u64,
    /// Its text.
    pub text: String,
}

/// Numbers of a capture; its memory does not grow with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Commands, by the volume index of their device and their operation.
    pub by_device: BTreeMap<u16, BTreeMap<&'static str, Tally>>,
    /// Commands in all.
    pub commands: u64,
    /// First and last number; none without commands.
    pub seq: Option<(u64, u64)>,
    /// When the first command was issued and the last one completed, in nanoseconds since 1970, UTC.
    pub span_ns: Option<(u64, u64)>,
    /// Bytes of content that the file keeps.
    pub content_bytes: u64,
    /// Commands of zeros, which are said only.
    pub zeros: u64,
    /// Writes without payload.
    pub without_payload: u64,
    /// Commands of whose payload the file does not keep all.
    pub cut: u64,
    /// Stretches of lost completions, and how many they are.
    pub gaps: u64,
    /// Completions in them.
    pub gap_completions: u64,
    /// Regions that were read back.
    pub regions: u64,
    /// How many moments were marked.
    pub mark_count: u64,
    /// The first of them.
    pub marks: Vec<Mark>,
    /// What is said at the ends of the files, together; none when nothing is.
    pub statistics: Option<Box<Statistics>>,
    /// How many files say something at their end.
    pub ends: u64,
}

impl Summary {
    /// Takes one more item.
    pub fn add(&mut self, item: &Item) {
        match item {
            Item::Entry(entry) => self.entry(entry),
            Item::Mark { at_ns, text } => {
                self.mark_count += 1;
                if self.marks.len() < MARKS {
                    self.marks.push(Mark { at_ns: *at_ns, text: text.clone() });
                }
            }
            Item::Statistics(statistics) => {
                let before = self.statistics.as_deref().cloned().unwrap_or_default();
                self.statistics = Some(Box::new(before.plus(statistics)));
                self.ends += 1;
            }
        }
    }

    fn entry(&mut self, entry: &CapturedEntry) {
        match &entry.header.entry {
            Entry::Record(record) => self.record(record, entry),
            Entry::Gap(gap) => {
                self.gaps += 1;
                self.gap_completions += gap.last.0.saturating_sub(gap.first.0).saturating_add(1);
            }
            Entry::Region(_) => self.regions += 1,
        }
    }

    fn record(&mut self, record: &Record, entry: &CapturedEntry) {
        let (seq, origin) = (record.seq.0, &record.origin);
        let took = origin.completed_ns.saturating_sub(origin.issued_ns);
        self.commands += 1;
        self.seq = Some(self.seq.map_or((seq, seq), |(first, last)| (first.min(seq), last.max(seq))));
        let span = (origin.issued_ns, origin.completed_ns);
        self.span_ns = Some(self.span_ns.map_or(span, |(first, last)| (first.min(span.0), last.max(span.1))));
        self.content_bytes += entry.content.len() as u64;
        self.cut += u64::from(entry.missing > 0);
        let encoding = entry.header.payload.encoding;
        let writes = record.op == formats::Op::Write && !record.range.is_empty();
        self.zeros += u64::from(encoding == PayloadEncoding::Zero);
        self.without_payload += u64::from(writes && encoding == PayloadEncoding::None);
        let tally = self.by_device.entry(record.volume.0).or_default().entry(record.op.name()).or_default();
        tally.commands += 1;
        tally.bytes += record.range.len;
        tally.failed += u64::from(!record.status.is_ok());
        tally.took_ns = tally.took_ns.saturating_add(took);
        tally.longest_ns = tally.longest_ns.max(took);
    }
}

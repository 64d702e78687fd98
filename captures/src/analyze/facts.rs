//! What the analysis needs of each entry: made on several threads, before order matters.

use formats::command::Command;
use formats::scsi::{self, DeviceType};
use formats::{Entry, Gap, PayloadEncoding, Record};

use super::content::{ContentSums, Sampler};
use crate::meta::{Device, Statistics};
use crate::reader::{CapturedEntry, Item, Sink};
use crate::scan::Batch;

/// Parts that are looked at thoroughly: a small capture as a whole.
const THOROUGH_PARTS: u64 = 16;

/// One thing in the capture.
#[derive(Debug)]
pub(super) enum Fact {
    Command(Box<str>, Record),
    Plain(Record),
    Gap(Gap),
    Region,
    Mark(u64, String),
    Statistics(Box<Statistics>),
}

/// What a part holds.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) devices: Vec<Device>,
    pub(super) facts: Vec<Fact>,
    pub(super) content: ContentSums,
}

impl Facts {
    /// Those of a part that was gathered.
    pub(super) fn of(part: Batch<Gathered>) -> Self {
        let Gathered { facts, content, .. } = part.items;
        Self { devices: part.devices, facts, content }
    }
}

/// Looks at a part while it is read.
pub(super) struct Gathered {
    sampler: Sampler,
    facts: Vec<Fact>,
    content: ContentSums,
}

impl Gathered {
    /// Nothing yet of the part with this index.
    pub(super) fn begin(index: u64) -> Self {
        let sampler = Sampler::new(index < THOROUGH_PARTS);
        Self { sampler, facts: Vec::new(), content: ContentSums::default() }
    }
}

impl Sink for Gathered {
    fn entry(&mut self, entry: CapturedEntry) {
        self.facts.push(entry_fact(&entry, &mut self.content, &mut self.sampler));
    }

    fn other(&mut self, item: Item) {
        match item {
            Item::Entry(entry) => self.entry(*entry),
            Item::Mark { at_ns, text } => self.facts.push(Fact::Mark(at_ns, text)),
            Item::Statistics(statistics) => self.facts.push(Fact::Statistics(statistics)),
        }
    }
}

fn entry_fact(entry: &CapturedEntry, content: &mut ContentSums, sampler: &mut Sampler) -> Fact {
    match entry.header.entry {
        Entry::Record(record) => {
            match entry.header.payload.encoding {
                PayloadEncoding::Data => content.add(&entry.content, record.seq.0, sampler),
                PayloadEncoding::Zero => content.add_zeros(record.range.len),
                PayloadEncoding::None => {}
            }
            match words(entry, &record) {
                Some(words) => Fact::Command(words.into(), record),
                None => Fact::Plain(record),
            }
        }
        Entry::Gap(gap) => Fact::Gap(gap),
        Entry::Region(_) => Fact::Region,
    }
}

/// A command that failed, or is no plain one, in words.
fn words(entry: &CapturedEntry, record: &Record) -> Option<String> {
    if entry.trailer.is_empty() && record.status.is_ok() {
        return None;
    }
    let seen = Command::decode(&entry.trailer).ok();
    let device = seen.as_ref().map_or(DeviceType::DISK, |command| command.device);
    let name = seen.as_ref().and_then(|command| scsi::decode(command.cdb, device).ok()).map(|known| known.to_string());
    if record.status.is_ok() {
        return name;
    }
    let outcome = seen.as_ref().and_then(|command| command.outcome().ok());
    let sense = outcome.and_then(|outcome| outcome.sense).map(|sense| format!(", {sense}")).unwrap_or_default();
    Some(format!("{}: {}{sense}", name.unwrap_or_else(|| record.op.name().to_owned()), record.status.name()))
}

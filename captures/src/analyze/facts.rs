//! What the analysis needs of each entry: made on several threads, before order matters.

use formats::command::Command;
use formats::scsi::{self, DeviceType};
use formats::{Entry, Gap, PayloadEncoding, Record};

use super::content::{ContentSums, Sampler};
use crate::meta::{Device, Statistics};
use crate::reader::{CapturedEntry, Item};
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
    /// Looks at a part.
    pub(super) fn of(part: Batch) -> Self {
        let mut sampler = Sampler::new(part.index < THOROUGH_PARTS);
        let mut content = ContentSums::default();
        let facts = part.items.into_iter().map(|item| fact(item, &mut content, &mut sampler)).collect();
        Self { devices: part.devices, facts, content }
    }
}

fn fact(item: Item, content: &mut ContentSums, sampler: &mut Sampler) -> Fact {
    match item {
        Item::Entry(entry) => entry_fact(&entry, content, sampler),
        Item::Mark { at_ns, text } => Fact::Mark(at_ns, text),
        Item::Statistics(statistics) => Fact::Statistics(statistics),
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

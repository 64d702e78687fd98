//! Captures out of captures: parts of one, several as one, without content; and how two differ. All as streams.

mod diff;
mod merge;

use std::io::{Read, Write};

use formats::{ByteRange, Entry, Op, PayloadEncoding, Record};
use thiserror::Error;

use crate::analyze::comm_of;
use crate::error::{ReadError, WriteError};
use crate::meta::{Lost, Section, Statistics};
use crate::reader::{CapturedEntry, Item, Reader};
use crate::writer::Writer;

pub use diff::{Difference, diff};
pub use merge::merge;

/// Why a capture cannot be edited.
#[derive(Debug, Error)]
pub enum EditError {
    /// An input cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Nothing to merge.
    #[error("no captures to merge")]
    Nothing,
    /// More devices than a capture can name.
    #[error("the captures have more than 65536 devices together")]
    Devices,
}

/// Which commands are kept. What is empty keeps all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// From this moment of completion on, in nanoseconds since 1970, UTC.
    pub from_ns: Option<u64>,
    /// Up to this moment, itself not.
    pub until_ns: Option<u64>,
    /// From this place in the order of completion on.
    pub from_seq: Option<u64>,
    /// Up to this place, itself included.
    pub until_seq: Option<u64>,
    /// From this mark on: what was written behind it.
    pub from_mark: Option<String>,
    /// Up to this mark: what was written before it.
    pub until_mark: Option<String>,
    /// On devices of these names.
    pub devices: Vec<String>,
    /// Of these kinds.
    pub ops: Vec<Op>,
    /// That touch one of these ranges of bytes.
    pub ranges: Vec<ByteRange>,
    /// Of tasks of these names.
    pub comms: Vec<String>,
    /// That failed, or whose end nobody saw.
    pub failed_only: bool,
}

/// What is kept of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strip {
    /// All that is there.
    #[default]
    Nothing,
    /// The checksum of each payload, in its place.
    Content,
    /// Not even that: nothing tells what was written.
    All,
}

/// What an edit came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Edited {
    /// Entries that were kept.
    pub kept: u64,
    /// Entries that were left out because they were not selected.
    pub left_out: u64,
    /// Entries that could not be kept, because their input has them in part only.
    pub broken: u64,
    /// Bytes at the ends of the inputs that belong to nothing whole.
    pub cut_bytes: u64,
}

/// Writes what is selected of a capture, stripped.
///
/// # Errors
/// When the capture is damaged or the output fails. What was written until then is no result.
pub fn copy<R: Read, W: Write>(
    mut reader: Reader<R>,
    out: W,
    selection: &Selection,
    strip: Strip,
) -> Result<(W, Edited), EditError> {
    let section = edited(reader.section(), selection, strip);
    let mut writer = Writer::new(out, &section, &[])?;
    let (mut state, mut result) = (State::of(selection), Edited::default());
    let mut devices = 0;
    let mut statistics = None;
    while let Some(item) = reader.next_item()? {
        for device in reader.devices().skip(devices) {
            writer.add_device(device)?;
            devices += 1;
        }
        let names = |volume: u16| reader.devices().find(|device| device.volume == volume).map(|device| &*device.name);
        match item {
            Item::Entry(entry) if state.keeps(selection, &entry, names) => {
                keep(&mut writer, *entry, strip, &mut result)?;
            }
            Item::Entry(_) => result.left_out += 1,
            Item::Mark { at_ns, text } => {
                if state.mark(selection, &text) {
                    writer.mark(at_ns, &text)?;
                }
            }
            Item::Statistics(ended) => statistics = Some(ended),
        }
    }
    result.cut_bytes = reader.tail().map_or(0, |tail| tail.bytes);
    if let Some(statistics) = statistics {
        writer.statistics(&Statistics { records: result.kept, ..*statistics })?;
    }
    Ok((writer.finish()?, result))
}

fn keep<W: Write>(
    writer: &mut Writer<W>,
    entry: CapturedEntry,
    strip: Strip,
    result: &mut Edited,
) -> Result<(), EditError> {
    if entry.trailer.len() != entry.header.payload.trailer as usize {
        result.broken += 1;
        return Ok(());
    }
    result.kept += 1;
    Ok(writer.write_captured(&stripped(entry, strip))?)
}

fn stripped(mut entry: CapturedEntry, strip: Strip) -> CapturedEntry {
    let info = &mut entry.header.payload;
    if strip == Strip::Nothing || info.encoding != PayloadEncoding::Data {
        return entry;
    }
    if strip == Strip::Content {
        entry.missing = info.content_len();
    } else {
        entry.missing = 0;
        info.encoding = PayloadEncoding::None;
        info.len = info.trailer;
        info.crc = formats::Crc32c::of(&entry.trailer);
        if entry.trailer.is_empty() {
            info.crc = formats::Crc32c(0);
        }
    }
    entry.content = Vec::new();
    entry
}

/// The section says what was left out.
fn edited(section: &Section, selection: &Selection, strip: Strip) -> Section {
    let mut words = Vec::new();
    if !section.filter.is_empty() {
        words.push(section.filter.clone());
    }
    if *selection != Selection::default() {
        words.push("edited: a part was selected".to_owned());
    }
    if strip != Strip::Nothing {
        words.push("edited: content was removed".to_owned());
    }
    let payload = section.payload && strip == Strip::Nothing;
    Section { filter: words.join("; "), payload, ..section.clone() }
}

/// Where between its marks a selection is.
struct State {
    begun: bool,
    ended: bool,
}

impl State {
    fn of(selection: &Selection) -> Self {
        Self { begun: selection.from_mark.is_none(), ended: false }
    }

    /// Whether the mark itself is kept.
    fn mark(&mut self, selection: &Selection, text: &str) -> bool {
        self.begun |= selection.from_mark.as_deref() == Some(text);
        let kept = self.begun && !self.ended;
        self.ended |= self.begun && selection.until_mark.as_deref() == Some(text);
        kept
    }

    fn keeps<'a>(&self, selection: &Selection, entry: &CapturedEntry, name: impl Fn(u16) -> Option<&'a str>) -> bool {
        if !self.begun || self.ended {
            return false;
        }
        match &entry.header.entry {
            Entry::Record(record) => selection.keeps(record, &name),
            Entry::Region(region) => {
                let is_place = selection.place(region.range);
                is_place && selection.device(name(region.volume.0)) && selection.ops.is_empty()
            }
            // What is not there may have been anything.
            Entry::Gap(gap) => {
                selection.from_seq.is_none_or(|from| gap.last.0 >= from)
                    && selection.until_seq.is_none_or(|until| gap.first.0 <= until)
            }
        }
    }
}

impl Selection {
    fn keeps<'a>(&self, record: &Record, name: &impl Fn(u16) -> Option<&'a str>) -> bool {
        let (seq, at_ns) = (record.seq.0, record.origin.completed_ns);
        let in_time = self.from_ns.is_none_or(|from| at_ns >= from) && self.until_ns.is_none_or(|until| at_ns < until);
        let in_order = self.from_seq.is_none_or(|from| seq >= from) && self.until_seq.is_none_or(|until| seq <= until);
        let is_op = self.ops.is_empty() || self.ops.contains(&record.op);
        let is_task = self.comms.is_empty() || self.comms.contains(&comm_of(&record.origin.comm));
        let is_failed = !self.failed_only || !record.status.is_ok();
        let kept = in_time && in_order && is_op && is_task && is_failed;
        kept && self.place(record.range) && self.device(name(record.volume.0))
    }

    fn place(&self, range: ByteRange) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|wanted| wanted.overlaps(range))
    }

    fn device(&self, name: Option<&str>) -> bool {
        self.devices.is_empty() || name.is_some_and(|name| self.devices.iter().any(|wanted| wanted == name))
    }
}

/// What was lost in both.
fn lost_together(a: Lost, b: Lost) -> Lost {
    Lost {
        completions: a.completions + b.completions,
        unwritten: a.unwritten + b.unwritten,
        unseen: a.unseen + b.unseen,
        untracked: a.untracked + b.untracked,
        uncarried: a.uncarried + b.uncarried,
        payloads: a.payloads + b.payloads,
    }
}

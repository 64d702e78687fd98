//! Captures out of captures: parts of one, several as one, without content; and how two differ. All as streams.

mod diff;
mod merge;

use std::io::Write;

use formats::PayloadEncoding;
use thiserror::Error;

use crate::error::WriteError;
use crate::meta::{Section, Statistics};
use crate::moment::MomentError;
use crate::reader::{CapturedEntry, Item};
use crate::select::{SelectError, Selection};
use crate::series::{Series, SeriesError};
use crate::writer::Writer;

pub use diff::{Difference, diff};
pub use merge::merge;

/// Why a capture cannot be edited.
#[derive(Debug, Error)]
pub enum EditError {
    /// An input cannot be read, or its files are not one capture.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The capture does not have what was asked for.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Nothing to merge.
    #[error("no captures to merge")]
    Nothing,
    /// More devices than a capture can name.
    #[error("the captures have more than 65536 devices together")]
    Devices,
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<MomentError> for EditError {
    fn from(error: MomentError) -> Self {
        Self::Select(error.into())
    }
}

/// Items between two looks at the progress.
const LOOK_EVERY: u64 = 256;

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

/// Writes what is selected of a capture, stripped. Several files become one. `progress` is told the bytes read and in all, and
/// ends it with false.
///
/// # Errors
/// When the capture is damaged, does not have what was asked for, or the output fails. What was written until then is no
/// result.
pub fn copy<W: Write>(
    mut input: Series,
    out: W,
    selection: &Selection,
    strip: Strip,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(W, Edited), EditError> {
    let mut writer = Writer::new(out, &edited(input.section(), selection, strip), &[])?;
    let mut chooser = selection.begin(input.section().started_ns)?;
    let (mut result, mut described, mut ends) = (Edited::default(), 0, Ends::default());
    let mut look = Look::default();
    while let Some(item) = input.next_item()? {
        for device in &input.devices()[described..] {
            writer.add_device(device)?;
        }
        described = input.devices().len();
        let is_chosen = chooser.takes(&item, input.devices())?;
        match item {
            Item::Statistics(ended) => ends.add(&ended),
            Item::Entry(entry) if is_chosen => keep(&mut writer, *entry, strip, &mut result)?,
            Item::Entry(_) => result.left_out += 1,
            Item::Mark { at_ns, text } if is_chosen => writer.mark(at_ns, &text)?,
            Item::Mark { .. } => {}
        }
        let (done, total) = input.progress();
        look.at(|| progress(done, total))?;
    }
    chooser.end(input.devices())?;
    result.cut_bytes = input.cut().iter().map(|cut| cut.bytes).sum();
    if let Some(statistics) = ends.of(input.files()) {
        writer.statistics(&Statistics { records: result.kept, ..statistics })?;
    }
    Ok((writer.finish()?, result))
}

/// Tells the progress from time to time, and stops where it is told to.
#[derive(Default)]
struct Look {
    items: u64,
}

impl Look {
    fn at(&mut self, mut goes_on: impl FnMut() -> bool) -> Result<(), EditError> {
        self.items += 1;
        if self.items.is_multiple_of(LOOK_EVERY) && !goes_on() { Err(EditError::Interrupted) } else { Ok(()) }
    }
}

/// What captures say at their ends, together.
#[derive(Debug, Default)]
struct Ends {
    sum: Statistics,
    count: u64,
}

impl Ends {
    fn add(&mut self, statistics: &Statistics) {
        self.sum = self.sum.plus(statistics);
        self.count += 1;
    }

    /// Of so many files; none when one of them was not ended in order.
    fn of(self, files: u64) -> Option<Statistics> {
        (self.count >= files).then_some(self.sum)
    }
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
    // Which part it was says nothing of what came of it.
    Section { filter: words.join("; "), payload, part: 0, ..section.clone() }
}

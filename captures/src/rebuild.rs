//! An earlier moment of a volume, from what it held when its capture began and the records since.
//!
//! What counts at a moment is every command that had completed well by then, in the order of completion: what the device
//! would have answered to a read. What a crash at that moment could have left is another question ([`crate::explore`]).
//! Content that the capture does not tell is a hole; an image with holes is refused unless it was asked for.

use std::path::{Path, PathBuf};

use formats::{Entry, Seq};
use serde::Serialize;
use thiserror::Error;

use crate::change::{Done, Why};
use crate::holes::{Hole, Holes};
use crate::image::{Aside, Base, Image, ImageError};
use crate::meta::{Device, Section, Statistics};
use crate::moment::{Before, Moment, MomentError};
use crate::reader::{CapturedEntry, Item};
use crate::series::{CutFile, Series, SeriesError};
use crate::time::Utc;

/// Holes that a report lists; it counts all.
pub const LISTED_HOLES: usize = 20;

/// What is to be rebuilt.
#[derive(Debug)]
pub struct Request<'a> {
    /// The files of the capture, in their order.
    pub files: &'a [PathBuf],
    /// Which volume; needed when there are several.
    pub volume: Option<&'a str>,
    /// What it held when the capture began.
    pub base: Base,
    /// At which moment.
    pub at: Moment,
    /// Where the image is put.
    pub output: &'a Path,
    /// Whether a file that is there is replaced.
    pub force: bool,
    /// Whether an image is made although the capture does not tell all of its content.
    pub allow_holes: bool,
}

/// Why there is no image.
#[derive(Error, Debug)]
pub enum RebuildError {
    /// The capture cannot be read.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The image or its base.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The capture does not have the moment.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// There is nothing to rebuild from.
    #[error("the capture was made without payload: it holds addresses only, and does not tell what a volume held")]
    NoPayload,
    /// The image would not be what the device held.
    #[error("{}", holes_text(*count, holes))]
    Holes {
        /// How many stretches are not known.
        count: usize,
        /// The first of them.
        holes: Vec<Hole>,
    },
}

fn holes_text(count: usize, holes: &[Hole]) -> String {
    let list: Vec<String> = holes.iter().take(5).map(ToString::to_string).collect();
    let more = if count > list.len() { ", and more" } else { "" };
    format!(
        "the capture does not tell all of the content at that moment: {}{more}. Name a moment without holes, or say \
         --allow-holes: the image is then not what the device held there",
        list.join("; ")
    )
}

/// What was rebuilt.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The image.
    pub output: PathBuf,
    /// The volume.
    pub volume: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that the image takes.
    pub allocated: u64,
    /// The moment, as it was named.
    pub at: String,
    /// The last completion in it, of all volumes.
    pub seq: u64,
    /// When that was.
    pub time: String,
    /// Commands to the volume up to then.
    pub records: u64,
    /// Ranges that they changed.
    pub changes: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Commands that failed and changed nothing.
    pub failed: u64,
    /// Stretches whose content is not known.
    pub holes: usize,
    /// The first of them.
    pub hole_list: Vec<Hole>,
    /// Whether the capture says how it ended: otherwise losses may be missing from it.
    pub ended_in_order: bool,
    /// Files that end in the middle of something.
    pub cut: Vec<CutFile>,
}

/// Follows a volume through a capture, and knows what of it is not known.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) device: Device,
    section: Section,
    pub(crate) holes: Holes,
    pub(crate) before: Before,
    /// What the files say at their ends, each for itself.
    lost: u64,
    filtered: u64,
    /// Whether the last one says how it ended.
    ended: bool,
    pub(crate) seq: Seq,
    pub(crate) time_ns: u64,
}

impl Follower {
    /// Of `device` up to a moment.
    pub(crate) fn new(series: &Series, device: &Device, at: &Moment) -> Result<Self, RebuildError> {
        let section = series.section().clone();
        if !section.payload {
            return Err(RebuildError::NoPayload);
        }
        Ok(Self {
            device: device.clone(),
            holes: Holes::new(device.size),
            before: Before::new(at, section.started_ns),
            lost: 0,
            filtered: 0,
            ended: false,
            seq: Seq(0),
            time_ns: section.started_ns,
            section,
        })
    }

    /// The entry of an item, if it is about the volume and lies before the moment.
    pub(crate) fn takes<'a>(&mut self, item: &'a Item) -> Option<&'a CapturedEntry> {
        let takes = self.before.takes(item);
        match item {
            Item::Entry(entry) => {
                self.ended = false;
                if takes {
                    self.note(entry);
                    return self.is_mine(entry).then_some(entry);
                }
            }
            Item::Statistics(statistics) => self.end_of_file(statistics),
            Item::Mark { .. } => {}
        }
        None
    }

    fn end_of_file(&mut self, statistics: &Statistics) {
        self.lost += statistics.lost.commands();
        self.filtered += statistics.filtered.sum();
        self.ended = true;
    }

    fn note(&mut self, entry: &CapturedEntry) {
        match &entry.header.entry {
            Entry::Record(record) => {
                (self.seq, self.time_ns) = (record.seq, self.time_ns.max(record.origin.completed_ns));
            }
            Entry::Gap(gap) => self.seq = gap.last,
            Entry::Region(_) => {}
        }
    }

    fn is_mine(&self, entry: &CapturedEntry) -> bool {
        let volume = match &entry.header.entry {
            Entry::Record(record) => record.volume,
            Entry::Region(region) => region.volume,
            Entry::Gap(_) => return true,
        };
        volume.0 == self.device.volume
    }

    /// What is known, or not, after an entry's effect.
    pub(crate) fn heed(&mut self, done: &Done<'_>) {
        match done {
            Done::Nothing => {}
            Done::Changes(changes) => changes.iter().for_each(|change| self.holes.change(change)),
            Done::Unknown(range, why) => self.holes.open(*range, self.seq, *why),
        }
    }

    /// After all items: what the capture as a whole does not tell.
    pub(crate) fn end(&mut self) -> Result<(), MomentError> {
        self.before.reached()?;
        if self.lost > 0 {
            self.holes.open(None, Seq(0), Why::Lost { count: self.lost });
        }
        // A file that was not ended in order does not say how many its filter left out.
        if self.filtered > 0 || (!self.ended && !self.section.filter.is_empty()) {
            self.holes.open(None, Seq(0), Why::Filtered { count: self.filtered });
        }
        Ok(())
    }

    /// Refuses what is not known, unless that was asked for.
    pub(crate) fn refuse_holes(&self, allow: bool) -> Result<(), RebuildError> {
        match self.holes.count() {
            0 => Ok(()),
            _ if allow => Ok(()),
            count => Err(RebuildError::Holes { count, holes: self.holes.list(LISTED_HOLES) }),
        }
    }

    pub(crate) fn ended_in_order(&self) -> bool {
        self.ended
    }
}

/// What a rebuild is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Copying the base.
    Copying,
    /// Reading the capture and applying what it holds.
    Applying,
}

/// Told the stage, and bytes done and in all; false ends it.
pub type Watch<'a> = dyn FnMut(Stage, u64, u64) -> bool + 'a;

/// Items between two looks at the watch.
const LOOK_EVERY: u64 = 256;

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    records: u64,
    changes: u64,
    bytes: u64,
    failed: u64,
}

/// Makes the image. Nothing has its name before all of it is durable.
///
/// # Errors
/// Why it cannot be made; there is no image then.
pub fn rebuild(request: &Request<'_>, watch: &mut Watch<'_>) -> Result<Report, RebuildError> {
    let mut series = Series::open(request.files)?;
    let device = series.volume(request.volume, request.base.size())?;
    request.base.check_size(&device.name, device.size)?;
    let mut follower = Follower::new(&series, &device, &request.at)?;
    let aside = Aside::new(request.output, request.force, &request.base.with(request.files))?;
    let mut copying = |done, total| watch(Stage::Copying, done, total);
    let image = Image::from_base(aside.file()?, aside.path(), &request.base, device.size, &mut copying)?;
    let counts = apply(&mut series, &mut follower, &image, watch)?;
    follower.end()?;
    follower.refuse_holes(request.allow_holes)?;
    let allocated = image.allocated()?;
    aside.publish()?;
    Ok(report(request, &series, &follower, &counts, allocated))
}

/// Applies what lies before the moment; what comes behind is read for what it says of losses.
fn apply(
    series: &mut Series,
    follower: &mut Follower,
    image: &Image,
    watch: &mut Watch<'_>,
) -> Result<Counts, RebuildError> {
    let mut counts = Counts::default();
    let mut items = 0u64;
    while let Some(item) = series.next_item()? {
        items += 1;
        let (done, total) = series.progress();
        if items.is_multiple_of(LOOK_EVERY) && !watch(Stage::Applying, done, total) {
            return Err(ImageError::Interrupted.into());
        }
        if let Some(entry) = follower.takes(&item) {
            apply_entry(entry, follower, image, &mut counts)?;
        }
    }
    Ok(counts)
}

fn apply_entry(
    entry: &CapturedEntry,
    follower: &mut Follower,
    image: &Image,
    counts: &mut Counts,
) -> Result<(), ImageError> {
    let done = entry.done();
    follower.heed(&done);
    if let Entry::Record(record) = &entry.header.entry {
        counts.records += 1;
        counts.failed += u64::from(!record.status.is_ok() && done == Done::Nothing);
    }
    let Done::Changes(changes) = done else { return Ok(()) };
    for change in changes {
        image.put(change.range, change.content)?;
        counts.changes += 1;
        counts.bytes += change.range.len;
    }
    Ok(())
}

fn report(request: &Request<'_>, series: &Series, follower: &Follower, counts: &Counts, allocated: u64) -> Report {
    Report {
        output: request.output.to_owned(),
        volume: follower.device.name.clone(),
        size: follower.device.size,
        allocated,
        at: request.at.to_string(),
        seq: follower.seq.0,
        time: Utc(follower.time_ns).to_string(),
        records: counts.records,
        changes: counts.changes,
        bytes: counts.bytes,
        failed: counts.failed,
        holes: follower.holes.count(),
        hole_list: follower.holes.list(LISTED_HOLES),
        ended_in_order: follower.ended_in_order(),
        cut: series.cut().to_vec(),
    }
}

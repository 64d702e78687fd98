//! A part of a capture, to be done again elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use formats::{ByteRange, Entry, EntryHeader, Op, Record, Seq};
use serde::Serialize;
use thiserror::Error;

use crate::change::{Done, Why};
use crate::image::{Base, Image, ImageError};
use crate::meta::Device;
use crate::moment::{Between, Moment, MomentError};
use crate::pieces::Pieces;
use crate::reader::{CapturedEntry, Item};
use crate::series::{Series, SeriesError};

/// Which part.
#[derive(Debug, Clone)]
pub struct Part {
    /// What completed up to this moment is left out.
    pub from: Moment,
    /// What completed after this moment is left out.
    pub until: Moment,
    /// Operations that are left out.
    pub skip: Vec<Op>,
    /// Only commands that lie within one of these, in bytes; all when there are none. Flushes lie everywhere.
    pub ranges: Vec<ByteRange>,
    /// Volumes, by their index in the capture, that are taken.
    pub volumes: Vec<u16>,
    /// Whether to pass over what the capture does not tell, and count it.
    pub allow_holes: bool,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// By operation.
    pub skipped: u64,
    /// Not within the ranges.
    pub outside: u64,
    /// Of other volumes.
    pub other_volumes: u64,
    /// Not told by the capture.
    pub holes: u64,
}

/// Why a part cannot be had.
#[derive(Error, Debug)]
pub enum ExcerptError {
    /// The capture cannot be read.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// It does not have the moment.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// What is expected afterwards cannot be put together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is nothing to do again.
    #[error("the capture was made without payload: it holds addresses only, and nothing of it can be done again")]
    NoPayload,
    /// Something is missing.
    #[error(
        "at seq {seq}: {why}; say --allow-holes to go on without it: the target then does not hold what the volume did"
    )]
    Hole {
        /// Where.
        seq: Seq,
        /// What.
        why: Why,
    },
}

/// Reads a part of a capture, entry by entry.
pub struct Excerpt {
    series: Series,
    part: Part,
    between: Between,
    left_out: LeftOut,
}

impl Excerpt {
    /// Of these files, in their order.
    ///
    /// # Errors
    /// They are no capture, or one without payload; or nothing can lie between the moments.
    pub fn open(files: &[PathBuf], part: Part) -> Result<Self, ExcerptError> {
        let series = Series::open(files)?;
        if !series.section().payload {
            return Err(ExcerptError::NoPayload);
        }
        let between = Between::new(&part.from, &part.until, series.section().started_ns)?;
        Ok(Self { series, part, between, left_out: LeftOut::default() })
    }

    /// The devices of the capture.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        self.series.devices()
    }

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Bytes of the capture that were read, and of all of it.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        self.series.progress()
    }

    /// The next entry that belongs to the part; none at its end.
    ///
    /// # Errors
    /// The capture cannot be read, lacks something, or does not have one of the moments.
    pub fn next_entry(&mut self) -> Result<Option<Box<CapturedEntry>>, ExcerptError> {
        while !self.between.is_over() {
            let Some(item) = self.series.next_item()? else { return self.end() };
            if self.between.takes(&item)?
                && let Item::Entry(entry) = item
                && self.takes(&entry)?
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn end(&self) -> Result<Option<Box<CapturedEntry>>, ExcerptError> {
        self.between.reached()?;
        Ok(None)
    }

    fn takes(&mut self, entry: &CapturedEntry) -> Result<bool, ExcerptError> {
        let record = match &entry.header.entry {
            Entry::Record(record) => record,
            Entry::Region(region) => return Ok(self.part.volumes.contains(&region.volume.0)),
            Entry::Gap(gap) => return self.hole(gap.last, Why::Lost { count: gap.last.0 - gap.first.0 + 1 }),
        };
        if !self.part.volumes.contains(&record.volume.0) {
            self.left_out.other_volumes += 1;
        } else if self.part.skip.contains(&record.op) {
            self.left_out.skipped += 1;
        } else if !self.is_inside(record) {
            self.left_out.outside += 1;
        } else if let Some(why) = lacking(entry) {
            return self.hole(record.seq, why);
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    fn hole(&mut self, seq: Seq, why: Why) -> Result<bool, ExcerptError> {
        if !self.part.allow_holes {
            return Err(ExcerptError::Hole { seq, why });
        }
        self.left_out.holes += 1;
        Ok(false)
    }

    fn is_inside(&self, record: &Record) -> bool {
        let range = record.range;
        let holds = |outer: &ByteRange| outer.offset <= range.offset && range.end() <= outer.end();
        range.is_empty() || self.part.ranges.is_empty() || self.part.ranges.iter().any(holds)
    }
}

/// Why a command that did something on the device cannot be done again.
fn lacking(entry: &CapturedEntry) -> Option<Why> {
    match entry.done() {
        Done::Unknown(_, why @ (Why::NoPayload | Why::Cut { .. })) => Some(why),
        _ if entry.missing > 0 => Some(Why::Cut { missing: entry.missing }),
        _ => None,
    }
}

/// What the volumes hold where a part of a capture wrote, and nothing of what they hold elsewhere.
#[derive(Debug)]
pub struct Expected {
    volumes: BTreeMap<u16, (Image, Pieces<()>)>,
}

impl Expected {
    /// Goes through a part once more. `folder` takes sparse files of as many bytes as were written.
    ///
    /// # Errors
    /// The capture cannot be read, or there is no room.
    pub fn gather(excerpt: &mut Excerpt, folder: &Path) -> Result<Self, ExcerptError> {
        let mut expected = Self { volumes: BTreeMap::new() };
        for device in excerpt.devices() {
            let path = folder.join(format!("expected-{}", device.volume));
            let file = tempfile::tempfile_in(folder).map_err(|source| ImageError::Io {
                action: "making",
                path: path.clone(),
                source,
            })?;
            let image = Image::from_base(file, &path, &Base::Blank, device.size, &mut |_, _| true)?;
            expected.volumes.insert(device.volume, (image, Pieces::new()));
        }
        while let Some(entry) = excerpt.next_entry()? {
            expected.heed(&entry)?;
        }
        Ok(expected)
    }

    fn heed(&mut self, entry: &CapturedEntry) -> Result<(), ImageError> {
        let volume = volume(&entry.header);
        let Some((image, written)) = volume.and_then(|volume| self.volumes.get_mut(&volume)) else { return Ok(()) };
        match entry.done() {
            Done::Nothing => {}
            Done::Unknown(range, _) => written.cut_out(range.unwrap_or(ByteRange::new(0, image.size()))),
            Done::Changes(changes) => {
                for change in changes {
                    image.put(change.range, change.content)?;
                    written.put(change.range, ());
                }
            }
        }
        Ok(())
    }

    /// The stretches of a volume whose content is known, and an image that holds it there.
    pub fn of(&self, volume: u16) -> Option<(&Image, impl Iterator<Item = ByteRange>)> {
        let (image, written) = self.volumes.get(&volume)?;
        Some((image, written.iter().map(|(range, ())| range)))
    }
}

/// The volume that an entry is about.
fn volume(header: &EntryHeader) -> Option<u16> {
    match &header.entry {
        Entry::Record(record) => Some(record.volume.0),
        Entry::Region(region) => Some(region.volume.0),
        Entry::Gap(_) => None,
    }
}

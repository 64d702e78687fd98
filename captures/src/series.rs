//! Several capture files, one after the other, as one capture.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

use formats::entry::PayloadInfo;
use formats::{Entry, EntryHeader, Gap, Position, Seq};
use serde::Serialize;
use thiserror::Error;

use crate::error::ReadError;
use crate::meta::{Device, Section};
use crate::reader::{CapturedEntry, Item, Reader, Tail};
use crate::select::names;

/// Why files are not one capture.
#[derive(Error, Debug)]
pub enum SeriesError {
    /// No file.
    #[error("no capture file is named")]
    Nothing,
    /// A file cannot be opened.
    #[error("opening {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ReadError>,
    },
    /// A file of another line of observation, whose numbers mean something else.
    #[error("{} is of another capture (stream {found}) than the files before it ({wanted})", path.display())]
    OtherStream {
        /// Which.
        path: PathBuf,
        /// Its stream.
        found: String,
        /// That of those before.
        wanted: String,
    },
    /// A file that is older than the one before it.
    #[error("{} goes back to seq {first} after {last}: name the files of a capture in their order", path.display())]
    Order {
        /// Which.
        path: PathBuf,
        /// The number it goes back to.
        first: Seq,
        /// The largest before.
        last: Seq,
    },
    /// There is no such volume.
    #[error("the capture has no volume {wanted}; it has {}", names(have))]
    NoVolume {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// It is not said which volume.
    #[error("the capture has several volumes ({}): say which with --volume", names(.0))]
    WhichVolume(Vec<String>),
    /// A tape, or a device without a size.
    #[error(
        "volume {0} has no bytes to rebuild: a tape, or the capture does not tell its size (one that was imported): then name \
         what it held before with --base, which is as large"
    )]
    NoSize(String),
    /// The device changed its size between two files.
    #[error("volume {volume} has {found} bytes in {} and had {wanted} before", path.display())]
    Resized {
        /// Which file.
        path: PathBuf,
        /// The volume's name.
        volume: String,
        /// Its size in that file.
        found: u64,
        /// Its size before.
        wanted: u64,
    },
}

/// A file that ends in the middle of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutFile {
    /// Which.
    pub path: PathBuf,
    /// Where its last whole thing ends, in bytes of what is not compressed.
    pub offset: u64,
    /// Bytes behind the last whole thing.
    pub bytes: u64,
}

pub(crate) type Input = Box<dyn Read + Send>;

/// What is known of the files before, and which one may follow them.
#[derive(Debug)]
pub(crate) struct Joint {
    stream: String,
    pub(crate) devices: Vec<Device>,
    pub(crate) last: Seq,
}

impl Joint {
    /// Behind nothing, for the files of a capture whose first one says this.
    pub(crate) fn new(section: &Section) -> Self {
        Self { stream: section.stream.clone(), devices: Vec::new(), last: Seq(0) }
    }

    pub(crate) fn check_stream(&self, path: &Path, section: &Section) -> Result<(), SeriesError> {
        if section.stream == self.stream {
            return Ok(());
        }
        let (found, wanted) = (section.stream.clone(), self.stream.clone());
        Err(SeriesError::OtherStream { path: path.to_owned(), found, wanted })
    }

    /// Takes a device as a file describes it.
    pub(crate) fn device(&mut self, path: &Path, device: Device) -> Result<(), SeriesError> {
        let before = self.devices.iter().find(|before| before.volume == device.volume);
        match before {
            None => {
                self.devices.push(device);
                Ok(())
            }
            Some(before) if before.size == device.size => Ok(()),
            Some(before) => Err(SeriesError::Resized {
                path: path.to_owned(),
                volume: before.name.clone(),
                found: device.size,
                wanted: before.size,
            }),
        }
    }

    /// What is missing before this number.
    pub(crate) fn missing_before(&self, path: &Path, first: Seq) -> Result<Option<Item>, SeriesError> {
        if self.last.0 == 0 {
            return Ok(None);
        }
        if first <= self.last {
            return Err(SeriesError::Order { path: path.to_owned(), first, last: self.last });
        }
        Ok((first > self.last.next()).then(|| missing(self.last.next(), first.previous())))
    }
}

/// Reads files as one capture.
pub struct Series {
    rest: VecDeque<PathBuf>,
    path: PathBuf,
    reader: Reader<Input>,
    ready: VecDeque<Item>,
    section: Section,
    joint: Joint,
    /// Devices of this file that were looked at.
    looked_at: usize,
    /// Whether what is missing within a file is told too.
    tells_all: bool,
    files: u64,
    fresh: bool,
    cut: Vec<CutFile>,
    read_bytes: u64,
    total_bytes: u64,
    foreign: u64,
}

impl Series {
    /// Opens the first of the files. Numbers that are missing, within a file or between two, come as a gap: for those who
    /// need all that happened.
    ///
    /// # Errors
    /// There is none, or it is no capture.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SeriesError> {
        Self::begin(paths, true)
    }

    /// The same, of what is in the files: a gap comes for numbers that are missing between two of them only. Within a file
    /// they may be missing because somebody chose a part.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn as_filed(paths: &[PathBuf]) -> Result<Self, SeriesError> {
        Self::begin(paths, false)
    }

    fn begin(paths: &[PathBuf], tells_all: bool) -> Result<Self, SeriesError> {
        let mut rest: VecDeque<PathBuf> = paths.iter().cloned().collect();
        let path = rest.pop_front().ok_or(SeriesError::Nothing)?;
        let reader = open(&path)?;
        let section = reader.section().clone();
        let mut series = Self {
            rest,
            path,
            reader,
            ready: VecDeque::new(),
            joint: Joint::new(&section),
            section,
            looked_at: 0,
            tells_all,
            files: 1,
            fresh: false,
            cut: Vec::new(),
            read_bytes: 0,
            total_bytes: total_bytes(paths),
            foreign: 0,
        };
        // The devices are known once the first item is.
        let first = series.read()?;
        first.iter().try_for_each(|item| series.follow(item).map(drop))?;
        series.ready.extend(first);
        Ok(series)
    }

    /// What the first file says of the capture.
    #[must_use]
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// Its devices: all that were described up to the item that was read last.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.joint.devices
    }

    /// The volume of this name; without one, the only volume there is. One whose size the capture does not tell, since the
    /// format that it was made of has none, is as large as `base` is, in bytes.
    ///
    /// # Errors
    /// Which there are, or its size is not known.
    pub fn volume(&self, name: Option<&str>, base: Option<u64>) -> Result<Device, SeriesError> {
        let names = || self.devices().iter().map(|device| device.name.clone()).collect();
        let device = match (name, self.devices()) {
            (None, [only]) => only,
            (None, []) => return Err(SeriesError::NoVolume { wanted: "at all".to_owned(), have: names() }),
            (None, _) => return Err(SeriesError::WhichVolume(names())),
            (Some(name), devices) => devices
                .iter()
                .find(|device| device.name == name || device.path == name)
                .ok_or_else(|| SeriesError::NoVolume { wanted: name.to_owned(), have: names() })?,
        };
        match (device.size, base) {
            (0, Some(size)) if device.block_size > 0 => Ok(Device { size, ..device.clone() }),
            (0, _) => Err(SeriesError::NoSize(device.name.clone())),
            _ => Ok(device.clone()),
        }
    }

    /// The next item; none at the end of the last file.
    ///
    /// # Errors
    /// A file cannot be read, or does not continue the one before it.
    pub fn next_item(&mut self) -> Result<Option<Item>, SeriesError> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        let Some(item) = self.read()? else { return Ok(None) };
        match self.follow(&item)? {
            Some(gap) => {
                self.ready.push_back(item);
                Ok(Some(gap))
            }
            None => Ok(Some(item)),
        }
    }

    /// The next item of this file or the next one.
    fn read(&mut self) -> Result<Option<Item>, SeriesError> {
        loop {
            let item = self.reader.next_item();
            let item = item.map_err(unreadable(&self.path))?;
            self.look_at_devices()?;
            if item.is_some() || !self.next_file()? {
                return Ok(item);
            }
        }
    }

    fn look_at_devices(&mut self) -> Result<(), SeriesError> {
        let fresh: Vec<Device> = self.reader.devices().skip(self.looked_at).cloned().collect();
        self.looked_at += fresh.len();
        fresh.into_iter().try_for_each(|device| self.joint.device(&self.path, device))
    }

    fn next_file(&mut self) -> Result<bool, SeriesError> {
        if let Some(Tail { offset, bytes }) = self.reader.tail().filter(|_| !self.has_ended()) {
            self.cut.push(CutFile { path: self.path.clone(), offset, bytes });
        }
        let Some(path) = self.rest.pop_front() else { return Ok(false) };
        self.read_bytes += self.reader.bytes();
        self.foreign += self.reader.foreign();
        self.reader = open(&path)?;
        self.joint.check_stream(&path, self.reader.section())?;
        (self.path, self.fresh, self.looked_at) = (path, true, 0);
        self.files += 1;
        Ok(true)
    }

    /// Whether the end of the last file was told already.
    fn has_ended(&self) -> bool {
        self.cut.last().is_some_and(|cut| cut.path == self.path)
    }

    /// Notes the place of an item; answers what is missing before it.
    fn follow(&mut self, item: &Item) -> Result<Option<Item>, SeriesError> {
        let Item::Entry(entry) = item else { return Ok(None) };
        let Some((first, last)) = numbers(entry) else { return Ok(None) };
        let is_first = std::mem::take(&mut self.fresh);
        let gap = match is_first || self.tells_all {
            true => self.joint.missing_before(&self.path, first)?,
            false => None,
        };
        self.joint.last = self.joint.last.max(last);
        Ok(gap)
    }

    /// Files that end in the middle of something, as far as was read.
    #[must_use]
    pub fn cut(&self) -> &[CutFile] {
        &self.cut
    }

    /// Files that were opened so far.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Packets that are none of ours, and were passed over.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign + self.reader.foreign()
    }

    /// Bytes read so far, and of all files.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.read_bytes + self.reader.bytes(), self.total_bytes)
    }
}

/// Bytes of these files, as far as they are files.
pub(crate) fn total_bytes(paths: &[PathBuf]) -> u64 {
    let files = paths.iter().filter_map(|path| std::fs::metadata(path).ok());
    files.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// A capture's bytes, uncompressed.
pub(crate) fn input(path: &Path) -> Result<Input, SeriesError> {
    crate::input::open(path).map_err(|source| SeriesError::Open { path: path.to_owned(), source })
}

/// An error of a file.
pub(crate) fn unreadable(path: &Path) -> impl FnOnce(ReadError) -> SeriesError {
    let path = path.to_owned();
    move |source| SeriesError::Read { path, source: Box::new(source) }
}

fn open(path: &Path) -> Result<Reader<Input>, SeriesError> {
    Reader::new(input(path)?).map_err(unreadable(path))
}

/// The first and the last completion that an entry stands for.
pub(crate) fn numbers(entry: &CapturedEntry) -> Option<(Seq, Seq)> {
    match &entry.header.entry {
        Entry::Record(record) => Some((record.seq, record.seq)),
        Entry::Gap(gap) => Some((gap.first, gap.last)),
        Entry::Region(_) => None,
    }
}

fn missing(first: Seq, last: Seq) -> Item {
    let header =
        EntryHeader { entry: Entry::Gap(Gap { first, last }), position: Position(0), payload: PayloadInfo::NONE };
    Item::Entry(Box::new(CapturedEntry { header, content: Vec::new(), trailer: Vec::new(), missing: 0 }))
}

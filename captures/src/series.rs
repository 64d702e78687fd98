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
use crate::reader::{CapturedEntry, Item, Reader};

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
    #[error("the capture has no volume {wanted}; it has {}", list(have))]
    NoVolume {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// It is not said which volume.
    #[error("the capture has several volumes ({}): say which with --volume", list(.0))]
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

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A file that ends in the middle of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutFile {
    /// Which.
    pub path: PathBuf,
    /// Bytes behind the last whole thing.
    pub bytes: u64,
}

type Input = Box<dyn Read + Send>;

/// Reads files as one capture. Numbers that are missing between two of them come as a gap.
pub struct Series {
    rest: VecDeque<PathBuf>,
    path: PathBuf,
    reader: Reader<Input>,
    ready: VecDeque<Item>,
    section: Section,
    devices: Vec<Device>,
    last: Seq,
    fresh: bool,
    cut: Vec<CutFile>,
    read_bytes: u64,
    total_bytes: u64,
}

impl Series {
    /// Opens the first of the files.
    ///
    /// # Errors
    /// There is none, or it is no capture.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SeriesError> {
        let mut rest: VecDeque<PathBuf> = paths.iter().cloned().collect();
        let path = rest.pop_front().ok_or(SeriesError::Nothing)?;
        let total_bytes = paths.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum();
        let reader = open(&path)?;
        let section = reader.section().clone();
        let mut series = Self {
            rest,
            path,
            reader,
            ready: VecDeque::new(),
            section,
            devices: Vec::new(),
            last: Seq(0),
            fresh: false,
            cut: Vec::new(),
            read_bytes: 0,
            total_bytes,
        };
        // The devices are known once the first item is.
        let first = series.read()?;
        first.iter().try_for_each(|item| series.follow(item).map(drop))?;
        series.ready.extend(first);
        series.devices = series.reader.devices().cloned().collect();
        Ok(series)
    }

    /// What the first file says of the capture.
    #[must_use]
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// Its devices.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The volume of this name; without one, the only volume there is. One whose size the capture does not tell, since the
    /// format that it was made of has none, is as large as `base` is, in bytes.
    ///
    /// # Errors
    /// Which there are, or its size is not known.
    pub fn volume(&self, name: Option<&str>, base: Option<u64>) -> Result<Device, SeriesError> {
        let names = || self.devices.iter().map(|device| device.name.clone()).collect();
        let device = match (name, self.devices.as_slice()) {
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
            let item =
                item.map_err(|source| SeriesError::Read { path: self.path.clone(), source: Box::new(source) })?;
            if item.is_some() || !self.next_file()? {
                return Ok(item);
            }
        }
    }

    fn next_file(&mut self) -> Result<bool, SeriesError> {
        let tail = self.reader.tail();
        self.cut.extend(tail.map(|tail| CutFile { path: self.path.clone(), bytes: tail.bytes }));
        let Some(path) = self.rest.pop_front() else { return Ok(false) };
        self.read_bytes += self.reader.bytes();
        self.reader = open(&path)?;
        let (found, wanted) = (self.reader.section().stream.clone(), self.section.stream.clone());
        if found != wanted {
            return Err(SeriesError::OtherStream { path, found, wanted });
        }
        (self.path, self.fresh) = (path, true);
        Ok(true)
    }

    /// Notes the place of an item; answers what is missing before it.
    fn follow(&mut self, item: &Item) -> Result<Option<Item>, SeriesError> {
        let Some((first, last)) = numbers(item) else { return Ok(None) };
        if std::mem::take(&mut self.fresh) {
            self.check_devices()?;
        }
        let (before, begun) = (self.last, self.last.0 > 0);
        if begun && first <= before {
            return Err(SeriesError::Order { path: self.path.clone(), first, last: before });
        }
        self.last = last;
        Ok((begun && first > before.next()).then(|| missing(before.next(), first.previous())))
    }

    fn check_devices(&self) -> Result<(), SeriesError> {
        for device in self.reader.devices() {
            let before = self.devices.iter().find(|before| before.volume == device.volume);
            if let Some(before) = before.filter(|before| before.size != device.size) {
                return Err(SeriesError::Resized {
                    path: self.path.clone(),
                    volume: before.name.clone(),
                    found: device.size,
                    wanted: before.size,
                });
            }
        }
        Ok(())
    }

    /// Files that end in the middle of something, as far as was read.
    #[must_use]
    pub fn cut(&self) -> &[CutFile] {
        &self.cut
    }

    /// Bytes read so far, and of all files.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.read_bytes + self.reader.bytes(), self.total_bytes)
    }
}

fn open(path: &Path) -> Result<Reader<Input>, SeriesError> {
    let input = crate::input::open(path).map_err(|source| SeriesError::Open { path: path.to_owned(), source })?;
    Reader::new(input).map_err(|source| SeriesError::Read { path: path.to_owned(), source: Box::new(source) })
}

/// The first and the last completion that an item stands for.
fn numbers(item: &Item) -> Option<(Seq, Seq)> {
    let Item::Entry(entry) = item else { return None };
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

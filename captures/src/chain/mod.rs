//! A capture on its way into files: one, or one after the other, within limits.
//!
//! A file grows under its own name, so that others can read along; it is whole at every moment up to the last commit, and
//! says by its statistics that it was ended in order. Each part of a chain can be read alone.

mod place;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use formats::{Entry, EntryHeader};
use thiserror::Error;

pub use self::place::Place;
use crate::error::WriteError;
use crate::meta::{Device, Section, Statistics};
use crate::output::Output;
use crate::writer::Writer;

/// Bytes that are kept free below a limit, for the statistics.
const RESERVE: u64 = 4096;
/// What an entry takes beside its payload, at most: blocks, frames, header and answer.
const PER_ENTRY: u64 = 2048;
/// What each data frame takes beside its bytes.
const PER_FRAME: u64 = 64;

/// When a part ends, and when everything does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a part; more only when one entry needs them.
    pub part_bytes: Option<u64>,
    /// Longest time of a part, in nanoseconds; a part without commands goes on.
    pub part_ns: Option<u64>,
    /// Most bytes in all. With parts the oldest are removed for it, else the capture is full.
    pub total_bytes: Option<u64>,
}

impl Limits {
    /// Whether there are parts.
    #[must_use]
    pub const fn in_parts(&self) -> bool {
        self.part_bytes.is_some() || self.part_ns.is_some()
    }

    /// Half of everything at most, so that the last part can stay when a new one begins.
    fn part(&self) -> Option<u64> {
        let half = self.total_bytes.filter(|_| self.in_parts()).map(|total| total / 2);
        [self.part_bytes, half].into_iter().flatten().min()
    }
}

/// Why a capture cannot be kept.
#[derive(Debug, Error)]
pub enum ChainError {
    /// Something is there already.
    #[error("{} exists: name another file, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// Something that is no place for a capture.
    #[error("{} is {what}: a capture goes into a file, a named pipe or `-`", path.display())]
    NoPlace {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// An older part cannot be removed.
    #[error("cannot remove the oldest part, {}: {source}", path.display())]
    Remove {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The output failed, or an entry cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ChainError {
    /// Whether the reader of the pipe went away.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Write(WriteError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the capture.
    Written,
    /// The capture is full, and it is not in it.
    Full,
}

/// What a chain came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// The files that are there, oldest first; none of a pipe.
    pub files: Vec<PathBuf>,
    /// Parts that were removed to keep the limit.
    pub removed: u64,
    /// Bytes written in all, removed ones included.
    pub bytes: u64,
    /// Commands in the capture, removed ones included.
    pub records: u64,
    /// Bytes of their payload as it was handed over.
    pub payload_bytes: u64,
    /// Commands that were captured and could not be written.
    pub unwritten: u64,
}

/// A part that is written to its end.
struct Part {
    path: PathBuf,
    bytes: u64,
}

/// Writes a capture into its place.
pub struct Chain {
    place: Place,
    limits: Limits,
    level: Option<i32>,
    section: Section,
    devices: Vec<Device>,
    writer: Writer<Output>,
    /// Where the part goes; none of a pipe.
    path: Option<PathBuf>,
    kept: VecDeque<Part>,
    /// Commands committed to the part, and bytes of payload given to it.
    records: u64,
    payload_bytes: u64,
    /// Commands since the last commit.
    pending: u64,
    /// What was told last, and what of it was before the part.
    totals: Statistics,
    before: Statistics,
    done: Written,
    failed: bool,
}

impl Chain {
    /// Begins a capture at `section.started_ns`. `level` is that of zstd, none for plain bytes.
    ///
    /// # Errors
    /// When something is there already, or cannot be written.
    pub fn begin(
        mut place: Place,
        limits: Limits,
        level: Option<i32>,
        section: Section,
        devices: Vec<Device>,
    ) -> Result<Self, ChainError> {
        place.clear(&limits)?;
        let section = Section { part: u32::from(limits.in_parts()), ..section };
        let (output, path) = place.open(section.part, level)?;
        let mut chain = Self {
            writer: Writer::new(output, &section, &devices)?,
            place,
            limits,
            level,
            section,
            devices,
            path,
            kept: VecDeque::new(),
            records: 0,
            payload_bytes: 0,
            pending: 0,
            totals: Statistics::default(),
            before: Statistics::default(),
            done: Written::default(),
            failed: false,
        };
        chain.commit()?;
        Ok(chain)
    }

    /// Tells what was lost, kept out and counted so far, since the capture began. It goes into the statistics.
    pub fn tell(&mut self, totals: &Statistics) {
        self.totals.clone_from(totals);
    }

    /// Writes an entry, into a new part where the limits say so.
    ///
    /// # Errors
    /// When the output fails; the capture then holds what [`Chain::end`] says.
    pub fn write(&mut self, header: &EntryHeader, payload: &[u8]) -> Result<Fate, ChainError> {
        let need = u64::from(header.payload.len) + PER_ENTRY + u64::from(header.payload.len >> 17) * PER_FRAME;
        let is_command = !matches!(header.entry, Entry::Gap(_));
        match self.make_room(need, self.totals.ended_ns) {
            Ok(true) => {}
            Ok(false) => return Ok(Fate::Full),
            Err(error) => {
                self.failed = true;
                self.done.unwritten += u64::from(is_command);
                return Err(error);
            }
        }
        self.writer.write(header, payload)?;
        self.pending += u64::from(is_command);
        self.payload_bytes += u64::from(header.payload.len);
        if self.writer.output().is_full() {
            self.commit()?;
        }
        Ok(Fate::Written)
    }

    /// Marks a moment, in nanoseconds since 1970, UTC.
    ///
    /// # Errors
    /// When the output fails, or the text is too long.
    pub fn mark(&mut self, at_ns: u64, text: &str) -> Result<(), ChainError> {
        Ok(self.writer.mark(at_ns, text)?)
    }

    /// Writes what is collected, and ends the part when its time is over.
    ///
    /// # Errors
    /// When the output fails.
    pub fn tick(&mut self, now_ns: u64) -> Result<(), ChainError> {
        let age = now_ns.saturating_sub(self.section.started_ns);
        let is_over = self.limits.part_ns.is_some_and(|limit| age >= limit);
        if is_over && self.records + self.pending > 0 {
            return self.turn(now_ns);
        }
        self.commit()
    }

    /// Commands and bytes of payload so far, and bytes written.
    #[must_use]
    pub fn so_far(&mut self) -> (u64, u64, u64) {
        let records = self.done.records + self.records + self.pending;
        let payload = self.done.payload_bytes + self.payload_bytes;
        (records, payload, self.done.bytes + self.writer.output().bytes())
    }

    fn commit(&mut self) -> Result<(), ChainError> {
        let committed = self.writer.output().commit();
        let pending = std::mem::take(&mut self.pending);
        match committed {
            Ok(()) => self.records += pending,
            Err(_) => {
                self.failed = true;
                self.done.unwritten += pending;
            }
        }
        committed.map_err(|error| WriteError::Io(error).into())
    }

    /// Makes room for `need` bytes; answers whether there is.
    fn make_room(&mut self, need: u64, now_ns: u64) -> Result<bool, ChainError> {
        let need = need + RESERVE;
        let have = self.writer.output().bytes();
        if self.limits.part().is_some_and(|limit| have + need > limit) && self.records + self.pending > 0 {
            self.turn(now_ns)?;
        }
        let Some(total) = self.limits.total_bytes else { return Ok(true) };
        if !self.limits.in_parts() {
            return Ok(have + need <= total);
        }
        while self.kept_bytes() + self.writer.output().bytes() + need > total {
            let Some(oldest) = self.kept.pop_front() else { break };
            let removed = std::fs::remove_file(&oldest.path);
            removed.map_err(|source| ChainError::Remove { path: oldest.path, source })?;
            self.done.removed += 1;
        }
        Ok(true)
    }

    fn kept_bytes(&self) -> u64 {
        self.kept.iter().map(|part| part.bytes).sum()
    }

    /// Ends the part and begins the next.
    fn turn(&mut self, now_ns: u64) -> Result<(), ChainError> {
        self.close(now_ns)?;
        self.section = Section { part: self.section.part + 1, started_ns: now_ns, ..self.section.clone() };
        let (output, path) = self.place.open(self.section.part, self.level)?;
        self.writer = Writer::new(output, &self.section, &self.devices)?;
        self.path = path;
        self.commit()
    }

    /// Writes the statistics of the part, and counts it as done.
    fn close(&mut self, now_ns: u64) -> Result<(), ChainError> {
        let written = self.commit().and_then(|()| self.statistics(now_ns));
        self.done.records += std::mem::take(&mut self.records);
        self.done.payload_bytes += std::mem::take(&mut self.payload_bytes);
        let bytes = self.writer.output().bytes();
        self.done.bytes += bytes;
        self.kept.extend(self.path.take().map(|path| Part { path, bytes }));
        self.before.clone_from(&self.totals);
        written
    }

    fn statistics(&mut self, now_ns: u64) -> Result<(), ChainError> {
        let mut statistics = self.totals.since(&self.before);
        statistics.lost.unwritten = self.done.unwritten;
        statistics.ended_ns = now_ns;
        statistics.records = self.records;
        statistics.payload_bytes = self.payload_bytes;
        self.writer.statistics(&statistics)?;
        self.commit()
    }

    /// Ends the capture. `unwritten` commands more were captured and not given to [`Chain::write`].
    ///
    /// Its error is that of the output, unless it had failed before.
    pub fn end(mut self, now_ns: u64, unwritten: u64) -> (Written, Result<(), ChainError>) {
        let failed = self.failed;
        self.done.unwritten += unwritten;
        // What a full disk has no room for may still be enough for the statistics.
        let closed = self.close(now_ns);
        self.done.files = self.kept.iter().map(|part| part.path.clone()).collect();
        (self.done, if failed { Ok(()) } else { closed })
    }
}

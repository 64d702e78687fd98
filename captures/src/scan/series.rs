//! Several capture files, one after the other, read on several threads as one capture.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use formats::Seq;

use super::{Batch, Batches, End, Scan};
use crate::error::ReadError;
use crate::meta::{Device, Section, Statistics};
use crate::reader::{Item, Tail};
use crate::series::{Input, Joint, SeriesError, input, numbers, total_bytes, unreadable};

/// Files of one capture, in their order. Devices come once, the statistics of all files together at the end (when each of
/// them has some), and numbers that are missing between two files as a gap.
pub struct SeriesScan {
    first: Scan<Input>,
    path: PathBuf,
    rest: VecDeque<PathBuf>,
    total_bytes: u64,
}

/// A batch, with what tells how it goes on from what was before.
struct Piece<T> {
    mapped: T,
    first: Option<Seq>,
    last: Option<Seq>,
    devices: Vec<Device>,
    statistics: Vec<Statistics>,
}

/// Why a file is not read further.
enum Stop<E> {
    Read(ReadError),
    Fold(E),
}

impl<E> From<ReadError> for Stop<E> {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// What came so far.
struct State {
    joint: Joint,
    sum: Statistics,
    /// Files that said how they ended, and all.
    ended: u64,
    files: u64,
    batches: u64,
    end: End,
}

impl SeriesScan {
    /// Opens the first of the files.
    ///
    /// # Errors
    /// There is none, or it is no capture.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SeriesError> {
        let mut rest: VecDeque<PathBuf> = paths.iter().cloned().collect();
        let path = rest.pop_front().ok_or(SeriesError::Nothing)?;
        Ok(Self { first: open(&path)?, path, rest, total_bytes: total_bytes(paths) })
    }

    /// Bytes of the files, as they are; of compressed ones more are read.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

fn open(path: &Path) -> Result<Scan<Input>, SeriesError> {
    Scan::new(input(path)?).map_err(unreadable(path))
}

impl Batches for SeriesScan {
    type Error = SeriesError;

    fn section(&self) -> &Section {
        self.first.section()
    }

    fn run<T: Send, E: From<SeriesError>>(
        self,
        map: impl Fn(Batch) -> T + Sync,
        mut fold: impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E> {
        let Self { first, mut path, mut rest, .. } = self;
        if rest.is_empty() {
            return first.run(map, |part, bytes| fold(part, bytes).map_err(Stop::Fold)).map_err(stopped(&path));
        }
        let mut state = State::new(first.section());
        let mut scan = first;
        loop {
            state.file(scan, &path, &map, &mut fold)?;
            let Some(next) = rest.pop_front() else { break };
            scan = open(&next)?;
            state.joint.check_stream(&next, scan.section())?;
            path = next;
        }
        state.finish(&map, &mut fold)
    }
}

fn stopped<E: From<SeriesError>>(path: &Path) -> impl FnOnce(Stop<E>) -> E {
    let path = path.to_owned();
    move |stop| match stop {
        Stop::Read(error) => unreadable(&path)(error).into(),
        Stop::Fold(error) => error,
    }
}

impl State {
    fn new(section: &Section) -> Self {
        Self {
            joint: Joint::new(section),
            sum: Statistics::default(),
            ended: 0,
            files: 0,
            batches: 0,
            end: End { bytes: 0, tail: None, foreign: 0 },
        }
    }

    /// Reads one file to its end.
    fn file<T: Send, E: From<SeriesError>>(
        &mut self,
        scan: Scan<Input>,
        path: &Path,
        map: &(impl Fn(Batch) -> T + Sync),
        fold: &mut impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (known, batches, before) = (self.joint.devices.clone(), self.batches, self.end);
        let (mut is_first, ended) = (true, self.ended);
        let end = scan.run(
            |batch| Piece::of(batch, batches, &known, map),
            |piece: Piece<T>, bytes| {
                self.piece(piece, path, &mut is_first, map, &mut |part| fold(part, before.bytes + bytes))
            },
        );
        self.end = before.then(end.map_err(stopped(path))?);
        self.files += 1;
        self.ended = ended + u64::from(self.ended > ended);
        Ok(())
    }

    fn piece<T, E: From<SeriesError>>(
        &mut self,
        piece: Piece<T>,
        path: &Path,
        is_first: &mut bool,
        map: &impl Fn(Batch) -> T,
        fold: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let of_series = |error: SeriesError| Stop::Fold(error.into());
        self.batches += 1;
        piece.devices.into_iter().try_for_each(|device| self.joint.device(path, device)).map_err(of_series)?;
        if let Some(first) = piece.first.filter(|_| std::mem::take(is_first))
            && let Some(gap) = self.joint.missing_before(path, first).map_err(of_series)?
        {
            fold(map(self.extra(gap))).map_err(Stop::Fold)?;
        }
        self.joint.last = self.joint.last.max(piece.last.unwrap_or(Seq(0)));
        self.ended += u64::from(!piece.statistics.is_empty());
        self.sum = piece.statistics.iter().fold(std::mem::take(&mut self.sum), |sum, more| sum.plus(more));
        fold(piece.mapped).map_err(Stop::Fold)
    }

    /// A batch of an item that stands in no file.
    fn extra(&self, item: Item) -> Batch {
        Batch { index: self.batches, devices: Vec::new(), items: vec![item] }
    }

    fn finish<T, E>(self, map: &impl Fn(Batch) -> T, fold: &mut impl FnMut(T, u64) -> Result<(), E>) -> Result<End, E> {
        if self.ended == self.files {
            let statistics = Item::Statistics(Box::new(self.sum.clone()));
            fold(map(self.extra(statistics)), self.end.bytes)?;
        }
        Ok(self.end)
    }
}

impl<T> Piece<T> {
    /// Keeps back what is told of all files together, or was told before.
    fn of(mut batch: Batch, before: u64, known: &[Device], map: &impl Fn(Batch) -> T) -> Self {
        let devices = batch.devices.clone();
        batch.devices.retain(|device| known.iter().all(|known| known.volume != device.volume));
        batch.index += before;
        let all: Vec<(Seq, Seq)> = batch.items.iter().filter_map(numbers).collect();
        let mut statistics = Vec::new();
        batch.items.retain(|item| match item {
            Item::Statistics(told) => {
                statistics.push((**told).clone());
                false
            }
            _ => true,
        });
        let first = all.first().map(|(first, _)| *first);
        let last = all.iter().map(|(_, last)| *last).max();
        Self { mapped: map(batch), first, last, devices, statistics }
    }
}

impl End {
    /// Of this and what was read then.
    fn then(self, next: Self) -> Self {
        let tail = match (self.tail, next.tail) {
            (Some(first), Some(second)) => Some(Tail { bytes: first.bytes + second.bytes, ..first }),
            (None, Some(Tail { offset, bytes })) => Some(Tail { offset: self.bytes + offset, bytes }),
            (first, None) => first,
        };
        Self { bytes: self.bytes + next.bytes, tail, foreign: self.foreign + next.foreign }
    }
}

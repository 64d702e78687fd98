//! Several capture files, one after the other, read on several threads as one capture.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use formats::Seq;

use super::{Batch, Batches, End, Scan};
use crate::error::ReadError;
use crate::meta::{Device, Section, Statistics};
use crate::reader::{CapturedEntry, Item, Sink, Tail};
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

/// How parts are gathered, and what is made of them.
struct Make<B, M> {
    begin: B,
    map: M,
}

/// Gathers a part, and what tells how it goes on from what was before.
struct Noting<S> {
    inner: S,
    first: Option<Seq>,
    last: Option<Seq>,
    statistics: Vec<Statistics>,
}

impl<S: Sink> Sink for Noting<S> {
    fn entry(&mut self, entry: CapturedEntry) {
        if let Some((first, last)) = numbers(&entry) {
            self.first.get_or_insert(first);
            self.last = self.last.max(Some(last));
        }
        self.inner.entry(entry);
    }

    /// Keeps back what is told of all files together.
    fn other(&mut self, item: Item) {
        match item {
            Item::Entry(entry) => self.entry(*entry),
            Item::Statistics(told) => self.statistics.push(*told),
            item => self.inner.other(item),
        }
    }
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

    fn gather<S: Sink, T: Send, E: From<SeriesError>>(
        self,
        begin: impl Fn(u64) -> S + Sync,
        map: impl Fn(Batch<S>) -> T + Sync,
        mut fold: impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E> {
        let Self { first, mut path, mut rest, .. } = self;
        if rest.is_empty() {
            let one = |part, bytes| fold(part, bytes).map_err(Stop::Fold);
            return first.gather(begin, map, one).map_err(stopped(&path));
        }
        let mut state = State::new(first.section());
        let (mut scan, make) = (first, Make { begin, map });
        loop {
            state.file(scan, &path, &make, &mut fold)?;
            let Some(next) = rest.pop_front() else { break };
            scan = open(&next)?;
            state.joint.check_stream(&next, scan.section())?;
            path = next;
        }
        state.finish(&make, &mut fold)
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
    fn file<S: Sink, T: Send, E: From<SeriesError>>(
        &mut self,
        scan: Scan<Input>,
        path: &Path,
        make: &Make<impl Fn(u64) -> S + Sync, impl Fn(Batch<S>) -> T + Sync>,
        fold: &mut impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (known, batches, before) = (self.joint.devices.clone(), self.batches, self.end);
        let (mut is_first, ended) = (true, self.ended);
        let end = scan.gather(
            |index| make.noting(batches + index),
            |batch| Piece::of(batch, batches, &known, &make.map),
            |piece: Piece<T>, bytes| {
                self.piece(piece, path, &mut is_first, make, &mut |part| fold(part, before.bytes + bytes))
            },
        );
        self.end = before.then(end.map_err(stopped(path))?);
        self.files += 1;
        self.ended = ended + u64::from(self.ended > ended);
        Ok(())
    }

    fn piece<S: Sink, T, E: From<SeriesError>>(
        &mut self,
        piece: Piece<T>,
        path: &Path,
        is_first: &mut bool,
        make: &Make<impl Fn(u64) -> S, impl Fn(Batch<S>) -> T>,
        fold: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let of_series = |error: SeriesError| Stop::Fold(error.into());
        self.batches += 1;
        piece.devices.into_iter().try_for_each(|device| self.joint.device(path, device)).map_err(of_series)?;
        if let Some(first) = piece.first.filter(|_| std::mem::take(is_first))
            && let Some(gap) = self.joint.missing_before(path, first).map_err(of_series)?
        {
            fold(make.extra(self.batches, gap)).map_err(Stop::Fold)?;
        }
        self.joint.last = self.joint.last.max(piece.last.unwrap_or(Seq(0)));
        self.ended += u64::from(!piece.statistics.is_empty());
        self.sum = piece.statistics.iter().fold(std::mem::take(&mut self.sum), |sum, more| sum.plus(more));
        fold(piece.mapped).map_err(Stop::Fold)
    }

    fn finish<S: Sink, T, E>(
        self,
        make: &Make<impl Fn(u64) -> S, impl Fn(Batch<S>) -> T>,
        fold: &mut impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E> {
        if self.ended == self.files {
            let statistics = Item::Statistics(Box::new(self.sum));
            fold(make.extra(self.batches, statistics), self.end.bytes)?;
        }
        Ok(self.end)
    }
}

impl<S: Sink, T, B: Fn(u64) -> S, M: Fn(Batch<S>) -> T> Make<B, M> {
    fn noting(&self, index: u64) -> Noting<S> {
        Noting { inner: (self.begin)(index), first: None, last: None, statistics: Vec::new() }
    }

    /// A part of an item that stands in no file.
    fn extra(&self, index: u64, item: Item) -> T {
        let mut items = (self.begin)(index);
        items.other(item);
        (self.map)(Batch { index, devices: Vec::new(), items })
    }
}

impl<T> Piece<T> {
    /// Keeps back the devices that were told before.
    fn of<S: Sink>(batch: Batch<Noting<S>>, before: u64, known: &[Device], map: &impl Fn(Batch<S>) -> T) -> Self {
        let Batch { index, devices, items: Noting { inner, first, last, statistics } } = batch;
        let is_new = |device: &&Device| known.iter().all(|known| known.volume != device.volume);
        let new = devices.iter().filter(is_new).cloned().collect();
        Self {
            mapped: map(Batch { index: index + before, devices: new, items: inner }),
            first,
            last,
            devices,
            statistics,
        }
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

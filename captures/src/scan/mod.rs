//! Reads a capture on several threads, and gives what it holds in order.
//!
//! The file is cut where entries begin ([`chunks`]); each chunk is decoded, and what `map` makes of it handed to `fold` in
//! the order of the file. Memory: a few chunks, whatever the file's size. What comes out is what [`crate::Reader`] gives,
//! error for error; a test compares them.

mod chunks;
mod series;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use pcap_file::pcapng::{PcapNgParseError, PcapNgParser};

use crate::error::ReadError;
use crate::meta::{Device, Section};
use crate::packet::Packet;
use crate::reader::{Assembly, Item, MAX_BLOCK, Sink, Tail};
use chunks::{Chunk, Chunks, Next};

pub use series::SeriesScan;

/// About as long is a chunk: long enough that threads seldom meet, short enough for their caches.
const CHUNK_LEN: usize = 512 << 10;
/// Chunks in work or waiting, per thread.
const IN_FLIGHT: usize = 3;

/// What gives a capture in batches: a file, or several of one capture.
pub trait Batches {
    /// Why it cannot be read.
    type Error;

    /// Where, when and how it was captured.
    fn section(&self) -> &Section;

    /// Reads all of it. `map` runs on several threads; `fold` gets what it makes, in order, with the bytes so far.
    ///
    /// # Errors
    /// When the input fails or is damaged (`fold` has had everything before), or the first error of `fold`.
    fn run<T: Send, E: From<Self::Error>>(
        self,
        map: impl Fn(Batch) -> T + Sync,
        fold: impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E>
    where
        Self: Sized,
    {
        let end = |part: Batch<VecDeque<Item>>| {
            let Batch { index, devices, items } = part;
            map(Batch { index, devices, items: items.into() })
        };
        self.gather(|_| VecDeque::new(), end, fold)
    }

    /// The same for who needs no items: each part is gathered by what `begin` makes, with its index, and given to `map`.
    ///
    /// # Errors
    /// As [`Self::run`].
    fn gather<S: Sink, T: Send, E: From<Self::Error>>(
        self,
        begin: impl Fn(u64) -> S + Sync,
        map: impl Fn(Batch<S>) -> T + Sync,
        fold: impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E>;
}

/// A capture to be read on several threads.
pub struct Scan<R> {
    chunks: Chunks<R>,
    section: Section,
    threads: usize,
}

/// A stretch of a capture.
#[derive(Debug)]
pub struct Batch<S = Vec<Item>> {
    /// Counts parts, from 0.
    pub index: u64,
    /// Devices that are described in it: in general all in the first part.
    pub devices: Vec<Device>,
    /// What it holds.
    pub items: S,
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Bytes of the file.
    pub bytes: u64,
    /// What is left behind the last whole thing; None when nothing is.
    pub tail: Option<Tail>,
    /// Packets that are none of ours, and were passed over.
    pub foreign: u64,
}

/// A part with what is known of its place.
struct Decoded<T> {
    index: u64,
    mapped: T,
    /// Where the part ends.
    end: u64,
    whole: u64,
    foreign: u64,
    error: Option<ReadError>,
    buffer: Vec<u8>,
}

/// What a thread hands over: a part, or that the input failed.
type Handed<T> = Result<Decoded<T>, ReadError>;

impl<R: Read + Send> Scan<R> {
    /// Begins to read; on as many threads as there are processors.
    ///
    /// # Errors
    /// When the input is no capture of ours, or fails.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(input, threads, CHUNK_LEN)
    }

    /// On `threads` threads, in chunks of about `len` bytes.
    ///
    /// # Errors
    /// When the input is no capture of ours, or fails.
    pub fn with(input: R, threads: usize, len: usize) -> Result<Self, ReadError> {
        let (chunks, section) = Chunks::new(input, len)?;
        Ok(Self { chunks, section, threads: threads.max(1) })
    }
}

impl<R: Read + Send> Batches for Scan<R> {
    type Error = ReadError;

    fn section(&self) -> &Section {
        &self.section
    }

    fn gather<S: Sink, T: Send, E: From<ReadError>>(
        self,
        begin: impl Fn(u64) -> S + Sync,
        map: impl Fn(Batch<S>) -> T + Sync,
        mut fold: impl FnMut(T, u64) -> Result<(), E>,
    ) -> Result<End, E> {
        let (free, buffers) = channel();
        let in_flight = self.threads * IN_FLIGHT;
        (0..in_flight).for_each(|_| free.send(Vec::new()).unwrap_or_default());
        let (done, decoded) = sync_channel::<Handed<T>>(in_flight);
        let source = Mutex::new((self.chunks, buffers));
        let decode = |chunk: Chunk| {
            let sink = begin(chunk.index);
            decode(chunk, sink, &map)
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let done = done.clone();
                let (source, decode) = (&source, &decode);
                scope.spawn(move || work(source, decode, &done));
            }
            drop(done);
            in_order(decoded, free, &mut fold)
        })
    }
}

/// One thread: takes chunks until there are none.
fn work<R: Read, T>(
    source: &Mutex<(Chunks<R>, Receiver<Vec<u8>>)>,
    decode: &impl Fn(Chunk) -> Decoded<T>,
    done: &SyncSender<Handed<T>>,
) {
    loop {
        let chunk = {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            // No buffer comes any more when the one who folds has ended.
            let Ok(buffer) = source.1.recv() else { return };
            source.0.next(buffer)
        };
        let handed = match chunk {
            Ok(None) => return,
            Ok(Some(chunk)) => Ok(decode(chunk)),
            Err(error) => Err(error),
        };
        let ended = handed.is_err();
        if done.send(handed).is_err() || ended {
            return;
        }
    }
}

/// Brings what the threads made into order. It owns both ends, so that the threads end when it does.
fn in_order<T, E: From<ReadError>>(
    decoded: Receiver<Handed<T>>,
    free: Sender<Vec<u8>>,
    fold: &mut impl FnMut(T, u64) -> Result<(), E>,
) -> Result<End, E> {
    let mut waiting = BTreeMap::new();
    let mut end = End { bytes: 0, tail: None, foreign: 0 };
    let (mut next, mut failure) = (0, None);
    for handed in decoded {
        match handed {
            Ok(part) => waiting.insert(part.index, part).map_or((), drop),
            Err(error) => failure = Some(error),
        }
        while let Some(part) = waiting.remove(&next) {
            next += 1;
            end = end.after(&part);
            fold(part.mapped, part.end)?;
            if let Some(error) = part.error {
                return Err(error.into());
            }
            // Without threads that wait for it, nobody takes it.
            let _ = free.send(part.buffer);
        }
    }
    failure.map_or(Ok(end), |error| Err(error.into()))
}

impl End {
    fn after<T>(self, part: &Decoded<T>) -> Self {
        let tail = (part.end > part.whole).then(|| Tail { offset: part.whole, bytes: part.end - part.whole });
        Self { bytes: part.end, tail, foreign: self.foreign + part.foreign }
    }
}

fn decode<S: Sink, T>(chunk: Chunk, ready: S, map: &impl Fn(Batch<S>) -> T) -> Decoded<T> {
    let mut assembly = Assembly { interfaces: Vec::new(), pending: None, ready, whole: chunk.offset, foreign: 0 };
    let outcome = blocks(&chunk, &mut assembly);
    let devices = assembly.interfaces.into_iter().flatten().collect();
    Decoded {
        index: chunk.index,
        mapped: map(Batch { index: chunk.index, devices, items: assembly.ready }),
        end: chunk.offset + chunk.bytes.len() as u64,
        whole: assembly.whole,
        foreign: assembly.foreign,
        error: outcome.err(),
        buffer: chunk.bytes,
    }
}

/// Decodes the blocks of a chunk.
fn blocks(chunk: &Chunk, assembly: &mut Assembly<impl Sink>) -> Result<(), ReadError> {
    let mut parser = parser(&chunk.preamble)?;
    let mut rest = chunk.bytes.as_slice();
    let at = |rest: &[u8]| chunk.offset + (chunk.bytes.len() - rest.len()) as u64;
    while !rest.is_empty() {
        let offset = at(rest);
        if let Some((len, packet)) = Packet::parse(rest, parser.state()) {
            rest = &rest[len..];
            assembly.packet(&packet, offset)?;
            assembly.settle(offset + len as u64);
            continue;
        }
        let (behind, block) = match parser.next_block(rest) {
            Ok(parsed) => parsed,
            Err(PcapNgParseError::IncompleteBuffer(..)) if chunk.next == Next::Nothing => return Ok(()),
            Err(PcapNgParseError::IncompleteBuffer(..)) => return Err(ReadError::TooLarge { offset, max: MAX_BLOCK }),
            Err(error) => return Err(ReadError::Block { offset, error: error.into() }),
        };
        assembly.block(block, offset)?;
        assembly.settle(at(behind));
        rest = behind;
    }
    if chunk.next == Next::Entry { assembly.give_up(at(rest)) } else { Ok(()) }
}

/// A parser that knows what came before the chunk.
fn parser(preamble: &[u8]) -> Result<PcapNgParser, ReadError> {
    let failed = |error: PcapNgParseError| ReadError::Block { offset: 0, error: error.into() };
    let (mut rest, mut parser) = PcapNgParser::new(preamble).map_err(failed)?;
    while !rest.is_empty() {
        rest = parser.next_block(rest).map_err(failed)?.0;
    }
    Ok(parser)
}

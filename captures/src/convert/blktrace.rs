//! The kernel's block trace (`include/uapi/linux/blktrace_api.h`): events of 48 bytes, by processor. A command becomes three:
//! queued (Q) and issued (D) at its issue, completed (C) at its completion.

use std::collections::HashMap;
use std::io::{BufRead, BufWriter, ErrorKind, Write};

use formats::entry::Origin;
use formats::{ByteRange, Op, OpFlags, Record, Status};

use super::order::ByTime;
use super::{ConvertError, Format, Import, Imported, Losses};
use crate::meta::Device;
use crate::reader::CapturedEntry;

const MAGIC: u32 = 0x6561_7400;
const VERSION: u32 = 7;
const EVENT_LEN: usize = 48;
const SECTOR: u64 = 512;

/// Actions (`__BLK_TA_*`).
const QUEUE: u32 = 1;
const ISSUE: u32 = 7;
const COMPLETE: u32 = 8;
/// Notices (`__BLK_TN_*`).
const PROCESS: u32 = 0;
const TIMESTAMP: u32 = 1;
const MESSAGE: u32 = 2;
/// Categories (`BLK_TC_*`), in the upper half of the action.
const WRITE: u32 = 1 << 1;
const FLUSH: u32 = 1 << 2;
const SYNC: u32 = 1 << 3;
const IN_QUEUE: u32 = 1 << 4;
const IN_ISSUE: u32 = 1 << 6;
const IN_COMPLETE: u32 = 1 << 7;
const FS: u32 = 1 << 8;
const NOTICE: u32 = 1 << 10;
const META: u32 = 1 << 12;
const DISCARD: u32 = 1 << 13;
const IS_FUA: u32 = 1 << 15;

/// Block-extended devices: the major number that made-up device numbers have.
const MAJOR: u32 = 259;
/// Commands in flight, and processes, that are remembered.
const MOST: usize = 1 << 18;
/// The kernel's EIO: what blktrace tells of most failures.
const EIO: u16 = 5;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Event {
    time: u64,
    sector: u64,
    bytes: u32,
    action: u32,
    pid: u32,
    device: u32,
    cpu: u32,
    error: u16,
    pdu: Vec<u8>,
}

impl Event {
    fn encode(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = (MAGIC | VERSION).to_le_bytes().to_vec();
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&self.sector.to_le_bytes());
        let words = [self.bytes, self.action, self.pid, self.device, self.cpu];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&self.error.to_le_bytes());
        bytes.extend_from_slice(&(self.pdu.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.pdu);
        bytes
    }

    /// The event, and how many bytes follow it.
    fn decode(bytes: &[u8; EVENT_LEN]) -> (Self, u16) {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let event = Self {
            time: long(8),
            sector: long(16),
            bytes: word(24),
            action: word(28),
            pid: word(32),
            device: word(36),
            cpu: word(40),
            error: half(44),
            pdu: Vec::new(),
        };
        (event, half(46))
    }

    fn categories(&self) -> u32 {
        self.action >> 16
    }
}

/// Writes a trace, by time, as that of one processor.
pub(super) struct Export<W: Write> {
    out: BufWriter<W>,
    start_ns: u64,
    order: ByTime<Event>,
    sequence: u32,
    last: u64,
    /// The name that was told last of each process.
    names: HashMap<u32, [u8; 16]>,
    losses: Losses,
}

impl<W: Write> Export<W> {
    pub(super) fn new(out: W, start_ns: u64) -> Result<Self, ConvertError> {
        let losses =
            Losses::of(&["content", "order of completion within a nanosecond", "control groups", "CDB and sense data"]);
        let (names, order, out) = (HashMap::new(), ByTime::default(), BufWriter::with_capacity(1 << 20, out));
        let mut export = Self { out, start_ns, order, sequence: 0, last: 0, names, losses };
        let clock = [(start_ns / 1_000_000_000) as u32, (start_ns % 1_000_000_000) as u32];
        let pdu = clock.iter().flat_map(|word| word.to_le_bytes()).collect();
        export.event(&Event { action: TIMESTAMP | NOTICE << 16, pdu, ..Event::default() })?;
        Ok(export)
    }

    fn event(&mut self, event: &Event) -> Result<(), ConvertError> {
        self.sequence = self.sequence.wrapping_add(1);
        if event.time < self.last {
            self.losses.count("events told later than they happened");
        }
        self.last = self.last.max(event.time);
        Ok(self.out.write_all(&event.encode(self.sequence))?)
    }

    fn push(&mut self, event: Event) -> Result<(), ConvertError> {
        let ready = self.order.push(event.time, event);
        ready.map_or(Ok(()), |(_, event)| self.event(&event))
    }

    /// Tells a process' name, when it is another than was told.
    fn name(&mut self, record: &Record, time: u64) -> Result<(), ConvertError> {
        let (pid, comm) = (record.origin.pid, record.origin.comm);
        if self.names.get(&pid) == Some(&comm) || self.names.len() >= MOST {
            return Ok(());
        }
        self.names.insert(pid, comm);
        let action = PROCESS | NOTICE << 16;
        self.push(Event { time, action, pid, pdu: comm.to_vec(), ..Event::default() })
    }
}

/// The categories of a command; none of one that the trace has no word for.
fn categories(record: &Record) -> Option<u32> {
    let kind = match record.op {
        Op::Write if record.range.is_empty() => FLUSH,
        Op::Write | Op::WriteZeroes => WRITE,
        Op::Flush => FLUSH,
        Op::Discard | Op::SecureErase => WRITE | DISCARD,
        Op::Zone | Op::Opaque | Op::Scsi => return None,
    };
    let flags = [(OpFlags::SYNC, SYNC), (OpFlags::META, META), (OpFlags::FUA, IS_FUA), (OpFlags::PREFLUSH, FLUSH)];
    let set = flags.iter().filter(|(flag, _)| record.flags.contains(*flag));
    Some(set.fold(kind | FS, |all, (_, bit)| all | bit))
}

impl<W: Write + Send> super::Export for Export<W> {
    fn devices(&mut self, _: &[Device]) -> Result<(), ConvertError> {
        Ok(())
    }

    fn record(&mut self, record: &Record, _: &CapturedEntry) -> Result<(), ConvertError> {
        let Some(categories) = categories(record) else {
            self.losses.count("commands that are no write, flush or discard");
            return Ok(());
        };
        let Ok(bytes) = u32::try_from(record.range.len) else {
            self.losses.count("commands of 4 GiB and more");
            return Ok(());
        };
        if record.op == Op::WriteZeroes {
            self.losses.count("writes of zeros, shown as writes");
        }
        let device = MAJOR << 20 | u32::from(record.volume.0);
        let (sector, pid) = (record.range.offset / SECTOR, record.origin.pid);
        let since = |at_ns: u64| at_ns.saturating_sub(self.start_ns);
        let (issued, completed) = (since(record.origin.issued_ns), since(record.origin.completed_ns));
        let event = |time, action, category: u32, error| {
            let action = action | (categories | category) << 16;
            Event { time, sector, bytes, action, pid, device, error, ..Event::default() }
        };
        self.name(record, issued)?;
        self.push(event(issued, QUEUE, IN_QUEUE, 0))?;
        self.push(event(issued, ISSUE, IN_ISSUE, 0))?;
        if record.status == Status::UNKNOWN {
            return Ok(());
        }
        let error = if record.status.is_ok() { 0 } else { EIO };
        self.push(event(completed, COMPLETE, IN_COMPLETE, error))
    }

    fn mark(&mut self, at_ns: u64, text: &str) -> Result<(), ConvertError> {
        let time = at_ns.saturating_sub(self.start_ns);
        let pdu = text.bytes().take(1024).collect();
        self.push(Event { time, action: MESSAGE | NOTICE << 16, pdu, ..Event::default() })
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn finish(mut self: Box<Self>) -> Result<Losses, ConvertError> {
        while let Some((_, event)) = self.order.pop() {
            self.event(&event)?;
        }
        self.out.flush()?;
        Ok(self.losses)
    }
}

/// A command in flight.
struct Issued {
    at: u64,
    pid: u32,
    dep: u64,
    depth: u16,
}

/// Reads events and pairs issue with completion.
struct Trace<W: Write> {
    capture: Import<W>,
    devices: Vec<u32>,
    flying: HashMap<(u32, u64, u32), Issued>,
    names: HashMap<u32, [u8; 16]>,
    start_ns: u64,
}

/// Reads a trace: the file of one processor, or all of them as `blkparse -d` puts them together.
pub(super) fn import<W: Write>(mut input: impl BufRead, _: &str, out: W) -> Result<(W, Losses), ConvertError> {
    let losses = Losses::of(&["content", "queueing, merging and other steps before the issue"]);
    let capture = Import::new(out, &[], Format::Blktrace, 0, losses)?;
    let (flying, names) = (HashMap::new(), HashMap::new());
    let mut trace = Trace { capture, devices: Vec::new(), flying, names, start_ns: 0 };
    let mut at = 0;
    while let Some((event, len)) = next_event(&mut input, at)? {
        trace.event(&event)?;
        at += len;
    }
    if at == 0 {
        return Err(ConvertError::NotOne { format: Format::Blktrace, why: "it is empty".into() });
    }
    if !trace.flying.is_empty() {
        trace.capture.losses.count("commands that were still in flight at the end");
    }
    trace.capture.finish()
}

fn damaged(at: u64, what: &str) -> ConvertError {
    ConvertError::Damaged { format: Format::Blktrace, place: format!("byte {at}"), what: what.to_owned() }
}

/// The event at byte `at`, and its length.
fn next_event(input: &mut impl BufRead, at: u64) -> Result<Option<(Event, u64)>, ConvertError> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let cut = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => damaged(at, "it ends in the middle of an event"),
        _ => error.into(),
    };
    let mut head = [0; EVENT_LEN];
    input.read_exact(&mut head).map_err(cut)?;
    let magic = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let swapped = magic.swap_bytes() & !0xff == MAGIC;
    if magic != MAGIC | VERSION {
        let why = if swapped { "a trace of a big-endian machine".to_owned() } else { format!("magic {magic:#x}") };
        let first = ConvertError::NotOne { format: Format::Blktrace, why };
        return Err(if at == 0 { first } else { damaged(at, "no event") });
    }
    let (mut event, len) = Event::decode(&head);
    event.pdu = vec![0; usize::from(len)];
    input.read_exact(&mut event.pdu).map_err(cut)?;
    Ok(Some((event, EVENT_LEN as u64 + u64::from(len))))
}

impl<W: Write> Trace<W> {
    fn event(&mut self, event: &Event) -> Result<(), ConvertError> {
        let action = event.action & 0xffff;
        if event.categories() & NOTICE != 0 {
            return self.notice(event, action);
        }
        match action {
            ISSUE | COMPLETE if event.categories() & (WRITE | FLUSH | DISCARD) == 0 => {
                if action == COMPLETE {
                    self.capture.losses.count("reads and what else changes nothing");
                }
                Ok(())
            }
            ISSUE => {
                self.issued(event);
                Ok(())
            }
            COMPLETE => self.completed(event),
            _ => Ok(()),
        }
    }

    fn notice(&mut self, event: &Event, action: u32) -> Result<(), ConvertError> {
        match (action, &event.pdu[..]) {
            (TIMESTAMP, [a, b, c, d, e, f, g, h, ..]) => {
                let seconds = u32::from_le_bytes([*a, *b, *c, *d]);
                let ns = u32::from_le_bytes([*e, *f, *g, *h]);
                self.start_ns = (u64::from(seconds) * 1_000_000_000 + u64::from(ns)).saturating_sub(event.time);
            }
            (PROCESS, name) if self.names.len() < MOST => {
                let mut comm = [0; 16];
                comm.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
                self.names.insert(event.pid, comm);
            }
            (MESSAGE, text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                self.capture.writer.mark(self.start_ns.saturating_add(event.time), text.trim_end_matches('\0'))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn issued(&mut self, event: &Event) {
        if self.flying.len() >= MOST {
            self.capture.losses.count("commands beyond those in flight that are remembered");
            return;
        }
        let depth = (self.flying.len() + 1).min(usize::from(u16::MAX)) as u16;
        let issued = Issued { at: event.time, pid: event.pid, dep: self.capture.seq, depth };
        self.flying.insert((event.device, event.sector, event.bytes), issued);
    }

    fn completed(&mut self, event: &Event) -> Result<(), ConvertError> {
        let volume = self.volume(event.device)?;
        let issued = self.flying.remove(&(event.device, event.sector, event.bytes));
        if issued.is_none() {
            self.capture.losses.count("issues that were not seen, or of another length: completion stands for them");
        }
        let pid = issued.as_ref().map_or(event.pid, |issued| issued.pid);
        let at = |time: u64| self.start_ns.saturating_add(time);
        let origin = Origin {
            issued_ns: at(issued.as_ref().map_or(event.time, |issued| issued.at)),
            completed_ns: at(event.time),
            pid,
            tgid: pid,
            comm: self.names.get(&pid).copied().unwrap_or_default(),
            queue_depth: issued.as_ref().map_or(1, |issued| issued.depth),
            ..Origin::default()
        };
        let dep = issued.map_or(u64::MAX, |issued| issued.dep);
        let (op, flags, range) = command_of(event);
        let status = if event.error == 0 { Status::OK } else { Status(10) };
        self.capture.record(&Imported { volume, op, flags, range, status, origin, dep }, None)
    }

    fn volume(&mut self, number: u32) -> Result<u16, ConvertError> {
        let known = self.devices.iter().position(|known| *known == number);
        let place = known.unwrap_or(self.devices.len());
        let volume = u16::try_from(place).map_err(|_| damaged(0, "more than 65536 devices"))?;
        if known.is_none() {
            let name = format!("{}:{}", number >> 20, number & 0xf_ffff);
            let path = format!("/dev/block/{name}");
            let device = Device { volume, name, path, block_size: 512, layer: "request".into(), ..Device::default() };
            self.capture.writer.add_device(&device)?;
            self.devices.push(number);
        }
        Ok(volume)
    }
}

fn command_of(event: &Event) -> (Op, OpFlags, ByteRange) {
    let categories = event.categories();
    let range = ByteRange::new(event.sector.saturating_mul(SECTOR), event.bytes.into());
    let op = match () {
        () if categories & DISCARD != 0 => Op::Discard,
        () if event.bytes == 0 => Op::Flush,
        () => Op::Write,
    };
    let flags = [(OpFlags::SYNC, SYNC), (OpFlags::META, META), (OpFlags::FUA, IS_FUA)];
    let set = flags.iter().filter(|(_, bit)| categories & bit != 0);
    let mut flags = set.fold(OpFlags::empty(), |all, (flag, _)| all | *flag);
    flags.set(OpFlags::PREFLUSH, op == Op::Write && categories & FLUSH != 0);
    (op, flags, if op == Op::Flush { ByteRange::default() } else { range })
}

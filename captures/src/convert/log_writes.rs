//! The log of the device-mapper target log-writes (kernel, `drivers/md/dm-log-writes.c`), which xfstests' `replay-log` reads.
//!
//! Sectors are of the device's block size. A super block in the first one, then for each entry a sector with its head (and
//! the text of a mark), then its content. The target logs a write once a flush has covered it, so that the log's order is
//! that in which content became durable: a flush stands behind the writes that had completed when it was issued, and before
//! those that completed while it ran.

use std::collections::VecDeque;
use std::io::{BufRead, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};

use formats::entry::{MAX_PAYLOAD, Origin};
use formats::{ByteRange, Op, OpFlags, PayloadEncoding, Record, Status};

use super::{ConvertError, Format, Import, Imported, Losses};
use crate::meta::Device;
use crate::reader::CapturedEntry;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Bytes of the super block's and of an entry's head.
const SUPER_LEN: usize = 28;
const HEAD_LEN: usize = 32;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
const METADATA: u64 = 16;

/// Content that waits for its flush at most, in bytes.
const MOST_WAITING: u64 = 64 << 20;
/// Zeros are written in pieces.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes a log of one volume.
pub(super) struct Export<W: Write + Seek> {
    out: BufWriter<W>,
    volume: Option<u16>,
    devices: Vec<Device>,
    block_size: u64,
    entries: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    /// The last write that was given out although no flush had covered it.
    early: u64,
    losses: Losses,
}

/// A write that no flush has covered yet.
struct Waiting {
    seq: u64,
    entry: Logged,
}

struct Logged {
    range: ByteRange,
    flags: u64,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    Zeros,
    None,
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros | Self::None => 0,
        }
    }
}

impl<W: Write + Seek> Export<W> {
    pub(super) fn new(out: W) -> Self {
        let losses = Losses::of(&["times", "order within a flush interval", "process and cgroup"]);
        let (waiting, devices) = (VecDeque::new(), Vec::new());
        let out = BufWriter::with_capacity(1 << 20, out);
        Self { out, volume: None, devices, block_size: 0, entries: 0, waiting, waiting_bytes: 0, early: 0, losses }
    }

    /// The first record decides of which volume the log is.
    fn begin(&mut self, volume: u16) -> Result<(), ConvertError> {
        if self.volume.is_some_and(|known| known != volume) {
            return Err(ConvertError::Several(Format::LogWrites));
        }
        if self.volume.is_none() {
            let size = self.devices.iter().find(|device| device.volume == volume).map_or(0, |device| device.block_size);
            let size = if size == 0 { 512 } else { size };
            if !is_sane(size.into()) {
                return Err(ConvertError::BlockSize { format: Format::LogWrites, size });
            }
            self.volume = Some(volume);
            self.block_size = size.into();
            self.padded(&[])?;
        }
        Ok(())
    }

    /// One sector with `bytes` at its beginning.
    fn padded(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        let mut sector = bytes.to_vec();
        sector.resize(self.block_size as usize, 0);
        Ok(self.out.write_all(&sector)?)
    }

    fn entry(&mut self, logged: &Logged) -> Result<(), ConvertError> {
        let Logged { range, flags, content } = logged;
        self.head(range.offset / self.block_size, range.len / self.block_size, *flags, &[])?;
        match content {
            Content::Bytes(bytes) => self.out.write_all(bytes)?,
            Content::Zeros => {
                let mut left = range.len;
                while left > 0 {
                    let piece = left.min(ZEROS.len() as u64);
                    self.out.write_all(&ZEROS[..piece as usize])?;
                    left -= piece;
                }
            }
            Content::None => {}
        }
        Ok(())
    }

    fn head(&mut self, sector: u64, sectors: u64, flags: u64, mark: &[u8]) -> Result<(), ConvertError> {
        self.entries += 1;
        let words = [sector, sectors, flags, mark.len() as u64];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(mark);
        self.padded(&bytes)
    }

    /// Writes that had completed up to `seq`, in order.
    fn release(&mut self, seq: u64) -> Result<(), ConvertError> {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.seq <= seq) {
            self.waiting_bytes -= waiting.entry.content.len();
            self.entry(&waiting.entry)?;
        }
        Ok(())
    }

    fn hold(&mut self, seq: u64, entry: Logged) -> Result<(), ConvertError> {
        self.waiting_bytes += entry.content.len();
        self.waiting.push_back(Waiting { seq, entry });
        while self.waiting_bytes > MOST_WAITING {
            let oldest = self.waiting.front().map_or(0, |waiting| waiting.seq);
            self.early = oldest;
            self.release(oldest)?;
        }
        Ok(())
    }

    /// A flush covers what had completed when it was issued.
    fn flush(&mut self, dep: u64) -> Result<(), ConvertError> {
        if self.early > dep {
            self.losses.count("flushes that stand behind writes which they did not cover");
        }
        self.release(dep)
    }

    fn content(&self, record: &Record, entry: &CapturedEntry) -> Result<Content, ConvertError> {
        let info = &entry.header.payload;
        let seq = record.seq.0;
        match info.encoding {
            PayloadEncoding::Zero => Ok(Content::Zeros),
            PayloadEncoding::Data if entry.missing == 0 => Ok(Content::Bytes(entry.content.clone())),
            _ => Err(ConvertError::NoContent { format: Format::LogWrites, seq }),
        }
    }

    fn write(&mut self, record: &Record, content: Content) -> Result<(), ConvertError> {
        let flag = |flag, bit| if record.flags.contains(flag) { bit } else { 0 };
        let flags = flag(OpFlags::FUA, FUA) | flag(OpFlags::META, METADATA) | flag(OpFlags::PREFLUSH, FLUSH);
        let entry = Logged { range: record.range, flags, content };
        if flags & FLUSH != 0 {
            self.flush(record.dep.0)?;
        }
        // What is durable at once goes past those that wait.
        if flags & FUA != 0 { self.entry(&entry) } else { self.hold(record.seq.0, entry) }
    }
}

impl<W: Write + Seek + Send> super::Export for Export<W> {
    fn devices(&mut self, devices: &[Device]) -> Result<(), ConvertError> {
        self.devices.extend_from_slice(devices);
        Ok(())
    }

    fn record(&mut self, record: &Record, entry: &CapturedEntry) -> Result<(), ConvertError> {
        self.begin(record.volume.0)?;
        if !record.status.is_ok() {
            self.losses.count("commands that failed, or whose end nobody saw");
            return Ok(());
        }
        let aligned = |at: u64| at.is_multiple_of(self.block_size);
        if !aligned(record.range.offset) || !aligned(record.range.len) {
            self.losses.count("commands that are not of whole blocks");
            return Ok(());
        }
        match record.op {
            Op::Write if record.range.is_empty() => self.nothing_but_flush(record),
            Op::Write => {
                let content = self.content(record, entry)?;
                self.write(record, content)
            }
            Op::Flush => self.nothing_but_flush(record),
            Op::WriteZeroes => self.write(record, Content::Zeros),
            Op::Discard | Op::SecureErase => {
                self.hold(record.seq.0, Logged { range: record.range, flags: DISCARD, content: Content::None })
            }
            Op::Zone | Op::Opaque | Op::Scsi => {
                self.losses.count("commands that are no write, flush or discard");
                Ok(())
            }
        }
    }

    fn mark(&mut self, _: u64, text: &str) -> Result<(), ConvertError> {
        if self.volume.is_none() {
            let volume = self.devices.first().map_or(0, |device| device.volume);
            self.begin(volume)?;
        }
        let most = self.block_size as usize - HEAD_LEN - 1;
        let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        if end < text.len() {
            self.losses.count("ends of marks that were too long");
        }
        self.head(0, 0, MARK, &text.as_bytes()[..end])
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn finish(mut self: Box<Self>) -> Result<Losses, ConvertError> {
        let volume = self.volume.unwrap_or_else(|| self.devices.first().map_or(0, |device| device.volume));
        self.begin(volume)?;
        self.release(u64::MAX)?;
        self.out.seek(SeekFrom::Start(0))?;
        let mut head: Vec<u8> = [MAGIC, VERSION, self.entries].iter().flat_map(|word| word.to_le_bytes()).collect();
        head.extend_from_slice(&(self.block_size as u32).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.flush()?;
        Ok(self.losses)
    }
}

impl<W: Write + Seek> Export<W> {
    fn nothing_but_flush(&mut self, record: &Record) -> Result<(), ConvertError> {
        self.flush(record.dep.0)?;
        self.head(0, 0, FLUSH, &[])
    }
}

/// Reads a log.
pub(super) fn import<W: Write>(mut input: impl BufRead, name: &str, out: W) -> Result<(W, Losses), ConvertError> {
    let mut head = [0; SUPER_LEN];
    input.read_exact(&mut head).map_err(|error| cut(error, 0))?;
    let (magic, entries) = (word(&head, 0), word(&head, 16));
    let block_size = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
    if magic != MAGIC || word(&head, 8) != VERSION || !is_sane(block_size) {
        let why = format!("magic {magic:#x}, version {}, sectors of {block_size} bytes", word(&head, 8));
        return Err(ConvertError::NotOne { format: Format::LogWrites, why });
    }
    let device = Device {
        name: name.to_owned(),
        path: name.to_owned(),
        block_size: block_size as u32,
        layer: "bio".into(),
        ..Device::default()
    };
    let losses = Losses::of(&["times (a log has none: each entry is a microsecond after the one before)"]);
    let capture = Import::new(out, &[device], Format::LogWrites, 0, losses)?;
    let mut log = Log { input, at: SUPER_LEN as u64, block_size, capture };
    log.skip(block_size - SUPER_LEN as u64)?;
    (0..entries).try_for_each(|number| log.entry(number))?;
    log.capture.finish()
}

/// Whether devices have such blocks.
fn is_sane(block_size: u64) -> bool {
    (512..=65_536).contains(&block_size) && block_size.is_power_of_two()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

fn cut(error: std::io::Error, at: u64) -> ConvertError {
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            let what = "it ends in the middle of an entry".to_owned();
            ConvertError::Damaged { format: Format::LogWrites, place: format!("byte {at}"), what }
        }
        _ => error.into(),
    }
}

struct Log<I, W: Write> {
    input: I,
    at: u64,
    block_size: u64,
    capture: Import<W>,
}

impl<I: Read, W: Write> Log<I, W> {
    /// So many bytes. Memory grows with what there is, not with what is claimed.
    fn read(&mut self, len: u64) -> Result<Vec<u8>, ConvertError> {
        let mut bytes = Vec::new();
        let read = Read::take(&mut self.input, len).read_to_end(&mut bytes)?;
        if (read as u64) < len {
            return Err(cut(ErrorKind::UnexpectedEof.into(), self.at));
        }
        self.at += len;
        Ok(bytes)
    }

    fn skip(&mut self, len: u64) -> Result<(), ConvertError> {
        self.read(len).map(drop)
    }

    fn entry(&mut self, number: u64) -> Result<(), ConvertError> {
        let sector = self.read(self.block_size)?;
        let (first, sectors, flags, len) = (word(&sector, 0), word(&sector, 8), word(&sector, 16), word(&sector, 24));
        let bytes = |count: u64| count.checked_mul(self.block_size);
        let (Some(offset), Some(size)) = (bytes(first), bytes(sectors)) else {
            return Err(self.damaged("an address beyond 64 bits"));
        };
        let at_ns = number * 1000;
        if flags & MARK != 0 {
            return self.mark(at_ns, &sector, len);
        }
        if flags & FLUSH != 0 {
            self.command(Op::Flush, OpFlags::empty(), ByteRange::default(), at_ns, None)?;
        }
        if flags & DISCARD != 0 {
            return self.command(Op::Discard, OpFlags::empty(), ByteRange::new(offset, size), at_ns, None);
        }
        let flag = |bit, flag| if flags & bit != 0 { flag } else { OpFlags::empty() };
        self.content(offset, size, flag(FUA, OpFlags::FUA) | flag(METADATA, OpFlags::META), at_ns)
    }

    /// Content in pieces that a record can hold.
    fn content(&mut self, offset: u64, size: u64, flags: OpFlags, at_ns: u64) -> Result<(), ConvertError> {
        let mut done = 0;
        while done < size {
            let piece = (size - done).min(u64::from(MAX_PAYLOAD));
            let bytes = self.read(piece)?;
            let range = ByteRange::new(offset.saturating_add(done), piece);
            self.command(Op::Write, flags, range, at_ns, Some(&bytes))?;
            done += piece;
        }
        Ok(())
    }

    fn command(
        &mut self,
        op: Op,
        flags: OpFlags,
        range: ByteRange,
        at_ns: u64,
        content: Option<&[u8]>,
    ) -> Result<(), ConvertError> {
        let origin = Origin { issued_ns: at_ns, completed_ns: at_ns, queue_depth: 1, ..Origin::default() };
        let command = Imported { volume: 0, op, flags, range, status: Status::OK, origin, dep: u64::MAX };
        self.capture.record(&command, content)
    }

    fn mark(&mut self, at_ns: u64, sector: &[u8], len: u64) -> Result<(), ConvertError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let text = sector[HEAD_LEN..].get(..len).ok_or_else(|| self.damaged("a mark longer than its sector"))?;
        let text: String = String::from_utf8_lossy(text).chars().take(1024).collect();
        Ok(self.capture.writer.mark(at_ns, &text)?)
    }

    fn damaged(&self, what: &str) -> ConvertError {
        let place = format!("byte {}", self.at - self.block_size);
        ConvertError::Damaged { format: Format::LogWrites, place, what: what.to_owned() }
    }
}

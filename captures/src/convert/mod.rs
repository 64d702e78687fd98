//! Captures from and into the formats of other tools. What a conversion cannot carry is counted by name: [`Losses`].

mod blktrace;
mod fio;
mod log_writes;
mod order;
mod table;

use std::fmt;
use std::io::{BufRead, Seek, Write};
use std::str::FromStr;

use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Seq, Status, VolumeIndex};
use thiserror::Error;

use crate::error::{ReadError, WriteError};
use crate::meta::{Device, Section, Statistics};
use crate::reader::{CapturedEntry, Item};
use crate::scan::{Batch, Batches};
use crate::series::SeriesError;
use crate::writer::Writer;

/// A format of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The kernel's block trace: blkparse, btrecord, fio.
    Blktrace,
    /// fio's I/O log, version 3 (2 is read too).
    Fio,
    /// The log of the device-mapper target log-writes.
    LogWrites,
    /// Comma-separated values, one line per command.
    Csv,
    /// Apache Parquet, one row per command.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Blktrace, Self::Fio, Self::LogWrites, Self::Csv, Self::Parquet];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blktrace => "blktrace",
            Self::Fio => "fio",
            Self::LogWrites => "dm-log-writes",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// What a conversion did not carry, by reason, in the order of appearance.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Losses {
    /// What is always lost in this format.
    pub always: Vec<&'static str>,
    /// What was lost of this capture, with how often.
    pub counted: Vec<(&'static str, u64)>,
}

impl Losses {
    fn of(always: &[&'static str]) -> Self {
        Self { always: always.to_vec(), counted: Vec::new() }
    }

    fn count(&mut self, what: &'static str) {
        match self.counted.iter_mut().find(|(name, _)| *name == what) {
            Some((_, count)) => *count += 1,
            None => self.counted.push((what, 1)),
        }
    }
}

/// Why a conversion failed.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The capture cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// One of the capture's files cannot be read, or they are not one capture.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The capture cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Input or output failed.
    #[error("converting: {0}")]
    Io(#[from] std::io::Error),
    /// The input is not what it is said to be.
    #[error("no {format} file: {why}")]
    NotOne {
        /// What it was read as.
        format: Format,
        /// What is wrong.
        why: String,
    },
    /// The input is damaged, or cut.
    #[error("{format}: {what} at {place}")]
    Damaged {
        /// What it was read as.
        format: Format,
        /// Byte or line.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The format holds one volume only.
    #[error("{0} holds one device, and the capture has several: filter it by device first (`blkecho filter --device`)")]
    Several(Format),
    /// The format needs content that the capture does not have.
    #[error(
        "{format} needs the content of each write, and that of seq {seq} is not in the capture: capture with payload"
    )]
    NoContent {
        /// The format.
        format: Format,
        /// The first write without.
        seq: u64,
    },
    /// The format counts in blocks, and no device has such ones.
    #[error(
        "{format} counts in blocks of the device, and the capture says that those have {size} bytes: it is damaged"
    )]
    BlockSize {
        /// The format.
        format: Format,
        /// What the capture says.
        size: u32,
    },
    /// This way it is not converted.
    #[error("a capture cannot be made of {0}: it does not tell enough; blktrace, fio and dm-log-writes do")]
    OneWay(Format),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The table's library failed.
    #[error("writing {format}: {error}")]
    Table {
        /// The format.
        format: Format,
        /// Why.
        error: String,
    },
}

/// Makes something of a capture, item by item.
trait Export {
    /// The devices of a part, before its items.
    fn devices(&mut self, devices: &[Device]) -> Result<(), ConvertError>;
    /// A record with its content.
    fn record(&mut self, record: &Record, entry: &CapturedEntry) -> Result<(), ConvertError>;
    /// A mark; a format without them loses it.
    fn mark(&mut self, _: u64, _: &str) -> Result<(), ConvertError> {
        self.losses().count("marks");
        Ok(())
    }
    /// What the format cannot hold.
    fn losses(&mut self) -> &mut Losses;
    /// The end.
    fn finish(self: Box<Self>) -> Result<Losses, ConvertError>;
}

/// Writes a capture in another format. `progress` is told the bytes that were read, and ends it with false.
///
/// # Errors
/// When the capture is damaged, the format cannot hold it, or the output fails. What was written until then is no result.
pub fn export<B: Batches, W: Write + Seek + Send + 'static>(
    scan: B,
    format: Format,
    out: W,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<Losses, ConvertError>
where
    ConvertError: From<B::Error>,
{
    let start_ns = scan.section().started_ns;
    let mut export: Box<dyn Export> = match format {
        Format::Blktrace => Box::new(blktrace::Export::new(out, start_ns)?),
        Format::Fio => Box::new(fio::Export::new(out)?),
        Format::LogWrites => Box::new(log_writes::Export::new(out)),
        Format::Csv => Box::new(table::Csv::new(out)),
        Format::Parquet => Box::new(table::Parquet::new(out)?),
    };
    let end = scan.run(
        |part| part,
        |part: Batch, bytes| {
            export.devices(&part.devices)?;
            part.items.iter().try_for_each(|item| one(export.as_mut(), item))?;
            if progress(bytes) { Ok(()) } else { Err(ConvertError::Interrupted) }
        },
    )?;
    if end.tail.is_some() {
        export.losses().count("records cut off at the end of the file");
    }
    export.finish()
}

fn one(export: &mut dyn Export, item: &Item) -> Result<(), ConvertError> {
    match item {
        Item::Entry(entry) => match &entry.header.entry {
            Entry::Record(record) => return export.record(record, entry),
            Entry::Gap(_) => export.losses().count("gaps in the order of completion"),
            Entry::Region(_) => export.losses().count("regions read back"),
        },
        Item::Mark { at_ns, text } => return export.mark(*at_ns, text),
        Item::Statistics(_) => {}
    }
    Ok(())
}

/// Makes a capture of another format.
///
/// # Errors
/// When the input is not of this format or damaged, or the output fails. What was written until then is no result.
pub fn import<W: Write>(input: impl BufRead, format: Format, name: &str, out: W) -> Result<(W, Losses), ConvertError> {
    match format {
        Format::Blktrace => blktrace::import(input, name, out),
        Format::Fio => fio::import(input, name, out),
        Format::LogWrites => log_writes::import(input, name, out),
        Format::Csv | Format::Parquet => Err(ConvertError::OneWay(format)),
    }
}

/// A capture that is made of something else.
struct Import<W: Write> {
    writer: Writer<W>,
    seq: u64,
    last_ns: u64,
    losses: Losses,
}

impl<W: Write> Import<W> {
    fn new(out: W, devices: &[Device], format: Format, start_ns: u64, losses: Losses) -> Result<Self, ConvertError> {
        let program = concat!("blkecho ", env!("CARGO_PKG_VERSION"));
        let section = Section {
            program: format!("{program}, of {format}"),
            started_ns: start_ns,
            payload: format == Format::LogWrites,
            ..Section::default()
        };
        Ok(Self { writer: Writer::new(out, &section, devices)?, seq: 0, last_ns: start_ns, losses })
    }

    /// The next command in the order of completion.
    fn record(&mut self, command: &Imported, content: Option<&[u8]>) -> Result<(), ConvertError> {
        self.seq += 1;
        let &Imported { volume, op, flags, range, status, origin, dep } = command;
        let dep = Seq(dep.min(self.seq - 1));
        let record = Record { seq: Seq(self.seq), dep, volume: VolumeIndex(volume), op, flags, range, status, origin };
        let payload = content.map_or(PayloadInfo::NONE, PayloadInfo::data);
        let header = EntryHeader { entry: Entry::Record(record), position: Position(self.seq), payload };
        self.last_ns = self.last_ns.max(origin.completed_ns);
        Ok(self.writer.write(&header, content.unwrap_or_default())?)
    }

    fn finish(mut self) -> Result<(W, Losses), ConvertError> {
        let statistics = Statistics { ended_ns: self.last_ns, records: self.seq, ..Statistics::default() };
        self.writer.statistics(&statistics)?;
        Ok((self.writer.finish()?, self.losses))
    }
}

/// What another format tells of a command.
#[derive(Debug, Clone, Copy)]
struct Imported {
    volume: u16,
    op: Op,
    flags: OpFlags,
    range: ByteRange,
    status: Status,
    origin: Origin,
    /// Commands that had completed when it was issued.
    dep: u64,
}

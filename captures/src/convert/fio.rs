//! fio's I/O log (fio, `iolog.c`): version 3 has the time of each line in microseconds, version 2 has none.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufWriter, Write};

use formats::entry::Origin;
use formats::{ByteRange, Op, OpFlags, Record, Status};

use super::order::ByTime;
use super::{ConvertError, Format, Import, Imported, Losses};
use crate::meta::Device;
use crate::reader::CapturedEntry;

const HEAD_3: &str = "fio version 3 iolog";
const HEAD_2: &str = "fio version 2 iolog";
/// Longest line; fio itself reads 4096 bytes.
const MOST_LINE: usize = 4096;
/// Longest name that fio reads.
const MOST_NAME: usize = 255;
/// Most bytes of one command that fio reads.
const MOST_BYTES: u64 = u32::MAX as u64;

/// Writes a log, by time of issue.
pub(super) struct Export<W: Write> {
    out: BufWriter<W>,
    names: BTreeMap<u16, String>,
    order: ByTime<Line>,
    origin_ns: Option<u64>,
    last_us: u64,
    losses: Losses,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    volume: u16,
    action: &'static str,
    offset: u64,
    len: u64,
}

impl<W: Write> Export<W> {
    pub(super) fn new(out: W) -> Result<Self, ConvertError> {
        let mut out = BufWriter::new(out);
        writeln!(out, "{HEAD_3}")?;
        let losses = Losses::of(&[
            "content",
            "completion (time, order, status)",
            "FUA and other modifiers",
            "process and cgroup",
        ]);
        let (names, order) = (BTreeMap::new(), ByTime::default());
        Ok(Self { out, names, order, origin_ns: None, last_us: 1, losses })
    }

    fn line(&mut self, at_ns: u64, line: &Line) -> Result<(), ConvertError> {
        let origin = *self.origin_ns.get_or_insert(at_ns);
        // A time of 0 would tell fio that there is none.
        let at_us = at_ns.saturating_sub(origin) / 1000 + 1;
        if at_us < self.last_us {
            self.losses.count("commands told later than they were issued");
        }
        self.last_us = self.last_us.max(at_us);
        let name = self.names.get(&line.volume).map_or("unnamed", String::as_str);
        writeln!(self.out, "{} {name} {} {} {}", self.last_us, line.action, line.offset, line.len)?;
        Ok(())
    }
}

/// A name that is one word.
fn word(device: &Device) -> String {
    let name = if device.path.is_empty() { &device.name } else { &device.path };
    let mut word: String = name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
    let most = (0..=word.len().min(MOST_NAME)).rev().find(|end| word.is_char_boundary(*end));
    word.truncate(most.unwrap_or(0));
    if word.is_empty() { format!("volume{}", device.volume) } else { word }
}

impl<W: Write + Send> super::Export for Export<W> {
    fn devices(&mut self, devices: &[Device]) -> Result<(), ConvertError> {
        for device in devices {
            let name = word(device);
            writeln!(self.out, "{} {name} add\n{} {name} open", self.last_us, self.last_us)?;
            self.names.insert(device.volume, name);
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, _: &CapturedEntry) -> Result<(), ConvertError> {
        let action = match record.op {
            Op::Write if record.range.is_empty() => "sync",
            Op::Write => "write",
            Op::Flush => "sync",
            Op::Discard => "trim",
            Op::WriteZeroes | Op::SecureErase | Op::Zone | Op::Opaque | Op::Scsi => {
                self.losses.count("commands that are no write, flush or discard");
                return Ok(());
            }
        };
        if record.range.len > MOST_BYTES {
            self.losses.count("commands of 4 GiB and more");
            return Ok(());
        }
        let line = Line { volume: record.volume.0, action, offset: record.range.offset, len: record.range.len };
        let ready = self.order.push(record.origin.issued_ns, line);
        ready.map_or(Ok(()), |(at, line)| self.line(at, &line))
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn finish(mut self: Box<Self>) -> Result<Losses, ConvertError> {
        while let Some((at, line)) = self.order.pop() {
            self.line(at, &line)?;
        }
        for name in self.names.values() {
            writeln!(self.out, "{} {name} close", self.last_us)?;
        }
        self.out.flush()?;
        Ok(self.losses)
    }
}

/// Reads a log. Its files become devices.
pub(super) fn import<W: Write>(mut input: impl BufRead, _: &str, out: W) -> Result<(W, Losses), ConvertError> {
    let mut lines = Lines { number: 0, text: String::new() };
    let version = match lines.next(&mut input) {
        Ok(Some(HEAD_3)) => 3,
        Ok(Some(HEAD_2)) => 2,
        Err(ConvertError::Io(error)) => return Err(error.into()),
        Ok(_) | Err(_) => {
            let why = format!("it does not begin with the line {HEAD_3:?}");
            return Err(ConvertError::NotOne { format: Format::Fio, why });
        }
    };
    let losses = Losses::of(&["content", "completion (fio tells the issue only)"]);
    let mut capture = Import::new(out, &[], Format::Fio, 0, losses)?;
    let mut files = Files::default();
    while lines.next(&mut input)?.is_some() {
        let known = files.names.len();
        let command = lines.command(version, &mut files)?;
        for (volume, path) in (0..).zip(&files.names).skip(known) {
            capture.writer.add_device(&device(volume, path))?;
        }
        command.map_or(Ok(()), |command| capture.imported(&command))?;
    }
    capture.finish()
}

/// The files of a log, in the order of their appearance.
#[derive(Default)]
struct Files {
    names: Vec<String>,
    volumes: HashMap<String, u16>,
}

impl Files {
    /// The volume that stands for a file; nothing when there are too many.
    fn volume(&mut self, name: &str) -> Option<u16> {
        if let Some(volume) = self.volumes.get(name) {
            return Some(*volume);
        }
        let volume = u16::try_from(self.names.len()).ok()?;
        self.names.push(name.to_owned());
        self.volumes.insert(name.to_owned(), volume);
        Some(volume)
    }
}

fn device(volume: u16, path: &str) -> Device {
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    Device { volume, name, path: path.to_owned(), block_size: 512, layer: "request".into(), ..Device::default() }
}

/// A line that is a command.
struct Command {
    at_us: u64,
    volume: u16,
    action: Action,
    range: ByteRange,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Does(Op),
    Read,
}

impl<W: Write> Import<W> {
    fn imported(&mut self, command: &Command) -> Result<(), ConvertError> {
        let Action::Does(op) = command.action else {
            self.losses.count("reads");
            return Ok(());
        };
        let at_ns = command.at_us.saturating_mul(1000);
        let origin = Origin { issued_ns: at_ns, completed_ns: at_ns, queue_depth: 1, ..Origin::default() };
        let range = if op == Op::Flush { ByteRange::default() } else { command.range };
        let (flags, status) = (OpFlags::empty(), Status::OK);
        let imported = Imported { volume: command.volume, op, flags, range, status, origin, dep: u64::MAX };
        self.record(&imported, None)
    }
}

struct Lines {
    number: u64,
    text: String,
}

impl Lines {
    fn next(&mut self, input: &mut impl BufRead) -> Result<Option<&str>, ConvertError> {
        self.text.clear();
        self.number += 1;
        let mut bytes = Vec::new();
        std::io::Read::take(&mut *input, MOST_LINE as u64 + 1).read_until(b'\n', &mut bytes)?;
        if bytes.len() > MOST_LINE {
            return Err(self.damaged("a line of more than 4096 bytes"));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        self.text = String::from_utf8(bytes).map_err(|_| self.damaged("a line that is no text"))?;
        Ok(Some(self.text.trim_end()))
    }

    fn damaged(&self, what: &str) -> ConvertError {
        let (format, what) = (Format::Fio, what.to_owned());
        ConvertError::Damaged { format, place: format!("line {}", self.number), what }
    }

    /// The command of this line; none of a line that names, opens or closes a file, or waits.
    fn command(&self, version: u32, files: &mut Files) -> Result<Option<Command>, ConvertError> {
        let mut words: Vec<&str> = self.text.split_whitespace().collect();
        let number = |word: &str| word.parse().map_err(|_| self.damaged(&format!("{word:?} is no number")));
        let at_us = if version == 3 && !words.is_empty() { number(words.remove(0))? } else { 0 };
        match words[..] {
            [] => Ok(None),
            [_, "open" | "close"] => Ok(None),
            [name, "add"] => self.file(name, files).map(|_| None),
            [_, "wait", _, _] => Ok(None),
            [name, action, offset, len] => {
                let range = ByteRange::new(number(offset)?, number(len)?);
                let volume = self.file(name, files)?;
                let action = self.action(action)?;
                Ok(Some(Command { at_us, volume, action, range }))
            }
            _ => Err(self.damaged("neither a file action nor a command")),
        }
    }

    fn action(&self, word: &str) -> Result<Action, ConvertError> {
        match word {
            "write" => Ok(Action::Does(Op::Write)),
            "sync" | "datasync" => Ok(Action::Does(Op::Flush)),
            "trim" => Ok(Action::Does(Op::Discard)),
            "read" => Ok(Action::Read),
            other => Err(self.damaged(&format!("the unknown action {other:?}"))),
        }
    }

    fn file(&self, name: &str, files: &mut Files) -> Result<u16, ConvertError> {
        files.volume(name).ok_or_else(|| self.damaged("more than 65536 files"))
    }
}

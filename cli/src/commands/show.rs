//! `show`: the commands of a capture, a line each.

use std::io::{BufWriter, IsTerminal, Read, StdoutLock, Write};
use std::path::Path;

use captures::{Device, Item, Kind, Lines, ReadError, Reader, Selection};
use serde_json::json;

use crate::args::Show;
use crate::exit::{Done, Exit, Failure};

pub(super) fn run(args: &Show) -> Done {
    let mut reader = open(&args.file)?;
    let selection = args.select.selection(reader.section());
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut printer = Printer { out, json: args.json, colours, payload: args.payload.unwrap_or(0) as usize };
    match show(&mut reader, &selection, &mut printer) {
        Err(Stopped::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stopped::Output(error)) => Err(error.into()),
        Err(Stopped::Input(error)) => Err(unreadable(&args.file, error)),
        Ok(()) => {
            warn_of_tail(&args.file, &reader);
            Ok(())
        }
    }
}

/// Why nothing more is shown.
enum Stopped {
    Output(std::io::Error),
    Input(ReadError),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

fn show<R: Read>(reader: &mut Reader<R>, selection: &Selection, printer: &mut Printer<'_>) -> Result<(), Stopped> {
    printer.json_line(&json!({ "type": "capture", "section": reader.section() }))?;
    let section = reader.section().clone();
    let mut devices: Vec<Device> = Vec::new();
    loop {
        // What was shown stays, whatever comes.
        let item = match reader.next_item() {
            Ok(Some(item)) => item,
            end => {
                printer.out.flush()?;
                return end.map(drop).map_err(Stopped::Input);
            }
        };
        for device in reader.devices().skip(devices.len()).cloned().collect::<Vec<_>>() {
            printer.json_line(&json!({ "type": "device", "device": &device }))?;
            devices.push(device);
        }
        if selection.takes(&item, devices.iter()) {
            printer.item(&Lines::new(&section, &devices, printer.payload), &item)?;
        }
    }
}

/// Prints lines.
struct Printer<'a> {
    out: BufWriter<StdoutLock<'a>>,
    json: bool,
    colours: bool,
    payload: usize,
}

impl Printer<'_> {
    fn json_line(&mut self, value: &serde_json::Value) -> std::io::Result<()> {
        if self.json { writeln!(self.out, "{value}") } else { Ok(()) }
    }

    fn item(&mut self, lines: &Lines<'_>, item: &Item) -> std::io::Result<()> {
        if self.json {
            return writeln!(self.out, "{}", lines.json(item));
        }
        match (lines.text(item), self.colours) {
            ((kind, text), true) => writeln!(self.out, "{}{text}\x1b[0m", colour(kind)),
            ((_, text), false) => writeln!(self.out, "{text}"),
        }
    }
}

/// The sequence that begins a colour (ECMA-48, SGR).
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Write => "",
        Kind::Flush => "\x1b[36m",
        Kind::Discard => "\x1b[33m",
        Kind::Other => "\x1b[35m",
        Kind::Failed => "\x1b[31m",
        Kind::Lost => "\x1b[1;31m",
        Kind::Note => "\x1b[2m",
    }
}

/// Opens a capture for reading.
pub(super) fn open(path: &Path) -> Done<Reader<Box<dyn Read + Send>>> {
    let input = captures::input::open(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Usage,
        };
        Failure::text(exit, format!("cannot read {}: {error}", path.display()))
    })?;
    Reader::new(input).map_err(|error| unreadable(path, error))
}

pub(super) fn unreadable(path: &Path, error: ReadError) -> Failure {
    Failure::text(Exit::Failure, format!("{}: {error}", path.display()))
}

fn warn_of_tail<R: Read>(path: &Path, reader: &Reader<R>) {
    if let Some(tail) = reader.tail() {
        tracing::warn!(
            "{} was cut: {} bytes after byte {} are no whole entry, and are not shown",
            path.display(),
            tail.bytes,
            tail.offset
        );
    }
}

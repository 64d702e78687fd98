//! `show`: the commands of a capture, a line each.

use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use captures::{Device, Item, Kind, Lines, SelectError, Selection, Series, SeriesError};
use serde_json::json;

use crate::args::Show;
use crate::exit::{Done, Exit, Failure};
use crate::offline::{series_failed, warn_of_tails};

pub(super) fn run(args: &Show) -> Done {
    let mut series = args.files.open()?;
    let selection = args.select.selection();
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut printer = Printer { out, json: args.json, colours, payload: args.payload.unwrap_or(0) as usize };
    let shown = show(&mut series, &selection, &mut printer);
    // What was shown stays, whatever came.
    let flushed = printer.out.flush().map_err(Stopped::Output);
    match shown.and(flushed) {
        Err(Stopped::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(stopped) => Err(stopped.into()),
        Ok(()) => {
            warn_of_tails(&series);
            Ok(())
        }
    }
}

/// Why nothing more is shown.
enum Stopped {
    Output(std::io::Error),
    Input(SeriesError),
    Select(SelectError),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Output(error) => anyhow::Error::new(error).context("writing to standard output").into(),
            Stopped::Input(error) => series_failed(error),
            Stopped::Select(error) => Failure::new(Exit::Usage, error),
        }
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<SeriesError> for Stopped {
    fn from(error: SeriesError) -> Self {
        Self::Input(error)
    }
}

impl From<SelectError> for Stopped {
    fn from(error: SelectError) -> Self {
        Self::Select(error)
    }
}

fn show(series: &mut Series, selection: &Selection, printer: &mut Printer<'_>) -> Result<(), Stopped> {
    let section = series.section().clone();
    let mut chooser = selection.begin(section.started_ns).map_err(SelectError::from)?;
    printer.json_line(&json!({ "type": "capture", "section": &section }))?;
    let mut devices: Vec<Device> = Vec::new();
    while let Some(item) = series.next_item()? {
        for device in &series.devices()[devices.len()..] {
            printer.json_line(&json!({ "type": "device", "device": device }))?;
        }
        devices.extend_from_slice(&series.devices()[devices.len()..]);
        if chooser.takes(&item, &devices).map_err(SelectError::from)? {
            printer.item(&Lines::new(&section, &devices, printer.payload), &item)?;
        }
    }
    Ok(chooser.end(&devices)?)
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

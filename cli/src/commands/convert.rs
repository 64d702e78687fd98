//! `convert`: captures from and into the formats of other tools.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use captures::SeriesScan;
use captures::convert::{self, ConvertError, Format, Losses};
use clap::Args;

use super::print_json;
use crate::exit::{Done, Exit, Failure};
use crate::offline::{self, FilesArgs, OutputArgs, series_exit, series_failed};
use crate::progress::ReadBar;
use crate::signals::Stop;

/// Arguments of `convert`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("way").required(true).args(["to", "from"])))]
pub(crate) struct Convert {
    /// What is read.
    #[command(flatten)]
    files: FilesArgs,
    /// Convert a capture to: blktrace, fio, dm-log-writes, csv, parquet. blkparse wants the name NAME.blktrace.0
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// Make a capture of: blktrace (of several processors first `blkparse -i NAME -d FILE -O`), fio, dm-log-writes
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,
    /// The result.
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Convert) -> Done {
    let (stop, files) = (Stop::on_signals()?, &args.files.files);
    let output = args.output.aside(files)?;
    let losses = match (args.to, args.from) {
        (Some(format), _) => export(files, format, output.file()?, &stop)?,
        (None, Some(format)) => import(files, format, output.file()?, &stop)?,
        // The definition of the arguments does not let this through.
        (None, None) => return Err(Failure::text(Exit::Usage, "name a format, with --to or --from")),
    };
    offline::publish(output)?;
    if args.output.json {
        return print_json(&losses);
    }
    for what in &losses.always {
        eprintln!("not in this format: {what}");
    }
    for (what, count) in &losses.counted {
        eprintln!("lost: {count} {what}");
    }
    Ok(())
}

fn export(files: &[PathBuf], format: Format, output: File, stop: &Stop) -> Done<Losses> {
    let scan = SeriesScan::open(files).map_err(series_failed)?;
    let bar = ReadBar::new(scan.total_bytes());
    let losses = convert::export(scan, format, output, |bytes| {
        bar.show(bytes);
        !stop.is_set()
    });
    drop(bar);
    losses.map_err(failed)
}

fn import(files: &[PathBuf], format: Format, output: File, stop: &Stop) -> Done<Losses> {
    let [path] = files else {
        return Err(Failure::text(Exit::Usage, "one file is imported at a time: name one, and merge the captures"));
    };
    let file = offline::open_file(path)?;
    let bar = ReadBar::new(file.metadata().map_or(0, |file| file.len()));
    let input = Watched { file, read: 0, bar: &bar, stop };
    let name = path.file_name().map_or_else(|| "imported".into(), |name| name.to_string_lossy());
    let imported = convert::import(BufReader::new(input), format, &name, BufWriter::new(output));
    drop(bar);
    let (mut output, losses) = imported.map_err(|error| of_file(path, stop, error))?;
    output.flush()?;
    Ok(losses)
}

/// A file that is read under a bar, until the program is to end.
struct Watched<'a> {
    file: File,
    read: u64,
    bar: &'a ReadBar,
    stop: &'a Stop,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.is_set() {
            return Err(std::io::Error::other("interrupted"));
        }
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        self.bar.show(self.read);
        Ok(read)
    }
}

fn of_file(path: &Path, stop: &Stop, error: ConvertError) -> Failure {
    match stop.is_set() {
        true => Failure::interrupted(),
        false => Failure::text(exit_of(&error), format!("{}: {error}", path.display())),
    }
}

fn failed(error: ConvertError) -> Failure {
    Failure::new(exit_of(&error), error)
}

fn exit_of(error: &ConvertError) -> Exit {
    match error {
        ConvertError::Series(error) => series_exit(error),
        ConvertError::NotOne { .. } | ConvertError::OneWay(_) => Exit::Usage,
        ConvertError::Several(_) | ConvertError::NoContent { .. } => Exit::Refused,
        ConvertError::Interrupted => Exit::Interrupted,
        _ => Exit::Failure,
    }
}

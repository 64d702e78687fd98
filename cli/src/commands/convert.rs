//! `convert`: captures from and into the formats of other tools.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use captures::Scan;
use captures::convert::{self, ConvertError, Format, Losses};
use clap::Args;

use super::analyze::{advance, aside, open, unreadable};
use super::print_json;
use crate::exit::{Done, Exit, Failure, OrExit};

/// Arguments of `convert`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("way").required(true).args(["to", "from"])))]
pub(crate) struct Convert {
    /// What is read; a capture may be `-`, standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Convert a capture to: blktrace, fio, dm-log-writes, csv, parquet. blkparse wants the name NAME.blktrace.0
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// Make a capture of: blktrace (of several processors first `blkparse -i NAME -d FILE -O`), fio, dm-log-writes
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,
    /// What is written, aside first and named when it is whole
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Print what was lost as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Convert) -> Done {
    let output = aside(&args.output, args.force, &[&args.file])?;
    let losses = match (args.to, args.from) {
        (Some(format), _) => export(&args.file, format, output.file()?)?,
        (None, Some(format)) => import(&args.file, format, output.file()?)?,
        // The definition of the arguments does not let this through.
        (None, None) => return Err(Failure::text(Exit::Usage, "name a format, with --to or --from")),
    };
    output.publish()?;
    if args.json {
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

fn export(path: &Path, format: Format, output: File) -> Done<Losses> {
    let (input, bar) = open(path)?;
    let scan = Scan::new(input).map_err(|error| unreadable(path, error))?;
    let losses = convert::export(scan, format, output, |bytes| advance(&bar, bytes));
    bar.finish_and_clear();
    losses.map_err(|error| failed(path, error))
}

fn import(path: &Path, format: Format, output: File) -> Done<Losses> {
    let cannot = |error| anyhow::anyhow!("cannot read {}: {error}", path.display());
    let input = File::open(path).map_err(cannot).or_exit(Exit::Usage)?;
    let name = path.file_name().map_or_else(|| "imported".into(), |name| name.to_string_lossy());
    let imported = convert::import(BufReader::new(input), format, &name, std::io::BufWriter::new(output));
    let (mut output, losses) = imported.map_err(|error| failed(path, error))?;
    output.flush()?;
    Ok(losses)
}

fn failed(path: &Path, error: ConvertError) -> Failure {
    let exit = match error {
        ConvertError::Read(error) => return unreadable(path, error),
        ConvertError::NotOne { .. } | ConvertError::OneWay(_) => Exit::Usage,
        ConvertError::Several(_) | ConvertError::NoContent { .. } => Exit::Refused,
        _ => Exit::Failure,
    };
    Failure::text(exit, format!("{}: {error}", path.display()))
}

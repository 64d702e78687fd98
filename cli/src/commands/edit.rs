//! `cut`, `filter`, `strip`, `merge` and `diff`: captures out of captures.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use captures::edit::{self, EditError, Edited, Selection, Strip};
use captures::{Aside, ReadError, Reader};
use clap::Args;
use formats::{ByteRange, Op};

use super::analyze::{aside, open, unreadable};
use super::{print, print_json};
use crate::exit::{Done, Exit, Failure};
use crate::units::{Size, Time};

/// Differences that are told at most, unless more are asked for.
const TOLD: usize = 20;

/// Where the result goes.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// What is written, aside first and named when it is whole
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Print what was kept as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `cut`.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    /// The capture; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// From this time after the capture's start on, by completion
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Up to this time after the capture's start
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// From this place in the order of completion on
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
    /// Up to this place, itself included
    #[arg(long, value_name = "SEQ")]
    until_seq: Option<u64>,
    /// What was written behind this mark
    #[arg(long, value_name = "TEXT")]
    from_mark: Option<String>,
    /// What was written before this mark
    #[arg(long, value_name = "TEXT")]
    until_mark: Option<String>,
    /// The result.
    #[command(flatten)]
    output: Output,
}

/// Arguments of `filter`.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// The capture; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only on this device, by the name in the capture; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Only commands of this kind: write, flush, discard, write-zeroes, ...; may be given several times
    #[arg(long = "op", value_name = "OP", value_parser = op)]
    ops: Vec<Op>,
    /// Only what touches these bytes, such as 0-64K; may be given several times
    #[arg(long = "range", value_name = "START-END")]
    ranges: Vec<Bytes>,
    /// Only of tasks of this name; may be given several times
    #[arg(long = "comm", value_name = "NAME")]
    comms: Vec<String>,
    /// Only what failed, or whose end nobody saw
    #[arg(long)]
    failed: bool,
    /// The result.
    #[command(flatten)]
    output: Output,
}

/// Arguments of `strip`.
#[derive(Debug, Args)]
pub(crate) struct StripArgs {
    /// The capture; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Remove the checksums of the content too
    #[arg(long)]
    no_hashes: bool,
    /// The result.
    #[command(flatten)]
    output: Output,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The captures
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// The result.
    #[command(flatten)]
    output: Output,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A capture
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The one to compare it with
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Tell so many differences
    #[arg(long, value_name = "N", default_value_t = TOLD)]
    most: usize,
    /// Print JSON, a line for each difference
    #[arg(long)]
    json: bool,
}

/// Bytes from and to, the end itself not included.
#[derive(Debug, Clone, Copy)]
struct Bytes(ByteRange);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no range of bytes: write START-END, such as 0-64K");
        let (start, end) = text.split_once('-').ok_or_else(bad)?;
        let (start, end): (Size, Size) = (start.parse().map_err(|_| bad())?, end.parse().map_err(|_| bad())?);
        let len = end.0.checked_sub(start.0).filter(|len| *len > 0).ok_or_else(bad)?;
        Ok(Self(ByteRange::new(start.0, len)))
    }
}

fn op(text: &str) -> Result<Op, String> {
    let names = || Op::ALL.map(Op::name).join(", ");
    Op::ALL.into_iter().find(|op| op.name() == text).ok_or_else(|| format!("{text:?} is none of {}", names()))
}

pub(super) fn cut(args: Cut) -> Done {
    let reader = capture(&args.file)?;
    let started_ns = reader.section().started_ns;
    let at = |time: Option<Time>| time.map(|time| started_ns.saturating_add(time.0.as_nanos() as u64));
    let selection = Selection {
        from_ns: at(args.from),
        until_ns: at(args.until),
        from_seq: args.from_seq,
        until_seq: args.until_seq,
        from_mark: args.from_mark,
        until_mark: args.until_mark,
        ..Selection::default()
    };
    if selection == Selection::default() {
        return Err(Failure::text(
            Exit::Usage,
            "nothing to cut: name --from, --until, --from-seq, --until-seq or a mark",
        ));
    }
    copy(&args.file, reader, &selection, Strip::Nothing, &args.output)
}

pub(super) fn filter(args: Filter) -> Done {
    let selection = Selection {
        devices: args.devices,
        ops: args.ops,
        ranges: args.ranges.into_iter().map(|range| range.0).collect(),
        comms: args.comms,
        failed_only: args.failed,
        ..Selection::default()
    };
    if selection == Selection::default() {
        return Err(Failure::text(
            Exit::Usage,
            "nothing to filter by: name --device, --op, --range, --comm or --failed",
        ));
    }
    copy(&args.file, capture(&args.file)?, &selection, Strip::Nothing, &args.output)
}

pub(super) fn strip(args: &StripArgs) -> Done {
    let strip = if args.no_hashes { Strip::All } else { Strip::Content };
    copy(&args.file, capture(&args.file)?, &Selection::default(), strip, &args.output)
}

pub(super) fn merge(args: &Merge) -> Done {
    let inputs = args.files.iter().map(|path| capture(path)).collect::<Done<Vec<_>>>()?;
    let paths: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    let output = aside(&args.output.output, args.output.force, &paths)?;
    let names = args.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let merged =
        edit::merge(inputs, BufWriter::new(output.file()?)).map_err(|error| failed(Path::new(&names), error))?;
    finish(merged, output, &args.output)
}

pub(super) fn diff(args: &Diff) -> Done {
    let (mut a, mut b) = (capture(&args.a)?, capture(&args.b)?);
    let mut lines = Vec::new();
    let compared = edit::diff(&mut a, &mut b, |difference| {
        lines.push(difference);
        lines.len() < args.most.max(1)
    });
    let compared = compared.map_err(|error| failed(&args.a, error))?;
    for line in &lines {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        if args.json {
            print(&format!("{}\n", serde_json::to_string(line)?))?;
        } else {
            print(&format!("{}: {}\n  < {}\n  > {}\n", line.place, line.what, side(&line.left), side(&line.right)))?;
        }
    }
    if lines.is_empty() {
        return if args.json { Ok(()) } else { print(&format!("{compared} commands, no difference\n")) };
    }
    Err(Failure::silent(Exit::Different))
}

fn capture(path: &Path) -> Done<Reader<Box<dyn Read + Send>>> {
    let (input, _) = open(path)?;
    let input: Box<dyn Read + Send> = Box::new(BufReader::with_capacity(1 << 20, input));
    Reader::new(input).map_err(|error| unreadable(path, error))
}

fn copy(
    path: &Path,
    reader: Reader<Box<dyn Read + Send>>,
    selection: &Selection,
    strip: Strip,
    output: &Output,
) -> Done {
    let result = aside(&output.output, output.force, &[path])?;
    let out = BufWriter::with_capacity(1 << 20, result.file()?);
    let copied = edit::copy(reader, out, selection, strip).map_err(|error| failed(path, error))?;
    finish(copied, result, output)
}

fn finish((mut out, edited): (BufWriter<File>, Edited), aside: Aside, output: &Output) -> Done {
    out.flush()?;
    aside.publish()?;
    if output.json {
        return print_json(&edited);
    }
    let Edited { kept, left_out, broken, cut_bytes } = edited;
    let mut words = format!("{kept} kept, {left_out} left out");
    if broken > 0 {
        words += &format!(", {broken} that were there in part only are not kept");
    }
    if cut_bytes > 0 {
        words += &format!("; the last {cut_bytes} bytes of the input belong to nothing whole");
    }
    print(&format!("{words}\n"))
}

fn failed(path: &Path, error: EditError) -> Failure {
    match error {
        EditError::Read(error @ (ReadError::Empty | ReadError::NotPcapng { .. })) => unreadable(path, error),
        error => Failure::text(Exit::Failure, format!("{}: {error}", path.display())),
    }
}

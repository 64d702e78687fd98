//! `cut`, `filter`, `strip` and `merge`: captures out of captures.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use captures::edit::{self, EditError, Edited, Strip};
use captures::{Aside, Moment, Selection, Series};
use clap::Args;
use formats::Seq;

use super::{print, print_json};
use crate::exit::{Done, Exit, Failure};
use crate::offline::{self, FilesArgs, OutputArgs, series_exit, series_failed};
use crate::progress::ReadBar;
use crate::select::SelectArgs;
use crate::signals::Stop;

/// Arguments of `cut`.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    /// What is read.
    #[command(flatten)]
    files: FilesArgs,
    /// Leave out what completed up to this moment: a seq, a time (2026-03-01T12:00:00Z, +90s from the beginning), a
    /// mark's text, `start` or `end`
    #[arg(long, value_name = "TIME|SEQ|MARK", value_parser = offline::moment)]
    from: Option<Moment>,
    /// Leave out what completed after this moment
    #[arg(long, value_name = "TIME|SEQ|MARK", value_parser = offline::moment)]
    until: Option<Moment>,
    /// The result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `filter`.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// What is read.
    #[command(flatten)]
    files: FilesArgs,
    /// The result.
    #[command(flatten)]
    output: OutputArgs,
    /// What is kept.
    #[command(flatten)]
    select: SelectArgs,
}

/// Arguments of `strip`.
#[derive(Debug, Args)]
pub(crate) struct StripArgs {
    /// What is read.
    #[command(flatten)]
    files: FilesArgs,
    /// Remove the checksums of the content too
    #[arg(long)]
    no_hashes: bool,
    /// The result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The captures, each in one file
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// The result.
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn cut(args: Cut) -> Done {
    if args.from.is_none() && args.until.is_none() {
        return Err(Failure::text(
            Exit::Usage,
            "nothing to cut: name --from or --until; `--from start` makes one file of several",
        ));
    }
    let (from, until) = (args.from.unwrap_or(Moment::Seq(Seq(0))), args.until.unwrap_or(Moment::End));
    let selection = Selection { from, until, ..Selection::default() };
    copy(&args.files, &selection, Strip::Nothing, &args.output)
}

pub(super) fn filter(args: &Filter) -> Done {
    let selection = args.select.selection();
    if selection == Selection::default() {
        return Err(Failure::text(
            Exit::Usage,
            "nothing to filter by: name --device, --lba, --op, --comm, --pid, --failed, --seq, --from or --until",
        ));
    }
    copy(&args.files, &selection, Strip::Nothing, &args.output)
}

pub(super) fn strip(args: &StripArgs) -> Done {
    let strip = if args.no_hashes { Strip::All } else { Strip::Content };
    copy(&args.files, &Selection::default(), strip, &args.output)
}

pub(super) fn merge(args: &Merge) -> Done {
    let stop = Stop::on_signals()?;
    let open = |path: &PathBuf| Series::as_filed(std::slice::from_ref(path)).map_err(series_failed);
    let inputs = args.files.iter().map(open).collect::<Done<Vec<_>>>()?;
    let total = inputs.iter().map(|input| input.progress().1).sum();
    write(&args.files, &args.output, total, &stop, |out, progress| edit::merge(inputs, out, progress))
}

fn copy(files: &FilesArgs, selection: &Selection, strip: Strip, output: &OutputArgs) -> Done {
    let (stop, input) = (Stop::on_signals()?, files.open()?);
    let total = input.progress().1;
    write(&files.files, output, total, &stop, |out, progress| edit::copy(input, out, selection, strip, progress))
}

type Made = Result<(BufWriter<File>, Edited), EditError>;

/// Makes the output, under a bar over so many bytes, and says what came of it.
fn write(
    inputs: &[PathBuf],
    output: &OutputArgs,
    total: u64,
    stop: &Stop,
    make: impl FnOnce(BufWriter<File>, &mut dyn FnMut(u64, u64) -> bool) -> Made,
) -> Done {
    let aside = output.aside(inputs)?;
    let out = BufWriter::with_capacity(1 << 20, aside.file()?);
    let bar = ReadBar::new(total);
    let made = make(out, &mut |done, _| {
        bar.show(done);
        !stop.is_set()
    });
    drop(bar);
    finish(made.map_err(failed)?, aside, output.json)
}

fn finish((mut out, edited): (BufWriter<File>, Edited), aside: Aside, json: bool) -> Done {
    out.flush()?;
    offline::publish(aside)?;
    if json {
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

/// An error of `edit` with its exit code.
pub(super) fn failed(error: EditError) -> Failure {
    let exit = match &error {
        EditError::Series(error) => series_exit(error),
        EditError::Select(_) => Exit::Usage,
        EditError::Interrupted => Exit::Interrupted,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

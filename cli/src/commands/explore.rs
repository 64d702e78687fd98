//! `explore`: what a power cut could have left.

use std::path::{Path, PathBuf};

use captures::Moment;
use captures::explore::{Cache, Check, ExploreError, Failing, Report, Request, Stage, explore};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::{print, print_json};
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::offline::{self, BaseArgs};
use crate::progress::{StageBars, byte_bar, count_bar};
use crate::signals::Stop;
use crate::units::{Size, Time};

/// Arguments of `explore`.
#[derive(Debug, Args)]
pub(crate) struct Explore {
    /// The files of one capture, in their order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the volume held when the capture began.
    #[command(flatten)]
    base: BaseArgs,
    /// What says whether a state is sound: a shell command with {} where the path of its image goes, such as
    /// 'fsck.ext4 -fn {}'; it must end with 0
    #[arg(long, value_name = "COMMAND")]
    check: String,
    /// How long one check may take; one that takes longer fails
    #[arg(long, default_value = "60s", value_name = "TIME")]
    timeout: Time,
    /// The first moment: a seq, a time, a mark's text; the check must pass there
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "start", value_parser = offline::moment)]
    from: Moment,
    /// The last moment
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "end", value_parser = offline::moment)]
    until: Moment,
    /// Look after so many commands each, too, and not only around flushes and FUA
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// States drawn at each flush, beside the one in which all that completed is on the disk
    #[arg(long, default_value_t = 12, value_name = "N")]
    samples: usize,
    /// Completed commands that may be lost at once, at most
    #[arg(long, default_value_t = 4096, value_name = "N")]
    window: usize,
    /// What the disk writes in one piece when power fails, at multiples of that: larger writes can be torn; 0 for a disk that
    /// tears nothing
    #[arg(long, default_value = "4K", value_name = "SIZE")]
    tear: Size,
    /// What the draws begin with: the same seed draws the same states
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// What the disk does with a write that has completed
    #[arg(long, value_enum, default_value_t = CacheArg::WriteBack)]
    cache: CacheArg,
    /// Checks at the same time [default: one for each processor]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Where images are made; with shared blocks (XFS, btrfs) states cost nothing [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Which volume, when the capture has several
    #[arg(long, value_name = "NAME")]
    volume: Option<String>,
    /// Keep an image of the failing state
    #[arg(short, long, value_name = "IMAGE")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Go on behind the first failing state, and count them
    #[arg(long)]
    keep_going: bool,
    /// Checks that may be spent on finding the fewest commands
    #[arg(long, default_value_t = 300, value_name = "N")]
    minimise: usize,
    /// Go on although the capture does not tell all of the content
    #[arg(long)]
    allow_holes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a disk does with a write that has completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum CacheArg {
    /// It may be lost until a flush covers it.
    WriteBack,
    /// It is on the disk.
    WriteThrough,
}

pub(super) fn run(args: &Explore) -> Done {
    // The first moment is looked for before the commands are read, unless it is a number.
    if !matches!(args.from, Moment::Seq(_)) {
        offline::refuse_stdin(&args.files)?;
    }
    let stop = Stop::on_signals()?;
    let folder = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    let (request, bars) = (request(args, &folder)?, StageBars::new(bar));
    let explored = offline::until_stopped(&stop, |ended| {
        explore(&request, &|stage, done, total| bars.show(stage, done, total), ended)
    });
    drop(bars);
    tell(args.json, explored)
}

fn request<'a>(args: &'a Explore, folder: &'a Path) -> Done<Request<'a>> {
    Ok(Request {
        files: &args.files,
        volume: args.volume.as_deref(),
        base: args.base.open()?,
        check: Check::new(&args.check, args.timeout.0).or_exit(Exit::Usage)?,
        from: args.from.clone(),
        until: args.until.clone(),
        every: args.every,
        samples: args.samples,
        window: args.window.max(1),
        tear: args.tear.0,
        seed: args.seed,
        cache: match args.cache {
            CacheArg::WriteBack => Cache::WriteBack,
            CacheArg::WriteThrough => Cache::WriteThrough,
        },
        jobs: args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        folder,
        output: args.output.as_deref(),
        force: args.force,
        keep_going: args.keep_going,
        minimise: args.minimise,
        allow_holes: args.allow_holes,
    })
}

fn bar(stage: Stage, total: u64) -> ProgressBar {
    match stage {
        Stage::Reading => byte_bar("read", total),
        Stage::Checking => count_bar("check cuts", total),
        Stage::Minimising => count_bar("minimise", total),
    }
}

fn tell(json: bool, explored: Result<Report, ExploreError>) -> Done {
    let report = explored.map_err(offline::explore_failed)?;
    if json {
        print_json(&report)?;
    } else {
        print(&words(&report))?;
    }
    if report.failing.is_some() { Err(Failure::silent(Exit::Different)) } else { Ok(()) }
}

fn words(report: &Report) -> String {
    let mut text = format!(
        "{}: {} commands, {} of them flushes or FUA; {} states at {} cuts, {} equal to another; {} checks in {:.1} s\n",
        report.volume,
        report.commands,
        report.barriers,
        report.states,
        report.cuts,
        report.equal,
        report.checks,
        report.seconds,
    );
    if !report.ended_in_order {
        text += "the capture was not ended in order: what it may have lost is not told\n";
    }
    match &report.failing {
        None => text + "no failing state\n",
        Some(failing) => text + &failing_words(failing, report.failing_states),
    }
}

fn failing_words(failing: &Failing, states: u64) -> String {
    let mut text = format!("FAILING after seq {}, {}: the check {}\n", failing.seq, failing.time, failing.verdict);
    text += &failing.output.lines().map(|line| format!("  | {line}\n")).collect::<String>();
    text += match failing.difference.is_empty() {
        true => "although everything that had completed is on the disk.\n",
        false => "what makes the difference:\n",
    };
    failing.difference.iter().for_each(|command| text += &format!("  {command}\n"));
    if !failing.needed.is_empty() {
        text += &format!("needed for it, of {} commands that no flush covered:\n", failing.undecided);
        failing.needed.iter().for_each(|command| text += &format!("  {command}\n"));
    }
    if !failing.minimal {
        text += "more checks could leave out more (--minimise)\n";
    }
    if states > 1 {
        text += &format!("{states} failing states\n");
    }
    match &failing.image {
        Some(image) => text + &format!("image: {}\n", image.display()),
        None => text + "an image of it is kept with -o IMAGE\n",
    }
}

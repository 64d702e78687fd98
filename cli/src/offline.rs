//! What the commands on capture files share: moments, inputs, outputs and exit codes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use captures::explore::{CheckError, ExploreError};
use captures::rebuild::RebuildError;
use captures::{Aside, Base, ImageError, Moment, ReadError, Series, SeriesError};
use clap::Args;

use crate::exit::{Done, Exit, Failure};
use crate::signals::Stop;

/// How often it is asked whether the program is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a volume held when its capture began.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct BaseArgs {
    /// What the volume held when the capture began: an image or a device, which is only read
    #[arg(long, value_name = "IMAGE")]
    pub(crate) base: Option<PathBuf>,
    /// The volume held zeros when the capture began
    #[arg(long)]
    pub(crate) blank: bool,
}

impl BaseArgs {
    /// Opened.
    pub(crate) fn open(&self) -> Done<Base> {
        match &self.base {
            Some(path) => Base::open(path).map_err(image_failed),
            None => Ok(Base::Blank),
        }
    }
}

/// The files that are read as one capture.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The capture, compressed or not; of one in several files all that matter, in their order. `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

impl FilesArgs {
    /// Opened, for what is in them.
    pub(crate) fn open(&self) -> Done<Series> {
        Series::as_filed(&self.files).map_err(series_failed)
    }
}

/// Where a result goes.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// What is written, aside first and named when it is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what came of it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Begun.
    pub(crate) fn aside(&self, inputs: &[PathBuf]) -> Done<Aside> {
        aside(&self.output, self.force, inputs)
    }
}

/// Refuses standard input where a capture is read more than once.
pub(crate) fn refuse_stdin(files: &[PathBuf]) -> Done {
    match files.iter().any(|file| file == Path::new("-")) {
        true => Err(Failure::text(Exit::Usage, "the capture is read more than once here: name a file in place of `-`")),
        false => Ok(()),
    }
}

/// Says which files end in the middle of something.
pub(crate) fn warn_of_tails(series: &Series) {
    for cut in series.cut() {
        tracing::warn!(
            "{} was cut: {} bytes after byte {} are no whole entry, and are not used",
            cut.path.display(),
            cut.bytes,
            cut.offset
        );
    }
}

/// An output that gets its name when it is whole.
pub(crate) fn aside(path: &Path, force: bool, inputs: &[PathBuf]) -> Done<Aside> {
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    Aside::new(path, force, &inputs).map_err(image_failed)
}

/// Gives an output its name.
pub(crate) fn publish(output: Aside) -> Done {
    output.publish().map_err(image_failed)
}

/// Whether there is a capture at this path, and not a device, an image or the like.
pub(crate) fn is_capture(path: &Path) -> Done<bool> {
    captures::input::is_capture(path).map_err(|error| cannot_read(path, &error))
}

/// Opens a file that is no capture.
pub(crate) fn open_file(path: &Path) -> Done<File> {
    File::open(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::text(io_exit(error), format!("cannot read {}: {error}", path.display()))
}

/// Runs something that ends early when its flag is set, and sets that when the program is to end.
pub(crate) fn until_stopped<T>(stop: &Stop, run: impl FnOnce(&AtomicBool) -> T) -> T {
    let (over, ended) = (AtomicBool::new(false), AtomicBool::new(stop.is_set()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ended.store(stop.wait(LOOK_EVERY), Ordering::Relaxed);
            }
        });
        let done = run(&ended);
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// Parses a moment; every text is one.
pub(crate) fn moment(text: &str) -> Result<Moment, std::convert::Infallible> {
    text.parse()
}

/// The exit code of a path that cannot be opened, or not be used further.
pub(crate) fn io_exit(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => Exit::Usage,
        _ => Exit::Failure,
    }
}

/// What is no capture that can be read here is a wrong argument; a damaged one a failure.
fn read_exit(error: &ReadError) -> Exit {
    match error {
        ReadError::NotPcapng { .. } | ReadError::Foreign { .. } | ReadError::Empty | ReadError::Format(_) => {
            Exit::Usage
        }
        ReadError::Io(error) => io_exit(error),
        _ => Exit::Failure,
    }
}

pub(crate) fn image_exit(error: &ImageError) -> Exit {
    match error {
        ImageError::Io { source, .. } => io_exit(source),
        ImageError::BaseSize { .. } => Exit::Usage,
        ImageError::Exists(_) | ImageError::NotAFile(_) | ImageError::IsInput(_) => Exit::Refused,
        ImageError::Beyond { .. } => Exit::Failure,
        ImageError::Interrupted => Exit::Interrupted,
    }
}

pub(crate) fn series_exit(error: &SeriesError) -> Exit {
    match error {
        SeriesError::Open { source, .. } => io_exit(source),
        SeriesError::Read { source, .. } => read_exit(source),
        _ => Exit::Usage,
    }
}

pub(crate) fn series_failed(error: SeriesError) -> Failure {
    Failure::new(series_exit(&error), error)
}

pub(crate) fn image_failed(error: ImageError) -> Failure {
    Failure::new(image_exit(&error), error)
}

pub(crate) fn rebuild_failed(error: RebuildError) -> Failure {
    let exit = match &error {
        RebuildError::Series(error) => series_exit(error),
        RebuildError::Image(error) => image_exit(error),
        RebuildError::Moment(_) => Exit::Usage,
        RebuildError::NoPayload | RebuildError::Holes { .. } => Exit::Refused,
    };
    Failure::new(exit, error)
}

pub(crate) fn check_exit(error: &CheckError) -> Exit {
    match error {
        CheckError::NoPlace(_) | CheckError::CannotRun { .. } => Exit::Usage,
        CheckError::Start(_) => Exit::Failure,
        CheckError::Interrupted => Exit::Interrupted,
    }
}

pub(crate) fn explore_failed(error: ExploreError) -> Failure {
    let error = match error {
        ExploreError::Capture(error) => return rebuild_failed(error),
        error => error,
    };
    let exit = match &error {
        ExploreError::Capture(_) => Exit::Failure,
        ExploreError::Series(error) => series_exit(error),
        ExploreError::Image(error) => image_exit(error),
        ExploreError::Check(error) => check_exit(error),
        ExploreError::Moment(_) | ExploreError::Nothing { .. } | ExploreError::FailsAtStart { .. } => Exit::Usage,
        ExploreError::Scratch(error) => io_exit(error),
        ExploreError::Thread(_) => Exit::Failure,
    };
    Failure::new(exit, error)
}

//! What the commands on capture files share: moments, bases, bars and exit codes.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use captures::explore::{CheckError, ExploreError};
use captures::rebuild::RebuildError;
use captures::{Base, ImageError, Moment, ReadError, SeriesError};
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
            Some(path) => Base::open(path).map_err(|error| Failure::new(image_exit(&error), error)),
            None => Ok(Base::Blank),
        }
    }
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

fn io_exit(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        io::ErrorKind::NotFound => Exit::Usage,
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
        SeriesError::Read { source, .. } => match **source {
            ReadError::NotPcapng { .. } | ReadError::Foreign { .. } | ReadError::Empty => Exit::Usage,
            _ => Exit::Failure,
        },
        _ => Exit::Usage,
    }
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
        ExploreError::Scratch(_) | ExploreError::Thread(_) => Exit::Failure,
    };
    Failure::new(exit, error)
}

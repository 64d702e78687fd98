//! Crash states of a volume: what a power cut could have left on it, each looked at by a check.
//!
//! A capture says which commands had completed when another was issued, and which completed flushes cover what. So it says
//! what *may* be on a disk with a volatile cache after a power cut at any place ([`plan`](self)): far more states than
//! anybody will ever see by pulling the plug. Each is built as an image, a command of the user's (fsck, a database's
//! own check) says whether it is sound, and the first that is not is reported with the fewest commands that it takes.

mod bench;
mod check;
mod log;
mod minimise;
mod plan;
mod report;
mod search;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use thiserror::Error;

pub use check::{Check, CheckError, Checked, Verdict};
pub use report::{CommandFate, Failing, FateName, Report};
pub use search::explore;

use crate::image::{Base, ImageError};
use crate::moment::{Moment, MomentError};
use crate::rebuild::RebuildError;
use crate::series::SeriesError;

/// What the disk does with a write that has completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// It may be lost until a flush covers it, or it was written with FUA.
    WriteBack,
    /// It is on the disk: only commands in flight are undecided.
    WriteThrough,
}

/// What is to be explored.
#[derive(Debug)]
pub struct Request<'a> {
    /// The files of the capture, in their order.
    pub files: &'a [PathBuf],
    /// Which volume; needed when there are several.
    pub volume: Option<&'a str>,
    /// What it held when the capture began.
    pub base: Base,
    /// What says whether a state is sound.
    pub check: Check,
    /// The first moment that is looked at.
    pub from: Moment,
    /// The last one.
    pub until: Moment,
    /// Also after so many commands each.
    pub every: Option<u64>,
    /// States drawn at each cut, beside the one in which all that completed is on the disk.
    pub samples: usize,
    /// Completed commands that may be lost at once, at most: the newest ones.
    pub window: usize,
    /// What the disk writes in one piece, in bytes, at multiples of that; 0 when it tears nothing.
    pub tear: u64,
    /// What the draws begin with.
    pub seed: u64,
    /// The disk.
    pub cache: Cache,
    /// Checks at the same time.
    pub jobs: usize,
    /// Where images are made.
    pub folder: &'a Path,
    /// Where an image of the failing state is put, if there is one.
    pub output: Option<&'a Path>,
    /// Whether a file that is there is replaced.
    pub force: bool,
    /// Whether to go on behind the first failing state.
    pub keep_going: bool,
    /// Checks that may be spent on finding the fewest commands.
    pub minimise: usize,
    /// Whether to go on although the capture does not tell all of the content.
    pub allow_holes: bool,
}

/// Why nothing was explored.
#[derive(Error, Debug)]
pub enum ExploreError {
    /// The capture cannot be read.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The capture is no base for this.
    #[error(transparent)]
    Capture(#[from] RebuildError),
    /// The capture does not have the moment.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The check.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The file for content.
    #[error("keeping the content of the capture aside: {0}; make room, or name another place with --work-dir")]
    Scratch(#[source] std::io::Error),
    /// There are no threads.
    #[error("starting a worker: {0}")]
    Thread(#[source] std::io::Error),
    /// The check says no before anything is lost.
    #[error(
        "the check fails on the state at the very beginning ({at}), before anything could be lost ({verdict}):\n{output}\n\
         it must pass there: is the base what the volume held when the capture began? Name a later beginning with --from \
         if the volume was made ready meanwhile"
    )]
    FailsAtStart {
        /// The moment.
        at: String,
        /// What it said.
        verdict: Verdict,
        /// The end of what it printed.
        output: String,
    },
    /// Nothing lies between the two moments.
    #[error("the volume was not changed between {from} and {until}: there is nothing to explore")]
    Nothing {
        /// The first moment.
        from: Moment,
        /// The last one.
        until: Moment,
    },
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the capture; bytes.
    Reading,
    /// Checking states; states, with those that were found to be equal to others.
    Checking,
    /// Looking for the fewest commands; checks, and how many may be spent.
    Minimising,
}

/// Told the stage, and how much is done of how much. Called from one thread at a time.
pub type Watch<'a> = dyn Fn(Stage, u64, u64) + Send + Sync + 'a;

/// Ends an exploration from elsewhere.
pub type Stop = AtomicBool;

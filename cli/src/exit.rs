//! Exit codes, and errors that carry one.

use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What `--help` and the manual page say about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    it failed
  2    wrong arguments or configuration
  3    verify, diff or demo found differences, a check of rebuild or explore failed
  4    not permitted, or this kernel lacks a feature (see `blkecho doctor`)
  5    the other side or a running service cannot be reached, or not in time
  6    refused for safety: device in use, journal on the observed disk, would overwrite
  7    something is missing in the capture (the numbers are said); diff: nothing differs of what it tells
  130  interrupted";

/// Why the program ends. The numbers are a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// It failed.
    Failure = 1,
    /// Arguments or configuration are wrong.
    Usage = 2,
    /// Differences were found.
    Different = 3,
    /// Not permitted, or a feature is missing.
    NotPermitted = 4,
    /// Somebody does not answer, or not in time.
    Unreachable = 5,
    /// Refused for safety.
    Refused = 6,
    /// A capture lacks something.
    Incomplete = 7,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code that it leads to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong. None when all was said already.
    pub(crate) error: Option<anyhow::Error>,
}

impl Failure {
    /// An error with this exit code.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: Some(error.into()) }
    }

    /// A text with this exit code.
    pub(crate) fn text(exit: Exit, text: impl fmt::Display) -> Self {
        Self::new(exit, anyhow::Error::msg(text.to_string()))
    }

    /// Ends with this code; the reader knows why.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// The interruption by a signal.
    pub(crate) fn interrupted() -> Self {
        Self::text(Exit::Interrupted, "interrupted")
    }
}

/// What is not said otherwise is a plain failure.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failure, error)
    }
}

impl fmt::Display for Failure {
    /// The whole chain of causes. Many errors name their cause in their own text: it is not said twice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.error.iter().flat_map(anyhow::Error::chain) {
            let text = cause.to_string();
            if !said.contains(&text) {
                f.write_str(if said.is_empty() { "" } else { ": " })?;
                f.write_str(&text)?;
                said += &text;
            }
        }
        Ok(())
    }
}

/// Result of a command.
pub(crate) type Done<T = ()> = Result<T, Failure>;

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// With this exit code.
    fn or_exit(self, exit: Exit) -> Done<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Done<T> {
        self.map_err(|error| Failure::new(exit, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read x: {0}; try y")]
    struct Names(#[source] std::io::Error);

    #[test]
    fn causes_are_said_once() {
        let cause = || std::io::Error::other("no such thing");
        let failure = Failure::new(Exit::Failure, Names(cause()));
        assert_eq!(failure.to_string(), "cannot read x: no such thing; try y");
        let failure = Failure::new(Exit::Failure, anyhow::Error::new(cause()).context("while reading"));
        assert_eq!(failure.to_string(), "while reading: no such thing");
    }
}

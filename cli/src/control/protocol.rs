//! What is said over the control socket, one JSON object per line.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Longest request, in bytes.
pub(crate) const MAX_REQUEST: u64 = 4 << 10;
/// Longest answer, in bytes.
pub(crate) const MAX_REPLY: u64 = 8 << 20;

/// What is asked of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// How are you?
    Status,
    /// Wait until what completed before now is applied on the standby.
    Drain {
        /// How long at most, in milliseconds.
        timeout_ms: u64,
    },
    /// Wait until all synchronous standbys hold durably what completed before now.
    WaitSync {
        /// How long at most, in milliseconds.
        timeout_ms: u64,
    },
    /// Set a mark behind what completed before now.
    Mark {
        /// Its name.
        text: String,
    },
    /// Compare with the standby.
    Verify,
    /// End, and leave the probe in place.
    Stop,
}

/// One line of an answer. A result or an error is the last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// It goes on: so much of so much is done.
    Progress {
        /// Done, in bytes.
        done: u64,
        /// In all, in bytes.
        total: u64,
    },
    /// It is done.
    Result(Value),
    /// It failed.
    Error {
        /// With which exit code.
        exit: Exit,
        /// Why.
        message: String,
    },
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Error { exit: failure.exit, message: failure.to_string() }
    }
}

/// Reads one line of at most `limit` bytes. None at the end of the stream.
///
/// # Errors
/// The line is longer, not text, or the stream broke off.
pub(crate) fn read_line(source: &mut impl BufRead, limit: u64) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = source.take(limit).read_line(&mut line)?;
    match (read, line.ends_with('\n')) {
        (0, _) => Ok(None),
        (_, true) => Ok(Some(line)),
        (read, false) if read as u64 >= limit => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {limit} bytes")))
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A message as a line.
pub(crate) fn to_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

//! The other end of the control socket: asking a running service.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::protocol::{MAX_REPLY, Reply, Request, read_line, to_line};
use super::{CAPTURE, Role, socket};
use crate::args::GroupName;
use crate::exit::{Done, Exit, Failure};

/// How long `status` and the like may take.
const QUICK: Duration = Duration::from_secs(10);

/// Why nobody answers.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// There is no service.
    #[error("no service answers at {}: {source}; is it running, as this user, with this --run-dir and --group?", path.display())]
    Absent {
        /// Its socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It broke off.
    #[error("the service at {} broke off: {source}; see its log", path.display())]
    Broken {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// A conversation with one service.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Connects to the service at `path`.
    ///
    /// # Errors
    /// [`ClientError::Absent`], with the exit code for it.
    pub(crate) fn connect(path: &Path) -> Done<Self> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self { path: path.to_owned(), stream }),
            Err(source) => {
                let exit = if source.kind() == io::ErrorKind::PermissionDenied {
                    Exit::NotPermitted
                } else {
                    Exit::Unreachable
                };
                Err(Failure::new(exit, ClientError::Absent { path: path.to_owned(), source }))
            }
        }
    }

    /// Connects to the primary of a group.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) fn primary(run_dir: &Path, group: &GroupName) -> Done<Self> {
        Self::connect(&socket(run_dir, Role::Primary, group))
    }

    /// Asks, and waits for the answer for a few seconds.
    ///
    /// # Errors
    /// What the service answered, or that it broke off.
    pub(crate) fn ask(self, request: Request) -> Done<Value> {
        self.ask_within(request, Some(QUICK), &mut |_, _| {})
    }

    /// Asks, and waits for each line of the answer for `patience`; without end if None.
    ///
    /// # Errors
    /// What the service answered, or that it broke off.
    pub(crate) fn ask_within(
        self,
        request: Request,
        patience: Option<Duration>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Done<Value> {
        match self.converse(request, patience, progress) {
            Ok(Reply::Error { exit, message }) => Err(Failure::text(exit, message)),
            Ok(Reply::Result(value)) => Ok(value),
            Ok(Reply::Progress { .. }) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: io::Error) -> Failure {
        Failure::new(Exit::Unreachable, ClientError::Broken { path: self.path.clone(), source })
    }

    fn converse(
        &self,
        request: Request,
        patience: Option<Duration>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> io::Result<Reply> {
        self.stream.set_read_timeout(patience)?;
        (&self.stream).write_all(&to_line(&request)?)?;
        let mut source = BufReader::new(&self.stream);
        loop {
            let line = read_line(&mut source, MAX_REPLY)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match serde_json::from_str(&line)? {
                Reply::Progress { done, total } => progress(done, total),
                reply => return Ok(reply),
            }
        }
    }
}

/// A service that was found in the run directory.
#[derive(Debug)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) role: Role,
    /// Its group.
    pub(crate) group: String,
    /// Its socket.
    pub(crate) path: PathBuf,
}

/// All sockets in the run directory, in the order of their names.
///
/// # Errors
/// The directory exists and cannot be read.
pub(crate) fn find_all(run_dir: &Path) -> Done<Vec<Found>> {
    Ok(files(run_dir)?.into_iter().filter_map(found).collect())
}

/// What is in the run directory, by name.
fn files(run_dir: &Path) -> Done<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::text(Exit::NotPermitted, format!("cannot read {}: {error}", run_dir.display())));
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// The sockets of all captures that run. What a killed one left is removed: no other process ever has its name.
///
/// # Errors
/// The directory exists and cannot be read.
pub(crate) fn captures(run_dir: &Path) -> Done<Vec<PathBuf>> {
    let (alive, dead): (Vec<_>, Vec<_>) =
        files(run_dir)?.into_iter().filter(|path| is_capture(path)).partition(|path| UnixStream::connect(path).is_ok());
    for path in dead {
        let _ = std::fs::remove_file(path.with_extension("lock"));
        let _ = std::fs::remove_file(path);
    }
    Ok(alive)
}

fn is_capture(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(CAPTURE) && name.ends_with(".sock"))
}

fn found(path: PathBuf) -> Option<Found> {
    let name = path.file_name()?.to_str()?.strip_suffix(".sock")?.to_owned();
    let (word, group) = name.split_once('-')?;
    let role = [Role::Primary, Role::Standby].into_iter().find(|role| role.word() == word)?;
    Some(Found { role, group: group.to_owned(), path })
}

//! The control socket: how `status`, `drain`, `verify` and `detach` talk to a running service.
//!
//! JSON lines over a Unix socket of mode 0600 in the run directory, named `ROLE-GROUP.sock`, or `capture-PID.sock`. A request is one line;
//! the answer is any number of progress lines and then one result. A lock file beside the socket makes sure that one
//! service serves a group.

pub(crate) mod client;
pub(crate) mod protocol;
pub(crate) mod server;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::args::GroupName;

/// Where sockets are by default.
const RUN_DIR: &str = "/run/blkecho";

/// What a service is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It observes devices.
    Primary,
    /// It keeps copies.
    Standby,
}

impl Role {
    /// Its word in file names.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}

/// The run directory: named, from the environment, or the default.
pub(crate) fn run_dir(named: Option<PathBuf>) -> PathBuf {
    named.or_else(|| std::env::var_os("BLKECHO_RUN_DIR").map(Into::into)).unwrap_or_else(|| RUN_DIR.into())
}

/// Begins the names of the sockets of captures.
const CAPTURE: &str = "capture-";

/// The socket of the capture of a process: there may be any number of them.
pub(crate) fn capture_socket(run_dir: &Path, process: u32) -> PathBuf {
    run_dir.join(format!("{CAPTURE}{process}.sock"))
}

/// The socket of a service.
pub(crate) fn socket(run_dir: &Path, role: Role, group: &GroupName) -> PathBuf {
    run_dir.join(format!("{}-{}.sock", role.word(), group.0))
}

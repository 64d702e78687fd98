//! Why an agent does not start or cannot do what was asked.

use std::path::PathBuf;
use std::time::Duration;

use replication::primary::Lacking;

use crate::btf::BtfError;
use crate::layer::LayerError;
use crate::preflight::features::{BpffsError, MissingFeature};
use crate::preflight::{DeviceError, StackError};
use crate::primary::LogError;
use crate::probe::ProbeError;
use crate::probe::filter::FilterError;
use crate::probe::layout::LayoutError;
use crate::selftest::SelfTestError;
use crate::tape::TapeError;

/// What kind of error it is; the binary turns it into an exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// Something was named or configured wrongly.
    Usage,
    /// This user or kernel cannot do it.
    NotPermitted,
    /// The peer, or the agent, did not answer.
    Unreachable,
    /// It would be dangerous.
    Refused,
    /// Something broke.
    Failure,
}

/// Any error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A device that cannot be observed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A path that would feed on itself.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A feature that is missing.
    #[error(transparent)]
    Feature(#[from] MissingFeature),
    /// No BPF file system.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// Kernel types that cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Kernel structures that cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// SCSI commands that cannot be captured.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A tape that cannot be observed so.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// A filter that cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Payload cannot be carried.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// The journal could not be read.
    #[error(transparent)]
    JournalRead(#[from] journal::ReadError),
    /// The engine refuses its configuration.
    #[error("configuration: {0}")]
    Config(#[from] replication::primary::ConfigError),
    /// The log thread failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Wrong arguments.
    #[error("{0}")]
    Usage(String),
    /// What is saved belongs to a secondary that is not named.
    #[error(
        "{dir} holds what is known of the standby `{name}`, and no --to names it: if it has moved, use --to HOST:PORT,\
         name={name}; if it is gone for good, --forget {name}"
    )]
    Unnamed {
        /// Its name.
        name: String,
        /// The state directory.
        dir: PathBuf,
    },
    /// Another agent observes the device.
    #[error("{device} is observed by another blkecho agent; stop that one first (`blkecho status` lists them)")]
    Busy {
        /// The device.
        device: PathBuf,
    },
    /// A file of the state directory.
    #[error("{what} {path}: {source}; `--dir` names another directory for journal and maps")]
    State {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not done in time.
    #[error("{what} was not done within {after:?}: {why}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
        /// What was missing.
        why: String,
    },
    /// The link is down.
    #[error("the standby is not connected: {0}")]
    NotConnected(String),
    /// A standby does not hold what was waited for, and waiting does not change that.
    #[error("the standby `{name}` does not hold what completed: {why}")]
    NotHeld {
        /// Its name.
        name: String,
        /// Why not.
        why: Lacking,
    },
    /// Nothing is shipped any more.
    #[error("nothing is shipped any more: {0}")]
    Ended(String),
    /// The system gave no thread or socket.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl AgentError {
    /// Its kind.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Device(_) | Self::Unnamed { .. } => ErrorClass::Usage,
            Self::Filter(FilterError::NoCopy(_)) => ErrorClass::Refused,
            Self::Filter(_) => ErrorClass::Usage,
            Self::Feature(_) | Self::Bpffs(_) | Self::Btf(_) | Self::Layout(_) => ErrorClass::NotPermitted,
            Self::Layer(LayerError::NotScsi { .. } | LayerError::Tape { .. }) => ErrorClass::Usage,
            Self::Layer(LayerError::Kernel(_)) => ErrorClass::NotPermitted,
            Self::TimedOut { .. } | Self::NotConnected(_) | Self::NotHeld { .. } => ErrorClass::Unreachable,
            Self::Stack(_) | Self::Busy { .. } | Self::SelfTest(_) | Self::Tape(_) => ErrorClass::Refused,
            Self::Probe(_)
            | Self::Journal(_)
            | Self::JournalRead(_)
            | Self::Log(_)
            | Self::Ended(_)
            | Self::State { .. }
            | Self::System { .. } => ErrorClass::Failure,
        }
    }
}

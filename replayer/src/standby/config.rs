//! What a standby is told, and what can be wrong with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use formats::state::{MAX_NAME, MAX_PATH};
use formats::wire::MAX_VOLUMES;
use link::LinkError;
use replication::errors::HealConfig;
use thiserror::Error;

use crate::state_file::StateFileError;
use crate::target::{CheckError, ScsiSettings};

/// Smallest journal, in bytes: several frames of the largest size, so that trimming always makes room.
pub const MIN_JOURNAL_BYTES: u64 = 128 << 20;
/// Behind the path of a target whose content is moved, as the checkpoint records it; the number of blocks follows.
pub(super) const MOVED: &str = " lba=+";
/// Largest number of workers.
pub const MAX_DEPTH: usize = 256;

/// Configuration of a [`super::StandbyService`].
#[derive(Clone, Debug)]
pub struct StandbyConfig {
    /// Where to listen, `HOST:PORT`; port 0 lets the system choose.
    pub listen: String,
    /// Whether an address other than loopback is allowed, although the link is neither encrypted nor authenticated.
    pub insecure: bool,
    /// Directory of journal and checkpoint; made if absent.
    pub dir: PathBuf,
    /// Size of the journal in bytes, at least [`MIN_JOURNAL_BYTES`].
    pub journal_bytes: u64,
    /// The volumes served: the name that the primary uses, and the target it is copied to.
    pub volumes: Vec<(String, PathBuf)>,
    /// Entries applied at the same time, at most [`MAX_DEPTH`].
    pub depth: usize,
    /// Apply strictly one after the other, in the order of completion.
    pub serial: bool,
    /// Name of this node, for the primary's `status`.
    pub node: String,
    /// How often the targets are flushed and the checkpoint is saved.
    pub checkpoint_interval: Duration,
    /// Bytes that may be received and not yet applied; above it the socket is not read.
    pub queue_bytes: u64,
    /// How often the primary hears from us at least.
    pub keepalive: Duration,
    /// A primary that is silent for this long is taken for gone.
    pub link_timeout: Duration,
    /// How what a target's device does not take is kept and healed.
    pub heal: HealConfig,
    /// How targets that take SCSI commands are used.
    pub scsi: ScsiSettings,
}

impl StandbyConfig {
    /// The defaults around what has no default.
    #[must_use]
    pub fn new(listen: &str, dir: PathBuf, volumes: Vec<(String, PathBuf)>) -> Self {
        Self {
            listen: listen.to_owned(),
            insecure: false,
            dir,
            journal_bytes: 1 << 30,
            volumes,
            depth: 32,
            serial: false,
            node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            checkpoint_interval: Duration::from_secs(1),
            queue_bytes: 64 << 20,
            keepalive: Duration::from_secs(1),
            link_timeout: Duration::from_secs(10),
            heal: HealConfig::default(),
            scsi: ScsiSettings::default(),
        }
    }

    /// Entries applied at the same time, with `serial` taken into account.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.serial { 1 } else { self.depth }
    }

    pub(super) fn check(&self) -> Result<(), StandbyError> {
        let bad = |what: String| Err(StandbyError::Config(what));
        if self.volumes.is_empty() || self.volumes.len() > usize::from(MAX_VOLUMES) {
            return bad(format!("{} volumes given; name 1 to {MAX_VOLUMES}", self.volumes.len()));
        }
        if !(1..=MAX_DEPTH).contains(&self.depth) {
            return bad(format!("a depth of {} is not between 1 and {MAX_DEPTH}", self.depth));
        }
        if self.journal_bytes < MIN_JOURNAL_BYTES {
            return bad(format!("a journal of {} bytes is below {MIN_JOURNAL_BYTES}", self.journal_bytes));
        }
        if self.keepalive.is_zero() || self.link_timeout <= self.keepalive || self.checkpoint_interval.is_zero() {
            return bad("intervals must not be zero, and the link time-out must exceed the keep-alive".into());
        }
        self.check_names()?;
        self.check_mappings()
    }

    fn check_mappings(&self) -> Result<(), StandbyError> {
        for (name, mapping) in &self.scsi.mappings {
            let bad = |what: String| Err(StandbyError::Config(format!("--map of volume {name:?}: {what}")));
            if !self.volumes.iter().any(|(volume, _)| volume == name) {
                return bad("there is no volume of this name; name one of those given with --volume".to_owned());
            }
            if mapping.lba_offset < 0 {
                let blocks = mapping.lba_offset.unsigned_abs();
                return bad(format!(
                    "lba={} leaves no place for the first {blocks} blocks of the volume; use 0 or more",
                    mapping.lba_offset
                ));
            }
        }
        Ok(())
    }

    /// The target of a volume as the checkpoint records it: its path, and by how much content is moved there.
    pub(super) fn kept_on(&self, volume: &str) -> Option<String> {
        let (name, path) = self.volumes.iter().find(|(name, _)| name == volume)?;
        let path = path.to_string_lossy();
        Some(match self.scsi.mapping(name).lba_offset {
            0 => path.into_owned(),
            offset => format!("{path}{MOVED}{offset}"),
        })
    }

    fn check_names(&self) -> Result<(), StandbyError> {
        for (at, (name, path)) in self.volumes.iter().enumerate() {
            let bad = |what: &str| Err(StandbyError::Config(format!("volume {name:?}: {what}")));
            if name.is_empty() || name.len() > MAX_NAME {
                return bad(&format!("a name has 1 to {MAX_NAME} bytes"));
            }
            if path.as_os_str().len() > MAX_PATH {
                return bad(&format!("a path has at most {MAX_PATH} bytes"));
            }
            if self.volumes[..at].iter().any(|(other, _)| other == name) {
                return bad("named twice");
            }
        }
        Ok(())
    }
}

/// Why a standby does not start or stop as it should.
#[derive(Error, Debug)]
pub enum StandbyError {
    /// A value that cannot be.
    #[error("bad configuration: {0}")]
    Config(String),
    /// The directory cannot be used.
    #[error("cannot use {} for journal and checkpoint: {source}; check that it is a writable directory", path.display())]
    Dir {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A target must not or cannot be written.
    #[error("volume {volume:?}: {source}")]
    Target {
        /// Name of the volume.
        volume: String,
        /// Why.
        source: CheckError,
    },
    /// The checkpoint belongs to another target: what is recorded as copied may not be there.
    #[error(
        "volume {volume:?} was kept on {was} and is to be kept on {now}: the checkpoint in {} does not hold for it. \
         Name the old target, or another directory; everything is then copied again", dir.display()
    )]
    TargetChanged {
        /// Name of the volume.
        volume: String,
        /// The recorded target.
        was: String,
        /// The one given now.
        now: String,
        /// The standby's directory.
        dir: PathBuf,
    },
    /// A volume of the checkpoint is not given any more, while entries for it wait to be redone.
    #[error("volume {volume:?} has entries waiting in {}, but no target is given for it; name {was} again", dir.display())]
    VolumeMissing {
        /// Name of the volume.
        volume: String,
        /// The recorded target.
        was: String,
        /// The standby's directory.
        dir: PathBuf,
    },
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The own journal cannot be used.
    #[error("the standby's journal: {0}")]
    Journal(#[from] journal::JournalError),
    /// The own journal lost entries that were acknowledged.
    #[error("the standby's journal lost entries: {what}; remove {} to have everything copied again", dir.display())]
    JournalDamaged {
        /// Which, and how that is known.
        what: String,
        /// The standby's directory.
        dir: PathBuf,
    },
    /// The address cannot be listened on.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The system has no more threads.
    #[error("cannot start a thread: {0}; raise the limit of tasks (ulimit -u)")]
    Thread(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> StandbyConfig {
        StandbyConfig::new("127.0.0.1:0", "/d".into(), vec![("a".into(), "/t".into())])
    }

    #[test]
    fn the_defaults_are_accepted_and_each_bad_value_is_named() {
        assert!(config().check().is_ok());
        type Case = (&'static str, fn(&mut StandbyConfig));
        let cases: [Case; 9] = [
            ("no volume of this name", |c| c.scsi.mappings = [("b".to_owned(), "lba=1".parse().unwrap())].into()),
            ("the first 5 blocks", |c| c.scsi.mappings = [("a".to_owned(), "lba=-5".parse().unwrap())].into()),
            ("0 volumes", |c| c.volumes.clear()),
            ("named twice", |c| c.volumes.push(("a".into(), "/u".into()))),
            ("1 to 128 bytes", |c| c.volumes[0].0.clear()),
            ("at most 768", |c| c.volumes[0].1 = "x".repeat(769).into()),
            ("depth", |c| c.depth = 0),
            ("journal", |c| c.journal_bytes = 1),
            ("intervals", |c| c.link_timeout = c.keepalive),
        ];
        for (word, spoil) in cases {
            let mut bad = config();
            spoil(&mut bad);
            let text = bad.check().unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}

//! What a primary's engine is made with, and what of it survives a restart.

use alloc::vec::Vec;
use core::time::Duration;

use formats::entry::MAX_PAYLOAD;
use formats::wire::MAX_BODY;
use formats::{Position, Seq, StreamId};
use thiserror::Error;

use crate::dirty::{DirtyMap, DirtyMapError};
use crate::scope::Scope;

/// Ranges in one batch of regions, at most.
pub const MAX_REGIONS_PER_BATCH: usize = 1024;

/// Limits and times of a primary's engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrimaryConfig {
    /// The stream that its journal holds. Another one must be drawn whenever the journal may have lost entries that
    /// were offered for sending (lost or replaced journal, power cut of the host).
    pub stream: StreamId,
    /// Bytes per region of the dirty map: a power of two, at least 512.
    pub region_size: u32,
    /// Sizes of the volumes in bytes, in the order of their index.
    pub volumes: Vec<u64>,
    /// Bytes that may be sent and not yet durable at the secondary, exceeded by at most one entry or region; the
    /// secondary's own window counts too.
    pub window_bytes: u64,
    /// Bytes of entries per frame, at most [`MAX_BODY`].
    pub max_batch_bytes: u32,
    /// Bytes of content per frame of regions, at most [`MAX_PAYLOAD`].
    pub max_region_read_bytes: u32,
    /// While both wait: frames of regions for each frame of entries, at least 1.
    pub regions_per_batch: u32,
    /// A keep-alive is sent after this long without a frame.
    pub keepalive: Duration,
    /// The link is given up after hearing nothing for this long; longer than `keepalive`.
    pub link_timeout: Duration,
    /// First pause before a new attempt to connect; doubles with each failure ...
    pub backoff_min: Duration,
    /// ... up to this.
    pub backoff_max: Duration,
    /// The administrator's word that a blank secondary already holds the content at which the stream began: nothing
    /// is copied to it.
    pub assume_identical: bool,
    /// What of the volumes is replicated.
    pub scope: Scope,
}

impl PrimaryConfig {
    /// Usual limits for these volumes: 64 KiB regions, 32 MiB window, 1 MiB frames.
    #[must_use]
    pub fn new(stream: StreamId, volumes: Vec<u64>) -> Self {
        Self {
            stream,
            region_size: 64 << 10,
            volumes,
            window_bytes: 32 << 20,
            max_batch_bytes: 1 << 20,
            max_region_read_bytes: 1 << 20,
            regions_per_batch: 1,
            keepalive: Duration::from_secs(1),
            link_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            assume_identical: false,
            scope: Scope::WHOLE,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("max_batch_bytes", u64::from(self.max_batch_bytes), u64::from(MAX_BODY)),
            ("max_region_read_bytes", u64::from(self.max_region_read_bytes), u64::from(MAX_PAYLOAD)),
            ("window_bytes", self.window_bytes, u64::MAX),
            ("regions_per_batch", u64::from(self.regions_per_batch), u64::MAX),
        ];
        for (name, value, max) in limits {
            if value == 0 || value > max {
                return Err(ConfigError::Limit { name, value, max });
            }
        }
        if self.keepalive.is_zero() || self.keepalive >= self.link_timeout {
            return Err(ConfigError::Keepalive { keepalive: self.keepalive, link_timeout: self.link_timeout });
        }
        if self.backoff_min.is_zero() || self.backoff_min > self.backoff_max {
            return Err(ConfigError::Backoff { min: self.backoff_min, max: self.backoff_max });
        }
        Ok(())
    }
}

/// Why an engine cannot be made.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// A number outside its limits.
    #[error("{name} is {value}, it must be between 1 and {max}")]
    Limit {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// Keep-alives would come too late.
    #[error("keepalive of {keepalive:?} must be above zero and below link_timeout of {link_timeout:?}")]
    Keepalive {
        /// Configured.
        keepalive: Duration,
        /// Configured.
        link_timeout: Duration,
    },
    /// Pauses that contradict each other.
    #[error("backoff_min of {min:?} must be above zero and at most backoff_max of {max:?}")]
    Backoff {
        /// Configured.
        min: Duration,
        /// Configured.
        max: Duration,
    },
    /// The dirty map cannot be made, or the restored one is of other volumes.
    #[error(transparent)]
    DirtyMap(#[from] DirtyMapError),
    /// An extent that contradicts itself.
    #[error("journal extent from {first} to before {next} is impossible")]
    Journal {
        /// First position.
        first: Position,
        /// Position of the next entry.
        next: Position,
    },
}

/// What a journal holds: positions `first..next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalExtent {
    /// First position that can be read; equals `next` when nothing can.
    pub first: Position,
    /// Position that the next entry will take; at least 1.
    pub next: Position,
    /// Seq that the next entry continues: every completion up to it is in the journal, was in it, or is covered by a
    /// dirty map. The next entry must begin with the seq after it. 0 only before the first completion of a
    /// stream; its first entry may have any position.
    pub last_seq: Seq,
}

impl JournalExtent {
    /// Of a journal that never held anything.
    pub const EMPTY: Self = Self { first: Position(1), next: Position(1), last_seq: Seq(0) };

    /// Where the stream began, as far as the extent tells.
    pub(super) fn origin(self) -> Option<Position> {
        let untouched = (self.last_seq == Seq(0)).then_some(self.next);
        untouched.or((self.first == Position(1)).then_some(self.first))
    }

    pub(super) fn check(self) -> Result<Self, ConfigError> {
        if self.first.0 == 0 || self.first > self.next {
            return Err(ConfigError::Journal { first: self.first, next: self.next });
        }
        Ok(self)
    }
}

/// A stretch of positions that the dirty map stands for: a secondary that holds everything up to some position in
/// `from..=through` misses only what the map marks and what the journal holds behind `through`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Covered {
    /// The lowest position such a secondary may hold.
    pub from: Position,
    /// The last position that the map stands for.
    pub through: Position,
    /// Completions up to this are covered, too: the entry after `through` begins with the next seq.
    pub last_seq: Seq,
}

/// What a driver saves durably of a primary's engine, and hands back to [`super::Primary::new`].
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Names this state for [`super::Primary::snapshot_saved`]; need not be saved.
    pub generation: u64,
    /// Every region that the secondary is not known to hold durably.
    pub dirty: DirtyMap,
    /// What of the journal the map stands for.
    pub covered: Option<Covered>,
}

/// What a driver finds when it starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Restored {
    /// The journal.
    pub journal: JournalExtent,
    /// The journal's saved cursor of this secondary: what it was known to hold; 0 when there is none.
    pub acknowledged: Position,
    /// The saved dirty map of this stream, to which the live kernel epochs have been added.
    pub dirty: Option<DirtyMap>,
    /// Saved with the map.
    pub covered: Option<Covered>,
    /// The kernel's completion counter, read after the live epochs.
    pub completed: Seq,
}

impl Restored {
    /// A first start: nothing there.
    pub const NOTHING: Self = Self {
        journal: JournalExtent::EMPTY,
        acknowledged: Position(0),
        dirty: None,
        covered: None,
        completed: Seq(0),
    };
}

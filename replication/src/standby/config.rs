//! What a standby's engine is made with, and what of it is saved.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use formats::wire::Welcome;
use formats::{Position, Seq, StreamId};
use thiserror::Error;

use crate::consistency::ConsistencyState;
use crate::errors::{HealConfig, Hole, Policy};
use crate::follow::ProtocolError;
use crate::scheduler::SchedulerError;

/// A target that this standby serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalVolume {
    /// The name that both ends use.
    pub name: String,
    /// Size of the target in bytes; at least the primary's.
    pub size: u64,
    /// Logical block size of the target in bytes; the primary's. 0 of a tape, which has none.
    pub block_size: u32,
}

/// Limits and times of a standby's engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyConfig {
    /// Name of this node, told to the primary.
    pub node: String,
    /// The targets, in any order.
    pub volumes: Vec<LocalVolume>,
    /// Entries applied at once, at least 1; 1 applies strictly in order.
    pub depth: usize,
    /// Bytes that a primary may send before they are durable here.
    pub window_bytes: u64,
    /// Entries that may wait to be applied before [`super::Standby::wants_frames`] turns false.
    pub max_pending: usize,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// How holes of its own making are kept and healed.
    pub heal: HealConfig,
    /// How often in a row it goes back to one checkpoint because writes were lost, before it stops.
    pub max_redos: u32,
}

impl StandbyConfig {
    /// Usual limits: 32 entries at once, 32 MiB window, 65536 entries pending, a checkpoint per second, holes and redos as
    /// the error consistency policy has them.
    #[must_use]
    pub fn new(node: &str, volumes: Vec<LocalVolume>) -> Self {
        Self {
            node: node.into(),
            volumes,
            depth: 32,
            window_bytes: 32 << 20,
            max_pending: 65_536,
            checkpoint_interval: Duration::from_secs(1),
            heal: HealConfig::default(),
            max_redos: Policy::default().max_redos,
        }
    }
}

/// One volume of the stream, in the order of its index there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamVolume {
    /// The name that both ends use.
    pub name: String,
    /// The primary's size in bytes.
    pub size: u64,
    /// The primary's logical block size in bytes.
    pub block_size: u32,
}

/// A checkpoint: everything through `local_index` is on the targets, durably; entries behind it are redone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyState {
    /// The stream it belongs to; 0 for none yet.
    pub stream: StreamId,
    /// Position held once `local_index` is applied.
    pub position: Position,
    /// Last index of the standby's own journal that is applied.
    pub local_index: u64,
    /// Every completion up to this is applied or stands in a gap.
    pub applied_seq: Seq,
    /// Consistency of the content at `local_index`.
    pub consistency: ConsistencyState,
    /// The volumes of the stream: volume indices of entries mean places in this list.
    pub volumes: Vec<StreamVolume>,
    /// What the targets' devices did not take of everything up to `local_index`; perhaps also of entries behind it.
    pub holes: Vec<Hole>,
}

/// What becomes of a checkpoint whose targets were flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An entry that was being applied during the flush has not been reported yet: it may have heard of lost writes.
    Wait,
    /// It may be saved.
    Save,
    /// It must not: writes that it counts on were lost.
    Discard,
}

impl StandbyState {
    /// Of a standby that never held anything, or whose state is lost. Entries up to `local_index`, the last one in
    /// its own journal, are not used.
    #[must_use]
    pub fn blank(local_index: u64) -> Self {
        Self {
            stream: StreamId(0),
            position: Position(0),
            local_index,
            applied_seq: Seq(0),
            consistency: ConsistencyState::BLANK,
            volumes: Vec::new(),
            holes: Vec::new(),
        }
    }
}

/// A hello that is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The answer.
    pub welcome: Welcome,
    /// For each volume of the stream, its place in [`StandbyConfig::volumes`].
    pub volumes: Vec<usize>,
    /// Before the answer is sent: make a checkpoint, which is this state. Entries of another stream, or for volumes in
    /// another order, follow.
    pub save_first: Option<StandbyState>,
}

/// A driver that breaks the order of calls, or a journal that does not fit the checkpoint.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandbyError {
    /// The journal's indices do not fit the frames.
    #[error("the journal gave index {got} to an entry where {expected} was expected")]
    Index {
        /// Index that would have been right.
        expected: u64,
        /// Index that came.
        got: u64,
    },
    /// Something durable or redone that cannot be.
    #[error("nothing at journal index {0} waits for that")]
    Unexpected(u64),
    /// An entry of the standby's own journal does not follow the ones before it.
    #[error("entry {index} of the standby's journal does not fit its checkpoint: {source}")]
    Journal {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: ProtocolError,
    },
    /// The scheduler refused.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

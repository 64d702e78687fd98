//! What a standby says about itself.

use std::collections::BTreeMap;

use formats::{Entry, EntryHeader, Op};
use serde::Serialize;

use crate::pool::Outcome;
use crate::target::{Effect, ScsiReport, TapeStatus, TargetInfo};

/// In which state the service is; the words of `status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum StateWord {
    /// Entries of its own journal are being applied again after a start; no primary is accepted yet.
    Recovering,
    /// No primary is connected.
    Listening,
    /// A primary is connected and its entries are received.
    Connected,
    /// A primary is connected, but nothing is read from it before queued entries are applied.
    QueueFull,
    /// A primary is connected, but nothing is read from it before the journal has room again.
    JournalFull,
    /// An error ended it; see `reason`.
    Stopped,
}

/// One volume of a standby.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VolumeStatus {
    /// The name that both ends use.
    pub name: String,
    /// Where it is kept.
    pub target: TargetInfo,
    /// Its size on the primary in bytes; `None` before a primary named it.
    pub primary_size: Option<u64>,
    /// Of a tape: where it stands, and how that compared with the primary's.
    pub tape: Option<TapeStatus>,
    /// Where SCSI commands are replayed: the device beside the primary's, and how replay went.
    pub scsi: Option<ScsiReport>,
}

/// How many entries of one kind, and how many bytes of the volume they covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Entries.
    pub entries: u64,
    /// Bytes of their ranges.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

/// What was done with entries since the start of the process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AppliedCounts {
    /// By operation, plus `region` and `gap`.
    pub by_kind: BTreeMap<&'static str, Tally>,
    /// Discards and the like that were done by writing zeros, or without the erasure of copies.
    pub emulated: Tally,
    /// Commands that had failed on the primary and were not repeated.
    pub failed_on_primary: Tally,
    /// Writes whose payload was not captured; a region follows for each.
    pub not_carried: Tally,
    /// Zone and opaque commands, which are not repeated.
    pub not_replayable: Tally,
    /// What the target's device did not take, for good: see [`StandbyStatus::out_of_sync`].
    pub not_taken: Tally,
}

impl AppliedCounts {
    pub(super) fn count_not_taken(&mut self, header: &EntryHeader) {
        self.not_taken.add(header.range().map_or(0, |range| range.len));
    }

    pub(super) fn count(&mut self, header: &EntryHeader, outcome: Outcome) {
        let bytes = header.range().map_or(0, |range| range.len);
        self.by_kind.entry(kind(header)).or_default().add(bytes);
        match outcome {
            Outcome::Applied(Effect::Emulated) => self.emulated.add(bytes),
            Outcome::Applied(Effect::AsAsked) | Outcome::Nothing => {}
            Outcome::FailedOnPrimary => self.failed_on_primary.add(bytes),
            Outcome::NotCarried => self.not_carried.add(bytes),
            Outcome::NotReplayable => self.not_replayable.add(bytes),
        }
    }
}

fn kind(header: &EntryHeader) -> &'static str {
    match &header.entry {
        Entry::Record(record) => Op::name(record.op),
        Entry::Gap(_) => "gap",
        Entry::Region(_) => "region",
    }
}

/// The standby's own journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct JournalStatus {
    /// Index of the last entry appended.
    pub last: u64,
    /// Index of the last entry that is on the targets durably.
    pub checkpoint: u64,
    /// Bytes in use.
    pub bytes_used: u64,
    /// Bytes it may use.
    pub bytes_total: u64,
    /// How often it was full, so that reading had to wait.
    pub times_full: u64,
}

/// One stretch of a volume that is out of sync.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HoleStatus {
    /// Name of the volume.
    pub volume: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Row of the error consistency table that ended in it; `None` when that is not known any more.
    pub reason: Option<&'static str>,
    /// Times that the device refused what was sent to heal it.
    pub attempts: u32,
}

/// What the targets' devices did not take, and what became of it. It heals by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct OutOfSyncStatus {
    /// Number of stretches.
    pub holes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were out of sync once and are not any more.
    pub healed_bytes: u64,
    /// Stretches that the primary was asked for.
    pub asked: u64,
    /// The first of them.
    pub first: Vec<HoleStatus>,
}

/// Everything about a standby at one moment. Counters count since the start of the process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StandbyStatus {
    /// State of the service.
    pub state: StateWord,
    /// Why it is in that state, where there is more to say.
    pub reason: Option<String>,
    /// State of the content: `Consistent`, `Inconsistent` or `Blank`.
    pub data: &'static str,
    /// The same in the word that an operator reads first: `UpToDate`, `Outdated`, `Inconsistent` or `Stopped: reason`
    /// ([`replication::errors::StateWord`]).
    pub content: String,
    /// What the targets' devices did not take.
    pub out_of_sync: OutOfSyncStatus,
    /// Times that writes were lost by a device, and everything since the checkpoint was applied again.
    pub times_lost: u64,
    /// Name of this node.
    pub node: String,
    /// Where it listens.
    pub listen: String,
    /// The connected primary's address.
    pub peer: Option<String>,
    /// The group that the connected primary serves.
    pub group: Option<String>,
    /// The stream it holds, in hexadecimal.
    pub stream: Option<String>,
    /// The volumes.
    pub volumes: Vec<VolumeStatus>,
    /// Last position of the stream that was received.
    pub received: u64,
    /// Last position that is durable in the own journal.
    pub durable: u64,
    /// Last position that is applied.
    pub applied: u64,
    /// Bytes received and not yet applied.
    pub queued_bytes: u64,
    /// Entries durable and not yet applied.
    pub queued_entries: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub apply_lag_ms: u64,
    /// When the last applied command completed on the primary, nanoseconds since 1970 by the primary's clock.
    pub applied_completed_ns: u64,
    /// Bytes of entry frames received.
    pub bytes_received: u64,
    /// Entries received.
    pub entries_received: u64,
    /// What was done with them.
    pub done: AppliedCounts,
    /// The own journal.
    pub journal: JournalStatus,
    /// Checkpoints saved.
    pub checkpoints: u64,
    /// Entries applied again, after the start and after writes were lost.
    pub redone: u64,
    /// Sessions accepted.
    pub sessions: u64,
    /// Peers turned away.
    pub refused: u64,
    /// How often reading waited because the queue was full.
    pub times_queue_full: u64,
    /// The last thing that went wrong on the link, in words.
    pub last_link_error: Option<String>,
}

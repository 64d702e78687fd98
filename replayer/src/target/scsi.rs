//! A SCSI device as target: commands by SG_IO, or to a simulated device.
//!
//! Captured commands are issued again CDB for CDB ([`CommandTarget`]); records and regions without a command become
//! READ, WRITE, UNMAP, WRITE SAME and SYNCHRONIZE CACHE, in pieces that the device takes. Every command, of either sort,
//! goes through the error consistency table (`replication::errors`): retries, equivalents, holes and stops are the
//! table's, and each row that was used is counted. Reads go through it as well, as a command of device state, since a
//! unit attention that a read takes away is told to nobody else.
//!
//! Before the first command: the device's identity, its last block, and TEST UNIT READY until it is quiet. Unit
//! attentions of that time are from before, so nothing of ours is lost by them.
//!
//! # Threads
//! Each caller waits for its own command; as many are in flight as there are callers (`docs/decisions/0008`). Captured writes
//! may also be begun without waiting, by the one thread that keeps many in flight (`docs/decisions/0015`); an answer
//! that is not good then goes to a caller that waits, and through the table as if it had heard it itself.

mod captured;
mod drive;
mod effects;
mod open;
mod pieces;
mod report;
mod settings;
mod tape;
mod timeout;
mod wait;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formats::ByteRange;
use formats::scsi::LbaRange;
use replication::errors::{CommandKind, Equivalent, Policy, PrimaryOutcome, RowCounters, StandbyOutcome, Work};

pub use open::{OpenError, describe, disk_behind};
pub(super) use open::{is_scsi, open};
pub use report::{RetryCount, RowCount, ScsiReport, opaque_word};
pub use settings::Settings;
pub use tape::{TapeError, TapeStatus};
pub use timeout::{TimeoutError, TimeoutFor, Timeouts};

use super::{Effect, Target, TargetError, TargetInfo, check_range};
use crate::command::{CommandTarget, NotApplied};
use crate::scsi::identity::{Identity, Mapping};
use crate::scsi::{CommandQueue, ScsiDevice};
use drive::{Answer, Broken};
use pieces::Zeroing;
use wait::Waits;

/// Bytes of one transfer where nobody says otherwise: what nearly every adapter takes (128 pages).
const USUAL_TRANSFER: u32 = 512 << 10;

/// How a device is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in messages and `status`.
    pub path: PathBuf,
    /// How recorded addresses are put onto it.
    pub mapping: Mapping,
    /// Limits and rules of the error consistency table.
    pub policy: Policy,
    /// Time-outs of commands.
    pub timeouts: Timeouts,
    /// Most bytes of one transfer that the host takes.
    pub max_transfer: u32,
    /// Whether what the primary unmaps reads as zeros there (LBPRZ), until it tells.
    pub primary_reads_zeros: bool,
    /// The recorded device, where it is known: a dangerous difference refuses the target.
    pub recorded: Option<Identity>,
}

impl Options {
    /// Usual ones, for a device of this name.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            mapping: Mapping::default(),
            policy: Policy::default(),
            timeouts: Timeouts::default(),
            max_transfer: USUAL_TRANSFER,
            primary_reads_zeros: true,
            recorded: None,
        }
    }
}

/// A SCSI device that holds the copy of a volume: a disk, or for captured commands a tape.
pub struct ScsiTarget {
    device: Arc<dyn ScsiDevice>,
    /// For writes that nobody waits for one by one, where the device has such.
    queue: Option<Mutex<Box<dyn CommandQueue>>>,
    options: Options,
    identity: Identity,
    /// Bytes of a logical block; for a tape a stand-in that nothing is addressed by.
    block_size: u32,
    size: u64,
    rows: Mutex<RowCounters>,
    ledger: report::Ledger,
    waits: Waits,
    /// It does not take WRITE SAME or UNMAP, as it said once.
    no_same: AtomicBool,
    /// Of a tape: where it stands.
    tape: Option<tape::Tape>,
    /// Locks that keep others off for as long as it is open.
    _claims: Vec<std::fs::File>,
}

impl std::fmt::Debug for ScsiTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScsiTarget").field("options", &self.options).field("size", &self.size).finish_non_exhaustive()
    }
}

impl ScsiTarget {
    /// What the device said of itself when it was opened.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn rows(&self) -> MutexGuard<'_, RowCounters> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues what a plain operation comes to, by the table; whether something else than asked was issued.
    fn plain(
        &self,
        action: &'static str,
        range: ByteRange,
        kind: CommandKind,
        issue: impl FnMut(Work) -> io::Result<Answer>,
    ) -> Result<Effect, TargetError> {
        let error = |source| TargetError::Io { action, range, path: self.options.path.clone(), source };
        match self.drive(kind, PrimaryOutcome::Good, issue) {
            Err(Broken::System(source)) => Err(error(source)),
            Err(Broken::Abandoned) => Err(error(io::Error::other(NotApplied::Abandoned))),
            Ok(ended) => match ended.check(|| format!("{action} {range}")) {
                Ok(()) if ended.replaced => Ok(Effect::Emulated),
                Ok(()) => Ok(Effect::AsAsked),
                Err(reason) => Err(error(io::Error::other(reason))),
            },
        }
    }

    /// The device's blocks of a range of the volume.
    fn run_of(&self, range: ByteRange) -> Result<LbaRange, TargetError> {
        check_range(&self.options.path, range, self.size)?;
        let (path, block) = (|| self.options.path.clone(), self.block_size as usize);
        let whole = |bytes: u64| bytes.is_multiple_of(block as u64);
        if !whole(range.offset) || !whole(range.len) {
            return Err(TargetError::Misaligned { range, path: path(), block });
        }
        self.blocks(range).ok_or_else(|| TargetError::OutOfRange { range, path: path(), size: self.size })
    }

    /// Makes a range read as zeros. The device's refusal of WRITE SAME is learned.
    fn zero(&self, action: &'static str, range: ByteRange, how: Zeroing) -> Result<Effect, TargetError> {
        let run = self.run_of(range)?;
        if self.no_same.load(Ordering::Relaxed) {
            let write = |_| self.zero_run(run, Zeroing::Plain);
            return self.plain(action, range, CommandKind::Write, write).map(|_| Effect::Emulated);
        }
        self.plain(action, range, CommandKind::WriteSame, |work| {
            if matches!(work, Work::Equivalent(_)) {
                return self.zero_run(run, Zeroing::Plain);
            }
            let answer = self.zero_run(run, how)?;
            if matches!(answer.class, StandbyOutcome::IllegalOpcode | StandbyOutcome::IllegalFieldInCdb) {
                self.no_same.store(true, Ordering::Relaxed);
            }
            Ok(answer)
        })
    }
}

impl Target for ScsiTarget {
    fn info(&self) -> TargetInfo {
        TargetInfo { path: self.options.path.clone(), kind: "scsi", mode: "sg_io", size: self.size }
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn block_size(&self) -> Option<u32> {
        Some(if self.tape.is_some() { 0 } else { self.block_size })
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        let range = ByteRange::new(offset, buffer.len() as u64);
        let run = self.run_of(range)?;
        self.plain("reading", range, CommandKind::UnitState, |_| self.read_run(run, buffer)).map(drop)
    }

    fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), TargetError> {
        let range = ByteRange::new(offset, bytes.len() as u64);
        let run = self.run_of(range)?;
        let write = |work| match work {
            Work::Equivalent(Equivalent::PlainWrites) if fua => {
                let answer = self.write_run(run, bytes, false)?;
                if answer.is_good() { self.synchronize() } else { Ok(answer) }
            }
            _ => self.write_run(run, bytes, fua),
        };
        self.plain("writing", range, CommandKind::Write, write).map(drop)
    }

    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        if !self.can_unmap() {
            self.zero("discarding", range, Zeroing::Same)?;
            return Ok(Effect::Emulated);
        }
        self.zero("discarding", range, Zeroing::Unmap)
    }

    fn write_zeroes(&self, range: ByteRange, may_unmap: bool) -> Result<Effect, TargetError> {
        let how = if may_unmap && self.can_unmap() { Zeroing::Unmap } else { Zeroing::Same };
        self.zero("zeroing", range, how)
    }

    fn flush(&self) -> Result<(), TargetError> {
        let whole = ByteRange::new(0, self.size);
        if let Some(tape) = &self.tape {
            return tape
                .flush(|| self.plain("flushing", whole, CommandKind::TapeWrite, |_| self.flush_tape()).map(drop));
        }
        let flush = |_| self.run(&formats::scsi::build::flush(), crate::scsi::Data::None);
        self.plain("flushing", whole, CommandKind::Flush, flush).map(drop)
    }

    fn commands(&self) -> Option<&dyn CommandTarget> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;

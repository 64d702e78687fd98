//! Targets that take SCSI commands: what they are asked, and what they answer.

use std::os::fd::RawFd;
use std::path::Path;
use std::{fmt, io};

use formats::command::Command;
use formats::{PayloadEncoding, Record, scsi};
use replication::errors::{RowCounters, RowIndex, Scope, StopReason};
use thiserror::Error;

use crate::scsi::identity::{Difference, Identity};
use crate::target::{Effect, ScsiReport, TapeError, TapeStatus, TargetError};

/// A target to which captured commands are issued again, as the error consistency table says
/// (`docs/error-consistency.md`).
pub trait CommandTarget: Send + Sync {
    /// Replays the command behind a record, whose content (data-out that is not in `command`) is `content`, encoded so.
    /// Blocks until the command is over: for as long as the policy's retries last.
    ///
    /// # Errors
    /// When a command could not be handed to the device, for a reason that no row of the table is about.
    fn command(
        &self,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
    ) -> Result<Replayed, TargetError>;

    /// Whether [`Self::begin`] is of any use.
    fn has_queue(&self) -> bool {
        false
    }

    /// Issues the command behind a record in a free slot, without waiting for its end. Answers a descriptor that becomes
    /// readable at the end; `None` when the command needs more than to be issued, or cannot be: then nothing was, and
    /// [`Self::command`] is to be called.
    fn begin(
        &self,
        slot: usize,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
    ) -> Option<RawFd> {
        let _ = (slot, record, encoding, content, command);
        None
    }

    /// What became of what was begun in a slot; its end is told once.
    ///
    /// # Errors
    /// Nobody knows how it ended: it is to be repeated with [`Self::command`].
    fn look(&self, slot: usize) -> io::Result<Begun> {
        let _ = slot;
        Ok(Begun::Waiting)
    }

    /// Goes on with a command whose first attempt was begun in a slot, and answered so. Blocks as [`Self::command`] does.
    ///
    /// # Errors
    /// As [`Self::command`].
    fn go_on(
        &self,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
        answer: scsi::Outcome,
    ) -> Result<Replayed, TargetError> {
        let _ = answer;
        self.command(record, encoding, content, command)
    }

    /// How often each row of the table was used since the target was opened, for `status`.
    fn rows(&self) -> RowCounters;

    /// How its device differs from the primary's as that describes itself, the most severe first.
    fn compare(&self, primary: &Identity) -> Vec<Difference>;

    /// A primary's device is the one that it stands for from now on; none when the primary does not tell.
    fn meet(&self, primary: Option<&Identity>);

    /// What `status` shows of it.
    fn report(&self) -> ScsiReport;

    /// Ends all waits between retries, now and from now on: what waits ends with [`NotApplied::Abandoned`]. For the end of
    /// a standby, which must not wait for a device that is busy for minutes.
    fn abandon(&self);

    /// Keeps in this file what a crash must not take, and takes up what is in it; called once, before any command. Only
    /// a tape has such: its commands cannot be redone.
    ///
    /// # Errors
    /// The system's.
    fn keep_marks(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Ok(())
    }

    /// Another stream begins, whose numbers have nothing to do with those before.
    ///
    /// # Errors
    /// When that cannot be made durable.
    fn start_over(&self) -> io::Result<()> {
        Ok(())
    }

    /// Where it stands, if it is a tape.
    fn tape(&self) -> Option<TapeStatus> {
        None
    }
}

/// How a command stands that was begun and not waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It is not over.
    Waiting,
    /// The device has its effect, and it is counted.
    Applied,
    /// It was answered in a way that asks for more, which [`CommandTarget::go_on`] does.
    Answered(scsi::Outcome),
}

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// The device has its effect.
    Applied(Effect),
    /// Neither side changed.
    Unchanged,
    /// Its data was not carried, so nothing was issued.
    NotCarried,
    /// The primary's answer alone says that its range must be read back; nothing was issued.
    ReadBack(Unapplied),
    /// Not done: content is equal, and a difference of device state is noted.
    Noted(Unapplied),
    /// The CDB is not all of the record, whose range and content say what is to be written. Nothing was issued.
    AsRecord,
    /// Not done, and content is not equal.
    Failed(NotApplied),
}

/// One command that did not end well, and why: for messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unapplied {
    /// The command in words.
    pub command: String,
    /// The row of the table that decided.
    pub row: RowIndex,
    /// The device's last answer; none when it was not asked.
    pub answer: Option<scsi::Outcome>,
    /// Attempts, polls and checks beyond the first attempt.
    pub retries: u32,
}

impl fmt::Display for Unapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (row `{}`", self.command, self.row.row().id)?;
        if let Some(answer) = &self.answer {
            write!(f, ", answered {answer}")?;
        }
        if self.retries > 0 {
            write!(f, ", {} retries", self.retries)?;
        }
        f.write_str(")")
    }
}

/// Why a target does not have what it should have.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum NotApplied {
    /// A hole: to be read from the primary again and written.
    #[error("{scope} is out of sync after {why}; it must be read from the primary again")]
    OutOfSync {
        /// How much.
        scope: Scope,
        /// After what.
        why: Unapplied,
    },
    /// Writes that the device had taken may be lost.
    #[error("writes that the device had taken may be lost, told by {why}; they are applied again from the journal")]
    Lost {
        /// Who told it.
        why: Unapplied,
    },
    /// Nothing more may be applied.
    #[error("stopped: {reason} at {why}; {}", reason.remedy())]
    Stopped {
        /// In the table's word.
        reason: StopReason,
        /// At what.
        why: Unapplied,
    },
    /// The command is for a device that this one cannot stand for.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The copy of a tape cannot go on.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// The standby ends while a command was being retried; its journal redoes it.
    #[error("abandoned while it was being retried, as the standby ends")]
    Abandoned,
}

impl NotApplied {
    /// The table's word in a target's error, if it carries one.
    #[must_use]
    pub fn of(error: &TargetError) -> Option<&Self> {
        match error {
            TargetError::Io { source, .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

/// Why a command cannot be for this device.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// Blocks of another size.
    #[error(
        "a command for blocks of {recorded} bytes came for a device of {here}: use one with the primary's block size"
    )]
    BlockSize {
        /// The primary's.
        recorded: u32,
        /// This device's.
        here: u32,
    },
    /// Another type of device.
    #[error("a command for a {recorded} came for a {here}: use a device of the primary's type")]
    Type {
        /// The primary's.
        recorded: scsi::DeviceType,
        /// This device's.
        here: scsi::DeviceType,
    },
    /// Another logical unit than the one that is mapped.
    #[error("a command for LUN {recorded} came for a device that stands for LUN {mapped}: check the mapping (--map)")]
    Lun {
        /// The command's.
        recorded: u64,
        /// The one mapped.
        mapped: u64,
    },
    /// More data than any command has.
    #[error("a command with {0} bytes of data is larger than any device takes: the entry is damaged")]
    TooLarge(u32),
}

//! A tape as target: one command at a time, each exactly once, positions compared after each.
//!
//! A block written twice is on tape twice, so what a disk's journal redoes cannot be redone here. Before each command
//! its number and the tape's position are made durable ([`TapeMark`]); after a crash the position tells whether the last
//! one was carried out. After each command the device is asked where it stands (READ POSITION), and that is compared
//! with where the primary's answer says that the command has led: a relative step where the position before is known,
//! or a place where the command names one (REWIND, LOCATE). A difference stops the standby by name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use formats::command::Command;
use formats::scsi::build::{self, PositionForm};
use formats::scsi::{self, DeviceType, Effect as Does, Motion, Place};
use formats::tape::{MARK_LEN, SLOTS, TapeMark};
use formats::{Record, Seq};
use replication::errors::{CommandKind, PrimaryOutcome, StandbyOutcome};
use serde::Serialize;
use thiserror::Error;

use super::drive::{Answer, Broken};
use super::{Effect, ScsiTarget, TargetError};
use crate::command::{NotApplied, Replayed};
use crate::scsi::Data;

/// Why the copy of a tape cannot go on. Nothing heals it but a new copy.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum TapeError {
    /// It stands elsewhere than the primary's.
    #[error(
        "the tapes differ: after {command} the standby's is at {found}, and the primary's at {expected}; rewind both, \
         compare, and start a new copy"
    )]
    Differs {
        /// The command.
        command: String,
        /// Where the primary's answer says that it led.
        expected: Place,
        /// Where it led here.
        found: Place,
    },
    /// A command came that cannot be repeated.
    #[error("{command} cannot be repeated: not all of it was carried; start a new copy of the tape")]
    Incomplete {
        /// The command.
        command: String,
    },
    /// It is not known whether a command was carried out.
    #[error(
        "the standby ended during {command}, and where the tape stands does not tell whether that was carried out; start \
         a new copy of the tape"
    )]
    InDoubt {
        /// The command.
        command: String,
    },
    /// The marks cannot be kept.
    #[error("the file with the tape's last command cannot be used: {0}; make room, and start the standby again")]
    Mark(String),
}

/// A tape for `status`. Counters count since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TapeStatus {
    /// Where it stands, if the device knows.
    pub position: Option<u64>,
    /// In which partition.
    pub partition: Option<u32>,
    /// Commands after which both tapes were found at the same position.
    pub compared: u64,
    /// Of these, commands that name their place whatever was before (REWIND, LOCATE).
    pub marks: u64,
    /// Commands after which that could not be told: a space over filemarks, a device that does not know.
    pub unknown: u64,
    /// Commands that were found carried out already after a start.
    pub skipped: u64,
}

/// What is known of the tape.
#[derive(Debug, Default)]
struct State {
    /// Where marks are kept; nowhere before the standby says.
    file: Option<File>,
    mark: TapeMark,
    /// Where it stands, once the device was asked.
    here: Option<Option<Place>>,
    /// The device does not take READ POSITION.
    mute: bool,
    /// Something was written that was not made durable.
    unflushed: bool,
    status: TapeStatus,
}

/// The tape of a target.
#[derive(Debug, Default)]
pub(super) struct Tape(Mutex<State>);

impl Tape {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> TapeStatus {
        self.state().status
    }

    /// Keeps marks in this file from now on, and takes up the last one in it.
    pub(super) fn keep_marks(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut slots = [[0; MARK_LEN]; SLOTS];
        for (slot, bytes) in slots.iter_mut().enumerate() {
            // What is not there yet stays zeros.
            let mut got = 0;
            while got < MARK_LEN {
                match file.read_at(&mut bytes[got..], (slot * MARK_LEN + got) as u64)? {
                    0 => break,
                    more => got += more,
                }
            }
        }
        let mut state = self.state();
        state.mark = TapeMark::newest(&slots).unwrap_or_default();
        state.file = Some(file);
        Ok(())
    }

    /// Forgets what was begun: another stream starts, whose numbers begin anew.
    pub(super) fn start_over(&self) -> io::Result<()> {
        self.state().begin(Seq(0), None)
    }

    /// Makes what was written durable; nothing after a move, which has done that.
    pub(super) fn flush(&self, flush: impl FnOnce() -> Result<(), TargetError>) -> Result<(), TargetError> {
        let mut state = self.state();
        if std::mem::take(&mut state.unflushed) { flush() } else { Ok(()) }
    }

    /// Replays a command by `issue`, unless that was done before a crash.
    pub(super) fn replay(
        &self,
        target: &ScsiTarget,
        record: &Record,
        command: &Command<'_>,
        issue: impl FnOnce() -> Result<Replayed, TargetError>,
    ) -> Result<Replayed, TargetError> {
        let mut state = self.state();
        match state.replay(target, record, command, issue) {
            Ok(replayed) => Ok(replayed),
            Err(Ended::Tape(error)) => Ok(Replayed::Failed(NotApplied::Tape(error))),
            Err(Ended::Target(error)) => Err(error),
        }
    }
}

/// Why a replay ended without an answer of its own.
enum Ended {
    Tape(TapeError),
    Target(TargetError),
}

impl From<TapeError> for Ended {
    fn from(error: TapeError) -> Self {
        Self::Tape(error)
    }
}

impl From<TargetError> for Ended {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Tape(TapeError::Mark(error.to_string()))
    }
}

impl State {
    fn replay(
        &mut self,
        target: &ScsiTarget,
        record: &Record,
        command: &Command<'_>,
        issue: impl FnOnce() -> Result<Replayed, TargetError>,
    ) -> Result<Replayed, Ended> {
        let before = match self.here {
            Some(here) => here,
            None => self.ask(target)?,
        };
        let motion = motion_of(command);
        if record.seq < self.mark.seq || (record.seq == self.mark.seq && self.was_done(command, motion, before)?) {
            self.status.skipped += 1;
            return Ok(Replayed::Applied(Effect::AsAsked));
        }
        if record.seq != self.mark.seq {
            self.begin(record.seq, before)?;
        }
        let replayed = issue()?;
        if matches!(replayed, Replayed::NotCarried | Replayed::ReadBack(_) | Replayed::AsRecord) {
            return Err(TapeError::Incomplete { command: line(command) }.into());
        }
        if matches!(replayed, Replayed::Applied(_)) {
            self.unflushed = writes(command);
            let after = self.ask(target)?;
            self.compare(command, motion, before, after)?;
        }
        Ok(replayed)
    }

    /// Whether a command that was begun before a crash was carried out. Of one that moves nothing it does not matter.
    fn was_done(&self, command: &Command<'_>, motion: Motion, now: Option<Place>) -> Result<bool, TapeError> {
        let (Some(was), Some(now)) = (self.mark.place, now) else {
            return if motion == Motion::NONE { Ok(false) } else { Err(TapeError::InDoubt { command: line(command) }) };
        };
        match was.after(motion) {
            _ if was == now => Ok(false),
            Some(led_to) if led_to != now => Err(TapeError::InDoubt { command: line(command) }),
            _ => Ok(true),
        }
    }

    fn compare(
        &mut self,
        command: &Command<'_>,
        motion: Motion,
        before: Option<Place>,
        after: Option<Place>,
    ) -> Result<(), TapeError> {
        let (Some(expected), Some(found)) = (before.and_then(|place| place.after(motion)), after) else {
            self.status.unknown += 1;
            return Ok(());
        };
        if expected != found {
            return Err(TapeError::Differs { command: line(command), expected, found });
        }
        self.status.compared += 1;
        self.status.marks += u64::from(motion.is_absolute());
        Ok(())
    }

    /// Makes durable that a command begins.
    fn begin(&mut self, seq: Seq, place: Option<Place>) -> io::Result<()> {
        self.mark = TapeMark { generation: self.mark.generation + 1, seq, place };
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(&self.mark.encode(), (self.mark.slot() * MARK_LEN) as u64)?;
        file.sync_data()
    }

    /// Asks the device where it stands.
    fn ask(&mut self, target: &ScsiTarget) -> Result<Option<Place>, TargetError> {
        let place = if self.mute { None } else { self.read_position(target)? };
        self.here = Some(place);
        (self.status.position, self.status.partition) = (place.map(|p| p.object), place.map(|p| p.partition));
        Ok(place)
    }

    fn read_position(&mut self, target: &ScsiTarget) -> Result<Option<Place>, TargetError> {
        let mut data = [0; 20];
        let error = |source| TargetError::Io {
            action: "asking for the position of",
            range: formats::ByteRange::default(),
            path: target.options.path.clone(),
            source,
        };
        let mut mute = false;
        let asked = target.drive(CommandKind::TapeMove, PrimaryOutcome::Good, |_| {
            let answer = target.run(&build::read_position(PositionForm::Short), Data::In(&mut data))?;
            mute = matches!(answer.class, StandbyOutcome::IllegalOpcode | StandbyOutcome::IllegalFieldInCdb);
            Ok(if mute { Answer::GOOD } else { answer })
        });
        self.mute = mute;
        match asked {
            Err(Broken::System(source)) => Err(error(source)),
            Err(Broken::Abandoned) => Err(error(io::Error::other(NotApplied::Abandoned))),
            Ok(ended) => match ended.check(|| "READ POSITION".to_owned()) {
                Ok(()) if mute => Ok(None),
                Ok(()) => Ok(Place::from_short(&data)),
                Err(reason) => Err(error(io::Error::other(reason))),
            },
        }
    }
}

/// How far the command went on the primary.
fn motion_of(command: &Command<'_>) -> Motion {
    let decoded = scsi::decode(command.cdb, DeviceType::TAPE);
    match (decoded, command.outcome()) {
        (Ok(decoded), Ok(outcome)) => Motion::of(&decoded, &outcome),
        _ => Motion::Unknown,
    }
}

/// Whether it leaves something in the device's buffer.
fn writes(command: &Command<'_>) -> bool {
    scsi::decode(command.cdb, DeviceType::TAPE).is_ok_and(|decoded| decoded.effect() == Does::TapeWrite)
}

fn line(command: &Command<'_>) -> String {
    match scsi::decode(command.cdb, DeviceType::TAPE) {
        Ok(decoded) => decoded.to_string(),
        Err(_) => format!("malformed CDB {:02x?}", command.cdb),
    }
}

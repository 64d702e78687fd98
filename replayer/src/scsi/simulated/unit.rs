//! The logical unit: its state, and the way of a command through it.

use std::io;
use std::time::Duration;

use formats::scsi::{
    Asc, CdbError, Class, Command, Effect, FieldName, HostStatus, Outcome, Row, ScsiStatus, Sense, SenseFlags,
    SenseFormat, SenseKey, decode,
};

use super::answer::{Answer, check, invalid_field, invalid_opcode};
use super::attention::{Attentions, CAPACITY_CHANGED, MEDIUM_CHANGED, POWER_ON, RESET, SOFT_THRESHOLD};
use super::buffer::Buffer;
use super::call::Call;
use super::disk::Disk;
use super::dispatch::{Handler, handler};
use super::mode::Modes;
use super::random::Random;
use super::reservation::Reservations;
use super::script::{Reaction, Script};
use super::settings::{Kind, Settings};
use super::status::Operation;
use super::tape::Tape;
use super::trace::Trace;
use crate::scsi::Request;

/// Commands that do not tell unit attentions and do not clear them by failing: INQUIRY, REPORT LUNS, REQUEST SENSE.
const UNATTENDED: [u8; 3] = [0x03, 0x12, 0xa0];
/// TEST UNIT READY, READ CAPACITY and READ POSITION need a medium though they address no block.
const NEED_MEDIUM: [u8; 4] = [0x00, 0x25, 0x34, 0x9e];

/// LOAD UNLOAD, which brings the medium.
const LOAD_UNLOAD: u8 = 0x1b;

/// What is in the device.
#[derive(Debug)]
pub(super) enum Medium {
    Disk(Box<Disk>),
    Tape(Box<Tape>),
}

impl Medium {
    fn new(settings: &Settings) -> io::Result<Self> {
        Ok(match settings.kind {
            Kind::Disk => Self::Disk(Box::new(Disk::new(settings)?)),
            Kind::Tape => Self::Tape(Box::new(Tape::new(settings))),
        })
    }

    pub(super) fn disk(&mut self) -> Option<&mut Disk> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Tape(_) => None,
        }
    }

    pub(super) fn disk_ref(&self) -> Option<&Disk> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Tape(_) => None,
        }
    }

    pub(super) fn tape_ref(&self) -> Option<&Tape> {
        match self {
            Self::Tape(tape) => Some(tape),
            Self::Disk(_) => None,
        }
    }

    /// How much the command at hand may still change.
    fn set_budget(&mut self, budget: Option<u64>) {
        match self {
            Self::Disk(disk) => disk.budget = budget,
            Self::Tape(tape) => tape.budget = budget,
        }
    }
}

/// A logical unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) settings: Settings,
    pub(super) medium: Medium,
    pub(super) modes: Modes,
    pub(super) reservations: Reservations,
    pub(super) script: Script,
    pub(super) buffer: Buffer,
    pub(super) trace: Trace,
    /// Stopped, or on a tape unloaded.
    pub(super) stopped: bool,
    /// No command reaches it.
    pub(super) gone: bool,
    pub(super) operation: Option<Operation>,
    /// Time that has passed; only counted.
    pub(super) clock: Duration,
    /// How long the command at hand takes.
    pub(super) took: Duration,
    attentions: Vec<Attentions>,
}

impl Unit {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            medium: Medium::new(&settings)?,
            modes: Modes::new(&settings),
            reservations: Reservations::default(),
            script: Script::new(Random::new(settings.seed ^ 0x5c91)),
            buffer: Buffer::new(),
            trace: Trace::default(),
            stopped: false,
            gone: false,
            operation: None,
            clock: Duration::ZERO,
            took: Duration::ZERO,
            attentions: Vec::new(),
            settings,
        })
    }

    /// Another initiator; its number.
    pub(super) fn join(&mut self) -> usize {
        self.attentions.push(Attentions::default());
        self.attentions.len() - 1
    }

    pub(super) fn attentions_of(&mut self, nexus: usize) -> Option<&mut Attentions> {
        self.attentions.get_mut(nexus)
    }

    /// Something that one initiator is to be told.
    pub(super) fn attend(&mut self, nexus: usize, asc: Asc) {
        if let Some(attentions) = self.attentions.get_mut(nexus) {
            attentions.raise(asc);
        }
    }

    /// Something that everyone is to be told, but for the one that did it.
    pub(super) fn attend_others(&mut self, nexus: usize, asc: Asc) {
        let others = self.attentions.iter_mut().enumerate().filter(|(other, _)| *other != nexus);
        others.for_each(|(_, attentions)| attentions.raise(asc));
    }

    /// Something that everyone is to be told.
    pub(super) fn attend_all(&mut self, asc: Asc) {
        self.attentions.iter_mut().for_each(|attentions| attentions.raise(asc));
    }

    /// The power goes and comes back.
    pub(super) fn power_cut(&mut self) -> Answer {
        match &mut self.medium {
            Medium::Disk(disk) => disk.power_cut()?,
            Medium::Tape(tape) => tape.power_cut(),
        }
        self.modes.power_on(&self.settings);
        self.reservations.power_on();
        self.stopped = false;
        self.buffer = Buffer::new();
        self.apply_modes();
        self.attend_all(POWER_ON);
        Ok(())
    }

    /// A logical unit reset.
    pub(super) fn reset(&mut self) {
        self.reservations.reset();
        self.modes.power_on(&self.settings);
        self.apply_modes();
        self.attend_all(RESET);
    }

    pub(super) fn resize(&mut self, blocks: u64) -> Answer {
        if let Some(disk) = self.medium.disk() {
            disk.resize(blocks)?;
        }
        self.attend_all(CAPACITY_CHANGED);
        Ok(())
    }

    /// Lets the medium work as the mode pages say.
    pub(super) fn apply_modes(&mut self) {
        match &mut self.medium {
            Medium::Disk(disk) => {
                disk.caching = self.modes.write_cache();
                if !disk.caching {
                    disk.flush(disk.all());
                }
            }
            Medium::Tape(tape) => tape.set_modes(self.modes.block_length, self.modes.buffered),
        }
    }

    /// Executes a command from the first look to the last word.
    pub(super) fn execute(&mut self, nexus: usize, request: Request<'_>) -> io::Result<Outcome> {
        if self.gone {
            return Err(gone());
        }
        let timeout = request.timeout;
        let command = match decode(request.cdb, self.settings.device_type()) {
            Ok(command) => command,
            Err(CdbError::TooShort { .. }) => return Ok(invalid_field(0, None)),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
        };
        let mut call = Call::new(command, nexus, request.data);
        self.took = self.settings.command_time;
        let done = self.scripted(&mut call).map(|outcome| self.in_time(outcome, timeout));
        self.trace.add(nexus, &command.cdb, done.as_ref().ok().copied());
        done
    }

    /// Lets time pass, and ends the command with a time-out when that was too long.
    fn in_time(&mut self, outcome: Outcome, timeout: Duration) -> Outcome {
        self.clock += self.took.min(timeout);
        if self.took > timeout { Outcome::transport(HostStatus::TimeOut) } else { outcome }
    }

    fn scripted(&mut self, call: &mut Call<'_>) -> io::Result<Outcome> {
        let reaction = self.script.strike(&call.command, call.peek(), call.nexus);
        Ok(match reaction {
            None => self.answer(call),
            Some(Reaction::Instead(outcome)) => unmoved(outcome, call),
            Some(Reaction::After(outcome)) => self.answer_then(call, outcome),
            Some(Reaction::Part { units, outcome }) => {
                self.medium.set_budget(Some(units));
                let ended = self.answer_then(call, outcome);
                self.medium.set_budget(None);
                ended
            }
            Some(Reaction::Late { by, executed }) => {
                let ended = if executed { self.answer(call) } else { Outcome::transport(HostStatus::TimeOut) };
                self.took += by;
                ended
            }
            Some(Reaction::Gone { executed }) => {
                if executed {
                    self.answer(call);
                }
                self.gone = true;
                return Err(gone());
            }
        })
    }

    /// Executes, and answers something else if that went well.
    fn answer_then(&mut self, call: &mut Call<'_>, outcome: Outcome) -> Outcome {
        let ended = self.answer(call);
        if ended.is_done() { outcome } else { ended }
    }

    /// Executes, with residual and sense as the initiator gets them.
    fn answer(&mut self, call: &mut Call<'_>) -> Outcome {
        let ended = self.admit(call).and_then(|handler| self.handle(handler, call));
        if self.medium.disk().is_some_and(|disk| std::mem::take(&mut disk.threshold_reached)) {
            self.attend_all(SOFT_THRESHOLD);
        }
        let outcome = ended.err().unwrap_or(Outcome::GOOD);
        let sense = outcome.sense.map(|sense| self.worded(sense));
        Outcome { residual: call.residual(), sense, ..outcome }
    }

    fn handle(&mut self, handler: Handler, call: &mut Call<'_>) -> Answer {
        match (handler, &mut self.medium) {
            (Handler::Unit(handle), _) => handle(self, call),
            (Handler::Disk(handle), Medium::Disk(disk)) => handle(disk, call),
            (Handler::Tape(handle), Medium::Tape(tape)) => {
                let ended = handle(tape, call);
                let was_empty = std::mem::replace(&mut self.stopped, !tape.loaded);
                if was_empty && !self.stopped {
                    self.attend_others(call.nexus, MEDIUM_CHANGED);
                }
                ended
            }
            _ => Err(invalid_opcode()),
        }
    }

    /// What must hold before a command is begun, in the order of SAM-6 5.3.3: a conflict comes before unit attentions.
    fn admit(&mut self, call: &Call<'_>) -> Answer<Handler> {
        let row = match call.command.command {
            Command::Known(row) => row,
            Command::UnknownServiceAction { .. } => return Err(unknown_action(call.command.cdb.opcode())),
            Command::Unknown { .. } => return Err(invalid_opcode()),
        };
        let handler = handler(row, self.settings.device_type()).ok_or_else(|| refused(row))?;
        if self.reservations.conflicts(row, call) {
            return Err(Outcome::with_status(ScsiStatus::ReservationConflict));
        }
        let silent = UNATTENDED.contains(&row.opcode);
        if let Some(attention) = self.attentions_of(call.nexus).filter(|_| !silent).and_then(Attentions::report) {
            return Err(attention);
        }
        self.must_be_ready(call, needs_medium(row))?;
        self.must_be_writable(row)?;
        Ok(handler)
    }

    fn must_be_writable(&self, row: &Row) -> Answer {
        match (row.class == Class::Write, self.modes.hardware_protected(), self.modes.software_protected()) {
            (true, true, _) => Err(check(SenseKey::DataProtect, 0x27, 0x01)),
            (true, _, true) => Err(check(SenseKey::DataProtect, 0x27, 0x02)),
            _ => Ok(()),
        }
    }

    /// Sense data in the format that D_SENSE asks for, with what does not fit it left out.
    fn worded(&self, sense: Sense) -> Sense {
        if !self.modes.descriptor_sense() {
            return Sense::decode(&sense.encode()).unwrap_or(sense);
        }
        let is_residual = self.settings.is_tape() || sense.flags.contains(SenseFlags::ILI);
        let residual = sense.residual().filter(|_| is_residual);
        let sense = Sense { format: SenseFormat::Descriptor, ..sense };
        residual.map_or(sense, |residual| sense.with_residual(residual))
    }
}

/// ENODEV.
fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

/// A command that was not executed moved nothing, unless its answer says otherwise or that it is done.
fn unmoved(outcome: Outcome, call: &Call<'_>) -> Outcome {
    let residual = if outcome.is_done() || outcome.residual > 0 { outcome.residual } else { call.residual() };
    Outcome { residual, ..outcome }
}

/// A row that this device does not execute: by its service action where it has one and others of it are known.
fn refused(row: &Row) -> Outcome {
    if row.service.is_some() { unknown_action(row.opcode) } else { invalid_opcode() }
}

/// A service action is told as a field (SPC-5); zone commands, copies and all other whole operation codes are not there.
fn unknown_action(opcode: u8) -> Outcome {
    const SHARED: [u8; 6] = [0x48, 0x5e, 0x5f, 0x7f, 0x9e, 0x9f];
    match opcode {
        0x7f => invalid_field(8, Some(7)),
        opcode if SHARED.contains(&opcode) => invalid_field(1, Some(4)),
        _ => invalid_opcode(),
    }
}

/// Whether a command cannot be executed while the unit is stopped.
fn needs_medium(row: &Row) -> bool {
    let addresses = row.field(FieldName::Lba).is_some();
    let works_on_it = row.effect != Effect::None && row.opcode != LOAD_UNLOAD;
    addresses || works_on_it || row.class == Class::Sync || NEED_MEDIUM.contains(&row.opcode)
}

//! TEST UNIT READY, REQUEST SENSE, START STOP UNIT, and operations that take their time.

use std::time::Duration;

use formats::scsi::{Asc, FieldName, Outcome, Sense, SenseFormat, SenseKey};

use super::answer::Answer;
use super::call::Call;
use super::disk;
use super::unit::Unit;

/// EXIT FAILURE MODE of SANITIZE.
const EXIT_FAILURE_MODE: u16 = 0x1f;
/// INQUIRY, REPORT LUNS and REQUEST SENSE.
const ALWAYS: [u8; 3] = [0x03, 0x12, 0xa0];

/// SANITIZE or FORMAT UNIT in the background.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    /// What NOT READY says meanwhile.
    asc: Asc,
    from: Duration,
    until: Duration,
}

impl Operation {
    fn progress(&self, now: Duration) -> u16 {
        let (done, all) = (now.saturating_sub(self.from).as_nanos(), (self.until - self.from).as_nanos().max(1));
        (done * 65_536 / all).min(65_535) as u16
    }

    fn sense(&self, now: Duration) -> Sense {
        Sense::new(SenseKey::NotReady, self.asc).with_progress(self.progress(now))
    }
}

impl Unit {
    /// The operation that is not done yet.
    fn running(&mut self) -> Option<Operation> {
        let now = self.clock;
        self.operation.take_if(|operation| operation.until <= now);
        self.operation
    }

    /// Whether a command can be executed now as far as the unit's readiness goes.
    pub(super) fn must_be_ready(&mut self, call: &Call<'_>, needs_medium: bool) -> Answer {
        if ALWAYS.contains(&call.command.cdb.opcode()) {
            return Ok(());
        }
        let now = self.clock;
        if let Some(operation) = self.running() {
            return Err(Outcome::check(operation.sense(now)));
        }
        if self.stopped && needs_medium { Err(Outcome::check(self.why_stopped())) } else { Ok(()) }
    }

    /// A tape has no medium, a disk must be started.
    const fn why_stopped(&self) -> Sense {
        let asc = if self.settings.is_tape() { Asc::new(0x3a, 0) } else { Asc::new(0x04, 0x02) };
        Sense::new(SenseKey::NotReady, asc)
    }

    /// Begins an operation, or with IMMED clear sees it through before the command ends.
    fn begin(&mut self, qualifier: u8, immediate: bool) {
        let until = self.clock + self.settings.long_time;
        let operation = Operation { asc: Asc::new(0x04, qualifier), from: self.clock, until };
        if immediate {
            self.operation = Some(operation);
        } else {
            self.took += self.settings.long_time;
        }
    }
}

/// TEST UNIT READY: whoever comes so far is.
pub(super) fn test_unit_ready(_: &mut Unit, _: &mut Call<'_>) -> Answer {
    Ok(())
}

/// REQUEST SENSE: a unit attention, which is thereby told; else why the unit is not ready; else nothing.
pub(super) fn request_sense(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let now = unit.clock;
    let attention = unit.attentions_of(call.nexus).and_then(super::attention::Attentions::next);
    let operation = unit.running().map(|operation| operation.sense(now));
    let stopped = unit.stopped.then_some(unit.why_stopped());
    let sense = attention.or(operation).or(stopped).unwrap_or(Sense::new(SenseKey::NoSense, Asc::NONE));
    let format = if call.flag(FieldName::Desc) { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    call.reply(&Sense { format, ..sense }.encode());
    Ok(())
}

/// START STOP UNIT. Stopping flushes the cache unless told not to. Power conditions are taken and have no effect.
pub(super) fn start_stop(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    if call.flag(FieldName::PowerCondition) {
        return Ok(());
    }
    call.must_be_zero(FieldName::Loej)?;
    let starts = call.flag(FieldName::Start);
    let flushes = !starts && !call.flag(FieldName::NoFlush);
    if let Some(disk) = unit.medium.disk().filter(|_| flushes) {
        disk.flush(disk.all());
    }
    unit.stopped = !starts;
    Ok(())
}

/// SANITIZE. The medium changes at once; until the operation ends nobody can look.
pub(super) fn sanitize(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    // It never fails here, so there is no failure mode to leave.
    if call.row().and_then(|row| row.service) == Some(EXIT_FAILURE_MODE) {
        return Err(super::answer::invalid_field(1, Some(4)));
    }
    call.must_be_zero(FieldName::Znr)?;
    if let Some(disk) = unit.medium.disk() {
        disk::sanitize(disk, call)?;
    }
    unit.begin(0x1b, call.flag(FieldName::Immed));
    Ok(())
}

/// FORMAT UNIT, likewise.
pub(super) fn format_unit(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let Some(disk) = unit.medium.disk() else { return Ok(()) };
    let immediate = disk::format_unit(disk, call)?;
    unit.begin(0x04, immediate);
    Ok(())
}

/// PREVENT ALLOW MEDIUM REMOVAL, REZERO UNIT, SEND DIAGNOSTIC's self test: nothing to do, and done.
pub(super) fn nothing(_: &mut Unit, _: &mut Call<'_>) -> Answer {
    Ok(())
}

/// SEND DIAGNOSTIC: the default self test passes; pages are not known.
pub(super) fn send_diagnostic(_: &mut Unit, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::Length)
}

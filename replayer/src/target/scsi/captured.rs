//! Captured commands, issued again.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use formats::command::{Command, CommandFlags, Transfer};
use formats::scsi::build::Same;
use formats::scsi::{self, Blocks, Change, Content, Decoded, DeviceType, FieldName, LbaRange, Replay, list};
use formats::{ByteRange, Op, OpFlags, PayloadEncoding, Record};
use replication::errors::{
    CommandKind, Effect as End, Equivalent, PrimaryOutcome, RowCounters, Scope, StandbyOutcome, Work, primary_outcome,
};

use super::drive::{Answer, Broken, Ended};
use super::{Effect, ScsiReport, ScsiTarget, TapeStatus, TargetError};
use crate::command::{Begun, CommandTarget, NotApplied, Replayed, Unapplied, Unfit};
use crate::scsi::Data;
use crate::scsi::identity::{Difference, Identity};

/// Most bytes that one command of a primary may have moved; more is no command but a damaged entry.
const MAX_DATA: u32 = 64 << 20;

/// One command on its way.
struct Captured<'a> {
    target: &'a ScsiTarget,
    record: &'a Record,
    command: &'a Command<'a>,
    /// None when its bytes are no CDB.
    decoded: Option<Decoded>,
    kind: CommandKind,
    primary: PrimaryOutcome,
    /// All of its data-out; none when that was not carried.
    data: Option<Cow<'a, [u8]>>,
    /// Zeros were written in place of an UNMAP.
    emulated: Cell<bool>,
    /// The answer to the first attempt, which was made before.
    answered: Cell<Option<Answer>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScsiTarget {
    /// The answer to a write that was begun. A good one needs no second look at the command.
    fn judge(&self, outcome: scsi::Outcome) -> Begun {
        let answer = Answer::of(outcome);
        if answer.class != StandbyOutcome::Good {
            return Begun::Answered(outcome);
        }
        let ended = self.drive(CommandKind::Write, PrimaryOutcome::Good, |_| Ok(answer));
        match ended {
            Ok(ended) if ended.finish.effect == End::Applied => Begun::Applied,
            _ => Begun::Answered(outcome),
        }
    }

    fn replay(
        &self,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
        answered: Option<Answer>,
    ) -> Result<Replayed, TargetError> {
        let captured = match Captured::new(self, record, encoding, content, command, answered) {
            Ok(captured) => captured,
            Err(unfit) => return Ok(Replayed::Failed(unfit.into())),
        };
        self.ledger.count(captured.kind, captured.decoded.as_ref());
        match &self.tape {
            Some(tape) => tape.replay(self, record, command, || captured.replay()),
            None => captured.replay(),
        }
    }
}

impl CommandTarget for ScsiTarget {
    fn command(
        &self,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
    ) -> Result<Replayed, TargetError> {
        self.replay(record, encoding, content, command, None)
    }

    fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    fn begin(
        &self,
        slot: usize,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
    ) -> Option<RawFd> {
        let queue = self.queue.as_ref()?;
        let captured = Captured::new(self, record, encoding, content, command, None).ok()?;
        let cdb = captured.plain_write()?;
        let timeout = self.options.timeouts.of(&cdb, self.identity.kind());
        lock(queue).begin(slot, &cdb, captured.data(), timeout).ok()
    }

    fn look(&self, slot: usize) -> io::Result<Begun> {
        let ended = self.queue.as_ref().map_or(Ok(None), |queue| lock(queue).end(slot))?;
        Ok(ended.map_or(Begun::Waiting, |outcome| self.judge(outcome)))
    }

    fn go_on(
        &self,
        record: &Record,
        encoding: PayloadEncoding,
        content: &[u8],
        command: &Command<'_>,
        answer: scsi::Outcome,
    ) -> Result<Replayed, TargetError> {
        self.replay(record, encoding, content, command, Some(Answer::of(answer)))
    }

    fn rows(&self) -> RowCounters {
        ScsiTarget::rows(self).clone()
    }

    fn compare(&self, primary: &Identity) -> Vec<Difference> {
        ScsiTarget::compare(self, primary)
    }

    fn meet(&self, primary: Option<&Identity>) {
        ScsiTarget::meet(self, primary);
    }

    fn report(&self) -> ScsiReport {
        ScsiTarget::report(self)
    }

    fn abandon(&self) {
        self.waits.end();
    }

    fn keep_marks(&self, path: &Path) -> io::Result<()> {
        self.tape.as_ref().map_or(Ok(()), |tape| tape.keep_marks(path))
    }

    fn start_over(&self) -> io::Result<()> {
        self.tape.as_ref().map_or(Ok(()), super::tape::Tape::start_over)
    }

    fn tape(&self) -> Option<TapeStatus> {
        self.tape.as_ref().map(super::tape::Tape::status)
    }
}

/// Data-out of a command: in its trailer, or the content of the record's range.
fn data_out<'a>(
    record: &Record,
    encoding: PayloadEncoding,
    content: &'a [u8],
    command: &Command<'a>,
) -> Result<Option<Cow<'a, [u8]>>, Unfit> {
    let len = command.transfer_len;
    if len > MAX_DATA {
        return Err(Unfit::TooLarge(len));
    }
    if command.flags.contains(CommandFlags::DATA_MISSING) {
        return Ok(None);
    }
    if len == 0 || !matches!(command.transfer, Transfer::Out | Transfer::Both) || !command.data_out.is_empty() {
        return Ok(Some(Cow::Borrowed(command.data_out)));
    }
    Ok(match encoding {
        PayloadEncoding::Data => Some(Cow::Borrowed(content)),
        PayloadEncoding::Zero if record.range.len == u64::from(len) => Some(Cow::Owned(vec![0; len as usize])),
        PayloadEncoding::Zero | PayloadEncoding::None => None,
    })
}

/// Kinds whose bytes are needed to repeat them.
const fn needs_data(kind: CommandKind) -> bool {
    !matches!(
        kind,
        CommandKind::Read
            | CommandKind::Flush
            | CommandKind::MarkUnreadable
            | CommandKind::Carried
            | CommandKind::Refused
    )
}

impl<'a> Captured<'a> {
    fn new(
        target: &'a ScsiTarget,
        record: &'a Record,
        encoding: PayloadEncoding,
        content: &'a [u8],
        command: &'a Command<'a>,
        answered: Option<Answer>,
    ) -> Result<Self, Unfit> {
        let data = data_out(record, encoding, content, command)?;
        let decoded = scsi::decode(command.cdb, command.device).ok();
        let zeros = target.ledger.primary_reads_zeros();
        let kind = decoded.as_ref().map_or(CommandKind::Opaque, |decoded| CommandKind::of(decoded, zeros));
        let primary = primary_outcome(record.status, command);
        let (emulated, answered) = (Cell::new(false), Cell::new(answered));
        Ok(Self { target, record, command, decoded, kind, primary, data, emulated, answered })
    }

    /// Its CDB for this device, when it is a write that was good and needs nothing but to be issued.
    fn plain_write(&self) -> Option<scsi::Cdb> {
        let decoded = self.decoded.as_ref()?;
        let as_recorded = decoded.effect() == scsi::Effect::Write && decoded.replay() == Replay::AsIs;
        let whole = self.data.is_some() && !self.is_part_of_record() && self.fits().is_ok();
        let plain = as_recorded && whole && self.kind == CommandKind::Write && self.primary == PrimaryOutcome::Good;
        if !plain || self.target.tape.is_some() || self.record.flags.contains(OpFlags::PREFLUSH) {
            return None;
        }
        let moved = decoded.with_lba_offset(self.target.options.mapping.lba_offset).ok()?;
        let flushes = moved.is_durable() && !self.target.identity.modes.fua;
        let len = self.command.transfer_len as usize;
        let has_data = self.command.transfer == Transfer::Out && len > 0 && self.data().len() == len;
        (has_data && !flushes).then(|| self.adapted(&moved))
    }

    fn replay(self) -> Result<Replayed, TargetError> {
        let good = matches!(self.primary, PrimaryOutcome::Good | PrimaryOutcome::Recovered);
        let is_replayed = !matches!(self.kind, CommandKind::Read | CommandKind::Carried | CommandKind::Refused);
        if is_replayed && let Err(unfit) = self.fits() {
            return Ok(Replayed::Failed(unfit.into()));
        }
        if good && self.is_part_of_record() {
            return Ok(Replayed::AsRecord);
        }
        if good && self.data.is_none() && needs_data(self.kind) {
            return Ok(Replayed::NotCarried);
        }
        if good && self.record.flags.contains(OpFlags::PREFLUSH) {
            super::Target::flush(self.target)?;
        }
        match self.target.drive(self.kind, self.primary, |work| self.issue(work)) {
            Ok(ended) => Ok(self.finished(&ended)),
            Err(Broken::Abandoned) => Ok(Replayed::Failed(NotApplied::Abandoned)),
            Err(Broken::System(source)) => Err(TargetError::Io {
                action: "replaying a command for",
                range: self.record.range,
                path: self.target.options.path.clone(),
                source,
            }),
        }
    }

    /// Whether it can be for this device at all.
    fn fits(&self) -> Result<(), Unfit> {
        let (recorded, here) = (self.command.device, self.target.identity.kind());
        if recorded != here {
            return Err(Unfit::Type { recorded, here });
        }
        let block_size = self.command.medium.map(|medium| medium.block_size);
        if let Some(recorded) = block_size.filter(|recorded| *recorded != self.target.block_size)
            && here != DeviceType::TAPE
        {
            return Err(Unfit::BlockSize { recorded, here: self.target.block_size });
        }
        match self.target.options.mapping.lun {
            Some(mapped) if mapped != self.command.unit.lun => {
                Err(Unfit::Lun { recorded: self.command.unit.lun, mapped })
            }
            _ => Ok(()),
        }
    }

    /// Whether the record came about by several commands, of which this is the last.
    fn is_part_of_record(&self) -> bool {
        let (Some(decoded), Some(medium)) = (&self.decoded, self.command.medium) else { return false };
        let range = decoded.range(&medium);
        self.record.op == Op::Write && range.is_ok_and(|range| range != self.record.range)
    }

    fn finished(&self, ended: &Ended) -> Replayed {
        let finish = ended.finish;
        let why = || Unapplied { command: self.line(), row: finish.row, answer: ended.answer, retries: finish.retries };
        match finish.effect {
            End::Applied if ended.replaced || self.emulated.get() => Replayed::Applied(Effect::Emulated),
            End::Applied => Replayed::Applied(Effect::AsAsked),
            End::Unchanged => Replayed::Unchanged,
            End::Noted | End::OutOfSync(Scope::DeviceState) => Replayed::Noted(why()),
            End::OutOfSync(Scope::Range) if !ended.issued => Replayed::ReadBack(why()),
            _ => match ended.check(|| self.line()) {
                Ok(()) => Replayed::Applied(Effect::AsAsked),
                Err(reason) => Replayed::Failed(reason),
            },
        }
    }

    fn line(&self) -> String {
        match &self.decoded {
            Some(decoded) => decoded.to_string(),
            None => format!("malformed CDB {:02x?}", self.command.cdb),
        }
    }

    fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    fn issue(&self, work: Work) -> io::Result<Answer> {
        if let Some(answer) = self.answered.take() {
            return Ok(answer);
        }
        let Some(decoded) = &self.decoded else { return Ok(Answer::NOT_TAKEN) };
        match work {
            Work::Command => self.issue_command(decoded),
            Work::Effect => self.bring_about(decoded),
            Work::Equivalent(Equivalent::PlainWrites) => self.write_changes(decoded, self.is_durable(decoded)),
            Work::Equivalent(Equivalent::ZeroWrites) => self.write_changes(decoded, false),
            Work::Unreadable => self.mark_unreadable(decoded),
        }
    }

    fn is_durable(&self, decoded: &Decoded) -> bool {
        decoded.is_durable() || self.record.flags.contains(OpFlags::FUA)
    }

    /// As recorded; in pieces where this device's limits are smaller; as the write that it came to where the opcode table
    /// says so.
    fn issue_command(&self, decoded: &Decoded) -> io::Result<Answer> {
        match decoded.effect() {
            scsi::Effect::Same => self.issue_same(decoded),
            scsi::Effect::UnmapList => self.issue_unmap(decoded),
            scsi::Effect::Write | scsi::Effect::Scatter if decoded.replay() == Replay::Effect => {
                self.write_changes(decoded, self.is_durable(decoded))
            }
            _ => self.issue_recorded(decoded),
        }
    }

    /// CDB for CDB, with the address moved, and without what only speeds things up or what this device does not take.
    fn issue_recorded(&self, decoded: &Decoded) -> io::Result<Answer> {
        let offset = self.target.options.mapping.lba_offset;
        let mut data = Cow::Borrowed(self.data());
        if offset != 0 && list::shift(decoded, data.to_mut(), offset).is_err() {
            return Ok(Answer::NOT_TAKEN);
        }
        let Ok(moved) = decoded.with_lba_offset(offset) else { return Ok(Answer::NOT_TAKEN) };
        let durable_by_flush = moved.is_durable() && !self.target.identity.modes.fua;
        let cdb = self.adapted(&moved);
        let answer = match self.command.transfer {
            Transfer::None => self.target.run(&cdb, Data::None)?,
            _ if self.command.transfer_len == 0 => self.target.run(&cdb, Data::None)?,
            Transfer::In => {
                let mut buffer = vec![0; self.command.transfer_len as usize];
                self.target.run(&cdb, Data::In(&mut buffer))?
            }
            Transfer::Out | Transfer::Both if data.len() != self.command.transfer_len as usize => Answer::NOT_TAKEN,
            Transfer::Out | Transfer::Both => self.target.run(&cdb, Data::Out(&data))?,
        };
        if durable_by_flush && answer.is_good() { self.target.synchronize() } else { Ok(answer) }
    }

    /// GROUP NUMBER and duration limits mean what the primary's device was configured for; FUA and DPO are left out where
    /// the device does not take them (DPOFUA clear).
    fn adapted(&self, decoded: &Decoded) -> scsi::Cdb {
        let Some(row) = decoded.row() else { return decoded.cdb };
        let hints = [FieldName::Group, FieldName::Duration, FieldName::DurationHigh];
        let access = [FieldName::Fua, FieldName::Dpo];
        let access = access.iter().filter(|_| !self.target.identity.modes.fua && self.command.device.is_block_device());
        let cleared = hints.iter().chain(access);
        cleared.fold(decoded.cdb, |cdb, field| cdb.with(row, *field, 0).unwrap_or(cdb))
    }

    /// The runs that it names on this device, all of them on it.
    fn runs(&self, ranges: impl Iterator<Item = ByteRange>) -> Option<Vec<LbaRange>> {
        ranges.map(|range| self.target.blocks(range)).collect()
    }

    /// What it changed on the primary; none when the command does not tell.
    fn changes(&self, decoded: &Decoded) -> Option<Vec<Change>> {
        decoded.changes(&self.command.medium?, self.data()).ok()
    }

    /// WRITE SAME: as recorded, unless this device takes fewer blocks at once, or its end is another.
    fn issue_same(&self, decoded: &Decoded) -> io::Result<Answer> {
        let target = self.target;
        let range = self.command.medium.and_then(|medium| decoded.range(&medium).ok());
        let Some(run) = range.and_then(|range| target.blocks(range)) else { return Ok(Answer::NOT_TAKEN) };
        let open_ended = decoded.transfer_blocks() == Some(Blocks::ToEnd);
        let same_end = target.identity.geometry().map(|here| here.blocks) == Some(run.lba + run.blocks);
        if target.takes_same(run.blocks) && (!open_ended || same_end) {
            let moved = target.options.mapping.lba_offset != 0;
            if !(open_ended && moved) {
                return self.issue_recorded(decoded);
            }
        }
        let flag = |field| decoded.flag(field);
        let (ndob, block) = (flag(FieldName::Ndob), self.data().get(..target.block_size as usize));
        // The obsolete bits that put the address into each block make blocks that are not the same.
        if flag(FieldName::LbData) || flag(FieldName::PbData) || (block.is_none() && !ndob) {
            return Ok(Answer::NOT_TAKEN);
        }
        let same = Same { unmap: flag(FieldName::Unmap), anchor: flag(FieldName::Anchor), ndob };
        target.same_run(run, block.unwrap_or_default(), same)
    }

    /// UNMAP: as recorded where it fits this device's limits. Where the primary reads zeros afterwards and this device does
    /// not promise to, zeros are written instead.
    ///
    /// A device may leave parts of granules as they were, the primary's as well as this one. Where their granularities
    /// differ the two may differ there, in blocks that nobody uses: `differences` warns of it.
    fn issue_unmap(&self, decoded: &Decoded) -> io::Result<Answer> {
        if self.kind == CommandKind::UnmapToZeros && !self.target.identity.reads_zeros() {
            self.emulated.set(true);
            return self.write_changes(decoded, false);
        }
        let changes = self.changes(decoded);
        let Some(runs) = changes.and_then(|changes| self.runs(changes.iter().map(|change| change.range))) else {
            return Ok(Answer::NOT_TAKEN);
        };
        if self.target.takes_unmap(&runs) {
            return self.issue_recorded(decoded);
        }
        self.target.unmap_runs(&runs, decoded.flag(FieldName::Anchor))
    }

    fn bring_about(&self, decoded: &Decoded) -> io::Result<Answer> {
        match self.kind {
            CommandKind::CompareAndWrite => self.write_changes(decoded, self.is_durable(decoded)),
            CommandKind::Reservation => self.target.reserve(decoded, self.data()),
            CommandKind::Parameters => self.target.select_modes(decoded, self.data()),
            CommandKind::TapeWrite => {
                let written = self.command.transfer_len.saturating_sub(self.command.residual);
                self.target.partial_tape_write(decoded, self.data(), written as usize)
            }
            _ => Ok(Answer::NOT_TAKEN),
        }
    }

    /// Plain writes of what it changed.
    fn write_changes(&self, decoded: &Decoded, durable: bool) -> io::Result<Answer> {
        let Some(changes) = self.changes(decoded) else { return Ok(Answer::NOT_TAKEN) };
        for change in &changes {
            let answer = self.write_change(change)?;
            if !answer.is_good() {
                return Ok(answer);
            }
        }
        if durable { self.target.synchronize() } else { Ok(Answer::GOOD) }
    }

    fn write_change(&self, change: &Change) -> io::Result<Answer> {
        let target = self.target;
        let Some(run) = target.blocks(change.range) else { return Ok(Answer::NOT_TAKEN) };
        let part = |bytes: &std::ops::Range<usize>| self.data().get(bytes.clone());
        match &change.content {
            Content::Data(bytes) => match part(bytes) {
                Some(bytes) => target.write_run(run, bytes, false),
                None => Ok(Answer::NOT_TAKEN),
            },
            Content::Repeat(pattern) => match part(pattern) {
                Some(pattern) => target.repeat_run(run, pattern),
                None => Ok(Answer::NOT_TAKEN),
            },
            Content::Zero | Content::Unmapped => target.repeat_run(run, &[0]),
            Content::Unknown | Content::Unreadable => Ok(Answer::NOT_TAKEN),
        }
    }

    /// WRITE LONG with WR_UNCOR: the recorded one, or one for the block that a read of the primary stopped at.
    fn mark_unreadable(&self, decoded: &Decoded) -> io::Result<Answer> {
        if self.kind == CommandKind::MarkUnreadable {
            return self.issue_recorded(decoded);
        }
        let sense = self.command.outcome().ok().and_then(|outcome| outcome.sense);
        let lba = sense.and_then(|sense| sense.lba());
        let moved = lba.and_then(|lba| lba.checked_add_signed(self.target.options.mapping.lba_offset));
        match moved {
            Some(lba) => self.target.run(&scsi::build::mark_unreadable(lba, false), Data::None),
            None => Ok(Answer::NOT_TAKEN),
        }
    }
}

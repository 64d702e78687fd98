//! The engine with what belongs to each of its entries: bytes, targets, counters. All under one lock.

use std::sync::Arc;
use std::time::Duration;

use formats::wire::{Ack, DataState, Hello, Refuse, RefuseCode, Resend};
use formats::{Entry, EntryHeader, VolumeIndex};
use replication::Now;
use replication::errors::{Facts, RowIndex};
use replication::standby::{
    Accepted, Standby, StandbyError, StandbyMode, StandbyState, StandbyStatus as EngineStatus, Verdict,
};

use super::config::StandbyConfig;
use super::frame::Frame;
use super::holes::resend;
use super::queue::{Prepared, Queue};
use super::session::SessionEnd;
use super::shared::SessionId;
use super::start::Named;
use super::status::{
    AppliedCounts, HoleStatus, JournalStatus, OutOfSyncStatus, StandbyStatus, StateWord, VolumeStatus,
};
use crate::command::CommandTarget;
use crate::pool::{ApplyError, Done, Job, Outcome};
use crate::target::Target;

/// Stretches out of sync that `status` names one by one.
const HOLES_SHOWN: usize = 32;

/// One volume of the stream, at its index.
pub(super) struct Mapped {
    /// Its size on the primary in bytes.
    pub(super) size: u64,
    /// Where it is kept; `None` when no target is given for it any more and no entry for it is left.
    pub(super) target: Option<Arc<dyn Target>>,
}

struct Session {
    id: SessionId,
    peer: String,
    group: String,
}

#[derive(Default)]
struct Counters {
    done: AppliedCounts,
    journal: JournalStatus,
    applied_completed_ns: u64,
    bytes_received: u64,
    entries_received: u64,
    checkpoints: u64,
    redone: u64,
    times_lost: u64,
    asked: u64,
    sessions: u64,
    refused: u64,
    times_queue_full: u64,
    last_link_error: Option<String>,
}

pub(super) struct Core {
    engine: Standby,
    queue: Queue,
    table: Vec<Mapped>,
    pub(super) idle_workers: usize,
    /// Frames that the journal thread has and that are not durable.
    unjournaled: u64,
    session: Option<Session>,
    queue_full: bool,
    journal_full: bool,
    stopped: Option<String>,
    counters: Counters,
}

impl Core {
    pub(super) fn new(engine: Standby, table: Vec<Mapped>) -> Self {
        Self {
            engine,
            queue: Queue::default(),
            table,
            idle_workers: 0,
            unjournaled: 0,
            session: None,
            queue_full: false,
            journal_full: false,
            stopped: None,
            counters: Counters::default(),
        }
    }

    // Sessions.

    pub(super) fn begin_session(
        &mut self,
        hello: &Hello,
        peer: &str,
        targets: &[Named],
    ) -> Result<(SessionId, Accepted), Refuse> {
        let accepted = self.engine.hello(hello)?;
        let mapped = |(&place, volume): (&usize, &formats::wire::VolumeIdentity)| Mapped {
            size: volume.size,
            target: Some(Arc::clone(&targets[place].1)),
        };
        self.table = accepted.volumes.iter().zip(&hello.volumes).map(mapped).collect();
        self.counters.sessions += 1;
        let id = SessionId(self.counters.sessions);
        self.session = Some(Session { id, peer: peer.to_owned(), group: hello.group.to_string_lossy() });
        Ok((id, accepted))
    }

    /// Whether that was the session there is.
    pub(super) fn end_session(&mut self, id: SessionId) -> bool {
        let current = self.session.as_ref().is_some_and(|session| session.id == id);
        if current {
            self.session = None;
            self.queue_full = false;
        }
        current
    }

    pub(super) fn session_over(&mut self, forgotten: u64) {
        self.unjournaled -= forgotten;
        self.engine.disconnected();
    }

    pub(super) fn wants_frames(&self) -> bool {
        self.engine.wants_frames()
    }

    pub(super) fn set_queue_full(&mut self, full: bool) {
        self.queue_full = full;
        self.counters.times_queue_full += u64::from(full);
    }

    pub(super) fn receive(&mut self, id: SessionId, frame: &Frame) -> Result<(), Refuse> {
        if self.session.as_ref().is_none_or(|session| session.id != id) {
            return Err(Refuse { code: RefuseCode::Unexpected, text: "the session is over".into() });
        }
        if let Some(reason) = self.stop_reason() {
            return Err(Refuse { code: RefuseCode::Stopped, text: reason.into() });
        }
        let taken = self.engine.frame(frame.number, &frame.headers);
        taken.map_err(|e| Refuse { code: RefuseCode::Unexpected, text: e.to_string().as_str().into() })?;
        self.unjournaled += 1;
        self.counters.bytes_received += frame.len() as u64;
        self.counters.entries_received += frame.headers.len() as u64;
        Ok(())
    }

    pub(super) fn poll_ack(&mut self, id: SessionId) -> Option<Ack> {
        self.session.as_ref().filter(|session| session.id == id)?;
        self.engine.poll_ack()
    }

    pub(super) fn mapped(&self, volume: u16) -> Option<(Arc<dyn Target>, u64)> {
        let mapped = self.table.get(usize::from(volume))?;
        Some((mapped.target.clone()?, mapped.size))
    }

    pub(super) fn note_link_error(&mut self, error: &SessionEnd) {
        self.counters.refused += u64::from(matches!(error, SessionEnd::Refused { .. } | SessionEnd::Damaged { .. }));
        self.counters.last_link_error = Some(error.to_string());
    }

    // Entries.

    /// The entries of a frame, whose headers [`Self::redo`] gets next.
    pub(super) fn add(&mut self, first: u64, entries: Prepared) {
        self.queue.add(first, entries);
    }

    pub(super) fn redo(&mut self, first: u64, headers: &[EntryHeader]) -> Result<(), StandbyError> {
        self.engine.redo(first, headers)?;
        self.counters.redone += headers.len() as u64;
        self.counters.journal.last = first + headers.len() as u64 - 1;
        Ok(())
    }

    pub(super) fn redo_end(&mut self) {
        self.engine.redo_end();
    }

    /// A frame is durable, the first entry of `count` having this index.
    pub(super) fn durable(&mut self, first: u64, count: usize, entries: Prepared) -> Result<(), StandbyError> {
        let end = first + count as u64;
        self.queue.add(first, entries);
        self.engine.journaled(first..end)?;
        self.engine.durable(end - 1)?;
        self.unjournaled -= 1;
        self.counters.journal.last = end - 1;
        Ok(())
    }

    /// The next entry for a worker, and how many idle workers could do with one as well.
    pub(super) fn next_job(&mut self) -> (Option<Job>, usize) {
        if self.stop_reason().is_some() {
            return (None, 0);
        }
        // Only what a worker takes is started: what is started may hear of lost writes.
        let job = self.engine.next_ready().and_then(|index| self.job(index));
        (job, self.engine.startable().min(self.idle_workers))
    }

    fn job(&self, index: u64) -> Option<Job> {
        let (header, payload) = self.queue.get(index)?;
        let target = volume(&header).and_then(|volume| self.table.get(usize::from(volume.0))?.target.clone());
        Some(Job { index, header, payload, target })
    }

    /// Takes the result of an entry; whether its target's device told that writes were lost.
    pub(super) fn finish(&mut self, done: Done, now: Now) -> Result<bool, String> {
        let index = done.index;
        let told = match done.outcome {
            Ok(outcome) => {
                self.count(index, outcome);
                let applied = matches!(outcome, Outcome::Applied(_));
                if applied { self.engine.applied(index) } else { self.engine.skipped(index) }
            }
            Err(ApplyError::OutOfSync { position, scope, why }) => {
                tracing::warn!(%position, "{scope} is out of sync after {why}; the primary is asked to send it again");
                if let Some(header) = self.queue.remove(index) {
                    self.counters.done.count_not_taken(&header);
                }
                self.engine.out_of_sync(index, scope, Some(why.row), now)
            }
            Err(error @ ApplyError::Lost { .. }) => {
                tracing::warn!("{error}");
                self.lose();
                self.engine.skipped(index).map_err(|error| error.to_string())?;
                return Ok(true);
            }
            Err(error) => return Err(error.to_string()),
        };
        told.map(|()| false).map_err(|error| error.to_string())
    }

    fn count(&mut self, index: u64, outcome: Outcome) {
        if let Some(header) = self.queue.remove(index) {
            self.counters.done.count(&header, outcome);
            if let Entry::Record(record) = &header.entry {
                let completed = &mut self.counters.applied_completed_ns;
                *completed = record.origin.completed_ns.max(*completed);
            }
        }
    }

    // Holes and losses.

    /// Writes of a device were lost.
    pub(super) fn lose(&mut self) {
        if !self.engine.is_losing() {
            self.counters.times_lost += 1;
            self.engine.lost();
        }
    }

    pub(super) fn is_losing(&self) -> bool {
        self.engine.is_losing()
    }

    /// Why the engine stopped by itself, if that is news.
    pub(super) fn engine_failure(&self) -> Option<String> {
        self.engine.stopped().filter(|_| self.stopped.is_none()).map(str::to_owned)
    }

    /// Goes back to the checkpoint, if nothing stands in the way; the first entry to hand in again.
    pub(super) fn rewind(&mut self) -> Option<u64> {
        let first = self.engine.rewind().ok()?;
        self.queue.clear();
        Some(first)
    }

    pub(super) fn unflushed(&mut self, volume: VolumeIndex, reason: RowIndex, now: Now) {
        self.engine.unflushed(volume, Some(reason), now);
    }

    pub(super) fn flushed(&mut self) {
        self.engine.flushed();
    }

    pub(super) fn verdict(&self, state: &mut StandbyState) -> Verdict {
        self.engine.verdict(state)
    }

    pub(super) fn poll_resend(&mut self, id: SessionId, now: Now) -> Option<Resend> {
        self.session.as_ref().filter(|session| session.id == id)?;
        let holes = self.engine.poll_resend(now);
        self.counters.asked += holes.len() as u64;
        (!holes.is_empty()).then(|| resend(&holes))
    }

    pub(super) fn resend_due(&self, id: SessionId) -> Option<Now> {
        self.session.as_ref().filter(|session| session.id == id)?;
        self.engine.resend_due()
    }

    /// Whether everything received is applied.
    pub(super) fn is_drained(&self) -> bool {
        self.unjournaled == 0 && self.queue.len() == 0 && !self.engine.recovering()
    }

    // The checkpoint.

    pub(super) fn checkpoint_due(&self, now: Now) -> bool {
        let wanted = self.journal_full && self.engine.poll_timeout().is_some();
        wanted || self.engine.checkpoint_due(now)
    }

    /// How long to wait before looking again.
    pub(super) fn checkpoint_pause(&self, interval: Duration) -> Duration {
        let most = if self.journal_full { 5 } else { 100 };
        (interval / 4).clamp(Duration::from_millis(1), Duration::from_millis(most))
    }

    pub(super) fn capture(&mut self) -> StandbyState {
        self.engine.checkpoint()
    }

    /// The volumes of the stream that have a target.
    pub(super) fn targets(&self) -> Vec<(VolumeIndex, Arc<dyn Target>)> {
        let named = |(index, mapped): (usize, &Mapped)| Some((VolumeIndex(index as u16), mapped.target.clone()?));
        self.table.iter().enumerate().filter_map(named).collect()
    }

    /// Answers through which index the journal may be trimmed.
    pub(super) fn checkpoint_saved(&mut self, now: Now, state: &StandbyState) -> u64 {
        self.counters.checkpoints += 1;
        self.engine.checkpoint_saved(now, state);
        self.engine.trim_through()
    }

    // State.

    pub(super) fn journal_usage(&mut self, (used, total): (u64, u64), full: bool) {
        let journal = &mut self.counters.journal;
        (journal.bytes_used, journal.bytes_total) = (used, total);
        journal.times_full += u64::from(full && !self.journal_full);
        self.journal_full = full;
    }

    pub(super) fn fail(&mut self, reason: &str) {
        self.engine.target_failed(reason);
        self.stopped.get_or_insert_with(|| reason.to_owned());
    }

    pub(super) fn stop_reason(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    pub(super) fn done(&self) -> AppliedCounts {
        self.counters.done.clone()
    }

    fn word(&self, mode: StandbyMode) -> StateWord {
        match mode {
            StandbyMode::Stopped => StateWord::Stopped,
            StandbyMode::Recovering => StateWord::Recovering,
            _ if self.session.is_none() => StateWord::Listening,
            _ if self.journal_full => StateWord::JournalFull,
            _ if self.queue_full => StateWord::QueueFull,
            _ => StateWord::Connected,
        }
    }

    pub(super) fn status(&self, config: &StandbyConfig, targets: &[Named]) -> StandbyStatus {
        let engine = self.engine.status();
        let counters = &self.counters;
        StandbyStatus {
            state: self.word(engine.mode),
            reason: engine.stopped.clone(),
            data: data_word(engine.data),
            content: self.content(&engine),
            out_of_sync: self.out_of_sync(),
            times_lost: counters.times_lost,
            node: config.node.clone(),
            listen: String::new(),
            peer: self.session.as_ref().map(|session| session.peer.clone()),
            group: self.session.as_ref().map(|session| session.group.clone()),
            stream: (engine.stream.0 != 0).then(|| engine.stream.to_string()),
            volumes: targets.iter().map(|named| self.volume_status(named)).collect(),
            received: engine.received.position.0,
            durable: engine.durable.position.0,
            applied: engine.applied.position.0,
            queued_bytes: 0,
            queued_entries: self.queue.len(),
            apply_lag_ms: self.queue.oldest().map_or(0, |since| since.elapsed().as_millis() as u64),
            applied_completed_ns: counters.applied_completed_ns,
            bytes_received: counters.bytes_received,
            entries_received: counters.entries_received,
            done: counters.done.clone(),
            journal: JournalStatus { checkpoint: engine.checkpoint_index, ..counters.journal },
            checkpoints: counters.checkpoints,
            redone: counters.redone,
            sessions: counters.sessions,
            refused: counters.refused,
            times_queue_full: counters.times_queue_full,
            last_link_error: counters.last_link_error.clone(),
        }
    }

    /// The one word about its content.
    fn content(&self, engine: &EngineStatus) -> String {
        let facts = Facts {
            stopped: engine.stopped.as_deref(),
            data: engine.data,
            holes: self.engine.holes().has_holes(),
            connected: self.session.is_some(),
            behind: engine.pending > 0,
        };
        replication::errors::StateWord::judge(&facts).to_string()
    }

    fn out_of_sync(&self) -> OutOfSyncStatus {
        let holes = self.engine.holes();
        let first = holes.iter().take(HOLES_SHOWN).map(|(hole, attempts)| HoleStatus {
            volume: self.engine.volume_name(hole.volume).unwrap_or_default().to_owned(),
            offset: hole.range.offset,
            len: hole.range.len,
            reason: hole.reason.map(|row| row.row().id),
            attempts,
        });
        OutOfSyncStatus {
            holes: holes.pieces() as u64,
            bytes: holes.bytes(),
            healed_bytes: holes.healed_bytes(),
            asked: self.counters.asked,
            first: first.collect(),
        }
    }

    fn volume_status(&self, (name, target): &Named) -> VolumeStatus {
        let same = |mapped: &&Mapped| mapped.target.as_ref().is_some_and(|other| Arc::ptr_eq(other, target));
        let primary_size = self.table.iter().find(same).map(|mapped| mapped.size);
        let scsi = target.commands().map(CommandTarget::report);
        let tape = target.commands().and_then(|commands| commands.tape());
        VolumeStatus { name: name.clone(), target: target.info(), primary_size, tape, scsi }
    }
}

fn volume(header: &EntryHeader) -> Option<VolumeIndex> {
    match &header.entry {
        Entry::Record(record) => Some(record.volume),
        Entry::Region(region) => Some(region.volume),
        Entry::Gap(_) => None,
    }
}

fn data_word(data: DataState) -> &'static str {
    match data {
        DataState::Consistent => "Consistent",
        DataState::Inconsistent => "Inconsistent",
        DataState::Blank => "Blank",
    }
}

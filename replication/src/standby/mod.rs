//! The engine of one standby.
//!
//! An entry goes through five states, and each counter is at most the one before it:
//!
//! ```text
//!  frame()      journaled()     durable()                   next_ready(), applied()      checkpoint_saved()
//!  checked ───▶ journalled ───▶ durable = acknowledged ───▶ applied ───────────────────▶ flushed and trimmed
//! ```
//!
//! # Contract with the driver
//!
//! - At start: [`Standby::recover`] with the saved state, then [`Standby::redo`] with all entries of the standby's own
//!   journal behind the checkpoint, in order, while [`Standby::wants_frames`]; then [`Standby::redo_end`]. Hellos are
//!   refused until all of them are applied again.
//! - Entries that [`Standby::next_ready`] names are applied and reported with [`Standby::applied`]; with
//!   [`Standby::skipped`] when there was nothing to do, with [`Standby::out_of_sync`] when the device did not take them.
//!   When the target fails altogether, [`Standby::target_failed`].
//! - A frame is checked with [`Standby::frame`], appended to the journal as a whole, reported with
//!   [`Standby::journaled`], made durable, reported with [`Standby::durable`]. When a session ends, the driver finishes
//!   or forgets the appends that it has begun before it calls [`Standby::disconnected`].
//! - [`Standby::checkpoint_due`]: take [`Standby::checkpoint`], *then* flush the targets, say [`Standby::flushed`], and
//!   ask for [`Standby::verdict`] until it is known; then save the state durably, then [`Standby::checkpoint_saved`]; the
//!   journal may be trimmed through [`Standby::trim_through`].
//! - When a device tells that writes were lost, to whatever command: [`Standby::lost`]. The session is ended; once
//!   [`Standby::may_rewind`], [`Standby::rewind`] leads back to the last saved checkpoint, and the journal behind it is
//!   handed in as at start.
//! - While a session is open, what [`Standby::poll_resend`] names is asked of the primary, at
//!   [`Standby::resend_due`] at the latest.
//! - Payload checksums are the driver's: the engine sees headers only.

mod checkpoint;
mod config;
mod heal;
mod hello;
mod intake;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use formats::entry::{Entry, EntryHeader};
use formats::wire::{Ack, DataState, Hello, Refuse, RefuseCode, Welcome};
use formats::{Position, Seq, StreamId, VolumeIndex};

pub use config::{Accepted, LocalVolume, StandbyConfig, StandbyError, StandbyState, StreamVolume, Verdict};

use crate::Now;
use crate::consistency::{Consistency, ConsistencyState, Effect};
use crate::errors::OutOfSync;
use crate::follow::{ProtocolError, Tip, follow, is_cut};
use crate::mutation::{self, Mutation};
use crate::scheduler::Scheduler;
use checkpoint::Making;
use heal::Touch;
use hello::refuse;
use intake::Intake;

/// Entries that the scheduler holds at most, far more than are applied at once: with more of them its structures leave
/// the processor's caches. The others wait in the intake, and come in as those before them are applied.
const MAX_ADMITTED: usize = 4096;

/// What a standby does.
///
/// ```text
///   Recovering ── redo applied ──▶ Waiting ◀── hello accepted / disconnected ──▶ Connected
///        └───────────┬───────────────┴──────────────────────┬──────────────────────┘
///                    └────────── target failed ─────────────┴──▶ Stopped
/// ```
///
/// Writes that a device lost lead from each of the first three back to Recovering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandbyMode {
    /// Entries behind the checkpoint are applied again.
    Recovering,
    /// No primary is connected.
    Waiting,
    /// A primary is connected.
    Connected,
    /// The target failed; nothing is applied any more. The driver must be started again.
    Stopped,
}

/// A standby's engine at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyStatus {
    /// What it does.
    pub mode: StandbyMode,
    /// Why it stopped.
    pub stopped: Option<String>,
    /// The stream it holds; 0 for none.
    pub stream: StreamId,
    /// State of its content.
    pub data: DataState,
    /// End of what was received.
    pub received: Tip,
    /// End of what is durable.
    pub durable: Tip,
    /// End of what is applied.
    pub applied: Tip,
    /// Entries received and not applied.
    pub pending: usize,
    /// Entries being applied.
    pub in_flight: usize,
    /// Last index of its journal that is applied.
    pub applied_index: u64,
    /// Last index of its journal in the saved checkpoint.
    pub checkpoint_index: u64,
    /// How often it went back to that checkpoint because writes were lost.
    pub redos: u32,
}

#[derive(Clone, Debug, Default)]
struct Session {
    received_frame: u64,
    durable_frame: u64,
    applied_frame: u64,
    /// Durable frames that are not applied, with the index of their last entry.
    unapplied: VecDeque<(u64, u64)>,
    last_ack: Ack,
}

/// An entry that the scheduler has and that is not known to be applied.
#[derive(Clone, Copy, Debug)]
struct Unapplied {
    index: u64,
    tip: Tip,
    effect: Effect,
    touch: Touch,
}

#[derive(Clone, Debug)]
enum Phase {
    /// More entries to redo may come.
    Redoing,
    /// All entries to redo are there.
    Finishing,
    Waiting,
    Connected(Session),
}

/// The engine. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Standby {
    config: StandbyConfig,
    stream: StreamId,
    volumes: Vec<StreamVolume>,
    sizes: Vec<u64>,
    phase: Phase,
    stopped: Option<String>,
    intake: Intake,
    scheduler: Scheduler,
    admitted_tip: Tip,
    unapplied: VecDeque<Unapplied>,
    applied_tip: Tip,
    /// Of everything durable.
    durable_content: Consistency,
    /// Of everything applied; what a checkpoint saves.
    applied_content: Consistency,
    /// Index of the last durable region.
    last_region: u64,
    /// The last checkpoint that is saved.
    saved: StandbyState,
    /// The one that is being made.
    making: Option<Making>,
    checkpoint_at: Now,
    /// Holes of its own making.
    holes: OutOfSync,
    /// Writes since the saved checkpoint were lost: everything behind it must be applied again.
    losing: bool,
    /// How often that happened since the saved checkpoint.
    redos: u32,
    /// Largest index that was ever started.
    started: u64,
    /// The state must be saved before any frame is taken: it names another stream or other volumes.
    must_save: bool,
}

impl Standby {
    /// An engine that goes on from a saved state; [`StandbyState::blank`] for a first start. It expects the entries
    /// behind the state next, see [`Self::redo`].
    #[must_use]
    pub fn recover(config: StandbyConfig, state: &StandbyState) -> Self {
        let tip = Tip { position: state.position, seq: state.applied_seq };
        let content = Consistency::from(state.consistency);
        let sizes: Vec<u64> = state.volumes.iter().map(|volume| volume.size).collect();
        let mut holes = OutOfSync::new(config.heal);
        holes.set_volumes(sizes.clone(), Some);
        holes.restore(&state.holes, state.local_index);
        Self {
            scheduler: Scheduler::new(config.depth, state.local_index, tip.seq),
            config,
            stream: state.stream,
            volumes: state.volumes.clone(),
            sizes,
            phase: Phase::Redoing,
            stopped: None,
            intake: Intake::new(state.local_index, tip),
            admitted_tip: tip,
            unapplied: VecDeque::new(),
            applied_tip: tip,
            durable_content: content,
            applied_content: content,
            last_region: state.local_index,
            saved: state.clone(),
            making: None,
            checkpoint_at: Now::ZERO,
            holes,
            losing: false,
            redos: 0,
            started: state.local_index,
            must_save: false,
        }
    }

    /// The next entries of the standby's own journal behind the saved state: they will be applied again.
    ///
    /// # Errors
    /// When one does not follow those before it; then the journal and the state are not of one standby. Nothing is taken.
    pub fn redo(&mut self, first: u64, headers: &[EntryHeader]) -> Result<(), StandbyError> {
        if !matches!(self.phase, Phase::Redoing) {
            return Err(StandbyError::Unexpected(first));
        }
        self.intake.expects(first)?;
        if headers.is_empty() {
            return Ok(());
        }
        let mut tip = self.intake.tip();
        for (index, header) in (first..).zip(headers) {
            tip = follow(tip, header, &self.sizes).map_err(|source| StandbyError::Journal { index, source })?;
        }
        let end = first + headers.len() as u64;
        self.intake.push(0, headers, tip);
        self.intake.journaled(first..end)?;
        self.durable(end - 1)
    }

    /// The journal holds no more entries.
    pub fn redo_end(&mut self) {
        if matches!(self.phase, Phase::Redoing) {
            self.phase = Phase::Finishing;
            self.finish_recovery();
        }
    }

    /// Whether entries behind the checkpoint are still being applied again.
    #[must_use]
    pub fn recovering(&self) -> bool {
        self.losing || matches!(self.phase, Phase::Redoing | Phase::Finishing)
    }

    /// A primary says who it is.
    ///
    /// # Errors
    /// The refusal to send before closing: no common version, unknown volume, other geometry, another primary or
    /// another stream's entries still at work, target stopped.
    pub fn hello(&mut self, hello: &Hello) -> Result<Accepted, Refuse> {
        let version = hello::version(hello)?;
        let places = hello::places(hello, &self.config.volumes)?;
        self.check_free()?;
        let volumes = hello::stream_volumes(hello);
        let other = self.stream != StreamId(hello.stream);
        if (other || volumes != self.volumes) && self.pending() > 0 {
            return Err(refuse(RefuseCode::Busy, "entries from before are still being applied; try again"));
        }
        let welcome = self.welcome(version);
        if other {
            self.begin_stream(StreamId(hello.stream));
        }
        if other || volumes != self.volumes {
            self.take_volumes(volumes);
            self.must_save = true;
        }
        self.phase = Phase::Connected(Session::default());
        let save_first = self.must_save.then(|| self.state());
        Ok(Accepted { welcome, volumes: places, save_first })
    }

    /// The session ended. Frames that were not journalled were never received.
    pub fn disconnected(&mut self) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.intake.end_session();
            self.holes.disconnected();
            self.phase = Phase::Waiting;
        }
    }

    /// Whether more frames may be read from the link, or more entries redone.
    #[must_use]
    pub fn wants_frames(&self) -> bool {
        self.stopped.is_none() && self.pending() < self.config.max_pending
    }

    /// A frame of entries came. Checks that it may follow everything before it.
    ///
    /// # Errors
    /// When it may not: nothing of it is used, and the session must end.
    pub fn frame(&mut self, number: u64, headers: &[EntryHeader]) -> Result<(), ProtocolError> {
        let Phase::Connected(session) = &mut self.phase else {
            return Err(ProtocolError::NoSession);
        };
        if self.must_save || self.losing || self.stopped.is_some() {
            return Err(ProtocolError::NoSession);
        }
        let expected = session.received_frame + 1;
        if number != expected {
            return Err(ProtocolError::Frame { expected, got: number });
        }
        if headers.is_empty() {
            return Err(ProtocolError::EmptyFrame(number));
        }
        let mut tip = self.intake.tip();
        for header in headers {
            tip = follow(tip, header, &self.sizes)?;
        }
        session.received_frame = number;
        self.intake.push(number, headers, tip);
        Ok(())
    }

    /// The standby's journal took the oldest frames that were checked, whole: these are their entries' indices.
    ///
    /// # Errors
    /// When the indices are not the next ones, or end within a frame.
    pub fn journaled(&mut self, indices: Range<u64>) -> Result<(), StandbyError> {
        self.intake.journaled(indices)
    }

    /// Everything through this index of the standby's journal is durable.
    ///
    /// # Errors
    /// When it was not journalled.
    pub fn durable(&mut self, index: u64) -> Result<(), StandbyError> {
        let before = self.intake.durable_index();
        let frame = self.intake.durable(index)?;
        for index in before + 1..=self.intake.durable_index() {
            let Some(header) = self.intake.header(index) else { break };
            self.durable_content.entry_received(header);
            if matches!(header.entry, Entry::Region(_)) {
                self.last_region = index;
            }
        }
        if let (Phase::Connected(session), Some(number)) = (&mut self.phase, frame) {
            session.durable_frame = number;
            session.unapplied.push_back((number, self.intake.durable_index()));
        }
        self.admit()
    }

    /// The next entry to apply, by its index in the standby's journal; none while all must wait.
    pub fn next_ready(&mut self) -> Option<u64> {
        if self.stopped.is_some() || self.losing {
            return None;
        }
        let index = self.scheduler.next_ready()?;
        self.started = self.started.max(index);
        Some(index)
    }

    /// Entries that [`Self::next_ready`] would name now, one after the other.
    #[must_use]
    pub fn startable(&self) -> usize {
        if self.stopped.is_some() || self.losing { 0 } else { self.scheduler.startable() }
    }

    /// The target failed: nothing more is applied, hellos are refused with this reason.
    pub fn target_failed(&mut self, reason: &str) {
        if self.stopped.is_none() {
            self.stopped = Some(reason.into());
        }
    }

    /// Why it stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The name of one of the stream's volumes.
    #[must_use]
    pub fn volume_name(&self, volume: VolumeIndex) -> Option<&str> {
        self.volumes.get(usize::from(volume.0)).map(|volume| volume.name.as_str())
    }

    /// The acknowledgement to send, when it says anything new.
    pub fn poll_ack(&mut self) -> Option<Ack> {
        let data = self.data_state();
        let (mut durable, applied) = (self.intake.durable_tip().position.0, self.applied_tip.position.0);
        let Phase::Connected(session) = &mut self.phase else { return None };
        let mut durable_frame = session.durable_frame;
        if mutation::is(Mutation::AcknowledgeUnsynced) {
            (durable, durable_frame) = (self.intake.tip().position.0, session.received_frame);
        }
        let ack = Ack {
            received_frame: session.received_frame,
            durable_frame,
            applied_frame: session.applied_frame,
            durable,
            applied,
            data,
        };
        if ack == session.last_ack {
            return None;
        }
        session.last_ack = ack;
        Some(ack)
    }

    /// State of the content, together with what is durable in the standby's journal.
    #[must_use]
    pub fn data_state(&self) -> DataState {
        let state = self.durable_content.data_state(self.applied_tip.seq);
        let settled = self.last_region <= self.scheduler.applied_through() && !self.recovering();
        let holes = self.holes.has_holes() && !mutation::is(Mutation::HideHoles);
        let whole = settled && self.stopped.is_none() && !holes;
        if state == DataState::Consistent && !whole { DataState::Inconsistent } else { state }
    }

    /// What it does.
    #[must_use]
    pub fn mode(&self) -> StandbyMode {
        match &self.phase {
            _ if self.stopped.is_some() => StandbyMode::Stopped,
            _ if self.recovering() => StandbyMode::Recovering,
            Phase::Redoing | Phase::Finishing => StandbyMode::Recovering,
            Phase::Waiting => StandbyMode::Waiting,
            Phase::Connected(_) => StandbyMode::Connected,
        }
    }

    /// What it looks like.
    #[must_use]
    pub fn status(&self) -> StandbyStatus {
        StandbyStatus {
            mode: self.mode(),
            stopped: self.stopped.clone(),
            stream: self.stream,
            data: self.data_state(),
            received: self.intake.tip(),
            durable: self.intake.durable_tip(),
            applied: self.applied_tip,
            pending: self.pending(),
            in_flight: self.scheduler.in_flight(),
            applied_index: self.scheduler.applied_through(),
            checkpoint_index: self.saved.local_index,
            redos: self.redos,
        }
    }

    fn pending(&self) -> usize {
        self.intake.len() + self.scheduler.pending()
    }

    fn check_free(&self) -> Result<(), Refuse> {
        if let Some(reason) = &self.stopped {
            return Err(refuse(RefuseCode::Stopped, &format!("the target failed: {reason}")));
        }
        if self.losing {
            return Err(refuse(RefuseCode::Busy, "writes were lost and are being applied again; try again"));
        }
        if self.recovering() {
            return Err(refuse(RefuseCode::Busy, "still applying entries from before the restart; try again"));
        }
        if matches!(self.phase, Phase::Connected(_)) {
            return Err(refuse(RefuseCode::Busy, "another primary is connected"));
        }
        if !self.intake.is_settled() {
            return Err(refuse(RefuseCode::Busy, "entries of the last session are still being written; try again"));
        }
        Ok(())
    }

    /// What it holds, as the primary is told before anything changes.
    fn welcome(&self, version: u16) -> Welcome {
        Welcome {
            version,
            node: self.config.node.as_str().into(),
            stream: self.stream.0,
            durable: self.intake.durable_tip().position.0,
            applied: self.applied_tip.position.0,
            data: self.data_state(),
            window: self.config.window_bytes,
        }
    }

    /// Nothing of this stream is held yet.
    fn begin_stream(&mut self, stream: StreamId) {
        let tip = Tip { position: Position(0), seq: Seq(0) };
        self.stream = stream;
        self.intake.restart(tip);
        self.admitted_tip = tip;
        self.applied_tip = tip;
        // Nothing is pending, so this cannot fail.
        let _ = self.scheduler.restart_order(tip.seq);
        self.durable_content = ConsistencyState::BLANK.into();
        self.applied_content = ConsistencyState::BLANK.into();
    }

    /// Hands durable entries to the scheduler. A cut waits until everything before it is applied, because seqs may
    /// go back there.
    fn admit(&mut self) -> Result<(), StandbyError> {
        self.advance();
        while self.scheduler.pending() < MAX_ADMITTED
            && let Some((index, header)) = self.intake.peek()
        {
            let header = if mutation::is(Mutation::SkipDependencies) { without_dep(header) } else { header };
            if let Entry::Gap(gap) = &header.entry
                && is_cut(gap)
            {
                if self.scheduler.pending() > 0 {
                    break;
                }
                self.scheduler.restart_order(gap.last)?;
            }
            self.scheduler.admit(index, &header)?;
            self.intake.pop();
            self.admitted_tip = tip_after(self.admitted_tip, &header);
            let (tip, effect, touch) = (self.admitted_tip, Effect::of(&header), Touch::of(&header));
            self.unapplied.push_back(Unapplied { index, tip, effect, touch });
            self.advance();
        }
        self.finish_recovery();
        Ok(())
    }

    /// Takes note of what is applied through.
    fn advance(&mut self) {
        let through = self.scheduler.applied_through();
        while let Some(entry) = self.unapplied.pop_front_if(|entry| entry.index <= through) {
            self.applied_tip = entry.tip;
            self.applied_content.effect(entry.effect);
        }
        if let Phase::Connected(session) = &mut self.phase {
            while let Some((number, _)) = session.unapplied.pop_front_if(|(_, last)| *last <= through) {
                session.applied_frame = number;
            }
        }
    }

    fn finish_recovery(&mut self) {
        if matches!(self.phase, Phase::Finishing) && self.pending() == 0 && !self.losing {
            self.phase = Phase::Waiting;
        }
    }
}

fn tip_after(tip: Tip, header: &EntryHeader) -> Tip {
    let position = header.position;
    match &header.entry {
        Entry::Record(record) => Tip { position, seq: record.seq },
        Entry::Gap(gap) => Tip { position, seq: gap.last },
        Entry::Region(_) => Tip { position, ..tip },
    }
}

/// The same entry, as if it depended on nothing.
fn without_dep(mut header: EntryHeader) -> EntryHeader {
    if let Entry::Record(record) = &mut header.entry {
        record.dep = Seq(0);
    }
    header
}

#[cfg(test)]
mod tests;

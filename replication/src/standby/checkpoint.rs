//! Checkpoints: what is saved, when, and when not.
//!
//! A state that is saved says that everything up to it is on stable storage. The flush that makes that true may be answered
//! well although writes before it were lost: a device tells of a power loss once, and to any command. So a checkpoint
//! waits, after its flush, for every entry that was being applied meanwhile: each of them may be the one that was told.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::config::{StandbyState, Verdict};
use super::{Standby, StandbyError};
use crate::Now;
use crate::consistency::ConsistencyState;
use crate::errors::Hole;
use crate::mutation::{self, Mutation};

/// A checkpoint on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Making {
    /// Entries that may still tell of a loss; none before the flush.
    waits: Option<BTreeSet<u64>>,
    spoiled: bool,
}

impl Making {
    /// An entry was reported.
    pub(super) fn reported(&mut self, index: u64) {
        if let Some(waits) = &mut self.waits {
            waits.remove(&index);
        }
    }

    /// Writes were lost.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }
}

impl Standby {
    /// Whether a checkpoint should be made now.
    #[must_use]
    pub fn checkpoint_due(&self, now: Now) -> bool {
        self.poll_timeout().is_some_and(|at| now >= at)
    }

    /// When the next checkpoint is due; none while nothing new is applied.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let new = self.scheduler.applied_through() > self.saved.local_index || self.must_save;
        let free = self.stopped.is_none() && !self.losing;
        (new && free).then(|| self.checkpoint_at + self.config.checkpoint_interval)
    }

    /// Begins a checkpoint, the only one at a time: the state to save. The targets must be flushed *after* this call; what [`Self::verdict`] says
    /// then decides.
    #[must_use]
    pub fn checkpoint(&mut self) -> StandbyState {
        self.making = Some(Making { waits: None, spoiled: self.losing });
        self.state()
    }

    pub(super) fn state(&self) -> StandbyState {
        StandbyState {
            stream: self.stream,
            position: self.applied_tip.position,
            local_index: self.checkpoint_index(),
            applied_seq: self.applied_tip.seq,
            consistency: ConsistencyState::from(self.applied_content),
            volumes: self.volumes.clone(),
            holes: self.known_holes(),
        }
    }

    fn checkpoint_index(&self) -> u64 {
        let through = self.scheduler.applied_through();
        if mutation::is(Mutation::CheckpointAhead) { through.max(self.started) } else { through }
    }

    /// The targets were flushed after [`Self::checkpoint`].
    pub fn flushed(&mut self) {
        let waits: BTreeSet<u64> = self.scheduler.started().collect();
        if let Some(making) = &mut self.making {
            making.waits = Some(waits);
        }
    }

    /// Whether `state` may be saved now. When it may, its holes become those that are known now: one that was opened by
    /// the flush itself counts, and one that an entry behind the state has closed meanwhile is closed again by it.
    pub fn verdict(&self, state: &mut StandbyState) -> Verdict {
        let Some(making) = self.making.as_ref().filter(|making| !making.spoiled) else { return Verdict::Discard };
        let hasty = mutation::is(Mutation::CheckpointHasty) && making.waits.is_some();
        if !hasty && making.waits.as_ref().is_none_or(|waits| !waits.is_empty()) {
            return Verdict::Wait;
        }
        state.holes = self.known_holes();
        Verdict::Save
    }

    /// This state is saved durably.
    pub fn checkpoint_saved(&mut self, now: Now, state: &StandbyState) {
        self.checkpoint_at = now;
        self.making = None;
        if state.local_index > self.saved.local_index {
            self.redos = 0;
        }
        if state.local_index >= self.saved.local_index {
            self.saved.clone_from(state);
        }
        if state.stream == self.stream && state.volumes == self.volumes {
            self.must_save = false;
        }
    }

    /// Entries of the standby's journal up to this index are no longer needed.
    #[must_use]
    pub fn trim_through(&self) -> u64 {
        self.saved.local_index
    }

    fn known_holes(&self) -> Vec<Hole> {
        self.holes.iter().map(|(hole, _)| hole).collect()
    }

    /// Whether [`Self::rewind`] may be called: writes were lost, the session is over, and nothing is being applied.
    #[must_use]
    pub fn may_rewind(&self) -> bool {
        let connected = matches!(self.phase, super::Phase::Connected(_));
        self.losing && !connected && self.scheduler.in_flight() == 0 && self.intake.is_settled()
    }

    /// Goes back to the last saved checkpoint. Entries of the standby's own journal from the answered index on are handed
    /// in next, as at start: [`Self::redo`], then [`Self::redo_end`].
    ///
    /// # Errors
    /// When [`Self::may_rewind`] does not allow it.
    pub fn rewind(&mut self) -> Result<u64, StandbyError> {
        if !self.may_rewind() {
            return Err(StandbyError::Unexpected(self.saved.local_index));
        }
        let mut again = Self::recover(self.config.clone(), &self.saved);
        // Those of now: more than the checkpoint knows, and what was closed since is closed again by the journal.
        again.holes = core::mem::take(&mut self.holes);
        again.rename_volumes(&self.volumes);
        (again.redos, again.checkpoint_at) = (self.redos, self.checkpoint_at);
        again.stopped = self.stopped.take();
        *self = again;
        Ok(self.saved.local_index + 1)
    }
}

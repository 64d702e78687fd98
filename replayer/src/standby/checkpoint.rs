//! Saving how far the targets are, durably, without stopping anybody.
//!
//! What is durable when: the state is captured first, then the targets are flushed, then the state is saved, then the
//! journal is trimmed through it. Entries applied during the flush are not part of the state, so `saved <= flushed`
//! and `trimmed <= saved` always hold, and a crash at any point redoes what the state does not cover. Holes are saved
//! just before the state that counts on them (`holes`).

use formats::state::StandbyRecord;
use replication::standby::StandbyState;

use super::config::StandbyConfig;
use super::holes::HolesFile;
use super::saved::to_record;
use super::shared::Shared;
use crate::state_file::StateFile;

/// The checkpoint's file. Whoever holds it is the only one who flushes and saves, so an older state never follows a
/// newer one.
#[derive(Debug)]
pub(super) struct Keeper {
    file: StateFile,
    saved: Option<StandbyRecord>,
    holes: HolesFile,
}

impl Keeper {
    pub(super) fn new(file: StateFile, saved: Option<StandbyRecord>, holes: HolesFile) -> Self {
        Self { file, saved, holes }
    }

    /// Saves `state` unless it is saved already. The targets were flushed after it was captured.
    ///
    /// # Errors
    /// In words: the standby cannot go on, because its journal would never be trimmed again.
    pub(super) fn save(&mut self, state: &StandbyState, config: &StandbyConfig) -> Result<(), String> {
        let holes = self.holes.save(&state.holes, &state.volumes);
        holes.map_err(|e| format!("saving what is out of sync in {} failed: {e}", config.dir.display()))?;
        let record = to_record(state, config);
        if self.saved.as_ref() != Some(&record) {
            self.file.save(&record).map_err(|error| error.to_string())?;
            self.saved = Some(record);
        }
        Ok(())
    }
}

/// The checkpoint thread: saves at intervals and whenever the journal is full, and once more at the end.
pub(super) fn run(shared: &Shared) {
    while shared.wait_for_checkpoint() {
        if let Err(reason) = shared.save_checkpoint() {
            shared.fail(&reason);
            return;
        }
    }
    if shared.stop_reason().is_none()
        && let Err(reason) = shared.save_checkpoint()
    {
        shared.fail(&reason);
    }
}

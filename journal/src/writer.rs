//! The one writer of a journal: its state, its answers, and making things durable.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use formats::segment::{Cursor, DATA_START, JournalState};

use crate::config::{Config, SyncPolicy};
use crate::disk::{Disk, DiskFile, fill_with_zeros};
use crate::error::{IoFault, JournalError};
use crate::open::{Parts, wipe};
use crate::reader::Reader;
use crate::state_file::{STATE_FILE, StateFile};
use crate::table::Shared;

/// A journal, open for writing. See the crate's documentation for what it guarantees.
///
/// It is either ready; or damaged, after opening found that durable items are gone, until
/// [`Journal::accept_damage`] or [`Journal::discard_all`]; or failed, after an error of the disk, for good.
pub struct Journal<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) config: Config,
    pub(crate) state: StateFile<D::File>,
    /// Slots to begin the next segments in, the longest unused first.
    pub(crate) free: VecDeque<u16>,
    /// Last id that each slot had in this session or at opening; 0 is none.
    pub(crate) slot_ids: Vec<u64>,
    /// Slots with writes that are not durable, oldest first.
    pub(crate) dirty: Vec<u16>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) session: u32,
    /// Ids drawn in this session.
    pub(crate) drawn: u32,
    unsynced_since: Option<Duration>,
    failed: bool,
    unanswered: Option<Unanswered>,
    /// Holds the lock of the directory.
    _disk: D,
}

/// Damage that the caller has not answered for.
pub(crate) struct Unanswered {
    pub(crate) lost: RangeInclusive<u64>,
    /// Slots behind the damage, kept as they are until then.
    pub(crate) stale: Vec<u16>,
}

impl<D: Disk> Parts<D> {
    pub(crate) fn into_journal(self, disk: D) -> Journal<D> {
        let mut slot_ids = vec![0; self.shared.files.len()];
        self.shared.table().live.iter().for_each(|segment| slot_ids[usize::from(segment.slot)] = segment.id);
        Journal {
            slot_ids,
            cursors: self.state.saved().cursors.clone(),
            shared: self.shared,
            config: self.config,
            state: self.state,
            free: self.free.into(),
            dirty: Vec::new(),
            session: self.session.saturating_add(1),
            drawn: 0,
            unsynced_since: None,
            failed: false,
            unanswered: self.unanswered,
            _disk: disk,
        }
    }
}

impl<D: Disk> Drop for Journal<D> {
    /// Readers must not go on: the next writer recycles segments without their knowledge.
    fn drop(&mut self) {
        self.shared.table().closed = true;
    }
}

impl<D: Disk> Journal<D> {
    /// Makes this session's number durable before anything is written under it, and takes cursors back that point
    /// past the end: what they had passed is gone, and the same indices will come again.
    pub(crate) fn begin_session(&mut self) -> Result<(), JournalError> {
        let last = self.written();
        self.cursors.iter_mut().for_each(|cursor| cursor.through = cursor.through.min(last));
        let confirmed = self.state.confirm();
        self.settle_state(confirmed)?;
        if self.state.saved().generation == 0 {
            // A new file gets both its slots at once, so that from now on one may be lost.
            self.checkpoint()?;
        }
        self.checkpoint()
    }

    /// A reader for another thread.
    #[must_use]
    pub fn reader(&self) -> Reader<D> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Index of the first item; [`Journal::next`] if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.table().first()
    }

    /// Index that the next item gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.shared.table().next
    }

    /// Index of the last item appended.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.next() - 1
    }

    /// Everything up to this index survives a power cut.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.table().durable
    }

    /// Bytes of the segments in use, headers included, that hold something.
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        self.shared.table().live.iter().map(|segment| segment.end).sum()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.config.segment_bytes * u64::from(self.config.segments())
    }

    /// Bytes that can still be appended, frames included, if the items pack well.
    #[must_use]
    pub fn bytes_free(&self) -> u64 {
        let active = self.shared.table().live.back().map_or(0, |segment| self.config.segment_bytes - segment.end);
        active + self.free.len() as u64 * (self.config.segment_bytes - DATA_START)
    }

    /// Whether an error of the disk has ended writing; only opening again helps.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Items that are lost and not yet answered for.
    #[must_use]
    pub fn damage(&self) -> Option<RangeInclusive<u64>> {
        self.unanswered.as_ref().map(|damage| damage.lost.clone())
    }

    /// Makes everything appended durable; says up to which index.
    ///
    /// # Errors
    /// Of the disk; the journal is failed then.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        self.check_alive()?;
        let upto = self.written();
        for slot in std::mem::take(&mut self.dirty) {
            let result = self.shared.file(slot).fdatasync();
            self.settle(result, "syncing", slot)?;
        }
        self.unsynced_since = None;
        self.shared.table().durable = upto;
        Ok(upto)
    }

    /// Whether the policy wants a [`Journal::sync`] by now. `now` is a monotone clock of the caller's; with
    /// [`SyncPolicy::Interval`] the wait begins at the first call that sees something to sync.
    pub fn sync_due(&mut self, now: Duration) -> bool {
        if self.dirty.is_empty() {
            return false;
        }
        match self.config.sync {
            SyncPolicy::Never => false,
            SyncPolicy::Each => true,
            SyncPolicy::Interval(wait) => now.saturating_sub(*self.unsynced_since.get_or_insert(now)) >= wait,
        }
    }

    /// Makes cursors and trimming durable now. It also happens by itself, once per segment.
    ///
    /// # Errors
    /// Of the disk; the journal is failed then.
    pub fn checkpoint(&mut self) -> Result<(), JournalError> {
        self.check_alive()?;
        let state = self.current_state();
        let saved = self.state.save(state);
        self.settle_state(saved)
    }

    fn settle_state(&mut self, result: io::Result<()>) -> Result<(), JournalError> {
        result.map_err(|source| {
            self.failed = true;
            let journal = self.shared.journal.clone();
            IoFault { journal, doing: "saving", file: STATE_FILE.into(), source }.into()
        })
    }

    /// Goes on after damage: what is left stays, the indices of what is lost are given out again. A caller whose peers
    /// know items under those indices uses [`Journal::discard_all`] with a later index instead. Does nothing if there
    /// is no damage.
    ///
    /// # Errors
    /// Of the disk; the journal is failed then.
    pub fn accept_damage(&mut self) -> Result<(), JournalError> {
        self.check_alive()?;
        let Some(damage) = self.unanswered.take() else { return Ok(()) };
        if let Err((slot, e)) = wipe(&self.shared.files, &damage.stale).and_then(|()| self.wipe_tail()) {
            self.settle(Err(e), "wiping", slot)?;
        }
        self.free.extend(damage.stale);
        self.checkpoint()
    }

    /// Overwrites what lies behind the last item in its segment, so that it is not found damaged again.
    fn wipe_tail(&self) -> Result<(), (u16, io::Error)> {
        let table = self.shared.table();
        let Some(active) = table.live.back() else { return Ok(()) };
        let file = self.shared.file(active.slot);
        fill_with_zeros(file, active.end, self.config.segment_bytes)
            .and_then(|()| file.fdatasync())
            .map_err(|e| (active.slot, e))
    }

    pub(crate) fn forget_damage(&mut self) {
        self.unanswered = None;
    }

    fn current_state(&self) -> JournalState {
        let table = self.shared.table();
        // While damage is not answered for, all that tells of it must stay on disk and above the floor.
        let saved = self.state.saved();
        let (end, claim) = match self.unanswered {
            Some(_) => (saved.floor, saved.durable),
            None => (self.next_id(), table.durable),
        };
        let floor = table.live.front().map_or(end, |segment| segment.id);
        // What the floor leaves behind counts as durable: nobody needs it.
        let kept = table.durable.max(table.first() - 1);
        let lagging = |c: &Cursor| Cursor { name: c.name.clone(), through: c.through.min(kept) };
        JournalState {
            generation: 0,
            floor,
            first: table.first(),
            durable: claim.max(kept),
            segment_bytes: self.config.segment_bytes,
            session: self.session,
            segments: self.config.segments(),
            cursors: self.cursors.iter().map(lagging).collect(),
        }
    }

    /// Whether the floor on disk lies below the first segment in use.
    pub(crate) fn has_trimmed(&self) -> bool {
        self.shared.table().live.front().is_some_and(|segment| segment.id > self.state.saved().floor)
    }

    /// The id that the next segment gets. The session in its upper half makes it larger than all before.
    pub(crate) fn next_id(&self) -> u64 {
        u64::from(self.session) << 32 | u64::from(self.drawn + 1)
    }

    pub(crate) fn check_alive(&self) -> Result<(), JournalError> {
        if self.failed { Err(JournalError::Failed { journal: self.shared.journal.clone() }) } else { Ok(()) }
    }

    /// Passes a result on; an error ends writing.
    pub(crate) fn settle<T>(
        &mut self,
        result: io::Result<T>,
        doing: &'static str,
        slot: u16,
    ) -> Result<T, JournalError> {
        result.map_err(|source| {
            self.failed = true;
            self.shared.fault(doing, slot, source).into()
        })
    }
}

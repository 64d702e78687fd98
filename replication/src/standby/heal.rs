//! How entries end: applied, skipped, or as a hole of the standby's own making, and how such holes heal.
//!
//! ```text
//!            out_of_sync()                poll_resend()               applied(), a region or write over it
//!   equal ────────────────▶ out of sync ───────────────▶ asked for ─────────────────────────────────────▶ equal
//!                            ▲       ▲                    │     │
//!                            │       └── disconnected() ──┘     │ out_of_sync() of the region: a longer wait
//!                            └──────────────────────────────────┘
//! ```
//!
//! A hole is part of the saved state before the entry that left it counts as applied after a restart; so a restart knows
//! the hole, or applies the entry again.

use alloc::vec::Vec;

use formats::entry::{Entry, EntryHeader};
use formats::{ByteRange, VolumeIndex};

use super::config::{StandbyError, StreamVolume};
use super::{Phase, Standby};
use crate::Now;
use crate::consistency::rewrites;
use crate::errors::{Failure, Hole, OutOfSync, RowIndex, Scope, StopReason};
use crate::mutation::{self, Mutation};

/// Holes asked for at once, at most.
const MAX_ASKED: usize = 256;

/// What an entry has to do with holes: the part of its header that is kept until it is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    volume: VolumeIndex,
    range: ByteRange,
    /// All of the range is the primary's afterwards, whatever was there.
    rewrites: bool,
    is_region: bool,
}

impl Touch {
    pub(super) fn of(header: &EntryHeader) -> Self {
        let (volume, range, is_region) = match &header.entry {
            Entry::Record(record) => (record.volume, record.range, false),
            Entry::Region(region) => (region.volume, region.range, true),
            Entry::Gap(_) => (VolumeIndex(0), ByteRange::new(0, 0), false),
        };
        Self { volume, range, rewrites: rewrites(header).is_some(), is_region }
    }
}

impl Standby {
    /// The entry is applied to the target (not necessarily durably), as its header says.
    ///
    /// # Errors
    /// When [`Self::next_ready`] did not name it.
    pub fn applied(&mut self, index: u64) -> Result<(), StandbyError> {
        if self.holes.has_holes()
            && let Some(touch) = self.touch(index).filter(|touch| touch.rewrites)
        {
            self.holes.written(touch.volume, touch.range, index);
        }
        self.ended(index)
    }

    /// Nothing had to be done for the entry, and nothing was.
    ///
    /// # Errors
    /// As [`Self::applied`].
    pub fn skipped(&mut self, index: u64) -> Result<(), StandbyError> {
        self.ended(index)
    }

    /// The target did not take the entry, and is not to be tried again with it: `scope` is not the primary's any more,
    /// as this row of the table says. Replay goes on.
    ///
    /// # Errors
    /// As [`Self::applied`].
    pub fn out_of_sync(
        &mut self,
        index: u64,
        scope: Scope,
        reason: Option<RowIndex>,
        now: Now,
    ) -> Result<(), StandbyError> {
        if let Some(touch) = self.touch(index) {
            let failure = Failure { place: index, reason, attempt: touch.is_region };
            match scope {
                Scope::DeviceState => self.holes.mark_state(touch.volume),
                Scope::Range if !touch.range.is_empty() => self.mark(touch.volume, touch.range, failure, now),
                Scope::Range | Scope::SinceFlush | Scope::Volume => self.mark_volume(touch.volume, failure, now),
            }
        }
        self.ended(index)
    }

    /// A flush of a volume's target failed for good, though nothing was told to be lost: nobody knows what of it is on the
    /// medium.
    pub fn unflushed(&mut self, volume: VolumeIndex, reason: Option<RowIndex>, now: Now) {
        let place = self.scheduler.applied_through();
        self.mark_volume(volume, Failure { place, reason, attempt: false }, now);
    }

    /// A device told that writes since the last flush may be lost. Nothing more is started; the driver ends the session,
    /// waits for what is being applied, and calls [`Self::rewind`]. Too often from one checkpoint, and the standby stops.
    pub fn lost(&mut self) {
        if self.losing {
            return;
        }
        self.losing = true;
        self.redos += 1;
        if let Some(making) = &mut self.making {
            making.spoil();
        }
        if self.redos > self.config.max_redos {
            let reason = StopReason::Unreliable;
            self.target_failed(&alloc::format!("{reason}: {}", reason.remedy()));
        }
    }

    /// Whether writes were lost and [`Self::rewind`] was not called yet.
    #[must_use]
    pub fn is_losing(&self) -> bool {
        self.losing
    }

    /// Holes to ask the primary for now. Each is told once in a session until it fails again.
    pub fn poll_resend(&mut self, now: Now) -> Vec<Hole> {
        if !self.asks() {
            return Vec::new();
        }
        core::iter::from_fn(|| self.holes.next_due(now)).take(MAX_ASKED).collect()
    }

    /// When [`Self::poll_resend`] has something to say; none while it has not.
    #[must_use]
    pub fn resend_due(&self) -> Option<Now> {
        self.holes.poll_timeout().filter(|_| self.asks())
    }

    /// Its holes.
    #[must_use]
    pub fn holes(&self) -> &OutOfSync {
        &self.holes
    }

    fn asks(&self) -> bool {
        let open = matches!(self.phase, Phase::Connected(_)) && !self.must_save;
        open && !self.losing && self.stopped.is_none()
    }

    fn touch(&self, index: u64) -> Option<Touch> {
        let first = self.unapplied.front()?.index;
        let place = usize::try_from(index.checked_sub(first)?).ok()?;
        self.unapplied.get(place).map(|entry| entry.touch)
    }

    fn ended(&mut self, index: u64) -> Result<(), StandbyError> {
        self.scheduler.complete(index)?;
        if let Some(making) = &mut self.making {
            making.reported(index);
        }
        self.admit()
    }

    fn mark(&mut self, volume: VolumeIndex, range: ByteRange, failure: Failure, now: Now) {
        if self.is_whole(volume) {
            self.holes.mark(volume, range, failure, now);
        }
    }

    /// What was started may be among what was lost, whatever its place: the last that was started, too, although nobody
    /// was told yet that it is done.
    fn mark_volume(&mut self, volume: VolumeIndex, failure: Failure, now: Now) {
        let begun = self.started + u64::from(!mutation::is(Mutation::HealTooEarly));
        let failure = Failure { place: failure.place.max(begun), ..failure };
        if self.is_whole(volume) {
            self.holes.mark_volume(volume, failure, now);
        }
    }

    /// Whether a hole of this volume can be kept. One without blocks (a tape) cannot be read again, so replay stops.
    fn is_whole(&mut self, volume: VolumeIndex) -> bool {
        let blocks = self.sizes.get(usize::from(volume.0)).is_some_and(|size| *size > 0);
        if !blocks {
            self.target_failed("a command failed on a device whose content cannot be read again; copy it anew");
        }
        blocks
    }

    /// The stream's volumes are these from now on.
    pub(super) fn take_volumes(&mut self, volumes: Vec<StreamVolume>) {
        let before = core::mem::replace(&mut self.volumes, volumes);
        self.sizes = self.volumes.iter().map(|volume| volume.size).collect();
        self.rename_volumes(&before);
    }

    /// The holes are of volumes in the order of `before`.
    pub(super) fn rename_volumes(&mut self, before: &[StreamVolume]) {
        let place = |name: &str| self.volumes.iter().position(|volume| volume.name == name);
        let now = |index: VolumeIndex| place(&before.get(usize::from(index.0))?.name).map(|at| VolumeIndex(at as u16));
        self.holes.set_volumes(self.sizes.clone(), now);
    }
}

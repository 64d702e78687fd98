//! What is out of sync because the standby's device failed, and when to try to heal it.
//!
//! A stretch that could not be written is a hole. It is kept, byte for byte, until that stretch was written after the
//! failure: by a region that was read again from the primary, or by any later write of the stream. When the device does
//! not take that either, the next attempt waits longer, up to a limit, for ever: a hole is never forgotten, and a device
//! that accepts writes again heals by itself. Memory is bounded: too many pieces are rounded outward and become fewer,
//! which errs on the safe side.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use formats::{ByteRange, VolumeIndex};

use super::budget::Wait;
use super::table::RowIndex;
use crate::Now;

/// Sizes and times of healing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealConfig {
    /// Bytes to which pieces are rounded outward first when there are too many; at least 1.
    pub region_size: u64,
    /// Waits between attempts for one piece.
    pub wait: Wait,
    /// Pieces kept one by one; beyond that they are rounded outward, in the end to whole volumes.
    pub max_pieces: usize,
}

impl Default for HealConfig {
    /// Attempts after 1 s, doubling up to 5 minutes; 4096 pieces, rounded to 64 KiB when there are more.
    fn default() -> Self {
        let wait = Wait { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
        Self { region_size: 64 << 10, wait, max_pieces: 4096 }
    }
}

/// A stretch of a volume whose content is not the primary's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    /// On which volume.
    pub volume: VolumeIndex,
    /// Which bytes.
    pub range: ByteRange,
    /// The row of the table that ended in it; none when that is not known any more.
    pub reason: Option<RowIndex>,
}

/// An entry that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Place in the standby's own journal: only what stands there or behind it heals.
    pub place: u64,
    /// The row that decided.
    pub reason: Option<RowIndex>,
    /// It was content read from the primary: an attempt to heal, so the next one waits longer.
    pub attempt: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Healing {
    attempts: u32,
    due: Now,
    /// The primary was asked, and neither a success nor a failure followed.
    asked: bool,
    /// Place of the last entry that failed there.
    after: u64,
    reason: Option<RowIndex>,
}

impl Healing {
    fn new(now: Now, failure: Failure, wait: &Wait) -> Self {
        let due = now.saturating_add(wait.before(0));
        Self { attempts: 0, due, asked: false, after: failure.place, reason: failure.reason }
    }

    /// Another entry failed there. What was asked for may lie before it, so it is asked for again.
    fn failed(&mut self, now: Now, failure: Failure, wait: &Wait) {
        self.after = self.after.max(failure.place);
        self.reason = failure.reason;
        self.asked = false;
        if failure.attempt {
            self.attempts = self.attempts.saturating_add(1);
            self.due = now.saturating_add(wait.before(self.attempts));
        }
    }

    /// Of two pieces that become one: whatever is more careful.
    fn join(&mut self, other: &Self) {
        self.attempts = self.attempts.max(other.attempts);
        self.due = self.due.min(other.due);
        self.after = self.after.max(other.after);
    }
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    healing: Healing,
}

/// The holes of a standby's own making.
///
/// The engine marks ([`Self::mark`]), asks the primary for what is due ([`Self::next_due`], [`Self::poll_timeout`]), and
/// tells what was written ([`Self::written`]). Places are those of entries in the standby's own journal. A region that was
/// read from the primary is newer than its place, and writes of overlapping entries are done in the order of their
/// places; so whatever stands behind the entry that failed heals, asked for or not.
#[derive(Clone, Debug, Default)]
pub struct OutOfSync {
    config: HealConfig,
    /// By volume and first byte; pieces do not overlap.
    pieces: BTreeMap<(VolumeIndex, u64), Piece>,
    /// Sizes of the volumes in bytes, by index.
    sizes: Vec<u64>,
    device_state: BTreeSet<VolumeIndex>,
    healed_bytes: u64,
}

impl OutOfSync {
    /// Nothing out of sync.
    #[must_use]
    pub fn new(config: HealConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// What an earlier process recorded. `place` is the last entry of the standby's journal that will not be applied
    /// again: whatever failed behind it fails again, or is right.
    pub fn restore(&mut self, holes: &[Hole], place: u64) {
        for hole in holes {
            let failure = Failure { place, reason: hole.reason, attempt: false };
            self.mark(hole.volume, hole.range, failure, Now::ZERO);
        }
    }

    /// The volumes have these sizes, and `index_of` says which one each of them is now; holes of those that are none
    /// any more go with them.
    pub fn set_volumes(&mut self, sizes: Vec<u64>, index_of: impl Fn(VolumeIndex) -> Option<VolumeIndex>) {
        self.sizes = sizes;
        for ((volume, start), piece) in core::mem::take(&mut self.pieces) {
            let Some(volume) = index_of(volume) else { continue };
            let end = piece.end.min(self.size(volume));
            if start < end {
                self.pieces.insert((volume, start), Piece { end, ..piece });
            }
        }
        self.device_state = self.device_state.iter().filter_map(|volume| index_of(*volume)).collect();
    }

    /// An entry failed for good in this range.
    pub fn mark(&mut self, volume: VolumeIndex, range: ByteRange, failure: Failure, now: Now) {
        let (start, end) = (range.offset, range.end().min(self.size(volume)));
        if start >= end {
            return;
        }
        self.split(volume, start);
        self.split(volume, end);
        let (wait, mut next, mut new) = (self.config.wait, start, Vec::new());
        for (&(_, first), piece) in self.pieces.range_mut((volume, start)..(volume, end)) {
            if next < first {
                new.push((next, first));
            }
            piece.healing.failed(now, failure, &wait);
            next = piece.end;
        }
        if next < end {
            new.push((next, end));
        }
        let healing = Healing::new(now, failure, &wait);
        self.pieces.extend(new.into_iter().map(|(first, end)| ((volume, first), Piece { end, healing })));
        self.join(volume, start, end);
        self.bound();
    }

    /// All of a volume is out of sync.
    pub fn mark_volume(&mut self, volume: VolumeIndex, failure: Failure, now: Now) {
        self.mark(volume, ByteRange::new(0, self.size(volume)), failure, now);
    }

    /// Mode pages, reservations and the like of a volume's device differ from the primary's; its content does not.
    pub fn mark_state(&mut self, volume: VolumeIndex) {
        self.device_state.insert(volume);
    }

    /// The entry at `place` wrote this range, all of it with content of the primary: heals what failed before. Answers how
    /// many bytes.
    pub fn written(&mut self, volume: VolumeIndex, range: ByteRange, place: u64) -> u64 {
        if self.pieces.is_empty() || range.is_empty() {
            return 0;
        }
        let (start, end) = (range.offset, range.end());
        self.split(volume, start);
        self.split(volume, end);
        let within = self.pieces.range((volume, start)..(volume, end));
        let healed = within.filter(|(_, piece)| piece.healing.after <= place);
        let healed: Vec<(u64, u64)> = healed.map(|(&(_, first), piece)| (first, piece.end)).collect();
        for (first, _) in &healed {
            self.pieces.remove(&(volume, *first));
        }
        self.join(volume, start, end);
        let bytes = healed.iter().map(|(first, end)| end - first).sum();
        self.healed_bytes += bytes;
        self.bound();
        bytes
    }

    /// The next hole for which to ask the primary. Each is told once until it failed again, and never sooner than its wait
    /// allows.
    pub fn next_due(&mut self, now: Now) -> Option<Hole> {
        let due = |piece: &Piece| !piece.healing.asked && piece.healing.due <= now;
        let (&(volume, start), piece) = self.pieces.iter_mut().find(|(_, piece)| due(piece))?;
        piece.healing.asked = true;
        piece.healing.due = now.saturating_add(self.config.wait.before(piece.healing.attempts));
        Some(Hole { volume, range: ByteRange::new(start, piece.end - start), reason: piece.healing.reason })
    }

    /// When the next hole is due; `None` while all are asked for, or there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        self.pieces.values().filter(|piece| !piece.healing.asked).map(|piece| piece.healing.due).min()
    }

    /// The primary is gone: whatever it was asked for is asked for again.
    pub fn disconnected(&mut self) {
        self.pieces.values_mut().for_each(|piece| piece.healing.asked = false);
    }

    /// The device state of a volume was brought to the primary's.
    pub fn state_healed(&mut self, volume: VolumeIndex) {
        self.device_state.remove(&volume);
    }

    /// Whether content is out of sync.
    #[must_use]
    pub fn has_holes(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Number of pieces.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes out of sync.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().fold(0, |sum: u64, (&(_, start), piece)| sum.saturating_add(piece.end - start))
    }

    /// Bytes that were out of sync once and healed.
    #[must_use]
    pub fn healed_bytes(&self) -> u64 {
        self.healed_bytes
    }

    /// The holes in order, each with the attempts to heal it that failed.
    pub fn iter(&self) -> impl Iterator<Item = (Hole, u32)> {
        self.pieces.iter().map(|(&(volume, start), piece)| {
            let range = ByteRange::new(start, piece.end - start);
            (Hole { volume, range, reason: piece.healing.reason }, piece.healing.attempts)
        })
    }

    /// Volumes whose device state differs.
    pub fn state_differs(&self) -> impl Iterator<Item = VolumeIndex> {
        self.device_state.iter().copied()
    }

    fn size(&self, volume: VolumeIndex) -> u64 {
        self.sizes.get(usize::from(volume.0)).copied().unwrap_or(u64::MAX)
    }

    /// Makes a piece end at `at`, if one reaches over it.
    fn split(&mut self, volume: VolumeIndex, at: u64) {
        let Some((key, piece)) = self.pieces.range_mut(..(volume, at)).next_back() else { return };
        if key.0 == volume && at < piece.end {
            let behind = *piece;
            piece.end = at;
            self.pieces.insert((volume, at), behind);
        }
    }

    /// Joins pieces that touch each other, at or between these places, and are alike.
    fn join(&mut self, volume: VolumeIndex, start: u64, end: u64) {
        let before = self.pieces.range(..(volume, start)).next_back().map_or((volume, start), |(key, _)| *key);
        let keys: Vec<_> = self.pieces.range(before..=(volume, end)).map(|(key, _)| *key).collect();
        let mut last = before;
        for key in keys.into_iter().skip_while(|key| *key <= before) {
            let pair = self.pieces.get(&last).copied().zip(self.pieces.get(&key).copied());
            let alike = pair.filter(|(a, b)| last.0 == key.0 && a.end == key.1 && a.healing == b.healing);
            if let (Some((_, behind)), Some(piece)) = (alike, self.pieces.get_mut(&last)) {
                piece.end = behind.end;
                self.pieces.remove(&key);
            } else {
                last = key;
            }
        }
    }

    /// Rounds outward, farther and farther, until there are few enough; half of the limit, so that this is seldom.
    fn bound(&mut self) {
        if self.pieces.len() <= self.config.max_pieces {
            return;
        }
        let mut grain = self.config.region_size.max(1);
        loop {
            self.round(grain);
            if self.pieces.len() <= self.config.max_pieces / 2 || grain == u64::MAX {
                return;
            }
            grain = grain.saturating_mul(2);
        }
    }

    /// What a piece takes in may have been sent already: it is asked for again.
    fn round(&mut self, grain: u64) {
        for ((volume, start), mut piece) in core::mem::take(&mut self.pieces) {
            piece.healing.asked = false;
            let start = start - start % grain;
            let end = piece.end.checked_next_multiple_of(grain).unwrap_or(u64::MAX).min(self.size(volume));
            match self.pieces.last_entry() {
                Some(mut last) if last.key().0 == volume && start <= last.get().end => {
                    let last = last.get_mut();
                    last.end = last.end.max(end);
                    last.healing.join(&piece.healing);
                }
                _ => drop(self.pieces.insert((volume, start), Piece { end, ..piece })),
            }
        }
    }
}

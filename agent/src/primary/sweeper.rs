//! Finding commands that ended unseen on a disk that has fallen silent.
//!
//! A completion that the probe could not see is noticed when the request is used again. On an idle disk that may take
//! long, so the agent looks: when the disk itself has nothing in flight, what the table still holds from before has
//! ended.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use formats::{ByteRange, VolumeIndex};
use probe_types::{EPOCH_SLOTS, InFlight, TABLE_BUCKETS, TABLE_WAYS, state};

use crate::probe::Probe;

/// Younger commands are left alone: the disk's own counter is updated a moment later than the table.
const MIN_AGE: Duration = Duration::from_millis(500);
/// Word of `in_flight` in `Order`.
const ORDER_IN_FLIGHT: usize = 1;
/// First word of `ended` in `CpuCounters`.
const COUNTERS_ENDED: usize = 1 + EPOCH_SLOTS as usize;

/// A command that has ended unseen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unseen {
    /// Its issue.
    pub(crate) issue: u64,
    /// Its epoch.
    pub(crate) epoch: u32,
    /// Its volume.
    pub(crate) volume: VolumeIndex,
    /// What it may have changed.
    pub(crate) range: ByteRange,
}

/// A place of the table and the command that was seen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    place: usize,
    key: u64,
    issue: u64,
}

/// The sweeper. It only takes what it has seen before, unchanged: a place may just have been taken, with the command of
/// its last user still in it.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    last: Vec<Seen>,
}

impl Sweeper {
    /// Takes commands out of the table that cannot be in flight any more. `filtered` says whether the probe has a filter,
    /// `inflight` where sysfs counts what the disk of each volume has in flight.
    pub(crate) fn sweep<'a>(
        &mut self,
        probe: &Probe,
        filtered: bool,
        inflight: impl Iterator<Item = &'a Path>,
    ) -> Vec<Unseen> {
        // What is filtered is in the table, and not counted.
        if !filtered && in_flight(probe) == 0 {
            self.last.clear();
            return Vec::new();
        }
        let found = old_commands(probe);
        let twice: Vec<_> = found.iter().filter(|(seen, _)| self.last.contains(seen)).copied().collect();
        self.last = found.into_iter().map(|(seen, _)| seen).collect();
        // After the candidates were seen: what the disk has not in flight now has ended.
        let idle: Vec<bool> = inflight.map(nothing_in_flight).collect();
        let ended = twice.into_iter().filter(|(_, command)| idle.get(usize::from(command.volume)) == Some(&true));
        ended.filter_map(|(seen, command)| take(probe, seen, &command)).collect()
    }
}

/// Commands that the probe has seen begin and not end, but for those that its filter keeps out.
pub(crate) fn in_flight(probe: &Probe) -> u64 {
    probe.order.word(0, ORDER_IN_FLIGHT).load(Ordering::Acquire)
}

/// What has been in the table for a while.
fn old_commands(probe: &Probe) -> Vec<(Seen, InFlight)> {
    let now = monotonic_ns();
    let places = (0..(TABLE_BUCKETS * TABLE_WAYS) as usize).filter_map(|place| {
        let key = key_of(probe, place).load(Ordering::Acquire);
        (key != 0).then(|| (place, key, probe.commands.read(place)))
    });
    places
        .filter(|(_, _, command)| now.saturating_sub(command.issued_ns) > MIN_AGE.as_nanos() as u64)
        .filter(|(_, _, command)| command.state & state::SELFTEST == 0)
        .map(|(place, key, command)| (Seen { place, key, issue: command.issue }, command))
        .collect()
}

fn key_of(probe: &Probe, place: usize) -> &AtomicU64 {
    probe.keys.word(place / TABLE_WAYS as usize, place % TABLE_WAYS as usize)
}

/// Takes one command out, if it is still the same.
fn take(probe: &Probe, seen: Seen, command: &InFlight) -> Option<Unseen> {
    if probe.commands.read(seen.place).issue != seen.issue {
        return None;
    }
    let key = key_of(probe, seen.place);
    key.compare_exchange(seen.key, 0, Ordering::AcqRel, Ordering::Relaxed).ok()?;
    if command.state & state::FILTERED != 0 {
        // Nobody counted it when it began, and nobody waits for it.
        return None;
    }
    probe.order.word(0, ORDER_IN_FLIGHT).fetch_sub(1, Ordering::Relaxed);
    let slot = (command.epoch % EPOCH_SLOTS) as usize;
    probe.counters.word(0, COUNTERS_ENDED + slot).fetch_add(1, Ordering::Relaxed);
    Some(Unseen {
        issue: command.issue,
        epoch: command.epoch,
        volume: VolumeIndex(command.volume),
        range: ByteRange::new(command.offset, command.remaining),
    })
}

/// Whether the disk has neither reads nor writes in flight (Documentation/ABI/stable/sysfs-block, `inflight`).
fn nothing_in_flight(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().all(|count| count == "0"))
}

/// The kernel's monotonic clock.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! Finding commands that ended unseen on a disk that has fallen silent.
//!
//! A completion that the probe could not see is noticed when the request is used again. On an idle disk that may take
//! long, so the agent looks: when the disk itself has nothing in flight, what the table still holds from before has
//! ended.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aya::maps::{HashMap, Map};
use formats::{ByteRange, VolumeIndex};
use probe_types::{EPOCH_SLOTS, InFlight, state};

use super::core::Core;
use crate::probe::ProbeError;
use crate::probe::shared::Plain;

/// Younger commands are left alone: the disk's own counter is updated a moment later than the table.
const MIN_AGE: Duration = Duration::from_millis(500);
/// Word of `in_flight` in `Order`.
const ORDER_IN_FLIGHT: usize = 1;
/// First word of `ended` in `CpuCounters`.
const COUNTERS_ENDED: usize = 1 + EPOCH_SLOTS as usize;

/// A command that has ended unseen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unseen {
    /// Its issue.
    pub(super) issue: u64,
    /// Its epoch.
    pub(super) epoch: u32,
    /// Its volume.
    pub(super) volume: VolumeIndex,
    /// What it may have changed.
    pub(super) range: ByteRange,
}

/// Takes commands out of the table that cannot be in flight any more.
///
/// # Errors
/// When the table cannot be read.
pub(super) fn sweep(core: &Core) -> Result<Vec<Unseen>, ProbeError> {
    if core.probe.order.word(0, ORDER_IN_FLIGHT).load(Ordering::Relaxed) == 0 {
        return Ok(Vec::new());
    }
    let map = core.probe.in_flight()?;
    let mut table: HashMap<_, u64, Plain<InFlight>> =
        HashMap::try_from(Map::HashMap(map)).map_err(|error| ProbeError::Refused(Box::new(error)))?;
    let now = monotonic_ns();
    let old = |command: &InFlight| now.saturating_sub(command.issued_ns) > MIN_AGE.as_nanos() as u64;
    let candidates: Vec<(u64, InFlight)> = table
        .iter()
        .filter_map(Result::ok)
        .map(|(key, command)| (key, command.0))
        .filter(|(_, command)| old(command) && command.state & state::SELFTEST == 0)
        .collect();
    // After the candidates were taken: what the disk has not in flight now has ended.
    let idle: Vec<bool> = core.volumes.iter().map(|volume| nothing_in_flight(&volume.inflight)).collect();
    let ended = candidates.into_iter().filter(|(_, command)| idle.get(usize::from(command.volume)) == Some(&true));
    Ok(ended.filter_map(|(key, command)| take(core, &mut table, key, &command)).collect())
}

/// Takes one command out, if it is still the same.
fn take(
    core: &Core,
    table: &mut HashMap<aya::maps::MapData, u64, Plain<InFlight>>,
    key: u64,
    command: &InFlight,
) -> Option<Unseen> {
    if table.get(&key, 0).ok()?.0.issue != command.issue {
        return None;
    }
    table.remove(&key).ok()?;
    core.probe.order.word(0, ORDER_IN_FLIGHT).fetch_sub(1, Ordering::Relaxed);
    let slot = (command.epoch % EPOCH_SLOTS) as usize;
    core.probe.counters.word(0, COUNTERS_ENDED + slot).fetch_add(1, Ordering::Relaxed);
    Some(Unseen {
        issue: command.issue,
        epoch: command.epoch,
        volume: VolumeIndex(command.volume),
        range: ByteRange::new(command.offset, command.remaining),
    })
}

/// Whether the disk has neither reads nor writes in flight (Documentation/ABI/stable/sysfs-block, `inflight`).
fn nothing_in_flight(path: &std::path::Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().all(|count| count == "0"))
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! What an agent says of itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use formats::Seq;
use formats::scsi::opcode::{Class, rows};
use formats::wire::DataState;
use replication::primary::{Mode, PrimaryStatus};
use serde::Serialize;

use crate::capture::Shared;
use crate::capture::assembler::AssemblerCounters;
use crate::primary::core::Core;
use crate::secondary_status::{SecondaryStatus, Summary};

/// An agent at one moment. Sizes in bytes, times in seconds.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // Each field's name says what it counts; `docs/status.md` lists them.
pub struct AgentStatus {
    pub group: String,
    pub stream: String,
    /// Addresses of the secondaries.
    pub to: String,
    pub devices: Vec<String>,
    /// The word for all of it: `Connected`, `Partial`, `SyncSource`, `Disconnected`, `Behind` or `Failed`. Of several
    /// secondaries the worst; so are the positions, lags and words below. Bytes and counters are sums.
    pub state: String,
    pub peer: String,
    pub connected: bool,
    pub link_error: Option<String>,
    pub failure: Option<String>,
    pub device_problem: Option<String>,
    pub picked_up_pinned_probe: bool,
    pub completions: u64,
    pub records: u64,
    pub payload_bytes: u64,
    pub position: u64,
    pub sent: u64,
    pub received: u64,
    pub durable: u64,
    pub applied: u64,
    pub lag_entries: u64,
    pub lag_seconds: f64,
    pub in_flight_bytes: u64,
    pub queued_bytes: u64,
    pub journal_used: u64,
    pub journal_total: u64,
    pub dirty_bytes: u64,
    pub resynced_bytes: u64,
    pub full_syncs: u64,
    pub overflows: u64,
    pub holes: u64,
    pub unread_regions: u64,
    pub sessions: u64,
    pub disconnects: u64,
    pub bytes_sent: u64,
    pub losses: Losses,
    /// The filter, in words; empty where there is none.
    pub filter: String,
    pub filtered: Filtered,
    pub reads_seen: u64,
    pub read_bytes_seen: u64,
    pub passthrough_reads: u64,
    pub passthrough_read_bytes: u64,
    /// The same by command: the names that the standard gives its operation code.
    pub passthrough_reads_by_opcode: BTreeMap<String, u64>,
    pub requeued: u64,
    pub partial_completions: u64,
    pub failed_commands: u64,
    pub opaque_commands: u64,
    pub overlaps: u64,
    pub generations: u64,
    pub epochs_cleared: u64,
    pub takeovers: u64,
    /// Each secondary.
    pub secondaries: Vec<SecondaryStatus>,
}

/// Changes that the filter keeps out, by the first reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct Filtered {
    pub range: u64,
    /// Operation, operation code or class.
    pub operation: u64,
    /// Task name or process id.
    pub process: u64,
    pub cgroup: u64,
}

/// What did not come the ordinary way, by reason. All of it is covered by a dirty map and read back.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs)] // As above.
pub struct Losses {
    /// Completions that the ring had no room for: the sum that `lost` means.
    pub completions: u64,
    pub payloads: u64,
    pub payloads_missing: u64,
    pub payloads_shed: u64,
    pub table_full: u64,
    pub unseen: u64,
    pub untracked: u64,
    pub unreadable: u64,
    pub straddling: u64,
    pub uncarried: u64,
    pub malformed: u64,
    pub late: u64,
    pub repeated: u64,
    pub gaps: u64,
    pub gap_completions: u64,
    pub skipped_runs: u64,
}

/// What `detach` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetachReport {
    /// The group.
    pub group: String,
    /// Whether there was a probe.
    pub removed: bool,
}

/// What `drain` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrainReport {
    /// The last completion that was waited for.
    pub seq: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What `wait-sync` waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitReport {
    /// The last completion that was waited for.
    pub seq: u64,
    /// How long it took.
    pub seconds: f64,
    /// Names of the standbys that hold it.
    pub standbys: Vec<String>,
}

/// Collects everything.
pub(crate) fn gather(core: &Core, capture: &Shared, picked_up: bool) -> AgentStatus {
    let secondaries: Vec<SecondaryStatus> =
        (0..core.links.len()).map(|place| SecondaryStatus::of(core, place)).collect();
    let all = Summary::of(&secondaries);
    let log = &core.log;
    let failure = log.failure.lock().ok().and_then(|failure| failure.clone());
    let device_problem = core.device_problem.lock().ok().and_then(|problem| problem.clone());
    let failed = failure.is_some() || device_problem.as_ref().is_some_and(|problem| problem.lost);
    let kernel = core.probe.sum_counters();
    let sum = |of: fn(&SecondaryStatus) -> u64| secondaries.iter().map(of).sum::<u64>();
    AgentStatus {
        group: core.group_name.clone(),
        stream: core.stream.to_string(),
        to: core.links.iter().map(|link| link.address.as_str()).collect::<Vec<_>>().join(", "),
        devices: core.volumes.iter().map(|volume| volume.path.display().to_string()).collect(),
        state: if failed { "Failed".to_owned() } else { all.state },
        peer: all.peer,
        connected: all.connected,
        link_error: all.link_error,
        failure,
        device_problem: device_problem.map(|problem| problem.text),
        picked_up_pinned_probe: picked_up,
        completions: core.kernel_seq().0,
        records: get(&capture.records),
        payload_bytes: get(&capture.payload_bytes),
        position: core.group().end().0,
        sent: all.sent,
        received: all.received,
        durable: all.durable,
        applied: all.applied,
        lag_entries: all.lag_entries,
        lag_seconds: all.lag_seconds,
        in_flight_bytes: sum(|one| one.in_flight_bytes),
        queued_bytes: get(&capture.queued_bytes),
        journal_used: get(&log.journal_used),
        journal_total: get(&log.journal_total),
        dirty_bytes: sum(|one| one.dirty_bytes),
        resynced_bytes: sum(|one| one.resynced_bytes),
        full_syncs: sum(|one| one.full_syncs),
        overflows: sum(|one| one.overflows),
        holes: sum(|one| one.holes),
        unread_regions: sum(|one| one.unread_regions),
        sessions: sum(|one| one.sessions),
        disconnects: sum(|one| one.disconnects),
        bytes_sent: sum(|one| one.bytes_sent),
        losses: losses(core, capture),
        filter: core.filter.clone(),
        filtered: Filtered {
            range: kernel.filtered_range,
            operation: kernel.filtered_operation,
            process: kernel.filtered_process,
            cgroup: kernel.filtered_cgroup,
        },
        reads_seen: kernel.reads,
        read_bytes_seen: kernel.read_bytes,
        passthrough_reads: kernel.passthrough_reads,
        passthrough_read_bytes: kernel.passthrough_read_bytes,
        passthrough_reads_by_opcode: by_name(core.probe.passthrough_reads()),
        requeued: kernel.requeued,
        partial_completions: kernel.partial,
        failed_commands: get(&log.failed),
        opaque_commands: get(&log.opaque),
        overlaps: get(&log.overlaps),
        generations: get(&log.generations),
        epochs_cleared: get(&log.epochs_cleared),
        takeovers: get(&log.takeovers),
        secondaries,
    }
}

/// Commands that share an operation code share a line.
fn by_name(counts: Vec<(u8, u64)>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(code, count)| (opcode_name(code), count)).collect()
}

fn opcode_name(code: u8) -> String {
    let mut names: Vec<&str> =
        rows().filter(|row| row.opcode == code && row.class == Class::Read).map(|row| row.name).collect();
    names.dedup();
    if names.is_empty() { format!("{code:#04x}") } else { names.join(" / ") }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn losses(core: &Core, capture: &Shared) -> Losses {
    let kernel = core.probe.sum_counters();
    let assembler: AssemblerCounters = capture.assembler.lock().map(|counters| *counters).unwrap_or_default();
    Losses {
        completions: kernel.lost_completions,
        payloads: kernel.lost_payloads,
        payloads_missing: assembler.payload_missing,
        payloads_shed: assembler.payload_shed,
        table_full: kernel.lost_table,
        unseen: kernel.unseen + get(&core.log.swept),
        untracked: kernel.untracked,
        unreadable: kernel.unreadable,
        straddling: kernel.straddling,
        uncarried: kernel.uncarried,
        malformed: assembler.malformed,
        late: get(&capture.late),
        repeated: get(&capture.repeated),
        gaps: get(&core.log.gaps),
        gap_completions: get(&core.log.gap_completions),
        skipped_runs: core.probe.unseen_issues(),
    }
}

/// Decides when a drain is done.
pub(crate) struct DrainWait {
    target: Seq,
    /// When no command was in flight, or the sweeper has had time to find those that ended unseen.
    settled: Option<Instant>,
    start: Instant,
}

/// The sweeper looks at commands older than half a second, four times a second.
const SWEEPS: std::time::Duration = std::time::Duration::from_millis(1200);

impl DrainWait {
    pub(crate) fn new(target: Seq) -> Self {
        Self { target, settled: None, start: Instant::now() }
    }

    /// What is still missing; none when it is done.
    pub(crate) fn missing(&mut self, core: &Core) -> Option<String> {
        let in_flight = core.probe.order.word(0, 1).load(Ordering::Acquire);
        if self.settled.is_none() {
            if in_flight != 0 && self.start.elapsed() < SWEEPS {
                return Some(format!("{in_flight} commands are in flight on the device"));
            }
            self.settled = Some(Instant::now());
        }
        let failure = core.log.failure.lock().ok().and_then(|failure| failure.clone());
        let now = core.now();
        let missing = |place: usize| {
            let status = core.engine(place).status(now);
            missing(self.target, &status).map(|why| format!("{}: {why}", core.links[place].name))
        };
        failure.or_else(|| (0..core.links.len()).find_map(missing))
    }
}

fn missing(target: Seq, status: &PrimaryStatus) -> Option<String> {
    if !status.connected {
        return Some("the standby is not connected".into());
    }
    if status.journal_seq < target {
        return Some(format!("{} of {target} completions are journalled", status.journal_seq));
    }
    if !matches!(status.mode, Mode::Ordered | Mode::Partial) || status.dirty_bytes > 0 {
        return Some(format!("{} KiB are to be resynced", status.dirty_bytes >> 10));
    }
    if status.applied < status.journal_end {
        return Some(format!("{} of {} entries are applied", status.applied, status.journal_end));
    }
    (status.mode != Mode::Partial && status.peer_data != DataState::Consistent)
        .then(|| "the standby is not consistent yet".into())
}

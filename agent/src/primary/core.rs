//! What the threads of one primary share.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use formats::wire::VolumeIdentity;
use formats::{Seq, StreamId};
use replication::group::{Group, MemberId};
use replication::primary::Primary;
use replication::scope::Scope;
use tokio::sync::Notify;

use super::regions::Volumes;
use crate::probe::Probe;
use crate::secondaries::{Secondary, SyncMode};
use crate::setup::Observed;

/// One observed volume, as the threads need it.
#[derive(Debug, Clone)]
pub struct VolumeInfo {
    /// Name, size and block size, as told to the standby.
    pub identity: VolumeIdentity,
    /// The device's path.
    pub path: std::path::PathBuf,
    /// Where sysfs counts the commands that its disk has in flight.
    pub inflight: std::path::PathBuf,
    /// Where sysfs tells its size, in sectors.
    pub size: std::path::PathBuf,
    /// Where sysfs tells the number that the kernel gave its disk, and that number when it was attached; none before
    /// Linux 5.15.
    pub diskseq: Option<(std::path::PathBuf, u64)>,
    /// Whether it could not be written when it was attached.
    pub read_only: bool,
}

/// What has become of observed devices: removed, replaced, resized, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProblem {
    /// What happened and what to do, for people.
    pub text: String,
    /// Whether nothing of one of them is replicated any more.
    pub lost: bool,
}

/// What the threads share of one link.
pub struct LinkState {
    /// The secondary, which stays as long as the agent.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// Whether `wait-sync` waits for it.
    pub mode: SyncMode,
    /// Woken when there may be something to send.
    pub wake: Notify,
    /// The last thing that went wrong, for people.
    pub error: Mutex<Option<String>>,
}

/// One secondary's engine, while the group is locked.
pub struct Engine<'a> {
    group: MutexGuard<'a, Group>,
    place: usize,
}

impl Deref for Engine<'_> {
    type Target = Primary;

    fn deref(&self) -> &Primary {
        self.group.members()[self.place].engine()
    }
}

impl DerefMut for Engine<'_> {
    fn deref_mut(&mut self) -> &mut Primary {
        self.group.engine_at(self.place).expect("the members of an agent stay as long as it runs")
    }
}

/// Shared state. The engines' lock is held for decisions only, never during I/O.
pub struct Core {
    /// The engines of the secondaries.
    group: Mutex<Group>,
    /// Their links, in the order of the group.
    pub links: Vec<LinkState>,
    /// The probe.
    pub probe: Arc<Probe>,
    /// For reading regions back.
    pub readers: Volumes,
    /// The volumes, by index.
    pub volumes: Vec<VolumeInfo>,
    /// The stream of this probe.
    pub stream: StreamId,
    /// The group's name.
    pub group_name: String,
    /// Bytes per region.
    pub region_bytes: u32,
    /// What of the volumes is replicated.
    pub scope: Scope,
    /// The filter, in words; empty where there is none.
    pub filter: String,
    /// Set when everything ends.
    pub stop: AtomicBool,
    /// Set when nothing more can be shipped, ever; `log.failure` says why.
    ended: AtomicBool,
    /// Numbers of the log thread.
    pub log: LogCounters,
    /// What is wrong with the observed devices now.
    pub device_problem: Mutex<Option<DeviceProblem>>,
    start: Instant,
    /// The claims on the devices.
    _observed: Observed,
}

/// Numbers that the log thread keeps for `status`.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Bytes of the journal in use.
    pub journal_used: AtomicU64,
    /// Bytes of the journal.
    pub journal_total: AtomicU64,
    /// Last journal position that survives a power cut.
    pub journal_durable: AtomicU64,
    /// Gaps: stretches of completions that were lost.
    pub gaps: AtomicU64,
    /// Completions in them.
    pub gap_completions: AtomicU64,
    /// Times that the kernel's dirty map was taken over.
    pub takeovers: AtomicU64,
    /// Commands found to have ended unseen by looking at the disk.
    pub swept: AtomicU64,
    /// Commands whose effect is not known at the block layer.
    pub opaque: AtomicU64,
    /// Commands that overlapped another one while both were in flight.
    pub overlaps: AtomicU64,
    /// Generations: runs of commands that were in flight together, and may be applied in any order.
    pub generations: AtomicU64,
    /// Commands that failed on the device.
    pub failed: AtomicU64,
    /// Epochs of the kernel's dirty map that were cleared.
    pub epochs_cleared: AtomicU64,
    /// Set when the journal is of no more use, with the reason.
    pub failure: Mutex<Option<String>>,
}

impl LogCounters {
    /// Adds `n` to one of the counters.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// What [`Core::new`] is made of.
pub struct CoreParts {
    /// The engines, in the order of their secondaries.
    pub group: Group,
    /// The secondaries.
    pub secondaries: Vec<Secondary>,
    /// The probe.
    pub probe: Arc<Probe>,
    /// The volumes.
    pub volumes: Vec<VolumeInfo>,
    /// Their readers.
    pub readers: Volumes,
    /// The stream.
    pub stream: StreamId,
    /// The group's name.
    pub group_name: String,
    /// Bytes per region.
    pub region_bytes: u32,
    /// What of the volumes is replicated.
    pub scope: Scope,
    /// The filter, in words.
    pub filter: String,
    /// The claims on the devices.
    pub(crate) observed: Observed,
}

impl Core {
    /// Puts the parts together; the engine's clock starts now.
    #[must_use]
    pub fn new(parts: CoreParts) -> Arc<Self> {
        let links = parts.group.members().iter().zip(parts.secondaries);
        let links = links.map(|(member, secondary)| LinkState {
            member: member.id(),
            name: member.name().to_owned(),
            address: secondary.address,
            mode: secondary.mode,
            wake: Notify::new(),
            error: Mutex::new(None),
        });
        Arc::new(Self {
            links: links.collect(),
            group: Mutex::new(parts.group),
            probe: parts.probe,
            readers: parts.readers,
            volumes: parts.volumes,
            stream: parts.stream,
            group_name: parts.group_name,
            region_bytes: parts.region_bytes,
            scope: parts.scope,
            filter: parts.filter,
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            log: LogCounters::default(),
            device_problem: Mutex::new(None),
            start: Instant::now(),
            _observed: parts.observed,
        })
    }

    /// The engine's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The engines. A thread that panicked while it decided leaves a state that nobody may trust, so its lock is passed
    /// on with the panic.
    pub fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().expect("a thread panicked while it held the engines")
    }

    /// The engine of the secondary at this place of [`Core::links`].
    pub fn engine(&self, place: usize) -> Engine<'_> {
        Engine { group: self.group(), place }
    }

    /// Wakes all links: there may be something to send.
    pub fn wake_links(&self) {
        self.links.iter().for_each(|link| link.wake.notify_one());
    }

    /// Last completion that the kernel has numbered.
    #[must_use]
    pub fn kernel_seq(&self) -> Seq {
        Seq(self.probe.order.word(0, 0).load(Ordering::Acquire))
    }

    /// Ends shipping for good, visibly.
    pub fn end_shipping(&self, why: &str) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            tracing::error!("{why}");
        }
        if let Ok(mut failure) = self.log.failure.lock() {
            failure.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Whether nothing more is shipped, ever.
    #[must_use]
    pub fn shipping_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether everything is to end.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

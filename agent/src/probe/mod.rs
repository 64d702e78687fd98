//! The probe in the kernel, seen from the agent: load, attach, pin, pick up again, take away.
//!
//! ```text
//!            load                    drop                     open
//!  (nothing) ─────► loaded, pinned ──────────► pinned only ─────────► loaded, pinned
//!                          │                       │
//!                          └──── remove ───────────┴────► (nothing)
//! ```
//! Maps and links are pinned under one directory of bpffs per group, so dirty bits go on being set while no agent runs.

pub mod filter;
pub mod layout;
pub mod ops;
mod pins;
pub mod ring;
pub mod scsi;
pub mod shared;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use aya::maps::{Array, HashMap, Map};
use aya::programs::RawTracePoint;
use aya::programs::links::FdLink;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use formats::scsi::DeviceType;
use probe_types::{
    CpuCounters, EPOCH_SLOTS, InFlight, Layout, MAX_VOLUMES, OpcodeRule, Order, TABLE_BUCKETS, TABLE_WAYS, UnitKey,
    Volume,
};

use self::pins::Pins;
use self::ring::Ring;
use self::shared::{Plain, SharedArray};

/// The probe's object, built by this package's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probe"));

/// Programs of request-based devices; each is named after its tracepoint. They also learn where pages lie, so they run
/// always. Completions first: a command seen at issue must not complete unseen.
const REQUEST_PROGRAMS: [&str; 3] = ["block_rq_complete", "block_rq_requeue", "block_rq_issue"];
/// Programs of bio-based devices.
const BIO_PROGRAMS: [&str; 2] = ["block_bio_complete", "block_bio_queue"];
/// Programs that see how SCSI commands end.
const SCSI_PROGRAMS: [&str; 2] = ["scsi_dispatch_cmd_done", "scsi_dispatch_cmd_timeout"];
/// Programs that see commands come.
const ISSUE_PROGRAMS: [&str; 2] = ["block_rq_issue", "block_bio_queue"];
/// Maps that outlive the agent.
const PINNED_MAPS: [&str; 10] =
    ["RING", "ORDER", "COUNTERS", "DIRTY", "WHOLE", "KNOWN", "KEYS", "COMMANDS", "READS", "FILTERS"];

/// What to observe.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// Volumes, those of one disk side by side in the order of their start. Word positions are filled in here.
    pub volumes: Vec<Volume>,
    /// Bytes of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// The kernel's layout; `words_per_slot`, `volumes` and `filtering` are filled in here.
    pub layout: Layout,
    /// What is let through; without any rule the probe never looks at it.
    pub filter: probe_types::filter::Filter,
    /// The tape that is the only volume, if one is: it has no disk to be told by.
    pub tape: Option<UnitKey>,
}

/// Why the probe does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel refused the object.
    #[error("the kernel refused the probe: {0:#}; `blkecho doctor` tells what this kernel lacks")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A pin could not be made, opened or removed.
    #[error("{action} {path}: {source}; is bpffs mounted there (mount -t bpf bpf /sys/fs/bpf)?")]
    Pin {
        /// What was tried.
        action: &'static str,
        /// Which pin.
        path: PathBuf,
        /// The system's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The pinned probe observes something else.
    #[error("a probe pinned at {0} observes other volumes or was made by another version: run `blkecho detach` first")]
    Other(PathBuf),
    /// The object lacks a part: a build that does not fit this agent.
    #[error("the probe's object lacks {0}: rebuild blkecho")]
    Incomplete(&'static str),
    /// A probe without a filter cannot be given one.
    #[error("the running probe was loaded without a filter and does not look for one: detach, and attach with one")]
    Unfiltered,
    /// Mapping the probe's memory failed.
    #[error("mapping the probe's memory: {0}")]
    Memory(#[from] rustix::io::Errno),
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> ProbeError {
    ProbeError::Refused(Box::new(error))
}

/// The running probe. Dropping it leaves it running, pinned.
pub struct Probe {
    pins: Pins,
    /// The ring; taken by the capture thread.
    pub ring: Option<Ring>,
    /// The shared order block, one element.
    pub order: SharedArray<Order>,
    /// Counters, one element per CPU.
    pub counters: SharedArray<CpuCounters>,
    /// Dirty words: slot after slot.
    pub dirty: SharedArray<u64>,
    /// Flags of volumes touched as a whole: slot after slot.
    pub whole: SharedArray<u64>,
    /// Addresses of commands in flight, in groups; 0 is a free place.
    pub keys: SharedArray<[u64; TABLE_WAYS as usize]>,
    /// The commands at these places.
    pub commands: SharedArray<InFlight>,
    /// Commands of programs that changed nothing, by operation code.
    pub reads: SharedArray<u64>,
    /// Words per slot of `dirty`.
    pub words_per_slot: u32,
    /// Whether it looks at a filter.
    filtering: bool,
}

/// Index of `last_object` among the 64-bit words of `Order`.
const ORDER_LAST_OBJECT: usize = 12;
/// Index of `filter` among them.
const ORDER_FILTER: usize = 2;
/// Index of `addresses_only` among its 32-bit words.
const ORDER_ADDRESSES_ONLY: usize = 18;

impl Probe {
    /// Loads, attaches and pins a new probe for `spec` under `pin_dir`.
    ///
    /// # Errors
    /// Names the step that failed. Nothing stays pinned then.
    pub fn load(spec: &mut ProbeSpec, pin_dir: &Path) -> Result<Self, ProbeError> {
        place_words(spec);
        let mut ebpf = load_object(spec)?;
        fill_volumes(&mut ebpf, &spec.volumes)?;
        fill_filter(&mut ebpf, &spec.filter)?;
        fill_units(&mut ebpf, spec.tape)?;
        fill_opcodes(&mut ebpf, spec.tape)?;
        let pins = Pins::create(pin_dir)?;
        let result = attach_and_pin(&mut ebpf, &pins, spec).and_then(|()| Self::open_pins(pins, spec));
        if result.is_err() {
            let _ = pins::remove(pin_dir);
        }
        result
    }

    /// Picks up the probe pinned under `pin_dir`, if there is one.
    ///
    /// # Errors
    /// [`ProbeError::Other`] if it observes something else.
    pub fn open(spec: &mut ProbeSpec, pin_dir: &Path) -> Result<Option<Self>, ProbeError> {
        place_words(spec);
        match Pins::existing(pin_dir, &all_pins(spec))? {
            Some(pins) => Self::open_pins(pins, spec).map(Some),
            None => Ok(None),
        }
    }

    fn open_pins(pins: Pins, spec: &ProbeSpec) -> Result<Self, ProbeError> {
        let words_per_slot = spec.layout.words_per_slot;
        Ok(Self {
            ring: Some(pins.ring("RING")?),
            order: pins.shared("ORDER", 1)?,
            counters: pins.shared("COUNTERS", cpus())?,
            dirty: pins.shared("DIRTY", (words_per_slot * EPOCH_SLOTS) as usize)?,
            whole: pins.shared("WHOLE", (MAX_VOLUMES * EPOCH_SLOTS) as usize)?,
            keys: pins.shared("KEYS", TABLE_BUCKETS as usize)?,
            commands: pins.shared("COMMANDS", (TABLE_BUCKETS * TABLE_WAYS) as usize)?,
            reads: pins.shared("READS", 256)?,
            words_per_slot,
            filtering: spec.layout.filtering != 0,
            pins,
        })
    }

    /// Forgets which queues are observed and which are not; the probe finds out again at the next command. Needed when
    /// a disk may have come or gone: the kernel reuses addresses.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn forget_queues(&self) -> Result<(), ProbeError> {
        let map = self.pins.map("KNOWN")?;
        let mut known: HashMap<_, u64, u32> = HashMap::try_from(Map::HashMap(map)).map_err(refused)?;
        let keys: Vec<u64> = known.keys().filter_map(Result::ok).collect();
        keys.iter().for_each(|key| drop(known.remove(key)));
        self.order.word(0, ORDER_LAST_OBJECT).store(0, Ordering::Release);
        Ok(())
    }

    /// Puts another filter in force, at once for commands issued from now on. A filter of a stream that is replicated
    /// stays as it is: what another one lets through is another stream.
    ///
    /// # Errors
    /// [`ProbeError::Unfiltered`], or when the map cannot be written.
    pub fn set_filter(&self, filter: &probe_types::filter::Filter) -> Result<(), ProbeError> {
        if !self.filtering {
            return Err(ProbeError::Unfiltered);
        }
        let in_force = self.order.word(0, ORDER_FILTER);
        let next = 1 - (in_force.load(Ordering::Acquire) & 1);
        let mut map: Array<_, Plain<probe_types::filter::Filter>> =
            Array::try_from(Map::Array(self.pins.map("FILTERS")?)).map_err(refused)?;
        map.set(next as u32, Plain(*filter), 0).map_err(refused)?;
        in_force.store(next, Ordering::Release);
        // Nobody reads the old one any more when it is written next.
        shared::kernel_barrier();
        Ok(())
    }

    /// Commands of programs that changed nothing, by operation code.
    #[must_use]
    pub fn passthrough_reads(&self) -> Vec<(u8, u64)> {
        let counts = (0..=u8::MAX).map(|code| (code, self.reads.word(usize::from(code), 0).load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Whether payload is copied, or only addresses are carried from now on.
    pub fn set_addresses_only(&self, addresses_only: bool) {
        self.order.half_word(0, ORDER_ADDRESSES_ONLY).store(u32::from(addresses_only), Ordering::Release);
    }

    /// What the probe says in words, for the log of this process. None when it says nothing or is of another version:
    /// its counters say the same.
    #[must_use]
    pub fn diagnostics(&self) -> Option<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init_from_id(self.pins.program_id(REQUEST_PROGRAMS[2])?).ok()
    }

    /// How often an issue on any disk of the host came while its program ran on that CPU, and was skipped. On an observed
    /// disk the completion then counts as untracked, and its range is read back.
    #[must_use]
    pub fn unseen_issues(&self) -> u64 {
        self.pins.recursion_misses(&ISSUE_PROGRAMS)
    }

    /// Sum of the counters over all CPUs.
    #[must_use]
    pub fn sum_counters(&self) -> CpuCounters {
        (0..self.counters.len()).map(|cpu| self.counters.read(cpu)).fold(CpuCounters::default(), add)
    }
}

/// The links of a probe that is pinned nowhere: it observes as long as this lives, and no longer than this process.
pub struct Held {
    _links: Vec<FdLink>,
}

/// Loads and attaches a probe for `spec` that ends with this process, however that ends. `pin_dir` is there only while
/// this runs.
///
/// # Errors
/// Names the step that failed. Nothing stays in the kernel then.
pub fn load_held(spec: &mut ProbeSpec, pin_dir: &Path) -> Result<(Probe, Held), ProbeError> {
    let probe = Probe::load(spec, pin_dir)?;
    let links: Result<Vec<FdLink>, ProbeError> = programs(spec).iter().map(|name| probe.pins.link(name)).collect();
    let removed = pins::remove(pin_dir);
    removed?;
    Ok((probe, Held { _links: links? }))
}

/// Takes the probe pinned under `pin_dir` out of the kernel.
///
/// # Errors
/// Names the pin that could not be removed. Returns whether there was one.
pub fn remove(pin_dir: &Path) -> Result<bool, ProbeError> {
    pins::remove(pin_dir)
}

/// Number of CPUs that can ever run.
fn cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

fn all_pins(spec: &ProbeSpec) -> Vec<String> {
    let links = programs(spec).into_iter().map(|name| format!("link_{name}"));
    PINNED_MAPS.iter().map(|name| (*name).to_owned()).chain(links).collect()
}

fn programs(spec: &ProbeSpec) -> Vec<&'static str> {
    let bio = spec.volumes.iter().any(|volume| volume.bio_based != 0);
    let bio_programs: &[&str] = if bio { &BIO_PROGRAMS } else { &[] };
    let scsi_programs: &[&str] = if spec.layout.request_size > 0 { &SCSI_PROGRAMS } else { &[] };
    scsi_programs.iter().chain(&REQUEST_PROGRAMS).chain(bio_programs).copied().collect()
}

/// Gives each volume its words of the dirty map, one behind the other.
fn place_words(spec: &mut ProbeSpec) {
    let region_sectors = 1u64 << (spec.layout.region_shift - 9);
    let mut next = 0;
    for volume in &mut spec.volumes {
        volume.first_word = next;
        volume.words = volume.sectors.div_ceil(region_sectors).div_ceil(64) as u32;
        next += volume.words;
    }
    spec.layout.words_per_slot = next;
    spec.layout.volumes = spec.volumes.len() as u32;
    spec.layout.filtering = u32::from(spec.filter.kinds != 0);
}

fn load_object(spec: &ProbeSpec) -> Result<Ebpf, ProbeError> {
    let layout = Plain(spec.layout);
    EbpfLoader::new()
        .override_global("LAYOUT", &layout, true)
        .map_max_entries("RING", spec.ring_bytes)
        .map_max_entries("COUNTERS", cpus() as u32)
        .map_max_entries("SPACE_REQUEST", cpus() as u32)
        .map_max_entries("SPACE_BIO", cpus() as u32)
        .map_max_entries("SPACE_COMPLETE", cpus() as u32)
        .map_max_entries("SCSI", if spec.layout.request_size > 0 { TABLE_BUCKETS * TABLE_WAYS } else { 1 })
        .map_max_entries("DIRTY", spec.layout.words_per_slot * EPOCH_SLOTS)
        .load(OBJECT)
        .map_err(refused)
}

fn fill_volumes(ebpf: &mut Ebpf, volumes: &[Volume]) -> Result<(), ProbeError> {
    let map = ebpf.map_mut("VOLUMES").ok_or(ProbeError::Incomplete("VOLUMES"))?;
    let mut array: Array<_, Plain<Volume>> = Array::try_from(map).map_err(refused)?;
    for (index, volume) in volumes.iter().enumerate() {
        array.set(index as u32, Plain(*volume), 0).map_err(refused)?;
    }
    let map = ebpf.map_mut("DISKS").ok_or(ProbeError::Incomplete("DISKS"))?;
    let mut disks: HashMap<_, u32, u32> = HashMap::try_from(map).map_err(refused)?;
    // In reverse, so that the first volume of a disk is what stays.
    for (index, volume) in volumes.iter().enumerate().rev() {
        disks.insert(volume.disk_dev, index as u32 + 1, 0).map_err(refused)?;
    }
    Ok(())
}

/// A tape is the first volume.
fn fill_units(ebpf: &mut Ebpf, tape: Option<UnitKey>) -> Result<(), ProbeError> {
    let Some(tape) = tape else { return Ok(()) };
    let map = ebpf.map_mut("UNITS").ok_or(ProbeError::Incomplete("UNITS"))?;
    let mut units: HashMap<_, Plain<UnitKey>, u32> = HashMap::try_from(map).map_err(refused)?;
    units.insert(Plain(tape), 1, 0).map_err(refused)
}

fn fill_filter(ebpf: &mut Ebpf, filter: &probe_types::filter::Filter) -> Result<(), ProbeError> {
    let map = ebpf.map_mut("FILTERS").ok_or(ProbeError::Incomplete("FILTERS"))?;
    let mut filters: Array<_, Plain<probe_types::filter::Filter>> = Array::try_from(map).map_err(refused)?;
    filters.set(0, Plain(*filter), 0).map_err(refused)
}

fn fill_opcodes(ebpf: &mut Ebpf, tape: Option<UnitKey>) -> Result<(), ProbeError> {
    let device = if tape.is_some() { DeviceType::TAPE } else { DeviceType::DISK };
    let map = ebpf.map_mut("OPCODES").ok_or(ProbeError::Incomplete("OPCODES"))?;
    let mut array: Array<_, Plain<OpcodeRule>> = Array::try_from(map).map_err(refused)?;
    for (opcode, rule) in scsi::rules(device).into_iter().enumerate() {
        array.set(opcode as u32, Plain(rule), 0).map_err(refused)?;
    }
    Ok(())
}

fn attach_and_pin(ebpf: &mut Ebpf, pins: &Pins, spec: &ProbeSpec) -> Result<(), ProbeError> {
    for name in PINNED_MAPS {
        let map = ebpf.map(name).ok_or(ProbeError::Incomplete(name))?;
        map.pin(pins.path(name)).map_err(|error| pins.error("pinning", name, error))?;
    }
    for name in programs(spec) {
        let program = ebpf.program_mut(name).ok_or(ProbeError::Incomplete(name))?;
        let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
        program.load().map_err(refused)?;
        program.pin(pins.path(&format!("prog_{name}"))).map_err(|error| pins.error("pinning", name, error))?;
        let id = program.attach(name).map_err(refused)?;
        let link: FdLink = program.take_link(id).map_err(refused)?.into();
        let pin = format!("link_{name}");
        link.pin(pins.path(&pin)).map_err(|error| pins.error("pinning", &pin, error))?;
    }
    Ok(())
}

fn add(a: CpuCounters, b: CpuCounters) -> CpuCounters {
    let each = |x: [u64; EPOCH_SLOTS as usize], y: [u64; EPOCH_SLOTS as usize]| std::array::from_fn(|i| x[i] + y[i]);
    CpuCounters {
        issues: a.issues + b.issues,
        issued: each(a.issued, b.issued),
        ended: each(a.ended, b.ended),
        withdrawn: each(a.withdrawn, b.withdrawn),
        lost: each(a.lost, b.lost),
        lost_completions: a.lost_completions + b.lost_completions,
        lost_payloads: a.lost_payloads + b.lost_payloads,
        lost_table: a.lost_table + b.lost_table,
        unseen: a.unseen + b.unseen,
        untracked: a.untracked + b.untracked,
        unreadable: a.unreadable + b.unreadable,
        straddling: a.straddling + b.straddling,
        requeued: a.requeued + b.requeued,
        zero_completions: a.zero_completions + b.zero_completions,
        partial: a.partial + b.partial,
        reads: a.reads + b.reads,
        read_bytes: a.read_bytes + b.read_bytes,
        passthrough_reads: a.passthrough_reads + b.passthrough_reads,
        passthrough_read_bytes: a.passthrough_read_bytes + b.passthrough_read_bytes,
        uncarried: a.uncarried + b.uncarried,
        filtered_range: a.filtered_range + b.filtered_range,
        filtered_operation: a.filtered_operation + b.filtered_operation,
        filtered_process: a.filtered_process + b.filtered_process,
        filtered_cgroup: a.filtered_cgroup + b.filtered_cgroup,
        payload_bytes: a.payload_bytes + b.payload_bytes,
    }
}

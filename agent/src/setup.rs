//! From a configuration to a primary that is ready to run: checks, probe, self-test, journal, engine.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use formats::scsi::identity::Identity as ScsiIdentity;
use formats::wire::VolumeIdentity;
use formats::{Position, Seq, StreamId};
use journal::{Config, Journal, Reader, RealDisk};
use probe_types::{CpuCounters, UnitKey, Volume};
use replication::epochs::{EpochTracker, SLOTS};
use replication::group::Group;
use replication::primary::JournalExtent;
use replication::scope::Scope;
use tracing::{info, warn};

use crate::btf::Btf;
use crate::capture::assembler::Assembler;
use crate::capture::scsi::Unit;
use crate::capture::{Capture, CaptureConfig, Shared};
use crate::config::{AgentConfig, NamedDevice, pin_dir};
use crate::error::AgentError;
use crate::filtering;
use crate::identity::Identity;
use crate::layer::{self, Layer};
use crate::preflight::device::Mode;
use crate::preflight::{Device, Host, features, stack};
use crate::primary::core::{Core, CoreParts, VolumeInfo};
use crate::primary::kernel_map::{KernelMap, counts};
use crate::primary::regions::{VolumeReader, Volumes};
use crate::primary::{DirtyFile, Log, LogParts};
use crate::probe::filter::{Filter, Rules};
use crate::probe::ops::Ops;
use crate::probe::shared::kernel_barrier;
use crate::probe::{Probe, ProbeSpec, layout};
use crate::scsi_identity;
use crate::secondaries::{self, Source};
use crate::selftest;
use crate::tape;

/// Bytes of payload that may wait for the journal before only addresses are kept.
const MAX_QUEUED_BYTES: u64 = 48 << 20;
/// How long a hole in the numbers may stay: far longer than a CPU is kept from finishing a program.
pub(crate) const HOLE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the kernel's dirty map changes epochs; after a crash of the agent this much is read back.
const EPOCH_INTERVAL: Duration = Duration::from_secs(1);
/// On top of the RCU barrier after a switch.
const EPOCH_GRACE: Duration = Duration::from_millis(100);
/// Index of `anchor_page` among the 64-bit words of `Order`.
const ORDER_ANCHOR_PAGE: usize = 10;

/// Everything that the threads run on.
pub(crate) struct Ready {
    pub core: Arc<Core>,
    pub log: Log,
    pub reader: Reader<RealDisk>,
    pub capture: Arc<Shared>,
    pub picked_up: bool,
}

/// What is observed.
pub(crate) struct Observed {
    pub names: Vec<String>,
    pub devices: Vec<Device>,
    /// Bytes per region of the dirty map: the whole of a tape is one.
    region_bytes: u32,
    /// Held while the agent runs, so that a second one is refused.
    _claims: Vec<UnixListener>,
}

impl Observed {
    /// Identifies and claims the devices, those of one disk side by side, as the probe wants them.
    pub(crate) fn claim(config: &AgentConfig, host: &Host) -> Result<Self, AgentError> {
        let mut observed = Self::identify(&config.devices, config.region_bytes, host)?;
        observed._claims = observed.devices.iter().map(claim).collect::<Result<_, _>>()?;
        tape::check(&observed.devices, config.assume_identical)?;
        Ok(observed)
    }

    /// As [`Self::claim`], for one that only looks: others may observe the same devices.
    pub(crate) fn identify(devices: &[NamedDevice], region_bytes: u32, host: &Host) -> Result<Self, AgentError> {
        let mut named = Vec::new();
        for device in devices {
            named.push((device.name.clone(), Device::identify_on(&device.path, host)?));
        }
        named.sort_by_key(|(_, device)| (device.disk, device.start));
        let (names, devices) = named.into_iter().unzip();
        Ok(Self { names, devices, region_bytes, _claims: Vec::new() })
    }

    pub(crate) fn volumes(&self) -> Vec<Volume> {
        let sizes = self.sizes().into_iter();
        self.devices.iter().zip(sizes).map(|(device, size)| volume_of(device, size)).collect()
    }

    /// The tape that is observed, if it is one.
    pub(crate) fn tape(&self) -> Option<UnitKey> {
        self.devices.first().and_then(tape::key)
    }

    pub(crate) fn selftest_target(&self, index: usize) -> selftest::Target<'_> {
        let device = &self.devices[index];
        let bio_based = device.mode == Mode::BioBased;
        selftest::Target { index: index as u16, path: &device.path, size: device.size, bio_based }
    }

    /// Bytes of the volumes in maps of regions.
    fn sizes(&self) -> Vec<u64> {
        let size = |device: &Device| if device.tape.is_some() { u64::from(self.region_bytes) } else { device.size };
        self.devices.iter().map(size).collect()
    }
}

/// A name in the abstract socket space lives exactly as long as its process.
fn claim(device: &Device) -> Result<UnixListener, AgentError> {
    use std::os::linux::net::SocketAddrExt;
    // A tape has several nodes.
    let unit = device.scsi.filter(|_| device.tape.is_some()).map(|scsi| format!("blkecho-unit-{}", scsi.unit));
    let name = unit.unwrap_or_else(|| format!("blkecho-device-{}:{}", device.number.major, device.number.minor));
    let bound = SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address));
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => AgentError::Busy { device: device.path.clone() },
        _ => AgentError::System { what: "claiming the device", source: error },
    })
}

fn volume_of(device: &Device, size: u64) -> Volume {
    Volume {
        start_sector: device.start >> 9,
        sectors: size >> 9,
        first_word: 0,
        words: 0,
        disk_dev: device.disk.major << 20 | device.disk.minor,
        bio_based: u32::from(device.mode == Mode::BioBased),
        scsi_block_shift: 0,
        pad: 0,
    }
}

/// Does all of it.
pub(crate) fn prepare(config: &AgentConfig) -> Result<Ready, AgentError> {
    config.check()?;
    let host = Host::default();
    let observed = Observed::claim(config, &host)?;
    make_dir(&config.dir)?;
    stack::refuse_feedback("the journal", &config.dir, &observed.devices, &host)?;
    features::require(&features::check_machine(&host))?;
    features::ensure_bpffs(&config.bpffs, &host)?;
    let disk = RealDisk::new(config.dir.join("journal"))?;
    let attached = attach(config, &observed)?;
    let result = assemble(config, observed, disk, attached);
    if let Err((error, fresh)) = result {
        if fresh {
            // Nobody will read what it captures.
            let _ = crate::detach(&config.group, &config.bpffs);
        }
        return Err(error);
    }
    result.map_err(|(error, _)| error)
}

fn make_dir(dir: &Path) -> Result<(), AgentError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| AgentError::State { what: "creating", path: dir.to_owned(), source })
}

/// What a probe is made of, and what is known of the devices it is for.
pub(crate) struct Specified {
    pub spec: ProbeSpec,
    pub ops: Ops,
    pub units: Vec<Option<Unit>>,
    /// What SCSI disks say of themselves, by volume.
    pub said: Vec<Option<Box<ScsiIdentity>>>,
    pub rules: Rules,
}

/// Finds out what the probe must know of this kernel and these devices. A standby is fed by it where `replicated` says.
pub(crate) fn specify(
    observed: &Observed,
    layer: Layer,
    filter: &Filter,
    ring_bytes: u32,
    replicated: bool,
) -> Result<Specified, AgentError> {
    let btf = Btf::kernel()?;
    let layout = layout::find(&btf, observed.region_bytes.trailing_zeros())?;
    let (volumes, tape) = (observed.volumes(), observed.tape());
    let mut spec = ProbeSpec { volumes, ring_bytes, layout, tape, filter: Default::default() };
    let units = layer::choose(layer, &observed.devices, &mut spec, &btf)?;
    // Before the probe sees it.
    let said = scsi_identity::read_all(&observed.devices, &units);
    let regions = replicated.then_some(observed.region_bytes);
    let rules = filtering::rules(filter, regions, (&observed.names, &observed.devices), &units, &btf)?;
    spec.filter = rules.kernel;
    Ok(Specified { spec, ops: Ops::of(&btf), units, said, rules })
}

/// A probe, and the line of observation it stands for.
pub(crate) struct Attached {
    pub probe: Probe,
    specified: Specified,
    identity: Identity,
    picked_up: bool,
}

/// Picks up the pinned probe if it observes the same volumes since the same attach; loads a new one otherwise.
fn attach(config: &AgentConfig, observed: &Observed) -> Result<Attached, AgentError> {
    let mut specified = specify(observed, config.layer, &config.filter, config.ring_bytes, true)?;
    let (spec, pins) = (&mut specified.spec, pin_dir(&config.bpffs, &config.group));
    let text = &specified.rules.text;
    let saved = Identity::load(&config.dir, &observed.names, &observed.devices, config.region_bytes, text)?;
    if let Some(identity) = saved
        && let Some(probe) = Probe::open(spec, &pins)?
    {
        info!("picked up the pinned probe, stream {}", identity.stream());
        return Ok(Attached { probe, specified, identity, picked_up: true });
    }
    if crate::probe::remove(&pins)? {
        warn!("removed a pinned probe that belonged to another state directory, filter or set of devices");
    }
    let identity = Identity::draw(&observed.names, &observed.devices, config.region_bytes, text)?;
    let probe = Probe::load(spec, &pins)?;
    Ok(Attached { probe, specified, identity, picked_up: false })
}

fn assemble(
    config: &AgentConfig,
    observed: Observed,
    disk: RealDisk,
    attached: Attached,
) -> Result<Ready, (AgentError, bool)> {
    let fresh = !attached.picked_up;
    assemble_parts(config, observed, disk, attached).map_err(|error| (error, fresh))
}

fn assemble_parts(
    config: &AgentConfig,
    observed: Observed,
    disk: RealDisk,
    attached: Attached,
) -> Result<Ready, AgentError> {
    let Attached { mut probe, specified, identity, picked_up } = attached;
    let Specified { spec, ops, units, said, rules } = specified;
    let scope = filtering::scope(&rules);
    probe.forget_queues()?;
    let ring = probe.ring.take().ok_or(crate::probe::ProbeError::Incomplete("RING"))?;
    let probe = Arc::new(probe);
    learn_anchor(&probe, Some(&config.dir))?;
    let kernel_map = KernelMap::new(spec.volumes.clone(), observed.sizes(), config.region_bytes);
    let journal_config =
        Config { segment_bytes: config.segment_bytes, total_bytes: config.journal_bytes, sync: config.sync };
    let (mut journal, recovery) = Journal::open(disk, journal_config)?;
    let found = Found::look(&mut journal, &recovery, &probe, picked_up)?;
    let capture_config = CaptureConfig {
        max_queued_bytes: MAX_QUEUED_BYTES,
        first_seq: found.last_seq.next(),
        hole_timeout: HOLE_TIMEOUT,
    };
    let assembler = Assembler::new(ops, clock_offset_ns()).with_units(units).within(scope.clone());
    let capture = Capture::start(Arc::clone(&probe), ring, assembler, &capture_config)
        .map_err(|source| AgentError::System { what: "starting the capture thread", source })?;
    // Before the self-test, during which the commands of older epochs end.
    let begun = picked_up.then(|| Begun::on(&probe));
    // A tape cannot be read without moving it.
    let readable = (0..observed.devices.len()).filter(|index| observed.devices[*index].tape.is_none());
    for index in readable {
        selftest::run(&probe, &capture.selftest, &observed.selftest_target(index), config.ring_bytes)?;
    }
    secondaries::settle(&config.dir, &config.to, &config.forget, &mut journal, picked_up)?;
    let dirty_files = config.to.iter().map(|to| DirtyFile::of(&config.dir, &to.name)).collect();
    let final_slots = final_slots(&probe);
    let settings = filtering::engine_settings(config, identity.stream(), observed.sizes(), scope.clone());
    let live = kernel_map.union(&probe);
    let source =
        Source { dir: &config.dir, secondaries: &config.to, settings, picked_up, live, completed: kernel_seq(&probe) };
    let group = group(&source, &found, &journal)?;
    if !picked_up {
        identity.save(&config.dir)?;
    }
    let epochs = epochs(&probe, begun.as_ref(), &final_slots);
    let core = core(config, observed, group, probe, identity.stream(), (scope, rules.text), said)?;
    let (reader, shared) = (journal.reader(), Arc::clone(&capture.shared));
    let log = Log::new(LogParts {
        core: Arc::clone(&core),
        journal,
        sync: config.sync,
        capture,
        dirty_files,
        kernel_map,
        epochs,
        withdrawn: begun.as_ref().map_or([0; SLOTS], |begun| begun.counters.withdrawn),
        restored_through: begun.map_or(Seq(0), |begun| begun.known),
        last_seq: found.last_seq,
    });
    Ok(Ready { core, log, reader, capture: shared, picked_up })
}

/// Where a probe stood that was found running, when this agent began an epoch of its own.
struct Begun {
    /// Completions up to this were of older epochs, and their bits are in the union that is taken later.
    known: Seq,
    /// The counters at that moment.
    counters: CpuCounters,
    /// Whether the epoch was begun. Its slot had to be free of commands in flight.
    own: bool,
}

impl Begun {
    /// Begins it. What older epochs hold is final milliseconds later, so only that is read back, and nothing of what
    /// is written from now on. Old bits of the slot stay: they are in the union, which is saved before any is cleared.
    fn on(probe: &Probe) -> Self {
        kernel_barrier();
        let (known, counters) = (kernel_seq(probe), probe.sum_counters());
        let next = KernelMap::epoch(probe).wrapping_add(1);
        let slot = next as usize % SLOTS;
        let own = counters.issued[slot] == counters.ended[slot];
        if own {
            KernelMap::switch(probe, next);
        }
        Self { known, counters, own }
    }
}

fn kernel_seq(probe: &Probe) -> Seq {
    Seq(probe.order.word(0, 0).load(Ordering::Acquire))
}

/// Slots of the kernel's map whose bits are final: every command issued in them has ended, and no program that saw
/// them as current still runs. Read before the bits are.
fn final_slots(probe: &Probe) -> Vec<usize> {
    kernel_barrier();
    let counters = probe.sum_counters();
    (0..SLOTS).filter(|slot| counters.issued[*slot] == counters.ended[*slot]).collect()
}

/// The clearing rule for a new probe, or for one found running: the union of its slots goes into the dirty map that is
/// saved before anything is cleared, so what was final then needs no second look.
fn epochs(probe: &Probe, begun: Option<&Begun>, final_slots: &[usize]) -> EpochTracker {
    let current = KernelMap::epoch(probe);
    let Some(begun) = begun else {
        return EpochTracker::new(Duration::ZERO, current, EPOCH_INTERVAL, EPOCH_GRACE);
    };
    let mut tracker = EpochTracker::recover(Duration::ZERO, current, EPOCH_INTERVAL, EPOCH_GRACE);
    if begun.own {
        tracker.begun_by_us(&counts(&begun.counters));
    }
    let live: Vec<u32> = tracker.live().filter(|epoch| *epoch != current).collect();
    for epoch in live.into_iter().filter(|epoch| final_slots.contains(&(*epoch as usize % SLOTS))) {
        tracker.taken_over(epoch);
    }
    tracker
}

/// What the journal holds.
struct Found {
    extent: JournalExtent,
    last_seq: Seq,
    headers: Vec<formats::EntryHeader>,
    /// Durable entries are gone: everything must be taken for dirty.
    damaged: bool,
}

impl Found {
    /// A journal of another stream, or with damage, is emptied; positions go on.
    fn look(
        journal: &mut Journal<RealDisk>,
        recovery: &journal::Recovery,
        probe: &Probe,
        picked_up: bool,
    ) -> Result<Self, AgentError> {
        let damaged = picked_up && recovery.damaged.is_some();
        if let Some(damage) = &recovery.damaged {
            warn!(
                "the journal is damaged: {damage}; its entries are dropped, and all regions are read back and sent again"
            );
        }
        if !picked_up || recovery.damaged.is_some() {
            let next = recovery.damaged.as_ref().map_or(journal.next(), |damage| damage.lost.end() + 1);
            journal.discard_all(next.max(journal.next()))?;
        }
        let first = journal.first();
        let headers: Result<Vec<_>, _> = journal.reader().headers(first).map(|item| item.map(|(_, h)| h)).collect();
        let headers = headers?;
        let last = headers.iter().rev().find_map(last_seq_of);
        let kernel = kernel_seq(probe);
        let last_seq = if picked_up { last.unwrap_or(kernel) } else { Seq(0) };
        let extent = JournalExtent { first: Position(first), next: Position(journal.next()), last_seq };
        Ok(Self { extent, last_seq, headers, damaged })
    }
}

fn last_seq_of(header: &formats::EntryHeader) -> Option<Seq> {
    match &header.entry {
        formats::Entry::Record(record) => Some(record.seq),
        formats::Entry::Gap(gap) => Some(gap.last),
        formats::Entry::Region(_) => None,
    }
}

/// The engines of all secondaries.
fn group(source: &Source<'_>, found: &Found, journal: &Journal<RealDisk>) -> Result<Group, AgentError> {
    let mut group = Group::new(found.extent);
    if found.damaged {
        // What the journal lost, and all that completed meanwhile, is in the maps: each secondary is led past it by a cut.
        for secondary in source.secondaries {
            group.join(&secondary.name, source.settings.clone(), source.completed).map_err(secondaries::no_group)?;
        }
    } else {
        source.fill(&mut group, journal)?;
    }
    found.headers.iter().for_each(|header| group.recover_entry(header));
    Ok(group)
}

fn core(
    config: &AgentConfig,
    observed: Observed,
    group: Group,
    probe: Arc<Probe>,
    stream: StreamId,
    (scope, filter): (Scope, String),
    said: Vec<Option<Box<ScsiIdentity>>>,
) -> Result<Arc<Core>, AgentError> {
    let mut readers = Volumes::default();
    let mut volumes = Vec::new();
    for ((name, device), said) in observed.names.iter().zip(&observed.devices).zip(said) {
        readers.0.push(reader(device)?);
        let mut volume = volume_info(name, device);
        volume.identity.scsi = said;
        volumes.push(volume);
    }
    Ok(Core::new(CoreParts {
        group,
        secondaries: config.to.clone(),
        probe,
        volumes,
        readers,
        stream,
        group_name: config.group.clone(),
        region_bytes: config.region_bytes,
        scope,
        filter,
        observed,
    }))
}

fn reader(device: &Device) -> Result<VolumeReader, AgentError> {
    if device.tape.is_some() {
        return Ok(VolumeReader::tape(&device.path));
    }
    let opened = VolumeReader::new(&device.path);
    opened.map_err(|source| AgentError::State { what: "opening for reading", path: device.path.clone(), source })
}

fn volume_info(name: &str, device: &Device) -> VolumeInfo {
    let sys = Path::new("/sys/dev/block");
    let (path, read_only) = (device.path.clone(), device.read_only);
    if let Some(unit) = &device.tape {
        let (inflight, size) = (unit.join("device_busy"), unit.join("type"));
        return VolumeInfo {
            identity: VolumeIdentity::sequential(name),
            path,
            inflight,
            size,
            diskseq: None,
            read_only,
        };
    }
    VolumeInfo {
        identity: VolumeIdentity::blocks(name, device.size, device.logical_block),
        path,
        inflight: sys.join(device.disk.to_string()).join("inflight"),
        size: sys.join(device.number.to_string()).join("size"),
        diskseq: device.diskseq.map(|number| (sys.join(device.disk.to_string()).join("diskseq"), number)),
        read_only,
    }
}

/// Makes sure that the probe knows where pages lie. It learns that from the first request of any request-based disk, so
/// when none has come yet one is caused: this program's own file is read, a small file is made durable in `dir`, if one is
/// given, then disks are read.
pub(crate) fn learn_anchor(probe: &Probe, dir: Option<&Path>) -> Result<(), AgentError> {
    let known = || probe.order.word(0, ORDER_ANCHOR_PAGE).load(Ordering::Acquire) != 0;
    let nudges = std::env::current_exe().ok().into_iter().map(|path| read_page(&path));
    let nudges = nudges.chain(dir.into_iter().map(nudge)).chain(read_disks());
    nudges.take_while(|()| !known()).for_each(drop);
    if known() {
        return Ok(());
    }
    let not_one = dir.map(|dir| format!(", or give a --dir on one ({} is not)", dir.display())).unwrap_or_default();
    Err(AgentError::Usage(format!(
        "the probe learns from requests of a blk-mq disk where the kernel keeps pages, and none came: attach while one \
         is readable{not_one}"
    )))
}

/// Best effort: a file system without a disk below causes no request, and then a disk is read.
fn nudge(dir: &Path) {
    let path = dir.join(".anchor");
    let _ = fs::write(&path, [0; 4096]).and_then(|()| fs::File::open(&path)).and_then(|file| file.sync_all());
    let _ = fs::remove_file(&path);
}

/// Reads a page of each request-based disk, one a step. An empty loop device cannot be read; the next disk can.
fn read_disks() -> impl Iterator<Item = ()> {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks
        .filter(|disk| disk.path().join("mq").is_dir())
        .map(|disk| read_page(&Path::new("/dev").join(disk.file_name())))
}

/// Past the page cache, so that a request comes of it where a disk is below.
fn read_page(path: &Path) {
    if let Ok(reader) = VolumeReader::new(path) {
        let _ = reader.read(formats::ByteRange::new(0, 4096));
    }
}

/// What must be added to the monotonic clock to get nanoseconds since 1970.
pub(crate) fn clock_offset_ns() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let ns = |id| {
        let time = clock_gettime(id);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    ns(ClockId::Realtime).wrapping_sub(ns(ClockId::Monotonic))
}

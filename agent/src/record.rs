//! Capturing for its own sake: what devices complete, in order, without journal, standby or dirty map.
//!
//! [`Recorder`] attaches a probe that ends with this process, however that ends, so nothing stays in the kernel. Others
//! may observe the same devices meanwhile. What it guarantees: it never writes to an observed device; every completed
//! change since it began is handed over, or counted in [`Counts`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::command::{Command, Transfer};
use formats::entry::{Entry, EntryHeader, PayloadInfo};
use formats::scsi::identity::Identity as ScsiIdentity;
use formats::{ByteRange, Crc32c, Gap, Op, PayloadEncoding, Position, Seq, StreamId, VolumeIndex};
use probe_types::CpuCounters;
use replication::sequencer::Ordered;

use crate::capture::assembler::{Assembler, Captured};
use crate::capture::queue::Taken;
use crate::capture::{Capture, CaptureConfig};
use crate::config::{NamedDevice, pin_dir};
use crate::error::AgentError;
use crate::identity::random;
use crate::layer::Layer;
use crate::preflight::{Device, Host, features};
use crate::primary::sweeper::{Sweeper, in_flight, monotonic_ns};
use crate::probe::filter::Filter;
use crate::probe::{self, Held, Probe, ProbeError};
use crate::selftest;
use crate::setup::{HOLE_TIMEOUT, Observed, Specified, clock_offset_ns, learn_anchor, specify};
use crate::status::Filtered;

/// Bytes per region of the probe's dirty map, which nobody reads.
const REGION_BYTES: u32 = 1 << 20;
/// Between two looks for commands that ended unseen, and at the devices.
const SWEEP_PERIOD: Duration = Duration::from_millis(250);

/// What is to be captured.
#[derive(Debug, Clone)]
pub struct RecordConfig {
    /// The devices; they share one order.
    pub devices: Vec<NamedDevice>,
    /// Bytes of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Bytes of payload that may wait to be taken before payload is dropped, and counted.
    pub max_queued_bytes: u64,
    /// What is captured of SCSI disks.
    pub layer: Layer,
    /// What is captured; empty for everything.
    pub filter: Filter,
    /// Whether payload is captured.
    pub payload: bool,
    /// A directory in which a small file may be written, on none of the devices.
    pub scratch: Option<PathBuf>,
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
}

/// One captured volume.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its index in the records.
    pub index: VolumeIndex,
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: Device,
    /// Whether its SCSI commands are captured.
    pub scsi: bool,
    /// What it says of itself, where its SCSI commands are captured.
    pub said: Option<Box<ScsiIdentity>>,
}

/// Numbers since the begin. What is lost is not in the records, but for lost payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Completions that the ring had no room for, or that came too late to be put in order.
    pub completions: u64,
    /// Commands whose end was not seen, found when their disk fell silent.
    pub unseen: u64,
    /// Changes whose issue was not seen: handed over without payload, process and time of issue.
    pub untracked: u64,
    /// Changes of a kind that is never carried, or that straddle a volume's border.
    pub uncarried: u64,
    /// Commands that were handed over without the payload that they should have.
    pub payloads: u64,
    /// What the filter kept out.
    pub filtered: Filtered,
    /// Reads, which are counted only.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Commands that have begun and not ended.
    pub in_flight: u64,
}

/// A command that ended, nobody saw how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen {
    /// Its volume.
    pub volume: VolumeIndex,
    /// What it may have changed.
    pub range: ByteRange,
}

/// What [`Recorder::take`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many entries were handed over.
    Entries(u64),
    /// There were none in time.
    Nothing,
    /// There will be no more.
    Ended,
}

/// Tells the last completion that the kernel has numbered, from any thread.
#[derive(Clone)]
pub struct Completed(Arc<Probe>);

impl Completed {
    /// That completion.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.0.order.word(0, 0).load(Ordering::Acquire))
    }
}

/// A running capture. Dropping it takes the probe out of the kernel.
pub struct Recorder {
    probe: Arc<Probe>,
    /// None when it observes no more.
    held: Option<Held>,
    capture: Capture,
    volumes: Vec<Recorded>,
    filter: String,
    stream: StreamId,
    payload: bool,
    position: Position,
    sweeper: Sweeper,
    swept: Instant,
    unseen: u64,
    /// Entries that were behind one that was not taken.
    dropped: u64,
    /// Writes that were handed over without their payload.
    payloads: u64,
    /// What the probe had counted, and the last number it had given, when everything was attached.
    before: CpuCounters,
    first: Seq,
    began_ns: u64,
}

impl Recorder {
    /// Checks everything, attaches, and proves that payload is read right.
    ///
    /// # Errors
    /// Says what is missing, refused or broken, and the remedy. Nothing stays in the kernel then.
    pub fn start(config: &RecordConfig) -> Result<Self, AgentError> {
        let host = Host::default();
        features::require(&features::check_machine(&host))?;
        features::ensure_bpffs(&config.bpffs, &host)?;
        let observed = Observed::identify(&config.devices, REGION_BYTES, &host)?;
        let mut specified = specify(&observed, config.layer, &config.filter, config.ring_bytes, false)?;
        let stream = StreamId(random()?);
        let (mut probe, held) = probe::load_held(&mut specified.spec, &pin_dir(&config.bpffs, &pin_name(stream)))?;
        let ring = probe.ring.take().ok_or(ProbeError::Incomplete("RING"))?;
        let probe = Arc::new(probe);
        learn_anchor(&probe, config.scratch.as_deref())?;
        let Specified { ops, units, said, rules, .. } = specified;
        let settings =
            CaptureConfig { max_queued_bytes: config.max_queued_bytes, first_seq: Seq(1), hole_timeout: HOLE_TIMEOUT };
        let scsi: Vec<bool> = units.iter().map(Option::is_some).collect();
        let offset = clock_offset_ns();
        let assembler = Assembler::new(ops, offset).with_units(units);
        let capture = Capture::start(Arc::clone(&probe), ring, assembler, &settings)
            .map_err(|source| AgentError::System { what: "starting the capture thread", source })?;
        prove(&probe, &capture, &observed, config.ring_bytes)?;
        probe.set_addresses_only(!config.payload);
        // Parts of the probe were there before others; what they told is no capture.
        let first = Completed(Arc::clone(&probe)).last();
        Ok(Self {
            before: probe.sum_counters(),
            first,
            began_ns: monotonic_ns().wrapping_add(offset),
            probe,
            held: Some(held),
            capture,
            volumes: volumes(observed, &scsi, said),
            filter: rules.text,
            stream,
            payload: config.payload,
            position: Position(0),
            sweeper: Sweeper::default(),
            swept: Instant::now(),
            unseen: 0,
            dropped: 0,
            payloads: 0,
        })
    }

    /// What is captured, by index.
    #[must_use]
    pub fn volumes(&self) -> &[Recorded] {
        &self.volumes
    }

    /// The filter in words, with everything that had to be looked up; empty without.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// What tells how far the kernel has counted.
    #[must_use]
    pub fn completed(&self) -> Completed {
        Completed(Arc::clone(&self.probe))
    }

    /// When everything was attached, in nanoseconds since 1970, UTC, by the clock of the records.
    #[must_use]
    pub const fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// The line of observation that `seq` counts in.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Waits for entries, `patience` at most, and gives each to `take` in order. The payload's memory is free again when
    /// this returns.
    ///
    /// # Errors
    /// The first one of `take`; the rest of its batch is dropped, and counted.
    pub fn take<E>(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(&EntryHeader, &[u8]) -> Result<(), E>,
    ) -> Result<Progress, E> {
        let batch = match self.capture.batches.take(patience) {
            Taken::Batch(batch) => batch,
            Taken::Nothing => return Ok(Progress::Nothing),
            Taken::Closed => return Ok(Progress::Ended),
        };
        let (mut count, mut bytes) = (0, 0);
        let mut result = Ok(());
        for ordered in batch {
            bytes += payload_len(&ordered);
            let Some(ordered) = since(ordered, self.first) else { continue };
            count += 1;
            if result.is_err() {
                self.dropped += 1;
                continue;
            }
            let (header, payload) = self.entry(ordered);
            self.payloads += u64::from(self.payload && lacks_payload(&header, &payload));
            result = take(&header, &payload);
        }
        self.capture.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        result.map(|()| Progress::Entries(count))
    }

    fn entry(&mut self, ordered: Ordered<Captured>) -> (EntryHeader, Bytes) {
        self.position = self.position.next();
        let (entry, payload, bytes) = match ordered {
            Ordered::Item(_, captured) if self.payload => {
                (Entry::Record(captured.record), captured.payload, captured.bytes)
            }
            Ordered::Item(_, captured) => without_content(captured),
            Ordered::Gap(gap) => (Entry::Gap(gap), PayloadInfo::NONE, Bytes::new()),
        };
        (EntryHeader { entry, position: self.position, payload }, bytes)
    }

    /// Entries that were dropped since one was not taken.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Looks, every so often, for commands that ended unseen.
    pub fn sweep(&mut self) -> Vec<Unseen> {
        if self.held.is_none() || self.swept.elapsed() < SWEEP_PERIOD {
            return Vec::new();
        }
        self.swept = Instant::now();
        let inflight: Vec<PathBuf> = self.volumes.iter().map(|volume| inflight(&volume.device)).collect();
        let found = self.sweeper.sweep(&self.probe, !self.filter.is_empty(), inflight.iter().map(PathBuf::as_path));
        found.iter().for_each(|unseen| self.capture.forget(unseen.issue));
        self.unseen += found.len() as u64;
        found.into_iter().map(|unseen| Unseen { volume: unseen.volume, range: unseen.range }).collect()
    }

    /// The first device that is not there any more.
    #[must_use]
    pub fn gone(&self) -> Option<&Recorded> {
        self.volumes.iter().find(|volume| !inflight(&volume.device).exists())
    }

    /// Takes the probe out of the kernel. What it has told already is still handed over, then comes the end.
    pub fn stop(&mut self) {
        drop(self.held.take());
        // Programs that were running when the links went have put into the ring what they had.
        probe::shared::kernel_barrier();
        self.capture.finish();
    }

    /// What was lost, kept out and only counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (kernel, before) = (self.probe.sum_counters(), &self.before);
        let malformed = self.capture.shared.assembler.lock().map_or(0, |counters| counters.malformed);
        let late = self.capture.shared.late.load(Ordering::Relaxed);
        Counts {
            completions: kernel.lost_completions - before.lost_completions + late + malformed,
            unseen: self.unseen,
            untracked: kernel.untracked - before.untracked,
            uncarried: kernel.uncarried + kernel.straddling - before.uncarried - before.straddling,
            payloads: self.payloads,
            filtered: filtered(&kernel, before),
            reads: kernel.reads + kernel.passthrough_reads - before.reads - before.passthrough_reads,
            read_bytes: kernel.read_bytes + kernel.passthrough_read_bytes
                - before.read_bytes
                - before.passthrough_read_bytes,
            in_flight: in_flight(&self.probe),
        }
    }
}

fn filtered(kernel: &CpuCounters, before: &CpuCounters) -> Filtered {
    Filtered {
        range: kernel.filtered_range - before.filtered_range,
        operation: kernel.filtered_operation - before.filtered_operation,
        process: kernel.filtered_process - before.filtered_process,
        cgroup: kernel.filtered_cgroup - before.filtered_cgroup,
    }
}

/// The part of it after `first`.
fn since(ordered: Ordered<Captured>, first: Seq) -> Option<Ordered<Captured>> {
    match ordered {
        Ordered::Item(seq, _) if seq <= first => None,
        Ordered::Gap(gap) if gap.last <= first => None,
        Ordered::Gap(gap) => Some(Ordered::Gap(Gap { first: gap.first.max(first.next()), ..gap })),
        item => Some(item),
    }
}

/// Whether data went to the device and is not here.
fn lacks_payload(header: &EntryHeader, payload: &[u8]) -> bool {
    let Entry::Record(record) = &header.entry else { return false };
    let content = header.payload.content_len() as usize;
    let trailer = payload.get(content..).unwrap_or_default();
    let data_out = Command::decode(trailer).is_ok_and(|command| {
        command.transfer == Transfer::Out && command.transfer_len > 0 && command.data_out.is_empty()
    });
    match header.payload.encoding {
        PayloadEncoding::Data | PayloadEncoding::Zero => false,
        PayloadEncoding::None => data_out || (record.op == Op::Write && !record.range.is_empty()),
    }
}

/// Where the probe is pinned for a moment.
fn pin_name(stream: StreamId) -> String {
    format!("capture-{stream}")
}

/// The self-test on each device that can be read without moving it.
fn prove(probe: &Probe, capture: &Capture, observed: &Observed, ring_bytes: u32) -> Result<(), AgentError> {
    let readable = (0..observed.devices.len()).filter(|index| observed.devices[*index].tape.is_none());
    for index in readable {
        selftest::run(probe, &capture.selftest, &observed.selftest_target(index), ring_bytes)?;
    }
    Ok(())
}

fn volumes(observed: Observed, scsi: &[bool], said: Vec<Option<Box<ScsiIdentity>>>) -> Vec<Recorded> {
    let Observed { names, devices, .. } = observed;
    let all = (0..).zip(names.into_iter().zip(devices)).zip(scsi.iter().zip(said));
    all.map(|((index, (name, device)), (scsi, said))| Recorded {
        index: VolumeIndex(index),
        name,
        device,
        scsi: *scsi,
        said,
    })
    .collect()
}

/// Where sysfs counts what the device's disk has in flight.
fn inflight(device: &Device) -> PathBuf {
    match &device.tape {
        Some(unit) => unit.join("device_busy"),
        None => Path::new("/sys/dev/block").join(device.disk.to_string()).join("inflight"),
    }
}

fn payload_len(ordered: &Ordered<Captured>) -> u64 {
    match ordered {
        Ordered::Item(_, captured) => captured.bytes.len() as u64,
        Ordered::Gap(_) => 0,
    }
}

/// The command alone. The first ones after the attach come with their content, as the self-test needs it.
fn without_content(captured: Captured) -> (Entry, PayloadInfo, Bytes) {
    let Captured { record, payload, bytes, .. } = captured;
    let mut trailer = Vec::new();
    if let Ok(command) = Command::decode(bytes.get(payload.content_len() as usize..).unwrap_or_default()) {
        Command { data_out: &[], ..command }.write_to(&mut trailer);
    }
    let (len, crc) = (trailer.len() as u32, Crc32c::of(&trailer));
    let payload = PayloadInfo { encoding: PayloadEncoding::None, len, crc, trailer: len };
    (Entry::Record(record), payload, trailer.into())
}

#[cfg(test)]
mod tests {
    use formats::command::{CommandFlags, Hctl};
    use formats::scsi::DeviceType;
    use formats::{OpFlags, Record, Status};

    use super::*;

    fn captured(content: &[u8], command: Option<Command<'_>>) -> Captured {
        let mut bytes = content.to_vec();
        if let Some(command) = command {
            command.write_to(&mut bytes);
        }
        let trailer = (bytes.len() - content.len()) as u32;
        let record = Record {
            seq: Seq(1),
            dep: Seq(0),
            volume: VolumeIndex(0),
            op: Op::Write,
            flags: OpFlags::empty(),
            range: ByteRange::new(0, 512),
            status: Status::OK,
            origin: Default::default(),
        };
        let payload = PayloadInfo { trailer, ..PayloadInfo::data(&bytes) };
        Captured { record, payload, bytes: bytes.into(), epoch: 0, settles: true, in_ring: false }
    }

    #[test]
    fn without_payload_no_byte_of_data_is_left() {
        let (_, payload, bytes) = without_content(captured(b"secret", None));
        assert_eq!((payload, bytes.len()), (PayloadInfo { crc: Crc32c::of(&[]), ..PayloadInfo::NONE }, 0));
        let command = Command {
            unit: Hctl { host: 2, channel: 0, id: 0, lun: 3 },
            device: DeviceType::DISK,
            medium: None,
            flags: CommandFlags::empty(),
            transfer: Transfer::Out,
            transfer_len: 6,
            residual: 0,
            result: 0,
            cdb: &[0x15, 0x10, 0, 0, 6, 0],
            sense: &[],
            data_out: b"secret",
        };
        for content in [&b"secret"[..], b""] {
            let (_, payload, bytes) = without_content(captured(content, Some(command)));
            assert!(!bytes.windows(6).any(|window| window == b"secret"));
            assert_eq!((payload.content_len(), payload.encoding), (0, PayloadEncoding::None));
            let kept = Command::decode(&bytes).expect("a command");
            assert_eq!((kept.cdb, kept.transfer_len, kept.data_out), (command.cdb, 6, &[][..]));
        }
    }
}

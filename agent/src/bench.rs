//! Capture alone, for measuring: attach, assemble, checksum, drop (or journal), count.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use formats::entry::{Entry, EntryHeader, HEADER_LEN};
use formats::{Position, Seq};
use journal::{Config, Item, Journal, RealDisk, SyncPolicy};
use replication::sequencer::Ordered;
use serde::Serialize;

use crate::btf::Btf;
use crate::capture::assembler::{Assembler, Captured};
use crate::capture::queue::Taken;
use crate::capture::{Batch, Capture, CaptureConfig};
use crate::config::{AgentConfig, NamedDevice, pin_dir};
use crate::error::AgentError;
use crate::layer::Layer;
use crate::preflight::{Host, features};
use crate::probe::filter::Filter;
use crate::probe::ops::Ops;
use crate::probe::{Probe, ProbeSpec, layout};
use crate::selftest;
use crate::setup::{Observed, clock_offset_ns, learn_anchor};

/// What is done with what is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Payload is copied, checksummed, joined, and dropped.
    Payload,
    /// Addresses only.
    Addresses,
    /// Payload goes into a journal in this directory.
    Journal(PathBuf),
}

/// What was captured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Records.
    pub records: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Completions, payloads and table entries lost.
    pub lost: u64,
    /// Commands that ended unseen, and were told.
    pub unseen: u64,
    /// CPU time of this process, in seconds.
    pub cpu_seconds: f64,
    /// Seconds since the attach.
    pub seconds: f64,
}

/// Captures from `device` until `stop` is set. `ready` is called when everything is attached.
///
/// # Errors
/// As for an agent.
pub fn run(
    device: &Path,
    mode: &Mode,
    ring_bytes: u32,
    stop: &AtomicBool,
    ready: impl FnOnce(),
) -> Result<Report, AgentError> {
    let group = format!("bench-{}", std::process::id());
    let pins = pin_dir(Path::new(features::BPFFS), &group);
    let result = observe(device, mode, ring_bytes, stop, &pins, ready);
    crate::probe::remove(&pins)?;
    result
}

fn observe(
    device: &Path,
    mode: &Mode,
    ring_bytes: u32,
    stop: &AtomicBool,
    pins: &Path,
    ready: impl FnOnce(),
) -> Result<Report, AgentError> {
    let host = Host::default();
    features::require(&features::check_machine(&host))?;
    features::ensure_bpffs(Path::new(features::BPFFS), &host)?;
    let observed = Observed::claim(&bench_config(device, ring_bytes), &host)?;
    let btf = Btf::kernel()?;
    let layout = layout::find(&btf, 16)?;
    let mut spec = ProbeSpec {
        volumes: observed.volumes(),
        ring_bytes,
        layout,
        tape: None,
        filter: probe_types::filter::Filter::default(),
    };
    let mut probe = Probe::load(&mut spec, pins)?;
    let ring = probe.ring.take().ok_or(crate::probe::ProbeError::Incomplete("RING"))?;
    let probe = Arc::new(probe);
    learn_anchor(&probe, Some(&std::env::temp_dir()))?;
    let config =
        CaptureConfig { max_queued_bytes: 64 << 20, first_seq: Seq(1), hole_timeout: Duration::from_millis(500) };
    let assembler = Assembler::new(Ops::of(&btf), clock_offset_ns());
    let capture = Capture::start(Arc::clone(&probe), ring, assembler, &config)
        .map_err(|source| AgentError::System { what: "starting the capture thread", source })?;
    selftest::run(&probe, &capture.selftest, &observed.selftest_target(0), ring_bytes)?;
    probe.set_addresses_only(*mode == Mode::Addresses);
    let mut sink = Sink::open(mode)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    ready();
    let mut report = drain(&capture, &mut sink, stop)?;
    drop(capture);
    let kernel = probe.sum_counters();
    let wanted_payloads = if *mode == Mode::Addresses { 0 } else { kernel.lost_payloads };
    report.lost = kernel.lost_completions + kernel.lost_table + wanted_payloads;
    report.unseen = kernel.unseen;
    report.cpu_seconds = cpu_seconds() - cpu;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn bench_config(device: &Path, ring_bytes: u32) -> AgentConfig {
    AgentConfig {
        group: "bench".into(),
        devices: vec![NamedDevice { name: "bench".into(), path: device.to_owned() }],
        to: Vec::new(),
        forget: Vec::new(),
        dir: PathBuf::new(),
        journal_bytes: 0,
        segment_bytes: 0,
        sync: SyncPolicy::Never,
        ring_bytes,
        region_bytes: 64 << 10,
        insecure: false,
        assume_identical: false,
        layer: Layer::Block,
        filter: Filter::default(),
        partial: false,
        bpffs: features::BPFFS.into(),
    }
}

fn drain(capture: &Capture, sink: &mut Sink, stop: &AtomicBool) -> Result<Report, AgentError> {
    let mut report = Report::default();
    while !stop.load(Ordering::Acquire) {
        let Taken::Batch(batch) = capture.batches.take(Duration::from_millis(50)) else { continue };
        let bytes: u64 = batch.iter().map(|ordered| payload(ordered).len() as u64).sum();
        report.records += batch.len() as u64;
        report.bytes += bytes;
        sink.take(&batch)?;
        capture.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
    Ok(report)
}

fn payload(ordered: &Ordered<Captured>) -> &[u8] {
    match ordered {
        Ordered::Item(_, captured) => &captured.bytes,
        Ordered::Gap(_) => &[],
    }
}

/// Where records go.
enum Sink {
    Nowhere,
    Journal(Box<Journal<RealDisk>>),
}

impl Sink {
    fn open(mode: &Mode) -> Result<Self, AgentError> {
        let Mode::Journal(dir) = mode else { return Ok(Self::Nowhere) };
        let config = Config { segment_bytes: 64 << 20, total_bytes: 1 << 30, sync: SyncPolicy::Never };
        let (journal, _) = Journal::open(RealDisk::new(dir)?, config)?;
        Ok(Self::Journal(Box::new(journal)))
    }

    /// Appends, and frees at once: only the cost of writing is of interest.
    fn take(&mut self, batch: &Batch) -> Result<(), AgentError> {
        let Self::Journal(journal) = self else { return Ok(()) };
        let next = journal.next();
        let headers: Vec<[u8; HEADER_LEN]> =
            batch.iter().enumerate().filter_map(|(i, ordered)| header(ordered, Position(next + i as u64))).collect();
        let items = batch.iter().filter(|ordered| matches!(ordered, Ordered::Item(..)));
        let items: Vec<Item<'_>> =
            headers.iter().zip(items).map(|(header, ordered)| Item { header, payload: payload(ordered) }).collect();
        journal.append(&items).map_err(crate::primary::LogError::from)?;
        journal.trim(journal.written());
        Ok(())
    }
}

fn header(ordered: &Ordered<Captured>, position: Position) -> Option<[u8; HEADER_LEN]> {
    let Ordered::Item(_, captured) = ordered else { return None };
    Some(EntryHeader { entry: Entry::Record(captured.record), position, payload: captured.payload }.encode())
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

//! The demo without a kernel: commands are made up, their disk is memory, and so is the standby's target. Engine,
//! journal, link and standby are the real ones.

mod shipper;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use formats::{Seq, StreamId};
use hdrhistogram::Histogram;
use replayer::compare::compare;
use replayer::standby::{StandbyConfig, StandbyHandle, StandbyService};
use replayer::target::{MemoryTarget, Target};
use replication::primary::{JournalExtent, Mode, Primary, PrimaryConfig, PrimaryStatus, Restored};
use tokio::sync::Notify;

use self::source::Source;
use super::report::Report;
use crate::args::Demo;
use crate::exit::{Done, Exit, Failure};
use crate::signals::Stop;
use crate::units::duration;

/// Size of the device, in bytes.
const DEVICE: u64 = 64 << 20;
/// Smallest unit that is written, in bytes.
const BLOCK: u32 = 4096;
/// Name of the volume.
const VOLUME: &str = "demo";
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the copies may take to become equal.
const PATIENCE: Duration = Duration::from_secs(60);

/// What source and shipper share.
struct Core {
    engine: Mutex<Primary>,
    /// The observed disk.
    disk: MemoryTarget,
    /// Completions so far.
    seq: AtomicU64,
    /// Bytes that they changed.
    changed: AtomicU64,
    wake: Notify,
    end: AtomicBool,
    start: Instant,
    stream: StreamId,
}

impl Core {
    fn new() -> anyhow::Result<Self> {
        let stream = StreamId(u64::from(std::process::id()) << 32 | 1);
        let restored = Restored {
            journal: JournalExtent::EMPTY,
            acknowledged: formats::Position(0),
            dirty: None,
            covered: None,
            completed: Seq(0),
        };
        Ok(Self {
            engine: Mutex::new(Primary::new(PrimaryConfig::new(stream, vec![DEVICE]), restored)?),
            disk: MemoryTarget::new("simulated disk", DEVICE),
            seq: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            wake: Notify::new(),
            end: AtomicBool::new(false),
            start: Instant::now(),
            stream,
        })
    }

    fn engine(&self) -> MutexGuard<'_, Primary> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn ended(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    fn seq(&self) -> Seq {
        Seq(self.seq.load(Ordering::Acquire))
    }

    fn status(&self) -> PrimaryStatus {
        self.engine().status(self.now())
    }
}

/// The threads of the simulated primary, ended and joined when it goes.
struct Threads {
    core: Arc<Core>,
    all: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl Threads {
    fn spawn(&mut self, name: &'static str, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Done {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        self.all.push((name, thread));
        Ok(())
    }

    /// Fails with what a thread met, if one ended.
    fn check(&mut self) -> Done {
        match self.all.iter().position(|(_, thread)| thread.is_finished() && !self.core.ended()) {
            None => Ok(()),
            Some(at) => {
                let (name, thread) = self.all.swap_remove(at);
                let result = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
                let why = result.err().map_or_else(|| "it ended".to_owned(), |error| format!("{error:#}"));
                Err(Failure::text(Exit::Failure, format!("simulated {name}: {why}")))
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.core.end.store(true, Ordering::Relaxed);
        self.core.wake.notify_one();
        self.all.drain(..).for_each(|(_, thread)| drop(thread.join()));
    }
}

/// Runs it.
pub(super) fn run(args: &Demo, stop: &Stop) -> Done<Report> {
    let dir = tempfile::Builder::new().prefix("blkecho-demo-").tempdir()?;
    let target = Arc::new(MemoryTarget::new("simulated copy", DEVICE));
    let standby = start_standby(dir.path(), Arc::clone(&target))?;
    let core = Arc::new(Core::new()?);
    let (mut source, reader) = Source::new(Arc::clone(&core), &dir.path().join("primary"))?;
    let mut threads = Threads { core: Arc::clone(&core), all: Vec::new() };
    let (ship, address) = (Arc::clone(&core), standby.local_addr().to_string());
    threads.spawn("link", move || shipper::run(&ship, reader, &address))?;
    let pause = Arc::new(AtomicBool::new(true));
    let paused = Arc::clone(&pause);
    threads.spawn("source", move || source.run(&paused))?;
    let mut watch =
        Watch { core: &core, threads: &mut threads, stop, lags: Histogram::new_with_bounds(1, 3_600_000, 3)? };
    watch.until_equal()?;
    let resynced = core.status().counters.resynced_bytes;
    watch.lags.reset();
    pause.store(false, Ordering::Release);
    watch.workload(Duration::from_secs(args.seconds))?;
    pause.store(true, Ordering::Release);
    let mut report = watch.report(Duration::from_secs(args.seconds));
    watch.until_equal()?;
    report.resynced = core.status().counters.resynced_bytes - resynced;
    (report.commands, report.bytes) = (core.seq().0, core.changed.load(Ordering::Relaxed));
    judge(&core, &target, &standby, report)
}

fn start_standby(dir: &std::path::Path, target: Arc<MemoryTarget>) -> Done<StandbyHandle> {
    let volumes = vec![(VOLUME.to_owned(), "memory".into())];
    let config =
        StandbyConfig { journal_bytes: 256 << 20, ..StandbyConfig::new("127.0.0.1:0", dir.join("standby"), volumes) };
    Ok(StandbyService::start_on(config, vec![(VOLUME.to_owned(), target as Arc<dyn Target>)])?)
}

fn judge(core: &Core, target: &MemoryTarget, standby: &StandbyHandle, mut report: Report) -> Done<Report> {
    if !standby.wait_drained(PATIENCE) {
        return Err(Failure::text(Exit::Unreachable, "the simulated standby did not apply everything in time"));
    }
    let result = compare(&core.disk, target, &mut |_, _| true)?;
    (report.compared, report.differing) = (result.bytes, result.differing_bytes);
    Ok(report)
}

/// Watches the primary while something is waited for.
struct Watch<'a> {
    core: &'a Core,
    threads: &'a mut Threads,
    stop: &'a Stop,
    lags: Histogram<u64>,
}

impl Watch<'_> {
    fn look(&mut self) -> Done<PrimaryStatus> {
        self.threads.check()?;
        let status = self.core.status();
        self.lags.saturating_record(u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX));
        if self.stop.wait(LOOK_EVERY) { Err(Failure::interrupted()) } else { Ok(status) }
    }

    fn workload(&mut self, time: Duration) -> Done {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look()?;
        }
        Ok(())
    }

    fn until_equal(&mut self) -> Done {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let status = self.look()?;
            let seq = self.core.seq();
            if status.mode == Mode::Ordered
                && status.dirty_bytes == 0
                && status.lag_entries == 0
                && status.journal_seq == seq
            {
                return Ok(());
            }
        }
        Err(Failure::text(Exit::Unreachable, format!("the simulated copy is not equal within {PATIENCE:?}")))
    }

    fn report(&self, took: Duration) -> Report {
        let lag = |percentile| duration(Duration::from_millis(self.lags.value_at_percentile(percentile)));
        Report { simulated: true, took, lag: (lag(50.0), lag(99.0)), ..Report::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulated_demo_ends_identical() {
        let args = Demo { seconds: 1, keep: false, simulated: true };
        let report = run(&args, &Stop::default()).unwrap();
        assert!(report.good() && report.simulated, "{report:?}");
        assert!(report.commands > 0 && report.bytes > 0);
        assert_eq!((report.compared, report.differing), (DEVICE, 0));
    }

    #[test]
    fn an_interrupt_ends_it() {
        let stop = Stop::default();
        stop.set();
        let failure = run(&Demo { seconds: 60, keep: false, simulated: true }, &stop).unwrap_err();
        assert_eq!(failure.exit, Exit::Interrupted);
    }
}

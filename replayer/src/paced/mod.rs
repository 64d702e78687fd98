//! A recorded stream applied again at its own pace, or at another: each command is issued at its time, or as soon after it as
//! what it depends on is applied.
//!
//! The order is the scheduler's, as on a standby: a command starts after everything that had completed when it was issued,
//! and after everything earlier that touches the same blocks. A command that is late for that, or because the target is
//! slower than the recorded device was, is issued late and counted so: pace never wins over order.
//!
//! Workers take turns at watching the clock: one sleeps until shortly before the next time, and spins for the rest.

mod core;
mod depth;
mod fidelity;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::{ByteRange, EntryHeader, VolumeIndex};
use thiserror::Error;

pub use fidelity::{DepthReport, Fidelity, Quantiles};

use self::core::{Core, NOBODY, Waiting};
use crate::pool::{Done, Job, Pool, WorkSource};
use crate::target::{Bell, Target, TargetError};

/// A worker sleeps until so long before its time: about what a sleep is late by, with the least timer slack.
const SPIN_NS: u64 = 60_000;
/// So long before the first command begins, entries are read ahead.
const LEAD_NS: u64 = 100_000_000;
/// How often somebody who wants to stop is heard.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When commands are issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As recorded, in percent of the recorded speed: 200 is twice as fast.
    Percent(u32),
    /// As soon as their order allows.
    Max,
}

/// How a stream is applied.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When commands are issued.
    pub pace: Pace,
    /// Commands in flight at once, at most.
    pub depth: usize,
    /// Bytes of payload that are read ahead, at most.
    pub ahead: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { pace: Pace::Percent(100), depth: 64, ahead: 256 << 20 }
    }
}

/// Why a replay ended.
#[derive(Debug, Error)]
pub enum PacedError {
    /// The stream cannot be read.
    #[error(transparent)]
    Feed(Box<dyn Error + Send + Sync>),
    /// An entry is for a volume without a target.
    #[error("an entry of volume {0}, for which no target is named")]
    NoTarget(VolumeIndex),
    /// The stream is not in order.
    #[error("the stream is not in order: {0}")]
    Order(#[from] replication::scheduler::SchedulerError),
    /// An entry could not be applied.
    #[error("the replay stopped: {0}")]
    Apply(String),
    /// Times cannot be counted.
    #[error("counting times: {0}")]
    Counting(#[from] hdrhistogram::CreationError),
    /// A target could not be flushed at the end.
    #[error(transparent)]
    Flush(#[from] TargetError),
    /// The system has no more threads.
    #[error("cannot start a thread: {0}; raise the limit of tasks (ulimit -u), or name less --depth")]
    Thread(std::io::Error),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Gives the next entry of the stream with its payload; none at its end.
pub type Feed<'a> = dyn FnMut() -> Result<Option<(EntryHeader, Bytes)>, Box<dyn Error + Send + Sync>> + 'a;

/// What is applied to what, by the index of the volume in the stream.
pub type Targets = BTreeMap<u16, Arc<dyn Target>>;

/// One replay, once or several times over.
pub struct Paced {
    source: Arc<Source>,
    pool: Option<Pool>,
}

/// Where workers get their entries from.
struct Source {
    core: Mutex<Core>,
    /// Something for a worker.
    work: Condvar,
    /// Something for the reader: room, or an end.
    room: Condvar,
    clock: Instant,
    targets: Targets,
    options: Options,
    bell: OnceLock<Bell>,
}

impl Paced {
    /// Starts workers for these targets.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(targets: Targets, options: Options) -> Result<Self, PacedError> {
        let source = Arc::new(Source {
            core: Mutex::new(Core::new(options.pace)?),
            work: Condvar::new(),
            room: Condvar::new(),
            clock: Instant::now(),
            targets,
            options,
            bell: OnceLock::new(),
        });
        let pool = Pool::start(options.depth, &source).map_err(PacedError::Thread)?;
        Ok(Self { source, pool: Some(pool) })
    }

    /// Applies a stream from its beginning to its end. May be called again: sequence numbers begin anew, and the time.
    /// `goes_on` is asked from time to time.
    ///
    /// # Errors
    /// Why it ended early. What had been issued is then on the targets, or in part.
    pub fn run(&mut self, feed: &mut Feed<'_>, goes_on: &mut dyn FnMut() -> bool) -> Result<(), PacedError> {
        self.source.core().begin(self.source.now() + LEAD_NS)?;
        loop {
            let Some((header, payload)) = feed().map_err(PacedError::Feed)? else { break };
            self.source.admit(&header, payload, goes_on)?;
        }
        self.source.drain(goes_on)
    }

    /// Ends the workers, flushes the targets, and tells how it went.
    ///
    /// # Errors
    /// A target could not be flushed.
    pub fn finish(mut self) -> Result<Fidelity, PacedError> {
        self.end();
        self.source.targets.values().try_for_each(|target| target.flush())?;
        Ok(self.source.core().tally.report())
    }

    fn end(&mut self) {
        self.source.core().over = true;
        self.source.wake_all();
        if let Some(pool) = self.pool.take() {
            pool.join();
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.end();
    }
}

impl Source {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the replay was made.
    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.room.notify_all();
        self.bell.get().into_iter().for_each(Bell::ring);
    }

    fn admit(&self, header: &EntryHeader, payload: Bytes, goes_on: &mut dyn FnMut() -> bool) -> Result<(), PacedError> {
        let target = match core::volume(header) {
            Some(volume) => Some(self.targets.get(&volume.0).cloned().ok_or(PacedError::NoTarget(volume))?),
            None => None,
        };
        let mut core = self.wait_for(self.options.ahead, goes_on)?;
        core.admit(Waiting::new(header, payload, target), self.now())?;
        let is_sooner = core.next_due().is_some_and(|due| due < core.watched);
        drop(core);
        // What is later than what somebody watches for is looked at then.
        if is_sooner {
            self.work.notify_one();
        }
        self.bell.get().into_iter().for_each(Bell::ring);
        Ok(())
    }

    fn drain(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<(), PacedError> {
        self.wait_for(0, goes_on).map(drop)
    }

    /// Waits, as the reader, until fewer bytes than `room` are held, or nothing is.
    fn wait_for(&self, room: u64, goes_on: &mut dyn FnMut() -> bool) -> Result<MutexGuard<'_, Core>, PacedError> {
        let mut core = self.core();
        core.wanted_room = room;
        let mut looked = Instant::now();
        loop {
            if let Some(failure) = &core.failure {
                return Err(PacedError::Apply(failure.clone()));
            }
            if core.has_room() {
                return Ok(core);
            }
            core = self.room.wait_timeout(core, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if !goes_on() {
                    return Err(PacedError::Interrupted);
                }
            }
        }
    }

    /// Takes a result. Who brings it looks for the next entry, and wakes others for what comes after that.
    fn note(&self, core: &mut Core, done: Done) {
        core.complete(done, self.now());
        if core.has_room() || core.failure.is_some() {
            self.room.notify_one();
        }
    }

    /// Waits out the rest of the time of an entry, and says that it is issued.
    fn issue(&self, job: Job, at: &core::Issue) -> Job {
        while self.now() < at.due {
            std::hint::spin_loop();
        }
        at.issued.store(self.now(), Ordering::Relaxed);
        job
    }
}

impl WorkSource for Source {
    fn exchange(&self, done: Option<Done>) -> Option<Job> {
        let mut core = self.core();
        done.into_iter().for_each(|done| self.note(&mut core, done));
        loop {
            if core.over || core.failure.is_some() {
                return None;
            }
            let now = self.now();
            core = match core.next_due() {
                Some(due) if due <= now + SPIN_NS => {
                    let (job, at) = core.take()?;
                    drop(core);
                    // Somebody else watches the clock meanwhile.
                    self.work.notify_one();
                    return Some(self.issue(job, &at));
                }
                // Another one may watch for a later time, and not hear of this one.
                Some(due) if due < core.watched => {
                    core.watched = due;
                    least_slack();
                    let wait = Duration::from_nanos(due - SPIN_NS - now);
                    let mut core = self.work.wait_timeout(core, wait).unwrap_or_else(PoisonError::into_inner).0;
                    if core.watched == due {
                        core.watched = NOBODY;
                    }
                    core
                }
                _ => self.work.wait(core).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// With a pace, entries are given to workers that wait for their time.
    fn has_plain_writes(&self) -> bool {
        let plain = |target: &Arc<dyn Target>| {
            target.file_for_write(ByteRange::new(0, target.block_size().unwrap_or(512).into())).is_some()
        };
        self.options.pace == Pace::Max && self.targets.values().any(plain)
    }

    fn take(&self, done: &mut Vec<Done>, jobs: &mut Vec<Job>) -> bool {
        let mut core = self.core();
        done.drain(..).for_each(|done| self.note(&mut core, done));
        if core.over || core.failure.is_some() {
            return false;
        }
        while core.in_flight() < self.options.depth {
            let Some((job, at)) = core.take() else { break };
            at.issued.store(self.now(), Ordering::Relaxed);
            jobs.push(job);
        }
        true
    }

    fn finish(&self, done: Done) {
        self.note(&mut self.core(), done);
        self.bell.get().into_iter().for_each(Bell::ring);
    }

    fn set_bell(&self, bell: Bell) {
        // There is one pool, which sets one.
        let _ = self.bell.set(bell);
    }

    fn broken(&self, reason: &str) {
        self.core().failure.get_or_insert_with(|| reason.to_owned());
        self.wake_all();
    }
}

/// Sleeps end when they are asked to, as near as the kernel can.
fn least_slack() {
    // Without it sleeps are up to 50 µs longer, and counted so.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

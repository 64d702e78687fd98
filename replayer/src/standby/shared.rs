//! What all threads of a standby share: the engine behind one lock, and the ways they wake each other.
//!
//! Locks are taken in the order keeper, core; nobody blocks on a disk or a socket while holding the core.

mod saving;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use formats::wire::{Ack, HashRequest, Hello, Refuse, RefuseCode, Resend, Welcome};
use formats::{ByteRange, EntryHeader};
use replication::Now;
use replication::standby::{LocalVolume, Standby, StandbyConfig as EngineConfig, StandbyState};
use tokio::sync::{Notify, watch};

use super::budget::Budget;
use super::checkpoint::Keeper;
use super::config::StandbyConfig;
use super::devices;
use super::engine::{Core, Mapped};
use super::frame::Frame;
use super::hash::{self, HashError};
use super::journaling::Order;
use super::queue::Prepared;
use super::start::Named;
use super::status::{AppliedCounts, StandbyStatus};
use super::tape;
use crate::command::{CommandTarget, NotApplied};
use crate::pool::{Done, Job, WorkSource};
use crate::target::{Bell, Target};

/// How long a request for hashes waits for what was received before it.
const HASH_DRAIN: Duration = Duration::from_secs(60);
/// Entries that are redone under one lock: those who apply want it, too.
const AT_ONCE: usize = 32;
/// Pause of a reader that waits for entries, not bytes, to become fewer.
const PENDING_PAUSE: Duration = Duration::from_millis(5);

/// Names one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SessionId(pub(super) u64);

/// What sessions and the listener must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// Go on.
    Run,
    /// Writes were lost: end sessions, which may come back when they are applied again.
    Rewind,
    /// An error ended the standby: end sessions, turn everybody away.
    Stopped,
    /// End.
    End,
}

pub(super) struct Shared {
    pub(super) config: StandbyConfig,
    pub(super) budget: Arc<Budget>,
    /// Something may be worth an acknowledgement.
    pub(super) acks: Notify,
    targets: Vec<Named>,
    core: Mutex<Core>,
    /// A worker may find an entry.
    work: Condvar,
    /// The same for the pool's dispatcher, if it has one.
    bell: OnceLock<Bell>,
    /// Everything received may be applied.
    idle: Condvar,
    /// A checkpoint may be wanted.
    checkpoint: Condvar,
    keeper: Mutex<Keeper>,
    orders: Sender<Order>,
    signal: watch::Sender<Signal>,
    ending: AtomicBool,
    /// All workers have ended.
    pool_gone: AtomicBool,
    started: Instant,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under a lock is a bug that the panic hook reports; the state behind it is still the best there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The block size that a target without one of its own is served with; see [`Shared::begin_session`].
const ANY_BLOCK: u32 = 512;

fn engine_config(config: &StandbyConfig, targets: &[Named]) -> EngineConfig {
    let local = |(name, target): &Named| LocalVolume {
        name: name.clone(),
        size: target.size(),
        block_size: target.block_size().unwrap_or(ANY_BLOCK),
    };
    let mut engine = EngineConfig::new(&config.node, targets.iter().map(local).collect());
    engine.depth = if tape::serves(targets) { 1 } else { config.workers() };
    engine.window_bytes = config.queue_bytes.min(engine.window_bytes);
    engine.checkpoint_interval = config.checkpoint_interval;
    engine.heal = config.heal;
    engine
}

impl Shared {
    pub(super) fn new(
        config: StandbyConfig,
        targets: Vec<Named>,
        state: &StandbyState,
        keeper: Keeper,
        orders: Sender<Order>,
    ) -> Arc<Self> {
        let engine = Standby::recover(engine_config(&config, &targets), state);
        let by_name =
            |name: &str| targets.iter().find(|(other, _)| other == name).map(|(_, target)| Arc::clone(target));
        let table = state.volumes.iter().map(|v| Mapped { size: v.size, target: by_name(&v.name) }).collect();
        Arc::new(Self {
            budget: Budget::new(config.queue_bytes),
            acks: Notify::new(),
            core: Mutex::new(Core::new(engine, table)),
            work: Condvar::new(),
            bell: OnceLock::new(),
            idle: Condvar::new(),
            checkpoint: Condvar::new(),
            keeper: Mutex::new(keeper),
            signal: watch::Sender::new(Signal::Run),
            ending: AtomicBool::new(false),
            pool_gone: AtomicBool::new(false),
            started: Instant::now(),
            config,
            targets,
            orders,
        })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    fn now(&self) -> Now {
        self.started.elapsed()
    }

    /// What sessions watch.
    pub(super) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    // Sessions.

    /// A primary's hello, answered. Blocks while the state of a new stream is made durable.
    ///
    /// A target without a block size of its own takes any, so its volumes are passed to the engine with the one that
    /// the engine was told; ranges of whole larger blocks are ranges of whole smaller ones.
    pub(super) fn begin_session(&self, hello: &Hello, peer: &str) -> Result<(SessionId, Welcome), Refuse> {
        let mut hello = hello.clone();
        for volume in &mut hello.volumes {
            let name = volume.name.to_string_lossy();
            let target = self.targets.iter().find(|(other, _)| *other == name);
            let any = target.is_some_and(|(_, target)| target.block_size().is_none());
            if any && volume.block_size.is_power_of_two() && volume.block_size >= ANY_BLOCK {
                volume.block_size = ANY_BLOCK;
            }
        }
        devices::check(&hello, &self.targets)?;
        let (id, accepted) = self.core().begin_session(&hello, peer, &self.targets)?;
        devices::meet(&hello, &self.targets);
        if accepted.save_first.is_some() {
            self.start_over(id)?;
            let saved = self.save_checkpoint();
            if !matches!(saved, Ok(true)) {
                self.end_session(id);
            }
            let refuse = |code, text: &str| Refuse { code, text: text.into() };
            match saved {
                Ok(true) => {}
                Ok(false) => return Err(refuse(RefuseCode::Busy, "writes were lost and are applied again; try again")),
                Err(reason) => {
                    self.fail(&reason);
                    return Err(refuse(RefuseCode::Stopped, &reason));
                }
            }
        }
        Ok((id, accepted.welcome))
    }

    /// Tells the targets that another stream begins.
    fn start_over(&self, id: SessionId) -> Result<(), Refuse> {
        let mut targets = self.targets.iter().filter_map(|(_, target)| target.commands());
        let Err(error) = targets.try_for_each(|commands| commands.start_over()) else { return Ok(()) };
        let reason = format!("the file with a tape's last command: {error}");
        self.fail(&reason);
        self.end_session(id);
        Err(Refuse { code: RefuseCode::Stopped, text: reason.as_str().into() })
    }

    /// The copy of a tape ends where a command is missing.
    fn check_tape(&self, headers: &[EntryHeader]) -> Result<(), String> {
        if !tape::serves(&self.targets) {
            return Ok(());
        }
        tape::ends_at(headers).map_or(Ok(()), Err)
    }

    /// The primary says that it can send nothing more. On a disk that is a matter of the link; the copy of a tape is at
    /// its end.
    pub(super) fn turned_away(&self, refuse: &Refuse) {
        if refuse.code == RefuseCode::Stopped && tape::serves(&self.targets) {
            self.fail(&refuse.text.to_string_lossy());
        }
    }

    /// The session is over: what the journal thread has not appended by the time it hears of it was never received.
    pub(super) fn end_session(&self, id: SessionId) {
        if self.core().end_session(id) {
            // Without a journal thread the standby has stopped, and there are no sessions any more.
            let _ = self.orders.send(Order::EndSession);
        }
    }

    /// The journal thread has forgotten the frames it had not appended.
    pub(super) fn session_over(&self, forgotten: u64) {
        let mut core = self.core();
        core.session_over(forgotten);
        if core.is_drained() {
            self.idle.notify_all();
        }
    }

    /// Waits until more may be read, noting that and why.
    pub(super) async fn wait_for_room(&self) {
        if !self.budget.is_exhausted() && self.core().wants_frames() {
            return;
        }
        self.core().set_queue_full(true);
        loop {
            self.budget.room().await;
            if self.core().wants_frames() || self.stop_reason().is_some() {
                break;
            }
            tokio::time::sleep(PENDING_PAUSE).await;
        }
        self.core().set_queue_full(false);
    }

    /// A frame of entries, with all its checksums verified.
    pub(super) fn receive(&self, id: SessionId, frame: Frame) -> Result<(), Refuse> {
        let mut core = self.core();
        core.receive(id, &frame)?;
        // Sent under the lock, so that frames reach the journal in the order in which the engine took them. A journal
        // thread that is gone has stopped the standby, which ends the session.
        let _ = self.orders.send(Order::Append(frame));
        drop(core);
        self.acks.notify_one();
        Ok(())
    }

    /// What there is to acknowledge in this session.
    pub(super) fn poll_ack(&self, id: SessionId) -> Option<Ack> {
        self.core().poll_ack(id)
    }

    /// Hashes of what the target holds once everything received is applied.
    pub(super) fn hash(&self, request: &HashRequest) -> Result<Vec<[u8; 32]>, HashError> {
        let (target, size) = self.core().mapped(request.volume).ok_or(HashError::Volume(request.volume))?;
        hash::check(request, size)?;
        if !self.wait_drained(HASH_DRAIN) {
            return Err(HashError::NotDrained(HASH_DRAIN));
        }
        // A read may be what a device tells of lost writes: no checkpoint is made before that is known here.
        let _no_checkpoint = lock(&self.keeper);
        let hashes = hash::hashes(&*target, request);
        if let Err(HashError::Target(error)) = &hashes
            && let Some(NotApplied::Lost { .. }) = NotApplied::of(error)
        {
            tracing::warn!("{error}");
            self.core().lose();
            self.lost();
        }
        hashes
    }

    /// What the primary is to send again now, in this session.
    pub(super) fn poll_resend(&self, id: SessionId) -> Option<Resend> {
        let now = self.now();
        self.core().poll_resend(id, now)
    }

    /// How long it is until there is something to ask for; none while there is not.
    pub(super) fn resend_wait(&self, id: SessionId) -> Option<Duration> {
        let now = self.now();
        self.core().resend_due(id).map(|at| at.saturating_sub(now))
    }

    /// Something went wrong on the link; the standby itself goes on.
    pub(super) fn note_link_error(&self, error: &super::session::SessionEnd) {
        tracing::warn!(%error, "link");
        self.core().note_link_error(error);
    }

    // The journal thread.

    /// Entries of the own journal that must be applied again. Blocks while too many wait.
    pub(super) fn redo(&self, first: u64, frame: &Frame) -> Result<(), String> {
        self.check_tape(&frame.headers)?;
        while !self.core().wants_frames() && !self.is_ending() && !self.is_losing() {
            std::thread::sleep(PENDING_PAUSE);
        }
        let mut entries = Some(Prepared::new(frame, Instant::now()));
        for (part, at) in frame.headers.chunks(AT_ONCE).zip((first..).step_by(AT_ONCE)) {
            let mut core = self.core();
            if core.is_losing() {
                return Ok(());
            }
            if let Some(entries) = entries.take() {
                core.add(first, entries);
            }
            let redone = core.redo(at, part);
            drop(core);
            redone.map_err(|error| error.to_string())?;
        }
        self.wake_workers();
        Ok(())
    }

    /// All of them were handed over.
    pub(super) fn redo_end(&self, usage: (u64, u64)) {
        let mut core = self.core();
        core.redo_end();
        core.journal_usage(usage, false);
    }

    /// These frames are durable, the first entry of each having this index.
    pub(super) fn durable(&self, group: Vec<(u64, Frame)>) -> Result<(), String> {
        group.iter().try_for_each(|(_, frame)| self.check_tape(&frame.headers))?;
        let now = Instant::now();
        for (first, frame) in &group {
            let entries = Prepared::new(frame, now);
            let durable = self.core().durable(*first, frame.headers.len(), entries);
            durable.map_err(|error| error.to_string())?;
            self.wake_workers();
        }
        self.acks.notify_one();
        Ok(())
    }

    /// Bytes used and in all; `full` when something waits for room.
    pub(super) fn journal_usage(&self, usage: (u64, u64), full: bool) {
        self.core().journal_usage(usage, full);
        if full {
            self.checkpoint.notify_all();
        }
    }

    // The checkpoint.

    /// Waits until a checkpoint should be saved; false when the standby ends.
    pub(super) fn wait_for_checkpoint(&self) -> bool {
        let mut core = self.core();
        loop {
            if self.is_ending() || core.stop_reason().is_some() {
                return false;
            }
            if core.checkpoint_due(self.now()) {
                return true;
            }
            let pause = core.checkpoint_pause(self.config.checkpoint_interval);
            core = self.checkpoint.wait_timeout(core, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Commands that are being tried again on a target are given up: they are redone at the next start.
    pub(super) fn abandon_commands(&self) {
        self.targets.iter().filter_map(|(_, target)| target.commands()).for_each(|commands| commands.abandon());
    }

    // All.

    /// Something that the standby cannot go on after: it stops, visibly.
    pub(super) fn fail(&self, reason: &str) {
        tracing::error!(reason, "standby stopped");
        self.core().fail(reason);
        self.signal.send_if_modified(|signal| {
            let first = matches!(*signal, Signal::Run | Signal::Rewind);
            if first {
                *signal = Signal::Stopped;
            }
            first
        });
        self.wake_all();
    }

    /// Why it stopped, if it did.
    pub(super) fn stop_reason(&self) -> Option<String> {
        self.core().stop_reason().map(str::to_owned)
    }

    /// Whether everything received is applied within `timeout`.
    pub(super) fn wait_drained(&self, timeout: Duration) -> bool {
        let waiting = |core: &mut Core| !core.is_drained() && core.stop_reason().is_none() && !self.is_ending();
        let waited = self.idle.wait_timeout_while(self.core(), timeout, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_drained()
    }

    /// Ends sessions and listening.
    pub(super) fn close_sessions(&self) {
        self.signal.send_replace(Signal::End);
        self.budget.wake();
    }

    /// Ends workers and threads, except the journal's, which ends by an order.
    pub(super) fn end(&self) {
        self.signal.send_replace(Signal::End);
        self.ending.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// All workers have ended: no entry is reported any more.
    pub(super) fn pool_ended(&self) {
        self.pool_gone.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn wake_workers(&self) {
        match self.bell.get() {
            Some(bell) => bell.ring(),
            None => self.work.notify_all(),
        }
    }

    fn wake_all(&self) {
        // Under the lock, so that nobody is between looking and waiting.
        let _core = self.core();
        self.wake_workers();
        self.idle.notify_all();
        self.checkpoint.notify_all();
        self.budget.wake();
    }

    /// What was done with entries so far.
    pub(super) fn done(&self) -> AppliedCounts {
        self.core().done()
    }

    pub(super) fn status(&self, local: SocketAddr) -> StandbyStatus {
        let mut status = self.core().status(&self.config, &self.targets);
        status.listen = local.to_string();
        status.queued_bytes = self.budget.used();
        status
    }
}

impl Shared {
    /// Notes results under the lock that the caller holds, and takes it again.
    fn note<'a>(&'a self, mut core: MutexGuard<'a, Core>, done: impl Iterator<Item = Done>) -> MutexGuard<'a, Core> {
        let now = self.now();
        for done in done {
            let finished = core.finish(done, now);
            let stopped = core.engine_failure();
            if !matches!(finished, Ok(false)) || stopped.is_some() {
                drop(core);
                match finished {
                    Ok(true) => self.lost(),
                    Err(reason) => self.fail(&reason),
                    Ok(false) => stopped.iter().for_each(|reason| self.fail(reason)),
                }
                core = self.core();
            }
        }
        self.acks.notify_one();
        if core.is_drained() {
            self.idle.notify_all();
        }
        core
    }
}

impl WorkSource for Shared {
    fn exchange(&self, done: Option<Done>) -> Option<Job> {
        let mut core = self.core();
        if done.is_some() {
            core = self.note(core, done.into_iter());
        }
        loop {
            if self.is_ending() {
                return None;
            }
            let (job, more) = core.next_job();
            if job.is_some() {
                (0..more).for_each(|_| self.work.notify_one());
                return job;
            }
            core.idle_workers += 1;
            core = self.work.wait(core).unwrap_or_else(PoisonError::into_inner);
            core.idle_workers -= 1;
        }
    }

    fn has_plain_writes(&self) -> bool {
        let first_block = |target: &dyn Target| ByteRange::new(0, target.block_size().unwrap_or(ANY_BLOCK).into());
        let has_file = |target: &dyn Target| target.file_for_write(first_block(target)).is_some();
        let has_queue = |target: &dyn Target| target.commands().is_some_and(CommandTarget::has_queue);
        self.targets.iter().any(|(_, target)| has_file(&**target) || has_queue(&**target))
    }

    fn take(&self, done: &mut Vec<Done>, jobs: &mut Vec<Job>) -> bool {
        let mut core = self.core();
        if !done.is_empty() {
            core = self.note(core, done.drain(..));
        }
        if self.is_ending() {
            return false;
        }
        jobs.extend(std::iter::from_fn(|| core.next_job().0));
        true
    }

    fn finish(&self, done: Done) {
        drop(self.note(self.core(), std::iter::once(done)));
        self.wake_workers();
    }

    fn set_bell(&self, bell: Bell) {
        // There is one pool, which sets one.
        let _ = self.bell.set(bell);
    }

    fn broken(&self, reason: &str) {
        self.fail(reason);
    }
}

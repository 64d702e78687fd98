//! Workers that put entries onto targets.
//!
//! The pool knows no order: a [`WorkSource`] hands out an entry only when everything it depends on is applied. A worker
//! that is done with one gives its result and asks for the next in the same call, so that one lock serves both. Where plain
//! writes of block devices or captured writes of SCSI devices are to be applied, one thread takes all entries and keeps
//! those in flight, through io_uring and the devices' queues; workers then do the rest.

mod commands;
mod dispatch;
#[cfg(test)]
pub(crate) mod list;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use formats::command::{Command, CommandError};
use formats::{Crc32c, Entry, EntryHeader, Op, OpFlags, PayloadEncoding, Position, Record, Region, scsi};
use replication::consistency::leaves_hole;
use replication::errors::{Scope, StopReason};
use thiserror::Error;

use crate::command::{CommandTarget, NotApplied, Replayed, Unapplied, apply_effect, unknown_after};
use crate::target::{Bell, Effect, Target, TargetError};
use dispatch::{Dispatcher, Handoff};

/// One entry that may be applied now.
pub struct Job {
    /// Its index in the standby's own journal.
    pub index: u64,
    /// What to do.
    pub header: EntryHeader,
    /// With which bytes.
    pub payload: Bytes,
    /// On what; `None` for entries that touch nothing.
    pub target: Option<Arc<dyn Target>>,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is on the target.
    Applied(Effect),
    /// It has no content: a gap, or the empty region that ends a resync.
    Nothing,
    /// The command failed on the primary, so there is nothing to repeat; a region heals its range.
    FailedOnPrimary,
    /// Its payload was not captured; a region heals its range.
    NotCarried,
    /// A zone or opaque command, whose effect is not known here.
    NotReplayable,
}

/// Why an entry could not be applied. The standby stops: it neither skips nor guesses.
#[derive(Error, Debug)]
pub enum ApplyError {
    /// The payload is no longer what was captured on the primary.
    #[error(
        "payload of the entry at position {position} is damaged (checksum {found:08x}, captured {wanted:08x}); it was \
         not applied. Check this machine's memory and the disk under the standby's directory"
    )]
    Damaged {
        /// Position of the entry in the stream.
        position: Position,
        /// Checksum of the bytes here.
        found: u32,
        /// Checksum taken on the primary.
        wanted: u32,
    },
    /// The entry names a volume that is not served; the protocol checks make this impossible.
    #[error("the entry at position {position} names a volume that is not served here")]
    NoTarget {
        /// Position of the entry in the stream.
        position: Position,
    },
    /// The target failed.
    #[error("the entry at position {position} could not be applied: {source}")]
    Target {
        /// Position of the entry in the stream.
        position: Position,
        /// What the target said.
        source: TargetError,
    },
    /// The SCSI command behind the entry cannot be read: a primary of another version.
    #[error("the entry at position {position} holds no SCSI command of this version: {source}; update the standby")]
    Command {
        /// Position of the entry in the stream.
        position: Position,
        /// What is wrong with it.
        source: CommandError,
    },
    /// What the SCSI command did cannot be told here, although the primary could.
    #[error("what the SCSI command at position {position} did cannot be told here; update the standby")]
    NoEffect {
        /// Position of the entry in the stream.
        position: Position,
    },
    /// A hole of the standby's own making: its device did not take what the primary's did. What `scope` names must be read
    /// from the primary again.
    #[error("the entry at position {position} could not be applied: {scope} is out of sync after {why}")]
    OutOfSync {
        /// Position of the entry in the stream.
        position: Position,
        /// How much.
        scope: Scope,
        /// After what.
        why: Unapplied,
    },
    /// Writes that the standby's device had taken may be lost: its journal must be applied again from the checkpoint, which
    /// a start does.
    #[error("at position {position}: {}", NotApplied::Lost { why: why.clone() })]
    Lost {
        /// Position of the entry in the stream.
        position: Position,
        /// Who told it.
        why: Unapplied,
    },
    /// The error consistency table says to stop.
    #[error("at position {position}: {}", NotApplied::Stopped { reason: *reason, why: why.clone() })]
    Stopped {
        /// Position of the entry in the stream.
        position: Position,
        /// In the table's word.
        reason: StopReason,
        /// At what.
        why: Unapplied,
    },
    /// The SCSI command behind the entry is not for this device, or was abandoned.
    #[error("the entry at position {position} could not be applied: {source}")]
    NotApplied {
        /// Position of the entry in the stream.
        position: Position,
        /// Why.
        source: NotApplied,
    },
    /// A bug in a target.
    #[error("the target panicked at the entry at position {position}; this is a bug, please report it")]
    Panicked {
        /// Position of the entry in the stream.
        position: Position,
    },
}

impl ApplyError {
    fn not_applied(position: Position, reason: NotApplied) -> Self {
        match reason {
            NotApplied::OutOfSync { scope, why } => Self::OutOfSync { position, scope, why },
            NotApplied::Lost { why } => Self::Lost { position, why },
            NotApplied::Stopped { reason, why } => Self::Stopped { position, reason, why },
            source @ (NotApplied::Unfit(_) | NotApplied::Tape(_) | NotApplied::Abandoned) => {
                Self::NotApplied { position, source }
            }
        }
    }

    /// A target's error, where it carries the table's word as that.
    fn of_target(position: Position, source: TargetError) -> Self {
        match NotApplied::of(&source).cloned() {
            Some(reason) => Self::not_applied(position, reason),
            None => Self::Target { position, source },
        }
    }
}

/// The result of one job.
#[derive(Debug)]
pub struct Done {
    /// Index of the entry.
    pub index: u64,
    /// What became of it.
    pub outcome: Result<Outcome, ApplyError>,
}

/// Where workers get their entries from.
pub trait WorkSource: Send + Sync + 'static {
    /// Takes the result of the worker's last entry and waits for its next one; `None` ends the worker.
    fn exchange(&self, done: Option<Done>) -> Option<Job>;

    /// Whether writes may be expected that one thread can keep in flight, so that it is worth having.
    fn has_plain_writes(&self) -> bool {
        false
    }

    /// Takes results, and adds every entry that may start now to `jobs`, without waiting. False when all is over.
    fn take(&self, done: &mut Vec<Done>, jobs: &mut Vec<Job>) -> bool {
        done.drain(..).for_each(|done| self.finish(done));
        jobs.extend(self.exchange(None));
        !jobs.is_empty()
    }

    /// Takes a result of somebody who wants no other entry in return.
    fn finish(&self, done: Done) {
        let _ = done;
    }

    /// What to ring when [`Self::take`] has more to give, or ends.
    fn set_bell(&self, bell: Bell) {
        let _ = bell;
    }

    /// What applies entries failed, and not an entry.
    fn broken(&self, reason: &str) {
        tracing::error!(reason, "the pool is broken");
    }
}

/// Running workers.
#[derive(Debug)]
pub struct Pool {
    workers: Vec<JoinHandle<()>>,
    method: Method,
}

/// How entries get to targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Each by a worker of its own, which waits for its end.
    Workers,
    /// Plain writes many at a time by one thread that waits in an io_uring, the others by workers.
    Ring,
}

impl Method {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workers => "threads",
            Self::Ring => "io_uring",
        }
    }
}

impl Pool {
    /// Starts `depth` workers on `source`, and a dispatcher where plain writes make it worth while.
    ///
    /// # Errors
    /// The system has no more threads; those started end when the source says so.
    pub fn start<S: WorkSource>(depth: usize, source: &Arc<S>) -> std::io::Result<Self> {
        let depth = depth.max(1);
        // One entry at a time is as fast by a plain call.
        if depth > 1
            && source.has_plain_writes()
            && let Some(pool) = Self::dispatched(depth, source)?
        {
            return Ok(pool);
        }
        let start = |number| {
            let source = Arc::clone(source);
            spawn(number, move || work(&*source))
        };
        Ok(Self { workers: (0..depth).map(start).collect::<Result<_, _>>()?, method: Method::Workers })
    }

    /// With a dispatcher; none where there is no io_uring for this process.
    fn dispatched<S: WorkSource>(depth: usize, source: &Arc<S>) -> std::io::Result<Option<Self>> {
        let handoff = Arc::new(Handoff::default());
        let Some(dispatcher) = start_dispatcher(depth, source, &handoff)? else { return Ok(None) };
        let start = |number| {
            let (source, handoff) = (Arc::clone(source), Arc::clone(&handoff));
            spawn(number, move || dispatch::work(&*source, &handoff))
        };
        let workers = std::iter::once(Ok(dispatcher)).chain((0..depth).map(start));
        Ok(Some(Self { workers: workers.collect::<Result<_, _>>()?, method: Method::Ring }))
    }

    /// How entries get to targets.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Waits until the source has ended every worker.
    pub fn join(self) {
        for worker in self.workers {
            // Workers catch what a target panics with; there is nothing else to hear from them.
            let _ = worker.join();
        }
    }
}

fn spawn(number: usize, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("apply-{number}")).spawn(work)
}

/// None where there is no io_uring for this process.
fn start_dispatcher<S: WorkSource>(
    depth: usize,
    source: &Arc<S>,
    handoff: &Arc<Handoff>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    let (source, handoff) = (Arc::clone(source), Arc::clone(handoff));
    let (told, made) = mpsc::channel();
    let run = move || match Dispatcher::new(depth, Arc::clone(&source), Arc::clone(&handoff)) {
        Ok(dispatcher) => {
            let _ = told.send(Ok(()));
            if catch_unwind(AssertUnwindSafe(|| dispatcher.run())).is_err() {
                source.broken("the thread that applies entries panicked; this is a bug, please report it");
                handoff.close();
            }
        }
        // Whoever waits for the answer is in the middle of starting and cannot be gone.
        Err(error) => drop(told.send(Err(error))),
    };
    let thread = std::thread::Builder::new().name("apply-ring".to_owned()).spawn(run)?;
    match made.recv() {
        Ok(Ok(())) => Ok(Some(thread)),
        Ok(Err(error)) => {
            tracing::info!(%error, "no io_uring here: entries are applied by threads that wait");
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}

fn work(source: &impl WorkSource) {
    let mut done = None;
    while let Some(job) = source.exchange(done.take()) {
        done = Some(execute(&job));
    }
}

/// Applies one entry, whatever its target does.
fn execute(job: &Job) -> Done {
    caught(job, || apply(&job.header, &job.payload, job.target.as_deref()))
}

/// Goes on with an entry whose command was begun before, after its payload was checked, and answered so.
fn go_on(job: &Job, answer: scsi::Outcome) -> Done {
    caught(job, || apply_checked(&job.header, &job.payload, job.target.as_deref(), Some(answer)))
}

fn caught(job: &Job, apply: impl FnOnce() -> Result<Outcome, ApplyError>) -> Done {
    let position = job.header.position;
    let outcome = catch_unwind(AssertUnwindSafe(apply));
    Done { index: job.index, outcome: outcome.unwrap_or(Err(ApplyError::Panicked { position })) }
}

/// Puts one entry onto its target, after checking its payload once more.
///
/// # Errors
/// Nothing was applied when the payload is damaged; parts may be when the target failed.
pub fn apply(header: &EntryHeader, payload: &[u8], target: Option<&dyn Target>) -> Result<Outcome, ApplyError> {
    check_payload(header, payload)?;
    apply_checked(header, payload, target, None)
}

fn apply_checked(
    header: &EntryHeader,
    payload: &[u8],
    target: Option<&dyn Target>,
    answer: Option<scsi::Outcome>,
) -> Result<Outcome, ApplyError> {
    let position = header.position;
    let (content, trailer) = parts(header, payload);
    if let (Entry::Record(record), Some(commands)) = (&header.entry, commands(header, target))
        && let Some(outcome) = replay(header, record, (content, trailer), commands, answer)?
    {
        return Ok(outcome);
    }
    let applied = match (&header.entry, target) {
        (Entry::Gap(_), _) => return Ok(Outcome::Nothing),
        (Entry::Record(record), _) if !record.status.is_ok() => return failed(header, record, trailer),
        (_, None) => return Err(ApplyError::NoTarget { position }),
        (Entry::Record(Record { op: Op::Scsi, .. }), Some(target)) => return apply_scsi(trailer, position, target),
        (Entry::Record(record), Some(target)) => apply_record(record, header.payload.encoding, content, target),
        (Entry::Region(region), Some(target)) => apply_region(region, header.payload.encoding, content, target),
    };
    applied.map_err(|source| ApplyError::of_target(position, source))
}

/// Content and trailer of a payload that was checked.
fn parts<'a>(header: &EntryHeader, payload: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    payload.split_at(payload.len() - header.payload.trailer as usize)
}

/// A command that failed on the primary. What its header does not say to be unknown may be so by what its device answered:
/// the same as on a target that takes commands.
fn failed(header: &EntryHeader, record: &Record, trailer: &[u8]) -> Result<Outcome, ApplyError> {
    if trailer.is_empty() || leaves_hole(header) {
        return Ok(Outcome::FailedOnPrimary);
    }
    let position = header.position;
    let command = Command::decode(trailer).map_err(|source| ApplyError::Command { position, source })?;
    match unknown_after(record, &command) {
        Some((scope, why)) if scope != Scope::DeviceState => Err(ApplyError::OutOfSync { position, scope, why }),
        _ => Ok(Outcome::FailedOnPrimary),
    }
}

/// Who takes the command behind an entry, if there is one and the target takes commands.
fn commands<'a>(header: &EntryHeader, target: Option<&'a dyn Target>) -> Option<&'a dyn CommandTarget> {
    target.filter(|_| header.payload.trailer > 0)?.commands()
}

/// Issues a record's command again; nothing when the record is to be applied by its range and content.
fn replay(
    header: &EntryHeader,
    record: &Record,
    (content, trailer): (&[u8], &[u8]),
    commands: &dyn CommandTarget,
    answer: Option<scsi::Outcome>,
) -> Result<Option<Outcome>, ApplyError> {
    let (position, encoding) = (header.position, header.payload.encoding);
    let command = Command::decode(trailer).map_err(|source| ApplyError::Command { position, source })?;
    let replayed = match answer {
        None => commands.command(record, encoding, content, &command),
        Some(answer) => commands.go_on(record, encoding, content, &command, answer),
    };
    // The primary goes by the header alone: it owes a region for what leaves a hole, and for nothing else.
    let (heals, failed) = (leaves_hole(header), !record.status.is_ok());
    Ok(Some(match replayed.map_err(|source| ApplyError::of_target(position, source))? {
        Replayed::Applied(effect) => Outcome::Applied(effect),
        Replayed::Unchanged if failed => Outcome::FailedOnPrimary,
        Replayed::Unchanged => Outcome::Nothing,
        Replayed::ReadBack(_) if heals && failed => Outcome::FailedOnPrimary,
        Replayed::ReadBack(_) if heals => Outcome::NotReplayable,
        Replayed::ReadBack(why) => return Err(ApplyError::OutOfSync { position, scope: Scope::Range, why }),
        Replayed::NotCarried if heals => Outcome::NotCarried,
        // The primary says so only of commands whose effect it could tell.
        Replayed::NotCarried if record.op == Op::Scsi => return Err(ApplyError::NoEffect { position }),
        Replayed::NotCarried | Replayed::AsRecord => return Ok(None),
        Replayed::Noted(why) => {
            tracing::warn!(%position, "not repeated: {why}");
            Outcome::NotReplayable
        }
        Replayed::Failed(reason) => return Err(ApplyError::not_applied(position, reason)),
    }))
}

fn check_payload(header: &EntryHeader, payload: &[u8]) -> Result<(), ApplyError> {
    if header.payload.len == 0 {
        return Ok(());
    }
    let (found, wanted) = (Crc32c::of(payload).0, header.payload.crc.0);
    if found == wanted && payload.len() == header.payload.len as usize {
        return Ok(());
    }
    Err(ApplyError::Damaged { position: header.position, found, wanted })
}

fn apply_record(
    record: &Record,
    encoding: PayloadEncoding,
    content: &[u8],
    target: &dyn Target,
) -> Result<Outcome, TargetError> {
    if record.flags.contains(OpFlags::PREFLUSH) {
        target.flush()?;
    }
    let keep_blocks = record.flags.contains(OpFlags::NOUNMAP);
    let effect = match record.op {
        Op::Write => return apply_write(record, encoding, content, target),
        Op::Flush => target.flush().map(|()| Effect::AsAsked),
        Op::Discard => target.discard(record.range),
        Op::WriteZeroes => target.write_zeroes(record.range, !keep_blocks),
        Op::SecureErase => erase(record, target),
        Op::Zone | Op::Opaque | Op::Scsi => return Ok(Outcome::NotReplayable),
    }?;
    if record.flags.contains(OpFlags::FUA) && record.op != Op::Flush {
        target.flush()?;
    }
    Ok(Outcome::Applied(effect))
}

/// A target that takes commands gets it as it was; the others get its effect.
fn apply_scsi(trailer: &[u8], position: Position, target: &dyn Target) -> Result<Outcome, ApplyError> {
    let command = Command::decode(trailer).map_err(|source| ApplyError::Command { position, source })?;
    match apply_effect(&command, target) {
        // The primary says so only of commands whose effect it could tell.
        Ok(Outcome::NotReplayable) => Err(ApplyError::NoEffect { position }),
        applied => applied.map_err(|source| ApplyError::Target { position, source }),
    }
}

fn apply_write(
    record: &Record,
    encoding: PayloadEncoding,
    payload: &[u8],
    target: &dyn Target,
) -> Result<Outcome, TargetError> {
    let fua = record.flags.contains(OpFlags::FUA);
    match encoding {
        PayloadEncoding::None if record.range.is_empty() => Ok(Outcome::Nothing),
        PayloadEncoding::None => Ok(Outcome::NotCarried),
        PayloadEncoding::Data => {
            target.write(record.range.offset, payload, fua).map(|()| Outcome::Applied(Effect::AsAsked))
        }
        PayloadEncoding::Zero => {
            let effect = target.write_zeroes(record.range, false)?;
            if fua {
                target.flush()?;
            }
            Ok(Outcome::Applied(effect))
        }
    }
}

/// The content must go; that no copy of it stays inside the device can only be had from a device that promises it.
fn erase(record: &Record, target: &dyn Target) -> Result<Effect, TargetError> {
    match target.secure_erase(record.range) {
        Err(TargetError::Unsupported { .. }) => {
            target.discard(record.range)?;
            Ok(Effect::Emulated)
        }
        other => other,
    }
}

fn apply_region(
    region: &Region,
    encoding: PayloadEncoding,
    payload: &[u8],
    target: &dyn Target,
) -> Result<Outcome, TargetError> {
    match encoding {
        _ if region.range.is_empty() => Ok(Outcome::Nothing),
        PayloadEncoding::None => Ok(Outcome::NotCarried),
        PayloadEncoding::Data => {
            target.write(region.range.offset, payload, false).map(|()| Outcome::Applied(Effect::AsAsked))
        }
        PayloadEncoding::Zero => target.write_zeroes(region.range, true).map(Outcome::Applied),
    }
}

#[cfg(test)]
mod tests;

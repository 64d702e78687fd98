//! One thread that keeps many plain writes in flight, and hands everything else to workers.
//!
//! Where a worker takes one entry and waits for its end, the dispatcher takes all that may start, queues those that come
//! to one write of an open file in its ring, begins captured writes of SCSI devices on their queues, and gives the results
//! of all that ended back at once: one lock and one system call for a batch. What is neither (discards, flushes, FUA,
//! other commands, large transfers), and a write that came back short or with an error, goes to a worker, whose word
//! counts. Repeating a write is harmless: nothing that overlaps starts before it is reported. A SCSI command that was
//! answered is not repeated: the worker goes on from that answer, which may be the only one that tells of something.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use formats::{Entry, EntryHeader, Op, OpFlags, PayloadEncoding, scsi};

use super::commands::{Commands, Look, Start, is_command};
use super::{Done, Job, Outcome, WorkSource, check_payload, execute, go_on};
use crate::target::{Effect, Event, WriteRing};

/// What a worker is to do.
enum Handed {
    /// All of it.
    New(Job),
    /// The rest, after the device's answer to the first attempt.
    Answered(Job, scsi::Outcome),
}

/// Entries for workers, in the order in which they may start.
#[derive(Default)]
pub(super) struct Handoff {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Handed>,
    closed: bool,
}

impl Handoff {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Handed) {
        self.state().jobs.push_back(job);
        self.filled.notify_one();
    }

    /// Ends the workers. What was not begun is forgotten: it lies in the journal.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.closed, state.jobs) = (true, VecDeque::new());
        self.filled.notify_all();
    }

    fn next(&self) -> Option<Handed> {
        let waiting = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let state = self.filled.wait_while(self.state(), waiting);
        state.unwrap_or_else(PoisonError::into_inner).jobs.pop_front()
    }
}

/// A worker of the dispatcher.
pub(super) fn work(source: &impl WorkSource, handoff: &Handoff) {
    while let Some(job) = handoff.next() {
        source.finish(match job {
            Handed::New(job) => execute(&job),
            Handed::Answered(job, answer) => go_on(&job, answer),
        });
    }
}

/// The dispatcher's thread.
pub(super) struct Dispatcher<S> {
    source: Arc<S>,
    ring: WriteRing,
    /// By slot of the ring.
    writes: Vec<Option<Job>>,
    commands: Commands,
    done: Vec<Done>,
    handoff: Arc<Handoff>,
}

impl<S: WorkSource> Dispatcher<S> {
    /// With room for `depth` writes and as many commands; to be made in the thread that runs it.
    ///
    /// # Errors
    /// There is no io_uring for this process.
    pub(super) fn new(depth: usize, source: Arc<S>, handoff: Arc<Handoff>) -> io::Result<Self> {
        let ring = WriteRing::new(depth)?;
        source.set_bell(ring.bell());
        let writes = std::iter::repeat_with(|| None).take(depth).collect();
        Ok(Self { source, ring, writes, commands: Commands::new(depth), done: Vec::new(), handoff })
    }

    /// Until the source ends and nothing is in flight.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            let goes_on = self.source.take(&mut self.done, &mut jobs);
            jobs.drain(..).for_each(|job| self.begin(job));
            if !self.done.is_empty() {
                continue;
            }
            if !goes_on && self.ring.in_flight() + self.commands.in_flight() == 0 {
                break;
            }
            if let Err(error) = self.wait() {
                // Nobody knows what became of what is in flight: it is redone when the standby is started again.
                self.source.broken(&format!("io_uring failed: {error}; start the standby again, with less depth"));
                break;
            }
        }
        self.handoff.close();
    }

    fn begin(&mut self, job: Job) {
        let write = plain_write(&job);
        if write.is_none() && !is_command(&job) {
            return self.handoff.push(Handed::New(job));
        }
        if let Err(error) = check_payload(&job.header, &job.payload) {
            return self.done.push(Done { index: job.index, outcome: Err(error) });
        }
        let Some((file, offset, content)) = write else { return self.begin_command(job) };
        match self.ring.write(file, offset, content) {
            Some(slot) => self.writes[slot] = Some(job),
            None => self.handoff.push(Handed::New(job)),
        }
    }

    fn begin_command(&mut self, job: Job) {
        match self.commands.begin(job) {
            Start::InFlight(slot, descriptor) => self.watch(slot, descriptor),
            Start::ForWorker(job) => self.handoff.push(Handed::New(job)),
        }
    }

    fn watch(&mut self, slot: u32, descriptor: RawFd) {
        if !self.ring.watch(descriptor, slot) {
            self.source.broken("io_uring has no room for what it has room for; this is a bug, please report it");
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let Self { ring, writes, commands, done, handoff, .. } = self;
        let mut again = Vec::new();
        ring.wait(|event| match event {
            Event::Written(slot, written) => {
                let Some(job) = writes.get_mut(slot).and_then(Option::take) else { return };
                match written {
                    Ok(bytes) if bytes == job.header.payload.content_len() as usize => {
                        done.push(as_asked(&job));
                    }
                    _ => handoff.push(Handed::New(job)),
                }
            }
            Event::Ready(slot) => match commands.look(slot) {
                Look::Nothing => {}
                Look::Waiting(descriptor) => again.push((slot, descriptor)),
                Look::Applied(job) => done.push(as_asked(&job)),
                Look::Answered(job, answer) => handoff.push(Handed::Answered(job, answer)),
                Look::Unknown(job) => handoff.push(Handed::New(job)),
            },
        })?;
        again.into_iter().for_each(|(slot, descriptor)| self.watch(slot, descriptor));
        Ok(())
    }
}

fn as_asked(job: &Job) -> Done {
    Done { index: job.index, outcome: Ok(Outcome::Applied(Effect::AsAsked)) }
}

/// Where an entry's content goes when all there is to it is one write of an open file.
fn plain_write(job: &Job) -> Option<(&Arc<File>, u64, &[u8])> {
    let header = &job.header;
    if header.payload.encoding != PayloadEncoding::Data || !is_plain(header) {
        return None;
    }
    let range = header.range()?;
    let content = job.payload.get(..header.payload.content_len() as usize)?;
    if content.len() as u64 != range.len {
        return None;
    }
    Some((job.target.as_ref()?.file_for_write(range)?, range.offset, content))
}

fn is_plain(header: &EntryHeader) -> bool {
    match &header.entry {
        Entry::Record(record) => {
            let durable = record.flags.intersects(OpFlags::PREFLUSH | OpFlags::FUA);
            record.op == Op::Write && record.status.is_ok() && !durable
        }
        Entry::Region(_) => true,
        Entry::Gap(_) => false,
    }
}

#[cfg(test)]
mod tests;

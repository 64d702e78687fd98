//! One thread that keeps many plain writes in flight, and hands everything else to workers.
//!
//! Where a worker takes one entry and waits for its end, the dispatcher takes all that may start, queues those that come
//! to one write of an open file in its ring, and gives the results of all that ended back at once: one lock and one
//! system call for a batch. What is no plain write (discards, flushes, FUA, commands, large transfers), and a write that
//! came back short or with an error, goes to a worker, whose word counts. Repeating a write is harmless: nothing that overlaps
//! starts before it is reported.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use formats::{Entry, EntryHeader, Op, OpFlags, PayloadEncoding};

use super::{Done, Job, Outcome, WorkSource, check_payload, execute};
use crate::target::{Effect, WriteRing};

/// Entries for workers, in the order in which they may start.
#[derive(Default)]
pub(super) struct Handoff {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Handoff {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.state().jobs.push_back(job);
        self.filled.notify_one();
    }

    /// Ends the workers. What was not begun is forgotten: it lies in the journal.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.closed, state.jobs) = (true, VecDeque::new());
        self.filled.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let waiting = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let state = self.filled.wait_while(self.state(), waiting);
        state.unwrap_or_else(PoisonError::into_inner).jobs.pop_front()
    }
}

/// A worker of the dispatcher.
pub(super) fn work(source: &impl WorkSource, handoff: &Handoff) {
    while let Some(job) = handoff.next() {
        source.finish(execute(&job));
    }
}

/// The dispatcher's thread.
pub(super) struct Dispatcher<S> {
    source: Arc<S>,
    ring: WriteRing,
    /// By slot of the ring.
    in_flight: Vec<Option<Job>>,
    done: Vec<Done>,
    handoff: Arc<Handoff>,
}

impl<S: WorkSource> Dispatcher<S> {
    /// With room for `depth` writes; to be made in the thread that runs it.
    ///
    /// # Errors
    /// There is no io_uring for this process.
    pub(super) fn new(depth: usize, source: Arc<S>, handoff: Arc<Handoff>) -> io::Result<Self> {
        let ring = WriteRing::new(depth)?;
        source.set_bell(ring.bell());
        let in_flight = std::iter::repeat_with(|| None).take(depth).collect();
        Ok(Self { source, ring, in_flight, done: Vec::new(), handoff })
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
            if !goes_on && self.ring.in_flight() == 0 {
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
        let Some((file, offset, content)) = plain_write(&job) else { return self.handoff.push(job) };
        if let Err(error) = check_payload(&job.header, &job.payload) {
            return self.done.push(Done { index: job.index, outcome: Err(error) });
        }
        match self.ring.write(file, offset, content) {
            Some(slot) => self.in_flight[slot] = Some(job),
            None => self.handoff.push(job),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let Self { ring, in_flight, done, handoff, .. } = self;
        ring.wait(|slot, written| {
            let Some(job) = in_flight.get_mut(slot).and_then(Option::take) else { return };
            match written {
                Ok(bytes) if bytes == job.header.payload.content_len() as usize => {
                    done.push(Done { index: job.index, outcome: Ok(Outcome::Applied(Effect::AsAsked)) });
                }
                _ => handoff.push(job),
            }
        })
    }
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

//! Captured SCSI commands that were begun and not waited for, each in a slot of its target's queue.

use std::os::fd::RawFd;

use formats::command::Command;
use formats::{Entry, scsi};

use super::{Job, commands, parts};
use crate::command::Begun;

/// One of them, and what is polled for its end.
struct InFlight {
    job: Job,
    descriptor: RawFd,
}

/// All of them. A slot is one in every target's queue, so as many are in flight in all of them together as there are slots.
pub(super) struct Commands {
    begun: Vec<Option<InFlight>>,
    free: Vec<u32>,
}

/// What became of an entry whose command was to be begun.
pub(super) enum Start {
    /// It is in flight in this slot: poll this.
    InFlight(u32, RawFd),
    /// It needs a worker, or all slots are taken.
    ForWorker(Job),
}

/// What became of a command whose descriptor was readable.
pub(super) enum Look {
    /// There is none in that slot.
    Nothing,
    /// It is not over: poll again.
    Waiting(RawFd),
    /// It is applied.
    Applied(Job),
    /// The device answered in a way that asks for more.
    Answered(Job, scsi::Outcome),
    /// It is over, and nobody knows how.
    Unknown(Job),
}

/// Whether an entry is a command for a target that may begin it.
pub(super) fn is_command(job: &Job) -> bool {
    matches!(job.header.entry, Entry::Record(_))
        && commands(&job.header, job.target.as_deref()).is_some_and(|commands| commands.has_queue())
}

impl Commands {
    pub(super) fn new(slots: usize) -> Self {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        Self { begun: (0..slots).map(|_| None).collect(), free: (0..slots).rev().collect() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.begun.len() - self.free.len()
    }

    /// Begins a command whose payload was checked.
    pub(super) fn begin(&mut self, job: Job) -> Start {
        let Some(slot) = self.free.last().copied() else { return Start::ForWorker(job) };
        let Some(descriptor) = begin(&job, slot as usize) else { return Start::ForWorker(job) };
        self.free.pop();
        self.begun[slot as usize] = Some(InFlight { job, descriptor });
        Start::InFlight(slot, descriptor)
    }

    /// What became of a slot's command.
    pub(super) fn look(&mut self, slot: u32) -> Look {
        let Some(place) = self.begun.get_mut(slot as usize) else { return Look::Nothing };
        let Some(InFlight { job, descriptor }) = place.take() else { return Look::Nothing };
        let target = commands(&job.header, job.target.as_deref());
        let begun = target.map_or(Ok(Begun::Waiting), |target| target.look(slot as usize));
        let look = match begun {
            Ok(Begun::Waiting) => {
                *place = Some(InFlight { job, descriptor });
                return Look::Waiting(descriptor);
            }
            Ok(Begun::Applied) => Look::Applied(job),
            Ok(Begun::Answered(answer)) => Look::Answered(job, answer),
            Err(error) => {
                tracing::warn!(position = %job.header.position, %error, "a command is issued again");
                Look::Unknown(job)
            }
        };
        self.free.push(slot);
        look
    }
}

fn begin(job: &Job, slot: usize) -> Option<RawFd> {
    let Entry::Record(record) = &job.header.entry else { return None };
    let target = commands(&job.header, job.target.as_deref())?;
    let (content, trailer) = parts(&job.header, &job.payload);
    let command = Command::decode(trailer).ok()?;
    target.begin(slot, record, job.header.payload.encoding, content, &command)
}

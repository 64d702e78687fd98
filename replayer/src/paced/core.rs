//! What is waiting, what is due, and what is in flight.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use formats::entry::Origin;
use formats::{Entry, EntryHeader, Seq, VolumeIndex};
use hdrhistogram::CreationError;
use replication::scheduler::{Scheduler, SchedulerError};

use super::Pace;
use super::fidelity::{Ended, Tally};
use crate::pool::{Done, Job};
use crate::target::Target;

/// When an entry is to be issued, and when it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Issue {
    pub(super) due: u64,
    pub(super) issued: Arc<AtomicU64>,
}

/// An entry that was admitted and is not complete.
pub(super) struct Waiting {
    header: EntryHeader,
    payload: Bytes,
    target: Option<Arc<dyn Target>>,
    issue: Issue,
    /// When it could have been issued.
    ready: u64,
}

impl Waiting {
    pub(super) fn new(header: &EntryHeader, payload: Bytes, target: Option<Arc<dyn Target>>) -> Self {
        Self { header: *header, payload, target, issue: Issue::default(), ready: 0 }
    }

    fn origin(&self) -> Option<&Origin> {
        match &self.header.entry {
            Entry::Record(record) => Some(&record.origin),
            _ => None,
        }
    }
}

/// The volume that an entry is about.
pub(super) fn volume(header: &EntryHeader) -> Option<VolumeIndex> {
    match &header.entry {
        Entry::Record(record) => Some(record.volume),
        Entry::Region(region) => Some(region.volume),
        Entry::Gap(_) => None,
    }
}

/// Nobody watches the clock.
pub(super) const NOBODY: u64 = u64::MAX;

/// The state of a replay. Times are nanoseconds of the replay's own clock.
pub(super) struct Core {
    pace: Pace,
    scheduler: Scheduler,
    /// Index of the next entry.
    next: u64,
    entries: HashMap<u64, Waiting>,
    /// Entries whose order allows them to start, by their time.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    in_flight: usize,
    /// When this run begins, and when the recorded one did.
    begin: u64,
    recorded_begin: Option<u64>,
    /// Bytes of payload that are held.
    ahead: u64,
    /// The reader waits until fewer bytes are held.
    pub(super) wanted_room: u64,
    /// A worker watches the clock until this time, or [`NOBODY`] does.
    pub(super) watched: u64,
    pub(super) over: bool,
    pub(super) failure: Option<String>,
    pub(super) tally: Tally,
}

impl Core {
    pub(super) fn new(pace: Pace) -> Result<Self, CreationError> {
        Ok(Self {
            pace,
            // How many run at once is the pool's to say.
            scheduler: Scheduler::new(usize::MAX, 0, Seq(0)),
            next: 1,
            entries: HashMap::new(),
            due: BinaryHeap::new(),
            in_flight: 0,
            begin: 0,
            recorded_begin: None,
            ahead: 0,
            wanted_room: 0,
            watched: NOBODY,
            over: false,
            failure: None,
            tally: Tally::new()?,
        })
    }

    /// A run begins at this time.
    pub(super) fn begin(&mut self, at: u64) -> Result<(), SchedulerError> {
        self.scheduler.restart_order(Seq(0))?;
        (self.begin, self.recorded_begin) = (at, None);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the reader may go on.
    pub(super) fn has_room(&self) -> bool {
        self.ahead < self.wanted_room || self.is_idle()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn admit(&mut self, mut entry: Waiting, now: u64) -> Result<(), SchedulerError> {
        self.scheduler.admit(self.next, &entry.header)?;
        if !matches!(entry.header.entry, Entry::Gap(_)) {
            entry.issue.due = self.time_of(&entry, now);
            self.ahead += entry.payload.len() as u64;
            self.entries.insert(self.next, entry);
        }
        self.next += 1;
        self.collect(now);
        Ok(())
    }

    /// When an entry is to be issued. What has no time of its own is so at once.
    fn time_of(&mut self, entry: &Waiting, now: u64) -> u64 {
        let Some(origin) = entry.origin() else { return now };
        // Without a pace too: what was recorded is told beside what came of it.
        let begin = *self.recorded_begin.get_or_insert(origin.issued_ns);
        let Pace::Percent(percent) = self.pace else { return now };
        let after = u128::from(origin.issued_ns.saturating_sub(begin)) * 100 / u128::from(percent.max(1));
        self.begin.saturating_add(after as u64)
    }

    /// Puts what may start now in the order of time.
    fn collect(&mut self, now: u64) {
        while let Some(index) = self.scheduler.next_ready() {
            if let Some(entry) = self.entries.get_mut(&index) {
                entry.ready = now;
                self.due.push(Reverse((entry.issue.due, index)));
            }
        }
    }

    /// The time of the next entry that may start.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// That entry.
    pub(super) fn take(&mut self) -> Option<(Job, Issue)> {
        let Reverse((_, index)) = self.due.pop()?;
        let entry = self.entries.get(&index)?;
        self.in_flight += 1;
        let job = Job { index, header: entry.header, payload: entry.payload.clone(), target: entry.target.clone() };
        Some((job, entry.issue.clone()))
    }

    /// An entry ended; others may start because of it.
    pub(super) fn complete(&mut self, done: Done, now: u64) {
        let Some(entry) = self.entries.remove(&done.index) else { return };
        self.in_flight -= 1;
        self.ahead -= entry.payload.len() as u64;
        let completed = self.scheduler.complete(done.index).map_err(|error| error.to_string());
        match (done.outcome.map_err(|error| error.to_string()), completed) {
            (Ok(outcome), Ok(())) => self.tally.add(&self.ended(&entry, now), outcome),
            (Err(error), _) | (_, Err(error)) => drop(self.failure.get_or_insert(error)),
        }
        self.collect(now);
    }

    fn ended<'a>(&self, entry: &'a Waiting, now: u64) -> Ended<'a> {
        let begin = self.recorded_begin.unwrap_or(0);
        let recorded = entry.origin().map(|origin| {
            let after = |at: u64| at.saturating_sub(begin);
            (after(origin.issued_ns), after(origin.completed_ns.max(origin.issued_ns)))
        });
        Ended {
            header: &entry.header,
            paced: matches!(self.pace, Pace::Percent(_)),
            due: entry.issue.due,
            ready: entry.ready,
            issued: entry.issue.issued.load(Ordering::Relaxed),
            ended: now,
            recorded,
        }
    }
}

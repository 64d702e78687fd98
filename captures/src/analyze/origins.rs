//! Who wrote, and what went wrong.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use formats::{Op, Record};
use serde::Serialize;

/// Processes and control groups that are told apart; what comes after them is counted together.
const MOST: usize = 1024;
/// Of these so many are told.
const TOLD: usize = 20;
/// Failures that are told one by one.
const FAILURES: usize = 100;

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginReport {
    /// A process by task name and id, or a control group by id; `others` for all that are not told apart.
    pub name: String,
    /// Commands.
    pub commands: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// A command that failed, or whose end nobody saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// Its place in the order of completion.
    pub seq: u64,
    /// When it completed, in nanoseconds since 1970, UTC.
    pub at_ns: u64,
    /// On which volume.
    pub volume: u16,
    /// Where, in bytes.
    pub offset: u64,
    /// How long it was, in bytes.
    pub len: u64,
    /// What it was and how it failed.
    pub what: String,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FailureReport {
    /// All failures.
    pub count: u64,
    /// By the block layer's word for them.
    pub by_status: Vec<(String, u64)>,
    /// The first hundred.
    pub first: Vec<Failure>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    commands: u64,
    bytes: u64,
    flushes: u64,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        self.commands += 1;
        match record.op {
            Op::Write => self.bytes = self.bytes.saturating_add(record.range.len),
            Op::Flush => self.flushes += 1,
            _ => {}
        }
    }
}

/// Sums by key, for a bounded number of keys.
#[derive(Debug)]
struct Table<K> {
    sums: HashMap<K, Sums, FixedState>,
    others: Sums,
    /// Who was last: in general also who is next.
    last: Option<(K, Sums)>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { sums: HashMap::with_hasher(FixedState::default()), others: Sums::default(), last: None }
    }
}

impl<K: std::hash::Hash + Eq + Copy + Ord> Table<K> {
    fn add(&mut self, key: K, record: &Record) {
        match &mut self.last {
            Some((last, sums)) if *last == key => return sums.add(record),
            _ => self.settle(),
        }
        let mut sums = Sums::default();
        sums.add(record);
        self.last = Some((key, sums));
    }

    fn settle(&mut self) {
        let Some((key, more)) = self.last.take() else { return };
        let has_room = self.sums.len() < MOST || self.sums.contains_key(&key);
        let sums = if has_room { self.sums.entry(key).or_default() } else { &mut self.others };
        sums.commands += more.commands;
        sums.bytes = sums.bytes.saturating_add(more.bytes);
        sums.flushes += more.flushes;
    }

    /// The busiest; the rest as one.
    fn report(&mut self, name: impl Fn(&K) -> String) -> Vec<OriginReport> {
        self.settle();
        let mut all: Vec<(K, Sums)> = self.sums.iter().map(|(key, sums)| (*key, *sums)).collect();
        all.sort_unstable_by_key(|(key, sums)| (std::cmp::Reverse((sums.bytes, sums.commands)), *key));
        let mut others = self.others;
        for (_, sums) in all.drain(TOLD.min(all.len())..) {
            others.commands += sums.commands;
            others.bytes = others.bytes.saturating_add(sums.bytes);
            others.flushes += sums.flushes;
        }
        let told = |name: String, Sums { commands, bytes, flushes }| OriginReport { name, commands, bytes, flushes };
        let mut reports: Vec<_> = all.iter().map(|(key, sums)| told(name(key), *sums)).collect();
        reports.extend((others.commands > 0).then(|| told("others".to_owned(), others)));
        reports
    }
}

/// Follows who does what.
#[derive(Debug, Default)]
pub(super) struct Origins {
    processes: Table<([u8; 16], u32)>,
    cgroups: Table<u64>,
}

impl Origins {
    pub(super) fn record(&mut self, record: &Record) {
        self.processes.add((record.origin.comm, record.origin.tgid), record);
        self.cgroups.add(record.origin.cgroup_id, record);
    }

    pub(super) fn processes(&mut self) -> Vec<OriginReport> {
        self.processes.report(|(comm, tgid)| format!("{} ({tgid})", comm_of(comm)))
    }

    pub(super) fn cgroups(&mut self) -> Vec<OriginReport> {
        self.cgroups.report(u64::to_string)
    }
}

/// A task's name as text.
pub(crate) fn comm_of(comm: &[u8; 16]) -> String {
    let len = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..len]).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Follows failures.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: u64,
    by_status: HashMap<u8, u64>,
    first: Vec<Failure>,
}

impl Failures {
    pub(super) fn record(&mut self, record: &Record, words: Option<&str>) {
        if record.status.is_ok() {
            return;
        }
        self.count += 1;
        *self.by_status.entry(record.status.0).or_default() += 1;
        if self.first.len() < FAILURES {
            self.first.push(Failure {
                seq: record.seq.0,
                at_ns: record.origin.completed_ns,
                volume: record.volume.0,
                offset: record.range.offset,
                len: record.range.len,
                what: words.unwrap_or(record.status.name()).to_owned(),
            });
        }
    }

    pub(super) fn report(&self) -> FailureReport {
        let name = |(status, count): (&u8, &u64)| (formats::Status(*status).name().to_owned(), *count);
        let mut by_status: Vec<_> = self.by_status.iter().map(name).collect();
        by_status.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
        FailureReport { count: self.count, by_status, first: self.first.clone() }
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::Origin;
    use formats::{ByteRange, OpFlags, Seq, Status, VolumeIndex};

    use super::*;

    fn write(tgid: u32, comm: &[u8]) -> Record {
        let mut origin = Origin { tgid, cgroup_id: u64::from(tgid % 2), ..Origin::default() };
        origin.comm[..comm.len()].copy_from_slice(comm);
        let (op, flags, status, volume) = (Op::Write, OpFlags::empty(), Status(10), VolumeIndex(0));
        let range = ByteRange::new(0, u64::from(tgid) * 512);
        Record { seq: Seq(2), dep: Seq(1), volume, op, flags, range, status, origin }
    }

    #[test]
    fn more_than_there_is_room_for_are_others() {
        let mut origins = Origins::default();
        (1..=3000).for_each(|tgid| origins.record(&write(tgid, b"a\x1bb")));
        origins.record(&write(3, b"a\x1bb"));
        let processes = origins.processes();
        assert_eq!(processes.len(), TOLD + 1);
        assert_eq!((processes[0].name.as_str(), processes[0].bytes), ("a?b (1024)", 1024 * 512));
        assert_eq!(processes.iter().map(|process| process.commands).sum::<u64>(), 3001);
        assert_eq!(processes.last().map(|process| process.name.as_str()), Some("others"));
        let cgroups = origins.cgroups();
        assert_eq!(cgroups.iter().map(|group| group.commands).sum::<u64>(), 3001);
    }

    #[test]
    fn failures_are_named_and_counted() {
        let mut failures = Failures::default();
        (0..150).for_each(|_| failures.record(&write(1, b"x"), Some("WRITE: I/O")));
        let report = failures.report();
        assert_eq!((report.count, report.first.len(), report.by_status.len()), (150, 100, 1));
        assert_eq!(report.first[0].what, "WRITE: I/O");
    }
}

//! What a capture file says of itself: of the host, of each device, and what came of it. JSON in custom options, so that
//! later versions can say more; the words that pcapng has of its own are filled too.

use serde::{Deserialize, Serialize};

/// The version of the format that this code writes.
pub(crate) const FORMAT: u32 = 1;

/// Where, when and how the capture was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Section {
    /// Version of the format; 1.
    pub format: u32,
    /// What wrote the file, with its version.
    pub program: String,
    /// The host's name.
    pub host: String,
    /// Operating system and kernel.
    pub kernel: String,
    /// The machine's architecture.
    pub machine: String,
    /// The host's time zone: a name such as `Europe/Berlin`, or empty where it has none. All times in the file are UTC.
    pub time_zone: String,
    /// The line of observation that `seq` counts in, in hexadecimal.
    pub stream: String,
    /// When it began, in nanoseconds since 1970, UTC.
    pub started_ns: u64,
    /// The filter, in words; empty where there was none.
    pub filter: String,
    /// Whether payload was captured.
    pub payload: bool,
    /// Content kept of each command, in bytes, if there was a limit.
    pub snap_len: Option<u32>,
    /// Which part of a capture in several files it is, from 1; 0 of a capture in one.
    pub part: u32,
}

/// One device, and the interface that its commands are on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Index of its volume in the records.
    pub volume: u16,
    /// The volume's name.
    pub name: String,
    /// The path it was named by.
    pub path: String,
    /// Its size in bytes; 0 of a tape.
    pub size: u64,
    /// Its logical block size in bytes; 0 of a tape.
    pub block_size: u32,
    /// Where it starts on its disk, in bytes; 0 of a whole disk. Addresses in the records count from there.
    pub start: u64,
    /// What its maker calls it, as it says in its INQUIRY data or elsewhere.
    pub model: Option<String>,
    /// Its serial number or world-wide name.
    pub serial: Option<String>,
    /// Host, channel, target and LUN, of a SCSI device.
    pub address: Option<String>,
    /// Its peripheral device type, of a SCSI device.
    pub device_type: Option<u8>,
    /// Which layer was observed: `request`, `bio` or `scsi`.
    pub layer: String,
}

/// What a capture came to. Written at its end: a file without it was not ended in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// When it ended, in nanoseconds since 1970, UTC.
    pub ended_ns: u64,
    /// Commands in the file.
    pub records: u64,
    /// Bytes of payload that were handed over, whatever of it the file keeps.
    pub payload_bytes: u64,
    /// What is not in the file and should be.
    pub lost: Lost,
    /// What the filter kept out.
    pub filtered: Filtered,
    /// Reads, which are counted only.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Commands that had begun at the end and not ended; they are not in the file.
    pub in_flight: u64,
}

impl Statistics {
    /// What came since `earlier`; what is no sum stays.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            ended_ns: self.ended_ns,
            records: self.records.saturating_sub(earlier.records),
            payload_bytes: self.payload_bytes.saturating_sub(earlier.payload_bytes),
            lost: self.lost.since(&earlier.lost),
            filtered: self.filtered.since(&earlier.filtered),
            reads: self.reads.saturating_sub(earlier.reads),
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            in_flight: self.in_flight,
        }
    }

    /// This and what came later, or elsewhere; what is no sum is that of the later one.
    #[must_use]
    pub fn plus(&self, later: &Self) -> Self {
        Self {
            ended_ns: self.ended_ns.max(later.ended_ns),
            records: self.records.saturating_add(later.records),
            payload_bytes: self.payload_bytes.saturating_add(later.payload_bytes),
            lost: self.lost.plus(&later.lost),
            filtered: self.filtered.plus(&later.filtered),
            reads: self.reads.saturating_add(later.reads),
            read_bytes: self.read_bytes.saturating_add(later.read_bytes),
            in_flight: later.in_flight,
        }
    }
}

/// What did not come into the file, or not whole, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Completions that the ring had no room for.
    pub completions: u64,
    /// Commands whose end was not seen, of which the file has a mark only.
    pub unseen: u64,
    /// Commands of a kind that is never carried, or that straddle a volume's border.
    pub uncarried: u64,
    /// Commands that were captured and that the output did not take, such as a full disk.
    pub unwritten: u64,
    /// Changes whose issue was not seen. They are in the file without payload, process and time of issue.
    pub untracked: u64,
    /// Commands without the payload that they should have. They are in the file.
    pub payloads: u64,
}

impl Lost {
    /// Commands that are not in the file.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.completions + self.unseen + self.uncarried + self.unwritten
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            completions: self.completions.saturating_sub(earlier.completions),
            unseen: self.unseen.saturating_sub(earlier.unseen),
            untracked: self.untracked.saturating_sub(earlier.untracked),
            uncarried: self.uncarried.saturating_sub(earlier.uncarried),
            unwritten: self.unwritten.saturating_sub(earlier.unwritten),
            payloads: self.payloads.saturating_sub(earlier.payloads),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            completions: self.completions.saturating_add(other.completions),
            unseen: self.unseen.saturating_add(other.unseen),
            untracked: self.untracked.saturating_add(other.untracked),
            uncarried: self.uncarried.saturating_add(other.uncarried),
            unwritten: self.unwritten.saturating_add(other.unwritten),
            payloads: self.payloads.saturating_add(other.payloads),
        }
    }

    /// What was lost, in words; empty when nothing was.
    #[must_use]
    pub fn words(&self) -> String {
        let all = [
            (self.completions, "completions without room in the ring"),
            (self.unseen, "commands that ended unseen"),
            (self.uncarried, "changes of a kind that is not carried"),
            (self.unwritten, "commands that the output did not take"),
            (self.untracked, "issues of changes"),
            (self.payloads, "payloads"),
        ];
        let words = all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// Whether nothing was lost.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.commands() == 0 && self.untracked == 0 && self.payloads == 0
    }
}

/// Changes that the filter kept out, by the first reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filtered {
    /// Their place.
    pub range: u64,
    /// Operation, operation code or class.
    pub operation: u64,
    /// Task name or process id.
    pub process: u64,
    /// Control group.
    pub cgroup: u64,
}

impl Filtered {
    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.range + self.operation + self.process + self.cgroup
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            range: self.range.saturating_sub(earlier.range),
            operation: self.operation.saturating_sub(earlier.operation),
            process: self.process.saturating_sub(earlier.process),
            cgroup: self.cgroup.saturating_sub(earlier.cgroup),
        }
    }
    fn plus(&self, other: &Self) -> Self {
        Self {
            range: self.range.saturating_add(other.range),
            operation: self.operation.saturating_add(other.operation),
            process: self.process.saturating_add(other.process),
            cgroup: self.cgroup.saturating_add(other.cgroup),
        }
    }
}

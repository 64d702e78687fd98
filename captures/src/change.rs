//! What an entry did to the content of its volume: which ranges hold what afterwards, or that nobody can tell.

use std::fmt;

use formats::command::Command;
use formats::scsi::effect;
use formats::{ByteRange, Entry, Op, PayloadEncoding, Record, Region};
use replication::consistency::leaves_hole;
use replication::errors::{Scope, unknown_after};

use crate::reader::CapturedEntry;

/// What a range holds after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// These bytes again and again.
    Repeat(&'a [u8]),
    /// Zeros.
    Zero,
    /// It was given back to the device. Taken for zeros, which nearly all devices answer; what was unknown stays so.
    Discarded,
}

/// One range and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Where, in bytes of the volume.
    pub range: ByteRange,
    /// What.
    pub content: Content<'a>,
}

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done<'a> {
    /// The content is as before.
    Nothing,
    /// These ranges changed, one after the other.
    Changes(Vec<Change<'a>>),
    /// What the range holds is not known; without a range, of all of the volume.
    Unknown(Option<ByteRange>, Why),
}

/// Why the content of a range is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Completions that were lost.
    Lost {
        /// How many.
        count: u64,
    },
    /// The command failed, and what it left is not told.
    Failed(formats::Status),
    /// A command whose payload is not in the file.
    NoPayload,
    /// A command of which the file keeps only the beginning.
    Cut {
        /// Bytes that are not in the file.
        missing: u32,
    },
    /// A command whose effect cannot be told from it.
    NoEffect(Op),
    /// Changes that the filter of the capture left out.
    Filtered {
        /// How many; 0 when nobody counted them.
        count: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { count } => write!(f, "{count} completions were lost"),
            Self::Failed(status) => write!(f, "a command failed ({}), and what it left is not known", status.name()),
            Self::NoPayload => f.write_str("a change without its payload"),
            Self::Cut { missing } => write!(f, "a change of which {missing} bytes were not kept (snap length)"),
            Self::NoEffect(op) => write!(f, "a command ({op}) whose effect is not known"),
            Self::Filtered { count: 0 } => f.write_str("the capture has a filter"),
            Self::Filtered { count } => write!(f, "the filter of the capture left {count} changes out"),
        }
    }
}

impl CapturedEntry {
    /// What it did to the content of its volume. What failed on the device goes by the error consistency table
    /// (`docs/error-consistency.md`), as on a standby.
    #[must_use]
    pub fn done(&self) -> Done<'_> {
        match &self.header.entry {
            Entry::Gap(gap) => Done::Unknown(None, Why::Lost { count: gap.last.0 - gap.first.0 + 1 }),
            Entry::Region(region) => self.region(region),
            Entry::Record(record) if !record.status.is_ok() => self.failed(record),
            Entry::Record(record) => self.record(record),
        }
    }

    fn region(&self, region: &Region) -> Done<'_> {
        match region.range.is_empty() {
            true => Done::Nothing,
            false => self.written(region.range),
        }
    }

    /// A range that holds the content of the entry.
    fn written(&self, range: ByteRange) -> Done<'_> {
        let kept = self.content.len() as u64;
        let content = match self.header.payload.encoding {
            PayloadEncoding::None => return Done::Unknown(Some(range), Why::NoPayload),
            PayloadEncoding::Zero => Content::Zero,
            PayloadEncoding::Data if kept < range.len => {
                return Done::Unknown(Some(range), Why::Cut { missing: (range.len - kept) as u32 });
            }
            PayloadEncoding::Data => Content::Bytes(&self.content),
        };
        Done::Changes(vec![Change { range, content }])
    }

    fn failed(&self, record: &Record) -> Done<'_> {
        let why = Why::Failed(record.status);
        if leaves_hole(&self.header) {
            return Done::Unknown(somewhere(record), why);
        }
        let scope = Command::decode(&self.trailer).ok().and_then(|command| unknown_after(record, &command));
        match scope {
            None | Some((Scope::DeviceState, _)) => Done::Nothing,
            Some((Scope::Range, _)) => Done::Unknown(somewhere(record), why),
            Some(_) => Done::Unknown(None, why),
        }
    }

    fn record(&self, record: &Record) -> Done<'_> {
        let whole = |content| Done::Changes(vec![Change { range: record.range, content }]);
        match record.op {
            Op::Flush => Done::Nothing,
            Op::Zone | Op::Opaque => Done::Unknown(somewhere(record), Why::NoEffect(record.op)),
            Op::Scsi => self.command(record),
            _ if record.range.is_empty() => Done::Nothing,
            Op::Write => self.written(record.range),
            Op::WriteZeroes => whole(Content::Zero),
            Op::Discard | Op::SecureErase => whole(Content::Discarded),
        }
    }

    fn command(&self, record: &Record) -> Done<'_> {
        if self.missing > 0 {
            return Done::Unknown(somewhere(record), Why::Cut { missing: self.missing });
        }
        let unknown = Done::Unknown(somewhere(record), Why::NoEffect(record.op));
        let Ok(command) = Command::decode(&self.trailer) else { return unknown };
        let Some(changes) = command.changes() else { return unknown };
        let changes: Vec<Change<'_>> = changes.iter().map(|change| told(change, command.data_out)).collect();
        if changes.is_empty() { Done::Nothing } else { Done::Changes(changes) }
    }
}

/// The record's range; without one the command may have been about anything.
fn somewhere(record: &Record) -> Option<ByteRange> {
    (!record.range.is_empty()).then_some(record.range)
}

fn told<'a>(change: &effect::Change, data: &'a [u8]) -> Change<'a> {
    let of = |range: &std::ops::Range<usize>| data.get(range.clone()).unwrap_or_default();
    let content = match &change.content {
        effect::Content::Data(bytes) => Content::Bytes(of(bytes)),
        effect::Content::Repeat(pattern) => Content::Repeat(of(pattern)),
        effect::Content::Zero => Content::Zero,
        // `Command::changes` gives none of the last two.
        effect::Content::Unmapped | effect::Content::Unknown | effect::Content::Unreadable => Content::Discarded,
    };
    Change { range: change.range, content }
}

//! Whether a standby's content is one that the primary could have had after a power cut.
//!
//! An entry *leaves a hole* when it says that something changed but not to what. From then on a region that ends a
//! resync pass (`remaining = 0`) is owed; and since regions are read from the live device, content is newer than its
//! place until everything up to the largest `consistent_after` is applied.
//!
//! What a command that failed on the primary means is the error consistency table's to say
//! ([`crate::errors`]): both engines go by it, by the header alone.

use formats::entry::{Entry, EntryHeader, PayloadEncoding, Record};
use formats::wire::DataState;
use formats::{ByteRange, Op, Seq, VolumeIndex};

use crate::errors::{CommandKind, PrimaryOutcome, first_row};

/// Whether a standby that applies this entry does not know the primary's content any more: a gap, a change that
/// failed, a write without its payload, or a command whose effect is not known.
#[must_use]
pub fn leaves_hole(header: &EntryHeader) -> bool {
    match &header.entry {
        Entry::Gap(_) => true,
        Entry::Region(_) => false,
        Entry::Record(record) => record_leaves_hole(record, header.payload.encoding),
    }
}

fn record_leaves_hole(record: &Record, encoding: PayloadEncoding) -> bool {
    let failed = !record.status.is_ok() && failure_leaves_hole(record);
    match record.op {
        Op::Flush => failed,
        Op::Opaque | Op::Zone => true,
        _ if record.range.is_empty() => false,
        op => failed || (op == Op::Write && encoding == PayloadEncoding::None),
    }
}

/// Whether the table says that the primary must be read again. The block layer's status never says that nothing changed;
/// where a device did, whoever captured the command left its range empty.
fn failure_leaves_hole(record: &Record) -> bool {
    let kind = match record.op {
        Op::Flush => CommandKind::Flush,
        Op::Discard | Op::SecureErase => CommandKind::Unmap,
        Op::WriteZeroes => CommandKind::WriteSame,
        Op::Write | Op::Scsi | Op::Zone | Op::Opaque => CommandKind::Write,
    };
    first_row(PrimaryOutcome::of_block_status(record.status), kind).row().effect.leaves_hole()
}

/// The range that an entry makes equal to the primary's when it is applied, whatever was there: all of it is given. A
/// discard is none: what it leaves is the device's choice, and may be what was there.
#[must_use]
pub fn rewrites(header: &EntryHeader) -> Option<(VolumeIndex, ByteRange)> {
    let given = header.payload.encoding != PayloadEncoding::None;
    match &header.entry {
        Entry::Region(region) if given => Some((region.volume, region.range)),
        Entry::Record(record) if !record.status.is_ok() => None,
        Entry::Record(record) => match record.op {
            Op::Write if given => Some((record.volume, record.range)),
            Op::WriteZeroes => Some((record.volume, record.range)),
            _ => None,
        },
        Entry::Region(_) | Entry::Gap(_) => None,
    }
}

/// What an entry does to consistency: the part of a header that is kept until the entry is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// It leaves a hole.
    Hole,
    /// It heals, being newer than its place.
    Region {
        /// Not consistent before everything up to this is applied.
        consistent_after: Seq,
        /// Whether it ends a resync pass.
        last: bool,
    },
}

impl Effect {
    /// The effect of an entry.
    #[must_use]
    pub fn of(header: &EntryHeader) -> Self {
        match &header.entry {
            Entry::Region(region) => {
                Self::Region { consistent_after: region.consistent_after, last: region.remaining == 0 }
            }
            _ if leaves_hole(header) => Self::Hole,
            _ => Self::None,
        }
    }
}

/// What must be saved of it: a plain struct for the state file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConsistencyState {
    /// A region with `remaining = 0` must still come.
    pub owes_region: bool,
    /// Everything up to this must be applied.
    pub consistent_after: Seq,
    /// Nothing of the stream was ever received: the secondary needs everything.
    pub blank: bool,
}

impl ConsistencyState {
    /// Of a standby that holds nothing of the stream.
    pub const BLANK: Self = Self { owes_region: true, consistent_after: Seq(0), blank: true };
}

/// Follows the entries of a stream in order. Feeding entries again that it has seen, in order and to the end, leads
/// to the same state; so a state saved at a checkpoint plus the entries behind it is the state before the crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consistency(ConsistencyState);

impl From<ConsistencyState> for Consistency {
    fn from(state: ConsistencyState) -> Self {
        Self(state)
    }
}

impl From<Consistency> for ConsistencyState {
    fn from(consistency: Consistency) -> Self {
        consistency.0
    }
}

impl Consistency {
    /// An entry has arrived, durably or to be made so.
    pub fn entry_received(&mut self, header: &EntryHeader) {
        self.effect(Effect::of(header));
    }

    /// The same, given only the effect.
    pub fn effect(&mut self, effect: Effect) {
        self.0.blank = false;
        match effect {
            Effect::None => {}
            Effect::Hole => self.0.owes_region = true,
            Effect::Region { consistent_after, last } => {
                self.0.owes_region = !last;
                self.0.consistent_after = self.0.consistent_after.max(consistent_after);
            }
        }
    }

    /// The state of content in which every record up to `applied` is applied, and every region that was fed in.
    #[must_use]
    pub fn data_state(&self, applied: Seq) -> DataState {
        if self.0.blank {
            DataState::Blank
        } else if self.0.owes_region || applied < self.0.consistent_after {
            DataState::Inconsistent
        } else {
            DataState::Consistent
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use formats::entry::{Gap, Origin, PayloadInfo, Region};
    use formats::{ByteRange, OpFlags, Position, Status, VolumeIndex};

    use super::*;

    pub(crate) fn record(position: u64, seq: u64, op: Op, payload: PayloadInfo) -> EntryHeader {
        let len = if op == Op::Flush { 0 } else { 8 };
        let record = Record {
            seq: Seq(seq),
            dep: Seq(seq - 1),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::empty(),
            range: ByteRange::new(0, len),
            status: Status::OK,
            origin: Origin::default(),
        };
        EntryHeader { entry: Entry::Record(record), position: Position(position), payload }
    }

    pub(crate) fn region(position: u64, consistent_after: u64, remaining: u64) -> EntryHeader {
        let region = Region {
            volume: VolumeIndex(0),
            range: ByteRange::new(0, 512),
            consistent_after: Seq(consistent_after),
            remaining,
        };
        EntryHeader { entry: Entry::Region(region), position: Position(position), payload: PayloadInfo::ZERO }
    }

    pub(crate) fn gap(position: u64, first: u64, last: u64) -> EntryHeader {
        let gap = Gap { first: Seq(first), last: Seq(last) };
        EntryHeader { entry: Entry::Gap(gap), position: Position(position), payload: PayloadInfo::NONE }
    }

    fn failed(mut header: EntryHeader) -> EntryHeader {
        if let Entry::Record(record) = &mut header.entry {
            record.status = Status(10);
        }
        header
    }

    #[test]
    fn what_leaves_a_hole() {
        let data = PayloadInfo::data(b"12345678");
        assert!(leaves_hole(&gap(1, 1, 1)));
        assert!(leaves_hole(&record(1, 1, Op::Write, PayloadInfo::NONE)));
        assert!(leaves_hole(&failed(record(1, 1, Op::Write, data))));
        assert!(leaves_hole(&failed(record(1, 1, Op::Discard, PayloadInfo::NONE))));
        assert!(leaves_hole(&record(1, 1, Op::Opaque, PayloadInfo::NONE)));
        assert!(!leaves_hole(&record(1, 1, Op::Write, data)));
        assert!(!leaves_hole(&record(1, 1, Op::Write, PayloadInfo::ZERO)));
        assert!(!leaves_hole(&record(1, 1, Op::Discard, PayloadInfo::NONE)));
        assert!(!leaves_hole(&record(1, 1, Op::Flush, PayloadInfo::NONE)));
        assert!(leaves_hole(&failed(record(1, 1, Op::Flush, PayloadInfo::NONE))), "what was cached may be lost");
        assert!(!leaves_hole(&region(1, 1, 1)));
    }

    /// Whatever the status: the block layer does not say that nothing changed.
    #[test]
    fn every_failure_of_a_change_leaves_a_hole_as_the_table_says() {
        for status in 1..=u8::MAX {
            for op in [Op::Write, Op::Discard, Op::WriteZeroes, Op::SecureErase, Op::Flush, Op::Scsi] {
                let mut header = record(1, 1, op, PayloadInfo::NONE);
                if let Entry::Record(record) = &mut header.entry {
                    record.status = Status(status);
                }
                // The end of a flush that nobody saw leaves nothing unknown: it changes nothing by itself.
                let harmless = op == Op::Flush && Status(status) == Status::UNKNOWN;
                assert_eq!(leaves_hole(&header), !harmless, "{op} {status}");
            }
        }
    }

    #[test]
    fn what_makes_a_range_equal() {
        let data = PayloadInfo::data(b"12345678");
        let eight = Some((VolumeIndex(0), ByteRange::new(0, 8)));
        assert_eq!(rewrites(&record(1, 1, Op::Write, data)), eight);
        assert_eq!(rewrites(&record(1, 1, Op::WriteZeroes, PayloadInfo::NONE)), eight);
        assert_eq!(rewrites(&region(1, 1, 1)), Some((VolumeIndex(0), ByteRange::new(0, 512))));
        for op in [Op::Discard, Op::SecureErase, Op::Scsi, Op::Opaque, Op::Flush] {
            assert_eq!(rewrites(&record(1, 1, op, data)), None);
        }
        assert_eq!(rewrites(&record(1, 1, Op::Write, PayloadInfo::NONE)), None);
        assert_eq!(rewrites(&failed(record(1, 1, Op::Write, data))), None);
        assert_eq!(rewrites(&gap(1, 1, 1)), None);
    }

    #[test]
    fn a_blank_standby_is_consistent_after_the_last_region_and_what_it_names() {
        let mut consistency = Consistency::from(ConsistencyState::BLANK);
        assert_eq!(consistency.data_state(Seq(9)), DataState::Blank);
        consistency.entry_received(&region(3, 7, 1));
        assert_eq!(consistency.data_state(Seq(9)), DataState::Inconsistent);
        consistency.entry_received(&region(3, 9, 0));
        assert_eq!(consistency.data_state(Seq(8)), DataState::Inconsistent);
        assert_eq!(consistency.data_state(Seq(9)), DataState::Consistent);
    }

    #[test]
    fn a_gap_owes_a_last_region_even_when_one_came_before() {
        let mut consistency = Consistency::from(ConsistencyState::default());
        consistency.entry_received(&region(3, 4, 0));
        consistency.entry_received(&gap(4, 4, 6));
        assert_eq!(consistency.data_state(Seq(6)), DataState::Inconsistent);
        consistency.entry_received(&region(4, 6, 0));
        assert_eq!(consistency.data_state(Seq(6)), DataState::Consistent);
    }

    #[test]
    fn feeding_the_tail_again_changes_nothing() {
        let tail = [gap(1, 1, 2), region(1, 5, 1), record(2, 3, Op::Flush, PayloadInfo::NONE), region(2, 5, 0)];
        let mut consistency = Consistency::from(ConsistencyState::BLANK);
        tail.iter().for_each(|header| consistency.entry_received(header));
        for from in 0..tail.len() {
            let mut again = consistency;
            tail[from..].iter().for_each(|header| again.entry_received(header));
            assert_eq!(again, consistency, "from {from}");
        }
    }
}

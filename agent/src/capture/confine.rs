//! Keeping records within what is replicated.
//!
//! Where only ranges of a volume are replicated, the probe lets every command through that touches one. What a standby is
//! told of it must not reach beyond: its target may hold other things there. So a write across a border is cut; what
//! cannot be cut is told as "something in here changed", and read back; a SCSI command goes along only if all it does
//! stays inside, so commands that act on the device as a whole (reservations, modes) do not.

use formats::{ByteRange, Op, Record};
use replication::scope::Scope;

/// What is told of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All of it, as it is.
    Whole,
    /// What it did in this range, without the SCSI command behind it.
    Part(ByteRange),
    /// That something changed in this range; anywhere when it is empty.
    Change(ByteRange),
    /// That it completed.
    Nothing,
}

/// What is told of `record` where `scope` is replicated.
#[must_use]
pub fn confine(scope: &Scope, record: &Record) -> Told {
    if scope.of(record.volume).is_none() || record.op == Op::Flush {
        return Told::Whole;
    }
    if record.range.is_empty() {
        // Without a range a command may have changed anything, or no block.
        return if matches!(record.op, Op::Opaque | Op::Zone) { Told::Change(record.range) } else { Told::Nothing };
    }
    if scope.covers(record.volume, record.range) && record.op != Op::Opaque {
        return Told::Whole;
    }
    let mut parts = scope.parts(record.volume, record.range);
    let Some(first) = parts.next() else { return Told::Nothing };
    let last = parts.last().unwrap_or(first);
    let can_be_cut = matches!(record.op, Op::Write | Op::Discard | Op::WriteZeroes | Op::SecureErase);
    if last == first && can_be_cut {
        return Told::Part(first);
    }
    Told::Change(ByteRange::new(first.offset, last.end() - first.offset))
}

impl Told {
    /// Makes `record` say it.
    pub fn apply(self, record: &mut Record) {
        match self {
            Self::Whole => {}
            Self::Part(range) => record.range = range,
            Self::Change(range) => (record.op, record.range) = (Op::Opaque, range),
            // A flush: the one record that changes nothing and that every target knows.
            Self::Nothing => (record.op, record.range) = (Op::Flush, ByteRange::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use formats::entry::Origin;
    use formats::{OpFlags, Seq, Status, VolumeIndex};
    use proptest::prelude::*;

    use super::*;

    fn record(op: Op, offset: u64, len: u64) -> Record {
        Record {
            seq: Seq(1),
            dep: Seq(0),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::default(),
            range: ByteRange::new(offset, len),
            status: Status::OK,
            origin: Origin::default(),
        }
    }

    fn scope() -> Scope {
        Scope::new(vec![Some(vec![ByteRange::new(100, 50), ByteRange::new(200, 50)])], false)
    }

    #[test]
    fn what_is_inside_stays_and_what_crosses_a_border_is_cut() {
        let told = |op, offset, len| confine(&scope(), &record(op, offset, len));
        assert_eq!(told(Op::Write, 100, 50), Told::Whole);
        assert_eq!(told(Op::Scsi, 210, 8), Told::Whole);
        assert_eq!(told(Op::Write, 90, 20), Told::Part(ByteRange::new(100, 10)));
        assert_eq!(told(Op::Discard, 0, 1000), Told::Change(ByteRange::new(100, 150)));
        assert_eq!(told(Op::Scsi, 90, 20), Told::Change(ByteRange::new(100, 10)));
        assert_eq!(told(Op::Write, 150, 50), Told::Nothing);
        assert_eq!(confine(&Scope::WHOLE, &record(Op::Scsi, 0, 0)), Told::Whole);
    }

    #[test]
    fn what_has_no_place() {
        let told = |op| confine(&scope(), &record(op, 0, 0));
        assert_eq!(told(Op::Flush), Told::Whole);
        assert_eq!(told(Op::Scsi), Told::Nothing, "a reservation");
        assert_eq!(told(Op::Opaque), Told::Change(ByteRange::default()), "a format");
    }

    proptest! {
        /// Byte by byte: outside nothing is said, inside what the command did or that it is not known.
        #[test]
        fn nothing_reaches_beyond_and_nothing_inside_is_left_out(
            op in prop::sample::select(&Op::ALL[..]), offset in 0u64..300, len in 1u64..300,
        ) {
            let before = record(op, offset, len);
            let mut after = before;
            confine(&scope(), &before).apply(&mut after);
            let bytes = |range: ByteRange| (range.offset..range.end()).collect::<BTreeSet<u64>>();
            let inside: BTreeSet<u64> = scope().of(VolumeIndex(0)).unwrap().iter().flat_map(|r| bytes(*r)).collect();
            let (did, says) = (bytes(before.range), bytes(after.range));
            let changed: BTreeSet<u64> = did.intersection(&inside).copied().collect();
            if before.op.changes_range() {
                prop_assert!(changed.is_subset(&says));
                prop_assert!(after.op != Op::Flush || changed.is_empty());
            }
            // What is applied as it is stays inside; what is read back is limited by the dirty map.
            if !matches!(after.op, Op::Opaque | Op::Flush) {
                prop_assert!(says.is_subset(&inside), "{after:?}");
            }
        }
    }
}

//! Whether an entry may follow what a standby holds.

use formats::entry::{Entry, EntryHeader, Gap, Record};
use formats::{ByteRange, Position, Seq, VolumeIndex};
use thiserror::Error;

/// The end of what is held of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tip {
    /// Position of the last journalled entry.
    pub position: Position,
    /// Last completion that is in the stream or covered by a gap.
    pub seq: Seq,
}

/// A peer that breaks the protocol: the connection must be closed, nothing of the frame is used.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// A frame came while no session is open.
    #[error("an entry frame outside a session")]
    NoSession,
    /// A frame is missing, doubled or out of order.
    #[error("frame {got} where {expected} was expected")]
    Frame {
        /// Number that would have been right.
        expected: u64,
        /// Number that came.
        got: u64,
    },
    /// A frame without entries.
    #[error("frame {0} holds no entry")]
    EmptyFrame(u64),
    /// An entry whose position does not follow.
    #[error("an entry at position {got} cannot follow position {held}")]
    Position {
        /// Last position held.
        held: Position,
        /// Position that came.
        got: Position,
    },
    /// Completions are missing without a gap entry, or come twice.
    #[error("the entry at position {position} begins with seq {got}, but seq {held} is the last one held")]
    Seq {
        /// Position of the entry.
        position: Position,
        /// Last seq held.
        held: Seq,
        /// First seq of the entry.
        got: Seq,
    },
    /// A record that depends on something later.
    #[error("the record with seq {seq} depends on seq {dep}")]
    Dependency {
        /// Its seq.
        seq: Seq,
        /// Its dep.
        dep: Seq,
    },
    /// A volume that the hello did not name.
    #[error("an entry for volume {0}, which the hello did not name")]
    Volume(VolumeIndex),
    /// A range outside its volume.
    #[error("range {range} lies outside volume {volume} of {size} bytes")]
    Range {
        /// Which volume.
        volume: VolumeIndex,
        /// The range.
        range: ByteRange,
        /// The volume's size in bytes.
        size: u64,
    },
    /// An acknowledgement of something that was never sent.
    #[error("acknowledgement of {what} {got}, but only {sent} was sent")]
    AckBeyond {
        /// Which counter.
        what: &'static str,
        /// Value acknowledged.
        got: u64,
        /// Largest value possible.
        sent: u64,
    },
    /// An acknowledgement that takes another one back, or contradicts itself.
    #[error("acknowledgement of {what} went back from {before} to {got}")]
    AckBack {
        /// Which counter.
        what: &'static str,
        /// Value before, or lower bound.
        before: u64,
        /// Value acknowledged.
        got: u64,
    },
}

/// Whether a gap is a *cut*: it stands for everything up to its last seq, so it may follow anything. A primary sends
/// one where its dirty map takes over from its journal.
pub(crate) fn is_cut(gap: &Gap) -> bool {
    gap.first == Seq(1)
}

/// The tip after `header`, if it may follow `tip`. `sizes` are the volumes' sizes in bytes.
pub(crate) fn follow(tip: Tip, header: &EntryHeader, sizes: &[u64]) -> Result<Tip, ProtocolError> {
    let position = header.position;
    let tip = if tip == Tip::default() { before_first(header) } else { tip };
    let (held, got) = (tip.position, position);
    match &header.entry {
        Entry::Record(record) => follow_record(tip, position, record, sizes),
        Entry::Gap(gap) => follow_gap(tip, position, gap),
        Entry::Region(region) if position == held => {
            check_range(region.volume, region.range, sizes).map(|()| Tip { position, ..tip })
        }
        Entry::Region(_) => Err(ProtocolError::Position { held, got }),
    }
}

/// Positions of a stream may begin anywhere; its seqs begin with 1, so that nothing is missed.
fn before_first(header: &EntryHeader) -> Tip {
    let position = match &header.entry {
        Entry::Region(_) => header.position,
        _ => header.position.previous(),
    };
    Tip { position, seq: Seq(0) }
}

fn follow_record(tip: Tip, position: Position, record: &Record, sizes: &[u64]) -> Result<Tip, ProtocolError> {
    if position != tip.position.next() {
        return Err(ProtocolError::Position { held: tip.position, got: position });
    }
    if record.seq != tip.seq.next() {
        return Err(ProtocolError::Seq { position, held: tip.seq, got: record.seq });
    }
    if record.dep >= record.seq {
        return Err(ProtocolError::Dependency { seq: record.seq, dep: record.dep });
    }
    check_range(record.volume, record.range, sizes)?;
    Ok(Tip { position, seq: record.seq })
}

fn follow_gap(tip: Tip, position: Position, gap: &Gap) -> Result<Tip, ProtocolError> {
    if !is_cut(gap) {
        if position <= tip.position {
            return Err(ProtocolError::Position { held: tip.position, got: position });
        }
        if gap.first > tip.seq.next() || gap.last < tip.seq {
            return Err(ProtocolError::Seq { position, held: tip.seq, got: gap.first });
        }
    }
    Ok(Tip { position, seq: gap.last })
}

/// Whether a range lies within its volume.
pub(crate) fn check_range(volume: VolumeIndex, range: ByteRange, sizes: &[u64]) -> Result<(), ProtocolError> {
    let size = *sizes.get(usize::from(volume.0)).ok_or(ProtocolError::Volume(volume))?;
    if range.fits(size) { Ok(()) } else { Err(ProtocolError::Range { volume, range, size }) }
}

#[cfg(test)]
mod tests {
    use formats::Op;
    use formats::entry::PayloadInfo;

    use super::*;
    use crate::consistency::tests::{gap, record, region};

    const TIP: Tip = Tip { position: Position(5), seq: Seq(7) };

    fn after(header: &EntryHeader) -> Result<Tip, ProtocolError> {
        follow(TIP, header, &[1024])
    }

    fn tip(position: u64, seq: u64) -> Result<Tip, ProtocolError> {
        Ok(Tip { position: Position(position), seq: Seq(seq) })
    }

    fn write(position: u64, seq: u64) -> EntryHeader {
        record(position, seq, Op::Write, PayloadInfo::ZERO)
    }

    #[test]
    fn records_come_without_holes() {
        assert_eq!(after(&write(6, 8)), tip(6, 8));
        assert!(matches!(after(&write(5, 8)), Err(ProtocolError::Position { .. })));
        assert!(matches!(after(&write(7, 8)), Err(ProtocolError::Position { .. })));
        assert!(matches!(after(&write(6, 9)), Err(ProtocolError::Seq { .. })));
        assert!(matches!(after(&write(6, 7)), Err(ProtocolError::Seq { .. })));
    }

    #[test]
    fn the_first_entry_of_a_stream_may_have_any_position_but_only_the_first_seq() {
        let first = |header: &EntryHeader| follow(Tip::default(), header, &[1024]);
        assert_eq!(first(&write(6, 1)), tip(6, 1));
        assert_eq!(first(&region(6, 1, 0)), tip(6, 0));
        assert!(matches!(first(&write(6, 2)), Err(ProtocolError::Seq { .. })));
        assert!(matches!(first(&gap(6, 2, 2)), Err(ProtocolError::Seq { .. })));
    }

    #[test]
    fn gaps_may_skip_positions_but_no_completion() {
        assert_eq!(after(&gap(6, 8, 9)), tip(6, 9));
        assert_eq!(after(&gap(9, 6, 9)), tip(9, 9));
        assert!(matches!(after(&gap(5, 8, 9)), Err(ProtocolError::Position { .. })));
        assert!(matches!(after(&gap(6, 9, 9)), Err(ProtocolError::Seq { .. })));
        assert!(matches!(after(&gap(6, 3, 6)), Err(ProtocolError::Seq { .. })));
    }

    #[test]
    fn a_cut_may_follow_anything() {
        assert_eq!(after(&gap(2, 1, 3)), tip(2, 3));
        assert_eq!(after(&gap(20, 1, 30)), tip(20, 30));
    }

    #[test]
    fn regions_take_no_position_and_stay_inside() {
        assert_eq!(after(&region(5, 9, 0)), Ok(TIP));
        assert!(matches!(after(&region(6, 9, 0)), Err(ProtocolError::Position { .. })));
        assert!(matches!(follow(TIP, &region(5, 9, 0), &[511]), Err(ProtocolError::Range { .. })));
        assert!(matches!(follow(TIP, &region(5, 9, 0), &[]), Err(ProtocolError::Volume(VolumeIndex(0)))));
    }
}

//! What a standby of a tape refuses to take: whatever says that a command is missing. A disk's hole is healed by reading
//! the primary's disk; a tape's is not.

use formats::{Entry, EntryHeader, Op};

use super::start::Named;
use crate::target::Target;

/// Whether a target is a tape: it has no blocks.
pub(super) fn is_tape(target: &dyn Target) -> bool {
    target.block_size() == Some(0)
}

/// Whether a tape is served.
pub(super) fn serves(targets: &[Named]) -> bool {
    targets.iter().any(|(_, target)| is_tape(&**target))
}

/// Why the copy of a tape ends at one of these entries, if it does.
pub(super) fn ends_at(headers: &[EntryHeader]) -> Option<String> {
    let (header, what) = headers.iter().find_map(|header| Some((header, missing(header)?)))?;
    Some(format!(
        "the copy of the tape ends at position {}: {what}, and nothing heals that on a tape. Start a new copy: empty this \
         standby's --dir, rewind both tapes (blank ones, or a duplicate), and attach anew with --assume-identical",
        header.position
    ))
}

fn missing(header: &EntryHeader) -> Option<&'static str> {
    match &header.entry {
        Entry::Gap(_) => Some("commands are missing there"),
        Entry::Region(region) if !region.range.is_empty() => Some("content came in place of commands"),
        Entry::Region(_) => None,
        Entry::Record(record) if record.op == Op::Opaque => Some("not all of a command was carried"),
        Entry::Record(_) => (header.payload.trailer == 0).then_some("a command came without its CDB"),
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::PayloadInfo;
    use formats::{ByteRange, Gap, Position, Region, Seq, VolumeIndex};

    use super::*;

    fn header(entry: Entry) -> EntryHeader {
        EntryHeader { entry, position: Position(7), payload: PayloadInfo::NONE }
    }

    #[test]
    fn only_the_region_without_content_is_taken() {
        let region = |len| {
            let range = ByteRange::new(0, len);
            header(Entry::Region(Region { volume: VolumeIndex(0), range, consistent_after: Seq(0), remaining: 0 }))
        };
        let gap = header(Entry::Gap(Gap { first: Seq(1), last: Seq(2) }));
        assert_eq!(ends_at(&[region(0)]), None);
        assert!(ends_at(&[region(0), gap]).is_some_and(|why| why.contains("position 7") && why.contains("rewind")));
        assert!(ends_at(&[region(512)]).is_some());
    }
}

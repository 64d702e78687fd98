//! Regions that must not be sent yet.
//!
//! A region that is marked because of a completion that is not in the stream must come *after* every record that
//! completed before it: otherwise an older record, sent later, would overwrite the newer content, and the gap that
//! follows would change nothing any more. So marks wait until everything up to a seq has been sent.
//!
//! Two stages bound the memory and still let go: the seq of the first does not grow once it is set.

use formats::Seq;

use crate::dirty::DirtyMap;

#[derive(Clone, Debug)]
struct Stage {
    after: Seq,
    map: DirtyMap,
}

#[derive(Clone, Debug)]
pub(super) struct Deferred {
    empty: DirtyMap,
    current: Option<Stage>,
    next: Option<Stage>,
}

impl Deferred {
    /// None yet; `empty` is a map of the right geometry.
    pub(super) fn new(empty: DirtyMap) -> Self {
        Self { empty, current: None, next: None }
    }

    /// The map to mark what must wait until everything up to `after` is sent.
    pub(super) fn map(&mut self, after: Seq) -> &mut DirtyMap {
        let joins = self.current.as_ref().is_none_or(|stage| after <= stage.after);
        let stage = if joins { &mut self.current } else { &mut self.next };
        let stage = stage.get_or_insert_with(|| Stage { after, map: self.empty.clone() });
        stage.after = stage.after.max(after);
        &mut stage.map
    }

    /// What need not wait any more once everything up to `seq` is sent; to be called until there is nothing.
    pub(super) fn take_reached(&mut self, seq: Seq) -> Option<DirtyMap> {
        let reached = self.current.take_if(|stage| stage.after <= seq)?;
        self.current = self.next.take();
        Some(reached.map)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.maps().all(DirtyMap::is_empty)
    }

    /// Regions waiting; one that waits twice counts twice, because it may be sent twice.
    pub(super) fn region_count(&self) -> u64 {
        self.maps().map(DirtyMap::region_count).sum()
    }

    pub(super) fn maps(&self) -> impl Iterator<Item = &DirtyMap> {
        self.current.iter().chain(&self.next).map(|stage| &stage.map)
    }
}

#[cfg(test)]
mod tests {
    use formats::{ByteRange, VolumeIndex};

    use super::*;

    #[test]
    fn later_marks_do_not_hold_earlier_ones_back() {
        let mut deferred = Deferred::new(DirtyMap::new(512, &[4096]).expect("geometry"));
        for (seq, offset) in [(5, 0), (9, 512), (7, 1024), (4, 2048)] {
            deferred.map(Seq(seq)).mark(VolumeIndex(0), ByteRange::new(offset, 1)).expect("known");
        }
        assert_eq!(deferred.region_count(), 4);
        assert_eq!(deferred.take_reached(Seq(4)), None);
        assert_eq!(deferred.take_reached(Seq(5)).map(|map| map.region_count()), Some(2));
        assert_eq!(deferred.take_reached(Seq(8)), None);
        assert_eq!(deferred.take_reached(Seq(9)).map(|map| map.region_count()), Some(2));
        assert!(deferred.is_empty());
    }
}

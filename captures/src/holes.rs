//! What of a volume's content a capture does not tell.
//!
//! A hole begins with a change whose effect is not known, and ends where its range was written again; so a write that
//! failed and was repeated leaves none.

use formats::{ByteRange, Seq};
use serde::Serialize;

use crate::change::{Change, Content, Why};
use crate::pieces::Pieces;

/// A stretch whose content is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// The completion that began it; 0 where that is not known.
    pub seq: u64,
    /// Why it is not known.
    pub why: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes from {}: {}", self.len, self.offset, self.why)?;
        if self.seq > 0 { write!(f, " (seq {})", self.seq) } else { Ok(()) }
    }
}

/// The holes of one volume.
#[derive(Debug, Clone)]
pub(crate) struct Holes {
    size: u64,
    pieces: Pieces<(Seq, Why)>,
}

impl Holes {
    /// None, on a volume of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, pieces: Pieces::new() }
    }

    /// The content of a range, or of the whole volume, is not known from now on.
    pub(crate) fn open(&mut self, range: Option<ByteRange>, seq: Seq, why: Why) {
        let range = range.unwrap_or(ByteRange::new(0, self.size));
        let (start, end) = (range.offset.min(self.size), range.end().min(self.size));
        self.pieces.put(ByteRange::new(start, end - start), (seq, why));
    }

    /// A change whose effect is known.
    pub(crate) fn change(&mut self, change: &Change<'_>) {
        if change.content != Content::Discarded && self.count() > 0 {
            self.pieces.cut_out(change.range);
        }
    }

    /// The stretches, in the order of places.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.pieces.iter().map(|(range, _)| range)
    }

    /// What is open, in the order of places, `most` at most.
    pub(crate) fn list(&self, most: usize) -> Vec<Hole> {
        let hole = |(range, (seq, why)): (ByteRange, (Seq, Why))| Hole {
            seq: seq.0,
            why: why.to_string(),
            offset: range.offset,
            len: range.len,
        };
        self.pieces.iter().take(most).map(hole).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.pieces.count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 100;

    proptest! {
        /// Against a table of bytes.
        #[test]
        fn behaves_like_a_table(steps in proptest::collection::vec((any::<bool>(), 0..SIZE, 0..SIZE), 0..40)) {
            let (mut holes, mut model) = (Holes::new(SIZE), vec![0u64; SIZE as usize]);
            for (seq, (opens, offset, len)) in (1..).zip(steps) {
                let range = ByteRange::new(offset, len);
                let place = offset as usize..range.end().min(SIZE) as usize;
                if opens {
                    holes.open(Some(range), Seq(seq), Why::NoPayload);
                    model[place].fill(seq);
                } else {
                    holes.change(&Change { range, content: Content::Zero });
                    model[place].fill(0);
                }
            }
            let mut told = vec![0u64; SIZE as usize];
            for hole in holes.list(usize::MAX) {
                prop_assert!(hole.len > 0);
                told[hole.offset as usize..(hole.offset + hole.len) as usize].fill(hole.seq);
            }
            prop_assert_eq!(told, model);
        }
    }

    #[test]
    fn a_discard_heals_nothing() {
        let mut holes = Holes::new(SIZE);
        holes.open(None, Seq(3), Why::Lost { count: 2 });
        holes.change(&Change { range: ByteRange::new(0, SIZE), content: Content::Discarded });
        assert_eq!((holes.count(), holes.list(9)[0].len), (1, SIZE));
        assert!(holes.list(1)[0].to_string().contains("2 completions were lost (seq 3)"));
    }
}

//! Stretches of a volume, apart from each other, each with something that is known of it.

use std::collections::BTreeMap;

use formats::ByteRange;

/// By their first byte, with the one behind their last.
#[derive(Debug, Clone)]
pub(crate) struct Pieces<V> {
    by_start: BTreeMap<u64, (u64, V)>,
}

impl<V: Copy> Pieces<V> {
    /// None.
    pub(crate) fn new() -> Self {
        Self { by_start: BTreeMap::new() }
    }

    /// This holds of the range from now on, whatever held before.
    pub(crate) fn put(&mut self, range: ByteRange, value: V) {
        self.cut_out(range);
        if !range.is_empty() {
            self.by_start.insert(range.offset, (range.end(), value));
        }
    }

    /// Nothing holds of the range any more.
    pub(crate) fn cut_out(&mut self, range: ByteRange) {
        let (start, end) = (range.offset, range.end());
        if let Some((&first, &(behind, value))) = self.by_start.range(..start).next_back()
            && behind > start
        {
            self.by_start.insert(first, (start, value));
            if behind > end {
                self.by_start.insert(end, (behind, value));
            }
        }
        while let Some((&first, &(behind, value))) = self.by_start.range(start..end).next() {
            self.by_start.remove(&first);
            if behind > end {
                self.by_start.insert(end, (behind, value));
            }
        }
    }

    /// In the order of places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ByteRange, V)> {
        self.by_start.iter().map(|(&start, &(end, value))| (ByteRange::new(start, end - start), value))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_start.len()
    }
}

//! Identifiers and units. Each counter that could be swapped with another is a type of its own.

use core::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before this; the first one stays.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Place of a command in the order of completion over all volumes of a group; the first is 1.
    ///
    /// As `dep` of a record it says how many completions the host had seen when the command was issued: the record
    /// depends on exactly the records `1..=dep`. Zero means none.
    Seq
}
counter! {
    /// Place of an entry in the primary's journal; the first is 1, without holes. Zero means "before the first".
    Position
}

/// Names one unbroken line of observation: drawn at random when a probe is loaded, kept while it stays pinned.
/// Positions and seqs of different streams cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Index of a volume within its group, in the order given at attach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct VolumeIndex(pub u16);

impl fmt::Display for VolumeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of bytes on a volume, relative to the start of what was named (a partition's first byte is 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; may be zero (a flush).
    pub len: u64,
}

impl ByteRange {
    /// The range of `len` bytes from `offset`.
    #[must_use]
    pub const fn new(offset: u64, len: u64) -> Self {
        Self { offset, len }
    }

    /// One past the last byte; saturates, so a hostile offset cannot wrap around.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether both hold a common byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.len > 0 && other.len > 0 && self.offset < other.end() && other.offset < self.end()
    }

    /// The shortest range that holds both; an empty one has no place.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let offset = self.offset.min(other.offset);
        Self::new(offset, self.end().max(other.end()) - offset)
    }

    /// Whether it lies within a volume of `size` bytes, without wrapping.
    #[must_use]
    pub const fn fits(self, size: u64) -> bool {
        match self.offset.checked_add(self.len) {
            Some(end) => end <= size,
            None => false,
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_needs_a_common_byte() {
        let a = ByteRange::new(0, 8);
        assert!(a.overlaps(ByteRange::new(7, 1)));
        assert!(!a.overlaps(ByteRange::new(8, 8)));
        assert!(!a.overlaps(ByteRange::new(4, 0)));
    }

    #[test]
    fn a_hull_holds_both_and_takes_no_notice_of_nothing() {
        let (low, high, nothing) = (ByteRange::new(4, 2), ByteRange::new(9, 1), ByteRange::default());
        assert_eq!((low.hull(high), high.hull(low)), (ByteRange::new(4, 6), ByteRange::new(4, 6)));
        assert_eq!((low.hull(nothing), nothing.hull(high), nothing.hull(nothing)), (low, high, nothing));
    }

    #[test]
    fn a_hostile_offset_does_not_wrap() {
        let range = ByteRange::new(u64::MAX - 1, 4);
        assert!(!range.fits(u64::MAX));
        assert_eq!(range.end(), u64::MAX);
    }
}

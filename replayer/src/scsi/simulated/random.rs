//! Chance that can be repeated: a seeded generator for what a device would leave to luck.

/// SplitMix64: small, seeded, and even enough for tests.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One time in two.
    pub(super) const fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    /// `parts` times in a million.
    pub(super) const fn per_million(&mut self, parts: u32) -> bool {
        self.bits() % 1_000_000 < parts as u64
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_chances_are_about_right() {
        let (mut one, mut same) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| one.bits() == same.bits()));
        let heads = (0..10_000).filter(|_| one.coin()).count();
        assert!((4_700..5_300).contains(&heads), "{heads}");
        let rare = (0..10_000).filter(|_| one.per_million(100_000)).count();
        assert!((800..1_200).contains(&rare), "{rare}");
        assert_eq!(one.below(0), 0);
        assert!((0..100).all(|_| one.below(3) < 3));
    }
}

//! How soon what was written is written again: what a log of a given length would not have to send.
//!
//! The distance between two writes of a block, in bytes of the log between them, tells every log that is long enough to see
//! both. Last writes are kept of a sample of the blocks, chosen by the hash of the address; the sample gets half as dense
//! each time that it outgrows its room (spatial sampling of reuse distances, as SHARDS does it for caches).

use std::collections::HashMap;

use foldhash::fast::FixedState;
use formats::ByteRange;
use formats::entry::HEADER_LEN;
use serde::Serialize;

/// Bytes of a block here, whatever the device's are.
pub(crate) const BLOCK: u64 = 4096;
/// Most blocks of one write that are looked at: a record holds no more.
const MOST_BLOCKS: u64 = (16 << 20) / BLOCK + 1;
/// The shortest and the longest window that is told, as powers of two of bytes.
const WINDOWS: std::ops::RangeInclusive<u32> = 20..=40;

/// What a log of a length would save.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    /// The log's length in bytes.
    pub log_bytes: u64,
    /// The share of the written bytes that are written again within it.
    pub overwritten: f64,
}

/// What was overwritten.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverwriteReport {
    /// By length of the log; up to the one that would hold everything.
    pub windows: Vec<Window>,
    /// Different blocks of 4 KiB that were written, estimated.
    pub distinct_blocks: u64,
    /// The share of the blocks that was looked at.
    pub sampled: f64,
}

/// Looks at every write.
#[derive(Debug)]
pub(crate) struct Overwrites {
    /// Where in the log each sampled block was written last.
    last: HashMap<u64, u64, FixedState>,
    room: usize,
    /// A block is in the sample when so many lower bits of its hash are zero.
    thin: u32,
    /// Length of the log so far.
    position: u64,
    /// Estimated bytes overwritten, by power of two of the distance.
    distances: [u64; 65],
    /// Estimated bytes written.
    written: u64,
}

impl Default for Overwrites {
    fn default() -> Self {
        Self::with_room(1 << 17)
    }
}

/// A key of a block of a volume.
pub(crate) fn block_key(volume: u16, block: u64) -> u64 {
    block ^ u64::from(volume) << 48
}

/// Spreads keys (the finalizer of splitmix64).
pub(crate) fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

impl Overwrites {
    fn with_room(room: usize) -> Self {
        let last = HashMap::with_hasher(FixedState::default());
        Self { last, room, thin: 0, position: 0, distances: [0; 65], written: 0 }
    }

    /// A write of `range`.
    pub(crate) fn write(&mut self, volume: u16, range: ByteRange) {
        self.position = self.position.saturating_add(range.len).saturating_add(HEADER_LEN as u64);
        if range.is_empty() {
            return;
        }
        let (first, last) = (range.offset / BLOCK, (range.end() - 1) / BLOCK);
        for block in first..=last.min(first.saturating_add(MOST_BLOCKS)) {
            let key = block_key(volume, block);
            if mix(key).trailing_zeros() >= self.thin {
                let from = range.offset.max(block * BLOCK);
                self.block(key, range.end().min((block + 1).saturating_mul(BLOCK)) - from);
            }
        }
    }

    fn block(&mut self, key: u64, bytes: u64) {
        let estimated = bytes << self.thin;
        self.written = self.written.saturating_add(estimated);
        if let Some(before) = self.last.insert(key, self.position) {
            let distance = self.position - before;
            let power = u64::BITS - distance.saturating_sub(1).leading_zeros();
            self.distances[power as usize] = self.distances[power as usize].saturating_add(estimated);
        } else if self.last.len() > self.room {
            self.thin += 1;
            let thin = self.thin;
            self.last.retain(|key, _| mix(*key).trailing_zeros() >= thin);
        }
    }

    /// Different blocks, estimated.
    pub(crate) fn distinct(&self) -> u64 {
        (self.last.len() as u64) << self.thin
    }

    pub(crate) fn report(&self) -> OverwriteReport {
        let longest = u64::BITS - self.position.leading_zeros();
        let share = |power: u32| {
            let overwritten: u64 = self.distances[..=power as usize].iter().sum();
            if self.written == 0 { 0.0 } else { overwritten as f64 / self.written as f64 }
        };
        let powers = WINDOWS.filter(|power| *power < longest.max(*WINDOWS.start()) + 1);
        Window::all(powers.map(|power| (1 << power, share(power))), self)
    }
}

impl Window {
    fn all(windows: impl Iterator<Item = (u64, f64)>, of: &Overwrites) -> OverwriteReport {
        let windows = windows.map(|(log_bytes, overwritten)| Self { log_bytes, overwritten }).collect();
        OverwriteReport { windows, distinct_blocks: of.distinct(), sampled: 0.5f64.powi(of.thin as i32) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every block, every distance.
    fn naive(writes: &[(u16, ByteRange)], window: u64) -> f64 {
        let (mut last, mut position) = (HashMap::new(), 0);
        let (mut written, mut again) = (0, 0);
        for (volume, range) in writes {
            position += range.len + HEADER_LEN as u64;
            for sector in range.offset / 512..range.end() / 512 {
                written += 512;
                // By blocks, as the model's question is.
                let block = (*volume, sector / 8);
                let before: Option<u64> = last.get(&block).copied();
                again += if before.is_some_and(|at| at < position && position - at <= window) { 512 } else { 0 };
            }
            (range.offset / BLOCK..=(range.end() - 1) / BLOCK).for_each(|block| {
                last.insert((*volume, block), position);
            });
        }
        f64::from(again) / f64::from(written)
    }

    fn report_of(writes: &[(u16, ByteRange)], room: usize) -> OverwriteReport {
        let mut overwrites = Overwrites::with_room(room);
        writes.iter().for_each(|(volume, range)| overwrites.write(*volume, *range));
        overwrites.report()
    }

    proptest! {
        #[test]
        fn without_thinning_it_is_exact(
            writes in proptest::collection::vec((0u16..2, 0u64..2000, 1u64..200), 1..300),
        ) {
            let writes: Vec<_> = writes.iter().map(|(v, at, len)| (*v, ByteRange::new(at * 512, len * 512))).collect();
            for window in report_of(&writes, 1 << 20).windows {
                prop_assert!((window.overwritten - naive(&writes, window.log_bytes)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_thin_sample_is_near() {
        let mut seed = 1u64;
        let mut next = |below: u64| {
            seed = mix(u64::wrapping_add(seed, 0x9e37_79b9_7f4a_7c15));
            seed % below
        };
        let writes: Vec<_> = (0..60_000)
            .map(|_| {
                let span = if next(3) == 0 { 1000 } else { 60_000 };
                (0, ByteRange::new(next(span) * BLOCK, BLOCK))
            })
            .collect();
        let report = report_of(&writes, 4000);
        assert!(report.sampled < 0.2);
        for window in &report.windows {
            let exact = naive(&writes, window.log_bytes);
            assert!((window.overwritten - exact).abs() < 0.05, "{window:?} {exact}");
        }
        let distinct = writes.iter().map(|(_, range)| range.offset).collect::<std::collections::HashSet<_>>().len();
        assert!((report.distinct_blocks as f64 / distinct as f64 - 1.0).abs() < 0.1, "{}", report.distinct_blocks);
    }

    #[test]
    fn a_hostile_range_ends() {
        let mut overwrites = Overwrites::default();
        overwrites.write(0, ByteRange::new(u64::MAX - 1, u64::MAX));
        overwrites.write(0, ByteRange::new(0, u64::MAX));
        assert!(overwrites.distinct() > 0);
    }
}

//! What was written: how much of it is zeros, how much repeats, how well it compresses.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use formats::Crc32c;
use serde::Serialize;

use super::overwrite::{BLOCK, mix};

/// One record in so many is compressed, beyond the first parts of a capture.
const ONE_IN: u64 = 16;
/// Most bytes of a record that are compressed.
const MOST_COMPRESSED: usize = 128 << 10;
/// The level that is fast enough for a link.
const LEVEL: i32 = 1;
/// Most different blocks of which the repetitions are counted.
const ROOM: usize = 1 << 17;

/// What was found in the content.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ContentReport {
    /// Bytes of content that the capture keeps.
    pub bytes: u64,
    /// The share in blocks of 4 KiB that are all zeros.
    pub zero: f64,
    /// The share of the other blocks that had occurred before, anywhere.
    pub duplicate: f64,
    /// Bytes after compression (zstd, level 1) per byte before, of what was tried.
    pub compressed: f64,
    /// Bytes that were tried.
    pub compressed_of: u64,
}

/// Sums over content.
#[derive(Debug, Default)]
pub(super) struct ContentSums {
    bytes: u64,
    zero: u64,
    /// Checksums of blocks that are not zeros.
    hashes: Vec<u32>,
    tried: u64,
    compressed: u64,
}

/// Compresses samples.
pub(super) struct Sampler {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    thorough: bool,
}

impl Sampler {
    /// Of every record if `thorough`.
    pub(super) fn new(thorough: bool) -> Self {
        Self { compressor: None, thorough }
    }

    /// Bytes before and after.
    fn compress(&mut self, content: &[u8], seq: u64) -> (u64, u64) {
        if !self.thorough && !mix(seq).is_multiple_of(ONE_IN) {
            return (0, 0);
        }
        let piece = &content[..content.len().min(MOST_COMPRESSED)];
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        let compressed = self.compressor.as_mut().and_then(|compressor| compressor.compress(piece).ok());
        compressed.map_or((0, 0), |small| (piece.len() as u64, small.len() as u64))
    }
}

impl ContentSums {
    /// Looks at the content of a record.
    pub(super) fn add(&mut self, content: &[u8], seq: u64, sampler: &mut Sampler) {
        self.bytes += content.len() as u64;
        for block in content.chunks(BLOCK as usize) {
            if is_zero(block) {
                self.zero += block.len() as u64;
            } else {
                self.hashes.push(Crc32c::of(block).0);
            }
        }
        if !content.is_empty() {
            let (before, after) = sampler.compress(content, seq);
            self.tried += before;
            self.compressed += after;
        }
    }

    /// Zeros that need no bytes.
    pub(super) fn add_zeros(&mut self, len: u64) {
        self.bytes = self.bytes.saturating_add(len);
        self.zero = self.zero.saturating_add(len);
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.chunks(64).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Sums of all parts.
#[derive(Debug)]
pub(super) struct Contents {
    sums: ContentSums,
    /// How often each sampled block occurred, by checksum.
    seen: HashMap<u32, u64, FixedState>,
    room: usize,
    /// A block is in the sample when so many lower bits of its mixed checksum are zero.
    thin: u32,
}

impl Default for Contents {
    fn default() -> Self {
        let seen = HashMap::with_hasher(FixedState::default());
        Self { sums: ContentSums::default(), seen, room: ROOM, thin: 0 }
    }
}

impl Contents {
    /// Adds a part's.
    pub(super) fn add(&mut self, part: &ContentSums) {
        self.sums.bytes = self.sums.bytes.saturating_add(part.bytes);
        self.sums.zero = self.sums.zero.saturating_add(part.zero);
        self.sums.tried += part.tried;
        self.sums.compressed += part.compressed;
        part.hashes.iter().for_each(|hash| self.block(*hash));
    }

    fn block(&mut self, hash: u32) {
        let is_in = |hash: u32, thin| mix(u64::from(hash)).trailing_zeros() >= thin;
        if !is_in(hash, self.thin) {
            return;
        }
        *self.seen.entry(hash).or_default() += 1;
        if self.seen.len() > self.room {
            self.thin += 1;
            self.seen.retain(|hash, _| is_in(*hash, self.thin));
        }
    }

    /// None when the capture keeps no content.
    pub(super) fn report(&self) -> Option<ContentReport> {
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let blocks: u64 = self.seen.values().sum();
        (self.sums.bytes > 0).then(|| ContentReport {
            bytes: self.sums.bytes,
            zero: ratio(self.sums.zero, self.sums.bytes),
            duplicate: ratio(blocks.saturating_sub(self.seen.len() as u64), blocks),
            compressed: if self.sums.tried == 0 { 1.0 } else { ratio(self.sums.compressed, self.sums.tried) },
            compressed_of: self.sums.tried,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn zeros_repetitions_and_compression() {
        let mut sums = ContentSums::default();
        let mut sampler = Sampler::new(true);
        let text = b"the same words again ".repeat(400);
        sums.add(&[0; 8192], 1, &mut sampler);
        sums.add(&text[..4096], 2, &mut sampler);
        sums.add(&text[..4096], 3, &mut sampler);
        sums.add_zeros(4096);
        let mut contents = Contents::default();
        contents.add(&sums);
        let report = contents.report().unwrap();
        assert_eq!((report.bytes, report.zero, report.duplicate), (20480, 0.6, 0.5));
        assert!(report.compressed < 0.05 && report.compressed_of == 16384, "{report:?}");
        assert!(Contents::default().report().is_none());
    }

    #[test]
    fn a_sample_of_blocks_is_near_all_of_them() {
        let hashes: Vec<u32> = (0..200_000u64).map(|n| mix(n * n % 70_001) as u32).collect();
        let mut contents = Contents { room: 2000, ..Contents::default() };
        let sums = ContentSums { bytes: 1, hashes: hashes.clone(), ..ContentSums::default() };
        contents.add(&sums);
        let distinct = hashes.iter().collect::<HashSet<_>>().len();
        let exact = 1.0 - distinct as f64 / hashes.len() as f64;
        let estimate = contents.report().unwrap().duplicate;
        assert!(contents.thin > 2 && (estimate - exact).abs() < 0.03, "{estimate} {exact}");
    }
}

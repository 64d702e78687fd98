//! Every byte of two disks.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::interrupt;

const CHUNK_BYTES: usize = 1 << 20;
/// Differences are told in blocks of this size, the smallest that a disk has.
const BLOCK_BYTES: usize = 512;

/// Where two disks differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Offset in bytes of the first block that differs.
    first: u64,
    /// How many blocks of 512 bytes differ.
    blocks: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks of {BLOCK_BYTES} bytes differ, the first at byte {}", self.blocks, self.first)
    }
}

/// Reads both to the end; `None` when they are equal.
pub(crate) fn compare(left: &Path, right: &Path) -> Result<Option<Difference>> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    compare_readers(open(left)?, open(right)?)
}

fn compare_readers(left: impl Read, right: impl Read) -> Result<Option<Difference>> {
    let (mut left, mut right) = (Chunks::new(left), Chunks::new(right));
    let mut found: Option<Difference> = None;
    let mut offset = 0;
    loop {
        interrupt::check()?;
        let (a, b) = (left.next()?, right.next()?);
        if a != b {
            count(a, b, offset, &mut found);
        }
        if a.is_empty() && b.is_empty() {
            return Ok(found);
        }
        offset += CHUNK_BYTES as u64;
    }
}

fn count(left: &[u8], right: &[u8], offset: u64, found: &mut Option<Difference>) {
    for start in (0..left.len().max(right.len())).step_by(BLOCK_BYTES) {
        let block = |side: &[u8]| side.get(start..side.len().min(start + BLOCK_BYTES)).map(<[u8]>::to_vec);
        if block(left) != block(right) {
            let first = offset + start as u64;
            found.get_or_insert(Difference { first, blocks: 0 }).blocks += 1;
        }
    }
}

/// A reader in chunks that are full but for the last.
struct Chunks<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: Read> Chunks<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    fn next(&mut self) -> Result<&[u8]> {
        self.buffer.clear();
        self.reader.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer)?;
        Ok(&self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(left: &[u8], right: &[u8]) -> Option<Difference> {
        compare_readers(left, right).expect("memory can be read")
    }

    #[test]
    fn equal_and_empty() {
        assert_eq!(compared(&[], &[]), None);
        let long = vec![7; 3 * CHUNK_BYTES + 5];
        assert_eq!(compared(&long, &long), None);
    }

    #[test]
    fn the_first_block_and_their_number() {
        let left = vec![0; 2 * CHUNK_BYTES];
        let mut right = left.clone();
        right[CHUNK_BYTES + 513] = 1;
        right[CHUNK_BYTES + 514] = 1;
        right[2 * CHUNK_BYTES - 1] = 1;
        let difference = Difference { first: CHUNK_BYTES as u64 + 512, blocks: 2 };
        assert_eq!(compared(&left, &right), Some(difference));
    }

    #[test]
    fn another_length_is_a_difference() {
        assert_eq!(compared(&[0; 1024], &[0; 1536]), Some(Difference { first: 1024, blocks: 1 }));
        assert_eq!(compared(&[0; 10], &[0; 9]), Some(Difference { first: 0, blocks: 1 }));
    }
}

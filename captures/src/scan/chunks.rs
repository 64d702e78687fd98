//! Cuts a capture into chunks that can be read apart: each begins where an entry begins.

use std::io::Read;
use std::sync::Arc;

use crate::error::ReadError;
use crate::meta::Section;
use crate::option::{self, PRIVATE_ENTERPRISE_NUMBER};
use crate::packet::{CUSTOM_BYTES, PACKET};
use crate::reader::{MAX_BLOCK, Reader};

/// A chunk without any place to cut ends here: far more than the largest entry has.
const MOST: usize = 64 << 20;
/// Bytes read at a time, once a chunk has its length.
const STEP: usize = 64 << 10;
/// Most interfaces that chunks are told of: a volume's index has 16 bits, and one is for notes.
const MOST_INTERFACES: usize = 1 << 17;

/// Type of an interface description block.
const INTERFACE: u32 = 1;
/// Bytes of an enhanced packet block before its data, and of the length after its options.
const PACKET_HEAD: usize = 28;

/// A stretch of whole blocks; only the last one of a file may end in the middle of one.
pub(crate) struct Chunk {
    /// Counts chunks, from 0.
    pub(crate) index: u64,
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// Its blocks.
    pub(crate) bytes: Vec<u8>,
    /// The section header and all interfaces before it, as blocks.
    pub(crate) preamble: Arc<Vec<u8>>,
    /// How the file goes on.
    pub(crate) next: Next,
}

/// What follows a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// An entry.
    Entry,
    /// Nothing: the file ends.
    Nothing,
    /// A block that is none, or too large: nothing behind it can be read.
    Damage,
}

/// Cuts a file.
pub(crate) struct Chunks<R> {
    input: R,
    big_endian: bool,
    /// Bytes of the next chunk that were read already.
    carry: Vec<u8>,
    preamble: Arc<Vec<u8>>,
    interfaces: usize,
    offset: u64,
    index: u64,
    /// Length at which a chunk is cut.
    len: usize,
    ended: bool,
}

/// What a look at one block tells.
struct Look {
    kind: u32,
    len: usize,
}

impl<R: Read> Chunks<R> {
    /// Reads the section header; chunks have about `len` bytes.
    pub(crate) fn new(mut input: R, len: usize) -> Result<(Self, Section), ReadError> {
        let mut first = Vec::new();
        take(&mut input, 12, &mut first).map_err(ReadError::Io)?;
        let big_endian = first.get(8..12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
        if let Some(block) = look(&first, big_endian).filter(|look| look.len <= MAX_BLOCK) {
            take(&mut input, block.len.saturating_sub(first.len()), &mut first).map_err(ReadError::Io)?;
        }
        let section = Reader::new(first.as_slice())?.section().clone();
        let offset = first.len() as u64;
        let carry = Vec::new();
        let preamble = Arc::new(first);
        let chunks = Self { input, big_endian, carry, preamble, interfaces: 0, offset, index: 0, len, ended: false };
        Ok((chunks, section))
    }

    /// The next chunk, in `bytes`; None behind the last one.
    pub(crate) fn next(&mut self, mut bytes: Vec<u8>) -> Result<Option<Chunk>, ReadError> {
        bytes.clear();
        bytes.append(&mut self.carry);
        if self.ended && bytes.is_empty() {
            return Ok(None);
        }
        let before = self.preamble.clone();
        let (end, next) = self.fill(&mut bytes)?;
        self.carry.extend_from_slice(&bytes[end..]);
        bytes.truncate(end);
        let chunk = Chunk { index: self.index, offset: self.offset, bytes, preamble: before, next };
        (self.index, self.offset) = (self.index + 1, self.offset + end as u64);
        self.ended |= next != Next::Entry;
        if self.ended {
            self.carry.clear();
        }
        Ok(Some(chunk))
    }

    /// Reads until there is a place to cut, and tells where.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> Result<(usize, Next), ReadError> {
        let mut walked = 0;
        loop {
            while let Some(block) = look(&bytes[walked..], self.big_endian) {
                let is_too_large = block.len > MAX_BLOCK && bytes.len() - walked >= MAX_BLOCK;
                if block.len < 12 || !block.len.is_multiple_of(4) || is_too_large {
                    return Ok((bytes.len(), Next::Damage));
                }
                let Some(whole) = bytes[walked..].get(..block.len) else { break };
                let is_full = walked >= self.len && block.kind == PACKET && opens_entry(whole, self.big_endian);
                if (is_full && walked > 0) || walked >= MOST {
                    return Ok((walked, Next::Entry));
                }
                if block.kind == INTERFACE && self.interfaces < MOST_INTERFACES {
                    Arc::make_mut(&mut self.preamble).extend_from_slice(whole);
                    self.interfaces += 1;
                }
                walked += block.len;
            }
            let want = self.len.saturating_sub(bytes.len()).max(STEP);
            if take(&mut self.input, want, bytes).map_err(ReadError::Io)? == 0 {
                return Ok((bytes.len(), Next::Nothing));
            }
        }
    }
}

/// Appends up to `most` bytes of `input`; fewer at its end only.
fn take(input: &mut impl Read, most: usize, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    bytes.reserve(most);
    input.take(most as u64).read_to_end(bytes)
}

fn look(bytes: &[u8], big_endian: bool) -> Option<Look> {
    let (kind, len) = (word(bytes, 0, big_endian)?, word(bytes, 4, big_endian)?);
    Some(Look { kind, len: len as usize })
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

fn half(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let half: [u8; 2] = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) })
}

/// Whether an enhanced packet block has our option, and so ends whatever entry was open.
fn opens_entry(block: &[u8], big_endian: bool) -> bool {
    let data_len = word(block, 20, big_endian).unwrap_or(0) as usize;
    let mut at = data_len.next_multiple_of(4).saturating_add(PACKET_HEAD);
    while let (Some(code), Some(len)) = (half(block, at, big_endian), half(block, at + 2, big_endian)) {
        let value = block.get(at + 4..at + 4 + usize::from(len)).unwrap_or_default();
        let ours = word(value, 0, big_endian) == Some(PRIVATE_ENTERPRISE_NUMBER);
        if code == CUSTOM_BYTES && ours && option::is_ours(&value[4..]) {
            return true;
        }
        if code == 0 {
            return false;
        }
        at += 4 + usize::from(len).next_multiple_of(4);
    }
    false
}

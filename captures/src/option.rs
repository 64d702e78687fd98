//! The custom option that carries what is exactly ours: an entry's header and what of its payload is no data, or a mark.
//!
//! It lies on the packet that opens the entry. Bytes, little-endian: magic (4), kind (1), three zeros, `inline_at` (4),
//! `frames_len` (4), then the entry's header (128) and bytes of its payload, or the text of a mark. The payload is the
//! first `inline_at` bytes of the data frames, the bytes here, and the rest of the data frames' `frames_len` bytes.

use formats::{EntryHeader, entry::EntryError, entry::HEADER_LEN};
use thiserror::Error;

/// The number that marks custom options as ours. It is that of examples (RFC 5612) until the project has one of its own, so
/// the magic `BKC1` in front of each is what tells.
pub const PRIVATE_ENTERPRISE_NUMBER: u32 = 32473;
/// First bytes of an option: "BKCn" with the layout's version in the last place.
pub(crate) const MAGIC: [u8; 4] = *b"BKC1";
/// Bytes in front of what differs by kind.
const HEAD: usize = 16;
/// Most bytes of a payload that an option holds: an option has 65535 at most.
pub(crate) const MAX_INLINE: usize = 32 << 10;
/// Longest text of a mark, in bytes.
pub(crate) const MAX_MARK: usize = 4096;

const KIND_ENTRY: u8 = 1;
const KIND_MARK: u8 = 2;

/// What an option holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Entry { header: EntryHeader, inline: &'a [u8], inline_at: u32, frames_len: u32 },
    Mark(&'a str),
}

/// Why bytes are no option of ours.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// It is of another version.
    #[error("a record of another version of this format (starts with {0:02x?}): read it with a later blkecho")]
    Magic([u8; 4]),
    /// Too few bytes.
    #[error("a record that is cut off: {0} bytes")]
    Short(usize),
    /// No such kind.
    #[error("a record of an unknown kind, {0}")]
    Kind(u8),
    /// Its entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Lengths that contradict each other.
    #[error("a record whose lengths contradict each other")]
    Lengths,
    /// A mark that is no text.
    #[error("a mark that is no text")]
    Text,
}

pub(crate) fn encode_entry(header: &EntryHeader, inline: &[u8], inline_at: u32, frames_len: u32) -> Vec<u8> {
    let mut bytes = head(KIND_ENTRY, inline_at, frames_len);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(inline);
    bytes
}

pub(crate) fn encode_mark(text: &str) -> Vec<u8> {
    let mut bytes = head(KIND_MARK, 0, 0);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn head(kind: u8, inline_at: u32, frames_len: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(&inline_at.to_le_bytes());
    bytes.extend_from_slice(&frames_len.to_le_bytes());
    bytes
}

/// Whether a custom option of our number is of this format, in any version.
pub(crate) fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC[..3])
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Content<'_>, OptionError> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(OptionError::Short(bytes.len()))?;
    let [m0, m1, m2, m3, kind, _, _, _, a0, a1, a2, a3, f0, f1, f2, f3] = *head;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(OptionError::Magic([m0, m1, m2, m3]));
    }
    match kind {
        KIND_ENTRY => entry(rest, u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([f0, f1, f2, f3])),
        KIND_MARK => std::str::from_utf8(rest).map(Content::Mark).map_err(|_| OptionError::Text),
        kind => Err(OptionError::Kind(kind)),
    }
}

fn entry(bytes: &[u8], inline_at: u32, frames_len: u32) -> Result<Content<'_>, OptionError> {
    let header = EntryHeader::decode(bytes)?;
    let inline = bytes.get(HEADER_LEN..).unwrap_or_default();
    let fits = u64::from(frames_len) + inline.len() as u64 == u64::from(header.payload.len);
    let in_place = inline_at == header.payload.content_len() && inline_at <= frames_len;
    if fits && in_place {
        Ok(Content::Entry { header, inline, inline_at, frames_len })
    } else {
        Err(OptionError::Lengths)
    }
}

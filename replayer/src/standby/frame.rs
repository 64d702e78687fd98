//! An entry frame taken apart: every header decoded, every payload checked, no byte copied.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use formats::entry::{EntryError, HEADER_LEN};
use formats::{Crc32c, EntryHeader};
use thiserror::Error;

use super::budget::Permit;

/// Why a frame is not used.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
#[error("entry {index} of frame {number}, at byte {offset}: {fault}")]
pub(super) struct FrameFault {
    number: u64,
    index: usize,
    offset: usize,
    fault: Fault,
}

#[derive(Error, Clone, PartialEq, Eq, Debug)]
enum Fault {
    #[error(transparent)]
    Header(#[from] EntryError),
    #[error("payload cut off: {have} of {want} bytes")]
    Cut { have: usize, want: usize },
    #[error("payload checksum mismatch")]
    Payload,
}

/// A run of entries in one buffer, with the permit for its bytes.
#[derive(Debug)]
pub(super) struct Frame {
    /// Its number in the session; 0 for entries read back from the own journal.
    pub(super) number: u64,
    /// The headers, in order.
    pub(super) headers: Vec<EntryHeader>,
    /// Where each begins in `body`; no body is longer than 4 GiB.
    starts: Vec<u32>,
    body: Bytes,
    permit: Arc<Permit>,
}

impl Frame {
    /// Takes `body` apart.
    pub(super) fn parse(number: u64, body: Bytes, permit: Arc<Permit>) -> Result<Self, FrameFault> {
        let (mut headers, mut starts, mut offset) = (Vec::new(), Vec::new(), 0);
        while offset < body.len() {
            let header = parse_entry(&body[offset..]);
            let header = header.map_err(|fault| FrameFault { number, index: headers.len(), offset, fault })?;
            starts.push(offset as u32);
            headers.push(header);
            offset += header.total_len();
        }
        Ok(Self { number, headers, starts, body, permit })
    }

    /// Encoded header and payload of entry `index`.
    pub(super) fn encoded(&self, index: usize) -> (&[u8; HEADER_LEN], &[u8]) {
        let start = self.starts[index] as usize;
        let header = self.body[start..].first_chunk().expect("a parsed entry has a whole header");
        (header, &self.body[self.payload_range(index)])
    }

    /// Payload of entry `index`, sharing the frame's memory.
    pub(super) fn payload(&self, index: usize) -> Bytes {
        self.body.slice(self.payload_range(index))
    }

    /// What keeps the frame's bytes accounted for.
    pub(super) fn permit(&self) -> Arc<Permit> {
        Arc::clone(&self.permit)
    }

    /// Bytes of all entries.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    fn payload_range(&self, index: usize) -> Range<usize> {
        let start = self.starts[index] as usize + HEADER_LEN;
        start..start + self.headers[index].payload.len as usize
    }
}

fn parse_entry(bytes: &[u8]) -> Result<EntryHeader, Fault> {
    let header = EntryHeader::decode(bytes)?;
    let (have, want) = (bytes.len() - HEADER_LEN, header.payload.len as usize);
    let Some(payload) = bytes[HEADER_LEN..].get(..want) else {
        return Err(Fault::Cut { have, want });
    };
    // Nothing follows the other encodings, and the checksum of nothing is 0.
    if Crc32c::of(payload) != header.payload.crc {
        return Err(Fault::Payload);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use formats::entry::PayloadInfo;
    use formats::{ByteRange, Entry, Position, Region, Seq, VolumeIndex};
    use proptest::prelude::*;

    use super::super::budget::Budget;
    use super::*;

    fn body(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            let range = ByteRange::new(0, payload.len() as u64);
            let region = Region { volume: VolumeIndex(0), range, consistent_after: Seq(1), remaining: 1 };
            let payload_info = PayloadInfo::data(payload);
            EntryHeader { entry: Entry::Region(region), position: Position(1), payload: payload_info }
                .write_to(payload, &mut out);
        }
        out
    }

    fn parse(bytes: Vec<u8>) -> Result<Frame, FrameFault> {
        let permit = Budget::new(1).take(bytes.len() as u64);
        Frame::parse(3, bytes.into(), permit)
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        let frame = parse(body(&[b"one", b"", b"three"])).unwrap();
        assert_eq!(frame.headers.len(), 3);
        for (index, payload) in [&b"one"[..], b"", b"three"].into_iter().enumerate() {
            assert_eq!(frame.payload(index), payload);
            let (header, same) = frame.encoded(index);
            assert_eq!((EntryHeader::decode(header), same), (Ok(frame.headers[index]), payload));
        }
        assert!(parse(Vec::new()).unwrap().headers.is_empty());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let good = body(&[b"one", b"two"]);
        let whole = [0, HEADER_LEN + 3, 2 * (HEADER_LEN + 3)];
        for len in (0..good.len()).filter(|len| !whole.contains(len)) {
            assert!(parse(good[..len].to_vec()).is_err(), "cut at {len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_fault_says_where() {
        let mut bad = body(&[b"one", b"two"]);
        *bad.last_mut().unwrap() ^= 1;
        let text = parse(bad).unwrap_err().to_string();
        assert_eq!(text, "entry 1 of frame 3, at byte 131: payload checksum mismatch");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(bytes);
        }
    }
}

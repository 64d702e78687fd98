//! The persisted dirty map: which byte ranges of which volumes must be read back and sent again.
//!
//! A header of [`HEADER_LEN`] bytes, then one item of [`ITEM_LEN`] bytes per run. The file is written aside and renamed,
//! so it is whole or the one before; the checksum tells a file that was damaged later.

use alloc::vec::Vec;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::ids::{ByteRange, Position, Seq, StreamId, VolumeIndex};

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// Bytes of one run.
pub const ITEM_LEN: usize = 20;
/// First bytes: "BKDn" with the layout's version in the last place.
pub const MAGIC: [u8; 4] = *b"BKD1";

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    reserved: U32,
    stream: U64,
    count: U64,
    covered_from: U64,
    covered_through: U64,
    covered_seq: U64,
    reserved2: U64,
    items_crc: U32,
    header_crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawItem {
    volume: U16,
    reserved: U16,
    offset: U64,
    len: U64,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN && size_of::<RawItem>() == ITEM_LEN);

/// Why a file is not a dirty map. Whoever meets one must take everything for dirty.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyMapError {
    /// Too short, or of another length than its header says.
    #[error("dirty map of {have} bytes where its header says {want}")]
    Length {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        want: u64,
    },
    /// Not a dirty map, or of another version.
    #[error("not a dirty map of this version (starts with {0:02x?})")]
    Magic([u8; 4]),
    /// A checksum does not match.
    #[error("dirty map checksum mismatch")]
    Checksum,
}

/// A dirty map as it is saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirtyMapFile {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// The dirty runs.
    pub runs: Vec<(VolumeIndex, ByteRange)>,
    /// The stretch of the journal that the map stands for: lowest and last position, and the last seq covered.
    pub covered: Option<(Position, Position, Seq)>,
}

/// The bytes of a map.
#[must_use]
pub fn encode(map: &DirtyMapFile) -> Vec<u8> {
    let mut out = alloc::vec![0; HEADER_LEN];
    for (volume, range) in &map.runs {
        let item =
            RawItem { volume: volume.0.into(), reserved: 0.into(), offset: range.offset.into(), len: range.len.into() };
        out.extend_from_slice(item.as_bytes());
    }
    // A position of 0 does not exist, so 0 says that nothing is covered.
    let (from, through, seq) = map.covered.unwrap_or_default();
    let mut header = RawHeader {
        magic: MAGIC,
        reserved: 0.into(),
        stream: map.stream.0.into(),
        count: (map.runs.len() as u64).into(),
        covered_from: from.0.into(),
        covered_through: through.0.into(),
        covered_seq: seq.0.into(),
        reserved2: 0.into(),
        items_crc: Crc32c::of(&out[HEADER_LEN..]).0.into(),
        header_crc: 0.into(),
    };
    header.header_crc = Crc32c::of(&header.as_bytes()[..HEADER_LEN - 4]).0.into();
    out[..HEADER_LEN].copy_from_slice(header.as_bytes());
    out
}

/// The map in `bytes`.
///
/// # Errors
/// Says what is wrong; nothing of a damaged map is used.
pub fn decode(bytes: &[u8]) -> Result<DirtyMapFile, DirtyMapError> {
    let have = bytes.len() as u64;
    let Ok((header, items)) = RawHeader::read_from_prefix(bytes) else {
        return Err(DirtyMapError::Length { have, want: HEADER_LEN as u64 });
    };
    if header.magic != MAGIC {
        return Err(DirtyMapError::Magic(header.magic));
    }
    if Crc32c::of(&bytes[..HEADER_LEN - 4]).0 != header.header_crc.get() {
        return Err(DirtyMapError::Checksum);
    }
    let want = header.count.get().saturating_mul(ITEM_LEN as u64).saturating_add(HEADER_LEN as u64);
    if want != have {
        return Err(DirtyMapError::Length { have, want });
    }
    if Crc32c::of(items).0 != header.items_crc.get() {
        return Err(DirtyMapError::Checksum);
    }
    let runs = items.chunks_exact(ITEM_LEN).filter_map(|item| RawItem::read_from_bytes(item).ok());
    let runs =
        runs.map(|item| (VolumeIndex(item.volume.get()), ByteRange::new(item.offset.get(), item.len.get()))).collect();
    let covered = (header.covered_through.get() != 0).then(|| {
        let (from, through) = (Position(header.covered_from.get()), Position(header.covered_through.get()));
        (from, through, Seq(header.covered_seq.get()))
    });
    Ok(DirtyMapFile { stream: StreamId(header.stream.get()), runs, covered })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(runs: Vec<(VolumeIndex, ByteRange)>) -> DirtyMapFile {
        DirtyMapFile { stream: StreamId(0x0102), runs, covered: Some((Position(3), Position(9), Seq(7))) }
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let bytes = encode(&map(alloc::vec![(VolumeIndex(1), ByteRange::new(0x1_0000, 0x2000))]));
        assert_eq!(&bytes[..24], b"BKD1\0\0\0\0\x02\x01\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!(&bytes[24..48], b"\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(&bytes[HEADER_LEN..], b"\x01\0\0\0\0\0\x01\0\0\0\0\0\0\x20\0\0\0\0\0\0");
    }

    #[test]
    fn damage_is_found() {
        let good = encode(&map(alloc::vec![(VolumeIndex(0), ByteRange::new(0, 512)); 3]));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(runs in proptest::collection::vec((any::<u16>(), any::<u64>(), any::<u64>()), 0..50)) {
            let runs: Vec<_> = runs.into_iter().map(|(v, o, l)| (VolumeIndex(v), ByteRange::new(o, l))).collect();
            let map = DirtyMapFile { covered: None, ..map(runs) };
            prop_assert_eq!(decode(&encode(&map)), Ok(map));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}

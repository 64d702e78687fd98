//! What a standby keeps of a tape between runs: which command it began last, and where the tape stood before.
//!
//! A tape's commands cannot be repeated as a disk's can: a block written twice is there twice. So before each command
//! its number and the place go to a file, durably; after a crash the place tells whether that one was carried out.
//! Two slots of [`MARK_LEN`] bytes lie one after the other; a new mark goes into the slot that does not hold the newest
//! one. Little-endian; a zeroed slot is an empty one.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::ids::Seq;
use crate::scsi::Place;

/// Bytes of a slot.
pub const MARK_LEN: usize = 48;
/// Slots in the file.
pub const SLOTS: usize = 2;
/// First bytes of a slot: "BKT" and the layout's version.
pub const MAGIC: [u8; 4] = *b"BKT1";

/// The place is known.
const KNOWN: u32 = 1;

/// A command that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TapeMark {
    /// Counts marks; the higher one of two slots is the newer.
    pub generation: u64,
    /// Number of the command in the stream.
    pub seq: Seq,
    /// Where the tape stood before it; none when the device did not know.
    pub place: Option<Place>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawMark {
    magic: [u8; 4],
    flags: U32,
    generation: U64,
    seq: U64,
    object: U64,
    partition: U32,
    reserved: [u8; 8],
    crc: U32,
}

const _: () = assert!(size_of::<RawMark>() == MARK_LEN);

impl TapeMark {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; MARK_LEN] {
        let place = self.place.unwrap_or_default();
        let raw = RawMark {
            magic: MAGIC,
            flags: if self.place.is_some() { KNOWN } else { 0 }.into(),
            generation: self.generation.into(),
            seq: self.seq.0.into(),
            object: place.object.into(),
            partition: place.partition.into(),
            reserved: [0; 8],
            crc: 0.into(),
        };
        let mut bytes: [u8; MARK_LEN] = zerocopy::transmute!(raw);
        let crc = Crc32c::of(&bytes[..MARK_LEN - 4]);
        bytes[MARK_LEN - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// The mark in a slot; none when the slot is empty, torn or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8; MARK_LEN]) -> Option<Self> {
        let raw: RawMark = zerocopy::transmute!(*bytes);
        let whole = raw.magic == MAGIC && Crc32c::of(&bytes[..MARK_LEN - 4]).0 == raw.crc.get();
        let place = Place { partition: raw.partition.get(), object: raw.object.get() };
        let place = (raw.flags.get() & KNOWN != 0).then_some(place);
        whole.then_some(Self { generation: raw.generation.get(), seq: Seq(raw.seq.get()), place })
    }

    /// The newer mark of a file's two slots; none when neither is whole.
    #[must_use]
    pub fn newest(slots: &[[u8; MARK_LEN]; SLOTS]) -> Option<Self> {
        slots.iter().filter_map(Self::decode).max_by_key(|mark| mark.generation)
    }

    /// Which slot it belongs into.
    #[must_use]
    pub const fn slot(&self) -> usize {
        (self.generation % SLOTS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: TapeMark =
        TapeMark { generation: 3, seq: Seq(0x0102), place: Some(Place { partition: 1, object: 0x0a0b }) };

    #[test]
    fn golden_mark() {
        let golden = [
            b'B', b'K', b'T', b'1', 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0x0b, 0x0a, 0, 0, 0, 0,
            0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let bytes = MARK.encode();
        assert_eq!(bytes[..MARK_LEN - 4], golden);
        assert_eq!(bytes[MARK_LEN - 4..], Crc32c::of(&golden).0.to_le_bytes());
        assert_eq!(TapeMark::decode(&bytes), Some(MARK));
        let unknown = TapeMark { place: None, ..MARK };
        assert_eq!(TapeMark::decode(&unknown.encode()), Some(unknown));
    }

    #[test]
    fn a_torn_or_empty_slot_is_none_and_the_other_counts() {
        let good = MARK.encode();
        for bit in 0..MARK_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TapeMark::decode(&bad), None, "bit {bit}");
        }
        let older = TapeMark { generation: 2, ..MARK };
        assert_eq!(TapeMark::newest(&[older.encode(), good]), Some(MARK));
        assert_eq!(TapeMark::newest(&[older.encode(), [7; MARK_LEN]]), Some(older));
        assert_eq!(TapeMark::newest(&[[0; MARK_LEN]; SLOTS]), None);
        assert_ne!(MARK.slot(), older.slot());
    }
}

//! What a standby keeps about itself between runs: its checkpoint.
//!
//! Two slots of [`SLOT_LEN`] bytes lie one after the other in one file. A new state goes into the slot that does not
//! hold the newest one, with the next generation number, so a write that is torn or lost leaves the older state whole.
//! A slot is a head of [`HEAD_LEN`] bytes with its own checksum, then a body of at most [`MAX_BODY`] bytes with
//! another. Little-endian throughout; a zeroed slot is an empty one.

use alloc::vec::Vec;

use binrw::io::Cursor;
use binrw::{BinRead, BinWrite, binrw};
use thiserror::Error;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::wire::{MAX_VOLUMES, Text};

/// Bytes of one slot.
pub const SLOT_LEN: usize = 64 << 10;
/// Slots in the file.
pub const SLOTS: usize = 2;
/// Bytes of a slot's head.
pub const HEAD_LEN: usize = 64;
/// Largest body, in bytes.
pub const MAX_BODY: usize = SLOT_LEN - HEAD_LEN;
/// First bytes of a slot: "BKS" and the layout's version.
pub const MAGIC: [u8; 4] = *b"BKS1";
/// Longest name of a volume that a standby serves, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest path of a target, in bytes. 64 volumes with the longest names and paths fit a slot.
pub const MAX_PATH: usize = 768;

const _: () = assert!(MAX_VOLUMES as usize * (MAX_NAME + MAX_PATH + 16) + 128 <= MAX_BODY);

/// One volume of the stream that the state belongs to, in the order of its index.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct StateVolume {
    /// The name that both ends use.
    pub name: Text,
    /// Path of the target as the administrator named it.
    pub target: Text,
    /// The primary's size in bytes.
    pub size: u64,
    /// The primary's logical block size in bytes.
    pub block_size: u32,
}

bitflags::bitflags! {
    /// What is known about the content of the targets.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ContentFlags: u32 {
        /// Nothing was ever copied to them.
        const BLANK = 1;
        /// A hole is open: a region with `remaining = 0` must come.
        const OWES_REGION = 2;
    }
}

/// The checkpoint of a standby: everything up to it is on the targets, durably.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct StandbyRecord {
    /// The stream it holds, see [`crate::ids::StreamId`]; 0 when it holds none.
    pub stream: u64,
    /// Last position of that stream that is applied.
    pub position: u64,
    /// Last index of its own journal that is applied; entries after it are redone.
    pub local_index: u64,
    /// Every completion of the stream up to this seq is applied.
    pub applied_seq: u64,
    /// Bits of [`ContentFlags`], see [`Self::content`]; unknown ones are refused on both sides.
    pub content_bits: u32,
    /// Not consistent before everything up to this seq is applied.
    pub consistent_after: u64,
    #[bw(calc = volumes.len() as u16)]
    #[br(assert(volume_count <= MAX_VOLUMES))]
    volume_count: u16,
    /// The volumes of the stream, in the order of their index.
    #[br(count = volume_count)]
    pub volumes: Vec<StateVolume>,
}

/// The head of a slot.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    body_len: U32,
    generation: U64,
    body_crc: U32,
    reserved: [u8; 40],
    head_crc: U32,
}

const _: () = assert!(size_of::<RawHead>() == HEAD_LEN);

/// Why a slot holds no state.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum StateError {
    /// Nothing was ever written to it.
    #[error("empty slot")]
    Empty,
    /// Fewer bytes than the head or the body needs.
    #[error("slot cut off: {have} of {want} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes needed.
        want: usize,
    },
    /// The first bytes are not a slot's, or of a version that this code does not know.
    #[error("not a state slot of this version (starts with {0:02x?})")]
    Magic([u8; 4]),
    /// A checksum does not match: torn or damaged.
    #[error("checksum mismatch in the {0} of a state slot")]
    Checksum(&'static str),
    /// A length or a field that cannot be.
    #[error("impossible state: {0}")]
    Contradiction(&'static str),
}

impl StandbyRecord {
    /// What is known about the content.
    #[must_use]
    pub fn content(&self) -> ContentFlags {
        ContentFlags::from_bits_truncate(self.content_bits)
    }

    /// The same state with this said about its content.
    #[must_use]
    pub fn with_content(mut self, flags: ContentFlags) -> Self {
        self.content_bits = flags.bits();
        self
    }

    /// The bytes of a slot with this state; the rest of the slot need not be written.
    ///
    /// # Errors
    /// [`StateError::Contradiction`] when names, paths or the number of volumes exceed their limits.
    pub fn encode_slot(&self, generation: u64) -> Result<Vec<u8>, StateError> {
        self.check()?;
        let mut out = Cursor::new(alloc::vec![0; HEAD_LEN]);
        out.set_position(HEAD_LEN as u64);
        self.write_le(&mut out).map_err(|_| StateError::Contradiction("a field does not encode"))?;
        let mut bytes = out.into_inner();
        let head = RawHead::sealed(generation, &bytes[HEAD_LEN..]);
        bytes[..HEAD_LEN].copy_from_slice(head.as_bytes());
        Ok(bytes)
    }

    /// Generation and state in the slot that begins with `slot`.
    ///
    /// # Errors
    /// Why there is none; nothing of a bad slot is used.
    pub fn decode_slot(slot: &[u8]) -> Result<(u64, Self), StateError> {
        let Ok((head, rest)) = RawHead::read_from_prefix(slot) else {
            return Err(StateError::Short { have: slot.len(), want: HEAD_LEN });
        };
        head.check()?;
        let want = head.body_len.get() as usize;
        let Some(body) = rest.get(..want) else {
            return Err(StateError::Short { have: rest.len(), want });
        };
        if Crc32c::of(body).0 != head.body_crc.get() {
            return Err(StateError::Checksum("body"));
        }
        Ok((head.generation.get(), Self::parse(body)?))
    }

    fn parse(body: &[u8]) -> Result<Self, StateError> {
        let mut cursor = Cursor::new(body);
        let state = Self::read_le(&mut cursor).map_err(|_| StateError::Contradiction("the body does not parse"))?;
        if cursor.position() != body.len() as u64 {
            return Err(StateError::Contradiction("bytes after the body"));
        }
        state.check()?;
        Ok(state)
    }

    fn check(&self) -> Result<(), StateError> {
        if self.volumes.len() > usize::from(MAX_VOLUMES) {
            return Err(StateError::Contradiction("too many volumes"));
        }
        if ContentFlags::from_bits(self.content_bits).is_none() {
            return Err(StateError::Contradiction("unknown content flags"));
        }
        let fits = |v: &StateVolume| v.name.len() <= MAX_NAME && v.target.len() <= MAX_PATH;
        if self.volumes.iter().all(fits) { Ok(()) } else { Err(StateError::Contradiction("a name or path too long")) }
    }
}

impl RawHead {
    fn sealed(generation: u64, body: &[u8]) -> Self {
        let mut head = Self {
            magic: MAGIC,
            body_len: (body.len() as u32).into(),
            generation: generation.into(),
            body_crc: Crc32c::of(body).0.into(),
            reserved: [0; 40],
            head_crc: 0.into(),
        };
        head.head_crc = head.checksum().0.into();
        head
    }

    fn checksum(&self) -> Crc32c {
        Crc32c::of(&self.as_bytes()[..HEAD_LEN - 4])
    }

    fn check(&self) -> Result<(), StateError> {
        if self.as_bytes().iter().all(|&byte| byte == 0) {
            return Err(StateError::Empty);
        }
        if self.magic != MAGIC {
            return Err(StateError::Magic(self.magic));
        }
        if self.checksum().0 != self.head_crc.get() {
            return Err(StateError::Checksum("head"));
        }
        if self.body_len.get() as usize > MAX_BODY {
            return Err(StateError::Contradiction("a body longer than its slot"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> StandbyRecord {
        StandbyRecord {
            stream: 0x1122,
            position: 9,
            local_index: 12,
            applied_seq: 8,
            consistent_after: 10,
            volumes: alloc::vec![StateVolume { name: "a".into(), target: "/t".into(), size: 4096, block_size: 512 }],
            ..StandbyRecord::default()
        }
        .with_content(ContentFlags::OWES_REGION)
    }

    /// The first version's bytes: never changed while `MAGIC` ends in 1.
    #[test]
    fn golden_slot() {
        let mut golden = alloc::vec![0; HEAD_LEN];
        golden[..4].copy_from_slice(b"BKS1");
        golden[4] = 65;
        golden[8] = 3;
        let body = [
            0x22, 0x11, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2,
            0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, b'a', 2, 0, b'/', b't', 0, 16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,
        ];
        golden[16..20].copy_from_slice(&Crc32c::of(&body).0.to_le_bytes());
        let head_crc = Crc32c::of(&golden[..60]).0;
        golden[60..64].copy_from_slice(&head_crc.to_le_bytes());
        golden.extend_from_slice(&body);
        assert_eq!(sample().encode_slot(3), Ok(golden.clone()));
        assert_eq!(StandbyRecord::decode_slot(&golden), Ok((3, sample())));
        assert_eq!((Crc32c::of(&body).0, head_crc), (0xFFDA_D6D3, 0xBA09_8F95), "checksums of the first version");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let good = sample().encode_slot(3).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StandbyRecord::decode_slot(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(StandbyRecord::decode_slot(&good[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_zeroed_slot_is_empty_and_another_version_is_named() {
        assert_eq!(StandbyRecord::decode_slot(&[0; SLOT_LEN]), Err(StateError::Empty));
        let mut other = sample().encode_slot(1).unwrap();
        other[3] = b'2';
        assert_eq!(StandbyRecord::decode_slot(&other), Err(StateError::Magic(*b"BKS2")));
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let long = alloc::string::String::from_utf8(alloc::vec![b'x'; MAX_PATH + 1]).unwrap();
        let mut state = sample();
        state.volumes[0].target = long.as_str().into();
        assert!(state.encode_slot(1).is_err());
        state.volumes[0].target = long[1..].into();
        state.volumes[0].name = long[..MAX_NAME].into();
        state.volumes.resize(usize::from(MAX_VOLUMES), state.volumes[0].clone());
        assert!(state.encode_slot(1).unwrap().len() <= SLOT_LEN);
        state.volumes.push(StateVolume::default());
        assert!(state.encode_slot(1).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = StandbyRecord::decode_slot(&bytes);
            let _ = StandbyRecord::parse(&bytes);
        }
    }
}

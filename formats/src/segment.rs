//! The bytes of a journal on disk: segments, the frames of items in them, and the state file beside them.
//!
//! A segment is a file of fixed size: a [`SegmentHeader`] at offset 0, items from [`DATA_START`] on, back to back. An
//! item is a frame of [`FRAME_LEN`] bytes, then an encoded entry header and its payload ([`crate::entry`]). The frame's
//! checksum covers the frame, the entry header, and two things that are not stored in it: the id of the segment and
//! the offset in it. So a block of an earlier use of the file, or one that was written to the wrong place, never
//! decodes. The payload is not covered: its own checksum is in the entry header, and it is not summed twice.
//!
//! Every header says how far the journal was durable when it was written ([`Frame::durable`]). A recovery that ends
//! before such a claim has lost something that had been promised, which is damage; one that ends after all claims
//! has only lost what a power cut may take.
//!
//! The state file has two slots of [`STATE_SLOT_LEN`] bytes, written in turn, so a torn write leaves the older one.

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::entry::{EntryError, EntryHeader, HEADER_LEN, MAX_PAYLOAD};

/// Bytes of a segment header.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// Where the first item of a segment begins, in bytes: no sector of the header is ever written again for an item.
pub const DATA_START: u64 = 4096;
/// First bytes of a segment: "BKJ" and the layout's version.
pub const SEGMENT_MAGIC: [u8; 4] = *b"BKJ1";
/// Bytes of a frame.
pub const FRAME_LEN: usize = 32;
/// First bytes of a frame: "BKF" and the layout's version.
pub const FRAME_MAGIC: [u8; 4] = *b"BKF1";
/// Bytes of an item without its payload: frame and entry header.
pub const ITEM_HEAD_LEN: usize = FRAME_LEN + HEADER_LEN;
/// Bytes of one slot of the state file.
pub const STATE_SLOT_LEN: usize = 4096;
/// Slots of the state file.
pub const STATE_SLOTS: usize = 2;
/// First bytes of a state slot: "BKL" and the layout's version.
pub const STATE_MAGIC: [u8; 4] = *b"BKL1";
/// Largest number of cursors of one journal.
pub const MAX_CURSORS: usize = 32;
/// Largest index, segment id and generation: no sum of two of them wraps around.
pub const MAX_COUNTER: u64 = u64::MAX / 4;
/// Largest number of a session: segment ids carry it in their upper half, and stay in range.
pub const MAX_SESSION: u32 = (MAX_COUNTER >> 32) as u32 - 1;
/// Longest name of a cursor, in bytes.
pub const MAX_CURSOR_NAME: usize = 64;

const STATE_HEAD_LEN: usize = 64;
const _: () = assert!(STATE_HEAD_LEN + MAX_CURSORS * (1 + MAX_CURSOR_NAME + 8) <= STATE_SLOT_LEN);
const _: () = assert!(size_of::<RawSegmentHeader>() == SEGMENT_HEADER_LEN);
const _: () = assert!(size_of::<RawFrame>() == FRAME_LEN);
const _: () = assert!(size_of::<RawState>() == STATE_HEAD_LEN);
const _: () = assert!(SEGMENT_HEADER_LEN as u64 <= DATA_START);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSegmentHeader {
    magic: [u8; 4],
    reserved: U32,
    segment_bytes: U64,
    id: U64,
    first: U64,
    durable: U64,
    reserved2: [u8; 20],
    crc: U32,
}

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Names one use of one file; never used again in this journal, and larger than those before it.
    pub id: u64,
    /// Size of the file in bytes.
    pub segment_bytes: u64,
    /// Index of its first item.
    pub first: u64,
    /// Everything up to this index was durable when the header was written.
    pub durable: u64,
}

/// Why bytes are not a segment header, a frame or a state slot.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentError {
    /// All zero: nothing was ever written here.
    #[error("never written")]
    Empty,
    /// Fewer bytes than needed.
    #[error("cut off: {have} of {want} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes needed.
        want: usize,
    },
    /// The first bytes are something else's, or of a version that this code does not know.
    #[error("no journal bytes of this version (starts with {0:02x?})")]
    Magic([u8; 4]),
    /// The checksum does not match: torn, damaged, or of another segment or place.
    #[error("checksum mismatch")]
    Checksum,
    /// The payload does not match the checksum in its entry header.
    #[error("payload checksum mismatch")]
    Payload,
    /// The entry header in the item is bad although the frame's checksum is right.
    #[error("bad entry in an item: {0}")]
    Entry(#[from] EntryError),
    /// Fields that contradict each other or exceed a limit.
    #[error("impossible journal bytes: {0}")]
    Contradiction(&'static str),
}

impl SegmentHeader {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut raw = RawSegmentHeader {
            magic: SEGMENT_MAGIC,
            reserved: 0.into(),
            segment_bytes: self.segment_bytes.into(),
            id: self.id.into(),
            first: self.first.into(),
            durable: self.durable.into(),
            reserved2: [0; 20],
            crc: 0.into(),
        };
        raw.crc = raw.checksum().0.into();
        zerocopy::transmute!(raw)
    }

    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// Says what is wrong; [`SegmentError::Empty`] when nothing was ever written.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let Ok((raw, _)) = RawSegmentHeader::read_from_prefix(bytes) else {
            return Err(SegmentError::Short { have: bytes.len(), want: SEGMENT_HEADER_LEN });
        };
        check_magic(raw.as_bytes(), SEGMENT_MAGIC)?;
        if raw.checksum().0 != raw.crc.get() {
            return Err(SegmentError::Checksum);
        }
        if !counters(&[raw.id.get(), raw.first.get()]) || raw.durable.get() > MAX_COUNTER {
            return Err(SegmentError::Contradiction("an id or index out of range"));
        }
        Ok(Self {
            id: raw.id.get(),
            segment_bytes: raw.segment_bytes.get(),
            first: raw.first.get(),
            durable: raw.durable.get(),
        })
    }
}

impl RawSegmentHeader {
    fn checksum(&self) -> Crc32c {
        Crc32c::of(&self.as_bytes()[..SEGMENT_HEADER_LEN - 4])
    }
}

/// Whether all of them are possible ids or indices.
fn counters(values: &[u64]) -> bool {
    values.iter().all(|value| (1..=MAX_COUNTER).contains(value))
}

/// Tells zeros from foreign bytes, and both from ours.
fn check_magic(head: &[u8], magic: [u8; 4]) -> Result<(), SegmentError> {
    if head[..4] == magic {
        return Ok(());
    }
    if head.iter().all(|&byte| byte == 0) {
        return Err(SegmentError::Empty);
    }
    Err(SegmentError::Magic([head[0], head[1], head[2], head[3]]))
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawFrame {
    magic: [u8; 4],
    body_len: U32,
    index: U64,
    durable: U64,
    session: U32,
    crc: U32,
}

/// Where an item lies. Part of its checksum, not of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Id of the segment.
    pub segment: u64,
    /// Bytes from the start of the segment to the frame.
    pub offset: u64,
}

/// The head of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Number of the item in the journal, from 1, without holes.
    pub index: u64,
    /// Everything up to this index was durable when the item was written.
    pub durable: u64,
    /// Which opening of the journal wrote it; never falls from one item to the next.
    pub session: u32,
    /// Bytes after the frame: entry header and payload.
    pub body_len: u32,
}

impl Frame {
    /// Its bytes at `place`, for an item that begins with the encoded entry `header`.
    #[must_use]
    pub fn encode(&self, place: Place, header: &[u8; HEADER_LEN]) -> [u8; FRAME_LEN] {
        let mut raw = RawFrame {
            magic: FRAME_MAGIC,
            body_len: self.body_len.into(),
            index: self.index.into(),
            durable: self.durable.into(),
            session: self.session.into(),
            crc: 0.into(),
        };
        raw.crc = raw.checksum(place, header).0.into();
        zerocopy::transmute!(raw)
    }

    /// Frame and entry header of the item at the start of `bytes`, which lie at `place`. The payload is not looked at.
    ///
    /// # Errors
    /// Says what is wrong; nothing of a bad item is used.
    pub fn decode(bytes: &[u8], place: Place) -> Result<(Self, EntryHeader), SegmentError> {
        let (Ok((raw, rest)), true) = (RawFrame::read_from_prefix(bytes), bytes.len() >= ITEM_HEAD_LEN) else {
            return Err(SegmentError::Short { have: bytes.len(), want: ITEM_HEAD_LEN });
        };
        check_magic(raw.as_bytes(), FRAME_MAGIC)?;
        if raw.checksum(place, &rest[..HEADER_LEN]).0 != raw.crc.get() {
            return Err(SegmentError::Checksum);
        }
        let entry = EntryHeader::decode(rest)?;
        if raw.body_len.get() as usize != entry.total_len() {
            return Err(SegmentError::Contradiction("frame and entry disagree"));
        }
        if !counters(&[raw.index.get()]) || raw.durable.get() > MAX_COUNTER || raw.session.get() > MAX_SESSION {
            return Err(SegmentError::Contradiction("an index or session out of range"));
        }
        Ok((raw.frame(), entry))
    }

    /// Bytes of the whole item: frame, entry header, payload. At most [`ITEM_HEAD_LEN`] and [`MAX_PAYLOAD`].
    #[must_use]
    pub const fn item_len(&self) -> usize {
        FRAME_LEN + self.body_len as usize
    }
}

impl RawFrame {
    /// Over everything but the header's own checksum in its last bytes: a CRC over bytes and their CRC is a constant,
    /// and would not tell one valid header from another.
    fn checksum(&self, place: Place, header: &[u8]) -> Crc32c {
        let fields = &self.as_bytes()[..FRAME_LEN - 4];
        let header = &header[..header.len().saturating_sub(size_of::<u32>())];
        Crc32c::of_parts(&[fields, &place.segment.to_le_bytes(), &place.offset.to_le_bytes(), header])
    }

    fn frame(&self) -> Frame {
        Frame {
            index: self.index.get(),
            durable: self.durable.get(),
            session: self.session.get(),
            body_len: self.body_len.get(),
        }
    }
}

/// Bytes of an item with a payload of `payload_len` bytes.
#[must_use]
pub const fn item_len(payload_len: usize) -> u64 {
    ITEM_HEAD_LEN as u64 + payload_len as u64
}

/// Size in bytes of the smallest segment that takes every entry, the largest included.
pub const SEGMENT_FOR_ANY_ENTRY: u64 = DATA_START + item_len(MAX_PAYLOAD as usize);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawState {
    magic: [u8; 4],
    body_len: U32,
    generation: U64,
    floor: U64,
    first: U64,
    durable: U64,
    segment_bytes: U64,
    session: U32,
    segments: U16,
    cursors: U16,
    reserved: U32,
    crc: U32,
}

/// How far one secondary has everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Name of the secondary.
    pub name: String,
    /// It holds everything up to this index.
    pub through: u64,
}

/// What the state file of a journal says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalState {
    /// Grows with every save; the slot with the larger one is the newer.
    pub generation: u64,
    /// Segments with a smaller id are free, whatever lies in them.
    pub floor: u64,
    /// Index of the first item of the first segment that is not below the floor.
    pub first: u64,
    /// Everything up to this index was durable at the save.
    pub durable: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Number of the opening that saved it.
    pub session: u32,
    /// Number of segment files.
    pub segments: u16,
    /// Who still needs what.
    pub cursors: Vec<Cursor>,
}

impl JournalState {
    /// Its bytes: a whole slot.
    ///
    /// # Errors
    /// [`SegmentError::Contradiction`] when there are too many cursors or a name is too long or empty.
    pub fn encode(&self) -> Result<[u8; STATE_SLOT_LEN], SegmentError> {
        self.check()?;
        let body = self.encode_cursors();
        let mut raw = self.raw_head(body.len());
        raw.crc = raw.checksum(&body).0.into();
        let mut slot = [0; STATE_SLOT_LEN];
        slot[..STATE_HEAD_LEN].copy_from_slice(raw.as_bytes());
        slot[STATE_HEAD_LEN..][..body.len()].copy_from_slice(&body);
        Ok(slot)
    }

    fn raw_head(&self, body_len: usize) -> RawState {
        RawState {
            magic: STATE_MAGIC,
            body_len: (body_len as u32).into(),
            generation: self.generation.into(),
            floor: self.floor.into(),
            first: self.first.into(),
            durable: self.durable.into(),
            segment_bytes: self.segment_bytes.into(),
            session: self.session.into(),
            segments: self.segments.into(),
            cursors: (self.cursors.len() as u16).into(),
            reserved: 0.into(),
            crc: 0.into(),
        }
    }

    fn encode_cursors(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for cursor in &self.cursors {
            body.push(cursor.name.len() as u8);
            body.extend_from_slice(cursor.name.as_bytes());
            body.extend_from_slice(&cursor.through.to_le_bytes());
        }
        body
    }

    /// The state in the slot `bytes`.
    ///
    /// # Errors
    /// Says what is wrong; [`SegmentError::Empty`] when nothing was ever written.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let Ok((raw, rest)) = RawState::read_from_prefix(bytes) else {
            return Err(SegmentError::Short { have: bytes.len(), want: STATE_HEAD_LEN });
        };
        check_magic(raw.as_bytes(), STATE_MAGIC)?;
        let want = raw.body_len.get() as usize;
        if want > STATE_SLOT_LEN - STATE_HEAD_LEN {
            return Err(SegmentError::Contradiction("a body longer than its slot"));
        }
        let body = rest.get(..want).ok_or(SegmentError::Short { have: rest.len(), want })?;
        if raw.checksum(body).0 != raw.crc.get() {
            return Err(SegmentError::Checksum);
        }
        let state = raw.state(decode_cursors(body, raw.cursors.get())?);
        state.check()?;
        Ok(state)
    }

    fn check(&self) -> Result<(), SegmentError> {
        let named = |c: &Cursor| (1..=MAX_CURSOR_NAME).contains(&c.name.len());
        if self.cursors.len() > MAX_CURSORS {
            Err(SegmentError::Contradiction("too many cursors"))
        } else if !self.cursors.iter().all(named) {
            Err(SegmentError::Contradiction("a cursor without name or with one too long"))
        } else if !counters(&[self.first, self.floor]) || self.durable.max(self.generation) > MAX_COUNTER {
            Err(SegmentError::Contradiction("an id, index or generation out of range"))
        } else if self.session > MAX_SESSION {
            Err(SegmentError::Contradiction("a session out of range"))
        } else {
            Ok(())
        }
    }
}

impl RawState {
    fn checksum(&self, body: &[u8]) -> Crc32c {
        Crc32c::of_parts(&[&self.as_bytes()[..STATE_HEAD_LEN - 4], body])
    }

    fn state(&self, cursors: Vec<Cursor>) -> JournalState {
        JournalState {
            generation: self.generation.get(),
            floor: self.floor.get(),
            first: self.first.get(),
            durable: self.durable.get(),
            segment_bytes: self.segment_bytes.get(),
            session: self.session.get(),
            segments: self.segments.get(),
            cursors,
        }
    }
}

fn decode_cursors(mut body: &[u8], count: u16) -> Result<Vec<Cursor>, SegmentError> {
    let mut cursors = Vec::new();
    for _ in 0..count {
        let (cursor, rest) = decode_cursor(body).ok_or(SegmentError::Contradiction("a cursor that does not parse"))?;
        cursors.push(cursor);
        body = rest;
    }
    if body.is_empty() { Ok(cursors) } else { Err(SegmentError::Contradiction("bytes after the cursors")) }
}

fn decode_cursor(body: &[u8]) -> Option<(Cursor, &[u8])> {
    let (&len, rest) = body.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let (through, rest) = rest.split_first_chunk()?;
    let name = String::from(core::str::from_utf8(name).ok()?);
    Some((Cursor { name, through: u64::from_le_bytes(*through) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Gap, PayloadInfo, Region};
    use crate::ids::{ByteRange, Position, Seq, VolumeIndex};
    use proptest::prelude::*;

    const PLACE: Place = Place { segment: 0x0102, offset: 4096 };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| alloc::format!("{b:02x}")).collect()
    }

    fn segment() -> SegmentHeader {
        SegmentHeader { id: 0x0001_0000_0002, segment_bytes: 1 << 20, first: 9, durable: 8 }
    }

    fn item(payload: &[u8]) -> Vec<u8> {
        let region = Region {
            volume: VolumeIndex(1),
            range: ByteRange::new(512, payload.len() as u64),
            consistent_after: Seq(3),
            remaining: 0,
        };
        let info = if payload.is_empty() { PayloadInfo::ZERO } else { PayloadInfo::data(payload) };
        let header = EntryHeader { entry: Entry::Region(region), position: Position(2), payload: info };
        let frame = Frame { index: 5, durable: 4, session: 7, body_len: header.total_len() as u32 };
        let mut bytes = frame.encode(PLACE, &header.encode()).to_vec();
        header.write_to(payload, &mut bytes);
        bytes
    }

    fn state() -> JournalState {
        JournalState {
            generation: 3,
            floor: 0x0001_0000_0002,
            first: 9,
            durable: 11,
            segment_bytes: 1 << 20,
            session: 7,
            segments: 4,
            cursors: alloc::vec![Cursor { name: "b".into(), through: 10 }],
        }
    }

    /// The first version's bytes: never changed while the magics end in 1.
    #[test]
    fn golden_bytes_of_version_1() {
        let header = "424b4a3100000000000010000000000002000000010000000900000000000000\
                      08000000000000000000000000000000000000000000000000000000e7d0c11b";
        assert_eq!(hex(&segment().encode()), header);
        assert_eq!(
            hex(&item(b"12345678")[..FRAME_LEN]),
            "424b4631880000000500000000000000040000000000000007000000b07e664a"
        );
        let slot = "424b4c310a000000030000000000000002000000010000000900000000000000\
                    0b000000000000000000100000000000070000000400010000000000007f0e76\
                    01620a00000000000000";
        assert_eq!(hex(&state().encode().unwrap()[..STATE_HEAD_LEN + 10]), slot);
    }

    #[test]
    fn all_three_round_trip() {
        assert_eq!(SegmentHeader::decode(&segment().encode()), Ok(segment()));
        assert_eq!(JournalState::decode(&state().encode().unwrap()), Ok(state()));
        let bytes = item(b"12345678");
        let (frame, entry) = Frame::decode(&bytes, PLACE).unwrap();
        assert_eq!((frame.index, frame.durable, frame.session, frame.item_len()), (5, 4, 7, bytes.len()));
        assert_eq!(entry.payload, PayloadInfo::data(b"12345678"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        fn check<T: core::fmt::Debug>(good: &[u8], decode: impl Fn(&[u8]) -> Result<T, SegmentError>) {
            for bit in 0..good.len() * 8 {
                let mut bad = good.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bad).is_err(), "bit {bit}");
            }
            for len in 0..good.len() {
                assert!(decode(&good[..len]).is_err(), "cut at {len}");
            }
        }
        check(&segment().encode(), SegmentHeader::decode);
        check(&state().encode().unwrap()[..STATE_HEAD_LEN + 10], JournalState::decode);
        check(&item(b""), |bytes| Frame::decode(bytes, PLACE));
    }

    #[test]
    fn an_item_decodes_in_its_own_place_only() {
        let bytes = item(b"12345678");
        assert_eq!(Frame::decode(&bytes, Place { offset: 4097, ..PLACE }), Err(SegmentError::Checksum));
        assert_eq!(Frame::decode(&bytes, Place { segment: 0x0103, ..PLACE }), Err(SegmentError::Checksum));
    }

    #[test]
    fn zeros_are_empty_and_other_versions_are_named() {
        assert_eq!(SegmentHeader::decode(&[0; 64]), Err(SegmentError::Empty));
        assert_eq!(Frame::decode(&[0; ITEM_HEAD_LEN], PLACE), Err(SegmentError::Empty));
        assert_eq!(JournalState::decode(&[0; STATE_SLOT_LEN]), Err(SegmentError::Empty));
        let mut other = segment().encode();
        other[3] = b'2';
        assert_eq!(SegmentHeader::decode(&other), Err(SegmentError::Magic(*b"BKJ2")));
    }

    #[test]
    fn the_state_with_most_cursors_fits_its_slot() {
        let mut full = state();
        let name = |i: usize| Cursor { name: alloc::format!("{i:064}"), through: i as u64 };
        full.cursors = (0..MAX_CURSORS).map(name).collect();
        assert_eq!(JournalState::decode(&full.encode().unwrap()), Ok(full.clone()));
        full.cursors.push(name(99));
        assert!(full.encode().is_err());
        full.cursors = alloc::vec![Cursor { name: String::new(), through: 1 }];
        assert!(full.encode().is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = JournalState::decode(&bytes);
            let _ = Frame::decode(&bytes, PLACE);
            let _ = decode_cursors(&bytes, 3);
        }

        #[test]
        fn any_item_round_trips(index in 1..=MAX_COUNTER, durable in 0..=MAX_COUNTER, session in 0..=MAX_SESSION, segment: u64, offset: u64, a in 0u64..1 << 60) {
            let gap = EntryHeader {
                entry: Entry::Gap(Gap { first: Seq(a), last: Seq(a) }), position: Position(a), payload: PayloadInfo::NONE,
            };
            let place = Place { segment, offset };
            let frame = Frame { index, durable, session, body_len: HEADER_LEN as u32 };
            let mut bytes = frame.encode(place, &gap.encode()).to_vec();
            bytes.extend_from_slice(&gap.encode());
            prop_assert_eq!(Frame::decode(&bytes, place), Ok((frame, gap)));
        }
    }
}

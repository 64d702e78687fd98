//! Frames of the link between a primary (the TCP client) and a standby (the server).
//!
//! A frame is a header of [`FRAME_HEADER_LEN`] bytes with its own checksum, then a body of at most [`MAX_BODY`] bytes
//! with another. The primary opens with [`Hello`]; the standby answers [`Welcome`] or [`Refuse`]. Afterwards the
//! primary sends entry frames, numbered from 1 within the session, whose body is a run of encoded entries
//! ([`crate::entry`]); the standby answers with cumulative [`Ack`]s, and asks with [`Resend`] for what its device
//! did not take. Hash requests serve `verify`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use binrw::io::Cursor;
use binrw::{BinRead, BinResult, BinWrite, binrw};
use thiserror::Error;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::scsi::identity::Identity;

/// Bytes of a frame header.
pub const FRAME_HEADER_LEN: usize = 32;
/// Largest body, in bytes.
pub const MAX_BODY: u32 = 24 << 20;
/// The newest protocol version this code speaks.
pub const VERSION: u16 = 2;
/// The oldest protocol version this code speaks.
pub const MIN_VERSION: u16 = 2;
/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"BKEW";
/// Largest number of volumes in a group.
pub const MAX_VOLUMES: u16 = 64;
/// Largest number of hashes in one reply.
pub const MAX_HASHES: u32 = 65_536;
/// Largest number of stretches in one [`Resend`].
pub const MAX_STRETCHES: u16 = 4096;
/// Longest reason of a stretch, in bytes.
pub const MAX_REASON: usize = 64;

/// What a frame carries. Explicit tags; 0 is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// [`Hello`], primary to standby.
    Hello = 1,
    /// [`Welcome`], standby to primary.
    Welcome = 2,
    /// [`Refuse`], either way; the connection closes after it.
    Refuse = 3,
    /// Encoded entries, primary to standby; the only numbered kind.
    Entries = 4,
    /// [`Ack`], standby to primary.
    Ack = 5,
    /// Nothing to say, but alive; no body; either way.
    KeepAlive = 6,
    /// [`HashRequest`], primary to standby.
    HashRequest = 7,
    /// [`HashReply`], standby to primary.
    HashReply = 8,
    /// [`Resend`], standby to primary.
    Resend = 9,
}

impl FrameKind {
    /// The kind with this tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Hello),
            2 => Some(Self::Welcome),
            3 => Some(Self::Refuse),
            4 => Some(Self::Entries),
            5 => Some(Self::Ack),
            6 => Some(Self::KeepAlive),
            7 => Some(Self::HashRequest),
            8 => Some(Self::HashReply),
            9 => Some(Self::Resend),
            _ => None,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawFrameHeader {
    magic: [u8; 4],
    kind: u8,
    reserved: [u8; 3],
    number: U64,
    body_len: U32,
    body_crc: U32,
    reserved2: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<RawFrameHeader>() == FRAME_HEADER_LEN);

/// A checked frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameKind,
    /// Number of an entry frame within its session, from 1; 0 for other kinds.
    pub number: u64,
    /// Bytes of the body, at most [`MAX_BODY`].
    pub body_len: u32,
    /// Checksum of the body.
    pub body_crc: Crc32c,
}

/// Why bytes are not a frame of this protocol.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The first bytes are not a frame's: somebody else's protocol.
    #[error("not a blkecho frame (starts with {0:02x?})")]
    Magic([u8; 4]),
    /// The header's checksum does not match.
    #[error("frame header checksum mismatch")]
    HeaderChecksum,
    /// The body's checksum does not match.
    #[error("frame body checksum mismatch")]
    BodyChecksum,
    /// A tag that this version does not know.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A body longer than the limit.
    #[error("frame body of {0} bytes is above the limit of {MAX_BODY}")]
    TooLong(u32),
    /// A message that does not parse.
    #[error("malformed {0} message")]
    Malformed(&'static str),
}

impl FrameHeader {
    /// The header for a body given in parts.
    #[must_use]
    pub fn for_body(kind: FrameKind, number: u64, parts: &[&[u8]]) -> Self {
        let body_len = parts.iter().map(|part| part.len() as u32).sum();
        Self { kind, number, body_len, body_crc: Crc32c::of_parts(parts) }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let raw = RawFrameHeader {
            magic: MAGIC,
            kind: self.kind as u8,
            reserved: [0; 3],
            number: self.number.into(),
            body_len: self.body_len.into(),
            body_crc: self.body_crc.0.into(),
            reserved2: 0.into(),
            header_crc: 0.into(),
        };
        let mut bytes: [u8; FRAME_HEADER_LEN] = zerocopy::transmute!(raw);
        let crc = Crc32c::of(&bytes[..FRAME_HEADER_LEN - 4]);
        bytes[FRAME_HEADER_LEN - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, checked, with a bounded body length.
    ///
    /// # Errors
    /// Says why these bytes are not a frame.
    pub fn decode(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<Self, FrameError> {
        let raw: RawFrameHeader = zerocopy::transmute!(*bytes);
        if raw.magic != MAGIC {
            return Err(FrameError::Magic(raw.magic));
        }
        if Crc32c::of(&bytes[..FRAME_HEADER_LEN - 4]).0 != raw.header_crc.get() {
            return Err(FrameError::HeaderChecksum);
        }
        if raw.body_len.get() > MAX_BODY {
            return Err(FrameError::TooLong(raw.body_len.get()));
        }
        Ok(Self {
            kind: FrameKind::from_tag(raw.kind).ok_or(FrameError::Kind(raw.kind))?,
            number: raw.number.get(),
            body_len: raw.body_len.get(),
            body_crc: Crc32c(raw.body_crc.get()),
        })
    }

    /// Whether `body` is the one this header was made for.
    ///
    /// # Errors
    /// [`FrameError::BodyChecksum`] when it is not.
    pub fn check_body(&self, body: &[u8]) -> Result<(), FrameError> {
        if Crc32c::of(body) == self.body_crc { Ok(()) } else { Err(FrameError::BodyChecksum) }
    }
}

/// A short text: its length in bytes as `u16`, then UTF-8.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Text {
    #[bw(calc = bytes.len() as u16)]
    len: u16,
    #[br(count = len)]
    bytes: Vec<u8>,
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self { bytes: text.as_bytes()[..end].to_vec() }
    }
}

impl Text {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text; bytes that are not UTF-8 show as replacement characters.
    #[must_use]
    pub fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// What a volume is, as far as replication treats it differently. Explicit tags; 0 is invalid.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[brw(little, repr = u8)]
pub enum VolumeKind {
    /// Blocks at addresses: what was missed is read back.
    #[default]
    Blocks = 1,
    /// A tape: only its commands, all of them and in order, make the same of another one. It has no size, no blocks,
    /// and nothing of it can be read back.
    Sequential = 2,
}

/// One volume as its primary describes it.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct VolumeIdentity {
    /// The name that both ends use.
    pub name: Text,
    /// What it is.
    pub kind: VolumeKind,
    /// Its size in bytes; 0 of a sequential one.
    pub size: u64,
    /// Its logical block size in bytes; 0 of a sequential one.
    pub block_size: u32,
    /// The SCSI device that it is all of, as that describes itself, where SCSI commands are captured of it.
    #[br(parse_with = identity)]
    #[bw(write_with = put_identity)]
    pub scsi: Option<Box<Identity>>,
}

impl VolumeIdentity {
    /// A volume of blocks: its name, its size and block size in bytes.
    #[must_use]
    pub fn blocks(name: &str, size: u64, block_size: u32) -> Self {
        Self { name: name.into(), kind: VolumeKind::Blocks, size, block_size, scsi: None }
    }

    /// A tape, by its name.
    #[must_use]
    pub fn sequential(name: &str) -> Self {
        Self { kind: VolumeKind::Sequential, ..Self::blocks(name, 0, 0) }
    }
}

/// In front of an identity: there is none.
const NO_IDENTITY: u8 = 1;
/// In front of an identity: it follows.
const IDENTITY: u8 = 2;

#[binrw::parser(reader, endian)]
fn identity() -> BinResult<Option<Box<Identity>>> {
    let pos = reader.stream_position()?;
    match u8::read_options(reader, endian, ())? {
        NO_IDENTITY => Ok(None),
        IDENTITY => Ok(Some(Box::new(Identity::read_options(reader, endian, ())?))),
        _ => Err(binrw::Error::AssertFail { pos, message: "no tag of an identity".into() }),
    }
}

/// What is longer than a hello carries is cut, so this cannot fail.
#[binrw::writer(writer, endian)]
fn put_identity(identity: &Option<Box<Identity>>) -> BinResult<()> {
    let Some(identity) = identity else { return NO_IDENTITY.write_options(writer, endian, ()) };
    IDENTITY.write_options(writer, endian, ())?;
    identity.carried().write_options(writer, endian, ())
}

/// The primary's first frame.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Hello {
    /// Oldest protocol version it speaks.
    pub min_version: u16,
    /// Newest protocol version it speaks.
    pub max_version: u16,
    /// Its stream, see [`crate::ids::StreamId`].
    pub stream: u64,
    /// Name of the group.
    pub group: Text,
    /// Bytes per region of its dirty map.
    pub region_size: u32,
    #[bw(calc = volumes.len() as u16)]
    #[br(assert(volume_count <= MAX_VOLUMES))]
    volume_count: u16,
    /// The volumes, in the order of their index.
    #[br(count = volume_count)]
    pub volumes: Vec<VolumeIdentity>,
}

/// The standby's answer to a [`Hello`] it accepts.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Welcome {
    /// Protocol version both will use.
    pub version: u16,
    /// Name of the standby's node.
    pub node: Text,
    /// The stream it holds, or 0 when it holds none.
    pub stream: u64,
    /// The last position of that stream that it holds durably.
    pub durable: u64,
    /// The last position of that stream that it has applied.
    pub applied: u64,
    /// Whether its content is that of a moment of the primary (see [`DataState`]).
    pub data: DataState,
    /// Bytes that may be in flight unacknowledged.
    pub window: u64,
}

/// Whether a standby's content is one the primary could have had.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[brw(little, repr = u8)]
pub enum DataState {
    /// It is a moment of the primary, in order.
    #[default]
    Consistent = 1,
    /// Regions are missing or newer than the rest.
    Inconsistent = 2,
    /// Nothing was ever copied to it.
    Blank = 3,
}

/// Why a peer is turned away.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little, repr = u16)]
pub enum RefuseCode {
    /// No common protocol version.
    Version = 1,
    /// The standby serves no volume of that name.
    UnknownVolume = 2,
    /// Size or block size differ.
    Geometry = 3,
    /// Another primary is connected for that volume.
    Busy = 4,
    /// The frame does not fit the state of the session.
    Unexpected = 5,
    /// The target stopped with an error.
    Stopped = 6,
    /// Content or checksum of a frame was bad.
    Corrupt = 7,
}

/// A refusal: the connection closes after it.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Refuse {
    /// The kind.
    pub code: RefuseCode,
    /// What, and what to do.
    pub text: Text,
}

/// How far a standby is. All counters are cumulative and never go back within a session.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Ack {
    /// Last entry frame of this session that was received whole.
    pub received_frame: u64,
    /// Last entry frame of this session whose entries are all durable there.
    pub durable_frame: u64,
    /// Last entry frame of this session whose entries are all applied.
    pub applied_frame: u64,
    /// Last position of the stream that it holds durably.
    pub durable: u64,
    /// Last position of the stream that it has applied.
    pub applied: u64,
    /// State of its content.
    pub data: DataState,
}

/// Asks for the hashes of consecutive chunks of a volume.
#[binrw]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct HashRequest {
    /// Chosen by the asker, returned in the reply.
    pub id: u64,
    /// Which volume.
    pub volume: u16,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Bytes per hash; the last may be shorter.
    pub chunk: u32,
}

/// The hashes asked for: BLAKE3, 32 bytes each.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct HashReply {
    /// The request's id.
    pub id: u64,
    #[bw(calc = hashes.len() as u32)]
    #[br(assert(count <= MAX_HASHES))]
    count: u32,
    /// One per chunk, in order.
    #[br(count = count)]
    pub hashes: Vec<[u8; 32]>,
}

/// A stretch of a volume whose content the standby does not have, because its device did not take it.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug)]
#[brw(little)]
pub struct Stretch {
    /// Which volume.
    pub volume: u16,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Why, as the row of the error consistency table that ended in it (`docs/error-consistency.md`); at most
    /// [`MAX_REASON`] bytes, empty when that is not known.
    #[br(assert(reason.len() <= MAX_REASON))]
    pub reason: Text,
}

/// Asks the primary to read these stretches again and to send them as regions. Nothing answers it but the regions; it is
/// asked again in the next session. A standby keeps what it has to ask for in the same form beside its checkpoint.
#[binrw]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[brw(little)]
pub struct Resend {
    #[bw(calc = stretches.len() as u16)]
    #[br(assert(count <= MAX_STRETCHES))]
    count: u16,
    /// The stretches, at most [`MAX_STRETCHES`].
    #[br(count = count)]
    pub stretches: Vec<Stretch>,
}

/// A message with a body of its own frame kind.
pub trait Message: Sized {
    /// The frame kind that carries it.
    const KIND: FrameKind;
    /// Its name in error messages.
    const NAME: &'static str;

    /// Its bytes.
    fn to_body(&self) -> Vec<u8>;

    /// The message in `body`; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when it does not parse to the end.
    fn from_body(body: &[u8]) -> Result<Self, FrameError>;
}

macro_rules! message {
    ($($name:ident),*) => {$(
        impl Message for $name {
            const KIND: FrameKind = FrameKind::$name;
            const NAME: &'static str = stringify!($name);

            fn to_body(&self) -> Vec<u8> {
                let mut out = Cursor::new(Vec::new());
                self.write_le(&mut out).expect("writing to memory cannot fail");
                out.into_inner()
            }

            fn from_body(body: &[u8]) -> Result<Self, FrameError> {
                let mut cursor = Cursor::new(body);
                let message = Self::read_le(&mut cursor).map_err(|_| FrameError::Malformed(Self::NAME))?;
                if cursor.position() == body.len() as u64 { Ok(message) } else { Err(FrameError::Malformed(Self::NAME)) }
            }
        }
    )*};
}

message!(Hello, Welcome, Refuse, Ack, HashRequest, HashReply, Resend);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            min_version: 2,
            max_version: 2,
            stream: 0x1122,
            group: "g".into(),
            region_size: 65536,
            volumes: alloc::vec![VolumeIdentity::blocks("a", 4096, 512)],
        }
    }

    #[test]
    fn golden_hello() {
        let golden = [
            2, 0, 2, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0, 1, 0, b'g', 0, 0, 1, 0, 1, 0, 1, 0, b'a', 1, 0, 16, 0, 0, 0, 0,
            0, 0, 0, 2, 0, 0, 1,
        ];
        assert_eq!(hello().to_body(), golden);
        assert_eq!(Hello::from_body(&golden), Ok(hello()));
        let mut scsi = hello();
        scsi.volumes[0].scsi = Some(Box::default());
        // An identity that says nothing: see its own golden bytes.
        let golden = [&golden[..37], &[2], &[0; 17]].concat();
        assert_eq!(scsi.to_body(), golden);
        assert_eq!(Hello::from_body(&golden), Ok(scsi));
    }

    /// What a stranger may make the other end allocate (`link::HELLO_BODY_LIMIT`).
    #[test]
    fn the_largest_hello_is_small() {
        let scsi = crate::scsi::identity::tests::longest();
        let mut volume = VolumeIdentity::blocks(&"n".repeat(crate::state::MAX_NAME), u64::MAX, 4096);
        volume.scsi = Some(Box::new(scsi));
        let body = Hello { volumes: alloc::vec![volume; MAX_VOLUMES.into()], ..hello() }.to_body();
        assert!(body.len() < 60 << 10, "{}", body.len());
        assert!(Hello::from_body(&body).is_ok());
    }

    #[test]
    fn a_cut_or_padded_message_is_refused() {
        let body = hello().to_body();
        for len in 0..body.len() {
            assert_eq!(Hello::from_body(&body[..len]), Err(FrameError::Malformed("Hello")), "cut at {len}");
        }
        let mut longer = body;
        longer.push(0);
        assert_eq!(Hello::from_body(&longer), Err(FrameError::Malformed("Hello")));
    }

    #[test]
    fn header_round_trip_and_every_flipped_bit_refused() {
        let header = FrameHeader::for_body(FrameKind::Entries, 7, &[b"ab", b"c"]);
        let good = header.encode();
        assert_eq!(FrameHeader::decode(&good), Ok(header));
        for bit in 0..FRAME_HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(header.check_body(b"abc"), Ok(()));
        assert_eq!(header.check_body(b"abd"), Err(FrameError::BodyChecksum));
    }

    #[test]
    fn a_huge_body_is_refused_by_its_header() {
        let header = FrameHeader { kind: FrameKind::Ack, number: 0, body_len: MAX_BODY + 1, body_crc: Crc32c(0) };
        assert_eq!(FrameHeader::decode(&header.encode()), Err(FrameError::TooLong(MAX_BODY + 1)));
    }

    #[test]
    fn a_hash_count_above_the_limit_is_refused_without_allocating() {
        let mut body = alloc::vec![0; 8];
        body.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(HashReply::from_body(&body), Err(FrameError::Malformed("HashReply")));
    }

    #[test]
    fn golden_resend() {
        let stretch = Stretch { volume: 2, offset: 0x1_0000, len: 512, reason: "hardware".into() };
        let resend = Resend { stretches: alloc::vec![stretch] };
        let golden = [
            1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 8, 0, b'h', b'a', b'r', b'd', b'w', b'a', b'r',
            b'e',
        ];
        assert_eq!(resend.to_body(), golden);
        assert_eq!(Resend::from_body(&golden), Ok(resend));
        assert_eq!(FrameKind::from_tag(9), Some(FrameKind::Resend));
    }

    #[test]
    fn a_resend_is_bounded_in_stretches_and_in_words() {
        let stretch = |reason: &str| Stretch { volume: 0, offset: 0, len: 1, reason: reason.into() };
        let parses = |stretches| Resend::from_body(&Resend { stretches }.to_body()).is_ok();
        let most = usize::from(MAX_STRETCHES);
        assert!(parses(alloc::vec![stretch("x"); most]) && !parses(alloc::vec![stretch("x"); most + 1]));
        let word = "x".repeat(MAX_REASON + 1);
        assert!(parses(alloc::vec![stretch(&word[1..])]) && !parses(alloc::vec![stretch(&word)]));
        let longest = Resend { stretches: alloc::vec![stretch(&word[1..]); most] };
        assert!(longest.to_body().len() < MAX_BODY as usize);
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hello::from_body(&body);
            let _ = Welcome::from_body(&body);
            let _ = Refuse::from_body(&body);
            let _ = Ack::from_body(&body);
            let _ = HashRequest::from_body(&body);
            let _ = HashReply::from_body(&body);
            let _ = Resend::from_body(&body);
        }
    }
}

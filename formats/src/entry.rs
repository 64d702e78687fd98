//! One entry of the ordered stream: what lies in a journal and travels on a link, encoded once.
//!
//! An entry is a fixed header of [`HEADER_LEN`] bytes, then its payload. Three kinds exist: a [`Record`] is one
//! completed command, a [`Gap`] stands for completions that were not carried (their regions are in a dirty map), and
//! a [`Region`] is content read back from the primary that heals such a map. The header's own checksum covers its
//! other bytes; the payload's checksum is the one taken where the payload left the kernel.

use alloc::vec::Vec;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::ids::{ByteRange, Position, Seq, VolumeIndex};
use crate::op::{Op, OpFlags, Status};

/// Bytes of an encoded header.
pub const HEADER_LEN: usize = 128;
/// Largest payload of one entry, in bytes: more than any device here takes in one command.
pub const MAX_PAYLOAD: u32 = 16 << 20;
/// First bytes of every header: "BKEn" with the layout's version in the last place.
pub const MAGIC: [u8; 4] = *b"BKE1";

/// How the bytes of a range are carried. Explicit tags; 0 is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum PayloadEncoding {
    /// Nothing is carried: the command has no data, or its data was lost and the range is in a dirty map.
    None = 1,
    /// The bytes themselves.
    Data = 2,
    /// All bytes of the range are zero; nothing follows.
    Zero = 3,
}

impl PayloadEncoding {
    /// The encoding with this tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::None),
            2 => Some(Self::Data),
            3 => Some(Self::Zero),
            _ => None,
        }
    }
}

/// What a header says about the payload behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadInfo {
    /// How it is carried.
    pub encoding: PayloadEncoding,
    /// Bytes that follow the header.
    pub len: u32,
    /// Checksum of the bytes that follow the header.
    pub crc: Crc32c,
    /// How many of these bytes, at the end, are a record's [`crate::command`], not content of its range.
    pub trailer: u32,
}

impl PayloadInfo {
    /// Nothing follows.
    pub const NONE: Self = Self { encoding: PayloadEncoding::None, len: 0, crc: Crc32c(0), trailer: 0 };
    /// Nothing follows; the range is zero.
    pub const ZERO: Self = Self { encoding: PayloadEncoding::Zero, len: 0, crc: Crc32c(0), trailer: 0 };

    /// `bytes` follow.
    #[must_use]
    pub fn data(bytes: &[u8]) -> Self {
        Self { encoding: PayloadEncoding::Data, len: bytes.len() as u32, crc: Crc32c::of(bytes), trailer: 0 }
    }

    /// Bytes of content that follow the header; the trailer comes behind them.
    #[must_use]
    pub const fn content_len(&self) -> u32 {
        self.len.saturating_sub(self.trailer)
    }
}

/// Who issued a command, and when it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// When it was issued to the device: nanoseconds since 1970, UTC.
    pub issued_ns: u64,
    /// When it completed: nanoseconds since 1970, UTC.
    pub completed_ns: u64,
    /// cgroup v2 id of the issuing task.
    pub cgroup_id: u64,
    /// Thread id.
    pub pid: u32,
    /// Process id.
    pub tgid: u32,
    /// Name of the task, padded with zeros (TASK_COMM_LEN).
    pub comm: [u8; 16],
    /// Commands of the group in flight when it was issued, itself included.
    pub queue_depth: u16,
}

/// One completed command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Place in the order of completion.
    pub seq: Seq,
    /// How many completions had been seen at issue; always below `seq`.
    pub dep: Seq,
    /// On which volume.
    pub volume: VolumeIndex,
    /// What it did.
    pub op: Op,
    /// Modifiers.
    pub flags: OpFlags,
    /// Where.
    pub range: ByteRange,
    /// How the device answered.
    pub status: Status,
    /// Who and when.
    pub origin: Origin,
}

/// Completions `first..=last` that are not in the stream; every region they touched is in a dirty map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// First missing seq.
    pub first: Seq,
    /// Last missing seq.
    pub last: Seq,
}

/// Content read back from the primary's device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// On which volume.
    pub volume: VolumeIndex,
    /// Where.
    pub range: ByteRange,
    /// The content may already hold the effect of completions up to this seq, so a standby is not consistent
    /// before it has applied everything up to it.
    pub consistent_after: Seq,
    /// Regions still to come after this one; 0 ends a resync pass.
    pub remaining: u64,
}

/// One entry of the stream, without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A completed command.
    Record(Record),
    /// Completions that are covered by a dirty map.
    Gap(Gap),
    /// Content read back.
    Region(Region),
}

const KIND_RECORD: u8 = 1;
const KIND_GAP: u8 = 2;
const KIND_REGION: u8 = 3;

/// The encoded header. Which fields mean what depends on `kind`; see [`EntryHeader::encode`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    kind: u8,
    encoding: u8,
    op: u8,
    status: u8,
    flags: U32,
    volume: U16,
    queue_depth: U16,
    /// Record: seq. Gap: first. Region: consistent_after.
    first: U64,
    /// Record: dep. Gap: last. Region: remaining.
    second: U64,
    offset: U64,
    len: U64,
    payload_len: U32,
    payload_crc: U32,
    issued_ns: U64,
    completed_ns: U64,
    cgroup_id: U64,
    pid: U32,
    tgid: U32,
    comm: [u8; 16],
    position: U64,
    reserved: U64,
    /// Record: bytes of the payload, at its end, that are its trailer.
    trailer_len: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);

/// An entry together with its place in the primary's journal and the description of its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryHeader {
    /// What it is.
    pub entry: Entry,
    /// Its place in the primary's journal; for a region, the place of the last journalled entry sent before it.
    pub position: Position,
    /// What follows.
    pub payload: PayloadInfo,
}

/// Why bytes are not an entry header.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryError {
    /// Fewer bytes than a header has.
    #[error("entry header cut off: {have} of {HEADER_LEN} bytes")]
    Short {
        /// Bytes there were.
        have: usize,
    },
    /// The first bytes are not an entry's.
    #[error("not an entry header (magic {0:02x?})")]
    Magic([u8; 4]),
    /// The header's checksum does not match.
    #[error("entry header checksum mismatch")]
    Checksum,
    /// A tag that this version does not know.
    #[error("unknown {what} tag {tag} in an entry header")]
    Tag {
        /// Which field.
        what: &'static str,
        /// Its value.
        tag: u8,
    },
    /// Fields that contradict each other or exceed a limit.
    #[error("impossible entry header: {0}")]
    Contradiction(&'static str),
}

impl EntryHeader {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut raw: RawHeader = zerocopy::transmute!([0u8; HEADER_LEN]);
        raw.magic = MAGIC;
        raw.position = self.position.0.into();
        raw.encoding = self.payload.encoding as u8;
        raw.payload_len = self.payload.len.into();
        raw.payload_crc = self.payload.crc.0.into();
        raw.trailer_len = self.payload.trailer.into();
        match &self.entry {
            Entry::Record(record) => raw.fill_record(record),
            Entry::Gap(gap) => raw.fill_gap(gap),
            Entry::Region(region) => raw.fill_region(region),
        }
        let mut bytes: [u8; HEADER_LEN] = zerocopy::transmute!(raw);
        let crc = Crc32c::of(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, with every field checked.
    ///
    /// # Errors
    /// Says what is wrong with it; nothing of a bad header is used.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let Ok((raw, _)) = RawHeader::read_from_prefix(bytes) else {
            return Err(EntryError::Short { have: bytes.len() });
        };
        if raw.magic != MAGIC {
            return Err(EntryError::Magic(raw.magic));
        }
        if Crc32c::of(&bytes[..HEADER_LEN - 4]).0 != raw.header_crc.get() {
            return Err(EntryError::Checksum);
        }
        let header = Self { entry: raw.entry()?, position: Position(raw.position.get()), payload: raw.payload_info()? };
        header.check()?;
        Ok(header)
    }

    /// Bytes of header and payload together.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload.len as usize
    }

    fn check(&self) -> Result<(), EntryError> {
        let bad = |why| Err(EntryError::Contradiction(why));
        match &self.entry {
            Entry::Record(r) if r.dep >= r.seq => return bad("dep is not below seq"),
            Entry::Gap(g) if g.first > g.last => return bad("a gap that ends before it begins"),
            Entry::Gap(_) if self.payload != PayloadInfo::NONE => return bad("a gap with a payload"),
            _ => {}
        }
        if self.payload.trailer > 0 && !matches!(self.entry, Entry::Record(_)) {
            return bad("a trailer behind what is no record");
        }
        if self.payload.trailer > self.payload.len {
            return bad("a trailer longer than its payload");
        }
        match (self.payload.encoding, self.range()) {
            (PayloadEncoding::Data, Some(range)) if range.len != u64::from(self.payload.content_len()) => {
                bad("payload and range differ in length")
            }
            (PayloadEncoding::None | PayloadEncoding::Zero, _) if self.payload.content_len() != 0 => {
                bad("a payload where there is none")
            }
            _ => Ok(()),
        }
    }

    /// The range it touches, if it touches one.
    #[must_use]
    pub const fn range(&self) -> Option<ByteRange> {
        match &self.entry {
            Entry::Record(record) => Some(record.range),
            Entry::Region(region) => Some(region.range),
            Entry::Gap(_) => None,
        }
    }

    /// Appends header and `payload` to `out`.
    pub fn write_to(&self, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(payload.len(), self.payload.len as usize);
        out.extend_from_slice(&self.encode());
        out.extend_from_slice(payload);
    }
}

impl RawHeader {
    fn fill_record(&mut self, record: &Record) {
        self.kind = KIND_RECORD;
        self.op = record.op.tag();
        self.status = record.status.0;
        self.flags = record.flags.bits().into();
        self.volume = record.volume.0.into();
        self.first = record.seq.0.into();
        self.second = record.dep.0.into();
        self.offset = record.range.offset.into();
        self.len = record.range.len.into();
        self.queue_depth = record.origin.queue_depth.into();
        self.issued_ns = record.origin.issued_ns.into();
        self.completed_ns = record.origin.completed_ns.into();
        self.cgroup_id = record.origin.cgroup_id.into();
        self.pid = record.origin.pid.into();
        self.tgid = record.origin.tgid.into();
        self.comm = record.origin.comm;
    }

    fn fill_gap(&mut self, gap: &Gap) {
        self.kind = KIND_GAP;
        self.first = gap.first.0.into();
        self.second = gap.last.0.into();
    }

    fn fill_region(&mut self, region: &Region) {
        self.kind = KIND_REGION;
        self.volume = region.volume.0.into();
        self.offset = region.range.offset.into();
        self.len = region.range.len.into();
        self.first = region.consistent_after.0.into();
        self.second = region.remaining.into();
    }

    fn entry(&self) -> Result<Entry, EntryError> {
        match self.kind {
            KIND_RECORD => Ok(Entry::Record(self.record()?)),
            KIND_GAP => Ok(Entry::Gap(Gap { first: Seq(self.first.get()), last: Seq(self.second.get()) })),
            KIND_REGION => Ok(Entry::Region(Region {
                volume: VolumeIndex(self.volume.get()),
                range: self.range(),
                consistent_after: Seq(self.first.get()),
                remaining: self.second.get(),
            })),
            tag => Err(EntryError::Tag { what: "kind", tag }),
        }
    }

    fn record(&self) -> Result<Record, EntryError> {
        let flags = OpFlags::from_bits(self.flags.get()).ok_or(EntryError::Contradiction("unknown flags"))?;
        Ok(Record {
            seq: Seq(self.first.get()),
            dep: Seq(self.second.get()),
            volume: VolumeIndex(self.volume.get()),
            op: Op::from_tag(self.op).ok_or(EntryError::Tag { what: "op", tag: self.op })?,
            flags,
            range: self.range(),
            status: Status(self.status),
            origin: Origin {
                issued_ns: self.issued_ns.get(),
                completed_ns: self.completed_ns.get(),
                cgroup_id: self.cgroup_id.get(),
                pid: self.pid.get(),
                tgid: self.tgid.get(),
                comm: self.comm,
                queue_depth: self.queue_depth.get(),
            },
        })
    }

    fn range(&self) -> ByteRange {
        ByteRange::new(self.offset.get(), self.len.get())
    }

    fn payload_info(&self) -> Result<PayloadInfo, EntryError> {
        let encoding = PayloadEncoding::from_tag(self.encoding)
            .ok_or(EntryError::Tag { what: "payload encoding", tag: self.encoding })?;
        if self.payload_len.get() > MAX_PAYLOAD {
            return Err(EntryError::Contradiction("payload above the limit"));
        }
        let (len, crc) = (self.payload_len.get(), Crc32c(self.payload_crc.get()));
        Ok(PayloadInfo { encoding, len, crc, trailer: self.trailer_len.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first version's bytes: this array never changes while `MAGIC` ends in 1.
    const GOLDEN: &str = "424b453101020100010000000300200007000000000000000500000000000000\
                          0010000000000000080000000000000008000000e8e9c7f1\
                          640000000000000065000000000000004d00000000000000\
                          0b0000000a000000776f726b6572000000000000000000000900000000000000\
                          000000000000000000000000";

    fn sample() -> EntryHeader {
        let mut comm = [0; 16];
        comm[..6].copy_from_slice(b"worker");
        EntryHeader {
            entry: Entry::Record(Record {
                seq: Seq(7),
                dep: Seq(5),
                volume: VolumeIndex(3),
                op: Op::Write,
                flags: OpFlags::FUA,
                range: ByteRange::new(4096, 8),
                status: Status::OK,
                origin: Origin {
                    issued_ns: 100,
                    completed_ns: 101,
                    cgroup_id: 77,
                    pid: 11,
                    tgid: 10,
                    comm,
                    queue_depth: 32,
                },
            }),
            position: Position(9),
            payload: PayloadInfo::data(b"payload!"),
        }
    }

    fn hex(bytes: &[u8]) -> alloc::string::String {
        bytes.iter().map(|b| alloc::format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let bytes = sample().encode();
        assert_eq!(hex(&bytes[..HEADER_LEN - 4]), GOLDEN.replace(char::is_whitespace, ""));
        assert_eq!(EntryHeader::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let good = sample().encode();
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(EntryHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn zeros_and_cut_headers_are_refused() {
        assert_eq!(EntryHeader::decode(&[0; HEADER_LEN]), Err(EntryError::Magic([0; 4])));
        assert_eq!(EntryHeader::decode(&[0; 12]), Err(EntryError::Short { have: 12 }));
    }

    #[test]
    fn a_record_that_depends_on_itself_is_refused() {
        let mut header = sample();
        let Entry::Record(record) = &mut header.entry else { unreachable!() };
        record.dep = record.seq;
        assert_eq!(EntryHeader::decode(&header.encode()), Err(EntryError::Contradiction("dep is not below seq")));
    }

    #[test]
    fn a_trailer_belongs_to_a_record_and_into_its_payload() {
        let mut header = sample();
        header.payload = PayloadInfo { trailer: 4, ..PayloadInfo::data(b"payload!tail") };
        assert_eq!(EntryHeader::decode(&header.encode()), Ok(header));
        header.payload.trailer = 3;
        assert!(EntryHeader::decode(&header.encode()).is_err());
        header.payload.trailer = 13;
        assert!(EntryHeader::decode(&header.encode()).is_err());
        let region =
            Region { volume: VolumeIndex(0), range: ByteRange::new(0, 8), consistent_after: Seq(1), remaining: 0 };
        let payload = PayloadInfo { trailer: 4, ..PayloadInfo::data(b"payload!tail") };
        let header = EntryHeader { entry: Entry::Region(region), payload, ..header };
        assert!(EntryHeader::decode(&header.encode()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EntryHeader::decode(&bytes);
        }

        #[test]
        fn regions_and_gaps_round_trip(a in 0u64..1 << 60, b in 0u64..1 << 20, volume: u16) {
            let region = Entry::Region(Region {
                volume: VolumeIndex(volume), range: ByteRange::new(a, b), consistent_after: Seq(a), remaining: b,
            });
            let gap = Entry::Gap(Gap { first: Seq(a), last: Seq(a + b) });
            for (entry, payload) in [(region, PayloadInfo::ZERO), (gap, PayloadInfo::NONE)] {
                let header = EntryHeader { entry, position: Position(b), payload };
                prop_assert_eq!(EntryHeader::decode(&header.encode()), Ok(header));
            }
        }
    }
}

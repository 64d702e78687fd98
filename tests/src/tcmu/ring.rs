//! The ring of commands that the kernel's target fills (include/uapi/linux/target_core_user.h, version 2).
//!
//! Offsets are those of the C structures on x86-64 (`struct tcmu_mailbox` is packed with one field on its own 64 bytes,
//! `struct tcmu_cmd_entry` holds 64-bit fields at their natural places).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::area::Area;

const VERSION: u16 = 2;
/// TCMU_MAILBOX_FLAG_CAP_OOOC and _READ_LEN: answers in any order, and how much was read.
const NEEDED: u16 = 0x1 | 0x2;
/// Where the mailbox has `cmd_head` and `cmd_tail`.
const HEAD: usize = 12;
const TAIL: usize = 64;
/// TCMU_OP_MASK, TCMU_OP_CMD.
const OP_MASK: u32 = 0x7;
const OP_COMMAND: u32 = 1;
/// TCMU_UFLAG_READ_LEN.
const READ_LEN: u8 = 0x2;
/// TCMU_SENSE_BUFFERSIZE.
pub(super) const SENSE_BYTES: usize = 96;

/// The beginning of `struct tcmu_mailbox`.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Mailbox {
    version: U16,
    flags: U16,
    ring_offset: U32,
    ring_size: U32,
}

/// `struct tcmu_cmd_entry_hdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    len_op: U32,
    id: U16,
    kernel_flags: u8,
    user_flags: u8,
}

/// `req` of `struct tcmu_cmd_entry`, behind the header; as many [`Vector`]s follow.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Asked {
    parts: U32,
    bidirectional_parts: U32,
    protection_parts: U32,
    unused: U32,
    cdb_offset: U64,
    unused_too: [U64; 2],
}

/// `struct iovec`, with an offset from the beginning of the mapping as its address.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Vector {
    offset: U64,
    len: U64,
}

/// `rsp` of `struct tcmu_cmd_entry`, behind the header.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Answered {
    status: u8,
    unused: [u8; 3],
    read_len: U32,
    sense: [u8; SENSE_BYTES],
}

const _: () = {
    assert!(size_of::<Header>() == 8 && size_of::<Vector>() == 16);
    assert!(size_of::<Header>() + size_of::<Asked>() == 48, "offset of iov");
    assert!(size_of::<Header>() + size_of::<Answered>() == 112, "struct tcmu_cmd_entry");
};

/// A command that the kernel wants executed.
#[derive(Debug)]
pub(super) struct Entry {
    id: u16,
    /// Its CDB.
    pub(super) cdb: Vec<u8>,
    data: Vec<Range<usize>>,
}

impl Entry {
    /// Bytes of data, in whichever direction.
    pub(super) fn len(&self) -> usize {
        self.data.iter().map(ExactSizeIterator::len).sum()
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Status byte.
    pub(super) status: u8,
    /// Sense data, zeros for none.
    pub(super) sense: [u8; SENSE_BYTES],
    /// Bytes of data-in; none where it has none.
    pub(super) read: Option<u32>,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    device: File,
    area: Area,
    first: usize,
    size: u32,
    /// Up to where entries were taken.
    taken: u32,
}

impl Ring {
    /// Maps the ring of a UIO device, `len` bytes long.
    pub(super) fn open(device: File, len: usize) -> io::Result<Self> {
        let area = Area::map(&device, len)?;
        let mailbox: Mailbox = structure(&area, 0)?;
        let (version, flags) = (mailbox.version.get(), mailbox.flags.get());
        if version != VERSION || flags & NEEDED != NEEDED {
            return Err(io::Error::other(format!("the kernel's ring has version {version} and flags {flags:#x}")));
        }
        let (first, size) = (mailbox.ring_offset.get() as usize, mailbox.ring_size.get());
        let taken = area.load(TAIL)?;
        Ok(Self { device, area, first, size, taken })
    }

    /// What is readable when the kernel has commands.
    pub(super) const fn device(&self) -> &File {
        &self.device
    }

    /// Takes the kernel's word that there are commands.
    pub(super) fn woken(&mut self) -> io::Result<()> {
        self.device.read_exact(&mut [0; 4])
    }

    /// Tells the kernel of answers.
    pub(super) fn wake(&mut self) -> io::Result<()> {
        self.device.write_all(&[0; 4])
    }

    fn place(&self, position: u32) -> usize {
        self.first + position as usize
    }

    fn header(&self, position: u32) -> io::Result<Header> {
        structure(&self.area, self.place(position))
    }

    /// The position behind this entry.
    fn behind(&self, position: u32, header: Header) -> io::Result<u32> {
        match header.len_op.get() & !OP_MASK {
            0 => Err(io::Error::other("an entry of no length")),
            len => Ok((position + len) % self.size),
        }
    }

    /// The next command, in the kernel's order.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let head = self.area.load(HEAD)?;
        while self.taken != head {
            let (position, header) = (self.taken, self.header(self.taken)?);
            self.taken = self.behind(position, header)?;
            // Besides commands there is padding at the ring's end.
            if header.len_op.get() & OP_MASK == OP_COMMAND {
                return self.entry(position, header).map(Some);
            }
        }
        Ok(None)
    }

    fn entry(&self, position: u32, header: Header) -> io::Result<Entry> {
        let asked_at = self.place(position) + size_of::<Header>();
        let asked: Asked = structure(&self.area, asked_at)?;
        let parts_at = asked_at + size_of::<Asked>();
        let part = |index: usize| {
            let part: Vector = structure(&self.area, parts_at + index * size_of::<Vector>())?;
            let (offset, len) = (part.offset.get() as usize, part.len.get() as usize);
            Ok(offset..offset.saturating_add(len))
        };
        let data = (0..asked.parts.get() as usize).map(part).collect::<io::Result<_>>()?;
        Ok(Entry { id: header.id.get(), cdb: self.cdb(asked.cdb_offset.get() as usize)?, data })
    }

    /// A CDB, as long as the kernel says by its operation code (`scsi_command_size`).
    fn cdb(&self, offset: usize) -> io::Result<Vec<u8>> {
        let mut start = [0; 8];
        self.area.read(offset, &mut start[..6])?;
        let len = match start[0] >> 5 {
            0 => 6,
            3 if start[0] == 0x7f => {
                self.area.read(offset, &mut start)?;
                8 + usize::from(start[7])
            }
            4 => 16,
            5 => 12,
            _ => 10,
        };
        let mut cdb = vec![0; len];
        self.area.read(offset, &mut cdb)?;
        Ok(cdb)
    }

    /// Data of a command from its initiator.
    pub(super) fn gather(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut all = vec![0; entry.len()];
        let mut rest = all.as_mut_slice();
        for part in &entry.data {
            let (bytes, more) = rest.split_at_mut(part.len());
            self.area.read(part.start, bytes)?;
            rest = more;
        }
        Ok(all)
    }

    /// Data of a command for its initiator.
    pub(super) fn scatter(&self, entry: &Entry, mut bytes: &[u8]) -> io::Result<()> {
        for part in &entry.data {
            let (now, later) = bytes.split_at(part.len().min(bytes.len()));
            self.area.write(part.start, now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Answers a command. Answers stand in the ring in their own order: each in the place of the oldest command that was
    /// not answered yet, whichever that was.
    pub(super) fn answer(&mut self, entry: &Entry, answer: Answer) -> io::Result<()> {
        let mut tail = self.area.load(TAIL)?;
        let mut header = self.header(tail)?;
        while header.len_op.get() & OP_MASK != OP_COMMAND {
            tail = self.behind(tail, header)?;
            header = self.header(tail)?;
        }
        let next = self.behind(tail, header)?;
        header.id = entry.id.into();
        header.user_flags = if answer.read.is_some() { READ_LEN } else { 0 };
        let answered = Answered {
            status: answer.status,
            unused: [0; 3],
            read_len: answer.read.unwrap_or(0).into(),
            sense: answer.sense,
        };
        self.area.write(self.place(tail), header.as_bytes())?;
        self.area.write(self.place(tail) + size_of::<Header>(), answered.as_bytes())?;
        self.area.store(TAIL, next)
    }
}

/// A structure at a place.
fn structure<T: FromBytes + KnownLayout + Immutable>(area: &Area, offset: usize) -> io::Result<T> {
    let mut bytes = [0; 64];
    let bytes = &mut bytes[..size_of::<T>()];
    area.read(offset, bytes)?;
    T::read_from_bytes(bytes).map_err(|_| io::Error::other("a structure has its own size"))
}

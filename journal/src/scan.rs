//! Walking over the items of a segment file, and searching it for items where walking does not lead.

use std::io;

use formats::Crc32c;
use formats::entry::EntryHeader;
use formats::segment::{FRAME_MAGIC, Frame, ITEM_HEAD_LEN, Place, SegmentError};

use crate::disk::{DiskFile, read_exact};

/// A view of a part of a file that moves as needed.
pub(crate) struct Window<'a, F> {
    file: &'a F,
    buf: Vec<u8>,
    start: u64,
    /// Bytes to read at once.
    chunk: usize,
    /// Bytes of the file that may be read.
    limit: u64,
}

impl<'a, F: DiskFile> Window<'a, F> {
    pub(crate) fn new(file: &'a F, chunk: usize, limit: u64) -> Self {
        Self { file, buf: Vec::new(), start: 0, chunk, limit }
    }

    /// `len` bytes at `offset`; both together are within the limit.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = self.start + self.buf.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            self.load(offset, len)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from..from + len])
    }

    fn load(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let rest = self.limit.saturating_sub(offset);
        let want = rest.min(self.chunk as u64).max(len as u64) as usize;
        self.buf.resize(want, 0);
        self.start = offset;
        let result = read_exact(self.file, &mut self.buf, offset);
        if result.is_err() {
            self.buf.clear();
        }
        result
    }
}

/// What stands at an offset.
pub(crate) type Found<T> = Result<T, SegmentError>;

impl<F: DiskFile> Window<'_, F> {
    /// Frame and entry header at `place`, if an item begins there and ends within the limit.
    pub(crate) fn head(&mut self, place: Place) -> io::Result<Found<(Frame, EntryHeader)>> {
        let have = self.limit.saturating_sub(place.offset);
        if have < ITEM_HEAD_LEN as u64 {
            return Ok(Err(SegmentError::Short { have: have as usize, want: ITEM_HEAD_LEN }));
        }
        let found = Frame::decode(self.get(place.offset, ITEM_HEAD_LEN)?, place);
        Ok(found.and_then(|(frame, entry)| match frame.item_len() {
            want if want as u64 > have => Err(SegmentError::Short { have: have as usize, want }),
            _ => Ok((frame, entry)),
        }))
    }

    /// The whole item at `place`, payload checked.
    pub(crate) fn item(&mut self, place: Place) -> io::Result<Found<Frame>> {
        let (frame, entry) = match self.head(place)? {
            Ok(head) => head,
            Err(why) => return Ok(Err(why)),
        };
        let payload = self.get(place.offset + ITEM_HEAD_LEN as u64, entry.payload.len as usize)?;
        Ok(check_payload(&entry, payload).map(|()| frame))
    }

    /// Calls `visit` for every frame of `segment` that begins in `from..limit`, whatever lies between them.
    pub(crate) fn search(&mut self, segment: u64, from: u64, mut visit: impl FnMut(Frame)) -> io::Result<()> {
        let mut at = from;
        while at + ITEM_HEAD_LEN as u64 <= self.limit {
            let len = (self.limit - at).min(self.chunk as u64) as usize;
            let bytes = self.get(at, len)?;
            let starts = len - ITEM_HEAD_LEN + 1;
            for start in 0..starts {
                if bytes[start..start + 4] == FRAME_MAGIC {
                    let place = Place { segment, offset: at + start as u64 };
                    Frame::decode(&bytes[start..], place).into_iter().for_each(|(frame, _)| visit(frame));
                }
            }
            at += starts as u64;
        }
        Ok(())
    }
}

/// Whether `payload` is what `entry` says.
pub(crate) fn check_payload(entry: &EntryHeader, payload: &[u8]) -> Found<()> {
    if Crc32c::of(payload) == entry.payload.crc { Ok(()) } else { Err(SegmentError::Payload) }
}

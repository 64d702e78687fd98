//! Reading: from other threads, while the writer goes on and segments are used again underneath.
//!
//! A reader takes no lock while it reads. What it got is checked against segment, place, index and payload, so bytes of
//! a later use of the file never pass; when something does not match, the table tells a recycled segment from a damaged
//! one.

use std::ops::Range;
use std::sync::Arc;

use formats::entry::{EntryHeader, HEADER_LEN};
use formats::segment::{FRAME_LEN, Frame, ITEM_HEAD_LEN, Place, SegmentError};

use crate::disk::{Disk, read_exact};
use crate::error::ReadError;
use crate::scan::{Window, check_payload};
use crate::table::{Shared, Spot, segment_name};

/// Bytes to read at once when only heads are wanted: a few small items, or little more than one head.
const HEAD_CHUNK: usize = 8 << 10;

/// Items that were read.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Of each item: its index, its decoded header, and where its encoded bytes (header and payload) lie in `bytes`.
    /// Indices are consecutive and the ranges follow each other without gaps.
    pub items: Vec<(u64, EntryHeader, Range<usize>)>,
    /// The encoded items, ready to be sent as they are.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Whether nothing was there to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Index of the last item.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.items.last().map(|(index, ..)| *index)
    }

    /// The payload of the `i`th item.
    ///
    /// # Panics
    /// If there is no such item.
    #[must_use]
    pub fn payload(&self, i: usize) -> &[u8] {
        &self.bytes[self.items[i].2.clone()][HEADER_LEN..]
    }
}

/// Reads a journal while another thread writes it. Clones are independent.
pub struct Reader<D: Disk> {
    shared: Arc<Shared<D>>,
    /// Where the item after the last one read begins.
    hint: Option<Spot>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), hint: self.hint }
    }
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared, hint: None }
    }

    /// Index of the first item; that of the next one if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.table().first()
    }

    /// Index that the next item gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.shared.table().next
    }

    /// Everything up to this index survives a power cut.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.table().durable
    }

    /// Items from index `from` on, at most `max_bytes` of encoded bytes, but at least one item if there is one; an
    /// empty batch if nothing has that index yet. A batch ends with its segment, so it may hold less than there is.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] when `from` lies before the beginning, [`ReadError::Corrupt`] when the medium is damaged,
    /// [`ReadError::Closed`] when the journal was closed.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Result<Batch, ReadError> {
        let Some(spot) = self.shared.find(from, self.hint)? else { return Ok(Batch::default()) };
        let (batch, used) = self.shared.read_batch(spot, max_bytes)?;
        self.hint = Some(Spot { index: from + batch.len() as u64, offset: spot.offset + used, ..spot });
        Ok(batch)
    }

    /// The headers of all items from index `from` on, in order, without their payloads. Ends where the log ends when it
    /// gets there.
    #[must_use]
    pub fn headers(&self, from: u64) -> Headers<'_, D> {
        Headers { shared: &self.shared, index: from, at: None, done: false }
    }
}

/// The headers of a run of items; see [`Reader::headers`].
pub struct Headers<'a, D: Disk> {
    shared: &'a Shared<D>,
    index: u64,
    at: Option<(Window<'a, D::File>, Spot)>,
    done: bool,
}

impl<D: Disk> Headers<'_, D> {
    fn step(&mut self) -> Result<Option<(u64, EntryHeader)>, ReadError> {
        if self.at.as_ref().is_none_or(|(_, spot)| spot.offset >= spot.end) {
            let Some(spot) = self.shared.find(self.index, None)? else { return Ok(None) };
            self.at = Some((Window::new(self.shared.file(spot.slot), HEAD_CHUNK, spot.end), spot));
        }
        let Some((window, spot)) = &mut self.at else { return Ok(None) };
        let (frame, entry) = self.shared.head(window, spot)?;
        let index = self.index;
        spot.step(&frame);
        self.index += 1;
        Ok(Some((index, entry)))
    }
}

impl<D: Disk> Iterator for Headers<'_, D> {
    type Item = Result<(u64, EntryHeader), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Spot {
    /// Moves past the item that begins here.
    fn step(&mut self, frame: &Frame) {
        self.index += 1;
        self.offset += frame.item_len() as u64;
    }
}

impl<D: Disk> Shared<D> {
    /// Exactly where `index` begins; none if it is yet to come.
    fn find(&self, index: u64, hint: Option<Spot>) -> Result<Option<Spot>, ReadError> {
        let Some(mut spot) = self.near(index)? else { return Ok(None) };
        if let Some(hint) = hint.filter(|hint| hint.segment == spot.segment && hint.index == index) {
            return Ok(Some(Spot { end: spot.end, ..hint }));
        }
        let mut window = Window::new(self.file(spot.slot), HEAD_CHUNK, spot.end);
        while spot.index < index {
            let (frame, _) = self.head(&mut window, &spot)?;
            spot.step(&frame);
        }
        Ok(Some(spot))
    }

    /// Where `index`, or an item not far before it, begins.
    fn near(&self, index: u64) -> Result<Option<Spot>, ReadError> {
        let table = self.table();
        if table.closed {
            return Err(ReadError::Closed);
        }
        if index < table.first() {
            return Err(ReadError::Trimmed { asked: index, first: table.first() });
        }
        Ok(table.segment_of(index).map(|segment| segment.spot_before(index)))
    }

    /// The head of the item at `spot`.
    fn head(&self, window: &mut Window<'_, D::File>, spot: &Spot) -> Result<(Frame, EntryHeader), ReadError> {
        let found = window.head(spot.place()).map_err(|e| self.fault("reading", spot.slot, e))?;
        found.and_then(|head| expect(head, spot.index)).map_err(|why| self.explain(spot, why))
    }

    /// Whole items from `spot` on, and how many bytes of the file they take.
    fn read_batch(&self, spot: Spot, max_bytes: usize) -> Result<(Batch, u64), ReadError> {
        let rest = (spot.end - spot.offset) as usize;
        let mut bytes = self.load(&spot, rest.min(max_bytes.max(ITEM_HEAD_LEN)))?;
        let head = Frame::decode(&bytes, spot.place()).and_then(|head| expect(head, spot.index));
        let (first, _) = head.map_err(|why| self.explain(&spot, why))?;
        if first.item_len() > rest {
            return Err(self.explain(&spot, SegmentError::Short { have: rest, want: first.item_len() }));
        }
        if first.item_len() > bytes.len() {
            bytes = self.load(&spot, first.item_len())?;
        }
        self.unpack(spot, bytes)
    }

    fn load(&self, spot: &Spot, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        read_exact(self.file(spot.slot), &mut bytes, spot.offset).map_err(|e| self.fault("reading", spot.slot, e))?;
        Ok(bytes)
    }

    /// Checks the whole items in `bytes` and moves them together over their frames.
    fn unpack(&self, mut spot: Spot, mut bytes: Vec<u8>) -> Result<(Batch, u64), ReadError> {
        let (mut items, mut at, mut out) = (Vec::new(), 0, 0);
        loop {
            let item = whole_item(&bytes[at..], spot.place(), spot.index).map_err(|why| self.explain(&spot, why))?;
            let Some((frame, entry)) = item else { break };
            let end = at + frame.item_len();
            bytes.copy_within(at + FRAME_LEN..end, out);
            let encoded = out..out + entry.total_len();
            (at, out) = (end, encoded.end);
            items.push((spot.index, entry, encoded));
            spot.step(&frame);
        }
        bytes.truncate(out);
        Ok((Batch { items, bytes }, at as u64))
    }

    /// What a mismatch means: a segment that is no longer in use may hold anything.
    fn explain(&self, spot: &Spot, source: SegmentError) -> ReadError {
        let table = self.table();
        if table.closed {
            return ReadError::Closed;
        }
        if !table.live.iter().any(|segment| segment.id == spot.segment) {
            return ReadError::Trimmed { asked: spot.index, first: table.first() };
        }
        ReadError::Corrupt {
            journal: self.journal.clone(),
            index: spot.index,
            file: segment_name(spot.slot),
            offset: spot.offset,
            source,
        }
    }
}

fn expect(head: (Frame, EntryHeader), index: u64) -> Result<(Frame, EntryHeader), SegmentError> {
    if head.0.index == index { Ok(head) } else { Err(SegmentError::Contradiction("an item with another index")) }
}

/// The item at the start of `bytes`, payload checked; none if `bytes` end before it does.
fn whole_item(bytes: &[u8], place: Place, index: u64) -> Result<Option<(Frame, EntryHeader)>, SegmentError> {
    if bytes.len() < ITEM_HEAD_LEN {
        return Ok(None);
    }
    let (frame, entry) = expect(Frame::decode(bytes, place)?, index)?;
    let Some(payload) = bytes.get(ITEM_HEAD_LEN..frame.item_len()) else { return Ok(None) };
    check_payload(&entry, payload)?;
    Ok(Some((frame, entry)))
}

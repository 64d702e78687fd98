//! Appending: items become frames and go to disk in vectored writes, payloads uncopied.

use std::io::IoSlice;
use std::ops::Range;

use formats::entry::{EntryHeader, HEADER_LEN};
use formats::segment::{DATA_START, Frame, Place, SegmentError, SegmentHeader, item_len};

use crate::config::SyncPolicy;
use crate::disk::{Disk, write_all};
use crate::error::{AppendError, JournalError};
use crate::table::Segment;
use crate::writer::Journal;

/// An entry to append.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The encoded entry header.
    pub header: &'a [u8; HEADER_LEN],
    /// The payload it describes. Its checksum is the caller's word; it is checked on every read.
    pub payload: &'a [u8],
}

impl Item<'_> {
    fn len(&self) -> u64 {
        item_len(self.payload.len())
    }

    /// An item that recovery would refuse would cut the log off, so it is refused here.
    fn check(&self) -> Result<(), SegmentError> {
        let header = EntryHeader::decode(self.header)?;
        if header.payload.len as usize != self.payload.len() {
            return Err(SegmentError::Contradiction("the header tells of a payload of another length"));
        }
        if self.payload.is_empty() && header.payload.crc.0 != 0 {
            return Err(SegmentError::Payload);
        }
        Ok(())
    }
}

impl<D: Disk> Journal<D> {
    /// Appends `batch`; says which indices its items got. With [`SyncPolicy::Each`] they are durable on return. A power
    /// cut before that may leave any prefix of the batch.
    ///
    /// # Errors
    /// [`AppendError::Full`] and other refusals leave the journal as it was. After [`AppendError::Journal`] it is
    /// failed, and what of the batch is there is only known after opening again.
    pub fn append(&mut self, batch: &[Item<'_>]) -> Result<Range<u64>, AppendError> {
        self.check_alive()?;
        if let Some(lost) = self.damage() {
            return Err(AppendError::Damaged { lost });
        }
        self.check_items(batch)?;
        let first = self.next();
        for (fresh, run) in self.plan(batch)? {
            if fresh {
                self.begin_segment()?;
            }
            self.write_run(&batch[run])?;
        }
        if self.config.sync == SyncPolicy::Each {
            self.sync()?;
        }
        Ok(first..first + batch.len() as u64)
    }

    fn check_items(&self, batch: &[Item<'_>]) -> Result<(), AppendError> {
        let limit = self.config.largest_payload();
        for (item, entry) in batch.iter().enumerate() {
            let len = entry.payload.len() as u64;
            if len > limit {
                return Err(AppendError::TooLarge { item, len, limit });
            }
            entry.check().map_err(|source| AppendError::Item { item, source })?;
        }
        Ok(())
    }

    /// Which items go into one segment together, and whether that segment is a new one.
    fn plan(&self, batch: &[Item<'_>]) -> Result<Vec<(bool, Range<usize>)>, AppendError> {
        let size = self.config.segment_bytes;
        let mut runs: Vec<(bool, Range<usize>)> = Vec::new();
        let mut end = self.shared.table().live.back().map_or(size, |segment| segment.end);
        let mut fresh = 0;
        for (i, item) in batch.iter().enumerate() {
            if end + item.len() > size {
                fresh += 1;
                end = DATA_START;
                runs.push((true, i..i));
            } else if runs.is_empty() {
                runs.push((false, i..i));
            }
            end += item.len();
            runs.last_mut().expect("a run was begun").1.end = i + 1;
        }
        if fresh > self.free.len() {
            return Err(AppendError::Full { needed: batch.iter().map(Item::len).sum(), free: self.bytes_free() });
        }
        Ok(runs)
    }

    /// Takes the longest unused slot for the next items. Its old items may still count on disk: then the floor is
    /// raised past them first, so that their disappearance is not taken for damage. The floor is also raised when
    /// segments were freed since it was saved, so that opening after a kill does not bring a whole journal back.
    fn begin_segment(&mut self) -> Result<(), JournalError> {
        let Some(&slot) = self.free.front() else { unreachable!("the plan counted the free segments") };
        if self.slot_ids[usize::from(slot)] >= self.state.saved().floor || self.has_trimmed() {
            self.checkpoint()?;
        }
        let id = self.next_id();
        let first = self.next();
        let header = SegmentHeader { id, segment_bytes: self.config.segment_bytes, first, durable: self.durable() };
        let result = write_all(self.shared.file(slot), &mut [IoSlice::new(&header.encode())], 0);
        self.settle(result, "beginning", slot)?;
        self.drawn += 1;
        self.free.pop_front();
        self.slot_ids[usize::from(slot)] = id;
        self.dirty.push(slot);
        self.shared.table().live.push_back(Segment::new(slot, id, first));
        Ok(())
    }

    /// Writes items that fit behind the last segment's end, and lets readers see them.
    fn write_run(&mut self, run: &[Item<'_>]) -> Result<(), JournalError> {
        let (slot, place) = {
            let table = self.shared.table();
            let Some(active) = table.live.back() else { unreachable!("a run is written into a segment") };
            (active.slot, Place { segment: active.id, offset: active.end })
        };
        let frames = self.frames(run, place);
        let mut bufs = Vec::with_capacity(run.len() * 3);
        for (item, frame) in run.iter().zip(&frames) {
            bufs.extend([IoSlice::new(frame), IoSlice::new(item.header), IoSlice::new(item.payload)]);
        }
        if self.dirty.last() != Some(&slot) {
            self.dirty.push(slot);
        }
        let result = write_all(self.shared.file(slot), &mut bufs, place.offset);
        self.settle(result, "writing", slot)?;
        self.publish(run);
        Ok(())
    }

    fn frames(&self, run: &[Item<'_>], mut place: Place) -> Vec<[u8; formats::segment::FRAME_LEN]> {
        let (next, durable) = (self.next(), self.durable());
        let frame = |(i, item): (usize, &Item<'_>)| {
            let body_len = (HEADER_LEN + item.payload.len()) as u32;
            let frame = Frame { index: next + i as u64, durable, session: self.session, body_len };
            let bytes = frame.encode(place, item.header);
            place.offset += item.len();
            bytes
        };
        run.iter().enumerate().map(frame).collect()
    }

    fn publish(&self, run: &[Item<'_>]) {
        let mut table = self.shared.table();
        table.next += run.len() as u64;
        if let Some(active) = table.live.back_mut() {
            run.iter().for_each(|item| active.push(item.len()));
        }
    }
}

//! Records into the journal, or, while the engine wants none, into the dirty map.

use std::sync::atomic::Ordering;

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Record};
use formats::{ByteRange, Op, Position, Seq, VolumeIndex};
use journal::{AppendError, Item};
use replication::group::{MemberId, Relief};
use replication::overlap::Change;
use replication::sequencer::Ordered;
use tracing::info;

use super::{Log, LogError, Unsettled};
use crate::capture::Batch;
use crate::capture::assembler::Captured;
use crate::primary::core::LogCounters;

impl Log {
    pub(super) fn take(&mut self, batch: Batch) -> Result<(), LogError> {
        let bytes = payload_bytes(&batch);
        let restored = self.restored_through;
        if batch.iter().any(|ordered| matches!(ordered, Ordered::Gap(gap) if gap.last > restored)) {
            // Before the gaps are appended: whoever sees one finds its regions marked.
            self.mark_kernel_map(&[0, 1, 2]);
            let live: Vec<u32> = self.epochs.live().collect();
            live.into_iter().for_each(|epoch| self.epochs.loss(epoch));
        }
        self.note(&batch);
        let marked = self.mark_overlaps(&batch);
        let result = self.append(&batch, marked);
        // Gives back the bytes of the batch to the capture thread's budget.
        self.capture.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        result?;
        self.core.wake_links();
        Ok(())
    }

    /// Counts what is not plain, and marks what the block layer cannot tell.
    fn note(&mut self, batch: &Batch) {
        let log = &self.core.log;
        for ordered in batch {
            match ordered {
                Ordered::Gap(gap) => {
                    LogCounters::add(&log.gaps, 1);
                    LogCounters::add(&log.gap_completions, gap.last.0 - gap.first.0 + 1);
                }
                Ordered::Item(_, captured) => {
                    let record = &captured.record;
                    // Issued after the first of its generation had completed: another generation begins.
                    if record.dep >= self.generation_start {
                        self.generation_start = record.seq;
                        LogCounters::add(&log.generations, 1);
                    }
                    LogCounters::add(&log.failed, u64::from(!record.status.is_ok()));
                    if matches!(record.op, Op::Opaque | Op::Zone) {
                        LogCounters::add(&log.opaque, 1);
                    }
                }
            }
        }
    }

    /// Marks, before the batch is appended, where commands overlapped in flight: nobody can tell which of them the
    /// device did last. Answers how often the maps must have been saved for the marks to be in them; 0 when there are none.
    fn mark_overlaps(&mut self, batch: &Batch) -> u64 {
        let found = self.find_overlaps(batch);
        if found.is_empty() {
            return 0;
        }
        let after = self.core.kernel_seq();
        let mut group = self.core.group();
        found.into_iter().for_each(|(volume, range)| group.mark(volume, range, after));
        self.saves + 1
    }

    fn find_overlaps(&mut self, batch: &Batch) -> Vec<(VolumeIndex, ByteRange)> {
        let mut found = Vec::new();
        for ordered in batch {
            let Ordered::Item(_, captured) = ordered else { continue };
            let Record { seq, dep, volume, op, .. } = captured.record;
            if op == Op::Flush {
                continue;
            }
            let range = self.changed_range(&captured.record);
            let overlaps = self.overlaps.observe(Change { seq, dep, volume, range });
            LogCounters::add(&self.core.log.overlaps, u64::from(!overlaps.is_empty()));
            found.extend(overlaps.into_iter().map(|range| (volume, range)));
        }
        found
    }

    /// A command that may have changed anything has the whole volume as its range, so that all of it is read back.
    fn changed_range(&self, record: &Record) -> ByteRange {
        match record.op {
            Op::Opaque | Op::Zone if record.range.is_empty() => {
                let volume = self.core.volumes.get(usize::from(record.volume.0));
                ByteRange::new(0, volume.map_or(u64::MAX, |volume| volume.identity.size))
            }
            _ => record.range,
        }
    }

    /// Appends to the journal, or only marks while the engine wants no records.
    fn append(&mut self, batch: &Batch, marked: u64) -> Result<(), LogError> {
        let headers = self.headers(batch);
        let Some(last_seq) = headers.last().and_then(seq_of) else { return Ok(()) };
        if !self.append_or_give_way(batch, &headers)? {
            return self.skip(batch, &headers);
        }
        self.last_seq = last_seq;
        let (through, epochs) = (self.journal.written(), by_epoch(batch));
        self.unsettled.push_back(Unsettled { through, saves: marked, epochs });
        let (now, next) = (self.core.now(), Position(self.journal.next()));
        self.core.group().appended(now, &headers, next, last_seq);
        Ok(())
    }

    /// Appends, and when the journal is full lets one secondary after the other give way until there is room; false when
    /// none of them wants records.
    fn append_or_give_way(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<bool, LogError> {
        // Each gives way once, and its map may have to be saved before; the first round only trims.
        for round in 0..2 * self.maps.len() + 2 {
            if !self.core.group().wants_records() {
                return Ok(false);
            }
            if self.append_if_room(batch, headers)? {
                return Ok(true);
            }
            if round > 0 {
                self.make_room()?;
            }
            // The secondaries may have got something since the last look.
            self.trim()?;
        }
        self.append_items(batch, headers).map(|()| true)
    }

    /// False when the journal is full.
    fn append_if_room(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<bool, LogError> {
        match self.append_items(batch, headers) {
            Ok(()) => Ok(true),
            Err(LogError::Append(AppendError::Full { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn append_items(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<(), LogError> {
        let encoded: Vec<[u8; HEADER_LEN]> = headers.iter().map(EntryHeader::encode).collect();
        let items: Vec<Item<'_>> =
            encoded.iter().zip(batch).map(|(header, ordered)| Item { header, payload: payload_of(ordered) }).collect();
        self.journal.append(&items)?;
        Ok(())
    }

    fn headers(&self, batch: &Batch) -> Vec<EntryHeader> {
        let next = self.journal.next();
        batch
            .iter()
            .enumerate()
            .map(|(index, ordered)| {
                let position = Position(next + index as u64);
                match ordered {
                    Ordered::Gap(gap) => EntryHeader { entry: Entry::Gap(*gap), position, payload: PayloadInfo::NONE },
                    Ordered::Item(_, captured) => self.record_header(captured, position),
                }
            })
            .collect()
    }

    fn record_header(&self, captured: &Captured, position: Position) -> EntryHeader {
        let mut record = captured.record;
        record.range = self.changed_range(&record);
        EntryHeader { entry: Entry::Record(record), position, payload: captured.payload }
    }

    fn skip(&mut self, batch: &Batch, headers: &[EntryHeader]) -> Result<(), LogError> {
        let mut group = self.core.group();
        headers.iter().for_each(|header| group.skip(header));
        drop(group);
        self.last_seq = headers.last().and_then(seq_of).unwrap_or(self.last_seq);
        self.settle_on_save.extend(by_epoch(batch));
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), LogError> {
        let relief = self.core.group().make_room();
        match relief {
            Relief::Save => self.save(),
            Relief::Overflow { member, from } => self.overflow(member, from),
            Relief::DiscardAll => Ok(self.journal.discard_all(self.journal.next())?),
        }
    }

    /// The journal is full: the dirty map takes over for everything that this secondary is not known to have.
    fn overflow(&mut self, member: MemberId, from: Position) -> Result<(), LogError> {
        let headers: Result<Vec<(u64, EntryHeader)>, _> = self.reader.headers(from.0).collect();
        let headers: Vec<EntryHeader> = headers?.into_iter().map(|(_, header)| header).collect();
        self.core.group().overflowed(member, headers.iter());
        self.save()?;
        let name = self.core.links.iter().find(|link| link.member == member).map_or("", |link| &link.name);
        info!("the journal was full: {} entries are now regions to resync for `{name}`", headers.len());
        Ok(())
    }
}

fn payload_of(ordered: &Ordered<Captured>) -> &[u8] {
    match ordered {
        Ordered::Item(_, captured) => &captured.bytes,
        Ordered::Gap(_) => &[],
    }
}

pub(super) fn payload_bytes(batch: &Batch) -> u64 {
    batch.iter().map(|ordered| payload_of(ordered).len() as u64).sum()
}

/// The last seq that an entry stands for.
fn seq_of(header: &EntryHeader) -> Option<Seq> {
    match &header.entry {
        Entry::Record(record) => Some(record.seq),
        Entry::Gap(gap) => Some(gap.last),
        Entry::Region(_) => None,
    }
}

/// How many commands of each epoch end in this batch.
fn by_epoch(batch: &Batch) -> Vec<(u32, u64)> {
    let mut counts: Vec<(u32, u64)> = Vec::new();
    for ordered in batch {
        let Ordered::Item(_, captured) = ordered else { continue };
        if !captured.settles {
            continue;
        }
        match counts.iter_mut().find(|(epoch, _)| *epoch == captured.epoch) {
            Some((_, count)) => *count += 1,
            None => counts.push((captured.epoch, 1)),
        }
    }
    counts
}

//! A volume's commands in the order of completion, as long as their order matters: headers in memory, content in a file
//! of its own.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use formats::command::Command;
use formats::{ByteRange, Entry, Op, OpFlags, Record, Region, Seq, scsi};
use replication::errors::CommandKind;

use super::{Cache, ExploreError};
use crate::change::{Change, Content, Done};
use crate::image::ImageError;
use crate::reader::CapturedEntry;
use crate::rebuild::Follower;
use crate::series::Series;

/// One command.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// As it was captured.
    pub(super) record: Record,
    /// Its changes, in [`Log::places`].
    first: usize,
    count: usize,
    /// The completion with which its changes are durable, if ever one came: its own, or that of a flush.
    pub(super) durable_at: u64,
}

impl Step {
    /// Whether it changes anything.
    pub(super) fn changes(&self) -> bool {
        self.count > 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    range: ByteRange,
    kept: Kept,
}

/// Where content is.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Bytes { at: u64 },
    Repeat { at: u64, len: usize },
    Zero,
}

/// The commands of a volume.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) steps: Vec<Step>,
    /// Steps that make something durable, themselves or what completed before they were issued.
    pub(super) barriers: Vec<usize>,
    /// The smallest `dep` at or behind each step.
    least_dep: Vec<u64>,
    places: Vec<Place>,
    content: File,
}

/// Never durable: no flush came.
pub(super) const NEVER: u64 = u64::MAX;

/// Reads a capture into a log.
struct Builder {
    steps: Vec<Step>,
    places: Vec<Place>,
    content: BufWriter<File>,
    at: u64,
}

impl Log {
    /// The volume's commands up to a moment. `scratch` holds their content.
    pub(super) fn read(
        series: &mut Series,
        follower: &mut Follower,
        cache: Cache,
        scratch: File,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Self, ExploreError> {
        let mut builder = Builder {
            steps: Vec::new(),
            places: Vec::new(),
            content: BufWriter::with_capacity(1 << 20, scratch),
            at: 0,
        };
        let mut items = 0u64;
        while let Some(item) = series.next_item()? {
            items += 1;
            let (done, total) = series.progress();
            if items.is_multiple_of(256) && !watch(done, total) {
                return Err(ImageError::Interrupted.into());
            }
            if let Some(entry) = follower.takes(&item) {
                let done = entry.done();
                follower.heed(&done);
                builder.add(entry, &done).map_err(ExploreError::Scratch)?;
            }
        }
        builder.finish(cache).map_err(ExploreError::Scratch)
    }

    /// Puts all that a step changed into an image.
    pub(super) fn apply(&self, step: &Step, put: &mut Put<'_>) -> Result<(), ImageError> {
        for place in &self.places[step.first..step.first + step.count] {
            self.apply_part(place, place.range, put)?;
        }
        Ok(())
    }

    /// Puts a part of what a step changed into an image: its bytes from `from` up to `to`, counted through its changes.
    pub(super) fn apply_torn(&self, step: &Step, from: u64, to: u64, put: &mut Put<'_>) -> Result<(), ImageError> {
        let mut begin = 0;
        for place in &self.places[step.first..step.first + step.count] {
            let (first, last) = (from.max(begin), to.min(begin + place.range.len));
            if first < last {
                let range = ByteRange::new(place.range.offset + first - begin, last - first);
                self.apply_part(place, range, put)?;
            }
            begin += place.range.len;
        }
        Ok(())
    }

    /// Bytes that a step changes.
    pub(super) fn len(&self, step: &Step) -> u64 {
        self.places[step.first..step.first + step.count].iter().map(|place| place.range.len).sum()
    }

    /// The first byte that a step changes.
    pub(super) fn offset(&self, step: &Step) -> u64 {
        self.places[step.first..step.first + step.count].first().map_or(0, |place| place.range.offset)
    }

    fn apply_part(&self, place: &Place, range: ByteRange, put: &mut Put<'_>) -> Result<(), ImageError> {
        let skip = range.offset - place.range.offset;
        match place.kept {
            Kept::Zero => put(range, Content::Zero),
            Kept::Bytes { at } => put(range, Content::Bytes(&self.content(at + skip, range.len as usize)?)),
            Kept::Repeat { at, len } => {
                let mut pattern = self.content(at, len)?;
                pattern.rotate_left((skip % len.max(1) as u64) as usize);
                put(range, Content::Repeat(&pattern))
            }
        }
    }

    fn content(&self, at: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        let mut bytes = vec![0; len];
        let read = self.content.read_exact_at(&mut bytes, at);
        let failed = |source| ImageError::Io { action: "reading back", path: "the scratch file".into(), source };
        read.map(|()| bytes).map_err(failed)
    }

    /// The first step behind a completion.
    pub(super) fn behind(&self, seq: u64) -> usize {
        self.steps.partition_point(|step| step.record.seq.0 <= seq)
    }

    /// Steps behind a completion that may have been in flight then: issued, and not ended.
    pub(super) fn in_flight(&self, seq: u64) -> impl Iterator<Item = usize> {
        let first = self.behind(seq);
        let end = self.least_dep[first..].partition_point(|least| *least <= seq) + first;
        (first..end).filter(move |at| self.steps[*at].record.dep.0 <= seq)
    }
}

/// Takes one change.
pub(super) type Put<'a> = dyn FnMut(ByteRange, Content<'_>) -> Result<(), ImageError> + 'a;

impl Builder {
    fn add(&mut self, entry: &CapturedEntry, done: &Done<'_>) -> std::io::Result<()> {
        let record = match &entry.header.entry {
            Entry::Record(record) => *record,
            Entry::Region(region) => read_back(region, self.steps.last()),
            Entry::Gap(_) => return Ok(()),
        };
        let first = self.places.len();
        if let Done::Changes(changes) = done {
            changes.iter().filter(|change| !change.range.is_empty()).try_for_each(|change| self.keep(change))?;
        }
        let count = self.places.len() - first;
        let step = Step { record: as_barrier(record, entry), first, count, durable_at: NEVER };
        if record.status.is_ok() && (step.changes() || is_barrier(&step.record)) {
            self.steps.push(step);
        }
        Ok(())
    }

    fn keep(&mut self, change: &Change<'_>) -> std::io::Result<()> {
        let at = self.at;
        let kept = match change.content {
            Content::Bytes(bytes) => {
                self.spool(bytes)?;
                Kept::Bytes { at }
            }
            Content::Repeat(pattern) => {
                self.spool(pattern)?;
                Kept::Repeat { at, len: pattern.len() }
            }
            Content::Zero | Content::Discarded => Kept::Zero,
        };
        self.places.push(Place { range: change.range, kept });
        Ok(())
    }

    fn spool(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.content.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, cache: Cache) -> std::io::Result<Log> {
        let least = |least: &mut u64, step: &Step| {
            *least = (*least).min(step.record.dep.0);
            Some(*least)
        };
        let mut least_dep: Vec<u64> = self.steps.iter().rev().scan(u64::MAX, least).collect();
        least_dep.reverse();
        self.content.seek(SeekFrom::Start(0))?;
        let content = self.content.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let barriers = settle(&mut self.steps, cache);
        Ok(Log { steps: self.steps, barriers, least_dep, places: self.places, content })
    }
}

/// Content read back from the device is on it for good.
fn read_back(region: &Region, before: Option<&Step>) -> Record {
    let at = before.map_or(Seq(0), |step| step.record.seq);
    Record {
        seq: at,
        dep: at,
        volume: region.volume,
        op: Op::Write,
        flags: OpFlags::FUA,
        range: region.range,
        status: formats::Status::OK,
        origin: formats::entry::Origin::default(),
    }
}

/// A SYNCHRONIZE CACHE that a program sent is a flush like the kernel's.
fn as_barrier(record: Record, entry: &CapturedEntry) -> Record {
    let flushes = record.op == Op::Scsi
        && Command::decode(&entry.trailer)
            .ok()
            .and_then(|command| scsi::decode(command.cdb, command.device).ok())
            .is_some_and(|decoded| CommandKind::of(&decoded, false) == CommandKind::Flush);
    if flushes { Record { op: Op::Flush, ..record } } else { record }
}

/// Whether something is durable once it completed.
pub(super) fn is_barrier(record: &Record) -> bool {
    record.op == Op::Flush || record.flags.intersects(OpFlags::FUA | OpFlags::PREFLUSH)
}

/// Whether what had completed when it was issued is durable once it completed.
fn flushes(record: &Record) -> bool {
    record.op == Op::Flush || record.flags.contains(OpFlags::PREFLUSH)
}

/// Finds out with which completion each step is durable; answers the steps that are barriers.
fn settle(steps: &mut [Step], cache: Cache) -> Vec<usize> {
    if cache == Cache::WriteThrough {
        steps.iter_mut().for_each(|step| step.durable_at = step.record.seq.0);
        return (0..steps.len()).collect();
    }
    let (mut barriers, mut settled) = (Vec::new(), 0);
    for at in 0..steps.len() {
        let record = steps[at].record;
        if !is_barrier(&record) {
            continue;
        }
        barriers.push(at);
        if record.flags.contains(OpFlags::FUA) {
            steps[at].durable_at = record.seq.0;
        }
        while flushes(&record) && steps[settled].record.seq <= record.dep {
            steps[settled].durable_at = steps[settled].durable_at.min(record.seq.0);
            settled += 1;
        }
    }
    barriers
}

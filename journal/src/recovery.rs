//! What a journal's files still hold when it is opened, and what they should.
//!
//! The segments from the floor on are walked in the order of their ids, item by item, every checksum included. The log
//! ends at the first item that is missing. Then everything behind that end is searched for items and headers that claim
//! to have been written when more was already durable: such a claim makes the end a damage, not a power cut.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use formats::segment::{
    DATA_START, Frame, ITEM_HEAD_LEN, JournalState, Place, SEGMENT_HEADER_LEN, SegmentError, SegmentHeader,
};

use crate::disk::{DiskFile, read_exact};
use crate::scan::Window;
use crate::table::{Segment, segment_name};

const CHUNK: usize = 1 << 20;

/// Why the log ends where it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailEnd {
    /// There is no item, and no segment in use.
    Empty,
    /// The last segment is full.
    SegmentEnd,
    /// What follows is no item of the log.
    NoItem {
        /// In which file.
        file: String,
        /// At which byte.
        offset: u64,
        /// What was found there. [`SegmentError::Empty`] is the usual end of a clean log; a checksum or foreign magic
        /// is a torn write or an earlier use of the file.
        why: SegmentError,
    },
}

/// Items that had been durable and are gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Their indices. Items after them may have been readable, but a log with a hole in it is none.
    pub lost: RangeInclusive<u64>,
    /// Where the first of them should be, and what is there instead.
    pub tail: TailEnd,
}

impl fmt::Display for TailEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no segment is in use"),
            Self::SegmentEnd => f.write_str("the last segment is full"),
            Self::NoItem { file, offset, why } => write!(f, "{file} at byte {offset}: {why}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "durable items {} to {} are gone ({})", self.lost.start(), self.lost.end(), self.tail)
    }
}

/// What opening a journal found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// Whether the journal was made just now.
    pub created: bool,
    /// Index of the first item.
    pub first: u64,
    /// Index of the next item to be appended.
    pub next: u64,
    /// Bytes that were read and checked.
    pub bytes_scanned: u64,
    /// Bytes of whole items behind the end, which do not count because something before them is missing.
    pub bytes_cut: u64,
    /// Why the log ends there.
    pub tail: TailEnd,
    /// Set if something is gone that had been durable. The journal takes no items until that is answered for.
    pub damaged: Option<Damage>,
}

/// A segment file with a readable header.
#[derive(Clone, Copy)]
struct Candidate {
    slot: u16,
    header: SegmentHeader,
}

/// Everything that opening needs to know.
pub(crate) struct Findings {
    /// The segments of the log, oldest first.
    pub(crate) live: Vec<Segment>,
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// Slots behind the end whose headers still look valid.
    pub(crate) stale: Vec<u16>,
    /// Up to this index a sync has confirmed everything.
    pub(crate) claimed: u64,
    /// Largest session seen.
    pub(crate) session: u32,
    pub(crate) tail: TailEnd,
    pub(crate) scanned: u64,
    pub(crate) cut: u64,
    pub(crate) lost: Option<RangeInclusive<u64>>,
}

/// Whether any of the files begins with a valid segment header.
pub(crate) fn any_segment<F: DiskFile>(files: &[F]) -> io::Result<bool> {
    Ok(!candidates(files, 0)?.is_empty())
}

/// Session that made a segment id.
pub(crate) fn session_of(id: u64) -> u32 {
    (id >> 32) as u32
}

/// The segments from `floor` on, in the order of their ids.
fn candidates<F: DiskFile>(files: &[F], floor: u64) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for (slot, file) in files.iter().enumerate() {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        read_exact(file, &mut bytes, 0)?;
        if let Ok(header) = SegmentHeader::decode(&bytes)
            && header.id >= floor
        {
            found.push(Candidate { slot: slot as u16, header });
        }
    }
    found.sort_by_key(|candidate| candidate.header.id);
    Ok(found)
}

/// Reads all of `files` that counts.
pub(crate) fn recover<F: DiskFile>(files: &[F], state: &JournalState) -> io::Result<Findings> {
    let candidates = candidates(files, state.floor)?;
    let mut walk = Walk::new(files, state);
    let used = walk.follow(&candidates)?;
    walk.look_behind(&candidates[used..])?;
    Ok(walk.findings(&candidates[used..]))
}

struct Walk<'a, F> {
    files: &'a [F],
    segment_bytes: u64,
    first: u64,
    live: Vec<Segment>,
    next: u64,
    session: u32,
    claimed: u64,
    tail: TailEnd,
    scanned: u64,
    cut: u64,
    /// Largest index of a whole frame behind the end.
    seen: u64,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    fn new(files: &'a [F], state: &JournalState) -> Self {
        Self {
            files,
            segment_bytes: state.segment_bytes,
            first: state.first,
            live: Vec::new(),
            next: state.first,
            session: 0,
            claimed: state.durable,
            tail: TailEnd::Empty,
            scanned: 0,
            cut: 0,
            seen: 0,
        }
    }

    /// Walks as far as the log goes; says how many of the candidates belong to it.
    fn follow(&mut self, candidates: &[Candidate]) -> io::Result<usize> {
        for (used, candidate) in candidates.iter().enumerate() {
            let header = &candidate.header;
            if header.first != self.next || session_of(header.id) < self.session {
                return Ok(used);
            }
            self.walk_segment(candidate)?;
        }
        Ok(candidates.len())
    }

    fn walk_segment(&mut self, candidate: &Candidate) -> io::Result<()> {
        let header = &candidate.header;
        let mut window = Window::new(&self.files[usize::from(candidate.slot)], CHUNK, self.segment_bytes);
        let mut segment = Segment::new(candidate.slot, header.id, header.first);
        self.session = session_of(header.id);
        self.claimed = self.claimed.max(header.durable);
        let why = loop {
            match self.expect(window.item(Place { segment: header.id, offset: segment.end })?) {
                Ok(frame) => self.take(frame, &mut segment),
                Err(why) => break why,
            }
        };
        self.scanned += segment.end;
        self.tail = self.tail_of(&segment, why);
        self.live.push(segment);
        Ok(())
    }

    /// The frame, if it continues the log.
    fn expect(&self, found: Result<Frame, SegmentError>) -> Result<Frame, SegmentError> {
        let frame = found?;
        if frame.index != self.next {
            return Err(SegmentError::Contradiction("an item with another index"));
        }
        if frame.session < self.session {
            return Err(SegmentError::Contradiction("an item left over from an earlier session"));
        }
        Ok(frame)
    }

    fn take(&mut self, frame: Frame, segment: &mut Segment) {
        segment.push(frame.item_len() as u64);
        self.next += 1;
        self.session = frame.session;
        self.claimed = self.claimed.max(frame.durable);
    }

    fn tail_of(&self, segment: &Segment, why: SegmentError) -> TailEnd {
        if segment.end + ITEM_HEAD_LEN as u64 > self.segment_bytes {
            return TailEnd::SegmentEnd;
        }
        TailEnd::NoItem { file: segment_name(segment.slot), offset: segment.end, why }
    }

    /// Looks for what lies behind the end: in the last segment, and in those that the log does not reach.
    fn look_behind(&mut self, rest: &[Candidate]) -> io::Result<()> {
        if let Some(last) = self.live.last() {
            let (slot, id, end) = (last.slot, last.id, last.end);
            self.search(slot, id, end)?;
        }
        for candidate in rest {
            let header = &candidate.header;
            self.claimed = self.claimed.max(header.durable);
            self.seen = self.seen.max(header.first - 1);
            self.search(candidate.slot, header.id, DATA_START)?;
        }
        Ok(())
    }

    /// Only frames at least as new as the end of the log count: older ones were given up by an earlier recovery.
    fn search(&mut self, slot: u16, id: u64, from: u64) -> io::Result<()> {
        let (next, session) = (self.next, self.session);
        let (mut cut, mut seen, mut claimed) = (0, self.seen, self.claimed);
        let mut window = Window::new(&self.files[usize::from(slot)], CHUNK, self.segment_bytes);
        window.search(id, from, |frame| {
            if frame.index >= next && frame.session >= session {
                cut += frame.item_len() as u64;
                seen = seen.max(frame.index);
                claimed = claimed.max(frame.durable);
            }
        })?;
        (self.seen, self.claimed) = (seen, claimed);
        self.cut += cut;
        self.scanned += self.segment_bytes - from;
        Ok(())
    }

    fn findings(self, rest: &[Candidate]) -> Findings {
        let lost = (self.claimed >= self.next).then(|| self.next..=self.claimed.max(self.seen));
        let newest = rest.iter().map(|candidate| session_of(candidate.header.id)).max().unwrap_or(0);
        Findings {
            first: self.first,
            next: self.next,
            stale: rest.iter().map(|candidate| candidate.slot).collect(),
            claimed: self.claimed.min(self.next - 1),
            session: self.session.max(newest),
            tail: self.tail,
            scanned: self.scanned,
            cut: self.cut,
            lost,
            live: self.live,
        }
    }
}

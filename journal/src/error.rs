//! What can go wrong, with the place and the remedy.

use std::io;
use std::ops::RangeInclusive;

use formats::segment::SegmentError;
use thiserror::Error;

/// An operation of the disk that failed.
#[derive(Error, Debug)]
#[error("journal in {journal}: {doing} {file}: {source}")]
pub struct IoFault {
    /// Where the journal is.
    pub journal: String,
    /// What was being done.
    pub doing: &'static str,
    /// To which file.
    pub file: String,
    /// What the system said.
    pub source: io::Error,
}

/// Why a journal does not open, or cannot do what was asked.
#[derive(Error, Debug)]
pub enum JournalError {
    /// A setting outside its limits.
    #[error("journal settings: {why}")]
    Config {
        /// Which, and what to give instead.
        why: String,
    },
    /// The file system refused something. A journal that writes is failed afterwards and must be opened again.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// The space cannot be reserved.
    #[error(
        "journal in {journal}: no room for {want} bytes on that file system; free some, or choose a smaller journal \
         or another directory"
    )]
    NoSpace {
        /// Where the journal is.
        journal: String,
        /// Bytes that the journal needs.
        want: u64,
    },
    /// Another process has it.
    #[error("journal in {journal} is in use by {holder}; stop that first, or choose another directory")]
    InUse {
        /// Where the journal is.
        journal: String,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// It was made with segments of another size, or more of them.
    #[error(
        "journal in {journal} was made with {made_segments} segments of {made_bytes} bytes, but {segments} of {bytes} \
         were asked for; keep the segment size and do not shrink, or remove the directory (a full resync follows)"
    )]
    Size {
        /// Where the journal is.
        journal: String,
        /// Number of segments it has.
        made_segments: u16,
        /// Size of its segments, in bytes.
        made_bytes: u64,
        /// Number of segments asked for.
        segments: u16,
        /// Size asked for, in bytes.
        bytes: u64,
    },
    /// The state file is gone or both its slots are unreadable, but there are segments with items.
    #[error(
        "journal in {journal}: its state file is damaged ({first}; {second}), so it is not known what of the log still \
         counts; restore the file, or remove the directory (a full resync follows)"
    )]
    State {
        /// Where the journal is.
        journal: String,
        /// What is wrong with the first slot.
        first: SegmentError,
        /// What is wrong with the second slot.
        second: SegmentError,
    },
    /// An earlier write or sync failed, so what is on disk is not known.
    #[error("journal in {journal} failed earlier; open it again to find out what is on disk")]
    Failed {
        /// Where the journal is.
        journal: String,
    },
    /// A cursor that cannot be.
    #[error("journal in {journal}: cursor {name:?}: {why}")]
    Cursor {
        /// Where the journal is.
        journal: String,
        /// The cursor's name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An index that cannot be.
    #[error("journal in {journal}: index {index} is outside {}..={}", allowed.start(), allowed.end())]
    Index {
        /// Where the journal is.
        journal: String,
        /// The index.
        index: u64,
        /// What is possible.
        allowed: RangeInclusive<u64>,
    },
}

/// Why items were not appended.
#[derive(Error, Debug)]
pub enum AppendError {
    /// No room; nothing was changed.
    #[error("journal full: {needed} bytes needed, {free} free; it empties as the secondaries catch up")]
    Full {
        /// Bytes of the batch, with frames.
        needed: u64,
        /// Bytes that could still be written; not all of them need be in one segment.
        free: u64,
    },
    /// An item that no segment can hold; nothing was changed.
    #[error("item {item} of the batch has a payload of {len} bytes, above the {limit} that fit into a segment")]
    TooLarge {
        /// Its place in the batch, from 0.
        item: usize,
        /// Bytes of its payload.
        len: u64,
        /// Largest payload, in bytes.
        limit: u64,
    },
    /// An item whose header is bad or does not describe its payload; nothing was changed.
    #[error("item {item} of the batch: {source}")]
    Item {
        /// Its place in the batch, from 0.
        item: usize,
        /// What is wrong.
        source: SegmentError,
    },
    /// Opening found damage that nobody has answered for yet; nothing was changed.
    #[error(
        "journal damaged: items {}..={} are lost; mark what they touched, then accept the damage or discard the journal",
        lost.start(), lost.end()
    )]
    Damaged {
        /// What is lost.
        lost: RangeInclusive<u64>,
    },
    /// The disk failed, now or earlier. What of the batch is on disk is only known after opening again.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why items were not read.
#[derive(Error, Debug)]
pub enum ReadError {
    /// The index was freed.
    #[error("index {asked} was trimmed; the journal begins at {first}")]
    Trimmed {
        /// The index asked for.
        asked: u64,
        /// First index there is.
        first: u64,
    },
    /// What lies there does not match its checksums.
    #[error("journal in {journal}: item {index} at byte {offset} of {file} is damaged: {source}")]
    Corrupt {
        /// Where the journal is.
        journal: String,
        /// The index.
        index: u64,
        /// The segment file.
        file: String,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong.
        source: SegmentError,
    },
    /// The writer is gone, so nothing tells any more what the files hold.
    #[error("the journal was closed; take a reader of the one that was opened after it")]
    Closed,
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoFault),
}

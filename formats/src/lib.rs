//! Every byte layout that blkecho writes to disk or wire, and the identifiers in them.
//!
//! This crate is pure: it does no I/O, reads no clock, allocates only what a caller asked for, and builds for a
//! target without an operating system (`default-features = false`). Integers in our own layouts are little-endian; those in
//! what the SCSI standards lay out ([`scsi`]: CDBs, parameter lists, pages, sense) are big-endian. A tag of 0 is never
//! valid, so a zeroed page is never taken for data. Decoders check length and checksum before they look at a field, and
//! never allocate from a length they have not bounded.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod command;
pub mod dirty;
pub mod entry;
pub mod ids;
pub mod op;
pub mod scsi;
pub mod segment;
pub mod state;
pub mod tape;
pub mod wire;

pub use checksum::Crc32c;
pub use entry::{Entry, EntryHeader, Gap, PayloadEncoding, Record, Region};
pub use ids::{ByteRange, Position, Seq, StreamId, VolumeIndex};
pub use op::{Op, OpFlags, Status};

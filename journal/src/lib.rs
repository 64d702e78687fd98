//! The crash-safe, ordered, bounded log.
//!
//! A journal is a directory of segment files of fixed size, all reserved when it is made, and used in turn. Items are
//! encoded entries ([`formats::entry`]) with consecutive indices from 1. One [`Journal`] writes; any number of
//! [`Reader`]s read at the same time from other threads.
//!
//! What holds, also after a power cut at any instant (`first - 1 <= cursor <= written = next - 1`, `durable <= written`,
//! and a saved cursor is at most what was durable at its save):
//!
//! - Everything up to [`Journal::durable`] is there when the journal is opened again.
//! - What is there is a prefix of what was appended; after the first item that is missing or torn nothing counts.
//! - If something is missing that had been durable, that is damage, and [`Recovery::damaged`] names it. The journal then
//!   takes no items before [`Journal::accept_damage`] or [`Journal::discard_all`].
//! - An item is freed only after [`Journal::trim`] was called for it and every named cursor has passed it.
//! - A recycled or misplaced block never decodes as an item: checksums are bound to segment and offset.
//! - After an error of the disk nothing more is written through the same handles ([`JournalError::Failed`]): opening
//!   again finds out what is there, and writes once more what no sync had confirmed.
//! - Space on disk is constant; memory is one mark per [`MARK_EVERY`] bytes of log.
//!
//! To whom the rest is left: the caller decides when to sync (and gives the clock), what to do when it is full, and
//! which entries to ship. The journal never looks into an entry beyond its checksums.

mod append;
mod config;
mod cursors;
mod disk;
mod error;
#[cfg(feature = "faulty")]
pub mod faulty;
mod open;
mod reader;
mod real;
mod recovery;
mod scan;
mod state_file;
mod table;
mod writer;

pub use append::Item;
pub use config::{Config, MAX_SEGMENT_BYTES, MAX_SEGMENTS, MIN_SEGMENT_BYTES, MIN_SEGMENTS, SyncPolicy};
pub use disk::{Disk, DiskFile, MAX_BUFS};
pub use error::{AppendError, IoFault, JournalError, ReadError};
pub use formats::segment::Cursor;
pub use reader::{Batch, Headers, Reader};
pub use real::{RealDisk, RealFile};
pub use recovery::{Damage, Recovery, TailEnd};
pub use table::MARK_EVERY;
pub use writer::Journal;

//! Where a standby's copy lives: block devices, SCSI devices, image files, memory.
//!
//! A [`Target`] does what a record says and nothing else: it knows no order, no journal and no network. All calls
//! block and may come from several threads at once; the scheduler makes sure that concurrent ranges do not overlap.
//!
//! # Discards
//! What a discarded range reads as is the device's choice. Targets here always make it read as zeros (a hole is
//! punched, or zeros are written), which is what loop devices, device-mapper thin volumes and nearly all SSDs answer
//! on the primary as well. A primary whose discarded ranges keep old content differs from its standby there until they are
//! written again; no file system reads such a range.

mod aligned;
mod block;
pub mod check;
#[cfg(test)]
pub(crate) mod filed;
mod image;
mod memory;
mod raw;
mod ring;
mod scsi;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::ByteRange;
use serde::Serialize;
use thiserror::Error;

pub use block::BlockTarget;
pub use check::{CheckError, Host};
pub use image::ImageTarget;
pub use memory::MemoryTarget;
pub(crate) use raw::RawFile;
pub use ring::Bell;
pub(crate) use ring::{Event, WriteRing};
pub use scsi::{
    OpenError as ScsiOpenError, Options as ScsiOptions, RetryCount, RowCount, ScsiReport, ScsiTarget,
    Settings as ScsiSettings, TapeError, TapeStatus, TimeoutError, TimeoutFor, Timeouts, describe as describe_scsi,
    disk_behind, opaque_word,
};

use crate::command::CommandTarget;

/// How an operation was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// As the record says.
    AsAsked,
    /// With the same content afterwards but by other means (zeros written where a discard is not possible).
    Emulated,
}

/// What a target is, for `status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TargetInfo {
    /// Its path, or a made-up name for one in memory.
    pub path: PathBuf,
    /// `block`, `scsi`, `image` or `memory`.
    pub kind: &'static str,
    /// `direct` when the page cache is bypassed, `sg_io` for SCSI commands, else `buffered`.
    pub mode: &'static str,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a target did not do what it was told.
#[derive(Error, Debug)]
pub enum TargetError {
    /// The operation failed.
    #[error("{action} {range} on {} failed: {source}; {}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where, in bytes.
        range: ByteRange,
        /// On which target.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The range does not lie within the target.
    #[error("{range} does not lie within {} of {size} bytes", path.display())]
    OutOfRange {
        /// Where, in bytes.
        range: ByteRange,
        /// On which target.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The range is not made of whole blocks, which direct I/O needs.
    #[error("{range} is not made of whole blocks of {block} bytes on {}", path.display())]
    Misaligned {
        /// Where, in bytes.
        range: ByteRange,
        /// On which target.
        path: PathBuf,
        /// Bytes per block.
        block: usize,
    },
    /// The target cannot do this at all.
    #[error("{} has no {action}", path.display())]
    Unsupported {
        /// What was asked for.
        action: &'static str,
        /// On which target.
        path: PathBuf,
    },
}

fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => "make room on its file system and start the standby again",
        Some(libc::ENODEV | libc::ENXIO) => "the device is gone: attach it again and start the standby again",
        Some(libc::EROFS | libc::EPERM | libc::EACCES) => "make it writable and start the standby again",
        _ => "check the device (kernel log) and start the standby again: its journal redoes what is missing",
    }
}

/// Something that holds the copy of one volume.
pub trait Target: Send + Sync {
    /// What it is.
    fn info(&self) -> TargetInfo;

    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Its logical block size in bytes; `None` when any will do.
    fn block_size(&self) -> Option<u32>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// The range lies outside, or the device failed.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError>;

    /// Writes `bytes` at `offset`; with `fua` they are durable when this returns.
    ///
    /// # Errors
    /// The range lies outside or is misaligned, or the device failed; then parts of it may be written.
    fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), TargetError>;

    /// Gives the range back to the device; it reads as zeros afterwards.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError>;

    /// Makes the range read as zeros; with `may_unmap` it may lose its blocks.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn write_zeroes(&self, range: ByteRange, may_unmap: bool) -> Result<Effect, TargetError>;

    /// Erases the range including all copies of it that the device keeps.
    ///
    /// # Errors
    /// [`TargetError::Unsupported`] where there is no such thing, which is nearly everywhere.
    fn secure_erase(&self, range: ByteRange) -> Result<Effect, TargetError> {
        let _ = range;
        Err(TargetError::Unsupported { action: "secure erase", path: self.info().path })
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The device failed: nothing may be assumed about what was written since the last flush.
    fn flush(&self) -> Result<(), TargetError>;

    /// The file into which a write of this range may be put, by direct I/O at the same offset, in place of [`Self::write`];
    /// `None` where only that will do.
    fn file_for_write(&self, range: ByteRange) -> Option<&Arc<File>> {
        let _ = range;
        None
    }

    /// How SCSI commands are replayed on it; `None` where their effect is written.
    fn commands(&self) -> Option<&dyn CommandTarget> {
        None
    }
}

/// How long a target may seem in use after the process that used it was killed.
const HELD_BY_THE_DEAD: Duration = Duration::from_secs(3);
/// Pause before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Checks that `path` may be written and opens it as what it is: SCSI commands go to `/dev/sgN`, `/dev/bsg/H:C:T:L` and
/// `sg:/dev/sdX`.
///
/// # Errors
/// [`CheckError`] says why it must not be written.
pub fn open(path: &Path, host: &Host) -> Result<Arc<dyn Target>, CheckError> {
    open_once(path, host, "", &ScsiSettings::default())
}

/// The same for a volume of this name, with what is said about SCSI targets. A process that was killed a moment ago may
/// hold the target still: the kernel ends its io_uring, with what is in flight there, after the process itself. So a
/// target in use is asked for again for up to three seconds.
///
/// # Errors
/// As [`open`]; also when a target is mapped that takes no SCSI commands.
pub fn open_for(
    path: &Path,
    host: &Host,
    volume: &str,
    settings: &ScsiSettings,
) -> Result<Arc<dyn Target>, CheckError> {
    let end = Instant::now() + HELD_BY_THE_DEAD;
    loop {
        match open_once(path, host, volume, settings) {
            Err(CheckError::Busy { .. }) if Instant::now() < end => std::thread::sleep(ASK_AGAIN),
            opened => return opened,
        }
    }
}

fn open_once(path: &Path, host: &Host, volume: &str, settings: &ScsiSettings) -> Result<Arc<dyn Target>, CheckError> {
    if scsi::is_scsi(path, host) {
        return Ok(Arc::new(scsi::open(path, host, volume, settings)?));
    }
    if settings.mappings.contains_key(volume) {
        return Err(CheckError::NotMappable { path: path.to_owned() });
    }
    match check::admit(path, host)? {
        check::Admitted::Block(geometry) => Ok(Arc::new(BlockTarget::open(path, geometry)?)),
        check::Admitted::Image => Ok(Arc::new(ImageTarget::open(path)?)),
    }
}

/// An error of `path` unless `range` lies within `size`.
fn check_range(path: &Path, range: ByteRange, size: u64) -> Result<(), TargetError> {
    if range.fits(size) { Ok(()) } else { Err(TargetError::OutOfRange { range, path: path.to_owned(), size }) }
}

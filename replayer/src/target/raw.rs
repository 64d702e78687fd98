//! Positioned I/O on an open file or device, direct or through the page cache, but never both on the same one: a
//! buffered write of part of a page could bring old content of the rest back over a direct write.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use formats::ByteRange;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::aligned::{ALIGN, AlignedBuf, BOUNCE, is_aligned, with_buffer};
use super::{Effect, TargetError, check_range};

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

/// A file or device that is read and written at offsets.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    /// Offsets and lengths are multiples of this; 1 when buffered.
    unit: usize,
    no_punch: AtomicBool,
    no_zero_range: AtomicBool,
}

impl RawFile {
    /// Opens `path` for reading, and for writing if `write`. Direct I/O in units of `unit` bytes is used when the file
    /// takes it, else the page cache.
    pub(crate) fn open(path: &Path, write: bool, unit: u32) -> io::Result<Self> {
        let open = |flags| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
        let direct = open(libc::O_DIRECT | libc::O_CLOEXEC).ok().filter(|file| takes_direct(file, unit as usize));
        let (file, unit) = match direct {
            Some(file) => (file, unit as usize),
            None => (open(libc::O_CLOEXEC)?, 1),
        };
        let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
        let (no_punch, no_zero_range) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { file: Arc::new(file), path: path.to_owned(), size, unit, no_punch, no_zero_range })
    }

    /// Takes the advisory lock that keeps a second standby (and udev's probing) off; false when somebody has it.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn mode(&self) -> &'static str {
        if self.unit > 1 { "direct" } else { "buffered" }
    }

    /// The file itself, where direct I/O takes this range.
    pub(crate) fn direct(&self, range: ByteRange) -> Option<&Arc<File>> {
        (self.unit > 1 && self.check(range).is_ok()).then_some(&self.file)
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        let range = ByteRange::new(offset, buffer.len() as u64);
        self.check(range)?;
        let read = if self.unit == 1 || is_aligned(buffer) {
            self.file.read_exact_at(buffer, offset)
        } else {
            self.read_bounced(offset, buffer)
        };
        read.map_err(|source| self.error("reading", range, source))
    }

    fn read_bounced(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        with_buffer(|bounce| {
            for piece in buffer.chunks_mut(BOUNCE) {
                let aligned = &mut bounce[..piece.len()];
                self.file.read_exact_at(aligned, offset)?;
                piece.copy_from_slice(aligned);
                offset += piece.len() as u64;
            }
            Ok(())
        })
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), TargetError> {
        let range = ByteRange::new(offset, bytes.len() as u64);
        self.check(range)?;
        let written = if self.unit == 1 || is_aligned(bytes) {
            self.write_piece(offset, bytes, fua)
        } else {
            self.write_bounced(offset, bytes, fua)
        };
        written.map_err(|source| self.error("writing", range, source))
    }

    fn write_bounced(&self, mut offset: u64, bytes: &[u8], fua: bool) -> io::Result<()> {
        with_buffer(|bounce| {
            for piece in bytes.chunks(BOUNCE) {
                let aligned = &mut bounce[..piece.len()];
                aligned.copy_from_slice(piece);
                self.write_piece(offset, aligned, fua)?;
                offset += piece.len() as u64;
            }
            Ok(())
        })
    }

    fn write_piece(&self, offset: u64, bytes: &[u8], fua: bool) -> io::Result<()> {
        if !fua {
            return self.file.write_all_at(bytes, offset);
        }
        match self.write_durably(offset, bytes) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.file.write_all_at(bytes, offset)?;
                self.file.sync_data()
            }
            other => other,
        }
    }

    fn write_durably(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match pwritev2(&self.file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Gives the range back; where that is not possible, zeros it.
    pub(crate) fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        self.check(range)?;
        if self.allocate("discarding", PUNCH, &self.no_punch, range)? {
            return Ok(Effect::AsAsked);
        }
        self.write_zeroes(range, false)?;
        Ok(Effect::Emulated)
    }

    pub(crate) fn write_zeroes(&self, range: ByteRange, may_unmap: bool) -> Result<Effect, TargetError> {
        self.check(range)?;
        let unmapped = may_unmap && self.allocate("zeroing", PUNCH, &self.no_punch, range)?;
        if unmapped || self.allocate("zeroing", ZERO, &self.no_zero_range, range)? {
            return Ok(Effect::AsAsked);
        }
        self.write_zero_bytes(range).map_err(|source| self.error("zeroing", range, source))?;
        Ok(Effect::Emulated)
    }

    /// One `fallocate`; false when the file cannot do this kind, which is remembered.
    fn allocate(
        &self,
        action: &'static str,
        mode: FallocateFlags,
        unable: &AtomicBool,
        range: ByteRange,
    ) -> Result<bool, TargetError> {
        if range.is_empty() {
            return Ok(true);
        }
        if unable.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match retry(|| fallocate(&self.file, mode, range.offset, range.len)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                unable.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(errno) => Err(self.error(action, range, errno.into())),
        }
    }

    fn write_zero_bytes(&self, range: ByteRange) -> io::Result<()> {
        with_buffer(|zeros| {
            zeros.fill(0);
            let mut offset = range.offset;
            while offset < range.end() {
                let len = (range.end() - offset).min(BOUNCE as u64);
                self.file.write_all_at(&zeros[..len as usize], offset)?;
                offset += len;
            }
            Ok(())
        })
    }

    pub(crate) fn flush(&self) -> Result<(), TargetError> {
        self.file.sync_data().map_err(|source| self.error("flushing", ByteRange::new(0, self.size), source))
    }

    fn check(&self, range: ByteRange) -> Result<(), TargetError> {
        check_range(&self.path, range, self.size)?;
        let unit = self.unit as u64;
        if range.offset.is_multiple_of(unit) && range.len.is_multiple_of(unit) {
            return Ok(());
        }
        Err(TargetError::Misaligned { range, path: self.path.clone(), block: self.unit })
    }

    fn error(&self, action: &'static str, range: ByteRange, source: io::Error) -> TargetError {
        TargetError::Io { action, range, path: self.path.clone(), source }
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Whether direct reads in units of `unit` work. Asked by reading a unit that does not start at a larger alignment;
/// some file systems accept `O_DIRECT` at open and refuse the reads.
fn takes_direct(file: &File, unit: usize) -> bool {
    if unit <= 1 || unit > ALIGN {
        return false;
    }
    let mut probe = AlignedBuf::new(unit);
    file.read_at(probe.as_mut(), unit as u64).is_ok()
}

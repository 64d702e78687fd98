//! A regular file as target.

use std::path::Path;

use formats::ByteRange;

use super::{CheckError, Effect, RawFile, Target, TargetError, TargetInfo};

/// The unit of direct I/O that is tried, in bytes: the smallest block a primary can have.
const UNIT: u32 = 512;

/// An image file: a volume byte by byte, sparse where nothing was written or a range was discarded.
///
/// Direct I/O is used when the file system takes it in units of 512 bytes, else the page cache.
#[derive(Debug)]
pub struct ImageTarget {
    raw: RawFile,
}

impl ImageTarget {
    /// Opens the file, which [`super::check::admit`] found free.
    ///
    /// # Errors
    /// It cannot be opened for writing, or another process has locked it.
    pub(super) fn open(path: &Path) -> Result<Self, CheckError> {
        let raw = RawFile::open(path, true, UNIT).map_err(|e| CheckError::opening(path, e))?;
        super::check::lock(&raw)?;
        Ok(Self { raw })
    }
}

impl Target for ImageTarget {
    fn info(&self) -> TargetInfo {
        TargetInfo { path: self.raw.path().into(), kind: "image", mode: self.raw.mode(), size: self.raw.size() }
    }

    fn size(&self) -> u64 {
        self.raw.size()
    }

    fn block_size(&self) -> Option<u32> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.raw.read(offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), TargetError> {
        self.raw.write(offset, bytes, fua)
    }

    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        self.raw.discard(range)
    }

    fn write_zeroes(&self, range: ByteRange, may_unmap: bool) -> Result<Effect, TargetError> {
        self.raw.write_zeroes(range, may_unmap)
    }

    fn flush(&self) -> Result<(), TargetError> {
        self.raw.flush()
    }
}

//! A block device as target.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use formats::ByteRange;

use super::check::Geometry;
use super::{CheckError, Effect, RawFile, Target, TargetError, TargetInfo};

/// A block device, by direct I/O where the device takes it.
///
/// Discards and zeros go through `fallocate`, which the kernel turns into the device's own commands. No exclusive
/// claim is held, so that a later export of the standby by the kernel's own target stays possible; an advisory lock
/// keeps a second standby away.
#[derive(Debug)]
pub struct BlockTarget {
    raw: RawFile,
    block_size: u32,
}

impl BlockTarget {
    /// Opens the device, which [`super::check::admit`] found free.
    ///
    /// # Errors
    /// It cannot be opened for writing, or another process has locked it.
    pub(super) fn open(path: &Path, geometry: Geometry) -> Result<Self, CheckError> {
        let raw = RawFile::open(path, true, geometry.block_size).map_err(|e| CheckError::opening(path, e))?;
        super::check::lock(&raw)?;
        Ok(Self { raw, block_size: geometry.block_size })
    }
}

impl Target for BlockTarget {
    fn info(&self) -> TargetInfo {
        TargetInfo { path: self.raw.path().into(), kind: "block", mode: self.raw.mode(), size: self.raw.size() }
    }

    fn size(&self) -> u64 {
        self.raw.size()
    }

    fn block_size(&self) -> Option<u32> {
        Some(self.block_size)
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

    fn file_for_write(&self, range: ByteRange) -> Option<&Arc<File>> {
        self.raw.direct(range)
    }

    fn flush(&self) -> Result<(), TargetError> {
        self.raw.flush()
    }
}

//! A target for tests of what goes past [`Target::write`]: a file that anybody may be given.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use formats::ByteRange;

use super::{Effect, Target, TargetError, TargetInfo, check_range};

/// A temporary file.
pub(crate) struct FileTarget {
    file: Arc<File>,
    /// Given away in place of `file`, so that what is written to it fails.
    decoy: Option<Arc<File>>,
    size: u64,
    /// Calls of `write`.
    written: AtomicU64,
}

impl FileTarget {
    pub(crate) fn new(size: u64) -> Self {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(size).expect("room");
        Self { file: Arc::new(file), decoy: None, size, written: AtomicU64::new(0) }
    }

    /// One whose file cannot be written by those it is given to.
    pub(crate) fn with_decoy(size: u64) -> Self {
        Self { decoy: Some(Arc::new(File::open("/dev/null").expect("opens"))), ..Self::new(size) }
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.size as usize];
        self.file.read_exact_at(&mut content, 0).expect("reads");
        content
    }

    /// How often `write` was called.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn fill(&self, range: ByteRange) -> Result<Effect, TargetError> {
        check_range("file".as_ref(), range, self.size)?;
        self.file.write_all_at(&vec![0; range.len as usize], range.offset).expect("writes");
        Ok(Effect::Emulated)
    }
}

impl Target for FileTarget {
    fn info(&self) -> TargetInfo {
        TargetInfo { path: "file".into(), kind: "file", mode: "buffered", size: self.size }
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn block_size(&self) -> Option<u32> {
        Some(512)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.file.read_exact_at(buffer, offset).expect("reads");
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], _: bool) -> Result<(), TargetError> {
        check_range("file".as_ref(), ByteRange::new(offset, bytes.len() as u64), self.size)?;
        self.file.write_all_at(bytes, offset).expect("writes");
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        self.fill(range)
    }

    fn write_zeroes(&self, range: ByteRange, _: bool) -> Result<Effect, TargetError> {
        self.fill(range)
    }

    fn flush(&self) -> Result<(), TargetError> {
        Ok(())
    }

    fn file_for_write(&self, range: ByteRange) -> Option<&Arc<File>> {
        range.fits(self.size).then(|| self.decoy.as_ref().unwrap_or(&self.file))
    }
}

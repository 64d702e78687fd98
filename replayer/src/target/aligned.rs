//! Memory at addresses that direct I/O accepts, without `unsafe`.

use std::cell::RefCell;

/// Alignment of the buffers, in bytes: a page, which satisfies every device's DMA alignment.
pub(super) const ALIGN: usize = 4096;
/// Bytes of the buffer that each thread keeps. Larger transfers go in pieces, so memory stays bounded by threads.
pub(super) const BOUNCE: usize = 1 << 20;

/// A zeroed buffer whose first byte lies at a multiple of [`ALIGN`].
pub(crate) struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        // `align_offset` may answer "cannot tell" by contract; direct I/O then fails with EINVAL instead of this.
        Self { start: if start < ALIGN { start } else { 0 }, bytes, len }
    }

    /// The bytes.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

thread_local! {
    static BUFFER: RefCell<AlignedBuf> = RefCell::new(AlignedBuf::new(BOUNCE));
}

/// Calls `work` with this thread's buffer of [`BOUNCE`] bytes; its content is whatever was there. Not reentrant.
pub(super) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| work(buffer.as_mut()))
}

/// Whether direct I/O can use `bytes` where they are.
pub(super) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGN) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_whole() {
        for len in [0, 1, 512, 4096, 1 << 20] {
            let mut buffer = AlignedBuf::new(len);
            assert!(is_aligned(buffer.as_mut()));
            assert_eq!(buffer.as_mut().len(), len);
        }
        with_buffer(|buffer| assert!(is_aligned(buffer) && buffer.len() == BOUNCE));
    }
}

//! Data of commands at page boundaries, so that the kernel maps it instead of copying it (`blk_rq_map_user_iov`).

use std::cell::RefCell;

/// Alignment in bytes: a page, which satisfies every queue's DMA alignment.
const ALIGN: usize = 4096;
/// Bytes of the buffer that a thread keeps; larger transfers take memory for their own time.
const KEPT: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a page-aligned part of this thread's buffer. Not reentrant.
fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len + ALIGN {
            buffer.resize(len + ALIGN, 0);
        }
        let start = buffer.as_ptr().align_offset(ALIGN);
        // By contract it may answer "cannot tell"; the kernel then copies.
        let start = if start < ALIGN { start } else { 0 };
        let done = work(&mut buffer[start..start + len]);
        if buffer.len() > KEPT + ALIGN {
            *buffer = Vec::new();
        }
        done
    })
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGN) == 0
}

/// Calls `work` with the bytes, or with a page-aligned copy of them.
pub(super) fn with_copy_for_read<T>(bytes: &[u8], work: impl FnOnce(&[u8]) -> T) -> T {
    if is_aligned(bytes) {
        return work(bytes);
    }
    with_buffer(bytes.len(), |copy| {
        copy.copy_from_slice(bytes);
        work(copy)
    })
}

/// Calls `work` with the bytes, or with a page-aligned copy of them that is copied back afterwards.
pub(super) fn with_copy_for_write<T>(bytes: &mut [u8], work: impl FnOnce(&mut [u8]) -> T) -> T {
    if is_aligned(bytes) {
        return work(bytes);
    }
    with_buffer(bytes.len(), |copy| {
        // What the device does not fill stays as it was, not as another command left it.
        copy.copy_from_slice(bytes);
        let done = work(copy);
        bytes.copy_from_slice(copy);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_sees_aligned_bytes_and_leaves_its_own() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let before = bytes.clone();
        for (start, len) in [(1, 512), (3, 2 << 20), (4097, 0)] {
            with_copy_for_read(&bytes[start..start + len], |seen| {
                assert!(is_aligned(seen) && *seen == before[start..start + len]);
            });
            with_copy_for_write(&mut bytes[start..start + len], |seen| {
                assert!(is_aligned(seen) && *seen == before[start..start + len]);
                seen.fill(9);
            });
            assert!(bytes[start..start + len].iter().all(|byte| *byte == 9));
            bytes.copy_from_slice(&before);
        }
    }
}

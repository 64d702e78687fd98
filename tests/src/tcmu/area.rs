//! Memory that is shared with the kernel: the mapping of a UIO device.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A mapping; every access is checked against its length.
#[derive(Debug)]
pub(super) struct Area {
    base: NonNull<c_void>,
    len: usize,
}

impl Area {
    /// Maps `len` bytes of the first memory of a UIO device.
    pub(super) fn map(device: &impl AsFd, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; it is unmapped on drop only.
        let base = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, device, 0)? };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Where `len` bytes from `offset` are.
    fn place(&self, offset: usize, len: usize) -> io::Result<NonNull<u8>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        end.ok_or_else(|| io::Error::other(format!("{len} bytes at {offset} are not in a ring of {}", self.len)))?;
        // SAFETY: `offset` lies within the mapping or at its end.
        Ok(unsafe { self.base.cast::<u8>().add(offset) })
    }

    fn word(&self, offset: usize) -> io::Result<&AtomicU32> {
        let place = self.place(offset, size_of::<AtomicU32>())?.cast::<AtomicU32>();
        if !place.is_aligned() {
            return Err(io::Error::other(format!("no word begins at {offset}")));
        }
        // SAFETY: in the mapping, which lives as long as the borrow, and aligned; this word is only accessed atomically.
        Ok(unsafe { place.as_ref() })
    }

    /// A word that the kernel sets, and what it wrote before that.
    pub(super) fn load(&self, offset: usize) -> io::Result<u32> {
        Ok(self.word(offset)?.load(Ordering::Acquire))
    }

    /// Sets a word, after what was written before.
    pub(super) fn store(&self, offset: usize, value: u32) -> io::Result<()> {
        self.word(offset)?.store(value, Ordering::Release);
        Ok(())
    }

    /// Copies bytes that the kernel does not write now.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) -> io::Result<()> {
        let from = self.place(offset, bytes.len())?;
        // SAFETY: as many bytes are in the mapping, and nobody's slice of this process is in there.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
        Ok(())
    }

    /// Copies bytes to where the kernel does not look now.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let to = self.place(offset, bytes.len())?;
        // SAFETY: as above.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, which nobody refers to any more.
        let _ = unsafe { munmap(self.base.as_ptr(), self.len) };
    }
}

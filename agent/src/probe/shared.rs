//! Memory shared with the probe: arrays of the kernel mapped into this process.
//!
//! The one place of the agent with `unsafe`. The kernel writes these values at any moment, so every access is a single
//! atomic load or store of an aligned word; nothing is ever borrowed from them.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::Pod;
use probe_types::{CpuCounters, InFlight, Layout, OpcodeRule, TABLE_WAYS, UnitKey, Volume};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A type that consists of 64-bit words, or of 32-bit words in pairs, without padding.
///
/// # Safety
/// The implementor is `repr(C)`, holds integers only, has no padding, and its size is a multiple of 8.
pub unsafe trait Words: Copy + Default {}

// SAFETY: as the trait asks; sizes are asserted in probe-types.
unsafe impl Words for u64 {}
// SAFETY: 33 words of 64 bits.
unsafe impl Words for CpuCounters {}
// SAFETY: words of 64 bits and an even number of 32-bit words.
unsafe impl Words for probe_types::Order {}
// SAFETY: words of 64 bits.
unsafe impl Words for [u64; TABLE_WAYS as usize] {}
// SAFETY: 96 bytes of integers without padding; the size is asserted in probe-types.
unsafe impl Words for InFlight {}

/// A value that may be handed to the kernel as bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Plain<T: Copy>(pub T);

// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for Plain<Volume> {}
// SAFETY: `repr(C)` bytes without padding.
unsafe impl Pod for Plain<OpcodeRule> {}
// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for Plain<UnitKey> {}
// SAFETY: `repr(C)` integers of one size.
unsafe impl Pod for Plain<Layout> {}
// SAFETY: `repr(C)` integers without padding; the size is asserted in probe-types.
unsafe impl Pod for Plain<probe_types::filter::Filter> {}

/// An mmapable BPF array of `T`.
pub struct SharedArray<T: Words> {
    base: NonNull<c_void>,
    bytes: usize,
    len: usize,
    element: PhantomData<T>,
}

// SAFETY: the mapping is plain memory; all access is atomic.
unsafe impl<T: Words> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Words> Sync for SharedArray<T> {}

impl<T: Words> SharedArray<T> {
    /// Maps an array of `len` elements (created with `BPF_F_MMAPABLE`).
    ///
    /// # Errors
    /// The kernel's, when it refuses the mapping.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> rustix::io::Result<Self> {
        let page = rustix::param::page_size();
        let bytes = (len * size_of::<T>()).next_multiple_of(page);
        // SAFETY: a fresh mapping at an address of the kernel's choice; it is unmapped on drop only.
        let base =
            unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)? };
        let base = NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, bytes, len, element: PhantomData })
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of element `index`, word by word: each word is whole, the element need not be of one moment.
    ///
    /// # Panics
    /// When `index` is out of bounds.
    #[must_use]
    pub fn read(&self, index: usize) -> T {
        let mut value = T::default();
        let to = (&raw mut value).cast::<u64>();
        for word in 0..size_of::<T>() / 8 {
            // SAFETY: `to` has exactly this many words, and `T: Words` says that any bits are a value.
            unsafe { to.add(word).write_unaligned(self.word(index, word).load(Ordering::Relaxed)) };
        }
        value
    }

    /// The 64-bit word number `word` of element `index`.
    ///
    /// # Panics
    /// When either is out of bounds.
    #[must_use]
    pub fn word(&self, index: usize, word: usize) -> &AtomicU64 {
        assert!(index < self.len && word < size_of::<T>() / 8, "word {word} of element {index} of {}", self.len);
        // SAFETY: inside the mapping, which lives as long as `self`; elements are multiples of 8 bytes, so aligned.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().cast::<u64>().add(index * (size_of::<T>() / 8) + word)) }
    }

    /// The 32-bit word number `word` of element `index`.
    ///
    /// # Panics
    /// When either is out of bounds.
    #[must_use]
    pub fn half_word(&self, index: usize, word: usize) -> &AtomicU32 {
        assert!(index < self.len && word < size_of::<T>() / 4, "word {word} of element {index} of {}", self.len);
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().cast::<u32>().add(index * (size_of::<T>() / 4) + word)) }
    }
}

impl<T: Words> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; nobody holds a reference beyond `self`. A failure leaves it mapped.
        let _ = unsafe { munmap(self.base.as_ptr(), self.bytes) };
    }
}

/// Reads an event of type `T` from the start of a ring slot.
///
/// # Safety of callers
/// None needed: `T: Event` is plain memory.
#[must_use]
pub fn event<T: Event>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, and `T: Event` says that any bits are a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A ring event.
///
/// # Safety
/// The implementor is `repr(C)` and holds integers only, so any bits are a value.
pub unsafe trait Event: Copy {}

// SAFETY: integers only.
unsafe impl Event for probe_types::PayloadHead {}
// SAFETY: integers only.
unsafe impl Event for probe_types::Completion {}
// SAFETY: integers only.
unsafe impl Event for probe_types::ScsiCompletion {}
// SAFETY: integers only.
unsafe impl Event for probe_types::Withdrawn {}

/// Waits until every program that runs in the kernel now has left it.
///
/// `MEMBARRIER_CMD_GLOBAL` is a full RCU grace period (kernel/sched/membarrier.c), and programs run under RCU. Where
/// the kernel refuses it (nohz_full), a pause far longer than any program runs takes its place.
pub fn kernel_barrier() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

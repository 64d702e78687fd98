//! The probe's ring buffer, read without copying.
//!
//! A payload is used where the kernel wrote it: [`Slot::share`] hands out bytes that keep their part of the ring from
//! being written again until they are dropped. The kernel sees one number, the consumer's position, so what is shared
//! is told in stretches: a run of slots, free when none of its bytes is shared any more, and freed in order.
//!
//! Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producer's, then the data twice
//! in a row, so that no slot is ever cut by the end. Of the second time only as much is mapped as a slot may need. A slot
//! is a header of 8 bytes, its length with two flags first, and its bytes, padded to a multiple of 8.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use probe_types::{PayloadHead, slot};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `BPF_RINGBUF_BUSY_BIT`: the slot is being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: the slot was given up.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: u64 = 8;
/// Bytes after which a stretch ends at the next slot.
const STRETCH: u64 = 64 << 10;
/// The longest slot.
const LONGEST: usize = HEADER as usize + size_of::<PayloadHead>() + slot::LARGE + slot::PIECE;

/// The ring of one probe. It has one reader.
pub struct Ring {
    map: OwnedFd,
    memory: Arc<Memory>,
    /// Start of the slot that is read next. Positions only grow; the place in the data is the position modulo its size.
    next: u64,
    /// Slots that were read and are not free yet, oldest first; the last one still grows.
    stretches: VecDeque<(u64, Arc<Stretch>)>,
}

/// A run of slots. It is free when the reader's own reference is the last.
struct Stretch {
    memory: Arc<Memory>,
    /// First position.
    start: u64,
}

/// The mapped pages.
struct Memory {
    consumer: NonNull<c_void>,
    /// The producer's page; the data follow it.
    producer: NonNull<c_void>,
    page: usize,
    size: usize,
    /// Bytes mapped at `producer`.
    mapped: usize,
}

// SAFETY: positions are read and written atomically; data are read only where the kernel has finished writing, and it
// does not write there again before the reader moves the consumer's position.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Ring {
    /// Maps the ring of `map`, which has `size` bytes (a power of two, at least a page).
    ///
    /// # Errors
    /// The kernel's, when it refuses the mapping.
    pub fn map(map: OwnedFd, size: u32) -> rustix::io::Result<Self> {
        let memory = Arc::new(Memory::map(map.as_fd(), size as usize)?);
        let next = memory.consumer_position().load(Ordering::Acquire);
        Ok(Self { map, memory, next, stretches: VecDeque::new() })
    }

    /// The next slot that the probe has finished, if there is one.
    pub fn read(&mut self) -> Option<Slot<'_>> {
        loop {
            if self.next >= self.memory.producer_position().load(Ordering::Acquire) {
                return None;
            }
            let start = self.next;
            let head = self.memory.slot_head(start).load(Ordering::Acquire);
            if head & BUSY != 0 {
                return None;
            }
            let len = u64::from(head & !DISCARD);
            self.next = start + (HEADER + len).next_multiple_of(8);
            if head & DISCARD == 0 {
                self.grow(start);
                let (_, stretch) = self.stretches.back()?;
                // SAFETY: the slot lies between the positions of consumer and producer, and is finished; `release` does
                // not run while it is borrowed.
                let bytes = unsafe { self.memory.bytes(start + HEADER, len as usize) };
                return Some(Slot { bytes, place: Some((stretch, start + HEADER)) });
            }
        }
    }

    /// Counts the slot from `start` to `self.next` to the last stretch, or begins another.
    fn grow(&mut self, start: u64) {
        match self.stretches.back_mut() {
            Some((end, last)) if start - last.start < STRETCH => *end = self.next,
            _ => {
                let stretch = Stretch { memory: Arc::clone(&self.memory), start };
                self.stretches.push_back((self.next, Arc::new(stretch)));
            }
        }
    }

    /// Gives everything that is not shared, up to the first that is, back to the probe.
    pub fn release(&mut self) {
        while let Some((_, first)) = self.stretches.front_mut()
            && Arc::get_mut(first).is_some()
        {
            self.stretches.pop_front();
        }
        // What was discarded behind the last stretch goes with it.
        let free = self.stretches.front().map_or(self.next, |(_, first)| first.start);
        self.memory.consumer_position().store(free, Ordering::Release);
    }

    /// Bytes of the ring that were read and cannot be written again yet.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.stretches.front().map_or(0, |(_, first)| self.next - first.start)
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.memory.size as u64
    }

    /// Position of the slot that is read next.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// Whether the probe has begun another slot.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next < self.memory.producer_position().load(Ordering::Acquire)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// What the probe wrote at once.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The stretch that it lies in, and the position of its first byte. None for a slot that lies in no ring.
    place: Option<(&'a Arc<Stretch>, u64)>,
}

impl<'a> Slot<'a> {
    /// A slot outside of any ring.
    #[must_use]
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, place: None }
    }

    /// The slot's bytes from `from`, `len` of them, kept where they are. None for a slot outside of a ring, and beyond the
    /// slot's end.
    #[must_use]
    pub fn share(&self, from: usize, len: usize) -> Option<Bytes> {
        let (stretch, position) = self.place?;
        if from.checked_add(len)? > self.bytes.len() {
            return None;
        }
        Some(Bytes::from_owner(Shared { stretch: Arc::clone(stretch), position: position + from as u64, len }))
    }

    /// Where in the ring it lies; 0 outside of one.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.place.map_or(0, |(_, position)| position)
    }
}

/// Bytes of the ring that are in use.
struct Shared {
    stretch: Arc<Stretch>,
    position: u64,
    len: usize,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: inside a finished slot (`Slot::share` checked it), which is not freed while its stretch is referenced.
        unsafe { self.stretch.memory.bytes(self.position, self.len) }
    }
}

impl Memory {
    fn map(fd: BorrowedFd<'_>, size: usize) -> rustix::io::Result<Self> {
        let page = rustix::param::page_size();
        let map = |len, protection, offset| {
            // SAFETY: a fresh mapping at an address of the kernel's choice; it is unmapped on drop only.
            let base = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, offset)? };
            NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)
        };
        let consumer = map(page, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let mapped = page + size + LONGEST.next_multiple_of(page).min(size);
        match map(mapped, ProtFlags::READ, page as u64) {
            Ok(producer) => Ok(Self { consumer, producer, page, size, mapped }),
            Err(error) => {
                // SAFETY: the mapping made above, referenced by nobody.
                let _ = unsafe { munmap(consumer.as_ptr(), page) };
                Err(error)
            }
        }
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the page's first word; it is mapped, aligned, and only ever accessed atomically.
        unsafe { AtomicU64::from_ptr(self.consumer.as_ptr().cast()) }
    }

    fn producer_position(&self) -> &AtomicU64 {
        // SAFETY: as above. The page is read-only, and so is every use.
        unsafe { AtomicU64::from_ptr(self.producer.as_ptr().cast()) }
    }

    /// The header's first word, at a position that is a multiple of 8.
    fn slot_head(&self, position: u64) -> &AtomicU32 {
        // SAFETY: inside the data and aligned; the kernel writes it atomically.
        unsafe { AtomicU32::from_ptr(self.data(position).cast_mut().cast()) }
    }

    fn data(&self, position: u64) -> *const u8 {
        let at = self.page + (position as usize & (self.size - 1));
        // SAFETY: inside the mapping: a page, and the position modulo the size.
        unsafe { self.producer.as_ptr().cast::<u8>().add(at) }
    }

    /// # Safety
    /// The range lies in finished slots that the kernel does not get back before the answer's last use.
    unsafe fn bytes(&self, position: u64, len: usize) -> &[u8] {
        let len = len.min(self.mapped - self.page - (position as usize & (self.size - 1)));
        // SAFETY: inside the mapping; a slot is in one piece there. The rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data(position), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mappings made in `map`; whoever uses them holds the memory. A failure leaves them mapped.
        unsafe {
            let _ = munmap(self.consumer.as_ptr(), self.page);
            let _ = munmap(self.producer.as_ptr(), self.mapped);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::io::pwrite;

    use super::*;

    /// A file with the layout of a ring. Its data do not come twice: no slot here is cut by the end.
    struct Producer {
        file: OwnedFd,
        position: u64,
    }

    const SIZE: u32 = 1 << 20;
    const PAGE: u64 = 4096;

    impl Producer {
        fn new() -> (Self, Ring) {
            let file = memfd_create("ring", MemfdFlags::empty()).unwrap();
            ftruncate(&file, 2 * PAGE + 2 * u64::from(SIZE)).unwrap();
            let ring = Ring::map(file.try_clone().unwrap(), SIZE).unwrap();
            (Self { file, position: 0 }, ring)
        }

        fn put(&mut self, byte: u8, len: usize, flags: u32) {
            let at = 2 * PAGE + self.position % u64::from(SIZE);
            pwrite(&self.file, &(len as u32 | flags).to_ne_bytes(), at).unwrap();
            pwrite(&self.file, &vec![byte; len], at + HEADER).unwrap();
            self.position += (HEADER + len as u64).next_multiple_of(8);
            pwrite(&self.file, &self.position.to_ne_bytes(), PAGE).unwrap();
        }
    }

    fn consumed(ring: &Ring) -> u64 {
        ring.memory.consumer_position().load(Ordering::Relaxed)
    }

    #[test]
    fn slots_come_in_order_and_discarded_ones_do_not() {
        let (mut producer, mut ring) = Producer::new();
        producer.put(1, 13, 0);
        producer.put(2, 100, DISCARD);
        producer.put(3, 8, 0);
        producer.put(4, 8, BUSY);
        assert_eq!(ring.read().unwrap().bytes, [1; 13]);
        assert_eq!(ring.read().unwrap().bytes, [3; 8]);
        assert!(ring.read().is_none() && ring.has_more());
        ring.release();
        assert_eq!((consumed(&ring), ring.held()), (producer.position - 16, 0));
    }

    #[test]
    fn what_is_shared_is_not_given_back() {
        let (mut producer, mut ring) = Producer::new();
        (1..=40).for_each(|byte| producer.put(byte, 4096, 0));
        assert!(ring.read().is_some());
        let second = ring.read().unwrap().share(96, 4000).unwrap();
        while ring.read().is_some() {}
        ring.release();
        assert_eq!(consumed(&ring), 0);
        assert_eq!(ring.held(), producer.position);
        assert_eq!(second, [2; 4000].as_slice());
        drop(second);
        ring.release();
        assert_eq!((consumed(&ring), ring.held()), (producer.position, 0));
    }

    #[test]
    fn older_stretches_are_freed_while_a_newer_one_is_shared() {
        let (mut producer, mut ring) = Producer::new();
        (1..=40).for_each(|byte| producer.put(byte, 4096, 0));
        let mut last = None;
        while let Some(slot) = ring.read() {
            last = slot.share(0, 1);
        }
        ring.release();
        assert!(consumed(&ring) >= STRETCH && consumed(&ring) < producer.position);
        drop(last);
        ring.release();
        assert_eq!(consumed(&ring), producer.position);
    }

    #[test]
    fn the_ring_goes_round_and_a_second_reader_goes_on_where_the_first_was() {
        let (mut producer, mut ring) = Producer::new();
        for round in 0..100u8 {
            // 256 KiB a round, so that no slot is cut by the end.
            producer.put(round, (256 << 10) - 8, 0);
            assert_eq!(ring.read().unwrap().bytes[0], round);
            ring.release();
        }
        let kept = {
            producer.put(100, 64, 0);
            ring.read().unwrap().share(0, 64).unwrap()
        };
        ring.release();
        let mut second = Ring::map(producer.file.try_clone().unwrap(), SIZE).unwrap();
        drop(ring);
        assert_eq!(second.read().unwrap().bytes, [100; 64]);
        assert_eq!(kept, [100; 64].as_slice());
    }

    #[test]
    fn beyond_a_slot_nothing_is_shared() {
        let (mut producer, mut ring) = Producer::new();
        producer.put(1, 64, 0);
        let slot = ring.read().unwrap();
        assert!(slot.share(1, 64).is_none() && slot.share(usize::MAX, 2).is_none());
        assert!(Slot::of(&[1; 8]).share(0, 8).is_none());
    }
}

//! Writes by io_uring: many in flight from one thread, with a system call for a batch of them in place of two thread
//! switches for each (`docs/decisions/0012`).
//!
//! # Guarantees
//! - What is written is a copy in memory of the ring's own, which nobody changes before the kernel has given it back; a ring
//!   that is dropped waits for that.
//! - Every write that was queued comes back once, with the kernel's answer.
//!
//! # What it leaves to others
//! - Ranges: an offset or a length that direct I/O does not take is the kernel's to refuse.
//! - Writes that came back short or with an error: they can be repeated by other means.
// The kernel reads memory behind the compiler's back; every block says why that is sound.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};

use super::aligned::AlignedBuf;

/// Most bytes of one write; larger ones gain little by being in a ring.
pub(crate) const SLOT_BYTES: usize = 128 << 10;
/// So many queued writes are given to the kernel at once, not with the next wait: the device has nothing to do meanwhile.
const SUBMIT_AT: usize = 4;
/// Marks the answer that tells of [`Bell::ring`].
const BELL: u64 = u64::MAX;
/// Marks the answers that tell of a descriptor; its number stands below.
const WATCHED: u64 = 1 << 32;

/// Wakes the thread that waits in the ring, from any other.
#[derive(Debug, Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes it, or keeps it from falling asleep the next time.
    pub fn ring(&self) {
        // The one thing that can go wrong is a counter at its end: then it rings already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    fn silence(&self) {
        let mut count = [0; 8];
        // Nothing to read: it was silent.
        let _ = rustix::io::read(&*self.0, &mut count);
    }
}

/// Which write of a ring: the number of its buffer.
pub(crate) type Slot = usize;

/// What came of waiting.
#[derive(Debug)]
pub(crate) enum Event {
    /// A write ended, with the bytes written or the kernel's error.
    Written(Slot, io::Result<usize>),
    /// The descriptor that is watched under this number is ready, or cannot be watched.
    Ready(u32),
}

/// Memory of one write, and the file it goes to for as long as the kernel has it.
struct Buffer {
    bytes: AlignedBuf,
    /// Some while the kernel has it.
    file: Option<Arc<File>>,
}

/// Writes in flight, as many as it has slots.
pub(crate) struct WriteRing {
    ring: IoUring,
    buffers: Vec<Buffer>,
    free: Vec<Slot>,
    bell: Bell,
    bell_is_watched: bool,
}

impl WriteRing {
    /// A ring for `slots` writes, used by the calling thread alone.
    ///
    /// # Errors
    /// The kernel has no io_uring, or does not let this process have one (`kernel.io_uring_disabled`, seccomp).
    pub(crate) fn new(slots: usize) -> io::Result<Self> {
        // As many descriptors may be watched, and the bell is.
        let entries = u32::try_from(2 * slots + 1).unwrap_or(u32::MAX);
        let ring = match IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries) {
            // Before 6.1: completions then interrupt the thread one by one.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries)?,
            built => built?,
        };
        let buffer = || Buffer { bytes: AlignedBuf::new(SLOT_BYTES), file: None };
        let buffers: Vec<Buffer> = std::iter::repeat_with(buffer).take(slots).collect();
        let free = (0..slots).rev().collect();
        Ok(Self { ring, buffers, free, bell: Bell::new()?, bell_is_watched: false })
    }

    /// What wakes [`Self::wait`].
    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Writes that were queued and have not come back.
    pub(crate) fn in_flight(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    /// Queues a write of these bytes, at most [`SLOT_BYTES`]; none when all slots are taken or the bytes are too many.
    pub(crate) fn write(&mut self, file: &Arc<File>, offset: u64, bytes: &[u8]) -> Option<Slot> {
        let slot = self.free.last().copied().filter(|_| bytes.len() <= SLOT_BYTES)?;
        let buffer = self.buffers.get_mut(slot)?;
        let memory = buffer.bytes.as_mut().get_mut(..bytes.len())?;
        memory.copy_from_slice(bytes);
        let write = opcode::Write::new(types::Fd(file.as_raw_fd()), memory.as_ptr(), bytes.len() as u32);
        let entry = write.offset(offset).build().user_data(slot as u64);
        buffer.file = Some(Arc::clone(file));
        if !self.push(&entry) {
            self.buffers[slot].file = None;
            return None;
        }
        self.free.pop();
        if self.ring.submission().len() >= SUBMIT_AT {
            // What the kernel does not take now it is given again with the next wait, which tells why.
            let _ = self.ring.submit();
        }
        Some(slot)
    }

    /// Tells once of this descriptor when it becomes readable, or is not one any more. Whoever closes it meanwhile hears of
    /// it or not.
    pub(crate) fn watch(&mut self, descriptor: RawFd, number: u32) -> bool {
        let poll = opcode::PollAdd::new(types::Fd(descriptor), libc::POLLIN as u32);
        self.push(&poll.build().user_data(WATCHED | u64::from(number)))
    }

    /// False when the kernel does not take what is queued, and there is no room for more.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        if self.ring.submission().is_full() && self.ring.submit().is_err() {
            return false;
        }
        // SAFETY: what the entry points to must stay valid until its completion is taken. The memory of a write is its
        // slot's buffer, on the heap, which is neither freed nor handed out for writing before `finished` took its
        // completion (`Drop` waits for that), and its file is kept open as long. Entries that watch
        // point to nothing: a descriptor that is none, or another one by then, is polled to no harm.
        unsafe { self.ring.submission().push(entry).is_ok() }
    }

    /// Gives the kernel what is queued and waits until a write has ended, a watched descriptor is ready or the bell rings;
    /// `each` gets all that came.
    ///
    /// # Errors
    /// The kernel refuses the ring itself: a bug, or no memory. What is in flight stays so.
    pub(crate) fn wait(&mut self, each: impl FnMut(Event)) -> io::Result<()> {
        self.watch_bell();
        self.enter()?;
        self.finished(each);
        Ok(())
    }

    fn enter(&self) -> io::Result<()> {
        loop {
            match self.ring.submitter().submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel wants its completions taken first.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    std::thread::yield_now();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn watch_bell(&mut self) {
        if !self.bell_is_watched {
            let poll = opcode::PollAdd::new(types::Fd(self.bell.0.as_raw_fd()), libc::POLLIN as u32);
            let entry = poll.build().user_data(BELL);
            self.bell_is_watched = self.push(&entry);
        }
    }

    fn finished(&mut self, mut each: impl FnMut(Event)) {
        let Self { ring, buffers, free, bell, bell_is_watched } = self;
        for completion in ring.completion() {
            if completion.user_data() == BELL {
                bell.silence();
                *bell_is_watched = false;
                continue;
            }
            if completion.user_data() & WATCHED != 0 {
                each(Event::Ready(completion.user_data() as u32));
                continue;
            }
            let slot = completion.user_data() as Slot;
            let Some(buffer) = buffers.get_mut(slot) else { continue };
            buffer.file = None;
            free.push(slot);
            let answer = completion.result();
            let written = usize::try_from(answer).map_err(|_| io::Error::from_raw_os_error(-answer));
            each(Event::Written(slot, written));
        }
    }
}

impl Drop for WriteRing {
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if self.enter().is_err() {
                // The kernel may still read it, so it is never freed.
                self.buffers.drain(..).for_each(std::mem::forget);
                return;
            }
            self.finished(|_| ());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    use super::*;

    /// A machine without io_uring cannot show what is tested here; it says so.
    fn ring(slots: usize) -> WriteRing {
        WriteRing::new(slots).expect("io_uring (sysctl kernel.io_uring_disabled)")
    }

    fn collect(ring: &mut WriteRing) -> Vec<(Slot, io::Result<usize>)> {
        let mut ended = Vec::new();
        while ring.in_flight() > 0 {
            let note = |event| match event {
                Event::Written(slot, result) => ended.push((slot, result)),
                Event::Ready(number) => panic!("{number} is not watched"),
            };
            ring.wait(note).expect("the ring works");
        }
        ended
    }

    #[test]
    fn writes_land_and_each_comes_back_once() {
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let mut ring = ring(4);
        for round in 0..5u64 {
            let slots: Vec<Slot> = (0..4)
                .map(|at| ring.write(&file, at * 4096, &[(round * 4 + at) as u8; 4096]).expect("a free slot"))
                .collect();
            assert!(ring.write(&file, 0, &[0; 512]).is_none(), "all slots are taken");
            let mut ended = collect(&mut ring);
            ended.sort_by_key(|(slot, _)| *slot);
            assert_eq!(ended.len(), slots.len());
            assert!(ended.iter().all(|(_, written)| matches!(written, Ok(4096))), "{ended:?}");
        }
        let mut content = vec![0; 16384];
        file.read_exact_at(&mut content, 0).expect("reads");
        assert!(content.chunks(4096).zip(16u8..).all(|(block, byte)| block.iter().all(|&b| b == byte)));
        assert!(ring.write(&file, 0, &vec![0; SLOT_BYTES + 1]).is_none(), "too large");
    }

    #[test]
    fn an_error_comes_back_and_its_slot_serves_again() {
        let read_only = Arc::new(File::open("/dev/null").expect("opens"));
        let good = Arc::new(tempfile::tempfile().expect("a file"));
        let mut ring = ring(1);
        ring.write(&read_only, 0, &[1; 512]).expect("queued");
        assert_eq!(collect(&mut ring)[0].1.as_ref().map_err(io::Error::raw_os_error), Err(Some(libc::EBADF)));
        ring.write(&good, 0, &[1; 512]).expect("queued");
        assert!(matches!(collect(&mut ring)[0].1, Ok(512)));
    }

    #[test]
    fn the_bell_wakes_from_another_thread_and_before_the_wait() {
        let mut ring = ring(2);
        let bell = ring.bell();
        for _ in 0..3 {
            bell.ring();
            ring.wait(|event| panic!("{event:?}, and nothing is written")).expect("the ring works");
        }
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            bell.ring();
        });
        ring.wait(|event| panic!("{event:?}, and nothing is written")).expect("the ring works");
        assert!(started.elapsed() >= Duration::from_millis(20));
        thread.join().expect("rings");
    }

    #[test]
    fn a_watched_descriptor_tells_once_when_it_is_readable() {
        let mut ring = ring(2);
        let (ready, silent) = (Bell::new().expect("an eventfd"), Bell::new().expect("an eventfd"));
        ready.ring();
        assert!(ring.watch(ready.0.as_raw_fd(), 7) && ring.watch(silent.0.as_raw_fd(), 8) && ring.watch(-1, 9));
        let mut told = Vec::new();
        let note = |told: &mut Vec<u32>, event| match event {
            Event::Ready(number) => told.push(number),
            Event::Written(..) => panic!("nothing is written"),
        };
        while told.len() < 2 {
            ring.wait(|event| note(&mut told, event)).expect("the ring works");
        }
        told.sort_unstable();
        assert_eq!(told, [7, 9], "the one that is readable, and the one that is none");
        silent.ring();
        ring.wait(|event| note(&mut told, event)).expect("the ring works");
        assert_eq!(told, [7, 9, 8]);
    }

    #[test]
    fn a_ring_that_is_dropped_waits_for_its_writes() {
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let mut ring = ring(8);
        (0..8).for_each(|at| assert!(ring.write(&file, at * 512, &[7; 512]).is_some()));
        drop(ring);
        let mut content = vec![0; 4096];
        file.read_exact_at(&mut content, 0).expect("reads");
        assert!(content.iter().all(|byte| *byte == 7));
        assert_eq!(Arc::strong_count(&file), 1);
    }
}

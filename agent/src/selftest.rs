//! The self-test at attach: proof that the probe reads payloads rightly on this kernel, before anything relies on it.
//!
//! It reads from the observed device with O_DIRECT into buffers filled with a pattern of its own. The probe must see
//! that pattern in the pages of the request when it is issued (this is how a write's payload is read), and the bytes
//! that the read then returned when it completes. Nothing is written to the device.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::capture::SelfTestRead;
use crate::probe::Probe;

/// Index of `selftest_volume` among the 32-bit words of `Order`.
const ORDER_SELFTEST_VOLUME: usize = 19;
/// Index of `selftest_offset` among its 64-bit words; `selftest_len` follows.
const ORDER_SELFTEST_OFFSET: usize = 14;
/// Sizes of the reads, in bytes: one page, odd multiples, and more than most devices take at once.
const SIZES: [usize; 6] = [4096, 8192, 12288, 65536, 196_608, 1 << 20];
/// Where in a page the buffer starts, so that pieces lie inside pages too.
const PAGE: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 5;

/// Why payload cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The device cannot be read.
    #[error("self-test: reading {path} with O_DIRECT: {source}")]
    Read {
        /// The device.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The probe did not see the reads.
    #[error(
        "self-test: the probe saw {seen} of {expected} bytes read from {path}; this kernel does not show the device's \
         requests as expected"
    )]
    Unseen {
        /// The device.
        path: PathBuf,
        /// Bytes seen.
        seen: usize,
        /// Bytes read.
        expected: usize,
    },
    /// The probe saw other bytes.
    #[error(
        "self-test: the probe saw other bytes than were there ({what}, {path} at byte {offset}): payload addresses are \
         computed wrongly on this kernel; writes will not be carried"
    )]
    Differs {
        /// The device.
        path: PathBuf,
        /// At issue or at completion.
        what: &'static str,
        /// Where on the volume.
        offset: u64,
    },
}

/// What is tested.
pub struct Target<'a> {
    /// Index of its volume.
    pub index: u16,
    /// The device.
    pub path: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is bio-based: a bio has moved past its pages when it completes, so only its submission shows them.
    pub bio_based: bool,
}

/// Proves payload reading on `target`. A ring of `ring_bytes` bounds the size of the reads.
///
/// # Errors
/// Says what failed; payload must then not be carried.
pub fn run(
    probe: &Probe,
    seen: &Receiver<SelfTestRead>,
    target: &Target<'_>,
    ring_bytes: u32,
) -> Result<(), SelfTestError> {
    let (file, size) = (open_direct(target.path)?, target.size);
    // A read is in the ring twice, in slots that may be twice as long as what they hold.
    let largest = size.min(u64::from(ring_bytes) / 8);
    let result = SIZES
        .iter()
        .enumerate()
        .filter(|(index, len)| *index == 0 || **len as u64 <= largest)
        .try_for_each(|(index, len)| patient_read(probe, &file, seen, target, index as u64, *len));
    probe.order.half_word(0, ORDER_SELFTEST_VOLUME).store(0, Ordering::Release);
    result
}

fn open_direct(path: &Path) -> Result<File, SelfTestError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .map_err(|source| SelfTestError::Read { path: path.to_owned(), source })
}

/// Tells the probe which read is the test's. The volume arms it, so it goes last.
fn watch(probe: &Probe, target: &Target<'_>, offset: u64, len: u64) {
    let volume = probe.order.half_word(0, ORDER_SELFTEST_VOLUME);
    volume.store(0, Ordering::Release);
    probe.order.word(0, ORDER_SELFTEST_OFFSET).store(offset, Ordering::Release);
    probe.order.word(0, ORDER_SELFTEST_OFFSET + 1).store(len, Ordering::Release);
    volume.store(u32::from(target.index) + 1, Ordering::Release);
}

/// A busy device may leave no room in the ring for the test, or somebody else may read at the same place: it is repeated
/// elsewhere then.
fn patient_read(
    probe: &Probe,
    file: &File,
    seen: &Receiver<SelfTestRead>,
    target: &Target<'_>,
    round: u64,
    len: usize,
) -> Result<(), SelfTestError> {
    let mut result = Ok(());
    for attempt in 0..ATTEMPTS {
        result = one_read(probe, file, seen, target, round + u64::from(attempt), len);
        match &result {
            Err(SelfTestError::Unseen { .. } | SelfTestError::Differs { .. }) => {
                std::thread::sleep(Duration::from_millis(20 << attempt));
            }
            _ => break,
        }
    }
    result
}

/// Reads `len` bytes somewhere, and compares what the probe saw with the buffer before and after.
fn one_read(
    probe: &Probe,
    file: &File,
    seen: &Receiver<SelfTestRead>,
    target: &Target<'_>,
    round: u64,
    len: usize,
) -> Result<(), SelfTestError> {
    while seen.try_recv().is_ok() {}
    let offset = place(round, len as u64, target.size);
    watch(probe, target, offset, len as u64);
    let mut memory = vec![0u8; len + 2 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let buffer = &mut memory[start..start + len];
    fill(buffer, round);
    let before = buffer.to_vec();
    file.read_exact_at(buffer, offset)
        .map_err(|source| SelfTestError::Read { path: target.path.to_owned(), source })?;
    compare(seen, target, offset, &before, buffer)
}

/// Spreads the reads over the device, on whole pages.
fn place(round: u64, len: u64, size: u64) -> u64 {
    let room = size - len;
    let places = SIZES.len() as u64 + u64::from(ATTEMPTS);
    (room / places * (round % places)) / PAGE as u64 * PAGE as u64
}

/// A pattern that no other page of the machine holds: a counter, scrambled by the clock.
fn fill(buffer: &mut [u8], round: u64) {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64);
    let mut state = seed ^ round << 32 | 1;
    for word in buffer.chunks_mut(8) {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_ne_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

fn compare(
    seen: &Receiver<SelfTestRead>,
    target: &Target<'_>,
    offset: u64,
    before: &[u8],
    after: &[u8],
) -> Result<(), SelfTestError> {
    let deadline = Instant::now() + DEADLINE;
    let mut covered = 0;
    while covered < before.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(read) = seen.recv_timeout(left) else {
            return Err(SelfTestError::Unseen { path: target.path.to_owned(), seen: covered, expected: before.len() });
        };
        let at = read.offset.wrapping_sub(offset) as usize;
        let unseen = || SelfTestError::Unseen { path: target.path.to_owned(), seen: covered, expected: before.len() };
        let issued = read.at_issue.as_ref().ok_or_else(unseen)?;
        if !target.bio_based {
            let completed = read.at_completion.as_ref().ok_or_else(unseen)?;
            matches(completed, after, at).ok_or_else(|| differs(target.path, "at completion", read.offset))?;
        }
        covered += matches(issued, before, at).ok_or_else(|| differs(target.path, "at issue", read.offset))?;
    }
    Ok(())
}

fn differs(path: &Path, what: &'static str, offset: u64) -> SelfTestError {
    SelfTestError::Differs { path: path.to_owned(), what, offset }
}

/// The length of `seen` if it equals what lies at `at` in `buffer`.
fn matches(seen: &[u8], buffer: &[u8], at: usize) -> Option<usize> {
    (buffer.get(at..at.checked_add(seen.len())?)? == seen).then_some(seen.len())
}

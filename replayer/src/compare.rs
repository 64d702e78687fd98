//! Comparing two volumes byte by byte, offline: every byte is read, memory stays constant, several threads read.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use formats::ByteRange;
use serde::Serialize;
use thiserror::Error;

use crate::target::{RawFile, Target, TargetError};

/// Bytes compared in one step by one thread.
const STEP: u64 = 1 << 20;
/// Granularity of reported differences, in bytes.
const GRAIN: usize = 512;
/// Largest number of differing regions that a report lists; all are counted.
pub const MAX_LISTED: usize = 1000;
/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Something whose bytes can be read.
pub trait Readable: Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// The device failed or became smaller.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError>;
}

impl<T: Target + ?Sized> Readable for T {
    fn size(&self) -> u64 {
        Target::size(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.read(offset, buffer)
    }
}

/// A device or file opened for reading only, past the page cache where it allows that.
#[derive(Debug)]
pub struct Source(RawFile);

impl Source {
    /// Opens `path`.
    ///
    /// # Errors
    /// It does not exist or may not be read.
    pub fn open(path: &Path) -> Result<Self, CompareError> {
        // The end of an odd-sized file is not a whole unit, so such a file goes through the page cache.
        let open = |unit| {
            let opened = RawFile::open(path, false, unit);
            opened.map_err(|source| CompareError::Open { path: path.display().to_string(), source })
        };
        let direct = open(4096)?;
        if direct.size().is_multiple_of(4096) { Ok(Self(direct)) } else { open(1).map(Self) }
    }
}

impl Readable for Source {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.0.read(offset, buffer)
    }
}

/// Why a comparison has no result.
#[derive(Error, Debug)]
pub enum CompareError {
    /// One of the two cannot be opened.
    #[error("cannot open {path} for reading: {source}; check the path and your permissions")]
    Open {
        /// Which one.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// One of the two cannot be read.
    #[error("comparison stopped: {0}")]
    Read(#[from] TargetError),
    /// The caller's progress function asked to stop.
    #[error("comparison cancelled")]
    Cancelled,
}

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Bytes compared: the size of the smaller one.
    pub bytes: u64,
    /// Sizes of both, in bytes.
    pub sizes: (u64, u64),
    /// Bytes in 512-byte units that differ.
    pub differing_bytes: u64,
    /// Differing ranges as (offset, length) in ascending order, the first [`MAX_LISTED`] of them.
    pub regions: Vec<(u64, u64)>,
    /// Whether there are more regions than listed.
    pub more_regions: bool,
    /// The first byte that differs.
    pub first_difference: Option<u64>,
}

impl Report {
    /// Whether all compared bytes are equal. Sizes may differ: a target may be larger than its volume.
    #[must_use]
    pub fn identical(&self) -> bool {
        self.first_difference.is_none()
    }
}

/// Compares `a` and `b` up to the end of the smaller one. `progress` is called with bytes done and bytes in all, a few
/// times a second and at the end; when it answers false the comparison stops.
///
/// # Errors
/// One of the two cannot be read, or `progress` stopped it.
pub fn compare(
    a: &dyn Readable,
    b: &dyn Readable,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Report, CompareError> {
    let sizes = (a.size(), b.size());
    let job = Job::new(a, b, sizes.0.min(sizes.1));
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| job.work())).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            // Parked, not slept: the last worker wakes this thread.
            std::thread::park_timeout(PROGRESS_EVERY);
            if !progress(job.done.load(Ordering::Relaxed), job.bytes) {
                job.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    progress(job.done.load(Ordering::Relaxed), job.bytes);
    job.finish(sizes)
}

struct Job<'a> {
    a: &'a dyn Readable,
    b: &'a dyn Readable,
    bytes: u64,
    caller: std::thread::Thread,
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Found>,
}

impl<'a> Job<'a> {
    fn new(a: &'a dyn Readable, b: &'a dyn Readable, bytes: u64) -> Self {
        let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { a, b, bytes, caller: std::thread::current(), next, done, stop, found: Mutex::default() }
    }

    fn work(&self) {
        let mut buffers = (vec![0; STEP as usize], vec![0; STEP as usize]);
        while !self.stop.load(Ordering::Relaxed) {
            let offset = self.next.fetch_add(STEP, Ordering::Relaxed);
            if offset >= self.bytes {
                break;
            }
            let len = STEP.min(self.bytes - offset) as usize;
            if let Err(error) = self.step(offset, &mut buffers.0[..len], &mut buffers.1[..len]) {
                self.found.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(error);
                self.stop.store(true, Ordering::Relaxed);
            }
            self.done.fetch_add(len as u64, Ordering::Relaxed);
        }
        self.caller.unpark();
    }

    fn step(&self, offset: u64, a: &mut [u8], b: &mut [u8]) -> Result<(), TargetError> {
        self.a.read_at(offset, a)?;
        self.b.read_at(offset, b)?;
        if a != b {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).add(offset, a, b);
        }
        Ok(())
    }

    fn finish(self, sizes: (u64, u64)) -> Result<Report, CompareError> {
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = found.error {
            return Err(error.into());
        }
        if self.stop.into_inner() {
            return Err(CompareError::Cancelled);
        }
        Ok(Report {
            bytes: self.bytes,
            sizes,
            differing_bytes: found.bytes,
            regions: found.regions.into_iter().collect(),
            more_regions: found.more,
            first_difference: found.first,
        })
    }
}

/// Differences so far, from any thread and in any order.
#[derive(Default)]
struct Found {
    bytes: u64,
    first: Option<u64>,
    /// Offset to length; neighbours are joined.
    regions: BTreeMap<u64, u64>,
    more: bool,
    error: Option<TargetError>,
}

impl Found {
    fn add(&mut self, offset: u64, a: &[u8], b: &[u8]) {
        let grains = a.chunks(GRAIN).zip(b.chunks(GRAIN)).enumerate();
        for (index, (left, right)) in grains.filter(|(_, (left, right))| left != right) {
            let start = offset + (index * GRAIN) as u64;
            let inside = left.iter().zip(right).position(|(x, y)| x != y).unwrap_or(0) as u64;
            self.first = Some(self.first.map_or(start + inside, |first| first.min(start + inside)));
            self.add_region(ByteRange::new(start, left.len() as u64));
        }
    }

    fn add_region(&mut self, mut range: ByteRange) {
        self.bytes += range.len;
        if let Some(len) = self.regions.remove(&range.end()) {
            range.len += len;
        }
        match self.regions.range_mut(..range.offset).next_back() {
            Some((offset, len)) if *offset + *len == range.offset => *len += range.len,
            _ => {
                self.regions.insert(range.offset, range.len);
            }
        }
        if self.regions.len() > MAX_LISTED {
            self.regions.pop_last();
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::MemoryTarget;
    use proptest::prelude::*;

    fn run(a: &MemoryTarget, b: &MemoryTarget) -> Report {
        compare(a, b, &mut |_, _| true).unwrap()
    }

    #[test]
    fn equal_volumes_are_identical_even_when_one_is_larger() {
        let (a, b) = (MemoryTarget::new("a", 5 << 20), MemoryTarget::new("b", (5 << 20) + 512));
        a.write(3 << 20, &[7; 512], false).unwrap();
        b.write(3 << 20, &[7; 512], false).unwrap();
        b.write(5 << 20, &[1; 512], false).unwrap();
        let report = run(&a, &b);
        assert!(report.identical());
        assert_eq!((report.bytes, report.sizes), (5 << 20, (5 << 20, (5 << 20) + 512)));
    }

    #[test]
    fn neighbours_are_joined_across_steps_and_the_first_byte_is_exact() {
        let (a, b) = (MemoryTarget::new("a", 3 << 20), MemoryTarget::new("b", 3 << 20));
        b.write((1 << 20) - 100, &[1; 200], false).unwrap();
        b.write(2 << 20, &[1], false).unwrap();
        let report = run(&a, &b);
        assert_eq!(report.first_difference, Some((1 << 20) - 100));
        assert_eq!(report.regions, [((1 << 20) - 512, 1024), (2 << 20, 512)]);
        assert_eq!((report.differing_bytes, report.more_regions), (1536, false));
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_first() {
        let (a, b) = (MemoryTarget::new("a", 4 << 20), MemoryTarget::new("b", 4 << 20));
        for i in 0..2000 {
            b.write(i * 2048, &[1], false).unwrap();
        }
        let report = run(&a, &b);
        assert_eq!((report.regions.len(), report.more_regions), (MAX_LISTED, true));
        assert_eq!((report.regions[0], report.differing_bytes), ((0, 512), 2000 * 512));
    }

    #[test]
    fn progress_reaches_the_end_and_can_stop_it() {
        let (a, b) = (MemoryTarget::new("a", 64 << 20), MemoryTarget::new("b", 64 << 20));
        let mut last = (0, 0);
        compare(&a, &b, &mut |done, all| {
            last = (done, all);
            true
        })
        .unwrap();
        assert_eq!(last, (64 << 20, 64 << 20));
        let stopped = compare(&a, &b, &mut |_, _| false);
        assert!(matches!(stopped, Err(CompareError::Cancelled)) || stopped.unwrap().identical());
    }

    #[test]
    fn files_of_odd_sizes_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut bytes = vec![3; 10_001];
        std::fs::write(&a, &bytes).unwrap();
        *bytes.last_mut().unwrap() = 4;
        std::fs::write(&b, &bytes).unwrap();
        let (a, b) = (Source::open(&a).unwrap(), Source::open(&b).unwrap());
        let report = compare(&a, &b, &mut |_, _| true).unwrap();
        assert_eq!(report.first_difference, Some(10_000));
        assert_eq!(report.regions, [(9728, 273)]);
        assert!(matches!(Source::open(&dir.path().join("absent")), Err(CompareError::Open { .. })));
    }

    proptest! {
        /// Joining in any order gives the runs of the set of grains.
        #[test]
        fn joining_equals_the_set(mut grains in proptest::collection::btree_set(0u64..60, 0..40).prop_map(|s| s.into_iter().collect::<Vec<_>>()).prop_shuffle()) {
            let mut found = Found::default();
            for grain in &grains {
                found.add_region(ByteRange::new(grain * 512, 512));
            }
            grains.sort_unstable();
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for grain in grains {
                match runs.last_mut() {
                    Some((offset, len)) if *offset + *len == grain * 512 => *len += 512,
                    _ => runs.push((grain * 512, 512)),
                }
            }
            prop_assert_eq!(found.regions.into_iter().collect::<Vec<_>>(), runs);
        }
    }
}

//! A worker's image: brought to one state after the other without a full copy for each.
//!
//! Its *settled* content only grows. A state is put on top of it with a note of what was there, handed to the check, and
//! taken back. How it is handed out is found out by trying (`docs/decisions/0017-crash-states.md`): as a clone that shares
//! its blocks where the file system can do that; otherwise as it is; and when a check writes to it, as a sparse copy
//! from then on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use formats::ByteRange;
use rustix::fs::{Timespec, Timestamps, futimens, ioctl_ficlone};
use tempfile::SpooledTempFile;

use super::ExploreError;
use super::check::{Check, Checked};
use super::log::Log;
use super::plan::{Cut, Fate, Kind};
use crate::change::Content;
use crate::image::{Base, Image, ImageError};

/// Unit in which content is hashed, in bytes.
const UNIT: u64 = 4096;
/// Bytes of old content that are kept in memory; what is more goes to a file.
const OLD_IN_MEMORY: usize = 16 << 20;
/// Bytes that are read and hashed at once.
const PIECE: u64 = 1 << 20;
/// The time that an image has before a check: no write leaves it so.
const UNTOUCHED: i64 = 1;

/// Stands for the content of an image: the sum, over its units, of what their number and content hash to, less that of the
/// base. So it is kept up by looking at what changes only, and is the same whichever way a state came about.
pub(super) type Fingerprint = u128;

/// How states are handed to checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandOut {
    /// As clones that share blocks.
    Clone,
    /// The image itself.
    Itself,
    /// As sparse copies.
    Copy,
}

/// What the workers share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) log: Log,
    pub(super) base: Base,
    pub(super) size: u64,
    pub(super) folder: PathBuf,
    /// A check wrote to its image.
    pub(super) writes: AtomicBool,
}

/// A worker's image.
pub(super) struct Bench {
    common: Arc<Common>,
    image: Image,
    number: usize,
    /// Steps that are settled.
    settled: usize,
    fingerprint: Fingerprint,
    old: Vec<(ByteRange, Option<u64>)>,
    old_content: SpooledTempFile,
    clones: bool,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io { action, path, source }
}

fn create(path: &Path) -> Result<File, ImageError> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    file.map_err(failed("making", path))
}

impl Bench {
    /// A worker's, with the content of the base.
    pub(super) fn new(common: &Arc<Common>, number: usize) -> Result<Self, ImageError> {
        let path = common.folder.join(format!("work-{number}.img"));
        let image = Image::from_base(create(&path)?, &path, &common.base, common.size, &mut |_, _| true)?;
        let mut bench = Self {
            common: Arc::clone(common),
            image,
            number,
            settled: 0,
            fingerprint: 0,
            old: Vec::new(),
            old_content: SpooledTempFile::new(OLD_IN_MEMORY),
            clones: false,
        };
        bench.clones = bench.can_clone();
        Ok(bench)
    }

    fn can_clone(&self) -> bool {
        let path = self.state_path();
        let cloned = create(&path).is_ok_and(|file| ioctl_ficlone(&file, self.image.file()).is_ok());
        // It may not be there.
        let _ = std::fs::remove_file(&path);
        cloned
    }

    fn state_path(&self) -> PathBuf {
        self.common.folder.join(format!("state-{}.img", self.number))
    }

    /// How states are handed to checks.
    pub(super) fn hand_out(&self) -> HandOut {
        match self.common.writes.load(Ordering::Relaxed) {
            _ if self.clones => HandOut::Clone,
            true => HandOut::Copy,
            false => HandOut::Itself,
        }
    }

    /// Settles steps up to that one; they never go back.
    fn settle(&mut self, steps: usize) -> Result<(), ImageError> {
        let common = Arc::clone(&self.common);
        while self.settled < steps {
            let step = &common.log.steps[self.settled];
            common.log.apply(step, &mut |range, content| self.put(range, content, false))?;
            self.settled += 1;
        }
        Ok(())
    }

    /// Brings the image to a state and answers its fingerprint. [`Self::take_back`] must come before the next.
    pub(super) fn set(&mut self, cut: &Cut, fates: &[Fate]) -> Result<Fingerprint, ImageError> {
        self.settle(cut.settled)?;
        let common = Arc::clone(&self.common);
        let mut fates = fates.iter();
        for tail in &cut.tail {
            let fate = match tail.kind {
                Kind::Durable => Fate::Kept,
                _ => fates.next().copied().unwrap_or(Fate::Lost),
            };
            let step = &common.log.steps[tail.step];
            let mut put = |range, content: Content<'_>| self.put(range, content, true);
            match fate {
                Fate::Lost => {}
                Fate::Kept => common.log.apply(step, &mut put)?,
                Fate::Torn(from, to) => common.log.apply_torn(step, from, to, &mut put)?,
            }
        }
        Ok(self.fingerprint)
    }

    /// Puts back what was there before [`Self::set`].
    pub(super) fn take_back(&mut self) -> Result<(), ImageError> {
        for (range, at) in std::mem::take(&mut self.old).into_iter().rev() {
            let before = self.look(range)?;
            match at {
                None => self.image.put(range, Content::Zero)?,
                Some(at) => {
                    let bytes = self.old_bytes(at, range.len as usize)?;
                    self.image.put(range, Content::Bytes(&bytes))?;
                }
            }
            self.fingerprint = self.fingerprint.wrapping_sub(before).wrapping_add(self.look(range)?);
        }
        self.old_content = SpooledTempFile::new(OLD_IN_MEMORY);
        Ok(())
    }

    fn old_bytes(&mut self, at: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        let mut bytes = vec![0; len];
        let read = self.old_content.seek(SeekFrom::Start(at)).and_then(|_| self.old_content.read_exact(&mut bytes));
        read.map(|()| bytes).map_err(failed("reading back", self.image.path()))
    }

    fn put(&mut self, range: ByteRange, content: Content<'_>, keep: bool) -> Result<(), ImageError> {
        if !range.fits(self.image.size()) {
            return Err(ImageError::Beyond { range, size: self.image.size() });
        }
        if keep {
            self.keep_old(range)?;
        }
        let before = self.look(range)?;
        self.image.put(range, content)?;
        self.fingerprint = self.fingerprint.wrapping_sub(before).wrapping_add(self.look(range)?);
        Ok(())
    }

    fn keep_old(&mut self, range: ByteRange) -> Result<(), ImageError> {
        for piece in pieces(range) {
            let mut bytes = vec![0; piece.len as usize];
            self.image.read(piece.offset, &mut bytes)?;
            let at = match bytes.iter().all(|byte| *byte == 0) {
                true => None,
                false => Some(self.keep(&bytes).map_err(failed("keeping content of", self.image.path()))?),
            };
            self.old.push((piece, at));
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        let at = self.old_content.seek(SeekFrom::End(0))?;
        self.old_content.write_all(bytes)?;
        Ok(at)
    }

    /// What the units that a range touches hash to, as they are now.
    fn look(&self, range: ByteRange) -> Result<Fingerprint, ImageError> {
        let (start, end) = (range.offset / UNIT * UNIT, range.end().next_multiple_of(UNIT).min(self.image.size()));
        let mut sum = 0u128;
        for piece in pieces(ByteRange::new(start, end - start)) {
            let mut bytes = vec![0; piece.len as usize];
            self.image.read(piece.offset, &mut bytes)?;
            for (number, unit) in (piece.offset / UNIT..).zip(bytes.chunks(UNIT as usize)) {
                sum = sum.wrapping_add(unit_hash(number, unit));
            }
        }
        Ok(sum)
    }

    /// Runs the check on the state that is set.
    pub(super) fn check(&mut self, check: &Check, stop: &AtomicBool) -> Result<Checked, ExploreError> {
        match self.hand_out() {
            HandOut::Itself => self.check_itself(check, stop),
            HandOut::Clone | HandOut::Copy => {
                let path = self.state_path();
                let copy = self.image.copied_to(create(&path)?, &path, &mut |_, _| !stop.load(Ordering::Relaxed));
                let checked = copy.map_err(ExploreError::from).and_then(|_| Ok(check.run(&path, stop)?));
                std::fs::remove_file(&path).map_err(failed("removing", &path))?;
                checked
            }
        }
    }

    fn check_itself(&mut self, check: &Check, stop: &AtomicBool) -> Result<Checked, ExploreError> {
        let path = self.image.path().to_owned();
        let untouched = Timespec { tv_sec: UNTOUCHED, tv_nsec: 0 };
        let times = Timestamps { last_access: untouched, last_modification: untouched };
        futimens(self.image.file(), &times).map_err(|errno| failed("marking", &path)(errno.into()))?;
        let checked = check.run(&path, stop)?;
        let meta = self.image.file().metadata().map_err(failed("looking at", &path))?;
        if (meta.mtime(), meta.mtime_nsec()) != (UNTOUCHED, 0) {
            self.common.writes.store(true, Ordering::Relaxed);
            self.make_anew()?;
        }
        Ok(checked)
    }

    /// What a check wrote is not known: the image is made again, as it was before the state was set.
    fn make_anew(&mut self) -> Result<(), ImageError> {
        let (common, steps) = (Arc::clone(&self.common), self.settled);
        let path = self.image.path().to_owned();
        self.image = Image::from_base(create(&path)?, &path, &common.base, common.size, &mut |_, _| true)?;
        self.old.clear();
        (self.settled, self.fingerprint) = (0, 0);
        self.settle(steps)
    }

    /// A copy of the state that is set.
    pub(super) fn copy_to(&self, file: File, path: &Path) -> Result<(), ImageError> {
        self.image.copied_to(file, path, &mut |_, _| true).map(drop)
    }
}

/// A unit of zeros, which most are, hashes to nothing.
fn unit_hash(number: u64, unit: &[u8]) -> Fingerprint {
    if unit.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(unit);
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    u128::from_le_bytes(half)
}

fn pieces(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let starts = (range.offset..range.end()).step_by(PIECE as usize);
    starts.map(move |start| ByteRange::new(start, (range.end() - start).min(PIECE)))
}

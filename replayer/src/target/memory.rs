//! A target in memory, for tests, the simulator and the demo without root.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use formats::ByteRange;

use super::{Effect, Target, TargetError, TargetInfo, check_range};

/// Bytes per piece of memory; pieces that were never written take none.
const PIECE: usize = 64 << 10;

/// A sparse volume in memory that can be told to fail or to stand still.
#[derive(Debug)]
pub struct MemoryTarget {
    name: PathBuf,
    size: u64,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pieces: BTreeMap<u64, Box<[u8]>>,
    failing: bool,
    held: bool,
    flushes: u64,
    /// Changes since the last flush and overall.
    changes: u64,
}

impl MemoryTarget {
    /// `size` zero bytes under a name for messages.
    #[must_use]
    pub fn new(name: &str, size: u64) -> Self {
        Self { name: name.into(), size, state: Mutex::default(), released: Condvar::new() }
    }

    /// Whether every change fails from now on, with EIO.
    pub fn set_failing(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// Whether changes wait from now on; releasing lets the waiting ones go on.
    pub fn set_held(&self, held: bool) {
        self.state().held = held;
        self.released.notify_all();
    }

    /// How often it was flushed.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.state().flushes
    }

    /// How many changes it took.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// All its bytes.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.state().read(0, &mut bytes);
        bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state once it may be changed, or the failure that was ordered.
    fn change(&self, action: &'static str, range: ByteRange) -> Result<MutexGuard<'_, State>, TargetError> {
        check_range(&self.name, range, self.size)?;
        let waited = self.released.wait_while(self.state(), |state| state.held);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.failing {
            let source = io::Error::from_raw_os_error(libc::EIO);
            return Err(TargetError::Io { action, range, path: self.name.clone(), source });
        }
        state.changes += 1;
        Ok(state)
    }
}

/// The parts of pieces that a range touches: key of the piece, bytes within it, bytes within the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (key, inside) = (at / PIECE as u64, (at % PIECE as u64) as usize);
        let here = (PIECE - inside).min((end - at) as usize);
        let done = (at - offset) as usize;
        at += here as u64;
        Some((key, inside..inside + here, done..done + here))
    })
}

impl State {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        for (key, inside, outside) in parts(offset, buffer.len()) {
            match self.pieces.get(&key) {
                Some(piece) => buffer[outside].copy_from_slice(&piece[inside]),
                None => buffer[outside].fill(0),
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (key, inside, outside) in parts(offset, bytes.len()) {
            let piece = self.pieces.entry(key).or_insert_with(|| vec![0; PIECE].into_boxed_slice());
            piece[inside].copy_from_slice(&bytes[outside]);
        }
    }

    fn zero(&mut self, range: ByteRange) {
        for (key, inside, _) in parts(range.offset, range.len as usize) {
            if inside.len() == PIECE {
                self.pieces.remove(&key);
            } else if let Some(piece) = self.pieces.get_mut(&key) {
                piece[inside].fill(0);
            }
        }
    }
}

impl Target for MemoryTarget {
    fn info(&self) -> TargetInfo {
        TargetInfo { path: self.name.clone(), kind: "memory", mode: "buffered", size: self.size }
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn block_size(&self) -> Option<u32> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        check_range(&self.name, ByteRange::new(offset, buffer.len() as u64), self.size)?;
        self.state().read(offset, buffer);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], _fua: bool) -> Result<(), TargetError> {
        self.change("writing", ByteRange::new(offset, bytes.len() as u64))?.write(offset, bytes);
        Ok(())
    }

    fn discard(&self, range: ByteRange) -> Result<Effect, TargetError> {
        self.change("discarding", range)?.zero(range);
        Ok(Effect::AsAsked)
    }

    fn write_zeroes(&self, range: ByteRange, _may_unmap: bool) -> Result<Effect, TargetError> {
        self.change("zeroing", range)?.zero(range);
        Ok(Effect::AsAsked)
    }

    fn flush(&self) -> Result<(), TargetError> {
        self.change("flushing", ByteRange::new(0, self.size))?.flushes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the plainest volume there is: one vector.
        #[test]
        fn behaves_like_a_vector(ops in proptest::collection::vec((0..3u8, 0..200_000u64, 0..150_000u64, any::<u8>()), 1..20)) {
            let size = 300_000;
            let (target, mut model) = (MemoryTarget::new("m", size), vec![0u8; size as usize]);
            for (op, offset, len, byte) in ops {
                let (range, len) = (ByteRange::new(offset, len), len as usize);
                let place = offset as usize..(offset as usize + len).min(model.len());
                let fits = range.fits(size);
                let done = match op {
                    0 => target.write(offset, &vec![byte; len], false).is_ok(),
                    1 => target.discard(range).is_ok(),
                    _ => target.write_zeroes(range, true).is_ok(),
                };
                prop_assert_eq!(done, fits);
                if fits {
                    model[place].fill(if op == 0 { byte } else { 0 });
                }
            }
            prop_assert!(target.content() == model);
        }
    }
}

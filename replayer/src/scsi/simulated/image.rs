//! Where the bytes of a simulated disk are: in memory or in a file, sparse in both.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use formats::ByteRange;
use rustix::fs::{FallocateFlags, fallocate};

/// Bytes per piece of memory; pieces that hold zeros alone need none.
const PIECE: u64 = 64 << 10;

/// Bytes by address; what was never written is zero.
#[derive(Debug)]
pub(super) enum Image {
    /// Pieces of memory by number.
    Memory(BTreeMap<u64, Box<[u8]>>),
    /// A file, with holes where nothing is.
    File(File),
}

impl Image {
    /// All zero, in memory.
    pub(super) const fn memory() -> Self {
        Self::Memory(BTreeMap::new())
    }

    /// The file at `path`, made if there is none, of at least `size` bytes.
    pub(super) fn file(path: &Path, size: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < size {
            file.set_len(size)?;
        }
        Ok(Self::File(file))
    }

    /// Makes room up to `size` bytes.
    pub(super) fn grow(&self, size: u64) -> io::Result<()> {
        match self {
            Self::File(file) if file.metadata()?.len() < size => file.set_len(size),
            _ => Ok(()),
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Memory(pieces) => {
                read_pieces(pieces, offset, buffer);
                Ok(())
            }
            Self::File(file) => file.read_exact_at(buffer, offset),
        }
    }

    /// Puts `bytes` at `offset`.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(pieces) => {
                write_pieces(pieces, offset, bytes);
                Ok(())
            }
            Self::File(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Makes a range zero and gives its room back.
    pub(super) fn zero(&mut self, range: ByteRange) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match self {
            Self::Memory(pieces) => {
                zero_pieces(pieces, range);
                Ok(())
            }
            Self::File(file) => {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(file, how, range.offset, range.len).map_err(io::Error::from)
            }
        }
    }
}

/// The parts of pieces that a range touches: number of the piece, bytes within it, bytes within the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done as u64;
        let inside = (at % PIECE) as usize;
        let here = (PIECE as usize - inside).min(len - done);
        let part = (at / PIECE, inside..inside + here, done..done + here);
        done += here;
        Some(part)
    })
}

fn read_pieces(pieces: &BTreeMap<u64, Box<[u8]>>, offset: u64, buffer: &mut [u8]) {
    for (number, inside, outside) in parts(offset, buffer.len()) {
        match pieces.get(&number) {
            Some(piece) => buffer[outside].copy_from_slice(&piece[inside]),
            None => buffer[outside].fill(0),
        }
    }
}

fn write_pieces(pieces: &mut BTreeMap<u64, Box<[u8]>>, offset: u64, bytes: &[u8]) {
    for (number, inside, outside) in parts(offset, bytes.len()) {
        let piece = pieces.entry(number).or_insert_with(|| vec![0; PIECE as usize].into_boxed_slice());
        piece[inside].copy_from_slice(&bytes[outside]);
    }
}

/// Whole pieces are dropped, whether there are any or not: the work is that of the pieces there are.
fn zero_pieces(pieces: &mut BTreeMap<u64, Box<[u8]>>, range: ByteRange) {
    let touched: Vec<u64> = pieces.range(range.offset / PIECE..range.end().div_ceil(PIECE)).map(|(n, _)| *n).collect();
    for number in touched {
        let (from, to) = (range.offset.max(number * PIECE), range.end().min((number + 1) * PIECE));
        if to - from == PIECE {
            pieces.remove(&number);
        } else if let Some(piece) = pieces.get_mut(&number) {
            piece[(from % PIECE) as usize..][..(to - from) as usize].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 300_000;

    fn exercise(mut image: Image, ops: &[(bool, u64, u64, u8)]) {
        let mut model = vec![0u8; SIZE];
        for &(write, offset, len, byte) in ops {
            let place = offset as usize..((offset + len) as usize).min(SIZE);
            if write {
                image.write(offset, &vec![byte; place.len()]).expect("room");
            } else {
                image.zero(ByteRange::new(offset, place.len() as u64)).expect("room");
            }
            model[place].fill(if write { byte } else { 0 });
        }
        let mut content = vec![1; SIZE];
        image.read(0, &mut content).expect("there");
        assert!(content == model);
    }

    proptest! {
        #[test]
        fn both_kinds_behave_like_a_vector(
            ops in proptest::collection::vec((any::<bool>(), 0..200_000u64, 0..150_000u64, any::<u8>()), 1..20)
        ) {
            exercise(Image::memory(), &ops);
            let file = tempfile::NamedTempFile::new().expect("a file");
            exercise(Image::file(file.path(), SIZE as u64).expect("opens"), &ops);
        }
    }
}

//! Where the bytes of a capture go: whole entries at a time, so that a file always ends behind one.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use zstd::bulk::Compressor;

/// Bytes that are collected before they are written.
const ENOUGH: usize = 1 << 20;

/// What is written to.
enum Target {
    /// A file, and how much of it is whole.
    File { file: File, whole: u64 },
    /// A pipe, or whatever else cannot be cut.
    Stream(Box<dyn Write + Send>),
}

/// Collects bytes until [`Output::commit`]. With compression each commit is a zstd frame of its own (RFC 8878): the file
/// can be read up to its last whole frame, and frames can be found without the ones before.
pub struct Output {
    target: Target,
    compressor: Option<Compressor<'static>>,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    /// Into a file, from its beginning. `level` is that of zstd; none for plain bytes.
    ///
    /// # Errors
    /// When the level cannot be had.
    pub fn file(file: File, level: Option<i32>) -> io::Result<Self> {
        Self::new(Target::File { file, whole: 0 }, level)
    }

    /// Into a pipe.
    ///
    /// # Errors
    /// When the level cannot be had.
    pub fn stream(stream: Box<dyn Write + Send>, level: Option<i32>) -> io::Result<Self> {
        Self::new(Target::Stream(stream), level)
    }

    fn new(target: Target, level: Option<i32>) -> io::Result<Self> {
        let compressor = level.map(Compressor::new).transpose()?;
        Ok(Self { target, compressor, buffer: Vec::with_capacity(ENOUGH), written: 0 })
    }

    /// Whether so much is collected that it is time to commit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= ENOUGH
    }

    /// Bytes written, and those that are collected: with compression more than will be written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes what is collected. What lies before is whole.
    ///
    /// # Errors
    /// When the target fails. A file is cut behind the last commit then, and what was collected is gone.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let compressed = self.compressor.as_mut().map(|compressor| compressor.compress(&self.buffer)).transpose()?;
        let bytes = compressed.as_deref().unwrap_or(&self.buffer);
        let written = self.target.write(bytes);
        self.written += if written.is_ok() { bytes.len() as u64 } else { 0 };
        self.buffer.clear();
        written
    }
}

impl Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::File { file, whole } => match file.write_all(bytes) {
                Ok(()) => {
                    *whole += bytes.len() as u64;
                    Ok(())
                }
                Err(error) => {
                    // Part of it may have been written. When cutting fails too, a reader still finds the tail cut.
                    let _ = file.set_len(*whole).and_then(|()| file.seek(SeekFrom::Start(*whole)));
                    Err(error)
                }
            },
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Nothing: only [`Output::commit`] writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_committed_is_there_and_nothing_else() {
        for level in [None, Some(3)] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let mut output = Output::file(file.reopen().expect("opens"), level).expect("a level");
            output.write_all(b"first").expect("collects");
            output.commit().expect("writes");
            output.write_all(b"second").expect("collects");
            let (bytes, read) = (output.bytes(), std::fs::read(file.path()).expect("reads"));
            assert_eq!(bytes, read.len() as u64 + 6);
            let mut whole = Vec::new();
            crate::input::open(file.path()).and_then(|mut input| input.read_to_end(&mut whole)).expect("reads");
            assert_eq!(whole, b"first", "{level:?}");
        }
    }

    #[test]
    fn a_full_disk_leaves_what_was_whole() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output::stream(Box::new(Full), None).expect("no level");
        output.write_all(&[1; 10]).expect("collects");
        assert_eq!(output.commit().expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!((output.bytes(), output.is_full()), (0, false));
    }
}

//! Where the bytes of a capture come from: a file or standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::reader::SECTION_HEADER;

/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes that are read at once.
const AT_ONCE: usize = 1 << 20;
/// Largest window of a frame, as a power of two: what is decoded needs no more memory.
const WINDOW_LOG: u32 = 27;

/// Opens a capture; `-` is standard input.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path == Path::new("-") { plain(io::stdin()) } else { plain(File::open(path)?) }
}

/// Whether there is a capture at this path, by its first bytes: otherwise it is a device, an image or whatever else. What can
/// be read only once is taken for a capture.
///
/// # Errors
/// When there is nothing, or it cannot be read.
pub fn is_capture(path: &Path) -> io::Result<bool> {
    if path == Path::new("-") {
        return Ok(true);
    }
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if kind.is_block_device() || kind.is_char_device() {
        return Ok(false);
    }
    let mut head = Vec::new();
    if kind.is_file() {
        File::open(path)?.take(ZSTD.len() as u64).read_to_end(&mut head)?;
    }
    Ok(!kind.is_file() || head == ZSTD || head == SECTION_HEADER)
}

/// The bytes of `source`, uncompressed. A zstd stream that is cut ends where it was cut.
///
/// # Errors
/// When it cannot be read.
pub fn plain(source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    let mut source = source;
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let compressed = head == ZSTD;
    let source = BufReader::with_capacity(AT_ONCE, io::Cursor::new(head).chain(source));
    if !compressed {
        return Ok(Box::new(source));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(Box::new(Frames { decoder }))
}

/// Frames one after the other; the last one may be cut.
struct Frames<R: BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        plain(io::Cursor::new(bytes))?.read_to_end(&mut all).map(|_| all)
    }

    #[test]
    fn frames_are_joined_and_a_cut_one_is_the_end() {
        let (first, second) = (vec![1; 100_000], vec![2; 300_000]);
        let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("compresses");
        let joined = [frame(&first), frame(&second)].concat();
        assert_eq!(read(joined.clone()).expect("reads"), [first.clone(), second].concat());
        let cut = read(joined[..joined.len() - 3].to_vec()).expect("reads");
        assert!(cut.starts_with(&first) && cut.len() < 400_000);
        assert_eq!(read(vec![7; 3]).expect("reads"), [7; 3]);
        let mut damaged = frame(&[3; 5000]);
        damaged[5] ^= 0xff;
        assert!(read(damaged).is_err());
    }
}

//! Reading regions of the observed volumes back, to be inserted into the stream.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use formats::entry::PayloadInfo;
use formats::{ByteRange, VolumeIndex};

/// Alignment that O_DIRECT may ask for, in bytes: the largest logical block size in use.
const ALIGN: usize = 4096;

/// One volume, for reading only. It is open while it is read and not longer: an open device cannot be stopped or removed
/// by its administrator, and a program that closes it last would no longer have its cached writes flushed.
#[derive(Debug)]
pub struct VolumeReader {
    path: PathBuf,
    /// The device that was found there; none of a tape, which is never opened: opening alone may move it.
    number: Option<u64>,
}

/// A read of the observed device failed.
#[derive(Debug, thiserror::Error)]
#[error("reading {range} of {path}: {source}")]
pub struct RegionError {
    /// The device.
    pub path: PathBuf,
    /// Where.
    pub range: ByteRange,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl VolumeReader {
    /// The reader of what is at `path` now.
    ///
    /// # Errors
    /// The system's, when it cannot be opened.
    pub fn new(path: &Path) -> io::Result<Self> {
        let number = open(path)?.metadata()?.rdev();
        Ok(Self { path: path.to_owned(), number: Some(number) })
    }

    /// Of a tape: it reads nothing, and nothing of it can be read.
    #[must_use]
    pub fn tape(path: &Path) -> Self {
        Self { path: path.to_owned(), number: None }
    }

    /// The bytes of `range`.
    ///
    /// # Errors
    /// Names the device and the range.
    pub fn read(&self, range: ByteRange) -> Result<AlignedBytes, RegionError> {
        let mut bytes = AlignedBytes::new(range.len as usize);
        if self.number.is_none() && range.is_empty() {
            return Ok(bytes);
        }
        let result = self.open().and_then(|file| file.read_exact_at(bytes.as_mut(), range.offset));
        result.map_err(|source| RegionError { path: self.path.clone(), range, source })?;
        Ok(bytes)
    }

    fn open(&self) -> io::Result<File> {
        let number = self.number.ok_or_else(|| io::Error::other("a tape cannot be read while it is in use"))?;
        let file = open(&self.path)?;
        if file.metadata()?.rdev() != number {
            return Err(io::Error::other("another device has this name now; attach again"));
        }
        Ok(file)
    }
}

/// Opens past the page cache where that is possible.
fn open(path: &Path) -> io::Result<File> {
    let direct = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
    match direct {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => File::open(path),
        opened => opened,
    }
}

/// Bytes whose address O_DIRECT accepts.
#[derive(Debug)]
pub struct AlignedBytes {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Self { memory, start, len }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// What an entry says of them: zeros are only said.
    #[must_use]
    pub fn payload(&self) -> PayloadInfo {
        if self.as_slice().chunks(64).all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0) {
            PayloadInfo::ZERO
        } else {
            PayloadInfo::data(self.as_slice())
        }
    }
}

/// What of some ranges could be read.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Where it could, with the content, in the order of the ranges.
    pub read: Vec<(VolumeIndex, ByteRange, AlignedBytes)>,
    /// Where it could not.
    pub failed: Vec<(VolumeIndex, ByteRange)>,
    /// The first error.
    pub error: Option<RegionError>,
}

/// The readers of a group's volumes, by index.
#[derive(Debug, Default)]
pub struct Volumes(pub Vec<VolumeReader>);

impl Volumes {
    /// The bytes of `range` of volume `index`.
    ///
    /// # Errors
    /// As [`VolumeReader::read`]; an index beyond the group is the system's "no such device".
    pub fn read(&self, index: VolumeIndex, range: ByteRange) -> Result<AlignedBytes, RegionError> {
        let Some(volume) = self.0.get(usize::from(index.0)) else {
            let source = io::Error::from_raw_os_error(libc::ENODEV);
            return Err(RegionError { path: PathBuf::from(format!("volume {index}")), range, source });
        };
        volume.read(range)
    }

    /// What can be read of `ranges`; those that cannot be read whole in pieces of `region` bytes, so that one bad block
    /// does not keep what is around it.
    pub fn read_pieces(&self, ranges: &[(VolumeIndex, ByteRange)], region: u32) -> Pieces {
        let mut pieces = Pieces::default();
        for (volume, range) in ranges {
            match self.read(*volume, *range) {
                Ok(content) => pieces.read.push((*volume, *range, content)),
                Err(error) => {
                    pieces.error.get_or_insert(error);
                    parts(*range, u64::from(region)).for_each(|part| self.read_piece(*volume, part, &mut pieces));
                }
            }
        }
        pieces
    }

    fn read_piece(&self, volume: VolumeIndex, range: ByteRange, pieces: &mut Pieces) {
        match self.read(volume, range) {
            Ok(content) => pieces.read.push((volume, range, content)),
            Err(_) => pieces.failed.push((volume, range)),
        }
    }
}

/// A range in parts of at most so many bytes.
fn parts(range: ByteRange, len: u64) -> impl Iterator<Item = ByteRange> {
    let starts = (range.offset..range.end()).step_by(len as usize);
    starts.map(move |start| ByteRange::new(start, len.min(range.end() - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::PayloadEncoding;

    #[test]
    fn reads_a_range_and_tells_zeros() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("image");
        let mut content = vec![0u8; 16384];
        content[8192..12288].fill(7);
        std::fs::write(&path, &content).expect("image");
        let volumes = Volumes(vec![VolumeReader::new(&path).expect("open")]);
        let data = volumes.read(VolumeIndex(0), ByteRange::new(8192, 4096)).expect("read");
        assert_eq!((data.as_slice(), data.payload().encoding), (&content[8192..12288], PayloadEncoding::Data));
        let zero = volumes.read(VolumeIndex(0), ByteRange::new(0, 8192)).expect("read");
        assert_eq!(zero.payload(), PayloadInfo::ZERO);
        assert!(volumes.read(VolumeIndex(0), ByteRange::new(16384, 4096)).is_err());
        assert!(volumes.read(VolumeIndex(1), ByteRange::new(0, 4096)).is_err());
    }

    #[test]
    fn what_is_around_an_unreadable_place_is_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("image");
        std::fs::write(&path, vec![7u8; 20480]).expect("image");
        let volumes = Volumes(vec![VolumeReader::new(&path).expect("open")]);
        let range = |offset, len| (VolumeIndex(0), ByteRange::new(offset, len));
        // Beyond its end there is nothing to be read.
        let pieces = volumes.read_pieces(&[range(0, 4096), range(8192, 20480)], 8192);
        let read: Vec<_> = pieces.read.iter().map(|(volume, range, _)| (*volume, *range)).collect();
        assert_eq!(read, [range(0, 4096), range(8192, 8192)]);
        assert_eq!(pieces.failed, [range(16384, 8192), range(24576, 4096)]);
        assert!(pieces.read.iter().all(|(_, range, content)| content.as_slice() == vec![7; range.len as usize]));
        assert!(pieces.error.is_some_and(|error| error.range == range(8192, 20480).1));
        assert!(volumes.read_pieces(&[range(0, 4096)], 4096).error.is_none());
    }

    #[test]
    fn a_tape_is_never_opened() {
        let reader = VolumeReader::tape(Path::new("/nonexistent/nst0"));
        assert!(reader.read(ByteRange::default()).expect("nothing to read").as_slice().is_empty());
        let refused = reader.read(ByteRange::new(0, 512)).expect_err("refused");
        assert!(refused.to_string().contains("a tape cannot be read"), "{refused}");
    }
}

//! Image files: copied from a base without their zeros, changed, and put in their place when they are whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use formats::ByteRange;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::change::Content;

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
/// Bytes that are copied at once.
const COPY: usize = 1 << 20;
/// Unit in which zeros are left out.
const ZERO_UNIT: usize = 4096;
static ZEROS: [u8; COPY] = [0; COPY];

/// Why an image cannot be made.
#[derive(Error, Debug)]
pub enum ImageError {
    /// The system's answer.
    #[error("{action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The base is not what was captured.
    #[error(
        "the base {} has {have} bytes, and {volume} had {want} when it was captured: name an image or copy of that \
         device, as it was when the capture began", path.display()
    )]
    BaseSize {
        /// The base.
        path: PathBuf,
        /// Its size in bytes.
        have: u64,
        /// The volume's name.
        volume: String,
        /// The captured device's size in bytes.
        want: u64,
    },
    /// The output is there.
    #[error("{} is there already: name another, or say --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The output is a device, a folder or the like.
    #[error(
        "{} is no regular file: what is made is written aside and renamed, so name a file; copy it elsewhere afterwards",
        .0.display()
    )]
    NotAFile(PathBuf),
    /// The output is one of the inputs.
    #[error("{} is an input too: name another file for the output", .0.display())]
    IsInput(PathBuf),
    /// A change that is not on the device.
    #[error("a change of {range} on a device of {size} bytes: the capture is damaged, or the device was resized")]
    Beyond {
        /// Where, in bytes.
        range: ByteRange,
        /// The device's size in bytes.
        size: u64,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room there, or name another place",
        io::ErrorKind::PermissionDenied => "; run as a user who may",
        _ => "",
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io { action, path, source }
}

/// What a volume held when its capture began.
#[derive(Debug)]
pub enum Base {
    /// A file or device.
    File {
        /// It, open for reading.
        file: File,
        /// Its path.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Zeros.
    Blank,
}

impl Base {
    /// Opens a file or device.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(failed("opening", path))?;
        if file.metadata().is_ok_and(|file| file.is_dir()) {
            return Err(failed("opening", path)(Errno::ISDIR.into()));
        }
        let size = seek(&file, SeekFrom::End(0)).map_err(|errno| failed("measuring", path)(errno.into()))?;
        Ok(Self::File { file, path: path.to_owned(), size })
    }

    /// These files and its own: all that is read.
    pub(crate) fn with<'a>(&'a self, files: &'a [PathBuf]) -> Vec<&'a Path> {
        let base = match self {
            Self::File { path, .. } => Some(path.as_path()),
            Self::Blank => None,
        };
        files.iter().map(PathBuf::as_path).chain(base).collect()
    }

    /// Its size in bytes; a blank one has any.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File { size, .. } => Some(*size),
            Self::Blank => None,
        }
    }

    /// Refuses one that cannot be the volume.
    ///
    /// # Errors
    /// Its size is another.
    pub fn check_size(&self, volume: &str, want: u64) -> Result<(), ImageError> {
        match self {
            Self::File { path, size, .. } if *size != want => {
                Err(ImageError::BaseSize { path: path.clone(), have: *size, volume: volume.to_owned(), want })
            }
            _ => Ok(()),
        }
    }
}

/// Told how far a copy is: bytes done, bytes in all; false ends it.
pub type Progress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// A sparse file of a fixed size.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Image {
    /// Makes one in an empty file, with the content of `base`: shared blocks where the file system has them, otherwise
    /// copied without zeros.
    ///
    /// # Errors
    /// The system's, or the interruption.
    pub fn from_base(
        file: File,
        path: &Path,
        base: &Base,
        size: u64,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        ftruncate(&file, size).map_err(|errno| failed("making", path)(errno.into()))?;
        let image = Self { file, path: path.to_owned(), size };
        if let Base::File { file: source, path, .. } = base
            && ioctl_ficlone(&image.file, source).is_err()
        {
            image.copy(source, path, progress)?;
        }
        Ok(image)
    }

    fn copy(&self, source: &File, path: &Path, progress: &mut Progress<'_>) -> Result<(), ImageError> {
        let mut buffer = vec![0; COPY];
        let mut at = 0;
        while let Some((start, end)) = data_at(source, at, self.size).map_err(failed("reading", path))? {
            at = start;
            while at < end {
                let len = (end - at).min(COPY as u64) as usize;
                source.read_exact_at(&mut buffer[..len], at).map_err(failed("reading", path))?;
                self.write_data(at, &buffer[..len]).map_err(failed("writing", &self.path))?;
                at += len as u64;
                if !progress(at, self.size) {
                    return Err(ImageError::Interrupted);
                }
            }
        }
        Ok(())
    }

    /// Writes what is not zero; what was there must be zero.
    fn write_data(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (zero, from, to) in runs(bytes) {
            if !zero {
                self.file.write_all_at(&bytes[from..to], offset + from as u64)?;
            }
        }
        Ok(())
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that it takes on its file system.
    ///
    /// # Errors
    /// The system's.
    pub fn allocated(&self) -> Result<u64, ImageError> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.file.metadata().map_err(failed("looking at", &self.path))?.blocks() * 512)
    }

    /// Puts `content` into `range`. Whole pages of zeros take no room afterwards.
    ///
    /// # Errors
    /// The range is not on the device, or the system's.
    pub fn put(&self, range: ByteRange, content: Content<'_>) -> Result<(), ImageError> {
        self.check(range)?;
        let done = match content {
            Content::Bytes(bytes) => self.write(range.offset, bytes),
            Content::Repeat(pattern) => self.repeat(range, pattern),
            Content::Zero | Content::Discarded => self.zero(range),
        };
        done.map_err(failed("writing", &self.path))
    }

    fn check(&self, range: ByteRange) -> Result<(), ImageError> {
        if range.fits(self.size) { Ok(()) } else { Err(ImageError::Beyond { range, size: self.size }) }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (zero, from, to) in runs(bytes) {
            match zero {
                true => self.zero(ByteRange::new(offset + from as u64, (to - from) as u64))?,
                false => self.file.write_all_at(&bytes[from..to], offset + from as u64)?,
            }
        }
        Ok(())
    }

    fn repeat(&self, range: ByteRange, pattern: &[u8]) -> io::Result<()> {
        let step = pattern.repeat((COPY / pattern.len().max(1)).max(1));
        let mut offset = range.offset;
        while offset < range.end() && !step.is_empty() {
            let len = (range.end() - offset).min(step.len() as u64);
            self.write(offset, &step[..len as usize])?;
            offset += len;
        }
        Ok(())
    }

    fn zero(&self, range: ByteRange) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match fallocate(&self.file, PUNCH, range.offset, range.len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(range),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_zeros(&self, range: ByteRange) -> io::Result<()> {
        let mut offset = range.offset;
        while offset < range.end() {
            let len = (range.end() - offset).min(COPY as u64);
            self.file.write_all_at(&ZEROS[..len as usize], offset)?;
            offset += len;
        }
        Ok(())
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// The range is not on the device, or the system's.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        self.check(ByteRange::new(offset, buffer.len() as u64))?;
        self.file.read_exact_at(buffer, offset).map_err(failed("reading", &self.path))
    }

    /// A copy of it in an empty file.
    ///
    /// # Errors
    /// As [`Self::from_base`].
    pub fn copied_to(&self, file: File, path: &Path, progress: &mut Progress<'_>) -> Result<Self, ImageError> {
        let source = self.file.try_clone().map_err(failed("opening", &self.path))?;
        let base = Base::File { file: source, path: self.path.clone(), size: self.size };
        Self::from_base(file, path, &base, self.size, progress)
    }
}

/// The next stretch of a file that holds data, at or behind `at`; all of a device.
fn data_at(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    if file.metadata()?.file_type().is_block_device() {
        return Ok(Some((at, size)));
    }
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start >= size => Ok(None),
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?.min(size)))),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL) => Ok(Some((at, size))),
        Err(errno) => Err(errno.into()),
    }
}

/// Runs of whole pages that are zero, and of others, by their first byte and the one behind their last.
fn runs(bytes: &[u8]) -> Vec<(bool, usize, usize)> {
    let mut runs: Vec<(bool, usize, usize)> = Vec::new();
    for (index, chunk) in bytes.chunks(ZERO_UNIT).enumerate() {
        let (from, to) = (index * ZERO_UNIT, index * ZERO_UNIT + chunk.len());
        let zero = *chunk == ZEROS[..chunk.len()];
        match runs.last_mut() {
            Some(run) if run.0 == zero => run.2 = to,
            _ => runs.push((zero, from, to)),
        }
    }
    runs
}

/// An output file that is written aside, in the folder where it is to be.
#[derive(Debug)]
pub struct Aside {
    temporary: NamedTempFile,
    output: PathBuf,
    force: bool,
}

impl Aside {
    /// Begins one. Nothing of `output` is touched before [`Self::publish`].
    ///
    /// # Errors
    /// There is something already, or it cannot be written.
    pub fn new(output: &Path, force: bool, inputs: &[&Path]) -> Result<Self, ImageError> {
        check_output(output, force, inputs)?;
        let folder = folder_of(output);
        // As any file that the user makes: the system takes away what the umask says.
        let make = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(path);
        let temporary = tempfile::Builder::new().prefix(".blkecho-").suffix(".part").make_in(folder, make);
        let temporary = temporary.map_err(failed("writing in", folder))?;
        Ok(Self { temporary, output: output.to_owned(), force })
    }

    /// Its file, to be written.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self) -> Result<File, ImageError> {
        self.temporary.as_file().try_clone().map_err(failed("opening", self.path()))
    }

    /// Where it is until it is published.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// The system's, or somebody made a file of that name meanwhile.
    pub fn publish(self) -> Result<(), ImageError> {
        let Self { temporary, output, force } = self;
        temporary.as_file().sync_all().map_err(failed("writing", &output))?;
        let renamed = match force {
            true => temporary.persist(&output),
            false => temporary.persist_noclobber(&output),
        };
        let renamed = renamed.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => ImageError::Exists(output.clone()),
            _ => failed("naming", &output)(error.error),
        });
        renamed.map(drop)?;
        let folder = folder_of(&output);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("writing", folder))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_output(output: &Path, force: bool, inputs: &[&Path]) -> Result<(), ImageError> {
    let Ok(meta) = std::fs::metadata(output) else { return Ok(()) };
    if !meta.is_file() {
        return Err(ImageError::NotAFile(output.to_owned()));
    }
    let same = |input: &&Path| std::fs::canonicalize(input).ok() == std::fs::canonicalize(output).ok();
    if inputs.iter().any(same) {
        return Err(ImageError::IsInput(output.to_owned()));
    }
    if force { Ok(()) } else { Err(ImageError::Exists(output.to_owned())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(size: u64) -> Image {
        let file = tempfile::tempfile().unwrap();
        Image::from_base(file, Path::new("image"), &Base::Blank, size, &mut |_, _| true).unwrap()
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in proptest::collection::vec((0..3u8, 0..40_000u64, 0..30_000u64, 0..2u8), 1..20)) {
            let (image, mut model) = (image(50_000), vec![0u8; 50_000]);
            for (kind, offset, len, byte) in steps {
                let range = ByteRange::new(offset, len);
                let bytes = vec![byte; len as usize];
                let content = match kind {
                    0 => Content::Bytes(&bytes),
                    1 => Content::Repeat(b"abcde"),
                    _ => Content::Zero,
                };
                prop_assert_eq!(image.put(range, content).is_ok(), range.fits(50_000));
                if range.fits(50_000) {
                    let place = &mut model[offset as usize..range.end() as usize];
                    let byte = |at: usize| match kind { 0 => byte, 1 => b"abcde"[at % 5], _ => 0 };
                    place.iter_mut().enumerate().for_each(|(at, to)| *to = byte(at));
                }
            }
            let copy = image.copied_to(tempfile::tempfile().unwrap(), Path::new("copy"), &mut |_, _| true).unwrap();
            for image in [&image, &copy] {
                let mut found = vec![0; 50_000];
                image.read(0, &mut found).unwrap();
                prop_assert!(found == model);
            }
        }
    }

    #[test]
    fn zeros_take_no_room() {
        let image = image(8 << 20);
        image.put(ByteRange::new(0, 4 << 20), Content::Bytes(&vec![0; 4 << 20])).unwrap();
        assert_eq!(image.allocated().unwrap(), 0);
        image.put(ByteRange::new(0, 1 << 20), Content::Bytes(&vec![7; 1 << 20])).unwrap();
        assert!(image.allocated().unwrap() >= 1 << 20);
        image.put(ByteRange::new(0, 1 << 20), Content::Zero).unwrap();
        assert!(image.allocated().unwrap() < 64 << 10);
    }

    #[test]
    fn an_output_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let aside = Aside::new(&output, false, &[]).unwrap();
        drop(aside);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        Aside::new(&output, false, &[]).unwrap().publish().unwrap();
        assert!(matches!(Aside::new(&output, false, &[]), Err(ImageError::Exists(_))));
        assert!(matches!(Aside::new(&output, true, &[&output]), Err(ImageError::IsInput(_))));
        assert!(matches!(Aside::new(folder.path(), true, &[]), Err(ImageError::NotAFile(_))));
        assert!(matches!(Aside::new(Path::new("/dev/null"), true, &[]), Err(ImageError::NotAFile(_))));
        Aside::new(&output, true, &[]).unwrap().publish().unwrap();
        let nowhere = folder.path().join("none/out");
        let error = Aside::new(&nowhere, false, &[]).unwrap_err().to_string();
        assert!(error.ends_with("none: No such file or directory (os error 2)"), "{error}");
        assert!(Base::open(folder.path()).is_err(), "a folder is no base");
    }
}

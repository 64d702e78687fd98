//! The file system: one directory, held by one process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile};
use crate::error::{IoFault, JournalError};

const LOCK_FILE: &str = "lock";
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A directory of the file system, locked for this process for as long as the value lives.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    /// Carries the lock; the kernel drops it with the descriptor, also when the process is killed.
    _lock: File,
}

impl RealDisk {
    /// Makes `dir` (mode 0700) if need be, and locks it.
    ///
    /// # Errors
    /// [`JournalError::InUse`] names the process that has it; [`JournalError::Io`] when the directory cannot be made
    /// or written.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        let dir = std::path::absolute(dir.as_ref()).unwrap_or_else(|_| dir.as_ref().to_path_buf());
        let fault = |doing, source| fault(&dir, doing, source);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| fault("making the directory of", e))?;
        let mut lock = lock_options().open(dir.join(LOCK_FILE)).map_err(|e| fault("opening", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&dir, &mut lock)),
            Err(TryLockError::Error(e)) => return Err(fault("locking", e)),
        }
        note_holder(&mut lock).map_err(|e| fault("writing", e))?;
        Ok(Self { dir, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn fault(dir: &Path, doing: &'static str, source: io::Error) -> JournalError {
    JournalError::Io(IoFault { journal: dir.display().to_string(), doing, file: LOCK_FILE.into(), source })
}

fn lock_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc_nofollow());
    options
}

/// A link planted in the directory must not lead writes elsewhere.
fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}

fn in_use(dir: &Path, lock: &mut File) -> JournalError {
    let mut pid = String::new();
    let holder = match lock.take(32).read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".into(),
    };
    JournalError::InUse { journal: dir.display().to_string(), holder }
}

fn note_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

impl Disk for RealDisk {
    type File = RealFile;

    fn describe(&self) -> String {
        self.dir.display().to_string()
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc_nofollow());
        options.open(self.dir.join(name)).map(RealFile)
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.dir.join(name)).map(RealFile)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.dir.join(name).try_exists()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// A file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        retry(|| self.0.read_at(buf, offset))
    }

    fn pwritev(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        retry(|| Ok(rustix::io::pwritev(&self.0, bufs, offset)?))
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill_with_zeros(len),
            result => Ok(result?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl RealFile {
    /// What a file system without fallocate needs to have the space for certain.
    fn fill_with_zeros(&self, len: u64) -> io::Result<()> {
        let mut at = self.0.metadata()?.len();
        while at < len {
            let now = ZEROS.len().min((len - at) as usize);
            self.0.write_all_at(&ZEROS[..now], at)?;
            at += now as u64;
        }
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_opener_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = RealDisk::new(dir.path()).unwrap();
        let refused = RealDisk::new(dir.path()).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, JournalError::InUse { .. }), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        drop(first);
        RealDisk::new(dir.path()).unwrap();
    }

    #[test]
    fn only_the_owner_may_look_inside() {
        let outer = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(outer.path().join("a/journal")).unwrap();
        disk.create("x").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(disk.dir().to_path_buf()), 0o700);
        assert_eq!((mode(disk.dir().join("x")), mode(disk.dir().join("lock"))), (0o600, 0o600));
    }

    #[test]
    fn zero_filling_reserves_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let file = disk.create("x").unwrap();
        file.pwritev(&[IoSlice::new(b"ab"), IoSlice::new(b"c")], 0).unwrap();
        file.fill_with_zeros(100_000).unwrap();
        file.allocate(100_001).unwrap();
        let mut head = [9; 4];
        assert_eq!((file.pread(&mut head, 0).unwrap(), head), (4, *b"abc\0"));
        assert_eq!(file.len().unwrap(), 100_001);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("x")).unwrap();
        assert!(disk.open("x").is_err());
        assert!(disk.create("x").is_err());
    }
}

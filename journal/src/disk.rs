//! The few operations a journal needs of a file system, cut low so that the journal itself, not a double of it, runs
//! on a faulty disk in tests.

use std::io::{self, IoSlice};
use std::sync::Arc;

/// One directory that holds one journal. Names are plain file names, without separators.
///
/// What must hold: after [`Disk::sync_dir`] returns, all earlier creations, removals and renames survive a power cut.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Where it is, for messages.
    fn describe(&self) -> String;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes a new, empty file; fails when it exists.
    ///
    /// # Errors
    /// Of the file system.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Whether there is a file of this name.
    ///
    /// # Errors
    /// Of the file system.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_dir(&self) -> io::Result<()>;
}

/// A file of a [`Disk`]; all methods may be called from several threads.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file or as the system pleases.
    ///
    /// # Errors
    /// Of the file system.
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes `bufs` one after the other at `offset`; may write fewer bytes than there are. Never called with more
    /// than [`MAX_BUFS`] of them.
    ///
    /// # Errors
    /// Of the file system. What of the bytes is written is then unknown.
    fn pwritev(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Makes everything written so far, and the length, durable. After an error nothing may be assumed of any write
    /// since the last success, not even after a later success.
    ///
    /// # Errors
    /// Of the file system.
    fn fdatasync(&self) -> io::Result<()>;

    /// Reserves space so that writes below `len` cannot run out of it, keeps what is there, and makes the file at
    /// least `len` bytes long.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is not enough.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Most buffers of one vectored write: IOV_MAX of Linux.
pub const MAX_BUFS: usize = 1024;

impl<D: Disk> Disk for Arc<D> {
    type File = D::File;

    fn describe(&self) -> String {
        D::describe(self)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        D::open(self, name)
    }

    fn create(&self, name: &str) -> io::Result<Self::File> {
        D::create(self, name)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        D::exists(self, name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        D::list(self)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        D::remove(self, name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        D::rename(self, from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        D::sync_dir(self)
    }
}

/// Reads until `buf` is full or the file ends; says how many bytes there were.
pub(crate) fn read_up_to<F: DiskFile>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.pread(&mut buf[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Reads exactly `buf.len()` bytes.
pub(crate) fn read_exact<F: DiskFile>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let want = buf.len();
    match read_up_to(file, buf, offset)? {
        n if n == want => Ok(()),
        n => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("file ends at byte {}", offset + n as u64))),
    }
}

/// Overwrites `from..to` with zeros.
pub(crate) fn fill_with_zeros<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; (to - from).min(1 << 20) as usize];
    let mut at = from;
    while at < to {
        let now = (to - at).min(zeros.len() as u64);
        write_all(file, &mut [IoSlice::new(&zeros[..now as usize])], at)?;
        at += now;
    }
    Ok(())
}

/// Writes all of `bufs` at `offset`, in as few calls as the system allows.
pub(crate) fn write_all<F: DiskFile>(file: &F, mut bufs: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut bufs, 0);
    while !bufs.is_empty() {
        let now = bufs.len().min(MAX_BUFS);
        match file.pwritev(&bufs[..now], offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => {
                IoSlice::advance_slices(&mut bufs, n);
                offset += n as u64;
            }
        }
    }
    Ok(())
}

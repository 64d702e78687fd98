//! Loop devices and mounts that go away with their guards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::rig::sparse_file;

/// A loop device and its backing file; both are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
}

impl LoopDevice {
    /// Makes a file of zeros in a folder and a device on it. The page cache lies between them, as a file system in
    /// memory knows no direct I/O.
    pub(crate) fn create(folder: &Path, name: &str, bytes: u64) -> Result<Self> {
        let backing = folder.join(format!("blkecho-{}-{name}", std::process::id()));
        sparse_file(&backing, bytes)?;
        Self::over(backing)
    }

    /// A device over a copy of another one's file, as it is now.
    pub(crate) fn copy_of(other: &Self, folder: &Path) -> Result<Self> {
        let backing = folder.join(format!("blkecho-{}-copy", std::process::id()));
        process::output(Command::new("cp").arg("--sparse=always").args([&other.backing, &backing]))?;
        Self::over(backing)
    }

    /// A device over a file, which goes with it.
    fn over(backing: PathBuf) -> Result<Self> {
        let mut losetup = Command::new("losetup");
        match process::output(losetup.args(["--find", "--show", "--direct-io=off"]).arg(&backing)) {
            Ok(path) => Ok(Self { path: PathBuf::from(path.trim()), backing }),
            Err(error) => {
                let _ = fs::remove_file(&backing);
                Err(error)
            }
        }
    }

    /// `/dev/loopN`
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes back and drops what the page cache holds of the device, so that the next read is of the device.
    pub(crate) fn forget_cached(&self) -> Result<()> {
        process::output(Command::new("blockdev").arg("--flushbufs").arg(&self.path)).map(drop)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = process::output(Command::new("losetup").arg("--detach").arg(&self.path)) {
            eprintln!("xtask: {} stays: {error:#}", self.path.display());
        }
        let _ = fs::remove_file(&self.backing);
    }
}

/// File systems that the runs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filesystem {
    Ext4,
    Xfs,
}

impl Filesystem {
    /// Its name for `mount -t`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Makes it anew on a device.
    pub(crate) fn make(self, device: &Path) -> Result<()> {
        let mut command = match self {
            Self::Ext4 => Command::new("mkfs.ext4"),
            Self::Xfs => Command::new("mkfs.xfs"),
        };
        let force = match self {
            Self::Ext4 => ["-q", "-F"],
            Self::Xfs => ["-q", "-f"],
        };
        process::output(command.args(force).arg(device)).map(drop)
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    folder: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts a device on a folder, which is made if needed.
    pub(crate) fn new(filesystem: Filesystem, device: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        process::output(Command::new("mount").args(["-t", filesystem.name()]).args([device, folder]))?;
        Ok(Self { folder: folder.to_owned(), mounted: true })
    }

    /// Where it is mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells the device which blocks are free.
    pub(crate) fn trim(&self) -> Result<()> {
        process::output(Command::new("fstrim").arg(&self.folder)).map(drop)
    }

    /// Unmounts, with the error that a guard could only print.
    pub(crate) fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        if let Err(error) = process::output(Command::new("umount").arg(&self.folder)) {
            self.mounted = true;
            bail!("{error:#}");
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily, because what still holds a file open is about to be ended by its own guard.
            let _ = process::output(Command::new("umount").arg("--lazy").arg(&self.folder));
        }
    }
}

//! Why the kernel does not take a command, or a node is none for commands.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{MAX_SG_CDB, MIN_SG_CDB};

/// Why a node cannot be used, or a command was not handed to its device.
#[derive(Error, Debug)]
pub enum SgError {
    /// Nothing there.
    #[error("{} does not exist; `lsscsi -g` lists the SCSI devices, and `modprobe sg` makes /dev/sgN", path.display())]
    Missing {
        /// Which path.
        path: PathBuf,
    },
    /// Not a node that takes SCSI commands.
    #[error(
        "{} takes no SCSI commands: name /dev/sgN, /dev/bsg/H:C:T:L, or sg:/dev/sdX for a whole disk (`lsscsi -g`)",
        path.display()
    )]
    NotScsi {
        /// Which path.
        path: PathBuf,
    },
    /// A partition: the kernel would send the commands to the whole disk.
    #[error("{} is a partition, and SCSI commands address the whole disk: name the disk", path.display())]
    Partition {
        /// Which path.
        path: PathBuf,
    },
    /// The user may not open it.
    #[error("no permission to open {} for writing; run as root or give this user access (group disk)", path.display())]
    Denied {
        /// Which path.
        path: PathBuf,
    },
    /// Another process has it open exclusively, or has it open where it must be ours alone.
    #[error("{} is in use by another process (see `fuser -v {}`); stop that first", path.display(), path.display())]
    Busy {
        /// Which path.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open {}: {source}; check the device (kernel log)", path.display())]
    Open {
        /// Which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The CDB is longer than the kernel takes.
    #[error("a CDB of {len} bytes cannot be issued on {}: the kernel takes up to {MAX_SG_CDB}", path.display())]
    CdbTooLong {
        /// Which device.
        path: PathBuf,
        /// Bytes of the CDB.
        len: usize,
    },
    /// The CDB is shorter than any command.
    #[error("a CDB of {len} bytes cannot be issued on {}: the shortest command has {MIN_SG_CDB}", path.display())]
    CdbTooShort {
        /// Which device.
        path: PathBuf,
        /// Bytes of the CDB.
        len: usize,
    },
    /// More data than one command may move here.
    #[error("{len} bytes cannot be moved by one command on {}: its queue takes up to {most}", path.display())]
    TooLarge {
        /// Which device.
        path: PathBuf,
        /// Bytes of the data.
        len: usize,
        /// Bytes that it takes (`queue/max_hw_sectors_kb`).
        most: u32,
    },
    /// The kernel forbids this command to this user (`scsi_cmd_allowed`).
    #[error("the kernel does not let this user send the command to {}; run as root (CAP_SYS_RAWIO)", path.display())]
    Forbidden {
        /// Which device.
        path: PathBuf,
    },
    /// SG_IO does not exist on it.
    #[error(
        "{} does not take SG_IO ({source}): name /dev/sgN of the disk (`lsscsi -g`), and check that no security module \
         blocks the ioctl", path.display()
    )]
    Blocked {
        /// Which device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// All places of the kernel's queue are taken, or it has no memory now: later again.
    #[error("{} has no room for another command now ({source})", path.display())]
    NoRoom {
        /// Which device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel does not take this command: its length, or the size of its data.
    #[error("the kernel does not take the command for {}: {source}", path.display())]
    NotTaken {
        /// Which device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The device is gone, or its error handling gave it up.
    #[error("{} is gone ({source}): attach it again, or bring it online (/sys/class/scsi_device)", path.display())]
    Gone {
        /// Which device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("SG_IO on {}: {source}; check the device (kernel log)", path.display())]
    Failed {
        /// Which device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SgError {
    pub(super) fn opening(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::Denied { path },
            Some(libc::EBUSY | libc::EAGAIN) => Self::Busy { path },
            Some(libc::ENODEV | libc::ENXIO) => Self::Gone { path, source },
            _ => Self::Open { path, source },
        }
    }

    /// What the ioctl's errors mean: drivers/scsi/sg.c, scsi_ioctl.c, scsi_bsg.c.
    pub(super) fn executing(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Self::Gone { path, source },
            Some(libc::ENOTTY | libc::ENOSYS | libc::EOPNOTSUPP) => Self::Blocked { path, source },
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { path },
            Some(libc::EDOM | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Self::NoRoom { path, source },
            Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO) => Self::NotTaken { path, source },
            _ => Self::Failed { path, source },
        }
    }

    /// The error number under which callers that do not know this type look at it.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Missing { .. } => libc::ENOENT,
            Self::NotScsi { .. } | Self::Partition { .. } | Self::Blocked { .. } => libc::ENOTTY,
            Self::Denied { .. } | Self::Forbidden { .. } => libc::EPERM,
            Self::Busy { .. } => libc::EBUSY,
            Self::CdbTooLong { .. } | Self::CdbTooShort { .. } => libc::EMSGSIZE,
            Self::TooLarge { .. } | Self::NotTaken { .. } => libc::EINVAL,
            Self::NoRoom { .. } => libc::EAGAIN,
            Self::Gone { .. } => libc::ENODEV,
            Self::Open { .. } | Self::Failed { .. } => libc::EIO,
        }
    }
}

impl From<SgError> for io::Error {
    /// With the kind of [`SgError::errno`] and the message of the error.
    fn from(error: SgError) -> Self {
        Self::new(Self::from_raw_os_error(error.errno()).kind(), error)
    }
}

/// The error number of an I/O error, also of one that carries an [`SgError`].
#[must_use]
pub fn errno(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<SgError>());
    error.raw_os_error().or_else(|| inner.map(SgError::errno))
}

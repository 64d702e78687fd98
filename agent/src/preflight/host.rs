//! Where this machine's facts are read from.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// The number by which the kernel knows a block device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// From the system's `dev_t`.
    #[must_use]
    pub fn from_dev(dev: u64) -> Self {
        Self { major: major(dev), minor: minor(dev) }
    }

    /// From `MAJOR:MINOR`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Whether it stands for no device: file systems without one, or with several, have major number 0.
    #[must_use]
    pub fn is_anonymous(self) -> bool {
        self.major == 0
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A block device with this number.
    Block(DeviceNumber),
    /// A character device with this number.
    Character(DeviceNumber),
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A socket, pipe, ...
    Other,
}

/// What `stat` tells about a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The path without symbolic links.
    pub canonical: PathBuf,
    /// The device of the file system that it lies on.
    pub device: DeviceNumber,
    /// What it is.
    pub kind: FileKind,
}

/// Looks at one path.
pub type Look = fn(&Path) -> io::Result<FileFacts>;

/// Where to look things up.
#[derive(Clone, Debug)]
pub struct Host {
    /// Mount point of sysfs.
    pub sys: PathBuf,
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// Directory of device nodes.
    pub dev: PathBuf,
    /// How to look at a file.
    pub look: Look,
}

impl Default for Host {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into(), look: look_at }
    }
}

fn look_at(path: &Path) -> io::Result<FileFacts> {
    let canonical = fs::canonicalize(path)?;
    let meta = fs::metadata(&canonical)?;
    let file_type = meta.file_type();
    let kind = match () {
        () if file_type.is_block_device() => FileKind::Block(DeviceNumber::from_dev(meta.rdev())),
        () if file_type.is_char_device() => FileKind::Character(DeviceNumber::from_dev(meta.rdev())),
        () if file_type.is_dir() => FileKind::Directory,
        () if file_type.is_file() => FileKind::Regular,
        () => FileKind::Other,
    };
    Ok(FileFacts { canonical, device: DeviceNumber::from_dev(meta.dev()), kind })
}

impl Host {
    /// The directory of a block device in sysfs, without symbolic links.
    ///
    /// # Errors
    /// The kernel knows no such device.
    pub fn block_dir(&self, number: DeviceNumber) -> io::Result<PathBuf> {
        fs::canonicalize(self.sys.join("dev/block").join(number.to_string()))
    }

    /// The directory of a character device in sysfs, without symbolic links.
    ///
    /// # Errors
    /// The kernel knows no such device.
    pub fn char_dir(&self, number: DeviceNumber) -> io::Result<PathBuf> {
        fs::canonicalize(self.sys.join("dev/char").join(number.to_string()))
    }

    /// The kernel's name of a block device, such as `sda1`.
    ///
    /// # Errors
    /// The kernel knows no such device.
    pub fn block_name(&self, number: DeviceNumber) -> io::Result<String> {
        Ok(name_of(&self.block_dir(number)?))
    }
}

/// The last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The trimmed content of a small file; None when it cannot be read or is empty.
pub(super) fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number in a small file.
pub(super) fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// The device number in a directory's `dev` file.
pub(super) fn device_number(dir: &Path) -> Option<DeviceNumber> {
    DeviceNumber::parse(&text(&dir.join("dev"))?)
}

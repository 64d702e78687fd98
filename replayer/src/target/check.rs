//! Whether a path may be written at all: asked before anything is.
//!
//! A target is refused when it is mounted, swapped to, held by another layer, claimed by another process, read-only,
//! or the file behind a loop device. Everything is read from `/proc` and `/sys`, so it can be tried on made-up trees.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, makedev, minor};
use thiserror::Error;

use super::RawFile;

/// Where to look things up.
#[derive(Clone, Debug)]
pub struct Host {
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// Mount point of sysfs.
    pub sys: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// What a free block device is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Logical block size in bytes.
    pub block_size: u32,
}

/// Something that may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admitted {
    /// A block device.
    Block(Geometry),
    /// A regular file.
    Image,
}

fn remedy_for_missing(path: &Path) -> String {
    match path.starts_with("/dev") {
        true => "`lsblk` lists the devices of this machine".to_owned(),
        false => format!("for an image file create it first with `truncate -s SIZE {}`", path.display()),
    }
}

/// Why a path is not accepted as a target.
#[derive(Error, Debug)]
pub enum CheckError {
    /// Nothing there.
    #[error("{} does not exist; {}", path.display(), remedy_for_missing(path))]
    Missing {
        /// Which path.
        path: PathBuf,
    },
    /// A directory, character device, socket, ...
    #[error("{} is neither a block device nor a regular file: name one of these", path.display())]
    NotATarget {
        /// Which path.
        path: PathBuf,
    },
    /// It takes no SCSI commands, and only for those is there a mapping.
    #[error(
        "{} takes no SCSI commands, so it cannot be mapped: name /dev/sgN, /dev/bsg/H:C:T:L or sg:/dev/sdX, or leave \
         its mapping out", path.display()
    )]
    NotMappable {
        /// Which path.
        path: PathBuf,
    },
    /// It has no bytes.
    #[error("{} is empty: give it at least the size of the primary's volume", path.display())]
    Empty {
        /// Which path.
        path: PathBuf,
    },
    /// It, a partition of it or the disk it lies on is mounted.
    #[error("{} is in use: {device} is mounted on {on}; unmount it first", path.display())]
    Mounted {
        /// Which path.
        path: PathBuf,
        /// The device that is mounted, as `major:minor`.
        device: String,
        /// Where.
        on: String,
    },
    /// It, a partition of it or the disk it lies on is swap space.
    #[error("{} is in use as swap ({swap}); run `swapoff {swap}` first", path.display())]
    Swap {
        /// Which path.
        path: PathBuf,
        /// As `/proc/swaps` names it.
        swap: String,
    },
    /// Another layer (device mapper, md, ...) is built on it.
    #[error("{} is in use: {holder} is built on it; take that apart first (dmsetup remove, mdadm --stop)", path.display())]
    Held {
        /// Which path.
        path: PathBuf,
        /// Name of the block device on top.
        holder: String,
    },
    /// A loop device is attached to it.
    #[error("{} is attached to {device}; name {device} instead, or detach it with `losetup -d {device}`", path.display())]
    Looped {
        /// Which path.
        path: PathBuf,
        /// The loop device.
        device: String,
    },
    /// Another process has claimed or locked it.
    #[error("{} is in use by another process (see `fuser -v {}`); stop that first", path.display(), path.display())]
    Busy {
        /// Which path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{} is read-only; make it writable (blockdev --setrw, remount, chmod) or name another", path.display())]
    ReadOnly {
        /// Which path.
        path: PathBuf,
    },
    /// The user may not open it.
    #[error("no permission to write {}; run as root or give this user access", path.display())]
    Denied {
        /// Which path.
        path: PathBuf,
    },
    /// Something needed for the checks could not be read; what cannot be checked is not written.
    #[error("cannot check whether {} is free: {}: {source}; is /sys and /proc mounted?", path.display(), what.display())]
    Unknown {
        /// Which path.
        path: PathBuf,
        /// What could not be read.
        what: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open {}: {source}; check the device", path.display())]
    Open {
        /// Which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl CheckError {
    pub(super) fn opening(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path },
            Some(libc::EBUSY | libc::ETXTBSY) => Self::Busy { path },
            Some(libc::EROFS) => Self::ReadOnly { path },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { path },
            _ => Self::Open { path, source },
        }
    }
}

/// Locks an opened target against other standbys.
pub(super) fn lock(raw: &RawFile) -> Result<(), CheckError> {
    match raw.lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(CheckError::Busy { path: raw.path().to_owned() }),
        Err(source) => Err(CheckError::opening(raw.path(), source)),
    }
}

/// Whether `path` is a block device or file that nobody uses.
///
/// # Errors
/// Why it must not be written.
pub fn admit(path: &Path, host: &Host) -> Result<Admitted, CheckError> {
    let meta = fs::metadata(path).map_err(|source| CheckError::opening(path, source))?;
    if meta.file_type().is_block_device() {
        check_block(path, meta.rdev(), host).map(Admitted::Block)
    } else if meta.is_file() {
        check_image(path, &meta, host)?;
        Ok(Admitted::Image)
    } else {
        Err(CheckError::NotATarget { path: path.to_owned() })
    }
}

fn check_block(path: &Path, dev: u64, host: &Host) -> Result<Geometry, CheckError> {
    let family = Family::of(path, dev, host)?;
    family.check_mounts()?;
    family.check_swaps()?;
    family.check_holders()?;
    family.check_loops()?;
    let geometry = family.geometry()?;
    claim_briefly(path)?;
    Ok(geometry)
}

fn check_image(path: &Path, meta: &fs::Metadata, host: &Host) -> Result<(), CheckError> {
    if meta.len() == 0 {
        return Err(CheckError::Empty { path: path.to_owned() });
    }
    let same = |other: &fs::Metadata| other.dev() == meta.dev() && other.ino() == meta.ino();
    match loop_over(host, path, same) {
        Some(device) => Err(CheckError::Looped { path: path.to_owned(), device }),
        None => check_swap_file(path, host, same),
    }
}

fn check_swap_file(path: &Path, host: &Host, same: impl Fn(&fs::Metadata) -> bool) -> Result<(), CheckError> {
    let swap = swaps(host).into_iter().find(|swap| fs::metadata(swap).is_ok_and(|meta| same(&meta)));
    swap.map_or(Ok(()), |swap| Err(CheckError::Swap { path: path.to_owned(), swap }))
}

/// Opens with an exclusive claim, which fails while a mount, another layer or another process holds one, and gives it
/// back at once.
fn claim_briefly(path: &Path) -> Result<(), CheckError> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC).open(path);
    opened.map(drop).map_err(|source| CheckError::opening(path, source))
}

/// A device with those that share bytes with it: its partitions, or the disk it is a partition of.
struct Family<'a> {
    path: &'a Path,
    host: &'a Host,
    /// Its own directory in sysfs.
    dir: PathBuf,
    /// The disk's directory, when it is a partition.
    parent: Option<PathBuf>,
    /// The directories of all members, its own first.
    members: Vec<(u64, PathBuf)>,
}

impl<'a> Family<'a> {
    fn of(path: &'a Path, dev: u64, host: &'a Host) -> Result<Self, CheckError> {
        let link = host.sys.join("dev/block").join(format!("{}:{}", major(dev), minor(dev)));
        let dir = fs::canonicalize(&link).map_err(|source| unknown(path, &link, source))?;
        let parent = dir.join("partition").exists().then(|| dir.parent().map(Path::to_owned)).flatten();
        let mut members = vec![(dev, dir.clone())];
        members.extend(parent.iter().cloned().filter_map(|dir| Some((device_number(&dir)?, dir))));
        members.extend(partitions(path, &dir)?);
        Ok(Self { path, host, dir, parent, members })
    }

    fn contains(&self, dev: u64) -> bool {
        self.members.iter().any(|(member, _)| *member == dev)
    }

    fn check_mounts(&self) -> Result<(), CheckError> {
        let file = self.host.proc.join("self/mountinfo");
        let text = fs::read_to_string(&file).map_err(|source| unknown(self.path, &file, source))?;
        match text.lines().filter_map(Mount::parse).find(|mount| self.is_mounted(mount)) {
            Some(mount) => {
                let device = format!("{}:{}", major(mount.dev), minor(mount.dev));
                Err(CheckError::Mounted { path: self.path.to_owned(), device, on: unescape(mount.point) })
            }
            None => Ok(()),
        }
    }

    /// By the device number, or by the source where a file system hides it behind a number of its own (btrfs).
    fn is_mounted(&self, mount: &Mount<'_>) -> bool {
        self.contains(mount.dev)
            || (mount.source.starts_with('/')
                && fs::metadata(unescape(mount.source))
                    .is_ok_and(|meta| meta.file_type().is_block_device() && self.contains(meta.rdev())))
    }

    fn check_swaps(&self) -> Result<(), CheckError> {
        let ours = |swap: &String| {
            fs::metadata(swap).is_ok_and(|meta| meta.file_type().is_block_device() && self.contains(meta.rdev()))
        };
        match swaps(self.host).into_iter().find(ours) {
            Some(swap) => Err(CheckError::Swap { path: self.path.to_owned(), swap }),
            None => Ok(()),
        }
    }

    fn check_holders(&self) -> Result<(), CheckError> {
        for (_, dir) in &self.members {
            if let Some(holder) = first_name(&dir.join("holders")) {
                return Err(CheckError::Held { path: self.path.to_owned(), holder });
            }
        }
        Ok(())
    }

    fn check_loops(&self) -> Result<(), CheckError> {
        let ours = |meta: &fs::Metadata| meta.file_type().is_block_device() && self.contains(meta.rdev());
        match loop_over(self.host, self.path, ours) {
            Some(device) => Err(CheckError::Looped { path: self.path.to_owned(), device }),
            None => Ok(()),
        }
    }

    fn geometry(&self) -> Result<Geometry, CheckError> {
        let read_only = self.number(&self.dir.join("ro"))? != 0;
        let disk = self.parent.as_ref().unwrap_or(&self.dir);
        let block_size = self.number(&disk.join("queue/logical_block_size"))?;
        if read_only {
            return Err(CheckError::ReadOnly { path: self.path.to_owned() });
        }
        if self.number(&self.dir.join("size"))? == 0 {
            return Err(CheckError::Empty { path: self.path.to_owned() });
        }
        Ok(Geometry { block_size: u32::try_from(block_size).unwrap_or(u32::MAX) })
    }

    fn number(&self, file: &Path) -> Result<u64, CheckError> {
        let text = fs::read_to_string(file).map_err(|source| unknown(self.path, file, source))?;
        let bad = |error| unknown(self.path, file, io::Error::new(io::ErrorKind::InvalidData, error));
        text.trim().parse().map_err(bad)
    }
}

fn unknown(path: &Path, what: &Path, source: io::Error) -> CheckError {
    CheckError::Unknown { path: path.to_owned(), what: what.to_owned(), source }
}

/// The partitions below a disk's directory.
fn partitions(path: &Path, dir: &Path) -> Result<Vec<(u64, PathBuf)>, CheckError> {
    let entries = fs::read_dir(dir).map_err(|source| unknown(path, dir, source))?;
    let children = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let parts = children.filter(|child| child.join("partition").exists());
    Ok(parts.filter_map(|child| Some((device_number(&child)?, child))).collect())
}

fn device_number(dir: &Path) -> Option<u64> {
    parse_device(fs::read_to_string(dir.join("dev")).ok()?.trim())
}

fn parse_device(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    dev: u64,
    point: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let dev = parse_device(left.next()?)?;
        let point = left.nth(1)?;
        Some(Self { dev, point, source: right.split(' ').nth(1)? })
    }
}

/// Undoes the octal escapes of procfs (`\040` is a blank).
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes[at..].strip_prefix(b"\\").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Paths of the swap areas; none when the kernel has no swap.
fn swaps(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.proc.join("swaps")).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect()
}

fn first_name(dir: &Path) -> Option<String> {
    let entry = fs::read_dir(dir).ok()?.next()?.ok()?;
    Some(entry.file_name().to_string_lossy().into_owned())
}

/// The loop device whose backing file is the one `same` recognises, or has the path `path`.
fn loop_over(host: &Host, path: &Path, same: impl Fn(&fs::Metadata) -> bool) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir(host.sys.join("block")).ok()?;
    for device in devices.filter_map(Result::ok) {
        let Ok(backing) = fs::read_to_string(device.path().join("loop/backing_file")) else {
            continue;
        };
        let backing = Path::new(backing.trim_end_matches('\n'));
        if backing == path || fs::metadata(backing).is_ok_and(|meta| same(&meta)) {
            return Some(format!("/dev/{}", device.file_name().to_string_lossy()));
        }
    }
    None
}

#[cfg(test)]
mod tests;

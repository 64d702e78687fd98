//! What a named block device is: read from sysfs, nothing is opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use formats::command::Hctl;
use formats::scsi::DeviceType;
use serde::Serialize;
use thiserror::Error;

use super::host::{DeviceNumber, FileKind, Host, device_number, name_of, number, text};
use super::{address, tape};

/// Unit of `size` and `start` in sysfs, whatever the device's own block size is.
const SECTOR: u64 = 512;

/// How the device takes its work, which decides what the probe listens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Through request queues: what is issued is what the device sees.
    RequestBased,
    /// Bio by bio (dm, md, zram, ...).
    BioBased,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestBased => "request-based",
            Self::BioBased => "bio-based",
        })
    }
}

/// A SCSI logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScsiUnit {
    /// Its four numbers.
    pub unit: Hctl,
    /// Its peripheral device type.
    pub device_type: DeviceType,
}

/// A whole disk or a partition of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// The path it was named by.
    pub path: PathBuf,
    /// The kernel's name, such as `sda1`.
    pub name: String,
    /// Its own number.
    pub number: DeviceNumber,
    /// The kernel's name of the disk: its own, or that of the disk it is a partition of.
    pub disk_name: String,
    /// The number of that disk.
    pub disk: DeviceNumber,
    /// Which partition it is; None for a whole disk.
    pub partition: Option<u32>,
    /// Where it starts on the disk, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Smallest unit of addressing, in bytes.
    pub logical_block: u32,
    /// Smallest unit that is written at once, in bytes.
    pub physical_block: u32,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// How it takes its work.
    pub mode: Mode,
    /// Whether it has a volatile write cache, so that flushes matter.
    pub write_cache: bool,
    /// Whether it has moving parts.
    pub rotational: bool,
    /// Whether pages under writeback are kept unchanged.
    pub stable_writes: bool,
    /// Which SCSI logical unit it is on; none on other disks.
    pub scsi: Option<ScsiUnit>,
    /// What its maker calls it.
    pub model: Option<String>,
    /// Its serial number or world-wide name.
    pub serial: Option<String>,
    /// Number that the kernel gave this medium; it never gives it again until the next boot.
    pub diskseq: Option<u64>,
    /// Of a tape: the directory of its logical unit in sysfs. It has no size, no blocks and no disk then.
    pub tape: Option<PathBuf>,
}

/// Why a path is not a device that can be observed.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// Nothing there.
    #[error("no such device: {}; `lsblk` lists those of this machine", path.display())]
    Missing {
        /// Which path.
        path: PathBuf,
    },
    /// No such logical unit.
    #[error("no SCSI device at {}, or no driver serves it; `lsscsi` lists the addresses of this machine", address.display())]
    NoUnit {
        /// As named: host, channel, target and LUN.
        address: PathBuf,
    },
    /// The path cannot be looked at.
    #[error("cannot look at {}: {source}; check its permissions", path.display())]
    Unreadable {
        /// Which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A character device.
    #[error("{} is a character device: name the block device of the disk, such as /dev/sda, or a tape", path.display())]
    Character {
        /// Which path.
        path: PathBuf,
    },
    /// The node of a SCSI device that is no tape.
    #[error(
        "{} is a SCSI node, {device_type}, which cannot be observed by it: name the block device of a disk, such as \
         /dev/sda, or a tape", path.display()
    )]
    Unit {
        /// As named.
        path: PathBuf,
        /// What it is.
        device_type: DeviceType,
    },
    /// A file, directory or other.
    #[error("{} is no block device; for an image file make one with `losetup -f --show {}`", path.display(), path.display())]
    NotBlock {
        /// Which path.
        path: PathBuf,
    },
    /// The node exists, the kernel's device does not.
    #[error("{} ({number}) has no device behind it: it was removed, or /sys is not mounted", path.display())]
    Gone {
        /// Which path.
        path: PathBuf,
        /// The number of the node.
        number: DeviceNumber,
    },
    /// It has no medium.
    #[error("{} has a size of zero: insert a medium or set the device up first", path.display())]
    Empty {
        /// Which path.
        path: PathBuf,
    },
    /// A zoned device.
    #[error("{} is zoned ({model}): its zone operations cannot be copied onto an ordinary disk; name another", path.display())]
    Zoned {
        /// Which path.
        path: PathBuf,
        /// `host-managed` or `host-aware`.
        model: String,
    },
    /// Sysfs lacks something or says something odd.
    #[error("the kernel does not tell {what} of {}: {} is missing or odd; is /sys mounted?", path.display(), file.display())]
    Unknown {
        /// Which path.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// In which file.
        file: PathBuf,
    },
}

impl Device {
    /// What `path` is: a path, a kernel name such as `sda1`, or a SCSI address such as `2:0:0:0`.
    ///
    /// # Errors
    /// It is no block device, has no medium or is zoned.
    pub fn identify(path: &Path) -> Result<Self, DeviceError> {
        Self::identify_on(path, &Host::default())
    }

    /// As [`Self::identify`], on a host of your choice.
    ///
    /// # Errors
    /// As [`Self::identify`].
    pub fn identify_on(path: &Path, host: &Host) -> Result<Self, DeviceError> {
        let path = full_path(path, host)?;
        let facts = (host.look)(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DeviceError::Missing { path: path.clone() },
            _ => DeviceError::Unreadable { path: path.clone(), source },
        })?;
        match facts.kind {
            FileKind::Block(number) => Self::of_number(path, number, host),
            FileKind::Character(number) => tape::identify(path, number, host),
            _ => Err(DeviceError::NotBlock { path }),
        }
    }

    fn of_number(path: PathBuf, number: DeviceNumber, host: &Host) -> Result<Self, DeviceError> {
        let gone = |_| DeviceError::Gone { path: path.clone(), number };
        let dir = host.block_dir(number).map_err(gone)?;
        let entry = Entry { path: &path, disk: disk_dir(&dir), dir: &dir };
        entry.refuse_zoned()?;
        let device = entry.read(number)?;
        if device.size == 0 { Err(DeviceError::Empty { path }) } else { Ok(device) }
    }

    /// Whether it is a whole disk.
    #[must_use]
    pub fn is_whole_disk(&self) -> bool {
        self.partition.is_none()
    }
}

/// A name without a slash that is no file here is a SCSI address, or a name in `/dev`.
fn full_path(path: &Path, host: &Host) -> Result<PathBuf, DeviceError> {
    let bare = path.components().count() == 1 && path.is_relative();
    if !bare || (host.look)(path).is_ok() {
        return Ok(path.to_owned());
    }
    if address::is_address(path) {
        return address::node_of(path, host).ok_or_else(|| DeviceError::NoUnit { address: path.to_owned() });
    }
    Ok(host.dev.join(path))
}

/// The directory of the disk that `dir` is, or is a partition of.
pub(super) fn disk_dir(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if dir.join("partition").exists() => parent,
        _ => dir,
    }
}

/// A device's directory in sysfs, being read.
struct Entry<'a> {
    path: &'a Path,
    dir: &'a Path,
    disk: &'a Path,
}

impl Entry<'_> {
    fn refuse_zoned(&self) -> Result<(), DeviceError> {
        match self.queue_text("zoned") {
            Some(model) if model != "none" => Err(DeviceError::Zoned { path: self.path.to_owned(), model }),
            _ => Ok(()),
        }
    }

    fn read(&self, number: DeviceNumber) -> Result<Device, DeviceError> {
        Ok(Device {
            path: self.path.to_owned(),
            name: name_of(self.dir),
            number,
            disk_name: name_of(self.disk),
            disk: self.required(device_number(self.disk), "the number", &self.disk.join("dev"))?,
            partition: number_in(self.dir, "partition"),
            start: number_in::<u64>(self.dir, "start").unwrap_or(0).saturating_mul(SECTOR),
            size: self.sectors()?.saturating_mul(SECTOR),
            logical_block: self.block_size("logical_block_size")?,
            physical_block: self.block_size("physical_block_size")?,
            read_only: self.is_set("ro"),
            mode: self.mode(),
            write_cache: self.queue_text("write_cache").as_deref() == Some("write back"),
            rotational: self.queue_text("rotational").as_deref() == Some("1"),
            stable_writes: self.queue_text("stable_writes").as_deref() == Some("1"),
            scsi: self.scsi_unit(),
            model: text(&self.disk.join("device/model")),
            serial: self.serial(),
            diskseq: number_in(self.disk, "diskseq"),
            tape: None,
        })
    }

    fn required<T>(&self, value: Option<T>, what: &'static str, file: &Path) -> Result<T, DeviceError> {
        value.ok_or_else(|| DeviceError::Unknown { path: self.path.to_owned(), what, file: file.to_owned() })
    }

    fn queue_text(&self, name: &str) -> Option<String> {
        text(&self.disk.join("queue").join(name))
    }

    fn sectors(&self) -> Result<u64, DeviceError> {
        let file = self.dir.join("size");
        self.required(number(&file), "the size", &file)
    }

    fn block_size(&self, name: &str) -> Result<u32, DeviceError> {
        let file = self.disk.join("queue").join(name);
        let size = number(&file).filter(|size: &u32| size.is_power_of_two() && *size >= 512);
        self.required(size, "the block size", &file)
    }

    /// A disk can be read-only although its partition does not say so.
    fn is_set(&self, name: &str) -> bool {
        [self.dir, self.disk].iter().any(|dir| text(&dir.join(name)).as_deref() == Some("1"))
    }

    /// Hardware queues exist only for request-based devices, device mapper's included.
    fn mode(&self) -> Mode {
        let queues = std::fs::read_dir(self.disk.join("mq")).is_ok_and(|mut queues| queues.next().is_some());
        if queues { Mode::RequestBased } else { Mode::BioBased }
    }

    fn scsi_unit(&self) -> Option<ScsiUnit> {
        let device = self.disk.join("device");
        let subsystem = std::fs::read_link(device.join("subsystem")).ok()?;
        let address = std::fs::read_link(&device).ok()?;
        let unit = parse_hctl(&name_of(&address)).filter(|_| name_of(&subsystem) == "scsi")?;
        Some(ScsiUnit { unit, device_type: DeviceType::from_byte(number_in(&device, "type")?) })
    }

    fn serial(&self) -> Option<String> {
        ["serial", "device/serial", "wwid", "device/wwid"].iter().find_map(|name| text(&self.disk.join(name)))
    }
}

/// `HOST:CHANNEL:TARGET:LUN`, as sysfs names a logical unit.
pub(super) fn parse_hctl(name: &str) -> Option<Hctl> {
    let mut parts = name.split(':');
    let mut next = || parts.next()?.parse::<u32>().ok();
    let (host, channel, id) = (next()?, next()?, next()?);
    let unit = Hctl { host, channel, id, lun: parts.next()?.parse().ok()? };
    parts.next().is_none().then_some(unit)
}

fn number_in<T: std::str::FromStr>(dir: &Path, name: &str) -> Option<T> {
    number(&dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn a_whole_disk() {
        let fake = Fake::new();
        fake.disk("sda", "8:0", 4096).node("/dev/sda", "8:0");
        let device = Device::identify_on(Path::new("/dev/sda"), &fake.host()).unwrap();
        assert_eq!((device.start, device.size, device.logical_block), (0, 4096 * 512, 512));
        assert_eq!((device.disk, device.partition), (device.number, None));
        assert_eq!(device.mode, Mode::RequestBased);
        assert!(device.is_whole_disk());
    }

    #[test]
    fn a_partition_knows_its_disk_and_start() {
        let fake = Fake::new();
        fake.disk("sda", "8:0", 4096).partition("sda", "sda2", "8:2", 2048, 1024).node("/dev/sda2", "8:2");
        let device = Device::identify_on(Path::new("/dev/sda2"), &fake.host()).unwrap();
        assert_eq!((device.start, device.size, device.partition), (1 << 20, 1 << 19, Some(1)));
        assert_eq!((device.disk_name.as_str(), device.disk.to_string().as_str()), ("sda", "8:0"));
    }

    #[test]
    fn a_device_without_queues_is_bio_based() {
        let fake = Fake::new();
        fake.disk("dm-0", "252:0", 8).remove("dm-0/mq").node("/dev/dm-0", "252:0");
        let device = Device::identify_on(Path::new("/dev/dm-0"), &fake.host()).unwrap();
        assert_eq!(device.mode, Mode::BioBased);
    }

    #[test]
    fn what_is_no_usable_device_is_refused_by_name() {
        let fake = Fake::new();
        fake.disk("sda", "8:0", 0).node("/dev/sda", "8:0").node("/dev/old", "9:9").file("/x", "8:1");
        fake.disk("sdz", "65:0", 8).set("sdz/queue/zoned", "host-managed").node("/dev/sdz", "65:0");
        let refused = |path: &str| Device::identify_on(Path::new(path), &fake.host()).unwrap_err();
        assert!(matches!(refused("/dev/sda"), DeviceError::Empty { .. }));
        assert!(matches!(refused("/dev/old"), DeviceError::Gone { .. }));
        assert!(matches!(refused("/dev/none"), DeviceError::Missing { .. }));
        assert!(matches!(refused("/x"), DeviceError::NotBlock { .. }));
        assert!(matches!(refused("/dev/sdz"), DeviceError::Zoned { .. }));
    }

    #[test]
    fn this_machine() {
        let error = Device::identify(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, DeviceError::Character { .. }));
        let error = Device::identify(Path::new("no-such-device")).unwrap_err();
        assert_eq!(error.to_string(), "no such device: /dev/no-such-device; `lsblk` lists those of this machine");
    }
}

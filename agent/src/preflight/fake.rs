//! A made-up machine: a directory that looks like sysfs and procfs, and files on devices of one's choice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::host::{DeviceNumber, FileFacts, FileKind, Host};

thread_local! {
    /// Files of the fake machine of this test's thread.
    static FILES: RefCell<HashMap<PathBuf, (DeviceNumber, FileKind)>> = RefCell::default();
}

fn look(path: &Path) -> io::Result<FileFacts> {
    let found = FILES.with_borrow(|files| files.get(path).copied());
    let (device, kind) = found.ok_or(io::ErrorKind::NotFound)?;
    Ok(FileFacts { canonical: path.to_owned(), device, kind })
}

pub(crate) struct Fake {
    root: TempDir,
}

impl Fake {
    pub(crate) fn new() -> Self {
        FILES.with_borrow_mut(HashMap::clear);
        let fake = Self { root: TempDir::new().unwrap() };
        for dir in ["sys/dev/block", "sys/dev/char", "sys/devices", "sys/fs/btrfs", "proc/self"] {
            fs::create_dir_all(fake.root.path().join(dir)).unwrap();
        }
        fs::write(fake.root.path().join("proc/self/mountinfo"), "").unwrap();
        fake
    }

    pub(crate) fn host(&self) -> Host {
        let root = self.root.path();
        Host { sys: root.join("sys"), proc: root.join("proc"), dev: "/dev".into(), look }
    }

    fn devices(&self) -> PathBuf {
        self.root.path().join("sys/devices")
    }

    /// A disk of so many sectors.
    pub(crate) fn disk(&self, name: &str, number: &str, sectors: u64) -> &Self {
        self.set(&format!("{name}/dev"), number)
            .set(&format!("{name}/size"), &sectors.to_string())
            .set(&format!("{name}/queue/logical_block_size"), "512")
            .set(&format!("{name}/queue/physical_block_size"), "4096")
            .set(&format!("{name}/queue/zoned"), "none")
            .set(&format!("{name}/mq/0/cpu_list"), "0")
            .known(name, number)
    }

    pub(crate) fn partition(&self, disk: &str, name: &str, number: &str, start: u64, sectors: u64) -> &Self {
        let dir = format!("{disk}/{name}");
        self.set(&format!("{dir}/dev"), number)
            .set(&format!("{dir}/partition"), "1")
            .set(&format!("{dir}/start"), &start.to_string())
            .set(&format!("{dir}/size"), &sectors.to_string())
            .known(&dir, number)
    }

    /// `upper` is built on `lower`, given as `DISK` or `DISK/PARTITION`.
    pub(crate) fn slave(&self, upper: &str, lower: &str) -> &Self {
        let dir = self.devices().join(upper).join("slaves");
        fs::create_dir_all(&dir).unwrap();
        let lower = self.devices().join(lower);
        symlink(&lower, dir.join(lower.file_name().unwrap())).unwrap();
        self
    }

    fn known(&self, dir: &str, number: &str) -> &Self {
        let link = self.root.path().join("sys/dev/block").join(number);
        symlink(self.devices().join(dir), link).unwrap();
        self
    }

    /// A file below the directory of devices.
    pub(crate) fn set(&self, file: &str, content: &str) -> &Self {
        let path = self.devices().join(file);
        write(&path, content);
        self
    }

    /// A file below the root: `sys/...` or `proc/...`.
    pub(crate) fn put(&self, file: &str, content: &str) -> &Self {
        write(&self.root.path().join(file), content);
        self
    }

    pub(crate) fn remove(&self, dir: &str) -> &Self {
        fs::remove_dir_all(self.devices().join(dir)).unwrap();
        self
    }

    /// A device node.
    pub(crate) fn node(&self, path: &str, number: &str) -> &Self {
        let kind = FileKind::Block(DeviceNumber::parse(number).unwrap());
        self.remember(path, "0:5", kind)
    }

    /// A SCSI logical unit of this peripheral device type.
    pub(crate) fn unit(&self, address: &str, device_type: u8) -> &Self {
        self.set(&format!("units/{address}/type"), &device_type.to_string());
        let bus = self.root.path().join("sys/bus/scsi");
        fs::create_dir_all(&bus).unwrap();
        symlink(bus, self.devices().join("units").join(address).join("subsystem")).unwrap();
        self
    }

    /// A character device; where it is that of a logical unit, of which.
    pub(crate) fn unit_node(&self, path: &str, number: &str, address: &str) -> &Self {
        let dir = self.devices().join("nodes").join(number);
        fs::create_dir_all(&dir).unwrap();
        symlink(self.devices().join("units").join(address), dir.join("device")).unwrap();
        symlink(&dir, self.root.path().join("sys/dev/char").join(number)).unwrap();
        self.remember(path, "0:5", FileKind::Character(DeviceNumber::parse(number).unwrap()))
    }

    /// A file or directory on the file system of the device with this number.
    pub(crate) fn file(&self, path: &str, on: &str) -> &Self {
        self.remember(path, on, FileKind::Regular)
    }

    fn remember(&self, path: &str, on: &str, kind: FileKind) -> &Self {
        let number = DeviceNumber::parse(on).unwrap();
        FILES.with_borrow_mut(|files| files.insert(path.into(), (number, kind)));
        self
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{content}\n")).unwrap();
}

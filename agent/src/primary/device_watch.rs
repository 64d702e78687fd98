//! Noticing that a device was removed, replaced, resized or made read-only while it is observed.
//!
//! sysfs is read, never the device: that neither blocks nor fails for long when the device is in trouble.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use formats::wire::VolumeKind;
use tracing::{info, warn};

use super::core::{Core, DeviceProblem, VolumeInfo};

/// Unit of `size` in sysfs, whatever the device's own block size is.
const SECTOR: u64 = 512;

/// What has become of a device since it was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// As it was.
    Same,
    /// It is not there any more, or has no medium.
    Gone,
    /// It was gone; what is there now need not hold what it held.
    Replaced,
    /// Another size, in bytes.
    Resized {
        /// When it was attached.
        from: u64,
        /// Now.
        to: u64,
    },
    /// It could be written when it was attached, and cannot now.
    ReadOnly,
}

impl Condition {
    /// Whether nothing of it is replicated any more.
    fn is_lost(self) -> bool {
        matches!(self, Self::Gone | Self::Replaced)
    }

    /// What to tell people; none when all is right.
    fn problem(self, device: &Path) -> Option<String> {
        let device = device.display();
        match self {
            Self::Same => None,
            Self::Gone => Some(format!(
                "{device} was removed: nothing of it is replicated any more; detach, and attach again when it is back"
            )),
            Self::Replaced => Some(format!(
                "{device} was removed, and what has its number now is not what was attached: detach and attach again"
            )),
            Self::Resized { from, to } => Some(format!(
                "{device} was resized from {from} to {to} bytes: detach and attach again; until then the old range is \
                 replicated"
            )),
            Self::ReadOnly => Some(format!(
                "{device} has become read-only: the standby gets no more changes until it can be written again; look \
                 in the kernel's log for the reason"
            )),
        }
    }
}

/// Looks at the devices, and remembers what it saw.
#[derive(Debug, Default)]
pub(super) struct DeviceWatch {
    /// By volume; what has not been looked at is as it was.
    last: Vec<Condition>,
}

impl DeviceWatch {
    /// Looks at all devices; keeps `device_problem` of `core`, and says once in the log what changed.
    pub(super) fn look(&mut self, core: &Core) {
        let problem = self.problem(&core.volumes);
        let Ok(mut known) = core.device_problem.lock() else { return };
        if *known == problem {
            return;
        }
        match &problem {
            Some(problem) => warn!("{}", problem.text),
            None => info!("the observed devices are as they were attached"),
        }
        *known = problem;
    }

    /// What is wrong with the devices now.
    fn problem(&mut self, volumes: &[VolumeInfo]) -> Option<DeviceProblem> {
        self.last.resize(volumes.len(), Condition::Same);
        for (volume, last) in volumes.iter().zip(&mut self.last) {
            // When sysfs cannot tell, nothing is concluded from it.
            *last = condition(volume, *last).unwrap_or(*last);
        }
        let texts: Vec<String> =
            volumes.iter().zip(&self.last).filter_map(|(volume, last)| last.problem(&volume.path)).collect();
        let lost = self.last.iter().any(|last| last.is_lost());
        (!texts.is_empty()).then(|| DeviceProblem { text: texts.join("; "), lost })
    }
}

/// The condition of one device now; none when sysfs cannot tell.
fn condition(volume: &VolumeInfo, last: Condition) -> Option<Condition> {
    if volume.identity.kind == VolumeKind::Sequential {
        return tape_condition(&volume.size);
    }
    let bytes = match number(&volume.size) {
        Ok(sectors) => sectors.saturating_mul(SECTOR),
        Err(error) if is_absence(&error) => return Some(Condition::Gone),
        Err(_) => return None,
    };
    if bytes == 0 {
        return Some(Condition::Gone);
    }
    if is_another(volume, last) {
        return Some(Condition::Replaced);
    }
    if bytes != volume.identity.size {
        return Some(Condition::Resized { from: volume.identity.size, to: bytes });
    }
    let read_only = number(&volume.size.with_file_name("ro")).is_ok_and(|flag| flag == 1);
    Some(if read_only && !volume.read_only { Condition::ReadOnly } else { Condition::Same })
}

/// A tape has no size; it is there as long as its logical unit has a type.
fn tape_condition(device_type: &Path) -> Option<Condition> {
    match number(device_type) {
        Ok(_) => Some(Condition::Same),
        Err(error) if is_absence(&error) => Some(Condition::Gone),
        Err(_) => None,
    }
}

/// Whether the device is not the one that was attached. Kernels before 5.15 do not number disks: there one that was
/// gone is taken for another.
fn is_another(volume: &VolumeInfo, last: Condition) -> bool {
    match &volume.diskseq {
        Some((file, attached)) => number(file).is_ok_and(|now| now != *attached),
        None => last.is_lost(),
    }
}

/// A number in a file of sysfs.
fn number(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(|_| ErrorKind::InvalidData.into())
}

/// Whether a file of sysfs is missing, or belongs to a device that was removed while it was read.
fn is_absence(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NODEV, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use formats::wire::VolumeIdentity;

    use super::*;

    /// A directory that stands for one device's in sysfs.
    struct FakeDevice {
        dir: tempfile::TempDir,
        volume: VolumeInfo,
        watch: DeviceWatch,
    }

    impl FakeDevice {
        /// 8 sectors, writable, number 3 of the kernel's disks.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = |name: &str| dir.path().join(name);
            let volume = VolumeInfo {
                identity: VolumeIdentity::blocks("v", 4096, 512),
                path: PathBuf::from("/dev/v"),
                inflight: file("inflight"),
                size: file("size"),
                diskseq: Some((file("diskseq"), 3)),
                read_only: false,
            };
            let fake = Self { dir, volume, watch: DeviceWatch::default() };
            fake.set("size", "8").set("ro", "0").set("diskseq", "3");
            fake
        }

        fn without_diskseq() -> Self {
            let mut fake = Self::new();
            fake.volume.diskseq = None;
            fake
        }

        fn set(&self, name: &str, text: &str) -> &Self {
            fs::write(self.dir.path().join(name), format!("{text}\n")).unwrap();
            self
        }

        fn remove(&self) {
            fs::remove_file(&self.volume.size).unwrap();
        }

        fn problem(&mut self) -> Option<DeviceProblem> {
            self.watch.problem(std::slice::from_ref(&self.volume))
        }

        fn text(&mut self) -> String {
            self.problem().unwrap().text
        }
    }

    #[test]
    fn an_untouched_device_is_no_problem() {
        assert_eq!(FakeDevice::new().problem(), None);
        assert_eq!(FakeDevice::without_diskseq().problem(), None);
    }

    #[test]
    fn a_resized_device_is_told_until_it_has_its_size_again() {
        let mut fake = FakeDevice::new();
        fake.set("size", "16");
        let problem = fake.problem().unwrap();
        assert!(!problem.lost);
        assert!(problem.text.contains("/dev/v was resized from 4096 to 8192 bytes: detach and attach again"));
        fake.set("size", "4");
        assert!(fake.text().contains("from 4096 to 2048 bytes"));
        fake.set("size", "8");
        assert_eq!(fake.problem(), None);
    }

    #[test]
    fn a_device_that_is_gone_or_empty_is_lost() {
        let mut fake = FakeDevice::new();
        fake.remove();
        let problem = fake.problem().unwrap();
        assert!(problem.lost && problem.text.contains("/dev/v was removed"), "{problem:?}");
        fake.set("size", "0");
        assert_eq!(fake.problem(), Some(problem));
        fake.set("size", "8");
        assert_eq!(fake.problem(), None, "the same disk by its number");
    }

    #[test]
    fn another_disk_under_the_same_number_is_not_the_device() {
        let mut fake = FakeDevice::new();
        fake.set("diskseq", "4");
        let problem = fake.problem().unwrap();
        assert!(problem.lost && problem.text.contains("is not what was attached"), "{problem:?}");
    }

    #[test]
    fn where_disks_are_not_numbered_one_that_was_gone_is_another() {
        let mut fake = FakeDevice::without_diskseq();
        fake.remove();
        assert!(fake.text().contains("was removed: nothing"));
        fake.set("size", "8");
        for _ in 0..2 {
            assert!(fake.text().contains("is not what was attached"));
        }
    }

    #[test]
    fn a_device_that_becomes_read_only_is_told_and_one_that_was_is_not() {
        let mut fake = FakeDevice::new();
        fake.set("ro", "1");
        assert!(fake.text().contains("/dev/v has become read-only"));
        fake.set("ro", "0");
        assert_eq!(fake.problem(), None);
        fake.volume.read_only = true;
        fake.set("ro", "1");
        assert_eq!(fake.problem(), None);
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        let mut fake = FakeDevice::new();
        fake.set("size", "16");
        let problem = fake.problem();
        fake.set("size", "no number");
        assert_eq!(fake.problem(), problem);
    }

    #[test]
    fn the_problems_of_several_devices_are_all_told() {
        let (one, other) = (FakeDevice::new(), FakeDevice::new());
        one.set("size", "16");
        other.remove();
        let problem = DeviceWatch::default().problem(&[one.volume.clone(), other.volume.clone()]).unwrap();
        assert!(problem.lost);
        assert!(problem.text.contains("was resized") && problem.text.contains("; /dev/v was removed"), "{problem:?}");
    }
}

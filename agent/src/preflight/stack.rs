//! Which block devices lie under a path, through any stack of loop devices, partitions, device mapper, md and file
//! systems.
//!
//! Writing the journal writes to the disk that it lies on. If that disk is observed, each journalled write makes another
//! one, without end. So a journal, socket file or capture is refused wherever its path leads to an observed device.
//! What cannot be told is refused as well: [`StackError::Unknown`].

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::device::{Device, disk_dir};
use super::host::{DeviceNumber, FileFacts, FileKind, Host, device_number, name_of, number, text};
use super::mounts::{self, Mount};

/// Places visited for one question: real stacks have a dozen.
const MAX_PLACES: usize = 4096;
/// File systems without a disk of this machine under them.
const DISKLESS: [&str; 21] = [
    "9p",
    "afs",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "hugetlbfs",
    "lustre",
    "nfs",
    "nfs4",
    "proc",
    "ramfs",
    "smb3",
    "sysfs",
    "tmpfs",
    "tracefs",
    "virtiofs",
];
/// Mount options that name a further device a file system writes to.
const MORE_DEVICES: [&str; 3] = ["logdev", "rtdev", "journal_path"];

/// How a path leads to a device, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    steps: Vec<String>,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.join(", "))
    }
}

impl Chain {
    fn with(&self, step: String) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { steps }
    }
}

/// Why a path may not be used, or cannot be judged.
#[derive(Debug, Error)]
pub enum StackError {
    /// It lies on an observed device.
    #[error("{what} would record its own writes: {chain}, and {observed} is observed; put it on another disk")]
    Feedback {
        /// What was to live there: `the journal`, ...
        what: String,
        /// How the path leads to the device.
        chain: Chain,
        /// The observed device.
        observed: String,
    },
    /// It cannot be told what lies under the path.
    #[error("cannot tell which disk is under {}: {why}; name a directory on a plain file system of another disk", path.display())]
    Unknown {
        /// Which path.
        path: PathBuf,
        /// What stopped the search.
        why: String,
    },
}

/// A block device found under a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Under {
    /// Its number.
    pub number: DeviceNumber,
    /// The kernel's name.
    pub name: String,
    /// The disk it lies on: its own number or that of the disk it is a partition of.
    pub disk: DeviceNumber,
    /// Its first 512-byte sector on that disk.
    pub start: u64,
    /// Its size in 512-byte sectors.
    pub sectors: u64,
    /// False for a disk that is here only because one of its partitions is.
    pub written: bool,
    /// How the path leads to it.
    pub chain: Chain,
}

impl Under {
    /// Whether writes to it are writes to `device`.
    fn overlaps(&self, device: &Device) -> bool {
        let (start, end) = (device.start / 512, (device.start + device.size) / 512);
        self.written && self.disk == device.disk && self.start < end && start < self.start.saturating_add(self.sectors)
    }
}

/// All block devices under `path`, each with the way to it. The path need not exist yet: then its closest existing parent
/// decides.
///
/// # Errors
/// [`StackError::Unknown`].
pub fn devices_under(path: &Path, host: &Host) -> Result<Vec<Under>, StackError> {
    let mut search = Search::new(path, host)?;
    search.start()?;
    while let Some((place, chain)) = search.places.pop() {
        search.visit(place, &chain)?;
    }
    Ok(search.found)
}

/// Refuses `path` for `what` (`the journal`, ...) if writing there writes to one of `observed`.
///
/// # Errors
/// [`StackError::Feedback`] with the whole way, or [`StackError::Unknown`].
pub fn refuse_feedback(what: &str, path: &Path, observed: &[Device], host: &Host) -> Result<(), StackError> {
    for under in devices_under(path, host)? {
        if let Some(device) = observed.iter().find(|device| under.overlaps(device)) {
            let observed = device.name.clone();
            return Err(StackError::Feedback { what: what.to_owned(), chain: under.chain, observed });
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Place {
    File(PathBuf),
    Device(DeviceNumber, Written),
}

/// Whether a device is written itself, or only by way of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Written {
    Itself,
    Partition,
}

struct Search<'a> {
    path: &'a Path,
    host: &'a Host,
    mounts: Vec<Mount>,
    places: Vec<(Place, Chain)>,
    seen: HashSet<Place>,
    found: Vec<Under>,
}

impl<'a> Search<'a> {
    fn new(path: &'a Path, host: &'a Host) -> Result<Self, StackError> {
        let why = |error: io::Error| StackError::Unknown {
            path: path.to_owned(),
            why: format!("/proc/self/mountinfo: {error}"),
        };
        let mounts = mounts::read(host).map_err(why)?;
        Ok(Self { path, host, mounts, places: Vec::new(), seen: HashSet::new(), found: Vec::new() })
    }

    fn unknown(&self, why: impl Into<String>) -> StackError {
        StackError::Unknown { path: self.path.to_owned(), why: why.into() }
    }

    /// Begins at the path, or at its closest parent that exists.
    fn start(&mut self) -> Result<(), StackError> {
        let chain = Chain { steps: Vec::new() };
        let mut at = std::path::absolute(self.path).map_err(|error| self.unknown(error.to_string()))?;
        loop {
            match (self.host.look)(&at) {
                Ok(facts) => return self.visit_facts(&facts, self.path, &chain),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.unknown(format!("{}: {error}", at.display()))),
            }
            if !at.pop() {
                return Err(self.unknown("none of its parents exists"));
            }
        }
    }

    fn push(&mut self, place: Place, chain: Chain) -> Result<(), StackError> {
        if self.seen.len() >= MAX_PLACES {
            return Err(self.unknown("the stack of devices has no end"));
        }
        if self.seen.insert(place.clone()) {
            self.places.push((place, chain));
        }
        Ok(())
    }

    fn visit(&mut self, place: Place, chain: &Chain) -> Result<(), StackError> {
        match place {
            Place::File(path) => {
                let facts =
                    (self.host.look)(&path).map_err(|error| self.unknown(format!("{}: {error}", path.display())))?;
                self.visit_facts(&facts, &path, chain)
            }
            Place::Device(number, written) => self.visit_device(number, written, chain),
        }
    }

    /// Goes from a file to the devices of its file system, or from a device node to its device.
    fn visit_facts(&mut self, facts: &FileFacts, path: &Path, chain: &Chain) -> Result<(), StackError> {
        if let FileKind::Block(number) = facts.kind {
            let step = self.step(path, "is", number);
            return self.push(Place::Device(number, Written::Itself), chain.with(step));
        }
        let mount = mounts::over(&self.mounts, &facts.canonical).cloned();
        if let Some(mount) = &mount {
            self.follow_options(mount, path, chain)?;
        }
        if !facts.device.is_anonymous() {
            let step = self.step(path, "is on", facts.device);
            return self.push(Place::Device(facts.device, Written::Itself), chain.with(step));
        }
        match mount {
            Some(mount) => self.follow_anonymous(&mount, path, chain),
            None => Err(self.unknown(format!("{} is on no mounted file system that is visible here", path.display()))),
        }
    }

    fn step(&self, path: &Path, relation: &str, number: DeviceNumber) -> String {
        let name = self.host.block_name(number).unwrap_or_else(|_| number.to_string());
        format!("{} {relation} {name}", path.display())
    }

    /// Further devices of a file system: journals and real-time sections.
    fn follow_options(&mut self, mount: &Mount, path: &Path, chain: &Chain) -> Result<(), StackError> {
        for name in MORE_DEVICES {
            if let Some(device) = mount.option(name) {
                let step = format!("{} is on a file system with {name} {device}", path.display());
                self.push(Place::File(device.into()), chain.with(step))?;
            }
        }
        Ok(())
    }

    /// A file system whose `st_dev` tells no device.
    fn follow_anonymous(&mut self, mount: &Mount, path: &Path, chain: &Chain) -> Result<(), StackError> {
        match mount.kind.as_str() {
            kind if DISKLESS.contains(&kind) => Ok(()),
            "overlay" => self.follow_overlay(mount, path, chain),
            "btrfs" => self.follow_btrfs(mount, path, chain),
            _ => self.follow_source(mount, path, chain),
        }
    }

    fn follow_overlay(&mut self, mount: &Mount, path: &Path, chain: &Chain) -> Result<(), StackError> {
        for name in ["upperdir", "workdir"] {
            if let Some(dir) = mount.option(name) {
                let step = format!("{} is on an overlay with {name} {dir}", path.display());
                self.push(Place::File(dir.into()), chain.with(step))?;
            }
        }
        Ok(())
    }

    /// A btrfs may have many devices; sysfs lists them by the name of any.
    fn follow_btrfs(&mut self, mount: &Mount, path: &Path, chain: &Chain) -> Result<(), StackError> {
        let members = self.btrfs_members(mount);
        if members.is_empty() {
            return self.follow_source(mount, path, chain);
        }
        for number in members {
            let step = self.step(path, "is on a btrfs over", number);
            self.push(Place::Device(number, Written::Itself), chain.with(step))?;
        }
        Ok(())
    }

    fn btrfs_members(&self, mount: &Mount) -> Vec<DeviceNumber> {
        let Ok(facts) = (self.host.look)(Path::new(&mount.source)) else { return Vec::new() };
        let FileKind::Block(number) = facts.kind else { return Vec::new() };
        let all = entries(&self.host.sys.join("fs/btrfs"));
        let numbers =
            |dir: &PathBuf| entries(&dir.join("devices")).iter().filter_map(|dir| device_number(dir)).collect();
        let mut file_systems = all.iter().map(numbers);
        file_systems.find(|numbers: &Vec<_>| numbers.contains(&number)).unwrap_or_default()
    }

    /// The last resort: the source that was mounted names devices (bcachefs: several, with colons between).
    fn follow_source(&mut self, mount: &Mount, path: &Path, chain: &Chain) -> Result<(), StackError> {
        for source in mount.source.split(':') {
            let facts = (self.host.look)(Path::new(source)).ok();
            let Some(FileKind::Block(number)) = facts.map(|facts| facts.kind) else {
                return Err(self.unknown(format!("{} is a {} of {source}", mount.point.display(), mount.kind)));
            };
            let step = self.step(path, "is on", number);
            self.push(Place::Device(number, Written::Itself), chain.with(step))?;
        }
        Ok(())
    }

    fn visit_device(&mut self, number: DeviceNumber, written: Written, chain: &Chain) -> Result<(), StackError> {
        let dir = self.host.block_dir(number).map_err(|error| self.unknown(format!("device {number}: {error}")))?;
        let disk = disk_dir(&dir);
        self.found.push(under(number, &dir, disk, written, chain));
        if disk != dir {
            self.follow_partition(&dir, disk, chain)?;
        }
        self.follow_slaves(&dir, chain)?;
        self.follow_file(&dir, "loop/backing_file", "whose backing file is", chain)?;
        self.follow_file(&dir, "backing_dev", "whose backing device is", chain)
    }

    fn follow_partition(&mut self, dir: &Path, disk: &Path, chain: &Chain) -> Result<(), StackError> {
        let Some(number) = device_number(disk) else {
            return Err(self.unknown(format!("{} has no number", disk.display())));
        };
        let step = format!("{} is a partition of {}", name_of(dir), name_of(disk));
        self.push(Place::Device(number, Written::Partition), chain.with(step))
    }

    fn follow_slaves(&mut self, dir: &Path, chain: &Chain) -> Result<(), StackError> {
        for slave in entries(&dir.join("slaves")) {
            let Some(number) = device_number(&slave) else {
                return Err(self.unknown(format!("{} has no number", slave.display())));
            };
            let step = format!("{} is built on {}", name_of(dir), name_of(&slave));
            self.push(Place::Device(number, Written::Itself), chain.with(step))?;
        }
        Ok(())
    }

    fn follow_file(&mut self, dir: &Path, attribute: &str, words: &str, chain: &Chain) -> Result<(), StackError> {
        match text(&dir.join(attribute)) {
            None => Ok(()),
            Some(file) if file == "none" => Ok(()),
            Some(file) if file.ends_with(" (deleted)") => {
                Err(self.unknown(format!("the backing file of {} was deleted", name_of(dir))))
            }
            Some(file) => {
                let step = format!("{words} {file}");
                self.push(Place::File(file.into()), chain.with(step))
            }
        }
    }
}

fn under(number: DeviceNumber, dir: &Path, disk: &Path, written: Written, chain: &Chain) -> Under {
    Under {
        number,
        name: name_of(dir),
        disk: device_number(disk).unwrap_or(number),
        start: self::number(&dir.join("start")).unwrap_or(0),
        sectors: self::number(&dir.join("size")).unwrap_or(u64::MAX),
        written: written == Written::Itself,
        chain: chain.clone(),
    }
}

/// The entries of a directory, symbolic links resolved, in order of their names. Empty if there is none.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn observed(fake: &Fake, path: &str) -> Vec<Device> {
        vec![Device::identify_on(Path::new(path), &fake.host()).unwrap()]
    }

    fn judge(fake: &Fake, path: &str, device: &str) -> Result<(), StackError> {
        refuse_feedback("the journal", Path::new(path), &observed(fake, device), &fake.host())
    }

    fn refusal(fake: &Fake, path: &str, device: &str) -> String {
        judge(fake, path, device).unwrap_err().to_string()
    }

    /// sda with sda1 and sda2, sdb.
    fn disks() -> Fake {
        let fake = Fake::new();
        fake.disk("sda", "8:0", 10000)
            .partition("sda", "sda1", "8:1", 1000, 2000)
            .partition("sda", "sda2", "8:2", 3000, 2000)
            .disk("sdb", "8:16", 10000);
        for (path, number) in [("/dev/sda", "8:0"), ("/dev/sda1", "8:1"), ("/dev/sda2", "8:2"), ("/dev/sdb", "8:16")] {
            fake.node(path, number);
        }
        fake
    }

    #[test]
    fn a_partition_of_the_same_disk_matters_only_if_it_is_observed() {
        let fake = disks();
        fake.file("/var", "8:2");
        judge(&fake, "/var/lib/new", "/dev/sda1").unwrap();
        judge(&fake, "/var/lib/new", "/dev/sdb").unwrap();
        assert!(refusal(&fake, "/var/lib/new", "/dev/sda2").contains("/var/lib/new is on sda2"));
        assert!(refusal(&fake, "/var/lib/new", "/dev/sda").contains("/var/lib/new is on sda2"));
    }

    #[test]
    fn a_file_system_on_the_whole_disk_covers_its_partitions() {
        let fake = disks();
        fake.file("/data", "8:0");
        assert!(judge(&fake, "/data", "/dev/sda1").is_err());
    }

    #[test]
    fn a_loop_device_leads_to_its_backing_file() {
        let fake = disks();
        fake.disk("loop3", "7:3", 800).set("loop3/loop/backing_file", "/data/disk.img");
        fake.file("/data/disk.img", "8:2").file("/mnt", "7:3").node("/dev/loop3", "7:3");
        let text = refusal(&fake, "/mnt/x", "/dev/sda");
        assert!(
            text.contains("/mnt/x is on loop3, whose backing file is /data/disk.img, /data/disk.img is on sda2"),
            "{text}"
        );
        judge(&fake, "/mnt/x", "/dev/sda1").unwrap();
        // The other way round: an observed loop device does not see what is written beside its file.
        judge(&fake, "/data/disk.img", "/dev/loop3").unwrap();
    }

    #[test]
    fn a_deleted_backing_file_cannot_be_judged() {
        let fake = disks();
        fake.disk("loop3", "7:3", 800).set("loop3/loop/backing_file", "/data/x (deleted)").file("/mnt", "7:3");
        assert!(refusal(&fake, "/mnt", "/dev/sda").contains("the backing file of loop3 was deleted"));
    }

    #[test]
    fn device_mapper_and_md_lead_to_what_they_are_built_on() {
        let fake = disks();
        fake.disk("md0", "9:0", 500).slave("md0", "sda/sda1").slave("md0", "sdb");
        fake.disk("dm-0", "252:0", 100).slave("dm-0", "md0").file("/lv", "252:0");
        let text = refusal(&fake, "/lv/journal", "/dev/sdb");
        assert!(text.contains("/lv/journal is on dm-0, dm-0 is built on md0, md0 is built on sdb"), "{text}");
        assert!(judge(&fake, "/lv", "/dev/sda1").is_err());
        judge(&fake, "/lv", "/dev/sda2").unwrap();
    }

    #[test]
    fn an_overlay_leads_to_its_upper_directory() {
        let fake = disks();
        fake.put(
            "proc/self/mountinfo",
            "1 0 0:40 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/up,workdir=/overlay-work",
        );
        fake.file("/merged/x", "0:40").file("/up", "8:16").file("/overlay-work", "8:16").file("/l", "8:2");
        judge(&fake, "/merged/x", "/dev/sda").unwrap();
        assert!(refusal(&fake, "/merged/x", "/dev/sdb").contains("an overlay with"));
    }

    #[test]
    fn an_overlay_whose_upper_directory_is_out_of_sight_is_refused() {
        let fake = disks();
        fake.put("proc/self/mountinfo", "1 0 0:40 / / rw - overlay overlay rw,upperdir=/host/up").file("/x", "0:40");
        assert!(matches!(judge(&fake, "/x", "/dev/sda"), Err(StackError::Unknown { .. })));
    }

    #[test]
    fn a_btrfs_has_all_its_devices() {
        let fake = disks();
        fake.put("proc/self/mountinfo", "1 0 0:50 /sub /b rw - btrfs /dev/sda1 rw,subvolid=5").file("/b", "0:51");
        assert!(judge(&fake, "/b", "/dev/sda1").is_err());
        fake.put("sys/fs/btrfs/uuid/devices/sda1/dev", "8:1").put("sys/fs/btrfs/uuid/devices/sdb/dev", "8:16");
        assert!(refusal(&fake, "/b", "/dev/sdb").contains("a btrfs over sdb"));
        judge(&fake, "/b", "/dev/sda2").unwrap();
    }

    #[test]
    fn memory_has_no_disk_and_strangers_are_refused() {
        let fake = disks();
        fake.put("proc/self/mountinfo", "1 0 0:9 / /run rw - tmpfs tmpfs rw\n2 0 0:8 / /z rw - zfs pool/z rw");
        fake.file("/run", "0:9").file("/z", "0:8");
        judge(&fake, "/run/blkecho/x.sock", "/dev/sda").unwrap();
        assert!(refusal(&fake, "/z", "/dev/sda").contains("/z is a zfs of pool/z"));
    }

    #[test]
    fn an_external_log_device_counts() {
        let fake = disks();
        fake.put("proc/self/mountinfo", "1 0 8:16 / /x rw - xfs /dev/sdb rw,logdev=/dev/sda2").file("/x", "8:16");
        assert!(refusal(&fake, "/x", "/dev/sda2").contains("logdev /dev/sda2"));
    }

    #[test]
    fn a_circle_ends() {
        let fake = disks();
        fake.disk("loop1", "7:1", 8).set("loop1/loop/backing_file", "/mnt/a").file("/mnt/a", "7:1");
        judge(&fake, "/mnt/a", "/dev/sda").unwrap();
    }

    #[test]
    fn this_machine_can_be_judged() {
        let host = Host::default();
        let found = devices_under(Path::new("/proc/self"), &host).unwrap();
        assert_eq!(found, []);
    }
}

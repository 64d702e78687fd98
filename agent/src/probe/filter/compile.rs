//! From a filter in words to what the probe looks at, and to the ranges that are replicated.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use formats::ByteRange;
use formats::scsi::opcode::{Class, rows};
use formats::scsi::{DeviceType, Devices};
use probe_types::filter::{self as kernel, FilterRange, MAX_CGROUPS, MAX_COMMS, MAX_PIDS, MAX_RANGES, kind};

use super::{CommandClass, Filter, FilterError, Group, LbaRange, Operation, TaskName};

/// Where cgroup2 is mounted: alone, or beside the older hierarchies.
const CGROUP_MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// `CGROUP2_SUPER_MAGIC` (include/uapi/linux/magic.h).
const CGROUP2: i64 = 0x6367_7270;

/// A volume, as far as a filter asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of its logical blocks; 0 where it has none.
    pub block: u32,
    /// Peripheral device type of its logical unit, where its SCSI commands are captured.
    pub device: Option<DeviceType>,
}

impl Observable<'_> {
    /// Its last LBA; none where it has none.
    fn last(&self) -> Option<u64> {
        self.size.checked_div(u64::from(self.block))?.checked_sub(1)
    }
}

/// A filter for certain volumes on the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What the probe looks at.
    pub kernel: kernel::Filter,
    /// The filter in words, with everything that had to be looked up; empty for an empty filter.
    pub text: String,
    /// Whether changes within the ranges are dropped.
    pub drops_changes: bool,
    /// Per volume: the ranges that are captured, in order and apart; none for the whole volume.
    pub ranges: Vec<Option<Vec<ByteRange>>>,
}

impl Rules {
    /// Whether everything is let through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kernel.kinds == 0
    }
}

impl Filter {
    /// Makes the rules for these volumes. `operation` tells the kernel's number of a REQ_OP_*.
    ///
    /// # Errors
    /// Names the value that cannot be used, and why.
    pub fn compile(
        &self,
        volumes: &[Observable<'_>],
        operation: impl Fn(&str) -> Option<u64>,
    ) -> Result<Rules, FilterError> {
        self.check_counts()?;
        self.check_opcodes(volumes)?;
        let resolved = self.resolve_groups()?;
        let mut rules = Rules {
            kernel: kernel::Filter { kinds: self.kinds(), ..kernel::Filter::default() },
            text: resolved.to_string(),
            drops_changes: self.drops_changes(),
            ranges: vec![None; volumes.len()],
        };
        resolved.add_tasks(&mut rules.kernel);
        rules.kernel.operations = self.operation_bits(operation);
        rules.kernel.opcodes = self.opcode_bits(volumes);
        for (at, range) in self.lbas.iter().enumerate() {
            let (volume, bytes) = place(range, volumes)?;
            rules.kernel.ranged |= 1 << volume;
            rules.kernel.ranges[at] =
                FilterRange { first: bytes.offset >> 9, end: bytes.end() >> 9, volume: volume as u32, pad: 0 };
            rules.ranges[volume].get_or_insert_default().push(bytes);
        }
        rules.ranges.iter_mut().flatten().for_each(join);
        Ok(rules)
    }

    fn kinds(&self) -> u32 {
        let set = |kind, any: bool| if any { kind } else { 0 };
        set(kind::RANGE, !self.lbas.is_empty())
            | set(kind::OPERATION, !self.operations.is_empty() || !self.classes.is_empty())
            | set(kind::OPCODE, !self.opcodes.is_empty() || !self.classes.is_empty())
            | set(kind::COMM, !self.comms.is_empty())
            | set(kind::PID, !self.pids.is_empty())
            | set(kind::CGROUP, !self.cgroups.is_empty())
    }

    fn check_counts(&self) -> Result<(), FilterError> {
        let counts = [
            ("--lba", self.lbas.len(), MAX_RANGES),
            ("--comm", self.comms.len(), MAX_COMMS),
            ("--pid", self.pids.len(), MAX_PIDS),
            ("--cgroup", self.cgroups.len(), MAX_CGROUPS),
        ];
        if let Some((flag, count, max)) = counts.into_iter().find(|(_, count, max)| count > max) {
            return Err(FilterError::TooMany { flag, count, max });
        }
        if self.pids.contains(&0) { Err(FilterError::NoProcess) } else { Ok(()) }
    }

    fn check_opcodes(&self, volumes: &[Observable<'_>]) -> Result<(), FilterError> {
        match volumes.iter().find(|volume| !self.opcodes.is_empty() && volume.device.is_none()) {
            Some(volume) => Err(FilterError::NoScsi { volume: volume.name.to_owned() }),
            None => Ok(()),
        }
    }

    fn resolve_groups(&self) -> Result<Self, FilterError> {
        let ids = self.cgroups.iter().map(|group| group_id(group).map(Group::Id));
        Ok(Self { cgroups: ids.collect::<Result<_, _>>()?, ..self.clone() })
    }

    fn add_tasks(&self, rules: &mut kernel::Filter) {
        let words = |name: &TaskName| {
            let bytes = name.bytes();
            let (words, _) = bytes.as_chunks();
            [0, 1].map(|at| words.get(at).copied().map_or(0, u64::from_ne_bytes))
        };
        fill(&mut rules.comms, self.comms.iter().map(words));
        fill(&mut rules.pids, self.pids.iter().copied());
        let id = |group: &Group| if let Group::Id(id) = group { Some(*id) } else { None };
        fill(&mut rules.cgroups, self.cgroups.iter().filter_map(id));
    }

    fn operation_bits(&self, number: impl Fn(&str) -> Option<u64>) -> u64 {
        let bits =
            |names: &[&str]| names.iter().filter_map(|name| number(name)).fold(0, |bits, op| bits | 1 << (op & 63));
        let named = self.operations.iter().fold(0, |all, operation| all | bits(names_of(*operation)));
        let classes = self.classes.iter().fold(0, |all, class| all | bits(names_of_class(*class)));
        // The class of what a program sends is told by its operation code.
        let classes = classes | bits(names_of(Operation::Passthrough));
        both(!self.operations.is_empty(), named, !self.classes.is_empty(), classes)
    }

    fn opcode_bits(&self, volumes: &[Observable<'_>]) -> [u64; 4] {
        let types = volumes.iter().filter_map(|volume| volume.device).fold(Devices::empty(), |all, d| all | d.set());
        let in_class = |opcode| self.classes.iter().any(|class| is_of_class(opcode, *class, types));
        let lets = |opcode: u8| {
            let named = self.opcodes.is_empty() || self.opcodes.iter().any(|name| name.0 == opcode);
            named && (self.classes.is_empty() || in_class(opcode))
        };
        let mut bits = [0; 4];
        for opcode in (0..=u8::MAX).filter(|opcode| lets(*opcode)) {
            bits[usize::from(opcode >> 6)] |= 1 << (opcode & 63);
        }
        bits
    }
}

/// Writes the values, and the first of them into the places that are left.
fn fill<T: Copy>(places: &mut [T], mut values: impl Iterator<Item = T> + Clone) {
    if let Some(first) = values.clone().next() {
        places.iter_mut().for_each(|place| *place = values.next().unwrap_or(first));
    }
}

/// The values that both kinds let through, where they are set.
fn both(has_a: bool, a: u64, has_b: bool, b: u64) -> u64 {
    match (has_a, has_b) {
        (true, true) => a & b,
        (true, false) => a,
        (false, true) => b,
        (false, false) => u64::MAX,
    }
}

const fn names_of(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::Write => &["REQ_OP_WRITE"],
        Operation::Flush => &["REQ_OP_FLUSH"],
        Operation::Discard => &["REQ_OP_DISCARD"],
        Operation::SecureErase => &["REQ_OP_SECURE_ERASE"],
        Operation::WriteZeroes => &["REQ_OP_WRITE_ZEROES"],
        Operation::Passthrough => &["REQ_OP_DRV_IN", "REQ_OP_DRV_OUT"],
    }
}

const fn names_of_class(class: CommandClass) -> &'static [&'static str] {
    match class {
        CommandClass::Write => &[
            "REQ_OP_WRITE",
            "REQ_OP_DISCARD",
            "REQ_OP_SECURE_ERASE",
            "REQ_OP_WRITE_ZEROES",
            "REQ_OP_WRITE_SAME",
            "REQ_OP_ZONE_APPEND",
        ],
        CommandClass::Sync => &["REQ_OP_FLUSH"],
        CommandClass::State => &[],
    }
}

/// An operation code that stands for several commands is of every class that one of them is of; an unknown one may
/// change anything.
fn is_of_class(opcode: u8, class: CommandClass, types: Devices) -> bool {
    let mut known = rows().filter(|row| row.opcode == opcode && row.devices.intersects(types)).peekable();
    if known.peek().is_none() {
        return class != CommandClass::Sync;
    }
    let wanted = match class {
        CommandClass::Write => Class::Write,
        CommandClass::Sync => Class::Sync,
        CommandClass::State => Class::State,
    };
    known.any(|row| row.class == wanted)
}

/// Index of the volume of a range, and its bytes there.
fn place(range: &LbaRange, volumes: &[Observable<'_>]) -> Result<(usize, ByteRange), FilterError> {
    let known = || volumes.iter().map(|volume| volume.name).collect::<Vec<_>>().join(", ");
    let index = match &range.volume {
        Some(name) => volumes
            .iter()
            .position(|volume| volume.name == name)
            .ok_or_else(|| FilterError::UnknownVolume { range: range.clone(), name: name.clone(), known: known() })?,
        None if volumes.len() == 1 => 0,
        None => return Err(FilterError::WhichVolume { range: range.clone(), known: known() }),
    };
    let volume = &volumes[index];
    let name = || volume.name.to_owned();
    let last = volume.last().ok_or_else(|| FilterError::NoBlocks { range: range.clone(), volume: name() })?;
    if range.last > last {
        return Err(FilterError::Beyond { range: range.clone(), volume: name(), last });
    }
    let block = u64::from(volume.block);
    Ok((index, ByteRange::new(range.first * block, (range.last - range.first + 1) * block)))
}

/// Puts ranges in order, and joins those that touch.
fn join(ranges: &mut Vec<ByteRange>) {
    ranges.sort_by_key(|range| range.offset);
    ranges.dedup_by(|next, kept| {
        let touches = next.offset <= kept.end();
        if touches {
            kept.len = kept.end().max(next.end()) - kept.offset;
        }
        touches
    });
}

impl Rules {
    /// Whether the dirty map can stand for the ranges: each begins and ends with a region, or with its volume.
    ///
    /// # Errors
    /// [`FilterError::Unaligned`], with a range that would do.
    pub fn check_regions(&self, volumes: &[Observable<'_>], region_bytes: u32) -> Result<(), FilterError> {
        let region = u64::from(region_bytes);
        for (volume, range) in
            volumes.iter().zip(&self.ranges).flat_map(|(v, r)| r.iter().flatten().map(move |r| (v, r)))
        {
            let block = u64::from(volume.block.max(1));
            let (first, end) = (range.offset / region * region, range.end().next_multiple_of(region).min(volume.size));
            if (first, end) != (range.offset, range.end()) {
                let named = |first: u64, end: u64| LbaRange {
                    volume: (volumes.len() > 1).then(|| volume.name.to_owned()),
                    first: first / block,
                    last: end / block - 1,
                };
                let (range, rounded) = (named(range.offset, range.end()), named(first, end));
                return Err(FilterError::Unaligned { range, region_bytes, rounded });
            }
        }
        Ok(())
    }
}

/// The id of a control group: the inode number of its directory (`kernfs`).
fn group_id(group: &Group) -> Result<u64, FilterError> {
    let path = match group {
        Group::Id(id) => return Ok(*id),
        Group::Path(path) => path,
    };
    let none = |why: String| FilterError::NoGroup { path: path.clone(), why };
    let places = CGROUP_MOUNTS.iter().map(|mount| Path::new(mount).join(path));
    let found = places.clone().find(|place| is_cgroup2(place));
    let found = found.ok_or_else(|| {
        let exists = places.into_iter().any(|place| place.exists());
        none(if exists { "it is not on a cgroup2 file system" } else { "there is no such directory" }.to_owned())
    })?;
    found.metadata().map(|meta| meta.ino()).map_err(|error| none(error.to_string()))
}

fn is_cgroup2(path: &Path) -> bool {
    path.is_dir() && rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2)
}

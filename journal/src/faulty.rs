//! A disk in memory that fails, fills up, tears writes and loses power, by plan and seed.
//!
//! Written bytes are visible at once, and durable only after a sync of their file. [`FaultyDisk::power_cut`] decides
//! for each write that was not synced whether it is kept, dropped, or torn: then each 512-byte sector of it is kept or
//! dropped on its own. So writes also change places. When a sync fails, the same is decided at once for the writes that
//! it should have covered: readers still see them, but no later sync writes them, as on kernels that mark the pages clean. New names, removals and renames are lost or kept
//! one by one (the later ones only after the earlier ones), until the directory is synced. All handles from before a
//! power cut are dead.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// Which operations fail. Operations of the disk and its files are counted alike, from 1, since the plan was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Faults {
    /// None.
    #[default]
    None,
    /// Only this one.
    Once(u64),
    /// This one and all later ones: the disk is gone.
    From(u64),
    /// Each whose number is a multiple of this.
    Every(u64),
}

impl Faults {
    fn hits(self, number: u64) -> bool {
        match self {
            Self::None => false,
            Self::Once(n) => number == n,
            Self::From(n) => number >= n,
            Self::Every(n) => number.is_multiple_of(n),
        }
    }
}

/// A small generator of pseudo-random numbers (splitmix64), so that a seed always gives the same run.
#[derive(Clone, Debug, Default)]
pub struct Rng(u64);

impl Rng {
    /// A generator that depends on `seed` only.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    faults: Faults,
    operations: u64,
    faulted: u64,
    capacity: Option<u64>,
    short_writes: bool,
    /// Handles of an earlier life are dead.
    life: u64,
    /// Decides what a failed sync leaves.
    rng: Rng,
}

#[derive(Debug, Default)]
struct Node {
    /// What a reader sees.
    current: Vec<u8>,
    /// What a power cut leaves in any case.
    durable: Vec<u8>,
    /// What is written but not synced, in order.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Grow { len: usize },
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Remove(String),
    Rename(String, String),
}

/// An open file of a [`FaultyDisk`].
#[derive(Clone, Debug)]
pub struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    life: u64,
}

impl FaultyDisk {
    /// An empty disk without faults or limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk whose failing syncs leave what `seed` decides.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let disk = Self::default();
        disk.state().rng = Rng::new(seed);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets which operations fail from now on, and begins to count anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.operations, state.faulted) = (faults, 0, 0);
    }

    /// Operations since the faults were set.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Operations that failed by plan since the faults were set.
    #[must_use]
    pub fn faulted(&self) -> u64 {
        self.state().faulted
    }

    /// Limits the bytes of all files together; beyond, the disk is full.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Lets every write of more than one byte write only a part.
    pub fn set_short_writes(&self, short: bool) {
        self.state().short_writes = short;
    }

    /// The power fails, and comes back: what was not synced is kept, dropped or torn, by `seed`.
    pub fn power_cut(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        let mut state = self.state();
        state.life += 1;
        state.cut_names(&mut rng);
        state.nodes.iter_mut().for_each(|node| node.cut(&mut rng));
    }

    /// The process dies but the machine lives on: handles are dead, what was written stays.
    pub fn kill(&self) {
        self.state().life += 1;
    }

    /// What a reader would see of a file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|&node| state.nodes[node].current.clone())
    }

    /// Flips the bits of `mask` in one byte, durably: the medium rots.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut state = self.state();
        let node = state.names[name];
        let node = &mut state.nodes[node];
        node.current[offset] ^= mask;
        if let Some(byte) = node.durable.get_mut(offset) {
            *byte ^= mask;
        }
    }

    /// Replaces what a file holds, durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let node = state.names[name];
        state.nodes[node] = Node { current: bytes.clone(), durable: bytes, pending: Vec::new() };
    }
}

impl State {
    /// Counts one operation; an error if the plan says so.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if !self.faults.hits(self.operations) {
            return Ok(());
        }
        self.faulted += 1;
        Err(io::Error::other(format!("injected fault at operation {}", self.operations)))
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&node| self.nodes[node].current.len() as u64).sum()
    }

    fn room_for(&self, node: usize, end: usize) -> io::Result<()> {
        let more = end.saturating_sub(self.nodes[node].current.len()) as u64;
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn cut_names(&mut self, rng: &mut Rng) {
        let keep = rng.below(self.pending_names.len() as u64 + 1) as usize;
        for change in self.pending_names.drain(..).take(keep) {
            apply_name(&mut self.durable_names, &change);
        }
        self.names = self.durable_names.clone();
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Node {
    fn write(&mut self, offset: usize, bytes: Vec<u8>) {
        put(&mut self.current, offset, &bytes);
        self.pending.push(Change::Write { offset, bytes });
    }

    fn sync(&mut self) {
        self.pending.drain(..).for_each(|change| change.apply(&mut self.durable));
    }

    /// The device gets some of what was written; the rest is never written again.
    fn gamble(&mut self, rng: &mut Rng) {
        for change in self.pending.drain(..) {
            match rng.below(3) {
                0 => change.apply(&mut self.durable),
                1 => {}
                _ => change.tear(&mut self.durable, rng),
            }
        }
    }

    fn cut(&mut self, rng: &mut Rng) {
        self.gamble(rng);
        self.current = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(to, *offset, bytes),
            Self::Grow { len } => grow(to, *len),
        }
    }

    /// Keeps each sector of it or not.
    fn tear(&self, to: &mut Vec<u8>, rng: &mut Rng) {
        let Self::Write { offset, bytes } = self else { return };
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
            if rng.one_in(2) {
                put(to, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }
}

fn grow(bytes: &mut Vec<u8>, len: usize) {
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    grow(to, offset + bytes.len());
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn describe(&self) -> String {
        "memory".into()
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.state();
        state.operate()?;
        Ok(FaultyFile { disk: self.clone(), node: state.find(name)?, life: state.life })
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.state();
        state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.change_names(NameChange::Create(name.into(), node));
        Ok(FaultyFile { disk: self.clone(), node, life: state.life })
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let mut state = self.state();
        state.operate()?;
        Ok(state.names.contains_key(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.operate()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.find(name)?;
        state.change_names(NameChange::Remove(name.into()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.find(from)?;
        state.change_names(NameChange::Rename(from.into(), to.into()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl FaultyFile {
    /// The disk's state, if this handle is of the present life.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("the process of this handle is dead")) }
    }
}

impl DiskFile for FaultyFile {
    fn pread(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        state.operate()?;
        let rest = state.nodes[self.node].current.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    /// A write that fails by plan has written half of its bytes.
    fn pwritev(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let verdict = state.operate();
        if verdict.is_err() || (state.short_writes && bytes.len() > 1) {
            bytes.truncate(bytes.len() / 2);
        }
        state.room_for(self.node, offset as usize + bytes.len())?;
        let n = bytes.len();
        state.nodes[self.node].write(offset as usize, bytes);
        verdict.map(|()| n)
    }

    fn fdatasync(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        let verdict = state.operate();
        let State { nodes, rng, .. } = &mut *state;
        match verdict {
            Ok(()) => nodes[self.node].sync(),
            Err(_) => nodes[self.node].gamble(rng),
        }
        verdict
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        state.room_for(self.node, len as usize)?;
        let node = &mut state.nodes[self.node];
        grow(&mut node.current, len as usize);
        node.pending.push(Change::Grow { len: len as usize });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.alive()?;
        state.operate()?;
        Ok(state.nodes[self.node].current.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &FaultyFile, offset: u64, byte: u8, len: usize) -> io::Result<usize> {
        file.pwritev(&[IoSlice::new(&vec![byte; len])], offset)
    }

    fn disk_with_file() -> (FaultyDisk, FaultyFile) {
        let disk = FaultyDisk::new();
        let file = disk.create("f").unwrap();
        disk.sync_dir().unwrap();
        (disk, file)
    }

    #[test]
    fn what_was_synced_survives_every_cut_and_the_rest_comes_in_sectors() {
        let mut kept = [0u32; 2];
        for seed in 0..64 {
            let (disk, file) = disk_with_file();
            write(&file, 0, 1, 2048).unwrap();
            file.fdatasync().unwrap();
            write(&file, 0, 2, 2048).unwrap();
            disk.power_cut(seed);
            let bytes = disk.contents("f").unwrap();
            assert_eq!(bytes.len(), 2048);
            for sector in bytes.chunks(SECTOR) {
                assert!(sector.iter().all(|&b| b == sector[0]));
                kept[usize::from(sector[0] - 1)] += 1;
            }
        }
        assert!(kept.iter().all(|&n| n > 64), "{kept:?}");
    }

    #[test]
    fn a_sync_after_a_failed_sync_saves_nothing_of_before() {
        let lost = (0..64).any(|seed| {
            let disk = FaultyDisk::with_seed(seed);
            let file = disk.create("f").unwrap();
            disk.sync_dir().unwrap();
            write(&file, 0, 1, 512).unwrap();
            disk.set_faults(Faults::Once(1));
            assert!(file.fdatasync().is_err());
            file.fdatasync().unwrap();
            assert_eq!(disk.contents("f").unwrap().len(), 512, "it is still seen");
            disk.power_cut(seed);
            disk.contents("f").unwrap().is_empty()
        });
        assert!(lost);
    }

    #[test]
    fn old_handles_are_dead_and_unsynced_names_may_vanish() {
        let vanished = (0..64).filter(|&seed| {
            let disk = FaultyDisk::new();
            let file = disk.create("f").unwrap();
            file.fdatasync().unwrap();
            disk.power_cut(seed);
            assert!(file.len().is_err());
            !disk.exists("f").unwrap()
        });
        assert!((1..64).contains(&vanished.count()));
    }

    #[test]
    fn plans_and_limits_hold() {
        let (disk, file) = disk_with_file();
        disk.set_faults(Faults::Every(2));
        let results: Vec<bool> = (0..4).map(|i| write(&file, i, 1, 2).is_ok()).collect();
        assert_eq!((results, disk.faulted()), (vec![true, false, true, false], 2));
        disk.set_faults(Faults::None);
        disk.set_capacity(Some(10));
        assert_eq!(file.allocate(11).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(write(&file, 8, 1, 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.allocate(10).unwrap();
        disk.set_short_writes(true);
        assert_eq!(write(&file, 0, 1, 9).unwrap(), 4);
    }
}

//! The directory of bpffs in which one group's probe is pinned.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};

use super::ProbeError;
use super::ring::Ring;
use super::shared::{SharedArray, Words};

/// The pins of one group.
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// A new, empty directory.
    pub(super) fn create(dir: &Path) -> Result<Self, ProbeError> {
        let pins = Self { dir: dir.to_owned() };
        fs::create_dir_all(dir).map_err(|error| pins.error("creating", "", error))?;
        Ok(pins)
    }

    /// The directory, if all of `names` are pinned there. A part only, left by an attach that was killed, is removed.
    pub(super) fn existing(dir: &Path, names: &[String]) -> Result<Option<Self>, ProbeError> {
        if !dir.exists() {
            return Ok(None);
        }
        if names.iter().all(|name| dir.join(name).exists()) {
            return Ok(Some(Self { dir: dir.to_owned() }));
        }
        remove(dir)?;
        Ok(None)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn error(
        &self,
        action: &'static str,
        name: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> ProbeError {
        ProbeError::Pin { action, path: self.path(name), source: Box::new(source) }
    }

    pub(super) fn map(&self, name: &str) -> Result<MapData, ProbeError> {
        MapData::from_pin(self.path(name)).map_err(|error| self.error("opening", name, error))
    }

    /// Maps `len` elements of an array. A pinned array of another size belongs to another set of volumes.
    pub(super) fn shared<T: Words>(&self, name: &str, len: usize) -> Result<SharedArray<T>, ProbeError> {
        let map = self.map(name)?;
        let info = map.info().map_err(|error| self.error("reading", name, error))?;
        if info.max_entries() as usize != len || info.value_size() as usize != size_of::<T>() {
            return Err(ProbeError::Other(self.dir.clone()));
        }
        Ok(SharedArray::map(map.fd().as_fd(), len)?)
    }

    /// Maps the ring. Its size is the pinned one's, whatever was asked for.
    pub(super) fn ring(&self, name: &str) -> Result<Ring, ProbeError> {
        let map = self.map(name)?;
        let info = map.info().map_err(|error| self.error("reading", name, error))?;
        let fd = map.fd().as_fd().try_clone_to_owned().map_err(|error| self.error("opening", name, error))?;
        Ok(Ring::map(fd, info.max_entries())?)
    }

    /// Opens the pinned link of `program`.
    pub(super) fn link(&self, program: &str) -> Result<FdLink, ProbeError> {
        let name = format!("link_{program}");
        PinnedLink::from_pin(self.path(&name)).map(FdLink::from).map_err(|error| self.error("opening", &name, error))
    }

    /// The kernel's id of a pinned program.
    pub(super) fn program_id(&self, program: &str) -> Option<u32> {
        Some(aya::programs::ProgramInfo::from_pin(self.path(&format!("prog_{program}"))).ok()?.id())
    }

    /// Sum of `recursion_misses` over those of the pinned `programs` that exist (`struct bpf_prog_info`; in fdinfo since
    /// 5.12).
    pub(super) fn recursion_misses(&self, programs: &[&str]) -> u64 {
        programs.iter().filter_map(|name| misses(&self.path(&format!("prog_{name}")))).sum()
    }
}

fn misses(pin: &Path) -> Option<u64> {
    use std::os::fd::{AsFd, AsRawFd};
    let info = aya::programs::ProgramInfo::from_pin(pin).ok()?;
    let fd = info.fd().ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

/// Removes links first: from then on nothing runs.
pub(super) fn remove(dir: &Path) -> Result<bool, ProbeError> {
    let pins = Pins { dir: dir.to_owned() };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(pins.error("reading", "", error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link_")));
    for path in paths {
        fs::remove_file(&path).map_err(|error| pins.error("removing", &path.to_string_lossy(), error))?;
    }
    fs::remove_dir(dir).map_err(|error| pins.error("removing", "", error))?;
    Ok(true)
}

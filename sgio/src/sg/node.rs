//! Which device a node is, by what sysfs says of its number.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::SgError;

/// What kind of node it is: which structure its SG_IO takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `/dev/sgN`.
    Sg,
    /// `/dev/bsg/H:C:T:L`.
    Bsg,
    /// The block device of a disk.
    Disk,
}

/// A node that takes SCSI commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// As it was named.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Name of the block device of the same logical unit (`sdb`); none for a tape, or while no disk driver is bound.
    pub block: Option<String>,
    /// Host, channel, target and LUN, as `H:C:T:L`; none when sysfs does not tell.
    pub address: Option<String>,
    /// Most bytes of one transfer, where the queue tells.
    pub max_transfer: Option<u32>,
}

impl Node {
    /// Looks a path up, in the sysfs at `sys`.
    ///
    /// # Errors
    /// It does not exist, or is nothing that takes SCSI commands.
    pub fn find(path: &Path, sys: &Path) -> Result<Self, SgError> {
        let meta = fs::metadata(path).map_err(|source| SgError::opening(path, source))?;
        let number = format!("{}:{}", major(meta.rdev()), minor(meta.rdev()));
        if meta.file_type().is_char_device() {
            Self::of_char(path, &sys.join("dev/char").join(number))
        } else if meta.file_type().is_block_device() {
            Self::of_block(path, &sys.join("dev/block").join(number))
        } else {
            Err(SgError::NotScsi { path: path.to_owned() })
        }
    }

    /// The node behind a number that sysfs lists at `link`: `.../H:C:T:L/scsi_generic/sgN` or `.../H:C:T:L/bsg/H:C:T:L`.
    pub(super) fn of_char(path: &Path, link: &Path) -> Result<Self, SgError> {
        let not_scsi = || SgError::NotScsi { path: path.to_owned() };
        let dir = fs::canonicalize(link).map_err(|_| not_scsi())?;
        let class = dir.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let kind = match class {
            Some("scsi_generic") => Kind::Sg,
            Some("bsg") => Kind::Bsg,
            _ => return Err(not_scsi()),
        };
        let device = fs::canonicalize(dir.join("device")).map_err(|_| not_scsi())?;
        // A device of the SCSI bus has a type; hosts and ports, which bsg has nodes for as well, have none.
        if !device.join("type").exists() {
            return Err(not_scsi());
        }
        let block = first_name(&device.join("block"));
        let queue = block.as_ref().map(|name| device.join("block").join(name).join("queue"));
        let max_transfer = queue.and_then(|queue| max_transfer(&queue));
        Ok(Self { path: path.to_owned(), kind, block, address: name_of(&device), max_transfer })
    }

    pub(super) fn of_block(path: &Path, link: &Path) -> Result<Self, SgError> {
        let not_scsi = || SgError::NotScsi { path: path.to_owned() };
        let dir = fs::canonicalize(link).map_err(|_| not_scsi())?;
        if dir.join("partition").exists() {
            return Err(SgError::Partition { path: path.to_owned() });
        }
        let device = fs::canonicalize(dir.join("device")).map_err(|_| not_scsi())?;
        let block = name_of(&dir);
        if !device.join("type").exists() || block.is_none() {
            return Err(not_scsi());
        }
        let max_transfer = max_transfer(&dir.join("queue"));
        Ok(Self { path: path.to_owned(), kind: Kind::Disk, block, address: name_of(&device), max_transfer })
    }
}

fn name_of(dir: &Path) -> Option<String> {
    Some(dir.file_name()?.to_str()?.to_owned())
}

fn first_name(dir: &Path) -> Option<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().next()
}

fn max_transfer(queue: &Path) -> Option<u32> {
    let text = fs::read_to_string(queue.join("max_hw_sectors_kb")).ok()?;
    text.trim().parse::<u32>().ok()?.checked_mul(1024).filter(|bytes| *bytes > 0)
}

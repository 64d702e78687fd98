//! Many commands in flight from one thread, on the sg node of a logical unit.
//!
//! A command is written to an open file of its own and read back when that file has become readable
//! (`sg_write`, `sg_poll`, `sg_read` of drivers/scsi/sg.c). Nobody waits within a call, but for a free tag of the
//! device's queue.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::scsi::Outcome;

use super::ioctl::Flight;
use super::{Access, CommandQueue, Kind, MAX_SG_CDB, MIN_SG_CDB, Node, SgDevice, SgError, millis, open_file};

/// Commands in flight, each in a slot that the caller names.
#[derive(Debug)]
pub struct SgQueue {
    path: PathBuf,
    max_transfer: usize,
    /// By slot; opened when they are first used.
    slots: Vec<Option<Flight>>,
}

impl SgDevice {
    /// A queue on the same logical unit, whatever node this is; none where the unit has no sg node or it cannot be opened.
    #[must_use]
    pub fn open_queue(&self) -> Option<SgQueue> {
        let path = match self.node.kind {
            Kind::Sg => self.node.path.clone(),
            Kind::Bsg | Kind::Disk => sg_node(self.node.address.as_deref()?, Path::new("/sys"), Path::new("/dev"))?,
        };
        // Whether it may be opened shows now, and not with the first command.
        let first = open_file(&path, Access::All, 0).ok()?;
        let slots = vec![Some(Flight::new(first))];
        Some(SgQueue { path, max_transfer: self.max_transfer() as usize, slots })
    }
}

/// The sg node of the logical unit at this address, if it is what sysfs says.
fn sg_node(address: &str, sys: &Path, dev: &Path) -> Option<PathBuf> {
    let folder = sys.join("bus/scsi/devices").join(address).join("scsi_generic");
    let name = std::fs::read_dir(folder).ok()?.find_map(|entry| entry.ok()?.file_name().into_string().ok())?;
    let path = dev.join(name);
    let is_char = std::fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_char_device());
    let node = Node::find(&path, sys).ok().filter(|_| is_char)?;
    (node.kind == Kind::Sg && node.address.as_deref() == Some(address)).then_some(path)
}

impl CommandQueue for SgQueue {
    fn begin(&mut self, slot: usize, cdb: &[u8], out: &[u8], timeout: Duration) -> io::Result<RawFd> {
        if !(MIN_SG_CDB..=MAX_SG_CDB).contains(&cdb.len()) || out.len() > self.max_transfer {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let flight = self.flight(slot)?;
        flight.begin(cdb, out, millis(timeout))?;
        Ok(flight.descriptor())
    }

    fn end(&mut self, slot: usize) -> io::Result<Option<Outcome>> {
        let Some(Some(flight)) = self.slots.get_mut(slot) else { return Ok(None) };
        let ended = flight.end().map_err(|source| io::Error::from(SgError::executing(&self.path, source)))?;
        Ok(ended.map(super::Answer::outcome))
    }
}

impl SgQueue {
    fn flight(&mut self, slot: usize) -> io::Result<&mut Flight> {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let place = &mut self.slots[slot];
        match place {
            Some(flight) => Ok(flight),
            None => Ok(place.insert(Flight::new(open_file(&self.path, Access::All, 0)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_another_kind_is_no_queue() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("bus/scsi/devices/0:0:0:0/scsi_generic/null");
        std::fs::create_dir_all(unit).unwrap();
        assert_eq!(sg_node("0:0:0:0", dir.path(), Path::new("/dev")), None, "/dev/null is no sg node");
        assert_eq!(sg_node("1:0:0:0", dir.path(), Path::new("/dev")), None, "there is none");
    }

    #[test]
    fn what_the_kernel_would_not_take_is_not_issued() {
        let mut queue = SgQueue { path: "/dev/null".into(), max_transfer: 4096, slots: Vec::new() };
        let mut errno = |slot, cdb: &[u8], out: &[u8]| {
            let error = queue.begin(slot, cdb, out, Duration::from_secs(1)).unwrap_err();
            super::super::errno(&error)
        };
        assert_eq!(errno(0, &[0; 5], &[]), Some(libc::EMSGSIZE));
        assert_eq!(errno(0, &[0; 33], &[]), Some(libc::EMSGSIZE));
        assert_eq!(errno(0, &[0; 6], &[0; 4097]), Some(libc::EMSGSIZE));
        assert!(queue.end(0).unwrap().is_none() && queue.end(7).unwrap().is_none());
    }

    #[test]
    fn a_slot_holds_one_command() {
        // /dev/null takes whatever is written, and its end is never to be read: no structure comes back.
        let mut queue = SgQueue { path: "/dev/null".into(), max_transfer: 4096, slots: Vec::new() };
        queue.begin(3, &[0; 6], &[1; 512], Duration::from_secs(1)).unwrap();
        let again = queue.begin(3, &[0; 6], &[1; 512], Duration::from_secs(1)).unwrap_err();
        assert_eq!(super::super::errno(&again), Some(libc::EDOM));
        assert!(queue.end(3).is_err(), "read as nothing, which is no answer");
        queue.begin(3, &[0; 6], &[1; 512], Duration::from_secs(1)).unwrap();
    }
}

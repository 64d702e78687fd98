//! Open files of one device: as many as it takes to have many commands in flight.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::SgError;
use super::node::Kind;

/// Commands for one open file of sg. It would take 16 (`SG_MAX_QUEUE`, then EDOM), but every end of one wakes all callers
/// that wait on that file (`sg_rq_end_io`, a wait queue without exclusive waiters), and only one of its commands has the
/// buffer that the file keeps: for each other, sg allocates and clears pages (`sg_build_indirect`).
const SG_ROOM: usize = 1;

/// Files with room. One of sg is for a single command; the others take any number, so one is enough.
#[derive(Debug)]
pub(super) struct Lanes {
    room: usize,
    files: Mutex<Vec<(Arc<File>, usize)>>,
}

/// A place on one of the files, given back when dropped.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    file: Arc<File>,
}

impl Lanes {
    pub(super) fn open(first: File, kind: Kind) -> Self {
        let room = if kind == Kind::Sg { SG_ROOM } else { usize::MAX };
        Self { room, files: Mutex::new(vec![(Arc::new(first), 0)]) }
    }

    /// A place. When all files are full, another is opened; if that cannot be, the least loaded one is used, and the
    /// kernel says whether it has room.
    pub(super) fn enter(&self, open: impl FnOnce() -> Result<File, SgError>) -> Lane<'_> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.iter().all(|(_, used)| *used >= self.room)
            && let Ok(file) = open()
        {
            files.push((Arc::new(file), 0));
        }
        // Never empty: the first one stays.
        let least = files.iter_mut().min_by_key(|(_, used)| *used).expect("the first file stays");
        least.1 += 1;
        Lane { lanes: self, file: Arc::clone(&least.0) }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> Vec<usize> {
        self.files.lock().unwrap().iter().map(|(_, used)| *used).collect()
    }
}

impl Lane<'_> {
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut files = self.lanes.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = files.iter_mut().find(|(file, _)| Arc::ptr_eq(file, &self.file)) {
            place.1 -= 1;
        }
    }
}

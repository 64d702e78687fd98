//! The standby's checkpoint on disk: [`formats::state`] in a file of two slots.
//!
//! What is durable when: [`StateFile::save`] returns after the new slot is durable. Until then the other slot holds the
//! state before it, whole. So after a crash at any moment, [`StateFile::open`] finds the last saved state or the one
//! that was being saved, never a mixture, whatever became of the write in flight.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use formats::state::{SLOT_LEN, SLOTS, StandbyRecord, StateError};
use thiserror::Error;

/// Name of the file within the standby's directory.
pub const FILE_NAME: &str = "standby.state";

/// Why the checkpoint cannot be read or written.
#[derive(Error, Debug)]
pub enum StateFileError {
    /// The system said no.
    #[error("{action} {} failed: {source}; check the directory's file system and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Neither slot is whole, and at least one was written: the checkpoint is lost.
    #[error(
        "{} is damaged in both slots ({first}; {second}): what the targets hold is not known any more. \
         Remove the directory it lies in; everything is then copied again", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the first slot.
        first: StateError,
        /// What is wrong with the second.
        second: StateError,
    },
    /// The state exceeds a limit of the format.
    #[error("the state does not fit its slot: {0}; use shorter names and paths")]
    TooLarge(StateError),
}

/// The open file.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    path: PathBuf,
    /// Of the newest whole slot; 0 when there is none.
    generation: u64,
    /// The slot that does not hold the newest state.
    next_slot: usize,
}

impl StateFile {
    /// Opens or makes the file in `dir` and reads the newest whole state; `None` when nothing was ever saved.
    ///
    /// # Errors
    /// The file cannot be opened or read, or both its slots are damaged.
    pub fn open(dir: &Path) -> Result<(Self, Option<StandbyRecord>), StateFileError> {
        let path = dir.join(FILE_NAME);
        let failed = |action| {
            let path = path.clone();
            move |source| StateFileError::Io { action, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_CLOEXEC);
        let file = options.open(&path).map_err(failed("opening"))?;
        let len = (SLOT_LEN * SLOTS) as u64;
        if file.metadata().map_err(failed("opening"))?.len() < len {
            file.set_len(len).and_then(|()| file.sync_all()).map_err(failed("extending"))?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("syncing the directory of"))?;
        }
        let slots = [read_slot(&file, 0).map_err(failed("reading"))?, read_slot(&file, 1).map_err(failed("reading"))?];
        let found =
            newest(slots).map_err(|(first, second)| StateFileError::Damaged { path: path.clone(), first, second })?;
        let (next_slot, generation, state) = match found {
            Some((slot, generation, state)) => (1 - slot, generation, Some(state)),
            None => (0, 0, None),
        };
        Ok((Self { file, path, generation, next_slot }, state))
    }

    /// Saves `state`; it is durable when this returns.
    ///
    /// # Errors
    /// The state before it stays in force. After a failed sync the file is not to be trusted with more: the caller
    /// stops and the standby is started again.
    pub fn save(&mut self, state: &StandbyRecord) -> Result<(), StateFileError> {
        let generation = self.generation + 1;
        let bytes = state.encode_slot(generation).map_err(StateFileError::TooLarge)?;
        let saved = self.file.write_all_at(&bytes, (self.next_slot * SLOT_LEN) as u64);
        saved.and_then(|()| self.file.sync_data()).map_err(|source| self.error("saving", source))?;
        self.generation = generation;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    /// The state in `dir` without opening it for writing; `None` when there is none that can be read.
    #[must_use]
    pub fn peek(dir: &Path) -> Option<StandbyRecord> {
        let bytes = fs::read(dir.join(FILE_NAME)).ok()?;
        let slots: Vec<_> = bytes.chunks(SLOT_LEN).filter_map(|slot| StandbyRecord::decode_slot(slot).ok()).collect();
        slots.into_iter().max_by_key(|(generation, _)| *generation).map(|(_, state)| state)
    }

    fn error(&self, action: &'static str, source: io::Error) -> StateFileError {
        StateFileError::Io { action, path: self.path.clone(), source }
    }
}

type Slot = Result<(u64, StandbyRecord), StateError>;
/// Slot, generation and state.
type Newest = (usize, u64, StandbyRecord);

fn read_slot(file: &File, slot: usize) -> io::Result<Slot> {
    let mut bytes = vec![0; SLOT_LEN];
    file.read_exact_at(&mut bytes, (slot * SLOT_LEN) as u64)?;
    Ok(StandbyRecord::decode_slot(&bytes))
}

/// The newest whole slot. A single damaged slot beside an empty one is the very first save, torn: nothing was ever
/// saved then.
fn newest(slots: [Slot; SLOTS]) -> Result<Option<Newest>, (StateError, StateError)> {
    match slots {
        [Ok(first), Ok(second)] if first.0 > second.0 => Ok(Some((0, first.0, first.1))),
        [_, Ok((generation, state))] => Ok(Some((1, generation, state))),
        [Ok((generation, state)), Err(_)] => Ok(Some((0, generation, state))),
        [Err(_), Err(StateError::Empty)] => Ok(None),
        [Err(first), Err(second)] => Err((first, second)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: u64) -> StandbyRecord {
        StandbyRecord { stream: 1, position, ..StandbyRecord::default() }
    }

    fn reopened(dir: &Path) -> Option<u64> {
        StateFile::open(dir).unwrap().1.map(|state| state.position)
    }

    #[test]
    fn the_newest_state_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, none) = StateFile::open(dir.path()).unwrap();
        assert_eq!(none, None);
        for position in 1..6 {
            file.save(&state(position)).unwrap();
            assert_eq!(reopened(dir.path()), Some(position));
            assert_eq!(StateFile::peek(dir.path()).unwrap().position, position);
        }
        let (mut file, _) = StateFile::open(dir.path()).unwrap();
        file.save(&state(9)).unwrap();
        assert_eq!(reopened(dir.path()), Some(9));
    }

    /// Every way to tear the save of position 4: after it the state is 3 or 4.
    #[test]
    fn a_torn_save_of_either_slot_leaves_the_state_before() {
        for saves in [3u64, 4] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(FILE_NAME);
            let (mut file, _) = StateFile::open(dir.path()).unwrap();
            (1..=saves).for_each(|position| file.save(&state(position)).unwrap());
            let before = fs::read(&path).unwrap();
            file.save(&state(saves + 1)).unwrap();
            let after = fs::read(&path).unwrap();
            let changed: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
            for cut in 0..=changed.len() {
                for head_first in [true, false] {
                    let mut torn = before.clone();
                    let kept = if head_first { &changed[..cut] } else { &changed[changed.len() - cut..] };
                    kept.iter().for_each(|&at| torn[at] = after[at]);
                    fs::write(&path, &torn).unwrap();
                    let expected = if cut == changed.len() { saves + 1 } else { saves };
                    assert_eq!(reopened(dir.path()), Some(expected), "cut {cut}");
                }
            }
        }
    }

    #[test]
    fn a_torn_first_save_is_no_state_and_damage_in_both_slots_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (mut file, _) = StateFile::open(dir.path()).unwrap();
        file.save(&state(1)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(reopened(dir.path()), None);
        bytes[SLOT_LEN..SLOT_LEN + 4].copy_from_slice(b"junk");
        fs::write(&path, &bytes).unwrap();
        let error = StateFile::open(dir.path()).unwrap_err();
        assert!(matches!(error, StateFileError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_cut_file_is_extended_and_keeps_what_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = StateFile::open(dir.path()).unwrap();
        file.save(&state(1)).unwrap();
        OpenOptions::new().write(true).open(dir.path().join(FILE_NAME)).unwrap().set_len(4096).unwrap();
        assert_eq!(reopened(dir.path()), Some(1));
    }
}

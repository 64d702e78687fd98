//! The state file: floor, cursors and session, in two slots written in turn.

use std::io::{self, IoSlice};

use formats::segment::{JournalState, STATE_SLOT_LEN, STATE_SLOTS, SegmentError};

use crate::disk::{Disk, DiskFile, read_up_to, write_all};

/// Its name.
pub(crate) const STATE_FILE: &str = "state";

/// The open file and what it last said.
pub(crate) struct StateFile<F> {
    file: F,
    saved: JournalState,
}

/// What was found.
pub(crate) enum Loaded<F> {
    /// No file: a new journal, if there are no items either.
    Absent,
    /// A file without a readable slot: the first save did not get through, or damage.
    Unreadable(F, [SegmentError; STATE_SLOTS]),
    /// The newer of the readable slots.
    State(StateFile<F>),
}

/// Looks for the state.
pub(crate) fn load<D: Disk>(disk: &D) -> io::Result<Loaded<D::File>> {
    if !disk.exists(STATE_FILE)? {
        return Ok(Loaded::Absent);
    }
    let file = disk.open(STATE_FILE)?;
    let mut bytes = vec![0; STATE_SLOT_LEN * STATE_SLOTS];
    let have = read_up_to(&file, &mut bytes, 0)?;
    bytes.truncate(have);
    let slot = |i: usize| JournalState::decode(bytes.get(i * STATE_SLOT_LEN..).unwrap_or_default());
    Ok(match (slot(0), slot(1)) {
        (Err(first), Err(second)) => Loaded::Unreadable(file, [first, second]),
        (Ok(saved), Err(_)) | (Err(_), Ok(saved)) => Loaded::State(StateFile { file, saved }),
        (Ok(a), Ok(b)) => Loaded::State(StateFile { file, saved: if a.generation > b.generation { a } else { b } }),
    })
}

impl<F: DiskFile> StateFile<F> {
    /// A file that says nothing yet; `saved` is what a new journal begins with.
    pub(crate) fn new(file: F, saved: JournalState) -> Self {
        Self { file, saved }
    }

    /// What it said at the last load or save.
    pub(crate) fn saved(&self) -> &JournalState {
        &self.saved
    }

    /// Writes again, into its own slot, what was loaded. If the save failed that wrote it, it may be visible but not
    /// on the medium, and the next save overwrites the slot before it.
    pub(crate) fn confirm(&mut self) -> io::Result<()> {
        match self.saved.generation {
            0 => Ok(()),
            _ => self.write(&self.saved),
        }
    }

    /// Makes `state` durable, with the next generation. After an error it is unknown which of the two is there.
    pub(crate) fn save(&mut self, mut state: JournalState) -> io::Result<()> {
        state.generation = self.saved.generation + 1;
        self.write(&state)?;
        self.saved = state;
        Ok(())
    }

    fn write(&self, state: &JournalState) -> io::Result<()> {
        let slot = state.encode().map_err(io::Error::other)?;
        let offset = (state.generation % STATE_SLOTS as u64) * STATE_SLOT_LEN as u64;
        write_all(&self.file, &mut [IoSlice::new(&slot)], offset)?;
        self.file.fdatasync()
    }
}

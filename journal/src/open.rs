//! Opening: makes or finds the files, recovers, and leaves everything in a state that the writer can build on.

use std::io::{self, IoSlice};
use std::sync::Arc;

use formats::segment::{JournalState, SEGMENT_HEADER_LEN, SegmentError};

use crate::config::Config;
use crate::disk::{Disk, DiskFile, read_exact, write_all};
use crate::error::{IoFault, JournalError};
use crate::recovery::{self, Damage, Findings, Recovery};
use crate::state_file::{Loaded, STATE_FILE, StateFile, load};
use crate::table::{Segment, Shared, Table, segment_name};
use crate::writer::{Journal, Unanswered};

const COPY_CHUNK: u64 = 1 << 20;

impl<D: Disk> Journal<D> {
    /// Opens the journal on `disk`, or makes it; reads and checks all of it, reserves all its space.
    ///
    /// When it returns, everything that it recovered is durable. What no sync had confirmed before is written once
    /// more for that: after a failed sync the kernel may show pages that the device never got.
    ///
    /// # Errors
    /// Settings out of bounds or unlike those it was made with, no space, a state file that is damaged, or an error
    /// of the disk. Damage to items is no error: see [`Recovery::damaged`].
    pub fn open(disk: D, config: Config) -> Result<(Self, Recovery), JournalError> {
        config.validate()?;
        let opener = Opener { journal: disk.describe(), disk: &disk, config };
        let loaded = opener.io("reading", STATE_FILE, load(&disk))?;
        opener.check_size(&loaded)?;
        let files = opener.files()?;
        let (state, created) = opener.state(loaded, &files)?;
        let findings = opener.io("reading the segments with", STATE_FILE, recovery::recover(&files, state.saved()))?;
        opener.settle(&files, &findings)?;
        let recovery = findings.report(created);
        let mut journal = opener.assemble(files, state, findings).into_journal(disk);
        journal.begin_session()?;
        Ok((journal, recovery))
    }
}

impl Findings {
    fn report(&self, created: bool) -> Recovery {
        Recovery {
            created,
            first: self.first,
            next: self.next,
            bytes_scanned: self.scanned,
            bytes_cut: self.cut,
            tail: self.tail.clone(),
            damaged: self.lost.clone().map(|lost| Damage { lost, tail: self.tail.clone() }),
        }
    }
}

struct Opener<'a, D: Disk> {
    disk: &'a D,
    journal: String,
    config: Config,
}

impl<D: Disk> Opener<'_, D> {
    fn io<T>(&self, doing: &'static str, file: &str, result: io::Result<T>) -> Result<T, JournalError> {
        result.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                JournalError::NoSpace { journal: self.journal.clone(), want: self.config.total_bytes }
            }
            _ => IoFault { journal: self.journal.clone(), doing, file: file.into(), source }.into(),
        })
    }

    fn check_size(&self, loaded: &Loaded<D::File>) -> Result<(), JournalError> {
        let Loaded::State(state) = loaded else { return Ok(()) };
        let made = state.saved();
        if made.segment_bytes == self.config.segment_bytes && made.segments <= self.config.segments() {
            return Ok(());
        }
        Err(JournalError::Size {
            journal: self.journal.clone(),
            made_segments: made.segments,
            made_bytes: made.segment_bytes,
            segments: self.config.segments(),
            bytes: self.config.segment_bytes,
        })
    }

    /// All segment files, with their space reserved. If there is not enough, those made just now are removed again.
    fn files(&self) -> Result<Vec<D::File>, JournalError> {
        let mut made = Vec::new();
        let files = (0..self.config.segments()).map(|slot| self.file(segment_name(slot), &mut made)).collect();
        let files: Result<Vec<_>, JournalError> = files;
        if matches!(files, Err(JournalError::NoSpace { .. })) {
            // The space must come back; a removal that fails leaves a file that the next opening takes over.
            made.iter().for_each(|name| drop(self.disk.remove(name)));
        }
        let files = files?;
        self.io("syncing the directory of", "journal", self.disk.sync_dir())?;
        Ok(files)
    }

    fn file(&self, name: String, made: &mut Vec<String>) -> Result<D::File, JournalError> {
        let exists = self.io("looking for", &name, self.disk.exists(&name))?;
        let file = if exists { self.disk.open(&name) } else { self.disk.create(&name) };
        let file = self.io("opening", &name, file)?;
        if !exists {
            made.push(name.clone());
        }
        self.io("reserving space for", &name, self.reserve(&file))?;
        Ok(file)
    }

    fn reserve(&self, file: &D::File) -> io::Result<()> {
        let whole = file.len()? >= self.config.segment_bytes;
        file.allocate(self.config.segment_bytes)?;
        if whole { Ok(()) } else { file.fdatasync() }
    }

    /// The state that was found, or the one to begin with; and whether the journal is new. A new one has no items,
    /// because the state is durable before the first segment is begun.
    fn state(&self, loaded: Loaded<D::File>, files: &[D::File]) -> Result<(StateFile<D::File>, bool), JournalError> {
        let (file, slots) = match loaded {
            Loaded::State(state) => return Ok((state, false)),
            Loaded::Unreadable(file, slots) => (Some(file), slots),
            Loaded::Absent => (None, [SegmentError::Empty; 2]),
        };
        if self.io("reading", "the segments", recovery::any_segment(files))? {
            let [first, second] = slots;
            return Err(JournalError::State { journal: self.journal.clone(), first, second });
        }
        let file = match file {
            Some(file) => file,
            None => self.io("making", STATE_FILE, self.disk.create(STATE_FILE))?,
        };
        self.io("syncing the directory of", STATE_FILE, self.disk.sync_dir())?;
        Ok((StateFile::new(file, self.first_state()), true))
    }

    fn first_state(&self) -> JournalState {
        JournalState {
            generation: 0,
            floor: 1,
            first: 1,
            durable: 0,
            segment_bytes: self.config.segment_bytes,
            session: 0,
            segments: self.config.segments(),
            cursors: Vec::new(),
        }
    }

    /// Makes what was found durable, and wipes the headers of segments behind the end. Damage is left as it is.
    fn settle(&self, files: &[D::File], findings: &Findings) -> Result<(), JournalError> {
        for segment in
            findings.live.iter().filter(|segment| segment.next - 1 > findings.claimed || segment.first == segment.next)
        {
            let file = &files[usize::from(segment.slot)];
            let result = rewrite(file, segment, findings.claimed).and_then(|()| file.fdatasync());
            self.io("making durable", &segment_name(segment.slot), result)?;
        }
        if findings.lost.is_none() {
            wipe(files, &findings.stale)
                .map_err(|(slot, e)| self.io("wiping", &segment_name(slot), Err::<(), _>(e)).unwrap_err())?;
        }
        Ok(())
    }

    fn assemble(&self, files: Vec<D::File>, state: StateFile<D::File>, findings: Findings) -> Parts<D> {
        let used = |slot: &u16| !findings.live.iter().any(|s| s.slot == *slot) && !findings.stale.contains(slot);
        let mut free: Vec<u16> = (0..files.len() as u16).filter(used).collect();
        let unanswered = findings.lost.map(|lost| Unanswered { lost, stale: findings.stale.clone() });
        if unanswered.is_none() {
            free.extend(&findings.stale);
        }
        let table =
            Table { next: findings.next, durable: findings.next - 1, live: findings.live.into(), closed: false };
        Parts {
            shared: Arc::new(Shared::new(self.journal.clone(), files, table)),
            session: state.saved().session.max(findings.session),
            state,
            config: self.config,
            free,
            unanswered,
        }
    }
}

/// What a writer is made of.
pub(crate) struct Parts<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    /// The last session there was.
    pub(crate) session: u32,
    pub(crate) state: StateFile<D::File>,
    pub(crate) config: Config,
    pub(crate) free: Vec<u16>,
    pub(crate) unanswered: Option<Unanswered>,
}

/// Writes again, with the same bytes, what lies behind index `claimed`: all of the segment, header included, if its
/// first item does.
fn rewrite<F: DiskFile>(file: &F, segment: &Segment, claimed: u64) -> io::Result<()> {
    let mut at = if segment.first > claimed { 0 } else { segment.spot_before(claimed + 1).offset };
    let mut buf = vec![0; COPY_CHUNK.min(segment.end - at) as usize];
    while at < segment.end {
        let bytes = &mut buf[..COPY_CHUNK.min(segment.end - at) as usize];
        read_exact(file, bytes, at)?;
        write_all(file, &mut [IoSlice::new(bytes)], at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Overwrites the headers of these slots with zeros, durably. An error names the slot.
pub(crate) fn wipe<F: DiskFile>(files: &[F], slots: &[u16]) -> Result<(), (u16, io::Error)> {
    for &slot in slots {
        let file = &files[usize::from(slot)];
        let zeros = [0; SEGMENT_HEADER_LEN];
        let done = write_all(file, &mut [IoSlice::new(&zeros)], 0).and_then(|()| file.fdatasync());
        done.map_err(|e| (slot, e))?;
    }
    Ok(())
}

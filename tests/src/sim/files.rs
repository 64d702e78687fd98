//! What lies on the disk of the primary's host.

use std::collections::BTreeMap;

use formats::Position;
use formats::entry::EntryHeader;
use journal::faulty::{FaultyDisk, Rng};
use journal::{Config, Journal, SyncPolicy};
use replication::primary::{JournalExtent, Restored, Snapshot};

use super::agent::{last_seq_of, text};

/// The journal, and the saved map of each secondary. They outlive the process.
#[derive(Default)]
pub(super) struct Files {
    disk: FaultyDisk,
    /// Whose line of observation the journal and the maps are of.
    pub(super) stream: u64,
    /// By the secondary's name.
    pub(super) maps: BTreeMap<String, Snapshot>,
}

/// What a process finds when it starts.
pub(super) struct Found {
    pub(super) journal: Journal<FaultyDisk>,
    pub(super) headers: Vec<EntryHeader>,
    pub(super) extent: JournalExtent,
    /// The line of observation was broken: a new stream begins, positions go on.
    pub(super) fresh: bool,
}

impl Files {
    /// The power of the host fails.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        self.disk.power_cut(rng.next_u64());
    }

    /// The process is killed.
    pub(super) fn kill(&mut self) {
        self.disk.kill();
    }

    /// Opens the journal for the stream `boot`.
    pub(super) fn open(&mut self, boot: u64) -> Result<Found, String> {
        let mut journal = self.open_journal()?;
        let fresh = self.stream != boot;
        if fresh {
            journal.discard_all(journal.next()).map_err(text)?;
            self.maps.clear();
            self.stream = boot;
        }
        let reader = journal.reader();
        let headers = reader.headers(journal.first()).map(|item| item.map(|(_, header)| header));
        let headers: Vec<EntryHeader> = headers.collect::<Result<_, _>>().map_err(text)?;
        let last_seq = headers.last().map(last_seq_of).unwrap_or_default();
        let extent = JournalExtent { first: Position(journal.first()), next: Position(journal.next()), last_seq };
        Ok(Found { journal, headers, extent, fresh })
    }

    fn open_journal(&self) -> Result<Journal<FaultyDisk>, String> {
        let config = Config { segment_bytes: 16 << 10, total_bytes: 64 << 10, sync: SyncPolicy::Never };
        let (journal, recovery) = Journal::open(self.disk.clone(), config).map_err(text)?;
        match recovery.damaged {
            Some(damage) => Err(format!("the primary's journal lost durable items: {damage:?}")),
            None => Ok(journal),
        }
    }
}

impl Found {
    /// What is there of this secondary; none when it must join.
    pub(super) fn restored(&self, files: &Files, name: &str, completed: u64) -> Option<Restored> {
        let saved = files.maps.get(name);
        if saved.is_none() && !self.fresh {
            return None;
        }
        Some(Restored {
            journal: self.extent,
            acknowledged: Position(self.journal.cursor(name).unwrap_or(0)),
            dirty: saved.map(|snapshot| snapshot.dirty.clone()),
            covered: saved.and_then(|snapshot| snapshot.covered),
            completed: formats::Seq(completed),
        })
    }
}

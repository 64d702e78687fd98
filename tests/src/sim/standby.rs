//! The standby's host: the real engine and the real journal over a faulty disk, and a target with a volatile cache.

use std::collections::VecDeque;
use std::time::Duration;

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadEncoding};
use formats::wire::{DataState, Hello};
use formats::{Crc32c, Op};
use journal::faulty::{FaultyDisk, Rng};
use journal::{AppendError, Config, Item, Journal, SyncPolicy};
use replication::standby::{LocalVolume, Standby, StandbyConfig, StandbyState};

use super::kernel::{BLOCK, BLOCKS, Content, filled, tags_of};
use super::link::{Link, Message};

const MAX_PENDING: usize = 60;

/// A device with a cache that a power cut empties in part.
#[derive(Debug)]
struct Target {
    current: Content,
    durable: Content,
    unsynced: Vec<(usize, u64, u64)>,
}

impl Target {
    fn write(&mut self, volume: usize, block: u64, tag: u64) {
        self.current[volume][block as usize] = tag;
        self.unsynced.push((volume, block, tag));
    }

    fn flush(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.current);
    }

    fn power_cut(&mut self, rng: &mut Rng) {
        for (volume, block, tag) in std::mem::take(&mut self.unsynced) {
            if rng.one_in(2) {
                self.durable[volume][block as usize] = tag;
            }
        }
        self.current.clone_from(&self.durable);
    }
}

/// An operation on the target that is running.
struct Running {
    index: u64,
    writes: Vec<(usize, u64, u64)>,
}

/// The standby's host.
pub(super) struct StandbyHost {
    /// The engine.
    pub(super) engine: Standby,
    disk: FaultyDisk,
    journal: Journal<FaultyDisk>,
    target: Target,
    saved: StandbyState,
    running: Vec<Running>,
    /// Checked frames that the journal had no room for.
    held: VecDeque<Vec<(EntryHeader, Vec<u8>)>>,
    redo_next: Option<u64>,
    depth: usize,
}

fn config(depth: usize) -> StandbyConfig {
    let volume = |(index, blocks): (usize, &u64)| LocalVolume {
        name: format!("v{index}"),
        size: blocks * BLOCK,
        block_size: BLOCK as u32,
    };
    StandbyConfig {
        depth,
        window_bytes: 16 << 10,
        max_pending: MAX_PENDING,
        checkpoint_interval: Duration::from_millis(40),
        ..StandbyConfig::new("b", BLOCKS.iter().enumerate().map(volume).collect())
    }
}

fn open(disk: &FaultyDisk) -> Result<Journal<FaultyDisk>, String> {
    let config = Config { segment_bytes: 16 << 10, total_bytes: 96 << 10, sync: SyncPolicy::Never };
    let (journal, recovery) = Journal::open(disk.clone(), config).map_err(|e| e.to_string())?;
    match recovery.damaged {
        Some(damage) => Err(format!("the standby's journal lost durable items: {damage:?}")),
        None => Ok(journal),
    }
}

impl StandbyHost {
    /// A host that never held anything; its target holds rubbish.
    pub(super) fn new(depth: usize) -> Result<Self, String> {
        let disk = FaultyDisk::new();
        let journal = open(&disk)?;
        let saved = StandbyState::blank(0);
        let mut engine = Standby::recover(config(depth), &saved);
        engine.redo_end();
        let target = Target { current: filled(0), durable: filled(0), unsynced: Vec::new() };
        let (running, held) = (Vec::new(), VecDeque::new());
        Ok(Self { engine, disk, journal, target, saved, running, held, redo_next: None, depth })
    }

    /// What the target holds, its cache included.
    pub(super) fn content(&self) -> &Content {
        &self.target.current
    }

    /// What it would hold after its journal was applied to the end.
    pub(super) fn content_with_journal(&self) -> Result<Content, String> {
        let mut content = self.target.current.clone();
        let mut reader = self.journal.reader();
        let mut next = self.saved.local_index + 1;
        loop {
            let batch = reader.read(next, 1 << 20).map_err(|e| e.to_string())?;
            let Some(last) = batch.last() else { return Ok(content) };
            for (place, (_, header, _)) in batch.items.iter().enumerate() {
                for (volume, block, tag) in writes_of(header, batch.payload(place))? {
                    content[volume][block as usize] = tag;
                }
            }
            next = last + 1;
        }
    }

    /// The process is killed: operations that run may have been done in part.
    pub(super) fn kill(&mut self, rng: &mut Rng) -> Result<(), String> {
        for running in std::mem::take(&mut self.running) {
            for (volume, block, tag) in running.writes {
                if rng.one_in(2) {
                    self.target.write(volume, block, tag);
                }
            }
        }
        self.disk.kill();
        self.restart()
    }

    /// The power fails: what was not flushed is kept or lost, write by write.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) -> Result<(), String> {
        self.running.clear();
        self.target.power_cut(rng);
        self.disk.power_cut(rng.next_u64());
        self.restart()
    }

    fn restart(&mut self) -> Result<(), String> {
        self.held.clear();
        self.journal = open(&self.disk)?;
        self.engine = Standby::recover(config(self.depth), &self.saved);
        self.redo_next = Some(self.saved.local_index + 1);
        Ok(())
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.held.clear();
        self.engine.disconnected();
    }

    /// Lets a step pass. False when it closes the connection.
    pub(super) fn step(&mut self, now: u64, link: &mut Link, rng: &mut Rng) -> Result<bool, String> {
        self.redo()?;
        self.start_and_finish(rng)?;
        self.make_durable(rng)?;
        self.checkpoint(now, rng)?;
        self.check_bounds()?;
        if !link.up {
            return Ok(true);
        }
        let open = self.receive(now, link, rng)?;
        if open && let Some(ack) = self.engine.poll_ack() {
            link.send_to_primary(now + 1 + rng.below(4), Message::Ack(ack));
        }
        Ok(open)
    }

    fn redo(&mut self) -> Result<(), String> {
        let Some(mut next) = self.redo_next else { return Ok(()) };
        let journal = self.journal.reader();
        let mut headers = journal.headers(next);
        while self.engine.wants_frames() {
            let Some(item) = headers.next() else {
                self.engine.redo_end();
                self.redo_next = None;
                return Ok(());
            };
            let (index, header) = item.map_err(|e| e.to_string())?;
            self.engine.redo(index, &header).map_err(|e| e.to_string())?;
            next = index + 1;
        }
        self.redo_next = Some(next);
        Ok(())
    }

    fn start_and_finish(&mut self, rng: &mut Rng) -> Result<(), String> {
        let mut reader = self.journal.reader();
        while let Some(index) = self.engine.next_ready() {
            let batch = reader.read(index, 1).map_err(|e| e.to_string())?;
            let (_, header, _) = &batch.items[0];
            self.running.push(Running { index, writes: writes_of(header, batch.payload(0))? });
        }
        for _ in 0..rng.below(4) {
            if self.running.is_empty() {
                break;
            }
            let done = self.running.swap_remove(rng.below(self.running.len() as u64) as usize);
            done.writes.iter().for_each(|(volume, block, tag)| self.target.write(*volume, *block, *tag));
            self.engine.applied(done.index).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn make_durable(&mut self, rng: &mut Rng) -> Result<(), String> {
        while let Some(frame) = self.held.front() {
            let encoded: Vec<_> = frame.iter().map(|(header, _)| header.encode()).collect();
            let items: Vec<_> =
                encoded.iter().zip(frame).map(|(header, (_, payload))| Item { header, payload }).collect();
            match self.journal.append(&items) {
                Ok(indices) => self.engine.journaled(indices).map_err(|e| e.to_string())?,
                Err(AppendError::Full { .. }) => break,
                Err(e) => return Err(e.to_string()),
            }
            self.held.pop_front();
        }
        if rng.one_in(3) && self.redo_next.is_none() && !self.engine.recovering() {
            let durable = self.journal.sync().map_err(|e| e.to_string())?;
            self.engine.durable(durable).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, now: u64, rng: &mut Rng) -> Result<(), String> {
        let full = !self.held.is_empty();
        if (full || self.engine.checkpoint_due(Duration::from_millis(now))) && rng.one_in(2) {
            let state = self.engine.checkpoint();
            self.save(now, state);
        }
        Ok(())
    }

    fn save(&mut self, now: u64, state: StandbyState) {
        self.target.flush();
        self.saved = state;
        self.engine.checkpoint_saved(Duration::from_millis(now), &self.saved);
        self.journal.trim(self.engine.trim_through());
    }

    fn receive(&mut self, now: u64, link: &mut Link, rng: &mut Rng) -> Result<bool, String> {
        while self.engine.wants_frames() || !link.up {
            let Some(message) = link.at_standby(now) else { break };
            let open = match message {
                Message::Hello(hello) => self.hello(now, &hello, link, rng),
                Message::Entries(number, bytes) => self.entries(number, &bytes),
                _ => true,
            };
            if !open {
                return Ok(false);
            }
        }
        if rng.one_in(20) {
            link.send_to_primary(now + 1, Message::KeepAlive);
        }
        Ok(true)
    }

    fn hello(&mut self, now: u64, hello: &Hello, link: &mut Link, rng: &mut Rng) -> bool {
        match self.engine.hello(hello) {
            Ok(accepted) => {
                if let Some(state) = accepted.save_first {
                    self.save(now, state);
                }
                link.send_to_primary(now + 1 + rng.below(4), Message::Welcome(accepted.welcome));
                true
            }
            Err(_) => {
                link.send_to_primary(now + 1, Message::Refuse);
                true
            }
        }
    }

    /// Takes a frame, if every checksum in it is right and the engine has nothing against it.
    fn entries(&mut self, number: u64, bytes: &[u8]) -> bool {
        let Some(entries) = decode(bytes) else { return false };
        let headers: Vec<_> = entries.iter().map(|(header, _)| *header).collect();
        if self.engine.frame(number, &headers).is_err() {
            return false;
        }
        self.held.push_back(entries);
        true
    }

    fn check_bounds(&self) -> Result<(), String> {
        let pending = self.engine.status().pending;
        // A frame of the window's size may come on top of a limit that is not quite reached.
        if pending > MAX_PENDING + (32 << 10) / HEADER_LEN {
            return Err(format!("{pending} entries pending at the standby"));
        }
        Ok(())
    }

    /// State of its content, as it says.
    pub(super) fn data_state(&self) -> DataState {
        self.engine.data_state()
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<(EntryHeader, Vec<u8>)>> {
    let (mut rest, mut entries) = (bytes, Vec::new());
    while !rest.is_empty() {
        let header = EntryHeader::decode(rest).ok()?;
        let payload = rest.get(HEADER_LEN..header.total_len())?;
        if Crc32c::of(payload) != header.payload.crc && !payload.is_empty() {
            return None;
        }
        entries.push((header, payload.to_vec()));
        rest = &rest[header.total_len()..];
    }
    Some(entries)
}

/// What applying an entry writes: volume, block, tag.
fn writes_of(header: &EntryHeader, payload: &[u8]) -> Result<Vec<(usize, u64, u64)>, String> {
    let (volume, range) = match &header.entry {
        Entry::Gap(_) => return Ok(Vec::new()),
        Entry::Record(record) if !record.status.is_ok() || record.op == Op::Flush => return Ok(Vec::new()),
        Entry::Record(record) => (record.volume, record.range),
        Entry::Region(region) => (region.volume, region.range),
    };
    let write = matches!(&header.entry, Entry::Record(record) if record.op == Op::Write);
    let tags = match header.payload.encoding {
        PayloadEncoding::Data => tags_of(payload)?,
        PayloadEncoding::None if write => return Ok(Vec::new()),
        _ => vec![0; (range.len / BLOCK) as usize],
    };
    let first = range.offset / BLOCK;
    Ok(tags.into_iter().enumerate().map(|(n, tag)| (usize::from(volume.0), first + n as u64, tag)).collect())
}

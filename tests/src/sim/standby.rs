//! The standby's host: the real engine and the real journal over a faulty disk, and a target with a volatile cache.

use std::collections::VecDeque;
use std::time::Duration;

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadEncoding};
use formats::wire::{DataState, Hello, Resend, Stretch};
use formats::{Crc32c, Op, VolumeIndex};
use journal::faulty::{FaultyDisk, Rng};
use journal::{AppendError, Config, Item, Journal, SyncPolicy};
use replication::errors::{HealConfig, Hole, RowIndex, Scope, Wait};
use replication::standby::{LocalVolume, Standby, StandbyConfig, StandbyError, StandbyMode, StandbyState, Verdict};

use super::coverage::Coverage;
use super::kernel::{BLOCK, BLOCKS, Content, REGION, tags_of};
use super::link::{Arrival, Link, Message};
use super::target::{Answer, Target, Write};

const MAX_PENDING: usize = 60;

/// An operation on the target that is running.
struct Running {
    index: u64,
    volume: usize,
    writes: Vec<Write>,
    /// It comes to a command on the device at all.
    is_command: bool,
    /// What the device answered, before anybody was told.
    answer: Option<Answer>,
}

/// A checkpoint on its way.
struct Making {
    state: StandbyState,
    flushed: bool,
}

/// What happened on the standby's device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Entries that the device did not take.
    pub(super) refused: u64,
    /// Times that the cache was lost.
    pub(super) lost: u64,
    /// Times that the engine went back to its checkpoint.
    pub(super) rewinds: u64,
    /// Stretches that the primary was asked for.
    pub(super) asked: u64,
    /// Bytes that healed, in the life of the engines that are gone.
    pub(super) healed: u64,
}

/// The standby's host.
pub(super) struct StandbyHost {
    /// The engine.
    pub(super) engine: Standby,
    disk: FaultyDisk,
    journal: Journal<FaultyDisk>,
    pub(super) target: Target,
    saved: StandbyState,
    making: Option<Making>,
    pub(super) counts: Counts,
    pub(super) coverage: Coverage,
    /// The last state of the engine that was noted.
    seen: Option<StandbyMode>,
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
        heal: HealConfig {
            region_size: REGION.into(),
            wait: Wait { first: Duration::from_millis(4), longest: Duration::from_millis(60) },
            max_pieces: 8,
        },
        max_redos: u32::MAX,
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
    pub(super) fn new(depth: usize, seed: u64) -> Result<Self, String> {
        let disk = FaultyDisk::new();
        let journal = open(&disk)?;
        let saved = StandbyState::blank(0);
        let mut engine = Standby::recover(config(depth), &saved);
        engine.redo_end();
        let (target, counts) = (Target::new(seed), Counts::default());
        let (running, held, making) = (Vec::new(), VecDeque::new(), None);
        let (coverage, seen, redo_next) = (Coverage::default(), None, None);
        Ok(Self {
            engine,
            disk,
            journal,
            target,
            saved,
            making,
            counts,
            coverage,
            seen,
            running,
            held,
            redo_next,
            depth,
        })
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
        for running in std::mem::take(&mut self.running).into_iter().filter(|running| running.answer.is_none()) {
            for (volume, block, tag) in running.writes {
                if rng.one_in(2) {
                    self.target.write(volume, block, tag);
                }
            }
        }
        self.target.untold = false;
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
        self.making = None;
        self.counts.healed += self.engine.holes().healed_bytes();
        self.journal = open(&self.disk)?;
        self.engine = Standby::recover(config(self.depth), &self.saved);
        self.redo_next = Some(self.saved.local_index + 1);
        self.seen = None;
        self.note();
        Ok(())
    }

    /// Notes the state of the engine.
    fn note(&mut self) {
        self.seen = self.coverage.standby(self.seen, self.engine.mode());
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.held.clear();
        self.engine.disconnected();
        self.note();
    }

    /// Lets a step pass. False when it closes the connection.
    pub(super) fn step(&mut self, now: u64, link: &mut Link, rng: &mut Rng) -> Result<bool, String> {
        self.counts.lost += u64::from(self.target.step(now));
        self.rewind()?;
        self.note();
        self.redo()?;
        self.note();
        self.start_and_finish(now, rng)?;
        self.make_durable(rng)?;
        self.checkpoint(now, rng);
        self.check_bounds()?;
        self.note();
        if !link.is_seen_by_standby() {
            return Ok(true);
        }
        if self.engine.is_losing() {
            return Ok(false);
        }
        let open = self.receive(now, link, rng)?;
        if open && let Some(ack) = self.engine.poll_ack() {
            link.send_to_primary(now + 1 + rng.below(4), Message::Ack(ack));
        }
        let holes = if open { self.engine.poll_resend(ms(now)) } else { Vec::new() };
        if !holes.is_empty() {
            self.counts.asked += holes.len() as u64;
            link.send_to_primary(now + 1 + rng.below(4), Message::Resend(resend(&holes)));
        }
        Ok(open)
    }

    /// After a loss, once nothing runs any more: back to the checkpoint.
    fn rewind(&mut self) -> Result<(), String> {
        if self.engine.is_losing() {
            self.redo_next = None;
        }
        if self.engine.may_rewind() {
            let first = self.engine.rewind().map_err(|e| e.to_string())?;
            if first != self.saved.local_index + 1 {
                return Err(format!("rewound to {first}, but the checkpoint is {}", self.saved.local_index));
            }
            self.redo_next = Some(first);
            self.counts.rewinds += 1;
        }
        Ok(())
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
            self.engine.redo(index, &[header]).map_err(|e| e.to_string())?;
            next = index + 1;
        }
        self.redo_next = Some(next);
        Ok(())
    }

    fn start_and_finish(&mut self, now: u64, rng: &mut Rng) -> Result<(), String> {
        let mut reader = self.journal.reader();
        while let Some(index) = self.engine.next_ready() {
            let batch = reader.read(index, 1).map_err(|e| e.to_string())?;
            let (_, header, _) = &batch.items[0];
            self.running.push(running(index, header, batch.payload(0))?);
        }
        for place in 0..self.running.len() {
            if self.target.one_in(4) {
                self.execute(place);
            }
        }
        for _ in 0..rng.below(4) {
            if self.running.is_empty() {
                break;
            }
            let place = rng.below(self.running.len() as u64) as usize;
            self.execute(place);
            let done = self.running.swap_remove(place);
            self.report(now, &done).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// The device does it; nobody is told yet.
    fn execute(&mut self, place: usize) {
        let running = &mut self.running[place];
        if running.answer.is_none() {
            let is_command = running.is_command;
            let answer = if is_command { self.target.command(running.volume, &running.writes) } else { Answer::Good };
            running.answer = Some(answer);
        }
    }

    fn report(&mut self, now: u64, done: &Running) -> Result<(), StandbyError> {
        let scope = match done.answer {
            Some(Answer::Good) | None if done.is_command => return self.engine.applied(done.index),
            Some(Answer::Good) | None => return self.engine.skipped(done.index),
            Some(Answer::Lost) => {
                self.engine.lost();
                return self.engine.skipped(done.index);
            }
            Some(Answer::Refused) => Scope::Range,
            Some(Answer::Unflushed) => Scope::SinceFlush,
        };
        self.counts.refused += 1;
        self.engine.out_of_sync(done.index, scope, RowIndex::named("write-error"), ms(now))
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
        let settled = !self.engine.recovering() || self.engine.is_losing();
        if rng.one_in(3) && self.redo_next.is_none() && settled {
            let durable = self.journal.sync().map_err(|e| e.to_string())?;
            self.engine.durable(durable).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// One step of a checkpoint: captured, flushed, and saved when the engine says so.
    fn checkpoint(&mut self, now: u64, rng: &mut Rng) {
        let full = !self.held.is_empty();
        if self.making.is_none() && (full || self.engine.checkpoint_due(ms(now))) && rng.one_in(2) {
            self.making = Some(Making { state: self.engine.checkpoint(), flushed: false });
        }
        let Some(mut making) = self.making.take() else { return };
        if !making.flushed && self.target.one_in(2) {
            if self.target.flush() == Answer::Lost {
                self.engine.lost();
                return;
            }
            self.engine.flushed();
            making.flushed = true;
        }
        match self.engine.verdict(&mut making.state) {
            Verdict::Save => self.save(now, making.state),
            Verdict::Wait => self.making = Some(making),
            Verdict::Discard => {}
        }
    }

    fn save(&mut self, now: u64, state: StandbyState) {
        self.saved = state;
        self.engine.checkpoint_saved(ms(now), &self.saved);
        self.journal.trim(self.engine.trim_through());
    }

    /// The state of a new stream; false when the device tells of a loss instead.
    fn save_first(&mut self, now: u64) -> bool {
        self.making = None;
        let mut state = self.engine.checkpoint();
        if self.target.flush() == Answer::Lost {
            self.engine.lost();
            return false;
        }
        self.engine.flushed();
        let saves = self.engine.verdict(&mut state) == Verdict::Save;
        if saves {
            self.save(now, state);
        }
        saves
    }

    fn receive(&mut self, now: u64, link: &mut Link, rng: &mut Rng) -> Result<bool, String> {
        while self.engine.wants_frames() {
            let Some(arrival) = link.at_standby(now) else { break };
            self.coverage.messages += 1;
            let open = match arrival {
                Arrival::Message(Message::Hello(hello)) => self.hello(now, &hello, link, rng),
                Arrival::Message(Message::Entries(number, bytes)) => self.entries(number, &bytes),
                Arrival::Message(_) => true,
                Arrival::End => {
                    self.disconnected();
                    true
                }
            };
            self.note();
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
                if accepted.save_first.is_some() && !self.save_first(now) {
                    return false;
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

    /// Whether its device knows more of its content than it has told.
    pub(super) fn is_unheard(&self) -> bool {
        let unheard = |running: &Running| running.answer.is_some_and(|answer| answer != Answer::Good);
        self.target.untold || self.running.iter().any(unheard)
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

fn ms(step: u64) -> Duration {
    Duration::from_millis(step)
}

/// The holes as they travel.
fn resend(holes: &[Hole]) -> Resend {
    let stretch = |hole: &Hole| Stretch {
        volume: hole.volume.0,
        offset: hole.range.offset,
        len: hole.range.len,
        reason: hole.reason.map_or("", |row| row.row().id).into(),
    };
    Resend { stretches: holes.iter().map(stretch).collect() }
}

fn running(index: u64, header: &EntryHeader, payload: &[u8]) -> Result<Running, String> {
    let writes = writes_of(header, payload)?;
    let (volume, flush) = match &header.entry {
        Entry::Record(record) => (record.volume, record.op == Op::Flush && record.status.is_ok()),
        Entry::Region(region) => (region.volume, false),
        Entry::Gap(_) => (VolumeIndex(0), false),
    };
    let is_command = flush || !writes.is_empty();
    Ok(Running { index, volume: usize::from(volume.0), writes, is_command, answer: None })
}

/// What applying an entry writes: volume, block, tag.
fn writes_of(header: &EntryHeader, payload: &[u8]) -> Result<Vec<Write>, String> {
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

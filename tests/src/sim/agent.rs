//! The primary's agent: the real sequencer, epoch tracker, engine and journal, on the model host.
//!
//! [`Files`] outlive the process; everything in [`Agent`] is gone when it is killed.

use std::time::Duration;

use formats::entry::{Entry, EntryHeader, Gap, PayloadInfo, Region};
use formats::wire::{Hello, MIN_VERSION, Message as _, VERSION, VolumeIdentity};
use formats::{ByteRange, Position, Seq, StreamId, VolumeIndex};
use journal::faulty::{FaultyDisk, Rng};
use journal::{AppendError, Config, Item, Journal, SyncPolicy};
use replication::dirty::DirtyMap;
use replication::epochs::{Action, EpochTracker};
use replication::primary::{FullReason, JournalExtent, Primary, PrimaryConfig, Restored, Resume, Send, Snapshot};
use replication::sequencer::{Offer, Ordered, Sequencer};

use super::kernel::{BLOCK, Content, Event, Kernel, REGION, bytes_of, encode, sizes};
use super::link::{Link, Message};

const CURSOR: &str = "b";
const WINDOW: u64 = 12 << 10;
const HELD: usize = 64;
const HOLE_TIMEOUT: Duration = Duration::from_millis(20);

/// What lies on the disk of the primary's host.
#[derive(Default)]
pub(super) struct Files {
    disk: FaultyDisk,
    /// Of which stream, and what.
    saved: Option<(u64, Snapshot)>,
}

/// Regions that were read and will be sent.
struct Reading {
    send_at: u64,
    content: Vec<(VolumeIndex, ByteRange, Vec<u64>)>,
}

/// The process.
pub(super) struct Agent {
    /// The engine.
    pub(super) engine: Primary,
    stream: u64,
    journal: Journal<FaultyDisk>,
    sequencer: Sequencer<Event>,
    tracker: EpochTracker,
    reading: Option<Reading>,
    /// Epochs of commands that are settled once the map is saved.
    settle: Vec<u32>,
    take_over: Vec<u32>,
    lost: u64,
    /// Events up to `.1` have arrived or are lost at step `.0`.
    horizon: Option<(u64, u64)>,
    awaiting_welcome: Option<u64>,
}

fn ms(step: u64) -> Duration {
    Duration::from_millis(step)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
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

    fn open(&self) -> Result<Journal<FaultyDisk>, String> {
        let config = Config { segment_bytes: 16 << 10, total_bytes: 64 << 10, sync: SyncPolicy::Never };
        let (journal, recovery) = Journal::open(self.disk.clone(), config).map_err(text)?;
        match recovery.damaged {
            Some(damage) => Err(format!("the primary's journal lost durable items: {damage:?}")),
            None => Ok(journal),
        }
    }
}

fn config(stream: u64) -> PrimaryConfig {
    PrimaryConfig {
        region_size: REGION,
        window_bytes: WINDOW,
        max_batch_bytes: 4 << 10,
        max_region_read_bytes: 4 << 10,
        keepalive: ms(50),
        link_timeout: ms(400),
        backoff_min: ms(5),
        backoff_max: ms(100),
        ..PrimaryConfig::new(StreamId(stream), sizes())
    }
}

fn last_seq_of(header: &EntryHeader) -> Seq {
    match &header.entry {
        Entry::Record(record) => record.seq,
        Entry::Gap(gap) => gap.last,
        Entry::Region(_) => Seq(0),
    }
}

impl Agent {
    /// Starts on what earlier processes left.
    pub(super) fn start(now: u64, files: &mut Files, kernel: &mut Kernel) -> Result<Self, String> {
        let mut journal = files.open()?;
        if files.saved.as_ref().is_none_or(|(stream, _)| *stream != kernel.boot) {
            // The line of observation was broken: a new stream begins, positions go on.
            journal.discard_all(journal.next()).map_err(text)?;
            files.saved = None;
        }
        let headers: Vec<EntryHeader> = journal
            .reader()
            .headers(journal.first())
            .map(|item| item.map(|(_, h)| h))
            .collect::<Result<_, _>>()
            .map_err(text)?;
        let last_seq = headers.last().map_or(Seq(0), last_seq_of);
        let saved = files.saved.as_ref().map(|(_, snapshot)| snapshot);
        let restored = Restored {
            journal: JournalExtent { first: Position(journal.first()), next: Position(journal.next()), last_seq },
            acknowledged: Position(journal.cursor(CURSOR).unwrap_or(0)),
            dirty: saved.map(|snapshot| snapshot.dirty.clone()),
            covered: saved.and_then(|snapshot| snapshot.covered),
            completed: Seq(kernel.seq),
        };
        let mut engine = Primary::new(config(kernel.boot), restored).map_err(text)?;
        headers.iter().for_each(|header| engine.recover_entry(header));
        let horizon = kernel.seq;
        engine.mark_map(&kernel.all_bits(), Seq(horizon));
        kernel.drop_events(horizon);
        let mut agent = Self {
            engine,
            stream: kernel.boot,
            journal,
            sequencer: Sequencer::new(Seq(horizon + 1), HOLE_TIMEOUT, HELD),
            tracker: EpochTracker::recover(ms(now), kernel.epoch, ms(60), ms(2)),
            reading: None,
            settle: Vec::new(),
            take_over: Vec::new(),
            lost: kernel.counts.lost.iter().sum(),
            horizon: None,
            awaiting_welcome: None,
        };
        agent.save(files);
        if horizon > last_seq.0 {
            agent.append_gap(now, files, Gap { first: last_seq.next(), last: Seq(horizon) })?;
        }
        Ok(agent)
    }

    /// Lets a step pass.
    pub(super) fn step(
        &mut self,
        now: u64,
        files: &mut Files,
        kernel: &mut Kernel,
        rng: &mut Rng,
    ) -> Result<(), String> {
        self.capture(now, files, kernel)?;
        self.epochs(now, kernel);
        let urgent = self.engine.save_is_urgent() || !self.settle.is_empty() || !self.take_over.is_empty();
        if (urgent && rng.one_in(3)) || rng.one_in(30) {
            self.save(files);
        }
        if rng.one_in(2) {
            self.trim()?;
        }
        if rng.one_in(20) {
            self.journal.checkpoint().map_err(text)?;
        }
        self.check_bounds()
    }

    fn capture(&mut self, now: u64, files: &mut Files, kernel: &mut Kernel) -> Result<(), String> {
        self.offer(now, kernel.drain(now));
        self.notice_losses(now, kernel);
        while let Some(ordered) = self.sequencer.poll(ms(now)) {
            match ordered {
                Ordered::Item(_, event) => {
                    let journalled = self.append(now, files, event.header, &event.payload)?;
                    if journalled { self.tracker.record_settled(event.epoch, 1) } else { self.settle.push(event.epoch) }
                }
                Ordered::Gap(gap) => {
                    self.engine.mark_map(&kernel.all_bits(), Seq(kernel.seq));
                    self.append_gap(now, files, gap)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what has arrived. Where an event's place is gone, its range is marked, and it is settled once that is
    /// saved.
    fn offer(&mut self, now: u64, events: Vec<Event>) {
        for event in events {
            if let Offer::Late(event) = self.sequencer.offer(ms(now), Seq(event.seq), event) {
                self.mark_range(&event.header);
                self.settle.push(event.epoch);
            }
        }
    }

    fn notice_losses(&mut self, now: u64, kernel: &Kernel) {
        let lost = kernel.counts.lost.iter().sum();
        if lost > self.lost {
            self.lost = lost;
            self.engine.mark_map(&kernel.all_bits(), Seq(kernel.seq));
            self.horizon = Some((now + 40, kernel.seq));
        }
        if let Some((_, seq)) = self.horizon.take_if(|(at, _)| now >= *at) {
            self.sequencer.declare_lost(Seq(seq));
        }
    }

    fn mark_range(&mut self, header: &EntryHeader) {
        if let Entry::Record(record) = &header.entry {
            self.engine.mark(record.volume, record.range, record.seq);
        }
    }

    fn epochs(&mut self, now: u64, kernel: &mut Kernel) {
        for action in self.tracker.tick(ms(now), &kernel.counts) {
            match action {
                Action::Switch { to } => kernel.epoch = to,
                Action::Clear { epoch } => kernel.clear(epoch),
            }
        }
        let wanted: Vec<u32> = self.tracker.wants_take_over(ms(now)).collect();
        for epoch in wanted {
            if !self.take_over.contains(&epoch) {
                self.engine.mark_map(kernel.bits(epoch), Seq(kernel.seq));
                self.take_over.push(epoch);
            }
        }
    }

    fn append_gap(&mut self, now: u64, files: &mut Files, gap: Gap) -> Result<(), String> {
        let header = EntryHeader { entry: Entry::Gap(gap), position: Position(0), payload: PayloadInfo::NONE };
        self.append(now, files, header, &[]).map(drop)
    }

    /// Puts an entry into the journal; false when it only marked the map.
    fn append(&mut self, now: u64, files: &mut Files, header: EntryHeader, payload: &[u8]) -> Result<bool, String> {
        for _ in 0..2 {
            if !self.engine.wants_records() {
                self.engine.skip(&header);
                return Ok(false);
            }
            let header = EntryHeader { position: Position(self.journal.next()), ..header };
            match self.journal.append(&[Item { header: &header.encode(), payload }]) {
                Ok(_) => {
                    self.engine.journal_grew(ms(now), header.position.next(), last_seq_of(&header));
                    return Ok(true);
                }
                Err(AppendError::Full { .. }) => self.overflow(files)?,
                Err(e) => return Err(text(e)),
            }
        }
        Err("the journal is full after everything was marked".into())
    }

    fn overflow(&mut self, files: &mut Files) -> Result<(), String> {
        self.trim()?;
        let reader = self.journal.reader();
        let unsent: Vec<EntryHeader> = reader
            .headers(self.engine.uncovered_from().0)
            .map(|item| item.map(|(_, header)| header))
            .collect::<Result<_, _>>()
            .map_err(text)?;
        self.engine.overflowed(&unsent);
        self.save(files);
        self.trim()
    }

    fn save(&mut self, files: &mut Files) {
        let snapshot = self.engine.snapshot();
        self.engine.snapshot_saved(snapshot.generation);
        files.saved = Some((self.stream, snapshot));
        self.settle.drain(..).for_each(|epoch| self.tracker.record_settled(epoch, 1));
        self.take_over.drain(..).for_each(|epoch| self.tracker.taken_over(epoch));
    }

    fn trim(&mut self) -> Result<(), String> {
        let cursor = self.engine.cursor().0;
        self.journal.set_cursor(CURSOR, cursor).map_err(text)?;
        let first = self.journal.trim(cursor);
        self.engine.journal_trimmed(Position(first));
        Ok(())
    }

    fn check_bounds(&mut self) -> Result<(), String> {
        let in_flight = self.engine.status(Duration::ZERO).in_flight_bytes;
        if in_flight > WINDOW + (8 << 10) || self.sequencer.held() > HELD {
            return Err(format!("{in_flight} bytes in flight, {} events held", self.sequencer.held()));
        }
        Ok(())
    }

    /// Every block that this process's files, or the kernel, say may differ.
    pub(super) fn known_to_differ(files: &Files, agent: Option<&Self>, kernel: &Kernel) -> Result<DirtyMap, String> {
        let mut map = kernel.all_bits();
        if let Some((_, snapshot)) = files.saved.as_ref().filter(|(stream, _)| *stream == kernel.boot) {
            map.union(&snapshot.dirty).map_err(text)?;
        }
        let Some(agent) = agent else { return Ok(map) };
        for item in agent.journal.reader().headers(agent.journal.first()) {
            if let (_, EntryHeader { entry: Entry::Record(record), .. }) = item.map_err(text)? {
                map.mark(record.volume, record.range).map_err(text)?;
            }
        }
        Ok(map)
    }

    /// The stream it ships.
    pub(super) fn stream(&self) -> u64 {
        self.stream
    }
}

// The link.
impl Agent {
    /// The connection is gone.
    pub(super) fn disconnected(&mut self, now: u64) {
        self.reading = None;
        self.awaiting_welcome = None;
        self.engine.disconnected(ms(now));
    }

    /// Takes what has arrived and sends what is due. False when it closes the connection.
    pub(super) fn communicate(
        &mut self,
        now: u64,
        link: &mut Link,
        kernel: &Kernel,
        reachable: bool,
        rng: &mut Rng,
    ) -> Result<bool, String> {
        while let Some(message) = link.at_primary(now) {
            if !self.take(now, message)? {
                return Ok(false);
            }
        }
        if self.awaiting_welcome.is_some_and(|since| now > since + 300) {
            return Ok(false);
        }
        self.send_read_regions(now, link, kernel, rng);
        for _ in 0..4 {
            match self.engine.poll_send(ms(now)) {
                Send::Nothing => break,
                Send::Reconnect if !reachable => self.engine.disconnected(ms(now)),
                Send::Reconnect => {
                    link.open();
                    self.awaiting_welcome = Some(now);
                    link.send_to_standby(now + 1, Message::Hello(self.hello()));
                }
                Send::Close(_) => return Ok(false),
                Send::KeepAlive => {
                    self.engine.keepalive_sent(ms(now));
                    link.send_to_standby(now + 1, Message::KeepAlive);
                }
                Send::Entries { from, max_bytes } => self.send_entries(now, from, max_bytes, link)?,
                Send::Cut(header) => {
                    let bytes = encode(&header, &[]);
                    let number = self.engine.cut_sent(ms(now), bytes.len() as u64);
                    link.send_to_standby(now + 1 + rng.below(3), Message::Entries(number, bytes));
                }
                Send::Regions(ranges) => self.read_regions(now, &ranges, &kernel.disk, rng),
            }
        }
        Ok(true)
    }

    fn take(&mut self, now: u64, message: Message) -> Result<bool, String> {
        self.engine.heard(ms(now));
        match message {
            Message::Welcome(welcome) => {
                self.awaiting_welcome = None;
                // What the standby says survives its encoding.
                let welcome = formats::wire::Welcome::from_body(&welcome.to_body()).map_err(text)?;
                match self.engine.connected(ms(now), &welcome) {
                    Resume::Full(reason @ (FullReason::Ahead | FullReason::Behind | FullReason::LostAcknowledged)) => {
                        Err(format!("a full resync without need: {reason:?}"))
                    }
                    _ => Ok(true),
                }
            }
            Message::Ack(ack) => self.engine.ack(ms(now), &ack).map(|()| true).map_err(text),
            Message::Resend(resend) => {
                let resend = formats::wire::Resend::from_body(&resend.to_body()).map_err(text)?;
                self.engine.resend(ms(now), &resend).map(|()| true).map_err(text)
            }
            Message::Refuse => Ok(false),
            _ => Ok(true),
        }
    }

    fn hello(&self) -> Hello {
        let volume = |(index, size): (usize, u64)| VolumeIdentity::blocks(&format!("v{index}"), size, BLOCK as u32);
        Hello {
            min_version: MIN_VERSION,
            max_version: VERSION,
            stream: self.stream,
            group: "g".into(),
            region_size: REGION,
            volumes: sizes().into_iter().enumerate().map(volume).collect(),
        }
    }

    fn send_entries(&mut self, now: u64, from: Position, max: u32, link: &mut Link) -> Result<(), String> {
        let batch = self.journal.reader().read(from.0, max as usize).map_err(text)?;
        let headers: Vec<_> = batch.items.iter().map(|(_, header, _)| *header).collect();
        let number = self.engine.entries_sent(ms(now), &headers, batch.bytes.len() as u64);
        link.send_to_standby(now + 1, Message::Entries(number, batch.bytes));
        Ok(())
    }

    fn read_regions(&mut self, now: u64, ranges: &[(VolumeIndex, ByteRange)], disk: &Content, rng: &mut Rng) {
        let read = |(volume, range): &(VolumeIndex, ByteRange)| {
            let blocks = (range.offset / BLOCK) as usize..(range.end() / BLOCK) as usize;
            (*volume, *range, disk[usize::from(volume.0)][blocks].to_vec())
        };
        self.reading = Some(Reading { send_at: now + rng.below(5), content: ranges.iter().map(read).collect() });
    }

    fn send_read_regions(&mut self, now: u64, link: &mut Link, kernel: &Kernel, rng: &mut Rng) {
        let Some(reading) = self.reading.take_if(|reading| now >= reading.send_at) else { return };
        if rng.one_in(40) {
            self.engine.regions_failed();
            return;
        }
        let mut remaining = self.engine.region_remaining() + reading.content.len() as u64;
        let mut bytes = Vec::new();
        for (volume, range, tags) in reading.content {
            remaining -= 1;
            let content = bytes_of(&tags);
            let payload =
                if tags.iter().all(|tag| *tag == 0) { PayloadInfo::ZERO } else { PayloadInfo::data(&content) };
            let region = Region { volume, range, consistent_after: Seq(kernel.seq), remaining };
            let header = EntryHeader { entry: Entry::Region(region), position: self.engine.sent(), payload };
            bytes.extend(encode(&header, &content[..payload.len as usize]));
        }
        let number = self.engine.regions_sent(ms(now), bytes.len() as u64);
        link.send_to_standby(now + 1, Message::Entries(number, bytes));
    }
}

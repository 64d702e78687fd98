//! The primary's agent: the real sequencer, epoch tracker, group of engines and journal, on the model host.
//!
//! [`Files`] outlive the process; everything in [`Agent`] is gone when it is killed.

use std::time::Duration;

use formats::entry::{Entry, EntryHeader, Gap, PayloadInfo};
use formats::{Position, Seq, StreamId};
use journal::faulty::{FaultyDisk, Rng};
use journal::{AppendError, Item, Journal};
use replication::dirty::DirtyMap;
use replication::epochs::{Action, EpochTracker};
use replication::group::{Group, MemberId, Relief};
use replication::primary::{Counters, Primary, PrimaryConfig};
use replication::sequencer::{Offer, Ordered, Sequencer};

use super::channel::Channel;
use super::coverage::Coverage;
use super::files::{Files, Found};
use super::kernel::{Event, Kernel, REGION, sizes};

const WINDOW: u64 = 12 << 10;
const HELD: usize = 64;
const HOLE_TIMEOUT: Duration = Duration::from_millis(20);

/// The process.
pub(super) struct Agent {
    /// The engines.
    pub(super) group: Group,
    /// The link of each member, by the place of its host.
    pub(super) channels: Vec<Channel>,
    pub(super) stream: u64,
    pub(super) journal: Journal<FaultyDisk>,
    sequencer: Sequencer<Event>,
    tracker: EpochTracker,
    /// Epochs of commands that are settled once the maps are saved.
    settle: Vec<u32>,
    take_over: Vec<u32>,
    lost: u64,
    /// Events up to `.1` have arrived or are lost at step `.0`.
    horizon: Option<(u64, u64)>,
    /// Of members that have left.
    pub(super) gone: Counters,
    /// Times that a member gave way while another was in step.
    pub(super) lone_overflows: u64,
}

pub(super) fn ms(step: u64) -> Duration {
    Duration::from_millis(step)
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The name of the standby at this place.
pub(super) fn name_of(place: usize) -> String {
    format!("s{place}")
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

pub(super) fn last_seq_of(header: &EntryHeader) -> Seq {
    match &header.entry {
        Entry::Record(record) => record.seq,
        Entry::Gap(gap) => gap.last,
        Entry::Region(_) => Seq(0),
    }
}

impl Agent {
    /// Starts on what earlier processes left, for the standbys at these places.
    pub(super) fn start(now: u64, files: &mut Files, kernel: &mut Kernel, places: &[usize]) -> Result<Self, String> {
        let found = files.open(kernel.boot)?;
        let mut group = Group::new(found.extent);
        let channels: Result<Vec<Channel>, String> = places
            .iter()
            .map(|place| Ok(Channel::new(*place, member(&mut group, &found, files, *place, kernel)?)))
            .collect();
        let channels = channels?;
        let Found { mut journal, headers, extent, .. } = found;
        remove_strangers(&mut journal, files, &group)?;
        headers.iter().for_each(|header| group.recover_entry(header));
        let horizon = kernel.seq;
        group.mark_map(&kernel.all_bits(), Seq(horizon));
        kernel.drop_events(horizon);
        let mut agent = Self {
            group,
            channels,
            stream: kernel.boot,
            journal,
            sequencer: Sequencer::new(Seq(horizon + 1), HOLE_TIMEOUT, HELD),
            tracker: EpochTracker::recover(ms(now), kernel.epoch, ms(60), ms(2)),
            settle: Vec::new(),
            take_over: Vec::new(),
            lost: kernel.counts.lost.iter().sum(),
            horizon: None,
            gone: Counters::default(),
            lone_overflows: 0,
        };
        agent.save(files);
        if horizon > extent.last_seq.0 {
            agent.append_gap(now, files, Gap { first: extent.last_seq.next(), last: Seq(horizon) })?;
        }
        Ok(agent)
    }

    /// Takes in the standby at this place, of which nothing is known.
    pub(super) fn join(&mut self, place: usize, files: &mut Files, kernel: &Kernel) -> Result<(), String> {
        let member = self.group.join(&name_of(place), config(self.stream), Seq(kernel.seq)).map_err(text)?;
        self.channels.push(Channel::new(place, member));
        self.save(files);
        Ok(())
    }

    /// Lets the standby at this place go: first its map, so that nobody takes it for known.
    pub(super) fn leave(&mut self, place: usize, files: &mut Files) -> Result<(), String> {
        let Some(at) = self.channels.iter().position(|channel| channel.place == place) else { return Ok(()) };
        let member = self.channels.remove(at).member;
        let left = self.group.leave(member);
        if let Some(mut left) = left {
            add(&mut self.gone, &left.engine_mut().status(Duration::ZERO).counters);
        }
        files.maps.remove(&name_of(place));
        self.journal.remove_cursor(&name_of(place)).map(drop).map_err(text)
    }

    /// What all members have counted.
    pub(super) fn counters(&mut self) -> Counters {
        let mut all = self.gone;
        self.group.members_mut().for_each(|member| add(&mut all, &member.engine_mut().status(Duration::ZERO).counters));
        all
    }

    /// The engine of a member.
    pub(super) fn engine(&mut self, member: MemberId) -> Result<&mut Primary, String> {
        self.group.engine(member).ok_or_else(|| "a channel of a member that has left".to_owned())
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
        let waiting = !self.settle.is_empty() || !self.take_over.is_empty();
        let urgent = self.group.members().iter().any(|member| member.engine().save_is_urgent());
        if ((urgent || waiting) && rng.one_in(3)) || rng.one_in(30) {
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
                    self.group.mark_map(&kernel.all_bits(), Seq(kernel.seq));
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
            self.group.mark_map(&kernel.all_bits(), Seq(kernel.seq));
            self.horizon = Some((now + 40, kernel.seq));
        }
        if let Some((_, seq)) = self.horizon.take_if(|(at, _)| now >= *at) {
            self.sequencer.declare_lost(Seq(seq));
        }
    }

    fn mark_range(&mut self, header: &EntryHeader) {
        if let Entry::Record(record) = &header.entry {
            self.group.mark(record.volume, record.range, record.seq);
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
                self.group.mark_map(kernel.bits(epoch), Seq(kernel.seq));
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
        // Each member gives way once, and its map may have to be saved before.
        for _ in 0..2 * self.channels.len() + 2 {
            if !self.group.wants_records() {
                self.group.skip(&header);
                return Ok(false);
            }
            let header = EntryHeader { position: Position(self.journal.next()), ..header };
            match self.journal.append(&[Item { header: &header.encode(), payload }]) {
                Ok(_) => {
                    self.group.appended(ms(now), &[header], header.position.next(), last_seq_of(&header));
                    return Ok(true);
                }
                Err(AppendError::Full { .. }) => self.make_room(files)?,
                Err(e) => return Err(text(e)),
            }
        }
        Err("the journal is full after everything was marked".into())
    }

    fn make_room(&mut self, files: &mut Files) -> Result<(), String> {
        self.trim()?;
        match self.group.make_room() {
            Relief::Save => self.save(files),
            Relief::Overflow { member, from } => self.overflow(files, member, from)?,
            Relief::DiscardAll => self.journal.discard_all(self.journal.next()).map_err(text)?,
        }
        self.trim()
    }

    fn overflow(&mut self, files: &mut Files, id: MemberId, from: Position) -> Result<(), String> {
        let cursor = self.engine(id)?.cursor();
        if cursor > self.group.cursor() {
            return Err(format!("a member at {cursor} gives way, and another is further behind"));
        }
        let others = self.group.members().iter().filter(|member| member.id() != id);
        let in_step = others.filter(|member| member.engine().mode() == replication::primary::Mode::Ordered).count();
        self.lone_overflows += u64::from(in_step > 0);
        let reader = self.journal.reader();
        let unsent = reader.headers(from.0).map(|item| item.map(|(_, header)| header));
        let unsent: Vec<EntryHeader> = unsent.collect::<Result<_, _>>().map_err(text)?;
        self.group.overflowed(id, &unsent);
        self.save(files);
        Ok(())
    }

    /// Saves all maps; what waited for that is settled.
    fn save(&mut self, files: &mut Files) {
        for member in self.group.members_mut() {
            let snapshot = member.engine_mut().snapshot();
            member.engine_mut().snapshot_saved(snapshot.generation);
            files.maps.insert(member.name().to_owned(), snapshot);
        }
        self.settle.drain(..).for_each(|epoch| self.tracker.record_settled(epoch, 1));
        self.take_over.drain(..).for_each(|epoch| self.tracker.taken_over(epoch));
    }

    fn trim(&mut self) -> Result<(), String> {
        // A new name needs nothing of what is gone.
        let gone = self.journal.first() - 1;
        for member in self.group.members_mut() {
            let cursor = member.engine_mut().cursor().0.max(gone);
            self.journal.set_cursor(member.name(), cursor).map_err(text)?;
        }
        let first = self.journal.trim(self.group.cursor().0);
        self.group.journal_trimmed(Position(first));
        Ok(())
    }

    fn check_bounds(&mut self) -> Result<(), String> {
        for member in self.group.members_mut() {
            let in_flight = member.engine_mut().status(Duration::ZERO).in_flight_bytes;
            if in_flight > WINDOW + (8 << 10) || self.sequencer.held() > HELD {
                return Err(format!("{in_flight} bytes in flight, {} events held", self.sequencer.held()));
            }
        }
        Ok(())
    }

    /// Every block that this process's files, or the kernel, say may differ at the standby at `place`.
    pub(super) fn known_to_differ(&self, files: &Files, place: usize, kernel: &Kernel) -> Result<DirtyMap, String> {
        let mut map = kernel.all_bits();
        if let Some(snapshot) = files.maps.get(&name_of(place)) {
            map.union(&snapshot.dirty).map_err(text)?;
        }
        for item in self.journal.reader().headers(self.journal.first()) {
            if let (_, EntryHeader { entry: Entry::Record(record), .. }) = item.map_err(text)? {
                map.mark(record.volume, record.range).map_err(text)?;
            }
        }
        Ok(map)
    }
}

/// The member for the standby at this place: restored, or, if nothing is known of it, joining.
fn member(group: &mut Group, found: &Found, files: &Files, place: usize, kernel: &Kernel) -> Result<MemberId, String> {
    let (name, config) = (name_of(place), config(kernel.boot));
    let taken = match found.restored(files, &name, kernel.seq) {
        Some(restored) => group.restore(&name, config, restored),
        None => group.join(&name, config, Seq(kernel.seq)),
    };
    taken.map_err(text)
}

/// Forgets secondaries that are not members any more.
fn remove_strangers(journal: &mut Journal<FaultyDisk>, files: &mut Files, group: &Group) -> Result<(), String> {
    let is_member = |name: &str| group.members().iter().any(|member| member.name() == name);
    files.maps.retain(|name, _| is_member(name));
    let cursors: Vec<String> = journal.cursors().iter().map(|cursor| cursor.name.clone()).collect();
    for name in cursors.iter().filter(|name| !is_member(name)) {
        journal.remove_cursor(name).map_err(text)?;
    }
    Ok(())
}

fn add(sum: &mut Counters, more: &Counters) {
    sum.overflows += more.overflows;
    sum.full_syncs += more.full_syncs;
    sum.holes += more.holes;
    sum.resynced_bytes += more.resynced_bytes;
}

impl Agent {
    /// Notes the state of each engine.
    pub(super) fn observe(&mut self, coverage: &mut Coverage) {
        let Self { group, channels, .. } = self;
        for channel in channels {
            if let Some(engine) = group.engine(channel.member) {
                channel.seen = coverage.primary(channel.seen, engine.mode());
            }
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use formats::entry::{Entry, PayloadInfo, Record};
use formats::wire::{Ack, DataState, Welcome};
use formats::{Op, StreamId};

use super::*;
use crate::consistency::tests::{gap, record};
use crate::primary::{Covered, Mode, Resume, Send, Snapshot};

const REGION: u64 = 4096;
const REGIONS: u64 = 8;

fn at(ms: u64) -> Now {
    Now::from_millis(ms)
}

fn config() -> PrimaryConfig {
    PrimaryConfig { region_size: REGION as u32, ..PrimaryConfig::new(StreamId(7), vec![REGION * REGIONS]) }
}

fn welcome(stream: u64, durable: u64) -> Welcome {
    let data = if stream == 0 { DataState::Blank } else { DataState::Consistent };
    Welcome { version: 1, node: "b".into(), stream, durable, applied: durable, data, window: 1 << 20 }
}

fn ack(frame: u64, durable: u64) -> Ack {
    let data = DataState::Consistent;
    Ack { received_frame: frame, durable_frame: frame, applied_frame: frame, durable, applied: durable, data }
}

/// A write of one region.
fn write(position: u64, seq: u64, region: u64) -> EntryHeader {
    let mut header = record(position, seq, Op::Write, PayloadInfo::data(b"12345678"));
    if let Entry::Record(record) = &mut header.entry {
        record.range = ByteRange::new(region * REGION, 8);
    }
    header
}

fn region_of(header: &EntryHeader) -> Option<u64> {
    match &header.entry {
        Entry::Record(Record { range, .. }) => Some(range.offset / REGION),
        _ => None,
    }
}

/// A secondary's host, as naive as can be: what each region holds is the seq of the write that it got last.
#[derive(Clone, Debug, Default)]
struct Host {
    stream: u64,
    durable: u64,
    content: BTreeMap<u64, u64>,
    frames: u64,
    saved: Option<Snapshot>,
    /// Regions of records that no journal took since the map was saved: the kernel's map still holds them.
    skipped: BTreeSet<u64>,
}

/// A group over a journal that is a list of limited length.
struct Story {
    group: Group,
    journal: Vec<EntryHeader>,
    room: usize,
    first: u64,
    next: u64,
    seq: u64,
    disk: BTreeMap<u64, u64>,
    hosts: BTreeMap<MemberId, Host>,
    gave_way: Vec<MemberId>,
    now: Now,
}

impl Story {
    fn new(members: usize, room: usize) -> Self {
        let mut story = Self {
            group: Group::new(JournalExtent::EMPTY),
            journal: Vec::new(),
            room,
            first: 1,
            next: 1,
            seq: 0,
            disk: BTreeMap::new(),
            hosts: BTreeMap::new(),
            gave_way: Vec::new(),
            now: at(0),
        };
        for n in 0..members {
            let id = story.group.restore(&format!("s{n}"), config(), Restored::NOTHING).expect("room");
            story.hosts.insert(id, Host::default());
        }
        story
    }

    fn ids(&self) -> Vec<MemberId> {
        self.group.members().iter().map(Member::id).collect()
    }

    fn engine(&mut self, id: MemberId) -> &mut Primary {
        self.group.engine(id).expect("a member")
    }

    fn host(&mut self, id: MemberId) -> &mut Host {
        self.hosts.get_mut(&id).expect("a host")
    }

    fn save(&mut self, id: MemberId) {
        let snapshot = self.engine(id).snapshot();
        self.engine(id).snapshot_saved(snapshot.generation);
        let host = self.host(id);
        host.saved = Some(snapshot);
        host.skipped.clear();
    }

    fn trim(&mut self) {
        let cursor = self.group.cursor();
        self.journal.retain(|header| header.position > cursor);
        self.first = self.first.max(cursor.0 + 1);
        self.group.journal_trimmed(Position(self.first));
    }

    /// The primary writes.
    fn write(&mut self, region: u64) {
        self.seq += 1;
        self.disk.insert(region, self.seq);
        while self.group.wants_records() && self.journal.len() == self.room {
            self.trim();
            if self.journal.len() == self.room {
                self.give_way();
            }
        }
        let header = write(self.next, self.seq, region);
        if !self.group.wants_records() {
            for host in self.hosts.values_mut() {
                host.skipped.insert(region);
            }
            return self.group.skip(&header);
        }
        self.journal.push(header);
        self.next += 1;
        self.group.appended(self.now, &[header], Position(self.next), Seq(self.seq));
    }

    fn give_way(&mut self) {
        match self.group.make_room() {
            Relief::Save => self.ids().into_iter().for_each(|id| self.save(id)),
            Relief::Overflow { member, from } => {
                let unsent: Vec<_> = self.journal.iter().filter(|header| header.position >= from).copied().collect();
                self.group.overflowed(member, &unsent);
                self.gave_way.push(member);
                self.save(member);
            }
            Relief::DiscardAll => panic!("a journal is full of what nobody needs"),
        }
    }

    fn connect(&mut self, id: MemberId) -> Resume {
        let (now, host) = (self.now, self.host(id));
        host.frames = 0;
        let welcome = welcome(host.stream, host.durable);
        let resume = self.engine(id).connected(now, &welcome);
        if matches!(resume, Resume::Full(_)) {
            self.host(id).durable = 0;
        }
        self.host(id).stream = 7;
        resume
    }

    fn disconnect(&mut self, id: MemberId) {
        let now = self.now;
        self.engine(id).disconnected(now);
    }

    /// Sends all there is; the secondary holds it durably at once, and says so.
    fn ship(&mut self, id: MemberId) {
        loop {
            let now = self.now;
            match self.engine(id).poll_send(now) {
                Send::Entries { from, .. } => self.ship_entries(id, from),
                Send::Cut(header) => {
                    self.engine(id).cut_sent(now, 128);
                    self.host(id).durable = header.position.0;
                }
                Send::Regions(ranges) => {
                    self.engine(id).regions_sent(now, 4096);
                    let disk = self.disk.clone();
                    let regions = ranges.iter().flat_map(|(_, r)| r.offset / REGION..r.end().div_ceil(REGION));
                    self.host(id).content.extend(regions.filter_map(|region| disk.get_key_value(&region)));
                }
                _ => return,
            }
            let host = self.host(id);
            host.frames += 1;
            let ack = ack(host.frames, host.durable);
            self.engine(id).ack(now, &ack).expect("sent");
        }
    }

    fn ship_entries(&mut self, id: MemberId, from: Position) {
        let run: Vec<_> = self.journal.iter().filter(|header| header.position >= from).copied().collect();
        let now = self.now;
        assert_eq!(run[0].position, from, "what is to be sent is still there");
        self.engine(id).entries_sent(now, &run, 128);
        let host = self.host(id);
        for header in &run {
            host.content.extend(region_of(header).zip(last_seq_of(header).map(|seq| seq.0)));
            host.durable = header.position.0;
        }
    }

    /// The naive oracle: where a secondary differs, the journal or its *saved* map knows.
    fn check(&self) {
        for (id, host) in self.hosts.iter().filter(|(_, host)| host.stream == 7) {
            for (region, seq) in self.disk.iter().filter(|(region, seq)| host.content.get(region) != Some(seq)) {
                let range = ByteRange::new(region * REGION, REGION);
                let saved = host.saved.as_ref().is_some_and(|saved| saved.dirty.contains(VolumeIndex(0), range));
                let logged = self.journal.iter().any(|header| region_of(header) == Some(*region));
                let known = saved || logged || host.skipped.contains(region);
                assert!(known, "{id:?} misses {seq} of region {region}; {host:?}, from {}", self.first);
            }
        }
    }
}

#[test]
fn each_goes_at_its_own_pace_and_an_entry_is_kept_for_the_last() {
    let mut story = Story::new(2, 100);
    let [fast, slow] = story.ids()[..] else { panic!("two") };
    for id in [fast, slow] {
        assert!(matches!(story.connect(id), Resume::Full(_)));
        story.save(id);
        story.ship(id);
    }
    (0..6).for_each(|n| story.write(n));
    story.ship(fast);
    assert_eq!((story.group.cursor(), story.group.all_have().expect("two").durable), (Position(0), Position(0)));
    assert_eq!(story.group.standing(fast).expect("a member").durable, Position(6));
    story.ship(slow);
    assert_eq!((story.group.cursor(), story.group.all_have().expect("two").applied), (Position(6), Position(6)));
}

#[test]
fn the_slowest_gives_way_alone_and_follows_by_its_map() {
    let mut story = Story::new(3, 8);
    let [a, b, gone] = story.ids()[..] else { panic!("three") };
    for id in [a, b, gone] {
        story.connect(id);
        story.save(id);
        story.ship(id);
    }
    story.write(0);
    [a, b, gone].into_iter().for_each(|id| story.ship(id));
    story.disconnect(gone);
    for n in 0..40 {
        story.write(n % 4);
        [a, b].into_iter().for_each(|id| story.ship(id));
        story.check();
    }
    assert_eq!(story.gave_way, [gone], "once, and nobody else");
    assert_eq!((story.engine(gone).mode(), story.engine(a).mode()), (Mode::Mapping, Mode::Ordered));
    assert!(story.group.wants_records());
    assert!(matches!(story.connect(gone), Resume::Covered { .. }));
    story.save(gone);
    story.ship(gone);
    assert_eq!(story.engine(gone).mode(), Mode::Ordered);
    assert_eq!(story.hosts[&gone].content, story.disk);
}

#[test]
fn only_when_all_follow_by_their_maps_the_journal_rests() {
    let mut story = Story::new(2, 4);
    let ids = story.ids();
    (0..5).for_each(|n| story.write(n));
    assert_eq!(story.gave_way, ids, "both are equally far behind: one after the other");
    assert!(!story.group.wants_records());
    (0..5).for_each(|n| story.write(n));
    assert_eq!(story.next, 5);
    story.connect(ids[0]);
    assert!(story.group.wants_records());
    story.write(7);
    assert_eq!(story.next, 6);
    for id in ids {
        story.connect(id);
        story.save(id);
        story.ship(id);
        assert_eq!(story.hosts[&id].content, story.disk);
    }
}

/// While nobody wanted records the seq went on; a map that was saved before does not know how far.
#[test]
fn a_cover_that_was_saved_early_ends_where_the_journal_goes_on() {
    let mut story = Story::new(2, 4);
    let [a, b] = story.ids()[..] else { panic!("two") };
    (0..5).for_each(|n| story.write(n));
    story.save(b);
    let saved = story.hosts[&b].saved.clone().expect("saved");
    let through = saved.covered.expect("covered").through;
    story.write(0);
    story.write(1);
    story.connect(a);
    story.write(2);
    // The driver is killed and finds the entry behind what was skipped.
    let journal = JournalExtent { first: Position(story.first), next: Position(story.next), last_seq: Seq(story.seq) };
    let mut group = Group::new(journal);
    let restored = Restored {
        acknowledged: through,
        dirty: Some(saved.dirty),
        covered: saved.covered,
        completed: Seq(story.seq),
        ..Restored::NOTHING
    };
    let id = group.restore("s1", config(), restored).expect("room");
    story.journal.iter().for_each(|header| group.recover_entry(header));
    let engine = group.engine(id).expect("a member");
    assert!(matches!(engine.connected(at(1), &welcome(7, 0)), Resume::Covered { .. }));
    let covered = engine.snapshot().covered;
    assert_eq!(covered, Some(Covered { from: Position(0), through, last_seq: Seq(story.seq - 1) }));
}

#[test]
fn who_joins_is_sent_everything_and_holds_nothing_back() {
    let mut story = Story::new(1, 8);
    let first = story.ids()[0];
    story.connect(first);
    story.save(first);
    (0..5).for_each(|n| story.write(n));
    story.ship(first);
    // It was a member once: it holds the stream up to somewhere, but what it misses nobody remembers.
    let late = story.group.join("late", config(), Seq(story.seq)).expect("room");
    story.hosts.insert(late, Host { stream: 7, durable: 3, ..Host::default() });
    story.save(late);
    assert_eq!(story.group.cursor(), Position(5), "its saved map stands for all that was");
    assert!(matches!(story.connect(late), Resume::Covered { .. }));
    story.save(late);
    story.ship(late);
    assert_eq!((story.hosts[&late].content.len(), story.engine(late).mode()), (5, Mode::Ordered));
    assert_eq!(story.group.join("late", config(), Seq(5)), Err(GroupError::Twice("late".into())));
    let foreign = PrimaryConfig { stream: StreamId(8), ..config() };
    assert_eq!(story.group.join("x", foreign, Seq(5)), Err(GroupError::Foreign("x".into())));
}

#[test]
fn who_leaves_holds_nothing_back() {
    let mut story = Story::new(2, 8);
    let [stays, leaves] = story.ids()[..] else { panic!("two") };
    story.connect(stays);
    story.save(stays);
    (0..5).for_each(|n| story.write(n));
    story.ship(stays);
    assert_eq!(story.group.cursor(), Position(0));
    assert_eq!(story.group.leave(leaves).map(|member| member.name().len()), Some(2));
    assert_eq!((story.group.cursor(), story.group.standing(leaves)), (Position(5), None));
    assert!(story.group.engine(leaves).is_none() && story.group.leave(leaves).is_none());
}

#[test]
fn a_group_has_as_many_members_as_a_journal_has_cursors() {
    let mut story = Story::new(MAX_MEMBERS, 8);
    assert_eq!(story.group.join("more", config(), Seq(0)), Err(GroupError::TooMany));
}

#[test]
fn a_gap_concerns_everyone() {
    let mut story = Story::new(2, 8);
    let ids = story.ids();
    for id in &ids {
        story.connect(*id);
        story.save(*id);
        story.ship(*id);
    }
    story.group.mark(VolumeIndex(0), ByteRange::new(0, 1), Seq(2));
    story.group.appended(at(0), &[gap(1, 1, 2)], Position(2), Seq(2));
    for id in ids {
        assert_eq!((story.engine(id).mode(), story.engine(id).dirty().region_count()), (Mode::Resync, 1));
    }
}

/// Random stories beside the naive oracle: nothing is missed, the slowest gives way, and all become equal.
#[test]
fn random_stories_lose_nothing() {
    for seed in 1..=300u64 {
        let mut state = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut story = Story::new(1 + below(5) as usize, 3 + below(10) as usize);
        let mut up: BTreeMap<MemberId, bool> = BTreeMap::new();
        for step in 0..300 {
            let ids = story.ids();
            let id = ids[below(ids.len() as u64) as usize];
            let is_up = *up.entry(id).or_default();
            match below(12) {
                0..=4 => story.write(below(REGIONS)),
                5 if is_up => {
                    story.disconnect(id);
                    up.insert(id, false);
                }
                6 if !is_up => {
                    story.connect(id);
                    up.insert(id, true);
                }
                7 | 8 if is_up => story.ship(id),
                9 => story.save(id),
                10 => story.trim(),
                11 if below(20) == 0 && ids.len() < 6 => {
                    let completed = Seq(story.seq);
                    let joined = story.group.join(&format!("j{step}"), config(), completed).expect("room");
                    story.hosts.insert(joined, Host::default());
                    story.save(joined);
                }
                _ => {}
            }
            story.check();
        }
        for id in story.ids() {
            story.connect(id);
            story.save(id);
            story.ship(id);
            assert_eq!(story.hosts[&id].content, story.disk, "seed {seed}");
            assert_eq!(story.engine(id).mode(), Mode::Ordered, "seed {seed}");
        }
    }
}

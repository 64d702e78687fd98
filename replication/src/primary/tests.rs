use std::vec::Vec;

use formats::entry::{Entry, PayloadInfo};
use formats::wire::{Ack, DataState, Resend, Stretch, Welcome};
use formats::{ByteRange, EntryHeader, Op, Position, Seq, Status, StreamId, VolumeIndex};

use super::*;
use crate::consistency::tests::{gap, record};
use crate::scope::Scope;

const MIB: u64 = 1 << 20;
const REGION: u64 = 4096;

fn at(ms: u64) -> Now {
    Now::from_millis(ms)
}

fn config() -> PrimaryConfig {
    PrimaryConfig { region_size: REGION as u32, ..PrimaryConfig::new(StreamId(7), vec![MIB]) }
}

fn welcome(stream: u64, durable: u64, data: DataState) -> Welcome {
    Welcome { version: 1, node: "b".into(), stream, durable, applied: durable, data, window: 64 * MIB }
}

fn in_step(durable: u64) -> Welcome {
    welcome(7, durable, DataState::Consistent)
}

/// An engine over a journal that is a list, whose saves succeed at once unless told otherwise.
struct Story {
    engine: Primary,
    journal: Vec<EntryHeader>,
    now: Now,
}

impl Story {
    fn new() -> Self {
        Self::with(config(), Restored::NOTHING)
    }

    fn with(config: PrimaryConfig, restored: Restored) -> Self {
        Self { engine: Primary::new(config, restored).expect("config"), journal: Vec::new(), now: at(0) }
    }

    fn append(&mut self, header: EntryHeader) {
        let seq = decide::last_seq_of(&header).expect("not a region");
        self.journal.push(header);
        self.engine.journal_grew(self.now, header.position.next(), seq);
    }

    fn writes(&mut self, positions: core::ops::RangeInclusive<u64>) {
        positions.for_each(|n| self.append(record(n, n, Op::Write, PayloadInfo::data(b"12345678"))));
    }

    fn save(&mut self) -> Snapshot {
        let snapshot = self.engine.snapshot();
        self.engine.snapshot_saved(snapshot.generation);
        snapshot
    }

    fn poll(&mut self) -> Send {
        self.engine.poll_send(self.now)
    }

    /// Does what the engine asks until it rests; answers it in short words.
    fn drive(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        loop {
            match self.poll() {
                Send::Entries { from, .. } => log.push(self.send_entries(from)),
                Send::Cut(header) => {
                    log.push(format!("cut {} seq {}", header.position, decide::last_seq_of(&header).expect("gap")));
                    self.engine.cut_sent(self.now, 128);
                }
                Send::Regions(ranges) => {
                    let bytes: u64 = ranges.iter().map(|(_, range)| range.len).sum();
                    log.push(format!("regions {bytes} remaining {}", self.engine.region_remaining()));
                    self.engine.regions_sent(self.now, bytes);
                }
                _ => return log,
            }
        }
    }

    fn send_entries(&mut self, from: Position) -> String {
        let run: Vec<_> = self.journal.iter().filter(|header| header.position >= from).copied().collect();
        let bytes = run.iter().map(|header| header.total_len() as u64).sum();
        self.engine.entries_sent(self.now, &run, bytes);
        format!("entries {}..={}", from, run.last().expect("something to send").position)
    }

    fn ack(&mut self, frame: u64, durable: u64) -> Result<(), ProtocolError> {
        self.engine.ack(self.now, &ack_of(frame, durable))
    }
}

/// A secondary in step has applied everything up to this frame and position.
fn ack_of(frame: u64, durable: u64) -> Ack {
    Ack {
        received_frame: frame,
        durable_frame: frame,
        applied_frame: frame,
        durable,
        applied: durable,
        data: DataState::Consistent,
    }
}

#[test]
fn a_blank_secondary_gets_everything_and_the_journal_goes_on() {
    let mut story = Story::new();
    story.writes(1..=3);
    assert_eq!(story.poll(), Send::Reconnect);
    assert_eq!(story.poll(), Send::Nothing);
    let resume = story.engine.connected(at(1), &welcome(0, 0, DataState::Blank));
    assert_eq!(resume, Resume::Full(FullReason::Blank));
    assert_eq!(story.drive(), [""; 0], "nothing is sent before the map is saved");
    assert!(story.engine.save_is_urgent());
    assert_eq!(story.engine.cursor(), Position(0));
    assert!(story.save().covered.is_some());
    assert_eq!(story.engine.cursor(), Position(3), "the saved map stands for the journal");
    assert_eq!(story.drive(), ["cut 3 seq 3", "regions 1048576 remaining 0"]);
    story.writes(4..=5);
    assert_eq!(story.drive(), ["entries 4..=5"]);
    assert_eq!(story.engine.mode(), Mode::Resync);
    story.ack(3, 5).expect("sent");
    assert_eq!(story.engine.mode(), Mode::Ordered);
    assert_eq!(story.engine.cursor(), Position(5));
    let status = story.engine.status(at(2));
    assert_eq!((status.counters.full_syncs, status.counters.resynced_bytes), (1, MIB));
}

#[test]
fn a_secondary_in_step_goes_on_at_the_exact_record() {
    let mut story = Story::new();
    story.writes(1..=9);
    assert_eq!(story.engine.connected(at(0), &in_step(4)), Resume::Continue { from: Position(5) });
    assert_eq!(story.drive(), ["entries 5..=9"]);
    assert_eq!(story.engine.mode(), Mode::Ordered);
    story.engine.disconnected(at(1));
    assert_eq!(story.poll(), Send::Nothing);
    assert_eq!(story.engine.poll_timeout(), Some(at(101)));
    story.now = at(101);
    assert_eq!(story.poll(), Send::Reconnect);
    assert_eq!(story.engine.connected(at(102), &in_step(7)), Resume::Continue { from: Position(8) });
}

#[test]
fn where_a_full_resync_is_needed() {
    let connect = |story: &mut Story, welcome: &Welcome| story.engine.connected(at(0), welcome);
    let story = || {
        let journal = JournalExtent { first: Position(5), next: Position(9), last_seq: Seq(8) };
        Story::with(config(), Restored { journal, acknowledged: Position(4), ..Restored::NOTHING })
    };
    assert_eq!(connect(&mut story(), &in_step(4)), Resume::Continue { from: Position(5) });
    assert_eq!(connect(&mut story(), &in_step(8)), Resume::Continue { from: Position(9) });
    assert_eq!(connect(&mut story(), &in_step(9)), Resume::Full(FullReason::Ahead));
    assert_eq!(connect(&mut story(), &in_step(3)), Resume::Full(FullReason::LostAcknowledged));
    let other = welcome(8, 6, DataState::Consistent);
    assert_eq!(connect(&mut story(), &other), Resume::Full(FullReason::OtherStream));
    let mut trimmed = story();
    trimmed.engine.journal_trimmed(Position(7));
    assert_eq!(connect(&mut trimmed, &in_step(5)), Resume::Full(FullReason::Behind));
}

#[test]
fn a_hole_marks_its_range_and_owes_a_last_region() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    let mut failed = record(1, 1, Op::Write, PayloadInfo::data(b"12345678"));
    if let formats::Entry::Record(record) = &mut failed.entry {
        record.status = Status(10);
    }
    story.append(failed);
    story.append(gap(2, 2, 4));
    assert_eq!(story.drive(), ["entries 1..=2", "regions 4096 remaining 0"]);
    story.ack(1, 2).expect("sent");
    assert_eq!(story.engine.cursor(), Position(0), "the marks are not saved");
    story.save();
    assert_eq!(story.engine.cursor(), Position(2));
    story.append(gap(3, 5, 5));
    assert_eq!(story.drive(), ["entries 3..=3", "regions 0 remaining 0"], "nothing dirty, but a region is owed");
    assert_eq!(story.engine.status(at(0)).counters.holes, 3);
}

#[test]
fn a_region_marked_while_in_flight_stays_dirty() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    story.engine.mark(VolumeIndex(0), ByteRange::new(5000, 10), Seq(0));
    assert_eq!(story.drive(), ["regions 4096 remaining 0"]);
    story.engine.mark(VolumeIndex(0), ByteRange::new(5000, 10), Seq(0));
    story.ack(1, 0).expect("sent");
    assert_eq!(story.drive(), ["regions 4096 remaining 0"]);
    story.engine.disconnected(at(1));
    assert_eq!(story.engine.dirty().region_count(), 1, "what was in flight is dirty again");
    story.engine.connected(at(2), &in_step(0));
    assert_eq!(story.drive(), ["regions 4096 remaining 0"]);
    story.ack(1, 0).expect("sent");
    assert!(story.save().dirty.is_empty());
}

#[test]
fn a_region_waits_for_every_record_before_the_loss_that_marked_it() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    story.writes(1..=2);
    story.engine.mark(VolumeIndex(0), ByteRange::new(0, 1), Seq(4));
    assert_eq!(story.engine.mode(), Mode::Resync);
    assert_eq!(story.drive(), ["entries 1..=2"], "completions 3 and 4 are not there yet");
    story.writes(3..=3);
    story.append(gap(4, 4, 4));
    assert_eq!(story.drive(), ["entries 3..=4", "regions 4096 remaining 0"]);

    story.engine.disconnected(at(1));
    story.engine.connected(at(2), &in_step(1));
    assert_eq!(story.drive(), ["entries 2..=4", "regions 4096 remaining 0"], "in a new session it waits again");
}

#[test]
fn what_was_restored_waits_for_the_whole_journal() {
    let mut dirty = DirtyMap::new(4096, &[MIB]).expect("geometry");
    dirty.mark(VolumeIndex(0), ByteRange::new(0, 1)).expect("known");
    let restored = Restored { dirty: Some(dirty), completed: Seq(3), ..Restored::NOTHING };
    let mut story = Story::with(config(), restored);
    story.engine.connected(at(0), &in_step(0));
    story.writes(1..=2);
    assert_eq!(story.drive(), ["entries 1..=2"]);
    story.append(gap(3, 3, 3));
    assert_eq!(story.drive(), ["entries 3..=3", "regions 4096 remaining 0"]);
}

#[test]
fn a_stream_without_a_completion_may_begin_at_any_position() {
    let journal = JournalExtent { first: Position(9), next: Position(9), last_seq: Seq(0) };
    let mut story = Story::with(config(), Restored { journal, ..Restored::NOTHING });
    story.engine.connected(at(0), &welcome(0, 0, DataState::Blank));
    story.save();
    assert_eq!(story.drive(), ["regions 1048576 remaining 0"]);
    assert_eq!(story.engine.sent(), Position(8));
    story.append(record(9, 1, Op::Write, PayloadInfo::data(b"12345678")));
    assert_eq!(story.drive(), ["entries 9..=9"]);
}

#[test]
fn a_region_that_could_not_be_read_is_dirty_again() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    story.engine.mark(VolumeIndex(0), ByteRange::new(0, 1), Seq(0));
    assert!(matches!(story.poll(), Send::Regions(_)));
    assert!(!matches!(story.poll(), Send::Regions(_)), "one batch at a time");
    story.engine.regions_failed();
    assert_eq!(story.engine.dirty().region_count(), 1);
}

/// One bad block does not keep its neighbours from the secondary.
#[test]
fn what_could_be_read_is_sent_and_the_rest_is_dirty_again() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    let region = |index: u64| (VolumeIndex(0), ByteRange::new(index * REGION, REGION));
    story.engine.mark(VolumeIndex(0), ByteRange::new(0, 3 * REGION), Seq(0));
    assert!(matches!(story.poll(), Send::Regions(_)));
    story.engine.regions_partly_read(vec![region(0), region(2)], &[region(1)]);
    assert_eq!(story.engine.region_remaining(), 1);
    assert!(!matches!(story.poll(), Send::Regions(_)), "the rest is still to be sent");
    assert_eq!(story.engine.regions_sent(at(0), 2 * REGION), 1);
    story.ack(1, 0).expect("sent");
    let dirty: Vec<_> = story.engine.dirty().runs(u64::MAX).collect();
    assert_eq!(dirty, [region(1)]);
    assert_eq!(story.engine.mode(), Mode::Resync);
    let counters = story.engine.status(at(0)).counters;
    assert_eq!((counters.unread_regions, counters.resynced_bytes), (1, 2 * REGION));
}

#[test]
fn an_overflow_without_a_link_only_marks_until_the_link_is_back() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    story.writes(1..=4);
    story.drive();
    story.ack(1, 4).expect("sent");
    story.engine.disconnected(at(1));
    story.writes(5..=8);
    assert_eq!(story.engine.uncovered_from(), Position(5));
    let unsent: Vec<_> = story.journal[4..].to_vec();
    story.engine.overflowed(&unsent);
    assert_eq!((story.engine.mode(), story.engine.wants_records()), (Mode::Mapping, false));
    assert_eq!(story.engine.cursor(), Position(4));
    let saved = story.save();
    assert_eq!(story.engine.cursor(), Position(8));
    story.engine.journal_trimmed(Position(9));
    story.engine.skip(&record(0, 9, Op::Write, PayloadInfo::data(b"12345678")));
    story.save();

    // The driver is killed and finds everything again, the seq having gone on.
    let journal = JournalExtent { first: Position(9), next: Position(9), last_seq: Seq(9) };
    let restored = Restored {
        journal,
        acknowledged: Position(8),
        dirty: Some(saved.dirty.clone()),
        covered: saved.covered,
        completed: Seq(9),
    };
    for mut story in [story, Story::with(config(), restored)] {
        let resume = story.engine.connected(at(2), &in_step(4));
        assert_eq!(resume, Resume::Covered { from: Position(9) });
        assert!(story.engine.wants_records());
        story.save();
        assert_eq!(story.drive(), ["cut 8 seq 9", "regions 4096 remaining 0"]);
        story.append(record(9, 10, Op::Write, PayloadInfo::data(b"12345678")));
        assert_eq!(story.drive(), ["entries 9..=9"]);
        assert_eq!(story.engine.status(at(3)).counters.full_syncs, 0);
    }
}

#[test]
fn an_overflow_with_a_link_cuts_the_stream() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    story.writes(1..=2);
    story.drive();
    story.writes(3..=6);
    let unsent = story.journal.clone();
    story.engine.overflowed(&unsent);
    assert!(story.engine.wants_records());
    assert_eq!(story.drive(), [""; 0]);
    story.save();
    let Send::Cut(cut) = story.poll() else { panic!("a cut is due") };
    assert_eq!(cut, gap(6, 3, 6));
    assert_eq!(story.drive(), ["cut 6 seq 6", "regions 4096 remaining 0"]);
    story.writes(7..=7);
    assert_eq!(story.drive(), ["entries 7..=7"]);
    story.ack(4, 7).expect("sent");
    assert_eq!(story.engine.mode(), Mode::Ordered);
    assert_eq!(story.save().covered, None);
}

#[test]
fn entries_and_regions_take_turns_within_the_window() {
    let config = PrimaryConfig { max_region_read_bytes: 4096, window_bytes: 16 << 10, ..config() };
    let mut story = Story::with(config, Restored::NOTHING);
    story.engine.connected(at(0), &in_step(0));
    story.engine.mark_all(Seq(0));
    story.writes(1..=2);
    assert_eq!(
        story.drive(),
        [
            "regions 4096 remaining 255",
            "entries 1..=2",
            "regions 4096 remaining 254",
            "regions 4096 remaining 253",
            "regions 4096 remaining 252",
        ]
    );
    story.ack(1, 0).expect("sent");
    assert_eq!(story.drive(), ["regions 4096 remaining 251"], "one frame was acknowledged, one more goes");
}

#[test]
fn a_lying_secondary_is_cut_off() {
    let lies = |ack: Ack| {
        let mut story = Story::new();
        story.engine.connected(at(0), &in_step(0));
        story.writes(1..=2);
        story.drive();
        let error = story.engine.ack(at(0), &ack).expect_err("a lie");
        assert_eq!(story.poll(), Send::Close(CloseReason::Protocol(error)));
        assert_eq!(story.engine.cursor(), Position(0));
    };
    let honest = Ack {
        received_frame: 1,
        durable_frame: 1,
        applied_frame: 1,
        durable: 2,
        applied: 2,
        data: DataState::Consistent,
    };
    lies(Ack { received_frame: 2, ..honest });
    lies(Ack { received_frame: 0, ..honest });
    lies(Ack { applied_frame: 1, durable_frame: 0, ..honest });
    lies(Ack { durable: 3, ..honest });
    lies(Ack { durable: 1, ..honest });
}

#[test]
fn silence_is_answered_by_keepalives_and_then_by_closing() {
    let mut story = Story::new();
    story.engine.connected(at(0), &in_step(0));
    assert_eq!(story.engine.poll_timeout(), Some(at(1000)));
    story.now = at(1000);
    assert_eq!(story.poll(), Send::KeepAlive);
    story.engine.keepalive_sent(story.now);
    assert_eq!(story.poll(), Send::Nothing);
    story.engine.heard(at(5000));
    story.now = at(15_000);
    assert_eq!(story.poll(), Send::Close(CloseReason::Silent(Now::from_secs(10))));
    story.engine.disconnected(story.now);
    assert_eq!(story.poll(), Send::Nothing);
}

#[test]
fn pauses_between_attempts_grow_up_to_a_limit() {
    let mut story = Story::new();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(story.poll(), Send::Reconnect);
        story.engine.disconnected(story.now);
        let next = story.engine.poll_timeout().expect("a new attempt");
        pauses.push((next - story.now).as_millis());
        story.now = next;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
}

#[test]
fn a_secondary_vouched_for_takes_the_stream_from_its_first_entry() {
    let config = PrimaryConfig { assume_identical: true, ..config() };
    let mut story = Story::with(config, Restored::NOTHING);
    story.writes(1..=2);
    let resume = story.engine.connected(at(0), &welcome(0, 0, DataState::Blank));
    assert_eq!(resume, Resume::Continue { from: Position(1) });
    assert_eq!(story.drive(), ["regions 0 remaining 0", "entries 1..=2"]);
}

#[test]
fn holes_found_in_the_journal_at_start_are_marked_again() {
    let mut story = Story::new();
    story.engine.recover_entry(&record(1, 1, Op::Write, PayloadInfo::NONE));
    story.engine.recover_entry(&record(2, 2, Op::Write, PayloadInfo::data(b"12345678")));
    assert_eq!(story.engine.dirty().region_count(), 1);
}

#[test]
fn a_command_of_unknown_effect_marks_its_whole_volume() {
    let mut story = Story::new();
    let mut opaque = record(1, 1, Op::Opaque, PayloadInfo::NONE);
    if let formats::Entry::Record(record) = &mut opaque.entry {
        record.range = ByteRange::new(0, 0);
    }
    story.engine.recover_entry(&opaque);
    assert_eq!(story.engine.dirty().bytes(), MIB);
}

#[test]
fn impossible_settings_are_refused() {
    let refused = |config: PrimaryConfig| Primary::new(config, Restored::NOTHING).expect_err("refused");
    assert!(matches!(refused(PrimaryConfig { window_bytes: 0, ..config() }), ConfigError::Limit { .. }));
    assert!(matches!(refused(PrimaryConfig { keepalive: at(60_000), ..config() }), ConfigError::Keepalive { .. }));
    assert!(matches!(refused(PrimaryConfig { backoff_min: at(0), ..config() }), ConfigError::Backoff { .. }));
    assert!(matches!(refused(PrimaryConfig { region_size: 1000, ..config() }), ConfigError::DirtyMap(_)));
    let journal = JournalExtent { first: Position(9), next: Position(3), last_seq: Seq(1) };
    let restored = Restored { journal, ..Restored::NOTHING };
    assert!(matches!(Primary::new(config(), restored), Err(ConfigError::Journal { .. })));
}

#[test]
fn of_ranges_only_their_regions_are_sent() {
    let scope = Scope::new(vec![Some(vec![ByteRange::new(8192, 8192), ByteRange::new(MIB - 4096, 4096)])], false);
    let mut story = Story::with(PrimaryConfig { scope, ..config() }, Restored::NOTHING);
    story.writes(1..=3);
    story.engine.connected(at(1), &welcome(0, 0, DataState::Blank));
    story.save();
    assert_eq!(story.drive(), ["cut 3 seq 3", "regions 12288 remaining 0"]);
    story.ack(2, 3).expect("sent");
    assert_eq!(story.engine.mode(), Mode::Ordered);
    story.engine.mark(VolumeIndex(0), ByteRange::new(0, MIB), Seq(3));
    assert_eq!(story.engine.dirty().bytes(), 12288);
    story.engine.mark_all(Seq(3));
    assert_eq!(story.drive(), ["regions 12288 remaining 0"]);
}

#[test]
fn what_is_partial_is_sent_in_order_and_never_healed() {
    let config = PrimaryConfig { scope: Scope::new(Vec::new(), true), ..config() };
    let mut story = Story::with(config, Restored::NOTHING);
    story.writes(1..=3);
    story.engine.connected(at(1), &welcome(0, 0, DataState::Blank));
    story.save();
    assert_eq!(story.drive(), ["cut 3 seq 3"]);
    story.writes(4..=5);
    story.append(record(6, 6, Op::Write, PayloadInfo::NONE));
    story.append(gap(7, 7, 9));
    assert_eq!(story.drive(), ["entries 4..=7"]);
    assert_eq!(story.engine.mode(), Mode::Partial);
    assert_eq!((story.engine.status(at(2)).counters.holes, story.engine.dirty().bytes()), (2, 0));
    story.engine.disconnected(at(2));
    story.save();
    story.engine.connected(at(3), &welcome(7, 7, DataState::Inconsistent));
    assert_eq!(story.drive(), [""; 0], "a secondary that asks for healing gets none");
}

fn stretch(volume: u16, offset: u64, len: u64) -> Stretch {
    Stretch { volume, offset, len, reason: "write-error".into() }
}

#[test]
fn what_the_secondary_asks_for_is_read_back_and_sent_behind_what_it_has() {
    let mut story = Story::new();
    story.writes(1..=3);
    story.engine.connected(at(1), &in_step(3));
    assert_eq!(story.drive(), [""; 0]);
    let request = Resend { stretches: vec![stretch(0, 4000, 200), stretch(0, MIB - 512, 512)] };
    story.engine.resend(at(2), &request).expect("within the volume");
    assert_eq!((story.engine.mode(), story.engine.dirty().bytes()), (Mode::Resync, 3 * 4096));
    story.writes(4..=4);
    assert_eq!(story.drive(), ["regions 12288 remaining 0", "entries 4..=4"]);
    story.ack(2, 4).expect("sent");
    assert_eq!((story.engine.mode(), story.engine.status(at(3)).counters.resend_requests), (Mode::Ordered, 2));
}

/// Lost with the link, it would be asked again; saved, it need not be.
#[test]
fn what_was_asked_for_is_part_of_the_saved_map() {
    let mut story = Story::new();
    story.writes(1..=1);
    story.engine.connected(at(1), &in_step(1));
    story.engine.resend(at(2), &Resend { stretches: vec![stretch(0, 0, 1)] }).expect("within the volume");
    assert!(story.engine.generation() > 1);
    assert_eq!(story.save().dirty.bytes(), 4096);
    story.engine.disconnected(at(3));
    assert_eq!(story.engine.dirty().bytes(), 4096);
}

#[test]
fn a_request_for_what_is_not_there_ends_the_session_and_nothing_of_it_is_used() {
    for bad in [stretch(1, 0, 512), stretch(0, MIB, 1), stretch(0, u64::MAX, 2)] {
        let mut story = Story::new();
        story.writes(1..=1);
        story.engine.connected(at(1), &in_step(1));
        let request = Resend { stretches: vec![stretch(0, 0, 512), bad] };
        assert!(story.engine.resend(at(2), &request).is_err());
        assert!(matches!(story.poll(), Send::Close(CloseReason::Protocol(_))));
        assert!(story.engine.dirty().is_empty());
    }
    assert_eq!(Story::new().engine.resend(at(0), &Resend::default()), Err(ProtocolError::NoSession));
}

/// What a failed flush lost on the primary is told by nobody.
#[test]
fn a_failed_flush_reads_the_volume_back_and_a_good_one_nothing() {
    let mut story = Story::new();
    story.append(record(1, 1, Op::Flush, PayloadInfo::NONE));
    let mut failed = record(2, 2, Op::Flush, PayloadInfo::NONE);
    if let Entry::Record(record) = &mut failed.entry {
        record.status = Status(10);
    }
    story.engine.connected(at(1), &in_step(0));
    assert_eq!(story.drive()[0], "entries 1..=1");
    assert!(story.engine.dirty().is_empty());
    story.append(failed);
    assert_eq!(story.drive()[..2], ["entries 2..=2", "regions 1048576 remaining 0"]);
}

#[test]
fn a_hold_waits_for_the_journal_then_for_what_is_durable() {
    let mut story = Story::new();
    story.writes(1..=2);
    let mut hold = Hold::new(Seq(3));
    assert_eq!(hold.lacking(&story.engine), Some(Lacking::Link));
    story.engine.connected(at(1), &in_step(0));
    assert_eq!(hold.lacking(&story.engine), Some(Lacking::Journal { seq: Seq(2), completed: Seq(3) }));
    story.writes(3..=4);
    let entries = |durable, place| Some(Lacking::Entries { durable: Position(durable), place: Position(place) });
    assert_eq!(hold.lacking(&story.engine), entries(0, 4));
    story.drive();
    assert_eq!(hold.lacking(&story.engine), entries(0, 4), "sent is not held");
    story.writes(5..=9);
    story.ack(1, 4).expect("true");
    assert_eq!(hold.lacking(&story.engine), None, "what came after the call is not waited for");
    assert_eq!(Hold::new(Seq(2)).lacking(&story.engine), entries(4, 9));
}

#[test]
fn a_hold_waits_for_holes_that_were_sent_and_for_a_consistent_state() {
    let mut story = Story::new();
    story.engine.connected(at(1), &in_step(0));
    story.append(record(1, 1, Op::Write, PayloadInfo::NONE));
    let mut hold = Hold::new(Seq(1));
    assert_eq!(story.drive(), ["entries 1..=1", "regions 4096 remaining 0"]);
    story.ack(1, 1).expect("true");
    assert_eq!(hold.lacking(&story.engine), Some(Lacking::Regions), "the write came without its payload");
    let healing = Ack { data: DataState::Inconsistent, ..ack_of(2, 1) };
    story.engine.ack(story.now, &healing).expect("true");
    assert_eq!(hold.lacking(&story.engine), Some(Lacking::Consistency));
    story.ack(2, 1).expect("true");
    assert_eq!(hold.lacking(&story.engine), None);
    story.engine.disconnected(at(5));
    assert!(hold.lacking(&story.engine).is_some_and(Lacking::is_hopeless));
}

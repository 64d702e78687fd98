use std::vec::Vec;

use formats::entry::PayloadInfo;
use formats::wire::{MIN_VERSION, VERSION, VolumeIdentity};
use formats::{EntryHeader, Op};

use super::*;
use crate::consistency::tests::{gap, record, region};

fn config() -> StandbyConfig {
    let volume = |name: &str| LocalVolume { name: name.into(), size: 4096, block_size: 512 };
    StandbyConfig::new("b", vec![volume("a"), volume("z")])
}

fn hello(stream: u64) -> Hello {
    let volumes = vec![VolumeIdentity::blocks("a", 4096, 512)];
    Hello { min_version: MIN_VERSION, max_version: VERSION, stream, group: "g".into(), region_size: 4096, volumes }
}

fn write(position: u64, seq: u64) -> EntryHeader {
    record(position, seq, Op::Write, PayloadInfo::data(b"12345678"))
}

/// A driver whose journal and target are lists.
struct Story {
    engine: Standby,
    journal: Vec<EntryHeader>,
    applied: Vec<u64>,
    frames: u64,
}

impl Story {
    fn new() -> Self {
        let mut engine = Standby::recover(config(), &StandbyState::blank(0));
        engine.redo_end();
        Self { engine, journal: Vec::new(), applied: Vec::new(), frames: 0 }
    }

    /// With a session of stream 7 that starts with a cut and everything healed.
    fn connected() -> Self {
        let mut story = Self::new();
        story.hello(7).expect("accepted");
        story.frame(&[gap(3, 1, 3)]).expect("a cut");
        story.frame(&[region(3, 3, 0)]).expect("a region");
        story.durable();
        story.apply_all();
        story
    }

    fn hello(&mut self, stream: u64) -> Result<Welcome, Refuse> {
        let accepted = self.engine.hello(&hello(stream))?;
        if let Some(state) = accepted.save_first {
            self.engine.checkpoint_saved(Now::ZERO, &state);
        }
        self.frames = 0;
        Ok(accepted.welcome)
    }

    fn frame(&mut self, headers: &[EntryHeader]) -> Result<(), ProtocolError> {
        self.engine.frame(self.frames + 1, headers)?;
        self.frames += 1;
        let first = self.journal.len() as u64 + 1;
        self.journal.extend_from_slice(headers);
        self.engine.journaled(first..first + headers.len() as u64).expect("in order");
        Ok(())
    }

    fn state(&mut self) -> StandbyState {
        self.engine.checkpoint()
    }

    fn durable(&mut self) {
        self.engine.durable(self.journal.len() as u64).expect("journalled");
    }

    fn apply_all(&mut self) {
        while let Some(index) = self.engine.next_ready() {
            self.engine.applied(index).expect("named");
            self.applied.push(index);
        }
    }

    /// Killed and started again with this state; the journal keeps all its entries.
    fn restart(&mut self, state: &StandbyState) {
        self.engine = Standby::recover(config(), state);
        let behind = &self.journal[state.local_index as usize..];
        self.engine.redo(state.local_index + 1, behind).expect("its own journal");
        self.engine.redo_end();
    }
}

#[test]
fn nothing_is_applied_or_acknowledged_before_it_is_durable() {
    let mut story = Story::connected();
    story.engine.poll_ack();
    story.frame(&[write(4, 4), write(5, 5)]).expect("follows");
    let ack = story.engine.poll_ack().expect("received");
    assert_eq!((ack.received_frame, ack.durable_frame, ack.durable), (3, 2, 3));
    assert_eq!(story.engine.next_ready(), None);
    story.durable();
    let ack = story.engine.poll_ack().expect("durable");
    assert_eq!((ack.durable_frame, ack.applied_frame, ack.durable, ack.applied), (3, 2, 5, 3));
    story.apply_all();
    let ack = story.engine.poll_ack().expect("applied");
    assert_eq!((ack.applied_frame, ack.applied, ack.data), (3, 5, DataState::Consistent));
    assert_eq!(story.engine.poll_ack(), None);
}

#[test]
fn a_full_resync_ends_blank_and_inconsistent() {
    let mut story = Story::new();
    assert_eq!(story.hello(7).expect("accepted").data, DataState::Blank);
    story.frame(&[gap(3, 1, 3)]).expect("a cut");
    story.durable();
    assert_eq!(story.engine.data_state(), DataState::Inconsistent);
    story.frame(&[region(3, 4, 1), write(4, 4), region(4, 5, 0)]).expect("follows");
    story.durable();
    story.apply_all();
    assert_eq!(story.engine.data_state(), DataState::Inconsistent, "seq 5 is not applied");
    story.frame(&[write(5, 5)]).expect("follows");
    story.durable();
    assert_eq!(story.engine.data_state(), DataState::Inconsistent);
    story.apply_all();
    assert_eq!(story.engine.data_state(), DataState::Consistent);
}

#[test]
fn a_region_that_is_not_applied_keeps_it_inconsistent() {
    let mut story = Story::connected();
    story.frame(&[region(3, 3, 0)]).expect("follows");
    story.durable();
    assert_eq!(story.engine.data_state(), DataState::Inconsistent);
    story.apply_all();
    assert_eq!(story.engine.data_state(), DataState::Consistent);
}

#[test]
fn what_a_primary_may_not_send() {
    let mut story = Story::connected();
    assert_eq!(story.engine.frame(2, &[write(4, 4)]), Err(ProtocolError::Frame { expected: 3, got: 2 }));
    assert_eq!(story.engine.frame(3, &[]), Err(ProtocolError::EmptyFrame(3)));
    assert!(matches!(story.engine.frame(3, &[write(5, 4)]), Err(ProtocolError::Position { .. })));
    assert!(matches!(story.engine.frame(3, &[write(4, 4), write(5, 6)]), Err(ProtocolError::Seq { .. })));
    let mut far = write(4, 4);
    if let Entry::Record(record) = &mut far.entry {
        record.range.offset = 4096;
    }
    assert!(matches!(story.engine.frame(3, &[far]), Err(ProtocolError::Range { .. })));
    story.frame(&[write(4, 4)]).expect("nothing of the bad frames was used");
    story.engine.disconnected();
    assert_eq!(story.engine.frame(4, &[write(5, 5)]), Err(ProtocolError::NoSession));
}

#[test]
fn frames_that_were_not_journalled_were_never_received() {
    let mut story = Story::connected();
    story.engine.frame(3, &[write(4, 4), write(5, 5)]).expect("follows");
    story.engine.disconnected();
    assert_eq!(story.hello(7).expect("accepted").durable, 3);
    story.frame(&[write(4, 4)]).expect("sent again");
}

#[test]
fn a_session_waits_for_what_the_last_one_left_in_the_journal() {
    let mut story = Story::connected();
    story.frame(&[write(4, 4)]).expect("follows");
    story.engine.disconnected();
    assert_eq!(story.hello(7).expect_err("still writing").code, RefuseCode::Busy);
    story.durable();
    let welcome = story.hello(7).expect("accepted");
    assert_eq!((welcome.stream, welcome.durable, welcome.applied), (7, 4, 3));
    story.apply_all();
    assert_eq!(story.engine.poll_ack().expect("news").applied_frame, 0, "frames of the last session do not count");
}

#[test]
fn hellos_that_do_not_fit_are_refused() {
    let refused = |change: fn(&mut Hello)| {
        let mut hello = hello(7);
        change(&mut hello);
        Story::new().engine.hello(&hello).expect_err("refused").code
    };
    assert_eq!(refused(|hello| hello.min_version = VERSION + 1), RefuseCode::Version);
    assert_eq!(refused(|hello| hello.max_version = 0), RefuseCode::Version);
    assert_eq!(refused(|hello| hello.volumes[0].name = "q".into()), RefuseCode::UnknownVolume);
    assert_eq!(refused(|hello| hello.volumes.clear()), RefuseCode::UnknownVolume);
    assert_eq!(refused(|hello| hello.volumes.push(hello.volumes[0].clone())), RefuseCode::UnknownVolume);
    assert_eq!(refused(|hello| hello.volumes[0].size = 4097), RefuseCode::Geometry);
    assert_eq!(refused(|hello| hello.volumes[0].block_size = 4096), RefuseCode::Geometry);
    let mut story = Story::connected();
    assert_eq!(story.hello(7).expect_err("one at a time").code, RefuseCode::Busy);
}

#[test]
fn a_restart_applies_everything_behind_the_checkpoint_again() {
    let mut story = Story::connected();
    let state = story.engine.checkpoint();
    assert_eq!((state.local_index, state.position, state.applied_seq), (2, Position(3), Seq(3)));
    story.frame(&[write(4, 4), gap(5, 5, 6)]).expect("follows");
    story.frame(&[region(5, 6, 0)]).expect("follows");
    story.durable();
    story.apply_all();
    let before = story.engine.status();
    story.restart(&state);
    assert!(story.engine.recovering());
    assert_eq!(story.hello(7).expect_err("recovering").code, RefuseCode::Busy);
    story.applied.clear();
    story.apply_all();
    assert_eq!(story.applied, [3, 5]);
    let after = story.engine.status();
    assert_eq!((after.durable, after.applied, after.data), (before.durable, before.applied, DataState::Consistent));
    assert_eq!(story.hello(7).expect("accepted").durable, 5);
}

#[test]
fn a_stretch_of_the_journal_is_redone_as_a_whole_or_not_at_all() {
    let mut engine = Standby::recover(config(), &StandbyState { stream: StreamId(7), ..Story::connected().state() });
    let first = engine.checkpoint().local_index + 1;
    let stretch = [write(4, 4), write(5, 5), write(6, 5)];
    assert!(matches!(engine.redo(first, &stretch), Err(StandbyError::Journal { index, .. }) if index == first + 2));
    assert!(matches!(engine.redo(first + 1, &stretch[..2]), Err(StandbyError::Index { .. })));
    assert_eq!(engine.status().pending, 0);
    engine.redo(first, &stretch[..2]).expect("in order");
    engine.redo(first + 2, &[]).expect("nothing");
    engine.redo_end();
    assert_eq!((engine.next_ready(), engine.status().pending), (Some(first), 2));
    assert_eq!(engine.redo(first + 2, &[write(6, 6)]), Err(StandbyError::Unexpected(first + 2)));
}

#[test]
fn a_checkpoint_knows_a_hole_whose_region_was_not_applied() {
    let mut story = Story::connected();
    story.frame(&[gap(4, 4, 6)]).expect("follows");
    story.frame(&[region(4, 6, 0)]).expect("follows");
    story.durable();
    let state = story.engine.checkpoint();
    assert_eq!(state.local_index, 3);
    story.journal.truncate(3);
    story.restart(&state);
    assert_eq!(story.engine.data_state(), DataState::Inconsistent);
}

#[test]
fn a_checkpoint_is_due_when_something_new_is_applied() {
    let mut story = Story::connected();
    assert_eq!(story.engine.poll_timeout(), Some(Now::from_secs(1)));
    assert!(!story.engine.checkpoint_due(Now::from_millis(999)));
    assert!(story.engine.checkpoint_due(Now::from_secs(1)));
    let state = story.engine.checkpoint();
    assert_eq!(story.engine.trim_through(), 0);
    story.engine.checkpoint_saved(Now::from_secs(1), &state);
    assert_eq!(story.engine.trim_through(), 2);
    assert_eq!(story.engine.poll_timeout(), None);
}

#[test]
fn another_stream_waits_for_the_old_one_and_starts_blank() {
    let mut story = Story::connected();
    story.frame(&[write(4, 4)]).expect("follows");
    story.durable();
    story.engine.disconnected();
    assert_eq!(story.hello(8).expect_err("entries of stream 7 wait").code, RefuseCode::Busy);
    story.apply_all();
    let welcome = story.hello(8).expect("accepted");
    assert_eq!((welcome.stream, welcome.durable), (7, 4), "the answer tells what was held");
    assert_eq!(story.engine.data_state(), DataState::Blank);
    let state = story.engine.checkpoint();
    assert_eq!((state.stream, state.position, state.local_index), (StreamId(8), Position(0), 3));
    story.frame(&[gap(1, 1, 1), write(2, 2)]).expect("a cut to a lower seq");
    story.durable();
    story.apply_all();
    assert_eq!(story.engine.status().applied, Tip { position: Position(2), seq: Seq(2) });
}

#[test]
fn no_frame_is_taken_before_the_new_stream_is_saved() {
    let mut story = Story::new();
    let accepted = story.engine.hello(&hello(7)).expect("accepted");
    let state = accepted.save_first.expect("to be saved");
    assert_eq!(story.engine.frame(1, &[gap(1, 1, 1)]), Err(ProtocolError::NoSession));
    story.engine.disconnected();
    assert!(story.engine.hello(&hello(7)).expect("accepted").save_first.is_some(), "asked for again");
    story.engine.checkpoint_saved(Now::ZERO, &state);
    assert_eq!(story.engine.frame(1, &[gap(1, 1, 1)]), Ok(()));
}

#[test]
fn a_cut_that_goes_back_waits_until_all_before_it_is_applied() {
    let mut story = Story::connected();
    story.frame(&[write(4, 4), gap(2, 1, 2), write(3, 3)]).expect("follows");
    story.durable();
    assert_eq!(story.engine.next_ready(), Some(3));
    assert_eq!(story.engine.next_ready(), None);
    story.engine.applied(3).expect("named");
    assert_eq!(story.engine.next_ready(), Some(5));
    story.engine.applied(5).expect("named");
    assert_eq!(story.engine.status().applied, Tip { position: Position(3), seq: Seq(3) });
}

#[test]
fn a_failed_target_stops_everything_visibly() {
    let mut story = Story::connected();
    story.frame(&[write(4, 4)]).expect("follows");
    story.durable();
    story.engine.target_failed("write error on /dev/x");
    assert_eq!(story.engine.next_ready(), None);
    assert_eq!((story.engine.mode(), story.engine.wants_frames()), (StandbyMode::Stopped, false));
    story.engine.disconnected();
    let refuse = story.hello(7).expect_err("stopped");
    assert_eq!(refuse.code, RefuseCode::Stopped);
    assert!(refuse.text.to_string_lossy().contains("write error on /dev/x"));
}

#[test]
fn frames_are_not_wanted_while_too_much_waits() {
    let mut story = Story::connected();
    story.engine.config.max_pending = 2;
    story.frame(&[write(4, 4), write(5, 5)]).expect("follows");
    assert!(!story.engine.wants_frames());
    story.durable();
    story.apply_all();
    assert!(story.engine.wants_frames());
}

#[test]
fn a_driver_that_breaks_the_order_is_told() {
    let mut story = Story::connected();
    assert_eq!(story.engine.journaled(9..10), Err(StandbyError::Index { expected: 3, got: 9 }));
    assert_eq!(story.engine.journaled(3..4), Err(StandbyError::Unexpected(3)));
    assert_eq!(story.engine.durable(3), Err(StandbyError::Unexpected(3)));
    story.engine.frame(3, &[write(4, 4), write(5, 5)]).expect("follows");
    assert_eq!(story.engine.journaled(3..4), Err(StandbyError::Unexpected(4)));
    assert!(matches!(story.engine.applied(3), Err(StandbyError::Scheduler(_))));
}

mod troubles {
    use formats::ByteRange;

    use super::*;
    use crate::errors::{RowIndex, Scope};

    const NOW: Now = Now::ZERO;

    fn reason() -> Option<RowIndex> {
        RowIndex::named("write-error")
    }

    fn holes(story: &Story) -> Vec<(u64, u64)> {
        story.engine.holes().iter().map(|(hole, _)| (hole.range.offset, hole.range.len)).collect()
    }

    impl Story {
        fn refuse(&mut self, index: u64, scope: Scope) {
            assert_eq!(self.engine.next_ready(), Some(index));
            self.engine.out_of_sync(index, scope, reason(), NOW).expect("named");
        }

        fn save(&mut self) -> StandbyState {
            let mut state = self.engine.checkpoint();
            self.engine.flushed();
            assert_eq!(self.engine.verdict(&mut state), Verdict::Save);
            self.engine.checkpoint_saved(NOW, &state);
            state
        }

        fn rewind(&mut self) {
            self.engine.disconnected();
            let first = self.engine.rewind().expect("nothing runs");
            self.engine.redo(first, &self.journal[first as usize - 1..]).expect("its own journal");
            self.engine.redo_end();
        }
    }

    #[test]
    fn a_hole_makes_it_inconsistent_until_a_region_behind_it_is_applied() {
        let mut story = Story::connected();
        story.frame(&[write(4, 4)]).expect("follows");
        story.durable();
        story.refuse(3, Scope::Range);
        assert_eq!((holes(&story), story.engine.data_state()), (vec![(0, 8)], DataState::Inconsistent));
        assert_eq!(story.engine.status().applied.position, Position(4), "replay goes on");
        assert!(story.engine.poll_resend(NOW).is_empty());
        let due = story.engine.resend_due().expect("soon");
        assert_eq!(story.engine.poll_resend(due).len(), 1);
        assert_eq!((story.engine.poll_resend(due).len(), story.engine.resend_due()), (0, None), "asked once");
        story.frame(&[region(4, 4, 0)]).expect("follows");
        story.durable();
        story.apply_all();
        assert_eq!((holes(&story), story.engine.data_state()), (vec![], DataState::Consistent));
    }

    #[test]
    fn what_has_no_range_or_is_no_range_is_the_whole_volume() {
        let mut story = Story::connected();
        let flush = record(4, 4, Op::Flush, PayloadInfo::NONE);
        story.frame(&[flush, write(5, 5)]).expect("follows");
        story.durable();
        story.refuse(3, Scope::SinceFlush);
        assert_eq!(holes(&story), [(0, 4096)]);
        story.apply_all();
        assert_eq!(holes(&story), [(8, 4088)], "what began after the failure heals its part");
        story.engine.unflushed(VolumeIndex(0), reason(), NOW);
        assert_eq!(holes(&story).iter().map(|(_, len)| len).sum::<u64>(), 4096);
    }

    /// Both were at work: the device may have done the write first, and lost it with the flush that failed.
    #[test]
    fn what_was_begun_before_a_flush_failed_heals_nothing() {
        let mut story = Story::connected();
        let mut beside = write(5, 5);
        if let Entry::Record(record) = &mut beside.entry {
            record.dep = Seq(3);
        }
        story.frame(&[record(4, 4, Op::Flush, PayloadInfo::NONE), beside]).expect("follows");
        story.durable();
        assert_eq!((story.engine.next_ready(), story.engine.next_ready()), (Some(3), Some(4)));
        story.engine.out_of_sync(3, Scope::SinceFlush, reason(), NOW).expect("named");
        story.engine.applied(4).expect("named");
        assert_eq!(holes(&story), [(0, 4096)]);
    }

    /// An entry that was skipped, or whose effect is the device's choice, makes nothing equal.
    #[test]
    fn only_what_was_written_heals() {
        let mut story = Story::connected();
        let discard = record(6, 6, Op::Discard, PayloadInfo::NONE);
        story.frame(&[write(4, 4), write(5, 5), discard, write(7, 7)]).expect("follows");
        story.durable();
        story.refuse(3, Scope::Range);
        assert_eq!(story.engine.next_ready(), Some(4));
        story.engine.skipped(4).expect("named");
        assert_eq!(story.engine.next_ready(), Some(5));
        story.engine.applied(5).expect("named");
        assert_eq!(holes(&story), [(0, 8)]);
        story.apply_all();
        assert_eq!(holes(&story), []);
    }

    #[test]
    fn a_restart_knows_the_hole_or_applies_the_entry_again() {
        let mut story = Story::connected();
        let before = story.save();
        story.frame(&[write(4, 4)]).expect("follows");
        story.durable();
        story.refuse(3, Scope::Range);
        let after = story.save();
        assert_eq!((before.holes.len(), after.holes.len(), after.local_index), (0, 1, 3));
        assert_eq!(after.holes[0].reason, reason());
        story.restart(&after);
        assert_eq!((holes(&story), story.engine.data_state()), (vec![(0, 8)], DataState::Inconsistent));
        story.restart(&before);
        story.apply_all();
        assert_eq!((holes(&story), story.engine.data_state()), (vec![], DataState::Consistent));
    }

    #[test]
    fn holes_follow_their_volume_into_another_order() {
        let mut story = Story::connected();
        story.frame(&[write(4, 4)]).expect("follows");
        story.durable();
        story.refuse(3, Scope::Range);
        story.engine.disconnected();
        let mut other = hello(7);
        other.volumes.insert(0, VolumeIdentity { name: "z".into(), ..other.volumes[0].clone() });
        story.engine.hello(&other).expect("accepted");
        let (hole, _) = story.engine.holes().iter().next().expect("kept");
        assert_eq!((hole.volume, hole.range), (VolumeIndex(1), ByteRange::new(0, 8)));
        assert!(story.engine.poll_resend(Now::from_secs(9)).is_empty(), "not before the new order is saved");
    }

    #[test]
    fn a_checkpoint_waits_for_whoever_may_have_heard_of_a_loss() {
        let mut story = Story::connected();
        story.frame(&[write(4, 4)]).expect("follows");
        story.durable();
        assert_eq!(story.engine.next_ready(), Some(3));
        let mut state = story.engine.checkpoint();
        assert_eq!(story.engine.verdict(&mut state), Verdict::Wait, "not flushed");
        story.engine.flushed();
        assert_eq!(story.engine.verdict(&mut state), Verdict::Wait, "entry 3 runs");
        let mut heard = story.engine.clone();
        story.engine.applied(3).expect("named");
        assert_eq!(story.engine.verdict(&mut state), Verdict::Save);
        heard.lost();
        heard.skipped(3).expect("named");
        assert_eq!(heard.verdict(&mut state), Verdict::Discard);
    }

    #[test]
    fn lost_writes_are_applied_again_from_the_saved_checkpoint() {
        let mut story = Story::connected();
        story.save();
        story.frame(&[write(4, 4), write(5, 5)]).expect("follows");
        story.durable();
        story.apply_all();
        story.frame(&[write(6, 6)]).expect("follows");
        story.durable();
        assert_eq!(story.engine.next_ready(), Some(5));
        story.engine.lost();
        assert_eq!((story.engine.next_ready(), story.engine.data_state()), (None, DataState::Inconsistent));
        assert_eq!(story.engine.frame(4, &[write(7, 7)]), Err(ProtocolError::NoSession));
        assert!(story.engine.rewind().is_err(), "the session is open, and entry 5 runs");
        story.engine.disconnected();
        assert!(!story.engine.may_rewind());
        story.engine.skipped(5).expect("named");
        assert_eq!(story.hello(7).expect_err("first things first").code, RefuseCode::Busy);
        story.rewind();
        assert_eq!(story.engine.mode(), StandbyMode::Recovering);
        story.applied.clear();
        story.apply_all();
        assert_eq!(story.applied, [3, 4, 5]);
        assert_eq!(story.engine.data_state(), DataState::Consistent);
        assert_eq!(story.hello(7).expect("accepted").durable, 6);
    }

    #[test]
    fn a_device_that_loses_again_and_again_stops_it_and_a_checkpoint_in_between_does_not() {
        let mut story = Story::connected();
        story.frame(&[write(4, 4)]).expect("follows");
        story.durable();
        for round in 0..6 {
            story.engine.lost();
            assert_eq!(story.engine.stopped(), None, "{round}");
            story.rewind();
            story.apply_all();
            if round == 2 {
                story.save();
            }
        }
        story.engine.lost();
        assert_eq!(story.engine.mode(), StandbyMode::Stopped);
        assert!(story.engine.stopped().expect("why").contains("writes lost again and again"));
    }
}

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use formats::scsi::{DriverStatus, HostStatus, Outcome, ScsiStatus};
use formats::wire::DataState;
use formats::{ByteRange, Status, VolumeIndex};
use proptest::prelude::*;

use super::*;
use crate::Now;

fn all_cases() -> impl Iterator<Item = (PrimaryOutcome, CommandKind, StandbyOutcome)> {
    PrimaryOutcome::ALL.iter().flat_map(|&primary| {
        CommandKind::ALL
            .iter()
            .flat_map(move |&command| StandbyOutcome::ALL.iter().map(move |&standby| (primary, command, standby)))
    })
}

mod table {
    use super::*;

    #[test]
    fn there_is_a_row_for_every_case() {
        for (primary, command, standby) in all_cases() {
            assert!(
                lookup(primary, command, standby).row().matches(primary, command, standby),
                "{primary:?} {command:?} {standby:?}"
            );
        }
    }

    #[test]
    fn each_row_is_reached_by_its_own_example_and_none_is_shadowed() {
        for index in RowIndex::all() {
            let (primary, command, standby) = index.row().example.classify();
            let found = lookup(primary, command, standby);
            assert_eq!(found.row().id, index.row().id, "{primary:?} {command:?} {standby:?}");
        }
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.id).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(RowIndex::all().all(|index| RowIndex::named(index.row().id) == Some(index)));
        assert_eq!(RowIndex::named("no such row"), None);
    }

    #[test]
    fn only_a_first_row_issues_and_only_later_ones_retry() {
        for (primary, command, standby) in all_cases() {
            let action = lookup(primary, command, standby).row().action;
            let first = standby == StandbyOutcome::NotIssued;
            match action {
                Action::Issue
                | Action::ReplayEffect
                | Action::ReproduceUnreadable
                | Action::ReRead(_)
                | Action::ByRule
                | Action::Skip => {
                    assert!(first, "{primary:?} {command:?} {standby:?}: {action}");
                }
                Action::Stop(_) => {}
                _ => assert!(!first, "{primary:?} {command:?} {standby:?}: {action}"),
            }
        }
    }

    /// A tape cannot be healed by reading a region again, so nothing may be marked there.
    #[test]
    fn a_tape_is_never_out_of_sync_it_stops() {
        for (primary, command, standby) in all_cases() {
            if !matches!(command, CommandKind::TapeWrite | CommandKind::TapeMove) {
                continue;
            }
            let row = lookup(primary, command, standby).row();
            let last = match row.action {
                Action::Retry { last, .. }
                | Action::RetryAfterReadyPoll { last, .. }
                | Action::FallBack { last, .. } => last,
                _ => Last::Stop(StopReason::TapePosition),
            };
            let named = primary == PrimaryOutcome::UaStateChanged && standby == StandbyOutcome::NotIssued;
            assert!(last != Last::OutOfSync && (named || !row.effect.leaves_hole()), "{}", row.id);
        }
    }

    /// Law: nothing silent. An error of the standby's device ends in `applied` only where it is none.
    #[test]
    fn an_error_of_the_standby_is_never_passed_over() {
        use StandbyOutcome as S;
        for (primary, command, standby) in all_cases() {
            let row = lookup(primary, command, standby).row();
            let well = matches!(standby, S::Good | S::Recovered);
            let tape =
                matches!(standby, S::EarlyWarning | S::Filemark | S::IncorrectLength | S::BlankCheck | S::Residual);
            let no_cache = command == CommandKind::Flush;
            if row.action == Action::Done {
                assert!(well || tape || no_cache, "{}: {primary:?} {command:?} {standby:?}", row.id);
            }
        }
    }

    #[test]
    fn what_changed_nothing_on_the_primary_leaves_no_hole() {
        for primary in [
            PrimaryOutcome::Busy,
            PrimaryOutcome::ReservationConflict,
            PrimaryOutcome::NotReady,
            PrimaryOutcome::WriteProtected,
        ] {
            for &command in CommandKind::ALL {
                assert_eq!(first_row(primary, command).row().effect, Effect::Unchanged);
            }
        }
    }

    #[test]
    fn patterns_print_their_words() {
        assert_eq!(Pattern::<CommandKind>::Any.to_string(), "any");
        assert_eq!(Pattern::These(&[CommandKind::Read, CommandKind::Flush]).to_string(), "read; flush");
        assert_eq!(TAPE.to_string(), "any tape command");
    }
}

mod classes {
    use super::*;

    #[test]
    fn the_host_has_the_first_word() {
        let busy = Outcome { host: HostStatus::Reset, ..Outcome::with_status(ScsiStatus::Busy) };
        assert_eq!(StandbyOutcome::classify(&busy), StandbyOutcome::HostReset);
        let conflict = Outcome { host: HostStatus::Error, ..Outcome::with_status(ScsiStatus::ReservationConflict) };
        assert_eq!(StandbyOutcome::classify(&conflict), StandbyOutcome::ReservationConflict);
        let passed = Outcome { host: HostStatus::Passthrough, ..Outcome::GOOD };
        assert_eq!(StandbyOutcome::classify(&passed), StandbyOutcome::Good);
    }

    #[test]
    fn old_kernels_speak_through_the_driver_byte() {
        let told = |driver| StandbyOutcome::classify(&Outcome { driver, ..Outcome::GOOD });
        assert_eq!(told(DriverStatus::Timeout), StandbyOutcome::TimeOut);
        assert_eq!(told(DriverStatus::Busy), StandbyOutcome::BusBusy);
        assert_eq!(told(DriverStatus::Hard), StandbyOutcome::HostError);
        assert_eq!(told(DriverStatus::Sense), StandbyOutcome::Good);
    }

    #[test]
    fn a_short_transfer_is_no_success_but_an_error_stays_an_error() {
        let short = |outcome: Outcome| StandbyOutcome::classify(&Outcome { residual: 512, ..outcome });
        assert_eq!(short(Outcome::GOOD), StandbyOutcome::Residual);
        let reply = |reply: Reply| reply.outcome().unwrap();
        assert_eq!(short(reply(Reply::check(0x01, 0x17, 0x00))), StandbyOutcome::Residual);
        assert_eq!(short(reply(Reply::check(0x04, 0x44, 0x00))), StandbyOutcome::HardwareError);
    }

    #[test]
    fn deferred_counts_whatever_its_key_and_even_beside_good() {
        assert_eq!(Reply::deferred(0x01, 0x17, 0x00).classify(), StandbyOutcome::Deferred);
        let sense = Reply::deferred(0x03, 0x0c, 0x00).outcome().unwrap().sense;
        assert_eq!(StandbyOutcome::classify(&Outcome { sense, ..Outcome::GOOD }), StandbyOutcome::Deferred);
    }

    #[test]
    fn every_byte_of_status_and_every_code_has_a_class() {
        let mut seen = BTreeSet::from([StandbyOutcome::NotIssued, StandbyOutcome::DeviceGone]);
        for byte in 0..=u8::MAX {
            seen.insert(Reply::status(byte).classify());
            seen.insert(Reply::host(byte).classify());
            for key in 0..16 {
                seen.extend((0..=u8::MAX).map(|qualifier| Reply::check(key, byte, qualifier).classify()));
            }
        }
        seen.extend([0x80, 0x40, 0x20].map(|flag| Reply::check(flag, 0, 0).classify()));
        seen.insert(Reply::SHORT.classify());
        seen.insert(Reply::deferred(3, 0, 0).classify());
        let missing: Vec<_> = StandbyOutcome::ALL.iter().filter(|class| !seen.contains(class)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// A block layer's error may be that of one part of several (md, dm), so it never says that nothing changed.
    #[test]
    fn a_failure_at_the_block_layer_is_read_again() {
        for status in (1..=u8::MAX).map(Status) {
            let row = first_row(PrimaryOutcome::of_block_status(status), CommandKind::Write).row();
            assert_eq!(row.effect, Effect::OutOfSync(Scope::Range), "{}", status.name());
        }
        assert_eq!(PrimaryOutcome::of_block_status(Status::OK), PrimaryOutcome::Good);
        assert_eq!(PrimaryOutcome::of_block_status(Status::UNKNOWN), PrimaryOutcome::Unseen);
    }

    #[test]
    fn each_class_of_the_primary_comes_from_some_answer() {
        let reached: BTreeSet<_> = StandbyOutcome::ALL.iter().map(|&answer| PrimaryOutcome::of(answer)).collect();
        assert!(PrimaryOutcome::ALL.iter().all(|class| reached.contains(class)));
    }

    #[test]
    fn each_class_names_its_source() {
        for class in StandbyOutcome::ALL {
            let source = class.source();
            assert!(!source.answer.is_empty() && !source.standard.is_empty() && !source.linux.is_empty(), "{class}");
        }
        assert_eq!(StandbyOutcome::HostOther.source().answer, "host, other");
        let defaults = StandbyOutcome::ALL.iter().filter(|class| class.source().answer == "host, other").count();
        assert_eq!(defaults, 1, "a class fell through to the last arm");
    }
}

mod one_command {
    use super::*;

    struct Run {
        replay: CommandReplay,
        counters: RowCounters,
        now: Now,
        step: Step,
    }

    impl Run {
        fn with(policy: Policy, command: CommandKind, primary: PrimaryOutcome) -> Self {
            let mut counters = RowCounters::default();
            let (replay, step) = CommandReplay::begin(policy, command, primary, 0, Now::ZERO, &mut counters);
            Self { replay, counters, now: Now::ZERO, step }
        }

        fn of(command: CommandKind) -> Self {
            Self::with(Policy::default(), command, PrimaryOutcome::Good)
        }

        fn tell(&mut self, event: Event) -> &mut Self {
            if let Step::Issue { at, .. } | Step::PollReady { at } = self.step {
                self.now = self.now.max(at);
            }
            self.step = self.replay.handle(self.now, event, &mut self.counters).expect("asked for");
            self
        }

        fn answer(&mut self, outcome: StandbyOutcome) -> &mut Self {
            self.tell(Event::Answered(outcome))
        }

        fn work(&self) -> Work {
            let Step::Issue { work, .. } = self.step else { panic!("{:?}", self.step) };
            work
        }

        fn effect(&self) -> Effect {
            let Step::Finished(finish) = self.step else { panic!("{:?}", self.step) };
            assert!(finish.effect.is_final());
            finish.effect
        }

        fn hits(&self, id: &str) -> u64 {
            self.counters.hits(RowIndex::named(id).unwrap())
        }
    }

    #[test]
    fn a_good_write_takes_two_rows() {
        let mut run = Run::of(CommandKind::Write);
        assert_eq!(run.step, Step::Issue { work: Work::Command, at: Now::ZERO });
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Applied);
        assert_eq!((run.hits("issue"), run.hits("good")), (1, 1));
        assert_eq!(run.counters.used().count(), 2);
    }

    #[test]
    fn attentions_come_one_after_the_other() {
        let mut run = Run::of(CommandKind::Write);
        run.answer(StandbyOutcome::UaReset).answer(StandbyOutcome::UaLogChanged).answer(StandbyOutcome::UaThinSoft);
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Applied);
        assert_eq!(run.counters.retries(Budget::Attention), 3);
    }

    #[test]
    fn a_write_error_is_retried_and_then_a_hole() {
        let mut run = Run::of(CommandKind::Write);
        for _ in 0..5 {
            run.answer(StandbyOutcome::MediumErrorWrite).work();
        }
        assert_eq!(run.answer(StandbyOutcome::MediumErrorWrite).effect(), Effect::OutOfSync(Scope::Range));
        assert_eq!(run.hits("write-error"), 6);
        assert_eq!(run.counters.used_up(Budget::Medium), 1);
        assert!(matches!(run.step, Step::Finished(Finish { retries: 5, .. })));
    }

    #[test]
    fn waits_grow_to_their_limit() {
        let mut run = Run::of(CommandKind::Write);
        let mut waits = Vec::new();
        for _ in 0..10 {
            run.answer(StandbyOutcome::Busy);
            let Step::Issue { at, .. } = run.step else { panic!() };
            waits.push((at - run.now).as_millis());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2000, 2000]);
    }

    #[test]
    fn time_runs_out_before_the_attempts_do() {
        let mut run = Run::of(CommandKind::Write);
        run.answer(StandbyOutcome::TimeOut).work();
        run.now += Duration::from_secs(1801);
        assert_eq!(run.answer(StandbyOutcome::TimeOut).effect(), Effect::Stopped(StopReason::PathLost));
    }

    #[test]
    fn a_device_that_becomes_ready_is_polled_first() {
        let mut run = Run::of(CommandKind::Write);
        run.answer(StandbyOutcome::NotReadyBecoming);
        assert!(matches!(run.step, Step::PollReady { .. }));
        run.tell(Event::Polled(StandbyOutcome::NotReadyBecoming)).tell(Event::Polled(StandbyOutcome::Good));
        assert_eq!(run.work(), Work::Command);
        assert_eq!(run.counters.retries(Budget::Ready), 2);
    }

    /// The poll takes the unit attention away, so it must not be lost with it.
    #[test]
    fn a_poll_that_hears_of_a_power_loss_leads_to_the_redo() {
        let mut run = Run::of(CommandKind::Write);
        run.answer(StandbyOutcome::NoConnect).tell(Event::Polled(StandbyOutcome::UaPowerOn));
        assert_eq!(run.effect(), Effect::Redo);
        assert_eq!(run.hits("attention-power"), 1);
    }

    #[test]
    fn a_tape_at_a_filemark_is_not_judged_by_the_poll() {
        let mut run = Run::with(Policy::default(), CommandKind::TapeMove, PrimaryOutcome::Filemark);
        run.answer(StandbyOutcome::NotReadyBecoming).tell(Event::Polled(StandbyOutcome::Good)).work();
        assert_eq!(run.answer(StandbyOutcome::Filemark).effect(), Effect::Applied);
        let mut run = Run::with(Policy::default(), CommandKind::TapeMove, PrimaryOutcome::Filemark);
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Stopped(StopReason::TapeDiffers));
    }

    #[test]
    fn write_same_becomes_writes_once() {
        let mut run = Run::of(CommandKind::WriteSame);
        assert_eq!(run.answer(StandbyOutcome::IllegalOpcode).work(), Work::Equivalent(Equivalent::PlainWrites));
        assert_eq!(run.answer(StandbyOutcome::UaReset).work(), Work::Equivalent(Equivalent::PlainWrites));
        assert_eq!(run.answer(StandbyOutcome::IllegalFieldInCdb).effect(), Effect::Stopped(StopReason::Unsupported));
    }

    #[test]
    fn compare_and_write_is_replayed_as_the_effect_it_had() {
        let mut run = Run::of(CommandKind::CompareAndWrite);
        assert_eq!(run.work(), Work::Effect);
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Applied);
        let run = Run::with(Policy::default(), CommandKind::CompareAndWrite, PrimaryOutcome::Miscompare);
        assert_eq!(run.effect(), Effect::Unchanged);
    }

    #[test]
    fn an_unreadable_block_is_reproduced_where_that_is_wished() {
        let run = Run::with(Policy::default(), CommandKind::Read, PrimaryOutcome::MediumErrorRead);
        assert_eq!(run.effect(), Effect::Noted);
        let policy = Policy { reproduce_unreadable: true, ..Policy::default() };
        let mut run = Run::with(policy, CommandKind::Read, PrimaryOutcome::MediumErrorRead);
        assert_eq!(run.work(), Work::Unreadable);
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Applied);
    }

    #[test]
    fn unknown_commands_follow_their_rule() {
        let with = |opaque, primary| Run::with(Policy { opaque, ..Policy::default() }, CommandKind::Opaque, primary);
        let good = PrimaryOutcome::Good;
        assert_eq!(with(OpaqueRule::Stop, good).effect(), Effect::Stopped(StopReason::OpaqueCommand));
        assert_eq!(with(OpaqueRule::ReRead, good).effect(), Effect::OutOfSync(Scope::Volume));
        assert_eq!(with(OpaqueRule::Ignore, good).effect(), Effect::Noted);
        assert_eq!(with(OpaqueRule::Issue, good).work(), Work::Command);
        assert_eq!(with(OpaqueRule::Issue, PrimaryOutcome::TimeOut).effect(), Effect::OutOfSync(Scope::Volume));
        assert_eq!(with(OpaqueRule::Stop, PrimaryOutcome::IllegalRequest).effect(), Effect::Unchanged);
    }

    #[test]
    fn a_changed_device_stops_and_the_same_one_goes_on() {
        let mut run = Run::of(CommandKind::Write);
        run.answer(StandbyOutcome::UaCapacityChanged);
        assert_eq!(run.step, Step::Recheck);
        run.tell(Event::Rechecked(true)).work();
        run.answer(StandbyOutcome::UaIdentityChanged).tell(Event::Rechecked(false));
        assert_eq!(run.effect(), Effect::Stopped(StopReason::DeviceChanged));
    }

    #[test]
    fn redos_of_one_checkpoint_are_limited() {
        let mut counters = RowCounters::default();
        let (kind, good) = (CommandKind::Write, PrimaryOutcome::Good);
        for (redos, effect) in [(2, Effect::Redo), (3, Effect::Stopped(StopReason::Unreliable))] {
            let (mut replay, _) = CommandReplay::begin(Policy::default(), kind, good, redos, Now::ZERO, &mut counters);
            let step = replay.handle(Now::ZERO, Event::Answered(StandbyOutcome::Deferred), &mut counters);
            assert!(matches!(step, Ok(Step::Finished(finish)) if finish.effect == effect), "{step:?}");
        }
    }

    #[test]
    fn events_that_nobody_asked_for_change_nothing() {
        let mut run = Run::of(CommandKind::Write);
        for event in
            [Event::Polled(StandbyOutcome::Good), Event::Rechecked(true), Event::Answered(StandbyOutcome::NotIssued)]
        {
            let error = run.replay.handle(Now::ZERO, event, &mut run.counters).unwrap_err();
            assert_eq!(error, UnexpectedEvent { event, waiting: "an answer" });
        }
        assert_eq!(run.answer(StandbyOutcome::Good).effect(), Effect::Applied);
        let late = run.replay.handle(Now::ZERO, Event::Answered(StandbyOutcome::Good), &mut run.counters);
        assert_eq!(late.unwrap_err().waiting, "nothing more");
    }

    fn outcome() -> impl Strategy<Value = StandbyOutcome> {
        proptest::sample::select(&StandbyOutcome::ALL[1..])
    }

    proptest! {
        /// Whatever comes, and however slowly, a command ends within its limits.
        #[test]
        fn every_command_ends(
            command in proptest::sample::select(CommandKind::ALL),
            primary in proptest::sample::select(PrimaryOutcome::ALL),
            answers in proptest::collection::vec((outcome(), any::<bool>(), 0_u64..200), 1..40),
        ) {
            let budgets = Budgets::USUAL.with_limit(Budget::LongOperation, Limit { attempts: 50, time: Duration::from_secs(600) });
            let policy = Policy { budgets, reproduce_unreadable: true, opaque: OpaqueRule::Issue, max_redos: 3 };
            let mut run = Run::with(policy, command, primary);
            let mut slow = Duration::ZERO;
            let mut steps = 0;
            for (answer, same, millis) in answers.iter().cycle() {
                let event = match run.step {
                    Step::Finished(_) => break,
                    Step::Issue { .. } => Event::Answered(*answer),
                    Step::PollReady { .. } => Event::Polled(*answer),
                    Step::Recheck => Event::Rechecked(*same),
                };
                run.now += Duration::from_millis(*millis);
                slow += Duration::from_millis(*millis);
                run.tell(event);
                steps += 1;
                prop_assert!(steps <= 2 * budgets.most_attempts());
            }
            run.effect();
            prop_assert!(run.now <= budgets.most_time() + slow);
        }
    }
}

mod counting {
    use super::*;

    /// A command with the primary's outcome of the example, answered as the standby of the example answers.
    fn walk(example: &Example, counters: &mut RowCounters) {
        let policy = Policy { reproduce_unreadable: true, opaque: OpaqueRule::Issue, ..Policy::default() };
        let (primary, command, standby) = example.classify();
        let (mut replay, step) = CommandReplay::begin(policy, command, primary, 0, Now::ZERO, counters);
        if let Step::Issue { at, .. } = step
            && standby != StandbyOutcome::NotIssued
        {
            replay.handle(at, Event::Answered(standby), counters).expect("it waits for an answer");
        }
    }

    #[test]
    fn commands_walk_over_every_row() {
        let mut counters = RowCounters::default();
        ROWS.iter().for_each(|row| walk(&row.example, &mut counters));
        let missing: Vec<_> = counters.missing().map(|row| row.row().id).collect();
        assert!(missing.is_empty(), "{missing:?}\n{}", counters.listing());
    }

    #[test]
    fn the_listing_names_every_row_and_what_is_missing() {
        let mut counters = RowCounters::default();
        RowIndex::all().skip(1).for_each(|row| counters.hit(row));
        let text = counters.listing().to_string();
        assert!(ROWS.iter().all(|row| text.contains(row.id)));
        let last = text.lines().last().unwrap();
        assert_eq!(last, alloc::format!("{} of {} rows reached, 1 missing", ROWS.len() - 1, ROWS.len()));
        let mut all = RowCounters::default();
        all.hit(RowIndex::named("issue").unwrap());
        all.add(&counters);
        assert_eq!(all.missing().count(), 0);
    }
}

mod words {
    use super::*;

    #[test]
    fn the_state_is_one_word_and_never_a_guess() {
        let well = Facts { stopped: None, data: DataState::Consistent, holes: false, connected: true, behind: false };
        let word = |facts: Facts<'_>| StateWord::judge(&facts).to_string();
        assert_eq!(word(well), "UpToDate");
        assert_eq!(word(Facts { behind: true, ..well }), "Outdated");
        assert_eq!(word(Facts { connected: false, ..well }), "Outdated");
        assert_eq!(word(Facts { holes: true, behind: true, ..well }), "Inconsistent");
        assert_eq!(word(Facts { data: DataState::Blank, ..well }), "Inconsistent");
        assert_eq!(word(Facts { stopped: Some("device gone"), holes: true, ..well }), "Stopped: device gone");
    }
}

mod healing {
    use super::*;

    const V: VolumeIndex = VolumeIndex(0);
    const SECOND: Duration = Duration::from_secs(1);
    const SIZE: u64 = 10_000;

    fn small() -> OutOfSync {
        OutOfSync::new(HealConfig { region_size: 4096, max_regions: 4, ..HealConfig::default() })
    }

    fn region(region: u64) -> Hole {
        Hole { volume: V, region: Some(region) }
    }

    #[test]
    fn a_hole_is_asked_for_again_with_growing_waits_until_it_is_healed() {
        let mut holes = small();
        holes.mark(V, Scope::Range, ByteRange::new(4000, 200), 7, Now::ZERO);
        assert_eq!((holes.holes(), holes.poll_timeout()), (2, Some(SECOND)));
        assert_eq!(holes.next_due(Now::ZERO), None);
        assert_eq!((holes.next_due(SECOND), holes.next_due(SECOND)), (Some(region(0)), Some(region(1))));
        assert_eq!((holes.next_due(SECOND), holes.poll_timeout()), (None, None));
        assert_eq!(holes.healed(V, ByteRange::new(0, 4096), SIZE, 8), 1);
        holes.failed(region(1), SECOND);
        assert_eq!(holes.poll_timeout(), Some(3 * SECOND));
        for _ in 0..40 {
            let due = holes.poll_timeout().unwrap();
            assert_eq!(holes.next_due(due), Some(region(1)));
            holes.failed(region(1), due);
            assert!(holes.poll_timeout().unwrap() - due <= Duration::from_secs(300));
        }
        assert_eq!(holes.healed(V, ByteRange::new(0, SIZE), SIZE, 9), 1, "nobody asked for it");
        assert!(!holes.has_holes());
    }

    /// Content from before the second failure is no cure for it, nor is a part of the region.
    #[test]
    fn only_what_comes_after_the_failure_and_covers_the_region_heals() {
        let mut holes = small();
        holes.mark(V, Scope::Range, ByteRange::new(0, 512), 7, Now::ZERO);
        assert_eq!(holes.next_due(SECOND), Some(region(0)));
        holes.mark(V, Scope::Range, ByteRange::new(512, 512), 9, SECOND);
        assert_eq!(holes.healed(V, ByteRange::new(0, 4096), SIZE, 8), 0);
        assert_eq!(holes.healed(V, ByteRange::new(0, 2048), SIZE, 10), 0);
        assert_eq!(holes.healed(VolumeIndex(1), ByteRange::new(0, 4096), SIZE, 10), 0);
        assert_eq!(holes.next_due(3 * SECOND), Some(region(0)));
        holes.disconnected();
        assert_eq!(holes.next_due(3 * SECOND), Some(region(0)));
        assert_eq!(holes.healed(V, ByteRange::new(0, 4096), SIZE, 10), 1);
    }

    #[test]
    fn too_many_holes_are_the_whole_volume() {
        let mut holes = small();
        holes.mark(V, Scope::Range, ByteRange::new(0, u64::MAX), 7, Now::ZERO);
        let whole = Hole { volume: V, region: None };
        assert_eq!((holes.holes(), holes.next_due(SECOND)), (1, Some(whole)));
        holes.mark(V, Scope::Range, ByteRange::new(0, 512), 9, SECOND);
        assert_eq!(holes.healed(V, ByteRange::new(0, SIZE), SIZE, 10), 0, "one region is not the volume");
        holes.volume_healed(V, 9);
        assert!(holes.has_holes(), "marked while it was asked for");
        assert_eq!(holes.next_due(SECOND), Some(whole));
        assert_eq!(holes.range(whole, SIZE), ByteRange::new(0, SIZE));
        assert_eq!(holes.range(region(2), SIZE), ByteRange::new(8192, 1808));
        assert_eq!(holes.range(region(9), SIZE), ByteRange::new(SIZE, 0));
        holes.volume_healed(V, 10);
        assert!(!holes.has_holes());
    }

    /// The waits of a volume must not start anew whenever another write fails there.
    #[test]
    fn marking_a_volume_again_keeps_its_back_off() {
        let mut holes = small();
        let whole = Hole { volume: V, region: None };
        holes.mark(V, Scope::Volume, ByteRange::default(), 1, Now::ZERO);
        (0..5).for_each(|_| holes.failed(whole, Now::ZERO));
        holes.mark(V, Scope::Volume, ByteRange::default(), 2, Now::ZERO);
        assert_eq!(holes.poll_timeout(), Some(32 * SECOND));
    }

    #[test]
    fn device_state_is_no_hole_of_content() {
        let mut holes = small();
        holes.mark(V, Scope::DeviceState, ByteRange::default(), 1, Now::ZERO);
        assert!(!holes.has_holes() && holes.state_differs().eq([V]));
        holes.state_healed(V);
        assert_eq!(holes.state_differs().count(), 0);
    }

    #[test]
    fn unreadable_blocks_are_cleared_by_the_next_write_and_by_no_other() {
        let mut blocks = UnreadableBlocks::default();
        [0, 512, 1024].iter().for_each(|&offset| blocks.add(V, offset));
        blocks.add(VolumeIndex(1), 512);
        assert_eq!(blocks.written(V, ByteRange::new(512, 512)), 1);
        assert!(blocks.iter().eq([(V, 0), (V, 1024), (VolumeIndex(1), 512)]));
        assert_eq!(blocks.written(VolumeIndex(2), ByteRange::new(0, u64::MAX)), 0);
        assert_eq!(blocks.written(V, ByteRange::new(0, 0)), 0);
        assert_eq!((blocks.iter().count(), blocks.unnamed()), (3, 0));
    }
}

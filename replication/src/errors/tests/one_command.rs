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

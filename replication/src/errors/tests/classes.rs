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

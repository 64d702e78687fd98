//! A naive model of the error policy beside the table: written as one would say it, without patterns or order of rows,
//! and compared for every case.

use replication::errors::{
    Action, Budget, CommandKind, Delay, Equivalent, Last, PrimaryOutcome, Scope, StandbyOutcome, StopReason, lookup,
};

use CommandKind as K;
use PrimaryOutcome as P;
use StandbyOutcome as S;
use StopReason as Why;

fn is_tape(kind: K) -> bool {
    kind == K::TapeWrite || kind == K::TapeMove
}

fn changes_a_range(kind: K) -> bool {
    matches!(
        kind,
        K::Write
            | K::WriteAtomic
            | K::WriteSame
            | K::Unmap
            | K::UnmapToZeros
            | K::CompareAndWrite
            | K::Combine
            | K::WriteLong
            | K::MarkUnreadable
    )
}

fn retry(budget: Budget, delay: Delay, last: Last) -> Action {
    Action::Retry { budget, delay, last }
}

fn poll(budget: Budget, why: Why) -> Action {
    Action::RetryAfterReadyPoll { budget, last: Last::Stop(why) }
}

fn model(primary: P, kind: K, standby: S) -> Action {
    match standby {
        S::Residual if kind == K::TapeMove && primary == P::Residual => Action::Done,
        S::NotIssued => begin(primary, kind),
        _ if is_tape(kind) => tape(primary, standby).unwrap_or_else(|| any(kind, standby)),
        _ => any(kind, standby),
    }
}

/// With what to begin.
fn begin(primary: P, kind: K) -> Action {
    match primary {
        P::Good | P::Recovered => after_success(kind),
        // It was not begun on the primary.
        P::IllegalRequest if kind == K::Unmap || kind == K::UnmapToZeros => Action::ReRead(Scope::Range),
        P::Busy | P::ReservationConflict | P::NotReady | P::WriteProtected | P::UnitAttention | P::IllegalRequest => {
            Action::Skip
        }
        P::UaStateChanged => Action::ReRead(Scope::DeviceState),
        P::UaCapacityChanged => Action::Stop(Why::PrimaryCapacity),
        P::UaMediumChanged if is_tape(kind) => Action::Stop(Why::TapeMedium),
        P::UaMediumChanged => Action::ReRead(Scope::Volume),
        P::UaPowerOn | P::Deferred if is_tape(kind) => Action::Stop(Why::TapePosition),
        P::UaPowerOn | P::Deferred => Action::ReRead(Scope::SinceFlush),
        failed => after_failure(failed, kind),
    }
}

fn after_success(kind: K) -> Action {
    match kind {
        K::CompareAndWrite | K::Reservation | K::Parameters => Action::ReplayEffect,
        K::Read | K::Carried => Action::Skip,
        K::MarkUnreadable => Action::ReproduceUnreadable,
        K::WriteLong | K::Combine => Action::ReRead(Scope::Range),
        K::Refused => Action::Stop(Why::RefusedCommand),
        K::Opaque => Action::ByRule,
        _ => Action::Issue,
    }
}

/// The primary failed, and what it changed is not known.
fn after_failure(primary: P, kind: K) -> Action {
    match kind {
        K::Read if primary == P::MediumErrorRead => Action::ReproduceUnreadable,
        K::Read | K::Carried => Action::Skip,
        K::CompareAndWrite if primary == P::Miscompare => Action::Skip,
        K::Flush if primary == P::Unseen => Action::Skip,
        K::Flush => Action::ReRead(Scope::SinceFlush),
        K::WholeMedium => Action::ReRead(Scope::Volume),
        K::Reservation | K::Parameters | K::UnitState => Action::ReRead(Scope::DeviceState),
        K::Refused => Action::Stop(Why::RefusedCommand),
        K::Opaque => Action::ByRule,
        K::TapeWrite => match primary {
            P::EarlyWarning => Action::Issue,
            P::Residual | P::VolumeOverflow => Action::ReplayEffect,
            _ => Action::Stop(Why::TapePosition),
        },
        K::TapeMove => match primary {
            P::EarlyWarning | P::Filemark | P::IncorrectLength | P::BlankCheck | P::Residual => Action::Issue,
            _ => Action::Stop(Why::TapePosition),
        },
        _ => Action::ReRead(Scope::Range),
    }
}

/// What is particular to tapes.
fn tape(primary: P, standby: S) -> Option<Action> {
    let done = matches!(primary, P::Good | P::Recovered | P::EarlyWarning | P::Residual | P::VolumeOverflow);
    Some(match standby {
        S::Good | S::Recovered | S::EarlyWarning if done => Action::Done,
        S::Filemark if primary == P::Filemark => Action::Done,
        S::IncorrectLength if primary == P::IncorrectLength => Action::Done,
        S::BlankCheck if primary == P::BlankCheck => Action::Done,
        S::VolumeOverflow => Action::Stop(Why::TapeFull),
        S::Good | S::Recovered | S::EarlyWarning | S::Filemark | S::IncorrectLength => Action::Stop(Why::TapeDiffers),
        S::BlankCheck | S::Miscompare | S::Residual => Action::Stop(Why::TapeDiffers),
        S::IllegalOpcode | S::IllegalFieldInCdb | S::IllegalParameterList => Action::Stop(Why::Unsupported),
        // Said before anything moved, or by a device that nobody reached: as for disks.
        S::UaModeChanged
        | S::UaLogChanged
        | S::UaReservationsPreempted
        | S::UaReservationsReleased
        | S::UaRegistrationsPreempted
        | S::UaAccessChanged
        | S::UaCapacityChanged
        | S::UaInquiryChanged
        | S::UaIdentityChanged
        | S::UaLunsChanged
        | S::UaMicrocodeChanged
        | S::UaThinSoft
        | S::UaOther => return None,
        S::Busy | S::TaskSetFull | S::AcaActive | S::ReservationConflict | S::WriteProtected => return None,
        S::NotReadyBecoming
        | S::NotReadyInProgress
        | S::NotReadyStopped
        | S::NotReadyManual
        | S::NotReadyTransition
        | S::NotReadyStandbyPort
        | S::NotReadyUnavailablePort
        | S::NotReadyNoMedium
        | S::NotReadyOther => return None,
        S::NoConnect | S::BusBusy | S::BadTarget | S::ImmRetry | S::Requeue => return None,
        S::LunNotSupported | S::DeviceGone => return None,
        _ => Action::Stop(Why::TapePosition),
    })
}

fn any(kind: K, standby: S) -> Action {
    let odd = retry(Budget::Odd, Delay::Short, Last::OutOfSync);
    match standby {
        S::Good | S::Recovered if kind == K::WholeMedium => Action::MarkOutOfSync(Scope::Volume),
        S::Good | S::Recovered => Action::Done,
        S::Busy | S::TaskSetFull | S::BusBusy | S::Requeue => retry(Budget::Busy, Delay::Short, Last::Stop(Why::Busy)),
        S::ImmRetry => retry(Budget::Busy, Delay::None, Last::Stop(Why::Busy)),
        S::AcaActive => retry(Budget::Busy, Delay::Long, Last::Stop(Why::Busy)),
        S::ReservationConflict => retry(Budget::Conflict, Delay::Long, Last::Stop(Why::Reserved)),
        S::LbaOutOfRange => Action::Stop(Why::TooSmall),
        S::LunNotSupported | S::DeviceGone => Action::Stop(Why::DeviceGone),
        S::WriteProtected => Action::Stop(Why::WriteProtected),
        S::DataProtectOther => Action::Stop(Why::DataProtect),
        S::Deferred => Action::Redo,
        S::IllegalOpcode | S::IllegalFieldInCdb | S::IllegalParameterList => not_taken(kind),
        _ if kind == K::Flush && lost_by_a_flush(standby) => Action::Redo,
        S::MediumErrorWrite | S::MediumErrorRead => retry(Budget::Medium, Delay::Short, Last::OutOfSync),
        S::HardwareError | S::TargetFailure => retry(Budget::Hardware, Delay::Short, Last::OutOfSync),
        S::AbortedCommand | S::TaskAborted => retry(Budget::Abort, Delay::Short, Last::OutOfSync),
        S::SpaceAllocationFailed => retry(Budget::Space, Delay::Long, Last::OutOfSync),
        S::ProtectionError if changes_a_range(kind) => {
            Action::FallBack { to: Equivalent::PlainWrites, last: Last::OutOfSync }
        }
        S::Miscompare if changes_a_range(kind) => Action::MarkOutOfSync(Scope::Range),
        S::ProtectionError | S::Miscompare | S::IllegalOther | S::SenseMissing | S::OtherSense | S::OtherStatus => odd,
        S::BlankCheck | S::VolumeOverflow | S::EarlyWarning | S::Filemark | S::IncorrectLength | S::Residual => odd,
        other => attention(other).or_else(|| readiness(other)).unwrap_or_else(|| transport(other)),
    }
}

fn lost_by_a_flush(standby: S) -> bool {
    matches!(
        standby,
        S::MediumErrorWrite
            | S::MediumErrorRead
            | S::HardwareError
            | S::TargetFailure
            | S::SpaceAllocationFailed
            | S::ProtectionError
            | S::Miscompare
            | S::Residual
            | S::OtherSense
    )
}

fn not_taken(kind: K) -> Action {
    let instead = |to| Action::FallBack { to, last: Last::Stop(Why::Unsupported) };
    match kind {
        // No cache that could be flushed.
        K::Flush => Action::Done,
        K::Write | K::WriteAtomic | K::WriteSame | K::CompareAndWrite => instead(Equivalent::PlainWrites),
        K::UnmapToZeros => instead(Equivalent::ZeroWrites),
        K::Unmap | K::WriteLong | K::Combine => Action::MarkOutOfSync(Scope::Range),
        K::WholeMedium => Action::MarkOutOfSync(Scope::Volume),
        K::Reservation | K::Parameters | K::UnitState | K::Carried | K::Read | K::MarkUnreadable => Action::Refuse,
        K::Refused | K::Opaque | K::TapeWrite | K::TapeMove => Action::Stop(Why::Unsupported),
    }
}

fn attention(standby: S) -> Option<Action> {
    Some(match standby {
        S::UaPowerOn => Action::Redo,
        S::UaReservationsPreempted | S::UaRegistrationsPreempted => Action::Stop(Why::Fenced),
        S::UaAccessChanged => poll(Budget::Path, Why::PortState),
        S::UaMediumChanged
        | S::UaModeChanged
        | S::UaCapacityChanged
        | S::UaInquiryChanged
        | S::UaIdentityChanged
        | S::UaLunsChanged
        | S::UaMicrocodeChanged => Action::RecheckDevice,
        S::UaReset
        | S::UaLogChanged
        | S::UaReservationsReleased
        | S::UaThinSoft
        | S::UaCommandsCleared
        | S::UaOther
        | S::HostReset => retry(Budget::Attention, Delay::None, Last::Stop(Why::Attention)),
        _ => return None,
    })
}

fn readiness(standby: S) -> Option<Action> {
    Some(match standby {
        S::NotReadyInProgress => poll(Budget::LongOperation, Why::NotReady),
        S::NotReadyNoMedium => poll(Budget::Ready, Why::NoMedium),
        S::NotReadyTransition | S::NotReadyStandbyPort | S::NotReadyUnavailablePort => {
            poll(Budget::Path, Why::PortState)
        }
        S::NotReadyBecoming | S::NotReadyStopped | S::NotReadyManual | S::NotReadyOther => {
            poll(Budget::Ready, Why::NotReady)
        }
        _ => return None,
    })
}

fn transport(standby: S) -> Action {
    match standby {
        S::TimeOut => retry(Budget::TimeOut, Delay::Long, Last::Stop(Why::PathLost)),
        S::NoConnect | S::BadTarget => poll(Budget::Path, Why::DeviceGone),
        S::TransportDisrupted | S::TransportFailfast => poll(Budget::Path, Why::PathLost),
        _ => retry(Budget::Transport, Delay::Short, Last::Stop(Why::PathLost)),
    }
}

#[test]
fn the_table_says_what_the_model_says() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for &primary in P::ALL {
        for &kind in K::ALL {
            for &standby in S::ALL {
                let row = lookup(primary, kind, standby).row();
                let said = model(primary, kind, standby);
                cases += 1;
                if row.action != said {
                    wrong.push(format!("{primary:?} {kind:?} {standby:?}: {} says {}, not {said}", row.id, row.action));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} cases differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert_eq!(cases, P::ALL.len() * K::ALL.len() * S::ALL.len());
}

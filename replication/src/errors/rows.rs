//! The rows of the error consistency table, in order: see `docs/error-consistency.md`.
//!
//! First what to do at all, from the primary's answer alone (standby: not issued); then what to do with each answer of
//! the standby's device: tapes first, then flushes, then everything.

use super::action::{Action, Budget, Delay, Equivalent, Last, StopReason};
use super::example::Reply;
use super::outcome::{CommandKind, PrimaryOutcome, Scope, StandbyOutcome};
use super::table::{Pattern, Row};

use Action::{
    ByRule, Done, FallBack, Issue, MarkOutOfSync, ReRead, RecheckDevice, Redo, Refuse, ReplayEffect,
    ReproduceUnreadable, Skip, Stop,
};
use CommandKind as K;
use Pattern::{Any, Group, These};
use PrimaryOutcome as P;
use StandbyOutcome as S;
use StopReason as Why;

/// The primary did it.
pub const SUCCESS: Pattern<PrimaryOutcome> = Group("success", &[P::Good, P::Recovered]);
/// Disk commands that change a range.
pub const CONTENT: Pattern<CommandKind> = Group(
    "any disk write",
    &[
        K::Write,
        K::WriteAtomic,
        K::WriteSame,
        K::Unmap,
        K::UnmapToZeros,
        K::CompareAndWrite,
        K::Combine,
        K::WriteLong,
        K::MarkUnreadable,
    ],
);
/// Commands that are issued on the standby as they were on the primary.
pub const ISSUED: Pattern<CommandKind> = Group(
    "any that is issued as it is",
    &[
        K::Write,
        K::WriteAtomic,
        K::WriteSame,
        K::Unmap,
        K::UnmapToZeros,
        K::Flush,
        K::WholeMedium,
        K::UnitState,
        K::TapeWrite,
        K::TapeMove,
    ],
);
/// Commands whose effect is brought about, in whatever way leads there.
pub const BY_EFFECT: Pattern<CommandKind> =
    Group("any replayed by its effect", &[K::CompareAndWrite, K::Reservation, K::Parameters]);
/// Commands about the state of the device.
pub const STATE: Pattern<CommandKind> = Group("any of device state", &[K::Reservation, K::Parameters, K::UnitState]);
/// Tape commands.
pub const TAPE: Pattern<CommandKind> = Group("any tape command", &[K::TapeWrite, K::TapeMove]);
/// Everything on which GOOD is the end of it.
pub const PLAIN: Pattern<CommandKind> = Group(
    "any but tape and whole medium",
    &[
        K::Read,
        K::Write,
        K::WriteAtomic,
        K::WriteSame,
        K::Unmap,
        K::UnmapToZeros,
        K::CompareAndWrite,
        K::Combine,
        K::WriteLong,
        K::MarkUnreadable,
        K::Flush,
        K::Reservation,
        K::Parameters,
        K::UnitState,
        K::Carried,
        K::Refused,
        K::Opaque,
    ],
);
/// Answers of the standby after which the position of a tape is not known, or a block of it not written.
pub const TAPE_LOST: Pattern<StandbyOutcome> = Group(
    "any that leaves the position unknown",
    &[
        S::UaPowerOn,
        S::UaReset,
        S::UaMediumChanged,
        S::UaCommandsCleared,
        S::MediumErrorWrite,
        S::MediumErrorRead,
        S::HardwareError,
        S::AbortedCommand,
        S::TaskAborted,
        S::ProtectionError,
        S::IllegalOther,
        S::LbaOutOfRange,
        S::SpaceAllocationFailed,
        S::DataProtectOther,
        S::Deferred,
        S::SenseMissing,
        S::OtherSense,
        S::OtherStatus,
        S::TimeOut,
        S::HostAbort,
        S::Parity,
        S::HostError,
        S::HostReset,
        S::BadIntr,
        S::SoftError,
        S::TransportDisrupted,
        S::TransportFailfast,
        S::TransportMarginal,
        S::TargetFailure,
        S::HostOther,
    ],
);
/// Answers after which the position is known, but may not be the primary's.
pub const TAPE_STOPPED: Pattern<StandbyOutcome> = Group(
    "any other place to stop at",
    &[
        S::Good,
        S::Recovered,
        S::EarlyWarning,
        S::Filemark,
        S::IncorrectLength,
        S::BlankCheck,
        S::Residual,
        S::Miscompare,
    ],
);
/// Answers to a flush that say that something written before did not reach the medium.
pub const FLUSH_LOST: Pattern<StandbyOutcome> = Group(
    "any error of the medium or device",
    &[
        S::MediumErrorWrite,
        S::MediumErrorRead,
        S::HardwareError,
        S::TargetFailure,
        S::SpaceAllocationFailed,
        S::ProtectionError,
        S::Miscompare,
        S::Residual,
        S::OtherSense,
    ],
);
/// The device does not take the command.
pub const NOT_TAKEN: Pattern<StandbyOutcome> =
    Group("ILLEGAL REQUEST: opcode or field", &[S::IllegalOpcode, S::IllegalFieldInCdb, S::IllegalParameterList]);
/// Answers that only a tape gives.
pub const FOREIGN: Pattern<StandbyOutcome> =
    Group("an answer of tapes", &[S::BlankCheck, S::VolumeOverflow, S::EarlyWarning, S::Filemark, S::IncorrectLength]);

const NEW: Pattern<StandbyOutcome> = These(&[S::NotIssued]);
const NONE: Reply = Reply::None;
const GOOD: Reply = Reply::GOOD;

const fn retry(budget: Budget, delay: Delay, last: Last) -> Action {
    Action::Retry { budget, delay, last }
}

const fn poll(budget: Budget, why: Why) -> Action {
    Action::RetryAfterReadyPoll { budget, last: Last::Stop(why) }
}

const fn instead(to: Equivalent) -> Action {
    FallBack { to, last: Last::Stop(Why::Unsupported) }
}

/// A unit attention that changes nothing: the command was not begun, so it is issued again.
const ATTENTION: Action = retry(Budget::Attention, Delay::None, Last::Stop(Why::Attention));
/// An error of the path, after which the command may or may not have been done.
const TRANSPORT: Action = retry(Budget::Transport, Delay::Short, Last::Stop(Why::PathLost));

/// A case of the primary's answer alone.
const fn primary(
    id: &'static str,
    outcome: &'static [PrimaryOutcome],
    command: Pattern<CommandKind>,
    action: Action,
    example: (CommandKind, Reply),
) -> Row {
    Row::new(id, These(outcome), command, NEW, action, (example.0, example.1, NONE))
}

/// What is left of a kind of command when no row before said otherwise.
const fn primary_rest(
    id: &'static str,
    command: Pattern<CommandKind>,
    action: Action,
    example: (CommandKind, Reply),
) -> Row {
    Row::new(id, Any, command, NEW, action, (example.0, example.1, NONE))
}

/// A case of the standby's answer to any command, shown with a WRITE.
const fn standby(id: &'static str, outcome: &'static [StandbyOutcome], action: Action, reply: Reply) -> Row {
    Row::new(id, Any, Any, These(outcome), action, (K::Write, GOOD, reply))
}

/// A case of the standby's answer to one kind of command.
const fn answer(
    id: &'static str,
    command: Pattern<CommandKind>,
    outcome: Pattern<StandbyOutcome>,
    action: Action,
    example: (CommandKind, Reply),
) -> Row {
    Row::new(id, Any, command, outcome, action, (example.0, GOOD, example.1))
}

/// The same where the primary's answer matters.
const fn both(
    id: &'static str,
    first: &'static [PrimaryOutcome],
    command: Pattern<CommandKind>,
    second: &'static [StandbyOutcome],
    action: Action,
    example: (CommandKind, Reply, Reply),
) -> Row {
    Row::new(id, These(first), command, These(second), action, example)
}

/// The table.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    // The two that nearly every command meets.
    Row::new("issue", SUCCESS, ISSUED, NEW, Issue, (K::Write, GOOD, NONE)),
    answer("good", PLAIN, These(&[S::Good]), Done, (K::Write, GOOD)),

    // The primary's answer alone.
    Row::new("effect", SUCCESS, BY_EFFECT, NEW, ReplayEffect, (K::CompareAndWrite, GOOD, NONE)),
    Row::new("read-back", SUCCESS, These(&[K::Combine, K::WriteLong]), NEW, ReRead(Scope::Range), (K::Combine, GOOD, NONE)),
    Row::new("unreadable", SUCCESS, These(&[K::MarkUnreadable]), NEW, ReproduceUnreadable, (K::MarkUnreadable, GOOD, NONE)),
    Row::new("read", SUCCESS, These(&[K::Read]), NEW, Skip, (K::Read, Reply::check(0x01, 0x17, 0x01), NONE)),
    Row::new("carried", SUCCESS, These(&[K::Carried]), NEW, Skip, (K::Carried, GOOD, NONE)),
    Row::new("refused", SUCCESS, These(&[K::Refused]), NEW, Stop(Why::RefusedCommand), (K::Refused, GOOD, NONE)),
    Row::new("opaque", SUCCESS, These(&[K::Opaque]), NEW, ByRule, (K::Opaque, GOOD, NONE)),
    // Not begun: nothing to repeat.
    primary("primary-busy", &[P::Busy], Any, Skip, (K::Write, Reply::status(0x28))),
    primary("primary-reservation-conflict", &[P::ReservationConflict], Any, Skip, (K::Write, Reply::status(0x18))),
    primary("primary-not-ready", &[P::NotReady], Any, Skip, (K::Write, Reply::check(0x02, 0x04, 0x01))),
    primary("primary-illegal-unmap", &[P::IllegalRequest], These(&[K::Unmap, K::UnmapToZeros]), ReRead(Scope::Range), (K::Unmap, Reply::check(0x05, 0x26, 0x00))),
    primary("primary-illegal", &[P::IllegalRequest], Any, Skip, (K::WriteSame, Reply::descriptor(0x05, 0x24, 0x00))),
    primary("primary-write-protected", &[P::WriteProtected], Any, Skip, (K::Write, Reply::check(0x07, 0x27, 0x00))),
    primary("primary-attention", &[P::UnitAttention], Any, Skip, (K::Write, Reply::check(0x06, 0x29, 0x02))),
    // Not begun, but something else happened.
    primary("primary-state-changed", &[P::UaStateChanged], Any, ReRead(Scope::DeviceState), (K::Write, Reply::check(0x06, 0x2a, 0x01))),
    primary("primary-power-tape", &[P::UaPowerOn], TAPE, Stop(Why::TapePosition), (K::TapeWrite, Reply::check(0x06, 0x29, 0x01))),
    primary("primary-power", &[P::UaPowerOn], Any, ReRead(Scope::SinceFlush), (K::Write, Reply::check(0x06, 0x29, 0x00))),
    primary("primary-medium-tape", &[P::UaMediumChanged], TAPE, Stop(Why::TapeMedium), (K::TapeMove, Reply::check(0x06, 0x28, 0x00))),
    primary("primary-medium", &[P::UaMediumChanged], Any, ReRead(Scope::Volume), (K::Write, Reply::check(0x06, 0x28, 0x00))),
    primary("primary-capacity", &[P::UaCapacityChanged], Any, Stop(Why::PrimaryCapacity), (K::Write, Reply::check(0x06, 0x2a, 0x09))),
    primary("primary-deferred-tape", &[P::Deferred], TAPE, Stop(Why::TapePosition), (K::TapeWrite, Reply::deferred(0x03, 0x0c, 0x00))),
    primary("primary-deferred", &[P::Deferred], Any, ReRead(Scope::SinceFlush), (K::Write, Reply::deferred(0x03, 0x0c, 0x02))),
    // Reads change nothing, but may show a block that has no content.
    primary("primary-unreadable", &[P::MediumErrorRead], These(&[K::Read]), ReproduceUnreadable, (K::Read, Reply::check(0x03, 0x11, 0x00))),
    primary_rest("primary-read-failed", These(&[K::Read]), Skip, (K::Read, Reply::check(0x0b, 0x44, 0x00))),
    // Disk writes that failed: what the range holds now is not known.
    primary("primary-miscompare", &[P::Miscompare], These(&[K::CompareAndWrite]), Skip, (K::CompareAndWrite, Reply::check(0x0e, 0x1d, 0x00))),
    primary("primary-verify-miscompare", &[P::Miscompare], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x0e, 0x1d, 0x00))),
    primary("primary-residual", &[P::Residual], CONTENT, ReRead(Scope::Range), (K::Write, Reply::SHORT)),
    primary("primary-no-space", &[P::SpaceAllocationFailed], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x07, 0x27, 0x07))),
    primary("primary-data-protect", &[P::DataProtectOther], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x07, 0x0c, 0x12))),
    primary("primary-write-error", &[P::MediumErrorWrite], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x03, 0x0c, 0x02))),
    primary("primary-read-error", &[P::MediumErrorRead], CONTENT, ReRead(Scope::Range), (K::CompareAndWrite, Reply::check(0x03, 0x11, 0x00))),
    primary("primary-hardware", &[P::HardwareError], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x04, 0x44, 0x00))),
    primary("primary-aborted", &[P::Aborted], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x0b, 0x00, 0x00))),
    primary("primary-protection", &[P::ProtectionError], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x0b, 0x10, 0x01))),
    primary("primary-time-out", &[P::TimeOut], CONTENT, ReRead(Scope::Range), (K::Write, Reply::host(0x03))),
    primary("primary-reset", &[P::Reset], CONTENT, ReRead(Scope::Range), (K::Write, Reply::host(0x08))),
    primary("primary-transport", &[P::Transport], CONTENT, ReRead(Scope::Range), (K::Write, Reply::host(0x0e))),
    primary("primary-gone", &[P::DeviceGone], CONTENT, ReRead(Scope::Range), (K::Write, Reply::Gone)),
    primary("primary-no-medium", &[P::NoMedium], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x02, 0x3a, 0x00))),
    primary("primary-other", &[P::Other], CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x09, 0x80, 0x00))),
    primary("primary-unseen", &[P::Unseen], CONTENT, ReRead(Scope::Range), (K::Write, Reply::None)),
    primary_rest("primary-foreign", CONTENT, ReRead(Scope::Range), (K::Write, Reply::check(0x08, 0x00, 0x00))),
    // Everything else that failed. A flush changes nothing by itself: that nobody saw its end is no reason to read a volume.
    primary("primary-flush-unseen", &[P::Unseen], These(&[K::Flush]), Skip, (K::Flush, Reply::None)),
    primary_rest("primary-flush-failed", These(&[K::Flush]), ReRead(Scope::SinceFlush), (K::Flush, Reply::check(0x03, 0x0c, 0x00))),
    primary_rest("primary-whole-failed", These(&[K::WholeMedium]), ReRead(Scope::Volume), (K::WholeMedium, Reply::check(0x03, 0x31, 0x01))),
    primary_rest("primary-state-failed", STATE, ReRead(Scope::DeviceState), (K::Reservation, Reply::host(0x03))),
    primary_rest("primary-carried-failed", These(&[K::Carried]), Skip, (K::Carried, Reply::check(0x04, 0x32, 0x00))),
    primary_rest("primary-refused-failed", These(&[K::Refused]), Stop(Why::RefusedCommand), (K::Refused, Reply::check(0x0a, 0x0d, 0x01))),
    primary_rest("primary-opaque-failed", These(&[K::Opaque]), ByRule, (K::Opaque, Reply::host(0x07))),
    primary("primary-tape-warning", &[P::EarlyWarning], TAPE, Issue, (K::TapeWrite, Reply::check(0x40, 0x00, 0x02))),
    primary("primary-tape-mark", &[P::Filemark, P::IncorrectLength, P::BlankCheck, P::Residual], These(&[K::TapeMove]), Issue, (K::TapeMove, Reply::check(0x80, 0x00, 0x01))),
    primary("primary-tape-partial", &[P::Residual, P::VolumeOverflow], These(&[K::TapeWrite]), ReplayEffect, (K::TapeWrite, Reply::check(0x4d, 0x00, 0x02))),
    primary_rest("primary-tape-failed", TAPE, Stop(Why::TapePosition), (K::TapeWrite, Reply::check(0x03, 0x0c, 0x00))),

    // Tapes on the standby: a position that is not known cannot be healed by reading a region again.
    both("tape-good", &[P::Good, P::Recovered, P::EarlyWarning, P::Residual, P::VolumeOverflow], TAPE, &[S::Good, S::Recovered, S::EarlyWarning], Done, (K::TapeWrite, GOOD, GOOD)),
    both("tape-filemark", &[P::Filemark], TAPE, &[S::Filemark], Done, (K::TapeMove, Reply::check(0x80, 0x00, 0x01), Reply::check(0x80, 0x00, 0x01))),
    both("tape-length", &[P::IncorrectLength], TAPE, &[S::IncorrectLength], Done, (K::TapeMove, Reply::check(0x20, 0x00, 0x00), Reply::check(0x20, 0x00, 0x00))),
    both("tape-blank", &[P::BlankCheck], TAPE, &[S::BlankCheck], Done, (K::TapeMove, Reply::check(0x08, 0x00, 0x05), Reply::check(0x08, 0x00, 0x05))),
    both("tape-short", &[P::Residual], These(&[K::TapeMove]), &[S::Residual], Done, (K::TapeMove, Reply::SHORT, Reply::SHORT)),
    answer("tape-full", TAPE, These(&[S::VolumeOverflow]), Stop(Why::TapeFull), (K::TapeWrite, Reply::check(0x4d, 0x00, 0x02))),
    answer("tape-differs", TAPE, TAPE_STOPPED, Stop(Why::TapeDiffers), (K::TapeMove, Reply::check(0x80, 0x00, 0x01))),
    answer("tape-lost", TAPE, TAPE_LOST, Stop(Why::TapePosition), (K::TapeWrite, Reply::host(0x03))),
    answer("tape-not-taken", TAPE, NOT_TAKEN, Stop(Why::Unsupported), (K::TapeMove, Reply::check(0x05, 0x20, 0x00))),

    // Flushes: an error is about writes that were taken before.
    answer("flush-lost", These(&[K::Flush]), FLUSH_LOST, Redo, (K::Flush, Reply::check(0x03, 0x0c, 0x00))),
    answer("flush-not-taken", These(&[K::Flush]), NOT_TAKEN, Done, (K::Flush, Reply::check(0x05, 0x20, 0x00))),

    // Done.
    answer("whole-done", These(&[K::WholeMedium]), These(&[S::Good, S::Recovered]), MarkOutOfSync(Scope::Volume), (K::WholeMedium, GOOD)),
    standby("recovered", &[S::Recovered], Done, Reply::check(0x01, 0x18, 0x02)),

    // Unit attentions.
    standby("attention-power", &[S::UaPowerOn], Redo, Reply::check(0x06, 0x29, 0x01)),
    standby("attention-reset", &[S::UaReset], ATTENTION, Reply::check(0x06, 0x29, 0x07)),
    standby("attention-medium", &[S::UaMediumChanged], RecheckDevice, Reply::check(0x06, 0x28, 0x00)),
    standby("attention-mode", &[S::UaModeChanged], RecheckDevice, Reply::check(0x06, 0x2a, 0x01)),
    standby("attention-log", &[S::UaLogChanged], ATTENTION, Reply::check(0x06, 0x2a, 0x02)),
    standby("attention-preempted", &[S::UaReservationsPreempted], Stop(Why::Fenced), Reply::check(0x06, 0x2a, 0x03)),
    standby("attention-released", &[S::UaReservationsReleased], ATTENTION, Reply::check(0x06, 0x2a, 0x04)),
    standby("attention-unregistered", &[S::UaRegistrationsPreempted], Stop(Why::Fenced), Reply::check(0x06, 0x2a, 0x05)),
    standby("attention-access", &[S::UaAccessChanged], poll(Budget::Path, Why::PortState), Reply::check(0x06, 0x2a, 0x06)),
    standby("attention-capacity", &[S::UaCapacityChanged], RecheckDevice, Reply::check(0x06, 0x2a, 0x09)),
    standby("attention-inquiry", &[S::UaInquiryChanged], RecheckDevice, Reply::check(0x06, 0x3f, 0x03)),
    standby("attention-identity", &[S::UaIdentityChanged], RecheckDevice, Reply::check(0x06, 0x3f, 0x05)),
    standby("attention-luns", &[S::UaLunsChanged], RecheckDevice, Reply::check(0x06, 0x3f, 0x0e)),
    standby("attention-microcode", &[S::UaMicrocodeChanged], RecheckDevice, Reply::check(0x06, 0x3f, 0x01)),
    standby("attention-thin-soft", &[S::UaThinSoft], ATTENTION, Reply::check(0x06, 0x38, 0x07)),
    standby("attention-cleared", &[S::UaCommandsCleared], ATTENTION, Reply::check(0x06, 0x2f, 0x00)),
    standby("attention-other", &[S::UaOther], ATTENTION, Reply::check(0x06, 0x5a, 0x01)),

    // Not now.
    standby("busy", &[S::Busy], retry(Budget::Busy, Delay::Short, Last::Stop(Why::Busy)), Reply::status(0x08)),
    standby("task-set-full", &[S::TaskSetFull], retry(Budget::Busy, Delay::Short, Last::Stop(Why::Busy)), Reply::status(0x28)),
    standby("aca-active", &[S::AcaActive], retry(Budget::Busy, Delay::Long, Last::Stop(Why::Busy)), Reply::status(0x30)),
    standby("reservation-conflict", &[S::ReservationConflict], retry(Budget::Conflict, Delay::Long, Last::Stop(Why::Reserved)), Reply::status(0x18)),
    standby("becoming-ready", &[S::NotReadyBecoming], poll(Budget::Ready, Why::NotReady), Reply::check(0x02, 0x04, 0x01)),
    standby("in-progress", &[S::NotReadyInProgress], poll(Budget::LongOperation, Why::NotReady), Reply::check(0x02, 0x04, 0x04)),
    standby("stopped-unit", &[S::NotReadyStopped], poll(Budget::Ready, Why::NotReady), Reply::check(0x02, 0x04, 0x02)),
    standby("manual", &[S::NotReadyManual], poll(Budget::Ready, Why::NotReady), Reply::check(0x02, 0x04, 0x03)),
    standby("access-transition", &[S::NotReadyTransition], poll(Budget::Path, Why::PortState), Reply::check(0x02, 0x04, 0x0a)),
    standby("standby-port", &[S::NotReadyStandbyPort], poll(Budget::Path, Why::PortState), Reply::check(0x02, 0x04, 0x0b)),
    standby("unavailable-port", &[S::NotReadyUnavailablePort], poll(Budget::Path, Why::PortState), Reply::check(0x02, 0x04, 0x0c)),
    standby("no-medium", &[S::NotReadyNoMedium], poll(Budget::Ready, Why::NoMedium), Reply::check(0x02, 0x3a, 0x00)),
    standby("not-ready", &[S::NotReadyOther], poll(Budget::Ready, Why::NotReady), Reply::check(0x02, 0x04, 0x00)),

    // Failed.
    standby("write-error", &[S::MediumErrorWrite], retry(Budget::Medium, Delay::Short, Last::OutOfSync), Reply::check(0x03, 0x0c, 0x00)),
    standby("read-error", &[S::MediumErrorRead], retry(Budget::Medium, Delay::Short, Last::OutOfSync), Reply::check(0x03, 0x11, 0x00)),
    standby("hardware", &[S::HardwareError], retry(Budget::Hardware, Delay::Short, Last::OutOfSync), Reply::check(0x04, 0x44, 0x00)),
    standby("aborted", &[S::AbortedCommand], retry(Budget::Abort, Delay::Short, Last::OutOfSync), Reply::descriptor(0x0b, 0x00, 0x00)),
    standby("task-aborted", &[S::TaskAborted], retry(Budget::Abort, Delay::Short, Last::OutOfSync), Reply::status(0x40)),
    answer("protection", CONTENT, These(&[S::ProtectionError]), FallBack { to: Equivalent::PlainWrites, last: Last::OutOfSync }, (K::Write, Reply::check(0x0b, 0x10, 0x01))),
    standby("protection-other", &[S::ProtectionError], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::check(0x0b, 0x10, 0x03)).shown(K::Parameters),
    answer("write-not-taken", These(&[K::Write, K::WriteAtomic, K::WriteSame, K::CompareAndWrite]), NOT_TAKEN, instead(Equivalent::PlainWrites), (K::WriteSame, Reply::check(0x05, 0x20, 0x00))),
    answer("zeros-not-taken", These(&[K::UnmapToZeros]), NOT_TAKEN, instead(Equivalent::ZeroWrites), (K::UnmapToZeros, Reply::check(0x05, 0x20, 0x00))),
    answer("range-not-taken", These(&[K::Unmap, K::Combine, K::WriteLong]), NOT_TAKEN, MarkOutOfSync(Scope::Range), (K::Unmap, Reply::check(0x05, 0x26, 0x00))),
    answer("whole-not-taken", These(&[K::WholeMedium]), NOT_TAKEN, MarkOutOfSync(Scope::Volume), (K::WholeMedium, Reply::check(0x05, 0x20, 0x00))),
    answer("state-not-taken", These(&[K::Reservation, K::Parameters, K::UnitState, K::Carried]), NOT_TAKEN, Refuse, (K::Parameters, Reply::check(0x05, 0x26, 0x00))),
    Row::new("unreadable-not-taken", Any, These(&[K::Read, K::MarkUnreadable]), NOT_TAKEN, Refuse, (K::Read, Reply::check(0x03, 0x11, 0x00), Reply::check(0x05, 0x24, 0x00))),
    answer("opaque-not-taken", These(&[K::Refused, K::Opaque]), NOT_TAKEN, Stop(Why::Unsupported), (K::Opaque, Reply::check(0x05, 0x20, 0x00))),
    standby("lba-out-of-range", &[S::LbaOutOfRange], Stop(Why::TooSmall), Reply::check(0x05, 0x21, 0x00)),
    standby("no-such-lun", &[S::LunNotSupported], Stop(Why::DeviceGone), Reply::check(0x05, 0x25, 0x00)),
    standby("illegal-other", &[S::IllegalOther], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::check(0x05, 0x2c, 0x00)),
    standby("write-protected", &[S::WriteProtected], Stop(Why::WriteProtected), Reply::check(0x07, 0x27, 0x00)),
    standby("no-space", &[S::SpaceAllocationFailed], retry(Budget::Space, Delay::Long, Last::OutOfSync), Reply::check(0x07, 0x27, 0x07)),
    standby("data-protect", &[S::DataProtectOther], Stop(Why::DataProtect), Reply::check(0x07, 0x0c, 0x12)),
    answer("miscompare", CONTENT, These(&[S::Miscompare]), MarkOutOfSync(Scope::Range), (K::CompareAndWrite, Reply::check(0x0e, 0x1d, 0x00))),
    standby("miscompare-other", &[S::Miscompare], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::check(0x0e, 0x1d, 0x00)).shown(K::Parameters),
    answer("foreign", Any, FOREIGN, retry(Budget::Odd, Delay::Short, Last::OutOfSync), (K::Write, Reply::check(0x08, 0x00, 0x00))),
    standby("residual", &[S::Residual], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::SHORT),
    standby("deferred", &[S::Deferred], Redo, Reply::deferred(0x03, 0x0c, 0x00)),
    standby("no-sense-data", &[S::SenseMissing], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::status(0x02)),
    standby("other-sense", &[S::OtherSense], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::check(0x09, 0x80, 0x00)),
    standby("other-status", &[S::OtherStatus], retry(Budget::Odd, Delay::Short, Last::OutOfSync), Reply::status(0x7e)),

    // The transport.
    standby("time-out", &[S::TimeOut], retry(Budget::TimeOut, Delay::Long, Last::Stop(Why::PathLost)), Reply::host(0x03)),
    standby("no-connect", &[S::NoConnect], poll(Budget::Path, Why::DeviceGone), Reply::host(0x01)),
    standby("bus-busy", &[S::BusBusy], retry(Budget::Busy, Delay::Short, Last::Stop(Why::Busy)), Reply::host(0x02)),
    standby("bad-target", &[S::BadTarget], poll(Budget::Path, Why::DeviceGone), Reply::host(0x04)),
    standby("host-abort", &[S::HostAbort], TRANSPORT, Reply::host(0x05)),
    standby("parity", &[S::Parity], TRANSPORT, Reply::host(0x06)),
    standby("host-error", &[S::HostError], TRANSPORT, Reply::host(0x07)),
    standby("host-reset", &[S::HostReset], ATTENTION, Reply::host(0x08)),
    standby("bad-interrupt", &[S::BadIntr], TRANSPORT, Reply::host(0x09)),
    standby("soft-error", &[S::SoftError], TRANSPORT, Reply::host(0x0b)),
    standby("retry-at-once", &[S::ImmRetry], retry(Budget::Busy, Delay::None, Last::Stop(Why::Busy)), Reply::host(0x0c)),
    standby("requeue", &[S::Requeue], retry(Budget::Busy, Delay::Short, Last::Stop(Why::Busy)), Reply::host(0x0d)),
    standby("transport-disrupted", &[S::TransportDisrupted], poll(Budget::Path, Why::PathLost), Reply::host(0x0e)),
    standby("transport-failfast", &[S::TransportFailfast], poll(Budget::Path, Why::PathLost), Reply::host(0x0f)),
    standby("transport-marginal", &[S::TransportMarginal], TRANSPORT, Reply::host(0x14)),
    standby("target-failure", &[S::TargetFailure], retry(Budget::Hardware, Delay::Short, Last::OutOfSync), Reply::host(0x10)),
    standby("host-other", &[S::HostOther], TRANSPORT, Reply::host(0x1f)),
    standby("gone", &[S::DeviceGone], Stop(Why::DeviceGone), Reply::Gone),
];

impl Row {
    /// The same row, shown with another kind of command.
    const fn shown(mut self, command: CommandKind) -> Self {
        self.example.command = command;
        self
    }
}

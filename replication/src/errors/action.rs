//! What a row of the table says to do, and what that does to the standby.

use core::fmt;

use super::outcome::Scope;
use super::words::words;

words! {
    /// A class of retries: each has a limit of its own, see [`super::Budgets`].
    Budget {
        /// Unit attentions: a device queues several, one per answer.
        Attention "attention",
        /// BUSY, TASK SET FULL and their like.
        Busy "busy",
        /// Another initiator holds a reservation.
        Conflict "conflict",
        /// Polls of a device that becomes ready.
        Ready "ready",
        /// Polls of a device with a long operation in progress.
        LongOperation "long operation",
        /// Polls of a device that cannot be reached.
        Path "path",
        /// Errors of the medium.
        Medium "medium",
        /// Failures of the device.
        Hardware "hardware",
        /// Aborted commands.
        Abort "abort",
        /// Time-outs.
        TimeOut "time-out",
        /// Errors of the transport.
        Transport "transport",
        /// A thin device without space.
        Space "space",
        /// Answers that make no sense.
        Odd "odd",
        /// Checks whether it is still the same device.
        Recheck "recheck",
    }
}

words! {
    /// How long to wait before the next attempt; see [`super::Budgets`] for the times.
    Delay {
        /// Not at all.
        None "at once",
        /// A short while, growing.
        Short "short",
        /// A long while, growing.
        Long "long",
    }
}

words! {
    /// What has the same effect on content as a command that the standby's device does not take.
    Equivalent {
        /// Plain WRITEs of the same content: no FUA (a flush follows instead), hints, protection or atomicity.
        PlainWrites "plain writes",
        /// Plain WRITEs of zeros.
        ZeroWrites "writes of zeros",
    }
}

words! {
    /// Why replay on a standby stops: the word after `Stopped:`.
    StopReason {
        /// Unit attentions without end.
        Attention "unit attentions without end",
        /// Busy for too long.
        Busy "busy for too long",
        /// Another initiator took our reservation or registration away.
        Fenced "fenced: another initiator preempted the standby's registration",
        /// Another initiator holds a reservation.
        Reserved "reserved by another initiator",
        /// Not ready for too long.
        NotReady "not ready",
        /// The port does not give access.
        PortState "target port gives no access",
        /// No medium in the device.
        NoMedium "medium not present",
        /// The device is write protected.
        WriteProtected "write protected",
        /// The device protects its data in another way.
        DataProtect "data protect",
        /// The device is smaller than the primary.
        TooSmall "smaller than the primary",
        /// The device is gone.
        DeviceGone "device gone",
        /// The path to the device is lost.
        PathLost "transport lost",
        /// It is not the device that it was.
        DeviceChanged "another device, or a changed one",
        /// The device does not take a command that cannot be replaced.
        Unsupported "command not supported by the standby's device",
        /// A command of the primary that is refused by name.
        RefusedCommand "command that is not replicated",
        /// A command of the primary that nobody knows.
        OpaqueCommand "unknown command",
        /// The primary has another capacity now.
        PrimaryCapacity "the primary's capacity changed",
        /// The device lost what it had taken, again and again.
        Unreliable "writes lost again and again",
        /// The position of a tape is not known.
        TapePosition "tape position not known",
        /// The tapes differ.
        TapeDiffers "tapes differ",
        /// The standby's tape is full before the primary's.
        TapeFull "tape full",
        /// Another tape was loaded into the primary.
        TapeMedium "another tape",
    }
}

impl StopReason {
    /// What an operator can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Attention | Self::Unreliable => {
                "look for a device or cable that resets itself, then restart the standby"
            }
            Self::Busy => "find what keeps the device busy, then restart the standby",
            Self::Fenced => "find who fenced this standby; restart it only when that is settled",
            Self::Reserved => "release the reservation (sg_persist), then restart the standby",
            Self::NotReady => "make the device ready (sg_start, or wait), then restart the standby",
            Self::PortState => "use a port in active state, then restart the standby",
            Self::NoMedium => "load the medium, then restart the standby",
            Self::WriteProtected | Self::DataProtect => "remove the protection, then restart the standby",
            Self::TooSmall => "use a device at least as large as the primary",
            Self::DeviceGone | Self::PathLost => "bring the device back, then restart the standby",
            Self::DeviceChanged => "name the right device, or accept the change, then restart the standby",
            Self::Unsupported => "use a device that takes this command",
            Self::RefusedCommand => "copy the volume in full, then go on; or keep the command off the primary",
            Self::OpaqueCommand => "choose a rule for this command, then restart the standby",
            Self::PrimaryCapacity => "resize the standby, then attach again",
            Self::TapePosition | Self::TapeDiffers => "rewind both, compare, and copy the tape again",
            Self::TapeFull => "use a tape of at least the primary's length",
            Self::TapeMedium => "load the tape's copy, then restart the standby",
        }
    }
}

/// What becomes of a command when its retries are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// What it was to change is out of sync, see [`super::CommandKind::scope`].
    OutOfSync,
    /// Replay stops.
    Stop(StopReason),
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfSync => f.write_str("mark out of sync"),
            Self::Stop(reason) => write!(f, "stop ({reason})"),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Issue the command.
    Issue,
    /// Issue what leads to the effect that the command had on the primary.
    ReplayEffect,
    /// The command is done.
    Done,
    /// Nothing changed on the primary, so nothing is done.
    Skip,
    /// Not done, and told by name.
    Refuse,
    /// Make the standby's block unreadable, too (WRITE LONG with WR_UNCOR), if that is switched on.
    ReproduceUnreadable,
    /// As the rule for opaque commands says.
    ByRule,
    /// The primary's content is not known: it is read again.
    ReRead(Scope),
    /// The standby's content is not the primary's: what is named is out of sync until it is read again from the primary.
    MarkOutOfSync(Scope),
    /// Issue the same again.
    Retry {
        /// Counted where.
        budget: Budget,
        /// After how long.
        delay: Delay,
        /// What if it does not help.
        last: Last,
    },
    /// Ask with TEST UNIT READY until the device is ready, then issue the same again.
    RetryAfterReadyPoll {
        /// Counted where.
        budget: Budget,
        /// What if it never is.
        last: Last,
    },
    /// Check identity and capacity again; when they are as they were, issue the same again, else stop.
    RecheckDevice,
    /// Issue something else with the same effect; once.
    FallBack {
        /// What.
        to: Equivalent,
        /// What if that is not taken either.
        last: Last,
    },
    /// Writes that were taken may be lost: apply the standby's own journal again from its checkpoint.
    Redo,
    /// Replay stops.
    Stop(StopReason),
}

impl Action {
    /// What it does to the standby.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Done => Effect::Applied,
            Self::Skip => Effect::Unchanged,
            Self::Refuse => Effect::Noted,
            Self::ReRead(scope) | Self::MarkOutOfSync(scope) => Effect::OutOfSync(scope),
            Self::Redo => Effect::Redo,
            Self::Stop(reason) => Effect::Stopped(reason),
            Self::ByRule => Effect::ByRule,
            Self::Issue
            | Self::ReplayEffect
            | Self::ReproduceUnreadable
            | Self::Retry { .. }
            | Self::RetryAfterReadyPoll { .. }
            | Self::RecheckDevice
            | Self::FallBack { .. } => Effect::Delayed,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issue => f.write_str("issue"),
            Self::ReplayEffect => f.write_str("replay its effect"),
            Self::Done => f.write_str("done"),
            Self::Skip => f.write_str("skip"),
            Self::Refuse => f.write_str("refuse by name"),
            Self::ReproduceUnreadable => f.write_str("reproduce unreadable"),
            Self::ByRule => f.write_str("as configured"),
            Self::ReRead(scope) => write!(f, "re-read {scope}"),
            Self::MarkOutOfSync(scope) => write!(f, "mark out of sync: {scope}"),
            Self::Retry { budget, delay, last } => write!(f, "retry {delay} ({budget}), then {last}"),
            Self::RetryAfterReadyPoll { budget, last } => write!(f, "retry when ready ({budget}), then {last}"),
            Self::RecheckDevice => f.write_str("recheck device, retry"),
            Self::FallBack { to, last } => write!(f, "fall back to {to}, then {last}"),
            Self::Redo => f.write_str("redo from checkpoint"),
            Self::Stop(reason) => write!(f, "stop ({reason})"),
        }
    }
}

/// What happens to the standby.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It has the change.
    Applied,
    /// Nothing: neither side changed.
    Unchanged,
    /// Its content is as before; a named difference is counted and shown.
    Noted,
    /// It waits: everything that depends on the command does.
    Delayed,
    /// It goes back to its checkpoint and comes forward again.
    Redo,
    /// A hole, kept until it is read again from the primary and written.
    OutOfSync(Scope),
    /// It applies nothing any more.
    Stopped(StopReason),
    /// As the rule for opaque commands says.
    ByRule,
}

impl Effect {
    /// Whether a command is over with it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Delayed | Self::ByRule)
    }

    /// Whether content becomes unknown: the hole of [`crate::consistency::Effect::Hole`].
    #[must_use]
    pub const fn leaves_hole(self) -> bool {
        matches!(self, Self::OutOfSync(Scope::Range | Scope::SinceFlush | Scope::Volume))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => f.write_str("applied"),
            Self::Unchanged => f.write_str("unchanged"),
            Self::Noted => f.write_str("unchanged, noted"),
            Self::Delayed => f.write_str("`Outdated` until answered"),
            Self::Redo => f.write_str("`Inconsistent` until redone"),
            Self::OutOfSync(Scope::DeviceState) => f.write_str("difference of device state until read again"),
            Self::OutOfSync(scope) => write!(f, "`Inconsistent` until {scope} is healed"),
            Self::Stopped(reason) => write!(f, "`Stopped: {reason}`"),
            Self::ByRule => f.write_str("as configured"),
        }
    }
}

//! From status and sense to the classes of the table.

use formats::Status;
use formats::scsi::{Asc, DriverStatus, HostStatus, Outcome, ScsiStatus, Sense, SenseFlags, SenseKey};

use super::outcome::{PrimaryOutcome, StandbyOutcome};

use StandbyOutcome as S;

impl StandbyOutcome {
    /// The class of an answer of the standby's device. What the system call itself says (ENODEV, ENXIO) is no answer
    /// of the device: that is [`Self::DeviceGone`].
    ///
    /// The order is Linux' (`scsi_decide_disposition`): the host's word first, then the status, then the sense.
    #[must_use]
    pub fn classify(outcome: &Outcome) -> Self {
        if let Some(transport) = of_host(outcome).or_else(|| of_driver(outcome.driver)) {
            return transport;
        }
        let answer = of_status(outcome);
        let short = outcome.residual > 0;
        if short && matches!(answer, S::Good | S::Recovered | S::EarlyWarning) { S::Residual } else { answer }
    }
}

impl PrimaryOutcome {
    /// The class of an answer of the primary's device, as the probe saw it last.
    #[must_use]
    pub fn classify(outcome: &Outcome) -> Self {
        Self::of(StandbyOutcome::classify(outcome))
    }

    /// The class of an answer of the block layer (`blk_status_t`), where no SCSI status was seen. It never says that
    /// nothing changed: below it may be several devices, of which one failed.
    #[must_use]
    pub const fn of_block_status(status: Status) -> Self {
        match status.0 {
            0 => Self::Good,
            2 => Self::TimeOut,
            3 => Self::SpaceAllocationFailed,
            4 => Self::Transport,
            7 => Self::MediumErrorRead,
            8 => Self::ProtectionError,
            255 => Self::Unseen,
            _ => Self::Other,
        }
    }
}

/// What the host's status says, unless it leaves the word to the device.
fn of_host(outcome: &Outcome) -> Option<StandbyOutcome> {
    Some(match outcome.host {
        HostStatus::Ok | HostStatus::Passthrough => return None,
        // A target's conflict that the adapter's driver reports as its own error (scsi_decide_disposition).
        HostStatus::Error if outcome.status == ScsiStatus::ReservationConflict => S::ReservationConflict,
        HostStatus::NoConnect => S::NoConnect,
        HostStatus::BusBusy => S::BusBusy,
        HostStatus::TimeOut => S::TimeOut,
        HostStatus::BadTarget => S::BadTarget,
        HostStatus::Abort => S::HostAbort,
        HostStatus::Parity => S::Parity,
        HostStatus::Error => S::HostError,
        HostStatus::Reset => S::HostReset,
        HostStatus::BadIntr => S::BadIntr,
        HostStatus::SoftError => S::SoftError,
        HostStatus::ImmRetry => S::ImmRetry,
        HostStatus::Requeue => S::Requeue,
        HostStatus::TransportDisrupted => S::TransportDisrupted,
        HostStatus::TransportFailfast => S::TransportFailfast,
        HostStatus::TransportMarginal => S::TransportMarginal,
        HostStatus::TargetFailure => S::TargetFailure,
        HostStatus::NexusFailure => S::ReservationConflict,
        HostStatus::AllocFailure => S::SpaceAllocationFailed,
        HostStatus::MediumError => S::MediumErrorRead,
        HostStatus::Other(_) => S::HostOther,
    })
}

/// What the mid-layer of older kernels says by itself.
fn of_driver(driver: DriverStatus) -> Option<StandbyOutcome> {
    match driver {
        DriverStatus::Ok | DriverStatus::Sense => None,
        DriverStatus::Timeout => Some(S::TimeOut),
        DriverStatus::Busy => Some(S::BusBusy),
        _ => Some(S::HostError),
    }
}

fn of_status(outcome: &Outcome) -> StandbyOutcome {
    match outcome.status {
        ScsiStatus::CheckCondition => of_check_condition(outcome.sense.as_ref()),
        ScsiStatus::Good
        | ScsiStatus::ConditionMet
        | ScsiStatus::Intermediate
        | ScsiStatus::IntermediateConditionMet => of_good(outcome),
        ScsiStatus::Busy => S::Busy,
        ScsiStatus::TaskSetFull => S::TaskSetFull,
        ScsiStatus::AcaActive => S::AcaActive,
        ScsiStatus::ReservationConflict => S::ReservationConflict,
        ScsiStatus::TaskAborted | ScsiStatus::CommandTerminated => S::TaskAborted,
        ScsiStatus::Other(_) => S::OtherStatus,
    }
}

/// Done; but sense beside GOOD may tell that an earlier command was not.
fn of_good(outcome: &Outcome) -> StandbyOutcome {
    if outcome.deferred().is_some() { S::Deferred } else { S::Good }
}

fn of_check_condition(sense: Option<&Sense>) -> StandbyOutcome {
    let Some(sense) = sense else { return S::SenseMissing };
    if sense.deferred {
        return S::Deferred;
    }
    match sense.key {
        SenseKey::NoSense => of_flags(sense.flags),
        SenseKey::RecoveredError | SenseKey::Completed => S::Recovered,
        SenseKey::NotReady => of_not_ready(sense.asc),
        SenseKey::MediumError => of_medium_error(sense.asc),
        SenseKey::HardwareError => S::HardwareError,
        SenseKey::IllegalRequest => of_illegal_request(sense.asc),
        SenseKey::UnitAttention => of_unit_attention(sense.asc),
        SenseKey::DataProtect => of_data_protect(sense.asc),
        SenseKey::BlankCheck => S::BlankCheck,
        SenseKey::AbortedCommand => of_aborted(sense.asc),
        SenseKey::VolumeOverflow => S::VolumeOverflow,
        SenseKey::Miscompare => S::Miscompare,
        SenseKey::VendorSpecific | SenseKey::CopyAborted | SenseKey::Equal => S::OtherSense,
    }
}

/// NO SENSE beside CHECK CONDITION: a tape tells where it stopped, anything else is mere information.
fn of_flags(flags: SenseFlags) -> StandbyOutcome {
    if flags.contains(SenseFlags::FILEMARK) {
        S::Filemark
    } else if flags.contains(SenseFlags::ILI) {
        S::IncorrectLength
    } else if flags.contains(SenseFlags::EOM) {
        S::EarlyWarning
    } else {
        S::Recovered
    }
}

fn of_not_ready(asc: Asc) -> StandbyOutcome {
    match (asc.code, asc.qualifier) {
        (0x04, 0x01 | 0x11 | 0x13 | 0x1c) => S::NotReadyBecoming,
        (0x04, 0x04..=0x09 | 0x14 | 0x1a | 0x1b | 0x1d | 0x24 | 0x25) => S::NotReadyInProgress,
        (0x04, 0x02) => S::NotReadyStopped,
        (0x04, 0x03 | 0x0d | 0x12 | 0x15..=0x18 | 0x1e..=0x23) => S::NotReadyManual,
        (0x04, 0x0a) => S::NotReadyTransition,
        (0x04, 0x0b) => S::NotReadyStandbyPort,
        (0x04, 0x0c) => S::NotReadyUnavailablePort,
        (0x3a, _) => S::NotReadyNoMedium,
        _ => S::NotReadyOther,
    }
}

/// 11h, 13h and 14h are read errors to `scsi_check_sense`; the rest of MEDIUM ERROR counts as a failed write.
fn of_medium_error(asc: Asc) -> StandbyOutcome {
    match asc.code {
        0x11 | 0x13 | 0x14 => S::MediumErrorRead,
        _ => S::MediumErrorWrite,
    }
}

fn of_illegal_request(asc: Asc) -> StandbyOutcome {
    match (asc.code, asc.qualifier) {
        (0x20 | 0x22, _) => S::IllegalOpcode,
        (0x24, _) => S::IllegalFieldInCdb,
        (0x26 | 0x1a, _) => S::IllegalParameterList,
        (0x21, 0x00) => S::LbaOutOfRange,
        (0x25, _) => S::LunNotSupported,
        (0x27, _) => S::WriteProtected,
        (0x10, _) => S::ProtectionError,
        _ => S::IllegalOther,
    }
}

fn of_unit_attention(asc: Asc) -> StandbyOutcome {
    match (asc.code, asc.qualifier) {
        (0x29, 0x02 | 0x03 | 0x05..=0x07) => S::UaReset,
        (0x29, _) => S::UaPowerOn,
        (0x28 | 0x3a, _) => S::UaMediumChanged,
        (0x2a, qualifier) => of_parameters_changed(qualifier),
        (0x2f, _) => S::UaCommandsCleared,
        (0x38, 0x07) => S::UaThinSoft,
        (0x3f, 0x01 | 0x16) => S::UaMicrocodeChanged,
        (0x3f, 0x03) => S::UaInquiryChanged,
        (0x3f, 0x05) => S::UaIdentityChanged,
        (0x3f, 0x0e) => S::UaLunsChanged,
        _ => S::UaOther,
    }
}

fn of_parameters_changed(qualifier: u8) -> StandbyOutcome {
    match qualifier {
        0x00 | 0x01 => S::UaModeChanged,
        0x02 => S::UaLogChanged,
        0x03 => S::UaReservationsPreempted,
        0x04 => S::UaReservationsReleased,
        0x05 => S::UaRegistrationsPreempted,
        0x06 | 0x07 => S::UaAccessChanged,
        0x09 => S::UaCapacityChanged,
        _ => S::UaOther,
    }
}

fn of_data_protect(asc: Asc) -> StandbyOutcome {
    match (asc.code, asc.qualifier) {
        (0x27, 0x07) => S::SpaceAllocationFailed,
        (0x27, _) => S::WriteProtected,
        _ => S::DataProtectOther,
    }
}

fn of_aborted(asc: Asc) -> StandbyOutcome {
    if asc.code == 0x10 { S::ProtectionError } else { S::AbortedCommand }
}

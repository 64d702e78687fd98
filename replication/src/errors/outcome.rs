//! What was asked and how each side answered, in the classes that the policy tells apart.

use super::words::words;

words! {
    /// What kind of command it is, as far as its errors are concerned.
    CommandKind {
        /// A disk command that moves no state: READ, VERIFY, INQUIRY and the like. Not replayed.
        Read "read",
        /// WRITE 6 to 32, WRITE AND VERIFY, WRITE SCATTERED, XDWRITEREAD: the range holds the data-out afterwards.
        Write "write",
        /// WRITE ATOMIC.
        WriteAtomic "atomic write",
        /// WRITE SAME, with or without its UNMAP bit: the range reads as the block sent.
        WriteSame "write same",
        /// UNMAP where the primary does not promise what is read afterwards (LBPRZ clear).
        Unmap "unmap",
        /// UNMAP where the primary reads zeros afterwards (LBPRZ = 1).
        UnmapToZeros "unmap to zeros",
        /// COMPARE AND WRITE: when good, a write of the second half of its data-out.
        CompareAndWrite "compare and write",
        /// ORWRITE, XPWRITE, REASSIGN BLOCKS: what the range holds afterwards is not in the command.
        Combine "combine",
        /// WRITE LONG with bytes below the logical block, laid out as that one device has them.
        WriteLong "write long",
        /// WRITE LONG with WR_UNCOR: the block cannot be read until it is written.
        MarkUnreadable "mark unreadable",
        /// SYNCHRONIZE CACHE.
        Flush "flush",
        /// FORMAT UNIT, SANITIZE: everything changes, into something that the device chooses.
        WholeMedium "whole medium",
        /// PERSISTENT RESERVE OUT, RESERVE, RELEASE.
        Reservation "reservation",
        /// MODE SELECT.
        Parameters "parameters",
        /// Other commands of device state that are repeated as they are: SANITIZE (EXIT FAILURE MODE), a tape's MODE SELECT.
        UnitState "unit state",
        /// About that one device, nothing that a copy repeats: START STOP UNIT, WRITE BUFFER, LOG SELECT, SET TIMESTAMP.
        Carried "carried only",
        /// Commands that are known and refused by name: zone management, EXTENDED COPY, ATA PASS-THROUGH that writes.
        Refused "refused",
        /// Unknown and vendor specific commands.
        Opaque "opaque",
        /// Tape commands that change the medium: WRITE, WRITE FILEMARKS, ERASE.
        TapeWrite "tape write",
        /// Tape commands that move the position: READ, SPACE, LOCATE, REWIND, LOAD UNLOAD.
        TapeMove "tape move",
    }
}

impl CommandKind {
    /// What is out of sync when such a command fails on the standby for good.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Reservation | Self::Parameters | Self::UnitState | Self::Carried => Scope::DeviceState,
            Self::Flush => Scope::SinceFlush,
            Self::WholeMedium | Self::Refused | Self::Opaque | Self::TapeWrite | Self::TapeMove => Scope::Volume,
            _ => Scope::Range,
        }
    }
}

words! {
    /// How much is not known to be equal.
    Scope {
        /// The range of the command.
        Range "its range",
        /// Everything written since the last good flush, the command itself included.
        SinceFlush "all since the last flush",
        /// The whole volume.
        Volume "the volume",
        /// Mode pages, reservations, started or stopped: not the content.
        DeviceState "device state",
    }
}

words! {
    /// How the standby's device answered, or that it was not asked yet.
    ///
    /// Which status and sense makes which class, the standard's clause and what Linux does with it: [`super::Source`].
    StandbyOutcome {
        /// Nothing was issued yet: the row says with what to begin.
        NotIssued "not issued",
        /// Done.
        Good "GOOD",
        /// Done, with effort.
        Recovered "RECOVERED ERROR",
        /// Unit attention after which the volatile cache may be lost.
        UaPowerOn "UNIT ATTENTION: power on, reset",
        /// Unit attention of a reset that keeps the cache.
        UaReset "UNIT ATTENTION: bus or nexus reset",
        /// The medium may be another one.
        UaMediumChanged "UNIT ATTENTION: medium may have changed",
        /// Somebody changed mode parameters.
        UaModeChanged "UNIT ATTENTION: mode parameters changed",
        /// Somebody changed log parameters.
        UaLogChanged "UNIT ATTENTION: log parameters changed",
        /// Our reservation was taken away.
        UaReservationsPreempted "UNIT ATTENTION: reservations preempted",
        /// A reservation was released.
        UaReservationsReleased "UNIT ATTENTION: reservations released",
        /// Our registration was taken away.
        UaRegistrationsPreempted "UNIT ATTENTION: registrations preempted",
        /// Access through this port changed.
        UaAccessChanged "UNIT ATTENTION: asymmetric access state changed",
        /// The capacity is another one.
        UaCapacityChanged "UNIT ATTENTION: capacity data changed",
        /// INQUIRY data is other.
        UaInquiryChanged "UNIT ATTENTION: inquiry data changed",
        /// The designators are other.
        UaIdentityChanged "UNIT ATTENTION: device identifier changed",
        /// The target has other logical units.
        UaLunsChanged "UNIT ATTENTION: reported LUNs data changed",
        /// Other firmware.
        UaMicrocodeChanged "UNIT ATTENTION: microcode changed",
        /// A thin device is nearly full.
        UaThinSoft "UNIT ATTENTION: thin provisioning soft threshold",
        /// Another nexus cleared the task set.
        UaCommandsCleared "UNIT ATTENTION: commands cleared",
        /// Any other unit attention.
        UaOther "UNIT ATTENTION: other",
        /// Busy.
        Busy "BUSY",
        /// Queue full.
        TaskSetFull "TASK SET FULL",
        /// Auto contingent allegiance in force.
        AcaActive "ACA ACTIVE",
        /// Another nexus holds the reservation.
        ReservationConflict "RESERVATION CONFLICT",
        /// Becoming ready by itself.
        NotReadyBecoming "NOT READY: becoming ready",
        /// A long operation is in progress.
        NotReadyInProgress "NOT READY: operation in progress",
        /// Must be started.
        NotReadyStopped "NOT READY: initializing command required",
        /// Somebody must do something.
        NotReadyManual "NOT READY: manual intervention required",
        /// The port changes its access state.
        NotReadyTransition "NOT READY: access state transition",
        /// The port is in standby state.
        NotReadyStandbyPort "NOT READY: target port in standby state",
        /// The port is in unavailable state.
        NotReadyUnavailablePort "NOT READY: target port in unavailable state",
        /// No medium.
        NotReadyNoMedium "NOT READY: medium not present",
        /// Any other reason.
        NotReadyOther "NOT READY: other",
        /// Could not write.
        MediumErrorWrite "MEDIUM ERROR: write",
        /// Could not read.
        MediumErrorRead "MEDIUM ERROR: unrecovered read",
        /// Failure of the device.
        HardwareError "HARDWARE ERROR",
        /// Aborted by the device.
        AbortedCommand "ABORTED COMMAND",
        /// Aborted by another nexus.
        TaskAborted "TASK ABORTED",
        /// Protection information does not fit the data.
        ProtectionError "protection information error",
        /// The device does not know the command.
        IllegalOpcode "ILLEGAL REQUEST: invalid command operation code",
        /// The device does not know a field of the CDB.
        IllegalFieldInCdb "ILLEGAL REQUEST: invalid field in CDB",
        /// The device does not take the parameter list.
        IllegalParameterList "ILLEGAL REQUEST: invalid field in parameter list",
        /// Beyond the end.
        LbaOutOfRange "ILLEGAL REQUEST: LBA out of range",
        /// There is no such logical unit.
        LunNotSupported "ILLEGAL REQUEST: logical unit not supported",
        /// Any other reason.
        IllegalOther "ILLEGAL REQUEST: other",
        /// Write protected.
        WriteProtected "DATA PROTECT: write protected",
        /// A thin device is full.
        SpaceAllocationFailed "DATA PROTECT: space allocation failed",
        /// Any other protection.
        DataProtectOther "DATA PROTECT: other",
        /// Compared unequal.
        Miscompare "MISCOMPARE",
        /// End of data, or not blank.
        BlankCheck "BLANK CHECK",
        /// The medium is full.
        VolumeOverflow "VOLUME OVERFLOW",
        /// Written, near the end of the medium.
        EarlyWarning "end of medium, early warning",
        /// Stopped at a filemark.
        Filemark "filemark",
        /// A block of another length.
        IncorrectLength "incorrect length",
        /// Fewer bytes than asked.
        Residual "residual",
        /// Not begun, because an earlier command turned out to have failed.
        Deferred "deferred error",
        /// CHECK CONDITION and no sense that can be read.
        SenseMissing "CHECK CONDITION without sense",
        /// A sense key without a row of its own.
        OtherSense "other sense key",
        /// A status byte without a row of its own.
        OtherStatus "other status",
        /// No answer in time.
        TimeOut "DID_TIME_OUT",
        /// Cannot be reached.
        NoConnect "DID_NO_CONNECT",
        /// The bus or the driver is busy.
        BusBusy "DID_BUS_BUSY",
        /// No such target.
        BadTarget "DID_BAD_TARGET",
        /// Aborted by the host.
        HostAbort "DID_ABORT",
        /// Parity error on the way.
        Parity "DID_PARITY",
        /// Error of the adapter.
        HostError "DID_ERROR",
        /// Reset while in flight.
        HostReset "DID_RESET",
        /// Unexpected interrupt.
        BadIntr "DID_BAD_INTR",
        /// The driver wishes a retry.
        SoftError "DID_SOFT_ERROR",
        /// Retry at once.
        ImmRetry "DID_IMM_RETRY",
        /// Queue again.
        Requeue "DID_REQUEUE",
        /// The transport is being recovered.
        TransportDisrupted "DID_TRANSPORT_DISRUPTED",
        /// The transport is given up.
        TransportFailfast "DID_TRANSPORT_FAILFAST",
        /// The path is marginal.
        TransportMarginal "DID_TRANSPORT_MARGINAL",
        /// The target failed for good.
        TargetFailure "DID_TARGET_FAILURE",
        /// A host status without a name.
        HostOther "other host status",
        /// The device node is gone: ENODEV or ENXIO from the system call itself.
        DeviceGone "device gone",
    }
}

words! {
    /// What the primary's answer says about the primary's medium.
    PrimaryOutcome {
        /// Done.
        Good "GOOD",
        /// Done, with effort.
        Recovered "RECOVERED ERROR",
        /// BUSY, TASK SET FULL, ACA ACTIVE: not begun.
        Busy "BUSY",
        /// Not begun.
        ReservationConflict "RESERVATION CONFLICT",
        /// Not begun.
        NotReady "NOT READY",
        /// The medium went away, perhaps in the middle.
        NoMedium "NOT READY: medium not present",
        /// Not begun.
        IllegalRequest "ILLEGAL REQUEST",
        /// Not begun.
        WriteProtected "DATA PROTECT: write protected",
        /// Not begun; the attention itself changes nothing.
        UnitAttention "UNIT ATTENTION",
        /// Not begun; somebody else changed mode pages or reservations.
        UaStateChanged "UNIT ATTENTION: device state changed",
        /// Not begun; what was in the volatile cache may be lost.
        UaPowerOn "UNIT ATTENTION: power on, reset",
        /// Not begun; the medium may be another one.
        UaMediumChanged "UNIT ATTENTION: medium may have changed",
        /// Not begun; the capacity is another one.
        UaCapacityChanged "UNIT ATTENTION: capacity data changed",
        /// Not begun; an earlier command turned out to have failed.
        Deferred "deferred error",
        /// Fewer bytes than asked.
        Residual "residual",
        /// Compared unequal.
        Miscompare "MISCOMPARE",
        /// A block cannot be read.
        MediumErrorRead "MEDIUM ERROR: unrecovered read",
        /// A block could not be written.
        MediumErrorWrite "MEDIUM ERROR: write",
        /// Failure of the device.
        HardwareError "HARDWARE ERROR",
        /// ABORTED COMMAND, TASK ABORTED, DID_ABORT.
        Aborted "aborted",
        /// Protection information did not fit the data.
        ProtectionError "protection information error",
        /// A thin device is full; part of the range may be written.
        SpaceAllocationFailed "DATA PROTECT: space allocation failed",
        /// Any other protection.
        DataProtectOther "DATA PROTECT: other",
        /// No answer in time.
        TimeOut "time-out",
        /// Reset while in flight.
        Reset "reset",
        /// Any other failure of the transport.
        Transport "transport lost",
        /// The device is gone.
        DeviceGone "device gone",
        /// Sense, status or host status without a row of its own.
        Other "other",
        /// Nobody saw how it ended.
        Unseen "not seen",
        /// Written, near the end of the medium.
        EarlyWarning "end of medium, early warning",
        /// Stopped at a filemark.
        Filemark "filemark",
        /// A block of another length.
        IncorrectLength "incorrect length",
        /// End of data, or not blank.
        BlankCheck "BLANK CHECK",
        /// The medium is full.
        VolumeOverflow "VOLUME OVERFLOW",
    }
}

impl PrimaryOutcome {
    /// What an answer, classified, says when it is the primary's.
    #[must_use]
    pub const fn of(answer: StandbyOutcome) -> Self {
        use StandbyOutcome as S;
        match answer {
            S::NotIssued => Self::Unseen,
            S::Good => Self::Good,
            S::Recovered => Self::Recovered,
            S::Busy | S::TaskSetFull | S::AcaActive => Self::Busy,
            S::ReservationConflict => Self::ReservationConflict,
            S::WriteProtected => Self::WriteProtected,
            S::SpaceAllocationFailed => Self::SpaceAllocationFailed,
            S::DataProtectOther => Self::DataProtectOther,
            S::MediumErrorRead => Self::MediumErrorRead,
            S::MediumErrorWrite => Self::MediumErrorWrite,
            S::HardwareError => Self::HardwareError,
            S::AbortedCommand | S::TaskAborted | S::HostAbort => Self::Aborted,
            S::ProtectionError => Self::ProtectionError,
            S::Miscompare => Self::Miscompare,
            S::Residual => Self::Residual,
            S::Deferred => Self::Deferred,
            S::BlankCheck => Self::BlankCheck,
            S::VolumeOverflow => Self::VolumeOverflow,
            S::EarlyWarning => Self::EarlyWarning,
            S::Filemark => Self::Filemark,
            S::IncorrectLength => Self::IncorrectLength,
            S::SenseMissing | S::OtherSense | S::OtherStatus => Self::Other,
            other => Self::of_long_list(other),
        }
    }

    /// Unit attentions, not ready, illegal requests and the host's words.
    const fn of_long_list(answer: StandbyOutcome) -> Self {
        use StandbyOutcome as S;
        match answer {
            S::UaPowerOn => Self::UaPowerOn,
            S::UaMediumChanged => Self::UaMediumChanged,
            S::UaCapacityChanged => Self::UaCapacityChanged,
            S::UaModeChanged | S::UaReservationsPreempted | S::UaReservationsReleased | S::UaRegistrationsPreempted => {
                Self::UaStateChanged
            }
            S::UaReset
            | S::UaLogChanged
            | S::UaAccessChanged
            | S::UaInquiryChanged
            | S::UaIdentityChanged
            | S::UaLunsChanged
            | S::UaMicrocodeChanged
            | S::UaThinSoft
            | S::UaCommandsCleared
            | S::UaOther => Self::UnitAttention,
            S::NotReadyNoMedium => Self::NoMedium,
            S::NotReadyBecoming
            | S::NotReadyInProgress
            | S::NotReadyStopped
            | S::NotReadyManual
            | S::NotReadyTransition
            | S::NotReadyStandbyPort
            | S::NotReadyUnavailablePort
            | S::NotReadyOther => Self::NotReady,
            S::IllegalOpcode
            | S::IllegalFieldInCdb
            | S::IllegalParameterList
            | S::LbaOutOfRange
            | S::LunNotSupported
            | S::IllegalOther => Self::IllegalRequest,
            S::TimeOut => Self::TimeOut,
            S::HostReset => Self::Reset,
            S::DeviceGone => Self::DeviceGone,
            _ => Self::Transport,
        }
    }
}

//! Where each class of answers comes from, and what Linux does with it.

use super::outcome::StandbyOutcome;

use StandbyOutcome as S;

/// The origin of a class. Clauses are named by their titles, since their numbers move between revisions; kernel
/// functions are those of Linux 6.12 (drivers/scsi/scsi_error.c, scsi_lib.c, sd.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Status, sense key and ASC/ASCQ that make the class.
    pub answer: &'static str,
    /// The standard's clause, or the kernel's header.
    pub standard: &'static str,
    /// What the SCSI mid-layer and sd do with it for file-system I/O.
    pub linux: &'static str,
}

const fn source(answer: &'static str, standard: &'static str, linux: &'static str) -> Source {
    Source { answer, standard, linux }
}

const SAM_STATUS: &str = "SAM-6 status codes";
const SAM_UA: &str = "SAM-6 unit attention conditions; SPC-6 sense key and ASC definitions";
const SPC_SENSE: &str = "SPC-6 sense key and ASC definitions";
const HOST: &str = "include/scsi/scsi_status.h";
const UA_RETRY: &str = "retried at once, unless removable (scsi_io_completion_action)";
const FAILED: &str = "passed up: I/O error (scsi_io_completion_action)";
const BEING_READY: &str = "retried after a pause while its time lasts (scsi_io_completion_action)";
const COUNTED: &str = "retried up to 5 times (scsi_decide_disposition: maybe_retry)";
const PASSED: &str = "passed up (scsi_decide_disposition: SUCCESS)";

impl StandbyOutcome {
    /// Where it comes from.
    #[must_use]
    pub const fn source(self) -> Source {
        match self {
            S::NotIssued => source("none", "—", "—"),
            S::Good => source("GOOD, CONDITION MET", SAM_STATUS, "success"),
            S::Recovered => source("01h; 00h without flags; 0Fh", SPC_SENSE, "success (scsi_io_completion_nz_result)"),
            S::Busy => source("status 08h", SAM_STATUS, "queued again (ADD_TO_MLQUEUE)"),
            S::TaskSetFull => source("status 28h", SAM_STATUS, "queue depth lowered, queued again"),
            S::AcaActive => source("status 30h", SAM_STATUS, PASSED),
            S::ReservationConflict => {
                source("status 18h, DID_NEXUS_FAILURE", "SPC-6 reservations", "BLK_STS_RESV_CONFLICT, not retried")
            }
            S::TaskAborted => source("status 40h; 22h", SAM_STATUS, "40h retried up to 5 times, 22h passed up"),
            S::OtherStatus => source("any other status", SAM_STATUS, "passed to error handling (FAILED)"),
            S::SenseMissing => {
                source("status 02h, sense unreadable", SPC_SENSE, "passed to error handling, which asks for sense")
            }
            S::Deferred => source(
                "response code 71h, 73h",
                "SPC-6 deferred errors",
                "retried (scsi_check_sense: NEEDS_RETRY); the earlier command is not known",
            ),
            S::Residual => {
                source("GOOD, residual above 0", SAM_STATUS, "the rest is issued again (scsi_io_completion)")
            }
            S::DeviceGone => {
                source("ENODEV, ENXIO", "drivers/scsi/sg.c, scsi_ioctl.c", "rejected (scsi_device_state_check)")
            }
            other => other.source_of_sense(),
        }
    }

    const fn source_of_sense(self) -> Source {
        match self {
            S::MediumErrorWrite => source("03h, all but 11h, 13h, 14h", SPC_SENSE, COUNTED),
            S::MediumErrorRead => source(
                "03h/11h, 13h, 14h; DID_MEDIUM_ERROR",
                SPC_SENSE,
                "BLK_STS_MEDIUM, not retried (scsi_check_sense)",
            ),
            S::HardwareError => source("04h", SPC_SENSE, "BLK_STS_TARGET, not retried unless retry_hwerror"),
            S::AbortedCommand => source("0Bh", SPC_SENSE, COUNTED),
            S::ProtectionError => {
                source("0Bh/10h, 05h/10h", "SBC-4 protection information", "BLK_STS_PROTECTION, not retried")
            }
            S::IllegalOpcode => {
                source("05h/20h, 22h", SPC_SENSE, "BLK_STS_TARGET; WRITE SAME and UNMAP switched off (sd_done)")
            }
            S::IllegalFieldInCdb => {
                source("05h/24h", SPC_SENSE, "BLK_STS_TARGET; WRITE SAME and UNMAP switched off (sd_done)")
            }
            S::IllegalParameterList => source("05h/26h, 1Ah", SPC_SENSE, "BLK_STS_TARGET, not retried"),
            S::LbaOutOfRange => source("05h/21h/00h", "SBC-4 logical block addresses", "BLK_STS_TARGET, not retried"),
            S::LunNotSupported => source("05h/25h", SPC_SENSE, FAILED),
            S::IllegalOther => source("05h, other", SPC_SENSE, FAILED),
            S::WriteProtected => {
                source("07h/27h but 07h; 05h/27h", "SBC-4 write protection", "BLK_STS_TARGET, not retried")
            }
            S::SpaceAllocationFailed => source(
                "07h/27h/07h; DID_ALLOC_FAILURE",
                "SBC-4 logical block provisioning",
                "BLK_STS_NOSPC, not retried",
            ),
            S::DataProtectOther => source("07h, other", SPC_SENSE, "BLK_STS_TARGET or BLK_STS_ZONE_OPEN_RESOURCE"),
            S::Miscompare => source("0Eh", "SBC-4 COMPARE AND WRITE, VERIFY", "BLK_STS_TARGET, not retried"),
            S::BlankCheck => source("08h", "SSC-5 blank check", "tapes only: st ends the read (drivers/scsi/st.c)"),
            S::VolumeOverflow => source("0Dh", "SSC-5 end of medium", "tapes only: st returns ENOSPC"),
            S::EarlyWarning => source("00h with EOM", "SSC-5 early warning", "tapes only: st returns ENOSPC once"),
            S::Filemark => source("00h with FILEMARK", "SSC-5 filemarks", "tapes only: st ends the read"),
            S::IncorrectLength => source("00h with ILI", "SSC-5 READ", "tapes only: st returns ENOMEM or a short read"),
            S::OtherSense => source("09h, 0Ah, 0Ch", SPC_SENSE, FAILED),
            other => other.source_of_attention(),
        }
    }

    const fn source_of_attention(self) -> Source {
        match self {
            S::UaPowerOn => source("06h/29h/00h, 01h, 04h and others", SAM_UA, UA_RETRY),
            S::UaReset => source("06h/29h/02h, 03h, 05h, 06h, 07h", SAM_UA, UA_RETRY),
            S::UaMediumChanged => source("06h/28h, 3Ah", SAM_UA, "a removable disk fails, others are retried"),
            S::UaModeChanged => source("06h/2Ah/00h, 01h", SAM_UA, "event to user space, then retried"),
            S::UaLogChanged => source("06h/2Ah/02h", SAM_UA, UA_RETRY),
            S::UaReservationsPreempted => source("06h/2Ah/03h", "SPC-6 persistent reservations", UA_RETRY),
            S::UaReservationsReleased => source("06h/2Ah/04h", "SPC-6 persistent reservations", UA_RETRY),
            S::UaRegistrationsPreempted => source("06h/2Ah/05h", "SPC-6 persistent reservations", UA_RETRY),
            S::UaAccessChanged => source(
                "06h/2Ah/06h, 07h",
                "SPC-6 target port group access states",
                "event to user space and to the ALUA handler, then retried",
            ),
            S::UaCapacityChanged => source("06h/2Ah/09h", "SBC-4 READ CAPACITY", "event to user space, then retried"),
            S::UaInquiryChanged => source("06h/3Fh/03h", SAM_UA, "event to user space, then retried"),
            S::UaIdentityChanged => source("06h/3Fh/05h", SAM_UA, UA_RETRY),
            S::UaLunsChanged => source("06h/3Fh/0Eh", SAM_UA, "event to user space, then retried"),
            S::UaMicrocodeChanged => source("06h/3Fh/01h, 16h", SAM_UA, UA_RETRY),
            S::UaThinSoft => source(
                "06h/38h/07h",
                "SBC-4 logical block provisioning thresholds",
                "event to user space, then retried",
            ),
            S::UaCommandsCleared => source("06h/2Fh", SAM_UA, UA_RETRY),
            S::UaOther => source("06h, other", SAM_UA, UA_RETRY),
            other => other.source_of_readiness(),
        }
    }

    const fn source_of_readiness(self) -> Source {
        match self {
            S::NotReadyBecoming => source("02h/04h/01h, 11h, 13h, 1Ch", SPC_SENSE, BEING_READY),
            S::NotReadyInProgress => source("02h/04h/04h-09h, 14h, 1Ah, 1Bh, 1Dh, 24h, 25h", SPC_SENSE, BEING_READY),
            S::NotReadyStopped => {
                source("02h/04h/02h", "SBC-4 START STOP UNIT", "error handling starts it, where allow_restart")
            }
            S::NotReadyManual => source("02h/04h/03h, 0Dh, 12h, 15h-18h, 1Eh-23h", SPC_SENSE, FAILED),
            S::NotReadyTransition => {
                source("02h/04h/0Ah", "SPC-6 target port group access states", "prepared again every second")
            }
            S::NotReadyStandbyPort => source("02h/04h/0Bh", "SPC-6 target port group access states", FAILED),
            S::NotReadyUnavailablePort => source("02h/04h/0Ch", "SPC-6 target port group access states", FAILED),
            S::NotReadyNoMedium => source("02h/3Ah", SPC_SENSE, FAILED),
            S::NotReadyOther => source("02h, other", SPC_SENSE, FAILED),
            other => other.source_of_transport(),
        }
    }

    const fn source_of_transport(self) -> Source {
        match self {
            S::TimeOut => source("host 03h; DRIVER_TIMEOUT", HOST, "error handling: abort, then resets"),
            S::NoConnect => source("host 01h", HOST, PASSED),
            S::BusBusy => source("host 02h; DRIVER_BUSY", HOST, COUNTED),
            S::BadTarget => source("host 04h", HOST, PASSED),
            S::HostAbort => source("host 05h", HOST, PASSED),
            S::Parity => source("host 06h", HOST, COUNTED),
            S::HostError => source("host 07h; driver 02h-05h, 07h", HOST, COUNTED),
            S::HostReset => source("host 08h", HOST, "retried at once (scsi_io_completion_action)"),
            S::BadIntr => source("host 09h", HOST, "passed to error handling (FAILED)"),
            S::SoftError => source("host 0Bh", HOST, COUNTED),
            S::ImmRetry => source("host 0Ch", HOST, "retried, not counted"),
            S::Requeue => source("host 0Dh", HOST, "queued again, not counted"),
            S::TransportDisrupted => source("host 0Eh", HOST, COUNTED),
            S::TransportFailfast => source("host 0Fh", HOST, PASSED),
            S::TransportMarginal => source("host 14h", HOST, PASSED),
            S::TargetFailure => source("host 10h", HOST, "BLK_STS_TARGET, not retried (before 6.0)"),
            _ => source("host, other", HOST, "passed to error handling (FAILED)"),
        }
    }
}

//! Concrete answers of devices, byte for byte: each row of the table carries a pair that leads to it.

use formats::scsi::{HostStatus, Outcome, ScsiStatus};

use super::outcome::{CommandKind, PrimaryOutcome, StandbyOutcome};

/// Length of the sense data in examples: the usual one of fixed format.
pub const SENSE_LEN: usize = 18;

/// One answer as a device, an adapter or a system call gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// There is none: the command was not issued, or nobody saw how it ended.
    None,
    /// An answer of device and host adapter.
    Device {
        /// Status byte.
        status: u8,
        /// Host status (DID_*).
        host: u8,
        /// Bytes not transferred.
        residual: u32,
        /// Sense data beside CHECK CONDITION.
        sense: Option<[u8; SENSE_LEN]>,
    },
    /// The system call failed with ENODEV or ENXIO.
    Gone,
}

impl Reply {
    /// GOOD.
    pub const GOOD: Self = Self::status(0x00);
    /// GOOD, 512 bytes short.
    pub const SHORT: Self = Self::Device { status: 0, host: 0, residual: 512, sense: None };

    /// A status without sense.
    #[must_use]
    pub const fn status(status: u8) -> Self {
        Self::Device { status, host: 0, residual: 0, sense: None }
    }

    /// A host status.
    #[must_use]
    pub const fn host(host: u8) -> Self {
        Self::Device { status: 0, host, residual: 0, sense: None }
    }

    /// CHECK CONDITION with current sense in fixed format.
    #[must_use]
    pub const fn check(key: u8, code: u8, qualifier: u8) -> Self {
        Self::fixed(0x70, key, code, qualifier)
    }

    /// The same about an earlier command: response code 71h.
    #[must_use]
    pub const fn deferred(key: u8, code: u8, qualifier: u8) -> Self {
        Self::fixed(0x71, key, code, qualifier)
    }

    /// CHECK CONDITION with current sense in descriptor format, without descriptors.
    #[must_use]
    pub const fn descriptor(key: u8, code: u8, qualifier: u8) -> Self {
        let mut sense = [0; SENSE_LEN];
        sense[0] = 0x72;
        sense[1] = key;
        sense[2] = code;
        sense[3] = qualifier;
        Self::with_sense(sense)
    }

    /// `key` may carry FILEMARK, EOM and ILI in its upper bits, as byte 2 of the sense data does.
    const fn fixed(response: u8, key: u8, code: u8, qualifier: u8) -> Self {
        let mut sense = [0; SENSE_LEN];
        sense[0] = response;
        sense[2] = key;
        sense[7] = 10;
        sense[12] = code;
        sense[13] = qualifier;
        Self::with_sense(sense)
    }

    const fn with_sense(sense: [u8; SENSE_LEN]) -> Self {
        Self::Device { status: 0x02, host: 0, residual: 0, sense: Some(sense) }
    }

    /// As [`formats::scsi`] says it; `None` where no device and no adapter answered.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let Self::Device { status, host, residual, sense } = self else { return None };
        let (status, host) = (ScsiStatus::from_byte(*status), HostStatus::from_byte(*host));
        let bare = Outcome { status, host, residual: *residual, ..Outcome::GOOD };
        let bytes = sense.as_ref().map_or(&[][..], |sense| sense);
        Some(bare.with_sense(bytes).unwrap_or(bare))
    }

    /// Its class as an answer of the standby.
    #[must_use]
    pub fn classify(&self) -> StandbyOutcome {
        match self {
            Self::None => StandbyOutcome::NotIssued,
            Self::Gone => StandbyOutcome::DeviceGone,
            Self::Device { .. } => {
                self.outcome().map_or(StandbyOutcome::SenseMissing, |o| StandbyOutcome::classify(&o))
            }
        }
    }
}

/// What leads to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Example {
    /// What was asked.
    pub command: CommandKind,
    /// The primary's answer.
    pub primary: Reply,
    /// The standby's.
    pub standby: Reply,
}

impl Example {
    /// Its classes: what the table is asked with.
    #[must_use]
    pub fn classify(&self) -> (PrimaryOutcome, CommandKind, StandbyOutcome) {
        (PrimaryOutcome::of(self.primary.classify()), self.command, self.standby.classify())
    }
}

//! How a command ended: the device's status, the host's, the driver's, sense, and what was not transferred.

use core::fmt;

use super::sense::{Sense, SenseError, SenseKey};

/// An enum over a byte that carries values without a name as they are: one list gives both directions and the names.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $byte:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A value without a name. Made by [`Self::from_byte`] only for such values.
            Other(u8),
        }

        impl $name {
            /// All that have a name.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// What this byte says.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$variant,)+
                    other => Self::Other(other),
                }
            }

            /// Its byte.
            #[must_use]
            pub const fn to_byte(self) -> u8 {
                match self {
                    $(Self::$variant => $byte,)+
                    Self::Other(byte) => byte,
                }
            }

            /// Its name in its source; `UNNAMED` for a value without one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(_) => "UNNAMED",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Other(byte) => write!(f, "UNNAMED {byte:#04x}"),
                    named => f.write_str(named.name()),
                }
            }
        }
    };
}

byte_enum! {
    /// The status byte that a device returns (SAM-6 5.3.1, with the obsolete ones of SAM-2).
    ScsiStatus {
        /// The command was done.
        Good = 0x00 "GOOD",
        /// Sense data says what is the matter.
        CheckCondition = 0x02 "CHECK CONDITION",
        /// The condition asked for is met (PRE-FETCH).
        ConditionMet = 0x04 "CONDITION MET",
        /// The device cannot take a command now.
        Busy = 0x08 "BUSY",
        /// A linked command was done (obsolete).
        Intermediate = 0x10 "INTERMEDIATE",
        /// A linked command's condition is met (obsolete).
        IntermediateConditionMet = 0x14 "INTERMEDIATE-CONDITION MET",
        /// Another nexus holds a reservation that forbids it; the command was not begun.
        ReservationConflict = 0x18 "RESERVATION CONFLICT",
        /// Terminated by TERMINATE TASK (obsolete).
        CommandTerminated = 0x22 "COMMAND TERMINATED",
        /// The device's queue is full; the command was not begun.
        TaskSetFull = 0x28 "TASK SET FULL",
        /// An auto contingent allegiance is in force.
        AcaActive = 0x30 "ACA ACTIVE",
        /// Aborted by another nexus.
        TaskAborted = 0x40 "TASK ABORTED",
    }
}

byte_enum! {
    /// What the host adapter's driver says of a command (Linux, include/scsi/scsi_status.h).
    HostStatus {
        /// The transport did its part.
        Ok = 0x00 "DID_OK",
        /// The device could not be reached.
        NoConnect = 0x01 "DID_NO_CONNECT",
        /// The bus stayed busy.
        BusBusy = 0x02 "DID_BUS_BUSY",
        /// No answer in time.
        TimeOut = 0x03 "DID_TIME_OUT",
        /// No such target.
        BadTarget = 0x04 "DID_BAD_TARGET",
        /// Told to abort.
        Abort = 0x05 "DID_ABORT",
        /// Parity error on the way.
        Parity = 0x06 "DID_PARITY",
        /// Error within the adapter or its driver.
        Error = 0x07 "DID_ERROR",
        /// Reset by somebody.
        Reset = 0x08 "DID_RESET",
        /// An interrupt that nobody expected.
        BadIntr = 0x09 "DID_BAD_INTR",
        /// Forced past the mid-layer.
        Passthrough = 0x0a "DID_PASSTHROUGH",
        /// The driver wishes a retry.
        SoftError = 0x0b "DID_SOFT_ERROR",
        /// Retry at once, not counted.
        ImmRetry = 0x0c "DID_IMM_RETRY",
        /// Queue again, not counted.
        Requeue = 0x0d "DID_REQUEUE",
        /// The transport broke and is being recovered.
        TransportDisrupted = 0x0e "DID_TRANSPORT_DISRUPTED",
        /// The transport is given up for now.
        TransportFailfast = 0x0f "DID_TRANSPORT_FAILFAST",
        /// The target failed for good (kernels before 5.19 or so).
        TargetFailure = 0x10 "DID_TARGET_FAILURE",
        /// The nexus failed for good: a reservation conflict (older kernels).
        NexusFailure = 0x11 "DID_NEXUS_FAILURE",
        /// No space left on a thin device (older kernels).
        AllocFailure = 0x12 "DID_ALLOC_FAILURE",
        /// Medium error (older kernels).
        MediumError = 0x13 "DID_MEDIUM_ERROR",
        /// The path is marginal.
        TransportMarginal = 0x14 "DID_TRANSPORT_MARGINAL",
    }
}

byte_enum! {
    /// What the mid-layer says of a command in the low four bits of the driver byte (Linux before 5.14; sg still sets
    /// DRIVER_SENSE where there is sense).
    DriverStatus {
        /// Nothing.
        Ok = 0x00 "DRIVER_OK",
        /// Busy.
        Busy = 0x01 "DRIVER_BUSY",
        /// Soft error.
        Soft = 0x02 "DRIVER_SOFT",
        /// Error of the medium.
        Media = 0x03 "DRIVER_MEDIA",
        /// Internal error.
        Error = 0x04 "DRIVER_ERROR",
        /// Not a valid request.
        Invalid = 0x05 "DRIVER_INVALID",
        /// No answer in time.
        Timeout = 0x06 "DRIVER_TIMEOUT",
        /// Hard error.
        Hard = 0x07 "DRIVER_HARD",
        /// There is sense data.
        Sense = 0x08 "DRIVER_SENSE",
    }
}

impl DriverStatus {
    /// The status within a driver byte; its high four bits were suggestions that nobody sets any more.
    #[must_use]
    pub const fn from_driver_byte(byte: u8) -> Self {
        Self::from_byte(byte & 0x0f)
    }
}

/// How one command ended, as seen by whoever issued it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The device's word; means something only while `host` is [`HostStatus::Ok`].
    pub status: ScsiStatus,
    /// The transport's word.
    pub host: HostStatus,
    /// The mid-layer's word.
    pub driver: DriverStatus,
    /// Sense data, where there was any that could be read.
    pub sense: Option<Sense>,
    /// Bytes asked for that were not transferred, as reported; may be nonsense, see [`Self::transferred`].
    pub residual: u32,
}

impl Outcome {
    /// Done, nothing left.
    pub const GOOD: Self =
        Self { status: ScsiStatus::Good, host: HostStatus::Ok, driver: DriverStatus::Ok, sense: None, residual: 0 };

    /// CHECK CONDITION with this sense.
    #[must_use]
    pub const fn check(sense: Sense) -> Self {
        Self { status: ScsiStatus::CheckCondition, sense: Some(sense), ..Self::GOOD }
    }

    /// Ended by the transport.
    #[must_use]
    pub const fn transport(host: HostStatus) -> Self {
        Self { host, ..Self::GOOD }
    }

    /// Ended with a status that carries no sense.
    #[must_use]
    pub const fn with_status(status: ScsiStatus) -> Self {
        Self { status, ..Self::GOOD }
    }

    /// The kernel's `scsi_cmnd.result` taken apart: status in bits 0-7, host in 16-23, driver in 24-31.
    #[must_use]
    pub const fn from_result(result: u32) -> Self {
        let [status, _message, host, driver] = result.to_le_bytes();
        Self {
            status: ScsiStatus::from_byte(status),
            host: HostStatus::from_byte(host),
            driver: DriverStatus::from_driver_byte(driver),
            ..Self::GOOD
        }
    }

    /// The same put together.
    #[must_use]
    pub const fn to_result(&self) -> u32 {
        u32::from_le_bytes([self.status.to_byte(), 0, self.host.to_byte(), self.driver.to_byte()])
    }

    /// With the sense in `bytes`, which may be cut short. An empty buffer, or one of zeros that nobody wrote to, is no sense.
    ///
    /// # Errors
    /// Says why the bytes are no sense data.
    pub fn with_sense(self, bytes: &[u8]) -> Result<Self, SenseError> {
        let is_blank = bytes.iter().all(|byte| *byte == 0);
        let sense = if is_blank { None } else { Some(Sense::decode(bytes)?) };
        Ok(Self { sense, ..self })
    }

    /// Whether the device ended it with GOOD or CONDITION MET and no layer above failed it. How much was transferred is
    /// another question, see [`Self::transferred`]; CHECK CONDITION with RECOVERED ERROR is another, see
    /// [`Self::is_done`].
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.reached_status(&[ScsiStatus::Good, ScsiStatus::ConditionMet])
    }

    /// Whether the device did what was asked: good, or CHECK CONDITION with a current RECOVERED ERROR.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let recovered = self.current_sense().is_some_and(|sense| sense.key == SenseKey::RecoveredError);
        self.is_good() || (self.reached_status(&[ScsiStatus::CheckCondition]) && recovered)
    }

    fn reached_status(&self, wanted: &[ScsiStatus]) -> bool {
        let driver_well = matches!(self.driver, DriverStatus::Ok | DriverStatus::Sense);
        self.host == HostStatus::Ok && driver_well && wanted.contains(&self.status)
    }

    /// Sense about this very command.
    #[must_use]
    pub fn current_sense(&self) -> Option<&Sense> {
        self.sense.as_ref().filter(|sense| !sense.deferred)
    }

    /// Sense about an earlier command: the command it came with was not begun when its status is CHECK CONDITION
    /// (SPC-5, "Deferred errors").
    #[must_use]
    pub fn deferred(&self) -> Option<&Sense> {
        self.sense.as_ref().filter(|sense| sense.deferred)
    }

    /// Whether nobody answered in time, so that the effect is not known.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        matches!(self.host, HostStatus::TimeOut) || matches!(self.driver, DriverStatus::Timeout)
    }

    /// Bytes transferred of `requested`; `None` when the residual is larger than that, which is a lie of the device
    /// or its driver and means that nothing may be believed about the data.
    #[must_use]
    pub const fn transferred(&self, requested: u32) -> Option<u32> {
        requested.checked_sub(self.residual)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.host != HostStatus::Ok {
            write!(f, ", {}", self.host)?;
        }
        if self.driver != DriverStatus::Ok {
            write!(f, ", {}", self.driver)?;
        }
        if let Some(sense) = &self.sense {
            write!(f, ", {sense}")?;
        }
        if self.residual > 0 {
            write!(f, ", residual {}", self.residual)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::Asc;

    #[test]
    fn each_byte_comes_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(ScsiStatus::from_byte(byte).to_byte(), byte);
            assert_eq!(HostStatus::from_byte(byte).to_byte(), byte);
            assert_eq!(DriverStatus::from_byte(byte).to_byte(), byte);
        }
    }

    #[test]
    fn the_kernels_result_comes_apart() {
        let outcome = Outcome::from_result(0x0803_0002);
        assert_eq!(outcome.status, ScsiStatus::CheckCondition);
        assert_eq!(outcome.host, HostStatus::TimeOut);
        assert_eq!(outcome.driver, DriverStatus::Sense);
        assert_eq!(outcome.to_result(), 0x0803_0002);
        assert!(outcome.timed_out());
        assert!(!outcome.is_good());
        // Suggestions in the driver byte's high bits are nothing.
        assert_eq!(Outcome::from_result(0x1800_0000).driver, DriverStatus::Sense);
    }

    #[test]
    fn a_residual_larger_than_the_transfer_is_not_believed() {
        let outcome = Outcome { residual: 513, ..Outcome::GOOD };
        assert_eq!(outcome.transferred(512), None);
        assert_eq!(outcome.transferred(1024), Some(511));
        assert_eq!(Outcome { residual: u32::MAX, ..outcome }.transferred(0), None);
    }

    #[test]
    fn recovered_is_done_and_not_good_and_deferred_is_neither() {
        let recovered = Sense::new(SenseKey::RecoveredError, Asc::new(0x17, 0x01));
        assert!(Outcome::check(recovered).is_done());
        assert!(!Outcome::check(recovered).is_good());
        let deferred = Outcome::check(Sense { deferred: true, ..recovered });
        assert!(!deferred.is_done());
        assert!(deferred.current_sense().is_none() && deferred.deferred().is_some());
    }

    #[test]
    fn sense_of_no_bytes_is_no_sense() {
        assert_eq!(Outcome::GOOD.with_sense(&[]), Ok(Outcome::GOOD));
        assert_eq!(Outcome::GOOD.with_sense(&[0; 96]), Ok(Outcome::GOOD));
        assert!(Outcome::GOOD.with_sense(&[0x12]).is_err());
    }

    #[test]
    fn it_reads_as_a_line() {
        let sense = Sense::new(SenseKey::MediumError, Asc::new(0x11, 0x00));
        let outcome = Outcome { residual: 512, driver: DriverStatus::Sense, ..Outcome::check(sense) };
        let text = "CHECK CONDITION, DRIVER_SENSE, MEDIUM ERROR 11h/00h Unrecovered read error, residual 512";
        assert_eq!(alloc::format!("{outcome}"), text);
    }
}

//! Additional sense codes: what exactly is the matter.

use core::fmt;

use super::asc_table::{CODES, RANGES};

/// An additional sense code with its qualifier (ASC and ASCQ; SPC-5, "Sense key and additional sense code definitions").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Asc {
    /// ADDITIONAL SENSE CODE.
    pub code: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub qualifier: u8,
}

/// Codes that this project acts on or simulates, by name; a test looks each one up in the list.
macro_rules! named {
    ($($(#[$doc:meta])* $name:ident = $code:literal $qualifier:literal,)+) => {
        impl Asc {
            /// Those with a name in the program.
            pub const NAMED: &[Self] = &[$(Self::$name,)+];
            $($(#[$doc])* pub const $name: Self = Self::new($code, $qualifier);)+
        }
    };
}

named! {
    /// Filemark detected.
    FILEMARK = 0x00 0x01,
    /// End-of-partition/medium detected.
    END_OF_MEDIUM = 0x00 0x02,
    /// Beginning-of-partition/medium detected.
    BEGINNING_OF_MEDIUM = 0x00 0x04,
    /// End-of-data detected.
    END_OF_DATA = 0x00 0x05,
    /// operation in progress.
    OPERATION_IN_PROGRESS = 0x00 0x16,
    /// Logical unit not ready, cause not reportable.
    NOT_READY = 0x04 0x00,
    /// Logical unit is in process of becoming ready.
    BECOMING_READY = 0x04 0x01,
    /// Logical unit not ready, initializing command required.
    INITIALIZING_COMMAND_REQUIRED = 0x04 0x02,
    /// Logical unit not ready, manual intervention required.
    MANUAL_INTERVENTION = 0x04 0x03,
    /// Logical unit not ready, format in progress.
    FORMAT_IN_PROGRESS = 0x04 0x04,
    /// Logical unit not ready, operation in progress.
    OPERATION_NOT_READY = 0x04 0x07,
    /// Logical unit not accessible, asymmetric access state transition.
    ACCESS_TRANSITION = 0x04 0x0a,
    /// Logical unit not accessible, target port in standby state.
    PORT_IN_STANDBY = 0x04 0x0b,
    /// Logical unit not accessible, target port in unavailable state.
    PORT_UNAVAILABLE = 0x04 0x0c,
    /// Logical unit not ready, space allocation in progress.
    SPACE_ALLOCATION_IN_PROGRESS = 0x04 0x14,
    /// Logical unit not ready, sanitize in progress.
    SANITIZE_IN_PROGRESS = 0x04 0x1b,
    /// Write error.
    WRITE_ERROR = 0x0c 0x00,
    /// Write error - recommend reassignment.
    WRITE_ERROR_REASSIGN = 0x0c 0x03,
    /// Logical block guard check failed.
    GUARD_CHECK_FAILED = 0x10 0x01,
    /// Unrecovered read error.
    UNRECOVERED_READ = 0x11 0x00,
    /// Read error - LBA marked bad by application client.
    MARKED_BAD_BY_CLIENT = 0x11 0x14,
    /// Record not found.
    RECORD_NOT_FOUND = 0x14 0x01,
    /// Recovered data with retries.
    RECOVERED_WITH_RETRIES = 0x17 0x01,
    /// Parameter list length error.
    PARAMETER_LIST_LENGTH = 0x1a 0x00,
    /// Miscompare during verify operation.
    MISCOMPARE = 0x1d 0x00,
    /// Invalid command operation code.
    INVALID_OPCODE = 0x20 0x00,
    /// Logical block address out of range.
    LBA_OUT_OF_RANGE = 0x21 0x00,
    /// Unaligned write command.
    UNALIGNED_WRITE = 0x21 0x04,
    /// Invalid field in cdb.
    INVALID_FIELD_IN_CDB = 0x24 0x00,
    /// Logical unit not supported.
    LUN_NOT_SUPPORTED = 0x25 0x00,
    /// Invalid field in parameter list.
    INVALID_FIELD_IN_LIST = 0x26 0x00,
    /// Invalid release of persistent reservation.
    INVALID_RELEASE = 0x26 0x04,
    /// Write protected.
    WRITE_PROTECTED = 0x27 0x00,
    /// Space allocation failed write protect.
    SPACE_ALLOCATION_FAILED = 0x27 0x07,
    /// Not ready to ready change, medium may have changed.
    MEDIUM_MAY_HAVE_CHANGED = 0x28 0x00,
    /// Power on, reset, or bus device reset occurred.
    POWER_ON_OR_RESET = 0x29 0x00,
    /// Power on occurred.
    POWER_ON = 0x29 0x01,
    /// SCSI bus reset occurred.
    BUS_RESET = 0x29 0x02,
    /// I_T nexus loss occurred.
    NEXUS_LOST = 0x29 0x07,
    /// Parameters changed.
    PARAMETERS_CHANGED = 0x2a 0x00,
    /// Mode parameters changed.
    MODE_PARAMETERS_CHANGED = 0x2a 0x01,
    /// Log parameters changed.
    LOG_PARAMETERS_CHANGED = 0x2a 0x02,
    /// Reservations preempted.
    RESERVATIONS_PREEMPTED = 0x2a 0x03,
    /// Reservations released.
    RESERVATIONS_RELEASED = 0x2a 0x04,
    /// Registrations preempted.
    REGISTRATIONS_PREEMPTED = 0x2a 0x05,
    /// Asymmetric access state changed.
    ACCESS_STATE_CHANGED = 0x2a 0x06,
    /// Capacity data has changed.
    CAPACITY_CHANGED = 0x2a 0x09,
    /// Command sequence error.
    COMMAND_SEQUENCE = 0x2c 0x00,
    /// Commands cleared by another initiator.
    COMMANDS_CLEARED = 0x2f 0x00,
    /// Sanitize command failed.
    SANITIZE_FAILED = 0x31 0x03,
    /// Thin provisioning soft threshold reached.
    SOFT_THRESHOLD_REACHED = 0x38 0x07,
    /// Saving parameters not supported.
    SAVING_NOT_SUPPORTED = 0x39 0x00,
    /// Medium not present.
    MEDIUM_NOT_PRESENT = 0x3a 0x00,
    /// Position past beginning of medium.
    POSITION_PAST_BEGINNING = 0x3b 0x0c,
    /// Logical unit failure.
    LUN_FAILURE = 0x3e 0x01,
    /// Microcode has been changed.
    MICROCODE_CHANGED = 0x3f 0x01,
    /// Inquiry data has changed.
    INQUIRY_CHANGED = 0x3f 0x03,
    /// Reported luns data has changed.
    LUNS_CHANGED = 0x3f 0x0e,
    /// Internal target failure.
    INTERNAL_TARGET_FAILURE = 0x44 0x00,
    /// Insufficient registration resources.
    INSUFFICIENT_REGISTRATIONS = 0x55 0x04,
    /// Insufficient resources.
    INSUFFICIENT_RESOURCES = 0x55 0x03,
}

impl Asc {
    /// 00h/00h: nothing more to say.
    pub const NONE: Self = Self::new(0, 0);

    /// The pair.
    #[must_use]
    pub const fn new(code: u8, qualifier: u8) -> Self {
        Self { code, qualifier }
    }

    /// Its name in the T10 list; `None` for a pair that the list does not have.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let listed = CODES.binary_search_by_key(&self, |row| Self::new(row.0, row.1));
        match listed {
            Ok(at) => CODES.get(at).map(|row| row.2),
            Err(_) => self.name_in_ranges(),
        }
    }

    fn name_in_ranges(self) -> Option<&'static str> {
        let holds = |row: &&(u8, u8, u8, &str)| row.0 == self.code && (row.1..=row.2).contains(&self.qualifier);
        RANGES.iter().find(holds).map(|row| row.3)
    }

    /// Whether the code (80h and above) or the qualifier (80h and above) is the vendor's own.
    #[must_use]
    pub const fn is_vendor_specific(self) -> bool {
        self.code >= 0x80 || self.qualifier >= 0x80
    }

    /// Every pair that has a name of its own, in order, with that name.
    pub fn listed() -> impl Iterator<Item = (Self, &'static str)> {
        CODES.iter().map(|row| (Self::new(row.0, row.1), row.2))
    }
}

impl fmt::Display for Asc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}h/{:02X}h", self.code, self.qualifier)?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None if self.is_vendor_specific() => f.write_str(" vendor specific"),
            None => f.write_str(" unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(CODES.windows(2).all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1)));
    }

    #[test]
    fn what_has_a_name_in_the_program_has_one_in_the_list() {
        assert!(Asc::NAMED.iter().all(|asc| asc.name().is_some()));
    }

    #[test]
    fn names_are_found_in_the_list_in_ranges_and_not_elsewhere() {
        assert_eq!(Asc::new(0x27, 0x07).name(), Some("Space allocation failed write protect"));
        assert_eq!(Asc::new(0x40, 0x85).name(), Some("Diagnostic failure on component"));
        assert_eq!(Asc::new(0x4d, 0x17).name(), Some("Tagged overlapped commands"));
        assert_eq!(Asc::new(0x04, 0x7f).name(), None);
        assert_eq!(alloc::format!("{}", Asc::new(0x90, 1)), "90h/01h vendor specific");
    }
}

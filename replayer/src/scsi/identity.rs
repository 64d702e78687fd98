//! How two SCSI devices differ, by what they say of themselves, and what of that an administrator may map.
//!
//! [`differences`] names each way in which a standby's device is not the recorded one, the dangerous ones to be refused.

mod compare;
mod mapping;

pub use compare::{Difference, Severity, differences, is_same_unit};
pub use formats::scsi::identity::{
    Capacity, Characteristics, Control, Designator, Identity, Limits, Modes, Provisioning, Reservation, Reservations,
};
pub use mapping::{Mapping, MappingError};
pub use sgio::identity::{Heard, ProbeError, check_last_block, read, read_hearing, settle};

#[cfg(test)]
mod tests;

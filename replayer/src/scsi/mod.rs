//! SCSI devices: the real ones behind SG_IO and what any device is asked for (both of `sgio`), what its identity means for a
//! standby, and a simulated one.

#[cfg(test)]
pub(crate) mod fake;
pub mod identity;
pub mod simulated;

pub use sgio::{CommandQueue, Data, Request, ScsiDevice, sg};

//! SCSI devices: the real ones behind SG_IO, and a simulated one.
//!
//! A [`ScsiDevice`] executes one command at a time for each caller and says how it ended; it knows no records, no order
//! and no policy. What a refusal or an error means for a standby is decided by `replication::errors`.

mod aligned;
#[cfg(test)]
pub(crate) mod fake;
pub mod identity;
pub mod sg;
pub mod simulated;

use std::io;
use std::time::Duration;

use formats::scsi::Outcome;

/// One command for a device.
#[derive(Debug)]
pub struct Request<'a> {
    /// The command descriptor block, 1 to 260 bytes.
    pub cdb: &'a [u8],
    /// What goes with it.
    pub data: Data<'a>,
    /// After this the device, or the kernel for it, gives up.
    pub timeout: Duration,
}

/// Data of a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// To the device.
    Out(&'a [u8]),
    /// From the device; filled as far as the residual says.
    In(&'a mut [u8]),
}

impl Data<'_> {
    /// Bytes to be moved.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Out(bytes) => bytes.len(),
            Self::In(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A device that takes SCSI commands, from several threads at once.
pub trait ScsiDevice: Send + Sync {
    /// Executes a command and waits for its end.
    ///
    /// # Errors
    /// Only when the command could not be handed to the device at all (no permission, device gone, out of memory);
    /// whatever the device or its transport answers is an [`Outcome`].
    fn execute(&self, request: Request<'_>) -> io::Result<Outcome>;
}

//! SCSI devices: one that takes any command ([`ScsiDevice`]), the real ones behind the kernel's SG_IO ([`sg`]), and what a
//! device says of itself ([`identity`]).
//!
//! A [`ScsiDevice`] executes one command at a time for each caller and says how it ended; it knows no records, no order
//! and no policy. What a refusal or an error means for a standby is decided by `replication::errors`.
//!
//! Both sides use it: the standby for all commands, the primary for those that ask its disk who it is and change nothing.
//! It is a room of its own because neither may depend on the other (`docs/decisions/0013`).
// One place is excepted, the system calls in `sg`.
#![deny(unsafe_code)]

mod aligned;
pub mod identity;
pub mod sg;

use std::io;
use std::os::fd::RawFd;
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

    /// A queue for commands that nobody waits for one by one; none where the device has no such thing.
    fn queue(&self) -> Option<Box<dyn CommandQueue>> {
        None
    }
}

/// Commands in flight of one thread, each in a slot that the caller names.
pub trait CommandQueue: Send {
    /// Issues a command with this data for the device in a free slot, without waiting for its end. Answers a descriptor
    /// that becomes readable at the end, to be polled and nothing else.
    ///
    /// # Errors
    /// It was not issued: the system does not take it, or the slot is in use.
    fn begin(&mut self, slot: usize, cdb: &[u8], out: &[u8], timeout: Duration) -> io::Result<RawFd>;

    /// How the command of a slot ended, which is told once; none while it has not, or there is none.
    ///
    /// # Errors
    /// It is over, and nobody knows how: the device is gone.
    fn end(&mut self, slot: usize) -> io::Result<Option<Outcome>>;
}

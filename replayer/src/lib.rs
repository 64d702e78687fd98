//! The standby's side: targets, the pool that applies entries to them, and the service that keeps a copy.
//!
//! - [`target`]: what is written, and the checks before anything is.
//! - [`command`]: SCSI commands on targets that take none.
//! - [`compare`]: two volumes byte by byte.
//! - [`paced`]: a recorded stream, applied at its own pace.
//! - [`pool`]: workers that put entries onto targets.
//! - [`scsi`]: devices that take SCSI commands.
//! - [`standby`]: the service that keeps a copy.
//! - [`state_file`]: the durable checkpoint.
// One place is excepted, io_uring in `target::ring`.
#![deny(unsafe_code)]

pub mod command;
pub mod compare;
pub mod paced;
pub mod pool;
pub mod scsi;
pub mod standby;
pub mod state_file;
pub mod target;

//! What is asked before anything is loaded, attached or written.
//!
//! - [`device`]: what a named block device is.
//! - [`stack`]: which block devices lie under a path, so that the journal never lives on what it records.
//! - [`features`]: what this kernel and user can do, each line with a remedy.
//!
//! Everything is read from `/sys` and `/proc` through a [`Host`], so it can be tried on made-up trees.

mod address;
pub mod device;
pub mod features;
mod host;
mod mounts;
pub mod stack;
mod tape;

#[cfg(test)]
mod fake;

pub use self::device::{Device, DeviceError};
pub use self::features::{Check, Level};
pub use self::host::{DeviceNumber, FileFacts, FileKind, Host, Look};
pub use self::stack::{Chain, StackError};

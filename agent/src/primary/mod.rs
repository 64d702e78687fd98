//! Driving the primary: the log thread, the link thread, and what they share.

pub mod core;
mod device_watch;
mod dirty_file;
pub mod kernel_map;
mod log;
pub mod regions;
pub mod shipper;
pub(crate) mod sweeper;

pub use dirty_file::{DirtyFile, Persisted};
pub use log::{Log, LogError, LogParts};

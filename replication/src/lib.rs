//! The replication engine as pure state machines: no I/O, no clock, no threads, no randomness.
//!
//! Drivers own sockets, disks and threads. They hand in what happened together with the time ([`Now`]) and ask what to
//! do next; the same code runs in production and in the simulator. Payloads never enter: an engine sees
//! [`formats::EntryHeader`]s, positions and byte counts only.
//!
//! | module | what it decides |
//! |---|---|
//! | [`sequencer`] | the order of completions, and when a missing one is given up as a gap |
//! | [`dirty`] | which regions must be read back and sent again |
//! | [`scope`] | what of the volumes is replicated at all |
//! | [`overlap`] | which commands overlapped in flight and have no defined outcome |
//! | [`epochs`] | when a slot of the kernel's dirty map may be cleared |
//! | [`primary`] | what to send to one secondary, and what of the journal is no longer needed |
//! | [`group`] | what several secondaries need of the one journal, and which of them gives way when it is full |
//! | [`standby`] | what to accept, when to apply it, what to acknowledge and what to save |
//! | [`scheduler`] | which entry may be applied now |
//! | [`consistency`] | whether a standby's content is one that the primary could have had |
//! | [`errors`] | what to do when a command fails, on either side, so that both end alike |
//!
//! What it guarantees, as long as drivers keep the contracts in each type's documentation:
//!
//! - a completed change is in the ordered stream or its region is in a dirty map, never in neither;
//! - a journal position is released only when every secondary holds it durably, or has it in a *persisted* dirty map;
//! - a standby starts an entry only after everything it depends on is applied, and only after the entry is durable in
//!   its own journal;
//! - a standby says `Consistent` only when its content is one the primary could have had after a power cut;
//! - memory is bounded by the windows in the configurations, whatever a peer sends.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod consistency;
pub mod dirty;
pub mod epochs;
pub mod errors;
mod follow;
pub mod group;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
pub mod overlap;
pub mod primary;
pub mod scheduler;
pub mod scope;
pub mod sequencer;
pub mod standby;

pub use follow::{ProtocolError, Tip};

/// Time since an arbitrary start that the driver chooses once; never goes back.
pub type Now = core::time::Duration;

//! Errors that must end alike on both sides: the error consistency policy.
//!
//! What a device answers is not the same on two devices. A command that failed on the primary will not fail in the same
//! way on the standby, and the standby's device has errors of its own. The policy is one table ([`ROWS`]): the primary's
//! outcome × the kind of command × the standby's outcome → what to do and what becomes of the standby; [`lookup`]
//! takes the first row that matches, and there is one for every case. `docs/error-consistency.md` is made from it.
//!
//! | part | what it is |
//! |---|---|
//! | [`CommandKind::of`], [`PrimaryOutcome::classify`], [`StandbyOutcome::classify`] | from CDB, status and sense to classes |
//! | [`first_row`], [`lookup`], [`Row`], [`Action`], [`Effect`] | the table |
//! | [`CommandReplay`] | one command's way through the table: retries bounded by count and time, and counted |
//! | [`RowCounters`] | how often each row was used; the coverage listing |
//! | [`OutOfSync`], [`UnreadableBlocks`] | what stays unequal, and when to heal it |
//! | [`StateWord`] | the standby's state in one word |
//!
//! # Guarantees
//!
//! - A command that changed nothing on the primary changes nothing on the standby.
//! - When it is not known what a command changed on the primary, the primary is read again.
//! - What the standby's device did not take is out of sync, or replay stops; never is it passed over.
//! - Every command ends: each class of retries has a limit in number and time.
//!
//! # What it leaves to the driver
//!
//! - Before the first command: TEST UNIT READY until the unit attentions from before are told.
//! - Whatever a command depends on is applied, and nothing that depends on it is, while it waits.
//! - After [`Effect::Redo`] the standby applies its journal again from its last checkpoint: a flushed one, so nothing
//!   before it can be lost. This works because replay is repeatable: COMPARE AND WRITE and reservations are replayed by
//!   their effect, and commands that combine with what a block holds are not replayed at all.
//! - A command that timed out is over on the device (the kernel aborts it, or resets the device, before SG_IO returns).

mod action;
mod budget;
mod captured;
mod classify;
mod counters;
mod example;
mod heal;
mod kind;
mod outcome;
mod replay;
mod rows;
mod source;
mod state;
mod table;
mod unreadable;
mod words;

pub use action::{Action, Budget, Delay, Effect, Equivalent, Last, StopReason};
pub use budget::{Budgets, Limit, Wait};
pub use captured::{primary_outcome, unknown_after};
pub use counters::{Listing, RowCounters};
pub use example::{Example, Reply, SENSE_LEN};
pub use heal::{Failure, HealConfig, Hole, OutOfSync};
pub use outcome::{CommandKind, PrimaryOutcome, Scope, StandbyOutcome};
pub use replay::{CommandReplay, Event, Finish, OpaqueRule, Policy, Step, UnexpectedEvent, Work};
pub use rows::{
    BY_EFFECT, CONTENT, FLUSH_LOST, FOREIGN, ISSUED, NOT_TAKEN, PLAIN, ROWS, STATE, SUCCESS, TAPE, TAPE_LOST,
    TAPE_STOPPED,
};
pub use source::Source;
pub use state::{Facts, StateWord};
pub use table::{Pattern, Row, RowIndex, first_row, lookup};
pub use unreadable::UnreadableBlocks;

#[cfg(test)]
mod tests;

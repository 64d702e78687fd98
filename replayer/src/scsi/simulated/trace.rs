//! What was sent to a device, and how it ended.

use std::collections::VecDeque;

use formats::scsi::{Cdb, Outcome};

/// Commands that are remembered.
const MOST: usize = 1 << 16;

/// One command that reached the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The initiator, counted from 0.
    pub initiator: usize,
    /// The CDB.
    pub cdb: Cdb,
    /// How it ended; nothing when the device was gone.
    pub outcome: Option<Outcome>,
}

/// The last commands, in the order in which they were executed.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(VecDeque<Seen>);

impl Trace {
    pub(super) fn add(&mut self, initiator: usize, cdb: &Cdb, outcome: Option<Outcome>) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Seen { initiator, cdb: *cdb, outcome });
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.0).into()
    }
}

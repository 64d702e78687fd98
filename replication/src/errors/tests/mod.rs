use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use formats::scsi::{DriverStatus, HostStatus, Outcome, ScsiStatus};
use formats::wire::DataState;
use formats::{ByteRange, Status, VolumeIndex};
use proptest::prelude::*;

use super::*;
use crate::Now;

mod classes;
mod counting;
mod holes;
mod one_command;
mod table;
mod words;

fn all_cases() -> impl Iterator<Item = (PrimaryOutcome, CommandKind, StandbyOutcome)> {
    PrimaryOutcome::ALL.iter().flat_map(|&primary| {
        CommandKind::ALL
            .iter()
            .flat_map(move |&command| StandbyOutcome::ALL.iter().map(move |&standby| (primary, command, standby)))
    })
}

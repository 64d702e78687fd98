//! What a command that was captured says of the primary's medium, whoever looks at it: a standby, or a reader of captures.

use formats::command::Command;
use formats::{Record, Status, scsi};

use super::{Action, CommandKind, PrimaryOutcome, RowIndex, Scope, first_row};

/// How a command ended on the primary. What the device said counts for more than what the block layer made of it; and a
/// failure of the block layer after a good answer is the block layer's.
#[must_use]
pub fn primary_outcome(status: Status, command: &Command<'_>) -> PrimaryOutcome {
    if status == Status::UNKNOWN {
        return PrimaryOutcome::Unseen;
    }
    let bare = scsi::Outcome { residual: command.residual, ..scsi::Outcome::from_result(command.result) };
    let answer = command.outcome().unwrap_or(bare);
    match PrimaryOutcome::classify(&answer) {
        // What the kernel says of commands for a device that was removed (`scsi_dispatch_cmd`, `scsi_prep_state_check`).
        PrimaryOutcome::Transport if answer.host == scsi::HostStatus::NoConnect => PrimaryOutcome::DeviceGone,
        PrimaryOutcome::Good | PrimaryOutcome::Recovered if !status.is_ok() => PrimaryOutcome::of_block_status(status),
        told => told,
    }
}

/// What a command that failed on the primary leaves unknown there, and the row of the table that says so. `None` when it
/// changed nothing.
#[must_use]
pub fn unknown_after(record: &Record, command: &Command<'_>) -> Option<(Scope, RowIndex)> {
    let decoded = scsi::decode(command.cdb, command.device).ok();
    let kind = decoded.as_ref().map_or(CommandKind::Opaque, |decoded| CommandKind::of(decoded, false));
    let row = first_row(primary_outcome(record.status, command), kind);
    let Action::ReRead(scope) = row.row().action else { return None };
    Some((scope, row))
}

//! Which command of the opcode table is executed by what. Every row for the device's type has a handler or is refused on
//! purpose; a test walks the table.

use formats::scsi::{DeviceType, Row};

use super::call::Call;
use super::disk;
use super::disk::handler as on_disk;
use super::inquiry::{inquiry, report_luns};
use super::mode::{mode_select, mode_sense};
use super::reservation::{release, reserve, reserve_in, reserve_out};
use super::status::{format_unit, nothing, request_sense, sanitize, send_diagnostic, start_stop, test_unit_ready};
use super::unit::Unit;
use super::{answer::Answer, buffer, log, tape};

/// Executes a command with all of the unit.
pub(super) type OnUnit = fn(&mut Unit, &mut Call<'_>) -> Answer;

/// Who executes a command.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// The unit.
    Unit(OnUnit),
    /// The medium of a disk.
    Disk(disk::OnDisk),
    /// The medium of a tape.
    Tape(tape::OnTape),
}

/// Who executes a row on a device of this type; nobody what is refused.
pub(super) fn handler(row: &Row, device: DeviceType) -> Option<Handler> {
    if device == DeviceType::TAPE {
        return tape::handler(row).map(Handler::Tape).or_else(|| primary(row).map(Handler::Unit));
    }
    let whole: Option<OnUnit> = match row.opcode {
        0x01 => Some(nothing),
        0x04 => Some(format_unit),
        0x1b => Some(start_stop),
        0x48 => Some(sanitize),
        _ => primary(row),
    };
    whole.map(Handler::Unit).or_else(|| on_disk(row).map(Handler::Disk))
}

/// The primary commands, alike for every type.
fn primary(row: &Row) -> Option<OnUnit> {
    Some(match (row.opcode, row.service) {
        (0x00, _) => test_unit_ready,
        (0x03, _) => request_sense,
        (0x12, _) => inquiry,
        (0x15 | 0x55, _) => mode_select,
        (0x16 | 0x56, _) => reserve,
        (0x17 | 0x57, _) => release,
        (0x1a | 0x5a, _) => mode_sense,
        (0x1d, _) => send_diagnostic,
        (0x1e, _) => nothing,
        (0x3b, _) => buffer::write_buffer,
        (0x3c, _) => buffer::read_buffer,
        (0x4d, _) => log::log_sense,
        (0x5e, _) => reserve_in,
        (0x5f, Some(0..=6)) => reserve_out,
        (0xa0, _) => report_luns,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

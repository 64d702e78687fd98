//! Which command of the opcode table is executed by what on a tape.

use formats::scsi::Row;

use super::Tape;
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// Executes a command on the medium.
pub(in crate::scsi::simulated) type OnTape = fn(&mut Tape, &mut Call<'_>) -> Answer;

/// Who executes a row.
pub(in crate::scsi::simulated) fn handler(row: &Row) -> Option<OnTape> {
    Some(match row.opcode {
        0x01 => Tape::rewind,
        0x04 => Tape::format,
        0x05 => Tape::block_limits,
        0x08 | 0x88 => Tape::read,
        0x0a | 0x8a => Tape::write,
        0x10 | 0x80 => Tape::write_filemarks,
        0x11 | 0x91 => Tape::space,
        0x13 => Tape::verify,
        0x19 | 0x93 => Tape::erase,
        0x1b => Tape::load,
        0x2b | 0x92 => Tape::locate,
        0x34 => Tape::read_position,
        0x82 => Tape::allow_overwrite,
        _ => return None,
    })
}

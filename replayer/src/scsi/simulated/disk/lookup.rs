//! Which command of the opcode table is executed by what: those that need nothing but the medium.

use formats::scsi::Row;

use super::{Disk, read_capacity_10, read_capacity_16, read_long, reassign, write_long};
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// Executes a command on the medium.
pub(in crate::scsi::simulated) type OnDisk = fn(&mut Disk, &mut Call<'_>) -> Answer;

/// Who executes a row.
pub(in crate::scsi::simulated) fn handler(row: &Row) -> Option<OnDisk> {
    Some(match (row.opcode, row.service) {
        (0x07, _) => reassign,
        (0x08 | 0x28 | 0x88 | 0xa8, _) | (0x7f, Some(0x09)) => Disk::read,
        (0x0a | 0x2a | 0x8a | 0xaa, _) | (0x7f, Some(0x0b)) => Disk::write,
        (0x0b | 0x2b, _) => Disk::seek,
        (0x25, _) => read_capacity_10,
        (0x2e | 0x8e | 0xae, _) | (0x7f, Some(0x0c)) => Disk::write_and_verify,
        (0x2f | 0x8f | 0xaf, _) | (0x7f, Some(0x0a)) => Disk::verify,
        (0x34 | 0x90, _) => Disk::pre_fetch,
        (0x35 | 0x91, _) => Disk::synchronize,
        (0x3e, _) | (0x9e, Some(0x11)) => read_long,
        (0x3f, _) | (0x9f, Some(0x11)) => write_long,
        (0x41 | 0x93, _) | (0x7f, Some(0x0d)) => Disk::write_same,
        (0x42, _) => Disk::unmap,
        (0x89, _) => Disk::compare_and_write,
        (0x8b, _) | (0x7f, Some(0x0e)) => Disk::or_write,
        (0x9c, _) | (0x7f, Some(0x0f)) => Disk::write_atomic,
        (0x9e, Some(0x10)) => read_capacity_16,
        (0x9e, Some(0x12)) | (0x7f, Some(0x12)) => Disk::lba_status,
        (0x9f, Some(0x12)) | (0x7f, Some(0x11)) => Disk::write_scattered,
        _ => return None,
    })
}

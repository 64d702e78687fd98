//! How commands end other than well: outcomes by name.

use formats::scsi::sense::FieldPointer;
use formats::scsi::{Asc, HostStatus, Outcome, Sense, SenseFlags, SenseKey};

/// How a handler ends: well, or with this outcome.
pub(super) type Answer<T = ()> = Result<T, Outcome>;

/// CHECK CONDITION with this key and code.
pub(super) const fn check(key: SenseKey, code: u8, qualifier: u8) -> Outcome {
    Outcome::check(Sense::new(key, Asc::new(code, qualifier)))
}

/// INVALID COMMAND OPERATION CODE.
pub(super) const fn invalid_opcode() -> Outcome {
    let field = FieldPointer { in_cdb: true, bit: None, byte: 0 };
    Outcome::check(Sense::new(SenseKey::IllegalRequest, Asc::new(0x20, 0)).with_field_pointer(field))
}

/// INVALID FIELD IN CDB, pointing at the field.
pub(super) const fn invalid_field(byte: u8, bit: Option<u8>) -> Outcome {
    let field = FieldPointer { in_cdb: true, bit, byte: byte as u16 };
    Outcome::check(Sense::new(SenseKey::IllegalRequest, Asc::new(0x24, 0)).with_field_pointer(field))
}

/// INVALID FIELD IN PARAMETER LIST, pointing at the byte.
pub(super) const fn invalid_parameter(byte: usize, bit: Option<u8>) -> Outcome {
    let field = FieldPointer { in_cdb: false, bit, byte: byte as u16 };
    Outcome::check(Sense::new(SenseKey::IllegalRequest, Asc::new(0x26, 0)).with_field_pointer(field))
}

/// PARAMETER LIST LENGTH ERROR.
pub(super) const fn list_length_error() -> Outcome {
    check(SenseKey::IllegalRequest, 0x1a, 0)
}

/// LOGICAL BLOCK ADDRESS OUT OF RANGE.
pub(super) const fn out_of_range() -> Outcome {
    check(SenseKey::IllegalRequest, 0x21, 0)
}

/// A block that an application client marked bad (SBC-4 4.18.2).
pub(super) const fn unreadable(lba: u64) -> Outcome {
    Outcome::check(Sense::new(SenseKey::MediumError, Asc::new(0x11, 0x14)).with_lba(lba))
}

/// MISCOMPARE DURING VERIFY OPERATION, with the offset of the first byte that differs.
pub(super) const fn miscompare(offset: u64) -> Outcome {
    Outcome::check(Sense::new(SenseKey::Miscompare, Asc::new(0x1d, 0)).with_lba(offset))
}

/// Not the length that the block has: ILI and the difference in bytes.
pub(super) const fn incorrect_length(key: SenseKey, code: u8, residual: i64) -> Outcome {
    let sense = Sense { flags: SenseFlags::ILI, ..Sense::new(key, Asc::new(code, 0)) };
    Outcome::check(sense.with_residual(residual))
}

/// What holds the image failed.
pub(super) fn broken(_: std::io::Error) -> Outcome {
    check(SenseKey::HardwareError, 0x44, 0)
}

/// The host and the device do not agree on how much is moved.
pub(super) const fn overrun() -> Outcome {
    Outcome::transport(HostStatus::Error)
}

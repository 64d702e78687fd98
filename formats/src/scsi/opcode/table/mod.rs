//! The rows, one file for each group of operation codes (the top three bits), sorted within it.
//!
//! A line reads: operation code, service action or `_`, device types, name, CDB length, layout; direction, data rule,
//! meaning of length 0; class, replay rule, effect on the medium, time-out.

use super::Row;

/// Writes rows as the lines of a table.
macro_rules! rows {
    ($($opcode:literal $service:tt $devices:ident $name:literal $len:literal $layout:ident,
        $direction:ident $data:ident $(($bytes:literal))? $zero:ident, $class:ident $replay:ident $effect:ident $timing:ident;)*) => {
        &[$($crate::scsi::opcode::Row {
            opcode: $opcode,
            service: rows!(@service $service),
            devices: $crate::scsi::device::Devices::$devices,
            name: $name,
            len: $len,
            fields: $crate::scsi::opcode::layout::$layout,
            direction: $crate::scsi::opcode::Direction::$direction,
            data: $crate::scsi::opcode::Data::$data $(($bytes))?,
            zero: $crate::scsi::opcode::Zero::$zero,
            class: $crate::scsi::opcode::Class::$class,
            replay: $crate::scsi::opcode::Replay::$replay,
            effect: $crate::scsi::opcode::Effect::$effect,
            timing: $crate::scsi::opcode::Timing::$timing,
        },)*]
    };
    (@service _) => { None };
    (@service $action:literal) => { Some($action) };
}

mod group0;
mod group12;
mod group3;
mod group4;
mod group5;

/// By the top three bits of the operation code; groups 6 and 7 are the vendors'.
pub(super) const GROUPS: [&[Row]; 8] =
    [group0::ROWS, group12::ROWS_1, group12::ROWS_2, group3::ROWS, group4::ROWS, group5::ROWS, &[], &[]];

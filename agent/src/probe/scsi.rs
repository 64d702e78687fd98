//! What the probe must know to capture SCSI commands: where the kernel keeps them, and what operation codes mean.

use std::path::Path;

use formats::scsi::opcode::rows;
use formats::scsi::{Class, DeviceType, Effect, FieldName, Row};
use probe_types::{Layout, OpcodeRule, rule};

use super::layout::{LayoutError, op_number};
use crate::btf::{Btf, MemberKind};

/// The SCSI mid-layer's types, where it is a module.
const SCSI_MODULE: &str = "/sys/kernel/btf/scsi_mod";
/// The structure of a command.
const COMMAND: &str = "scsi_cmnd";
/// The structure of a logical unit.
const UNIT: &str = "scsi_device";

/// Adds where SCSI commands lie to `layout`; the probe captures them then.
///
/// # Errors
/// Names what the kernel lacks.
pub fn add_layout(layout: &mut Layout, kernel: &Btf) -> Result<(), LayoutError> {
    let module = (!kernel.has_type(COMMAND)).then(|| Btf::read(Path::new(SCSI_MODULE), Some(kernel))).transpose()?;
    let btf = module.as_ref().unwrap_or(kernel);
    let member = |path: &str| btf.member_offset(COMMAND, path);
    layout.scsi_cmnd = member("cmnd")?;
    // An array since 5.18.
    layout.scsi_cmnd_is_pointer = u32::from(btf.member_kind(COMMAND, "cmnd")? == MemberKind::Pointer);
    layout.scsi_cmd_len = member("cmd_len")?;
    layout.scsi_direction = member("sc_data_direction")?;
    layout.scsi_transfer_len = member("sdb.length")?;
    layout.scsi_sgl = member("sdb.table.sgl")?;
    layout.scsi_residual = member("resid_len").or_else(|_| member("req.resid_len"))?;
    layout.scsi_result = member("result")?;
    layout.scsi_sense = member("sense_buffer")?;
    layout.op_drv_out = op_number(kernel, "REQ_OP_DRV_OUT").unwrap_or(u64::from(u32::MAX)) as u32;
    layout.op_drv_in = op_number(kernel, "REQ_OP_DRV_IN").unwrap_or(u64::from(u32::MAX)) as u32;
    layout.request_size = btf.struct_size("request")?;
    Ok(())
}

/// Adds how a logical unit without a disk is told by its queue, after [`add_layout`].
///
/// # Errors
/// Names what the kernel lacks.
pub fn add_units(layout: &mut Layout, kernel: &Btf) -> Result<(), LayoutError> {
    let module = (!kernel.has_type(UNIT)).then(|| Btf::read(Path::new(SCSI_MODULE), Some(kernel))).transpose()?;
    let btf = module.as_ref().unwrap_or(kernel);
    layout.queue_queuedata = kernel.member_offset("request_queue", "queuedata")?;
    layout.unit_queue = btf.member_offset(UNIT, "request_queue")?;
    layout.unit_host = btf.member_offset(UNIT, "host")?;
    layout.unit_channel = btf.member_offset(UNIT, "channel")?;
    layout.unit_id = btf.member_offset(UNIT, "id")?;
    layout.unit_lun = btf.member_offset(UNIT, "lun")?;
    layout.host_number = btf.member_offset("Scsi_Host", "host_no")?;
    Ok(())
}

/// What each operation code does to a device of this type: a disk or a tape. One that stands for several commands gets the rule that fits them all.
#[must_use]
pub fn rules(device: DeviceType) -> [OpcodeRule; 256] {
    let rule_of = if device == DeviceType::TAPE { tape_rule_of } else { rule_of };
    std::array::from_fn(|opcode| {
        let of_device = |row: &&Row| usize::from(row.opcode) == opcode && row.devices.contains(device.set());
        let known = rows().filter(of_device).map(rule_of).reduce(stricter);
        known.unwrap_or(OpcodeRule { kind: rule::ANYWHERE, ..OpcodeRule::default() })
    })
}

fn stricter(a: OpcodeRule, b: OpcodeRule) -> OpcodeRule {
    match (a.kind, b.kind) {
        _ if a == b => a,
        // Two ranges at different places: the probe looks at the operation code only.
        (rule::RANGE, rule::RANGE) => OpcodeRule { kind: rule::ANYWHERE, ..OpcodeRule::default() },
        (x, y) if x >= y => a,
        _ => b,
    }
}

fn rule_of(row: &'static Row) -> OpcodeRule {
    let plain = |kind| OpcodeRule { kind, ..OpcodeRule::default() };
    match (row.class, row.effect) {
        (Class::Read, _) => plain(rule::READ),
        (_, Effect::None) => plain(rule::STATE),
        (_, Effect::Write | Effect::Same | Effect::Compare | Effect::Combine) => range_rule(row),
        _ => plain(rule::ANYWHERE),
    }
}

/// Whatever moves a tape or writes it is carried, reads too; and all that is carried marks the whole tape, since nothing
/// of it can be read back.
fn tape_rule_of(row: &'static Row) -> OpcodeRule {
    let moves = matches!(row.effect, Effect::TapeMove | Effect::TapeWrite);
    let kind = if row.class == Class::Read && !moves { rule::READ } else { rule::ANYWHERE };
    OpcodeRule { kind, ..OpcodeRule::default() }
}

/// A range at whole bytes of a usual width; anything else may be anywhere (a length of 0 that means "to the end" too).
fn range_rule(row: &'static Row) -> OpcodeRule {
    let place = |name, widths: [u8; 2]| {
        let field = row.field(name)?;
        let (at, bits) = (field.byte, field.bits);
        (bits % 8 == 0 && widths.contains(&(bits / 8))).then_some((at, bits / 8))
    };
    let to_end = row.zero != formats::scsi::opcode::Zero::Nothing;
    match (place(FieldName::Lba, [4, 8]), place(FieldName::Length, [2, 4])) {
        (Some((lba_at, lba_len)), Some((count_at, count_len))) if !to_end && row.service.is_none() => {
            OpcodeRule { kind: rule::RANGE, lba_at, lba_len, count_at, count_len, pad: [0; 3] }
        }
        _ => OpcodeRule { kind: rule::ANYWHERE, ..OpcodeRule::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lba_at: u8, lba_len: u8, count_at: u8, count_len: u8) -> OpcodeRule {
        OpcodeRule { kind: rule::RANGE, lba_at, lba_len, count_at, count_len, pad: [0; 3] }
    }

    #[test]
    fn rules_follow_the_opcode_table() {
        let rules = rules(DeviceType::DISK);
        assert_eq!(rules[0x2a], range(2, 4, 7, 2), "WRITE(10)");
        assert_eq!(rules[0x8a], range(2, 8, 10, 4), "WRITE(16)");
        assert_eq!(rules[0xaa], range(2, 4, 6, 4), "WRITE(12)");
        for (opcode, kind) in [
            (0x00, rule::READ),
            (0x12, rule::READ),
            (0x28, rule::READ),
            (0x88, rule::READ),
            (0x35, rule::STATE),
            (0x5f, rule::STATE),
            (0x15, rule::STATE),
            (0x04, rule::ANYWHERE),
            (0x42, rule::ANYWHERE),
            (0x41, rule::ANYWHERE),
            (0x7f, rule::ANYWHERE),
            (0xc1, rule::ANYWHERE),
        ] {
            assert_eq!(rules[opcode].kind, kind, "{opcode:#x}");
        }
    }

    #[test]
    fn on_a_tape_reads_count_as_changes() {
        let rules = rules(DeviceType::TAPE);
        for opcode in [0x01, 0x08, 0x0a, 0x0f, 0x10, 0x11, 0x15, 0x19, 0x1b, 0x2b, 0x88, 0x92, 0xc1] {
            assert_eq!(rules[opcode].kind, rule::ANYWHERE, "{opcode:#x}");
        }
        for opcode in [0x00, 0x03, 0x05, 0x12, 0x1a, 0x34, 0x44, 0x5e, 0xa0] {
            assert_eq!(rules[opcode].kind, rule::READ, "{opcode:#x}");
        }
    }
}

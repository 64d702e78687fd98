//! SCSI commands on targets: issued again on those that take them ([`CommandTarget`]), and their effect written on those
//! that do not ([`apply_effect`]).

mod target;

use formats::command::Command;
use formats::scsi::effect::{Change, Content};
use formats::{ByteRange, Record, scsi};
use replication::errors::{self, Scope};

pub use target::{Begun, CommandTarget, NotApplied, Replayed, Unapplied, Unfit};

use crate::pool::Outcome;
use crate::target::{Effect, Target, TargetError};

/// What a command that failed on the primary leaves unknown there, in words; for targets that do not take commands: the same
/// row of the table decides as for those that do. `None` when it changed nothing.
pub(crate) fn unknown_after(record: &Record, command: &Command<'_>) -> Option<(Scope, Unapplied)> {
    let (scope, row) = errors::unknown_after(record, command)?;
    let line = match scsi::decode(command.cdb, command.device) {
        Ok(decoded) => decoded.to_string(),
        Err(_) => format!("malformed CDB {:02x?}", command.cdb),
    };
    Some((scope, Unapplied { command: line, row, answer: None, retries: 0 }))
}

/// Bytes of a repeated pattern that are written at once, about.
const PATTERN_BYTES: usize = 1 << 20;

/// Does to `target` what the command did to the primary's medium. [`Outcome::NotReplayable`] when bytes cannot tell that.
///
/// # Errors
/// As the target's; parts may have been applied then.
pub fn apply_effect(command: &Command<'_>, target: &dyn Target) -> Result<Outcome, TargetError> {
    let Some(changes) = command.changes() else { return Ok(Outcome::NotReplayable) };
    let mut effect = Effect::AsAsked;
    for change in &changes {
        if apply_change(change, command.data_out, target)? == Effect::Emulated {
            effect = Effect::Emulated;
        }
    }
    Ok(if changes.is_empty() { Outcome::Nothing } else { Outcome::Applied(effect) })
}

fn apply_change(change: &Change, data: &[u8], target: &dyn Target) -> Result<Effect, TargetError> {
    match &change.content {
        Content::Data(bytes) => {
            let bytes = data.get(bytes.clone()).unwrap_or_default();
            target.write(change.range.offset, bytes, false).map(|()| Effect::AsAsked)
        }
        Content::Repeat(pattern) => {
            repeat(change.range, data.get(pattern.clone()).unwrap_or_default(), target).map(|()| Effect::Emulated)
        }
        Content::Zero => target.write_zeroes(change.range, change.may_unmap),
        Content::Unmapped => target.discard(change.range),
        Content::Unknown | Content::Unreadable => Ok(Effect::AsAsked),
    }
}

/// Writes `pattern` again and again; the range is a multiple of it.
fn repeat(range: ByteRange, pattern: &[u8], target: &dyn Target) -> Result<(), TargetError> {
    let step = pattern.repeat((PATTERN_BYTES / pattern.len().max(1)).max(1));
    let mut offset = range.offset;
    while offset < range.end() && !step.is_empty() {
        let len = (range.end() - offset).min(step.len() as u64);
        target.write(offset, &step[..len as usize], false)?;
        offset += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use formats::command::{CommandFlags, Hctl, Transfer};
    use formats::scsi::{DeviceType, Geometry};

    use super::*;
    use crate::target::MemoryTarget;

    const SIZE: u64 = 64 << 10;

    fn command<'a>(cdb: &'a [u8], data_out: &'a [u8]) -> Command<'a> {
        Command {
            unit: Hctl::default(),
            device: DeviceType::DISK,
            medium: Some(Geometry::new(512, SIZE / 512)),
            flags: CommandFlags::empty(),
            transfer: Transfer::Out,
            transfer_len: data_out.len() as u32,
            residual: 0,
            result: 0,
            cdb,
            sense: &[],
            data_out,
        }
    }

    fn applied(cdb: &[u8], data_out: &[u8]) -> (Outcome, Vec<u8>) {
        let target = MemoryTarget::new("disk", SIZE);
        target.write(0, &vec![9; SIZE as usize], false).unwrap();
        let outcome = apply_effect(&command(cdb, data_out), &target).unwrap();
        let mut content = vec![0; SIZE as usize];
        target.read(0, &mut content).unwrap();
        (outcome, content)
    }

    #[test]
    fn write_same_repeats_its_block() {
        let (outcome, content) = applied(&[0x41, 0, 0, 0, 0, 2, 0, 0, 3, 0], &[7; 512]);
        assert_eq!(outcome, Outcome::Applied(Effect::Emulated));
        assert!(content[..1024].iter().all(|byte| *byte == 9) && content[1024..2560].iter().all(|byte| *byte == 7));
        assert_eq!(content[2560], 9);
    }

    #[test]
    fn compare_and_write_writes_its_second_half() {
        let data = [[1u8; 512], [2; 512]].concat();
        let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0];
        let (outcome, content) = applied(&cdb, &data);
        assert_eq!(outcome, Outcome::Applied(Effect::AsAsked));
        assert!(content[2048..2560].iter().all(|byte| *byte == 2) && content[2560] == 9);
    }

    #[test]
    fn unmap_discards_each_run_of_its_list() {
        let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
        for (lba, blocks) in [(0u64, 1u32), (4, 2)] {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        let (outcome, content) = applied(&[0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], &list);
        assert!(matches!(outcome, Outcome::Applied(_)));
        let zeros = |from: usize, to: usize| content[from * 512..to * 512].iter().all(|byte| *byte == 0);
        assert!(zeros(0, 1) && zeros(4, 6) && content[512] == 9 && content[6 * 512] == 9);
    }

    #[test]
    fn what_no_bytes_tell_is_not_replayed() {
        let format = [0x04, 0, 0, 0, 0, 0];
        assert_eq!(applied(&format, &[]).0, Outcome::NotReplayable);
        assert_eq!(applied(&[0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).0, Outcome::NotReplayable);
        assert_eq!(applied(&[0x41, 0, 0, 0, 0, 2, 0, 0, 3, 0], &[7; 100]).0, Outcome::NotReplayable);
        assert_eq!(applied(&[0x1b, 0, 0, 0, 1, 0], &[]).0, Outcome::Nothing);
    }
}

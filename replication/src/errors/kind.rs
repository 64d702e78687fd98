//! From a CDB to the kind of command: derived from the one opcode table in [`formats::scsi::opcode`].

use formats::scsi::opcode::{Class, Effect, FieldName, Replay};
use formats::scsi::{CdbError, Decoded, DeviceType, decode};

use super::outcome::CommandKind;

/// How the names of commands begin in the opcode table, where their effect there does not tell them apart.
const ATOMIC: &[&str] = &["WRITE ATOMIC("];
/// Commands that take, change or give back a reservation.
const RESERVATIONS: &[&str] = &["RESERVE(", "RELEASE(", "PERSISTENT RESERVE OUT ("];

impl CommandKind {
    /// The kind of a command. `reads_zeros`: what the primary unmaps reads as zeros afterwards (LBPRZ of its LOGICAL BLOCK
    /// PROVISIONING page, or of READ CAPACITY(16)).
    #[must_use]
    pub fn of(command: &Decoded, reads_zeros: bool) -> Self {
        match command.replay() {
            Replay::Unknown => Self::Opaque,
            Replay::Refuse => Self::Refused,
            Replay::Reread => Self::Combine,
            Replay::Carry if command.class() == Class::Read => Self::Read,
            Replay::Carry => Self::Carried,
            Replay::AsIs | Replay::Effect => of_effect(command, reads_zeros),
        }
    }

    /// The same from the bytes that the probe saw.
    ///
    /// # Errors
    /// When they are no CDB: cut off, or longer than any.
    pub fn of_cdb(cdb: &[u8], device: DeviceType, reads_zeros: bool) -> Result<Self, CdbError> {
        Ok(Self::of(&decode(cdb, device)?, reads_zeros))
    }
}

fn of_effect(command: &Decoded, reads_zeros: bool) -> CommandKind {
    match command.effect() {
        Effect::Write if is_named(command, ATOMIC) => CommandKind::WriteAtomic,
        Effect::Write | Effect::Scatter => CommandKind::Write,
        Effect::Same => CommandKind::WriteSame,
        Effect::Compare => CommandKind::CompareAndWrite,
        Effect::Long if command.flag(FieldName::WrUncor) => CommandKind::MarkUnreadable,
        Effect::Long => CommandKind::WriteLong,
        Effect::UnmapList if reads_zeros => CommandKind::UnmapToZeros,
        Effect::UnmapList => CommandKind::Unmap,
        Effect::Combine | Effect::DefectList => CommandKind::Combine,
        Effect::Whole => CommandKind::WholeMedium,
        Effect::TapeWrite => CommandKind::TapeWrite,
        Effect::TapeMove => CommandKind::TapeMove,
        Effect::Zones => CommandKind::Refused,
        Effect::Unknown => CommandKind::Opaque,
        Effect::None => of_no_effect(command),
    }
}

/// Commands that are repeated though they change no block.
fn of_no_effect(command: &Decoded) -> CommandKind {
    match command.class() {
        Class::Sync => CommandKind::Flush,
        // A write whose DISABLE WRITE bit is set, or a read.
        Class::Read | Class::Write => CommandKind::Read,
        Class::State if is_named(command, RESERVATIONS) => CommandKind::Reservation,
        Class::State if command.replay() == Replay::Effect => CommandKind::Parameters,
        Class::State => CommandKind::UnitState,
    }
}

fn is_named(command: &Decoded, beginnings: &[&str]) -> bool {
    command.row().is_some_and(|row| beginnings.iter().any(|beginning| row.name.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use formats::scsi::build::{self, Access};
    use formats::scsi::opcode::{self, Row};
    use formats::scsi::{Cdb, Devices};

    use super::*;
    use crate::errors::{Action, PrimaryOutcome, Scope, first_row};

    fn first_action(kind: CommandKind) -> Action {
        first_row(PrimaryOutcome::Good, kind).row().action
    }

    fn decoded(row: &Row) -> Decoded {
        let types = (0..32).map(DeviceType::from_byte);
        let device = types.into_iter().find(|device| row.devices.contains(device.set())).expect("a device type");
        decode(&Cdb::of(row), device).expect("long enough")
    }

    /// The opcode table and this policy say the same of every command that succeeded on the primary.
    #[test]
    fn every_opcode_is_begun_as_its_replay_rule_says() {
        for row in opcode::rows() {
            let command = decoded(row);
            let kind = CommandKind::of(&command, false);
            let action = first_action(kind);
            let agrees = match command.replay() {
                Replay::AsIs => action == Action::Issue,
                Replay::Effect => matches!(
                    action,
                    Action::Issue | Action::ReplayEffect | Action::ReproduceUnreadable | Action::ReRead(Scope::Range)
                ),
                Replay::Reread => action == Action::ReRead(Scope::Range),
                Replay::Carry => action == Action::Skip,
                Replay::Refuse => matches!(action, Action::Stop(_)),
                Replay::Unknown => action == Action::ByRule,
            };
            assert!(agrees, "{} is {kind}: {action}", row.name);
        }
    }

    /// A name that the table does not have any more would make its commands something else in silence.
    #[test]
    fn every_name_is_one_of_the_table() {
        let named = |beginning: &str| opcode::rows().filter(|row| row.name.starts_with(beginning)).count();
        let counts: Vec<usize> = ATOMIC.iter().chain(RESERVATIONS).map(|beginning| named(beginning)).collect();
        assert_eq!(counts, [2, 2, 2, 9]);
        let kind = |cdb: &[u8]| CommandKind::of_cdb(cdb, DeviceType::DISK, false);
        assert_eq!(kind(&[0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0]), Ok(CommandKind::Reservation));
        assert_eq!(kind(&[0x17, 0, 0, 0, 0, 0]), Ok(CommandKind::Reservation));
    }

    #[test]
    fn tapes_and_disks_part_at_the_same_opcode() {
        let kind = |cdb: &[u8], device| CommandKind::of_cdb(cdb, device, false).unwrap();
        assert_eq!(kind(&[0x08, 0, 0, 0, 1, 0], DeviceType::DISK), CommandKind::Read);
        assert_eq!(kind(&[0x08, 0, 0, 0, 1, 0], DeviceType::TAPE), CommandKind::TapeMove);
        assert_eq!(kind(&[0x0a, 0, 0, 0, 1, 0], DeviceType::TAPE), CommandKind::TapeWrite);
        assert_eq!(kind(&[0x15, 0, 0, 0, 0, 0], DeviceType::TAPE), CommandKind::UnitState);
        assert_eq!(kind(&[0x15, 0, 0, 0, 0, 0], DeviceType::DISK), CommandKind::Parameters);
        assert!(Devices::SSC.contains(DeviceType::TAPE.set()));
    }

    #[test]
    fn flags_and_the_provisioning_page_decide_where_the_opcode_does_not() {
        let kind = |cdb: Cdb, zeros| CommandKind::of_cdb(&cdb, DeviceType::DISK, zeros).unwrap();
        assert_eq!(kind(build::write(0, 8, Access::default()), false), CommandKind::Write);
        assert_eq!(kind(build::compare_and_write(0, 1, Access::default()), false), CommandKind::CompareAndWrite);
        assert_eq!(kind(build::flush(), false), CommandKind::Flush);
        assert_eq!(kind(build::mark_unreadable(7, false), false), CommandKind::MarkUnreadable);
        let (unmap, _) = build::unmap(&[], false).unwrap();
        assert_eq!((kind(unmap, false), kind(unmap, true)), (CommandKind::Unmap, CommandKind::UnmapToZeros));
        let mut atomic = [0; 16];
        atomic[0] = 0x9c;
        assert_eq!(CommandKind::of_cdb(&atomic, DeviceType::DISK, false), Ok(CommandKind::WriteAtomic));
    }

    #[test]
    fn what_the_table_does_not_know_is_opaque_and_what_is_cut_off_is_no_command() {
        assert_eq!(CommandKind::of_cdb(&[0xc1; 10], DeviceType::DISK, true), Ok(CommandKind::Opaque));
        assert!(CommandKind::of_cdb(&[0x2a, 0, 0], DeviceType::DISK, true).is_err());
        assert!(CommandKind::of_cdb(&[], DeviceType::DISK, true).is_err());
    }
}

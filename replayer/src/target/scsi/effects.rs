//! Commands that are replayed by the effect they had: reservations, mode pages, a tape write that reached part way.

use std::io;

use formats::scsi::build::{self, RESERVE_PARAMETERS, ReservationType, ReserveIn, ReserveOut};
use formats::scsi::{Cdb, Decoded, FieldName};

use super::ScsiTarget;
use super::drive::Answer;
use crate::scsi::Data;

/// PERSISTENT RESERVE OUT.
const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
/// MODE SELECT(6); the other is MODE SELECT(10).
const MODE_SELECT_6: u8 = 0x15;

/// What a PERSISTENT RESERVE OUT carried (SPC-5, basic parameter list).
struct Keys {
    own: u64,
    action: u64,
    aptpl: bool,
}

impl Keys {
    fn of(list: &[u8]) -> Option<Self> {
        let list = list.first_chunk::<RESERVE_PARAMETERS>()?;
        let key = |at: usize| list.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        Some(Self { own: key(0)?, action: key(8)?, aptpl: list[20] & 1 == 1 })
    }
}

fn reservation_type(command: &Decoded) -> ReservationType {
    match command.get(FieldName::Type) {
        Some(1) => ReservationType::WriteExclusive,
        Some(3) => ReservationType::ExclusiveAccess,
        Some(5) => ReservationType::WriteExclusiveRegistrantsOnly,
        Some(6) => ReservationType::ExclusiveAccessRegistrantsOnly,
        Some(7) => ReservationType::WriteExclusiveAllRegistrants,
        Some(8) => ReservationType::ExclusiveAccessAllRegistrants,
        _ => ReservationType::None,
    }
}

impl ScsiTarget {
    /// Brings a reservation to what it became on the primary. This nexus stands for whichever the primary had: its key is
    /// registered anew without regard to the old one, so that a repeated command does not conflict with itself. RESERVE
    /// and RELEASE may be repeated as they are.
    pub(super) fn reserve(&self, command: &Decoded, list: &[u8]) -> io::Result<Answer> {
        if command.cdb.opcode() != PERSISTENT_RESERVE_OUT {
            let data = if list.is_empty() { Data::None } else { Data::Out(list) };
            return self.run(&command.cdb, data);
        }
        let Some(keys) = Keys::of(list) else { return Ok(Answer::NOT_TAKEN) };
        let kind = reservation_type(command);
        let action = formats::scsi::opcode::service_action(&command.cdb);
        match action {
            Some(0 | 6) => self.register(keys.action, keys.aptpl),
            Some(1) => self.as_registered(&keys, ReserveOut::Reserve, kind),
            Some(2) => self.as_registered(&keys, ReserveOut::Release, kind),
            Some(3) => self.as_registered(&keys, ReserveOut::Clear, ReservationType::None),
            Some(4 | 5) => self.take_over(&keys, kind),
            // Of another nexus, or of a device that lost it: nothing that one nexus can bring about.
            _ => Ok(Answer::NOT_TAKEN),
        }
    }

    fn reserve_out(
        &self,
        action: ReserveOut,
        kind: ReservationType,
        keys: (u64, u64),
        aptpl: bool,
    ) -> io::Result<Answer> {
        let list = build::reserve_parameters(keys.0, keys.1, aptpl);
        self.run(&build::persistent_reserve_out(action, kind, RESERVE_PARAMETERS as u32), Data::Out(&list))
    }

    fn register(&self, key: u64, aptpl: bool) -> io::Result<Answer> {
        let action = ReserveOut::RegisterAndIgnoreExistingKey;
        self.reserve_out(action, ReservationType::None, (0, key), aptpl)
    }

    /// As the registrant that the primary's command came from.
    fn as_registered(&self, keys: &Keys, action: ReserveOut, kind: ReservationType) -> io::Result<Answer> {
        let registered = self.register(keys.own, keys.aptpl)?;
        if !registered.is_good() {
            return Ok(registered);
        }
        self.reserve_out(action, kind, (keys.own, 0), false)
    }

    /// PREEMPT: the preempted nexus is this one, too. Where there is a reservation, it becomes the preemptor's, of its type.
    fn take_over(&self, keys: &Keys, kind: ReservationType) -> io::Result<Answer> {
        let registered = self.register(keys.own, keys.aptpl)?;
        if !registered.is_good() {
            return Ok(registered);
        }
        let mut held = [0; 24];
        let asked = self.run(&build::persistent_reserve_in(ReserveIn::ReadReservation, 24), Data::In(&mut held))?;
        if !asked.is_good() && asked.class != replication::errors::StandbyOutcome::Residual {
            return Ok(asked);
        }
        // ADDITIONAL LENGTH is 0 without a reservation, else 16.
        if held[4..8] == [0; 4] || u64::from(held[21] & 0xf) == kind as u64 {
            return Ok(Answer::GOOD);
        }
        let Some(old) = old_type(held[21] & 0xf) else { return Ok(Answer::NOT_TAKEN) };
        let released = self.reserve_out(ReserveOut::Release, old, (keys.own, 0), false)?;
        if !released.is_good() {
            return Ok(released);
        }
        self.reserve_out(ReserveOut::Reserve, kind, (keys.own, 0), false)
    }

    /// MODE SELECT of the pages alone. The block descriptor in front of them could give the device another capacity or
    /// block size: it stays out.
    pub(super) fn select_modes(&self, command: &Decoded, list: &[u8]) -> io::Result<Answer> {
        let six = command.cdb.opcode() == MODE_SELECT_6;
        let Some(list) = without_descriptors(six, list) else { return Ok(Answer::NOT_TAKEN) };
        let Some(row) = command.row() else { return Ok(Answer::NOT_TAKEN) };
        match command.cdb.with(row, FieldName::Length, list.len() as u64) {
            Ok(cdb) => self.run(&cdb, Data::Out(&list)),
            Err(_) => Ok(Answer::NOT_TAKEN),
        }
    }

    /// What a tape write reached: only whole blocks of the fixed length can be told and written alone.
    pub(super) fn partial_tape_write(&self, command: &Decoded, data: &[u8], written: usize) -> io::Result<Answer> {
        let length = command.get(FieldName::Length).unwrap_or(0);
        let block = (data.len() as u64).checked_div(length).unwrap_or(0);
        let whole = command.flag(FieldName::Fixed) && block > 0 && (written as u64).is_multiple_of(block);
        let (Some(row), Some(bytes), true) = (command.row(), data.get(..written), whole) else {
            return Ok(Answer::NOT_TAKEN);
        };
        match command.cdb.with(row, FieldName::Length, written as u64 / block) {
            Ok(_) if bytes.is_empty() => Ok(Answer::GOOD),
            Ok(cdb) => self.run(&cdb, Data::Out(bytes)),
            Err(_) => Ok(Answer::NOT_TAKEN),
        }
    }

    /// WRITE FILEMARKS of none: a tape's way to make what is buffered durable (SSC-5).
    pub(super) fn flush_tape(&self) -> io::Result<Answer> {
        let cdb: Cdb = build::write_filemarks_6(0, false).map_err(io::Error::other)?;
        self.run(&cdb, Data::None)
    }
}

fn old_type(value: u8) -> Option<ReservationType> {
    Some(match value {
        1 => ReservationType::WriteExclusive,
        3 => ReservationType::ExclusiveAccess,
        5 => ReservationType::WriteExclusiveRegistrantsOnly,
        6 => ReservationType::ExclusiveAccessRegistrantsOnly,
        7 => ReservationType::WriteExclusiveAllRegistrants,
        8 => ReservationType::ExclusiveAccessAllRegistrants,
        _ => return None,
    })
}

/// A mode parameter list with its header's BLOCK DESCRIPTOR LENGTH cleared and the descriptors left out.
fn without_descriptors(six: bool, list: &[u8]) -> Option<Vec<u8>> {
    let (header, descriptors) = if six {
        (4, usize::from(*list.get(3)?))
    } else {
        (8, usize::from(u16::from_be_bytes([*list.get(6)?, *list.get(7)?])))
    };
    let mut kept = list.get(..header)?.to_vec();
    if six {
        kept[3] = 0;
    } else {
        kept[6..8].fill(0);
    }
    kept.extend_from_slice(list.get(header.checked_add(descriptors)?..)?);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_descriptors_stay_out() {
        let six = [0, 0, 0x10, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 2, 4, 0];
        assert_eq!(without_descriptors(true, &six).unwrap(), [0, 0, 0x10, 0, 0x08, 2, 4, 0]);
        let ten = [0, 0, 0, 0x10, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 0];
        assert_eq!(without_descriptors(false, &ten).unwrap(), [0, 0, 0, 0x10, 0, 0, 0, 0, 0x0a, 0]);
        assert_eq!(without_descriptors(true, &[0, 0, 0, 9, 1]), None);
        assert_eq!(without_descriptors(false, &[0; 7]), None);
    }
}

//! READ and VERIFY.

use formats::scsi::{Asc, FieldName, Outcome, Sense, SenseFlags, SenseKey};

use super::{Object, Tape, at_end_of_data, at_filemark};
use crate::scsi::simulated::answer::{Answer, incorrect_length};
use crate::scsi::simulated::call::Call;

impl Tape {
    /// The next object, behind which the tape is then.
    fn next(&mut self) -> Option<&Object> {
        let object = self.objects.get(self.position)?;
        self.position += 1;
        Some(object)
    }

    /// READ(6) and READ(16). What is buffered is brought to the tape first.
    pub(super) fn read(&mut self, call: &mut Call<'_>) -> Answer {
        let fixed = call.flag(FieldName::Fixed);
        if fixed {
            call.must_be_zero(FieldName::Sili)?;
        }
        let (count, size) = self.blocks(call)?;
        self.flush();
        let mut moved = 0;
        let ended = if fixed {
            self.read_fixed(call.room(count * size), count, size, &mut moved)
        } else if count == 0 {
            Ok(())
        } else {
            let silent = call.flag(FieldName::Sili);
            self.read_one(call.room(size), size, silent, &mut moved)
        };
        call.moved(moved);
        ended
    }

    /// Blocks of one length, until there is one of another, a filemark, or no more.
    fn read_fixed(&mut self, mut room: &mut [u8], count: u64, size: u64, moved: &mut usize) -> Answer {
        for left in (1..=count).rev() {
            let record = match self.next() {
                Some(Object::Record(record)) => record,
                Some(Object::Filemark) => return Err(at_filemark(left)),
                None => return Err(at_end_of_data(left)),
            };
            let len = record.len().min(size as usize).min(room.len());
            room[..len].copy_from_slice(&record[..len]);
            *moved += len;
            if record.len() as u64 != size {
                return Err(incorrect_length(SenseKey::NoSense, 0, left as i64));
            }
            room = &mut room[len..];
        }
        Ok(())
    }

    /// One block of any length. ILI tells that it is not the one asked for, with the difference; SILI silences that, but
    /// for a block that is too long while a fixed length is set.
    fn read_one(&mut self, room: &mut [u8], size: u64, silent: bool, moved: &mut usize) -> Answer {
        let fixed_is_set = self.block_length != 0;
        let record = match self.next() {
            Some(Object::Record(record)) => record,
            Some(Object::Filemark) => return Err(at_filemark(size)),
            None => return Err(at_end_of_data(size)),
        };
        *moved = record.len().min(room.len());
        room[..*moved].copy_from_slice(&record[..*moved]);
        let difference = size as i64 - record.len() as i64;
        let told = difference != 0 && (!silent || (difference < 0 && fixed_is_set));
        if told { Err(incorrect_length(SenseKey::NoSense, 0, difference)) } else { Ok(()) }
    }

    /// VERIFY(6) of the medium alone: moves as READ does, and returns nothing.
    pub(super) fn verify(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::BytCmp)?;
        let (count, size) = self.blocks(call)?;
        let mut moved = 0;
        if call.flag(FieldName::Fixed) {
            self.read_fixed(&mut [], count, size, &mut moved)
        } else if count > 0 {
            self.read_one(&mut [], size, false, &mut moved)
        } else {
            Ok(())
        }
    }
}

/// What a position that is nowhere answers: BLANK CHECK at the end of data.
pub(super) const fn beyond_data() -> Outcome {
    let sense = Sense::new(SenseKey::BlankCheck, Asc::new(0, super::END_OF_DATA));
    Outcome::check(Sense { flags: SenseFlags::empty(), ..sense })
}

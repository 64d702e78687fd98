//! SPACE, LOCATE, REWIND and LOAD UNLOAD.

use formats::scsi::FieldName;

use super::read::beyond_data;
use super::{Object, Tape, at_beginning, at_end_of_data, at_filemark};
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// CODE of SPACE.
const BLOCKS: u64 = 0;
const FILEMARKS: u64 = 1;
const SEQUENTIAL: u64 = 2;
const TO_END: u64 = 3;

/// DESTINATION TYPE of LOCATE(16): object, file, end of data.
const OBJECT: u64 = 0;
const FILE: u64 = 1;
const END: u64 = 3;

impl Tape {
    /// REWIND.
    pub(super) fn rewind(&mut self, _: &mut Call<'_>) -> Answer {
        self.flush();
        self.position = 0;
        Ok(())
    }

    /// LOAD UNLOAD.
    pub(super) fn load(&mut self, call: &mut Call<'_>) -> Answer {
        self.rewind(call)?;
        self.loaded = call.flag(FieldName::Load);
        Ok(())
    }

    /// SPACE(6) and SPACE(16). The residual is what is left of the count, whichever way it goes.
    pub(super) fn space(&mut self, call: &mut Call<'_>) -> Answer {
        self.flush();
        let count = call.command.space_count().unwrap_or(0);
        let (back, left) = (count < 0, count.unsigned_abs());
        match (call.get(FieldName::Code), back) {
            (BLOCKS, false) => self.forward_blocks(left),
            (BLOCKS, true) => self.back_blocks(left),
            (FILEMARKS, false) => self.forward_filemarks(left, 1),
            (FILEMARKS, true) => self.back_filemarks(left),
            (SEQUENTIAL, false) => self.forward_filemarks(u64::from(left > 0), left),
            (TO_END, _) => {
                self.position = self.objects.len();
                Ok(())
            }
            _ => Err(call.refuse(FieldName::Code)),
        }
    }

    fn forward_blocks(&mut self, count: u64) -> Answer {
        for left in (1..=count).rev() {
            let object = self.objects.get(self.position).ok_or(at_end_of_data(left))?;
            self.position += 1;
            if *object == Object::Filemark {
                return Err(at_filemark(left));
            }
        }
        Ok(())
    }

    fn back_blocks(&mut self, count: u64) -> Answer {
        for left in (1..=count).rev() {
            self.position = self.position.checked_sub(1).ok_or(at_beginning(left))?;
            if self.objects.get(self.position) == Some(&Object::Filemark) {
                return Err(at_filemark(left));
            }
        }
        Ok(())
    }

    /// Behind the next filemark that ends `row` of them, `count` times.
    fn forward_filemarks(&mut self, count: u64, row: u64) -> Answer {
        for left in (1..=count).rev() {
            let mut seen = 0;
            while seen < row {
                let object = self.objects.get(self.position).ok_or(at_end_of_data(left))?;
                seen = if *object == Object::Filemark { seen + 1 } else { 0 };
                self.position += 1;
            }
        }
        Ok(())
    }

    /// In front of a filemark.
    fn back_filemarks(&mut self, count: u64) -> Answer {
        for left in (1..=count).rev() {
            let before = self.objects.get(..self.position).unwrap_or_default();
            let found = before.iter().rposition(|object| *object == Object::Filemark);
            self.position = found.unwrap_or(0);
            found.ok_or(at_beginning(left))?;
        }
        Ok(())
    }

    /// LOCATE(10) and LOCATE(16).
    pub(super) fn locate(&mut self, call: &mut Call<'_>) -> Answer {
        if call.flag(FieldName::ChangePartition) {
            call.must_be_zero(FieldName::Partition)?;
        }
        self.flush();
        let wanted = call.get(FieldName::Object);
        let found = match call.get(FieldName::DestinationType) {
            OBJECT => usize::try_from(wanted).ok().filter(|at| *at <= self.objects.len()),
            FILE => self.file_start(wanted),
            END => Some(self.objects.len()),
            _ => return Err(call.refuse(FieldName::DestinationType)),
        };
        self.position = found.unwrap_or(self.objects.len());
        found.map(|_| ()).ok_or_else(beyond_data)
    }

    /// Where a file begins: behind so many filemarks.
    fn file_start(&self, file: u64) -> Option<usize> {
        let marks = self.objects.iter().enumerate().filter(|(_, object)| **object == Object::Filemark);
        match file.checked_sub(1) {
            None => Some(0),
            Some(before) => marks.map(|(at, _)| at + 1).nth(usize::try_from(before).ok()?),
        }
    }
}

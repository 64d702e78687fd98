//! WRITE in all its lengths, WRITE AND VERIFY, WRITE ATOMIC, WRITE SCATTERED, COMPARE AND WRITE, ORWRITE.

use formats::scsi::{FieldName, LbaRange, list};

use super::Disk;
use super::fill::Fill;
use crate::scsi::simulated::answer::{Answer, invalid_opcode, list_length_error};
use crate::scsi::simulated::call::Call;

impl Disk {
    /// WRITE.
    pub(super) fn write(&mut self, call: &mut Call<'_>) -> Answer {
        let run = self.transfer(call)?;
        let data = call.take(self.bytes(run).len)?;
        self.put(run, Fill::Data(data), call.flag(FieldName::Fua))
    }

    /// WRITE AND VERIFY: on the medium when it ends, since that is where it is verified. With BYTCHK 2 it is refused.
    pub(super) fn write_and_verify(&mut self, call: &mut Call<'_>) -> Answer {
        if call.get(FieldName::Bytchk) == 2 {
            return Err(call.refuse(FieldName::Bytchk));
        }
        let run = self.transfer(call)?;
        let data = call.take(self.bytes(run).len)?;
        self.put(run, Fill::Data(data), true)
    }

    /// WRITE ATOMIC. All of it or nothing: it does not stay on the way, and a power cut does not tear it.
    pub(super) fn write_atomic(&mut self, call: &mut Call<'_>) -> Answer {
        let limit = u64::from(self.settings.limits.atomic);
        if limit == 0 {
            return Err(invalid_opcode());
        }
        call.must_be_zero(FieldName::AtomicBoundary)?;
        let run = self.transfer(call)?;
        if run.blocks > limit {
            return Err(call.refuse(FieldName::Length));
        }
        let data = call.take(self.bytes(run).len)?;
        let whole = self.budget.is_none_or(|budget| budget >= run.blocks);
        if whole { self.put(run, Fill::Data(data), true) } else { Ok(()) }
    }

    /// COMPARE AND WRITE: the first half must be there, then the second is written.
    pub(super) fn compare_and_write(&mut self, call: &mut Call<'_>) -> Answer {
        let run = self.transfer(call)?;
        if run.blocks > u64::from(self.settings.limits.compare) {
            return Err(call.refuse(FieldName::Length));
        }
        let len = self.bytes(run).len;
        let data = call.take(len * 2)?;
        let (expected, data) = data.split_at(len as usize);
        self.must_be_readable(run)?;
        self.compare(run, expected)?;
        self.put(run, Fill::Data(data), call.flag(FieldName::Fua))
    }

    /// ORWRITE: the blocks become what they hold or the data has. The generations of the 32-byte one are not kept.
    pub(super) fn or_write(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::BitmapOperation)?;
        call.must_be_zero(FieldName::ExpectedGeneration)?;
        let run = self.transfer(call)?;
        let data = call.take(self.bytes(run).len)?;
        self.must_be_readable(run)?;
        let mut content = self.content(run)?;
        content.iter_mut().zip(data).for_each(|(byte, more)| *byte |= more);
        self.put(run, Fill::Data(&content), call.flag(FieldName::Fua))
    }

    /// WRITE SCATTERED: descriptors, then data for each. All are checked before any is written.
    pub(super) fn write_scattered(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::Protect)?;
        let (count, length) = (call.get(FieldName::Ranges), call.get(FieldName::Length));
        if count == 0 || length == 0 {
            return Ok(());
        }
        let data = call.take(length.saturating_mul(self.size()))?;
        let runs = list::scattered_ranges(data, count as u16).map_err(|_| call.refuse(FieldName::Ranges))?;
        let mut at = call.get(FieldName::DataOffset) * self.size();
        if at < (count + 1) * 32 {
            return Err(call.refuse(FieldName::DataOffset));
        }
        let mut parts = Vec::with_capacity(runs.len());
        for run in runs {
            let range = self.bytes(self.check(run)?);
            let place = at as usize..(at + range.len) as usize;
            parts.push((run, data.get(place).ok_or_else(list_length_error)?));
            at += range.len;
        }
        self.scatter(&parts, call.flag(FieldName::Fua))
    }

    fn scatter(&mut self, parts: &[(LbaRange, &[u8])], durable: bool) -> Answer {
        parts.iter().try_for_each(|(run, data)| self.put(*run, Fill::Data(data), durable))
    }
}

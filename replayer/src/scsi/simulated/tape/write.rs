//! WRITE, WRITE FILEMARKS and ERASE.

use formats::scsi::{FieldName, SenseFlags, SenseKey};

use super::{END, Object, Tape, stopped};
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

impl Tape {
    /// How many blocks of how many bytes a READ or WRITE moves.
    pub(super) fn blocks(&self, call: &Call<'_>) -> Answer<(u64, u64)> {
        let length = call.get(FieldName::Length);
        match (call.flag(FieldName::Fixed), u64::from(self.block_length)) {
            (true, 0) => Err(call.refuse(FieldName::Fixed)),
            (true, size) => Ok((length, size)),
            (false, _) if length > u64::from(self.settings.longest) => Err(call.refuse(FieldName::Length)),
            (false, _) => Ok((u64::from(length > 0), length)),
        }
    }

    /// WRITE(6) and WRITE(16).
    pub(super) fn write(&mut self, call: &mut Call<'_>) -> Answer {
        let fixed = call.flag(FieldName::Fixed);
        let (count, size) = self.blocks(call)?;
        let data = call.take(count * size)?;
        for (done, record) in data.chunks_exact(size.max(1) as usize).enumerate() {
            let left = if fixed { count - done as u64 } else { size };
            self.append(Object::Record(record.to_vec()), left)?;
        }
        self.written(self.buffered && count > 0)
    }

    /// WRITE FILEMARKS: without IMMED everything is durable behind it.
    pub(super) fn write_filemarks(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::Wsmk)?;
        let count = call.get(FieldName::Count);
        (0..count).try_for_each(|done| self.append(Object::Filemark, count - done))?;
        self.written(call.flag(FieldName::Immed))
    }

    /// One more at the position; what was behind it is gone. `left` is what the command has left with this one.
    fn append(&mut self, object: Object, left: u64) -> Answer {
        if self.budget == Some(0) {
            return Ok(());
        }
        self.budget = self.budget.map(|budget| budget - 1);
        let end = self.used() + object.room();
        if end > self.settings.capacity {
            return Err(stopped(SenseKey::VolumeOverflow, END, SenseFlags::EOM, left));
        }
        self.truncate(self.position);
        self.objects.push(object);
        self.ends.push(end);
        self.position += 1;
        Ok(())
    }

    /// The end of a command that wrote: early warning when the end is near, with nothing left undone.
    fn written(&mut self, may_be_lost: bool) -> Answer {
        if !may_be_lost {
            self.flush();
        }
        let near = self.used() + self.settings.early_warning > self.settings.capacity;
        if near { Err(stopped(SenseKey::NoSense, END, SenseFlags::EOM, 0)) } else { Ok(()) }
    }

    /// ERASE(6), ERASE(16): nothing is left behind the position. With LONG it takes longer, with the same end.
    pub(super) fn erase(&mut self, _: &mut Call<'_>) -> Answer {
        self.truncate(self.position);
        self.flush();
        Ok(())
    }

    /// FORMAT MEDIUM: at the beginning only.
    pub(super) fn format(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::Format)?;
        if self.position != 0 {
            return Err(crate::scsi::simulated::answer::check(SenseKey::IllegalRequest, 0x3b, 0x0c));
        }
        self.erase(call)
    }
}

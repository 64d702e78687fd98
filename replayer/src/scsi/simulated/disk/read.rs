//! READ, VERIFY, PRE-FETCH and SYNCHRONIZE CACHE.

use formats::scsi::{FieldName, LbaRange, Outcome, ScsiStatus};

use super::{BlockState, Disk};
use crate::scsi::simulated::answer::{Answer, broken, miscompare, unreadable};
use crate::scsi::simulated::call::Call;

impl Disk {
    /// The first block of a run that cannot be read.
    pub(super) fn first_unreadable(&self, run: LbaRange) -> Option<u64> {
        self.states.pieces(run).find(|(_, state)| *state == BlockState::Unreadable).map(|(piece, _)| piece.lba)
    }

    /// Ends a command that needs the content of a run when it cannot be read.
    pub(super) fn must_be_readable(&self, run: LbaRange) -> Answer {
        self.first_unreadable(run).map_or(Ok(()), |lba| Err(unreadable(lba)))
    }

    /// READ: what comes before an unreadable block is returned.
    pub(super) fn read(&mut self, call: &mut Call<'_>) -> Answer {
        let run = self.transfer(call)?;
        if call.flag(FieldName::Fua) {
            self.flush(run);
        }
        let bad = self.first_unreadable(run);
        let good = bad.map_or(run.blocks, |lba| lba - run.lba).min(self.budget.unwrap_or(u64::MAX));
        let range = self.bytes(LbaRange::new(run.lba, good));
        self.image.read(range.offset, call.room(range.len)).map_err(broken)?;
        bad.map_or(Ok(()), |lba| Err(unreadable(lba)))
    }

    /// VERIFY: by BYTCHK the medium alone, against as many blocks, or all against one. What is in the cache is brought to
    /// the medium first (SBC-4, "VERIFY (10)").
    pub(super) fn verify(&mut self, call: &mut Call<'_>) -> Answer {
        let how = call.get(FieldName::Bytchk);
        if how == 2 {
            return Err(call.refuse(FieldName::Bytchk));
        }
        let run = self.transfer(call)?;
        self.flush(run);
        self.must_be_readable(run)?;
        let expected = match how {
            0 => return Ok(()),
            3 if run.blocks > 0 => self.size(),
            _ => self.bytes(run).len,
        };
        self.compare(run, call.take(expected)?)
    }

    /// Ends a command with MISCOMPARE where the medium does not hold `expected`, again and again if that is less.
    pub(super) fn compare(&self, run: LbaRange, expected: &[u8]) -> Answer {
        let blocks = expected.chunks(self.shape.block_size as usize).cycle();
        for (lba, expected) in (run.lba..run.lba + run.blocks).zip(blocks) {
            let content = self.content(LbaRange::new(lba, 1))?;
            if let Some(at) = content.iter().zip(expected).position(|(one, other)| one != other) {
                return Err(miscompare((lba - run.lba) * self.size() + at as u64));
            }
        }
        Ok(())
    }

    /// PRE-FETCH: everything is always in the cache.
    pub(super) fn pre_fetch(&mut self, call: &mut Call<'_>) -> Answer {
        self.run(call)?;
        Err(Outcome::with_status(ScsiStatus::ConditionMet))
    }

    /// SYNCHRONIZE CACHE. With IMMED it ends before anything is durable, so nothing is.
    pub(super) fn synchronize(&mut self, call: &mut Call<'_>) -> Answer {
        let run = self.run(call)?;
        if !call.flag(FieldName::Immed) {
            self.flush(run);
        }
        Ok(())
    }

    /// SEEK: nothing to move, but the address counts.
    pub(super) fn seek(&mut self, call: &mut Call<'_>) -> Answer {
        self.check(LbaRange::new(call.get(FieldName::Lba), 1)).map(|_| ())
    }
}

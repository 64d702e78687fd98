//! WRITE SAME and UNMAP.

use formats::scsi::{FieldName, LbaRange, list};

use super::Disk;
use super::fill::Fill;
use crate::scsi::simulated::answer::{Answer, invalid_opcode, invalid_parameter, list_length_error};
use crate::scsi::simulated::call::Call;

impl Disk {
    /// WRITE SAME. Blocks are unmapped only where that reads back as what was to be written; otherwise they are written
    /// (SBC-4, "WRITE SAME (10)").
    pub(super) fn write_same(&mut self, call: &mut Call<'_>) -> Answer {
        call.must_be_zero(FieldName::Protect)?;
        self.check_same(call)?;
        let run = self.run(call)?;
        let limit = self.settings.limits.same;
        if limit > 0 && run.blocks > limit {
            return Err(call.refuse(FieldName::Length));
        }
        let zeros = vec![0; self.size() as usize];
        let block = if call.flag(FieldName::Ndob) { &zeros } else { call.take(self.size())? };
        let is_zero = block.iter().all(|byte| *byte == 0);
        let may_unmap = call.flag(FieldName::Unmap) && is_zero && self.thin().is_some_and(|thin| thin.reads_zeros);
        let fill = match (may_unmap, call.flag(FieldName::Anchor)) {
            (true, true) => Fill::Anchor,
            (true, false) => Fill::Deallocate,
            (false, _) => Fill::Repeat(block),
        };
        self.put(run, fill, false)
    }

    /// UNMAP needs a thin disk, ANCHOR needs UNMAP.
    fn check_same(&self, call: &Call<'_>) -> Answer {
        let (unmap, anchor) = (call.flag(FieldName::Unmap), call.flag(FieldName::Anchor));
        if unmap && self.thin().is_none() {
            return Err(call.refuse(FieldName::Unmap));
        }
        if anchor && !unmap { Err(call.refuse(FieldName::Anchor)) } else { Ok(()) }
    }

    /// UNMAP. Nothing is unmapped unless all of its list is well.
    pub(super) fn unmap(&mut self, call: &mut Call<'_>) -> Answer {
        if self.thin().is_none() {
            return Err(invalid_opcode());
        }
        let parameters = call.take_list()?;
        if !parameters.is_empty() && parameters.len() < 8 {
            return Err(list_length_error());
        }
        let runs = list::unmap_ranges(parameters).map_err(|_| list_length_error())?;
        self.check_unmap(&runs)?;
        let fill = if call.flag(FieldName::Anchor) { Fill::Anchor } else { Fill::Deallocate };
        runs.into_iter().try_for_each(|run| self.put(run, fill, false))
    }

    fn check_unmap(&self, runs: &[LbaRange]) -> Answer {
        let limits = self.settings.limits;
        let total: u64 = runs.iter().map(|run| run.blocks).sum();
        if runs.len() as u64 > u64::from(limits.unmap_descriptors) {
            return Err(invalid_parameter(2, None));
        }
        if total > u64::from(limits.unmap) {
            return Err(invalid_parameter(16, None));
        }
        runs.iter().try_for_each(|run| self.check(*run).map(|_| ()))
    }
}

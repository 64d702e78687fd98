//! GET LBA STATUS.

use formats::scsi::{FieldName, LbaRange};

use super::{BlockState, Disk};
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// Bytes of the header and of one descriptor (SBC-4, "GET LBA STATUS (16)").
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;
/// Most descriptors in one answer.
const MOST: usize = 4096;

impl BlockState {
    /// PROVISIONING STATUS.
    const fn provisioning(self) -> u8 {
        match self {
            Self::Mapped | Self::Unreadable => 0,
            Self::Deallocated => 1,
            Self::Anchored => 2,
        }
    }
}

impl Disk {
    /// GET LBA STATUS: runs of equal provisioning, as many as there is room for, at least one.
    pub(super) fn lba_status(&mut self, call: &mut Call<'_>) -> Answer {
        let lba = call.get(FieldName::Lba);
        self.check(LbaRange::new(lba, 1))?;
        if call.get(FieldName::ReportType) != 0 {
            return Err(call.refuse(FieldName::ReportType));
        }
        let room = call.get(FieldName::Length) as usize;
        let most = (room.saturating_sub(HEADER) / DESCRIPTOR).clamp(1, MOST);
        let statuses = self.statuses(lba, most);
        let mut reply = ((statuses.len() * DESCRIPTOR + HEADER - 4) as u32).to_be_bytes().to_vec();
        reply.extend_from_slice(&[0; HEADER - 4]);
        for (run, status) in statuses {
            reply.extend_from_slice(&run.lba.to_be_bytes());
            reply.extend_from_slice(&(run.blocks as u32).to_be_bytes());
            reply.extend_from_slice(&[status, 0, 0, 0]);
        }
        call.reply(&reply);
        Ok(())
    }

    /// The first `most` runs from `lba` on; a run too long for its 32 bits is told in parts.
    fn statuses(&self, lba: u64, most: usize) -> Vec<(LbaRange, u8)> {
        let mut statuses: Vec<(LbaRange, u8)> = Vec::new();
        for (piece, state) in self.states.pieces(LbaRange::new(lba, self.shape.blocks - lba)) {
            let status = state.provisioning();
            let full = statuses.len() == most;
            match statuses.last_mut() {
                Some((run, same)) if *same == status => run.blocks += piece.blocks,
                _ if full => break,
                _ => statuses.push((piece, status)),
            }
        }
        let cut = statuses.iter().position(|(run, _)| run.blocks > u64::from(u32::MAX));
        if let Some(cut) = cut {
            statuses.truncate(cut + 1);
            statuses[cut].0.blocks = u64::from(u32::MAX);
        }
        statuses
    }
}

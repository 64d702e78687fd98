//! READ CAPACITY.

use super::Disk;
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// READ CAPACITY(10): a capacity that does not fit is told as all ones.
pub(in crate::scsi::simulated) fn read_capacity_10(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    let last = u32::try_from(disk.last_told()).unwrap_or(u32::MAX);
    let mut reply = last.to_be_bytes().to_vec();
    reply.extend_from_slice(&disk.shape.block_size.to_be_bytes());
    call.give(&reply, 8);
    Ok(())
}

/// READ CAPACITY(16), with LBPME and LBPRZ.
pub(in crate::scsi::simulated) fn read_capacity_16(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    let mut reply = [0; 32];
    reply[..8].copy_from_slice(&disk.last_told().to_be_bytes());
    reply[8..12].copy_from_slice(&disk.shape.block_size.to_be_bytes());
    reply[13] = disk.settings.physical_exponent & 0x0f;
    reply[14] = disk.thin().map_or(0, |thin| if thin.reads_zeros { 0xc0 } else { 0x80 });
    call.reply(&reply);
    Ok(())
}

impl Disk {
    /// The last block, or what is to be taken for it.
    fn last_told(&self) -> u64 {
        self.claimed.unwrap_or(self.shape.blocks).saturating_sub(1)
    }
}

//! WRITE LONG, READ LONG and REASSIGN BLOCKS: single blocks with their error correction bytes.

use formats::scsi::{FieldName, LbaRange, SenseKey, list};

use super::fill::Fill;
use super::{BlockState, Disk};
use crate::scsi::simulated::answer::{Answer, incorrect_length, invalid_parameter, list_length_error};
use crate::scsi::simulated::call::Call;

/// Bytes of error correction behind the data of a block. They hold nothing.
const ECC: u64 = 8;

/// WRITE LONG: with WR_UNCOR the block, or with PBLOCK its physical block, becomes unreadable until it is written again
/// and no data is moved; without it the block becomes the data, and with COR_DIS unreadable at once.
pub(in crate::scsi::simulated) fn write_long(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    let run = disk.long_run(call)?;
    if call.flag(FieldName::WrUncor) {
        return disk.put(run, Fill::Mark, true);
    }
    call.must_be_zero(FieldName::Pblock)?;
    disk.check_length(call)?;
    let data = call.take(disk.size() + ECC)?;
    disk.put(run, Fill::Data(&data[..disk.size() as usize]), true)?;
    if call.flag(FieldName::CorDis) { disk.put(run, Fill::Mark, true) } else { Ok(()) }
}

/// READ LONG: the block whatever its state, followed by its error correction bytes. CORRCT asks for correction, which an
/// unreadable block does not survive.
pub(in crate::scsi::simulated) fn read_long(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::Pblock)?;
    let run = disk.long_run(call)?;
    disk.check_length(call)?;
    if call.flag(FieldName::Corrct) {
        disk.must_be_readable(run)?;
    }
    let mut bytes = disk.content(run)?;
    bytes.resize((disk.size() + ECC) as usize, 0);
    call.reply(&bytes);
    Ok(())
}

/// REASSIGN BLOCKS: each block gets another place; what could be read is kept, what could not is zero.
pub(in crate::scsi::simulated) fn reassign(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    let (long_lba, long_list) = (call.flag(FieldName::LongLba), call.flag(FieldName::LongList));
    let data = call.peek();
    let blocks = list::defect_blocks(data, long_lba, long_list).map_err(|_| list_length_error())?;
    call.take((4 + blocks.len() * if long_lba { 8 } else { 4 }) as u64)?;
    let runs: Vec<_> = blocks.into_iter().map(|lba| disk.check(LbaRange::new(lba, 1))).collect::<Result<_, _>>()?;
    if runs.is_empty() && data.len() > 4 {
        return Err(invalid_parameter(0, None));
    }
    let zeros = vec![0; disk.size() as usize];
    let bad = runs.into_iter().filter(|run| disk.state(run.lba) == BlockState::Unreadable).collect::<Vec<_>>();
    bad.into_iter().try_for_each(|run| disk.put(run, Fill::Repeat(&zeros), true))
}

impl Disk {
    /// The block, or with PBLOCK the physical block around it as far as it lies on the medium.
    fn long_run(&self, call: &Call<'_>) -> Answer<LbaRange> {
        let lba = call.get(FieldName::Lba);
        self.check(LbaRange::new(lba, 1))?;
        let per = if call.flag(FieldName::Pblock) { u64::from(self.shape.per_physical) } else { 1 };
        let first = lba - lba % per;
        Ok(LbaRange::new(first, per.min(self.shape.blocks - first)))
    }

    /// The length must be that of a block with its error correction bytes; otherwise the answer says by how much not.
    fn check_length(&self, call: &Call<'_>) -> Answer {
        let (asked, is) = (call.get(FieldName::Length), self.size() + ECC);
        let difference = asked as i64 - is as i64;
        if difference == 0 { Ok(()) } else { Err(incorrect_length(SenseKey::IllegalRequest, 0x24, difference)) }
    }
}

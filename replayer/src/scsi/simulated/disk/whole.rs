//! FORMAT UNIT and SANITIZE: the whole medium at once. How long it takes is the unit's matter.

use formats::scsi::FieldName;

use super::Disk;
use super::fill::Fill;
use crate::scsi::simulated::answer::{Answer, invalid_field, invalid_parameter, list_length_error};
use crate::scsi::simulated::call::Call;

/// Service actions of SANITIZE (SBC-4, "SANITIZE command").
const OVERWRITE: u16 = 1;

/// FORMAT UNIT: everything becomes zero, on a thin disk without space. Says whether it goes on in the background.
///
/// Neither protection information nor defect lists nor initialization patterns of its parameter list are supported.
pub(in crate::scsi::simulated) fn format_unit(disk: &mut Disk, call: &mut Call<'_>) -> Answer<bool> {
    call.must_be_zero(FieldName::Fmtpinfo)?;
    let mut immediate = false;
    if call.flag(FieldName::Fmtdata) {
        let header = call.take(if call.flag(FieldName::LongList) { 8 } else { 4 })?;
        let flags = header.get(1).copied().unwrap_or(0);
        if flags & 0x08 != 0 {
            return Err(invalid_parameter(1, Some(3)));
        }
        immediate = flags & 0x02 != 0;
    }
    disk.clear()?;
    Ok(immediate)
}

/// SANITIZE of the service action: OVERWRITE leaves its pattern, BLOCK ERASE and CRYPTOGRAPHIC ERASE leave zeros and on a
/// thin disk no space.
pub(in crate::scsi::simulated) fn sanitize(disk: &mut Disk, call: &mut Call<'_>) -> Answer {
    if call.row().and_then(|row| row.service) == Some(OVERWRITE) {
        let block = disk.pattern(call)?;
        let all = disk.all();
        return disk.put(all, Fill::Repeat(&block), true);
    }
    call.must_be_zero(FieldName::Length)?;
    disk.clear()
}

impl Disk {
    fn clear(&mut self) -> Answer {
        let zeros = vec![0; self.size() as usize];
        let fill = if self.thin().is_some() { Fill::Deallocate } else { Fill::Repeat(&zeros) };
        self.put(self.all(), fill, true)?;
        self.image.zero(self.bytes(self.all())).map_err(crate::scsi::simulated::answer::broken)
    }

    /// The block that an overwrite leaves: its pattern repeated, inverted by each pass but the first where asked.
    fn pattern(&self, call: &mut Call<'_>) -> Answer<Vec<u8>> {
        let length = call.get(FieldName::Length);
        if length < 5 || length > self.size() + 4 {
            return Err(invalid_field(7, Some(7)));
        }
        let parameters = call.take_list()?;
        let (Some(&[how, _, high, low]), Some(rest)) = (parameters.first_chunk(), parameters.get(4..)) else {
            return Err(list_length_error());
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let passes = how & 0x1f;
        if passes == 0 {
            return Err(invalid_parameter(0, Some(4)));
        }
        let pattern = rest.get(..len).filter(|pattern| !pattern.is_empty()).ok_or(invalid_parameter(2, None))?;
        let inverted = how & 0x80 != 0 && passes % 2 == 0;
        let flip = if inverted { 0xff } else { 0 };
        Ok(pattern.iter().map(|byte| byte ^ flip).cycle().take(self.size() as usize).collect())
    }
}

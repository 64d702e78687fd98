//! READ POSITION and READ BLOCK LIMITS.

use formats::scsi::FieldName;

use super::{Object, Tape};
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;

/// Forms of READ POSITION: short by block number, vendor specific (here the same), long.
const SHORT: [u64; 2] = [0, 1];
const LONG: u64 = 6;
/// Beginning and end of partition; the numbers of buffered blocks and bytes are not known.
const BOP: u8 = 0x80;
const EOP: u8 = 0x40;
const UNKNOWN: u8 = 0x30;

impl Tape {
    /// READ POSITION in its short and its long form.
    pub(super) fn read_position(&mut self, call: &mut Call<'_>) -> Answer {
        let form = call.get(FieldName::Mode);
        let near_end = self.used() + self.settings.early_warning > self.settings.capacity;
        let flags = if self.position == 0 { BOP } else { 0 } | if near_end { EOP } else { 0 };
        if SHORT.contains(&form) {
            call.give(&self.short(flags), 20);
        } else if form == LONG {
            call.give(&self.long(flags), 32);
        } else {
            return Err(call.refuse(FieldName::Mode));
        }
        Ok(())
    }

    fn short(&self, flags: u8) -> [u8; 20] {
        let at = u32::try_from(self.position).unwrap_or(u32::MAX).to_be_bytes();
        let mut reply = [0; 20];
        reply[0] = flags | UNKNOWN;
        reply[4..8].copy_from_slice(&at);
        reply[8..12].copy_from_slice(&at);
        reply
    }

    fn long(&self, flags: u8) -> [u8; 32] {
        let before = self.objects.get(..self.position).unwrap_or_default();
        let files = before.iter().filter(|object| **object == Object::Filemark).count() as u64;
        let mut reply = [0; 32];
        reply[0] = flags;
        reply[8..16].copy_from_slice(&(self.position as u64).to_be_bytes());
        reply[16..24].copy_from_slice(&files.to_be_bytes());
        reply
    }

    /// READ BLOCK LIMITS: any length up to the longest.
    pub(super) fn block_limits(&mut self, call: &mut Call<'_>) -> Answer {
        let [_, high, middle, low] = self.settings.longest.to_be_bytes();
        call.give(&[0, high, middle, low, 0, 1], 6);
        Ok(())
    }

    /// ALLOW OVERWRITE: it is always allowed.
    pub(super) fn allow_overwrite(&mut self, _: &mut Call<'_>) -> Answer {
        Ok(())
    }
}

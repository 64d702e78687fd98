//! MODE SENSE.

use formats::scsi::{FieldName, SenseKey};

use super::{ALL, Modes, Page};
use crate::scsi::simulated::answer::{Answer, check};
use crate::scsi::simulated::call::Call;
use crate::scsi::simulated::unit::Unit;

/// The page can be saved, in its first byte.
const PS: u8 = 0x80;
/// MODE SENSE(6) has CDBs of six bytes.
const SHORT: usize = 6;

/// MODE SENSE(6) and MODE SENSE(10).
pub(in crate::scsi::simulated) fn mode_sense(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let pages = unit.modes.select_pages(call)?;
    let long_lba = call.flag(FieldName::Llbaa);
    let descriptor = if call.flag(FieldName::Dbd) { vec![] } else { unit.block_descriptor(long_lba) };
    let specific = unit.modes.device_specific();
    let length = descriptor.len() as u8;
    let body = descriptor.len() + pages.len();
    let mut reply = if call.command.cdb.len() == SHORT {
        vec![(body + 3).min(255) as u8, 0, specific, length]
    } else {
        let [high, low] = ((body + 6) as u16).to_be_bytes();
        vec![high, low, 0, specific, u8::from(long_lba && length > 0), 0, 0, length]
    };
    reply.extend_from_slice(&descriptor);
    reply.extend_from_slice(&pages);
    call.reply(&reply);
    Ok(())
}

impl Modes {
    /// The bytes of the pages that a MODE SENSE asks for, in the version that it asks for.
    fn select_pages(&self, call: &Call<'_>) -> Answer<Vec<u8>> {
        let (code, subpage) = (call.get(FieldName::Page) as u8, call.get(FieldName::Subpage));
        let version: fn(&Page) -> &Vec<u8> = match call.get(FieldName::PageControl) {
            0 => |page| &page.current,
            1 => |page| &page.changeable,
            2 => |page| &page.default,
            3 if self.tape => return Err(check(SenseKey::IllegalRequest, 0x39, 0)),
            _ => |page| &page.saved,
        };
        if subpage != 0 && subpage != 0xff {
            return Err(call.refuse(FieldName::Subpage));
        }
        // A tape's page 0 alone: the header and the descriptor (SSC-5).
        let wanted = self.pages.iter().filter(|page| code == ALL || page.code() == code);
        let mut bytes = Vec::new();
        for page in wanted {
            let start = bytes.len();
            bytes.extend_from_slice(version(page));
            bytes[start] |= if self.tape { 0 } else { PS };
        }
        if bytes.is_empty() && code != 0 { Err(call.refuse(FieldName::Page)) } else { Ok(bytes) }
    }
}

impl Unit {
    /// The block descriptor: short, or for a disk with LLBAA long.
    fn block_descriptor(&self, long: bool) -> Vec<u8> {
        let Some(disk) = self.medium.disk_ref() else {
            let [_, length @ ..] = self.modes.block_length.to_be_bytes();
            return [&[0x58, 0, 0, 0, 0][..], &length[..]].concat();
        };
        let (blocks, size) = (disk.shape.blocks, disk.shape.block_size.to_be_bytes());
        if long {
            return [&blocks.to_be_bytes()[..], &[0; 4][..], &size[..]].concat();
        }
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes();
        [&blocks[..], &[0][..], &size[1..]].concat()
    }
}

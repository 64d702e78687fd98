//! MODE SELECT.

use formats::scsi::FieldName;

use super::Modes;
use crate::scsi::simulated::answer::{Answer, invalid_parameter, list_length_error};
use crate::scsi::simulated::attention::MODE_CHANGED;
use crate::scsi::simulated::call::Call;
use crate::scsi::simulated::unit::Unit;

/// Where things are in a parameter list.
struct List<'a> {
    bytes: &'a [u8],
    /// Bytes of the header.
    header: usize,
    /// Bytes of the block descriptors behind it.
    descriptors: usize,
    long_lba: bool,
}

impl<'a> List<'a> {
    fn new(bytes: &'a [u8], short: bool) -> Answer<Self> {
        let header = if short { 4 } else { 8 };
        let head = bytes.get(..header).ok_or_else(list_length_error)?;
        let descriptors =
            if short { usize::from(head[3]) } else { usize::from(u16::from_be_bytes([head[6], head[7]])) };
        let long_lba = !short && head[4] & 1 != 0;
        let list = Self { bytes, header, descriptors, long_lba };
        let expected = if long_lba { 16 } else { 8 };
        if descriptors != 0 && descriptors != expected {
            return Err(invalid_parameter(header - 1, None));
        }
        bytes.get(header + descriptors..).map(|_| list).ok_or_else(list_length_error)
    }

    /// The device specific byte of the header.
    fn specific(&self) -> u8 {
        self.bytes.get(if self.header == 4 { 2 } else { 3 }).copied().unwrap_or(0)
    }

    /// Block length, and where it is in the list.
    fn block_length(&self) -> Option<(u32, usize)> {
        let at = match (self.descriptors, self.long_lba) {
            (0, _) => return None,
            (_, true) => self.header + 12,
            (_, false) => self.header + 4,
        };
        let bytes: &[u8; 4] = self.bytes.get(at..)?.first_chunk()?;
        let length = u32::from_be_bytes(*bytes);
        Some((if self.long_lba { length } else { length & 0x00ff_ffff }, at))
    }

    /// Each page with its place in the list.
    fn pages(&self) -> Answer<Vec<(usize, &'a [u8])>> {
        let (mut at, mut pages) = (self.header + self.descriptors, Vec::new());
        while let Some(&[_, length, ..]) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let end = at + 2 + usize::from(length);
            pages.push((at, self.bytes.get(at..end).ok_or_else(list_length_error)?));
            at = end;
        }
        if at == self.bytes.len() { Ok(pages) } else { Err(list_length_error()) }
    }
}

/// MODE SELECT(6) and MODE SELECT(10). Nothing is changed unless all of the list is well; what is changed is told to the
/// other initiators. Switching the write cache off flushes it.
pub(in crate::scsi::simulated) fn mode_select(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let length = call.get(FieldName::Length);
    if !call.flag(FieldName::PageFormat) && length > 0 && !unit.settings.is_tape() {
        return Err(call.refuse(FieldName::PageFormat));
    }
    let bytes = call.take_list()?;
    if bytes.is_empty() {
        return Ok(());
    }
    let list = List::new(bytes, call.command.cdb.len() == 6)?;
    let mut modes = unit.modes.clone();
    if let Some((block_length, at)) = list.block_length() {
        unit.select_block_length(&mut modes, block_length, at)?;
    }
    modes.select_header(&list);
    for (at, page) in list.pages()? {
        modes.select_page(page, at, call.flag(FieldName::Save))?;
    }
    unit.change_modes(modes, call.nexus);
    Ok(())
}

impl Modes {
    /// BUFFERED MODE of a tape; a disk's header says nothing.
    fn select_header(&mut self, list: &List<'_>) {
        if self.tape {
            self.buffered = list.specific() & 0x70 != 0;
        }
    }

    fn select_page(&mut self, new: &[u8], at: usize, save: bool) -> Answer {
        let code = new.first().copied().unwrap_or(0);
        if code & 0x80 != 0 {
            return Err(invalid_parameter(at, Some(7)));
        }
        let page = self.pages.iter_mut().find(|page| page.code() == code).ok_or(invalid_parameter(at, Some(5)))?;
        if new.len() != page.current.len() {
            return Err(invalid_parameter(at + 1, None));
        }
        if let Some(byte) = page.refused(new) {
            return Err(invalid_parameter(at + byte, None));
        }
        page.current[2..].copy_from_slice(&new[2..]);
        if save {
            page.saved.clone_from(&page.current);
        }
        Ok(())
    }
}

impl Unit {
    /// A tape takes any length up to its longest; a disk only the one it has.
    fn select_block_length(&self, modes: &mut Modes, length: u32, at: usize) -> Answer {
        let fits = match self.medium.disk_ref() {
            Some(disk) => length == disk.shape.block_size,
            None => length <= self.settings.tape.longest,
        };
        modes.block_length = length;
        if fits { Ok(()) } else { Err(invalid_parameter(at + 1, None)) }
    }

    fn change_modes(&mut self, modes: Modes, nexus: usize) {
        if modes == self.modes {
            return;
        }
        self.modes = modes;
        self.apply_modes();
        self.attend_others(nexus, MODE_CHANGED);
    }
}

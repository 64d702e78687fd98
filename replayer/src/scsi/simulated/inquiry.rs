//! INQUIRY: standard data and vital product data pages, and REPORT LUNS.

use formats::scsi::FieldName;

use super::answer::Answer;
use super::call::Call;
use super::settings::{Settings, Thin};
use super::unit::Unit;

/// SPC-5.
const VERSION: u8 = 0x07;
/// Version descriptors: SAM-5, SPC-5, SBC-4 or SSC-5.
const DISK_STANDARDS: [u16; 3] = [0x00a0, 0x05c0, 0x0600];
const TAPE_STANDARDS: [u16; 3] = [0x00a0, 0x05c0, 0x0480];

/// INQUIRY.
pub(super) fn inquiry(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let (evpd, page) = (call.flag(FieldName::Evpd), call.get(FieldName::Page) as u8);
    if !evpd {
        call.must_be_zero(FieldName::Page)?;
        call.reply(&unit.settings.standard());
        return Ok(());
    }
    let body = unit.settings.page(page).ok_or_else(|| call.refuse(FieldName::Page))?;
    let [high, low] = (body.len() as u16).to_be_bytes();
    let mut reply = vec![unit.settings.device_type().to_byte(), page, high, low];
    reply.extend_from_slice(&body);
    call.reply(&reply);
    Ok(())
}

/// REPORT LUNS: there is one, number 0.
pub(super) fn report_luns(_: &mut Unit, call: &mut Call<'_>) -> Answer {
    let select = call.get(FieldName::SelectReport);
    if select > 2 {
        return Err(call.refuse(FieldName::SelectReport));
    }
    if call.get(FieldName::Length) < 16 {
        return Err(call.refuse(FieldName::Length));
    }
    let mut reply = [0; 16];
    reply[3] = 8;
    let well_known_only = select == 1;
    call.reply(if well_known_only { &[0; 8] } else { &reply });
    Ok(())
}

/// Text in its field, filled up with blanks.
fn padded(text: &str, width: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().filter(|byte| (0x20..0x7f).contains(byte)).take(width).collect();
    bytes.resize(width, b' ');
    bytes
}

impl Settings {
    /// Standard INQUIRY data, 96 bytes.
    fn standard(&self) -> Vec<u8> {
        let removable = if self.is_tape() { 0x80 } else { 0 };
        let mut data = vec![self.device_type().to_byte(), removable, VERSION, 0x12, 91, 0, 0, 0x02];
        data.extend(padded(&self.identity.vendor, 8));
        data.extend(padded(&self.identity.product, 16));
        data.extend(padded(&self.identity.revision, 4));
        data.resize(58, 0);
        let standards = if self.is_tape() { TAPE_STANDARDS } else { DISK_STANDARDS };
        data.extend(standards.into_iter().flat_map(u16::to_be_bytes));
        data.resize(96, 0);
        data
    }

    /// What follows the header of a vital product data page.
    fn page(&self, page: u8) -> Option<Vec<u8>> {
        Some(match (page, self.is_tape()) {
            (0x00, true) => vec![0x00, 0x80, 0x83, 0xb0],
            (0x00, false) => vec![0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2],
            (0x80, _) => self.identity.serial.bytes().take(252).collect(),
            (0x83, _) => self.designators(),
            // Sequential-access device capabilities: not write-once.
            (0xb0, true) => vec![0, 0],
            (0xb0, false) => self.block_limits(),
            (0xb1, false) => characteristics(),
            (0xb2, false) => self.thin().map_or(vec![0; 4], provisioning),
            _ => return None,
        })
    }

    /// Device identification: NAA, and the T10 vendor's.
    fn designators(&self) -> Vec<u8> {
        let mut data = vec![0x01, 0x03, 0, 8];
        data.extend_from_slice(&self.identity.naa.to_be_bytes());
        let mut t10 = padded(&self.identity.vendor, 8);
        t10.extend(padded(&self.identity.product, 16));
        t10.extend(self.identity.serial.bytes().take(64));
        data.extend_from_slice(&[0x02, 0x01, 0, t10.len() as u8]);
        data.extend_from_slice(&t10);
        data
    }

    /// Block limits (SBC-4, page B0h), from byte 4 on.
    fn block_limits(&self) -> Vec<u8> {
        let (limits, thin) = (self.limits, self.thin().is_some());
        let if_thin = |value: u32| if thin { value } else { 0 };
        let granularity = 1u16.checked_shl(u32::from(self.physical_exponent)).unwrap_or(0);
        let mut data = vec![0, limits.compare];
        data.extend_from_slice(&granularity.to_be_bytes());
        let mut word = |value: u32| data.extend_from_slice(&value.to_be_bytes());
        // MAXIMUM and OPTIMAL TRANSFER LENGTH, MAXIMUM PREFETCH LENGTH.
        [limits.transfer, 0, 0].into_iter().for_each(&mut word);
        word(if_thin(limits.unmap));
        word(if_thin(limits.unmap_descriptors));
        [if_thin(1), 0].into_iter().for_each(&mut word);
        data.extend_from_slice(&limits.same.to_be_bytes());
        data.extend_from_slice(&limits.atomic.to_be_bytes());
        data.resize(60, 0);
        data
    }
}

/// Block device characteristics: no rotation.
fn characteristics() -> Vec<u8> {
    let mut data = vec![0; 60];
    data[1] = 1;
    data
}

/// Logical block provisioning: UNMAP and both forms of WRITE SAME unmap, blocks can be anchored.
fn provisioning(thin: Thin) -> Vec<u8> {
    let lbprz = if thin.reads_zeros { 0x04 } else { 0 };
    vec![0, 0xe2 | lbprz, 2, 0]
}

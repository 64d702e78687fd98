//! LOG SENSE: the few pages that tools ask for.

use formats::scsi::FieldName;

use super::answer::Answer;
use super::call::Call;
use super::unit::Unit;

/// Page codes.
const SUPPORTED: u8 = 0x00;
const PROVISIONING: u8 = 0x0c;
const TEMPERATURE: u8 = 0x0d;
const EXCEPTIONS: u8 = 0x2f;

/// LOG SENSE.
pub(super) fn log_sense(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::Save)?;
    call.must_be_zero(FieldName::Subpage)?;
    let page = call.get(FieldName::Page) as u8;
    let body = unit.log_page(page).ok_or_else(|| call.refuse(FieldName::Page))?;
    let [high, low] = (body.len() as u16).to_be_bytes();
    let mut reply = vec![page, 0, high, low];
    reply.extend_from_slice(&body);
    call.reply(&reply);
    Ok(())
}

/// A parameter in binary format.
fn parameter(code: u16, value: &[u8]) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    [&[high, low, 0x03, value.len() as u8][..], value].concat()
}

impl Unit {
    fn log_page(&self, page: u8) -> Option<Vec<u8>> {
        let thin = self.settings.thin();
        Some(match page {
            SUPPORTED if thin.is_some() => vec![SUPPORTED, PROVISIONING, TEMPERATURE, EXCEPTIONS],
            SUPPORTED => vec![SUPPORTED, TEMPERATURE, EXCEPTIONS],
            PROVISIONING => self.resources(thin?.limit),
            TEMPERATURE => [parameter(0, &[0, 38]), parameter(1, &[0, 65])].concat(),
            EXCEPTIONS => parameter(0, &[0, 0, 38, 0]),
            _ => return None,
        })
    }

    /// Available and used space in blocks (SBC-4, "Logical Block Provisioning log page").
    fn resources(&self, limit: Option<u64>) -> Vec<u8> {
        let disk = self.medium.disk_ref();
        let (used, blocks) = disk.map_or((0, 0), |disk| (disk.used(), disk.shape.blocks));
        let free = limit.unwrap_or(blocks).saturating_sub(used);
        let counts = [(1, free), (2, used)].map(|(code, count)| {
            let [a, b, c, d] = u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
            parameter(code, &[a, b, c, d, 1, 0, 0, 0])
        });
        counts.concat()
    }
}

//! What tools are told of a device's kind. They take it from INQUIRY data, which a capture of changes does not have.

use formats::scsi::build;

use crate::meta::Device;

/// Bytes of standard INQUIRY data (SPC-6 6.6.2) up to where what vendors add begins.
const LENGTH: u8 = 96;
/// Peripheral device types whose commands are those of a disk, which is what tools assume: block, reduced block, zoned.
const DISKS: [u8; 3] = [0x00, 0x0e, 0x14];

/// An INQUIRY, and what the device would have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inquiry {
    pub lun: u64,
    pub cdb: Vec<u8>,
    pub data: Vec<u8>,
}

/// For a SCSI device that is no disk.
pub(crate) fn inquiry(device: &Device) -> Option<Inquiry> {
    let device_type = device.device_type.filter(|device_type| !DISKS.contains(device_type))?;
    let lun = device.address.as_deref().and_then(|address| address.rsplit(':').next()?.parse().ok())?;
    let cdb = build::inquiry(None, LENGTH.into()).as_bytes().to_vec();
    // Removable medium, no version claimed, response format 2, additional length.
    let mut data = vec![device_type, 0x80, 0, 2, LENGTH - 5, 0, 0, 0];
    let model = device.model.as_deref().unwrap_or_default();
    let (vendor, product) = model.split_once(' ').unwrap_or(("", model));
    data.extend(field(vendor).take(8));
    data.extend(field(product.trim_start()).take(16));
    data.extend(field("").take(4));
    data.resize(LENGTH.into(), 0);
    Some(Inquiry { lun, cdb, data })
}

/// Text as INQUIRY data have it: ASCII, then spaces without end.
fn field(text: &str) -> impl Iterator<Item = u8> {
    let shown = text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter as u8 } else { b'?' });
    shown.chain(std::iter::repeat(b' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::scsi::identity;

    fn device(device_type: Option<u8>) -> Device {
        Device {
            device_type,
            address: Some("3:0:1:257".into()),
            model: Some("VENDOR A tape drive".into()),
            ..Device::default()
        }
    }

    #[test]
    fn a_tape_says_that_it_is_one() {
        let inquiry = inquiry(&device(Some(1))).expect("no disk");
        assert_eq!((inquiry.lun, inquiry.data.len(), &inquiry.cdb[..]), (257, 96, &[0x12, 0, 0, 0, 96, 0][..]));
        let said = identity::parse::inquiry(&inquiry.data);
        assert_eq!((said.device_type, said.vendor.as_str(), said.product.as_str()), (1, "VENDOR", "A tape drive"));
    }

    #[test]
    fn a_disk_need_not() {
        let types = [None, Some(0), Some(0x14)];
        assert!(types.into_iter().all(|device_type| inquiry(&device(device_type)).is_none()));
    }
}

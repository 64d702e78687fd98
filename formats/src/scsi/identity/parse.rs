//! From the bytes of a device to its identity. Lengths that a device gives are believed as far as there are bytes.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    Capacity, Characteristics, Control, Designator, Identity, Limits, Provisioning, Reservation, Reservations,
};

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([byte(bytes, at), byte(bytes, at + 1)])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

const fn bit(byte: u8, bit: u8) -> bool {
    byte >> bit & 1 == 1
}

/// Printable text, without the blanks around it.
fn text(bytes: &[u8]) -> String {
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { ' ' };
    bytes.iter().map(printable).collect::<String>().trim().to_owned()
}

fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let end = at.saturating_add(len).min(bytes.len());
    bytes.get(at..end).unwrap_or_default()
}

/// Standard INQUIRY data.
#[must_use]
pub fn inquiry(data: &[u8]) -> Identity {
    Identity {
        device_type: byte(data, 0) & 0x1f,
        removable: bit(byte(data, 1), 7),
        version: byte(data, 2),
        vendor: text(part(data, 8, 8)),
        product: text(part(data, 16, 16)),
        revision: text(part(data, 32, 4)),
        ..Identity::default()
    }
}

/// Whether a logical unit is there at all: PERIPHERAL QUALIFIER 000b and a type that is one.
#[must_use]
pub fn is_present(data: &[u8]) -> bool {
    byte(data, 0) >> 5 == 0 && byte(data, 0) & 0x1f != 0x1f
}

/// What a VPD page holds behind its header; none when it is another page.
#[must_use]
pub fn page(code: u8, data: &[u8]) -> Option<&[u8]> {
    (byte(data, 1) == code && data.len() >= 4).then(|| part(data, 4, usize::from(be16(data, 2))))
}

/// VPD page 80h.
#[must_use]
pub fn serial(page: &[u8]) -> Option<String> {
    let serial = text(page);
    (!serial.is_empty()).then_some(serial)
}

/// The descriptors of page 83h that name the logical unit.
#[must_use]
pub fn designators(mut page: &[u8]) -> Vec<Designator> {
    let mut found = Vec::new();
    while page.len() >= 4 {
        let (len, value) = (usize::from(byte(page, 3)), part(page, 4, usize::from(byte(page, 3))));
        if byte(page, 1) >> 4 & 3 == 0 && !value.is_empty() {
            found.push(designator(byte(page, 0) & 0xf, byte(page, 1) & 0xf, value));
        }
        page = page.get(4 + len..).unwrap_or_default();
    }
    found
}

fn designator(code_set: u8, kind: u8, value: &[u8]) -> Designator {
    let hex = || value.iter().map(|byte| format!("{byte:02x}")).collect();
    Designator { kind, value: if matches!(code_set, 2 | 3) { text(value) } else { hex() } }
}

/// VPD page B0h (SBC-4).
#[must_use]
pub fn limits(page: &[u8]) -> Limits {
    let alignment = be32(page, 28);
    Limits {
        write_same_non_zero: bit(byte(page, 0), 0),
        compare_and_write: byte(page, 1),
        transfer: be32(page, 4),
        optimal_transfer: be32(page, 8),
        unmap_blocks: be32(page, 16),
        unmap_descriptors: be32(page, 20),
        unmap_granularity: be32(page, 24),
        // UGAVALID is the highest bit.
        unmap_alignment: if alignment >> 31 == 1 { alignment & 0x7fff_ffff } else { 0 },
        write_same: be64(page, 32),
    }
}

/// VPD page B1h (SBC-4).
#[must_use]
pub fn characteristics(page: &[u8]) -> Characteristics {
    Characteristics { rotation: be16(page, 0), zoned: byte(page, 4) >> 4 & 3 }
}

/// VPD page B2h (SBC-4).
#[must_use]
pub fn provisioning(page: &[u8]) -> Provisioning {
    let flags = byte(page, 1);
    Provisioning {
        unmap: bit(flags, 7),
        write_same_16: bit(flags, 6),
        write_same_10: bit(flags, 5),
        // Three bits since SBC-4: xx1b is zeros.
        reads_zeros: bit(flags, 2),
        anchor: bit(flags, 1),
        kind: byte(page, 2) & 7,
    }
}

/// READ CAPACITY(10): none when its fields are too narrow for the device.
#[must_use]
pub fn capacity_10(data: &[u8]) -> Option<Capacity> {
    let last = be32(data, 0);
    (data.len() >= 8 && last != u32::MAX).then(|| Capacity {
        blocks: u64::from(last) + 1,
        block_size: be32(data, 4),
        physical_exponent: 0,
        protection: 0,
        thin: false,
        reads_zeros: false,
    })
}

/// READ CAPACITY(16).
#[must_use]
pub fn capacity_16(data: &[u8]) -> Option<Capacity> {
    let protection = byte(data, 12);
    (data.len() >= 12).then(|| Capacity {
        blocks: be64(data, 0).saturating_add(1),
        block_size: be32(data, 8),
        physical_exponent: byte(data, 13) & 0xf,
        protection: if bit(protection, 0) { (protection >> 1 & 7) + 1 } else { 0 },
        thin: bit(byte(data, 14), 7),
        reads_zeros: bit(byte(data, 14), 6),
    })
}

/// The header's device-specific parameter and the page in the data of MODE SENSE(6) or (10).
#[must_use]
pub fn mode_page(ten: bool, code: u8, data: &[u8]) -> Option<(u8, &[u8])> {
    let (header, descriptors, parameter) = match ten {
        false => (4, usize::from(byte(data, 3)), byte(data, 2)),
        true => (8, usize::from(be16(data, 6)), byte(data, 3)),
    };
    let page = data.get(header + descriptors..).filter(|page| page.len() >= 2 && byte(page, 0) & 0x3f == code)?;
    Some((parameter, part(page, 0, 2 + usize::from(byte(page, 1)))))
}

/// WCE of the Caching mode page (SBC-4).
#[must_use]
pub fn write_cache(page: &[u8]) -> bool {
    bit(byte(page, 2), 2)
}

/// The Control mode page (SPC-5).
#[must_use]
pub fn control(page: &[u8]) -> Control {
    Control {
        task_set: byte(page, 2) >> 5,
        descriptor_sense: bit(byte(page, 2), 2),
        queue_algorithm: byte(page, 3) >> 4,
        attention_interlock: byte(page, 4) >> 4 & 3,
        software_write_protect: bit(byte(page, 4), 3),
        task_aborted_status: bit(byte(page, 5), 6),
    }
}

/// READ KEYS and READ RESERVATION.
#[must_use]
pub fn reservations(keys: &[u8], held: &[u8]) -> Reservations {
    let listed = part(keys, 8, be32(keys, 4) as usize).chunks_exact(8).map(|key| be64(key, 0));
    let is_held = be32(held, 4) >= 16 && held.len() >= 22;
    let reservation = Reservation { key: be64(held, 8), kind: byte(held, 21) & 0xf };
    Reservations { generation: be32(keys, 0), keys: listed.collect(), held: is_held.then_some(reservation) }
}

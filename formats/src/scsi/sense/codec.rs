//! The two layouts (SPC-5 4.4.2 descriptor format, 4.4.3 fixed format).

use super::{ENCODED, MAX_SENSE, SKSV, Sense, SenseBytes, SenseError, SenseFlags, SenseFormat, SenseKey};
use crate::scsi::Asc;

/// VALID, of INFORMATION.
const VALID: u8 = 0x80;
/// Bytes before the ADDITIONAL SENSE LENGTH counts.
const HEAD: usize = 8;
/// Length of what is made in fixed format.
const FIXED_LEN: usize = 18;

/// Descriptor types.
mod kind {
    pub(super) const INFORMATION: u8 = 0x00;
    pub(super) const COMMAND_SPECIFIC: u8 = 0x01;
    pub(super) const KEY_SPECIFIC: u8 = 0x02;
    pub(super) const FRU: u8 = 0x03;
    pub(super) const STREAM: u8 = 0x04;
    pub(super) const BLOCK: u8 = 0x05;
    pub(super) const DIRECT_ACCESS: u8 = 0x0d;
}

/// The byte at `at`; what was cut off reads as zero.
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// `N` bytes from `at`; what was cut off reads as zero.
fn run<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    core::array::from_fn(|i| byte(bytes, at + i))
}

/// Up to the end that the ADDITIONAL SENSE LENGTH gives.
fn within(bytes: &[u8]) -> &[u8] {
    let end = if bytes.len() < HEAD { HEAD } else { HEAD + usize::from(byte(bytes, 7)) };
    bytes.get(..end.min(MAX_SENSE)).or_else(|| bytes.get(..MAX_SENSE)).unwrap_or(bytes)
}

fn marked(bytes: [u8; 3]) -> Option<[u8; 3]> {
    (bytes[0] & SKSV != 0).then_some(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Sense, SenseError> {
    let too_short = SenseError::TooShort { len: bytes.len() };
    let code = bytes.first().ok_or(too_short)? & 0x7f;
    let (format, key_at) = match code {
        0x70 | 0x71 => (SenseFormat::Fixed, 2),
        0x72 | 0x73 => (SenseFormat::Descriptor, 1),
        other => return Err(SenseError::ResponseCode(other)),
    };
    let key = SenseKey::from_low_bits(*bytes.get(key_at).ok_or(too_short)?);
    let sense = Sense { format, deferred: code & 1 != 0, ..Sense::new(key, Asc::NONE) };
    let bytes = within(bytes);
    Ok(match format {
        SenseFormat::Fixed => fixed(sense, bytes),
        SenseFormat::Descriptor => descriptors(sense, bytes),
    })
}

fn fixed(sense: Sense, bytes: &[u8]) -> Sense {
    let information = u64::from(u32::from_be_bytes(run(bytes, 3)));
    let command_specific = u64::from(u32::from_be_bytes(run(bytes, 8)));
    Sense {
        asc: Asc::new(byte(bytes, 12), byte(bytes, 13)),
        flags: SenseFlags::from_bits_truncate(byte(bytes, 2)),
        information: (byte(bytes, 0) & VALID != 0 && bytes.len() >= 7).then_some(information),
        command_specific: (command_specific != 0).then_some(command_specific),
        key_specific: marked(run(bytes, 15)).filter(|_| bytes.len() >= FIXED_LEN),
        fru: byte(bytes, 14),
        ..sense
    }
}

fn descriptors(sense: Sense, bytes: &[u8]) -> Sense {
    let overflow = if byte(bytes, 4) & 0x80 != 0 { SenseFlags::SDAT_OVFL } else { SenseFlags::empty() };
    let mut sense = Sense { asc: Asc::new(byte(bytes, 2), byte(bytes, 3)), flags: overflow, ..sense };
    let mut rest = bytes.get(HEAD..).unwrap_or_default();
    // A descriptor that is cut short ends the list: half of one says nothing.
    while let Some(one) = rest.get(1).and_then(|&len| rest.get(..2 + usize::from(len))) {
        descriptor(&mut sense, one);
        rest = rest.get(one.len()..).unwrap_or_default();
    }
    sense
}

/// Takes what a descriptor says; the first of its kind counts.
fn descriptor(sense: &mut Sense, one: &[u8]) {
    let valid = byte(one, 2) & VALID != 0;
    match (byte(one, 0), byte(one, 1)) {
        (kind::INFORMATION, 10..) if valid => set(&mut sense.information, long(one, 4)),
        (kind::COMMAND_SPECIFIC, 10..) => set(&mut sense.command_specific, long(one, 4)),
        (kind::KEY_SPECIFIC, 6..) => sense.key_specific = sense.key_specific.or(marked(run(one, 4))),
        (kind::FRU, 2..) if sense.fru == 0 => sense.fru = byte(one, 3),
        (kind::STREAM, 2..) => sense.flags |= SenseFlags::from_bits_truncate(byte(one, 3) & 0xe0),
        (kind::BLOCK, 2..) => sense.flags |= SenseFlags::from_bits_truncate(byte(one, 3)) & SenseFlags::ILI,
        (kind::DIRECT_ACCESS, 30..) => direct_access(sense, one, valid),
        _ => {}
    }
}

/// The descriptor that holds all of a disk's at once (SBC-4 4.18.2).
fn direct_access(sense: &mut Sense, one: &[u8], valid: bool) {
    sense.flags |= SenseFlags::from_bits_truncate(byte(one, 2)) & SenseFlags::ILI;
    sense.key_specific = sense.key_specific.or(marked(run(one, 4)));
    if sense.fru == 0 {
        sense.fru = byte(one, 7);
    }
    if valid {
        set(&mut sense.information, long(one, 8));
    }
    if long(one, 16) != 0 {
        set(&mut sense.command_specific, long(one, 16));
    }
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(run(bytes, at))
}

fn set(field: &mut Option<u64>, value: u64) {
    *field = field.or(Some(value));
}

pub(super) fn encode(sense: &Sense) -> SenseBytes {
    match sense.format {
        SenseFormat::Fixed => encode_fixed(sense),
        SenseFormat::Descriptor => encode_descriptors(sense),
    }
}

/// The low 32 bits where nothing is lost: a value that fits.
fn narrow(value: Option<u64>) -> Option<[u8; 4]> {
    value.and_then(|value| u32::try_from(value).ok()).map(u32::to_be_bytes)
}

fn encode_fixed(sense: &Sense) -> SenseBytes {
    let mut out = Out::new();
    let information = narrow(sense.information);
    let code = 0x70 | u8::from(sense.deferred);
    out.put(&[code | if information.is_some() { VALID } else { 0 }, 0, sense.flags.bits() | sense.key as u8]);
    out.put(&information.unwrap_or_default());
    out.put(&[(FIXED_LEN - HEAD) as u8]);
    out.put(&narrow(sense.command_specific).unwrap_or_default());
    out.put(&[sense.asc.code, sense.asc.qualifier, sense.fru]);
    out.put(&sense.key_specific.map(with_mark).unwrap_or_default());
    out.0
}

fn with_mark([first, second, third]: [u8; 3]) -> [u8; 3] {
    [first | SKSV, second, third]
}

fn encode_descriptors(sense: &Sense) -> SenseBytes {
    let mut out = Out::new();
    let overflow = if sense.flags.contains(SenseFlags::SDAT_OVFL) { 0x80 } else { 0 };
    let code = 0x72 | u8::from(sense.deferred);
    out.put(&[code, sense.key as u8, sense.asc.code, sense.asc.qualifier, overflow, 0, 0, 0]);
    if let Some(information) = sense.information {
        out.put(&[kind::INFORMATION, 10, VALID, 0]);
        out.put(&information.to_be_bytes());
    }
    if let Some(command_specific) = sense.command_specific {
        out.put(&[kind::COMMAND_SPECIFIC, 10, 0, 0]);
        out.put(&command_specific.to_be_bytes());
    }
    if let Some([first, second, third]) = sense.key_specific.map(with_mark) {
        out.put(&[kind::KEY_SPECIFIC, 6, 0, 0, first, second, third, 0]);
    }
    if sense.fru != 0 {
        out.put(&[kind::FRU, 2, 0, sense.fru]);
    }
    let marks = sense.flags.difference(SenseFlags::SDAT_OVFL);
    match marks {
        SenseFlags::ILI => out.put(&[kind::BLOCK, 2, 0, marks.bits()]),
        marks if !marks.is_empty() => out.put(&[kind::STREAM, 2, 0, marks.bits()]),
        _ => {}
    }
    out.finish()
}

/// Collects bytes; what is made here always fits.
struct Out(SenseBytes);

impl Out {
    const fn new() -> Self {
        Self(SenseBytes { len: 0, bytes: [0; ENCODED] })
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.0.len + bytes.len();
        if let Some(room) = self.0.bytes.get_mut(self.0.len..end) {
            room.copy_from_slice(bytes);
            self.0.len = end;
        }
    }

    /// With the ADDITIONAL SENSE LENGTH filled in.
    fn finish(mut self) -> SenseBytes {
        self.0.bytes[7] = self.0.len.saturating_sub(HEAD) as u8;
        self.0
    }
}

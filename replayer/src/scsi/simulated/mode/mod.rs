//! Mode pages: values that can be read, and changed where the device lets them be.

mod select;
mod sense;

pub(super) use select::mode_select;
pub(super) use sense::mode_sense;

use super::settings::Settings;

/// Page codes (SPC-5, SBC-4, SSC-5).
const RECOVERY: u8 = 0x01;
const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const COMPRESSION: u8 = 0x0f;
const CONFIGURATION: u8 = 0x10;
const EXCEPTIONS: u8 = 0x1c;
/// All pages.
const ALL: u8 = 0x3f;

/// WCE, in byte 2 of the caching page.
const WCE: u8 = 0x04;
/// D_SENSE, in byte 2 of the control page.
const D_SENSE: u8 = 0x04;
/// SWP, in byte 4 of the control page.
const SWP: u8 = 0x08;

/// One page: its bytes from the page code on, in four versions.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Page {
    current: Vec<u8>,
    /// Ones where a bit can be changed.
    changeable: Vec<u8>,
    default: Vec<u8>,
    saved: Vec<u8>,
}

impl Page {
    /// A page of `len` bytes behind its header, with `values` and the bits of `changeable` at their places.
    fn new(code: u8, len: u8, values: &[(usize, u8)], changeable: &[(usize, u8)]) -> Self {
        let bytes = |places: &[(usize, u8)]| {
            let mut bytes = vec![0; usize::from(len) + 2];
            (bytes[0], bytes[1]) = (code, len);
            places.iter().for_each(|&(at, value)| bytes[at] = value);
            bytes
        };
        let current = bytes(values);
        Self { default: current.clone(), saved: current.clone(), current, changeable: bytes(changeable) }
    }

    fn code(&self) -> u8 {
        self.current[0]
    }

    /// The first byte in which a new value changes what cannot be changed.
    fn refused(&self, new: &[u8]) -> Option<usize> {
        let pairs = self.current.iter().zip(&self.changeable).zip(new);
        pairs.enumerate().skip(2).find(|(_, ((old, mask), new))| (*old ^ *new) & !*mask != 0).map(|(at, _)| at)
    }
}

/// The pages of a device, and what its block descriptor says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Modes {
    pages: Vec<Page>,
    tape: bool,
    /// Write protected by a switch.
    switch: bool,
    /// BLOCK LENGTH of a tape; 0 for blocks of any length.
    pub(super) block_length: u32,
    /// Whether a tape may end a write before it is on the medium: BUFFERED MODE.
    pub(super) buffered: bool,
}

impl Modes {
    /// As at the factory.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            pages: if settings.is_tape() { tape_pages() } else { disk_pages(settings) },
            tape: settings.is_tape(),
            switch: settings.write_protected,
            block_length: settings.tape.block_length,
            buffered: true,
        }
    }

    /// After a power on: what was saved.
    pub(super) fn power_on(&mut self, settings: &Settings) {
        self.pages.iter_mut().for_each(|page| page.current.clone_from(&page.saved));
        self.block_length = settings.tape.block_length;
        self.buffered = true;
    }

    fn byte(&self, code: u8, at: usize) -> u8 {
        let page = self.pages.iter().find(|page| page.code() == code);
        page.and_then(|page| page.current.get(at)).copied().unwrap_or(0)
    }

    /// Whether writes may stay in the cache.
    pub(super) fn write_cache(&self) -> bool {
        self.byte(CACHING, 2) & WCE != 0
    }

    /// Whether sense data is in descriptor format.
    pub(super) fn descriptor_sense(&self) -> bool {
        self.byte(CONTROL, 2) & D_SENSE != 0
    }

    /// Write protected by SWP.
    pub(super) fn software_protected(&self) -> bool {
        self.byte(CONTROL, 4) & SWP != 0
    }

    /// Write protected by a switch.
    pub(super) const fn hardware_protected(&self) -> bool {
        self.switch
    }

    /// DEVICE-SPECIFIC PARAMETER of the header: WP, and DPOFUA of a disk or BUFFERED MODE of a tape.
    fn device_specific(&self) -> u8 {
        let wp = if self.switch || self.software_protected() { 0x80 } else { 0 };
        wp | match (self.tape, self.buffered) {
            (true, true) | (false, _) => 0x10,
            (true, false) => 0,
        }
    }
}

fn control_and_exceptions() -> [Page; 2] {
    [
        Page::new(CONTROL, 0x0a, &[(2, 0x02), (3, 0x10), (8, 0xff), (9, 0xff)], &[(2, D_SENSE), (4, SWP)]),
        Page::new(EXCEPTIONS, 0x0a, &[(2, 0x08)], &[(2, 0x3d), (3, 0x0f)]),
    ]
}

fn disk_pages(settings: &Settings) -> Vec<Page> {
    let wce = if settings.write_cache { WCE } else { 0 };
    let [control, exceptions] = control_and_exceptions();
    vec![
        Page::new(RECOVERY, 0x0a, &[(2, 0xc0), (3, 8), (8, 8)], &[(2, 0xff), (3, 0xff), (8, 0xff)]),
        Page::new(CACHING, 0x12, &[(2, wce), (12, 0x80)], &[(2, WCE | 1), (12, 0x20)]),
        control,
        exceptions,
    ]
}

fn tape_pages() -> Vec<Page> {
    let [control, exceptions] = control_and_exceptions();
    vec![
        Page::new(RECOVERY, 0x0a, &[(3, 8), (8, 8)], &[(3, 0xff), (8, 0xff)]),
        control,
        Page::new(COMPRESSION, 0x0e, &[(2, 0x40)], &[(2, 0x80)]),
        Page::new(CONFIGURATION, 0x0e, &[(10, 0x18)], &[(4, 0xff), (5, 0xff)]),
        exceptions,
    ]
}

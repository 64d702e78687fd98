//! Errors of Linux's scsi_debug (drivers/scsi/scsi_debug.c), asked for by its files in sysfs and debugfs.

use std::fs;
use std::path::{Path, PathBuf};

use replayer::scsi::sg::SgDevice;
use replication::errors::Reply;

use super::Script;

/// Options of the whole driver.
const DRIVER: &str = "/sys/bus/pseudo/drivers/scsi_debug";
/// Rules for one device, since Linux 6.7.
const RULES: &str = "/sys/kernel/debug/scsi_debug";
/// Type of a rule: the command ends so (ERR_FAIL_CMD).
const FAIL_COMMAND: u8 = 2;

/// Errors that every command meets for as long as this lives (`SDEBUG_OPT_*`, with `every_nth` 1).
pub(crate) struct Options;

impl Options {
    pub(crate) const MEDIUM_ERROR: u32 = 0x2;
    pub(crate) const TIMEOUT: u32 = 0x4;
    pub(crate) const RECOVERED_ERROR: u32 = 0x8;
    pub(crate) const TRANSPORT_ERROR: u32 = 0x10;
    pub(crate) const DIF_ERROR: u32 = 0x20;
    pub(crate) const DIX_ERROR: u32 = 0x40;
    pub(crate) const SHORT_TRANSFER: u32 = 0x100;

    pub(crate) fn set(options: u32) -> Self {
        write_driver("opts", &format!("{options:#x}"));
        write_driver("every_nth", "1");
        Self
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        write_driver("every_nth", "0");
        write_driver("opts", "0");
    }
}

/// Sets one of the driver's files.
pub(crate) fn write_driver(file: &str, value: &str) {
    let path = Path::new(DRIVER).join(file);
    fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// One of the driver's files.
pub(crate) fn read_driver(file: &str) -> String {
    let path = Path::new(DRIVER).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// Rules for one device.
pub(crate) struct Rules(PathBuf);

impl Rules {
    /// Those of this device; none where the kernel is too old for rules.
    pub(crate) fn of(device: &SgDevice) -> Option<Self> {
        let address = device.node().address.clone().expect("sysfs tells the address");
        let file = Path::new(RULES).join(address).join("error");
        file.exists().then_some(Self(file))
    }
}

impl Script for Rules {
    fn once(&self, opcode: u8, reply: Reply) -> bool {
        let Some([host, status, key, code, qualifier]) = rule(reply) else { return false };
        let line = format!("{FAIL_COMMAND} -1 {opcode:x} {host:x} 0 {status:x} {key:x} {code:x} {qualifier:x}");
        fs::write(&self.0, &line).unwrap_or_else(|error| panic!("{}: {line}: {error}", self.0.display()));
        true
    }

    fn clear(&self, opcode: u8) {
        let _ = fs::write(&self.0, format!("- {FAIL_COMMAND} {opcode:x}"));
    }
}

/// Host byte, status, sense key, additional sense code and qualifier.
fn rule(reply: Reply) -> Option<[u8; 5]> {
    let Reply::Device { status, host, residual: 0, sense } = reply else { return None };
    match sense {
        None => Some([host, status, 0, 0, 0]),
        Some(sense) if sense[0] == 0x70 => Some([host, status, sense[2], sense[12], sense[13]]),
        Some(sense) if sense[0] == 0x72 => Some([host, status, sense[1], sense[2], sense[3]]),
        Some(_) => None,
    }
}

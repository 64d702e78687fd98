//! How long each command may take before the kernel aborts it.
//!
//! The times are the kernel's own: SD_TIMEOUT and SD_FLUSH_TIMEOUT (drivers/scsi/sd.h), ST_TIMEOUT and ST_LONG_TIMEOUT
//! (drivers/scsi/st.c), FORMAT_UNIT_TIMEOUT (include/scsi/scsi_ioctl.h; two hours, too short for today's disks).

use std::time::Duration;

use formats::scsi::DeviceType;

const USUAL: Duration = Duration::from_secs(60);
const FLUSH: Duration = Duration::from_secs(120);
const MANY_BLOCKS: Duration = Duration::from_secs(600);
const TAPE: Duration = Duration::from_secs(900);
const TAPE_LONG: Duration = Duration::from_secs(14_000);
const WHOLE_MEDIUM: Duration = Duration::from_secs(24 * 3600);

pub(super) fn of(cdb: &[u8], device: DeviceType) -> Duration {
    let opcode = cdb.first().copied().unwrap_or(0);
    if device == DeviceType::TAPE {
        return match opcode {
            0x00 | 0x03 | 0x12 | 0x1a | 0x5a | 0x5e | 0x5f => USUAL,
            // REWIND, SPACE, ERASE, LOAD UNLOAD, LOCATE of both lengths, SPACE(16), FORMAT MEDIUM.
            0x01 | 0x11 | 0x19 | 0x1b | 0x2b | 0x92 | 0x91 | 0x04 => TAPE_LONG,
            _ => TAPE,
        };
    }
    match opcode {
        // FORMAT UNIT, SANITIZE.
        0x04 | 0x48 => WHOLE_MEDIUM,
        0x35 | 0x91 => FLUSH,
        // UNMAP, WRITE SAME(10) and (16), START STOP UNIT, variable length ones.
        0x42 | 0x41 | 0x93 | 0x1b | 0x7f => MANY_BLOCKS,
        _ => USUAL,
    }
}

use formats::scsi::Devices;
use formats::scsi::opcode::rows;

use super::*;

/// Operation codes that are refused whole on a disk, by design: the features behind them are not simulated.
const DISK_REFUSES: &[(u8, &str)] = &[
    (0x18, "COPY"),
    (0x1c, "RECEIVE DIAGNOSTIC RESULTS"),
    (0x37, "READ DEFECT DATA(10)"),
    (0x3a, "COPY AND VERIFY"),
    (0x4c, "LOG SELECT"),
    (0x50, "XDWRITE(10)"),
    (0x51, "XPWRITE(10)"),
    (0x52, "XDREAD(10)"),
    (0x53, "XDWRITEREAD(10)"),
    (0x7e, "EXTENDED CDB"),
    (0x83, "third-party copy out"),
    (0x84, "third-party copy in"),
    (0x85, "ATA PASS-THROUGH(16)"),
    (0x8c, "READ ATTRIBUTE"),
    (0x8d, "WRITE ATTRIBUTE"),
    (0x94, "zone management out"),
    (0x95, "zone management in"),
    (0x9a, "WRITE STREAM(16)"),
    (0x9b, "READ BUFFER(16)"),
    (0xa1, "ATA PASS-THROUGH(12)"),
    (0xa2, "SECURITY PROTOCOL IN"),
    (0xa3, "maintenance in"),
    (0xa4, "maintenance out"),
    (0xab, "READ MEDIA SERIAL NUMBER"),
    (0xb5, "SECURITY PROTOCOL OUT"),
    (0xb7, "READ DEFECT DATA(12)"),
];

/// Service actions that are refused on a disk, by design.
const DISK_REFUSES_ACTIONS: &[(u8, u16)] = &[
    (0x5f, 0x07),
    (0x5f, 0x08),
    (0x7f, 0x03),
    (0x7f, 0x04),
    (0x7f, 0x06),
    (0x7f, 0x07),
    (0x7f, 0x10),
    (0x7f, 0x1ff0),
    (0x9e, 0x13),
    (0x9e, 0x14),
    (0x9e, 0x15),
    (0x9e, 0x16),
    (0x9e, 0x17),
    (0x9e, 0x18),
    (0x9e, 0x19),
];

/// On a tape: what it cannot do beside what a disk refuses too.
const TAPE_REFUSES: &[u8] = &[0x0b, 0x0f, 0x14, 0x44, 0x81];

fn refused_on_disk(row: &Row) -> bool {
    let whole = DISK_REFUSES.iter().any(|(opcode, _)| *opcode == row.opcode);
    whole || row.service.is_some_and(|service| DISK_REFUSES_ACTIONS.contains(&(row.opcode, service)))
}

#[test]
fn each_row_for_a_disk_is_executed_or_refused_on_purpose() {
    for row in rows().filter(|row| row.devices.contains(Devices::from_bits_retain(1))) {
        let executed = handler(row, DeviceType::DISK).is_some();
        assert_ne!(executed, refused_on_disk(row), "{} {:#04x} {:?}", row.name, row.opcode, row.service);
    }
}

#[test]
fn each_row_for_a_tape_is_executed_or_refused_on_purpose() {
    for row in rows().filter(|row| row.devices.contains(Devices::SSC)) {
        let executed = handler(row, DeviceType::TAPE).is_some();
        let refused = TAPE_REFUSES.contains(&row.opcode) || refused_on_disk(row);
        assert_ne!(executed, refused, "{} {:#04x} {:?}", row.name, row.opcode, row.service);
    }
}

/// The lists name nothing that the table does not have.
#[test]
fn what_is_refused_is_in_the_table() {
    for (opcode, name) in DISK_REFUSES {
        assert!(rows().any(|row| row.opcode == *opcode), "{name}");
    }
    for (opcode, service) in DISK_REFUSES_ACTIONS {
        let row = rows().find(|row| row.opcode == *opcode && row.service == Some(*service)).expect("in the table");
        assert!(handler(row, DeviceType::DISK).is_none(), "{}", row.name);
    }
}

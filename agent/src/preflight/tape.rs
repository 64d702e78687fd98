//! What a named character device is, if it is a tape: by its st, sg or bsg node. Read from sysfs, nothing is opened.

use std::fs;
use std::path::{Path, PathBuf};

use formats::scsi::DeviceType;

use super::device::{Device, DeviceError, Mode, ScsiUnit, parse_hctl};
use super::host::{DeviceNumber, Host, name_of, number, text};

/// No block device has this number, so a tape is never taken for one.
const NO_DISK: DeviceNumber = DeviceNumber { major: u32::MAX, minor: u32::MAX };

/// Looks up the logical unit behind a character device.
pub(super) fn identify(path: PathBuf, node: DeviceNumber, host: &Host) -> Result<Device, DeviceError> {
    let Some((dir, scsi)) = host.char_dir(node).ok().and_then(|dir| unit_of(&dir)) else {
        return Err(DeviceError::Character { path });
    };
    if scsi.device_type != DeviceType::TAPE {
        return Err(DeviceError::Unit { path, device_type: scsi.device_type });
    }
    Ok(Device {
        name: name_of(&path),
        number: node,
        disk_name: scsi.unit.to_string(),
        disk: NO_DISK,
        partition: None,
        start: 0,
        size: 0,
        logical_block: 0,
        physical_block: 0,
        read_only: false,
        mode: Mode::RequestBased,
        write_cache: false,
        rotational: false,
        // Nobody writes to the pages of a tape's command while it runs: st and sg keep the program waiting.
        stable_writes: true,
        scsi: Some(scsi),
        model: text(&dir.join("model")),
        serial: text(&dir.join("wwid")),
        diskseq: None,
        tape: Some(dir),
        path,
    })
}

/// The logical unit that the node of a driver is for, and its directory.
fn unit_of(node: &Path) -> Option<(PathBuf, ScsiUnit)> {
    let dir = fs::canonicalize(node.join("device")).ok()?;
    let subsystem = fs::read_link(dir.join("subsystem")).ok()?;
    let unit = parse_hctl(&name_of(&dir)).filter(|_| name_of(&subsystem) == "scsi")?;
    let device_type = DeviceType::from_byte(number(&dir.join("type"))?);
    Some((dir, ScsiUnit { unit, device_type }))
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn identified(fake: &Fake, path: &str) -> Result<Device, DeviceError> {
        Device::identify_on(Path::new(path), &fake.host())
    }

    #[test]
    fn a_tape_by_either_of_its_nodes() {
        let fake = Fake::new();
        fake.unit("3:0:1:2", 1).unit_node("/dev/nst0", "9:128", "3:0:1:2").unit_node("/dev/sg4", "21:4", "3:0:1:2");
        for path in ["/dev/nst0", "/dev/sg4"] {
            let device = identified(&fake, path).unwrap();
            assert_eq!(device.scsi.unwrap().unit.to_string(), "3:0:1:2");
            assert!(device.tape.unwrap().ends_with("3:0:1:2"));
            assert_eq!((device.size, device.disk), (0, NO_DISK));
        }
    }

    #[test]
    fn other_character_devices_are_refused_by_what_they_are() {
        let fake = Fake::new();
        fake.unit("3:0:0:0", 0).unit_node("/dev/sg0", "21:0", "3:0:0:0").unit_node("/dev/tty", "5:0", "none");
        assert!(matches!(identified(&fake, "/dev/tty"), Err(DeviceError::Character { .. })));
        let refused = identified(&fake, "/dev/sg0").unwrap_err();
        assert!(refused.to_string().contains("is a SCSI node, disk"), "{refused}");
    }
}

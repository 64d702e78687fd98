//! SCSI devices named by their address, `HOST:CHANNEL:TARGET:LUN`, as `lsscsi` and the kernel's log name them.

use std::fs;
use std::path::{Path, PathBuf};

use super::device::parse_hctl;
use super::host::{Host, name_of};

/// Where the kernel lists what a logical unit is served by: a disk, a tape's node that does not rewind, any other.
const NODES: [(&str, &str); 3] = [("block", ""), ("scsi_tape", "n"), ("scsi_generic", "")];

/// Whether a path is such an address.
pub(super) fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| parse_hctl(text).is_some())
}

/// The node of the logical unit at `address`; none where the kernel knows no such unit, or no driver serves it.
pub(super) fn node_of(address: &Path, host: &Host) -> Option<PathBuf> {
    let unit = host.sys.join("bus/scsi/devices").join(parse_hctl(address.to_str()?)?.to_string());
    NODES.iter().find_map(|(class, prefix)| Some(host.dev.join(first_in(&unit.join(class), prefix)?)))
}

/// The shortest name with this prefix: `nst0`, not `nst0a`.
fn first_in(dir: &Path, prefix: &str) -> Option<String> {
    let names = fs::read_dir(dir).ok()?.flatten().map(|entry| name_of(&entry.path()));
    names.filter(|name| name.starts_with(prefix)).min_by_key(|name| (name.len(), name.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::{Device, DeviceError};
    use super::*;

    #[test]
    fn an_address_stands_for_its_disk_or_tape() {
        let fake = Fake::new();
        fake.disk("sdb", "8:16", 4096).node("/dev/sdb", "8:16");
        fake.put("sys/bus/scsi/devices/2:0:1:0/block/sdb/dev", "8:16");
        for node in ["st0", "nst0", "nst0a"] {
            fake.put(&format!("sys/bus/scsi/devices/3:0:0:7/scsi_tape/{node}/dev"), "9:0");
        }
        fake.put("sys/bus/scsi/devices/3:0:0:7/scsi_generic/sg1/dev", "21:1");
        let host = fake.host();
        let device = Device::identify_on(Path::new("2:0:1:0"), &host).expect("a disk");
        assert_eq!((device.path.as_path(), device.name.as_str()), (Path::new("/dev/sdb"), "sdb"));
        assert_eq!(node_of(Path::new("3:0:0:7"), &host), Some("/dev/nst0".into()));
        let error = Device::identify_on(Path::new("9:0:0:0"), &host).expect_err("nothing there");
        assert!(matches!(error, DeviceError::NoUnit { .. }), "{error}");
        assert!(error.to_string().contains("9:0:0:0") && error.to_string().contains("lsscsi"), "{error}");
        for text in ["sda", "/dev/2:0:0:0", "2:0:0", "2:0:0:0:0", "a:0:0:0", "4294967298:0:0:0"] {
            assert!(!is_address(Path::new(text)), "{text}");
        }
    }
}

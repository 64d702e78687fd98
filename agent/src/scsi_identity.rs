//! What the observed SCSI disks say of themselves, for the standby to compare with its own (`docs/decisions/0013`).

use std::fmt::Display;
use std::path::Path;

use formats::scsi::identity::Identity;
use sgio::identity::read;
use sgio::sg::SgDevice;
use tracing::{info, warn};

use crate::capture::scsi::Unit;
use crate::preflight::Device;

/// An identity for each volume whose SCSI commands are captured; none for the others.
///
/// A disk is open only while it is asked, and for reading only. Tapes are not asked: their driver watches for the unit
/// attentions that the questions would take away (drivers/scsi/st.c, `test_ready`).
pub(crate) fn read_all(devices: &[Device], units: &[Option<Unit>]) -> Vec<Option<Box<Identity>>> {
    let asked = |(device, unit): (&Device, &Option<Unit>)| {
        unit.as_ref().filter(|_| device.tape.is_none()).and_then(|_| of(&device.path))
    };
    devices.iter().zip(units).map(asked).collect()
}

/// A disk that does not say who it is can be observed all the same; the standby then compares nothing.
fn of(path: &Path) -> Option<Box<Identity>> {
    let untold = |error: &dyn Display| {
        warn!("{} does not say who it is, so the standby cannot compare its device: {error}", path.display());
    };
    let device = SgDevice::open_for_reading(path).map_err(|error| untold(&error)).ok()?;
    let identity = read(&device).map_err(|error| untold(&error)).ok()?;
    info!("{} is {}", path.display(), identity.line());
    Some(Box::new(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_none() {
        assert_eq!(of(Path::new("/dev/null")), None);
        assert_eq!(of(Path::new("/dev/no-such-disk")), None);
    }
}

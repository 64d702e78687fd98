//! What is different about observing a tape (`docs/decisions/0010`): it has no blocks, so its copy is made by its
//! commands alone, and once one of them is missing nothing can heal it.

use std::path::PathBuf;

use formats::wire::VolumeKind;
use formats::{ByteRange, VolumeIndex};
use probe_types::UnitKey;

use crate::preflight::Device;
use crate::primary::core::VolumeInfo;

/// Why a tape is not observed.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// More devices than the tape.
    #[error("{} is a tape, and a tape is a group of its own: attach it alone, with a --group of its own", path.display())]
    NotAlone {
        /// The tape.
        path: PathBuf,
    },
    /// Nobody said that the standby's tape is like it.
    #[error(
        "{} is a tape, which cannot be copied by reading it while it is in use: put tapes of the same content into both \
         drives (blank ones, or a duplicate), rewind both, and attach with --assume-identical", path.display()
    )]
    NotVouched {
        /// The tape.
        path: PathBuf,
    },
}

/// Whether these devices can be observed together. The start of a tape's copy must be the administrator's word.
pub(crate) fn check(devices: &[Device], assume_identical: bool) -> Result<(), TapeError> {
    let Some(tape) = devices.iter().find(|device| device.tape.is_some()) else { return Ok(()) };
    let path = tape.path.clone();
    if devices.len() > 1 {
        return Err(TapeError::NotAlone { path });
    }
    if assume_identical { Ok(()) } else { Err(TapeError::NotVouched { path }) }
}

/// How the probe tells a tape.
pub(crate) fn key(device: &Device) -> Option<UnitKey> {
    let unit = device.scsi.filter(|_| device.tape.is_some())?.unit;
    Some(UnitKey { host: unit.host, channel: unit.channel, id: unit.id, pad: 0, lun: unit.lun })
}

/// Why the copy of a tape has ended, if one of these regions is a tape's: what is in them cannot be told by reading.
pub(crate) fn ended(volumes: &[VolumeInfo], regions: &[(VolumeIndex, ByteRange)]) -> Option<String> {
    let is_tape = |volume: &&VolumeInfo| volume.identity.kind == VolumeKind::Sequential;
    let mut touched = regions.iter().filter(|(_, range)| !range.is_empty());
    let tape = touched.find_map(|(index, _)| volumes.get(usize::from(index.0)).filter(is_tape))?;
    Some(format!(
        "the copy of the tape {} has ended: commands for it are missing (lost while no agent ran, in a full ring or a full \
         journal, or in what the standby holds), and a tape cannot be read back. Start a new copy: stop the standby and \
         empty its --dir, run `blkecho detach`, rewind both tapes (blank ones, or a duplicate), attach with \
         --assume-identical",
        tape.path.display()
    ))
}

#[cfg(test)]
mod tests {
    use formats::wire::VolumeIdentity;

    use super::*;

    fn volume(identity: VolumeIdentity) -> VolumeInfo {
        let path = PathBuf::from("/dev/nst0");
        VolumeInfo { identity, inflight: path.clone(), size: path.clone(), diskseq: None, read_only: false, path }
    }

    #[test]
    fn only_a_region_with_content_ends_the_copy_of_a_tape() {
        let tape = [volume(VolumeIdentity::sequential("t"))];
        let region = |len| [(VolumeIndex(0), ByteRange::new(0, len))];
        assert_eq!(ended(&tape, &region(0)), None, "what only says that nothing is missing");
        assert!(ended(&tape, &region(4096)).is_some_and(|text| text.contains("/dev/nst0") && text.contains("rewind")));
        let disk = [volume(VolumeIdentity::blocks("d", 8192, 512))];
        assert_eq!(ended(&disk, &region(4096)), None);
    }
}

//! Which layer of the kernel an agent observes: block requests, or the SCSI commands behind them too.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use formats::scsi::{DeviceType, Geometry};
use serde::Deserialize;
use tracing::info;

use crate::btf::Btf;
use crate::capture::scsi::Unit;
use crate::preflight::Device;
use crate::probe::layout::LayoutError;
use crate::probe::{ProbeSpec, scsi};

/// What is captured of a SCSI disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// SCSI commands where the device and the kernel have them, block requests elsewhere.
    #[default]
    Auto,
    /// Block requests only.
    Block,
    /// SCSI commands of every device; a device without is refused.
    Scsi,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Block => "block",
            Self::Scsi => "scsi",
        })
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "block" => Ok(Self::Block),
            "scsi" => Ok(Self::Scsi),
            _ => Err(format!("no layer: {text:?}; use auto, block or scsi")),
        }
    }
}

/// Why SCSI commands cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The device has none.
    #[error("{} is no whole SCSI disk, so it has no SCSI commands to capture: use --layer auto or block", path.display())]
    NotScsi {
        /// The device.
        path: PathBuf,
    },
    /// A tape has nothing else.
    #[error("{} is a tape, which is observed by its SCSI commands alone: leave --layer out", path.display())]
    Tape {
        /// The device.
        path: PathBuf,
    },
    /// The kernel does not tell where they are.
    #[error("SCSI commands cannot be captured on this kernel: {0}; use --layer block")]
    Kernel(#[from] LayoutError),
}

/// The logical unit of a tape, or of a whole SCSI disk.
fn unit_of(device: &Device) -> Option<Unit> {
    if let (Some(_), Some(scsi)) = (&device.tape, device.scsi) {
        return Some(Unit { unit: scsi.unit, device: scsi.device_type, medium: None });
    }
    let scsi = device.scsi.filter(|_| device.partition.is_none())?;
    let is_disk = matches!(scsi.device_type, DeviceType::DISK | DeviceType::SIMPLE_DISK);
    let block = device.logical_block;
    let medium = Geometry {
        per_physical: (device.physical_block / block).max(1),
        ..Geometry::new(block, device.size / u64::from(block))
    };
    is_disk.then_some(Unit { unit: scsi.unit, device: scsi.device_type, medium: Some(medium) })
}

/// Makes `spec` capture the SCSI commands of `devices` as `layer` says; answers the logical units behind the volumes.
///
/// # Errors
/// When they are asked for and cannot be captured.
pub(crate) fn choose(
    layer: Layer,
    devices: &[Device],
    spec: &mut ProbeSpec,
    kernel: &Btf,
) -> Result<Vec<Option<Unit>>, LayerError> {
    let tape = devices.iter().find(|device| device.tape.is_some());
    if let Some(device) = tape.filter(|_| layer == Layer::Block) {
        return Err(LayerError::Tape { path: device.path.clone() });
    }
    let units: Vec<Option<Unit>> =
        devices.iter().map(|device| unit_of(device).filter(|_| layer != Layer::Block)).collect();
    if let Some((device, _)) = devices.iter().zip(&units).find(|(_, unit)| layer == Layer::Scsi && unit.is_none()) {
        return Err(LayerError::NotScsi { path: device.path.clone() });
    }
    if units.iter().all(Option::is_none) {
        return Ok(units);
    }
    match scsi::add_layout(&mut spec.layout, kernel) {
        Ok(()) => {}
        Err(error) if layer == Layer::Auto && tape.is_none() => {
            info!("SCSI commands are not captured, block requests are: {error}");
            return Ok(vec![None; devices.len()]);
        }
        Err(error) => return Err(error.into()),
    }
    if tape.is_some() {
        scsi::add_units(&mut spec.layout, kernel)?;
    }
    for (volume, unit) in spec.volumes.iter_mut().zip(&units) {
        volume.scsi_block_shift = unit.map_or(0, Unit::block_shift);
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_as_they_are_written() {
        for layer in [Layer::Auto, Layer::Block, Layer::Scsi] {
            assert_eq!(layer.to_string().parse(), Ok(layer));
        }
        assert!("SCSI".parse::<Layer>().unwrap_err().contains("auto, block or scsi"));
    }
}

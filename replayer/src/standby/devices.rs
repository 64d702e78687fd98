//! The primary's SCSI devices, told in its hello, beside the targets here.

use formats::wire::{Hello, Refuse, RefuseCode};

use super::start::Named;
use crate::command::CommandTarget;
use crate::scsi::identity::{Difference, Severity};

/// The target of each volume that takes SCSI commands, by the hello's order.
fn pairs<'a>(
    hello: &'a Hello,
    targets: &'a [Named],
) -> impl Iterator<Item = (&'a formats::wire::VolumeIdentity, &'a str, &'a dyn CommandTarget)> {
    hello.volumes.iter().filter_map(|volume| {
        let name = volume.name.to_string_lossy();
        let (name, target) = targets.iter().find(|(other, _)| *other == name)?;
        Some((volume, name.as_str(), target.commands()?))
    })
}

/// Refuses a primary whose device a target cannot stand for, and names each dangerous difference.
pub(super) fn check(hello: &Hello, targets: &[Named]) -> Result<(), Refuse> {
    for (volume, name, target) in pairs(hello, targets) {
        let Some(primary) = &volume.scsi else { continue };
        let mut dangerous = target.compare(primary);
        dangerous.retain(|difference| difference.severity == Severity::Refuse);
        if !dangerous.is_empty() {
            let lines: Vec<_> = dangerous.iter().map(Difference::to_string).collect();
            let text = format!("volume {name} cannot stand for the primary's device: {}", lines.join("; "));
            return Err(Refuse { code: RefuseCode::Geometry, text: text.as_str().into() });
        }
    }
    Ok(())
}

/// The primary was accepted: its devices are those that targets stand for from now on.
pub(super) fn meet(hello: &Hello, targets: &[Named]) {
    pairs(hello, targets).for_each(|(volume, _, target)| target.meet(volume.scsi.as_deref()));
}

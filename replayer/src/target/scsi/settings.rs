//! What an administrator says about SCSI targets.

use std::collections::BTreeMap;

use replication::errors::Policy;

use super::Timeouts;
use crate::scsi::identity::Mapping;

/// For all SCSI targets of a standby, and the mapping of each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Limits and rules of the error consistency table.
    pub policy: Policy,
    /// Time-outs of commands.
    pub timeouts: Timeouts,
    /// How the addresses of volumes are put onto their targets, by the volume's name.
    pub mappings: BTreeMap<String, Mapping>,
}

impl Settings {
    /// The mapping of a volume.
    #[must_use]
    pub fn mapping(&self, volume: &str) -> Mapping {
        self.mappings.get(volume).copied().unwrap_or_default()
    }
}

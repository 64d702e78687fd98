//! What an agent is told.

use std::path::{Path, PathBuf};

use journal::SyncPolicy;

use crate::error::AgentError;
use crate::layer::Layer;
use crate::probe::filter::Filter;
use crate::secondaries::{self, Secondary};

/// A device and the name that both ends use for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDevice {
    /// The volume's name.
    pub name: String,
    /// The device.
    pub path: PathBuf,
}

/// Everything an agent needs to know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Name of the group: letters, digits, `-`, `_` and `.`.
    pub group: String,
    /// The devices of the group, which share one order.
    pub devices: Vec<NamedDevice>,
    /// The standbys; their names are those of the cursors and dirty maps in `dir`.
    pub to: Vec<Secondary>,
    /// Names of secondaries whose saved state is given up; only with it may the state of one that is not in `to` go.
    pub forget: Vec<String>,
    /// Directory of the journal, the dirty maps and the identity of the stream.
    pub dir: PathBuf,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of one of its segments.
    pub segment_bytes: u64,
    /// When the journal is made durable.
    pub sync: SyncPolicy,
    /// Bytes of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Bytes per region of the dirty map: a power of two, at least 512.
    pub region_bytes: u32,
    /// Whether another address than loopback may be used without encryption.
    pub insecure: bool,
    /// The administrator's word that the standby holds the same content already.
    pub assume_identical: bool,
    /// What is captured of SCSI disks.
    pub layer: Layer,
    /// What is captured; empty for everything.
    pub filter: Filter,
    /// The administrator's word that the filter may drop changes: the standby is no copy then.
    pub partial: bool,
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
}

/// Where the probe of a group is pinned.
pub(crate) fn pin_dir(bpffs: &Path, group: &str) -> PathBuf {
    bpffs.join("blkecho").join(group)
}

impl AgentConfig {
    /// Checks what can be checked without looking at the machine.
    ///
    /// # Errors
    /// Says which setting is wrong and what is allowed.
    pub fn check(&self) -> Result<(), AgentError> {
        let usage = |text: String| Err(AgentError::Usage(text));
        if !is_name(&self.group) {
            return usage(format!("group name `{}`: use 1 to 64 letters, digits, `-`, `_`, `.`", self.group));
        }
        if self.devices.is_empty() || self.devices.len() > probe_types::MAX_VOLUMES as usize {
            let (have, max) = (self.devices.len(), probe_types::MAX_VOLUMES);
            return usage(format!("{have} devices: a group has 1 to {max}"));
        }
        if !self.ring_bytes.is_power_of_two() || self.ring_bytes < 64 << 10 || self.ring_bytes > 1 << 30 {
            return usage(format!("ring of {} bytes: use a power of two from 64K to 1G", self.ring_bytes));
        }
        if !self.region_bytes.is_power_of_two() || self.region_bytes < 4096 || self.region_bytes > 16 << 20 {
            return usage(format!("regions of {} bytes: use a power of two from 4K to 16M", self.region_bytes));
        }
        secondaries::check(&self.to)?;
        self.filter.check_replication(self.partial, self.assume_identical)?;
        match self.devices.iter().enumerate().find(|(i, d)| self.devices[..*i].iter().any(|e| e.name == d.name)) {
            Some((_, twice)) => usage(format!("two volumes are named `{}`: give each its own --name", twice.name)),
            None => Ok(()),
        }
    }
}

/// Names become parts of paths.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AgentConfig {
        AgentConfig {
            group: "g".into(),
            devices: vec![NamedDevice { name: "a".into(), path: "/dev/null".into() }],
            to: vec![Secondary::at("localhost:1")],
            forget: Vec::new(),
            dir: "/tmp".into(),
            journal_bytes: 1 << 30,
            segment_bytes: 64 << 20,
            sync: SyncPolicy::Each,
            ring_bytes: 64 << 20,
            region_bytes: 64 << 10,
            insecure: false,
            assume_identical: false,
            layer: Layer::Auto,
            filter: Filter::default(),
            partial: false,
            bpffs: "/sys/fs/bpf".into(),
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        assert!(config().check().is_ok());
        let refused = |change: fn(&mut AgentConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().expect_err("refused").to_string()
        };
        assert!(refused(|c| c.group = "../x".into()).contains("group name"));
        assert!(refused(|c| c.devices.clear()).contains("0 devices"));
        assert!(refused(|c| c.ring_bytes = 100_000).contains("power of two"));
        assert!(refused(|c| c.region_bytes = 512).contains("regions"));
        assert!(refused(|c| c.filter.pids.push(7)).contains("--pid 7 drops changes"));
        assert!(refused(|c| c.partial = true).contains("--partial goes with"));
        assert!(refused(|c| c.devices.push(c.devices[0].clone())).contains("two volumes"));
        assert!(refused(|c| c.to.clear()).contains("0 standbys"));
        assert!(refused(|c| c.to.push(Secondary::at("localhost:1"))).contains("two standbys"));
        assert!(refused(|c| c.to[0].name = "a/b".into()).contains("name of a standby"));
    }
}

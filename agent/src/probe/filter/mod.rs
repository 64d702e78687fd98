//! What is to be captured, in the words of whoever asks: by place, operation, operation code, class, task and control
//! group. [`compile`](Filter::compile) makes of it what the probe looks at.
//!
//! Several values of one kind mean any of them; several kinds must all let a command through. Reads are counted,
//! never carried, so no kind says anything of them.

mod compile;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use compile::{Observable, Rules};
pub use words::{CommandClass, Group, LbaRange, OpcodeName, Operation, ParseError, TaskName};

/// What is captured; empty: everything that changes the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// By place: commands that touch one of these ranges, and those without a place (a flush, a mode page). A volume
    /// that is not named by any is captured whole.
    pub lbas: Vec<LbaRange>,
    /// By operation of the block layer.
    pub operations: Vec<Operation>,
    /// By SCSI operation code.
    pub opcodes: Vec<OpcodeName>,
    /// By nature.
    pub classes: Vec<CommandClass>,
    /// By name of the task that issues the command.
    pub comms: Vec<TaskName>,
    /// By process id of that task.
    pub pids: Vec<u32>,
    /// By its control group.
    pub cgroups: Vec<Group>,
}

/// Why a filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// More values than the probe has places for.
    #[error("{count} values of {flag}: a filter has at most {max}")]
    TooMany {
        /// The flag that gives them.
        flag: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A range of a volume that is not observed.
    #[error("--lba {range}: no volume is named {name:?}; there are {known}")]
    UnknownVolume {
        /// The range.
        range: LbaRange,
        /// The name in it.
        name: String,
        /// Names of the volumes.
        known: String,
    },
    /// A range without a volume where there are several.
    #[error("--lba {range}: say of which volume, as NAME:{range}; there are {known}")]
    WhichVolume {
        /// The range.
        range: LbaRange,
        /// Names of the volumes.
        known: String,
    },
    /// A range that does not lie on its volume.
    #[error("--lba {range} ends behind the last LBA of {volume}, which is {last}")]
    Beyond {
        /// The range.
        range: LbaRange,
        /// Name of the volume.
        volume: String,
        /// Its last LBA.
        last: u64,
    },
    /// A range of a device without blocks.
    #[error("--lba {range}: {volume} has no logical blocks")]
    NoBlocks {
        /// The range.
        range: LbaRange,
        /// Name of the volume.
        volume: String,
    },
    /// A range that the dirty map cannot stand for.
    #[error(
        "--lba {range}: what is replicated is kept in regions of {region_bytes} bytes, so a range begins and ends with \
         one: use {rounded}, or another --region-size"
    )]
    Unaligned {
        /// The range.
        range: LbaRange,
        /// Bytes per region.
        region_bytes: u32,
        /// The smallest range of whole regions around it.
        rounded: LbaRange,
    },
    /// Operation codes of a device whose SCSI commands are not captured.
    #[error("--opcode: the SCSI commands of {volume} are not captured (see --layer), so they cannot be told apart")]
    NoScsi {
        /// Name of the volume.
        volume: String,
    },
    /// A process id that no process has.
    #[error("--pid 0 is no process")]
    NoProcess,
    /// A control group that cannot be found.
    #[error("--cgroup {}: {why}; name a directory of the cgroup2 file system, or its id", path.display())]
    NoGroup {
        /// As named.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A filter that drops changes, towards a standby.
    #[error(
        "{0} drops changes: a standby that is fed by it is no copy. Add --partial if that is meant; it will never be called \
         UpToDate"
    )]
    NoCopy(String),
    /// The word without the deed.
    #[error(
        "--partial goes with a filter that drops changes (--op, --opcode, --class, --comm, --pid, --cgroup); there is none"
    )]
    NotPartial,
    /// Two words that contradict each other.
    #[error("--partial and --assume-identical contradict each other: what is partial is never identical")]
    PartialIdentical,
}

impl Filter {
    /// Whether everything is let through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether changes within the ranges are dropped, so that no copy can be kept.
    #[must_use]
    pub fn drops_changes(&self) -> bool {
        !Self { lbas: self.lbas.clone(), ..Self::default() }.eq(self)
    }

    /// Whether a standby may be fed by it: with `partial`, the administrator's word that no copy is wanted.
    ///
    /// # Errors
    /// [`FilterError::NoCopy`], [`FilterError::NotPartial`], [`FilterError::PartialIdentical`].
    pub fn check_replication(&self, partial: bool, assume_identical: bool) -> Result<(), FilterError> {
        match (self.drops_changes(), partial) {
            (true, false) => Err(FilterError::NoCopy(Self { lbas: Vec::new(), ..self.clone() }.to_string())),
            (false, true) => Err(FilterError::NotPartial),
            (true, true) if assume_identical => Err(FilterError::PartialIdentical),
            _ => Ok(()),
        }
    }
}

/// As flags of the command line; empty for an empty filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut flags = Vec::new();
        add(&mut flags, "--lba", &self.lbas);
        add(&mut flags, "--op", &self.operations);
        add(&mut flags, "--opcode", &self.opcodes);
        add(&mut flags, "--class", &self.classes);
        add(&mut flags, "--comm", &self.comms);
        add(&mut flags, "--pid", &self.pids);
        add(&mut flags, "--cgroup", &self.cgroups);
        f.write_str(&flags.join(" "))
    }
}

fn add<T: fmt::Display>(flags: &mut Vec<String>, flag: &str, values: &[T]) {
    flags.extend(values.iter().map(|value| format!("{flag} {value}")));
}

//! What came of an exploration.

use std::path::PathBuf;

use serde::Serialize;

use super::check::{Checked, Verdict};
use super::log::{Log, Step};
use super::plan::{Cut, Fate, Kind};
use crate::holes::Hole;
use crate::time::Utc;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// Commands to it that changed something, or made something durable.
    pub commands: u64,
    /// Flushes and writes with FUA.
    pub barriers: u64,
    /// Places where power could fail that were looked at.
    pub cuts: u64,
    /// States that were looked at.
    pub states: u64,
    /// Of these, how many were equal to another, and not checked again.
    pub equal: u64,
    /// Times that the check was run, for finding the fewest commands too.
    pub checks: u64,
    /// How states were handed to it: `clone`, `itself` or `copy`.
    pub handed_out: &'static str,
    /// What the draws began with.
    pub seed: u64,
    /// States that are not sound. Without --keep-going it ends with the first one.
    pub failing_states: u64,
    /// The first of them.
    pub failing: Option<Failing>,
    /// Stretches whose content is not known.
    pub holes: Vec<Hole>,
    /// Whether the capture says how it ended.
    pub ended_in_order: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A state that is not sound.
#[derive(Debug, Clone, Serialize)]
pub struct Failing {
    /// Power fails after this completion.
    pub seq: u64,
    /// When that was; empty before the first one.
    pub time: String,
    /// What the check said.
    pub verdict: Verdict,
    /// The end of what it printed.
    pub output: String,
    /// The commands that make the difference: without them being lost, torn or early the state at this place is sound.
    /// None when it fails although all that completed is on the disk.
    pub difference: Vec<CommandFate>,
    /// Of the other commands that no flush covered, those that must be on the disk for it to fail.
    pub needed: Vec<CommandFate>,
    /// Commands that no flush covered there.
    pub undecided: u64,
    /// Whether nothing can be left out of both lists; otherwise the checks that could be spent were.
    pub minimal: bool,
    /// An image of it.
    pub image: Option<PathBuf>,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FateName {
    /// It had completed, and is not on the disk.
    Lost,
    /// It had completed, and only a part of it is on the disk.
    Torn,
    /// It had not completed, and is on the disk.
    Early,
    /// It had not completed, and a part of it is on the disk.
    EarlyInPart,
    /// It is on the disk.
    Kept,
}

/// A command, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct CommandFate {
    /// What became of it.
    pub fate: FateName,
    /// Its number.
    pub seq: u64,
    /// When it completed.
    pub time: String,
    /// What it was.
    pub op: &'static str,
    /// First byte of its range.
    pub offset: u64,
    /// Bytes of its range.
    pub len: u64,
    /// Its bytes that are on the disk, when not all or none are: the first, and the one behind the last.
    pub part: Option<(u64, u64)>,
    /// The process.
    pub pid: u32,
    /// Its name.
    pub process: String,
}

impl std::fmt::Display for CommandFate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fate = match self.fate {
            FateName::Lost => "lost",
            FateName::Torn => "torn",
            FateName::Early => "early",
            FateName::EarlyInPart => "early, in part",
            FateName::Kept => "on disk",
        };
        let Self { seq, op, offset, len, process, pid, .. } = self;
        write!(f, "{fate:8} seq {seq} {op} {offset}+{len} by {process}[{pid}]")?;
        match self.part {
            Some((from, to)) => write!(f, ", of it bytes {from} to {to} are on the disk"),
            None => Ok(()),
        }
    }
}

/// What became of each undecided command of a cut, for those that `select` names.
pub(super) fn commands(log: &Log, cut: &Cut, fates: &[Fate], select: &[usize]) -> Vec<CommandFate> {
    let open: Vec<_> = cut.open().collect();
    let command = |&at: &usize| command(&log.steps[open[at].step], open[at].kind, fates[at]);
    select.iter().map(command).collect()
}

fn command(step: &Step, kind: Kind, fate: Fate) -> CommandFate {
    let record = &step.record;
    let early = kind == Kind::InFlight;
    let (name, part) = match fate {
        Fate::Lost => (FateName::Lost, None),
        Fate::Torn(from, to) => (if early { FateName::EarlyInPart } else { FateName::Torn }, Some((from, to))),
        Fate::Kept => (if early { FateName::Early } else { FateName::Kept }, None),
    };
    let comm = record.origin.comm;
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    CommandFate {
        fate: name,
        seq: record.seq.0,
        time: Utc(record.origin.completed_ns).to_string(),
        op: record.op.name(),
        offset: record.range.offset,
        len: record.range.len,
        part,
        pid: record.origin.tgid,
        process: String::from_utf8_lossy(&comm[..end]).into_owned(),
    }
}

/// A failing state before its commands are known.
pub(super) fn failing(log: &Log, cut: &Cut, checked: &Checked) -> Failing {
    let at = log.behind(cut.point.seq).checked_sub(1).map(|at| log.steps[at].record.origin.completed_ns);
    Failing {
        seq: cut.point.seq,
        time: at.map(|at| Utc(at).to_string()).unwrap_or_default(),
        verdict: checked.verdict,
        output: checked.output.clone(),
        difference: Vec::new(),
        needed: Vec::new(),
        undecided: cut.undecided as u64,
        minimal: false,
        image: None,
    }
}

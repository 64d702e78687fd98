//! The flags that choose commands of a capture.

use std::str::FromStr;

use agent::filter::LbaRange;
use captures::{Blocks, Moment, Selection};
use clap::Args;
use formats::{Op, Seq};

use crate::offline;

/// What is chosen; without any of these, everything. One kind given more than once means any of its values; several kinds
/// must all hold. Losses and marks are chosen by time and number alone.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct SelectArgs {
    /// Leave out what completed up to this moment: a seq, a time (2026-03-01T12:00:00Z, +90s from the beginning), a
    /// mark's text, `start` or `end`
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "start", value_parser = offline::moment)]
    pub(crate) from: Moment,
    /// Leave out what completed after this moment
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "end", value_parser = offline::moment)]
    pub(crate) until: Moment,
    /// Only these numbers: FIRST-LAST or one
    #[arg(long, value_name = "RANGE")]
    pub(crate) seq: Option<SeqRange>,
    /// Only this device, by its name in the capture
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Vec<String>,
    /// Only commands that touch these LBAs: FIRST-LAST, FIRST+COUNT or one LBA in logical blocks, of NAME where there
    /// are several devices
    #[arg(long = "lba", value_name = "[NAME:]RANGE")]
    pub(crate) lba: Vec<LbaRange>,
    /// Only this operation: write, flush, discard, write-zeroes, secure-erase, zone, opaque or scsi
    #[arg(long = "op", value_name = "OP")]
    pub(crate) op: Vec<OpName>,
    /// Only what a task of this name issued
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comm: Vec<String>,
    /// Only what this process issued
    #[arg(long = "pid", value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Only what failed, or ended unseen
    #[arg(long)]
    pub(crate) failed: bool,
}

impl SelectArgs {
    /// The same for the library.
    pub(crate) fn selection(&self) -> Selection {
        let blocks = |range: &LbaRange| Blocks { device: range.volume.clone(), first: range.first, last: range.last };
        Selection {
            from: self.from.clone(),
            until: self.until.clone(),
            seq: self.seq.map(|range| (Seq(range.0), Seq(range.1))),
            devices: self.device.clone(),
            blocks: self.lba.iter().map(blocks).collect(),
            ops: self.op.iter().map(|name| name.0).collect(),
            comms: self.comm.clone(),
            pids: self.pid.clone(),
            failed: self.failed,
        }
    }
}

/// Numbers of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeqRange(u64, u64);

impl FromStr for SeqRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(format!("{text:?} is no range of numbers: write FIRST-LAST or one, such as 100-200")),
        }
    }
}

/// An operation by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpName(Op);

impl FromStr for OpName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Op::ALL.into_iter().find(|op| op.name() == text).map(Self).ok_or_else(|| {
            let names = Op::ALL.map(Op::name).join(", ");
            format!("{text:?} is no operation: use one of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        assert_eq!("7".parse(), Ok(SeqRange(7, 7)));
        assert!("9-1".parse::<SeqRange>().is_err());
        assert!("read".parse::<OpName>().unwrap_err().contains("write, flush"));
    }
}

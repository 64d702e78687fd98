//! The flags that choose commands of a capture.

use std::str::FromStr;
use std::time::Duration;

use agent::filter::LbaRange;
use captures::{Blocks, Section, Selection};
use clap::Args;
use formats::{Op, Seq};

/// What is shown; without any of these, everything. One kind given more than once means any of its values; several kinds
/// must all hold. Losses and marks are chosen by time and number alone.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct SelectArgs {
    /// Only what was issued from this time on, counted from the start of the capture
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Moment>,
    /// Only what was issued before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
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
    /// The same for a capture of this section.
    pub(crate) fn selection(&self, section: &Section) -> Selection {
        let moment = |moment: Moment| section.started_ns.saturating_add(moment.0.as_nanos() as u64);
        let blocks = |range: &LbaRange| Blocks { device: range.volume.clone(), first: range.first, last: range.last };
        Selection {
            from_ns: self.from.map(moment),
            until_ns: self.until.map(moment),
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

/// A time since the start of a capture: seconds with a fraction, or a number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(Duration);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let parsed = seconds.map(Ok).unwrap_or_else(|| text.parse::<crate::units::Time>().map(|time| time.0));
        parsed.map(Self).map_err(|error| error.to_string())
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
        let moment = |text: &str| text.parse::<Moment>().map(|moment| moment.0.as_micros());
        assert_eq!((moment("1.5"), moment("500ms"), moment("2m")), (Ok(1_500_000), Ok(500_000), Ok(120_000_000)));
        assert!(moment("-1").is_err() && moment("soon").is_err());
        assert_eq!("7".parse(), Ok(SeqRange(7, 7)));
        assert!("9-1".parse::<SeqRange>().is_err());
        assert!("read".parse::<OpName>().unwrap_err().contains("write, flush"));
    }
}

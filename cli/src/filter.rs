//! The flags and keys of a filter: what is captured. One struct for every command that captures.

use clap::Args;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use agent::Filter;
use agent::filter::{CommandClass, Group, LbaRange, OpcodeName, Operation, TaskName};

/// What is captured; without any of these, everything. One kind given more than once means any of its values; several
/// kinds must all let a command through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only commands that touch these LBAs: FIRST-LAST, FIRST+COUNT or one LBA in logical blocks of the device, of
    /// NAME where there are several
    #[arg(long = "lba", value_name = "[NAME:]RANGE")]
    #[serde(deserialize_with = "texts")]
    pub(crate) lba: Vec<LbaRange>,
    /// Only this operation of the block layer: write, flush, discard, secure-erase, write-zeroes or passthrough
    #[arg(long = "op", value_name = "OP")]
    #[serde(deserialize_with = "texts")]
    pub(crate) op: Vec<Operation>,
    /// Only this SCSI operation code: a number or a name of the standard, such as 0x2a or "WRITE(10)"
    #[arg(long = "opcode", value_name = "OPCODE")]
    #[serde(deserialize_with = "texts")]
    pub(crate) opcode: Vec<OpcodeName>,
    /// Only commands of this nature: write, sync or state
    #[arg(long = "class", value_name = "CLASS")]
    #[serde(deserialize_with = "texts")]
    pub(crate) class: Vec<CommandClass>,
    /// Only what a task of this name issues (its first 15 bytes count); what lies in the page cache is issued by the
    /// kernel's writeback
    #[arg(long = "comm", value_name = "NAME")]
    #[serde(deserialize_with = "texts")]
    pub(crate) comm: Vec<TaskName>,
    /// Only what this process issues
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Vec<u32>,
    /// Only what processes of this control group issue: its directory below the cgroup2 mount, or its id
    #[arg(long = "cgroup", value_name = "DIR|ID")]
    #[serde(deserialize_with = "texts")]
    pub(crate) cgroup: Vec<Group>,
}

impl FilterArgs {
    /// Takes from `file` the kinds that no flag gives.
    pub(crate) fn fill(&mut self, file: Self) {
        or_these(&mut self.lba, file.lba);
        or_these(&mut self.op, file.op);
        or_these(&mut self.opcode, file.opcode);
        or_these(&mut self.class, file.class);
        or_these(&mut self.comm, file.comm);
        or_these(&mut self.pid, file.pid);
        or_these(&mut self.cgroup, file.cgroup);
    }

    /// What the agent is told.
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            lbas: self.lba.clone(),
            operations: self.op.clone(),
            opcodes: self.opcode.clone(),
            classes: self.class.clone(),
            comms: self.comm.clone(),
            pids: self.pid.clone(),
            cgroups: self.cgroup.clone(),
        }
    }
}

fn or_these<T>(flags: &mut Vec<T>, file: Vec<T>) {
    if flags.is_empty() {
        *flags = file;
    }
}

/// A list of texts, each a value.
fn texts<'de, D, T>(source: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let texts = Vec::<String>::deserialize(source)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(flags: &[&str]) -> Result<FilterArgs, clap::Error> {
        let all = [&["blkecho", "attach", "/dev/sdb"], flags].concat();
        Cli::try_parse_from(all).map(|cli| match cli.command {
            Command::Attach(attach) => attach.filter,
            other => panic!("not attach: {other:?}"),
        })
    }

    #[test]
    fn flags_are_put_together() {
        let flags =
            ["--lba", "0-2047", "--lba", "db:8+8", "--opcode", "write(10)", "--class", "write", "--comm", "fio"];
        let filter = parse(&[&flags[..], &["--pid", "7", "--cgroup", "system.slice", "--op", "discard"]].concat());
        let text = filter.expect("parses").filter().to_string();
        let shown = "--lba 0-2047 --lba db:8-15 --op discard --opcode 0x2a --class write --comm fio --pid 7 --cgroup system.slice";
        assert_eq!(text, shown);
    }

    #[test]
    fn bad_values_are_refused_with_what_is_allowed() {
        for (flag, value, said) in [
            ("--lba", "1M", "FIRST-LAST"),
            ("--lba", "9-1", "empty range"),
            ("--op", "read", "write, flush, discard"),
            ("--opcode", "WRITE(11)", "0x2a"),
            ("--class", "read", "counted in `status`"),
            ("--comm", "", "has a name"),
            ("--pid", "0", "0 is not in 1.."),
            ("--cgroup", "", "cgroup2"),
        ] {
            let text = parse(&[flag, value]).expect_err("refused").to_string();
            assert!(text.contains(said) && text.contains(flag), "{text}");
        }
    }

    #[test]
    fn a_file_fills_the_kinds_that_no_flag_gives() {
        let file: FilterArgs = toml::from_str("lba = ['0-1']\ncomm = ['dd']\npid = [3]").expect("parses");
        let mut flags = parse(&["--comm", "fio"]).expect("parses");
        flags.fill(file);
        assert_eq!(flags.filter().to_string(), "--lba 0-1 --comm fio --pid 3");
        let error = toml::from_str::<FilterArgs>("comm = ['a']\nlba = ['x']").expect_err("refused").to_string();
        assert!(error.contains("line 2") && error.contains("FIRST-LAST"), "{error}");
        assert!(toml::from_str::<FilterArgs>("partial = true").is_err(), "a word for one occasion");
    }
}

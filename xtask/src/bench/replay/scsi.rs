//! SG_IO, on a disk of scsi_debug in a virtual machine.
//!
//! The guest's time is counted in instructions, on one processor: what is measured there is how many instructions a write
//! takes, and how well they are kept off its way while the device works, whatever else the host does.
//!
//! The guest captures fio's writes as SCSI commands and prints a line `RESULT section|run|depth|JSON` for each run, and once
//! `BOUNDS JSON`: what the order of the recording allows.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Plan;
use super::block::{parse_fio, parse_replay, say};
use super::bound::Bounds;
use super::report::{Runner, Sample, Section};
use crate::{process, rig};

const SCRIPT: &str = include_str!("guest.sh");
/// Room of the guest's disk and of its file system in memory.
const MOST_WRITES: u64 = 60_000;
/// What is counted hardly differs from round to round.
const MOST_ROUNDS: usize = 2;
/// Commands that sg takes on one open file.
const SG_DEPTH: u32 = 16;

/// One line of the guest.
#[derive(Debug, PartialEq)]
struct Line {
    section: String,
    runner: Runner,
    sample: Sample,
}

/// Measures; a section for each speed of the device.
pub(super) fn run(plan: &Plan) -> Result<Vec<Section>> {
    ensure!((1..=MOST_WRITES).contains(&plan.guest_writes), "--guest-writes is 1 to {MOST_WRITES}");
    let scratch = rig::scratch()?;
    let script = scratch.path().join("guest.sh");
    std::fs::write(
        &script,
        format!("ROUNDS={}\nWRITES={}\n{SCRIPT}", plan.rounds.min(MOST_ROUNDS), plan.guest_writes),
    )?;
    // A process of its own, whose output is read line by line.
    let mut vm = Command::new(std::env::current_exe()?);
    vm.args(["vm", "--kernel", &plan.kernel, "--counted", "--run"]).arg(&script);
    let mut told = Told::default();
    let status = process::stream(&mut vm, |line| {
        say(plan, line);
        if let Err(error) = told.take(line) {
            told.broken = Some(error.context(line.to_owned()));
        }
    })?;
    match told.broken {
        Some(error) => Err(error),
        None if !status.success() || told.sections.is_empty() => bail!("the guest failed ({status})"),
        None => {
            told.sections.iter_mut().for_each(|section| section.bounds.clone_from(&told.bounds));
            Ok(told.sections)
        }
    }
}

/// What the guest told so far.
#[derive(Default)]
struct Told {
    sections: Vec<Section>,
    bounds: Bounds,
    broken: Option<anyhow::Error>,
}

impl Told {
    fn take(&mut self, line: &str) -> Result<()> {
        if let Some((_, bounds)) = line.split_once("BOUNDS ") {
            self.bounds = Bounds::parse(bounds)?;
        }
        if let Some((_, result)) = line.split_once("RESULT ") {
            add(&mut self.sections, parse(result.trim())?);
        }
        Ok(())
    }
}

fn parse(line: &str) -> Result<Line> {
    let mut parts = line.splitn(4, '|');
    let mut part = || parts.next().context("a part is missing");
    let (section, name, depth, json) = (part()?, part()?, part()?.parse()?, part()?);
    let is_replay = name.starts_with("blkecho");
    let sample = if is_replay { parse_replay(json)? } else { parse_fio(json)? };
    let serial = if depth == 1 { ", serial" } else { "" };
    let name = format!("{name}{serial}");
    // fio's engine for sg keeps no more than 16 in flight; what is compared to it has that depth.
    let base = if is_replay && depth == SG_DEPTH { "fio sg" } else { "fio libaio" };
    let base = format!("{base}{serial}");
    let beside = (name != base).then_some(base);
    Ok(Line { section: section.to_owned(), runner: Runner { name, depth, beside, is_replay }, sample })
}

fn add(sections: &mut Vec<Section>, line: Line) {
    let at = sections.iter().position(|section| section.title == line.section).unwrap_or_else(|| {
        sections.push(Section::new(line.section, []));
        sections.len() - 1
    });
    sections[at].add(line.runner, line.sample);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIO: &str = r#"{"jobs": [{"write": {"iops": 100, "runtime": 100, "total_ios": 10, "lat_ns": {"mean": 1, "stddev": 1}},
            "usr_cpu": 5, "sys_cpu": 15}]}"#;
    const OURS: &str = r#"{"not_applied": 0, "iops": 90, "cpu_seconds": 0.5, "entries": 10}"#;

    #[test]
    fn lines_of_a_guest_make_sections() {
        let lines = [
            format!("disk|fio libaio|32|{FIO}"),
            format!("disk|blkecho, SG_IO|32|{OURS}"),
            format!("slow disk|fio libaio|1|{FIO}"),
            format!("disk|blkecho, SG_IO|32|{OURS}"),
        ];
        let mut sections = Vec::new();
        lines.iter().for_each(|line| add(&mut sections, parse(line).expect("parses")));
        let names = |section: &Section| -> Vec<(String, usize)> {
            section.series.iter().map(|series| (series.runner.name.clone(), series.samples.len())).collect()
        };
        assert_eq!(sections.len(), 2);
        assert_eq!(names(&sections[0]), [("fio libaio".to_owned(), 1), ("blkecho, SG_IO".to_owned(), 2)]);
        assert_eq!(names(&sections[1]), [("fio libaio, serial".to_owned(), 1)]);
        assert_eq!(sections[0].series[1].runner.beside.as_deref(), Some("fio libaio"));
        let sg = parse(&format!("disk|blkecho, SG_IO (sg), 16|16|{OURS}")).expect("parses");
        assert_eq!(sg.runner.beside.as_deref(), Some("fio sg"));
        assert!(parse("disk|fio libaio|32").is_err() && parse("disk|fio|x|{}").is_err());
    }
}

//! The block back end, on a loop device in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Plan;
use super::bound::Bounds;
use super::report::{Runner, Sample, Section, unordered};
use crate::rig::{self, LoopDevice, Node, Status};
use crate::{interrupt, process, workspace};

const DISK_BYTES: u64 = 1 << 30;
/// Most writes: replay has all of them in memory.
const MOST_WRITES: u64 = 800_000;
/// Of one write in a journal: 4 KiB, its headers, and something for the ends of segments.
const JOURNAL_BYTES_EACH: u64 = 4400;
/// Of a journal beside its entries: some segments are always free.
const JOURNAL_SPARE: u64 = 256 << 20;
/// The agent gets this long to attach, and to end.
const ATTACH: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(30);
/// Serial runs write a part of it: they show latency, and take long.
const SERIAL_PART: u64 = 4;

/// How a runner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fio(&'static str),
    Replay,
    /// Without regard to the order.
    Unordered,
}

/// A runner of the block back end: how, and how many in flight.
const RUNNERS: [(How, u32); 7] = [
    (How::Fio("libaio"), 32),
    (How::Fio("io_uring"), 32),
    (How::Replay, 32),
    (How::Unordered, 32),
    (How::Fio("libaio"), 1),
    (How::Fio("psync"), 1),
    (How::Replay, 1),
];
/// What the others of each depth are measured by.
const BASE: &str = "fio libaio";

fn runner((how, depth): (How, u32)) -> Runner {
    let name = match how {
        How::Fio(engine) => format!("fio {engine}"),
        How::Replay => "blkecho, block".to_owned(),
        How::Unordered => unordered("blkecho, block"),
    };
    let serial = if depth == 1 { ", serial" } else { "" };
    let base = format!("{BASE}{serial}");
    let name = format!("{name}{serial}");
    Runner { beside: (name != base).then_some(base), name, depth, is_replay: !matches!(how, How::Fio(_)) }
}

/// What is written again.
enum Source {
    /// A journal with a capture of this many writes.
    Captured(PathBuf),
    /// This many made-up ones, where nothing can be captured.
    MadeUp(u64),
}

struct Bench {
    binary: PathBuf,
    device: LoopDevice,
    scratch: TempDir,
    source: Source,
    serial: Source,
}

/// Measures.
pub(super) fn run(plan: &Plan) -> Result<Section> {
    ensure!((1..=MOST_WRITES).contains(&plan.writes), "--writes is 1 to {MOST_WRITES}");
    let binary = workspace::release_binary()?;
    let scratch = rig::scratch()?;
    let device = LoopDevice::create(&rig::memory_folder()?, "replay", DISK_BYTES)?;
    // Every page of the backing file exists before anything is measured.
    fill(device.path())?;
    let (source, serial) = match rig::require_capture() {
        Ok(()) => {
            let record =
                |name: &str, depth, writes| capture(&binary, &device, &scratch.path().join(name), depth, writes);
            (record("record", 32, plan.writes)?, record("serial", 1, (plan.writes / SERIAL_PART).max(1))?)
        }
        Err(why) => {
            say(plan, &format!("nothing can be captured here, writes are made up instead: {why:#}"));
            (Source::MadeUp(plan.writes), Source::MadeUp((plan.writes / SERIAL_PART).max(1)))
        }
    };
    let bench = Bench { binary, device, scratch, source, serial };
    bench.measure(plan)
}

impl Bench {
    fn measure(&self, plan: &Plan) -> Result<Section> {
        let (deep, serial) = (self.prepare(32)?, self.prepare(1)?);
        let of_what = match self.source {
            Source::Captured(_) => "captured",
            Source::MadeUp(_) => "made-up",
        };
        let title = format!(
            "block back end, loop device in memory: {deep} {of_what} random writes of 4 KiB ({serial} serial), {} rounds",
            plan.rounds
        );
        let mut section = Section::new(title, RUNNERS.map(runner));
        section.bounds = Bounds::parse(&process::output(self.replay(32).arg("--bounds"))?)?;
        for round in 0..plan.rounds {
            for one in 0..RUNNERS.len() {
                // Another one begins each round, so that none is always the first after a pause.
                let index = (one + round) % RUNNERS.len();
                let (how, depth) = RUNNERS[index];
                let sample = self.sample(how, depth).with_context(|| section.series[index].runner.name.clone())?;
                let name = &section.series[index].runner.name;
                say(plan, &format!("round {} {name:24} {:9.0} IOPS", round + 1, sample.iops));
                section.series[index].samples.push(sample);
            }
        }
        Ok(section)
    }

    /// Writes the addresses down for fio; answers how many there are.
    fn prepare(&self, depth: u32) -> Result<u64> {
        let mut command = self.replay(depth);
        process::output(command.arg("--iolog").arg(self.log(depth)))?;
        let log = std::fs::read_to_string(self.log(depth))?;
        Ok(log.lines().filter(|line| line.contains(" write ")).count() as u64)
    }

    fn log(&self, depth: u32) -> PathBuf {
        self.scratch.path().join(format!("iolog-{depth}"))
    }

    fn sample(&self, how: How, depth: u32) -> Result<Sample> {
        interrupt::check()?;
        match how {
            How::Fio(engine) => {
                let mut command = Command::new("fio");
                command.args(["--name=replay", "--replay_no_stall=1", "--direct=1", "--output-format=json"]);
                command.arg(format!("--read_iolog={}", self.log(depth).display()));
                command.args([format!("--ioengine={engine}"), format!("--iodepth={depth}")]);
                parse_fio(&process::output(&mut command)?)
            }
            How::Replay => parse_replay(&process::output(&mut self.replay(depth))?),
            How::Unordered => parse_replay(&process::output(self.replay(depth).arg("--unordered"))?),
        }
    }

    fn replay(&self, depth: u32) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("replay-bench").arg(self.device.path()).args(["--overwrite", "--depth", &depth.to_string()]);
        match if depth == 1 { &self.serial } else { &self.source } {
            Source::Captured(journal) => command.arg("--record").arg(journal),
            Source::MadeUp(writes) => command.args(["--entries", &writes.to_string()]),
        };
        command
    }
}

fn fill(device: &Path) -> Result<()> {
    let mut command = Command::new("fio");
    command.args(["--name=fill", "--rw=write", "--bs=1m", "--ioengine=libaio", "--iodepth=4", "--direct=1"]);
    command.arg(format!("--filename={}", device.display())).arg(format!("--size={DISK_BYTES}"));
    process::output(&mut command).map(drop)
}

/// Lets an agent without a standby watch fio: what fio writes stays in the agent's journal.
fn capture(binary: &Path, device: &LoopDevice, dir: &Path, depth: u32, writes: u64) -> Result<Source> {
    std::fs::create_dir(dir)?;
    let group = format!("replay-{}-{depth}", std::process::id());
    let blkecho = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.args(arguments).env("BLKECHO_RUN_DIR", dir);
        command
    };
    let journal = (writes * JOURNAL_BYTES_EACH + JOURNAL_SPARE).to_string();
    let mut attach = blkecho(&["attach", "--journal-size", &journal, "--ring-size", "256M", "--name", "disk"]);
    attach.args(["--group", &group]);
    attach.arg(device.path()).arg("--dir").arg(dir).args(["--to", &format!("127.0.0.1:{}", rig::free_port()?)]);
    let log = dir.join("agent.log");
    let agent = Node::spawn(attach.arg("--detach-on-exit"), &log)?;
    let agent = wait_until_attached(agent, &log, || blkecho(&["status", "--json"]))?;
    let mut fio = Command::new("fio");
    fio.args(["--name=load", "--rw=randwrite", "--bs=4k", "--ioengine=libaio", "--direct=1", "--norandommap"]);
    fio.args([format!("--filename={}", device.path().display()), format!("--size={DISK_BYTES}")]);
    fio.args([format!("--iodepth={depth}"), format!("--io_size={}", writes * 4096)]);
    process::output(&mut fio)?;
    // What is in the ring is in the journal soon after.
    interrupt::sleep(Duration::from_secs(1))?;
    agent.interrupt(END)?.context("the agent does not end")?;
    Ok(Source::Captured(dir.join("journal")))
}

fn wait_until_attached(mut agent: Node, log: &Path, status: impl Fn() -> Command) -> Result<Node> {
    let end = Instant::now() + ATTACH;
    while process::output(&mut status()).and_then(|text| Status::parse(&text)).is_err() {
        if agent.ended()?.is_some() || Instant::now() > end {
            bail!("the agent does not attach: {}", std::fs::read_to_string(log).unwrap_or_default());
        }
        interrupt::sleep(Duration::from_millis(100))?;
    }
    Ok(agent)
}

/// What fio's report tells of the writes.
pub(super) fn parse_fio(text: &str) -> Result<Sample> {
    // Warnings may stand before the document.
    let start = text.find('{').context("fio printed no JSON")?;
    let report: Value = serde_json::from_str(&text[start..]).context("fio's JSON does not parse")?;
    let job = &report["jobs"][0];
    let number = |value: &Value| value.as_f64().context("fio's report lacks a number");
    let (iops, runtime) = (number(&job["write"]["iops"])?, number(&job["write"]["runtime"])?);
    let busy = (number(&job["usr_cpu"])? + number(&job["sys_cpu"])?) / 100.0;
    let writes = number(&job["write"]["total_ios"])?;
    ensure!(writes > 0.0, "fio wrote nothing");
    let times = &job["write"]["lat_ns"];
    let variation = number(&times["stddev"])? / number(&times["mean"])?.max(1.0);
    Ok(Sample { iops, cpu_micros: busy * runtime * 1e3 / writes, variation })
}

/// What `replay-bench` tells.
pub(super) fn parse_replay(text: &str) -> Result<Sample> {
    let report: Value = serde_json::from_str(text.trim()).context("replay-bench printed no JSON")?;
    let number = |key: &str| report[key].as_f64().with_context(|| format!("replay-bench tells no {key}"));
    ensure!(number("not_applied")? == 0.0, "entries were not applied: {text}");
    Ok(Sample { iops: number("iops")?, cpu_micros: number("cpu_seconds")? * 1e6 / number("entries")?, variation: 0.0 })
}

/// Progress: beside JSON it is no part of the answer.
pub(super) fn say(plan: &Plan, text: &str) {
    if plan.json { eprintln!("{text}") } else { println!("{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_stands_beside_fio_of_its_depth() {
        let runners = RUNNERS.map(runner);
        for runner in &runners {
            let beside = runner.beside.as_ref().map(|name| runners.iter().find(|other| other.name == *name));
            assert!(beside.is_none_or(|fio| fio.is_some_and(|fio| fio.depth == runner.depth)), "{runner:?}");
        }
        assert_eq!(runners.iter().filter(|runner| runner.beside.is_none()).count(), 2);
    }

    #[test]
    fn reports_of_both() {
        let fio = r#"note: x
            {"jobs": [{"write": {"iops": 1000, "runtime": 2000, "total_ios": 2000, "lat_ns": {"mean": 8, "stddev": 2}},
                       "usr_cpu": 5, "sys_cpu": 15}]}"#;
        assert_eq!(parse_fio(fio).expect("parses"), Sample { iops: 1000.0, cpu_micros: 200.0, variation: 0.25 });
        let ours = r#"{"not_applied": 0, "iops": 500, "cpu_seconds": 0.5, "entries": 1000}"#;
        assert_eq!(parse_replay(ours).expect("parses"), Sample { iops: 500.0, cpu_micros: 500.0, variation: 0.0 });
        assert!(parse_replay(&ours.replace("applied\": 0", "applied\": 3")).is_err());
    }
}

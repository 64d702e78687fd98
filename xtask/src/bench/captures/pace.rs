//! Replay at recorded pace, beside fio that replays the converted log. Both are captured while they replay, as the recorded
//! load was: times of issue come from one clock, the kernel's.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use serde_json::Value;

use super::Plan;
use super::recording::{Captured, Recording};
use crate::bench::figures::{median, sorted};
use crate::rig::{self, LoopDevice};
use crate::{interrupt, process};

const DISK_BYTES: u64 = 256 << 20;
/// Commands in flight at once, at most, of the load and of both replays.
const DEPTH: &str = "--iodepth=64";
/// Only addresses and times of replays are captured.
const TIMES: &[&str] = &["--no-payload"];

/// A command that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Issued {
    at_ns: u64,
    /// First byte and length.
    place: (u64, u64),
}

/// How far from their time commands were issued, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Errors {
    median: f64,
    p99: f64,
    max: f64,
}

/// Who replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replayer {
    Ours,
    Fio,
}

impl Replayer {
    const ALL: [Self; 2] = [Self::Ours, Self::Fio];

    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "blkecho replay",
            Self::Fio => "fio --read_iolog",
        }
    }
}

/// Measures and prints.
pub(super) fn run(binary: &Path, plan: &Plan) -> Result<()> {
    let scratch = tempfile::tempdir_in(rig::memory_folder()?)?;
    let device = LoopDevice::create(&rig::memory_folder()?, "pace", DISK_BYTES)?;
    let bench = Bench { binary, device, folder: scratch.path().to_owned() };
    let recorded = bench.record(plan)?;
    let mut found = Replayer::ALL.map(|_| Vec::new());
    for round in 0..plan.rounds {
        for turn in 0..found.len() {
            // Another one begins each round.
            let index = (turn + round) % found.len();
            let replayer = Replayer::ALL[index];
            let errors = bench.replay(replayer, &recorded).context(replayer.name())?;
            println!("round {} {:18} p99 {:7.0} µs", round + 1, replayer.name(), errors.p99);
            found[index].push(errors);
        }
    }
    let (commands, seconds) = (recorded.len(), plan.seconds);
    println!("\nreplay at recorded pace: {commands} writes of 4 KiB in {seconds} s, {} rounds", plan.rounds);
    println!("how far from its time a command was issued, medians over the rounds, in µs\n{}", table(&found));
    let [ours, fio] = found.map(|errors| median(&sorted(errors.iter().map(|errors| errors.p99))));
    println!("p99 in parts of fio's: {:.3} (goal: below 1)", ours / fio);
    Ok(())
}

struct Bench<'a> {
    binary: &'a Path,
    device: LoopDevice,
    folder: PathBuf,
}

impl Bench<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Records a load with pauses of every length, and converts it for fio.
    fn record(&self, plan: &Plan) -> Result<Vec<Issued>> {
        let (file, log) = (self.file("recorded.pcapng"), self.file("recorded.iolog"));
        // Every page of the backing file exists before anything is measured.
        process::output(self.fio().args(["--rw=write", "--bs=1m", &format!("--size={DISK_BYTES}")]))?;
        let recording = Recording::start(self.binary, self.device.path(), &file, &[])?;
        let mut load = self.fio();
        load.args(["--rw=randwrite", "--bs=4k", "--norandommap", "--rate_process=poisson", "--time_based"]);
        load.args([format!("--rate_iops={}", plan.rate), format!("--runtime={}", plan.seconds)]);
        process::output(load.arg(format!("--size={DISK_BYTES}")))?;
        let Captured { lost, records, .. } = recording.end()?;
        // The kernel does not show the end of every command (decision 0005); neither replay gets to know of such.
        println!("recorded {records} commands; {lost} more are not in the capture, and not replayed");
        ensure!(lost * 100 <= records, "too many commands of the load are not in the capture: lower --rate");
        let mut convert = Command::new(self.binary);
        process::output(convert.arg("convert").arg(&file).args(["--to", "fio", "--force", "-o"]).arg(&log))?;
        self.issued(&file)
    }

    fn replay(&self, replayer: Replayer, recorded: &[Issued]) -> Result<Errors> {
        interrupt::check()?;
        let file = self.file("replayed.pcapng");
        let mut command = match replayer {
            Replayer::Ours => self.ours(),
            Replayer::Fio => self.fio(),
        };
        if replayer == Replayer::Fio {
            command.args(["--replay_no_stall=0", &format!("--read_iolog={}", self.file("recorded.iolog").display())]);
        }
        let recording = Recording::start(self.binary, self.device.path(), &file, TIMES)?;
        process::output(&mut command)?;
        recording.end()?;
        compare(recorded, &self.issued(&file)?)
    }

    fn ours(&self) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("replay").arg(self.file("recorded.pcapng")).arg("--to").arg(self.device.path());
        command.args(["--write", "--overwrite", "--json"]);
        command
    }

    fn fio(&self) -> Command {
        let mut command = Command::new("fio");
        command.args(["--name=pace", "--ioengine=libaio", "--direct=1", "--output-format=json", DEPTH]);
        command.arg(format!("--filename={}", self.device.path().display()));
        command
    }

    /// The writes of a capture, by time of issue.
    fn issued(&self, file: &Path) -> Result<Vec<Issued>> {
        let text = process::output(Command::new(self.binary).arg("show").arg(file).arg("--json"))?;
        let mut issued = text.lines().filter_map(|line| write(line).transpose()).collect::<Result<Vec<_>>>()?;
        issued.sort_by_key(|issued| issued.at_ns);
        Ok(issued)
    }
}

/// The write that a line of `show --json` tells of, if it does.
fn write(line: &str) -> Result<Option<Issued>> {
    let item: Value = serde_json::from_str(line).context("show printed no JSON")?;
    if item["type"] != "command" || item["op"] != "write" {
        return Ok(None);
    }
    let number = |key: &str| item[key].as_u64().with_context(|| format!("a command without {key}"));
    Ok(Some(Issued { at_ns: number("issued_ns")?, place: (number("offset")?, number("len")?) }))
}

/// Compares each command with the recorded one. When all began is free: the median command is on time, and others early or
/// late to it.
fn compare(recorded: &[Issued], replayed: &[Issued]) -> Result<Errors> {
    let mut by_place: BTreeMap<(u64, u64), VecDeque<u64>> = BTreeMap::new();
    replayed.iter().for_each(|issued| by_place.entry(issued.place).or_default().push_back(issued.at_ns));
    let late = |want: &Issued| {
        let at = by_place.get_mut(&want.place).and_then(VecDeque::pop_front);
        at.map(|at| at as f64 - want.at_ns as f64).with_context(|| format!("nobody wrote to {:?} again", want.place))
    };
    let late = sorted(recorded.iter().map(late).collect::<Result<Vec<_>>>()?);
    let on_time = median(&late);
    let errors = sorted(late.iter().map(|late| (late - on_time).abs() / 1e3));
    let at = |part: f64| errors.get((errors.len() as f64 * part) as usize).or(errors.last()).copied();
    let none = || "nothing was recorded";
    Ok(Errors { median: median(&errors), p99: at(0.99).with_context(none)?, max: at(1.0).with_context(none)? })
}

fn table(found: &[Vec<Errors>; 2]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "median", "p99", "lowest p99", "highest p99", "max"]);
    for (replayer, errors) in Replayer::ALL.iter().zip(found) {
        let of = |figure: fn(&Errors) -> f64| sorted(errors.iter().map(figure));
        let p99 = of(|errors| errors.p99);
        let (lowest, highest) = (p99.first().copied().unwrap_or(0.0), p99.last().copied().unwrap_or(0.0));
        let figures =
            [median(&of(|errors| errors.median)), median(&p99), lowest, highest, median(&of(|errors| errors.max))];
        let cells = figures.map(|figure| format!("{figure:.0}"));
        table.add_row(std::iter::once(replayer.name().to_owned()).chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(at_ns: u64, block: u64) -> Issued {
        Issued { at_ns, place: (block * 4096, 4096) }
    }

    #[test]
    fn errors_are_to_the_median_command() {
        let recorded: Vec<_> = (0..200).map(|n| issued(n * 1000, n % 50)).collect();
        let moved = |n: u64| 9_000_000 + n * 1000 + if n % 100 == 7 { 50_000 } else { 0 };
        let replayed: Vec<_> = (0..200).map(|n| issued(moved(n), n % 50)).collect();
        let errors = compare(&recorded, &replayed).expect("all are there");
        assert_eq!(errors, Errors { median: 0.0, p99: 50.0, max: 50.0 });
    }

    #[test]
    fn what_was_not_replayed_is_an_error() {
        assert!(compare(&[issued(1, 1)], &[issued(1, 2)]).is_err());
        assert!(compare(&[], &[]).is_err());
    }

    #[test]
    fn only_writes_count() {
        let line = r#"{"type": "command", "op": "write", "issued_ns": 5, "offset": 4096, "len": 4096}"#;
        assert_eq!(write(line).expect("parses"), Some(issued(5, 1)));
        assert_eq!(write(r#"{"type": "command", "op": "flush"}"#).expect("parses"), None);
        assert!(write(r#"{"type": "command", "op": "write"}"#).is_err());
    }
}

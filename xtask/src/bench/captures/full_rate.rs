//! Capture into a file while fio writes as fast as it can, beside dd that writes the same file to the same place. When
//! something is lost, because the application is not made to wait, the highest rate is looked for at which nothing is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};

use super::Plan;
use super::recording::{Captured, Recording};
use crate::bench::capture::parse_fio;
use crate::bench::figures::{median, sorted};
use crate::bench::rates::Rates;
use crate::rig::{self, LoopDevice};
use crate::{interrupt, process};

/// Smaller than what is written by random writes, so that memory goes to the captures.
const DISK_BYTES: u64 = 512 << 20;

/// Runs that look for the highest rate at which nothing is lost.
const SEARCH: usize = 6;

/// A load that is captured.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    arguments: [&'static str; 2],
}

const LOADS: [Load; 2] = [
    Load { name: "4 KiB random", arguments: ["--rw=randwrite", "--bs=4k"] },
    Load { name: "128 KiB sequential", arguments: ["--rw=write", "--bs=128k"] },
];

/// One round of a load. Times are seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    /// fio, not observed.
    bare: f64,
    /// fio, captured.
    observed: f64,
    /// From the first write of fio until the file was whole.
    whole: f64,
    /// dd of the file.
    dd: f64,
    captured: Captured,
}

/// Measures and prints.
pub(super) fn run(binary: &Path, plan: &Plan) -> Result<()> {
    rig::require_capture()?;
    let folder = match &plan.folder {
        Some(folder) => folder.clone(),
        None => rig::memory_folder()?,
    };
    let scratch = tempfile::tempdir_in(&folder).with_context(|| format!("no place in {}", folder.display()))?;
    let device = LoopDevice::create(&rig::memory_folder()?, "captures", DISK_BYTES)?;
    let bench = Bench { binary, device, folder: scratch.path().to_owned(), bytes: plan.mebibytes << 20 };
    // Every page of the backing file exists before anything is measured.
    bench.fio(LOADS[1], DISK_BYTES, None)?;
    for load in LOADS {
        let samples = (0..plan.rounds).map(|_| bench.sample(load)).collect::<Result<Vec<_>>>()?;
        println!("\ncapture to file: {}, {} rounds of {} MiB, depth 32", load.name, plan.rounds, plan.mebibytes);
        println!("{}", table(&samples, bench.bytes));
        println!("{}", bench.without_loss(load, &samples)?);
    }
    Ok(())
}

struct Bench<'a> {
    binary: &'a Path,
    device: LoopDevice,
    folder: PathBuf,
    bytes: u64,
}

impl Bench<'_> {
    fn sample(&self, load: Load) -> Result<Sample> {
        let bare = self.fio(load, self.bytes, None)?;
        let sample = self.captured(load, None)?;
        let (file, copy) = (self.file(), self.folder.join("copy"));
        let dd = dd(&file, &copy)?;
        [file, copy].iter().try_for_each(std::fs::remove_file)?;
        Ok(Sample { bare, dd, ..sample })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("capture.pcapng")
    }

    /// A load that is captured, at a rate in MB/s when one is given.
    fn captured(&self, load: Load, rate: Option<f64>) -> Result<Sample> {
        interrupt::check()?;
        let recording = Recording::start(self.binary, self.device.path(), &self.file(), &[])?;
        let observed = self.fio(load, self.bytes, rate)?;
        let ended = Instant::now();
        let captured = recording.end()?;
        Ok(Sample { observed, whole: observed + ended.elapsed().as_secs_f64(), captured, ..Sample::default() })
    }

    /// Tells at which rate nothing is lost.
    fn without_loss(&self, load: Load, samples: &[Sample]) -> Result<String> {
        let rate = |sample: &Sample| self.bytes as f64 / 1e6 / sample.observed;
        if samples.iter().all(|sample| sample.captured.lost == 0) {
            return Ok("nothing lost, at the full rate".to_owned());
        }
        let mut rates = Rates::from(median(&sorted(samples.iter().map(rate))));
        // What was told with the full rate is not tried again.
        rates.tried(rates.next(), false);
        for _ in 0..SEARCH {
            let rate = rates.next();
            rates.tried(rate, self.captured(load, Some(rate))?.captured.lost == 0);
        }
        let held = rates.held().map_or("none was found".to_owned(), |rate| format!("{rate:.0} MB/s"));
        Ok(format!("the full rate loses; the highest of {SEARCH} rates at which nothing is lost: {held}"))
    }

    /// Seconds in which it wrote.
    fn fio(&self, load: Load, bytes: u64, rate: Option<f64>) -> Result<f64> {
        let mut command = Command::new("fio");
        command.args(["--name=load", "--ioengine=libaio", "--direct=1", "--iodepth=32", "--norandommap"]);
        command.arg(format!("--filename={}", self.device.path().display())).args(load.arguments);
        command.args([format!("--size={DISK_BYTES}"), format!("--io_size={bytes}")]);
        command.args(rate.map(|rate| format!("--rate={}", (rate * 1e6) as u64)));
        let (iops, commands) = parse_fio(&process::output(command.arg("--output-format=json"))?)?;
        Ok(commands / iops)
    }
}

/// Seconds that dd takes to write the same bytes to the same place.
fn dd(from: &Path, to: &Path) -> Result<f64> {
    let mut command = Command::new("dd");
    command.arg(format!("if={}", from.display())).arg(format!("of={}", to.display()));
    let begin = Instant::now();
    process::output(command.args(["bs=1M", "conv=fsync", "status=none"]))?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(to.metadata()?.len() == from.metadata()?.len(), "dd did not copy all of the capture");
    Ok(seconds)
}

/// Medians over the rounds, and of ratios within a round.
fn table(samples: &[Sample], bytes: u64) -> Table {
    let of = |figure: &dyn Fn(&Sample) -> f64| median(&sorted(samples.iter().map(figure)));
    let size = |sample: &Sample| sample.captured.bytes as f64 / 1e6;
    let load = |seconds: f64| bytes as f64 / 1e6 / seconds;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "MB/s", "commands/s", "ratio", "lost"]);
    let row = |name: &str, rate: f64, commands: f64, ratio: Option<f64>, lost: Option<u64>| {
        [
            name.to_owned(),
            format!("{rate:.0}"),
            if commands > 0.0 { format!("{commands:.0}") } else { String::new() },
            ratio.map_or(String::new(), |ratio| format!("{ratio:.3}")),
            lost.map_or(String::new(), |lost| lost.to_string()),
        ]
    };
    let commands = |seconds: fn(&Sample) -> f64| of(&|sample| sample.captured.records as f64 / seconds(sample));
    let lost = samples.iter().map(|sample| sample.captured.lost).sum();
    table.add_row(row("fio, bare", of(&|sample| load(sample.bare)), commands(|sample| sample.bare), None, None));
    table.add_row(row(
        "fio, captured (of bare)",
        of(&|sample| load(sample.observed)),
        commands(|sample| sample.observed),
        Some(of(&|sample| sample.bare / sample.observed)),
        None,
    ));
    table.add_row(row("dd of the file", of(&|sample| size(sample) / sample.dd), 0.0, None, None));
    table.add_row(row(
        "capture, until the file is whole (of dd)",
        of(&|sample| size(sample) / sample.whole),
        commands(|sample| sample.whole),
        Some(of(&|sample| sample.dd / sample.whole)),
        Some(lost),
    ));
    table
}

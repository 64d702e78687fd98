//! `bench capture`: rounds of fio on a loop device in memory, bare and observed in each way, interleaved.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::bench::cpu;
use crate::bench::figures::{median, sorted};
use crate::bench::observer::{KernelFilesystem, Observer, Reader};
use crate::rig::{self, LoopDevice};
use crate::{interrupt, process, workspace};

const DISK_BYTES: u64 = 1 << 30;

/// A load that is measured.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    arguments: [&'static str; 3],
    /// What the full payload capture is to keep of bare.
    goal: f64,
}

const LOADS: [Load; 2] = [
    Load { name: "4 KiB random", arguments: ["--rw=randwrite", "--bs=4k", "--iodepth=32"], goal: 0.88 },
    Load { name: "128 KiB sequential", arguments: ["--rw=write", "--bs=128k", "--iodepth=32"], goal: 0.93 },
];

/// One run of a load under an observer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    iops: f64,
    /// Busy time of the whole machine per command, in microseconds.
    cpu_micros: f64,
    /// Events lost, as the observer says.
    lost: u64,
}

/// Samples of one observer, one per round.
struct Series {
    observer: Observer,
    samples: Vec<Sample>,
}

/// The task.
pub(crate) fn run(rounds: usize, seconds: u64) -> Result<()> {
    rig::require_capture()?;
    let binary = workspace::release_binary()?;
    let scratch = rig::scratch()?;
    let _mounts = KernelFilesystem::for_traces()?;
    let device = LoopDevice::create(&rig::memory_folder()?, "bench", DISK_BYTES)?;
    let reader = Reader::available(device.path(), scratch.path())?;
    let bench = Bench { binary, device, folder: scratch.path().to_owned(), seconds, reader };
    // Every page of the backing file exists before anything is measured.
    bench.fio(&["--rw=write", "--bs=1m", "--iodepth=4"], Some(DISK_BYTES))?;
    for load in LOADS {
        let series = bench.measure(load, rounds)?;
        println!("\n{} ({rounds} rounds of {seconds} s, depth 32)\n{}", load.name, table(&series, load));
    }
    Ok(())
}

struct Bench {
    binary: PathBuf,
    device: LoopDevice,
    folder: PathBuf,
    seconds: u64,
    reader: Reader,
}

impl Bench {
    fn measure(&self, load: Load, rounds: usize) -> Result<Vec<Series>> {
        let mut series: Vec<Series> =
            Observer::all(self.reader).into_iter().map(|observer| Series { observer, samples: Vec::new() }).collect();
        for round in 0..rounds {
            for one in 0..series.len() {
                // Another one begins each round, so that none is always the first after a pause.
                let index = (one + round) % series.len();
                let sample = self.sample(series[index].observer, load)?;
                println!("round {} {:22} {:9.0} IOPS", round + 1, series[index].observer.name(), sample.iops);
                series[index].samples.push(sample);
            }
        }
        Ok(series)
    }

    fn sample(&self, observer: Observer, load: Load) -> Result<Sample> {
        interrupt::check()?;
        let watch = observer.start(&self.binary, self.device.path(), &self.folder)?;
        let before = cpu::busy_seconds()?;
        let (iops, commands) = self.fio(&load.arguments, None)?;
        let cpu_micros = (cpu::busy_seconds()? - before) * 1e6 / commands.max(1.0);
        Ok(Sample { iops, cpu_micros, lost: watch.end()? })
    }

    /// IOPS and number of commands.
    fn fio(&self, arguments: &[&str], once_over: Option<u64>) -> Result<(f64, f64)> {
        let mut command = Command::new("fio");
        command.args(["--name=bench", "--ioengine=libaio", "--direct=1", "--output-format=json", "--norandommap"]);
        command.arg(format!("--filename={}", self.device.path().display())).args(arguments);
        command.arg(format!("--size={DISK_BYTES}"));
        match once_over {
            Some(bytes) => command.arg(format!("--io_size={bytes}")),
            None => command.args(["--time_based", &format!("--runtime={}", self.seconds)]),
        };
        parse_fio(&process::output(&mut command)?)
    }
}

/// IOPS and number of commands that fio's JSON tells of.
pub(super) fn parse_fio(text: &str) -> Result<(f64, f64)> {
    // Warnings may stand before the document.
    let start = text.find('{').context("fio printed no JSON")?;
    let report: Value = serde_json::from_str(&text[start..]).context("fio's JSON does not parse")?;
    let write = &report["jobs"][0]["write"];
    let number = |key: &str| write[key].as_f64().with_context(|| format!("fio tells no write.{key}"));
    Ok((number("iops")?, number("total_ios")?))
}

/// The median of ratios to the bare run of the same round, their extremes, and time per command.
struct Summary {
    median: f64,
    lowest: f64,
    highest: f64,
    iops: f64,
    cpu_micros: f64,
    lost: u64,
}

fn summarise(series: &Series, bare: &Series) -> Summary {
    let ratios = series.samples.iter().zip(&bare.samples).map(|(sample, bare)| sample.iops / bare.iops);
    let ratios = sorted(ratios);
    Summary {
        median: median(&ratios),
        lowest: ratios.first().copied().unwrap_or(0.0),
        highest: ratios.last().copied().unwrap_or(0.0),
        iops: median(&sorted(series.samples.iter().map(|sample| sample.iops))),
        cpu_micros: median(&sorted(series.samples.iter().map(|sample| sample.cpu_micros))),
        lost: series.samples.iter().map(|sample| sample.lost).sum(),
    }
}

fn table(series: &[Series], load: Load) -> Table {
    let bare = &series[0];
    let bare_cpu = summarise(bare, bare).cpu_micros;
    let mut table = Table::new();
    let header = ["observed by", "IOPS", "of bare", "lowest", "highest", "CPU µs/command", "added", "lost", "goal"];
    table.load_style(presets::NOTHING).set_header(header);
    for one in series {
        let Summary { median, lowest, highest, iops, cpu_micros, lost } = summarise(one, bare);
        let goal = Goal(one.observer, load.goal).to_string();
        table.add_row([
            one.observer.name().to_owned(),
            format!("{iops:.0}"),
            format!("{median:.3}"),
            format!("{lowest:.3}"),
            format!("{highest:.3}"),
            format!("{cpu_micros:.2}"),
            format!("{:+.2}", cpu_micros - bare_cpu),
            lost.to_string(),
            goal,
        ]);
    }
    table
}

/// What an observer is to reach.
struct Goal(Observer, f64);

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Observer::Payload => write!(f, ">= {:.2}, lost 0", self.1),
            Observer::Addresses => f.write_str(">= blktrace"),
            Observer::Bare | Observer::Blktrace(_) | Observer::Journal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_within_a_round() {
        let of = |observer, iops: [f64; 3]| Series {
            observer,
            samples: iops.into_iter().map(|iops| Sample { iops, cpu_micros: 1.0, lost: 1 }).collect(),
        };
        let bare = of(Observer::Bare, [100.0, 200.0, 400.0]);
        let summary = summarise(&of(Observer::Payload, [90.0, 100.0, 360.0]), &bare);
        assert_eq!((summary.median, summary.lowest, summary.highest, summary.lost), (0.9, 0.5, 0.9, 3));
    }

    #[test]
    fn fio_with_a_warning_in_front() {
        let text = "note: x\n{\"jobs\": [{\"write\": {\"iops\": 12.5, \"total_ios\": 50}}]}";
        assert_eq!(parse_fio(text).expect("parses"), (12.5, 50.0));
        assert!(parse_fio("nothing").is_err());
    }
}

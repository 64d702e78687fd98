//! Analysis of a capture of made-up commands, beside tshark on a slice of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};

use super::Plan;
use crate::{interrupt, process, rig, workspace};

/// How often the memory of a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One program's run.
struct Run {
    name: String,
    records: u64,
    bytes: u64,
    seconds: f64,
    /// Most memory, in bytes.
    memory: u64,
}

/// Measures and prints.
pub(super) fn run(binary: &Path, plan: &Plan) -> Result<()> {
    let Plan { records, slice, .. } = *plan;
    let build = ["build", "--quiet", "--release", "--package", "captures", "--example", "generate"];
    process::run(workspace::cargo().args(build))?;
    let folder = rig::scratch()?;
    let (whole, part) = (folder.path().join("whole.pcapng"), folder.path().join("part.pcapng"));
    let generate = workspace::target().join("release/examples/generate");
    process::run(Command::new(&generate).arg(&whole).arg(records.to_string()))?;
    process::run(Command::new(&generate).arg(&part).arg(slice.to_string()))?;
    let mut analyze = Command::new(binary);
    analyze.args(["analyze", "--json"]).arg(&whole);
    let mut runs = vec![measure("blkecho analyze", &mut analyze, &whole, records)?];
    if process::exists("tshark") {
        let mut tshark = Command::new("tshark");
        tshark.args(["-q", "-z", "io,stat,0", "-r"]).arg(&part);
        runs.push(measure("tshark -z io,stat,0", &mut tshark, &part, slice)?);
    } else {
        println!("tshark is not here: nothing to compare with");
    }
    println!("{}", table(&runs));
    println!("goal: 2,000,000 records/s on two processors, 200 MiB");
    Ok(())
}

fn measure(name: &str, command: &mut Command, file: &Path, records: u64) -> Result<Run> {
    let begin = Instant::now();
    let mut child = process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut memory = 0;
    let status = loop {
        memory = memory.max(peak_memory(&child));
        match child.try_wait()? {
            Some(status) => break status,
            None => interrupt::sleep(LOOK_EVERY)?,
        }
    };
    ensure!(status.success(), "{name} failed ({status})");
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = fs::metadata(file).context("the capture is there")?.len();
    Ok(Run { name: name.to_owned(), records, bytes, seconds, memory })
}

/// Most memory so far, in bytes; 0 of a program that has ended.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["program", "records", "seconds", "records/s", "MB/s", "memory"]);
    for run in runs {
        table.add_row([
            run.name.clone(),
            run.records.to_string(),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.records as f64 / run.seconds),
            format!("{:.0}", run.bytes as f64 / 1e6 / run.seconds),
            format!("{} MiB", run.memory >> 20),
        ]);
    }
    table
}

//! Analysis of a capture of made-up commands, beside tshark on a slice of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};

use super::Plan;
use crate::bench::cpu;
use crate::{interrupt, process, rig, workspace};

/// How often the memory of a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One program's run.
struct Run {
    name: String,
    records: u64,
    bytes: u64,
    seconds: f64,
    /// Of all processors together.
    cpu_seconds: f64,
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
    println!("\nanalysis of made-up commands without payload\n{}", table(&runs));
    println!("goal: 2,000,000 records/s on two processors, 200 MiB");
    Ok(())
}

fn measure(name: &str, command: &mut Command, file: &Path, records: u64) -> Result<Run> {
    let (begin, busy) = (Instant::now(), cpu::children_seconds()?);
    let mut child = process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut memory = 0;
    let status = loop {
        // One that has just ended tells nothing.
        memory = memory.max(rig::peak_memory(&child).unwrap_or(0));
        match child.try_wait()? {
            Some(status) => break status,
            None => interrupt::sleep(LOOK_EVERY)?,
        }
    };
    ensure!(status.success(), "{name} failed ({status})");
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = cpu::children_seconds()? - busy;
    let bytes = fs::metadata(file).context("the capture is there")?.len();
    Ok(Run { name: name.to_owned(), records, bytes, seconds, cpu_seconds, memory })
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["program", "records", "seconds", "records/s", "MB/s", "CPU s", "memory"]);
    for run in runs {
        table.add_row([
            run.name.clone(),
            run.records.to_string(),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.records as f64 / run.seconds),
            format!("{:.0}", run.bytes as f64 / 1e6 / run.seconds),
            format!("{:.2}", run.cpu_seconds),
            format!("{} MiB", run.memory >> 20),
        ]);
    }
    table
}

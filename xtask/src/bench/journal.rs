//! `bench journal`: how fast the journal takes entries at each policy, beside fio that writes and syncs as often, as
//! much at once, into a file of the same size on the same file system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::bench::figures::{median, sorted};
use crate::{interrupt, process, workspace};

/// Bytes of fio's file: as many as the journal's segments have together.
const FILE_BYTES: u64 = 256 << 20;

/// Policy, bytes of an entry's payload, entries of one append.
type Case = (&'static str, usize, usize);

/// Single small writes, what gathers in a busy millisecond,
/// and large writes.
const CASES: [Case; 7] = [
    ("each", 4096, 1),
    ("each", 4096, 64),
    ("each", 131_072, 8),
    ("interval", 4096, 64),
    ("interval", 131_072, 8),
    ("never", 4096, 64),
    ("never", 131_072, 8),
];

/// What one run of the journal did, and how fast.
struct Rate {
    bytes: u64,
    append_bytes: u64,
    appends_per_sync: Option<u64>,
    megabytes_per_second: f64,
}

/// The task.
pub(crate) fn run(rounds: usize, seconds: u64, folder: Option<PathBuf>) -> Result<()> {
    process::run(workspace::cargo().args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "system-tests",
        "--bin",
        "journal_rate",
    ]))?;
    let parent = folder.unwrap_or_else(|| workspace::target().join("tmp"));
    std::fs::create_dir_all(&parent)?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "sync",
        "payload",
        "entries",
        "journal MB/s",
        "fio MB/s",
        "ratio",
        "lowest",
        "highest",
    ]);
    for case in CASES {
        table.add_row(case_row(case, rounds, seconds, &parent)?);
    }
    println!("\n{table}\nmedians; goal: ratio of at least 0.8");
    Ok(())
}

fn case_row((policy, payload, entries): Case, rounds: usize, seconds: u64, parent: &Path) -> Result<Vec<String>> {
    let mut rates = Vec::new();
    for round in 1..=rounds {
        interrupt::check()?;
        let folder = tempfile::tempdir_in(parent)?;
        let ours = journal(folder.path(), policy, payload, entries, seconds)?;
        let fio = fio(folder.path(), &ours)?;
        let ours = ours.megabytes_per_second;
        println!("{policy} {payload} x {entries}, round {round}: journal {ours:.0} MB/s, fio {fio:.0} MB/s");
        rates.push((ours, fio));
    }
    let of = |value: fn(&(f64, f64)) -> f64| sorted(rates.iter().map(value));
    let ratios = of(|(ours, fio)| ours / fio);
    let rate = |rates: &[f64]| format!("{:.0}", median(rates));
    let [lowest, highest] =
        [ratios.first(), ratios.last()].map(|ratio| format!("{:.2}", ratio.copied().unwrap_or(0.0)));
    Ok(vec![
        policy.to_owned(),
        payload.to_string(),
        entries.to_string(),
        rate(&of(|rates| rates.0)),
        rate(&of(|rates| rates.1)),
        format!("{:.2}", median(&ratios)),
        lowest,
        highest,
    ])
}

fn journal(folder: &Path, policy: &str, payload: usize, entries: usize, seconds: u64) -> Result<Rate> {
    let mut program = Command::new(workspace::target().join("release/journal_rate"));
    program.arg(folder.join("journal")).arg(policy);
    program.args([payload.to_string(), entries.to_string(), seconds.to_string()]);
    let said: Value = serde_json::from_str(&process::output(&mut program)?).context("journal_rate printed no JSON")?;
    let number = |name: &str| said[name].as_u64().with_context(|| format!("journal_rate does not say {name}"));
    let seconds = said["seconds"].as_f64().context("journal_rate does not say seconds")?;
    let (appends, append_bytes, syncs) = (number("appends")?, number("append_bytes")?, number("syncs")?);
    let bytes = appends * append_bytes;
    let appends_per_sync = (syncs > 0).then(|| (appends / syncs).max(1));
    Ok(Rate { bytes, append_bytes, appends_per_sync, megabytes_per_second: bytes as f64 / 1e6 / seconds })
}

/// MB/s of fio that overwrites a file, laid out before, with as many bytes at once and as many writes between two syncs.
fn fio(folder: &Path, like: &Rate) -> Result<f64> {
    let mut fio = Command::new("fio");
    fio.args([
        "--name=journal",
        "--ioengine=psync",
        "--rw=write",
        "--overwrite=1",
        "--invalidate=0",
        "--output-format=json",
    ]);
    fio.arg(format!("--filename={}", folder.join("fio").display()));
    fio.arg(format!("--bs={}", like.append_bytes));
    fio.arg(format!("--size={}", FILE_BYTES / like.append_bytes * like.append_bytes));
    fio.arg(format!("--io_size={}", like.bytes));
    if let Some(writes) = like.appends_per_sync {
        fio.arg(format!("--fdatasync={writes}"));
    }
    let said: Value = serde_json::from_str(&process::output(&mut fio)?).context("fio printed no JSON")?;
    let job = &said["jobs"][0];
    // Its own rate leaves the syncs out.
    let milliseconds = job["job_runtime"].as_f64().context("fio tells no run time")?;
    let bytes = job["write"]["io_bytes"].as_f64().context("fio tells no bytes")?;
    Ok(bytes / 1e3 / milliseconds)
}

//! Every suite, in order, and a table at the end.
//!
//! A stage that fails does not stop the others. One that cannot run here says why by name; in continuous integration
//! (CI=true) that is a failure too, and so is a test that no stage ran.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::{Table, presets};

use crate::{interrupt, process, rows, tidy, vm, workspace};

/// Package of the whole-system suites, and its test target with real eBPF on loop devices.
const SYSTEM_TESTS: &str = "system-tests";
const LOOP_TARGET: &str = "loop";
/// The stage that compares committed files with the programs that they came from.
const GOLDENS: &str = "goldens";
/// Packages and their test targets that hold such files.
const GOLDEN_TARGETS: [(&str, &str); 3] = [("formats", "scsi_golden"), ("captures", "golden"), ("captures", "samples")];
/// A short run of every fuzz target belongs to the tests; long ones are `cargo xtask fuzz`.
const FUZZ_SECONDS: &str = "10";

/// Tests of one stage. A stage that is no collection of tests is one test.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Of those that ran: tests that another stage counts as ignored.
    caught_up: u64,
}

impl Counts {
    const ONE: Self = Self { passed: 1, failed: 0, ignored: 0, caught_up: 0 };

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.caught_up += other.caught_up;
    }

    /// The same, where each is a test that is ignored elsewhere.
    fn all_caught_up(self) -> Self {
        Self { caught_up: self.passed + self.failed, ..self }
    }
}

/// How a stage ended.
enum Outcome {
    Ran(Counts),
    /// With what is missing.
    CannotRun(String),
}

type Stage = (&'static str, fn() -> Result<Outcome>);

const STAGES: [Stage; 10] = [
    ("tidy", || tidy::run().map(|()| Outcome::Ran(Counts::ONE))),
    ("format", format),
    ("clippy", clippy),
    ("docs", docs),
    ("tests", workspace_tests),
    ("rows", || rows::run().map(|()| Outcome::Ran(Counts::ONE))),
    ("fuzz", fuzz),
    (GOLDENS, goldens),
    (LOOP_TARGET, loop_suite),
    ("vm", vm_suite),
];

/// What the table shows of a stage.
struct Row {
    stage: &'static str,
    counts: Counts,
    time: Duration,
    note: String,
}

/// The task.
pub(crate) fn run() -> Result<()> {
    let mut rows = Vec::new();
    for stage in STAGES {
        interrupt::check()?;
        println!("\n=== {}", stage.0);
        rows.push(run_stage(stage));
    }
    let mut total = Counts::default();
    rows.iter().for_each(|row| total.add(row.counts));
    // Tests ignored by default are those of the loop suite, of the goldens and of the virtual machines' devices, which
    // have stages of their own.
    let left_out = total.ignored.saturating_sub(total.caught_up);
    if workspace::is_ci() && left_out > 0 {
        rows.push(row("ignored", Duration::ZERO, Err(anyhow!("{left_out} tests are ignored and run nowhere"))));
        total.failed += 1;
    }
    println!("\n{}", table(&rows));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn run_stage((stage, run): Stage) -> Row {
    let started = Instant::now();
    let outcome = run();
    if let Err(error) = &outcome {
        println!("{stage}: {error:#}");
    }
    row(stage, started.elapsed(), outcome)
}

fn row(stage: &'static str, time: Duration, outcome: Result<Outcome>) -> Row {
    let (counts, note) = match outcome {
        Ok(Outcome::Ran(counts)) if counts.failed == 0 => (counts, "ok".to_owned()),
        Ok(Outcome::Ran(counts)) => (counts, "FAILED".to_owned()),
        Ok(Outcome::CannotRun(why)) if workspace::is_ci() => {
            (Counts { failed: 1, ..Counts::default() }, format!("FAILED: cannot run here: {why}"))
        }
        Ok(Outcome::CannotRun(why)) => (Counts::default(), format!("cannot run here: {why}")),
        Err(error) => (Counts { failed: 1, ..Counts::default() }, format!("FAILED: {}", first_line(&error))),
    };
    Row { stage, counts, time, note }
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["stage", "passed", "failed", "ignored", "seconds", ""]);
    for row in rows {
        let Counts { passed, failed, ignored, .. } = row.counts;
        let numbers = [passed, failed, ignored].map(|number| number.to_string());
        let [passed, failed, ignored] = numbers;
        let seconds = format!("{:.1}", row.time.as_secs_f64());
        table.add_row([row.stage.to_owned(), passed, failed, ignored, seconds, row.note.clone()]);
    }
    table
}

fn format() -> Result<Outcome> {
    check_with("fmt", &["--all", "--check"])
}

fn clippy() -> Result<Outcome> {
    check_with("clippy", &["--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
}

/// A check by a part of the toolchain that may not be installed.
fn check_with(part: &str, arguments: &[&str]) -> Result<Outcome> {
    if process::output(workspace::cargo().args([part, "--version"])).is_err() {
        return Ok(Outcome::CannotRun(format!("cargo {part} is not installed (scripts/setup.sh test)")));
    }
    process::run(workspace::cargo().arg(part).args(arguments))?;
    Ok(Outcome::Ran(Counts::ONE))
}

fn docs() -> Result<Outcome> {
    let mut cargo = workspace::cargo();
    process::run(cargo.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Ran(Counts::ONE))
}

fn workspace_tests() -> Result<Outcome> {
    count_tests(workspace::cargo().args(["test", "--workspace", "--quiet", "--no-fail-fast"])).map(Outcome::Ran)
}

fn fuzz() -> Result<Outcome> {
    let manifest = ["run", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"];
    process::run(workspace::cargo().args(manifest).args(["--", "--seconds", FUZZ_SECONDS]))?;
    Ok(Outcome::Ran(Counts::ONE))
}

/// What tshark and sg3_utils say of SCSI commands, sense and captures, beside the committed files.
fn goldens() -> Result<Outcome> {
    let missing: Vec<&str> = ["tshark", "sg_decode_sense"].into_iter().filter(|name| !process::exists(name)).collect();
    if !missing.is_empty() {
        return Ok(Outcome::CannotRun(format!("not installed: {} (scripts/setup.sh test)", missing.join(", "))));
    }
    let mut all = Counts::default();
    for (package, target) in GOLDEN_TARGETS {
        let mut cargo = workspace::cargo();
        let counts = count_tests(cargo.args(["test", "--quiet", "-p", package, "--test", target, "--", "--ignored"]))?;
        if counts.passed + counts.failed == 0 {
            bail!("{package} holds no test of the goldens");
        }
        all.add(counts);
    }
    Ok(Outcome::Ran(all.all_caught_up()))
}

/// Real eBPF on loop devices: the tests of [`SYSTEM_TESTS`] that are ignored elsewhere, one at a time.
fn loop_suite() -> Result<Outcome> {
    if let Some(why) = no_live_capture() {
        return Ok(Outcome::CannotRun(why));
    }
    let binary = workspace::release_binary()?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--quiet", "-p", SYSTEM_TESTS, "--no-fail-fast"]).env("BLKECHO_BIN", binary);
    match has_loop_target()? {
        true => cargo.args(["--test", LOOP_TARGET, "--"]),
        false => cargo.args(["--lib", "--", LOOP_TARGET]),
    };
    let counts = count_tests(cargo.args(["--ignored", "--test-threads", "1"]))?;
    if counts.passed + counts.failed == 0 {
        bail!("{SYSTEM_TESTS} holds no test of the loop suite");
    }
    Ok(Outcome::Ran(counts.all_caught_up()))
}

fn has_loop_target() -> Result<bool> {
    let metadata = workspace::metadata("tests/Cargo.toml")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let targets = packages.iter().filter(|package| package["name"] == SYSTEM_TESTS);
    let mut targets = targets.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    Ok(targets.any(|target| target["name"] == LOOP_TARGET && target["kind"][0] == "test"))
}

/// What this machine lacks for live capture, in words.
pub(crate) fn no_live_capture() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let needed = ["/sys/kernel/btf/vmlinux", "/dev/loop-control", "/sys/fs/bpf"];
    let missing = needed.into_iter().find(|path| !Path::new(path).exists());
    missing.map(|path| format!("this kernel has no {path}"))
}

fn vm_suite() -> Result<Outcome> {
    if let Some(why) = vm::lacking() {
        return Ok(Outcome::CannotRun(why));
    }
    let results = vm::suite()?;
    for name in &results.failed {
        println!("vm: failed: {name}");
    }
    let (failed, caught_up) = (results.failed.len() as u64, results.tests());
    Ok(Outcome::Ran(Counts { passed: results.passed, failed, ignored: 0, caught_up }))
}

/// Runs `cargo test` and adds up what its binaries report.
fn count_tests(command: &mut Command) -> Result<Counts> {
    let mut counts = Counts::default();
    let status = process::stream(command, |line| {
        println!("{line}");
        counts.add(parse_result(line).unwrap_or_default());
    })?;
    if !status.success() && counts.failed == 0 {
        bail!("{} failed before or outside of its tests ({status})", process::line(command));
    }
    Ok(counts)
}

/// `test result: ok. 22 passed; 0 failed; 1 ignored; ...`
fn parse_result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for (number, what) in numbers.split("; ").filter_map(|part| part.split_once(' ')) {
        let number = number.parse().unwrap_or(0);
        match what {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.ignored = number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_binaries() {
        let line = "test result: FAILED. 22 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(parse_result(line), Some(Counts { passed: 22, failed: 2, ignored: 1, caught_up: 0 }));
        assert_eq!(parse_result("test a ... ok"), None);
    }

    #[test]
    fn ignored_tests_that_have_a_stage_are_caught_up() {
        let stage = Counts { passed: 2, failed: 1, ..Counts::default() }.all_caught_up();
        let mut total = Counts { passed: 9, ignored: 4, ..Counts::default() };
        total.add(stage);
        assert_eq!((total.ignored, total.caught_up), (4, 3));
    }

    #[test]
    fn what_ended_badly_is_counted() {
        let failed = row("x", Duration::ZERO, Err(anyhow!("no\nmore")));
        assert_eq!((failed.counts.failed, failed.note.as_str()), (1, "FAILED: no"));
        let ran = row("x", Duration::ZERO, Ok(Outcome::Ran(Counts { passed: 1, failed: 3, ..Counts::default() })));
        assert_eq!((ran.counts.failed, ran.note.as_str()), (3, "FAILED"));
    }
}

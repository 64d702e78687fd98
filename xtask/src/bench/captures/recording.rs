//! A capture that runs beside something else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::interrupt;
use crate::rig::Node;

/// A capture gets this long to begin.
const BEGIN: Duration = Duration::from_secs(20);
/// And this long to write what it has.
const END: Duration = Duration::from_secs(60);
/// What it says once it captures.
const BEGUN: &str = "capturing ";

/// A running capture of a device into a file.
#[derive(Debug)]
pub(super) struct Recording {
    node: Node,
    log: PathBuf,
}

/// What a capture came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Captured {
    pub(super) records: u64,
    /// Of the file.
    pub(super) bytes: u64,
    pub(super) lost: u64,
}

impl Recording {
    /// Starts one, and waits until it captures.
    pub(super) fn start(binary: &Path, device: &Path, file: &Path, more: &[&str]) -> Result<Self> {
        let log = file.with_extension("log");
        fs::write(&log, "")?;
        let mut command = Command::new(binary);
        command
            .arg("capture")
            .arg(device)
            .arg("-o")
            .arg(file)
            .args(["--force", "--json"])
            .args(more)
            .env("RUST_LOG", "info");
        let mut node = Node::spawn(&mut command, &log)?;
        let end = Instant::now() + BEGIN;
        while !fs::read_to_string(&log)?.contains(BEGUN) {
            let text = || fs::read_to_string(&log).unwrap_or_default();
            ensure!(node.ended()?.is_none() && Instant::now() < end, "the capture does not begin: {}", text());
            interrupt::sleep(Duration::from_millis(20))?;
        }
        Ok(Self { node, log })
    }

    /// Ends it; all that had completed is in the file then.
    pub(super) fn end(self) -> Result<Captured> {
        self.node.interrupt(END)?.context("the capture does not end")?;
        let text = fs::read_to_string(&self.log)?;
        parse(&text).with_context(|| format!("the capture tells nothing: {text}"))
    }
}

/// What is told at the end, behind lines of the log.
fn parse(text: &str) -> Option<Captured> {
    let start = text.find("\n{").map_or(0, |line| line + 1);
    let report: Value = serde_json::from_str(&text[start..]).ok()?;
    // Losses of every kind, each a number.
    let lost = report["lost"].as_object()?.values().map(Value::as_u64).sum::<Option<u64>>()?;
    Some(Captured { records: report["records"].as_u64()?, bytes: report["bytes"].as_u64()?, lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_every_kind_are_counted() {
        let text = "INFO capturing loop0 into {x}\n{\n  ".to_owned()
            + r#""records": 7, "bytes": 900, "lost": {"completions": 1, "payloads": 2, "unwritten": 0}}"#;
        assert_eq!(parse(&text), Some(Captured { records: 7, bytes: 900, lost: 3 }));
        assert_eq!(parse(r#"{"records": 7, "bytes": 900}"#), None);
        assert_eq!(parse(r#"{"records": 7, "bytes": 900, "lost": {"completions": "x"}}"#), None);
    }
}

//! One process of the binary, its log, its end.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// Lines of a log that go into an error.
const TAIL_LINES: usize = 15;

/// A running process; dropping it is kill -9.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
}

impl Node {
    /// Starts it with its output appended to a log. It gets a process group of its own: a ctrl-C is for this task
    /// first, which then ends its processes in order.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        let errors = out.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        Ok(Self { child: process::spawn(command)? })
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end with SIGINT and waits; kills it when it takes longer than `limit`.
    pub(crate) fn interrupt(mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id is positive")?;
        kill_process(id, Signal::INT)?;
        process::wait_until(&mut self.child, Instant::now() + limit)
    }

    /// The most memory that it held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        peak_memory(&self.child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a process held so far, in bytes; an error when it has ended.
pub(crate) fn peak_memory(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    parse_peak(&status).context("the kernel tells no VmHWM")
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The end of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_as_the_kernel_writes_it() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }
}

//! The ways in which a device is observed while a load runs on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rig::Node;
use crate::{interrupt, process};

/// An observer gets this long to load and attach.
const ATTACH: Duration = Duration::from_millis(1500);
/// And this long to end and to say what it saw.
const END: Duration = Duration::from_secs(20);
const DEBUG: &str = "/sys/kernel/debug";
const TRACING: &str = "/sys/kernel/tracing";

/// A way of observing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observer {
    /// None: the baseline.
    Bare,
    /// Full payload, checksummed and dropped.
    Payload,
    /// Addresses and status without payload.
    Addresses,
    /// The kernel's own block trace, read and dropped.
    Blktrace(Reader),
    /// Full payload into a journal.
    Journal,
}

/// How the kernel's block trace is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The program blktrace, through debugfs.
    Program,
    /// Raw pages of the tracing buffers: a kernel in lockdown does not open debugfs' files, but these.
    Tracefs,
}

impl Reader {
    /// Whichever works on this machine, found by trying: blktrace says that it failed, but ends well.
    pub(crate) fn available(device: &Path, folder: &Path) -> Result<Self> {
        let trial = blktrace(device, folder).args(["-w", "1"]).output().context("cannot start blktrace")?;
        let complaint = String::from_utf8_lossy(&trial.stderr);
        if trial.status.success() && !complaint.to_lowercase().contains("failed") {
            return Ok(Self::Program);
        }
        let why = complaint.lines().next().unwrap_or_default();
        println!("blktrace cannot run here, its events are read through tracefs instead ({why})");
        Ok(Self::Tracefs)
    }
}

impl Observer {
    /// All of them, the baseline first.
    pub(crate) fn all(reader: Reader) -> [Self; 5] {
        [Self::Bare, Self::Payload, Self::Addresses, Self::Blktrace(reader), Self::Journal]
    }

    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Payload => "payload, journal off",
            Self::Addresses => "addresses only",
            Self::Blktrace(Reader::Program) => "blktrace",
            Self::Blktrace(Reader::Tracefs) => "blktrace (tracefs)",
            Self::Journal => "payload, journal on",
        }
    }

    /// Begins to observe and waits until it does.
    pub(crate) fn start(self, binary: &Path, device: &Path, folder: &Path) -> Result<Watch> {
        let mut watch = Watch { name: self.name(), log: folder.join("observer.log"), nodes: Vec::new(), _tracer: None };
        fs::write(&watch.log, "")?;
        let commands = match self {
            Self::Bare => return Ok(watch),
            Self::Payload => vec![capture(binary, device, folder, "payload")],
            Self::Addresses => vec![capture(binary, device, folder, "addresses")],
            Self::Journal => vec![capture(binary, device, folder, "journal")],
            Self::Blktrace(Reader::Program) => vec![blktrace(device, folder)],
            Self::Blktrace(Reader::Tracefs) => {
                watch._tracer = Some(Tracer::enable(device)?);
                raw_readers()?
            }
        };
        for mut command in commands {
            watch.nodes.push(Node::spawn(&mut command, &watch.log)?);
        }
        watch.settle()?;
        Ok(watch)
    }
}

/// Programs that observe; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    name: &'static str,
    log: PathBuf,
    nodes: Vec<Node>,
    _tracer: Option<Tracer>,
}

impl Watch {
    fn settle(&mut self) -> Result<()> {
        interrupt::sleep(ATTACH)?;
        for node in &mut self.nodes {
            let said = || fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(node.ended()?.is_none(), "{} ended at once: {}", self.name, said());
        }
        Ok(())
    }

    /// Ends the programs; returns what was lost, if they say so.
    pub(crate) fn end(self) -> Result<u64> {
        for node in self.nodes {
            let late = || format!("{} did not end within {} s", self.name, END.as_secs());
            node.interrupt(END)?.with_context(late)?;
        }
        let text = fs::read_to_string(&self.log)?;
        let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(last.and_then(|report| report["lost"].as_u64()).unwrap_or(0))
    }
}

fn capture(binary: &Path, device: &Path, folder: &Path, mode: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("capture-bench").arg(device).args(["--mode", mode]);
    command.env("BLKECHO_RUN_DIR", folder).current_dir(folder);
    command
}

/// Its output goes to a file per processor; what is measured is the kernel's part and the copying out.
fn blktrace(device: &Path, folder: &Path) -> Command {
    let mut command = Command::new("blktrace");
    command.args(["-o", "trace", "-D"]).arg(folder).arg("-d").arg(device);
    command
}

fn raw_readers() -> Result<Vec<Command>> {
    let mut readers = Vec::new();
    for entry in fs::read_dir(Path::new(TRACING).join("per_cpu"))? {
        let pipe = entry?.path().join("trace_pipe_raw");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec cat {} >/dev/null", pipe.display())]);
        readers.push(command);
    }
    Ok(readers)
}

/// The kernel's block tracer, switched off again when dropped.
#[derive(Debug)]
struct Tracer {
    enable: PathBuf,
}

impl Tracer {
    fn enable(device: &Path) -> Result<Self> {
        let name = device.file_name().context("a device has a name")?;
        let tracer = Self { enable: Path::new("/sys/block").join(name).join("trace/enable") };
        write(&Path::new(TRACING).join("current_tracer"), "blk")?;
        write(&tracer.enable, "1")?;
        Ok(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let current = Path::new(TRACING).join("current_tracer");
        for (path, value) in [(self.enable.as_path(), "0"), (current.as_path(), "nop")] {
            if let Err(error) = write(path, value) {
                eprintln!("xtask: the block tracer stays on: {error:#}");
            }
        }
    }
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
}

/// A file system of the kernel, unmounted again if it was not there before.
#[derive(Debug)]
pub(crate) struct KernelFilesystem {
    path: &'static str,
    ours: bool,
}

impl KernelFilesystem {
    /// What the readers of the kernel's block trace need.
    pub(crate) fn for_traces() -> Result<[Self; 2]> {
        Ok([Self::mounted("debugfs", DEBUG)?, Self::mounted("tracefs", TRACING)?])
    }

    fn mounted(kind: &str, path: &'static str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let is_there = mounts.lines().any(|line| line.split(' ').nth(1) == Some(path));
        if !is_there {
            process::output(Command::new("mount").args(["-t", kind, kind, path]))?;
        }
        Ok(Self { path, ours: !is_there })
    }
}

impl Drop for KernelFilesystem {
    fn drop(&mut self) {
        if self.ours {
            let _ = process::output(Command::new("umount").arg(self.path));
        }
    }
}

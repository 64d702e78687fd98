//! Loads: fio jobs, chosen from a seed.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process;
use crate::rig::random::Random;

/// A job that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// How the kernel is asked to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    IoUring,
    LibAio,
    Psync,
    Mmap,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::LibAio => "libaio",
            Self::Psync => "psync",
            Self::Mmap => "mmap",
        }
    }
}

/// What a job writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// The device itself, which can also be trimmed.
    Raw,
    /// A file.
    File,
}

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    pub(crate) engine: Engine,
    pub(crate) direct: bool,
    /// O_DSYNC on every write.
    pub(crate) dsync: bool,
    /// fio's `rw`.
    pub(crate) pattern: &'static str,
    /// fio's `bssplit`.
    pub(crate) sizes: &'static str,
    pub(crate) depth: u32,
    /// Processes that write to the same range, so that commands overlap in flight.
    pub(crate) jobs: u32,
    /// Bytes altogether, in MiB.
    pub(crate) mebibytes: u64,
}

const SMALL: &str = "512/30:1k/10:4k/60";
const MIXED: &str = "512/15:4k/45:16k/20:64k/10:256k/5:1m/5";
const LARGE: &str = "128k/40:512k/30:1m/30";

const fn mix(engine: Engine, direct: bool, pattern: &'static str, sizes: &'static str, depth: u32, jobs: u32) -> Mix {
    Mix { engine, direct, dsync: false, pattern, sizes, depth, jobs, mebibytes: 24 }
}

impl Mix {
    /// Every kind that a run must have seen; trims only where a device is written itself.
    pub(crate) fn every_kind(surface: Surface) -> Vec<Self> {
        let mut all = vec![
            mix(Engine::LibAio, true, "randwrite", SMALL, 64, 1),
            mix(Engine::LibAio, true, "randwrite", MIXED, 16, 3),
            mix(Engine::IoUring, true, "randwrite", MIXED, 32, 1),
            mix(Engine::IoUring, true, "write", LARGE, 8, 2),
            mix(Engine::IoUring, false, "randrw", MIXED, 8, 1),
            mix(Engine::Psync, false, "write", LARGE, 1, 1),
            Self { dsync: true, mebibytes: 4, ..mix(Engine::Psync, false, "randwrite", SMALL, 1, 2) },
            Self { dsync: true, mebibytes: 8, ..mix(Engine::LibAio, true, "randwrite", MIXED, 4, 1) },
            mix(Engine::Mmap, false, "randwrite", "4k/80:16k/20", 1, 1),
        ];
        if surface == Surface::Raw {
            all.push(mix(Engine::LibAio, true, "randtrim", "4k/50:64k/30:1m/20", 8, 1));
            all.push(mix(Engine::Psync, true, "trimwrite", "64k/60:1m/40", 1, 1));
        }
        all
    }

    /// Any kind at all.
    pub(crate) fn any(random: &mut Random, surface: Surface) -> Self {
        let kinds = Self::every_kind(surface);
        let mut chosen = kinds[random.between(0, kinds.len() as u64) as usize].clone();
        if matches!(chosen.engine, Engine::IoUring | Engine::LibAio) {
            chosen.depth = random.pick(&[1, 2, 4, 8, 16, 32, 64]);
            chosen.jobs = random.pick(&[1, 1, 2, 4]);
        }
        chosen
    }

    /// Runs it to its end on a device or a file of `bytes`.
    pub(crate) fn run(&self, path: &Path, bytes: u64, seed: u64) -> Result<()> {
        Load::spawn(&mut self.command(path, bytes, seed))?.finish()
    }

    /// Runs it to its end, at a rate in MB/s when one is given.
    pub(crate) fn run_at(&self, path: &Path, bytes: u64, rate: Option<u64>) -> Result<()> {
        let mut command = self.command(path, bytes, 1);
        command.args(rate.map(|rate| format!("--rate={}", rate * 1_000_000)));
        Load::spawn(&mut command)?.finish()
    }

    /// Starts it for a time, at a rate in MiB/s, and leaves it running.
    pub(crate) fn start(&self, path: &Path, bytes: u64, seed: u64, time: Duration, rate: u64) -> Result<Load> {
        let mut command = self.command(path, bytes, seed);
        command.args(["--time_based", &format!("--runtime={}ms", time.as_millis()), &format!("--rate={rate}m")]);
        Load::spawn(&mut command)
    }

    fn command(&self, path: &Path, bytes: u64, seed: u64) -> Command {
        let mut command = Command::new("fio");
        command.args(["--name=mix", "--output-format=json", "--norandommap", "--refill_buffers", "--thread"]);
        command.args(["--end_fsync=1", "--fallocate=none", "--allow_file_create=1", "--group_reporting"]);
        command.arg(format!("--filename={}", path.display())).arg(format!("--size={bytes}"));
        command.arg(format!("--io_size={}m", (self.mebibytes / u64::from(self.jobs)).max(1)));
        command.arg(format!("--ioengine={}", self.engine.name())).arg(format!("--rw={}", self.pattern));
        command.arg(format!("--bssplit={}", self.sizes)).arg(format!("--iodepth={}", self.depth));
        command.arg(format!("--numjobs={}", self.jobs)).arg(format!("--randseed={seed}"));
        command.arg(format!("--direct={}", u8::from(self.direct)));
        if self.dsync {
            command.arg("--sync=dsync");
        }
        command
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.direct { "direct" } else { "buffered" };
        let sync = if self.dsync { " dsync" } else { "" };
        let Self { engine, pattern, sizes, depth, jobs, .. } = self;
        write!(f, "{} {pattern} {access}{sync} qd{depth} x{jobs} {sizes}", engine.name())
    }
}

/// A running fio, killed when dropped.
#[derive(Debug)]
pub(crate) struct Load {
    child: std::process::Child,
}

impl Load {
    fn spawn(command: &mut Command) -> Result<Self> {
        Ok(Self { child: process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))? })
    }

    /// Waits for its end.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match process::wait_until(&mut self.child, Instant::now() + LIMIT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("fio failed ({status})"),
            None => bail!("fio did not end within {} s", LIMIT.as_secs()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

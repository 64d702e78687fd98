//! What the demo borrows from the machine, each with a guard that gives it back.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Where system programs are; a user's PATH may lack the second half.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// The full path of a program.
pub(super) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A program of the system, not yet started. It has its own process group: an interrupt at the terminal reaches the
/// demo alone, which then ends everything in order.
pub(super) fn tool(name: &str) -> Command {
    let mut command = Command::new(find_tool(name).unwrap_or_else(|| name.into()));
    command.process_group(0).stdin(Stdio::null());
    command
}

/// Runs a program to its end and answers what it printed.
pub(super) fn call(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{shown} failed ({}): {}", output.status, error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Reports what could not be given back; a guard cannot return it.
fn tidy(result: anyhow::Result<impl Sized>) {
    if let Err(error) = result {
        tracing::warn!("while cleaning up: {error:#}");
    }
}

/// A loop device over a sparse file.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) device: PathBuf,
}

impl Loop {
    /// Makes the file and the device.
    pub(super) fn new(file: &Path, bytes: u64) -> anyhow::Result<Self> {
        File::create(file).and_then(|file| file.set_len(bytes)).with_context(|| file.display().to_string())?;
        let device = call(tool("losetup").args(["--find", "--show"]).arg(file))?;
        Ok(Self { device: device.into() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tidy(call(tool("losetup").arg("--detach").arg(&self.device)));
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) point: PathBuf,
}

impl Mounted {
    /// Mounts `device` at `point`, which is made.
    pub(super) fn new(device: &Path, point: &Path, options: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(point)?;
        call(tool("mount").args(["-t", "ext4", "-o", options]).arg(device).arg(point))?;
        Ok(Self { point: point.to_owned() })
    }

    /// Unmounts it; the guard would do it without a word about failure.
    pub(super) fn unmount(self) -> anyhow::Result<()> {
        let result = call(tool("umount").arg(&self.point));
        if result.is_ok() {
            std::mem::forget(self);
        }
        result.map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tidy(call(tool("umount").arg(&self.point)));
    }
}

/// A process of this program.
#[derive(Debug)]
pub(super) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `blkecho NAME ARGS...`, its output going to a file in `dir`.
    pub(super) fn start(name: &'static str, dir: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        Ok(Self { name, child: child.with_context(|| format!("cannot start {name}"))?, log })
    }

    /// Fails if it ended already, with the end of its log.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended early ({status}):\n{}", self.name, self.last_words())),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Ends it and waits; after a while by force.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.child);
        let end = Instant::now() + GRACE;
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.last_words()),
                None if Instant::now() >= end => break,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end within {GRACE:?} and was killed", self.name)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            tidy(self.end());
        }
    }
}

/// Fails if less than `bytes` are free in `dir`.
pub(super) fn require_space(dir: &Path, bytes: u64) -> anyhow::Result<()> {
    let stat = rustix::fs::statvfs(dir)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < bytes {
        let (free, bytes) = (crate::units::bytes(free), crate::units::bytes(bytes));
        bail!("{} has {free} free and the demo needs {bytes}: point TMPDIR elsewhere", dir.display());
    }
    Ok(())
}

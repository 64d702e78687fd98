//! A primary and a standby on this machine for soak, crash and benchmark runs: two loop devices, two processes of the
//! real binary, and guards that take everything down again in any case.

mod compare;
mod devices;
mod fio;
mod node;
mod random;
mod status;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub(crate) use compare::{Difference, compare};
pub(crate) use devices::{Filesystem, LoopDevice, Mount};
pub(crate) use fio::{Engine, Mix, Surface};
pub(crate) use node::{Node, peak_memory};
pub(crate) use random::Random;
pub(crate) use status::Status;

use crate::{interrupt, process, test, workspace};

/// The first drain includes copying the whole volume.
const FIRST_SYNC: Duration = Duration::from_secs(120);
/// A drain after a load.
const DRAIN: Duration = Duration::from_secs(120);

/// What a rig is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Size of both disks.
    pub(crate) bytes: u64,
    /// Disks on a file system in memory instead of under `target/`.
    pub(crate) in_memory: bool,
    /// `--journal-size` of both ends.
    pub(crate) journal: &'static str,
}

/// Both disks and both processes. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Rig {
    agent: Option<Node>,
    standby: Option<Node>,
    _pins: Pins,
    primary: LoopDevice,
    secondary: LoopDevice,
    plan: Plan,
    binary: PathBuf,
    group: String,
    port: u16,
    scratch: TempDir,
}

/// Removes what the probe left pinned in the kernel.
#[derive(Debug)]
struct Pins {
    binary: PathBuf,
    group: String,
    run_dir: PathBuf,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut command = Command::new(&self.binary);
        command.args(["detach", "--group", &self.group]).env("BLKECHO_RUN_DIR", &self.run_dir);
        if let Err(error) = process::output(&mut command) {
            eprintln!("xtask: the probe may still be loaded: {error:#}");
        }
    }
}

impl Rig {
    /// Builds the binary and makes the disks; nothing runs yet.
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        require_capture()?;
        let binary = workspace::release_binary()?;
        let scratch = scratch()?;
        let disks = if plan.in_memory { memory_folder()? } else { scratch.path().to_owned() };
        let group = format!("xtask-{}", std::process::id());
        let pins = Pins { binary: binary.clone(), group: group.clone(), run_dir: scratch.path().join("run") };
        std::fs::create_dir(&pins.run_dir)?;
        let primary = LoopDevice::create(&disks, "primary", plan.bytes)?;
        let secondary = LoopDevice::create(&disks, "secondary", plan.bytes)?;
        let port = free_port()?;
        Ok(Self { agent: None, standby: None, _pins: pins, primary, secondary, plan, binary, group, port, scratch })
    }

    /// Starts both ends and waits until the standby holds what the primary does.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_standby()?;
        self.start_agent()?;
        self.drain(FIRST_SYNC).context("the initial sync")
    }

    /// Starts the standby, again or for the first time.
    pub(crate) fn start_standby(&mut self) -> Result<()> {
        let volume = format!("disk={}", self.secondary.path().display());
        let mut command = self.command();
        command.args(["standby", "--listen", &self.address(), "--volume", &volume, "--overwrite"]);
        command.args(["--group", &self.group]);
        command.arg("--dir").arg(self.scratch.path().join("standby")).args(["--journal-size", self.plan.journal]);
        self.standby = Some(Node::spawn(&mut command, &self.log("standby"))?);
        Ok(())
    }

    /// Starts the agent, again or for the first time.
    pub(crate) fn start_agent(&mut self) -> Result<()> {
        let mut command = self.command();
        command.arg("attach").arg(self.primary.path()).args(["--name", "disk", "--group", &self.group]);
        command
            .args(["--to", &format!("{},mode=sync", self.address())])
            .arg("--dir")
            .arg(self.scratch.path().join("agent"));
        command.args(["--journal-size", self.plan.journal]);
        self.agent = Some(Node::spawn(&mut command, &self.log("agent"))?);
        Ok(())
    }

    /// kill -9 of the agent.
    pub(crate) fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// kill -9 of the standby.
    pub(crate) fn kill_standby(&mut self) {
        self.standby = None;
    }

    /// Waits until the standby, without its primary, has applied all that it holds, and ends it.
    pub(crate) fn settle_standby(&mut self) -> Result<()> {
        let end = Instant::now() + DRAIN;
        // It fails while a killed agent's socket is there, and prints what the others say all the same.
        loop {
            let said = self.command().args(["status", "--json"]).output()?.stdout;
            let said = String::from_utf8_lossy(&said);
            if status::is_settled(&said)? {
                break;
            }
            if Instant::now() >= end {
                return Err(self.with_logs(anyhow::anyhow!("the standby does not settle: {said}")));
            }
            interrupt::sleep(Duration::from_millis(100))?;
        }
        let standby = self.standby.take().context("the standby runs")?;
        standby.interrupt(DRAIN)?;
        self.secondary.forget_cached()
    }

    /// Makes commands that wait until the standby holds what completed, as an application would.
    pub(crate) fn wait_sync(&self, timeout: &'static str) -> impl FnMut() -> Command + Send + use<> {
        let (binary, group, run_dir) = (self.binary.clone(), self.group.clone(), self.scratch.path().join("run"));
        move || {
            let mut command = Command::new(&binary);
            command.args(["wait-sync", "--group", &group, "--timeout", timeout]).env("BLKECHO_RUN_DIR", &run_dir);
            command
        }
    }

    /// Waits until everything that completed before is applied; tries again while the ends find each other.
    pub(crate) fn drain(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            self.expect_running()?;
            let left = end.saturating_duration_since(Instant::now()).as_secs().max(1).to_string();
            let mut command = self.command();
            match process::output(command.args(["drain", "--group", &self.group, "--timeout", &left])) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(self.with_logs(error)),
                Err(_) => interrupt::sleep(Duration::from_millis(200))?,
            }
        }
    }

    /// Drains and compares every byte.
    pub(crate) fn drain_and_compare(&mut self) -> Result<Option<Difference>> {
        self.drain(DRAIN)?;
        self.primary.forget_cached()?;
        self.secondary.forget_cached()?;
        compare(self.primary.path(), self.secondary.path())
    }

    /// What both ends say of themselves.
    pub(crate) fn status(&self) -> Result<Status> {
        let mut command = self.command();
        Status::parse(&process::output(command.args(["status", "--json"]))?)
    }

    /// The observed disk.
    pub(crate) fn primary(&self) -> &LoopDevice {
        &self.primary
    }

    /// The disk of the standby.
    pub(crate) fn secondary(&self) -> &LoopDevice {
        &self.secondary
    }

    /// A folder for what belongs to this run.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Highest resident memory of agent and standby so far, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<(u64, u64)> {
        let peak = |node: &Option<Node>| node.as_ref().context("the process does not run").and_then(Node::peak_memory);
        Ok((peak(&self.agent)?, peak(&self.standby)?))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("BLKECHO_RUN_DIR", self.scratch.path().join("run"));
        command
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.log"))
    }

    fn expect_running(&mut self) -> Result<()> {
        let ended = |node: &mut Option<Node>| node.as_mut().and_then(|node| node.ended().transpose()).transpose();
        let ended = [("agent", ended(&mut self.agent)?), ("standby", ended(&mut self.standby)?)];
        for (name, status) in ended {
            if let Some(status) = status {
                return Err(self.with_logs(anyhow::anyhow!("the {name} ended by itself ({status})")));
            }
        }
        Ok(())
    }

    fn with_logs(&self, error: anyhow::Error) -> anyhow::Error {
        let tail = |name| format!("--- {name}\n{}", node::tail(&self.log(name)));
        error.context(format!("{}\n{}", tail("agent"), tail("standby")))
    }
}

/// An error that says what is missing for live capture.
pub(crate) fn require_capture() -> Result<()> {
    test::no_live_capture().map_or(Ok(()), |why| bail!("{why}"))
}

/// A folder of this run under `target/`, removed at the end.
pub(crate) fn scratch() -> Result<TempDir> {
    let folder = workspace::target().join("rig");
    std::fs::create_dir_all(&folder)?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// A folder in memory; what lies in it is deleted by its makers.
pub(crate) fn memory_folder() -> Result<PathBuf> {
    let folder = PathBuf::from("/dev/shm");
    if !folder.is_dir() {
        bail!("there is no file system in memory at {}", folder.display());
    }
    Ok(folder)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An empty file of a size, sparse where it can be.
fn sparse_file(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(file.set_len(bytes)?)
}

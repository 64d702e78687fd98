//! A PostgreSQL server of this run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::rig::Node;
use crate::{interrupt, process};

/// Where Debian has the programs, one folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The account that they run as: they refuse root.
const ACCOUNT: &str = "postgres";
/// Recovery from the write-ahead log included.
const START: Duration = Duration::from_secs(60);
/// Small, so that the log wraps, checkpoints happen and blocks are written again and again.
const SETTINGS: [&str; 4] = ["listen_addresses=", "max_wal_size=32MB", "checkpoint_timeout=30s", "shared_buffers=16MB"];

/// The programs, and who they run as.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    user: u32,
    group: u32,
}

impl Programs {
    /// Finds them.
    pub(super) fn find() -> Result<Self> {
        let missing = "PostgreSQL is not here: install the package postgresql";
        let versions = fs::read_dir(VERSIONS).context(missing)?;
        let folders = versions.flatten().map(|version| version.path().join("bin"));
        let folder = folders.filter(|folder| folder.join("postgres").exists()).max().context(missing)?;
        let id =
            |flag| -> Result<u32> { Ok(process::output(Command::new("id").args([flag, ACCOUNT]))?.trim().parse()?) };
        Ok(Self { folder, user: id("-u")?, group: id("-g")? })
    }

    /// One of them, as that account.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.uid(self.user).gid(self.group).current_dir("/");
        command
    }

    /// A folder that is that account's.
    pub(super) fn folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        Ok(chown(path, Some(self.user), Some(self.group))?)
    }

    /// An empty database cluster in a folder, which syncs what it writes.
    pub(super) fn initialise(&self, data: &Path) -> Result<()> {
        self.folder(data)?;
        let mut initdb = self.command("initdb");
        process::output(initdb.args(["--auth=trust", "--data-checksums", "--pgdata"]).arg(data)).map(drop)
    }
}

/// A running server; dropping it is kill -9.
#[derive(Debug)]
pub(super) struct Server {
    programs: Programs,
    sockets: PathBuf,
    node: Node,
}

impl Server {
    /// Starts it on a cluster and waits until it answers: if the cluster was not ended in order, it has recovered then.
    pub(super) fn start(programs: &Programs, data: &Path, sockets: &Path, log: &Path) -> Result<Self> {
        programs.folder(sockets)?;
        // Of a server that had no time to end.
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let mut command = programs.command("postgres");
        command.arg("-D").arg(data).arg("-k").arg(sockets);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let node = Node::spawn(&mut command, log)?;
        let mut server = Self { programs: programs.clone(), sockets: sockets.to_owned(), node };
        server.wait_ready(log)?;
        Ok(server)
    }

    fn wait_ready(&mut self, log: &Path) -> Result<()> {
        let end = Instant::now() + START;
        while process::output(&mut self.client("pg_isready")).is_err() {
            let ended = self.node.ended()?.is_some() || Instant::now() > end;
            ensure!(!ended, "PostgreSQL does not start:\n{}", fs::read_to_string(log).unwrap_or_default());
            interrupt::sleep(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// A client program for it.
    pub(super) fn client(&self, name: &str) -> Command {
        let mut command = self.programs.command(name);
        command.arg("-h").arg(&self.sockets);
        command
    }

    /// The answer to a query, a line for each row.
    pub(super) fn ask(&self, query: &str) -> Result<Vec<String>> {
        let mut psql = self.client("psql");
        let answer = process::output(psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", query]))?;
        Ok(answer.lines().map(str::to_owned).collect())
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<()> {
        self.node.interrupt(START).map(drop)
    }
}

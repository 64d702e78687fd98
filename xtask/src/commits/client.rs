//! A client that commits, waits until the standby holds it, and remembers what was confirmed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::server::Server;
use crate::process;

/// What a client was told.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// The commits that both the database and `wait-sync` confirmed.
    pub(super) rows: Vec<u64>,
    /// How long each wait took, the start of the command included.
    pub(super) waits: Vec<Duration>,
}

/// One session of psql.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn open(server: &Server) -> Result<Self> {
        let mut psql = server.client("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]);
        let mut child = process::spawn(psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let input = child.stdin.take().context("psql has an input")?;
        let output = BufReader::new(child.stdout.take().context("psql has an output")?);
        Ok(Self { child, input, output })
    }

    /// Commits one row; true once the server says so.
    fn commit(&mut self, row: u64) -> Result<bool> {
        writeln!(self.input, "INSERT INTO sealed VALUES ({row}) RETURNING id;")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim() == row.to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Commits rows from `first` on, and after each runs `wait`, until one of the two fails or `stop` is set.
pub(super) fn commit_and_wait(
    server: &Server,
    first: u64,
    mut wait: impl FnMut() -> Command,
    stop: &AtomicBool,
) -> Result<Confirmed> {
    let mut session = Session::open(server)?;
    let mut confirmed = Confirmed::default();
    for row in first.. {
        if stop.load(Ordering::Relaxed) || !session.commit(row)? {
            break;
        }
        let begin = Instant::now();
        if process::output(&mut wait()).is_err() {
            break;
        }
        confirmed.rows.push(row);
        confirmed.waits.push(begin.elapsed());
    }
    Ok(confirmed)
}

//! PostgreSQL on the primary under pgbench, and a client that calls `wait-sync` after its commits. At a random instant the
//! primary is cut off; PostgreSQL then starts on what the standby holds, and every commit that was confirmed must be there.

mod client;
mod server;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::interrupt;
use crate::rig::{Filesystem, LoopDevice, Mount, Node, Plan, Random, Rig};
use client::Confirmed;
use server::{Programs, Server};

const DISK_BYTES: u64 = 640 << 20;
const JOURNAL: &str = "256M";
/// The cut comes after this time, in milliseconds.
const CUT_AFTER: (u64, u64) = (1000, 4000);
/// What `wait-sync` may take.
const PATIENCE: &str = "10s";

/// What one round showed.
struct Round {
    confirmed: Confirmed,
    /// Rows that are there, confirmed or not.
    found: HashSet<u64>,
    standby_killed: bool,
}

/// The task.
pub(crate) fn run(rounds: u32, seed: Option<u64>) -> Result<()> {
    let programs = Programs::find()?;
    let mut random = Random::announce(seed);
    let mut stage = Stage::new(programs)?;
    let mut next = 1;
    for number in 1..=rounds {
        interrupt::check()?;
        let round = stage.round(next, &mut random)?;
        next += round.confirmed.rows.len() as u64 + 1000;
        round.judge(number, rounds)?;
    }
    stage.end()?;
    println!("commits: {rounds} rounds, PostgreSQL recovered in each, and every confirmed commit was there");
    Ok(())
}

/// The primary's side, which goes on from round to round.
struct Stage {
    database: Option<Server>,
    mount: Option<Mount>,
    rig: Rig,
    programs: Programs,
    /// Where PostgreSQL's account may go.
    place: TempDir,
}

impl Stage {
    fn new(programs: Programs) -> Result<Self> {
        let mut rig = Rig::new(Plan { bytes: DISK_BYTES, in_memory: false, journal: JOURNAL })?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let place = tempfile::Builder::new().prefix("blkecho-commits-").permissions(readable).tempdir()?;
        Filesystem::Ext4.make(rig.primary().path())?;
        rig.start()?;
        let mount = Mount::new(Filesystem::Ext4, rig.primary().path(), &place.path().join("primary"))?;
        let data = mount.folder().join("data");
        programs.initialise(&data)?;
        let database = Server::start(&programs, &data, &place.path().join("sockets"), &place.path().join("log"))?;
        database.ask("CREATE TABLE sealed (id bigint PRIMARY KEY)")?;
        crate::process::output(database.client("pgbench").args(["-i", "-q", "-s", "3", "postgres"]))?;
        Ok(Self { database: Some(database), mount: Some(mount), rig, programs, place })
    }

    fn round(&mut self, first: u64, random: &mut Random) -> Result<Round> {
        let database = self.database.as_ref().context("it runs")?;
        let mut load = database.client("pgbench");
        load.args(["-c", "4", "-T", "3600", "-n", "postgres"]);
        let load = Node::spawn(&mut load, &self.place.path().join("pgbench.log"))?;
        let (stop, rig) = (AtomicBool::new(false), &mut self.rig);
        let wait = rig.wait_sync(PATIENCE);
        let standby_killed = random.between(0, 2) == 0;
        let confirmed = std::thread::scope(|scope| {
            let client = scope.spawn(|| client::commit_and_wait(database, first, wait, &stop));
            let slept = interrupt::sleep(Duration::from_millis(random.between(CUT_AFTER.0, CUT_AFTER.1)));
            rig.kill_agent();
            if standby_killed {
                rig.kill_standby();
            }
            stop.store(true, Ordering::Relaxed);
            slept.and_then(|()| client.join().unwrap_or_else(|_| bail!("the client panicked")))
        })?;
        drop(load);
        if standby_killed {
            rig.start_standby()?;
        }
        let found = self.take_over().context("PostgreSQL on what the standby holds")?;
        self.rig.start_standby()?;
        self.rig.start_agent()?;
        self.rig.drain(Duration::from_secs(120))?;
        Ok(Round { confirmed, found, standby_killed })
    }

    /// Starts PostgreSQL on a copy of the standby's disk and answers what it has.
    fn take_over(&mut self) -> Result<HashSet<u64>> {
        self.rig.settle_standby()?;
        let copy = LoopDevice::copy_of(self.rig.secondary(), self.rig.folder())?;
        let mount = Mount::new(Filesystem::Ext4, copy.path(), &self.place.path().join("standby"))?;
        let (data, sockets) = (mount.folder().join("data"), self.path("standby-sockets"));
        let database = Server::start(&self.programs, &data, &sockets, &self.path("standby-log"))?;
        check_sums(&database)?;
        let rows = database.ask("SELECT id FROM sealed")?.iter().map(|row| Ok(row.parse()?)).collect();
        database.stop()?;
        mount.unmount()?;
        rows
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.place.path()).join(name)
    }

    fn end(mut self) -> Result<()> {
        self.database.take().map_or(Ok(()), Server::stop)?;
        self.mount.take().map_or(Ok(()), Mount::unmount)
    }
}

/// Each of pgbench's transactions changes an account, a teller, a branch and the history by the same amount: the sums are
/// equal in every state that the database may recover to.
fn check_sums(database: &Server) -> Result<()> {
    let sums = database.ask(
        "SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts UNION SELECT coalesce(sum(tbalance), 0) FROM \
         pgbench_tellers UNION SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches UNION SELECT \
         coalesce(sum(delta), 0) FROM pgbench_history",
    )?;
    ensure!(sums.len() == 1, "half a transaction is there: the sums are {sums:?}");
    Ok(())
}

impl Round {
    fn judge(&self, number: u32, rounds: u32) -> Result<()> {
        let Confirmed { rows, waits } = &self.confirmed;
        let lost: Vec<u64> = rows.iter().copied().filter(|row| !self.found.contains(row)).collect();
        let mut waits: Vec<f64> = waits.iter().map(|wait| wait.as_secs_f64() * 1e3).collect();
        waits.sort_by(f64::total_cmp);
        println!(
            "round {number:2} of {rounds}: cut off{}, {} commits confirmed (wait-sync: median {:.1} ms, longest {:.1}), {} lost",
            if self.standby_killed { ", standby killed too" } else { "" },
            rows.len(),
            waits.get(waits.len() / 2).copied().unwrap_or(0.0),
            waits.last().copied().unwrap_or(0.0),
            lost.len()
        );
        ensure!(!rows.is_empty(), "nothing was confirmed, so nothing was tested");
        ensure!(lost.is_empty(), "confirmed and not there: {lost:?}");
        Ok(())
    }
}

//! The mixed workload: many small files, a database that syncs, sequential and random direct writes, and trim.
//!
//! Each part keeps to a rate that two cores carry without loss, so that the demo shows the ordinary case.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::machine::{call, tool};
use crate::signals::Stop;

/// Size of the files written directly, in bytes.
const DIRECT_FILE: u64 = 64 << 20;
/// Alignment that direct writes need on any disk.
const ALIGN: usize = 4096;
/// Directories of small files that exist at the same time.
const DIRECTORIES: u64 = 20;

/// A small generator of numbers; the workload need not be unpredictable, only mixed.
#[derive(Clone, Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// Starts anywhere.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }

    /// Fills `buffer`.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        buffer
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.below(u64::MAX).to_le_bytes()[..chunk.len()]));
    }
}

type Part = fn(&Path, &Stop) -> anyhow::Result<()>;

/// The running workload.
#[derive(Debug)]
pub(super) struct Workload {
    stop: Stop,
    parts: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl Workload {
    /// Starts all parts in a mounted file system.
    pub(super) fn start(point: &Path) -> anyhow::Result<Self> {
        let parts: [(&'static str, Part); 5] = [
            ("small files", small_files),
            ("database", database),
            ("sequential writes", sequential),
            ("random writes", random),
            ("trim", trim),
        ];
        let mut workload = Self { stop: Stop::default(), parts: Vec::new() };
        for (name, part) in parts {
            let (point, stop) = (point.to_owned(), workload.stop.clone());
            let thread = std::thread::Builder::new().name(name.into());
            workload.parts.push((name, thread.spawn(move || part(&point, &stop))?));
        }
        Ok(workload)
    }

    /// Ends all parts.
    ///
    /// # Errors
    /// What a part met.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.stop.set();
        for (name, part) in self.parts.drain(..) {
            part.join().map_err(|_| anyhow::anyhow!("{name} panicked"))?.context(name)?;
        }
        Ok(())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.set();
        self.parts.drain(..).for_each(|(_, part)| drop(part.join()));
    }
}

fn small_files(point: &Path, stop: &Stop) -> anyhow::Result<()> {
    let mut numbers = Numbers::new(1);
    let mut content = vec![0; 64 << 10];
    for round in 0.. {
        let dir = point.join(format!("small-{round}"));
        fs::create_dir(&dir)?;
        for file in 0..50 {
            numbers.fill(&mut content[..4096]);
            let len = 100 + numbers.below(content.len() as u64 - 100) as usize;
            fs::write(dir.join(file.to_string()), &content[..len])?;
        }
        fs::rename(dir.join("0"), dir.join("renamed"))?;
        File::open(&dir)?.sync_all()?;
        if let Some(old) = u64::checked_sub(round, DIRECTORIES) {
            fs::remove_dir_all(point.join(format!("small-{old}")))?;
        }
        if stop.wait(Duration::from_millis(40)) {
            break;
        }
    }
    Ok(())
}

/// Small transactions, each synced, through the database's own program.
fn database(point: &Path, stop: &Stop) -> anyhow::Result<()> {
    let file = point.join("data.sqlite");
    let setup = "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, at TEXT, body BLOB);\n";
    sql(&file, setup)?;
    let insert = "BEGIN; INSERT INTO t(at, body) VALUES(datetime(), randomblob(2000)); \
                  DELETE FROM t WHERE id < (SELECT max(id) FROM t) - 5000; COMMIT;\n";
    let script = format!("PRAGMA synchronous=FULL;\n{}", insert.repeat(20));
    while !stop.wait(Duration::from_millis(20)) {
        sql(&file, &script)?;
    }
    sql(&file, "PRAGMA wal_checkpoint(TRUNCATE);\n")
}

fn sql(file: &Path, script: &str) -> anyhow::Result<()> {
    let mut child = tool("sqlite3")
        .arg("-bail")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // Dropped at the end of the statement, which is the end of the script.
    child.stdin.take().context("sqlite3 has no input")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A file for direct writes, and an aligned buffer.
struct Direct {
    file: File,
    buffer: Vec<u8>,
    start: usize,
}

impl Direct {
    fn new(path: PathBuf, len: usize) -> anyhow::Result<Self> {
        File::create(&path)?.set_len(DIRECT_FILE)?;
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&path)?;
        let buffer = vec![0; len + ALIGN];
        let start = buffer.as_ptr().align_offset(ALIGN);
        Ok(Self { file, buffer, start })
    }

    fn write(&mut self, numbers: &mut Numbers, len: usize, offset: u64) -> anyhow::Result<()> {
        let part = &mut self.buffer[self.start..self.start + len];
        numbers.fill(part);
        Ok(self.file.write_all_at(part, offset)?)
    }
}

fn sequential(point: &Path, stop: &Stop) -> anyhow::Result<()> {
    const STEP: usize = 256 << 10;
    let mut direct = Direct::new(point.join("sequential"), STEP)?;
    let mut numbers = Numbers::new(2);
    for step in 0u64.. {
        direct.write(&mut numbers, STEP, step * STEP as u64 % DIRECT_FILE)?;
        if stop.wait(Duration::from_millis(8)) {
            break;
        }
    }
    Ok(direct.file.sync_all()?)
}

fn random(point: &Path, stop: &Stop) -> anyhow::Result<()> {
    let mut direct = Direct::new(point.join("random"), 64 << 10)?;
    let mut numbers = Numbers::new(3);
    while !stop.wait(Duration::from_millis(2)) {
        for _ in 0..4 {
            let len = ALIGN << numbers.below(4);
            let slots = (DIRECT_FILE - len as u64) / ALIGN as u64;
            let offset = numbers.below(slots) * ALIGN as u64;
            direct.write(&mut numbers, len, offset)?;
        }
    }
    Ok(direct.file.sync_all()?)
}

fn trim(point: &Path, stop: &Stop) -> anyhow::Result<()> {
    while !stop.wait(Duration::from_secs(3)) {
        call(tool("fstrim").arg(point))?;
    }
    call(tool("fstrim").arg(point)).map(drop)
}

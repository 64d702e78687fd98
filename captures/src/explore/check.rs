//! The command that says whether a state is sound: run with a time limit, and ended with all that it started.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Serialize;
use thiserror::Error;

/// Where the path of the image is put.
const PLACE: &str = "{}";
/// Bytes of its output that are kept, from the end.
const KEPT: usize = 4096;
/// How often somebody who wants to stop is heard.
const SLICE: Duration = Duration::from_millis(100);
/// How long the rest of an output is waited for once its writers were killed.
const REST: Duration = Duration::from_secs(1);
/// Exit codes of a shell that cannot run its command (POSIX.1-2024, Shell Command Language, 2.8.2).
const CANNOT_RUN: [i32; 2] = [126, 127];

/// Why a check says nothing about a state.
#[derive(Error, Debug)]
pub enum CheckError {
    /// It does not say where the image goes.
    #[error("the check {0:?} does not say where the image goes: put {{}} there, as in 'fsck.ext4 -fn {{}}'")]
    NoPlace(String),
    /// It cannot be started.
    #[error("the check cannot be run: {0}")]
    Start(#[source] std::io::Error),
    /// The shell could not run it.
    #[error("the check {command:?} cannot be run (the shell ended with {code}): {output}")]
    CannotRun {
        /// The command.
        command: String,
        /// What the shell ended with.
        code: i32,
        /// What it said.
        output: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It ended with 0.
    Passed,
    /// It ended with this code.
    Failed(i32),
    /// This signal ended it.
    Killed(i32),
    /// It took too long, and was killed.
    TimedOut,
}

impl Verdict {
    /// Whether the state is sound.
    #[must_use]
    pub fn passed(self) -> bool {
        self == Self::Passed
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(code) => write!(f, "failed (exit code {code})"),
            Self::Killed(signal) => write!(f, "was ended by signal {signal}"),
            Self::TimedOut => f.write_str("took too long and was killed"),
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Its verdict.
    pub verdict: Verdict,
    /// The end of what it printed.
    pub output: String,
}

/// A check.
#[derive(Debug, Clone)]
pub struct Check {
    command: String,
    limit: Duration,
}

impl Check {
    /// A shell command with `{}` where the path of the image goes, and how long it may take.
    ///
    /// # Errors
    /// There is no `{}`.
    pub fn new(command: &str, limit: Duration) -> Result<Self, CheckError> {
        match command.contains(PLACE) {
            true => Ok(Self { command: command.to_owned(), limit }),
            false => Err(CheckError::NoPlace(command.to_owned())),
        }
    }

    /// Runs it on an image. Everything in its process group is killed at its end, or when it takes too long.
    ///
    /// # Errors
    /// It could not be run, or `stop` was set.
    pub fn run(&self, image: &Path, stop: &AtomicBool) -> Result<Checked, CheckError> {
        let mut child = self.start(image).map_err(CheckError::Start)?;
        let output = drain(&mut child);
        let ended = wait(&child, self.limit, stop);
        // The leader is not reaped yet, so its number is still the group's.
        if let Some(group) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait().map_err(CheckError::Start)?;
        let output = output.recv_timeout(REST).unwrap_or_default();
        match ended.map_err(CheckError::Start)? {
            Ended::Stopped => Err(CheckError::Interrupted),
            Ended::TooLate => Ok(Checked { verdict: Verdict::TimedOut, output }),
            Ended::Itself => self.verdict(status, output),
        }
    }

    fn start(&self, image: &Path) -> std::io::Result<Child> {
        let text = self.command.replace(PLACE, &quoted(image));
        // One pipe for both, so that lines come in their order.
        let text = format!("exec 2>&1\n{text}");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(text).env("BLKECHO_IMAGE", image).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    }

    fn verdict(&self, status: ExitStatus, output: String) -> Result<Checked, CheckError> {
        let verdict = match (status.code(), status.signal()) {
            (Some(0), _) => Verdict::Passed,
            (Some(code), _) if CANNOT_RUN.contains(&code) => {
                return Err(CheckError::CannotRun { command: self.command.clone(), code, output });
            }
            (Some(code), _) => Verdict::Failed(code),
            (None, signal) => Verdict::Killed(signal.unwrap_or(0)),
        };
        Ok(Checked { verdict, output })
    }
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

enum Ended {
    Itself,
    TooLate,
    Stopped,
}

fn wait(child: &Child, limit: Duration, stop: &AtomicBool) -> std::io::Result<Ended> {
    let pid = Pid::from_raw(child.id() as i32).ok_or(std::io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(Ended::TooLate);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Ended::Stopped);
        }
        let slice = left.min(SLICE);
        let slice = Timespec { tv_sec: 0, tv_nsec: slice.as_nanos() as i64 };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&slice)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Ended::Itself),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes what it prints, keeps the end, and hands that over when all writers are gone.
fn drain(child: &mut Child) -> mpsc::Receiver<String> {
    let (told, output) = mpsc::channel();
    if let Some(mut pipe) = child.stdout.take() {
        std::thread::spawn(move || {
            let (mut kept, mut buffer) = (Vec::new(), [0; KEPT]);
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                kept.extend_from_slice(&buffer[..read]);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
            // Nobody waits any more when it came too late.
            let _ = told.send(String::from_utf8_lossy(&kept).into_owned());
        });
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, limit: Duration) -> Result<Checked, CheckError> {
        Check::new(command, limit)?.run(Path::new("/tmp/it's an image"), &AtomicBool::new(false))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn exit_codes_are_verdicts() {
        let echoed = run("echo {} >&2; printf \"$BLKECHO_IMAGE\"", LONG).unwrap();
        assert_eq!((echoed.verdict, &*echoed.output), (Verdict::Passed, "/tmp/it's an image\n/tmp/it's an image"));
        assert_eq!(run(": {}; exit 4", LONG).unwrap().verdict, Verdict::Failed(4));
        assert_eq!(run(": {}; kill -9 $$", LONG).unwrap().verdict, Verdict::Killed(9));
        let long = run("seq 1 100000; : {}", LONG).unwrap().output;
        assert!(long.len() == KEPT && long.ends_with("100000\n"));
    }

    #[test]
    fn what_is_no_check_is_named() {
        assert!(matches!(run("true", LONG), Err(CheckError::NoPlace(_))));
        let error = run("no-such-program {}", LONG).expect_err("none").to_string();
        assert!(error.contains("no-such-program") && error.contains("not found"), "{error}");
    }

    #[test]
    fn a_hung_check_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let command = format!("sleep 1000 & echo $! > {}; wait; : {{}}", pids.display());
        let hung = run(&command, Duration::from_millis(600)).unwrap();
        assert_eq!(hung.verdict, Verdict::TimedOut);
        let pid = std::fs::read_to_string(&pids).unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        let started = Instant::now();
        while !gone() {
            assert!(started.elapsed() < LONG, "the child lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn stopping_ends_it() {
        let check = Check::new("sleep 1000 {}", LONG).unwrap();
        let stopped = check.run(Path::new("x"), &AtomicBool::new(true));
        assert!(matches!(stopped, Err(CheckError::Interrupted)));
    }
}

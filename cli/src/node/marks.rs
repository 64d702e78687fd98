//! Marks that people set in a running capture, through its control socket.
//!
//! A mark belongs behind everything that had completed when it was set. That is still on its way to the file then, so a
//! mark waits for the first command that completed later.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formats::Seq;
use serde_json::{Value, json};

use crate::control::capture_socket;
use crate::control::server::{Claim, Server, Service};
use crate::exit::{Done, Exit, Failure};
use crate::signals::Stop;

/// Longest text of a mark, in bytes.
const MAX_TEXT: usize = 200;

/// A mark and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// It stands behind this completion.
    pub(crate) after: Seq,
    /// When it was set, in nanoseconds since 1970, UTC.
    pub(crate) at_ns: u64,
    /// Its name.
    pub(crate) text: String,
}

/// What tells the last completion that the kernel has numbered, and the time.
type Clock = Box<dyn Fn() -> (Seq, u64) + Send + Sync>;

/// The marks that wait for their place.
pub(crate) struct Marks {
    clock: Clock,
    stop: Stop,
    waiting: Mutex<VecDeque<Mark>>,
    /// The place of the first of them; so that who looks for each command takes no lock.
    first: AtomicU64,
}

impl Marks {
    pub(crate) fn new(clock: impl Fn() -> (Seq, u64) + Send + Sync + 'static, stop: Stop) -> Self {
        Self { clock: Box::new(clock), stop, waiting: Mutex::default(), first: AtomicU64::new(u64::MAX) }
    }

    /// The next mark that stands before completion `next`.
    pub(crate) fn before(&self, next: Seq) -> Option<Mark> {
        if self.first.load(Ordering::Acquire) >= next.0 {
            return None;
        }
        let mut waiting = self.waiting();
        let mark = waiting.pop_front();
        self.first.store(waiting.front().map_or(u64::MAX, |mark| mark.after.0), Ordering::Release);
        mark
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Mark>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Marks {
    fn status(&self) -> Done<Value> {
        Ok(json!({ "state": "Capturing", "completions": (self.clock)().0.0 }))
    }

    fn drain(&self, _: Duration) -> Done<Value> {
        Err(not_here("drain"))
    }

    fn wait_sync(&self, _: Duration) -> Done<Value> {
        Err(not_here("wait-sync"))
    }

    fn verify(&self, _: &mut dyn FnMut(u64, u64)) -> Done<Value> {
        Err(not_here("verify"))
    }

    fn mark(&self, text: &str) -> Done<Value> {
        check(text)?;
        // One after the other, so that they are in the order of their places.
        let mut waiting = self.waiting();
        let (after, at_ns) = (self.clock)();
        waiting.push_back(Mark { after, at_ns, text: text.to_owned() });
        self.first.fetch_min(after.0, Ordering::AcqRel);
        Ok(json!({ "capture": std::process::id(), "after": after.0, "at_ns": at_ns }))
    }

    fn stop(&self) {
        self.stop.set();
    }
}

fn not_here(what: &str) -> Failure {
    Failure::text(Exit::Usage, format!("{what} is not for a capture"))
}

/// Whether a text can be a mark's.
pub(crate) fn check(text: &str) -> Done {
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        let rule = format!("the name of a mark has 1 to {MAX_TEXT} bytes, and no control characters");
        return Err(Failure::text(Exit::Usage, rule));
    }
    Ok(())
}

/// The control socket of this process's capture.
pub(crate) struct Socket {
    _server: Server,
    lock: PathBuf,
}

impl Socket {
    /// Opens it.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub(crate) fn open(run_dir: &Path, marks: Arc<Marks>) -> Done<Self> {
        let path = capture_socket(run_dir, std::process::id());
        let lock = path.with_extension("lock");
        Ok(Self { _server: Server::start(Claim::new(&path)?, marks)?, lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It has this process's number, so nobody else waits for it.
        let _ = fs::remove_file(&self.lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_behind_what_had_completed() {
        let completed = Arc::new(AtomicU64::new(7));
        let clock = Arc::clone(&completed);
        let marks = Marks::new(move || (Seq(clock.load(Ordering::Relaxed)), 1), Stop::default());
        marks.mark("a").unwrap();
        marks.mark("b").unwrap();
        completed.store(9, Ordering::Relaxed);
        marks.mark("c").unwrap();
        let before = |seq| marks.before(Seq(seq)).map(|mark| (mark.text, mark.after.0));
        assert_eq!(before(7), None, "it completed before");
        assert_eq!([before(8), before(8), before(8)], [Some(("a".into(), 7)), Some(("b".into(), 7)), None]);
        assert_eq!([before(9), before(u64::MAX), before(u64::MAX)], [None, Some(("c".into(), 9)), None]);
    }

    #[test]
    fn names_are_checked() {
        let marks = Marks::new(|| (Seq(1), 1), Stop::default());
        for text in ["", "two\nlines", &"x".repeat(MAX_TEXT + 1)] {
            assert_eq!(marks.mark(text).unwrap_err().exit, Exit::Usage);
        }
        assert_eq!(marks.before(Seq(u64::MAX)), None);
    }
}

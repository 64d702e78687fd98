//! A source of work for tests: a list that is handed out some at once, whose results are kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::{Done, Job, Method, Pool, WorkSource};
use crate::target::Bell;

/// Entries at once.
pub(crate) const DEPTH: usize = 8;

#[derive(Default)]
struct List {
    waiting: Mutex<VecDeque<Job>>,
    in_flight: Mutex<usize>,
    done: Mutex<Vec<Done>>,
    bell: OnceLock<Bell>,
    broken: AtomicBool,
}

impl List {
    fn note(&self, done: Done) {
        *self.in_flight.lock().unwrap() -= 1;
        self.done.lock().unwrap().push(done);
    }
}

impl WorkSource for List {
    fn exchange(&self, _: Option<Done>) -> Option<Job> {
        panic!("workers get their entries from the dispatcher")
    }

    fn has_plain_writes(&self) -> bool {
        true
    }

    fn take(&self, done: &mut Vec<Done>, jobs: &mut Vec<Job>) -> bool {
        done.drain(..).for_each(|done| self.note(done));
        let (mut waiting, mut in_flight) = (self.waiting.lock().unwrap(), self.in_flight.lock().unwrap());
        while *in_flight < DEPTH
            && let Some(job) = waiting.pop_front()
        {
            jobs.push(job);
            *in_flight += 1;
        }
        *in_flight > 0
    }

    fn finish(&self, done: Done) {
        self.note(done);
        self.bell.get().expect("the dispatcher gave it").ring();
    }

    fn set_bell(&self, bell: Bell) {
        assert!(self.bell.set(bell).is_ok(), "set once");
    }

    fn broken(&self, _: &str) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// Applies all of these through a dispatcher, and answers results by index.
pub(crate) fn apply_all(jobs: impl IntoIterator<Item = Job>) -> Vec<Done> {
    let list = Arc::new(List { waiting: Mutex::new(jobs.into_iter().collect()), ..List::default() });
    let pool = Pool::start(DEPTH, &list).expect("starts");
    assert_eq!(pool.method(), Method::Ring, "needs io_uring (sysctl kernel.io_uring_disabled)");
    pool.join();
    assert!(!list.broken.load(Ordering::Relaxed));
    let mut done = std::mem::take(&mut *list.done.lock().unwrap());
    done.sort_by_key(|done| done.index);
    done
}

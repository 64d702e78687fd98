//! Guests of suites: built one after the other, run several at once.
//!
//! A guest waits as much as it computes (for its disks, for a drain, for a second to pass), so on two processors two
//! guests take little longer than one.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::vm::guest::Program;
use crate::vm::suites::{SUITES, Suite};
use crate::vm::{Clock, Results, chosen, kernels, on, release_program, run_folder};

/// Guests at once, at most: each has 2 GiB of memory.
const MOST_AT_ONCE: usize = 4;

/// A suite with what its guests carry.
struct Built {
    suite: &'static Suite,
    script: String,
    programs: Vec<Program>,
}

impl Built {
    fn new(suite: &'static Suite, binary: &Program, folder: &Path) -> Result<Self> {
        let mut programs = suite.build(folder)?;
        programs.extend(suite.fetch_packages()?);
        programs.push(binary.clone());
        Ok(Self { suite, script: suite.script()?, programs })
    }

    fn on(&self, series: &str) -> Result<Results> {
        let guest = format!("{} on {series}", self.suite.name);
        let results = on(Clock::Host, series, &self.script, &self.programs, &guest).with_context(|| guest.clone())?;
        if results.passed == 0 && results.failed.is_empty() {
            bail!("{guest} reported nothing");
        }
        Ok(results)
    }
}

/// Runs every suite, or the one that is wanted, on each of its kernels, or on the one that is wanted.
pub(super) fn run(series: Option<&str>, wanted: Option<&str>) -> Result<Results> {
    let binary = release_program()?;
    let folder = run_folder()?;
    let mut built = Vec::new();
    for suite in suites(wanted)? {
        built.push(Built::new(suite, &binary, folder.path()).with_context(|| format!("suite {}", suite.name))?);
    }
    let boots: Vec<(&Built, &str)> = built
        .iter()
        .flat_map(|built| chosen(built.suite.series, series).into_iter().map(move |on| (built, on)))
        .collect();
    for (_, series) in &boots {
        kernels::fetch(series)?;
    }
    let ran = at_once(&boots, |(built, series)| built.on(series));
    summed(&boots, ran)
}

fn suites(wanted: Option<&str>) -> Result<Vec<&'static Suite>> {
    let suites: Vec<&Suite> = SUITES.iter().filter(|suite| wanted.is_none_or(|wanted| wanted == suite.name)).collect();
    if suites.is_empty() {
        let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        bail!("unknown suite '{}' (known: {})", wanted.unwrap_or_default(), known.join(", "));
    }
    Ok(suites)
}

/// The guests of one suite stand one after the other.
fn summed(boots: &[(&Built, &str)], ran: Vec<Result<Results>>) -> Result<Results> {
    let mut all = Results::default();
    let mut suite = Results::default();
    for (at, (results, (built, series))) in ran.into_iter().zip(boots).enumerate() {
        suite.add(&format!("{} on {series}", built.suite.name), results?);
        if boots.get(at + 1).is_none_or(|(next, _)| next.suite.name != built.suite.name) {
            all.join(std::mem::take(&mut suite));
        }
    }
    Ok(all)
}

/// What `run` answers for each, in their order; as many at once as there are processors.
fn at_once<T: Sync, R: Send + Sync>(work: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let answers: Vec<OnceLock<R>> = work.iter().map(|_| OnceLock::new()).collect();
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(answer)) = (work.get(at), answers.get(at)) else { return };
            let _ = answer.set(run(item));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    answers.into_iter().map(|answer| answer.into_inner().expect("a worker took each of them")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_run_once_and_answered_in_order() {
        let work: Vec<u32> = (0..100).collect();
        let runs = AtomicUsize::new(0);
        let answers = at_once(&work, |item| {
            runs.fetch_add(1, Ordering::Relaxed);
            item * 2
        });
        assert_eq!(answers, work.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(runs.into_inner(), work.len());
    }
}

//! The deterministic simulator: one primary and one to five standbys, the real `replication` and `journal` code, and a
//! model of everything else that loses, cuts, crashes and tears by a seed.
//!
//! A run is chaos for a while, then calm; at the end all ends must be equal and say so. The checker looks all the
//! time for the laws:
//!
//! 1. every difference is known to the journal, a saved dirty map or the kernel's;
//! 2. a standby that says "consistent" holds what the primary could have had after a power cut;
//! 3. a journal entry is freed only when every standby holds it or has it in its saved map;
//! 4. damaged entries are never applied (no block ever holds what no command wrote);
//! 5. what is held, pending and in flight stays within its limits;
//! 6. what a standby's device did not take is a hole that nobody forgets, and heals once the device is well;
//! 7. when the journal is full, whoever is furthest behind gives way, and nobody else;
//! 8. when a wait for a standby has ended, it holds what was waited for, and keeps it whatever happens.
//!
//! `BLKECHO_SIM_SEED=n cargo test -p system-tests sim` replays one seed.

mod agent;
mod channel;
mod checker;
mod coverage;
mod files;
mod kernel;
mod link;
mod profile;
mod report;
mod standby;
mod target;
mod waiter;
mod world;

pub use coverage::Coverage;
pub use report::{Failure, Report, Summary};

use world::World;

/// Seeds that failed once; they run first. One per line, `#` begins a comment.
const KEPT_SEEDS: &str = include_str!("seeds.txt");

/// Runs one seed.
///
/// # Errors
/// The law that was broken, with its seed and step.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let failure = |step, what| Failure { seed, step, what };
    let mut world = World::new(seed).map_err(|what| failure(0, what))?;
    world.run().map_err(|what| failure(world.now, what))
}

/// Runs the kept seeds, then `count` seeds from `first` on.
///
/// # Errors
/// The first failure.
pub fn run_many(first: u64, count: u64) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    for seed in kept_seeds().chain(first..first.saturating_add(count)) {
        summary.total += run(seed)?;
        summary.runs += 1;
    }
    Ok(summary)
}

/// Seeds that failed once.
pub fn kept_seeds() -> impl Iterator<Item = u64> {
    KEPT_SEEDS.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_break_no_law() {
        if let Some(seed) = std::env::var("BLKECHO_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
            match run(seed) {
                Ok(report) => println!("{report:#?}"),
                Err(failure) => panic!("{failure}"),
            }
            return;
        }
        let summary = run_many(1, 300).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{summary}");
        let never: Vec<_> = summary.total.counts().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "the schedules are too tame, it never happened: {never:?}");
        let coverage = &summary.total.coverage;
        assert!(coverage.missing().is_empty(), "{coverage}");
    }

    #[test]
    fn a_seed_always_gives_the_same_run() {
        for seed in [11, 12] {
            assert_eq!(run(seed), run(seed));
        }
    }
}

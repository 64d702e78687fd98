//! Makes each deliberate fault in the engines and lets the simulator look for it: `mutants [--seeds N]`. Prints a table; fails
//! when one is not found within N seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use replication::mutation::{Mutation, set};
use system_tests::sim;

/// Seeds within which each fault must be found.
const SEEDS: u64 = 300;
/// Characters of what gave it away.
const SHOWN: usize = 90;

fn seeds() -> Result<u64> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => Ok(SEEDS),
        (Some("--seeds"), Some(value)) => value.parse().with_context(|| format!("{value} is not a number")),
        _ => bail!("use --seeds N"),
    }
}

/// The first seed that finds what is wrong, those that failed once being the first, and what gave it away. An engine that
/// panics is found, too.
fn hunt(seeds: u64) -> Option<(u64, String)> {
    sim::kept_seeds().chain(1..=seeds).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| sim::run(seed))) {
        Ok(Ok(_)) => None,
        Ok(Err(failure)) => Some((seed, failure.what)),
        Err(_) => Some((seed, "an engine panicked".to_owned())),
    })
}

fn main() -> Result<ExitCode> {
    let seeds = seeds()?;
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = 0;
    println!("{:<20} {:>6}  what is wrong / what gave it away", "fault", "seed");
    for mutation in Mutation::ALL {
        set(Some(*mutation));
        let found = hunt(seeds);
        missed += usize::from(found.is_none());
        let (seed, what) = found.map_or(("NEVER".to_owned(), String::new()), |(seed, what)| (seed.to_string(), what));
        let what: String = what.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        println!("{:<20} {seed:>6}  {}\n{:28} {what}", format!("{mutation:?}"), mutation.what(), "");
    }
    set(None);
    println!(
        "{} of {} faults found within the kept and {seeds} further seeds each",
        Mutation::ALL.len() - missed,
        Mutation::ALL.len()
    );
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

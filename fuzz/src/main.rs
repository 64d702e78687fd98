//! Fuzzes every decoder of bytes from a disk or a peer, for a time given.
//!
//! `fuzz --seconds N --seed S [--target NAME] [--rounds N]`. Each round draws from its own seed, `S` plus its number,
//! takes valid bytes, mutates them, often repairs the checksums so that the code behind them is reached too, and checks
//! what the target promises. A round that fails prints the command that repeats it alone, and the exit code is 1.
//!
//! The address space is limited: memory that is asked for because some bytes say so ends the program.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use journal::faulty::Rng;
use rustix::process::{Resource, Rlimit, setrlimit};
use targets::{TARGETS, Target};

const USAGE: &str = "usage: fuzz [--seconds N] [--seed S] [--target NAME] [--rounds N]";

/// Address space of the program, in bytes: far more than any round needs, and less than a length of 32 bits can claim.
const ADDRESS_SPACE: u64 = 1 << 30;

struct Options {
    seconds: u64,
    seed: u64,
    target: Option<String>,
    rounds: u64,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|target| options.target.as_deref().is_none_or(|name| name == target.name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no such target; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    if let Err(error) = setrlimit(Resource::As, Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) }) {
        eprintln!("the address space cannot be limited: {error}");
        return ExitCode::FAILURE;
    }
    let share = Duration::from_secs(options.seconds) / chosen.len() as u32;
    let whole = chosen.into_iter().filter(|target| !run(target, &options, share)).count() == 0;
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seconds: 10, seed: 1, target: None, rounds: u64::MAX };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{flag}: {value:?} is not a number"));
        match flag.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--rounds" => options.rounds = number()?,
            "--target" => options.target = Some(value),
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    Ok(options)
}

/// Runs one target until its share of the time is used; says whether every round was good.
fn run(target: &Target, options: &Options, share: Duration) -> bool {
    let begin = Instant::now();
    let (mut rounds, mut accepted) = (0, 0u64);
    while rounds < options.rounds && (rounds == 0 || begin.elapsed() < share) {
        let seed = options.seed.wrapping_add(rounds);
        match catch_unwind(AssertUnwindSafe(|| (target.round)(&mut Rng::new(seed)))) {
            Ok(taken) => accepted += u64::from(taken),
            Err(_) => {
                println!("{:<12} FAILED; repeat: fuzz --target {0} --seed {seed} --rounds 1", target.name);
                return false;
            }
        }
        rounds += 1;
    }
    println!("{:<12} {rounds:>9} rounds, {accepted:>9} accepted, from seed {}", target.name, options.seed);
    true
}

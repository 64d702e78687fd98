//! Runs the simulator over many seeds: `sim [--first N] [--seeds N] [--seed N]`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use system_tests::sim;

struct Arguments {
    first: u64,
    count: u64,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments { first: 1, count: 1000 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a number"))?;
        let value: u64 = value.parse().with_context(|| format!("{name}: {value} is not a number"))?;
        match name.as_str() {
            "--first" => parsed.first = value,
            "--seeds" => parsed.count = value,
            "--seed" => (parsed.first, parsed.count) = (value, 1),
            _ => bail!("unknown argument {name}; use --first, --seeds or --seed"),
        }
    }
    Ok(parsed)
}

fn main() -> Result<ExitCode> {
    let Arguments { first, count } = arguments()?;
    match sim::run_many(first, count) {
        Ok(summary) => {
            print!("{summary}");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            eprintln!("{failure}");
            Ok(ExitCode::FAILURE)
        }
    }
}

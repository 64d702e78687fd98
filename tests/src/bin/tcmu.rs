//! A simulated disk or tape as a device of this machine's kernel: executes the commands of a TCMU backstore.
//!
//! ```text
//! tcmu NAME ORDERS disk BLOCK_SIZE BLOCKS     a thin disk
//! tcmu NAME ORDERS tape                       a tape
//! ```
//!
//! NAME is the backstore's; at the path ORDERS it listens for what is to go wrong (`system_tests::tcmu`). It ends with the
//! backstore, or when it is killed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use replayer::scsi::simulated::{Identity, Settings, TapeSettings, Thin};
use system_tests::tcmu::{Server, listen};

fn settings(name: &str, words: &[String]) -> Result<Settings> {
    let number = |word: &str| word.parse::<u64>().with_context(|| format!("{word} is not a number"));
    let kind: Vec<&str> = words.iter().map(String::as_str).collect();
    let settings = match kind[..] {
        ["disk", size, blocks] => Settings::thin_disk(u32::try_from(number(size)?)?, number(blocks)?, Thin::UNLIMITED),
        ["tape"] => Settings::tape(TapeSettings::default()),
        _ => bail!("usage: tcmu NAME ORDERS disk BLOCK_SIZE BLOCKS, or tcmu NAME ORDERS tape"),
    };
    // Each is a device of its own to those who ask.
    let naa = name.bytes().fold(0x3, |naa: u64, byte| naa << 8 | u64::from(byte)) & 0x0fff_ffff_ffff_ffff | 0x3 << 60;
    let identity = Identity { serial: name.to_owned(), naa, ..Identity::default() };
    Ok(Settings { identity, long_time: Duration::from_secs(1), ..settings })
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, orders, kind @ ..] = &arguments[..] else { bail!("usage: tcmu NAME ORDERS KIND...") };
    let mut server = Server::open(name, settings(name, kind)?).with_context(|| format!("backstore {name}"))?;
    listen(Path::new(orders), server.device().clone()).with_context(|| format!("cannot listen at {orders}"))?;
    server.run().with_context(|| format!("backstore {name}"))?;
    Ok(ExitCode::SUCCESS)
}

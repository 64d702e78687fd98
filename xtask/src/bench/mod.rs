use anyhow::{Result, bail};
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    Capture,
    Replicate,
}
pub(crate) fn run(_what: Bench) -> Result<()> {
    bail!("later")
}

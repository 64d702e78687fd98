use anyhow::{Result, bail};
pub(crate) fn run(_minutes: u64, _seed: Option<u64>) -> Result<()> {
    bail!("later")
}

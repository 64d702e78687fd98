use anyhow::{Result, bail};
pub(crate) fn run(_rounds: u32, _seed: Option<u64>) -> Result<()> {
    bail!("later")
}

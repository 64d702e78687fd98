use anyhow::{Result, bail};
pub(crate) fn run() -> Result<()> {
    bail!("later")
}

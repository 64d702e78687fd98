//! The coverage listing of the error consistency table: each row with the answer that was injected to reach it.

use anyhow::{Result, bail};

use crate::{process, workspace};

/// The test that reaches every row on the simulated device, and prints them.
const TEST: &str = "target::scsi::tests::rows::every_row_is_reached_by_a_command_that_is_answered_so";
/// Last line of its listing when all rows were reached.
const COMPLETE: &str = " rows reached, 0 missing";

pub(crate) fn run() -> Result<()> {
    let mut complete = false;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "-q", "-p", "replayer", "--lib", "--", "--exact", "--nocapture", TEST]);
    let status = process::stream(&mut cargo, |line| {
        complete |= line.ends_with(COMPLETE);
        println!("{line}");
    })?;
    if !status.success() {
        bail!("rows of the table are not reached: see above");
    }
    if !complete {
        bail!("no listing that ends with {COMPLETE:?} was printed: does the test {TEST} still exist?");
    }
    Ok(())
}

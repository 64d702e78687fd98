//! `bench replay`: a captured load of small random writes, applied again as a standby does, beside fio that writes the same
//! addresses at the same depth to the same device.
//!
//! The block back end runs here, on a loop device in memory; SG_IO runs in a virtual machine, on a disk of scsi_debug. Its
//! time is counted in instructions, so that what is measured there does not depend on the host.
//!
//! Beside the ratios stands what they are bound by. Replay keeps the order of its recording, fio does not: a model tells what
//! of fio's throughput that leaves on such a device (`replay-bench --bounds`), a run without order shows it. What is left
//! is the cost of replay itself, in CPU time.

mod block;
mod bound;
mod report;
mod scsi;

use anyhow::Result;

use report::Report;

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Interleaved rounds.
    pub(crate) rounds: usize,
    /// Writes of each run on the block back end.
    pub(crate) writes: u64,
    /// Writes of each run in the guest.
    pub(crate) guest_writes: u64,
    /// Kernel series of the guest.
    pub(crate) kernel: String,
    /// Leave the guest out.
    pub(crate) no_vm: bool,
    /// Print JSON, and progress to standard error.
    pub(crate) json: bool,
}

/// The task.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mut report = Report::default();
    report.sections.push(block::run(plan)?);
    if !plan.no_vm {
        report.sections.extend(scsi::run(plan)?);
    }
    report.sections.iter_mut().for_each(report::Section::add_bound);
    if plan.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}

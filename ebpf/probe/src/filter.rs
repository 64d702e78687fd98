//! What is kept out, and how it is counted.
//!
//! What the filter keeps out sets no dirty bit and takes no number. It is remembered until it completes, so that its
//! completion is not taken for one whose issue was missed: who issued a command cannot be asked any more then.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
};
use probe_types::filter::{Facts, Filter, NO_OPCODE, Task, kind};
use probe_types::{COMM_LEN, CpuCounters, Order, state};

use crate::commands::{Issued, Nature};
use crate::disks::Place;
use crate::layout;
use crate::maps::{FILTERS, add, count, order};
use crate::scsi;
use crate::table::{Claimed, claim};

/// REQ_OP_WRITE and REQ_OP_FLUSH, the same in all kernels.
const WRITE: u32 = 1;
const FLUSH: u32 = 2;

/// Whether there is a filter. The verifier knows, and drops what follows where there is none.
#[inline(always)]
pub fn is_on() -> bool {
    layout!(filtering) != 0
}

#[inline(always)]
fn in_force() -> Option<*const Filter> {
    // SAFETY: a map value. A filter is written before it is put in force, and not while a program may still read it.
    let which = unsafe { core::ptr::read_volatile(&raw const (*order()?).filter) };
    FILTERS.get_ptr(which as u32 & 1)
}

/// Which kinds keep the command out by what it is: bits of [`kind`].
#[inline(always)]
pub fn refuses(issued: &Issued, place: &Place) -> u32 {
    let Some(filter) = in_force() else { return 0 };
    let anywhere = issued.nature == Nature::PassthroughAnywhere;
    let opcode = if issued.nature == Nature::Block { NO_OPCODE } else { scsi::opcode(issued.key) };
    let operation = issued.cmd_flags & 0xff;
    let facts = Facts {
        sector: place.sector,
        sectors: if anywhere || issued.sectors == 0 { 0 } else { place.sectors },
        volume: place.volume,
        // An empty write is how a bio asks for a flush.
        operation: if operation == WRITE && issued.bytes == 0 { FLUSH } else { operation },
        opcode,
    };
    judge(filter, &facts)
}

/// A function of its own: its stack is then not added to what the copying of payload needs.
#[inline(never)]
fn judge(filter: *const Filter, facts: &Facts) -> u32 {
    // SAFETY: a map value.
    unsafe { (*filter).refuses(facts) }
}

/// Which kinds keep it out by who issues it. To be asked at issue only.
#[inline(always)]
pub fn refuses_task() -> u32 {
    let Some(filter) = in_force() else { return 0 };
    judge_task(filter)
}

#[inline(never)]
fn judge_task(filter: *const Filter) -> u32 {
    let mut task = Task::default();
    // SAFETY: a map value, and helpers without preconditions.
    unsafe {
        if (*filter).kinds & kind::TASK == 0 {
            return 0;
        }
        bpf_get_current_comm(task.comm.as_mut_ptr().cast(), COMM_LEN as u32);
        task.cgroup = bpf_get_current_cgroup_id();
        task.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*filter).refuses_task(&task)
    }
}

/// Counts a command that is kept out because of `kinds`, and remembers it until it completes.
#[inline(always)]
pub fn keep_out(issued: &Issued, place: &Place, kinds: u32, order: *mut Order, counters: *mut CpuCounters) {
    // SAFETY: map values, and helpers without preconditions.
    unsafe {
        count(reason(kinds, counters));
        let slot = match claim(issued.key) {
            Claimed::New(slot) => slot,
            Claimed::Present(slot) => {
                crate::commands::end_unseen(slot, order, counters);
                slot
            }
            // Its completion will count as one whose issue was missed, unless the filter tells without the task.
            Claimed::Full => return,
        };
        let command = &mut *slot.command;
        let number = add(&raw mut (*counters).issues, 1);
        command.issue = u64::from(bpf_get_smp_processor_id()) << 48 | (number & 0xffff_ffff_ffff);
        command.issued_ns = bpf_ktime_get_ns();
        command.remaining = place.sectors << 9;
        command.volume = place.volume as u16;
        command.state = if issued.nature.is_passthrough() { state::FILTERED | state::PASSTHROUGH } else { state::FILTERED };
    }
}

/// The counter of the first reason.
///
/// # Safety
/// `counters` points into a map value.
#[inline(always)]
unsafe fn reason(kinds: u32, counters: *mut CpuCounters) -> *mut u64 {
    // SAFETY: the caller's promise.
    unsafe {
        if kinds & kind::RANGE != 0 {
            &raw mut (*counters).filtered_range
        } else if kinds & (kind::OPERATION | kind::OPCODE) != 0 {
            &raw mut (*counters).filtered_operation
        } else if kinds & (kind::COMM | kind::PID) != 0 {
            &raw mut (*counters).filtered_process
        } else {
            &raw mut (*counters).filtered_cgroup
        }
    }
}

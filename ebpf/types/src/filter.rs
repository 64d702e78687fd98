//! What is let through: the rules of a filter, and whether a command meets them.
//!
//! Kinds that are set must all let a command through; within one kind any value does. The same code decides in the
//! kernel and in tests. There are no lengths, so that the kernel's verifier sees loops of constant bounds: an unused place
//! repeats the first value, for even 0 is the id of somebody (the idle task, in whose name an interrupt may work).

use crate::COMM_LEN;

/// Runs of sectors in one filter, at most.
pub const MAX_RANGES: usize = 16;
/// Names of tasks in one filter, at most.
pub const MAX_COMMS: usize = 8;
/// Process ids in one filter, at most.
pub const MAX_PIDS: usize = 16;
/// Ids of control groups in one filter, at most.
pub const MAX_CGROUPS: usize = 8;

/// Bits of [`Filter::kinds`]; the lowest that does not let a command through is the reason that is counted.
pub mod kind {
    /// By place: [`super::Filter::ranges`] of the volumes in [`super::Filter::ranged`].
    pub const RANGE: u32 = 1;
    /// By operation of the block layer: [`super::Filter::operations`].
    pub const OPERATION: u32 = 2;
    /// By SCSI operation code: [`super::Filter::opcodes`].
    pub const OPCODE: u32 = 4;
    /// By name of the task: [`super::Filter::comms`].
    pub const COMM: u32 = 8;
    /// By process id: [`super::Filter::pids`].
    pub const PID: u32 = 16;
    /// By control group: [`super::Filter::cgroups`].
    pub const CGROUP: u32 = 32;
    /// Those that the task decides.
    pub const TASK: u32 = COMM | PID | CGROUP;
}

/// A run of sectors that is let through; empty in an unused place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FilterRange {
    /// First sector (512 bytes), relative to the volume.
    pub first: u64,
    /// Sector behind the last one.
    pub end: u64,
    /// Index of the volume.
    pub volume: u32,
    /// Keeps the size a multiple of 8.
    pub pad: u32,
}

/// A task's name, as two words: compared at once.
pub type Comm = [u64; COMM_LEN / 8];

/// The rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Filter {
    /// Bits of [`kind`]: which rules there are. 0 lets everything through.
    pub kinds: u32,
    /// Bit `n` set: volume `n` is let through in its ranges only.
    pub ranged: u32,
    /// Bit `n` set: REQ_OP number `n` of the running kernel is let through.
    pub operations: u64,
    /// The same for operation codes, 64 in a word.
    pub opcodes: [u64; 4],
    /// In any order; they may overlap.
    pub ranges: [FilterRange; MAX_RANGES],
    /// Unused places repeat the first.
    pub comms: [Comm; MAX_COMMS],
    /// Unused places repeat the first.
    pub cgroups: [u64; MAX_CGROUPS],
    /// Ids of processes (not threads). Unused places repeat the first.
    pub pids: [u32; MAX_PIDS],
}

/// What a filter asks of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// First sector, relative to the volume.
    pub sector: u64,
    /// Number of sectors; 0 for a command without a place, which concerns every place.
    pub sectors: u64,
    /// Index of the volume.
    pub volume: u32,
    /// REQ_OP number.
    pub operation: u32,
    /// SCSI operation code, or [`NO_OPCODE`].
    pub opcode: u32,
}

/// [`Facts::opcode`] of a command whose SCSI side is not captured: no operation code is let through or kept out then.
pub const NO_OPCODE: u32 = 256;

/// What a filter asks of the task that issues a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub comm: Comm,
    /// Id of its control group (version 2).
    pub cgroup: u64,
    /// Its process id.
    pub pid: u32,
}

impl Filter {
    /// Which kinds keep a command out by what it is: bits of [`kind`], 0 when it is let through.
    #[inline(always)]
    #[must_use]
    pub fn refuses(&self, facts: &Facts) -> u32 {
        self.unless(kind::RANGE, self.in_ranges(facts))
            | self.unless(kind::OPERATION, facts.operation < 64 && self.operations >> (facts.operation & 63) & 1 == 1)
            | self.unless(kind::OPCODE, facts.opcode >= NO_OPCODE || self.has_opcode(facts.opcode))
    }

    /// Which kinds keep a command out by who issues it.
    #[inline(always)]
    #[must_use]
    pub fn refuses_task(&self, task: &Task) -> u32 {
        let comm = self.comms.iter().any(|comm| comm[0] == task.comm[0] && comm[1] == task.comm[1]);
        let pid = self.pids.contains(&task.pid);
        let cgroup = self.cgroups.contains(&task.cgroup);
        self.unless(kind::COMM, comm) | self.unless(kind::PID, pid) | self.unless(kind::CGROUP, cgroup)
    }

    #[inline(always)]
    const fn unless(&self, kind: u32, passes: bool) -> u32 {
        if passes { 0 } else { self.kinds & kind }
    }

    #[inline(always)]
    fn in_ranges(&self, facts: &Facts) -> bool {
        if facts.sectors == 0 || self.ranged >> (facts.volume & 31) & 1 == 0 {
            return true;
        }
        let (volume, first, end) = (facts.volume, facts.sector, facts.sector.saturating_add(facts.sectors));
        self.ranges.iter().any(|range| range.volume == volume && first < range.end && range.first < end)
    }

    #[inline(always)]
    const fn has_opcode(&self, opcode: u32) -> bool {
        // Written as a choice, not as an index: the verifier then has four constants.
        let word = match opcode >> 6 & 3 {
            0 => self.opcodes[0],
            1 => self.opcodes[1],
            2 => self.opcodes[2],
            _ => self.opcodes[3],
        };
        word >> (opcode & 63) & 1 == 1
    }
}

const _: () = {
    assert!(size_of::<FilterRange>() == 24);
    assert!(size_of::<Filter>() == 16 + 32 + MAX_RANGES * 24 + MAX_COMMS * 16 + MAX_CGROUPS * 8 + MAX_PIDS * 4);
};

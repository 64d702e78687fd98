//! The SCSI command behind a request: its CDB and data at issue, the device's answer when it is done.
//!
//! When a request is issued its `struct scsi_cmnd`, which lies behind it (`blk_mq_rq_to_pdu`), is ready: `scsi_queue_rq`
//! (drivers/scsi/scsi_lib.c) prepares it before `blk_mq_start_request`. `scsi_dispatch_cmd_done` comes before the
//! mid-layer decides whether to try again, so the answer that counts is the last one before the request completes.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use probe_types::filter::NO_OPCODE;
use probe_types::{CDB_LEN, OpcodeRule, SENSE_LEN, ScsiCommand, rule, state};

use crate::kernel::read;
use crate::layout;
use crate::maps::{OPCODES, SCSI};
use crate::table::find;

/// SAM-6, "Status codes".
const CHECK_CONDITION: u32 = 0x02;
/// `DMA_NONE`.
const NO_DATA: u32 = 3;

/// A CDB, and what its operation code means.
pub struct Passthrough {
    pub cdb: [u8; CDB_LEN],
    pub rule: OpcodeRule,
}

/// A piece of a scatter list (`struct scatterlist`, include/linux/scatterlist.h): its first members have not moved.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Piece {
    pub page: u64,
    pub offset: u32,
    pub len: u32,
}

/// Whether SCSI commands are captured at all.
#[inline(always)]
pub fn is_on() -> bool {
    layout!(request_size) != 0
}

#[inline(always)]
fn command_of(rq: u64) -> u64 {
    rq + u64::from(layout!(request_size))
}

#[inline(always)]
fn cdb_address(command: u64) -> u64 {
    let at = layout!(scsi_cmnd);
    if layout!(scsi_cmnd_is_pointer) == 0 { command + u64::from(at) } else { read(command, at).unwrap_or(0) }
}

/// The operation code of the command behind `rq`; one that stands for nothing where it cannot be read.
#[inline(always)]
pub fn opcode(rq: u64) -> u32 {
    read::<u8>(cdb_address(command_of(rq)), 0).map_or(NO_OPCODE, u32::from)
}

/// What a program sent.
#[inline(always)]
pub fn passthrough(rq: u64) -> Option<Passthrough> {
    let cdb: [u8; CDB_LEN] = read(cdb_address(command_of(rq)), 0)?;
    // SAFETY: a map value that is written before the programs are attached.
    let rule = unsafe { *OPCODES.get_ptr(u32::from(cdb[0]))? };
    Some(Passthrough { cdb, rule })
}

impl Passthrough {
    /// First sector and number of sectors that it changes, for a rule of the kind RANGE.
    #[inline(always)]
    pub fn sectors(&self, block_shift: u32) -> (u64, u64) {
        let lba = if self.rule.lba_len == 8 { self.number::<8>(self.rule.lba_at) } else { self.number::<4>(self.rule.lba_at) };
        let count =
            if self.rule.count_len == 4 { self.number::<4>(self.rule.count_at) } else { self.number::<2>(self.rule.count_at) };
        let shift = block_shift.wrapping_sub(9) & 7;
        (lba << shift, count << shift)
    }

    /// The big-endian number of `BYTES` bytes at `at`.
    #[inline(always)]
    fn number<const BYTES: usize>(&self, at: u8) -> u64 {
        let mut number = 0;
        for byte in 0..BYTES {
            // SAFETY: a local; the mask keeps the place inside the CDB.
            number = number << 8 | u64::from(unsafe { *self.cdb.as_ptr().add((at as usize + byte) & (CDB_LEN - 1)) });
        }
        number
    }

    #[inline(always)]
    pub fn is_read(&self) -> bool {
        self.rule.kind == rule::READ
    }
}

/// Writes the command behind `rq` into the table, at `index`; whether it could be read.
#[inline(always)]
pub fn remember(index: u32, rq: u64, passthrough: bool) -> bool {
    let Some(to) = SCSI.get_ptr_mut(index) else { return false };
    let command = command_of(rq);
    // SAFETY: a map value of our own slot; the helper checks the source.
    unsafe {
        let cdb = cdb_address(command) as *const core::ffi::c_void;
        if bpf_probe_read_kernel((&raw mut (*to).cdb).cast(), CDB_LEN as u32, cdb) != 0 {
            return false;
        }
        (*to).cdb_len = u32::from(read::<u16>(command, layout!(scsi_cmd_len)).unwrap_or(0));
        (*to).direction = read(command, layout!(scsi_direction)).unwrap_or(NO_DATA);
        (*to).transfer_len = read(command, layout!(scsi_transfer_len)).unwrap_or(0);
        (*to).residual = 0;
        (*to).result = 0;
        (*to).has_sense = 0;
        (*to).timed_out = 0;
        (*to).passthrough = u32::from(passthrough);
    }
    true
}

/// The first piece of the command's scatter list: all there is where the disk driver made the data itself (the list of
/// an UNMAP, the block of a WRITE SAME), which lies in no bio.
#[inline(always)]
pub fn first_piece(rq: u64) -> Option<Piece> {
    let command = command_of(rq);
    let bytes: u32 = read(command, layout!(scsi_transfer_len))?;
    if bytes == 0 {
        return None;
    }
    let list: u64 = read(command, layout!(scsi_sgl))?;
    let piece: Piece = read(list, 0)?;
    let len = if piece.len < bytes { piece.len } else { bytes };
    // The low bits tell a chain and the end.
    Some(Piece { page: piece.page & !3, len, ..piece })
}

/// `TP(struct scsi_cmnd *cmd)`.
#[raw_tracepoint(tracepoint = "scsi_dispatch_cmd_done")]
pub fn scsi_dispatch_cmd_done(ctx: RawTracePointContext) -> i32 {
    let _ = done(ctx.arg(0));
    0
}

/// `TP(struct scsi_cmnd *cmd)`.
#[raw_tracepoint(tracepoint = "scsi_dispatch_cmd_timeout")]
pub fn scsi_dispatch_cmd_timeout(ctx: RawTracePointContext) -> i32 {
    if let Some(to) = of(ctx.arg(0)) {
        // SAFETY: a map value.
        unsafe { (*to).timed_out = 1 };
    }
    0
}

/// What is remembered of a command in flight.
#[inline(always)]
fn of(command: u64) -> Option<*mut ScsiCommand> {
    let slot = find(command.wrapping_sub(u64::from(layout!(request_size))))?;
    // SAFETY: a map value.
    if unsafe { (*slot.command).state } & state::SCSI == 0 {
        return None;
    }
    SCSI.get_ptr_mut(slot.index)
}

#[inline(always)]
fn done(command: u64) -> Option<()> {
    let to = of(command)?;
    let result: u32 = read(command, layout!(scsi_result))?;
    // SAFETY: a map value; the helper checks the source.
    unsafe {
        (*to).result = result;
        (*to).residual = read(command, layout!(scsi_residual)).unwrap_or(0);
        (*to).has_sense = 0;
        if result & 0xff == CHECK_CONDITION {
            let sense: u64 = read(command, layout!(scsi_sense))?;
            let from = sense as *const core::ffi::c_void;
            let failed = bpf_probe_read_kernel((&raw mut (*to).sense).cast(), SENSE_LEN as u32, from) != 0;
            (*to).has_sense = u32::from(!failed);
        }
    }
    Some(())
}

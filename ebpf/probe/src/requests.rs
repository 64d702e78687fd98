//! Request-based devices: issue, requeue, completion of `struct request`.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::debug;
use probe_types::{Order, rule};

use crate::commands::{Completed, Issued, Nature, begin, complete, untracked, withdraw};
use crate::disks::{first_volume, of_queue};
use crate::kernel::{Window, read};
use crate::layout;
use crate::maps::{SPACE_COMPLETE, SPACE_REQUEST, VOLUMES, order};
use crate::payload::{Scratch, Space};
use crate::scsi;

struct Issue;
struct Complete;

impl Scratch for Issue {
    fn map() -> &'static Array<Space> {
        &SPACE_REQUEST
    }
}

impl Scratch for Complete {
    fn map() -> &'static Array<Space> {
        &SPACE_COMPLETE
    }
}

/// `TP(struct request *rq)`, since 5.11.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
pub fn block_rq_issue(ctx: RawTracePointContext) -> i32 {
    let _ = issue(ctx.arg(0));
    0
}

/// `TP(struct request *rq)`, since 5.11.
#[raw_tracepoint(tracepoint = "block_rq_requeue")]
pub fn block_rq_requeue(ctx: RawTracePointContext) -> i32 {
    let _ = withdraw(ctx.arg(0));
    0
}

/// `TP(struct request *rq, blk_status_t error, unsigned int nr_bytes)`; an errno before 5.18.
#[raw_tracepoint(tracepoint = "block_rq_complete")]
pub fn block_rq_complete(ctx: RawTracePointContext) -> i32 {
    let (rq, status, bytes): (u64, u32, u32) = (ctx.arg(0), status(ctx.arg(1)), ctx.arg(2));
    let bytes = u64::from(bytes);
    let completed = Completed { key: rq, status, bytes, first_bio: selftest_bio(rq), request: true };
    if complete::<Complete>(&completed).is_none() {
        let _ = completed_unseen(rq, status, bytes);
    }
    0
}

/// An errno tells no more than that it failed: `BLK_STS_IOERR`.
#[inline(always)]
fn status(raw: u64) -> u32 {
    if layout!(status_is_errno) == 0 {
        (raw & 0xff) as u32
    } else if raw as u32 == 0 {
        0
    } else {
        10
    }
}

/// The request's first bio while a self-test runs, else 0: nobody else needs it at completion.
#[inline(always)]
fn selftest_bio(rq: u64) -> u64 {
    let Some(order) = order() else { return 0 };
    // SAFETY: a map value.
    if unsafe { core::ptr::read_volatile(&raw const (*order).selftest_volume) } == 0 {
        return 0;
    }
    read(rq, layout!(rq_bio)).unwrap_or(0)
}

#[inline(always)]
fn issue(rq: u64) -> Option<()> {
    let head = Window::<64>::at(rq)?;
    let order = order()?;
    // SAFETY: a map value.
    if unsafe { core::ptr::read_volatile(&raw const (*order).anchor_page) } == 0 {
        let _ = learn_anchor(head.field(layout!(rq_mq_hctx)), order);
    }
    begin::<Issue>(&issued(rq, &head, order)?)
}

/// What the request says of itself, if its disk is observed.
#[inline(always)]
fn issued(rq: u64, head: &Window<64>, order: *mut Order) -> Option<Issued> {
    let queue: u64 = head.field(layout!(rq_q));
    let first_volume = first_volume(queue, order, || of_queue(queue));
    if first_volume == 0 {
        return None;
    }
    let bytes: u32 = head.field(layout!(rq_data_len));
    let issued = Issued {
        key: rq,
        cmd_flags: head.field(layout!(rq_cmd_flags)),
        sector: head.field(layout!(rq_sector)),
        sectors: u64::from(bytes) >> 9,
        bytes,
        first_bio: head.field(layout!(rq_bio)),
        nature: Nature::Block,
        request: true,
        first_volume,
    };
    if scsi::is_on() { of_scsi(issued) } else { Some(issued) }
}

/// The same of a request to a disk whose SCSI commands are captured.
#[inline(always)]
fn of_scsi(issued: Issued) -> Option<Issued> {
    // SAFETY: a map value, written only before the programs are attached.
    let volume = unsafe { *VOLUMES.get_ptr(issued.first_volume - 1)? };
    if volume.scsi_block_shift == 0 {
        return Some(issued);
    }
    let op = issued.cmd_flags & 0xff;
    if op != layout!(op_drv_out) && op != layout!(op_drv_in) {
        return Some(Issued { nature: Nature::Scsi, ..issued });
    }
    let sent = scsi::passthrough(issued.key)?;
    if sent.is_read() {
        return Some(Issued { sector: 0, sectors: 0, nature: Nature::PassthroughRead, ..issued });
    }
    let stateful = Issued { sector: 0, sectors: 0, nature: Nature::Passthrough, ..issued };
    if sent.rule.kind == rule::ANYWHERE {
        return Some(Issued { nature: Nature::PassthroughAnywhere, ..stateful });
    }
    let (sector, sectors) = sent.sectors(volume.scsi_block_shift);
    // What reaches beyond the device is refused by it and changes nothing.
    let inside = sectors <= volume.sectors && sector <= volume.sectors - sectors;
    if sent.rule.kind == rule::RANGE && inside { Some(Issued { sector, sectors, ..stateful }) } else { Some(stateful) }
}

#[inline(always)]
fn completed_unseen(rq: u64, status: u32, bytes: u64) -> Option<()> {
    // Without data there may still be a command that changes something, if a program sent it.
    if bytes == 0 && !scsi::is_on() {
        return None;
    }
    let head = Window::<64>::at(rq)?;
    untracked(&issued(rq, &head, order()?)?, status, bytes)
}

/// Finds one pair of page and address. The requests of a hardware queue are preallocated in pages that hang on
/// `page_list` by `page->lru`; the first request lies at the start of the first page (`blk_mq_alloc_rqs`,
/// block/blk-mq.c).
#[inline(always)]
fn learn_anchor(hctx: u64, order: *mut Order) -> Option<()> {
    let tags: u64 = read(hctx, layout!(hctx_tags))?;
    let requests: u64 = read(tags, layout!(tags_static_rqs))?;
    let va: u64 = read(requests, 0)?;
    let link: u64 = read(tags, layout!(tags_page_list))?;
    let page = link.wrapping_sub(u64::from(layout!(page_lru)));
    // SAFETY: a map value. Whoever writes writes the same linear map; the address goes first, the page arms it.
    unsafe {
        core::ptr::write_volatile(&raw mut (*order).anchor_va, va);
        core::ptr::write_volatile(&raw mut (*order).anchor_page, page);
    }
    debug!((), "page {:x} lies at {:x}", page, va);
    Some(())
}

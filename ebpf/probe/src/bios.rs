//! Bio-based devices (dm, md, zram): submission and completion of `struct bio`.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::RawTracePointContext;
use probe_types::Volume;

use crate::commands::{Completed, Issued, Nature, begin, complete};
use crate::disks::{first_volume, of_disk};
use crate::kernel::{Window, read};
use crate::layout;
use crate::maps::{VOLUMES, SPACE_BIO, SPACE_COMPLETE, order};
use crate::payload::{Scratch, Space};

struct Submit;
struct Complete;

impl Scratch for Submit {
    fn map() -> &'static Array<Space> {
        &SPACE_BIO
    }
}

impl Scratch for Complete {
    fn map() -> &'static Array<Space> {
        &SPACE_COMPLETE
    }
}

/// `TP(struct bio *bio)`: once per submitted bio, before it is split, already remapped to the whole disk
/// (`submit_bio_noacct_nocheck`, block/blk-core.c).
#[raw_tracepoint(tracepoint = "block_bio_queue")]
pub fn block_bio_queue(ctx: RawTracePointContext) -> i32 {
    let _ = submit(ctx.arg(0));
    0
}

/// `TP(struct request_queue *q, struct bio *bio)`. Clones of a split bio complete too; they are not in the table.
#[raw_tracepoint(tracepoint = "block_bio_complete")]
pub fn block_bio_complete(ctx: RawTracePointContext) -> i32 {
    let bio: u64 = ctx.arg(1);
    let status: u8 = read(bio, layout!(bio_status)).unwrap_or(10);
    let completed = Completed { key: bio, status: u32::from(status), bytes: u64::MAX, first_bio: 0, request: false };
    let _ = complete::<Complete>(&completed);
    0
}

#[inline(always)]
fn submit(bio: u64) -> Option<()> {
    // In the scratch space: with it on the stack the program is too large for one.
    // SAFETY: this CPU's own, see `Scratch`; the copy of the payload takes it over after its last use here.
    let window = unsafe { &mut (*Submit::space()?).bio };
    if !window.load(bio) {
        return None;
    }
    let bdev: u64 = window.field(layout!(bio_bdev));
    let first_volume = first_volume(bdev, order()?, || of_disk(read(bdev, layout!(bdev_disk))?));
    if first_volume == 0 || !bio_based(first_volume - 1)? {
        return None;
    }
    begin::<Submit>(&Issued {
        key: bio,
        cmd_flags: window.field(layout!(bio_opf)),
        sector: window.field(layout!(bio_sector)),
        sectors: u64::from(window.field::<u32>(layout!(bio_size))) >> 9,
        bytes: window.field(layout!(bio_size)),
        nature: Nature::Block,
        first_bio: bio,
        request: false,
        first_volume,
    })
}

/// On request-based disks the request is watched, not the bio.
#[inline(always)]
fn bio_based(volume: u32) -> Option<bool> {
    let volume: *const Volume = VOLUMES.get_ptr(volume)?;
    // SAFETY: a map value.
    Some(unsafe { (*volume).bio_based } != 0)
}

//! Copying the payload of a command into the ring, page by page through its bios.

use aya_ebpf::helpers::bpf_loop;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::maps::Array;
use probe_types::{CpuCounters, PayloadHead, slot, state};

use crate::kernel::{Window, read};
use crate::layout;
use crate::maps::{RING, add, count};
use crate::scsi::Piece;

/// `BPF_RB_NO_WAKEUP`: the completion decides whether the agent is woken.
const NO_WAKEUP: u64 = 1;
/// Pieces of a medium slot, and of a large one: enough to fill it with whole pages, and some for odd ends.
const MEDIUM_PIECES: u32 = 8;
const LARGE_PIECES: u32 = 40;
/// Large slots per command, at most. What does not fit is lost, by name.
const LARGE_SLOTS: u32 = 1024;

/// Where a copy stands. It lives in a map, not on the stack: the verifier then need not follow its values.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Walk {
    /// Bio after the current one, or 0.
    next_bio: u64,
    /// The current bio's vector of pieces.
    vecs: u64,
    /// Address of the bytes that come next.
    va: u64,
    issue: u64,
    anchor_page: u64,
    anchor_va: u64,
    /// Next entry of `vecs`.
    index: u32,
    /// Bytes of that entry that are done already (only in a bio's first).
    vec_done: u32,
    /// Bytes of the current bio beyond the current entry.
    bio_left: u32,
    /// Bytes at `va`.
    piece_left: u32,
    /// Bytes of the command not copied yet.
    left: u32,
    /// Bytes copied.
    copied: u32,
    kind: u32,
    total: u32,
    /// Bits of [`state`] when something failed.
    failed: u32,
}

/// What does not fit on a stack of 512 bytes.
#[repr(C)]
pub struct Space {
    walk: Walk,
    /// The bio being walked.
    pub bio: Window<128>,
}

/// Scratch space of one program on one CPU. A program does not run inside itself on one CPU, so nobody shares it.
pub trait Scratch {
    fn map() -> &'static Array<Space>;

    #[inline(always)]
    fn space() -> Option<*mut Space> {
        // SAFETY: a helper without preconditions.
        Self::map().get_ptr_mut(unsafe { aya_ebpf::helpers::bpf_get_smp_processor_id() })
    }
}

#[repr(C)]
struct Slot<const BYTES: usize> {
    head: PayloadHead,
    bytes: [u8; BYTES],
}

/// What to copy.
pub struct Source {
    pub first_bio: u64,
    pub bytes: u32,
    pub issue: u64,
    /// One of the payload kinds of `probe_types::event_kind`.
    pub kind: u32,
    /// Whether bios are chained by `bi_next` (a request's) or there is one.
    pub chained: bool,
    /// The data, where it is in one piece and in no bio; the bios are not looked at then.
    pub piece: Option<Piece>,
    pub anchor_page: u64,
    pub anchor_va: u64,
}

/// Copies `source` into the ring and answers the resulting bits of [`state`].
#[inline(always)]
pub fn copy<S: Scratch>(source: &Source, counters: *mut CpuCounters) -> u32 {
    let Some(space) = S::space() else { return state::PAYLOAD_LOST };
    // SAFETY: this CPU's own scratch, see `Scratch`.
    let (walk, bio) = unsafe { (&mut (*space).walk, &mut (*space).bio) };
    start(walk, source);
    let entered = match &source.piece {
        Some(piece) => enter_piece(walk, piece),
        None => enter_bio(walk, bio, source.first_bio, source.chained) && enter_vec(walk),
    };
    if !entered {
        walk.failed = state::PAYLOAD_LOST;
    } else if walk.piece_left >= walk.left && source.bytes as usize <= slot::SMALL {
        copy_small(walk);
    } else {
        if source.bytes as usize <= slot::MEDIUM {
            copy_slot::<{ slot::MEDIUM + slot::PIECE }, { slot::MEDIUM }, MEDIUM_PIECES>(walk, bio);
        }
        if walk.left > 0 && walk.failed == 0 {
            let mut unused = 0u64;
            // SAFETY: the callback has the signature the helper calls; it does not use its context.
            unsafe {
                bpf_loop(LARGE_SLOTS, copy_large::<S> as *mut core::ffi::c_void, (&raw mut unused).cast(), 0);
            }
        }
    }
    finish(walk, counters)
}

#[inline(always)]
fn start(walk: &mut Walk, source: &Source) {
    walk.issue = source.issue;
    walk.anchor_page = source.anchor_page;
    walk.anchor_va = source.anchor_va;
    walk.left = source.bytes;
    walk.copied = 0;
    walk.kind = source.kind;
    walk.total = source.bytes;
    walk.failed = 0;
}

#[inline(always)]
fn finish(walk: &Walk, counters: *mut CpuCounters) -> u32 {
    // SAFETY: points into a map value.
    unsafe {
        add(&raw mut (*counters).payload_bytes, u64::from(walk.copied));
        if walk.left == 0 && walk.failed == 0 {
            return state::PAYLOAD_WHOLE;
        }
        count(&raw mut (*counters).lost_payloads);
    }
    state::PAYLOAD_LOST
}

/// Makes `bio` the current one.
#[inline(always)]
fn enter_bio(walk: &mut Walk, window: &mut Window<128>, bio: u64, chained: bool) -> bool {
    if !window.load(bio) {
        return false;
    }
    walk.next_bio = if chained { window.field(layout!(bio_next)) } else { 0 };
    walk.vecs = window.field(layout!(bio_io_vec));
    walk.index = window.field(layout!(bio_idx));
    walk.vec_done = window.field(layout!(bio_bvec_done));
    walk.bio_left = window.field(layout!(bio_size));
    walk.piece_left = 0;
    walk.vecs != 0
}

/// `struct bio_vec` (include/linux/bvec.h); unchanged since 2.6.
#[derive(Clone, Copy)]
#[repr(C)]
struct BioVec {
    page: u64,
    len: u32,
    offset: u32,
}

/// Makes a piece of a scatter list the current one, and the only one.
#[inline(always)]
fn enter_piece(walk: &mut Walk, piece: &Piece) -> bool {
    walk.next_bio = 0;
    walk.bio_left = 0;
    walk.va = page_address(walk, piece.page).wrapping_add(u64::from(piece.offset));
    walk.piece_left = piece.len;
    piece.len >= walk.left
}

/// The kernel's direct map is linear, so one known pair of page and address gives all others.
#[inline(always)]
fn page_address(walk: &Walk, page: u64) -> u64 {
    let pages = (page.wrapping_sub(walk.anchor_page) as i64) >> layout!(page_struct_shift);
    walk.anchor_va.wrapping_add((pages << layout!(page_shift)) as u64)
}

/// Makes the next entry of the current bio's vector the current piece.
#[inline(always)]
fn enter_vec(walk: &mut Walk) -> bool {
    let at = walk.vecs + u64::from(walk.index) * size_of::<BioVec>() as u64;
    let Some(vec) = read::<BioVec>(at, 0) else { return false };
    let done = walk.vec_done;
    if vec.len <= done || walk.bio_left == 0 {
        return false;
    }
    let len = if vec.len - done < walk.bio_left { vec.len - done } else { walk.bio_left };
    walk.va = page_address(walk, vec.page).wrapping_add(u64::from(vec.offset)).wrapping_add(u64::from(done));
    walk.piece_left = len;
    walk.bio_left -= len;
    walk.index += 1;
    walk.vec_done = 0;
    true
}

/// Makes sure that there are bytes at `va`.
#[inline(always)]
fn next_piece(walk: &mut Walk, bio: &mut Window<128>) -> bool {
    if walk.piece_left > 0 {
        return true;
    }
    if walk.bio_left == 0 && (walk.next_bio == 0 || !enter_bio(walk, bio, walk.next_bio, true)) {
        return false;
    }
    enter_vec(walk)
}

#[inline(always)]
fn head(walk: &Walk, len: u32) -> PayloadHead {
    PayloadHead {
        kind: walk.kind,
        len,
        issue: walk.issue,
        offset: walk.copied,
        total: walk.total,
    }
}

/// Reads `len` bytes, 1 to 4096, from kernel memory.
///
/// # Safety
/// `to` has room for 4096 bytes.
#[inline(always)]
unsafe fn read_piece(to: *mut u8, len: u32, va: u64) -> bool {
    let less_one = len.wrapping_sub(1);
    // The bound must stand right before the call, where the optimiser cannot move or drop it: kernel 6.1's verifier
    // forgets it otherwise.
    // SAFETY: reads a local.
    let len = (unsafe { core::ptr::read_volatile(&raw const less_one) } & 0xfff) + 1;
    // SAFETY: the caller's promise; the helper checks the source.
    unsafe { bpf_probe_read_kernel(to.cast(), len, va as *const core::ffi::c_void) == 0 }
}

#[inline(always)]
fn copy_small(walk: &mut Walk) {
    let Some(mut slot) = RING.reserve::<Slot<{ slot::SMALL }>>(0) else {
        walk.failed = state::PAYLOAD_LOST;
        return;
    };
    let to = slot.as_mut_ptr();
    let len = walk.left;
    // SAFETY: the slot is ours until it is submitted; its payload has room for 4096 bytes.
    let read = unsafe {
        (&raw mut (*to).head).write(head(walk, len));
        read_piece((&raw mut (*to).bytes).cast(), len, walk.va)
    };
    if read {
        walk.copied = len;
        walk.left = 0;
        slot.submit(NO_WAKEUP);
    } else {
        walk.failed = state::PAYLOAD_LOST;
        slot.discard(NO_WAKEUP);
    }
}

extern "C" fn copy_large<S: Scratch>(_step: u64, _context: *mut core::ffi::c_void) -> i64 {
    let Some(space) = S::space() else { return 1 };
    // SAFETY: this CPU's own scratch.
    let (walk, bio) = unsafe { (&mut (*space).walk, &mut (*space).bio) };
    copy_slot::<{ slot::LARGE + slot::PIECE }, { slot::LARGE }, LARGE_PIECES>(walk, bio);
    i64::from(walk.left == 0 || walk.failed != 0)
}

/// Fills one slot of `CAP` bytes (a power of two; `BYTES` is a piece more) with at most `PIECES` pieces.
#[inline(always)]
fn copy_slot<const BYTES: usize, const CAP: usize, const PIECES: u32>(walk: &mut Walk, bio: &mut Window<128>) {
    let Some(mut slot) = RING.reserve::<Slot<BYTES>>(0) else {
        walk.failed = state::PAYLOAD_LOST;
        return;
    };
    let to = slot.as_mut_ptr();
    // SAFETY: the slot is ours until it is submitted.
    let bytes: *mut u8 = unsafe { (&raw mut (*to).bytes).cast() };
    let mut filled = 0u32;
    for _ in 0..PIECES {
        if walk.left == 0 || filled as usize >= CAP {
            break;
        }
        if !next_piece(walk, bio) {
            walk.failed = state::PAYLOAD_LOST;
            break;
        }
        let mut len = slot::PIECE as u32;
        if walk.piece_left < len {
            len = walk.piece_left;
        }
        if walk.left < len {
            len = walk.left;
        }
        // SAFETY: `filled` is masked below CAP, and BYTES has a piece more than that.
        let read = unsafe {
            let at = core::ptr::read_volatile(&raw const filled) as usize & (CAP - 1);
            read_piece(bytes.add(at), len, walk.va)
        };
        if !read {
            walk.failed = state::PAYLOAD_LOST;
            break;
        }
        walk.va += u64::from(len);
        walk.piece_left -= len;
        walk.left -= len;
        filled += len;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*to).head).write(head(walk, filled)) };
    walk.copied += filled;
    slot.submit(NO_WAKEUP);
}

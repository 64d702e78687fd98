//! The kernel's dirty map: one bit per region and epoch, set before anything that can fail.

use aya_ebpf::helpers::bpf_loop;
use probe_types::{EPOCH_SLOTS, MAX_VOLUMES, MAX_WORDS_PER_COMMAND};

use crate::disks::Place;
use crate::layout;
use crate::maps::{DIRTY, WHOLE, set_bits};

/// Marks the regions of `place` in the slot of `epoch`.
#[inline(always)]
pub fn mark(place: &Place, epoch: u32) {
    if place.sectors == 0 {
        return;
    }
    let shift = layout!(region_shift) - 9;
    let first = place.sector >> shift;
    let last = (place.sector + place.sectors - 1) >> shift;
    let base = (epoch % EPOCH_SLOTS) * layout!(words_per_slot) + place.value.first_word;
    if first >> 6 == last >> 6 {
        set(base + (first >> 6) as u32, (u64::MAX << (first & 63)) & (u64::MAX >> (63 - (last & 63))));
    } else if (last >> 6) - (first >> 6) > u64::from(MAX_WORDS_PER_COMMAND) {
        mark_whole(place.volume, epoch);
    } else {
        mark_run(base, first, last);
    }
}

/// Says that any region of a volume may have changed.
#[inline(always)]
pub fn mark_whole(volume: u32, epoch: u32) {
    if let Some(flag) = WHOLE.get_ptr_mut((epoch % EPOCH_SLOTS) * MAX_VOLUMES + volume) {
        // SAFETY: a map value.
        unsafe { set_bits(flag, 1) };
    }
}

struct Run {
    base: u32,
    first: u64,
    last: u64,
}

fn mark_run(base: u32, first: u64, last: u64) {
    let mut run = Run { base, first, last };
    let words = (last >> 6) - (first >> 6) + 1;
    // SAFETY: the callback has the signature the helper calls, and `run` outlives the call.
    unsafe {
        bpf_loop(words as u32, mark_word as *mut core::ffi::c_void, (&raw mut run).cast(), 0);
    }
}

extern "C" fn mark_word(step: u64, run: *mut Run) -> i64 {
    // SAFETY: the pointer that `mark_run` gave.
    let run = unsafe { &*run };
    let word = (run.first >> 6) + step;
    let mut bits = u64::MAX;
    if step == 0 {
        bits &= u64::MAX << (run.first & 63);
    }
    if word == run.last >> 6 {
        bits &= u64::MAX >> (63 - (run.last & 63));
    }
    set(run.base + word as u32, bits);
    0
}

/// Sets bits; a word that has them already is not written, so a hot region costs no shared cache line.
#[inline(always)]
fn set(word: u32, bits: u64) {
    if let Some(pointer) = DIRTY.get_ptr_mut(word) {
        // SAFETY: a map value.
        unsafe {
            if core::ptr::read_volatile(pointer) & bits != bits {
                set_bits(pointer, bits);
            }
        }
    }
}

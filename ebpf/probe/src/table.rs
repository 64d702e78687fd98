//! The table of commands in flight, keyed by the address of their request or bio.
//!
//! A hash map of the kernel takes a lock and a copy for each insertion and removal. Here four keys share one cache line,
//! a command has one slot for each key, and a slot is claimed and given back by one atomic instruction.

use probe_types::{InFlight, TABLE_BUCKETS, TABLE_WAYS};

use crate::maps::{COMMANDS, KEYS};

/// A command's place.
#[derive(Clone, Copy)]
pub struct Slot {
    key: *mut u64,
    pub command: *mut InFlight,
    /// Its place in the tables beside `COMMANDS`.
    pub index: u32,
}

/// What was found when a place was claimed.
pub enum Claimed {
    /// A free place, now taken.
    New(Slot),
    /// The key is there already.
    Present(Slot),
    /// All places that the key may have are taken.
    Full,
}

#[inline(always)]
fn bucket_of(key: u64) -> u32 {
    // Fibonacci hashing; requests are at least a cache line apart.
    ((key >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32 & (TABLE_BUCKETS - 1)
}

#[inline(always)]
fn slot(bucket: u32, keys: *mut u64, way: u32) -> Option<Slot> {
    let index = bucket * TABLE_WAYS + way;
    let command = COMMANDS.get_ptr_mut(index)?;
    // SAFETY: `way` is below TABLE_WAYS.
    Some(Slot { key: unsafe { keys.add(way as usize) }, command, index })
}

/// The way that holds `key`.
///
/// # Safety
/// `keys` points to a bucket.
#[inline(always)]
unsafe fn way_of(keys: *mut u64, key: u64) -> Option<u32> {
    // Written out, so that the verifier sees constant offsets.
    // SAFETY: the caller's promise.
    unsafe {
        if core::ptr::read_volatile(keys) == key {
            return Some(0);
        }
        if core::ptr::read_volatile(keys.add(1)) == key {
            return Some(1);
        }
        if core::ptr::read_volatile(keys.add(2)) == key {
            return Some(2);
        }
        if core::ptr::read_volatile(keys.add(3)) == key {
            return Some(3);
        }
    }
    None
}

/// The place of `key`.
#[inline(always)]
pub fn find(key: u64) -> Option<Slot> {
    let bucket = bucket_of(key);
    let keys: *mut u64 = KEYS.get_ptr_mut(bucket)?.cast();
    // SAFETY: a bucket of the map.
    slot(bucket, keys, unsafe { way_of(keys, key) }?)
}

/// Takes a place for `key`.
#[inline(always)]
pub fn claim(key: u64) -> Claimed {
    let bucket = bucket_of(key);
    let Some(keys) = KEYS.get_ptr_mut(bucket) else { return Claimed::Full };
    let keys: *mut u64 = keys.cast();
    // SAFETY: a bucket of the map.
    if let Some(way) = unsafe { way_of(keys, key) } {
        return slot(bucket, keys, way).map_or(Claimed::Full, Claimed::Present);
    }
    // SAFETY: as above; the offsets are below TABLE_WAYS.
    unsafe {
        let way = if swap_if(keys, 0, key) {
            0
        } else if swap_if(keys.add(1), 0, key) {
            1
        } else if swap_if(keys.add(2), 0, key) {
            2
        } else if swap_if(keys.add(3), 0, key) {
            3
        } else {
            return Claimed::Full;
        };
        slot(bucket, keys, way).map_or(Claimed::Full, Claimed::New)
    }
}

/// Gives a place back. Everything that was read of it has been read: the exchange is a full barrier.
///
/// # Safety
/// `slot` came from this table.
#[inline(always)]
pub unsafe fn release(slot: Slot) {
    let mut value = 0u64;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("{value} = xchg_64({at} + 0, {value})", at = in(reg) slot.key, value = inout(reg) value);
    }
    let _ = value;
}

/// Writes `new` where `old` is; whether it was.
///
/// # Safety
/// `at` points into a map value.
#[inline(always)]
unsafe fn swap_if(at: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise. Looking first keeps taken places from costing an atomic instruction.
    unsafe {
        if core::ptr::read_volatile(at) != old {
            return false;
        }
        let mut found = old;
        core::arch::asm!("r0 = cmpxchg_64({at} + 0, r0, {new})", at = in(reg) at, new = in(reg) new, inout("r0") found);
        found == old
    }
}

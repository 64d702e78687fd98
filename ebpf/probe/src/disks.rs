//! Which volume a command is for.

use probe_types::{CpuCounters, MAX_VOLUMES, Order, UnitKey, Volume};

use crate::kernel::read;
use crate::layout;
use crate::maps::{DISKS, KNOWN, UNITS, VOLUMES, count};

/// The first volume of the device behind a queue or disk address, plus one; 0 when the device is not observed.
///
/// `object` is looked up first; only an unknown one is resolved, by `resolve`, and then remembered.
#[inline(always)]
pub fn first_volume(object: u64, order: *mut Order, resolve: impl FnOnce() -> Option<u32>) -> u32 {
    // SAFETY: a map value. The volume is written before the object, and both change only together with the table.
    unsafe {
        if core::ptr::read_volatile(&raw const (*order).last_object) == object {
            return core::ptr::read_volatile(&raw const (*order).last_volume) as u32;
        }
    }
    let found = look_up(object, resolve);
    // With several observed disks the pair could be torn between two of them, so it is only kept while there is one.
    if found != 0 && layout!(volumes) == 1 {
        // SAFETY: as above.
        unsafe {
            core::ptr::write_volatile(&raw mut (*order).last_volume, u64::from(found));
            core::ptr::write_volatile(&raw mut (*order).last_object, object);
        }
    }
    found
}

#[inline(always)]
fn look_up(object: u64, resolve: impl FnOnce() -> Option<u32>) -> u32 {
    // SAFETY: the value is copied at once; entries are never removed while programs run.
    if let Some(known) = unsafe { KNOWN.get(object) } {
        return *known;
    }
    let Some(found) = resolve() else { return 0 };
    // A full cache only costs the next command another look.
    let _ = KNOWN.insert(object, found, 0);
    found
}

/// The first volume of a `gendisk`, plus one; 0 when it is not observed, none when there is no disk.
#[inline(always)]
pub fn of_disk(disk: u64) -> Option<u32> {
    let major: u32 = read(disk, layout!(disk_major))?;
    let minor: u32 = read(disk, layout!(disk_first_minor))?;
    // The kernel's `dev_t`.
    let dev = major << 20 | minor;
    // SAFETY: the value is copied at once.
    Some(unsafe { DISKS.get(dev) }.copied().unwrap_or(0))
}

/// The same of a queue: that of its disk, else that of its logical unit.
#[inline(always)]
pub fn of_queue(queue: u64) -> Option<u32> {
    let disk: u64 = read(queue, layout!(queue_disk))?;
    if disk != 0 || layout!(unit_queue) == 0 { of_disk(disk) } else { of_unit(queue) }
}

/// The volume of a logical unit without a disk. `queuedata` is a `struct scsi_device` for SCSI queues only
/// (`scsi_alloc_sdev`, drivers/scsi/scsi_scan.c), which is told by its pointing back at the queue.
#[inline(always)]
fn of_unit(queue: u64) -> Option<u32> {
    let unit: u64 = read(queue, layout!(queue_queuedata))?;
    if read::<u64>(unit, layout!(unit_queue))? != queue {
        return None;
    }
    let host: u64 = read(unit, layout!(unit_host))?;
    let key = UnitKey {
        host: read(host, layout!(host_number))?,
        channel: read(unit, layout!(unit_channel))?,
        id: read(unit, layout!(unit_id))?,
        pad: 0,
        lun: read(unit, layout!(unit_lun))?,
    };
    // SAFETY: the value is copied at once.
    Some(unsafe { UNITS.get(key) }.copied().unwrap_or(0))
}

/// Where a command lies.
#[derive(Clone, Copy)]
pub struct Place {
    pub volume: u32,
    pub value: Volume,
    /// First sector relative to the volume.
    pub sector: u64,
    pub sectors: u64,
}

/// The volume of one disk, from index `first`, that a run of sectors lies in. A run over a border is cut to the volume
/// and counted; its payload is then not carried.
#[inline(always)]
pub fn place(first: u32, sector: u64, sectors: u64, counters: *mut CpuCounters) -> Option<(Place, bool)> {
    // SAFETY: a map value, written only before the programs are attached.
    let disk_dev = unsafe { &*VOLUMES.get_ptr(first)? }.disk_dev;
    for step in 0..MAX_VOLUMES {
        let index = first + step;
        let Some(pointer) = VOLUMES.get_ptr(index) else { return None };
        // SAFETY: a map value, written only before the programs are attached.
        let value = unsafe { *pointer };
        if value.sectors == 0 || value.disk_dev != disk_dev {
            return None;
        }
        let end = value.start_sector + value.sectors;
        if sectors == 0 || (sector < end && sector + sectors > value.start_sector) {
            return Some(cut(index, value, sector, sectors, counters));
        }
    }
    None
}

#[inline(always)]
fn cut(volume: u32, value: Volume, sector: u64, sectors: u64, counters: *mut CpuCounters) -> (Place, bool) {
    if sectors == 0 {
        return (Place { volume, value, sector: 0, sectors: 0 }, false);
    }
    let end = value.start_sector + value.sectors;
    let from = if sector < value.start_sector { value.start_sector } else { sector };
    let to = if sector + sectors > end { end } else { sector + sectors };
    let straddles = to - from != sectors;
    if straddles {
        // SAFETY: points into a map value.
        unsafe { count(&raw mut (*counters).straddling) };
    }
    (Place { volume, value, sector: from - value.start_sector, sectors: to - from }, straddles)
}

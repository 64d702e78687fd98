//! The maps, and the globals that the agent sets before loading.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use probe_types::{
    CpuCounters, EPOCH_SLOTS, InFlight, Layout, MAX_VOLUMES, OpcodeRule, Order, ScsiCommand, TABLE_BUCKETS, TABLE_WAYS,
    UnitKey, Volume, filter::Filter,
};

use crate::payload::Space;

/// `BPF_F_MMAPABLE`: the agent maps these arrays into its memory instead of asking for each value.
const MMAPABLE: u32 = 1 << 10;
/// CPUs that counters and scratch space exist for, until the agent gives the machine's number.
const CPUS: u32 = 1;

/// Where the running kernel keeps what is needed. Read-only and frozen, so the verifier knows each value.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout {
    rq_q: 0,
    rq_mq_hctx: 0,
    rq_cmd_flags: 0,
    rq_data_len: 0,
    rq_sector: 0,
    rq_bio: 0,
    queue_disk: 0,
    disk_major: 0,
    disk_first_minor: 0,
    hctx_tags: 0,
    tags_static_rqs: 0,
    tags_page_list: 0,
    page_lru: 0,
    page_struct_shift: 0,
    page_shift: 0,
    bio_next: 0,
    bio_bdev: 0,
    bio_opf: 0,
    bio_status: 0,
    bio_sector: 0,
    bio_size: 0,
    bio_idx: 0,
    bio_bvec_done: 0,
    bio_io_vec: 0,
    bdev_disk: 0,
    status_is_errno: 0,
    request_size: 0,
    scsi_cmnd: 0,
    scsi_cmd_len: 0,
    scsi_direction: 0,
    scsi_transfer_len: 0,
    scsi_sgl: 0,
    scsi_residual: 0,
    scsi_result: 0,
    scsi_sense: 0,
    scsi_cmnd_is_pointer: 0,
    queue_queuedata: 0,
    unit_queue: 0,
    unit_host: 0,
    host_number: 0,
    unit_channel: 0,
    unit_id: 0,
    unit_lun: 0,
    op_drv_out: 0,
    op_drv_in: 0,
    region_shift: 0,
    ops_carried_low: 0,
    ops_carried_high: 0,
    words_per_slot: 0,
    volumes: 0,
    filtering: 0,
};

/// One field of [`LAYOUT`], read in a way that the compiler cannot fold to the zero it sees here.
#[macro_export]
macro_rules! layout {
    ($field:ident) => {
        // SAFETY: a static of plain integers, never written while programs run.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::maps::layout_ptr()).$field) }
    };
}

#[inline(always)]
pub fn layout_ptr() -> *const Layout {
    &raw const LAYOUT
}

#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(64 << 20, 0);
#[map]
pub static ORDER: Array<Order> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static COUNTERS: Array<CpuCounters> = Array::with_max_entries(CPUS, MMAPABLE);
#[map]
pub static DIRTY: Array<u64> = Array::with_max_entries(EPOCH_SLOTS, MMAPABLE);
#[map]
pub static VOLUMES: Array<Volume> = Array::with_max_entries(MAX_VOLUMES, 0);
/// One flag per epoch slot and volume: a command too long to mark region by region touched it.
#[map]
pub static WHOLE: Array<u64> = Array::with_max_entries(EPOCH_SLOTS * MAX_VOLUMES, MMAPABLE);
/// `dev_t` of a disk to the first of its volumes plus one.
#[map]
pub static DISKS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
/// A logical unit without a disk (a tape) to its volume plus one.
#[map]
pub static UNITS: HashMap<UnitKey, u32> = HashMap::with_max_entries(64, 0);
/// Address of a `request_queue` or `gendisk` to the first of its volumes plus one; 0: not ours.
#[map]
pub static KNOWN: HashMap<u64, u32> = HashMap::with_max_entries(4096, 0);
/// See `table`: addresses of commands in flight, and the commands.
#[map]
pub static KEYS: Array<[u64; TABLE_WAYS as usize]> = Array::with_max_entries(TABLE_BUCKETS, MMAPABLE);
#[map]
pub static COMMANDS: Array<InFlight> = Array::with_max_entries(TABLE_BUCKETS * TABLE_WAYS, MMAPABLE);
/// The SCSI side of the commands in `COMMANDS`; a single entry when no SCSI command is captured.
#[map]
pub static SCSI: Array<ScsiCommand> = Array::with_max_entries(1, 0);
/// By operation code.
#[map]
pub static OPCODES: Array<OpcodeRule> = Array::with_max_entries(256, 0);
/// Commands of programs that changed nothing, by operation code.
#[map]
pub static READS: Array<u64> = Array::with_max_entries(256, MMAPABLE);
/// The filter in force, and the one that will be next.
#[map]
pub static FILTERS: Array<Filter> = Array::with_max_entries(2, 0);
#[map]
pub static SPACE_REQUEST: Array<Space> = Array::with_max_entries(CPUS, 0);
#[map]
pub static SPACE_BIO: Array<Space> = Array::with_max_entries(CPUS, 0);
#[map]
pub static SPACE_COMPLETE: Array<Space> = Array::with_max_entries(CPUS, 0);

/// The shared order block.
#[inline(always)]
pub fn order() -> Option<*mut Order> {
    ORDER.get_ptr_mut(0)
}

/// This CPU's counters.
#[inline(always)]
pub fn counters() -> Option<*mut CpuCounters> {
    // SAFETY: a helper without preconditions.
    COUNTERS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

/// Adds to a counter and gives its old value. (The target's description knows no atomic read-modify-write, the
/// instruction set of version 3 does.)
///
/// # Safety
/// `counter` points into a map value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) -> u64 {
    let mut value = by;
    // SAFETY: the caller's promise; map values are aligned to 8 bytes.
    unsafe {
        core::arch::asm!("{value} = atomic_fetch_add((u64 *)({at} + 0), {value})", at = in(reg) counter, value = inout(reg) value);
    }
    value
}

/// Sets bits.
///
/// # Safety
/// `word` points into a map value.
#[inline(always)]
pub unsafe fn set_bits(word: *mut u64, bits: u64) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("lock *(u64 *)({at} + 0) |= {bits}", at = in(reg) word, bits = in(reg) bits) };
}

/// Counts one.
///
/// # Safety
/// `counter` points into a map value.
#[inline(always)]
pub unsafe fn count(counter: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { core::arch::asm!("lock *(u64 *)({at} + 0) += {one}", at = in(reg) counter, one = in(reg) 1u64) };
}

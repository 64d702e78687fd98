//! The few types that the probe in the kernel and the agent share: ring events, map values, and the layout of kernel
//! structures that the agent finds in the running kernel's BTF and hands to the probe before it is loaded.
//!
//! All are plain memory of one machine (native endianness, `repr(C)`, no padding left implicit): they never leave it.
#![no_std]
#![forbid(unsafe_code)]

pub mod filter;

/// Bytes of a task's name (TASK_COMM_LEN, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Volumes in one group, at most.
pub const MAX_VOLUMES: u32 = 16;
/// Slots of the kernel's dirty map; an epoch uses slot `epoch % EPOCH_SLOTS`.
pub const EPOCH_SLOTS: u32 = 3;
/// Words of a dirty map that one command may set one by one; a longer one marks its whole volume.
pub const MAX_WORDS_PER_COMMAND: u32 = 4096;
/// Places that one key may have in the table of commands in flight.
pub const TABLE_WAYS: u32 = 4;
/// Groups of such places: a power of two.
pub const TABLE_BUCKETS: u32 = 4096;
/// [`Completion::status`] of a command that ended unseen.
pub const STATUS_UNKNOWN: u32 = 255;
/// Largest payload that is copied, in bytes; a longer one is carried as an address only.
pub const MAX_COPIED: u32 = 16 << 20;

/// What kind of event a ring slot holds: the first four bytes of each.
pub mod event_kind {
    /// [`super::PayloadHead`], then payload bytes.
    pub const PAYLOAD: u32 = 1;
    /// [`super::Completion`].
    pub const COMPLETION: u32 = 2;
    /// [`super::Withdrawn`].
    pub const WITHDRAWN: u32 = 3;
    /// As `PAYLOAD`, but taken at completion: what a read of the self-test brought.
    pub const PAYLOAD_READ: u32 = 4;
    /// As `PAYLOAD`, of a read of the self-test: what lay in its buffer.
    pub const PAYLOAD_TEST: u32 = 5;
    /// [`super::ScsiCompletion`].
    pub const SCSI_COMPLETION: u32 = 6;
}

/// Bytes of a CDB that the kernel holds (`struct scsi_cmnd.cmnd`, include/scsi/scsi_cmnd.h).
pub const CDB_LEN: usize = 32;
/// Bytes of its sense buffer (`SCSI_SENSE_BUFFERSIZE`).
pub const SENSE_LEN: usize = 96;

/// What an operation code does to a disk's blocks, as far as the probe must know: derived by the agent from the opcode
/// table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OpcodeRule {
    /// One of [`rule`].
    pub kind: u8,
    /// Byte of the CDB where the LBA begins.
    pub lba_at: u8,
    /// Bytes of the LBA: 4 or 8.
    pub lba_len: u8,
    /// Byte of the CDB where the number of blocks begins.
    pub count_at: u8,
    /// Bytes of that number: 2 or 4.
    pub count_len: u8,
    /// Keeps the size a multiple of 8.
    pub pad: [u8; 3],
}

/// Values of [`OpcodeRule::kind`].
pub mod rule {
    /// Changes nothing: counted, not carried.
    pub const READ: u8 = 0;
    /// Changes no block: carried.
    pub const STATE: u8 = 1;
    /// Changes the blocks that its fields name: carried.
    pub const RANGE: u8 = 2;
    /// May change any block: carried.
    pub const ANYWHERE: u8 = 3;
}

/// What is remembered of a SCSI command beside [`InFlight`], at the same place of a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ScsiCommand {
    /// Bytes that it moves.
    pub transfer_len: u32,
    /// Bytes of these that were not moved.
    pub residual: u32,
    /// `scsi_cmnd.result`: status byte, host byte in bits 16 to 23.
    pub result: u32,
    /// `enum dma_data_direction`.
    pub direction: u32,
    /// Bytes of the CDB.
    pub cdb_len: u32,
    /// Whether sense data was read (1).
    pub has_sense: u32,
    /// Whether it timed out (1).
    pub timed_out: u32,
    /// Whether a program sent it, not the disk driver (1).
    pub passthrough: u32,
    /// The CDB.
    pub cdb: [u8; CDB_LEN],
    /// Sense data.
    pub sense: [u8; SENSE_LEN],
}

/// A SCSI command, or a part of one, has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ScsiCompletion {
    /// As of any command; its `kind` is [`event_kind::SCSI_COMPLETION`].
    pub completion: Completion,
    /// The rest.
    pub scsi: ScsiCommand,
}

/// Payload capacities of the three slot sizes of the ring, in bytes.
pub mod slot {
    /// A single piece of at most a page.
    pub const SMALL: usize = 4096;
    /// Several pieces, at most this much together.
    pub const MEDIUM: usize = 16 << 10;
    /// The same, for long commands.
    pub const LARGE: usize = 128 << 10;
    /// Largest piece copied at once into a medium or large slot. Such a slot is longer by this, so that a bounded
    /// position plus a bounded length always stays inside (the verifier cannot relate the two).
    pub const PIECE: usize = 4096;
}

/// Head of a payload slot. The bytes follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PayloadHead {
    /// One of the payload kinds of [`event_kind`].
    pub kind: u32,
    /// Bytes of payload in this slot.
    pub len: u32,
    /// Which issue they belong to.
    pub issue: u64,
    /// Where in that issue's payload they start, in bytes.
    pub offset: u32,
    /// Bytes of that issue's whole payload.
    pub total: u32,
}

/// Bits of [`InFlight::state`].
pub mod state {
    /// Part of the payload could not be put into the ring.
    pub const PAYLOAD_LOST: u32 = 1;
    /// The whole payload is in the ring.
    pub const PAYLOAD_WHOLE: u32 = 2;
    /// A read of the self-test: numbered by its issue only.
    pub const SELFTEST: u32 = 4;
    /// Its issue was never seen (the table was full, or the program could not run): nothing but the range is known.
    pub const UNTRACKED: u32 = 8;
    /// A SCSI command: the rest is in the table of SCSI commands.
    pub const SCSI: u32 = 16;
    /// A program sent it, not the disk driver. It completes at once: its bytes are those of its data, not of its range.
    pub const PASSTHROUGH: u32 = 32;
    /// Kept out by the filter: remembered only so that its completion is known, and told to nobody.
    pub const FILTERED: u32 = 64;
}

/// A command between issue and completion: the value of the in-flight table, keyed by the address of its `struct
/// request` or `struct bio`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InFlight {
    /// Number of the issue: CPU in the upper 16 bits, that CPU's count below.
    pub issue: u64,
    /// Completions seen when it was issued.
    pub dep: u64,
    /// Monotonic clock at issue, in nanoseconds.
    pub issued_ns: u64,
    /// First byte that is still to complete, relative to the volume.
    pub offset: u64,
    /// Bytes still to complete.
    pub remaining: u64,
    /// cgroup v2 id of the task.
    pub cgroup_id: u64,
    /// Process id in the upper half, thread id in the lower.
    pub pid_tgid: u64,
    /// Name of the task.
    pub comm: [u8; COMM_LEN],
    /// Where `offset` lies within the copied payload.
    pub payload_at: u32,
    /// Bytes of payload copied at issue.
    pub captured: u32,
    /// The kernel's `cmd_flags` (REQ_OP_* in the low 8 bits, REQ_* above).
    pub cmd_flags: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// Dirty-map epoch that holds its bits.
    pub epoch: u32,
    /// Index of the volume.
    pub volume: u16,
    /// Commands of the group in flight, this one included.
    pub depth: u16,
}

/// A command, or a part of one, has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Completion {
    /// [`event_kind::COMPLETION`].
    pub kind: u32,
    /// `blk_status_t`; 0 is success. [`STATUS_UNKNOWN`] where nobody saw it.
    pub status: u32,
    /// Place in the order of completion, from 1; 0 for the self-test's reads.
    pub seq: u64,
    /// Monotonic clock, in nanoseconds.
    pub completed_ns: u64,
    /// Bytes completed by this event, from `command.offset`.
    pub len: u64,
    /// Whether the command has ended with it (1) or goes on (0).
    pub ended: u32,
    /// Keeps the size a multiple of 8.
    pub pad: u32,
    /// What was remembered of it at issue.
    pub command: InFlight,
}

/// An issue that was taken back before it completed (requeue): its payload is void, it will be issued again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Withdrawn {
    /// [`event_kind::WITHDRAWN`].
    pub kind: u32,
    /// Its epoch.
    pub epoch: u32,
    /// Which issue.
    pub issue: u64,
}

/// The one shared counter block: two cache lines, so that the order counters have one of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Order {
    /// Last number given to a completion.
    pub seq: u64,
    /// Commands in flight.
    pub in_flight: u64,
    /// Which of the two filters is in force, 0 or 1; read only where there is one.
    pub filter: u64,
    /// Keeps the next field on another cache line.
    pub pad: [u64; 5],
    /// Current dirty-map epoch, set by the agent.
    pub epoch: u32,
    /// 1 while the agent sleeps and wants to be woken by the next completion.
    pub wake: u32,
    /// 0: payload is copied; 1: addresses only.
    pub addresses_only: u32,
    /// Index, plus one, of the volume on which the self-test reads, or 0. Which task issues a read to the device is not
    /// for sure (a kernel thread may), so its place tells.
    pub selftest_volume: u32,
    /// A `struct page` address, or 0 while none is known, and ...
    pub anchor_page: u64,
    /// ... the kernel address of that page's first byte.
    pub anchor_va: u64,
    /// The queue or bdev seen last of an observed disk, so that most commands need no look into a table.
    pub last_object: u64,
    /// First volume of that disk, plus one.
    pub last_volume: u64,
    /// First byte of the self-test's read.
    pub selftest_offset: u64,
    /// Number of bytes of it.
    pub selftest_len: u64,
}

/// What one CPU counted. Only ever grows, by atomic addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CpuCounters {
    /// Issues numbered.
    pub issues: u64,
    /// Issues whose bits are in each epoch slot.
    pub issued: [u64; EPOCH_SLOTS as usize],
    /// Of these, how many have ended in any way.
    pub ended: [u64; EPOCH_SLOTS as usize],
    /// Of these, how many were withdrawn (requeued) and told to the agent.
    pub withdrawn: [u64; EPOCH_SLOTS as usize],
    /// Events of each epoch slot that the agent will never see.
    pub lost: [u64; EPOCH_SLOTS as usize],
    /// Completion events without room in the ring.
    pub lost_completions: u64,
    /// Commands whose payload had no room in the ring.
    pub lost_payloads: u64,
    /// Commands without room in the in-flight table.
    pub lost_table: u64,
    /// Commands that ended unseen: their request was issued again.
    pub unseen: u64,
    /// Completions of changes whose issue was not seen.
    pub untracked: u64,
    /// Payloads whose pages could not be read.
    pub unreadable: u64,
    /// Commands that touch the disk on both sides of a volume's border.
    pub straddling: u64,
    /// Commands taken back by a requeue.
    pub requeued: u64,
    /// Events of a request that completed no byte and ended nothing.
    pub zero_completions: u64,
    /// Completions of a part of a command.
    pub partial: u64,
    /// Reads of the block layer, not carried.
    pub reads: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Commands of programs that change nothing, not carried.
    pub passthrough_reads: u64,
    /// Bytes of data of these.
    pub passthrough_read_bytes: u64,
    /// Changes by an operation that is never carried.
    pub uncarried: u64,
    /// Changes that the filter keeps out: by place, ...
    pub filtered_range: u64,
    /// ... by operation or operation code, ...
    pub filtered_operation: u64,
    /// ... by task name or process id, ...
    pub filtered_process: u64,
    /// ... by control group.
    pub filtered_cgroup: u64,
    /// Bytes of payload put into the ring.
    pub payload_bytes: u64,
}

/// One observed volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Volume {
    /// First sector (512 bytes) on its disk.
    pub start_sector: u64,
    /// Number of sectors.
    pub sectors: u64,
    /// First word of its bits within an epoch slot of the dirty map.
    pub first_word: u32,
    /// Number of words.
    pub words: u32,
    /// Keys of its disk: `major << 20 | minor`, the kernel's own `dev_t`.
    pub disk_dev: u32,
    /// 1: bio-based, watched at submission; 0: request-based.
    pub bio_based: u32,
    /// log2 of the bytes of a logical block when the SCSI commands of its disk are captured; 0 when not.
    pub scsi_block_shift: u32,
    /// Keeps the size a multiple of 8.
    pub pad: u32,
}

/// A SCSI logical unit, as the kernel numbers it: the key of one without a disk behind its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UnitKey {
    /// Host (adapter).
    pub host: u32,
    /// Channel.
    pub channel: u32,
    /// Target.
    pub id: u32,
    /// Keeps the next field aligned; always 0, since keys are compared byte by byte.
    pub pad: u32,
    /// Logical unit.
    pub lun: u64,
}

/// Offsets, in bytes, into structures of the running kernel, and values of its enums. Found in BTF by the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// `struct request`: `q`.
    pub rq_q: u32,
    /// `struct request`: `mq_hctx`.
    pub rq_mq_hctx: u32,
    /// `struct request`: `cmd_flags`.
    pub rq_cmd_flags: u32,
    /// `struct request`: `__data_len`.
    pub rq_data_len: u32,
    /// `struct request`: `__sector`.
    pub rq_sector: u32,
    /// `struct request`: `bio`.
    pub rq_bio: u32,
    /// `struct request_queue`: `disk`.
    pub queue_disk: u32,
    /// `struct gendisk`: `major`.
    pub disk_major: u32,
    /// `struct gendisk`: `first_minor`.
    pub disk_first_minor: u32,
    /// `struct blk_mq_hw_ctx`: `tags`.
    pub hctx_tags: u32,
    /// `struct blk_mq_tags`: `static_rqs`.
    pub tags_static_rqs: u32,
    /// `struct blk_mq_tags`: `page_list`.
    pub tags_page_list: u32,
    /// `struct page`: `lru`.
    pub page_lru: u32,
    /// log2 of `sizeof(struct page)`.
    pub page_struct_shift: u32,
    /// log2 of the page size.
    pub page_shift: u32,
    /// `struct bio`: `bi_next`.
    pub bio_next: u32,
    /// `struct bio`: `bi_bdev`.
    pub bio_bdev: u32,
    /// `struct bio`: `bi_opf`.
    pub bio_opf: u32,
    /// `struct bio`: `bi_status`.
    pub bio_status: u32,
    /// `struct bio`: `bi_iter.bi_sector`.
    pub bio_sector: u32,
    /// `struct bio`: `bi_iter.bi_size`.
    pub bio_size: u32,
    /// `struct bio`: `bi_iter.bi_idx`.
    pub bio_idx: u32,
    /// `struct bio`: `bi_iter.bi_bvec_done`.
    pub bio_bvec_done: u32,
    /// `struct bio`: `bi_io_vec`.
    pub bio_io_vec: u32,
    /// `struct block_device`: `bd_disk`.
    pub bdev_disk: u32,
    /// 1 where `block_rq_complete` passes a negative errno (before 6.1), 0 where it passes a `blk_status_t`.
    pub status_is_errno: u32,
    /// Bytes of `struct request`; the `struct scsi_cmnd` lies behind it. 0 when no SCSI command is captured.
    pub request_size: u32,
    /// `struct scsi_cmnd`: `cmnd`.
    pub scsi_cmnd: u32,
    /// `struct scsi_cmnd`: `cmd_len`.
    pub scsi_cmd_len: u32,
    /// `struct scsi_cmnd`: `sc_data_direction`.
    pub scsi_direction: u32,
    /// `struct scsi_cmnd`: `sdb.length`.
    pub scsi_transfer_len: u32,
    /// `struct scsi_cmnd`: `sdb.table.sgl`.
    pub scsi_sgl: u32,
    /// `struct scsi_cmnd`: `resid_len`.
    pub scsi_residual: u32,
    /// `struct scsi_cmnd`: `result`.
    pub scsi_result: u32,
    /// `struct scsi_cmnd`: `sense_buffer`.
    pub scsi_sense: u32,
    /// 1 where `cmnd` is a pointer (up to 5.17), 0 where it is the array itself.
    pub scsi_cmnd_is_pointer: u32,
    /// `struct request_queue`: `queuedata`.
    pub queue_queuedata: u32,
    /// `struct scsi_device`: `request_queue`, never its first member; 0 when every observed device has a disk behind its
    /// queue.
    pub unit_queue: u32,
    /// `struct scsi_device`: `host`.
    pub unit_host: u32,
    /// `struct Scsi_Host`: `host_no`.
    pub host_number: u32,
    /// `struct scsi_device`: `channel`.
    pub unit_channel: u32,
    /// `struct scsi_device`: `id`.
    pub unit_id: u32,
    /// `struct scsi_device`: `lun`.
    pub unit_lun: u32,
    /// REQ_OP_DRV_OUT: a passthrough command with data to the device.
    pub op_drv_out: u32,
    /// REQ_OP_DRV_IN: any other passthrough command.
    pub op_drv_in: u32,
    /// log2 of bytes per region of the dirty map.
    pub region_shift: u32,
    /// Bit `n` set: REQ_OP number `n` changes the medium and is carried.
    pub ops_carried_low: u32,
    /// The same for operations 32 to 63.
    pub ops_carried_high: u32,
    /// Words in one epoch slot of the dirty map.
    pub words_per_slot: u32,
    /// Number of volumes.
    pub volumes: u32,
    /// 1: there is a filter; 0: everything on the volumes is carried, and the probe never looks for one.
    pub filtering: u32,
}

impl Default for ScsiCommand {
    fn default() -> Self {
        Self {
            transfer_len: 0,
            residual: 0,
            result: 0,
            direction: 0,
            cdb_len: 0,
            has_sense: 0,
            timed_out: 0,
            passthrough: 0,
            cdb: [0; CDB_LEN],
            sense: [0; SENSE_LEN],
        }
    }
}

const _: () = {
    assert!(size_of::<PayloadHead>() == 24);
    assert!(size_of::<InFlight>() == 96);
    assert!(size_of::<Completion>() == 136);
    assert!(size_of::<Withdrawn>() == 16);
    assert!(size_of::<Order>() == 128);
    assert!(size_of::<CpuCounters>() == 33 * 8);
    assert!(size_of::<Volume>() == 40);
    assert!(size_of::<UnitKey>() == 24);
    assert!(size_of::<OpcodeRule>() == 8);
    assert!(size_of::<ScsiCommand>() == 160);
    assert!(size_of::<ScsiCompletion>() == 296);
};

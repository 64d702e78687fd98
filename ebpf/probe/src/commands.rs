//! From issue to completion: numbering, remembering, telling the agent.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_log_ebpf::info;
use probe_types::{
    COMM_LEN, Completion, CpuCounters, EPOCH_SLOTS, InFlight, MAX_COPIED, MAX_VOLUMES, Order, STATUS_UNKNOWN, ScsiCompletion, Withdrawn, event_kind,
    state,
};

use crate::disks::{Place, place};
use crate::filter;
use crate::layout;
use crate::maps::{READS, RING, SCSI, add, count, counters, order};
use crate::payload::{Scratch, Source, copy};
use crate::scsi;
use crate::table::{Claimed, Slot, claim, find, release};
use crate::dirty;

const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// States of commands that are neither numbered nor counted as issued.
const UNCOUNTED: u32 = state::SELFTEST | state::FILTERED;

/// REQ_OP_READ and REQ_OP_WRITE; the others differ between kernels and come through the layout's masks.
const READ: u32 = 0;
const WRITE: u32 = 1;

/// A command as issue or submission shows it.
pub struct Issued {
    /// Address of its request or bio.
    pub key: u64,
    pub cmd_flags: u32,
    /// First sector on the disk.
    pub sector: u64,
    /// Sectors it changes; 0 for a command without a place (a flush), whose sector says nothing.
    pub sectors: u64,
    /// Bytes of its data.
    pub bytes: u32,
    pub first_bio: u64,
    pub nature: Nature,
    /// Whether it is a request (bios chained) or a bio.
    pub request: bool,
    /// First volume of its disk, plus one.
    pub first_volume: u32,
}

/// Who made a command, as far as the probe treats it differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// The block layer; nothing more is known.
    Block,
    /// The block layer, and its SCSI command is captured.
    Scsi,
    /// A program, and its SCSI command is captured.
    Passthrough,
    /// The same, and it may change any block.
    PassthroughAnywhere,
    /// A program, and it changes nothing.
    PassthroughRead,
}

impl Nature {
    #[inline(always)]
    pub const fn is_passthrough(self) -> bool {
        matches!(self, Self::Passthrough | Self::PassthroughAnywhere)
    }
}

/// Whether an operation number is among those carried.
#[inline(always)]
fn carried(op: u32) -> bool {
    let mask = if op < 32 { layout!(ops_carried_low) } else { layout!(ops_carried_high) };
    op < 64 && mask >> (op & 31) & 1 == 1
}

/// Handles an issue on an observed disk.
#[inline(always)]
pub fn begin<S: Scratch>(issued: &Issued) -> Option<()> {
    let order = order()?;
    let counters = counters()?;
    let op = issued.cmd_flags & 0xff;
    if op == READ {
        return begin_read::<S>(issued, order, counters);
    }
    if issued.nature == Nature::PassthroughRead {
        return passthrough_read(issued, counters);
    }
    let (place, straddles) = place(issued.first_volume - 1, issued.sector, issued.sectors, counters)?;
    if filter::is_on() {
        let refused = filter::refuses(issued, &place) | filter::refuses_task();
        if refused != 0 {
            filter::keep_out(issued, &place, refused, order, counters);
            return None;
        }
    }
    // SAFETY: map values, here and below.
    unsafe {
        let epoch = core::ptr::read_volatile(&raw const (*order).epoch);
        dirty::mark(&place, epoch);
        if issued.nature == Nature::PassthroughAnywhere {
            dirty::mark_whole(place.volume, epoch);
        }
        if !issued.nature.is_passthrough() && !carried(op) {
            count(&raw mut (*counters).uncarried);
            count(slot_of(&raw mut (*counters).lost, epoch));
            return None;
        }
        if straddles {
            // A neighbour may be observed too; only the union of the dirty maps can tell.
            if place.volume + 1 < MAX_VOLUMES {
                dirty::mark_whole(place.volume + 1, epoch);
            }
            count(slot_of(&raw mut (*counters).lost, epoch));
        }
        let depth = add(&raw mut (*order).in_flight, 1) + 1;
        let Some(slot) = remember(issued.key, order, counters) else {
            add(&raw mut (*order).in_flight, u64::MAX);
            count(&raw mut (*counters).lost_table);
            count(slot_of(&raw mut (*counters).lost, epoch));
            return None;
        };
        let command = &mut *slot.command;
        describe(command, issued, &place, counters);
        command.dep = core::ptr::read_volatile(&raw const (*order).seq);
        command.epoch = epoch;
        command.depth = if depth > 0xffff { 0xffff } else { depth as u16 };
        let data = data_of(issued, op);
        if data.bytes > 0 {
            command.state = copy_payload::<S>(issued, &data, command.issue, straddles, order, counters);
            command.captured = if command.state == state::PAYLOAD_WHOLE { data.bytes } else { 0 };
        }
        if issued.nature != Nature::Block && scsi::remember(slot.index, issued.key, issued.nature.is_passthrough()) {
            command.state |= if issued.nature.is_passthrough() { state::SCSI | state::PASSTHROUGH } else { state::SCSI };
        }
        count(slot_of(&raw mut (*counters).issued, epoch));
    }
    Some(())
}

/// Where the data to a device lies.
struct Data {
    bytes: u32,
    piece: Option<scsi::Piece>,
}

#[inline(always)]
fn data_of(issued: &Issued, op: u32) -> Data {
    let in_bios = op == WRITE || (issued.nature.is_passthrough() && op == layout!(op_drv_out));
    if in_bios {
        return Data { bytes: issued.bytes, piece: None };
    }
    // What the disk driver made itself lies in no bio.
    let piece = if issued.nature == Nature::Scsi { scsi::first_piece(issued.key) } else { None };
    Data { bytes: piece.map_or(0, |piece| piece.len), piece }
}

/// One of three per-epoch counters.
///
/// # Safety
/// `counters` points into a map value.
#[inline(always)]
unsafe fn slot_of(counters: *mut [u64; EPOCH_SLOTS as usize], epoch: u32) -> *mut u64 {
    let base = counters.cast::<u64>();
    // Written as a choice, not as an index: the verifier then has three constants.
    // SAFETY: within the array.
    match epoch % EPOCH_SLOTS {
        0 => base,
        1 => unsafe { base.add(1) },
        _ => unsafe { base.add(2) },
    }
}

/// Counts what a program reads, by operation code.
#[inline(always)]
fn passthrough_read(issued: &Issued, counters: *mut CpuCounters) -> Option<()> {
    // SAFETY: map values.
    unsafe {
        count(&raw mut (*counters).passthrough_reads);
        add(&raw mut (*counters).passthrough_read_bytes, u64::from(issued.bytes));
        count(READS.get_ptr_mut(scsi::opcode(issued.key) & 0xff)?);
    }
    Some(())
}

#[inline(always)]
fn begin_read<S: Scratch>(issued: &Issued, order: *mut Order, counters: *mut CpuCounters) -> Option<()> {
    // SAFETY: map values and helpers without preconditions.
    unsafe {
        count(&raw mut (*counters).reads);
        add(&raw mut (*counters).read_bytes, u64::from(issued.bytes));
        let volume = core::ptr::read_volatile(&raw const (*order).selftest_volume);
        if volume == 0 {
            return None;
        }
        let (place, straddles) = place(issued.first_volume - 1, issued.sector, issued.sectors, counters)?;
        let within = (place.sector << 9).wrapping_sub((*order).selftest_offset) < (*order).selftest_len;
        if place.volume + 1 != volume || !within {
            return None;
        }
        let command = &mut *remember(issued.key, order, counters)?.command;
        describe(command, issued, &place, counters);
        let data = Data { bytes: issued.bytes, piece: None };
        command.state = copy_payload::<S>(issued, &data, command.issue, straddles, order, counters) | state::SELFTEST;
        command.captured = issued.bytes;
    }
    Some(())
}

#[inline(always)]
fn describe(command: &mut InFlight, issued: &Issued, place: &Place, counters: *mut CpuCounters) {
    // SAFETY: helpers without preconditions; `counters` points into a map value.
    unsafe {
        let number = add(&raw mut (*counters).issues, 1);
        command.issue = u64::from(bpf_get_smp_processor_id()) << 48 | (number & 0xffff_ffff_ffff);
        command.issued_ns = bpf_ktime_get_ns();
        command.cgroup_id = bpf_get_current_cgroup_id();
        command.pid_tgid = bpf_get_current_pid_tgid();
        bpf_get_current_comm(command.comm.as_mut_ptr().cast(), COMM_LEN as u32);
    }
    command.dep = 0;
    command.offset = place.sector << 9;
    command.remaining = place.sectors << 9;
    command.payload_at = 0;
    command.captured = 0;
    command.cmd_flags = issued.cmd_flags;
    command.state = 0;
    command.epoch = 0;
    command.volume = place.volume as u16;
    command.depth = 0;
}

/// Copies the payload unless there is a reason not to; the answer is bits of [`state`].
#[inline(always)]
fn copy_payload<S: Scratch>(
    issued: &Issued,
    data: &Data,
    issue: u64,
    straddles: bool,
    order: *mut Order,
    counters: *mut CpuCounters,
) -> u32 {
    // SAFETY: map values.
    unsafe {
        let selftest = issued.cmd_flags & 0xff == READ;
        let addresses_only = core::ptr::read_volatile(&raw const (*order).addresses_only) != 0;
        if straddles || data.bytes > MAX_COPIED || (addresses_only && !selftest) {
            return state::PAYLOAD_LOST;
        }
        let source = Source {
            first_bio: issued.first_bio,
            bytes: data.bytes,
            issue,
            kind: if selftest { event_kind::PAYLOAD_TEST } else { event_kind::PAYLOAD },
            chained: issued.request,
            piece: data.piece,
            anchor_page: (*order).anchor_page,
            anchor_va: (*order).anchor_va,
        };
        if source.anchor_page == 0 {
            count(&raw mut (*counters).unreadable);
            return state::PAYLOAD_LOST;
        }
        copy::<S>(&source, counters)
    }
}

/// A place in the table. An older command under the same address has completed unseen.
#[inline(always)]
fn remember(key: u64, order: *mut Order, counters: *mut CpuCounters) -> Option<Slot> {
    match claim(key) {
        Claimed::New(slot) => Some(slot),
        Claimed::Present(slot) => {
            end_unseen(slot, order, counters);
            Some(slot)
        }
        Claimed::Full => None,
    }
}

/// The kernel runs no program inside itself on one CPU (`prog->active` in `__bpf_trace_run`, since 6.1), so an interrupt
/// may complete a command unseen. Its request is in use again, so it has ended; how, nobody knows. The agent is told,
/// and reads the range back.
#[inline(always)]
pub fn end_unseen(slot: Slot, order: *mut Order, counters: *mut CpuCounters) {
    let old = slot.command;
    // SAFETY: map values.
    unsafe {
        if (*old).state & UNCOUNTED == 0 {
            count(&raw mut (*counters).unseen);
            info!((), "a command at byte {} of volume {} ended unseen", (*old).offset, (*old).volume);
            tell(slot, STATUS_UNKNOWN, (*old).remaining, true, order, counters);
            add(&raw mut (*order).in_flight, u64::MAX);
            count(slot_of(&raw mut (*counters).ended, (*old).epoch));
        }
    }
}

/// Takes an issued command back: it will be issued again.
#[inline(always)]
pub fn withdraw(key: u64) -> Option<()> {
    let order = order()?;
    let counters = counters()?;
    let slot = find(key)?;
    // SAFETY: map values.
    unsafe {
        let old = slot.command;
        let (epoch, issue, bits) = ((*old).epoch, (*old).issue, (*old).state);
        release(slot);
        if bits & UNCOUNTED != 0 {
            return None;
        }
        count(&raw mut (*counters).requeued);
        add(&raw mut (*order).in_flight, u64::MAX);
        count(slot_of(&raw mut (*counters).ended, epoch));
        match RING.reserve::<Withdrawn>(0) {
            Some(mut event) => {
                event.as_mut_ptr().write(Withdrawn { kind: event_kind::WITHDRAWN, epoch, issue });
                event.submit(NO_WAKEUP);
                count(slot_of(&raw mut (*counters).withdrawn, epoch));
            }
            None => count(slot_of(&raw mut (*counters).lost, epoch)),
        }
    }
    Some(())
}

/// How a completion ends.
pub struct Completed {
    pub key: u64,
    pub status: u32,
    /// Bytes it covers; `u64::MAX` for all that remain.
    pub bytes: u64,
    /// First bio, for the self-test's second look.
    pub first_bio: u64,
    pub request: bool,
}

/// Handles a completion of a command in the table; none if it is not there.
#[inline(always)]
pub fn complete<S: Scratch>(completed: &Completed) -> Option<()> {
    let slot = find(completed.key)?;
    let command = slot.command;
    let order = order()?;
    let counters = counters()?;
    // SAFETY: map values. Issue and completions of one request come one after the other.
    unsafe {
        let remaining = (*command).remaining;
        let at_once = (*command).state & state::PASSTHROUGH != 0;
        if completed.bytes == 0 && remaining > 0 && !at_once {
            count(&raw mut (*counters).zero_completions);
            return Some(());
        }
        let len = if completed.bytes < remaining && !at_once { completed.bytes } else { remaining };
        let ended = len == remaining;
        if filter::is_on() && (*command).state & state::FILTERED != 0 {
            filtered_part(slot, len, ended);
            return Some(());
        }
        if (*command).state & state::SELFTEST != 0 {
            selftest_read::<S>(completed, &*command, order, counters);
        }
        tell(slot, completed.status, len, ended, order, counters);
        if ended {
            finish(slot, order, counters);
        } else {
            count(&raw mut (*counters).partial);
            (*command).offset += len;
            (*command).remaining -= len;
            (*command).payload_at += len as u32;
        }
    }
    Some(())
}

/// Nobody is told of what is filtered.
///
/// # Safety
/// `slot` came from the table.
#[inline(always)]
unsafe fn filtered_part(slot: Slot, len: u64, ended: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if ended {
            release(slot);
        } else {
            (*slot.command).remaining -= len;
        }
    }
}

/// Sends what a read of the self-test brought.
#[inline(always)]
fn selftest_read<S: Scratch>(completed: &Completed, command: &InFlight, order: *mut Order, counters: *mut CpuCounters) {
    // SAFETY: map values.
    let (anchor_page, anchor_va) = unsafe { ((*order).anchor_page, (*order).anchor_va) };
    if completed.first_bio == 0 {
        return;
    }
    let source = Source {
        first_bio: completed.first_bio,
        bytes: command.captured,
        issue: command.issue,
        kind: event_kind::PAYLOAD_READ,
        chained: completed.request,
        piece: None,
        anchor_page,
        anchor_va,
    };
    copy::<S>(&source, counters);
}

/// Numbers the completion and sends it.
///
/// # Safety
/// The pointers point into map values.
#[inline(always)]
unsafe fn tell(
    slot: Slot,
    status: u32,
    len: u64,
    ended: bool,
    order: *mut Order,
    counters: *mut CpuCounters,
) {
    let command = slot.command;
    // SAFETY: the caller's promise.
    unsafe {
        let selftest = (*command).state & state::SELFTEST != 0;
        // Drawn whether or not there is room: a hole in the numbers is how the agent learns of a loss.
        let seq = if selftest { 0 } else { add(&raw mut (*order).seq, 1) + 1 };
        let end = End { status, seq, len, ended };
        let sent = if (*command).state & state::SCSI == 0 { send(slot, &end, order) } else { send_scsi(slot, &end, order) };
        if sent.is_none() {
            count(&raw mut (*counters).lost_completions);
            count(slot_of(&raw mut (*counters).lost, (*command).epoch));
        }
    }
}

/// What a completion adds to its command.
struct End {
    status: u32,
    seq: u64,
    len: u64,
    ended: bool,
}

/// Written in place: an event is too large for the stack.
///
/// # Safety
/// `to` is a slot's memory, `command` points into a map value.
#[inline(always)]
unsafe fn fill(to: *mut Completion, kind: u32, end: &End, command: *const InFlight) {
    // SAFETY: the caller's promise.
    unsafe {
        (&raw mut (*to).kind).write(kind);
        (&raw mut (*to).status).write(end.status);
        (&raw mut (*to).seq).write(end.seq);
        (&raw mut (*to).completed_ns).write(bpf_ktime_get_ns());
        (&raw mut (*to).len).write(end.len);
        (&raw mut (*to).ended).write(u32::from(end.ended));
        (&raw mut (*to).pad).write(0);
        (&raw mut (*to).command).copy_from_nonoverlapping(command, 1);
    }
}

/// # Safety
/// `slot` came from the table, `order` points into a map value.
#[inline(always)]
unsafe fn send(slot: Slot, end: &End, order: *mut Order) -> Option<()> {
    let mut event = RING.reserve::<Completion>(0)?;
    // SAFETY: the memory is ours until it is submitted; the rest is the caller's promise.
    unsafe {
        fill(event.as_mut_ptr(), event_kind::COMPLETION, end, slot.command);
        event.submit(wakeup(order));
    }
    Some(())
}

/// # Safety
/// As of `send`.
#[inline(always)]
unsafe fn send_scsi(slot: Slot, end: &End, order: *mut Order) -> Option<()> {
    let scsi = SCSI.get_ptr(slot.index)?;
    let mut event = RING.reserve::<ScsiCompletion>(0)?;
    let to = event.as_mut_ptr();
    // SAFETY: as above; the SCSI side belongs to the slot.
    unsafe {
        fill(&raw mut (*to).completion, event_kind::SCSI_COMPLETION, end, slot.command);
        (&raw mut (*to).scsi).copy_from_nonoverlapping(scsi, 1);
        event.submit(wakeup(order));
    }
    Some(())
}

/// The ring flags that wake the agent only if it sleeps.
///
/// # Safety
/// `order` points into a map value.
#[inline(always)]
unsafe fn wakeup(order: *mut Order) -> u64 {
    // SAFETY: the caller's promise. Two CPUs may both see the flag; one wake-up too many does no harm.
    unsafe {
        if core::ptr::read_volatile(&raw const (*order).wake) == 0 {
            return NO_WAKEUP;
        }
        core::ptr::write_volatile(&raw mut (*order).wake, 0);
    }
    FORCE_WAKEUP
}

/// # Safety
/// The pointers point into map values.
#[inline(always)]
unsafe fn finish(slot: Slot, order: *mut Order, counters: *mut CpuCounters) {
    // SAFETY: the caller's promise.
    unsafe {
        let (epoch, bits) = ((*slot.command).epoch, (*slot.command).state);
        release(slot);
        if bits & state::SELFTEST == 0 {
            add(&raw mut (*order).in_flight, u64::MAX);
            count(slot_of(&raw mut (*counters).ended, epoch));
        }
    }
}

/// A change completed whose issue was not seen. Its range is marked now, and the agent told what is known.
#[inline(always)]
pub fn untracked(issued: &Issued, status: u32, bytes: u64) -> Option<()> {
    let op = issued.cmd_flags & 0xff;
    let anywhere = issued.nature == Nature::PassthroughAnywhere;
    if op == READ || issued.nature == Nature::PassthroughRead || (bytes == 0 && !anywhere) {
        return None;
    }
    let order = order()?;
    let counters = counters()?;
    let (place, _) = place(issued.first_volume - 1, issued.sector, bytes >> 9, counters)?;
    if filter::is_on() && filter::refuses(issued, &place) != 0 {
        // Counted when it was issued.
        return None;
    }
    // SAFETY: map values.
    unsafe {
        let epoch = core::ptr::read_volatile(&raw const (*order).epoch);
        dirty::mark(&place, epoch);
        if anywhere {
            dirty::mark_whole(place.volume, epoch);
        }
        count(&raw mut (*counters).untracked);
        count(slot_of(&raw mut (*counters).lost, epoch));
        let seq = add(&raw mut (*order).seq, 1) + 1;
        let Some(mut event) = RING.reserve::<Completion>(0) else {
            count(&raw mut (*counters).lost_completions);
            return None;
        };
        let now = bpf_ktime_get_ns();
        event.as_mut_ptr().write(Completion {
            kind: event_kind::COMPLETION,
            status,
            seq,
            completed_ns: now,
            len: place.sectors << 9,
            ended: 1,
            pad: 0,
            command: InFlight {
                dep: seq - 1,
                issued_ns: now,
                offset: place.sector << 9,
                remaining: place.sectors << 9,
                cmd_flags: issued.cmd_flags,
                state: state::UNTRACKED | state::PAYLOAD_LOST,
                epoch,
                volume: place.volume as u16,
                ..InFlight::default()
            },
        });
        event.submit(wakeup(order));
    }
    Some(())
}

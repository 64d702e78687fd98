//! Joins the ring's events into records: payload pieces first, then the completion that they belong to.
//!
//! A payload in one piece is not copied, but used where it lies in the ring; pieces are joined in memory of their own.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use formats::command::Transfer;
use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Op, PayloadEncoding, Record, Seq, Status, VolumeIndex};
use probe_types::{
    COMM_LEN, Completion, PayloadHead, STATUS_UNKNOWN, ScsiCommand, ScsiCompletion, Withdrawn, event_kind, state,
};

use replication::scope::Scope;

use super::confine::{Told, confine};
use super::scsi::{self, Unit};
use crate::probe::ops::Ops;
use crate::probe::ring::Slot;
use crate::probe::shared::event;

/// Bytes that payloads are cut from; one allocation serves many records.
const SLAB: usize = 1 << 20;

/// A completed command with its payload.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The command.
    pub record: Record,
    /// What is carried of its payload.
    pub payload: PayloadInfo,
    /// The payload itself; empty unless the encoding is `Data`.
    pub bytes: Bytes,
    /// Dirty-map epoch in which it was issued.
    pub epoch: u32,
    /// Whether the issue ends with it, so that it counts as settled for its epoch.
    pub settles: bool,
    /// Whether `bytes` lie in the ring.
    pub in_ring: bool,
}

impl Captured {
    /// Copies the payload out of the ring, so that its place is free.
    pub fn leave_ring(&mut self) {
        leave_ring(&mut self.bytes, &mut self.in_ring);
    }
}

fn leave_ring(bytes: &mut Bytes, in_ring: &mut bool) {
    if std::mem::take(in_ring) {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

/// Counts of what could not be joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssemblerCounters {
    /// Completions whose payload the probe could not deliver.
    pub payload_lost: u64,
    /// Completions whose payload should be here and is not (an earlier agent took it from the ring).
    pub payload_missing: u64,
    /// Payloads given up because too many bytes wait to be written.
    pub payload_shed: u64,
    /// Events that make no sense: a probe of another version.
    pub malformed: u64,
}

/// A payload on its way.
#[derive(Debug)]
struct Pending {
    bytes: BytesMut,
    total: usize,
    /// Computed when the last piece has come.
    whole: Option<Whole>,
}

/// A payload that has come whole.
#[derive(Debug, Clone)]
struct Whole {
    info: PayloadInfo,
    bytes: Bytes,
    in_ring: bool,
}

/// Joins events. Memory is bounded by what the devices have in flight, and by `limit` beyond that.
pub struct Assembler {
    ops: Ops,
    units: Vec<Option<Unit>>,
    scope: Scope,
    slab: BytesMut,
    pending: HashMap<u64, Pending, Identity>,
    clock_offset_ns: u64,
    counters: AssemblerCounters,
}

/// Issue numbers are spread already.
type Identity = std::hash::BuildHasherDefault<IdentityHasher>;

/// Takes a `u64` as its own hash, mixed once.
#[derive(Default)]
pub struct IdentityHasher(u64);

impl std::hash::Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the table uses the upper bits too.
        self.0 = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// What an event came to.
#[derive(Debug)]
pub enum Assembled {
    /// Nothing yet.
    Nothing,
    /// A completed command.
    Record(Captured),
    /// A read of the self-test completed.
    SelfTest {
        /// Where on the volume, in bytes.
        offset: u64,
        /// Its bytes at issue (what lay in the buffer), if they came whole.
        at_issue: Option<Bytes>,
        /// Its bytes at completion (what was read), if they came whole.
        at_completion: Option<Bytes>,
    },
}

/// Pieces taken at completion have the issue's number with its top bit set; no CPU number reaches so far.
const AT_COMPLETION: u64 = 1 << 63;

impl Assembler {
    /// One for a kernel with these operation numbers. `clock_offset_ns` turns its monotonic clock into UTC.
    #[must_use]
    pub fn new(ops: Ops, clock_offset_ns: u64) -> Self {
        Self {
            ops,
            units: Vec::new(),
            scope: Scope::WHOLE,
            slab: BytesMut::new(),
            pending: HashMap::default(),
            clock_offset_ns,
            counters: AssemblerCounters::default(),
        }
    }

    /// The logical units behind the volumes whose SCSI commands are captured, by index.
    #[must_use]
    pub fn with_units(self, units: Vec<Option<Unit>>) -> Self {
        Self { units, ..self }
    }

    /// What of the volumes is told at all.
    #[must_use]
    pub fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Its counts.
    #[must_use]
    pub const fn counters(&self) -> AssemblerCounters {
        self.counters
    }

    /// Payloads that wait for their completion.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Drops what waits for an issue that will never complete here.
    pub fn forget(&mut self, issue: u64) {
        self.pending.remove(&issue);
    }

    /// Copies what waits here out of the ring.
    pub fn leave_ring(&mut self) {
        let whole = self.pending.values_mut().filter_map(|pending| pending.whole.as_mut());
        whole.for_each(|whole| leave_ring(&mut whole.bytes, &mut whole.in_ring));
    }

    /// Takes one ring slot. With `shed` payloads are dropped instead of kept: the records then carry addresses only.
    pub fn event(&mut self, slot: &Slot<'_>, shed: bool) -> Assembled {
        let kind = slot.bytes.first_chunk().map_or(0, |kind| u32::from_ne_bytes(*kind));
        match kind {
            event_kind::PAYLOAD => self.payload(slot, 0, shed),
            // The self-test's is never dropped: nothing is taken off the queue before it has passed.
            event_kind::PAYLOAD_TEST => self.payload(slot, 0, false),
            event_kind::PAYLOAD_READ => self.payload(slot, AT_COMPLETION, false),
            event_kind::COMPLETION => match event::<Completion>(slot.bytes) {
                Some(completion) => return self.completion(&completion),
                None => self.counters.malformed += 1,
            },
            event_kind::SCSI_COMPLETION => match event::<ScsiCompletion>(slot.bytes) {
                Some(completion) => return self.scsi_completion(&completion),
                None => self.counters.malformed += 1,
            },
            event_kind::WITHDRAWN => match event::<Withdrawn>(slot.bytes) {
                Some(withdrawn) => drop(self.pending.remove(&withdrawn.issue)),
                None => self.counters.malformed += 1,
            },
            _ => self.counters.malformed += 1,
        }
        Assembled::Nothing
    }

    fn payload(&mut self, slot: &Slot<'_>, mark: u64, shed: bool) {
        let Some(head) = event::<PayloadHead>(slot.bytes) else { return self.counters.malformed += 1 };
        let (start, len) = (size_of::<PayloadHead>(), head.len as usize);
        let Some(piece) = slot.bytes.get(start..start + len) else { return self.counters.malformed += 1 };
        if shed {
            self.counters.payload_shed += u64::from(head.offset == 0);
            return;
        }
        let (issue, total) = (head.issue | mark, head.total as usize);
        if len == total
            && let Some(bytes) = slot.share(start, len)
        {
            self.pending.insert(issue, Pending::in_ring(bytes));
            return;
        }
        if head.offset == 0 {
            let pending = Pending { bytes: self.room(total), total, whole: None };
            self.pending.insert(issue, pending);
        }
        if let Some(pending) = self.pending.get_mut(&issue) {
            pending.take(head.offset as usize, piece);
        }
    }

    /// A run of `len` bytes of the slab.
    fn room(&mut self, len: usize) -> BytesMut {
        if self.slab.capacity() < len {
            self.slab = BytesMut::with_capacity(SLAB.max(len));
        }
        let rest = self.slab.split_off(len);
        std::mem::replace(&mut self.slab, rest)
    }

    fn completion(&mut self, completion: &Completion) -> Assembled {
        let command = &completion.command;
        if command.state & state::SELFTEST != 0 {
            return Assembled::SelfTest {
                offset: command.offset,
                at_issue: self.take_whole(command.issue),
                at_completion: self.take_whole(command.issue | AT_COMPLETION),
            };
        }
        let record = self.record(completion);
        let payload = if record.op == Op::Write && completion.status != STATUS_UNKNOWN {
            self.payload_of(completion)
        } else {
            self.pending.remove(&command.issue);
            Whole::none()
        };
        self.captured(record, payload, completion)
    }

    fn record(&self, completion: &Completion) -> Record {
        let command = &completion.command;
        let (op, flags) = self.ops.translate(command.cmd_flags, completion.len);
        Record {
            seq: Seq(completion.seq),
            dep: Seq(command.dep),
            volume: VolumeIndex(command.volume),
            op,
            flags,
            range: ByteRange::new(command.offset, completion.len),
            status: Status(completion.status as u8),
            origin: self.origin(completion),
        }
    }

    /// As [`Self::completion`], with the SCSI command as the payload's trailer.
    fn scsi_completion(&mut self, event: &ScsiCompletion) -> Assembled {
        let (completion, scsi) = (&event.completion, &event.scsi);
        let unit = self.units.get(usize::from(completion.command.volume)).copied().flatten();
        let (Some(unit), 0) = (unit, completion.command.state & state::SELFTEST) else {
            return self.completion(completion);
        };
        if completion.status == STATUS_UNKNOWN {
            return self.completion(completion);
        }
        let mut record = self.record(completion);
        if completion.command.state & state::PASSTHROUGH != 0 {
            let data = self.take_whole(completion.command.issue).unwrap_or_default();
            let out = if scsi.direction == Transfer::Out as u32 { scsi.transfer_len } else { 0 };
            self.counters.payload_lost += u64::from(data.is_empty() && out > 0);
            let whole = passthrough(&mut record, &unit, scsi, &data, out);
            return self.captured(record, whole, completion);
        }
        let (content, data) = if record.op == Op::Write {
            (self.payload_of(completion), Bytes::new())
        } else {
            (Whole::none(), self.take_whole(completion.command.issue).unwrap_or_default())
        };
        let command = unit.command(scsi, &data, 0);
        let (info, bytes) = scsi::with_trailer(content.info.encoding, &content.bytes, &command);
        self.captured(record, Whole { info, bytes, in_ring: false }, completion)
    }

    fn captured(&self, mut record: Record, payload: Whole, completion: &Completion) -> Assembled {
        let told = confine(&self.scope, &record);
        let payload = payload.told(told, record.range);
        told.apply(&mut record);
        Assembled::Record(Captured {
            record,
            payload: payload.info,
            bytes: payload.bytes,
            in_ring: payload.in_ring,
            epoch: completion.command.epoch,
            settles: completion.ended == 1 && completion.command.state & state::UNTRACKED == 0,
        })
    }

    fn take_whole(&mut self, issue: u64) -> Option<Bytes> {
        self.pending.remove(&issue)?.whole.map(|whole| whole.bytes)
    }

    /// The part of the issue's payload that this completion covers.
    fn payload_of(&mut self, completion: &Completion) -> Whole {
        let command = &completion.command;
        let found = if completion.ended == 1 {
            self.pending.remove(&command.issue).and_then(|pending| pending.whole)
        } else {
            self.pending.get(&command.issue).and_then(|pending| pending.whole.clone())
        };
        match found {
            Some(whole) if whole.bytes.len() as u64 == completion.len && command.payload_at == 0 => whole.carried(),
            Some(whole) => whole.part(command.payload_at as usize, completion.len as usize),
            None => self.no_payload(command.state),
        }
    }

    fn no_payload(&mut self, bits: u32) -> Whole {
        if bits & state::PAYLOAD_LOST != 0 {
            self.counters.payload_lost += 1;
        } else {
            self.counters.payload_missing += 1;
        }
        Whole::none()
    }

    fn origin(&self, completion: &Completion) -> Origin {
        let command = &completion.command;
        let mut comm = [0; COMM_LEN];
        comm.copy_from_slice(&command.comm);
        Origin {
            issued_ns: command.issued_ns.wrapping_add(self.clock_offset_ns),
            completed_ns: completion.completed_ns.wrapping_add(self.clock_offset_ns),
            cgroup_id: command.cgroup_id,
            pid: command.pid_tgid as u32,
            tgid: (command.pid_tgid >> 32) as u32,
            comm,
            queue_depth: command.depth,
        }
    }
}

impl Pending {
    /// A payload that came in one piece.
    fn in_ring(bytes: Bytes) -> Self {
        Self { total: bytes.len(), bytes: BytesMut::new(), whole: Some(Whole::of(bytes, true)) }
    }

    /// Adds a piece; pieces of one issue come in order, as one CPU sent them.
    fn take(&mut self, offset: usize, piece: &[u8]) {
        if self.whole.is_some() || offset != self.bytes.len() || offset + piece.len() > self.total {
            return;
        }
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() == self.total {
            self.whole = Some(Whole::of(std::mem::take(&mut self.bytes).freeze(), false));
        }
    }
}

impl Whole {
    /// No payload.
    const fn none() -> Self {
        Self { info: PayloadInfo::NONE, bytes: Bytes::new(), in_ring: false }
    }

    fn of(bytes: Bytes, in_ring: bool) -> Self {
        Self { info: describe(&bytes), bytes, in_ring }
    }

    /// Bytes `at..at + len`, if it reaches so far.
    fn part(&self, at: usize, len: usize) -> Self {
        if at.checked_add(len).is_none_or(|end| end > self.bytes.len()) {
            return Self::none();
        }
        Self::of(self.bytes.slice(at..at + len), self.in_ring).carried()
    }

    /// The part of a payload for `range` that is told; a command behind it goes along only with all of it.
    fn told(self, told: Told, range: ByteRange) -> Self {
        match (told, self.info.encoding) {
            (Told::Whole, _) => self,
            (Told::Part(part), PayloadEncoding::Data) => {
                let content = self.bytes.slice(..self.info.content_len() as usize);
                Self { bytes: content, ..self }.part((part.offset - range.offset) as usize, part.len as usize)
            }
            (Told::Part(_), PayloadEncoding::Zero) => Self { info: PayloadInfo::ZERO, ..Self::none() },
            _ => Self::none(),
        }
    }

    /// A range of zeros is only said.
    fn carried(self) -> Self {
        if self.info.encoding == PayloadEncoding::Zero { Self { info: self.info, ..Self::none() } } else { self }
    }
}

/// A program's command: what it did is told by its CDB, not by the block layer.
fn passthrough(record: &mut Record, unit: &Unit, scsi: &ScsiCommand, data: &[u8], wanted: u32) -> Whole {
    let command = unit.command(scsi, data, wanted);
    let meaning = scsi::meaning(&command);
    (record.op, record.flags, record.range) = (meaning.op, meaning.flags, meaning.range);
    record.status = scsi::status_of(&command, record.status);
    let (info, bytes) = if meaning.is_content {
        scsi::with_trailer(PayloadEncoding::Data, data, &unit.command(scsi, &[], 0))
    } else {
        scsi::with_trailer(PayloadEncoding::None, &[], &command)
    };
    Whole { info, bytes, in_ring: false }
}

/// Checksums a payload. The range that a completion covers may be a part of it, and a range of zeros is only said.
fn describe(bytes: &[u8]) -> PayloadInfo {
    if is_zero(bytes) { PayloadInfo::ZERO } else { PayloadInfo::data(bytes) }
}

/// Whether all bytes are zero; cheap when an early one is not.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use probe_types::InFlight;

    /// Events as they lie in the ring.
    fn payload(issue: u64, offset: u32, total: u32, bytes: &[u8]) -> Vec<u8> {
        let mut slot = Vec::new();
        slot.extend_from_slice(&event_kind::PAYLOAD.to_ne_bytes());
        slot.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
        slot.extend_from_slice(&issue.to_ne_bytes());
        slot.extend_from_slice(&offset.to_ne_bytes());
        slot.extend_from_slice(&total.to_ne_bytes());
        slot.extend_from_slice(bytes);
        slot
    }

    fn assembler() -> Assembler {
        Assembler::new(Ops::for_tests(), 1000)
    }

    fn give(assembler: &mut Assembler, slot: &[u8], shed: bool) -> Assembled {
        assembler.event(&Slot::of(slot), shed)
    }

    fn completion(issue: u64, len: u64, payload_at: u32, ended: u32) -> Completion {
        Completion {
            kind: event_kind::COMPLETION,
            seq: 2,
            len,
            ended,
            command: InFlight { issue, dep: 1, cmd_flags: 1, payload_at, ..InFlight::default() },
            ..Completion::default()
        }
    }

    fn record(assembled: Assembled) -> Captured {
        match assembled {
            Assembled::Record(captured) => captured,
            other => panic!("no record: {other:?}"),
        }
    }

    #[test]
    fn pieces_are_joined_and_summed() {
        let mut assembler = assembler();
        let bytes: Vec<u8> = (0..6000u32).map(|i| i as u8 | 1).collect();
        give(&mut assembler, &payload(7, 0, 6000, &bytes[..4096]), false);
        give(&mut assembler, &payload(7, 4096, 6000, &bytes[4096..]), false);
        let captured = record(assembler.completion(&completion(7, 6000, 0, 1)));
        assert_eq!(captured.bytes, bytes);
        assert_eq!(captured.payload, PayloadInfo::data(&bytes));
        assert_eq!(assembler.pending(), 0);
    }

    #[test]
    fn a_completion_in_two_parts_cuts_the_payload() {
        let mut assembler = assembler();
        let bytes: Vec<u8> = (0..1024u32).map(|i| (i / 3) as u8 | 1).collect();
        give(&mut assembler, &payload(7, 0, 1024, &bytes), false);
        let first = record(assembler.completion(&completion(7, 512, 0, 0)));
        let second = record(assembler.completion(&completion(7, 512, 512, 1)));
        assert_eq!((first.bytes, first.settles), (Bytes::copy_from_slice(&bytes[..512]), false));
        assert_eq!((second.bytes, second.settles), (Bytes::copy_from_slice(&bytes[512..]), true));
        assert_eq!(assembler.pending(), 0);
    }

    #[test]
    fn of_a_write_across_a_border_only_the_part_inside_is_told() {
        let scope = Scope::new(vec![Some(vec![ByteRange::new(512, 1024)])], false);
        let mut assembler = assembler().within(scope);
        let bytes: Vec<u8> = (0..1024u32).map(|i| (i / 3) as u8 | 1).collect();
        give(&mut assembler, &payload(7, 0, 1024, &bytes), false);
        let inside = record(assembler.completion(&completion(7, 1024, 0, 1)));
        assert_eq!(inside.record.range, ByteRange::new(512, 512));
        assert_eq!((inside.payload, &inside.bytes[..]), (PayloadInfo::data(&bytes[512..]), &bytes[512..]));
        give(&mut assembler, &payload(8, 0, 512, &bytes[..512]), false);
        let outside = record(assembler.completion(&completion(8, 512, 0, 1)));
        assert_eq!((outside.record.op, outside.payload), (Op::Flush, PayloadInfo::NONE));
    }

    #[test]
    fn zeros_are_only_said() {
        let mut assembler = assembler();
        give(&mut assembler, &payload(7, 0, 512, &[0; 512]), false);
        let captured = record(assembler.completion(&completion(7, 512, 0, 1)));
        assert_eq!((captured.payload, captured.bytes.len()), (PayloadInfo::ZERO, 0));
    }

    #[test]
    fn a_missing_piece_makes_an_address_and_a_number() {
        let mut assembler = assembler();
        give(&mut assembler, &payload(7, 0, 8192, &[1; 4096]), false);
        let captured = record(assembler.completion(&completion(7, 8192, 0, 1)));
        assert_eq!(captured.payload, PayloadInfo::NONE);
        assert_eq!(assembler.counters().payload_missing, 1);
    }

    #[test]
    fn a_backlog_drops_payload_but_not_the_self_test() {
        let mut assembler = assembler();
        give(&mut assembler, &payload(7, 0, 512, &[1; 512]), true);
        assert_eq!((assembler.pending(), assembler.counters().payload_shed), (0, 1));
        let mut test = payload(8, 0, 512, &[1; 512]);
        test[..4].copy_from_slice(&event_kind::PAYLOAD_TEST.to_ne_bytes());
        give(&mut assembler, &test, true);
        assert_eq!(assembler.pending(), 1);
    }

    #[test]
    fn a_withdrawn_issue_leaves_nothing() {
        let mut assembler = assembler();
        give(&mut assembler, &payload(7, 0, 512, &[1; 512]), false);
        let mut slot = event_kind::WITHDRAWN.to_ne_bytes().to_vec();
        slot.extend_from_slice(&[0; 4]);
        slot.extend_from_slice(&7u64.to_ne_bytes());
        give(&mut assembler, &slot, false);
        assert_eq!(assembler.pending(), 0);
    }

    #[test]
    fn nonsense_is_counted() {
        let mut assembler = assembler();
        give(&mut assembler, &[9; 40], false);
        give(&mut assembler, &[], false);
        give(&mut assembler, &payload(7, 0, 512, &[1; 512])[..60], false);
        assert_eq!(assembler.counters().malformed, 3);
    }
}

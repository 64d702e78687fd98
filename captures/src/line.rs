//! One command in one line, for people and for programs.

use std::fmt::Write;

use formats::scsi::{DeviceType, Sense, decode};
use formats::{Entry, Op, OpFlags, PayloadEncoding, Record, Status};
use serde_json::{Value, json};

use crate::equivalent::{Scsi, scsi_of};
use crate::meta::{Device, Section};
use crate::reader::{CapturedEntry, Item};
use crate::select::task_name;

/// What a line is about: terminals colour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Data goes to the device.
    Write,
    /// What was written becomes durable.
    Flush,
    /// Blocks are given up or zeroed.
    Discard,
    /// Any other command.
    Other,
    /// A command that failed, or whose end nobody saw.
    Failed,
    /// Something that is not in the capture.
    Lost,
    /// A mark, or the end.
    Note,
}

/// Shows the items of one capture.
#[derive(Debug)]
pub struct Lines<'a> {
    section: &'a Section,
    devices: &'a [Device],
    /// Bytes of content that are shown.
    payload: usize,
}

impl<'a> Lines<'a> {
    /// Of this capture, with `payload` bytes of each command's content.
    #[must_use]
    pub fn new(section: &'a Section, devices: &'a [Device], payload: usize) -> Self {
        Self { section, devices, payload }
    }

    fn device(&self, volume: u16) -> Option<&Device> {
        self.devices.iter().find(|device| device.volume == volume)
    }

    fn block_size(&self, volume: u16) -> u64 {
        self.device(volume).map(|device| u64::from(device.block_size)).filter(|size| *size > 0).unwrap_or(512)
    }

    fn since_start(&self, at_ns: u64) -> f64 {
        at_ns as f64 / 1e9 - self.section.started_ns as f64 / 1e9
    }

    /// A line, in columns: time since the start in seconds, device, seq, operation, first block and number of blocks,
    /// time it took in µs, status, task and process.
    #[must_use]
    pub fn text(&self, item: &Item) -> (Kind, String) {
        match item {
            Item::Entry(entry) => match &entry.header.entry {
                Entry::Record(record) => (kind(record), self.record(record, entry)),
                Entry::Gap(gap) => {
                    let count = gap.last.0.saturating_sub(gap.first.0).saturating_add(1);
                    (Kind::Lost, format!("{:>36}  {count} completions lost, {} to {}", "", gap.first, gap.last))
                }
                Entry::Region(region) => {
                    let name = self.device(region.volume.0).map_or("", |device| &device.name);
                    (Kind::Other, format!("{:>14} {name:<8} content read back, bytes {}", "", region.range))
                }
            },
            Item::Mark { at_ns, text } => (Kind::Note, format!("{:>14.6} {text}", self.since_start(*at_ns))),
            Item::Statistics(end) => {
                let lost = end.lost.words();
                let lost = if lost.is_empty() { "nothing" } else { &lost };
                let at = self.since_start(end.ended_ns);
                (Kind::Note, format!("{at:>14.6} end: {} commands, lost: {lost}", end.records))
            }
        }
    }

    fn record(&self, record: &Record, entry: &CapturedEntry) -> String {
        let name = self.device(record.volume.0).map_or("", |device| &device.name);
        let (block, origin) = (self.block_size(record.volume.0), &record.origin);
        let took = origin.completed_ns.saturating_sub(origin.issued_ns) as f64 / 1e3;
        let mut line = format!(
            "{:>14.6} {name:<8} {:>9} {:<5} {:>12} + {:<6} {took:>11.1} {:<8} {}[{}]",
            self.since_start(origin.issued_ns),
            record.seq,
            letters(record),
            record.range.offset / block,
            record.range.len / block,
            status_word(record.status),
            task_name(&origin.comm),
            origin.tgid,
        );
        self.add_words(&mut line, record, entry);
        self.add_payload(&mut line, &entry.content);
        line
    }

    /// What only some commands have.
    fn add_words(&self, line: &mut String, record: &Record, entry: &CapturedEntry) {
        let block = self.block_size(record.volume.0) as u32;
        let scsi = scsi_of(record, entry.header.payload.encoding, &entry.trailer, block);
        if !entry.trailer.is_empty() {
            *line += &format!("  {}", self.scsi_name(record, &scsi));
        }
        if let Some(answer) = scsi.answer.as_ref().filter(|answer| !answer.sense.is_empty()) {
            *line += &Sense::decode(&answer.sense).map_or_else(|_| String::new(), |sense| format!("  {sense}"));
        }
        match entry.header.payload.encoding {
            PayloadEncoding::Zero => *line += "  zeros",
            PayloadEncoding::None if record.op == Op::Write && !record.range.is_empty() => *line += "  no payload",
            _ => {}
        }
        if entry.missing > 0 {
            *line += &format!("  {} bytes not kept", entry.missing);
        }
    }

    fn scsi_name(&self, record: &Record, scsi: &Scsi<'_>) -> String {
        let device = self.device(record.volume.0).and_then(|device| device.device_type);
        let device = device.map_or(DeviceType::DISK, DeviceType::from_byte);
        decode(&scsi.cdb, device).map_or_else(|_| hex(&scsi.cdb), |command| command.to_string())
    }

    /// Sixteen bytes a line, with their place.
    fn add_payload(&self, line: &mut String, content: &[u8]) {
        let shown = &content[..content.len().min(self.payload)];
        for (index, bytes) in shown.chunks(16).enumerate() {
            let text: String = bytes.iter().map(|byte| shown_byte(*byte)).collect();
            // Writing to a string does not fail.
            let _ = write!(line, "\n{:>24}  {:<32}  {text}", format!("{:#06x}", index * 16), hex(bytes));
        }
    }

    /// The same for programs: one object with a `type`.
    #[must_use]
    pub fn json(&self, item: &Item) -> Value {
        match item {
            Item::Entry(entry) => match &entry.header.entry {
                Entry::Record(record) => self.record_json(record, entry),
                Entry::Gap(gap) => json!({ "type": "gap", "first": gap.first.0, "last": gap.last.0 }),
                Entry::Region(region) => json!({
                    "type": "region",
                    "volume": region.volume.0,
                    "offset": region.range.offset,
                    "len": region.range.len,
                }),
            },
            Item::Mark { at_ns, text } => json!({ "type": "mark", "time_ns": at_ns, "text": text }),
            Item::Statistics(statistics) => json!({ "type": "statistics", "statistics": statistics }),
        }
    }

    fn record_json(&self, record: &Record, entry: &CapturedEntry) -> Value {
        let (block, origin, payload) = (self.block_size(record.volume.0), &record.origin, &entry.header.payload);
        let scsi = scsi_of(record, payload.encoding, &entry.trailer, block as u32);
        let head = &entry.content[..entry.content.len().min(self.payload)];
        json!({
            "type": "command",
            "device": self.device(record.volume.0).map(|device| &device.name),
            "volume": record.volume.0,
            "seq": record.seq.0,
            "dep": record.dep.0,
            "issued_ns": origin.issued_ns,
            "completed_ns": origin.completed_ns,
            "op": record.op.name(),
            "flags": flag_names(record.flags),
            "offset": record.range.offset,
            "len": record.range.len,
            "lba": record.range.offset / block,
            "blocks": record.range.len / block,
            "status": record.status.0,
            "status_name": status_word(record.status),
            "pid": origin.tgid,
            "tid": origin.pid,
            "comm": task_name(&origin.comm),
            "cgroup": origin.cgroup_id,
            "queue_depth": origin.queue_depth,
            "payload": {
                "encoding": encoding_name(payload.encoding),
                "len": payload.content_len(),
                "crc32c": format!("{:08x}", payload.crc.0),
                "not_kept": entry.missing,
                "head": (self.payload > 0).then(|| hex(head)),
            },
            "scsi": self.scsi_json(record, entry, &scsi),
        })
    }

    /// The command, or the one that a tool shows for it.
    fn scsi_json(&self, record: &Record, entry: &CapturedEntry, scsi: &Scsi<'_>) -> Value {
        json!({
            "seen": !entry.trailer.is_empty(),
            "lun": scsi.lun,
            "cdb": hex(&scsi.cdb),
            "name": self.scsi_name(record, scsi),
            "data_len": scsi.data_len,
            "status": scsi.answer.as_ref().map(|answer| answer.status.to_byte()),
            "residual": scsi.answer.as_ref().map(|answer| answer.residual),
            "sense": scsi.answer.as_ref().map(|answer| hex(&answer.sense)),
        })
    }
}

fn kind(record: &Record) -> Kind {
    match record.op {
        _ if !record.status.is_ok() => Kind::Failed,
        Op::Write if !record.range.is_empty() => Kind::Write,
        Op::Write | Op::Flush => Kind::Flush,
        Op::Discard | Op::WriteZeroes | Op::SecureErase => Kind::Discard,
        Op::Zone | Op::Opaque | Op::Scsi => Kind::Other,
    }
}

/// As blkparse writes them (blkparse(1), RWBS): F in front is a flush before, behind it FUA; S is sync, M metadata.
fn letters(record: &Record) -> String {
    let flag = |flag, letter| if record.flags.contains(flag) { letter } else { "" };
    let op = match record.op {
        Op::Write if record.range.is_empty() => "",
        Op::Write => "W",
        Op::Flush => "F",
        Op::Discard => "D",
        Op::WriteZeroes => "Z",
        Op::SecureErase => "DE",
        Op::Zone => "ZO",
        Op::Opaque => "?",
        Op::Scsi => "C",
    };
    let before = flag(OpFlags::PREFLUSH, "F");
    format!("{before}{op}{}{}{}", flag(OpFlags::FUA, "F"), flag(OpFlags::SYNC, "S"), flag(OpFlags::META, "M"))
}

fn flag_names(flags: OpFlags) -> Vec<String> {
    flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

fn status_word(status: Status) -> &'static str {
    if status == Status::UNKNOWN { "UNSEEN" } else { status.name() }
}

fn encoding_name(encoding: PayloadEncoding) -> &'static str {
    match encoding {
        PayloadEncoding::None => "none",
        PayloadEncoding::Data => "data",
        PayloadEncoding::Zero => "zero",
    }
}

fn shown_byte(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! What is fuzzed, and what each target promises beyond not to panic.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use captures::convert::{self, Format};
use captures::{Device, Item as Captured, Reader, Scan, Section, Statistics, Writer, analyze};
use formats::dirty::{self, DirtyMapFile};
use formats::entry::{Entry, EntryHeader, Gap, HEADER_LEN, Origin, PayloadInfo, Record, Region};
use formats::ids::{ByteRange, Position, Seq, StreamId, VolumeIndex};
use formats::op::{Op, OpFlags, Status};
use formats::scsi::identity::{Identity, Modes, parse};
use formats::scsi::{Cdb, Content, Decoded, DeviceType, Geometry, MAX_CDB, Sense, SenseFormat, decode, list, opcode};
use formats::segment::{Cursor, FRAME_LEN, Frame, JournalState, MAX_COUNTER, Place, SEGMENT_HEADER_LEN, SegmentHeader};
use formats::state::{StandbyRecord, StateVolume};
use formats::wire::{
    Ack, DataState, FRAME_HEADER_LEN, FrameHeader, FrameKind, HashReply, HashRequest, Hello, Message, Refuse,
    RefuseCode, Resend, Stretch, VolumeIdentity, Welcome,
};
use journal::faulty::{FaultyDisk, Rng};
use journal::{Config, Item, Journal, SyncPolicy};

use crate::mutate::{mutate, noise, overwrite, repair};

/// One decoder.
pub struct Target {
    /// How it is called on the command line.
    pub name: &'static str,
    /// One round; says whether the bytes were accepted. Panics if a promise is broken.
    pub round: fn(&mut Rng) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "entry", round: entry },
    Target { name: "wire", round: wire },
    Target { name: "state", round: standby_state },
    Target { name: "dirty-map", round: dirty_map },
    Target { name: "segment", round: segment },
    Target { name: "recovery", round: recovery },
    Target { name: "cdb", round: cdb },
    Target { name: "sense", round: sense },
    Target { name: "capture", round: capture },
    Target { name: "analysis", round: analysis },
    Target { name: "import", round: import },
    Target { name: "export", round: export },
];

fn header(rng: &mut Rng, payload: &[u8]) -> EntryHeader {
    let info = if payload.is_empty() { PayloadInfo::ZERO } else { PayloadInfo::data(payload) };
    let (volume, range) = (VolumeIndex(rng.below(4) as u16), ByteRange::new(rng.below(1 << 40), payload.len() as u64));
    let dep = rng.below(1 << 20);
    let (entry, payload) = match rng.below(3) {
        0 if payload.is_empty() => (Entry::Gap(Gap { first: Seq(dep), last: Seq(dep + 1) }), PayloadInfo::NONE),
        1 => (Entry::Region(Region { volume, range, consistent_after: Seq(dep), remaining: rng.below(9) }), info),
        _ => {
            let op = Op::ALL[rng.below(Op::ALL.len() as u64) as usize];
            let (flags, status) = (OpFlags::from_bits_truncate(rng.next_u64() as u32), Status(rng.below(13) as u8));
            let (seq, dep, origin) = (Seq(dep + 1), Seq(dep), Origin::default());
            (Entry::Record(Record { seq, dep, volume, op, flags, range, status, origin }), info)
        }
    };
    EntryHeader { entry, position: Position(rng.below(1 << 30)), payload }
}

/// Valid bytes, mutated; half of the time `fix` repairs the checksums.
fn spoil(mut bytes: Vec<u8>, rng: &mut Rng, fix: impl Fn(&mut [u8])) -> Vec<u8> {
    mutate(&mut bytes, rng);
    if rng.one_in(2) {
        fix(&mut bytes);
    }
    bytes
}

/// What decodes means the same after encoding it again.
fn entry(rng: &mut Rng) -> bool {
    let payload = noise(rng, 40);
    let good = header(rng, &payload);
    assert_eq!(EntryHeader::decode(&good.encode()), Ok(good));
    let bytes = spoil(good.encode().to_vec(), rng, |bytes| repair(bytes, HEADER_LEN - 4, &[]));
    let decoded = EntryHeader::decode(&bytes);
    if let Ok(header) = decoded {
        assert_eq!(EntryHeader::decode(&header.encode()), Ok(header));
    }
    decoded.is_ok()
}

fn wire(rng: &mut Rng) -> bool {
    frame_header(rng);
    let text = |rng: &mut Rng| String::from_utf8_lossy(&noise(rng, 20)).as_ref().into();
    let (a, b) = (rng.next_u64(), rng.below(1 << 32));
    match rng.below(7) {
        0 => {
            let volume = |rng: &mut Rng| {
                let scsi = rng.one_in(2).then(|| Box::new(identity_of(&noise(rng, 300)).carried()));
                VolumeIdentity { name: text(rng), scsi, ..VolumeIdentity::blocks("", a, 512) }
            };
            let volumes = (0..rng.below(4)).map(|_| volume(rng)).collect();
            let group = text(rng);
            message(&Hello { min_version: 1, max_version: 2, stream: a, group, region_size: 65536, volumes }, rng)
        }
        1 => {
            let (node, data) = (text(rng), DataState::Blank);
            message(&Welcome { version: 1, node, stream: a, durable: b, applied: b, data, window: 1 << 20 }, rng)
        }
        2 => message(&Refuse { code: RefuseCode::Busy, text: text(rng) }, rng),
        3 => message(&Ack { received_frame: a, durable_frame: b, ..Ack::default() }, rng),
        4 => message(&HashRequest { id: a, volume: 1, offset: b, len: 1 << 20, chunk: 4096 }, rng),
        5 => {
            let stretch = |rng: &mut Rng| Stretch { volume: 1, offset: a, len: b, reason: text(rng) };
            message(&Resend { stretches: (0..rng.below(4)).map(|_| stretch(rng)).collect() }, rng)
        }
        _ => message(&HashReply { id: a, hashes: vec![[7; 32]; rng.below(5) as usize] }, rng),
    }
}

/// What is made of the answers of a device that says anything at all.
fn identity_of(data: &[u8]) -> Identity {
    let page = parse::mode_page(true, 8, data).map_or(data, |(_, page)| page);
    Identity {
        serial: parse::serial(data),
        designators: parse::designators(data),
        capacity: parse::capacity_16(data).or(parse::capacity_10(data)),
        limits: Some(parse::limits(data)),
        characteristics: parse::page(0xb1, data).map(parse::characteristics),
        provisioning: Some(parse::provisioning(data)),
        modes: Modes {
            write_cache: Some(parse::write_cache(page)),
            control: Some(parse::control(page)),
            ..Modes::default()
        },
        reservations: Some(parse::reservations(data, data)),
        ..parse::inquiry(data)
    }
}

fn frame_header(rng: &mut Rng) {
    let good = FrameHeader::for_body(FrameKind::Ack, rng.next_u64(), &[b"body"]);
    let bytes = spoil(good.encode().to_vec(), rng, |bytes| repair(bytes, FRAME_HEADER_LEN - 4, &[]));
    if let Some(bytes) = bytes.first_chunk()
        && let Ok(header) = FrameHeader::decode(bytes)
    {
        assert!(header.body_len <= formats::wire::MAX_BODY);
        assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
    }
}

/// What parses means the same after encoding it again.
fn message<M: Message + PartialEq + std::fmt::Debug>(good: &M, rng: &mut Rng) -> bool {
    assert_eq!(M::from_body(&good.to_body()).as_ref(), Ok(good));
    let bytes = spoil(good.to_body(), rng, |_| ());
    let parsed = M::from_body(&bytes);
    if let Ok(parsed) = &parsed {
        assert_eq!(parsed.to_body(), bytes, "one meaning has one encoding");
    }
    parsed.is_ok()
}

/// A capture of a few entries, whatever they are.
fn captured(rng: &mut Rng) -> Vec<u8> {
    let devices: Vec<Device> = (0..4).map(|volume| Device { volume, block_size: 512, ..Device::default() }).collect();
    let section = Section { snap_len: rng.one_in(4).then(|| rng.below(40) as u32), ..Section::default() };
    let mut writer = Writer::new(Vec::new(), &section, &devices).expect("memory takes everything");
    for _ in 0..rng.below(5) {
        let payload = noise(rng, 60);
        writer.write(&header(rng, &payload), &payload).expect("they belong together");
    }
    writer.mark(rng.below(1 << 60), "here").expect("it is short");
    writer.statistics(&Statistics::default()).expect("they are short");
    writer.finish().expect("memory takes everything")
}

/// A file of any bytes is read to an end, and a payload that is said to be whole matches its checksum.
fn capture(rng: &mut Rng) -> bool {
    let bytes = spoil(captured(rng), rng, |_| ());
    let Ok(mut reader) = Reader::new(bytes.as_slice()) else { return false };
    loop {
        match reader.next_item() {
            Ok(Some(Captured::Entry(entry))) => {
                if let Some(payload) = entry.payload() {
                    assert_eq!(formats::Crc32c::of(&payload), entry.header.payload.crc);
                    assert_eq!(payload.len(), entry.header.payload.len as usize);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return reader.tail().is_none_or(|tail| tail.offset + tail.bytes == bytes.len() as u64),
            Err(_) => return false,
        }
    }
}

/// Whatever a capture says has a report and a page.
fn analysis(rng: &mut Rng) -> bool {
    let bytes = spoil(captured(rng), rng, |_| ());
    let len = 1 + rng.below(2000) as usize;
    let report = Scan::with(bytes.as_slice(), 2, len).and_then(|scan| analyze::analyze(scan, |_| ()));
    report.is_ok_and(|report| !report.text().is_empty() && report.html().is_ok())
}

/// Other programs' files, or what looks like them: what is taken is a capture that can be read.
fn import(rng: &mut Rng) -> bool {
    let (format, valid) = match rng.below(3) {
        0 => (Format::Fio, fio_log(rng)),
        1 => (Format::Blktrace, block_trace(rng)),
        _ => (Format::LogWrites, log_writes(rng)),
    };
    let bytes = spoil(valid, rng, |_| ());
    let Ok((capture, _)) = convert::import(bytes.as_slice(), format, "disk", Vec::new()) else { return false };
    let mut reader = Reader::new(capture.as_slice()).expect("it was written just now");
    while reader.next_item().expect("it was written just now").is_some() {}
    true
}

/// An output that is still there when its writer is gone.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<io::Cursor<Vec<u8>>>>);

impl Kept {
    fn with<T>(&self, act: impl FnOnce(&mut io::Cursor<Vec<u8>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|kept| kept.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Kept {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.with(|kept| kept.seek(to))
    }
}

/// What is made of a capture of any bytes in another format, if anything is, can be read again as that.
fn export(rng: &mut Rng) -> bool {
    let bytes = spoil(captured(rng), rng, |_| ());
    let format = Format::ALL[rng.below(Format::ALL.len() as u64) as usize];
    let Ok(scan) = Scan::with(bytes.as_slice(), 2, 1 + rng.below(2000) as usize) else { return false };
    let out = Kept::default();
    if convert::export(scan, format, out.clone(), |_| true).is_err() {
        return false;
    }
    let made = out.with(|kept| kept.get_ref().clone());
    match convert::import(made.as_slice(), format, "disk", Vec::new()) {
        Err(convert::ConvertError::OneWay(_)) => true,
        Err(error) => panic!("{format} of ours: {error}"),
        Ok(_) => true,
    }
}

fn fio_log(rng: &mut Rng) -> Vec<u8> {
    let mut log = String::from("fio version 3 iolog\n1 /dev/a add\n1 /dev/a open\n");
    for at in 0..rng.below(6) {
        let action = ["write", "sync", "trim", "read", "datasync"][rng.below(5) as usize];
        log += &format!("{at} /dev/a {action} {} {}\n", rng.below(1 << 40), rng.below(1 << 20));
    }
    log.into_bytes()
}

fn block_trace(rng: &mut Rng) -> Vec<u8> {
    let mut trace = Vec::new();
    for at in 0..rng.below(8) {
        let categories = [2, 4, 1 << 13 | 2, 1 << 10, 1][rng.below(5) as usize];
        let action = [0, 1, 2, 7, 8][rng.below(5) as usize] | categories << 16;
        let pdu = noise(rng, 20);
        trace.extend_from_slice(&0x6561_7407u32.to_le_bytes());
        trace.extend_from_slice(&(at as u32).to_le_bytes());
        trace.extend_from_slice(&at.to_le_bytes());
        trace.extend_from_slice(&rng.below(4).to_le_bytes());
        [512, action, 7, 8 << 20, 0].iter().for_each(|word: &u32| trace.extend_from_slice(&word.to_le_bytes()));
        trace.extend_from_slice(&0u16.to_le_bytes());
        trace.extend_from_slice(&(pdu.len() as u16).to_le_bytes());
        trace.extend_from_slice(&pdu);
    }
    trace
}

fn log_writes(rng: &mut Rng) -> Vec<u8> {
    let entries = rng.below(4);
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut log = words(&[0x006a_7366_7773_6872, 1, entries, 512]);
    log.resize(512, 0);
    for _ in 0..entries {
        let (flags, sectors) = ([0, 1, 2, 4, 8][rng.below(5) as usize], rng.below(3));
        let start = log.len();
        log.extend_from_slice(&words(&[rng.below(1 << 30), sectors, flags, rng.below(9)]));
        let content = if flags & 12 == 0 { sectors as usize * 512 } else { 0 };
        log.resize(start + 512 + content, 7);
    }
    log
}

fn standby_state(rng: &mut Rng) -> bool {
    let volume = StateVolume { name: "a".into(), target: "/dev/x".into(), size: rng.next_u64(), block_size: 512 };
    let volumes = vec![volume; rng.below(4) as usize];
    let good = StandbyRecord { stream: rng.next_u64(), position: rng.below(99), volumes, ..StandbyRecord::default() };
    let generation = rng.next_u64();
    let slot = good.encode_slot(generation).expect("it is within its limits");
    assert_eq!(StandbyRecord::decode_slot(&slot), Ok((generation, good)));
    let head = formats::state::HEAD_LEN;
    let bytes = spoil(slot, rng, |bytes| {
        if bytes.len() > head {
            let crc = formats::Crc32c::of(&bytes[head..]);
            overwrite(bytes, 16, &crc.0.to_le_bytes());
            let body = (bytes.len() - head) as u32;
            overwrite(bytes, 4, &body.to_le_bytes());
        }
        repair(bytes, head - 4, &[]);
    });
    let decoded = StandbyRecord::decode_slot(&bytes);
    if let Ok((generation, state)) = &decoded {
        let again = state.encode_slot(*generation).expect("what decodes encodes");
        assert_eq!(StandbyRecord::decode_slot(&again).as_ref(), Ok(&(*generation, state.clone())));
    }
    decoded.is_ok()
}

fn dirty_map(rng: &mut Rng) -> bool {
    let run = |rng: &mut Rng| (VolumeIndex(rng.below(4) as u16), ByteRange::new(rng.next_u64(), rng.below(1 << 40)));
    let covered = rng.one_in(2).then(|| (Position(rng.below(99) + 1), Position(200), Seq(rng.below(99))));
    let runs = (0..rng.below(6)).map(|_| run(rng)).collect();
    let good = DirtyMapFile { stream: StreamId(rng.next_u64()), runs, covered };
    assert_eq!(dirty::decode(&dirty::encode(&good)).as_ref(), Ok(&good));
    let bytes = spoil(dirty::encode(&good), rng, |bytes| {
        if bytes.len() >= dirty::HEADER_LEN {
            let crc = formats::Crc32c::of(&bytes[dirty::HEADER_LEN..]);
            overwrite(bytes, dirty::HEADER_LEN - 8, &crc.0.to_le_bytes());
        }
        repair(bytes, dirty::HEADER_LEN - 4, &[]);
    });
    let decoded = dirty::decode(&bytes);
    if let Ok(map) = &decoded {
        assert_eq!(dirty::decode(&dirty::encode(map)).as_ref(), Ok(map));
    }
    decoded.is_ok()
}

fn segment(rng: &mut Rng) -> bool {
    match rng.below(3) {
        0 => segment_header(rng),
        1 => frame(rng),
        _ => journal_state(rng),
    }
}

fn segment_header(rng: &mut Rng) -> bool {
    let (first, durable) = (rng.below(1 << 40) + 1, rng.below(1 << 40));
    let good = SegmentHeader { id: rng.below(1 << 50) + 1, segment_bytes: 1 << 20, first, durable };
    let bytes = spoil(good.encode().to_vec(), rng, |bytes| repair(bytes, SEGMENT_HEADER_LEN - 4, &[]));
    let decoded = SegmentHeader::decode(&bytes);
    if let Ok(header) = decoded {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    decoded.is_ok()
}

fn frame(rng: &mut Rng) -> bool {
    let place = Place { segment: rng.next_u64(), offset: rng.below(1 << 32) };
    let payload = noise(rng, 40);
    let entry = header(rng, &payload);
    let body_len = entry.total_len() as u32;
    let good = Frame { index: rng.below(1 << 40) + 1, durable: rng.below(1 << 40), session: 7, body_len };
    let mut bytes = good.encode(place, &entry.encode()).to_vec();
    entry.write_to(&payload, &mut bytes);
    assert_eq!(Frame::decode(&bytes, place), Ok((good, entry)));
    let bytes = spoil(bytes, rng, |bytes| repair_item(bytes, place));
    let decoded = Frame::decode(&bytes, place);
    if let Ok((frame, entry)) = decoded {
        assert_eq!(frame.item_len(), FRAME_LEN + entry.total_len());
    }
    decoded.is_ok()
}

/// Repairs the checksums of the item at the start of `bytes`: the entry header's, then the frame's.
fn repair_item(bytes: &mut [u8], place: Place) {
    if bytes.len() >= FRAME_LEN + HEADER_LEN {
        repair(&mut bytes[FRAME_LEN..], HEADER_LEN - 4, &[]);
        let header = bytes[FRAME_LEN..FRAME_LEN + HEADER_LEN].to_vec();
        repair(bytes, FRAME_LEN - 4, &[&place.segment.to_le_bytes(), &place.offset.to_le_bytes(), &header]);
    }
}

fn journal_state(rng: &mut Rng) -> bool {
    let cursor = |i| Cursor { name: format!("standby {i}"), through: i };
    let good = JournalState {
        generation: rng.below(1 << 40),
        floor: rng.below(1 << 40) + 1,
        first: rng.below(1 << 40) + 1,
        durable: rng.below(1 << 40),
        segment_bytes: 1 << 20,
        session: 3,
        segments: 4,
        cursors: (0..rng.below(5)).map(cursor).collect(),
    };
    let slot = good.encode().expect("it is within its limits");
    assert_eq!(JournalState::decode(&slot), Ok(good));
    let bytes = spoil(slot.to_vec(), rng, repair_state);
    let decoded = JournalState::decode(&bytes);
    if let Ok(state) = &decoded {
        let again = state.encode().expect("what decodes encodes");
        assert_eq!(JournalState::decode(&again).as_ref(), Ok(state));
    }
    decoded.is_ok()
}

fn repair_state(slot: &mut [u8]) {
    let Some(len) = slot.get(4..8).and_then(|len| len.first_chunk()) else { return };
    let body = slot.get(64..).and_then(|rest| rest.get(..u32::from_le_bytes(*len) as usize)).map(<[u8]>::to_vec);
    repair(slot, 60, &[&body.unwrap_or_default()]);
}

const SMALL: Config = Config { segment_bytes: 16 << 10, total_bytes: 64 << 10, sync: SyncPolicy::Never };

/// Damages the files of a journal in any way and opens it: it opens or says why; every item it gives back is one that
/// was appended under that index; it works afterwards.
fn recovery(rng: &mut Rng) -> bool {
    let disk = FaultyDisk::with_seed(rng.next_u64());
    let log = write_log(&disk, rng);
    for _ in 0..=rng.below(3) {
        damage(&disk, rng);
    }
    let Ok((mut journal, found)) = Journal::open(disk, SMALL) else { return false };
    let mut reader = journal.reader();
    let mut at = found.first;
    while at < found.next {
        let batch = reader.read(at, 1 << 20).expect("what was recovered is whole");
        assert!(!batch.is_empty());
        for (index, _, encoded) in &batch.items {
            assert_eq!(batch.bytes[encoded.clone()], log[*index as usize - 1], "item {index}");
        }
        at += batch.len() as u64;
    }
    assert_eq!(reader.headers(found.first).filter(Result::is_ok).count() as u64, found.next - found.first);
    if let Some(damage) = found.damaged {
        journal.discard_all((damage.lost.end() + 1).min(MAX_COUNTER)).expect("damage can be answered");
    } else {
        journal.reset().expect("it can be emptied");
    }
    let entry = header(rng, b"x").encode();
    journal.append(&[Item { header: &entry, payload: b"x" }]).expect("it takes items again");
    true
}

/// A journal with a history of batches, syncs, trims and openings; returns the encoded items by index.
fn write_log(disk: &FaultyDisk, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    for _ in 0..=rng.below(3) {
        let (mut journal, _) = Journal::open(disk.clone(), SMALL).expect("a whole journal opens");
        for _ in 0..rng.below(12) {
            let payload = vec![rng.next_u64() as u8; rng.below(3000) as usize];
            let entry = header(rng, &payload).encode();
            journal.trim(log.len().saturating_sub(3) as u64);
            let item = Item { header: &entry, payload: &payload };
            journal.append(&[item]).expect("there is room");
            log.push([&entry[..], &payload].concat());
            if rng.one_in(3) {
                journal.sync().expect("the disk is well");
            }
        }
    }
    log
}

fn damage(disk: &FaultyDisk, rng: &mut Rng) {
    let names = ["state", "segment-0000", "segment-0001", "segment-0002", "segment-0003"];
    let name = names[rng.below(5) as usize];
    let other = names[rng.below(5) as usize];
    let Some(mut bytes) = disk.contents(name) else { return };
    match rng.below(6) {
        0 => bytes = disk.contents(other).unwrap_or_default(),
        1 => return disk.power_cut(rng.next_u64()),
        2 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
        3 => repaired_head(&mut bytes, name == "state", rng),
        _ => {
            // Where the bytes are, not in the zeros behind them.
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
            let mut head = bytes[..used.min(bytes.len())].to_vec();
            mutate(&mut head, rng);
            overwrite(&mut bytes, 0, &head);
        }
    }
    if disk.contents(name).is_some() {
        disk.replace(name, bytes);
    }
}

/// A head that says something else with a right checksum: what a bug of another version might have written.
fn repaired_head(bytes: &mut [u8], state: bool, rng: &mut Rng) {
    let at = if state && rng.one_in(2) { 4096 } else { 0 };
    let Some(slot) = bytes.get_mut(at..).filter(|slot| slot.len() >= 64) else { return };
    let mut head = slot[..64].to_vec();
    mutate(&mut head, rng);
    overwrite(slot, 0, &head);
    if state {
        repair_state(slot);
    } else {
        repair(slot, SEGMENT_HEADER_LEN - 4, &[]);
    }
}

/// A command of the table, or of nobody, mutated: it decodes or says why; what it says of itself is within what there is.
fn cdb(rng: &mut Rng) -> bool {
    let row = opcode::rows().nth(rng.below(opcode::rows().count() as u64) as usize).expect("it is one of them");
    let set = |cdb: Cdb, field: &opcode::Field| {
        let value = rng.next_u64() >> rng.below(64);
        cdb.with(row, field.name, value & field.max()).expect("it is masked to its width")
    };
    let mut bytes = row.fields.iter().fold(Cdb::of(row), set).to_vec();
    if rng.one_in(4) {
        bytes = noise(rng, MAX_CDB as u64 + 8);
    } else if rng.one_in(2) {
        mutate(&mut bytes, rng);
    }
    let Ok(command) = decode(&bytes, DeviceType::from_byte(rng.below(9) as u8)) else { return false };
    assert_eq!(command.cdb.as_bytes(), bytes);
    same_when_built_again(&command);
    assert!(!command.to_string().is_empty());
    if let Ok(moved) = command.with_lba_offset(rng.next_u64() as i64) {
        assert_eq!(moved.transfer_blocks(), command.transfer_blocks());
    }
    effects(&command, rng);
    true
}

/// A CDB built from what another says of itself says the same.
fn same_when_built_again(command: &Decoded) {
    let Some(row) = command.row() else { return };
    let value = |field: &opcode::Field| command.get(field.name).expect("its row has the field");
    let again =
        row.fields.iter().fold(Cdb::of(row), |cdb, field| cdb.with(row, field.name, value(field)).expect("fits"));
    let again = decode(&again, command.device).expect("what is built is whole");
    assert_eq!(again.command, command.command);
    assert!(row.fields.iter().all(|field| again.get(field.name) == Some(value(field))));
    assert_eq!(again.transfer_bytes(4096), command.transfer_bytes(4096));
}

/// What it changes lies on the medium, and its content in the data.
fn effects(command: &Decoded, rng: &mut Rng) {
    let medium =
        Geometry { block_size: 512 << rng.below(4), blocks: rng.below(1 << 40), per_physical: rng.below(9) as u32 };
    let mut data: Vec<u8> = noise(rng, 9000);
    if rng.one_in(2) {
        data.iter_mut().step_by(2).for_each(|byte| *byte = 0);
    }
    for change in command.changes(&medium, &data).unwrap_or_default() {
        assert!(change.range.fits(medium.whole().len), "{change:?}");
        if let Content::Data(bytes) | Content::Repeat(bytes) = change.content {
            assert!(data.get(bytes).is_some());
        }
    }
    let _ = command.touched(&medium);
    let before = data.clone();
    if list::shift(command, &mut data, rng.next_u64() as i64).is_err() {
        assert_eq!(data, before, "a refused move changes nothing");
    }
}

/// Sense data of any length means the same after encoding it again.
fn sense(rng: &mut Rng) -> bool {
    let mut bytes = noise(rng, 255);
    if let Some(first) = bytes.first_mut() {
        *first = 0x70 | (*first & 0x83);
    }
    if bytes.len() > 8 && rng.one_in(2) {
        bytes[7] = rng.below(bytes.len() as u64) as u8;
        // Descriptors of the lengths that they should have, so that they are looked into.
        let kinds: [(u8, u8); 7] = [(0, 10), (1, 10), (2, 6), (3, 2), (4, 2), (5, 2), (13, 30)];
        let mut at = 8;
        while at + 1 < bytes.len() {
            let (kind, len) = kinds[rng.below(7) as usize];
            overwrite(&mut bytes, at, &[kind, len]);
            at += 2 + usize::from(len);
        }
    }
    mutate(&mut bytes, rng);
    let Ok(sense) = Sense::decode(&bytes) else { return false };
    assert_eq!(Sense::decode(&sense.encode()), Ok(sense));
    assert!(!sense.to_string().is_empty());
    let wider = Sense { format: SenseFormat::Descriptor, ..sense };
    assert_eq!(Sense::decode(&wider.encode()), Ok(wider));
    true
}

//! What tshark and capinfos say of a capture, beside what our reader says of it: every command, answer and piece of data,
//! and the response times.
#![allow(dead_code)] // Each test uses a part.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use captures::{CapturedEntry, Item, Reader, scsi_of};
use formats::command::Command as Trailer;
use formats::scsi::{Blocks, DeviceType, Sense, decode};
use formats::{Entry, Op, Record};

/// Fields of a command: three that each has, then those of which it has one.
const COMMAND: [&str; 6] = [
    "iscsi.initiatortasktag",
    "frame.number",
    "frame.time_epoch",
    "scsi.lun",
    "iscsi.scsicommand.expecteddatatransferlength",
    "_ws.col.Info",
];
const OPCODE: [&str; 3] = ["scsi_sbc.opcode", "scsi_ssc.opcode", "scsi.spc.opcode"];
const LBA: [&str; 5] = [
    "scsi_sbc.rdwr6.lba",
    "scsi_sbc.rdwr10.lba",
    "scsi_sbc.rdwr16.lba",
    "scsi_sbc.wrverify.lba",
    "scsi_sbc.wrverify.lba64",
];
/// The last one is that of WRITE SAME(10).
const LENGTH: [&str; 6] = [
    "scsi_sbc.rdwr6.xferlen",
    "scsi_sbc.rdwr10.xferlen",
    "scsi_sbc.rdwr12.xferlen",
    "scsi_sbc.wrverify.xferlen",
    "scsi_sbc.wrverify.xferlen32",
    "scsi_sbc.alloclen16",
];
const DATA: [&str; 6] = [
    "iscsi.initiatortasktag",
    "iscsi.request_frame",
    "iscsi.datasegmentlength",
    "iscsi.bufferOffset",
    "scsi_sbc.unmap.lba",
    "scsi_sbc.unmap.num_blocks",
];
const ANSWER: [&str; 7] = [
    "iscsi.initiatortasktag",
    "iscsi.request_frame",
    "iscsi.time",
    "iscsi.scsiresponse.status",
    "iscsi.scsiresponse.residualcount",
    "scsi.sns.key",
    "scsi.sns.ascascq",
];
/// The field in which tshark shows bytes.
const AS_BYTES: &str = "scsi_sbc.rdwr16.lba";
/// WRITE(6), of whose address tshark shows 20 bits.
const WRITE_6: u8 = 0x0a;
/// SERVICE ACTION OUT(16), of which tshark names no service action.
const SERVICE_ACTION_OUT: u8 = 0x9f;
/// CHECK CONDITION: Wireshark's iSCSI dissector does not tell its statistics of such an answer.
const CHECK_CONDITION: u8 = 2;
/// How far a time that is printed in microseconds may be from one in nanoseconds.
const MICROSECOND: f64 = 1.01e-6;

/// A number as tshark prints it.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Seconds with nine digits behind the point, as tshark prints them.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).env("TZ", "UTC").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Fields of the frames that a filter lets through, in order.
pub(crate) fn fields(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let fields: Vec<&str> = fields.iter().flat_map(|field| ["-e", field]).collect();
    let path = file.to_str().expect("a name");
    let text = run("tshark", &[&["-n", "-r", path, "-Y", filter, "-T", "fields"], &fields[..]].concat());
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Packets, as capinfos counts them.
pub(crate) fn packets(file: &Path) -> u64 {
    let told = run("capinfos", &["-Mc", file.to_str().expect("a name")]);
    told.split_whitespace().last().and_then(number).expect("a count")
}

/// What our reader says of a command.
struct Ours {
    record: Record,
    lun: u64,
    cdb: Vec<u8>,
    /// Its name in the standard, and the place it addresses, by its CDB.
    name: Option<&'static str>,
    place: Option<(u64, u64)>,
    /// Of the device, as tshark counts them: 0 of disks.
    command_set: u8,
    block_size: u64,
    expected: u32,
    data: u64,
    answer: Option<(u8, u32, Vec<u8>)>,
}

impl Ours {
    fn new(record: &Record, entry: &CapturedEntry, block_size: u32, device: DeviceType) -> Self {
        let scsi = scsi_of(record, entry.header.payload.encoding, &entry.trailer, block_size);
        let decoded = decode(&scsi.cdb, device).expect("a whole CDB");
        let count = |blocks| match blocks {
            Blocks::Count(count) => Some(count),
            Blocks::ToEnd => None,
        };
        let data_out = Trailer::decode(&entry.trailer).map_or(0, |command| command.data_out.len());
        let data = u64::from(entry.header.payload.content_len()) + data_out as u64;
        Self {
            record: *record,
            lun: scsi.lun,
            cdb: scsi.cdb.to_vec(),
            name: decoded.name(),
            place: decoded.lba().zip(decoded.transfer_blocks().and_then(count)),
            command_set: if device == DeviceType::TAPE { 1 } else { 0 },
            block_size: if block_size == 0 { 512 } else { block_size.into() },
            expected: scsi.data_len,
            data: if data == 0 { scsi.list.len() as u64 } else { data },
            answer: scsi.answer.map(|answer| (answer.status.to_byte(), answer.residual, answer.sense.to_vec())),
        }
    }

    fn took_ns(&self) -> u64 {
        self.record.origin.completed_ns - self.record.origin.issued_ns
    }

    /// What was written or zeroed, by the record of it, in blocks.
    fn written(&self) -> Option<(u64, u64)> {
        let range = self.record.range;
        let writes = matches!(self.record.op, Op::Write | Op::WriteZeroes) && range.len > 0;
        writes.then_some((range.offset / self.block_size, range.len / self.block_size))
    }
}

/// What our reader says of a file.
#[derive(Default)]
struct Told {
    commands: Vec<Ours>,
    /// Packets that are neither of a command nor its data or answer.
    others: u64,
}

impl Told {
    fn by(file: &Path) -> Self {
        let mut reader = Reader::new(captures::input::open(file).expect("opens")).expect("a capture");
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().expect("whole") {
            items.push(item);
        }
        assert_eq!((reader.foreign(), reader.tail()), (0, None));
        let mut told = Self::default();
        let tapes = reader.devices().filter(|device| device.device_type == Some(DeviceType::TAPE.to_byte())).count();
        told.others += 2 * tapes as u64;
        for item in &items {
            match item {
                Item::Entry(entry) => match &entry.header.entry {
                    Entry::Record(record) => {
                        let device = reader.devices().find(|device| device.volume == record.volume.0).expect("known");
                        let kind = device.device_type.map_or(DeviceType::DISK, DeviceType::from_byte);
                        told.commands.push(Ours::new(record, entry, device.block_size, kind));
                    }
                    Entry::Gap(_) => told.others += 1,
                    Entry::Region(_) => panic!("no region is in these captures"),
                },
                Item::Mark { .. } => told.others += 1,
                Item::Statistics(_) => {}
            }
        }
        told
    }
}

/// Frames of a kind by the number of their command.
fn by_command(file: &Path, opcode: &str, asked: &[&str]) -> BTreeMap<u64, Vec<Vec<String>>> {
    let mut all = BTreeMap::<u64, Vec<Vec<String>>>::new();
    // 0 is the number of what tells the kind of a device.
    for told in fields(file, &format!("iscsi.opcode == {opcode} && iscsi.initiatortasktag != 0"), asked) {
        all.entry(number(&told[0]).expect("a tag")).or_default().push(told);
    }
    all
}

/// Letters and digits only, in lower case: Wireshark spells names in its own way.
fn plain(name: &str) -> String {
    let name = name.replace('&', "and");
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether tshark says this name; some are shorter there, and some of it are.
fn is_named(ours: &Ours, info: &str) -> bool {
    let shown = info.split(" LUN:").next().unwrap_or_default();
    if shown.starts_with("SCSI Command: 0x") {
        // Newer than this tshark.
        return ours.name.is_none_or(|name| name.starts_with("WRITE ATOMIC"))
            && shown.ends_with(&format!("{:02x}", ours.cdb[0]));
    }
    let shown = plain(shown.trim_start_matches("SCSI: "));
    let name = plain(ours.name.unwrap_or_default());
    name.starts_with(&shown) || shown.starts_with(&name) || ours.cdb[0] == SERVICE_ACTION_OUT
}

/// The first of these that is shown, as a number.
fn shown(asked: &[&str], told: &[String]) -> Option<u64> {
    let (asked, told) = asked.iter().zip(told).find(|(_, told)| !told.is_empty())?;
    if *asked == AS_BYTES { u64::from_str_radix(told, 16).ok() } else { number(told) }
}

fn assert_command(ours: &Ours, told: &[String]) {
    let what = || format!("{:02x?} {:?} {told:?}", ours.cdb, ours.record);
    let (opcode, rest) = told[COMMAND.len()..].split_at(OPCODE.len());
    let (lba, length) = rest.split_at(LBA.len());
    assert_eq!(told[2], seconds(ours.record.origin.issued_ns), "{}", what());
    // Shown by iSCSI, and again by SCSI.
    let lun = told[3].split(',').next().and_then(number);
    assert_eq!((lun, number(&told[4])), (Some(ours.lun), Some(ours.expected.into())), "{}", what());
    assert_eq!(shown(&OPCODE, opcode), Some(ours.cdb[0].into()), "{}", what());
    assert!(is_named(ours, &told[5]), "{}", what());
    let place = (shown(&LBA, lba), shown(&LENGTH, length));
    let mask = if ours.cdb[0] == WRITE_6 { 0xf_ffff } else { u64::MAX };
    let by = |place: Option<(u64, u64)>| place.map(|(lba, blocks)| (Some(lba & mask), Some(blocks)));
    if let Some(written) = by(ours.written()) {
        assert_eq!(place, written, "{}", what());
    } else if place.0.is_some() && ours.place.is_some() {
        assert_eq!(Some(place), by(ours.place), "{}", what());
    }
}

/// All data of a command is there once, in order, and belongs to it.
fn assert_data(ours: &Ours, frame: &str, told: &[Vec<String>]) {
    let mut end = 0;
    for told in told {
        assert_eq!((told[1].as_str(), number(&told[3])), (frame, Some(end)), "{told:?}");
        end += number(&told[2]).expect("a length");
    }
    assert_eq!(end, ours.data, "{:02x?} {told:?}", ours.cdb);
    if ours.record.op == Op::Discard {
        let range = ours.record.range;
        let blocks = (Some(range.offset / ours.block_size), Some(range.len / ours.block_size));
        assert_eq!((number(&told[0][4]), number(&told[0][5])), blocks, "{told:?}");
    }
}

fn assert_answer(ours: &Ours, frame: &str, told: &[Vec<String>]) {
    let Some((status, residual, sense)) = &ours.answer else {
        assert!(told.is_empty(), "{told:?}");
        return;
    };
    let [told] = told else { panic!("one answer: {told:?}") };
    let what = || format!("{:02x?} {:?} {told:?}", ours.cdb, ours.record);
    assert_eq!((told[1].as_str(), told[2].as_str()), (frame, seconds(ours.took_ns()).as_str()), "{}", what());
    assert_eq!((number(&told[3]), number(&told[4])), (Some((*status).into()), Some((*residual).into())), "{}", what());
    if *status == CHECK_CONDITION && !sense.is_empty() {
        let sense = Sense::decode(sense).expect("sense data");
        let code = u64::from(sense.asc.code) << 8 | u64::from(sense.asc.qualifier);
        assert_eq!((number(&told[5]), number(&told[6])), (Some(sense.key as u64), Some(code)), "{}", what());
    }
}

/// Calls, and shortest, longest and all time in seconds, of an operation code.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    calls: u64,
    min: f64,
    max: f64,
    sum: f64,
}

/// tshark's table of response times.
fn response_times(file: &Path, command_set: u8) -> BTreeMap<u8, Times> {
    let table = format!("scsi,srt,{command_set}");
    let text = run("tshark", &["-n", "-q", "-r", file.to_str().expect("a name"), "-z", &table]);
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., calls, min, max, _, sum] = words[..] else { return None };
        let time = |text: &str| text.parse().ok();
        let times = Times { calls: calls.parse().ok()?, min: time(min)?, max: time(max)?, sum: time(sum)? };
        Some((words[0].parse().ok()?, times))
    };
    text.lines().filter_map(row).collect()
}

/// The same by our own records, of the commands that tshark's table has.
fn our_times(commands: &[Ours], command_set: u8) -> BTreeMap<u8, Times> {
    let mut all = BTreeMap::new();
    let counted = |ours: &&Ours| {
        let answered = ours.answer.as_ref().is_some_and(|answer| answer.0 != CHECK_CONDITION);
        answered && ours.command_set == command_set
    };
    for ours in commands.iter().filter(counted) {
        let took = ours.took_ns() as f64 / 1e9;
        let times = all.entry(ours.cdb[0]).or_insert(Times { calls: 0, min: took, max: took, sum: 0.0 });
        let Times { calls, min, max, sum } = *times;
        *times = Times { calls: calls + 1, min: min.min(took), max: max.max(took), sum: sum + took };
    }
    all
}

fn assert_response_times(file: &Path, commands: &[Ours]) {
    for command_set in [0, 1] {
        let (ours, told) = (our_times(commands, command_set), response_times(file, command_set));
        assert!(ours.keys().eq(told.keys()), "{ours:?} {told:?}");
        for (ours, told) in ours.values().zip(told.values()) {
            let near = [(ours.min, told.min), (ours.max, told.max), (ours.sum, told.sum)];
            let is_near = near.iter().all(|(ours, told)| (ours - told).abs() < MICROSECOND);
            assert!(ours.calls == told.calls && is_near, "{ours:?} {told:?}");
        }
    }
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compared {
    pub commands: usize,
    /// Of them: those that ended in CHECK CONDITION.
    pub failed: usize,
    pub packets: u64,
}

/// Compares all that tshark shows of a capture with what our reader says: names, places, lengths, data, status, sense and
/// times of each command, the table of response times, and the count of packets.
pub(crate) fn assert_agrees(file: &Path) -> Compared {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = uncompressed(file, folder.path());
    let told = Told::by(file);
    let asked = [&COMMAND[..], &OPCODE, &LBA, &LENGTH].concat();
    let commands = by_command(&plain, "0x01", &asked);
    let data = by_command(&plain, "0x05", &DATA);
    let answers = by_command(&plain, "0x21", &ANSWER);
    assert_eq!(commands.len(), told.commands.len(), "{}", file.display());
    let mut packets_expected = told.others;
    for (ours, (tag, command)) in told.commands.iter().zip(&commands) {
        let [command] = &command[..] else { panic!("{tag} is there twice: {command:?}") };
        let of = |kind: &BTreeMap<u64, Vec<Vec<String>>>| kind.get(tag).cloned().unwrap_or_default();
        assert_command(ours, command);
        assert_data(ours, &command[1], &of(&data));
        assert_answer(ours, &command[1], &of(&answers));
        packets_expected += (1 + of(&data).len() + of(&answers).len()) as u64;
    }
    assert_response_times(&plain, &told.commands);
    let wrong =
        fields(&plain, "_ws.malformed || _ws.expert.severity >= \"Warning\"", &["frame.number", "_ws.col.Info"]);
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(packets(&plain), packets_expected, "{}", file.display());
    let is_failed = |ours: &&Ours| ours.answer.as_ref().is_some_and(|answer| answer.0 == CHECK_CONDITION);
    let failed = told.commands.iter().filter(is_failed).count();
    Compared { commands: told.commands.len(), failed, packets: packets_expected }
}

/// tshark of Debian 12 reads no zstd.
pub(crate) fn uncompressed(file: &Path, folder: &Path) -> PathBuf {
    let plain = folder.join("plain.pcapng");
    let mut from = captures::input::open(file).expect("opens");
    io::copy(&mut from, &mut File::create(&plain).expect("a file")).expect("copied");
    assert!(fs::metadata(&plain).is_ok_and(|plain| plain.len() > 0));
    plain
}

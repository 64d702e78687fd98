//! Conversions: what other programs read of ours, what comes back, and what is no file of theirs.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use captures::convert::{ConvertError, Format, Losses, export, import};
use captures::{CapturedEntry, Item, Reader, Scan, Section, Writer};
use common::{START, devices, entry, file, has, one_of_each, record, section, statistics};
use formats::{ByteRange, Entry, Op, OpFlags, Record, Seq, Status};

/// An output that is still there after the conversion.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Cursor<Vec<u8>>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Kept {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.lock().unwrap().seek(to)
    }
}

fn exported(capture: &[u8], format: Format) -> Result<(Vec<u8>, Losses), ConvertError> {
    let out = Kept::default();
    let losses = export(Scan::with(capture, 2, 1000)?, format, out.clone(), |_| true)?;
    let bytes = out.0.lock().unwrap().get_ref().clone();
    Ok((bytes, losses))
}

fn imported(bytes: &[u8], format: Format) -> Result<(Vec<Item>, Losses), ConvertError> {
    let (capture, losses) = import(bytes, format, "disk", Vec::new())?;
    let mut reader = Reader::new(capture.as_slice())?;
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok((items, losses))
}

fn records(items: &[Item]) -> Vec<(Record, &CapturedEntry)> {
    let record = |item: &'_ Item| match item {
        Item::Entry(entry) => match entry.header.entry {
            Entry::Record(record) => Some(record),
            _ => None,
        },
        _ => None,
    };
    let entries = items.iter().filter_map(|item| match item {
        Item::Entry(entry) => Some(&**entry),
        _ => None,
    });
    items.iter().filter_map(record).zip(entries).collect()
}

/// Writes in turns of three blocks, a flush after every fourth, a discard at the end; a mark in the middle.
fn workload() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    for seq in 1..=40u64 {
        let range = ByteRange::new(seq % 3 * 8192, 4096);
        let (header, payload) = match seq {
            40 => entry(record(seq, 0, Op::Discard, ByteRange::new(65_536, 4096), Status::OK), &[], &[]),
            _ if seq % 4 == 0 => entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[]),
            _ => entry(record(seq, 0, Op::Write, range, Status::OK), &[seq as u8; 4096], &[]),
        };
        writer.write(&header, &payload).unwrap();
        if seq == 20 {
            writer.mark(START + seq * 100_000, "half way").unwrap();
        }
    }
    writer.statistics(&statistics(40)).unwrap();
    writer.finish().unwrap()
}

/// What matters of a command in every format.
fn essence(records: &[(Record, &CapturedEntry)]) -> Vec<(Op, ByteRange)> {
    records.iter().map(|(record, _)| (record.op, record.range)).collect()
}

fn original(capture: &[u8]) -> Vec<(Op, ByteRange)> {
    let mut reader = Reader::new(capture).unwrap();
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Entry(entry) = item
            && let Entry::Record(record) = entry.header.entry
        {
            found.push((record.op, record.range));
        }
    }
    found
}

#[test]
fn all_three_come_back() {
    let capture = workload();
    for format in [Format::Blktrace, Format::Fio, Format::LogWrites] {
        let (bytes, losses) = exported(&capture, format).unwrap();
        assert!(!losses.always.is_empty());
        let (items, _) = imported(&bytes, format).unwrap();
        assert_eq!(essence(&records(&items)), original(&capture), "{format}");
        let marks = items.iter().filter(|item| matches!(item, Item::Mark { text, .. } if text == "half way")).count();
        assert_eq!(marks, usize::from(format != Format::Fio), "{format}");
    }
}

#[test]
fn a_trace_keeps_times_names_and_failures() {
    let capture = file(&section(), &one_of_each());
    let (bytes, losses) = exported(&capture, Format::Blktrace).unwrap();
    assert!(losses.counted.contains(&("commands that are no write, flush or discard", 2)), "{losses:?}");
    let (items, _) = imported(&bytes, Format::Blktrace).unwrap();
    let found = records(&items);
    let (first, _) = found[0];
    assert_eq!((first.origin.issued_ns, first.origin.completed_ns), (START + 100_000, START + 150_000));
    assert_eq!((&first.origin.comm[..5], first.origin.pid), (&b"test\0"[..], 8));
    assert_eq!(found.iter().filter(|(record, _)| !record.status.is_ok()).count(), 2);
}

/// An independent reader of the log: what the disk holds after each entry, by block of 512 bytes.
fn replayed(log: &[u8], until: impl Fn(u64, &[u8]) -> bool) -> BTreeMap<u64, Vec<u8>> {
    let word = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
    assert_eq!((word(0), word(8)), (0x006a736677736872, 1));
    let sector = u32::from_le_bytes(log[24..28].try_into().unwrap()) as usize;
    let (mut disk, mut at) = (BTreeMap::new(), sector);
    for _ in 0..word(16) {
        let (first, count, flags, len) = (word(at), word(at + 8), word(at + 16), word(at + 24) as usize);
        if until(flags, &log[at + 32..at + 32 + len]) {
            return disk;
        }
        at += sector;
        for block in 0..count {
            if flags & 4 != 0 {
                disk.remove(&(first + block));
            } else if flags & 8 == 0 {
                disk.insert(first + block, log[at..at + sector].to_vec());
                at += sector;
            }
        }
    }
    assert_eq!(at, log.len(), "nothing is left");
    disk
}

#[test]
fn a_log_replays_to_the_same_disk_and_to_a_mark() {
    let (log, _) = exported(&workload(), Format::LogWrites).unwrap();
    let disk = replayed(&log, |_, _| false);
    // The last writes of the three places are those of 39, 37 and 38.
    for (place, byte) in [(0, 39), (1, 37), (2, 38)] {
        assert_eq!(disk[&(place * 16)], vec![byte; 512]);
    }
    let half = replayed(&log, |flags, text| flags & 8 != 0 && text == b"half way");
    assert_eq!(half[&16], vec![19; 512]);
}

#[test]
fn a_flush_stands_behind_what_it_covers_only() {
    let at = |seq: u64, dep: u64, op, offset| {
        let len = if op == Op::Flush { 0 } else { 512 };
        let record = record(seq, 0, op, ByteRange::new(offset, len), Status::OK);
        entry(Record { dep: Seq(dep), ..record }, &vec![seq as u8; len as usize], &[])
    };
    let fua = {
        let (header, _) = at(4, 3, Op::Write, 1536);
        let Entry::Record(record) = header.entry else { panic!("a record") };
        entry(Record { flags: OpFlags::FUA, ..record }, &[4; 512], &[])
    };
    // The flush (3) was issued when only 1 had completed; 2 completed while it ran.
    let written = [at(1, 0, Op::Write, 0), at(2, 0, Op::Write, 512), at(3, 1, Op::Flush, 0), fua];
    let (log, _) = exported(&file(&section(), &written), Format::LogWrites).unwrap();
    let (items, _) = imported(&log, Format::LogWrites).unwrap();
    let order: Vec<_> = essence(&records(&items)).iter().map(|(op, range)| (*op, range.offset)).collect();
    assert_eq!(order, [(Op::Write, 0), (Op::Flush, 0), (Op::Write, 1536), (Op::Write, 512)]);
}

#[test]
fn what_a_format_cannot_hold_is_refused_or_counted() {
    let several = file(&section(), &one_of_each());
    assert!(matches!(exported(&several, Format::LogWrites), Err(ConvertError::Several(_))));
    let write = record(1, 0, Op::Write, ByteRange::new(0, 512), Status::OK);
    let without = file(&section(), &[entry(write, &[], &[])]);
    assert!(matches!(exported(&without, Format::LogWrites), Err(ConvertError::NoContent { seq: 1, .. })));
    let cut = file(&Section { snap_len: Some(100), ..section() }, &[entry(write, &[7; 512], &[])]);
    assert!(matches!(exported(&cut, Format::LogWrites), Err(ConvertError::NoContent { seq: 1, .. })));
    let odd = captures::Device { block_size: 552, ..devices()[0].clone() };
    let odd = Writer::new(Vec::new(), &section(), &[odd]).unwrap().finish().unwrap();
    assert!(matches!(exported(&odd, Format::LogWrites), Err(ConvertError::BlockSize { size: 552, .. })));
    assert!(matches!(imported(b"x", Format::Csv), Err(ConvertError::OneWay(_))));
    let damaged = &several[..several.len() - 9];
    let (_, losses) = exported(damaged, Format::Csv).unwrap();
    assert!(losses.counted.contains(&("records cut off at the end of the file", 1)), "{losses:?}");
}

#[test]
fn foreign_and_cut_input_is_named() {
    let capture = workload();
    for format in [Format::Blktrace, Format::Fio, Format::LogWrites] {
        for bytes in [&b""[..], b"something else, and long enough for a head of any of them", &capture] {
            let error = imported(bytes, format).unwrap_err();
            let named = matches!(error, ConvertError::NotOne { .. } | ConvertError::Damaged { .. });
            assert!(named, "{format}: {error}");
        }
        let (whole, _) = exported(&capture, format).unwrap();
        let cut = whole.len() - 3;
        assert!(matches!(imported(&whole[..cut], format), Err(ConvertError::Damaged { .. })), "{format}");
    }
    let mut swapped = vec![0; 48];
    swapped[..4].copy_from_slice(&0x6561_7407u32.to_be_bytes());
    assert!(imported(&swapped, Format::Blktrace).unwrap_err().to_string().contains("big-endian"));
    let bad = "fio version 3 iolog\n1 /dev/x add\n2 /dev/x write ten 512\n";
    assert!(imported(bad.as_bytes(), Format::Fio).unwrap_err().to_string().contains("line 3"));
}

#[test]
fn tables_have_a_row_for_every_command() {
    let capture = file(&section(), &one_of_each());
    let (csv, _) = exported(&capture, Format::Csv).unwrap();
    let mut table = csv::Reader::from_reader(csv.as_slice());
    let heads: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = table.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 10);
    let column = |name: &str| heads.iter().position(|head| head == name).unwrap();
    assert_eq!((rows[1][column("offset")].as_str(), rows[4][column("op")].as_str()), ("2097152", "write-zeroes"));
    let (parquet, _) = exported(&capture, Format::Parquet).unwrap();
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(bytes::Bytes::from(parquet)).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 10);
    for (row, line) in reader.get_row_iter(None).unwrap().zip(&rows) {
        let values: Vec<String> =
            row.unwrap().get_column_iter().map(|(_, field)| field.to_string().trim_matches('"').to_owned()).collect();
        assert_eq!(&values, line);
    }
}

/// Runs a program in `dir`, which must end well; answers what it printed.
fn run(dir: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What SQLite reads is what was captured, commas and quotes in a process' name included.
#[test]
fn sqlite_reads_a_table() {
    if !has("sqlite3") {
        return;
    }
    let written: Vec<_> = (1..=20u64)
        .map(|seq| {
            let plain = record(seq, 0, Op::Write, ByteRange::new(seq << 40, 4096), Status::OK);
            let mut comm = [0; 16];
            comm[..6].copy_from_slice(b"a,\"b\"c");
            let origin = formats::entry::Origin { comm, ..plain.origin };
            entry(Record { origin, ..plain }, &[seq as u8; 4096], &[])
        })
        .collect();
    let dir = tempfile::TempDir::new().unwrap();
    let (csv, _) = exported(&file(&section(), &written), Format::Csv).unwrap();
    std::fs::write(dir.path().join("t.csv"), csv).unwrap();
    let query = "SELECT count(*), sum(len), max(CAST(offset AS INTEGER)), min(device), min(op), min(hex(comm)) FROM t";
    let told = run(dir.path(), "sqlite3", &[":memory:", ".import --csv t.csv t", query]);
    let name = "612C22622263";
    assert_eq!(told.trim(), format!("20|{}|{}|loop0|write|{name}", 20 * 4096, 20u64 << 40));
}

/// blkparse puts traces together; what it wrote then is read as the trace itself is.
#[test]
fn what_blkparse_made_of_a_trace_is_read() {
    if !has("blkparse") {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let (trace, _) = exported(&workload(), Format::Blktrace).unwrap();
    std::fs::write(dir.path().join("t.blktrace.0"), &trace).unwrap();
    run(dir.path(), "blkparse", &["-i", "t", "-d", "together", "-O"]);
    let together = std::fs::read(dir.path().join("together")).unwrap();
    let (from_us, from_them) =
        (imported(&trace, Format::Blktrace).unwrap().0, imported(&together, Format::Blktrace).unwrap().0);
    // blkparse counts time from the first event.
    let first = records(&from_us)[0].0.origin.issued_ns - records(&from_them)[0].0.origin.issued_ns;
    let all = |items: &[Item], later: u64| -> Vec<Record> {
        let moved = records(items).into_iter().map(|(mut record, _)| {
            record.origin.issued_ns += later;
            record.origin.completed_ns += later;
            record
        });
        moved.collect()
    };
    assert_eq!(all(&from_them, first).len(), 40);
    assert_eq!(all(&from_them, first), all(&from_us, 0), "processes, durations and all");
}

#[test]
fn blkparse_and_btrecord_read_a_trace() {
    if !has("blkparse") {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let (bytes, _) = exported(&workload(), Format::Blktrace).unwrap();
    std::fs::write(dir.path().join("t.blktrace.0"), bytes).unwrap();
    let run = |program: &str, args: &[&str]| run(dir.path(), program, args);
    let text = run("blkparse", &["-q", "-i", "t", "-f", "%a %d %S %N %C\n"]);
    let lines = |action: &str| text.lines().filter(|line| line.starts_with(action)).count();
    assert_eq!((lines("Q "), lines("D "), lines("C ")), (40, 40, 40), "{text}");
    let mut expected: Vec<String> =
        (1..40u64).filter(|seq| seq % 4 != 0).map(|seq| format!("D WS {} 4096 test", seq % 3 * 16)).collect();
    expected.sort();
    let mut found: Vec<String> =
        text.lines().filter(|line| line.starts_with("D WS")).map(|line| line.trim_end().to_owned()).collect();
    found.sort();
    assert_eq!(found, expected);
    run("btrecord", &["-d", ".", "-D", ".", "t"]);
    let replay = std::fs::metadata(dir.path().join("t.replay.0")).unwrap();
    assert!(replay.len() > 39 * 20, "btreplay has something to do");
}

#[test]
fn fio_replays_a_log() {
    if !has("fio") {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let device = captures::Device { path: image.display().to_string(), ..devices()[0].clone() };
    let mut writer = Writer::new(Vec::new(), &section(), &[device]).unwrap();
    for seq in 1..=10u64 {
        let write = record(seq, 0, Op::Write, ByteRange::new(seq * 8192, 4096), Status::OK);
        let (header, payload) = entry(write, &[1; 4096], &[]);
        writer.write(&header, &payload).unwrap();
    }
    let (log, _) = exported(&writer.finish().unwrap(), Format::Fio).unwrap();
    std::fs::write(dir.path().join("log"), log).unwrap();
    let json = fio_does(dir.path(), "log");
    let write = &json["jobs"][0]["write"];
    assert_eq!((write["total_ios"].as_u64(), write["io_bytes"].as_u64()), (Some(10), Some(40_960)), "{json:#}");
}

/// What fio says of the replay of a log.
fn fio_does(dir: &Path, log: &str) -> serde_json::Value {
    let log = format!("--read_iolog={log}");
    let text = run(dir, "fio", &["--name=t", &log, "--ioengine=psync", "--replay_no_stall=1", "--output-format=json"]);
    serde_json::from_str(&text[text.find('{').expect(&text)..]).unwrap()
}

/// fio's own log: all that it wrote and synchronised is in the capture, and fio does as much with what we make of that.
#[test]
fn a_log_of_fio_comes_back() {
    if !has("fio") {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let load = [
        "--name=t",
        "--filename=image",
        "--rw=randrw",
        "--rwmixread=30",
        "--bsrange=512-16k",
        "--size=1m",
        "--fsync=8",
    ];
    run(dir.path(), "fio", &[&load[..], &["--ioengine=psync", "--write_iolog=own", "--output=/dev/null"]].concat());
    let own = std::fs::read(dir.path().join("own")).unwrap();
    let text = String::from_utf8(own.clone()).unwrap();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let expected: Vec<(Op, ByteRange)> = words
        .filter_map(|words| match words[..] {
            [_, _, "write", offset, len] => {
                Some((Op::Write, ByteRange::new(offset.parse().unwrap(), len.parse().unwrap())))
            }
            [_, _, "sync", ..] => Some((Op::Flush, ByteRange::default())),
            _ => None,
        })
        .collect();
    let (capture, losses) = import(own.as_slice(), Format::Fio, "disk", Vec::new()).unwrap();
    assert_eq!(original(&capture), expected);
    let reads = text.lines().filter(|line| line.contains(" read ")).count() as u64;
    assert_eq!(losses.counted, [("reads", reads)]);
    let (again, _) = exported(&capture, Format::Fio).unwrap();
    std::fs::write(dir.path().join("again"), again).unwrap();
    let json = fio_does(dir.path(), "again");
    let writes = expected.iter().filter(|(op, _)| *op == Op::Write);
    let (count, bytes) = writes.fold((0, 0), |(count, bytes), (_, range)| (count + 1, bytes + range.len));
    let write = &json["jobs"][0]["write"];
    assert_eq!((write["total_ios"].as_u64(), write["io_bytes"].as_u64()), (Some(count), Some(bytes)), "{json:#}");
    let syncs = expected.len() as u64 - count;
    assert_eq!(json["jobs"][0]["sync"]["total_ios"].as_u64(), Some(syncs), "{json:#}");
}

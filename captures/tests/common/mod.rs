//! Captures that tests write.
#![allow(dead_code)] // Each test uses a part.

pub(crate) mod tshark;

use std::io::Write as _;

use captures::{Device, Section, Series, Statistics, Writer};
use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Origin, PayloadInfo};
use formats::scsi::{DeviceType, Geometry};
use formats::{
    ByteRange, Crc32c, Entry, EntryHeader, Op, OpFlags, PayloadEncoding, Position, Record, Seq, Status, VolumeIndex,
};

/// A header and what it describes.
pub(crate) type Written = (EntryHeader, Vec<u8>);

/// 2023-11-14 22:13:20 UTC, in nanoseconds.
pub(crate) const START: u64 = 1_700_000_000_000_000_000;

pub(crate) fn section() -> Section {
    Section {
        program: "blkecho test".into(),
        host: "host".into(),
        kernel: "Linux 6.12".into(),
        machine: "x86_64".into(),
        time_zone: "Europe/Berlin".into(),
        stream: "00000000000000aa".into(),
        started_ns: START,
        payload: true,
        ..Section::default()
    }
}

pub(crate) fn devices() -> Vec<Device> {
    let disk = |volume, name: &str, block_size| Device {
        volume,
        name: name.into(),
        path: format!("/dev/{name}"),
        size: 1 << 30,
        block_size,
        model: Some("MAKER MODEL".into()),
        serial: Some("S1".into()),
        layer: "request".into(),
        ..Device::default()
    };
    vec![disk(0, "loop0", 512), disk(3, "loop1", 4096)]
}

/// A record of `seq` that took 50 µs.
pub(crate) fn record(seq: u64, volume: u16, op: Op, range: ByteRange, status: Status) -> Record {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"test");
    let issued_ns = START + seq * 100_000;
    let origin =
        Origin { issued_ns, completed_ns: issued_ns + 50_000, cgroup_id: 9, pid: 8, tgid: 7, comm, queue_depth: 1 };
    let (volume, flags) = (VolumeIndex(volume), OpFlags::SYNC);
    Record { seq: Seq(seq), dep: Seq(seq - 1), volume, op, flags, range, status, origin }
}

/// An entry of `record` with `content` and `trailer`.
pub(crate) fn entry(record: Record, content: &[u8], trailer: &[u8]) -> Written {
    let payload = [content, trailer].concat();
    let encoding = if content.is_empty() { PayloadEncoding::None } else { PayloadEncoding::Data };
    let info =
        PayloadInfo { encoding, len: payload.len() as u32, crc: Crc32c::of(&payload), trailer: trailer.len() as u32 };
    (EntryHeader { entry: Entry::Record(record), position: Position(record.seq.0), payload: info }, payload)
}

/// The trailer of a command to a disk.
pub(crate) fn trailer(cdb: &[u8], result: u32, sense: &[u8], data_out: &[u8], transfer_len: u32) -> Vec<u8> {
    let command = Command {
        unit: Hctl { host: 2, channel: 0, id: 0, lun: 5 },
        device: DeviceType::DISK,
        medium: Some(Geometry::new(512, 1 << 21)),
        flags: CommandFlags::PASSTHROUGH,
        transfer: if transfer_len > 0 { Transfer::Out } else { Transfer::None },
        transfer_len,
        residual: 0,
        result,
        cdb,
        sense,
        data_out,
    };
    let mut bytes = Vec::new();
    command.write_to(&mut bytes);
    bytes
}

/// One of everything.
pub(crate) fn one_of_each() -> Vec<Written> {
    let bytes = |len: usize| -> Vec<u8> { (0..len).map(|at| (at * 7 + at / 256) as u8).collect() };
    let at = |lba: u64, blocks: u64| ByteRange::new(lba * 512, blocks * 512);
    let sense = [0xf0, 0, 3, 0, 0, 0x10, 0, 10, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0];
    let list = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 8, 0, 0, 0, 0];
    let none = ByteRange::default();
    vec![
        entry(record(1, 0, Op::Write, at(2048, 8), Status::OK), &bytes(4096), &[]),
        entry(record(2, 0, Op::Write, at(4096, 600), Status::OK), &bytes(600 * 512), &[]),
        entry(record(3, 0, Op::Flush, none, Status::OK), &[], &[]),
        entry(record(4, 0, Op::Discard, at(8192, 2048), Status::OK), &[], &[]),
        entry(record(5, 3, Op::WriteZeroes, at(16384, 64), Status::OK), &[], &[]),
        entry(record(6, 3, Op::Write, at(64, 8), Status(7)), &bytes(4096), &[]),
        entry(record(7, 0, Op::Write, at(72, 1), Status::UNKNOWN), &bytes(512), &[]),
        entry(
            record(8, 0, Op::Write, at(0x1000, 1), Status(7)),
            &bytes(512),
            &trailer(&[0x2a, 0, 0, 0, 0x10, 0, 0, 0, 1, 0], 2, &sense, &[], 512),
        ),
        entry(
            record(9, 0, Op::Scsi, none, Status::OK),
            &[],
            &trailer(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &[], &list, 24),
        ),
        entry(record(10, 0, Op::Scsi, none, Status::OK), &[], &trailer(&[0x1b, 0, 0, 0, 1, 0], 0, &[], &[], 0)),
    ]
}

pub(crate) fn statistics(records: u64) -> Statistics {
    Statistics { ended_ns: START + 1_000_000_000, records, ..Statistics::default() }
}

/// A whole file.
pub(crate) fn file(section: &Section, entries: &[Written]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), section, &devices()).expect("begins");
    for (header, payload) in entries {
        writer.write(header, payload).expect("written");
    }
    writer.statistics(&statistics(entries.len() as u64)).expect("written");
    writer.finish().expect("ends")
}

/// A capture in one file, opened for what is in it.
pub(crate) fn filed(bytes: &[u8]) -> Series {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    // It is open, so its name is not needed any more.
    Series::as_filed(&[file.path().to_owned()]).expect("a capture")
}

/// Three writes of data at new places, then one of state and a flush, fifty times; every tenth round zeros.
pub(crate) fn database() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).unwrap();
    let mut seq = 0;
    let mut add = |op, offset, len: usize, byte| {
        seq += 1;
        let (header, payload) =
            entry(record(seq, 0, op, ByteRange::new(offset, len as u64), Status::OK), &vec![byte; len], &[]);
        writer.write(&header, &payload).unwrap();
    };
    for round in 0..50u64 {
        let byte = if round % 10 == 0 { 0 } else { round as u8 };
        (0..3).for_each(|n| add(Op::Write, (1 << 20) + (round * 3 + n) * 8192, 8192, byte));
        add(Op::Write, 4096, 4096, 200);
        add(Op::Flush, 0, 0, 0);
    }
    writer.mark(START, "<script>alert(1)</script> & {{style}}").unwrap();
    writer.statistics(&statistics(250)).unwrap();
    writer.finish().unwrap()
}

/// Whether a program is there; on CI it must be.
pub(crate) fn has(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing: scripts/setup.sh test installs it");
    if !found {
        println!("not run: no {program} here (scripts/setup.sh test installs it)");
    }
    found
}

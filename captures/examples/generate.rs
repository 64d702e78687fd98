//! Writes a capture of made-up commands, for measuring: `generate FILE RECORDS [BYTES]`, with BYTES of payload each.
//!
//! The load is that of a database: writes of 4 to 64 KiB at random places and in streams, a block of state at every tenth,
//! flushes, now and then a discard or a failure. The same numbers give the same file.

use std::fs::File;
use std::io::BufWriter;

use captures::{Device, Section, Statistics, Writer};
use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Seq, Status, VolumeIndex};

const START: u64 = 1_700_000_000_000_000_000;
const SIZE: u64 = 1 << 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("usage: generate FILE RECORDS [BYTES]")?;
    let records: u64 = args.next().ok_or("usage: generate FILE RECORDS [BYTES]")?.parse()?;
    let bytes: u64 = args.next().map_or(Ok(0), |bytes| bytes.parse())?;
    let section = Section { program: "generate".into(), started_ns: START, payload: bytes > 0, ..Section::default() };
    let device = Device { name: "made-up".into(), size: SIZE, block_size: 512, ..Device::default() };
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, File::create(file)?), &section, &[device])?;
    let mut random = 1;
    for seq in 1..=records {
        let record = record(seq, bytes, &mut random);
        let payload = if record.op == Op::Write { content(bytes, &mut random) } else { Vec::new() };
        let info = if payload.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(&payload) };
        writer
            .write(&EntryHeader { entry: Entry::Record(record), position: Position(seq), payload: info }, &payload)?;
    }
    writer.statistics(&Statistics { records, ended_ns: START + records * 5_000, ..Statistics::default() })?;
    writer.finish()?;
    Ok(())
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

fn record(seq: u64, bytes: u64, random: &mut u64) -> Record {
    let draw = next(random);
    let len = if bytes > 0 { bytes } else { 4096 << (draw % 5) };
    let (op, range) = match seq % 1000 {
        0 => (Op::Discard, ByteRange::new((next(random) % (SIZE >> 24)) << 24, 1 << 24)),
        n if n % 50 == 0 => (Op::Flush, ByteRange::default()),
        n if n % 10 == 1 => (Op::Write, ByteRange::new(1 << 20, if bytes > 0 { bytes } else { 4096 })),
        n if n % 3 == 0 => (Op::Write, ByteRange::new(SIZE / 2 + seq * 65_536 % (SIZE / 4), len)),
        _ => (Op::Write, ByteRange::new(next(random) % (SIZE >> 18) * 4096, len)),
    };
    let issued_ns = START + seq * 5_000;
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"worker");
    let latency = 20_000 + next(random) % 100_000;
    let origin = Origin {
        issued_ns,
        completed_ns: issued_ns + latency,
        cgroup_id: 1 + seq / 1000 % 3,
        pid: 10,
        tgid: 10 + (seq / 100 % 5) as u32,
        comm,
        queue_depth: (draw % 16) as u16 + 1,
    };
    let status = if draw.is_multiple_of(100_003) { Status(10) } else { Status::OK };
    let flags = if op == Op::Write && draw.is_multiple_of(97) { OpFlags::FUA } else { OpFlags::empty() };
    let dep = Seq(seq.saturating_sub(1 + draw % 16));
    Record { seq: Seq(seq), dep, volume: VolumeIndex(0), op, flags, range, status, origin }
}

/// A third zeros, a third words, a third noise.
fn content(bytes: u64, random: &mut u64) -> Vec<u8> {
    match next(random) % 3 {
        0 => vec![0; bytes as usize],
        1 => b"the quick brown fox jumps ".iter().copied().cycle().take(bytes as usize).collect(),
        _ => (0..bytes.div_ceil(4)).flat_map(|_| (next(random) as u32).to_le_bytes()).take(bytes as usize).collect(),
    }
}

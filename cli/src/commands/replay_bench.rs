//! `replay-bench`: a standby's engine and workers alone, for measuring.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use formats::ByteRange;
use journal::{Config, Journal, RealDisk, SyncPolicy};
use replayer::standby::bench::{Recording, Replay};
use replayer::target::{self, Host};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::print;
use crate::args::{ReplayBench, VolumeArg};
use crate::exit::{Done, Exit, OrExit};
use crate::node::primary::SEGMENT_BYTES;
use crate::node::standby::refuse_precious;

/// Made-up writes: their size in bytes, and how many the primary had in flight.
const BLOCK: u32 = 4096;
const MADE_UP_DEPTH: u64 = 32;
const SEED: u64 = 1;
/// One line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    target: &'a Path,
    method: &'static str,
    depth: usize,
    recorded: bool,
    entries: u64,
    left_out: u64,
    /// Entries that the target was not given.
    not_applied: u64,
    seconds: f64,
    iops: f64,
    /// CPU time of this process between the first entry and the last.
    cpu_seconds: f64,
}

/// Applies the recording, writes its addresses down, or tells what its order allows.
pub(super) fn run(args: &ReplayBench) -> Done {
    if !args.overwrite && args.iolog.is_none() && !args.bounds {
        let volume = VolumeArg { name: String::new(), path: args.target.clone() };
        refuse_precious(&[volume], Path::new("/nonexistent"))?;
    }
    if args.bounds {
        return print(&format!("{}\n", serde_json::to_string(&unapplied(args)?.1.order_bounds(args.depth))?));
    }
    if let Some(file) = &args.iolog {
        let (node, recording) = unapplied(args)?;
        return Ok(std::fs::write(file, iolog(&node, recording.ranges()))?);
    }
    let target = target::open(&args.target, &Host::default()).or_exit(Exit::Refused)?;
    let recording = recording(args, target.size())?;
    let recording = if args.unordered { recording.without_order() } else { recording };
    let scratch = tempfile::tempdir()?;
    let before = cpu_seconds();
    let replay = recording.replay(target, args.depth, scratch.path())?;
    let cpu_seconds = cpu_seconds() - before;
    print(&format!("{}\n", serde_json::to_string(&report(args, &recording, &replay, cpu_seconds))?))
}

/// The device's node and the recording for it, without opening it for writing.
fn unapplied(args: &ReplayBench) -> anyhow::Result<(PathBuf, Recording)> {
    let node = node(&args.target);
    let size = File::open(&node).and_then(|mut node| node.seek(SeekFrom::End(0)));
    let size = size.with_context(|| node.display().to_string())?;
    Ok((node, recording(args, size)?))
}

fn report<'a>(args: &'a ReplayBench, recording: &Recording, replay: &Replay, cpu_seconds: f64) -> Report<'a> {
    let (seconds, done) = (replay.elapsed.as_secs_f64(), &replay.done);
    Report {
        target: &args.target,
        method: replay.method.name(),
        depth: args.depth,
        recorded: args.record.is_some(),
        entries: recording.entries(),
        left_out: recording.left_out(),
        not_applied: [&done.failed_on_primary, &done.not_carried, &done.not_replayable].iter().map(|t| t.entries).sum(),
        seconds,
        iops: recording.entries() as f64 / seconds,
        cpu_seconds,
    }
}

fn recording(args: &ReplayBench, size: u64) -> anyhow::Result<Recording> {
    let Some(dir) = &args.record else {
        return Ok(Recording::random_writes(args.entries, BLOCK, size, MADE_UP_DEPTH, SEED)?);
    };
    let config = Config { segment_bytes: SEGMENT_BYTES, total_bytes: journal_bytes(dir)?, sync: SyncPolicy::Never };
    let opened = RealDisk::new(dir).and_then(|disk| Journal::open(disk, config));
    let (journal, _) = opened.with_context(|| format!("cannot open the journal in {}", dir.display()))?;
    Ok(Recording::read(&mut journal.reader())?)
}

/// Bytes of the journal in `dir`. It is opened with its own size: with a larger one it would grow.
fn journal_bytes(dir: &Path) -> anyhow::Result<u64> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("no journal in {}", dir.display()))?;
    let is_segment = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("segment-");
    let segments = entries.filter_map(Result::ok).filter(|entry| is_segment(&entry.file_name())).count();
    anyhow::ensure!(segments > 0, "there is no journal in {}", dir.display());
    Ok(segments as u64 * SEGMENT_BYTES)
}

/// The device node of a target that is named `sg:NODE`.
fn node(target: &Path) -> PathBuf {
    target.to_str().and_then(|text| text.strip_prefix("sg:")).map_or_else(|| target.to_owned(), PathBuf::from)
}

/// fio's trace file format, version 2 (fio's HOWTO, "Trace file format").
fn iolog(device: &Path, ranges: &[ByteRange]) -> String {
    let device = device.display();
    let mut log = format!("fio version 2 iolog\n{device} add\n{device} open\n");
    for range in ranges {
        // Writing to a string cannot fail.
        let _ = writeln!(log, "{device} write {} {}", range.offset, range.len);
    }
    log + &format!("{device} close\n")
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_as_fio_reads_it() {
        let ranges = [ByteRange::new(4096, 4096), ByteRange::new(0, 512)];
        let log = iolog(&node(Path::new("sg:/dev/sda")), &ranges);
        let lines = [
            "fio version 2 iolog",
            "/dev/sda add",
            "/dev/sda open",
            "/dev/sda write 4096 4096",
            "/dev/sda write 0 512",
            "/dev/sda close",
        ];
        assert_eq!(log.lines().collect::<Vec<_>>(), lines);
        assert_eq!(node(Path::new("/dev/sg0")), Path::new("/dev/sg0"));
    }
}

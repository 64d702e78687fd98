//! How fast the journal takes entries: `journal-rate DIR never|interval|each PAYLOAD BATCH SECONDS`.
//!
//! Appends batches of entries with PAYLOAD bytes each for so many seconds, makes them durable by the policy as the
//! agent does, and prints what was written as one line of JSON. The folder is the caller's, and stays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Region};
use formats::segment::item_len;
use formats::{ByteRange, Position, Seq, VolumeIndex};
use journal::{AppendError, Config, Item, Journal, RealDisk, SyncPolicy};

/// Bytes of the journal: small enough to stay in the page cache, as the reader's and the writer's stretch of a real one does.
const TOTAL_BYTES: u64 = 256 << 20;
const SEGMENT_BYTES: u64 = 32 << 20;
/// What `blkecho attach` does by default.
const INTERVAL: Duration = Duration::from_millis(50);

struct Run {
    policy: SyncPolicy,
    payload: usize,
    batch: usize,
    time: Duration,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, policy, payload, batch, seconds] = arguments.as_slice() else {
        bail!("usage: journal-rate DIR never|interval|each PAYLOAD BATCH SECONDS");
    };
    let policy = match policy.as_str() {
        "never" => SyncPolicy::Never,
        "interval" => SyncPolicy::Interval(INTERVAL),
        "each" => SyncPolicy::Each,
        other => bail!("unknown policy {other}; use never, interval or each"),
    };
    let time = Duration::from_secs_f64(seconds.parse().context("SECONDS")?);
    let run =
        Run { policy, payload: payload.parse().context("PAYLOAD")?, batch: batch.parse().context("BATCH")?, time };
    let config = Config { segment_bytes: SEGMENT_BYTES, total_bytes: TOTAL_BYTES, sync: policy };
    let (journal, _) = Journal::open(RealDisk::new(folder)?, config)?;
    measure(journal, &run)
}

fn measure(mut journal: Journal<RealDisk>, run: &Run) -> Result<()> {
    let payload: Vec<u8> = (0..run.payload).map(|i| (i * 31 + i / 251) as u8).collect();
    let headers = vec![header(&payload); run.batch];
    let items: Vec<Item<'_>> = headers.iter().map(|header| Item { header, payload: &payload }).collect();
    let (mut appends, mut syncs) = (0_u64, 0_u64);
    let started = Instant::now();
    while started.elapsed() < run.time {
        append(&mut journal, &items)?;
        appends += 1;
        // With each append durable by itself, nothing is due here.
        if journal.sync_due(started.elapsed()) {
            journal.sync()?;
            syncs += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if run.policy == SyncPolicy::Each {
        syncs = appends;
    }
    let bytes = item_len(run.payload) * run.batch as u64;
    println!(r#"{{"seconds": {seconds}, "appends": {appends}, "append_bytes": {bytes}, "syncs": {syncs}}}"#);
    Ok(())
}

/// What is full is freed, as when every secondary has it.
fn append(journal: &mut Journal<RealDisk>, items: &[Item<'_>]) -> Result<()> {
    let mut appended = journal.append(items);
    if matches!(appended, Err(AppendError::Full { .. })) {
        journal.trim(journal.written());
        appended = journal.append(items);
    }
    appended?;
    Ok(())
}

fn header(payload: &[u8]) -> [u8; HEADER_LEN] {
    let region = Region {
        volume: VolumeIndex(0),
        range: ByteRange::new(0, payload.len() as u64),
        consistent_after: Seq(0),
        remaining: 0,
    };
    let payload = PayloadInfo::data(payload);
    EntryHeader { entry: Entry::Region(region), position: Position(1), payload }.encode()
}

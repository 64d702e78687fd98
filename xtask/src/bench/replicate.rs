//! `bench replicate`: how fast changes arrive at the standby, beside a plain pipe of the same bytes.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};

use crate::bench::rates::Rates;
use crate::rig::{self, Engine, Mix, Plan, Rig};
use crate::{interrupt, process};

const JOURNAL: &str = "512M";
const DRAIN: Duration = Duration::from_secs(180);
/// Runs that look for the highest rate at which nothing overflows.
const SEARCH: usize = 6;

/// One run.
struct Sample {
    name: String,
    megabytes_per_second: f64,
    /// Events lost and bytes read back; of the pipe there is neither.
    losses: Option<(u64, u64)>,
}

/// The task.
pub(crate) fn run(mebibytes: u64) -> Result<()> {
    let bytes = mebibytes << 20;
    let mut rig = Rig::new(Plan { bytes, in_memory: true, journal: JOURNAL })?;
    rig.start()?;
    let unlimited = replicate(&mut rig, mebibytes, None)?;
    let reached = unlimited.megabytes_per_second;
    let mut samples = vec![unlimited];
    let mut rates = Rates::from(reached);
    for _ in 0..SEARCH {
        let rate = rates.next();
        let sample = replicate(&mut rig, mebibytes, Some(rate.max(1.0) as u64))?;
        rates.tried(rate, sample.losses == Some((0, 0)));
        samples.push(sample);
    }
    let (agent, standby) = rig.peak_memory()?;
    if let Some(difference) = rig.drain_and_compare()? {
        bail!("after the runs {difference}");
    }
    rig.kill_agent();
    rig.kill_standby();
    samples.push(pipe(&rig, bytes)?);
    println!("\n{}", table(&samples));
    println!("peak memory: agent {} MiB, standby {} MiB", agent >> 20, standby >> 20);
    Ok(())
}

/// Writes the whole disk once and waits until all of it is applied.
fn replicate(rig: &mut Rig, mebibytes: u64, rate: Option<u64>) -> Result<Sample> {
    let before = rig.status()?;
    let started = Instant::now();
    let mix = Mix {
        engine: Engine::LibAio,
        direct: true,
        dsync: false,
        pattern: "write",
        sizes: "128k/100",
        depth: 16,
        jobs: 1,
        mebibytes,
    };
    mix.run_at(rig.primary().path(), mebibytes << 20, rate)?;
    rig.drain(DRAIN)?;
    let seconds = started.elapsed().as_secs_f64();
    let after = rig.status()?;
    let losses = (after.lost - before.lost, after.resynced_bytes - before.resynced_bytes);
    let name = rate.map_or("blkecho, unlimited".to_owned(), |rate| format!("blkecho, writer at {rate} MB/s"));
    println!("{name}: {seconds:.1} s, lost {}, read back {} KiB", losses.0, losses.1 >> 10);
    Ok(Sample { name, megabytes_per_second: (mebibytes << 20) as f64 / 1e6 / seconds, losses: Some(losses) })
}

/// `dd | socat`, `socat | dd` over loopback, to the same disk.
fn pipe(rig: &Rig, bytes: u64) -> Result<Sample> {
    let port = rig::free_port()?;
    let script = format!(
        "socat -u -b1048576 TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr - | \
         dd of={} bs=1M iflag=fullblock oflag=direct conv=notrunc status=none",
        rig.secondary().path().display()
    );
    let mut receiver = process::spawn(Command::new("sh").args(["-c", &script]))?;
    wait_for_listener(port)?;
    let started = Instant::now();
    let sender = format!(
        "dd if={} bs=1M iflag=direct status=none | socat -u -b1048576 - TCP:127.0.0.1:{port}",
        rig.primary().path().display()
    );
    process::output(Command::new("sh").args(["-c", &sender]))?;
    let status = process::wait_until(&mut receiver, Instant::now() + DRAIN)?.context("the pipe hangs")?;
    anyhow::ensure!(status.success(), "the receiving end of the pipe failed ({status})");
    let seconds = started.elapsed().as_secs_f64();
    Ok(Sample { name: "dd | socat | dd".into(), megabytes_per_second: bytes as f64 / 1e6 / seconds, losses: None })
}

/// Listening sockets are listed by the kernel; connecting would use the one connection up.
fn wait_for_listener(port: u16) -> Result<()> {
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    for _ in 0..100 {
        if std::fs::read_to_string("/proc/net/tcp")?.contains(&wanted) {
            return Ok(());
        }
        interrupt::sleep(Duration::from_millis(50))?;
    }
    bail!("socat does not listen on port {port}")
}

fn table(samples: &[Sample]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["run", "MB/s", "lost", "read back KiB"]);
    for sample in samples {
        let (lost, read_back) = match sample.losses {
            Some((lost, bytes)) => (lost.to_string(), (bytes >> 10).to_string()),
            None => (String::new(), String::new()),
        };
        table.add_row([sample.name.clone(), format!("{:.0}", sample.megabytes_per_second), lost, read_back]);
    }
    table
}

//! `capture`: what devices complete, into a file or a pipe.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Layer;
use agent::preflight::device::Mode;
use agent::preflight::features;
use agent::record::{Counts, Progress, RecordConfig, Recorded, Recorder};
use captures::chain::{Chain, ChainError, Fate, Limits, Place, Written};
use captures::{Device, Filtered, Lost, Section, Statistics};
use formats::{Entry, EntryHeader, Seq};
use serde_json::json;

use super::{Context, print_json};
use crate::args::Capture;
use crate::exit::{Done, Exit, Failure};
use crate::node::marks::{Marks, Socket};
use crate::node::primary::{failed, identify, named, power_of_two};
use crate::node::refuse_on_observed;
use crate::offline::io_exit;
use crate::progress::CaptureMeter;
use crate::signals::Stop;
use crate::units::{bytes, duration};

/// Between two looks at limits, signals and losses.
const TICK: Duration = Duration::from_millis(100);
/// How long a capture goes on at its end while commands seem to be in flight: more than it takes to find that they are not.
const SETTLE: Duration = Duration::from_millis(1200);
/// Where the kernel tells of itself.
const KERNEL: &str = "/proc/sys/kernel";

pub(super) fn run(args: &Capture, context: &Context) -> Done {
    let limits = limits(args)?;
    let devices = identify(&args.devices)?;
    let scratch = scratch(args, &devices)?;
    let place = place(args)?;
    place.check(&limits).map_err(refused)?;
    let config = RecordConfig {
        devices: named(&args.names, &devices)?,
        ring_bytes: args.ring_size.0 as u32,
        max_queued_bytes: args.buffer.0,
        layer: args.layer,
        filter: args.filter.filter(),
        payload: !args.no_payload,
        scratch,
        bpffs: features::BPFFS.into(),
    };
    // From here on a signal is an orderly end.
    let stop = Stop::on_signals()?;
    let recorder = Recorder::start(&config).map_err(failed)?;
    let devices = recorder.volumes().iter().map(device).collect();
    let completed = recorder.completed();
    let marks = Arc::new(Marks::new(move || (completed.last(), now_ns()), stop.clone()));
    let socket = Socket::open(&context.run_dir, Arc::clone(&marks));
    let socket = socket.inspect_err(|error| tracing::warn!("no marks can be set in this capture: {error}")).ok();
    let chain = Chain::begin(place, limits, args.zstd, section(args, &recorder), devices).map_err(refused)?;
    tracing::info!("capturing {} into {}", names(&recorder), args.output.display());
    let (last, meter) = (Seq(0), CaptureMeter::new());
    let mut session = Session { recorder, chain, marks, last, stop, meter, start: Instant::now() };
    let ended = session.observe(args.duration.map(|time| time.0));
    drop(socket);
    session.finish(ended, args)
}

/// What ended a capture.
#[derive(Debug)]
enum End {
    /// A signal, or its time was over.
    Asked,
    /// The largest size was reached.
    Full,
    /// A device went away.
    Gone(PathBuf),
    /// The output failed.
    Failed(ChainError),
}

impl End {
    /// This end, unless something worse came of what was left to do.
    fn unless(self, rest: Self) -> Self {
        if matches!(rest, Self::Asked) { self } else { rest }
    }
}

impl From<ChainError> for End {
    fn from(error: ChainError) -> Self {
        Self::Failed(error)
    }
}

/// A running capture.
struct Session {
    recorder: Recorder,
    chain: Chain,
    marks: Arc<Marks>,
    /// The last completion that was handed over.
    last: Seq,
    stop: Stop,
    meter: CaptureMeter,
    start: Instant,
}

impl Session {
    /// Captures until something ends it; what had completed by then is written.
    fn observe(&mut self, time: Option<Duration>) -> End {
        let mut ticked = Instant::now();
        loop {
            if self.stop.is_set() || time.is_some_and(|time| self.start.elapsed() >= time) {
                return self.drain();
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                match self.tick() {
                    Ok(()) => {}
                    Err(End::Gone(device)) => return End::Gone(device).unless(self.drain()),
                    Err(end) => return end,
                }
            }
            if let Err(end) = self.take() {
                return end;
            }
        }
    }

    /// Takes the probe out of the kernel, and writes what it has told.
    fn drain(&mut self) -> End {
        if let Err(end) = self.settle() {
            return end;
        }
        self.recorder.stop();
        loop {
            match self.take() {
                Ok(Progress::Ended) => {
                    return write_marks(&self.marks, &mut self.chain, Seq(u64::MAX)).err().unwrap_or(End::Asked);
                }
                Ok(_) => {}
                Err(end) => return end,
            }
        }
    }

    /// What ended unseen looks as if it were in flight, until it is found that the disk is done with it.
    fn settle(&mut self) -> Result<(), End> {
        let end = Instant::now() + SETTLE;
        while self.recorder.counts().in_flight > 0 && Instant::now() < end && self.take()? != Progress::Ended {
            self.tick()?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Progress, End> {
        let Self { recorder, chain, marks, last, .. } = self;
        let progress = recorder.take(TICK, |header, payload| {
            if let Some((first, through)) = completions(header) {
                write_marks(marks, chain, first)?;
                *last = through;
            }
            match chain.write(header, payload)? {
                Fate::Written => Ok(()),
                Fate::Full => Err(End::Full),
            }
        })?;
        // Those that nothing on its way belongs before.
        write_marks(marks, chain, last.next())?;
        Ok(progress)
    }

    fn tick(&mut self) -> Result<(), End> {
        let now = now_ns();
        for unseen in self.recorder.sweep() {
            let name = &self.recorder.volumes()[usize::from(unseen.volume.0)].name;
            self.chain.mark(now, &format!("a command ended unseen: {name}, bytes {}", unseen.range))?;
        }
        if let Some(volume) = self.recorder.gone() {
            return Err(End::Gone(volume.device.path.clone()));
        }
        let totals = statistics(&self.recorder.counts(), now);
        self.chain.tell(&totals);
        self.chain.tick(now)?;
        let (records, _, written) = self.chain.so_far();
        self.meter.show(records, written, &totals.lost);
        Ok(())
    }

    /// Writes the statistics, says what it came to, and with which code to end.
    fn finish(mut self, end: End, args: &Capture) -> Done {
        self.recorder.stop();
        let gone = matches!(&end, End::Failed(error) if error.is_reader_gone());
        // After its end nothing more belongs to a capture that is full, or that nobody reads.
        let unwritten = if matches!(end, End::Failed(_)) && !gone { self.discard() } else { 0 };
        let mut totals = statistics(&self.recorder.counts(), now_ns());
        self.chain.tell(&totals);
        let (written, closed) = self.chain.end(totals.ended_ns, unwritten);
        drop(self.meter);
        totals.lost.unwritten = written.unwritten;
        let report = Report { end: &end, written: &written, totals: &totals, seconds: self.start.elapsed() };
        report.say(args)?;
        match (end, closed) {
            (End::Failed(error), _) if !gone => Err(report_failure(&error, &written)),
            (End::Gone(path), _) => {
                Err(Failure::text(Exit::Failure, format!("{} was removed, so the capture has ended", path.display())))
            }
            (_, Err(error)) if !gone && !error.is_reader_gone() => Err(report_failure(&error, &written)),
            _ if !totals.lost.is_nothing() && !gone => Err(Failure::silent(Exit::Incomplete)),
            _ => Ok(()),
        }
    }

    /// Commands that were captured when the output had failed.
    fn discard(&mut self) -> u64 {
        let mut count = self.recorder.dropped();
        while let Ok(progress) = self.recorder.take(TICK, |_, _| Ok::<(), ()>(())) {
            match progress {
                Progress::Entries(more) => count += more,
                Progress::Nothing => {}
                Progress::Ended => break,
            }
        }
        count
    }
}

/// Writes the marks that stand before completion `next`.
fn write_marks(marks: &Marks, chain: &mut Chain, next: Seq) -> Result<(), End> {
    while let Some(mark) = marks.before(next) {
        chain.mark(mark.at_ns, &mark.text)?;
    }
    Ok(())
}

/// The first and the last completion that an entry stands for.
fn completions(header: &EntryHeader) -> Option<(Seq, Seq)> {
    match &header.entry {
        Entry::Record(record) => Some((record.seq, record.seq)),
        Entry::Gap(gap) => Some((gap.first, gap.last)),
        Entry::Region(_) => None,
    }
}

fn report_failure(error: &ChainError, written: &Written) -> Failure {
    let text = format!(
        "{error}; {} commands are in the capture, which can be read, and {} that were captured are not",
        written.records, written.unwritten
    );
    Failure::text(Exit::Failure, text)
}

/// What is said at the end.
struct Report<'a> {
    end: &'a End,
    written: &'a Written,
    totals: &'a Statistics,
    seconds: Duration,
}

impl Report<'_> {
    fn say(&self, args: &Capture) -> Done {
        if args.json {
            return print_json(&self.json());
        }
        let Written { records, payload_bytes, bytes: size, files, removed, .. } = self.written;
        eprintln!(
            "captured {records} commands with {} in {}: {} written{}{}",
            bytes(*payload_bytes),
            duration(self.seconds),
            bytes(*size),
            files.last().map(|file| format!(", {}", file.display())).unwrap_or_default(),
            if *removed > 0 { format!("; {removed} older parts removed") } else { String::new() },
        );
        let lost = self.totals.lost.words();
        eprintln!("lost: {}", if lost.is_empty() { "nothing" } else { &lost });
        let (kept_out, in_flight) = (self.totals.filtered.sum(), self.totals.in_flight);
        if kept_out > 0 {
            eprintln!("kept out by the filter: {kept_out}");
        }
        if in_flight > 0 {
            eprintln!("in flight at the end, and not captured: {in_flight}");
        }
        if let End::Full = self.end {
            eprintln!("ended because the largest size was reached");
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let ended = match self.end {
            End::Asked => "asked",
            End::Full => "full",
            End::Gone(_) => "device-gone",
            End::Failed(error) if error.is_reader_gone() => "reader-gone",
            End::Failed(_) => "output-failed",
        };
        json!({
            "ended": ended,
            "seconds": self.seconds.as_secs_f64(),
            "records": self.written.records,
            "payload_bytes": self.written.payload_bytes,
            "bytes": self.written.bytes,
            "files": self.written.files,
            "removed_parts": self.written.removed,
            "lost": self.totals.lost,
            "filtered": self.totals.filtered,
            "reads": self.totals.reads,
            "read_bytes": self.totals.read_bytes,
            "in_flight": self.totals.in_flight,
        })
    }
}

fn names(recorder: &Recorder) -> String {
    recorder.volumes().iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn refused(error: ChainError) -> Failure {
    let exit = match &error {
        ChainError::Exists(_) => Exit::Refused,
        ChainError::NoPlace { .. } => Exit::Usage,
        ChainError::Open { source, .. } => io_exit(source),
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

fn usage(text: &str) -> Failure {
    Failure::text(Exit::Usage, text)
}

fn limits(args: &Capture) -> Done<Limits> {
    power_of_two("--ring-size", Some(args.ring_size), 64 << 10, 1 << 30)?;
    let limits = Limits {
        part_bytes: args.rotate_size.map(|size| size.0),
        part_ns: args.rotate_time.map(|time| time.0.as_nanos() as u64),
        total_bytes: args.max_size.map(|size| size.0),
    };
    let sizes = [("--rotate-size", args.rotate_size), ("--max-size", args.max_size)];
    for (flag, size) in sizes.into_iter().filter_map(|(flag, size)| Some((flag, size?))) {
        if size.0 < 64 << 10 {
            return Err(usage(&format!("{flag} {size} is below 64 KiB, which some commands need alone")));
        }
    }
    let to_stdout = args.output == Path::new("-");
    if to_stdout && limits.in_parts() {
        return Err(usage("--rotate-size and --rotate-time need a file: name one with -o"));
    }
    if to_stdout && args.json {
        return Err(usage("--json and -o - both want standard output: name a file with -o"));
    }
    if args.snap_len.is_some_and(|size| u32::try_from(size.0).is_err()) {
        return Err(usage("--snap-len is 4 GiB at most, and no command is that large"));
    }
    Ok(limits)
}

fn place(args: &Capture) -> Done<Place> {
    if args.output == Path::new("-") {
        // Not by way of its line buffer.
        let stdout = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        return Ok(Place::Stream(Some(Box::new(stdout))));
    }
    Ok(Place::Path { path: args.output.clone(), replace: args.force })
}

/// Refuses an output on a captured device. Answers the directory of the output, which may be written then.
fn scratch(args: &Capture, devices: &[agent::preflight::Device]) -> Done<Option<PathBuf>> {
    let to_stdout = args.output == Path::new("-");
    // Standard output may have been turned into a file.
    let path = if to_stdout { fs::canonicalize("/proc/self/fd/1").ok() } else { Some(args.output.clone()) };
    let Some(path) = path.filter(|path| !to_stdout || path.is_file()) else { return Ok(None) };
    refuse_on_observed("the capture file", &path, devices)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.is_dir().then(|| parent.to_owned()))
}

fn section(args: &Capture, recorder: &Recorder) -> Section {
    let kernel = |name: &str| {
        fs::read_to_string(Path::new(KERNEL).join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    Section {
        program: format!("blkecho {}", env!("CARGO_PKG_VERSION")),
        host: kernel("hostname"),
        kernel: format!("{} {} {}", kernel("ostype"), kernel("osrelease"), kernel("version")),
        machine: std::env::consts::ARCH.to_owned(),
        time_zone: time_zone(),
        stream: recorder.stream().to_string(),
        started_ns: recorder.began_ns(),
        filter: recorder.filter().to_owned(),
        payload: !args.no_payload,
        snap_len: args.snap_len.map(|size| size.0 as u32),
        ..Section::default()
    }
}

/// As the environment says, or the link of /etc/localtime (tzset(3)).
fn time_zone() -> String {
    let of_link = || {
        let path = fs::canonicalize("/etc/localtime").ok()?;
        Some(path.to_str()?.split_once("/zoneinfo/")?.1.to_owned())
    };
    std::env::var("TZ").ok().filter(|zone| !zone.is_empty()).or_else(of_link).unwrap_or_default()
}

/// How a device is described in the file.
fn device(volume: &Recorded) -> Device {
    let Recorded { index, name, device, scsi, said } = volume;
    let said = said.as_ref().map(|said| said.line());
    Device {
        volume: index.0,
        name: name.clone(),
        path: device.path.display().to_string(),
        size: device.size,
        block_size: if device.tape.is_some() { 0 } else { device.logical_block },
        start: device.start,
        model: device.model.clone().or(said),
        serial: device.serial.clone(),
        address: device.scsi.map(|scsi| scsi.unit.to_string()),
        device_type: device.scsi.map(|scsi| scsi.device_type.to_byte()),
        layer: match (scsi, device.mode) {
            (true, _) => Layer::Scsi.to_string(),
            (false, Mode::BioBased) => "bio".to_owned(),
            (false, Mode::RequestBased) => "request".to_owned(),
        },
    }
}

fn statistics(counts: &Counts, now: u64) -> Statistics {
    let filtered = counts.filtered;
    Statistics {
        ended_ns: now,
        lost: Lost {
            completions: counts.completions,
            unseen: counts.unseen,
            untracked: counts.untracked,
            uncarried: counts.uncarried,
            unwritten: 0,
            payloads: counts.payloads,
        },
        filtered: Filtered {
            range: filtered.range,
            operation: filtered.operation,
            process: filtered.process,
            cgroup: filtered.cgroup,
        },
        reads: counts.reads,
        read_bytes: counts.read_bytes,
        in_flight: counts.in_flight,
        ..Statistics::default()
    }
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

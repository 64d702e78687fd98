//! `replay`: a capture applied to devices, at its own pace or another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use captures::{Device, Excerpt, ExcerptError, Expected, LeftOut, Moment, Part};
use clap::Args;
use formats::{ByteRange, Op};
use replayer::paced::{Fidelity, Options, Pace, Paced, PacedError, Quantiles, Targets};
use replayer::target::{Host, ScsiSettings, Target, open_for};
use replication::errors::OpaqueRule;
use serde::Serialize;

use super::{print, print_json};
use crate::args::VolumeArg;
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::node::standby::refuse_precious;
use crate::offline;
use crate::progress::byte_bar;
use crate::scsi::{MapArg, SCSI_TARGETS, ScsiRules};
use crate::signals::Stop;
use crate::units::{Size, bytes};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The files of one capture, in their order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What is written to, when the capture has one volume: a device or image file
    #[arg(long, value_name = "DEV", required_unless_present = "map", conflicts_with = "map")]
    to: Option<PathBuf>,
    /// What a volume is written to; volumes that are not named are left out
    #[arg(long, value_name = "NAME=DEV")]
    map: Vec<VolumeArg>,
    /// Really write: without it nothing is done
    #[arg(long)]
    write: bool,
    /// Write to targets although they hold a file system, partition table or the like
    #[arg(long)]
    overwrite: bool,
    /// How fast: 200% is twice as fast as recorded
    #[arg(long, default_value = "100%", value_name = "PERCENT", value_parser = percent)]
    speed: u32,
    /// As fast as the order allows
    #[arg(long, conflicts_with = "speed")]
    max: bool,
    /// Leave out what completed up to this moment
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "start", value_parser = offline::moment)]
    from: Moment,
    /// Leave out what completed after this moment
    #[arg(long, value_name = "TIME|SEQ|MARK", default_value = "end", value_parser = offline::moment)]
    until: Moment,
    /// Do all of it so many times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    loops: u64,
    /// Kinds of commands to leave out: write, flush, discard, write-zeroes, secure-erase, scsi
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    skip: Vec<Op>,
    /// Only commands within these blocks, of the captured device's block size: FIRST-LAST
    #[arg(long, value_name = "FIRST-LAST", value_parser = blocks)]
    lba: Vec<(u64, u64)>,
    /// Commands in flight at once, at most
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    depth: u64,
    /// Payload that is read ahead, at most
    #[arg(long, default_value = "256M", value_name = "SIZE")]
    ahead: Size,
    /// Afterwards read what was written, and compare
    #[arg(long)]
    verify: bool,
    /// Go on although the capture lacks commands or payload
    #[arg(long)]
    allow_holes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How a volume is put onto its SCSI target: blocks added to each address, the LUN it stands for; never other blocks
    #[arg(long, value_name = "NAME:lba=N,lun=N", help_heading = SCSI_TARGETS)]
    scsi_map: Vec<MapArg>,
    /// How SCSI targets are used.
    #[command(flatten, next_help_heading = SCSI_TARGETS)]
    scsi: ScsiRules,
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|percent| (1..=100_000).contains(percent));
    number.ok_or_else(|| format!("{text:?} is no speed: write a percentage from 1% to 100000%, or --max"))
}

fn kind(text: &str) -> Result<Op, String> {
    let names: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
    let op = Op::ALL.into_iter().find(|op| op.name() == text);
    op.ok_or_else(|| format!("{text:?} is no kind: there are {}", names.join(", ")))
}

fn blocks(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("{text:?} is no range of blocks: write FIRST-LAST, such as 0-2047")),
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    fidelity: Fidelity,
    left_out: LeftOut,
    verified: Option<Verified>,
}

/// What a comparison afterwards found.
#[derive(Debug, Clone, Default, Serialize)]
struct Verified {
    bytes: u64,
    differing_bytes: u64,
    /// The first stretch that differs: volume, first byte, bytes.
    first: Option<(String, u64, u64)>,
}

pub(super) fn run(args: &Replay) -> Done {
    if !args.write {
        return Err(Failure::text(
            Exit::Usage,
            "nothing was written: say --write if all that the capture changed may be written to the target",
        ));
    }
    offline::refuse_stdin(&args.files)?;
    let stop = Stop::on_signals()?;
    // With a volume to be chosen, the capture is looked at before any target is.
    let probe = Excerpt::open(&args.files, part(args, Vec::new(), &[])).map_err(failed)?;
    let volumes = volumes(args, probe.devices())?;
    let part = part(args, volumes.iter().map(|(device, _)| device.volume).collect(), probe.devices());
    drop(probe);
    let targets = targets(args, &volumes)?;
    let (fidelity, left_out) = replay(args, &part, &targets, &stop)?;
    let verified = args.verify.then(|| verify(args, &part, &volumes, &targets)).transpose()?;
    let differs = verified.as_ref().is_some_and(|verified| verified.differing_bytes > 0);
    tell(args.json, Told { fidelity, left_out, verified })?;
    if differs { Err(Failure::silent(Exit::Different)) } else { Ok(()) }
}

fn part(args: &Replay, volumes: Vec<u16>, devices: &[Device]) -> Part {
    let block = devices.iter().find(|device| volumes.contains(&device.volume)).map_or(512, |device| device.block_size);
    let block = u64::from(block.max(1));
    let range = |(first, last): &(u64, u64)| {
        ByteRange::new(first.saturating_mul(block), (last - first).saturating_add(1).saturating_mul(block))
    };
    Part {
        from: args.from.clone(),
        until: args.until.clone(),
        skip: args.skip.clone(),
        ranges: args.lba.iter().map(range).collect(),
        volumes,
        allow_holes: args.allow_holes,
    }
}

/// The volumes that are replayed, each with what it is written to.
fn volumes(args: &Replay, devices: &[Device]) -> Done<Vec<(Device, PathBuf)>> {
    let names = || devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ");
    let usage = |text: String| Failure::text(Exit::Usage, text);
    if let Some(to) = &args.to {
        return match devices {
            [only] => Ok(vec![(only.clone(), to.clone())]),
            _ => Err(usage(format!("the capture has several volumes ({}): name each with --map NAME=DEV", names()))),
        };
    }
    let named = |VolumeArg { name, path }: &VolumeArg| {
        let device = devices.iter().find(|device| device.name == *name);
        let device = device.ok_or_else(|| usage(format!("the capture has no volume {name}; it has {}", names())))?;
        Ok((device.clone(), path.clone()))
    };
    args.map.iter().map(named).collect()
}

/// What is said about SCSI targets.
fn scsi_settings(args: &Replay, volumes: &[(Device, PathBuf)]) -> Done<ScsiSettings> {
    let settings = args.scsi.settings(&args.scsi_map)?;
    if settings.policy.opaque == OpaqueRule::ReRead {
        let text = "a replay has no primary to read again: use --opaque stop, ignore or issue";
        return Err(Failure::text(Exit::Usage, text));
    }
    match settings.mappings.keys().find(|name| volumes.iter().all(|(device, _)| device.name != **name)) {
        Some(name) => Err(Failure::text(Exit::Usage, format!("--scsi-map names {name}, which is not replayed"))),
        None => Ok(settings),
    }
}

/// Opens the targets, by the rules of a standby.
fn targets(args: &Replay, volumes: &[(Device, PathBuf)]) -> Done<Targets> {
    let settings = scsi_settings(args, volumes)?;
    let mut targets = BTreeMap::new();
    for (device, path) in volumes {
        refuse_captures(path, &args.files)?;
        if !args.overwrite {
            let volume = VolumeArg { name: device.name.clone(), path: path.clone() };
            refuse_precious(&[volume], Path::new("/nonexistent"))?;
        }
        let target = open_for(path, &Host::default(), &device.name, &settings).or_exit(Exit::Refused)?;
        if target.size() < device.size {
            let text = format!(
                "{} has {} bytes, and {} had {}: use a target at least as large",
                path.display(),
                target.size(),
                device.name,
                device.size
            );
            return Err(Failure::text(Exit::Refused, text));
        }
        targets.insert(device.volume, target);
    }
    Ok(targets)
}

/// A capture is not written over by its own replay.
fn refuse_captures(path: &Path, files: &[PathBuf]) -> Done {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    match files.iter().any(|file| real(file).is_some() && real(file) == real(path)) {
        true => Err(Failure::text(Exit::Refused, format!("{} is the capture itself", path.display()))),
        false => Ok(()),
    }
}

fn replay(args: &Replay, part: &Part, targets: &Targets, stop: &Stop) -> Done<(Fidelity, LeftOut)> {
    let pace = if args.max { Pace::Max } else { Pace::Percent(args.speed) };
    let options = Options { pace, depth: args.depth as usize, ahead: args.ahead.0 };
    let mut paced = Paced::start(targets.clone(), options).map_err(paced_failed)?;
    let mut left_out = LeftOut::default();
    for _ in 0..args.loops {
        let mut excerpt = Excerpt::open(&args.files, part.clone()).map_err(failed)?;
        let bar = byte_bar("replay", excerpt.progress().1);
        let mut feed = || {
            let entry = excerpt.next_entry()?;
            bar.set_position(excerpt.progress().0);
            Ok(entry.map(|entry| (entry.header, [entry.content, entry.trailer].concat().into())))
        };
        let done = paced.run(&mut feed, &mut || !stop.is_set());
        bar.finish_and_clear();
        done.map_err(paced_failed)?;
        left_out = excerpt.left_out();
    }
    Ok((paced.finish().map_err(paced_failed)?, left_out))
}

fn failed(error: ExcerptError) -> Failure {
    let exit = match &error {
        ExcerptError::Series(error) => offline::series_exit(error),
        ExcerptError::Image(error) => offline::image_exit(error),
        ExcerptError::Moment(_) => Exit::Usage,
        ExcerptError::NoPayload | ExcerptError::Hole { .. } => Exit::Refused,
    };
    Failure::new(exit, error)
}

fn paced_failed(error: PacedError) -> Failure {
    match error {
        PacedError::Interrupted => Failure::interrupted(),
        PacedError::Feed(error) => match error.downcast::<ExcerptError>() {
            Ok(error) => failed(*error),
            Err(error) => Failure::text(Exit::Failure, error),
        },
        other => Failure::new(Exit::Failure, other),
    }
}

/// Bytes that are compared at once.
const AT_ONCE: u64 = 1 << 20;

fn verify(args: &Replay, part: &Part, volumes: &[(Device, PathBuf)], targets: &Targets) -> Done<Verified> {
    let folder = tempfile::tempdir()?;
    let mut excerpt = Excerpt::open(&args.files, part.clone()).map_err(failed)?;
    let expected = Expected::gather(&mut excerpt, folder.path()).map_err(failed)?;
    let mut verified = Verified::default();
    for (device, _) in volumes {
        let (Some((image, ranges)), Some(target)) = (expected.of(device.volume), targets.get(&device.volume)) else {
            continue;
        };
        for range in ranges {
            compare(&device.name, image, target, range, &mut verified)?;
        }
    }
    Ok(verified)
}

fn compare(
    name: &str,
    image: &captures::Image,
    target: &Arc<dyn Target>,
    range: ByteRange,
    verified: &mut Verified,
) -> Done {
    let mut offset = range.offset;
    while offset < range.end() {
        let len = (range.end() - offset).min(AT_ONCE);
        let (mut want, mut found) = (vec![0; len as usize], vec![0; len as usize]);
        image.read(offset, &mut want)?;
        target.read(offset, &mut found)?;
        let differing = want.iter().zip(&found).filter(|(want, found)| want != found).count() as u64;
        if differing > 0 {
            verified.first.get_or_insert((name.to_owned(), offset, len));
        }
        verified.bytes += len;
        verified.differing_bytes += differing;
        offset += len;
    }
    Ok(())
}

fn tell(json: bool, told: Told) -> Done {
    if json { print_json(&told) } else { print(&words(&told)) }
}

fn words(told: &Told) -> String {
    let Told { fidelity, left_out, verified } = told;
    let mut text = format!(
        "{} commands, {}, in {:.3} s (recorded: {:.3} s)\n",
        fidelity.entries,
        bytes(fidelity.bytes),
        fidelity.seconds,
        fidelity.recorded_seconds
    );
    if let Some(error) = &fidelity.issue_error {
        text += &format!("issued late by   {}\n", quantiles(error));
        text += &format!("late because a command before it took longer than recorded: {}\n", fidelity.late_for_order);
    }
    text += &format!("latency          {}\n", quantiles(&fidelity.latency));
    text += &format!("latency recorded {}\n", quantiles(&fidelity.recorded_latency));
    text += &format!(
        "in flight at most {:.1} on average of {:.0} ms (recorded: {:.1} of {:.0} ms)\n",
        fidelity.depth.most,
        fidelity.depth.stretch_seconds * 1e3,
        fidelity.recorded_depth.most,
        fidelity.recorded_depth.stretch_seconds * 1e3
    );
    text += &not_done(fidelity, left_out);
    match verified {
        None => text,
        Some(Verified { bytes: compared, differing_bytes: 0, .. }) => {
            text + &format!("verified: {} written, all as they should be\n", bytes(*compared))
        }
        Some(Verified { bytes: compared, differing_bytes, first }) => {
            let place = first.iter().map(|(name, at, _)| format!(", first on {name} at {at}")).collect::<String>();
            text + &format!("verified: {differing_bytes} bytes of {compared} DIFFER{place}\n")
        }
    }
}

fn not_done(fidelity: &Fidelity, left_out: &LeftOut) -> String {
    let counts = [
        (left_out.skipped, "left out by kind"),
        (left_out.outside, "left out by place"),
        (left_out.other_volumes, "of other volumes"),
        (left_out.holes, "missing in the capture"),
        (fidelity.failed_on_primary, "had failed when they were recorded"),
        (fidelity.not_replayable, "of an effect that is not known"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}\n")).collect()
}

fn quantiles(times: &Quantiles) -> String {
    let Quantiles { median_us, p90_us, p99_us, max_us } = times;
    format!("median {median_us:.0} µs, p90 {p90_us:.0} µs, p99 {p99_us:.0} µs, max {max_us:.0} µs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_arguments() {
        assert_eq!((percent("200%"), percent("50")), (Ok(200), Ok(50)));
        assert!(percent("0%").is_err() && percent("fast").is_err());
        assert_eq!((kind("flush"), kind("write")), (Ok(Op::Flush), Ok(Op::Write)));
        assert!(kind("read").unwrap_err().contains("write-zeroes"));
        assert_eq!((blocks("0-2047"), blocks("5")), (Ok((0, 2047)), Ok((5, 5))));
        assert!(blocks("9-1").is_err() && blocks("x").is_err());
    }
}

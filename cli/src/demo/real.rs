//! The demo on loop devices with the real probe.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use super::files;
use super::machine::{Loop, Mounted, Service, call, require_space, tool};
use super::meter::{LOOK_EVERY, LagMeter};
use super::report::Report;
use super::workload::Workload;
use crate::args::{Demo, GroupName};
use crate::commands::verify::compare_paths;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::control::{Role, socket};
use crate::exit::{Done, Exit, Failure};
use crate::node::view::View;
use crate::signals::Stop;

/// Size of each device, in bytes.
const DEVICE: u64 = 768 << 20;
/// Room that the demo needs: both devices and both journals.
const ROOM: u64 = 3 << 30;
/// How long a service may take to answer, and the copies to become equal.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that is borrowed. Fields are dropped in this order: what stands on top first.
struct Stage {
    primary: Option<Service>,
    _probe: Probe,
    standby: Option<Service>,
    source: Loop,
    target: Loop,
    place: Place,
}

/// Where it happens.
struct Place {
    dir: PathBuf,
    group: GroupName,
    /// None when the directory is to stay.
    _guard: Option<TempDir>,
}

/// Takes the probe out of the kernel, should the agent not have done it.
struct Probe {
    run_dir: PathBuf,
    group: String,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let detach = own(&self.run_dir).and_then(|mut own| call(own.args(["detach", "--group", &self.group])));
        if let Err(error) = detach {
            tracing::debug!("detach: {error:#}");
        }
    }
}

/// This program itself, with the demo's run directory.
fn own(run_dir: &Path) -> anyhow::Result<Command> {
    let mut command = tool(&std::env::current_exe()?.to_string_lossy());
    command.args(["--config", "/dev/null", "--run-dir"]).arg(run_dir);
    Ok(command)
}

/// Runs it.
pub(super) fn run(args: &Demo, stop: &Stop) -> Done<Report> {
    let mut stage = Stage::build(args, stop)?;
    let mut meter = LagMeter::new(stage.socket(Role::Primary))?;
    wait_equal(&mut meter, stop, "first copy")?;
    let report = work(&mut stage, &mut meter, args, stop)?;
    drop(meter);
    let report = stage.stop_services().and_then(|()| judge(&stage, report, stop))?;
    if args.keep {
        println!("images and logs are in {}", stage.place.dir.display());
    }
    Ok(report)
}

impl Place {
    fn new(keep: bool) -> anyhow::Result<Self> {
        let guard = tempfile::Builder::new().prefix("blkecho-demo-").tempdir()?;
        require_space(guard.path(), ROOM)?;
        let dir = guard.path().to_owned();
        let group = GroupName(format!("demo-{}", std::process::id()));
        let _guard = if keep {
            drop(guard.keep());
            None
        } else {
            Some(guard)
        };
        Ok(Self { dir, group, _guard })
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn socket(&self, role: Role) -> PathBuf {
        socket(&self.run_dir(), role, &self.group)
    }
}

impl Stage {
    fn build(args: &Demo, stop: &Stop) -> Done<Self> {
        let place = Place::new(args.keep)?;
        let source = Loop::new(&place.dir.join("primary.img"), DEVICE)?;
        let target = Loop::new(&place.dir.join("standby.img"), DEVICE)?;
        println!("observing {}, copying to {}", source.device.display(), target.device.display());
        let _probe = Probe { run_dir: place.run_dir(), group: place.group.0.clone() };
        let mut stage = Self { primary: None, _probe, standby: None, source, target, place };
        let address = stage.start_standby(stop)?;
        stage.start_primary(&address, stop)?;
        Ok(stage)
    }

    fn socket(&self, role: Role) -> PathBuf {
        self.place.socket(role)
    }

    /// Starts the standby and answers where it listens.
    fn start_standby(&mut self, stop: &Stop) -> Done<String> {
        let place = &self.place;
        let mut command = own(&place.run_dir())?;
        command.args(["standby", "--listen", "127.0.0.1:0", "--journal-size", "512M", "--group", &place.group.0]);
        command.arg("--dir").arg(place.dir.join("standby"));
        command.arg("--volume").arg(format!("demo={}", self.target.device.display()));
        let mut service = Service::start("standby", &place.dir, &mut command)?;
        let status = first_status(&mut service, &place.socket(Role::Standby), stop)?;
        self.standby = Some(service);
        Ok(status["listen"].as_str().context("the standby does not say where it listens")?.to_owned())
    }

    fn start_primary(&mut self, address: &str, stop: &Stop) -> Done {
        let place = &self.place;
        let mut command = own(&place.run_dir())?;
        command.arg("attach").arg(&self.source.device).args(["--name", "demo", "--to", address, "--detach-on-exit"]);
        command.args(["--journal-size", "512M", "--group", &place.group.0]).arg("--dir").arg(place.dir.join("primary"));
        let mut service = Service::start("attach", &place.dir, &mut command)?;
        let status = first_status(&mut service, &place.socket(Role::Primary), stop);
        self.primary = Some(service);
        status.map(drop)
    }

    /// Fails if one of the services ended.
    fn check(&mut self) -> anyhow::Result<()> {
        self.primary.iter_mut().chain(&mut self.standby).try_for_each(Service::check)
    }

    fn stop_services(&mut self) -> Done {
        let services = [self.primary.take(), self.standby.take()];
        Ok(services.into_iter().flatten().try_for_each(Service::stop)?)
    }
}

/// Waits until a service answers.
fn first_status(service: &mut Service, socket: &Path, stop: &Stop) -> Done<serde_json::Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        service.check()?;
        match Client::connect(socket).and_then(|client| client.ask(Request::Status)) {
            Ok(status) => return Ok(status),
            Err(failure) if Instant::now() >= end => return Err(failure),
            Err(_) if stop.wait(LOOK_EVERY) => return Err(Failure::interrupted()),
            Err(_) => {}
        }
    }
}

/// Waits until nothing is dirty and nothing lags.
fn wait_equal(meter: &mut LagMeter, stop: &Stop, what: &str) -> Done<View> {
    let end = Instant::now() + PATIENCE;
    loop {
        let view = meter.look(what)?;
        if view.data == "UpToDate" && view.dirty == 0 && view.lag_entries == 0 {
            return Ok(view);
        }
        if Instant::now() >= end {
            let text = format!("{what}: not equal within {PATIENCE:?}: {}", view.line());
            return Err(Failure::text(Exit::Unreachable, text));
        }
        if stop.wait(LOOK_EVERY) {
            return Err(Failure::interrupted());
        }
    }
}

/// File system, workload, and the wait for the standby. The mount is gone at the end.
fn work(stage: &mut Stage, meter: &mut LagMeter, args: &Demo, stop: &Stop) -> Done<Report> {
    let before = meter.look("mkfs")?;
    meter.reset();
    let begin = Instant::now();
    call(tool("mkfs.ext4").arg("-q").arg(&stage.source.device))?;
    let mounted = Mounted::new(&stage.source.device, &stage.place.dir.join("mnt"), "rw")?;
    let workload = Workload::start(&mounted.point)?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        stage.check()?;
        meter.look("workload")?;
        if stop.wait(LOOK_EVERY) {
            return Err(Failure::interrupted());
        }
    }
    workload.finish()?;
    mounted.unmount()?;
    let took = begin.elapsed();
    let lag = (meter.lag_at(50.0), meter.lag_at(99.0));
    meter.say("workload done and unmounted; draining");
    drain(stage)?;
    let after = wait_equal(meter, stop, "drain")?;
    let generations = meter.status()?["generations"].as_u64();
    Ok(difference(&before, after, took, lag, generations))
}

fn drain(stage: &Stage) -> Done {
    let client = Client::connect(&stage.socket(Role::Primary))?;
    let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    client.ask_within(Request::Drain { timeout_ms }, Some(PATIENCE * 2), &mut |_, _| {}).map(drop)
}

fn difference(before: &View, after: View, took: Duration, lag: (String, String), generations: Option<u64>) -> Report {
    Report {
        commands: after.entries - before.entries,
        bytes: after.bytes - before.bytes,
        took,
        lag,
        generations,
        lost: after.lost,
        read_back: after.read_back,
        resynced: after.resynced - before.resynced,
        ..Report::default()
    }
}

/// Compares bytes, checks the copy's file system, and compares its files.
fn judge(stage: &Stage, mut report: Report, stop: &Stop) -> Done<Report> {
    let (source, target) = (&stage.source.device, &stage.target.device);
    let bytes = compare_paths(source, target, stop)?;
    (report.compared, report.differing) = (bytes.bytes, bytes.differing_bytes);
    report.fsck = Some(fsck(target)?);
    let options = "ro,noload";
    let a = Mounted::new(source, &stage.place.dir.join("a"), options)?;
    let b = Mounted::new(target, &stage.place.dir.join("b"), options)?;
    let tree = files::compare(&a.point, &b.point)?;
    tree.different.iter().take(10).for_each(|path| println!("differs: {}", path.display()));
    report.files = Some((tree.files, tree.different.len()));
    Ok(report)
}

fn fsck(device: &Path) -> anyhow::Result<String> {
    let output = tool("e2fsck").args(["-f", "-n"]).arg(device).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(if output.status.success() { "clean".to_owned() } else { text.trim().to_owned() })
}

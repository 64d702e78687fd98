//! A primary: the agent, and its answers to the control socket.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use agent::preflight::{Device, DeviceError, Host, features};
use agent::{Agent, AgentConfig, AgentError, ErrorClass, NamedDevice};
use serde_json::Value;

use super::{json, refuse_on_observed};
use crate::args::{Attach, GroupName};
use crate::control::server::Service;
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::signals::Stop;
use crate::units::Size;

/// Bytes of one segment of the journal.
pub(crate) const SEGMENT_BYTES: u64 = 32 << 20;
/// Smallest journal: several of its segments.
const MIN_JOURNAL_BYTES: u64 = 2 * SEGMENT_BYTES;
/// How long running requests may delay the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// A running agent.
pub(crate) struct Primary {
    agent: RwLock<Option<Arc<Agent>>>,
    stop: Stop,
}

/// An agent's error with the exit code for it.
pub(crate) fn failed(error: AgentError) -> Failure {
    let exit = match error.class() {
        ErrorClass::Usage => Exit::Usage,
        ErrorClass::NotPermitted => Exit::NotPermitted,
        ErrorClass::Unreachable => Exit::Unreachable,
        ErrorClass::Refused => Exit::Refused,
        ErrorClass::Failure => Exit::Failure,
    };
    Failure::new(exit, error)
}

/// What `attach` is told, complete and checked as far as this needs no privileges.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: AgentConfig,
    pub(crate) devices: Vec<Device>,
    pub(crate) group: GroupName,
}

impl Plan {
    /// Fills defaults, looks at the devices and where the journal would live.
    pub(crate) fn new(args: &Attach) -> Done<Self> {
        if args.to.is_empty() {
            return Err(usage("name the standby with --to HOST:PORT, and each further one with another --to"));
        }
        args.to.iter().try_for_each(|to| check_address(&to.0.address, args.insecure))?;
        check_sizes(args)?;
        let (filter, identical) = (args.filter.filter(), args.assume_identical);
        filter.check_replication(args.partial, identical).map_err(|error| failed(error.into()))?;
        let devices = identify(&args.devices)?;
        let group = args.group.clone().unwrap_or_default();
        let dir = args.dir.clone().unwrap_or_else(|| default_dir(&group));
        refuse_on_observed("the journal", &dir, &devices)?;
        let config = AgentConfig {
            group: group.0.clone(),
            devices: named(&args.names, &devices)?,
            to: args.to.iter().map(|to| to.0.clone()).collect(),
            forget: args.forget.clone(),
            dir,
            journal_bytes: args.journal_size.unwrap_or(Size(1 << 30)).0,
            segment_bytes: SEGMENT_BYTES,
            sync: args.sync.unwrap_or_default().0,
            ring_bytes: args.ring_size.unwrap_or(Size(64 << 20)).0 as u32,
            region_bytes: args.region_size.unwrap_or(Size(64 << 10)).0 as u32,
            insecure: args.insecure,
            assume_identical: args.assume_identical,
            layer: args.layer.unwrap_or_default(),
            filter,
            partial: args.partial,
            bpffs: features::BPFFS.into(),
        };
        Ok(Self { config, devices, group })
    }
}

fn default_dir(group: &GroupName) -> PathBuf {
    Path::new("/var/lib/blkecho").join(&group.0).join("primary")
}

fn usage(text: &str) -> Failure {
    Failure::text(Exit::Usage, text)
}

/// A name that cannot be resolved now may be later: the link goes on trying, and `status` says so.
fn check_address(to: &str, insecure: bool) -> Done {
    super::check_host_port("--to", to)?;
    let addresses: Vec<_> = to.to_socket_addrs().into_iter().flatten().collect();
    if insecure || addresses.iter().all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    let text = "is not a loopback address, and the link is neither encrypted nor authenticated: pass --insecure if the \
                network between is trusted, or go through a tunnel";
    Err(Failure::text(Exit::Refused, format!("{to} {text}")))
}

fn check_sizes(args: &Attach) -> Done {
    let journal = args.journal_size.unwrap_or(Size(1 << 30));
    if journal.0 < MIN_JOURNAL_BYTES {
        return Err(usage(&format!("--journal-size {journal} is below {}", Size(MIN_JOURNAL_BYTES))));
    }
    power_of_two("--ring-size", args.ring_size, 64 << 10, 1 << 30)?;
    power_of_two("--region-size", args.region_size, 4096, 16 << 20)
}

pub(crate) fn power_of_two(flag: &str, size: Option<Size>, min: u64, max: u64) -> Done {
    match size {
        Some(Size(bytes)) if !bytes.is_power_of_two() || !(min..=max).contains(&bytes) => {
            let (min, max) = (Size(min), Size(max));
            Err(usage(&format!("{flag} {bytes} is not a power of two from {min} to {max}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn identify(paths: &[PathBuf]) -> Done<Vec<Device>> {
    if paths.is_empty() {
        return Err(usage("name a device to observe, such as /dev/sdb"));
    }
    let devices = paths.iter().map(|path| Device::identify(path)).collect::<Result<Vec<_>, _>>().map_err(no_device)?;
    match devices
        .iter()
        .enumerate()
        .find(|(at, device)| devices[..*at].iter().any(|other| other.number == device.number))
    {
        Some((_, twice)) => Err(usage(&format!("{} is named twice", twice.name))),
        None => Ok(devices),
    }
}

fn no_device(error: DeviceError) -> Failure {
    let exit = match error {
        DeviceError::Zoned { .. } => Exit::Refused,
        DeviceError::Unreadable { .. } => Exit::NotPermitted,
        _ => Exit::Usage,
    };
    Failure::new(exit, error)
}

pub(crate) fn named(names: &[String], devices: &[Device]) -> Done<Vec<NamedDevice>> {
    if names.len() > devices.len() {
        return Err(usage(&format!("{} names for {} devices", names.len(), devices.len())));
    }
    let name = |at: usize, device: &Device| names.get(at).unwrap_or(&device.name).clone();
    let all = devices.iter().enumerate();
    Ok(all.map(|(at, device)| NamedDevice { name: name(at, device), path: device.path.clone() }).collect())
}

impl Primary {
    /// Checks this machine and starts the agent.
    pub(crate) fn start(config: AgentConfig, stop: Stop) -> Done<Self> {
        let host = Host::default();
        features::require(&features::check_machine(&host)).or_exit(Exit::NotPermitted)?;
        features::ensure_bpffs(&config.bpffs, &host).or_exit(Exit::NotPermitted)?;
        let agent = Agent::start(config).map_err(failed)?;
        Ok(Self { agent: RwLock::new(Some(Arc::new(agent))), stop })
    }

    fn agent(&self) -> Done<Arc<Agent>> {
        let agent = self.agent.read().unwrap_or_else(PoisonError::into_inner);
        agent.clone().ok_or_else(|| Failure::text(Exit::Unreachable, "the agent is stopping"))
    }

    /// Ends the agent; its probe stays pinned and goes on to remember what changes.
    pub(crate) fn finish(&self) -> Done {
        let taken = self.agent.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut agent) = taken else { return Ok(()) };
        let end = Instant::now() + LAST_REQUESTS;
        loop {
            agent = match Arc::try_unwrap(agent) {
                Ok(agent) => return agent.stop().map_err(failed),
                Err(shared) if Instant::now() < end => shared,
                // A request is still running. The journal is as safe as after a kill.
                Err(_) => return Err(Failure::text(Exit::Failure, "a running request prevented a clean stop")),
            };
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Service for Primary {
    fn status(&self) -> Done<Value> {
        json(&self.agent()?.status())
    }

    fn drain(&self, timeout: Duration) -> Done<Value> {
        json(&self.agent()?.drain(timeout).map_err(failed)?)
    }

    fn wait_sync(&self, timeout: Duration) -> Done<Value> {
        json(&self.agent()?.wait_sync(timeout).map_err(failed)?)
    }

    fn mark(&self, _: &str) -> Done<Value> {
        Err(usage("marks are set in captures only"))
    }

    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Done<Value> {
        json(&self.agent()?.verify(progress).map_err(failed)?)
    }

    fn stop(&self) {
        self.stop.set();
    }
}

/// Takes the probe of a group out of the kernel.
pub(crate) fn detach(group: &GroupName) -> Done<Value> {
    json(&agent::detach(&group.0, Path::new(features::BPFFS)).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::filter::FilterArgs;

    fn refusal(args: Attach) -> Failure {
        Plan::new(&args).unwrap_err()
    }

    #[test]
    fn wrong_arguments_are_named_before_anything_is_touched() {
        let to = vec!["127.0.0.1:1".parse().unwrap()];
        let far =
            Attach { to: vec!["127.0.0.1:1".parse().unwrap(), "192.0.2.1:1".parse().unwrap()], ..Attach::default() };
        assert_eq!(refusal(far).exit, Exit::Refused);
        let no_port = Attach { to: vec!["host".parse().unwrap()], ..Attach::default() };
        assert!(refusal(no_port).to_string().contains("HOST:PORT"));
        assert!(refusal(Attach::default()).to_string().contains("--to"));
        assert!(refusal(Attach { to: to.clone(), ..Attach::default() }).to_string().contains("name a device"));
        let filter = FilterArgs { comm: vec!["fio".parse().unwrap()], ..FilterArgs::default() };
        let drops = refusal(Attach { to: to.clone(), filter, ..Attach::default() });
        assert!(drops.exit == Exit::Refused && drops.to_string().contains("Add --partial"), "{drops}");
        let partial = refusal(Attach { to: to.clone(), partial: true, ..Attach::default() });
        assert!(partial.exit == Exit::Usage && partial.to_string().contains("there is none"), "{partial}");
        let ring = Attach { to: to.clone(), ring_size: Some(Size(3 << 20)), ..Attach::default() };
        assert!(refusal(ring).to_string().contains("power of two from 64.00 KiB to 1.00 GiB"));
        let journal = Attach { to: to.clone(), journal_size: Some(Size(1)), ..Attach::default() };
        assert!(refusal(journal).to_string().contains("--journal-size"));
        let gone = refusal(Attach { to, devices: vec!["/dev/none".into()], ..Attach::default() });
        assert_eq!(gone.exit, Exit::Usage);
    }
}

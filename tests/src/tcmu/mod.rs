//! A simulated SCSI device behind the kernel's own SCSI stack.
//!
//! Linux's target (LIO) hands every command of a backstore of the kind "user" to a program (TCMU, `target_core_user`), and
//! its loopback fabric (`tcm_loop`) shows that backstore as a device of a SCSI host of this machine: with a real `/dev/sdX`
//! or `/dev/nstN`, `/dev/sgN` and `/dev/bsg` node, behind the real mid-layer, `sd`, `st` and error handling. What executes
//! the commands is [`SimulatedDevice`], so that there are disks and tapes that do what `scsi_debug` does not.
//!
//! What the path cannot carry: host statuses of a transport, and how much of data-out was taken.

mod area;
mod control;
mod ring;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use formats::scsi::{DeviceType, Direction, HostStatus, Outcome, decode};
use replayer::scsi::simulated::{Nexus, Settings, SimulatedDevice};
use replayer::scsi::{Data, Request, ScsiDevice as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use control::{OrderError, listen, obey};

use self::ring::{Answer, Entry, Ring, SENSE_BYTES};

/// Where the kernel lists UIO devices.
const UIO: &str = "/sys/class/uio";
/// The simulated device ends a command for which it was told to be late as one that took longer than this.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Such a command is answered after this long: its initiator, which waits 7 seconds at most, has given up by then, and the
/// kernel waits for the answer before it goes on.
const HELD: Duration = Duration::from_secs(9);

/// Executes what the kernel has for one backstore.
#[derive(Debug)]
pub struct Server {
    ring: Ring,
    initiator: Nexus,
    kind: DeviceType,
    clock: Instant,
    /// Commands that are not answered before their time, in its order.
    held: Vec<(Instant, Entry, Answer)>,
}

impl Server {
    /// Takes over the backstore of this name, which must have been enabled.
    ///
    /// # Errors
    /// When there is none, or its ring cannot be mapped.
    pub fn open(backstore: &str, settings: Settings) -> io::Result<Self> {
        let node = find(backstore)?;
        let text = fs::read_to_string(node.join("maps/map0/size"))?;
        let size = usize::from_str_radix(text.trim().trim_start_matches("0x"), 16).map_err(io::Error::other)?;
        let name = node.file_name().unwrap_or_default();
        let device = File::options().read(true).write(true).open(Path::new("/dev").join(name))?;
        let kind = settings.device_type();
        let initiator = SimulatedDevice::new(settings)?.nexus();
        Ok(Self { ring: Ring::open(device, size)?, initiator, kind, clock: Instant::now(), held: Vec::new() })
    }

    /// The device that executes the commands.
    #[must_use]
    pub const fn device(&self) -> &SimulatedDevice {
        self.initiator.device()
    }

    /// Executes commands until something fails.
    ///
    /// # Errors
    /// When the kernel takes the ring away.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            if self.wait()? {
                self.ring.woken()?;
            }
            while let Some(entry) = self.ring.next()? {
                self.execute(entry)?;
            }
            self.release()?;
            self.ring.wake()?;
        }
    }

    /// Waits for commands, or for one to be answered late; whether there are any.
    fn wait(&self) -> io::Result<bool> {
        let until = self.held.iter().map(|(due, ..)| due.saturating_duration_since(Instant::now())).min();
        let until = until.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let mut waiting = [PollFd::new(self.ring.device(), PollFlags::IN)];
        match poll(&mut waiting, until.as_ref()) {
            Err(rustix::io::Errno::INTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }

    /// Answers commands that were held long enough.
    fn release(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while self.held.first().is_some_and(|(due, ..)| *due <= now) {
            let (_, entry, answer) = self.held.remove(0);
            self.ring.answer(&entry, answer)?;
        }
        Ok(())
    }

    fn execute(&mut self, entry: Entry) -> io::Result<()> {
        self.pass_time();
        let reads = decode(&entry.cdb, self.kind).is_ok_and(|command| command.direction() == Direction::In);
        let mut bytes = if reads { vec![0; entry.len()] } else { self.ring.gather(&entry)? };
        let data = match (reads, bytes.is_empty()) {
            (_, true) => Data::None,
            (true, false) => Data::In(&mut bytes),
            (false, false) => Data::Out(&bytes),
        };
        let outcome = self.initiator.execute(Request { cdb: &entry.cdb, data, timeout: PATIENCE })?;
        let moved = (entry.len() as u32).saturating_sub(outcome.residual);
        let read = (reads && entry.len() > 0).then_some(moved);
        if let Some(moved) = read {
            self.ring.scatter(&entry, &bytes[..moved as usize])?;
        }
        let answer = Answer { status: outcome.status.to_byte(), sense: sense_of(&outcome), read };
        if outcome.host == HostStatus::TimeOut {
            self.held.push((Instant::now() + HELD, entry, answer));
            return Ok(());
        }
        self.ring.answer(&entry, answer)
    }

    /// The simulated device counts time; here it is the real one.
    fn pass_time(&mut self) {
        let now = Instant::now();
        self.initiator.device().advance(now - self.clock);
        self.clock = now;
    }
}

fn sense_of(outcome: &Outcome) -> [u8; SENSE_BYTES] {
    let mut bytes = [0; SENSE_BYTES];
    if let Some(sense) = outcome.sense.map(|sense| sense.encode()) {
        let len = sense.len().min(SENSE_BYTES);
        bytes[..len].copy_from_slice(&sense[..len]);
    }
    bytes
}

/// The UIO device of a backstore: its name is `tcm-user/HBA/BACKSTORE/CONFIGURATION`.
fn find(backstore: &str) -> io::Result<PathBuf> {
    for node in fs::read_dir(UIO)? {
        let path = node?.path();
        let name = fs::read_to_string(path.join("name"))?;
        let mut parts = name.trim().split('/');
        if parts.next() == Some("tcm-user") && parts.nth(1) == Some(backstore) {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no backstore {backstore} is enabled")))
}

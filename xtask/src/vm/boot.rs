//! One machine: its disks, its emulator, its console.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::vm::console::{Console, Results};
use crate::{interrupt, process};

/// Size of each disk in bytes.
const DISK_BYTES: u64 = 72 << 20;
/// Virtio disks of a guest: `/dev/vda`, `/dev/vdb`, `/dev/vdc`.
const DISKS: [&str; 3] = ["a", "b", "c"];
/// The file of the last one, in the folder of the machine.
pub(crate) const LAST_DISK: &str = "disk-c";
/// Disks of a virtio SCSI adapter, whose driver a script loads when it wants them; behind them is a CD-ROM.
const SCSI_DISKS: [&str; 2] = ["s0", "s1"];
/// Size of the CD in bytes.
const CD_BYTES: u64 = 1 << 20;
/// A boot must reach the script within this time.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// One boot in about 25 dies in the emulated kernel before init.
const BOOT_ATTEMPTS: u32 = 4;

/// What a guest's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Clock {
    /// The host's: whatever else the host does, and how well it emulates an instruction, is in every measurement.
    #[default]
    Host,
    /// A nanosecond for each instruction that the guest executes, on one processor; while it waits time leaps to its next
    /// timer. What is measured does not depend on the host.
    Instructions,
}

impl Clock {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["-accel", "tcg,thread=multi", "-smp", "2"],
            Self::Instructions => &["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"],
        }
    }
}

/// A machine that can be run.
#[derive(Debug)]
pub(crate) struct Machine {
    clock: Clock,
    kernel: PathBuf,
    initrd: PathBuf,
    disks: Vec<PathBuf>,
    scsi_disks: Vec<PathBuf>,
    cd: PathBuf,
}

/// How one run of the emulator ended.
enum End {
    /// The script was reached: these are its results.
    Ran(Results),
    /// It died or hung before the script.
    DiedEarly(&'static str),
}

impl Machine {
    /// Lays out a machine with empty disks in `folder`.
    pub(crate) fn new(clock: Clock, kernel: PathBuf, initrd: PathBuf, folder: &Path) -> Result<Self> {
        let make = |name: &str, bytes: u64| -> Result<PathBuf> {
            let path = folder.join(format!("disk-{name}"));
            File::create(&path)?.set_len(bytes)?;
            Ok(path)
        };
        let disks = DISKS.iter().map(|name| make(name, DISK_BYTES)).collect::<Result<_>>()?;
        let scsi_disks = SCSI_DISKS.iter().map(|name| make(name, DISK_BYTES)).collect::<Result<_>>()?;
        Ok(Self { clock, kernel, initrd, disks, scsi_disks, cd: make("cd", CD_BYTES)? })
    }

    /// Boots, streams the console to standard output, its name in front, and returns the script's results.
    pub(crate) fn run(&self, limit: Duration, name: &str) -> Result<Results> {
        for attempt in 1..=BOOT_ATTEMPTS {
            match self.boot(limit, name)? {
                End::Ran(results) => return Ok(results),
                End::DiedEarly(how) => println!("vm: boot {attempt} of {BOOT_ATTEMPTS} {how} before the script"),
            }
        }
        bail!("{BOOT_ATTEMPTS} boots in a row died before the script")
    }

    fn boot(&self, limit: Duration, name: &str) -> Result<End> {
        let emulator = Emulator::start(self)?;
        let started = Instant::now();
        let mut console = Console::default();
        loop {
            let deadline = started + if console.began() { limit } else { BOOT_LIMIT };
            match emulator.next_line(deadline)? {
                Next::Line(line) => {
                    println!("{name}  | {}", line.trim_end());
                    console.line(&line);
                }
                Next::Silence if console.began() => println!("vm: no end within {} s", limit.as_secs()),
                Next::Silence => return Ok(End::DiedEarly("hung")),
                Next::End if !console.began() => return Ok(End::DiedEarly("died")),
                Next::End => return Ok(End::Ran(console.finish())),
            }
            if Instant::now() >= deadline {
                return Ok(End::Ran(console.finish()));
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(self.clock.arguments()).args(["-cpu", "max", "-m", "2G"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        command.args(["-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on"]);
        command.args(["-device", "virtio-rng-pci"]);
        for disk in &self.disks {
            let drive = format!("file={},format=raw,if=virtio,cache=unsafe,discard=unmap", disk.display());
            command.args(["-drive", &drive]);
        }
        self.add_scsi(&mut command);
        command
    }

    fn add_scsi(&self, command: &mut Command) {
        command.args(["-device", "virtio-scsi-pci,id=scsi"]);
        for (target, disk) in self.scsi_disks.iter().enumerate() {
            let drive =
                format!("file={},format=raw,if=none,id=scsi{target},cache=unsafe,discard=unmap", disk.display());
            let device = format!("scsi-hd,bus=scsi.0,scsi-id={target},drive=scsi{target},serial=scsi{target}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        let drive = format!("file={},format=raw,if=none,id=cd,media=cdrom,readonly=on", self.cd.display());
        let device = format!("scsi-cd,bus=scsi.0,scsi-id={},drive=cd", self.scsi_disks.len());
        command.args(["-drive", &drive, "-device", &device]);
    }
}

/// A running emulator; killed when dropped.
struct Emulator {
    child: Child,
    lines: Receiver<String>,
}

enum Next {
    Line(String),
    Silence,
    End,
}

impl Emulator {
    fn start(machine: &Machine) -> Result<Self> {
        let mut command = machine.command();
        let mut child = process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let Some(stdout) = child.stdout.take() else { bail!("the emulator has no console") };
        let (sender, lines) = channel();
        // A thread of its own, because a pipe cannot be read with a time limit; it ends with the emulator.
        std::thread::spawn(move || {
            for bytes in BufReader::new(stdout).split(b'\n').map_while(|bytes| bytes.ok()) {
                if sender.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn next_line(&self, deadline: Instant) -> Result<Next> {
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(Duration::from_millis(200))) {
                Ok(line) => return Ok(Next::Line(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Next::Silence),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

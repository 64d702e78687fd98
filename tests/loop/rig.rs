//! Devices that a test makes for itself and takes away again, and a primary and a standby around them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use agent::{Agent, AgentConfig, AgentStatus, NamedDevice, Secondary};
use journal::SyncPolicy;
use replayer::standby::{StandbyConfig, StandbyHandle, StandbyService};

/// Runs a command that must succeed, and gives its output.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().expect("sh runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Why an attempt is given up: a busy kernel does not show the issue or the end of every command (decision 0005), which the
/// capture told by its exit code.
struct Hidden;

/// Times that a test is tried in which the kernel must hide nothing.
const ATTEMPTS: usize = 6;

/// Runs a test, again and from its beginning when the kernel hid something from a capture.
pub(crate) fn again(test: impl Fn()) {
    for _ in 0..ATTEMPTS {
        match catch_unwind(AssertUnwindSafe(&test)) {
            Ok(()) => return,
            Err(why) if why.is::<Hidden>() => println!("the kernel hid something: again"),
            Err(why) => resume_unwind(why),
        }
    }
    panic!("the kernel hid something in each of {ATTEMPTS} attempts");
}

/// Gives the attempt up when a capture ended with the code that says that something is missing, and told of a command whose
/// end was hidden. Any other loss, and any other code, fails the test.
pub(crate) fn check_whole(code: Option<i32>, said: &str) {
    if code == Some(7) && said.contains("commands that ended unseen") {
        resume_unwind(Box::new(Hidden));
    }
    assert_eq!(code, Some(0), "{said}");
}

/// A loop device over a sparse file.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
    pub(crate) image: PathBuf,
}

impl LoopDevice {
    /// One of `mib` MiB, its file in `dir`.
    pub(crate) fn new(dir: &Path, name: &str, mib: u64) -> Self {
        let image = dir.join(name);
        let file = fs::File::create(&image).expect("image");
        file.set_len(mib << 20).expect("size");
        let path = sh(&format!("losetup --find --show --partscan {}", image.display()));
        Self { path: path.into(), image }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A zram device: bio-based.
pub(crate) struct ZramDevice {
    pub(crate) path: PathBuf,
    number: String,
}

impl ZramDevice {
    pub(crate) fn new(mib: u64) -> Self {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").expect("zram").trim().to_owned();
        let path = PathBuf::from(format!("/dev/zram{number}"));
        fs::write(format!("/sys/block/zram{number}/disksize"), format!("{mib}M")).expect("disksize");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !path.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { path, number }
    }
}

impl ZramDevice {
    /// Takes it out of the kernel; fails while anybody has it open.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        fs::write("/sys/class/zram-control/hot_remove", &self.number)
    }
}

impl Drop for ZramDevice {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// A mounted file system; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Mounted {
    pub(crate) fn new(device: &Path, at: PathBuf) -> Self {
        fs::create_dir_all(&at).expect("mount point");
        sh(&format!("mount {} {}", device.display(), at.display()));
        Self { at }
    }

    pub(crate) fn unmount(self) {
        sh(&format!("umount {}", self.at.display()));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-q").arg(&self.at).stderr(std::process::Stdio::null()).status();
    }
}

/// A primary and a standby in this process, on devices of the test.
pub(crate) struct Rig {
    _dir: tempfile::TempDir,
    pub(crate) group: String,
    pub(crate) config: AgentConfig,
    pub(crate) standby_config: StandbyConfig,
    pub(crate) standby: Option<StandbyHandle>,
    pub(crate) agent: Option<Agent>,
    /// Source and copy of each volume.
    pub(crate) pairs: Vec<(PathBuf, PathBuf)>,
}

pub(crate) const DRAIN: Duration = Duration::from_secs(60);

impl Rig {
    /// Starts both; `sources` are observed, the copies are image files.
    pub(crate) fn start(name: &str, sources: &[&Path], change: impl FnOnce(&mut AgentConfig)) -> Self {
        let mut rig = Self::prepare(name, sources);
        change(&mut rig.config);
        rig.start_standby();
        rig.start_agent();
        rig
    }

    /// Lays everything out without starting.
    pub(crate) fn prepare(name: &str, sources: &[&Path]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let group = format!("test-{name}-{}", std::process::id());
        let mut pairs = Vec::new();
        let mut devices = Vec::new();
        let mut volumes = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let copy = dir.path().join(format!("copy{index}"));
            fs::File::create(&copy).and_then(|file| file.set_len(size_of(source))).expect("copy");
            let name = format!("v{index}");
            devices.push(NamedDevice { name: name.clone(), path: source.to_path_buf() });
            volumes.push((name, copy.clone()));
            pairs.push((source.to_path_buf(), copy));
        }
        let config = AgentConfig {
            group: group.clone(),
            devices,
            to: Vec::new(),
            forget: Vec::new(),
            dir: dir.path().join("primary"),
            journal_bytes: 256 << 20,
            segment_bytes: 32 << 20,
            sync: SyncPolicy::Interval(Duration::from_millis(50)),
            ring_bytes: 64 << 20,
            region_bytes: 64 << 10,
            insecure: false,
            assume_identical: false,
            layer: agent::Layer::Auto,
            filter: agent::Filter::default(),
            partial: false,
            bpffs: "/sys/fs/bpf".into(),
        };
        let mut standby_config = StandbyConfig::new("127.0.0.1:0", dir.path().join("standby"), volumes);
        standby_config.journal_bytes = 256 << 20;
        Self { _dir: dir, group, config, standby_config, standby: None, agent: None, pairs }
    }

    pub(crate) fn start_standby(&mut self) {
        let standby = StandbyService::start(self.standby_config.clone()).expect("standby starts");
        let address = standby.local_addr().to_string();
        // It must come back at the same address.
        self.standby_config.listen.clone_from(&address);
        match self.config.to.first_mut() {
            Some(known) => known.address = address,
            None => self.config.to.push(Secondary::at(&address)),
        }
        self.standby = Some(standby);
    }

    pub(crate) fn start_agent(&mut self) {
        self.agent = Some(Agent::start(self.config.clone()).expect("agent starts"));
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("the agent runs")
    }

    pub(crate) fn standby(&self) -> &StandbyHandle {
        self.standby.as_ref().expect("the standby runs")
    }

    pub(crate) fn status(&self) -> AgentStatus {
        self.agent().status()
    }

    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().expect("the agent runs").stop().expect("the agent stops cleanly");
    }

    pub(crate) fn stop_standby(&mut self) {
        self.standby.take().expect("the standby runs").stop();
    }

    /// Waits until the standby has everything.
    pub(crate) fn drain(&self) {
        if let Err(error) = self.agent().drain(DRAIN) {
            panic!("{error}\n{:#?}\n{:#?}", self.status(), self.standby.as_ref().map(StandbyHandle::status));
        }
    }

    /// Drains, and compares every byte of every volume.
    ///
    /// What lies in the page cache of a device has not been written to it yet, so that goes first.
    pub(crate) fn assert_identical(&self) {
        sh("sync");
        self.drain();
        let status = self.status();
        assert_eq!(status.losses.malformed, 0, "{status:#?}");
        let verified = self.agent().verify(&mut |_, _| {}).expect("verify");
        assert_eq!(verified.differing_chunks, 0, "{verified:#?}\n{status:#?}");
        for (source, copy) in &self.pairs {
            // Past the page cache, after everything is written back: what lies on the device and in the file.
            let digest =
                |path: &Path| sh(&format!("sync; dd if={} bs=1M iflag=direct status=none | md5sum", path.display()));
            assert_eq!(digest(source), digest(copy), "{} and its copy: {status:#?}", source.display());
        }
    }

    /// Waits for a condition of the status.
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        let deadline = Instant::now() + DRAIN;
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not come\n{status:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.agent.take());
        drop(self.standby.take());
        let _ = agent::detach(&self.group, Path::new("/sys/fs/bpf"));
    }
}

fn size_of(device: &Path) -> u64 {
    sh(&format!("blockdev --getsize64 {}", device.display())).parse().expect("a size")
}

/// Direct writes with fio; `options` are its own.
pub(crate) fn fio(device: &Path, options: &str) {
    sh(&format!("fio --name=t --filename={} --direct=1 --output=/dev/null {options}", device.display()));
}

//! What this kernel and user can do, each line with a remedy: for `doctor`, and before anything is attached.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::device::{Device, Mode};
use super::host::{Host, text};
use super::mounts;
use crate::btf::Btf;

/// Where bpffs is mounted by default.
pub const BPFFS: &str = "/sys/fs/bpf";

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with a drawback.
    Warn,
    /// It does not work until the remedy is applied.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One line of `doctor`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// The verdict.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), remedy: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// The first check that forbids attaching.
#[derive(Debug, Error)]
#[error("{}: {}; {}", .0.name, .0.found, .0.remedy.as_deref().unwrap_or("no remedy is known"))]
pub struct MissingFeature(pub Check);

/// All checks of this machine, in the order in which they build on each other.
#[must_use]
pub fn check_machine(host: &Host) -> Vec<Check> {
    let mut checks = vec![privileges(host), kernel_version(host), lockdown(host)];
    checks.extend(type_information(host));
    checks.extend([bpffs(host, Path::new(BPFFS)), jit(host), locked_memory(host)]);
    checks
}

/// Passes if nothing in `checks` fails.
///
/// # Errors
/// The first that does, with its remedy.
pub fn require(checks: &[Check]) -> Result<(), MissingFeature> {
    checks.iter().find(|check| check.level == Level::Fail).map_or(Ok(()), |check| Err(MissingFeature(check.clone())))
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

fn privileges(host: &Host) -> Check {
    let name = "privileges";
    let status = fs::read_to_string(host.proc.join("self/status")).unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let remedy = "run as root, or give the service CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN";
    let lacking: Vec<&str> = [(CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_BPF, "CAP_BPF")]
        .into_iter()
        .filter_map(|(bit, name)| (held & bit == 0).then_some(name))
        .collect();
    match lacking.as_slice() {
        [] => Check::ok(name, "CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN"),
        _ if held & CAP_SYS_ADMIN != 0 => Check::ok(name, "CAP_SYS_ADMIN, which includes the others"),
        _ => Check::fail(name, format!("without {}", lacking.join(", ")), remedy),
    }
}

/// Oldest kernel with all that the probe uses: `bpf_loop` came with 5.17.
const OLDEST: (u32, u32) = (5, 17);

fn kernel_version(host: &Host) -> Check {
    let name = "kernel";
    let release = text(&host.proc.join("sys/kernel/osrelease")).unwrap_or_default();
    match version(&release) {
        Some(found) if found >= OLDEST => Check::ok(name, release),
        Some(_) => Check::fail(name, release, "boot Linux 5.17 or later; 6.1 and later are tested"),
        None => Check::warn(name, format!("release {release:?} is not understood"), "5.17 or later is needed"),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

fn lockdown(host: &Host) -> Check {
    let name = "lockdown";
    let mode = text(&host.sys.join("kernel/security/lockdown")).unwrap_or_else(|| "[none]".to_owned());
    if mode.contains("[confidentiality]") {
        let remedy = "boot without lockdown=confidentiality: it forbids programs to read kernel memory";
        return Check::fail(name, mode, remedy);
    }
    Check::ok(name, mode)
}

/// What the kernel's type information tells; one line if there is none.
fn type_information(host: &Host) -> Vec<Check> {
    let name = "type information (BTF)";
    match Btf::read(&host.sys.join("kernel/btf/vmlinux"), None) {
        Ok(btf) => vec![Check::ok(name, "readable"), helpers(&btf), tracepoints(&btf), members(&btf)],
        Err(error) => vec![Check::fail(name, error.to_string(), "boot a kernel with CONFIG_DEBUG_INFO_BTF=y")],
    }
}

/// Names that the kernel must have, each with what it is for.
const HELPERS: [(&str, &str); 3] = [
    ("BPF_MAP_TYPE_RINGBUF", "ring buffer"),
    ("BPF_FUNC_loop", "bpf_loop"),
    ("BPF_FUNC_probe_read_kernel", "probe_read_kernel"),
];

fn helpers(btf: &Btf) -> Check {
    let missing = |(symbol, what): &(&str, &'static str)| btf.enumerator(symbol).is_err().then_some(*what);
    let missing: Vec<_> = HELPERS.iter().filter_map(missing).collect();
    verdict(
        "BPF helpers",
        missing.iter().map(ToString::to_string).collect(),
        "ring buffer, bpf_loop",
        "boot Linux 5.17 or later",
    )
}

const TRACEPOINTS: [&str; 5] =
    ["block_rq_issue", "block_rq_complete", "block_rq_requeue", "block_bio_queue", "block_bio_complete"];

fn tracepoints(btf: &Btf) -> Check {
    let missing = TRACEPOINTS.iter().filter(|name| !btf.has_type(&format!("btf_trace_{name}")));
    let remedy = "boot a kernel with CONFIG_BLK_DEV and CONFIG_TRACEPOINTS=y";
    verdict("tracepoints", missing.map(ToString::to_string).collect(), "block_rq_*, block_bio_*", remedy)
}

/// Members without which payload cannot be found.
const MEMBERS: [(&str, &[&str]); 10] = [
    ("request", &["q", "mq_hctx", "cmd_flags", "__data_len", "__sector", "bio"]),
    ("request_queue", &["disk"]),
    ("gendisk", &["major", "first_minor"]),
    ("blk_mq_hw_ctx", &["tags"]),
    ("blk_mq_tags", &["static_rqs", "page_list"]),
    ("page", &["lru"]),
    ("bio", &["bi_next", "bi_bdev", "bi_opf", "bi_status", "bi_io_vec"]),
    ("bio", &["bi_iter.bi_sector", "bi_iter.bi_size", "bi_iter.bi_idx", "bi_iter.bi_bvec_done"]),
    ("bio_vec", &["bv_page", "bv_len", "bv_offset"]),
    ("block_device", &["bd_disk"]),
];

fn members(btf: &Btf) -> Check {
    let all = MEMBERS.iter().flat_map(|(structure, members)| members.iter().map(move |member| (*structure, *member)));
    let missing = all.filter_map(|(structure, member)| btf.member_offset(structure, member).err());
    let remedy = "this kernel's block layer is unknown to this version: use a newer blkecho or a kernel up to 6.18";
    verdict("kernel structures", missing.map(|error| error.to_string()).collect(), "all members found", remedy)
}

fn verdict(name: &'static str, missing: Vec<String>, good: &str, remedy: &str) -> Check {
    match missing.is_empty() {
        true => Check::ok(name, good),
        false => Check::fail(name, format!("missing: {}", missing.join(", ")), remedy),
    }
}

fn bpffs(host: &Host, path: &Path) -> Check {
    let name = "bpffs";
    match is_bpffs(host, path) {
        true => Check::ok(name, format!("mounted at {}", path.display())),
        false => Check::warn(
            name,
            format!("not mounted at {}", path.display()),
            format!("attach mounts it; by hand: mount -t bpf bpf {}", path.display()),
        ),
    }
}

fn is_bpffs(host: &Host, path: &Path) -> bool {
    let mounts = mounts::read(host).unwrap_or_default();
    mounts::over(&mounts, path).is_some_and(|mount| mount.kind == "bpf")
}

fn jit(host: &Host) -> Check {
    let name = "BPF compiler (JIT)";
    match text(&host.proc.join("sys/net/core/bpf_jit_enable")).as_deref() {
        Some("0") => Check::warn(name, "switched off: capture costs more", "sysctl net.core.bpf_jit_enable=1"),
        Some(_) => Check::ok(name, "on"),
        None => Check::warn(name, "unknown: /proc/sys/net is not visible here", "sysctl net.core.bpf_jit_enable"),
    }
}

/// Since 5.11 the memory of BPF maps counts for the control group, not for the limit on locked memory.
fn locked_memory(host: &Host) -> Check {
    let name = "memory of maps";
    let release = text(&host.proc.join("sys/kernel/osrelease")).unwrap_or_default();
    match version(&release) {
        Some(found) if found < (5, 11) => {
            Check::warn(name, "counts as locked memory in this kernel", "ulimit -l unlimited")
        }
        _ => Check::ok(name, "counts for the memory control group; no limit on locked memory applies"),
    }
}

/// What matters about one device.
#[must_use]
pub fn check_device(path: &Path, host: &Host) -> Vec<Check> {
    match Device::identify_on(path, host) {
        Ok(device) => vec![identity(&device), writable(&device), stable(&device)],
        Err(error) => vec![Check::fail("device", error.to_string(), "name a block device, such as /dev/sdb")],
    }
}

fn identity(device: &Device) -> Check {
    let model = device.model.as_deref().map(|model| format!(", {model}")).unwrap_or_default();
    let (name, number, mode) = (&device.name, device.number, device.mode);
    let text = format!("{name} ({number}), {} bytes, blocks of {}, {mode}{model}", device.size, device.logical_block);
    match device.mode {
        Mode::RequestBased => Check::ok("device", text),
        Mode::BioBased => Check::warn(
            "device",
            text,
            "its commands are seen as submitted, before they are split; if it lies on one disk, that one can be observed instead",
        ),
    }
}

fn writable(device: &Device) -> Check {
    match device.read_only {
        false => Check::ok("device writable", "yes"),
        true => Check::warn("device writable", "read-only: nothing will ever be captured", "blockdev --setrw"),
    }
}

fn stable(device: &Device) -> Check {
    let name = "device stable writes";
    let remedy = format!("echo 1 > /sys/block/{}/queue/stable_writes", device.disk_name);
    match device.stable_writes {
        true => Check::ok(name, "pages under writeback do not change"),
        false => Check::warn(name, "a program may change a page while it is written: it is then read back", remedy),
    }
}

/// Why bpffs could not be mounted.
#[derive(Debug, Error)]
#[error("cannot mount bpffs at {}: {source}; by hand: mount -t bpf bpf {}", path.display(), path.display())]
pub struct BpffsError {
    /// Where.
    pub path: PathBuf,
    /// The system's answer.
    pub source: std::io::Error,
}

/// Mounts bpffs at `path` unless it lies on one already. Answers whether it was mounted now.
///
/// # Errors
/// The mount point cannot be made or the mount is refused.
pub fn ensure_bpffs(path: &Path, host: &Host) -> Result<bool, BpffsError> {
    if is_bpffs(host, path) {
        return Ok(false);
    }
    let failed = |source| BpffsError { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(failed)?;
    let flags =
        rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("bpf", path, "bpf", flags, None).map_err(|errno| failed(errno.into()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn level(checks: &[Check], name: &str) -> Level {
        checks.iter().find(|check| check.name == name).unwrap().level
    }

    #[test]
    fn an_old_bare_machine_fails_with_remedies() {
        let fake = Fake::new();
        fake.put("proc/self/status", "CapEff:\t0000000000000000").put("proc/sys/kernel/osrelease", "5.10.0-21-amd64");
        fake.put("sys/kernel/security/lockdown", "none integrity [confidentiality]");
        fake.put("proc/sys/net/core/bpf_jit_enable", "0");
        let checks = check_machine(&fake.host());
        for name in ["privileges", "kernel", "lockdown", "type information (BTF)"] {
            assert_eq!(level(&checks, name), Level::Fail, "{name}");
        }
        for name in ["bpffs", "BPF compiler (JIT)", "memory of maps"] {
            assert_eq!(level(&checks, name), Level::Warn, "{name}");
        }
        assert!(checks.iter().all(|check| (check.level == Level::Ok) == check.remedy.is_none()));
        let error = require(&checks).unwrap_err().to_string();
        assert_eq!(
            error,
            "privileges: without CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF; run as root, or give the service CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
        );
    }

    #[test]
    fn the_parts_of_a_good_machine_pass() {
        let fake = Fake::new();
        fake.put("proc/self/status", "CapEff:\t000001ffffffffff").put("proc/sys/kernel/osrelease", "6.1.0-50-amd64");
        fake.put("proc/self/mountinfo", "1 0 0:39 / /sys/fs/bpf rw - bpf bpf rw");
        let host = fake.host();
        for check in [privileges(&host), kernel_version(&host), lockdown(&host), bpffs(&host, Path::new(BPFFS))] {
            assert_eq!(check.level, Level::Ok, "{check:?}");
        }
        assert!(!ensure_bpffs(Path::new(BPFFS), &host).unwrap());
    }

    #[test]
    fn releases_are_understood() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("5.17-rc1"), Some((5, 17)));
        assert_eq!(version("six"), None);
    }

    #[test]
    fn a_device_is_described() {
        let fake = Fake::new();
        fake.disk("sda", "8:0", 8).set("sda/ro", "1").set("sda/queue/stable_writes", "1").node("/dev/sda", "8:0");
        let checks = check_device(Path::new("/dev/sda"), &fake.host());
        assert_eq!(level(&checks, "device"), Level::Ok);
        assert_eq!(level(&checks, "device writable"), Level::Warn);
        assert_eq!(level(&checks, "device stable writes"), Level::Ok);
        assert_eq!(level(&check_device(Path::new("/dev/none"), &fake.host()), "device"), Level::Fail);
    }

    #[test]
    fn this_kernel_has_the_structures() {
        let Ok(btf) = Btf::kernel() else { return };
        for check in [helpers(&btf), tracepoints(&btf), members(&btf)] {
            assert_eq!(check.level, Level::Ok, "{check:?}");
        }
    }
}

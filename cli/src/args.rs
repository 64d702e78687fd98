//! The command line. One source for parsing, `--help`, the manual page and completions.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::analyze::Analyze;
use crate::commands::convert::Convert;
use crate::commands::explore::Explore;
use crate::commands::rebuild::Rebuild;
use crate::commands::replay::Replay;
use crate::commands::{diff, edit, mark};
use crate::exit::EXIT_CODES;
use crate::filter::FilterArgs;
use crate::offline::FilesArgs;
use crate::scsi::{SCSI_TARGETS, ScsiArgs};
use crate::select::SelectArgs;
use crate::units::{Size, Sync, Time};

/// Watches a disk in use with eBPF and keeps a second one byte-identical.
///
/// The observed disk is never written, and its users never wait: what could not be carried is remembered region by
/// region, read back and sent again.
#[derive(Debug, Parser)]
#[command(name = "blkecho", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Configuration file [default: /etc/blkecho/blkecho.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of control sockets [default: $BLKECHO_RUN_DIR or /run/blkecho]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what this kernel and user can do, each line with a remedy
    Doctor(Doctor),
    /// Observe devices and ship what changes to a standby, until interrupted
    Attach(Attach),
    /// Capture what devices complete into a pcapng file or a pipe, until interrupted
    Capture(Box<Capture>),
    /// Set a named point in running captures, behind all that completed before now
    Mark(mark::MarkArgs),
    /// Show the commands of a capture, a line each
    Show(Show),
    /// Tell what a capture holds
    Info(Info),
    /// Stop observing: ends a running agent and takes its probe out of the kernel
    Detach(Detach),
    /// Receive changes and apply them to devices or image files, until interrupted
    Standby(Standby),
    /// Show all primaries and standbys of this machine on one screen
    Status(Status),
    /// Wait until everything that completed before now is applied on the standby
    Drain(Drain),
    /// Wait until all synchronous standbys hold durably what completed before now; for scripts, after their fsync
    WaitSync(WaitSync),
    /// Compare both ends: two devices or files byte by byte, or a group through its agent
    Verify(Verify),
    /// Make an image of an earlier moment of a captured volume
    Rebuild(Rebuild),
    /// Look at what a power cut could have left of a captured volume, state by state
    ///
    /// A power cut can leave more states than anybody can look at. Around each flush and FUA the one is looked at in which all
    /// that completed is on the disk, and at most --samples others, drawn from --seed: everything lost that no flush covers,
    /// the last command alone, one lost, one torn, any mixture. The same seed draws the same states, with any number of
    /// --jobs. "No failing state" is said of what was drawn; equal states are checked once.
    Explore(Explore),
    /// Apply a capture to devices, at its own pace or another
    Replay(Replay),
    /// Tell what a capture shows: rates, latencies, hot regions, state blocks, sizing; as text, JSON, a page with charts
    Analyze(Analyze),
    /// Convert a capture to another tool's format, or make one of it
    Convert(Convert),
    /// Take a stretch out of a capture: by time, place in the order, or marks; or make one file of several
    Cut(edit::Cut),
    /// Take some commands out of a capture: what `show` shows by the same flags
    Filter(edit::Filter),
    /// Remove the content from a capture, and leave its checksums
    Strip(edit::StripArgs),
    /// Make one capture of several, by time
    Merge(edit::Merge),
    /// Tell how two captures differ, command by command; or how a device differs from what a capture wrote
    Diff(diff::Diff),
    /// Show the whole thing: two loop devices, a live workload, a byte-for-byte comparison
    Demo(Demo),
    /// Capture and drop, for measuring; prints JSON at SIGINT
    #[command(hide = true)]
    CaptureBench(CaptureBench),
    /// Apply a recorded stream as a standby does, for measuring; prints JSON
    #[command(hide = true)]
    ReplayBench(ReplayBench),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Also look at this device
    #[arg(value_name = "DEV")]
    pub(crate) device: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `attach`; what is absent comes from the configuration file or the defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct Attach {
    /// Devices to observe as one group with one order: disks or partitions; a SCSI one by its address too (2:0:0:0)
    #[arg(value_name = "DEV")]
    pub(crate) devices: Vec<PathBuf>,
    /// A standby's address; give it once for each standby. A name is that of what is remembered of the standby
    /// [default: made from the address]; keep it when the standby moves to another address. `wait-sync` waits for those
    /// with mode=sync [default: mode=async]
    #[arg(long, value_name = "HOST:PORT[,name=NAME][,mode=sync]")]
    pub(crate) to: Vec<ToArg>,
    /// Give up what is remembered of this standby, which is not named any more; should it come back, everything is copied
    #[arg(long, value_name = "NAME")]
    pub(crate) forget: Vec<String>,
    /// Name of the group [default: default]
    #[arg(long)]
    pub(crate) group: Option<GroupName>,
    /// Names of the volumes, in the order of the devices [default: the kernel's names]
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Directory of journal and dirty maps, on another disk [default: /var/lib/blkecho/GROUP/primary]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Size of the journal [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) journal_size: Option<Size>,
    /// Size of the ring between kernel and agent, a power of two [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) ring_size: Option<Size>,
    /// Size of a region of the dirty map, a power of two [default: 64K]
    #[arg(long, value_name = "SIZE")]
    pub(crate) region_size: Option<Size>,
    /// What is captured of SCSI disks: auto, block or scsi (CDB, data, sense; also of what programs send) [default: auto]
    #[arg(long, value_name = "LAYER")]
    pub(crate) layer: Option<agent::Layer>,
    /// When the journal is made durable: each, interval, interval:TIME or never (default: interval)
    #[arg(long, value_name = "WHEN")]
    pub(crate) sync: Option<Sync>,
    /// Allow an address that is not loopback, although the link is neither encrypted nor authenticated
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Path of the control socket [default: in the run directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// The standby already holds the same bytes: do not copy everything first
    #[arg(long)]
    pub(crate) assume_identical: bool,
    /// Take the probe out of the kernel at the end, instead of leaving it to remember what changes
    #[arg(long)]
    pub(crate) detach_on_exit: bool,
    /// The filter may drop changes: the standby is then no copy, and is never called UpToDate
    #[arg(long, help_heading = "Filters")]
    pub(crate) partial: bool,
    /// What is captured.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// Devices to capture as one group with one order: disks, partitions or a tape; a SCSI one by its address too (2:0:0:0)
    #[arg(value_name = "DEV", required = true)]
    pub(crate) devices: Vec<PathBuf>,
    /// The file, on none of the devices; `-` for standard output, such as a pipe into tshark
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the file, or the parts, that are there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names of the volumes, in the order of the devices [default: the kernel's names]
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// What is captured of SCSI disks: auto, block or scsi (CDB, data, sense; also of what programs send)
    #[arg(long, value_name = "LAYER", default_value = "auto")]
    pub(crate) layer: agent::Layer,
    /// Capture addresses, times and statuses, but nothing of what is written
    #[arg(long)]
    pub(crate) no_payload: bool,
    /// Keep so many bytes of each command's content; its checksum is of all of it
    #[arg(long, value_name = "SIZE", conflicts_with = "no_payload")]
    pub(crate) snap_len: Option<Size>,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Time>,
    /// Largest size: the capture ends before it is reached, or, in parts, the oldest are removed
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,
    /// Go on in a new file (FILE-000001.pcapng, ...) before one gets larger than this
    #[arg(long, value_name = "SIZE")]
    pub(crate) rotate_size: Option<Size>,
    /// Go on in a new file after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) rotate_time: Option<Time>,
    /// Compress with zstd, at this level from 1 to 19
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3",
          value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) zstd: Option<i32>,
    /// Size of the ring between kernel and agent, a power of two
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub(crate) ring_size: Size,
    /// Bytes of payload that may wait for a slow output before payload is dropped, and counted
    #[arg(long, value_name = "SIZE", default_value = "128M")]
    pub(crate) buffer: Size,
    /// Print what it came to as JSON, at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// What is captured.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// What is read.
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the first bytes of what was written
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "64")]
    pub(crate) payload: Option<u32>,
    /// What is shown.
    #[command(flatten)]
    pub(crate) select: SelectArgs,
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// What is read.
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `detach`.
#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// Name of the group
    #[arg(long, default_value = "default")]
    pub(crate) group: GroupName,
}

/// Arguments of `standby`; what is absent comes from the configuration file or the defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct Standby {
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// A volume and the device or image file that it is written to; naming it is the permission to write it
    #[arg(long = "volume", value_name = "NAME=DEV")]
    pub(crate) volumes: Vec<VolumeArg>,
    /// Name of the group, for `status` [default: default]
    #[arg(long)]
    pub(crate) group: Option<GroupName>,
    /// Directory of journal and checkpoint [default: /var/lib/blkecho/GROUP/standby]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Size of the journal [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) journal_size: Option<Size>,
    /// Entries applied at the same time [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,
    /// Apply strictly one after the other
    #[arg(long)]
    pub(crate) serial: bool,
    /// Allow an address that is not loopback, although the link is neither encrypted nor authenticated
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Path of the control socket [default: in the run directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Write to targets although they hold a file system, partition table or the like
    #[arg(long, alias = "yes-write")]
    pub(crate) overwrite: bool,
    /// How SCSI targets are used.
    #[command(flatten, next_help_heading = SCSI_TARGETS)]
    pub(crate) scsi: ScsiArgs,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again every second, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Name of the group
    #[arg(long, default_value = "default")]
    pub(crate) group: GroupName,
    /// How long to wait at most
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub(crate) timeout: Time,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `wait-sync`.
#[derive(Debug, Args)]
pub(crate) struct WaitSync {
    /// Name of the group
    #[arg(long, default_value = "default")]
    pub(crate) group: GroupName,
    /// How long to wait at most
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub(crate) timeout: Time,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(override_usage = "blkecho verify [--json] <A> <B>\n       blkecho verify [--json] --group <NAME>")]
pub(crate) struct Verify {
    /// A device or file
    #[arg(value_name = "A", requires = "b", required_unless_present = "group", conflicts_with = "group")]
    pub(crate) a: Option<PathBuf>,
    /// The one to compare it with
    #[arg(value_name = "B")]
    pub(crate) b: Option<PathBuf>,
    /// Compare a group's devices with its standby, while nothing writes
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<GroupName>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long the workload runs
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Leave the directory with both images and logs
    #[arg(long)]
    pub(crate) keep: bool,
    /// Run on the simulated device even where a real one is possible
    #[arg(long)]
    pub(crate) simulated: bool,
}

/// Arguments of `capture-bench`.
#[derive(Debug, Args)]
pub(crate) struct CaptureBench {
    /// Device to observe
    #[arg(value_name = "DEV")]
    pub(crate) device: PathBuf,
    /// What is done with what is captured
    #[arg(long, value_enum, default_value_t = BenchMode::Payload)]
    pub(crate) mode: BenchMode,
    /// Size of the ring between kernel and agent, a power of two
    #[arg(long, default_value = "64M", value_name = "SIZE")]
    pub(crate) ring_size: Size,
}

/// Arguments of `replay-bench`.
#[derive(Debug, Args)]
pub(crate) struct ReplayBench {
    /// Device or image file that is written: naming it is the permission
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
    /// Directory of a primary's journal, whose writes are applied [default: made-up writes of 4 KiB]
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// How many writes are made up
    #[arg(long, default_value_t = 131_072, value_name = "N", conflicts_with = "record")]
    pub(crate) entries: u64,
    /// Entries applied at the same time; 1 applies strictly one after the other
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) depth: usize,
    /// Write the addresses to this file, as a log that fio reads (--read_iolog), and apply nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) iolog: Option<PathBuf>,
    /// Let writes start without regard to their order, except where they overlap: shows what the order costs
    #[arg(long)]
    pub(crate) unordered: bool,
    /// Print what the order leaves of the throughput on model devices, and apply nothing
    #[arg(long, conflicts_with_all = ["iolog", "unordered"])]
    pub(crate) bounds: bool,
    /// Write the target although it holds a file system, partition table or the like
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// What `capture-bench` does with what is captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum BenchMode {
    /// Copy, checksum, join and drop.
    Payload,
    /// Addresses only.
    Addresses,
    /// Into a journal below the current directory.
    Journal,
}

/// Name of a group: part of file names, so letters, digits, `-`, `_` and `.` only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupName(pub(crate) String);

impl Default for GroupName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for GroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let fits = (1..=64).contains(&text.len()) && text.chars().all(good) && !text.starts_with(['.', '-']);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no name: use up to 64 of a-z A-Z 0-9 - _ ."))
        }
    }
}

/// `HOST:PORT[,name=NAME][,mode=sync]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ToArg(pub(crate) agent::Secondary);

impl FromStr for ToArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut secondary = agent::Secondary::at(parts.next().unwrap_or_default());
        for part in parts {
            match part.split_once('=') {
                Some(("name", name)) => secondary.name = name.to_owned(),
                Some(("mode", mode)) => secondary.mode = mode.parse()?,
                _ => return Err(format!("{part:?} is not known here: it is HOST:PORT[,name=NAME][,mode=sync]")),
            }
        }
        Ok(Self(secondary))
    }
}

/// `NAME=DEV`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct VolumeArg {
    /// The name that the primary uses.
    pub(crate) name: String,
    /// What it is written to.
    pub(crate) path: PathBuf,
}

impl FromStr for VolumeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err(format!("{text:?} is not NAME=DEV, such as data=/dev/sdb")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verify_takes_two_paths_or_a_group() {
        let parses = |args: &[&str]| Cli::try_parse_from([&["blkecho", "verify"], args].concat()).is_ok();
        assert!(parses(&["a", "b"]));
        assert!(parses(&["--group", "x"]));
        assert!(!parses(&["a"]));
        assert!(!parses(&[]));
        assert!(!parses(&["a", "b", "--group", "x"]));
    }

    #[test]
    fn names_and_volumes_are_checked() {
        assert!("a/b".parse::<GroupName>().is_err());
        assert!("..".parse::<GroupName>().is_err());
        assert!("db-1".parse::<GroupName>().is_ok());
        assert_eq!("a=/dev/sdb".parse::<VolumeArg>().unwrap().name, "a");
        assert!("=/dev/sdb".parse::<VolumeArg>().is_err());
        let to = |text: &str| text.parse::<ToArg>().map(|to| (to.0.name, to.0.address));
        assert_eq!(to("h:1").unwrap(), ("h-1".to_owned(), "h:1".to_owned()));
        assert_eq!(to("h:1,name=berlin").unwrap(), ("berlin".to_owned(), "h:1".to_owned()));
        assert!(to("h:1,nam=x").unwrap_err().contains("name=NAME"));
        let mode = |text: &str| text.parse::<ToArg>().map(|to| to.0.mode);
        assert_eq!(mode("h:1,mode=sync,name=b"), Ok(agent::SyncMode::Synchronous));
        assert_eq!(mode("h:1"), Ok(agent::SyncMode::Asynchronous));
        assert!(mode("h:1,mode=semi").unwrap_err().contains("async or sync"));
    }
}

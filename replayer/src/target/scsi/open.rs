//! Opening a SCSI device as target: what it is, whether it is free, and whether it is fit.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use formats::scsi::DeviceType;
use replication::errors::RowCounters;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

use super::report::Ledger;
use super::tape::Tape;
use super::{Options, ScsiTarget, Settings, Waits};
use crate::scsi::ScsiDevice;
use crate::scsi::identity::{self, Difference, Identity, ProbeError, Severity, check_last_block, differences, settle};
use crate::scsi::sg::{self, Node, SgDevice, SgError};
use crate::target::check::{self, Admitted, CheckError, Host};

/// Block size that stands for a tape, which has none.
const TAPE_BLOCK: u32 = 512;

/// Why a SCSI device is no target.
#[derive(Error, Debug)]
pub enum OpenError {
    /// The node cannot be used.
    #[error(transparent)]
    Node(#[from] SgError),
    /// The device does not say who it is, or what it says is not believed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Neither a disk nor a tape.
    #[error("its device type is `{0}`: name a disk or a tape")]
    Type(DeviceType),
    /// It is write protected.
    #[error("it is write protected: remove the protection (switch, sdparm --clear SWP)")]
    WriteProtected,
    /// It is not fit for what was recorded.
    #[error("it cannot stand for the recorded device: {}", lines(.0))]
    Different(Vec<Difference>),
    /// The mapping leaves nothing of it.
    #[error("the mapping moves by {offset} blocks, and the device has {blocks}: nothing is left; check --map")]
    Mapping {
        /// LBA offset.
        offset: i64,
        /// Blocks of the device.
        blocks: u64,
    },
}

fn lines(list: &[Difference]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ScsiTarget {
    /// A target on a device, which nobody else uses: the caller has seen to that. Asks the device who it is, whether its
    /// last block is there, and waits until it is ready and has told all unit attentions from before.
    ///
    /// # Errors
    /// It is not fit; nothing was written.
    pub fn open(device: Arc<dyn ScsiDevice>, options: Options) -> Result<Self, OpenError> {
        Self::with_claims(device, options, Vec::new())
    }

    fn with_claims(device: Arc<dyn ScsiDevice>, options: Options, claims: Vec<File>) -> Result<Self, OpenError> {
        let identity = identity::read(&*device)?;
        let ledger = Ledger::new(&options, &identity);
        check_identity(&identity, &options)?;
        check_last_block(&*device, &identity)?;
        settle(&*device)?;
        let (block_size, size) = shape(&identity, &options)?;
        let (rows, waits, no_same) = (Mutex::new(RowCounters::default()), Waits::new(), AtomicBool::new(false));
        let tape = (identity.kind() == DeviceType::TAPE).then(Tape::default);
        let queue = device.queue().filter(|_| tape.is_none()).map(Mutex::new);
        Ok(Self {
            device,
            queue,
            options,
            identity,
            block_size,
            size,
            rows,
            ledger,
            waits,
            no_same,
            tape,
            _claims: claims,
        })
    }
}

fn check_identity(identity: &Identity, options: &Options) -> Result<(), OpenError> {
    if !matches!(identity.kind(), DeviceType::DISK | DeviceType::SIMPLE_DISK | DeviceType::TAPE) {
        return Err(OpenError::Type(identity.kind()));
    }
    if identity.modes.write_protected {
        return Err(OpenError::WriteProtected);
    }
    let recorded = options.recorded.as_ref();
    let found = recorded.map(|recorded| differences(recorded, identity, options.mapping)).unwrap_or_default();
    let (refused, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| d.severity == Severity::Refuse);
    other.iter().for_each(|difference| tracing::info!(path = %options.path.display(), "{difference}"));
    if refused.is_empty() { Ok(()) } else { Err(OpenError::Different(refused)) }
}

/// Block size, and bytes of the volume that it can hold: an offset towards the end takes from it.
fn shape(identity: &Identity, options: &Options) -> Result<(u32, u64), OpenError> {
    let Some(capacity) = identity.capacity else { return Ok((TAPE_BLOCK, 0)) };
    let (blocks, offset) = (capacity.blocks, options.mapping.lba_offset);
    let left = i128::from(blocks) - i128::from(offset);
    let size = u64::try_from(left).ok().filter(|left| *left > 0);
    let size = size.and_then(|blocks| blocks.checked_mul(u64::from(capacity.block_size)));
    Ok((capacity.block_size, size.ok_or(OpenError::Mapping { offset, blocks })?))
}

/// Whether a path asks for SCSI commands: `sg:` and a disk, or a node of sg or bsg.
pub(in crate::target) fn is_scsi(path: &Path, host: &Host) -> bool {
    if sg::strip_prefix(path).is_some() {
        return true;
    }
    let is_char = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device());
    is_char && Node::find(path, &host.sys).is_ok()
}

/// Opens such a path for a volume, after the checks that every target goes through.
pub(in crate::target) fn open(
    path: &Path,
    host: &Host,
    volume: &str,
    settings: &Settings,
) -> Result<ScsiTarget, CheckError> {
    let failed = |error: OpenError| CheckError::Open { path: path.to_owned(), source: io::Error::other(error) };
    let node_path = sg::strip_prefix(path).unwrap_or_else(|| path.to_owned());
    let node = Node::find(&node_path, &host.sys).map_err(|error| node_error(error, failed))?;
    let claims = admit(&node, host, failed)?;
    let device = SgDevice::open_node(node).map_err(|error| node_error(error, failed))?;
    let options = Options {
        mapping: settings.mapping(volume),
        policy: settings.policy,
        timeouts: settings.timeouts.clone(),
        max_transfer: device.max_transfer().min(super::USUAL_TRANSFER),
        ..Options::new(path.to_owned())
    };
    ScsiTarget::with_claims(Arc::new(device), options, claims).map_err(failed)
}

/// The system's reasons in the words that all targets have for them.
fn node_error(error: SgError, other: impl FnOnce(OpenError) -> CheckError) -> CheckError {
    match error {
        SgError::Missing { path } => CheckError::Missing { path },
        SgError::Denied { path } => CheckError::Denied { path },
        SgError::Busy { path } => CheckError::Busy { path },
        error => other(error.into()),
    }
}

/// Whether nobody uses the device: its disk is not mounted, held, claimed or swapped to, and nobody else has its sg node
/// open. The locks that keep other standbys off come back; they also meet those of a standby on the block device.
fn admit(node: &Node, host: &Host, failed: impl Fn(OpenError) -> CheckError) -> Result<Vec<File>, CheckError> {
    SgDevice::claim_briefly(node).map_err(|error| node_error(error, &failed))?;
    let mut claims = Vec::new();
    if let Some(name) = &node.block {
        let disk = Path::new("/dev").join(name);
        match check::admit(&disk, host)? {
            Admitted::Block(_) => claims.push(lock(&disk)?),
            Admitted::Image => return Err(CheckError::NotATarget { path: disk }),
        }
    }
    if node.kind != sg::Kind::Disk {
        claims.push(lock(&node.path)?);
    }
    Ok(claims)
}

fn lock(path: &Path) -> Result<File, CheckError> {
    let failed = |source| CheckError::opening(path, source);
    // Read only: closing what was open for writing makes udev probe the device.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(CheckError::Busy { path: path.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The disk that is changed where commands go to `path`, if that is another node than the disk's: `sg:/dev/sdb`, `/dev/sg1`
/// and `/dev/bsg/1:0:0:0` are all `/dev/sdb`. `None` for whatever has no such disk, and where `path` is its own.
#[must_use]
pub fn disk_behind(path: &Path) -> Option<PathBuf> {
    let bare = sg::strip_prefix(path);
    let node = Node::find(bare.as_deref().unwrap_or(path), Path::new("/sys")).ok()?;
    let disk = Path::new("/dev").join(node.block?);
    (disk != path).then_some(disk)
}

/// The identity of the device behind a path, without opening it as target: nothing is written, nothing is claimed.
///
/// # Errors
/// It is no SCSI device, or does not answer.
pub fn describe(path: &Path) -> Result<Identity, OpenError> {
    let path: PathBuf = sg::strip_prefix(path).unwrap_or_else(|| path.to_owned());
    Ok(identity::read(&SgDevice::open(&path)?)?)
}

//! Real SCSI devices, by the kernel's SG_IO.
//!
//! Three kinds of nodes take it, chosen by what the node is:
//!
//! | node | driver | structure | in flight |
//! |---|---|---|---|
//! | `/dev/sgN` | drivers/scsi/sg.c | `struct sg_io_hdr`, id `S` | 16 for each open file; here one, each on a file of its own |
//! | `/dev/sdX` | drivers/scsi/scsi_ioctl.c | the same | as many as the device's queue |
//! | `/dev/bsg/H:C:T:L` | drivers/scsi/scsi_bsg.c | `struct sg_io_v4`, id `Q` | as many as the device's queue |
//!
//! # Guarantees
//! - A command that reached the device comes back as an [`Outcome`], whatever it says; an error means that the kernel did
//!   not take it (or that the device is gone).
//! - The kernel counts no retries behind SG_IO (`scmd->allowed = 0`): an error comes here, and the policy retries.
//! - A residual is never larger than the transfer, and never negative; sense data are at most 252 bytes.
//!
//! # What it leaves to others
//! - Signals wait while a command runs on an `/dev/sgN`, or are taken by another thread: sg's wait is interruptible, and the
//!   command would go on without it (drivers/scsi/sg.c, `srp->orphan`).
//! - A partition takes SG_IO of privileged callers for the whole disk (`sd_ioctl`); such nodes are refused here.
//! - sg and bsg know no time-outs below what is asked; the disk's SG_IO raises them to 7 s (`BLK_MIN_SG_TIMEOUT`).

mod error;
mod lanes;
mod node;
mod queue;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::scsi::sense::MAX_SENSE;
use formats::scsi::{DriverStatus, HostStatus, Outcome, ScsiStatus};

pub use error::{SgError, errno};
use lanes::Lanes;
pub use node::{Kind, Node};
pub use queue::SgQueue;

use super::aligned::{with_copy_for_read, with_copy_for_write};
use super::{CommandQueue, Data, Request, ScsiDevice};

/// Longest CDB that the kernel takes, in bytes: `struct scsi_cmnd.cmnd` (include/scsi/scsi_cmnd.h, since 5.18).
pub const MAX_SG_CDB: usize = 32;
/// Shortest one, in bytes (`scsi_fill_sghdr_rq`, `sg_new_write`: EMSGSIZE below).
pub const MIN_SG_CDB: usize = 6;
/// Most bytes of one transfer that are handed to the kernel when the queue's own limit is not known.
const MAX_TRANSFER: u32 = 16 << 20;

/// A SCSI device node.
#[derive(Debug)]
pub struct SgDevice {
    node: Node,
    access: Access,
    lanes: Lanes,
}

/// How a node is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    /// For all commands.
    All,
    /// For commands that change nothing. A block device that was never open for writing is not probed by udev when it is
    /// closed.
    Reading,
}

impl SgDevice {
    /// Opens a node for reading and writing, without any claim on it.
    ///
    /// # Errors
    /// It is no SCSI device, or may not be opened; the message tells what to do.
    pub fn open(path: &Path) -> Result<Self, SgError> {
        Self::open_node(Node::find(path, Path::new("/sys"))?)
    }

    /// Opens a node that was looked up before.
    ///
    /// # Errors
    /// It may not be opened.
    pub fn open_node(node: Node) -> Result<Self, SgError> {
        Self::open_as(node, Access::All)
    }

    /// Opens a node for reading only, to ask it who it is. Without CAP_SYS_RAWIO the kernel then takes no command that
    /// changes anything (`scsi_cmd_allowed`).
    ///
    /// # Errors
    /// It is no SCSI device, or may not be opened.
    pub fn open_for_reading(path: &Path) -> Result<Self, SgError> {
        Self::open_as(Node::find(path, Path::new("/sys"))?, Access::Reading)
    }

    fn open_as(node: Node, access: Access) -> Result<Self, SgError> {
        let lanes = Lanes::open(open_file(&node.path, access, 0)?, node.kind);
        Ok(Self { node, access, lanes })
    }

    /// Whether nobody else has an `/dev/sgN` open, asked by opening it exclusively for a moment. Always so for the
    /// other kinds: who has a disk open is asked elsewhere.
    ///
    /// # Errors
    /// [`SgError::Busy`], or it cannot be opened.
    pub fn claim_briefly(node: &Node) -> Result<(), SgError> {
        match node.kind {
            Kind::Sg => open_file(&node.path, Access::All, libc::O_EXCL).map(drop),
            Kind::Bsg | Kind::Disk => Ok(()),
        }
    }

    /// What it is.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Most bytes that one command may move.
    #[must_use]
    pub fn max_transfer(&self) -> u32 {
        self.node.max_transfer.unwrap_or(MAX_TRANSFER).min(MAX_TRANSFER)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), SgError> {
        let path = || self.node.path.clone();
        let (len, bytes) = (request.cdb.len(), request.data.len());
        match (len, bytes) {
            (..MIN_SG_CDB, _) => Err(SgError::CdbTooShort { path: path(), len }),
            (MIN_SG_CDB..=MAX_SG_CDB, _) if bytes <= self.max_transfer() as usize => Ok(()),
            (MIN_SG_CDB..=MAX_SG_CDB, _) => {
                Err(SgError::TooLarge { path: path(), len: bytes, most: self.max_transfer() })
            }
            _ => Err(SgError::CdbTooLong { path: path(), len }),
        }
    }

    fn call(&self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> io::Result<Outcome> {
        let lane = self.lanes.enter(|| open_file(&self.node.path, self.access, 0));
        let answer = match self.node.kind {
            Kind::Sg => ioctl::undisturbed(|| ioctl::v3(lane.file().as_fd(), cdb, data, millis(timeout))),
            Kind::Disk => ioctl::v3(lane.file().as_fd(), cdb, data, millis(timeout)),
            Kind::Bsg => ioctl::v4(lane.file().as_fd(), cdb, data, millis(timeout)),
        };
        answer.map(Answer::outcome).map_err(|source| SgError::executing(&self.node.path, source).into())
    }
}

impl ScsiDevice for SgDevice {
    fn execute(&self, request: Request<'_>) -> io::Result<Outcome> {
        self.check(&request)?;
        let Request { cdb, data, timeout } = request;
        match data {
            Data::None => self.call(cdb, Data::None, timeout),
            // sg moves data through pages of its own: aligned or not is the same to it.
            data if self.node.kind == Kind::Sg => self.call(cdb, data, timeout),
            Data::Out(bytes) => with_copy_for_read(bytes, |aligned| self.call(cdb, Data::Out(aligned), timeout)),
            Data::In(bytes) => with_copy_for_write(bytes, |aligned| self.call(cdb, Data::In(aligned), timeout)),
        }
    }

    fn queue(&self) -> Option<Box<dyn CommandQueue>> {
        Some(Box::new(self.open_queue()?))
    }
}

/// `O_NONBLOCK` keeps the open from waiting for somebody's exclusive claim and for a device that is not ready; it changes
/// nothing about SG_IO.
fn open_file(path: &Path, access: Access, flags: i32) -> Result<File, SgError> {
    let flags = flags | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).write(access == Access::All).custom_flags(flags).open(path);
    opened.map_err(|source| SgError::opening(path, source))
}

/// Milliseconds for the kernel: at least 1, as 0 is its own default.
fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// What the kernel wrote, before any of it is believed.
struct Answer {
    /// Bytes that were to be moved.
    asked: usize,
    status: u32,
    host: u32,
    driver: u32,
    residual: i32,
    sense: [u8; MAX_SENSE],
    /// Bytes of `sense` that the kernel says it wrote.
    sense_len: u32,
}

impl Answer {
    /// Sense that cannot be read is none, which the policy has a row for.
    fn outcome(self) -> Outcome {
        let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        let bare = Outcome {
            status: ScsiStatus::from_byte(byte(self.status)),
            host: HostStatus::from_byte(byte(self.host)),
            driver: DriverStatus::from_driver_byte(self.driver as u8),
            sense: None,
            residual: u32::try_from(self.residual).unwrap_or(0).min(u32::try_from(self.asked).unwrap_or(u32::MAX)),
        };
        let written = self.sense.get(..self.sense_len as usize).unwrap_or(&self.sense);
        bare.with_sense(written).unwrap_or(bare)
    }
}

/// The system calls: all of the crate's unsafe code.
#[allow(unsafe_code)]
mod ioctl {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
    use std::os::raw::{c_int, c_uchar, c_uint, c_ushort, c_void};
    use std::ptr;

    use super::{Answer, Data, MAX_SENSE};

    /// include/scsi/sg.h; the same number for `struct sg_io_v4` (block/bsg.c).
    const SG_IO: libc::c_ulong = 0x2285;
    const DXFER_NONE: c_int = -1;
    const DXFER_TO_DEV: c_int = -2;
    const DXFER_FROM_DEV: c_int = -3;
    /// Queued behind what waits, which is the default of the disk's SG_IO only: `SG_FLAG_Q_AT_TAIL`,
    /// `BSG_FLAG_Q_AT_TAIL`.
    const Q_AT_TAIL: u32 = 0x10;

    /// `struct sg_io_hdr` of include/scsi/sg.h.
    #[repr(C)]
    pub(super) struct SgIoHdr {
        interface_id: c_int,
        dxfer_direction: c_int,
        cmd_len: c_uchar,
        mx_sb_len: c_uchar,
        iovec_count: c_ushort,
        dxfer_len: c_uint,
        dxferp: *mut c_void,
        cmdp: *const c_uchar,
        sbp: *mut c_uchar,
        timeout: c_uint,
        flags: c_uint,
        pack_id: c_int,
        usr_ptr: *mut c_void,
        status: c_uchar,
        masked_status: c_uchar,
        msg_status: c_uchar,
        sb_len_wr: c_uchar,
        host_status: c_ushort,
        driver_status: c_ushort,
        resid: c_int,
        duration: c_uint,
        info: c_uint,
    }

    impl SgIoHdr {
        /// For the kernel. What it points to must live for as long as the kernel may use it, which is the caller's matter.
        fn asking(cdb: &[u8], data: Data<'_>, sense: &mut [u8; MAX_SENSE], timeout: u32) -> Self {
            let (direction, address, asked) = parts(data);
            Self {
                interface_id: c_int::from(b'S'),
                dxfer_direction: if asked == 0 { DXFER_NONE } else { direction },
                cmd_len: cdb.len() as c_uchar,
                mx_sb_len: MAX_SENSE as c_uchar,
                iovec_count: 0,
                dxfer_len: asked as c_uint,
                dxferp: address,
                cmdp: cdb.as_ptr(),
                sbp: sense.as_mut_ptr(),
                timeout,
                flags: Q_AT_TAIL,
                pack_id: 0,
                usr_ptr: ptr::null_mut(),
                status: 0,
                masked_status: 0,
                msg_status: 0,
                sb_len_wr: 0,
                host_status: 0,
                driver_status: 0,
                resid: 0,
                duration: 0,
                info: 0,
            }
        }

        /// What the kernel wrote into it.
        fn answer(&self, sense: [u8; MAX_SENSE]) -> Answer {
            Answer {
                asked: self.dxfer_len as usize,
                status: self.status.into(),
                host: self.host_status.into(),
                driver: self.driver_status.into(),
                residual: self.resid,
                sense,
                sense_len: self.sb_len_wr.into(),
            }
        }
    }

    /// `struct sg_io_v4` of include/uapi/linux/bsg.h.
    #[repr(C)]
    #[derive(Default)]
    pub(super) struct SgIoV4 {
        guard: i32,
        protocol: u32,
        subprotocol: u32,
        request_len: u32,
        request: u64,
        request_tag: u64,
        request_attr: u32,
        request_priority: u32,
        request_extra: u32,
        max_response_len: u32,
        response: u64,
        dout_iovec_count: u32,
        dout_xfer_len: u32,
        din_iovec_count: u32,
        din_xfer_len: u32,
        dout_xferp: u64,
        din_xferp: u64,
        timeout: u32,
        flags: u32,
        usr_ptr: u64,
        spare_in: u32,
        driver_status: u32,
        transport_status: u32,
        device_status: u32,
        retry_delay: u32,
        info: u32,
        duration: u32,
        response_len: u32,
        din_resid: i32,
        dout_resid: i32,
        generated_tag: u64,
        spare_out: u32,
        padding: u32,
    }

    // Sizes that the kernel copies, on 64-bit and (for the older one) 32-bit systems.
    const _: () = assert!(size_of::<SgIoHdr>() == if size_of::<usize>() == 8 { 88 } else { 64 });
    const _: () = assert!(size_of::<SgIoV4>() == 160);

    /// This thread's signal mask, put back when dropped.
    struct Mask(libc::sigset_t);

    impl Mask {
        /// Blocks all signals in this thread.
        fn all_blocked() -> Option<Self> {
            let mut all = std::mem::MaybeUninit::uninit();
            let mut old = std::mem::MaybeUninit::uninit();
            // SAFETY: both sets are local and written before they are read: the first by `sigfillset`, which fails only
            // for an invalid pointer, the second by `pthread_sigmask` when it answers 0. A thread may block what it likes
            // for itself.
            unsafe {
                libc::sigfillset(all.as_mut_ptr());
                let result = libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
                (result == 0).then(|| Self(old.assume_init()))
            }
        }
    }

    impl Drop for Mask {
        fn drop(&mut self) {
            // SAFETY: a mask that this thread had, from a valid reference; the old one is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
        }
    }

    /// Does `work` with all signals of this thread blocked.
    pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
        let _mask = Mask::all_blocked();
        work()
    }

    /// Direction, address and length of the data. The address is read by the kernel for `Out`, written for `In`.
    fn parts(data: Data<'_>) -> (c_int, *mut c_void, usize) {
        match data {
            Data::None => (DXFER_NONE, ptr::null_mut(), 0),
            Data::Out(bytes) => (DXFER_TO_DEV, bytes.as_ptr().cast_mut().cast(), bytes.len()),
            Data::In(bytes) => (DXFER_FROM_DEV, bytes.as_mut_ptr().cast(), bytes.len()),
        }
    }

    /// Issues a command by `struct sg_io_hdr`. Lengths were checked: the CDB has at most 32 bytes, the data at most 16 MiB.
    pub(super) fn v3(file: BorrowedFd<'_>, cdb: &[u8], data: Data<'_>, timeout: u32) -> io::Result<Answer> {
        let mut sense = [0; MAX_SENSE];
        let mut header = SgIoHdr::asking(cdb, data, &mut sense, timeout);
        // SAFETY: the descriptor is open for the length of the call. The header is the structure that SG_IO takes with id
        // 'S', and each of its pointers comes from a live slice (or local array) with the length beside it: the CDB is
        // read, the data is read when it goes to the device and written, through a pointer from a `&mut` slice, when it
        // comes from there; `mx_sb_len` is the array's length. The kernel uses them only within the call: without
        // SG_FLAG_DIRECT_IO and SG_FLAG_MMAP_IO sg moves data through buffers of its own and copies to user memory in
        // the caller's context, so not even an interrupted call leaves a command that would write here later; the disk's
        // SG_IO waits uninterruptibly (`blk_execute_rq`).
        let result = unsafe { libc::ioctl(file.as_raw_fd(), SG_IO as _, &raw mut header) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(header.answer(sense))
    }

    /// A file of sg with at most one command in flight, which is written to it and read back when it is over.
    #[derive(Debug)]
    pub(super) struct Flight {
        file: File,
        sense: Box<[u8; MAX_SENSE]>,
        in_flight: bool,
    }

    impl Flight {
        /// On a file of sg that was opened with `O_NONBLOCK`.
        pub(super) fn new(file: File) -> Self {
            Self { file, sense: Box::new([0; MAX_SENSE]), in_flight: false }
        }

        /// To poll. It is no borrow, as whoever read from the file would write into this structure's memory.
        pub(super) fn descriptor(&self) -> RawFd {
            self.file.as_raw_fd()
        }

        /// Issues a command with data for the device. Lengths were checked as for [`v3`].
        pub(super) fn begin(&mut self, cdb: &[u8], out: &[u8], timeout: u32) -> io::Result<()> {
            if self.in_flight {
                return Err(io::Error::from_raw_os_error(libc::EDOM));
            }
            let header = SgIoHdr::asking(cdb, Data::Out(out), &mut self.sense, timeout);
            // SAFETY: the descriptor is open and the length is that of the structure, which sg copies. Within the call it
            // reads the CDB and, into pages of its own (no SG_FLAG_DIRECT_IO), the data: both are live slices with the
            // lengths beside them. The address of the sense data is used in a later `read` of this file only, which
            // nobody else has, and which is closed before the box is freed (the fields are dropped in their order).
            let written =
                unsafe { libc::write(self.file.as_raw_fd(), (&raw const header).cast(), size_of::<SgIoHdr>()) };
            whole(written)?;
            self.in_flight = true;
            Ok(())
        }

        /// The answer; none while there is none yet, or nothing is in flight.
        pub(super) fn end(&mut self) -> io::Result<Option<Answer>> {
            if !self.in_flight {
                return Ok(None);
            }
            // What sg looks at when it is asked for one command among many, which it is not.
            let mut header = SgIoHdr::asking(&[], Data::None, &mut self.sense, 0);
            // SAFETY: the descriptor is open, and the kernel writes a structure of this length into this one, and sense
            // data to where the command said: the box that this structure still owns, exclusively for as long as the
            // call takes, with the length that was told.
            let read = unsafe { libc::read(self.file.as_raw_fd(), (&raw mut header).cast(), size_of::<SgIoHdr>()) };
            match whole(read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                read => {
                    self.in_flight = false;
                    read.map(|()| Some(header.answer(*self.sense)))
                }
            }
        }
    }

    /// sg takes and gives whole structures.
    fn whole(moved: isize) -> io::Result<()> {
        match usize::try_from(moved) {
            Ok(bytes) if bytes == size_of::<SgIoHdr>() => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Issues a command by `struct sg_io_v4`. Lengths were checked as for [`v3`].
    pub(super) fn v4(file: BorrowedFd<'_>, cdb: &[u8], data: Data<'_>, timeout: u32) -> io::Result<Answer> {
        let mut sense = [0; MAX_SENSE];
        let (direction, address, asked) = parts(data);
        let out = direction == DXFER_TO_DEV;
        let mut header = SgIoV4 {
            guard: i32::from(b'Q'),
            request_len: cdb.len() as u32,
            request: cdb.as_ptr() as u64,
            max_response_len: MAX_SENSE as u32,
            response: sense.as_mut_ptr() as u64,
            dout_xfer_len: if out { asked as u32 } else { 0 },
            dout_xferp: if out { address as u64 } else { 0 },
            din_xfer_len: if out { 0 } else { asked as u32 },
            din_xferp: if out { 0 } else { address as u64 },
            timeout,
            flags: Q_AT_TAIL,
            ..SgIoV4::default()
        };
        // SAFETY: as for the older structure: an open descriptor, the structure that bsg takes with guard 'Q', addresses
        // and lengths of live slices, read or written according to their kind. `scsi_bsg_sg_io_fn` waits uninterruptibly
        // and unmaps the memory before it returns.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), SG_IO as _, &raw mut header) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Answer {
            asked,
            status: header.device_status,
            host: header.transport_status,
            driver: header.driver_status,
            residual: if out { header.dout_resid } else { header.din_resid },
            sense,
            sense_len: header.response_len,
        })
    }

    #[cfg(test)]
    mod tests {
        use std::mem::offset_of;

        use super::*;

        /// Offsets as `pahole` prints them for a 64-bit kernel.
        #[test]
        #[cfg(target_pointer_width = "64")]
        fn the_kernels_layouts() {
            assert_eq!(offset_of!(SgIoHdr, dxferp), 16);
            assert_eq!(offset_of!(SgIoHdr, cmdp), 24);
            assert_eq!(offset_of!(SgIoHdr, sbp), 32);
            assert_eq!(offset_of!(SgIoHdr, timeout), 40);
            assert_eq!(offset_of!(SgIoHdr, usr_ptr), 56);
            assert_eq!(offset_of!(SgIoHdr, status), 64);
            assert_eq!(offset_of!(SgIoHdr, host_status), 68);
            assert_eq!(offset_of!(SgIoHdr, resid), 72);
            assert_eq!(offset_of!(SgIoHdr, info), 80);
            assert_eq!(offset_of!(SgIoV4, request), 16);
            assert_eq!(offset_of!(SgIoV4, response), 48);
            assert_eq!(offset_of!(SgIoV4, dout_xfer_len), 60);
            assert_eq!(offset_of!(SgIoV4, din_xferp), 80);
            assert_eq!(offset_of!(SgIoV4, usr_ptr), 96);
            assert_eq!(offset_of!(SgIoV4, driver_status), 108);
            assert_eq!(offset_of!(SgIoV4, din_resid), 136);
            assert_eq!(offset_of!(SgIoV4, generated_tag), 144);
        }

        /// Signals that this thread blocks, by the kernel's word.
        fn blocked() -> String {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned()
        }

        #[test]
        fn signals_wait_and_come_again() {
            let before = blocked();
            let within = undisturbed(blocked);
            assert!(within.contains("fff") && within != before, "{within}");
            assert_eq!(blocked(), before);
        }

        #[test]
        fn what_is_no_scsi_device_says_enotty() {
            let file = std::fs::File::open("/dev/null").unwrap();
            let answer = v3(std::os::fd::AsFd::as_fd(&file), &[0; 6], Data::None, 1000);
            assert_eq!(answer.err().and_then(|error| error.raw_os_error()), Some(libc::ENOTTY));
            let answer = v4(std::os::fd::AsFd::as_fd(&file), &[0; 6], Data::In(&mut [0; 8]), 1000);
            assert_eq!(answer.err().and_then(|error| error.raw_os_error()), Some(libc::ENOTTY));
        }
    }
}

/// The path of a node as given, which may carry the prefix that asks for SG_IO where a block device would be opened.
///
/// `sg:/dev/sdb` is the disk `/dev/sdb` by SG_IO; `/dev/sg1` needs no prefix.
#[must_use]
pub fn strip_prefix(path: &Path) -> Option<PathBuf> {
    let path = path.to_str()?.strip_prefix("sg:")?;
    Some(path.into())
}

#[cfg(test)]
mod tests;

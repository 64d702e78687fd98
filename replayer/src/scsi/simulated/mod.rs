//! A SCSI device that exists only in this process: a disk (SBC-4) or a tape (SSC-5).
//!
//! It answers as the standards say, keeps what a real device keeps (a write cache that a power cut may empty, mode pages,
//! reservations, unit attentions for each initiator, thin provisioning) and fails where a script tells it to. Nothing
//! in it waits: time is counted, and chance comes from a seed, so that every run can be repeated.
//!
//! An initiator is a [`Nexus`], which is a [`ScsiDevice`]. The device itself is held by [`SimulatedDevice`].
//!
//! What it leaves out: protection information, zones, copies between devices, ATA pass-through (all refused by INVALID
//! COMMAND OPERATION CODE), partitions of tapes, asymmetric access, task management, and tearing of single blocks.
//!
//! Where the standards leave a choice, or Linux's scsi_debug (drivers/scsi/scsi_debug.c of 6.12) answers otherwise:
//!
//! - A reservation conflict comes before a unit attention (SAM-6 5.3.3); the kernel's target tells the attention first.
//! - WRITE SAME with UNMAP unmaps only where that reads back as the data; scsi_debug always unmaps. A length of 0 goes to
//!   the end; to scsi_debug it is one block.
//! - UNMAP changes nothing unless its whole list is well; scsi_debug unmaps up to the descriptor that is not, asserts on a
//!   list whose lengths disagree, and refuses an empty one. Without thin provisioning it says that it is done.
//! - Addresses are added without wrapping; scsi_debug takes a block at the very end of 64 bits for one of its own.
//! - WRITE ATOMIC looks at the addresses and maps the blocks; scsi_debug does neither.
//! - Mode pages can be saved (PS is told and must not be sent), and a change is told to the other initiators; scsi_debug
//!   refuses SP and tells the initiator that made the change.
//! - An unreadable block leaves what comes before it in the buffer; scsi_debug returns nothing.
//! - MISCOMPARE says where; scsi_debug does not.
//! - VERIFY checks the addresses even without comparing; scsi_debug does not look.
//! - scsi_debug does not look at the service action of operation code 9Fh: it takes WRITE LONG(16) for WRITE SCATTERED(16)
//!   without ranges and says that it is done. WRITE LONG(10) it does not know.
//! - WRPROTECT and RDPROTECT are refused where there is no protection information; scsi_debug ignores them.
//! - A bit of a mode page that cannot be changed is refused; scsi_debug takes it.
//! - WRITE LONG, SANITIZE, FORMAT UNIT, ORWRITE, WRITE AND VERIFY and persistent reservations are here and not there;
//!   RESERVE and RELEASE are accepted there and have no effect.

mod answer;
mod attention;
mod buffer;
mod call;
mod disk;
mod dispatch;
mod image;
mod inquiry;
mod log;
mod mode;
mod random;
mod reservation;
mod runs;
mod script;
mod settings;
mod status;
mod tape;
mod trace;
mod unit;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formats::scsi::{Asc, LbaRange, Outcome};

pub use disk::BlockState;
pub use script::{Reaction, Rule, Selector, Times};
pub use settings::{Identity, Kind, Limits, Provisioning, Settings, TapeSettings, Thin};
pub use tape::Object;
pub use trace::Seen;

use self::unit::Unit;
use super::{Request, ScsiDevice};

/// A device: what its initiators share, and what is done to it from outside. A clone is the same device.
#[derive(Clone, Debug)]
pub struct SimulatedDevice {
    unit: Arc<Mutex<Unit>>,
}

impl SimulatedDevice {
    /// The device that `settings` describe.
    ///
    /// # Errors
    /// When its file cannot be opened or made as large as it needs to be; and for blocks that are no power of two from
    /// 512 bytes up, or so many that their bytes cannot be counted.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let size = settings.block_size;
        let counted = settings.blocks.checked_mul(u64::from(size)).is_some_and(|bytes| i64::try_from(bytes).is_ok());
        if !size.is_power_of_two() || size < 512 || !counted {
            let what = format!("a disk of {} blocks of {size} bytes cannot be simulated", settings.blocks);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Self { unit: Arc::new(Mutex::new(Unit::new(settings)?)) })
    }

    fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another initiator. It has nothing to be told: as if the attention of its arrival had been told already.
    #[must_use]
    pub fn nexus(&self) -> Nexus {
        Nexus { number: self.unit().join(), device: self.clone() }
    }

    /// Adds a rule to the script, behind those there are.
    pub fn add_rule(&self, selector: Selector, times: Times, reaction: Reaction) {
        self.unit().script.add(Rule { selector, times, reaction });
    }

    /// Forgets the script.
    pub fn clear_rules(&self) {
        self.unit().script.clear();
    }

    /// How many commands the script struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.unit().script.struck()
    }

    /// The power goes and comes back: each block in the write cache reaches the medium or is lost; a tape loses records
    /// that were not made durable and is at its beginning. Every initiator will be told 29h/01h.
    ///
    /// # Errors
    /// When the image fails.
    pub fn power_cut(&self) -> io::Result<()> {
        self.unit().power_cut().map_err(failed)
    }

    /// A logical unit reset. Every initiator will be told 29h/03h.
    pub fn reset(&self) {
        self.unit().reset();
    }

    /// Gives a disk another number of blocks. Every initiator will be told 2Ah/09h.
    ///
    /// # Errors
    /// When the image fails.
    pub fn resize(&self, blocks: u64) -> io::Result<()> {
        self.unit().resize(blocks).map_err(failed)
    }

    /// Has READ CAPACITY tell of so many blocks, or the truth again. Nobody is told of the change, and commands find the
    /// blocks that there are.
    pub fn claim_capacity(&self, blocks: Option<u64>) {
        if let Some(disk) = self.unit().medium.disk() {
            disk.claimed = blocks;
        }
    }

    /// Takes the device away, or brings it back as it was: without it every command ends with ENODEV.
    pub fn set_gone(&self, gone: bool) {
        self.unit().gone = gone;
    }

    /// Has something told to every initiator.
    pub fn attention(&self, asc: Asc) {
        self.unit().attend_all(asc);
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.unit().clock += time;
    }

    /// Time that has passed, by commands and by [`Self::advance`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.unit().clock
    }

    /// Takes the commands that reached the device since this was asked last, in the order of their execution; of very
    /// many the last 65,536.
    #[must_use]
    pub fn take_trace(&self) -> Vec<Seen> {
        self.unit().trace.take()
    }

    /// What a run of a disk's blocks holds, whatever their state, past every error and the script. Nothing for a tape or
    /// beyond the end.
    #[must_use]
    pub fn content(&self, lba: u64, blocks: u64) -> Vec<u8> {
        let unit = self.unit();
        let run = LbaRange::new(lba, blocks);
        let disk = unit.medium.disk_ref();
        let disk = disk.filter(|disk| lba.checked_add(blocks).is_some_and(|end| end <= disk.shape.blocks));
        disk.and_then(|disk| disk.content(run).ok()).unwrap_or_default()
    }

    /// What a disk's block is; nothing for a tape or beyond the end.
    #[must_use]
    pub fn state(&self, lba: u64) -> Option<BlockState> {
        let unit = self.unit();
        unit.medium.disk_ref().filter(|disk| lba < disk.shape.blocks).map(|disk| disk.state(lba))
    }

    /// Blocks of a disk that take space.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.unit().medium.disk_ref().map_or(0, |disk| disk.used())
    }

    /// Blocks of a disk that a power cut may take away.
    #[must_use]
    pub fn dirty(&self) -> u64 {
        self.unit().medium.disk_ref().map_or(0, |disk| disk.dirty())
    }

    /// What is on a tape, from its beginning.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        self.unit().medium.tape_ref().map_or(vec![], |tape| tape.objects().to_vec())
    }

    /// Where a tape is: objects in front of its position.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.unit().medium.tape_ref().map_or(0, |tape| tape.position())
    }
}

fn failed(outcome: Outcome) -> io::Error {
    io::Error::other(outcome.to_string())
}

/// An initiator's way to a simulated device. Each has its own unit attentions and its own part in reservations.
#[derive(Clone, Debug)]
pub struct Nexus {
    device: SimulatedDevice,
    number: usize,
}

impl Nexus {
    /// The device behind it.
    #[must_use]
    pub const fn device(&self) -> &SimulatedDevice {
        &self.device
    }

    /// Its number, counted from 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }
}

impl ScsiDevice for Nexus {
    fn execute(&self, request: Request<'_>) -> io::Result<Outcome> {
        self.device.unit().execute(self.number, request)
    }
}

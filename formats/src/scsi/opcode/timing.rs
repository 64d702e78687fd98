//! How long commands may take.

use core::fmt;

use super::{Command, DeviceType};

/// How long a command may take before the host gives it up and aborts it.
///
/// Each class is as long as a healthy device may need for the slowest of its commands: what is given up too early is
/// aborted on the device and issued again, so a time-out that is too short never ends; one that is too long only makes
/// a dead device known later. The times are the Linux kernel's own where it has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Timing {
    /// Commands of some blocks, pages, parameters. 60 s: twice SD_TIMEOUT (drivers/scsi/sd.h), which the kernel waits five
    /// times over; behind SG_IO nobody does.
    Usual,
    /// SYNCHRONIZE CACHE: all that a volatile cache holds goes to the medium. 120 s: twice the kernel's
    /// (SD_FLUSH_TIMEOUT_MULTIPLIER, drivers/scsi/sd.h).
    Flush,
    /// Any number of blocks in one command: WRITE SAME, UNMAP, VERIFY; a spindle that starts; microcode, self-tests. 600 s:
    /// 60 GB at 100 MB/s.
    Blocks,
    /// Tape: one block, filemark or parameter, with all that was buffered before it. 900 s: ST_TIMEOUT (drivers/scsi/st.c).
    Tape,
    /// Tape: from one end to the other. 14000 s: ST_LONG_TIMEOUT (drivers/scsi/st.c).
    Wind,
    /// The whole of a disk: FORMAT UNIT, SANITIZE. 24 hours: a disk of 30 TB at 400 MB/s needs 21; FORMAT_UNIT_TIMEOUT
    /// (include/scsi/scsi_ioctl.h) was two when disks were small.
    Medium,
}

impl Timing {
    /// All classes, from the shortest.
    pub const ALL: [Self; 6] = [Self::Usual, Self::Flush, Self::Blocks, Self::Tape, Self::Wind, Self::Medium];

    /// The time-out in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Usual => 60,
            Self::Flush => 120,
            Self::Blocks => 600,
            Self::Tape => 900,
            Self::Wind => 14_000,
            Self::Medium => 24 * 3600,
        }
    }

    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Flush => "flush",
            Self::Blocks => "blocks",
            Self::Tape => "tape",
            Self::Wind => "wind",
            Self::Medium => "medium",
        }
    }

    /// The class of a command: its row's, or for one without a row what is usual for the device.
    #[must_use]
    pub fn of(command: &Command, device: DeviceType) -> Self {
        match command.row() {
            Some(row) => row.timing,
            None if device == DeviceType::TAPE => Self::Tape,
            None => Self::Usual,
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

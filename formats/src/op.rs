//! What a record does to the medium, and how the device answered.

use core::fmt;

/// The kinds of commands that change the medium. Explicit tags; 0 is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Op {
    /// Writes the payload at the range.
    Write = 1,
    /// Makes everything completed so far durable; the range is empty.
    Flush = 2,
    /// The range's content is no longer needed (UNMAP/TRIM); what is read afterwards is the device's choice.
    Discard = 3,
    /// The range reads as zeros afterwards.
    WriteZeroes = 4,
    /// Discard that also erases all copies.
    SecureErase = 5,
    /// A zone operation: named, counted and refused.
    Zone = 6,
    /// A passthrough or vendor command whose effect is not known at the block layer.
    Opaque = 7,
    /// A SCSI command that none of the others is: its trailer tells which, and what it did.
    Scsi = 8,
}

impl Op {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
        Self::SecureErase,
        Self::Zone,
        Self::Opaque,
        Self::Scsi,
    ];

    /// The kind with this tag.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Write),
            2 => Some(Self::Flush),
            3 => Some(Self::Discard),
            4 => Some(Self::WriteZeroes),
            5 => Some(Self::SecureErase),
            6 => Some(Self::Zone),
            7 => Some(Self::Opaque),
            8 => Some(Self::Scsi),
            _ => None,
        }
    }

    /// Its tag on disk and wire.
    #[must_use]
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// Its name in the words of the field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
            Self::SecureErase => "secure-erase",
            Self::Zone => "zone",
            Self::Opaque => "opaque",
            Self::Scsi => "scsi",
        }
    }

    /// Whether it changes bytes of its range.
    #[must_use]
    pub const fn changes_range(self) -> bool {
        !matches!(self, Self::Flush)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

bitflags::bitflags! {
    /// Modifiers of a command, in blkecho's own bit positions (the kernel's move between versions).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct OpFlags: u32 {
        /// The payload is durable when the command completes (REQ_FUA, SBC FUA).
        const FUA = 1;
        /// Everything completed before is made durable first (REQ_PREFLUSH; on bio-based devices only).
        const PREFLUSH = 2;
        /// Somebody waits for it (REQ_SYNC).
        const SYNC = 4;
        /// Metadata of a file system (REQ_META).
        const META = 8;
        /// The zeroed blocks must stay allocated (REQ_NOUNMAP).
        const NOUNMAP = 16;
        /// All or nothing (REQ_ATOMIC).
        const ATOMIC = 32;
    }
}

/// How the device answered: the kernel's `blk_status_t` (include/linux/blk_types.h); 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Status(pub u8);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);

    /// Nobody saw how the command ended: blkecho's own, never the kernel's.
    pub const UNKNOWN: Self = Self(255);

    /// Whether the command did what it says.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// The kernel's name without its `BLK_STS_` prefix; the numbers up to 12 have been stable since 4.13.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "NOTSUPP",
            2 => "TIMEOUT",
            3 => "NOSPC",
            4 => "TRANSPORT",
            5 => "TARGET",
            6 => "RESV_CONFLICT",
            7 => "MEDIUM",
            8 => "PROTECTION",
            9 => "RESOURCE",
            10 => "IOERR",
            11 => "DM_REQUEUE",
            12 => "AGAIN",
            255 => "UNKNOWN",
            _ => "UNNAMED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_round_trip_and_zero_is_invalid() {
        assert_eq!(Op::from_tag(0), None);
        for op in Op::ALL {
            assert_eq!(Op::from_tag(op.tag()), Some(op));
        }
    }
}

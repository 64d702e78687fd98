//! The values of a filter as people write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use formats::scsi::opcode::rows;
use probe_types::COMM_LEN;

/// Why a text is no value of a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No range.
    #[error("{0:?} is no range of LBAs: write FIRST-LAST, FIRST+COUNT or one LBA, such as 0-2047 or data:4096+8")]
    Range(String),
    /// Ends before it begins, or behind the last number.
    #[error("{0:?} is an empty range of LBAs: it ends before it begins, or has no end")]
    Empty(String),
    /// No operation.
    #[error("{0:?} is no operation: use write, flush, discard, secure-erase, write-zeroes or passthrough")]
    Operation(String),
    /// No operation code.
    #[error(
        "{0:?} is no operation code: write a number up to 0xff or a name of the standard, such as 0x2a or \"WRITE(10)\""
    )]
    Opcode(String),
    /// No class.
    #[error("{0:?} is no class: use write, sync or state")]
    Class(String),
    /// A class that is never carried.
    #[error("reads are counted in `status`, never carried: use write, sync or state")]
    ReadClass,
    /// No name.
    #[error("a task has a name, of one byte at least and without a zero byte")]
    TaskName,
    /// No group.
    #[error("name a directory of the cgroup2 file system, such as system.slice/db.service, or its id")]
    Group,
}

/// LBAs of a volume: `[NAME:]FIRST-LAST`, `[NAME:]FIRST+COUNT`, `[NAME:]LBA`, in its logical blocks, counted from its own
/// start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbaRange {
    /// Name of the volume; none where there is one only.
    pub volume: Option<String>,
    /// First LBA.
    pub first: u64,
    /// Last LBA, itself included.
    pub last: u64,
}

impl FromStr for LbaRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::Range(text.to_owned());
        let (volume, range) = text.rsplit_once(':').map_or((None, text), |(name, range)| (Some(name), range));
        if volume.is_some_and(str::is_empty) {
            return Err(bad());
        }
        let empty = || ParseError::Empty(text.to_owned());
        let (first, last) = if let Some((first, count)) = range.split_once('+') {
            let (first, count) = (number(first).ok_or_else(bad)?, number(count).ok_or_else(bad)?);
            (first, count.checked_sub(1).and_then(|more| first.checked_add(more)).ok_or_else(empty)?)
        } else {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?)
        };
        if last < first || last == u64::MAX {
            return Err(empty());
        }
        Ok(Self { volume: volume.map(str::to_owned), first, last })
    }
}

impl fmt::Display for LbaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(volume) = &self.volume {
            write!(f, "{volume}:")?;
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    // `from_str_radix` takes a sign, which nobody means here.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())?
}

/// Operations of the block layer that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// REQ_OP_WRITE.
    Write,
    /// REQ_OP_FLUSH, and the empty write by which a bio asks for it.
    Flush,
    /// REQ_OP_DISCARD.
    Discard,
    /// REQ_OP_SECURE_ERASE.
    SecureErase,
    /// REQ_OP_WRITE_ZEROES.
    WriteZeroes,
    /// REQ_OP_DRV_IN and REQ_OP_DRV_OUT: commands that programs send past the block layer.
    Passthrough,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Write, Self::Flush, Self::Discard, Self::SecureErase, Self::WriteZeroes, Self::Passthrough];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::SecureErase => "secure-erase",
            Self::WriteZeroes => "write-zeroes",
            Self::Passthrough => "passthrough",
        }
    }
}

impl FromStr for Operation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|operation| operation.name() == text);
        found.ok_or_else(|| ParseError::Operation(text.to_owned()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SCSI operation code: a number, or the name of a command in the standard (`WRITE(10)`, `write 10`). Commands that
/// differ by service action only share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpcodeName(pub u8);

impl FromStr for OpcodeName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::Opcode(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return number(text).and_then(|number| u8::try_from(number).ok()).map(Self).ok_or_else(bad);
        }
        let found = rows().find(|row| bare(row.name) == bare(text) && !text.is_empty());
        found.map(|row| Self(row.opcode)).ok_or_else(bad)
    }
}

/// A name without what people leave out.
fn bare(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl fmt::Display for OpcodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// The nature of a command (SPC-6, "Command descriptor block"; the opcode table tells it of each).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandClass {
    /// Changes what is on the medium.
    Write,
    /// Makes what was written durable.
    Sync,
    /// Changes the device's state: reservations, modes, position, power.
    State,
}

impl CommandClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Write, Self::Sync, Self::State];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::State => "state",
        }
    }
}

impl FromStr for CommandClass {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "read" {
            return Err(ParseError::ReadClass);
        }
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or_else(|| ParseError::Class(text.to_owned()))
    }
}

impl fmt::Display for CommandClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a task. The kernel keeps the first 15 bytes, so more are not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskName([u8; COMM_LEN]);

impl TaskName {
    /// As the kernel keeps it, filled up with zeros.
    #[must_use]
    pub const fn bytes(&self) -> [u8; COMM_LEN] {
        self.0
    }
}

impl FromStr for TaskName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text.contains('\0') {
            return Err(ParseError::TaskName);
        }
        let mut name = [0; COMM_LEN];
        name.iter_mut().zip(text.bytes().take(COMM_LEN - 1)).for_each(|(to, from)| *to = from);
        Ok(Self(name))
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.0).trim_end_matches('\0'))
    }
}

/// A control group (version 2): its id, or its directory, by a path or relative to where cgroup2 is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// By id: the inode number of its directory.
    Id(u64),
    /// By directory.
    Path(PathBuf),
}

impl FromStr for Group {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match number(text) {
            Some(0) => Err(ParseError::Group),
            Some(id) if !text.is_empty() => Ok(Self::Id(id)),
            _ if text.is_empty() => Err(ParseError::Group),
            _ => Ok(Self::Path(text.into())),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

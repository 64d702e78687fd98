//! Why a capture file cannot be written or read.

use formats::VolumeIndex;
use pcap_file::pcapng::{PcapNgReadError, PcapNgWriteError};
use thiserror::Error;

pub use crate::option::OptionError;

/// Why a capture cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The output failed: a full disk, or a reader of the pipe that went away.
    #[error("writing the capture: {0}")]
    Io(#[from] std::io::Error),
    /// A block cannot be made.
    #[error("a block of the capture cannot be written: {0}")]
    Block(PcapNgWriteError),
    /// The entry's volume has no interface.
    #[error("a record of volume {0}, which the capture does not name")]
    Volume(VolumeIndex),
    /// Header and payload do not belong together.
    #[error("a payload of {have} bytes, where its header says {want}")]
    Payload {
        /// Bytes given.
        have: usize,
        /// Bytes that the header says.
        want: u32,
    },
    /// A text that an option cannot hold.
    #[error("{what} of {len} bytes is too long for a capture file: {max} are possible")]
    TooLong {
        /// Which one.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl From<PcapNgWriteError> for WriteError {
    fn from(error: PcapNgWriteError) -> Self {
        match error {
            PcapNgWriteError::Io(error) => Self::Io(error),
            other => Self::Block(other),
        }
    }
}

/// Why a capture cannot be read, or not further.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The input failed.
    #[error("reading the capture: {0}")]
    Io(#[source] std::io::Error),
    /// There is nothing in it.
    #[error("the capture file is empty, or cut off within its first block")]
    Empty,
    /// No pcapng file.
    #[error(
        "not a pcapng file (it starts with {starts:02x?}); compressed by zstd it is read as it is, by anything else it must \
         be unpacked first"
    )]
    NotPcapng {
        /// Its first bytes, four at most.
        starts: Vec<u8>,
    },
    /// A pcapng file of another program.
    #[error("a pcapng file that blkecho did not write (by {program}): it has no records; tshark and Wireshark read it")]
    Foreign {
        /// What the file says of its program.
        program: String,
    },
    /// A later format.
    #[error("a capture of format {0}, and this blkecho reads 1: use a later blkecho")]
    Format(u32),
    /// A block that is none.
    #[error("damaged at byte {offset}: {error}; what lies before is whole")]
    Block {
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        error: PcapNgReadError,
    },
    /// A block that is larger than any that is written.
    #[error("damaged at byte {offset}: a block larger than {max} bytes; what lies before is whole")]
    TooLarge {
        /// Where the block begins.
        offset: u64,
        /// The largest.
        max: usize,
    },
    /// A record that is none.
    #[error("damaged at byte {offset}: {error}; what lies before is whole")]
    Record {
        /// Where its packet begins.
        offset: u64,
        /// What is wrong with it.
        error: OptionError,
    },
    /// What the file says of itself cannot be read.
    #[error("damaged at byte {offset}: the description of {what} cannot be read: {error}")]
    Description {
        /// Where the block begins.
        offset: u64,
        /// Of what.
        what: &'static str,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The payload is not what was captured.
    #[error("damaged at byte {offset}: the payload of seq {seq} does not match its checksum")]
    Checksum {
        /// Where its command's packet begins.
        offset: u64,
        /// The record's seq; 0 of a region.
        seq: u64,
    },
    /// Two captures in one file.
    #[error("a second capture begins at byte {offset}: cut the file there and read both")]
    SecondSection {
        /// Where.
        offset: u64,
    },
}

//! What can be wrong with type information, or missing from it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a question to the kernel's type information has no answer.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; the kernel needs CONFIG_DEBUG_INFO_BTF=y and /sys mounted", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is larger than any kernel's.
    #[error("{} has more than {limit} bytes: that is no kernel's type information", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are not BTF of this machine's byte order.
    #[error("not BTF of this machine: magic {found:#06x} instead of 0xeb9f")]
    Magic {
        /// The first two bytes.
        found: u16,
    },
    /// A version that is not known.
    #[error("BTF version {found} is not known: only version 1 is")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Something reaches beyond the end of its section.
    #[error("damaged BTF: {what} at byte {at} reaches beyond its section")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// Byte offset within its section.
        at: usize,
    },
    /// A kind beyond 19.
    #[error("BTF type {id} is of unknown kind {kind}: blkecho knows kinds 1 to 19")]
    Kind {
        /// Number of the type.
        id: u32,
        /// The kind found.
        kind: u8,
    },
    /// A reference to a type that does not exist.
    #[error("damaged BTF: there is no type {id}")]
    Reference {
        /// Number of the type.
        id: u32,
    },
    /// References that run in a circle, or nesting without sense.
    #[error("damaged BTF: {name} is nested too deeply")]
    TooDeep {
        /// What was looked for.
        name: String,
    },
    /// The kernel has no such type.
    #[error("the kernel has no {what} {name}")]
    NoType {
        /// `struct` or `enum`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The type has no such member.
    #[error("struct {structure} has no member {member} in this kernel")]
    NoMember {
        /// Name of the structure.
        structure: String,
        /// Name of the member.
        member: String,
    },
    /// The enum has no such value.
    #[error("{place} has no {enumerator} in this kernel")]
    NoEnumerator {
        /// Where it was looked for.
        place: String,
        /// Name of the enumerator.
        enumerator: String,
    },
    /// Several types of one name answer differently.
    #[error("several types named {name} in this kernel differ in {question}")]
    Ambiguous {
        /// The name.
        name: String,
        /// What was asked.
        question: String,
    },
    /// The member does not start at a byte or is not made of whole bytes.
    #[error("{member} of struct {structure} is a bit field: it has no byte offset")]
    BitField {
        /// Name of the structure.
        structure: String,
        /// Name of the member.
        member: String,
    },
}

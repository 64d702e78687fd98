//! SCSI in the words of its standards: commands, what they do to a medium, and how a device answers.
//!
//! One opcode table ([`opcode`]) says everything that is known of a command: its name, its length, where its fields
//! lie, what it moves, what it does, and how a standby repeats it. Decoding, building, describing and testing are
//! derived from it. Integers in what the standards lay out (CDBs, parameter lists, pages, sense) are big-endian, unlike the rest
//! of this crate.
//!
//! The sources are named by their short names: SPC-5 and SPC-6 (primary commands), SBC-4 (disks), SSC-5 (tapes), SMC-3
//! (changers), MMC-6 (optical), ZBC-2 (zoned disks), SAT-4 (ATA translation), SAM-6 (architecture).

pub mod asc;
mod asc_table;
pub mod build;
pub mod cdb;
pub mod decoded;
pub mod device;
pub mod effect;
pub mod identity;
pub mod list;
pub mod motion;
pub mod opcode;
pub mod sense;
pub mod status;

pub use asc::Asc;
pub use cdb::{Cdb, CdbError, Decoded, MAX_CDB, decode};
pub use decoded::Blocks;
pub use device::{DeviceType, Devices};
pub use effect::{Change, Content, EffectError, Geometry, Touched};
pub use list::{LbaRange, ListError};
pub use motion::{Motion, Place};
pub use opcode::{Class, Command, Direction, Effect, FieldName, Replay, Row, Timing};
pub use sense::{Sense, SenseBytes, SenseError, SenseFlags, SenseFormat, SenseKey};
pub use status::{DriverStatus, HostStatus, Outcome, ScsiStatus};

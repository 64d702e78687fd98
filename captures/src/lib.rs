//! Capture files: pcapng that standard tools read as SCSI, with our exact record of each command beside it.
//!
//! Each device is an interface, each command an iSCSI task on it: SCSI Command at issue, SCSI Data-Out with what was sent,
//! SCSI Response at completion (RFC 7143; `docs/decisions/0014-captures.md`). What was seen at the block layer stands there
//! as its SCSI equivalent. The packet of the command carries the entry's header, and what of the payload is no data, in a
//! custom option; so a file read back gives exactly what was written, and tools that know nothing of it show the rest.
//!
//! [`Writer`] never keeps more than one packet. [`Reader`] takes what is whole of a file that was cut, says how much was
//! left, and names where a damaged one is damaged; it never allocates by a length that it has not checked. [`Scan`] reads the
//! same on several threads.

pub mod analyze;
pub mod chain;
mod change;
pub mod compare;
pub mod convert;
pub mod edit;
mod equivalent;
mod error;
mod excerpt;
pub mod explore;
mod holes;
mod human;
mod identity;
mod image;
pub mod input;
mod iscsi;
mod line;
mod meta;
mod moment;
mod option;
mod output;
mod packet;
mod pieces;
mod reader;
pub mod rebuild;
mod scan;
mod select;
mod series;
mod summary;
mod time;
mod writer;

pub use change::{Change, Content, Done, Why};
pub use equivalent::{Answer, Scsi, scsi_of};
pub use error::{OptionError, ReadError, WriteError};
pub use excerpt::{Excerpt, ExcerptError, Expected, LeftOut, Part};
pub use holes::Hole;
pub use image::{Aside, Base, Image, ImageError, Progress as CopyProgress};
pub use line::{Kind, Lines};
pub use meta::{Device, Filtered, Lost, Section, Statistics};
pub use moment::{Before, Between, Moment, MomentError};
pub use option::PRIVATE_ENTERPRISE_NUMBER;
pub use output::Output;
pub use reader::{CapturedEntry, Item, Reader, Sink, Tail};
pub use scan::{Batch, Batches, End, Scan, SeriesScan};
pub use select::{Blocks, Chooser, SelectError, Selection};
pub use series::{CutFile, Series, SeriesError};
pub use summary::{Mark, Summary, Tally};
pub use time::Utc;
pub use writer::{MAX_FRAME_DATA, Writer};

//! Captures that tests write.

use captures::Writer;
use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Seq, Status, VolumeIndex};

/// Adds a command of a microsecond: a write to `offset`, or a flush where there is no length. Without `content` it has no
/// payload.
pub(crate) fn add(writer: &mut Writer<Vec<u8>>, seq: u64, at: u64, range: ByteRange, content: Option<&[u8]>) {
    let origin = Origin { issued_ns: at, completed_ns: at + 1000, queue_depth: 1, ..Origin::default() };
    let record = Record {
        seq: Seq(seq),
        dep: Seq(seq - 1),
        volume: VolumeIndex(0),
        op: if range.is_empty() { Op::Flush } else { Op::Write },
        flags: OpFlags::empty(),
        range,
        status: Status::OK,
        origin,
    };
    let content = content.unwrap_or_default();
    let payload = if content.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(content) };
    let header = EntryHeader { entry: Entry::Record(record), position: Position(seq), payload };
    writer.write(&header, content).expect("written");
}

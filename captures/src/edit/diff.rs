//! How two captures differ, command by command.

use formats::{Entry, EntryHeader, Record};

use super::{EditError, Look};
use crate::reader::{CapturedEntry, Item};
use crate::series::Series;

/// Where two captures differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Counts commands, from 1.
    pub place: u64,
    /// The command of the first capture, in words; none when it has no more.
    pub left: Option<String>,
    /// That of the second.
    pub right: Option<String>,
    /// What of it differs.
    pub what: &'static str,
}

/// Compares what was done, not when and by whom: device, kind, range, modifiers, status, content. `told` gets each
/// difference, and ends the comparison with false; `progress` is told the bytes of the first one that were read, and in all,
/// and stops it with false. Returns how many commands were compared.
///
/// # Errors
/// When one of them is damaged; the error names it.
pub fn diff(
    left: &mut Series,
    right: &mut Series,
    mut told: impl FnMut(Difference) -> bool,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<u64, EditError> {
    let (mut place, mut look) = (0, Look::default());
    loop {
        look.at(|| {
            let (done, total) = left.progress();
            progress(done, total)
        })?;
        let (a, b) = (next(left)?, next(right)?);
        let what = match (&a, &b) {
            (None, None) => return Ok(place),
            (Some(a), Some(b)) => differs(a, b),
            _ => Some("one has more"),
        };
        place += 1;
        if let Some(what) = what {
            let words = |record: Option<(Record, CapturedEntry)>| record.map(|(record, _)| words(&record));
            if !told(Difference { place, left: words(a), right: words(b), what }) {
                return Ok(place);
            }
        }
    }
}

/// The next command; what else is in a capture is passed over.
fn next(input: &mut Series) -> Result<Option<(Record, CapturedEntry)>, EditError> {
    while let Some(item) = input.next_item()? {
        if let Item::Entry(entry) = item
            && let EntryHeader { entry: Entry::Record(record), .. } = entry.header
        {
            return Ok(Some((record, *entry)));
        }
    }
    Ok(None)
}

fn differs((a, x): &(Record, CapturedEntry), (b, y): &(Record, CapturedEntry)) -> Option<&'static str> {
    let payload = |entry: &CapturedEntry| (entry.header.payload.encoding, entry.header.payload.crc);
    let differences = [
        (a.volume != b.volume, "device"),
        (a.op != b.op, "kind"),
        (a.range != b.range, "range"),
        (a.flags != b.flags, "modifiers"),
        (a.status != b.status, "status"),
        (payload(x) != payload(y), "content"),
    ];
    differences.into_iter().find(|(differ, _)| *differ).map(|(_, what)| what)
}

fn words(record: &Record) -> String {
    let status = if record.status.is_ok() { "" } else { record.status.name() };
    let text = format!("seq {} volume {} {} {} {status}", record.seq, record.volume, record.op, record.range);
    text.trim_end().to_owned()
}

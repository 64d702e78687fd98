//! What of a capture is of interest.

use formats::{Entry, Op, Record, Seq};

use crate::meta::Device;
use crate::reader::Item;

/// Blocks of a device, counted in its logical blocks from where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// Its name; every device without.
    pub device: Option<String>,
    /// The first one.
    pub first: u64,
    /// The last one, itself included.
    pub last: u64,
}

/// Chooses items. Several values of a kind mean any of them, several kinds must all hold; a kind without values holds for
/// everything. What was lost, and marks, are chosen by time and number alone: they concern every device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Commands issued from this moment on, in nanoseconds since 1970, UTC.
    pub from_ns: Option<u64>,
    /// Commands issued before this moment.
    pub until_ns: Option<u64>,
    /// First and last number.
    pub seq: Option<(Seq, Seq)>,
    /// Names of devices.
    pub devices: Vec<String>,
    /// Commands that touch one of these.
    pub blocks: Vec<Blocks>,
    /// Operations.
    pub ops: Vec<Op>,
    /// Names of tasks.
    pub comms: Vec<String>,
    /// Process ids.
    pub pids: Vec<u32>,
    /// Commands that failed, or whose end nobody saw.
    pub failed: bool,
}

impl Selection {
    /// Whether `item` is chosen; `devices` are those of its capture.
    #[must_use]
    pub fn takes<'a>(&self, item: &Item, mut devices: impl Iterator<Item = &'a Device>) -> bool {
        match item {
            Item::Statistics(_) => true,
            Item::Mark { at_ns, .. } => self.in_time(*at_ns) && self.seq.is_none(),
            Item::Entry(entry) => match &entry.header.entry {
                Entry::Record(record) => {
                    let device = devices.find(|device| device.volume == record.volume.0);
                    self.takes_record(record, device)
                }
                Entry::Gap(gap) => self.seq.is_none_or(|(first, last)| gap.first <= last && gap.last >= first),
                Entry::Region(_) => self.seq.is_none(),
            },
        }
    }

    fn in_time(&self, at_ns: u64) -> bool {
        self.from_ns.is_none_or(|from| at_ns >= from) && self.until_ns.is_none_or(|until| at_ns < until)
    }

    fn takes_record(&self, record: &Record, device: Option<&Device>) -> bool {
        let name = device.map_or("", |device| device.name.as_str());
        let origin = &record.origin;
        self.in_time(origin.issued_ns)
            && self.seq.is_none_or(|(first, last)| (first..=last).contains(&record.seq))
            && any(&self.devices, |wanted| wanted == name)
            && any(&self.blocks, |blocks| blocks.touches(record, device))
            && any(&self.ops, |op| *op == record.op)
            && any(&self.comms, |comm| *comm == task_name(&origin.comm))
            && any(&self.pids, |pid| *pid == origin.tgid)
            && (!self.failed || !record.status.is_ok())
    }
}

fn any<T>(wanted: &[T], is: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

impl Blocks {
    fn touches(&self, record: &Record, device: Option<&Device>) -> bool {
        let Some(device) = device.filter(|device| device.block_size > 0) else { return false };
        let block = u64::from(device.block_size);
        let named = self.device.as_ref().is_none_or(|name| *name == device.name);
        let range = record.range;
        named && !range.is_empty() && range.offset / block <= self.last && (range.end() - 1) / block >= self.first
    }
}

/// The name of a task as the kernel keeps it, up to its first zero byte.
pub(crate) fn task_name(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    // What a terminal would act on is shown, not sent to it.
    String::from_utf8_lossy(&comm[..end]).chars().flat_map(printable).collect()
}

fn printable(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

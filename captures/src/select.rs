//! What of a capture is of interest.

use formats::{ByteRange, Entry, Op, Record, Seq, VolumeIndex};
use thiserror::Error;

use crate::meta::Device;
use crate::moment::{Between, Moment, MomentError};
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
/// everything.
///
/// A part of a capture is a part of the order of completion: what is chosen by moment is what had completed, not what had
/// been issued, as in a rebuild or a replay. What was lost, and marks, are chosen by moment and number alone: they concern
/// every device. Content that was read back has a device and a place, and is no command: whoever asks for commands of a kind
/// does not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What completed up to this moment is left out.
    pub from: Moment,
    /// What completed after this moment is left out.
    pub until: Moment,
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

impl Default for Selection {
    /// Everything.
    fn default() -> Self {
        Self {
            from: Moment::Seq(Seq(0)),
            until: Moment::End,
            seq: None,
            devices: Vec::new(),
            blocks: Vec::new(),
            ops: Vec::new(),
            comms: Vec::new(),
            pids: Vec::new(),
            failed: false,
        }
    }
}

/// Why nothing can be chosen so.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum SelectError {
    /// The capture does not have the moment, or nothing lies between the two.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// A device that is not in the capture.
    #[error("the capture has no device {wanted}; it has {}", names(have))]
    NoDevice {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        have: Vec<String>,
    },
}

/// Names in a sentence.
pub(crate) fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Selection {
    /// To choose from a capture that began then, in nanoseconds since 1970, UTC.
    ///
    /// # Errors
    /// Nothing lies between the two moments.
    pub fn begin(&self, started_ns: u64) -> Result<Chooser<'_>, MomentError> {
        Ok(Chooser { selection: self, between: Between::new(&self.from, &self.until, started_ns)? })
    }

    fn takes(&self, item: &Item, devices: &[Device]) -> bool {
        match item {
            Item::Statistics(_) => true,
            Item::Mark { .. } => self.seq.is_none(),
            Item::Entry(entry) => match &entry.header.entry {
                Entry::Record(record) => self.takes_record(record, device(devices, record.volume)),
                Entry::Gap(gap) => self.seq.is_none_or(|(first, last)| gap.first <= last && gap.last >= first),
                Entry::Region(region) => {
                    self.is_of_any_command() && self.is_there(region.range, device(devices, region.volume))
                }
            },
        }
    }

    /// Whether nothing is asked for that only commands have.
    fn is_of_any_command(&self) -> bool {
        let none = self.ops.is_empty() && self.comms.is_empty() && self.pids.is_empty();
        none && !self.failed && self.seq.is_none()
    }

    fn is_there(&self, range: ByteRange, device: Option<&Device>) -> bool {
        let name = device.map_or("", |device| device.name.as_str());
        any(&self.devices, |wanted| wanted == name) && any(&self.blocks, |blocks| blocks.touches(range, device))
    }

    fn takes_record(&self, record: &Record, device: Option<&Device>) -> bool {
        let origin = &record.origin;
        self.seq.is_none_or(|(first, last)| (first..=last).contains(&record.seq))
            && self.is_there(record.range, device)
            && any(&self.ops, |op| *op == record.op)
            && any(&self.comms, |comm| *comm == task_name(&origin.comm))
            && any(&self.pids, |pid| *pid == origin.tgid)
            && (!self.failed || !record.status.is_ok())
    }
}

/// Chooses, item by item.
#[derive(Debug)]
pub struct Chooser<'a> {
    selection: &'a Selection,
    between: Between,
}

impl Chooser<'_> {
    /// Whether the item is chosen; `devices` are those of its capture. What a capture says at its end always is.
    ///
    /// # Errors
    /// The second moment came before the first one.
    pub fn takes(&mut self, item: &Item, devices: &[Device]) -> Result<bool, MomentError> {
        let is_between = self.between.takes(item)? || matches!(item, Item::Statistics(_));
        Ok(is_between && self.selection.takes(item, devices))
    }

    /// After all items: whether the capture has what was asked for.
    ///
    /// # Errors
    /// What it has instead.
    pub fn end(&self, devices: &[Device]) -> Result<(), SelectError> {
        self.between.reached()?;
        let names = || devices.iter().map(|device| device.name.clone());
        let named = self.selection.blocks.iter().filter_map(|blocks| blocks.device.as_ref());
        match self.selection.devices.iter().chain(named).find(|wanted| names().all(|name| name != **wanted)) {
            Some(wanted) => Err(SelectError::NoDevice { wanted: wanted.clone(), have: names().collect() }),
            None => Ok(()),
        }
    }
}

fn device(devices: &[Device], volume: VolumeIndex) -> Option<&Device> {
    devices.iter().find(|device| device.volume == volume.0)
}

fn any<T>(wanted: &[T], is: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

impl Blocks {
    fn touches(&self, range: ByteRange, device: Option<&Device>) -> bool {
        let Some(device) = device.filter(|device| device.block_size > 0) else { return false };
        let block = u64::from(device.block_size);
        let named = self.device.as_ref().is_none_or(|name| *name == device.name);
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

//! Several captures as one: by time of completion, with an order of its own that keeps each capture's.

use std::collections::VecDeque;
use std::io::Write;

use formats::{Entry, Record, Region, Seq, VolumeIndex};

use super::{EditError, Edited, Ends, Look};
use crate::meta::{Device, Section, Statistics};
use crate::reader::{CapturedEntry, Item};
use crate::series::Series;
use crate::writer::Writer;

/// Completions that are remembered, to tell what had completed when a command was issued.
const MOST: usize = 1 << 18;

/// One input.
struct Source {
    input: Series,
    next: Option<Item>,
    /// When `next` happened.
    at_ns: u64,
    /// Each device's new volume, by the order of the capture.
    volumes: Vec<(u16, u16)>,
    /// Old and new place of the last completions.
    places: VecDeque<(u64, u64)>,
}

impl Source {
    /// Reads on; what has no time of its own happens right after what was before it.
    fn advance(&mut self, ended: &mut Ends) -> Result<(), EditError> {
        loop {
            self.next = self.input.next_item()?;
            match &self.next {
                Some(Item::Statistics(statistics)) => ended.add(statistics),
                Some(Item::Mark { at_ns, .. }) => {
                    self.at_ns = self.at_ns.max(*at_ns);
                    return Ok(());
                }
                Some(Item::Entry(entry)) => {
                    if let Entry::Record(record) = &entry.header.entry {
                        self.at_ns = self.at_ns.max(record.origin.completed_ns);
                    }
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn volume(&self, old: u16) -> VolumeIndex {
        VolumeIndex(self.volumes.iter().find(|(known, _)| *known == old).map_or(old, |(_, new)| *new))
    }

    /// The new place of the last completion up to `old`.
    fn place(&self, old: u64) -> u64 {
        let known = self.places.partition_point(|(seq, _)| *seq <= old);
        known.checked_sub(1).and_then(|known| self.places.get(known)).map_or(0, |(_, new)| *new)
    }
}

/// The order of the merged capture.
#[derive(Default)]
struct Order {
    seq: u64,
    /// When the last ones completed, and their places.
    completed: VecDeque<(u64, u64)>,
}

impl Order {
    /// How many had completed at this moment; as of one that is forgotten, at least so many.
    fn at(&self, ns: u64) -> u64 {
        let known = self.completed.partition_point(|(at, _)| *at <= ns);
        known.checked_sub(1).and_then(|known| self.completed.get(known)).map_or(0, |(_, seq)| *seq)
    }

    fn complete(&mut self, ns: u64) -> u64 {
        self.seq += 1;
        let last = self.completed.back().map_or(0, |(at, _)| *at);
        self.completed.push_back((ns.max(last), self.seq));
        if self.completed.len() > MOST {
            self.completed.pop_front();
        }
        self.seq
    }
}

/// Merges captures. Devices get new volume numbers; `seq` and `dep` are made anew: what had completed, on any of them,
/// when a command was issued.
///
/// # Errors
/// When one of them is damaged, or the output fails. What was written until then is no result.
pub fn merge<W: Write>(
    inputs: Vec<Series>,
    out: W,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(W, Edited), EditError> {
    let section =
        Section { filter: "edited: merged".into(), ..inputs.first().ok_or(EditError::Nothing)?.section().clone() };
    let started_ns = inputs.iter().map(|input| input.section().started_ns).min().unwrap_or(0);
    let payload = inputs.iter().all(|input| input.section().payload);
    let mut writer = Writer::new(out, &Section { started_ns, payload, part: 0, ..section }, &[])?;
    let (mut order, mut ended, mut result) = (Order::default(), Ends::default(), Edited::default());
    let (mut volumes, mut look) = (0, Look::default());
    let mut sources = Vec::new();
    for input in inputs {
        let mut source = Source { input, next: None, at_ns: 0, volumes: Vec::new(), places: VecDeque::new() };
        source.advance(&mut ended)?;
        // In the order of the inputs, whichever begins first.
        describe(&mut source, &mut writer, &mut volumes)?;
        sources.push(source);
    }
    while let Some(source) = sources.iter_mut().filter(|source| source.next.is_some()).min_by_key(|source| source.at_ns)
    {
        describe(source, &mut writer, &mut volumes)?;
        match source.next.take() {
            Some(Item::Entry(entry)) => write(source, *entry, &mut writer, &mut order, &mut result)?,
            Some(Item::Mark { at_ns, text }) => writer.mark(at_ns, &text)?,
            Some(Item::Statistics(_)) | None => {}
        }
        source.advance(&mut ended)?;
        look.at(|| told(&sources, progress))?;
    }
    result.cut_bytes = sources.iter().flat_map(|source| source.input.cut()).map(|cut| cut.bytes).sum();
    let files = sources.iter().map(|source| source.input.files()).sum();
    if let Some(ended) = ended.of(files) {
        writer.statistics(&Statistics { records: result.kept, in_flight: 0, ..ended })?;
    }
    Ok((writer.finish()?, result))
}

fn told(sources: &[Source], progress: &mut dyn FnMut(u64, u64) -> bool) -> bool {
    let all = sources.iter().map(|source| source.input.progress());
    let (done, total) = all.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    progress(done, total)
}

/// Names devices that came with the last item.
fn describe<W: Write>(source: &mut Source, writer: &mut Writer<W>, volumes: &mut u32) -> Result<(), EditError> {
    let fresh: Vec<Device> = source.input.devices().iter().skip(source.volumes.len()).cloned().collect();
    for device in fresh {
        let volume = u16::try_from(*volumes).map_err(|_| EditError::Devices)?;
        source.volumes.push((device.volume, volume));
        writer.add_device(&Device { volume, ..device })?;
        *volumes += 1;
    }
    Ok(())
}

fn write<W: Write>(
    source: &mut Source,
    mut entry: CapturedEntry,
    writer: &mut Writer<W>,
    order: &mut Order,
    result: &mut Edited,
) -> Result<(), EditError> {
    if entry.trailer.len() != entry.header.payload.trailer as usize {
        result.broken += 1;
        return Ok(());
    }
    entry.header.entry = match entry.header.entry {
        Entry::Record(record) => Entry::Record(placed(source, record, order)),
        Entry::Region(region) => Entry::Region(Region {
            volume: source.volume(region.volume.0),
            consistent_after: Seq(source.place(region.consistent_after.0).max(order.seq)),
            ..region
        }),
        Entry::Gap(gap) => Entry::Gap(gap),
    };
    result.kept += 1;
    Ok(writer.write_captured(&entry)?)
}

/// The record in the new order.
fn placed(source: &mut Source, record: Record, order: &mut Order) -> Record {
    let own = source.place(record.dep.0);
    let dep = own.max(order.at(record.origin.issued_ns));
    let seq = order.complete(record.origin.completed_ns);
    source.places.push_back((record.seq.0, seq));
    if source.places.len() > MOST {
        source.places.pop_front();
    }
    Record { seq: Seq(seq), dep: Seq(dep.min(seq - 1)), volume: source.volume(record.volume.0), ..record }
}

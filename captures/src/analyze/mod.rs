//! What a capture tells: of rates, latencies and places, of what is written again and again, of flushes, content and
//! failures, and of what a replica of this load would need.
//!
//! One pass over the file, in memory that does not grow with it. What needs no order is found on several threads
//! (`facts`); everything else sees the commands in the order of their completion. Sketches that keep less than all
//! (frequent blocks, distances of overwrites, duplicate content) say how far they may be off, and have a naive model in
//! their tests.

mod advice;
mod buckets;
mod content;
mod distribution;
mod facts;
mod frequent;
mod html;
mod origins;
mod overwrite;
mod pattern;
mod report;
mod state;
mod text;
mod timeline;

use formats::{Op, OpFlags, Record};

use crate::meta::{Device, Section, Statistics};
use crate::scan::{Batches, End};
use content::Contents;
use distribution::Counter;
use facts::{Fact, Facts, Gathered};
use origins::{Failures, Origins};
use overwrite::Overwrites;
use pattern::{Concurrency, Flushes, Sequentiality};
use state::States;
use timeline::{Places, Timeline};

pub use advice::{Advice, LinkAdvice, LogAdvice};
pub use content::ContentReport;
pub use distribution::{Distribution, Step};
pub use html::ChartError;
pub(crate) use origins::comm_of;
pub use origins::{Failure, FailureReport, OriginReport};
pub use overwrite::{OverwriteReport, Window};
pub use pattern::{ConcurrencyReport, FlushReport, SequentialityReport};
pub use report::{Operation, Report, Summary};
pub use state::{Neighbour, StateBlock, Transactions};
pub use timeline::{HeatMap, HotRegion, REGION, ROWS, Stretch, TimelineReport};

/// Marks that are told.
const MARKS: usize = 1000;
/// Devices that are told.
const DEVICES: usize = 1024;

/// Analyses a capture. `progress` is told the bytes that were read.
///
/// # Errors
/// When it is no capture, is damaged or cannot be read. What was found until then is not told: it would look like all.
pub fn analyze<B: Batches>(scan: B, mut progress: impl FnMut(u64)) -> Result<Report, B::Error> {
    let mut analysis = Analysis { section: scan.section().clone(), ..Analysis::default() };
    let end = scan.gather(Gathered::begin, Facts::of, |facts, bytes| {
        analysis.part(facts);
        progress(bytes);
        Ok::<_, B::Error>(())
    })?;
    Ok(analysis.report(end))
}

/// One kind of command.
#[derive(Debug, Default)]
struct Kind {
    failed: u64,
    bytes: u64,
    size: Counter,
    latency: Counter,
}

/// All that is followed.
#[derive(Debug, Default)]
struct Analysis {
    section: Section,
    devices: Vec<Device>,
    kinds: [Kind; Op::ALL.len()],
    commands: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    regions: u64,
    gaps: u64,
    lost: u64,
    marks: Vec<(u64, String)>,
    marks_count: u64,
    statistics: Option<Statistics>,
    timeline: Timeline,
    places: Places,
    sequentiality: Sequentiality,
    overwrites: Overwrites,
    concurrency: Concurrency,
    flushes: Flushes,
    contents: Contents,
    origins: Origins,
    failures: Failures,
    states: States,
}

impl Analysis {
    fn part(&mut self, part: Facts) {
        for device in part.devices {
            self.places.size(device.volume, device.size);
            if self.devices.len() < DEVICES {
                self.devices.push(device);
            }
        }
        self.contents.add(&part.content);
        part.facts.into_iter().for_each(|fact| self.fact(fact));
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Plain(record) => self.record(&record, None),
            Fact::Command(words, record) => self.record(&record, Some(&words)),
            Fact::Gap(gap) => {
                self.gaps += 1;
                self.lost = self.lost.saturating_add((gap.last.0 - gap.first.0).saturating_add(1));
            }
            Fact::Region => self.regions += 1,
            Fact::Mark(at_ns, text) => {
                self.marks_count += 1;
                if self.marks.len() < MARKS {
                    self.marks.push((at_ns, text));
                }
            }
            Fact::Statistics(statistics) => self.statistics = Some(*statistics),
        }
    }

    fn record(&mut self, record: &Record, words: Option<&str>) {
        let origin = &record.origin;
        self.commands += 1;
        self.first_ns = Some(self.first_ns.unwrap_or(u64::MAX).min(origin.issued_ns));
        self.last_ns = self.last_ns.max(origin.completed_ns);
        let kind = &mut self.kinds[usize::from(record.op.tag() - 1)];
        kind.failed += u64::from(!record.status.is_ok());
        kind.bytes = kind.bytes.saturating_add(record.range.len);
        kind.size.add(record.range.len);
        kind.latency.add(origin.completed_ns.saturating_sub(origin.issued_ns));
        self.timeline.record(record);
        self.concurrency.record(record);
        self.origins.record(record);
        self.failures.record(record, words);
        self.changes(record);
    }

    fn changes(&mut self, record: &Record) {
        let (volume, at_ns) = (record.volume.0, record.origin.completed_ns);
        if record.op == Op::Flush || record.flags.contains(OpFlags::PREFLUSH) {
            self.flushes.flush(at_ns);
            self.states.flush();
        }
        if record.op == Op::Write && !record.range.is_empty() {
            let fua = record.flags.contains(OpFlags::FUA);
            self.flushes.write(record.range.len, fua);
            self.states.write(volume, record.range, at_ns, fua);
            self.places.write(record);
            self.sequentiality.write(volume, record.range);
            self.overwrites.write(volume, record.range);
        }
    }

    fn report(mut self, end: End) -> Report {
        let timeline = self.timeline.report();
        Report {
            summary: self.summary(end),
            operations: self.operations(),
            advice: Advice::of(&timeline),
            heat_maps: self.places.heat_maps(),
            hot_regions: self.places.hottest(),
            sequentiality: self.sequentiality.report(),
            overwrites: self.overwrites.report(),
            concurrency: self.concurrency.report(),
            flushes: self.flushes.report(),
            content: self.contents.report(),
            processes: self.origins.processes(),
            cgroups: self.origins.cgroups(),
            failures: self.failures.report(),
            state_blocks: self.states.report(&self.overwrites),
            section: self.section,
            devices: self.devices,
            marks: self.marks,
            timeline,
        }
    }

    fn summary(&self, end: End) -> Summary {
        let write = &self.kinds[usize::from(Op::Write.tag() - 1)];
        let span = self.last_ns.saturating_sub(self.first_ns.unwrap_or(self.last_ns));
        Summary {
            file_bytes: end.bytes,
            commands: self.commands,
            written_bytes: write.bytes,
            seconds: span as f64 / 1e9,
            regions: self.regions,
            gaps: self.gaps,
            lost_completions: self.lost,
            cut_bytes: end.tail.map_or(0, |tail| tail.bytes),
            foreign_packets: end.foreign,
            marks: self.marks_count,
            statistics: self.statistics.clone(),
        }
    }

    fn operations(&self) -> Vec<Operation> {
        let operation = |(op, kind): (&Op, &Kind)| Operation {
            name: op.name(),
            count: kind.size.report().count,
            failed: kind.failed,
            bytes: kind.bytes,
            size: kind.size.report(),
            latency: kind.latency.report(),
        };
        let all = Op::ALL.iter().zip(&self.kinds).map(operation);
        all.filter(|operation| operation.count > 0).collect()
    }
}

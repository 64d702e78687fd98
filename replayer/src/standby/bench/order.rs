//! What the order of a recording allows: replay as a device of a known kind would do it, if all else cost nothing.
//!
//! A device is so many units, each of which serves one command at a time; commands that are started wait for one in the
//! order in which they were started. With one unit that is a device whose processor is its bottleneck, with as many as the
//! depth one of pure latency. The rule by which commands start is the standby's own scheduler.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use formats::{EntryHeader, Seq};
use replication::scheduler::{Scheduler, SchedulerError};
use serde::Serialize;

use super::Random;

/// Mean of the service times; only ratios of the ends are used.
const SERVICE: u64 = 1_000_000;
/// Entries that the scheduler is handed ahead, as by a standby's engine.
const AHEAD: usize = 4096;
/// Entries of a recording that are looked at.
const MOST: usize = 32_768;
/// Parts of a service time that vary independently (Erlang's distribution); none for one that is always the same. The
/// coefficient of variation is one over the square root.
const SHAPES: [u32; 3] = [0, 4, 1];

/// What the order leaves of the throughput on one kind of device.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct OrderBound {
    /// Commands that the device serves at the same time.
    pub units: usize,
    /// Standard deviation of its service times, in parts of their mean.
    pub variation: f64,
    /// Throughput in order by throughput of the same commands in any order, with the same depth.
    pub ratio: f64,
}

/// For devices of 1, 2, 4, ... units up to the depth, and service times of each shape.
pub(super) fn bounds(headers: &[EntryHeader], free: &[EntryHeader], depth: usize) -> Vec<OrderBound> {
    let (headers, free) = (&headers[..headers.len().min(MOST)], &free[..free.len().min(MOST)]);
    let units = std::iter::successors(Some(1), |units| Some(units * 2)).take_while(|units| *units < depth);
    let kinds = units.chain([depth]).flat_map(|units| SHAPES.map(|parts| (units, parts)));
    let bound = |(units, parts): (usize, u32)| {
        let end = |headers| end(headers, depth, units, parts).ok();
        let ratio = end(free)? as f64 / end(headers)? as f64;
        let variation = if parts == 0 { 0.0 } else { f64::from(parts).sqrt().recip() };
        Some(OrderBound { units, variation, ratio })
    };
    kinds.filter_map(bound).collect()
}

/// When the last of the commands ends.
fn end(headers: &[EntryHeader], depth: usize, units: usize, parts: u32) -> Result<u64, SchedulerError> {
    let (mut scheduler, mut random) = (Scheduler::new(depth, 0, Seq(0)), Random(1));
    let mut coming = (1..).zip(headers).peekable();
    let (mut started, mut ends, mut now) = (VecDeque::new(), BinaryHeap::new(), 0);
    loop {
        while scheduler.pending() < AHEAD
            && let Some((index, header)) = coming.next()
        {
            scheduler.admit(index, header)?;
        }
        started.extend(std::iter::from_fn(|| scheduler.next_ready()));
        while ends.len() < units
            && let Some(index) = started.pop_front()
        {
            ends.push(Reverse((now + service(parts, &mut random), index)));
        }
        let Some(Reverse((at, index))) = ends.pop() else { return Ok(now) };
        now = at;
        scheduler.complete(index)?;
    }
}

fn service(parts: u32, random: &mut Random) -> u64 {
    // Evenly between 0 (excluded) and 1.
    let mut even = || ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    match parts {
        0 => SERVICE,
        parts => (0..parts).map(|_| -even().ln() * SERVICE as f64 / f64::from(parts)).sum::<f64>() as u64,
    }
}

#[cfg(test)]
mod tests {
    use formats::entry::{Origin, PayloadInfo, Record};
    use formats::{ByteRange, Entry, Op, OpFlags, Position, Status, VolumeIndex};

    use super::*;

    /// Writes to places of their own, each of which depends on the one so far before it.
    fn writes(count: u64, back: u64) -> Vec<EntryHeader> {
        let write = |seq: u64| Record {
            seq: Seq(seq),
            dep: Seq(seq.saturating_sub(back)),
            volume: VolumeIndex(0),
            op: Op::Write,
            flags: OpFlags::empty(),
            range: ByteRange::new(seq * 512, 512),
            status: Status::OK,
            origin: Origin::default(),
        };
        let header =
            |seq| EntryHeader { entry: Entry::Record(write(seq)), position: Position(seq), payload: PayloadInfo::ZERO };
        (1..=count).map(header).collect()
    }

    fn ratio(back: u64, units: usize, variation: f64) -> f64 {
        let (ordered, free) = (writes(4000, back), writes(4000, u64::MAX));
        let found = bounds(&ordered, &free, 8).into_iter().find(|b| b.units == units && b.variation == variation);
        found.expect("that kind of device").ratio
    }

    #[test]
    fn ends_that_can_be_told_without_a_model() {
        let end = |back, depth, units| end(&writes(64, back), depth, units, 0).unwrap() / SERVICE;
        assert_eq!([end(1, 8, 8), end(1, 8, 1)], [64, 64], "one after the other");
        assert_eq!([end(64, 8, 8), end(64, 8, 2), end(64, 4, 8)], [8, 32, 16], "as many as units and depth");
        assert_eq!(end(4, 8, 8), 16, "four at once");
    }

    #[test]
    fn an_order_of_the_same_depth_costs_only_where_service_times_vary() {
        assert_eq!([ratio(8, 8, 0.0), ratio(8, 1, 0.0), ratio(8, 1, 1.0)], [1.0; 3]);
        assert_eq!([ratio(1, 8, 0.0), ratio(2, 8, 0.0)], [0.125, 0.25]);
        let (some, much) = (ratio(8, 8, 0.5), ratio(8, 8, 1.0));
        assert!((0.4..0.9).contains(&some) && (0.2..0.6).contains(&much) && much < some, "{some} {much}");
        assert!(ratio(8, 2, 1.0) > 0.9, "the units that there are stay busy");
    }
}

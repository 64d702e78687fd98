//! State blocks: blocks that are written far more often than others, all through the capture, and what is written between
//! two updates of one. Super blocks, journal heads, allocation maps and the like are found so, without knowing whose they
//! are; what lies between two updates of one is a transaction of whoever writes it.

use formats::ByteRange;
use serde::Serialize;

use super::frequent::Frequent;
use super::overwrite::{BLOCK, Overwrites, block_key};

/// Longest write that may be one of state: those of data are in general longer.
const LONGEST: u64 = 16 << 10;
/// Blocks that are watched.
const ROOM: usize = 8192;
/// Fewest updates of a state block.
const FEWEST: u64 = 8;
/// A state block is written at least so many times as often as the others on average.
const TIMES_AVERAGE: f64 = 4.0;
/// Its updates span at least this part of the capture.
const SPAN: f64 = 0.4;
/// Most state blocks that are told.
const MOST: usize = 16;
/// Powers of two that distances are counted by.
const POWERS: usize = 32;

/// A block that looks like state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateBlock {
    /// On which volume.
    pub volume: u16,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes of its last update.
    pub len: u64,
    /// How often it was written; low by `error` at most.
    pub updates: u64,
    /// See `updates`.
    pub error: u64,
    /// Seconds between updates, on average.
    pub every_seconds: f64,
    /// The share of its updates that came right after a flush.
    pub after_flush: f64,
    /// The share of its updates that were durable at once (FUA), or were followed by a flush before another write.
    pub made_durable: f64,
    /// What is most often written right before it.
    pub before: Option<Neighbour>,
    /// What is most often written right after it.
    pub after: Option<Neighbour>,
    /// What is written between two updates of it.
    pub transactions: Transactions,
}

/// A block that is written next to a state block, in time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Neighbour {
    /// On which volume.
    pub volume: u16,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// At least this share of the updates.
    pub share: f64,
}

/// The stretches between two updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Transactions {
    /// How many.
    pub count: u64,
    /// Writes in each, on average.
    pub mean_writes: f64,
    /// Half of them have at most so many writes (rounded up to a power of two).
    pub median_writes: u64,
    /// Nine in ten have at most so many writes (rounded up to a power of two).
    pub p90_writes: u64,
    /// Bytes in each, on average.
    pub mean_bytes: f64,
}

/// What is remembered of a watched block.
#[derive(Debug, Default)]
struct Watched {
    place: Place,
    len: u64,
    updates: u64,
    first: Moment,
    last: Moment,
    /// Distances in writes, by power of two; there from the second update on.
    writes: Option<Box<[u32; POWERS]>>,
    after_flush: u64,
    durable: u64,
    before: Vote,
    after: Vote,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Place {
    volume: u16,
    block: u64,
}

impl Place {
    fn key(self) -> u64 {
        block_key(self.volume, self.block)
    }
}

/// How far the capture was.
#[derive(Debug, Default, Clone, Copy)]
struct Moment {
    writes: u64,
    bytes: u64,
    ns: u64,
}

/// A majority vote in constant space (Boyer and Moore).
#[derive(Debug, Default, Clone, Copy)]
struct Vote {
    place: Place,
    lead: u64,
}

impl Vote {
    fn cast(&mut self, place: Place) {
        if self.lead == 0 {
            self.place = place;
        }
        if self.place == place { self.lead += 1 } else { self.lead -= 1 }
    }

    fn neighbour(self, of: u64) -> Option<Neighbour> {
        let share = self.lead as f64 / of.max(1) as f64;
        let Place { volume, block } = self.place;
        (share > 0.2).then(|| Neighbour { volume, offset: block * BLOCK, share: share.min(1.0) })
    }
}

/// Watches every write.
#[derive(Debug)]
pub(super) struct States {
    blocks: Frequent<Watched>,
    now: Moment,
    small: u64,
    /// The write before, if it may be of state.
    previous: Option<Place>,
    flushed: bool,
}

impl Default for States {
    fn default() -> Self {
        let now = Moment::default();
        Self { blocks: Frequent::new(ROOM), now, small: 0, previous: None, flushed: false }
    }
}

impl States {
    /// A write that completed at `at_ns`.
    pub(super) fn write(&mut self, volume: u16, range: ByteRange, at_ns: u64, fua: bool) {
        self.now.writes += 1;
        self.now.bytes = self.now.bytes.saturating_add(range.len);
        self.now.ns = self.now.ns.max(at_ns);
        let place = Place { volume, block: range.offset / BLOCK };
        let before = self.previous.replace(place);
        if let Some(watched) = before.and_then(|before| self.blocks.get_mut(before.key())) {
            watched.after.cast(place);
        }
        let flushed = std::mem::take(&mut self.flushed);
        if (1..=LONGEST).contains(&range.len) {
            self.small += 1;
            let watched = self.blocks.add(place.key());
            watched.update(place, range.len, self.now);
            watched.after_flush += u64::from(flushed);
            watched.durable += u64::from(fua);
            before.into_iter().for_each(|before| watched.before.cast(before));
        }
    }

    /// A flush.
    pub(super) fn flush(&mut self) {
        if !self.flushed
            && let Some(watched) = self.previous.and_then(|previous| self.blocks.get_mut(previous.key()))
        {
            watched.durable += 1;
        }
        self.flushed = true;
    }

    /// The state blocks, those written most often first; empty when no block stands out.
    pub(super) fn report(&self, overwrites: &Overwrites) -> Vec<StateBlock> {
        let average = self.small as f64 / overwrites.distinct().max(1) as f64;
        let error = self.blocks.error();
        let top = self.blocks.top(ROOM).into_iter();
        let stands_out = |count: u64, watched: &Watched| {
            let span = watched.last.writes - watched.first.writes;
            count >= FEWEST.max(2 * error)
                && count as f64 >= average * TIMES_AVERAGE
                && span as f64 >= self.now.writes as f64 * SPAN
        };
        let found = top.filter(|(_, count, watched)| stands_out(*count, watched)).take(MOST);
        found.map(|(_, count, watched)| watched.report(count, error)).collect()
    }
}

impl Watched {
    fn update(&mut self, place: Place, len: u64, now: Moment) {
        if self.updates == 0 {
            (self.place, self.first) = (place, now);
        } else {
            let distance = now.writes - self.last.writes;
            let power = u64::BITS - distance.saturating_sub(1).leading_zeros();
            let writes = self.writes.get_or_insert_default();
            writes[(power as usize).min(POWERS - 1)] += 1;
        }
        (self.len, self.last) = (len, now);
        self.updates += 1;
    }

    fn report(&self, updates: u64, error: u64) -> StateBlock {
        let share = |part: u64| part as f64 / self.updates.max(1) as f64;
        let between = (self.updates - 1).max(1) as f64;
        StateBlock {
            volume: self.place.volume,
            offset: self.place.block * BLOCK,
            len: self.len,
            updates,
            error,
            every_seconds: self.last.ns.saturating_sub(self.first.ns) as f64 / 1e9 / between,
            after_flush: share(self.after_flush),
            made_durable: share(self.durable).min(1.0),
            before: self.before.neighbour(self.updates),
            after: self.after.neighbour(self.updates),
            transactions: self.transactions(between),
        }
    }

    fn transactions(&self, between: f64) -> Transactions {
        Transactions {
            count: self.updates - 1,
            mean_writes: (self.last.writes - self.first.writes) as f64 / between,
            median_writes: self.quantile(0.5),
            p90_writes: self.quantile(0.9),
            mean_bytes: (self.last.bytes - self.first.bytes) as f64 / between,
        }
    }

    fn quantile(&self, quantile: f64) -> u64 {
        let wanted = ((self.updates - 1) as f64 * quantile).ceil() as u64;
        let mut sum = 0;
        let power = self.writes.iter().flat_map(|writes| writes.iter()).position(|count| {
            sum += u64::from(*count);
            sum >= wanted
        });
        1 << power.unwrap_or(POWERS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(writes: &[(u64, u64, bool)]) -> Vec<StateBlock> {
        let (mut states, mut overwrites) = (States::default(), Overwrites::default());
        for (at, (block, len, flush)) in writes.iter().enumerate() {
            let range = ByteRange::new(block * BLOCK, *len);
            if *flush {
                states.flush();
            }
            states.write(0, range, at as u64 * 1_000_000, false);
            overwrites.write(0, range);
        }
        states.report(&overwrites)
    }

    #[test]
    fn a_journal_of_a_database_is_found() {
        // Data, data, flush, commit at block 7; another place each time.
        let writes: Vec<_> = (0..200u64)
            .flat_map(|round| [(100 + round * 2, 4096, false), (101 + round * 2, 4096, false), (7, 512, true)])
            .collect();
        let found = run(&writes);
        assert_eq!(found.len(), 1);
        let state = &found[0];
        assert_eq!((state.offset, state.updates, state.after_flush), (7 * BLOCK, 200, 1.0));
        assert_eq!((state.transactions.count, state.transactions.median_writes), (199, 4));
        assert!((state.transactions.mean_writes - 3.0).abs() < 1e-9);
        assert!((state.every_seconds - 0.003).abs() < 1e-9);
    }

    #[test]
    fn neighbours_are_named_when_they_are_the_same() {
        let writes: Vec<_> =
            (0..50u64).flat_map(|round| [(9, 4096, false), (7, 4096, true), (500 + round, 4096, false)]).collect();
        let found = run(&writes);
        let seven = found.iter().find(|state| state.offset == 7 * BLOCK).unwrap();
        assert_eq!(seven.before.map(|before| before.offset), Some(9 * BLOCK));
        assert_eq!(seven.after, None);
    }

    #[test]
    fn even_writes_have_no_state() {
        assert_eq!(run(&(0..2000).map(|n| (n * 7919 % 100, 4096, false)).collect::<Vec<_>>()), []);
        assert_eq!(run(&[]), []);
    }
}

//! Which states are looked at: where power may fail, and what is on the disk then.
//!
//! At a cut after completion *n* everything is on the disk that a completed flush covers (what completed before the flush
//! was issued) or that was written with FUA. All other commands that completed, and those that were in flight, each may be
//! on the disk or not, or in part, in units of a logical block: a cache writes back in any order. Where two of them touch
//! the same block the later one wins, as in a cache. These choices are too many; a bounded number is drawn, the telling
//! ones first, from a seed.

use std::collections::BTreeSet;

use super::log::{Log, Step};

/// Where power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// The last completion before.
    pub(super) seq: u64,
    /// Whether only the state is looked at in which all that completed is on the disk.
    pub(super) only_whole: bool,
}

/// What became of a command that was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fate {
    /// Nothing of it is on the disk.
    Lost,
    /// It is on the disk.
    Kept,
    /// Its bytes from the first up to the second number are.
    Torn(u64, u64),
}

/// A choice for each undecided command of a cut.
pub(super) type Fates = Vec<Fate>;

/// What is decided and undecided at a cut.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) point: Point,
    /// Steps before this one are on the disk.
    pub(super) settled: usize,
    /// Steps from there on that are applied in any case, or may be: in order.
    pub(super) tail: Vec<Tail>,
    /// How many of these are undecided.
    pub(super) undecided: usize,
}

/// One step behind those that are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) step: usize,
    pub(super) kind: Kind,
}

/// What is known of a step at a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is on the disk.
    Durable,
    /// It completed, and may be on the disk.
    Completed,
    /// It had not completed.
    InFlight,
}

/// The cuts of a log: each barrier's, before and after it completed, and the end; and every `every` commands.
pub(super) fn points(log: &Log, every: Option<u64>) -> Vec<Point> {
    let seq = |at: usize| log.steps[at].record.seq.0;
    let mut points = Vec::new();
    for &at in &log.barriers {
        points.push(Point { seq: seq(at).saturating_sub(1), only_whole: false });
        points.push(Point { seq: seq(at), only_whole: true });
    }
    if let Some(every) = every.and_then(|every| usize::try_from(every).ok()).filter(|every| *every > 0) {
        let regular = (0..log.steps.len()).skip(every - 1).step_by(every);
        points.extend(regular.map(|at| Point { seq: seq(at), only_whole: true }));
    }
    points.extend(log.steps.last().map(|step| Point { seq: step.record.seq.0, only_whole: false }));
    points.sort_by_key(|point| (point.seq, point.only_whole));
    points.dedup_by_key(|point| point.seq);
    points
}

impl Cut {
    /// What holds at `point`. Of the completed commands the last `window` are undecided at most.
    pub(super) fn new(log: &Log, point: Point, window: usize) -> Self {
        let end = log.behind(point.seq);
        let durable = |step: &Step| step.durable_at <= point.seq || !step.changes();
        let open = (0..end).rev().filter(|at| !durable(&log.steps[*at])).take(window).last();
        let settled = open.unwrap_or(end);
        let kind = |step: &Step| if durable(step) { Kind::Durable } else { Kind::Completed };
        let completed = (settled..end).map(|at| Tail { step: at, kind: kind(&log.steps[at]) });
        let in_flight = log.in_flight(point.seq).map(|step| Tail { step, kind: Kind::InFlight });
        let tail: Vec<Tail> = completed.chain(in_flight).filter(|tail| log.steps[tail.step].changes()).collect();
        let undecided = tail.iter().filter(|tail| tail.kind != Kind::Durable).count();
        Self { point, settled, tail, undecided }
    }

    /// The undecided steps, in order.
    pub(super) fn open(&self) -> impl Iterator<Item = &Tail> {
        self.tail.iter().filter(|tail| tail.kind != Kind::Durable)
    }

    /// All that completed is on the disk, and nothing else.
    pub(super) fn whole(&self) -> Fates {
        self.open().map(|tail| if tail.kind == Kind::Completed { Fate::Kept } else { Fate::Lost }).collect()
    }

    /// The states to look at: first the whole one, then at most `most` others.
    pub(super) fn states(&self, log: &Log, draws: Draws, random: &mut Random) -> Vec<Fates> {
        let mut states = vec![self.whole()];
        if self.point.only_whole || self.undecided == 0 {
            return states;
        }
        let mut seen = BTreeSet::from([self.whole()]);
        // Draws that come out twice are not drawn for ever.
        for draw in 0..draws.most * 4 {
            if states.len() > draws.most {
                break;
            }
            let fates = self.draw((log, draws.tear), draw, random);
            if seen.insert(fates.clone()) {
                states.push(fates);
            }
        }
        states
    }

    /// The telling ones first: all lost, the last one alone, then one by one lost; then any.
    fn draw(&self, log: Tearing<'_>, draw: usize, random: &mut Random) -> Fates {
        let len = self.undecided;
        let all = |fate| vec![fate; len];
        let but = |fates: Fates, at: usize, fate| with(fates, at, fate);
        match draw {
            0 => all(Fate::Lost),
            1 => but(all(Fate::Lost), len - 1, Fate::Kept),
            2 => all(Fate::Kept),
            _ => match draw % 4 {
                0 => but(self.whole(), random.below(len), Fate::Lost),
                1 => but(all(Fate::Lost), random.below(len), Fate::Kept),
                2 => {
                    let at = random.below(len);
                    but(
                        if random.below(2) == 0 { self.whole() } else { all(Fate::Lost) },
                        at,
                        self.torn(log, at, random),
                    )
                }
                _ => (0..len).map(|at| self.any(log, at, random)).collect(),
            },
        }
    }

    fn any(&self, log: Tearing<'_>, at: usize, random: &mut Random) -> Fate {
        match random.below(8) {
            0 => self.torn(log, at, random),
            1..4 => Fate::Lost,
            _ => Fate::Kept,
        }
    }

    /// A part of the command, cut where a unit of the disk ends; lost when none ends within it, or it promises to be whole.
    fn torn(&self, (log, unit): Tearing<'_>, at: usize, random: &mut Random) -> Fate {
        let Some(tail) = self.open().nth(at) else { return Fate::Lost };
        let step = &log.steps[tail.step];
        let (len, offset) = (log.len(step), log.offset(step));
        if unit == 0 || len == 0 || step.record.flags.contains(formats::OpFlags::ATOMIC) {
            return Fate::Lost;
        }
        let ends = (offset + len - 1) / unit - offset / unit;
        if ends == 0 {
            return Fate::Lost;
        }
        let cut = (offset / unit + 1 + random.below(ends as usize) as u64) * unit - offset;
        if random.below(4) == 0 { Fate::Torn(cut, len) } else { Fate::Torn(0, cut) }
    }
}

/// How many states are drawn, and what of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draws {
    /// States at a cut, beside the whole one.
    pub(super) most: usize,
    /// What the disk writes in one piece, in bytes; 0 when it tears nothing.
    pub(super) tear: u64,
}

/// The steps, and what the disk writes in one piece.
type Tearing<'a> = (&'a Log, u64);

fn with(mut fates: Fates, at: usize, fate: Fate) -> Fates {
    fates[at] = fate;
    fates
}

/// Numbers that only the seed decides (SplitMix64; Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The numbers of one cut.
    pub(super) fn new(seed: u64, cut: u64) -> Self {
        Self(seed ^ cut.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

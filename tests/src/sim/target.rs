//! The model of the standby's device: a volatile cache, blocks that refuse to be written for a while, and a cache that is
//! lost while the device stays; that is told once, to whatever command comes next.

use std::collections::BTreeMap;

use journal::faulty::Rng;

use super::kernel::{BLOCKS, Content, chance, filled};

/// One block to write: volume, block, tag.
pub(super) type Write = (usize, u64, u64);

/// How the device answered a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Done.
    Good,
    /// Not done, or in part.
    Refused,
    /// A flush failed: nobody knows what is on the medium.
    Unflushed,
    /// Not begun: what was in the cache may be lost.
    Lost,
}

/// How often the device makes trouble: once in so many steps or commands, 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Troubles {
    /// A block refuses writes for a while.
    pub(super) refuse: u64,
    /// The cache is lost.
    pub(super) lose: u64,
    /// A flush fails.
    pub(super) unflushed: u64,
}

impl Troubles {
    /// Half of the seeds have a device without any.
    pub(super) fn draw(seed: u64, rng: &mut Rng) -> Self {
        if seed % 4 > 1 {
            return Self::default();
        }
        let mut rate = |often: u64| [0, often, often * 4][rng.below(3) as usize];
        Self { refuse: rate(12), lose: rate(120), unflushed: rate(40) }
    }
}

/// The device.
#[derive(Debug)]
pub(super) struct Target {
    /// What it holds, its cache included.
    pub(super) current: Content,
    durable: Content,
    unsynced: Vec<Write>,
    /// Blocks that refuse, and until when.
    bad: BTreeMap<(usize, u64), u64>,
    /// The cache was lost, and nobody was told.
    pub(super) untold: bool,
    troubles: Troubles,
    rng: Rng,
}

impl Target {
    /// A device that holds zeros.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7a26_e701);
        let troubles = Troubles::draw(seed, &mut rng);
        let (bad, unsynced) = (BTreeMap::new(), Vec::new());
        Self { current: filled(0), durable: filled(0), unsynced, bad, untold: false, troubles, rng }
    }

    /// Lets a step pass; answers whether the cache was lost in it.
    pub(super) fn step(&mut self, now: u64) -> bool {
        if chance(&mut self.rng, self.troubles.refuse) {
            let volume = self.rng.below(BLOCKS.len() as u64) as usize;
            let block = self.rng.below(BLOCKS[volume]);
            self.bad.insert((volume, block), now + self.rng.below(400));
        }
        self.bad.retain(|_, until| *until > now);
        let lost = chance(&mut self.rng, self.troubles.lose);
        if lost {
            let mut rng = Rng::new(self.rng.next_u64());
            self.lose_cache(&mut rng);
            self.untold = true;
        }
        lost
    }

    /// No more trouble.
    pub(super) fn calm(&mut self) {
        self.troubles = Troubles::default();
        self.bad.clear();
    }

    /// True once in a while, for whoever plays the device.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.rng.one_in(n)
    }

    /// One command: writes of blocks, or none of them and a flush.
    pub(super) fn command(&mut self, volume: usize, writes: &[Write]) -> Answer {
        if std::mem::take(&mut self.untold) {
            return Answer::Lost;
        }
        if writes.is_empty() {
            return self.flush_command(volume);
        }
        let refused = writes.iter().any(|(volume, block, _)| self.bad.contains_key(&(*volume, *block)));
        for (volume, block, tag) in writes {
            // What comes before a bad block may be written or not.
            if !refused || (!self.bad.contains_key(&(*volume, *block)) && self.rng.one_in(2)) {
                self.write(*volume, *block, *tag);
            }
        }
        if refused { Answer::Refused } else { Answer::Good }
    }

    fn flush_command(&mut self, volume: usize) -> Answer {
        if !chance(&mut self.rng, self.troubles.unflushed) {
            return Answer::Good;
        }
        let (of_volume, others) = std::mem::take(&mut self.unsynced).into_iter().partition(|write| write.0 == volume);
        let of_volume: Vec<Write> = of_volume;
        for (_, block, tag) in of_volume {
            if self.rng.one_in(2) {
                self.durable[volume][block as usize] = tag;
            }
        }
        self.current[volume].clone_from(&self.durable[volume]);
        self.unsynced = others;
        Answer::Unflushed
    }

    /// Writes a block into the cache.
    pub(super) fn write(&mut self, volume: usize, block: u64, tag: u64) {
        self.current[volume][block as usize] = tag;
        self.unsynced.push((volume, block, tag));
    }

    /// The flush of a checkpoint.
    pub(super) fn flush(&mut self) -> Answer {
        if std::mem::take(&mut self.untold) {
            return Answer::Lost;
        }
        self.unsynced.clear();
        self.durable.clone_from(&self.current);
        Answer::Good
    }

    /// The power fails; whoever opens the device then hears what it has to tell before anything else.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        self.lose_cache(rng);
        self.untold = false;
    }

    fn lose_cache(&mut self, rng: &mut Rng) {
        for (volume, block, tag) in std::mem::take(&mut self.unsynced) {
            if rng.one_in(2) {
                self.durable[volume][block as usize] = tag;
            }
        }
        self.current.clone_from(&self.durable);
    }
}

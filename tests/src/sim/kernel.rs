//! The model of the observed host: devices, commands in flight, the probe's counters, dirty map and ring.
//!
//! Every write carries a tag of its own, which is what its blocks hold afterwards; so the content of a block names the
//! command that wrote it, and [`History`] knows that command.

use formats::entry::{Entry, EntryHeader, HEADER_LEN, Origin, PayloadInfo, Record};
use formats::{ByteRange, Op, OpFlags, Position, Seq, Status, VolumeIndex};
use journal::faulty::Rng;
use replication::dirty::DirtyMap;
use replication::epochs::{KernelCounts, SLOTS};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
/// Bytes of a region of the dirty map.
pub(super) const REGION: u32 = 1024;
/// Blocks of each volume.
pub(super) const BLOCKS: [u64; 2] = [48, 20];

/// Sizes of the volumes in bytes.
pub(super) fn sizes() -> Vec<u64> {
    BLOCKS.iter().map(|blocks| blocks * BLOCK).collect()
}

/// What the blocks of all volumes hold: the tag of the command that wrote them; 0 is zeros.
pub(super) type Content = Vec<Vec<u64>>;

/// Content of which every block holds `tag`.
pub(super) fn filled(tag: u64) -> Content {
    BLOCKS.iter().map(|blocks| vec![tag; *blocks as usize]).collect()
}

/// The bytes of `count` blocks that hold `tags`.
pub(super) fn bytes_of(tags: &[u64]) -> Vec<u8> {
    tags.iter().flat_map(|tag| tag.to_le_bytes().repeat(BLOCK as usize / 8)).collect()
}

/// The tags that these bytes hold; an error when they are no whole blocks of one tag each.
pub(super) fn tags_of(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let tag = |block: &[u8]| {
        let (words, rest) = block.as_chunks::<8>();
        let same = rest.is_empty() && words.iter().all(|word| *word == words[0]);
        if same { Ok(u64::from_le_bytes(words[0])) } else { Err("a block that no command wrote".to_owned()) }
    };
    bytes.chunks(BLOCK as usize).map(tag).collect()
}

/// A command that touched a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    /// What the block holds after it.
    pub(super) tag: u64,
    /// Which command.
    pub(super) command: u64,
}

/// A command, as the checker knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Which boot of the host issued it.
    pub(super) boot: u64,
    /// What it depends on.
    pub(super) dep: u64,
    /// Its place in the order of completion, once it has one and the device said it did well.
    pub(super) seq: Option<u64>,
}

/// Everything that was ever issued.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// By command number.
    pub(super) commands: Vec<Known>,
    /// Per volume and block, in the order of issue; commands in flight never overlap, so it is that of effect.
    pub(super) touches: Vec<Vec<Vec<Touch>>>,
}

#[derive(Clone, Debug)]
struct Command {
    number: u64,
    tag: u64,
    volume: usize,
    first: u64,
    count: u64,
    op: Op,
    dep: u64,
    epoch: u32,
    payload_lost: bool,
    lands_at: u64,
    ends_at: u64,
    fails: bool,
}

/// One completion on its way to the agent.
#[derive(Clone, Debug)]
pub(super) struct Event {
    deliver_at: u64,
    /// Its place in the order of completion.
    pub(super) seq: u64,
    /// Epoch whose slot holds its bits.
    pub(super) epoch: u32,
    /// The entry, without its position.
    pub(super) header: EntryHeader,
    /// Its payload.
    pub(super) payload: Vec<u8>,
}

/// How wild the host is. One in so many; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wildness {
    /// Completion events that are lost.
    pub(super) lost: u64,
    /// Payloads that are lost.
    pub(super) payload_lost: u64,
    /// Commands that fail.
    pub(super) failed: u64,
    /// Largest delay of an event, in steps.
    pub(super) jitter: u64,
}

/// The host.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What the devices hold.
    pub(super) disk: Content,
    /// What was issued.
    pub(super) history: History,
    /// Counts power-ups, from 1.
    pub(super) boot: u64,
    /// Last completion numbered.
    pub(super) seq: u64,
    /// Current epoch.
    pub(super) epoch: u32,
    /// Counters per slot.
    pub(super) counts: KernelCounts,
    bits: Vec<DirtyMap>,
    in_flight: Vec<Command>,
    ring: Vec<Event>,
    wild: Wildness,
}

impl Kernel {
    /// A host whose devices hold something already.
    pub(super) fn new(wild: Wildness) -> Self {
        let first = Known { boot: 0, dep: 0, seq: Some(0) };
        let touches = BLOCKS.iter().map(|n| vec![vec![Touch { tag: 1, command: 0 }]; *n as usize]).collect();
        let map = DirtyMap::new(REGION, &sizes()).expect("geometry");
        Self {
            disk: filled(1),
            history: History { commands: vec![first], touches },
            boot: 1,
            seq: 0,
            epoch: 0,
            counts: KernelCounts::default(),
            bits: vec![map; SLOTS],
            in_flight: Vec::new(),
            ring: Vec::new(),
            wild,
        }
    }

    /// Issues a command, unless it would touch what is in flight.
    pub(super) fn issue(&mut self, now: u64, rng: &mut Rng) {
        let volume = rng.below(2) as usize;
        let op = [Op::Write, Op::Write, Op::Write, Op::Write, Op::Discard, Op::WriteZeroes, Op::Flush]
            [rng.below(7) as usize];
        let first = rng.below(BLOCKS[volume]);
        let count = if op == Op::Flush { 0 } else { 1 + rng.below(6.min(BLOCKS[volume] - first)) };
        let overlaps = |c: &Command| c.volume == volume && c.first < first + count && first < c.first + c.count;
        if self.in_flight.iter().any(overlaps) {
            return;
        }
        let number = self.history.commands.len() as u64;
        let tag = if op == Op::Write { number + 1 } else { 0 };
        let lands_at = now + rng.below(6);
        let command = Command {
            number,
            tag,
            volume,
            first,
            count,
            op,
            dep: self.seq,
            epoch: self.epoch,
            payload_lost: op == Op::Write && chance(rng, self.wild.payload_lost),
            lands_at,
            ends_at: lands_at + rng.below(8),
            fails: chance(rng, self.wild.failed),
        };
        self.note(&command);
        self.in_flight.push(command);
    }

    /// What the probe does at issue, before anything can fail.
    fn note(&mut self, command: &Command) {
        let slot = command.epoch as usize % SLOTS;
        let range = ByteRange::new(command.first * BLOCK, command.count * BLOCK);
        self.bits[slot].mark(VolumeIndex(command.volume as u16), range).expect("known volume");
        self.counts.issued[slot] += 1;
        self.history.commands.push(Known { boot: self.boot, dep: command.dep, seq: None });
        for block in command.first..command.first + command.count {
            let touch = Touch { tag: command.tag, command: command.number };
            self.history.touches[command.volume][block as usize].push(touch);
        }
    }

    /// Lets a step pass: commands take effect and complete.
    pub(super) fn step(&mut self, now: u64, rng: &mut Rng) {
        for place in 0..self.in_flight.len() {
            let command = self.in_flight[place].clone();
            if command.lands_at == now {
                self.land(&command, rng);
            }
        }
        let (ended, rest) = self.in_flight.drain(..).partition(|c: &Command| c.ends_at <= now);
        self.in_flight = rest;
        let mut ended: Vec<Command> = ended;
        while !ended.is_empty() {
            let command = ended.swap_remove(rng.below(ended.len() as u64) as usize);
            self.complete(now, &command, rng);
        }
    }

    fn land(&mut self, command: &Command, rng: &mut Rng) {
        for block in command.first..command.first + command.count {
            if !command.fails || rng.one_in(2) {
                self.disk[command.volume][block as usize] = command.tag;
            }
        }
    }

    fn complete(&mut self, now: u64, command: &Command, rng: &mut Rng) {
        self.seq += 1;
        let slot = command.epoch as usize % SLOTS;
        self.counts.ended[slot] += 1;
        if !command.fails {
            self.history.commands[command.number as usize].seq = Some(self.seq);
        }
        if chance(rng, self.wild.lost) {
            self.counts.lost[slot] += 1;
            return;
        }
        let (payload, bytes) = payload_of(command);
        let record = Record {
            seq: Seq(self.seq),
            dep: Seq(command.dep),
            volume: VolumeIndex(command.volume as u16),
            op: command.op,
            flags: OpFlags::empty(),
            range: ByteRange::new(command.first * BLOCK, command.count * BLOCK),
            status: if command.fails { Status(10) } else { Status::OK },
            origin: Origin::default(),
        };
        let header = EntryHeader { entry: Entry::Record(record), position: Position(0), payload };
        let deliver_at = now + rng.below(self.wild.jitter + 1);
        self.ring.push(Event { deliver_at, seq: self.seq, epoch: command.epoch, header, payload: bytes });
    }

    /// Events that have arrived.
    pub(super) fn drain(&mut self, now: u64) -> Vec<Event> {
        let (arrived, rest) = self.ring.drain(..).partition(|event: &Event| event.deliver_at <= now);
        self.ring = rest;
        arrived
    }

    /// Forgets events up to this seq: nobody was there to take them, their bits are in live epochs.
    pub(super) fn drop_events(&mut self, upto: u64) {
        self.ring.retain(|event| event.seq > upto);
    }

    /// The bits of an epoch.
    pub(super) fn bits(&self, epoch: u32) -> &DirtyMap {
        &self.bits[epoch as usize % SLOTS]
    }

    /// The bits of all epochs.
    pub(super) fn all_bits(&self) -> DirtyMap {
        let mut all = self.bits[0].clone();
        self.bits[1..].iter().for_each(|bits| all.union(bits).expect("one geometry"));
        all
    }

    /// Forgets the bits of an epoch.
    pub(super) fn clear(&mut self, epoch: u32) {
        self.bits[epoch as usize % SLOTS].clear();
    }

    /// Whether nothing is in flight or on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.ring.is_empty()
    }

    /// No more faults.
    pub(super) fn calm(&mut self) {
        self.wild = Wildness { lost: 0, payload_lost: 0, failed: 0, ..self.wild };
    }

    /// The power of the host fails: what is in flight may have got to the device, and the probe is gone.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        for mut command in std::mem::take(&mut self.in_flight) {
            command.fails = true;
            if rng.one_in(2) {
                self.land(&command, rng);
            }
        }
        self.ring.clear();
        self.bits.iter_mut().for_each(DirtyMap::clear);
        self.counts = KernelCounts::default();
        (self.boot, self.seq, self.epoch) = (self.boot + 1, 0, 0);
    }
}

fn payload_of(command: &Command) -> (PayloadInfo, Vec<u8>) {
    match command.op {
        Op::Write if !command.payload_lost => {
            let bytes = bytes_of(&vec![command.tag; command.count as usize]);
            (PayloadInfo::data(&bytes), bytes)
        }
        Op::WriteZeroes => (PayloadInfo::ZERO, Vec::new()),
        _ => (PayloadInfo::NONE, Vec::new()),
    }
}

/// True once in `n` times; never when `n` is 0.
pub(super) fn chance(rng: &mut Rng, n: u64) -> bool {
    n > 0 && rng.one_in(n)
}

/// Header and payload as they lie in a journal or frame.
pub(super) fn encode(header: &EntryHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    header.write_to(payload, &mut bytes);
    bytes
}

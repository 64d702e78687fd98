//! The simulated disk against a naive model: whatever is written, unmapped, compared, flushed and cut off by a loss of
//! power, each block holds what it must, or one of those values that it may.

mod scsi_common;

use formats::scsi::build::{self, Access, Same};
use formats::scsi::{Blocks, LbaRange, SenseKey};
use proptest::prelude::*;
use replayer::scsi::simulated::{BlockState, Nexus, Settings, SimulatedDevice, Thin};
use scsi_common::{good, out, plain, refused, settle};

const SIZE: usize = 512;
const BLOCKS: u64 = 48;

/// What a block holds: a byte all over, and its state.
type Block = (u8, BlockState);

const EMPTY: Block = (0, BlockState::Deallocated);

#[derive(Clone, Debug)]
enum Op {
    Write { lba: u64, blocks: u64, byte: u8, fua: bool },
    Same { lba: u64, blocks: u64, byte: u8, unmap: bool },
    Unmap { runs: Vec<(u64, u64)>, anchor: bool },
    Compare { lba: u64, blocks: u64, right: bool, byte: u8 },
    Or { lba: u64, blocks: u64, byte: u8 },
    Mark { lba: u64 },
    Flush { lba: u64, blocks: Option<u64> },
    Stop,
    PowerCut,
}

fn run() -> impl Strategy<Value = (u64, u64)> {
    (0..BLOCKS, 1..12u64).prop_map(|(lba, blocks)| (lba, blocks.min(BLOCKS - lba)))
}

fn op() -> impl Strategy<Value = Op> {
    let byte = 0..6u8;
    prop_oneof![
        6 => (run(), byte.clone(), any::<bool>())
            .prop_map(|((lba, blocks), byte, fua)| Op::Write { lba, blocks, byte, fua }),
        2 => (run(), byte.clone(), any::<bool>())
            .prop_map(|((lba, blocks), byte, unmap)| Op::Same { lba, blocks, byte, unmap }),
        2 => (proptest::collection::vec(run(), 0..3), any::<bool>())
            .prop_map(|(runs, anchor)| Op::Unmap { runs, anchor }),
        2 => (run(), any::<bool>(), byte.clone())
            .prop_map(|((lba, blocks), right, byte)| Op::Compare { lba, blocks, right, byte }),
        1 => (run(), byte).prop_map(|((lba, blocks), byte)| Op::Or { lba, blocks, byte }),
        1 => (0..BLOCKS).prop_map(|lba| Op::Mark { lba }),
        2 => (run(), any::<bool>())
            .prop_map(|((lba, blocks), all)| Op::Flush { lba, blocks: (!all).then_some(blocks) }),
        1 => Just(Op::Stop),
        2 => Just(Op::PowerCut),
    ]
}

/// For each block what it holds now, and all that it may hold after a loss of power.
struct Model {
    now: Vec<Block>,
    may: Vec<Vec<Block>>,
    limit: Option<u64>,
    cached: bool,
}

impl Model {
    fn new(limit: Option<u64>, cached: bool) -> Self {
        Self { now: vec![EMPTY; BLOCKS as usize], may: vec![vec![EMPTY]; BLOCKS as usize], limit, cached }
    }

    fn used(&self) -> u64 {
        self.now.iter().filter(|block| block.1 != BlockState::Deallocated).count() as u64
    }

    /// Whether there is space for these blocks to become something.
    fn has_space(&self, lba: u64, blocks: u64) -> bool {
        let new = (lba..lba + blocks).filter(|lba| self.now[*lba as usize].1 == BlockState::Deallocated).count() as u64;
        self.limit.is_none_or(|limit| new == 0 || self.used() + new <= limit)
    }

    fn readable(&self, lba: u64, blocks: u64) -> bool {
        (lba..lba + blocks).all(|lba| self.now[lba as usize].1 != BlockState::Unreadable)
    }

    fn set(&mut self, lba: u64, blocks: u64, block: impl Fn(Block) -> Block, durable: bool) {
        for at in lba as usize..(lba + blocks) as usize {
            self.now[at] = block(self.now[at]);
            self.may[at].push(self.now[at]);
        }
        if durable || !self.cached {
            self.flush(lba, blocks);
        }
    }

    fn flush(&mut self, lba: u64, blocks: u64) {
        (lba as usize..(lba + blocks) as usize).for_each(|at| self.may[at] = vec![self.now[at]]);
    }
}

struct Pair {
    device: Nexus,
    model: Model,
}

fn bytes(blocks: u64, byte: u8) -> Vec<u8> {
    vec![byte; blocks as usize * SIZE]
}

impl Pair {
    fn new(limit: Option<u64>, cached: bool, seed: u64) -> Self {
        let thin = Settings::thin_disk(SIZE as u32, BLOCKS, Thin { limit, ..Thin::UNLIMITED });
        let settings = Settings { seed, write_cache: cached, ..thin };
        let device = SimulatedDevice::new(settings).expect("it can be made").nexus();
        Self { device, model: Model::new(limit, cached) }
    }

    /// A command that changes blocks, if there is space for them.
    fn change(
        &mut self,
        cdb: &[u8],
        data: &[u8],
        (lba, blocks): (u64, u64),
        block: impl Fn(Block) -> Block,
        durable: bool,
    ) {
        let outcome = out(&self.device, cdb, data);
        if self.model.has_space(lba, blocks) {
            good(outcome);
            self.model.set(lba, blocks, block, durable);
        } else {
            refused(outcome, SenseKey::DataProtect, 0x27, 0x07);
        }
    }

    fn apply(&mut self, op: &Op) {
        let mapped = |byte| move |_: Block| (byte, BlockState::Mapped);
        match *op {
            Op::Write { lba, blocks, byte, fua } => {
                let access = Access { fua, ..Access::default() };
                let cdb = build::write_16(lba, blocks as u32, access);
                self.change(&cdb, &bytes(blocks, byte), (lba, blocks), mapped(byte), fua);
            }
            Op::Same { lba, blocks, byte, unmap } => self.same(lba, blocks, byte, unmap),
            Op::Unmap { ref runs, anchor } => self.unmap(runs, anchor),
            Op::Compare { lba, blocks, right, byte } => self.compare(lba, blocks, right, byte),
            Op::Or { lba, blocks, byte } => self.or(lba, blocks, byte),
            Op::Mark { lba } => {
                let mark = |block: Block| (block.0, BlockState::Unreadable);
                self.change(&build::mark_unreadable(lba, false), &[], (lba, 1), mark, true);
            }
            Op::Flush { lba, blocks } => {
                let (lba, count) = blocks.map_or((0, Blocks::ToEnd), |blocks| (lba, Blocks::Count(blocks)));
                good(plain(&self.device, &build::synchronize_cache_16(lba, count, false).expect("fits")));
                self.model.flush(lba, blocks.unwrap_or(BLOCKS));
            }
            Op::Stop => {
                good(plain(&self.device, &build::start_stop_unit(false, false, false)));
                good(plain(&self.device, &build::start_stop_unit(true, false, false)));
                self.model.flush(0, BLOCKS);
            }
            Op::PowerCut => self.power_cut(),
        }
    }

    fn same(&mut self, lba: u64, blocks: u64, byte: u8, unmap: bool) {
        let cdb = build::write_same_16(lba, Blocks::Count(blocks), Same { unmap, ..Same::default() }).expect("fits");
        if unmap && byte == 0 {
            good(out(&self.device, &cdb, &bytes(1, byte)));
            self.model.set(lba, blocks, |_| EMPTY, false);
        } else {
            self.change(&cdb, &bytes(1, byte), (lba, blocks), move |_| (byte, BlockState::Mapped), false);
        }
    }

    fn unmap(&mut self, runs: &[(u64, u64)], anchor: bool) {
        let ranges: Vec<_> = runs.iter().map(|(lba, blocks)| LbaRange::new(*lba, *blocks)).collect();
        let (cdb, list) = build::unmap(&ranges, anchor).expect("fits");
        let outcome = out(&self.device, &cdb, &list);
        let state = if anchor { BlockState::Anchored } else { BlockState::Deallocated };
        for (lba, blocks) in runs {
            if anchor && !self.model.has_space(*lba, *blocks) {
                refused(outcome, SenseKey::DataProtect, 0x27, 0x07);
                return;
            }
            self.model.set(*lba, *blocks, |_| (0, state), false);
        }
        good(outcome);
    }

    /// Compares with what is there, or with something else in its last block.
    fn compare(&mut self, lba: u64, blocks: u64, right: bool, byte: u8) {
        let mut data = self.device.device().content(lba, blocks);
        if !right {
            *data.last_mut().expect("a block") ^= 0x80;
        }
        data.extend(bytes(blocks, byte));
        let cdb = build::compare_and_write(lba, blocks as u8, Access::default());
        if !self.model.readable(lba, blocks) {
            refused(out(&self.device, &cdb, &data), SenseKey::MediumError, 0x11, 0x14);
        } else if right {
            self.change(&cdb, &data, (lba, blocks), move |_| (byte, BlockState::Mapped), false);
        } else {
            refused(out(&self.device, &cdb, &data), SenseKey::Miscompare, 0x1d, 0);
        }
    }

    fn or(&mut self, lba: u64, blocks: u64, byte: u8) {
        let cdb = scsi_common::cdb_16(0x8b, 0, lba, blocks as u32);
        if self.model.readable(lba, blocks) {
            let joined = move |block: Block| (block.0 | byte, BlockState::Mapped);
            self.change(&cdb, &bytes(blocks, byte), (lba, blocks), joined, false);
        } else {
            refused(out(&self.device, &cdb, &bytes(blocks, byte)), SenseKey::MediumError, 0x11, 0x14);
        }
    }

    /// What comes back is one of the values that may, and is then the only one.
    fn power_cut(&mut self) {
        self.device.device().power_cut().expect("memory does not fail");
        refused(plain(&self.device, &build::test_unit_ready()), SenseKey::UnitAttention, 0x29, 0x01);
        settle(&self.device);
        for lba in 0..BLOCKS {
            let (block, may) = (self.block(lba), &self.model.may[lba as usize]);
            assert!(may.contains(&block), "block {lba} is {block:?} and may be {may:?}");
            self.model.now[lba as usize] = block;
        }
        self.model.flush(0, BLOCKS);
    }

    fn block(&self, lba: u64) -> Block {
        let bytes = self.device.device().content(lba, 1);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "block {lba} is torn");
        (bytes[0], self.device.device().state(lba).expect("on the medium"))
    }

    fn compare_all(&self) {
        let device = self.device.device();
        for lba in 0..BLOCKS {
            assert_eq!(self.block(lba), self.model.now[lba as usize], "block {lba}");
        }
        assert_eq!(device.used(), self.model.used());
        let durable = self.model.may.iter().all(|may| may.len() == 1);
        assert!(!durable || device.dirty() == 0, "nothing is left to be flushed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_disk_does_as_the_model(
        ops in proptest::collection::vec(op(), 1..60),
        limit in proptest::option::of(8..BLOCKS),
        cached in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new(limit, cached, seed);
        for op in &ops {
            pair.apply(op);
            pair.compare_all();
        }
    }
}

/// Both happen, and so does what was there in between.
#[test]
fn a_power_cut_keeps_and_loses() {
    let mut seen = [false; 3];
    for seed in 0..64 {
        let pair = Pair::new(None, true, seed);
        for byte in [1, 2] {
            good(out(&pair.device, &build::write_16(3, 1, Access::default()), &bytes(1, byte)));
        }
        pair.device.device().power_cut().expect("memory does not fail");
        seen[usize::from(pair.block(3).0)] = true;
    }
    assert_eq!(seen, [true; 3]);
}

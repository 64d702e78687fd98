use std::time::Duration;

use formats::Seq;
use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Entry, EntryHeader, Origin, PayloadInfo};
use formats::scsi::build::{self, Access, ReservationType, ReserveOut, Same};
use formats::scsi::{Blocks, DeviceType, Geometry, Outcome, ScsiStatus, SenseKey};
use formats::{Crc32c, Op, OpFlags, Position, Record, Status, VolumeIndex};
use replication::errors::{Budget, Budgets, Limit, OpaqueRule, Policy, RowIndex, StopReason, Wait};

use super::*;
use crate::pool::{self, ApplyError};
use crate::scsi::fake::{BLOCK, Fake, check};

mod plain;
mod queued;
mod replay;
mod rows;

const BLOCKS: u64 = 256;

/// A policy whose waits are short.
fn quick() -> Policy {
    let millisecond = Wait { first: Duration::from_millis(1), longest: Duration::from_millis(1) };
    let mut budgets = Budgets::USUAL;
    (budgets.short, budgets.long, budgets.poll) = (millisecond, millisecond, millisecond);
    for &budget in Budget::ALL {
        budgets = budgets.with_limit(budget, Limit { attempts: 3, time: Duration::from_secs(60) });
    }
    Policy { budgets, reproduce_unreadable: true, ..Policy::default() }
}

struct Rig {
    device: Arc<Fake>,
    target: ScsiTarget,
}

impl Rig {
    fn new() -> Self {
        Self::with(Fake::disk(BLOCKS), |_| {})
    }

    fn with(device: Fake, change: impl FnOnce(&mut Options)) -> Self {
        let device = Arc::new(device);
        let mut options = Options { policy: quick(), ..Options::new("/dev/fake".into()) };
        change(&mut options);
        let target = ScsiTarget::open(Arc::clone(&device) as Arc<dyn ScsiDevice>, options).unwrap();
        device.lock().seen.clear();
        Self { device, target }
    }

    fn hits(&self, row: &str) -> u64 {
        CommandTarget::rows(&self.target).hits(RowIndex::named(row).unwrap())
    }

    /// Bytes of the device's blocks.
    fn content(&self, lba: usize, blocks: usize) -> Vec<u8> {
        self.device.lock().content[lba * BLOCK..(lba + blocks) * BLOCK].to_vec()
    }

    fn cdbs(&self, opcodes: &[u8]) -> Vec<Vec<u8>> {
        self.device.take_seen(opcodes).into_iter().map(|seen| seen.cdb).collect()
    }
}

/// A captured command and the record that it was.
struct Shot {
    op: Op,
    status: Status,
    range: ByteRange,
    content: Vec<u8>,
    cdb: Vec<u8>,
    data_out: Vec<u8>,
    device: DeviceType,
    transfer: Transfer,
    transfer_len: u32,
    answer: Outcome,
    flags: CommandFlags,
    block_size: u32,
    lun: u64,
}

impl Shot {
    /// A command whose data is in its trailer.
    fn new(cdb: &[u8], data_out: &[u8]) -> Self {
        Self {
            op: Op::Scsi,
            status: Status::OK,
            range: ByteRange::new(0, 512),
            content: Vec::new(),
            cdb: cdb.to_vec(),
            data_out: data_out.to_vec(),
            device: DeviceType::DISK,
            transfer: if data_out.is_empty() { Transfer::None } else { Transfer::Out },
            transfer_len: data_out.len() as u32,
            answer: Outcome::GOOD,
            flags: CommandFlags::empty(),
            block_size: 512,
            lun: 0,
        }
    }

    /// A write whose data is the record's content.
    fn write(lba: u64, cdb: &[u8], content: &[u8]) -> Self {
        Self {
            op: Op::Write,
            range: ByteRange::new(lba * 512, content.len() as u64),
            content: content.to_vec(),
            transfer: Transfer::Out,
            transfer_len: content.len() as u32,
            ..Self::new(cdb, &[])
        }
    }

    fn failed(self, answer: Outcome) -> Self {
        Self { status: Status(10), answer, ..self }
    }

    fn entry(&self) -> (EntryHeader, Vec<u8>) {
        let sense = self.answer.sense.map(|sense| sense.encode().to_vec()).unwrap_or_default();
        let command = Command {
            unit: Hctl { lun: self.lun, ..Hctl::default() },
            device: self.device,
            medium: self.device.is_block_device().then(|| Geometry::new(self.block_size, BLOCKS)),
            flags: self.flags,
            transfer: self.transfer,
            transfer_len: self.transfer_len,
            residual: self.answer.residual,
            result: self.answer.to_result(),
            cdb: &self.cdb,
            sense: &sense,
            data_out: &self.data_out,
        };
        let mut payload = self.content.clone();
        command.write_to(&mut payload);
        let encoding =
            if self.content.is_empty() { PayloadInfo::NONE.encoding } else { PayloadInfo::data(&[]).encoding };
        let (len, trailer) = (payload.len() as u32, command.encoded_len() as u32);
        let info = PayloadInfo { encoding, len, crc: Crc32c::of(&payload), trailer };
        let record = Record {
            seq: Seq(7),
            dep: Seq(6),
            volume: VolumeIndex(0),
            op: self.op,
            flags: OpFlags::empty(),
            range: self.range,
            status: self.status,
            origin: Origin::default(),
        };
        (EntryHeader { entry: Entry::Record(record), position: Position(7), payload: info }, payload)
    }

    fn apply(&self, rig: &Rig) -> Result<pool::Outcome, ApplyError> {
        self.apply_to(&rig.target)
    }

    fn apply_to(&self, target: &ScsiTarget) -> Result<pool::Outcome, ApplyError> {
        let (header, payload) = self.entry();
        pool::apply(&header, &payload, Some(target))
    }
}

fn reserve(action: ReserveOut, kind: ReservationType, keys: (u64, u64)) -> Shot {
    let list = build::reserve_parameters(keys.0, keys.1, false);
    Shot { range: ByteRange::default(), ..Shot::new(&build::persistent_reserve_out(action, kind, 24), &list) }
}

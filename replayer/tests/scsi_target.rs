//! A simulated primary and a simulated standby: what the one was sent, captured as an agent captures it, is issued again
//! on the other; both hold the same afterwards, whatever the standby's device answers in between.

use std::sync::Arc;
use std::time::Duration;

use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Entry, EntryHeader, Origin, PayloadInfo};
use formats::scsi::build::{self, Access, ReservationType, ReserveOut, Same, SpaceCode};
use formats::scsi::{
    self, Asc, Blocks, Cdb, DeviceType, Direction, Geometry, HostStatus, LbaRange, Outcome, ScsiStatus, Sense, SenseKey,
};
use formats::{ByteRange, Crc32c, Op, OpFlags, Position, Record, Region, Seq, Status, VolumeIndex};
use proptest::prelude::*;
use replayer::command::CommandTarget;
use replayer::pool::{self, ApplyError};
use replayer::scsi::identity::{self, Identity, Mapping, differences};
use replayer::scsi::simulated::{
    Limits, Nexus, Reaction, Selector, Settings, SimulatedDevice, TapeSettings, Thin, Times,
};
use replayer::scsi::{Data, Request, ScsiDevice};
use replayer::target::{ScsiOptions, ScsiTarget, Target};
use replication::errors::{Budget, Budgets, Limit, Policy, Wait};

const BLOCKS: u64 = 400;
const SIZE: usize = 512;

/// Usual limits with waits of no length.
fn policy() -> Policy {
    let wait = Wait { first: Duration::from_micros(10), longest: Duration::from_micros(10) };
    let mut budgets = Budgets::USUAL;
    (budgets.short, budgets.long, budgets.poll) = (wait, wait, wait);
    for &budget in Budget::ALL {
        budgets = budgets.with_limit(budget, Limit { attempts: 50, time: Duration::from_secs(60) });
    }
    Policy { budgets, ..Policy::default() }
}

struct Pair {
    primary: Nexus,
    standby: SimulatedDevice,
    /// The target's initiator.
    nexus: Nexus,
    target: ScsiTarget,
    kind: DeviceType,
    seq: u64,
}

type Entries = Vec<(EntryHeader, Vec<u8>)>;

impl Pair {
    fn new(primary: Settings, standby: Settings) -> Self {
        let kind = primary.device_type();
        let primary = SimulatedDevice::new(primary).unwrap().nexus();
        let standby = SimulatedDevice::new(standby).unwrap();
        let options = ScsiOptions { policy: policy(), ..ScsiOptions::new("standby".into()) };
        let nexus = standby.nexus();
        let target = ScsiTarget::open(Arc::new(nexus.clone()), options).unwrap();
        Self { primary, standby, nexus, target, kind, seq: 0 }
    }

    fn thin() -> Self {
        let settings = || Settings::thin_disk(SIZE as u32, BLOCKS, Thin::UNLIMITED);
        Self::new(settings(), settings())
    }

    /// Sends a command to the primary and captures it: the record, and behind what leaves a hole the region that heals it.
    fn shoot(&mut self, cdb: &[u8], out: &[u8]) -> Entries {
        let decoded = scsi::decode(cdb, self.kind).unwrap();
        let mut buffer = vec![0; decoded.transfer_bytes(SIZE as u32).unwrap_or(0) as usize];
        let (transfer, len) = match decoded.direction() {
            Direction::In => (Transfer::In, buffer.len()),
            Direction::Out if !out.is_empty() => (Transfer::Out, out.len()),
            _ => (Transfer::None, 0),
        };
        let data = match transfer {
            Transfer::In if len > 0 => Data::In(&mut buffer),
            Transfer::Out => Data::Out(out),
            _ => Data::None,
        };
        let answer = self.primary.execute(Request { cdb, data, timeout: Duration::from_secs(60) }).unwrap();
        self.capture(cdb, out, transfer, len as u32, answer)
    }

    fn capture(&mut self, cdb: &[u8], out: &[u8], transfer: Transfer, len: u32, answer: Outcome) -> Entries {
        let decoded = scsi::decode(cdb, self.kind).unwrap();
        let medium = self.kind.is_block_device().then(|| Geometry::new(SIZE as u32, BLOCKS));
        let sense = answer.sense.map(|sense| sense.encode().to_vec()).unwrap_or_default();
        let plain = decoded.effect() == scsi::Effect::Write && self.kind == DeviceType::DISK;
        let (content, data_out) = if plain { (out, &[][..]) } else { (&[][..], out) };
        let command = Command {
            unit: Hctl::default(),
            device: self.kind,
            medium,
            flags: CommandFlags::PASSTHROUGH,
            transfer,
            transfer_len: len,
            residual: answer.residual,
            result: answer.to_result(),
            cdb,
            sense: &sense,
            data_out,
        };
        let range = medium.and_then(|medium| decoded.range(&medium).ok()).unwrap_or_default();
        let told = plain || command.changes().is_some() || self.kind == DeviceType::TAPE;
        let op = match (plain, told) {
            (true, _) => Op::Write,
            (_, true) => Op::Scsi,
            (_, false) => Op::Opaque,
        };
        let status = if answer.is_done() { Status::OK } else { Status(10) };
        let mut payload = content.to_vec();
        command.write_to(&mut payload);
        let mut entries = vec![self.entry(op, range, status, content.len(), payload)];
        if self.kind == DeviceType::DISK && (op == Op::Opaque || !status.is_ok()) {
            entries.extend(self.region(range));
        }
        entries
    }

    fn entry(
        &mut self,
        op: Op,
        range: ByteRange,
        status: Status,
        content: usize,
        payload: Vec<u8>,
    ) -> (EntryHeader, Vec<u8>) {
        self.seq += 1;
        let record = Record {
            seq: Seq(self.seq),
            dep: Seq(self.seq - 1),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::empty(),
            range,
            status,
            origin: Origin::default(),
        };
        let encoding = if content > 0 { PayloadInfo::data(&[]).encoding } else { PayloadInfo::NONE.encoding };
        let (len, trailer) = (payload.len() as u32, (payload.len() - content) as u32);
        let info = PayloadInfo { encoding, len, crc: Crc32c::of(&payload), trailer };
        (EntryHeader { entry: Entry::Record(record), position: Position(self.seq), payload: info }, payload)
    }

    /// What the primary's medium holds in a range.
    fn region(&self, range: ByteRange) -> Option<(EntryHeader, Vec<u8>)> {
        let bytes = self.primary.device().content(range.offset / SIZE as u64, range.len / SIZE as u64);
        let (volume, consistent_after) = (VolumeIndex(0), Seq(self.seq));
        let region = Region { volume, range, consistent_after, remaining: 0 };
        let header = EntryHeader {
            entry: Entry::Region(region),
            position: Position(self.seq),
            payload: PayloadInfo::data(&bytes),
        };
        (!range.is_empty()).then_some((header, bytes))
    }

    fn replay(&self, entries: &Entries) -> Result<(), ApplyError> {
        entries.iter().try_for_each(|(header, payload)| pool::apply(header, payload, Some(&self.target)).map(drop))
    }

    /// Sends to the one, replays on the other.
    fn both(&mut self, cdb: &[u8], out: &[u8]) {
        let entries = self.shoot(cdb, out);
        self.replay(&entries).unwrap_or_else(|error| panic!("{error}"));
    }

    fn assert_content(&self) {
        let (primary, standby) = (self.primary.device().content(0, BLOCKS), self.standby.content(0, BLOCKS));
        let differs = primary.chunks(SIZE).zip(standby.chunks(SIZE)).position(|(a, b)| a != b);
        assert_eq!(differs, None, "block that differs");
    }

    fn assert_provisioning(&self) {
        for lba in 0..BLOCKS {
            assert_eq!(self.primary.device().state(lba), self.standby.state(lba), "block {lba}");
        }
    }

    fn hits(&self, row: &str) -> u64 {
        self.target.rows().used().find(|(index, _)| index.row().id == row).map_or(0, |(_, hits)| hits)
    }
}

fn check(key: SenseKey, code: u8, qualifier: u8) -> Outcome {
    Outcome::check(Sense::new(key, Asc::new(code, qualifier)))
}

/// One command of a workload, with its data.
#[derive(Clone)]
struct Sent(Cdb, Vec<u8>);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {:?}", scsi::decode(&self.0, DeviceType::DISK).unwrap(), self.1.last())
    }
}

fn command() -> impl Strategy<Value = Sent> {
    let place = (0..BLOCKS - 16, 1..16u64, any::<u8>());
    (0..11u8, place, any::<bool>()).prop_map(|(kind, (lba, blocks, byte), flag)| {
        let (low, count, data) = (lba as u32, blocks as u16, vec![byte; blocks as usize * SIZE]);
        let access = Access { fua: flag, group: byte & 7, ..Access::default() };
        let one = vec![byte; SIZE];
        let coded = |opcode: u8| {
            let mut cdb = [0; 16];
            (cdb[0], cdb[13]) = (opcode, count as u8);
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            Cdb::new(&cdb).unwrap()
        };
        let (cdb, out) = match kind {
            0 => (build::write_10(low, count, access), data),
            1 => (build::write_16(lba, blocks as u32, access), data),
            2 => (build::write_12(low, blocks as u32, access), data),
            3 => (
                build::write_same_16(lba, Blocks::Count(blocks), Same { unmap: flag, ..Same::default() }).unwrap(),
                vec![0; SIZE],
            ),
            4 => (build::write_same_10(low, Blocks::Count(blocks), Same::default()).unwrap(), one),
            5 => build::unmap(&[LbaRange::new(lba, blocks), LbaRange::new(lba / 2, 2)], false).unwrap(),
            6 => (build::compare_and_write(lba, 1, access), [vec![0; SIZE], one].concat()),
            7 => (build::flush(), vec![]),
            // ORWRITE, WRITE AND VERIFY(16).
            8 => (coded(0x8b), data),
            9 => (coded(0x8e), data),
            _ => (build::read(lba, blocks as u32, Access::default()), vec![]),
        };
        Sent(cdb, out)
    })
}

/// What a standby's device may answer without losing anything.
fn passing_trouble() -> Vec<Outcome> {
    vec![
        Outcome::with_status(ScsiStatus::Busy),
        Outcome::with_status(ScsiStatus::TaskSetFull),
        Outcome::with_status(ScsiStatus::TaskAborted),
        Outcome::transport(HostStatus::Requeue),
        Outcome::transport(HostStatus::TimeOut),
        Outcome::transport(HostStatus::TransportDisrupted),
        check(SenseKey::UnitAttention, 0x29, 0x03),
        check(SenseKey::UnitAttention, 0x2a, 0x01),
        check(SenseKey::UnitAttention, 0x3f, 0x03),
        check(SenseKey::NotReady, 0x04, 0x01),
        check(SenseKey::AbortedCommand, 0x47, 0x00),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// The same commands leave the same bytes and the same blocks deallocated.
    #[test]
    fn commands_leave_the_same_on_both(commands in proptest::collection::vec(command(), 1..60)) {
        let mut pair = Pair::thin();
        for Sent(cdb, out) in &commands {
            pair.both(cdb, out);
        }
        pair.target.flush().unwrap();
        pair.assert_content();
        // What is combined on the primary comes as a region, which writes: all else is the same command.
        if commands.iter().all(|Sent(cdb, _)| cdb.opcode() != 0x8b && cdb.opcode() != 0x89) {
            pair.assert_provisioning();
        }
    }

    /// A standby whose device is in trouble again and again, after having done what was asked or not.
    #[test]
    fn trouble_that_passes_changes_nothing(commands in proptest::collection::vec(command(), 1..60), seed in any::<u64>()) {
        let settings = || Settings { seed, ..Settings::thin_disk(SIZE as u32, BLOCKS, Thin::UNLIMITED) };
        let mut pair = Pair::new(settings(), settings());
        for trouble in passing_trouble() {
            pair.standby.add_rule(Selector::default(), Times::PerMillion(8_000), Reaction::Instead(trouble));
            pair.standby.add_rule(Selector::default(), Times::PerMillion(3_000), Reaction::After(trouble));
        }
        let recovered = check(SenseKey::RecoveredError, 0x17, 0x01);
        pair.standby.add_rule(Selector::default(), Times::PerMillion(20_000), Reaction::After(recovered));
        for Sent(cdb, out) in &commands {
            pair.both(cdb, out);
        }
        pair.target.flush().unwrap();
        pair.assert_content();
    }

    /// A standby with less: no UNMAP, WRITE SAME or verifying writes, and short transfers.
    #[test]
    fn a_lesser_device_ends_with_the_same_content(commands in proptest::collection::vec(command(), 1..60)) {
        let primary = Settings::thin_disk(SIZE as u32, BLOCKS, Thin::UNLIMITED);
        let limits = Limits { transfer: 8, ..Limits::default() };
        let mut pair = Pair::new(primary, Settings { limits, ..Settings::disk(SIZE as u32, BLOCKS + 7) });
        let refused = Reaction::Instead(check(SenseKey::IllegalRequest, 0x20, 0));
        pair.standby.add_rule(Selector::opcodes(&[0x41, 0x93, 0x42, 0x8e]), Times::Always, refused);
        for Sent(cdb, out) in &commands {
            pair.both(cdb, out);
        }
        pair.assert_content();
    }
}

#[test]
fn a_power_cut_of_the_standby_is_told_and_its_journal_redoes() {
    let mut pair = Pair::thin();
    let entries: Vec<Entries> =
        (0..50u32).map(|lba| pair.shoot(&build::write_10(lba, 1, Access::default()), &[lba as u8 + 1; SIZE])).collect();
    entries[..25].iter().for_each(|entries| pair.replay(entries).unwrap());
    pair.standby.power_cut().unwrap();
    let lost = pair.replay(&entries[25]).unwrap_err();
    assert!(matches!(lost, ApplyError::Lost { .. }), "{lost}");
    assert!(lost.to_string().contains("applied again from the journal"), "{lost}");
    entries.iter().for_each(|entries| pair.replay(entries).unwrap());
    pair.assert_content();
}

#[test]
fn a_block_that_cannot_be_written_is_a_hole_until_it_can() {
    let mut pair = Pair::thin();
    let bad = Reaction::Instead(check(SenseKey::MediumError, 0x0c, 0x02));
    pair.standby.add_rule(Selector::opcodes(&[0x2a]).within(7..8), Times::Always, bad);
    let entries = pair.shoot(&build::write_10(4, 8, Access::default()), &[3; 8 * SIZE]);
    let hole = pair.replay(&entries).unwrap_err();
    assert!(matches!(hole, ApplyError::OutOfSync { .. }), "{hole}");
    pair.standby.clear_rules();
    pair.replay(&vec![pair.region(ByteRange::new(4 * 512, 8 * 512)).unwrap()]).unwrap();
    pair.assert_content();
}

#[test]
fn reservations_and_modes_become_the_primarys() {
    let mut pair = Pair::thin();
    let mut reserve = |action, kind, keys: (u64, u64)| {
        let list = build::reserve_parameters(keys.0, keys.1, false);
        pair.both(&build::persistent_reserve_out(action, kind, 24), &list);
    };
    reserve(ReserveOut::Register, ReservationType::None, (0, 0x11));
    reserve(ReserveOut::Reserve, ReservationType::WriteExclusive, (0x11, 0));
    // Write cache off: the Caching page as the primary gave it back, changed.
    let mut page = vec![0; 64];
    let sense = build::mode_sense_6(build::ModePage { page: 0x08, dbd: true, ..build::ModePage::default() }, 64);
    let timeout = Duration::from_secs(1);
    let answer = pair.primary.execute(Request { cdb: &sense, data: Data::In(&mut page), timeout }).unwrap();
    page.truncate(64 - answer.residual as usize);
    (page[0], page[2], page[4]) = (0, 0, page[4] & 0x3f);
    page[6] &= !4;
    pair.both(&build::mode_select_6(false, page.len() as u8), &page);
    let (primary, standby) = (identity::read(&pair.primary).unwrap(), identity::read(&pair.nexus).unwrap());
    assert_eq!((primary.modes, primary.modes.write_cache), (standby.modes, Some(false)));
    // The generation counts registrations, of which the standby needs more.
    let reserved = |identity: &Identity| identity.reservations.clone().map(|all| (all.keys, all.held));
    assert_eq!(reserved(&primary), reserved(&standby));
    assert!(reserved(&primary).is_some_and(|(keys, held)| keys == [0x11] && held.is_some()));
    assert!(differences(&primary, &standby, Mapping::default()).iter().all(|d| d.name == "the recorded device itself"));
}

#[test]
fn a_primary_that_lies_or_is_smaller_is_told_apart() {
    let device = SimulatedDevice::new(Settings::disk(512, BLOCKS)).unwrap();
    device.claim_capacity(Some(BLOCKS + 1));
    let options = || ScsiOptions::new("standby".into());
    let lies = ScsiTarget::open(Arc::new(device.nexus()), options()).unwrap_err();
    assert!(lies.to_string().contains("lies about its capacity"), "{lies}");
    let recorded = identity::read(&SimulatedDevice::new(Settings::disk(4096, BLOCKS)).unwrap().nexus()).unwrap();
    let fine = SimulatedDevice::new(Settings::disk(512, BLOCKS)).unwrap();
    let options = ScsiOptions { recorded: Some(recorded), ..options() };
    let differs = ScsiTarget::open(Arc::new(fine.nexus()), options).unwrap_err();
    assert!(differs.to_string().contains("refused: block size: 4096 was recorded, here 512"), "{differs}");
}

#[test]
fn a_tape_reads_the_same_after_spacing_back_and_overwriting() {
    let tape = || Settings::tape(TapeSettings::default());
    let mut pair = Pair::new(tape(), tape());
    let write = |pair: &mut Pair, len: usize, byte: u8| {
        pair.both(&build::tape_write_6(false, len as u32).unwrap(), &vec![byte; len]);
    };
    let marks = |pair: &mut Pair, count| pair.both(&build::write_filemarks_6(count, false).unwrap(), &[]);
    let space = |pair: &mut Pair, code, count| pair.both(&build::space_6(code, count).unwrap(), &[]);
    for byte in 1..=4 {
        write(&mut pair, 1000 * usize::from(byte), byte);
    }
    marks(&mut pair, 1);
    write(&mut pair, 512, 9);
    marks(&mut pair, 2);
    // Back over both marks, onto the record, which is overwritten; then a mark.
    space(&mut pair, SpaceCode::Filemarks, -2);
    space(&mut pair, SpaceCode::Blocks, -1);
    write(&mut pair, 700, 7);
    marks(&mut pair, 1);
    pair.both(&build::rewind(false), &[]);
    // Spacing over blocks stops at the filemark: on both, at the same place.
    space(&mut pair, SpaceCode::Blocks, 10);
    pair.both(&build::tape_read_6(false, false, 700).unwrap(), &[]);
    assert_eq!(pair.primary.device().objects(), pair.standby.objects());
    assert_eq!(pair.primary.device().position(), pair.standby.position());
    assert!(pair.hits("tape-good") > 10 && pair.hits("tape-filemark") == 1);
    // Somebody moved the standby's tape: the next read stops at another place.
    let moved = pair.standby.nexus();
    moved.execute(Request { cdb: &build::rewind(false), data: Data::None, timeout: Duration::from_secs(1) }).unwrap();
    let entries = pair.shoot(&build::tape_read_6(false, false, 700).unwrap(), &[]);
    let stopped = pair.replay(&entries).unwrap_err().to_string();
    assert!(stopped.contains("tapes differ"), "{stopped}");
}

#[test]
fn many_workers_at_once_leave_what_one_leaves() {
    let pair = Pair::thin();
    let target = &pair.target;
    std::thread::scope(|scope| {
        for worker in 0..8u64 {
            scope.spawn(move || {
                for turn in 0..20u8 {
                    target.write(worker * 40 * 512, &vec![turn; 40 * SIZE], turn % 3 == 0).unwrap();
                }
            });
        }
    });
    assert!(pair.standby.content(0, 320).iter().all(|byte| *byte == 19));
    let trouble = target.rows();
    assert_eq!(trouble.used().count(), 2, "issue and good: {}", trouble.listing());
}

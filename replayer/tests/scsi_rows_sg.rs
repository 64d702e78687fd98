//! Rows of the error consistency table, reached by real answers in a virtual machine: Linux's scsi_debug is made to give
//! them, and our simulated device behind the kernel's SCSI stack, on the primary's device as well as on the standby's.
//!
//! All these devices are overwritten, and scsi_debug's second disk is removed from the system at the end. They are named in
//! pairs, the primary's first: scsi_debug's by `BLKECHO_SCSI_ERRORS`; simulated disks by `BLKECHO_SCSI_DISKS` and tapes by
//! `BLKECHO_SCSI_TAPES`, each with the socket at which its program takes orders.
//!
//! ```text
//! modprobe scsi_debug delay=0 dev_size_mb=16 lbpu=1 lbpws=1 add_host=2 per_host_store=1
//! BLKECHO_SCSI_ERRORS=/dev/sg0,/dev/sg1 BLKECHO_SCSI_DISKS=/dev/sg2=/run/a,/dev/sg3=/run/b \
//!     BLKECHO_SCSI_TAPES=/dev/sg4=/run/c,/dev/sg5=/run/d scsi_rows_sg --ignored --nocapture
//! ```
//!
//! What can be asked of the whole of scsi_debug is asked on any kernel. Each row of the table is tried with the answers that
//! it is documented with: on the simulated devices, which can give all but those of a transport, and by scsi_debug's rules
//! for one device, which can do that too but are not there before Linux 6.7.

mod scsi_common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command as Program;
use std::sync::Arc;
use std::time::Duration;

use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Origin, PayloadInfo, Record};
use formats::scsi::build::{self, Access, ModePage, ReservationType, ReserveOut, Same, SpaceCode};
use formats::scsi::{Blocks, DeviceType, Geometry, HostStatus, LbaRange, Outcome};
use formats::{ByteRange, Op, OpFlags, Seq, Status, VolumeIndex};
use replayer::command::CommandTarget;
use replayer::scsi::sg::SgDevice;
use replayer::scsi::{Data, Request, ScsiDevice};
use replayer::target::{ScsiOptions, ScsiTarget, Target, Timeouts};
use replication::errors::{
    Budget, Budgets, CommandKind, Limit, OpaqueRule, Policy, ROWS, Reply, Row, RowCounters, RowIndex, Wait,
};
use scsi_common::orders::Orders;
use scsi_common::scsi_debug::{Options, Rules, read_driver, write_driver};
use scsi_common::{Script, ask, cdb_16, good, out, plain, settle};

const BLOCK: usize = 512;
/// Time-out of a write where it is to be reached: the least that a standby takes.
const SHORT: Duration = Duration::from_secs(7);
/// Where scsi_debug cannot read when asked to (OPT_MEDIUM_ERR_ADDR).
const BAD_BLOCK: u32 = 0x1234;

/// Usual limits with waits of no length, and few attempts.
fn policy() -> Policy {
    let wait = Wait { first: Duration::from_millis(1), longest: Duration::from_millis(1) };
    let mut budgets = Budgets::USUAL;
    (budgets.short, budgets.long, budgets.poll) = (wait, wait, wait);
    for &budget in Budget::ALL {
        budgets = budgets.with_limit(budget, Limit { attempts: 2, time: Duration::from_secs(60) });
    }
    let budgets = budgets.with_limit(Budget::TimeOut, Limit { attempts: 1, time: Duration::from_secs(60) });
    Policy { budgets, reproduce_unreadable: true, opaque: OpaqueRule::Issue, ..Policy::default() }
}

/// One command with its data.
struct Sent {
    cdb: Vec<u8>,
    out: Vec<u8>,
    /// Bytes of data-in.
    room: usize,
}

impl Sent {
    fn new(cdb: &[u8], out: &[u8]) -> Self {
        Self { cdb: cdb.to_vec(), out: out.to_vec(), room: 0 }
    }

    fn read(lba: u32, blocks: u16) -> Self {
        Self { room: usize::from(blocks) * BLOCK, ..Self::new(&build::read_10(lba, blocks, Access::default()), &[]) }
    }

    fn write() -> Self {
        Self::new(&build::write_10(0, 1, Access::default()), &[1; BLOCK])
    }

    /// One of this kind.
    fn of(kind: CommandKind) -> Self {
        use CommandKind as K;
        let coded = |opcode: u8, flags: u8| cdb_16(opcode, flags, 0, 1);
        match kind {
            K::Read => Self::read(0, 1),
            K::Write => Self::write(),
            K::WriteAtomic => {
                let mut cdb = coded(0x9c, 0);
                cdb[13] = 1;
                Self::new(&cdb, &[1; BLOCK])
            }
            K::WriteSame => {
                let cdb = build::write_same_16(0, Blocks::Count(4), Same::default()).expect("fits");
                Self::new(&cdb, &[1; BLOCK])
            }
            K::Unmap | K::UnmapToZeros => {
                let (cdb, list) = build::unmap(&[LbaRange::new(0, 4)], false).expect("fits");
                Self::new(&cdb, &list)
            }
            K::CompareAndWrite => Self::new(&build::compare_and_write(0, 1, Access::default()), &[1; 2 * BLOCK]),
            K::Combine => Self::new(&coded(0x8b, 0), &[1; BLOCK]),
            K::WriteLong => Self::new(&[0x3f, 0, 0, 0, 0, 0, 0, 2, 8, 0], &[1; 520]),
            K::MarkUnreadable => Self::new(&build::mark_unreadable(0, false), &[]),
            K::Flush => Self::new(&build::flush(), &[]),
            K::WholeMedium => Self::new(&[0x04, 0, 0, 0, 0, 0], &[]),
            K::Reservation => {
                let list = build::reserve_parameters(0, 1, false);
                let action = ReserveOut::Register;
                Self::new(&build::persistent_reserve_out(action, ReservationType::None, list.len() as u32), &list)
            }
            K::Parameters => Self::new(&build::mode_select_6(false, 6), &[0, 0, 0, 0, 8, 0]),
            K::UnitState => Self::new(&[0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
            K::Carried => Self::new(&build::start_stop_unit(true, false, false), &[]),
            K::Refused => Self::new(&coded(0x94, 4), &[]),
            K::Opaque => Self::new(&[0xc1; 10], &[]),
            K::TapeWrite => Self::new(&build::tape_write_6(false, 1024).expect("fits"), &[1; 1024]),
            K::TapeMove => Self::new(&build::space_6(SpaceCode::Filemarks, 1).expect("fits"), &[]),
        }
    }

    /// One that leads to this row, if it is of this kind of device.
    fn for_row(row: &Row, device: DeviceType) -> Option<Self> {
        let kind = row.example.command;
        let is_tapes = matches!(kind, CommandKind::TapeWrite | CommandKind::TapeMove);
        let is_short = row.example.primary == Reply::SHORT;
        (is_tapes == (device == DeviceType::TAPE)).then(|| match kind {
            // Only data from the device can be short.
            CommandKind::TapeMove if is_short => {
                Self { room: 1024, ..Self::new(&build::tape_read_6(false, false, 1024).expect("fits"), &[]) }
            }
            kind => Self::of(kind),
        })
    }

    fn transfer(&self) -> (Transfer, usize) {
        match (self.out.len(), self.room) {
            (0, 0) => (Transfer::None, 0),
            (0, room) => (Transfer::In, room),
            (len, _) => (Transfer::Out, len),
        }
    }
}

/// The two devices.
struct Rig {
    kind: DeviceType,
    primary: SgDevice,
    standby: Arc<SgDevice>,
    all: RefCell<RowCounters>,
    /// Time-out of writes.
    patience: Cell<Duration>,
    /// What should have reached rows and did not.
    missed: RefCell<Vec<String>>,
}

impl Rig {
    fn open(kind: DeviceType, primary: &str, standby: &str) -> Self {
        let open = |name: &str| SgDevice::open(Path::new(name)).expect("the device opens");
        Self {
            kind,
            primary: open(primary),
            standby: Arc::new(open(standby)),
            all: RefCell::default(),
            missed: RefCell::default(),
            patience: Cell::new(scsi_common::TIMEOUT),
        }
    }

    /// A target on the standby's disk, which is quiet; what it counted is counted here when it is done with.
    fn with_target(&self, primary_reads_zeros: bool, use_it: impl FnOnce(&ScsiTarget)) {
        let mut timeouts = Timeouts::default();
        for write in ["0x2a", "0x0a"] {
            timeouts.set(write.parse().expect("an operation code"), self.patience.get()).expect("long enough");
        }
        let options =
            ScsiOptions { policy: policy(), primary_reads_zeros, timeouts, ..ScsiOptions::new("standby".into()) };
        let target = ScsiTarget::open(Arc::clone(&self.standby) as Arc<dyn ScsiDevice>, options).expect("it is fit");
        use_it(&target);
        self.all.borrow_mut().add(&CommandTarget::rows(&target));
    }

    /// Sends a command to the primary's disk.
    fn shoot(&self, sent: &Sent) -> Outcome {
        let mut buffer = vec![0; sent.room];
        let data = match sent.transfer().0 {
            Transfer::None => Data::None,
            Transfer::In => Data::In(&mut buffer),
            Transfer::Out | Transfer::Both => Data::Out(&sent.out),
        };
        let request = Request { cdb: &sent.cdb, data, timeout: self.patience.get() };
        self.primary.execute(request).expect("the disk takes commands")
    }

    /// Replays a good command while `trouble` is there.
    fn in_trouble<T>(&self, sent: &Sent, trouble: impl FnOnce() -> T) {
        self.with_target(true, |target| {
            let during = trouble();
            self.replay(target, sent, Some(Outcome::GOOD));
            drop(during);
        });
    }

    /// Sends a command to the primary's disk while `trouble` is there, and replays it with the answer that it had.
    fn troubled<T>(&self, sent: &Sent, trouble: impl FnOnce() -> T) {
        let during = trouble();
        let answer = self.shoot(sent);
        drop(during);
        settle(&self.primary);
        self.with_target(true, |target| self.replay(target, sent, Some(answer)));
    }

    /// Issues a captured command, which ended so on the primary; none where nobody saw how.
    fn replay(&self, target: &ScsiTarget, sent: &Sent, answer: Option<Outcome>) {
        let (transfer, len) = sent.transfer();
        let sense = answer.and_then(|answer| answer.sense).map(|sense| sense.encode().to_vec()).unwrap_or_default();
        let command = Command {
            unit: Hctl::default(),
            device: self.kind,
            medium: (self.kind == DeviceType::DISK).then(|| Geometry::new(BLOCK as u32, target.size() / BLOCK as u64)),
            flags: CommandFlags::PASSTHROUGH,
            transfer,
            transfer_len: len as u32,
            residual: answer.map_or(0, |answer| answer.residual),
            result: answer.map_or(0, |answer| answer.to_result()),
            cdb: &sent.cdb,
            sense: &sense,
            data_out: &sent.out,
        };
        let status = match answer {
            None => Status::UNKNOWN,
            Some(answer) if answer.is_done() && answer.residual == 0 => Status::OK,
            Some(_) => Status(10),
        };
        let record = Record {
            seq: Seq(2),
            dep: Seq(1),
            volume: VolumeIndex(0),
            op: Op::Scsi,
            flags: OpFlags::empty(),
            range: ByteRange::default(),
            status,
            origin: Origin::default(),
        };
        // What became of it is the table's; which row said so is asked here.
        let _ = CommandTarget::command(target, &record, PayloadInfo::NONE.encoding, &[], &command);
    }

    /// Notes what of these rows was not reached by now; all of it is told at the end.
    fn expect(&self, what: &str, rows: &[&str]) {
        let all = self.all.borrow();
        let missed: Vec<_> = rows.iter().filter(|id| all.hits(named(id)) == 0).copied().collect();
        println!("{what}: {}", rows.join(", "));
        if !missed.is_empty() {
            let reached: Vec<_> = all.used().map(|(row, hits)| format!("{} {hits}", row.row().id)).collect();
            println!("  not reached: {}; so far: {}", missed.join(", "), reached.join(", "));
            self.missed.borrow_mut().push(format!("{what}: {}", missed.join(", ")));
        }
    }
}

fn named(id: &str) -> RowIndex {
    RowIndex::named(id).unwrap_or_else(|| panic!("there is no row {id}"))
}

/// The rows that any disk leads to: those of good commands, of which scsi_debug lacks some.
fn plain_rows(rig: &Rig) {
    for row in ROWS {
        let kind = row.example.command;
        let Some(sent) = Sent::for_row(row, rig.kind) else { continue };
        rig.with_target(kind != CommandKind::Unmap, |target| rig.replay(target, &sent, Some(Outcome::GOOD)));
    }
    rig.expect("good commands", &["issue", "good", "effect", "read-back", "unreadable", "read", "carried", "refused"]);
    rig.expect("what scsi_debug lacks", &["opaque", "opaque-not-taken", "whole-not-taken", "state-not-taken"]);
}

/// Errors of the standby's disk that are asked of the whole driver.
fn standby_rows(rig: &Rig) {
    let write = Sent::write();
    rig.in_trouble(&write, || Options::set(Options::RECOVERED_ERROR));
    rig.expect("recovered errors", &["recovered"]);
    rig.in_trouble(&write, || Options::set(Options::TRANSPORT_ERROR));
    rig.expect("transport errors", &["aborted"]);
    rig.in_trouble(&write, || Options::set(Options::DIX_ERROR));
    rig.in_trouble(&write, || Options::set(Options::DIF_ERROR));
    rig.expect("protection errors", &["host-abort"]);
    rig.with_target(true, |target| {
        let _short = Options::set(Options::SHORT_TRANSFER);
        let _ = target.read(0, &mut vec![0; 64 * BLOCK]);
    });
    rig.expect("short transfers", &["residual"]);
    rig.with_target(true, |target| {
        let _bad = Options::set(Options::MEDIUM_ERROR);
        let _ = target.read(u64::from(BAD_BLOCK) * BLOCK as u64, &mut [0; BLOCK]);
    });
    rig.expect("medium errors", &["read-error"]);
    rig.patience.set(SHORT);
    rig.in_trouble(&write, || Options::set(Options::TIMEOUT));
    rig.patience.set(scsi_common::TIMEOUT);
    rig.expect("time-outs", &["time-out"]);
    standby_states(rig, &write);
}

/// States of the standby's disk.
fn standby_states(rig: &Rig, write: &Sent) {
    let standby = &*rig.standby;
    rig.in_trouble(write, WriteProtected::set);
    rig.expect("write protection", &["write-protected"]);
    rig.in_trouble(write, || good(plain(standby, &build::start_stop_unit(false, false, false))));
    good(plain(standby, &build::start_stop_unit(true, false, false)));
    rig.expect("stopped", &["stopped-unit"]);
    rig.in_trouble(write, || change_modes(standby));
    change_modes(standby);
    settle(standby);
    rig.expect("mode parameters changed", &["attention-mode"]);
    rig.in_trouble(write, || reset(standby));
    rig.expect("reset", &["attention-power"]);
    rig.in_trouble(write, || {
        let more = if read_driver("max_luns") == "1" { "2" } else { "1" };
        write_driver("max_luns", more);
    });
    rig.expect("LUNs changed", &["attention-luns"]);
    // WRITE BUFFER that downloads microcode and activates it.
    rig.in_trouble(write, || good(out(standby, &[0x3b, 0x05, 0, 0, 0, 0, 0, 0, 16, 0], &[0; 16])));
    rig.expect("microcode changed", &["attention-microcode"]);
    rig.in_trouble(write, || write_driver("virtual_gb", "1"));
    write_driver("virtual_gb", "0");
    settle(standby);
    settle(&rig.primary);
    rig.expect("capacity changed", &["attention-capacity"]);
}

/// Errors of the primary's disk: the same, and what it finds wrong by itself.
fn primary_rows(rig: &Rig) {
    let write = Sent::write();
    rig.troubled(&write, || Options::set(Options::TRANSPORT_ERROR));
    rig.expect("aborted", &["primary-aborted"]);
    rig.troubled(&write, || Options::set(Options::DIF_ERROR));
    rig.troubled(&Sent::read(BAD_BLOCK, 1), || Options::set(Options::MEDIUM_ERROR));
    rig.expect("unreadable", &["primary-unreadable"]);
    rig.troubled(&Sent::read(0, 8), || Options::set(Options::TRANSPORT_ERROR));
    rig.expect("unread", &["primary-read-failed"]);
    rig.patience.set(SHORT);
    rig.troubled(&write, || Options::set(Options::TIMEOUT));
    rig.patience.set(scsi_common::TIMEOUT);
    rig.expect("timed out", &["primary-time-out"]);
    primary_states(rig, &write);
    let beyond = Sent::new(&build::write_10(0x7fff_ffff, 1, Access::default()), &[1; BLOCK]);
    rig.troubled(&beyond, || ());
    rig.expect("beyond the end", &["primary-illegal"]);
    good(out(&rig.primary, &write.cdb, &write.out));
    let other = Sent::new(&build::compare_and_write(0, 1, Access::default()), &[2; 2 * BLOCK]);
    rig.troubled(&other, || ());
    rig.expect("miscompare", &["primary-miscompare"]);
    for kind in [CommandKind::WholeMedium, CommandKind::UnitState, CommandKind::Opaque, CommandKind::Refused] {
        rig.troubled(&Sent::of(kind), || ());
    }
}

/// States of the primary's disk.
fn primary_states(rig: &Rig, write: &Sent) {
    let primary = &rig.primary;
    rig.troubled(write, WriteProtected::set);
    rig.expect("write protected", &["primary-write-protected"]);
    rig.troubled(write, || Stopped::set(primary));
    rig.expect("not ready", &["primary-not-ready"]);
    rig.troubled(write, || change_modes(primary));
    change_modes(primary);
    settle(primary);
    rig.expect("state changed", &["primary-state-changed"]);
    rig.troubled(write, || reset(primary));
    rig.expect("told of a reset", &["primary-power"]);
    rig.troubled(write, || write_driver("virtual_gb", "1"));
    write_driver("virtual_gb", "0");
    settle(primary);
    settle(&*rig.standby);
    rig.expect("another capacity", &["primary-capacity"]);
}

/// Write protection of all disks of the driver.
struct WriteProtected;

impl WriteProtected {
    const FILE: &str = "/sys/module/scsi_debug/parameters/wp";

    fn set() -> Self {
        std::fs::write(Self::FILE, "1").expect("it can be set");
        Self
    }
}

impl Drop for WriteProtected {
    fn drop(&mut self) {
        std::fs::write(Self::FILE, "0").expect("it can be set");
    }
}

/// A stopped unit, which is started again.
struct Stopped<'a>(&'a SgDevice);

impl<'a> Stopped<'a> {
    fn set(device: &'a SgDevice) -> Self {
        good(plain(device, &build::start_stop_unit(false, false, false)));
        Self(device)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        good(plain(self.0, &build::start_stop_unit(true, false, false)));
    }
}

/// Turns the write cache on or off; scsi_debug tells it to who did it.
fn change_modes(device: &SgDevice) {
    let mode = ModePage { page: 0x08, dbd: true, ..ModePage::default() };
    let mut list = ask(device, &build::mode_sense_6(mode, 255), 255);
    (list[0], list[2], list[4]) = (0, 0, list[4] & 0x7f);
    list[6] ^= 0x04;
    good(out(device, &build::mode_select_6(false, list.len() as u8), &list));
}

/// A reset of the logical unit.
fn reset(device: &SgDevice) {
    let path = &device.node().path;
    let done = Program::new("sg_reset").arg("--device").arg(path).status().expect("sg_reset is there");
    assert!(done.success(), "sg_reset {}", path.display());
}

/// The operation code that a command of this kind is issued with on the standby.
fn issued(kind: CommandKind, sent: &Sent) -> u8 {
    match kind {
        // As the write that it was.
        CommandKind::CompareAndWrite => 0x2a,
        // WRITE LONG(16), which makes the block unreadable as it is on the primary.
        CommandKind::Read => 0x9f,
        _ => sent.cdb[0],
    }
}

/// Tries a row with the answers that it is documented with, as far as rules can give them.
fn by_rules(rig: &Rig, row: &Row, primary: &impl Script, standby: &impl Script) {
    let example = row.example;
    let Some(sent) = Sent::for_row(row, rig.kind) else { return };
    let answer = match example.primary {
        Reply::None => None,
        Reply::GOOD => Some(Outcome::GOOD),
        // As the kernel says it of commands for a device that was removed.
        Reply::Gone => Some(Outcome::transport(HostStatus::NoConnect)),
        reply if primary.once(sent.cdb[0], reply) => {
            let answer = rig.shoot(&sent);
            primary.clear(sent.cdb[0]);
            settle(&rig.primary);
            Some(answer)
        }
        _ => return,
    };
    rig.with_target(example.command != CommandKind::Unmap, |target| {
        let opcode = issued(example.command, &sent);
        standby.once(opcode, example.standby);
        rig.replay(target, &sent, answer);
        standby.clear(opcode);
    });
    settle(&*rig.standby);
}

/// What a simulated device answers for as long as this lives.
struct Standing<'a>(&'a Orders);

impl<'a> Standing<'a> {
    fn set(orders: &'a Orders, opcode: u8, reply: Reply) -> Self {
        assert!(orders.always(opcode, reply), "it can be said");
        Self(orders)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.clear(0);
    }
}

/// The kernel repeats by itself what ends with BUSY or TASK SET FULL (`scsi_decide_disposition`), and tells it when the
/// command's time is over.
fn busy_rows(rig: &Rig, primary: &Orders, standby: &Orders) {
    let write = Sent::write();
    let set = |orders, status| Standing::set(orders, write.cdb[0], Reply::status(status));
    rig.patience.set(SHORT);
    rig.troubled(&write, || set(primary, 0x08));
    rig.in_trouble(&write, || set(standby, 0x08));
    rig.in_trouble(&write, || set(standby, 0x28));
    rig.patience.set(scsi_common::TIMEOUT);
    rig.expect("busy for long", &["primary-busy", "busy", "task-set-full"]);
}

/// A write that the standby's tape is late with.
fn late_rows(rig: &Rig, standby: &Orders) {
    let write = Sent::of(CommandKind::TapeWrite);
    rig.patience.set(SHORT);
    rig.in_trouble(&write, || standby.late(write.cdb[0]));
    rig.patience.set(scsi_common::TIMEOUT);
    rig.expect("late", &["tape-lost"]);
}

/// Tries all rows on a pair of simulated devices, if the environment names one: `NODE=SOCKET,NODE=SOCKET`.
fn simulated(variable: &str, kind: DeviceType) -> Option<RowCounters> {
    let names = std::env::var(variable).ok()?;
    let part = |name: &str| name.split_once('=').map(|(node, socket)| (node.to_owned(), socket.to_owned()));
    let pair = names.split_once(',').and_then(|(first, second)| part(first).zip(part(second)));
    let (first, second) = pair.unwrap_or_else(|| panic!("{variable} names two nodes with their sockets"));
    let rig = Rig::open(kind, &first.0, &second.0);
    let (primary, standby) = (Orders::connect(&first.1), Orders::connect(&second.1));
    settle(&rig.primary);
    settle(&*rig.standby);
    for row in ROWS {
        by_rules(&rig, row, &primary, &standby);
    }
    match kind {
        DeviceType::TAPE => late_rows(&rig, &standby),
        _ => busy_rows(&rig, &primary, &standby),
    }
    assert_eq!(rig.missed.take(), Vec::<String>::new(), "not reached");
    let reached = rig.all.take();
    println!("rows of the table: {} reached on simulated devices ({variable})", reached.used().count());
    Some(reached)
}

/// Takes the standby's disk out of the system.
fn gone(rig: &Rig) {
    let address = rig.standby.node().address.clone().expect("sysfs tells the address");
    let delete = Path::new("/sys/bus/scsi/devices").join(address).join("delete");
    rig.in_trouble(&Sent::write(), || std::fs::write(delete, "1").expect("it can be deleted"));
    rig.expect("removed", &["gone"]);
}

/// Rows that no answer of a device here leads to, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("retry-at-once", "the kernel itself retries it (scsi_decide_disposition)"),
    ("requeue", "the kernel itself retries it (scsi_decide_disposition)"),
    ("primary-residual", "only reads can be short"),
    ("no-sense-data", "the kernel asks for sense data that are missing (scsi_eh_get_sense)"),
];

fn reason(id: &str) -> &'static str {
    let listed = NOT_HERE.iter().find(|(row, _)| *row == id).map(|(_, why)| *why);
    listed.unwrap_or("takes a transport's word on one device, which this kernel's scsi_debug does not give")
}

/// Everything that scsi_debug can be made to answer; whether it has rules.
fn debugged(names: &str) -> (Rig, bool) {
    let (primary, standby) = names.split_once(',').expect("BLKECHO_SCSI_ERRORS names two disks");
    let rig = Rig::open(DeviceType::DISK, primary, standby);
    settle(&rig.primary);
    settle(&*rig.standby);
    // It makes no trouble where it answers at once.
    write_driver("delay", "1");
    plain_rows(&rig);
    standby_rows(&rig);
    primary_rows(&rig);
    let rules = Rules::of(&rig.primary).zip(Rules::of(&rig.standby));
    if let Some((primary, standby)) = &rules {
        for row in ROWS {
            by_rules(&rig, row, primary, standby);
        }
    }
    gone(&rig);
    let has_rules = rules.is_some();
    (rig, has_rules)
}

/// Prints each row with how often it was reached; those that were not.
fn list(all: &RowCounters) -> BTreeSet<&'static str> {
    let missing: BTreeSet<_> = all.missing().map(|row| row.row().id).collect();
    for row in ROWS {
        match all.hits(named(row.id)) {
            0 => println!("row {:<28} not here: {}", row.id, reason(row.id)),
            hits => println!("row {:<28} {hits:>6}", row.id),
        }
    }
    println!("rows of the table: {} of {} reached", ROWS.len() - missing.len(), ROWS.len());
    missing
}

#[test]
#[ignore = "overwrites devices of scsi_debug and simulated ones: name them in BLKECHO_SCSI_ERRORS, _DISKS and _TAPES"]
fn injected_errors_reach_their_rows() {
    let names = std::env::var("BLKECHO_SCSI_ERRORS").expect("BLKECHO_SCSI_ERRORS names two disks");
    let (rig, has_rules) = debugged(&names);
    let disks = simulated("BLKECHO_SCSI_DISKS", DeviceType::DISK);
    let tapes = simulated("BLKECHO_SCSI_TAPES", DeviceType::TAPE);
    let complete = has_rules && disks.is_some() && tapes.is_some();
    let mut all = rig.all.take();
    disks.iter().chain(&tapes).for_each(|reached| all.add(reached));
    let missing = list(&all);
    let missed = rig.missed.take();
    assert!(missed.is_empty(), "not reached by the whole driver's errors: {missed:#?}");
    let excused = |id: &str| NOT_HERE.iter().any(|(row, _)| *row == id);
    let unknown: Vec<_> = missing.iter().filter(|id| complete && !excused(id)).collect();
    assert!(unknown.is_empty(), "not reached: {unknown:?}");
    let reached: Vec<_> = NOT_HERE.iter().filter(|(row, _)| !missing.contains(row)).collect();
    assert!(reached.is_empty(), "reached after all: {reached:?}");
}

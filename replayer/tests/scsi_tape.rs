//! Stories of a tape and its copy: commands of a program on one simulated drive, taken as the probe would, over the link
//! and through the standby's journal onto another.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Encoded, Primary, STREAM, config, encode, gap, header, region, wait_for};
use formats::command::{Command, CommandFlags, Hctl, Transfer};
use formats::entry::{Origin, PayloadInfo};
use formats::scsi::build::{self, SpaceCode};
use formats::scsi::{Cdb, DeviceType, Outcome};
use formats::wire::{DataState, Hello, MIN_VERSION, RefuseCode, VERSION, VolumeIdentity};
use formats::{ByteRange, Entry, Op, OpFlags, PayloadEncoding, Record, Seq, Status, VolumeIndex};
use replayer::scsi::simulated::{Nexus, Object, Settings, SimulatedDevice, TapeSettings};
use replayer::scsi::{Data, Request, ScsiDevice};
use replayer::standby::{StandbyHandle, StandbyService, StandbyStatus, StateWord};
use replayer::target::{ScsiOptions, ScsiTarget, Target};

/// What a program does on a drive, and what the probe makes of it.
struct Drive {
    device: SimulatedDevice,
    nexus: Nexus,
    entries: Vec<Encoded>,
}

fn tape() -> SimulatedDevice {
    SimulatedDevice::new(Settings::tape(TapeSettings::default())).unwrap()
}

impl Drive {
    fn new() -> Self {
        let device = tape();
        Self { nexus: device.nexus(), device, entries: Vec::new() }
    }

    fn execute(&mut self, cdb: &Cdb, data: Data<'_>, transfer: Transfer, len: usize, out: &[u8]) -> Outcome {
        let answer = self.nexus.execute(Request { cdb, data, timeout: Duration::from_secs(60) }).unwrap();
        let sense = answer.sense.map(|sense| sense.encode().to_vec()).unwrap_or_default();
        let command = Command {
            unit: Hctl::default(),
            device: DeviceType::TAPE,
            medium: None,
            flags: CommandFlags::PASSTHROUGH,
            transfer,
            transfer_len: len as u32,
            residual: answer.residual,
            result: answer.to_result(),
            cdb,
            sense: &sense,
            data_out: out,
        };
        let status = if answer.is_done() { Status::OK } else { Status(10) };
        self.entries.push(entry(self.entries.len() as u64 + 1, Op::Scsi, status, &command));
        answer
    }

    fn plain(&mut self, cdb: &Cdb) -> Outcome {
        self.execute(cdb, Data::None, Transfer::None, 0, &[])
    }

    fn put(&mut self, record: &[u8]) {
        let cdb = build::tape_write_6(false, record.len() as u32).unwrap();
        assert!(self.execute(&cdb, Data::Out(record), Transfer::Out, record.len(), record).is_done());
    }

    fn get(&mut self, len: usize) -> Outcome {
        let mut room = vec![0; len];
        let cdb = build::tape_read_6(false, false, len as u32).unwrap();
        self.execute(&cdb, Data::In(&mut room), Transfer::In, len, &[])
    }

    fn marks(&mut self, count: u32) {
        assert!(self.plain(&build::write_filemarks_6(count, false).unwrap()).is_done());
    }

    fn space(&mut self, code: SpaceCode, count: i32) -> Outcome {
        self.plain(&build::space_6(code, count).unwrap())
    }

    fn block_length(&mut self, len: u8) {
        let list = [0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, len, 0];
        let cdb = build::mode_select_6(false, list.len() as u8);
        assert!(self.execute(&cdb, Data::Out(&list), Transfer::Out, list.len(), &list).is_done());
    }

    /// As tar and mt do it: files, spacing back, overwriting, reading on the way, records of one length.
    fn workload(&mut self) {
        self.plain(&build::rewind(false));
        for (file, len) in [(1, 10_240), (2, 3584), (3, 512)] {
            (0..file + 2).for_each(|record| self.put(&vec![file * 16 + record; len]));
            self.marks(1);
        }
        self.space(SpaceCode::Filemarks, -2);
        assert!(!self.space(SpaceCode::Blocks, 3).is_done(), "stopped by the filemark");
        self.put(&[0x77; 300]);
        self.marks(1);
        self.plain(&build::rewind(false));
        assert!(!self.get(65_536).is_done(), "a block of another length");
        assert!(self.get(10_240).is_done());
        self.space(SpaceCode::Filemarks, 1);
        self.plain(&build::locate_10(2, None, false));
        self.space(SpaceCode::EndOfData, 0);
        assert!(!self.get(64).is_done(), "nothing more");
        self.block_length(2);
        let cdb = build::tape_write_6(true, 4).unwrap();
        assert!(self.execute(&cdb, Data::Out(&[5; 2048]), Transfer::Out, 2048, &[5; 2048]).is_done());
        self.block_length(0);
        self.marks(2);
    }
}

fn entry(position: u64, op: Op, status: Status, command: &Command<'_>) -> Encoded {
    let mut payload = Vec::new();
    command.write_to(&mut payload);
    let trailer = payload.len() as u32;
    let info = PayloadInfo { encoding: PayloadEncoding::None, trailer, ..PayloadInfo::data(&payload) };
    let record = Record {
        seq: Seq(position),
        dep: Seq(position - 1),
        volume: VolumeIndex(0),
        op,
        flags: OpFlags::empty(),
        range: ByteRange::default(),
        status,
        origin: Origin::default(),
    };
    encode(&header(Entry::Record(record), position, info), &payload)
}

fn hello() -> Hello {
    Hello {
        min_version: MIN_VERSION,
        max_version: VERSION,
        stream: STREAM,
        group: "tapes".into(),
        region_size: 65_536,
        volumes: vec![VolumeIdentity::sequential("vol")],
    }
}

fn standby(dir: &Path, device: &SimulatedDevice, checkpoints: Duration) -> StandbyHandle {
    let mut config = config(dir, Path::new("tape"));
    config.checkpoint_interval = checkpoints;
    let target = ScsiTarget::open(Arc::new(device.nexus()), ScsiOptions::new("tape".into())).unwrap();
    StandbyService::start_on(config, vec![("vol".into(), Arc::new(target) as Arc<dyn Target>)]).unwrap()
}

const OFTEN: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3600);

/// The primary's word that nothing is missing at the start.
fn healed() -> Encoded {
    region(0, 0, &[], 0, 0)
}

fn stopped(handle: &StandbyHandle) -> StandbyStatus {
    wait_for(handle, "the end of the copy", |status| status.state == StateWord::Stopped)
}

#[test]
fn a_tape_reads_the_same_on_the_standby() {
    let (mut drive, copy, dir) = (Drive::new(), tape(), tempfile::tempdir().unwrap());
    drive.workload();
    let handle = standby(dir.path(), &copy, OFTEN);
    let (mut primary, _) = Primary::open(handle.local_addr(), &hello()).unwrap();
    primary.send(&[healed()]);
    drive.entries.chunks(3).for_each(|entries| primary.send(entries));
    let ack = primary.wait_applied(drive.entries.len() as u64);
    assert_eq!(ack.data, DataState::Consistent);
    assert_eq!(copy.objects(), drive.device.objects());
    assert!(copy.objects().iter().filter(|object| **object == Object::Filemark).count() >= 4);
    assert_eq!(copy.position(), drive.device.position());
    let tape = handle.status().volumes[0].tape.unwrap();
    assert_eq!(tape.position, Some(copy.position()));
    assert!(tape.compared > 20 && tape.marks >= 3 && tape.unknown > 0, "{tape:?}");
    handle.stop();
}

/// A kill -9 while nothing of it is in a checkpoint: the journal is gone through again, and the tape says what of it was
/// carried out.
#[test]
fn a_crash_repeats_no_block() {
    let (mut drive, copy, dir) = (Drive::new(), tape(), tempfile::tempdir().unwrap());
    drive.workload();
    let last = drive.entries.len() as u64;
    let handle = standby(dir.path(), &copy, NEVER);
    let (mut primary, _) = Primary::open(handle.local_addr(), &hello()).unwrap();
    primary.send(&[healed()]);
    primary.send(&drive.entries[..20]);
    primary.wait_applied(20);
    let killed = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(dir.path().join(".")).arg(killed.path()).status();
    assert!(copied.unwrap().success());
    drop(primary);
    drop(handle);
    let handle = standby(killed.path(), &copy, OFTEN);
    let (mut primary, welcome) = Primary::open_patiently(handle.local_addr(), &hello());
    assert_eq!(welcome.durable, 20);
    primary.send(&drive.entries[20..]);
    primary.wait_applied(last);
    let status = handle.status();
    assert_eq!(copy.objects(), drive.device.objects());
    assert_eq!(status.redone, 21);
    assert!(status.volumes[0].tape.unwrap().skipped >= 19, "{:?}", status.volumes[0].tape);
    handle.stop();
}

#[test]
fn what_is_missing_ends_the_copy_by_name() {
    let lost = {
        let cdb = build::tape_write_6(false, 512).unwrap();
        let flags = CommandFlags::PASSTHROUGH | CommandFlags::DATA_MISSING;
        let (unit, transfer) = (Hctl::default(), Transfer::Out);
        let device = DeviceType::TAPE;
        let command = Command {
            unit,
            device,
            medium: None,
            flags,
            transfer,
            transfer_len: 512,
            residual: 0,
            result: 0,
            cdb: &cdb,
            sense: &[],
            data_out: &[],
        };
        [entry(2, Op::Opaque, Status::OK, &command), entry(2, Op::Scsi, Status::OK, &command)]
    };
    let [opaque, without_data] = lost;
    for (what, missing) in [
        ("commands are missing", gap(2, 2, 2)),
        ("not all of a command", opaque),
        ("not all of it was carried", without_data),
    ] {
        let (mut drive, copy, dir) = (Drive::new(), tape(), tempfile::tempdir().unwrap());
        drive.plain(&build::rewind(false));
        let handle = standby(dir.path(), &copy, OFTEN);
        let (mut primary, _) = Primary::open(handle.local_addr(), &hello()).unwrap();
        primary.send(&[healed(), drive.entries[0].clone(), missing]);
        let reason = stopped(&handle).reason.unwrap();
        assert!(reason.contains(what) && reason.contains("new copy"), "{what}: {reason}");
        assert_eq!(primary.wait_refusal().code, RefuseCode::Stopped);
        handle.stop();
    }
}

/// Somebody has moved, or written, the standby's tape.
#[test]
fn tapes_that_differ_are_found_out_where_it_shows() {
    let (mut drive, copy, dir) = (Drive::new(), tape(), tempfile::tempdir().unwrap());
    drive.put(&[1; 100]);
    drive.marks(1);
    drive.plain(&build::rewind(false));
    assert!(drive.get(100).is_done());
    let handle = standby(dir.path(), &copy, OFTEN);
    let (mut primary, _) = Primary::open(handle.local_addr(), &hello()).unwrap();
    primary.send(&[healed()]);
    primary.send(&drive.entries[..3]);
    primary.wait_applied(3);
    let stranger = copy.nexus();
    let back = build::space_6(SpaceCode::Blocks, 1).unwrap();
    let moved = stranger.execute(Request { cdb: &back, data: Data::None, timeout: Duration::from_secs(1) });
    assert!(moved.unwrap().is_done());
    primary.send(&drive.entries[3..]);
    let reason = stopped(&handle).reason.unwrap();
    assert!(reason.contains("differ"), "{reason}");
    handle.stop();
}

/// A disk's hello for a tape, and a tape's for a disk.
#[test]
fn a_tape_is_no_disk() {
    let (copy, dir) = (tape(), tempfile::tempdir().unwrap());
    let handle = standby(dir.path(), &copy, OFTEN);
    let disk = Hello { volumes: vec![VolumeIdentity::blocks("vol", 0, 512)], ..hello() };
    let mut primary = Primary::connect(handle.local_addr());
    let refused = primary.hello(&disk).unwrap_err().to_string();
    assert!(refused.contains("tape here and a disk on the primary"), "{refused}");
    handle.stop();
}

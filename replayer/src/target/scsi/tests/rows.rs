//! Every row of the error consistency table is reached by a captured command, which the simulated device answers so.

use replication::errors::{CommandKind, ROWS, Reply, Row};

use super::*;
use crate::scsi::simulated::{Reaction, Selector, Settings, SimulatedDevice, TapeSettings, Thin, Times};

/// A captured command of each kind.
fn sample(kind: CommandKind) -> Shot {
    use CommandKind as K;
    let tape = |shot: Shot| Shot { device: DeviceType::TAPE, ..shot };
    let coded = |opcode: u8, len: usize| {
        let mut cdb = vec![0; len];
        cdb[0] = opcode;
        cdb
    };
    match kind {
        K::Read => Shot {
            transfer: Transfer::In,
            transfer_len: 512,
            ..Shot::new(&build::read_10(0, 1, Access::default()), &[])
        },
        K::Write => Shot::write(0, &build::write_10(0, 1, Access::default()), &[1; 512]),
        K::WriteAtomic => {
            let mut cdb = coded(0x9c, 16);
            cdb[13] = 1;
            Shot::write(0, &cdb, &[1; 512])
        }
        K::WriteSame => Shot::new(&build::write_same_16(0, Blocks::Count(4), Same::default()).unwrap(), &[1; 512]),
        K::Unmap | K::UnmapToZeros => {
            let (cdb, list) = build::unmap(&[LbaRange::new(0, 4)], false).unwrap();
            Shot::new(&cdb, &list)
        }
        K::CompareAndWrite => Shot::new(&build::compare_and_write(0, 1, Access::default()), &[1; 1024]),
        K::Combine => {
            let mut cdb = coded(0x8b, 16);
            cdb[13] = 1;
            Shot::new(&cdb, &[1; 512])
        }
        K::WriteLong => Shot::new(&[0x3f, 0, 0, 0, 0, 0, 0, 2, 8, 0], &[1; 520]),
        K::MarkUnreadable => Shot::new(&build::mark_unreadable(0, false), &[]),
        K::Flush => Shot { op: Op::Flush, range: ByteRange::default(), ..Shot::new(&build::flush(), &[]) },
        K::WholeMedium => Shot::new(&coded(0x04, 6), &[]),
        K::Reservation => reserve(ReserveOut::Register, ReservationType::None, (0, 1)),
        K::Parameters => Shot::new(&build::mode_select_6(false, 6), &[0, 0, 0, 0, 8, 0]),
        K::UnitState => Shot::new(&[0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
        K::Carried => Shot::new(&build::start_stop_unit(true, false, false), &[]),
        K::Refused => Shot::new(&[0x94, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
        K::Opaque => Shot::new(&[0xc1; 10], &[]),
        K::TapeWrite => tape(Shot::new(&build::tape_write_6(true, 2).unwrap(), &[1; 1024])),
        K::TapeMove => tape(Shot::new(&build::space_6(build::SpaceCode::Filemarks, 1).unwrap(), &[])),
    }
}

/// The record's status and the device's answer on the primary.
fn with_primary(shot: Shot, reply: Reply) -> Shot {
    match reply.outcome() {
        None if reply == Reply::Gone => shot.failed(Outcome::transport(formats::scsi::HostStatus::NoConnect)),
        None => Shot { status: Status::UNKNOWN, ..shot },
        Some(answer) => {
            let good = matches!(reply, Reply::Device { status: 0, host: 0, residual: 0, .. });
            let ok = good || answer.is_done() && answer.residual == 0;
            Shot { status: if ok { Status::OK } else { Status(10) }, answer, ..shot }
        }
    }
}

fn reach(row: &Row) -> u64 {
    let example = row.example;
    let shot = with_primary(sample(example.command), example.primary);
    let settings = match shot.device {
        DeviceType::TAPE => Settings::tape(TapeSettings { block_length: 512, ..TapeSettings::default() }),
        _ => Settings::thin_disk(512, BLOCKS, Thin::UNLIMITED),
    };
    let device = SimulatedDevice::new(settings).unwrap();
    let policy = Policy { opaque: OpaqueRule::Issue, ..quick() };
    let primary_reads_zeros = example.command != CommandKind::Unmap;
    let options = Options { policy, primary_reads_zeros, ..Options::new("simulated".into()) };
    let target = ScsiTarget::open(Arc::new(device.nexus()), options).unwrap();
    if example.standby != Reply::None {
        let reaction = example.standby.outcome().map_or(Reaction::Gone { executed: false }, Reaction::Instead);
        // A tape is asked where it stands first, which is not what the row is about.
        let selector = match shot.device {
            DeviceType::TAPE => Selector::opcodes(&shot.cdb[..1]),
            _ => Selector::default(),
        };
        device.add_rule(selector, Times::First(1), reaction);
    }
    let _ = shot.apply_to(&target);
    CommandTarget::rows(&target).hits(RowIndex::named(row.id).unwrap())
}

/// An answer in words.
fn words(reply: Reply) -> String {
    match (reply, reply.outcome()) {
        (_, Some(outcome)) => outcome.to_string(),
        (Reply::Gone, None) => "the device is gone".to_owned(),
        (_, None) => "no answer".to_owned(),
    }
}

/// How a row was reached: the command, its end on the primary, and what the standby's device was made to answer.
fn line(row: &Row, hits: u64) -> String {
    let example = row.example;
    let injected = match example.standby {
        Reply::None => "nothing injected".to_owned(),
        reply => format!("injected: {}", words(reply)),
    };
    format!("{hits:>4}  {:<28} {}, primary: {}; {injected}", row.id, example.command, words(example.primary))
}

#[test]
fn every_row_is_reached_by_a_command_that_is_answered_so() {
    let hits: Vec<_> = ROWS.iter().map(|row| (row, reach(row))).collect();
    let missed: Vec<_> = hits.iter().filter(|(_, hits)| *hits == 0).map(|(row, _)| row.id).collect();
    hits.iter().for_each(|(row, hits)| println!("{}", line(row, *hits)));
    println!("{} of {} rows reached, {} missing", ROWS.len() - missed.len(), ROWS.len(), missed.len());
    assert!(missed.is_empty(), "{missed:?}");
}

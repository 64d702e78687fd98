//! What only a simulated SCSI device can be made to do: losing power, space and its way, failing by script.

mod scsi_common;

use std::time::Duration;

use formats::scsi::build::{self, Access, ReservationType, ReserveIn, ReserveOut, Same};
use formats::scsi::{Asc, Blocks, HostStatus, LbaRange, Outcome, ScsiStatus, Sense, SenseFlags, SenseKey};
use replayer::scsi::simulated::{
    BlockState, Limits, Nexus, Object, Reaction, Selector, Settings, SimulatedDevice, TapeSettings, Thin, Times,
};
use replayer::scsi::{Data, Request, ScsiDevice};
use scsi_common::{Profile, ask, bad_field, fetch, good, out, out_of_range, plain, read, refused, settle, write};

const PROFILE: Profile = Profile { block_size: 512, blocks: 1000, features: &[] };
const WRITE: u8 = 0x2a;

fn nexus(settings: Settings) -> Nexus {
    SimulatedDevice::new(settings).expect("it can be made").nexus()
}

fn disk() -> Nexus {
    nexus(Settings::disk(512, 1000))
}

fn write_10(lba: u32, blocks: u16) -> formats::scsi::Cdb {
    build::write_10(lba, blocks, Access::default())
}

fn attention(device: &dyn ScsiDevice, code: u8, qualifier: u8) {
    refused(plain(device, &build::test_unit_ready()), SenseKey::UnitAttention, code, qualifier);
}

#[test]
fn what_is_flushed_or_forced_survives_every_power_cut() {
    for seed in 0..16 {
        let device = nexus(Settings { seed, ..Settings::disk(512, 1000) });
        let data = PROFILE.pattern(1, 1);
        good(out(&device, &build::write_10(1, 1, Access::FUA), &data));
        write(&device, &PROFILE, 2, &data);
        good(plain(&device, &build::synchronize_cache_10(2, Blocks::Count(1), false).expect("fits")));
        good(out(&device, &[0x2e, 0, 0, 0, 0, 3, 0, 0, 1, 0], &data));
        assert_eq!(device.device().dirty(), 0);
        device.device().power_cut().expect("memory does not fail");
        settle(&device);
        assert!(read(&device, &PROFILE, 1, 3) == data.repeat(3));
    }
}

#[test]
fn an_immediate_flush_promises_nothing() {
    let device = disk();
    write(&device, &PROFILE, 0, &PROFILE.pattern(4, 1));
    good(plain(&device, &build::synchronize_cache_16(0, Blocks::ToEnd, true).expect("fits")));
    assert_eq!(device.device().dirty(), 4);
    good(plain(&device, &build::flush()));
    assert_eq!(device.device().dirty(), 0);
}

#[test]
fn a_capacity_may_be_a_lie() {
    let device = disk();
    device.device().claim_capacity(Some(2000));
    assert_eq!(ask(&device, &build::read_capacity_10(), 8)[..4], 1999u32.to_be_bytes());
    assert_eq!(ask(&device, &build::read_capacity_16(32), 32)[..8], 1999u64.to_be_bytes());
    out_of_range(out(&device, &write_10(1000, 1), &[1; 512]));
    device.device().claim_capacity(None);
    assert_eq!(ask(&device, &build::read_capacity_10(), 8)[..4], 999u32.to_be_bytes());
}

#[test]
fn without_a_write_cache_nothing_is_lost_and_switching_it_off_flushes() {
    let device = nexus(Settings { write_cache: false, ..Settings::disk(512, 1000) });
    write(&device, &PROFILE, 0, &PROFILE.pattern(4, 1));
    assert_eq!(device.device().dirty(), 0);
    let device = disk();
    write(&device, &PROFILE, 0, &PROFILE.pattern(4, 1));
    assert_eq!(device.device().dirty(), 4);
    let mode = build::ModePage { page: 0x08, dbd: true, ..build::ModePage::default() };
    let mut list = ask(&device, &build::mode_sense_6(mode, 255), 255);
    (list[0], list[2], list[4], list[6]) = (0, 0, 0x08, list[6] & !0x04);
    good(out(&device, &build::mode_select_6(false, list.len() as u8), &list));
    assert_eq!(device.device().dirty(), 0);
}

#[test]
fn every_initiator_is_told_once_of_power_reset_and_capacity() {
    let one = disk();
    let (other, device) = (one.device().nexus(), one.device().clone());
    device.power_cut().expect("memory does not fail");
    for nexus in [&one, &other] {
        ask(nexus, &build::inquiry(None, 36), 36);
        attention(nexus, 0x29, 0x01);
        good(plain(nexus, &build::test_unit_ready()));
    }
    device.reset();
    let told = Sense::decode(&ask(&one, &build::request_sense(false, 252), 252)).expect("sense data");
    assert_eq!((told.key, told.asc), (SenseKey::UnitAttention, Asc::new(0x29, 0x03)));
    good(plain(&one, &build::test_unit_ready()));
    attention(&other, 0x29, 0x03);
    device.resize(10).expect("memory does not fail");
    attention(&one, 0x2a, 0x09);
    out_of_range(out(&one, &write_10(10, 1), &PROFILE.pattern(1, 1)));
    device.attention(Asc::new(0x3f, 0x0e));
    attention(&other, 0x2a, 0x09);
    attention(&other, 0x3f, 0x0e);
}

#[test]
fn a_thin_disk_without_space_writes_nothing() {
    let thin = Thin { limit: Some(4), soft_threshold: Some(3), ..Thin::UNLIMITED };
    let device = nexus(Settings::thin_disk(512, 1000, thin));
    write(&device, &PROFILE, 0, &PROFILE.pattern(2, 1));
    let outcome = out(&device, &write_10(1, 4), &PROFILE.pattern(4, 2));
    refused(outcome, SenseKey::DataProtect, 0x27, 0x07);
    assert!(read(&device, &PROFILE, 0, 2) == PROFILE.pattern(2, 1));
    assert_eq!(device.device().used(), 2);
    write(&device, &PROFILE, 1, &PROFILE.pattern(2, 2));
    attention(&device, 0x38, 0x07);
    write(&device, &PROFILE, 3, &PROFILE.pattern(1, 3));
    write(&device, &PROFILE, 0, &PROFILE.pattern(4, 4));
    let (cdb, list) = build::unmap(&[LbaRange::new(0, 2)], false).expect("fits");
    good(out(&device, &cdb, &list));
    write(&device, &PROFILE, 8, &PROFILE.pattern(2, 5));
    attention(&device, 0x38, 0x07);
}

#[test]
fn deallocated_blocks_may_keep_what_they_held_and_can_be_anchored() {
    let device = nexus(Settings::thin_disk(512, 1000, Thin { reads_zeros: false, ..Thin::UNLIMITED }));
    let data = PROFILE.pattern(2, 1);
    write(&device, &PROFILE, 4, &data);
    let (cdb, list) = build::unmap(&[LbaRange::new(4, 1)], false).expect("fits");
    good(out(&device, &cdb, &list));
    assert_eq!(device.device().state(4), Some(BlockState::Deallocated));
    assert!(read(&device, &PROFILE, 4, 2) == data, "LBPRZ is not promised");
    let capacity = ask(&device, &build::read_capacity_16(32), 32);
    assert_eq!(capacity[14], 0x80);
    // Unmapping would not read back as zeros: they are written.
    let same = build::write_same_16(5, Blocks::Count(1), Same { unmap: true, ..Same::default() }).expect("fits");
    good(out(&device, &same, &[0; 512]));
    assert_eq!(device.device().state(5), Some(BlockState::Mapped));
    let (cdb, list) = build::unmap(&[LbaRange::new(9, 3)], true).expect("fits");
    good(out(&device, &cdb, &list));
    let status = ask(&device, &build::get_lba_status_16(9, 255), 255);
    assert_eq!((status[20], status[19]), (2, 3), "anchored");
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    for seed in 0..8 {
        let device = nexus(Settings { seed, ..Settings::disk(512, 1000) });
        write(&device, &PROFILE, 900, &PROFILE.pattern(1, 1));
        good(plain(&device, &build::flush()));
        write(&device, &PROFILE, 900, &PROFILE.pattern(1, 2));
        device.device().resize(10).expect("memory does not fail");
        device.device().power_cut().expect("memory does not fail");
        device.device().resize(1000).expect("memory does not fail");
        settle(&device);
        assert!(read(&device, &PROFILE, 900, 1).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_physical_block_becomes_unreadable_as_a_whole() {
    let thin = Settings::thin_disk(512, 1000, Thin::UNLIMITED);
    let device = nexus(Settings { physical_exponent: 3, ..thin });
    assert_eq!(ask(&device, &build::read_capacity_16(32), 32)[13], 3);
    write(&device, &PROFILE, 4, &PROFILE.pattern(16, 1));
    good(plain(&device, &build::mark_unreadable(13, true)));
    let bad: Vec<_> = (0..24).filter(|lba| device.device().state(*lba) == Some(BlockState::Unreadable)).collect();
    assert_eq!(bad, (8..16).collect::<Vec<_>>());
    // They are mapped as their neighbours are, so they are told together.
    let status = ask(&device, &build::get_lba_status_16(0, 255), 255);
    let runs: Vec<_> = status[8..].chunks(16).map(|run| (run[7], run[11], run[12])).collect();
    assert_eq!(runs, [(0, 4, 1), (4, 16, 0), (20, 0xd4, 1)]);
    let cut = ask(&device, &build::get_lba_status_16(5, 40), 255);
    assert_eq!((cut.len(), cut[3]), (40, 36), "two that there is room for");
}

#[test]
fn microcode_and_protected_media() {
    let one = disk();
    let other = one.device().nexus();
    good(out(&one, &[0x3b, 5, 0, 0, 0, 0, 0, 0, 4, 0], &[1, 2, 3, 4]));
    good(plain(&one, &build::test_unit_ready()));
    attention(&other, 0x3f, 0x01);
    let protected = nexus(Settings { write_protected: true, ..Settings::disk(512, 1000) });
    refused(plain(&protected, &[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]), SenseKey::DataProtect, 0x27, 0x01);
    refused(plain(&protected, &build::mark_unreadable(1, false)), SenseKey::DataProtect, 0x27, 0x01);
}

#[test]
fn a_full_disk_cannot_unmap() {
    let device = disk();
    let (cdb, list) = build::unmap(&[LbaRange::new(4, 1)], false).expect("fits");
    scsi_common::bad_opcode(out(&device, &cdb, &list));
    let same = build::write_same_16(5, Blocks::Count(1), Same { unmap: true, ..Same::default() }).expect("fits");
    bad_field(out(&device, &same, &[0; 512]));
}

#[test]
fn a_terabyte_costs_nothing_until_it_is_written() {
    let profile = Profile { block_size: 4096, blocks: 1 << 40, features: &[] };
    let limits = Limits { same: 0, ..Limits::default() };
    let device = nexus(Settings { limits, ..Settings::thin_disk(4096, 1 << 40, Thin::UNLIMITED) });
    write(&device, &profile, (1 << 40) - 2, &profile.pattern(2, 1));
    assert_eq!(ask(&device, &build::read_capacity_10(), 8)[..4], [0xff; 4]);
    let status = ask(&device, &build::get_lba_status_16(0, 255), 255);
    assert_eq!((&status[16..20], status[20]), (&[0xff; 4][..], 1), "as far as 32 bits count");
    let all = build::write_same_16(0, Blocks::ToEnd, Same { unmap: true, ndob: true, anchor: false }).expect("fits");
    good(plain(&device, &all));
    assert_eq!((device.device().used(), device.device().dirty()), (0, 0));
    assert!(read(&device, &profile, (1 << 40) - 1, 1).iter().all(|byte| *byte == 0));
}

#[test]
fn a_switch_protects_the_medium() {
    let device = nexus(Settings { write_protected: true, ..Settings::disk(512, 1000) });
    refused(out(&device, &write_10(0, 1), &[1; 512]), SenseKey::DataProtect, 0x27, 0x01);
    read(&device, &PROFILE, 0, 1);
    good(plain(&device, &build::flush()));
}

#[test]
fn limits_are_kept() {
    let limits = Limits { transfer: 4, compare: 1, same: 8, unmap: 10, unmap_descriptors: 1, atomic: 2 };
    let device = nexus(Settings { limits, ..Settings::thin_disk(512, 1000, Thin::UNLIMITED) });
    let data = PROFILE.pattern(8, 1);
    bad_field(out(&device, &write_10(0, 5), &data));
    bad_field(fetch(&device, &build::read_10(0, 5, Access::default()), 4096).0);
    bad_field(out(&device, &build::compare_and_write(0, 2, Access::default()), &data));
    bad_field(plain(&device, &[0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]));
    let same = build::write_same_16(0, Blocks::Count(9), Same::default()).expect("fits");
    bad_field(out(&device, &same, &data));
    for runs in [vec![LbaRange::new(0, 11)], vec![LbaRange::new(0, 1); 2]] {
        let (cdb, list) = build::unmap(&runs, false).expect("fits");
        refused(out(&device, &cdb, &list), SenseKey::IllegalRequest, 0x26, 0);
    }
}

#[test]
fn data_that_does_not_fit_the_command_ends_in_the_transport() {
    let device = disk();
    let outcome = out(&device, &write_10(0, 2), &[1; 512]);
    assert_eq!((outcome.host, outcome.residual), (HostStatus::Error, 512));
    assert!(read(&device, &PROFILE, 0, 1).iter().all(|byte| *byte == 0));
    let outcome = out(&device, &write_10(0, 1), &[1; 2048]);
    good(outcome);
    assert_eq!(outcome.residual, 1536);
    let (outcome, _) = fetch(&device, &write_10(0, 1), 512);
    assert_eq!(outcome.host, HostStatus::Error);
}

#[test]
fn scripted_answers_come_before_the_command_and_after_it() {
    let device = disk();
    let busy = Outcome::with_status(ScsiStatus::Busy);
    device.device().add_rule(Selector::opcodes(&[WRITE]), Times::First(2), Reaction::Instead(busy));
    let data = PROFILE.pattern(1, 1);
    for _ in 0..2 {
        let outcome = out(&device, &write_10(7, 1), &data);
        assert_eq!((outcome.status, outcome.residual), (ScsiStatus::Busy, 512));
    }
    assert!(read(&device, &PROFILE, 7, 1).iter().all(|byte| *byte == 0), "not begun");
    good(out(&device, &write_10(7, 1), &data));
    let lost = Outcome::transport(HostStatus::TransportDisrupted);
    device.device().add_rule(Selector::opcodes(&[WRITE]).within(8..9), Times::Always, Reaction::After(lost));
    good(out(&device, &write_10(7, 1), &data));
    assert_eq!(out(&device, &write_10(7, 2), &data.repeat(2)).host, HostStatus::TransportDisrupted);
    assert!(read(&device, &PROFILE, 8, 1) == data, "executed, and not told");
    assert_eq!(device.device().struck(), 3);
    device.device().clear_rules();
    good(out(&device, &write_10(8, 1), &data));
}

#[test]
fn a_command_may_stop_on_the_way() {
    let device = disk();
    let sense = Sense::new(SenseKey::HardwareError, Asc::new(0x44, 0)).with_lba(22);
    let reaction = Reaction::Part { units: 2, outcome: Outcome::check(sense) };
    device.device().add_rule(Selector::default(), Times::Nth(1), reaction);
    let data = PROFILE.pattern(4, 1);
    refused(out(&device, &write_10(20, 4), &data), SenseKey::HardwareError, 0x44, 0);
    let half = PROFILE.bytes(2);
    let expected = [&data[..half], &vec![0; half]].concat();
    assert!(read(&device, &PROFILE, 20, 4) == expected);
    good(out(&device, &write_10(20, 4), &data));
    let short = Reaction::Part { units: 1, outcome: Outcome { residual: half as u32, ..Outcome::GOOD } };
    device.device().add_rule(Selector::opcodes(&[0x28]), Times::Always, short);
    let (outcome, _) = fetch(&device, &build::read_10(20, 3, Access::default()), PROFILE.bytes(3));
    assert_eq!((outcome.status, outcome.residual as usize), (ScsiStatus::Good, half), "a short transfer");
}

#[test]
fn time_is_counted_and_may_run_out() {
    let device = disk();
    let by = Duration::from_secs(60);
    device.device().add_rule(Selector::default(), Times::Nth(1), Reaction::Late { by, executed: true });
    device.device().add_rule(Selector::default(), Times::Nth(2), Reaction::Late { by, executed: false });
    device.device().add_rule(Selector::opcodes(&[0x00]), Times::Nth(1), Reaction::Late { by: by / 4, executed: true });
    let data = PROFILE.pattern(1, 1);
    assert!(out(&device, &write_10(1, 1), &data).timed_out());
    assert!(out(&device, &write_10(2, 1), &data).timed_out());
    let content = device.device().content(1, 2);
    assert!(content[..512] == data && content[512..].iter().all(|byte| *byte == 0));
    let before = device.device().elapsed();
    good(plain(&device, &build::test_unit_ready()));
    assert!(device.device().elapsed() - before >= by / 4);
}

#[test]
fn a_device_that_is_gone_answers_nothing_until_it_is_back() {
    let device = disk();
    let data = PROFILE.pattern(1, 1);
    device.device().add_rule(Selector::opcodes(&[WRITE]), Times::Nth(2), Reaction::Gone { executed: true });
    let execute = |lba| {
        let cdb = write_10(lba, 1);
        device.execute(Request { cdb: &cdb, data: Data::Out(&data), timeout: scsi_common::TIMEOUT })
    };
    assert!(execute(1).is_ok());
    for _ in 0..2 {
        assert_eq!(execute(2).expect_err("it is gone").raw_os_error(), Some(19), "ENODEV");
    }
    device.device().set_gone(false);
    assert!(read(&device, &PROFILE, 2, 1) == data);
}

#[test]
fn chance_comes_from_the_seed() {
    let struck = |seed| {
        let device = nexus(Settings { seed, ..Settings::disk(512, 1000) });
        let busy = Reaction::Instead(Outcome::with_status(ScsiStatus::TaskSetFull));
        device.device().add_rule(Selector::opcodes(&[WRITE]), Times::PerMillion(200_000), busy);
        (0..100).map(|lba| out(&device, &write_10(lba, 1), &[1; 512]).is_good()).collect::<Vec<_>>()
    };
    assert_eq!(struck(5), struck(5));
    assert_ne!(struck(5), struck(6));
    let failed = struck(5).iter().filter(|good| !**good).count();
    assert!((8..35).contains(&failed), "{failed}");
}

#[test]
fn a_sanitize_in_the_background_shows_its_progress() {
    let device = disk();
    write(&device, &PROFILE, 3, &PROFILE.pattern(1, 1));
    good(plain(&device, &[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]));
    device.device().advance(Duration::from_secs(5));
    let sense = refused(plain(&device, &build::test_unit_ready()), SenseKey::NotReady, 0x04, 0x1b);
    let half = sense.progress().expect("progress");
    assert!((30_000..35_000).contains(&half), "{half}");
    let told = Sense::decode(&ask(&device, &build::request_sense(false, 252), 252)).expect("sense data");
    assert_eq!(told.asc, Asc::new(0x04, 0x1b));
    refused(out(&device, &write_10(0, 1), &[1; 512]), SenseKey::NotReady, 0x04, 0x1b);
    ask(&device, &build::inquiry(None, 36), 36);
    device.device().advance(Duration::from_secs(6));
    good(plain(&device, &build::test_unit_ready()));
    assert!(read(&device, &PROFILE, 3, 1).iter().all(|byte| *byte == 0));
    // Without IMMED the command takes as long, or more than anyone waits.
    let before = device.device().elapsed();
    good(plain(&device, &[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert!(device.device().elapsed() - before >= Duration::from_secs(10));
}

fn register(device: &dyn ScsiDevice, key: u64, aptpl: bool) {
    let list = build::reserve_parameters(0, key, aptpl);
    let action = ReserveOut::RegisterAndIgnoreExistingKey;
    good(out(device, &build::persistent_reserve_out(action, ReservationType::None, 24), &list));
}

#[test]
fn reservations_outlive_the_power_where_that_was_asked_for() {
    for aptpl in [false, true] {
        let device = disk();
        register(&device, 5, aptpl);
        let reserve = build::persistent_reserve_out(ReserveOut::Reserve, ReservationType::WriteExclusive, 24);
        good(out(&device, &reserve, &build::reserve_parameters(5, 0, false)));
        device.device().power_cut().expect("memory does not fail");
        settle(&device);
        let held = ask(&device, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64);
        assert_eq!(held.len(), if aptpl { 24 } else { 8 });
        let stranger = device.device().nexus();
        let status = out(&stranger, &write_10(0, 1), &[1; 512]).status;
        assert_eq!(status == ScsiStatus::ReservationConflict, aptpl);
    }
}

#[test]
fn a_reset_ends_a_reserve() {
    let one = disk();
    let other = one.device().nexus();
    good(plain(&one, &[0x16, 0, 0, 0, 0, 0]));
    assert_eq!(out(&other, &write_10(0, 1), &[1; 512]).status, ScsiStatus::ReservationConflict);
    one.device().reset();
    settle(&other);
    good(out(&other, &write_10(0, 1), &[1; 512]));
}

#[test]
fn what_was_sent_is_remembered_in_order() {
    let device = disk();
    good(out(&device, &write_10(1, 1), &[1; 512]));
    plain(&device, &[0xc1]);
    let trace = device.device().take_trace();
    let seen: Vec<_> =
        trace.iter().map(|seen| (seen.cdb.opcode(), seen.outcome.is_some_and(|o| o.is_good()))).collect();
    assert_eq!(seen, [(WRITE, true), (0xc1, false)]);
    assert!(device.device().take_trace().is_empty());
}

#[test]
fn several_threads_use_one_device() {
    let device = disk();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let device = &device;
            scope.spawn(move || {
                for lba in 0..100u32 {
                    let lba = lba + u32::from(thread) * 100;
                    good(out(device, &write_10(lba, 1), &[thread + 1; 512]));
                }
            });
        }
    });
    for thread in 0..4u8 {
        assert!(read(&device, &PROFILE, u64::from(thread) * 100, 100).iter().all(|byte| *byte == thread + 1));
    }
}

#[test]
fn devices_that_cannot_be_are_refused() {
    for (size, blocks) in [(0, 1), (500, 1), (1000, 1), (512, u64::MAX)] {
        assert!(SimulatedDevice::new(Settings::disk(size, blocks)).is_err(), "{blocks} blocks of {size}");
    }
}

fn tape(settings: TapeSettings) -> Nexus {
    nexus(Settings::tape(settings))
}

fn put(device: &dyn ScsiDevice, record: &[u8]) -> Outcome {
    out(device, &build::tape_write_6(false, record.len() as u32).expect("fits"), record)
}

#[test]
fn a_tape_warns_before_its_end_and_then_overflows() {
    let device = tape(TapeSettings { capacity: 10_000, early_warning: 4_000, ..TapeSettings::default() });
    for _ in 0..3 {
        good(put(&device, &[1; 2000]));
    }
    for _ in 0..2 {
        let sense = refused(put(&device, &[2; 2000]), SenseKey::NoSense, 0, 0x02);
        assert_eq!((sense.flags, sense.residual()), (SenseFlags::EOM, Some(0)), "written, and a warning");
    }
    let sense = refused(put(&device, &[3; 2000]), SenseKey::VolumeOverflow, 0, 0x02);
    assert_eq!((sense.flags, sense.residual()), (SenseFlags::EOM, Some(2000)));
    assert_eq!(device.device().objects().len(), 5);
}

#[test]
fn a_power_cut_takes_records_that_no_filemark_made_durable() {
    let mut left = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let device = nexus(Settings { seed, ..Settings::tape(TapeSettings::default()) });
        good(put(&device, &[1; 10]));
        good(plain(&device, &build::write_filemarks_6(1, false).expect("fits")));
        good(put(&device, &[2; 10]));
        good(put(&device, &[3; 10]));
        device.device().power_cut().expect("memory does not fail");
        let objects = device.device().objects();
        assert_eq!(objects[..2], [Object::Record(vec![1; 10]), Object::Filemark]);
        assert_eq!(device.device().position(), 0);
        left.insert(objects.len());
    }
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn what_was_overwritten_is_not_durable_any_more() {
    let mut left = std::collections::BTreeSet::new();
    for seed in 0..16 {
        let device = nexus(Settings { seed, ..Settings::tape(TapeSettings::default()) });
        good(put(&device, &[1; 10]));
        good(plain(&device, &build::write_filemarks_6(1, false).expect("fits")));
        good(plain(&device, &build::rewind(false)));
        good(put(&device, &[2; 10]));
        device.device().power_cut().expect("memory does not fail");
        left.insert(device.device().objects().len());
    }
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_tape_write_may_stop_on_the_way_and_residuals_keep_their_sign() {
    let device = tape(TapeSettings { block_length: 100, ..TapeSettings::default() });
    let sense = Sense::new(SenseKey::MediumError, Asc::new(0x0c, 0)).with_residual(2);
    let reaction = Reaction::Part { units: 1, outcome: Outcome::check(sense) };
    device.device().add_rule(Selector::opcodes(&[0x0a]), Times::Nth(1), reaction);
    let three = build::tape_write_6(true, 3).expect("fits");
    let sense = refused(out(&device, &three, &[7; 300]), SenseKey::MediumError, 0x0c, 0);
    assert_eq!((sense.residual(), device.device().objects().len()), (Some(2), 1));
    let mode = build::ModePage { page: 0x0a, dbd: true, ..build::ModePage::default() };
    let mut list = ask(&device, &build::mode_sense_6(mode, 255), 255);
    (list[0], list[6]) = (0, list[6] | 0x04);
    good(out(&device, &build::mode_select_6(false, list.len() as u8), &list));
    good(plain(&device, &build::rewind(false)));
    let (outcome, _) = fetch(&device, &build::tape_read_6(false, false, 60).expect("fits"), 60);
    let sense = refused(outcome, SenseKey::NoSense, 0, 0);
    assert_eq!((sense.format, sense.residual()), (formats::scsi::SenseFormat::Descriptor, Some(-40)));
}

#[test]
fn others_are_told_of_a_tape_that_was_loaded() {
    let one = tape(TapeSettings::default());
    let other = one.device().nexus();
    good(plain(&one, &[0x1b, 0, 0, 0, 0, 0]));
    refused(plain(&other, &build::test_unit_ready()), SenseKey::NotReady, 0x3a, 0);
    good(plain(&one, &[0x1b, 0, 0, 0, 1, 0]));
    good(plain(&one, &build::test_unit_ready()));
    attention(&other, 0x28, 0);
    let record = put(&nexus(Settings { write_protected: true, ..Settings::tape(TapeSettings::default()) }), &[1; 10]);
    refused(record, SenseKey::DataProtect, 0x27, 0x01);
}

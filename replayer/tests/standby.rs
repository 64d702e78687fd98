//! Stories of a standby and its primary.

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use formats::Op;
use formats::wire::{DataState, HashRequest, Refuse, RefuseCode, VERSION};
use link::LinkError;
use replayer::standby::{StandbyError, StandbyService, StateWord};
use replayer::target::{MemoryTarget, Target};

const STILL: Duration = Duration::from_millis(150);

/// The full first resync of an empty volume: the one empty region that ends it.
fn healed(after: u64, seq: u64) -> Encoded {
    region(after, 0, &[], seq, 0)
}

#[test]
fn entries_arrive_in_order_and_are_acknowledged_as_received_durable_and_applied() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, welcome) = Primary::open(standby.local_addr(), &hello()).unwrap();
    assert_eq!((welcome.version, welcome.durable, welcome.data), (VERSION, 0, DataState::Blank));
    primary.send(&[healed(0, 0), write(1, 0, 4096, 1), write(2, 512, 512, 2), flush(3)]);
    primary.send(&[record(4, 3, Op::Discard, (1024, 512), &[]), record(5, 3, Op::WriteZeroes, (2048, 512), &[])]);
    primary.send(&[region(5, 1 << 20, &[7; 65536], 5, 0)]);
    let ack = primary.wait_ack("everything", |ack| ack.applied_frame == 3);
    assert_eq!((ack.received_frame, ack.durable_frame, ack.durable, ack.applied), (3, 3, 5, 5));
    assert_eq!(ack.data, DataState::Consistent);
    let mut expected = vec![0; SIZE as usize];
    expected[..4096].fill(1);
    expected[512..1024].fill(2);
    expected[1024..1536].fill(0);
    expected[2048..2560].fill(0);
    expected[1 << 20..(1 << 20) + 65536].fill(7);
    assert!(fixture.target.content() == expected);
    assert!(fixture.target.flushes() >= 1);
    let status = wait_for(&standby, "a checkpoint of everything", |s| s.journal.checkpoint == 7);
    assert_eq!((status.state, status.data), (StateWord::Connected, "Consistent"));
    assert_eq!((status.received, status.durable, status.applied), (5, 5, 5));
    assert_eq!((status.queued_bytes, status.queued_entries, status.entries_received), (0, 0, 7));
    assert_eq!(status.done.by_kind["write"].entries, 2);
    assert_eq!(status.done.by_kind["region"].bytes, 65536);
    serde_json::to_string(&status).unwrap();
    standby.stop();
}

#[test]
fn nothing_overtakes_what_it_depends_on_or_overlaps() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0)]);
    // Each writes the same block, independent by `dep`: only the order of completion tells them apart.
    let entries: Vec<_> = (1..=500).map(|p| record(p, 0, Op::Write, (4096, 4096), &[p as u8; 4096])).collect();
    entries.chunks(7).for_each(|chunk| primary.send(chunk));
    primary.wait_applied(500);
    assert!(fixture.target.content()[4096..8192].iter().all(|&byte| byte == 500u64 as u8));
    standby.stop();
}

#[test]
fn a_restart_after_a_clean_stop_goes_on_at_the_exact_entry() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1), write(2, 0, 512, 2)]);
    primary.wait_applied(2);
    standby.stop();
    assert_eq!(StandbyService::known_targets(fixture.dir.path()), [("vol".into(), "mem".into())]);
    let standby = fixture.start();
    let (mut primary, welcome) = Primary::open_patiently(standby.local_addr(), &hello());
    assert_eq!((welcome.stream, welcome.durable, welcome.applied), (STREAM, 2, 2));
    assert_eq!(welcome.data, DataState::Consistent);
    assert_eq!(standby.status().redone, 0);
    primary.send(&[write(3, 512, 512, 3)]);
    primary.wait_applied(3);
    assert_eq!(fixture.target.content()[..1024], [[2; 512], [3; 512]].concat());
    standby.stop();
}

#[test]
fn what_was_durable_when_it_was_killed_is_redone() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    wait_for(&standby, "the first checkpoint", |s| s.journal.checkpoint == 2);
    let held = fixture.hold();
    primary.send(&[write(2, 512, 512, 2), write(3, 1024, 512, 3)]);
    primary.send(&[write(4, 512, 512, 4), gap(5, 5, 6)]);
    let ack = primary.wait_ack("durable", |ack| ack.durable == 5);
    assert_eq!(ack.applied, 1, "nothing is applied while the target stands still");
    let killed = fixture.killed();
    drop(held);
    drop(standby);

    let standby = killed.start();
    let (_, welcome) = Primary::open_patiently(standby.local_addr(), &hello());
    assert_eq!((welcome.durable, welcome.data), (5, DataState::Inconsistent));
    let status = wait_for(&standby, "redone", |s| s.applied == 5);
    assert_eq!(status.redone, 4);
    assert_eq!(killed.target.content()[..1536], [[1; 512], [4; 512], [3; 512]].concat());
    standby.stop();
}

#[test]
fn hellos_that_do_not_fit_are_refused_with_the_reason_and_the_next_one_works() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    type Case = (RefuseCode, fn(&mut formats::wire::Hello));
    let spoiled: [Case; 5] = [
        (RefuseCode::Version, |h| (h.min_version, h.max_version) = (VERSION + 1, VERSION + 9)),
        (RefuseCode::UnknownVolume, |h| h.volumes[0].name = "other".into()),
        (RefuseCode::Geometry, |h| h.volumes[0].size = SIZE + 512),
        (RefuseCode::Geometry, |h| h.volumes[0].block_size = 0),
        (RefuseCode::UnknownVolume, |h| h.volumes.clear()),
    ];
    for (index, (wanted, spoil)) in spoiled.into_iter().enumerate() {
        let mut bad = hello();
        spoil(&mut bad);
        match Primary::open(standby.local_addr(), &bad).err() {
            Some(LinkError::Refused { code, text, .. }) => assert_eq!(code, wanted, "{index}: {text}"),
            other => panic!("{index}: {other:?}"),
        }
    }
    wait_for(&standby, "five refusals", |s| s.refused == 5);
    assert!(Primary::open(standby.local_addr(), &hello()).is_ok());
    standby.stop();
}

#[test]
fn a_second_primary_is_told_that_the_place_is_taken_and_gets_it_when_it_is_free() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (first, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    match Primary::open(standby.local_addr(), &hello()).err() {
        Some(LinkError::Refused { code: RefuseCode::Busy, .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(first);
    let (mut second, _) = Primary::open_patiently(standby.local_addr(), &hello());
    second.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    second.wait_applied(1);
    let status = standby.status();
    assert_eq!((status.sessions, status.state), (2, StateWord::Connected));
    standby.stop();
}

#[test]
fn garbage_and_silence_on_the_port_hurt_nobody() {
    use std::io::{Read, Write};
    let fixture = Fixture::new();
    let standby = fixture.start();
    let mut garbage = std::net::TcpStream::connect(standby.local_addr()).unwrap();
    garbage.write_all(&[0x5a; 4096]).unwrap();
    let _ = garbage.read_to_end(&mut Vec::new());
    wait_for(&standby, "the garbage", |s| {
        s.last_link_error.as_ref().is_some_and(|e| e.contains("not of this protocol"))
    });
    // Half a hello, then nothing, while the real primary works.
    let half = formats::wire::FrameHeader::for_body(formats::wire::FrameKind::Hello, 0, &[&[0; 64]]).encode();
    let mut silent = std::net::TcpStream::connect(standby.local_addr()).unwrap();
    silent.write_all(&half).unwrap();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    silent.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0, "a silent stranger is dropped");
    standby.stop();
}

fn refused_after(spoil: impl Fn(&mut Primary)) -> (Refuse, u64) {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    spoil(&mut primary);
    let refuse = primary.wait_refusal();
    drop(primary);
    // It works after the correction, and nothing of the bad frame was used.
    let (mut primary, welcome) = Primary::open_patiently(standby.local_addr(), &hello());
    assert_eq!(welcome.durable, 1);
    primary.send(&[write(2, 512, 512, 2)]);
    primary.wait_applied(2);
    assert!(fixture.target.content()[1024..].iter().all(|&byte| byte == 0));
    let refused = standby.status().refused;
    standby.stop();
    (refuse, refused)
}

#[test]
fn a_damaged_payload_is_refused_and_never_applied() {
    let (refuse, _) = refused_after(|primary| {
        let mut bad = write(2, 1024, 512, 9);
        *bad.last_mut().unwrap() ^= 1;
        primary.send(&[bad]);
    });
    assert_eq!(refuse.code, RefuseCode::Corrupt);
    assert!(refuse.text.to_string_lossy().contains("payload checksum"), "{}", refuse.text.to_string_lossy());
}

#[test]
fn entries_that_break_the_order_are_refused() {
    let spoilers: [fn(&mut Primary); 5] = [
        |primary| primary.send(&[write(3, 1024, 512, 9)]),
        |primary| primary.send(&[write(1, 1024, 512, 9)]),
        |primary| primary.send_numbered(7, &[write(2, 1024, 512, 9)]),
        |primary| primary.send(&[write(2, SIZE - 512, 1024, 9)]),
        |primary| primary.send(&[]),
    ];
    for spoil in spoilers {
        refused_after(spoil);
    }
}

#[test]
fn reading_stops_when_too_much_waits_and_goes_on_afterwards() {
    let mut fixture = Fixture::new();
    fixture.adjust = |config| config.queue_bytes = 1 << 20;
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0)]);
    primary.wait_ack("the start", |ack| ack.applied_frame == 1);
    let held = fixture.hold();
    let mut sent = 0;
    // More than the queue and all socket buffers hold.
    while sent < 100 && primary.try_send(&[region(0, 0, &vec![sent as u8; 1 << 20], 0, 1)], STILL) {
        sent += 1;
    }
    assert!(sent < 100, "the standby read everything");
    let status = wait_for(&standby, "a full queue", |s| s.state == StateWord::QueueFull);
    assert!(status.queued_bytes < 4 << 20, "{} bytes queued", status.queued_bytes);
    drop(held);
    wait_for(&standby, "the queue to empty", |s| s.queued_entries == 0 && s.state == StateWord::Connected);
    standby.stop();
}

#[test]
fn a_full_journal_makes_the_primary_wait_and_is_freed_by_a_checkpoint() {
    let mut fixture = Fixture::new();
    fixture.adjust = |config| config.queue_bytes = 1 << 30;
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0)]);
    primary.wait_ack("the start", |ack| ack.applied_frame == 1);
    let held = fixture.hold();
    let frames = 60;
    for number in 1..frames {
        primary.send(&[region(0, 0, &vec![number as u8; SIZE as usize], 0, frames - number)]);
    }
    primary.send(&[region(0, 0, &vec![99; SIZE as usize], 0, 0)]);
    let status = wait_for(&standby, "a full journal", |s| s.state == StateWord::JournalFull);
    assert!(status.journal.bytes_used <= status.journal.bytes_total);
    let ack = primary.wait_ack("all received", |ack| ack.received_frame == frames + 1);
    assert!(ack.durable_frame < frames + 1, "not all of it fits");
    drop(held);
    primary.wait_ack("all applied", |ack| ack.applied_frame == frames + 1);
    assert!(fixture.target.content().iter().all(|&byte| byte == 99));
    let status = wait_for(&standby, "the way back", |s| s.state == StateWord::Connected);
    assert!(status.journal.times_full >= 1);
    standby.stop();
}

#[test]
fn a_session_that_breaks_off_while_the_journal_is_full_is_forgotten_where_it_was_not_durable() {
    let mut fixture = Fixture::new();
    fixture.adjust = |config| config.queue_bytes = 1 << 30;
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0)]);
    primary.wait_ack("the start", |ack| ack.applied_frame == 1);
    let held = fixture.hold();
    for position in 1..=60 {
        primary.send(&[write(position, 0, SIZE as usize, position as u8)]);
    }
    wait_for(&standby, "a full journal", |s| s.state == StateWord::JournalFull && s.received == 60);
    drop(primary);
    let (mut primary, welcome) = Primary::open_patiently(standby.local_addr(), &hello());
    assert!((1..60).contains(&welcome.durable), "{welcome:?}");
    drop(held);
    for position in welcome.durable + 1..=60 {
        primary.send(&[write(position, 0, SIZE as usize, position as u8)]);
    }
    let ack = primary.wait_applied(60);
    assert_eq!(ack.data, DataState::Consistent);
    assert!(fixture.target.content().iter().all(|&byte| byte == 60));
    standby.stop();
}

#[test]
fn a_failing_target_stops_the_standby_visibly_and_a_restart_redoes() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    fixture.target.set_failing(true);
    primary.send(&[write(2, 512, 512, 2)]);
    let refuse = primary.wait_refusal();
    assert_eq!(refuse.code, RefuseCode::Stopped);
    let status = wait_for(&standby, "the stop", |s| s.state == StateWord::Stopped);
    assert!(status.reason.unwrap().contains("position 2"));
    match Primary::open(standby.local_addr(), &hello()).err() {
        Some(LinkError::Refused { code: RefuseCode::Stopped, text, .. }) => {
            assert!(text.contains("position 2"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    standby.stop();
    fixture.target.set_failing(false);
    let standby = fixture.start();
    let (_, welcome) = Primary::open_patiently(standby.local_addr(), &hello());
    assert_eq!(welcome.durable, 2);
    wait_for(&standby, "the redo", |s| s.applied == 2);
    assert_eq!(fixture.target.content()[512..1024], [2; 512]);
    standby.stop();
}

#[test]
fn hashes_are_those_of_everything_received() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0)]);
    primary.send(&(1..=64).map(|p| write(p, p * 4096, 4096, p as u8)).collect::<Vec<_>>());
    let request = HashRequest { id: 77, volume: 0, offset: 0, len: SIZE, chunk: 1 << 20 };
    let reply = primary.hashes(&request).unwrap();
    let content = fixture.target.content();
    let expected: Vec<[u8; 32]> = content.chunks(1 << 20).map(|chunk| *blake3::hash(chunk).as_bytes()).collect();
    assert_eq!((reply.id, reply.hashes), (77, expected));
    assert!(content[64 * 4096..65 * 4096].iter().all(|&byte| byte == 64));
    let error = primary.hashes(&HashRequest { volume: 3, ..request }).unwrap_err();
    assert!(matches!(error, LinkError::Refused { code: RefuseCode::Unexpected, .. }), "{error}");
    standby.stop();
}

#[test]
fn another_stream_begins_anew() {
    let fixture = Fixture::new();
    let standby = fixture.start();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    drop(primary);
    let mut other = hello();
    other.stream = STREAM + 1;
    let (_, welcome) = Primary::open_patiently(standby.local_addr(), &other);
    assert_ne!(welcome.stream, STREAM + 1, "it does not hold that stream");
    wait_for(&standby, "the doubt", |s| s.data != "Consistent");
    standby.stop();
}

#[test]
fn an_image_file_is_kept_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    let standby = StandbyService::start(config(&dir.path().join("state"), &image)).unwrap();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 65536, 1), record(2, 1, Op::Discard, (4096, 4096), &[])]);
    primary.wait_applied(2);
    let content = std::fs::read(&image).unwrap();
    assert!(content[4096..8192].iter().all(|&byte| byte == 0) && content[8192..65536].iter().all(|&byte| byte == 1));
    standby.stop();
}

fn start_error(config: replayer::standby::StandbyConfig) -> StandbyError {
    StandbyService::start(config).map(drop).unwrap_err()
}

#[test]
fn what_cannot_be_started_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let state = dir.path().join("state");
    assert!(matches!(start_error(config(&state, &image)), StandbyError::Target { .. }));
    std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    let mut open_to_all = config(&state, &image);
    open_to_all.listen = "0.0.0.0:0".into();
    assert!(start_error(open_to_all).to_string().contains("--insecure"));
    let mut taken = config(&state, &image);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    taken.listen = socket.local_addr().unwrap().to_string();
    let error = start_error(taken).to_string();
    assert!(error.contains("already in use"), "{error}");
    assert!(matches!(start_error(config(Path::new("/dev/null/x"), &image)), StandbyError::Dir { .. }));

    let standby = StandbyService::start(config(&state, &image)).unwrap();
    let other = dir.path().join("other");
    std::fs::copy(&image, &other).unwrap();
    assert!(matches!(start_error(config(&state, &other)), StandbyError::Journal(_)), "one standby per directory");
    assert!(matches!(start_error(config(&dir.path().join("s2"), &image)), StandbyError::Target { .. }));
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, 0, 512, 1)]);
    primary.wait_applied(1);
    standby.stop();
    assert!(matches!(start_error(config(&state, &other)), StandbyError::TargetChanged { .. }));
    assert!(StandbyService::start(config(&state, &image)).is_ok());
}

#[test]
fn a_target_larger_than_the_volume_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let target = std::sync::Arc::new(MemoryTarget::new("mem", SIZE + 4096));
    let named: std::sync::Arc<dyn Target> = target.clone();
    let standby = StandbyService::start_on(config(dir.path(), Path::new("mem")), vec![("vol".into(), named)]).unwrap();
    let (mut primary, _) = Primary::open(standby.local_addr(), &hello()).unwrap();
    primary.send(&[healed(0, 0), write(1, SIZE - 512, 512, 1)]);
    primary.wait_applied(1);
    standby.stop();
}

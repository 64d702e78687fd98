//! What had been durable and rots: each kind is named, what precedes stays, and the journal works after the answer.

mod common;

use common::{Owned, SMALL, entries, items, open, read_all};
use formats::segment::{DATA_START, SegmentError, item_len};
use journal::faulty::FaultyDisk;
use journal::{AppendError, Config, Journal, JournalError, ReadError, Recovery, TailEnd};

const LEN: usize = 1000;
const ITEM: usize = item_len(LEN) as usize;
/// Items of that size in one small segment.
const PER_SEGMENT: u64 = ((16 << 10) - DATA_START) / ITEM as u64;

/// A disk with `count` durable items, synced one by one so that each tells of those before it.
fn filled(count: u64) -> (FaultyDisk, Vec<Owned>) {
    let disk = FaultyDisk::new();
    let (mut journal, _) = open(&disk, SMALL);
    let all = entries(1..count + 1, LEN);
    for entry in &all {
        journal.append(&items(std::slice::from_ref(entry))).unwrap();
        journal.sync().unwrap();
    }
    (disk, all)
}

fn offset_in_segment(nth: u64) -> usize {
    DATA_START as usize + nth as usize * ITEM
}

/// Opens a damaged journal and checks that it keeps what precedes, refuses items, and goes on after the answer.
fn check_damage(disk: &FaultyDisk, all: &[Owned], lost: std::ops::RangeInclusive<u64>) -> Recovery {
    let (mut journal, recovery) = open(disk, SMALL);
    let damage = recovery.damaged.clone().expect("damage is reported");
    assert_eq!(damage.lost, lost);
    assert_eq!((recovery.next, journal.damage()), (*lost.start(), Some(lost.clone())));
    let kept = *lost.start() as usize - 1;
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all[..kept]);
    let refused = journal.append(&items(&all[..1])).unwrap_err();
    assert!(matches!(&refused, AppendError::Damaged { lost: l } if *l == lost), "{refused}");
    drop(journal);
    let (mut journal, again) = open(disk, SMALL);
    assert_eq!(again.damaged.map(|d| d.lost), Some(lost.clone()), "an unanswered damage is reported again");
    journal.accept_damage().unwrap();
    drop(journal);
    let (mut journal, healed) = open(disk, SMALL);
    assert_eq!((healed.damaged, healed.next), (None, *lost.start()));
    let fresh = entries(500..510, 300);
    journal.append(&items(&fresh)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (journal, last) = open(disk, SMALL);
    assert_eq!((last.damaged, last.next), (None, lost.start() + 10));
    assert_eq!(read_all(&mut journal.reader(), *lost.start(), 1 << 20), fresh);
    recovery
}

#[test]
fn a_bad_payload_in_the_middle_of_a_segment() {
    let (disk, all) = filled(20);
    disk.flip("segment-0000", offset_in_segment(4) + 500, 1);
    let recovery = check_damage(&disk, &all, 5..=20);
    let TailEnd::NoItem { file, offset, why } = recovery.tail else { panic!() };
    assert_eq!((file.as_str(), offset as usize, why), ("segment-0000", offset_in_segment(4), SegmentError::Payload));
    assert_eq!(recovery.bytes_cut, 16 * ITEM as u64);
}

#[test]
fn a_bad_frame_and_a_bad_entry_header() {
    for at in [0, 5, 20, 31, 40, 120] {
        let (disk, all) = filled(20);
        disk.flip("segment-0001", offset_in_segment(1) + at, 0x80);
        check_damage(&disk, &all, PER_SEGMENT + 2..=20);
    }
}

#[test]
fn a_bad_head_of_the_first_and_of_a_later_segment() {
    for (segment, lost) in [("segment-0000", 1..=30), ("segment-0001", PER_SEGMENT + 1..=30)] {
        let (disk, all) = filled(30);
        disk.flip(segment, 9, 4);
        check_damage(&disk, &all, lost);
    }
}

/// The last item of the log has nothing behind it that tells that it was durable, except the saved state.
#[test]
fn the_tail() {
    let (disk, all) = filled(5);
    disk.flip("segment-0000", offset_in_segment(4) + 1, 1);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.next, recovery.damaged), (5, None), "as after a power cut");
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all[..4]);

    let (disk, all) = filled(5);
    open(&disk, SMALL).0.checkpoint().unwrap();
    disk.flip("segment-0000", offset_in_segment(4) + 1, 1);
    check_damage(&disk, &all, 5..=5);
}

#[test]
fn a_segment_file_that_is_gone() {
    let (disk, all) = filled(30);
    journal::Disk::remove(&disk, "segment-0001").unwrap();
    check_damage(&disk, &all, PER_SEGMENT + 1..=30);
}

#[test]
fn discarding_answers_damage_too_and_goes_on_behind_it() {
    let (disk, _) = filled(20);
    disk.flip("segment-0000", offset_in_segment(2), 1);
    let (mut journal, recovery) = open(&disk, SMALL);
    let lost = recovery.damaged.unwrap().lost;
    journal.discard_all(lost.end() + 1).unwrap();
    let fresh = entries(1..4, 50);
    assert_eq!(journal.append(&items(&fresh)).unwrap(), 21..24);
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.first, recovery.next, recovery.damaged), (21, 24, None));
    assert_eq!(read_all(&mut journal.reader(), 21, 1 << 20), fresh);
}

#[test]
fn cursors_do_not_point_into_what_is_lost() {
    let (disk, _) = filled(20);
    let (mut journal, _) = open(&disk, SMALL);
    journal.set_cursor("a", 18).unwrap();
    drop(journal);
    disk.flip("segment-0000", offset_in_segment(4), 1);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.next, journal.cursor("a")), (5, Some(4)));
}

#[test]
fn an_open_journal_reports_rot_when_it_is_read() {
    let (disk, all) = filled(5);
    let (journal, _) = open(&disk, SMALL);
    let mut reader = journal.reader();
    disk.flip("segment-0000", offset_in_segment(2) + 700, 1);
    assert_eq!(reader.read(1, 2 * LEN + 400).unwrap().len(), 2);
    let error = reader.read(3, 1 << 20).unwrap_err();
    let at = offset_in_segment(2) as u64;
    assert!(
        matches!(&error, ReadError::Corrupt { index: 3, offset, source: SegmentError::Payload, .. } if *offset == at),
        "{error}"
    );
    assert!(error.to_string().contains("segment-0000"), "{error}");
    assert_eq!(reader.headers(1).filter(Result::is_ok).count(), all.len(), "headers are still whole");
}

#[test]
fn one_bad_slot_of_the_state_is_survived_and_two_are_named() {
    for slot in [0, 4096] {
        let (disk, all) = filled(5);
        disk.flip("state", slot + 20, 1);
        let (journal, recovery) = open(&disk, SMALL);
        assert_eq!((recovery.next, recovery.damaged), (6, None));
        assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all);
    }
    let (disk, _) = filled(5);
    open(&disk, SMALL).0.checkpoint().unwrap();
    let state = disk.contents("state").unwrap();
    disk.flip("state", 20, 1);
    disk.flip("state", 4096 + 20, 1);
    let error = Journal::open(disk.clone(), SMALL).err().unwrap();
    assert!(matches!(error, JournalError::State { .. }) && error.to_string().contains("checksum mismatch"), "{error}");
    disk.replace("state", Vec::new());
    assert!(matches!(Journal::open(disk.clone(), SMALL), Err(JournalError::State { .. })));
    journal::Disk::remove(&disk, "state").unwrap();
    assert!(matches!(Journal::open(disk.clone(), SMALL), Err(JournalError::State { .. })));
    drop(journal::Disk::create(&disk, "state"));
    disk.replace("state", state);
    assert_eq!(open(&disk, SMALL).1.next, 6, "it works after the correction");
}

/// Every segment is used many times; then every byte pattern of every earlier use lies around.
#[test]
fn recycled_segments_never_decode_old_items() {
    let disk = FaultyDisk::new();
    let (mut journal, _) = open(&disk, SMALL);
    let mut next = 1;
    for round in 0..40 {
        let batch = entries(next..next + 4, LEN);
        // What was freed is back after opening, until it is freed again.
        journal.trim(journal.written() - journal.written().min(3));
        journal.append(&items(&batch)).unwrap();
        next += 4;
        journal.sync().unwrap();
        if round % 7 == 3 {
            drop(journal);
            let recovery;
            (journal, recovery) = open(&disk, SMALL);
            assert_eq!((recovery.next, &recovery.damaged), (next, &None), "round {round}");
            assert!(recovery.first + 4 * PER_SEGMENT >= next);
            let kept = entries(recovery.first..next, LEN);
            assert_eq!(read_all(&mut journal.reader(), recovery.first, 3000), kept);
        }
    }
}

/// Two segment files change places: each still says who it is.
#[test]
fn swapped_files_are_sorted_by_what_they_say() {
    let (disk, all) = filled(20);
    let (a, b) = (disk.contents("segment-0000").unwrap(), disk.contents("segment-0001").unwrap());
    disk.replace("segment-0000", b);
    disk.replace("segment-0001", a);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.next, recovery.damaged), (21, None));
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all);
}

/// A block that lands at another offset of its segment is no item there.
#[test]
fn a_misplaced_block_is_no_item() {
    let (disk, all) = filled(4);
    let mut bytes = disk.contents("segment-0000").unwrap();
    let (from, to) = (offset_in_segment(1), offset_in_segment(4));
    bytes.copy_within(from..from + ITEM, to);
    disk.replace("segment-0000", bytes);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.next, recovery.damaged), (5, None));
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all);
}

#[test]
fn another_size_is_refused_and_growing_is_not() {
    let (disk, all) = filled(5);
    let refused = |segment_bytes, total_bytes| {
        let config = Config { segment_bytes, total_bytes, ..SMALL };
        let error = Journal::open(disk.clone(), config).err().unwrap();
        assert!(matches!(error, JournalError::Size { made_segments: 4, made_bytes: 16384, .. }), "{error}");
    };
    refused(16 << 10, 48 << 10);
    refused(32 << 10, 128 << 10);
    let (journal, recovery) = open(&disk, Config { total_bytes: 128 << 10, ..SMALL });
    assert_eq!((recovery.next, journal.bytes_total()), (6, 128 << 10));
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), all);
}

//! The journal as it is meant to be used: policies, space, cursors, readers in other threads, the real file system.

mod common;

use std::time::Duration;

use common::{Owned, SMALL, entries, entry, items, open, read_all};
use formats::segment::SegmentError;
use journal::faulty::FaultyDisk;
use journal::{AppendError, Config, Item, Journal, JournalError, ReadError, RealDisk, SyncPolicy, TailEnd};

#[test]
fn a_new_journal_is_empty_and_numbers_from_one() {
    let disk = FaultyDisk::new();
    let (mut journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.created, recovery.first, recovery.next), (true, 1, 1));
    assert_eq!((recovery.tail, recovery.bytes_cut), (TailEnd::Empty, 0));
    assert_eq!((journal.first(), journal.written(), journal.durable(), journal.bytes_used()), (1, 0, 0, 0));
    assert_eq!(journal.append(&[]).unwrap(), 1..1);
    assert_eq!(journal.append(&items(&entries(0..3, 10))).unwrap(), 1..4);
    assert_eq!((journal.written(), journal.durable(), journal.sync().unwrap()), (3, 0, 3));
}

#[test]
fn policies() {
    let each = open(&FaultyDisk::new(), Config { sync: SyncPolicy::Each, ..SMALL }).0;
    let interval = Config { sync: SyncPolicy::Interval(Duration::from_millis(5)), ..SMALL };
    let mut journals = [each, open(&FaultyDisk::new(), interval).0, open(&FaultyDisk::new(), SMALL).0];
    let due = |journals: &mut [Journal<FaultyDisk>; 3], ms| {
        journals.each_mut().map(|journal| journal.sync_due(Duration::from_millis(ms)))
    };
    assert_eq!(due(&mut journals, 0), [false; 3]);
    journals.iter_mut().for_each(|journal| {
        journal.append(&items(&entries(0..1, 9))).unwrap();
    });
    assert_eq!(journals.each_ref().map(Journal::durable), [1, 0, 0]);
    assert_eq!(due(&mut journals, 10), [false; 3]);
    assert_eq!(due(&mut journals, 14), [false; 3]);
    assert_eq!(due(&mut journals, 15), [false, true, false]);
    journals[1].sync().unwrap();
    assert_eq!(due(&mut journals, 16), [false; 3]);
}

#[test]
fn a_full_journal_is_left_as_it_is_and_takes_more_after_trimming() {
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let big = entries(0..1, 11_000);
    (0..4).for_each(|_| {
        journal.append(&items(&big)).unwrap();
    });
    let before = (journal.next(), journal.bytes_used(), journal.bytes_free());
    let error = journal.append(&items(&big)).unwrap_err();
    assert!(matches!(error, AppendError::Full { needed: 11_160, free } if free == before.2), "{error}");
    assert_eq!((journal.next(), journal.bytes_used(), journal.bytes_free()), before);
    assert_eq!(journal.append(&items(&entries(0..1, 10))).unwrap(), 5..6, "a smaller one still fits");
    assert_eq!(journal.trim(1), 2);
    assert_eq!(journal.append(&items(&big)).unwrap(), 6..7);
    journal.reset().unwrap();
    assert_eq!((journal.first(), journal.next(), journal.bytes_used()), (7, 7, 0));
    assert_eq!(journal.append(&items(&big)).unwrap(), 7..8);
}

#[test]
fn a_batch_spans_segments_or_is_refused_whole() {
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let batch = entries(0..30, 1000);
    assert_eq!(journal.append(&items(&batch)).unwrap(), 1..31);
    assert!(matches!(journal.append(&items(&batch)), Err(AppendError::Full { .. })));
    assert_eq!(journal.next(), 31);
    assert_eq!(read_all(&mut journal.reader(), 1, 5000), batch);
    // More buffers than one vectored write takes.
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let many = entries(0..250, 1);
    let wide = Config { segment_bytes: 256 << 10, total_bytes: 512 << 10, ..SMALL };
    let (mut roomy, _) = open(&FaultyDisk::new(), wide);
    let more = entries(0..1300, 1);
    roomy.append(&items(&more)).unwrap();
    assert_eq!(read_all(&mut roomy.reader(), 1, 1 << 20), more);
    journal.append(&items(&many)).unwrap();
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 20), many);
}

#[test]
fn items_that_recovery_would_refuse_are_refused_at_once() {
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let good = entry(1, 8);
    let mut bad = good.clone();
    bad.header[40] ^= 1;
    let error = journal.append(&items(&[good.clone(), bad])).unwrap_err();
    assert!(matches!(error, AppendError::Item { item: 1, source: SegmentError::Entry(_) }), "{error}");
    let error = journal.append(&[Item { header: &good.header, payload: &good.payload[1..] }]).unwrap_err();
    assert!(error.to_string().contains("another length"), "{error}");
    let limit = SMALL.largest_payload();
    let error = journal.append(&items(&[entry(1, limit as usize + 1)])).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { item: 0, limit: l, .. } if l == limit), "{error}");
    assert_eq!((journal.next(), journal.has_failed()), (1, false));
    assert_eq!(journal.append(&items(&[entry(1, limit as usize)])).unwrap(), 1..2);
}

#[test]
fn cursors_hold_space_survive_and_never_go_back() {
    let disk = FaultyDisk::new();
    let (mut journal, _) = open(&disk, SMALL);
    journal.set_cursor("slow", 0).unwrap();
    journal.set_cursor("fast", 0).unwrap();
    journal.append(&items(&entries(0..30, 1000))).unwrap();
    journal.sync().unwrap();
    journal.set_cursor("fast", 30).unwrap();
    journal.set_cursor("fast", 10).unwrap();
    assert_eq!((journal.cursor("fast"), journal.trim(30)), (Some(30), 1));
    assert!(matches!(journal.set_cursor("fast", 31), Err(JournalError::Index { index: 31, .. })));
    assert!(matches!(journal.set_cursor("", 1), Err(JournalError::Cursor { .. })));
    journal.checkpoint().unwrap();
    drop(journal);
    disk.power_cut(1);
    let (mut journal, _) = open(&disk, SMALL);
    assert_eq!((journal.cursor("fast"), journal.cursor("slow"), journal.cursor("none")), (Some(30), Some(0), None));
    assert!(journal.remove_cursor("slow").unwrap());
    assert!(!journal.remove_cursor("slow").unwrap());
    let first = journal.trim(30);
    assert!(first > 10);
    assert!(matches!(journal.set_cursor("late", 0), Err(JournalError::Index { .. })), "what it needs is gone");
    (0..31).for_each(|i| journal.set_cursor(&format!("n{i}"), 30).unwrap());
    assert!(matches!(journal.set_cursor("one more", 30), Err(JournalError::Cursor { .. })));
}

#[test]
fn a_kill_brings_back_at_most_the_segment_freed_last() {
    let disk = FaultyDisk::new();
    let (mut journal, _) = open(&disk, SMALL);
    journal.set_cursor("secondary", 0).unwrap();
    for index in 1..=7 {
        journal.append(&items(&entries(0..1, 11_000))).unwrap();
        journal.sync().unwrap();
        journal.set_cursor("secondary", index).unwrap();
        assert_eq!(journal.trim(index), index);
    }
    drop(journal);
    let (journal, recovery) = open(&disk, SMALL);
    assert_eq!((recovery.first, recovery.next, journal.cursor("secondary")), (6, 8, Some(6)));
}

#[test]
fn a_reader_gets_one_item_above_its_limit_and_never_a_part() {
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let all = [entry(1, 5000), entry(2, 10), entry(3, 10)];
    journal.append(&items(&all)).unwrap();
    let mut reader = journal.reader();
    assert_eq!(reader.read(1, 1).unwrap().items.len(), 1);
    assert_eq!(reader.read(2, 138 * 2).unwrap().len(), 1, "frames count while reading, so less may come");
    assert_eq!(reader.read(2, 400).unwrap().last(), Some(3));
    assert!(matches!(reader.read(0, 400), Err(ReadError::Trimmed { asked: 0, first: 1 })));
    assert_eq!(reader.headers(2).map(|h| h.unwrap().0).collect::<Vec<_>>(), [2, 3]);
}

/// A writer recycles segments as fast as it can while readers follow; none ever sees a wrong byte.
#[test]
fn readers_in_other_threads_follow_and_never_read_recycled_bytes() {
    const LAST: u64 = 6000;
    let (mut journal, _) = open(&FaultyDisk::new(), SMALL);
    let follow = |mut reader: journal::Reader<FaultyDisk>, max_bytes: usize| {
        move || {
            let (mut at, mut seen, mut trimmed) = (1, 0u64, 0u64);
            while at <= LAST {
                match reader.read(at, max_bytes) {
                    Ok(batch) => {
                        let expected: Vec<Owned> = entries(at..at + batch.len() as u64, 300);
                        assert_eq!(common::unpack(&batch, at), expected);
                        (at, seen) = (at + batch.len() as u64, seen + batch.len() as u64);
                    }
                    Err(ReadError::Trimmed { first, .. }) => (at, trimmed) = (first.max(at + 1), trimmed + 1),
                    Err(other) => panic!("{other}"),
                }
            }
            (seen, trimmed)
        }
    };
    let readers = [700, 2000, 100_000].map(|max| std::thread::spawn(follow(journal.reader(), max)));
    let walker = journal.reader();
    let walk = std::thread::spawn(move || {
        for round in 0..200u64 {
            let from = walker.first() + round % 5;
            for (item, index) in walker.headers(from).zip(from..) {
                match item {
                    Ok((found, header)) => assert_eq!((found, header.position.0), (index, index)),
                    Err(ReadError::Trimmed { .. }) => break,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    for tag in (1..=LAST).step_by(5) {
        let batch = entries(tag..tag + 5, 300);
        if journal.bytes_free() < 8000 {
            journal.trim(journal.written() - 20);
        }
        journal.append(&items(&batch)).unwrap();
    }
    let seen: Vec<_> = readers.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(seen.iter().all(|(seen, _)| *seen > 0), "{seen:?}");
    walk.join().unwrap();
}

#[test]
fn on_the_real_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let config = Config { segment_bytes: 1 << 20, total_bytes: 4 << 20, sync: SyncPolicy::Each };
    let all = entries(0..600, 4096);
    {
        let (mut journal, recovery) = Journal::open(RealDisk::new(&path).unwrap(), config).unwrap();
        assert!(recovery.created);
        let refused = RealDisk::new(&path).unwrap_err();
        assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
        for batch in all.chunks(50) {
            journal.append(&items(batch)).unwrap();
        }
        assert_eq!(journal.durable(), 600);
    }
    let used = std::process::Command::new("du").args(["-sk", path.to_str().unwrap()]).output().unwrap();
    let kib: u64 = String::from_utf8_lossy(&used.stdout).split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib >= 4096, "all space is reserved, not only {kib} KiB");
    let (mut journal, recovery) = Journal::open(RealDisk::new(&path).unwrap(), config).unwrap();
    assert_eq!((recovery.next, recovery.damaged), (601, None));
    assert_eq!(read_all(&mut journal.reader(), 1, 1 << 18), all);
    for round in 0..8 {
        journal.trim(journal.written());
        let range = journal.append(&items(&all[..200])).unwrap();
        assert_eq!(range.start, 601 + round * 200);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = RealDisk::new(dir.path().join("file/journal")).unwrap_err();
    assert!(error.to_string().contains("file/journal"), "{error}");
}

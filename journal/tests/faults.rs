//! Every operation of the disk fails once, at every place; power fails after it; the log must still be honest.

mod common;

use common::{Owned, SMALL, entries, items, open, read_all};
use journal::faulty::{Faults, FaultyDisk, Rng};
use journal::{AppendError, Config, Journal, JournalError, SyncPolicy};

/// What a run appended and was promised.
#[derive(Default)]
struct Story {
    /// Everything that was handed to append, also when that failed: it may be there or not.
    handed: Vec<Owned>,
    /// Items that the journal said are durable.
    durable: u64,
    /// The first index at the last successful step.
    first: u64,
    cursor: Option<u64>,
}

/// Opens, appends, syncs, moves a cursor, trims, recycles every segment, closes and opens again, until an error.
fn workload(disk: &FaultyDisk, config: Config, story: &mut Story) -> Result<(), AppendError> {
    for round in 0..3 {
        let (mut journal, recovery) = Journal::open(disk.clone(), config)?;
        assert!(recovery.damaged.is_none(), "{recovery:?}");
        assert!(recovery.next > story.durable);
        story.durable = recovery.next - 1;
        if round == 0 {
            journal.set_cursor("standby", 0)?;
            story.cursor = Some(0);
        }
        let result = steps(&mut journal, story);
        let failed = result.is_err();
        assert_eq!(journal.has_failed(), failed);
        if failed {
            assert!(matches!(journal.append(&[]), Err(AppendError::Journal(JournalError::Failed { .. }))));
            assert!(matches!(journal.sync(), Err(JournalError::Failed { .. })));
            assert_eq!(journal.durable(), story.durable);
        }
        result?;
    }
    Ok(())
}

fn steps(journal: &mut Journal<FaultyDisk>, story: &mut Story) -> Result<(), AppendError> {
    journal.trim(journal.written());
    for step in 0..12u64 {
        let next = journal.next();
        let batch = entries(next..next + 3, 900 + 37 * step as usize);
        story.handed.truncate(next as usize - 1);
        story.handed.extend(batch.iter().cloned());
        journal.append(&items(&batch))?;
        story.durable = story.durable.max(journal.durable());
        if step % 3 == 2 {
            story.durable = journal.sync()?;
            journal.set_cursor("standby", next)?;
            story.cursor = Some(next);
            story.first = journal.trim(next);
        }
    }
    Ok(())
}

/// Opens without faults and checks what must hold after any failure.
fn verify(disk: &FaultyDisk, config: Config, story: &Story, what: &str) {
    let (mut journal, recovery) = open(disk, config);
    assert!(recovery.damaged.is_none(), "{what}: {recovery:?}");
    assert!(recovery.next > story.durable, "{what}: promised {}, {recovery:?}", story.durable);
    assert!(recovery.next <= story.handed.len() as u64 + 1, "{what}: {recovery:?}");
    assert!(recovery.first <= story.first.max(1), "{what}: {recovery:?}");
    let found = read_all(&mut journal.reader(), recovery.first, 1 << 20);
    assert_eq!(found, story.handed[recovery.first as usize - 1..recovery.next as usize - 1], "{what}");
    if let Some(cursor) = journal.cursor("standby") {
        assert!(cursor <= story.cursor.unwrap_or(0).max(story.durable) && cursor < recovery.next, "{what}");
        assert!(cursor + 1 >= recovery.first, "{what}: what the standby needs is gone");
    }
    // What was freed may be back; it is freed again.
    journal.set_cursor("standby", journal.written()).unwrap();
    journal.trim(journal.written());
    let more = entries(recovery.next..recovery.next + 2, 700);
    let range = journal.append(&items(&more)).unwrap();
    assert_eq!(range.start, recovery.next);
    journal.sync().unwrap();
    assert_eq!(read_all(&mut journal.reader(), range.start, 1 << 20), more);
}

enum After {
    Nothing,
    PowerCut(u64),
}

/// One run with a fault at operation `n`; false when the run ended before it came to that.
fn run(config: Config, faults: Faults, after: &After, what: &str) -> bool {
    let disk = FaultyDisk::with_seed(if let After::PowerCut(seed) = after { *seed } else { 0 });
    let mut story = Story { first: 1, ..Story::default() };
    disk.set_faults(faults);
    let result = workload(&disk, config, &mut story);
    let hit = disk.faulted() > 0;
    assert_eq!(result.is_err(), hit, "{what}: {result:?}");
    disk.set_faults(Faults::None);
    if let After::PowerCut(seed) = after {
        disk.power_cut(*seed);
    }
    verify(&disk, config, &story, what);
    hit
}

fn configs() -> [Config; 2] {
    [SyncPolicy::Never, SyncPolicy::Each].map(|sync| Config { sync, total_bytes: 96 << 10, ..SMALL })
}

#[test]
fn each_operation_fails_once() {
    for config in configs() {
        let faults = (1..).take_while(|&n| run(config, Faults::Once(n), &After::Nothing, &format!("{config:?} {n}")));
        assert!(faults.count() > 100);
    }
}

#[test]
fn each_operation_fails_once_and_then_the_power_goes() {
    for config in configs() {
        for seed in 0..6 {
            let hit =
                |&n: &u64| run(config, Faults::Once(n), &After::PowerCut(seed), &format!("{config:?} {n} {seed}"));
            assert!((1..).take_while(hit).count() > 100);
        }
    }
}

#[test]
fn the_disk_dies_for_good_at_each_operation() {
    for config in configs() {
        let hit = |&n: &u64| run(config, Faults::From(n), &After::PowerCut(n), &format!("{config:?} from {n}"));
        assert!((1..).take_while(hit).count() > 100);
    }
}

/// A failed opening, a second failed opening, a failed writer, power cuts in between: all on one disk.
#[test]
fn failures_follow_each_other_on_one_disk() {
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let disk = FaultyDisk::with_seed(seed);
        let config = configs()[rng.below(2) as usize];
        let mut story = Story { first: 1, ..Story::default() };
        for _ in 0..6 {
            disk.set_faults(Faults::Once(rng.below(80) + 1));
            disk.set_short_writes(rng.one_in(2));
            let _ = workload_again(&disk, config, &mut story);
            disk.set_faults(Faults::None);
            match rng.below(3) {
                0 => disk.power_cut(rng.next_u64()),
                1 => disk.kill(),
                _ => {}
            }
        }
        verify(&disk, config, &story, &format!("seed {seed}"));
    }
}

/// One opening and some steps on a disk that has a history.
fn workload_again(disk: &FaultyDisk, config: Config, story: &mut Story) -> Result<(), AppendError> {
    let (mut journal, recovery) = Journal::open(disk.clone(), config)?;
    assert!(recovery.damaged.is_none(), "{recovery:?}");
    assert!(recovery.next > story.durable, "promised {}, {recovery:?}", story.durable);
    story.durable = recovery.next - 1;
    journal.set_cursor("standby", recovery.first - 1)?;
    story.cursor = story.cursor.max(journal.cursor("standby"));
    steps(&mut journal, story)
}

/// Appends without a sync between two syncs; the power goes; many seeds.
#[test]
fn unsynced_writes_are_kept_dropped_and_torn() {
    let mut survivors = std::collections::BTreeSet::new();
    for seed in 0..1500 {
        let disk = FaultyDisk::new();
        let (mut journal, _) = open(&disk, SMALL);
        let all = entries(1..31, 100 + 200 * (seed as usize % 7));
        journal.append(&items(&all[..8])).unwrap();
        assert_eq!(journal.sync().unwrap(), 8);
        all[8..].iter().for_each(|e| {
            journal.append(&items(std::slice::from_ref(e))).unwrap();
        });
        drop(journal);
        disk.power_cut(seed);
        let (journal, recovery) = open(&disk, SMALL);
        assert!(recovery.damaged.is_none() && (9..=31).contains(&recovery.next), "seed {seed}: {recovery:?}");
        let found = read_all(&mut journal.reader(), 1, 1 << 20);
        assert_eq!(found, all[..recovery.next as usize - 1], "seed {seed}");
        survivors.insert(recovery.next);
    }
    assert!(survivors.len() > 6, "{survivors:?}");
}

/// A save of the state that fails may still be seen by the next opening, whose own save must not rely on it.
#[test]
fn a_state_that_is_seen_but_not_on_the_medium_is_not_built_upon() {
    for seed in 0..300 {
        let disk = FaultyDisk::with_seed(seed);
        let (mut journal, _) = open(&disk, SMALL);
        // So many names that a slot takes several sectors and can be torn.
        (0..20).for_each(|i| journal.set_cursor(&format!("{i:060}"), 0).unwrap());
        journal.append(&items(&entries(1..4, 100))).unwrap();
        journal.sync().unwrap();
        (0..20).for_each(|i| journal.set_cursor(&format!("{i:060}"), 3).unwrap());
        disk.set_faults(Faults::Once(2));
        assert!(matches!(journal.checkpoint(), Err(JournalError::Io(_))));
        drop(journal);
        // The next opening gets to a different place each time, and then the power goes.
        disk.set_faults(Faults::From(20 + seed % 20));
        drop(Journal::open(disk.clone(), SMALL));
        disk.set_faults(Faults::None);
        disk.power_cut(seed);
        assert_eq!(open(&disk, SMALL).1.next, 4, "seed {seed}");
    }
}

/// After a cut, items of the lost future lie behind the end; new items of the same size must not join them.
#[test]
fn a_lost_future_never_comes_back() {
    let mut cut = 0;
    for seed in 0..400 {
        let disk = FaultyDisk::new();
        let (mut journal, _) = open(&disk, SMALL);
        entries(100..120, 640).iter().for_each(|e| {
            journal.append(&items(std::slice::from_ref(e))).unwrap();
        });
        drop(journal);
        disk.power_cut(seed);
        let (mut journal, recovery) = open(&disk, SMALL);
        cut += u64::from(recovery.bytes_cut > 0);
        let kept = recovery.next - 1;
        let fresh = entries(200..203, 640);
        journal.append(&items(&fresh)).unwrap();
        journal.sync().unwrap();
        drop(journal);
        let (journal, recovery) = open(&disk, SMALL);
        assert_eq!(recovery.next, kept + 4, "seed {seed}: {recovery:?}");
        assert!(recovery.damaged.is_none(), "seed {seed}: {recovery:?}");
        assert_eq!(read_all(&mut journal.reader(), kept + 1, 1 << 20), fresh);
    }
    assert!(cut > 50, "{cut}");
}

#[test]
fn no_space_is_said_and_opening_works_once_there_is_some() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(40 << 10));
    let error = Journal::open(disk.clone(), SMALL).err().unwrap();
    assert!(matches!(error, JournalError::NoSpace { want: 65536, .. }), "{error}");
    assert!(error.to_string().contains("65536 bytes"), "{error}");
    assert_eq!(journal::Disk::list(&disk).unwrap(), Vec::<String>::new());
    disk.set_capacity(Some(80 << 10));
    let (mut journal, _) = open(&disk, SMALL);
    // All space was reserved: a full disk does not stop it.
    disk.set_capacity(Some(0));
    for i in 0..60 {
        journal.append(&items(&entries(i..i + 3, 1000))).unwrap();
        journal.sync().unwrap();
        journal.trim(journal.written());
    }
    drop(journal);
    assert!(!open(&disk, SMALL).1.created);
}

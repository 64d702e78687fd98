use super::*;

const V: VolumeIndex = VolumeIndex(0);
const W: VolumeIndex = VolumeIndex(1);
const SECOND: Duration = Duration::from_secs(1);
const SIZE: u64 = 10_000;

fn empty(max_pieces: usize) -> OutOfSync {
    let mut holes = OutOfSync::new(HealConfig { region_size: 4096, max_pieces, ..HealConfig::default() });
    holes.set_volumes(alloc::vec![SIZE, SIZE], Some);
    holes
}

fn row(id: &str) -> Option<RowIndex> {
    RowIndex::named(id)
}

fn failure(place: u64) -> Failure {
    Failure { place, reason: row("write-error"), attempt: false }
}

fn attempt(place: u64) -> Failure {
    Failure { attempt: true, ..failure(place) }
}

fn hole(offset: u64, len: u64) -> Hole {
    Hole { volume: V, range: ByteRange::new(offset, len), reason: row("write-error") }
}

fn all(holes: &OutOfSync) -> Vec<(u16, u64, u64)> {
    holes.iter().map(|(hole, _)| (hole.volume.0, hole.range.offset, hole.range.len)).collect()
}

#[test]
fn a_hole_is_asked_for_again_with_growing_waits_until_it_is_healed() {
    let mut holes = empty(9);
    holes.mark(V, ByteRange::new(4000, 200), failure(7), Now::ZERO);
    assert_eq!((holes.pieces(), holes.bytes(), holes.poll_timeout()), (1, 200, Some(SECOND)));
    assert_eq!(holes.next_due(Now::ZERO), None);
    assert_eq!((holes.next_due(SECOND), holes.next_due(SECOND)), (Some(hole(4000, 200)), None));
    assert_eq!(holes.poll_timeout(), None);
    // The region that was sent is larger; the device took its first half.
    assert_eq!(holes.written(V, ByteRange::new(0, 4096), 8), 96);
    holes.mark(V, ByteRange::new(4096, 4096), attempt(9), SECOND);
    assert_eq!(all(&holes), [(0, 4096, 104), (0, 4200, 3992)], "never tried before, so its own wait");
    assert_eq!(holes.next_due(2 * SECOND), Some(hole(4200, 3992)));
    assert_eq!(holes.poll_timeout(), Some(3 * SECOND));
    for _ in 0..40 {
        let due = holes.poll_timeout().unwrap();
        assert_eq!(holes.next_due(due), Some(hole(4096, 104)));
        holes.mark(V, ByteRange::new(4096, 104), attempt(10), due);
        assert!(holes.poll_timeout().unwrap() - due <= Duration::from_secs(300));
    }
    assert!(holes.iter().any(|(_, attempts)| attempts == 41));
    assert_eq!(holes.written(V, ByteRange::new(0, SIZE), 11), 4096, "nobody asked for it");
    assert_eq!((holes.has_holes(), holes.healed_bytes()), (false, 4192));
}

/// Content from before the last failure is no cure for it.
#[test]
fn only_what_comes_after_the_failure_heals_and_only_where_it_is_written() {
    let mut holes = empty(9);
    holes.mark(V, ByteRange::new(0, 512), failure(7), Now::ZERO);
    assert_eq!(holes.next_due(SECOND), Some(hole(0, 512)));
    holes.mark(V, ByteRange::new(256, 256), failure(9), SECOND);
    assert_eq!(holes.written(V, ByteRange::new(0, 4096), 6), 0);
    assert_eq!(holes.written(W, ByteRange::new(0, 4096), 10), 0);
    assert_eq!(holes.written(V, ByteRange::new(0, 4096), 8), 256, "what failed at 7");
    assert_eq!(holes.written(V, ByteRange::new(256, 100), 10), 100);
    assert_eq!(all(&holes), [(0, 356, 156)]);
    assert_eq!(holes.next_due(3 * SECOND), Some(hole(356, 156)), "it failed after it was asked for");
    holes.disconnected();
    assert_eq!(holes.next_due(3 * SECOND), None, "no sooner than its wait");
    assert_eq!(holes.next_due(4 * SECOND), Some(hole(356, 156)));
    assert_eq!(holes.written(V, ByteRange::new(0, 4096), 9), 156, "the entry itself, applied again");
}

#[test]
fn too_many_pieces_are_rounded_outward_and_end_with_the_volume() {
    let mut holes = empty(4);
    (0..5).for_each(|n| holes.mark(V, ByteRange::new(n * 1000, 10), failure(n), Now::ZERO));
    assert_eq!(all(&holes), [(0, 0, 4096)]);
    holes.mark(W, ByteRange::new(9_999, 1), failure(6), Now::ZERO);
    holes.mark(W, ByteRange::new(9_999, u64::MAX), failure(6), Now::ZERO);
    (0..4).for_each(|n| holes.mark(W, ByteRange::new(n * 3000, 10), failure(n), Now::ZERO));
    assert!(holes.pieces() <= 4, "{:?}", all(&holes));
    assert!(holes.iter().all(|(hole, _)| hole.range.end() <= SIZE));
    assert_eq!(holes.written(W, ByteRange::new(0, SIZE), 5), 0, "the latest failure counts for what was joined");
}

/// The waits of a volume must not start anew whenever another write fails there.
#[test]
fn marking_again_keeps_the_back_off() {
    let mut holes = empty(9);
    (0..6).for_each(|place| holes.mark_volume(V, attempt(place), Now::ZERO));
    holes.mark_volume(V, failure(9), Now::ZERO);
    assert_eq!((holes.pieces(), holes.poll_timeout()), (1, Some(32 * SECOND)));
}

#[test]
fn what_was_recorded_comes_back_and_follows_its_volume() {
    let mut holes = empty(9);
    let recorded = [hole(0, 512), Hole { volume: W, reason: None, ..hole(100, SIZE) }];
    holes.restore(&recorded, 20);
    assert_eq!(all(&holes), [(0, 0, 512), (1, 100, SIZE - 100)]);
    assert_eq!(holes.iter().nth(1).and_then(|(hole, _)| hole.reason), None);
    assert_eq!(holes.written(V, ByteRange::new(0, 512), 19), 0, "from before");
    holes.set_volumes(alloc::vec![200], |volume| (volume == W).then_some(V));
    assert_eq!(all(&holes), [(0, 100, 100)], "a smaller volume, and only that one");
}

#[test]
fn device_state_is_no_hole_of_content() {
    let mut holes = empty(9);
    holes.mark_state(V);
    assert!(!holes.has_holes() && holes.state_differs().eq([V]));
    holes.state_healed(V);
    assert_eq!(holes.state_differs().count(), 0);
}

#[test]
fn unreadable_blocks_are_cleared_by_the_next_write_and_by_no_other() {
    let mut blocks = UnreadableBlocks::default();
    [0, 512, 1024].iter().for_each(|&offset| blocks.add(V, offset));
    blocks.add(W, 512);
    assert_eq!(blocks.written(V, ByteRange::new(512, 512)), 1);
    assert!(blocks.iter().eq([(V, 0), (V, 1024), (W, 512)]));
    assert_eq!(blocks.written(VolumeIndex(2), ByteRange::new(0, u64::MAX)), 0);
    assert_eq!(blocks.written(V, ByteRange::new(0, 0)), 0);
    assert_eq!((blocks.iter().count(), blocks.unnamed()), (3, 0));
}

/// The same, byte by byte.
mod naive {
    use super::*;

    const BYTES: u64 = 40;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Byte {
        after: u64,
        attempts: u32,
        due: u64,
        asked: bool,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Fail { volume: u16, offset: u64, len: u64, place: u64, attempt: bool },
        Write { volume: u16, offset: u64, len: u64, place: u64 },
        Ask { seconds: u64 },
        Disconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = || (0u16..2, 0u64..BYTES, 0u64..12, 0u64..6);
        prop_oneof![
            3 => (place(), any::<bool>())
                .prop_map(|((volume, offset, len, place), attempt)| Step::Fail { volume, offset, len, place, attempt }),
            3 => place().prop_map(|(volume, offset, len, place)| Step::Write { volume, offset, len, place }),
            2 => (0u64..4).prop_map(|seconds| Step::Ask { seconds }),
            1 => Just(Step::Disconnect),
        ]
    }

    fn wait(attempts: u32) -> u64 {
        (1 << attempts.min(20)).min(300)
    }

    type Model = Vec<[Option<Byte>; BYTES as usize]>;

    fn bytes(model: &mut Model, volume: u16, offset: u64, len: u64) -> &mut [Option<Byte>] {
        &mut model[usize::from(volume)][offset as usize..(offset + len).min(BYTES) as usize]
    }

    fn apply(model: &mut Model, step: Step, now: u64) {
        match step {
            Step::Fail { volume, offset, len, place, attempt } => {
                for byte in bytes(model, volume, offset, len) {
                    let Some(old) = byte else {
                        *byte = Some(Byte { after: place, attempts: 0, due: now + 1, asked: false });
                        continue;
                    };
                    (old.after, old.asked) = (old.after.max(place), false);
                    if attempt {
                        old.attempts += 1;
                        old.due = now + wait(old.attempts);
                    }
                }
            }
            Step::Write { volume, offset, len, place } => {
                for byte in bytes(model, volume, offset, len) {
                    *byte = byte.filter(|old| old.after > place);
                }
            }
            Step::Ask { .. } => {
                for byte in model.iter_mut().flatten().flatten().filter(|byte| !byte.asked && byte.due <= now) {
                    (byte.asked, byte.due) = (true, now + wait(byte.attempts));
                }
            }
            Step::Disconnect => model.iter_mut().flatten().flatten().for_each(|byte| byte.asked = false),
        }
    }

    fn on(holes: &mut OutOfSync, step: Step, now: Now) -> Vec<(u16, u64)> {
        match step {
            Step::Fail { volume, offset, len, place, attempt } => {
                let failure = Failure { place, reason: row("hardware"), attempt };
                holes.mark(VolumeIndex(volume), ByteRange::new(offset, len), failure, now);
            }
            Step::Write { volume, offset, len, place } => {
                holes.written(VolumeIndex(volume), ByteRange::new(offset, len), place);
            }
            Step::Ask { .. } => {
                let asked = core::iter::from_fn(|| holes.next_due(now));
                let each = |hole: Hole| (hole.range.offset..hole.range.end()).map(move |byte| (hole.volume.0, byte));
                return asked.flat_map(each).collect();
            }
            Step::Disconnect => holes.disconnected(),
        }
        Vec::new()
    }

    fn wanted(model: &Model, holds: impl Fn(&Byte) -> bool) -> BTreeSet<(u16, u64)> {
        let each =
            model.iter().enumerate().flat_map(|(v, bytes)| bytes.iter().enumerate().map(move |(b, byte)| (v, b, byte)));
        each.filter_map(|(v, b, byte)| byte.filter(|byte| holds(byte)).map(|_| (v as u16, b as u64))).collect()
    }

    fn marked(holes: &OutOfSync) -> BTreeSet<(u16, u64)> {
        let each = |hole: Hole| (hole.range.offset..hole.range.end()).map(move |byte| (hole.volume.0, byte));
        holes.iter().flat_map(|(hole, _)| each(hole)).collect()
    }

    fn fresh(max_pieces: usize) -> (OutOfSync, Model) {
        let mut holes = OutOfSync::new(HealConfig { region_size: 4, max_pieces, ..HealConfig::default() });
        holes.set_volumes(alloc::vec![BYTES; 2], Some);
        (holes, alloc::vec![[None; BYTES as usize]; 2])
    }

    proptest! {
        #[test]
        fn equals_the_bytes_one_by_one(steps in proptest::collection::vec(step(), 0..60)) {
            let (mut holes, mut model) = fresh(1000);
            let mut now = 0;
            for step in steps {
                if let Step::Ask { seconds } = step {
                    now += seconds;
                }
                let due = wanted(&model, |byte| !byte.asked && byte.due <= now);
                apply(&mut model, step, now);
                let asked: BTreeSet<_> = on(&mut holes, step, Duration::from_secs(now)).into_iter().collect();
                if matches!(step, Step::Ask { .. }) {
                    prop_assert_eq!(asked, due);
                }
                prop_assert_eq!(marked(&holes), wanted(&model, |_| true));
                prop_assert_eq!(holes.bytes(), wanted(&model, |_| true).len() as u64);
                let next = model.iter().flatten().flatten().filter(|byte| !byte.asked).map(|byte| byte.due).min();
                prop_assert_eq!(holes.poll_timeout(), next.map(Duration::from_secs));
                let bytes = model.iter().flatten().filter(|byte| byte.is_some()).count();
                prop_assert!(holes.pieces() <= bytes);
            }
        }

        /// Bounded, it knows of every byte that is out of sync, and of others perhaps.
        #[test]
        fn with_a_bound_nothing_is_forgotten(steps in proptest::collection::vec(step(), 0..60)) {
            let (mut holes, mut model) = fresh(4);
            for (now, step) in (0..).zip(steps) {
                apply(&mut model, step, now);
                on(&mut holes, step, Duration::from_secs(now));
                prop_assert!(marked(&holes).is_superset(&wanted(&model, |_| true)));
                prop_assert!(holes.pieces() <= 4);
            }
        }
    }
}

//! Captured writes that one thread begins and nobody waits for.

use bytes::Bytes;
use formats::scsi::Sense;
use pool::list::apply_all;
use pool::{Done, Job, Outcome as Ended};

use super::*;
use crate::scsi::fake::{Queued, Whim};

const AS_ASKED: Ended = Ended::Applied(Effect::AsAsked);

/// A rig whose device has a queue with these whims, if any.
fn rig(whims: &[Whim]) -> (Arc<Fake>, Arc<ScsiTarget>) {
    let disk = Arc::new(Fake::disk(BLOCKS));
    let device: Arc<dyn ScsiDevice> = match whims {
        [] => Arc::clone(&disk) as _,
        whims => Arc::new(Queued(Arc::clone(&disk), whims.to_vec())),
    };
    let target = ScsiTarget::open(device, Options { policy: quick(), ..Options::new("/dev/fake".into()) }).unwrap();
    disk.lock().seen.clear();
    (disk, Arc::new(target))
}

fn write(lba: u64) -> Shot {
    Shot::write(lba, &build::write_10(lba as u32, 1, Access::default()), &[lba as u8 + 1; BLOCK])
}

fn dispatched(target: &Arc<ScsiTarget>, shots: &[Shot]) -> Vec<Done> {
    let jobs = shots.iter().zip(0..).map(|(shot, index)| {
        let (header, payload) = shot.entry();
        let target = Arc::clone(target) as Arc<dyn Target>;
        Job { index, header, payload: Bytes::from(payload), target: Some(target) }
    });
    apply_all(jobs)
}

fn one_by_one(target: &ScsiTarget, shots: &[Shot]) -> Vec<Done> {
    let one = |(shot, index): (&Shot, u64)| Done { index, outcome: shot.apply_to(target) };
    shots.iter().zip(0..).map(one).collect()
}

fn words(done: &[Done]) -> Vec<String> {
    done.iter().map(|done| format!("{} {:?}", done.index, done.outcome)).collect()
}

#[test]
fn whatever_the_queue_does_all_writes_are_applied_and_counted_once() {
    let shots: Vec<Shot> = (0..100).map(write).collect();
    let (disk, plain) = rig(&[]);
    one_by_one(&plain, &shots);
    let content = disk.lock().content.clone();
    let wanted = (content, CommandTarget::rows(&*plain));
    for (whims, queued) in [
        (&[Whim::Over][..], 100),
        (&[Whim::TooEarly], 100),
        (&[Whim::NotTaken], 0),
        (&[Whim::Unheard], 100),
        (&[Whim::Over, Whim::Unheard, Whim::TooEarly, Whim::NotTaken], 75),
    ] {
        let (disk, target) = rig(whims);
        let done = dispatched(&target, &shots);
        assert!(done.iter().all(|done| matches!(done.outcome, Ok(AS_ASKED))) && done.len() == 100, "{whims:?}");
        let disk = disk.lock();
        assert!(disk.content == wanted.0 && disk.queued == queued, "{whims:?}: {}", disk.queued);
        assert_eq!(CommandTarget::rows(&*target), wanted.1, "{whims:?}");
    }
}

#[test]
fn only_writes_that_need_nothing_else_are_begun() {
    let (disk, target) = rig(&[Whim::Over]);
    let durable = build::write_10(4, 1, Access::FUA);
    let (unmap, list) = build::unmap(&[LbaRange::new(8, 8)], false).unwrap();
    let shots = [
        write(1),
        Shot::write(4, &durable, &[9; BLOCK]),
        Shot::new(&unmap, &list),
        Shot { range: ByteRange::new(20 * 512, 1024), content: vec![5; 1024], ..write(20) },
        write(30).failed(check(SenseKey::MediumError, 0x0c, 0)),
        Shot { flags: CommandFlags::DATA_MISSING, ..write(31) },
        write(BLOCKS + 1),
    ];
    let done = dispatched(&target, &shots);
    // The device takes FUA, and the last one is refused by the device itself.
    assert_eq!(disk.lock().queued, 3, "{done:?}");
    let (other, plain) = rig(&[]);
    assert_eq!(words(&done), words(&one_by_one(&plain, &shots)));
    assert!(disk.lock().content == other.lock().content);
}

#[test]
fn an_attention_that_a_begun_write_hears_is_heard_by_the_table() {
    let changed = check(SenseKey::UnitAttention, 0x2a, 1);
    let deferred =
        Outcome::check(Sense { deferred: true, ..Sense::new(SenseKey::MediumError, formats::scsi::Asc::new(3, 0)) });
    let busy = Outcome::with_status(ScsiStatus::Busy);
    for told in
        [changed, check(SenseKey::UnitAttention, 0x29, 0), busy, deferred, check(SenseKey::MediumError, 0x0c, 2)]
    {
        let ((disk, target), (other, plain)) = (rig(&[Whim::Over]), rig(&[]));
        disk.answer(0x2a, Ok(told));
        other.answer(0x2a, Ok(told));
        let shots = [write(5)];
        assert_eq!(words(&dispatched(&target, &shots)), words(&one_by_one(&plain, &shots)), "{told}");
        let cdbs = |disk: &Fake| disk.lock().seen.iter().map(|seen| seen.cdb.clone()).collect::<Vec<_>>();
        assert_eq!(cdbs(&disk), cdbs(&other), "{told}");
        assert_eq!(CommandTarget::rows(&*target), CommandTarget::rows(&*plain), "{told}");
        assert_eq!(disk.lock().queued, 1);
    }
}

#[test]
fn a_damaged_payload_is_never_begun() {
    let (disk, target) = rig(&[Whim::Over]);
    let (header, mut payload) = write(5).entry();
    payload[7] ^= 1;
    let job = Job { index: 0, header, payload: Bytes::from(payload), target: Some(target as Arc<dyn Target>) };
    let done = apply_all([job]);
    assert!(matches!(done[0].outcome, Err(ApplyError::Damaged { .. })) && disk.lock().seen.is_empty(), "{done:?}");
}

//! Crash states of small made-up workloads, looked at by real commands.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use captures::explore::{
    Cache, Check, CheckError, CommandFate, ExploreError, FateName, Report, Request, Verdict, explore,
};
use captures::{Base, Device, ImageError, Moment, Writer};
use common::{Written, devices, entry, record, section, statistics};
use formats::{ByteRange, Op, Status};

const SIZE: u64 = 1 << 20;

fn device() -> Device {
    Device { size: SIZE, ..devices().swap_remove(0) }
}

fn capture(folder: &Path, entries: &[Written]) -> PathBuf {
    let mut writer = Writer::new(Vec::new(), &section(), &[device()]).unwrap();
    entries.iter().for_each(|(header, payload)| writer.write(header, payload).unwrap());
    writer.statistics(&statistics(entries.len() as u64)).unwrap();
    let path = folder.join("capture");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path
}

fn write(seq: u64, sector: u64, byte: u8) -> Written {
    entry(record(seq, 0, Op::Write, ByteRange::new(sector * 512, 512), Status::OK), &[byte; 512], &[])
}

fn flush(seq: u64) -> Written {
    entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[])
}

struct Scene {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Scene {
    fn new(entries: &[Written]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![capture(folder.path(), entries)];
        Self { folder, files }
    }

    fn explore<'a>(&'a self, check: &str, change: impl FnOnce(&mut Request<'a>)) -> Result<Report, ExploreError> {
        let mut request = Request {
            files: &self.files,
            volume: None,
            base: Base::Blank,
            check: Check::new(check, Duration::from_secs(60))?,
            from: Moment::Seq(formats::Seq(0)),
            until: Moment::End,
            every: None,
            samples: 12,
            window: 4096,
            tear: 512,
            seed: 1,
            cache: Cache::WriteBack,
            jobs: 2,
            folder: self.folder.path(),
            output: None,
            force: false,
            keep_going: false,
            minimise: 200,
            allow_holes: false,
        };
        change(&mut request);
        let report = explore(&request, &|_, _, _| {}, &AtomicBool::new(false));
        let left = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let left = left.filter(|file| file.file_name().to_string_lossy().contains("blkecho-")).count();
        assert_eq!(left, 0, "nothing is left behind");
        report
    }
}

/// Fails where sector 1 holds a commit (C) and sector 0 not what was committed (D).
const COMMITTED: &str = "byte() { dd if={} bs=1 skip=$1 count=1 2>/dev/null; }
    test \"$(byte 512)\" != C || test \"$(byte 0)\" = D";

/// Data, then its commit, each time at the same place; `flushes` between them, or not.
fn transactions(flushes: bool) -> Vec<Written> {
    let mut entries = Vec::new();
    for round in 0..4u64 {
        let noise = |entries: &mut Vec<Written>| {
            for sector in 0..5 {
                entries.push(write(entries.len() as u64 + 1, 100 + round * 10 + sector, b'n'));
            }
        };
        let add =
            |entries: &mut Vec<Written>, sector, byte| entries.push(write(entries.len() as u64 + 1, sector, byte));
        let end = |entries: &mut Vec<Written>| entries.push(flush(entries.len() as u64 + 1));
        noise(&mut entries);
        add(&mut entries, 0, b'D');
        if flushes {
            end(&mut entries);
        }
        noise(&mut entries);
        add(&mut entries, 1, b'C');
        end(&mut entries);
        // The commit goes before the data does.
        add(&mut entries, 1, b'-');
        end(&mut entries);
        add(&mut entries, 0, b'-');
        end(&mut entries);
    }
    entries
}

#[test]
fn a_right_order_has_no_failing_state() {
    let report = Scene::new(&transactions(true)).explore(COMMITTED, |_| {}).unwrap();
    assert!(report.failing.is_none(), "{report:#?}");
    assert!(report.states > 100 && report.checks > 50 && report.equal > 0, "{report:#?}");
    assert_eq!(report.states, report.equal + report.checks);
}

#[test]
fn a_missing_flush_is_found_and_the_two_commands_are_named() {
    let scene = Scene::new(&transactions(false));
    let output = scene.folder.path().join("failing");
    let report = scene.explore(COMMITTED, |request| request.output = Some(&output)).unwrap();
    let failing = report.failing.expect("found");
    let named = |list: &[CommandFate]| -> Vec<(u64, FateName)> {
        list.iter().map(|command| (command.seq, command.fate)).collect()
    };
    // The data of the first round is record 6, its commit record 12, the flush after both record 13.
    assert_eq!(failing.seq, 12);
    assert_eq!(named(&failing.difference), [(6, FateName::Lost)]);
    assert_eq!(named(&failing.needed), [(12, FateName::Kept)]);
    assert!(failing.minimal && failing.verdict == Verdict::Failed(1), "{failing:#?}");
    let image = std::fs::read(&output).unwrap();
    assert_eq!((image.len() as u64, image[0], image[512], image[100 * 512]), (SIZE, 0, b'C', 0));
    assert_eq!(failing.image, Some(output));
    // The same seed, and any number of workers, find the same.
    let alone = scene.explore(COMMITTED, |request| request.jobs = 1).unwrap().failing.expect("found");
    assert_eq!((alone.seq, named(&alone.difference)), (12, vec![(6, FateName::Lost)]));
    let all = scene.explore(COMMITTED, |request| request.keep_going = true).unwrap();
    assert!(all.failing_states > 1 && all.failing.expect("found").seq == 12);
}

#[test]
fn a_disk_without_a_volatile_cache_loses_nothing_that_completed() {
    let report = Scene::new(&transactions(false)).explore(COMMITTED, |request| request.cache = Cache::WriteThrough);
    assert!(report.unwrap().failing.is_none());
}

#[test]
fn a_write_is_torn_between_its_sectors() {
    let bytes = [[1u8; 512], [2; 512]].concat();
    let entries = [entry(record(1, 0, Op::Write, ByteRange::new(0, 1024), Status::OK), &bytes, &[]), flush(2)];
    let halves = "set -- $(od -An -tu1 -j511 -N2 {}); test $1$2 = 00 || test $1$2 = 12";
    let failing = Scene::new(&entries).explore(halves, |request| request.samples = 30).unwrap().failing;
    let failing = failing.expect("half of it is no state that the check knows");
    assert_eq!(failing.difference.len(), 1);
    assert!(failing.difference[0].part.is_some(), "{failing:#?}");
    for whole in [0, 1024] {
        let report = Scene::new(&entries).explore(halves, |request| (request.samples, request.tear) = (30, whole));
        assert!(report.unwrap().failing.is_none(), "a disk that writes {whole} bytes in one piece");
    }
}

#[test]
fn a_loss_among_what_is_whole_is_found_too() {
    // After the last flush the state is bad although nothing was lost.
    let entries = [write(1, 1, b'x'), flush(2), write(3, 1, b'C'), flush(4)];
    let failing = Scene::new(&entries).explore(COMMITTED, |_| {}).unwrap().failing.expect("found");
    assert!(failing.seq == 3 && failing.difference.is_empty(), "{failing:#?}");
    assert_eq!(failing.needed.iter().map(|command| command.seq).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_check_that_hangs_is_a_failing_state() {
    let entries = [write(1, 0, b'D'), flush(2)];
    let hangs = "test \"$(dd if={} bs=1 count=1 2>/dev/null)\" != D || sleep 1000";
    let check = Check::new(hangs, Duration::from_millis(300)).unwrap();
    let failing = Scene::new(&entries).explore(hangs, |request| request.check = check).unwrap().failing;
    assert_eq!(failing.expect("found").verdict, Verdict::TimedOut);
}

#[test]
fn what_cannot_be_explored_is_named() {
    let scene = Scene::new(&transactions(true));
    let refused = |check: &str, change: fn(&mut Request<'_>)| scene.explore(check, change).expect_err("refused");
    assert!(matches!(refused("true", |_| {}), ExploreError::Check(CheckError::NoPlace(_))));
    assert!(matches!(refused("no-such-check {}", |_| {}), ExploreError::Check(CheckError::CannotRun { .. })));
    let error = refused("echo no good; test ! -e {}", |_| {});
    assert!(matches!(&error, ExploreError::FailsAtStart { .. }) && error.to_string().contains("no good"), "{error}");
    let nothing = refused("true {}", |request| request.from = Moment::End);
    assert!(matches!(nothing, ExploreError::Nothing { .. }), "{nothing}");
    assert!(matches!(refused("true {}", |request| request.volume = Some("sdx")), ExploreError::Series(_)));
    let mark = refused("true {}", |request| request.until = Moment::Mark("none".into()));
    assert!(matches!(mark, ExploreError::Capture(_) | ExploreError::Moment(_)), "{mark}");
    let there = scene.explore("true {}", |request| request.output = Some(Path::new("/dev/null")));
    assert!(matches!(there, Err(ExploreError::Image(_))));
    let capture = scene.files[0].clone();
    let onto_itself = scene.explore("true {}", |request| {
        request.output = Some(&request.files[0]);
        request.force = true;
    });
    assert!(matches!(onto_itself, Err(ExploreError::Image(ImageError::IsInput(path))) if path == capture));
    let stopped = AtomicBool::new(true);
    let check = Check::new("true {}", Duration::from_secs(1)).unwrap();
    assert!(matches!(check.run(Path::new("x"), &stopped), Err(CheckError::Interrupted)));
}

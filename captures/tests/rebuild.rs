//! Earlier moments of a volume, against a volume kept in memory and changed step by step.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use captures::rebuild::{RebuildError, Report, Request, rebuild};
use captures::{Base, Device, ImageError, Moment, MomentError, Section, SeriesError, Statistics, Writer};
use common::{START, Written, devices, entry, record, section, statistics, trailer};
use formats::entry::PayloadInfo;
use formats::{ByteRange, Entry, EntryHeader, Gap, Op, PayloadEncoding, Position, Seq, Status};

const SIZE: u64 = 1 << 20;
const SECTORS: u64 = SIZE / 512;

/// Numbers that only their seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn small() -> Vec<Device> {
    devices().into_iter().map(|device| Device { size: SIZE, ..device }).collect()
}

fn bytes(random: &mut Random, len: u64) -> Vec<u8> {
    let byte = random.below(256) as u8;
    // Some of it zero, so that pages of zeros come about.
    if random.below(4) == 0 { vec![0; len as usize] } else { (0..len).map(|at| byte ^ (at / 512) as u8).collect() }
}

/// An entry that does something, or fails to, and what the volume holds then.
fn step(seq: u64, random: &mut Random, model: &mut [u8]) -> Written {
    let first = random.below(SECTORS);
    let range = ByteRange::new(first * 512, (1 + random.below((SECTORS - first).min(64))) * 512);
    let place = range.offset as usize..range.end() as usize;
    let plain = |op, status| record(seq, 0, op, range, status);
    match random.below(12) {
        0 => entry(record(seq, 0, Op::Flush, ByteRange::default(), Status::OK), &[], &[]),
        1 => {
            model[place].fill(0);
            entry(plain(Op::WriteZeroes, Status::OK), &[], &[])
        }
        2 => {
            model[place].fill(0);
            entry(plain(Op::Discard, Status::OK), &[], &[])
        }
        3 => {
            model[place].fill(0);
            let (mut header, _) = entry(plain(Op::Write, Status::OK), &[], &[]);
            header.payload.encoding = PayloadEncoding::Zero;
            (header, Vec::new())
        }
        // WRITE SAME(10) of 2 blocks: in the trailer, without a range.
        4 => {
            let lba = random.below(SECTORS - 2);
            let block = vec![seq as u8; 512];
            model[lba as usize * 512..][..1024].fill(seq as u8);
            let cdb = [0x41, 0, 0, 0, (lba >> 8) as u8, lba as u8, 0, 0, 2, 0];
            entry(record(seq, 0, Op::Scsi, ByteRange::default(), Status::OK), &[], &trailer(&cdb, 0, &[], &block, 512))
        }
        // Another volume.
        5 => entry(record(seq, 3, Op::Write, range, Status::OK), &bytes(random, range.len), &[]),
        // TEST UNIT READY.
        6 => entry(record(seq, 0, Op::Scsi, ByteRange::default(), Status::OK), &[], &trailer(&[0; 6], 0, &[], &[], 0)),
        _ => {
            let bytes = bytes(random, range.len);
            model[place].copy_from_slice(&bytes);
            entry(plain(Op::Write, Status::OK), &bytes, &[])
        }
    }
}

struct Scene {
    folder: tempfile::TempDir,
    base: PathBuf,
}

impl Scene {
    /// With a base of `content`.
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::write(&base, content).unwrap();
        Self { folder, base }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of these entries.
    fn capture(&self, name: &str, section: &Section, entries: &[Written], end: Option<&Statistics>) -> PathBuf {
        let mut writer = Writer::new(Vec::new(), section, &small()).unwrap();
        entries.iter().for_each(|(header, payload)| writer.write(header, payload).unwrap());
        end.iter().for_each(|end| writer.statistics(end).unwrap());
        let path = self.path(name);
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    }

    fn rebuild(&self, files: &[PathBuf], at: &str, output: &Path) -> Result<Report, RebuildError> {
        self.request(files, at, output, false)
    }

    fn request(&self, files: &[PathBuf], at: &str, output: &Path, allow: bool) -> Result<Report, RebuildError> {
        let request = Request {
            files,
            volume: Some("loop0"),
            base: Base::open(&self.base)?,
            at: at.parse().unwrap(),
            output,
            force: true,
            allow_holes: allow,
        };
        let done = rebuild(&request, &mut |_, _, _| true);
        let leftovers = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let aside = leftovers.filter(|file| file.file_name().to_string_lossy().ends_with(".part")).count();
        assert_eq!(aside, 0, "nothing is left aside");
        done
    }
}

#[test]
fn two_hundred_moments_equal_a_volume_kept_step_by_step() {
    let mut random = Random(11);
    let base: Vec<u8> = (0..SIZE).map(|at| if at < SIZE / 2 { (at / 4096) as u8 } else { 0 }).collect();
    let scene = Scene::new(&base);
    let mut model = base;
    let (mut entries, mut kept) = (Vec::new(), vec![model.clone()]);
    for seq in 1..=900 {
        entries.push(step(seq, &mut random, &mut model));
        kept.push(model.clone());
    }
    // Three files of one capture.
    let files: Vec<PathBuf> = entries
        .chunks(300)
        .enumerate()
        .map(|(at, part)| scene.capture(&format!("{at}.pcapng"), &section(), part, Some(&statistics(300))))
        .collect();
    let output = scene.path("image");
    for _ in 0..200 {
        let seq = random.below(901);
        // The same moment by its time: `record` says when it completed.
        let by_time = format!("+{}us", seq * 100 + 60);
        let at = if seq > 0 && random.below(2) == 0 { by_time } else { seq.to_string() };
        let report = scene.rebuild(&files, &at, &output).expect("whole");
        assert_eq!((report.seq, report.holes), (seq, 0), "{at}");
        assert!(std::fs::read(&output).unwrap() == kept[seq as usize], "at {at}");
    }
}

fn write(seq: u64, sector: u64, sectors: u64, status: Status) -> Written {
    let range = ByteRange::new(sector * 512, sectors * 512);
    entry(record(seq, 0, Op::Write, range, status), &vec![seq as u8; range.len as usize], &[])
}

#[test]
fn marks_are_moments() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let mut writer = Writer::new(Vec::new(), &section(), &small()).unwrap();
    let add = |writer: &mut Writer<Vec<u8>>, seq| {
        let (header, payload) = write(seq, seq, 1, Status::OK);
        writer.write(&header, &payload).unwrap();
    };
    add(&mut writer, 1);
    writer.mark(START, "first").unwrap();
    add(&mut writer, 2);
    writer.mark(START, "twice").unwrap();
    writer.mark(START, "twice").unwrap();
    let path = scene.path("capture");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let output = scene.path("image");
    let report = scene.rebuild(std::slice::from_ref(&path), "first", &output).unwrap();
    assert_eq!((report.seq, report.ended_in_order), (1, false));
    let refused = |at: &str| scene.rebuild(std::slice::from_ref(&path), at, &output).expect_err("no such moment");
    assert!(matches!(refused("nowhere"), RebuildError::Moment(MomentError::NoMark(_))));
    assert!(matches!(refused("twice"), RebuildError::Moment(MomentError::ManyMarks { count: 2, .. })));
    assert!(matches!(refused("3"), RebuildError::Moment(MomentError::SeqBeyond { .. })));
    assert!(matches!(refused("1999-01-01T00:00:00Z"), RebuildError::Moment(MomentError::TimeOutside { .. })));
    assert!(matches!(refused("+1h"), RebuildError::Moment(MomentError::TimeOutside { .. })));
}

#[test]
fn a_hole_is_named_until_it_is_written_again() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let lost = {
        let (mut header, _) = write(3, 8, 8, Status::OK);
        header.payload = PayloadInfo::NONE;
        (header, Vec::new())
    };
    let entries = [
        write(1, 0, 1, Status::OK),
        write(2, 4, 2, Status(10)),
        lost,
        write(4, 4, 2, Status::OK),
        write(5, 0, 16, Status::OK),
    ];
    let file = [scene.capture("capture", &section(), &entries, Some(&statistics(5)))];
    let output = scene.path("image");
    let holes = |at: &str| match scene.rebuild(&file, at, &output) {
        Ok(_) => 0,
        Err(RebuildError::Holes { count, holes }) => {
            assert!(!output.exists(), "no image with a hole");
            assert!(holes.iter().all(|hole| (2..=3).contains(&hole.seq)));
            count
        }
        Err(other) => panic!("{other}"),
    };
    assert_eq!(["2", "3", "4"].map(holes), [1, 2, 1]);
    let report = scene.request(&file, "3", &output, true).unwrap();
    assert_eq!((report.holes, report.hole_list[0].offset), (2, 4 * 512));
    assert_eq!(scene.rebuild(&file, "5", &output).unwrap().holes, 0);
}

#[test]
fn what_a_capture_as_a_whole_lacks_is_named() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let output = scene.path("image");
    let text = |section: &Section, entries: &[Written], end: &Statistics| {
        let file = [scene.capture("capture", section, entries, Some(end))];
        scene.rebuild(&file, "end", &output).expect_err("refused").to_string()
    };
    let plain = [write(1, 0, 1, Status::OK)];
    let none = Section { payload: false, ..section() };
    assert!(text(&none, &plain, &statistics(1)).contains("without payload"));
    let mut lossy = statistics(1);
    lossy.lost.unwritten = 4;
    assert!(text(&section(), &plain, &lossy).contains("4 completions were lost"));
    // What an earlier file lost counts too.
    let parts = [(1, &lossy), (2, &statistics(1))]
        .map(|(seq, end)| scene.capture(&format!("part{seq}"), &section(), &[write(seq, 0, 1, Status::OK)], Some(end)));
    assert!(
        scene.rebuild(&parts, "end", &output).expect_err("refused").to_string().contains("4 completions were lost")
    );
    let mut filtered = statistics(1);
    filtered.filtered.process = 2;
    assert!(text(&section(), &plain, &filtered).contains("left 2 changes out"));
    let snapped = Section { snap_len: Some(100), ..section() };
    assert!(text(&snapped, &plain, &statistics(1)).contains("412 bytes were not kept"));
    let gap = Entry::Gap(Gap { first: Seq(2), last: Seq(3) });
    let gap = (EntryHeader { entry: gap, position: Position(0), payload: PayloadInfo::NONE }, Vec::new());
    assert!(text(&section(), &[plain[0].clone(), gap], &statistics(1)).contains("2 completions were lost (seq 3)"));
    let unseen = [write(1, 0, 1, Status::UNKNOWN)];
    assert!(text(&section(), &unseen, &statistics(1)).contains("UNKNOWN"));
}

#[test]
fn files_that_do_not_follow_each_other_are_named() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let output = scene.path("image");
    let part = |name: &str, seq, stream: &str| {
        let section = Section { stream: stream.into(), ..section() };
        scene.capture(name, &section, &[write(seq, seq, 1, Status::OK)], None)
    };
    let (one, two, four, other) = (part("1", 1, "aa"), part("2", 2, "aa"), part("4", 4, "aa"), part("o", 2, "bb"));
    assert_eq!(scene.rebuild(&[one.clone(), two.clone()], "end", &output).unwrap().records, 2);
    std::fs::remove_file(&output).unwrap();
    let refused = |files: &[&PathBuf]| {
        let files: Vec<PathBuf> = files.iter().map(|path| (*path).clone()).collect();
        scene.rebuild(&files, "end", &output).expect_err("refused")
    };
    assert!(matches!(refused(&[&two, &one]), RebuildError::Series(SeriesError::Order { .. })));
    assert!(matches!(refused(&[&one, &other]), RebuildError::Series(SeriesError::OtherStream { .. })));
    assert!(refused(&[&one, &two, &four]).to_string().contains("1 completions were lost (seq 3)"));
    // A moment among what is missing has a loss before it.
    let missing = scene.rebuild(&[one.clone(), four.clone()], "2", &output).expect_err("refused").to_string();
    assert!(missing.contains("2 completions were lost"), "{missing}");
    assert_eq!(scene.rebuild(&[one.clone(), four.clone()], "1", &output).unwrap().records, 1);
    std::fs::remove_file(&output).unwrap();
    assert!(matches!(refused(&[]), RebuildError::Series(SeriesError::Nothing)));
    assert!(matches!(refused(&[&scene.path("none")]), RebuildError::Series(SeriesError::Open { .. })));
    assert!(refused(&[&scene.base]).to_string().contains("not a pcapng file"));
}

#[test]
fn a_file_that_was_cut_gives_what_lies_before() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let (file, output) = (
        scene.capture("c", &section(), &[write(1, 0, 1, Status::OK), write(2, 1, 1, Status::OK)], None),
        scene.path("i"),
    );
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 200]).unwrap();
    let report = scene.rebuild(std::slice::from_ref(&file), "end", &output).unwrap();
    assert_eq!((report.seq, report.records), (1, 1));
    assert!(!report.ended_in_order && report.cut[0].bytes > 0);
}

#[test]
fn bases_and_outputs_are_checked_before_anything_is_written() {
    let scene = Scene::new(&vec![0; 4096]);
    let file = [scene.capture("capture", &section(), &[write(1, 0, 1, Status::OK)], None)];
    let output = scene.path("image");
    let error = scene.rebuild(&file, "end", &output).expect_err("too small");
    assert!(matches!(error, RebuildError::Image(ImageError::BaseSize { have: 4096, want: SIZE, .. })), "{error}");
    assert!(!output.exists());
    let request = |volume, output| Request {
        files: &file,
        volume,
        base: Base::Blank,
        at: Moment::End,
        output,
        force: true,
        allow_holes: false,
    };
    let go = |request: &Request<'_>| rebuild(request, &mut |_, _, _| true);
    assert!(matches!(go(&request(None, &output)), Err(RebuildError::Series(SeriesError::WhichVolume(_)))));
    assert!(matches!(go(&request(Some("sdx"), &output)), Err(RebuildError::Series(SeriesError::NoVolume { .. }))));
    assert!(matches!(
        go(&request(Some("loop0"), Path::new("/dev/null"))),
        Err(RebuildError::Image(ImageError::NotAFile(_)))
    ));
    assert!(matches!(go(&request(Some("loop0"), &file[0])), Err(RebuildError::Image(ImageError::IsInput(_)))));
    go(&request(Some("loop0"), &output)).unwrap();
    assert_eq!(std::fs::metadata(&output).unwrap().len(), SIZE);
    let stopped = rebuild(&request(Some("loop0"), &output), &mut |_, _, _| false);
    assert!(stopped.is_ok(), "too small to be asked");
}

#[test]
fn a_change_beyond_the_end_is_named() {
    let scene = Scene::new(&vec![0; SIZE as usize]);
    let file = [scene.capture("capture", &section(), &[write(1, SECTORS, 1, Status::OK)], None)];
    let error = scene.rebuild(&file, "end", &scene.path("image")).expect_err("beyond");
    assert!(matches!(error, RebuildError::Image(ImageError::Beyond { .. })), "{error}");
}

//! What a capture wrote, against what a device holds.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use captures::compare::{CompareError, Report, Request, compare};
use captures::rebuild::RebuildError;
use captures::{Device, ImageError, Section, Statistics, Writer};
use common::{START, Written, devices, entry, record, section, statistics};
use formats::entry::PayloadInfo;
use formats::{ByteRange, Entry, EntryHeader, Gap, Op, Position, Seq, Status};
use proptest::prelude::*;

const SIZE: u64 = 4 << 20;

struct Scene {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
}

fn write(seq: u64, sector: u64, sectors: u64, byte: u8) -> Written {
    let range = ByteRange::new(sector * 512, sectors * 512);
    entry(record(seq, 0, Op::Write, range, Status::OK), &vec![byte; range.len as usize], &[])
}

fn without_payload(seq: u64, sector: u64, sectors: u64) -> Written {
    let (mut header, _) = write(seq, sector, sectors, 0);
    header.payload = PayloadInfo::NONE;
    (header, Vec::new())
}

fn discard(seq: u64, sector: u64, sectors: u64) -> Written {
    entry(record(seq, 0, Op::Discard, ByteRange::new(sector * 512, sectors * 512), Status::OK), &[], &[])
}

impl Scene {
    fn of(section: &Section, entries: &[Written], end: &Statistics) -> Self {
        let small: Vec<Device> = devices().into_iter().map(|device| Device { size: SIZE, ..device }).collect();
        let mut writer = Writer::new(Vec::new(), section, &small).unwrap();
        entries.iter().for_each(|(header, payload)| writer.write(header, payload).unwrap());
        writer.statistics(end).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join("capture")];
        std::fs::write(&files[0], writer.finish().unwrap()).unwrap();
        Self { folder, files }
    }

    fn new(entries: &[Written]) -> Self {
        Self::of(&section(), entries, &statistics(entries.len() as u64))
    }

    fn compare(&self, at: &str, device: &[u8]) -> Result<Report, CompareError> {
        let request = Request {
            files: &self.files,
            volume: Some("loop0"),
            at: at.parse().unwrap(),
            device: Path::new("the device"),
            device_size: device.len() as u64,
            folder: self.folder.path(),
            most: 3,
        };
        let mut read = |offset: u64, buffer: &mut [u8]| {
            assert_eq!(offset % (1 << 20), 0);
            buffer.copy_from_slice(&device[offset as usize..][..buffer.len()]);
            Ok(())
        };
        compare(&request, &mut read, &mut |_, _, _| true)
    }
}

fn put(device: &mut [u8], sector: u64, sectors: u64, byte: u8) {
    device[sector as usize * 512..][..sectors as usize * 512].fill(byte);
}

#[test]
fn a_difference_is_told_with_its_last_writer() {
    // The last one lies across a border of what is read at once.
    let scene = Scene::new(&[write(1, 0, 8, 1), write(2, 4, 2, 2), write(3, 2046, 4, 3)]);
    let mut device = vec![0xee; SIZE as usize];
    put(&mut device, 0, 8, 1);
    put(&mut device, 4, 2, 2);
    put(&mut device, 2046, 4, 3);
    let equal = scene.compare("end", &device).unwrap();
    assert_eq!((equal.compared_bytes, equal.differing, equal.unknown_bytes), (12 * 512, 0, 0));
    // One byte in the middle of what the second one wrote over the first, and all of the third.
    device[5 * 512 + 7] = 9;
    put(&mut device, 2046, 4, 9);
    let found = scene.compare("end", &device).unwrap();
    assert_eq!((found.differing, found.differing_bytes, found.seq), (2, 5 * 512, 3));
    let places: Vec<_> = found.stretches.iter().map(|s| (s.offset, s.len, s.seq, s.op)).collect();
    assert_eq!(places, [(5 * 512, 512, 2, "write"), (2046 * 512, 4 * 512, 3, "write")]);
    assert!(found.stretches[0].to_string().contains("last written by seq 2 (write by test, 2023-11-14T"));
    // Before the second one came, the first one's content is expected there.
    let earlier = scene.compare("1", &device).unwrap();
    let places: Vec<_> = earlier.stretches.iter().map(|s| (s.offset, s.len, s.seq)).collect();
    assert_eq!((places, earlier.compared_bytes), (vec![(4 * 512, 2 * 512, 1)], 8 * 512));
}

#[test]
fn many_differences_are_counted_and_some_told() {
    let writes: Vec<Written> = (1..=10).map(|seq| write(seq, seq * 4, 2, 1)).collect();
    let found = Scene::new(&writes).compare("end", &vec![0; SIZE as usize]).unwrap();
    assert_eq!((found.differing, found.differing_bytes), (10, 10 * 1024));
    let places: Vec<_> = found.stretches.iter().map(|s| (s.offset, s.len)).collect();
    assert_eq!(places, [(2048, 1024), (4096, 1024), (6144, 1024)]);
}

#[test]
fn what_is_not_known_is_told_apart() {
    let scene = Scene::new(&[
        write(1, 0, 8, 1),
        without_payload(2, 0, 2),
        discard(3, 4, 2),
        write(4, 16, 1, 4),
        discard(5, 1, 1),
    ]);
    let mut device = vec![0xee; SIZE as usize];
    put(&mut device, 2, 6, 1);
    put(&mut device, 16, 1, 4);
    put(&mut device, 4, 2, 0xdd);
    let found = scene.compare("end", &device).unwrap();
    assert_eq!((found.differing, found.compared_bytes), (0, 5 * 512));
    assert_eq!((found.unknown_bytes, found.unknown_list[0].seq), (2 * 512, 2), "a discard does not make it known");
    assert_eq!(found.discarded_bytes, 2 * 512);
    // Where nobody knows what was lost, what came before it is not known any more.
    let gap = Entry::Gap(Gap { first: Seq(2), last: Seq(3) });
    let gap = (EntryHeader { entry: gap, position: Position(0), payload: PayloadInfo::NONE }, Vec::new());
    let scene = Scene::new(&[write(1, 0, 8, 1), gap, write(4, 0, 2, 7)]);
    let found = scene.compare("end", &vec![0; SIZE as usize]).unwrap();
    assert_eq!((found.compared_bytes, found.differing_bytes, found.unknown_bytes), (1024, 1024, SIZE - 1024));
    let mut lossy = statistics(1);
    lossy.lost.unwritten = 1;
    let found = Scene::of(&section(), &[write(1, 0, 8, 1)], &lossy).compare("end", &device).unwrap();
    assert_eq!((found.compared_bytes, found.unknown_bytes), (0, SIZE));
}

#[test]
fn what_cannot_be_compared_is_named() {
    let device = vec![0; SIZE as usize];
    let bare = Scene::of(&Section { payload: false, ..section() }, &[], &statistics(0));
    assert!(matches!(bare.compare("end", &device), Err(CompareError::Capture(RebuildError::NoPayload))));
    let scene = Scene::new(&[write(1, 0, 1, 1)]);
    let error = scene.compare("end", &device[..4096]).unwrap_err();
    assert!(matches!(error, CompareError::TooSmall { have: 4096, want: SIZE, .. }), "{error}");
    assert!(matches!(scene.compare("99", &device), Err(CompareError::Capture(RebuildError::Moment(_)))));
    assert!(scene.compare("end", &vec![0; SIZE as usize + 4096]).is_ok(), "a larger one may be a copy");
    let request = |watch: bool, fails: bool| {
        let request = Request {
            files: &scene.files,
            volume: Some("loop0"),
            at: captures::Moment::Time(START + 1_000_000),
            device: Path::new("/dev/sdx"),
            device_size: SIZE,
            folder: scene.folder.path(),
            most: 3,
        };
        let mut read = |_: u64, _: &mut [u8]| if fails { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) };
        compare(&request, &mut read, &mut |_, _, _| watch).unwrap_err()
    };
    assert!(matches!(request(false, false), CompareError::Capture(RebuildError::Image(ImageError::Interrupted))));
    assert!(request(true, true).to_string().starts_with("reading /dev/sdx at 0"));
}

proptest! {
    /// Against a volume kept in memory.
    #[test]
    fn as_a_volume_kept_step_by_step(
        steps in proptest::collection::vec((0u8..4, 0u64..64, 1u64..16), 1..40),
        flips in proptest::collection::vec(0u64..80 * 512, 0..6),
    ) {
        let mut model = vec![0u8; SIZE as usize];
        // By sector: 0 never written, 1 known, 2 discarded, 3 not known.
        let mut states = [0u8; 80];
        let mut entries = Vec::new();
        for (seq, (kind, sector, sectors)) in (1..).zip(steps) {
            let place = sector as usize..(sector + sectors) as usize;
            match kind {
                0 => {
                    entries.push(without_payload(seq, sector, sectors));
                    states[place].fill(3);
                }
                1 => {
                    entries.push(discard(seq, sector, sectors));
                    states[place].iter_mut().filter(|state| **state != 3).for_each(|state| *state = 2);
                }
                _ => {
                    entries.push(write(seq, sector, sectors, seq as u8));
                    put(&mut model, sector, sectors, seq as u8);
                    states[place].fill(1);
                }
            }
        }
        let of = |wanted: u8| states.iter().filter(|state| **state == wanted).count() as u64 * 512;
        let scene = Scene::new(&entries);
        let mut device = model.clone();
        flips.iter().for_each(|at| device[*at as usize] ^= 0xff);
        let found = scene.compare("end", &device).unwrap();
        prop_assert_eq!((found.compared_bytes, found.discarded_bytes, found.unknown_bytes), (of(1), of(2), of(3)));
        let differs = |sector: &usize| model[sector * 512..][..512] != device[sector * 512..][..512];
        let differing = (0..80).filter(|sector| states[*sector] == 1).filter(differs).count();
        prop_assert_eq!(found.differing_bytes, differing as u64 * 512);
    }
}

//! Whatever a new user hands to the commands on captures: the same exit code of each, the reason in words, and nothing left.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use captures::{Device, Section, Statistics, Writer};
use common::add;
use formats::ByteRange;
use tempfile::TempDir;

const SIZE: u64 = 1 << 20;
const START: u64 = 1_700_000_000_000_000_000;

struct Place {
    dir: TempDir,
}

impl Place {
    /// With a capture of 30 commands, `good`.
    fn new() -> Self {
        let place = Self { dir: TempDir::new().unwrap() };
        place.file("good", &capture(1..=30, true));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        said(Command::new(cargo_bin("blkecho")).current_dir(self.dir.path()).args(args))
    }

    /// With a capture on standard input.
    fn pipe(&self, from: &str, args: &[&str]) -> (i32, String) {
        let input = fs::File::open(self.path(from)).unwrap();
        said(Command::new(cargo_bin("blkecho")).current_dir(self.dir.path()).args(args).stdin(input))
    }

    fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }
}

fn said(command: &mut Command) -> (i32, String) {
    let output = command.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Writes of a block of 4 KiB, every fifth a flush, a millisecond apart.
fn capture(numbers: impl IntoIterator<Item = u64>, payload: bool) -> Vec<u8> {
    let section = Section { payload, started_ns: START, ..Section::default() };
    let device = Device { name: "disk".into(), size: SIZE, block_size: 512, ..Device::default() };
    let mut writer = Writer::new(Vec::new(), &section, &[device]).unwrap();
    let mut records = 0;
    for seq in numbers {
        let len = if seq % 5 == 0 { 0 } else { 4096 };
        let range = ByteRange::new(if len == 0 { 0 } else { seq % 7 * 4096 }, len);
        let content = vec![seq as u8; len as usize];
        add(&mut writer, seq, START + seq * 1_000_000, range, payload.then_some(&content));
        records += 1;
    }
    writer.statistics(&Statistics { records, ended_ns: START + 100_000_000, ..Statistics::default() }).unwrap();
    writer.finish().unwrap()
}

/// What the volume holds after all of `good`.
fn content() -> Vec<u8> {
    let mut content = vec![0; SIZE as usize];
    for seq in (1..=30u64).filter(|seq| seq % 5 != 0) {
        content[(seq % 7 * 4096) as usize..][..4096].fill(seq as u8);
    }
    content
}

/// A block of pcapng.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
    let padded = body.len().next_multiple_of(4);
    let mut bytes = [word(kind), word(padded as u32 + 12)].concat();
    bytes.extend_from_slice(body);
    bytes.resize(8 + padded, 0);
    bytes.extend_from_slice(&word(padded as u32 + 12));
    bytes
}

/// A file of another program: section, interface of this link type, a packet.
fn foreign(big: bool, link: u16) -> Vec<u8> {
    let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() }.to_vec();
    let half = |half: u16| if big { half.to_be_bytes() } else { half.to_le_bytes() }.to_vec();
    let program = [half(4), half(8), b"Dumpcap!".to_vec(), half(0), half(0)].concat();
    let section = [word(0x1a2b_3c4d), half(1), half(0), vec![0xff; 8], program].concat();
    let interface = [half(link), half(0), word(65_535)].concat();
    let packet = [word(0), word(0), word(1000), word(4), word(4), b"abcd".to_vec()].concat();
    [block(big, 0x0a0d_0d0a, &section), block(big, 1, &interface), block(big, 6, &packet)].concat()
}

/// Every command that reads a capture, with that capture.
fn readers(name: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["info", name],
        vec!["show", name],
        vec!["analyze", name, "--html", "out"],
        vec!["convert", name, "--to", "csv", "-o", "out"],
        vec!["convert", name, "--to", "parquet", "-o", "out"],
        vec!["cut", name, "--from", "1", "-o", "out"],
        vec!["filter", name, "--op", "write", "-o", "out"],
        vec!["strip", name, "-o", "out"],
        vec!["merge", "good", name, "-o", "out"],
        vec!["diff", name, "good"],
        vec!["diff", name, "image"],
        vec!["rebuild", name, "--blank", "-o", "out"],
        vec!["explore", name, "--blank", "--check", "test -e {}", "-o", "out"],
        vec!["replay", name, "--to", "image", "--write"],
    ]
}

#[test]
fn what_is_no_capture_is_a_wrong_argument_everywhere() {
    let place = Place::new();
    place.file("image", &vec![0; SIZE as usize]);
    place.file("empty", b"");
    place.file("text", b"something else altogether");
    place.file("classic", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0]);
    place.file("ethernet", &foreign(false, 1));
    place.file("big", &foreign(true, 113));
    place.file("fc", &foreign(false, 224));
    fs::create_dir(place.path("folder")).unwrap();
    let before = place.names();
    for (name, words) in [
        ("none", "No such file"),
        ("folder", "Is a directory"),
        ("empty", "empty"),
        ("text", "not a pcapng file"),
        ("classic", "not a pcapng file"),
        ("ethernet", "by Dumpcap!"),
        ("big", "by Dumpcap!"),
        ("fc", "by Dumpcap!"),
    ] {
        for args in readers(name) {
            let (code, text) = place.run(&args);
            assert!(code == 2 && text.contains(words) && text.contains(name), "{args:?}: {code} {text}");
            assert_eq!(place.names(), before, "{args:?} leaves nothing");
        }
    }
    let (code, text) = place.run(&["info", "text"]);
    assert!(code == 2 && text.contains("compressed by zstd it is read as it is"), "{text}");
}

#[test]
fn a_damaged_capture_is_a_failure_everywhere() {
    let place = Place::new();
    place.file("image", &vec![0; SIZE as usize]);
    let mut bytes = fs::read(place.path("good")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 600].fill(0x77);
    place.file("damaged", &bytes);
    let before = place.names();
    for args in readers("damaged") {
        let (code, text) = place.run(&args);
        assert!(code == 1 && text.contains("damaged: damaged at byte"), "{args:?}: {code} {text}");
        assert_eq!(place.names(), before, "{args:?} leaves nothing");
    }
    // It is the second one that is damaged.
    let (code, text) = place.run(&["diff", "good", "damaged"]);
    assert!(code == 1 && text.contains("damaged: damaged at byte") && !text.contains("good:"), "{code} {text}");
}

#[test]
fn a_cut_capture_gives_what_is_whole_and_says_so() {
    let place = Place::new();
    let bytes = fs::read(place.path("good")).unwrap();
    place.file("cut", &bytes[..bytes.len() * 2 / 3]);
    place.file("image", &vec![0; SIZE as usize]);
    for args in readers("cut") {
        let expected = if args[0] == "diff" { 3 } else { 0 };
        let (code, text) = place.run(&args);
        assert_eq!(code, expected, "{args:?}: {text}");
        let words =
            ["no whole entry", "is cut", "cut off", "nothing whole", "middle of something", "not ended in order"];
        // What a replay did, and how near it came, it tells itself.
        assert!(args[0] == "replay" || words.iter().any(|words| text.contains(words)), "{args:?}: {text}");
        let _ = fs::remove_file(place.path("out"));
    }
}

#[test]
fn moments_that_contradict_each_other_are_refused() {
    let place = Place::new();
    place.file("image", &vec![0; SIZE as usize]);
    for (from, until) in [("9", "2"), ("+9ms", "+2ms"), ("4", "4"), ("+20ms", "3"), ("3", "start")] {
        for command in [
            &["cut", "good", "-o", "out"] as &[&str],
            &["filter", "good", "-o", "out"],
            &["show", "good"],
            &["replay", "good", "--to", "image", "--write"],
        ] {
            let (code, text) = place.run(&[command, &["--from", from, "--until", until]].concat());
            assert!(code == 2 && text.contains("nothing lies between"), "{command:?} {from} {until}: {code} {text}");
            assert!(!place.path("out").exists());
        }
    }
    let (code, text) = place.run(&["filter", "good", "--device", "sdx", "-o", "out"]);
    assert!(code == 2 && text.contains("no device sdx; it has disk") && !place.path("out").exists(), "{code} {text}");
}

#[test]
fn outputs_are_whole_or_not_there() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    place.file("there", b"x");
    place.file("log", b"");
    let commands: [&[&str]; 8] = [
        &["analyze", "good", "--html"],
        &["convert", "good", "--to", "csv", "-o"],
        &["cut", "good", "--from", "2", "-o"],
        &["filter", "good", "--op", "write", "-o"],
        &["strip", "good", "-o"],
        &["merge", "good", "good", "-o"],
        &["rebuild", "good", "--blank", "-o"],
        &["explore", "good", "--blank", "--check", "test -e {}", "-o"],
    ];
    let before = place.names();
    for command in commands {
        for (output, code, words) in [
            ("there", 6, "--force"),
            ("folder", 6, "no regular file: what is made is written aside"),
            ("/dev/null", 6, "no regular file"),
            ("good", 6, "input too: name another file for the output"),
            ("none/out", 2, "writing in none: No such file or directory (os error 2)\n"),
            ("there/out", 2, "Not a directory"),
        ] {
            // Not even on demand.
            let force: &[&str] = if output == "there" { &[] } else { &["--force"] };
            let (found, text) = place.run(&[command, &[output], force].concat());
            assert!(found == code && text.contains(words), "{command:?} {output}: {found} {text}");
            assert_eq!(place.names(), before, "{command:?} {output}");
        }
    }
    assert_eq!(fs::read(place.path("good")).unwrap(), capture(1..=30, true));
}

#[test]
fn what_a_capture_needs_and_lacks_is_refused_by_name() {
    let place = Place::new();
    place.file("bare", &capture(1..=30, false));
    place.file("image", &vec![0; SIZE as usize]);
    place.file("small", &[0; 4096]);
    fs::create_dir(place.path("folder")).unwrap();
    let refused = |args: &[&str], code: i32, words: &str| {
        let (found, text) = place.run(args);
        assert!(found == code && text.contains(words), "{args:?}: {found} {text}");
        assert!(!place.path("out").exists(), "{args:?}");
    };
    for args in [
        &["rebuild", "bare", "--blank", "-o", "out"] as &[&str],
        &["explore", "bare", "--blank", "--check", "test -e {}"],
        &["replay", "bare", "--to", "image", "--write"],
        &["diff", "bare", "image"],
    ] {
        refused(args, 6, "without payload");
    }
    refused(&["convert", "bare", "--to", "dm-log-writes", "-o", "out"], 6, "needs the content");
    refused(&["rebuild", "good", "--base", "small", "-o", "out"], 2, "has 4096 bytes");
    refused(&["rebuild", "good", "--base", "folder", "-o", "out"], 2, "Is a directory");
    refused(&["explore", "good", "--base", "small", "--check", "test -e {}"], 2, "has 4096 bytes");
    refused(&["diff", "good", "small"], 2, "cannot be disk, which had 1048576");
    refused(&["diff", "good", "good", "--at", "3"], 2, "both are captures");
    let hangs = ["explore", "good", "--blank", "--check", "sleep 60; test -e {}", "--timeout", "200ms"];
    refused(&hangs, 2, "at the very beginning");
    let checked = ["rebuild", "good", "--blank", "-o", "whole", "--mount-check", "sleep 60; test -e {}"];
    refused(&[&checked as &[&str], &["--timeout", "200ms"]].concat(), 3, "took too long");
    refused(&["explore", "good", "--blank", "--check", "test -e {}", "--work-dir", "none"], 2, "--work-dir");
    refused(&["convert", "good", "bare", "--from", "fio", "-o", "out"], 2, "one file is imported at a time");
}

#[test]
fn a_pipe_is_read_once() {
    let place = Place::new();
    place.file("image", &content());
    for args in [
        &["info", "-"] as &[&str],
        &["show", "-"],
        &["analyze", "-"],
        &["cut", "-", "--from", "3", "-o", "out"],
        &["diff", "-", "good"],
        &["diff", "good", "-"],
        &["diff", "-", "image"],
        &["explore", "-", "--blank", "--check", "test -e {}"],
    ] {
        let (code, text) = place.pipe("good", args);
        assert_eq!(code, 0, "{args:?}: {text}");
    }
    for args in [
        &["replay", "-", "--to", "image", "--write"] as &[&str],
        &["explore", "-", "--from", "+3ms", "--blank", "--check", "test -e {}"],
    ] {
        let (code, text) = place.pipe("good", args);
        assert!(code == 2 && text.contains("more than once"), "{args:?}: {code} {text}");
    }
}

#[test]
fn files_of_one_capture_are_one_capture() {
    let place = Place::new();
    for (name, numbers) in [("1", 1..=10), ("2", 11..=20), ("3", 21..=30)] {
        place.file(name, &capture(numbers, true));
    }
    place.file("image", &content());
    let (code, text) = place.run(&["analyze", "1", "2", "3", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
    assert_eq!((code, &json["summary"]["commands"], &json["summary"]["gaps"]), (0, &30.into(), &0.into()));
    assert_eq!(json["summary"]["statistics"]["records"], 30);
    let (code, text) = place.run(&["info", "1", "2", "3"]);
    assert!(code == 0 && text.contains("seq 1 to 30") && text.contains("files        3"), "{text}");
    let (code, text) = place.run(&["show", "1", "2", "3", "--from", "9", "--until", "12"]);
    assert!(code == 0 && text.lines().filter(|line| line.contains(" disk ")).count() == 3, "{text}");
    assert_eq!(place.run(&["cut", "1", "2", "3", "--from", "start", "-o", "whole"]).0, 0);
    assert!(place.run(&["diff", "whole", "good"]).1.contains("30 commands, no difference"));
    assert_eq!(place.run(&["diff", "whole", "image"]).0, 0);
    for (format, lines) in [("csv", 31), ("fio", 34)] {
        assert_eq!(place.run(&["convert", "1", "2", "3", "--to", format, "-o", format]).0, 0);
        assert_eq!(fs::read_to_string(place.path(format)).unwrap().lines().count(), lines);
    }
    // One that is missing is told, one at the wrong place refused.
    let (code, text) = place.run(&["analyze", "1", "3"]);
    assert!(code == 0 && text.contains("10 completions are missing, in 1 gaps"), "{text}");
    for command in [&["analyze"] as &[&str], &["info"], &["show"], &["strip", "-o", "out"]] {
        let (code, text) = place.run(&[command, &["2", "1", "3"]].concat());
        assert!(code == 2 && text.contains("in their order"), "{command:?}: {code} {text}");
    }
}

#[test]
fn a_device_is_compared_with_what_was_written_to_it() {
    let place = Place::new();
    let compare = |image: &[u8], args: &[&str]| {
        place.file("image", image);
        place.run(&[&["diff", "good", "image"], args].concat())
    };
    let (code, text) = compare(&content(), &[]);
    assert!(
        code == 0 && text.contains("28.00 KiB compared with disk at seq 30") && text.contains("no difference"),
        "{text}"
    );
    let mut other = content();
    other[4096 + 600] ^= 1;
    other[SIZE as usize - 1] = 9;
    let (code, text) = compare(&other, &[]);
    assert!(code == 3 && text.contains("differs: 512 bytes from 4608: last written by seq 29 (write"), "{code} {text}");
    let (code, text) = compare(&other, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
    assert_eq!((code, &json["differing"], &json["stretches"][0]["seq"]), (3, &1.into(), &29.into()));
    // At an earlier moment only the first three had been written.
    let (code, text) = compare(&content(), &["--at", "3", "--most", "1"]);
    assert!(code == 3 && text.contains("... and 2 more") && text.contains("12.00 KiB of 12.00 KiB differ"), "{text}");
    // What nobody knows is not called equal.
    place.file("good", &capture((1..=30).filter(|seq| *seq != 25), true));
    let (code, text) = compare(&content(), &[]);
    assert!(code == 7 && text.contains("1 completions were lost (seq 25)"), "{code} {text}");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let place = Place::new();
    let Some(small) = SmallDisk::at(&place.path("small")) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    place.file("random", &noise());
    for args in [
        &["cut", "random", "--from", "start", "--until", "end", "-o", "small/out"] as &[&str],
        &["filter", "random", "--op", "write", "-o", "small/out"],
        &["merge", "random", "random", "-o", "small/out"],
        &["convert", "random", "--to", "dm-log-writes", "-o", "small/out"],
        &["rebuild", "random", "--blank", "-o", "small/out"],
    ] {
        let (code, text) = place.run(args);
        assert!(code == 1 && text.contains("No space left"), "{args:?}: {code} {text}");
        assert_eq!(fs::read_dir(&small.path).unwrap().count(), 0, "{args:?} leaves nothing");
    }
    let (code, text) =
        said(Command::new(cargo_bin("blkecho")).current_dir(place.dir.path()).env("TMPDIR", &small.path).args([
            "explore",
            "random",
            "--blank",
            "--check",
            "test -e {}",
        ]));
    assert!(code == 1 && text.contains("--work-dir"), "{code} {text}");
    assert_eq!(fs::read_dir(&small.path).unwrap().count(), 0);
    let (code, text) = said(
        Command::new("sh")
            .current_dir(place.dir.path())
            .args(["-c", "\"$0\" show good > /dev/full"])
            .arg(cargo_bin("blkecho")),
    );
    assert!(code == 1 && text.contains("writing to standard output"), "{code} {text}");
}

/// A capture whose content cannot be made smaller, of 800 KiB.
fn noise() -> Vec<u8> {
    let section = Section { payload: true, started_ns: START, ..Section::default() };
    let device = Device { name: "disk".into(), size: SIZE, block_size: 512, ..Device::default() };
    let mut writer = Writer::new(Vec::new(), &section, &[device]).unwrap();
    let mut random = 1u64;
    for seq in 1..=200 {
        let byte = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8 | 1
        };
        let content: Vec<u8> = (0..4096).map(byte).collect();
        add(&mut writer, seq, START + seq, ByteRange::new((seq - 1) * 4096, 4096), Some(&content));
    }
    writer.finish().unwrap()
}

/// A file system of 256 KiB in memory.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn at(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self { path: path.to_owned() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

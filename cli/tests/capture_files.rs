//! `analyze`, `convert`, `cut`, `filter`, `strip`, `merge` and `diff` from outside.

use std::fs;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use captures::{Device, Section, Statistics, Writer};
use formats::entry::{Origin, PayloadInfo};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Seq, Status, VolumeIndex};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: TempDir::new().unwrap() };
        fs::write(place.path("good"), capture(30)).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(cargo_bin("blkecho")).current_dir(self.dir.path()).args(args).output().unwrap();
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn capture(count: u64) -> Vec<u8> {
    let section = Section { payload: true, started_ns: 1_000_000_000, ..Section::default() };
    let device = Device { name: "disk".into(), size: 1 << 20, block_size: 512, ..Device::default() };
    let mut writer = Writer::new(Vec::new(), &section, &[device]).unwrap();
    for seq in 1..=count {
        let at = 1_000_000_000 + seq * 1_000_000;
        let origin = Origin { issued_ns: at, completed_ns: at + 1000, queue_depth: 1, ..Origin::default() };
        let (op, len) = if seq % 5 == 0 { (Op::Flush, 0) } else { (Op::Write, 4096) };
        let record = Record {
            seq: Seq(seq),
            dep: Seq(seq - 1),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::empty(),
            range: ByteRange::new(seq % 7 * 4096 * u64::from(len > 0), len),
            status: Status::OK,
            origin,
        };
        let content = vec![seq as u8; len as usize];
        let payload = if content.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(&content) };
        let header = EntryHeader { entry: Entry::Record(record), position: Position(seq), payload };
        writer.write(&header, &content).unwrap();
    }
    writer.statistics(&Statistics { records: count, ..Statistics::default() }).unwrap();
    writer.finish().unwrap()
}

#[test]
fn an_analysis_as_text_json_and_page() {
    let place = Place::new();
    let (code, text) = place.run(&["analyze", "good"]);
    assert!(code == 0 && text.contains("30 commands"), "{text}");
    let (code, text) = place.run(&["analyze", "good", "--json", "--html", "page.html"]);
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
    assert_eq!((code, json["summary"]["commands"].as_u64()), (0, Some(30)));
    assert!(fs::read_to_string(place.path("page.html")).unwrap().contains("<figure"));
    let (code, text) = place.run(&["analyze", "good", "--html", "page.html"]);
    assert!(code == 6 && text.contains("--force"), "{code} {text}");
    assert_eq!(place.run(&["analyze", "good", "--html", "page.html", "--force"]).0, 0);
}

#[test]
fn what_cannot_be_read_is_named_and_leaves_nothing() {
    let place = Place::new();
    let good = fs::read(place.path("good")).unwrap();
    fs::write(place.path("empty"), b"").unwrap();
    fs::write(place.path("text"), b"something else altogether").unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2..good.len() / 2 + 600].fill(0x77);
    fs::write(place.path("damaged"), damaged).unwrap();
    let before = place.files();
    for (name, code, words) in [
        ("none", 2, "none"),
        ("empty", 2, "empty"),
        ("text", 2, "not a pcapng file"),
        ("damaged", 1, "damaged at byte"),
    ] {
        let commands: [&[&str]; 5] = [
            &["analyze", name, "--html", "out"],
            &["convert", name, "--to", "csv", "-o", "out"],
            &["cut", name, "--from", "2", "-o", "out"],
            &["strip", name, "-o", "out"],
            &["merge", "good", name, "-o", "out"],
        ];
        for args in commands {
            let (found, text) = place.run(args);
            assert!(found == code && text.contains(words), "{args:?}: {found} {text}");
            assert_eq!(place.files(), before, "{args:?} leaves nothing");
        }
    }
    fs::write(place.path("cut"), &good[..good.len() - 300]).unwrap();
    let (code, text) = place.run(&["analyze", "cut"]);
    assert!(code == 0 && text.contains("the file is cut"), "{text}");
}

#[test]
fn outputs_are_files_that_were_not_there() {
    let place = Place::new();
    for output in ["good", "/dev/null"] {
        let (code, text) = place.run(&["convert", "good", "--to", "csv", "-o", output]);
        assert_eq!(code, 6, "{output}: {text}");
    }
    assert_eq!(fs::read(place.path("good")).unwrap(), capture(30));
}

#[test]
fn there_and_back() {
    let place = Place::new();
    for format in ["blktrace", "fio", "dm-log-writes"] {
        let (code, text) = place.run(&["convert", "good", "--to", format, "-o", format]);
        assert!(code == 0 && text.contains("not in this format"), "{text}");
        let back = format!("{format}.pcapng");
        let (code, text) = place.run(&["convert", format, "--from", format, "-o", &back]);
        assert!(code == 0, "{text}");
        let (_, text) = place.run(&["analyze", &back]);
        assert!(text.contains("30 commands"), "{format}: {text}");
    }
    let (code, text) = place.run(&["convert", "good", "--from", "fio", "-o", "x"]);
    assert!(code == 2 && text.contains("fio version 3"), "{code} {text}");
    let (code, text) = place.run(&["convert", "good", "--to", "word", "-o", "x"]);
    assert!(code == 2 && text.contains("parquet"), "{code} {text}");
}

#[test]
fn parts_and_differences() {
    let place = Place::new();
    let (code, text) = place.run(&["cut", "good", "--from", "+5ms", "--until", "10", "-o", "part"]);
    assert!(code == 0 && text.contains("6 kept, 24 left out"), "{text}");
    let (code, text) = place.run(&["filter", "good", "--op", "flush", "-o", "flushes", "--json"]);
    assert!(code == 0 && text.contains("\"kept\": 6"), "{text}");
    assert_eq!(place.run(&["strip", "good", "-o", "bare"]).0, 0);
    assert_eq!(place.run(&["merge", "part", "flushes", "-o", "both"]).0, 0);
    let (code, text) = place.run(&["diff", "good", "bare"]);
    assert!(code == 0 && text.contains("no difference"), "{text}");
    let (code, text) = place.run(&["diff", "good", "part"]);
    assert!(code == 3 && text.contains("1: kind"), "{code} {text}");
    let (code, text) = place.run(&["cut", "good", "-o", "x"]);
    assert!(code == 2 && text.contains("--from"), "{code} {text}");
    let (code, text) = place.run(&["filter", "good", "--lba", "9-4", "-o", "x"]);
    assert!(code == 2 && text.contains("FIRST-LAST"), "{code} {text}");
    let (code, text) = place.run(&["filter", "good", "-o", "x"]);
    assert!(code == 2 && text.contains("--device"), "{code} {text}");
}

//! `analyze`, `convert`, `cut`, `filter`, `strip`, `merge` and `diff` from outside.

mod common;

use std::fs;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use captures::{Device, Section, Statistics, Writer};
use common::add;
use formats::ByteRange;
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
}

fn capture(count: u64) -> Vec<u8> {
    let section = Section { payload: true, started_ns: 1_000_000_000, ..Section::default() };
    let device = Device { name: "disk".into(), size: 1 << 20, block_size: 512, ..Device::default() };
    let mut writer = Writer::new(Vec::new(), &section, &[device]).unwrap();
    for seq in 1..=count {
        let len = if seq % 5 == 0 { 0 } else { 4096 };
        let range = ByteRange::new(if len == 0 { 0 } else { seq % 7 * 4096 }, len);
        add(&mut writer, seq, 1_000_000_000 + seq * 1_000_000, range, Some(&vec![seq as u8; len as usize]));
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
    assert!(code == 2 && text.contains("ends before it begins"), "{code} {text}");
    let (code, text) = place.run(&["filter", "good", "-o", "x"]);
    assert!(code == 2 && text.contains("--device"), "{code} {text}");
}

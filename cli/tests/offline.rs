//! `rebuild`, `explore` and `replay` as a user calls them.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use captures::{Device, Section, Statistics, Writer};
use common::add;
use formats::ByteRange;
use serde_json::Value;

const SIZE: u64 = 1 << 20;
const START: u64 = 1_700_000_000_000_000_000;

/// Writes of one sector each, of which every fourth command is a flush; two milliseconds apart.
fn capture(folder: &Path, payload: bool) -> PathBuf {
    let device =
        |volume, name: &str| Device { volume, name: name.into(), size: SIZE, block_size: 512, ..Device::default() };
    let section = Section { payload, started_ns: START, ..Section::default() };
    let mut writer = Writer::new(Vec::new(), &section, &[device(0, "data")]).expect("begins");
    for seq in 1..=20u64 {
        let bytes = if seq % 4 == 0 { Vec::new() } else { vec![seq as u8; 512] };
        let range = ByteRange::new(if bytes.is_empty() { 0 } else { seq * 512 }, bytes.len() as u64);
        add(&mut writer, seq, START + seq * 2_000_000, range, Some(&bytes));
    }
    writer.mark(START + 41_000_000, "done").expect("marked");
    writer
        .statistics(&Statistics { ended_ns: START + 50_000_000, records: 20, ..Statistics::default() })
        .expect("ends");
    let path = folder.join("capture.pcapng");
    std::fs::write(&path, writer.finish().expect("ends")).expect("written");
    path
}

/// What the volume holds after a completion.
fn content(seq: u64) -> Vec<u8> {
    let mut content = vec![0; SIZE as usize];
    for seq in (1..=seq).filter(|seq| seq % 4 != 0) {
        content[seq as usize * 512..][..512].fill(seq as u8);
    }
    content
}

struct Scene {
    folder: tempfile::TempDir,
    capture: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let capture = capture(folder.path(), true);
        Self { folder, capture }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit code, standard output, standard error.
    fn run(&self, command: &str, args: &[&str]) -> (i32, String, String) {
        let mut blkecho = Command::cargo_bin("blkecho").expect("the binary");
        let output = blkecho.arg(command).arg(&self.capture).args(args).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn a_moment_is_rebuilt_and_looked_at() {
    let scene = Scene::new();
    let image = scene.path("image");
    let out = image.display().to_string();
    let (code, told, _) = scene.run("rebuild", &["--blank", "--at", "6", "-o", &out, "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["seq"], &told["holes"], &told["volume"]), (0, &6.into(), &0.into(), &"data".into()));
    assert!(std::fs::read(&image).expect("an image") == content(6));
    let (code, _, error) = scene.run("rebuild", &["--blank", "--at", "done", "-o", &out]);
    assert!(code == 6 && error.contains("--force"), "{error}");
    // A check that writes leaves the image as it is.
    let check = "printf x | dd of={} conv=notrunc 2>/dev/null; test -s {}";
    let args = ["--blank", "--at", "done", "--force", "-o", &out, "--mount-check", check];
    assert_eq!(scene.run("rebuild", &args).0, 0);
    assert!(std::fs::read(&image).expect("an image") == content(20));
    let (code, told, _) =
        scene.run("rebuild", &["--blank", "--force", "-o", &out, "--mount-check", "echo bad {}; exit 7"]);
    assert!(code == 3 && told.contains("exit code 7") && told.contains("bad"), "{told}");
}

#[test]
fn what_is_wrong_is_named_and_leaves_nothing() {
    let scene = Scene::new();
    let image = scene.path("image");
    let out = image.display().to_string();
    let small = scene.path("small");
    std::fs::write(&small, b"x").expect("written");
    let refused = |args: &[&str], code: i32, word: &str| {
        let (found, _, error) = scene.run("rebuild", &[args, &["-o", &out]].concat());
        assert!(found == code && error.contains(word), "{found} {error}");
        assert!(!image.exists());
    };
    refused(&["--blank", "--at", "99"], 2, "ends at seq 20");
    refused(&["--blank", "--at", "never"], 2, "no mark says");
    refused(&["--base", &small.display().to_string()], 2, "1048576");
    refused(&["--blank", "--volume", "x"], 2, "it has data");
    refused(&["--blank", "--mount-check", "true"], 2, "where the image goes");
    refused(&[], 2, "--base");
    let other = Scene { capture: capture(scene.folder.path(), false), folder: tempfile::tempdir().expect("a folder") };
    let (code, _, error) = other.run("rebuild", &["--blank", "-o", &out]);
    assert!(code == 6 && error.contains("without payload"), "{error}");
    let (code, _, error) = other.run("replay", &["--to", &small.display().to_string(), "--write"]);
    assert!(code == 6 && error.contains("without payload"), "{error}");
}

#[test]
fn a_crash_state_is_found_and_kept() {
    let scene = Scene::new();
    let image = scene.path("bad");
    let out = image.display().to_string();
    // The third write must not be there without the second.
    let byte = |at: u64| format!("$(od -An -tu1 -j{} -N1 {{}} | tr -d ' ')", at * 512);
    let check = format!("test {} = 0 || test {} != 0", byte(3), byte(2));
    let (code, told, _) = scene.run("explore", &["--blank", "--check", &check, "-o", &out, "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["failing"]["difference"][0]["seq"]), (3, &2.into()), "{told:#}");
    let bad = std::fs::read(&image).expect("an image");
    assert_eq!((bad[2 * 512], bad[3 * 512]), (0, 3));
    let (code, told, _) = scene.run("explore", &["--blank", "--check", "test -s {}"]);
    assert!(code == 0 && told.contains("no failing state"), "{told}");
    let (code, _, error) = scene.run("explore", &["--blank", "--check", "false {}"]);
    assert!(code == 2 && error.contains("at the very beginning"), "{error}");
}

#[test]
fn a_capture_is_replayed_onto_an_image() {
    let scene = Scene::new();
    let target = scene.path("target");
    let to = target.display().to_string();
    std::fs::write(&target, vec![0; SIZE as usize]).expect("written");
    let (code, _, error) = scene.run("replay", &["--to", &to]);
    assert!(code == 2 && error.contains("--write"), "{error}");
    assert!(std::fs::read(&target).expect("there").iter().all(|byte| *byte == 0), "nothing was written");
    let (code, told, error) = scene.run("replay", &["--to", &to, "--write", "--verify", "--json"]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["entries"], &told["verified"]["differing_bytes"]), (&20.into(), &0.into()));
    assert!(told["seconds"].as_f64().expect("a number") >= 0.037 && told["issue_error"]["p99_us"].is_number());
    assert!(std::fs::read(&target).expect("there") == content(20));
    // A part of it: without flushes, within some blocks, up to a moment.
    std::fs::write(&target, vec![0; SIZE as usize]).expect("written");
    let args =
        ["--to", &to, "--write", "--max", "--skip", "flush", "--lba", "5-9", "--from", "5", "--until", "17", "--json"];
    let (code, told, _) = scene.run("replay", &args);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["entries"], &told["left_out"]["skipped"]), (0, &3.into(), &3.into()), "{told:#}");
    let found = std::fs::read(&target).expect("there");
    assert_eq!([5, 6, 7, 9, 10].map(|at| found[at * 512]), [0, 6, 7, 9, 0]);
    // Twice over, twice as fast, named by its volume.
    let map = format!("data={to}");
    let (code, told, _) = scene.run("replay", &["--map", &map, "--write", "--loops", "2", "--speed", "200%"]);
    assert!(code == 0 && told.starts_with("40 commands"), "{told}");
}

#[test]
fn a_target_that_must_not_be_written_is_refused() {
    let scene = Scene::new();
    let refused = |args: &[&str], code: i32, word: &str| {
        let (found, _, error) = scene.run("replay", &[args, &["--write"]].concat());
        assert!(found == code && error.contains(word), "{found} {error}");
    };
    let precious = scene.path("precious");
    let mut bytes = vec![0; SIZE as usize];
    bytes[..4].copy_from_slice(b"XFSB");
    std::fs::write(&precious, &bytes).expect("written");
    refused(&["--to", &precious.display().to_string()], 6, "--overwrite");
    assert!(std::fs::read(&precious).expect("there") == bytes);
    let small = scene.path("small");
    std::fs::write(&small, vec![0; 4096]).expect("written");
    refused(&["--to", &small.display().to_string()], 6, "at least as large");
    refused(&["--to", &scene.capture.display().to_string()], 6, "the capture itself");
    refused(&["--to", &scene.path("none").display().to_string()], 6, "does not exist");
    refused(&["--map", "x=/dev/null"], 2, "no volume x");
    let large = scene.path("large").display().to_string();
    std::fs::write(&large, vec![0; SIZE as usize]).expect("written");
    refused(&["--to", &large, "--scsi-map", "data:lba=8"], 6, "takes no SCSI commands");
    refused(&["--to", &large, "--scsi-map", "other:lba=8"], 2, "other, which is not replayed");
    refused(&["--to", &large, "--opaque", "reread"], 2, "stop, ignore or issue");
    refused(&["--to", &large, "--retries", "bussy=1"], 2, "no class of retries");
    refused(&[], 2, "--to");
}

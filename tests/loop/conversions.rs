//! Captures of real workloads in the formats of other tools: what their own programs do with them on a device, and what is
//! made of them again.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use formats::Op;

use crate::captures::Contents;
use crate::crashes::{Capture, Scene, blkecho, copy_files, program};
use crate::rig::{LoopDevice, again, fio, sh};
use crate::scratch;

fn convert(arguments: &[&str]) {
    let output = Command::new(program()).arg("convert").args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes written, and which blocks of 512 bytes: however the block layer splits and merges commands, these stay.
fn written(capture: &Path) -> (u64, Vec<u64>) {
    let contents = Contents::of(capture);
    let writes = contents.records().filter(|(record, _)| record.op == Op::Write).map(|(record, _)| record.range);
    let (mut bytes, mut blocks) = (0, Vec::new());
    for range in writes {
        bytes += range.len;
        blocks.extend(range.offset / 512..range.end() / 512);
    }
    blocks.sort_unstable();
    blocks.dedup();
    (bytes, blocks)
}

/// Writes of many sizes on a device of 32 MiB, with a flush after every eighth.
fn writes() -> Scene {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 32);
    Scene::record(dir, device, |device, _| {
        let load = "--rw=randwrite --bsrange=512-16k --iodepth=4 --ioengine=libaio --size=16m --io_size=2m --fsync=8";
        fio(device, load);
    })
}

/// What happens on a device of 32 MiB while `replay` runs.
fn replayed(scene: &Scene, replay: impl FnOnce(&Path)) -> std::path::PathBuf {
    let target = LoopDevice::new(scene.dir.path(), "target", 32);
    let path = scene.dir.path().join("replayed.pcapng");
    let capture = Capture::start(scene.dir.path(), &target.path, &path);
    replay(&target.path);
    capture.end();
    path
}

fn sectors_written(device: &str) -> u64 {
    let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).expect("statistics");
    stat.split_whitespace().nth(6).and_then(|text| text.parse().ok()).expect("sectors written")
}

/// Runs it until it ends, all is done, or nothing comes any more.
fn btreplay(dir: &Path, done: impl Fn() -> bool) {
    let log = File::create(dir.join("btreplay.log")).expect("a log");
    let mut command = Command::new("btreplay");
    command.args(["-M", "map", "-W", "-N", "t"]).current_dir(dir).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().expect("btreplay runs (scripts/setup.sh test installs it)");
    let started = Instant::now();
    while child.try_wait().expect("a state").is_none() && !done() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    // It may have ended.
    let _ = child.kill();
    child.wait().expect("an end");
}

/// btrecord makes of our trace what btreplay does on another device. Debian's btreplay (1.3.0) frees what it did not allocate
/// when all is done, or waits then for ever when its threads overtake each other, so how it ends says nothing: what it did is
/// looked at.
#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn btreplay_writes_what_was_written() {
    again(|| {
        let scene = writes();
        convert(&[&scene.capture, "--to", "blktrace", "-o", &scene.path("t.blktrace.0")]);
        let dir = scene.dir.path();
        sh(&format!("cd {} && btrecord t && blkparse -q -i t -f '%a\\n' | sort | uniq -c", dir.display()));
        let expected = written(Path::new(&scene.capture));
        let path = replayed(&scene, |target| {
            let name = target.file_name().expect("a name").to_string_lossy();
            fs::write(dir.join("map"), format!("t {name}\n")).expect("a map");
            // The numbers of a loop device go on from one use to the next.
            let before = sectors_written(&name);
            let since = || (sectors_written(&name) - before) * 512;
            for _ in 0..3 {
                btreplay(dir, || since() >= expected.0);
                if since() > 0 {
                    break;
                }
            }
        });
        let said = fs::read_to_string(dir.join("btreplay.log")).expect("a log");
        assert!(!said.contains("failure") && !said.contains("ailed"), "{said}");
        assert_eq!(written(&path), expected, "{said}");
    });
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn fio_writes_and_flushes_what_was_written_and_flushed() {
    again(|| {
        let scene = writes();
        let log = scene.path("log");
        convert(&[&scene.capture, "--to", "fio", "-o", &log]);
        let path = replayed(&scene, |target| {
            let options = "--ioengine=psync --replay_no_stall=1 --direct=1 --output=/dev/null";
            sh(&format!("fio --name=t --read_iolog={log} --replay_redirect={} {options}", target.display()));
        });
        assert_eq!(written(&path), written(Path::new(&scene.capture)));
        let flushes = |path: &Path| Contents::of(path).records().filter(|(record, _)| record.op == Op::Flush).count();
        let ours = flushes(Path::new(&scene.capture));
        assert!(ours > 10 && flushes(&path) >= ours, "{} flushes, {ours} captured", flushes(&path));
    });
}

/// An independent reader of the log of dm-log-writes: does to `image` what stands there, and answers the texts of its marks.
/// (Kernel, `Documentation/admin-guide/device-mapper/log-writes.rst`.)
fn apply_log(log: &Path, image: &Path) -> Vec<String> {
    let (log, image) = (fs::read(log).expect("a log"), File::options().write(true).open(image).expect("an image"));
    let word = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().expect("8 bytes"));
    let sector = u32::from_le_bytes(log[24..28].try_into().expect("4 bytes")) as usize;
    let (mut marks, mut at) = (Vec::new(), sector);
    assert_eq!((word(0), word(8)), (0x006a_7366_7773_6872, 1), "magic and version");
    for _ in 0..word(16) {
        let [first, count, flags, text] = [0, 8, 16, 24].map(|word_at| word(at + word_at));
        let (offset, len) = (first * sector as u64, count as usize * sector);
        if flags & 8 != 0 {
            marks.push(String::from_utf8_lossy(&log[at + 32..at + 32 + text as usize]).into_owned());
        }
        at += sector;
        if flags & (4 | 8) == 0 {
            image.write_all_at(&log[at..at + len], offset).expect("written");
            at += len;
        } else if flags & 4 != 0 {
            image.write_all_at(&vec![0; len], offset).expect("written");
        }
    }
    assert_eq!(at, log.len(), "nothing is left");
    marks
}

/// Read by others, and read by us: from the log of a captured ext4 comes the same disk, a capture of which states are
/// explored, and the same log again.
#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_log_of_dm_log_writes_holds_all_of_an_ext4() {
    again(|| {
        let scene = Scene::ext4(16, |_| {}, copy_files);
        let (log, image, again) = (scene.path("log"), scene.path("image"), scene.path("log-again"));
        convert(&[&scene.capture, "--to", "dm-log-writes", "-o", &log]);
        sh(&format!("cp --sparse=always {} {image}", scene.base));
        assert_eq!(apply_log(Path::new(&log), Path::new(&image)), [""; 0]);
        sh(&format!("cmp {image} {}", scene.device.image.display()));
        let back = scene.path("back.pcapng");
        convert(&[&log, "--from", "dm-log-writes", "-o", &back]);
        let rebuilt = scene.path("rebuilt");
        let (code, told) = blkecho(&["rebuild", &back, "--base", &scene.base, "-o", &rebuilt, "--json"]);
        assert_eq!(code, 0, "the log does not tell the size, the base does: {told:#}");
        sh(&format!("cmp {rebuilt} {}", scene.device.image.display()));
        let fsck = "e2fsck -y -E journal_only {}; e2fsck -fn {}";
        let work = scene.dir.path().display().to_string();
        let arguments =
            ["explore", &back, "--base", &scene.base, "--check", fsck, "--work-dir", &work, "--samples", "4", "--json"];
        let (code, told) = blkecho(&arguments);
        assert_eq!(code, 0, "the order of the log is one in which it became durable: {told:#}");
        convert(&[&back, "--to", "dm-log-writes", "-o", &again]);
        sh(&format!("cmp {log} {again}"));
    });
}

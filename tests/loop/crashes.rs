//! Crash states, earlier moments and replays of real workloads, captured and looked at by the program itself.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use captures::{Device, Item, Reader, Writer};
use formats::{Entry, Op, OpFlags, Seq};
use serde_json::Value;

use crate::captures::{Contents, apply};
use crate::rig::{LoopDevice, Mounted, again, check_whole, fio, sh};
use crate::scratch;

/// Replays the journal as a mount would (which `-n` alone leaves out), then looks at everything.
const FSCK: &str = "e2fsck -y -E journal_only {}; e2fsck -fn {}";

/// The program: the one that is named, or the one that was built beside this test.
pub(crate) fn program() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().expect("a path");
        test.ancestors().nth(2).expect("the folder of a build").join("blkecho")
    };
    std::env::var_os("BLKECHO_BIN").map_or_else(beside, PathBuf::from)
}

/// Runs the program; answers its exit code and what it printed as JSON.
pub(crate) fn blkecho(arguments: &[&str]) -> (i32, Value) {
    let Output { status, stdout, stderr } = Command::new(program()).args(arguments).output().expect("the program runs");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    let told = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{arguments:?} ended with {status}: {said}"));
    (status.code().unwrap_or(-1), told)
}

/// A capture that runs.
pub(crate) struct Capture {
    child: Child,
    log: PathBuf,
}

impl Capture {
    pub(crate) fn start(dir: &Path, device: &Path, output: &Path) -> Self {
        let log = dir.join("capture.log");
        let mut command = Command::new(program());
        command.arg("capture").arg(device).arg("--name").arg("data").arg("-o").arg(output);
        let mut child = command.stderr(File::create(&log).expect("a log")).spawn().expect("the program runs");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&log).expect("a log").contains("capturing ") {
            assert!(child.try_wait().expect("a state").is_none() && Instant::now() < deadline, "no capture");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, log }
    }

    pub(crate) fn end(mut self) {
        sh(&format!("kill -INT {}", self.child.id()));
        let code = self.child.wait().expect("an end").code();
        check_whole(code, &fs::read_to_string(&self.log).expect("a log"));
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A captured workload: what the device held before, the capture, and what it holds now.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) device: LoopDevice,
    pub(crate) base: String,
    pub(crate) capture: String,
}

impl Scene {
    /// On an ext4 of `mib` MiB with a small journal; both get the mount point, `work` is captured.
    pub(crate) fn ext4(mib: u64, prepare: impl FnOnce(&Path), work: impl FnOnce(&Path)) -> Self {
        let dir = scratch();
        let device = LoopDevice::new(dir.path(), "disk", mib);
        sh(&format!("mkfs.ext4 -q -J size=4 {} && sync", device.path.display()));
        let mounted = Mounted::new(&device.path, dir.path().join("mounted"));
        prepare(&mounted.at);
        mounted.unmount();
        Self::record(dir, device, |device, at| {
            let mounted = Mounted::new(device, at);
            work(&mounted.at);
            mounted.unmount();
        })
    }

    pub(crate) fn record(dir: tempfile::TempDir, device: LoopDevice, work: impl FnOnce(&Path, PathBuf)) -> Self {
        let (base, capture) = (dir.path().join("base"), dir.path().join("capture.pcapng"));
        sh(&format!("cp --sparse=always {} {}", device.image.display(), base.display()));
        let running = Capture::start(dir.path(), &device.path, &capture);
        work(&device.path, dir.path().join("mounted"));
        sh("sync");
        running.end();
        let text = |path: PathBuf| path.display().to_string();
        Self { dir, device, base: text(base), capture: text(capture) }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn explore(&self, capture: &str, check: &str, more: &[&str]) -> (i32, Value) {
        let work = self.dir.path().display().to_string();
        let plain = ["explore", capture, "--base", &self.base, "--check", check, "--work-dir", &work, "--json"];
        blkecho(&[&plain, more].concat())
    }
}

pub(crate) fn copy_files(at: &Path) {
    let at = at.display();
    for round in 1..=12 {
        sh(&format!("head -c {} /dev/urandom > {at}/f{round}; mkdir {at}/d{round}", round * 3000));
        sh(&format!("mv {at}/f{round} {at}/d{round}/; [ {round} -le 4 ] || rm -r {at}/d$(({round} - 4))"));
        if round % 3 == 0 {
            sh(&format!("sync -f {at}"));
        }
    }
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn an_ext4_has_no_failing_crash_state_and_is_rebuilt() {
    again(|| {
        let scene = Scene::ext4(32, |_| {}, copy_files);
        let (code, told) = scene.explore(&scene.capture, FSCK, &["--samples", "16"]);
        assert_eq!((code, &told["failing"]), (0, &Value::Null), "{told:#}");
        assert!(told["barriers"].as_u64() > Some(10) && told["states"].as_u64() > Some(100), "{told:#}");
        let image = scene.path("image");
        let (code, told) = blkecho(&["rebuild", &scene.capture, "--base", &scene.base, "-o", &image, "--json"]);
        assert_eq!((code, &told["holes"]), (0, &0.into()));
        sh(&format!("cmp {image} {}", scene.device.image.display()));
        // The same with a disk whose flushes cover nothing.
        let broken = scene.path("broken.pcapng");
        without_barriers(&scene.capture, &broken);
        let bad = scene.path("bad");
        let (code, told) = scene.explore(&broken, FSCK, &["--samples", "20", "-o", &bad]);
        assert_eq!(code, 3, "{told:#}");
        let lost = told["failing"]["difference"][0]["seq"].as_u64().expect("it names the command");
        let original = Contents::of(Path::new(&scene.capture));
        let original = original.records().find(|(record, _)| record.seq.0 == lost).map(|(record, _)| record.op);
        assert_eq!(original, Some(Op::Write), "what was lost or torn: {told:#}");
        assert_eq!(told["failing"]["minimal"], true, "{told:#}");
        // What was kept to look at is the failing state.
        assert!(fs::metadata(&bad).is_ok_and(|meta| meta.len() == 32 << 20));
        let check = FSCK.replace("{}", &bad);
        assert!(!Command::new("sh").args(["-c", &check]).output().expect("it runs").status.success());
    });
}

/// Numbers that only their seed decides (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The reference applies one record after the other to a copy of the base and is looked at where it stands.
#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn two_hundred_moments_of_an_ext4_equal_a_naive_replay() {
    again(|| {
        let scene = Scene::ext4(16, |_| {}, copy_files);
        let records = Contents::of(Path::new(&scene.capture));
        let last = records.records().map(|(record, _)| record.seq.0).last().expect("something was captured");
        let mut seed = 200;
        let mut places: Vec<u64> = (0..200).map(|_| 1 + random(&mut seed) % last).collect();
        places.sort_unstable();
        let (naive, image) = (scene.path("naive"), scene.path("image"));
        sh(&format!("cp --sparse=always {} {naive}", scene.base));
        let kept = File::options().read(true).write(true).open(&naive).expect("a copy");
        let mut steps = records.records().peekable();
        for place in places {
            while let Some((record, entry)) = steps.next_if(|(record, _)| record.seq.0 <= place) {
                apply(&kept, record, entry);
            }
            let at = place.to_string();
            let arguments =
                ["rebuild", &scene.capture, "--base", &scene.base, "--at", &at, "-o", &image, "--force", "--json"];
            let (code, told) = blkecho(&arguments);
            assert_eq!((code, told["seq"].as_u64()), (0, Some(place)), "{told:#}");
            assert!(fs::read(&image).expect("an image") == fs::read(&naive).expect("a copy"), "they differ at {place}");
        }
    });
}

/// On XFS states are clones that share their blocks with the worker's image: what is found is the same, also by checks that
/// write, and what a base and an image of it have in common lies on the disk once.
#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn states_and_images_on_xfs_share_their_blocks() {
    again(|| {
        let scene = Scene::ext4(32, |_| {}, copy_files);
        let broken = scene.path("broken.pcapng");
        without_barriers(&scene.capture, &broken);
        let disk = LoopDevice::new(scene.dir.path(), "xfs", 600);
        sh(&format!("mkfs.xfs -q {}", disk.path.display()));
        let xfs = Mounted::new(&disk.path, scene.dir.path().join("on-xfs"));
        let there = |name: &str| xfs.at.join(name).display().to_string();
        let (base, image) = (there("base"), there("image"));
        sh(&format!("cp {} {base}", scene.base));
        let on = |work: &str| {
            let plain =
                ["explore", &broken, "--base", &base, "--check", FSCK, "--work-dir", work, "--samples", "20", "--json"];
            blkecho(&plain)
        };
        let (code, shared) = on(&there(""));
        assert_eq!((code, shared["handed_out"].as_str()), (3, Some("clone")), "{shared:#}");
        let plain = LoopDevice::new(scene.dir.path(), "ext4", 300);
        sh(&format!("mkfs.ext4 -q {}", plain.path.display()));
        let ext4 = Mounted::new(&plain.path, scene.dir.path().join("on-ext4"));
        let (code, copied) = on(&ext4.at.display().to_string());
        assert_eq!(code, 3);
        assert_ne!(copied["handed_out"], "clone", "ext4 shares no blocks: {copied:#}");
        ext4.unmount();
        for what in ["seq", "difference", "needed", "verdict"] {
            assert_eq!(shared["failing"][what], copied["failing"][what], "{what}");
        }
        let (code, told) = blkecho(&["rebuild", &scene.capture, "--base", &base, "-o", &image, "--json"]);
        assert_eq!((code, &told["holes"]), (0, &0.into()), "{told:#}");
        sh(&format!("cmp {image} {}; filefrag -v {image} | grep -q shared", scene.device.image.display()));
        xfs.unmount();
    });
}

/// A capture in which flushes were issued before everything else, and no write is durable by itself.
fn without_barriers(capture: &str, broken: &str) {
    let file = BufReader::new(File::open(capture).expect("opens"));
    let mut reader = Reader::new(file).expect("a capture");
    let mut writer = None;
    while let Some(item) = reader.next_item().expect("whole") {
        let Item::Entry(mut entry) = item else { continue };
        if let Entry::Record(record) = &mut entry.header.entry {
            record.dep = if record.op == Op::Flush { Seq(0) } else { record.dep };
            record.flags.remove(OpFlags::FUA | OpFlags::PREFLUSH);
        }
        let out = || {
            let devices: Vec<Device> = reader.devices().cloned().collect();
            Writer::new(File::create(broken).expect("a file"), reader.section(), &devices).expect("begins")
        };
        let payload = entry.payload().expect("all of it");
        writer.get_or_insert_with(out).write(&entry.header, &payload).expect("written");
    }
    writer.expect("something was captured").finish().expect("ends");
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_replay_leaves_the_same_bytes() {
    again(|| {
        let dir = scratch();
        let device = LoopDevice::new(dir.path(), "disk", 32);
        let scene = Scene::record(dir, device, |device, _| {
            fio(
                device,
                "--rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --size=16m --io_size=4m --rate_iops=1000",
            );
        });
        let target = LoopDevice::new(scene.dir.path(), "target", 32);
        let to = target.path.display().to_string();
        for pace in [&["--speed", "100%"][..], &["--max"]] {
            sh(&format!("blkdiscard -z {to}"));
            let (code, told) =
                blkecho(&[&["replay", &scene.capture, "--to", &to, "--write", "--verify", "--json"], pace].concat());
            assert_eq!((code, &told["verified"]["differing_bytes"]), (0, &0.into()), "{told:#}");
            eprintln!("{pace:?}: issue error {}, {} s", told["issue_error"], told["seconds"]);
            sh(&format!("cmp {} {}", scene.device.image.display(), target.image.display()));
        }
        // What is in use is refused, as on a standby.
        sh(&format!("mkfs.ext4 -q -F {to}"));
        let mounted = Mounted::new(&target.path, scene.dir.path().join("in-use"));
        let refused =
            Command::new(program()).args(["replay", &scene.capture, "--to", &to, "--write", "--overwrite"]).output();
        assert_eq!(refused.expect("the program runs").status.code(), Some(6));
        mounted.unmount();
    });
}

/// A database with an empty table, and a file that tells how many rows were committed.
fn make_database(at: &Path, journal: &str) {
    let at = at.display();
    let table = "CREATE TABLE rows(n INTEGER PRIMARY KEY, v TEXT);";
    sh(&format!("sqlite3 {at}/rows.db 'PRAGMA journal_mode={journal}; {table}'"));
    sh(&format!("printf 0000 > {at}/told; sync -f {at}"));
}

/// Commits rows one by one. The word that each was committed is durable before the next.
fn insert_rows(at: &Path, synchronous: &str) {
    let at = at.display();
    for n in 1..=8 {
        let insert = format!("INSERT INTO rows VALUES({n}, hex(randomblob(100)));");
        sh(&format!("sqlite3 {at}/rows.db \"PRAGMA synchronous={synchronous}; {insert}\""));
        sh(&format!("printf %04d {n} | dd of={at}/told bs=4 conv=notrunc oflag=sync status=none"));
    }
}

/// Mounts a copy, opens the database, and counts: what was told to be committed must be there.
fn check_rows(scene: &Scene) -> String {
    let script = scene.path("check.sh");
    let text = "set -e\nat=$(mktemp -d)\nmount -o loop \"$1\" $at\n\
        trap 'umount $at; rmdir $at' EXIT\n\
        told=$(cat $at/told 2>/dev/null || echo 0)\n\
        test $(sqlite3 $at/rows.db 'PRAGMA integrity_check') = ok\n\
        rows=$(sqlite3 $at/rows.db 'SELECT count(*) FROM rows')\n\
        echo told $told rows $rows\n\
        test $rows -ge $(expr $told + 0)\n";
    fs::write(&script, text).expect("a script");
    format!("sh {script} {{}}")
}

/// What SQLite says of itself (https://www.sqlite.org/pragma.html#pragma_synchronous) is what is found: with a rollback
/// journal FULL does not make the commit durable, which is the removal of a file; EXTRA does.
#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn sqlite_loses_no_row_when_it_syncs_and_the_loss_is_found_when_it_does_not() {
    again(|| {
        for (journal, synchronous, code) in
            [("WAL", "FULL", 0), ("DELETE", "EXTRA", 0), ("DELETE", "FULL", 3), ("WAL", "OFF", 3)]
        {
            let scene = Scene::ext4(24, |at| make_database(at, journal), |at| insert_rows(at, synchronous));
            let (found, told) = scene.explore(&scene.capture, &check_rows(&scene), &["--samples", "3"]);
            assert_eq!(found, code, "{journal} {synchronous}: {told:#}");
            // Some command is named: one that was lost, or one that went before something that never came.
            let named = |list: &str| told["failing"][list].as_array().map_or(0, Vec::len);
            assert_eq!(named("difference") + named("needed") > 0, code == 3, "{told:#}");
            assert_ne!(told["handed_out"], "itself", "a check that mounts gets a copy");
        }
    });
}

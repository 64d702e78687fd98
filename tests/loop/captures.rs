//! Captures of real devices by the program itself: what is in the file, what other tools say of it, and what is left when
//! something goes wrong.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use captures::{CapturedEntry, Item, Reader, Statistics, Tail};
use formats::{Entry, Op, PayloadEncoding, Record};

use crate::rig::{LoopDevice, Mounted, Rig, ZramDevice, again, check_whole, fio, sh};
use crate::scratch;
use crate::tshark::assert_agrees;

/// The program: the one that is named, or the one that was built beside this test.
fn program() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().expect("a path");
        test.ancestors().nth(2).expect("the folder of a build").join("blkecho")
    };
    let program = std::env::var_os("BLKECHO_BIN").map_or_else(beside, PathBuf::from);
    assert!(program.exists(), "{}: build it (cargo build -p blkecho) or name it with BLKECHO_BIN", program.display());
    program
}

fn blkecho(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().expect("the program runs")
}

/// A capture that runs.
struct Capture {
    child: Child,
    log: PathBuf,
}

impl Capture {
    /// Starts one, and waits until it captures.
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let log = dir.join("capture.log");
        let (out, err) = (File::create(dir.join("capture.out")), File::create(&log));
        let mut command = Command::new(program());
        command.arg("capture").args(arguments).stdout(out.expect("a file")).stderr(err.expect("a file"));
        let child = command.spawn().expect("the program runs");
        let mut capture = Self { child, log };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !capture.said().contains("capturing ") {
            assert!(capture.child.try_wait().expect("a state").is_none(), "it ended: {}", capture.said());
            assert!(Instant::now() < deadline, "{}", capture.said());
            std::thread::sleep(Duration::from_millis(10));
        }
        capture
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    fn signal(&self, name: &str) {
        sh(&format!("kill -{name} {}", self.child.id()));
    }

    /// Waits for its end; answers its exit code.
    fn end(&mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }

    /// Ends it in order; answers its exit code.
    fn interrupt(mut self) -> Option<i32> {
        self.signal("INT");
        let ended = self.end();
        println!("{}", self.said());
        ended
    }

    /// The same; a capture from which the kernel hid something gives the attempt up.
    fn interrupt_whole(mut self) {
        self.signal("INT");
        let code = self.end();
        check_whole(code, &self.said());
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is in a file.
pub(crate) struct Contents {
    items: Vec<Item>,
    tail: Option<Tail>,
    part: u32,
}

impl Contents {
    pub(crate) fn of(path: &Path) -> Self {
        let mut reader = Reader::new(captures::input::open(path).expect("opens")).expect("a capture");
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().expect("whole") {
            items.push(item);
        }
        Self { items, tail: reader.tail(), part: reader.section().part }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (&Record, &CapturedEntry)> {
        self.items.iter().filter_map(|item| match item {
            Item::Entry(entry) => match &entry.header.entry {
                Entry::Record(record) => Some((record, &**entry)),
                _ => None,
            },
            _ => None,
        })
    }

    fn statistics(&self) -> Option<&Statistics> {
        self.items.iter().find_map(|item| match item {
            Item::Statistics(statistics) => Some(&**statistics),
            _ => None,
        })
    }

    fn gaps(&self) -> usize {
        let is_gap = |item: &&Item| matches!(item, Item::Entry(entry) if matches!(entry.header.entry, Entry::Gap(_)));
        self.items.iter().filter(is_gap).count()
    }
}

/// Does to `image` what a record did to its device.
pub(crate) fn apply(image: &File, record: &Record, entry: &CapturedEntry) {
    if !record.status.is_ok() || record.range.is_empty() {
        return;
    }
    let zeros = || vec![0; record.range.len as usize];
    let bytes = match (record.op, entry.header.payload.encoding) {
        (Op::Write, PayloadEncoding::Data) => entry.content.clone(),
        (Op::Write, PayloadEncoding::Zero) | (Op::Discard | Op::WriteZeroes, _) => zeros(),
        (op, encoding) => panic!("{op} with {encoding:?}"),
    };
    assert_eq!(bytes.len() as u64, record.range.len, "seq {}", record.seq);
    image.write_all_at(&bytes, record.range.offset).expect("written");
}

/// Builds what one volume was, from nothing but the records, and compares it with the device.
fn assert_rebuilds(dir: &Path, device: &LoopDevice, volume: u16, parts: &[PathBuf]) {
    let path = dir.join("rebuilt");
    let image = File::create(&path).expect("an image");
    image.set_len(fs::metadata(&device.image).expect("an image").len()).expect("a size");
    for part in parts {
        let contents = Contents::of(part);
        let mine = contents.records().filter(|(record, _)| record.volume.0 == volume);
        mine.for_each(|(record, entry)| apply(&image, record, entry));
    }
    let digest = |path: &Path| sh(&format!("sync; dd if={} bs=1M iflag=direct status=none | md5sum", path.display()));
    assert_eq!(digest(&device.path), digest(&path), "{} and what was rebuilt", device.path.display());
}

/// Numbers of all commands: each one once, in order, without a hole.
fn assert_in_order(contents: &Contents) {
    let seqs: Vec<u64> = contents.records().map(|(record, _)| record.seq.0).collect();
    let first = seqs.first().copied().unwrap_or_default();
    assert!(seqs.iter().zip(first..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
    assert_eq!((contents.gaps(), contents.tail), (0, None));
    let statistics = contents.statistics().expect("it was ended in order");
    assert!(statistics.lost.is_nothing(), "{statistics:?}");
    assert_eq!(statistics.records, seqs.len() as u64);
}

/// Writes that the kernel has counted on a device, and their bytes (Documentation/block/stat.rst).
fn written(device: &LoopDevice) -> (u64, u64) {
    let name = device.path.file_name().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("counts");
    let counts: Vec<u64> = text.split_whitespace().map(|count| count.parse().expect("a number")).collect();
    (counts[4], counts[6] * 512)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name")
}

/// Fills the device with a byte.
fn fill(device: &LoopDevice, octal: &str) {
    let fill = format!("tr '\\0' '\\{octal}' </dev/zero | head -c 4M");
    sh(&format!("{fill} | dd of={} bs=64k iflag=fullblock oflag=direct status=none", device.path.display()));
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_mark_stands_behind_what_had_completed() {
    again(|| {
        let dir = scratch();
        let device = LoopDevice::new(dir.path(), "a", 4);
        let (file, image) = (dir.path().join("t.pcapng"), dir.path().join("then"));
        let capture = Capture::start(dir.path(), &[text(&device.path), "-o", text(&file)]);
        fill(&device, "101");
        let process = capture.child.id().to_string();
        let marked = blkecho(&["mark", "between", "--capture", &process]);
        assert!(marked.status.success(), "{}", String::from_utf8_lossy(&marked.stderr));
        fill(&device, "102");
        let refused = blkecho(&["mark", "two\nlines"]);
        assert_eq!(refused.status.code(), Some(2));
        capture.interrupt_whole();
        for (at, byte) in [("between", b'A'), ("end", b'B')] {
            let rebuilt = blkecho(&["rebuild", text(&file), "--blank", "--at", at, "-o", text(&image), "--force"]);
            assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
            let content = fs::read(&image).expect("an image");
            assert!(content.len() == 4 << 20 && content.iter().all(|held| *held == byte), "{at}");
        }
        let gone = blkecho(&["mark", "late", "--capture", &process]);
        assert_eq!(gone.status.code(), Some(5), "{}", String::from_utf8_lossy(&gone.stderr));
        assert!(!Path::new(&format!("/run/blkecho/capture-{process}.lock")).exists());
    });
}

/// A busy kernel does not show the issue or the end of every command (decision 0005). A capture tells of how many, and is
/// made again.
const ATTEMPTS: usize = 5;

/// Writes of all sizes, flushes and discards on both devices while they are captured; none when the kernel did not show
/// all of some.
fn mixed_writes(
    capture: impl FnOnce() -> Capture,
    file: &Path,
    [a, b]: [&LoopDevice; 2],
) -> Option<(Contents, [(u64, u64); 2])> {
    // What lay there before the capture began is none of its business.
    sh(&format!("blkdiscard {}; blkdiscard {}", a.path.display(), b.path.display()));
    let capture = capture();
    let before = [a, b].map(written);
    let sizes = "--rw=randwrite --bsrange=512-512k --serialize_overlap=1 --iodepth=8 --ioengine=libaio --rate=60m";
    fio(&a.path, &format!("{sizes} --size=64m --io_size=48m"));
    fio(&b.path, &format!("{sizes} --size=32m --io_size=16m --fdatasync=8"));
    fio(&a.path, "--rw=randtrim --bs=64k --iodepth=1 --size=32m --io_size=2m");
    sh(&format!("dd if=/dev/zero of={} bs=64k count=3 oflag=direct conv=notrunc status=none", b.path.display()));
    sh("sync");
    let code = capture.interrupt();
    let contents = Contents::of(file);
    let Statistics { lost, in_flight, .. } = contents.statistics().expect("it ended in order");
    assert_eq!((lost.commands(), *in_flight), (lost.unseen, 0), "the devices are idle: {lost:?}");
    assert!(lost.is_nothing() || lost.unseen > 0, "nothing was hidden: {lost:?}");
    assert_eq!(code, Some(if lost.is_nothing() { 0 } else { 7 }), "{lost:?}");
    lost.is_nothing().then_some((contents, before))
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn every_write_is_in_the_file_with_its_payload() {
    let dir = scratch();
    let (a, b) = (LoopDevice::new(dir.path(), "a", 64), LoopDevice::new(dir.path(), "b", 32));
    for options in [&[][..], &["--zstd"]] {
        let file = dir.path().join("t.pcapng");
        let named = [text(&a.path), text(&b.path), "-o", text(&file), "--force", "--name", "first", "--name", "second"];
        let capture = || Capture::start(dir.path(), &[&named[..], options].concat());
        let captured = (0..ATTEMPTS).find_map(|_| mixed_writes(capture, &file, [&a, &b]));
        let (contents, before) = captured.expect("one in which the kernel shows everything");
        assert_in_order(&contents);
        let ops = |volume, op| contents.records().filter(|(r, _)| (r.volume.0, r.op) == (volume, op)).count();
        let (writes, discards, flushes) = (ops(0, Op::Write), ops(0, Op::Discard), ops(1, Op::Flush));
        assert!(
            writes > 100 && discards == 32 && flushes > 0,
            "{writes} writes, {discards} discards, {flushes} flushes: {:?}",
            contents.statistics()
        );
        for (volume, device, before) in [(0, &a, before[0]), (1, &b, before[1])] {
            let mine =
                || contents.records().filter(|(r, _)| r.volume.0 == volume && r.op == Op::Write && r.range.len > 0);
            let (count, bytes) = (mine().count() as u64, mine().map(|(r, _)| r.range.len).sum::<u64>());
            let now = written(device);
            assert_eq!(bytes, now.1 - before.1, "each write that the kernel counts, once");
            // It counts the flushes of the other device as writes of nothing.
            assert!(volume == 1 || count == now.0 - before.0, "{count} {before:?} {now:?}");
        }
        assert_rebuilds(dir.path(), &a, 0, std::slice::from_ref(&file));
        assert_rebuilds(dir.path(), &b, 1, std::slice::from_ref(&file));
        assert!(
            !Path::new("/sys/fs/bpf/blkecho").is_dir()
                || sh("ls /sys/fs/bpf/blkecho").lines().all(|pin| !pin.starts_with("capture-"))
        );
    }
}

#[test]
#[ignore = "needs root, eBPF, loop devices and tshark"]
fn tshark_says_the_same_of_every_command() {
    again(|| {
        let dir = scratch();
        let (device, file) = (LoopDevice::new(dir.path(), "disk", 512), dir.path().join("t.pcapng"));
        let capture = Capture::start(dir.path(), &[text(&device.path), "-o", text(&file)]);
        sh(&format!("mkfs.ext4 -q -F {}", device.path.display()));
        let mounted = Mounted::new(&device.path, dir.path().join("mnt"));
        sh(&format!(
            "cd {}; for i in 1 2 3 4 5; do head -c 300000 /dev/urandom > $i; sync; done; rm 3",
            mounted.at.display()
        ));
        mounted.unmount();
        sh(&format!("fallocate -p -o 1M -l 64K {0} || true; blkdiscard -z -o 64M -l 1M {0}", device.path.display()));
        capture.interrupt_whole();
        let compared = assert_agrees(&file);
        assert!(compared.commands > 50 && compared.failed == 0, "{compared:?}");
        let shown = blkecho(&["show", "--json", text(&file)]);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let told = String::from_utf8(shown.stdout).expect("text");
        assert_eq!(told.lines().filter(|line| line.contains("\"type\":\"command\"")).count(), compared.commands);
        let live = sh(&format!("cat {} | tshark -n -r - -T fields -e frame.number | wc -l", file.display()));
        assert_eq!(live.parse(), Ok(compared.packets), "from a pipe");
    });
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_killed_capture_is_readable_up_to_its_tail() {
    again(|| {
        let dir = scratch();
        let (device, file) = (LoopDevice::new(dir.path(), "disk", 64), dir.path().join("t.pcapng"));
        for options in [&[][..], &["--zstd=1"]] {
            let arguments = [&[text(&device.path), "-o", text(&file), "--force"], options].concat();
            let mut capture = Capture::start(dir.path(), &arguments);
            let mut load = Command::new("fio")
                .args([
                    "--name=t",
                    "--direct=1",
                    "--rw=randwrite",
                    "--bsrange=4k-256k",
                    "--iodepth=4",
                    "--ioengine=libaio",
                ])
                .args(["--size=64m", "--time_based", "--runtime=30", "--rate=50m", "--output=/dev/null"])
                .arg(format!("--filename={}", device.path.display()))
                .spawn()
                .expect("fio runs");
            let deadline = Instant::now() + Duration::from_secs(20);
            while fs::metadata(&file).map_or(0, |file| file.len()) < 20 << 20 {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(20));
            }
            capture.signal("KILL");
            capture.end();
            load.kill().and_then(|()| load.wait()).expect("fio ends");
            // As a crash of the host in the middle of a write would leave it.
            let len = fs::metadata(&file).expect("a file").len();
            File::options().write(true).open(&file).and_then(|file| file.set_len(len - 777)).expect("cut");
            let contents = Contents::of(&file);
            assert!(contents.records().count() > 50 && contents.statistics().is_none());
            let seqs: Vec<u64> = contents.records().map(|(record, _)| record.seq.0).collect();
            assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
            let info = blkecho(&["info", text(&file)]);
            assert!(info.status.success() && String::from_utf8_lossy(&info.stdout).contains("not in order"));
            let shown = blkecho(&["show", text(&file)]);
            assert!(shown.status.success());
            assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), contents.items.len());
        }
        // A probe that nobody reads ends with its reader.
        assert!(!sh("ls /sys/fs/bpf/blkecho 2>/dev/null || true").contains("capture-"));
    });
}

/// The parts of a chain, in order.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> =
        fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    parts.sort();
    parts
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn parts_follow_each_other_within_their_limits() {
    again(|| {
        let dir = scratch();
        let (device, folder) = (LoopDevice::new(dir.path(), "disk", 64), dir.path().join("parts"));
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("t.pcapng");
        let common = [text(&device.path), "-o", text(&file), "--rotate-size", "4M"];
        let capture = Capture::start(dir.path(), &common);
        let load = "--rw=randwrite --bs=64k --iodepth=4 --ioengine=libaio --size=64m --io_size=20m --rate=60m";
        fio(&device.path, load);
        capture.interrupt_whole();
        let found = parts(&folder);
        assert!(found.len() >= 5 && found[0].ends_with("t-000001.pcapng"), "{found:?}");
        assert!(found.iter().all(|part| fs::metadata(part).expect("a part").len() <= 4 << 20));
        let all: Vec<Contents> = found.iter().map(|part| Contents::of(part)).collect();
        assert!(all.iter().zip(1..).all(|(part, number)| part.part == number && part.statistics().is_some()));
        let counts: Vec<u64> = all.iter().map(|part| part.statistics().map_or(0, |end| end.records)).collect();
        assert_eq!(counts.iter().sum::<u64>(), 320);
        let seqs: Vec<u64> = all.iter().flat_map(|part| part.records().map(|(record, _)| record.seq.0)).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1) && seqs.len() == 320, "{seqs:?}");
        assert_rebuilds(dir.path(), &device, 0, &found);
        // Not over them, unless it is said; then within a limit in all.
        let refused = blkecho(&[&["capture"], &common[..]].concat());
        assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
        let capture = Capture::start(dir.path(), &[&common[..], &["--force", "--max-size", "10M"]].concat());
        fio(&device.path, load);
        capture.interrupt_whole();
        let found = parts(&folder);
        let size: u64 = found.iter().map(|part| fs::metadata(part).expect("a part").len()).sum();
        assert!(size <= 10 << 20 && size > 5 << 20 && !found[0].ends_with("t-000001.pcapng"), "{size} {found:?}");
        // And by time.
        let capture = Capture::start(
            dir.path(),
            &[text(&device.path), "-o", text(&folder.join("s.pcapng")), "--rotate-time", "500ms"],
        );
        fio(&device.path, "--rw=write --bs=4k --ioengine=libaio --size=64m --time_based --runtime=3 --rate_iops=50");
        capture.interrupt_whole();
        let by_time = parts(&folder).into_iter().filter(|part| text(part).contains("s-0")).count();
        assert!((3..=9).contains(&by_time), "{by_time}");
    });
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn a_full_disk_is_told_and_what_was_written_stays() {
    again(|| {
        let dir = scratch();
        let (device, store) = (LoopDevice::new(dir.path(), "disk", 64), LoopDevice::new(dir.path(), "store", 24));
        sh(&format!("mkfs.ext4 -q -F {}", store.path.display()));
        let mounted = Mounted::new(&store.path, dir.path().join("mnt"));
        let file = mounted.at.join("t.pcapng");
        let mut capture = Capture::start(dir.path(), &[text(&device.path), "-o", text(&file)]);
        fio(&device.path, "--rw=write --bs=64k --iodepth=1 --ioengine=libaio --size=64m --io_size=40m --rate=80m");
        assert_eq!(capture.end(), Some(1), "{}", capture.said());
        let said = capture.said();
        assert!(said.contains("No space left on device") && said.contains("which can be read"), "{said}");
        let contents = Contents::of(&file);
        let records = contents.records().count();
        assert!(records > 50 && contents.tail.is_none(), "{records}");
        assert!(said.contains(&format!("{records} commands are in the capture")), "{records}: {said}");
        if let Some(statistics) = contents.statistics() {
            assert!(statistics.records == records as u64 && statistics.lost.unwritten > 0, "{statistics:?}");
        }
        // Within a limit nothing fails: the capture is full.
        let mut capture =
            Capture::start(dir.path(), &[text(&device.path), "-o", text(&file), "--force", "--max-size", "5M"]);
        fio(&device.path, "--rw=write --bs=64k --iodepth=1 --ioengine=libaio --size=64m --io_size=10m --rate=80m");
        assert_eq!(capture.end(), Some(0), "{}", capture.said());
        let len = fs::metadata(&file).expect("a file").len();
        assert!(len <= 5 << 20 && len > 4 << 20 && Contents::of(&file).statistics().is_some(), "{len}");
        mounted.unmount();
    });
}

#[test]
#[ignore = "needs root, eBPF and loop devices"]
fn filters_and_limits_of_payload_hold() {
    again(|| {
        let dir = scratch();
        let (device, file) = (LoopDevice::new(dir.path(), "disk", 32), dir.path().join("t.pcapng"));
        sh(&format!("yes secretsecret | head -c 1M > {}/secret", dir.path().display()));
        let write = || {
            let (from, to) = (dir.path().join("secret"), device.path.display());
            sh(&format!("dd if={} of={to} bs=4k count=50 oflag=direct conv=notrunc status=none", from.display()));
            sh(&format!("blkdiscard -o 16M -l 1M {to}"));
        };
        let run = |options: &[&str]| {
            let capture =
                Capture::start(dir.path(), &[&[text(&device.path), "-o", text(&file), "--force"], options].concat());
            write();
            capture.interrupt_whole();
            Contents::of(&file)
        };
        let holds_secret = || fs::read(&file).expect("a file").windows(12).any(|bytes| bytes == b"secretsecret");
        let all = run(&[]);
        assert_eq!(all.records().count(), 51);
        assert!(holds_secret());
        let without = run(&["--no-payload"]);
        assert_eq!(without.records().count(), 51);
        assert!(without.records().all(|(_, entry)| entry.content.is_empty() && entry.missing == 0) && !holds_secret());
        assert!(without.statistics().is_some_and(|end| end.lost.is_nothing()));
        let cut = run(&["--snap-len", "10"]);
        assert!(
            cut.records().all(|(r, entry)| r.op != Op::Write || (entry.content.len(), entry.missing) == (10, 4086))
        );
        assert!(!holds_secret());
        let range = run(&["--lba", "80-159"]);
        assert_eq!(range.records().count(), 10);
        assert!(range.records().all(|(record, _)| (80..160).contains(&(record.range.offset / 512))));
        assert_eq!(range.statistics().map(|end| end.filtered.range), Some(41));
        let op = run(&["--op", "discard"]);
        assert!(op.records().count() == 1 && op.records().all(|(record, _)| record.op == Op::Discard));
        let shown = |options: &[&str]| {
            run(&[]);
            let output = blkecho(&[&["show", text(&file)], options].concat());
            String::from_utf8(output.stdout).expect("text").lines().filter(|line| !line.contains(" end: ")).count()
        };
        assert_eq!(shown(&["--op", "discard"]), 1);
        assert_eq!(shown(&["--lba", "80-159"]), 10);
        assert_eq!(shown(&["--failed"]), 0);
    });
}

#[test]
#[ignore = "needs root, eBPF, loop devices and zram"]
fn what_would_feed_on_itself_or_overwrite_is_refused() {
    let dir = scratch();
    let device = LoopDevice::new(dir.path(), "disk", 64);
    sh(&format!("mkfs.ext4 -q -F {}", device.path.display()));
    let mounted = Mounted::new(&device.path, dir.path().join("mnt"));
    let inside = mounted.at.join("t.pcapng");
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = blkecho(&[&["capture", text(&device.path)], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    };
    refused(&["-o", text(&inside)], 6, "would record its own writes");
    assert!(!inside.exists());
    let (program, disk) = (program(), device.path.display());
    let into =
        format!("{} capture {disk} -o - --duration 1 > {} 2>/dev/null || echo $?", program.display(), inside.display());
    assert_eq!(sh(&into), "6", "standard output on the device");
    mounted.unmount();
    let there = dir.path().join("there");
    fs::write(&there, "precious").expect("a file");
    refused(&["-o", text(&there)], 6, "--force");
    assert_eq!(fs::read_to_string(&there).expect("a file"), "precious");
    let other = ZramDevice::new(16);
    refused(&["-o", text(&other.path), "--force"], 2, "a block device");
    refused(&["-o", text(dir.path())], 2, "a directory");
    refused(&["-o", "-", "--rotate-size", "1M"], 2, "need a file");
    refused(&["-o", text(&there), "--force", "--layer", "scsi"], 2, "no whole SCSI disk");
    assert_eq!(fs::read_to_string(&there).expect("a file"), "precious", "nothing began, so nothing is replaced");
}

#[test]
#[ignore = "needs root, eBPF, loop devices and zram"]
fn a_capture_goes_beside_an_agent_and_into_a_pipe_that_ends() {
    again(|| {
        let dir = scratch();
        let device = ZramDevice::new(32);
        let rig = Rig::start("beside", &[&device.path], |_| {});
        rig.wait("the link", |status| status.peer == "UpToDate");
        let file = dir.path().join("t.pcapng");
        let capture = Capture::start(dir.path(), &[text(&device.path), "-o", text(&file)]);
        fio(&device.path, "--rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --size=32m --io_size=4m");
        capture.interrupt_whole();
        assert_in_order(&Contents::of(&file));
        assert_eq!(Contents::of(&file).records().count(), 1024);
        rig.assert_identical();
        drop(rig);
        // A reader that has seen enough.
        let mut command = Command::new(program());
        command.args(["capture", text(&device.path), "-o", "-", "--duration", "20s"]).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut head = [0; 100];
        let begun = std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut head);
        if let Err(error) = begun {
            let ended = child.wait_with_output().expect("an end");
            panic!("no beginning ({error}): {}", String::from_utf8_lossy(&ended.stderr));
        }
        drop(child.stdout.take());
        fio(&device.path, "--rw=write --bs=64k --ioengine=libaio --size=32m --io_size=4m");
        let ended = child.wait_with_output().expect("an end");
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    });
}

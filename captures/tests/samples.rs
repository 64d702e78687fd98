//! The captures in `samples/`: what they promise, and what tshark says of them.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use captures::{CapturedEntry, Item, Lines, Reader, Section, Statistics};
use common::tshark::assert_agrees;
use formats::{Entry, Op};

/// Largest sample, and all of them, in bytes: they lie in the repository.
const LARGEST: u64 = 300 << 10;
const LARGEST_SUM: u64 = 1500 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

/// Every sample, by name.
fn samples() -> Vec<PathBuf> {
    let all = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("a file").path());
    let mut all: Vec<PathBuf> = all.filter(|path| !path.ends_with("README.md")).collect();
    all.sort();
    assert_eq!(all.len(), 5, "{all:?}");
    all
}

struct Sample {
    section: Section,
    entries: Vec<CapturedEntry>,
    statistics: Option<Statistics>,
    /// As `blkecho show` prints it.
    shown: String,
}

impl Sample {
    fn of(path: &Path) -> Self {
        let mut reader = Reader::new(captures::input::open(path).expect("opens")).expect("a capture");
        let section = reader.section().clone();
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().expect("whole") {
            items.push(item);
        }
        assert_eq!((reader.tail(), reader.foreign()), (None, 0), "{}", path.display());
        let devices: Vec<_> = reader.devices().cloned().collect();
        let lines = Lines::new(&section, &devices, 0);
        let shown = items.iter().map(|item| lines.text(item).1 + "\n").collect();
        let mut sample = Self { section: section.clone(), entries: Vec::new(), statistics: None, shown };
        for item in items {
            match item {
                Item::Entry(entry) => sample.entries.push(*entry),
                Item::Statistics(statistics) => sample.statistics = Some(*statistics),
                Item::Mark { .. } => {}
            }
        }
        sample
    }

    fn named(name: &str) -> Self {
        Self::of(&folder().join(format!("{name}.pcapng.zst")))
    }

    fn count(&self, op: Op) -> usize {
        let is = |entry: &&CapturedEntry| matches!(&entry.header.entry, Entry::Record(record) if record.op == op);
        self.entries.iter().filter(is).count()
    }

    /// Whether this text was written.
    fn wrote(&self, text: &str) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        self.entries.iter().any(|entry| holds(&entry.content) || holds(&entry.trailer))
    }
}

#[test]
fn each_is_small_whole_and_described() {
    let readme = fs::read_to_string(folder().join("README.md")).expect("a description");
    let mut sum = 0;
    for path in samples() {
        let (name, len) =
            (path.file_name().expect("a name").to_string_lossy(), fs::metadata(&path).expect("a file").len());
        assert!(len <= LARGEST, "{name}: {len}");
        sum += len;
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not described");
        let sample = Sample::of(&path);
        let statistics = sample.statistics.expect("it was ended in order");
        assert!(statistics.lost.is_nothing() && statistics.records == sample.entries.len() as u64, "{statistics:?}");
        assert!(sample.entries.iter().all(|entry| entry.missing == 0), "{name}");
    }
    assert!(sum <= LARGEST_SUM, "{sum}");
}

#[test]
fn nothing_in_them_is_of_the_machine_that_made_them() {
    for path in samples() {
        let sample = Sample::of(&path);
        let Section { host, kernel, time_zone, filter, .. } = &sample.section;
        assert_eq!((host.as_str(), time_zone.as_str(), filter.as_str()), ("guest", "", ""));
        assert!(kernel.contains("Debian"), "{kernel}");
        let mut bytes = Vec::new();
        captures::input::open(&path).expect("opens").read_to_end(&mut bytes).expect("read");
        for word in ["target/", ".cargo"] {
            assert!(!bytes.windows(word.len()).any(|bytes| bytes == word.as_bytes()), "{word} in {}", path.display());
        }
    }
}

#[test]
fn file_systems_and_a_database_are_in_them() {
    let (ext4, xfs, database) = (Sample::named("ext4"), Sample::named("xfs"), Sample::named("database"));
    for sample in [&ext4, &xfs, &database] {
        assert!(sample.entries.len() > 30 && sample.shown.contains(" OK "), "{}", sample.shown);
    }
    assert!(ext4.count(Op::Flush) > 0 && ext4.wrote("line 77 of a file that was written to be captured"));
    assert!(xfs.wrote("XFSB") && xfs.wrote("line 77 of a file that was written to be captured"));
    assert!(xfs.entries.iter().all(|entry| !entry.trailer.is_empty()), "all are seen as SCSI");
    assert!(database.wrote("SQLite format 3") && database.wrote("three!") && database.count(Op::Flush) >= 20);
}

#[test]
fn a_tape_and_errors_are_in_them() {
    let (tape, errors) = (Sample::named("tape"), Sample::named("errors"));
    assert!(tape.wrote("line 77 of a file that was written to be captured"));
    for command in ["WRITE(6)", "WRITE FILEMARKS(6)", "REWIND", "SPACE(6)"] {
        assert!(tape.shown.contains(command), "{command}: {}", tape.shown);
    }
    for sense in [
        "ILLEGAL REQUEST 21h/00h",
        "ILLEGAL REQUEST 20h/00h",
        "MISCOMPARE 1Dh/00h",
        "RECOVERED ERROR",
        "ABORTED COMMAND",
    ] {
        assert!(errors.shown.contains(sense), "{sense}: {}", errors.shown);
    }
}

#[test]
#[ignore = "needs tshark"]
fn tshark_says_the_same_of_every_command_of_them() {
    for path in samples() {
        let compared = assert_agrees(&path);
        println!("{}: {compared:?}", path.display());
        let has_errors = path.ends_with("errors.pcapng.zst");
        assert!(compared.commands > 5 && (compared.failed > 3) == has_errors, "{}: {compared:?}", path.display());
    }
}

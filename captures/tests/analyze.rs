//! An analysis as a whole: its numbers, its text, and its page (`page.rs` looks at that in a browser).
#![allow(missing_docs)]

mod common;

use captures::analyze::{Report, analyze};
use captures::{Reader, Scan, Writer};
use common::{database, devices, file, one_of_each, section};

fn report(bytes: &[u8]) -> Report {
    analyze(Scan::with(bytes, 2, 5000).unwrap(), |_| {}).unwrap()
}

#[test]
fn the_numbers_are_right() {
    let report = report(&database());
    assert_eq!((report.summary.commands, report.summary.written_bytes), (250, 50 * (3 * 8192 + 4096)));
    assert_eq!((report.flushes.flushes, report.flushes.writes_between.p50), (50, 4));
    let write = report.operations.iter().find(|operation| operation.name == "write").unwrap();
    assert_eq!((write.count, write.size.min, write.size.max, write.latency.max), (200, 4096, 8192, 50_000));
    assert_eq!(report.sequentiality.sequential, 149);
    let content = report.content.as_ref().unwrap();
    assert_eq!(content.bytes, report.summary.written_bytes);
    assert!((content.zero - 5.0 * 24_576.0 / content.bytes as f64).abs() < 1e-9, "{content:?}");
    assert!(content.duplicate > 0.8 && content.compressed < 0.1, "{content:?}");
    let state = &report.state_blocks[0];
    assert_eq!((state.offset, state.updates, state.transactions.count), (4096, 50, 49));
    assert_eq!((state.made_durable, state.transactions.mean_writes), (1.0, 4.0));
    assert_eq!(report.processes[0].name, "test (7)");
    assert_eq!(report.timeline.stretches.iter().map(|stretch| stretch.commands).sum::<u64>(), 250);
    assert_eq!(report.heat_maps[0].columns.iter().flatten().sum::<u64>(), report.summary.written_bytes);
}

#[test]
fn failures_gaps_and_cuts_are_told() {
    let bytes = file(&section(), &one_of_each());
    let whole = report(&bytes);
    assert_eq!((whole.failures.count, whole.summary.cut_bytes), (3, 0));
    assert!(whole.failures.first[2].what.contains("WRITE(10)"), "{:?}", whole.failures.first);
    let cut = report(&bytes[..bytes.len() - 700]);
    assert!(cut.summary.cut_bytes > 0 && cut.summary.statistics.is_none());
    assert!(cut.text().contains("the file is cut"), "{}", cut.text());
}

#[test]
fn the_text_is_one_screen() {
    let text = report(&database()).text();
    assert!(text.lines().count() <= 45, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 200), "{text}");
    for words in ["state blocks", "at 4096", "log for an outage", "link for a lag", "compresses to"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn an_empty_capture_has_a_report() {
    let empty = Writer::new(Vec::new(), &section(), &devices()).unwrap().finish().unwrap();
    let report = report(&empty);
    assert!(report.text().contains("0 commands"), "{}", report.text());
    assert!(!report.html().unwrap().contains("<figure"));
}

#[test]
fn a_page_needs_nothing_else_and_believes_nothing() {
    let page = report(&database()).html().unwrap();
    let svg = "http://www.w3.org/2000/svg";
    assert_eq!(page.matches("http").count(), page.matches(svg).count() + page.matches("http-equiv").count());
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{style}}"), "a mark is text");
    assert!(!page.contains("<script>alert"));
    assert!(page.matches("<figure").count() >= 9);
    for stand_in in ["#010101", "#020202", "#030303", "#040404", "#050505", "#060606"] {
        assert!(!page.contains(stand_in), "{stand_in} has its colour");
    }
}

#[test]
fn a_damaged_capture_is_an_error_and_no_report() {
    let mut bytes = database();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4000].fill(0x55);
    assert!(analyze(Scan::new(bytes.as_slice()).unwrap(), |_| {}).is_err());
    assert!(Reader::new(b"xyz1".as_slice()).is_err() && Scan::new(b"xyz1".as_slice()).is_err());
    assert!(Scan::new(b"".as_slice()).is_err());
}

#[test]
fn of_nothing_there_is_little_to_say() {
    let text = report(&file(&section(), &[])).text();
    assert!(text.contains("0 commands") && text.lines().all(|line| !line.trim_end().ends_with(':')), "{text}");
    assert!(!text.contains("log for an outage") && !text.contains("processes"), "{text}");
}

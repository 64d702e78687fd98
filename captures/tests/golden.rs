//! The bytes of a small capture with one of everything, and what tshark says of them.
//!
//! Formats that are not released may change: `BLESS=1` writes both files anew, to be reviewed.
#![allow(missing_docs)]

mod common;

use std::path::PathBuf;

use captures::Writer;
use common::tshark::{Compared, assert_agrees, fields};
use common::{START, devices, one_of_each, section, statistics};
use formats::entry::PayloadInfo;
use formats::{Entry, EntryHeader, Gap, Position, Seq};

/// What is asked of tshark: one line per frame.
const FIELDS: [&str; 12] = [
    "frame.number",
    "frame.interface_name",
    "_ws.col.Protocol",
    "_ws.col.Info",
    "scsi.lun",
    "scsi_sbc.opcode",
    "iscsi.scsiresponse.status",
    "scsi.sns.key",
    "scsi.sns.ascascq",
    "iscsi.initiatortasktag",
    "iscsi.request_frame",
    "frame.comment",
];

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Everything that a capture can hold, few bytes of it.
fn capture() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(), &devices()).expect("begins");
    for (header, payload) in one_of_each().iter().filter(|(header, _)| header.payload.len < 5000) {
        writer.write(header, payload).expect("written");
    }
    let gap = Entry::Gap(Gap { first: Seq(11), last: Seq(14) });
    let gap = EntryHeader { entry: gap, position: Position(11), payload: PayloadInfo::NONE };
    writer.write(&gap, &[]).expect("written");
    writer.mark(START + 2_000_000, "the end is near").expect("written");
    writer.statistics(&statistics(9)).expect("written");
    writer.finish().expect("ends")
}

fn is_blessed() -> bool {
    std::env::var_os("BLESS").is_some()
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let bytes = capture();
    if is_blessed() {
        std::fs::write(data("one_of_each.pcapng"), &bytes).expect("written");
    }
    let golden = std::fs::read(data("one_of_each.pcapng")).expect("the golden file");
    let differs = golden.iter().zip(&bytes).position(|(golden, byte)| golden != byte);
    assert!(golden == bytes, "differs at byte {differs:?}; {} bytes, {} before", bytes.len(), golden.len());
}

#[test]
#[ignore = "needs tshark 4.0.17, whose words change with its versions; BLESS=1 writes the file anew"]
fn tshark_shows_commands_as_scsi() {
    let frames = fields(&data("one_of_each.pcapng"), "frame", &FIELDS);
    let shown: String = frames.iter().map(|frame| frame.join("\t") + "\n").collect();
    if is_blessed() {
        std::fs::write(data("one_of_each.txt"), &shown).expect("written");
    }
    let golden = std::fs::read_to_string(data("one_of_each.txt")).expect("the golden file");
    assert_eq!(shown, golden);
    let compared = assert_agrees(&data("one_of_each.pcapng"));
    assert_eq!(compared, Compared { commands: 9, failed: 2, packets: 25 });
}

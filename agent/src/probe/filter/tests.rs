//! Parsing, compiling, and the probe's own matching beside a naive model of what the words mean.

use formats::ByteRange;
use formats::scsi::DeviceType;
use formats::scsi::opcode::{Class, rows};
use probe_types::filter::{Facts, NO_OPCODE, Task, kind};
use proptest::prelude::*;

use super::*;

/// The numbers of Linux 6.x.
const OPS: [(&str, u64); 8] = [
    ("REQ_OP_WRITE", 1),
    ("REQ_OP_FLUSH", 2),
    ("REQ_OP_DISCARD", 3),
    ("REQ_OP_SECURE_ERASE", 5),
    ("REQ_OP_ZONE_APPEND", 7),
    ("REQ_OP_WRITE_ZEROES", 9),
    ("REQ_OP_DRV_IN", 34),
    ("REQ_OP_DRV_OUT", 35),
];

fn number(name: &str) -> Option<u64> {
    OPS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

const MIB: u64 = 1 << 20;

fn disks() -> [Observable<'static>; 2] {
    let disk = |name, block| Observable { name, size: MIB, block, device: Some(DeviceType::DISK) };
    [disk("a", 512), disk("b", 4096)]
}

fn parse<T: std::str::FromStr<Err = ParseError>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().expect("parses")).collect()
}

fn refused<T: std::str::FromStr<Err = ParseError> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err("refused").to_string()
}

#[test]
fn values_are_read_as_they_are_written() {
    for (text, shown) in [("0-2047", "0-2047"), ("data:8+8", "data:8-15"), ("0x10", "16-16"), ("a:b:1-2", "a:b:1-2")] {
        assert_eq!(text.parse::<LbaRange>().expect("parses").to_string(), shown);
    }
    for (text, code) in [("0x2a", 0x2a), ("42", 0x2a), ("WRITE(10)", 0x2a), ("write 10", 0x2a), ("unmap", 0x42)] {
        assert_eq!(text.parse::<OpcodeName>(), Ok(OpcodeName(code)), "{text}");
    }
    for operation in Operation::ALL {
        assert_eq!(operation.to_string().parse(), Ok(operation));
    }
    for class in CommandClass::ALL {
        assert_eq!(class.to_string().parse(), Ok(class));
    }
    assert_eq!("a-name-of-more-than-15".parse::<TaskName>().expect("parses").to_string(), "a-name-of-more-");
    assert_eq!("4711".parse::<Group>(), Ok(Group::Id(4711)));
    assert_eq!("system.slice".parse::<Group>(), Ok(Group::Path("system.slice".into())));
}

#[test]
fn what_is_no_value_is_refused_by_name() {
    for text in ["", "-", "5-", "x", "1-2-3", ":1", "1M", "+1-2", "0x", "99999999999999999999"] {
        assert!(refused::<LbaRange>(text).contains("FIRST-LAST"), "{text}");
    }
    for text in ["8-7", "8+0", "1+18446744073709551615", "0-18446744073709551615"] {
        assert!(refused::<LbaRange>(text).contains("empty range"), "{text}");
    }
    for text in ["", "256", "0x100", "WRITE(11)", "()"] {
        assert!(refused::<OpcodeName>(text).contains("no operation code"), "{text}");
    }
    assert!(refused::<Operation>("read").contains("use write, flush"));
    assert!(refused::<CommandClass>("read").contains("counted in `status`"));
    assert!(refused::<CommandClass>("erase").contains("use write, sync or state"));
    assert!(refused::<TaskName>("").contains("name"));
    assert!(refused::<Group>("0").contains("cgroup2"));
}

#[test]
fn a_filter_is_checked_against_its_volumes() {
    let error = |filter: Filter| filter.compile(&disks(), number).expect_err("refused").to_string();
    let lbas = |texts: &[&str]| Filter { lbas: parse(texts), ..Filter::default() };
    assert!(error(lbas(&["0-1"])).contains("as NAME:0-1; there are a, b"));
    assert!(error(lbas(&["c:0-1"])).contains("no volume is named \"c\""));
    assert!(error(lbas(&["b:0-256"])).contains("behind the last LBA of b, which is 255"));
    assert!(error(lbas(&["a:1"; 17])).contains("17 values of --lba: a filter has at most 16"));
    assert!(error(Filter { pids: vec![0], ..Filter::default() }).contains("no process"));
    let gone = Filter { cgroups: parse(&["no/such/group"]), ..Filter::default() };
    assert!(error(gone).contains("no such directory"));
    let tmp = Filter { cgroups: parse(&["/proc"]), ..Filter::default() };
    assert!(error(tmp).contains("not on a cgroup2"));
    let block = [Observable { device: None, ..disks()[0] }];
    let opcodes = Filter { opcodes: parse(&["0x2a"]), ..Filter::default() };
    assert!(opcodes.compile(&block, number).expect_err("refused").to_string().contains("SCSI commands of a"));
    let tape = [Observable { block: 0, size: 0, ..disks()[0] }];
    assert!(lbas(&["0"]).compile(&tape, number).expect_err("refused").to_string().contains("no logical blocks"));
}

#[test]
fn ranges_that_are_replicated_are_whole_regions() {
    let check = |texts: &[&str]| {
        let filter = Filter { lbas: parse(texts), ..Filter::default() };
        filter.compile(&disks(), number).expect("compiles").check_regions(&disks(), 65536)
    };
    assert!(check(&["a:128-255", "b:0-15", "b:16-255"]).is_ok());
    let text = check(&["a:100-200"]).expect_err("refused").to_string();
    assert!(text.contains("regions of 65536 bytes") && text.contains("use a:0-255"), "{text}");
    let rules = Filter { lbas: parse(&["b:16-31", "b:0-15", "b:30-40"]), ..Filter::default() };
    let rules = rules.compile(&disks(), number).expect("compiles");
    assert_eq!(rules.ranges, [None, Some(vec![ByteRange::new(0, 41 * 4096)])]);
}

#[test]
fn a_standby_is_fed_by_a_filter_that_drops_only_when_that_is_said() {
    let ranges = Filter { lbas: parse(&["0-127"]), ..Filter::default() };
    assert!(ranges.check_replication(false, true).is_ok());
    let tasks = Filter { comms: parse(&["fio"]), ..ranges.clone() };
    let text = tasks.check_replication(false, false).expect_err("refused").to_string();
    assert!(text.starts_with("--comm fio drops changes"), "{text}");
    assert!(tasks.check_replication(true, false).is_ok());
    assert!(matches!(tasks.check_replication(true, true), Err(FilterError::PartialIdentical)));
    assert!(matches!(ranges.check_replication(true, false), Err(FilterError::NotPartial)));
    assert!(Filter::default().check_replication(false, false).is_ok());
    assert_eq!(tasks.to_string(), "--lba 0-127 --comm fio");
}

#[test]
fn the_class_of_a_program_is_told_by_its_operation_code() {
    let rules = Filter { classes: vec![CommandClass::Write], ..Filter::default() }.compile(&disks(), number);
    let filter = rules.expect("compiles").kernel;
    let passes = |operation, opcode| filter.refuses(&Facts { operation, opcode, ..Facts::default() }) == 0;
    assert!(passes(1, NO_OPCODE) && passes(1, 0x2a) && passes(35, 0x2a) && passes(3, 0x42));
    assert!(!passes(2, NO_OPCODE) && !passes(34, 0x35) && !passes(35, 0x5f));
    assert!(passes(35, 0xc7), "a vendor's may change anything");
}

#[test]
fn without_rules_everything_passes() {
    let filter = Filter::default().compile(&disks(), number).expect("compiles");
    assert!(filter.is_empty() && filter.text.is_empty());
    assert_eq!(filter.kernel.refuses(&Facts::default()) | filter.kernel.refuses_task(&Task::default()), 0);
}

/// Names that differ in their last byte only, and one that is cut.
const NAMES: [&str; 4] = ["fio", "fia", "a-task-of-15-by", "a-task-of-15-bx"];

fn filters() -> impl Strategy<Value = Filter> {
    let range = (0usize..2, 0u64..250, 1u64..40).prop_map(|(volume, first, count)| LbaRange {
        volume: Some(["a", "b"][volume].to_owned()),
        first,
        last: (first + count - 1).min(255),
    });
    (
        prop::collection::vec(range, 0..4),
        prop::collection::vec(prop::sample::select(&Operation::ALL[..]), 0..3),
        prop::collection::vec(any::<u8>().prop_map(OpcodeName), 0..4),
        prop::collection::vec(prop::sample::select(&CommandClass::ALL[..]), 0..3),
        prop::collection::vec(prop::sample::select(&NAMES[..]), 0..3),
        prop::collection::vec(1u32..6, 0..3),
        prop::collection::vec((1u64..6).prop_map(Group::Id), 0..3),
    )
        .prop_map(|(lbas, operations, opcodes, classes, names, pids, cgroups)| Filter {
            lbas,
            operations,
            opcodes,
            classes,
            comms: parse(&names),
            pids,
            cgroups,
        })
}

/// What the words mean, said again without bits, sectors or tables.
fn naive(filter: &Filter, facts: &Facts, task: &Task, name: &str) -> (bool, bool) {
    let any = |none: bool, any: bool| none || any;
    let block = [512, 4096][facts.volume as usize];
    let mine: Vec<_> =
        filter.lbas.iter().filter(|r| r.volume.as_deref() == Some(["a", "b"][facts.volume as usize])).collect();
    let touched = |range: &&LbaRange| {
        (facts.sector..facts.sector + facts.sectors).any(|s| (range.first..=range.last).contains(&(s * 512 / block)))
    };
    let place = facts.sectors == 0 || any(mine.is_empty(), mine.iter().any(touched));
    let op = OPS.iter().find(|(_, n)| *n == u64::from(facts.operation)).map_or("", |(name, _)| name);
    let word = match op {
        "REQ_OP_WRITE" => "write",
        "REQ_OP_FLUSH" => "flush",
        "REQ_OP_DISCARD" => "discard",
        "REQ_OP_SECURE_ERASE" => "secure-erase",
        "REQ_OP_WRITE_ZEROES" => "write-zeroes",
        "REQ_OP_DRV_IN" | "REQ_OP_DRV_OUT" => "passthrough",
        _ => "",
    };
    let operation = any(filter.operations.is_empty(), filter.operations.iter().any(|o| o.name() == word));
    let code = facts.opcode;
    let opcode =
        any(filter.opcodes.is_empty(), filter.opcodes.iter().any(|o| u32::from(o.0) == code)) || code == NO_OPCODE;
    let by_block = |class: &CommandClass| match class {
        _ if word == "passthrough" => true,
        CommandClass::Write => !["flush", ""].contains(&word) || op == "REQ_OP_ZONE_APPEND",
        CommandClass::Sync => word == "flush",
        CommandClass::State => false,
    };
    let by_code = |class: &CommandClass| {
        let known: Vec<_> =
            rows().filter(|r| u32::from(r.opcode) == code && r.devices.contains(DeviceType::DISK.set())).collect();
        let class = [Class::Write, Class::Sync, Class::State][*class as usize];
        code == NO_OPCODE || known.iter().any(|r| r.class == class) || (known.is_empty() && class != Class::Sync)
    };
    let block_class = any(filter.classes.is_empty(), filter.classes.iter().any(by_block));
    let code_class = any(filter.classes.is_empty(), filter.classes.iter().any(by_code));
    let comm = any(filter.comms.is_empty(), filter.comms.iter().any(|c| c.to_string() == name));
    let pid = any(filter.pids.is_empty(), filter.pids.contains(&task.pid));
    let cgroup = any(filter.cgroups.is_empty(), filter.cgroups.contains(&Group::Id(task.cgroup)));
    (place && operation && opcode && block_class && code_class, comm && pid && cgroup)
}

proptest! {
    #[test]
    fn the_probe_decides_as_the_naive_model(
        filter in filters(),
        (volume, sector, sectors) in (0u32..2, 0u64..2040, 0u64..8),
        operation in prop::sample::select(vec![1u32, 2, 3, 5, 7, 9, 34, 35]),
        opcode in prop_oneof![Just(NO_OPCODE), Just(0x2a), Just(0x35), Just(0x42), 0u32..256],
        (name, pid, cgroup) in (prop::sample::select(&NAMES[..]), 0u32..7, 0u64..7),
    ) {
        let rules = filter.compile(&disks(), number).expect("compiles");
        let facts = Facts { sector, sectors, volume, operation, opcode };
        let bytes = name.parse::<TaskName>().expect("parses").bytes();
        let words = [0, 1].map(|at| u64::from_ne_bytes(*bytes[8 * at..].first_chunk().expect("16 bytes")));
        let task = Task { comm: words, cgroup, pid };
        let (command, task_passes) = naive(&filter, &facts, &task, name);
        let refused = rules.kernel.refuses(&facts);
        prop_assert_eq!(refused == 0, command, "{} refuses {:#x}: {:?}", filter, refused, facts);
        let refused = rules.kernel.refuses_task(&task);
        prop_assert_eq!(refused == 0, task_passes, "{} refuses {:#x}: {:?}", filter, refused, task);
        prop_assert_eq!(refused & !kind::TASK, 0);
    }
}

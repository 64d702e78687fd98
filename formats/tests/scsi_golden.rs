//! Commands and sense data against independent decoders: what Wireshark (tshark) and sg3_utils (sg_decode_sense) said of
//! them is kept in `data/`, and a test that is run by hand asks the tools again.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command as Process, Output};

use formats::scsi::opcode;
use formats::scsi::{Asc, Cdb, Decoded, DeviceType, FieldName, Row, Sense, SenseFlags, SenseFormat, SenseKey, decode};

const CDB_FILE: &str = "scsi_cdb.tsv";
const SENSE_FILE: &str = "scsi_sense.tsv";
/// Device types that tshark decodes, with what its preference calls them.
const DEVICES: [(DeviceType, &str); 4] = [
    (DeviceType::DISK, "Block Device"),
    (DeviceType::TAPE, "Sequential Device"),
    (DeviceType::OPTICAL_DISC, "Multimedia Device"),
    (DeviceType::CHANGER, "Medium Changer Device"),
];

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn rows_of(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(data(file)).expect("the golden file is committed");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Fields that tshark shows, and what they are called here.
const FIELDS: &[(&str, FieldName)] = &[
    ("scsi.cdb.alloclen", FieldName::Length),
    ("scsi.cdb.alloclen16", FieldName::Length),
    ("scsi.cdb.alloclen32", FieldName::Length),
    ("scsi.cdb.paramlen", FieldName::Length),
    ("scsi.cdb.paramlen16", FieldName::Length),
    ("scsi.cdb.paramlen24", FieldName::Length),
    ("scsi.extcopy.param_list_len", FieldName::Length),
    ("scsi.inquiry.evpd.pagecode", FieldName::Page),
    ("scsi.log.pagecode", FieldName::Page),
    ("scsi.log.param_ptr", FieldName::ParameterPointer),
    ("scsi.log.pc", FieldName::PageControl),
    ("scsi.log.pcr", FieldName::Pcr),
    ("scsi.log.sp", FieldName::Save),
    ("scsi.mode.pc", FieldName::PageControl),
    ("scsi.mode.sbc.pagecode", FieldName::Page),
    ("scsi.persresv.scope", FieldName::Scope),
    ("scsi.persresv.type", FieldName::Type),
    ("scsi.prevent_allow.prevent", FieldName::Prevent),
    ("scsi.spc.sb.bufid", FieldName::BufferId),
    ("scsi.spc.select_report", FieldName::SelectReport),
    ("scsi.spc.senddiag.code", FieldName::SelfTest),
    ("scsi.spc.senddiag.pf", FieldName::PageFormat),
    ("scsi.spc.wb.bufoff", FieldName::BufferOffset),
    ("scsi.spc.wb.mode", FieldName::Mode),
    ("scsi_sbc.alloclen16", FieldName::Length),
    ("scsi_sbc.alloclen32", FieldName::Length),
    ("scsi_sbc.anchor", FieldName::Anchor),
    ("scsi_sbc.bytchk", FieldName::Bytchk),
    ("scsi_sbc.corrct", FieldName::Corrct),
    ("scsi_sbc.defect_list_format", FieldName::DefectFormat),
    ("scsi_sbc.disable_write", FieldName::DisableWrite),
    ("scsi_sbc.dpo", FieldName::Dpo),
    ("scsi_sbc.format_unit.cmplist", FieldName::CmpList),
    ("scsi_sbc.format_unit.fmtdata", FieldName::Fmtdata),
    ("scsi_sbc.format_unit.fmtpinfo", FieldName::Fmtpinfo),
    ("scsi_sbc.format_unit.longlist", FieldName::LongList),
    ("scsi_sbc.fua", FieldName::Fua),
    ("scsi_sbc.get_lba_status.start_lba", FieldName::Lba),
    ("scsi_sbc.group", FieldName::Group),
    ("scsi_sbc.lbdata", FieldName::LbData),
    ("scsi_sbc.pbdata", FieldName::PbData),
    ("scsi_sbc.prefetch.immediate", FieldName::Immed),
    ("scsi_sbc.rdprotect", FieldName::Protect),
    ("scsi_sbc.rdwr10.lba", FieldName::Lba),
    ("scsi_sbc.rdwr10.xferlen", FieldName::Length),
    ("scsi_sbc.rdwr12.xferlen", FieldName::Length),
    ("scsi_sbc.rdwr16.lba", FieldName::Lba),
    ("scsi_sbc.rdwr6.lba", FieldName::Lba),
    ("scsi_sbc.rdwr6.xferlen", FieldName::Length),
    ("scsi_sbc.reassignblocks.longlba", FieldName::LongLba),
    ("scsi_sbc.reassignblocks.longlist", FieldName::LongList),
    ("scsi_sbc.req_glist", FieldName::GrownList),
    ("scsi_sbc.req_plist", FieldName::PrimaryList),
    ("scsi_sbc.sanitize.ause", FieldName::Ause),
    ("scsi_sbc.sanitize.immed", FieldName::Immed),
    ("scsi_sbc.ssu.immediate", FieldName::Immed),
    ("scsi_sbc.ssu.loej", FieldName::Loej),
    ("scsi_sbc.ssu.pwr", FieldName::PowerCondition),
    ("scsi_sbc.ssu.start", FieldName::Start),
    ("scsi_sbc.synccache.immediate", FieldName::Immed),
    ("scsi_sbc.unmap", FieldName::Unmap),
    ("scsi_sbc.unmap.anchor", FieldName::Anchor),
    ("scsi_sbc.verify.lba", FieldName::Lba),
    ("scsi_sbc.verify.lba64", FieldName::Lba),
    ("scsi_sbc.verify.vlen", FieldName::Length),
    ("scsi_sbc.verify.vlen32", FieldName::Length),
    ("scsi_sbc.vrprotect", FieldName::Protect),
    ("scsi_sbc.wrprotect", FieldName::Protect),
    ("scsi_sbc.wrverify.lba", FieldName::Lba),
    ("scsi_sbc.wrverify.lba64", FieldName::Lba),
    ("scsi_sbc.wrverify.xferlen", FieldName::Length),
    ("scsi_sbc.wrverify.xferlen32", FieldName::Length),
    ("scsi_sbc.xorpinfo", FieldName::XorPinfo),
    ("scsi_ssc.bt", FieldName::Bt),
    ("scsi_ssc.bytcmp", FieldName::BytCmp),
    ("scsi_ssc.cp", FieldName::ChangePartition),
    ("scsi_ssc.cpv", FieldName::Proportion),
    ("scsi_ssc.dest_type", FieldName::DestinationType),
    ("scsi_ssc.eot", FieldName::Eot),
    ("scsi_ssc.erase6.immed", FieldName::Immed),
    ("scsi_ssc.erase6.long", FieldName::Long),
    ("scsi_ssc.erase_immed", FieldName::Immed),
    ("scsi_ssc.fixed", FieldName::Fixed),
    ("scsi_ssc.format", FieldName::Format),
    ("scsi_ssc.hold", FieldName::Hold),
    ("scsi_ssc.immed", FieldName::Immed),
    ("scsi_ssc.load", FieldName::Load),
    ("scsi_ssc.locate10.loid", FieldName::Object),
    ("scsi_ssc.locate16.loid", FieldName::Object),
    ("scsi_ssc.long", FieldName::Long),
    ("scsi_ssc.partition", FieldName::Partition),
    ("scsi_ssc.rdwr6.xferlen", FieldName::Length),
    ("scsi_ssc.readposition.parameter_len", FieldName::Length),
    ("scsi_ssc.readposition.service_action", FieldName::Mode),
    ("scsi_ssc.reten", FieldName::Reten),
    ("scsi_ssc.sili", FieldName::Sili),
    ("scsi_ssc.space16.count", FieldName::Count),
    ("scsi_ssc.space16.parameter_len", FieldName::Length),
    ("scsi_ssc.space6.code", FieldName::Code),
    ("scsi_ssc.space6.count", FieldName::Count),
    ("scsi_smc.allocation_length", FieldName::Length),
    ("scsi_smc.da", FieldName::Destination),
    ("scsi_smc.fda", FieldName::Destination),
    ("scsi_smc.mta", FieldName::Transport),
    ("scsi_smc.number_of_elements", FieldName::Ranges),
    ("scsi_smc.sa", FieldName::Source),
    ("scsi_smc.sda", FieldName::SecondDestination),
    ("scsi_smc.starting_element_address", FieldName::Element),
];

/// Fields that tshark 4.0 shows narrower than the standards have them, with the bits that it shows: they grew in later
/// standards (GROUP NUMBER in SBC-4, BYTCHK and FMTPINFO in SBC-3, MODE in SPC-4), or it masks too much.
const NARROW: [(&str, u64); 7] = [
    ("scsi_sbc.group", 0x1f),
    ("scsi_sbc.bytchk", 0x01),
    ("scsi_sbc.format_unit.fmtpinfo", 0x02),
    ("scsi.prevent_allow.prevent", 0x01),
    ("scsi.spc.wb.mode", 0x0f),
    ("scsi.log.param_ptr", 0xff),
    ("scsi_sbc.rdwr6.lba", 0x0f_ffff),
];
/// A field that tshark shows in hexadecimal without a mark.
const AS_BYTES: &str = "scsi_sbc.rdwr16.lba";
/// Commands in which tshark shows a field that is another's: it takes one service action for another, and one layout for
/// several commands of tapes.
const OTHERS: [&str; 2] = ["COPY OPERATION ABORT", "WRITE(6)"];
/// Names that the tools spell in another way.
const ALIASES: &[(&str, &str)] = &[
    ("Receive Diagnostics Results", "RECEIVE DIAGNOSTIC RESULTS"),
    ("Write & Verify(10)", "WRITE AND VERIFY(10)"),
    ("Write & Verify(12)", "WRITE AND VERIFY(12)"),
    ("Write & Verify(16)", "WRITE AND VERIFY(16)"),
    ("Compare & Write(16)", "COMPARE AND WRITE"),
    ("Write Long", "WRITE LONG(10)"),
    ("Read Buffer", "READ BUFFER(10)"),
    ("Close Track", "CLOSE TRACK/SESSION"),
    ("Atomic write(32)", "WRITE ATOMIC(32)"),
    ("Extended copy", "EXTENDED COPY(LID4)"),
    ("Receive copy status", "RECEIVE COPY STATUS(LID4)"),
    ("Receive copy data", "RECEIVE COPY DATA(LID4)"),
    ("Read attribute, attribute list", "READ ATTRIBUTE"),
];
/// Operation codes that tshark names without looking at the service action.
const SHARED: [(&str, u8); 10] = [
    ("Sanitize", 0x48),
    ("Persistent Reserve In", 0x5e),
    ("Persistent Reserve Out", 0x5f),
    ("Variable Length CDB", 0x7f),
    ("Extended Copy", 0x83),
    ("Receive Copy", 0x84),
    ("Service Action In(16)", 0x9e),
    ("Service Action Out(16)", 0x9f),
    ("Mgmt Protocol In", 0xa3),
    ("Read Media Serial Number", 0xab),
];

/// One command, and what others say of it.
struct Golden {
    command: Decoded,
    /// The name that tshark prints.
    tshark: String,
    /// `LBA` and `Len` in tshark's summary, where it prints them.
    lba: Option<u64>,
    len: Option<u64>,
    /// Fields by tshark's names, with what it shows.
    fields: Vec<(String, String)>,
    /// The name that sg_decode_sense prints; it takes every device for a disk.
    sg: Option<String>,
}

fn golden_commands() -> Vec<Golden> {
    rows_of(CDB_FILE).iter().map(|columns| golden_command(columns)).collect()
}

fn golden_command(columns: &[String]) -> Golden {
    let [device, cdb, info, fields, sg] = columns else { panic!("five columns: {columns:?}") };
    let device = DeviceType::from_byte(device.parse().expect("a device type"));
    let command = decode(&bytes(cdb), device).expect("a whole CDB");
    let tshark = info.split(" LUN:").next().unwrap_or_default().trim_start_matches("SCSI: ").to_owned();
    let sg = (device == DeviceType::DISK).then(|| sg.clone());
    let pairs = fields.split_whitespace().filter_map(|pair| pair.split_once('='));
    let fields = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Golden { command, tshark, lba: number(info, "LBA: "), len: number(info, "Len: "), fields, sg }
}

/// The number behind a label, decimal or with 0x.
fn number(text: &str, label: &str) -> Option<u64> {
    let rest = text.split_once(label)?.1;
    value(rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?)
}

/// What the tools show as a number: decimal, with a sign, or hexadecimal with 0x.
fn value(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok().or_else(|| text.parse().ok().map(i64::cast_unsigned)),
    }
}

/// Letters and digits only, in lower case: the tools spell names in their own ways.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_same_name(theirs: &str, ours: &str) -> bool {
    plain(theirs) == plain(ours) || ALIASES.contains(&(theirs, ours))
}

#[test]
fn names_are_those_of_tshark() {
    let (mut agreed, mut unknown) = (0, 0);
    for Golden { command, tshark, .. } in golden_commands() {
        let name = command.name().expect("it is in the table");
        let shared = SHARED.contains(&(&tshark, command.cdb.opcode()));
        match is_same_name(&tshark, name) || shared {
            true => agreed += 1,
            false if tshark.starts_with("SCSI Command: 0x") => unknown += 1,
            false if OTHERS.contains(&name) => {}
            false => panic!("{name} is {tshark} to tshark"),
        }
    }
    assert!(agreed > 450 && unknown < 110, "{agreed} agreed, {unknown} that tshark does not know");
}

#[test]
fn names_are_those_of_sg3_utils() {
    for Golden { command, sg, .. } in golden_commands() {
        let (name, Some(sg)) = (command.name().expect("it is in the table"), sg) else { continue };
        // The mode of these is a service action to sg_decode_sense.
        let sg = sg.split(" service action=").next().unwrap_or_default();
        assert!(is_same_name(sg, name), "{name} is {sg} to sg_decode_sense");
    }
}

#[test]
fn addresses_and_lengths_are_those_of_tshark() {
    let (mut addresses, mut lengths) = (0, 0);
    for Golden { command, lba, len, .. } in golden_commands() {
        if let Some(lba) = lba {
            assert_eq!(command.lba(), Some(lba), "{command}");
            addresses += 1;
        }
        // For tapes the summary holds CONTROL too; the field is looked at below.
        if let Some(len) = len.filter(|_| command.device == DeviceType::DISK) {
            assert_eq!(command.get(FieldName::Length), Some(len), "{command}");
            lengths += 1;
        }
    }
    assert!(addresses > 70 && lengths > 70, "{addresses} addresses, {lengths} lengths");
}

#[test]
fn fields_are_those_of_tshark() {
    let mut checked = 0;
    for golden in golden_commands() {
        checked += golden.fields.iter().filter(|(name, shown)| check_field(&golden.command, name, shown)).count();
    }
    assert!(checked > 1000, "{checked} fields");
}

/// Whether the command has the field, which then has the value shown.
fn check_field(command: &Decoded, theirs: &str, shown: &str) -> bool {
    let row = command.row().expect("it is in the table");
    let name = FIELDS.iter().find(|(name, _)| *name == theirs).expect("it was asked for").1;
    let name = match (row.name, name) {
        ("WRITE FILEMARKS(6)" | "WRITE FILEMARKS(16)", FieldName::Length) => FieldName::Count,
        ("INITIALIZE ELEMENT STATUS WITH RANGE", FieldName::Source) => FieldName::Element,
        (_, name) => name,
    };
    let Some(ours) = command.get(name) else {
        assert!(OTHERS.contains(&row.name), "{} has a field {theirs} to tshark", row.name);
        return false;
    };
    let signed = command.space_count().filter(|_| name == FieldName::Count).map(i64::cast_unsigned);
    let mask = NARROW.iter().find(|(name, _)| *name == theirs).map_or(u64::MAX, |narrow| narrow.1);
    let value = if theirs == AS_BYTES { u64::from_str_radix(shown, 16).ok() } else { value(shown) };
    let kept = (signed.unwrap_or(ours) & mask) >> mask.trailing_zeros();
    assert_eq!(Some(kept), value, "{command}: {theirs} is {shown}");
    true
}

fn golden_sense() -> Vec<(Vec<u8>, String)> {
    let pair = |columns: Vec<String>| {
        let [sense, text] = &columns[..] else { panic!("two columns: {columns:?}") };
        (bytes(sense), text.clone())
    };
    rows_of(SENSE_FILE).into_iter().map(pair).collect()
}

/// What stands between two marks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(begin)?.1;
    Some(rest.split_once(end).map_or(rest, |parts| parts.0))
}

#[test]
fn sense_means_what_sg3_utils_says() {
    for (bytes, text) in golden_sense() {
        let sense = Sense::decode(&bytes).expect("it is sense data");
        assert_eq!(*sense.encode(), bytes, "{text}");
        let format = if text.starts_with("Fixed") { SenseFormat::Fixed } else { SenseFormat::Descriptor };
        assert_eq!((sense.format, sense.deferred), (format, text.contains("<<<deferred>>>")), "{text}");
        let key = between(&text, "Sense key: ", ";").expect("a key");
        assert!(plain(key).starts_with(&plain(sense.key.name())), "{text}");
        check_code(&sense, &text);
        check_fields(&sense, &text);
    }
}

/// Codes that came after that version of the tool and have no name in it.
const LATER: [Asc; 3] = [Asc::new(0x00, 0x23), Asc::new(0x38, 0x09), Asc::new(0x67, 0x0e)];

fn check_code(sense: &Sense, text: &str) {
    let ours = sense.asc.name().expect("only codes with a name were asked");
    let Some(theirs) = between(text, "Additional sense: ", ";") else {
        assert!(LATER.contains(&sense.asc), "{text}");
        return;
    };
    // Behind these stands the qualifier as a number.
    let theirs = theirs.split(" [0x").next().unwrap_or_default().split(" of 0x").next().unwrap_or_default();
    assert_eq!(plain(theirs), plain(ours), "{text}");
}

fn check_fields(sense: &Sense, text: &str) {
    let information = between(text, "Info fld=", " ").or(between(text, "Information: ", ";")).and_then(value);
    assert_eq!(sense.information, information, "{text}");
    assert_eq!(sense.fru != 0, text.contains("Field replaceable unit code: "), "{text}");
    assert_eq!(sense.progress().is_some(), text.contains("Progress indication: "), "{text}");
    assert_eq!(sense.progress() == Some(0x8000), text.contains("Progress indication: 50.00%"), "{text}");
    let retries = between(text, "Actual retry count: ", ";").map(|count| value(count).expect("a number"));
    assert_eq!(sense.retry_count().map(u64::from), retries, "{text}");
    let field = sense.field_pointer().map(|field| (u64::from(field.byte), field.in_cdb));
    let in_cdb = number(text, "Error in Command: byte ").map(|byte| (byte, true));
    let theirs = in_cdb.or(number(text, "Error in Data parameters: byte ").map(|byte| (byte, false)));
    assert_eq!(field, theirs, "{text}");
    let marks = ["FMK", "FILEMARK"].iter().any(|mark| text.contains(mark));
    assert_eq!(sense.flags.contains(SenseFlags::FILEMARK), marks, "{text}");
}

/// A device type that the tools know and the row holds for.
fn device_of(row: &Row) -> Option<DeviceType> {
    DEVICES.into_iter().map(|(device, _)| device).find(|device| row.devices.contains(device.set()))
}

/// Three commands of a row, with other values in all fields.
fn samples_of(row: &'static Row) -> Vec<(DeviceType, Cdb)> {
    const PATTERN: u64 = 0x0123_4567_89ab_cdef;
    let fill = |value: &dyn Fn(usize, u64) -> u64| {
        let set = |cdb: Cdb, (at, field): (usize, &opcode::Field)| {
            cdb.with(row, field.name, value(at, field.max())).expect("masked to its width")
        };
        row.fields.iter().enumerate().fold(Cdb::of(row), set)
    };
    let cdbs = [fill(&|_, _| 1), fill(&|at, max| (PATTERN >> at) & max), fill(&|at, max| max - (at as u64 & max))];
    device_of(row).into_iter().flat_map(|device| cdbs.map(|cdb| (device, cdb))).collect()
}

fn samples() -> Vec<(DeviceType, Cdb)> {
    opcode::rows().filter(|row| row.opcode != opcode::EXTENDED).flat_map(samples_of).collect()
}

/// A capture of FCP_CMND frames (FC-2, link type 224), one for each command.
fn capture(cdbs: &[&Cdb]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 224] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (number, cdb) in (1u16..).zip(cdbs) {
        let frame = command_frame(number, cdb);
        let len = frame.len() as u32;
        for word in [number.into(), 0, len, len] {
            file.extend_from_slice(&u32::to_le_bytes(word));
        }
        file.extend_from_slice(&frame);
    }
    file
}

fn command_frame(exchange: u16, cdb: &Cdb) -> Vec<u8> {
    // R_CTL unsolicited command, addresses, type FCP, F_CTL of the first and last frame of a sequence.
    let mut frame = vec![0x06, 1, 2, 3, 0, 4, 5, 6, 0x08, 0x29, 0, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&exchange.to_be_bytes());
    frame.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
    // FCP_CMND: LUN, reference, attributes, management; words of CDB beyond sixteen bytes; the CDB; FCP_DL.
    let mut padded = cdb.to_vec();
    padded.resize(cdb.len().max(16), 0);
    let beyond = (padded.len() - 16) / 4;
    frame.extend_from_slice(&[0; 11]);
    frame.push((beyond << 2) as u8);
    frame.extend_from_slice(&padded);
    frame.extend_from_slice(&512u32.to_be_bytes());
    frame
}

fn text_of(output: Output, tool: &str) -> String {
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the tools speak ASCII")
}

/// What tshark's Info column and its fields say of each command.
fn ask_tshark(cdbs: &[&Cdb], kind: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scsi_golden.pcap");
    fs::write(&path, capture(cdbs)).expect("the capture can be written");
    let preference = format!("scsi.decode_scsi_messages_as:{kind}");
    let mut tshark = Process::new("tshark");
    tshark.args(["-o", &preference, "-T", "fields", "-E", "occurrence=f", "-e", "_ws.col.Info"]);
    tshark.args(FIELDS.iter().flat_map(|(name, _)| ["-e", name])).arg("-r").arg(&path);
    let text = text_of(tshark.output().expect("tshark is installed"), "tshark");
    text.lines().map(columns_joined).collect()
}

/// The Info column, then the fields that are there as `name=value`.
fn columns_joined(line: &str) -> String {
    let mut columns = line.split('\t');
    let info = columns.next().unwrap_or_default().trim();
    let pairs = FIELDS.iter().zip(columns).filter(|(_, value)| !value.is_empty());
    pairs.fold(format!("{info}\t"), |mut text, ((name, _), value)| {
        write!(text, "{name}={value} ").expect("a string takes all");
        text
    })
}

/// What sg_decode_sense prints, its lines joined.
fn ask_sg(options: &[&str], bytes: &[u8]) -> String {
    let mut tool = Process::new("sg_decode_sense");
    tool.args(options).args(bytes.iter().map(|byte| format!("{byte:02x}")));
    let text = text_of(tool.output().expect("sg3-utils is installed"), "sg_decode_sense");
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn live_commands() -> String {
    let mut file = String::from("# device type, CDB, tshark 4.0.17: summary, fields, sg_decode_sense 1.21 --cdb\n");
    let all = samples();
    for (device, kind) in DEVICES {
        let cdbs: Vec<&Cdb> = all.iter().filter(|(of, _)| *of == device).map(|(_, cdb)| cdb).collect();
        let infos = ask_tshark(&cdbs, kind);
        assert_eq!(infos.len(), cdbs.len());
        for (cdb, info) in cdbs.iter().zip(infos) {
            let (sg, info) = (ask_sg(&["--cdb"], cdb), info.trim_end_matches(' '));
            writeln!(file, "{}\t{}\t{info}\t{sg}", device.to_byte(), hex(cdb)).expect("a string takes all");
        }
    }
    file
}

fn sense_samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        for key in SenseKey::ALL {
            let plain = Sense { format, ..Sense::new(key, Asc::new(0x0b, 0x01)) };
            let full = Sense { command_specific: Some(7), key_specific: Some([0xca, 0x12, 0x34]), fru: 9, ..plain };
            samples.push(Sense { deferred: true, ..plain }.encode().to_vec());
            samples.push(full.with_lba(0x1234_5678).encode().to_vec());
            samples.push(Sense { flags: SenseFlags::all(), ..plain }.with_progress(0x8000).encode().to_vec());
        }
    }
    let codes = (0..=0xffff_u16).map(|both| Asc::new((both >> 8) as u8, both as u8)).filter(|asc| asc.name().is_some());
    samples.extend(codes.map(|asc| Sense::new(SenseKey::UnitAttention, asc).encode().to_vec()));
    samples
}

fn live_sense() -> String {
    let mut file = String::from("# sense data, sg_decode_sense 1.21\n");
    for sense in sense_samples() {
        writeln!(file, "{}\t{}", hex(&sense), ask_sg(&[], &sense)).expect("a string takes all");
    }
    file
}

#[test]
#[ignore = "needs tshark 4.0.17 and sg3-utils 1.47, whose words change with their versions; BLESS=1 writes the files anew"]
fn the_tools_still_say_the_same() {
    for (name, live) in [(CDB_FILE, live_commands()), (SENSE_FILE, live_sense())] {
        if std::env::var_os("BLESS").is_some() {
            fs::write(data(name), &live).expect("the golden file can be written");
        }
        let kept = fs::read_to_string(data(name)).expect("the golden file is committed");
        assert!(kept == live, "{name} differs from what the tools say now; compare with BLESS=1 and git diff");
    }
}

//! Where fields lie, by shape of CDB. Shapes are shared: WRITE(10), READ(10) and ORWRITE differ in meaning, not in place.

use super::field::FieldName as N;
use super::field::{Field, FieldName};

const fn bit(name: FieldName, byte: u8, at: u8) -> Field {
    Field::bit(name, byte, at)
}

const fn part(name: FieldName, byte: u8, high: u8, low: u8) -> Field {
    Field::part(name, byte, high, low)
}

const fn be(name: FieldName, byte: u8, count: u8) -> Field {
    Field::bytes(name, byte, count)
}

/// A list of fields.
type Layout = &'static [Field];

const fn protect(byte: u8) -> Field {
    part(N::Protect, byte, 7, 5)
}

const fn dpo(byte: u8) -> Field {
    bit(N::Dpo, byte, 4)
}

const fn fua(byte: u8) -> Field {
    bit(N::Fua, byte, 3)
}

const fn immed(at: u8) -> Field {
    bit(N::Immed, 1, at)
}

/// Six bits since SBC-4; the two above are DLD bits.
const fn group(byte: u8) -> Field {
    part(N::Group, byte, 5, 0)
}

const LBA10: Field = be(N::Lba, 2, 4);
const LBA16: Field = be(N::Lba, 2, 8);
const LBA32: Field = be(N::Lba, 12, 8);
const LEN10: Field = be(N::Length, 7, 2);
const LEN12: Field = be(N::Length, 6, 4);
const LEN16: Field = be(N::Length, 10, 4);
const LEN32: Field = be(N::Length, 28, 4);
const GROUP10: Field = group(6);
const GROUP12: Field = group(10);
const GROUP16: Field = group(14);
const GROUP32: Field = group(6);
const TAGS: [Field; 3] = [be(N::ReferenceTag, 20, 4), be(N::ApplicationTag, 24, 2), be(N::TagMask, 26, 2)];

pub(super) const NONE: Layout = &[];
pub(super) const IMMED: Layout = &[immed(0)];
pub(super) const LEN_3_2: Layout = &[be(N::Length, 3, 2)];
pub(super) const LEN_7_2: Layout = &[LEN10];
pub(super) const LEN_6_4: Layout = &[LEN12];
pub(super) const LEN_8_2: Layout = &[be(N::Length, 8, 2)];
pub(super) const LEN_10_4: Layout = &[LEN16];

// SBC: blocks.
const LBA6: Field = Field { name: N::Lba, byte: 1, high: 4, bits: 21 };
pub(super) const RW6: Layout = &[LBA6, be(N::Length, 4, 1)];
pub(super) const SEEK6: Layout = &[LBA6];
pub(super) const SEEK10: Layout = &[LBA10];
pub(super) const RW10: Layout = &[protect(1), dpo(1), fua(1), LBA10, GROUP10, LEN10];
pub(super) const RW12: Layout = &[protect(1), dpo(1), fua(1), LBA10, LEN12, GROUP12];
/// READ(16) and WRITE(16).
pub(super) const DLD16: Layout =
    &[protect(1), dpo(1), fua(1), bit(N::DurationHigh, 1, 0), LBA16, LEN16, part(N::Duration, 14, 7, 6), GROUP16];
pub(super) const RW16: Layout = &[protect(1), dpo(1), fua(1), LBA16, LEN16, GROUP16];
pub(super) const RW32: Layout =
    &[GROUP32, protect(10), dpo(10), fua(10), part(N::Duration, 11, 2, 0), LBA32, TAGS[0], TAGS[1], TAGS[2], LEN32];
const BYTCHK1: Field = part(N::Bytchk, 1, 2, 1);
const BYTCHK10: Field = part(N::Bytchk, 10, 2, 1);
pub(super) const VERIFY10: Layout = &[protect(1), dpo(1), BYTCHK1, LBA10, GROUP10, LEN10];
pub(super) const VERIFY12: Layout = &[protect(1), dpo(1), BYTCHK1, LBA10, LEN12, GROUP12];
pub(super) const VERIFY16: Layout = &[protect(1), dpo(1), BYTCHK1, LBA16, LEN16, GROUP16];
pub(super) const VERIFY32: Layout = &[GROUP32, protect(10), dpo(10), BYTCHK10, LBA32, TAGS[0], TAGS[1], TAGS[2], LEN32];
const PB_DATA: Field = bit(N::PbData, 1, 2);
const LB_DATA: Field = bit(N::LbData, 1, 1);
pub(super) const SAME10: Layout =
    &[protect(1), bit(N::Anchor, 1, 4), bit(N::Unmap, 1, 3), PB_DATA, LB_DATA, LBA10, GROUP10, LEN10];
pub(super) const SAME16: Layout = &[
    protect(1),
    bit(N::Anchor, 1, 4),
    bit(N::Unmap, 1, 3),
    PB_DATA,
    LB_DATA,
    bit(N::Ndob, 1, 0),
    LBA16,
    LEN16,
    GROUP16,
];
pub(super) const SAME32: Layout = &[
    GROUP32,
    protect(10),
    bit(N::Anchor, 10, 4),
    bit(N::Unmap, 10, 3),
    bit(N::Ndob, 10, 0),
    LBA32,
    TAGS[0],
    TAGS[1],
    TAGS[2],
    LEN32,
];
pub(super) const COMPARE_WRITE: Layout = &[protect(1), dpo(1), fua(1), LBA16, be(N::Length, 13, 1), GROUP16];
const BOUNDARY16: Field = be(N::AtomicBoundary, 10, 2);
pub(super) const ATOMIC16: Layout = &[protect(1), dpo(1), fua(1), LBA16, BOUNDARY16, be(N::Length, 12, 2), GROUP16];
pub(super) const ATOMIC32: Layout =
    &[be(N::AtomicBoundary, 4, 2), GROUP32, protect(10), dpo(10), fua(10), LBA32, TAGS[0], TAGS[1], TAGS[2], LEN32];
pub(super) const STREAM16: Layout =
    &[protect(1), dpo(1), fua(1), LBA16, be(N::Stream, 10, 2), be(N::Length, 12, 2), GROUP16];
pub(super) const STREAM32: Layout =
    &[be(N::Stream, 4, 2), GROUP32, protect(10), dpo(10), fua(10), LBA32, TAGS[0], TAGS[1], TAGS[2], LEN32];
pub(super) const ORWRITE32: Layout = &[
    part(N::BitmapOperation, 2, 2, 0),
    part(N::PreviousGeneration, 3, 3, 0),
    GROUP32,
    protect(10),
    dpo(10),
    fua(10),
    LBA32,
    be(N::ExpectedGeneration, 20, 4),
    be(N::NewGeneration, 24, 4),
    LEN32,
];
pub(super) const SCATTERED16: Layout =
    &[protect(2), dpo(2), fua(2), be(N::DataOffset, 4, 2), be(N::Ranges, 8, 2), LEN16, GROUP16];
pub(super) const SCATTERED32: Layout =
    &[GROUP32, protect(10), dpo(10), fua(10), be(N::DataOffset, 12, 2), be(N::Ranges, 16, 2), LEN32];
const DISABLE_WRITE: Field = bit(N::DisableWrite, 1, 2);
const XOR_PINFO: Field = bit(N::XorPinfo, 1, 0);
pub(super) const XDWRITE10: Layout = &[protect(1), dpo(1), fua(1), DISABLE_WRITE, LBA10, GROUP10, LEN10];
pub(super) const XDWRITEREAD10: Layout = &[protect(1), dpo(1), fua(1), DISABLE_WRITE, XOR_PINFO, LBA10, GROUP10, LEN10];
pub(super) const XPWRITE10: Layout = &[dpo(1), fua(1), XOR_PINFO, LBA10, GROUP10, LEN10];
pub(super) const XDREAD10: Layout = &[XOR_PINFO, LBA10, GROUP10, LEN10];
pub(super) const XOR32: Layout =
    &[GROUP32, protect(10), dpo(10), fua(10), bit(N::DisableWrite, 10, 2), bit(N::XorPinfo, 10, 0), LBA32, LEN32];
const COR_DIS: Field = bit(N::CorDis, 1, 7);
const WR_UNCOR: Field = bit(N::WrUncor, 1, 6);
const PBLOCK: Field = bit(N::Pblock, 1, 5);
pub(super) const WRITE_LONG10: Layout = &[COR_DIS, WR_UNCOR, PBLOCK, LBA10, LEN10];
pub(super) const WRITE_LONG16: Layout = &[COR_DIS, WR_UNCOR, PBLOCK, LBA16, be(N::Length, 12, 2)];
pub(super) const READ_LONG10: Layout = &[bit(N::Pblock, 1, 2), bit(N::Corrct, 1, 1), LBA10, LEN10];
pub(super) const READ_LONG16: Layout = &[LBA16, be(N::Length, 12, 2), bit(N::Pblock, 14, 1), bit(N::Corrct, 14, 0)];
pub(super) const UNMAP: Layout = &[bit(N::Anchor, 1, 0), GROUP10, LEN10];
pub(super) const SYNC10: Layout = &[immed(1), LBA10, GROUP10, LEN10];
pub(super) const SYNC16: Layout = &[immed(1), LBA16, LEN16, GROUP16];
pub(super) const FORMAT: Layout = &[
    part(N::Fmtpinfo, 1, 7, 6),
    bit(N::LongList, 1, 5),
    bit(N::Fmtdata, 1, 4),
    bit(N::CmpList, 1, 3),
    part(N::DefectFormat, 1, 2, 0),
    part(N::FastFormat, 4, 1, 0),
];
pub(super) const SANITIZE: Layout = &[immed(7), bit(N::Znr, 1, 6), bit(N::Ause, 1, 5), LEN10];
pub(super) const REASSIGN: Layout = &[bit(N::LongLba, 1, 1), bit(N::LongList, 1, 0)];
const LISTS: [Field; 2] = [bit(N::PrimaryList, 2, 4), bit(N::GrownList, 2, 3)];
pub(super) const DEFECT10: Layout = &[LISTS[0], LISTS[1], part(N::DefectFormat, 2, 2, 0), LEN10];
pub(super) const DEFECT12: Layout =
    &[bit(N::PrimaryList, 1, 4), bit(N::GrownList, 1, 3), part(N::DefectFormat, 1, 2, 0), LEN12];
pub(super) const START_STOP: Layout = &[
    immed(0),
    part(N::PowerModifier, 3, 3, 0),
    part(N::PowerCondition, 4, 7, 4),
    bit(N::NoFlush, 4, 2),
    bit(N::Loej, 4, 1),
    bit(N::Start, 4, 0),
];
pub(super) const LBA_STATUS16: Layout = &[LBA16, LEN16, be(N::ReportType, 14, 1)];
pub(super) const LBA_STATUS32: Layout =
    &[be(N::ReportType, 10, 1), LBA32, be(N::ScanLength, 20, 4), be(N::Element, 24, 4), LEN32];
pub(super) const LBA_LEN16: Layout = &[LBA16, LEN16];
pub(super) const STREAM_CONTROL: Layout = &[part(N::StreamControl, 1, 6, 5), be(N::Stream, 4, 2), LEN16];
pub(super) const STREAM_STATUS: Layout = &[be(N::Stream, 4, 2), LEN16];
pub(super) const ELEMENT_LEN16: Layout = &[be(N::Element, 6, 4), LEN16];
pub(super) const ZONE_OUT: Layout = &[LBA16, be(N::ZoneCount, 12, 2), bit(N::All, 14, 0)];
pub(super) const ZONE_IN: Layout = &[LBA16, LEN16, bit(N::Partial, 14, 7), part(N::ReportingOptions, 14, 5, 0)];

// SPC.
pub(super) const REQUEST_SENSE: Layout = &[bit(N::Desc, 1, 0), be(N::Length, 4, 1)];
pub(super) const INQUIRY: Layout = &[bit(N::Evpd, 1, 0), be(N::Page, 2, 1), be(N::Length, 3, 2)];
pub(super) const REPORT_LUNS: Layout = &[be(N::SelectReport, 2, 1), LEN12];
const PF: Field = bit(N::PageFormat, 1, 4);
const RTD: Field = bit(N::Rtd, 1, 1);
const SAVE: Field = bit(N::Save, 1, 0);
pub(super) const MODE_SELECT6: Layout = &[PF, RTD, SAVE, be(N::Length, 4, 1)];
pub(super) const MODE_SELECT10: Layout = &[PF, RTD, SAVE, LEN10];
const PC: Field = part(N::PageControl, 2, 7, 6);
const PAGE: Field = part(N::Page, 2, 5, 0);
const SUBPAGE: Field = be(N::Subpage, 3, 1);
pub(super) const MODE_SENSE6: Layout = &[bit(N::Dbd, 1, 3), PC, PAGE, SUBPAGE, be(N::Length, 4, 1)];
pub(super) const MODE_SENSE10: Layout = &[bit(N::Llbaa, 1, 4), bit(N::Dbd, 1, 3), PC, PAGE, SUBPAGE, LEN10];
pub(super) const LOG_SELECT: Layout = &[bit(N::Pcr, 1, 1), SAVE, PC, PAGE, SUBPAGE, LEN10];
pub(super) const LOG_SENSE: Layout = &[SAVE, PC, PAGE, SUBPAGE, be(N::ParameterPointer, 5, 2), LEN10];
pub(super) const RESERVE_OUT: Layout = &[part(N::Scope, 2, 7, 4), part(N::Type, 2, 3, 0), be(N::Length, 5, 4)];
pub(super) const BUFFER: Layout = &[
    part(N::ModeSpecific, 1, 7, 5),
    part(N::Mode, 1, 4, 0),
    be(N::BufferId, 2, 1),
    be(N::BufferOffset, 3, 3),
    be(N::Length, 6, 3),
];
pub(super) const BUFFER16: Layout = &[
    part(N::ModeSpecific, 1, 7, 5),
    part(N::Mode, 1, 4, 0),
    be(N::BufferOffset, 2, 8),
    be(N::Length, 10, 4),
    be(N::BufferId, 14, 1),
];
pub(super) const RECEIVE_DIAGNOSTIC: Layout = &[be(N::Page, 2, 1), be(N::Length, 3, 2)];
pub(super) const SEND_DIAGNOSTIC: Layout = &[part(N::SelfTest, 1, 7, 5), PF, be(N::Length, 3, 2)];
pub(super) const PREVENT: Layout = &[part(N::Prevent, 4, 1, 0)];
pub(super) const COPY_LIST2: Layout = &[be(N::ListId, 2, 4), LEN16];
pub(super) const COPY_LIST6: Layout = &[be(N::ListId, 6, 4), LEN16, GROUP16];
pub(super) const COPY_ABORT: Layout = &[be(N::ListId, 2, 4)];
pub(super) const SECURITY: Layout =
    &[be(N::SecurityProtocol, 1, 1), be(N::ProtocolSpecific, 2, 2), bit(N::Inc512, 4, 7), LEN12];
pub(super) const ATA12: Layout =
    &[part(N::Protocol, 1, 4, 1), bit(N::TDir, 2, 3), part(N::TLength, 2, 1, 0), be(N::AtaCommand, 9, 1)];
pub(super) const ATA16: Layout =
    &[part(N::Protocol, 1, 4, 1), bit(N::TDir, 2, 3), part(N::TLength, 2, 1, 0), be(N::AtaCommand, 14, 1)];
pub(super) const ATA32: Layout =
    &[part(N::Protocol, 10, 4, 1), bit(N::TDir, 11, 3), part(N::TLength, 11, 1, 0), be(N::AtaCommand, 25, 1)];

// SSC: tapes.
const FIXED: Field = bit(N::Fixed, 1, 0);
const SILI: Field = bit(N::Sili, 1, 1);
const TAPE_LEN6: Field = be(N::Length, 2, 3);
const TAPE_LEN16: Field = be(N::Length, 12, 3);
const PARTITION: Field = be(N::Partition, 3, 1);
const OBJECT: Field = be(N::Object, 4, 8);
pub(super) const TAPE_READ6: Layout = &[SILI, FIXED, TAPE_LEN6];
pub(super) const TAPE_READ16: Layout = &[SILI, FIXED, PARTITION, OBJECT, TAPE_LEN16];
pub(super) const TAPE_WRITE6: Layout = &[FIXED, TAPE_LEN6];
pub(super) const TAPE_WRITE16: Layout = &[FIXED, PARTITION, OBJECT, TAPE_LEN16];
pub(super) const TAPE_VERIFY6: Layout = &[immed(2), bit(N::BytCmp, 1, 1), FIXED, TAPE_LEN6];
pub(super) const FILEMARKS6: Layout = &[bit(N::Wsmk, 1, 1), immed(0), be(N::Count, 2, 3)];
pub(super) const FILEMARKS16: Layout = &[immed(0), PARTITION, OBJECT, be(N::Count, 12, 3)];
pub(super) const SPACE6: Layout = &[part(N::Code, 1, 3, 0), be(N::Count, 2, 3)];
pub(super) const SPACE16: Layout = &[part(N::Code, 1, 3, 0), be(N::Count, 4, 8), be(N::Length, 12, 2)];
pub(super) const TAPE_ERASE6: Layout = &[immed(1), bit(N::Long, 1, 0)];
pub(super) const TAPE_ERASE16: Layout = &[immed(1), bit(N::Long, 1, 0), PARTITION, OBJECT];
pub(super) const LOAD_UNLOAD: Layout =
    &[immed(0), bit(N::Hold, 4, 3), bit(N::Eot, 4, 2), bit(N::Reten, 4, 1), bit(N::Load, 4, 0)];
pub(super) const LOCATE10: Layout =
    &[bit(N::Bt, 1, 2), bit(N::ChangePartition, 1, 1), immed(0), be(N::Object, 3, 4), be(N::Partition, 8, 1)];
pub(super) const LOCATE16: Layout =
    &[part(N::DestinationType, 1, 4, 3), bit(N::ChangePartition, 1, 1), immed(0), PARTITION, OBJECT];
pub(super) const SET_CAPACITY: Layout = &[immed(0), be(N::Proportion, 3, 2)];
pub(super) const FORMAT_MEDIUM: Layout = &[immed(0), part(N::Format, 2, 3, 0), be(N::Length, 3, 2)];
pub(super) const READ_POSITION: Layout = &[part(N::Mode, 1, 4, 0), LEN10];
pub(super) const ALLOW_OVERWRITE: Layout = &[part(N::Format, 2, 3, 0), PARTITION, OBJECT];
pub(super) const ATTRIBUTE_IN: Layout = &[part(N::Mode, 1, 4, 0), LEN16];

// SMC: changers.
const TRANSPORT: Field = be(N::Transport, 2, 2);
const SOURCE: Field = be(N::Source, 4, 2);
const DESTINATION: Field = be(N::Destination, 6, 2);
pub(super) const MOVE_MEDIUM: Layout = &[TRANSPORT, SOURCE, DESTINATION];
pub(super) const EXCHANGE_MEDIUM: Layout = &[TRANSPORT, SOURCE, DESTINATION, be(N::SecondDestination, 8, 2)];
pub(super) const POSITION_TO_ELEMENT: Layout = &[TRANSPORT, be(N::Destination, 4, 2)];
pub(super) const ELEMENT_STATUS: Layout = &[be(N::Element, 2, 2), be(N::Ranges, 4, 2), be(N::Length, 7, 3)];
pub(super) const ELEMENT_RANGE: Layout = &[be(N::Element, 2, 2), be(N::Ranges, 6, 2)];
pub(super) const VOLUME_TAG: Layout = &[be(N::Element, 2, 2), be(N::Length, 8, 2)];

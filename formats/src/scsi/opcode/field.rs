//! Fields of a CDB: a name, and where its bits lie.

use core::fmt;

/// One list gives the names and how they are printed.
macro_rules! field_names {
    ($($(#[$doc:meta])* $name:ident $text:literal,)+) => {
        /// What a field is called. Names are shared between commands where the standards share the meaning.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum FieldName {
            $($(#[$doc])* $name,)+
        }

        impl FieldName {
            /// The word for it in a line of text.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

field_names! {
    /// LOGICAL BLOCK ADDRESS, or the first one of a range or zone.
    Lba "lba",
    /// TRANSFER LENGTH, NUMBER OF BLOCKS, PARAMETER LIST LENGTH or ALLOCATION LENGTH: the row's data rule says the unit.
    Length "length",
    /// GROUP NUMBER.
    Group "group",
    /// WRPROTECT, RDPROTECT, VRPROTECT or ORPROTECT.
    Protect "protect",
    /// Disable page out.
    Dpo "dpo",
    /// Force unit access.
    Fua "fua",
    /// Blocks may be deallocated.
    Unmap "unmap",
    /// Blocks are to be anchored.
    Anchor "anchor",
    /// No data-out buffer: zeros are written.
    Ndob "ndob",
    /// The LBA is put into the first bytes of each block (obsolete since SBC-3).
    LbData "lbdata",
    /// The physical address is put into the first bytes of each block (obsolete since SBC-3).
    PbData "pbdata",
    /// BYTE CHECK.
    Bytchk "bytchk",
    /// Duration limit descriptor, its low two bits or all of it.
    Duration "dld",
    /// Duration limit descriptor, its high bit where that lies apart.
    DurationHigh "dld2",
    /// Status is returned before the work is done.
    Immed "immed",
    /// EXPECTED INITIAL LOGICAL BLOCK REFERENCE TAG.
    ReferenceTag "reftag",
    /// EXPECTED LOGICAL BLOCK APPLICATION TAG.
    ApplicationTag "apptag",
    /// LOGICAL BLOCK APPLICATION TAG MASK.
    TagMask "tagmask",
    /// Write uncorrectable.
    WrUncor "wr_uncor",
    /// Correction disabled.
    CorDis "cor_dis",
    /// The whole physical block.
    Pblock "pblock",
    /// Correct by ECC.
    Corrct "corrct",
    /// XOR only, nothing is written.
    DisableWrite "disable_write",
    /// XOR information is wanted.
    XorPinfo "xorpinfo",
    /// ATOMIC BOUNDARY in blocks.
    AtomicBoundary "boundary",
    /// STREAM IDENTIFIER.
    Stream "stream",
    /// Opens or closes a stream.
    StreamControl "control",
    /// LOGICAL BLOCK DATA OFFSET of scattered data, in blocks.
    DataOffset "offset",
    /// NUMBER OF LBA RANGE DESCRIPTORS, or of a changer's elements.
    Ranges "ranges",
    /// BITMAP OPERATION of ORWRITE(32).
    BitmapOperation "bmop",
    /// PREVIOUS GENERATION PROCESSING.
    PreviousGeneration "pgp",
    /// EXPECTED ORWGENERATION.
    ExpectedGeneration "expected",
    /// NEW ORWGENERATION.
    NewGeneration "new",
    /// REPORT TYPE.
    ReportType "report",
    /// SCAN LENGTH.
    ScanLength "scan",
    /// ELEMENT IDENTIFIER or an element's address.
    Element "element",
    /// Protection information of a format.
    Fmtpinfo "fmtpinfo",
    /// The list is long.
    LongList "longlist",
    /// LBAs of the list are long.
    LongLba "longlba",
    /// There is a parameter list.
    Fmtdata "fmtdata",
    /// The defect list is complete.
    CmpList "cmplst",
    /// DEFECT LIST FORMAT.
    DefectFormat "format",
    /// FAST FORMAT.
    FastFormat "ffmt",
    /// Zone no reset.
    Znr "znr",
    /// Allow unrestricted sanitize exit.
    Ause "ause",
    /// PERIPHERAL DATA of every kind: primary list.
    PrimaryList "plist",
    /// Grown list.
    GrownList "glist",
    /// Vital product data.
    Evpd "evpd",
    /// PAGE CODE.
    Page "page",
    /// SUBPAGE CODE.
    Subpage "subpage",
    /// PAGE CONTROL.
    PageControl "pc",
    /// PARAMETER POINTER.
    ParameterPointer "pointer",
    /// Page format.
    PageFormat "pf",
    /// Revert to defaults.
    Rtd "rtd",
    /// Save pages or parameters.
    Save "sp",
    /// Parameter code reset.
    Pcr "pcr",
    /// Disable block descriptors.
    Dbd "dbd",
    /// Long LBA accepted.
    Llbaa "llbaa",
    /// Descriptor format sense.
    Desc "desc",
    /// SELECT REPORT.
    SelectReport "select",
    /// POWER CONDITION MODIFIER.
    PowerModifier "modifier",
    /// POWER CONDITION.
    PowerCondition "power",
    /// No flush.
    NoFlush "no_flush",
    /// Load or eject.
    Loej "loej",
    /// Start, or stop.
    Start "start",
    /// PREVENT.
    Prevent "prevent",
    /// SELF-TEST CODE.
    SelfTest "self_test",
    /// SCOPE of a reservation.
    Scope "scope",
    /// TYPE of a reservation.
    Type "type",
    /// MODE of a buffer command, form of READ POSITION, service action of READ ATTRIBUTE.
    Mode "mode",
    /// MODE SPECIFIC.
    ModeSpecific "specific",
    /// BUFFER ID.
    BufferId "buffer",
    /// BUFFER OFFSET, in bytes.
    BufferOffset "at",
    /// All zones.
    All "all",
    /// REPORTING OPTIONS.
    ReportingOptions "options",
    /// Only what fits.
    Partial "partial",
    /// ZONE COUNT.
    ZoneCount "zones",
    /// LIST IDENTIFIER.
    ListId "list",
    /// ATA PROTOCOL.
    Protocol "protocol",
    /// ATA transfer direction: set is in.
    TDir "t_dir",
    /// ATA T_LENGTH.
    TLength "t_length",
    /// ATA COMMAND.
    AtaCommand "command",
    /// SECURITY PROTOCOL.
    SecurityProtocol "protocol",
    /// SECURITY PROTOCOL SPECIFIC.
    ProtocolSpecific "specific",
    /// Lengths in units of 512 bytes.
    Inc512 "inc_512",
    /// Fixed-length tape blocks: the length counts blocks.
    Fixed "fixed",
    /// Suppress incorrect length indicator.
    Sili "sili",
    /// Byte compare.
    BytCmp "bytcmp",
    /// CODE of SPACE: what is counted.
    Code "code",
    /// COUNT of filemarks, or of what is spaced over (signed).
    Count "count",
    /// Setmarks.
    Wsmk "wsmk",
    /// Erase all.
    Long "long",
    /// Hold.
    Hold "hold",
    /// End of tape.
    Eot "eot",
    /// Retension.
    Reten "reten",
    /// Load.
    Load "load",
    /// Block address type.
    Bt "bt",
    /// Change partition.
    ChangePartition "cp",
    /// DESTINATION TYPE.
    DestinationType "dest",
    /// PARTITION.
    Partition "partition",
    /// LOGICAL OBJECT IDENTIFIER or NUMBER: a position on tape.
    Object "object",
    /// CAPACITY PROPORTION VALUE.
    Proportion "proportion",
    /// FORMAT of FORMAT MEDIUM, or of an overwrite allowed.
    Format "format",
    /// MEDIUM TRANSPORT ADDRESS.
    Transport "transport",
    /// SOURCE ADDRESS.
    Source "source",
    /// DESTINATION ADDRESS.
    Destination "destination",
    /// SECOND DESTINATION ADDRESS.
    SecondDestination "second",
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Where a field lies: a run of bits, most significant first, as the standards draw them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// What it is called.
    pub name: FieldName,
    /// Byte of its most significant bit.
    pub byte: u8,
    /// Its most significant bit within that byte, 7 to 0.
    pub high: u8,
    /// Width: 1 to 64 bits, within eight bytes.
    pub bits: u8,
}

impl Field {
    /// Whole bytes from `byte`.
    #[must_use]
    pub const fn bytes(name: FieldName, byte: u8, count: u8) -> Self {
        Self { name, byte, high: 7, bits: count * 8 }
    }

    /// One bit.
    #[must_use]
    pub const fn bit(name: FieldName, byte: u8, bit: u8) -> Self {
        Self { name, byte, high: bit, bits: 1 }
    }

    /// The bits `high` to `low` of one byte.
    #[must_use]
    pub const fn part(name: FieldName, byte: u8, high: u8, low: u8) -> Self {
        Self { name, byte, high, bits: high - low + 1 }
    }

    /// One past its last byte.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.byte as usize + self.byte_count()
    }

    /// The largest value it holds.
    #[must_use]
    pub const fn max(&self) -> u64 {
        u64::MAX >> (64 - self.bits as u32)
    }

    const fn byte_count(&self) -> usize {
        ((7 - self.high + self.bits) as usize).div_ceil(8)
    }

    /// Bits to the right of it in its last byte.
    const fn shift(&self) -> u32 {
        (self.byte_count() * 8) as u32 - (7 - self.high + self.bits) as u32
    }

    /// Its value; `None` when the CDB is too short to hold it.
    #[must_use]
    pub fn get(&self, cdb: &[u8]) -> Option<u64> {
        let bytes = cdb.get(usize::from(self.byte)..self.end())?;
        let all = bytes.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        Some(all >> self.shift() & self.max())
    }

    /// Puts a value in and leaves all other bits; says whether the value fits the field and the field the CDB.
    #[must_use]
    pub fn set(&self, cdb: &mut [u8], value: u64) -> bool {
        let place = usize::from(self.byte)..self.end();
        let Some(bytes) = cdb.get_mut(place).filter(|_| value <= self.max()) else { return false };
        let (mut value, mut mask) = (value << self.shift(), self.max() << self.shift());
        for byte in bytes.iter_mut().rev() {
            *byte = *byte & !(mask as u8) | value as u8;
            (value, mask) = (value >> 8, mask >> 8);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_across_bytes_leaves_its_neighbours() {
        let lba = Field { name: FieldName::Lba, byte: 1, high: 4, bits: 21 };
        let mut cdb = [0xff; 6];
        assert!(lba.set(&mut cdb, 0x01_2345));
        assert_eq!(cdb, [0xff, 0xe1, 0x23, 0x45, 0xff, 0xff]);
        assert_eq!(lba.get(&cdb), Some(0x01_2345));
        assert!(!lba.set(&mut cdb, 1 << 21));
        assert_eq!(lba.get(&cdb[..3]), None);
    }

    #[test]
    fn a_wide_field_holds_all_its_bits() {
        let lba = Field::bytes(FieldName::Lba, 2, 8);
        let mut cdb = [0; 16];
        assert!(lba.set(&mut cdb, u64::MAX));
        assert_eq!(lba.get(&cdb), Some(u64::MAX));
        assert_eq!((cdb[1], cdb[10]), (0, 0));
    }
}

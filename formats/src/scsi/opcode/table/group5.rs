//! Operation codes A0h to BFh: CDBs of twelve bytes.

use crate::scsi::opcode::Row;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = rows! {
    0xa0 _ ANY "REPORT LUNS" 12 REPORT_LUNS, In Bytes Nothing, Read Carry None Usual;
    0xa1 _ NOT_MMC "ATA PASS-THROUGH(12)" 12 ATA12, Both Ata Nothing, Write Refuse Unknown Usual;
    0xa1 _ MMC "BLANK" 12 NONE, None None Nothing, Write Refuse Whole Medium;
    0xa2 _ ANY "SECURITY PROTOCOL IN" 12 SECURITY, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x05 NOT_MMC "REPORT IDENTIFYING INFORMATION" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0a NOT_MMC "REPORT TARGET PORT GROUPS" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0b NOT_MMC "REPORT ALIASES" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0c NOT_MMC "REPORT SUPPORTED OPERATION CODES" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0d NOT_MMC "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0e NOT_MMC "REPORT PRIORITY" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x0f NOT_MMC "REPORT TIMESTAMP" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa3 0x10 NOT_MMC "MANAGEMENT PROTOCOL IN" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xa4 0x06 NOT_MMC "SET IDENTIFYING INFORMATION" 12 LEN_6_4, Out Bytes Nothing, State Carry None Usual;
    0xa4 0x0a NOT_MMC "SET TARGET PORT GROUPS" 12 LEN_6_4, Out Bytes Nothing, State Carry None Usual;
    0xa4 0x0b NOT_MMC "CHANGE ALIASES" 12 LEN_6_4, Out Bytes Nothing, State Carry None Usual;
    0xa4 0x0e NOT_MMC "SET PRIORITY" 12 LEN_6_4, Out Bytes Nothing, State Carry None Usual;
    0xa4 0x0f NOT_MMC "SET TIMESTAMP" 12 LEN_6_4, Out Bytes Nothing, State Carry None Usual;
    0xa4 0x10 NOT_MMC "MANAGEMENT PROTOCOL OUT" 12 LEN_6_4, Out Bytes Nothing, State Refuse None Usual;
    0xa5 _ SMC "MOVE MEDIUM" 12 MOVE_MEDIUM, None None Nothing, State AsIs None Usual;
    0xa6 _ SMC "EXCHANGE MEDIUM" 12 EXCHANGE_MEDIUM, None None Nothing, State AsIs None Usual;
    0xa8 _ BLOCK "READ(12)" 12 RW12, In Blocks Nothing, Read Carry None Usual;
    0xaa _ BLOCK "WRITE(12)" 12 RW12, Out Blocks Nothing, Write AsIs Write Usual;
    0xab 0x01 NOT_MMC "READ MEDIA SERIAL NUMBER" 12 LEN_6_4, In Bytes Nothing, Read Carry None Usual;
    0xad _ MMC "READ DISC STRUCTURE" 12 LEN_8_2, In Bytes Nothing, Read Carry None Usual;
    0xae _ SBC "WRITE AND VERIFY(12)" 12 VERIFY12, Out Blocks Nothing, Write AsIs Write Usual;
    0xaf _ SBC "VERIFY(12)" 12 VERIFY12, Out Checked Nothing, Read Carry None Blocks;
    0xb5 _ NOT_SMC "SECURITY PROTOCOL OUT" 12 SECURITY, Out Bytes Nothing, State Refuse Unknown Usual;
    0xb5 _ SMC "REQUEST VOLUME ELEMENT ADDRESS" 12 ELEMENT_STATUS, In Bytes Nothing, Read Carry None Usual;
    0xb6 _ SMC "SEND VOLUME TAG" 12 VOLUME_TAG, Out Bytes Nothing, State Carry None Usual;
    0xb7 _ SBC "READ DEFECT DATA(12)" 12 DEFECT12, In Bytes Nothing, Read Carry None Usual;
    0xb8 _ SMC "READ ELEMENT STATUS" 12 ELEMENT_STATUS, In Bytes Nothing, Read Carry None Usual;
};

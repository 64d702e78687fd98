//! Operation codes 00h to 1Fh: CDBs of six bytes.

use crate::scsi::opcode::Row;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = rows! {
    0x00 _ ANY "TEST UNIT READY" 6 NONE, None None Nothing, Read Carry None Usual;
    0x01 _ SSC "REWIND" 6 IMMED, None None Nothing, State AsIs TapeMove Wind;
    0x01 _ NOT_SSC "REZERO UNIT" 6 NONE, None None Nothing, State Carry None Usual;
    0x03 _ ANY "REQUEST SENSE" 6 REQUEST_SENSE, In Bytes Nothing, Read Carry None Usual;
    0x04 _ BLOCK "FORMAT UNIT" 6 FORMAT, Out List Nothing, Write AsIs Whole Medium;
    0x04 _ SSC "FORMAT MEDIUM" 6 FORMAT_MEDIUM, Out Bytes Nothing, Write AsIs TapeWrite Wind;
    0x05 _ SSC "READ BLOCK LIMITS" 6 NONE, In Exactly(6) Nothing, Read Carry None Usual;
    0x07 _ SBC "REASSIGN BLOCKS" 6 REASSIGN, Out List Nothing, Write Reread DefectList Usual;
    0x07 _ SMC "INITIALIZE ELEMENT STATUS" 6 NONE, None None Nothing, State Carry None Usual;
    0x08 _ SBC "READ(6)" 6 RW6, In Blocks Is256, Read Carry None Usual;
    0x08 _ SSC "READ(6)" 6 TAPE_READ6, In Records Nothing, Read AsIs TapeMove Tape;
    0x0a _ SBC "WRITE(6)" 6 RW6, Out Blocks Is256, Write AsIs Write Usual;
    0x0a _ SSC "WRITE(6)" 6 TAPE_WRITE6, Out Records Nothing, Write AsIs TapeWrite Tape;
    0x0b _ BLOCK "SEEK(6)" 6 SEEK6, None None Nothing, Read Carry None Usual;
    0x0b _ SSC "SET CAPACITY" 6 SET_CAPACITY, None None Nothing, Write AsIs TapeWrite Wind;
    0x0f _ SSC "READ REVERSE(6)" 6 TAPE_READ6, In Records Nothing, Read AsIs TapeMove Tape;
    0x10 _ SSC "WRITE FILEMARKS(6)" 6 FILEMARKS6, None None Nothing, Write AsIs TapeWrite Tape;
    0x11 _ SSC "SPACE(6)" 6 SPACE6, None None Nothing, State AsIs TapeMove Wind;
    0x12 _ ANY "INQUIRY" 6 INQUIRY, In Bytes Nothing, Read Carry None Usual;
    0x13 _ SSC "VERIFY(6)" 6 TAPE_VERIFY6, Out Records Nothing, Read AsIs TapeMove Tape;
    0x14 _ SSC "RECOVER BUFFERED DATA" 6 TAPE_READ6, In Records Nothing, State Refuse TapeMove Tape;
    0x15 _ SSC "MODE SELECT(6)" 6 MODE_SELECT6, Out Bytes Nothing, State AsIs None Tape;
    0x15 _ NOT_SSC "MODE SELECT(6)" 6 MODE_SELECT6, Out Bytes Nothing, State Effect None Usual;
    0x16 _ ANY "RESERVE(6)" 6 LEN_3_2, Out Bytes Nothing, State Effect None Usual;
    0x17 _ ANY "RELEASE(6)" 6 NONE, None None Nothing, State Effect None Usual;
    0x18 _ ANY "COPY" 6 NONE, Out List Nothing, Write Refuse Unknown Usual;
    0x19 _ SSC "ERASE(6)" 6 TAPE_ERASE6, None None Nothing, Write AsIs TapeWrite Wind;
    0x1a _ ANY "MODE SENSE(6)" 6 MODE_SENSE6, In Bytes Nothing, Read Carry None Usual;
    0x1b _ NOT_SSC_SMC "START STOP UNIT" 6 START_STOP, None None Nothing, State Carry None Blocks;
    0x1b _ SSC "LOAD UNLOAD" 6 LOAD_UNLOAD, None None Nothing, State AsIs TapeMove Wind;
    0x1b _ SMC "OPEN/CLOSE IMPORT/EXPORT ELEMENT" 6 NONE, None None Nothing, State Carry None Blocks;
    0x1c _ ANY "RECEIVE DIAGNOSTIC RESULTS" 6 RECEIVE_DIAGNOSTIC, In Bytes Nothing, Read Carry None Usual;
    0x1d _ ANY "SEND DIAGNOSTIC" 6 SEND_DIAGNOSTIC, Out Bytes Nothing, State Carry None Blocks;
    0x1e _ ANY "PREVENT ALLOW MEDIUM REMOVAL" 6 PREVENT, None None Nothing, State Carry None Usual;
};

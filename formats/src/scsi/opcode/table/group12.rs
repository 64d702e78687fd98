//! Operation codes 20h to 5Fh: CDBs of ten bytes.

use crate::scsi::opcode::Row;

#[rustfmt::skip]
pub(super) const ROWS_1: &[Row] = rows! {
    0x23 _ MMC "READ FORMAT CAPACITIES" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x25 _ BLOCK "READ CAPACITY(10)" 10 NONE, In Exactly(8) Nothing, Read Carry None Usual;
    0x28 _ BLOCK "READ(10)" 10 RW10, In Blocks Nothing, Read Carry None Usual;
    0x2a _ BLOCK "WRITE(10)" 10 RW10, Out Blocks Nothing, Write AsIs Write Usual;
    0x2b _ BLOCK "SEEK(10)" 10 SEEK10, None None Nothing, Read Carry None Usual;
    0x2b _ SSC "LOCATE(10)" 10 LOCATE10, None None Nothing, State AsIs TapeMove Wind;
    0x2b _ SMC "POSITION TO ELEMENT" 10 POSITION_TO_ELEMENT, None None Nothing, State AsIs None Usual;
    0x2e _ BLOCK "WRITE AND VERIFY(10)" 10 VERIFY10, Out Blocks Nothing, Write AsIs Write Usual;
    0x2f _ BLOCK "VERIFY(10)" 10 VERIFY10, Out Checked Nothing, Read Carry None Blocks;
    0x34 _ SBC "PRE-FETCH(10)" 10 SYNC10, None None ToEnd, Read Carry None Usual;
    0x34 _ SSC "READ POSITION" 10 READ_POSITION, In Position Nothing, Read Carry None Tape;
    0x35 _ BLOCK "SYNCHRONIZE CACHE(10)" 10 SYNC10, None None ToEnd, Sync AsIs None Flush;
    0x37 _ SBC "READ DEFECT DATA(10)" 10 DEFECT10, In Bytes Nothing, Read Carry None Usual;
    0x37 _ SMC "INITIALIZE ELEMENT STATUS WITH RANGE" 10 ELEMENT_RANGE, None None Nothing, State Carry None Usual;
    0x3a _ ANY "COPY AND VERIFY" 10 NONE, Out List Nothing, Write Refuse Unknown Usual;
    0x3b _ ANY "WRITE BUFFER" 10 BUFFER, Out Bytes Nothing, State Carry None Blocks;
    0x3c _ ANY "READ BUFFER(10)" 10 BUFFER, In Bytes Nothing, Read Carry None Usual;
    0x3e _ SBC "READ LONG(10)" 10 READ_LONG10, In Bytes Nothing, Read Carry None Usual;
    0x3f _ SBC "WRITE LONG(10)" 10 WRITE_LONG10, Out Bytes Nothing, Write Effect Long Usual;
};

#[rustfmt::skip]
pub(super) const ROWS_2: &[Row] = rows! {
    0x41 _ SBC "WRITE SAME(10)" 10 SAME10, Out OneBlock ToEnd, Write AsIs Same Blocks;
    0x42 _ SBC "UNMAP" 10 UNMAP, Out Bytes Nothing, Write AsIs UnmapList Blocks;
    0x42 _ MMC "READ SUB-CHANNEL" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x43 _ MMC "READ TOC/PMA/ATIP" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x44 _ SSC "REPORT DENSITY SUPPORT" 10 LEN_7_2, In Bytes Nothing, Read Carry None Tape;
    0x46 _ MMC "GET CONFIGURATION" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x48 0x01 SBC "SANITIZE (OVERWRITE)" 10 SANITIZE, Out Bytes Nothing, Write AsIs Whole Medium;
    0x48 0x02 SBC "SANITIZE (BLOCK ERASE)" 10 SANITIZE, None None Nothing, Write AsIs Whole Medium;
    0x48 0x03 SBC "SANITIZE (CRYPTOGRAPHIC ERASE)" 10 SANITIZE, None None Nothing, Write AsIs Whole Medium;
    0x48 0x1f SBC "SANITIZE (EXIT FAILURE MODE)" 10 SANITIZE, None None Nothing, State AsIs None Medium;
    0x4a _ MMC "GET EVENT STATUS NOTIFICATION" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x4c _ ANY "LOG SELECT" 10 LOG_SELECT, Out Bytes Nothing, State Carry None Usual;
    0x4d _ ANY "LOG SENSE" 10 LOG_SENSE, In Bytes Nothing, Read Carry None Usual;
    0x50 _ SBC "XDWRITE(10)" 10 XDWRITE10, Out Blocks Nothing, Write Effect Write Usual;
    0x51 _ SBC "XPWRITE(10)" 10 XPWRITE10, Out Blocks Nothing, Write Reread Combine Usual;
    0x51 _ MMC "READ DISC INFORMATION" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x52 _ SBC "XDREAD(10)" 10 XDREAD10, In Blocks Nothing, Read Carry None Usual;
    0x52 _ MMC "READ TRACK INFORMATION" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x53 _ SBC "XDWRITEREAD(10)" 10 XDWRITEREAD10, Both Blocks Nothing, Write Effect Write Usual;
    0x53 _ MMC "RESERVE TRACK" 10 NONE, None None Nothing, State Refuse None Usual;
    0x55 _ SSC "MODE SELECT(10)" 10 MODE_SELECT10, Out Bytes Nothing, State AsIs None Tape;
    0x55 _ NOT_SSC "MODE SELECT(10)" 10 MODE_SELECT10, Out Bytes Nothing, State Effect None Usual;
    0x56 _ ANY "RESERVE(10)" 10 LEN_7_2, Out Bytes Nothing, State Effect None Usual;
    0x57 _ ANY "RELEASE(10)" 10 LEN_7_2, Out Bytes Nothing, State Effect None Usual;
    0x5a _ ANY "MODE SENSE(10)" 10 MODE_SENSE10, In Bytes Nothing, Read Carry None Usual;
    0x5b _ MMC "CLOSE TRACK/SESSION" 10 NONE, None None Nothing, Write Refuse None Usual;
    0x5e 0x00 ANY "PERSISTENT RESERVE IN (READ KEYS)" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x5e 0x01 ANY "PERSISTENT RESERVE IN (READ RESERVATION)" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x5e 0x02 ANY "PERSISTENT RESERVE IN (REPORT CAPABILITIES)" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x5e 0x03 ANY "PERSISTENT RESERVE IN (READ FULL STATUS)" 10 LEN_7_2, In Bytes Nothing, Read Carry None Usual;
    0x5f 0x00 ANY "PERSISTENT RESERVE OUT (REGISTER)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x01 ANY "PERSISTENT RESERVE OUT (RESERVE)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x02 ANY "PERSISTENT RESERVE OUT (RELEASE)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x03 ANY "PERSISTENT RESERVE OUT (CLEAR)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x04 ANY "PERSISTENT RESERVE OUT (PREEMPT)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x05 ANY "PERSISTENT RESERVE OUT (PREEMPT AND ABORT)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x06 ANY "PERSISTENT RESERVE OUT (REGISTER AND IGNORE EXISTING KEY)" 10 RESERVE_OUT,
        Out Bytes Nothing, State Effect None Usual;
    0x5f 0x07 ANY "PERSISTENT RESERVE OUT (REGISTER AND MOVE)" 10 RESERVE_OUT, Out Bytes Nothing, State Effect None Usual;
    0x5f 0x08 ANY "PERSISTENT RESERVE OUT (REPLACE LOST RESERVATION)" 10 RESERVE_OUT,
        Out Bytes Nothing, State Effect None Usual;
};

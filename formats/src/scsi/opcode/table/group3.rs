//! Operation codes 7Eh and 7Fh: extended and variable length CDBs. The length of a row is the least.

use crate::scsi::opcode::Row;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = rows! {
    0x7e _ ANY "EXTENDED CDB" 4 NONE, Both List Nothing, Write Refuse Unknown Usual;
    0x7f 0x0003 SBC "XDREAD(32)" 32 XOR32, In Blocks Nothing, Read Carry None Usual;
    0x7f 0x0004 SBC "XDWRITE(32)" 32 XOR32, Out Blocks Nothing, Write Effect Write Usual;
    0x7f 0x0006 SBC "XPWRITE(32)" 32 XOR32, Out Blocks Nothing, Write Reread Combine Usual;
    0x7f 0x0007 SBC "XDWRITEREAD(32)" 32 XOR32, Both Blocks Nothing, Write Effect Write Usual;
    0x7f 0x0009 SBC "READ(32)" 32 RW32, In Blocks Nothing, Read Carry None Usual;
    0x7f 0x000a SBC "VERIFY(32)" 32 VERIFY32, Out Checked Nothing, Read Carry None Blocks;
    0x7f 0x000b SBC "WRITE(32)" 32 RW32, Out Blocks Nothing, Write AsIs Write Usual;
    0x7f 0x000c SBC "WRITE AND VERIFY(32)" 32 VERIFY32, Out Blocks Nothing, Write AsIs Write Usual;
    0x7f 0x000d SBC "WRITE SAME(32)" 32 SAME32, Out OneBlock ToEnd, Write AsIs Same Blocks;
    0x7f 0x000e SBC "ORWRITE(32)" 32 ORWRITE32, Out Blocks Nothing, Write Reread Combine Usual;
    0x7f 0x000f SBC "WRITE ATOMIC(32)" 32 ATOMIC32, Out Blocks Nothing, Write AsIs Write Usual;
    0x7f 0x0010 SBC "WRITE STREAM(32)" 32 STREAM32, Out Blocks Nothing, Write Effect Write Usual;
    0x7f 0x0011 SBC "WRITE SCATTERED(32)" 32 SCATTERED32, Out Blocks Nothing, Write AsIs Scatter Usual;
    0x7f 0x0012 SBC "GET LBA STATUS(32)" 32 LBA_STATUS32, In Bytes Nothing, Read Carry None Usual;
    0x7f 0x1ff0 SBC "ATA PASS-THROUGH(32)" 32 ATA32, Both Ata Nothing, Write Refuse Unknown Usual;
};

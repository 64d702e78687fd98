//! PDUs of iSCSI (RFC 7143, clause 11), each a packet of its own behind the tags of an exported PDU
//! (Wireshark, wsutil/exported_pdu_tlvs.h), which name the dissector and who speaks to whom.

/// Bytes of the tags before a PDU.
const TAGS: usize = 32;
/// Bytes of a PDU's basic header segment.
const BASIC_HEADER: usize = 48;
/// Bytes before the data of a PDU that has no additional header segment.
pub(crate) const FRAME_HEADER: usize = TAGS + BASIC_HEADER;

/// Tag of the dissector's name, its length, and the name, which is padded with zeros.
const DISSECTOR: [u8; 12] = *b"\0\x0c\0\x08iscsi\0\0\0";
/// Tags of an IPv4 source and destination, and their lengths.
const SOURCE: [u8; 4] = [0, 20, 0, 4];
const DESTINATION: [u8; 4] = [0, 21, 0, 4];
/// The initiator, which is the observed host: an address of examples (RFC 5737).
const HOST: [u8; 4] = [192, 0, 2, 1];
/// The first half of a device's address, in a range of test networks (RFC 2544); its volume is the second half.
const DEVICE: [u8; 2] = [198, 18];

/// Operation codes of PDUs.
const COMMAND: u8 = 0x01;
const DATA_OUT: u8 = 0x05;
const RESPONSE: u8 = 0x21;
const DATA_IN: u8 = 0x25;

/// The last PDU of a sequence.
const FINAL: u8 = 0x80;
/// SCSI Command: data comes, data goes, and the simple task attribute.
const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const SIMPLE: u8 = 0x01;
/// SCSI Response: less was transferred than announced.
const UNDERFLOW: u8 = 0x02;
/// Additional header segment: the rest of a CDB.
const EXTENDED_CDB: u8 = 1;
/// Target transfer tag of data that nobody asked for.
const UNSOLICITED: [u8; 4] = [0xff; 4];

/// One command on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    /// Index of the volume: part of the device's address.
    pub volume: u16,
    pub lun: u64,
    /// Counts commands from 1: the initiator task tag. What is no command of the capture has 0.
    pub number: u32,
}

impl Task {
    /// SCSI Command.
    pub(crate) fn command(self, command: &Command<'_>) -> Vec<u8> {
        let direction = (u8::from(command.reads) * READ) | (u8::from(command.writes) * WRITE);
        // Data that goes follows without being asked for, so the command is not the last PDU then.
        let last = u8::from(!command.writes) * FINAL;
        let mut frame = self.header(COMMAND, last | direction | SIMPLE, 0).to_vec();
        put(&mut frame, 20, &command.data_len.to_be_bytes());
        put(&mut frame, 24, &self.number.to_be_bytes());
        put(&mut frame, 28, &self.number.to_be_bytes());
        let first = command.cdb.len().min(16);
        put(&mut frame, 32, &command.cdb[..first]);
        let more = &command.cdb[first..];
        if !more.is_empty() {
            frame.extend_from_slice(&(more.len() as u16 + 1).to_be_bytes());
            frame.extend_from_slice(&[EXTENDED_CDB, 0]);
            frame.extend_from_slice(more);
            pad(&mut frame);
            let words = (frame.len() - FRAME_HEADER) / 4;
            put(&mut frame, 4, &[words as u8]);
        }
        frame
    }

    /// Header of SCSI Data-Out, to be followed by the data, padded to [`padded`] bytes.
    pub(crate) fn data(self, data: &DataFrame, index: u32, is_last: bool) -> [u8; FRAME_HEADER] {
        let mut frame = self.header(DATA_OUT, u8::from(is_last) * FINAL, data.len);
        put(&mut frame, 20, &UNSOLICITED);
        put(&mut frame, 36, &index.to_be_bytes());
        put(&mut frame, 40, &data.offset.to_be_bytes());
        frame
    }

    /// SCSI Data-In with all data of a command, of whose end it tells nothing.
    pub(crate) fn data_in(self, data: &[u8]) -> Vec<u8> {
        let mut frame = self.header(DATA_IN, FINAL, data.len() as u32).to_vec();
        put(&mut frame, 20, &UNSOLICITED);
        frame.extend_from_slice(data);
        pad(&mut frame);
        frame
    }

    /// SCSI Response.
    pub(crate) fn response(self, response: &Response<'_>) -> Vec<u8> {
        let under = u8::from(response.residual > 0) * UNDERFLOW;
        let sense_len = response.sense.len() as u16;
        let data_len = if sense_len > 0 { u32::from(sense_len) + 2 } else { 0 };
        let mut frame = self.header(RESPONSE, FINAL | under, data_len).to_vec();
        // No LUN in this one.
        put(&mut frame, 8, &[0; 8]);
        put(&mut frame, 3, &[response.status]);
        put(&mut frame, 24, &self.number.to_be_bytes());
        let next = self.number.wrapping_add(1).to_be_bytes();
        put(&mut frame, 28, &next);
        put(&mut frame, 32, &next);
        put(&mut frame, 44, &response.residual.to_be_bytes());
        if sense_len > 0 {
            frame.extend_from_slice(&sense_len.to_be_bytes());
            frame.extend_from_slice(response.sense);
            pad(&mut frame);
        }
        frame
    }

    /// The tags, and what every PDU begins with.
    fn header(self, opcode: u8, flags: u8, data_len: u32) -> [u8; FRAME_HEADER] {
        let [high, low] = self.volume.to_be_bytes();
        let device = [DEVICE[0], DEVICE[1], high, low];
        let (from, to) = if opcode == RESPONSE || opcode == DATA_IN { (device, HOST) } else { (HOST, device) };
        let mut frame = [0; FRAME_HEADER];
        frame[..12].copy_from_slice(&DISSECTOR);
        frame[12..16].copy_from_slice(&SOURCE);
        frame[16..20].copy_from_slice(&from);
        frame[20..24].copy_from_slice(&DESTINATION);
        frame[24..28].copy_from_slice(&to);
        put(&mut frame, 0, &[opcode, flags]);
        put(&mut frame, 4, &data_len.to_be_bytes());
        put(&mut frame, 8, &lun_bytes(self.lun));
        put(&mut frame, 16, &self.number.to_be_bytes());
        frame
    }
}

/// Puts bytes at a place of a PDU's header.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[TAGS + at..][..bytes.len()].copy_from_slice(bytes);
}

/// Bytes that `len` bytes of data take.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn pad(frame: &mut Vec<u8>) {
    frame.resize(padded(frame.len()), 0);
}

/// What SCSI Command says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command<'a> {
    /// 1 to 260 bytes.
    pub cdb: &'a [u8],
    /// Data goes to the device.
    pub writes: bool,
    /// Data comes from it.
    pub reads: bool,
    /// Bytes that were to be moved.
    pub data_len: u32,
}

/// What SCSI Response says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    pub status: u8,
    pub residual: u32,
    pub sense: &'a [u8],
}

/// A LUN as on the wire: peripheral addressing below 256, flat space addressing below 16384 (SAM-6 4.7.6), else the eight
/// bytes in the kernel's order of words (`int_to_scsilun`).
fn lun_bytes(lun: u64) -> [u8; 8] {
    let word = |shift: u32| ((lun >> shift) as u16).to_be_bytes();
    let first = match lun {
        0..256 => [0, lun as u8],
        256..16384 => (0x4000 | lun as u16).to_be_bytes(),
        _ => word(0),
    };
    let mut bytes = [0; 8];
    for (place, pair) in bytes.chunks_exact_mut(2).zip([first, word(16), word(32), word(48)]) {
        place.copy_from_slice(&pair);
    }
    bytes
}

/// Which data a frame of SCSI Data-Out carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataFrame {
    /// The initiator task tag.
    pub number: u32,
    /// Where its bytes are in the data.
    pub offset: u32,
    /// How many it had, whatever of them the packet holds.
    pub len: u32,
}

/// The header of a PDU that the capture could have written.
fn pdu(frame: &[u8]) -> Option<&[u8; BASIC_HEADER]> {
    frame.get(TAGS..).filter(|_| frame.starts_with(&DISSECTOR))?.first_chunk()
}

fn word(pdu: &[u8; BASIC_HEADER], at: usize) -> u32 {
    u32::from_be_bytes([pdu[at], pdu[at + 1], pdu[at + 2], pdu[at + 3]])
}

/// The initiator task tag of any PDU.
pub(crate) fn task_number(frame: &[u8]) -> Option<u32> {
    pdu(frame).map(|pdu| word(pdu, 16))
}

/// Reads the header of SCSI Data-Out; other frames are none.
pub(crate) fn data_frame(frame: &[u8]) -> Option<DataFrame> {
    let pdu = pdu(frame).filter(|pdu| pdu[0] == DATA_OUT)?;
    Some(DataFrame { number: word(pdu, 16), offset: word(pdu, 40), len: word(pdu, 4) & 0xff_ffff })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Task = Task { volume: 0x0203, lun: 1, number: 0xaabb_ccdd };

    #[test]
    fn a_command_stands_as_the_standard_says() {
        let command = Command { cdb: &[0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0], writes: true, reads: false, data_len: 512 };
        let frame = TASK.command(&command);
        assert_eq!(frame.len(), 32 + 48);
        let tags = [0, 12, 0, 8, b'i', b's', b'c', b's', b'i', 0, 0, 0, 0, 20, 0, 4, 192, 0, 2, 1];
        assert_eq!(frame[..20], tags);
        assert_eq!(frame[20..32], [0, 21, 0, 4, 198, 18, 2, 3, 0, 0, 0, 0]);
        assert_eq!(frame[32..48], [1, 0x21, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(frame[48..56], [0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 2, 0]);
        assert_eq!((&frame[64..74], &frame[74..]), (command.cdb, &[0; 6][..]));
    }

    #[test]
    fn a_long_cdb_follows_behind_the_header() {
        let cdb: Vec<u8> = (0..33).collect();
        let frame = TASK.command(&Command { cdb: &cdb, writes: false, reads: true, data_len: 0 });
        assert_eq!((frame[32 + 1], frame[32 + 4], frame.len()), (0xc1, 6, FRAME_HEADER + 24));
        assert_eq!((&frame[64..80], &frame[80..84]), (&cdb[..16], &[0, 18, 1, 0][..]));
        assert_eq!((&frame[84..101], &frame[101..]), (&cdb[16..], &[0; 3][..]));
    }

    #[test]
    fn luns_of_every_kind() {
        assert_eq!(lun_bytes(7), [0, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(lun_bytes(0x123), [0x41, 0x23, 0, 0, 0, 0, 0, 0]);
        assert_eq!(lun_bytes(0x0004_0003_0002_c101), [0xc1, 1, 0, 2, 0, 3, 0, 4]);
    }

    #[test]
    fn frames_are_told_apart() {
        let told = DataFrame { number: TASK.number, offset: 0x2_0000, len: 0x2_0000 };
        let data = TASK.data(&told, 1, true);
        assert_eq!(data_frame(&data), Some(told));
        assert_eq!((data[33], &data[68..72]), (0x80, &[0, 0, 0, 1][..]));
        let response = TASK.response(&Response { status: 2, residual: 4, sense: &[0x70] });
        assert!(data_frame(&response).is_none() && task_number(&response) == Some(TASK.number));
        assert_eq!(response[16..28], [198, 18, 2, 3, 0, 21, 0, 4, 192, 0, 2, 1]);
        assert_eq!(response[32..40], [0x21, 0x82, 0, 2, 0, 0, 0, 3]);
        assert_eq!(response[76..], [0, 0, 0, 4, 0, 1, 0x70, 0]);
        assert_eq!((data_frame(&data[..79]), task_number(&data[32..])), (None, None));
    }
}

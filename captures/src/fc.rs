//! Fibre Channel FC-2 frames (FC-FS-5 clause 9) and the information units of FCP (FCP-4 clause 9) that they carry.

/// Bytes of a frame header.
pub(crate) const FRAME_HEADER: usize = 24;

/// R_CTL of FCP_DATA: solicited data.
pub(crate) const DATA: u8 = 0x01;
/// R_CTL of FCP_CMND: unsolicited command.
const COMMAND: u8 = 0x06;
/// R_CTL of FCP_RSP: command status.
const RESPONSE: u8 = 0x07;
/// TYPE: FCP.
const TYPE_FCP: u8 = 0x08;

/// F_CTL: first sequence of the exchange, end of the sequence, initiative handed over.
const F_CTL_COMMAND: u32 = 0x29_0000;
/// F_CTL: end of the sequence, initiative handed over, PARAMETER is a relative offset.
const F_CTL_DATA: u32 = 0x09_0008;
/// F_CTL: from the responder, last sequence of the exchange, end of the sequence, initiative handed over.
const F_CTL_RESPONSE: u32 = 0x99_0000;

/// FCP_RSP: sense data follow.
const SENSE_VALID: u8 = 0x02;
/// FCP_RSP: less was transferred than announced.
const RESIDUAL_UNDER: u8 = 0x08;

/// One command on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Index of the volume: part of the target's address.
    pub volume: u16,
    /// Counts commands; its two halves are OX_ID and RX_ID.
    pub number: u32,
}

impl Exchange {
    /// The initiator, which is the observed host.
    const HOST: [u8; 3] = [0, 0, 1];

    fn target(self) -> [u8; 3] {
        let [high, low] = self.volume.to_be_bytes();
        [1, high, low]
    }

    /// FCP_CMND.
    pub(crate) fn command(self, command: &Command<'_>) -> Vec<u8> {
        let mut frame = self.header(COMMAND, F_CTL_COMMAND, 0, 0).to_vec();
        frame.extend_from_slice(&lun_bytes(command.lun));
        let more = command.cdb.get(16..).unwrap_or_default();
        let words = more.len().div_ceil(4);
        let direction = u8::from(command.reads) << 1 | u8::from(command.writes);
        // Command reference, simple task attribute, no task management; CDB words beyond 16 bytes.
        frame.extend_from_slice(&[0, 0, 0, (words as u8) << 2 | direction]);
        let first = command.cdb.len().min(16);
        frame.extend_from_slice(&command.cdb[..first]);
        frame.resize(FRAME_HEADER + 12 + 16, 0);
        frame.extend_from_slice(more);
        frame.resize(FRAME_HEADER + 12 + 16 + words * 4, 0);
        frame.extend_from_slice(&command.data_len.to_be_bytes());
        frame
    }

    /// Header of FCP_DATA for bytes from `offset` of the data.
    pub(crate) fn data(self, index: usize, offset: u32) -> [u8; FRAME_HEADER] {
        self.header(DATA, F_CTL_DATA, index as u8, offset)
    }

    /// FCP_RSP.
    pub(crate) fn response(self, response: &Response<'_>) -> Vec<u8> {
        let mut frame = self.header(RESPONSE, F_CTL_RESPONSE, 0, 0).to_vec();
        let sense = u8::from(!response.sense.is_empty()) * SENSE_VALID;
        let under = u8::from(response.residual > 0) * RESIDUAL_UNDER;
        frame.extend_from_slice(&[0; 10]);
        frame.extend_from_slice(&[sense | under, response.status]);
        frame.extend_from_slice(&response.residual.to_be_bytes());
        frame.extend_from_slice(&(response.sense.len() as u32).to_be_bytes());
        // No FCP_RSP_INFO.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(response.sense);
        frame
    }

    fn header(self, r_ctl: u8, f_ctl: u32, seq_id: u8, parameter: u32) -> [u8; FRAME_HEADER] {
        let (to, from) = if r_ctl == RESPONSE { (Self::HOST, self.target()) } else { (self.target(), Self::HOST) };
        let mut header = [0; FRAME_HEADER];
        header[0] = r_ctl;
        header[1..4].copy_from_slice(&to);
        header[5..8].copy_from_slice(&from);
        header[8] = TYPE_FCP;
        header[9..12].copy_from_slice(&f_ctl.to_be_bytes()[1..]);
        header[12] = seq_id;
        header[16..18].copy_from_slice(&(self.number as u16).to_be_bytes());
        header[18..20].copy_from_slice(&((self.number >> 16) as u16).to_be_bytes());
        header[20..24].copy_from_slice(&parameter.to_be_bytes());
        header
    }
}

/// What FCP_CMND says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command<'a> {
    pub lun: u64,
    /// 1 to 260 bytes.
    pub cdb: &'a [u8],
    /// Data goes to the device.
    pub writes: bool,
    /// Data comes from it.
    pub reads: bool,
    /// Bytes that were to be moved.
    pub data_len: u32,
}

/// What FCP_RSP says.
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

/// What a frame is, as far as the reader must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataFrame {
    /// OX_ID and RX_ID together.
    pub number: u32,
    /// Relative offset of its bytes.
    pub offset: u32,
}

/// The exchange that any frame of FCP belongs to.
pub(crate) fn exchange_number(frame: &[u8]) -> Option<u32> {
    let header: &[u8; FRAME_HEADER] = frame.first_chunk()?;
    let half = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    (header[8] == TYPE_FCP).then(|| half(16) | half(18) << 16)
}

/// Reads the header of FCP_DATA; other frames are none.
pub(crate) fn data_frame(frame: &[u8]) -> Option<DataFrame> {
    let header: &[u8; FRAME_HEADER] = frame.first_chunk()?;
    let offset = u32::from_be_bytes([header[20], header[21], header[22], header[23]]);
    let number = exchange_number(frame).filter(|_| header[0] == DATA)?;
    Some(DataFrame { number, offset })
}

/// Whether it is FCP_RSP.
pub(crate) fn is_response(frame: &[u8]) -> bool {
    frame.first() == Some(&RESPONSE) && exchange_number(frame).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCHANGE: Exchange = Exchange { volume: 0x0203, number: 0xaabb_ccdd };

    #[test]
    fn a_command_stands_as_the_standard_says() {
        let command =
            Command { lun: 1, cdb: &[0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0], writes: true, reads: false, data_len: 512 };
        let frame = EXCHANGE.command(&command);
        assert_eq!(frame.len(), 24 + 32);
        let header = [6, 1, 2, 3, 0, 0, 0, 1, 8, 0x29, 0, 0, 0, 0, 0, 0, 0xcc, 0xdd, 0xaa, 0xbb, 0, 0, 0, 0];
        assert_eq!(frame[..24], header);
        assert_eq!(frame[24..36], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((&frame[36..46], &frame[52..]), (command.cdb, &[0, 0, 2, 0][..]));
    }

    #[test]
    fn a_long_cdb_follows_in_words() {
        let cdb = [0x7f; 33];
        let frame = EXCHANGE.command(&Command { lun: 0, cdb: &cdb, writes: false, reads: true, data_len: 0 });
        assert_eq!((frame[35], frame.len()), (5 << 2 | 2, 24 + 12 + 16 + 20 + 4));
    }

    #[test]
    fn luns_of_every_kind() {
        assert_eq!(lun_bytes(7), [0, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(lun_bytes(0x123), [0x41, 0x23, 0, 0, 0, 0, 0, 0]);
        assert_eq!(lun_bytes(0x0004_0003_0002_c101), [0xc1, 1, 0, 2, 0, 3, 0, 4]);
    }

    #[test]
    fn frames_are_told_apart() {
        let data = EXCHANGE.data(3, 0x2_0000);
        assert_eq!(data_frame(&data), Some(DataFrame { number: EXCHANGE.number, offset: 0x2_0000 }));
        let response = EXCHANGE.response(&Response { status: 2, residual: 4, sense: &[0x70] });
        assert!(is_response(&response) && data_frame(&response).is_none() && !is_response(&data));
        assert_eq!(response[24 + 10..24 + 16], [SENSE_VALID | RESIDUAL_UNDER, 2, 0, 0, 0, 4]);
        assert_eq!(data_frame(&data[..23]), None);
    }
}

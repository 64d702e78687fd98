//! Which commands a reservation forbids (SPC-5, SBC-4 and SSC-5, "Commands that are allowed in the presence of various
//! reservations"), from what the opcode table says of them.

use formats::scsi::{Class, FieldName, Row};

use super::Reservations;
use crate::scsi::simulated::call::Call;

/// Allowed to everyone: INQUIRY, REPORT LUNS, REQUEST SENSE, TEST UNIT READY, LOG SENSE, READ CAPACITY, and the reservation
/// commands, which judge for themselves.
const ALWAYS: [u8; 11] = [0x00, 0x03, 0x12, 0x16, 0x17, 0x25, 0x4d, 0x56, 0x57, 0x5e, 0xa0];
/// PERSISTENT RESERVE OUT.
const RESERVE_OUT: u8 = 0x5f;
/// SERVICE ACTION IN(16) with READ CAPACITY(16).
const CAPACITY: (u8, Option<u16>) = (0x9e, Some(0x10));
/// START STOP UNIT.
const START_STOP: u8 = 0x1b;
/// What reads no blocks and is still forbidden to strangers: MODE SENSE, READ BUFFER, RECEIVE DIAGNOSTIC RESULTS.
const PRIVATE: [u8; 5] = [0x1a, 0x1c, 0x3c, 0x5a, 0x9b];

/// How much a command wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wants {
    Nothing,
    Reading,
    Everything,
}

fn wants(row: &Row, call: &Call<'_>) -> Wants {
    let starts = row.opcode == START_STOP && call.flag(FieldName::Start);
    let key = (row.opcode, row.service);
    if ALWAYS.contains(&row.opcode) || row.opcode == RESERVE_OUT || key == CAPACITY || starts {
        Wants::Nothing
    } else if row.class == Class::Read && !PRIVATE.contains(&row.opcode) {
        Wants::Reading
    } else {
        Wants::Everything
    }
}

impl Reservations {
    /// Whether a command conflicts with a reservation that another nexus holds.
    pub(in crate::scsi::simulated) fn conflicts(&self, row: &Row, call: &Call<'_>) -> bool {
        let wants = wants(row, call);
        let reserved = self.legacy.is_some_and(|holder| holder != call.nexus);
        (reserved && self.legacy_forbids(row)) || self.forbids(wants, call.nexus)
    }

    /// RESERVE forbids everything but being asked who one is, and RELEASE, which does nothing for others.
    fn legacy_forbids(&self, row: &Row) -> bool {
        const ALLOWED: [u8; 5] = [0x03, 0x12, 0x17, 0x57, 0xa0];
        !ALLOWED.contains(&row.opcode)
    }

    fn forbids(&self, wants: Wants, nexus: usize) -> bool {
        let Some(reservation) = self.reservation.filter(|_| !self.is_holder(nexus)) else { return false };
        let registered = reservation.kind.registrants() && self.keys.contains_key(&nexus);
        match wants {
            _ if registered => false,
            Wants::Nothing => false,
            Wants::Reading => reservation.kind.exclusive(),
            Wants::Everything => true,
        }
    }
}

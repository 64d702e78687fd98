//! PERSISTENT RESERVE IN.

use super::Reservations;
use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;
use crate::scsi::simulated::unit::Unit;

/// Can outlive a loss of power (PTPL_C); TYPE MASK VALID.
const CAN_PERSIST: u8 = 0x01;
const MASK_VALID: u8 = 0x80;
/// All six types (PERSISTENT RESERVATION TYPE MASK).
const TYPES: [u8; 2] = [0xea, 0x01];

/// PERSISTENT RESERVE IN, by service action.
pub(in crate::scsi::simulated) fn reserve_in(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let reservations = &unit.reservations;
    let reply = match call.row().and_then(|row| row.service) {
        Some(0) => reservations.listed(&reservations.keys()),
        Some(1) => reservations.listed(&reservations.reserved()),
        Some(2) => vec![0, 8, CAN_PERSIST, MASK_VALID | u8::from(reservations.aptpl), TYPES[0], TYPES[1], 0, 0],
        _ => reservations.listed(&reservations.full()),
    };
    call.reply(&reply);
    Ok(())
}

impl Reservations {
    /// Behind the generation and the length.
    fn listed(&self, bytes: &[u8]) -> Vec<u8> {
        [&self.generation.to_be_bytes()[..], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
    }

    fn keys(&self) -> Vec<u8> {
        self.keys.values().flat_map(|key| key.to_be_bytes()).collect()
    }

    /// The reservation's key, which for all registrants is 0, and its type.
    fn reserved(&self) -> Vec<u8> {
        let Some(reservation) = self.reservation else { return Vec::new() };
        let holder = self.keys.get(&reservation.holder).copied();
        let key = if reservation.kind.all_registrants() { 0 } else { holder.unwrap_or(0) };
        [&key.to_be_bytes()[..], &[0, 0, 0, 0, 0, reservation.kind.0, 0, 0][..]].concat()
    }

    /// A descriptor for each registration. The ports are said to be SAS ones, numbered by nexus.
    fn full(&self) -> Vec<u8> {
        self.keys.iter().flat_map(|(nexus, key)| self.descriptor(*nexus, *key)).collect()
    }

    fn descriptor(&self, nexus: usize, key: u64) -> Vec<u8> {
        let kind = self.reservation.filter(|_| self.is_holder(nexus)).map_or(0, |reservation| reservation.kind.0);
        let mut bytes = key.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, u8::from(kind != 0), kind, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24]);
        bytes.extend_from_slice(&[0x06, 0, 0, 0]);
        bytes.extend_from_slice(&(0x3000_0000_0000_1000 + nexus as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; 12]);
        bytes
    }
}

//! RESERVE and RELEASE (SPC-2): one nexus for itself, until it releases or the device is reset.

use formats::scsi::{FieldName, Outcome, ScsiStatus};

use crate::scsi::simulated::answer::Answer;
use crate::scsi::simulated::call::Call;
use crate::scsi::simulated::unit::Unit;

/// RESERVE(6) and RESERVE(10) of the whole unit. Where anybody is registered for persistent reservations it conflicts.
pub(in crate::scsi::simulated) fn reserve(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    call.must_be_zero(FieldName::Length)?;
    let reservations = &mut unit.reservations;
    let taken = reservations.legacy.is_some_and(|holder| holder != call.nexus);
    if taken || !reservations.keys.is_empty() {
        return Err(Outcome::with_status(ScsiStatus::ReservationConflict));
    }
    reservations.legacy = Some(call.nexus);
    Ok(())
}

/// RELEASE(6) and RELEASE(10); of a reservation of others it does nothing.
pub(in crate::scsi::simulated) fn release(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    let reservations = &mut unit.reservations;
    if !reservations.keys.is_empty() {
        return Err(Outcome::with_status(ScsiStatus::ReservationConflict));
    }
    if reservations.legacy == Some(call.nexus) {
        reservations.legacy = None;
    }
    Ok(())
}

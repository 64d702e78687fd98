//! PERSISTENT RESERVE OUT.

use formats::scsi::{FieldName, Outcome, ScsiStatus, SenseKey};

use super::{Reservation, Reservations, Type};
use crate::scsi::simulated::answer::{Answer, check, invalid_parameter, list_length_error};
use crate::scsi::simulated::attention::{REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
use crate::scsi::simulated::call::Call;
use crate::scsi::simulated::unit::Unit;

/// Bytes of the parameter list.
const LIST: u64 = 24;
/// Specify initiator ports, in byte 20; not supported.
const SPEC_I_PT: u8 = 0x08;
/// Persist through power loss, in byte 20.
const APTPL: u8 = 0x01;

/// What the other initiators are to be told: who, and what.
type Told = Vec<(usize, formats::scsi::Asc)>;

const CONFLICT: Outcome = Outcome::with_status(ScsiStatus::ReservationConflict);

/// What a command brings.
struct Order {
    nexus: usize,
    /// RESERVATION KEY.
    key: u64,
    /// SERVICE ACTION RESERVATION KEY.
    action_key: u64,
    aptpl: bool,
    kind: Option<Type>,
}

/// PERSISTENT RESERVE OUT, by service action.
pub(in crate::scsi::simulated) fn reserve_out(unit: &mut Unit, call: &mut Call<'_>) -> Answer {
    if unit.reservations.legacy.is_some_and(|holder| holder != call.nexus) {
        return Err(CONFLICT);
    }
    let action = call.row().and_then(|row| row.service).unwrap_or(0);
    let order = Order::new(call)?;
    let needs_type = matches!(action, 1 | 2 | 4 | 5);
    if needs_type {
        call.must_be_zero(FieldName::Scope)?;
        order.kind.ok_or_else(|| call.refuse(FieldName::Type))?;
    }
    let told = match action {
        0 => unit.reservations.register(&order, false),
        1 => unit.reservations.reserve(&order),
        2 => unit.reservations.release(&order),
        3 => unit.reservations.clear(&order),
        4 | 5 => unit.reservations.preempt(&order),
        _ => unit.reservations.register(&order, true),
    }?;
    told.into_iter().for_each(|(nexus, asc)| unit.attend(nexus, asc));
    Ok(())
}

impl Order {
    fn new(call: &mut Call<'_>) -> Answer<Self> {
        if call.get(FieldName::Length) != LIST {
            return Err(list_length_error());
        }
        let list = call.take_list()?;
        let word = |at: usize| list.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_be_bytes(*b));
        let flags = list.get(20).copied().unwrap_or(0);
        if flags & SPEC_I_PT != 0 {
            return Err(invalid_parameter(20, Some(3)));
        }
        let kind = Type::from_byte(call.get(FieldName::Type) as u8);
        Ok(Self { nexus: call.nexus, key: word(0), action_key: word(8), aptpl: flags & APTPL != 0, kind })
    }
}

impl Reservations {
    /// Conflicts unless the nexus is registered with the key that it gives.
    fn must_be_registered(&self, order: &Order) -> Answer {
        if self.keys.get(&order.nexus) == Some(&order.key) { Ok(()) } else { Err(CONFLICT) }
    }

    /// The other registered ones, each to be told the same.
    fn others(&self, nexus: usize, asc: formats::scsi::Asc) -> Told {
        self.keys.keys().filter(|other| **other != nexus).map(|other| (*other, asc)).collect()
    }

    fn register(&mut self, order: &Order, ignore_existing: bool) -> Answer<Told> {
        let existing = self.keys.get(&order.nexus).copied();
        if !ignore_existing && existing.unwrap_or(0) != order.key {
            return Err(CONFLICT);
        }
        if order.action_key == 0 && existing.is_none() {
            return Ok(vec![]);
        }
        self.generation = self.generation.wrapping_add(1);
        self.aptpl = order.aptpl;
        if order.action_key == 0 {
            return Ok(self.unregister(order.nexus));
        }
        self.keys.insert(order.nexus, order.action_key);
        Ok(vec![])
    }

    /// A holder that goes takes its reservation along; with the types for all registrants the last one does.
    fn unregister(&mut self, nexus: usize) -> Told {
        let held = self.reservation.filter(|_| self.is_holder(nexus));
        self.keys.remove(&nexus);
        let Some(reservation) = held.filter(|held| !held.kind.all_registrants() || self.keys.is_empty()) else {
            return vec![];
        };
        self.reservation = None;
        if reservation.kind.registrants() { self.others(nexus, RESERVATIONS_RELEASED) } else { vec![] }
    }

    fn reserve(&mut self, order: &Order) -> Answer<Told> {
        self.must_be_registered(order)?;
        let kind = order.kind.ok_or(CONFLICT)?;
        match self.reservation {
            Some(held) if self.is_holder(order.nexus) && held.kind == kind => {}
            Some(_) => return Err(CONFLICT),
            None => self.reservation = Some(Reservation { holder: order.nexus, kind }),
        }
        Ok(vec![])
    }

    fn release(&mut self, order: &Order) -> Answer<Told> {
        self.must_be_registered(order)?;
        let Some(held) = self.reservation.filter(|_| self.is_holder(order.nexus)) else { return Ok(vec![]) };
        if order.kind != Some(held.kind) {
            return Err(check(SenseKey::IllegalRequest, 0x26, 0x04));
        }
        self.reservation = None;
        Ok(if held.kind.registrants() { self.others(order.nexus, RESERVATIONS_RELEASED) } else { vec![] })
    }

    fn clear(&mut self, order: &Order) -> Answer<Told> {
        self.must_be_registered(order)?;
        let told = self.others(order.nexus, RESERVATIONS_PREEMPTED);
        self.generation = self.generation.wrapping_add(1);
        self.reservation = None;
        self.keys.clear();
        Ok(told)
    }

    /// Takes registrations back, and the reservation over when it is held by them.
    fn preempt(&mut self, order: &Order) -> Answer<Told> {
        self.must_be_registered(order)?;
        let all = self.reservation.is_some_and(|held| held.kind.all_registrants());
        let holder_key = self.reservation.and_then(|held| self.keys.get(&held.holder)).copied();
        let takes_over = match self.reservation {
            Some(_) if all => order.action_key == 0,
            Some(_) => holder_key == Some(order.action_key),
            None => false,
        };
        if order.action_key == 0 && !takes_over {
            return Err(invalid_parameter(8, None));
        }
        let removed = self.remove(order, takes_over && all);
        if removed.is_empty() && !takes_over {
            return Err(CONFLICT);
        }
        self.generation = self.generation.wrapping_add(1);
        let changed = if takes_over { self.take_over(order)? } else { vec![] };
        Ok(removed.into_iter().map(|nexus| (nexus, REGISTRATIONS_PREEMPTED)).chain(changed).collect())
    }

    /// Takes back the registrations with the action's key, or all, but never the one that asks.
    fn remove(&mut self, order: &Order, all: bool) -> Vec<usize> {
        let wanted = |nexus: usize, key: u64| nexus != order.nexus && (all || key == order.action_key);
        let removed = self.keys.iter().filter(|(nexus, key)| wanted(**nexus, **key)).map(|(nexus, _)| *nexus).collect();
        self.keys.retain(|nexus, key| !wanted(*nexus, *key));
        removed
    }

    /// The one that asks holds the reservation now; who stays registered is told when its type is another.
    fn take_over(&mut self, order: &Order) -> Answer<Told> {
        let kind = order.kind.ok_or(CONFLICT)?;
        let before = self.reservation.replace(Reservation { holder: order.nexus, kind });
        let other = before.is_some_and(|before| before.kind != kind);
        Ok(if other { self.others(order.nexus, RESERVATIONS_RELEASED) } else { vec![] })
    }
}

//! Reservations: persistent ones (SPC-5 5.14) and the older of RESERVE and RELEASE (SPC-2).

mod allowed;
mod commands_in;
mod commands_out;
mod legacy;

use std::collections::BTreeMap;

pub(super) use commands_in::reserve_in;
pub(super) use commands_out::reserve_out;
pub(super) use legacy::{release, reserve};

/// What a reservation forbids to others: TYPE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Type(u8);

impl Type {
    /// The type of this value, if there is one.
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 | 3 | 5..=8 => Some(Self(byte)),
            _ => None,
        }
    }

    /// Who is registered may do as the holder does.
    const fn registrants(self) -> bool {
        self.0 >= 5
    }

    /// Who is registered holds it.
    const fn all_registrants(self) -> bool {
        self.0 >= 7
    }

    /// Reading is forbidden too.
    const fn exclusive(self) -> bool {
        matches!(self.0, 3 | 6 | 8)
    }
}

/// A persistent reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reservation {
    /// Who made it; with the types for all registrants they all hold it.
    holder: usize,
    kind: Type,
}

/// Who is registered, and who has reserved.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    generation: u32,
    keys: BTreeMap<usize, u64>,
    reservation: Option<Reservation>,
    /// All this outlives a loss of power.
    aptpl: bool,
    /// Who has reserved by RESERVE.
    legacy: Option<usize>,
}

impl Reservations {
    /// After a loss of power.
    pub(super) fn power_on(&mut self) {
        self.legacy = None;
        if !self.aptpl {
            *self = Self::default();
        }
    }

    /// After a logical unit reset.
    pub(super) const fn reset(&mut self) {
        self.legacy = None;
    }

    fn is_holder(&self, nexus: usize) -> bool {
        let holds = |reservation: Reservation| {
            if reservation.kind.all_registrants() {
                self.keys.contains_key(&nexus)
            } else {
                reservation.holder == nexus
            }
        };
        self.reservation.is_some_and(holds)
    }
}

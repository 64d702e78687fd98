//! What two initiators of one disk see of each other.

use formats::scsi::build::{self, Access, ReservationType, ReserveIn, ReserveOut};
use formats::scsi::{Outcome, ScsiStatus, SenseKey};
use replayer::scsi::ScsiDevice;

use super::{Profile, ask, fetch, good, out, plain, refused, settle};

/// Two initiators, and what is known of their disk.
pub(crate) struct Pair<'a> {
    pub(crate) one: &'a dyn ScsiDevice,
    pub(crate) other: &'a dyn ScsiDevice,
    pub(crate) profile: &'a Profile,
}

const GOOD: ScsiStatus = ScsiStatus::Good;
const CONFLICT: ScsiStatus = ScsiStatus::ReservationConflict;

fn order(device: &dyn ScsiDevice, action: ReserveOut, kind: ReservationType, key: u64, action_key: u64) {
    let list = build::reserve_parameters(key, action_key, false);
    good(out(device, &build::persistent_reserve_out(action, kind, 24), &list));
}

fn attention(device: &dyn ScsiDevice, qualifier: u8) {
    refused(plain(device, &build::test_unit_ready()), SenseKey::UnitAttention, 0x2a, qualifier);
}

impl Pair<'_> {
    fn write(&self, device: &dyn ScsiDevice) -> Outcome {
        out(device, &build::write_10(1, 1, Access::default()), &self.profile.pattern(1, 1))
    }

    fn read(&self, device: &dyn ScsiDevice) -> Outcome {
        fetch(device, &build::read_10(1, 1, Access::default()), self.profile.bytes(1)).0
    }

    /// Registers the first with 1 and the second, if it is to be, with 2; the first reserves.
    fn reserved(&self, kind: ReservationType, other_too: bool) {
        order(self.one, ReserveOut::RegisterAndIgnoreExistingKey, ReservationType::None, 0, 1);
        if other_too {
            order(self.other, ReserveOut::RegisterAndIgnoreExistingKey, ReservationType::None, 0, 2);
        }
        order(self.one, ReserveOut::Reserve, kind, 1, 0);
    }

    fn clear(&self) {
        order(self.one, ReserveOut::RegisterAndIgnoreExistingKey, ReservationType::None, 0, 1);
        order(self.one, ReserveOut::Clear, ReservationType::None, 1, 0);
        settle(self.one);
        settle(self.other);
    }
}

/// What each type lets the other initiator do, registered and not.
pub(crate) fn check_types(pair: &Pair<'_>) {
    use ReservationType as Type;
    let cases = [
        (Type::WriteExclusive, false, GOOD, CONFLICT),
        (Type::WriteExclusive, true, GOOD, CONFLICT),
        (Type::ExclusiveAccess, false, CONFLICT, CONFLICT),
        (Type::ExclusiveAccess, true, CONFLICT, CONFLICT),
        (Type::WriteExclusiveRegistrantsOnly, false, GOOD, CONFLICT),
        (Type::WriteExclusiveRegistrantsOnly, true, GOOD, GOOD),
        (Type::ExclusiveAccessRegistrantsOnly, false, CONFLICT, CONFLICT),
        (Type::ExclusiveAccessRegistrantsOnly, true, GOOD, GOOD),
        (Type::WriteExclusiveAllRegistrants, false, GOOD, CONFLICT),
        (Type::WriteExclusiveAllRegistrants, true, GOOD, GOOD),
        (Type::ExclusiveAccessAllRegistrants, false, CONFLICT, CONFLICT),
        (Type::ExclusiveAccessAllRegistrants, true, GOOD, GOOD),
    ];
    for (kind, registered, reads, writes) in cases {
        pair.reserved(kind, registered);
        let seen = (pair.read(pair.other).status, pair.write(pair.other).status);
        assert_eq!(seen, (reads, writes), "{kind:?}, registered: {registered}");
        assert_eq!((pair.read(pair.one).status, pair.write(pair.one).status), (GOOD, GOOD), "the holder");
        good(plain(pair.other, &build::test_unit_ready()));
        ask(pair.other, &build::inquiry(None, 36), 36);
        ask(pair.other, &build::read_capacity_10(), 8);
        pair.clear();
    }
}

/// Releasing tells the registered where they could work; clearing tells all of them.
pub(crate) fn check_released_and_cleared(pair: &Pair<'_>) {
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    pair.reserved(kind, true);
    order(pair.one, ReserveOut::Release, kind, 1, 0);
    attention(pair.other, 0x04);
    good(pair.write(pair.other));
    order(pair.one, ReserveOut::Clear, ReservationType::None, 1, 0);
    attention(pair.other, 0x03);
    good(plain(pair.other, &build::test_unit_ready()));
    pair.clear();
}

/// A holder that takes its registration back takes the reservation along; with all registrants the last one does.
pub(crate) fn check_unregistered(pair: &Pair<'_>) {
    pair.reserved(ReservationType::ExclusiveAccessRegistrantsOnly, true);
    order(pair.one, ReserveOut::Register, ReservationType::None, 1, 0);
    attention(pair.other, 0x04);
    let read = |pair: &Pair<'_>| ask(pair.other, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64);
    assert_eq!(read(pair).len(), 8);
    pair.clear();
    use ReservationType::{ExclusiveAccessAllRegistrants, WriteExclusiveAllRegistrants};
    for kind in [WriteExclusiveAllRegistrants, ExclusiveAccessAllRegistrants] {
        pair.reserved(kind, true);
        order(pair.one, ReserveOut::Register, ReservationType::None, 1, 0);
        let held = read(pair);
        assert_eq!((held.len(), &held[8..16]), (24, &[0; 8][..]), "the other one holds it, under no key");
        assert_eq!(held[21], kind as u8);
        order(pair.other, ReserveOut::Register, ReservationType::None, 2, 0);
        assert_eq!(read(pair).len(), 8);
        pair.clear();
    }
}

/// With all registrants a preemption of key 0 takes everything over; one of a key takes only that registration.
pub(crate) fn check_preempted_all(pair: &Pair<'_>) {
    let kind = ReservationType::WriteExclusiveAllRegistrants;
    pair.reserved(kind, true);
    order(pair.other, ReserveOut::Preempt, ReservationType::ExclusiveAccess, 2, 1);
    attention_after_conflict(pair);
    let held = ask(pair.other, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64);
    assert_eq!((held.len(), held[21]), (24, 7), "still reserved");
    order(pair.one, ReserveOut::RegisterAndIgnoreExistingKey, ReservationType::None, 0, 1);
    order(pair.other, ReserveOut::PreemptAndAbort, ReservationType::ExclusiveAccess, 2, 0);
    attention_after_conflict(pair);
    let held = ask(pair.other, &build::persistent_reserve_in(ReserveIn::ReadReservation, 64), 64);
    assert_eq!((&held[8..16], held[21]), (&2u64.to_be_bytes()[..], 3), "by the one that preempted");
    let zero = build::reserve_parameters(2, 0, false);
    let preempt = build::persistent_reserve_out(ReserveOut::Preempt, kind, 24);
    refused(out(pair.other, &preempt, &zero), SenseKey::IllegalRequest, 0x26, 0);
    order(pair.other, ReserveOut::Clear, ReservationType::None, 2, 0);
    pair.clear();
}

/// The first is told that its registration is gone, and cannot write.
fn attention_after_conflict(pair: &Pair<'_>) {
    assert_eq!(pair.write(pair.one).status, CONFLICT);
    attention(pair.one, 0x05);
}

/// Preempting takes the reservation over and the other's registration away, and tells it.
pub(crate) fn check_preempted(pair: &Pair<'_>) {
    let kind = ReservationType::WriteExclusive;
    pair.reserved(kind, true);
    order(pair.other, ReserveOut::Preempt, kind, 2, 1);
    assert_eq!(pair.write(pair.one).status, CONFLICT, "a conflict comes before what is to be told");
    attention(pair.one, 0x05);
    good(pair.write(pair.other));
    let full = ask(pair.one, &build::persistent_reserve_in(ReserveIn::ReadFullStatus, 255), 255);
    assert_eq!((&full[8..16], full[20], full[21]), (&2u64.to_be_bytes()[..], 1, 1), "one holder is left");
    let nobody = build::reserve_parameters(2, 9, false);
    let preempt = build::persistent_reserve_out(ReserveOut::Preempt, kind, 24);
    assert_eq!(out(pair.other, &preempt, &nobody).status, CONFLICT);
    order(pair.other, ReserveOut::Clear, ReservationType::None, 2, 0);
    pair.clear();
}

/// RESERVE(6) and RELEASE(6): everything but being asked who one is conflicts.
pub(crate) fn check_reserve_6(pair: &Pair<'_>) {
    good(plain(pair.one, &[0x16, 0, 0, 0, 0, 0]));
    assert_eq!(plain(pair.other, &[0x16, 0, 0, 0, 0, 0]).status, CONFLICT);
    assert_eq!(pair.read(pair.other).status, CONFLICT);
    assert_eq!(plain(pair.other, &build::test_unit_ready()).status, CONFLICT);
    ask(pair.other, &build::inquiry(None, 36), 36);
    good(plain(pair.other, &[0x17, 0, 0, 0, 0, 0]));
    good(pair.write(pair.one));
    assert_eq!(pair.write(pair.other).status, CONFLICT, "a release by another does nothing");
    good(plain(pair.one, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    good(pair.write(pair.other));
}

/// A change of mode parameters is told to the other, once, and not to who made it.
pub(crate) fn check_mode_attention(pair: &Pair<'_>) {
    let mode = build::ModePage { page: 0x08, dbd: true, ..build::ModePage::default() };
    let mut list = ask(pair.one, &build::mode_sense_6(mode, 255), 255);
    (list[0], list[2], list[4]) = (0, 0, list[4] & 0x7f);
    list[6] ^= 0x04;
    let select = build::mode_select_6(false, list.len() as u8);
    good(out(pair.one, &select, &list));
    good(plain(pair.one, &build::test_unit_ready()));
    ask(pair.other, &build::inquiry(None, 36), 36);
    attention(pair.other, 0x01);
    good(plain(pair.other, &build::test_unit_ready()));
    list[6] ^= 0x04;
    good(out(pair.one, &select, &list));
    settle(pair.other);
}

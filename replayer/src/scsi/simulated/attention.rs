//! Unit attentions: what each initiator is still to be told.

use std::collections::VecDeque;

use formats::scsi::{Asc, Outcome, Sense, SenseKey};

/// Conditions a device keeps for one initiator.
const MOST: usize = 16;

/// POWER ON OCCURRED.
pub(super) const POWER_ON: Asc = Asc::new(0x29, 0x01);
/// BUS DEVICE RESET FUNCTION OCCURRED: a logical unit reset.
pub(super) const RESET: Asc = Asc::new(0x29, 0x03);
/// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
pub(super) const MEDIUM_CHANGED: Asc = Asc::new(0x28, 0x00);
/// MODE PARAMETERS CHANGED.
pub(super) const MODE_CHANGED: Asc = Asc::new(0x2a, 0x01);
/// RESERVATIONS PREEMPTED.
pub(super) const RESERVATIONS_PREEMPTED: Asc = Asc::new(0x2a, 0x03);
/// RESERVATIONS RELEASED.
pub(super) const RESERVATIONS_RELEASED: Asc = Asc::new(0x2a, 0x04);
/// REGISTRATIONS PREEMPTED.
pub(super) const REGISTRATIONS_PREEMPTED: Asc = Asc::new(0x2a, 0x05);
/// CAPACITY DATA HAS CHANGED.
pub(super) const CAPACITY_CHANGED: Asc = Asc::new(0x2a, 0x09);
/// THIN PROVISIONING SOFT THRESHOLD REACHED.
pub(super) const SOFT_THRESHOLD: Asc = Asc::new(0x38, 0x07);
/// MICROCODE HAS BEEN CHANGED.
pub(super) const MICROCODE_CHANGED: Asc = Asc::new(0x3f, 0x01);

/// What one initiator is to be told, oldest first; each condition once.
#[derive(Clone, Debug, Default)]
pub(super) struct Attentions {
    queue: VecDeque<Asc>,
    lost: bool,
}

impl Attentions {
    /// One more condition. A power on or reset makes what came before it void.
    pub(super) fn raise(&mut self, asc: Asc) {
        if asc.code == 0x29 {
            self.queue.clear();
        }
        if self.queue.contains(&asc) {
            return;
        }
        if self.queue.len() < MOST {
            self.queue.push_back(asc);
        } else {
            self.lost = true;
        }
    }

    /// The next to be told, as sense data.
    pub(super) fn next(&mut self) -> Option<Sense> {
        let asc = self.queue.pop_front()?;
        let sense = Sense::new(SenseKey::UnitAttention, asc);
        let lost = std::mem::take(&mut self.lost);
        Some(if lost { Sense { key_specific: Some([0x81, 0, 0]), ..sense } } else { sense })
    }

    /// The same as the end of a command that is not begun.
    pub(super) fn report(&mut self) -> Option<Outcome> {
        self.next().map(Outcome::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_order_and_power_on_forgets_the_rest() {
        let mut queue = Attentions::default();
        queue.raise(MODE_CHANGED);
        queue.raise(CAPACITY_CHANGED);
        queue.raise(MODE_CHANGED);
        assert_eq!(queue.next().map(|sense| sense.asc), Some(MODE_CHANGED));
        queue.raise(POWER_ON);
        assert_eq!(queue.next().map(|sense| sense.asc), Some(POWER_ON));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn too_many_are_told_to_be_lost() {
        let mut queue = Attentions::default();
        (0..20).for_each(|qualifier| queue.raise(Asc::new(0x2a, qualifier)));
        assert!(queue.next().is_some_and(|sense| sense.attentions_lost()));
        assert!(queue.next().is_some_and(|sense| !sense.attentions_lost()));
    }
}

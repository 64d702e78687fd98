//! When a slot of the kernel's dirty map may be cleared (invariant 9).
//!
//! The probe sets the region's bit of every change in the slot of the current epoch, `epoch % 3`, before anything that
//! can fail. A slot may be forgotten only when every command issued in its epoch has ended, and each of them is
//! durable in the journal or has its bit in a durable dirty map.
//!
//! ```text
//!            switch                     grace over, issued == ended == settled, no loss
//!   Clear ─────────▶ Current ─────▶ Draining ──────────────────────────────────▶ Clear
//!                                       │ loss                                     ▲
//!                                       ▼                                          │
//!                                    Tainted ── taken over, issued == ended ───────┘
//! ```
//!
//! After a loss nobody knows which commands are missing, so the agent copies the slot's bits into a dirty map and
//! makes that durable: the epoch is *taken over*. Bits may be set until every command has ended, so a copy only counts
//! when it was read after that; [`EpochTracker::wants_take_over`] says when.
//!
//! Counters are those of the kernel: they only grow. The tracker remembers where they stood when a slot was last clear.

use alloc::vec::Vec;
use core::time::Duration;

use crate::Now;
use crate::mutation::{self, Mutation};

/// Slots of the kernel's dirty map.
pub const SLOTS: usize = 3;

/// Counters per slot as the kernel has them: they only grow, summed over all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelCounts {
    /// Commands whose bits were set in this slot.
    pub issued: [u64; SLOTS],
    /// Of these, how many have ended in any way: completed, withdrawn, or given up.
    pub ended: [u64; SLOTS],
    /// Events of these commands that the agent will never see.
    pub lost: [u64; SLOTS],
}

/// What the driver does to the kernel, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Make `to` the current epoch, then wait until no program that read the old one is running (an RCU barrier).
    Switch {
        /// The new epoch.
        to: u32,
    },
    /// Clear the slot of this epoch.
    Clear {
        /// The epoch.
        epoch: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    issued: u64,
    ended: u64,
    lost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Clear,
    Current,
    Draining { since: Now },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    epoch: u32,
    phase: Phase,
    /// Kernel counters when it was last clear.
    base: Counts,
    /// Kernel counters at the last tick, from `base`.
    seen: Counts,
    settled: u64,
    /// A loss that the counters do not show: a take-over by an agent that knows nothing of the epoch.
    tainted: bool,
    taken_over: bool,
}

impl Slot {
    fn is_lossy(&self) -> bool {
        self.tainted || self.seen.lost > 0
    }

    fn all_ended(&self) -> bool {
        self.seen.issued == self.seen.ended
    }

    fn is_over(&self, now: Now, grace: Duration) -> bool {
        match self.phase {
            Phase::Draining { since } => now.saturating_sub(since) >= grace && self.all_ended(),
            Phase::Clear | Phase::Current => false,
        }
    }

    fn may_clear(&self, now: Now, grace: Duration) -> bool {
        let accounted = mutation::is(Mutation::ClearEpochsEarly)
            || if self.is_lossy() { self.taken_over } else { self.settled == self.seen.issued };
        self.is_over(now, grace) && accounted
    }
}

/// The tracker.
#[derive(Clone, Debug)]
pub struct EpochTracker {
    interval: Duration,
    grace: Duration,
    current: u32,
    switched: Now,
    slots: [Slot; SLOTS],
}

impl EpochTracker {
    /// For a probe that was just loaded: all slots are clear, `current` is the epoch in use. Epochs are switched at
    /// most every `interval` and not cleared within `grace` of the switch.
    #[must_use]
    pub fn new(now: Now, current: u32, interval: Duration, grace: Duration) -> Self {
        let slot = Slot {
            epoch: 0,
            phase: Phase::Clear,
            base: Counts::default(),
            seen: Counts::default(),
            settled: 0,
            tainted: false,
            taken_over: false,
        };
        let mut tracker = Self { interval, grace, current, switched: now, slots: [slot; SLOTS] };
        tracker.slots[slot_of(current)] = Slot { epoch: current, phase: Phase::Current, ..slot };
        tracker
    }

    /// For a probe that was found running: nothing is known of what its slots hold, so each must be taken over.
    #[must_use]
    pub fn recover(now: Now, current: u32, interval: Duration, grace: Duration) -> Self {
        let mut tracker = Self::new(now, current, interval, grace);
        for back in 0..SLOTS as u32 {
            // Before the first epochs there were none, but their slots may hold bits all the same.
            let epoch = current.checked_sub(back).unwrap_or(current + SLOTS as u32 - back);
            let phase = if back == 0 { Phase::Current } else { Phase::Draining { since: now } };
            let slot = &mut tracker.slots[slot_of(epoch)];
            *slot = Slot { epoch, phase, tainted: true, ..*slot };
        }
        tracker
    }

    /// After [`Self::recover`], where the driver had just made the current epoch current itself, when all commands
    /// issued in its slot before had ended and the counters stood at `counts`: what is issued in it is counted from
    /// there as in any other epoch, and needs no take-over. What the slot held before must be in a durable dirty map
    /// by the next [`Self::tick`].
    pub fn begun_by_us(&mut self, counts: &KernelCounts) {
        let place = slot_of(self.current);
        self.slots[place].base = counts_of(counts, place);
        self.slots[place].tainted = false;
    }

    /// The epoch in use.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.current
    }

    /// `count` commands issued in `epoch` are durable in the journal or in a dirty map; also withdrawn ones. Epochs
    /// that are already clear are ignored.
    pub fn record_settled(&mut self, epoch: u32, count: u64) {
        if let Some(slot) = self.live_mut(epoch) {
            slot.settled += count;
        }
    }

    /// Something issued in `epoch` was lost in a way that the kernel's counters do not show.
    pub fn loss(&mut self, epoch: u32) {
        if let Some(slot) = self.live_mut(epoch) {
            slot.tainted = true;
            slot.taken_over = false;
        }
    }

    /// Epochs with a loss whose commands have all ended: their bits are final and should be copied into a dirty map
    /// now; once that is durable, [`Self::taken_over`].
    pub fn wants_take_over(&self, now: Now) -> impl Iterator<Item = u32> + '_ {
        let wants = move |slot: &&Slot| slot.is_lossy() && !slot.taken_over && slot.is_over(now, self.grace);
        self.slots.iter().filter(wants).map(|slot| slot.epoch)
    }

    /// The bits of `epoch`, read after [`Self::wants_take_over`] named it, are in a durable dirty map.
    pub fn taken_over(&mut self, epoch: u32) {
        if let Some(slot) = self.live_mut(epoch) {
            slot.taken_over = true;
        }
    }

    /// Epochs whose slots are not clear: the union of their bits is everything that may not be durable elsewhere.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| slot.phase != Phase::Clear).map(|slot| slot.epoch)
    }

    /// Takes the kernel's counters and says what to do. The driver does it before the next call.
    pub fn tick(&mut self, now: Now, counts: &KernelCounts) -> Vec<Action> {
        let mut actions = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let kernel = counts_of(counts, place);
            slot.seen = Counts {
                issued: kernel.issued.saturating_sub(slot.base.issued),
                ended: kernel.ended.saturating_sub(slot.base.ended),
                lost: kernel.lost.saturating_sub(slot.base.lost),
            };
            if slot.may_clear(now, self.grace) {
                actions.push(Action::Clear { epoch: slot.epoch });
                *slot = cleared(*slot, kernel);
            }
        }
        if let Some(to) = self.next_epoch(now) {
            self.switch(now, to);
            actions.push(Action::Switch { to });
        }
        actions
    }

    /// The epoch to switch to, if it is time, its slot is clear, and the current one was used at all.
    fn next_epoch(&self, now: Now) -> Option<u32> {
        let current = &self.slots[slot_of(self.current)];
        let used = current.seen != Counts::default() || current.tainted;
        let to = self.current.wrapping_add(1);
        let due = now.saturating_sub(self.switched) >= self.interval;
        (due && used && self.slots[slot_of(to)].phase == Phase::Clear).then_some(to)
    }

    fn switch(&mut self, now: Now, to: u32) {
        self.slots[slot_of(self.current)].phase = Phase::Draining { since: now };
        let slot = &mut self.slots[slot_of(to)];
        *slot = Slot { epoch: to, phase: Phase::Current, ..*slot };
        self.current = to;
        self.switched = now;
    }

    fn live_mut(&mut self, epoch: u32) -> Option<&mut Slot> {
        Some(&mut self.slots[slot_of(epoch)]).filter(|slot| slot.epoch == epoch && slot.phase != Phase::Clear)
    }
}

fn slot_of(epoch: u32) -> usize {
    epoch as usize % SLOTS
}

fn counts_of(counts: &KernelCounts, place: usize) -> Counts {
    Counts { issued: counts.issued[place], ended: counts.ended[place], lost: counts.lost[place] }
}

fn cleared(slot: Slot, base: Counts) -> Slot {
    Slot { phase: Phase::Clear, base, seen: Counts::default(), settled: 0, tainted: false, taken_over: false, ..slot }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const GRACE: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    fn tracker() -> EpochTracker {
        EpochTracker::new(at(0), 0, INTERVAL, GRACE)
    }

    fn counts(issued: [u64; 3], ended: [u64; 3], lost: [u64; 3]) -> KernelCounts {
        KernelCounts { issued, ended, lost }
    }

    #[test]
    fn an_epoch_is_cleared_when_all_its_commands_are_settled() {
        let mut tracker = tracker();
        assert_eq!(tracker.tick(at(999), &counts([5, 0, 0], [4, 0, 0], [0; 3])), []);
        assert_eq!(tracker.tick(at(1000), &counts([5, 0, 0], [4, 0, 0], [0; 3])), [Action::Switch { to: 1 }]);
        tracker.record_settled(0, 4);
        assert_eq!(tracker.tick(at(1200), &counts([5, 0, 0], [4, 0, 0], [0; 3])), []);
        tracker.record_settled(0, 1);
        assert_eq!(tracker.tick(at(1200), &counts([5, 0, 0], [5, 0, 0], [0; 3])), [Action::Clear { epoch: 0 }]);
    }

    #[test]
    fn the_grace_after_a_switch_is_kept() {
        let mut tracker = tracker();
        let kernel = counts([1, 0, 0], [1, 0, 0], [0; 3]);
        tracker.record_settled(0, 1);
        assert_eq!(tracker.tick(at(1000), &kernel), [Action::Switch { to: 1 }]);
        assert_eq!(tracker.tick(at(1099), &kernel), []);
        assert_eq!(tracker.tick(at(1100), &kernel), [Action::Clear { epoch: 0 }]);
    }

    #[test]
    fn an_epoch_begun_on_a_probe_found_running_needs_no_take_over() {
        let before = counts([9, 5, 7], [8, 5, 7], [1, 0, 2]);
        let mut tracker = EpochTracker::recover(at(0), 4, INTERVAL, GRACE);
        tracker.begun_by_us(&before);
        // One command of each of epochs 4 and 3; that of 3 was in flight at the beginning.
        let kernel = counts([9, 6, 7], [9, 6, 7], [1, 0, 2]);
        assert_eq!(tracker.tick(at(200), &kernel), []);
        let mut wanted: Vec<u32> = tracker.wants_take_over(at(200)).collect();
        wanted.sort_unstable();
        assert_eq!(wanted, [2, 3]);
        wanted.into_iter().for_each(|epoch| tracker.taken_over(epoch));
        tracker.record_settled(4, 1);
        let cleared = [Action::Clear { epoch: 3 }, Action::Clear { epoch: 2 }, Action::Switch { to: 5 }];
        assert_eq!(tracker.tick(at(1000), &kernel), cleared);
        assert_eq!(tracker.wants_take_over(at(1100)).count(), 0);
        assert_eq!(tracker.tick(at(1100), &kernel), [Action::Clear { epoch: 4 }]);
    }

    #[test]
    fn a_loss_needs_a_take_over_after_the_last_command() {
        let mut tracker = tracker();
        tracker.tick(at(1000), &counts([2, 0, 0], [1, 0, 0], [1, 0, 0]));
        tracker.record_settled(0, 2);
        tracker.tick(at(2000), &counts([2, 0, 0], [1, 0, 0], [1, 0, 0]));
        assert_eq!(tracker.wants_take_over(at(2000)).count(), 0);
        let kernel = counts([2, 0, 0], [2, 0, 0], [1, 0, 0]);
        assert_eq!(tracker.tick(at(2001), &kernel), []);
        assert_eq!(tracker.wants_take_over(at(2001)).collect::<Vec<_>>(), [0]);
        tracker.taken_over(0);
        assert_eq!(tracker.tick(at(2002), &kernel), [Action::Clear { epoch: 0 }]);
    }

    #[test]
    fn no_switch_into_a_slot_that_is_not_clear() {
        let mut tracker = tracker();
        let mut kernel = counts([1, 0, 0], [1, 0, 0], [0; 3]);
        assert_eq!(tracker.tick(at(1000), &kernel), [Action::Switch { to: 1 }]);
        kernel.issued[1] = 1;
        assert_eq!(tracker.tick(at(2000), &kernel), [Action::Switch { to: 2 }]);
        kernel.issued[2] = 1;
        assert_eq!(tracker.tick(at(3000), &kernel), []);
        tracker.record_settled(0, 1);
        assert_eq!(tracker.tick(at(3001), &kernel), [Action::Clear { epoch: 0 }, Action::Switch { to: 3 }]);
    }

    #[test]
    fn a_probe_found_running_is_taken_over_slot_by_slot() {
        let mut tracker = EpochTracker::recover(at(0), 7, INTERVAL, GRACE);
        assert_eq!(tracker.live().count(), 3);
        let kernel = counts([9, 9, 9], [9, 9, 9], [4, 4, 4]);
        assert_eq!(tracker.tick(at(500), &kernel), []);
        let mut wanted: Vec<_> = tracker.wants_take_over(at(500)).collect();
        wanted.sort_unstable();
        assert_eq!(wanted, [5, 6]);
        wanted.iter().for_each(|epoch| tracker.taken_over(*epoch));
        let actions = tracker.tick(at(1000), &kernel);
        assert_eq!(actions, [Action::Clear { epoch: 6 }, Action::Clear { epoch: 5 }, Action::Switch { to: 8 }]);
    }

    #[test]
    fn a_probe_found_in_its_first_epoch_has_three_slots_too() {
        for current in 0..4 {
            let tracker = EpochTracker::recover(at(0), current, INTERVAL, GRACE);
            let slots: std::collections::BTreeSet<_> = tracker.live().map(slot_of).collect();
            assert_eq!((slots.len(), tracker.slots[slot_of(current)].phase), (3, Phase::Current));
        }
    }

    /// A kernel and an agent that do random things; the commands themselves are the oracle.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Issue,
        End(usize),
        EndLost(usize),
        Settle(usize),
        Tick(u64),
        TakeOver,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Issue),
            3 => any::<usize>().prop_map(Step::End),
            1 => any::<usize>().prop_map(Step::EndLost),
            3 => any::<usize>().prop_map(Step::Settle),
            3 => (0u64..700).prop_map(Step::Tick),
            2 => Just(Step::TakeOver),
        ]
    }

    #[derive(Default)]
    struct Model {
        counts: KernelCounts,
        in_flight: Vec<u32>,
        unsettled: Vec<u32>,
        /// Epochs of commands that are neither settled nor taken over.
        owed: Vec<u32>,
    }

    impl Model {
        fn forget(&mut self, epoch: u32) {
            if let Some(at) = self.owed.iter().position(|e| *e == epoch) {
                self.owed.remove(at);
            }
        }

        fn step(&mut self, step: Step, tracker: &mut EpochTracker, now: Now) {
            let current = tracker.current();
            match step {
                Step::Issue => {
                    self.counts.issued[slot_of(current)] += 1;
                    self.in_flight.push(current);
                    self.owed.push(current);
                }
                Step::End(which) | Step::EndLost(which) if !self.in_flight.is_empty() => {
                    let epoch = self.in_flight.remove(which % self.in_flight.len());
                    self.counts.ended[slot_of(epoch)] += 1;
                    match step {
                        Step::End(_) => self.unsettled.push(epoch),
                        _ => self.counts.lost[slot_of(epoch)] += 1,
                    }
                }
                Step::Settle(which) if !self.unsettled.is_empty() => {
                    let epoch = self.unsettled.remove(which % self.unsettled.len());
                    tracker.record_settled(epoch, 1);
                    self.forget(epoch);
                }
                Step::TakeOver => {
                    for epoch in tracker.wants_take_over(now).collect::<Vec<_>>() {
                        tracker.taken_over(epoch);
                        self.owed.retain(|e| *e != epoch);
                    }
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_owed_is_ever_cleared(steps in proptest::collection::vec(step(), 0..300)) {
            let (mut tracker, mut model, mut now) = (tracker(), Model::default(), at(0));
            for step in steps {
                if let Step::Tick(ms) = step {
                    now += at(ms);
                    for action in tracker.tick(now, &model.counts) {
                        if let Action::Clear { epoch } = action {
                            prop_assert!(!model.owed.contains(&epoch));
                            prop_assert!(!model.in_flight.contains(&epoch));
                        }
                    }
                }
                model.step(step, &mut tracker, now);
            }
            // And it gets there in the end.
            while let Some(epoch) = model.in_flight.pop() {
                model.counts.ended[slot_of(epoch)] += 1;
                model.unsettled.push(epoch);
            }
            model.unsettled.drain(..).for_each(|epoch| tracker.record_settled(epoch, 1));
            for _ in 0..8 {
                now += at(2000);
                tracker.tick(now, &model.counts);
                let wanted: Vec<_> = tracker.wants_take_over(now).collect();
                wanted.into_iter().for_each(|epoch| tracker.taken_over(epoch));
            }
            prop_assert_eq!(tracker.live().collect::<Vec<_>>(), [tracker.current()]);
        }
    }
}

//! Somebody who waits, now and then, until a standby holds everything that had completed, and remembers what was granted.

use replication::primary::Hold;

use super::agent::Agent;
use super::checker;
use super::kernel::Kernel;
use super::standby::StandbyHost;

/// A wait begins every so many steps, if none goes on.
const EVERY: u64 = 37;
/// What was granted is looked at every so many steps.
const LOOK_EVERY: u64 = 11;

/// The waits for one standby.
#[derive(Default)]
pub(super) struct Waiter {
    waiting: Option<(Hold, u64)>,
    /// The last completion of this boot that was granted.
    held: Option<u64>,
}

impl Waiter {
    /// What was waited for is gone with the agent.
    pub(super) fn give_up(&mut self) {
        self.waiting = None;
    }

    /// After a power cut of the primary the numbers begin anew, and what was not flushed there is not waited for.
    pub(super) fn power_cut(&mut self) {
        *self = Self::default();
    }

    /// Lets a step pass; answers whether a wait ended well.
    pub(super) fn step(&mut self, now: u64, place: usize, agent: &mut Agent, kernel: &Kernel) -> Result<bool, String> {
        let member = agent.channels.iter().find(|channel| channel.place == place).map(|channel| channel.member);
        let Some(member) = member else {
            self.give_up();
            return Ok(false);
        };
        if self.waiting.is_none() && (now + place as u64).is_multiple_of(EVERY) {
            self.waiting = Some((Hold::new(formats::Seq(kernel.seq)), kernel.seq));
        }
        let Some((hold, seq)) = &mut self.waiting else { return Ok(false) };
        match hold.lacking(agent.engine(member)?) {
            Some(lacking) if lacking.is_hopeless() => self.give_up(),
            Some(_) => {}
            None => {
                self.held = Some(*seq);
                self.give_up();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Law 8, now and then, and always at once.
    pub(super) fn check(&self, now: u64, granted: bool, kernel: &Kernel, standby: &StandbyHost) -> Result<(), String> {
        match self.held {
            Some(held) if granted || now.is_multiple_of(LOOK_EVERY) => checker::check_held(kernel, standby, held),
            _ => Ok(()),
        }
    }
}

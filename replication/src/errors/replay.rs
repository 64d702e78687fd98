//! One command's way through the table: what to do next, until it is over.
//!
//! ```text
//!            ┌────────────── Issue ◀──────────────┬───────────────┐
//!  begin ──▶─┤                │ answered          │ ready         │ same device
//!            │                ▼                   │               │
//!            │   row ──▶ retry, fall back ──▶ PollReady ──▶ ...   Recheck
//!            │    │                               │               │
//!            └────┴───────────────▶ Finished ◀────┴───────────────┘  limit reached, another device
//! ```
//!
//! Every way around costs an attempt of a class with a limit of its own, in number and in time, so every command ends:
//! after at most twice [`Budgets::most_attempts`] steps.

use thiserror::Error;

use super::action::{Action, Budget, Delay, Effect, Equivalent, Last, StopReason};
use super::budget::{Budgets, Spending};
use super::counters::RowCounters;
use super::outcome::{CommandKind, PrimaryOutcome, Scope, StandbyOutcome};
use super::table::{RowIndex, first_row, lookup};
use crate::Now;

/// What becomes of a command of the primary that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OpaqueRule {
    /// Replay stops and names it.
    #[default]
    Stop,
    /// It is taken for one that changed anything: the volume is read again.
    ReRead,
    /// It is taken for one that changed nothing; it is counted.
    Ignore,
    /// It is issued on the standby as it is.
    Issue,
}

/// What an administrator chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Limits of retries.
    pub budgets: Budgets,
    /// Whether blocks that the primary cannot read are made unreadable on the standby, too.
    pub reproduce_unreadable: bool,
    /// What becomes of unknown commands.
    pub opaque: OpaqueRule,
    /// How often in a row the standby may go back to one checkpoint because writes were lost.
    pub max_redos: u32,
}

impl Default for Policy {
    /// Usual limits, unreadable blocks only noted, unknown commands stop replay, three redos of one checkpoint.
    fn default() -> Self {
        Self { budgets: Budgets::USUAL, reproduce_unreadable: false, opaque: OpaqueRule::Stop, max_redos: 3 }
    }
}

/// What to issue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The command: as recorded, or as the plain write that it came to where the opcode table says so (XDWRITE, WRITE
    /// STREAM); hints and protection as the standby's device takes them.
    Command,
    /// What brings about the effect that it had: a COMPARE AND WRITE as a write of its second half, a reservation or
    /// mode page set to what the primary has now, a partial tape write to its last block.
    Effect,
    /// Something else with the same effect on content.
    Equivalent(Equivalent),
    /// WRITE LONG with WR_UNCOR for the blocks that the primary cannot read.
    Unreadable,
}

/// What the driver is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Issue this, not before `at`, and report with [`Event::Answered`].
    Issue {
        /// What.
        work: Work,
        /// Not earlier.
        at: Now,
    },
    /// Ask with TEST UNIT READY, not before `at`, and report with [`Event::Polled`].
    PollReady {
        /// Not earlier.
        at: Now,
    },
    /// Check identity, capacity and mode pages as at the start, and report with [`Event::Rechecked`].
    Recheck,
    /// It is over.
    Finished(Finish),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish {
    /// The row that ended it.
    pub row: RowIndex,
    /// What happens to the standby; never one that is not final.
    pub effect: Effect,
    /// Attempts, polls and checks beyond the first attempt.
    pub retries: u32,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// What was issued was answered.
    Answered(StandbyOutcome),
    /// TEST UNIT READY was answered.
    Polled(StandbyOutcome),
    /// The check is done: whether it is the same device, with the same capacity.
    Rechecked(bool),
}

/// An event that the last step did not ask for: a fault of the driver.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("replay of a command was told {event:?} while it waited for {waiting}; report each step's result once")]
pub struct UnexpectedEvent {
    /// What came.
    pub event: Event,
    /// What would have been right.
    pub waiting: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Answer,
    Poll { budget: Budget, last: Last },
    Recheck,
    Over,
}

impl Phase {
    const fn waiting(self) -> &'static str {
        match self {
            Self::Answer => "an answer",
            Self::Poll { .. } => "TEST UNIT READY",
            Self::Recheck => "a check of the device",
            Self::Over => "nothing more",
        }
    }
}

/// The state of one command.
#[derive(Clone, Copy, Debug)]
pub struct CommandReplay {
    policy: Policy,
    command: CommandKind,
    primary: PrimaryOutcome,
    redos: u32,
    work: Work,
    fell_back: bool,
    phase: Phase,
    row: RowIndex,
    spending: Spending,
}

impl CommandReplay {
    /// Begins with a command of the primary and how it ended there. `redos`: how often the standby went back to its
    /// present checkpoint already.
    #[must_use]
    pub fn begin(
        policy: Policy,
        command: CommandKind,
        primary: PrimaryOutcome,
        redos: u32,
        now: Now,
        counters: &mut RowCounters,
    ) -> (Self, Step) {
        let row = first_row(primary, command);
        let (work, phase) = (Work::Command, Phase::Over);
        let spending = Spending::NONE;
        let mut replay = Self { policy, command, primary, redos, work, fell_back: false, phase, row, spending };
        let step = replay.take_row(row, now, counters);
        (replay, step)
    }

    /// What happened, and when; answers what to do next.
    ///
    /// # Errors
    /// When the last step did not ask for this; nothing is changed.
    pub fn handle(&mut self, now: Now, event: Event, counters: &mut RowCounters) -> Result<Step, UnexpectedEvent> {
        Ok(match (self.phase, event) {
            (Phase::Answer, Event::Answered(answer)) if answer != StandbyOutcome::NotIssued => {
                let row = lookup(self.primary, self.command, answer);
                self.take_row(row, now, counters)
            }
            (Phase::Poll { budget, last }, Event::Polled(answer)) => self.polled(budget, last, answer, now, counters),
            (Phase::Recheck, Event::Rechecked(true)) => self.issue(now),
            (Phase::Recheck, Event::Rechecked(false)) => self.finish(Effect::Stopped(StopReason::DeviceChanged)),
            (phase, event) => return Err(UnexpectedEvent { event, waiting: phase.waiting() }),
        })
    }

    /// The row that decided last.
    #[must_use]
    pub const fn row(&self) -> RowIndex {
        self.row
    }

    fn take_row(&mut self, row: RowIndex, now: Now, counters: &mut RowCounters) -> Step {
        counters.hit(row);
        self.row = row;
        match row.row().action {
            Action::Issue => self.begin_work(Work::Command, now),
            Action::ReplayEffect => self.begin_work(Work::Effect, now),
            Action::ReproduceUnreadable if self.policy.reproduce_unreadable => self.begin_work(Work::Unreadable, now),
            Action::ReproduceUnreadable => self.finish(Effect::Noted),
            Action::ByRule => self.by_rule(now),
            Action::Retry { budget, delay, last } => self.retry(budget, delay, last, now, counters),
            Action::RetryAfterReadyPoll { budget, last } => self.poll(budget, last, now, counters),
            Action::RecheckDevice => self.recheck(now, counters),
            Action::FallBack { to, last } => self.fall_back(to, last, now),
            Action::Redo if self.redos >= self.policy.max_redos => self.stop(StopReason::Unreliable),
            done => self.finish(done.effect()),
        }
    }

    fn by_rule(&mut self, now: Now) -> Step {
        match self.policy.opaque {
            OpaqueRule::Stop => self.stop(StopReason::OpaqueCommand),
            OpaqueRule::ReRead => self.finish(Effect::OutOfSync(Scope::Volume)),
            OpaqueRule::Ignore => self.finish(Effect::Noted),
            // A failure on the primary says nothing of what it changed there.
            OpaqueRule::Issue if !matches!(self.primary, PrimaryOutcome::Good | PrimaryOutcome::Recovered) => {
                self.finish(Effect::OutOfSync(Scope::Volume))
            }
            OpaqueRule::Issue => self.begin_work(Work::Command, now),
        }
    }

    fn retry(&mut self, budget: Budget, delay: Delay, last: Last, now: Now, counters: &mut RowCounters) -> Step {
        let Some(attempt) = self.spend(budget, now, counters) else { return self.last(last) };
        self.issue(now.saturating_add(self.policy.budgets.delay(delay, attempt)))
    }

    fn poll(&mut self, budget: Budget, last: Last, now: Now, counters: &mut RowCounters) -> Step {
        let Some(attempt) = self.spend(budget, now, counters) else { return self.last(last) };
        self.phase = Phase::Poll { budget, last };
        Step::PollReady { at: now.saturating_add(self.policy.budgets.poll.before(attempt)) }
    }

    /// Ready: the command is issued again. Not ready: polled again. Anything that the poll alone will have heard of, as a
    /// unit attention is told once only, takes its row as if the command had been answered so.
    fn polled(
        &mut self,
        budget: Budget,
        last: Last,
        answer: StandbyOutcome,
        now: Now,
        counters: &mut RowCounters,
    ) -> Step {
        if matches!(answer, StandbyOutcome::Good | StandbyOutcome::Recovered) {
            return self.issue(now);
        }
        let row = lookup(self.primary, self.command, answer);
        match row.row().action {
            Action::RetryAfterReadyPoll { .. } => {
                counters.hit(row);
                self.row = row;
                self.poll(budget, last, now, counters)
            }
            Action::Retry { .. } | Action::RecheckDevice | Action::Redo | Action::Stop(_) => {
                self.take_row(row, now, counters)
            }
            _ => self.issue(now),
        }
    }

    fn recheck(&mut self, now: Now, counters: &mut RowCounters) -> Step {
        if self.spend(Budget::Recheck, now, counters).is_none() {
            return self.stop(StopReason::Attention);
        }
        self.phase = Phase::Recheck;
        Step::Recheck
    }

    fn fall_back(&mut self, to: Equivalent, last: Last, now: Now) -> Step {
        if self.fell_back {
            return self.last(last);
        }
        self.fell_back = true;
        self.begin_work(Work::Equivalent(to), now)
    }

    fn spend(&mut self, budget: Budget, now: Now, counters: &mut RowCounters) -> Option<u32> {
        let attempt = self.spending.take(budget, self.policy.budgets.limit(budget), now);
        match attempt {
            Some(_) => counters.retried(budget),
            None => counters.ran_out(budget),
        }
        attempt
    }

    fn begin_work(&mut self, work: Work, now: Now) -> Step {
        self.work = work;
        self.issue(now)
    }

    fn issue(&mut self, at: Now) -> Step {
        self.phase = Phase::Answer;
        Step::Issue { work: self.work, at }
    }

    fn last(&mut self, last: Last) -> Step {
        match last {
            Last::OutOfSync => self.finish(Effect::OutOfSync(self.command.scope())),
            Last::Stop(reason) => self.stop(reason),
        }
    }

    fn stop(&mut self, reason: StopReason) -> Step {
        self.finish(Effect::Stopped(reason))
    }

    fn finish(&mut self, effect: Effect) -> Step {
        self.phase = Phase::Over;
        Step::Finished(Finish { row: self.row, effect, retries: self.spending.total() })
    }
}

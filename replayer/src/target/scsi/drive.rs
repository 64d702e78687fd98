//! One command's way through the error consistency table, with a device at its end.

use std::collections::VecDeque;
use std::io;

use formats::scsi::{Cdb, Outcome, build};
use replication::errors::{
    CommandKind, CommandReplay, Effect, Event, Finish, PrimaryOutcome, StandbyOutcome, Step, Work,
};

use super::ScsiTarget;
use crate::command::{NotApplied, Unapplied};
use crate::scsi::identity::{ProbeError, is_same_unit, read_hearing};
use crate::scsi::{Data, Request, sg};

/// What the device answered, or what comes to the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) class: StandbyOutcome,
    pub(super) outcome: Option<Outcome>,
}

impl Answer {
    pub(super) const GOOD: Self = Self { class: StandbyOutcome::Good, outcome: None };
    /// What cannot be issued here at all counts as a field that the device does not take: the table replaces it.
    pub(super) const NOT_TAKEN: Self = Self { class: StandbyOutcome::IllegalFieldInCdb, outcome: None };

    pub(super) fn of(outcome: Outcome) -> Self {
        Self { class: StandbyOutcome::classify(&outcome), outcome: Some(outcome) }
    }

    /// An answer that the system gave for the device.
    ///
    /// # Errors
    /// The error itself, when the table has no row for it: no permission, SG_IO blocked.
    fn of_error(error: io::Error) -> io::Result<Self> {
        let class = match sg::errno(&error) {
            Some(libc::ENODEV | libc::ENXIO) => StandbyOutcome::DeviceGone,
            Some(libc::EAGAIN | libc::EBUSY | libc::EDOM | libc::ENOMEM) => StandbyOutcome::Busy,
            Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO) => StandbyOutcome::IllegalFieldInCdb,
            // The command goes on without its caller: what it did is not known.
            Some(libc::EINTR) => StandbyOutcome::HostAbort,
            _ => return Err(error),
        };
        Ok(Self { class, outcome: None })
    }

    pub(super) const fn is_good(&self) -> bool {
        matches!(self.class, StandbyOutcome::Good | StandbyOutcome::Recovered)
    }
}

/// Why a command came to no end of the table.
#[derive(Debug)]
pub(super) enum Broken {
    /// The system does not let us.
    System(io::Error),
    /// The standby ends.
    Abandoned,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) finish: Finish,
    pub(super) answer: Option<Outcome>,
    /// Something was issued.
    pub(super) issued: bool,
    /// Something else than the command was issued last.
    pub(super) replaced: bool,
}

impl Ended {
    /// Nothing when it is applied, or needs no applying.
    pub(super) fn check(&self, command: impl FnOnce() -> String) -> Result<(), NotApplied> {
        let Finish { row, effect, retries } = self.finish;
        let why = || Unapplied { command: command(), row, answer: self.answer, retries };
        Err(match effect {
            Effect::Applied | Effect::Unchanged => return Ok(()),
            Effect::OutOfSync(scope) => NotApplied::OutOfSync { scope, why: why() },
            Effect::Redo => NotApplied::Lost { why: why() },
            Effect::Stopped(reason) => NotApplied::Stopped { reason, why: why() },
            Effect::Noted | Effect::Delayed | Effect::ByRule => {
                NotApplied::Stopped { reason: replication::errors::StopReason::Unsupported, why: why() }
            }
        })
    }
}

impl ScsiTarget {
    /// Issues one command, whose answer is the device's, or the system's in its place.
    pub(super) fn run(&self, cdb: &Cdb, data: Data<'_>) -> io::Result<Answer> {
        let timeout = self.options.timeouts.of(cdb, self.identity.kind());
        match self.device.execute(Request { cdb, data, timeout }) {
            Ok(outcome) => Ok(Answer::of(outcome)),
            Err(error) => Answer::of_error(error),
        }
    }

    /// Takes a command of this kind, which ended so on the primary, through the table; `issue` does each piece of work
    /// that it asks for.
    pub(super) fn drive(
        &self,
        kind: CommandKind,
        primary: PrimaryOutcome,
        mut issue: impl FnMut(Work) -> io::Result<Answer>,
    ) -> Result<Ended, Broken> {
        let (policy, now) = (self.options.policy, self.waits.now());
        let (mut replay, mut step) = CommandReplay::begin(policy, kind, primary, 0, now, &mut self.rows());
        let (mut answer, mut issued, mut replaced) = (None, false, false);
        let mut heard = VecDeque::new();
        loop {
            let event = match step {
                Step::Finished(finish) => return Ok(Ended { finish, answer, issued, replaced }),
                Step::Issue { work, at } => {
                    self.wait(at)?;
                    // An attention that a check of the device took away is told as if the command had met it.
                    let told =
                        heard.pop_front().map_or_else(|| issue(work), |class| Ok(Answer { class, outcome: None }))?;
                    (issued, replaced) = (true, matches!(work, Work::Equivalent(_)));
                    answer = told.outcome;
                    Event::Answered(told.class)
                }
                Step::PollReady { at } => {
                    self.wait(at)?;
                    let told = self.run(&build::test_unit_ready(), Data::None)?;
                    answer = told.outcome;
                    Event::Polled(told.class)
                }
                Step::Recheck => Event::Rechecked(self.recheck(&mut heard)),
            };
            let next = replay.handle(self.waits.now(), event, &mut self.rows());
            step = next.map_err(|error| Broken::System(io::Error::other(error)))?;
        }
    }

    fn wait(&self, at: replication::Now) -> Result<(), Broken> {
        if self.waits.until(at) { Ok(()) } else { Err(Broken::Abandoned) }
    }

    /// Whether it is the device that it was. What kept it from saying so is told as if the command had met it, so that
    /// the table decides; one that answers and does not say so is not.
    fn recheck(&self, heard: &mut VecDeque<StandbyOutcome>) -> bool {
        let error = match read_hearing(&*self.device) {
            Ok((now, attentions)) => {
                // One thing may be told by several answers of the check; it is heard of once.
                for class in attentions {
                    if !heard.contains(&class) {
                        heard.push_back(class);
                    }
                }
                return is_same_unit(&self.identity, &now);
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "check of the device");
        let class = match error {
            ProbeError::NotReady { answer } | ProbeError::Failed { answer, .. } => StandbyOutcome::classify(&answer),
            ProbeError::Device(error) => match Answer::of_error(error) {
                Ok(answer) => answer.class,
                Err(_) => return false,
            },
            _ => return false,
        };
        let refused = matches!(class, StandbyOutcome::IllegalOpcode | StandbyOutcome::IllegalFieldInCdb);
        if !refused {
            heard.push_back(class);
        }
        !refused
    }
}

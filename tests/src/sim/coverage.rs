//! Which states and transitions of the engines were reached, and which were not.

use std::fmt;
use std::ops::AddAssign;

use replication::primary::{FullReason, Mode, Resume};
use replication::standby::StandbyMode;

/// From one state to another.
type Edge<T> = (T, T);

/// A primary's engine, by the place of its mode in this list.
const PRIMARY: [Mode; 4] = [Mode::Disconnected, Mode::Mapping, Mode::Resync, Mode::Ordered];
/// What a standby's engine does, likewise. It stops only when its target fails for good.
const STANDBY: [StandbyMode; 3] = [StandbyMode::Recovering, StandbyMode::Waiting, StandbyMode::Connected];
/// How a session goes on.
const RESUMES: [&str; 4] = ["continue", "covered", "full: blank", "full: other stream"];

/// Transitions of a primary's engine that its documentation has.
const PRIMARY_EDGES: [Edge<Mode>; 8] = [
    (Mode::Disconnected, Mode::Mapping),
    (Mode::Disconnected, Mode::Resync),
    (Mode::Disconnected, Mode::Ordered),
    (Mode::Mapping, Mode::Resync),
    (Mode::Resync, Mode::Ordered),
    (Mode::Resync, Mode::Disconnected),
    (Mode::Ordered, Mode::Resync),
    (Mode::Ordered, Mode::Disconnected),
];
/// Likewise of a standby's.
const STANDBY_EDGES: [Edge<StandbyMode>; 5] = [
    (StandbyMode::Recovering, StandbyMode::Waiting),
    (StandbyMode::Waiting, StandbyMode::Connected),
    (StandbyMode::Connected, StandbyMode::Waiting),
    (StandbyMode::Waiting, StandbyMode::Recovering),
    (StandbyMode::Connected, StandbyMode::Recovering),
];

/// Counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    primary: [u64; PRIMARY_EDGES.len()],
    standby: [u64; STANDBY_EDGES.len()],
    resumes: [u64; RESUMES.len()],
    /// A transition that no documentation has, of a primary's or of a standby's engine.
    unknown: (Option<Edge<Mode>>, Option<Edge<StandbyMode>>),
    /// Messages delivered.
    pub messages: u64,
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        add(&mut self.primary, &other.primary);
        add(&mut self.standby, &other.standby);
        add(&mut self.resumes, &other.resumes);
        self.unknown = (self.unknown.0.or(other.unknown.0), self.unknown.1.or(other.unknown.1));
        self.messages += other.messages;
    }
}

fn add(sums: &mut [u64], more: &[u64]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Counts the step from one state to another; answers the new one, to be remembered.
fn note<T: Copy + PartialEq>(
    edges: &[Edge<T>],
    counts: &mut [u64],
    unknown: &mut Option<Edge<T>>,
    from: Option<T>,
    to: T,
) -> Option<T> {
    if let Some(from) = from.filter(|from| *from != to) {
        match edges.iter().position(|edge| *edge == (from, to)) {
            Some(place) => counts[place] += 1,
            None => *unknown = Some((from, to)),
        }
    }
    Some(to)
}

impl Coverage {
    /// A primary's engine was in the first state, if it is known, and now is in the second.
    pub(super) fn primary(&mut self, from: Option<Mode>, to: Mode) -> Option<Mode> {
        note(&PRIMARY_EDGES, &mut self.primary, &mut self.unknown.0, from, to)
    }

    /// Likewise of a standby's engine.
    pub(super) fn standby(&mut self, from: Option<StandbyMode>, to: StandbyMode) -> Option<StandbyMode> {
        note(&STANDBY_EDGES, &mut self.standby, &mut self.unknown.1, from, to)
    }

    /// How a session went on. What would be a failure of the run is not counted here.
    pub(super) fn resumed(&mut self, resume: &Resume) {
        let place = match resume {
            Resume::Continue { .. } => 0,
            Resume::Covered { .. } => 1,
            Resume::Full(FullReason::Blank) => 2,
            Resume::Full(_) => 3,
        };
        self.resumes[place] += 1;
    }

    /// Everything that is to be reached, in words, with how often it was.
    pub fn all(&self) -> Vec<(String, u64)> {
        let primary = PRIMARY_EDGES.iter().zip(self.primary);
        let primary = primary.map(|((from, to), count)| (format!("primary {from:?} -> {to:?}"), count));
        let standby = STANDBY_EDGES.iter().zip(self.standby);
        let standby = standby.map(|((from, to), count)| (format!("standby {from:?} -> {to:?}"), count));
        let resumes = RESUMES.iter().zip(self.resumes).map(|(name, count)| (format!("session {name}"), count));
        primary.chain(standby).chain(resumes).collect()
    }

    /// What of it was never reached.
    pub fn missing(&self) -> Vec<String> {
        self.all().into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
    }

    /// A transition that no documentation has, in words.
    pub fn surprise(&self) -> Option<String> {
        let primary = self.unknown.0.map(|(from, to)| format!("a primary's engine went from {from:?} to {to:?}"));
        primary.or_else(|| self.unknown.1.map(|(from, to)| format!("a standby's engine went from {from:?} to {to:?}")))
    }

    /// How many states have a transition to them or from them that was reached, and how many there are.
    fn states(&self) -> (usize, usize) {
        let reached = |place: usize, edges: &[(usize, usize)], counts: &[u64]| {
            edges.iter().zip(counts).any(|((from, to), count)| *count > 0 && (*from == place || *to == place))
        };
        let of = |mode: &Mode| PRIMARY.iter().position(|other| other == mode).unwrap_or(PRIMARY.len());
        let primary: Vec<_> = PRIMARY_EDGES.iter().map(|(from, to)| (of(from), of(to))).collect();
        let of = |mode: &StandbyMode| STANDBY.iter().position(|other| other == mode).unwrap_or(STANDBY.len());
        let standby: Vec<_> = STANDBY_EDGES.iter().map(|(from, to)| (of(from), of(to))).collect();
        let reached = (0..PRIMARY.len()).filter(|place| reached(*place, &primary, &self.primary)).count()
            + (0..STANDBY.len()).filter(|place| reached(*place, &standby, &self.standby)).count();
        (reached, PRIMARY.len() + STANDBY.len())
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reached, states) = self.states();
        writeln!(f, "states: {reached} of {states} reached")?;
        for (what, count) in self.all() {
            writeln!(f, "  {what:<38} {count:>10}{}", if count == 0 { "  MISSING" } else { "" })?;
        }
        writeln!(
            f,
            "not simulated: primary Partial (a filter that drops changes), standby Stopped (a target that fails)"
        )
    }
}

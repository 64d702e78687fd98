//! The policy: one list of rows, and a lookup that takes the first one that matches.

use core::fmt;

use super::action::{Action, Effect};
use super::example::{Example, Reply};
use super::outcome::{CommandKind, PrimaryOutcome, StandbyOutcome};
use super::rows::ROWS;

/// Which values a row is about.
#[derive(Clone, Copy, Debug)]
pub enum Pattern<T: 'static> {
    /// All.
    Any,
    /// These.
    These(&'static [T]),
    /// These, under a common name.
    Group(&'static str, &'static [T]),
}

impl<T: PartialEq> Pattern<T> {
    /// Whether the row is about this value.
    #[must_use]
    pub fn matches(&self, value: T) -> bool {
        match self {
            Self::Any => true,
            Self::These(list) | Self::Group(_, list) => list.contains(&value),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Group(name, _) => f.write_str(name),
            Self::These(list) => {
                for (index, value) in list.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "; " })?;
                    value.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name; stays the same for good, because counters and tests go by it.
    pub id: &'static str,
    /// How the primary's command ended.
    pub primary: Pattern<PrimaryOutcome>,
    /// What it was.
    pub command: Pattern<CommandKind>,
    /// How the standby's device answered.
    pub standby: Pattern<StandbyOutcome>,
    /// What to do.
    pub action: Action,
    /// What that does to the standby.
    pub effect: Effect,
    /// Answers that lead here.
    pub example: Example,
}

impl Row {
    /// A row; its effect is its action's.
    pub(super) const fn new(
        id: &'static str,
        primary: Pattern<PrimaryOutcome>,
        command: Pattern<CommandKind>,
        standby: Pattern<StandbyOutcome>,
        action: Action,
        example: (CommandKind, Reply, Reply),
    ) -> Self {
        let (asked, first, second) = example;
        let example = Example { command: asked, primary: first, standby: second };
        Self { id, primary, command, standby, action, effect: action.effect(), example }
    }

    /// Whether it is about this case.
    #[must_use]
    pub fn matches(&self, primary: PrimaryOutcome, command: CommandKind, standby: StandbyOutcome) -> bool {
        self.standby.matches(standby) && self.primary.matches(primary) && self.command.matches(command)
    }
}

/// Place of a row in [`ROWS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RowIndex(u16);

impl RowIndex {
    /// All rows, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ROWS.len() as u16).map(Self)
    }

    /// The row with this name.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        Self::all().find(|index| index.row().id == id)
    }

    /// The row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // In bounds: only this module makes them, from the list's own places.
        &ROWS[usize::from(self.0)]
    }

    /// Its place, counted from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// The first row that matches. There is one for every case: a test goes through all of them.
#[must_use]
pub fn lookup(primary: PrimaryOutcome, command: CommandKind, standby: StandbyOutcome) -> RowIndex {
    let found = RowIndex::all().find(|index| index.row().matches(primary, command, standby));
    // Never taken while the tests pass; the last row stops replay, which is the safe end.
    found.unwrap_or(RowIndex(ROWS.len() as u16 - 1))
}

/// The row that says with what to begin: nothing was issued on the standby yet.
#[must_use]
pub fn first_row(primary: PrimaryOutcome, command: CommandKind) -> RowIndex {
    lookup(primary, command, StandbyOutcome::NotIssued)
}

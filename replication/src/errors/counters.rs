//! How often each row was used, and each class of retries.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::action::Budget;
use super::budget::CLASSES;
use super::rows::ROWS;
use super::table::RowIndex;

/// Counts since the start of a standby: every skip, retry and loss is in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowCounters {
    hits: Vec<u64>,
    retries: [u64; CLASSES],
    spent: [u64; CLASSES],
}

impl Default for RowCounters {
    fn default() -> Self {
        Self { hits: vec![0; ROWS.len()], retries: [0; CLASSES], spent: [0; CLASSES] }
    }
}

impl RowCounters {
    /// A row was used.
    pub fn hit(&mut self, row: RowIndex) {
        if let Some(count) = self.hits.get_mut(row.place()) {
            *count += 1;
        }
    }

    pub(super) fn retried(&mut self, budget: Budget) {
        self.retries[budget as usize] += 1;
    }

    pub(super) fn ran_out(&mut self, budget: Budget) {
        self.spent[budget as usize] += 1;
    }

    /// How often a row was used.
    #[must_use]
    pub fn hits(&self, row: RowIndex) -> u64 {
        self.hits.get(row.place()).copied().unwrap_or(0)
    }

    /// Attempts and polls beyond the first one.
    #[must_use]
    pub fn retries(&self, budget: Budget) -> u64 {
        self.retries[budget as usize]
    }

    /// Commands that used a class up.
    #[must_use]
    pub fn used_up(&self, budget: Budget) -> u64 {
        self.spent[budget as usize]
    }

    /// Rows that were used, with their counts, in the table's order.
    pub fn used(&self) -> impl Iterator<Item = (RowIndex, u64)> {
        RowIndex::all().map(|row| (row, self.hits(row))).filter(|(_, hits)| *hits > 0)
    }

    /// Rows that were never used.
    pub fn missing(&self) -> impl Iterator<Item = RowIndex> {
        RowIndex::all().filter(|row| self.hits(*row) == 0)
    }

    /// Adds the counts of another set, for a listing over several runs.
    pub fn add(&mut self, other: &Self) {
        self.hits.iter_mut().zip(&other.hits).for_each(|(sum, count)| *sum += count);
        self.retries.iter_mut().zip(&other.retries).for_each(|(sum, count)| *sum += count);
        self.spent.iter_mut().zip(&other.spent).for_each(|(sum, count)| *sum += count);
    }

    /// A coverage listing: one line per row, the retries per class, and how many rows were never used.
    #[must_use]
    pub fn listing(&self) -> Listing<'_> {
        Listing(self)
    }
}

/// Prints a coverage listing, see [`RowCounters::listing`].
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a>(&'a RowCounters);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in RowIndex::all() {
            writeln!(f, "{:>10}  {:<28} {}", self.0.hits(row), row.row().id, row.row().action)?;
        }
        for &budget in Budget::ALL {
            let (retries, spent) = (self.0.retries(budget), self.0.used_up(budget));
            writeln!(f, "{retries:>10}  retries: {budget} (used up: {spent})")?;
        }
        let missing = self.0.missing().count();
        writeln!(f, "{} of {} rows reached, {missing} missing", ROWS.len() - missing, ROWS.len())
    }
}

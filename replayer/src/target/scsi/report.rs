//! What a SCSI target knows of the primary's device, and what it says about itself in `status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use formats::scsi::Decoded;
use formats::scsi::identity::Identity;
use replication::errors::{Action, Budget, CommandKind, OpaqueRule, RowCounters};
use serde::Serialize;

use super::{Options, ScsiTarget};
use crate::scsi::identity::{Difference, Mapping, differences};

/// How often a row of the error consistency table was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RowCount {
    /// Its name, see `docs/error-consistency.md`.
    pub row: &'static str,
    /// How often.
    pub count: u64,
}

/// Retries of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RetryCount {
    /// Attempts and polls beyond the first one.
    pub retries: u64,
    /// Commands that used their limit up.
    pub used_up: u64,
}

/// A SCSI target in `status`. Counters count since it was opened; what is zero is left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ScsiReport {
    /// The device: vendor, product, revision, serial number, type.
    pub device: String,
    /// The primary's device in the same words; none before a primary told.
    pub primary: Option<String>,
    /// How the device differs from the primary's, the most severe first.
    pub differences: Vec<Difference>,
    /// How addresses are moved.
    pub mapping: Mapping,
    /// Whether what the primary unmaps reads as zeros there (LBPRZ); true before it told.
    pub primary_reads_zeros: bool,
    /// What becomes of commands that are in no table: `stop`, `reread`, `ignore` or `issue`.
    pub opaque: &'static str,
    /// Whether blocks that the primary cannot read are made unreadable.
    pub reproduce_unreadable: bool,
    /// Rows of the error consistency table that were used, in the table's order.
    pub rows: Vec<RowCount>,
    /// Retries by class.
    pub retries: BTreeMap<&'static str, RetryCount>,
    /// Times that the device lost writes it had taken, so that they were to be done again.
    pub redone: u64,
    /// Commands that the device does not take, by what was issued in their place.
    pub equivalents: BTreeMap<&'static str, u64>,
    /// Commands that came and change nothing that is copied (READ, START STOP UNIT, ...), by name.
    pub not_repeated: BTreeMap<&'static str, u64>,
}

/// The word for a rule in configuration and `status`.
#[must_use]
pub const fn opaque_word(rule: OpaqueRule) -> &'static str {
    match rule {
        OpaqueRule::Stop => "stop",
        OpaqueRule::ReRead => "reread",
        OpaqueRule::Ignore => "ignore",
        OpaqueRule::Issue => "issue",
    }
}

/// What a target learned of the primary, and counts beside the table's rows.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Before the primary told: what makes the content right whatever it is.
    unless_told: bool,
    reads_zeros: AtomicBool,
    met: Mutex<Option<Met>>,
    /// By name in the opcode table, so there are no more than that has rows.
    not_repeated: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Clone, Debug)]
struct Met {
    primary: String,
    differences: Vec<Difference>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(super) fn new(options: &Options, here: &Identity) -> Self {
        let ledger = Self {
            unless_told: options.primary_reads_zeros,
            reads_zeros: AtomicBool::new(options.primary_reads_zeros),
            met: Mutex::new(None),
            not_repeated: Mutex::default(),
        };
        if let Some(recorded) = &options.recorded {
            ledger.meet(Some(recorded), differences(recorded, &here.carried(), options.mapping));
        }
        ledger
    }

    /// LBPRZ of the primary.
    pub(super) fn primary_reads_zeros(&self) -> bool {
        self.reads_zeros.load(Ordering::Relaxed)
    }

    fn meet(&self, primary: Option<&Identity>, differences: Vec<Difference>) {
        let zeros = primary.map_or(self.unless_told, Identity::reads_zeros);
        self.reads_zeros.store(zeros, Ordering::Relaxed);
        *lock(&self.met) = primary.map(|primary| Met { primary: primary.line(), differences });
    }

    /// Counts a command that is carried and not repeated.
    pub(super) fn count(&self, kind: CommandKind, command: Option<&Decoded>) {
        if let (CommandKind::Read | CommandKind::Carried, Some(row)) = (kind, command.and_then(Decoded::row)) {
            *lock(&self.not_repeated).entry(row.name).or_default() += 1;
        }
    }
}

impl ScsiTarget {
    /// How the device differs from the primary's as that describes itself, the most severe first.
    #[must_use]
    pub fn compare(&self, primary: &Identity) -> Vec<Difference> {
        differences(primary, &self.identity.carried(), self.options.mapping)
    }

    /// A primary's device is this one from now on; none when it does not tell.
    pub fn meet(&self, primary: Option<&Identity>) {
        let differences = primary.map(|primary| self.compare(primary)).unwrap_or_default();
        differences.iter().for_each(|difference| tracing::info!(path = %self.options.path.display(), "{difference}"));
        self.ledger.meet(primary, differences);
    }

    /// What `status` shows.
    #[must_use]
    pub fn report(&self) -> ScsiReport {
        let met = lock(&self.ledger.met).clone();
        let (primary, differences) = met.map(|met| (met.primary, met.differences)).unzip();
        let rows = self.rows().clone();
        ScsiReport {
            device: self.identity.line(),
            primary,
            differences: differences.unwrap_or_default(),
            mapping: self.options.mapping,
            primary_reads_zeros: self.ledger.primary_reads_zeros(),
            opaque: opaque_word(self.options.policy.opaque),
            reproduce_unreadable: self.options.policy.reproduce_unreadable,
            rows: rows.used().map(|(row, count)| RowCount { row: row.row().id, count }).collect(),
            retries: retries(&rows),
            redone: by_action(&rows, |action| (action == Action::Redo).then_some("")).into_values().sum(),
            equivalents: by_action(&rows, equivalent),
            not_repeated: lock(&self.ledger.not_repeated).clone(),
        }
    }
}

fn retries(rows: &RowCounters) -> BTreeMap<&'static str, RetryCount> {
    let count = |budget| RetryCount { retries: rows.retries(budget), used_up: rows.used_up(budget) };
    let counts = Budget::ALL.iter().map(|budget| (budget.name(), count(*budget)));
    counts.filter(|(_, count)| count.retries > 0 || count.used_up > 0).collect()
}

fn equivalent(action: Action) -> Option<&'static str> {
    match action {
        Action::FallBack { to, .. } => Some(to.name()),
        _ => None,
    }
}

/// Uses of the rows whose action has a name.
fn by_action(rows: &RowCounters, name: fn(Action) -> Option<&'static str>) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (row, count) in rows.used() {
        if let Some(name) = name(row.row().action) {
            *sums.entry(name).or_default() += count;
        }
    }
    sums
}

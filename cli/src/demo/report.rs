//! The short honest table at the end.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::node::view::by_reason;
use crate::units::{bytes, duration};

/// What the demo found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Whether it was the simulated device.
    pub(super) simulated: bool,
    /// Changing commands carried.
    pub(super) commands: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// How long the workload ran.
    pub(super) took: Duration,
    /// Lag, median and 99th percentile, in words.
    pub(super) lag: (String, String),
    /// Order generations, when the primary counts them.
    pub(super) generations: Option<u64>,
    /// Commands or payloads lost, by reason.
    pub(super) lost: Vec<(String, u64)>,
    /// Commands whose regions were read back although nothing was lost, by reason.
    pub(super) read_back: Vec<(String, u64)>,
    /// Bytes read back and sent again, the first copy not counted.
    pub(super) resynced: u64,
    /// Bytes compared.
    pub(super) compared: u64,
    /// Bytes that differ.
    pub(super) differing: u64,
    /// What fsck of the copy said; None if there is no file system.
    pub(super) fsck: Option<String>,
    /// Files compared, and how many differ.
    pub(super) files: Option<(usize, usize)>,
}

impl Report {
    /// Whether the copy is one.
    pub(super) fn good(&self) -> bool {
        let fsck = self.fsck.as_deref().is_none_or(|fsck| fsck == "clean");
        self.differing == 0 && fsck && self.files.is_none_or(|(_, different)| different == 0)
    }

    /// As a table, with the verdict below it.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let title = if self.simulated { "blkecho demo, SIMULATED device" } else { "blkecho demo" };
        table.set_header([title, ""]);
        table.add_rows(self.rows().into_iter().map(|(name, value)| [name.to_owned(), value]));
        let verdict = if self.differing == 0 { "yes" } else { "no" };
        format!("{table}\nidentical: {verdict}")
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let rate = self.bytes as f64 / self.took.as_secs_f64().max(0.001);
        let mut rows = vec![
            ("commands", self.commands.to_string()),
            ("bytes", bytes(self.bytes)),
            ("rate", format!("{}/s over {}", bytes(rate as u64), duration(self.took))),
            ("lag, median / p99", format!("{} / {}", self.lag.0, self.lag.1)),
            ("lost", by_reason(&self.lost)),
            ("read back instead", by_reason(&self.read_back)),
            ("resynced", bytes(self.resynced)),
            ("compared", format!("{}, {} differ", bytes(self.compared), bytes(self.differing))),
        ];
        rows.extend(self.generations.map(|count| ("generations", count.to_string())));
        rows.extend(self.fsck.as_ref().map(|fsck| ("fsck of the copy", fsck.clone())));
        rows.extend(self.files.map(|(all, different)| ("files", format!("{all} compared, {different} differ"))));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_honest() {
        let mut report = Report { fsck: Some("clean".into()), files: Some((10, 0)), ..Report::default() };
        assert!(report.good() && report.table().ends_with("identical: yes"));
        report.fsck = Some("errors".into());
        assert!(!report.good());
        report = Report { differing: 512, ..Report::default() };
        assert!(!report.good() && report.table().ends_with("identical: no"));
        report = Report { lost: vec![("ring full".into(), 3)], ..Report::default() };
        assert!(report.table().contains("3 ring full"));
    }
}

//! A report as one screen of text.

use super::report::{Operation, Report};
use super::state::StateBlock;
use crate::human::{bytes, count, percent, seconds, time, utc};

/// Lines of each table.
const LINES: usize = 5;

impl Report {
    /// For a terminal: the essentials, without colours.
    #[must_use]
    pub fn text(&self) -> String {
        if self.summary.commands == 0 {
            return [self.head(), self.warnings()].concat();
        }
        let parts = [
            self.head(),
            self.warnings(),
            self.operation_lines(),
            self.pattern_lines(),
            self.overwrite_line(),
            self.hot_lines(),
            self.state_lines(),
            self.process_lines(),
            self.advice_lines(),
        ];
        parts.concat()
    }

    fn head(&self) -> String {
        let (summary, section) = (&self.summary, &self.section);
        let span = summary.seconds.max(1e-9);
        let mut text = format!(
            "captured  {} on {} ({}), {} in {}\n",
            utc(section.started_ns),
            named(&section.host),
            named(&section.kernel),
            count(summary.commands as f64) + " commands",
            seconds(summary.seconds),
        );
        for device in self.devices.iter().take(LINES) {
            let words = [device.model.as_deref(), device.serial.as_deref()].into_iter().flatten();
            let words: String = words.map(|word| format!(" {word}")).collect();
            text += &format!("device    {}: {}{words}, {}\n", device.name, device.path, bytes(device.size));
        }
        text + &format!(
            "written   {} at {}/s, {} commands/s\n",
            bytes(summary.written_bytes),
            bytes((summary.written_bytes as f64 / span) as u64),
            count(summary.commands as f64 / span),
        )
    }

    /// What is missing in the capture, so that nobody takes a part for all.
    pub(super) fn missing(&self) -> Vec<String> {
        let summary = &self.summary;
        let mut words = Vec::new();
        if summary.lost_completions > 0 {
            words.push(format!("{} completions are missing, in {} gaps", summary.lost_completions, summary.gaps));
        }
        if let Some(lost) = summary.statistics.as_ref().map(|statistics| statistics.lost).filter(|l| !l.is_nothing()) {
            words.push(format!("{} commands and {} payloads were lost by the capture", lost.commands(), lost.payloads));
        }
        if summary.cut_bytes > 0 {
            words.push(format!(
                "the file is cut: its last {} bytes are of a record that is not whole",
                summary.cut_bytes
            ));
        } else if summary.statistics.is_none() {
            words.push("the capture was not ended in order".to_owned());
        }
        if !self.section.filter.is_empty() {
            words.push(format!("the capture was filtered: {}", self.section.filter));
        }
        words
    }

    fn warnings(&self) -> String {
        self.missing().iter().map(|words| format!("note      {words}\n")).collect()
    }

    fn operation_lines(&self) -> String {
        let mut text = format!(
            "\n{:<13}{:>9}{:>8}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            "", "commands", "failed", "bytes", "size p50", "p99", "time p50", "p99", "max"
        );
        self.operations.iter().for_each(|operation| text += &operation_line(operation));
        text
    }

    fn pattern_lines(&self) -> String {
        let (sequence, concurrency, flushes) = (&self.sequentiality, &self.concurrency, &self.flushes);
        let all = (sequence.sequential + sequence.near + sequence.random).max(1) as f64;
        let mut text = format!(
            "\nsequential {} of the writes, {} of the bytes; within 1 MiB {}\nin flight {} (p50) {} (p99); generations of {} (p50) {} (p99)\n",
            percent(sequence.sequential as f64 / all),
            percent(sequence.sequential_bytes),
            percent(sequence.near as f64 / all),
            concurrency.queue_depth.p50,
            concurrency.queue_depth.p99,
            concurrency.generation.p50,
            concurrency.generation.p99,
        );
        text += &format!(
            "flushes   {}, every {} (p50) or {} writes; FUA {}\n",
            flushes.flushes,
            time(flushes.ns_between.p50),
            flushes.writes_between.p50,
            flushes.fua
        );
        if let Some(content) = &self.content {
            text += &format!(
                "content   {} zeros, {} of the rest duplicate, compresses to {}\n",
                percent(content.zero),
                percent(content.duplicate),
                percent(content.compressed)
            );
        }
        text
    }

    fn overwrite_line(&self) -> String {
        if self.overwrites.windows.is_empty() {
            return String::new();
        }
        let windows = self.overwrites.windows.iter().step_by(3).take(6);
        let shares = windows.map(|window| format!("{} in {}", percent(window.overwritten), bytes(window.log_bytes)));
        format!("overwritten within a log of: {}\n", shares.collect::<Vec<_>>().join(", "))
    }

    fn hot_lines(&self) -> String {
        if self.hot_regions.is_empty() {
            return String::new();
        }
        let mut text = String::from("\nhottest regions of 64 KiB\n");
        for region in self.hot_regions.iter().take(LINES) {
            text += &format!(
                "  {:<10} at {:<14} {:>9} writes, {:>8} times its size\n",
                self.volume_name(region.volume),
                region.offset,
                count(region.writes as f64),
                count(region.times),
            );
        }
        text
    }

    fn state_lines(&self) -> String {
        if self.state_blocks.is_empty() {
            return "state blocks: none stands out, so no transactions can be cut\n".to_owned();
        }
        let line = |state: &StateBlock| {
            format!(
                "  {:<10} at {:<14} {:>9} updates, every {}, after a flush {}, {} writes between\n",
                self.volume_name(state.volume),
                state.offset,
                count(state.updates as f64),
                seconds(state.every_seconds),
                percent(state.after_flush),
                count(state.transactions.mean_writes),
            )
        };
        let lines: String = self.state_blocks.iter().take(LINES).map(line).collect();
        format!("state blocks\n{lines}")
    }

    fn process_lines(&self) -> String {
        let mut text = String::from("processes\n");
        for process in self.processes.iter().take(LINES) {
            let (commands, written) = (count(process.commands as f64), bytes(process.bytes));
            text +=
                &format!("  {:<26} {commands:>9} commands, {written:>10}, {} flushes\n", process.name, process.flushes);
        }
        if self.failures.count > 0 {
            let kinds = self.failures.by_status.iter().map(|(name, count)| format!("{name} {count}"));
            text += &format!("failures  {}: {}\n", self.failures.count, kinds.collect::<Vec<_>>().join(", "));
        }
        text
    }

    fn advice_lines(&self) -> String {
        let log = self.advice.log.iter().map(|log| {
            let guess = if log.extrapolated { "about " } else { "" };
            format!("{guess}{} for {}", bytes(log.log_bytes), seconds(log.outage_seconds))
        });
        let link = self
            .advice
            .link
            .iter()
            .map(|link| format!("{}/s for {}", bytes(link.bytes_per_second as u64), seconds(link.lag_seconds)));
        let (log, link): (Vec<_>, Vec<_>) = (log.collect(), link.collect());
        format!("\nlog for an outage: {}\nlink for a lag: {}\n", log.join(", "), link.join(", "))
    }

    /// The name of a volume.
    pub(super) fn volume_name(&self, volume: u16) -> String {
        let device = self.devices.iter().find(|device| device.volume == volume);
        device.map_or_else(|| format!("volume {volume}"), |device| device.name.clone())
    }
}

fn operation_line(operation: &Operation) -> String {
    let (size, latency) = (&operation.size, &operation.latency);
    format!(
        "{:<13}{:>9}{:>8}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
        operation.name,
        operation.count,
        operation.failed,
        bytes(operation.bytes),
        bytes(size.p50),
        bytes(size.p99),
        time(latency.p50),
        time(latency.p99),
        time(latency.max)
    )
}

/// What is not known is said so.
fn named(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

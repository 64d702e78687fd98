//! `info`: what a capture holds.

use captures::{CutFile, Device, Section, Statistics, Summary, Tally, Utc};
use serde::Serialize;

use super::{print, print_json};
use crate::args::Info;
use crate::exit::Done;
use crate::offline::series_failed;
use crate::units::bytes;

/// Marks that are listed on the terminal; JSON has more.
const SHOWN: usize = 10;

pub(super) fn run(args: &Info) -> Done {
    let mut series = args.files.open()?;
    let mut summary = Summary::default();
    let error = loop {
        match series.next_item() {
            Ok(Some(item)) => summary.add(&item),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let known = Known {
        section: series.section(),
        devices: series.devices(),
        // Files that were not ended in order do not say what they lost.
        ended: summary.statistics.as_deref().filter(|_| summary.ends >= series.files()),
        summary: &summary,
        files: series.files(),
        foreign_packets: series.foreign(),
        cut: series.cut(),
        damage: error.as_ref().map(ToString::to_string),
    };
    if args.json {
        print_json(&known)?
    } else {
        print(&known.words())?
    }
    error.map_or(Ok(()), |error| Err(series_failed(error)))
}

/// All that is known of a capture.
#[derive(Serialize)]
struct Known<'a> {
    section: &'a Section,
    devices: &'a [Device],
    summary: &'a Summary,
    /// What all files say at their ends together; none when one of them was not ended in order.
    ended: Option<&'a Statistics>,
    /// How many there are.
    files: u64,
    /// Packets of other programs.
    foreign_packets: u64,
    /// Files that end in the middle of something.
    cut: &'a [CutFile],
    /// Why the rest cannot be read.
    damage: Option<String>,
}

impl Known<'_> {
    fn words(&self) -> String {
        let mut lines = self.about();
        lines.extend(self.devices.iter().flat_map(|device| self.device(device)));
        lines.extend(self.contents());
        lines.extend(self.end());
        lines.into_iter().map(|(name, text)| format!("{name:<12} {text}\n")).collect()
    }

    fn about(&self) -> Vec<(String, String)> {
        let section = self.section;
        let mut lines = vec![
            line("captured by", format!("{} on {}", section.program, section.host)),
            line("kernel", format!("{}, {}", section.kernel, section.machine)),
            line("stream", section.stream.clone()),
        ];
        let zone = if section.time_zone.is_empty() { "" } else { &format!(" (the host is in {})", section.time_zone) };
        lines.push(line("began", format!("{}{zone}", Utc(section.started_ns))));
        if self.files > 1 {
            lines.push(line("files", self.files.to_string()));
        } else if section.part > 0 {
            lines.push(line("part", section.part.to_string()));
        }
        if !section.filter.is_empty() {
            lines.push(line("filter", section.filter.clone()));
        }
        let payload = match (section.payload, section.snap_len) {
            (false, _) => "not captured".to_owned(),
            (true, Some(len)) => format!("{len} bytes of each command"),
            (true, None) => "all".to_owned(),
        };
        lines.push(line("payload", payload));
        lines
    }

    fn device(&self, device: &Device) -> Vec<(String, String)> {
        let words = [device.model.as_deref(), device.serial.as_deref(), device.address.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let size = format!("{} in blocks of {}", bytes(device.size), device.block_size);
        let text = format!("{} ({}), {size}, {}", device.path, device.layer, words.join(" "));
        let mut lines = vec![line(&device.name, text.trim_end_matches([',', ' ']).to_owned())];
        let tallies = self.summary.by_device.get(&device.volume).into_iter().flatten();
        lines.extend(tallies.map(|(op, tally)| line("", tally_words(op, tally))));
        lines
    }

    fn contents(&self) -> Vec<(String, String)> {
        let summary = self.summary;
        let mut lines = Vec::new();
        let seq = summary.seq.map(|(first, last)| format!(", seq {first} to {last}")).unwrap_or_default();
        lines.push(line("commands", format!("{}{seq}", summary.commands)));
        if let Some((first, last)) = summary.span_ns {
            let seconds = last.saturating_sub(first) as f64 / 1e9;
            lines.push(line("time", format!("{} to {} ({seconds:.3} s)", Utc(first), Utc(last))));
        }
        lines.push(line("content", format!("{} kept", bytes(summary.content_bytes))));
        let some = [
            (summary.zeros, "commands of zeros, which are only said"),
            (summary.without_payload, "writes without payload"),
            (summary.cut, "commands of which a part is kept"),
            (summary.regions, "regions that were read back"),
            (self.foreign_packets, "packets of other programs"),
        ];
        lines.extend(
            some.iter().filter(|(count, _)| *count > 0).map(|(count, what)| line("", format!("{count} {what}"))),
        );
        for mark in summary.marks.iter().take(SHOWN) {
            lines.push(line("mark", format!("{} {}", Utc(mark.at_ns), mark.text)));
        }
        if summary.mark_count as usize > SHOWN {
            lines.push(line("", format!("{} marks in all", summary.mark_count)));
        }
        lines
    }

    fn end(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        if self.summary.gaps > 0 {
            let (gaps, completions) = (self.summary.gaps, self.summary.gap_completions);
            lines.push(line("gaps", format!("{completions} completions are missing, in {gaps} places")));
        }
        match self.ended {
            Some(end) => {
                let lost = end.lost.words();
                lines.push(line("lost", if lost.is_empty() { "nothing".to_owned() } else { lost }));
                lines.push(line("kept out", format!("{} by the filter", end.filtered.sum())));
                lines.push(line("reads", format!("{} of {}, counted only", end.reads, bytes(end.read_bytes))));
                lines.push(line("in flight", format!("{} at the end, not captured", end.in_flight)));
                lines.push(line("ended", Utc(end.ended_ns).to_string()));
            }
            None => lines.push(line("ended", "not in order: what was lost is not known".to_owned())),
        }
        for CutFile { path, offset, bytes } in self.cut {
            let text = format!("{}: {bytes} bytes after byte {offset} are no whole entry", path.display());
            lines.push(line("cut", text));
        }
        if let Some(damage) = &self.damage {
            lines.push(line("damage", damage.clone()));
        }
        lines
    }
}

fn line(name: &str, text: String) -> (String, String) {
    (name.to_owned(), text)
}

fn tally_words(op: &str, tally: &Tally) -> String {
    let mean = tally.took_ns as f64 / 1e3 / tally.commands.max(1) as f64;
    let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
    format!(
        "{op:<13} {:>9}, {}{failed}, {mean:.1} µs on average, {:.1} at most",
        tally.commands,
        bytes(tally.bytes),
        tally.longest_ns as f64 / 1e3
    )
}

//! The tables of the page.

use super::super::origins::OriginReport;
use super::super::report::Report;
use super::super::state::Neighbour;
use super::escape;
use crate::human::{bytes, count, percent, seconds, time, utc};

/// Lines of a table.
const LINES: usize = 20;
/// Bytes of a text that may be broken into lines.
const LONG: usize = 40;

/// The facts at the top, and what is missing.
pub(super) fn summary(report: &Report) -> String {
    let (summary, section) = (&report.summary, &report.section);
    let span = summary.seconds.max(1e-9);
    let started = [utc(section.started_ns), section.kernel.clone()].join("  ");
    let mut html = format!("<p class=\"soft\">{}</p>", escape(&started));
    for device in report.devices.iter().take(LINES) {
        let words = [device.model.as_deref(), device.serial.as_deref(), device.address.as_deref()];
        let words = [Some(device.path.as_str())].into_iter().chain(words).flatten().filter(|word| !word.is_empty());
        let identity = [device.name.as_str()].into_iter().chain(words).collect::<Vec<_>>().join(" ");
        let identity = format!("{identity}, {} in blocks of {}", bytes(device.size), device.block_size);
        html += &format!("<p>{}</p>", escape(&identity));
    }
    html +=
        &report.missing().iter().map(|words| format!("<p class=\"note\">{}</p>", escape(words))).collect::<String>();
    let facts = [
        (count(summary.commands as f64), "commands"),
        (bytes(summary.written_bytes), "written"),
        (seconds(summary.seconds), "long"),
        (format!("{}/s", bytes((summary.written_bytes as f64 / span) as u64)), "mean rate"),
        (format!("{}/s", count(summary.commands as f64 / span)), "command rate"),
        (percent(report.sequentiality.sequential_bytes), "sequential"),
        (count(report.flushes.flushes as f64), "flushes"),
        (count(report.failures.count as f64), "failures"),
    ];
    let fact = |(value, name): &(String, &str)| format!("<div><b>{}</b><span>{name}</span></div>", escape(value));
    html + "<div class=\"facts\">" + &facts.iter().map(fact).collect::<String>() + "</div>"
}

/// All tables.
pub(super) fn all(report: &Report) -> String {
    let tables = [
        operations(report),
        states(report),
        hot(report),
        origins("Processes", "process", &report.processes),
        origins("Control groups", "id", &report.cgroups),
        content(report),
        log(report),
        link(report),
        failures(report),
        marks(report),
    ];
    tables.concat()
}

/// Numbers stay on a line; long texts need not.
fn cell(text: &str) -> String {
    let class = if text.len() > LONG { " class=\"long\"" } else { "" };
    format!("<td{class}>{}</td>", escape(text))
}

/// A table; nothing without rows. The first column is of words.
fn table(title: &str, wide: bool, heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let cells = |row: &Vec<String>| row.iter().map(|cell| self::cell(cell)).collect::<String>();
    let body: String = rows.iter().take(LINES).map(|row| format!("<tr>{}</tr>", cells(row))).collect();
    let class = if wide { "table wide" } else { "table" };
    format!("<div class=\"{class}\"><h2>{}</h2><table><tr>{head}</tr>{body}</table></div>\n", escape(title))
}

fn operations(report: &Report) -> String {
    let row = |operation: &super::super::report::Operation| {
        let (size, latency) = (&operation.size, &operation.latency);
        vec![
            operation.name.to_owned(),
            operation.count.to_string(),
            operation.failed.to_string(),
            bytes(operation.bytes),
            bytes(size.p50),
            bytes(size.p99),
            bytes(size.max),
            time(latency.p50),
            time(latency.p90),
            time(latency.p99),
            time(latency.p999),
            time(latency.max),
        ]
    };
    let heads = ["", "commands", "failed", "bytes", "size p50", "p99", "max", "time p50", "p90", "p99", "p99.9", "max"];
    table("Commands", true, &heads, &report.operations.iter().map(row).collect::<Vec<_>>())
}

fn states(report: &Report) -> String {
    let near = |neighbour: Option<Neighbour>| {
        neighbour.map_or("various".to_owned(), |near| format!("{} ({} at least)", near.offset, percent(near.share)))
    };
    let row = |state: &super::super::state::StateBlock| {
        vec![
            format!("{} at {}", report.volume_name(state.volume), state.offset),
            state.updates.to_string(),
            seconds(state.every_seconds),
            percent(state.after_flush),
            percent(state.made_durable),
            near(state.before),
            near(state.after),
            count(state.transactions.mean_writes),
            state.transactions.p90_writes.to_string(),
            bytes(state.transactions.mean_bytes as u64),
        ]
    };
    let heads = [
        "block",
        "updates",
        "every",
        "after flush",
        "made durable",
        "before it",
        "after it",
        "writes between",
        "p90",
        "bytes between",
    ];
    let rows: Vec<_> = report.state_blocks.iter().map(row).collect();
    table("State blocks, and the transactions between their updates", true, &heads, &rows)
}

fn hot(report: &Report) -> String {
    let row = |region: &super::super::timeline::HotRegion| {
        vec![
            format!("{} at {}", report.volume_name(region.volume), region.offset),
            region.writes.to_string(),
            bytes(region.bytes),
            count(region.times),
        ]
    };
    let rows: Vec<_> = report.hot_regions.iter().map(row).collect();
    table("Hottest regions of 64 KiB", false, &["region", "writes", "bytes", "times its size"], &rows)
}

fn origins(title: &str, name: &str, origins: &[OriginReport]) -> String {
    let row = |origin: &OriginReport| {
        vec![origin.name.clone(), origin.commands.to_string(), bytes(origin.bytes), origin.flushes.to_string()]
    };
    table(title, false, &[name, "commands", "written", "flushes"], &origins.iter().map(row).collect::<Vec<_>>())
}

fn content(report: &Report) -> String {
    let Some(content) = &report.content else { return String::new() };
    let rows = [
        vec!["kept in the capture".to_owned(), bytes(content.bytes)],
        vec!["blocks of zeros".to_owned(), percent(content.zero)],
        vec!["duplicates among the rest".to_owned(), percent(content.duplicate)],
        vec![format!("compressed (zstd 1, {} tried)", bytes(content.compressed_of)), percent(content.compressed)],
    ];
    table("Content", false, &["", ""], &rows)
}

fn log(report: &Report) -> String {
    let row = |log: &super::super::advice::LogAdvice| {
        let from = if log.extrapolated { "mean rate, as the capture is shorter" } else { "busiest stretch" };
        vec![seconds(log.outage_seconds), bytes(log.log_bytes), from.to_owned()]
    };
    let rows: Vec<_> = report.advice.log.iter().map(row).collect();
    table("Log that an outage of the link needs", false, &["outage", "log", "taken from"], &rows)
}

fn link(report: &Report) -> String {
    let row = |link: &super::super::advice::LinkAdvice| {
        vec![seconds(link.lag_seconds), format!("{}/s", bytes(link.bytes_per_second as u64))]
    };
    let rows: Vec<_> = report.advice.link.iter().map(row).collect();
    table("Link that keeps a lag", false, &["lag at most", "uncompressed"], &rows)
}

fn failures(report: &Report) -> String {
    let row = |failure: &super::super::origins::Failure| {
        vec![
            format!("{} at {}", report.volume_name(failure.volume), failure.offset),
            failure.seq.to_string(),
            utc(failure.at_ns),
            failure.what.clone(),
        ]
    };
    let rows: Vec<_> = report.failures.first.iter().map(row).collect();
    table(&format!("Failures ({})", report.failures.count), true, &["place", "seq", "when", "what"], &rows)
}

fn marks(report: &Report) -> String {
    let row = |(at, text): &(u64, String)| vec![text.clone(), utc(*at)];
    table("Marks", false, &["mark", "when"], &report.marks.iter().map(row).collect::<Vec<_>>())
}

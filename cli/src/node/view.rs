//! What people are shown of a service's status. The status itself is JSON; this knows where the shown parts stand.

use std::time::Duration;

use serde_json::Value;

use super::scsi_view;
use crate::control::Role;
use crate::units::{bytes, duration};

/// The shown parts of a status.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct View {
    /// The word for what it does.
    pub(crate) state: String,
    /// The word for the standby's content.
    pub(crate) data: String,
    /// The other side.
    pub(crate) peer: String,
    /// Why it is in that state, or what last went wrong.
    pub(crate) reason: String,
    /// Age of the oldest change that the standby has not applied.
    pub(crate) lag: Duration,
    /// Changes that the standby has not applied.
    pub(crate) lag_entries: u64,
    /// Bytes sent or received of them.
    pub(crate) lag_bytes: u64,
    /// Journal: bytes used and in all.
    pub(crate) journal: (u64, u64),
    /// Bytes of regions to read back and send again.
    pub(crate) dirty: u64,
    /// Bytes of regions sent again.
    pub(crate) resynced: u64,
    /// Commands captured or received.
    pub(crate) entries: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Times that everything had to be copied.
    pub(crate) full_syncs: u64,
    /// What had no room or could not be read, by reason. Its regions were read back.
    pub(crate) lost: Vec<(String, u64)>,
    /// What was carried in another way than ordinarily, by reason: its regions were read back.
    pub(crate) read_back: Vec<(String, u64)>,
    /// Volumes.
    pub(crate) volumes: Vec<String>,
    /// Lines about targets that take SCSI commands.
    pub(crate) scsi: Vec<(String, String)>,
    /// Each standby of a primary that has several: its name and a line about it.
    pub(crate) standbys: Vec<(String, String)>,
    /// The filter in words, and what it kept out, by reason.
    pub(crate) filter: (String, Vec<(String, u64)>),
    /// Reads seen: their number and bytes, and those of them that programs sent past the block layer.
    pub(crate) reads: (u64, u64, Vec<(String, u64)>),
}

fn text(status: &Value, pointer: &str) -> String {
    match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn counts(status: &Value, pointer: &str) -> Vec<(String, u64)> {
    let map = status.pointer(pointer).and_then(Value::as_object);
    let counts = map.into_iter().flatten().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Reasons that mean that an event or a payload was lost on its way.
const LOST: [&str; 7] =
    ["completions", "payloads", "payloads_missing", "payloads_shed", "table_full", "unreadable", "malformed"];
/// Not carried on purpose, or counted by another reason already.
const NO_LOSS: [&str; 4] = ["uncarried", "gaps", "gap_completions", "repeated"];

fn losses(status: &Value, lost: bool) -> Vec<(String, u64)> {
    let wanted = |name: &str| LOST.contains(&name) == lost && !NO_LOSS.contains(&name);
    counts(status, "/losses").into_iter().filter(|(name, _)| wanted(name)).collect()
}

fn first_text(status: &Value, pointers: &[&str]) -> String {
    pointers.iter().map(|pointer| text(status, pointer)).find(|text| !text.is_empty()).unwrap_or_default()
}

impl View {
    /// From the status of a service.
    pub(crate) fn of(role: Role, status: &Value) -> Self {
        match role {
            Role::Primary => Self::primary(status),
            Role::Standby => Self::standby(status),
        }
    }

    fn primary(status: &Value) -> Self {
        Self {
            state: text(status, "/state"),
            data: text(status, "/peer"),
            peer: text(status, "/to"),
            reason: first_text(status, &["/failure", "/device_problem", "/link_error"]),
            lag: Duration::try_from_secs_f64(status["lag_seconds"].as_f64().unwrap_or(0.0)).unwrap_or_default(),
            lag_entries: number(status, "/lag_entries"),
            lag_bytes: number(status, "/in_flight_bytes"),
            journal: (number(status, "/journal_used"), number(status, "/journal_total")),
            dirty: number(status, "/dirty_bytes"),
            resynced: number(status, "/resynced_bytes"),
            entries: number(status, "/records"),
            bytes: number(status, "/payload_bytes"),
            full_syncs: number(status, "/full_syncs"),
            lost: losses(status, true),
            read_back: losses(status, false),
            volumes: list(status, "/devices"),
            scsi: Vec::new(),
            standbys: standbys(status),
            filter: (text(status, "/filter"), counts(status, "/filtered")),
            reads: (
                number(status, "/reads_seen") + number(status, "/passthrough_reads"),
                number(status, "/read_bytes_seen") + number(status, "/passthrough_read_bytes"),
                counts(status, "/passthrough_reads_by_opcode"),
            ),
        }
    }

    fn standby(status: &Value) -> Self {
        Self {
            state: text(status, "/state"),
            data: first_text(status, &["/content", "/data"]),
            peer: first_text(status, &["/peer", "/listen"]),
            reason: first_text(status, &["/reason", "/last_link_error"]),
            lag: Duration::from_millis(number(status, "/apply_lag_ms")),
            lag_entries: number(status, "/queued_entries"),
            lag_bytes: number(status, "/queued_bytes"),
            journal: (number(status, "/journal/bytes_used"), number(status, "/journal/bytes_total")),
            dirty: number(status, "/out_of_sync/bytes"),
            resynced: number(status, "/done/by_kind/region/bytes"),
            entries: number(status, "/entries_received"),
            bytes: number(status, "/bytes_received"),
            full_syncs: 0,
            lost: Vec::new(),
            read_back: Vec::new(),
            volumes: volumes(status, "/target/path"),
            scsi: scsi_view::lines(status),
            standbys: Vec::new(),
            filter: Default::default(),
            reads: Default::default(),
        }
    }

    /// One line for a log or a terminal.
    pub(crate) fn line(&self) -> String {
        let mut parts = vec![self.state.clone()];
        let mut part = |shown: bool, text: String| parts.extend(shown.then_some(text));
        part(!self.data.is_empty(), self.data.clone());
        part(true, format!("lag {} / {} entries", duration(self.lag), self.lag_entries));
        part(self.journal.1 > 0, format!("journal {}", bytes(self.journal.0)));
        part(self.dirty > 0, format!("dirty {}", bytes(self.dirty)));
        part(!self.filter.0.is_empty(), format!("filtered {}", self.filter.1.iter().map(|(_, n)| n).sum::<u64>()));
        part(!self.lost.is_empty(), format!("lost {}", self.losses()));
        part(!self.reason.is_empty(), self.reason.clone());
        parts.join(" · ")
    }

    /// Reads in words.
    pub(crate) fn reads_in_words(&self) -> String {
        let (count, size, by_opcode) = &self.reads;
        let of_programs =
            if by_opcode.is_empty() { String::new() } else { format!("; of programs: {}", by_reason(by_opcode)) };
        format!("{count}, {}{of_programs}", bytes(*size))
    }

    /// Losses in words.
    pub(crate) fn losses(&self) -> String {
        by_reason(&self.lost)
    }
}

/// Counts in words: `3 table full, 1 payloads`.
pub(crate) fn by_reason(counts: &[(String, u64)]) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let words = counts.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")));
    words.collect::<Vec<_>>().join(", ")
}

fn list(status: &Value, pointer: &str) -> Vec<String> {
    let texts = status.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Of one standby alone everything stands in the other lines.
fn standbys(status: &Value) -> Vec<(String, String)> {
    let all = status.pointer("/secondaries").and_then(Value::as_array).filter(|all| all.len() > 1);
    all.into_iter().flatten().map(|one| (text(one, "/name"), standby_line(one))).collect()
}

fn standby_line(one: &Value) -> String {
    let lag = Duration::try_from_secs_f64(one["lag_seconds"].as_f64().unwrap_or(0.0)).unwrap_or_default();
    let mut parts = vec![
        format!("{} / {}", text(one, "/state"), text(one, "/peer")),
        text(one, "/to"),
        format!("lag {} / {} entries", duration(lag), number(one, "/lag_entries")),
        format!("durable {}, applied {}", number(one, "/durable"), number(one, "/applied")),
    ];
    let dirty = number(one, "/dirty_bytes");
    parts.extend((dirty > 0).then(|| format!("dirty {}", bytes(dirty))));
    parts.extend(Some(text(one, "/link_error")).filter(|error| !error.is_empty()));
    parts.join(" · ")
}

fn volumes(status: &Value, path: &str) -> Vec<String> {
    let volumes = status.pointer("/volumes").and_then(Value::as_array);
    volumes.into_iter().flatten().map(|volume| format!("{}={}", text(volume, "/name"), text(volume, path))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_primary_is_put_into_words() {
        let status = json!({
            "state": "SyncSource", "peer": "Inconsistent", "lag_seconds": 1.2, "lag_entries": 7, "dirty_bytes": 65536,
            "journal_used": 1024, "journal_total": 4096, "losses": {"table_full": 3, "payloads": 0, "unseen": 2, "uncarried": 9},
            "devices": ["/dev/sdb"],
        });
        let view = View::of(Role::Primary, &status);
        assert_eq!(view.volumes, ["/dev/sdb"]);
        assert_eq!(by_reason(&view.read_back), "2 unseen");
        let line = "SyncSource · Inconsistent · lag 1.2 s / 7 entries · journal 1.00 KiB · dirty 64.00 KiB · lost 3 table full";
        assert_eq!(view.line(), line);
    }

    #[test]
    fn each_of_several_standbys_has_a_line() {
        let a =
            json!({ "name": "a", "to": "h:1", "state": "Connected", "peer": "UpToDate", "durable": 9, "applied": 8 });
        let b = json!({ "name": "b", "to": "h:2", "state": "Behind", "peer": "UpToDate", "dirty_bytes": 4096 });
        let view = View::of(Role::Primary, &json!({ "secondaries": [a.clone(), b] }));
        let line = "Connected / UpToDate · h:1 · lag 0 ms / 0 entries · durable 9, applied 8";
        assert_eq!(view.standbys[0], ("a".to_owned(), line.to_owned()));
        assert!(view.standbys[1].1.ends_with("applied 0 · dirty 4.00 KiB"), "{:?}", view.standbys);
        assert!(View::of(Role::Primary, &json!({ "secondaries": [a] })).standbys.is_empty());
    }

    #[test]
    fn a_filter_and_reads_are_put_into_words() {
        let status = json!({
            "state": "Partial", "filter": "--comm fio", "filtered": {"range": 0, "process": 12}, "reads_seen": 5,
            "read_bytes_seen": 4096, "passthrough_reads": 2, "passthrough_reads_by_opcode": {"INQUIRY": 2},
        });
        let view = View::of(Role::Primary, &status);
        assert_eq!((view.filter.0.as_str(), by_reason(&view.filter.1).as_str()), ("--comm fio", "12 process"));
        assert_eq!(view.reads_in_words(), "7, 4.00 KiB; of programs: 2 INQUIRY");
        assert_eq!(view.line(), "Partial · lag 0 ms / 0 entries · filtered 12");
    }

    #[test]
    fn what_a_standby_device_did_not_take_is_shown() {
        let out_of_sync = json!({ "holes": 1, "bytes": 4096 });
        let status =
            json!({ "state": "Connected", "content": "Inconsistent", "data": "x", "out_of_sync": out_of_sync });
        let line = View::of(Role::Standby, &status).line();
        assert_eq!(line, "Connected · Inconsistent · lag 0 ms / 0 entries · dirty 4.00 KiB");
    }

    #[test]
    fn an_empty_status_is_no_trouble() {
        for role in [Role::Primary, Role::Standby] {
            assert_eq!(View::of(role, &json!({})).line(), " · lag 0 ms / 0 entries");
        }
    }
}

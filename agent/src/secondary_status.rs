//! What an agent says of each secondary, and of all together.

use formats::wire::DataState;
use serde::Serialize;

use crate::primary::core::Core;

/// The words for what a link does, the worst first.
const STATES: [&str; 5] = ["Behind", "Disconnected", "SyncSource", "Partial", "Connected"];
/// The words for a secondary's content, likewise.
const CONTENTS: [&str; 3] = ["Blank", "Inconsistent", "UpToDate"];

/// One secondary at one moment. Sizes in bytes, times in seconds.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)] // Each field's name says what it counts; `docs/status.md` lists them.
pub struct SecondaryStatus {
    pub name: String,
    pub to: String,
    pub mode: String,
    pub state: String,
    pub peer: String,
    pub connected: bool,
    pub link_error: Option<String>,
    pub sent: u64,
    pub received: u64,
    pub durable: u64,
    pub applied: u64,
    pub lag_entries: u64,
    pub lag_seconds: f64,
    pub in_flight_bytes: u64,
    pub dirty_bytes: u64,
    pub resynced_bytes: u64,
    pub full_syncs: u64,
    pub overflows: u64,
    pub holes: u64,
    pub unread_regions: u64,
    pub sessions: u64,
    pub disconnects: u64,
    pub bytes_sent: u64,
}

impl SecondaryStatus {
    /// The secondary at this place of the group.
    pub(crate) fn of(core: &Core, place: usize) -> Self {
        let link = &core.links[place];
        let engine = core.engine(place).status(core.now());
        Self {
            name: link.name.clone(),
            to: link.address.clone(),
            mode: link.mode.to_string(),
            state: engine.mode.to_string(),
            peer: data_word(engine.peer_data).to_owned(),
            connected: engine.connected,
            link_error: link.error.lock().ok().and_then(|error| error.clone()),
            sent: engine.sent.0,
            received: engine.received.0,
            durable: engine.durable.0,
            applied: engine.applied.0,
            lag_entries: engine.lag_entries,
            lag_seconds: engine.lag.as_secs_f64(),
            in_flight_bytes: engine.in_flight_bytes,
            dirty_bytes: engine.dirty_bytes,
            resynced_bytes: engine.counters.resynced_bytes,
            full_syncs: engine.counters.full_syncs,
            overflows: engine.counters.overflows,
            holes: engine.counters.holes,
            unread_regions: engine.counters.unread_regions,
            sessions: engine.counters.sessions,
            disconnects: engine.counters.disconnects,
            bytes_sent: engine.counters.bytes_sent,
        }
    }
}

/// What is true of all of them: the worst of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub state: String,
    pub peer: String,
    pub connected: bool,
    pub link_error: Option<String>,
    pub sent: u64,
    pub received: u64,
    pub durable: u64,
    pub applied: u64,
    pub lag_entries: u64,
    pub lag_seconds: f64,
}

impl Summary {
    pub(crate) fn of(all: &[SecondaryStatus]) -> Self {
        let least = |of: fn(&SecondaryStatus) -> u64| all.iter().map(of).min().unwrap_or(0);
        Self {
            state: worst(&STATES, all.iter().map(|one| one.state.as_str())),
            peer: worst(&CONTENTS, all.iter().map(|one| one.peer.as_str())),
            connected: all.iter().all(|one| one.connected),
            link_error: all.iter().find_map(|one| error_of(one, all.len() > 1)),
            sent: least(|one| one.sent),
            received: least(|one| one.received),
            durable: least(|one| one.durable),
            applied: least(|one| one.applied),
            lag_entries: all.iter().map(|one| one.lag_entries).max().unwrap_or(0),
            lag_seconds: all.iter().map(|one| one.lag_seconds).fold(0.0, f64::max),
        }
    }
}

fn error_of(one: &SecondaryStatus, named: bool) -> Option<String> {
    let error = one.link_error.as_ref()?;
    Some(if named { format!("{}: {error}", one.name) } else { error.clone() })
}

fn worst<'a>(order: &[&str], words: impl Iterator<Item = &'a str>) -> String {
    let rank = |word: &str| order.iter().position(|other| *other == word);
    words.min_by_key(|word| rank(word)).unwrap_or_default().to_owned()
}

fn data_word(data: DataState) -> &'static str {
    match data {
        DataState::Consistent => "UpToDate",
        DataState::Inconsistent => "Inconsistent",
        DataState::Blank => "Blank",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, state: &str, peer: &str, durable: u64) -> SecondaryStatus {
        SecondaryStatus {
            name: name.into(),
            state: state.into(),
            peer: peer.into(),
            durable,
            connected: state == "Connected",
            link_error: (state == "Behind").then(|| "no route".into()),
            ..SecondaryStatus::default()
        }
    }

    #[test]
    fn all_are_as_well_as_the_worst() {
        let well = one("a", "Connected", "UpToDate", 9);
        let all = Summary::of(&[well.clone(), one("b", "Behind", "Inconsistent", 4)]);
        assert_eq!((all.state.as_str(), all.peer.as_str(), all.durable), ("Behind", "Inconsistent", 4));
        assert_eq!((all.connected, all.link_error.as_deref()), (false, Some("b: no route")));
        let alone = Summary::of(&[well]);
        assert_eq!((alone.state.as_str(), alone.connected, alone.link_error), ("Connected", true, None));
    }
}

//! What a primary's engine shows of itself.

use core::fmt;
use core::time::Duration;

use formats::wire::DataState;
use formats::{Position, Seq};

/// What a primary does for its secondary.
///
/// ```text
///                connected, nothing dirty                 lost events, holes, overflow
///   Disconnected ───────────────────────────▶ Ordered ◀──────────────────────────────▶ Resync
///     ▲  │  │      connected, dirty or full     │          all regions durable           ▲ │
///     │  │  └──────────────────────────────────────────────────────────────────────────-┘ │
///     │  │ journal full                         │ disconnected                            │
///     │  ▼                                      ▼                                         │
///     │ Mapping ──── connected (journal in use again) ──▶ Resync                          │
///     └───────────────────────────────────────┴───────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No link; the journal keeps what happens.
    Disconnected,
    /// No link and a journal that was full: records only mark the map.
    Mapping,
    /// Entries and regions are sent.
    Resync,
    /// Entries are sent in order and nothing is dirty.
    Ordered,
    /// Entries are sent in order, but not all: changes are dropped on purpose, and nothing is read back.
    Partial,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "Disconnected",
            Self::Mapping => "Behind",
            Self::Resync => "SyncSource",
            Self::Ordered => "Connected",
            Self::Partial => "Partial",
        })
    }
}

/// Counters since the engine was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Sessions that were opened.
    pub sessions: u64,
    /// Sessions that ended.
    pub disconnects: u64,
    /// Times that everything had to be sent.
    pub full_syncs: u64,
    /// Times that the journal was full and the dirty map took over.
    pub overflows: u64,
    /// Entries that left a hole: gaps, failed changes, writes without payload.
    pub holes: u64,
    /// Entries sent, regions not counted.
    pub entries_sent: u64,
    /// Bytes of entry frames sent, regions and headers included.
    pub bytes_sent: u64,
    /// Bytes of regions that became durable at the secondary.
    pub resynced_bytes: u64,
    /// Regions that could not be read from the device, each time anew; they stay dirty.
    pub unread_regions: u64,
    /// Stretches that the secondary asked for again, because its device had not taken them.
    pub resend_requests: u64,
}

/// A primary's engine at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrimaryStatus {
    /// What it does.
    pub mode: Mode,
    /// Whether a session is open.
    pub connected: bool,
    /// State of the secondary's content as it last said; its last word stays while there is no link.
    pub peer_data: DataState,
    /// Last position in the journal.
    pub journal_end: Position,
    /// Last seq in the journal or covered by the map.
    pub journal_seq: Seq,
    /// Last position sent in this session.
    pub sent: Position,
    /// Last position that the secondary has received.
    pub received: Position,
    /// Last position that the secondary holds durably.
    pub durable: Position,
    /// Last position that the secondary has applied.
    pub applied: Position,
    /// Bytes sent and not known to be durable.
    pub in_flight_bytes: u64,
    /// Bytes in regions that the secondary is not known to hold, those in flight included.
    pub dirty_bytes: u64,
    /// Entries that the secondary has not applied.
    pub lag_entries: u64,
    /// Age of the oldest of these.
    pub lag: Duration,
    /// Counters.
    pub counters: Counters,
}

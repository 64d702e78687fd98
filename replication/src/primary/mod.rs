//! The engine of one secondary on its primary.
//!
//! It decides what is sent, and what of the journal is no longer needed. The driver owns the journal, the device and
//! the socket. Positions: `cursor <= durable <= sent < journal.next`.
//!
//! # Contract with the driver
//!
//! - At start: [`Primary::new`] with what was restored, then [`Primary::recover_entry`] for every entry of the
//!   journal, because marks that an entry made when it was sent may not have been saved.
//! - After each append: [`Primary::journal_grew`]. Entries may be offered once a killed process cannot lose them
//!   (written to the page cache); after a power cut of the host the stream must be another one.
//! - Whenever [`Primary::generation`] has moved: [`Primary::snapshot`], save it durably,
//!   [`Primary::snapshot_saved`]; soon, and at once while [`Primary::save_is_urgent`].
//! - Afterwards trim the journal through [`Primary::cursor`] (which never leads what is saved) and say
//!   [`Primary::journal_trimmed`].
//! - [`Primary::poll_send`] until it says [`Send::Nothing`]; each answer is reported back by the call it names.
//! - When the journal is full: [`Primary::overflowed`] with the headers from [`Primary::uncovered_from`] on, save,
//!   trim through the cursor. While [`Primary::wants_records`] is false, records go to [`Primary::skip`] instead of
//!   the journal; if the journal goes on for other secondaries ([`crate::group`]), to [`Primary::appended`].
//! - Content that is not known at the secondary is marked ([`Primary::mark`]) before the gap that stands for it is
//!   appended, with the kernel's completion counter as it is then: regions are read and sent only when everything up
//!   to that has been sent, so that no older record comes after them. Every completion must therefore get into the
//!   journal at last, as a record or in a gap.
//!
//! # Cuts
//!
//! Where the dirty map takes over from the journal (a full resync, a journal that was full), the stream is *cut*: the
//! engine hands out a gap entry that is not in the journal and stands for everything up to a position and a seq. It
//! is sent only after the map that covers it is saved, so a crash never leaves a secondary past a cut whose regions
//! nobody remembers.

mod config;
pub(crate) mod decide;
mod deferred;
mod flight;
mod hold;
mod journal;
mod lag;
mod saves;
mod session;
mod status;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use formats::EntryHeader;
use formats::wire::{Ack, DataState, Resend, Welcome};
use formats::{ByteRange, Position, Seq, VolumeIndex};
use thiserror::Error;

pub use config::{ConfigError, Covered, JournalExtent, MAX_REGIONS_PER_BATCH, PrimaryConfig, Restored, Snapshot};
pub use hold::{Hold, Lacking};
pub use status::{Counters, Mode, PrimaryStatus};

use crate::Now;
use crate::consistency::leaves_hole;
use crate::dirty::DirtyMap;
use crate::follow::{ProtocolError, Tip};
use crate::mutation::{self, Mutation};
use decide::{first_seq_of, resend_range, tip_of};
use deferred::Deferred;
use lag::LagClock;
use saves::Saves;
use session::Session;

/// What the driver does next.
#[derive(Clone, PartialEq, Debug)]
pub enum Send {
    /// Read entries from the journal, from this position on, at most so many bytes but at least one, and send them as
    /// one frame; then [`Primary::entries_sent`].
    Entries {
        /// First position.
        from: Position,
        /// Bytes, headers included.
        max_bytes: u32,
    },
    /// Send this header alone as one frame; then [`Primary::cut_sent`].
    Cut(EntryHeader),
    /// Read these ranges from the device, then the kernel's completion counter, and send one region entry per range
    /// as one frame, each at position [`Primary::sent`] with that counter as `consistent_after`; then
    /// [`Primary::regions_sent`], or [`Primary::regions_failed`] when the device could not be read
    /// ([`Primary::regions_partly_read`] before, when some could). `remaining` of
    /// the last one is [`Primary::region_remaining`] at the moment of encoding; of the one before, one more; and so
    /// on. A single empty range heals without content. Nothing else is handed out meanwhile, because content must
    /// not follow entries that are newer than it.
    Regions(Vec<(VolumeIndex, ByteRange)>),
    /// Send a keep-alive; then [`Primary::keepalive_sent`].
    KeepAlive,
    /// Connect; then [`Primary::connected`], or [`Primary::disconnected`] when that failed. Said once per attempt.
    Reconnect,
    /// Close the link; then [`Primary::disconnected`].
    Close(CloseReason),
    /// Nothing before [`Primary::poll_timeout`] or the next input.
    Nothing,
}

/// Why a link is given up.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Nothing was heard for this long.
    #[error("heard nothing from the secondary for {0:?}")]
    Silent(Duration),
    /// The secondary broke the protocol.
    #[error("the secondary broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
}

/// How a session goes on from what the secondary holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// With the next entry, exactly.
    Continue {
        /// First position to send.
        from: Position,
    },
    /// With a cut: the saved dirty map and the journal behind it suffice.
    Covered {
        /// First position to send after the cut.
        from: Position,
    },
    /// With everything.
    Full(FullReason),
}

/// Why everything must be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FullReason {
    /// The secondary holds nothing of the stream.
    Blank,
    /// It holds another stream.
    OtherStream,
    /// It holds less than the journal and the dirty map can make up for.
    Behind,
    /// It holds less than it had acknowledged.
    LostAcknowledged,
    /// It claims more than was ever sent.
    Ahead,
}

#[derive(Clone, Debug)]
struct Retry {
    at: Now,
    connecting: bool,
}

#[derive(Clone, Debug)]
enum Link {
    Down(Retry),
    Up(Box<Session>),
}

/// The engine. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Primary {
    config: PrimaryConfig,
    journal: JournalExtent,
    /// Regions that may be sent.
    dirty: DirtyMap,
    /// Regions that must wait; without a link, all.
    deferred: Deferred,
    /// Everything up to this may have been sent, in this session or an earlier one.
    highest_sent: Seq,
    /// Position of the stream's very first entry, if this engine knows it.
    origin: Option<Position>,
    /// Where the search for the next dirty region goes on, so that hot regions do not starve others.
    sweep: (VolumeIndex, u64),
    covered: Option<Covered>,
    link: Link,
    mapping: bool,
    durable: Position,
    applied: Position,
    peer_data: DataState,
    cursor: Position,
    saves: Saves,
    backoff: Duration,
    lag: LagClock,
    counters: Counters,
}

impl Primary {
    /// An engine without a link, which asks to connect at once.
    ///
    /// # Errors
    /// When the configuration, or what was restored, contradicts itself.
    pub fn new(config: PrimaryConfig, restored: Restored) -> Result<Self, ConfigError> {
        config.check()?;
        let journal = restored.journal.check()?;
        let dirty = DirtyMap::new(config.region_size, &config.volumes)?.within(&config.scope);
        let mut deferred = Deferred::new(dirty.clone());
        let highest_sent = restored.completed.max(journal.last_seq);
        if let Some(saved) = &restored.dirty {
            deferred.map(highest_sent).union(saved)?;
        }
        let end = journal.next.previous();
        let covered = restored.covered.filter(|covered| covered.through <= end).map(|covered| {
            // While only the map was kept, the seq went on without the map being saved again.
            let last_seq = if covered.through == end { journal.last_seq } else { covered.last_seq };
            Covered { last_seq, ..covered }
        });
        // Up to the end of a covered stretch, the saved cursor may tell of the map and not of the secondary.
        let durable = covered.filter(|c| restored.acknowledged <= c.through).map_or(restored.acknowledged, |c| c.from);
        Ok(Self {
            backoff: config.backoff_min,
            config,
            journal,
            dirty,
            deferred,
            highest_sent,
            origin: journal.origin(),
            sweep: (VolumeIndex(0), 0),
            covered,
            link: Link::Down(Retry { at: Now::ZERO, connecting: false }),
            mapping: false,
            durable,
            applied: Position(0),
            peer_data: DataState::Inconsistent,
            cursor: restored.acknowledged,
            saves: Saves::default(),
            lag: LagClock::default(),
            counters: Counters::default(),
        })
    }

    /// An engine of a secondary that joins a stream that goes on, or whose saved state is gone: nothing of it is known, so
    /// everything is dirty. `completed` is the kernel's completion counter, read between two appends.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn joining(config: PrimaryConfig, journal: JournalExtent, completed: Seq) -> Result<Self, ConfigError> {
        let acknowledged = journal.first.previous();
        let mut engine = Self::new(config, Restored { journal, acknowledged, completed, ..Restored::NOTHING })?;
        if !mutation::is(Mutation::JoinAsIfEqual) {
            engine.mark_all(engine.highest_sent);
        }
        // It may hold anything from nothing on; once the map is saved it needs no entry of now any more.
        engine.durable = Position(0);
        engine.cover_through_end();
        Ok(engine)
    }

    /// An entry that the journal held at start: if it leaves a hole, its range is marked again.
    pub fn recover_entry(&mut self, header: &EntryHeader) {
        // While only the map was kept, the seq went on without the map being saved again.
        let follows = self.covered.as_mut().filter(|covered| covered.through.next() == header.position);
        if let (Some(covered), Some(first)) = (follows, first_seq_of(header)) {
            covered.last_seq = first.previous();
        }
        if leaves_hole(header) {
            self.mark_entry(header, self.highest_sent);
            self.saves.hole(header.position);
        }
    }
}

// Inputs.
impl Primary {
    /// What is in this range at the secondary is not known: it will be read back and sent, after everything up to
    /// `after`. That is the kernel's completion counter when the reason was known: no completion that the mark stands
    /// for, nor any before it, lies behind it.
    pub fn mark(&mut self, volume: VolumeIndex, range: ByteRange, after: Seq) {
        match self.map_after(after).mark(volume, range) {
            Ok(0) => {}
            Ok(_) => self.saves.changed(),
            // A volume that is not known here: when in doubt, everything.
            Err(_) => self.mark_all(after),
        }
    }

    /// The same for every region that `map` holds; for everything when it is of another geometry.
    pub fn mark_map(&mut self, map: &DirtyMap, after: Seq) {
        self.saves.changed();
        if self.map_after(after).union(map).is_err() {
            self.mark_all(after);
        }
    }

    /// The same for everything.
    pub fn mark_all(&mut self, after: Seq) {
        self.map_after(after).mark_all();
        self.saves.changed();
    }

    /// A connection was opened, the hello of this stream sent, and this was the answer.
    pub fn connected(&mut self, now: Now, welcome: &Welcome) -> Resume {
        self.end_session();
        if core::mem::take(&mut self.mapping) {
            self.cover_through_end();
        }
        let resume = self.resume(welcome);
        let (sent, cut) = match resume {
            Resume::Continue { from } => (from.previous(), None),
            Resume::Covered { .. } => (Position(welcome.durable), Some(self.saves.generation())),
            Resume::Full(_) => {
                self.begin_full();
                (Position(0), Some(self.saves.generation()))
            }
        };
        self.durable = sent;
        self.applied = Position(welcome.applied).min(sent);
        self.peer_data = welcome.data;
        self.counters.sessions += 1;
        let window = self.config.window_bytes.min(welcome.window);
        let owed = cut.is_some() || welcome.data != DataState::Consistent;
        self.link = Link::Up(Box::new(Session::new(now, window, sent, cut, owed)));
        resume
    }

    /// The link is gone, or an attempt to connect failed. What was in flight is sent again in the next session.
    pub fn disconnected(&mut self, now: Now) {
        if matches!(&self.link, Link::Up(_)) {
            self.counters.disconnects += 1;
        }
        self.end_session();
        self.link = Link::Down(Retry { at: now + self.backoff, connecting: false });
        self.backoff = (self.backoff * 2).min(self.config.backoff_max);
    }

    /// Anything was heard from the secondary: it lives.
    pub fn heard(&mut self, now: Now) {
        if let Link::Up(session) = &mut self.link {
            session.last_heard = now;
        }
    }

    /// The secondary says how far it is.
    ///
    /// # Errors
    /// When it acknowledges what was never sent or takes something back; nothing of the acknowledgement is used, and
    /// [`Self::poll_send`] says [`Send::Close`].
    pub fn ack(&mut self, now: Now, ack: &Ack) -> Result<(), ProtocolError> {
        let Link::Up(session) = &mut self.link else {
            return Err(ProtocolError::NoSession);
        };
        session.take_ack(now, ack)?;
        if ack.received_frame > 0 {
            self.backoff = self.config.backoff_min;
        }
        self.peer_data = ack.data;
        self.applied = Position(ack.applied).min(session.sent);
        let trusted = if mutation::is(Mutation::TrustReceipt) { ack.received_frame } else { ack.durable_frame };
        while let Some(frame) = session.flight.pop_durable(trusted) {
            self.durable = frame.last;
            if !frame.regions.is_empty() {
                self.saves.changed();
                self.counters.resynced_bytes += frame.regions.iter().map(|(_, range)| range.len).sum::<u64>();
            }
        }
        if self.covered.is_some_and(|covered| session.cut.is_none() && self.durable >= covered.through) {
            self.covered = None;
            self.saves.changed();
        }
        Ok(())
    }

    /// The secondary's device did not take these stretches: they are read back and sent again. Nothing in the stream is
    /// missing, so they wait for nothing; what is asked for and not sent yet when the link breaks is asked for again.
    ///
    /// # Errors
    /// When one of them lies in no volume; nothing of the request is used, and [`Self::poll_send`] says [`Send::Close`].
    pub fn resend(&mut self, now: Now, request: &Resend) -> Result<(), ProtocolError> {
        let Link::Up(session) = &mut self.link else {
            return Err(ProtocolError::NoSession);
        };
        session.last_heard = now;
        let volumes = &self.config.volumes;
        let ranges =
            request.stretches.iter().map(|stretch| resend_range(stretch, volumes)).collect::<Result<Vec<_>, _>>();
        let ranges = ranges.inspect_err(|error| session.close = Some(CloseReason::Protocol(*error)))?;
        self.counters.resend_requests += ranges.len() as u64;
        ranges.into_iter().for_each(|(volume, range)| self.mark(volume, range, Seq(0)));
        Ok(())
    }

    /// The snapshot of this generation is saved durably.
    pub fn snapshot_saved(&mut self, generation: u64) {
        self.saves.saved(generation);
    }
}

// Outputs.
impl Primary {
    /// What to do next.
    pub fn poll_send(&mut self, now: Now) -> Send {
        match &mut self.link {
            Link::Down(retry) if !retry.connecting && now >= retry.at => {
                retry.connecting = true;
                Send::Reconnect
            }
            Link::Down(_) => Send::Nothing,
            Link::Up(session) => {
                let silent = now.saturating_sub(session.last_heard);
                if session.close.is_none() && silent >= self.config.link_timeout {
                    session.close = Some(CloseReason::Silent(silent));
                }
                match session.close {
                    Some(reason) => Send::Close(reason),
                    None => self.next_frame(now),
                }
            }
        }
    }

    /// When [`Self::poll_send`] has something to say without another input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        match &self.link {
            Link::Down(retry) => (!retry.connecting).then_some(retry.at),
            Link::Up(session) => Some(session.next_timeout(self.config.keepalive, self.config.link_timeout)),
        }
    }

    /// The entries of the last [`Send::Entries`] were sent as one frame of `bytes`; `headers` are theirs. Entries that
    /// leave a hole mark their range. Answers the frame's number; 0 when there is no session or no header.
    pub fn entries_sent(&mut self, now: Now, headers: &[EntryHeader], bytes: u64) -> u64 {
        let Some(tip) = headers.last().and_then(tip_of) else { return 0 };
        let number = self.frame_sent(now, Some(tip), bytes, Vec::new());
        if number > 0 {
            self.counters.entries_sent += headers.len() as u64;
            for hole in headers.iter().filter(|header| leaves_hole(header)) {
                self.counters.holes += 1;
                self.sent_hole(hole);
            }
        }
        number
    }

    /// The cut was sent as one frame of `bytes`. Answers the frame's number; 0 when none was due.
    pub fn cut_sent(&mut self, now: Now, bytes: u64) -> u64 {
        let Link::Up(session) = &mut self.link else { return 0 };
        let Some(covered) = self.covered.filter(|_| session.cut.take().is_some()) else { return 0 };
        session.owed = true;
        self.frame_sent(now, Some(Tip { position: covered.through, seq: covered.last_seq }), bytes, Vec::new())
    }

    /// The regions of the last [`Send::Regions`] were sent as one frame of `bytes`. Answers the frame's number.
    pub fn regions_sent(&mut self, now: Now, bytes: u64) -> u64 {
        let remaining = self.region_remaining();
        let Link::Up(session) = &mut self.link else { return 0 };
        let Some(mut ranges) = session.reading.take() else { return 0 };
        session.owed &= remaining > 0;
        session.regions_in_turn += 1;
        ranges.retain(|(_, range)| !range.is_empty());
        self.frame_sent(now, None, bytes, ranges)
    }

    /// The regions of the last [`Send::Regions`] could not be read: they are dirty again.
    pub fn regions_failed(&mut self) {
        let Link::Up(session) = &mut self.link else { return };
        let ranges = session.reading.take().unwrap_or_default();
        self.unread(&ranges);
    }

    /// Of the regions of the last [`Send::Regions`] these `failed` to be read: they are dirty again, and others come before
    /// them. The rest was `read` and is sent now. Both together are what was asked for, in pieces that are whole regions.
    pub fn regions_partly_read(&mut self, read: Vec<(VolumeIndex, ByteRange)>, failed: &[(VolumeIndex, ByteRange)]) {
        let Link::Up(session) = &mut self.link else { return };
        if session.reading.is_some() {
            session.reading = Some(read);
            self.unread(failed);
        }
    }

    fn unread(&mut self, failed: &[(VolumeIndex, ByteRange)]) {
        self.counters.unread_regions += failed.len() as u64;
        failed.iter().for_each(|(volume, range)| self.mark(*volume, *range, Seq(0)));
    }

    /// A keep-alive was sent.
    pub fn keepalive_sent(&mut self, now: Now) {
        if let Link::Up(session) = &mut self.link {
            session.keepalive_sent(now);
        }
    }

    /// Regions still to come after the batch that is being read: `remaining` of its last region.
    #[must_use]
    pub fn region_remaining(&self) -> u64 {
        self.dirty.region_count() + self.deferred.region_count()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &PrimaryConfig {
        &self.config
    }

    /// Last position that the secondary is known to hold durably.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Last position that the secondary has applied, as it last said.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// Last position that the secondary has received, in this session or durably in an earlier one.
    #[must_use]
    pub fn received(&self) -> Position {
        match &self.link {
            Link::Up(session) => session.received().unwrap_or(self.durable),
            Link::Down(_) => self.durable,
        }
    }

    /// Position of the last entry sent in this session: the position of regions sent now.
    #[must_use]
    pub fn sent(&self) -> Position {
        match &self.link {
            Link::Up(session) => session.sent,
            Link::Down(_) => self.durable,
        }
    }

    /// Every region that the secondary is not known to hold durably, those in flight included.
    #[must_use]
    pub fn dirty(&self) -> DirtyMap {
        let mut all = self.dirty.clone();
        // All maps have the geometry of the configuration.
        for map in self.deferred.maps() {
            let _ = all.union(map);
        }
        for (volume, range) in self.unconfirmed_regions() {
            let _ = all.mark(volume, range);
        }
        all
    }

    /// Moves whenever what should be saved has changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.saves.generation()
    }

    /// Whether sending, or the cursor, waits for the current state to be saved.
    #[must_use]
    pub fn save_is_urgent(&self) -> bool {
        let cut = match &self.link {
            Link::Up(session) => session.cut.is_some_and(|generation| !self.saves.is_saved(generation)),
            Link::Down(_) => false,
        };
        cut || self.saves.is_urgent()
    }

    /// What must be saved durably now. Take one at a time: take, save, [`Self::snapshot_saved`].
    pub fn snapshot(&mut self) -> Snapshot {
        if self.cover_is_behind() {
            self.cover_through_end();
        }
        Snapshot { generation: self.saves.snapshot(), dirty: self.dirty(), covered: self.covered }
    }

    /// What it does.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match &self.link {
            Link::Down(_) if self.mapping => Mode::Mapping,
            Link::Down(_) => Mode::Disconnected,
            Link::Up(_) if self.config.scope.is_partial() => Mode::Partial,
            Link::Up(session) if session.is_resync() || self.region_remaining() > 0 => Mode::Resync,
            Link::Up(_) => Mode::Ordered,
        }
    }

    /// What it looks like at `now`.
    pub fn status(&mut self, now: Now) -> PrimaryStatus {
        let in_flight_bytes = match &self.link {
            Link::Up(session) => session.flight.bytes(),
            Link::Down(_) => 0,
        };
        PrimaryStatus {
            mode: self.mode(),
            connected: matches!(&self.link, Link::Up(_)),
            peer_data: self.peer_data,
            journal_end: self.journal.next.previous(),
            journal_seq: self.journal.last_seq,
            sent: self.sent(),
            received: self.received(),
            durable: self.durable,
            applied: self.applied,
            in_flight_bytes,
            dirty_bytes: self.dirty().bytes(),
            lag_entries: self.journal.next.0 - 1 - self.applied.0.min(self.journal.next.0 - 1),
            lag: self.lag.age(self.applied, self.journal.next, now),
            counters: self.counters,
        }
    }
}

#[cfg(test)]
mod tests;

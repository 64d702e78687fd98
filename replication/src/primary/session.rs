//! One connection to the secondary.

use alloc::vec::Vec;
use core::time::Duration;

use formats::entry::{Entry, EntryHeader, Gap, PayloadInfo};
use formats::wire::Ack;
use formats::{ByteRange, Position, Seq, VolumeIndex};

use super::config::Covered;
use super::flight::Flight;
use super::{CloseReason, Send};
use crate::Now;
use crate::follow::{ProtocolError, Tip};

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) flight: Flight,
    window: u64,
    /// Position of the last entry sent.
    pub(super) sent: Position,
    /// Last seq sent; unknown before the first entry.
    pub(super) sent_seq: Option<Seq>,
    /// A cut must be sent before anything else, once this generation is saved.
    pub(super) cut: Option<u64>,
    /// Regions handed to the driver and not yet reported as sent.
    pub(super) reading: Option<Vec<(VolumeIndex, ByteRange)>>,
    /// A region with `remaining = 0` must still be sent.
    pub(super) owed: bool,
    /// Frames of regions sent since the last frame of entries.
    pub(super) regions_in_turn: u32,
    acked: Ack,
    last_sent: Now,
    pub(super) last_heard: Now,
    pub(super) close: Option<CloseReason>,
}

impl Session {
    pub(super) fn new(now: Now, window: u64, sent: Position, cut: Option<u64>, owed: bool) -> Self {
        Self {
            flight: Flight::default(),
            window,
            sent,
            sent_seq: None,
            cut,
            reading: None,
            owed,
            regions_in_turn: 0,
            acked: Ack::default(),
            last_sent: now,
            last_heard: now,
            close: None,
        }
    }

    /// Whether regions are still to be sent or acknowledged, what is dirty not counted.
    pub(super) fn is_resync(&self) -> bool {
        self.cut.is_some() || self.owed || self.reading.is_some() || self.flight.regions().next().is_some()
    }

    pub(super) fn keepalive(&self, now: Now, interval: Duration) -> Send {
        if now.saturating_sub(self.last_sent) >= interval { Send::KeepAlive } else { Send::Nothing }
    }

    pub(super) fn keepalive_sent(&mut self, now: Now) {
        self.last_sent = now;
    }

    pub(super) fn next_timeout(&self, keepalive: Duration, link_timeout: Duration) -> Now {
        (self.last_sent + keepalive).min(self.last_heard + link_timeout)
    }

    /// Bytes that may be sent now. One frame is always allowed; otherwise a tail of the window is not worth a frame.
    pub(super) fn space(&self) -> u64 {
        let space = self.window.saturating_sub(self.flight.bytes());
        if self.flight.is_empty() {
            space.max(1)
        } else if space <= self.window / 8 {
            0
        } else {
            space
        }
    }

    /// The gap that stands for everything that `covered` stands for.
    pub(super) fn cut_header(&self, covered: &Covered) -> EntryHeader {
        let last = covered.last_seq;
        // A secondary in step needs only the completions that it misses; one whose place is unknown needs all.
        let first = self.sent_seq.filter(|sent| *sent < last).map_or(Seq(1), Seq::next);
        EntryHeader { entry: Entry::Gap(Gap { first, last }), position: covered.through, payload: PayloadInfo::NONE }
    }

    /// The cut stands for nothing: the stream has no completion yet, and begins behind it.
    pub(super) fn skip_cut(&mut self, covered: &Covered) {
        self.cut = None;
        self.sent = covered.through;
        self.sent_seq = Some(covered.last_seq);
    }

    pub(super) fn frame_sent(
        &mut self,
        now: Now,
        entries: Option<Tip>,
        bytes: u64,
        regions: Vec<(VolumeIndex, ByteRange)>,
    ) -> u64 {
        if let Some(tip) = entries {
            self.sent = tip.position;
            self.sent_seq = Some(tip.seq);
            self.regions_in_turn = 0;
        }
        self.last_sent = now;
        self.flight.push(self.sent, bytes, regions)
    }

    /// Last position that was received and is not yet durable; none when all that was received is.
    pub(super) fn received(&self) -> Option<Position> {
        self.flight.position_of(self.acked.received_frame)
    }

    /// Takes note of an acknowledgement, if it can be true.
    pub(super) fn take_ack(&mut self, now: Now, ack: &Ack) -> Result<(), ProtocolError> {
        self.last_heard = now;
        if let Err(error) = self.check_ack(ack) {
            self.close = Some(CloseReason::Protocol(error));
            return Err(error);
        }
        self.acked = *ack;
        Ok(())
    }

    fn check_ack(&self, ack: &Ack) -> Result<(), ProtocolError> {
        let before = &self.acked;
        at_most("received frame", ack.received_frame, self.flight.last_number())?;
        at_most("durable frame", ack.durable_frame, ack.received_frame)?;
        at_most("applied frame", ack.applied_frame, ack.durable_frame)?;
        at_least("received frame", ack.received_frame, before.received_frame)?;
        at_least("durable frame", ack.durable_frame, before.durable_frame)?;
        at_least("applied frame", ack.applied_frame, before.applied_frame)?;
        if let Some(position) = self.flight.position_of(ack.durable_frame) {
            at_least("durable position", ack.durable, position.0)?;
            at_most("durable position", ack.durable, self.sent.0)?;
        }
        Ok(())
    }
}

fn at_most(what: &'static str, got: u64, sent: u64) -> Result<(), ProtocolError> {
    if got <= sent { Ok(()) } else { Err(ProtocolError::AckBeyond { what, got, sent }) }
}

fn at_least(what: &'static str, got: u64, before: u64) -> Result<(), ProtocolError> {
    if got >= before { Ok(()) } else { Err(ProtocolError::AckBack { what, before, got }) }
}

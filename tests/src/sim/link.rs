//! The model of a connection: ordered, slow, and cut at any moment. What was on its way is gone then, or some of it
//! still arrives although the primary has given the connection up, and even after it has opened the next one.

use std::collections::VecDeque;

use formats::wire::{Ack, Hello, Resend, Welcome};

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// To the standby.
    Hello(Hello),
    /// To the standby: a numbered frame of encoded entries.
    Entries(u64, Vec<u8>),
    /// To the primary.
    Welcome(Welcome),
    /// To the primary: it is turned away.
    Refuse,
    /// To the primary.
    Ack(Ack),
    /// To the primary: what the standby's device did not take.
    Resend(Resend),
    /// Either way.
    KeepAlive,
}

/// What the standby sees.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message.
    Message(Message),
    /// The connection it came by is gone.
    End,
}

/// One connection, or none, and what is left of the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Whether there is one.
    pub(super) up: bool,
    /// Steps that everything takes longer.
    pub(super) delay: u64,
    /// Nothing arrives before this step.
    stalled_until: u64,
    to_standby: VecDeque<(u64, Message)>,
    to_primary: VecDeque<(u64, Message)>,
    /// What still arrives of the connection before.
    left: Option<VecDeque<(u64, Message)>>,
}

impl Link {
    /// A connection that takes so many steps longer than it must.
    pub(super) fn slow(delay: u64) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A new connection.
    pub(super) fn open(&mut self) {
        *self = Self { up: true, delay: self.delay, left: self.left.take(), ..Self::default() };
    }

    /// It is gone, and everything in it; both sides know.
    pub(super) fn cut(&mut self) {
        *self = Self::slow(self.delay);
    }

    /// It is gone, and the standby does not know before it has taken the first `arriving` of what was on its way.
    pub(super) fn abandon(&mut self, arriving: usize) {
        let mut left = std::mem::take(&mut self.to_standby);
        left.truncate(arriving);
        *self = Self { left: Some(left), ..Self::slow(self.delay) };
    }

    /// Nothing arrives on either side before this step.
    pub(super) fn stall(&mut self, until: u64) {
        self.stalled_until = until;
    }

    /// Whether the standby has, or takes itself for having, a connection.
    pub(super) fn is_seen_by_standby(&self) -> bool {
        self.up || self.left.is_some()
    }

    /// Sends, arriving at `at` or later.
    pub(super) fn send_to_standby(&mut self, at: u64, message: Message) {
        self.to_standby.push_back((at + self.delay, message));
    }

    /// Sends, arriving at `at` or later; into the void if the primary has given the connection up.
    pub(super) fn send_to_primary(&mut self, at: u64, message: Message) {
        if self.up && self.left.is_none() {
            self.to_primary.push_back((at + self.delay, message));
        }
    }

    /// What arrives next at the standby.
    pub(super) fn at_standby(&mut self, now: u64) -> Option<Arrival> {
        if let Some(left) = &mut self.left {
            let newer = self.to_standby.front().is_some_and(|(at, _)| *at <= now);
            let message = left.pop_front_if(|(at, _)| !newer && *at <= now);
            if message.is_none() && (newer || left.is_empty()) {
                self.left = None;
                return Some(Arrival::End);
            }
            return message.map(|(_, message)| Arrival::Message(message));
        }
        let due = self.to_standby.pop_front_if(|(at, _)| (*at).max(self.stalled_until) <= now);
        due.map(|(_, message)| Arrival::Message(message))
    }

    /// The next message that has arrived at the primary.
    pub(super) fn at_primary(&mut self, now: u64) -> Option<Message> {
        self.to_primary.pop_front_if(|(at, _)| (*at).max(self.stalled_until) <= now).map(|(_, message)| message)
    }

    /// Flips a bit in the last entry frame that is on its way; says whether there was one.
    pub(super) fn corrupt(&mut self, pick: u64) -> bool {
        let Some(place) = self.frame() else { return false };
        let Message::Entries(_, bytes) = &mut self.to_standby[place].1 else { return false };
        let bit = pick as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        true
    }

    /// The last entry frame that is on its way comes twice; says whether there was one.
    pub(super) fn duplicate(&mut self) -> bool {
        let Some(place) = self.frame() else { return false };
        let twice = self.to_standby[place].clone();
        self.to_standby.insert(place, twice);
        true
    }

    /// The last entry frame on its way comes before what was sent before it; says whether there was one.
    pub(super) fn reorder(&mut self) -> bool {
        let Some(place) = self.frame().filter(|place| *place > 0) else { return false };
        self.to_standby.swap(place - 1, place);
        true
    }

    /// The place of the last entry frame that is on its way.
    fn frame(&self) -> Option<usize> {
        self.to_standby.iter().rposition(|(_, message)| matches!(message, Message::Entries(..)))
    }
}

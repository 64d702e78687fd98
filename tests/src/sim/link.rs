//! The model of a connection: ordered, slow, and cut at any moment. What was on its way is gone then.

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

/// One connection, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Whether there is one.
    pub(super) up: bool,
    to_standby: VecDeque<(u64, Message)>,
    to_primary: VecDeque<(u64, Message)>,
}

impl Link {
    /// A new connection.
    pub(super) fn open(&mut self) {
        *self = Self { up: true, ..Self::default() };
    }

    /// It is gone, and everything in it.
    pub(super) fn cut(&mut self) {
        *self = Self::default();
    }

    /// Sends, arriving at `at`.
    pub(super) fn send_to_standby(&mut self, at: u64, message: Message) {
        self.to_standby.push_back((at, message));
    }

    /// Sends, arriving at `at`.
    pub(super) fn send_to_primary(&mut self, at: u64, message: Message) {
        self.to_primary.push_back((at, message));
    }

    /// The next message that has arrived at the standby.
    pub(super) fn at_standby(&mut self, now: u64) -> Option<Message> {
        self.to_standby.pop_front_if(|(at, _)| *at <= now).map(|(_, message)| message)
    }

    /// The next message that has arrived at the primary.
    pub(super) fn at_primary(&mut self, now: u64) -> Option<Message> {
        self.to_primary.pop_front_if(|(at, _)| *at <= now).map(|(_, message)| message)
    }

    /// Flips a bit in the last entry frame that is on its way; says whether there was one.
    pub(super) fn corrupt(&mut self, pick: u64) -> bool {
        let frame = self.to_standby.iter_mut().rev().find_map(|(_, message)| match message {
            Message::Entries(_, bytes) => Some(bytes),
            _ => None,
        });
        let Some(bytes) = frame else { return false };
        let bit = pick as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        true
    }
}

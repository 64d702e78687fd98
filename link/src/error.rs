//! What can go wrong on a link, each with what to do about it.

use std::io;
use std::time::Duration;

use formats::wire::{FrameError, FrameKind, RefuseCode};
use thiserror::Error;

/// Why a link could not be made, or ended.
#[derive(Error, Debug)]
pub enum LinkError {
    /// The address does not parse or its name does not resolve.
    #[error("cannot resolve {address:?}: {source}; give HOST:PORT, for example 127.0.0.1:7788")]
    Resolve {
        /// As it was given.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// An address of another machine, without the explicit word for it.
    #[error(
        "{address} is not a loopback address, and this link is neither encrypted nor authenticated: \
         pass --insecure if the network between is trusted, or use 127.0.0.1 through a tunnel"
    )]
    InsecureAddress {
        /// As it was given or resolved.
        address: String,
    },
    /// Nobody listens there.
    #[error("{address} refuses connections: check that `blkecho standby` runs there and listens on this port")]
    ConnectionRefused {
        /// Where to.
        address: String,
    },
    /// No answer to a connection attempt.
    #[error("no answer from {address} within {after:?}: check the address, the route and firewalls")]
    ConnectTimeout {
        /// Where to.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The attempt failed otherwise (no route, no such network).
    #[error("cannot connect to {address}: {source}; check the address and the network")]
    Connect {
        /// Where to.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else has the port.
    #[error("{address} is already in use: stop the process that listens there or choose another port")]
    AddressInUse {
        /// Which one.
        address: String,
    },
    /// Listening failed otherwise (not an address of this machine, a privileged port).
    #[error("cannot listen on {address}: {source}; give an address of this machine and a port you may use")]
    Listen {
        /// Which one.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The peer speaks something else, or bytes were damaged on the way.
    #[error("{peer} sent bytes that are not of this protocol: {source}; check that both ends are blkecho")]
    Foreign {
        /// From whom.
        peer: String,
        /// What is wrong with them.
        source: FrameError,
    },
    /// A frame or message failed its checksum or does not parse.
    #[error("damaged frame from {peer}: {source}; it was not used, connecting again resends it")]
    Damaged {
        /// From whom.
        peer: String,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A body longer than what is accepted at this point.
    #[error("{peer} announced a frame of {len} bytes where at most {limit} are accepted: check its version")]
    TooLong {
        /// From whom (or for whom, when sending).
        peer: String,
        /// Bytes announced.
        len: u64,
        /// Bytes accepted.
        limit: u64,
    },
    /// Not a byte came for too long.
    #[error("{peer} was silent for {after:?}: check that it runs and is reachable")]
    Silent {
        /// Who.
        peer: String,
        /// How long was waited.
        after: Duration,
    },
    /// The peer closed the connection between two frames.
    #[error("{peer} closed the connection")]
    Closed {
        /// Who.
        peer: String,
    },
    /// The peer closed the connection within a frame.
    #[error("{peer} closed the connection inside a frame, after {have} of {want} bytes")]
    CutOff {
        /// Who.
        peer: String,
        /// Bytes of the frame's current part that came.
        have: usize,
        /// Bytes that part has.
        want: usize,
    },
    /// The peer said no.
    #[error("{peer} refuses ({code:?}): {text}")]
    Refused {
        /// Who.
        peer: String,
        /// The kind.
        code: RefuseCode,
        /// The peer's own words, with the remedy.
        text: String,
    },
    /// A frame that does not belong here.
    #[error("{peer} sent {got:?} where {wanted} was expected: check that both ends have the same version")]
    Unexpected {
        /// Who.
        peer: String,
        /// What the state of the session asks for.
        wanted: &'static str,
        /// What came.
        got: FrameKind,
    },
    /// The connection broke.
    #[error("connection to {peer} broke: {source}")]
    Io {
        /// Who.
        peer: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl LinkError {
    /// The error for a frame or message that did not decode.
    #[must_use]
    pub fn from_frame(peer: &str, source: FrameError) -> Self {
        let peer = peer.to_owned();
        match source {
            FrameError::Magic(_) | FrameError::Kind(_) => Self::Foreign { peer, source },
            FrameError::TooLong(len) => Self::TooLong { peer, len: len.into(), limit: formats::wire::MAX_BODY.into() },
            _ => Self::Damaged { peer, source },
        }
    }

    /// Whether trying again later can help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::ConnectionRefused { .. } | Self::ConnectTimeout { .. } => true,
            Self::Connect { .. } | Self::Damaged { .. } | Self::Silent { .. } | Self::Io { .. } => true,
            Self::Closed { .. } | Self::CutOff { .. } => true,
            Self::Refused { code, .. } => matches!(code, RefuseCode::Busy | RefuseCode::Corrupt),
            _ => false,
        }
    }
}

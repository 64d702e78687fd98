//! Frames over a byte stream: what agent and standby share of the network.
//!
//! The bytes of a frame are [`formats::wire`]'s; this crate moves them. A [`Transport`] is any pair of asynchronous
//! byte streams; [`tcp`] makes them from sockets, and a later TLS goes behind the same trait. [`FrameReader`] hands
//! out whole, checksummed frames with bounded bodies; [`FrameWriter`] sends a header and any number of parts without
//! copying them. What a frame means, when to answer and when to give up is the caller's affair.
//!
//! Guarantees: no byte of a body is handed out before its checksum matched; no length is allocated before it was
//! bounded ([`HELLO_BODY_LIMIT`] until [`FrameReader::accept_large_bodies`] is called, then
//! [`formats::wire::MAX_BODY`]); a silent or half-silent peer ends in a time-out; nothing but a loopback address is
//! used without the caller's explicit word, because the link is neither encrypted nor authenticated.
#![forbid(unsafe_code)]

mod error;
mod frames;
pub mod tcp;
mod transport;

pub use error::LinkError;
pub use frames::{FrameReader, FrameWriter, HELLO_BODY_LIMIT};
pub use tcp::{Listener, TcpTransport, connect};
pub use transport::Transport;

//! Whole frames from and to byte streams.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use formats::wire::{FRAME_HEADER_LEN, FrameHeader, FrameKind, MAX_BODY, Message, Refuse};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::LinkError;

/// Largest body accepted before [`FrameReader::accept_large_bodies`], in bytes: a hello with 64 volumes fits well, and
/// a stranger cannot make this process allocate more.
pub const HELLO_BODY_LIMIT: u32 = 64 << 10;

/// Read ahead of the current frame, in bytes; larger bodies go past this buffer straight into their own.
const READ_AHEAD: usize = 64 << 10;

/// Takes frames out of a byte stream.
///
/// Every method is cancel safe: what was read of an unfinished frame stays here, so a reader may be polled in a
/// `select!` or under a time-out without losing its place.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: BufReader<R>,
    peer: String,
    limit: u32,
    head: BytesMut,
    /// The header of the frame whose body is being read.
    current: Option<FrameHeader>,
    body: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that accepts bodies up to [`HELLO_BODY_LIMIT`]. `peer` names the other end in errors.
    pub fn new(source: R, peer: &str) -> Self {
        Self {
            source: BufReader::with_capacity(READ_AHEAD, source),
            peer: peer.to_owned(),
            limit: HELLO_BODY_LIMIT,
            head: BytesMut::with_capacity(FRAME_HEADER_LEN),
            current: None,
            body: BytesMut::new(),
        }
    }

    /// Accepts bodies up to [`MAX_BODY`] from now on: the peer has introduced itself.
    pub fn accept_large_bodies(&mut self) {
        self.limit = MAX_BODY;
    }

    /// The other end's name.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The next frame, its checksums verified.
    ///
    /// # Errors
    /// The peer closed, sent something else than frames, or the connection broke. The reader is of no use afterwards.
    pub async fn read_frame(&mut self) -> Result<(FrameHeader, Bytes), LinkError> {
        while !self.step().await? {}
        self.take_frame()
    }

    /// As [`Self::read_frame`], but gives up when not a single byte arrives for `idle`. A slow frame that moves on is
    /// waited for.
    ///
    /// # Errors
    /// [`LinkError::Silent`] on time-out, else as [`Self::read_frame`].
    pub async fn read_frame_idle(&mut self, idle: Duration) -> Result<(FrameHeader, Bytes), LinkError> {
        loop {
            let Ok(stepped) = timeout(idle, self.step()).await else {
                return Err(self.silent(idle));
            };
            if stepped? {
                return self.take_frame();
            }
        }
    }

    /// The message that must come next, whole, within `within`: for the exchange of hellos, where a peer that drips
    /// single bytes must not hold a place.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when the peer sent a refusal instead, [`LinkError::Unexpected`] on another kind,
    /// [`LinkError::Silent`] on time-out, else as [`Self::read_frame`].
    pub async fn read_message_within<M: Message>(&mut self, within: Duration) -> Result<M, LinkError> {
        let deadline = Instant::now() + within;
        let Ok(frame) = timeout_at(deadline, self.read_frame()).await else {
            return Err(self.silent(within));
        };
        let (header, body) = frame?;
        self.decode(&header, &body)
    }

    /// The message `M` in a frame, or why it is none.
    ///
    /// # Errors
    /// [`LinkError::Refused`], [`LinkError::Unexpected`] or [`LinkError::Damaged`].
    pub fn decode<M: Message>(&self, header: &FrameHeader, body: &[u8]) -> Result<M, LinkError> {
        let damaged = |source| LinkError::from_frame(&self.peer, source);
        if header.kind == M::KIND {
            return M::from_body(body).map_err(damaged);
        }
        if header.kind == FrameKind::Refuse {
            let refuse = Refuse::from_body(body).map_err(damaged)?;
            let text = refuse.text.to_string_lossy();
            return Err(LinkError::Refused { peer: self.peer.clone(), code: refuse.code, text });
        }
        Err(LinkError::Unexpected { peer: self.peer.clone(), wanted: M::NAME, got: header.kind })
    }

    /// Reads once; true when a whole frame lies ready.
    async fn step(&mut self) -> Result<bool, LinkError> {
        if let Some(header) = self.current {
            return self.step_body(header.body_len as usize).await;
        }
        let missing = FRAME_HEADER_LEN - self.head.len();
        let got = self.source.read_buf(&mut (&mut self.head).limit(missing)).await;
        self.check_progress(got, self.head.len(), FRAME_HEADER_LEN, self.head.is_empty())?;
        if self.head.len() < FRAME_HEADER_LEN {
            return Ok(false);
        }
        let header = self.parse_head()?;
        self.current = Some(header);
        Ok(header.body_len == 0)
    }

    async fn step_body(&mut self, want: usize) -> Result<bool, LinkError> {
        let missing = want - self.body.len();
        if missing > 0 {
            let got = self.source.read_buf(&mut (&mut self.body).limit(missing)).await;
            self.check_progress(got, self.body.len(), want, false)?;
        }
        Ok(self.body.len() == want)
    }

    fn check_progress(&self, got: io::Result<usize>, have: usize, want: usize, idle: bool) -> Result<(), LinkError> {
        let peer = || self.peer.clone();
        match got {
            Ok(0) if idle => Err(LinkError::Closed { peer: peer() }),
            Ok(0) => Err(LinkError::CutOff { peer: peer(), have, want }),
            Ok(_) => Ok(()),
            Err(source) => Err(LinkError::Io { peer: peer(), source }),
        }
    }

    /// Checks the header that was read and makes room for its body, whose length is bounded by then.
    fn parse_head(&mut self) -> Result<FrameHeader, LinkError> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        bytes.copy_from_slice(&self.head);
        self.head.clear();
        let header = FrameHeader::decode(&bytes).map_err(|source| LinkError::from_frame(&self.peer, source))?;
        if header.body_len > self.limit {
            let (len, limit) = (header.body_len.into(), self.limit.into());
            return Err(LinkError::TooLong { peer: self.peer.clone(), len, limit });
        }
        self.body = BytesMut::with_capacity(header.body_len as usize);
        Ok(header)
    }

    fn take_frame(&mut self) -> Result<(FrameHeader, Bytes), LinkError> {
        let header = self.current.take().expect("a whole frame was read");
        let body = std::mem::take(&mut self.body).freeze();
        header.check_body(&body).map_err(|source| LinkError::from_frame(&self.peer, source))?;
        Ok((header, body))
    }

    fn silent(&self, after: Duration) -> LinkError {
        LinkError::Silent { peer: self.peer.clone(), after }
    }
}

/// Puts frames into a byte stream.
///
/// Not cancel safe: a dropped send may leave half a frame behind, so the connection must be closed then. There is no
/// time-out here, since a peer may stop reading for good reasons (its journal is full) and still be alive; whether it
/// is alive is seen on the reading side.
#[derive(Debug)]
pub struct FrameWriter<W> {
    sink: W,
    peer: String,
    last_sent: Instant,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer; `peer` names the other end in errors.
    pub fn new(sink: W, peer: &str) -> Self {
        Self { sink, peer: peer.to_owned(), last_sent: Instant::now() }
    }

    /// The other end's name.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// When something should be sent again so that the peer hears from us every `interval`.
    #[must_use]
    pub fn keepalive_due(&self, interval: Duration) -> Instant {
        self.last_sent + interval
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// As [`Self::send_frame`].
    pub async fn send_message<M: Message>(&mut self, message: &M) -> Result<(), LinkError> {
        self.send_frame(M::KIND, 0, &[&message.to_body()]).await
    }

    /// Says that we are alive.
    ///
    /// # Errors
    /// As [`Self::send_frame`].
    pub async fn send_keepalive(&mut self) -> Result<(), LinkError> {
        self.send_frame(FrameKind::KeepAlive, 0, &[]).await
    }

    /// Sends one frame whose body is `parts` one after the other, without copying them. `number` is 0 but for entry
    /// frames.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] above [`MAX_BODY`] (nothing was sent then), or the connection broke.
    pub async fn send_frame(&mut self, kind: FrameKind, number: u64, parts: &[&[u8]]) -> Result<(), LinkError> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if len > u64::from(MAX_BODY) {
            return Err(LinkError::TooLong { peer: self.peer.clone(), len, limit: MAX_BODY.into() });
        }
        let header = FrameHeader::for_body(kind, number, parts).encode();
        let mut slices = Vec::with_capacity(parts.len() + 1);
        slices.push(IoSlice::new(&header));
        slices.extend(parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)));
        let sent = write_all_vectored(&mut self.sink, &mut slices).await;
        sent.map_err(|source| LinkError::Io { peer: self.peer.clone(), source })?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Ends this direction; what was sent before still arrives.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn close(&mut self) -> Result<(), LinkError> {
        let closed = self.sink.shutdown().await;
        closed.map_err(|source| LinkError::Io { peer: self.peer.clone(), source })
    }
}

async fn write_all_vectored<W: AsyncWrite + Unpin>(sink: &mut W, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match sink.write_vectored(slices).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    sink.flush().await
}

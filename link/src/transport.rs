//! The seam between frames and what carries them.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::frames::{FrameReader, FrameWriter};

/// A connected, ordered, reliable byte stream to one peer, that can be split into its two directions.
pub trait Transport: Send + 'static {
    /// What the peer's bytes are read from.
    type Reader: AsyncRead + Send + Unpin + 'static;
    /// What bytes for the peer are written to.
    type Writer: AsyncWrite + Send + Unpin + 'static;

    /// The peer as a person would name it; it goes into error messages and `status`.
    fn peer(&self) -> String;

    /// Both directions, to be used independently of each other.
    fn split(self) -> (Self::Reader, Self::Writer);

    /// Both directions, framed.
    fn into_frames(self) -> (FrameReader<Self::Reader>, FrameWriter<Self::Writer>)
    where
        Self: Sized,
    {
        let peer = self.peer();
        let (reader, writer) = self.split();
        (FrameReader::new(reader, &peer), FrameWriter::new(writer, &peer))
    }
}

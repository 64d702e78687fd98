//! One primary's connection, from hello to end. Policy is the engine's; this moves frames.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::wire::{FrameHeader, FrameKind, HashReply, HashRequest, Hello, Refuse, RefuseCode};
use link::{FrameReader, FrameWriter, LinkError, Transport};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use super::frame::{Frame, FrameFault};
use super::hash::HashError;
use super::shared::{SessionId, Shared, Signal};

/// How long a peer may take for its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refusal may take to be sent before the connection is dropped without it.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after an acknowledgement: those that fall due meanwhile go together.
const ACK_PAUSE: Duration = Duration::from_micros(500);

/// Why a session ended, other than by the primary's wish.
#[derive(Error, Debug)]
pub(super) enum SessionEnd {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{peer} was refused: {text}")]
    Refused { peer: String, code: RefuseCode, text: String },
    #[error("damaged entries from {peer}: {fault}; they were not used, connecting again resends them")]
    Damaged { peer: String, fault: FrameFault },
    #[error("the standby is stopping")]
    Stopping,
    #[error("the standby's device lost writes that it had taken; they are applied again from the journal, try again")]
    Rewinding,
}

/// What the writing half is asked to send.
enum Outgoing {
    Hashes(HashReply),
    /// The last thing sent.
    Farewell(Refuse),
}

/// Serves one connection to its end and tells `shared` why it ended.
pub(super) async fn serve<T: Transport>(shared: Arc<Shared>, transport: T) {
    let (mut reader, mut writer) = transport.into_frames();
    let hello = reader.read_message_within::<Hello>(HELLO_TIMEOUT).await;
    let end = match hello {
        Err(error) => Err(stranger(&mut writer, error).await),
        Ok(hello) => welcome_and_run(&shared, reader, writer, hello).await,
    };
    if let Err(end) = end {
        shared.note_link_error(&end);
    }
}

/// Answers somebody who did not say hello properly, as far as it may be understood there.
async fn stranger<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, error: LinkError) -> SessionEnd {
    if let LinkError::Damaged { .. } | LinkError::Unexpected { .. } = &error {
        let text = format!("{error}; this standby speaks {}", versions());
        farewell(writer, &Refuse { code: RefuseCode::Unexpected, text: text.as_str().into() }).await;
    }
    error.into()
}

fn versions() -> String {
    format!("versions {} to {}", formats::wire::MIN_VERSION, formats::wire::VERSION)
}

async fn farewell<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, refuse: &Refuse) {
    // The peer may be gone or not listening; it is told as far as it can be.
    let _ = timeout(FAREWELL, async {
        writer.send_message(refuse).await?;
        writer.close().await
    })
    .await;
}

async fn welcome_and_run<R, W>(
    shared: &Arc<Shared>,
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    hello: Hello,
) -> Result<(), SessionEnd>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let peer = reader.peer().to_owned();
    let begun = tokio::task::spawn_blocking({
        let (shared, peer) = (Arc::clone(shared), peer.clone());
        move || shared.begin_session(&hello, &peer)
    });
    let (id, welcome) = match begun.await.expect("beginning a session does not panic") {
        Ok(begun) => begun,
        Err(refuse) => {
            farewell(&mut writer, &refuse).await;
            return Err(refused(peer, &refuse));
        }
    };
    if let Err(error) = writer.send_message(&welcome).await {
        shared.end_session(id);
        return Err(error.into());
    }
    reader.accept_large_bodies();
    let end = run(shared, id, reader, writer).await;
    shared.end_session(id);
    end
}

fn refused(peer: String, refuse: &Refuse) -> SessionEnd {
    SessionEnd::Refused { peer, code: refuse.code, text: refuse.text.to_string_lossy() }
}

/// Reads and writes until one of the two ends. A failed half ends the session; a farewell is still sent.
async fn run<R, W>(
    shared: &Arc<Shared>,
    id: SessionId,
    mut reader: FrameReader<R>,
    writer: FrameWriter<W>,
) -> Result<(), SessionEnd>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (outbox, outgoing) = mpsc::channel(4);
    let mut writing = tokio::spawn(write(Arc::clone(shared), id, writer, outgoing));
    let end = tokio::select! {
        end = read(shared, id, &mut reader, &outbox) => end,
        written = &mut writing => return written.expect("writing does not panic").map_err(SessionEnd::from),
    };
    if let Some(refuse) = words_for(shared, &end) {
        let _ = timeout(FAREWELL, outbox.send(Outgoing::Farewell(refuse))).await;
    }
    drop(outbox);
    if timeout(FAREWELL, &mut writing).await.is_err() {
        writing.abort();
    }
    end
}

/// What the primary is told about the end of a session.
fn words_for(shared: &Shared, end: &Result<(), SessionEnd>) -> Option<Refuse> {
    let error = end.as_ref().err()?;
    let code = match error {
        SessionEnd::Refused { code, .. } => *code,
        SessionEnd::Damaged { .. } | SessionEnd::Link(LinkError::Damaged { .. }) => RefuseCode::Corrupt,
        SessionEnd::Link(LinkError::Unexpected { .. } | LinkError::Foreign { .. } | LinkError::TooLong { .. }) => {
            RefuseCode::Unexpected
        }
        // A standby that is shut down by its administrator comes back; one that stopped needs help first.
        SessionEnd::Stopping if shared.stop_reason().is_none() => RefuseCode::Busy,
        SessionEnd::Rewinding => RefuseCode::Busy,
        SessionEnd::Stopping => RefuseCode::Stopped,
        SessionEnd::Link(_) => return None,
    };
    let text = match (error, shared.stop_reason()) {
        (SessionEnd::Stopping, Some(reason)) => reason,
        (SessionEnd::Refused { text, .. }, _) => text.clone(),
        _ => error.to_string(),
    };
    Some(Refuse { code, text: text.as_str().into() })
}

async fn read<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    id: SessionId,
    reader: &mut FrameReader<R>,
    outbox: &mpsc::Sender<Outgoing>,
) -> Result<(), SessionEnd> {
    let mut signal = shared.signal();
    loop {
        let (header, body) = tokio::select! {
            biased;
            ended = signal.wait_for(|signal| *signal != Signal::Run) => {
                let rewinds = ended.is_ok_and(|signal| *signal == Signal::Rewind);
                return Err(if rewinds { SessionEnd::Rewinding } else { SessionEnd::Stopping });
            }
            frame = next_frame(shared, reader) => match frame {
                Err(LinkError::Closed { .. }) => return Ok(()),
                frame => frame?,
            },
        };
        handle(shared, id, reader, outbox, &header, body).await?;
    }
}

/// The next frame, once there is room for one. While this waits for room, TCP makes the primary wait.
async fn next_frame<R: AsyncRead + Unpin>(
    shared: &Shared,
    reader: &mut FrameReader<R>,
) -> Result<(FrameHeader, Bytes), LinkError> {
    shared.wait_for_room().await;
    reader.read_frame_idle(shared.config.link_timeout).await
}

async fn handle<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    id: SessionId,
    reader: &FrameReader<R>,
    outbox: &mpsc::Sender<Outgoing>,
    header: &FrameHeader,
    body: Bytes,
) -> Result<(), SessionEnd> {
    match header.kind {
        FrameKind::KeepAlive => Ok(()),
        FrameKind::Entries => entries(shared, id, reader.peer(), header.number, body),
        FrameKind::HashRequest => {
            let request = reader.decode::<HashRequest>(header, &body)?;
            let reply = answer(shared, reader.peer(), request).await?;
            // Nobody takes it any more only when the writing half has failed, which ends the session by itself.
            let _ = outbox.send(Outgoing::Hashes(reply)).await;
            Ok(())
        }
        FrameKind::Refuse => {
            let refuse = reader.decode::<Refuse>(header, &body)?;
            shared.turned_away(&refuse);
            Err(refused(reader.peer().to_owned(), &refuse))
        }
        got => {
            let wanted = "an entry frame, a hash request or a keep-alive";
            Err(LinkError::Unexpected { peer: reader.peer().to_owned(), wanted, got }.into())
        }
    }
}

fn entries(shared: &Shared, id: SessionId, peer: &str, number: u64, body: Bytes) -> Result<(), SessionEnd> {
    let permit = shared.budget.take(body.len() as u64);
    let parsed = Frame::parse(number, body, permit);
    let frame = parsed.map_err(|fault| SessionEnd::Damaged { peer: peer.to_owned(), fault })?;
    shared.receive(id, frame).map_err(|refuse| refused(peer.to_owned(), &refuse))
}

/// The hashes asked for. Nothing else is read meanwhile, so what was received before is all there is.
async fn answer(shared: &Arc<Shared>, peer: &str, request: HashRequest) -> Result<HashReply, SessionEnd> {
    let answered = tokio::task::spawn_blocking({
        let shared = Arc::clone(shared);
        move || shared.hash(&request)
    });
    let answered = answered.await.expect("hashing does not panic");
    let hashes = answered.map_err(|error: HashError| SessionEnd::Refused {
        peer: peer.to_owned(),
        code: RefuseCode::Unexpected,
        text: error.to_string(),
    })?;
    Ok(HashReply { id: request.id, hashes })
}

async fn write<W: AsyncWrite + Unpin>(
    shared: Arc<Shared>,
    id: SessionId,
    mut writer: FrameWriter<W>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> Result<(), LinkError> {
    loop {
        let due = writer.keepalive_due(shared.config.keepalive);
        let heal = shared.resend_wait(id);
        tokio::select! {
            biased;
            item = outgoing.recv() => match item {
                Some(Outgoing::Hashes(reply)) => writer.send_message(&reply).await?,
                Some(Outgoing::Farewell(refuse)) => {
                    farewell(&mut writer, &refuse).await;
                    return Ok(());
                }
                None => return writer.close().await,
            },
            () = shared.acks.notified() => {
                if let Some(ack) = shared.poll_ack(id) {
                    writer.send_message(&ack).await?;
                    sleep(ACK_PAUSE).await;
                }
            }
            () = sleep(heal.unwrap_or_default()), if heal.is_some() => {
                if let Some(resend) = shared.poll_resend(id) {
                    writer.send_message(&resend).await?;
                }
            }
            () = sleep_until(due) => writer.send_keepalive().await?,
        }
    }
}

//! The link thread: connects, ships entries and regions as the engine says, takes acknowledgements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Region};
use formats::wire::{
    Ack, FrameKind, HashReply, HashRequest, Hello, MIN_VERSION, Refuse, RefuseCode, Resend, VERSION, Welcome,
};
use formats::{ByteRange, Position, VolumeIndex};
use journal::{Reader, RealDisk};
use link::{FrameReader, FrameWriter, LinkError, Transport};
use replication::primary::{Resume, Send};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::core::{Core, Engine, LinkState};
use super::regions::{AlignedBytes, Pieces};
use crate::tape;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);
/// The engine is asked again at least this often.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Hashes of consecutive chunks of a volume, asked of the secondary.
pub struct HashQuestion {
    /// Which volume.
    pub volume: VolumeIndex,
    /// Which bytes.
    pub range: ByteRange,
    /// Bytes per hash.
    pub chunk: u32,
    /// Where the answer goes; dropped when the link breaks.
    pub answer: oneshot::Sender<Vec<[u8; 32]>>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("reading the journal: {0}")]
    Journal(#[from] journal::ReadError),
    #[error("{0}")]
    Closed(String),
}

type Questions = Arc<Mutex<HashMap<u64, oneshot::Sender<Vec<[u8; 32]>>>>>;

/// The link to one secondary.
pub struct Shipper {
    core: Arc<Core>,
    /// Place of the secondary in the group.
    place: usize,
    reader: Reader<RealDisk>,
    /// Whether another address than loopback may be used without encryption.
    insecure: bool,
    questions: mpsc::Receiver<HashQuestion>,
    next_question: AtomicU64,
}

impl Shipper {
    /// For the secondary at this place of the group; `insecure` allows other addresses than loopback without encryption.
    /// Questions come by `questions`.
    #[must_use]
    pub fn new(
        core: Arc<Core>,
        place: usize,
        reader: Reader<RealDisk>,
        insecure: bool,
        questions: mpsc::Receiver<HashQuestion>,
    ) -> Self {
        Self { core, place, reader, insecure, questions, next_question: AtomicU64::new(1) }
    }

    fn link(&self) -> &LinkState {
        &self.core.links[self.place]
    }

    fn engine(&self) -> Engine<'_> {
        self.core.engine(self.place)
    }

    /// Runs until the agent stops.
    pub async fn run(mut self) {
        while !self.core.stopping() {
            let now = self.core.now();
            let next = self.engine().poll_send(now);
            if next == Send::Reconnect && !self.core.shipping_ended() {
                self.connect().await;
            } else {
                self.wait().await;
            }
        }
    }

    async fn connect(&mut self) {
        let result = self.session().await;
        let now = self.core.now();
        self.engine().disconnected(now);
        if let Err(error) = result {
            self.note(&error.to_string());
        }
    }

    /// Logs a link error once, however often it comes again.
    fn note(&self, text: &str) {
        let Ok(mut last) = self.link().error.lock() else { return };
        if last.as_deref() != Some(text) && !self.core.stopping() {
            warn!("link to {}: {text}; trying again", self.link().address);
        }
        *last = Some(text.to_owned());
    }

    fn forget_error(&self) {
        if let Ok(mut last) = self.link().error.lock() {
            *last = None;
        }
    }

    async fn session(&mut self) -> Result<(), SessionError> {
        let transport = link::connect(&self.link().address, self.insecure, CONNECT_TIMEOUT).await?;
        let (mut reader, mut writer) = transport.into_frames();
        writer.send_message(&self.hello()).await?;
        let welcome: Welcome = reader.read_message_within(WELCOME_TIMEOUT).await?;
        reader.accept_large_bodies();
        let now = self.core.now();
        let resume = self.engine().connected(now, &welcome);
        self.announce(&welcome, resume);
        let questions = Questions::default();
        let reading = tokio::spawn(read_loop(Arc::clone(&self.core), self.place, reader, Arc::clone(&questions)));
        let result = self.write_loop(&mut writer, &questions, &reading).await;
        if reading.is_finished() {
            if let Ok(Err(error)) = reading.await {
                return Err(error.into());
            }
        } else {
            reading.abort();
        }
        result
    }

    fn hello(&self) -> Hello {
        let volumes = self.core.volumes.iter().map(|volume| volume.identity.clone()).collect();
        Hello {
            min_version: MIN_VERSION,
            max_version: VERSION,
            stream: self.core.stream.0,
            group: self.core.group_name.as_str().into(),
            region_size: self.core.region_bytes,
            volumes,
        }
    }

    fn announce(&self, welcome: &Welcome, resume: Resume) {
        self.forget_error();
        let node = welcome.node.to_string_lossy();
        match resume {
            Resume::Continue { from } => info!("connected to {node}, going on at position {from}"),
            Resume::Covered { from } => {
                info!("connected to {node}, resync of dirty regions, then from position {from}")
            }
            Resume::Full(reason) => info!("connected to {node}, full resync: {reason:?}"),
        }
    }

    async fn write_loop<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
        questions: &Questions,
        reading: &tokio::task::JoinHandle<Result<(), LinkError>>,
    ) -> Result<(), SessionError> {
        while !self.core.stopping() && !reading.is_finished() {
            self.forward_questions(writer, questions).await?;
            let now = self.core.now();
            let next = self.engine().poll_send(now);
            match next {
                Send::Entries { from, max_bytes } => self.send_entries(writer, from, max_bytes).await?,
                Send::Cut(header) => self.send_cut(writer, header).await?,
                Send::Regions(ranges) => self.send_regions(writer, ranges).await?,
                Send::KeepAlive => self.keep_alive(writer).await?,
                Send::Close(reason) => return Err(SessionError::Closed(reason.to_string())),
                Send::Reconnect | Send::Nothing => self.wait().await,
            }
        }
        Ok(())
    }

    /// Until somebody wakes the link, or the engine wants to be asked.
    async fn wait(&mut self) {
        let now = self.core.now();
        let until = self.engine().poll_timeout().map_or(MAX_WAIT, |at| at.saturating_sub(now).min(MAX_WAIT));
        let _ = timeout(until.max(Duration::from_millis(1)), self.link().wake.notified()).await;
    }

    async fn send_entries<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
        from: Position,
        max_bytes: u32,
    ) -> Result<(), SessionError> {
        let batch = self.reader.read(from.0, max_bytes as usize)?;
        let headers: Vec<EntryHeader> = batch.items.iter().map(|(_, header, _)| *header).collect();
        let now = self.core.now();
        let number = self.engine().entries_sent(now, &headers, batch.bytes.len() as u64);
        if number > 0 {
            writer.send_frame(FrameKind::Entries, number, &[&batch.bytes]).await?;
        }
        Ok(())
    }

    async fn send_cut<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
        header: EntryHeader,
    ) -> Result<(), SessionError> {
        let now = self.core.now();
        let number = self.engine().cut_sent(now, HEADER_LEN as u64);
        if number > 0 {
            writer.send_frame(FrameKind::Entries, number, &[&header.encode()]).await?;
        }
        Ok(())
    }

    async fn send_regions<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
        ranges: Vec<(VolumeIndex, ByteRange)>,
    ) -> Result<(), SessionError> {
        if let Some(why) = tape::ended(&self.core.volumes, &ranges) {
            self.engine().regions_failed();
            self.core.end_shipping(&why);
            writer.send_message(&Refuse { code: RefuseCode::Stopped, text: why.as_str().into() }).await?;
            return Err(SessionError::Closed("the copy of the tape has ended".to_owned()));
        }
        let pieces = self.read_regions(writer, ranges).await?;
        if let Some(error) = &pieces.error {
            self.note(&error.to_string());
            if pieces.read.is_empty() {
                self.engine().regions_failed();
                // The device may be gone; it is asked again, but not without a pause.
                sleep(MAX_WAIT).await;
                return Ok(());
            }
            let read = pieces.read.iter().map(|(volume, range, _)| (*volume, *range)).collect();
            self.engine().regions_partly_read(read, &pieces.failed);
        } else if self.engine().region_remaining() == 0 {
            // What could not be read before was read now. Not earlier: the error would be logged with every round.
            self.forget_error();
        }
        let (headers, number) = self.regions_sent(&pieces.read);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * headers.len());
        for (header, (_, _, content)) in headers.iter().zip(&pieces.read) {
            parts.push(&header.0);
            if header.1 > 0 {
                parts.push(content.as_slice());
            }
        }
        writer.send_frame(FrameKind::Entries, number, &parts).await?;
        Ok(())
    }

    /// Reads, however long it takes: a disk tries hard before it gives a block up. The secondary hears of us meanwhile.
    async fn read_regions<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut FrameWriter<W>,
        ranges: Vec<(VolumeIndex, ByteRange)>,
    ) -> Result<Pieces, SessionError> {
        let core = Arc::clone(&self.core);
        let mut reading = tokio::task::spawn_blocking(move || core.readers.read_pieces(&ranges, core.region_bytes));
        loop {
            match timeout(MAX_WAIT, &mut reading).await {
                Ok(read) => return read.map_err(|error| SessionError::Closed(error.to_string())),
                Err(_) => self.stay_alive(writer).await?,
            }
        }
    }

    async fn stay_alive<W: AsyncWrite + Unpin>(&self, writer: &mut FrameWriter<W>) -> Result<(), SessionError> {
        let now = self.core.now();
        let next = self.engine().poll_send(now);
        match next {
            Send::KeepAlive => self.keep_alive(writer).await,
            Send::Close(reason) => Err(SessionError::Closed(reason.to_string())),
            _ => Ok(()),
        }
    }

    async fn keep_alive<W: AsyncWrite + Unpin>(&self, writer: &mut FrameWriter<W>) -> Result<(), SessionError> {
        writer.send_keepalive().await?;
        let now = self.core.now();
        self.engine().keepalive_sent(now);
        Ok(())
    }

    /// Encodes the headers, with the kernel's counter as it stands after the reads, and tells the engine.
    fn regions_sent(&self, read: &[(VolumeIndex, ByteRange, AlignedBytes)]) -> (Vec<([u8; HEADER_LEN], u32)>, u64) {
        let consistent_after = self.core.kernel_seq();
        let now = self.core.now();
        let mut engine = self.engine();
        let (position, last) = (engine.sent(), engine.region_remaining());
        let headers: Vec<_> = read
            .iter()
            .enumerate()
            .map(|(index, (volume, range, content))| {
                let remaining = last + (read.len() - 1 - index) as u64;
                let payload = if range.is_empty() { PayloadInfo::ZERO } else { content.payload() };
                let region = Region { volume: *volume, range: *range, consistent_after, remaining };
                let header = EntryHeader { entry: Entry::Region(region), position, payload };
                (header.encode(), payload.len)
            })
            .collect();
        let bytes = headers.iter().map(|(_, len)| (HEADER_LEN + *len as usize) as u64).sum();
        let number = engine.regions_sent(now, bytes);
        (headers, number)
    }

    async fn forward_questions<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
        waiting: &Questions,
    ) -> Result<(), SessionError> {
        while let Ok(question) = self.questions.try_recv() {
            let id = self.next_question.fetch_add(1, Ordering::Relaxed);
            let request = HashRequest {
                id,
                volume: question.volume.0,
                offset: question.range.offset,
                len: question.range.len,
                chunk: question.chunk,
            };
            if let Ok(mut waiting) = waiting.lock() {
                waiting.insert(id, question.answer);
            }
            writer.send_message(&request).await?;
        }
        Ok(())
    }
}

/// What is asked for again, in words.
fn words_of(resend: &Resend) -> String {
    let bytes = resend.stretches.iter().fold(0, |sum: u64, stretch| sum.saturating_add(stretch.len));
    let first = resend.stretches.first().map(|stretch| stretch.reason.to_string_lossy()).unwrap_or_default();
    format!("{bytes} bytes in {} stretches again, which its device did not take ({first})", resend.stretches.len())
}

/// Takes what the secondary sends until the link breaks.
async fn read_loop<R: AsyncRead + Unpin>(
    core: Arc<Core>,
    place: usize,
    mut reader: FrameReader<R>,
    questions: Questions,
) -> Result<(), LinkError> {
    loop {
        let frame = reader.read_frame().await;
        // Also when it fails: the writing side then sees that this one has ended.
        core.links[place].wake.notify_one();
        let (header, body) = frame?;
        let now = core.now();
        core.engine(place).heard(now);
        match header.kind {
            FrameKind::KeepAlive => {}
            FrameKind::HashReply => {
                let reply: HashReply = reader.decode(&header, &body)?;
                let waiting = questions.lock().ok().and_then(|mut waiting| waiting.remove(&reply.id));
                if let Some(answer) = waiting {
                    // Whoever asked may have given up.
                    let _ = answer.send(reply.hashes);
                }
            }
            FrameKind::Resend => {
                let resend: Resend = reader.decode(&header, &body)?;
                info!("{} asks for {}", reader.peer(), words_of(&resend));
                // A lying peer, as below.
                let _ = core.engine(place).resend(now, &resend);
            }
            _ => {
                let ack: Ack = reader.decode(&header, &body)?;
                // A lying peer: the engine says `Close` with the reason.
                let _ = core.engine(place).ack(now, &ack);
            }
        }
        core.links[place].wake.notify_one();
    }
}

//! The link of the simulated primary: what the engine says is sent to the standby, as the agent does it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use formats::entry::{Entry, EntryHeader, HEADER_LEN, PayloadInfo, Region};
use formats::wire::{Ack, FrameKind, Hello, MIN_VERSION, VERSION, VolumeIdentity, Welcome};
use formats::{ByteRange, VolumeIndex};
use journal::{Reader, RealDisk};
use link::{FrameReader, FrameWriter, Transport};
use replayer::target::Target;
use replication::primary::Send;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::{BLOCK, Core, DEVICE, VOLUME};

/// How long the standby may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The engine is asked again at least this often.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Ships until the end.
///
/// # Errors
/// Whatever breaks the link: between two ends of one process nothing should.
pub(super) fn run(core: &Arc<Core>, mut reader: Reader<RealDisk>, address: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while core.engine().poll_send(core.now()) != Send::Reconnect {
            wait(core).await;
        }
        let (mut frames, mut writer) = link::connect(address, false, PATIENCE).await?.into_frames();
        writer.send_message(&hello(core)).await?;
        let welcome: Welcome = frames.read_message_within(PATIENCE).await?;
        frames.accept_large_bodies();
        core.engine().connected(core.now(), &welcome);
        let acks = tokio::spawn(take_acks(Arc::clone(core), frames));
        ship(core, &mut reader, &mut writer, &acks).await
    })
}

fn hello(core: &Core) -> Hello {
    Hello {
        min_version: MIN_VERSION,
        max_version: VERSION,
        stream: core.stream.0,
        group: "simulated".into(),
        region_size: 64 << 10,
        volumes: vec![VolumeIdentity::blocks(VOLUME, DEVICE, BLOCK)],
    }
}

async fn wait(core: &Core) {
    let now = core.now();
    let until = core.engine().poll_timeout().map_or(MAX_WAIT, |at| at.saturating_sub(now).min(MAX_WAIT));
    let _ = tokio::time::timeout(until.max(Duration::from_millis(1)), core.wake.notified()).await;
}

async fn ship<W: AsyncWrite + Unpin>(
    core: &Core,
    reader: &mut Reader<RealDisk>,
    writer: &mut FrameWriter<W>,
    acks: &JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    while !core.ended() {
        anyhow::ensure!(!acks.is_finished(), "the standby closed the link");
        let next = core.engine().poll_send(core.now());
        match next {
            Send::Entries { from, max_bytes } => {
                let batch = reader.read(from.0, max_bytes as usize)?;
                let headers: Vec<EntryHeader> = batch.items.iter().map(|(_, header, _)| *header).collect();
                let number = core.engine().entries_sent(core.now(), &headers, batch.bytes.len() as u64);
                send(writer, number, &[&batch.bytes]).await?;
            }
            Send::Cut(header) => {
                let number = core.engine().cut_sent(core.now(), HEADER_LEN as u64);
                send(writer, number, &[&header.encode()]).await?;
            }
            Send::Regions(ranges) => send_regions(core, writer, &ranges).await?,
            Send::KeepAlive => {
                writer.send_keepalive().await?;
                core.engine().keepalive_sent(core.now());
            }
            Send::Close(reason) => anyhow::bail!("{reason}"),
            Send::Reconnect | Send::Nothing => wait(core).await,
        }
    }
    Ok(())
}

/// Number 0 says that there is no session to send in any more.
async fn send<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, number: u64, parts: &[&[u8]]) -> anyhow::Result<()> {
    if number > 0 {
        writer.send_frame(FrameKind::Entries, number, parts).await?;
    }
    Ok(())
}

async fn send_regions<W: AsyncWrite + Unpin>(
    core: &Core,
    writer: &mut FrameWriter<W>,
    ranges: &[(VolumeIndex, ByteRange)],
) -> anyhow::Result<()> {
    let mut contents = Vec::new();
    for (_, range) in ranges {
        let mut content = vec![0; range.len as usize];
        core.disk.read(range.offset, &mut content)?;
        contents.push(content);
    }
    let (headers, number) = encode_regions(core, ranges, &contents);
    let parts = headers.iter().zip(&contents).flat_map(|(header, content)| [header.as_slice(), content.as_slice()]);
    let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty()).collect();
    send(writer, number, &parts).await
}

/// The completion counter is read after the content: see the architecture, "why a region may be inserted anywhere".
fn encode_regions(
    core: &Core,
    ranges: &[(VolumeIndex, ByteRange)],
    contents: &[Vec<u8>],
) -> (Vec<[u8; HEADER_LEN]>, u64) {
    let consistent_after = core.seq();
    let mut engine = core.engine();
    let (position, last) = (engine.sent(), engine.region_remaining());
    let header = |(at, (volume, range)): (usize, &(VolumeIndex, ByteRange))| {
        let remaining = last + (ranges.len() - 1 - at) as u64;
        let payload = if range.is_empty() { PayloadInfo::ZERO } else { PayloadInfo::data(&contents[at]) };
        let region = Region { volume: *volume, range: *range, consistent_after, remaining };
        EntryHeader { entry: Entry::Region(region), position, payload }.encode()
    };
    let headers: Vec<_> = ranges.iter().enumerate().map(header).collect();
    let bytes = headers.len() * HEADER_LEN + contents.iter().map(Vec::len).sum::<usize>();
    (headers, engine.regions_sent(core.now(), bytes as u64))
}

async fn take_acks<R: AsyncRead + Unpin>(core: Arc<Core>, mut frames: FrameReader<R>) -> anyhow::Result<()> {
    loop {
        let (header, body) = frames.read_frame().await?;
        core.engine().heard(core.now());
        if header.kind == FrameKind::Ack {
            let ack: Ack = frames.decode(&header, &body)?;
            core.engine().ack(core.now(), &ack)?;
        }
        core.wake.notify_one();
        if core.end.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

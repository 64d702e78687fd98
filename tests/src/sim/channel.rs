//! The primary's end of one link: sends what the engine of that secondary says, takes what comes.

use formats::entry::{Entry, EntryHeader, PayloadInfo, Region};
use formats::wire::{Hello, MIN_VERSION, Message as _, VERSION, VolumeIdentity};
use formats::{ByteRange, Position, Seq, VolumeIndex};
use journal::Reader;
use journal::faulty::{FaultyDisk, Rng};
use replication::group::MemberId;
use replication::primary::{FullReason, Mode, Primary, Resume, Send};

use super::agent::{Agent, ms, text};
use super::coverage::Coverage;
use super::kernel::{BLOCK, Content, Kernel, REGION, bytes_of, encode, sizes};
use super::link::{Link, Message};

/// Regions that were read and will be sent.
struct Reading {
    send_at: u64,
    content: Vec<(VolumeIndex, ByteRange, Vec<u64>)>,
}

/// The link of one member.
pub(super) struct Channel {
    /// The place of its host.
    pub(super) place: usize,
    pub(super) member: MemberId,
    /// The last state of its engine that was noted.
    pub(super) seen: Option<Mode>,
    reading: Option<Reading>,
    awaiting_welcome: Option<u64>,
}

/// What a channel works with for one step.
pub(super) struct Step<'a> {
    pub(super) now: u64,
    pub(super) link: &'a mut Link,
    pub(super) kernel: &'a Kernel,
    /// Whether a connection can be made.
    pub(super) reachable: bool,
    pub(super) rng: &'a mut Rng,
    pub(super) coverage: &'a mut Coverage,
}

impl Agent {
    /// The connection to the standby at this place is gone.
    pub(super) fn disconnected(&mut self, now: u64, place: usize, coverage: &mut Coverage) {
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.place == place) else { return };
        (channel.reading, channel.awaiting_welcome) = (None, None);
        if let Some(engine) = self.group.engine(channel.member) {
            engine.disconnected(ms(now));
            channel.note(engine, coverage);
        }
    }

    /// Takes what has arrived from the standby at this place and sends what is due. False when it closes the connection.
    pub(super) fn communicate(&mut self, place: usize, step: &mut Step<'_>) -> Result<bool, String> {
        let Self { group, channels, journal, stream, .. } = self;
        let Some(channel) = channels.iter_mut().find(|channel| channel.place == place) else { return Ok(true) };
        let engine = group.engine(channel.member).ok_or("a channel of a member that has left")?;
        let open = channel.communicate(engine, &mut journal.reader(), *stream, step)?;
        channel.note(engine, step.coverage);
        Ok(open)
    }
}

impl Channel {
    /// Without a link yet.
    pub(super) fn new(place: usize, member: MemberId) -> Self {
        Self { place, member, seen: None, reading: None, awaiting_welcome: None }
    }

    fn note(&mut self, engine: &Primary, coverage: &mut Coverage) {
        self.seen = coverage.primary(self.seen, engine.mode());
    }

    fn communicate(
        &mut self,
        engine: &mut Primary,
        journal: &mut Reader<FaultyDisk>,
        stream: u64,
        step: &mut Step<'_>,
    ) -> Result<bool, String> {
        let now = step.now;
        while let Some(message) = step.link.at_primary(now) {
            step.coverage.messages += 1;
            if !self.take(now, engine, message, step.coverage)? {
                return Ok(false);
            }
            self.note(engine, step.coverage);
        }
        if self.awaiting_welcome.is_some_and(|since| now > since + 300) {
            return Ok(false);
        }
        self.send_read_regions(engine, step);
        for _ in 0..4 {
            match engine.poll_send(ms(now)) {
                Send::Nothing => break,
                Send::Reconnect if !step.reachable => engine.disconnected(ms(now)),
                Send::Reconnect => {
                    step.link.open();
                    self.awaiting_welcome = Some(now);
                    step.link.send_to_standby(now + 1, Message::Hello(hello(stream)));
                }
                Send::Close(_) => return Ok(false),
                Send::KeepAlive => {
                    engine.keepalive_sent(ms(now));
                    step.link.send_to_standby(now + 1, Message::KeepAlive);
                }
                Send::Entries { from, max_bytes } => send_entries(engine, journal, from, max_bytes, step)?,
                Send::Cut(header) => {
                    let bytes = encode(&header, &[]);
                    let number = engine.cut_sent(ms(now), bytes.len() as u64);
                    step.link.send_to_standby(now + 1 + step.rng.below(3), Message::Entries(number, bytes));
                }
                Send::Regions(ranges) => self.read_regions(now, &ranges, &step.kernel.disk, step.rng),
            }
            self.note(engine, step.coverage);
        }
        Ok(true)
    }

    fn take(
        &mut self,
        now: u64,
        engine: &mut Primary,
        message: Message,
        coverage: &mut Coverage,
    ) -> Result<bool, String> {
        engine.heard(ms(now));
        match message {
            Message::Welcome(welcome) => {
                self.awaiting_welcome = None;
                // What the standby says survives its encoding.
                let welcome = formats::wire::Welcome::from_body(&welcome.to_body()).map_err(text)?;
                let resume = engine.connected(ms(now), &welcome);
                coverage.resumed(&resume);
                match resume {
                    Resume::Full(reason @ (FullReason::Ahead | FullReason::Behind | FullReason::LostAcknowledged)) => {
                        Err(format!("a full resync without need: {reason:?}"))
                    }
                    _ => Ok(true),
                }
            }
            Message::Ack(ack) => engine.ack(ms(now), &ack).map(|()| true).map_err(text),
            Message::Resend(resend) => {
                let resend = formats::wire::Resend::from_body(&resend.to_body()).map_err(text)?;
                engine.resend(ms(now), &resend).map(|()| true).map_err(text)
            }
            Message::Refuse => Ok(false),
            _ => Ok(true),
        }
    }

    fn read_regions(&mut self, now: u64, ranges: &[(VolumeIndex, ByteRange)], disk: &Content, rng: &mut Rng) {
        let read = |(volume, range): &(VolumeIndex, ByteRange)| {
            let blocks = (range.offset / BLOCK) as usize..(range.end() / BLOCK) as usize;
            (*volume, *range, disk[usize::from(volume.0)][blocks].to_vec())
        };
        self.reading = Some(Reading { send_at: now + rng.below(5), content: ranges.iter().map(read).collect() });
    }

    fn send_read_regions(&mut self, engine: &mut Primary, step: &mut Step<'_>) {
        let now = step.now;
        let Some(reading) = self.reading.take_if(|reading| now >= reading.send_at) else { return };
        let Some(reading) = some_unread(reading, engine, step.rng) else { return };
        let mut remaining = engine.region_remaining() + reading.content.len() as u64;
        let mut bytes = Vec::new();
        for (volume, range, tags) in reading.content {
            remaining -= 1;
            let content = bytes_of(&tags);
            let payload =
                if tags.iter().all(|tag| *tag == 0) { PayloadInfo::ZERO } else { PayloadInfo::data(&content) };
            let region = Region { volume, range, consistent_after: Seq(step.kernel.seq), remaining };
            let header = EntryHeader { entry: Entry::Region(region), position: engine.sent(), payload };
            bytes.extend(encode(&header, &content[..payload.len as usize]));
        }
        let number = engine.regions_sent(ms(now), bytes.len() as u64);
        step.link.send_to_standby(now + 1, Message::Entries(number, bytes));
    }
}

/// Now and then the device cannot be read, or not in some places: what is left, if anything is.
fn some_unread(mut reading: Reading, engine: &mut Primary, rng: &mut Rng) -> Option<Reading> {
    if !rng.one_in(20) {
        return Some(reading);
    }
    let (read, failed): (Vec<_>, Vec<_>) = reading.content.into_iter().partition(|_| rng.one_in(2));
    if read.is_empty() {
        engine.regions_failed();
        return None;
    }
    let ranges =
        |of: &[(VolumeIndex, ByteRange, Vec<u64>)]| of.iter().map(|(v, range, _)| (*v, *range)).collect::<Vec<_>>();
    engine.regions_partly_read(ranges(&read), &ranges(&failed));
    reading.content = read;
    Some(reading)
}

fn send_entries(
    engine: &mut Primary,
    journal: &mut Reader<FaultyDisk>,
    from: Position,
    max: u32,
    step: &mut Step<'_>,
) -> Result<(), String> {
    let batch = journal.read(from.0, max as usize).map_err(text)?;
    let headers: Vec<_> = batch.items.iter().map(|(_, header, _)| *header).collect();
    let number = engine.entries_sent(ms(step.now), &headers, batch.bytes.len() as u64);
    step.link.send_to_standby(step.now + 1, Message::Entries(number, batch.bytes));
    Ok(())
}

fn hello(stream: u64) -> Hello {
    let volume = |(index, size): (usize, u64)| VolumeIdentity::blocks(&format!("v{index}"), size, BLOCK as u32);
    Hello {
        min_version: MIN_VERSION,
        max_version: VERSION,
        stream,
        group: "g".into(),
        region_size: REGION,
        volumes: sizes().into_iter().enumerate().map(volume).collect(),
    }
}

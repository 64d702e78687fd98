//! A primary for stories about healing: it has a disk, says what it writes, and sends again what it is asked for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use formats::entry::{Origin, PayloadInfo};
use formats::wire::{Ack, FrameKind, Hello, MIN_VERSION, Resend, Stretch, VERSION, VolumeIdentity, Welcome};
use formats::{ByteRange, Entry, EntryHeader, Op, OpFlags, Position, Record, Region, Seq, Status, VolumeIndex};
use link::{FrameReader, FrameWriter, LinkError, TcpTransport, Transport, connect};
use tokio::runtime::Runtime;

use super::{LONG, SIZE};

const STREAM: u64 = 0xfeed;

struct Session {
    reader: FrameReader<<TcpTransport as Transport>::Reader>,
    writer: FrameWriter<<TcpTransport as Transport>::Writer>,
    frames: u64,
}

pub(super) struct Primary {
    runtime: Runtime,
    session: Option<Session>,
    /// What its volume holds.
    pub(super) disk: Vec<u8>,
    /// All entries that were written, by position.
    log: Vec<Vec<u8>>,
    pub(super) ack: Ack,
    /// What it was asked for and has not sent.
    pub(super) asked: Vec<Stretch>,
}

fn encode(entry: Entry, position: u64, payload: &[u8]) -> Vec<u8> {
    let info = if payload.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(payload) };
    let mut out = Vec::new();
    EntryHeader { entry, position: Position(position), payload: info }.write_to(payload, &mut out);
    out
}

impl Primary {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (disk, log) = (vec![0; SIZE as usize], Vec::new());
        Self { runtime, session: None, disk, log, ack: Ack::default(), asked: Vec::new() }
    }

    /// Connects, as often as it takes, and sends what the standby does not hold, and that nothing is owed.
    pub(super) fn connect(&mut self, address: SocketAddr) -> Welcome {
        let deadline = Instant::now() + LONG;
        let (session, welcome) = loop {
            match self.try_connect(address) {
                Ok(connected) => break connected,
                Err(error) if Instant::now() < deadline => {
                    assert!(error.is_transient(), "{error}");
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.session = Some(session);
        (self.ack, self.asked) = (Ack::default(), Vec::new());
        self.send_region(ByteRange::new(0, 0), welcome.durable, 0);
        for position in welcome.durable..self.log.len() as u64 {
            let entry = self.log[position as usize].clone();
            self.send(&[entry]);
        }
        welcome
    }

    fn try_connect(&self, address: SocketAddr) -> Result<(Session, Welcome), LinkError> {
        self.runtime.block_on(async {
            let transport = connect(&address.to_string(), false, LONG).await?;
            let (mut reader, mut writer) = transport.into_frames();
            let hello = Hello {
                min_version: MIN_VERSION,
                max_version: VERSION,
                stream: STREAM,
                group: "g".into(),
                region_size: 65536,
                volumes: vec![VolumeIdentity::blocks("vol", SIZE, 512)],
            };
            writer.send_message(&hello).await?;
            let welcome = reader.read_message_within(LONG).await?;
            reader.accept_large_bodies();
            Ok((Session { reader, writer, frames: 0 }, welcome))
        })
    }

    /// Breaks the connection off.
    pub(super) fn disconnect(&mut self) {
        self.session = None;
    }

    fn send(&mut self, entries: &[Vec<u8>]) {
        let Some(session) = &mut self.session else { return };
        session.frames += 1;
        let parts: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let sent = self.runtime.block_on(session.writer.send_frame(FrameKind::Entries, session.frames, &parts));
        if sent.is_err() {
            self.session = None;
        }
    }

    fn record(&mut self, op: Op, range: ByteRange, payload: &[u8]) -> u64 {
        let position = self.log.len() as u64 + 1;
        let record = Record {
            seq: Seq(position),
            dep: Seq(position - 1),
            volume: VolumeIndex(0),
            op,
            flags: OpFlags::empty(),
            range,
            status: Status::OK,
            origin: Origin::default(),
        };
        let entry = encode(Entry::Record(record), position, payload);
        self.log.push(entry.clone());
        self.send(&[entry]);
        position
    }

    /// Writes `blocks` of 512 bytes; answers the position.
    pub(super) fn write(&mut self, block: u64, blocks: u64, byte: u8) -> u64 {
        let range = ByteRange::new(block * 512, blocks * 512);
        self.disk[range.offset as usize..range.end() as usize].fill(byte);
        self.record(Op::Write, range, &vec![byte; range.len as usize])
    }

    pub(super) fn flush(&mut self) -> u64 {
        self.record(Op::Flush, ByteRange::new(0, 0), &[])
    }

    fn send_region(&mut self, range: ByteRange, position: u64, remaining: u64) {
        let content = self.disk[range.offset as usize..range.end() as usize].to_vec();
        let consistent_after = Seq(self.log.len() as u64);
        let region = Region { volume: VolumeIndex(0), range, consistent_after, remaining };
        self.send(&[encode(Entry::Region(region), position, &content)]);
    }

    /// Sends everything again that was asked for, in whole regions.
    pub(super) fn send_asked(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let position = self.log.len() as u64;
        let regions: std::collections::BTreeSet<u64> =
            asked.iter().flat_map(|s| s.offset / 65536..(s.offset + s.len).div_ceil(65536)).collect();
        let mut remaining = regions.len() as u64;
        for region in regions {
            remaining -= 1;
            let offset = region * 65536;
            self.send_region(ByteRange::new(offset, 65536.min(SIZE - offset)), position, remaining);
        }
    }

    /// Reads what the standby says until something holds; false when the connection ended before.
    pub(super) fn read_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + LONG;
        while !holds(self) {
            assert!(Instant::now() < deadline, "never came: {what}; {:?}", self.ack);
            let Some(session) = &mut self.session else { return false };
            let Ok((header, body)) = self.runtime.block_on(session.reader.read_frame_idle(LONG)) else {
                self.session = None;
                return false;
            };
            match header.kind {
                FrameKind::KeepAlive => {}
                FrameKind::Refuse => self.session = None,
                FrameKind::Resend => {
                    let resend: Resend = session.reader.decode(&header, &body).unwrap();
                    self.asked.extend(resend.stretches);
                }
                _ => self.ack = session.reader.decode(&header, &body).unwrap(),
            }
        }
        true
    }

    pub(super) fn wait_applied(&mut self, position: u64) {
        assert!(self.read_until("applied", |primary| primary.ack.applied >= position), "the connection ended");
    }

    /// Reads, and sends what is asked for, until the standby says `Consistent` at this position.
    pub(super) fn heal(&mut self, position: u64) {
        let equal = |primary: &Self| {
            primary.ack.applied >= position && primary.ack.data == formats::wire::DataState::Consistent
        };
        while !equal(self) {
            let open = self.read_until("healed", |primary| equal(primary) || !primary.asked.is_empty());
            assert!(open, "the connection ended");
            self.send_asked();
        }
    }
}

//! A primary for stories: it speaks the protocol over a real socket, and does exactly what it is told.

#![allow(dead_code, reason = "each story uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::entry::{Origin, PayloadInfo};
use formats::wire::{
    Ack, FrameKind, HashReply, HashRequest, Hello, MIN_VERSION, Refuse, VERSION, VolumeIdentity, Welcome,
};
use formats::{ByteRange, Entry, EntryHeader, Gap, Op, OpFlags, Position, Record, Region, Seq, Status, VolumeIndex};
use link::{FrameReader, FrameWriter, LinkError, TcpTransport, Transport, connect};
use replayer::standby::{StandbyConfig, StandbyHandle, StandbyService, StandbyStatus};
use replayer::target::{MemoryTarget, Target};
use tokio::runtime::Runtime;

pub(crate) const SIZE: u64 = 4 << 20;
pub(crate) const STREAM: u64 = 0xfeed;
const LONG: Duration = Duration::from_secs(20);

/// An entry with its payload.
pub(crate) type Encoded = Vec<u8>;

pub(crate) fn header(entry: Entry, position: u64, payload: PayloadInfo) -> EntryHeader {
    EntryHeader { entry, position: Position(position), payload }
}

/// A record at `position`, which is its seq as well, that depends on everything through `dep`.
pub(crate) fn record(position: u64, dep: u64, op: Op, range: (u64, u64), payload: &[u8]) -> Encoded {
    let record = Record {
        seq: Seq(position),
        dep: Seq(dep),
        volume: VolumeIndex(0),
        op,
        flags: OpFlags::empty(),
        range: ByteRange::new(range.0, range.1),
        status: Status::OK,
        origin: Origin::default(),
    };
    let info = if payload.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(payload) };
    encode(&header(Entry::Record(record), position, info), payload)
}

pub(crate) fn encode(header: &EntryHeader, payload: &[u8]) -> Encoded {
    let mut out = Vec::new();
    header.write_to(payload, &mut out);
    out
}

/// A write of `len` bytes of value `byte`, after all before it.
pub(crate) fn write(position: u64, offset: u64, len: usize, byte: u8) -> Encoded {
    record(position, position - 1, Op::Write, (offset, len as u64), &vec![byte; len])
}

pub(crate) fn flush(position: u64) -> Encoded {
    record(position, position - 1, Op::Flush, (0, 0), &[])
}

pub(crate) fn gap(position: u64, first: u64, last: u64) -> Encoded {
    encode(&header(Entry::Gap(Gap { first: Seq(first), last: Seq(last) }), position, PayloadInfo::NONE), &[])
}

/// Content read back, sent behind `position`.
pub(crate) fn region(position: u64, offset: u64, payload: &[u8], consistent_after: u64, remaining: u64) -> Encoded {
    let range = ByteRange::new(offset, payload.len() as u64);
    let region = Region { volume: VolumeIndex(0), range, consistent_after: Seq(consistent_after), remaining };
    let info = if payload.is_empty() { PayloadInfo::NONE } else { PayloadInfo::data(payload) };
    encode(&header(Entry::Region(region), position, info), payload)
}

pub(crate) fn hello() -> Hello {
    Hello {
        min_version: MIN_VERSION,
        max_version: VERSION,
        stream: STREAM,
        group: "g".into(),
        region_size: 65536,
        volumes: vec![VolumeIdentity::blocks("vol", SIZE, 512)],
    }
}

/// A standby on memory, whose directory and target outlive its restarts.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) target: Arc<MemoryTarget>,
    pub(crate) adjust: fn(&mut StandbyConfig),
}

/// Keeps a target from changing until dropped, also when a story fails.
pub(crate) struct Held(Arc<MemoryTarget>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set_held(false);
    }
}

impl Fixture {
    pub(crate) fn hold(&self) -> Held {
        self.target.set_held(true);
        Held(Arc::clone(&self.target))
    }

    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), target: Arc::new(MemoryTarget::new("mem", SIZE)), adjust: |_| {} }
    }

    pub(crate) fn config(&self) -> StandbyConfig {
        let mut config = config(self.dir.path(), Path::new("mem"));
        (self.adjust)(&mut config);
        config
    }

    pub(crate) fn start(&self) -> StandbyHandle {
        let target: Arc<dyn Target> = self.target.clone();
        StandbyService::start_on(self.config(), vec![("vol".into(), target)]).unwrap()
    }

    /// What a kill -9 at this moment leaves behind: a copy of the directory, with the target as it is.
    pub(crate) fn killed(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copied = std::process::Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(format!("{}/.", self.dir.path().display()))
            .arg(dir.path())
            .status();
        assert!(copied.unwrap().success());
        let target = Arc::new(MemoryTarget::new("mem", SIZE));
        target.write(0, &self.target.content(), false).unwrap();
        Self { dir, target, adjust: self.adjust }
    }
}

pub(crate) fn config(dir: &Path, target: &Path) -> StandbyConfig {
    let mut config = StandbyConfig::new("127.0.0.1:0", dir.to_owned(), vec![("vol".into(), target.to_owned())]);
    config.journal_bytes = 128 << 20;
    config.depth = 4;
    config.checkpoint_interval = Duration::from_millis(30);
    config.keepalive = Duration::from_millis(50);
    config.link_timeout = Duration::from_secs(2);
    config
}

pub(crate) fn wait_for(handle: &StandbyHandle, what: &str, holds: impl Fn(&StandbyStatus) -> bool) -> StandbyStatus {
    let deadline = Instant::now() + LONG;
    loop {
        let status = handle.status();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never came: {what}; {status:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The primary's end of a session.
pub(crate) struct Primary {
    runtime: Runtime,
    reader: FrameReader<<TcpTransport as Transport>::Reader>,
    writer: FrameWriter<<TcpTransport as Transport>::Writer>,
    frames: u64,
    pub(crate) ack: Ack,
}

impl Primary {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let transport = runtime.block_on(connect(&address.to_string(), false, LONG)).unwrap();
        let (mut reader, writer) = runtime.block_on(async { transport.into_frames() });
        reader.accept_large_bodies();
        Self { runtime, reader, writer, frames: 0, ack: Ack::default() }
    }

    /// Connects and says `hello`.
    pub(crate) fn open(address: SocketAddr, hello: &Hello) -> Result<(Self, Welcome), LinkError> {
        let mut primary = Self::connect(address);
        let welcome = primary.hello(hello)?;
        Ok((primary, welcome))
    }

    /// As [`Self::open`], again while the standby has something to finish first.
    pub(crate) fn open_patiently(address: SocketAddr, hello: &Hello) -> (Self, Welcome) {
        let deadline = Instant::now() + LONG;
        loop {
            match Self::open(address, hello) {
                Ok(opened) => return opened,
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<Welcome, LinkError> {
        self.runtime.block_on(async {
            self.writer.send_message(hello).await?;
            self.reader.read_message_within(LONG).await
        })
    }

    pub(crate) fn send(&mut self, entries: &[Encoded]) {
        self.frames += 1;
        self.send_numbered(self.frames, entries);
    }

    pub(crate) fn send_numbered(&mut self, number: u64, entries: &[Encoded]) {
        let parts: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        self.runtime.block_on(self.writer.send_frame(FrameKind::Entries, number, &parts)).unwrap();
    }

    /// Sends without waiting for more than `within`; false when the standby does not read.
    pub(crate) fn try_send(&mut self, entries: &[Encoded], within: Duration) -> bool {
        self.frames += 1;
        let parts: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let sending = self.writer.send_frame(FrameKind::Entries, self.frames, &parts);
        self.runtime.block_on(async { tokio::time::timeout(within, sending).await.is_ok() })
    }

    /// Reads acknowledgements until one is as wanted.
    pub(crate) fn wait_ack(&mut self, what: &str, wanted: impl Fn(&Ack) -> bool) -> Ack {
        let deadline = Instant::now() + LONG;
        while !wanted(&self.ack) {
            assert!(Instant::now() < deadline, "no acknowledgement of {what}; last {:?}", self.ack);
            let (header, body) = self.runtime.block_on(self.reader.read_frame_idle(LONG)).unwrap();
            if header.kind != FrameKind::KeepAlive {
                let ack: Ack = self.reader.decode(&header, &body).unwrap();
                assert!(ack.durable_frame <= ack.received_frame && ack.applied_frame <= ack.durable_frame);
                assert!(ack.received_frame >= self.ack.received_frame && ack.applied >= self.ack.applied);
                self.ack = ack;
            }
        }
        self.ack
    }

    pub(crate) fn wait_applied(&mut self, position: u64) -> Ack {
        self.wait_ack("applied", |ack| ack.applied >= position)
    }

    /// The refusal that must come, whatever acknowledgements come before.
    pub(crate) fn wait_refusal(&mut self) -> Refuse {
        loop {
            let (header, body) = self.runtime.block_on(self.reader.read_frame_idle(LONG)).unwrap();
            if header.kind == FrameKind::Refuse {
                return self.reader.decode(&header, &body).unwrap();
            }
        }
    }

    pub(crate) fn hashes(&mut self, request: &HashRequest) -> Result<HashReply, LinkError> {
        self.runtime.block_on(async {
            self.writer.send_message(request).await?;
            loop {
                let (header, body) = self.reader.read_frame_idle(LONG).await?;
                if !matches!(header.kind, FrameKind::KeepAlive | FrameKind::Ack) {
                    return self.reader.decode(&header, &body);
                }
            }
        })
    }
}

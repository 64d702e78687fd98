//! Reads a capture: what is whole of it, and where it ends.

use std::collections::VecDeque;
use std::io::{Chain, Cursor, ErrorKind, Read};

use formats::{Crc32c, Entry, EntryHeader};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, PcapNgReadError, PcapNgReader};
use serde::de::DeserializeOwned;

use crate::error::ReadError;
use crate::iscsi;
use crate::meta::{Device, FORMAT, Section, Statistics};
use crate::option::{self, Content, PRIVATE_ENTERPRISE_NUMBER};
use crate::packet::Packet;

/// Largest block that is read, in bytes: far above what the writer makes.
pub(crate) const MAX_BLOCK: usize = 1 << 20;
/// First bytes of every pcapng file: the type of a section header block.
pub(crate) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// An entry as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedEntry {
    /// Its header, as it was given to the writer.
    pub header: EntryHeader,
    /// The content of its range; from the first byte on as much as the file keeps.
    pub content: Vec<u8>,
    /// The trailer of its payload ([`formats::command`]); empty without.
    pub trailer: Vec<u8>,
    /// Bytes of the payload that the file does not keep; 0 when all is here and matches its checksum.
    pub missing: u32,
}

impl CapturedEntry {
    /// The payload as it was given to the writer; None when the file does not keep all of it.
    #[must_use]
    pub fn payload(&self) -> Option<Vec<u8>> {
        (self.missing == 0).then(|| [self.content.as_slice(), &self.trailer].concat())
    }
}

/// What a capture holds, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An entry.
    Entry(Box<CapturedEntry>),
    /// A moment that was marked.
    Mark {
        /// When, in nanoseconds since 1970, UTC.
        at_ns: u64,
        /// Its text.
        text: String,
    },
    /// What came of the capture, at its end.
    Statistics(Box<Statistics>),
}

/// Bytes behind the last whole thing in a file that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the last whole thing ends.
    pub offset: u64,
    /// Bytes after that.
    pub bytes: u64,
}

/// Reads a capture from any input.
pub struct Reader<R: Read> {
    input: PcapNgReader<Counted<Chain<Cursor<Vec<u8>>, R>>>,
    assembly: Assembly<VecDeque<Item>>,
    section: Section,
    tail: Option<Tail>,
}

/// Counts what was read, and notices the end.
struct Counted<R> {
    input: R,
    bytes: u64,
    ended: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// Gets what was put together, in the order of the file.
pub trait Sink {
    /// An entry.
    fn entry(&mut self, entry: CapturedEntry);
    /// Something else.
    fn other(&mut self, item: Item);
}

impl Sink for VecDeque<Item> {
    fn entry(&mut self, entry: CapturedEntry) {
        self.push_back(Item::Entry(Box::new(entry)));
    }

    fn other(&mut self, item: Item) {
        self.push_back(item);
    }
}

/// What is known between blocks.
#[derive(Default)]
pub(crate) struct Assembly<S> {
    /// By interface; None of one that is no device's.
    pub(crate) interfaces: Vec<Option<Device>>,
    pub(crate) pending: Option<Pending>,
    pub(crate) ready: S,
    /// Where the last whole thing ends.
    pub(crate) whole: u64,
    pub(crate) foreign: u64,
}

/// An entry whose data are still to come.
pub(crate) struct Pending {
    /// Where its packet begins.
    offset: u64,
    interface: u32,
    number: Option<u32>,
    header: EntryHeader,
    inline_at: usize,
    frames_len: u64,
    /// Bytes of data that have passed, kept or not.
    passed: u64,
    content: Vec<u8>,
    inline: Vec<u8>,
    rest: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When the input is no capture of ours, or fails.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut first = Vec::new();
        input.by_ref().take(SECTION_HEADER.len() as u64).read_to_end(&mut first).map_err(ReadError::Io)?;
        if first.is_empty() {
            return Err(ReadError::Empty);
        }
        if first != SECTION_HEADER {
            return Err(ReadError::NotPcapng { starts: first });
        }
        let counted = Counted { input: Cursor::new(first).chain(input), bytes: 0, ended: false };
        let input = PcapNgReader::with_capacity(counted, MAX_BLOCK).map_err(|error| failed(error, 0))?;
        let section = section_of(input.section())?;
        let assembly = Assembly { whole: input.bytes_parsed(), ..Assembly::default() };
        Ok(Self { input, assembly, section, tail: None })
    }

    /// Where, when and how it was captured.
    #[must_use]
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// The devices, in the order of their interfaces: all of them after the first item.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.assembly.interfaces.iter().flatten()
    }

    /// What is left behind the last whole thing, after the end was reached; None when nothing is.
    #[must_use]
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Packets that are none of ours, and were passed over.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.assembly.foreign
    }

    /// Bytes read so far, of whole blocks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.input.bytes_parsed()
    }

    /// The next item; None at the end, whether the file was ended in order or cut (see [`Self::tail`]).
    ///
    /// # Errors
    /// When the input fails or is damaged. Nothing more can be read then.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.assembly.ready.pop_front() {
                return Ok(Some(item));
            }
            let offset = self.input.bytes_parsed();
            let block = match self.input.next_block() {
                Some(Ok((block, _))) => block,
                Some(Err(error)) => return self.stopped(error, offset).map(|()| None),
                None => {
                    self.ended();
                    return Ok(self.assembly.ready.pop_front());
                }
            };
            self.assembly.block(block, offset)?;
            self.assembly.settle(self.input.bytes_parsed());
        }
    }

    /// The end of the input in the middle of a block is the end of what was written; other errors are damage.
    fn stopped(&mut self, error: PcapNgReadError, offset: u64) -> Result<(), ReadError> {
        let is_end = matches!(&error, PcapNgReadError::Io(error) if error.kind() == ErrorKind::UnexpectedEof);
        if is_end && self.input.get_ref().ended {
            self.ended();
            return Ok(());
        }
        Err(failed(error, offset))
    }

    fn ended(&mut self) {
        let (whole, bytes) = (self.assembly.whole, self.input.get_ref().bytes);
        self.tail = (bytes > whole).then(|| Tail { offset: whole, bytes: bytes - whole });
    }
}

fn failed(error: PcapNgReadError, offset: u64) -> ReadError {
    match error {
        PcapNgReadError::Io(error) if error.kind() == ErrorKind::UnexpectedEof && offset == 0 => ReadError::Empty,
        PcapNgReadError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ReadError::TooLarge { offset, max: MAX_BLOCK }
        }
        PcapNgReadError::Io(error) => ReadError::Io(error),
        error => ReadError::Block { offset, error },
    }
}

fn section_of(block: &SectionHeaderBlock<'_>) -> Result<Section, ReadError> {
    let program = |option: &SectionHeaderOption<'_>| match option {
        SectionHeaderOption::UserApplication(name) => Some(name.to_string()),
        _ => None,
    };
    let common = block.options.iter().filter_map(|option| match option {
        SectionHeaderOption::Common(common) => Some(common),
        _ => None,
    });
    let section: Option<Section> = described("the section", 0, common)?;
    match section {
        Some(section) if section.format == FORMAT => Ok(section),
        Some(section) => Err(ReadError::Format(section.format)),
        None => {
            let program = block.options.iter().find_map(program).unwrap_or_else(|| "an unnamed program".to_owned());
            Err(ReadError::Foreign { program })
        }
    }
}

/// What the first JSON text of ours among these options says.
fn described<'a, T: DeserializeOwned>(
    what: &'static str,
    offset: u64,
    mut options: impl Iterator<Item = &'a CommonOption<'a>>,
) -> Result<Option<T>, ReadError> {
    let text = options.find_map(|option| match option {
        CommonOption::CustomUtf8Copiable(custom) if custom.pen == PRIVATE_ENTERPRISE_NUMBER => Some(&custom.value),
        _ => None,
    });
    let value = text.map(|text| serde_json::from_str(text)).transpose();
    value.map_err(|error| ReadError::Description { offset, what, error })
}

impl<S: Sink> Assembly<S> {
    pub(crate) fn block(&mut self, block: Block<'_>, offset: u64) -> Result<(), ReadError> {
        match block {
            Block::InterfaceDescription(block) => self.interface(&block, offset),
            Block::EnhancedPacket(block) => self.packet(&Packet::from(&block), offset),
            Block::InterfaceStatistics(block) => self.statistics(&block, offset),
            Block::SectionHeader(_) => Err(ReadError::SecondSection { offset }),
            _ => Ok(()),
        }
    }

    /// Everything before `offset` is whole, unless an entry waits for data.
    pub(crate) fn settle(&mut self, offset: u64) {
        if self.pending.is_none() {
            self.whole = offset;
        }
    }

    fn interface(&mut self, block: &InterfaceDescriptionBlock<'_>, offset: u64) -> Result<(), ReadError> {
        let common = block.options.iter().filter_map(|option| match option {
            InterfaceDescriptionOption::Common(common) => Some(common),
            _ => None,
        });
        self.interfaces.push(described("a device", offset, common)?);
        Ok(())
    }

    fn statistics(&mut self, block: &InterfaceStatisticsBlock<'_>, offset: u64) -> Result<(), ReadError> {
        self.give_up(offset)?;
        let common = block.options.iter().filter_map(|option| match option {
            InterfaceStatisticsOption::Common(common) => Some(common),
            _ => None,
        });
        let statistics = described("the statistics", offset, common)?;
        statistics.into_iter().for_each(|statistics| self.ready.other(Item::Statistics(Box::new(statistics))));
        Ok(())
    }

    pub(crate) fn packet(&mut self, packet: &Packet<'_>, offset: u64) -> Result<(), ReadError> {
        let Some(ours) = packet.ours else { return self.frame(packet) };
        self.give_up(offset)?;
        let content = option::decode(ours).map_err(|error| ReadError::Record { offset, error })?;
        match content {
            Content::Mark(text) => {
                let at_ns = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                self.ready.other(Item::Mark { at_ns, text: text.to_owned() });
                Ok(())
            }
            Content::Entry { header, inline, inline_at, frames_len } => {
                let pending = Pending {
                    offset,
                    interface: packet.interface,
                    number: iscsi::task_number(packet.data),
                    header,
                    inline_at: inline_at as usize,
                    frames_len: frames_len.into(),
                    passed: 0,
                    content: Vec::new(),
                    inline: inline.to_vec(),
                    rest: Vec::new(),
                };
                if frames_len == 0 {
                    return self.emit(pending);
                }
                self.pending = Some(pending);
                Ok(())
            }
        }
    }

    /// A packet without a record: data of the entry that waits, an answer, or a stranger.
    fn frame(&mut self, packet: &Packet<'_>) -> Result<(), ReadError> {
        let data = iscsi::data_frame(packet.data);
        match (&mut self.pending, data) {
            (Some(pending), Some(data)) if pending.takes(packet, data) => {
                pending.take(packet, data);
                self.complete()
            }
            _ => {
                let known = iscsi::task_number(packet.data).is_some();
                self.foreign += u64::from(!known);
                Ok(())
            }
        }
    }

    fn complete(&mut self) -> Result<(), ReadError> {
        match self.pending.take_if(|pending| pending.passed >= pending.frames_len) {
            Some(pending) => self.emit(pending),
            None => Ok(()),
        }
    }

    /// Something else comes where data were to come: a program took packets out of the file.
    pub(crate) fn give_up(&mut self, offset: u64) -> Result<(), ReadError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        self.whole = offset;
        self.emit(pending)
    }

    fn emit(&mut self, pending: Pending) -> Result<(), ReadError> {
        self.ready.entry(pending.entry()?);
        Ok(())
    }
}

impl Pending {
    /// Whether these data are the next of this entry.
    fn takes(&self, packet: &Packet<'_>, data: iscsi::DataFrame) -> bool {
        let mine = packet.interface == self.interface && Some(data.number) == self.number;
        mine && u64::from(data.offset) >= self.passed && u64::from(data.offset) < self.frames_len
    }

    /// Keeps what continues what was kept; after a hole nothing does.
    fn take(&mut self, packet: &Packet<'_>, data: iscsi::DataFrame) {
        let (bytes, offset) = (packet.data.get(iscsi::FRAME_HEADER..).unwrap_or_default(), u64::from(data.offset));
        // No more than the header says, and it has a limit.
        let room = self.frames_len.saturating_sub(offset).min(data.len.into()) as usize;
        let bytes = &bytes[..bytes.len().min(room)];
        let in_content = self.inline_at.saturating_sub(data.offset as usize).min(bytes.len());
        let (content, rest) = bytes.split_at(in_content);
        if self.content.len() as u64 == offset {
            self.content.extend_from_slice(content);
        }
        if (self.inline_at + self.rest.len()) as u64 == offset + content.len() as u64 {
            self.rest.extend_from_slice(rest);
        }
        self.passed = offset + u64::from(data.len);
    }

    fn entry(self) -> Result<CapturedEntry, ReadError> {
        let Self { header, content, mut inline, rest, .. } = self;
        inline.extend_from_slice(&rest);
        let kept = (content.len() + inline.len()) as u64;
        let missing = u64::from(header.payload.len).saturating_sub(kept) as u32;
        if missing == 0 && checksum(&content, &inline) != header.payload.crc {
            let seq = match &header.entry {
                Entry::Record(record) => record.seq.0,
                Entry::Gap(gap) => gap.first.0,
                Entry::Region(_) => 0,
            };
            return Err(ReadError::Checksum { offset: self.offset, seq });
        }
        Ok(CapturedEntry { header, content, trailer: inline, missing })
    }
}

/// Of both together. Parts that are empty are the rule, and many together cost more.
fn checksum(content: &[u8], inline: &[u8]) -> Crc32c {
    match (content, inline) {
        (whole, []) | ([], whole) => Crc32c::of(whole),
        parts => Crc32c::of_parts(&[parts.0, parts.1]),
    }
}

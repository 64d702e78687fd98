//! Writes a capture, packet by packet.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use formats::command::{Command as Trailer, Transfer};
use formats::entry::PayloadEncoding;
use formats::{Entry, EntryHeader, Gap, Op, OpFlags, Record, Region, Seq, Status};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::custom::{CustomBinaryOption, CustomUtf8Option};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use serde::Serialize;

use crate::equivalent::{Answer, Scsi, scsi_of};
use crate::error::WriteError;
use crate::identity;
use crate::iscsi::{self, Command, DataFrame, FRAME_HEADER, Response, Task};
use crate::meta::{Device, FORMAT, Section, Statistics};
use crate::option::{self, MAX_INLINE, MAX_MARK, PRIVATE_ENTERPRISE_NUMBER};
use crate::reader::CapturedEntry;

/// Most bytes of data in one frame: Wireshark takes packets of 256 KiB.
pub const MAX_FRAME_DATA: usize = 128 << 10;
/// Longest text of an option, in bytes.
const MAX_TEXT: usize = 60_000;
/// Tag of an exported PDU: the dissector by its name (Wireshark, epan/exported_pdu.h).
const PDU_DISSECTOR_NAME: u16 = 12;
/// The dissector that shows lines of text.
const TEXT_DISSECTOR: &str = "data-text-lines";

/// Writes a capture to any output. It keeps nothing back: what was given is written when the call returns, as far as the
/// output itself does not buffer.
pub struct Writer<W: Write> {
    out: PcapNgWriter<Counted<W>>,
    devices: Vec<Device>,
    /// Commands so far, by device.
    records: Vec<u64>,
    /// The interface of each device.
    interfaces: Vec<u32>,
    kernel: String,
    snap_len: Option<u32>,
    /// Commands so far.
    commands: u32,
    /// The interface of marks and gaps, once there is one.
    notes: Option<u32>,
    last_ns: u64,
    frame: Vec<u8>,
}

/// Counts what goes through.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Writer<W> {
    /// Begins a capture of these devices. `section.snap_len` limits what is kept of each command's content.
    ///
    /// # Errors
    /// When the output fails, or a text is too long.
    pub fn new(out: W, section: &Section, devices: &[Device]) -> Result<Self, WriteError> {
        let section = Section { format: FORMAT, ..section.clone() };
        let options = vec![
            SectionHeaderOption::Hardware(section.machine.as_str().into()),
            SectionHeaderOption::OS(section.kernel.as_str().into()),
            SectionHeaderOption::UserApplication(section.program.as_str().into()),
            SectionHeaderOption::Common(json("the section", &section)?),
        ];
        let block = SectionHeaderBlock { endianness: Endianness::Little, options, ..SectionHeaderBlock::default() };
        let counted = Counted { out, bytes: 0 };
        let mut writer = Self {
            out: PcapNgWriter::with_section_header(counted, block)?,
            devices: Vec::new(),
            records: Vec::new(),
            interfaces: Vec::new(),
            kernel: section.kernel.clone(),
            snap_len: section.snap_len,
            commands: 0,
            notes: None,
            last_ns: section.started_ns,
            frame: Vec::with_capacity(FRAME_HEADER + MAX_FRAME_DATA),
        };
        devices.iter().try_for_each(|device| writer.add_device(device))?;
        Ok(writer)
    }

    /// One more device; its commands may follow.
    ///
    /// # Errors
    /// When the output fails, or a text is too long.
    pub fn add_device(&mut self, device: &Device) -> Result<(), WriteError> {
        use InterfaceDescriptionOption as O;
        let mut options = vec![
            O::IfName(device.name.as_str().into()),
            O::IfDescription(described(device).into()),
            O::IfTsResol(InterfaceTsResolution::NANO),
            O::IfOs(self.kernel.as_str().into()),
        ];
        options.extend(device.model.as_deref().map(|model| O::IfHardware(model.into())));
        options.push(O::Common(json("a device", device)?));
        let block = InterfaceDescriptionBlock { linktype: DataLink::WIRESHARK_UPPER_PDU, snaplen: 0, options };
        self.out.write_pcapng_block(block)?;
        let interface = self.next_interface();
        self.interfaces.push(interface);
        self.records.push(0);
        self.devices.push(device.clone());
        self.identity(interface, device)
    }

    /// Tells tools what kind of device it is that is no disk: they take every device for a disk that did not say.
    fn identity(&mut self, interface: u32, device: &Device) -> Result<(), WriteError> {
        let Some(inquiry) = identity::inquiry(device) else { return Ok(()) };
        let task = Task { volume: device.volume, lun: inquiry.lun, number: 0 };
        let data_len = inquiry.data.len() as u32;
        let command = task.command(&Command { cdb: &inquiry.cdb, writes: false, reads: true, data_len });
        for frame in [command, task.data_in(&inquiry.data)] {
            let options = vec![comment("what the device is; not captured")];
            self.packet(interface, self.last_ns, &frame, frame.len(), options)?;
        }
        Ok(())
    }

    /// The number of the interface that is described next.
    fn next_interface(&self) -> u32 {
        self.devices.len() as u32 + u32::from(self.notes.is_some())
    }

    /// Writes one entry. `payload` is what its header describes.
    ///
    /// # Errors
    /// When the output fails, or header, payload and devices do not belong together. After an error of the output nothing
    /// more can be written.
    pub fn write(&mut self, header: &EntryHeader, payload: &[u8]) -> Result<(), WriteError> {
        if payload.len() != header.payload.len as usize {
            return Err(WriteError::Payload { have: payload.len(), want: header.payload.len });
        }
        match &header.entry {
            Entry::Record(record) => self.record(header, record, payload),
            Entry::Region(region) => self.record(header, &self.as_record(region), payload),
            Entry::Gap(gap) => self.gap(header, *gap),
        }
    }

    /// Writes an entry that was read from a capture, with as much of its content as that kept.
    ///
    /// # Errors
    /// As [`Self::write`]; and when a part of its trailer is missing, which cannot be told in a file.
    pub fn write_captured(&mut self, entry: &CapturedEntry) -> Result<(), WriteError> {
        let (info, kept) = (&entry.header.payload, entry.content.len());
        if entry.trailer.len() != info.trailer as usize {
            return Err(WriteError::Payload { have: entry.trailer.len(), want: info.trailer });
        }
        // What is missing takes its place, and is not written.
        let mut payload = entry.content.clone();
        payload.resize(info.content_len() as usize, 0);
        payload.extend_from_slice(&entry.trailer);
        let limit = self.snap_len;
        if entry.missing > 0 {
            self.snap_len = Some(limit.map_or(kept, |limit| kept.min(limit as usize)) as u32);
        }
        let written = self.write(&entry.header, &payload);
        self.snap_len = limit;
        written
    }

    /// A region read back looks like the write that would leave it so.
    fn as_record(&self, region: &Region) -> Record {
        let at = self.last_ns;
        let origin = formats::entry::Origin { issued_ns: at, completed_ns: at, ..Default::default() };
        Record {
            seq: Seq(1),
            dep: Seq(0),
            volume: region.volume,
            op: Op::Write,
            flags: OpFlags::empty(),
            range: region.range,
            status: Status::OK,
            origin,
        }
    }

    fn record(&mut self, header: &EntryHeader, record: &Record, payload: &[u8]) -> Result<(), WriteError> {
        let place = self.devices.iter().position(|device| device.volume == record.volume.0);
        let place = place.ok_or(WriteError::Volume(record.volume))?;
        let (interface, block_size) = (self.interfaces[place], self.devices[place].block_size);
        let (content, trailer) = payload.split_at(header.payload.content_len() as usize);
        let (inline, data_out) = trailer.split_at(inline_len(trailer));
        let scsi = scsi_of(record, header.payload.encoding, trailer, block_size);
        let frames_len = (content.len() + data_out.len()) as u32;
        let ours = option::encode_entry(header, inline, content.len() as u32, frames_len);
        self.records[place] += 1;
        let task = Task { volume: record.volume.0, lun: scsi.lun, number: self.next_number() };
        let to = To { interface, task };
        let (issued, completed) = (record.origin.issued_ns, record.origin.completed_ns);
        self.command(to, issued, &scsi, &words_of(header, record, &scsi), ours)?;
        let snap_len = self.snap_len.filter(|_| header.payload.encoding == PayloadEncoding::Data);
        let data = Data { bytes: content, place: 0, all: frames_len as usize, snap_len };
        self.data(to, issued, data)?;
        self.data(to, issued, Data { bytes: data_out, place: content.len(), snap_len: None, ..data })?;
        if frames_len == 0 {
            self.data(to, issued, Data { bytes: &scsi.list, place: 0, all: scsi.list.len(), snap_len: None })?;
        }
        self.last_ns = self.last_ns.max(completed);
        match &scsi.answer {
            Some(answer) => self.response(to, completed, answer),
            None => Ok(()),
        }
    }

    /// Counts commands; 0 and the highest number have a meaning in iSCSI.
    fn next_number(&mut self) -> u32 {
        self.commands = if self.commands >= u32::MAX - 1 { 1 } else { self.commands + 1 };
        self.commands
    }

    fn command(&mut self, to: To, at: u64, scsi: &Scsi<'_>, words: &str, ours: Vec<u8>) -> Result<(), WriteError> {
        let command = Command {
            cdb: &scsi.cdb,
            writes: matches!(scsi.transfer, Transfer::Out | Transfer::Both),
            reads: matches!(scsi.transfer, Transfer::In | Transfer::Both),
            data_len: scsi.data_len,
        };
        let frame = to.task.command(&command);
        let mut options = vec![custom(ours)];
        options.extend((!words.is_empty()).then(|| comment(words)));
        self.packet(to.interface, at, &frame, frame.len(), options)
    }

    fn data(&mut self, to: To, at: u64, data: Data<'_>) -> Result<(), WriteError> {
        for (index, chunk) in data.bytes.chunks(MAX_FRAME_DATA).enumerate() {
            let within = index * MAX_FRAME_DATA;
            let offset = data.place + within;
            let snap_len = data.snap_len.map(|snap| (snap as usize).saturating_sub(within));
            let kept = snap_len.unwrap_or(chunk.len()).min(chunk.len());
            let told = DataFrame { number: to.task.number, offset: offset as u32, len: chunk.len() as u32 };
            let is_last = offset + chunk.len() == data.all;
            let frame_number = (data.place.div_ceil(MAX_FRAME_DATA) + index) as u32;
            let original = FRAME_HEADER + iscsi::padded(chunk.len());
            let mut frame = std::mem::take(&mut self.frame);
            frame.clear();
            frame.extend_from_slice(&to.task.data(&told, frame_number, is_last));
            frame.extend_from_slice(&chunk[..kept]);
            if kept == chunk.len() {
                frame.resize(original, 0);
            }
            let written = self.packet(to.interface, at, &frame, original, Vec::new());
            self.frame = frame;
            written?;
        }
        Ok(())
    }

    fn response(&mut self, to: To, at: u64, answer: &Answer<'_>) -> Result<(), WriteError> {
        let response = Response { status: answer.status.to_byte(), residual: answer.residual, sense: &answer.sense };
        let frame = to.task.response(&response);
        let options = answer.comment.as_deref().map(comment).into_iter().collect();
        self.packet(to.interface, at, &frame, frame.len(), options)
    }

    fn packet(
        &mut self,
        interface_id: u32,
        at: u64,
        frame: &[u8],
        original: usize,
        options: Vec<EnhancedPacketOption<'_>>,
    ) -> Result<(), WriteError> {
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(at),
            original_len: original as u32,
            data: Cow::Borrowed(frame),
            options,
        };
        self.out.write_pcapng_block(block)?;
        Ok(())
    }

    /// Completions that are not in the capture: a line of text among the packets.
    fn gap(&mut self, header: &EntryHeader, gap: Gap) -> Result<(), WriteError> {
        let text = format!("completions {} to {} were lost", gap.first, gap.last);
        self.note(self.last_ns, &text, option::encode_entry(header, &[], 0, 0))
    }

    /// Marks a moment, in nanoseconds since 1970, UTC, with a text.
    ///
    /// # Errors
    /// When the output fails, or the text has more than 4096 bytes.
    pub fn mark(&mut self, at_ns: u64, text: &str) -> Result<(), WriteError> {
        if text.len() > MAX_MARK {
            return Err(WriteError::TooLong { what: "a mark", len: text.len(), max: MAX_MARK });
        }
        self.note(at_ns, text, option::encode_mark(text))
    }

    fn note(&mut self, at: u64, text: &str, ours: Vec<u8>) -> Result<(), WriteError> {
        let interface = match self.notes {
            Some(interface) => interface,
            None => self.notes_interface()?,
        };
        let mut pdu = PDU_DISSECTOR_NAME.to_be_bytes().to_vec();
        pdu.extend_from_slice(&(TEXT_DISSECTOR.len().next_multiple_of(4) as u16).to_be_bytes());
        pdu.extend_from_slice(TEXT_DISSECTOR.as_bytes());
        pdu.resize(4 + TEXT_DISSECTOR.len().next_multiple_of(4), 0);
        pdu.extend_from_slice(&[0; 4]);
        pdu.extend_from_slice(text.as_bytes());
        self.packet(interface, at, &pdu, pdu.len(), vec![custom(ours), comment(text)])
    }

    fn notes_interface(&mut self) -> Result<u32, WriteError> {
        let options = vec![
            InterfaceDescriptionOption::IfName("notes".into()),
            InterfaceDescriptionOption::IfDescription("marks, and what was lost".into()),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ];
        let block = InterfaceDescriptionBlock { linktype: DataLink::WIRESHARK_UPPER_PDU, snaplen: 0, options };
        self.out.write_pcapng_block(block)?;
        let interface = self.next_interface();
        self.notes = Some(interface);
        Ok(interface)
    }

    /// Writes what came of the capture: all of it with the first device, where the packets and losses are told in
    /// pcapng's own words too, and with the others how many commands they have.
    ///
    /// # Errors
    /// When the output fails.
    pub fn statistics(&mut self, statistics: &Statistics) -> Result<(), WriteError> {
        use InterfaceStatisticsOption as O;
        let Some(&first) = self.interfaces.first() else { return Ok(()) };
        let timestamp = Duration::from_nanos(statistics.ended_ns);
        for (&interface_id, records) in self.interfaces.iter().zip(&self.records).skip(1) {
            let options = vec![O::IsbUsrDeliv(*records)];
            self.out.write_pcapng_block(InterfaceStatisticsBlock { interface_id, timestamp, options })?;
        }
        // Last, so that whoever finds it has found everything.
        let lost = statistics.lost.commands();
        let options = vec![
            O::IsbEndTime(Duration::from_nanos(statistics.ended_ns)),
            O::IsbIfRecv(statistics.records + lost + statistics.filtered.sum()),
            O::IsbIfDrop(lost),
            O::IsbFilterAccept(statistics.records + lost),
            O::IsbUsrDeliv(statistics.records),
            O::Common(json("the statistics", statistics)?),
        ];
        self.out.write_pcapng_block(InterfaceStatisticsBlock { interface_id: first, timestamp, options })?;
        Ok(())
    }

    /// Hands what the output itself buffers on.
    ///
    /// # Errors
    /// When the output fails.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.out.get_mut().flush()?)
    }

    /// The output, for what only it can do.
    pub fn output(&mut self) -> &mut W {
        &mut self.out.get_mut().out
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.out.get_ref().bytes
    }

    /// The output back, flushed.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.flush()?;
        Ok(self.out.into_inner().out)
    }
}

/// Where packets of a command go.
#[derive(Clone, Copy)]
struct To {
    interface: u32,
    task: Task,
}

/// Data that goes with a command.
#[derive(Clone, Copy)]
struct Data<'a> {
    bytes: &'a [u8],
    /// Where they are in all data of the command.
    place: usize,
    /// How many all are.
    all: usize,
    /// How many of `bytes` are kept.
    snap_len: Option<u32>,
}

/// Bytes of a trailer that stand in the option: all but data-out, as far as there is room.
fn inline_len(trailer: &[u8]) -> usize {
    let head = Trailer::decode(trailer).map_or(trailer.len(), |command| trailer.len() - command.data_out.len());
    head.min(MAX_INLINE)
}

/// What a person is told of a command that its SCSI form does not say.
fn words_of(header: &EntryHeader, record: &Record, scsi: &Scsi<'_>) -> String {
    let read_back = matches!(header.entry, Entry::Region(_)).then(|| "content read back".to_owned());
    let no_payload = header.payload.encoding == PayloadEncoding::None && record.op == Op::Write && record.range.len > 0;
    let no_payload = no_payload.then(|| "payload not captured".to_owned());
    let words: Vec<String> = [read_back, no_payload, scsi.comment.clone()].into_iter().flatten().collect();
    words.join("; ")
}

/// Model, serial number, size and block size in a line.
fn described(device: &Device) -> String {
    let words = [device.model.as_deref(), device.serial.as_deref(), device.address.as_deref()];
    let mut text = words.into_iter().flatten().fold(device.path.clone(), |text, word| text + " " + word);
    if device.size > 0 {
        text += &format!(", {} bytes in blocks of {}", device.size, device.block_size);
    }
    text
}

fn comment(text: &str) -> EnhancedPacketOption<'_> {
    EnhancedPacketOption::Common(CommonOption::Comment(text.into()))
}

fn custom(value: Vec<u8>) -> EnhancedPacketOption<'static> {
    let option = CustomBinaryOption::<true> { pen: PRIVATE_ENTERPRISE_NUMBER, value: value.into() };
    EnhancedPacketOption::Common(CommonOption::CustomBinaryCopiable(option))
}

fn json(what: &'static str, value: &impl Serialize) -> Result<CommonOption<'static>, WriteError> {
    let text = serde_json::to_string(value).map_err(|error| WriteError::Io(error.into()))?;
    if text.len() > MAX_TEXT {
        return Err(WriteError::TooLong { what, len: text.len(), max: MAX_TEXT });
    }
    Ok(CommonOption::CustomUtf8Copiable(CustomUtf8Option { pen: PRIVATE_ENTERPRISE_NUMBER, value: text.into() }))
}

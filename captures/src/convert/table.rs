//! One row per command: CSV and Parquet, with the same columns.

use std::io::Write;
use std::sync::Arc;

use formats::{PayloadEncoding, Record};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{ConvertError, Format, Losses};
use crate::analyze::comm_of;
use crate::meta::Device;
use crate::reader::CapturedEntry;

/// Rows of a row group: what is held in memory.
const GROUP: usize = 1 << 16;

/// Columns of numbers, then those of text. In Parquet numbers are 64 bits: unsigned ones stand as they are.
const NUMBERS: [&str; 12] = [
    "seq",
    "dep",
    "offset",
    "len",
    "status",
    "issued_ns",
    "completed_ns",
    "queue_depth",
    "pid",
    "tgid",
    "cgroup_id",
    "payload_len",
];
const TEXTS: [&str; 6] = ["device", "op", "flags", "payload", "payload_crc32c", "comm"];

/// What no column holds.
const ALWAYS: [&str; 2] = ["content", "CDB and sense data"];

struct Row {
    numbers: [u64; NUMBERS.len()],
    texts: [String; TEXTS.len()],
}

impl Row {
    fn of(record: &Record, entry: &CapturedEntry, devices: &[Device]) -> Self {
        let (origin, payload) = (&record.origin, &entry.header.payload);
        let device = devices.iter().find(|device| device.volume == record.volume.0);
        let encoding = match payload.encoding {
            PayloadEncoding::None => "none",
            PayloadEncoding::Data => "data",
            PayloadEncoding::Zero => "zero",
        };
        let flags: Vec<String> = record.flags.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        Self {
            numbers: [
                record.seq.0,
                record.dep.0,
                record.range.offset,
                record.range.len,
                record.status.0.into(),
                origin.issued_ns,
                origin.completed_ns,
                origin.queue_depth.into(),
                origin.pid.into(),
                origin.tgid.into(),
                origin.cgroup_id,
                payload.len.into(),
            ],
            texts: [
                device.map_or_else(|| record.volume.0.to_string(), |device| device.name.clone()),
                record.op.name().to_owned(),
                flags.join("|"),
                encoding.to_owned(),
                format!("{:08x}", payload.crc.0),
                comm_of(&origin.comm),
            ],
        }
    }
}

/// Lines of comma-separated values.
pub(super) struct Csv<W: Write> {
    out: csv::Writer<W>,
    devices: Vec<Device>,
    headed: bool,
    losses: Losses,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W) -> Self {
        let out = csv::WriterBuilder::new().buffer_capacity(1 << 20).from_writer(out);
        Self { out, devices: Vec::new(), headed: false, losses: Losses::of(&ALWAYS) }
    }

    fn head(&mut self) -> Result<(), ConvertError> {
        if !std::mem::replace(&mut self.headed, true) {
            self.out.write_record(NUMBERS.iter().chain(&TEXTS)).map_err(csv_failed)?;
        }
        Ok(())
    }
}

fn csv_failed(error: csv::Error) -> ConvertError {
    ConvertError::Table { format: Format::Csv, error: error.to_string() }
}

impl<W: Write + Send> super::Export for Csv<W> {
    fn devices(&mut self, devices: &[Device]) -> Result<(), ConvertError> {
        self.devices.extend_from_slice(devices);
        Ok(())
    }

    fn record(&mut self, record: &Record, entry: &CapturedEntry) -> Result<(), ConvertError> {
        self.head()?;
        let row = Row::of(record, entry, &self.devices);
        let fields = row.numbers.iter().map(u64::to_string).chain(row.texts);
        self.out.write_record(fields).map_err(csv_failed)
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn finish(mut self: Box<Self>) -> Result<Losses, ConvertError> {
        self.head()?;
        self.out.flush()?;
        Ok(self.losses)
    }
}

/// A Parquet file.
pub(super) struct Parquet<W: Write + Send> {
    out: SerializedFileWriter<W>,
    devices: Vec<Device>,
    rows: Vec<Row>,
    losses: Losses,
}

fn parquet_failed(error: parquet::errors::ParquetError) -> ConvertError {
    ConvertError::Table { format: Format::Parquet, error: error.to_string() }
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(out: W) -> Result<Self, ConvertError> {
        let numbers = NUMBERS.map(|name| format!("REQUIRED INT64 {name} (INTEGER(64,false));"));
        let texts = TEXTS.map(|name| format!("REQUIRED BYTE_ARRAY {name} (UTF8);"));
        let schema = format!("message commands {{ {} {} }}", numbers.join(" "), texts.join(" "));
        let schema = parse_message_type(&schema).map_err(parquet_failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(parquet_failed)?;
        Ok(Self { out, devices: Vec::new(), rows: Vec::new(), losses: Losses::of(&ALWAYS) })
    }

    fn group(&mut self) -> Result<(), ConvertError> {
        let rows = std::mem::take(&mut self.rows);
        let write = || {
            let mut group = self.out.next_row_group()?;
            for place in 0..NUMBERS.len() {
                let values: Vec<i64> = rows.iter().map(|row| row.numbers[place].cast_signed()).collect();
                let Some(mut column) = group.next_column()? else { break };
                column.typed::<Int64Type>().write_batch(&values, None, None)?;
                column.close()?;
            }
            for place in 0..TEXTS.len() {
                let values: Vec<ByteArray> = rows.iter().map(|row| row.texts[place].as_str().into()).collect();
                let Some(mut column) = group.next_column()? else { break };
                column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
                column.close()?;
            }
            group.close().map(|_| ())
        };
        let mut write = write;
        write().map_err(parquet_failed)
    }
}

impl<W: Write + Send> super::Export for Parquet<W> {
    fn devices(&mut self, devices: &[Device]) -> Result<(), ConvertError> {
        self.devices.extend_from_slice(devices);
        Ok(())
    }

    fn record(&mut self, record: &Record, entry: &CapturedEntry) -> Result<(), ConvertError> {
        self.rows.push(Row::of(record, entry, &self.devices));
        if self.rows.len() >= GROUP { self.group() } else { Ok(()) }
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn finish(mut self: Box<Self>) -> Result<Losses, ConvertError> {
        if !self.rows.is_empty() {
            self.group()?;
        }
        self.out.finish().map_err(parquet_failed)?;
        Ok(self.losses)
    }
}

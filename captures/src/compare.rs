//! What a capture says that a volume holds, against what a device holds.
//!
//! Only what the capture wrote is compared. What it does not tell (losses, failed writes, payload that was not kept) and what
//! was discarded, whose content is the device's business, is told apart.

use std::path::{Path, PathBuf};

use formats::{ByteRange, Entry, Op, Seq};
use serde::Serialize;
use thiserror::Error;

use crate::change::{Content, Done};
use crate::holes::Hole;
use crate::image::{Base, Image, ImageError};
use crate::moment::{Moment, MomentError};
use crate::pieces::Pieces;
use crate::reader::CapturedEntry;
use crate::rebuild::{Follower, LISTED_HOLES, RebuildError};
use crate::select::task_name;
use crate::series::{CutFile, Series, SeriesError};
use crate::time::Utc;

/// Bytes that are compared at once, at multiples of as many.
const STEP: u64 = 1 << 20;
/// Items between two looks at the watch.
const LOOK_EVERY: u64 = 256;

/// What is compared.
pub struct Request<'a> {
    /// The files of the capture, in their order.
    pub files: &'a [PathBuf],
    /// Which volume; needed when there are several.
    pub volume: Option<&'a str>,
    /// At which moment the device is to hold what the volume held.
    pub at: Moment,
    /// The device, in words.
    pub device: &'a Path,
    /// Its size in bytes.
    pub device_size: u64,
    /// Takes a sparse file of as many bytes as were written.
    pub folder: &'a Path,
    /// Differing stretches that are listed; all are counted.
    pub most: usize,
}

/// Reads the device: fills the bytes from a place on. It is asked for places at multiples of 1 MiB.
pub type ReadDevice<'a> = dyn FnMut(u64, &mut [u8]) -> std::io::Result<()> + 'a;

/// What a comparison is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the capture.
    Reading,
    /// Reading the device.
    Comparing,
}

/// Told the stage, and bytes done and in all; false ends it.
pub type Watch<'a> = dyn FnMut(Stage, u64, u64) -> bool + 'a;

/// Why nothing can be compared.
#[derive(Error, Debug)]
pub enum CompareError {
    /// The capture does not tell what the volume held.
    #[error(transparent)]
    Capture(#[from] RebuildError),
    /// The device is too small to be the volume, or a copy of it.
    #[error(
        "{} is no capture, and its {have} bytes cannot be {volume}, which had {want}: name another capture, the device, or an \
         image of it", path.display()
    )]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size in bytes.
        have: u64,
        /// The volume's name.
        volume: String,
        /// The volume's size in bytes.
        want: u64,
    },
    /// The device cannot be read.
    #[error("reading {} at {offset}: {source}", path.display())]
    Device {
        /// Which.
        path: PathBuf,
        /// From this byte on.
        offset: u64,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl From<SeriesError> for CompareError {
    fn from(error: SeriesError) -> Self {
        Self::Capture(error.into())
    }
}

impl From<MomentError> for CompareError {
    fn from(error: MomentError) -> Self {
        Self::Capture(error.into())
    }
}

impl From<ImageError> for CompareError {
    fn from(error: ImageError) -> Self {
        Self::Capture(error.into())
    }
}

/// The command that wrote a stretch last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Writer {
    seq: Seq,
    /// None of content that was read back from the device.
    op: Option<Op>,
    comm: [u8; 16],
    completed_ns: u64,
}

/// What a stretch holds.
#[derive(Debug, Clone, Copy)]
enum Held {
    Content(Writer),
    Discarded,
}

/// A stretch that differs, as far as one command wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// The command that wrote it last; of content that was read back, the one before that.
    pub seq: u64,
    /// What it did.
    pub op: &'static str,
    /// The task that issued it.
    pub process: String,
    /// When it completed.
    pub time: String,
}

impl std::fmt::Display for Stretch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { offset, len, seq, op, process, time } = self;
        let by = if process.is_empty() { String::new() } else { format!(" by {process}") };
        write!(f, "{len} bytes from {offset}: last written by seq {seq} ({op}{by}, {time})")
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// Its size in bytes.
    pub size: u64,
    /// The moment, as it was named.
    pub at: String,
    /// The last completion in it, of all volumes.
    pub seq: u64,
    /// When that was.
    pub time: String,
    /// Bytes that were compared: all whose content the capture tells.
    pub compared_bytes: u64,
    /// Bytes of them, in whole blocks, that differ.
    pub differing_bytes: u64,
    /// Stretches that differ.
    pub differing: u64,
    /// The first of them.
    pub stretches: Vec<Stretch>,
    /// Bytes whose content the capture does not tell, although something may have changed it.
    pub unknown_bytes: u64,
    /// Stretches of them.
    pub unknown: usize,
    /// The first of these.
    pub unknown_list: Vec<Hole>,
    /// Bytes that were discarded and not written since; they are not compared.
    pub discarded_bytes: u64,
    /// Whether the capture says how it ended: otherwise losses may be missing from it.
    pub ended_in_order: bool,
    /// Files that end in the middle of something.
    pub cut: Vec<CutFile>,
}

/// Compares a volume, as the capture tells it, with a device. Blocks that the capture did not write are not looked at.
///
/// # Errors
/// Why nothing can be said.
pub fn compare(
    request: &Request<'_>,
    read: &mut ReadDevice<'_>,
    watch: &mut Watch<'_>,
) -> Result<Report, CompareError> {
    let mut series = Series::open(request.files)?;
    let device = series.volume(request.volume, Some(request.device_size))?;
    if request.device_size < device.size {
        let (path, have) = (request.device.to_owned(), request.device_size);
        return Err(CompareError::TooSmall { path, have, volume: device.name, want: device.size });
    }
    let mut follower = Follower::new(&series, &device, &request.at)?;
    let mut expected = Expected::new(request.folder, device.size)?;
    expected.gather(&mut series, &mut follower, watch)?;
    follower.end()?;
    follower.holes.ranges().for_each(|range| expected.pieces.cut_out(range));
    let mut report = report(request, &series, &follower);
    let block = u64::from(device.block_size.max(512));
    Comparison { request, expected: &expected, block, report: &mut report, last: None }.run(read, watch)?;
    Ok(report)
}

fn report(request: &Request<'_>, series: &Series, follower: &Follower) -> Report {
    Report {
        volume: follower.device.name.clone(),
        size: follower.device.size,
        at: request.at.to_string(),
        seq: follower.seq.0,
        time: Utc(follower.time_ns).to_string(),
        compared_bytes: 0,
        differing_bytes: 0,
        differing: 0,
        stretches: Vec::new(),
        unknown_bytes: follower.holes.ranges().map(|range| range.len).sum(),
        unknown: follower.holes.count(),
        unknown_list: follower.holes.list(LISTED_HOLES),
        discarded_bytes: 0,
        ended_in_order: follower.ended_in_order(),
        cut: series.cut().to_vec(),
    }
}

/// What the volume holds where the capture wrote.
struct Expected {
    image: Image,
    pieces: Pieces<Held>,
}

impl Expected {
    fn new(folder: &Path, size: u64) -> Result<Self, ImageError> {
        let path = folder.join("expected");
        let file = tempfile::tempfile_in(folder);
        let file = file.map_err(|source| ImageError::Io { action: "making", path: path.clone(), source })?;
        let image = Image::from_base(file, &path, &Base::Blank, size, &mut |_, _| true)?;
        Ok(Self { image, pieces: Pieces::new() })
    }

    fn gather(
        &mut self,
        series: &mut Series,
        follower: &mut Follower,
        watch: &mut Watch<'_>,
    ) -> Result<(), CompareError> {
        let mut items = 0u64;
        while let Some(item) = series.next_item()? {
            items += 1;
            let (done, total) = series.progress();
            if items.is_multiple_of(LOOK_EVERY) && !watch(Stage::Reading, done, total) {
                return Err(ImageError::Interrupted.into());
            }
            if let Some(entry) = follower.takes(&item) {
                let done = entry.done();
                follower.heed(&done);
                self.heed(&done, writer(entry, follower))?;
            }
        }
        Ok(())
    }

    fn heed(&mut self, done: &Done<'_>, writer: Writer) -> Result<(), ImageError> {
        match done {
            Done::Nothing => {}
            Done::Unknown(range, _) => {
                self.pieces.cut_out(range.unwrap_or(ByteRange::new(0, self.image.size())));
            }
            Done::Changes(changes) => {
                for change in changes {
                    self.image.put(change.range, change.content)?;
                    let discarded = change.content == Content::Discarded;
                    self.pieces.put(change.range, if discarded { Held::Discarded } else { Held::Content(writer) });
                }
            }
        }
        Ok(())
    }
}

fn writer(entry: &CapturedEntry, follower: &Follower) -> Writer {
    match &entry.header.entry {
        Entry::Record(record) => Writer {
            seq: record.seq,
            op: Some(record.op),
            comm: record.origin.comm,
            completed_ns: record.origin.completed_ns,
        },
        Entry::Region(_) | Entry::Gap(_) => {
            Writer { seq: follower.seq, op: None, comm: [0; 16], completed_ns: follower.time_ns }
        }
    }
}

/// A comparison on its way.
struct Comparison<'a> {
    request: &'a Request<'a>,
    expected: &'a Expected,
    block: u64,
    report: &'a mut Report,
    /// Where the last differing stretch ends, and who wrote it.
    last: Option<(u64, Seq)>,
}

impl Comparison<'_> {
    fn run(mut self, read: &mut ReadDevice<'_>, watch: &mut Watch<'_>) -> Result<(), CompareError> {
        let contents = self.expected.pieces.iter().filter(|(_, held)| matches!(held, Held::Content(_)));
        let total = contents.map(|(range, _)| range.len).sum();
        let mut window = Window { at: None, want: vec![0; STEP as usize], found: vec![0; STEP as usize] };
        for (range, held) in self.expected.pieces.iter() {
            let Held::Content(writer) = held else {
                self.report.discarded_bytes += range.len;
                continue;
            };
            for part in at_multiples(range, STEP) {
                window.load(part.offset - part.offset % STEP, &self, read)?;
                self.part(part, &writer, &window);
                if !watch(Stage::Comparing, self.report.compared_bytes, total) {
                    return Err(ImageError::Interrupted.into());
                }
            }
        }
        Ok(())
    }

    /// Compares a part that lies within the window, block by block.
    fn part(&mut self, part: ByteRange, writer: &Writer, window: &Window) {
        self.report.compared_bytes += part.len;
        for block in at_multiples(part, self.block) {
            let start = (block.offset % STEP) as usize;
            let place = start..start + block.len as usize;
            if window.want[place.clone()] != window.found[place] {
                self.differs(block, writer);
            }
        }
    }

    fn differs(&mut self, block: ByteRange, writer: &Writer) {
        let goes_on = self.last == Some((block.offset, writer.seq));
        self.last = Some((block.end(), writer.seq));
        let (report, most) = (&mut *self.report, self.request.most);
        report.differing_bytes += block.len;
        report.differing += u64::from(!goes_on);
        if !goes_on && report.stretches.len() < most {
            report.stretches.push(Stretch::new(block, writer));
        } else if goes_on
            && let Some(listed) = report.stretches.last_mut().filter(|listed| listed.end() == block.offset)
        {
            listed.len += block.len;
        }
    }
}

impl Stretch {
    fn end(&self) -> u64 {
        self.offset + self.len
    }

    fn new(block: ByteRange, writer: &Writer) -> Self {
        Self {
            offset: block.offset,
            len: block.len,
            seq: writer.seq.0,
            op: writer.op.map_or("read back", Op::name),
            process: task_name(&writer.comm),
            time: Utc(writer.completed_ns).to_string(),
        }
    }
}

/// A stretch of both, from a multiple of [`STEP`] on.
struct Window {
    at: Option<u64>,
    want: Vec<u8>,
    found: Vec<u8>,
}

impl Window {
    fn load(&mut self, at: u64, of: &Comparison<'_>, read: &mut ReadDevice<'_>) -> Result<(), CompareError> {
        if self.at == Some(at) {
            return Ok(());
        }
        let (image, request) = (&of.expected.image, of.request);
        let want = (image.size() - at).min(STEP) as usize;
        image.read(at, &mut self.want[..want])?;
        let found = (request.device_size - at).min(STEP) as usize;
        read(at, &mut self.found[..found]).map_err(|source| CompareError::Device {
            path: request.device.to_owned(),
            offset: at,
            source,
        })?;
        self.at = Some(at);
        Ok(())
    }
}

/// A range in parts that end at multiples of `unit`.
fn at_multiples(range: ByteRange, unit: u64) -> impl Iterator<Item = ByteRange> {
    let mut offset = range.offset;
    std::iter::from_fn(move || {
        let end = (offset - offset % unit + unit).min(range.end());
        let part = (offset < range.end()).then(|| ByteRange::new(offset, end - offset));
        offset = end;
        part
    })
}

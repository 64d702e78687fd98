//! Comparing a volume with its copy at the standby, by hashes of its chunks.

use formats::wire::VolumeKind;
use formats::{ByteRange, VolumeIndex};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::error::AgentError;
use crate::primary::core::Core;
use crate::primary::shipper::HashQuestion;

/// Bytes per hash.
const CHUNK: u32 = 256 << 10;
/// Bytes asked for at once.
const SPAN: u64 = 32 << 20;
/// Differing ranges that are listed.
const MAX_LISTED: usize = 1000;

/// A range that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the secondary.
    pub secondary: String,
    /// Name of the volume.
    pub volume: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Bytes compared.
    pub bytes: u64,
    /// Chunks that differ.
    pub differing_chunks: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Whether the device was written meanwhile: differences may then be younger than the comparison.
    pub written_meanwhile: bool,
}

/// Compares all volumes.
pub(crate) fn run(
    core: &Core,
    questions: &[mpsc::Sender<HashQuestion>],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, AgentError> {
    if let Some(tape) = core.volumes.iter().find(|volume| volume.identity.kind == VolumeKind::Sequential) {
        let why = "a tape cannot be read while it is in use; the standby compares positions instead, see its `status`";
        return Err(AgentError::Usage(format!("{}: {why}", tape.path.display())));
    }
    if core.scope.is_partial() {
        let why = "drops changes, so the standby is no copy and there is nothing to compare";
        return Err(AgentError::Usage(format!("the filter {} {why}", core.filter)));
    }
    let before = core.kernel_seq();
    let ranges = ranges(core);
    let total = ranges.iter().map(|(_, range)| range.len).sum::<u64>() * questions.len() as u64;
    let mut report = VerifyReport { bytes: 0, differing_chunks: 0, differences: Vec::new(), written_meanwhile: false };
    for (place, questions) in questions.iter().enumerate() {
        let side = Side { core, place, questions };
        for (volume, range) in ranges.iter().flat_map(|(volume, whole)| spans(*volume, *whole)) {
            side.compare(volume, range, &mut report)?;
            report.bytes += range.len;
            progress(report.bytes, total);
        }
    }
    report.written_meanwhile = core.kernel_seq() != before;
    Ok(report)
}

/// What is replicated, and so can be compared.
fn ranges(core: &Core) -> Vec<(VolumeIndex, ByteRange)> {
    let volumes = core.volumes.iter().enumerate().map(|(index, volume)| {
        let whole = ByteRange::new(0, volume.identity.size);
        (VolumeIndex(index as u16), whole)
    });
    volumes.flat_map(|(volume, whole)| core.scope.parts(volume, whole).map(move |part| (volume, part))).collect()
}

/// What is asked for at once of a range.
fn spans(volume: VolumeIndex, whole: ByteRange) -> impl Iterator<Item = (VolumeIndex, ByteRange)> {
    let offsets = (whole.offset..whole.end()).step_by(SPAN as usize);
    offsets.map(move |offset| (volume, ByteRange::new(offset, SPAN.min(whole.end() - offset))))
}

/// One secondary.
struct Side<'a> {
    core: &'a Core,
    place: usize,
    questions: &'a mpsc::Sender<HashQuestion>,
}

impl Side<'_> {
    fn compare(&self, volume: VolumeIndex, range: ByteRange, report: &mut VerifyReport) -> Result<(), AgentError> {
        let core = self.core;
        let there = self.ask(volume, range)?;
        let here = core
            .readers
            .read(volume, range)
            .map_err(|error| AgentError::System { what: "verify", source: std::io::Error::other(error) })?;
        for (index, chunk) in here.as_slice().chunks(CHUNK as usize).enumerate() {
            if there.get(index) == Some(blake3::hash(chunk).as_bytes()) {
                continue;
            }
            report.differing_chunks += 1;
            if report.differences.len() < MAX_LISTED {
                let offset = range.offset + index as u64 * u64::from(CHUNK);
                let name = core.volumes[usize::from(volume.0)].identity.name.to_string_lossy();
                let secondary = core.links[self.place].name.clone();
                report.differences.push(Difference { secondary, volume: name, offset, len: chunk.len() as u64 });
            }
        }
        Ok(())
    }

    fn ask(&self, volume: VolumeIndex, range: ByteRange) -> Result<Vec<[u8; 32]>, AgentError> {
        let core = self.core;
        let not_connected = |why: &str| AgentError::NotConnected(format!("{}: {why}", core.links[self.place].address));
        if !core.engine(self.place).status(core.now()).connected {
            return Err(not_connected("verify needs the standby's hashes; see `blkecho status`"));
        }
        let (answer, receiver) = oneshot::channel();
        let question = HashQuestion { volume, range, chunk: CHUNK, answer };
        self.questions.blocking_send(question).map_err(|_| not_connected("the link has ended"))?;
        core.links[self.place].wake.notify_one();
        receiver.blocking_recv().map_err(|_| not_connected("the connection broke while verifying; run it again"))
    }
}

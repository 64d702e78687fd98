//! Plain commands, in pieces that the device takes: reads, writes, zeros, unmaps.

use std::io;

use formats::ByteRange;
use formats::scsi::build::{self, Access, Same};
use formats::scsi::list::MAX_UNMAP_DESCRIPTORS;
use formats::scsi::{Blocks, LbaRange};
use replication::errors::{FLUSH_LOST, StandbyOutcome};

use super::ScsiTarget;
use super::drive::Answer;
use crate::scsi::Data;
use crate::scsi::identity::{Limits, Provisioning};

/// Blocks of one WRITE SAME where the device tells no limit: what the kernel takes then (SD_MAX_WS10_BLOCKS,
/// drivers/scsi/sd.h).
const SAME_BLOCKS: u64 = 0xffff;

/// How blocks are made to read as zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Zeroing {
    /// Deallocated where whole granules are; the rest by [`Self::Same`].
    Unmap,
    /// WRITE SAME of a block of zeros.
    Same,
    /// WRITEs of zeros.
    Plain,
}

impl ScsiTarget {
    fn limits(&self) -> Limits {
        self.identity.limits.unwrap_or_default()
    }

    fn provisioning(&self) -> Provisioning {
        self.identity.provisioning.unwrap_or_default()
    }

    /// Whether blocks can be deallocated such that they read as zeros.
    pub(super) fn can_unmap(&self) -> bool {
        let page = self.provisioning();
        self.identity.reads_zeros() && (page.unmap || page.write_same_16)
    }

    /// Blocks of the device that hold a range of the volume; none when they lie outside.
    pub(super) fn blocks(&self, range: ByteRange) -> Option<LbaRange> {
        let size = u64::from(self.block_size);
        let whole = range.offset.is_multiple_of(size) && range.len.is_multiple_of(size);
        let lba = (range.offset / size).checked_add_signed(self.options.mapping.lba_offset)?;
        let run = LbaRange::new(lba, range.len / size);
        let capacity = self.identity.capacity.map_or(0, |capacity| capacity.blocks);
        let end = lba.checked_add(run.blocks)?;
        (whole && end <= capacity).then_some(run)
    }

    /// Most blocks of one transfer.
    fn transfer_blocks(&self) -> u32 {
        let host = (self.options.max_transfer / self.block_size).max(1);
        match self.limits().transfer {
            0 => host,
            device => device.min(host),
        }
    }

    /// Calls `piece` for each part of `run`, none longer than `most`, until one is not good.
    fn in_pieces(
        run: LbaRange,
        most: u64,
        mut piece: impl FnMut(LbaRange) -> io::Result<Answer>,
    ) -> io::Result<Answer> {
        let mut done = 0;
        while done < run.blocks {
            let blocks = (run.blocks - done).min(most.max(1));
            let answer = piece(LbaRange::new(run.lba + done, blocks))?;
            if !answer.is_good() {
                return Ok(answer);
            }
            done += blocks;
        }
        Ok(Answer::GOOD)
    }

    /// The bytes of `part` within a buffer for `run`.
    fn within(&self, run: LbaRange, part: LbaRange) -> std::ops::Range<usize> {
        let size = self.block_size as usize;
        let start = (part.lba - run.lba) as usize * size;
        start..start + part.blocks as usize * size
    }

    pub(super) fn read_run(&self, run: LbaRange, buffer: &mut [u8]) -> io::Result<Answer> {
        Self::in_pieces(run, self.transfer_blocks().into(), |part| {
            let bytes = buffer.get_mut(self.within(run, part)).unwrap_or_default();
            self.run(&build::read(part.lba, part.blocks as u32, Access::default()), Data::In(bytes))
        })
    }

    /// Writes `bytes`, which are as long as `run`; durable if `fua`.
    pub(super) fn write_run(&self, run: LbaRange, bytes: &[u8], fua: bool) -> io::Result<Answer> {
        let by_bit = fua && self.identity.modes.fua;
        let access = if by_bit { Access::FUA } else { Access::default() };
        let answer = Self::in_pieces(run, self.transfer_blocks().into(), |part| {
            let bytes = bytes.get(self.within(run, part)).unwrap_or_default();
            self.run(&build::write(part.lba, part.blocks as u32, access), Data::Out(bytes))
        })?;
        if fua && !by_bit && answer.is_good() { self.synchronize() } else { Ok(answer) }
    }

    /// A flush on behalf of another command. Its error is about writes that were taken before, so it is told as a
    /// deferred one: the table's answer to the other command would issue that again and forget the writes.
    pub(super) fn synchronize(&self) -> io::Result<Answer> {
        let answer = self.run(&build::flush(), Data::None)?;
        Ok(match answer.class {
            // A device without the command has no cache; as the row `flush-not-taken` says.
            StandbyOutcome::IllegalOpcode => Answer::GOOD,
            class if FLUSH_LOST.matches(class) => Answer { class: StandbyOutcome::Deferred, ..answer },
            _ => answer,
        })
    }

    /// Makes a run read as zeros.
    pub(super) fn zero_run(&self, run: LbaRange, how: Zeroing) -> io::Result<Answer> {
        match how {
            Zeroing::Unmap => self.unmap_to_zeros(run),
            Zeroing::Same => self.same_run(run, &vec![0; self.block_size as usize], Same::default()),
            Zeroing::Plain => self.repeat_run(run, &[0]),
        }
    }

    /// Deallocates the whole granules of a run and writes zeros to the rest of it: a device may leave parts of granules as
    /// they were (SBC-4, "OPTIMAL UNMAP GRANULARITY").
    fn unmap_to_zeros(&self, run: LbaRange) -> io::Result<Answer> {
        let (head, middle, tail) = self.granules(run);
        for edge in [head, tail].into_iter().filter(|edge| edge.blocks > 0) {
            let answer = self.zero_run(edge, Zeroing::Same)?;
            if !answer.is_good() {
                return Ok(answer);
            }
        }
        match middle.blocks {
            0 => Ok(Answer::GOOD),
            // Unlike UNMAP, which is a hint, this writes what it does not deallocate.
            _ if self.provisioning().write_same_16 => {
                let zeros = vec![0; self.block_size as usize];
                self.same_run(middle, &zeros, Same { unmap: true, ..Same::default() })
            }
            _ => self.unmap_runs(&[middle], false),
        }
    }

    /// Before the first whole granule, the whole granules, and behind them.
    fn granules(&self, run: LbaRange) -> (LbaRange, LbaRange, LbaRange) {
        let limits = self.limits();
        let granule = u64::from(limits.unmap_granularity.max(1));
        let align = u64::from(limits.unmap_alignment) % granule;
        let end = run.lba + run.blocks;
        // Distances to the next granule, and back to the last one.
        let forward = |lba: u64| (granule - (lba % granule + granule - align) % granule) % granule;
        let first = run.lba.saturating_add(forward(run.lba)).min(end);
        let last = end.saturating_sub((end % granule + granule - align) % granule).max(first);
        let between = |from, to| LbaRange::new(from, to - from);
        (between(run.lba, first), between(first, last), between(last, end))
    }

    /// WRITE SAME(16) of one block, in as many commands as its limit asks for.
    pub(super) fn same_run(&self, run: LbaRange, block: &[u8], same: Same) -> io::Result<Answer> {
        let most = match self.limits().write_same {
            0 => SAME_BLOCKS,
            most => most.min(u64::from(u32::MAX)),
        };
        Self::in_pieces(run, most, |part| {
            let cdb = build::write_same_16(part.lba, Blocks::Count(part.blocks), same).map_err(io::Error::other)?;
            self.run(&cdb, if same.ndob { Data::None } else { Data::Out(block) })
        })
    }

    /// The most blocks that one WRITE SAME may name here, as far as the device tells.
    pub(super) fn takes_same(&self, blocks: u64) -> bool {
        let most = self.limits().write_same;
        most == 0 || blocks <= most
    }

    /// WRITEs of a pattern that fits a block a whole number of times.
    pub(super) fn repeat_run(&self, run: LbaRange, pattern: &[u8]) -> io::Result<Answer> {
        let blocks = u64::from(self.transfer_blocks()).min(run.blocks);
        let bytes = pattern.repeat(blocks as usize * self.block_size as usize / pattern.len().max(1));
        Self::in_pieces(run, blocks, |part| {
            let bytes = bytes.get(..part.blocks as usize * self.block_size as usize).unwrap_or_default();
            self.run(&build::write(part.lba, part.blocks as u32, Access::default()), Data::Out(bytes))
        })
    }

    /// UNMAP of these runs, in as many commands as its limits ask for.
    pub(super) fn unmap_runs(&self, runs: &[LbaRange], anchor: bool) -> io::Result<Answer> {
        let (most, descriptors) = self.unmap_limits();
        let (mut list, mut room) = (Vec::new(), most);
        for run in runs {
            let mut rest = *run;
            while rest.blocks > 0 {
                if room == 0 || list.len() >= descriptors {
                    let answer = self.unmap_list(&list, anchor)?;
                    if !answer.is_good() {
                        return Ok(answer);
                    }
                    (list, room) = (Vec::new(), most);
                }
                let blocks = rest.blocks.min(room);
                list.push(LbaRange::new(rest.lba, blocks));
                rest = LbaRange::new(rest.lba + blocks, rest.blocks - blocks);
                room -= blocks;
            }
        }
        if list.is_empty() { Ok(Answer::GOOD) } else { self.unmap_list(&list, anchor) }
    }

    fn unmap_list(&self, list: &[LbaRange], anchor: bool) -> io::Result<Answer> {
        let (cdb, parameters) = build::unmap(list, anchor).map_err(io::Error::other)?;
        self.run(&cdb, Data::Out(&parameters))
    }

    /// Blocks and descriptors of one UNMAP.
    fn unmap_limits(&self) -> (u64, usize) {
        let Limits { unmap_blocks, unmap_descriptors, .. } = self.limits();
        let blocks = if unmap_blocks == 0 { u32::MAX } else { unmap_blocks };
        let descriptors = if unmap_descriptors == 0 { u32::MAX } else { unmap_descriptors };
        (blocks.into(), MAX_UNMAP_DESCRIPTORS.min(descriptors as usize))
    }

    /// Whether one UNMAP may name all of these.
    pub(super) fn takes_unmap(&self, runs: &[LbaRange]) -> bool {
        let (blocks, descriptors) = self.unmap_limits();
        let total = runs.iter().try_fold(0u64, |sum, run| sum.checked_add(run.blocks));
        runs.len() <= descriptors && total.is_some_and(|total| total <= blocks)
    }
}

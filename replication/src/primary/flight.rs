//! Frames that were sent in a session and are not known to be durable at the secondary.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use formats::{ByteRange, Position, VolumeIndex};

/// One such frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    number: u64,
    /// Position that the secondary holds once it holds the frame.
    pub(super) last: Position,
    bytes: u64,
    /// Regions in it: dirty again when the session ends before they are durable.
    pub(super) regions: Vec<(VolumeIndex, ByteRange)>,
}

/// They are durable in order, so a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    frames: VecDeque<Frame>,
    last_number: u64,
    bytes: u64,
}

impl Flight {
    /// A frame was sent; answers its number.
    pub(super) fn push(&mut self, last: Position, bytes: u64, regions: Vec<(VolumeIndex, ByteRange)>) -> u64 {
        self.last_number += 1;
        self.bytes += bytes;
        self.frames.push_back(Frame { number: self.last_number, last, bytes, regions });
        self.last_number
    }

    /// The next frame that is durable, all up to `number` being so.
    pub(super) fn pop_durable(&mut self, number: u64) -> Option<Frame> {
        if self.frames.front()?.number > number {
            return None;
        }
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.bytes;
        Some(frame)
    }

    /// Number of the last frame sent; 0 before the first.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Bytes of all frames in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Every region in flight.
    pub(super) fn regions(&self) -> impl Iterator<Item = (VolumeIndex, ByteRange)> + '_ {
        self.frames.iter().flat_map(|frame| frame.regions.iter().copied())
    }

    /// The position held once all frames up to `number` are held, if that frame is in flight.
    pub(super) fn position_of(&self, number: u64) -> Option<Position> {
        let first = self.frames.front()?.number;
        let place = usize::try_from(number.checked_sub(first)?).ok()?;
        self.frames.get(place).map(|frame| frame.last)
    }
}

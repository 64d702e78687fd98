//! Entries on their way from the link through the standby's own journal: checked, journalled, durable.

use alloc::collections::VecDeque;
use core::ops::Range;

use formats::EntryHeader;

use super::config::StandbyError;
use crate::follow::Tip;
use crate::mutation::{self, Mutation};

/// A frame, or what is left of one after its session.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Its number in the session that is open; 0 when it belongs to an earlier one.
    frame: u64,
    /// Entries in it.
    count: u64,
    /// What is held once it is durable.
    tip: Tip,
}

/// Headers wait here until they are durable and may be admitted. Indices are those of the standby's own journal.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Headers of entries from index `first` on that were not handed to the scheduler.
    headers: VecDeque<EntryHeader>,
    first: u64,
    checked: VecDeque<Batch>,
    journaled: VecDeque<Batch>,
    /// Index that the journal gives to the next entry.
    next: u64,
    durable: u64,
    checked_tip: Tip,
    journaled_tip: Tip,
    durable_tip: Tip,
}

impl Intake {
    /// Everything through `index` is durable and admitted.
    pub(super) fn new(index: u64, tip: Tip) -> Self {
        Self {
            headers: VecDeque::new(),
            first: index + 1,
            checked: VecDeque::new(),
            journaled: VecDeque::new(),
            next: index + 1,
            durable: index,
            checked_tip: tip,
            journaled_tip: tip,
            durable_tip: tip,
        }
    }

    /// What the next frame must follow.
    pub(super) fn tip(&self) -> Tip {
        self.checked_tip
    }

    pub(super) fn durable_tip(&self) -> Tip {
        self.durable_tip
    }

    /// Entries that were not handed to the scheduler.
    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether everything that came is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.checked.is_empty() && self.journaled.is_empty()
    }

    /// A frame was checked; `tip` is the one after it.
    pub(super) fn push(&mut self, frame: u64, headers: &[EntryHeader], tip: Tip) {
        self.headers.extend(headers.iter().copied());
        self.checked.push_back(Batch { frame, count: headers.len() as u64, tip });
        self.checked_tip = tip;
    }

    /// Whether the journal's next entry has this index.
    pub(super) fn expects(&self, index: u64) -> Result<(), StandbyError> {
        if index == self.next { Ok(()) } else { Err(StandbyError::Index { expected: self.next, got: index }) }
    }

    /// The journal took the oldest checked frames: these indices.
    pub(super) fn journaled(&mut self, range: Range<u64>) -> Result<(), StandbyError> {
        self.expects(range.start)?;
        while self.next < range.end {
            let batch = *self.checked.front().ok_or(StandbyError::Unexpected(self.next))?;
            if self.next + batch.count > range.end {
                return Err(StandbyError::Unexpected(range.end));
            }
            self.checked.pop_front();
            self.journaled.push_back(batch);
            self.next += batch.count;
            self.journaled_tip = batch.tip;
        }
        Ok(())
    }

    /// Everything through `index` is durable. Answers the last frame of the open session of which that is true.
    pub(super) fn durable(&mut self, index: u64) -> Result<Option<u64>, StandbyError> {
        if index >= self.next {
            return Err(StandbyError::Unexpected(index));
        }
        let mut end = self.next - self.journaled.iter().map(|batch| batch.count).sum::<u64>();
        let mut frame = None;
        while let Some(batch) = self.journaled.front().copied().filter(|batch| end + batch.count <= index + 1) {
            self.journaled.pop_front();
            end += batch.count;
            self.durable_tip = batch.tip;
            frame = Some(batch.frame).filter(|number| *number > 0);
        }
        self.durable = self.durable.max(end - 1);
        Ok(frame)
    }

    /// Last index of a frame that is durable as a whole.
    pub(super) fn durable_index(&self) -> u64 {
        self.durable
    }

    /// A durable entry that was not handed to the scheduler.
    pub(super) fn header(&self, index: u64) -> Option<&EntryHeader> {
        self.headers.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The next durable entry for the scheduler, with its index.
    pub(super) fn peek(&self) -> Option<(u64, EntryHeader)> {
        let ready = if mutation::is(Mutation::ApplyUnsynced) { self.next - 1 } else { self.durable };
        let header = self.headers.front().filter(|_| self.first <= ready)?;
        Some((self.first, *header))
    }

    /// The scheduler took it.
    pub(super) fn pop(&mut self) {
        self.headers.pop_front();
        self.first += 1;
    }

    /// The session ended: what the journal did not take was never received.
    pub(super) fn end_session(&mut self) {
        let dropped: u64 = self.checked.drain(..).map(|batch| batch.count).sum();
        self.headers.truncate(self.headers.len() - dropped as usize);
        self.journaled.iter_mut().for_each(|batch| batch.frame = 0);
        self.checked_tip = self.journaled_tip;
    }

    /// Another stream begins.
    pub(super) fn restart(&mut self, tip: Tip) {
        *self = Self::new(self.next - 1, tip);
    }
}

//! The thread that owns the standby's journal: it makes frames durable in groups before anybody applies them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use journal::{AppendError, Item, Journal, RealDisk};

use super::frame::Frame;
use super::shared::Shared;

/// Bytes appended before they are synced, at most: a larger group delays acknowledgements, a smaller one costs syncs.
const GROUP_BYTES: usize = 8 << 20;
/// Bytes read back at once when entries are redone.
const REDO_BYTES: usize = 4 << 20;
/// Pause between looks whether a rewind may begin.
const REWIND_PAUSE: Duration = Duration::from_millis(2);

/// What the journal thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Append these entries and make them durable.
    Append(Frame),
    /// Everything up to this index is on the targets durably.
    Trim(u64),
    /// Writes were lost: as soon as nothing stands in the way, back to the checkpoint.
    Rewind,
    /// The session has ended: what is not appended is forgotten, the primary sends it again.
    EndSession,
    /// End.
    Stop,
}

/// Why the loop ends.
enum End {
    Asked,
    Failed(String),
}

pub(super) struct JournalThread {
    shared: Arc<Shared>,
    journal: Journal<RealDisk>,
    orders: Receiver<Order>,
    /// Accepted, not yet appended.
    backlog: VecDeque<Frame>,
    trimmed: u64,
}

impl JournalThread {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal<RealDisk>, orders: Receiver<Order>) -> Self {
        Self { shared, journal, orders, backlog: VecDeque::new(), trimmed: 0 }
    }

    /// Hands the entries from `redo_from` on to the workers again, then serves orders until told to end.
    pub(super) fn run(mut self, redo_from: u64) {
        let ended = self.redo(redo_from).and_then(|()| self.serve());
        if let Err(End::Failed(reason)) = ended {
            self.shared.fail(&reason);
        }
    }

    /// Hands entries in from `from` on, and again from the checkpoint whenever writes are lost meanwhile.
    fn redo(&mut self, mut from: u64) -> Result<(), End> {
        while !self.redo_once(from)? {
            from = loop {
                if self.shared.is_ending() || self.shared.stop_reason().is_some() {
                    return Err(End::Asked);
                }
                match self.shared.rewind() {
                    Some(first) => break first,
                    None => std::thread::sleep(REWIND_PAUSE),
                }
            };
        }
        Ok(())
    }

    /// False when writes were lost before the end.
    fn redo_once(&mut self, mut from: u64) -> Result<bool, End> {
        let (mut reader, last) = (self.journal.reader(), self.journal.written());
        while from <= last {
            self.shared.budget.room_blocking(|| self.shared.is_ending() || self.shared.is_losing());
            if self.shared.is_ending() {
                return Err(End::Asked);
            }
            if self.shared.is_losing() {
                return Ok(false);
            }
            let batch = reader.read(from, REDO_BYTES).map_err(|error| failed("reading", &error))?;
            if batch.is_empty() {
                return Err(End::Failed(format!("the standby's journal ends before {from} instead of after {last}")));
            }
            let permit = self.shared.budget.take(batch.bytes.len() as u64);
            let frame = Frame::parse(0, Bytes::from(batch.bytes), permit).map_err(|fault| failed("reading", &fault))?;
            self.shared.redo(from, &frame).map_err(End::Failed)?;
            from += frame.headers.len() as u64;
        }
        self.shared.redo_end(self.usage());
        Ok(!self.shared.is_losing())
    }

    fn serve(&mut self) -> Result<(), End> {
        let mut full = false;
        loop {
            let losing = self.shared.is_losing();
            if losing && let Some(first) = self.shared.rewind() {
                self.redo(first)?;
                continue;
            }
            self.take_orders(full || self.backlog.is_empty(), losing)?;
            full = self.append_group()?;
            self.shared.journal_usage(self.usage(), full);
        }
    }

    /// Takes all orders that lie there; with `wait`, at least one, or none after a `short` while.
    fn take_orders(&mut self, wait: bool, short: bool) -> Result<(), End> {
        if wait && short {
            match self.orders.recv_timeout(REWIND_PAUSE) {
                Ok(order) => self.take(order)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(End::Asked),
            }
        } else if wait {
            let order = self.orders.recv().map_err(|_| End::Asked)?;
            self.take(order)?;
        }
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.take(order)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(End::Asked),
            }
        }
    }

    fn take(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Append(frame) => self.backlog.push_back(frame),
            Order::Stop => return Err(End::Asked),
            // Looked for before the next wait.
            Order::Rewind => {}
            Order::EndSession => {
                let forgotten = self.backlog.drain(..).len() as u64;
                self.shared.session_over(forgotten);
            }
            Order::Trim(through) => {
                self.journal.trim(through);
                self.trimmed = through;
            }
        }
        Ok(())
    }

    /// Appends as much of the backlog as belongs into one group and makes it durable. True when the journal is full.
    fn append_group(&mut self) -> Result<bool, End> {
        let (mut group, mut bytes, mut full) = (Vec::new(), 0, false);
        while let Some(frame) = self.backlog.front() {
            if bytes >= GROUP_BYTES {
                break;
            }
            let Some(first) = append(&mut self.journal, frame)? else {
                full = true;
                break;
            };
            bytes += frame.len();
            group.extend(self.backlog.pop_front().map(|frame| (first, frame)));
        }
        if full && group.is_empty() && self.trimmed + 1 == self.journal.next() {
            return Err(End::Failed("the standby's journal is empty and yet too small for one frame".into()));
        }
        if !group.is_empty() {
            self.journal.sync().map_err(|error| failed("syncing", &error))?;
            self.shared.durable(group).map_err(End::Failed)?;
        }
        Ok(full)
    }

    fn usage(&self) -> (u64, u64) {
        (self.journal.bytes_used(), self.journal.bytes_total())
    }
}

/// Appends one frame and answers the index of its first entry, or `None` when there is no room.
fn append(journal: &mut Journal<RealDisk>, frame: &Frame) -> Result<Option<u64>, End> {
    let encoded = (0..frame.headers.len()).map(|at| frame.encoded(at));
    let items: Vec<Item<'_>> = encoded.map(|(header, payload)| Item { header, payload }).collect();
    match journal.append(&items) {
        Ok(range) => Ok(Some(range.start)),
        Err(AppendError::Full { .. }) => Ok(None),
        Err(error) => Err(failed("writing", &error)),
    }
}

fn failed(doing: &str, error: &dyn std::error::Error) -> End {
    End::Failed(format!("{doing} the standby's journal failed: {error}; correct it and start the standby again"))
}

//! A small disk for unit tests: it keeps its content, answers what it is asked, and fails as it is told.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use formats::scsi::{Asc, DeviceType, Outcome, Sense, SenseKey, list};

use rustix::event::{EventfdFlags, eventfd};

use super::{CommandQueue, Data, Request, ScsiDevice};

pub(crate) const BLOCK: usize = 512;

/// One command as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) cdb: Vec<u8>,
    pub(crate) out: Vec<u8>,
}

type Answer = io::Result<Outcome>;
type Matches = Box<dyn Fn(&[u8]) -> bool + Send>;

pub(crate) struct Disk {
    pub(crate) content: Vec<u8>,
    pub(crate) seen: Vec<Seen>,
    /// Told by the next command of any kind that can hear it (not INQUIRY).
    pub(crate) attentions: VecDeque<Outcome>,
    /// Told by commands that match, once each, in order.
    pub(crate) script: VecDeque<(Matches, Answer)>,
    /// Operation codes that are not taken.
    pub(crate) lacks: Vec<u8>,
    pub(crate) pages: Vec<(u8, Vec<u8>)>,
    pub(crate) inquiry: Vec<u8>,
    /// Blocks that it says it has.
    pub(crate) claims: u64,
    pub(crate) mode_parameter: u8,
    pub(crate) key: u64,
    pub(crate) held: u8,
    /// Commands that came through a queue.
    pub(crate) queued: usize,
}

pub(crate) struct Fake(Mutex<Disk>);

pub(crate) fn check(key: SenseKey, code: u8, qualifier: u8) -> Outcome {
    Outcome::check(Sense::new(key, Asc::new(code, qualifier)))
}

fn illegal(code: u8) -> Outcome {
    check(SenseKey::IllegalRequest, code, 0)
}

impl Fake {
    /// A thin disk of 512-byte blocks that reads zeros where it is unmapped, filled with 0xAA.
    pub(crate) fn disk(blocks: u64) -> Self {
        let mut inquiry = vec![0; 36];
        inquiry[8..32].copy_from_slice(b"BLKECHO fake disk       ");
        inquiry[32..36].copy_from_slice(b"0001");
        let mut limits = vec![0; 60];
        limits[4..8].copy_from_slice(&8u32.to_be_bytes());
        limits[16..20].copy_from_slice(&16u32.to_be_bytes());
        limits[20..24].copy_from_slice(&2u32.to_be_bytes());
        limits[24..28].copy_from_slice(&4u32.to_be_bytes());
        limits[32..40].copy_from_slice(&32u64.to_be_bytes());
        let name = [0x01, 0x03, 0, 8, 0x50, 1, 2, 3, 4, 5, 6, 7].to_vec();
        let provisioning = vec![0, 0xc4, 2, 0];
        let pages = vec![
            (0x80, b"  4711".to_vec()),
            (0x83, name),
            (0xb0, limits),
            (0xb1, vec![0, 1, 0, 0]),
            (0xb2, provisioning),
        ];
        Self(Mutex::new(Disk {
            content: vec![0xaa; blocks as usize * BLOCK],
            seen: Vec::new(),
            attentions: VecDeque::new(),
            script: VecDeque::new(),
            lacks: Vec::new(),
            pages,
            inquiry,
            claims: blocks,
            mode_parameter: 0x10,
            key: 0,
            held: 0,
            queued: 0,
        }))
    }

    pub(crate) fn of_type(self, kind: DeviceType) -> Self {
        self.lock().inquiry[0] = kind.to_byte();
        self
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// The next command with this operation code is answered so.
    pub(crate) fn answer(&self, opcode: u8, answer: Answer) {
        self.lock().script.push_back((Box::new(move |cdb| cdb[0] == opcode), answer));
    }

    /// Commands with these operation codes, in order, and forgets all.
    pub(crate) fn take_seen(&self, opcodes: &[u8]) -> Vec<Seen> {
        let seen = std::mem::take(&mut self.lock().seen);
        seen.into_iter().filter(|seen| opcodes.contains(&seen.cdb[0])).collect()
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// First block and number of blocks.
fn place(cdb: &[u8]) -> (u64, u64) {
    match cdb.len() {
        6 => (number(&cdb[1..4]) & 0x1f_ffff, u64::from(cdb[4])),
        10 => (number(&cdb[2..6]), number(&cdb[7..9])),
        12 => (number(&cdb[2..6]), number(&cdb[6..10])),
        _ => (number(&cdb[2..10]), number(&cdb[10..14])),
    }
}

impl ScsiDevice for Fake {
    fn execute(&self, request: Request<'_>) -> io::Result<Outcome> {
        let mut disk = self.lock();
        let Request { cdb, data, .. } = request;
        let out = if let Data::Out(bytes) = &data { bytes.to_vec() } else { Vec::new() };
        disk.seen.push(Seen { cdb: cdb.to_vec(), out });
        if let Some(at) = disk.script.iter().position(|(matches, _)| matches(cdb)) {
            return disk.script.remove(at).unwrap().1;
        }
        if cdb[0] != 0x12
            && let Some(attention) = disk.attentions.pop_front()
        {
            return Ok(attention);
        }
        if disk.lacks.contains(&cdb[0]) {
            return Ok(illegal(0x20));
        }
        Ok(disk.run(cdb, data))
    }
}

/// What a queue does with a command, beside what the disk does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whim {
    /// It is readable at once, and over.
    Over,
    /// It is readable once before it is over.
    TooEarly,
    /// It is not taken.
    NotTaken,
    /// It is done, and nobody hears how it ended.
    Unheard,
}

/// The disk with a queue, whose commands are treated so by turns.
pub(crate) struct Queued(pub(crate) Arc<Fake>, pub(crate) Vec<Whim>);

struct Queue {
    disk: Arc<Fake>,
    whims: std::iter::Cycle<std::vec::IntoIter<Whim>>,
    /// Those who look are told so, in this order; `None` for "not yet".
    slots: Vec<(OwnedFd, VecDeque<Option<Answer>>)>,
}

impl ScsiDevice for Queued {
    fn execute(&self, request: Request<'_>) -> io::Result<Outcome> {
        self.0.execute(request)
    }

    fn queue(&self) -> Option<Box<dyn CommandQueue>> {
        let (disk, whims) = (Arc::clone(&self.0), self.1.clone().into_iter().cycle());
        Some(Box::new(Queue { disk, whims, slots: Vec::new() }))
    }
}

impl CommandQueue for Queue {
    fn begin(&mut self, slot: usize, cdb: &[u8], out: &[u8], timeout: Duration) -> io::Result<RawFd> {
        let whim = self.whims.next().expect("one at least");
        if whim == Whim::NotTaken {
            return Err(io::Error::from_raw_os_error(libc::EDOM));
        }
        while self.slots.len() <= slot {
            // Always readable.
            self.slots.push((eventfd(1, EventfdFlags::CLOEXEC)?, VecDeque::new()));
        }
        let answer = self.disk.execute(Request { cdb, data: Data::Out(out), timeout });
        let (descriptor, told) = &mut self.slots[slot];
        assert!(told.is_empty(), "slot {slot} is in use");
        told.extend((whim == Whim::TooEarly).then_some(None));
        told.push_back(Some(if whim == Whim::Unheard {
            Err(io::Error::from_raw_os_error(libc::ENODEV))
        } else {
            answer
        }));
        self.disk.lock().queued += 1;
        Ok(descriptor.as_raw_fd())
    }

    fn end(&mut self, slot: usize) -> io::Result<Option<Outcome>> {
        self.slots[slot].1.pop_front().flatten().transpose()
    }
}

impl Disk {
    fn run(&mut self, cdb: &[u8], data: Data<'_>) -> Outcome {
        match (cdb[0], data) {
            (0x00 | 0x35 | 0x91, _) => Outcome::GOOD,
            (0x12, Data::In(buffer)) => self.say_inquiry(cdb, buffer),
            (0x25, Data::In(buffer)) => {
                let last = u32::try_from(self.claims - 1).unwrap_or(u32::MAX);
                fill(buffer, &[last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat())
            }
            (0x9e, Data::In(buffer)) => {
                let mut answer = (self.claims - 1).to_be_bytes().to_vec();
                answer.extend((BLOCK as u32).to_be_bytes());
                answer.extend([0, 3, 0xc0, 0]);
                fill(buffer, &answer)
            }
            (0x1a, Data::In(buffer)) => self.sense_mode(cdb, buffer),
            (0x5e, Data::In(buffer)) => self.reserve_in(cdb, buffer),
            (0x5f, Data::Out(list)) => self.reserve_out(cdb, list),
            (0x15 | 0x55, Data::Out(_)) => Outcome::GOOD,
            (0x28 | 0x88, Data::In(buffer)) => self.at(cdb, buffer.len(), |bytes| buffer.copy_from_slice(bytes)),
            (0x0a | 0x2a | 0x8a | 0xaa, Data::Out(bytes)) => self.at(cdb, bytes.len(), |to| to.copy_from_slice(bytes)),
            (0x41 | 0x93, Data::Out(block)) => {
                let len = place(cdb).1 as usize * BLOCK;
                self.at(cdb, len, |to| to.chunks_mut(BLOCK).for_each(|to| to.copy_from_slice(block)))
            }
            (0x42, Data::Out(parameters)) => self.unmap(parameters),
            (0x9f, _) => Outcome::GOOD,
            (0x08, Data::In(_)) => Outcome::GOOD,
            _ => illegal(0x20),
        }
    }

    fn at(&mut self, cdb: &[u8], len: usize, work: impl FnOnce(&mut [u8])) -> Outcome {
        let (lba, blocks) = place(cdb);
        let start = lba as usize * BLOCK;
        if blocks as usize * BLOCK != len {
            return illegal(0x24);
        }
        match self.content.get_mut(start..start + len) {
            Some(bytes) => work(bytes),
            None => return illegal(0x21),
        }
        Outcome::GOOD
    }

    fn unmap(&mut self, parameters: &[u8]) -> Outcome {
        let runs = list::unmap_ranges(parameters).unwrap();
        if runs.len() > 2 || runs.iter().map(|run| run.blocks).sum::<u64>() > 16 {
            return illegal(0x26);
        }
        for run in runs {
            let start = run.lba as usize * BLOCK;
            self.content[start..start + run.blocks as usize * BLOCK].fill(0);
        }
        Outcome::GOOD
    }

    fn say_inquiry(&self, cdb: &[u8], buffer: &mut [u8]) -> Outcome {
        if cdb[1] & 1 == 0 {
            return fill(buffer, &self.inquiry);
        }
        let list: Vec<u8> = std::iter::once(0).chain(self.pages.iter().map(|page| page.0)).collect();
        let page = self.pages.iter().find(|page| page.0 == cdb[2]).map(|page| page.1.clone());
        match page.or((cdb[2] == 0).then_some(list)) {
            Some(page) => {
                fill(buffer, &[&[self.inquiry[0], cdb[2]], &(page.len() as u16).to_be_bytes()[..], &page].concat())
            }
            None => illegal(0x24),
        }
    }

    fn sense_mode(&self, cdb: &[u8], buffer: &mut [u8]) -> Outcome {
        let page = match cdb[2] & 0x3f {
            0x08 => [&[0x88, 18, 0x04][..], &[0; 17]].concat(),
            0x0a => [&[0x8a, 10, 0x04][..], &[0; 9]].concat(),
            _ => return illegal(0x24),
        };
        fill(buffer, &[&[page.len() as u8 + 3, 0, self.mode_parameter, 0], page.as_slice()].concat())
    }

    fn reserve_in(&self, cdb: &[u8], buffer: &mut [u8]) -> Outcome {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0];
        match cdb[1] & 0x1f {
            0 if self.key != 0 => {
                answer[7] = 8;
                answer.extend(self.key.to_be_bytes());
            }
            1 if self.held != 0 => {
                answer[7] = 16;
                answer.extend(self.key.to_be_bytes());
                answer.extend([0, 0, 0, 0, 0, self.held, 0, 0]);
            }
            _ => {}
        }
        fill(buffer, &answer)
    }

    fn reserve_out(&mut self, cdb: &[u8], list: &[u8]) -> Outcome {
        let (key, action_key) = (number(&list[..8]), number(&list[8..16]));
        match cdb[1] & 0x1f {
            6 => self.key = action_key,
            _ if key != self.key => return Outcome::with_status(formats::scsi::ScsiStatus::ReservationConflict),
            1 => self.held = cdb[2] & 0xf,
            2 => self.held = 0,
            3 => (self.key, self.held) = (0, 0),
            _ => return illegal(0x24),
        }
        Outcome::GOOD
    }
}

fn fill(buffer: &mut [u8], bytes: &[u8]) -> Outcome {
    let len = buffer.len().min(bytes.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    Outcome { residual: (buffer.len() - len) as u32, ..Outcome::GOOD }
}

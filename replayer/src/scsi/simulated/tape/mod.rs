//! The medium of a simulated tape: records and filemarks in a row, and a position between them.
//!
//! Writing ends what was behind it. There is one partition. A power cut loses records that were not made durable, by
//! filemarks without IMMED or by moving, and leaves the tape at its beginning.

mod lookup;
mod motion;
mod read;
mod tell;
mod write;

use formats::scsi::{Asc, Outcome, Sense, SenseFlags, SenseKey};

pub(super) use lookup::{OnTape, handler};

use super::random::Random;
use super::settings::{Settings, TapeSettings};

/// FILEMARK DETECTED, END-OF-PARTITION, BEGINNING-OF-PARTITION, END-OF-DATA.
const FILEMARK: u8 = 0x01;
const END: u8 = 0x02;
const BEGINNING: u8 = 0x04;
const END_OF_DATA: u8 = 0x05;

/// Bytes of tape that the smallest object takes.
const LEAST: u64 = 512;

/// A thing on tape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A logical block of any length.
    Record(Vec<u8>),
    /// A filemark.
    Filemark,
}

impl Object {
    /// Bytes of tape that it takes.
    fn room(&self) -> u64 {
        match self {
            Self::Record(bytes) => LEAST.max(bytes.len() as u64),
            Self::Filemark => LEAST,
        }
    }
}

/// A tape in its drive.
#[derive(Debug)]
pub(super) struct Tape {
    objects: Vec<Object>,
    /// Bytes of tape up to and with each object.
    ends: Vec<u64>,
    position: usize,
    /// Objects that a power cut leaves.
    durable: usize,
    settings: TapeSettings,
    block_length: u32,
    buffered: bool,
    pub(super) loaded: bool,
    /// Objects that may still be written by the command at hand, when it was told to stop on the way.
    pub(super) budget: Option<u64>,
    random: Random,
}

impl Tape {
    /// An empty tape at its beginning.
    pub(super) const fn new(settings: &Settings) -> Self {
        Self {
            objects: Vec::new(),
            ends: Vec::new(),
            position: 0,
            durable: 0,
            settings: settings.tape,
            block_length: settings.tape.block_length,
            buffered: true,
            loaded: true,
            budget: None,
            random: Random::new(settings.seed),
        }
    }

    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub(super) const fn position(&self) -> u64 {
        self.position as u64
    }

    pub(super) const fn set_modes(&mut self, block_length: u32, buffered: bool) {
        self.block_length = block_length;
        self.buffered = buffered;
    }

    /// The power goes and comes back.
    pub(super) fn power_cut(&mut self) {
        let lost = self.random.below((self.objects.len() - self.durable) as u64 + 1);
        self.truncate(self.objects.len() - lost as usize);
        self.flush();
        self.position = 0;
        self.loaded = true;
    }

    /// Ends the data behind an object.
    fn truncate(&mut self, len: usize) {
        self.objects.truncate(len);
        self.ends.truncate(len);
        self.durable = self.durable.min(len);
    }

    /// Makes everything durable.
    const fn flush(&mut self) {
        self.durable = self.objects.len();
    }

    /// Bytes of tape in front of the position.
    fn used(&self) -> u64 {
        self.position.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }
}

/// Stopped by something on the tape: with its flags and what is left of the request.
const fn stopped(key: SenseKey, qualifier: u8, flags: SenseFlags, residual: u64) -> Outcome {
    let sense = Sense { flags, ..Sense::new(key, Asc::new(0, qualifier)) };
    Outcome::check(sense.with_residual(residual as i64))
}

const fn at_filemark(residual: u64) -> Outcome {
    stopped(SenseKey::NoSense, FILEMARK, SenseFlags::FILEMARK, residual)
}

const fn at_end_of_data(residual: u64) -> Outcome {
    stopped(SenseKey::BlankCheck, END_OF_DATA, SenseFlags::empty(), residual)
}

const fn at_beginning(residual: u64) -> Outcome {
    stopped(SenseKey::NoSense, BEGINNING, SenseFlags::EOM, residual)
}

//! Where a tape stands, and where a command has brought it, as far as that can be told without reading the tape.
//!
//! A tape's *logical objects* are its blocks and filemarks, numbered together from 0 in each partition (SSC-5, "Logical
//! objects"). How far a command went follows from its CDB and its answer: INFORMATION of the sense data is what is left
//! of the count. What lies between filemarks is not in a command, so spacing over them tells no number.

use core::fmt;

use super::cdb::Decoded;
use super::opcode::{Effect, FieldName};
use super::sense::{Sense, SenseFlags, SenseKey};
use super::status::Outcome;

/// Bits of the first byte of READ POSITION data: the position is not known (LOLU, BPU), or does not fit (PERR).
const UNKNOWN: u8 = 0x04 | 0x02;
/// DESTINATION TYPE of LOCATE(16): a logical object.
const OBJECT: u64 = 0;
/// CODE of SPACE: logical blocks.
const BLOCKS: u64 = 0;

/// A position: in front of a logical object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// LOGICAL OBJECT NUMBER of what comes next.
    pub object: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} of partition {}", self.object, self.partition)
    }
}

impl Place {
    /// The place in the data of READ POSITION in its short form, 20 bytes; none where the device does not know it.
    #[must_use]
    pub fn from_short(data: &[u8; 20]) -> Option<Self> {
        let [flags, partition, _, _, a, b, c, d, ..] = *data;
        let object = u64::from(u32::from_be_bytes([a, b, c, d]));
        (flags & UNKNOWN == 0).then_some(Self { partition: u32::from(partition), object })
    }

    /// Where a tape that stood here stands after a motion; none when that cannot be told.
    #[must_use]
    pub fn after(self, motion: Motion) -> Option<Self> {
        match motion {
            Motion::By(objects) => Some(Self { object: self.object.checked_add_signed(objects)?, ..self }),
            Motion::To { partition, object } => Some(Self { partition: partition.unwrap_or(self.partition), object }),
            Motion::Unknown => None,
        }
    }
}

/// How far a command has moved a tape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Motion {
    /// By so many logical objects, towards the end where positive. Most commands: 0.
    By(i64),
    /// In front of an object of a partition, or of the partition where it stood.
    To {
        /// Which partition; the same if none.
        partition: Option<u32>,
        /// Which object.
        object: u64,
    },
    /// Its answer does not tell.
    Unknown,
}

impl Motion {
    /// Nowhere.
    pub const NONE: Self = Self::By(0);
    const BEGINNING: Self = Self::To { partition: None, object: 0 };

    /// Whether it names a place by itself, wherever the tape stood before.
    #[must_use]
    pub const fn is_absolute(self) -> bool {
        matches!(self, Self::To { .. })
    }

    /// How far a command that ended so has moved the tape.
    #[must_use]
    pub fn of(command: &Decoded, outcome: &Outcome) -> Self {
        if !matches!(command.effect(), Effect::TapeMove | Effect::TapeWrite) {
            return Self::NONE;
        }
        match outcome.current_sense() {
            _ if outcome.is_done() => done(command),
            Some(sense) => stopped(command, sense),
            None => Self::Unknown,
        }
    }
}

/// Everything that was asked for.
fn done(command: &Decoded) -> Motion {
    let get = |field| command.get(field).unwrap_or(0);
    match command.cdb.opcode() {
        // READ, WRITE, VERIFY of 6 bytes.
        0x08 | 0x0a | 0x13 => Motion::By(requested(command)),
        // READ REVERSE.
        0x0f => Motion::By(-requested(command)),
        // WRITE FILEMARKS(6).
        0x10 => Motion::By(get(FieldName::Count) as i64),
        // SPACE.
        0x11 | 0x91 if get(FieldName::Code) == BLOCKS => command.space_count().map_or(Motion::Unknown, Motion::By),
        // REWIND; ERASE and SET CAPACITY stay.
        0x01 => Motion::BEGINNING,
        0x19 | 0x0b => Motion::NONE,
        // FORMAT MEDIUM.
        0x04 => Motion::To { partition: Some(0), object: 0 },
        // LOAD UNLOAD, loading.
        0x1b if command.flag(FieldName::Load) => Motion::To { partition: Some(0), object: 0 },
        // LOCATE.
        0x2b | 0x92 if get(FieldName::DestinationType) == OBJECT => {
            let other = command.flag(FieldName::ChangePartition);
            let partition = other.then(|| get(FieldName::Partition) as u32);
            Motion::To { partition, object: get(FieldName::Object) }
        }
        // Those of 16 bytes name their place when the tape is set to explicit addresses, and do not otherwise.
        _ => Motion::Unknown,
    }
}

/// Objects that a READ or WRITE of 6 bytes asks for.
fn requested(command: &Decoded) -> i64 {
    let length = command.get(FieldName::Length).unwrap_or(0) as i64;
    if command.flag(FieldName::Fixed) { length } else { length.min(1) }
}

/// Stopped on the way by what the tape holds, as the sense data say.
fn stopped(command: &Decoded, sense: &Sense) -> Motion {
    let opcode = command.cdb.opcode();
    let spacing = matches!(opcode, 0x11 | 0x91) && command.get(FieldName::Code) == Some(BLOCKS);
    let reading = matches!(opcode, 0x08 | 0x0a | 0x13);
    if !spacing && !reading {
        return Motion::Unknown;
    }
    let asked = if spacing { command.space_count().unwrap_or(0) } else { requested(command) };
    let single = reading && !command.flag(FieldName::Fixed);
    // What is left of a single block is told in bytes.
    let left = if single { Some(asked) } else { sense.residual() };
    let passed =
        left.and_then(|left| asked.abs().checked_sub(left)).filter(|passed| (0..=asked.abs()).contains(passed));
    let Some(passed) = passed else { return Motion::Unknown };
    let way = if asked < 0 { -1 } else { 1 };
    match sense.key {
        // The filemark, or the block of another length, is passed too.
        SenseKey::NoSense if sense.flags.intersects(SenseFlags::FILEMARK | SenseFlags::ILI) => {
            Motion::By(way * (passed + 1))
        }
        SenseKey::NoSense if sense.flags.contains(SenseFlags::EOM) && asked < 0 => Motion::BEGINNING,
        // Early warning: a single block was written.
        SenseKey::NoSense if sense.flags.contains(SenseFlags::EOM) && opcode == 0x0a => {
            Motion::By(if single { asked } else { passed })
        }
        SenseKey::BlankCheck if opcode != 0x0a => Motion::By(passed),
        _ => Motion::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::asc::Asc;
    use super::super::build::{self, SpaceCode};
    use super::super::{Cdb, DeviceType, decode};
    use super::*;

    fn motion(cdb: Cdb, outcome: &Outcome) -> Motion {
        Motion::of(&decode(cdb.as_bytes(), DeviceType::TAPE).expect("a CDB"), outcome)
    }

    fn good(cdb: Cdb) -> Motion {
        motion(cdb, &Outcome::GOOD)
    }

    fn check(key: SenseKey, flags: SenseFlags, residual: i64) -> Outcome {
        Outcome::check(Sense { flags, ..Sense::new(key, Asc::new(0, 1)) }.with_residual(residual))
    }

    #[test]
    fn what_was_done_tells_how_far() {
        let (read, write) = (build::tape_read_6, build::tape_write_6);
        assert_eq!(good(read(true, false, 7).unwrap()), Motion::By(7));
        assert_eq!(good(read(false, true, 65_536).unwrap()), Motion::By(1));
        assert_eq!(good(write(false, 0).unwrap()), Motion::By(0));
        assert_eq!(good(build::write_filemarks_6(2, false).unwrap()), Motion::By(2));
        assert_eq!(good(build::space_6(SpaceCode::Blocks, -3).unwrap()), Motion::By(-3));
        assert_eq!(good(build::space_6(SpaceCode::Filemarks, 1).unwrap()), Motion::Unknown);
        assert_eq!(good(build::rewind(false)), Motion::BEGINNING);
        assert_eq!(good(build::locate_10(9, Some(1), false)), Motion::To { partition: Some(1), object: 9 });
        assert_eq!(good(build::locate_16(9, None, false)), Motion::To { partition: None, object: 9 });
        assert_eq!(good(build::mode_select_6(false, 12)), Motion::NONE);
        assert_eq!(good(build::inquiry(None, 36)), Motion::NONE);
    }

    #[test]
    fn what_stopped_it_is_passed_too() {
        let (mark, ili) = (SenseFlags::FILEMARK, SenseFlags::ILI);
        let stop = |cdb, flags, left| motion(cdb, &check(SenseKey::NoSense, flags, left));
        let fixed = build::tape_read_6(true, false, 5).unwrap();
        assert_eq!(stop(fixed, mark, 3), Motion::By(3));
        assert_eq!(stop(fixed, ili, 5), Motion::By(1));
        assert_eq!(stop(fixed, mark, 6), Motion::Unknown, "more is left than was asked for");
        let single = build::tape_read_6(false, false, 4096).unwrap();
        assert_eq!((stop(single, mark, 4096), stop(single, ili, -100)), (Motion::By(1), Motion::By(1)));
        let back = build::space_6(SpaceCode::Blocks, -5).unwrap();
        assert_eq!((stop(back, mark, 3), stop(back, SenseFlags::EOM, 3)), (Motion::By(-3), Motion::BEGINNING));
        let write = build::tape_write_6(false, 512).unwrap();
        assert_eq!(stop(write, SenseFlags::EOM, 0), Motion::By(1), "early warning");
        let end = |cdb| motion(cdb, &check(SenseKey::BlankCheck, SenseFlags::empty(), 2));
        assert_eq!((end(fixed), end(single), end(write)), (Motion::By(3), Motion::By(0), Motion::Unknown));
        assert_eq!(motion(write, &check(SenseKey::MediumError, SenseFlags::empty(), 0)), Motion::Unknown);
    }

    #[test]
    fn places_are_read_and_moved() {
        let mut data = [0; 20];
        (data[1], data[7]) = (2, 9);
        let place = Place { partition: 2, object: 9 };
        assert_eq!(Place::from_short(&data), Some(place));
        data[0] = 0x80;
        assert_eq!(Place::from_short(&data), Some(place), "beginning of partition is a flag of its own");
        data[0] = 0x04;
        assert_eq!(Place::from_short(&data), None);
        assert_eq!(place.after(Motion::By(-9)), Some(Place { object: 0, ..place }));
        assert_eq!(place.after(Motion::By(-10)), None);
        assert_eq!(place.after(Motion::BEGINNING), Some(Place { object: 0, ..place }));
        assert_eq!(place.after(Motion::Unknown), None);
    }
}

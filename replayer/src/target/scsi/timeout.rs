//! How long each command may take before the kernel aborts it: as the opcode table says ([`Timing`]), unless told otherwise.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use formats::scsi::{DeviceType, Timing, opcode};
use thiserror::Error;

/// The shortest time-out that is of use: the kernel makes no less of it for a disk (BLK_MIN_SG_TIMEOUT, block/blk.h).
const SHORTEST: Duration = Duration::from_secs(7);
/// The longest: what the kernel's milliseconds in 32 bits hold, and more than any command takes.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a time-out is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutFor {
    /// All commands of a class.
    Class(Timing),
    /// All commands of an operation code.
    Opcode(u8),
}

/// Why a time-out is none.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum TimeoutError {
    /// Neither class nor operation code.
    #[error(
        "{0:?} is no class of commands: write an operation code such as 0x93, or {names}", 
        names = Timing::ALL.map(Timing::name).join(", ")
    )]
    For(String),
    /// Too short or too long.
    #[error("a time-out of {} s is not between {} s and {} s", .0.as_secs(), SHORTEST.as_secs(), LONGEST.as_secs())]
    Length(Duration),
}

impl FromStr for TimeoutFor {
    type Err = TimeoutError;

    /// The name of a class, or an operation code in hexadecimal with `0x`.
    fn from_str(text: &str) -> Result<Self, TimeoutError> {
        let opcode = text.strip_prefix("0x").and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let class = || Timing::ALL.into_iter().find(|class| class.name() == text);
        opcode.map(Self::Opcode).or_else(|| class().map(Self::Class)).ok_or_else(|| TimeoutError::For(text.to_owned()))
    }
}

/// The time-outs of a device's commands. An operation code counts for more than its class.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeouts {
    classes: BTreeMap<Timing, Duration>,
    opcodes: BTreeMap<u8, Duration>,
}

impl Timeouts {
    /// Sets one.
    ///
    /// # Errors
    /// It is shorter than the kernel takes it, or longer than any command.
    pub fn set(&mut self, what: TimeoutFor, time: Duration) -> Result<(), TimeoutError> {
        if !(SHORTEST..=LONGEST).contains(&time) {
            return Err(TimeoutError::Length(time));
        }
        match what {
            TimeoutFor::Class(class) => self.classes.insert(class, time),
            TimeoutFor::Opcode(opcode) => self.opcodes.insert(opcode, time),
        };
        Ok(())
    }

    /// The time-out of a command.
    #[must_use]
    pub fn of(&self, cdb: &[u8], device: DeviceType) -> Duration {
        let opcode = cdb.first().copied().unwrap_or(0);
        let class = Timing::of(&opcode::look_up(cdb, device), device);
        let told = self.opcodes.get(&opcode).or_else(|| self.classes.get(&class));
        told.copied().unwrap_or(Duration::from_secs(class.seconds().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_it_unless_told_otherwise() {
        let (disk, seconds) = (DeviceType::DISK, Duration::from_secs);
        let mut timeouts = Timeouts::default();
        assert_eq!(timeouts.of(&[0x2a; 10], disk), seconds(60));
        assert_eq!(timeouts.of(&[0x04; 6], disk), seconds(24 * 3600));
        timeouts.set("blocks".parse().unwrap(), seconds(1200)).unwrap();
        timeouts.set("0x93".parse().unwrap(), seconds(30)).unwrap();
        assert_eq!([0x41, 0x93].map(|opcode| timeouts.of(&[opcode; 16], disk)), [seconds(1200), seconds(30)]);
        assert_eq!(timeouts.of(&[], disk), seconds(60));
    }

    #[test]
    fn what_is_none_is_refused() {
        let text = "slow".parse::<TimeoutFor>().unwrap_err().to_string();
        assert!(text.contains("0x93") && text.contains("usual, flush, blocks, tape, wind, medium"), "{text}");
        assert!("0x193".parse::<TimeoutFor>().is_err() && "93".parse::<TimeoutFor>().is_err());
        let mut timeouts = Timeouts::default();
        for seconds in [0, 6, 31 * 24 * 3600] {
            let set = timeouts.set(TimeoutFor::Opcode(0x2a), Duration::from_secs(seconds));
            assert!(set.unwrap_err().to_string().contains("between 7 s and 2592000 s"));
        }
    }
}

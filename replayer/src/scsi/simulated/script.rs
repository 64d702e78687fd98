//! Errors by order: which command is to go wrong, and how.

use std::ops::Range;
use std::time::Duration;

use formats::scsi::{Blocks, Decoded, Effect, Outcome, list};

use super::random::Random;

/// Of the commands that a rule selects, which ones it strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// Each.
    Always,
    /// The first so many.
    First(u64),
    /// Only this one, counted from 1.
    Nth(u64),
    /// Each one whose number, counted from 1, is a multiple of this.
    Every(u64),
    /// Each with this chance in a million.
    PerMillion(u32),
}

/// Which commands a rule selects: all for which everything holds that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Operation codes; none given: all.
    pub opcodes: Vec<u8>,
    /// Service action.
    pub service: Option<u16>,
    /// They address a block within this range; for UNMAP, in its list.
    pub blocks: Option<Range<u64>>,
    /// They come from this initiator, counted from 0 in the order in which they were made.
    pub initiator: Option<usize>,
}

impl Selector {
    /// All commands with these operation codes.
    #[must_use]
    pub fn opcodes(opcodes: &[u8]) -> Self {
        Self { opcodes: opcodes.to_vec(), ..Self::default() }
    }

    /// Only those that address a block of this range.
    #[must_use]
    pub fn within(self, blocks: Range<u64>) -> Self {
        Self { blocks: Some(blocks), ..self }
    }

    fn selects(&self, command: &Decoded, data: &[u8], initiator: usize) -> bool {
        let opcode = self.opcodes.is_empty() || self.opcodes.contains(&command.cdb.opcode());
        let service = self.service.is_none_or(|service| command.row().and_then(|row| row.service) == Some(service));
        let from = self.initiator.is_none_or(|wanted| wanted == initiator);
        opcode && service && from && self.blocks.as_ref().is_none_or(|blocks| addresses(command, data, blocks))
    }
}

/// Whether a command addresses a block of a range.
fn addresses(command: &Decoded, data: &[u8], wanted: &Range<u64>) -> bool {
    if command.effect() == Effect::UnmapList {
        let runs = list::unmap_ranges(data).unwrap_or_default();
        return runs.iter().any(|run| run.lba < wanted.end && run.lba.saturating_add(run.blocks) > wanted.start);
    }
    let Some(lba) = command.lba() else { return false };
    let end = match command.transfer_blocks() {
        Some(Blocks::Count(count)) => lba.saturating_add(count),
        Some(Blocks::ToEnd) => u64::MAX,
        None => lba.saturating_add(1),
    };
    lba < wanted.end && end > wanted.start
}

/// What happens to a command that is struck.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// It is not executed; this is the answer.
    Instead(Outcome),
    /// It is executed, and if that went well this is the answer.
    After(Outcome),
    /// It is executed as far as so many blocks (on a tape: records), and if that went well this is the answer.
    Part {
        /// Blocks or records that are still changed.
        units: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// It takes longer by so much. Longer than the request waits, and the answer is DID_TIME_OUT.
    Late {
        /// By how much.
        by: Duration,
        /// Whether it is executed although it is late; otherwise it ends with DID_TIME_OUT whatever the time.
        executed: bool,
    },
    /// The device is gone from now on, with or without having executed it: ENODEV until it is there again.
    Gone {
        /// Whether it was executed.
        executed: bool,
    },
}

/// A rule of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Which commands.
    pub selector: Selector,
    /// Which of them.
    pub times: Times,
    /// What happens.
    pub reaction: Reaction,
}

/// The rules in force, oldest first. The first one that strikes decides; each counts what it selects.
#[derive(Debug)]
pub(super) struct Script {
    rules: Vec<(Rule, u64)>,
    random: Random,
    struck: u64,
}

impl Script {
    pub(super) const fn new(random: Random) -> Self {
        Self { rules: Vec::new(), random, struck: 0 }
    }

    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many commands were struck.
    pub(super) const fn struck(&self) -> u64 {
        self.struck
    }

    /// What is to happen to this command.
    pub(super) fn strike(&mut self, command: &Decoded, data: &[u8], initiator: usize) -> Option<Reaction> {
        let mut reaction = None;
        for (rule, seen) in &mut self.rules {
            if !rule.selector.selects(command, data, initiator) {
                continue;
            }
            *seen += 1;
            let strikes = match rule.times {
                Times::Always => true,
                Times::First(count) => *seen <= count,
                Times::Nth(number) => *seen == number,
                Times::Every(step) => step > 0 && *seen % step == 0,
                Times::PerMillion(parts) => self.random.per_million(parts),
            };
            reaction = reaction.or(strikes.then_some(rule.reaction));
        }
        self.struck += u64::from(reaction.is_some());
        reaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::scsi::build::{self, Access};
    use formats::scsi::{DeviceType, ScsiStatus, decode};

    const BUSY: Reaction = Reaction::Instead(Outcome::with_status(ScsiStatus::Busy));

    fn struck(selector: Selector, times: Times) -> Vec<u64> {
        let mut script = Script::new(Random::new(1));
        script.add(Rule { selector, times, reaction: BUSY });
        let write = |lba| decode(&build::write_10(lba, 2, Access::default()), DeviceType::DISK).expect("whole");
        (0..10).filter(|lba| script.strike(&write(*lba as u32), &[], 0).is_some()).collect()
    }

    #[test]
    fn commands_are_selected_and_counted() {
        let all = Selector::opcodes(&[0x2a]);
        assert_eq!(struck(all.clone(), Times::First(2)), [0, 1]);
        assert_eq!(struck(all.clone(), Times::Nth(3)), [2]);
        assert_eq!(struck(all.clone(), Times::Every(4)), [3, 7]);
        assert_eq!(struck(all.clone().within(4..6), Times::Always), [3, 4, 5]);
        assert_eq!(struck(all.clone().within(4..6), Times::Nth(2)), [4]);
        assert!(struck(all.clone(), Times::PerMillion(0)).is_empty());
        assert_eq!(struck(all, Times::PerMillion(1_000_000)).len(), 10);
        assert!(struck(Selector::opcodes(&[0x28]), Times::Always).is_empty());
        assert!(struck(Selector { initiator: Some(1), ..Selector::default() }, Times::Always).is_empty());
    }
}

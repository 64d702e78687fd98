//! What happened in runs.

use std::fmt;
use std::ops::AddAssign;

use super::coverage::Coverage;

/// Steps in an hour of model time.
const STEPS_PER_HOUR: f64 = 3_600_000.0;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened in a run, or in many.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Report {
            $($(#[$doc])* pub $name: u64,)*
            /// States and transitions that were reached.
            pub coverage: Coverage,
        }

        impl AddAssign for Report {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
                self.coverage += other.coverage;
            }
        }

        impl Report {
            /// Everything that should happen in some run, by name.
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counts! {
    /// Steps until all was healed.
    steps,
    /// Standbys.
    standbys,
    /// Commands issued.
    commands,
    /// Connections cut.
    cuts,
    /// Of these: the standby still took something of the connection that the primary had given up.
    abandoned,
    /// Times that nothing arrived for a while.
    stalls,
    /// Frames damaged on their way.
    damaged,
    /// Frames that came twice.
    duplicated,
    /// Frames that came too early.
    reordered,
    /// Times that the agent was killed.
    agent_kills,
    /// Times that a standby was killed.
    standby_kills,
    /// Times that a standby lost power.
    standby_power_cuts,
    /// Times that the primary's host lost power.
    host_power_cuts,
    /// Standbys that became members of the group while it was at work.
    joined,
    /// Standbys that left it.
    left,
    /// Events that the ring lost.
    events_lost,
    /// Times that the primary's journal was full and a dirty map took over.
    overflows,
    /// Of these: another standby was in step, and stayed so.
    lone_overflows,
    /// Full resyncs.
    full_syncs,
    /// Entries that left a hole.
    holes,
    /// Bytes of regions that became durable.
    resynced_bytes,
    /// Steps at which a standby said "consistent" and was checked.
    consistent,
    /// Waits until a standby held everything.
    held,
    /// Entries that a standby's device did not take.
    refused,
    /// Times that a standby's device lost its cache.
    caches_lost,
    /// Times that a standby went back to its checkpoint for that.
    rewinds,
    /// Stretches that standbys asked for.
    asked,
    /// Bytes that healed.
    healed_bytes,
    /// What the run did, step by step, in one number: a seed always gives the same.
    digest,
}

impl Report {
    /// Takes a number into the digest (FNV-1a, word by word).
    pub(super) fn digest(&mut self, word: u64) {
        let start = if self.digest == 0 { 0xcbf2_9ce4_8422_2325 } else { self.digest };
        self.digest = (start ^ word).wrapping_mul(0x100_0000_01b3);
    }

    /// Commands, messages and disturbances.
    #[must_use]
    pub fn events(&self) -> u64 {
        let disturbances = [
            self.cuts,
            self.stalls,
            self.damaged,
            self.duplicated,
            self.reordered,
            self.agent_kills,
            self.standby_kills,
            self.standby_power_cuts,
            self.host_power_cuts,
            self.joined,
            self.left,
            self.events_lost,
            self.refused,
            self.caches_lost,
        ];
        self.commands + self.coverage.messages + disturbances.iter().sum::<u64>()
    }
}

/// What happened in many runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Sums over them.
    pub total: Report,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        let hours = total.steps as f64 / STEPS_PER_HOUR;
        writeln!(f, "{} runs, {hours:.2} virtual hours, {} events: no law broken", self.runs, total.events())?;
        for (name, count) in total.counts().into_iter().filter(|(name, _)| *name != "digest") {
            writeln!(f, "  {:<38} {count:>10}{}", name.replace('_', " "), if count == 0 { "  NEVER" } else { "" })?;
        }
        writeln!(f, "  digest {:#018x}", total.digest)?;
        write!(f, "{}", total.coverage)
    }
}

/// A run that broke a law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its seed: the same seed fails in the same way.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} failed at step {}: {}\nreplay with BLKECHO_SIM_SEED={} cargo test -p system-tests sim",
            self.seed, self.step, self.what, self.seed
        )
    }
}

impl std::error::Error for Failure {}

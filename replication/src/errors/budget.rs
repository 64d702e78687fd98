//! How often and for how long each class of retries may go on.

use core::time::Duration;

use super::action::{Budget, Delay};

/// Number of classes.
pub(super) const CLASSES: usize = Budget::ALL.len();

/// The limit of one class of retries, for one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Attempts or polls.
    pub attempts: u32,
    /// Time since the first of them.
    pub time: Duration,
}

/// First and longest wait of a delay that doubles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Before the first attempt.
    pub first: Duration,
    /// Never longer.
    pub longest: Duration,
}

impl Wait {
    /// The wait before the attempt with this number, counted from 0.
    #[must_use]
    pub fn before(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// The limits of all classes and the times of all delays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budgets {
    limits: [Limit; CLASSES],
    /// [`Delay::Short`].
    pub short: Wait,
    /// [`Delay::Long`].
    pub long: Wait,
    /// Between polls of a device that is not ready.
    pub poll: Wait,
}

const fn limit(attempts: u32, seconds: u64) -> Limit {
    Limit { attempts, time: Duration::from_secs(seconds) }
}

const fn wait(first_millis: u64, longest_millis: u64) -> Wait {
    Wait { first: Duration::from_millis(first_millis), longest: Duration::from_millis(longest_millis) }
}

const fn usual(budget: Budget) -> Limit {
    match budget {
        Budget::Attention => limit(16, 60),
        Budget::Busy => limit(200, 120),
        Budget::Conflict => limit(10, 60),
        Budget::Ready => limit(400, 300),
        Budget::LongOperation => limit(20_000, 24 * 3600),
        Budget::Path => limit(400, 300),
        Budget::Medium | Budget::Abort | Budget::Transport => limit(5, 120),
        Budget::Hardware | Budget::Odd => limit(3, 60),
        Budget::TimeOut => limit(3, 1800),
        Budget::Space => limit(20, 600),
        Budget::Recheck => limit(8, 60),
    }
}

impl Budgets {
    /// The usual limits. The kernel's own are 5 tries of 30 s each (`SD_MAX_RETRIES`, `SD_TIMEOUT` in drivers/scsi/sd.h);
    /// behind SG_IO nothing is retried by the kernel, so these take their place.
    pub const USUAL: Self = {
        let mut limits = [limit(0, 0); CLASSES];
        let mut index = 0;
        while index < CLASSES {
            limits[index] = usual(Budget::ALL[index]);
            index += 1;
        }
        Self { limits, short: wait(10, 2_000), long: wait(1_000, 30_000), poll: wait(100, 10_000) }
    };

    /// The limit of a class.
    #[must_use]
    pub const fn limit(&self, budget: Budget) -> Limit {
        // In bounds: one limit per class.
        self.limits[budget as usize]
    }

    /// The same with another limit for one class.
    #[must_use]
    pub const fn with_limit(mut self, budget: Budget, limit: Limit) -> Self {
        self.limits[budget as usize] = limit;
        self
    }

    /// The wait before the attempt with this number.
    #[must_use]
    pub fn delay(&self, delay: Delay, attempt: u32) -> Duration {
        match delay {
            Delay::None => Duration::ZERO,
            Delay::Short => self.short.before(attempt),
            Delay::Long => self.long.before(attempt),
        }
    }

    /// Attempts and polls that one command may take in all, the first one and one fallback included.
    #[must_use]
    pub fn most_attempts(&self) -> u64 {
        2 + self.limits.iter().map(|limit| u64::from(limit.attempts)).sum::<u64>()
    }

    /// Time that one command may take in all, if its attempts themselves took none: every class to its end, and a last
    /// wait in each.
    #[must_use]
    pub fn most_time(&self) -> Duration {
        let last = self.short.longest.max(self.long.longest).max(self.poll.longest);
        let sum = |total: Duration, limit: &Limit| total.saturating_add(limit.time).saturating_add(last);
        self.limits.iter().fold(Duration::ZERO, sum)
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::USUAL
    }
}

/// What one command has used of its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spending {
    used: [u32; CLASSES],
    since: [Duration; CLASSES],
}

impl Spending {
    pub(super) const NONE: Self = Self { used: [0; CLASSES], since: [Duration::ZERO; CLASSES] };

    /// Takes one attempt of a class; its number, or nothing when count or time are used up.
    pub(super) fn take(&mut self, budget: Budget, limit: Limit, now: Duration) -> Option<u32> {
        // In bounds: one counter per class.
        let (used, since) = (&mut self.used[budget as usize], &mut self.since[budget as usize]);
        if *used == 0 {
            *since = now;
        }
        if *used >= limit.attempts || now.saturating_sub(*since) > limit.time {
            return None;
        }
        *used += 1;
        Some(*used - 1)
    }

    /// Attempts taken, of all classes.
    pub(super) fn total(&self) -> u32 {
        self.used.iter().fold(0, |sum, used| sum.saturating_add(*used))
    }
}

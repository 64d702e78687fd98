//! The deterministic simulator: one primary and one standby, the real `replication` and `journal` code, and a model of
//! everything else that loses, cuts, crashes and tears by a seed.
//!
//! A run is chaos for a while, then calm; at the end both ends must be equal and say so. The checker looks all the
//! time for the laws:
//!
//! 1. every difference is known to the journal, a saved dirty map or the kernel's;
//! 2. a standby that says "consistent" holds what the primary could have had after a power cut;
//! 3. journal entries are freed only when they are held or covered (a consequence of 1 at every instant);
//! 4. damaged entries are never applied (no block ever holds what no command wrote);
//! 5. what is held, pending and in flight stays within its limits;
//! 6. what the standby's device did not take is a hole that nobody forgets, and heals once the device is well.
//!
//! `BLKECHO_SIM_SEED=n cargo test -p system-tests sim` replays one seed.

mod agent;
mod checker;
mod kernel;
mod link;
mod standby;
mod target;

use std::fmt;
use std::ops::AddAssign;

use formats::wire::DataState;
use journal::faulty::Rng;
use replication::primary::Mode;

use agent::{Agent, Files};
use kernel::{Kernel, Wildness, chance};
use link::Link;
use standby::StandbyHost;

/// Steps of chaos in a run; one step is a millisecond of model time.
const CHAOS_STEPS: u64 = 1500;
/// Steps within which everything must be healed afterwards.
const CALM_STEPS: u64 = 20_000;
/// Seeds that failed once; they run first. One per line, `#` begins a comment.
const KEPT_SEEDS: &str = include_str!("seeds.txt");

/// What happened in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Steps until all was healed.
    pub steps: u64,
    /// Commands issued.
    pub commands: u64,
    /// Connections cut.
    pub cuts: u64,
    /// Frames damaged on their way.
    pub damaged: u64,
    /// Times that the agent was killed.
    pub agent_kills: u64,
    /// Times that the standby was killed.
    pub standby_kills: u64,
    /// Times that the standby lost power.
    pub standby_power_cuts: u64,
    /// Times that the primary's host lost power.
    pub host_power_cuts: u64,
    /// Events that the ring lost.
    pub events_lost: u64,
    /// Times that the primary's journal was full.
    pub overflows: u64,
    /// Full resyncs.
    pub full_syncs: u64,
    /// Entries that left a hole.
    pub holes: u64,
    /// Bytes of regions that became durable.
    pub resynced_bytes: u64,
    /// Steps at which the standby said "consistent" and was checked.
    pub consistent: u64,
    /// Entries that the standby's device did not take.
    pub refused: u64,
    /// Times that the standby's device lost its cache.
    pub caches_lost: u64,
    /// Times that the standby went back to its checkpoint for that.
    pub rewinds: u64,
    /// Stretches that the standby asked for.
    pub asked: u64,
    /// Bytes that healed.
    pub healed_bytes: u64,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.commands += other.commands;
        self.cuts += other.cuts;
        self.damaged += other.damaged;
        self.agent_kills += other.agent_kills;
        self.standby_kills += other.standby_kills;
        self.standby_power_cuts += other.standby_power_cuts;
        self.host_power_cuts += other.host_power_cuts;
        self.events_lost += other.events_lost;
        self.overflows += other.overflows;
        self.full_syncs += other.full_syncs;
        self.holes += other.holes;
        self.resynced_bytes += other.resynced_bytes;
        self.consistent += other.consistent;
        self.refused += other.refused;
        self.caches_lost += other.caches_lost;
        self.rewinds += other.rewinds;
        self.asked += other.asked;
        self.healed_bytes += other.healed_bytes;
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

/// How often things go wrong in a run: once in so many steps, 0 for never.
#[derive(Clone, Copy, Debug)]
struct Profile {
    issue: u64,
    cut: u64,
    outage: u64,
    damage: u64,
    agent_kill: u64,
    standby_kill: u64,
    standby_power: u64,
    host_power: u64,
}

impl Profile {
    /// Seeds differ in what they do most, so that long quiet stretches occur as well as storms.
    fn draw(rng: &mut Rng) -> Self {
        let mut rate = |often: u64| [0, often, often * 4][rng.below(3) as usize];
        Self {
            cut: rate(90),
            outage: rate(200),
            damage: rate(150),
            agent_kill: rate(200),
            standby_kill: rate(200),
            standby_power: rate(250),
            host_power: rate(1500),
            issue: 1 + rng.below(3),
        }
    }
}

struct World {
    now: u64,
    rng: Rng,
    profile: Profile,
    kernel: Kernel,
    files: Files,
    agent: Option<Agent>,
    agent_back: u64,
    standby: StandbyHost,
    standby_back: u64,
    reachable_at: u64,
    link: Link,
    report: Report,
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(&mut rng);
        let mut rate = |often: u64| [0, often, often * 10][rng.below(3) as usize];
        let wild = Wildness { lost: rate(30), payload_lost: rate(30), failed: rate(40), jitter: 1 + seed % 6 };
        let depth = [1, 2, 8][rng.below(3) as usize];
        Ok(Self {
            now: 0,
            profile,
            kernel: Kernel::new(wild),
            files: Files::default(),
            agent: None,
            agent_back: rng.below(40),
            standby: StandbyHost::new(depth, seed)?,
            standby_back: 0,
            reachable_at: 0,
            link: Link::default(),
            report: Report::default(),
            rng,
        })
    }

    fn run(&mut self) -> Result<Report, String> {
        while self.now < CHAOS_STEPS {
            self.disturb()?;
            self.step()?;
        }
        self.kernel.calm();
        self.standby.target.calm();
        while !self.is_healed() {
            if self.now > CHAOS_STEPS + CALM_STEPS {
                return Err(format!("not healed: {}", self.describe()));
            }
            self.step()?;
        }
        self.retire_agent();
        let counts = self.standby.counts;
        self.report.refused = counts.refused;
        self.report.caches_lost = counts.lost;
        self.report.rewinds = counts.rewinds;
        self.report.asked = counts.asked;
        self.report.healed_bytes = counts.healed + self.standby.engine.holes().healed_bytes();
        self.report.steps = self.now;
        self.report.commands = self.kernel.history.commands.len() as u64 - 1;
        Ok(self.report)
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        if self.now < CHAOS_STEPS && self.rng.one_in(self.profile.issue) {
            self.kernel.issue(self.now, &mut self.rng);
        }
        self.kernel.step(self.now, &mut self.rng);
        self.step_agent()?;
        if self.now >= self.standby_back && !self.standby.step(self.now, &mut self.link, &mut self.rng)? {
            self.cut();
        }
        self.check()
    }

    fn step_agent(&mut self) -> Result<(), String> {
        if self.agent.is_none() && self.now >= self.agent_back {
            self.agent = Some(Agent::start(self.now, &mut self.files, &mut self.kernel)?);
        }
        let Some(agent) = &mut self.agent else { return Ok(()) };
        agent.step(self.now, &mut self.files, &mut self.kernel, &mut self.rng)?;
        let reachable = self.now >= self.reachable_at && self.now >= self.standby_back;
        if !agent.communicate(self.now, &mut self.link, &self.kernel, reachable, &mut self.rng)? {
            self.cut();
        }
        Ok(())
    }

    fn disturb(&mut self) -> Result<(), String> {
        let profile = self.profile;
        if chance(&mut self.rng, profile.cut) && self.link.up {
            self.cut();
        }
        if chance(&mut self.rng, profile.outage) {
            self.cut();
            self.reachable_at = self.now + self.rng.below(400);
        }
        if chance(&mut self.rng, profile.damage) && self.link.corrupt(self.rng.next_u64()) {
            self.report.damaged += 1;
        }
        if chance(&mut self.rng, profile.agent_kill) {
            self.kill_agent();
        }
        if chance(&mut self.rng, profile.host_power) {
            self.kill_agent();
            self.files.power_cut(&mut self.rng);
            self.kernel.power_cut(&mut self.rng);
            self.report.host_power_cuts += 1;
        }
        if chance(&mut self.rng, profile.standby_kill) {
            self.cut();
            self.standby.kill(&mut self.rng)?;
            self.standby_back = self.now + self.rng.below(60);
            self.report.standby_kills += 1;
        }
        if chance(&mut self.rng, profile.standby_power) {
            self.cut();
            self.standby.power_cut(&mut self.rng)?;
            self.standby_back = self.now + self.rng.below(60);
            self.report.standby_power_cuts += 1;
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.report.cuts += u64::from(self.link.up);
        self.link.cut();
        self.standby.disconnected();
        if let Some(agent) = &mut self.agent {
            agent.disconnected(self.now);
        }
    }

    fn kill_agent(&mut self) {
        self.cut();
        self.report.agent_kills += u64::from(self.agent.is_some());
        self.retire_agent();
        self.files.kill();
        self.agent_back = self.now + self.rng.below(80);
    }

    /// Takes its counters into the report.
    fn retire_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let counters = agent.engine.status(std::time::Duration::ZERO).counters;
        self.report.overflows += counters.overflows;
        self.report.full_syncs += counters.full_syncs;
        self.report.holes += counters.holes;
        self.report.resynced_bytes += counters.resynced_bytes;
        self.report.events_lost = self.kernel.counts.lost.iter().sum();
    }

    fn check(&mut self) -> Result<(), String> {
        self.report.consistent += u64::from(checker::check_consistency(&self.kernel, &self.standby)?);
        let Some(agent) = &self.agent else { return Ok(()) };
        let status = self.standby.engine.status();
        let follows = status.stream.0 == self.kernel.boot && agent.stream() == self.kernel.boot;
        if follows && status.data != DataState::Blank && self.now.is_multiple_of(7) {
            let mut known = Agent::known_to_differ(&self.files, Some(agent), &self.kernel)?;
            for (hole, _) in self.standby.engine.holes().iter() {
                known.mark(hole.volume, hole.range).map_err(|error| error.to_string())?;
            }
            checker::check_nothing_silent(&self.kernel, &self.standby, &known)?;
        }
        Ok(())
    }

    fn is_healed(&self) -> bool {
        let Some(agent) = &self.agent else { return false };
        let status = self.standby.engine.status();
        self.kernel.is_idle()
            && agent.engine.mode() == Mode::Ordered
            && status.data == DataState::Consistent
            && !self.standby.engine.holes().has_holes()
            && status.stream.0 == self.kernel.boot
            && status.applied.seq.0 == self.kernel.seq
            && *self.standby.content() == self.kernel.disk
    }

    fn describe(&mut self) -> String {
        let agent = self.agent.as_mut().map(|agent| agent.engine.status(std::time::Duration::from_millis(self.now)));
        let equal = *self.standby.content() == self.kernel.disk;
        format!(
            "equal: {equal}, seq {}, primary {agent:?}, standby {:?}",
            self.kernel.seq,
            self.standby.engine.status()
        )
    }
}

/// Runs one seed.
///
/// # Errors
/// The law that was broken, with its seed and step.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let failure = |step, what| Failure { seed, step, what };
    let mut world = World::new(seed).map_err(|what| failure(0, what))?;
    world.run().map_err(|what| failure(world.now, what))
}

/// Runs the kept seeds, then `count` seeds from `first` on.
///
/// # Errors
/// The first failure.
pub fn run_many(first: u64, count: u64) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    for seed in kept_seeds().chain(first..first.saturating_add(count)) {
        summary.total += run(seed)?;
        summary.runs += 1;
    }
    Ok(summary)
}

/// Seeds that failed once.
pub fn kept_seeds() -> impl Iterator<Item = u64> {
    KEPT_SEEDS.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_break_no_law() {
        if let Some(seed) = std::env::var("BLKECHO_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
            match run(seed) {
                Ok(report) => println!("{report:#?}"),
                Err(failure) => panic!("{failure}"),
            }
            return;
        }
        let summary = run_many(1, 300).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{summary:#?}");
        let total = summary.total;
        let happened = [
            total.cuts,
            total.damaged,
            total.agent_kills,
            total.standby_kills,
            total.standby_power_cuts,
            total.host_power_cuts,
            total.events_lost,
            total.overflows,
            total.full_syncs,
            total.holes,
            total.consistent,
            total.refused,
            total.caches_lost,
            total.rewinds,
            total.asked,
            total.healed_bytes,
        ];
        assert!(happened.iter().all(|count| *count > 0), "the schedules are too tame: {total:?}");
    }

    #[test]
    fn a_seed_always_gives_the_same_run() {
        assert_eq!(run(11), run(11));
    }
}

//! One run: everything there is, its steps, and what is done to it.

use formats::Position;
use formats::wire::DataState;
use journal::faulty::Rng;
use replication::primary::Mode;
use replication::standby::StandbyMode;

use super::agent::{Agent, ms, name_of};
use super::channel::Step;
use super::checker;
use super::files::Files;
use super::kernel::{Kernel, Wildness, chance};
use super::link::Link;
use super::profile::Profile;
use super::report::Report;
use super::standby::StandbyHost;
use super::waiter::Waiter;

/// Steps of chaos in a run; one step is a millisecond of model time.
const CHAOS_STEPS: u64 = 1500;
/// Steps within which everything must be healed afterwards.
const CALM_STEPS: u64 = 20_000;

/// One standby and the way to it.
struct Site {
    host: StandbyHost,
    link: Link,
    /// The host is down until this step ...
    back: u64,
    /// ... and out of reach until this one.
    reachable_at: u64,
    /// It does something every so many steps.
    every: u64,
    /// Whether it belongs to the group.
    member: bool,
    waiter: Waiter,
}

pub(super) struct World {
    pub(super) now: u64,
    rng: Rng,
    profile: Profile,
    kernel: Kernel,
    files: Files,
    agent: Option<Agent>,
    agent_back: u64,
    sites: Vec<Site>,
    report: Report,
}

impl Site {
    fn new(seed: u64, rng: &mut Rng) -> Result<Self, String> {
        let depth = [1, 2, 8][rng.below(3) as usize];
        Ok(Self {
            host: StandbyHost::new(depth, seed)?,
            link: Link::slow([0, 0, 5, 40][rng.below(4) as usize]),
            back: 0,
            reachable_at: 0,
            every: [1, 1, 1, 4][rng.below(4) as usize],
            member: rng.below(8) > 0,
            waiter: Waiter::default(),
        })
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(&mut rng);
        let mut rate = |often: u64| [0, often, often * 10][rng.below(3) as usize];
        let wild = Wildness { lost: rate(30), payload_lost: rate(30), failed: rate(40), jitter: 1 + seed % 6 };
        let count = [1, 1, 2, 2, 3, 5][rng.below(6) as usize];
        let sites: Result<Vec<Site>, String> = (0..count).map(|place| Site::new(seed + place, &mut rng)).collect();
        Ok(Self {
            now: 0,
            profile,
            kernel: Kernel::new(wild),
            files: Files::default(),
            agent: None,
            agent_back: rng.below(40),
            sites: sites?,
            report: Report { standbys: count, ..Report::default() },
            rng,
        })
    }

    pub(super) fn run(&mut self) -> Result<Report, String> {
        while self.now < CHAOS_STEPS {
            self.disturb()?;
            self.step()?;
        }
        self.calm()?;
        while !self.is_healed() {
            if self.now > CHAOS_STEPS + CALM_STEPS {
                return Err(format!("not healed: {}", self.describe()));
            }
            self.step()?;
        }
        self.retire_agent();
        self.report.steps = self.now;
        self.report.commands = self.kernel.history.commands.len() as u64 - 1;
        for site in &self.sites {
            let counts = site.host.counts;
            self.report.refused += counts.refused;
            self.report.caches_lost += counts.lost;
            self.report.rewinds += counts.rewinds;
            self.report.asked += counts.asked;
            self.report.healed_bytes += counts.healed + site.host.engine.holes().healed_bytes();
            self.report.coverage += site.host.coverage;
        }
        Ok(self.report)
    }

    /// Nothing goes wrong any more, and everybody belongs to the group.
    fn calm(&mut self) -> Result<(), String> {
        self.kernel.calm();
        self.sites.iter_mut().for_each(|site| site.host.target.calm());
        (0..self.sites.len())
            .filter(|place| !self.sites[*place].member)
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|place| self.join(place))
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        if self.now < CHAOS_STEPS && self.rng.one_in(self.profile.issue) {
            self.kernel.issue(self.now, &mut self.rng);
        }
        self.kernel.step(self.now, &mut self.rng);
        self.step_agent()?;
        for place in 0..self.sites.len() {
            self.step_link(place)?;
            self.step_site(place)?;
        }
        (0..self.sites.len()).try_for_each(|place| self.wait(place))?;
        (0..self.sites.len()).try_for_each(|place| self.check(place))?;
        let standbys = self.sites.iter().find_map(|site| site.host.coverage.surprise());
        match self.report.coverage.surprise().or(standbys) {
            None => Ok(()),
            Some(surprise) => Err(format!("{surprise}, and no documentation has that")),
        }
    }

    fn step_agent(&mut self) -> Result<(), String> {
        if self.agent.is_none() && self.now >= self.agent_back {
            let members: Vec<usize> = (0..self.sites.len()).filter(|place| self.sites[*place].member).collect();
            self.agent = Some(Agent::start(self.now, &mut self.files, &mut self.kernel, &members)?);
        }
        let Some(agent) = &mut self.agent else { return Ok(()) };
        agent.step(self.now, &mut self.files, &mut self.kernel, &mut self.rng)?;
        agent.observe(&mut self.report.coverage);
        Ok(())
    }

    fn step_link(&mut self, place: usize) -> Result<(), String> {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        let site = &mut self.sites[place];
        let mut step = Step {
            now: self.now,
            reachable: self.now >= site.reachable_at && self.now >= site.back,
            link: &mut site.link,
            kernel: &self.kernel,
            rng: &mut self.rng,
            coverage: &mut self.report.coverage,
        };
        if !agent.communicate(place, &mut step)? {
            self.cut(place);
        }
        Ok(())
    }

    fn step_site(&mut self, place: usize) -> Result<(), String> {
        let site = &mut self.sites[place];
        if self.now < site.back || !self.now.is_multiple_of(site.every) {
            return Ok(());
        }
        let open = site.host.step(self.now, &mut site.link, &mut self.rng)?;
        if !open {
            self.cut(place);
        }
        Ok(())
    }
}

// What is done to it.
impl World {
    fn disturb(&mut self) -> Result<(), String> {
        let profile = self.profile;
        self.disturb_link();
        if chance(&mut self.rng, profile.agent_kill) {
            self.kill_agent();
        }
        if chance(&mut self.rng, profile.host_power) {
            self.kill_agent();
            self.files.power_cut(&mut self.rng);
            self.kernel.power_cut(&mut self.rng);
            self.sites.iter_mut().for_each(|site| site.waiter.power_cut());
            self.report.host_power_cuts += 1;
        }
        if chance(&mut self.rng, profile.standby_kill) {
            let place = self.any();
            self.cut(place);
            self.sites[place].host.kill(&mut self.rng)?;
            self.sites[place].back = self.now + self.rng.below(60);
            self.report.standby_kills += 1;
        }
        if chance(&mut self.rng, profile.standby_power) {
            let place = self.any();
            self.cut(place);
            self.sites[place].host.power_cut(&mut self.rng)?;
            self.sites[place].back = self.now + self.rng.below(60);
            self.report.standby_power_cuts += 1;
        }
        if chance(&mut self.rng, profile.membership) {
            let place = self.any();
            if self.sites[place].member { self.leave(place)? } else { self.join(place)? }
        }
        Ok(())
    }

    fn disturb_link(&mut self) {
        let (profile, place) = (self.profile, self.any());
        if chance(&mut self.rng, profile.cut) && self.sites[place].link.up {
            self.abandon(place);
        }
        if chance(&mut self.rng, profile.outage) {
            self.cut(place);
            self.sites[place].reachable_at = self.now + self.rng.below(400);
        }
        if chance(&mut self.rng, profile.stall) && self.sites[place].link.up {
            self.sites[place].link.stall(self.now + self.rng.below(600));
            self.report.stalls += 1;
        }
        let link = &mut self.sites[place].link;
        if chance(&mut self.rng, profile.damage) && link.corrupt(self.rng.next_u64()) {
            self.report.damaged += 1;
        }
        if chance(&mut self.rng, profile.duplicate) && link.duplicate() {
            self.report.duplicated += 1;
        }
        if chance(&mut self.rng, profile.reorder) && link.reorder() {
            self.report.reordered += 1;
        }
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.sites.len() as u64) as usize
    }

    fn cut(&mut self, place: usize) {
        let site = &mut self.sites[place];
        self.report.cuts += u64::from(site.link.up);
        site.link.cut();
        site.host.disconnected();
        if let Some(agent) = &mut self.agent {
            agent.disconnected(self.now, place, &mut self.report.coverage);
        }
    }

    /// The primary gives the connection up; the standby goes on to take some of what was on its way.
    fn abandon(&mut self, place: usize) {
        if self.rng.one_in(2) {
            return self.cut(place);
        }
        self.sites[place].link.abandon(self.rng.below(8) as usize);
        self.report.cuts += 1;
        self.report.abandoned += 1;
        if let Some(agent) = &mut self.agent {
            agent.disconnected(self.now, place, &mut self.report.coverage);
        }
    }

    fn kill_agent(&mut self) {
        (0..self.sites.len()).for_each(|place| self.cut(place));
        self.sites.iter_mut().for_each(|site| site.waiter.give_up());
        self.report.agent_kills += u64::from(self.agent.is_some());
        self.retire_agent();
        self.files.kill();
        self.agent_back = self.now + self.rng.below(80);
    }

    fn leave(&mut self, place: usize) -> Result<(), String> {
        self.cut(place);
        self.sites[place].member = false;
        self.report.left += 1;
        match &mut self.agent {
            Some(agent) => agent.leave(place, &mut self.files),
            None => Ok(()),
        }
    }

    fn join(&mut self, place: usize) -> Result<(), String> {
        self.sites[place].member = true;
        self.report.joined += 1;
        match &mut self.agent {
            Some(agent) => agent.join(place, &mut self.files, &self.kernel),
            None => Ok(()),
        }
    }

    /// Takes its counters into the report.
    fn retire_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let counters = agent.counters();
        self.report.overflows += counters.overflows;
        self.report.lone_overflows += agent.lone_overflows;
        self.report.full_syncs += counters.full_syncs;
        self.report.holes += counters.holes;
        self.report.resynced_bytes += counters.resynced_bytes;
        self.report.events_lost = self.kernel.counts.lost.iter().sum();
    }
}

// What is looked at.
impl World {
    fn check(&mut self, place: usize) -> Result<(), String> {
        let site = &self.sites[place];
        let fault = |what| format!("standby {place}: {what}");
        self.report.consistent += u64::from(checker::check_consistency(&self.kernel, &site.host).map_err(fault)?);
        let status = site.host.engine.status();
        self.report.digest(status.applied.seq.0 << 32 | status.durable.position.0);
        let Some(agent) = &self.agent else { return Ok(()) };
        let follows = site.member && status.stream.0 == self.kernel.boot && agent.stream == self.kernel.boot;
        if !follows || status.data == DataState::Blank {
            return Ok(());
        }
        let covered = self.files.maps.get(&name_of(place)).and_then(|map| map.covered);
        let freed = Position(agent.journal.first()).previous();
        // What lies in its journal it knows again only when it has read it.
        if status.mode != StandbyMode::Recovering {
            checker::check_freed(freed, status.durable.position, covered).map_err(fault)?;
        }
        if (self.now + place as u64).is_multiple_of(7) {
            let mut known = agent.known_to_differ(&self.files, place, &self.kernel)?;
            for (hole, _) in site.host.engine.holes().iter() {
                known.mark(hole.volume, hole.range).map_err(|error| error.to_string())?;
            }
            checker::check_nothing_silent(&self.kernel, &site.host, &known).map_err(fault)?;
        }
        Ok(())
    }

    fn wait(&mut self, place: usize) -> Result<(), String> {
        let Site { waiter, host, .. } = &mut self.sites[place];
        let granted = match &mut self.agent {
            Some(agent) if agent.stream == self.kernel.boot => waiter.step(self.now, place, agent, &self.kernel)?,
            _ => false,
        };
        self.report.held += u64::from(granted);
        let fault = |what| format!("standby {place}: {what}");
        waiter.check(self.now, granted, &self.kernel, host).map_err(fault)
    }

    fn is_healed(&self) -> bool {
        let Some(agent) = &self.agent else { return false };
        let all = agent.group.members().iter().all(|member| member.engine().mode() == Mode::Ordered);
        all && self.kernel.is_idle() && self.sites.iter().all(|site| is_level(site, &self.kernel))
    }

    fn describe(&mut self) -> String {
        let now = ms(self.now);
        let mut text = format!("seq {}", self.kernel.seq);
        if let Some(agent) = &mut self.agent {
            for member in agent.group.members_mut() {
                text += &format!("\n{} {:?}", member.name().to_owned(), member.engine_mut().status(now));
            }
        }
        for site in &self.sites {
            let equal = *site.host.content() == self.kernel.disk;
            text += &format!("\nequal: {equal}, {:?}", site.host.engine.status());
        }
        text
    }
}

/// Whether a standby has everything, and says so.
fn is_level(site: &Site, kernel: &Kernel) -> bool {
    let status = site.host.engine.status();
    status.data == DataState::Consistent
        && !site.host.engine.holes().has_holes()
        && status.stream.0 == kernel.boot
        && status.applied.seq.0 == kernel.seq
        && *site.host.content() == kernel.disk
}

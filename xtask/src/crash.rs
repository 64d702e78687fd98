//! kill -9 of agent, standby or both at random instants under load; after each restart both disks must become
//! identical again, and never by copying everything.

use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::{Table, presets};

use crate::interrupt;
use crate::rig::{Difference, Engine, Mix, Plan, Random, Rig, Status};

/// Several times what the load touches in the seconds that a restart reads back.
const DISK_BYTES: u64 = 512 << 20;
const JOURNAL: &str = "256M";
/// Load per job in MiB/s: enough to have commands in flight at any instant, and little enough for the journal.
const RATE: u64 = 12;
/// How long the load of a round goes on.
const LOAD: Duration = Duration::from_millis(2500);
/// The kill comes within this time of the load's start, in milliseconds.
const KILL_WITHIN: u64 = 1800;
/// The dead stay dead for up to this time, in milliseconds.
const DEAD_FOR: u64 = 500;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Standby,
    Both,
}

impl Victim {
    const ALL: [Self; 3] = [Self::Agent, Self::Standby, Self::Both];

    fn includes_agent(self) -> bool {
        self != Self::Standby
    }

    fn includes_standby(self) -> bool {
        self != Self::Agent
    }

    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Standby => "standby",
            Self::Both => "both",
        }
    }
}

/// One kill and what came of it.
struct Round {
    victim: Victim,
    resynced_bytes: u64,
    full_syncs: u64,
    unseen: u64,
    difference: Option<Difference>,
}

/// The task.
pub(crate) fn run(rounds: u32, seed: Option<u64>) -> Result<()> {
    let mut random = Random::announce(seed);
    let mut rig = Rig::new(Plan { bytes: DISK_BYTES, in_memory: false, journal: JOURNAL })?;
    rig.start()?;
    let mut done = Vec::new();
    for number in 1..=rounds {
        interrupt::check()?;
        let round = round(&mut rig, &mut random)?;
        let verdict = round.difference.as_ref().map_or("identical".to_owned(), Difference::to_string);
        let Round { victim, resynced_bytes, full_syncs, unseen, .. } = &round;
        println!(
            "round {number:3} of {rounds}: killed {:7} resynced {:6} KiB, full syncs {full_syncs}, unseen {unseen}, {verdict}",
            victim.name(),
            resynced_bytes >> 10
        );
        done.push(round);
    }
    report(&done)
}

fn round(rig: &mut Rig, random: &mut Random) -> Result<Round> {
    let before = rig.status()?;
    let victim = random.pick(&Victim::ALL);
    let mut load = mix(random).start(rig.primary().path(), DISK_BYTES, random.next() >> 32, LOAD, RATE)?;
    interrupt::sleep(Duration::from_millis(random.between(1, KILL_WITHIN)))?;
    kill_and_restart(rig, victim, random)?;
    load.finish()?;
    let difference = rig.drain_and_compare()?;
    // A process that was killed counts from zero again; the probe's counters go on.
    let counted_before = if victim.includes_agent() { Status::default() } else { before };
    let after = rig.status()?;
    Ok(Round {
        victim,
        resynced_bytes: after.resynced_bytes.saturating_sub(counted_before.resynced_bytes),
        full_syncs: after.full_syncs.saturating_sub(counted_before.full_syncs),
        unseen: after.unseen.saturating_sub(before.unseen),
        difference,
    })
}

fn mix(random: &mut Random) -> Mix {
    Mix {
        engine: Engine::LibAio,
        direct: true,
        dsync: random.between(0, 4) == 0,
        pattern: "randwrite",
        sizes: "512/10:4k/60:16k/20:128k/10",
        depth: random.pick(&[1, 8, 32]),
        jobs: 2,
        mebibytes: 4096,
    }
}

fn kill_and_restart(rig: &mut Rig, victim: Victim, random: &mut Random) -> Result<()> {
    if victim.includes_agent() {
        rig.kill_agent();
    }
    if victim.includes_standby() {
        rig.kill_standby();
    }
    interrupt::sleep(Duration::from_millis(random.between(0, DEAD_FOR)))?;
    if victim.includes_standby() {
        rig.start_standby()?;
    }
    if victim.includes_agent() {
        rig.start_agent()?;
    }
    Ok(())
}

fn report(rounds: &[Round]) -> Result<()> {
    let mut table = Table::new();
    let header = ["killed", "rounds", "resynced KiB median", "most", "full syncs", "differing"];
    table.load_style(presets::NOTHING).set_header(header);
    for victim in Victim::ALL {
        let of_victim = || rounds.iter().filter(move |round| round.victim == victim);
        let mut resynced: Vec<u64> = of_victim().map(|round| round.resynced_bytes >> 10).collect();
        resynced.sort_unstable();
        let median = resynced.get(resynced.len() / 2).copied().unwrap_or(0);
        let most = resynced.last().copied().unwrap_or(0);
        let full: u64 = of_victim().map(|round| round.full_syncs).sum();
        let differing = of_victim().filter(|round| round.difference.is_some()).count() as u64;
        let numbers = [of_victim().count() as u64, median, most, full, differing].map(|number| number.to_string());
        table.add_row(std::iter::once(victim.name().to_owned()).chain(numbers));
    }
    println!("\n{table}");
    let differing = rounds.iter().filter(|round| round.difference.is_some()).count();
    let full: u64 = rounds.iter().map(|round| round.full_syncs).sum();
    // Reading back as much as the disk holds is a full sync by another name.
    let whole = rounds.iter().filter(|round| round.resynced_bytes >= DISK_BYTES).count();
    if differing > 0 || full > 0 || whole > 0 {
        let all = rounds.len();
        bail!(
            "{differing} of {all} rounds ended with different disks, {full} full syncs, {whole} read back a whole disk"
        );
    }
    println!("crash: {} rounds, identical after each, no full sync", rounds.len());
    Ok(())
}

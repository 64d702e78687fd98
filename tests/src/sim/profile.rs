//! How often things go wrong in a run.

use journal::faulty::Rng;

/// Once in so many steps, 0 for never. Those of a standby are drawn for each step and hit one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) issue: u64,
    pub(super) cut: u64,
    pub(super) outage: u64,
    pub(super) stall: u64,
    pub(super) damage: u64,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
    pub(super) agent_kill: u64,
    pub(super) standby_kill: u64,
    pub(super) standby_power: u64,
    pub(super) host_power: u64,
    pub(super) membership: u64,
}

impl Profile {
    /// Seeds differ in what they do most, so that long quiet stretches occur as well as storms.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut rate = |often: u64| [0, often, often * 4][rng.below(3) as usize];
        Self {
            cut: rate(90),
            outage: rate(200),
            stall: rate(300),
            damage: rate(150),
            duplicate: rate(400),
            reorder: rate(400),
            agent_kill: rate(200),
            standby_kill: rate(200),
            standby_power: rate(250),
            host_power: rate(1500),
            membership: rate(500),
            issue: 1 + rng.below(3),
        }
    }
}

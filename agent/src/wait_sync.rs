//! Waits until the synchronous standbys hold durably what had completed.

use std::time::{Duration, Instant};

use replication::primary::Hold;

use crate::error::AgentError;
use crate::primary::core::Core;
use crate::secondaries::SyncMode;
use crate::status::WaitReport;

/// What is waited for.
const WHAT: &str = "waiting for the synchronous standbys";
/// Pause between looks. Short at first: whoever waits here holds up an application.
const POLLS: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(10)];
/// After so long the pauses are longer.
const SHORT: Duration = Duration::from_millis(200);

/// Waits at most `timeout` until every synchronous standby holds all that had completed before the call.
pub(crate) fn wait(core: &Core, timeout: Duration) -> Result<WaitReport, AgentError> {
    let (start, completed) = (Instant::now(), core.kernel_seq());
    let synchronous =
        core.links.iter().enumerate().filter(|(_, link)| link.mode == SyncMode::Synchronous).map(|(place, _)| place);
    let mut waits: Vec<(usize, Hold)> = synchronous.map(|place| (place, Hold::new(completed))).collect();
    if waits.is_empty() {
        let text = "no standby of this group is synchronous: give one with --to HOST:PORT,mode=sync";
        return Err(AgentError::Usage(text.into()));
    }
    let names = waits.iter().map(|(place, _)| core.links[*place].name.clone()).collect();
    while let Some((name, why)) = first_lacking(core, &mut waits)? {
        if start.elapsed() >= timeout {
            return Err(AgentError::TimedOut { what: WHAT, after: timeout, why: format!("{name}: {why}") });
        }
        std::thread::sleep(POLLS[usize::from(start.elapsed() > SHORT)]);
    }
    Ok(WaitReport { seq: completed.0, seconds: start.elapsed().as_secs_f64(), standbys: names })
}

/// The first that lacks something, and what. Those that lack nothing need not be asked again.
fn first_lacking(core: &Core, waits: &mut Vec<(usize, Hold)>) -> Result<Option<(String, String)>, AgentError> {
    if let Some(failure) = core.log.failure.lock().ok().and_then(|failure| failure.clone()) {
        return Err(AgentError::Ended(failure));
    }
    while let Some((place, hold)) = waits.last_mut() {
        let name = &core.links[*place].name;
        match hold.lacking(&core.engine(*place)) {
            None => drop(waits.pop()),
            Some(why) if why.is_hopeless() => return Err(AgentError::NotHeld { name: name.clone(), why }),
            Some(lacking) => return Ok(Some((name.clone(), lacking.to_string()))),
        }
    }
    Ok(None)
}

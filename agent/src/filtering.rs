//! From the filter of a configuration to what the probe, the engine and the capture are told of it.

use formats::StreamId;
use replication::primary::PrimaryConfig;
use replication::scope::Scope;

use crate::btf::Btf;
use crate::capture::scsi::Unit;
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::preflight::Device;
use crate::probe::filter::{Filter, Observable, Rules};
use crate::probe::layout::op_number;

/// What a filter asks of each volume.
fn observable<'a>(names: &'a [String], devices: &[Device], units: &[Option<Unit>]) -> Vec<Observable<'a>> {
    let all = names.iter().zip(devices).zip(units);
    all.map(|((name, device), unit)| Observable {
        name,
        size: device.size,
        block: if device.tape.is_some() { 0 } else { device.logical_block },
        device: unit.map(|unit| unit.device),
    })
    .collect()
}

/// `filter` for these devices. `region_bytes` is given when a standby is fed by it: its ranges then begin and end with
/// regions.
///
/// # Errors
/// Names the value that cannot be used.
pub(crate) fn rules(
    filter: &Filter,
    region_bytes: Option<u32>,
    (names, devices): (&[String], &[Device]),
    units: &[Option<Unit>],
    kernel: &Btf,
) -> Result<Rules, AgentError> {
    let volumes = observable(names, devices, units);
    let rules = filter.compile(&volumes, |name| op_number(kernel, name))?;
    if let Some(region_bytes) = region_bytes {
        rules.check_regions(&volumes, region_bytes)?;
    }
    Ok(rules)
}

/// What is replicated where these rules are in force.
pub(crate) fn scope(rules: &Rules) -> Scope {
    Scope::new(rules.ranges.clone(), rules.drops_changes)
}

/// The engine's settings for a stream of this scope.
pub(crate) fn engine_settings(config: &AgentConfig, stream: StreamId, sizes: Vec<u64>, scope: Scope) -> PrimaryConfig {
    PrimaryConfig {
        region_size: config.region_bytes,
        assume_identical: config.assume_identical,
        backoff_max: std::time::Duration::from_secs(2),
        scope,
        ..PrimaryConfig::new(stream, sizes)
    }
}

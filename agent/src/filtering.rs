//! From the filter of a configuration to what the probe, the engine and the capture are told of it.

use formats::StreamId;
use replication::primary::PrimaryConfig;
use replication::scope::Scope;

use crate::btf::Btf;
use crate::capture::scsi::Unit;
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::preflight::Device;
use crate::probe::filter::{Observable, Rules};
use crate::probe::layout::op_number;

/// The filter of `config` for its devices, checked as one that a standby is fed by.
///
/// # Errors
/// Names the value that cannot be used.
pub(crate) fn rules(
    config: &AgentConfig,
    names: &[String],
    devices: &[Device],
    units: &[Option<Unit>],
    kernel: &Btf,
) -> Result<Rules, AgentError> {
    let volumes: Vec<Observable<'_>> = names
        .iter()
        .zip(devices)
        .zip(units)
        .map(|((name, device), unit)| Observable {
            name,
            size: device.size,
            block: if device.tape.is_some() { 0 } else { device.logical_block },
            device: unit.map(|unit| unit.device),
        })
        .collect();
    let rules = config.filter.compile(&volumes, |name| op_number(kernel, name))?;
    rules.check_regions(&volumes, config.region_bytes)?;
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

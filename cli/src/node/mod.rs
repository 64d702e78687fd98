//! The services that run in this process, behind the control socket. Thin: all work is the agent's and the replayer's.

pub(crate) mod marks;
pub(crate) mod primary;
pub(crate) mod scsi_view;
pub(crate) mod signature;
pub(crate) mod standby;
pub(crate) mod view;

use std::path::Path;

use agent::preflight::stack::refuse_feedback;
use agent::preflight::{Device, Host};
use serde::Serialize;
use serde_json::Value;

use crate::exit::{Done, Exit, Failure, OrExit};

/// What a library reports, as JSON.
fn json(report: &impl Serialize) -> Done<Value> {
    Ok(serde_json::to_value(report)?)
}

/// Whether `address` has the form of an address with a port; a name need not resolve.
fn check_host_port(flag: &str, address: &str) -> Done {
    if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(Failure::text(Exit::Usage, format!("{flag} {address} is not HOST:PORT, such as 10.0.0.2:7788")));
    }
    Ok(())
}

/// Refuses a path that lies on one of the observed devices.
pub(crate) fn refuse_on_observed(what: &str, path: &Path, devices: &[Device]) -> Done {
    refuse_feedback(what, path, devices, &Host::default()).or_exit(Exit::Refused)
}

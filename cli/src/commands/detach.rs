//! `detach`: ends a running agent and takes its probe out of the kernel.

use std::time::{Duration, Instant};

use super::{Context, print};
use crate::args::Detach;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::control::server::{Claim, ControlError};
use crate::control::{Role, socket};
use crate::exit::{Done, Exit, Failure, OrExit};
use crate::node::primary;

/// How long a running agent may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &Detach, context: &Context) -> Done {
    let path = socket(&context.run_dir, Role::Primary, &args.group);
    if let Ok(client) = Client::connect(&path) {
        client.ask(Request::Stop)?;
    }
    // Held until the end, so that no agent starts meanwhile.
    let _claim = claim_after_end(&path)?;
    let report = primary::detach(&args.group)?;
    match report["removed"] == true {
        true => print("detached: the probe is out of the kernel, and changes are not remembered any more\n"),
        false => print("nothing to detach: no probe is pinned for this group\n"),
    }
}

fn claim_after_end(path: &std::path::Path) -> Done<Option<Claim>> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Claim::new(path) {
            Ok(claim) => return Ok(Some(claim)),
            Err(ControlError::Taken { .. }) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Err(error @ ControlError::Taken { .. }) => return Err(Failure::new(Exit::Unreachable, error)),
            Err(error) => return Err(error).or_exit(Exit::NotPermitted),
        }
    }
}

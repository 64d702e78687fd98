//! `drain`: waits until everything that completed before the call is applied on the standby.

use std::time::Duration;

use super::{Context, print, print_json};
use crate::args::Drain;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::exit::Done;

/// What the answer may take beyond the time it waits for.
const MARGIN: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Drain, context: &Context) -> Done {
    let client = Client::primary(&context.run_dir, &args.group)?;
    let timeout_ms = u64::try_from(args.timeout.0.as_millis()).unwrap_or(u64::MAX);
    let patience = args.timeout.0.checked_add(MARGIN);
    let report = client.ask_within(Request::Drain { timeout_ms }, patience, &mut |_, _| {})?;
    if args.json {
        print_json(&report)
    } else {
        print("drained: all that completed before is applied on the standby\n")
    }
}

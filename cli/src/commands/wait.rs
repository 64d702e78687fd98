//! `drain` and `wait-sync`: both wait for what completed before the call, the one until it is applied on every standby, the
//! other until it is durable on the synchronous ones.

use std::time::Duration;

use serde_json::Value;

use super::{Context, print, print_json};
use crate::args::{Drain, GroupName, WaitSync};
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::exit::Done;
use crate::units::Time;

/// What the answer may take beyond the time it waits for.
const MARGIN: Duration = Duration::from_secs(10);

pub(super) fn drain(args: &Drain, context: &Context) -> Done {
    let report = ask(context, &args.group, args.timeout, |timeout_ms| Request::Drain { timeout_ms })?;
    tell(args.json, &report, "drained: all that completed before is applied on the standby\n")
}

pub(super) fn sync(args: &WaitSync, context: &Context) -> Done {
    let report = ask(context, &args.group, args.timeout, |timeout_ms| Request::WaitSync { timeout_ms })?;
    tell(args.json, &report, "in sync: all that completed before is durable on every synchronous standby\n")
}

fn ask(context: &Context, group: &GroupName, timeout: Time, request: impl FnOnce(u64) -> Request) -> Done<Value> {
    let client = Client::primary(&context.run_dir, group)?;
    let timeout_ms = u64::try_from(timeout.0.as_millis()).unwrap_or(u64::MAX);
    client.ask_within(request(timeout_ms), timeout.0.checked_add(MARGIN), &mut |_, _| {})
}

fn tell(json: bool, report: &Value, text: &str) -> Done {
    if json { print_json(report) } else { print(text) }
}

//! `doctor`: what this kernel and user can do.

use agent::preflight::features::{check_device, check_machine};
use agent::preflight::{Check, Host, Level};

use super::{print, print_json};
use crate::args::Doctor;
use crate::exit::{Done, Exit, Failure};

pub(super) fn run(args: &Doctor) -> Done {
    let host = Host::default();
    let mut checks = check_machine(&host);
    checks.extend(args.device.iter().flat_map(|device| check_device(device, &host)));
    if args.json {
        print_json(&checks)?
    } else {
        print(&table(&checks))?
    }
    match checks.iter().any(|check| check.level == Level::Fail) {
        true => Err(Failure::silent(Exit::NotPermitted)),
        false => Ok(()),
    }
}

fn table(checks: &[Check]) -> String {
    checks.iter().map(line).collect()
}

fn line(check: &Check) -> String {
    let remedy = check.remedy.as_deref().map(|remedy| format!("      -> {remedy}\n")).unwrap_or_default();
    format!("{:<5} {}: {}\n{remedy}", check.level, check.name, check.found)
}
